/* Snapshots and single look-ups.
 *
 * A snapshot is an LMDB read transaction; closed ones are kept (state_pool.c). Opening one that is not warm renews it and, when
 * something was committed since it was used last, reads the state row, so that the position it tells is the one that it sees. */
#include "store/io/state_internal.h"

#include "store/core/check.h"

/* What the snapshot knows of the state that it is of. Between two batches it is the one that it saw last: then it knows
 * already, which is most of the cost of opening one for a single read. */
static int look_around(struct state_snapshot *snap, struct err *e)
{
    const size_t id = mdb_txn_id(snap->t.txn);
    if (snap->known && snap->txn_id == id)
        return 0;
    snap->known = false;
    snap->name_bytes = 0;
    snap->txn_id = id;
    int rc = row_get_state(&snap->t, &snap->row, e);
    snap->known = rc == 0;
    return rc == 0 ? 0 : err_wrap(e, "snapshot");
}

int state_snapshot_open(struct state *s, struct state_snapshot **out, struct err *e)
{
    struct state_snapshot *snap;
    *out = NULL;
    int rc = state_pool_take(s, &snap, e);
    if (rc != 0)
        return rc;
    snap->history_reads = 0;
    if (snap->warm) {
        *out = snap;
        return 0;
    }
    if (snap->t.txn == NULL)
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &snap->t.txn);
    else
        rc = mdb_txn_renew(snap->t.txn);
    if (rc != 0) {
        rc = state_lmdb_error(e, s->env, rc, "snapshot");
    } else if ((rc = look_around(snap, e)) != 0) {
        mdb_txn_reset(snap->t.txn);
    } else {
        snap->warm = true;
        *out = snap;
    }
    if (rc != 0)
        state_pool_give(snap);
    return rc;
}

void state_snapshot_close(struct state_snapshot *snap)
{
    if (snap == NULL)
        return;
    check(snap->scans == 0);
    state_pool_give(snap);
}

struct entry_position state_snapshot_position(const struct state_snapshot *snap)
{
    return snap->row.at;
}

uint64_t state_snapshot_number(const struct state_snapshot *snap)
{
    return snap->txn_id;
}

/* ---- records ---- */

/* ERR_NOT_FOUND also when it has no records now and the past is not asked for. */
static int collection_id(struct state_snapshot *snap, struct bytes name, bool past, uint64_t *id,
                         struct err *e)
{
    if (snap->name_bytes == 0 || !bytes_equal(name, bytes_of(snap->name, snap->name_bytes))) {
        struct collection_row row;
        int rc = row_get_collection(&snap->t, name, &row, e);
        if (rc != 0)
            return rc;
        memcpy(snap->name, name.p, name.n);
        snap->name_bytes = name.n;
        snap->id = row.id;
        snap->empty = row.records == 0;
    }
    *id = snap->id;
    return snap->empty && !past ? ERR_NOT_FOUND : 0;
}

/* The record's row as of `as_of`, which is before the snapshot. */
static int get_past(struct state_snapshot *snap, struct bytes row_key, MDB_val *row,
                    struct lsn as_of, struct record *out, struct err *e)
{
    struct deleted_row gone;
    struct digest digest;
    int rc;
    if (row != NULL) {
        rc = row_read_record(row_key, bytes_of_val(*row), true, out, &digest, e);
        return rc != 0 || out->lsn.v <= as_of.v ? rc
                                                : past_find(snap, row_key, out->lsn, as_of, out, e);
    }
    rc = row_get_deleted(&snap->t, row_key, &gone, e);
    if (rc != 0)
        return rc;
    return gone.lsn.v <= as_of.v ? ERR_NOT_FOUND
                                 : past_find(snap, row_key, gone.lsn, as_of, out, e);
}

int state_get_as_of(struct state_snapshot *snap, struct as_of as_of, struct bytes collection,
                    struct bytes key, struct record *out, struct err *e)
{
    struct lsn lsn;
    int rc = state_as_of(snap, as_of, &lsn, e);
    if (rc != 0)
        return rc;
    if (lsn.v == snap->row.at.lsn.v)
        return state_get(snap, collection, key, out, e);
    if (collection.n == 0 || collection.n > COLLECTION_MAX_BYTES || key.n == 0 ||
        key.n > KEY_MAX_BYTES)
        return err_set(e, ERR_NOT_FOUND, "there is no such record");
    uint64_t id;
    if ((rc = collection_id(snap, collection, true, &id, e)) != 0)
        return rc == ERR_NOT_FOUND ? err_set(e, rc, "there was no such collection") : rc;
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    struct bytes row_key = row_record_key(id, key, buffer);
    MDB_val k = val_of(row_key), v;
    rc = mdb_get(snap->t.txn, snap->t.dbi[DB_RECORDS], &k, &v);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return state_lmdb_error(e, snap->state->env, rc, "get");
    struct err why = ERR_NONE;
    rc = get_past(snap, row_key, rc == 0 ? &v : NULL, lsn, out, &why);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, rc, "there was no such record");
    if (rc == ERR_INTEGRITY || rc == ERR_FORMAT)
        return state_record_damaged(e, collection, key, &why);
    if (rc != 0)
        return err_set(e, rc, "%s", why.text);
    out->collection = collection;
    out->key = key;
    return 0;
}

