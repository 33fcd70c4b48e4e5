/* Writes: conditions, order, exactly-once over lost connections and failovers, sessions, deadlines and outcomes. */
#include "tests/unit/client/cluster.h"

static void puts_gets_and_deletes(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_result result;
    struct tvn_records *records;
    assert_ok(tvn_put(db, "titles", tvn_str("AB-1"), tvn_str("owner"), &result, &error), error);
    assert_int_equal(result.ack, TVN_ACK_MAJORITY);
    assert_int_equal(result.repeated, 0);
    assert_int_equal(result.sequence, 1);
    assert_int_equal(error.code, 0);
    assert_ok(tvn_get(db, "titles", tvn_str("AB-1"), NULL, &records, &error), error);
    assert_int_equal(records->count, 1);
    assert_int_equal(records->records[0].value.size, 5);
    assert_memory_equal(records->records[0].value.data, "owner", 5);
    assert_memory_equal(records->records[0].key.data, "AB-1", 4);
    assert_int_equal(records->records[0].lsn, result.lsn);
    tvn_records_free(records);
    assert_int_equal(tvn_token(db), result.lsn);
    assert_ok(tvn_del(db, "titles", tvn_str("AB-1"), &result, &error), error);
    assert_int_equal(tvn_get(db, "titles", tvn_str("AB-1"), NULL, &records, &error), TVN_NOT_FOUND);
    assert_null(records);
    assert_int_equal(tvn_exit_code(error.code), 3);
    assert_int_equal(tvn_close(db), 0);
    assert_int_equal(locked_int(c, &c->closed_sessions),
                     1); /* the library's own session ended with the handle */
    cluster_stop(c);
}

static void conditions_decide(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_result first, second;
    struct tvn_txn *t = tvn_txn_new();
    (void)tvn_txn_if_absent(t, "accounts", tvn_str("a"));
    (void)tvn_txn_put(t, "accounts", tvn_str("a"), tvn_str("100"));
    assert_int_equal(tvn_txn_set(t, TVN_ACK_GSR, 0), 0);
    assert_ok(tvn_txn_commit(db, t, &first, &error), error);
    assert_int_equal(c->last_level, LEVEL_GSR);
    assert_int_equal(tvn_txn_commit(db, t, &second, &error), TVN_CONDITION);
    assert_int_equal(error.condition, 0);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_int_equal(error.retryable, 0);
    assert_int_equal(error.lsn, first.lsn);
    tvn_txn_reset(t);
    (void)tvn_txn_if_exists(t, "accounts", tvn_str("a"));
    (void)tvn_txn_if_version(t, "accounts", tvn_str("a"), first.lsn + 7);
    (void)tvn_txn_del(t, "accounts", tvn_str("a"));
    assert_int_equal(tvn_txn_commit(db, t, NULL, &error), TVN_CONDITION);
    assert_int_equal(error.condition, 1);
    tvn_txn_reset(t);
    (void)tvn_txn_if_version(t, "accounts", tvn_str("a"), first.lsn);
    (void)tvn_txn_put(t, "accounts", tvn_str("a"), tvn_str("90"));
    assert_ok(tvn_txn_commit(db, t, &second, &error), error);
    tvn_txn_free(t);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void limits_are_checked_before_sending(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    static uint8_t big[(16 << 20) + 1];
    struct op op = {OP_PUT, bytes_str("v"), bytes_str("k"), bytes_of(big, sizeof big)};
    struct err e = ERR_NONE;
    assert_int_equal(op_check(&op, false, &e), ERR_LIMIT);
    assert_int_equal(tvn_put(db, "v", tvn_str("k"), tvn_view(big, sizeof big), NULL, &error),
                     TVN_LIMIT);
    assert_string_equal(error.text, e.text); /* the same words as the site would use */
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_int_equal(tvn_put(db, "_system", tvn_str("k"), tvn_str(""), NULL, &error), TVN_USAGE);
    assert_int_equal(tvn_put(db, "v", tvn_str(""), tvn_str(""), NULL, &error), TVN_USAGE);
    assert_int_equal(tvn_put(db, NULL, tvn_str("k"), tvn_str(""), NULL, &error), TVN_USAGE);
    struct tvn_txn *t = tvn_txn_new();
    assert_int_equal(tvn_txn_commit(db, t, NULL, &error), TVN_USAGE);
    for (int i = 0; i < 2; i++)
        assert_int_equal(tvn_txn_put(t, "v", tvn_str("k"), tvn_view(big, 16 << 20)), 0);
    assert_int_equal(tvn_txn_put(t, "v", tvn_str("k"), tvn_view(big, 16 << 20)), TVN_LIMIT);
    assert_int_equal(tvn_txn_del(t, "v", tvn_str("k")), TVN_LIMIT); /* the first error stays */
    tvn_txn_free(t);
    assert_int_equal(locked_int(c, &c->seen_count), 0);
    /* The largest value goes there and back. */
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 31 >> 3);
    struct tvn_records *records;
    assert_ok(tvn_put(db, "v", tvn_str("k"), tvn_view(big, 16 << 20), NULL, &error), error);
    assert_ok(tvn_get(db, "v", tvn_str("k"), NULL, &records, &error), error);
    assert_int_equal(records->records[0].value.size, 16 << 20);
    assert_memory_equal(records->records[0].value.data, big, 16 << 20);
    tvn_records_free(records);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* ---- asynchronous ---- */

struct tally {
    pthread_mutex_t lock;
    int done, ok, cancelled, unknown, disorder;
    uint64_t last_lsn;
    struct tvn_error error;
    struct tvn_result result;
};
#define TALLY_INIT                                                                                 \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER                                                          \
    }

