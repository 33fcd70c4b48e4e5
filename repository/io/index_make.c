/* Indexes of keys, made from packs and merged.
 *
 * Packs are sealed by size or age, so there may be millions of them, and a lookup must not open one index for each. So indexes
 * grow as in a log-structured merge tree (O'Neil, Cheng, Gawlick, O'Neil 1996, with whole runs): one of level 0 covers a pack, or
 * several when the archive is behind; whenever FAN neighbours have the same level, they become one of the next. A lookup asks at
 * most FAN - 1 of each level, and each reference is written once per level. A merge is not begun beyond MERGE_MAX_REFS, so that
 * the thread that seals is never away for long; above that size their number grows with the archive.
 *
 * They are made from the packs as they lie there, never from what was given to be sealed: from what was noted when a pack was
 * read back as it was sealed (recent.h), or from the pack read again, when one is missing or damaged or of an older archive.
 *
 * INVARIANTS
 *   I1  An index is published as any object: synced, read back, decoded, compared; key, object, meta.
 *   I2  What is removed is covered by another one that is used, and was so for SUPERSEDED_SECONDS: a reader that knew the old
 *       one has had time. An index over packs that were disposed of is removed by custody.c, for it holds keys of records; what
 *       is left below it is covered anew.
 * MEMORY: the references of the packs of one portion, 40 bytes and the key each: for 64 MiB of usual entries 10 MiB. */
#include "repository/io/index.h"
#include "repository/io/recent.h"

#include "repository/history.h"
#include "store/core/check.h"

#include <stdio.h>

enum {
    FAN = 8,
    MERGE_MAX_REFS = 8 << 20,
    PORTION_BYTES = 64 << 20, /* of packs, decompressed; one pack at least */
    SUPERSEDED_SECONDS = 600,
};

/* ---- writing an index whose references come in order ---- */

struct maker {
    struct repository *r;
    struct repo_draft draft;
    struct repo_index x;
    uint8_t *top;
    size_t top_bytes, top_cap;
    size_t used; /* of block */
    uint8_t block[REPO_INDEX_FRAME_BYTES];
};

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "no memory to make an index");
}

static void maker_free(struct maker *m)
{
    if (m == NULL)
        return;
    repo_draft_drop(&m->draft);
    free(m->top);
    free(m);
}

static int maker_new(struct maker **out, struct repository *r, const struct entry_position *prev,
                     const struct entry_position *end, uint32_t level, struct err *e)
{
    struct maker *m = calloc(1, sizeof *m);
    *out = NULL;
    if (m == NULL)
        return no_memory(e);
    m->r = r;
    m->draft = (struct repo_draft)REPO_DRAFT_NONE;
    m->x = (struct repo_index){.first = {prev->lsn.v + 1}, .prev = *prev, .level = level};
    m->x.o.end = *end;
    struct repo_name name = {.kind = REPO_INDEX, .first = m->x.first, .last = end->lsn};
    int rc = repo_draft_begin(r, &m->draft, &name, e);
    if (rc == 0)
        *out = m;
    else
        maker_free(m);
    return rc;
}

static int flush(struct maker *m, struct err *e)
{
    struct bytes frame = bytes_of(m->block, m->used);
    m->used = 0;
    m->x.blocks++;
    return repo_writer_frame(m->draft.writer, &frame, 1, e);
}

static int add_to_top(struct maker *m, const struct repo_keyref *ref, struct err *e)
{
    if (m->top_cap - m->top_bytes < REPO_KEYREF_MAX_BYTES) {
        size_t cap = m->top_cap == 0 ? 64 << 10 : 2 * m->top_cap;
        uint8_t *more = realloc(m->top, cap);
        if (more == NULL)
            return no_memory(e);
        m->top = more;
        m->top_cap = cap;
    }
    struct writer w = writer_of(m->top + m->top_bytes, m->top_cap - m->top_bytes);
    repo_keyref_write(&w, ref);
    check(!w.bad);
    m->top_bytes += w.at;
    return 0;
}

static int maker_add(struct maker *m, const struct repo_keyref *ref, struct err *e)
{
    int rc = 0;
    if (sizeof m->block - m->used < REPO_KEYREF_MAX_BYTES)
        rc = flush(m, e);
    if (rc == 0 && m->used == 0)
        rc = add_to_top(m, ref, e);
    if (rc != 0)
        return rc;
    struct writer w = writer_of(m->block + m->used, sizeof m->block - m->used);
    repo_keyref_write(&w, ref);
    check(!w.bad);
    m->used += w.at;
    m->x.refs++;
    m->x.sum = digest_add(m->x.sum, repo_keyref_digest(ref));
    return 0;
}

