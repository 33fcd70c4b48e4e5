/* Keys that applications give to their transactions: what a whole site makes of a transaction that comes again, from whatever
 * handle, after whatever restart, and what it says when it is asked. */
#include "tests/unit/replication/site_kit.h"

enum { PATIENCE_MS = 60000 };

static struct running site;

static int commit(struct tvn *db, const char *key, const char *record, const char *value,
                  struct tvn_result *result, struct tvn_error *error)
{
    struct tvn_txn *txn = tvn_txn_new();
    (void)tvn_txn_put(txn, "land", tvn_str(record), tvn_str(value));
    (void)tvn_txn_set_idempotency_key(txn, tvn_str(key));
    int rc = tvn_txn_commit(db, txn, result, error);
    tvn_txn_free(txn);
    return rc;
}

static uint64_t commit_new(struct tvn *db, const char *key, const char *record, const char *value)
{
    struct tvn_result result;
    struct tvn_error error;
    if (commit(db, key, record, value, &result, &error) != 0)
        fail_msg("%s: %s", key, error.text);
    assert_false(result.repeated);
    return result.lsn;
}

static void assert_repeated(struct tvn *db, const char *key, const char *record, const char *value,
                            uint64_t lsn)
{
    struct tvn_result result;
    struct tvn_error error;
    if (commit(db, key, record, value, &result, &error) != 0)
        fail_msg("%s: %s", key, error.text);
    assert_true(result.repeated);
    assert_int_equal(result.lsn, lsn);
    assert_int_not_equal(result.term, 0);
    assert_int_not_equal(result.time_us, 0);
}

static void assert_refused(struct tvn *db, const char *key, const char *value, int code,
                           const char *text)
{
    struct tvn_error error;
    assert_int_equal(commit(db, key, "r", value, NULL, &error), code);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    if (strstr(error.text, text) == NULL)
        fail_msg("%s", error.text);
}

static void assert_outcome(struct tvn *db, const char *key, int give_up, int code, uint64_t lsn)
{
    struct tvn_result result;
    struct tvn_error error;
    int rc = tvn_outcome_by_key(db, tvn_str(key), give_up, 0, &result, &error);
    if (rc != code)
        fail_msg("%s: %d: %s", key, rc, error.text);
    if (lsn != 0)
        assert_int_equal(result.lsn, lsn);
}

static void the_same_again_is_answered_as_the_first_by_any_handle_and_after_a_restart(void **state)
{
    (void)state;
    make_and_start("again", &site);
    struct tvn *db = connect_with(NULL), *other = connect_with(NULL);
    const uint64_t first = commit_new(db, "case-1", "AB-1", "one");
    assert_true(put(db, "AB-1", "changed since") > first);
    assert_repeated(db, "case-1", "AB-1", "one", first);
    assert_repeated(other, "case-1", "AB-1", "one", first);
    assert_value(db, "AB-1", "changed since");
    assert_outcome(other, "case-1", 0, 0, first);
    assert_int_equal(tvn_close(db), 0);
    assert_int_equal(tvn_close(other), 0);
    for (int i = 0; i < 2; i++) {
        stop(&site);
        start(&site);
        db = connect_with(NULL);
        assert_repeated(db, "case-1", "AB-1", "one", first);
        assert_outcome(db, "case-1", 1, 0, first); /* what is committed cannot be given up */
        assert_value(db, "AB-1", "changed since");
        assert_int_equal(tvn_close(db), 0);
    }
    stop(&site);
}

static void a_key_stands_for_one_content(void **state)
{
    (void)state;
    make_and_start("content", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_error error;
    struct tvn_result result;
    const uint64_t first = commit_new(db, "k", "r", "one");
    assert_refused(db, "k", "two", TVN_KEY_USED, "was used at lsn");
    assert_refused(db, "k", "on", TVN_KEY_USED, "was used at lsn");
    assert_value(db, "r", "one");
    /* the same operation under a condition is another transaction */
    struct tvn_txn *txn = tvn_txn_new();
    (void)tvn_txn_if_exists(txn, "land", tvn_str("r"));
    (void)tvn_txn_put(txn, "land", tvn_str("r"), tvn_str("one"));
    assert_int_equal(tvn_txn_set_idempotency_key(txn, tvn_str("k")), 0);
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &error), TVN_KEY_USED);
    /* levels and deadlines are no part of it */
    tvn_txn_reset(txn);
    (void)tvn_txn_put(txn, "land", tvn_str("r"), tvn_str("one"));
    (void)tvn_txn_set(txn, TVN_ACK_LOCAL, 5000);
    (void)tvn_txn_set_idempotency_key(txn, tvn_str("k"));
    assert_int_equal(tvn_txn_commit(db, txn, &result, &error), 0);
    assert_true(result.repeated);
    assert_int_equal(result.lsn, first);
    /* a reset transaction has no key */
    tvn_txn_reset(txn);
    (void)tvn_txn_put(txn, "land", tvn_str("r"), tvn_str("three"));
    assert_int_equal(tvn_txn_commit(db, txn, &result, &error), 0);
    assert_false(result.repeated);
    tvn_txn_free(txn);
    assert_int_equal(tvn_close(db), 0);
    stop(&site);
}

