/* Which records changed between two lsns: the references of all indexes that reach into the range, merged, and those of packs
 * that no index covers, which are read and sorted in memory. Each record is told once, with the last of its lsns in the range.
 *
 * An index that proves wrong is put aside, its packs are read instead, and the merge begins again behind the last record that
 * was told. */
#include "repository/history.h"

#include "repository/io/index.h"

struct changes {
    struct repository *r;
    struct repository_query q;
    struct err *e;
    struct repo_index_walk *walks;
    size_t count;
    struct repo_refs refs; /* of packs without an index */
    size_t at;             /* in refs */
    int (*each)(void *arg, struct bytes key, struct lsn last);
    void *arg;
    int result;                 /* of each; behind OWN_RESULT */
    uint8_t key[KEY_MAX_BYTES]; /* of the record that is being counted */
    size_t key_bytes;
    struct lsn last;             /* 0: none is */
    uint8_t told[KEY_MAX_BYTES]; /* the last record that was handed out; told_bytes 0: none was */
    size_t told_bytes;
};

enum {
    OWN_RESULT = 1, /* the caller's */
    AGAIN = 2       /* an index was put aside */
};

/* Is it a record that was asked for? Past the last of them: *over. */
static bool of_interest(const struct changes *c, const struct repo_keyref *ref, bool *over)
{
    int collection = bytes_compare(ref->collection, c->q.collection);
    struct bytes head = ref->key;
    head.n = head.n < c->q.key.n ? head.n : c->q.key.n;
    int key = bytes_compare(head, c->q.key);
    *over = collection > 0 || (collection == 0 && key > 0);
    return collection == 0 && key == 0 &&
           (c->told_bytes == 0 || bytes_compare(ref->key, bytes_of(c->told, c->told_bytes)) > 0);
}

static bool in_range(const struct changes *c, struct lsn lsn)
{
    return lsn.v >= c->q.from.v && lsn.v <= c->q.to.v;
}

/* ---- packs without an index ---- */

static int keep_ref(void *arg, const struct repo_keyref *ref)
{
    struct changes *c = arg;
    bool over;
    return of_interest(c, ref, &over) && in_range(c, ref->lsn) ? repo_refs_add(&c->refs, ref) : 0;
}

static int keep_entry(void *arg, const struct entry_view *v)
{
    struct changes *c = arg;
    return repo_keyrefs_of(v, keep_ref, c, c->e);
}

static int read_pack(struct changes *c, const struct repo_pack *p)
{
    struct repo_pack_reader reader;
    int rc = repo_chain_check(&c->r->inv, (size_t)(p - c->r->inv.packs), c->e);
    if (rc == 0)
        rc = repo_pack_open(c->r, p, &reader, c->e);
    if (rc != 0)
        return rc;
    rc = repo_pack_walk(&reader, 0, keep_entry, NULL, c, c->e);
    repo_pack_close(&reader);
    return rc;
}

/* One way through the range: how much there is to read, or (`read`) reads it. Nothing may be missing. */
static int go_through(struct changes *c, bool read, uint64_t *total)
{
    const struct repo_inventory *inv = &c->r->inv;
    uint64_t done = 0;
    int rc = 0;
    for (struct lsn at = c->q.from; rc == 0 && at.v <= c->q.to.v;) {
        const struct repo_index *x = repo_index_of(inv, at);
        const struct repo_pack *p = repo_pack_of(inv, at);
        if (x == NULL && p == NULL)
            return err_set(c->e, ERR_INTEGRITY,
                           "the pack that holds lsn %llu is missing, and could hold changes; put "
                           "it back",
                           (unsigned long long)at.v);
        at.v = x != NULL ? x->o.end.lsn.v + 1 : p->o.end.lsn.v + 1;
        if (x != NULL)
            continue;
        done += p->o.bytes;
        if (!read)
            continue;
        rc = read_pack(c, p);
        if (c->q.progress != NULL)
            c->q.progress(c->q.progress_arg, done, *total);
    }
    if (!read)
        *total = done;
    return rc;
}

static int read_packs(struct changes *c)
{
    uint64_t total = 0;
    int rc = go_through(c, false, &total);
    if (rc == 0)
        rc = go_through(c, true, &total);
    repo_refs_sort(&c->refs);
    return rc;
}

/* ---- the merge ---- */

