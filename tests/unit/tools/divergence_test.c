/* Lines of a bundle as operations: all that an apply rests on, and nothing that lacks it. */
#include "tools/divergence.h"

#include "tests/unit/tools/temp_dir.h"

static json_t *parsed(const char *text)
{
    json_t *line = json_loads(text, 0, NULL);
    assert_non_null(line);
    return line;
}

#define FRONT "\"lsn\":7,\"term\":2,\"time_us\":9,\"operation\":3,\"client\":\"app\","
#define SESSION "\"session\":\"ab000000000000000000000000000000\",\"sequence\":4,"

static void an_operation_is_read_whole(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct bundle_op op;
    json_t *line =
        parsed("{" FRONT SESSION "\"acknowledged\":\"yes\",\"op\":\"put\",\"collection\":\"deeds\","
               "\"key\":{\"base64\":\"awB6\"},\"base\":5,\"value\":\"v\"}");
    assert_int_equal(bundle_op_read(&line, &op, &e), 1);
    assert_null(line);
    assert_int_equal(op.number, 3);
    assert_int_equal(op.lsn, 7);
    assert_true(op.has_session && op.session.bytes[0] == 0xab && op.sequence == 4);
    assert_string_equal(op.acknowledged, "yes");
    assert_int_equal(op.kind, OP_PUT);
    assert_string_equal(op.collection, "deeds");
    assert_true(bytes_equal(op.key, bytes_of("k\0z", 3)));
    assert_true(bytes_equal(op.value, bytes_str("v")));
    assert_int_equal(op.base, OP_BASE_VERSION);
    assert_int_equal(op.base_lsn, 5);
    bundle_op_free(&op);
}

static void a_delete_of_what_was_not_there_is_one(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct bundle_op op;
    json_t *line = parsed("{" FRONT "\"acknowledged\":\"no\",\"op\":\"del\",\"collection\":\"c\","
                          "\"key\":\"k\",\"base\":\"absent\"}");
    assert_int_equal(bundle_op_read(&line, &op, &e), 1);
    assert_int_equal(op.kind, OP_DELETE);
    assert_int_equal(op.base, OP_BASE_ABSENT);
    assert_false(op.has_session);
    bundle_op_free(&op);
}

static void what_is_no_operation_stays_the_callers(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct bundle_op op;
    json_t *line = parsed("{\"lsn\":7,\"entry\":\"noop\"}");
    assert_int_equal(bundle_op_read(&line, &op, &e), 0);
    assert_non_null(line);
    json_decref(line);
}

static void one_that_lacks_something_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{\"op\":\"put\"}",
        "{" FRONT
        "\"acknowledged\":\"no\",\"op\":\"put\",\"collection\":\"c\",\"key\":\"k\",\"base\":5}",
        "{" FRONT "\"acknowledged\":\"no\",\"op\":\"del\",\"collection\":\"c\",\"key\":\"k\"}",
        "{" FRONT "\"acknowledged\":\"no\",\"op\":\"del\",\"collection\":\"c\",\"key\":\"k\","
        "\"base\":\"so\"}",
        "{" FRONT "\"acknowledged\":\"no\",\"op\":\"del\",\"collection\":\"c\",\"key\":{\"base64\":"
        "\"?\"},\"base\":1}",
        "{" FRONT "\"session\":\"zz\",\"acknowledged\":\"no\",\"op\":\"del\",\"collection\":\"c\","
        "\"key\":\"k\",\"base\":1}",
        "{" FRONT "\"acknowledged\":\"no\",\"op\":\"del\",\"collection\":\"a name of far more than "
        "the sixty-four "
        "bytes that one may have here\",\"key\":\"k\",\"base\":1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = ERR_NONE;
        struct bundle_op op;
        json_t *line = parsed(bad[i]);
        assert_int_equal(bundle_op_read(&line, &op, &e), ERR_INTEGRITY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_operation_is_read_whole),
        cmocka_unit_test(a_delete_of_what_was_not_there_is_one),
        cmocka_unit_test(what_is_no_operation_stays_the_callers),
        cmocka_unit_test(one_that_lacks_something_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
