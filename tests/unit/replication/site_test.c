/* A whole site in this process: real log, state, TLS and client library, in a cluster of one member. */
#include "tests/unit/replication/site_kit.h"

#include <stdatomic.h>

/* ---- tests ---- */

static void every_level_is_reached_and_stated(void **state)
{
    (void)state;
    struct running site;
    make_and_start("levels", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_txn *txn = tvn_txn_new();
    for (int ack = TVN_ACK_LOCAL; ack <= TVN_ACK_ALL; ack++) {
        struct tvn_result done;
        struct tvn_error e;
        tvn_txn_reset(txn);
        (void)tvn_txn_put(txn, "land", tvn_str("k"), tvn_str("v"));
        (void)tvn_txn_set(txn, (enum tvn_ack)ack, 0);
        assert_int_equal(tvn_txn_commit(db, txn, &done, &e), 0);
        assert_int_equal(done.ack, TVN_ACK_ALL); /* all one of them */
    }
    tvn_txn_free(txn);
    tvn_close(db);
    stop(&site);
}

/* A scan waits until all is applied that was visible when it came. */
static void assert_all_applied(struct tvn *db)
{
    struct tvn_scan_options options = TVN_SCAN_INIT;
    struct tvn_scan *scan;
    struct tvn_record record;
    struct tvn_error e;
    options.collection = "land";
    assert_int_equal(tvn_scan_open(db, &options, NULL, &scan, &e), 0);
    assert_int_equal(tvn_scan_next(scan, &record, &e), 1);
    tvn_scan_close(scan);
}

static json_int_t checkpoint_of(struct tvn *db)
{
    struct tvn_error e;
    char *reply;
    assert_int_equal(tvn_admin(db, "status", NULL, 0, &reply, &e), 0);
    json_t *status = json_loads(reply, 0, NULL);
    const json_t *self = json_array_get(json_object_get(status, "sites"), 0);
    json_int_t at = json_integer_value(json_object_get(self, "checkpoint"));
    json_decref(status);
    tvn_free(reply);
    return at;
}

/* Beside what was due by time or by the size of the log: small changes that each replace many pages. */
static void a_checkpoint_is_begun_when_the_file_has_grown(void **state)
{
    (void)state;
    struct running site;
    uint64_t written = 0;
    json_int_t durable = 0;
    make_config("growth");
    config.checkpoint_bytes = 256 << 10;
    config.checkpoint_ms = 3600 * 1000;
    struct err e = ERR_NONE;
    if (site_init(&config, SITE_NEW_CLUSTER, &e) != 0)
        fail_msg("%s", e.text);
    start(&site);
    struct tvn *db = connect_with(NULL);
    for (unsigned i = 0; durable == 0 && i < 600; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%u", i * 7919 % 1000);
        put(db, key, "v");
        written += 400; /* more than it takes in the log */
        assert_all_applied(db);
        durable = checkpoint_of(db);
    }
    assert_true(durable > 0);
    assert_true(written < config.checkpoint_bytes);
    tvn_close(db);
    stop(&site);
}

static void conditions_see_what_is_in_flight(void **state)
{
    (void)state;
    struct running site;
    make_and_start("conditions", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_txn *txn = tvn_txn_new();
    struct tvn_result done;
    struct tvn_error e;
    uint64_t version = put(db, "k", "1");
    for (int i = 0; i < 100;
         i++) { /* each on the version before, none of them waits to be applied */
        tvn_txn_reset(txn);
        (void)tvn_txn_if_version(txn, "land", tvn_str("k"), version);
        (void)tvn_txn_put(txn, "land", tvn_str("k"), tvn_str("n"));
        assert_int_equal(tvn_txn_commit(db, txn, &done, &e), 0);
        version = done.lsn;
    }
    tvn_txn_reset(txn);
    (void)tvn_txn_if_exists(txn, "land", tvn_str("k"));
    (void)tvn_txn_if_absent(txn, "land", tvn_str("k"));
    (void)tvn_txn_del(txn, "land", tvn_str("k"));
    assert_int_equal(tvn_txn_commit(db, txn, &done, &e), TVN_CONDITION);
    assert_int_equal(e.condition, 1);
    assert_int_equal(e.lsn, version);
    assert_int_equal(e.outcome, TVN_NOT_DONE);
    assert_value(db, "k", "n");
    tvn_txn_free(txn);
    tvn_close(db);
    stop(&site);
}

static void a_collection_that_is_not_there_has_no_records_for_conditions(void **state)
{
    (void)state;
    struct running site;
    make_and_start("nowhere", &site);
    struct tvn *db = connect_with(NULL);
    struct tvn_txn *txn = tvn_txn_new();
    struct tvn_result done;
    struct tvn_records *found;
    struct tvn_error e;
    for (int i = 0; i < 3; i++) { /* at first, and when its only record was deleted */
        tvn_txn_reset(txn);
        (void)tvn_txn_if_absent(txn, "nowhere", tvn_str("k"));
        (void)(i == 1 ? tvn_txn_if_version(txn, "nowhere", tvn_str("k"), 7)
                      : tvn_txn_if_exists(txn, "nowhere", tvn_str("k")));
        (void)tvn_txn_put(txn, "land", tvn_str("k"), tvn_str("v"));
        assert_int_equal(tvn_txn_commit(db, txn, &done, &e), TVN_CONDITION);
        assert_int_equal(e.condition, 1);
        assert_non_null(strstr(e.text, "does not exist"));
        assert_int_equal(e.outcome, TVN_NOT_DONE);
        assert_int_equal(tvn_get(db, "land", tvn_str("k"), NULL, &found, &e), TVN_NOT_FOUND);
        if (i == 0)
            continue;
        tvn_txn_reset(txn);
        (void)tvn_txn_if_absent(txn, "nowhere", tvn_str("k"));
        (void)tvn_txn_put(txn, "nowhere", tvn_str("k"), tvn_str("v"));
        assert_int_equal(tvn_txn_commit(db, txn, &done, &e), 0);
        assert_int_equal(tvn_del(db, "nowhere", tvn_str("k"), &done, &e), 0);
    }
    tvn_txn_free(txn);
    tvn_close(db);
    stop(&site);
}

/* ---- many at once ---- */

struct tally {
    atomic_uint done, failed;
    atomic_ullong newest;
};

static void note(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct tally *t = arg;
    if (error->code != 0 || result->lsn <= atomic_load(&t->newest))
        atomic_fetch_add(&t->failed, 1);
    else
        atomic_store(&t->newest, result->lsn);
    atomic_fetch_add(&t->done, 1);
}

static void a_pipeline_is_answered_once_each_in_order(void **state)
{
    (void)state;
    struct running site;
    make_and_start("pipeline", &site);
    struct tvn *db = connect_with(NULL);
    struct tally t = {0};
    struct tvn_txn *txn = tvn_txn_new();
    struct tvn_error e;
    for (unsigned i = 0; i < 3000; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%06u", i);
        tvn_txn_reset(txn);
        (void)tvn_txn_put(txn, "land", tvn_str(key), tvn_str("v"));
        int rc;
        while ((rc = tvn_submit(db, txn, note, &t, &e)) == TVN_BUSY)
            (void)usleep(100);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(tvn_flush(db, 0, &e), 0);
    assert_int_equal(t.done, 3000);
    assert_int_equal(t.failed, 0);
    tvn_txn_free(txn);
    tvn_close(db);
    stop(&site);
}

struct load {
    struct tvn *db;
    atomic_bool stop;
    atomic_uint written;
};

static void count_written(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct load *l = arg;
    (void)result;
    if (error->code == 0)
        atomic_fetch_add(&l->written, 1);
}

static void *write_on(void *arg)
{
    struct load *l = arg;
    struct tvn_txn *txn = tvn_txn_new();
    struct tvn_error e;
    for (unsigned i = 0; !atomic_load(&l->stop); i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%u", i % 1000);
        tvn_txn_reset(txn);
        (void)tvn_txn_put(txn, "load", tvn_str(key), tvn_str("v"));
        if (tvn_submit(l->db, txn, count_written, l, &e) != 0)
            (void)usleep(100);
    }
    (void)tvn_flush(l->db, 0, &e);
    tvn_txn_free(txn);
    return NULL;
}

/* A scan waits for what was visible when it came, not for what is written while it waits. */
static void scans_are_answered_under_steady_writes(void **state)
{
    (void)state;
    struct running site;
    make_and_start("scans", &site);
    struct load l = {.db = connect_with(NULL)};
    struct tvn *db = connect_with(NULL);
    pthread_t writer;
    check(pthread_create(&writer, NULL, write_on, &l) == 0);
    for (unsigned i = 0; i < 20; i++) {
        struct tvn_error e;
        struct tvn_scan *scan;
        struct tvn_record record;
        char key[16];
        (void)snprintf(key, sizeof key, "%02u", i);
        uint64_t lsn = put(db, key, "v");
        struct tvn_scan_options options = TVN_SCAN_INIT;
        struct tvn_read how = TVN_READ_INIT;
        options.collection = "land";
        how.timeout_ms = 3000;
        assert_int_equal(tvn_scan_open(db, &options, &how, &scan, &e), 0);
        unsigned found = 0;
        int rc;
        while ((rc = tvn_scan_next(scan, &record, &e)) == 1)
            found++;
        if (rc < 0)
            fail_msg("scan %u: %s", i, e.text);
        assert_int_equal(found, i + 1); /* with what was written just before */
        assert_true(tvn_scan_lsn(scan) >= lsn);
        tvn_scan_close(scan);
    }
    atomic_store(&l.stop, true);
    check(pthread_join(writer, NULL) == 0);
    assert_true(l.written > 0);
    tvn_close(l.db);
    tvn_close(db);
    stop(&site);
}

/* ---- once ---- */

static void a_transaction_sent_again_takes_effect_once(void **state)
{
    (void)state;
    struct running site;
    struct tvn_options options = TVN_OPTIONS_INIT;
    struct tvn_result first, again, told;
    struct tvn_error e;
    make_and_start("once", &site);
    struct tvn *db = connect_with(NULL);
    assert_int_equal(tvn_session(db, 0, &options.session, &options.next_sequence, &e), 0);
    assert_int_equal(tvn_put(db, "land", tvn_str("k"), tvn_str("1"), &first, &e), 0);
    assert_int_equal(first.sequence, options.next_sequence);
    assert_int_equal(first.repeated, 0);
    assert_int_equal(tvn_put(db, "land", tvn_str("k"), tvn_str("2"), &told, &e), 0);

    for (int restarted = 0; restarted < 2;
         restarted++) { /* in flight or fresh, and from the state */
        tvn_close(db);
        if (restarted) {
            stop(&site);
            start(&site);
        }
        db = connect_with(
            &options); /* the application has restarted and sends its first one again */
        assert_int_equal(tvn_put(db, "land", tvn_str("k"), tvn_str("1"), &again, &e), 0);
        assert_int_equal(again.repeated, 1);
        assert_int_equal(again.lsn, first.lsn);
        assert_value(db, "k", "2");
    }
    assert_int_equal(tvn_outcome(db, &first.session, first.sequence, 0, &told, &e), 0);
    assert_int_equal(told.lsn, first.lsn);
    assert_int_equal(tvn_outcome(db, &first.session, 99, 0, &told, &e), TVN_NOT_FOUND);
    first.session.bytes[0] ^= 1;
    assert_int_equal(tvn_outcome(db, &first.session, 1, 0, &told, &e), TVN_SESSION_EXPIRED);
    tvn_close(db);
    stop(&site);
}

/* ---- snapshots ---- */

static void a_snapshot_stays_and_they_are_few(void **state)
{
    (void)state;
    struct running site;
    struct tvn_snapshot *open[17];
    struct tvn_read how = TVN_READ_INIT;
    struct tvn_records *found;
    struct tvn_error e;
    make_and_start("snapshots", &site);
    struct tvn *db = connect_with(NULL);
    uint64_t lsn = put(db, "k", "old");
    for (int i = 0; i < 16; i++)
        assert_int_equal(tvn_snapshot_open(db, NULL, &open[i], &e), 0);
    assert_true(tvn_snapshot_lsn(open[0]) >= lsn);
    assert_int_equal(tvn_snapshot_open(db, NULL, &open[16], &e), TVN_LIMIT);
    (void)put(db, "k", "new");
    how.snapshot = open[0];
    assert_int_equal(tvn_get(db, "land", tvn_str("k"), &how, &found, &e), 0);
    assert_memory_equal(found->records[0].value.data, "old", 3);
    tvn_records_free(found);
    assert_value(db, "k", "new");
    for (int i = 0; i < 15; i++)
        tvn_snapshot_close(open[i]);
    struct tvn *other = connect_with(NULL);
    assert_value(other, "k", "new");
    tvn_close(other);
    stop(&site); /* with a snapshot open */
    tvn_snapshot_close(open[15]);
    tvn_close(db);
}

/* ---- the past ---- */

static int get_past(struct tvn *db, const struct tvn_read *how, const char *value, uint64_t *lsn,
                    struct tvn_error *e)
{
    struct tvn_records *found;
    int rc = tvn_get(db, "land", tvn_str("k"), how, &found, e);
    if (rc != 0)
        return rc;
    assert_int_equal(found->records[0].value.size, strlen(value));
    assert_memory_equal(found->records[0].value.data, value, strlen(value));
    assert_int_equal(found->age_us, 0);
    *lsn = found->lsn;
    tvn_records_free(found);
    return 0;
}

static int scan_past(struct tvn *db, const struct tvn_read *how, bool reverse, struct tvn_error *e)
{
    struct tvn_scan_options options = TVN_SCAN_INIT;
    struct tvn_scan *scan;
    struct tvn_record record;
    int n = 0, rc;
    options.collection = "land";
    options.page = 2;
    options.reverse = reverse;
    assert_int_equal(tvn_scan_open(db, &options, how, &scan, e), 0);
    while ((rc = tvn_scan_next(scan, &record, e)) == 1)
        n++;
    tvn_scan_close(scan);
    return rc < 0 ? rc : n;
}

/* What was just written is read as of its lsn and its time; what is not over is refused. */
static void the_past_is_read_as_of_an_lsn_and_a_time(void **state)
{
    (void)state;
    struct running site;
    struct tvn_error e;
    struct tvn_result first, second;
    struct tvn_snapshot *snapshot;
    uint64_t lsn;
    make_and_start("past", &site);
    struct tvn *db = connect_with(NULL);
    (void)put(db, "a", "x");
    (void)put(db, "b", "x");
    assert_int_equal(tvn_put(db, "land", tvn_str("k"), tvn_str("one"), &first, &e), 0);
    assert_int_equal(tvn_snapshot_open(db, NULL, &snapshot, &e), 0);
    assert_int_equal(tvn_put(db, "land", tvn_str("k"), tvn_str("two"), &second, &e), 0);
    assert_int_equal(tvn_del(db, "land", tvn_str("k"), NULL, &e), 0);

    struct tvn_read how = TVN_READ_INIT;
    how.as_of_lsn = first.lsn;
    assert_int_equal(get_past(db, &how, "one", &lsn, &e), 0);
    assert_int_equal(lsn, first.lsn);
    assert_int_equal(scan_past(db, &how, false, &e), 3);
    assert_int_equal(scan_past(db, &how, true, &e), 3);
    how.as_of_lsn = first.lsn - 1;
    assert_int_equal(get_past(db, &how, "", &lsn, &e), TVN_NOT_FOUND);
    assert_int_equal(scan_past(db, &how, false, &e), 2);
    how.as_of_lsn = second.lsn;
    how.snapshot = snapshot; /* its past ends before */
    assert_int_equal(get_past(db, &how, "", &lsn, &e), TVN_USAGE);
    how.as_of_lsn = first.lsn;
    assert_int_equal(get_past(db, &how, "one", &lsn, &e), 0);
    how = (struct tvn_read)TVN_READ_INIT;
    how.as_of_lsn = second.lsn + 100;
    assert_int_equal(get_past(db, &how, "", &lsn, &e), TVN_USAGE);
    assert_non_null(strstr(e.text, "is not written yet"));
    how.as_of_time_us = 1;
    assert_int_equal(get_past(db, &how, "", &lsn, &e), TVN_USAGE); /* both */
    struct tvn_snapshot *none;
    assert_int_equal(tvn_snapshot_open(db, &how, &none, &e), TVN_USAGE);

    how.as_of_lsn = 0;
    how.as_of_time_us = second.time_us;
    assert_int_equal(get_past(db, &how, "two", &lsn, &e), 0);
    assert_int_equal(lsn, second.lsn);
    assert_int_equal(scan_past(db, &how, false, &e), 3);
    how.as_of_time_us = UINT64_MAX / 2;
    assert_int_equal(get_past(db, &how, "", &lsn, &e), TVN_USAGE);
    assert_non_null(strstr(e.text, "not over yet"));
    how.as_of_time_us = 1; /* in 1970 there was nothing, and that is known */
    assert_int_equal(get_past(db, &how, "", &lsn, &e), TVN_NOT_FOUND);
    tvn_snapshot_close(snapshot);
    tvn_close(db);
    stop(&site);
}

/* Thousands of records that were not there then are passed over in several steps, so that a site never stands still for one
 * read; what is found behind them is all there is. */
static void a_scan_of_the_past_passes_over_any_number_of_later_records(void **state)
{
    (void)state;
    enum { LATER = 10000 };
    struct running site;
    struct tvn_error e;
    struct tvn_result result;
    make_and_start("later", &site);
    struct tvn *db = connect_with(NULL);
    (void)put(db, "k", "first");
    uint64_t lsn = put(db, "z", "last");
    struct tvn_txn *t = tvn_txn_new();
    for (int i = 0; i < LATER; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "m%05d", i);
        assert_int_equal(tvn_txn_put(t, "land", tvn_str(key), tvn_str("later")), 0);
    }
    assert_int_equal(tvn_txn_commit(db, t, &result, &e), 0);
    tvn_txn_free(t);
    struct tvn_read how = TVN_READ_INIT;
    how.as_of_lsn = lsn;
    assert_int_equal(scan_past(db, &how, false, &e), 2);
    assert_int_equal(scan_past(db, &how, true, &e), 2);
    how.as_of_lsn = lsn - 2;
    assert_int_equal(scan_past(db, &how, false, &e), 0);
    how.as_of_lsn = result.lsn;
    assert_int_equal(scan_past(db, &how, false, &e), LATER + 2);
    tvn_close(db);
    stop(&site);
}

/* ---- operators ---- */

static void an_order_is_carried_out_once_and_only_in_its_term(void **state)
{
    (void)state;
    struct running site;
    struct tvn_error e;
    char *first, *second, order[256], *at;
    make_and_start("orders", &site);
    struct tvn *db = connect_with(NULL);
    (void)put(db, "k", "v");
    assert_int_equal(tvn_admin(db, "mode", "{\"mode\":\"local\"}", 0, &first, &e), TVN_USAGE);
    assert_non_null(strstr(e.text, "mode needs term, nonce and expires_us"));
    order_text(db, 1, ",\"mode\":\"local\"", order);
    assert_int_equal(tvn_admin(db, "mode", order, 0, &first, &e), 0);
    (void)put(db, "k", "w");
    assert_int_equal(tvn_admin(db, "mode", order, 0, &second, &e), 0);
    assert_string_equal(first, second); /* the lsn of the first; nothing new was logged */
    tvn_free(first);
    tvn_free(second);
    order_text(db, 2, ",\"to\":\"nowhere\"", order);
    assert_int_equal(tvn_admin(db, "switchover", order, 0, &first, &e), TVN_NOT_FOUND);
    assert_int_equal(tvn_admin(db, "switchover", order, 0, &first, &e), TVN_NOT_FOUND);
    order_text(db, 3, ",\"mode\":\"majority\"", order);
    at = strstr(order, "\"term\":") + 7;
    *at = *at == '9' ? '8' : '9';
    assert_int_equal(tvn_admin(db, "mode", order, 0, &first, &e), TVN_CONDITION);
    assert_non_null(strstr(e.text, "was ordered for term"));
    tvn_close(db);
    stop(&site);
}

static void the_mode_can_be_changed_and_status_tells(void **state)
{
    (void)state;
    struct running site;
    struct tvn_error e;
    char *reply;
    make_and_start("mode", &site);
    struct tvn *db = connect_with(NULL);
    static const char *const modes[] = {"local", "majority", "local"};
    (void)put(db, "k", "serving");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        char arguments[256], more[64], expected[64];
        (void)snprintf(more, sizeof more, ",\"mode\":\"%s\"", modes[i]);
        order_text(db, (unsigned)i, more, arguments);
        (void)snprintf(expected, sizeof expected, "\"mode\":\"%s\"", modes[i]);
        assert_int_equal(tvn_admin(db, "mode", arguments, 0, &reply, &e), 0);
        tvn_free(reply);
        (void)put(db, "k", modes[i]);
        for (
            int tries = 0;;
            tries++) { /* the answer comes when it is committed, the mode counts when it is applied */
            assert_int_equal(tvn_admin(db, "status", NULL, 0, &reply, &e), 0);
            bool seen = strstr(reply, expected) != NULL;
            assert_non_null(strstr(reply, "\"trouble\":[]"));
            tvn_free(reply);
            if (seen)
                break;
            assert_true(tries < 100);
            (void)usleep(10000);
        }
    }
    char order[256];
    order_text(db, 10, ",\"mode\":\"none\"", order);
    assert_int_equal(tvn_admin(db, "mode", order, 0, &reply, &e), TVN_USAGE);
    order_text(db, 11, "", order);
    assert_int_equal(tvn_admin(db, "switchover", order, 0, &reply, &e), TVN_FAILED);
    order_text(db, 12, "", order);
    assert_int_equal(tvn_admin(db, "failover", order, 0, &reply, &e), TVN_USAGE);
    assert_int_equal(tvn_admin(db, "seal", NULL, 0, &reply, &e), TVN_USAGE);
    assert_int_equal(tvn_admin(db, "no-such-command", NULL, 0, &reply, &e), TVN_USAGE);
    assert_int_equal(tvn_admin(db, "events", "{\"limit\":", 0, &reply, &e), TVN_USAGE);
    (void)put(db, "k", "still serving");
    tvn_close(db);
    stop(&site);
}

/* ---- certificates ---- */

static void connections_of_one_name_are_limited(void **state)
{
    (void)state;
    struct running site;
    make_config("names");
    config.max_per_identity = 2;
    struct err why = ERR_NONE;
    assert_int_equal(site_init(&config, false, &why), 0);
    start(&site);
    struct tvn *first = connect_with(NULL), *second = connect_with(NULL);
    (void)put(first, "k", "1");
    (void)put(second, "k", "2");
    struct tvn_options o = TVN_OPTIONS_INIT;
    o.timeout_ms = 600;
    struct tvn *third = connect_with(&o);
    struct tvn_error e;
    assert_int_not_equal(tvn_put(third, "land", tvn_str("k"), tvn_str("3"), NULL, &e), 0);
    assert_non_null(strstr(e.text, "has 2 connections already, which is its limit"));
    tvn_close(first);
    tvn_close(third);
    third = connect_with(NULL);
    (void)put(third, "k", "3");
    tvn_close(second);
    tvn_close(third);
    stop(&site);
}

/* ---- starting and stopping ---- */

static void expect_refusal(int code, const char *text)
{
    struct running second;
    start(&second);
    assert_int_equal(wait_for(&second), code);
    assert_non_null(strstr(second.why.text, text));
}

static void a_start_that_cannot_succeed_says_why(void **state)
{
    (void)state;
    struct running site;
    make_config("start");
    expect_refusal(ERR_NOT_FOUND, "triveni init");
    make_and_start("start", &site);
    struct tvn *db = connect_with(NULL);
    (void)put(db, "k", "v");
    expect_refusal(ERR_BUSY, "another triveni runs on");

    struct site_config first = config;
    struct err e = ERR_NONE;
    make_config("start2");
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &e), 0);
    memcpy(config.members[0].client, first.members[0].client, SITE_ENDPOINT_BYTES);
    expect_refusal(ERR_EXISTS, first.members[0].client);
    make_config("start2");
    memcpy(config.members[0].peer, first.members[0].peer, SITE_ENDPOINT_BYTES);
    expect_refusal(ERR_EXISTS, first.members[0].peer);
    make_config("start2");
    struct site_config wrong = config;
    (void)snprintf(config.cert, SITE_PATH_BYTES, "%s/pki/ops.crt", root);
    (void)snprintf(config.key, SITE_PATH_BYTES, "%s/pki/ops.key", root);
    expect_refusal(ERR_DENIED, "is that of triveni://gov/operator/ops");
    config = wrong;
    config.key[0] = '\0';
    struct running third;
    start(&third);
    assert_int_not_equal(wait_for(&third), 0);

    config = first;
    assert_value(db, "k", "v");
    tvn_close(db);
    stop(&site);
}

