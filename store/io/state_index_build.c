/* Indexes in the background: rows for the records that were there before the index, and rows of dropped indexes removed.
 *
 * Each step is one LMDB transaction of bounded size between two applies, so a build costs writers no more than a batch. It walks
 * the collection in order of keys; behind its place the index is kept up by applying (X1), so a build ends, however much is
 * written: each record is passed once.
 *
 * A damaged record stops the build of its collection's indexes at its place: an index without it would leave it out silently.
 * They wait, and others go on; the record is repaired from another site (state_repair.c), or overwritten. */
#include "store/io/state_index.h"

#include "store/core/check.h"
#include "store/finding.h"

#include <stdlib.h>

enum { STEP_MAX_BYTES = 8 << 20 }; /* of values read: what one step may keep writers waiting */

struct step {
    struct state *s;
    struct state_txn t;
    struct index_gather *g;
    size_t work, max_work, bytes;
    const struct finding_sink *sink; /* may be NULL */
    struct err *e;
    bool waits; /* an index does, for a damaged record: said in e */
};

static bool is_full(const struct step *p)
{
    return p->work >= p->max_work || p->bytes >= STEP_MAX_BYTES;
}

/* ---- building ---- */

static int pass_record(struct step *p, struct index *x, struct bytes row_key, struct bytes row)
{
    struct record r;
    struct digest digest;
    struct err why = ERR_NONE;
    const struct bytes key =
        bytes_of(row_key.p + COLLECTION_ID_BYTES, row_key.n - COLLECTION_ID_BYTES);
    int rc = row_read_record(row_key, row, true, &r, &digest, &why);
    if (rc != 0) {
        p->waits = true;
        rc = state_record_damaged(p->e, index_collection(x), key, &why);
        if (p->sink != NULL)
            p->sink->found(p->sink->arg, &(struct finding){.kind = FINDING_RECORD,
                                                           .file = "data.mdb",
                                                           .collection = index_collection(x),
                                                           .key = key,
                                                           .text = p->e->text});
        return rc;
    }
    const size_t before = p->g->n;
    rc = index_gather_value(p->g, &p->s->catalog, x, index_collection(x), key, r.value, true, p->e);
    if (rc != 0)
        return rc;
    memcpy(x->place, key.p, key.n);
    x->place_bytes = key.n;
    x->passed++;
    x->changed = true;
    p->work += 1 + (p->g->n - before);
    p->bytes += row.n;
    return 0;
}

/* Until the step is full, the collection is at its end (*end), or a record is damaged. */
static int pass_records(struct step *p, struct index *x, uint64_t collection, bool *end)
{
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    const struct bytes place =
        row_record_key(collection, bytes_of(x->place, x->place_bytes), buffer);
    MDB_val k = val_of(place), v;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(p->t.txn, p->t.dbi[DB_RECORDS], &cursor), said = 0;
    if (rc != 0)
        return state_lmdb_error(p->e, p->s->env, rc, "build an index");
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (rc == 0 && x->place_bytes != 0 && bytes_equal(bytes_of_val(k), place))
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    while (rc == 0 && said == 0) {
        *end = k.mv_size <= COLLECTION_ID_BYTES || get_be64(k.mv_data) != collection;
        if (*end || is_full(p))
            break;
        if ((said = pass_record(p, x, bytes_of_val(k), bytes_of_val(v))) == 0)
            rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    *end |= rc == MDB_NOTFOUND;
    mdb_cursor_close(cursor);
    if (said != 0 || rc == 0 || rc == MDB_NOTFOUND)
        return said;
    return state_lmdb_error(p->e, p->s->env, rc, "build an index");
}

static int build(struct step *p, struct index *x)
{
    struct collection_row row;
    bool end = false;
    int rc = row_get_collection(&p->t, index_collection(x), &row, p->e);
    if (rc == 0)
        rc = pass_records(p, x, row.id, &end);
    else if (rc == ERR_NOT_FOUND)
        end = (rc = 0) == 0;
    if (rc != 0)
        return p->waits && rc == ERR_INTEGRITY ? 0 : rc;
    if (end) {
        x->status = INDEX_READY;
        x->place_bytes = 0;
        x->changed = true;
    }
    return 0;
}

/* ---- dropping ---- */

static int next_row(const struct step *p, uint64_t id, uint8_t out[INDEX_ROW_KEY_MAX_BYTES],
                    struct bytes *key)
{
    MDB_cursor *cursor;
    uint8_t start[8];
    put_be64(start, id);
    MDB_val k = {sizeof start, start}, v;
    int rc = mdb_cursor_open(p->t.txn, p->t.dbi[DB_INDEX], &cursor);
    if (rc == 0) {
        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
        if (rc == 0 && (k.mv_size < 8 || get_be64(k.mv_data) != id))
            rc = MDB_NOTFOUND;
        if (rc == 0) {
            memcpy(out, k.mv_data, k.mv_size);
            *key = bytes_of(out, k.mv_size);
        }
        mdb_cursor_close(cursor);
    }
    if (rc == MDB_NOTFOUND)
        return ERR_NOT_FOUND;
    return rc == 0 ? 0 : state_lmdb_error(p->e, p->s->env, rc, "drop an index");
}

static int drop_rows(struct step *p, struct index *x)
{
    uint8_t buffer[INDEX_ROW_KEY_MAX_BYTES];
    struct bytes key = {buffer, 0};
    int rc = 0;
    while (rc == 0 && !is_full(p) && (rc = next_row(p, x->id, buffer, &key)) == 0) {
        p->work++;
        if (x->rows != 0)
            x->rows--;
        rc = row_delete(&p->t, DB_INDEX, key, p->e);
    }
    x->changed = true;
    x->gone = rc == ERR_NOT_FOUND;
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* ---- a step ---- */

/* Builds first: an index that is waited for before one that nobody reads. */
static int work(struct step *p)
{
    struct catalog *c = &p->s->catalog;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < c->n && !is_full(p); i++)
        if (c->v[i].status == INDEX_BUILDING)
            rc = build(p, &c->v[i]);
    if (rc == 0)
        rc = index_write(p->g, c, &p->t, p->e);
    for (size_t i = 0; rc == 0 && i < c->n && !is_full(p); i++)
        if (c->v[i].status == INDEX_DROPPING)
            rc = drop_rows(p, &c->v[i]);
    return rc != 0 ? rc : index_save(p->s, &p->t, p->e);
}

static bool any_work(const struct catalog *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->v[i].status != INDEX_READY)
            return true;
    return false;
}

