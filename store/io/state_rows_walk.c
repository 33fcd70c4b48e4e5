/* Looking at the rows beside the records, some at a time: their checksums and formats. Each step has a snapshot of its own, so
 * what is changed while the walk goes on is seen or not; what stays is seen once. */
#include "store/io/state_index.h"

#include "store/core/check.h"
#include "store/finding.h"

_Static_assert(sizeof((struct state_rows_walk *)0)->key >= RECORD_KEY_MAX_BYTES, "any key fits");

static int read_row(enum state_db db, struct bytes key, struct bytes row, struct err *e)
{
    struct state_row state;
    struct collection_row collection;
    struct session_row session;
    struct entry_position at;
    struct restore_point point;
    struct digest digest;
    struct lsn since;
    struct index index;
    struct index_row index_row;
    uint32_t bucket;
    switch (db) {
    case DB_META:
        return row_is_doubt(key) ? row_read_doubt(key, row, &since, e)
                                 : row_read_state(key, row, &state, e);
    case DB_COLLECTIONS:
        return row_read_collection(key, row, &collection, e);
    case DB_BUCKETS:
        return row_read_bucket(key, row, &bucket, &digest, e);
    case DB_SESSIONS:
        return row_read_session(key, row, &session, e);
    case DB_RESULTS:
        return row_read_result(key, row, &at, e);
    case DB_POINTS:
        return row_read_point(key, row, &point, e);
    case DB_INDEXES:
        return row_read_catalog(key, row, &index, e);
    case DB_INDEX:
        return row_read_index(key, row, &index_row, e);
    case DB_RECORDS: /* state_recount.c */
    case DB_DELETED: /* state_past.c, as the next */
    case DB_HISTORY:
    case DB_COUNT:
        break;
    }
    return 0;
}

static void look_at(enum state_db db, MDB_val k, MDB_val v, const struct finding_sink *sink)
{
    struct err why = ERR_NONE;
    if (read_row(db, bytes_of_val(k), bytes_of_val(v), &why) == 0)
        return;
    sink->found(sink->arg, &(struct finding){.kind = FINDING_ROW,
                                             .file = "data.mdb",
                                             .collection = bytes_str(state_db_name(db)),
                                             .key = bytes_of_val(k),
                                             .text = why.text});
}

/* Of one database. MDB_NOTFOUND at its end. */
static int walk_some(struct state_rows_walk *w, MDB_cursor *cursor, size_t max_bytes,
                     const struct finding_sink *sink, size_t *bytes)
{
    uint8_t start[sizeof w->key];
    memcpy(start, w->key, w->key_bytes);
    MDB_val k = {w->key_bytes, start}, v;
    int rc = mdb_cursor_get(cursor, &k, &v, w->key_bytes == 0 ? MDB_FIRST : MDB_SET_RANGE);
    if (rc == 0 && w->key_bytes != 0 &&
        bytes_equal(bytes_of_val(k), bytes_of(w->key, w->key_bytes)))
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    for (; rc == 0 && *bytes < max_bytes; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        look_at((enum state_db)w->db, k, v, sink);
        w->key_bytes = k.mv_size < sizeof w->key ? k.mv_size : sizeof w->key;
        memcpy(w->key, k.mv_data, w->key_bytes);
        *bytes += k.mv_size + v.mv_size;
    }
    return rc;
}

int state_rows_step(struct state_snapshot *snap, struct state_rows_walk *w, size_t max_bytes,
                    const struct finding_sink *sink, size_t *bytes, struct err *e)
{
    *bytes = 0;
    if (w->db == DB_RECORDS)
        w->db++;
    if (w->db == DB_DELETED)
        w->db = DB_INDEXES;
    if (w->db >= DB_COUNT)
        return err_set(e, ERR_NOT_FOUND, "all rows were looked at");
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(snap->t.txn, snap->t.dbi[w->db], &cursor);
    if (rc != 0)
        return state_lmdb_error(e, snap->state->env, rc, state_db_name((enum state_db)w->db));
    rc = walk_some(w, cursor, max_bytes, sink, bytes);
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND) {
        w->db++;
        w->key_bytes = 0;
        return 0;
    }
    return rc == 0 ? 0
                   : state_lmdb_error(e, snap->state->env, rc, state_db_name((enum state_db)w->db));
}
