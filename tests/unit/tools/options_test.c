/* The option parser: order of precedence, both spellings of options, and what it says to mistakes. */
#include "tools/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct chosen {
    const char *file;
    struct option_number count, wait;
    bool force;
};

static const struct option table[] = {
    {"file", 'f', OPTION_TEXT, offsetof(struct chosen, file), "FILE", "T_FILE", ""},
    {"count", 'n', OPTION_NUMBER, offsetof(struct chosen, count), "N", "T_COUNT", ""},
    {"timeout", 0, OPTION_DURATION, offsetof(struct chosen, wait), "TIME", NULL, ""},
    {"force", 0, OPTION_FLAG, offsetof(struct chosen, force), NULL, NULL, ""},
    {0},
};
static const struct option *const tables[] = {table, NULL};

enum { ARGS_MAX = 8 };

struct outcome {
    struct chosen c;
    int rc, operands;
    bool help;
    char *argv[ARGS_MAX];
    struct err e;
};

/* The arguments end with NULL. */
static struct outcome parse(const char *const *args)
{
    struct outcome o = {.rc = 0};
    static char copies[ARGS_MAX][64];
    int argc = 0;
    for (; args[argc] != NULL; argc++) {
        (void)snprintf(copies[argc], sizeof copies[argc], "%s", args[argc]);
        o.argv[argc] = copies[argc];
    }
    o.rc = options_parse(tables, &o.c, argc, o.argv, &o.operands, &o.help, &o.e);
    return o;
}
#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static void spellings(void **state)
{
    (void)state;
    struct outcome o = PARSE("a", "--file", "x", "b", "-n7", "--timeout=250ms", "--force");
    assert_int_equal(o.rc, 0);
    assert_string_equal(o.c.file, "x");
    assert_true(o.c.count.given);
    assert_int_equal(o.c.count.v, 7);
    assert_int_equal(o.c.wait.v, 250);
    assert_true(o.c.force);
    assert_int_equal(o.operands, 2);
    assert_string_equal(o.argv[0], "a");
    assert_string_equal(o.argv[1], "b");
    o = PARSE("-f", "-", "-", "--", "--file", "-n");
    assert_int_equal(o.rc, 0);
    assert_string_equal(o.c.file, "-");
    assert_int_equal(o.operands, 3);
    assert_string_equal(o.argv[0], "-");
    assert_string_equal(o.argv[1], "--file");
    assert_string_equal(o.argv[2], "-n");
    o = PARSE("--file=");
    assert_string_equal(o.c.file, "");
}

static void help_stops(void **state)
{
    (void)state;
    struct outcome o = PARSE("x", "-h", "--nonsense");
    assert_int_equal(o.rc, 0);
    assert_true(o.help);
    o = PARSE("--", "--help");
    assert_false(o.help);
    assert_int_equal(o.operands, 1);
}

static void assert_wrong(struct outcome o, const char *message)
{
    assert_int_equal(o.rc, ERR_USAGE);
    assert_string_equal(o.e.text, message);
}

static void mistakes(void **state)
{
    (void)state;
    assert_wrong(PARSE("--fil", "x"), "unknown option '--fil': did you mean '--file'?");
    assert_wrong(PARSE("--flie=x"), "unknown option '--flie': did you mean '--file'?");
    assert_wrong(PARSE("--xyzzy"), "unknown option '--xyzzy'");
    assert_wrong(PARSE("-x"), "unknown option '-x'");
    assert_wrong(PARSE("--file"), "--file needs a value: --file FILE");
    assert_wrong(PARSE("-n"), "-n needs a value: -n N");
    assert_wrong(PARSE("--force=yes"), "--force takes no value, got 'yes'");
    assert_wrong(PARSE("-n", "7x"), "-n '7x' is not a whole number");
    assert_wrong(PARSE("-n", ""), "-n '' is not a whole number");
    assert_wrong(PARSE("-n", "-1"), "-n '-1' is not a whole number");
    assert_wrong(PARSE("-n", "18446744073709551616"),
                 "-n '18446744073709551616' is too large: at most 18446744073709551615");
    assert_wrong(PARSE("--timeout", "5 s"), "--timeout '5 s' has unit ' s': use ms, s, m or h");
    assert_wrong(PARSE("--timeout", "s"),
                 "--timeout 's' is not a duration: write 500ms, 5s, 2m or 1h");
}

static void environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("T_FILE", "from-env", 1), 0);
    assert_int_equal(setenv("T_COUNT", "3", 1), 0);
    struct outcome o = PARSE("--file", "from-flag");
    assert_string_equal(o.c.file, "from-flag");
    assert_int_equal(o.c.count.v, 3);
    assert_int_equal(setenv("T_COUNT", "many", 1), 0);
    o = PARSE("--force");
    assert_wrong(o, "T_COUNT 'many' is not a whole number");
    assert_int_equal(setenv("T_COUNT", "", 1), 0); /* empty is as if not set */
    o = PARSE("--force");
    assert_int_equal(o.rc, 0);
    assert_false(o.c.count.given);
    assert_int_equal(unsetenv("T_FILE") | unsetenv("T_COUNT"), 0);
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0", 0}, {"5", 5000}, {"5s", 5000}, {"1ms", 1}, {"2m", 120000}, {"1h", 3600000}};
    uint64_t ms = 1;
    struct err e = ERR_NONE;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(parse_duration("t", good[i].text, &ms, &e), 0);
        assert_int_equal(ms, good[i].ms);
    }
    assert_int_equal(parse_duration("t", "1000000000s", &ms, &e), ERR_USAGE);
    assert_int_equal(parse_duration("t", "1d", &ms, &e), ERR_USAGE);
    assert_int_equal(parse_duration("t", "", &ms, &e), ERR_USAGE);
}

static void what_is_left_unfinished_is_suggested_whole(void **state)
{
    (void)state;
    static const struct option unfinished[] = {
        {"if-version", 0, OPTION_TEXT, 0, "LSN", NULL, "condition"},
        {"if-absent", 0, OPTION_TEXT, 0, "X", NULL, "condition"},
        {0},
    };
    const struct option *const some[] = {unfinished, NULL};
    const char *into = NULL;
    struct err e = ERR_NONE;
    int operands;
    bool help = false;
    char *argv[] = {(char[]){"--if-vers"}, (char[]){"7"}};
    assert_int_equal(options_parse(some, &into, 2, argv, &operands, &help, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "did you mean '--if-version'?"));
    char *less[] = {(char[]){"--i"}};
    assert_int_equal(options_parse(some, &into, 1, less, &operands, &help, &e), ERR_USAGE);
    assert_null(strstr(e.text, "did you mean"));
}

static void suggestions(void **state)
{
    (void)state;
    static const char *const words[] = {"status", "switchover", "failover", "get"};
    assert_string_equal(nearest("statsu", words, 4), "status"); /* a transposition is one change */
    assert_string_equal(nearest("swichover", words, 4), "switchover");
    assert_string_equal(nearest("gte", words, 4), "get");
    assert_null(nearest("put", words, 4));
    assert_null(nearest("", words, 4));
    char long_word[200];
    memset(long_word, 's', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    assert_null(nearest(long_word, words, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings),
        cmocka_unit_test(help_stops),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(environment),
        cmocka_unit_test(durations),
        cmocka_unit_test(suggestions),
        cmocka_unit_test(what_is_left_unfinished_is_suggested_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
