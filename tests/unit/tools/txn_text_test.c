/* The text of `triveni txn`: what is taken, and the place that is named for what is not. */
#include "tools/txn_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static int parse(const char *text, size_t *steps, struct err *e)
{
    struct tvn_txn *txn = tvn_txn_new();
    int rc = txn_text_parse("t", bytes_str(text), txn, steps, e);
    tvn_txn_free(txn);
    return rc;
}

static void assert_steps(const char *text, size_t expected)
{
    struct err e = ERR_NONE;
    size_t steps = 0;
    if (parse(text, &steps, &e) != 0)
        fail_msg("%s: %s", text, e.text);
    assert_int_equal(steps, expected);
}

static void assert_bad(const char *text, const char *message)
{
    struct err e = ERR_NONE;
    size_t steps = 0;
    assert_int_not_equal(parse(text, &steps, &e), 0);
    assert_string_equal(e.text, message);
}

static void good_lines(void **state)
{
    (void)state;
    assert_steps("put c k some value with spaces", 1);
    assert_steps("# comment\r\n\r\nput c k v\r\ndel c k\nif-absent c k\nif-exists c k\nif-version "
                 "c k 18446744073709551615\n",
                 5);
    assert_steps("put c \"a key \\\"quoted\\\" \\u0905\" v\ndel c \"x y\"\n", 2);
    assert_steps("put\tc\tk\tv", 1);
    assert_steps("put c k ", 1); /* an empty value */
}

static void bad_lines(void **state)
{
    (void)state;
    assert_bad("", "t holds no steps");
    assert_bad("# only\n", "t holds no steps");
    assert_bad("putt c k v", "t:1: unknown step 'putt': did you mean 'put'?");
    assert_bad("del c k\nwhat c k",
               "t:2: unknown step 'what': use put, del, if-absent, if-exists or if-version");
    assert_bad("put c k", "t:1: put needs a value");
    assert_bad("put c", "t:1: the key is missing");
    assert_bad("put", "t:1: the collection is missing");
    assert_bad("del c k extra",
               "t:1: there is more in the line than 'del' takes; quote a key that has spaces");
    assert_bad("del c \"k", "t:1: the quoted key is not a JSON string");
    assert_bad("del c \"k\\", "t:1: the quoted key is not a JSON string");
    assert_bad("if-version c k", "t:1: the lsn is missing");
    assert_bad("if-version c k x", "t:1: the lsn 'x' is not a whole number");
    assert_bad("if-version c k 18446744073709551616",
               "t:1: the lsn '18446744073709551616' is too large: at most 18446744073709551615");
    assert_bad("put _system k v", "t:1: collection names that begin with '_' belong to the system");
}

static void json(void **state)
{
    (void)state;
    assert_steps(" [{\"op\":\"put\",\"collection\":\"c\",\"key\":\"k\",\"value\":{\"a\":1}},"
                 "{\"op\":\"del\",\"collection\":\"c\",\"key\":{\"base64\":\"/w==\"}},"
                 "{\"op\":\"if-version\",\"collection\":\"c\",\"key\":\"k\",\"lsn\":42}]",
                 3);
    assert_bad("[", "t:1:2: not JSON");
    assert_bad("[\n{\"op\" 1}]", "t:2:7: not JSON");
    assert_bad("[]", "t holds no steps");
    assert_bad("[1]", "t: step 1: must be an object");
    assert_bad("[{}]", "t: step 1: member \"op\" is missing");
    assert_bad("[{\"op\":\"put\",\"collection\":\"c\",\"key\":\"k\"}]",
               "t: step 1: put needs a value");
    assert_bad("[{\"op\":\"del\",\"collection\":\"c\",\"key\":\"k\",\"value\":1}]",
               "t: step 1: del takes no value");
    assert_bad("[{\"op\":\"del\",\"collection\":\"c\",\"key\":7}]",
               "t: step 1: member \"key\" must be a string or {\"base64\": \"...\"}");
    assert_bad("[{\"op\":\"if-version\",\"collection\":\"c\",\"key\":\"k\",\"lsn\":-1}]",
               "t: step 1: the lsn '-1' is not a whole number");
    assert_bad("[{\"op\":\"del\",\"collection\":7,\"key\":\"k\"}]",
               "t: step 1: member \"collection\" must be a string of at most 64 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(good_lines), cmocka_unit_test(bad_lines),
                                       cmocka_unit_test(json)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
