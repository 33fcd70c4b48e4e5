/* What the tests of the operations log share: an archive with a tree and its log, that log as a stranger reads it, and what a
 * verification says of both. */
#ifndef TESTS_UNIT_REPOSITORY_IO_OPERATIONS_KIT_H
#define TESTS_UNIT_REPOSITORY_IO_OPERATIONS_KIT_H

#include "repository/operations.h"

#include "repository/io/archive.h"
#include "repository/io/tiles.h"
#include "repository/proof.h"
#include "repository/scrub.h"
#include "tests/unit/repository/fixture.h"

struct box {
    struct place place;
    char key[120];
    struct repository *r;
    struct feed feed;
};

static inline void open_tree(struct box *b)
{
    char vkey[TLOG_VKEY_BYTES];
    struct err e = ERR_NONE;
    bool made;
    b->r = archive_open(&b->place, false);
    assert_ok(repository_tree_open(b->r, b->key, vkey, &made, &e), e);
}

static inline void reopen(struct box *b)
{
    repository_close(b->r);
    open_tree(b);
}

static inline int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    assert_non_null(b);
    place_make(&b->place);
    (void)snprintf(b->key, sizeof b->key, "%s/checkpoint.key", b->place.root);
    open_tree(b);
    *state = b;
    return 0;
}

static inline int teardown(void **state)
{
    struct box *b = *state;
    repository_close(b->r);
    feed_drop(&b->feed);
    place_drop(&b->place);
    free(b);
    return 0;
}

static inline void seal(struct box *b, unsigned entries)
{
    struct err e = ERR_NONE;
    feed_mixed(&b->feed, entries);
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
}

static inline void publish(struct box *b)
{
    struct err e = ERR_NONE;
    assert_ok(repository_tree_extend(b->r, UINT64_MAX, &e), e);
}

/* ---- what the log says ---- */

struct seen {
    size_t n, pending;
    struct operation at[700];
};

static inline int see(void *arg, uint64_t index, const struct operation *o)
{
    struct seen *s = arg;
    assert_true(s->n < 700);
    if (index == UINT64_MAX)
        s->pending++;
    else
        assert_int_equal(index, s->n);
    s->at[s->n++] = *o;
    return 0;
}

/* As a stranger reads it, who has no KEK. */
static inline struct seen *read_log(const struct box *b)
{
    struct seen *s = calloc(1, sizeof *s);
    struct operations_summary sum;
    struct err e = ERR_NONE;
    assert_non_null(s);
    assert_ok(repository_operations(b->place.dir, see, s, &sum, &e), e);
    assert_int_equal(sum.leaves, s->n);
    return s;
}

static inline void assert_pack(const struct box *b, const struct operation *o, size_t i)
{
    const struct repo_pack *p = &b->r->inv.packs[i];
    assert_int_equal(o->kind, OPERATION_PACK);
    assert_string_equal(o->object, p->o.name);
    assert_true(o->bytes == p->o.bytes && sha256_equal(&o->sha256, &p->o.sha256));
    assert_true(o->first.v == p->first.v && o->last.v == p->o.end.lsn.v);
}

static inline int verify(struct box *b, enum repository_level level, struct damages *d,
                         struct repository_report *report)
{
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, true);
    *d = (struct damages){0};
    int rc = repository_verify(r, level, note_damage, NULL, d, report, &e);
    repository_close(r);
    return rc;
}

static inline void assert_whole(struct box *b, uint64_t leaves)
{
    struct damages d;
    struct repository_report report;
    for (int level = REPOSITORY_PRESENT; level <= REPOSITORY_READABLE; level++) {
        if (verify(b, (enum repository_level)level, &d, &report) != 0)
            fail_msg("level %d: %s", level, d.all);
        assert_int_equal(report.operations, leaves);
        assert_int_equal(report.unnamed, 0);
    }
}

/* At every level: the least one is enough to miss something. */
static inline void assert_told(struct box *b, const char *object, const char *reason)
{
    struct damages d;
    struct repository_report report;
    char line[400];
    for (int level = REPOSITORY_PRESENT; level <= REPOSITORY_READABLE; level++) {
        assert_int_equal(verify(b, (enum repository_level)level, &d, &report), ERR_INTEGRITY);
        (void)snprintf(line, sizeof line, "%s: %s", object, reason);
        if (strstr(d.all, line) == NULL)
            fail_msg("level %d: '%s' is not told in: %s", level, line, d.all);
    }
}

static inline void changed(const char *path, size_t at, size_t cut)
{
    size_t n;
    uint8_t *p = slurp(path, &n);
    p[at % n] ^= cut == 0;
    assert_int_equal(unlink(path), 0);
    write_file(path, p, n - cut, 0440);
    free(p);
}

static inline void remove_pack(struct box *b, unsigned nth)
{
    char path[300];
    find_object(&b->place, "packs", ".pack", nth, path);
    assert_int_equal(unlink(path), 0);
    find_object(&b->place, "packs", ".meta", nth, path);
    assert_int_equal(unlink(path), 0);
    find_object(&b->place, "keys/1", ".pack.key", nth, path);
    assert_int_equal(unlink(path), 0);
}

#endif
