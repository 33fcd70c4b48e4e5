#include "store/core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { LONGEST = 1200 }; /* beyond what is joined on the stack */
static uint8_t bytes[LONGEST];

static void fill(void)
{
    uint32_t x = 1;
    for (size_t i = 0; i < LONGEST; i++)
        bytes[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
}

static void a_digest_does_not_depend_on_how_the_bytes_are_cut(void **state)
{
    (void)state;
    fill();
    for (size_t n = 0; n <= LONGEST; n++) {
        const XXH128_hash_t whole = XXH3_128bits(bytes, n);
        const size_t a = n / 3, b = n / 2;
        const struct bytes pieces[] = {
            bytes_of(bytes, a), {NULL, 0}, bytes_of(bytes + a, b - a), bytes_of(bytes + b, n - b)};
        const struct digest d = hash_xxh128(pieces, sizeof pieces / sizeof pieces[0]);
        assert_int_equal(d.lo, whole.low64);
        assert_int_equal(d.hi, whole.high64);
    }
}

/* RFC 3720, B.4, a bit at a time. */
static uint32_t crc_by_bits(const uint8_t *p, size_t n, size_t zeros_at)
{
    uint32_t crc = ~UINT32_C(0);
    for (size_t i = 0; i < n; i++) {
        crc ^= i - zeros_at < 4 ? 0 : p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

static void a_crc_counts_its_own_place_as_zeros(void **state)
{
    (void)state;
    fill();
    for (size_t n = 4; n <= LONGEST; n++) {
        const size_t at = n % 7 <= n - 4 ? n % 7 : 0;
        assert_int_equal(hash_crc32c(0, bytes_of(bytes, n)), crc_by_bits(bytes, n, SIZE_MAX - 4));
        assert_int_equal(hash_crc32c_around(bytes_of(bytes, n), at), crc_by_bits(bytes, n, at));
    }
}

#if defined(__x86_64__)
/* Can the processor tell which parts of its state are in use (Intel SDM, volume 1, 13.2)? */
static int tells_what_is_in_use(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_OSXSAVE) != 0 &&
           __get_cpuid_count(13, 1, &a, &b, &c, &d) != 0 && (a & 4) != 0;
}

static int upper_halves_are_in_use(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    return (low & 4) != 0;
}
#endif

static void a_crc_leaves_nothing_that_slows_what_follows(void **state)
{
    (void)state;
#if defined(__x86_64__)
    volatile uint32_t crc;
    if (!tells_what_is_in_use())
        skip();
    for (size_t n = 1; n <= LONGEST; n += 61) {
        crc = hash_crc32c(0, bytes_of(bytes, n));
        assert_false(upper_halves_are_in_use());
    }
    (void)crc;
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_digest_does_not_depend_on_how_the_bytes_are_cut),
        cmocka_unit_test(a_crc_counts_its_own_place_as_zeros),
        cmocka_unit_test(a_crc_leaves_nothing_that_slows_what_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
