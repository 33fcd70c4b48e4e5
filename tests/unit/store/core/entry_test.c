#include "store/core/entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void seal_one(uint8_t out[ENTRY_HEADER_BYTES + 40], struct entry_header *h)
{
    for (size_t i = 0; i < 40; i++)
        out[ENTRY_HEADER_BYTES + i] = (uint8_t)(i * 7);
    *h = (struct entry_header){.kind = ENTRY_TXN, .term = {3}, .lsn = {9}, .time = {1000}};
    memset(h->cluster_id.b, 0xab, sizeof h->cluster_id.b);
    memset(h->prev_hash.b, 0x11, sizeof h->prev_hash.b);
    entry_seal(h, bytes_of(out + ENTRY_HEADER_BYTES, 40), out);
}

static void round_trip_gives_everything_back(void **state)
{
    (void)state;
    uint8_t raw[ENTRY_HEADER_BYTES + 40];
    struct entry_header h;
    seal_one(raw, &h);
    struct entry_view v;
    size_t used;
    struct err e = ERR_NONE;
    assert_int_equal(entry_decode(bytes_of(raw, sizeof raw), &v, &used, &e), 0);
    assert_int_equal(used, sizeof raw);
    assert_int_equal(v.header.lsn.v, 9);
    assert_int_equal(v.header.term.v, 3);
    assert_memory_equal(&v.header.cluster_id, &h.cluster_id, 16);
    assert_memory_equal(&v.header.prev_hash, &h.prev_hash, 32);
    assert_ptr_equal(v.body, raw + ENTRY_HEADER_BYTES);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    uint8_t raw[ENTRY_HEADER_BYTES + 40];
    struct entry_header h;
    seal_one(raw, &h);
    for (size_t bit = 0; bit < sizeof raw * 8; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        struct entry_view v;
        size_t used;
        assert_int_not_equal(entry_decode(bytes_of(raw, sizeof raw), &v, &used, NULL), 0);
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void a_cut_entry_says_how_much_it_needs(void **state)
{
    (void)state;
    uint8_t raw[ENTRY_HEADER_BYTES + 40];
    struct entry_header h;
    seal_one(raw, &h);
    for (size_t n = 0; n < sizeof raw; n++) {
        struct entry_view v;
        size_t used = 0;
        assert_int_equal(entry_decode(bytes_of(raw, n), &v, &used, NULL), ERR_LIMIT);
        assert_true(used > n);
    }
}

static void only_the_next_entry_follows(void **state)
{
    (void)state;
    uint8_t raw[ENTRY_HEADER_BYTES + 40];
    struct entry_header h;
    seal_one(raw, &h);
    struct entry_position prev = {{8}, {3}, {1000}, h.prev_hash};
    struct err e = ERR_NONE;
    assert_int_equal(entry_follows(&prev, &h, &e), 0);
    struct entry_position wrong = prev;
    wrong.lsn.v = 7;
    assert_int_equal(entry_follows(&wrong, &h, &e), ERR_INTEGRITY);
    assert_string_equal(e.text, "lsn 9 does not follow lsn 7");
    wrong = prev;
    wrong.term.v = 4;
    assert_int_equal(entry_follows(&wrong, &h, &e), ERR_INTEGRITY);
    wrong = prev;
    wrong.time.us = 1001;
    assert_int_equal(entry_follows(&wrong, &h, &e), ERR_INTEGRITY);
    wrong = prev;
    wrong.hash.b[31] ^= 1;
    assert_int_equal(entry_follows(&wrong, &h, &e), ERR_INTEGRITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_gives_everything_back),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(a_cut_entry_says_how_much_it_needs),
        cmocka_unit_test(only_the_next_entry_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
