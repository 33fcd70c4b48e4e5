/* What goes to a terminal: data cannot steer it, colours are for people, and lost output is an error. */
#include "temp_dir.h"

#include "tools/output.h"

static void assert_shown(const char *data, size_t n, size_t columns, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    output_text(f, bytes_of(data, n), columns);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text != NULL ? text : "", expected);
    free(text);
}

static void data_cannot_steer_a_terminal(void **state)
{
    (void)state;
    assert_shown("plain", 5, 0, "plain");
    assert_shown("\033[2J", 4, 0, "\\x1b[2J");
    assert_shown("a\nb\tc\x7f", 6, 0, "a\\x0ab\\x09c\\x7f");
    assert_shown("\xc2\x9b"
                 "31m",
                 5, 0, "\\xc2\\x9b31m"); /* CSI as one C1 character */
    assert_shown("\xc2\xa0\xe0\xa4\xa4", 5, 0, "\xc2\xa0\xe0\xa4\xa4");
    assert_shown("\xff\xc3", 2, 0, "\\xff\\xc3"); /* no UTF-8, and a character that is cut off */
    assert_shown("\0", 1, 0, "\\x00");
    assert_shown("", 0, 0, "");
}

/* Messages of sites name keys, which are foreign bytes. */
static void a_message_cannot_either(void **state)
{
    (void)state;
    char text[64] = "";
    int kept = dup(STDERR_FILENO), to = open(temp_path("err"), O_RDWR | O_CREAT, 0600);
    assert_true(kept >= 0 && to >= 0);
    (void)dup2(to, STDERR_FILENO);
    say("get: no record '%s' (%d)", "k\033[31m\n\xff", 7);
    (void)dup2(kept, STDERR_FILENO);
    (void)close(kept);
    assert_true(pread(to, text, sizeof text - 1, 0) > 0);
    (void)close(to);
    assert_string_equal(text, "triveni: get: no record 'k\\x1b[31m\\x0a\\xff' (7)\n");
}

static void columns_count_characters(void **state)
{
    (void)state;
    assert_shown("abc", 3, 3, "abc");
    assert_shown("abcd", 4, 3, "abc...");
    assert_shown("\xe0\xa4\xa4\xe0\xa4\xb0\xe0\xa4\xbf", 9, 2, "\xe0\xa4\xa4\xe0\xa4\xb0...");
}

static void a_file_gets_no_colour(void **state)
{
    (void)state;
    FILE *f = fopen(temp_path("f"), "w");
    assert_non_null(f);
    assert_false(output_colour(f));
    (void)fclose(f);
}

static void a_format_is_one_of_two(void **state)
{
    (void)state;
    enum output_format format = OUTPUT_JSON;
    struct err e = ERR_NONE;
    assert_int_equal(output_format_parse(NULL, &format, &e), 0);
    assert_int_equal(format, OUTPUT_TABLE);
    assert_int_equal(output_format_parse("json", &format, &e), 0);
    assert_int_equal(format, OUTPUT_JSON);
    assert_int_equal(output_format_parse("JSON", &format, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "table"));
}

static void output_that_is_lost_is_an_error(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    (void)fflush(stdout);
    int kept = dup(STDOUT_FILENO), full = open("/dev/full", O_WRONLY);
    assert_true(kept >= 0 && full >= 0);
    (void)dup2(full, STDOUT_FILENO);
    (void)fputs("data", stdout);
    int rc = output_finish(&e);
    (void)dup2(kept, STDOUT_FILENO);
    (void)close(kept);
    (void)close(full);
    clearerr(stdout);
    assert_int_equal(rc, ERR_IO);
    assert_non_null(strstr(e.text, "No space left on device: what was printed is not complete"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_cannot_steer_a_terminal),
        cmocka_unit_test_setup_teardown(a_message_cannot_either, temp_dir_set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test(columns_count_characters),
        cmocka_unit_test_setup_teardown(a_file_gets_no_colour, temp_dir_set_up, temp_dir_tear_down),
        cmocka_unit_test(a_format_is_one_of_two),
        cmocka_unit_test(output_that_is_lost_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
