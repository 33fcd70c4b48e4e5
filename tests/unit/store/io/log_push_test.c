/* A log that is held writes what was appended in a row as one batch, when it is pushed. */
#include "log_util.h"

static struct fixture fx;
static unsigned tellings; /* under fx.mutex */

static void told(void *arg, struct entry_position last)
{
    pthread_mutex_lock(&fx.mutex);
    tellings++;
    pthread_mutex_unlock(&fx.mutex);
    util_on_durable(arg, last);
}

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    fx.options.held = true;
    fx.options.on_durable = told;
    tellings = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    util_free(&fx);
    return 0;
}

static void give(unsigned n)
{
    struct err e = ERR_NONE;
    for (unsigned i = 0; i < n; i++) {
        chain_add(&fx.chain, 800);
        assert_int_equal(util_give(&fx, fx.chain.last, fx.chain.last, &e), 0);
    }
}

static void what_is_appended_in_a_row_is_one_batch(void **state)
{
    (void)state;
    enum { ROWS = 20, EACH = 30 };
    util_open(&fx, 0);
    for (unsigned row = 1; row <= ROWS; row++) {
        give(EACH);
        log_push(fx.log);
        util_wait(&fx, fx.chain.last);
        pthread_mutex_lock(&fx.mutex);
        assert_int_equal(tellings, row);
        pthread_mutex_unlock(&fx.mutex);
    }
    log_push(fx.log); /* nothing waits: nothing is done */
    util_close(&fx);
    util_open(&fx, 0);
    util_expect(&fx, 1, ROWS * EACH);
    util_close(&fx);
}

static void what_nobody_pushed_is_written_when_the_log_is_closed(void **state)
{
    (void)state;
    util_open(&fx, 0);
    give(3);
    util_close(&fx);
    util_open(&fx, 0);
    util_expect(&fx, 1, 3);
    util_close(&fx);
}

/* A cut waits for what was appended before it: somebody must write that. */
static void a_cut_needs_no_push(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    bool unproven = true;
    fx.seam.idle_ms = 20;
    util_open(&fx, 0);
    give(1);
    log_push(fx.log);
    util_wait(&fx, 1);
    for (int i = 0; i < 500 && unproven;
         i++) { /* until no thread of the log has anything to wake for */
        (void)usleep(10000);
        pthread_mutex_lock(&fx.log->mutex);
        unproven = fx.log->current.unproven;
        pthread_mutex_unlock(&fx.log->mutex);
    }
    give(5);
    (void)alarm(60); /* instead of waiting for ever */
    assert_int_equal(log_truncate(fx.log, (struct lsn){2}, &e), 0);
    struct log_status s;
    log_status(fx.log, &s);
    assert_int_equal(s.last.lsn.v, 2);
    util_close(&fx);
    (void)alarm(0);
}

static void a_thread_can_be_lent_instead(void **state)
{
    (void)state;
    fx.options.lent = true;
    util_open(&fx, 0);
    for (uint64_t lsn = 1; lsn <= 20; lsn++) {
        give(1);
        log_lend(fx.log);
        pthread_mutex_lock(&fx.mutex);
        assert_int_equal(fx.durable, lsn);
        pthread_mutex_unlock(&fx.mutex);
    }
    util_close(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_appended_in_a_row_is_one_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_nobody_pushed_is_written_when_the_log_is_closed,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_thread_can_be_lent_instead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_needs_no_push, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
