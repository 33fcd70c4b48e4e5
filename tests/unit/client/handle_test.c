/* Handles: threads, foreign loops, closing, forks, signals, certificates. */
#include "tests/unit/client/cluster.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- threads ---- */

struct worker {
    struct cluster *cluster;
    struct tvn *db;
    int id, failures;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct tvn_error error;
    char key[32];
    (void)snprintf(key, sizeof key, "w%d", w->id);
    for (int i = 0; i < 60; i++) {
        char value[32];
        struct tvn_records *r = NULL;
        (void)snprintf(value, sizeof value, "%d", i);
        if (tvn_put(w->db, "t", tvn_str(key), tvn_str(value), NULL, &error) != 0 ||
            tvn_get(w->db, "t", tvn_str(key), NULL, &r, &error) != 0 ||
            r->records[0].value.size != strlen(value) ||
            memcmp(r->records[0].value.data, value, strlen(value)) != 0) {
            print_error("%s\n", error.text);
            w->failures++;
        }
        tvn_records_free(r);
        struct tvn_info info = {.size = sizeof info};
        tvn_describe(w->db, &info);
        if (w->id == 0 && i % 20 == 10)
            site_order(w->cluster, 0, &w->cluster->sites[0].kill);
        if (w->id == 1 && i == 40) {
            elect(w->cluster, 1);
            site_order(w->cluster, 0, &w->cluster->sites[0].announce);
        }
    }
    return NULL;
}

static void threads_share_a_handle(void **state)
{
    (void)state;
    enum { WORKERS = 8 };
    struct cluster *c = cluster_start(2);
    struct tvn *db = open_client(c);
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){c, db, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].failures, 0);
    }
    assert_int_equal(locked_int(c, &c->applied_count), WORKERS * 60);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* ---- foreign loops ---- */

struct polled {
    pthread_t thread;
    int done, ok, records, elsewhere;
    struct tvn *db;
    int close_rc;
};

static void on_polled(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct polled *p = arg;
    p->done++;
    p->ok += error->code == 0 && result->lsn > 0;
    p->elsewhere += !pthread_equal(pthread_self(), p->thread);
    p->close_rc = tvn_close(p->db); /* not from a callback */
}

static void on_polled_records(void *arg, struct tvn_records *records, const struct tvn_error *error)
{
    struct polled *p = arg;
    p->done++;
    p->ok += error->code == 0;
    p->records += records != NULL ? (int)records->count : 0;
    tvn_records_free(records);
}

static void completions_come_to_the_loop_that_polls(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn_options o;
    test_options(c, &o, "app");
    o.poll = 1;
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    struct polled p = {.thread = pthread_self(), .db = db};
    struct tvn_txn *t = tvn_txn_new();
    (void)tvn_txn_put(t, "n", tvn_str("k"), tvn_str("v"));
    for (int i = 0; i < 100; i++)
        assert_ok(tvn_submit(db, t, on_polled, &p, &error), error);
    struct pollfd fd = {tvn_fd(db), POLLIN, 0};
    while (p.done < 100) {
        assert_int_equal(poll(&fd, 1, 5000), 1);
        int before = p.done;
        size_t n = tvn_poll(db, 7);
        assert_int_equal(p.done - before, n);
        assert_true(n <= 7);
    }
    assert_int_equal(p.ok, 100);
    assert_int_equal(p.elsewhere, 0);
    assert_int_equal(p.close_rc, TVN_USAGE);
    assert_int_equal(poll(&fd, 1, 0), 0); /* nothing waits, so it is not readable */
    assert_int_equal(tvn_poll(db, 0), 0);
    const struct tvn_key key = {"n", tvn_str("k")};
    assert_ok(tvn_submit_get(db, &key, 1, NULL, on_polled_records, &p, &error), error);
    assert_ok(tvn_flush(db, 0, &error), error); /* polls by itself */
    assert_int_equal(p.records, 1);
    /* What nobody polled for is completed by closing, on this thread. */
    LOCKED(c, c->sites[0].faults.swallow = 10);
    p.done = p.ok = 0;
    for (int i = 0; i < 10; i++)
        assert_ok(tvn_submit(db, t, on_polled, &p, &error), error);
    tvn_txn_free(t);
    assert_int_equal(tvn_close(db), 0);
    assert_int_equal(p.done, 10);
    assert_int_equal(p.ok, 0);
    assert_int_equal(p.elsewhere, 0);
    cluster_stop(c);
}

