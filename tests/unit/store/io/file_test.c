/* Directories and their names, and waits with a limit. */
#include "store/io/file.h"

#include "store/io/cond.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/tvn-file-test-XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) != NULL && chdir(dir) == 0 && mkdir("a", 0700) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir("a/b/c") | rmdir("a/b") | rmdir("a") | chdir("/") | rmdir(dir);
}

static void the_directory_above_is_found(void **state)
{
    (void)state;
    char absolute[64];
    struct err e = ERR_NONE;
    (void)snprintf(absolute, sizeof absolute, "%s/a/new", dir);
    const char *const good[] = {"a",      "a/",       "new",    "/new",      "a/new",
                                "a/new/", "a//new//", absolute, "a/../a/new"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(file_sync_parent(good[i], &e), 0);
    assert_int_equal(file_sync_parent("nowhere/new", &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "nowhere/: cannot open the directory: No such file or directory");
    /* Of a name with a slash at its end, too, the one above: the directory itself need not be there. */
    assert_int_equal(file_sync_parent("nowhere/", &e), 0);
    assert_int_equal(file_sync_parent("nowhere/new/", &e), ERR_NOT_FOUND);
    static char far[8192];
    memset(far, 'x', sizeof far - 1);
    far[sizeof far - 2] = '/';
    assert_int_equal(file_sync_parent(far, &e), 0); /* a name in this directory, however long */
    far[sizeof far - 3] = '/';
    far[sizeof far - 2] = 'y';
    assert_int_equal(file_sync_parent(far, &e), ERR_LIMIT);
}

static void directories_are_made_with_all_above_them(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct stat st;
    int fd = -1;
    assert_int_equal(file_open_dir("a/b//c/", &fd, &e), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    (void)close(fd);
    assert_int_equal(file_open_dir("a/b/c", &fd, &e), 0);
    (void)close(fd);
    assert_int_equal(file_open_dir("", &fd, &e), ERR_CONFIG);
}

static void errnos_have_codes(void **state)
{
    (void)state;
    static const struct {
        int errnum, code;
    } all[] = {
        {ENOSPC, ERR_NO_SPACE},  {EDQUOT, ERR_NO_SPACE},
        {ENOMEM, ERR_NO_MEMORY}, {EACCES, ERR_DENIED},
        {EPERM, ERR_DENIED},     {EROFS, ERR_DENIED},
        {ENOENT, ERR_NOT_FOUND}, {ENOTDIR, ERR_NOT_FOUND},
        {EEXIST, ERR_EXISTS},    {ENOTEMPTY, ERR_EXISTS},
        {EIO, ERR_IO},           {EINVAL, ERR_IO},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_int_equal(file_code(all[i].errnum), all[i].code);
}

static void waits_end(void **state)
{
    (void)state;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond;
    cond_init(&cond);
    struct timespec before = cond_deadline(0);
    (void)pthread_mutex_lock(&lock);
    while (cond_wait_ms(&cond, &lock, 30)) {
    }
    struct timespec after = cond_deadline(0), later = cond_deadline(3600999);
    (void)pthread_mutex_unlock(&lock);
    int64_t waited_us =
        (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
    assert_true(waited_us >= 30000 && waited_us < 5000000);
    assert_true(later.tv_nsec < 1000000000);
    assert_in_range(later.tv_sec - after.tv_sec, 3600, 3602);
    (void)pthread_cond_destroy(&cond);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_directory_above_is_found),
        cmocka_unit_test(directories_are_made_with_all_above_them),
        cmocka_unit_test(errnos_have_codes),
        cmocka_unit_test(waits_end),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
