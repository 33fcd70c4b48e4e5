#include "store/core/slot.h"

#include "store/core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void fill_meta(uint8_t meta[SLOT_META_BYTES], uint64_t txn_id)
{
    memset(meta, 0, SLOT_META_BYTES);
    put_le64(meta, txn_id & 1);
    put_le16(meta + 10, 0x08);
    put_le32(meta + 16, 0xbeefc0de);
    put_le32(meta + 20, 1);
    put_le32(meta + 40, 4096);
    put_le64(meta + 144, txn_id);
}

static struct slot a_slot(uint64_t sequence)
{
    struct slot s = {.sequence = sequence,
                     .txn_id = 100 + sequence,
                     .file_bytes = 81920,
                     .cluster_id = {{1}},
                     .boot_id = {{2}},
                     .at = {{sequence * 10}, {3}, {4}, {{5}}}};
    fill_meta(s.meta, s.txn_id);
    return s;
}

static void make_newer(uint8_t block[SLOT_BYTES])
{
    put_le16(block + 4, 2);
    put_le32(block + SLOT_BYTES - 4, hash_crc32c(0, bytes_of(block, SLOT_BYTES - 4)));
}

static void round_trip_gives_everything_back(void **state)
{
    (void)state;
    struct slot in = a_slot(9), out;
    uint8_t block[SLOT_BYTES];
    slot_encode(&in, block);
    memset(&out, 0, sizeof out);
    assert_int_equal(slot_decode(block, &out, NULL), 0);
    assert_memory_equal(&in, &out, sizeof in);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    struct slot in = a_slot(9), out;
    uint8_t block[SLOT_BYTES];
    slot_encode(&in, block);
    for (size_t bit = 0; bit < sizeof block * 8; bit += bit < 300 * 8 ? 1 : 61) {
        block[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(slot_decode(block, &out, NULL), ERR_FORMAT);
        block[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void decode_says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        const char *says;
    } cases[] = {
        {0, 0, "no checkpoint here"},
        {4, 2, "format 2"},
        {6, 151, "151 bytes of meta"},
        {8, 0, "sequence 0"},
        {300, 1, "byte 300"},
        {120 + 10, 0, "no meta page"},
        {120 + 16, 0, "no meta page"},
        {120 + 20, 2, "version 2"},
        {120 + 41, 0x11, "page size 4352"},
        {120 + 144, 1, "transaction 1"},
        {120 + 41, 0, "page size 0"},
        {120 + 42, 1, "page size 69632"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slot in = a_slot(9), out;
        uint8_t block[SLOT_BYTES];
        struct err e = ERR_NONE;
        slot_encode(&in, block);
        block[cases[i].at] = cases[i].value;
        put_le32(block + SLOT_BYTES - 4, hash_crc32c(0, bytes_of(block, SLOT_BYTES - 4)));
        assert_int_equal(slot_decode(block, &out, &e), i == 1 ? ERR_NEWER : ERR_FORMAT);
        if (strstr(e.text, cases[i].says) == NULL)
            fail_msg("'%s' lacks '%s'", e.text, cases[i].says);
    }
}

/* Every combination of what the four blocks can be: 6^4. One in the wrong place is a bad one, however high its number. One of a
 * later format overrules all others: its program may have reused what an older slot needs, and a checkpoint that cannot be read
 * here is no damage. */
static void the_decision_is_total(void **state)
{
    (void)state;
    enum { ZERO, BAD, STRAY, OLD, NEW, NEWER, KINDS };
    static uint8_t file[SLOT_FILE_BYTES];
    for (unsigned all = 0; all < KINDS * KINDS * KINDS * KINDS; all++) {
        unsigned kind[4];
        uint64_t newest = 0;
        bool newer = false, bad[4];
        for (unsigned i = 0, rest = all; i < 4; i++, rest /= KINDS) {
            uint8_t *block = file + i * SLOT_BYTES;
            kind[i] = rest % KINDS;
            newer |= kind[i] == NEWER;
            /* Slot 0 has even sequences: 2 or 4, slot 1 odd ones: 3 or 5. */
            uint64_t sequence = (kind[i] == NEW ? 4 : 2) + i / 2;
            struct slot s = a_slot(kind[i] == STRAY ? sequence + 5 : sequence);
            slot_encode(&s, block);
            if (kind[i] == ZERO)
                memset(block, 0, SLOT_BYTES);
            else if (kind[i] == BAD)
                block[77] ^= 1;
            else if (kind[i] == NEWER)
                make_newer(block);
            else if (kind[i] != STRAY && sequence > newest)
                newest = sequence;
            bad[i] = kind[i] == BAD || kind[i] == STRAY;
        }
        const bool lost = (bad[0] && bad[1]) || (bad[2] && bad[3]);
        struct slot out;
        struct err e = ERR_NONE;
        int rc = slot_choose(file, &out, &e);
        if (newer) {
            assert_int_equal(rc, ERR_NEWER);
            assert_non_null(strstr(e.text, "newer triveni (format 2, this one reads 1)"));
            continue;
        }
        assert_int_equal(rc, lost || newest == 0 ? ERR_INTEGRITY : 0);
        if (rc == 0)
            assert_int_equal(out.sequence, newest);
        else
            assert_non_null(strstr(e.text, lost ? "both copies" : "no slot holds"));
    }
}

static void a_slot_in_the_wrong_place_does_not_count(void **state)
{
    (void)state;
    static uint8_t file[SLOT_FILE_BYTES];
    struct slot odd = a_slot(7), even = a_slot(6), out;
    memset(file, 0, sizeof file);
    slot_encode(&odd, file);
    slot_encode(&even, file + slot_offset(6, 1));
    assert_int_equal(slot_choose(file, &out, NULL), 0);
    assert_int_equal(out.sequence, 6);
}

static void the_meta_page_goes_back_under_both_numbers(void **state)
{
    (void)state;
    struct slot s = a_slot(9);
    uint8_t page[SLOT_PAGE_MAX_BYTES], expected[SLOT_META_BYTES];
    assert_int_equal(slot_page_bytes(&s), 4096);
    for (unsigned page_no = 0; page_no < 2; page_no++) {
        memset(page, 0xee, sizeof page);
        slot_meta_page(&s, page_no, page);
        memcpy(expected, s.meta, sizeof expected);
        expected[0] = (uint8_t)page_no;
        assert_memory_equal(page, expected, sizeof expected);
        for (size_t i = SLOT_META_BYTES; i < 4096; i++)
            assert_int_equal(page[i], 0);
        assert_int_equal(page[4096], 0xee);
    }
}

static void only_the_meta_of_the_transaction_is_taken(void **state)
{
    (void)state;
    struct slot s = {.txn_id = 42};
    uint8_t meta[SLOT_META_BYTES];
    struct err e = ERR_NONE;
    fill_meta(meta, 42);
    assert_int_equal(slot_take_meta(&s, meta, &e), 0);
    assert_memory_equal(s.meta, meta, sizeof meta);
    fill_meta(meta, 44);
    assert_int_equal(slot_take_meta(&s, meta, &e), ERR_INTEGRITY);
    assert_string_equal(e.text, "the meta page is of LMDB transaction 44, not 42");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_gives_everything_back),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(decode_says_what_is_wrong),
        cmocka_unit_test(the_decision_is_total),
        cmocka_unit_test(a_slot_in_the_wrong_place_does_not_count),
        cmocka_unit_test(the_meta_page_goes_back_under_both_numbers),
        cmocka_unit_test(only_the_meta_of_the_transaction_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