static void count(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct tally *t = arg;
    pthread_mutex_lock(&t->lock);
    t->done++;
    t->ok += error->code == 0;
    t->cancelled += error->code == TVN_CANCELLED;
    t->unknown += error->outcome == TVN_UNKNOWN;
    t->disorder += error->code == 0 && result->lsn <= t->last_lsn;
    if (error->code == 0)
        t->last_lsn = result->lsn;
    t->error = *error;
    t->result = *result;
    pthread_mutex_unlock(&t->lock);
}

static void submit_wait(struct tvn *db, const struct tvn_txn *t, struct tally *tally)
{
    struct tvn_error error;
    int rc;
    while ((rc = tvn_submit(db, t, count, tally, &error)) == TVN_BUSY)
        (void)usleep(200);
    assert_ok(rc, error);
}

static void submitted_transactions_keep_their_order(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tally tally = TALLY_INIT;
    struct tvn_txn *t = tvn_txn_new();
    for (int i = 0; i < 3000; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "%d", i);
        tvn_txn_reset(t);
        (void)tvn_txn_put(t, "n", tvn_str("last"), tvn_str(value));
        submit_wait(db, t, &tally);
    }
    tvn_txn_free(t);
    assert_ok(tvn_flush(db, 0, &error), error);
    assert_int_equal(tally.ok, 3000);
    assert_int_equal(tally.disorder, 0);
    struct tvn_info info = {.size = sizeof info};
    tvn_describe(db, &info);
    assert_int_equal(info.in_flight, 0);
    assert_int_equal(info.connects, 1);
    assert_int_equal(info.resent, 0);
    assert_string_equal(info.site, "dc");
    assert_int_equal(tvn_close(db), 0);
    for (int i = 0; i < c->seen_count; i++)
        assert_int_equal(c->seen[i].sequence, i + 1);
    cluster_stop(c);
}

static void window_is_bounded(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    LOCKED(c, c->sites[0].faults.mute = 1000);
    struct tvn_options o;
    test_options(c, &o, "app");
    o.max_in_flight = 10;
    o.timeout_ms = 300;
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    struct tally tally = TALLY_INIT;
    struct tvn_txn *t = tvn_txn_new();
    (void)tvn_txn_put(t, "n", tvn_str("k"), tvn_str("v"));
    for (int i = 0; i < 10; i++)
        assert_ok(tvn_submit(db, t, count, &tally, &error), error);
    assert_int_equal(tvn_submit(db, t, count, &tally, &error), TVN_BUSY);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_int_equal(error.retryable, 1);
    assert_int_equal(tvn_flush(db, 50, &error), TVN_TIMEOUT);
    assert_ok(tvn_flush(db, 2000, &error), error);
    assert_int_equal(tally.done, 10);
    assert_int_equal(tally.unknown, 10);
    tvn_txn_free(t);
    assert_int_equal(tvn_close(db), 0);
    assert_int_equal(tally.done, 10);
    assert_int_equal(locked_int(c, &c->closed_sessions), 0); /* outcomes can still be asked for */
    cluster_stop(c);
}

