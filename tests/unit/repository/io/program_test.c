/* Programs that hand over a secret: what they write is taken, what goes wrong is said, and what hangs is ended. */
#include "tests/unit/repository/fixture.h"

#include "repository/io/program.h"

#include <signal.h>
#include <time.h>

/* A script in the place, and the line that runs it with `words`. */
static const char *script(const struct place *p, const char *text, const char *words)
{
    static char line[300];
    char path[100];
    (void)snprintf(path, sizeof path, "%s/script", p->root);
    write_file(path, text, strlen(text), 0700);
    (void)snprintf(line, sizeof line, "%s%s%s", path, words[0] != '\0' ? " " : "", words);
    return line;
}

static void what_it_writes_is_taken_and_words_are_not_expanded(void **state)
{
    (void)state;
    struct place p;
    struct err e = ERR_NONE;
    char out[64];
    size_t n = 0;
    place_make(&p);
    const char *line = script(&p, "#!/bin/sh\nprintf '%s|' $# \"$@\"\n", "a  $HOME `id` ;");
    assert_ok(repo_program_run(line, 5000, out, sizeof out, &n, &e), e);
    assert_int_equal(n, strlen("4|a|$HOME|`id`|;|"));
    assert_memory_equal(out, "4|a|$HOME|`id`|;|", n);
    line =
        script(&p, "#!/bin/sh\ncat\n", ""); /* nothing on stdin, and nothing written is fine here */
    assert_ok(repo_program_run(line, 5000, out, sizeof out, &n, &e), e);
    assert_int_equal(n, 0);
    place_drop(&p);
}

static void failures_say_which_command_and_what_it_said(void **state)
{
    (void)state;
    struct place p;
    struct err e = ERR_NONE;
    char out[64], path[100];
    size_t n = 0;
    place_make(&p);
    (void)snprintf(path, sizeof path, "%s/script", p.root);
    const char *line = script(&p, "#!/bin/sh\necho secret\necho no such slot >&2\nexit 3\n", "x");
    assert_int_equal(repo_program_run(line, 5000, out, sizeof out, &n, &e), ERR_IO);
    assert_int_equal(n, 0);
    assert_non_null(strstr(e.text, path));
    assert_non_null(strstr(e.text, "exit code 3: no such slot"));
    assert_null(strstr(e.text, "secret"));
    assert_memory_equal(out, "\0\0\0\0\0\0", 6); /* and not left lying about */
    line = script(&p, "#!/bin/sh\nyes complaint | head -c 100000 >&2\nkill -KILL $$\n", "");
    assert_int_equal(repo_program_run(line, 5000, out, sizeof out, &n, &e), ERR_IO);
    assert_non_null(strstr(e.text, "signal 9"));
    assert_non_null(strstr(e.text, "complaint complaint"));
    line = script(&p, "#!/bin/sh\nhead -c 65 /dev/zero\n", "");
    assert_int_equal(repo_program_run(line, 5000, out, sizeof out, &n, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "writes more than is expected"));
    assert_int_equal(repo_program_run("/nonexistent/key", 5000, out, 64, &n, &e), ERR_NOT_FOUND);
    assert_int_equal(repo_program_run(p.kek, 5000, out, 64, &n, &e), ERR_DENIED);
    place_drop(&p);
}

static void what_hangs_is_ended_with_its_children(void **state)
{
    (void)state;
    struct place p;
    struct err e = ERR_NONE;
    char out[64], pid_file[120];
    size_t n = 0;
    struct timespec begin, end;
    place_make(&p);
    (void)snprintf(pid_file, sizeof pid_file, "%s/child", p.root);
    static const char *const hangs[] = {
        "#!/bin/sh\nsleep 100 &\necho $! >$1\nwait\n", /* with its output open */
        "#!/bin/sh\nsleep 100 >&- 2>&- &\necho $! >$1\nexec >&- 2>&-\nwait\n", /* and closed */
    };
    for (size_t i = 0; i < 2; i++) {
        const char *line = script(&p, hangs[i], pid_file);
        (void)clock_gettime(CLOCK_MONOTONIC, &begin);
        assert_int_equal(repo_program_run(line, 400, out, sizeof out, &n, &e), ERR_IO);
        (void)clock_gettime(CLOCK_MONOTONIC, &end);
        assert_true(end.tv_sec - begin.tv_sec < 30);
        assert_non_null(strstr(e.text, "takes too long"));
        size_t size = 0;
        uint8_t *text = slurp(pid_file, &size);
        text[size] = '\0';
        pid_t child = (pid_t)strtol((const char *)text, NULL, 10);
        free(text);
        assert_true(child > 1);
        /* Killed; init may not have collected it yet. */
        char path[64], line_of[300] = "";
        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
        for (int k = 0; k < 200 && kill(child, 0) == 0; k++) {
            FILE *f = fopen(path, "r");
            if (f == NULL || fgets(line_of, sizeof line_of, f) == NULL ||
                strstr(line_of, ") Z ") != NULL) {
                if (f != NULL)
                    (void)fclose(f);
                line_of[0] = '\0';
                break;
            }
            (void)fclose(f);
            (void)usleep(10000);
        }
        assert_true(kill(child, 0) != 0 || line_of[0] == '\0');
    }
    place_drop(&p);
}

static void lines_that_are_no_command_are_refused(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    char out[8], many[REPO_PROGRAM_BYTES + 8];
    size_t n = 0;
    assert_int_equal(repo_program_run("", 100, out, 8, &n, &e), ERR_CONFIG);
    assert_int_equal(repo_program_run("  ", 100, out, 8, &n, &e), ERR_CONFIG);
    assert_int_equal(repo_program_run("cat /etc/key", 100, out, 8, &n, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "absolute path"));
    memset(many, 'x', sizeof many - 1);
    many[sizeof many - 1] = '\0';
    assert_int_equal(repo_program_run(many, 100, out, 8, &n, &e), ERR_CONFIG);
    for (size_t i = 0; i < 40; i++)
        memcpy(many + 2 * i, "/ ", 3);
    assert_int_equal(repo_program_run(many, 100, out, 8, &n, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "words"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_writes_is_taken_and_words_are_not_expanded),
        cmocka_unit_test(failures_say_which_command_and_what_it_said),
        cmocka_unit_test(what_hangs_is_ended_with_its_children),
        cmocka_unit_test(lines_that_are_no_command_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
