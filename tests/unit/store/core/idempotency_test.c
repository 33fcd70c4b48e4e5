/* Marks of idempotency keys: their bytes, and the decisions on what comes with one. */
#include "store/core/idempotency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct sha256 content = {{1, 2, 3}};
static const struct sha256 other = {{1, 2, 4}};

static void a_mark_comes_back_whole(void **state)
{
    (void)state;
    const struct idempotency_mark in = {IDEMPOTENCY_COMMITTED, LEVEL_GSR, {7}, content};
    struct idempotency_mark out;
    uint8_t value[IDEMPOTENCY_VALUE_BYTES];
    struct err e = ERR_NONE;
    assert_int_equal(idempotency_read(idempotency_write(&in, value), &out, &e), 0);
    assert_int_equal(out.state, IDEMPOTENCY_COMMITTED);
    assert_int_equal(out.level, LEVEL_GSR);
    assert_int_equal(out.term.v, 7);
    assert_true(sha256_equal(&out.content, &content));
    /* FORMAT: what stands in archives that are older than this test stays readable */
    static const uint8_t first[12] = {1, 1, LEVEL_GSR, 0, 7};
    assert_memory_equal(value, first, sizeof first);
    assert_memory_equal(value + 12, content.b, sizeof content.b);
}

static void bytes_that_are_no_mark_are_refused(void **state)
{
    (void)state;
    const struct idempotency_mark in = {IDEMPOTENCY_GIVEN_UP, LEVEL_MAJORITY, {7}, {{0}}};
    struct idempotency_mark out;
    uint8_t value[IDEMPOTENCY_VALUE_BYTES + 1] = {0};
    (void)idempotency_write(&in, value);
    struct err e = ERR_NONE;
    for (size_t n = 0; n <= sizeof value; n++)
        assert_int_equal(idempotency_read(bytes_of(value, n), &out, &e),
                         n == IDEMPOTENCY_VALUE_BYTES ? 0 : ERR_FORMAT);
    static const struct {
        size_t at;
        uint8_t wrong;
    } cases[] = {{0, 0}, {0, 2}, {1, 0}, {1, 3}, {2, LEVEL_ALL + 1}, {3, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)idempotency_write(&in, value);
        value[cases[i].at] = cases[i].wrong;
        assert_int_equal(idempotency_read(bytes_of(value, IDEMPOTENCY_VALUE_BYTES), &out, &e),
                         ERR_FORMAT);
    }
}

static void the_key_of_a_record_tells_its_client(void **state)
{
    (void)state;
    uint8_t a[IDEMPOTENCY_RECORD_KEY_MAX_BYTES], b[IDEMPOTENCY_RECORD_KEY_MAX_BYTES];
    uint8_t longest[CLIENT_NAME_MAX_BYTES];
    static const uint8_t zeros[IDEMPOTENCY_KEY_MAX_BYTES] = {0};
    memset(longest, 'x', sizeof longest);
    const struct bytes one = idempotency_record_key(bytes_str("app"), bytes_str("k"), a);
    const struct bytes two = idempotency_record_key(bytes_str("ap"), bytes_str("pk"), b);
    assert_false(bytes_equal(one, two));
    assert_true(bytes_equal(idempotency_client(one), bytes_str("app")));
    assert_true(bytes_equal(idempotency_client(two), bytes_str("ap")));
    const struct bytes largest =
        idempotency_record_key(bytes_of(longest, sizeof longest), bytes_of(zeros, sizeof zeros), a);
    assert_int_equal(largest.n, IDEMPOTENCY_RECORD_KEY_MAX_BYTES);
    assert_true(largest.n <= KEY_MAX_BYTES);
    assert_int_equal(idempotency_client(largest).n, sizeof longest);
    assert_int_equal(idempotency_client(bytes_str("none")).n, 0);
    assert_int_equal(idempotency_client((struct bytes){NULL, 0}).n, 0);
    const struct op op = {OP_PUT, bytes_str(IDEMPOTENCY_COLLECTION), largest, {NULL, 0}};
    assert_int_equal(op_check(&op, true, NULL), 0);
    assert_int_equal(op_check(&op, false, NULL), ERR_USAGE);
    assert_true(body_txn_bytes(&op, 1, 0) - body_txn_bytes(&op, 0, 0) + IDEMPOTENCY_VALUE_BYTES <=
                IDEMPOTENCY_OP_MAX_BYTES);
}

static void keys_have_1_to_64_bytes(void **state)
{
    (void)state;
    static const uint8_t key[IDEMPOTENCY_KEY_MAX_BYTES + 1];
    assert_int_equal(idempotency_key_check(bytes_of(key, 0), NULL), ERR_USAGE);
    assert_int_equal(idempotency_key_check(bytes_of(key, 1), NULL), 0);
    assert_int_equal(idempotency_key_check(bytes_of(key, sizeof key - 1), NULL), 0);
    assert_int_equal(idempotency_key_check(bytes_of(key, sizeof key), NULL), ERR_LIMIT);
}