static void close_completes_everything_once(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    LOCKED(c, c->sites[0].faults.swallow = 1000);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tally tally = TALLY_INIT;
    struct tvn_txn *t = tvn_txn_new();
    (void)tvn_txn_put(t, "n", tvn_str("k"), tvn_str("v"));
    for (int i = 0; i < 500; i++)
        assert_ok(tvn_submit(db, t, count, &tally, &error), error);
    tvn_txn_free(t);
    while (locked_int(c, &c->seen_count) == 0)
        (void)usleep(1000);
    assert_int_equal(tvn_close(db), 0);
    assert_int_equal(tally.done, 500);
    assert_int_equal(tally.cancelled, 500);
    assert_true(tally.unknown > 0);
    cluster_stop(c);
}

/* ---- once ---- */

static void lost_answers_are_found_again(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    LOCKED(c, c->sites[0].faults.lose_after = 1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_result result;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), &result, &error), error);
    assert_int_equal(result.repeated, 1);
    assert_int_equal(locked_int(c, &c->seen_count), 2);
    assert_int_equal(c->seen[0].sequence, c->seen[1].sequence);
    assert_memory_equal(&c->seen[0].session, &c->seen[1].session, 16);
    assert_int_equal(locked_int(c, &c->applied_count), 1);
    /* The site is unsure: asked again under the same number. */
    LOCKED(c, c->sites[0].faults.unsure = 1);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), &result, &error), error);
    assert_int_equal(result.repeated, 1);
    assert_int_equal(locked_int(c, &c->applied_count), 2);
    /* Busy: later, and only once. */
    LOCKED(c, c->sites[0].faults.busy = 3);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("3"), &result, &error), error);
    assert_int_equal(result.repeated, 0);
    assert_int_equal(locked_int(c, &c->applied_count), 3);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void pipelines_survive_lost_connections(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(2);
    LOCKED(c, c->sites[0].faults.lose_before = 2);
    LOCKED(c, c->sites[0].faults.lose_after = 2);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tally tally = TALLY_INIT;
    struct tvn_txn *t = tvn_txn_new();
    (void)tvn_txn_put(t, "n", tvn_str("k"), tvn_str("v"));
    for (int i = 0; i < 800; i++) {
        submit_wait(db, t, &tally);
        if (i % 200 == 100)
            site_order(c, 0, &c->sites[0].kill);
    }
    tvn_txn_free(t);
    assert_ok(tvn_flush(db, 0, &error), error);
    assert_int_equal(tally.ok, 800);
    assert_int_equal(tally.done, 800);
    assert_int_equal(locked_int(c, &c->applied_count), 800);
    assert_int_equal(locked_int(c, &c->session_count), 1);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void redirects_are_followed(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(3);
    elect(c, 2);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), error);
    struct tvn_info info = {.size = sizeof info};
    tvn_describe(db, &info);
    assert_string_equal(info.site, "gsr");
    assert_string_equal(info.primary, "gsr");
    assert_int_equal(info.term, 2);
    /* A push moves the handle although the old primary would still answer. */
    elect(c, 1);
    site_order(c, 2, &c->sites[2].announce);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), NULL, &error), error);
    tvn_describe(db, &info);
    assert_string_equal(info.site, "dr");
    assert_int_equal(locked_int(c, &c->session_count), 1);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void *elect_later(void *arg)
{
    struct cluster *c = arg;
    (void)usleep(400000);
    elect(c, 1);
    site_order(c, 1, &c->sites[1].announce);
    return NULL;
}