int state_get(struct state_snapshot *snap, struct bytes collection, struct bytes key,
              struct record *out, struct err *e)
{
    /* Names and keys that no record can have. */
    if (collection.n == 0 || collection.n > COLLECTION_MAX_BYTES || key.n == 0 ||
        key.n > KEY_MAX_BYTES)
        return err_set(e, ERR_NOT_FOUND, "there is no such record");
    uint64_t id;
    int rc = collection_id(snap, collection, false, &id, e);
    if (rc != 0)
        return rc == ERR_NOT_FOUND ? err_set(e, rc, "there is no such collection") : rc;
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    struct bytes row_key = row_record_key(id, key, buffer);
    MDB_val k = val_of(row_key), v;
    rc = mdb_get(snap->t.txn, snap->t.dbi[DB_RECORDS], &k, &v);
    if (rc == MDB_NOTFOUND)
        return err_set(e, ERR_NOT_FOUND, "there is no such record");
    if (rc != 0)
        return state_lmdb_error(e, snap->state->env, rc, "get");
    struct digest digest;
    struct err why;
    err_init(&why);
    if (row_read_record(row_key, bytes_of_val(v), true, out, &digest, &why) != 0)
        return state_record_damaged(e, collection, key, &why);
    out->collection = collection;
    out->key = key;
    return 0;
}

/* ---- the other tables ---- */

/* Walk a database from its start; the callback's non-zero result stops. */
static int each_row(struct state_snapshot *snap, enum state_db db,
                    int (*row)(void *ctx, struct bytes key, struct bytes row, struct err *e),
                    void *ctx, struct err *e)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(snap->t.txn, snap->t.dbi[db], &cursor);
    if (rc != 0)
        return state_lmdb_error(e, snap->state->env, rc, state_db_name(db));
    MDB_val k, v;
    int result = 0;
    while (result == 0 && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
        result = row(ctx, bytes_of_val(k), bytes_of_val(v), e);
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return state_lmdb_error(e, snap->state->env, rc, state_db_name(db));
    return result;
}

/* The caller's callback and its argument, one kind at a time. */
struct visitor {
    int (*collection)(void *, const struct collection_info *);
    int (*point)(void *, const struct restore_point *);
    int (*session)(void *, const struct uuid *, const struct session_info *);
    int (*result)(void *, const struct uuid *, uint64_t, const struct entry_position *);
    void *arg;
};

static int visit_collection(void *ctx, struct bytes key, struct bytes row, struct err *e)
{
    const struct visitor *v = ctx;
    struct collection_row c;
    int rc = row_read_collection(key, row, &c, e);
    if (rc != 0 || c.records == 0) /* only its past is left */
        return rc;
    return v->collection(v->arg, &(struct collection_info){key, c.records, c.digest});
}

static int visit_point(void *ctx, struct bytes key, struct bytes row, struct err *e)
{
    const struct visitor *v = ctx;
    struct restore_point p;
    int rc = row_read_point(key, row, &p, e);
    return rc != 0 ? rc : v->point(v->arg, &p);
}

static int visit_session(void *ctx, struct bytes key, struct bytes row, struct err *e)
{
    const struct visitor *v = ctx;
    struct session_row s;
    int rc = row_read_session(key, row, &s, e);
    if (rc != 0)
        return rc;
    struct uuid id;
    memcpy(id.b, key.p, sizeof id.b);
    return v->session(v->arg, &id, &s.info);
}

static int visit_result(void *ctx, struct bytes key, struct bytes row, struct err *e)
{
    const struct visitor *v = ctx;
    struct entry_position at;
    int rc = row_read_result(key, row, &at, e);
    if (rc != 0)
        return rc;
    struct uuid id;
    memcpy(id.b, key.p, sizeof id.b);
    return v->result(v->arg, &id, get_be64(key.p + sizeof id.b), &at);
}

int state_collections(struct state_snapshot *snap,
                      int (*each)(void *arg, const struct collection_info *), void *arg,
                      struct err *e)
{
    return each_row(snap, DB_COLLECTIONS, visit_collection,
                    &(struct visitor){.collection = each, .arg = arg}, e);
}

int state_restore_points(struct state_snapshot *snap,
                         int (*each)(void *arg, const struct restore_point *), void *arg,
                         struct err *e)
{
    return each_row(snap, DB_POINTS, visit_point, &(struct visitor){.point = each, .arg = arg}, e);
}

int state_sessions(struct state_snapshot *snap,
                   int (*each)(void *arg, const struct uuid *, const struct session_info *),
                   void *arg, struct err *e)
{
    return each_row(snap, DB_SESSIONS, visit_session,
                    &(struct visitor){.session = each, .arg = arg}, e);
}

int state_results(struct state_snapshot *snap,
                  int (*each)(void *arg, const struct uuid *, uint64_t,
                              const struct entry_position *),
                  void *arg, struct err *e)
{
    return each_row(snap, DB_RESULTS, visit_result, &(struct visitor){.result = each, .arg = arg},
                    e);
}

int state_restore_point(struct state_snapshot *snap, struct bytes name, struct restore_point *out,
                        struct err *e)
{
    if (name.n == 0 || name.n > POINT_NAME_MAX_BYTES)
        return err_set(e, ERR_NOT_FOUND, "there is no such restore point");
    return row_get_point(&snap->t, name, out, e);
}

int state_session(struct state_snapshot *snap, const struct uuid *session, struct session_info *out,
                  struct err *e)
{
    struct session_row row;
    int rc = row_get_session(&snap->t, session, &row, e);
    if (rc == 0)
        *out = row.info;
    return rc;
}

int state_result(struct state_snapshot *snap, const struct uuid *session, uint64_t sequence,
                 struct entry_position *out, struct err *e)
{
    return row_get_result(&snap->t, session, sequence, out, e);
}

int state_newest_result(struct state_snapshot *snap, const struct uuid *session, uint64_t *sequence,
                        struct err *e)
{
    return row_newest_result(&snap->t, session, sequence, e);
}

int state_totals(struct state_snapshot *snap, struct state_totals *out, struct err *e)
{
    (void)e;
    *out = (struct state_totals){snap->row.records, snap->row.collections, snap->row.digest,
                                 snap->row.mode};
    return 0;
}
