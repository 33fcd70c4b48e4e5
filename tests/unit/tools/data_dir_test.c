/* What is taken for a site's directory, what of it is there, and that a running site is left alone. */
#include "temp_dir.h"

#include "store/io/file.h"
#include "tools/data_dir.h"

static void make(const char *name)
{
    assert_int_equal(mkdir(temp_path(name), 0700), 0);
}

static int set_up(void **state)
{
    int rc = temp_dir_set_up(state);
    make("data");
    make("data/log");
    make("data/state");
    (void)temp_file("data/vote", bytes_str("v"));
    (void)temp_file("data/log/LOCK", bytes_str(""));
    (void)temp_file("data/log/0000000000000001.seg", bytes_str("s"));
    (void)temp_file("data/state/data.mdb", bytes_str("m"));
    make("empty");
    return rc;
}

static void a_data_directory_and_each_of_its_parts_is_known(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct data_dir d;
    assert_int_equal(data_dir_open(&d, temp_path("data"), true, &e), 0);
    assert_true(d.is_site && d.log_fd >= 0 && d.state_fd >= 0 && d.log_fd != d.fd &&
                d.state_fd != d.fd);
    data_dir_close(&d);
    assert_int_equal(data_dir_open(&d, temp_path("data/log"), true, &e), 0);
    assert_true(!d.is_site && d.log_fd == d.fd && d.state_fd < 0);
    data_dir_close(&d);
    assert_int_equal(data_dir_open(&d, temp_path("data/state"), false, &e), 0);
    assert_true(!d.is_site && d.state_fd == d.fd && d.log_fd < 0);
    data_dir_close(&d);
    assert_true(d.fd < 0 && d.state_fd < 0);
}

static void a_part_that_is_missing_is_absent_and_no_error(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct data_dir d;
    assert_int_equal(unlink(temp_path("data/state/data.mdb")), 0);
    assert_int_equal(rmdir(temp_path("data/state")), 0);
    assert_int_equal(data_dir_open(&d, temp_path("data"), true, &e), 0);
    assert_true(d.is_site && d.log_fd >= 0 && d.state_fd < 0);
    data_dir_close(&d);
}

static void what_is_no_data_directory_is_refused(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct data_dir d;
    assert_int_equal(data_dir_open(&d, temp_path("empty"), true, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "empty is no data directory of a site"));
    assert_true(d.fd < 0);
    assert_int_equal(data_dir_open(&d, temp_path("absent"), true, &e), ERR_NOT_FOUND);
    assert_int_not_equal(data_dir_open(&d, temp_path("data/vote"), true, &e), 0); /* a file */
}

static void a_directory_that_a_site_runs_on_is_refused_with_what_to_do(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct data_dir d;
    int lock, dir_fd = open(temp_path("data/log"), O_RDONLY | O_DIRECTORY);
    assert_int_equal(file_lock(dir_fd, "log", "LOCK", &lock, &e), 0);
    assert_int_equal(data_dir_open(&d, temp_path("data"), true, &e), ERR_BUSY);
    assert_non_null(strstr(e.text, "stop the site first, or copy the directory and name the copy"));
    assert_true(d.fd < 0 && d.log_fd < 0 && d.state_fd < 0);
    assert_int_equal(data_dir_open(&d, temp_path("data"), false, &e), 0); /* who only looks may */
    data_dir_close(&d);
    (void)close(lock);
    assert_int_equal(data_dir_open(&d, temp_path("data"), true, &e), 0);
    struct err other = ERR_NONE;
    assert_int_equal(file_lock(dir_fd, "log", "LOCK", &lock, &other),
                     ERR_BUSY); /* no site starts meanwhile */
    data_dir_close(&d);
    (void)close(dir_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_data_directory_and_each_of_its_parts_is_known, set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(a_part_that_is_missing_is_absent_and_no_error, set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_data_directory_is_refused, set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(a_directory_that_a_site_runs_on_is_refused_with_what_to_do,
                                        set_up, temp_dir_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
