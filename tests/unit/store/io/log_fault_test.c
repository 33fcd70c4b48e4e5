/* A disk that fails: the log says so once, acknowledges nothing more and retries nothing. The
 * faults come from an engine of the test's own. */
#include "log_util.h"

/* Counts operations; the one with number `fail_at` fails in the given way, and so do all after it.
 */
enum fault { FAULT_WRITE, FAULT_TORN, FAULT_SYNC, FAULT_NONE };
struct faulty {
    struct engine engine;
    enum fault fault;
    unsigned fail_at;
    unsigned ops;      /* so far */
    unsigned after;    /* tried after the failure */
    unsigned short_by; /* writes give at most this many blocks, 0: all */
};

static struct fixture fx;
static struct faulty disk;

static bool fails(struct faulty *d, bool sync)
{
    d->ops++;
    if (d->fault == FAULT_NONE || d->ops < d->fail_at)
        return false;
    if (d->ops > d->fail_at)
        d->after++;
    else if (sync != (d->fault == FAULT_SYNC))
        d->fail_at++; /* not an operation of that kind: the next */
    return d->ops >= d->fail_at;
}

static ssize_t faulty_write(struct engine *self, int fd, const uint8_t *p, size_t n,
                            uint64_t offset)
{
    struct faulty *d = (struct faulty *)(void *)self;
    if (d->short_by > 0 && n > d->short_by * 4096u)
        n = d->short_by * 4096u - 100; /* not even a whole block at the end */
    if (!fails(d, false))
        return pwrite(fd, p, (n + 4095) / 4096 * 4096, (off_t)offset) < 0 ? -errno : (ssize_t)n;
    if (d->fault == FAULT_TORN && n > 4096)
        (void)!pwrite(fd, p, 4096, (off_t)offset);
    return -EIO;
}

static int faulty_sync(struct engine *self, int fd)
{
    struct faulty *d = (struct faulty *)(void *)self;
    return fails(d, true) ? -EIO : fdatasync(fd) != 0 ? -errno : 0;
}

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    disk = (struct faulty){.engine = {LOG_ENGINE_PLAIN, 0, faulty_write, faulty_sync, NULL},
                           .fault = FAULT_NONE};
    fx.seam.engine = &disk.engine;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    util_free(&fx);
    return 0;
}

static void short_writes_are_continued(void **state)
{
    (void)state;
    disk.short_by = 2;
    util_open(&fx, 0);
    util_append(&fx, 2, 50000);
    util_append(&fx, 1, 4096);
    util_close(&fx);
    disk.short_by = 0;
    util_open(&fx, 0);
    util_expect(&fx, 1, 3);
    util_close(&fx);
}

static void writes_that_make_no_progress_end(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    disk.short_by = 1; /* less than a block each time: a batch of two blocks never ends */
    chain_add(&fx.chain, 6000);
    assert_int_equal(util_give(&fx, 1, 1, &e), 0);
    assert_int_equal(log_close(fx.log, &e), ERR_IO);
    assert_non_null(strstr(e.text, "no progress"));
    assert_int_equal(fx.failures, 1);
    assert_int_equal(fx.durable, 0);
}

/* Fail the n-th operation for n = 1, 2, ... while entries are appended; after each: told once,
 * nothing acknowledged that is not there, later calls give the error, and what was acknowledged is
 * there after the next open. */
static unsigned run_into(enum fault fault, unsigned fail_at)
{
    struct err e = ERR_NONE;
    fx.failures = 0;
    disk.fault = fault;
    disk.ops = disk.after = 0;
    disk.fail_at = fail_at;
    int rc = util_try_open(&fx, 0, &e);
    if (rc != 0) {
        assert_int_equal(rc, ERR_IO);
        disk.fault = FAULT_NONE;
        return 0;
    }
    const uint64_t begin = fx.chain.last;
    unsigned taken = 0;
    while (taken < 6 && rc == 0) {
        chain_add(&fx.chain, 9000);
        rc = util_give(&fx, fx.chain.last, fx.chain.last, &e);
        taken += rc == 0;
        pthread_mutex_lock(&fx.mutex);
        while (rc == 0 && fx.durable < fx.chain.last && fx.failures == 0)
            pthread_cond_wait(&fx.changed, &fx.mutex);
        pthread_mutex_unlock(&fx.mutex);
    }
    const uint64_t durable = fx.durable > begin ? fx.durable : begin;
    if (fx.failures > 0) {
        assert_int_equal(fx.failures, 1);
        assert_int_equal(fx.failure.code, ERR_IO);
        assert_non_null(strstr(fx.failure.text, fault == FAULT_SYNC ? "sync" : "write"));
        assert_non_null(strstr(fx.failure.text, "start the site again (triveni serve)"));
        assert_int_equal(log_truncate(fx.log, (struct lsn){begin}, &e), ERR_IO);
        assert_int_equal(disk.after, 0);
        assert_int_equal(log_close(fx.log, &e), ERR_IO);
        assert_int_equal(fx.durable > begin ? fx.durable : begin, durable);
    } else {
        rc = log_close(fx.log, &e);
        assert_true(rc == 0 || fx.failures == 1); /* the proof at close may be what fails */
    }
    assert_int_equal(disk.after, 0);
    disk.fault = FAULT_NONE;
    const bool reached = disk.fail_at <= disk.ops;

    util_open(&fx, 0);
    struct log_status s;
    log_status(fx.log, &s);
    assert_in_range(s.last.lsn.v, durable, fx.chain.last);
    util_expect(&fx, 1, s.last.lsn.v);
    util_close(&fx);
    fx.chain.last = s.last.lsn.v;
    return reached ? 1 : 2;
}