static void a_key_whose_transaction_changed_nothing_is_free(void **state)
{
    (void)state;
    make_and_start("nothing", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_error error;
    struct tvn_txn *txn = tvn_txn_new();
    (void)tvn_txn_if_exists(txn, "land", tvn_str("r"));
    (void)tvn_txn_put(txn, "land", tvn_str("r"), tvn_str("one"));
    (void)tvn_txn_set_idempotency_key(txn, tvn_str("k"));
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &error), TVN_CONDITION);
    assert_outcome(db, "k", 0, TVN_OUTCOME_UNKNOWN, 0);
    (void)put(db, "r", "zero");
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &error), 0);
    assert_outcome(db, "k", 0, 0, 0);
    tvn_txn_free(txn);
    assert_int_equal(tvn_close(db), 0);
    stop(&site);
}

static void a_key_that_was_given_up_never_happens(void **state)
{
    (void)state;
    make_and_start("given-up", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_error error;
    assert_outcome(db, "late", 0, TVN_OUTCOME_UNKNOWN, 0);
    assert_int_equal(tvn_outcome_by_key(db, tvn_str("late"), 1, 0, NULL, &error), TVN_NOT_FOUND);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    if (strstr(error.text, "never will") == NULL)
        fail_msg("%s", error.text);
    assert_refused(db, "late", "one", TVN_KEY_USED, "was given up at lsn");
    assert_outcome(db, "late", 0, TVN_NOT_FOUND, 0);
    assert_int_equal(tvn_close(db), 0);
    stop(&site);
    start(&site);
    db = connect_with(NULL);
    assert_refused(db, "late", "one", TVN_KEY_USED, "was given up at lsn");
    assert_outcome(db, "late", 1, TVN_NOT_FOUND, 0);
    struct tvn_records *found;
    assert_int_equal(tvn_get(db, "land", tvn_str("r"), NULL, &found, &error), TVN_NOT_FOUND);
    assert_int_equal(tvn_close(db), 0);
    stop(&site);
}

struct tally {
    unsigned done, repeated, failed;
    uint64_t lsn;
};

static void tallied(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct tally *t = arg;
    t->failed += error->code != 0;
    t->done += error->code == 0 && !result->repeated;
    t->repeated += error->code == 0 && result->repeated;
    if (error->code == 0 && t->lsn == 0)
        t->lsn = result->lsn;
    t->failed += error->code == 0 && t->lsn != result->lsn;
}

static void of_a_hundred_at_once_one_takes_effect(void **state)
{
    (void)state;
    make_and_start("hundred", &site);
    struct tvn *dbs[4];
    struct tally tally[4] = {{0, 0, 0, 0}};
    struct tvn_error error;
    struct tvn_txn *txn = tvn_txn_new();
    (void)tvn_txn_put(txn, "land", tvn_str("r"), tvn_str("one"));
    (void)tvn_txn_set_idempotency_key(txn, tvn_str("k"));
    for (unsigned i = 0; i < 4; i++)
        dbs[i] = connect_with(NULL);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(tvn_submit(dbs[i % 4], txn, tallied, &tally[i % 4], &error), 0);
    unsigned done = 0, repeated = 0;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(tvn_flush(dbs[i], 0, &error), 0);
        assert_int_equal(tally[i].failed, 0);
        assert_int_equal(tally[i].lsn, tally[0].lsn);
        done += tally[i].done;
        repeated += tally[i].repeated;
        assert_int_equal(tvn_close(dbs[i]), 0);
    }
    assert_int_equal(done, 1);
    assert_int_equal(repeated, 99);
    tvn_txn_free(txn);
    stop(&site);
}

static void keys_of_another_client_are_others(void **state)
{
    (void)state;
    char cert[128], key[128];
    make_and_start("clients", &site);
    struct tvn *db = connect_with(NULL);
    (void)snprintf(cert, sizeof cert, "%s/pki/app.crt", root);
    (void)snprintf(key, sizeof key, "%s/pki/app.key", root);
    struct tvn_options o = TVN_OPTIONS_INIT;
    o.cert = cert;
    o.key = key;
    struct tvn *app = connect_with(&o);
    const uint64_t first = commit_new(db, "k", "r", "of ops");
    assert_outcome(app, "k", 0, TVN_OUTCOME_UNKNOWN, 0);
    assert_true(commit_new(app, "k", "r", "of app") > first);
    assert_repeated(db, "k", "r", "of ops", first);
    assert_value(db, "r", "of app");
    assert_int_equal(tvn_close(db), 0);
    assert_int_equal(tvn_close(app), 0);
    stop(&site);
}

