/* A thread that is lent to the log writes its own batch; what needs more than one batch is left to the log's threads. */
#include "log_util.h"

#include <unistd.h>

static struct fixture fx;
static pthread_t teller; /* who told of the last batch */

static void told(void *arg, struct entry_position last)
{
    pthread_mutex_lock(&fx.mutex);
    teller = pthread_self();
    pthread_mutex_unlock(&fx.mutex);
    util_on_durable(arg, last);
}

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    fx.options.lent = true;
    fx.options.on_durable = told;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    util_free(&fx);
    return 0;
}

static void give_one(size_t body)
{
    struct err e = ERR_NONE;
    chain_add(&fx.chain, body);
    assert_int_equal(util_give(&fx, fx.chain.last, fx.chain.last, &e), 0);
}

static uint64_t durable(void)
{
    pthread_mutex_lock(&fx.mutex);
    const uint64_t lsn = fx.durable;
    pthread_mutex_unlock(&fx.mutex);
    return lsn;
}

/* One that was woken for the proof of the batch before would also write what it finds. */
static void wait_until_no_thread_is_on_its_way(void)
{
    for (bool asleep = false; !asleep; usleep(100)) {
        pthread_mutex_lock(&fx.log->mutex);
        asleep =
            (fx.log->watched || !fx.log->current.unproven) && fx.log->taken == fx.log->published;
        pthread_mutex_unlock(&fx.log->mutex);
    }
}

/* But for what the log's own threads find as they start, which is one batch each at most. */
static void what_is_lent_for_is_durable_on_return_and_told_by_the_lender(void **state)
{
    (void)state;
    uint64_t by_lender = 0;
    util_open(&fx, 0);
    for (uint64_t lsn = 1; lsn <= 20; lsn++) {
        wait_until_no_thread_is_on_its_way();
        give_one(800);
        const bool waits = durable() == lsn - 1; /* an append alone wakes nobody */
        log_lend(fx.log);
        const bool here = durable() == lsn && pthread_equal(teller, pthread_self());
        util_wait(&fx, lsn);
        by_lender += waits && here;
    }
    assert_in_range(by_lender, 20 - LOG_LANES, 20);
    log_lend(fx.log); /* nothing waits: nothing is done */
    util_close(&fx);
    util_open(&fx, 0);
    util_expect(&fx, 1, 20);
    util_close(&fx);
}

static void what_nobody_lent_for_is_written_when_the_log_is_closed(void **state)
{
    (void)state;
    util_open(&fx, 0);
    give_one(800);
    util_close(&fx);
    assert_int_equal(durable(), 1);
    util_open(&fx, 0);
    util_expect(&fx, 1, 1);
    util_close(&fx);
}

static void a_batch_that_needs_a_new_segment_is_left_to_the_logs_threads(void **state)
{
    (void)state;
    util_open(&fx, 0);
    for (int i = 0; i < 6; i++) { /* three fill a segment of 1 MiB */
        give_one(300000);
        log_lend(fx.log);
        util_wait(&fx, fx.chain.last);
    }
    struct log_status s;
    log_status(fx.log, &s);
    assert_true(s.segments >= 2);
    util_expect(&fx, 1, 6);
    util_close(&fx);
}

static void the_last_batch_gets_its_proof_although_no_thread_of_the_log_was_awake(void **state)
{
    (void)state;
    fx.seam.idle_ms = 20;
    util_open(&fx, 0);
    give_one(800);
    log_lend(fx.log);
    bool unproven = true;
    for (int i = 0; i < 500 && unproven; i++) {
        (void)usleep(10000);
        pthread_mutex_lock(&fx.log->mutex);
        unproven = fx.log->current.unproven;
        pthread_mutex_unlock(&fx.log->mutex);
    }
    assert_false(unproven);
    util_close(&fx);
}

/* ---- several threads ---- */

enum { LENDERS = 4, EACH = 400 };
static pthread_mutex_t owner = PTHREAD_MUTEX_INITIALIZER;

static void *lend_often(void *arg)
{
    const size_t body = *(const size_t *)arg;
    for (int i = 0; i < EACH; i++) {
        pthread_mutex_lock(&owner);
        give_one(body);
        const uint64_t mine = fx.chain.last;
        pthread_mutex_unlock(&owner);
        log_lend(fx.log);
        util_wait(&fx, mine);
    }
    return NULL;
}

static void several_lenders_leave_nobody_waiting(void **state)
{
    (void)state;
    pthread_t threads[LENDERS];
    static const size_t bodies[LENDERS] = {100, 700, 3000, 9000}; /* over several segments */
    util_open(&fx, 0);
    for (size_t i = 0; i < LENDERS; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, lend_often, (void *)(uintptr_t)&bodies[i]), 0);
    for (size_t i = 0; i < LENDERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(durable(), LENDERS * EACH);
    util_expect(&fx, 1, LENDERS * EACH);
    util_close(&fx);
    util_open(&fx, 0);
    util_expect(&fx, 1, LENDERS * EACH);
    util_close(&fx);
}

/* ---- failure ---- */

static ssize_t write_nothing(struct engine *self, int fd, const uint8_t *p, size_t n,
                             uint64_t offset)
{
    (void)self;
    (void)fd;
    (void)p;
    (void)n;
    (void)offset;
    return -EIO;
}

static ssize_t write_all(struct engine *self, int fd, const uint8_t *p, size_t n, uint64_t offset)
{
    (void)self;
    return pwrite(fd, p, n, (off_t)offset);
}

static int sync_all(struct engine *self, int fd)
{
    (void)self;
    return fdatasync(fd);
}

static void a_lent_write_that_fails_stops_the_log_once(void **state)
{
    (void)state;
    struct engine good = {LOG_ENGINE_PLAIN, 0, write_all, sync_all, NULL};
    struct engine bad = {LOG_ENGINE_PLAIN, 0, write_nothing, sync_all, NULL};
    struct err e = ERR_NONE;
    fx.seam.engine = &good;
    fx.seam.lent = &bad;
    util_open(&fx, 0);
    give_one(800);
    log_lend(fx.log);
    assert_int_equal(fx.failures, 1);
    assert_int_equal(fx.failure.code, ERR_IO);
    log_lend(fx.log);
    chain_add(&fx.chain, 800);
    assert_int_equal(util_give(&fx, 2, 2, &e), ERR_IO);
    assert_int_equal(log_close(fx.log, &e), ERR_IO);
    assert_int_equal(fx.failures, 1);
    assert_int_equal(durable(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            what_is_lent_for_is_durable_on_return_and_told_by_the_lender, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_nobody_lent_for_is_written_when_the_log_is_closed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_batch_that_needs_a_new_segment_is_left_to_the_logs_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            the_last_batch_gets_its_proof_although_no_thread_of_the_log_was_awake, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(several_lenders_leave_nobody_waiting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lent_write_that_fails_stops_the_log_once, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
