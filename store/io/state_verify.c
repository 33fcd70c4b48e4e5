/* Counting the digest again, from every record.
 *
 * What is compared: each record's checksum and kept digest; number and digest of each collection; each bucket; the totals; and
 * that no record belongs to no collection. So damage is named as narrowly as it can be. Of the past: each row's checksum, that
 * deleted records are not there and have their change in the history, and that all chains are whole. Of indexes:
 * state_index_verify.c. */
#include "store/io/state_index.h"

#include "store/core/check.h"

struct recount {
    struct state_snapshot *snap;
    uint64_t records, collections;
    struct digest digest;
    struct digest bucket[DIGEST_BUCKETS];
    struct past_sum past;
};

static const char advice[] =
    "; this site must not be promoted: rebuild its state from the repository";

static int compare(struct digest counted, struct digest kept, const char *what, struct err *e)
{
    if (digest_equal(counted, kept))
        return 0;
    char a[DIGEST_HEX_BYTES], b[DIGEST_HEX_BYTES];
    digest_hex(counted, a);
    digest_hex(kept, b);
    return err_set(e, ERR_INTEGRITY, "%s: the records give digest %s, kept is %s%s", what, a, b,
                   advice);
}

static int recount_record(struct recount *c, const struct record *r, struct digest kept,
                          struct err *e)
{
    struct digest d = digest_record(r->collection, r->key, r->lsn, r->value);
    if (!digest_equal(d, kept))
        return state_record_damaged(e, r->collection, r->key,
                                    &(struct err){0, "its kept digest is not its own"});
    uint32_t bucket = digest_bucket(r->collection, r->key);
    c->bucket[bucket] = digest_add(c->bucket[bucket], d);
    c->digest = digest_add(c->digest, d);
    c->records++;
    return 0;
}

/* All records with the collection's id. */
static int recount_collection(struct recount *c, MDB_cursor *cursor, struct bytes name, uint64_t id,
                              struct err *e)
{
    uint8_t start[COLLECTION_ID_BYTES];
    put_be64(start, id);
    MDB_val k = {sizeof start, start}, v;
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && k.mv_size >= COLLECTION_ID_BYTES && get_be64(k.mv_data) == id) {
        struct bytes key = bytes_of_val(k);
        struct record r = {.collection = name};
        struct digest kept;
        struct err why = ERR_NONE;
        if (row_read_record(key, bytes_of_val(v), true, &r, &kept, &why) != 0)
            return state_record_damaged(
                e, name, bytes_of(key.p + COLLECTION_ID_BYTES, key.n - COLLECTION_ID_BYTES), &why);
        if ((rc = recount_record(c, &r, kept, e)) != 0)
            return rc;
        past_sum_newest(&c->past, r.lsn, key);
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    return rc == 0 || rc == MDB_NOTFOUND ? 0
                                         : state_lmdb_error(e, c->snap->state->env, rc, "verify");
}

static int verify_collection(struct recount *c, const struct collection_info *info, struct err *e)
{
    char what[ROW_QUOTE_BYTES + 32], name[ROW_QUOTE_BYTES];
    (void)snprintf(what, sizeof what, "collection '%s'", row_quote(info->name, name));
    struct collection_row row;
    MDB_cursor *cursor;
    int rc = row_get_collection(&c->snap->t, info->name, &row, e);
    if (rc != 0)
        return rc;
    if ((rc = mdb_cursor_open(c->snap->t.txn, c->snap->t.dbi[DB_RECORDS], &cursor)) != 0)
        return state_lmdb_error(e, c->snap->state->env, rc, "verify");
    uint64_t records = c->records;
    struct digest digest = c->digest;
    rc = recount_collection(c, cursor, info->name, row.id, e);
    mdb_cursor_close(cursor);
    if (rc != 0)
        return rc;
    c->collections++;
    records = c->records - records;
    if (records != info->records || records == 0)
        return err_set(e, ERR_INTEGRITY, "%s has %llu records, its row says %llu%s", what,
                       (unsigned long long)records, (unsigned long long)info->records, advice);
    return compare(digest_sub(c->digest, digest), info->digest, what, e);
}

