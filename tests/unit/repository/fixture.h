/* What the tests of the archive share: a temporary directory with a KEK, and a generator of log entries. */
#ifndef TESTS_UNIT_REPOSITORY_FIXTURE_H
#define TESTS_UNIT_REPOSITORY_FIXTURE_H

#include "repository/repository.h"
#include "store/core/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function"

#define assert_ok(call, e)                                                                         \
    do {                                                                                           \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s", #call, (e).text);                                                   \
    } while (0)

static const struct uuid test_cluster = {
    {0xc1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xff}};
static const char test_kek[] = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

/* ---- directories ---- */

struct place {
    char root[64], dir[96], kek[96], into[96];
};

static void write_file(const char *path, const void *p, size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static uint8_t *slurp(const char *path, size_t *n)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *p = malloc((size_t)st.st_size + 1);
    assert_int_equal(read(fd, p, (size_t)st.st_size), st.st_size);
    *n = (size_t)st.st_size;
    close(fd);
    return p;
}

static void place_make(struct place *p)
{
    (void)snprintf(p->root, sizeof p->root, "/tmp/triveni-archive-XXXXXX");
    assert_non_null(mkdtemp(p->root));
    (void)snprintf(p->dir, sizeof p->dir, "%s/archive", p->root);
    (void)snprintf(p->kek, sizeof p->kek, "%s/kek", p->root);
    (void)snprintf(p->into, sizeof p->into, "%s/restored", p->root);
    write_file(p->kek, test_kek, sizeof test_kek - 1, 0600);
}

static int place_unlink(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

static void tree_remove(const char *path)
{
    (void)nftw(path, place_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static void place_drop(struct place *p)
{
    tree_remove(p->root);
}

static inline struct repository *archive_open_at(const char *dir, const char *kek, bool read_only)
{
    struct repository *r = NULL;
    struct err e = ERR_NONE;
    struct repository_options o = {.dir = dir,
                                   .kek_file = kek,
                                   .cluster_id = test_cluster,
                                   .cluster = "test",
                                   .create = !read_only,
                                   .read_only = read_only};
    assert_ok(repository_open(&r, &o, &e), e);
    return r;
}

static struct repository *archive_open(const struct place *p, bool read_only)
{
    return archive_open_at(p->dir, p->kek, read_only);
}

/* Path of the only or n-th file (by name) in a folder of the archive that ends so. */
static void find_object(const struct place *p, const char *folder, const char *end, unsigned nth,
                        char out[300])
{
    char path[200];
    struct dirent **list;
    (void)snprintf(path, sizeof path, "%s/%s", p->dir, folder);
    int n = scandir(path, &list, NULL, alphasort);
    assert_true(n >= 0);
    out[0] = '\0';
    for (int i = 0; i < n; i++) {
        size_t len = strlen(list[i]->d_name), want = strlen(end);
        if (len > want && strcmp(list[i]->d_name + len - want, end) == 0 && nth-- == 0)
            (void)snprintf(out, 300, "%s/%.90s", path, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    assert_true(out[0] != '\0');
}

/* ---- entries ---- */

struct feed {
    uint8_t *p;
    size_t n, cap;
    struct entry_position at; /* of the last entry */
    uint64_t random;
    size_t mark; /* where the entries that were not taken yet begin */
};

/* What the feed has behind *applied goes into the state. */
static inline void feed_apply(const struct feed *f, size_t *applied, struct state *state)
{
    struct err e = ERR_NONE;
    while (*applied < f->n) {
        struct entry_view v;
        size_t used;
        assert_ok(entry_decode(bytes_of(f->p + *applied, f->n - *applied), &v, &used, &e), e);
        assert_ok(state_apply(state, &v, 1, &e), e);
        *applied += used;
    }
}

static uint64_t feed_random(struct feed *f)
{
    /* xorshift64*, Vigna 2014 */
    f->random = f->random == 0 ? 88172645463325252ull : f->random;
    f->random ^= f->random >> 12;
    f->random ^= f->random << 25;
    f->random ^= f->random >> 27;
    return f->random * 2685821657736338717ull;
}

static void feed_body(struct feed *f, enum entry_kind kind, struct writer *w)
{
    assert_false(w->bad);
    struct entry_header h = {.kind = kind,
                             .cluster_id = test_cluster,
                             .term = {f->at.term.v == 0 ? 1 : f->at.term.v},
                             .lsn = {f->at.lsn.v + 1},
                             .time = {f->at.time.us + 1000},
                             .prev_hash = f->at.hash};
    if (f->at.time.us == 0)
        h.time.us = 1700000000000000ull;
    size_t need = ENTRY_HEADER_BYTES + w->at;
    while (f->cap - f->n < need) {
        f->cap = f->cap == 0 ? 1 << 20 : 2 * f->cap;
        f->p = realloc(f->p, f->cap);
        assert_non_null(f->p);
    }
    uint8_t *out = f->p + f->n;
    memcpy(out + ENTRY_HEADER_BYTES, w->p, w->at);
    f->at.hash = entry_seal(&h, bytes_of(out + ENTRY_HEADER_BYTES, w->at), out);
    f->at.lsn = h.lsn;
    f->at.term = h.term;
    f->at.time = h.time;
    f->n += need;
}

static void feed_salt(struct feed *f, uint8_t salt[ENTRY_SALT_BYTES])
{
    for (size_t i = 0; i < ENTRY_SALT_BYTES; i++)
        salt[i] = (uint8_t)(feed_random(f) >> 56);
}

static void feed_ops(struct feed *f, const struct op *ops, uint32_t n, const struct uuid *session,
                     uint64_t sequence)
{
    uint8_t salt[ENTRY_SALT_BYTES];
    struct body_txn t = {.level = LEVEL_MODE, .client = bytes_str("tester"), .op_count = n};
    if (session != NULL)
        t.session = *session;
    t.sequence = sequence;
    feed_salt(f, salt);
    size_t cap = body_txn_bytes(ops, n, t.client.n);
    uint8_t *buf = malloc(cap);
    assert_non_null(buf);
    struct writer w = writer_of(buf, cap);
    body_write_txn(&w, salt, &t, ops);
    feed_body(f, ENTRY_TXN, &w);
    free(buf);
}

static void feed_put(struct feed *f, const char *collection, const char *key, const void *value,
                     size_t n)
{
    struct op op = {OP_PUT, bytes_str(collection), bytes_str(key), bytes_of(value, n)};
    feed_ops(f, &op, 1, NULL, 0);
}

static void feed_delete(struct feed *f, const char *collection, const char *key)
{
    struct op op = {OP_DELETE, bytes_str(collection), bytes_str(key), {NULL, 0}};
    feed_ops(f, &op, 1, NULL, 0);
}

static void feed_point(struct feed *f, const char *name)
{
    uint8_t salt[ENTRY_SALT_BYTES], buf[512];
    struct writer w = writer_of(buf, sizeof buf);
    struct body_restore_point b = {bytes_str(name), bytes_str("tester")};
    feed_salt(f, salt);
    body_write_restore_point(&w, salt, &b);
    feed_body(f, ENTRY_RESTORE_POINT, &w);
}

static void feed_noop(struct feed *f, uint64_t term)
{
    uint8_t salt[ENTRY_SALT_BYTES], buf[512];
    struct writer w = writer_of(buf, sizeof buf);
    struct body_noop b = {bytes_str("dc")};
    f->at.term.v = term;
    feed_salt(f, salt);
    body_write_noop(&w, salt, &b);
    feed_body(f, ENTRY_NOOP, &w);
}

static void feed_session(struct feed *f, enum session_act act, const struct uuid *id)
{
    uint8_t salt[ENTRY_SALT_BYTES], buf[512];
    struct writer w = writer_of(buf, sizeof buf);
    struct body_session b = {act, *id, bytes_str("tester")};
    feed_salt(f, salt);
    body_write_session(&w, salt, &b);
    feed_body(f, ENTRY_SESSION, &w);
}

/* n transactions on a small key space: puts of JSON-like values, some deletes, some with several ops. */
static void feed_mixed(struct feed *f, unsigned n)
{
    static const char *const collections[] = {"passports", "land-titles", "court-files"};
    for (unsigned i = 0; i < n; i++) {
        char keys[3][40], values[3][400];
        struct op ops[3];
        uint32_t count = 1 + (uint32_t)(feed_random(f) % 3);
        for (uint32_t k = 0; k < count; k++) {
            uint64_t x = feed_random(f);
            (void)snprintf(keys[k], sizeof keys[k], "key-%05llu", (unsigned long long)(x % 2000));
            int len = snprintf(
                values[k], sizeof values[k],
                "{\"number\":\"%016llx\",\"name\":\"Holder %llu\",\"pad\":\"%.*s\"}",
                (unsigned long long)feed_random(f), (unsigned long long)(x % 977), (int)(x % 200),
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            ops[k] = (struct op){x >> 60 == 0 ? OP_DELETE : OP_PUT, bytes_str(collections[x % 3]),
                                 bytes_str(keys[k]), bytes_of(values[k], (size_t)len)};
            if (ops[k].kind == OP_DELETE)
                ops[k].value = (struct bytes){NULL, 0};
        }
        feed_ops(f, ops, count, NULL, 0);
    }
}

static void feed_drop(struct feed *f)
{
    free(f->p);
    memset(f, 0, sizeof *f);
}

/* Digests of every second entry. */
static int known_digest(void *arg, struct lsn lsn, struct digest *out)
{
    (void)arg;
    *out = (struct digest){lsn.v * 3, lsn.v};
    return lsn.v % 2 == 0 ? 0 : ERR_NOT_FOUND;
}

/* Seal what came since the last call; the error is the caller's to look at. */
static int feed_seal(struct feed *f, struct repository *r, repository_digest_fn digest, void *arg,
                     struct err *e)
{
    int rc = repository_seal(r, f->p + f->mark, f->n - f->mark, digest, arg, e);
    if (rc == 0)
        f->mark = f->n;
    return rc;
}

/* Does the archive give back exactly the entries of the feed, in order? */
struct echo {
    const struct feed *f;
    size_t at;
    uint64_t entries;
};

static int echo_entry(void *arg, const struct entry_view *v)
{
    struct echo *x = arg;
    size_t n = ENTRY_HEADER_BYTES + (size_t)v->header.body_bytes;
    assert_true(n <= x->f->n - x->at);
    assert_memory_equal(v->raw, x->f->p + x->at, n);
    x->at += n;
    x->entries++;
    return 0;
}

static void assert_archived(struct repository *r, const struct feed *f, size_t bytes)
{
    struct echo x = {f, 0, 0};
    struct err e = ERR_NONE;
    assert_ok(repository_entries(r, (struct lsn){1}, (struct lsn){UINT64_MAX}, echo_entry, &x, &e),
              e);
    assert_int_equal(x.at, bytes);
}

/* Names and reasons that a verification told. */
struct damages {
    unsigned n;
    char object[96], reason[512]; /* of the first */
    char all[4096];
};

static void note_damage(void *arg, const char *object, const char *reason)
{
    struct damages *d = arg;
    if (d->n++ == 0) {
        (void)snprintf(d->object, sizeof d->object, "%s", object);
        (void)snprintf(d->reason, sizeof d->reason, "%s", reason);
    }
    size_t used = strlen(d->all);
    (void)snprintf(d->all + used, sizeof d->all - used, "%s: %s\n", object, reason);
}

#endif
