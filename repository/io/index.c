/* Reading an index of keys.
 *
 * An index is a container (io/container.h) of frames with references (core/keyref.h) in order: the blocks, and behind them the
 * top, which has the first reference of each block. The top is kept in memory while the index is open, so that a lookup reads
 * one block: that is its filter, and it needs no other, because there are few indexes (io/index_make.c merges them).
 *
 * INVARIANTS
 *   I1  What is handed out was authenticated by the container, and is in order within its block.
 *   I2  The top has exactly one reference for each block, in order; so a binary search finds the only block that can hold one.
 *
 * FAILURE MODES: whatever is wrong with it is ERR_INTEGRITY with the name; who asked reads the packs instead. */
#include "repository/io/index.h"

#include "store/core/check.h"

#include <stdio.h>
#include <stdlib.h>

struct repo_index_reader {
    struct repo_blob file;
    struct repo_reader *reader;
    uint8_t *top;
    struct repo_keyref *firsts; /* views into top */
    int64_t block;              /* the one in `view`, or -1 */
    struct bytes view;
};

void repo_index_close(struct repo_index *x)
{
    struct repo_index_reader *o = x->reader;
    if (o == NULL)
        return;
    repo_reader_free(o->reader);
    repo_blob_close(&o->file);
    free(o->top);
    free(o->firsts);
    free(o);
    x->reader = NULL;
}

