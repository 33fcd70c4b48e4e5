/* A directory of a test's own, with files in it by name, and what the tests of tools include. */
#ifndef TESTS_TOOLS_TEMP_DIR_H
#define TESTS_TOOLS_TEMP_DIR_H

#include "store/core/bytes.h"
#include "store/core/err.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char temp_dir[64];

static inline int temp_dir_set_up(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(temp_dir, sizeof temp_dir, "%.40s/triveni-tools-XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    return mkdtemp(temp_dir) != NULL ? 0 : -1;
}

static inline int temp_dir_remove_one(const char *path, const struct stat *st, int kind,
                                      struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline int temp_dir_tear_down(void **state)
{
    (void)state;
    return nftw(temp_dir, temp_dir_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Of a name in it; valid until the fourth call after this. */
static inline const char *temp_path(const char *name)
{
    static char paths[4][160];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", temp_dir, name);
    return path;
}

static inline const char *temp_file(const char *name, struct bytes text)
{
    const char *path = temp_path(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text.p, text.n), text.n);
    assert_int_equal(close(fd), 0);
    return path;
}

static inline void assert_file(const char *path, const char *expected)
{
    char text[4096] = {0};
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    (void)close(fd);
    assert_string_equal(text, expected);
}

/* The call fails with this code, and what it says in `e` has this part. */
#define assert_fails(call, code, part)                                                             \
    do {                                                                                           \
        struct err e = ERR_NONE;                                                                   \
        assert_int_equal(call, code);                                                              \
        if (strstr(e.text, part) == NULL)                                                          \
            fail_msg("'%s' does not say '%s'", e.text, part);                                      \
    } while (0)

#endif
