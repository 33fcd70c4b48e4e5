#include "store/core/digest.h"

#include "store/core/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct digest of(const char *collection, const char *key, uint64_t lsn, const char *value)
{
    return digest_record(bytes_str(collection), bytes_str(key), (struct lsn){lsn},
                         bytes_str(value));
}

static void each_part_of_a_record_counts(void **state)
{
    (void)state;
    struct digest d = of("land", "42", 7, "v");
    assert_true(digest_equal(d, of("land", "42", 7, "v")));
    assert_false(digest_equal(d, of("lane", "42", 7, "v")));
    assert_false(digest_equal(d, of("land", "43", 7, "v")));
    assert_false(digest_equal(d, of("land", "42", 8, "v")));
    assert_false(digest_equal(d, of("land", "42", 7, "w")));
    /* A byte that moves from one field to its neighbour. */
    assert_false(digest_equal(d, of("land4", "2", 7, "v")));
    assert_false(digest_equal(of("a", "bc", 7, ""), of("ab", "c", 7, "")));
}

static void the_sum_does_not_depend_on_order_and_can_be_undone(void **state)
{
    (void)state;
    struct digest a = of("c", "1", 1, "x"), b = of("c", "2", 2, "y"), c = of("c", "3", 3, "z");
    struct digest abc = digest_add(digest_add(a, b), c), cab = digest_add(c, digest_add(a, b));
    assert_true(digest_equal(abc, cab));
    assert_true(digest_equal(digest_sub(abc, b), digest_add(a, c)));
    struct digest zero = {0, 0}, one = {1, 0}, carry = {0, 1}, all = {UINT64_MAX, UINT64_MAX};
    assert_true(digest_equal(digest_add((struct digest){UINT64_MAX, 0}, one), carry));
    assert_true(digest_equal(digest_sub(carry, one), (struct digest){UINT64_MAX, 0}));
    assert_true(digest_equal(digest_add(all, one), zero));
    assert_true(digest_equal(digest_sub(zero, one), all));
}

static void hexadecimal_goes_both_ways(void **state)
{
    (void)state;
    struct digest d = {0x0123456789abcdef, 0xfedcba9876543210}, back;
    char text[DIGEST_HEX_BYTES];
    digest_hex(d, text);
    assert_string_equal(text, "fedcba98765432100123456789abcdef");
    assert_int_equal(digest_parse(text, &back), 0);
    assert_true(digest_equal(d, back));
    assert_int_equal(digest_parse("fedcba98765432100123456789abcde", &back), ERR_FORMAT);
    assert_int_equal(digest_parse("fedcba98765432100123456789abcdef0", &back), ERR_FORMAT);
    assert_int_equal(digest_parse("gedcba98765432100123456789abcdef", &back), ERR_FORMAT);
    assert_int_equal(digest_parse("", &back), ERR_FORMAT);
}

static void buckets_are_within_range_and_spread(void **state)
{
    (void)state;
    static unsigned count[DIGEST_BUCKETS];
    for (unsigned i = 0; i < 16 * DIGEST_BUCKETS; i++) {
        uint8_t key[4];
        put_be32(key, i);
        uint32_t b = digest_bucket(bytes_str("c"), bytes_of(key, 4));
        assert_true(b < DIGEST_BUCKETS);
        count[b]++;
    }
    for (unsigned i = 0; i < DIGEST_BUCKETS; i++)
        assert_in_range(count[i], 1, 60); /* 16 expected; both ends are very far out */
}

/* The digest is compared between sites and kept in the archive: it must not change with the
 * program. */
static void the_value_is_fixed_for_ever(void **state)
{
    (void)state;
    char text[DIGEST_HEX_BYTES];
    digest_hex(of("land", "42", 7, "v"), text);
    assert_string_equal(text, "47fe349b51bc16947e01e49b122ce173");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_of_a_record_counts),
        cmocka_unit_test(the_sum_does_not_depend_on_order_and_can_be_undone),
        cmocka_unit_test(hexadecimal_goes_both_ways),
        cmocka_unit_test(buckets_are_within_range_and_spread),
        cmocka_unit_test(the_value_is_fixed_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