static void on_value(void *arg, struct tvn_records *records, const struct tvn_error *error)
{
    (void)arg;
    (void)error;
    tvn_records_free(records);
}

/* Up to a MiB it passes others (conn_receive_test.c), up to 40 it takes its turn. */
static void a_large_command_is_answered_and_a_too_large_one_refused(void **state)
{
    (void)state;
    static const size_t sizes[] = {100 << 10, 900 << 10, 3 << 20, 41 << 20};
    struct running site;
    struct tvn_error e;
    make_and_start("commands", &site);
    struct tvn *db = connect_with(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *arguments = malloc(sizes[i] + 16), *reply;
        assert_non_null(arguments);
        (void)snprintf(arguments, 8, "{\"x\":\"");
        memset(arguments + 6, 'x', sizes[i]);
        (void)snprintf(arguments + 6 + sizes[i], 8, "\"}");
        int rc = tvn_admin(db, "status", arguments, 60000, &reply, &e);
        free(arguments);
        if (sizes[i] <= 40 << 20) {
            assert_int_equal(rc, 0);
            tvn_free(reply);
            continue;
        }
        assert_int_equal(rc, TVN_LIMIT);
        assert_int_equal(e.outcome, TVN_NOT_DONE);
        assert_non_null(strstr(e.text, "at most 41943040 (40 MiB) are allowed"));
    }
    tvn_close(db);
    stop(&site);
}

