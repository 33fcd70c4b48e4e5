/* Frame bodies that were compressed, and bodies that only say so. */
#include "replication/io/packer.h"
#include "tests/unit/count_mallocs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

enum { LIMIT = 1 << 20 };

static uint8_t text[4 << 20];

static int setup(void **state)
{
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)("passport"[i % 8] + (i % 97 == 0));
    *state = test_calloc(1, sizeof(struct packer));
    return 0;
}

static int teardown(void **state)
{
    packer_deinit(*state);
    test_free(*state);
    return 0;
}

static void refused(struct packer *p, struct bytes packed, int code, const char *why)
{
    struct bytes out = bytes_of(NULL, 0);
    struct err e = ERR_NONE;
    assert_int_equal(packer_unpack(p, packed, LIMIT, &out, &e), code);
    if (strstr(e.text, why) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, why);
}

/* A body with this claim in front of what one call of zstd makes of `plain`. */
static size_t pack_as(uint32_t claim, bool tells_size, struct bytes plain, uint8_t *out, size_t cap)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    assert_non_null(c);
    (void)ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, tells_size);
    put_le32(out, claim);
    size_t n = ZSTD_compress2(c, out + 4, cap - 4, plain.p, plain.n);
    assert_false(ZSTD_isError(n));
    (void)ZSTD_freeCCtx(c);
    return n + 4;
}

static void pieces_come_back_as_one_body(void **state)
{
    struct packer *p = *state;
    const struct bytes pieces[] = {bytes_of(text, 3), bytes_of(NULL, 0), bytes_of(text + 3, 100000),
                                   bytes_of(text, 0)};
    struct bytes packed, plain;
    for (int level = 1; level < 20; level += 6) {
        assert_int_equal(packer_pack(p, level, pieces, 4, &packed, NULL), 0);
        assert_true(packed.n != 0 && packed.n < 20000);
        assert_int_equal(get_le32(packed.p), 100003);
        assert_int_equal(packer_unpack(p, packed, 100003, &plain, NULL), 0);
        assert_true(bytes_equal(plain, bytes_of(text, 100003)));
    }
}

static void what_does_not_become_smaller_is_left_as_it_is(void **state)
{
    struct packer *p = *state;
    uint8_t noise[5000];
    uint64_t s = 7;
    for (size_t i = 0; i < sizeof noise; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        noise[i] = (uint8_t)(s >> 56);
    }
    struct bytes packed, two[] = {bytes_of(noise, 17), bytes_of(noise + 17, sizeof noise - 17)};
    assert_int_equal(packer_pack(p, 3, two, 2, &packed, NULL), 0);
    assert_int_equal(packed.n, 0);
    /* and the next body is not spoiled by what the last one left in the compressor */
    struct bytes good = bytes_of(text, 5000), plain;
    assert_int_equal(packer_pack(p, 3, &good, 1, &packed, NULL), 0);
    assert_int_equal(packer_unpack(p, packed, LIMIT, &plain, NULL), 0);
    assert_true(bytes_equal(plain, good));
}

static void the_claim_is_checked_before_anything_is_decompressed(void **state)
{
    struct packer *p = *state;
    static uint8_t body[LIMIT];
    refused(p, bytes_of(body, 0), ERR_FORMAT, "of 0 bytes is too short");
    refused(p, bytes_of(body, 3), ERR_FORMAT, "of 3 bytes is too short");
    size_t n = pack_as(LIMIT + 1, true, bytes_of(text, LIMIT + 1), body, sizeof body);
    refused(p, bytes_of(body, n), ERR_LIMIT, "1048577 bytes when decompressed, at most 1048576");
    put_le32(body, LIMIT); /* says less than its zstd frame */
    refused(p, bytes_of(body, n), ERR_FORMAT, "does not hold the 1048576 bytes that it claims");
    put_le32(body, UINT32_MAX);
    refused(p, bytes_of(body, n), ERR_LIMIT, "4294967295 bytes when decompressed");
    n = pack_as(1000, false, bytes_of(text, 1000), body, sizeof body);
    refused(p, bytes_of(body, n), ERR_FORMAT, "does not hold the 1000 bytes");
    refused(p, bytes_of(body, 4), ERR_FORMAT, "does not hold the 1000 bytes");
    assert_null(p->decompressor);
    assert_null(p->plain.p);
    n = pack_as(LIMIT, true, bytes_of(text, LIMIT), body, sizeof body);
    struct bytes plain;
    assert_int_equal(packer_unpack(p, bytes_of(body, n), LIMIT, &plain, NULL), 0);
    assert_true(bytes_equal(plain, bytes_of(text, LIMIT)));
}

static void a_body_is_exactly_one_zstd_frame(void **state)
{
    struct packer *p = *state;
    uint8_t body[8192];
    size_t n = pack_as(3000, true, bytes_of(text, 3000), body, sizeof body);
    body[n] = 0;
    refused(p, bytes_of(body, n + 1), ERR_FORMAT, "not exactly one zstd frame");
    memcpy(body + n, body + 4, n - 4); /* a second one */
    refused(p, bytes_of(body, 2 * n - 4), ERR_FORMAT, "not exactly one zstd frame");
    for (size_t cut = 12; cut < n; cut++)
        refused(p, bytes_of(body, cut), ERR_FORMAT, "compressed body");
}

