/* Index keys: bytes compare as values do, cut keys stay equal for equal values only, and ranges mean what they say. */
#include "store/core/index_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>

static struct index_part text(const char *s)
{
    return (struct index_part){.kind = INDEX_STRING, .text = bytes_str(s)};
}
static struct index_part bytes(const void *p, size_t n)
{
    return (struct index_part){.kind = INDEX_STRING, .text = bytes_of(p, n)};
}
static struct index_part number(double d)
{
    return (struct index_part){.kind = INDEX_NUMBER, .number = d};
}
static struct index_part truth(bool b)
{
    return (struct index_part){.kind = b ? INDEX_TRUE : INDEX_FALSE};
}

static struct index_key key_of(const struct index_part *parts, size_t n)
{
    struct index_key k;
    index_key_encode(&k, parts, n);
    assert_true(k.n <= INDEX_KEY_MAX_BYTES);
    return k;
}
static struct index_key one(struct index_part p)
{
    return key_of(&p, 1);
}

static bool in_range(const struct index_range *r, const struct index_key *k)
{
    const struct bytes b = index_key_bytes(k);
    return bytes_compare(b, index_key_bytes(&r->low)) >= 0 &&
           (r->high.n == 0 || bytes_compare(b, index_key_bytes(&r->high)) < 0);
}

static void bytes_compare_as_values_do(void **unused)
{
    (void)unused;
    const struct index_part order[] = {
        truth(false),
        truth(true),
        number(-DBL_MAX),
        number(-1e10),
        number(-2),
        number(-1.5),
        number(-1),
        number(-DBL_MIN),
        number(0),
        number(5e-324),
        number(1),
        number(1.5),
        number(2),
        number(10),
        number(255),
        number(256),
        number(65536),
        number(9007199254740991.0),
        number(9007199254740992.0),
        number(DBL_MAX),
        text(""),
        bytes("\0", 1),
        bytes("\0\0", 2),
        bytes("\0\1", 2),
        bytes("\0\xff", 2),
        text("\1"),
        text("a"),
        bytes("a\0", 2),
        bytes("a\0b", 3),
        text("a\1"),
        text("aa"),
        text("ab"),
        text("b"),
        text("\xc3\xa9"),
        text("\xff"),
    };
    const size_t n = sizeof order / sizeof order[0];
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            struct index_key a = one(order[i]), b = one(order[j]);
            int c = bytes_compare(index_key_bytes(&a), index_key_bytes(&b));
            assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
            /* and within a composite, where what follows must not matter */
            const struct index_part x[] = {order[i], text("zz")}, y[] = {order[j], truth(false)};
            a = key_of(x, 2);
            b = key_of(y, 2);
            c = bytes_compare(index_key_bytes(&a), index_key_bytes(&b));
            assert_int_equal((c > 0) - (c < 0), i == j ? 1 : (i > j) - (i < j));
        }
}

static void there_is_one_zero(void **unused)
{
    (void)unused;
    struct index_key a = one(number(0.0)), b = one(number(-0.0));
    assert_true(bytes_equal(index_key_bytes(&a), index_key_bytes(&b)));
}

