#include "store/core/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void integers_go_both_ways(void **state)
{
    (void)state;
    uint8_t p[8];
    put_le16(p, 0x1234);
    assert_memory_equal(p, "\x34\x12", 2);
    assert_int_equal(get_le16(p), 0x1234);
    put_le32(p, 0x89abcdef);
    assert_memory_equal(p, "\xef\xcd\xab\x89", 4);
    assert_int_equal(get_le32(p), 0x89abcdef);
    put_le64(p, 0x0102030405060708);
    assert_memory_equal(p, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_true(get_le64(p) == 0x0102030405060708);
    put_be32(p, 0xfedcba98);
    assert_memory_equal(p, "\xfe\xdc\xba\x98", 4);
    assert_int_equal(get_be32(p), 0xfedcba98);
    put_be64(p, UINT64_MAX - 1);
    assert_true(get_be64(p) == UINT64_MAX - 1);
}

static void big_endian_order_is_numeric_order(void **state)
{
    (void)state;
    const uint64_t values[] = {0, 1, 255, 256, 65535, 1u << 31, UINT32_MAX, 1ull << 40, UINT64_MAX};
    for (size_t i = 1; i < sizeof values / sizeof values[0]; i++) {
        uint8_t a[8], b[8];
        put_be64(a, values[i - 1]);
        put_be64(b, values[i]);
        assert_true(memcmp(a, b, 8) < 0);
    }
}

static void comparing_puts_a_prefix_first(void **state)
{
    (void)state;
    assert_int_equal(bytes_compare(bytes_str("ab"), bytes_str("ab")), 0);
    assert_true(bytes_compare(bytes_str("ab"), bytes_str("abc")) < 0);
    assert_true(bytes_compare(bytes_str("b"), bytes_str("abc")) > 0);
    assert_true(bytes_compare(bytes_str("\xff"), bytes_str("a")) > 0);
    assert_true(bytes_compare((struct bytes){NULL, 0}, bytes_str("a")) < 0);
    assert_int_equal(bytes_compare((struct bytes){NULL, 0}, bytes_str("")), 0);
    assert_true(bytes_equal((struct bytes){NULL, 0}, bytes_str("")));
    assert_false(bytes_equal(bytes_str("a"), bytes_str("b")));
}

static void a_reader_stops_at_the_end_and_stays_bad(void **state)
{
    (void)state;
    const uint8_t p[] = {1, 2, 0, 3, 4};
    struct reader r = reader_of(bytes_of(p, sizeof p));
    assert_int_equal(read_u8(&r), 1);
    assert_int_equal(read_u16(&r), 2);
    assert_false(reader_done(&r));
    assert_int_equal(read_u32(&r), 0);
    assert_true(r.bad);
    assert_int_equal(read_u8(&r), 0); /* although a byte is left */
    assert_int_equal(r.at, 3);
    assert_false(reader_done(&r));
    r = reader_of(bytes_of(p, sizeof p));
    (void)read_bytes(&r, sizeof p);
    assert_true(reader_done(&r));
    (void)read_bytes(&r, SIZE_MAX);
    assert_true(r.bad);
}

static void lengths_from_outside_are_checked(void **state)
{
    (void)state;
    const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 'x'};
    struct reader r = reader_of(bytes_of(huge, sizeof huge));
    (void)read_bytes32(&r);
    assert_true(r.bad);
    r = reader_of(bytes_of(huge, sizeof huge));
    (void)read_bytes16(&r);
    assert_true(r.bad);
    const uint8_t three[] = {3, 0, 'a', 'b', 'c'};
    r = reader_of(bytes_of(three, sizeof three));
    assert_true(bytes_equal(read_bytes16(&r), bytes_str("abc")));
    assert_true(reader_done(&r));
}

static void a_writer_writes_whole_fields_or_none(void **state)
{
    (void)state;
    uint8_t p[16];
    memset(p, 0xee, sizeof p);
    struct writer w = writer_of(p, 7);
    write_u32(&w, 1);
    write_u32(&w, 2);
    assert_true(w.bad);
    assert_int_equal(w.at, 4);
    write_u8(&w, 9); /* would fit, but the writer is bad */
    assert_int_equal(w.at, 4);
    assert_int_equal(p[4], 0xee);
    w = writer_of(p, sizeof p);
    uint8_t *hole = write_reserve(&w, 2);
    write_bytes16(&w, bytes_str("xy"));
    write_bytes32(&w, bytes_str("z"));
    assert_non_null(hole);
    assert_int_equal(w.at, 11);
    assert_memory_equal(p + 2, "\2\0xy\1\0\0\0z", 9);
    w = writer_of(p, sizeof p);
    write_bytes16(&w, bytes_of(p, UINT16_MAX + 1)); /* no such length */
    assert_true(w.bad);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    uint8_t p[100];
    struct uuid u = {{1, 2, 3}};
    struct sha256 h = {{4, 5, 6}};
    struct writer w = writer_of(p, sizeof p);
    write_u8(&w, 200);
    write_u16(&w, 60000);
    write_u32(&w, 4000000000);
    write_u64(&w, UINT64_MAX);
    write_uuid(&w, &u);
    write_sha256(&w, &h);
    assert_false(w.bad);
    struct reader r = reader_of(bytes_of(p, w.at));
    assert_int_equal(read_u8(&r), 200);
    assert_int_equal(read_u16(&r), 60000);
    assert_int_equal(read_u32(&r), 4000000000);
    assert_true(read_u64(&r) == UINT64_MAX);
    struct uuid u2 = read_uuid(&r);
    struct sha256 h2 = read_sha256(&r);
    assert_true(uuid_equal(&u, &u2));
    assert_true(sha256_equal(&h, &h2));
    assert_true(reader_done(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_go_both_ways),
        cmocka_unit_test(big_endian_order_is_numeric_order),
        cmocka_unit_test(comparing_puts_a_prefix_first),
        cmocka_unit_test(a_reader_stops_at_the_end_and_stays_bad),
        cmocka_unit_test(lengths_from_outside_are_checked),
        cmocka_unit_test(a_writer_writes_whole_fields_or_none),
        cmocka_unit_test(what_is_written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
