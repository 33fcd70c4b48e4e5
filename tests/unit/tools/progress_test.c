/* The bar on a terminal, and the lines where there is none. */
#include "tools/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What is written to *other is what the terminal shows. */
static int terminal_open(int *other)
{
    char name[64];
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    assert_int_equal(ptsname_r(terminal, name, sizeof name), 0);
    *other = open(name, O_RDWR | O_NOCTTY);
    assert_true(*other >= 0);
    return terminal;
}

/* A child with a terminal as its stderr begins a bar and is told to stop. */
static void an_interrupted_bar_leaves_the_line(void **state)
{
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < 2; i++) {
        int other, status;
        const int terminal = terminal_open(&other);
        char shown[64] = "";
        pid_t child = fork();
        if (child == 0) {
            struct progress p;
            (void)dup2(other, STDERR_FILENO);
            progress_begin(&p, "load", NULL, 0);
            (void)raise(signals[i]);
            _exit(3);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* it still dies of it */
        assert_int_equal(WTERMSIG(status), signals[i]);
        assert_true(read(terminal, shown, sizeof shown - 1) > 0);
        assert_non_null(strchr(shown, '\n'));
        (void)close(other);
        (void)close(terminal);
    }
}

static void who_ignores_the_signal_goes_on_ignoring_it(void **state)
{
    (void)state;
    struct progress p;
    struct sigaction now;
    (void)signal(SIGINT, SIG_IGN);
    progress_begin(&p, "load", NULL,
                   0); /* stderr is no terminal here, or the handler is left alone */
    assert_int_equal(sigaction(SIGINT, NULL, &now), 0);
    assert_true(now.sa_handler == SIG_IGN);
    (void)signal(SIGINT, SIG_DFL);
}

/* What a child shows of 250 of `total`, on a terminal. */
static void shown_of(bool counts, uint64_t total, char out[256])
{
    int other, status;
    const int terminal = terminal_open(&other);
    pid_t child = fork();
    if (child == 0) {
        struct progress p;
        (void)dup2(other, STDERR_FILENO);
        if (counts)
            progress_begin_count(&p, "index", "records");
        else
            progress_begin(&p, "load", "records", 0);
        p.shown_ms = 0; /* long ago */
        progress_show(&p, 250, total, 3);
        (void)fflush(stderr);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ssize_t n = read(terminal, out, 255);
    assert_true(n > 0);
    out[n] = '\0';
    (void)close(other);
    (void)close(terminal);
}

static void what_is_counted_is_shown_in_its_unit(void **state)
{
    (void)state;
    char shown[256];
    shown_of(true, 1000, shown);
    assert_non_null(strstr(shown, "index [#####"));
    assert_non_null(strstr(shown, " 25 % of 1000 records, "));
    assert_non_null(strstr(shown, " records/s"));
    assert_null(strstr(shown, " B"));
    assert_null(strstr(shown, "3 records")); /* there is no second figure */
    shown_of(true, 0, shown);                /* of how many is not known */
    assert_non_null(strstr(shown, "index 250 records, "));
    shown_of(false, 1000, shown);
    assert_non_null(strstr(shown, " 25 % of 1000 B, 3 records, "));
}

static void bytes_have_the_unit_that_fits(void **state)
{
    (void)state;
    char text[24];
    assert_string_equal(bytes_text(0, text), "0 B");
    assert_string_equal(bytes_text(1023, text), "1023 B");
    assert_string_equal(bytes_text(1024, text), "1.0 KiB");
    assert_string_equal(bytes_text(UINT64_C(12) << 30, text), "12.0 GiB");
    assert_string_equal(bytes_text(UINT64_MAX, text), "16.0 EiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interrupted_bar_leaves_the_line),
        cmocka_unit_test(who_ignores_the_signal_goes_on_ignoring_it),
        cmocka_unit_test(what_is_counted_is_shown_in_its_unit),
        cmocka_unit_test(bytes_have_the_unit_that_fits),
    };
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