static void failovers_are_waited_out(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(3);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_result result;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), error);
    elect(c, -1);
    site_stop(c, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, elect_later, c), 0);
    uint64_t begun = uv_hrtime();
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), &result, &error), error);
    uint64_t took_ms = (uv_hrtime() - begun) / 1000000;
    pthread_join(thread, NULL);
    assert_true(took_ms >= 350);
    assert_true(took_ms < 1500); /* the push of a listened-to standby, not the end of a rest */
    assert_int_equal(result.term, 3);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void a_frozen_primary_is_left(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(2);
    struct tvn_options o;
    test_options(c, &o, "app");
    o.timeout_ms = 15000;
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), error);
    cluster_lock(c);
    c->sites[0].frozen = true;
    c->primary = 1;
    c->term++;
    cluster_unlock(c);
    uint64_t begun = uv_hrtime();
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), NULL, &error), error);
    assert_true((uv_hrtime() - begun) / 1000000 < 8000);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* ---- deadlines and outcomes ---- */

static void outcomes_can_be_asked_for(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn_options o;
    test_options(c, &o, "app");
    o.timeout_ms = 1000; /* and the first connection is made within it */
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    struct tvn_result result, outcome;
    LOCKED(c, c->sites[0].faults.mute = 1);
    assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), &result, &error),
                     TVN_OUTCOME_UNKNOWN);
    assert_int_equal(error.outcome, TVN_UNKNOWN);
    assert_int_equal(tvn_exit_code(error.code), 9);
    assert_int_equal(result.sequence, 1);
    assert_ok(tvn_outcome(db, &result.session, result.sequence, 0, &outcome, &error), error);
    assert_int_equal(outcome.lsn, c->applied[0].lsn);
    LOCKED(c, c->sites[0].faults.swallow = 1);
    assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), &result, &error),
                     TVN_OUTCOME_UNKNOWN);
    assert_int_equal(tvn_outcome(db, &result.session, result.sequence, 0, &outcome, &error),
                     TVN_NOT_FOUND);
    /* Never sent: not done, for certain. */
    elect(c, -1);
    site_stop(c, 0);
    assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("3"), &result, &error),
                     TVN_UNREACHABLE);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_int_equal(error.retryable, 1);
    assert_non_null(strstr(error.text, "refused"));
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void a_cluster_without_a_primary_is_told(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(2);
    elect(c, -1);
    struct tvn_options o;
    test_options(c, &o, "app");
    o.timeout_ms = 5000; /* long enough to have heard both, on a busy machine too */
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), TVN_NOT_PRIMARY);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* It is still the primary for itself and for the others, and refuses. */
static bool no_majority(struct site *s, struct conn *conn, const struct frame *f)
{
    if (s->index != 0 || (f->type != FRAME_TXN && f->type != FRAME_SESSION_OPEN))
        return false;
    struct writer w = writer_for(s);
    wire_write_error(&w, &(struct wire_error){.code = ERR_NOT_PRIMARY,
                                              .text = bytes_str("no majority at present"),
                                              .failed_condition = -1});
    send_body(conn, FRAME_ERROR, f->request, &w);
    return true;
}

static void a_primary_without_a_majority_is_told_and_asked_again(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(2);
    elect(c, 0);
    struct tvn_options o;
    test_options(c, &o, "app");
    o.timeout_ms = 4000;
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    pthread_mutex_lock(&c->lock);
    c->before = no_majority;
    pthread_mutex_unlock(&c->lock);
    assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), TVN_NOT_PRIMARY);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_non_null(strstr(error.text, "no majority at present"));
    /* Rests of 10 ms to a second between the rounds, and a connection to each site in a round. */
    assert_in_range(locked_int(c, &c->sites[1].accepted), 2, 40);
    pthread_mutex_lock(&c->lock);
    c->before = NULL;
    pthread_mutex_unlock(&c->lock);
    assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), 0);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* ---- the connection that waits for the next primary ---- */

enum {
    WARM_MS = 15000,
    COLD_MS = 3500
}; /* in which it must have come; after which it would have */

static bool await_accepted(struct cluster *c, int site, int count)
{
    for (int i = 0; i < WARM_MS / 10 && locked_int(c, &c->sites[site].accepted) < count; i++)
        (void)usleep(10000);
    return locked_int(c, &c->sites[site].accepted) == count;
}

static struct tvn *open_cold(const struct cluster *c)
{
    struct tvn_options o;
    struct tvn_error error;
    struct tvn *db;
    test_options(c, &o, "app");
    assert_ok(tvn_open("triveni://127.0.0.1:1/?warm=no", &o, &db, &error), error);
    return db;
}

