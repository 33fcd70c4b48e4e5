/* What the tests of restoring share: sites whose state can be told by one hash, and an archive of all that there is. */
#ifndef TESTS_UNIT_REPOSITORY_IO_RESTORE_KIT_H
#define TESTS_UNIT_REPOSITORY_IO_RESTORE_KIT_H

#include "repository/io/archive.h"
#include "tests/unit/repository/fixture.h"

/* ---- a site: a state that applies the feed ---- */

struct site {
    struct state *state;
    const struct feed *f;
    size_t applied; /* bytes of the feed */
};

static inline void site_open(struct site *s, const struct place *p, const char *name,
                             const struct feed *f)
{
    static char dir[200];
    struct err e = ERR_NONE;
    (void)snprintf(dir, sizeof dir, "%s/%s", p->root, name);
    struct state_options o = {.dir = dir, .cluster_id = test_cluster};
    *s = (struct site){.f = f};
    assert_ok(state_open(&s->state, &o, &e), e);
}

/* Apply up to and with lsn; UINT64_MAX: all there is. */
static inline void site_apply(struct site *s, uint64_t lsn)
{
    enum { BATCH = 500 };
    struct entry_view views[BATCH];
    struct err e = ERR_NONE;
    for (;;) {
        size_t n = 0;
        while (n < BATCH && s->applied < s->f->n) {
            size_t used;
            assert_ok(entry_decode(bytes_of(s->f->p + s->applied, s->f->n - s->applied), &views[n],
                                   &used, &e),
                      e);
            if (views[n].header.lsn.v > lsn)
                break;
            s->applied += used;
            n++;
        }
        if (n == 0)
            return;
        assert_ok(state_apply(s->state, views, n, &e), e);
    }
}

/* What the archive asks of a site: the digest now, or at a restore point. */
static inline int site_digest(void *arg, struct lsn lsn, struct digest *out);

struct point_search {
    struct lsn lsn;
    struct digest *out;
    bool found;
};

static inline int search_point(void *arg, const struct restore_point *p)
{
    struct point_search *x = arg;
    if (p->lsn.v == x->lsn.v) {
        *x->out = p->digest;
        x->found = true;
    }
    return 0;
}

static inline int site_digest(void *arg, struct lsn lsn, struct digest *out)
{
    struct site *s = arg;
    struct err e = ERR_NONE;
    struct state_snapshot *snap;
    struct state_totals totals;
    assert_ok(state_snapshot_open(s->state, &snap, &e), e);
    assert_ok(state_totals(snap, &totals, &e), e);
    struct point_search x = {lsn, out, false};
    assert_ok(state_restore_points(snap, search_point, &x, &e), e);
    if (!x.found && state_snapshot_position(snap).lsn.v == lsn.v) {
        *out = totals.digest;
        x.found = true;
    }
    state_snapshot_close(snap);
    return x.found ? 0 : ERR_NOT_FOUND;
}

static inline void site_snapshot(struct site *s, struct repository *r)
{
    struct err e = ERR_NONE;
    struct state_snapshot *snap;
    assert_ok(state_snapshot_open(s->state, &snap, &e), e);
    assert_ok(repository_snapshot(r, snap, &e), e);
    assert_int_equal(repository_snapshot(r, snap, &e), ERR_EXISTS);
    state_snapshot_close(snap);
}

/* ---- everything of a state as one hash, so that two can be compared ---- */

struct dump {
    struct repo_sha *sha;
    uint64_t n;
};

static inline void dump_bytes(struct dump *d, struct bytes b)
{
    uint8_t n[8];
    put_le64(n, b.n);
    repo_sha_add(d->sha, bytes_of(n, 8));
    repo_sha_add(d->sha, b);
    d->n++;
}

static inline void dump_u64(struct dump *d, uint64_t v)
{
    uint8_t n[8];
    put_le64(n, v);
    repo_sha_add(d->sha, bytes_of(n, 8));
}

static inline int dump_session(void *arg, const struct uuid *id, const struct session_info *info)
{
    dump_bytes(arg, bytes_of(id->b, 16));
    dump_bytes(arg, info->client);
    dump_u64(arg, info->opened.v);
    dump_u64(arg, info->last.us);
    return 0;
}

static inline int dump_result(void *arg, const struct uuid *id, uint64_t sequence,
                              const struct entry_position *at)
{
    dump_bytes(arg, bytes_of(id->b, 16));
    dump_u64(arg, sequence);
    dump_u64(arg, at->lsn.v);
    dump_u64(arg, at->time.us);
    return 0;
}

static inline int dump_point(void *arg, const struct restore_point *p)
{
    dump_bytes(arg, p->name);
    dump_u64(arg, p->lsn.v);
    dump_u64(arg, p->time.us);
    dump_u64(arg, p->digest.lo);
    dump_u64(arg, p->digest.hi);
    return 0;
}

static inline int dump_collection(void *arg, const struct collection_info *c)
{
    dump_bytes(arg, c->name);
    dump_u64(arg, c->records);
    dump_u64(arg, c->digest.lo);
    return 0;
}

