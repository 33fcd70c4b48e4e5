/* Who asks the file system for its free space waits for it, and lets nobody else wait: the log's mutex is free meanwhile. */
#include "log_util.h"

#include <stdatomic.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

static struct fixture fx;
static struct log *_Atomic watched; /* NULL: nobody looks */
static pthread_t owner;
static unsigned asked, asked_under_the_mutex;
static atomic_bool full;

/* In place of the C library's. */
int fstatvfs(int fd, struct statvfs *out)
{
    struct statfs s;
    struct log *const log = watched;
    if (log != NULL && pthread_equal(pthread_self(), owner)) {
        asked++;
        unsigned tries = 0;
        while (pthread_mutex_trylock(&log->mutex) != 0 && ++tries < 2000)
            (void)usleep(1000); /* a lane may have it for a moment */
        if (tries < 2000)
            pthread_mutex_unlock(&log->mutex);
        else
            asked_under_the_mutex++;
    }
    int rc = fstatfs(fd, &s);
    *out =
        (struct statvfs){.f_bavail = full ? 0 : s.f_bavail, .f_frsize = (unsigned long)s.f_frsize};
    return rc;
}

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    fx.options.reserve_bytes = 4096;
    util_open(&fx, 0);
    owner = pthread_self();
    asked = asked_under_the_mutex = 0;
    full = false;
    watched = fx.log;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    watched = NULL;
    util_close(&fx);
    util_free(&fx);
    return 0;
}

static void the_mutex_is_free_while_the_file_system_is_asked(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    chain_add(&fx.chain, LOG_ASK_FREE_BYTES / 2);
    assert_int_equal(log_room(fx.log, LOG_ASK_FREE_BYTES, &e), 0);
    assert_int_equal(asked, 1);
    assert_int_equal(util_give(&fx, 1, 1, &e), 0); /* was granted: not asked again */
    assert_int_equal(asked, 1);
    for (uint64_t lsn = 2; lsn < 4; lsn++) {
        chain_add(&fx.chain, LOG_ASK_FREE_BYTES / 2);
        assert_int_equal(util_give(&fx, lsn, lsn, &e), 0);
    }
    assert_int_equal(asked, 2);
    assert_int_equal(asked_under_the_mutex, 0);
}

static void a_refusal_is_asked_about_each_time(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    chain_add(&fx.chain, 100);
    full = true;
    assert_int_equal(log_room(fx.log, LOG_ASK_FREE_BYTES, &e), ERR_NO_SPACE);
    assert_non_null(strstr(e.text, "reserve"));
    assert_int_equal(util_give(&fx, 1, 1, &e), ERR_NO_SPACE);
    assert_int_equal(log_room(fx.log, 100, &e), ERR_NO_SPACE);
    assert_int_equal(asked, 3);
    full = false;
    assert_int_equal(util_give(&fx, 1, 1, &e), 0);
    assert_int_equal(asked, 4);
    assert_int_equal(log_room(fx.log, 100, &e), 0);
    assert_int_equal(asked, 4);
    assert_int_equal(asked_under_the_mutex, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(the_mutex_is_free_while_the_file_system_is_asked),
        T(a_refusal_is_asked_about_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