static int write_top(struct maker *m, struct err *e)
{
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < m->top_bytes;) {
        size_t left = m->top_bytes - at;
        struct bytes frame =
            bytes_of(m->top + at, left < REPO_INDEX_FRAME_BYTES ? left : REPO_INDEX_FRAME_BYTES);
        rc = repo_writer_frame(m->draft.writer, &frame, 1, e);
        at += frame.n;
    }
    return rc;
}

/* Into the inventory, which stays sorted by first and last lsn. */
static int keep(struct repository *r, const struct repo_index *x, struct err *e)
{
    struct repo_inventory *inv = &r->inv;
    struct repo_index *more = realloc(inv->indexes, (inv->index_count + 1) * sizeof *more);
    if (more == NULL)
        return no_memory(e);
    inv->indexes = more;
    size_t at = inv->index_count++;
    for (; at > 0 &&
           (more[at - 1].first.v > x->first.v ||
            (more[at - 1].first.v == x->first.v && more[at - 1].o.end.lsn.v > x->o.end.lsn.v));
         at--)
        more[at] = more[at - 1];
    more[at] = *x;
    repo_indexes_choose(inv);
    return 0;
}

static int maker_end(struct maker *m, struct err *e)
{
    char name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    uint8_t *meta = NULL;
    size_t n = 0;
    int rc = m->used != 0 ? flush(m, e) : 0;
    if (rc == 0)
        rc = write_top(m, e);
    if (rc == 0)
        rc = repo_draft_seal(m->r, &m->draft, NULL, NULL, e);
    if (rc == 0) {
        repo_draft_object(&m->draft, &m->x.o);
        repo_name_meta(m->draft.name, name);
        repo_identity_of(m->r, name, identity);
        rc =
            repo_index_write(&m->x, &m->r->about.cluster_id, &m->draft.key, identity, &meta, &n, e);
    }
    if (rc == 0)
        rc = repo_draft_publish(m->r, &m->draft, bytes_of(meta, n), e);
    free(meta);
    return rc == 0 ? keep(m->r, &m->x, e) : rc;
}

/* ---- from packs ---- */

static int gather_entry(void *arg, const struct entry_view *v)
{
    struct repo_refs *refs = arg;
    return repo_keyrefs_of(v, repo_refs_add, refs, refs->e);
}

static int gather_pack(struct repository *r, const struct repo_pack *p, struct repo_refs *refs,
                       struct err *e)
{
    struct repo_pack_reader reader;
    int rc = repo_pack_open(r, p, &reader, e);
    if (rc != 0)
        return rc;
    rc = repo_pack_walk(&reader, 0, gather_entry, NULL, refs, e);
    repo_pack_close(&reader);
    return rc;
}

/* Packs without an index, up to a portion or to the next one that has. */
static size_t portion_end(const struct repository *r, size_t begin)
{
    uint64_t bytes = r->inv.packs[begin].o.plain_bytes;
    size_t end = begin + 1;
    for (; end < r->inv.pack_count; end++) {
        bytes += r->inv.packs[end].o.plain_bytes;
        if (bytes > PORTION_BYTES || r->inv.packs[end].o.disposed ||
            repo_index_of(&r->inv, r->inv.packs[end].first) != NULL)
            break;
    }
    return end;
}

/* The references of the packs from `begin` on as they were noted, when none was disposed of since; *end is behind them. */
static bool take_noted(struct repository *r, size_t begin, size_t *end, struct repo_refs *refs)
{
    struct lsn to;
    if (!repo_recent_take(r->recent, r->inv.packs[begin].first, &to, refs))
        return false;
    size_t i = begin;
    while (i < r->inv.pack_count && !r->inv.packs[i].o.disposed &&
           r->inv.packs[i].o.end.lsn.v < to.v)
        i++;
    *end = i + 1;
    if (i < r->inv.pack_count && !r->inv.packs[i].o.disposed && r->inv.packs[i].o.end.lsn.v == to.v)
        return true;
    repo_refs_free(refs);
    return false;
}

/* An index of level 0 over the packs from `begin` on. */
static int make(struct repository *r, size_t begin, struct err *e)
{
    struct repo_refs refs = {.e = e};
    struct maker *m = NULL;
    int rc = 0;
    size_t end;
    const bool noted = take_noted(r, begin, &end, &refs);
    refs.e = e;
    if (!noted)
        end = portion_end(r, begin);
    for (size_t i = begin; rc == 0 && i < end; i++) {
        rc = repo_chain_check(&r->inv, i, e);
        if (rc == 0 && !noted)
            rc = gather_pack(r, &r->inv.packs[i], &refs, e);
    }
    repo_refs_sort(&refs);
    if (rc == 0)
        rc = maker_new(&m, r, &r->inv.packs[begin].prev, &r->inv.packs[end - 1].o.end, 0, e);
    for (size_t i = 0; rc == 0 && i < refs.count; i++)
        rc = maker_add(m, &refs.at[i], e);
    if (rc == 0)
        rc = maker_end(m, e);
    maker_free(m);
    repo_refs_free(&refs);
    return rc;
}