static void the_next_primary_is_reached_without_a_handshake(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(3);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), error);
    assert_int_equal(locked_int(c, &c->sites[1].accepted), 0); /* who lives shorter has none */
    assert_true(await_accepted(c, 1, 1));
    elect(c, 1); /* it says so, and nobody else does */
    site_order(c, 1, &c->sites[1].announce);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), NULL, &error), error);
    assert_int_equal(locked_int(c, &c->sites[1].accepted), 1);
    assert_int_equal(locked_int(c, &c->sites[2].accepted), 0);
    assert_true(await_accepted(c, 0, 2)); /* and now the other way round */
    elect(c, 0);                          /* without a word, and the old primary is gone */
    site_order(c, 1, &c->sites[1].kill);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("3"), NULL, &error), error);
    assert_int_equal(locked_int(c, &c->sites[0].accepted), 2);
    assert_int_equal(locked_int(c, &c->sites[1].accepted), 1);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void a_lost_connection_that_waited_is_made_again(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(2);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), error);
    assert_true(await_accepted(c, 1, 1));
    site_order(c, 1, &c->sites[1].kill);
    assert_true(await_accepted(c, 1, 2));
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), NULL, &error), error);
    assert_int_equal(locked_int(c, &c->sites[0].accepted), 1); /* nothing happened to the other */
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void who_says_that_it_is_not_primary_is_not_asked_first(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(2);
    struct tvn *db = open_cold(c);
    struct tvn_error error;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), NULL, &error), error);
    (void)usleep(COLD_MS * 1000);
    assert_int_equal(locked_int(c, &c->sites[1].accepted), 0); /* warm=no */
    elect(c, 1);
    site_order(c, 0, &c->sites[0].demote);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), NULL, &error), error);
    assert_int_equal(locked_int(c, &c->sites[0].accepted), 1);
    assert_int_equal(locked_int(c, &c->sites[1].accepted), 1);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* ---- sessions ---- */

static void sessions_resume_in_another_process(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn_options o;
    test_options(c, &o, "app");
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    struct tvn_result result;
    struct tvn_session_id session;
    uint64_t next;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("0"), NULL, &error), error);
    assert_ok(tvn_session(db, 0, &session, &next, &error), error);
    assert_int_equal(next, 2);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), &result, &error), error);
    assert_memory_equal(&result.session, &session, sizeof session);
    assert_int_equal(tvn_close(db), 0);
    assert_int_equal(locked_int(c, &c->closed_sessions), 0);
    o.session = session;
    o.next_sequence = next;
    db = open_with(&o);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), &result, &error), error);
    assert_int_equal(result.repeated, 1);
    assert_int_equal(result.sequence, 2);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("2"), &result, &error), error);
    assert_int_equal(result.repeated, 0);
    assert_int_equal(locked_int(c, &c->applied_count), 3);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void expire_sessions(struct cluster *c)
{
    cluster_lock(c);
    memset(c->sessions, 0xff, sizeof c->sessions);
    cluster_unlock(c);
}

