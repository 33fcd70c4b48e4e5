/* What a client makes of a session that is refused: it waits where waiting helps, and says why where it does not. */
#include "tests/unit/client/cluster.h"

static int code, times; /* the next `times` openings are refused with it */

static bool refuse_openings(struct site *s, struct conn *conn, const struct frame *f)
{
    if (f->type != FRAME_SESSION_OPEN || times == 0)
        return false;
    times--;
    refuse(s, conn, f->request, code, -1);
    return true;
}

static struct cluster *cluster_that_refuses(int with, int so_often)
{
    struct cluster *c = cluster_start(1);
    cluster_lock(c);
    c->before = refuse_openings;
    code = with;
    times = so_often;
    cluster_unlock(c);
    return c;
}

static void a_site_that_cannot_open_one_now_is_asked_again(void **state)
{
    (void)state;
    static const int codes[] = {ERR_BUSY, ERR_TIMEOUT, ERR_UNREACHABLE, ERR_OUTCOME_UNKNOWN};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct cluster *c = cluster_that_refuses(codes[i], 2);
        struct tvn *db = open_client(c);
        struct tvn_error error;
        assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), error);
        assert_int_equal(locked_int(c, &times), 0);
        assert_int_equal(locked_int(c, &c->applied_count), 1);
        assert_int_equal(tvn_close(db), 0);
        cluster_stop(c);
    }
}

static void a_refusal_for_good_is_told_to_what_waits_and_not_to_the_rest(void **state)
{
    (void)state;
    struct cluster *c = cluster_that_refuses(ERR_DENIED, 1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_result result;
    assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), &result, &error), TVN_DENIED);
    if (strstr(error.text, "open a session at dc: denied") == NULL)
        fail_msg("%s", error.text);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_int_equal(locked_int(c, &c->applied_count), 0);
    /* the next one asks again, and is the first of its session */
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), &result, &error), error);
    assert_int_equal(locked_int(c, &c->applied_count), 1);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void a_wait_for_a_session_ends_with_the_deadline(void **state)
{
    (void)state;
    struct cluster *c = cluster_that_refuses(ERR_BUSY, 1000000);
    struct tvn_options o;
    struct tvn_error error;
    test_options(c, &o, "app");
    o.timeout_ms = 300;
    struct tvn *db = open_with(&o);
    assert_int_not_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), 0);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_true(error.code == TVN_TIMEOUT || error.code == TVN_BUSY);
    assert_true(locked_int(c, &times) > 1000000 - 100); /* it was not asked all the time */
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_site_that_cannot_open_one_now_is_asked_again),
        cmocka_unit_test(a_refusal_for_good_is_told_to_what_waits_and_not_to_the_rest),
        cmocka_unit_test(a_wait_for_a_session_ends_with_the_deadline),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