static void damage_never_gives_more_than_the_claim(void **state)
{
    struct packer *p = *state;
    uint8_t body[8192];
    size_t n = pack_as(3000, true, bytes_of(text, 3000), body, sizeof body);
    unsigned refusals = 0;
    for (size_t bit = 32; bit < 8 * n; bit++) {
        body[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct bytes plain = {NULL, 0};
        struct err e = ERR_NONE;
        int rc = packer_unpack(p, bytes_of(body, n), LIMIT, &plain, &e);
        assert_true(rc == 0 || rc == ERR_FORMAT);
        assert_true(rc != 0 || plain.n == 3000);
        refusals += rc != 0;
        body[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(refusals > 100);
}

/* RFC 8878, 3.1.1: magic, descriptor 0x80 (content size of 4 bytes, window by descriptor), window 2 GiB, size, one raw block. */
static void the_window_is_not_the_senders_to_choose(void **state)
{
    struct packer *p = *state;
    uint8_t body[4 + 4 + 1 + 1 + 4 + 3 + 600];
    struct writer w = writer_of(body, sizeof body);
    write_u32(&w, 600);
    write_u32(&w, ZSTD_MAGICNUMBER);
    write_u8(&w, 0x80);
    write_u8(&w, 21 << 3);
    write_u32(&w, 600);
    write_u8(&w, (600 << 3 & 0xff) | 1);
    write_u16(&w, 600 >> 5);
    write_bytes(&w, bytes_of(text, 600));
    assert_false(w.bad);
    struct bytes plain, warm = bytes_of(text, 600), packed;
    assert_int_equal(packer_pack(p, 3, &warm, 1, &packed, NULL), 0);
    assert_int_equal(packer_unpack(p, packed, LIMIT, &plain, NULL), 0);
    unsigned long before = atomic_load(&large_mallocs);
    assert_int_equal(packer_unpack(p, bytes_of(body, sizeof body), LIMIT, &plain, NULL), 0);
    assert_true(bytes_equal(plain, bytes_of(text, 600)));
    assert_int_equal(atomic_load(&large_mallocs), before);
}

static void room_for_a_large_body_is_given_back(void **state)
{
    struct packer *p = *state;
    struct bytes large = bytes_of(text, sizeof text), small = bytes_of(text, 600), packed, plain;
    assert_int_equal(packer_pack(p, 3, &large, 1, &packed, NULL), 0);
    assert_int_equal(packer_unpack(p, packed, UINT32_MAX, &plain, NULL), 0);
    assert_true(bytes_equal(plain, large));
    assert_true(p->packed.cap >= sizeof text && p->plain.cap >= sizeof text);
    assert_int_equal(packer_pack(p, 3, &small, 1, &packed, NULL), 0);
    assert_int_equal(packer_unpack(p, packed, LIMIT, &plain, NULL), 0);
    assert_true(p->packed.cap <= 1 << 20 && p->plain.cap <= 1 << 20);
    packer_deinit(p);
    assert_null(p->packed.p);
    assert_null(p->compressor);
}

static void of_what_does_not_compress_only_a_sample_is_tried(void **state)
{
    (void)state;
    struct packer_habit h = {0};
    for (int i = 0; i < PACKER_DULL; i++) { /* not at once: such bodies come between others */
        assert_true(packer_tries(&h, 1000));
        packer_learns(&h, 1000, i % 2 == 0 ? 0 : 876); /* an eighth is wanted */
    }
    unsigned tried = 0;
    char seen[24] = "";
    for (int i = 0; i < 1 + 2 + 4 + 8 + 4 + 17 * 100; i++) {
        bool tries = packer_tries(&h, 1000);
        if (i < 10)
            seen[i] = tries ? '+' : '-';
        tried += tries;
        if (tries)
            packer_learns(&h, 1000, 0);
    }
    assert_string_equal(seen, "-+--+----+");
    assert_int_equal(tried, 104);
    while (!packer_tries(&h, 1000))
        ;
    packer_learns(&h, 1000, 875); /* text again: each body is tried */
    for (int i = 0; i < PACKER_DULL; i++) {
        assert_true(packer_tries(&h, 1000));
        packer_learns(&h, 1000, 0);
    }
    assert_false(packer_tries(&h, 1 << 20)); /* also one that is larger than what is left to skip */
    assert_true(packer_tries(&h, 1000));
}

int main(void)
{
#define with_packer(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_packer(pieces_come_back_as_one_body),
        with_packer(of_what_does_not_compress_only_a_sample_is_tried),
        with_packer(what_does_not_become_smaller_is_left_as_it_is),
        with_packer(the_claim_is_checked_before_anything_is_decompressed),
        with_packer(a_body_is_exactly_one_zstd_frame),
        with_packer(damage_never_gives_more_than_the_claim),
        with_packer(the_window_is_not_the_senders_to_choose),
        with_packer(room_for_a_large_body_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