/* A site is made whose keys live for `us`, and at most `keys` of each client. */
static struct tvn *start_with(const char *name, uint64_t us, uint32_t keys)
{
    struct err e = ERR_NONE;
    make_config(name);
    config.idempotency_us = us;
    config.idempotency_keys = keys;
    if (site_init(&config, SITE_NEW_CLUSTER, &e) != 0)
        fail_msg("%s", e.text);
    start(&site);
    return connect_with(NULL);
}

static void a_client_has_a_bounded_number_and_none_is_dropped_for_another(void **state)
{
    (void)state;
    struct tvn *db = start_with("bounded", UINT64_C(3600000000), 3);
    struct tvn_error error;
    uint64_t lsn[3];
    lsn[0] = commit_new(db, "0", "a", "v");
    lsn[1] = commit_new(db, "1", "b", "v");
    lsn[2] = commit_new(db, "2", "c", "v");
    assert_refused(db, "3", "v", TVN_LIMIT, "3 idempotency keys");
    assert_int_equal(tvn_outcome_by_key(db, tvn_str("3"), 1, 0, NULL, &error), TVN_LIMIT);
    assert_repeated(db, "0", "a", "v", lsn[0]);
    assert_repeated(db, "1", "b", "v", lsn[1]);
    assert_repeated(db, "2", "c", "v", lsn[2]);
    (void)put(db, "r", "without a key");
    assert_int_equal(tvn_close(db), 0);
    /* also a primary that has just begun: it counts them */
    stop(&site);
    start(&site);
    db = connect_with(NULL);
    for (unsigned ms = 0;; ms += 100) {
        char key[16];
        (void)snprintf(key, sizeof key, "new-%u", ms);
        int rc = commit(db, key, "r", "v", NULL, &error);
        if (rc == TVN_LIMIT)
            break;
        assert_int_equal(rc, 0);
        assert_true(ms < PATIENCE_MS);
        (void)usleep(100000);
    }
    assert_repeated(db, "0", "a", "v", lsn[0]);
    assert_int_equal(tvn_close(db), 0);
    stop(&site);
}

static void after_its_time_a_key_is_forgotten_and_begins_anew(void **state)
{
    (void)state;
    struct tvn *db = start_with("forgotten", 2000000, 0);
    struct tvn_result result;
    struct tvn_error error;
    const uint64_t first = commit_new(db, "old", "r", "one");
    assert_repeated(db, "old", "r", "one", first);
    struct timespec begun, now;
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &begun), 0);
    for (unsigned ms = 0;; ms += 50) {
        int rc = tvn_outcome_by_key(db, tvn_str("old"), 0, 0, &result, &error);
        if (rc == TVN_OUTCOME_UNKNOWN)
            break;
        assert_int_equal(rc, 0);
        assert_true(ms < PATIENCE_MS);
        (void)usleep(50000);
    }
    assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &now), 0);
    assert_true(now.tv_sec - begun.tv_sec >= 1); /* not before its time, to the second */
    assert_value(db, "r", "one");
    assert_true(commit_new(db, "old", "r", "one") > first);
    assert_int_equal(tvn_close(db), 0);
    stop(&site);
}

static void many_are_forgotten_together(void **state)
{
    (void)state;
    struct tvn *db = start_with("many", 4000000, 0);
    struct tvn_error error;
    struct tally tally = {0, 0, 0, 0};
    struct tvn_txn *txn = tvn_txn_new();
    for (unsigned i = 0; i < 700; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "key-%05u", i);
        tvn_txn_reset(txn);
        (void)tvn_txn_put(txn, "land", tvn_str(key), tvn_str("v"));
        (void)tvn_txn_set_idempotency_key(txn, tvn_str(key));
        int rc;
        while ((rc = tvn_submit(db, txn, tallied, &tally, &error)) == TVN_BUSY)
            (void)usleep(100);
        assert_int_equal(rc, 0);
    }
    tvn_txn_free(txn);
    assert_int_equal(tvn_flush(db, 0, &error), 0);
    assert_int_equal(tally.done, 700);
    for (unsigned ms = 0;; ms += 50) {
        struct tvn_scan_options range = TVN_SCAN_INIT;
        struct tvn_scan *scan;
        struct tvn_record r;
        unsigned left = 0;
        range.collection = "_idempotency";
        assert_int_equal(tvn_scan_open(db, &range, NULL, &scan, &error), 0);
        int rc;
        while ((rc = tvn_scan_next(scan, &r, &error)) == 0)
            left++;
        assert_int_equal(rc, 1);
        tvn_scan_close(scan);
        if (left == 0)
            break;
        assert_true(ms < PATIENCE_MS);
        (void)usleep(50000);
    }
    assert_int_equal(tvn_close(db), 0);
    stop(&site);
}

