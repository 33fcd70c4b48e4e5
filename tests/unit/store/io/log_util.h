/* What the tests of the log share: a directory, a chain of entries that knows what it appended, and
 * waiting for durability. */
#ifndef TESTS_LOG_UTIL_H
#define TESTS_LOG_UTIL_H

#include "store/io/log_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { UTIL_MIB = 1 << 20, UTIL_NEVER_MS = 3600 * 1000, UTIL_ENTRIES_MAX = 40000 };

/* Entries by lsn, 1-based: [lsn] is the raw entry. */
struct chain {
    uint8_t *raw[UTIL_ENTRIES_MAX];
    size_t bytes[UTIL_ENTRIES_MAX];
    struct entry_position at[UTIL_ENTRIES_MAX];
    uint64_t last;
    uint64_t term;
    uint32_t seed;
};

struct fixture {
    char dir[64];
    struct log *log;
    struct log_options options;
    struct log_seam seam;
    struct chain chain;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t durable; /* last told by on_durable */
    int failures;
    struct err failure;
};

static inline void util_on_durable(void *arg, struct entry_position last)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->mutex);
    f->durable = last.lsn.v;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

static inline void util_on_failed(void *arg, const struct err *why)
{
    struct fixture *f = arg;
    pthread_mutex_lock(&f->mutex);
    f->failures++;
    f->failure = *why;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

static inline uint32_t util_random(struct chain *c)
{
    c->seed = c->seed * 1664525u + 1013904223u;
    return c->seed >> 8;
}

/* Append the next entry to the chain, with a body of `body` random bytes. */
static inline void chain_add(struct chain *c, size_t body)
{
    const uint64_t lsn = c->last + 1;
    assert_true(lsn < UTIL_ENTRIES_MAX);
    assert_true(body >= ENTRY_SALT_BYTES);
    uint8_t *raw = malloc(ENTRY_HEADER_BYTES + body);
    for (size_t i = 0; i < body; i++)
        raw[ENTRY_HEADER_BYTES + i] = (uint8_t)util_random(c);
    struct entry_header h = {.kind = ENTRY_TXN,
                             .term = {c->term},
                             .lsn = {lsn},
                             .time = {1000 + lsn},
                             .prev_hash = c->at[lsn - 1].hash};
    memset(h.cluster_id.b, 0xc1, sizeof h.cluster_id.b);
    struct sha256 hash = entry_seal(&h, bytes_of(raw + ENTRY_HEADER_BYTES, body), raw);
    free(c->raw[lsn]);
    c->raw[lsn] = raw;
    c->bytes[lsn] = ENTRY_HEADER_BYTES + body;
    c->at[lsn] = (struct entry_position){h.lsn, h.term, h.time, hash};
    c->last = lsn;
}

static inline struct entry_view chain_view(const struct chain *c, uint64_t lsn)
{
    struct entry_view v;
    size_t used;
    assert_int_equal(entry_decode(bytes_of(c->raw[lsn], c->bytes[lsn]), &v, &used, NULL), 0);
    return v;
}

static inline void util_new(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(f->dir, sizeof f->dir, "%s/triveni-log-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->chain.term = 1;
    f->chain.seed = 7;
    f->options = (struct log_options){.dir = f->dir,
                                      .segment_bytes = UTIL_MIB,
                                      .engine = LOG_ENGINE_PLAIN,
                                      .on_durable = util_on_durable,
                                      .on_failed = util_on_failed,
                                      .arg = f};
    memset(f->options.cluster_id.b, 0xc1, sizeof f->options.cluster_id.b);
    f->seam.idle_ms = UTIL_NEVER_MS;
}

static inline void util_each_file(const char *dir,
                                  void (*act)(const char *path, const char *name, void *arg),
                                  void *arg)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    const struct dirent *e;
    while ((e = readdir(d)) != NULL) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.')
            act(path, e->d_name, arg);
    }
    (void)closedir(d);
}

static inline void util_unlink(const char *path, const char *name, void *arg)
{
    (void)name;
    (void)arg;
    assert_int_equal(unlink(path), 0);
}

static inline void util_remove_dir(const char *dir)
{
    util_each_file(dir, util_unlink, NULL);
    assert_int_equal(rmdir(dir), 0);
}

static inline void util_free(struct fixture *f)
{
    for (size_t i = 0; i < UTIL_ENTRIES_MAX; i++)
        free(f->chain.raw[i]);
    util_remove_dir(f->dir);
    pthread_mutex_destroy(&f->mutex);
    pthread_cond_destroy(&f->changed);
}

static inline int util_try_open(struct fixture *f, uint64_t start, struct err *e)
{
    f->durable = 0;
    return log_open_seam(&f->log, &f->options, &f->chain.at[start], &f->seam, e);
}

static inline void util_open(struct fixture *f, uint64_t start)
{
    struct err e = ERR_NONE;
    int rc = util_try_open(f, start, &e);
    if (rc != 0)
        print_error("%s\n", e.text);
    assert_int_equal(rc, 0);
}