/* A client that does not read its answers does not keep the site from stopping, nor does it crash it. */
static void a_stop_waits_for_no_client(void **state)
{
    (void)state;
    enum { BYTES = 2 << 20, GETS = 20 };
    struct running site;
    struct tvn_error e;
    make_and_start("slow", &site);
    struct tvn_options options = TVN_OPTIONS_INIT;
    options.poll = 1;
    options.max_in_flight_bytes = 4096; /* one answer, and it reads no further */
    struct tvn *db = connect_with(NULL), *slow = connect_with(&options);
    uint8_t *value = calloc(1, BYTES);
    struct tvn_bytes large = {value, BYTES};
    assert_int_equal(tvn_put(db, "land", tvn_str("large"), large, NULL, &e), 0);
    free(value);
    const struct tvn_key key = {"land", tvn_str("large")};
    for (int i = 0; i < GETS; i++)
        (void)tvn_submit_get(slow, &key, 1, NULL, on_value, NULL, &e);
    (void)usleep(300000); /* until its answers fill what the socket takes */
    (void)put(db, "small", "v");
    struct timespec began, ended;
    (void)clock_gettime(CLOCK_MONOTONIC, &began);
    stop(&site);
    (void)clock_gettime(CLOCK_MONOTONIC, &ended);
    assert_true(ended.tv_sec - began.tv_sec <= 5);
    tvn_close(slow);
    tvn_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_is_reached_and_stated),
        cmocka_unit_test(a_checkpoint_is_begun_when_the_file_has_grown),
        cmocka_unit_test(conditions_see_what_is_in_flight),
        cmocka_unit_test(a_collection_that_is_not_there_has_no_records_for_conditions),
        cmocka_unit_test(a_pipeline_is_answered_once_each_in_order),
        cmocka_unit_test(scans_are_answered_under_steady_writes),
        cmocka_unit_test(a_transaction_sent_again_takes_effect_once),
        cmocka_unit_test(a_snapshot_stays_and_they_are_few),
        cmocka_unit_test(a_large_command_is_answered_and_a_too_large_one_refused),
        cmocka_unit_test(the_past_is_read_as_of_an_lsn_and_a_time),
        cmocka_unit_test(a_scan_of_the_past_passes_over_any_number_of_later_records),
        cmocka_unit_test(an_order_is_carried_out_once_and_only_in_its_term),
        cmocka_unit_test(the_mode_can_be_changed_and_status_tells),
        cmocka_unit_test(connections_of_one_name_are_limited),
        cmocka_unit_test(a_start_that_cannot_succeed_says_why),
        cmocka_unit_test(a_stop_waits_for_no_client),
    };
    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
