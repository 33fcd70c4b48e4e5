/* What the tests of parts share: what happens to a file, and whether it is what it was. */
#ifndef TESTS_UNIT_REPOSITORY_IO_PARTS_KIT_H
#define TESTS_UNIT_REPOSITORY_IO_PARTS_KIT_H

#include "tests/unit/repository/io/operations_kit.h"

enum how { FLIP, FLIP_BEHIND, CUT, GONE, HOWS };
static const char *const hows[] = {"flipped", "flipped behind", "cut", "gone"};

static inline uint8_t *read_at(const char *dir, const char *name, size_t *n)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%.120s/%.120s", dir, name);
    return slurp(path, n);
}

static inline void damage(const char *dir, const char *name, enum how how)
{
    char path[300];
    size_t n;
    (void)snprintf(path, sizeof path, "%.120s/%.120s", dir, name);
    uint8_t *p = slurp(path, &n);
    p[how == FLIP_BEHIND ? n / 2 + 7 : n / 2] ^= 1; /* of a bundle in a header, or in its size */
    assert_int_equal(unlink(path), 0);
    if (how != GONE)
        write_file(path, p, how == CUT ? n / 3 : n, 0440);
    free(p);
}

static inline bool is_as_before(const char *dir, const char *name, const uint8_t *before,
                                size_t bytes)
{
    char path[300];
    size_t n;
    (void)snprintf(path, sizeof path, "%.120s/%.120s", dir, name);
    if (access(path, R_OK) != 0)
        return false;
    uint8_t *p = slurp(path, &n);
    bool same = n == bytes && memcmp(p, before, n) == 0;
    free(p);
    return same;
}

static inline void follow(struct repository *r, struct repo_ledger *l)
{
    struct err e = ERR_NONE;
    assert_ok(repository_ledger_follow(r, l, NULL, &e), e);
}

static inline void copy_to(struct box *b, const struct place *other)
{
    struct repository_copy *c;
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    assert_ok(repository_copy_open(&c, other->dir, &e), e);
    assert_ok(repository_copy_run(c, b->r, false, 0, NULL, NULL, &report, &e), e);
    repository_copy_close(c);
}

#endif
