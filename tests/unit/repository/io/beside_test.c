#include "repository/io/beside.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

struct meeting {
    sem_t here, there;
    bool met;
};

static bool wait_for(sem_t *s)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30; /* a bound, no measurement */
    return sem_timedwait(s, &until) == 0;
}

static int meet(void *arg, struct err *e)
{
    struct meeting *m = arg;
    (void)sem_post(&m->here);
    m->met = wait_for(&m->there);
    return m->met ? 0 : err_set(e, ERR_TIMEOUT, "nobody came");
}

static void both_go_on_at_the_same_time(void **state)
{
    (void)state;
    struct meeting m = {.met = false};
    struct repo_beside b;
    struct err e = ERR_NONE;
    assert_int_equal(sem_init(&m.here, 0, 0), 0);
    assert_int_equal(sem_init(&m.there, 0, 0), 0);
    repo_beside_begin(&b, meet, &m);
    assert_true(wait_for(&m.here));
    (void)sem_post(&m.there);
    assert_int_equal(repo_beside_end(&b, &e), 0);
    assert_true(m.met);
    (void)sem_destroy(&m.here);
    (void)sem_destroy(&m.there);
}

static int fall_over(void *arg, struct err *e)
{
    *(pthread_t *)arg = pthread_self();
    return err_set(e, ERR_IO, "the disk is gone");
}

static void its_error_is_told_with_its_words(void **state)
{
    (void)state;
    struct repo_beside b;
    struct err e = ERR_NONE;
    pthread_t by;
    repo_beside_begin(&b, fall_over, &by);
    assert_int_equal(repo_beside_end(&b, &e), ERR_IO);
    assert_string_equal(e.text, "the disk is gone");
    assert_false(pthread_equal(by, pthread_self()));
    repo_beside_begin(&b, fall_over, &by);
    assert_int_equal(repo_beside_end(&b, NULL), ERR_IO);
}

static void without_a_thread_it_is_done_by_the_caller(void **state)
{
    (void)state;
    enum { HUGE_BITS = 46 }; /* of a stack: there is no such room */
    struct repo_beside b;
    struct err e = ERR_NONE;
    pthread_attr_t usual, huge;
    pthread_t by;
    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    assert_int_equal(pthread_attr_init(&huge), 0);
    assert_int_equal(pthread_attr_setstacksize(&huge, (size_t)1 << HUGE_BITS), 0);
    assert_int_equal(pthread_setattr_default_np(&huge), 0);
    repo_beside_begin(&b, fall_over, &by);
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    assert_int_equal(repo_beside_end(&b, &e), ERR_IO);
    assert_string_equal(e.text, "the disk is gone");
    assert_true(pthread_equal(by, pthread_self()));
    (void)pthread_attr_destroy(&huge);
    (void)pthread_attr_destroy(&usual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_go_on_at_the_same_time),
        cmocka_unit_test(its_error_is_told_with_its_words),
        cmocka_unit_test(without_a_thread_it_is_done_by_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
