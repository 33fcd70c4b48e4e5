/* Counting the digest again, from every record.
 *
 * What is compared: each record's checksum and kept digest; number and digest of each collection; each bucket; the
 * totals; and that no record belongs to no collection. So damage is named as narrowly as it can be. */
#include "store/io/state_internal.h"

#include "store/core/check.h"

struct recount {
    struct state_snapshot *snap;
    uint64_t records, collections;
    struct digest digest;
    struct digest bucket[DIGEST_BUCKETS];
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

int state_verify(struct state_snapshot *snap, struct err *e)
{
    struct recount *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "verify: out of memory");
    c->snap = snap;
    int rc = state_collections(snap, verify_next, &(struct walk){c, e}, e);
    if (rc == 0)
        rc = verify_totals(c, e);
    free(c);
    if (rc != 0)
        err_wrap(e, "verify at lsn %llu", (unsigned long long)snap->row.at.lsn.v);
    return rc;
}
