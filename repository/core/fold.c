/* See fold.h. The heap is the usual binary one of indexes; k runs cost log2 k comparisons a row, and most of those are
 * decided by the first bytes of the key. */
#include "repository/core/fold.h"

#include "store/core/check.h"

int repo_effect_compare(const struct repo_effect *a, const struct repo_effect *b)
{
    int c = bytes_compare(a->collection, b->collection);
    if (c == 0)
        c = bytes_compare(a->key, b->key);
    return c != 0 ? c : (a->lsn.v < b->lsn.v) - (a->lsn.v > b->lsn.v);
}

void repo_effect_write(struct writer *w, const struct repo_effect *x)
{
    write_u8(w, x->put ? 1 : 0);
    write_u64(w, x->lsn.v);
    write_u64(w, x->time.us);
    write_bytes16(w, x->collection);
    write_bytes16(w, x->key);
    write_u32(w, (uint32_t)x->value.n);
}

int repo_effect_read(struct reader *in, struct repo_effect *out, struct err *e)
{
    const size_t at = in->at;
    const uint8_t put = read_u8(in);
    out->put = put == 1;
    out->lsn.v = read_u64(in);
    out->time.us = read_u64(in);
    out->collection = read_bytes16(in);
    out->key = read_bytes16(in);
    out->value = read_bytes32(in);
    if (!in->bad && put <= 1 && out->collection.n - 1u < COLLECTION_MAX_BYTES &&
        out->key.n - 1u < KEY_MAX_BYTES && out->value.n <= (out->put ? VALUE_MAX_BYTES : 0))
        return 0;
    return err_set(e, ERR_FORMAT, "byte %zu: no row of a run", at);
}

/* ---- merging ---- */

static bool before(const struct repo_merge *m, uint32_t a, uint32_t b)
{
    const int c = repo_effect_compare(&m->heads[a], &m->heads[b]);
    return c != 0 ? c < 0 : a < b;
}

static void sink(struct repo_merge *m, uint32_t i)
{
    for (uint32_t child = 2 * i + 1; child < m->n; child = 2 * i + 1) {
        if (child + 1 < m->n && before(m, m->order[child + 1], m->order[child]))
            child++;
        if (!before(m, m->order[child], m->order[i]))
            return;
        const uint32_t other = m->order[i];
        m->order[i] = m->order[child];
        m->order[child] = other;
        i = child;
    }
}

void repo_merge_begin(struct repo_merge *m, const struct repo_effect *heads, uint32_t *order,
                      uint32_t n)
{
    *m = (struct repo_merge){heads, order, n};
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    for (uint32_t i = n / 2; i-- > 0;)
        sink(m, i);
}

void repo_merge_next(struct repo_merge *m, bool ended)
{
    check(m->n != 0);
    if (ended)
        m->order[0] = m->order[--m->n];
    sink(m, 0);
}

/* ---- the fold ---- */

static struct digest digest_of(const struct repo_effect *x)
{
    return digest_record(x->collection, x->key, x->lsn, x->value);
}

int repo_fold_end(struct repo_fold *f)
{
    const bool there = f->any && f->newest.put;
    f->any = false;
    if (!there)
        return 0;
    const struct digest d = digest_of(&f->newest);
    f->records++;
    f->digest = digest_add(f->digest, d);
    if (f->newest.lsn.v <= f->boundary.v)
        f->bounded = digest_add(f->bounded, d);
    return f->each(f->arg, &f->newest);
}

int repo_fold_take(struct repo_fold *f, const struct repo_effect *x)
{
    const bool same = f->any && bytes_equal(f->newest.key, x->key) &&
                      bytes_equal(f->newest.collection, x->collection);
    int rc = same ? 0 : repo_fold_end(f);
    if (rc != 0)
        return rc;
    if (!same) {
        f->newest = *x;
        f->any = true;
        f->keep = (struct repo_keep){false, false};
    }
    check_slow(!same || x->lsn.v <= f->newest.lsn.v);
    /* The newest one up to the boundary, behind a newer one: it was there then, and is counted there alone. */
    if (repo_keep(&f->keep, x->lsn, f->boundary) && same && x->put)
        f->bounded = digest_add(f->bounded, digest_of(x));
    return 0;
}
