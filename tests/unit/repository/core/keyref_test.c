#include "repository/core/keyref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct repo_keyref ref(const char *collection, const char *key, uint64_t lsn)
{
    return (struct repo_keyref){bytes_str(collection), bytes_str(key), {lsn}};
}

static void order_is_collection_key_lsn(void **state)
{
    (void)state;
    const struct repo_keyref order[] = {ref("a", "b", 9),    ref("a", "bb", 1), ref("a", "bb", 2),
                                        ref("a", "\xff", 1), ref("ab", "a", 1), ref("b", "a", 1)};
    const size_t n = sizeof order / sizeof order[0];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            int c = repo_keyref_compare(&order[i], &order[k]);
            assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
        }
    assert_true(repo_keyref_same_record(&order[1], &order[2]));
    assert_false(repo_keyref_same_record(&order[0], &order[1]));
    /* Two names run together differently are two records. */
    struct repo_keyref x = ref("ab", "c", 1), y = ref("a", "bc", 1);
    assert_false(repo_keyref_same_record(&x, &y));
    assert_false(digest_equal(repo_keyref_digest(&x), repo_keyref_digest(&y)));
}

static void the_longest_comes_back_and_every_cut_is_refused(void **state)
{
    (void)state;
    uint8_t buf[REPO_KEYREF_MAX_BYTES], text[KEY_MAX_BYTES];
    memset(text, 'x', sizeof text);
    struct repo_keyref longest = {
        bytes_of(text, COLLECTION_MAX_BYTES), bytes_of(text, KEY_MAX_BYTES), {UINT64_MAX}};
    struct repo_keyref back;
    struct writer w = writer_of(buf, sizeof buf);
    repo_keyref_write(&w, &longest);
    assert_false(w.bad);
    assert_int_equal(w.at, sizeof buf);
    struct reader r = reader_of(bytes_of(buf, w.at));
    assert_int_equal(repo_keyref_read(&r, &back, NULL), 0);
    assert_int_equal(repo_keyref_compare(&longest, &back), 0);
    assert_int_equal(r.at, w.at);
    for (size_t n = 0; n < w.at; n++) {
        r = reader_of(bytes_of(buf, n));
        assert_int_equal(repo_keyref_read(&r, &back, NULL), ERR_FORMAT);
    }
}

static void what_no_entry_can_write_is_refused(void **state)
{
    (void)state;
    uint8_t buf[REPO_KEYREF_MAX_BYTES + 10], text[KEY_MAX_BYTES + 1];
    memset(text, 'x', sizeof text);
    const struct repo_keyref wrong[] = {
        ref("", "k", 1),
        ref("c", "", 1),
        ref("c", "k", 0),
        {bytes_of(text, COLLECTION_MAX_BYTES + 1), bytes_str("k"), {1}},
        {bytes_str("c"), bytes_of(text, KEY_MAX_BYTES + 1), {1}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct repo_keyref back;
        struct writer w = writer_of(buf, sizeof buf);
        repo_keyref_write(&w, &wrong[i]);
        assert_false(w.bad);
        struct reader r = reader_of(bytes_of(buf, w.at));
        assert_int_equal(repo_keyref_read(&r, &back, NULL), ERR_FORMAT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_collection_key_lsn),
        cmocka_unit_test(the_longest_comes_back_and_every_cut_is_refused),
        cmocka_unit_test(what_no_entry_can_write_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
