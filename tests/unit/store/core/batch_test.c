#include "store/core/batch.h"

#include "store/core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct segment_header a_segment(void)
{
    struct segment_header h = {.seq = 0x1122334455667788, .nonce = 0x99aabbccddeeff00};
    h.start = (struct entry_position){{41}, {7}, {1000}, {{1, 2, 3}}};
    memset(h.cluster_id.b, 0xcc, sizeof h.cluster_id.b);
    return h;
}

static struct batch_header a_batch(void)
{
    return (struct batch_header){.seq = 0x1122334455667788,
                                 .nonce = 0x99aabbccddeeff00,
                                 .first_lsn = {42},
                                 .block = 5,
                                 .number = 3,
                                 .durable = 2,
                                 .entry_count = 10,
                                 .payload_bytes = 12345,
                                 .payload_crc32c = 0xdeadbeef};
}

static void segment_header_round_trip(void **state)
{
    (void)state;
    uint8_t raw[SEGMENT_HEADER_BYTES];
    struct segment_header h = a_segment(), back;
    memset(&back, 0, sizeof back);
    segment_header_encode(&h, raw);
    assert_int_equal(segment_header_decode(raw, &back, NULL), 0);
    assert_memory_equal(&h.cluster_id, &back.cluster_id, 16);
    assert_int_equal(back.seq, h.seq);
    assert_int_equal(back.nonce, h.nonce);
    assert_memory_equal(&back.start, &h.start, sizeof h.start);
    /* The layout is the one in the header file. */
    assert_memory_equal(raw, "TVNS\1\0\0\0", 8);
    assert_int_equal(get_le64(raw + 32), h.seq);
    assert_int_equal(get_le64(raw + 48), 41);
    assert_memory_equal(raw + 72, h.start.hash.b, 32);
}

static void every_flipped_bit_of_a_segment_header_is_found(void **state)
{
    (void)state;
    uint8_t raw[SEGMENT_HEADER_BYTES];
    struct segment_header h = a_segment(), back;
    segment_header_encode(&h, raw);
    for (size_t bit = 0; bit < sizeof raw * 8; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(segment_header_decode(raw, &back, NULL), ERR_INTEGRITY);
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void a_newer_segment_format_is_named(void **state)
{
    (void)state;
    uint8_t raw[SEGMENT_HEADER_BYTES];
    struct segment_header h = a_segment();
    struct err e = ERR_NONE;
    segment_header_encode(&h, raw);
    put_le16(raw + 4, 9);
    put_le32(raw + 8, 0);
    put_le32(raw + 8, hash_crc32c(0, bytes_of(raw, sizeof raw)));
    assert_int_equal(segment_header_decode(raw, &h, &e), ERR_NEWER);
    assert_non_null(strstr(e.text, "format 9"));
}

static void a_newer_batch_is_known_at_its_place_only(void **state)
{
    (void)state;
    uint8_t raw[BATCH_HEADER_BYTES];
    const struct segment_header s = {.seq = 3, .nonce = 77};
    const struct segment_header other = {.seq = 3, .nonce = 78};
    struct batch_header h = {.seq = 3, .nonce = 77, .first_lsn = {1}, .block = 5, .number = 1};
    batch_header_encode(&h, raw);
    assert_int_equal(batch_newer_format(raw, &s, 5), 0);
    put_le16(raw + 4, 2);
    assert_int_equal(batch_newer_format(raw, &s, 5), 0); /* rot */
    put_le32(raw + 8, 0);
    put_le32(raw + 8, hash_crc32c(0, bytes_of(raw, sizeof raw)));
    assert_int_equal(batch_newer_format(raw, &s, 5), 2);
    assert_int_equal(batch_newer_format(raw, &s, 6), 0);
    assert_int_equal(batch_newer_format(raw, &other, 5), 0);
}

static void batch_header_round_trip(void **state)
{
    (void)state;
    uint8_t raw[BATCH_HEADER_BYTES];
    struct segment_header s = a_segment();
    struct batch_header h = a_batch(), back;
    memset(&back, 0, sizeof back);
    batch_header_encode(&h, raw);
    assert_true(batch_header_decode(raw, &s, 5, &back));
    assert_int_equal(back.first_lsn.v, 42);
    assert_int_equal(back.block, 5);
    assert_int_equal(back.number, 3);
    assert_int_equal(back.durable, 2);
    assert_int_equal(back.entry_count, 10);
    assert_int_equal(back.payload_bytes, 12345);
    assert_int_equal(back.payload_crc32c, 0xdeadbeef);
}

static void a_batch_header_counts_only_at_its_place(void **state)
{
    (void)state;
    uint8_t raw[BATCH_HEADER_BYTES];
    struct segment_header s = a_segment(), other = s;
    struct batch_header h = a_batch(), back;
    batch_header_encode(&h, raw);
    assert_false(batch_header_decode(raw, &s, 6, &back));
    other.nonce ^= 1;
    assert_false(batch_header_decode(raw, &other, 5, &back));
    other = s;
    other.seq++;
    assert_false(batch_header_decode(raw, &other, 5, &back));
    for (size_t bit = 0; bit < sizeof raw * 8; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_false(batch_header_decode(raw, &s, 5, &back));
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    h.durable = h.number; /* a batch cannot know of itself */
    batch_header_encode(&h, raw);
    assert_false(batch_header_decode(raw, &s, 5, &back));
}

static void blocks_are_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(batch_blocks_bytes(0), 0);
    assert_int_equal(batch_blocks_bytes(1), 4096);
    assert_int_equal(batch_blocks_bytes(4096), 4096);
    assert_int_equal(batch_blocks_bytes(4097), 8192);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segment_header_round_trip),
        cmocka_unit_test(every_flipped_bit_of_a_segment_header_is_found),
        cmocka_unit_test(a_newer_segment_format_is_named),
        cmocka_unit_test(a_newer_batch_is_known_at_its_place_only),
        cmocka_unit_test(batch_header_round_trip),
        cmocka_unit_test(a_batch_header_counts_only_at_its_place),
        cmocka_unit_test(blocks_are_rounded_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