static void unpolled_answers_stop_the_reading(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn_options o;
    test_options(c, &o, "app");
    o.poll = 1;
    o.max_in_flight_bytes = 1 << 20;
    struct tvn *db = open_with(&o);
    struct tvn_error error;
    static uint8_t big[1 << 20];
    struct polled p = {.thread = pthread_self(), .db = db};
    const struct tvn_key key = {"n", tvn_str("big")};
    enum { PATIENCE_MS = 60000 }; /* the deadline is not what is tried, and machines may be busy */
    struct tvn_read how = TVN_READ_INIT;
    how.timeout_ms = PATIENCE_MS;
    assert_ok(tvn_put(db, "n", tvn_str("big"), tvn_view(big, sizeof big), NULL, &error), error);
    for (int i = 0; i < 64; i++)
        assert_ok(tvn_submit_get(db, &key, 1, &how, on_polled_records, &p, &error), error);
    (void)usleep(1500000);
    struct rusage before, after;
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    (void)usleep(3500000); /* longer than a site may be silent: being paused is not being lost */
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_true(after.ru_nvcsw - before.ru_nvcsw < 300); /* nor is it to look every millisecond */
    struct tvn_info info = {.size = sizeof info};
    tvn_describe(db, &info);
    assert_int_equal(info.in_flight, 64);
    assert_int_equal(info.connects, 1);
    assert_ok(tvn_flush(db, PATIENCE_MS, &error), error);
    assert_int_equal(p.ok, 64);
    tvn_describe(db, &info);
    assert_int_equal(info.connects, 1);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

/* ---- callbacks on the I/O thread ---- */

struct inside {
    struct tvn *db;
    int close_rc, put_rc, submit_rc, again;
};

static void on_again(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    (void)result;
    struct inside *i = arg;
    i->again += error->code == 0;
}

static void on_inside(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    (void)result, (void)error;
    struct inside *i = arg;
    struct tvn_error e;
    struct tvn_txn *t = tvn_txn_new();
    (void)tvn_txn_put(t, "n", tvn_str("k"), tvn_str("v"));
    i->close_rc = tvn_close(i->db);
    i->put_rc = tvn_txn_commit(i->db, t, NULL, &e);
    i->submit_rc = tvn_submit(i->db, t, on_again, i, &e);
    tvn_txn_free(t);
}

static void callbacks_may_submit_and_must_not_wait(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    struct inside inside = {.db = db};
    struct tvn_txn *t = tvn_txn_new();
    (void)tvn_txn_put(t, "n", tvn_str("k"), tvn_str("v"));
    assert_ok(tvn_submit(db, t, on_inside, &inside, &error), error);
    tvn_txn_free(t);
    assert_ok(tvn_flush(db, 0, &error), error);
    assert_ok(tvn_flush(db, 0, &error), error); /* of what the callback submitted */
    assert_int_equal(inside.close_rc, TVN_USAGE);
    assert_int_equal(inside.put_rc, TVN_USAGE);
    assert_int_equal(inside.submit_rc, 0);
    assert_int_equal(inside.again, 1);
    assert_int_equal(tvn_fd(db), -1);
    assert_int_equal(tvn_close(db), 0);
    assert_int_equal(tvn_close(NULL), 0);
    cluster_stop(c);
}

/* ---- the process around ---- */

static void a_forked_child_is_refused(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("v"), NULL, &error), error);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int put = tvn_put(db, "n", tvn_str("k"), tvn_str("w"), NULL, &error);
        _exit(put == TVN_USAGE && tvn_close(db) == TVN_USAGE ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("x"), NULL, &error), error);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void signals_of_the_process_are_left_alone(void **state)
{
    (void)state;
    struct sigaction before, after;
    sigset_t mask_before, mask_after;
    (void)sigaction(SIGPIPE, NULL, &before);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask_before);
    struct cluster *c = cluster_start(1);
    struct tvn *db = open_client(c);
    struct tvn_error error;
    /* Writes to a connection that is being cut: with the default action of SIGPIPE one signal would end this process. */
    for (int i = 0; i < 20; i++) {
        site_order(c, 0, &c->sites[0].kill);
        assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("v"), NULL, &error), error);
    }
    assert_int_equal(tvn_close(db), 0);
    (void)sigaction(SIGPIPE, NULL, &after);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask_after);
    assert_true(before.sa_handler == after.sa_handler);
    for (int i = 1; i < SIGRTMAX; i++)
        assert_int_equal(sigismember(&mask_before, i), sigismember(&mask_after, i));
    cluster_stop(c);
}