static void no_key_is_a_prefix_of_another(void **unused)
{
    (void)unused;
    /* Strings of zero and one bytes of all lengths around the limits, alone and behind one another. */
    static uint8_t raw[600];
    struct index_key *keys = calloc(4000, sizeof *keys);
    size_t n = 0;
    assert_non_null(keys);
    for (unsigned fill = 0; fill < 3; fill++) {
        memset(raw, fill == 0 ? 'a' : fill == 1 ? 0 : 0xff, sizeof raw);
        for (size_t len = 1; len < 300; len++) {
            const struct index_part two[] = {bytes(raw, len), number(1)},
                                    other[] = {bytes(raw, len), number(2)};
            keys[n++] = key_of(two, 2);
            keys[n++] = key_of(other, 2);
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (i != j && keys[i].n <= keys[j].n)
                assert_true(memcmp(keys[i].b, keys[j].b, keys[i].n) != 0);
    free(keys);
}

static void long_values_are_cut_where_something_begins(void **unused)
{
    (void)unused;
    static uint8_t raw[1000];
    memset(raw, 0, sizeof raw);
    for (size_t len = 0; len < sizeof raw; len++) {
        const struct index_part p[] = {bytes(raw, len / 2), number(-7), bytes(raw, len),
                                       truth(true)};
        struct index_key k = key_of(p, 4);
        assert_int_equal(k.is_cut,
                         2 + 2 * (len / 2) + 1 + 9 + 2 * len + 3 + 1 > INDEX_KEY_WHOLE_BYTES);
        if (!k.is_cut)
            continue;
        const size_t cut = k.n - 18;
        assert_in_range(cut, INDEX_KEY_CUT_BYTES - 9, INDEX_KEY_CUT_BYTES);
        assert_memory_equal(k.b + cut, "\0\2", 2);
        assert_int_not_equal(k.b[cut - 1], 0); /* not between a zero and what it is followed by */
    }
}

static void a_cut_key_tells_values_apart_that_differ_behind_the_cut(void **unused)
{
    (void)unused;
    static uint8_t a[500], b[500];
    memset(a, 'x', sizeof a);
    memset(b, 'x', sizeof b);
    b[499] = 'y';
    struct index_key x = one(bytes(a, 500)), y = one(bytes(b, 500)), again = one(bytes(a, 500));
    assert_true(x.is_cut && y.is_cut);
    assert_false(bytes_equal(index_key_bytes(&x), index_key_bytes(&y)));
    assert_true(bytes_equal(index_key_bytes(&x), index_key_bytes(&again)));
    /* Where one part ends and the next begins is told apart, too. */
    const struct index_part p[] = {bytes(a, 300), bytes(a, 200)},
                            q[] = {bytes(a, 301), bytes(a, 199)};
    x = key_of(p, 2);
    y = key_of(q, 2);
    assert_false(bytes_equal(index_key_bytes(&x), index_key_bytes(&y)));
    const struct index_part r[] = {bytes(a, 300), number(1)}, s[] = {bytes(a, 300), number(2)};
    x = key_of(r, 2);
    y = key_of(s, 2);
    assert_false(bytes_equal(index_key_bytes(&x), index_key_bytes(&y)));
}

/* ---- ranges ---- */

static void equal_takes_all_that_begin_with_the_parts(void **unused)
{
    (void)unused;
    struct index_range r = {.low = {.n = 0}};
    const struct index_part ann = text("ann");
    const struct index_part in[] = {text("ann"), number(1)}, low[] = {text("anm"), number(9)},
                            high[] = {text("annx"), number(0)};
    assert_int_equal(index_range_equal(&r, &ann, 1, 2, NULL), 0);
    struct index_key k = key_of(in, 2);
    assert_true(in_range(&r, &k));
    k = key_of(low, 2);
    assert_false(in_range(&r, &k));
    k = key_of(high, 2);
    assert_false(in_range(&r, &k));
    /* The last value of all that are equal: -1 flips to bytes that end in 0xff. */
    struct index_range minus = {.low = {.n = 0}};
    const struct index_part m = number(-1), next = number(-0.99999);
    assert_int_equal(index_range_equal(&minus, &m, 1, 1, NULL), 0);
    k = one(m);
    assert_true(in_range(&minus, &k));
    k = one(next);
    assert_false(in_range(&minus, &k));
}

static void bounds_hold_for_cut_keys(void **unused)
{
    (void)unused;
    static uint8_t raw[400];
    memset(raw, 'm', sizeof raw);
    struct index_key k = one(bytes(raw, sizeof raw));
    assert_true(k.is_cut);
    for (size_t n = 1; n <= INDEX_BOUND_MAX_BYTES; n++) {
        struct index_range from = {.low = {.n = 0}}, to = from, prefix = from, past = from;
        struct index_part p = bytes(raw, n);
        bool fits = n + 3 <= INDEX_BOUND_MAX_BYTES;
        assert_int_equal(index_range_from(&from, &p, 1, NULL), fits ? 0 : ERR_LIMIT);
        assert_int_equal(index_range_to(&to, &p, 1, NULL), fits ? 0 : ERR_LIMIT);
        assert_int_equal(index_range_prefix(&prefix, NULL, 0, p.text, NULL),
                         n + 1 <= INDEX_BOUND_MAX_BYTES ? 0 : ERR_LIMIT);
        if (!fits)
            continue;
        assert_true(in_range(&from, &k));
        assert_false(in_range(&to, &k));
        assert_true(in_range(&prefix, &k));
        raw[n - 1] = 'n'; /* greater than the value, whose bytes are encoded already */
        assert_int_equal(index_range_from(&past, &p, 1, NULL), 0);
        assert_false(in_range(&past, &k));
        raw[n - 1] = 'm';
    }
    struct index_part all = bytes(raw, sizeof raw);
    struct index_range r = {.low = {.n = 0}};
    assert_int_equal(index_range_equal(&r, &all, 1, 1, NULL), 0);
    assert_true(in_range(&r, &k));
    assert_int_equal(index_range_equal(&r, &all, 1, 2, NULL), ERR_LIMIT);
}

static void from_to_and_prefix_narrow_each_other(void **unused)
{
    (void)unused;
    struct index_range r = {.low = {.n = 0}};
    const struct index_part from = text("ab"), to = text("ad");
    assert_int_equal(index_range_prefix(&r, NULL, 0, bytes_str("a"), NULL), 0);
    assert_int_equal(index_range_from(&r, &from, 1, NULL), 0);
    assert_int_equal(index_range_to(&r, &to, 1, NULL), 0);
    static const struct {
        const char *s;
        bool in;
    } t[] = {{"a", false}, {"aa", false}, {"ab", true}, {"ac", true}, {"ad", false}, {"b", false}};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct index_key k = one(text(t[i].s));
        assert_int_equal(in_range(&r, &k), t[i].in);
    }
    struct index_key k = one(number(5));
    assert_false(in_range(&r, &k));
    const struct index_part lead[] = {number(5), text("xyz")}, not [] = {number(5), text("wyz")};
    struct index_range second = {.low = {.n = 0}};
    assert_int_equal(index_range_prefix(&second, lead, 1, bytes_str("x"), NULL), 0);
    k = key_of(lead, 2);
    assert_true(in_range(&second, &k));
    k = key_of(not, 2);
    assert_false(in_range(&second, &k));
}

/* ---- rows, pointers, names ---- */

static void rows_of_one_value_are_told_apart_by_the_whole_record_key(void **unused)
{
    (void)unused;
    static uint8_t raw[KEY_MAX_BYTES], a[INDEX_ROW_KEY_MAX_BYTES], b[INDEX_ROW_KEY_MAX_BYTES];
    struct index_key v = one(bytes(raw, 400));
    memset(raw, 'k', sizeof raw);
    struct bytes x = index_row_key(258, index_key_bytes(&v), bytes_of(raw, KEY_MAX_BYTES), a);
    assert_in_range(x.n, 490, INDEX_ROW_KEY_MAX_BYTES);
    assert_memory_equal(a, "\0\0\0\0\0\0\1\2", 8);
    for (size_t n = INDEX_RECORD_WHOLE_BYTES - 3; n < KEY_MAX_BYTES; n++) {
        struct bytes y = index_row_key(258, index_key_bytes(&v), bytes_of(raw, n), b);
        assert_int_equal(
            y.n, 8 + v.n + (n <= INDEX_RECORD_WHOLE_BYTES ? n : INDEX_RECORD_WHOLE_BYTES + 1));
        assert_false(bytes_equal(x, y));
    }
    raw[KEY_MAX_BYTES - 1] = 'l';
    struct bytes y = index_row_key(258, index_key_bytes(&v), bytes_of(raw, KEY_MAX_BYTES), b);
    assert_false(bytes_equal(x, y));
}

static void pointers_are_checked_and_taken_apart(void **unused)
{
    (void)unused;
    static const struct {
        const char *p;
        int rc;
    } t[] = {{"", 0},           {"/", 0},           {"/a/b", 0},
             {"/a~1b", 0},      {"/~0~1", 0},       {"a", ERR_USAGE},
             {"/~", ERR_USAGE}, {"/~2", ERR_USAGE}, {"/a/~", ERR_USAGE}};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        assert_int_equal(index_pointer_check(bytes_str(t[i].p), NULL), t[i].rc);
    assert_int_equal(index_pointer_check(bytes_of("/a\0b", 4), NULL), ERR_USAGE);
    char many[INDEX_POINTER_MAX_BYTES + 1];
    memset(many, '/', sizeof many);
    assert_int_equal(index_pointer_check(bytes_of(many, sizeof many - 1), NULL), 0);
    assert_int_equal(index_pointer_check(bytes_of(many, sizeof many), NULL), ERR_LIMIT);

    static const char *const want[] = {"a/b", "", "~1", "0"};
    uint8_t out[INDEX_POINTER_MAX_BYTES];
    struct bytes token;
    size_t at = 0;
    for (size_t i = 0; i < 4; i++) {
        assert_true(index_pointer_next(bytes_str("/a~1b//~01/0"), &at, out, &token));
        assert_true(bytes_equal(token, bytes_str(want[i])));
    }
    assert_false(index_pointer_next(bytes_str("/a~1b//~01/0"), &at, out, &token));
    at = 0;
    assert_false(index_pointer_next(bytes_str(""), &at, out, &token));
    at = 0;
    assert_true(index_pointer_next(bytes_str("/"), &at, out, &token));
    assert_int_equal(token.n, 0);
}

static void the_declarations_key_names_collection_and_index(void **unused)
{
    (void)unused;
    uint8_t out[INDEX_DECLARED_KEY_MAX_BYTES];
    struct bytes c, n, k = index_declared_key(bytes_str("pets"), bytes_str("by-owner"), out);
    assert_true(bytes_equal(k, bytes_str("pets/by-owner")));
    assert_int_equal(index_read_declared_key(k, &c, &n, NULL), 0);
    assert_true(bytes_equal(c, bytes_str("pets")) && bytes_equal(n, bytes_str("by-owner")));
    static const char *const bad[] = {"",         "pets",       "/x",      "pets/",
                                      "pets/a/b", "_indexes/x", "pets/_x", "p ts/x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(index_read_declared_key(bytes_str(bad[i]), &c, &n, NULL), ERR_FORMAT);
}

static void only_pointers_and_uniqueness_change_the_rows(void **unused)
{
    (void)unused;
    struct index_declaration a = {.pointers = 1, .pointer_bytes = {2}, .pointer = {"/a"}}, b = a;
    b.enforced = true;
    assert_true(index_declaration_same_rows(&a, &b));
    b.unique = true;
    assert_false(index_declaration_same_rows(&a, &b));
    b = a;
    b.pointer[0][1] = 'b';
    assert_false(index_declaration_same_rows(&a, &b));
    b = a;
    b.pointers = 2;
    assert_false(index_declaration_same_rows(&a, &b));
}

/* Sites of other versions give and take these bytes. */
static void the_tag_of_a_token_stays_as_it_is(void **state)
{
    (void)state;
    const struct index_declaration d = {
        .pointers = 2, .pointer_bytes = {6, 2}, .pointer = {"/owner", "/n"}, .unique = true};
    static const uint8_t expected[] = {0x9e, 0x4f, 0xcc, 0x32, 0xd3, 0xd4, 0xf8, 0x84};
    uint8_t tag[INDEX_TOKEN_TAG_BYTES];
    index_token_tag(bytes_str("land"), bytes_str("by-owner"), &d, tag);
    assert_memory_equal(tag, expected, sizeof tag);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_compare_as_values_do),
        cmocka_unit_test(there_is_one_zero),
        cmocka_unit_test(no_key_is_a_prefix_of_another),
        cmocka_unit_test(long_values_are_cut_where_something_begins),
        cmocka_unit_test(a_cut_key_tells_values_apart_that_differ_behind_the_cut),
        cmocka_unit_test(equal_takes_all_that_begin_with_the_parts),
        cmocka_unit_test(bounds_hold_for_cut_keys),
        cmocka_unit_test(from_to_and_prefix_narrow_each_other),
        cmocka_unit_test(rows_of_one_value_are_told_apart_by_the_whole_record_key),
        cmocka_unit_test(pointers_are_checked_and_taken_apart),
        cmocka_unit_test(the_declarations_key_names_collection_and_index),
        cmocka_unit_test(only_pointers_and_uniqueness_change_the_rows),
        cmocka_unit_test(the_tag_of_a_token_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