/* ---- merging ---- */

static int merge(struct repository *r, size_t at, struct err *e)
{
    struct repo_index_walk walks[FAN];
    struct repo_index *parts[FAN];
    size_t n = 0;
    struct maker *m = NULL;
    int rc = 0;
    memset(walks, 0, sizeof walks);
    for (size_t i = at; n < FAN; i++)
        if (r->inv.indexes[i].used)
            parts[n++] = &r->inv.indexes[i];
    for (size_t i = 0; rc == 0 && i < FAN; i++) {
        rc = repo_index_walk_begin(&walks[i], r, parts[i], NULL, e);
        if (rc == ERR_INTEGRITY)
            repo_index_distrust(r, parts[i], e); /* its packs are covered anew */
    }
    if (rc == 0)
        rc = maker_new(&m, r, &parts[0]->prev, &parts[FAN - 1]->o.end, parts[0]->level + 1, e);
    struct repo_index_walk *least;
    while (rc == 0 && (least = repo_index_walk_least(walks, FAN)) != NULL) {
        rc = maker_add(m, &least->now, e);
        if (rc == 0 && (rc = repo_index_walk_next(least, e)) == ERR_INTEGRITY)
            repo_index_distrust(r, least->index, e);
    }
    struct digest sum = {0, 0};
    for (size_t i = 0; i < FAN; i++) {
        sum = digest_add(sum, parts[i]->sum);
        repo_index_walk_end(&walks[i]);
        repo_index_close(parts[i]);
    }
    if (rc == 0 && (m->x.sum.lo != sum.lo || m->x.sum.hi != sum.hi))
        rc = err_set(e, ERR_INTEGRITY, "%s: the merged index does not hold what its parts held",
                     m->draft.name);
    if (rc == 0)
        rc = maker_end(m, e);
    maker_free(m);
    return rc;
}

/* ---- removing ---- */

/* Within another one that is used, and was long enough when readers could still use this one. */
static bool superseded(const struct repository *r, const struct repo_index *x)
{
    const struct repo_index *by = repo_index_of(&r->inv, x->first);
    return !x->used && by != NULL && by->o.end.lsn.v >= x->o.end.lsn.v &&
           by->first.v <= x->first.v &&
           (x->o.damaged ||
            by->o.created.us + (uint64_t)SUPERSEDED_SECONDS * 1000000 < repo_now().us);
}

/* The meta first: without it there is no index. What cannot be removed is in nobody's way. */
static void remove_one(struct repository *r, size_t at)
{
    struct repo_index *x = &r->inv.indexes[at];
    char meta[REPO_NAME_BYTES], key[REPO_NAME_BYTES];
    repo_name_meta(x->o.name, meta);
    if (!repo_backend_remove(r->backend, meta) || !repo_backend_remove(r->backend, x->o.name))
        return;
    for (size_t i = 0; i < r->keys.count; i++) {
        repo_name_key(x->o.name, r->keys.at[i].number, key);
        if (!repo_backend_remove(r->backend, key))
            return;
    }
    repo_index_close(x);
    r->inv.index_count--;
    memmove(x, x + 1, (r->inv.index_count - at) * sizeof *x);
}

int repository_index_extend(struct repository *r, bool *more, struct err *e)
{
    *more = false;
    if (r->read_only)
        return err_set(e, ERR_DENIED, "the archive was opened for reading only");
    if (r->failed.code != 0)
        return err_set(e, r->failed.code, "nothing is written any more after: %.400s",
                       r->failed.text);
    int rc = 0;
    size_t begin = repo_index_missing(&r->inv);
    size_t alike = repo_indexes_alike(&r->inv, FAN, MERGE_MAX_REFS);
    if (begin < r->inv.pack_count)
        rc = make(r, begin, e);
    else if (alike < r->inv.index_count)
        rc = merge(r, alike, e);
    for (size_t i = r->inv.index_count; rc == 0 && i-- > 0;)
        if (superseded(r, &r->inv.indexes[i]))
            remove_one(r, i);
    if (rc != 0)
        return err_wrap(e, "index of keys");
    *more = repo_index_missing(&r->inv) < r->inv.pack_count ||
            repo_indexes_alike(&r->inv, FAN, MERGE_MAX_REFS) < r->inv.index_count;
    return 0;
}

int repository_index_check(struct repository *r, struct err *e)
{
    for (size_t i = 0; i < r->inv.index_count; i++) {
        struct repo_index *x = &r->inv.indexes[i];
        struct err why = ERR_NONE;
        int rc = x->used ? repo_index_check(r, x, &why) : 0;
        if (rc == ERR_INTEGRITY) {
            repo_index_distrust(r, x, &why);
        } else if (rc != 0) {
            if (e != NULL)
                *e = why;
            return rc;
        }
        repo_index_close(x);
    }
    return 0;
}