static inline void util_close(struct fixture *f)
{
    struct err e = ERR_NONE;
    int rc = log_close(f->log, &e);
    if (rc != 0)
        print_error("%s\n", e.text);
    assert_int_equal(rc, 0);
    f->log = NULL;
}

static inline void util_wait(struct fixture *f, uint64_t lsn)
{
    pthread_mutex_lock(&f->mutex);
    while (f->durable < lsn && f->failures == 0)
        pthread_cond_wait(&f->changed, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
    assert_int_equal(f->failures, 0);
}

/* Give chain entries [from, to] to the log in one call. */
static inline int util_give(struct fixture *f, uint64_t from, uint64_t to, struct err *e)
{
    static struct entry_view views[UTIL_ENTRIES_MAX];
    for (uint64_t lsn = from; lsn <= to; lsn++)
        views[lsn - from] = chain_view(&f->chain, lsn);
    return log_append(f->log, views, (size_t)(to - from + 1), e);
}

/* Append n entries with bodies of `body` bytes in one call, and wait until they are durable. */
static inline void util_append(struct fixture *f, unsigned n, size_t body)
{
    struct err e = ERR_NONE;
    const uint64_t from = f->chain.last + 1;
    for (unsigned i = 0; i < n; i++)
        chain_add(&f->chain, body);
    int rc = util_give(f, from, f->chain.last, &e);
    if (rc != 0)
        print_error("%s\n", e.text);
    assert_int_equal(rc, 0);
    util_wait(f, f->chain.last);
}

/* The log gives entries [from, to] as the chain has them, and ends at `to`. */
static inline void util_expect(struct fixture *f, uint64_t from, uint64_t to)
{
    static uint8_t buf[1 << 20];
    struct err e = ERR_NONE;
    struct log_status s;
    log_status(f->log, &s);
    assert_int_equal(s.last.lsn.v, to);
    assert_memory_equal(&s.last.hash, &f->chain.at[to].hash, 32);
    assert_int_equal(s.first.lsn.v, from - 1);
    while (from <= to) {
        size_t used, count;
        int rc = log_read(f->log, (struct lsn){from}, (struct lsn){UINT64_MAX}, buf, sizeof buf,
                          &used, &count, &e);
        if (rc != 0)
            print_error("%s\n", e.text);
        assert_int_equal(rc, 0);
        assert_true(count > 0);
        size_t at = 0;
        for (size_t i = 0; i < count; i++, from++) {
            assert_memory_equal(buf + at, f->chain.raw[from], f->chain.bytes[from]);
            at += f->chain.bytes[from];
        }
        assert_int_equal(at, used);
    }
    assert_int_equal(from, to + 1);
}

/* ---- images of the directory: what a crash would leave ---- */

struct file_image {
    char name[64];
    uint8_t *p;
    size_t n;
};
struct dir_image {
    struct file_image v[64];
    size_t n;
};

static inline void util_load(const char *path, const char *name, void *arg)
{
    struct dir_image *d = arg;
    if (strcmp(name, "LOCK") == 0 || memcmp(name, "spare", 5) == 0)
        return;
    struct file_image *f = &d->v[d->n++];
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    f->n = (size_t)st.st_size;
    f->p = malloc(f->n + 1);
    assert_int_equal(read(fd, f->p, f->n), f->n);
    (void)snprintf(f->name, sizeof f->name, "%.63s", name);
    (void)close(fd);
}

static inline int util_by_name(const void *a, const void *b)
{
    return strcmp(((const struct file_image *)a)->name, ((const struct file_image *)b)->name);
}

/* All segments (no spares) as they are now, by name. */
static inline void image_take(struct dir_image *d, const char *dir)
{
    d->n = 0;
    util_each_file(dir, util_load, d);
    qsort(d->v, d->n, sizeof d->v[0], util_by_name);
}

static inline void image_free(struct dir_image *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->v[i].p);
    d->n = 0;
}

static inline bool image_equal(const struct dir_image *a, const struct dir_image *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->v[i].name, b->v[i].name) == 0 && a->v[i].n == b->v[i].n &&
               memcmp(a->v[i].p, b->v[i].p, a->v[i].n) == 0;
    return same;
}

static inline void util_unlink_segment(const char *path, const char *name, void *arg)
{
    (void)arg;
    if (memcmp(name, "spare", 5) != 0)
        assert_int_equal(unlink(path), 0);
}

/* Make the directory hold exactly these segments (spares stay). */
static inline void image_put(const struct dir_image *d, const char *dir)
{
    util_each_file(dir, util_unlink_segment, NULL);
    for (size_t i = 0; i < d->n; i++) {
        char path[200];
        (void)snprintf(path, sizeof path, "%s/%s", dir, d->v[i].name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, d->v[i].p, d->v[i].n), d->v[i].n);
        (void)close(fd);
    }
}

#endif
