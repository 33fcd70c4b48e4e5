/* The reject file: each bad line once, whatever was interrupted, and never over what is another's. */
#include "temp_dir.h"

#include "tools/load_rejects.h"

static struct rejects r;

static void add(const char *line)
{
    struct err e = ERR_NONE;
    assert_int_equal(rejects_add(&r, bytes_str(line), &e), 0);
}

static void lines_written_after_the_last_commit_are_cut_when_the_load_goes_on(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    assert_int_equal(rejects_open(&r, NULL, temp_path("in"), false, 0, &e), 0);
    add("bad one");
    assert_int_equal(rejects_sync(&r, &e), 0);
    const uint64_t committed = r.bytes;
    assert_int_equal(committed, 8);
    add("never counted");
    rejects_close(&r);
    assert_int_equal(rejects_open(&r, NULL, temp_path("in"), true, committed, &e), 0);
    add("bad two");
    assert_int_equal(r.bytes, 16);
    rejects_close(&r);
    assert_file(temp_path("in.rejects"), "bad one\nbad two\n");
}

static void rejects_of_another_load_are_left_alone(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    const char *path = temp_file("theirs", bytes_str("their line\n"));
    assert_int_equal(rejects_open(&r, path, "in", false, 0, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "theirs: rejects of another load are there: move them away"));
    rejects_close(&r);
    assert_file(path, "their line\n");
}

static void rejects_that_are_missing_are_not_made_up(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    const char *path = temp_file("short", bytes_str("one\n"));
    assert_int_equal(rejects_open(&r, path, "in", true, 9, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "9 bytes of rejects belong to this load, only 4 are there"));
    rejects_close(&r);
    assert_file(path, "one\n");
}

static void a_place_for_them_is_asked_for_when_there_is_none(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    assert_int_equal(rejects_open(&r, NULL, "-", false, 0, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "--rejects FILE"));
    assert_int_equal(rejects_open(&r, temp_path("no/where"), "in", false, 0, &e), ERR_NOT_FOUND);
    rejects_close(&r);
    char long_name[REJECTS_NAME_BYTES + 1];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(rejects_open(&r, long_name, "in", false, 0, &e), ERR_LIMIT);
    add("nobody keeps it"); /* without a file it goes nowhere, and is no error */
    assert_int_equal(rejects_sync(&r, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            lines_written_after_the_last_commit_are_cut_when_the_load_goes_on, temp_dir_set_up,
            temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(rejects_of_another_load_are_left_alone, temp_dir_set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(rejects_that_are_missing_are_not_made_up, temp_dir_set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(a_place_for_them_is_asked_for_when_there_is_none,
                                        temp_dir_set_up, temp_dir_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