struct walk {
    struct recount *count;
    struct err *e;
};

static int verify_next(void *arg, const struct collection_info *info)
{
    struct walk *w = arg;
    return verify_collection(w->count, info, w->e);
}

static int verify_totals(struct recount *c, struct err *e)
{
    const struct state_row *row = &c->snap->row;
    MDB_stat st;
    int rc = mdb_stat(c->snap->t.txn, c->snap->t.dbi[DB_RECORDS], &st);
    if (rc != 0)
        return state_lmdb_error(e, c->snap->state->env, rc, "verify");
    if (c->records != st.ms_entries || c->records != row->records ||
        c->collections != row->collections)
        return err_set(
            e, ERR_INTEGRITY,
            "%llu records in %llu collections, kept are %llu in %llu, and LMDB holds %llu%s",
            (unsigned long long)c->records, (unsigned long long)c->collections,
            (unsigned long long)row->records, (unsigned long long)row->collections,
            (unsigned long long)st.ms_entries, advice);
    for (uint32_t i = 0; i < DIGEST_BUCKETS; i++) {
        struct digest kept;
        char what[32];
        (void)snprintf(what, sizeof what, "bucket %u", i);
        if ((rc = row_get_bucket(&c->snap->t, i, &kept, e)) != 0 ||
            (rc = compare(c->bucket[i], kept, what, e)) != 0)
            return rc;
    }
    return compare(c->digest, row->digest, "all records", e);
}

/* ---- the past ---- */

/* The rows of `deleted` of one collection, which come one after the other. */
struct gone {
    uint64_t id, rows;
    struct bytes name; /* LMDB's memory, as long as the snapshot */
};

static int verify_gone(const struct recount *c, const struct gone *g, struct err *e)
{
    char name[ROW_QUOTE_BYTES];
    struct collection_row row;
    if (g->rows == 0)
        return 0;
    int rc = row_get_collection(&c->snap->t, g->name, &row, e);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    if (rc == ERR_NOT_FOUND || row.id != g->id || row.deleted != g->rows)
        return err_set(e, ERR_INTEGRITY,
                       "collection '%s' has %llu deleted records in the window, and its row does "
                       "not say so%s",
                       row_quote(g->name, name), (unsigned long long)g->rows, advice);
    return 0;
}

static int verify_deleted_row(struct recount *c, struct bytes key, const struct deleted_row *row,
                              struct err *e)
{
    const struct state_txn *t = &c->snap->t;
    struct history_row h;
    MDB_val k = val_of(key), v;
    past_sum_newest(&c->past, row->lsn, key);
    int rc = mdb_get(t->txn, t->dbi[DB_RECORDS], &k, &v);
    struct err why = {0, "it is there and also among the deleted ones"};
    if (rc == MDB_NOTFOUND) {
        rc = row_get_history(t, row->lsn, key, &h, &why);
        if (rc == 0 && (h.flags & HISTORY_IS_DELETE) != 0)
            return 0;
        if (rc == 0 || rc == ERR_NOT_FOUND)
            err_set(&why, ERR_INTEGRITY, "its deletion is missing in the history");
    } else if (rc != 0) {
        return state_lmdb_error(e, c->snap->state->env, rc, "verify");
    }
    return state_record_damaged(e, row->collection,
                                bytes_of(key.p + COLLECTION_ID_BYTES, key.n - COLLECTION_ID_BYTES),
                                &why);
}