static void what_is_known_of_the_key_decides(void **state)
{
    (void)state;
    const struct idempotency_mark committed = {IDEMPOTENCY_COMMITTED, LEVEL_LOCAL, {1}, content};
    const struct idempotency_mark given_up = {IDEMPOTENCY_GIVEN_UP, LEVEL_LOCAL, {1}, content};
    assert_int_equal(idempotency_decide(NULL, &content), IDEMPOTENCY_NEW);
    assert_int_equal(idempotency_decide(&committed, &content), IDEMPOTENCY_REPEATED);
    assert_int_equal(idempotency_decide(&committed, &other), IDEMPOTENCY_OTHER);
    assert_int_equal(idempotency_decide(&given_up, &content), IDEMPOTENCY_TOO_LATE);
    assert_int_equal(idempotency_decide(&given_up, &other), IDEMPOTENCY_TOO_LATE);
}

static void who_asks_is_told_what_stands_and_gives_up_only_what_does_not(void **state)
{
    (void)state;
    const struct idempotency_mark committed = {IDEMPOTENCY_COMMITTED, LEVEL_LOCAL, {1}, content};
    const struct idempotency_mark given_up = {IDEMPOTENCY_GIVEN_UP, LEVEL_LOCAL, {1}, content};
    for (int give_up = 0; give_up < 2; give_up++) {
        assert_int_equal(idempotency_outcome(&committed, give_up), IDEMPOTENCY_IS_COMMITTED);
        assert_int_equal(idempotency_outcome(&given_up, give_up), IDEMPOTENCY_IS_GIVEN_UP);
    }
    assert_int_equal(idempotency_outcome(NULL, false), IDEMPOTENCY_NONE_YET);
    assert_int_equal(idempotency_outcome(NULL, true), IDEMPOTENCY_GIVE_UP);
}

static void a_key_is_kept_for_its_time_and_while_it_is_being_changed(void **state)
{
    (void)state;
    const struct utc then = {1000}, due = {1000 + 60};
    assert_true(idempotency_may_forget(then, due, 60, 60, false));
    assert_false(idempotency_may_forget(then, (struct utc){due.us - 1}, 60, 60, false));
    assert_false(idempotency_may_forget(then, due, 59, 60, false));
    assert_false(idempotency_may_forget(then, due, 60, 60, true));
    assert_false(idempotency_may_forget(then, (struct utc){UINT64_MAX}, UINT64_MAX, 0, false));
}

static void marks_are_put_and_forgotten_by_operations_on_one_record(void **state)
{
    (void)state;
    const struct idempotency_mark m = {IDEMPOTENCY_COMMITTED, LEVEL_MAJORITY, {3}, content};
    uint8_t body[2 * IDEMPOTENCY_OP_MAX_BYTES], k[IDEMPOTENCY_RECORD_KEY_MAX_BYTES];
    const struct bytes key = idempotency_record_key(bytes_str("app"), bytes_str("k"), k);
    struct writer w = writer_of(body, sizeof body);
    idempotency_write_op(&w, bytes_str("app"), bytes_str("k"), &m);
    idempotency_write_forget(&w, key);
    assert_false(w.bad);
    struct reader r = reader_of(bytes_of(body, w.at));
    struct idempotency_mark read;
    struct op op;
    assert_int_equal(body_next_op(&r, &op, NULL), 0);
    assert_int_equal(op.kind, OP_PUT);
    assert_true(bytes_equal(op.collection, bytes_str(IDEMPOTENCY_COLLECTION)));
    assert_true(bytes_equal(op.key, key));
    assert_int_equal(idempotency_read(op.value, &read, NULL), 0);
    assert_true(read.state == m.state && read.term.v == 3 && sha256_equal(&read.content, &content));
    assert_int_equal(body_next_op(&r, &op, NULL), 0);
    assert_int_equal(op.kind, OP_DELETE);
    assert_true(bytes_equal(op.collection, bytes_str(IDEMPOTENCY_COLLECTION)));
    assert_true(bytes_equal(op.key, key));
    assert_true(reader_done(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mark_comes_back_whole),
        cmocka_unit_test(bytes_that_are_no_mark_are_refused),
        cmocka_unit_test(the_key_of_a_record_tells_its_client),
        cmocka_unit_test(keys_have_1_to_64_bytes),
        cmocka_unit_test(what_is_known_of_the_key_decides),
        cmocka_unit_test(who_asks_is_told_what_stands_and_gives_up_only_what_does_not),
        cmocka_unit_test(a_key_is_kept_for_its_time_and_while_it_is_being_changed),
        cmocka_unit_test(marks_are_put_and_forgotten_by_operations_on_one_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
