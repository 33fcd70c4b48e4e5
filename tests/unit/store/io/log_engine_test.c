/* Which kernels are trusted with io_uring, what the engines are called, and which one is taken. */
#include "store/io/log_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static void kernels_in_which_io_uring_hangs_or_loses_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *release, *version;
        bool sound;
    } cases[] = {
        {"5.10.0-28-amd64", "#1 SMP Debian 5.10.209-2 (2024-01-31)", false},
        {"5.15.0-91-generic", "#101-Ubuntu SMP", false},
        {"5.19.17", "#1 SMP", false},
        {"6.0.19", "#1 SMP", false},
        {"6.1.64", "#1 SMP", false},
        {"6.1.66-rt", "#1 SMP", false},
        {"6.1.67", "#1 SMP", true},
        {"6.1.0-15-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.66-1 (2023-12-09)", false},
        {"6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)", true},
        {"6.1.0", "#1 SMP", false},
        {"6.2", "#1 SMP", true},
        {"6.18.44-x", "#1 SMP", true},
        {"7.0.0", "#1 SMP", true},
        {"what is this", "", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (engine_uring_kernel_is_sound(cases[i].release, cases[i].version) != cases[i].sound)
            fail_msg("%s, %s", cases[i].release, cases[i].version);
}

static void engines_are_called_what_they_do(void **state)
{
    (void)state;
    assert_string_equal(log_engine_name(LOG_ENGINE_URING), "io_uring");
    assert_string_equal(log_engine_name(LOG_ENGINE_PLAIN), "pwrite+O_DSYNC");
}

static void io_uring_is_taken_only_if_it_is_clearly_faster(void **state)
{
    (void)state;
    assert_true(engine_uring_is_worth_it(89, 100));
    assert_false(engine_uring_is_worth_it(90, 100));
    assert_false(engine_uring_is_worth_it(140, 100));
    assert_false(engine_uring_is_worth_it(0, 0));
    assert_true(engine_uring_is_worth_it(3000000000u, 4000000000u));
}

static void a_choice_leaves_no_file_and_says_why(void **state)
{
    (void)state;
    char dir[] = "/tmp/triveni-engine.XXXXXX", reason[ENGINE_REASON_BYTES];
    struct err e = ERR_NONE;
    struct engine *engine;
    assert_non_null(mkdtemp(dir));
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(engine_choose(LOG_ENGINE_PLAIN, dir_fd, dir, &engine, reason, &e), 0);
    assert_int_equal(engine->kind, LOG_ENGINE_PLAIN);
    assert_memory_equal(reason, "as configured", 13);
    engine->close(engine);
    assert_int_equal(engine_choose(LOG_ENGINE_AUTO, dir_fd, dir, &engine, reason, &e), 0);
    struct engine *uring = NULL;
    struct err why = ERR_NONE;
    if (engine_uring_open(&uring, &why) == 0) { /* both were timed */
        unsigned a = 0, b = 0;
        assert_int_equal(
            sscanf(reason, "a block takes io_uring %u us here and pwrite+O_DSYNC %u us", &a, &b),
            2);
        assert_int_equal(engine->kind == LOG_ENGINE_URING, engine_uring_is_worth_it(a, b));
        uring->close(uring);
    } else {
        assert_int_equal(engine->kind, LOG_ENGINE_PLAIN);
        assert_memory_equal(reason, "no io_uring here", 16);
    }
    engine->close(engine);
    (void)close(dir_fd);
    assert_int_equal(rmdir(dir), 0); /* it is empty */
}

static void a_directory_that_takes_no_file_is_refused_with_its_name(void **state)
{
    (void)state;
    char reason[ENGINE_REASON_BYTES];
    struct engine *engine;
    int dir_fd = open("/proc/self", O_RDONLY | O_DIRECTORY);
    static const enum log_engine wanted[] = {LOG_ENGINE_AUTO, LOG_ENGINE_PLAIN, LOG_ENGINE_URING};
    for (size_t i = 0; i < 3; i++) {
        struct err e = ERR_NONE;
        assert_int_not_equal(engine_choose(wanted[i], dir_fd, "here/log", &engine, reason, &e), 0);
        assert_non_null(strstr(e.text, "log engine "));
    }
    (void)close(dir_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_in_which_io_uring_hangs_or_loses_are_refused),
        cmocka_unit_test(engines_are_called_what_they_do),
        cmocka_unit_test(io_uring_is_taken_only_if_it_is_clearly_faster),
        cmocka_unit_test(a_choice_leaves_no_file_and_says_why),
        cmocka_unit_test(a_directory_that_takes_no_file_is_refused_with_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
