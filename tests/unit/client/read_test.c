/* Reads: many keys, scans, snapshots, standbys and tokens; and operators' commands. */
#include "tests/unit/client/cluster.h"

static void many_keys_are_one_state(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_records *r;
    assert_ok(tvn_put(db, "a", tvn_str("1"), tvn_str("x"), NULL, &error), error);
    assert_ok(tvn_put(db, "b", tvn_str("2"), tvn_str(""), NULL, &error), error);
    const struct tvn_key keys[] = {
        {"a", tvn_str("1")}, {"a", tvn_str("none")}, {"b", tvn_str("2")}};
    assert_ok(tvn_get_many(db, keys, 3, NULL, &r, &error), error);
    assert_int_equal(r->count, 3);
    assert_int_equal(r->age_us, 0);
    assert_int_equal(r->records[0].found, 1);
    assert_int_equal(r->records[1].found, 0);
    assert_int_equal(r->records[1].key.size, 4);
    assert_memory_equal(r->records[1].key.data, "none", 4);
    assert_int_equal(r->records[2].found, 1);
    assert_int_equal(r->records[2].value.size, 0);
    assert_memory_equal(r->records[2].collection.data, "b", 1);
    tvn_records_free(r);
    assert_int_equal(tvn_get_many(db, keys, 0, NULL, &r, &error), TVN_USAGE);
    assert_null(r);
    uint64_t us;
    assert_ok(tvn_ping(db, 0, &us, &error), error);
    assert_true(us > 0 && us < 5000000);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void fill(struct tvn *db, int n)
{
    struct tvn_error error;
    struct tvn_txn *t = tvn_txn_new();
    for (int i = 0; i < n; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%04d", i);
        (void)tvn_txn_put(t, "many", tvn_str(key), tvn_str(key));
    }
    assert_ok(tvn_txn_commit(db, t, NULL, &error), error);
    tvn_txn_free(t);
}

static int scan_count(struct tvn *db, const struct tvn_scan_options *o, const char *first,
                      const char *last)
{
    struct tvn_scan *scan;
    struct tvn_error error;
    struct tvn_record record;
    int n = 0, rc;
    assert_ok(tvn_scan_open(db, o, NULL, &scan, &error), error);
    while ((rc = tvn_scan_next(scan, &record, &error)) == 1) {
        assert_int_equal(record.key.size, 5);
        assert_memory_equal(record.key.data, record.value.data, 5);
        if (n++ == 0)
            assert_memory_equal(record.key.data, first, 5);
        if (last != NULL && memcmp(record.key.data, last, 5) == 0)
            last = NULL;
    }
    assert_int_equal(rc, 0);
    assert_null(last);
    assert_int_equal(tvn_scan_next(scan, &record, &error), 0); /* the end stays the end */
    tvn_scan_close(scan);
    return n;
}

static void scans_page_through_ranges(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    fill(db, 1000);
    struct tvn_scan_options o = TVN_SCAN_INIT;
    o.collection = "many";
    o.page = 64;
    assert_int_equal(scan_count(db, &o, "k0000", "k0999"), 1000);
    o.reverse = 1;
    assert_int_equal(scan_count(db, &o, "k0999", "k0000"), 1000);
    o.reverse = 0;
    o.limit = 130;
    assert_int_equal(scan_count(db, &o, "k0000", "k0129"), 130);
    o.limit = 0;
    o.prefix = tvn_str("k01");
    assert_int_equal(scan_count(db, &o, "k0100", "k0199"), 100);
    o.prefix = tvn_str("");
    o.after = tvn_str("k0899");
    assert_int_equal(scan_count(db, &o, "k0900", "k0999"), 100);
    o.collection = "empty";
    assert_int_equal(scan_count(db, &o, NULL, NULL), 0);
    struct tvn_scan *scan;
    struct tvn_error error;
    o.collection = NULL;
    assert_int_equal(tvn_scan_open(db, &o, NULL, &scan, &error), TVN_USAGE);
    assert_null(scan);
    o.collection = "many";
    o.page = 5000;
    assert_int_equal(tvn_scan_open(db, &o, NULL, &scan, &error), TVN_LIMIT);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void scans_go_on_after_an_error(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    fill(db, 10);
    struct tvn_scan_options o = TVN_SCAN_INIT;
    struct tvn_read how = TVN_READ_INIT;
    struct tvn_scan *scan;
    struct tvn_error error;
    struct tvn_record record;
    o.collection = "many";
    o.page = 4;
    how.timeout_ms = 100;
    assert_ok(tvn_scan_open(db, &o, &how, &scan, &error), error);
    for (int i = 0; i < 4; i++)
        assert_int_equal(tvn_scan_next(scan, &record, &error), 1);
    LOCKED(c, c->sites[0].frozen = true);
    assert_int_equal(tvn_scan_next(scan, &record, &error), TVN_TIMEOUT);
    assert_int_equal(error.outcome, TVN_NOT_APPLICABLE);
    LOCKED(c, c->sites[0].frozen = false);
    int n = 4;
    while (tvn_scan_next(scan, &record, &error) == 1)
        n++;
    assert_int_equal(n, 10);
    assert_memory_equal(record.key.data, "k0009", 5);
    tvn_scan_close(scan);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void snapshots_live_on_their_connection(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_snapshot *snap;
    struct tvn_records *r;
    struct tvn_read how = TVN_READ_INIT;
    fill(db, 3);
    assert_ok(tvn_snapshot_open(db, NULL, &snap, &error), error);
    assert_int_equal(tvn_snapshot_lsn(snap), tvn_token(db));
    assert_true(tvn_snapshot_time_us(snap) > 0);
    how.snapshot = snap;
    assert_ok(tvn_get(db, "many", tvn_str("k0001"), &how, &r, &error), error);
    tvn_records_free(r);
    assert_int_equal(locked_int(c, &c->sites[0].snapshots), 1);
    LOCKED(c, c->sites[0].ended_snapshots = 1); /* by the site, after a while */
    assert_int_equal(tvn_get(db, "many", tvn_str("k0001"), &how, &r, &error), TVN_STALE);
    LOCKED(c, c->sites[0].ended_snapshots = 0);
    site_order(c, 0, &c->sites[0].kill);
    while (tvn_get(db, "many", tvn_str("k0001"), &how, &r, &error) == 0)
        tvn_records_free(r);
    assert_int_equal(error.code, TVN_STALE);
    /* Without it everything goes on; closing it says nothing to anybody. */
    assert_ok(tvn_get(db, "many", tvn_str("k0001"), NULL, &r, &error), error);
    tvn_records_free(r);
    tvn_snapshot_close(snap);
    assert_ok(tvn_snapshot_open(db, NULL, &snap, &error), error);
    tvn_snapshot_close(snap);
    assert_ok(tvn_flush(db, 0, &error), error);
    assert_int_equal(locked_int(c, &c->sites[0].snapshots), 1); /* 2 opened, 1 closed in time */
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static struct as_of asked(struct cluster *c)
{
    struct as_of as_of;
    LOCKED(c, as_of = c->as_of);
    return as_of;
}

/* With gets and with each page of a scan; a struct of an older program has no room for it. */
static void the_past_is_asked_for_with_every_page(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_records *r;
    struct tvn_scan *scan;
    struct tvn_record record;
    struct tvn_read how = TVN_READ_INIT;
    fill(db, 5);
    how.as_of_lsn = 7;
    assert_ok(tvn_get(db, "many", tvn_str("k0001"), &how, &r, &error), error);
    tvn_records_free(r);
    assert_true(asked(c).kind == AS_OF_LSN && asked(c).value == 7);
    how.size = offsetof(struct tvn_read, as_of_lsn);
    assert_ok(tvn_get(db, "many", tvn_str("k0001"), &how, &r, &error), error);
    tvn_records_free(r);
    assert_int_equal(asked(c).kind, AS_OF_NONE);
    how.size = sizeof how;
    how.as_of_lsn = 0;
    how.as_of_time_us = 99;
    struct tvn_scan_options o = TVN_SCAN_INIT;
    o.collection = "many";
    o.page = 2;
    assert_ok(tvn_scan_open(db, &o, &how, &scan, &error), error);
    for (int i = 0; i < 5; i++) {
        LOCKED(c, c->as_of.kind = i % 2 == 0 ? AS_OF_NONE : AS_OF_TIME);
        assert_int_equal(tvn_scan_next(scan, &record, &error), 1);
        assert_true(asked(c).kind == AS_OF_TIME && asked(c).value == 99);
    }
    tvn_scan_close(scan);
    how.as_of_lsn = 7;
    assert_int_equal(tvn_scan_open(db, &o, &how, &scan, &error), TVN_USAGE);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void standbys_answer_with_their_age(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(3);
    struct tvn_options o;
    test_options(c, &o, "app");
    o.target = TVN_TARGET_STANDBY;
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    struct tvn_result result;
    struct tvn_records *r;
    struct tvn_info info = {.size = sizeof info};
    /* The write goes to the primary, the read of it to a standby that has it. */
    assert_ok(tvn_put(db, "a", tvn_str("1"), tvn_str("x"), &result, &error), error);
    assert_ok(tvn_get(db, "a", tvn_str("1"), NULL, &r, &error), error);
    assert_int_equal(r->age_us, 5000);
    assert_true(r->lsn >= result.lsn);
    tvn_records_free(r);
    tvn_describe(db, &info);
    assert_string_not_equal(info.site, "dc");
    assert_string_equal(info.primary, "dc");
    /* A standby that is behind is not read until it has caught up: read your writes. */
    LOCKED(c, c->sites[1].lag = c->sites[2].lag = 5);
    struct tvn_read how = TVN_READ_INIT;
    how.timeout_ms = 500;
    assert_int_equal(tvn_get(db, "a", tvn_str("1"), &how, &r, &error), TVN_STALE);
    assert_int_equal(error.retryable, 1);
    LOCKED(c, c->sites[1].lag = c->sites[2].lag = 0);
    assert_ok(tvn_get(db, "a", tvn_str("1"), NULL, &r, &error), error);
    tvn_records_free(r);
    tvn_raise_token(db, 1000);
    assert_int_equal(tvn_token(db), 1000);
    assert_int_equal(tvn_get(db, "a", tvn_str("1"), &how, &r, &error), TVN_STALE);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void a_standby_that_rises_is_left(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(2);
    struct tvn_options o;
    test_options(c, &o, "app");
    o.target = TVN_TARGET_STANDBY;
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    struct tvn_records *r;
    struct tvn_info info = {.size = sizeof info};
    const struct tvn_key key = {"a", tvn_str("1")};
    assert_ok(tvn_get_many(db, &key, 1, NULL, &r, &error), error);
    tvn_records_free(r);
    tvn_describe(db, &info);
    assert_string_equal(info.site, "dr");
    elect(c, 1);
    site_order(c, 1, &c->sites[1].announce);
    for (int i = 0; i < 200 && strcmp(info.site, "dc") != 0; i++) {
        (void)usleep(10000);
        tvn_describe(db, &info);
    }
    assert_string_equal(info.site, "dc");
    /* With no standby left the primary serves. */
    elect(c, 0);
    site_stop(c, 1);
    assert_ok(tvn_get_many(db, &key, 1, NULL, &r, &error), error);
    assert_int_equal(r->age_us, 0);
    tvn_records_free(r);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void the_nearest_site_is_any_that_answers(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(3);
    elect(c, -1);
    site_stop(c, 0);
    struct tvn_options o;
    test_options(c, &o, "ops");
    o.target = TVN_TARGET_NEAREST;
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    char *reply;
    assert_ok(tvn_ping(db, 0, NULL, &error), error);
    assert_ok(tvn_admin(db, "status", "{\"x\":1}", 0, &reply, &error), error);
    assert_string_equal(reply, "{\"x\":1}");
    tvn_free(reply);
    assert_int_equal(tvn_admin(db, "", NULL, 0, &reply, &error), TVN_USAGE);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void *switch_over(void *arg)
{
    struct cluster *c = arg;
    cluster_lock(c);
    while (c->sites[0].admin_conn == NULL)
        pthread_cond_wait(&c->changed, &c->lock);
    c->primary = 1;
    c->term++;
    cluster_unlock(c);
    site_order(c, 0, &c->sites[0].announce); /* the push goes out before the answer */
    return NULL;
}

static void a_command_survives_its_own_switchover(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(2);
    struct tvn_options o;
    test_options(c, &o, "ops");
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    char *reply;
    pthread_t thread;
    LOCKED(c, c->sites[0].hold_admin = true);
    assert_int_equal(pthread_create(&thread, NULL, switch_over, c), 0);
    assert_ok(tvn_admin(db, "switchover", NULL, 0, &reply, &error), error);
    assert_string_equal(reply, "{\"switched\":true}");
    tvn_free(reply);
    pthread_join(thread, NULL);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("v"), NULL, &error), error);
    struct tvn_info info = {.size = sizeof info};
    tvn_describe(db, &info);
    assert_string_equal(info.site, "dr");
    /* A command whose answer is lost is not run twice. */
    LOCKED(c, c->sites[0].hold_admin = false);
    assert_int_equal(tvn_admin(db, "drop", NULL, 0, &reply, &error), TVN_OUTCOME_UNKNOWN);
    assert_null(reply);
    assert_int_equal(error.outcome, TVN_UNKNOWN);
    assert_non_null(strstr(error.text, "the connection to dr was lost before the answer: "));
    assert_non_null(strstr(error.text, "closed: its certificate was revoked"));
    struct tvn_result result;
    assert_ok(tvn_point(db, "before-audit", 0, &result, &error), error);
    assert_true(result.lsn > 0);
    assert_int_equal(tvn_point(db, "", 0, &result, &error), TVN_USAGE);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_keys_are_one_state),
        cmocka_unit_test(scans_page_through_ranges),
        cmocka_unit_test(scans_go_on_after_an_error),
        cmocka_unit_test(snapshots_live_on_their_connection),
        cmocka_unit_test(the_past_is_asked_for_with_every_page),
        cmocka_unit_test(standbys_answer_with_their_age),
        cmocka_unit_test(a_standby_that_rises_is_left),
        cmocka_unit_test(the_nearest_site_is_any_that_answers),
        cmocka_unit_test(a_command_survives_its_own_switchover),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