/* ---- opening ---- */

static void certificates_are_checked_at_open(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn_options o;
    struct tvn_error error;
    struct tvn *db;
    test_options(c, &o, "dc");
    assert_int_equal(tvn_open(NULL, &o, &db, &error), TVN_DENIED);
    assert_null(db);
    assert_non_null(strstr(error.text, "site"));
    test_options(c, &o, "app");
    o.cluster = "other";
    assert_int_equal(tvn_open(NULL, &o, &db, &error), TVN_DENIED);
    test_options(c, &o, "app");
    o.key = "/nowhere/app.key";
    assert_true(tvn_open(NULL, &o, &db, &error) < 0);
    assert_non_null(strstr(error.text, "/nowhere/app.key"));
    assert_int_equal(tvn_open("triveni://nonsense", NULL, &db, &error), TVN_USAGE);
    cluster_stop(c);
}

/* Of another authority: the sites refuse it, and waiting for the deadline would not change that. */
static void a_stranger_is_told_at_once(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(2);
    struct tvn_options o;
    struct tvn_error error;
    struct err e = ERR_NONE;
    char dir[96], cert[128], key[128], ca[128], command[512];
    test_options(c, &o, "app");
    (void)snprintf(dir, sizeof dir, "%s/other", pki_dir);
    const struct pki_request request = {.kind = WIRE_CLIENT, .name = "app"};
    if (pki_init(dir, "gov", &e) != 0 || pki_issue(dir, &request, &e) != 0)
        fail_msg("%s", e.text);
    (void)snprintf(cert, sizeof cert, "%s/app.crt", dir);
    (void)snprintf(key, sizeof key, "%s/app.key", dir);
    (void)snprintf(ca, sizeof ca, "%s/both.crt", dir);
    (void)snprintf(command, sizeof command, "cat %s %s/ca.crt > %s", o.ca, dir, ca);
    assert_int_equal(system(command), 0);
    o.ca = ca;
    o.cert = cert;
    o.key = key;
    struct tvn *db = open_with(&o);
    uint64_t begun = uv_hrtime();
    assert_int_equal(tvn_put(db, "n", tvn_str("k"), tvn_str("v"), NULL, &error), TVN_DENIED);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_int_equal(tvn_exit_code(error.code), 8);
    assert_true((uv_hrtime() - begun) / 1000000 < 2500);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

static void unreachable_endpoints_do_not_delay_the_others(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(1);
    struct tvn_options o;
    struct tvn_error error;
    char endpoints[128];
    test_options(c, &o, "app");
    /* Nothing answers on a TEST-NET address (RFC 5737), nothing listens on port 9. */
    (void)snprintf(endpoints, sizeof endpoints, "192.0.2.1:7400,127.0.0.1:9,%s",
                   c->sites[0].endpoint);
    o.endpoints = endpoints;
    struct tvn *db = open_with(&o);
    uint64_t begun = uv_hrtime();
    assert_ok(tvn_put(db, "n", tvn_str("k"), tvn_str("v"), NULL, &error), error);
    assert_true((uv_hrtime() - begun) / 1000000 < 1500);
    assert_int_equal(tvn_close(db), 0);
    cluster_stop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_handle),
        cmocka_unit_test(completions_come_to_the_loop_that_polls),
        cmocka_unit_test(unpolled_answers_stop_the_reading),
        cmocka_unit_test(callbacks_may_submit_and_must_not_wait),
        cmocka_unit_test(a_forked_child_is_refused),
        cmocka_unit_test(signals_of_the_process_are_left_alone),
        cmocka_unit_test(certificates_are_checked_at_open),
        cmocka_unit_test(a_stranger_is_told_at_once),
        cmocka_unit_test(unreachable_endpoints_do_not_delay_the_others),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
