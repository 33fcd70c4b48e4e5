/* Which kernels are trusted with io_uring, and what the engines are called. */
#include "store/io/log_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_in_which_io_uring_hangs_or_loses_are_refused),
        cmocka_unit_test(engines_are_called_what_they_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