/* The walk's next reference that is in the range of lsns; at its end when it has passed the records that were asked for. */
static int settle(struct changes *c, struct repo_index_walk *w)
{
    int rc = 0;
    bool over = false;
    while (rc == 0 && !w->end && !(of_interest(c, &w->now, &over) && in_range(c, w->now.lsn))) {
        w->end = over;
        if (!over)
            rc = repo_index_walk_next(w, c->e);
    }
    return rc;
}

static int tell(struct changes *c)
{
    if (c->last.v == 0)
        return 0;
    memcpy(c->told, c->key, c->key_bytes);
    c->told_bytes = c->key_bytes;
    c->result = c->each(c->arg, bytes_of(c->key, c->key_bytes), c->last);
    c->last.v = 0;
    return c->result != 0 ? OWN_RESULT : 0;
}

/* The same record again, or the one before is complete. */
static int count(struct changes *c, const struct repo_keyref *ref)
{
    int rc = 0;
    if (c->last.v != 0 && !bytes_equal(bytes_of(c->key, c->key_bytes), ref->key))
        rc = tell(c);
    memcpy(c->key, ref->key.p, ref->key.n);
    c->key_bytes = ref->key.n;
    c->last = ref->lsn; /* in order */
    return rc;
}

/* What a walk came to. */
static int outcome(struct changes *c, const struct repo_index_walk *w, int rc)
{
    if (rc != ERR_INTEGRITY)
        return rc;
    repo_index_distrust(c->r, w->index, c->e);
    if (c->e != NULL)
        *c->e = (struct err)ERR_NONE;
    return AGAIN;
}

static int merge(struct changes *c)
{
    int rc = 0;
    while (rc == 0) {
        struct repo_index_walk *w = repo_index_walk_least(c->walks, c->count);
        const struct repo_keyref *ref = c->at < c->refs.count ? &c->refs.at[c->at] : NULL;
        if (w == NULL && ref == NULL)
            return tell(c);
        if (w == NULL || (ref != NULL && repo_keyref_compare(ref, &w->now) < 0)) {
            c->at++;
            rc = count(c, ref);
            continue;
        }
        rc = count(c, &w->now);
        if (rc == 0 && (rc = repo_index_walk_next(w, c->e)) == 0)
            rc = settle(c, w);
        rc = outcome(c, w, rc);
    }
    return rc;
}

static int begin_walks(struct changes *c)
{
    struct repo_keyref from = {c->q.collection, c->q.key, {0}};
    if (c->told_bytes != 0)
        from =
            (struct repo_keyref){c->q.collection, bytes_of(c->told, c->told_bytes), {UINT64_MAX}};
    int rc = 0;
    c->walks = calloc(c->r->inv.index_count + 1, sizeof *c->walks);
    if (c->walks == NULL)
        return err_set(c->e, ERR_NO_MEMORY, "no memory to read the indexes");
    for (size_t i = 0; rc == 0 && i < c->r->inv.index_count; i++) {
        struct repo_index *x = &c->r->inv.indexes[i];
        if (!x->used || x->o.end.lsn.v < c->q.from.v || x->first.v > c->q.to.v)
            continue;
        struct repo_index_walk *w = &c->walks[c->count++];
        rc = repo_index_walk_begin(w, c->r, x, &from, c->e);
        if (rc == 0)
            rc = settle(c, w);
        rc = outcome(c, w, rc);
    }
    return rc;
}

static void end_walks(struct changes *c)
{
    for (size_t i = 0; i < c->count; i++)
        repo_index_walk_end(&c->walks[i]);
    free(c->walks);
    c->walks = NULL;
    c->count = 0;
}

int repository_changed(struct repository *r, const struct repository_query *q,
                       int (*each)(void *arg, struct bytes key, struct lsn last), void *arg,
                       struct err *e)
{
    struct err why = ERR_NONE;
    struct changes c = {.r = r, .q = *q, .e = &why, .each = each, .arg = arg};
    int rc = repo_query_range(r, q, &c.q.from, e);
    if (rc != 0)
        return rc;
    do {
        c.refs.e = &why;
        c.at = 0;
        c.last.v = 0;
        rc = begin_walks(&c);
        if (rc == 0)
            rc = read_packs(&c);
        if (rc == 0)
            rc = merge(&c);
        end_walks(&c);
        repo_refs_free(&c.refs);
    } while (rc == AGAIN);
    if (rc == OWN_RESULT)
        return c.result;
    if (rc != 0 && e != NULL)
        *e = why;
    return rc;
}