static void any_failing_operation_stops_the_log(void **state)
{
    (void)state;
    for (int fault = FAULT_WRITE; fault <= FAULT_SYNC; fault++) {
        unsigned n = 1;
        while (run_into((enum fault)fault, n) != 2)
            n++;
        assert_true(n > 12);
    }
}

static void a_failed_cut_is_told(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    util_append(&fx, 5, 100);
    disk.fail_at = disk.ops + 1;
    disk.fault = FAULT_SYNC;
    assert_int_equal(log_truncate(fx.log, (struct lsn){2}, &e), ERR_IO);
    chain_add(&fx.chain, 100);
    assert_int_equal(util_give(&fx, 6, 6, &e), ERR_IO);
    assert_int_equal(log_close(fx.log, &e), ERR_IO);
    assert_int_equal(fx.failures, 1);
}

/* Take all spares away, so that the next segment has to wait until the keeper looks again. */
static void take_spares_away(void)
{
    pthread_mutex_lock(&fx.log->mutex);
    while (fx.log->keeper.ready_count < LOG_SPARES_READY)
        pthread_cond_wait(&fx.log->wake, &fx.log->mutex);
    fx.log->keeper.ready_count = 0;
    pthread_mutex_unlock(&fx.log->mutex);
}

static void make_trouble(void)
{
    pthread_mutex_lock(&fx.log->mutex);
    (void)err_set(&fx.log->keeper.trouble, ERR_NO_SPACE, "no space, says the test");
    pthread_cond_broadcast(&fx.log->wake);
    pthread_mutex_unlock(&fx.log->mutex);
}

/* No space for a spare while the log is open (made by holding everything in reserve): the writer
 * waits, appends that need a segment are refused, and all goes on when there is space again. */
static void no_space_for_a_segment_is_waited_out(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    util_append(&fx, 1, 100);
    take_spares_away();
    make_trouble();
    int rc = 0;
    while (rc == 0) {
        chain_add(&fx.chain, 200000);
        rc = util_give(&fx, fx.chain.last, fx.chain.last, &e);
        if (rc == 0)
            util_wait(&fx, fx.chain.last);
    }
    assert_int_equal(rc, ERR_NO_SPACE);
    assert_string_equal(e.text, "no space, says the test");
    assert_int_equal(log_truncate(fx.log, (struct lsn){1}, &e),
                     ERR_NO_SPACE); /* needs a segment, too */
    util_expect(&fx, 1, fx.chain.last - 1);
    pthread_mutex_lock(&fx.log->mutex);
    pthread_cond_broadcast(&fx.log->keeper.wake); /* the keeper tries again */
    while (fx.log->keeper.ready_count == 0)
        pthread_cond_wait(&fx.log->wake, &fx.log->mutex);
    pthread_mutex_unlock(&fx.log->mutex);
    assert_int_equal(util_give(&fx, fx.chain.last, fx.chain.last, &e), 0);
    util_wait(&fx, fx.chain.last);
    util_close(&fx);
    util_open(&fx, 0);
    util_expect(&fx, 1, fx.chain.last);
    util_close(&fx);
}

/* Entries that were taken wait for space: cutting says so instead of waiting for ever, and they are
 * written when there is space. */
static void cutting_does_not_wait_for_space(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    util_append(&fx, 1, 500000);
    take_spares_away();
    for (int i = 0; i < 2; i++)
        chain_add(&fx.chain, 700000);
    assert_int_equal(util_give(&fx, 2, 3, &e), 0);
    make_trouble();
    assert_int_equal(log_truncate(fx.log, (struct lsn){1}, &e), ERR_NO_SPACE);
    assert_non_null(strstr(e.text, "wait for space"));
    util_expect(&fx, 1, 3); /* read from memory */
    assert_int_equal(fx.durable, 1);
    pthread_mutex_lock(&fx.log->mutex);
    pthread_cond_broadcast(&fx.log->keeper.wake);
    pthread_mutex_unlock(&fx.log->mutex);
    util_wait(&fx, 3);
    util_close(&fx);
}

/* ... and closing then gives up, and says so. */
static void closing_without_space_is_a_failure(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    util_append(&fx, 1, 500000);
    take_spares_away();
    chain_add(&fx.chain, 700000);
    assert_int_equal(util_give(&fx, 2, 2, &e), 0);
    make_trouble();
    assert_int_equal(log_close(fx.log, &e), ERR_NO_SPACE);
    assert_int_equal(fx.failures, 1);
    assert_int_equal(fx.durable, 1);
    fx.failures = 0;
    util_open(&fx, 0);
    util_expect(&fx, 1, 1);
    util_close(&fx);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(short_writes_are_continued),           T(writes_that_make_no_progress_end),
        T(any_failing_operation_stops_the_log),  T(a_failed_cut_is_told),
        T(no_space_for_a_segment_is_waited_out), T(cutting_does_not_wait_for_space),
        T(closing_without_space_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