static bool any_changed(const struct catalog *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->v[i].changed)
            return true;
    return false;
}

/* Commit what was done in the transaction, unless it is nothing. */
static int finish(struct state *s, struct state_txn *t, int rc, struct index_gather *g,
                  struct err *e)
{
    struct state_row row = s->row;
    if (rc == 0 && !any_changed(&s->catalog)) {
        mdb_txn_abort(t->txn);
        return 0;
    }
    if (rc == 0)
        rc = state_write_commit(s, t, &row, e);
    else
        mdb_txn_abort(t->txn);
    if (rc == 0)
        index_committed(s, g);
    else
        index_dropped(s, g);
    return rc;
}

int state_index_step(struct state *s, size_t max_work, const struct finding_sink *sink,
                     struct err *e)
{
    struct err own = ERR_NONE;
    struct step p = {.s = s, .sink = sink, .e = e == NULL ? &own : e};
    check(!s->building);
    p.max_work = max_work == 0                ? 1
                 : max_work < STATE_BATCH_OPS ? max_work
                                              : (size_t)STATE_BATCH_OPS;
    if (!s->catalog_is_stale && !any_work(&s->catalog))
        return ERR_NOT_FOUND;
    if (s->index_gather == NULL && (s->index_gather = calloc(1, sizeof *s->index_gather)) == NULL)
        return err_set(p.e, ERR_NO_MEMORY, "index: out of memory");
    p.g = s->index_gather;
    int rc = state_write_begin(s, &p.t, p.e);
    if (rc != 0)
        return rc;
    if ((rc = index_refresh(s, &p.t, p.e)) == 0)
        rc = work(&p);
    if ((rc = finish(s, &p.t, rc, p.g, p.e)) != 0)
        return err_wrap(p.e, "indexes at lsn %llu", (unsigned long long)s->row.at.lsn.v), rc;
    if (p.work == 0 && p.waits)
        return ERR_INTEGRITY;
    return any_work(&s->catalog) ? 0 : ERR_NOT_FOUND;
}

uint64_t state_index_of_row(struct bytes database, struct bytes row_key)
{
    if (row_key.n < 8)
        return 0;
    if (bytes_equal(database, bytes_str(state_db_name(DB_INDEX))))
        return get_be64(row_key.p);
    if (bytes_equal(database, bytes_str(state_db_name(DB_INDEXES))))
        return get_be64(row_key.p + row_key.n - 8);
    return 0;
}

int state_index_rebuild(struct state *s, uint64_t id, struct err *e)
{
    struct state_txn t;
    struct index *x = NULL;
    struct index_gather g = {.n = 0};
    int rc = state_write_begin(s, &t, e);
    if (rc != 0)
        return rc;
    rc = index_refresh(s, &t, e);
    if (rc == 0)
        x = catalog_of_id(&s->catalog, id);
    if (rc == 0 && (x == NULL || !index_is_live(x)))
        rc = err_set(e, ERR_NOT_FOUND, "the row belongs to no index any more");
    if (rc == 0) {
        index_distrust(&g, x, "a damaged row was found");
        rc = index_save(s, &t, e);
    }
    rc = finish(s, &t, rc, &g, e);
    index_gather_free(&g);
    return rc;
}
