#include "repository/core/segment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Walk an object of n plaintext bytes as a writer would lay it out, and ask for every segment. */
static void assert_layout(uint64_t plain)
{
    uint64_t size = REPO_CIPHER_HEADER_BYTES, left = plain, back = 0;
    uint32_t segments = 0;
    do {
        size_t step =
            repo_segment_capacity(segments) < left ? repo_segment_capacity(segments) : (size_t)left;
        size += step + REPO_TAG_BYTES;
        left -= step;
        segments++;
    } while (left != 0);
    assert_int_equal(repo_segment_plain(size, &back, NULL), 0);
    assert_int_equal(back, plain);
    uint64_t offset = REPO_CIPHER_HEADER_BYTES, plain_offset = 0;
    for (uint32_t i = 0; plain_offset < plain; i++) {
        struct repo_segment s = repo_segment_at(size, plain_offset);
        assert_int_equal(s.index, i);
        assert_int_equal(s.offset, offset);
        assert_int_equal(s.plain_offset, plain_offset);
        assert_int_equal(s.last, i + 1 == segments);
        assert_int_equal(s.bytes, s.plain_bytes + REPO_TAG_BYTES);
        /* The last byte of a segment is in it too. */
        struct repo_segment same = repo_segment_at(size, plain_offset + s.plain_bytes - 1);
        assert_int_equal(same.index, i);
        offset += s.bytes;
        plain_offset += s.plain_bytes;
        /* Every whole segment ends on a multiple of the segment size. */
        assert_true(s.last || offset % REPO_SEGMENT_BYTES == 0);
    }
    assert_int_equal(plain == 0 ? size : offset, size);
}

static void segments_fill_the_object(void **state)
{
    (void)state;
    static const uint64_t around[] = {0, REPO_FIRST_PLAIN_BYTES,
                                      REPO_FIRST_PLAIN_BYTES + REPO_SEGMENT_PLAIN_BYTES,
                                      REPO_FIRST_PLAIN_BYTES + 9ull * REPO_SEGMENT_PLAIN_BYTES};
    for (size_t i = 0; i < sizeof around / sizeof around[0]; i++)
        for (int d = -2; d <= 2; d++)
            if (d >= 0 || around[i] != 0)
                assert_layout(around[i] + (uint64_t)(int64_t)d);
    for (uint64_t n = 1; n < 3000000; n = n * 3 + 7)
        assert_layout(n);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    uint64_t plain;
    const uint64_t bad[] = {0,
                            1,
                            REPO_CIPHER_HEADER_BYTES,
                            REPO_CIPHER_HEADER_BYTES + REPO_TAG_BYTES - 1,
                            REPO_SEGMENT_BYTES + 1,              /* no room for a tag */
                            REPO_SEGMENT_BYTES + REPO_TAG_BYTES, /* an empty last segment */
                            7ull * REPO_SEGMENT_BYTES + 3,
                            (1ull << 32) * REPO_SEGMENT_BYTES + 50, /* more segments than numbers */
                            UINT64_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(repo_segment_plain(bad[i], &plain, NULL), ERR_FORMAT);
    assert_int_equal(repo_segment_plain(REPO_CIPHER_HEADER_BYTES + REPO_TAG_BYTES, &plain, NULL),
                     0);
    assert_int_equal(plain, 0);
    assert_int_equal(repo_segment_plain(REPO_SEGMENT_BYTES + REPO_TAG_BYTES + 1, &plain, NULL), 0);
    assert_int_equal(plain, REPO_FIRST_PLAIN_BYTES + 1);
}

static void nonces_are_as_published(void **state)
{
    (void)state;
    /* From the example beside Tink's documentation. */
    static const uint8_t prefix[] = {0x2c, 0x08, 0x62, 0x87, 0x7b, 0xae, 0xa8};
    static const uint8_t last[] = {0x2c, 0x08, 0x62, 0x87, 0x7b, 0xae, 0xa8, 0, 0, 0, 2, 1};
    static const uint8_t high[] = {0x2c, 0x08, 0x62, 0x87, 0x7b, 0xae, 0xa8, 1, 2, 3, 4, 0};
    uint8_t out[REPO_NONCE_BYTES];
    repo_segment_nonce(prefix, 2, true, out);
    assert_memory_equal(out, last, sizeof last);
    repo_segment_nonce(prefix, 0x01020304, false, out);
    assert_memory_equal(out, high, sizeof high);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_fill_the_object),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(nonces_are_as_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