static int verify_deleted(struct recount *c, MDB_cursor *cursor, uint64_t *rows, struct err *e)
{
    struct gone g = {.rows = 0};
    MDB_val k, v;
    int rc, found;
    while ((found = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        const struct bytes key = bytes_of_val(k);
        struct deleted_row row;
        if ((rc = row_read_deleted(key, bytes_of_val(v), &row, e)) != 0)
            return rc;
        if (g.rows != 0 && g.id != get_be64(key.p)) {
            if ((rc = verify_gone(c, &g, e)) != 0)
                return rc;
            g.rows = 0;
        }
        g = (struct gone){get_be64(key.p), g.rows + 1, row.collection};
        ++*rows;
        if ((rc = verify_deleted_row(c, key, &row, e)) != 0)
            return rc;
    }
    return found == MDB_NOTFOUND ? verify_gone(c, &g, e)
                                 : state_lmdb_error(e, c->snap->state->env, found, "verify");
}

static int verify_history(struct recount *c, MDB_cursor *cursor, struct err *e)
{
    MDB_val k, v;
    int found;
    while ((found = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct history_row row;
        const struct bytes key = bytes_of_val(k);
        int rc = row_read_history(key, bytes_of_val(v), &row, e);
        if (rc != 0)
            return rc;
        past_sum_row(&c->past, &row, bytes_of(key.p + 8, key.n - 8));
    }
    return found == MDB_NOTFOUND ? 0 : state_lmdb_error(e, c->snap->state->env, found, "verify");
}

/* A collection of which only deleted records are left has a row for them. */
static int count_deleted(const struct recount *c, MDB_cursor *cursor, uint64_t *deleted,
                         struct err *e)
{
    MDB_val k, v;
    int found;
    while ((found = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct collection_row row;
        int rc = row_read_collection(bytes_of_val(k), bytes_of_val(v), &row, e);
        if (rc != 0)
            return rc;
        *deleted += row.deleted;
    }
    return found == MDB_NOTFOUND ? 0 : state_lmdb_error(e, c->snap->state->env, found, "verify");
}

static int verify_past(struct recount *c, struct err *e)
{
    const struct state_txn *t = &c->snap->t;
    const struct state_row *row = &c->snap->row;
    static const enum state_db dbs[] = {DB_COLLECTIONS, DB_DELETED, DB_HISTORY};
    uint64_t kept = 0, deleted = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof dbs / sizeof dbs[0]; i++) {
        MDB_cursor *cursor;
        if ((rc = mdb_cursor_open(t->txn, t->dbi[dbs[i]], &cursor)) != 0)
            return state_lmdb_error(e, c->snap->state->env, rc, "verify");
        rc = dbs[i] == DB_COLLECTIONS ? count_deleted(c, cursor, &kept, e)
             : dbs[i] == DB_DELETED   ? verify_deleted(c, cursor, &deleted, e)
                                      : verify_history(c, cursor, e);
        mdb_cursor_close(cursor);
    }
    if (rc != 0)
        return rc;
    if (kept != deleted || c->past.count != row->history_rows ||
        c->past.bytes != row->history_bytes)
        return err_set(e, ERR_INTEGRITY,
                       "the history has %llu rows of %llu bytes and %llu deleted records, kept are "
                       "%llu, %llu and %llu%s",
                       (unsigned long long)c->past.count, (unsigned long long)c->past.bytes,
                       (unsigned long long)deleted, (unsigned long long)row->history_rows,
                       (unsigned long long)row->history_bytes, (unsigned long long)kept, advice);
    if (!past_sum_is_whole(&c->past))
        return err_set(e, ERR_INTEGRITY, "a version of a record is missing in the history%s",
                       advice);
    return 0;
}

int state_verify(struct state_snapshot *snap, struct err *e)
{
    struct recount *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "verify: out of memory");
    c->snap = snap;
    c->past.from = snap->row.history_from;
    int rc = state_collections(snap, verify_next, &(struct walk){c, e}, e);
    if (rc == 0)
        rc = verify_totals(c, e);
    if (rc == 0)
        rc = verify_past(c, e);
    if (rc == 0)
        rc = index_verify(snap, e);
    free(c);
    if (rc != 0)
        err_wrap(e, "verify at lsn %llu", (unsigned long long)snap->row.at.lsn.v);
    return rc;
}