static inline struct sha256 dump_state(struct state *s, uint64_t *things)
{
    struct dump d = {0};
    struct err e = ERR_NONE;
    struct state_snapshot *snap;
    struct state_scan *scan;
    struct state_totals totals;
    struct record r;
    int rc;
    assert_ok(repo_sha_new(&d.sha, &e), e);
    assert_ok(state_snapshot_open(s, &snap, &e), e);
    struct entry_position at = state_snapshot_position(snap);
    dump_u64(&d, at.lsn.v);
    dump_u64(&d, at.term.v);
    dump_u64(&d, at.time.us);
    dump_bytes(&d, bytes_of(at.hash.b, 32));
    assert_ok(state_totals(snap, &totals, &e), e);
    dump_u64(&d, totals.records);
    dump_u64(&d, totals.collections);
    dump_u64(&d, totals.digest.lo);
    dump_u64(&d, totals.digest.hi);
    dump_u64(&d, totals.mode);
    assert_ok(state_scan_open(snap, &(struct scan_options){.reverse = false}, &scan, &e), e);
    while ((rc = state_scan_next(scan, &r, &e)) == 0) {
        dump_bytes(&d, r.collection);
        dump_bytes(&d, r.key);
        dump_bytes(&d, r.value);
        dump_u64(&d, r.lsn.v);
        dump_u64(&d, r.time.us);
    }
    assert_int_equal(rc, ERR_NOT_FOUND);
    state_scan_close(scan);
    assert_ok(state_collections(snap, dump_collection, &d, &e), e);
    assert_ok(state_sessions(snap, dump_session, &d, &e), e);
    assert_ok(state_results(snap, dump_result, &d, &e), e);
    assert_ok(state_restore_points(snap, dump_point, &d, &e), e);
    assert_ok(state_verify(snap, &e), e);
    state_snapshot_close(snap);
    struct sha256 h = repo_sha_end(d.sha);
    repo_sha_free(d.sha);
    if (things != NULL)
        *things = d.n;
    return h;
}

static inline struct sha256 dump_directory(const char *into)
{
    char dir[200];
    struct state *s;
    struct err e = ERR_NONE;
    (void)snprintf(dir, sizeof dir, "%s/state", into);
    struct state_options o = {.dir = dir, .cluster_id = test_cluster};
    assert_ok(state_open(&s, &o, &e), e);
    struct sha256 h = dump_state(s, NULL);
    state_close(s);
    return h;
}

/* The state that a site had at lsn, from the log alone. */
static inline struct sha256 dump_at(const struct place *p, const struct feed *f, uint64_t lsn)
{
    struct site s;
    char dir[200];
    site_open(&s, p, "reference", f);
    site_apply(&s, lsn);
    struct sha256 h = dump_state(s.state, NULL);
    state_close(s.state);
    (void)snprintf(dir, sizeof dir, "%s/reference", p->root);
    tree_remove(dir);
    return h;
}

/* ---- an archive of everything: packs, points, sessions, a large value, snapshots ---- */

struct world {
    struct place p;
    struct feed f;
    struct site s;
    struct repository *r;
    uint64_t point_lsn, big_lsn;
    struct utc point_time;
};

static inline void world_pack(struct world *w)
{
    struct err e = ERR_NONE;
    site_apply(&w->s, UINT64_MAX);
    assert_ok(feed_seal(&w->f, w->r, site_digest, &w->s, &e), e);
}

static inline void world_make(struct world *w)
{
    memset(w, 0, sizeof *w);
    static const struct uuid session = {{7, 7, 7}}, gone = {{8, 8}};
    struct op op = {OP_PUT, bytes_str("passports"), bytes_str("once"), bytes_str("1")};
    place_make(&w->p);
    w->r = archive_open(&w->p, false);
    site_open(&w->s, &w->p, "site", &w->f);
    feed_noop(&w->f, 1);
    feed_session(&w->f, SESSION_OPEN, &session);
    feed_session(&w->f, SESSION_OPEN, &gone);
    for (uint64_t i = 1; i <= 5; i++)
        feed_ops(&w->f, &op, 1, i % 2 == 0 ? &gone : &session, i);
    feed_mixed(&w->f, 1500);
    world_pack(w);
    feed_mixed(&w->f, 700);
    feed_point(&w->f, "before-the-move");
    w->point_lsn = w->f.at.lsn.v;
    w->point_time = w->f.at.time;
    feed_mixed(&w->f, 700);
    feed_session(&w->f, SESSION_CLOSE, &gone);
    feed_noop(&w->f, 4);
    world_pack(w);
    site_snapshot(&w->s, w->r);
    size_t n = VALUE_MAX_BYTES;
    uint8_t *big = calloc(1, n);
    assert_non_null(big);
    for (size_t i = 0; i < n; i += 13)
        big[i] = (uint8_t)feed_random(&w->f);
    feed_put(&w->f, "court-files", "scan", big, n);
    w->big_lsn = w->f.at.lsn.v;
    free(big);
    feed_mixed(&w->f, 900);
    feed_delete(&w->f, "passports", "once");
    feed_point(&w->f, "after");
    feed_mixed(&w->f, 100);
    world_pack(w);
    site_snapshot(&w->s, w->r);
    feed_mixed(&w->f, 10);
    world_pack(w);
}

static inline void world_drop(struct world *w)
{
    repository_close(w->r);
    if (w->s.state != NULL)
        state_close(w->s.state);
    feed_drop(&w->f);
    place_drop(&w->p);
}

static inline void flip(const char *path, off_t at)
{
    uint8_t b;
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &b, 1, at), 1);
    b ^= 0x10;
    assert_int_equal(pwrite(fd, &b, 1, at), 1);
    close(fd);
}

#endif
