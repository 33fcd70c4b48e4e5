/* kill -9 at any moment: a child appends and reports each durable position through a pipe; what it
 * reported is there afterwards. (The page cache outlives a killed process, so this proves the order
 * of acknowledging, not of the disk; power cuts are another test's.) */
#include "log_util.h"

#include <signal.h>
#include <sys/wait.h>

enum { ROUNDS = 20 };

static struct fixture fx;
static int report_fd;

static void report(void *arg, struct entry_position last)
{
    (void)arg;
    if (write(report_fd, &last, sizeof last) != (ssize_t)sizeof last)
        _exit(1);
}

/* Never returns. Small and large batches, and old segments recycled, so that files are being
 * written over. */
static void append_for_ever(struct entry_position start, unsigned seed)
{
    struct err e = ERR_NONE;
    struct entry_view v[8];
    fx.options.on_durable = report;
    fx.options.on_failed = NULL;
    fx.chain.seed = seed;
    fx.chain.at[start.lsn.v] = start;
    fx.chain.last = start.lsn.v;
    if (log_open_seam(&fx.log, &fx.options, &start, &fx.seam, &e) != 0)
        _exit(2);
    for (;;) {
        unsigned n = 1 + util_random(&fx.chain) % 8;
        for (unsigned i = 0; i < n; i++) {
            size_t body =
                util_random(&fx.chain) % 20 == 0 ? 200000 : 16 + util_random(&fx.chain) % 3000;
            chain_add(&fx.chain, body);
            v[i] = chain_view(&fx.chain, fx.chain.last);
        }
        int rc;
        while ((rc = log_append(fx.log, v, n, &e)) == ERR_BUSY)
            (void)usleep(1000);
        if (rc != 0)
            _exit(3);
        struct log_status s;
        log_status(fx.log, &s);
        if (s.durable.v > start.lsn.v + 50 && util_random(&fx.chain) % 10 == 0)
            (void)log_recycle(fx.log, start.lsn, &e);
        if (util_random(&fx.chain) % 4 == 0)
            (void)usleep(util_random(&fx.chain) % 2000);
        if (fx.chain.last > UTIL_ENTRIES_MAX - 10)
            for (;;)
                (void)pause();
    }
}

static void what_was_reported_durable_survives_kill(void **state)
{
    (void)state;
    struct entry_position at = {.lsn = {0}};
    struct err e = ERR_NONE;
    unsigned seed = 4711;
    util_new(&fx);
    fx.seam.idle_ms = 2;
    for (int round = 0; round < ROUNDS; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        fx.options.engine = round % 2 == 0 ? LOG_ENGINE_AUTO : LOG_ENGINE_PLAIN;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)close(fds[0]);
            report_fd = fds[1];
            append_for_ever(at, seed);
        }
        (void)close(fds[1]);
        seed = seed * 1103515245u + 12345u;
        struct entry_position reported, before = at;
        if (round % 4 != 3) { /* every fourth may die before it is open */
            assert_int_equal(read(fds[0], &reported, sizeof reported), sizeof reported);
            at = reported;
        }
        (void)usleep((seed >> 8) % 60000);
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));

        while (read(fds[0], &reported, sizeof reported) == (ssize_t)sizeof reported)
            at = reported;
        (void)close(fds[0]);

        struct log_options quiet = fx.options;
        quiet.on_durable = NULL;
        int rc = log_open(&fx.log, &quiet, &before, &e);
        if (rc != 0)
            print_error("round %d: %s\n", round, e.text);
        assert_int_equal(rc, 0);
        struct entry_position there;
        struct log_status s;
        log_status(fx.log, &s);
        assert_true(s.last.lsn.v >= at.lsn.v);
        assert_int_equal(log_position(fx.log, at.lsn, &there, &e), 0);
        assert_memory_equal(&there, &at, sizeof at);
        assert_int_equal(log_close(fx.log, &e), 0);
        at = s.last;
        assert_true(at.lsn.v < UTIL_ENTRIES_MAX - 10);
    }
    print_message("%d kills, %llu entries\n", ROUNDS, (unsigned long long)at.lsn.v);
    assert_true(at.lsn.v > 100);
    util_free(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_reported_durable_survives_kill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