static void a_key_that_is_not_there_can_be_asked_for_first_of_all_in_local_mode(void **state)
{
    (void)state;
    struct tvn_error error;
    char order[256], *reply;
    make_and_start("local", &site);
    struct tvn *db = connect_with(NULL);
    (void)put(db, "r", "serving");
    order_text(db, 1, ",\"mode\":\"local\"", order);
    assert_int_equal(tvn_admin(db, "mode", order, 0, &reply, &error), 0);
    tvn_free(reply);
    assert_int_equal(tvn_close(db), 0);
    stop(&site); /* so that nobody has waited for the own disk alone yet */
    start(&site);
    db = connect_with(NULL);
    assert_outcome(db, "none", 0, TVN_OUTCOME_UNKNOWN, 0);
    assert_outcome(db, "none", 1, TVN_NOT_FOUND, 0);
    assert_refused(db, "none", "one", TVN_KEY_USED, "was given up at lsn");
    assert_int_equal(tvn_close(db), 0);
    stop(&site);
}

static void a_key_takes_one_operation_and_none_may_forge_it(void **state)
{
    (void)state;
    make_and_start("limits", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_error error;
    char text[TVN_IDEMPOTENCY_KEY_MAX_BYTES + 2];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    struct tvn_txn *txn = tvn_txn_new();
    assert_int_equal(tvn_txn_set_idempotency_key(txn, tvn_str(text)), TVN_LIMIT);
    tvn_txn_reset(txn);
    assert_int_equal(tvn_txn_set_idempotency_key(txn, tvn_str("")), TVN_USAGE);
    tvn_txn_reset(txn);
    assert_int_equal(tvn_txn_put(txn, "_idempotency", tvn_str("k"), tvn_str("v")), TVN_USAGE);
    assert_int_equal(tvn_outcome_by_key(db, tvn_str(text), 0, 0, NULL, &error), TVN_LIMIT);
    assert_int_equal(tvn_outcome_by_key(db, tvn_str(""), 0, 0, NULL, &error), TVN_USAGE);
    text[sizeof text - 2] = '\0';
    tvn_txn_reset(txn);
    for (unsigned i = 0; i < TVN_TXN_MAX_OPS; i++)
        (void)tvn_txn_del(txn, "land", tvn_str("r"));
    assert_int_equal(tvn_txn_set_idempotency_key(txn, tvn_str(text)), 0);
    assert_int_equal(tvn_txn_commit(db, txn, NULL, &error), TVN_LIMIT);
    if (strstr(error.text, "at most 65535") == NULL)
        fail_msg("%s", error.text);
    tvn_txn_reset(txn);
    for (unsigned i = 1; i < TVN_TXN_MAX_OPS; i++)
        (void)tvn_txn_del(txn, "land", tvn_str("r"));
    assert_int_equal(tvn_txn_set_idempotency_key(txn, tvn_str(text)), 0);
    if (tvn_txn_commit(db, txn, NULL, &error) != 0)
        fail_msg("%s", error.text);
    assert_outcome(db, text, 0, 0, 0);
    tvn_txn_free(txn);
    assert_int_equal(tvn_close(db), 0);
    stop(&site);
}

static int setup(void **state)
{
    char dir[64];
    struct err e = ERR_NONE;
    if (kit_setup(state) != 0)
        return -1;
    (void)snprintf(dir, sizeof dir, "%s/pki", root);
    return pki_issue(dir, &(struct pki_request){.kind = WIRE_CLIENT, .name = "app"}, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_again_is_answered_as_the_first_by_any_handle_and_after_a_restart),
        cmocka_unit_test(a_key_stands_for_one_content),
        cmocka_unit_test(a_key_whose_transaction_changed_nothing_is_free),
        cmocka_unit_test(a_key_that_was_given_up_never_happens),
        cmocka_unit_test(of_a_hundred_at_once_one_takes_effect),
        cmocka_unit_test(keys_of_another_client_are_others),
        cmocka_unit_test(a_client_has_a_bounded_number_and_none_is_dropped_for_another),
        cmocka_unit_test(after_its_time_a_key_is_forgotten_and_begins_anew),
        cmocka_unit_test(many_are_forgotten_together),
        cmocka_unit_test(a_key_that_is_not_there_can_be_asked_for_first_of_all_in_local_mode),
        cmocka_unit_test(a_key_takes_one_operation_and_none_may_forge_it),
    };
    return cmocka_run_group_tests(tests, setup, kit_teardown);
}
