/* Small whole files: bounded when read, never written over. */
#include "temp_dir.h"

#include "tools/files.h"

static void a_file_is_read_whole_up_to_the_bound(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 4097, 100000};
    static char text[100000];
    memset(text, 'z', sizeof text);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const char *path = temp_file("f", bytes_of(text, sizes[i]));
        struct err e = ERR_NONE;
        uint8_t *p;
        size_t n;
        assert_int_equal(file_read(path, sizes[i], &p, &n, &e), 0);
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(p, text, n);
        assert_int_equal(p[n], 0);
        free(p);
        if (sizes[i] > 0) {
            assert_int_equal(file_read(path, sizes[i] - 1, &p, &n, &e), ERR_LIMIT);
            assert_null(p);
            assert_non_null(strstr(e.text, "the most that is allowed"));
        }
    }
}

static void what_cannot_be_read_is_named(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    uint8_t *p;
    size_t n;
    assert_int_equal(file_read(temp_path("absent"), 10, &p, &n, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "/absent: cannot be opened: No such file"));
    assert_int_not_equal(file_read(temp_dir, 10, &p, &n, &e), 0);
    assert_non_null(strstr(e.text, ": cannot be read: Is a directory"));
    assert_null(p);
}

static void a_file_that_exists_is_not_written_over(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct stat st;
    assert_int_equal(file_create(temp_path("new"), 0600, bytes_str("first"), &e), 0);
    assert_int_equal(stat(temp_path("new"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(file_create(temp_path("new"), 0600, bytes_str("second"), &e), ERR_EXISTS);
    assert_file(temp_path("new"), "first");
    assert_int_equal(file_create(temp_path("no/where"), 0600, bytes_str("x"), &e), ERR_NOT_FOUND);
}

static void endless_input_is_bounded(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    uint8_t *p;
    size_t n;
    assert_int_equal(file_read("/dev/zero", 100000, &p, &n, &e), ERR_LIMIT);
    assert_null(p);
}

static void only_an_empty_directory_is_taken(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    assert_int_equal(directory_create(temp_path("d"), 0700, &e), 0);
    assert_int_equal(directory_create(temp_path("d"), 0700, &e), 0);
    (void)temp_file("d/x", bytes_str("x"));
    assert_int_equal(directory_create(temp_path("d"), 0700, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "is not empty: give a new directory"));
    assert_int_not_equal(directory_create(temp_path("d/x"), 0700, &e), 0); /* a file has the name */
    assert_int_equal(directory_create(temp_path("no/where"), 0700, &e), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_read_whole_up_to_the_bound, temp_dir_set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_named, temp_dir_set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_exists_is_not_written_over, temp_dir_set_up,
                                        temp_dir_tear_down),
        cmocka_unit_test(endless_input_is_bounded),
        cmocka_unit_test_setup_teardown(only_an_empty_directory_is_taken, temp_dir_set_up,
                                        temp_dir_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