/* All frames behind the blocks, decoded into firsts. */
static int load_top(struct repo_index *x, struct err *e)
{
    struct repo_index_reader *o = x->reader;
    uint32_t frames = repo_reader_frames(o->reader), n = 0;
    size_t bytes = 0;
    int rc = 0;
    if (frames < x->blocks)
        return err_set(e, ERR_INTEGRITY, "%u frames where its meta names %u blocks", frames,
                       x->blocks);
    o->firsts = calloc((size_t)x->blocks + 1, sizeof *o->firsts);
    for (uint32_t i = x->blocks; rc == 0 && i < frames; i++) {
        struct bytes frame;
        rc = repo_reader_frame(o->reader, i, &frame, e);
        uint8_t *more = rc == 0 ? realloc(o->top, bytes + frame.n + 1) : NULL;
        if (rc == 0 && more == NULL)
            rc = err_set(e, ERR_NO_MEMORY, "no memory for the top of an index");
        if (rc != 0)
            return rc;
        o->top = more;
        memcpy(o->top + bytes, frame.p, frame.n);
        bytes += frame.n;
    }
    if (o->firsts == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the top of an index");
    struct reader in = reader_of(bytes_of(o->top, bytes));
    for (; rc == 0 && in.at < in.n && n < x->blocks; n++) {
        rc = repo_keyref_read(&in, &o->firsts[n], e);
        if (rc == 0 && n > 0 && repo_keyref_compare(&o->firsts[n - 1], &o->firsts[n]) > 0)
            rc = err_set(e, ERR_INTEGRITY, "its top is out of order at block %u", n);
    }
    if (rc == 0 && (n != x->blocks || in.at != in.n))
        rc = err_set(e, ERR_INTEGRITY, "its top does not name the first references of %u blocks",
                     x->blocks);
    return rc;
}

static int wrapped(const struct repo_index *x, struct err *e)
{
    err_wrap(e, "%s", x->o.name);
    int rc = repo_damage(e);
    check(rc != 0);
    return rc;
}

int repo_index_open(struct repository *r, struct repo_index *x, struct err *e)
{
    char identity[REPO_IDENTITY_BYTES];
    struct repo_key key;
    if (x->reader != NULL)
        return 0;
    x->reader = calloc(1, sizeof *x->reader);
    if (x->reader == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for an index");
    struct repo_index_reader *o = x->reader;
    o->file = (struct repo_blob)REPO_BLOB_NONE;
    o->block = -1;
    int rc = repo_key_of(r, x->o.name, &key, e);
    if (rc == 0)
        rc = repo_blob_open(&o->file, r->backend, x->o.name, e);
    if (rc == 0 && o->file.bytes != x->o.bytes)
        rc = err_set(e, ERR_INTEGRITY, "%llu bytes where its meta names %llu",
                     (unsigned long long)o->file.bytes, (unsigned long long)x->o.bytes);
    repo_identity_of(r, x->o.name, identity);
    if (rc == 0)
        rc = repo_reader_new(&o->reader, &o->file, &key, identity, e);
    if (rc == 0)
        rc = load_top(x, e);
    repo_wipe(&key, sizeof key);
    if (rc == 0)
        return 0;
    repo_index_close(x);
    return wrapped(x, e);
}

const struct repo_keyref *repo_index_first(const struct repo_index *x, uint32_t block)
{
    check(x->reader != NULL && block < x->blocks);
    return &x->reader->firsts[block];
}

int64_t repo_index_block_of(const struct repo_index *x, const struct repo_keyref *ref)
{
    uint32_t low = 0, high = x->blocks;
    while (low < high) { /* the first block that begins behind ref */
        uint32_t mid = low + (high - low) / 2;
        if (repo_keyref_compare(repo_index_first(x, mid), ref) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    return (int64_t)low - 1;
}

int repo_index_block(struct repo_index *x, uint32_t block, struct bytes *out, struct err *e)
{
    struct repo_index_reader *o = x->reader;
    *out = (struct bytes){NULL, 0};
    check(block < x->blocks);
    if (o == NULL) /* put aside meanwhile, by another question */
        return err_set(e, ERR_INTEGRITY, "%s: %s", x->o.name, x->o.reason);
    if (o->block != block) {
        o->block = -1;
        int rc = repo_reader_frame(o->reader, block, &o->view, e);
        if (rc != 0)
            return wrapped(x, e);
        o->block = block;
    }
    *out = o->view;
    return 0;
}

void repo_index_distrust(struct repository *r, struct repo_index *x, const struct err *why)
{
    repo_index_close(x);
    x->o.damaged = true;
    (void)snprintf(x->o.reason, sizeof x->o.reason, "%.*s", (int)sizeof x->o.reason - 1, why->text);
    repo_indexes_choose(&r->inv); /* narrower ones may take its place */
}

/* ---- walks ---- */

static int walk_load(struct repo_index_walk *w, uint32_t block, struct err *e)
{
    struct bytes in;
    int rc = repo_index_block(w->index, block, &in, e);
    if (rc != 0)
        return rc;
    if (in.n > w->cap) {
        uint8_t *more = realloc(w->block, in.n);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for a block of an index");
        w->block = more;
        w->cap = in.n;
    }
    if (in.n != 0)
        memcpy(w->block, in.p, in.n);
    w->at = reader_of(bytes_of(w->block, in.n));
    w->next_block = block + 1;
    return 0;
}

static void walk_remember(struct repo_index_walk *w)
{
    struct writer out = writer_of(w->last, sizeof w->last);
    repo_keyref_write(&out, &w->now);
    check(!out.bad);
    w->last_bytes = out.at;
}

int repo_index_walk_next(struct repo_index_walk *w, struct err *e)
{
    struct repo_keyref before;
    bool first = w->now.lsn.v == 0;
    if (w->end)
        return 0;
    if (!first)
        walk_remember(w);
    while (w->at.at == w->at.n) {
        if (w->next_block == w->index->blocks) {
            w->end = true;
            return 0;
        }
        int rc = walk_load(w, w->next_block, e);
        if (rc != 0)
            return rc;
    }
    int rc = repo_keyref_read(&w->at, &w->now, e);
    if (rc == 0 && !first) {
        struct reader in = reader_of(bytes_of(w->last, w->last_bytes));
        check(repo_keyref_read(&in, &before, NULL) == 0);
        if (repo_keyref_compare(&before, &w->now) > 0)
            rc = err_set(e, ERR_INTEGRITY, "block %u: references are out of order",
                         w->next_block - 1);
    }
    return rc == 0 ? 0 : wrapped(w->index, e);
}

int repo_index_walk_begin(struct repo_index_walk *w, struct repository *r, struct repo_index *x,
                          const struct repo_keyref *from, struct err *e)
{
    *w = (struct repo_index_walk){.index = x};
    int rc = repo_index_open(r, x, e);
    if (rc != 0)
        return rc;
    int64_t block = from == NULL ? 0 : repo_index_block_of(x, from);
    w->next_block = block < 0 ? 0 : (uint32_t)block;
    rc = repo_index_walk_next(w, e);
    while (rc == 0 && !w->end && from != NULL && repo_keyref_compare(&w->now, from) < 0)
        rc = repo_index_walk_next(w, e);
    return rc;
}

void repo_index_walk_end(struct repo_index_walk *w)
{
    free(w->block);
    *w = (struct repo_index_walk){.end = true};
}

struct repo_index_walk *repo_index_walk_least(struct repo_index_walk *walks, size_t n)
{
    struct repo_index_walk *least = NULL;
    for (size_t i = 0; i < n; i++)
        if (!walks[i].end && (least == NULL || repo_keyref_compare(&walks[i].now, &least->now) < 0))
            least = &walks[i];
    return least;
}

int repo_index_check(struct repository *r, struct repo_index *x, struct err *e)
{
    struct repo_index_walk w;
    struct digest sum = {0, 0};
    uint64_t refs = 0;
    repo_index_close(x); /* what was read before says nothing of the disk */
    int rc = repo_index_walk_begin(&w, r, x, NULL, e);
    while (rc == 0 && !w.end) {
        sum = digest_add(sum, repo_keyref_digest(&w.now));
        refs++;
        rc = repo_index_walk_next(&w, e);
    }
    repo_index_walk_end(&w);
    if (rc == 0 && (refs != x->refs || sum.lo != x->sum.lo || sum.hi != x->sum.hi))
        rc = err_set(e, ERR_INTEGRITY, "%s: %llu references, which are not the %llu of its meta",
                     x->o.name, (unsigned long long)refs, (unsigned long long)x->refs);
    return rc;
}