static void expired_sessions_are_replaced_or_reported(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct tvn_result before, after;
    struct tally tally = TALLY_INIT;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), &before, &error), error);
    expire_sessions(c);
    struct tvn_txn *t = tvn_txn_new();
    (void)tvn_txn_put(t, "n", tvn_str("k"), tvn_str("2"));
    for (int i = 0; i < 50; i++)
        assert_ok(tvn_submit(db, t, count, &tally, &error), error);
    tvn_txn_free(t);
    assert_ok(tvn_flush(db, 0, &error), error);
    assert_int_equal(tally.ok, 50);
    assert_int_equal(tally.result.sequence, 50); /* numbered anew */
    assert_memory_not_equal(&tally.result.session, &before.session, 16);
    /* One that may have been run is not run again. */
    LOCKED(c, c->sites[0].faults.lose_after = 1);
    int applied = locked_int(c, &c->applied_count);
    expire_sessions(c);
    cluster_lock(c);
    c->sessions[c->session_count - 1] =
        c->applied[c->applied_count - 1].session; /* until applied */
    cluster_unlock(c);
    struct tally last = TALLY_INIT;
    t = tvn_txn_new();
    (void)tvn_txn_put(t, "n", tvn_str("k"), tvn_str("3"));
    cluster_lock(
        c); /* the site waits for this lock: nothing is answered before the session is gone */
    assert_ok(tvn_submit(db, t, count, &last, &error), error);
    cluster_unlock(c);
    cluster_lock(c);
    while (c->applied_count == applied) {
        cluster_unlock(c);
        (void)usleep(100);
        cluster_lock(c);
    }
    memset(c->sessions, 0xff, sizeof c->sessions);
    cluster_unlock(c);
    assert_ok(tvn_flush(db, 0, &error), error);
    assert_true(last.error.code == TVN_SESSION_EXPIRED || last.ok == 1);
    if (last.ok == 0)
        assert_int_equal(last.error.outcome, TVN_UNKNOWN);
    assert_int_equal(locked_int(c, &c->applied_count), applied + 1);
    tvn_txn_free(t);
    /* The application's own session is never replaced. */
    struct tvn_session_id session;
    uint64_t next;
    assert_ok(tvn_session(db, 0, &session, &next, &error), error);
    expire_sessions(c);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("4"), &after, &error),
                         TVN_SESSION_EXPIRED);
        assert_int_equal(error.outcome, TVN_NOT_DONE);
    }
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* Whether it was run under the session that has ended nobody knows, and with a key it does not matter. */
static void with_a_key_what_is_in_doubt_goes_on_under_a_new_session(void **state)
{
    (void)state;
    for (int keyed = 0; keyed < 2; keyed++) {
        struct cluster *c = cluster_start(1);
        struct tvn *db = open_client(c);
        struct tvn_error error;
        struct tvn_result before, after;
        assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("1"), &before, &error), error);
        LOCKED(c, c->sites[0].faults.unsure = 1);
        struct tvn_txn *t = tvn_txn_new();
        struct tally tally = TALLY_INIT;
        (void)tvn_txn_put(t, "n", tvn_str("k"), tvn_str("2"));
        if (keyed)
            (void)tvn_txn_set_idempotency_key(t, tvn_str("case-1"));
        cluster_lock(c); /* the site waits for this lock: the session is gone before it answers */
        assert_ok(tvn_submit(db, t, count, &tally, &error), error);
        while (c->sites[0].faults.unsure == 1) {
            cluster_unlock(c);
            (void)usleep(100);
            cluster_lock(c);
        }
        memset(c->sessions, 0xff, sizeof c->sessions);
        cluster_unlock(c);
        assert_ok(tvn_flush(db, 0, &error), error);
        if (keyed) {
            assert_int_equal(tally.ok, 1);
            assert_memory_not_equal(&tally.result.session, &before.session, 16);
        } else if (tally.ok == 0) {
            assert_int_equal(tally.error.code, TVN_SESSION_EXPIRED);
            assert_int_equal(tally.error.outcome, TVN_UNKNOWN);
        }
        assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("3"), &after, &error), error);
        tvn_txn_free(t);
        assert_int_equal(tvn_close(db), 0);
        cluster_stop(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_gets_and_deletes),
        cmocka_unit_test(conditions_decide),
        cmocka_unit_test(limits_are_checked_before_sending),
        cmocka_unit_test(submitted_transactions_keep_their_order),
        cmocka_unit_test(window_is_bounded),
        cmocka_unit_test(close_completes_everything_once),
        cmocka_unit_test(lost_answers_are_found_again),
        cmocka_unit_test(pipelines_survive_lost_connections),
        cmocka_unit_test(redirects_are_followed),
        cmocka_unit_test(failovers_are_waited_out),
        cmocka_unit_test(a_frozen_primary_is_left),
        cmocka_unit_test(outcomes_can_be_asked_for),
        cmocka_unit_test(a_cluster_without_a_primary_is_told),
        cmocka_unit_test(a_primary_without_a_majority_is_told_and_asked_again),
        cmocka_unit_test(the_next_primary_is_reached_without_a_handshake),
        cmocka_unit_test(a_lost_connection_that_waited_is_made_again),
        cmocka_unit_test(who_says_that_it_is_not_primary_is_not_asked_first),
        cmocka_unit_test(sessions_resume_in_another_process),
        cmocka_unit_test(expired_sessions_are_replaced_or_reported),
        cmocka_unit_test(with_a_key_what_is_in_doubt_goes_on_under_a_new_session),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
