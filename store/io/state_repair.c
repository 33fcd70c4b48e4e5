/* Making a damaged record whole again from what another site has of it.
 *
 * The other site is not believed, it is asked: what it gives must prove to be the very version that is damaged here, because by
 * then it may have another one. Any of three things proves it, each by equality of a 128-bit hash over collection, key, lsn and
 * value:
 *
 *   P1  the row's own digest is that of the record given: then it is the value, version or checksum of the row that rotted;
 *   P2  lsn and value in the row still are those given: then it is the digest, the time or the checksum that rotted;
 *   P3  the bucket's other records, counted again, and this one add up to the sum that is kept of the bucket: then the row
 *       may say whatever it says. That needs a complete count, nothing else damaged in the bucket, and sums that are not in
 *       doubt.
 *
 * The sums stay as they are: they have counted the record all along. Its rows in indexes, too; they are written again, which
 * changes nothing where they are there. */
#include "store/io/state_index.h"

static bool is_damaged(const struct record *r, struct bytes row_key, struct bytes row)
{
    struct record here;
    struct digest kept;
    return row_read_record(row_key, row, true, &here, &kept, NULL) != 0 ||
           !digest_equal(kept, digest_record(r->collection, r->key, here.lsn, here.value));
}

/* P3 */
static int missing_in_bucket(struct state *s, const struct state_txn *t, uint32_t bucket,
                             struct digest given, struct err *e)
{
    struct digest kept, healthy;
    uint32_t damaged;
    if (s->doubt.doubted)
        return err_set(e, ERR_STALE, "the sums are being counted again");
    if (!state_recount_bucket(s, bucket, &healthy, &damaged))
        return err_set(e, ERR_STALE,
                       "neither its digest nor its value is left here, and the records are not "
                       "counted yet");
    if (damaged != 1)
        return err_set(e, ERR_STALE, "%u records of its bucket are damaged", damaged);
    int rc = row_get_bucket(t, bucket, &kept, e);
    if (rc != 0)
        return rc;
    return digest_equal(digest_add(healthy, given), kept)
               ? 0
               : err_set(e, ERR_STALE, "it is another version than the one that is damaged here");
}

static int prove(struct state *s, const struct state_txn *t, const struct record *r,
                 struct bytes row, struct digest given, struct err *e)
{
    struct lsn lsn;
    struct bytes value;
    struct digest kept;
    if (row_read_rotten(row, &lsn, &value, &kept) &&
        (digest_equal(kept, given) ||                                            /* P1 */
         digest_equal(digest_record(r->collection, r->key, lsn, value), given))) /* P2 */
        return 0;
    return missing_in_bucket(s, t, digest_bucket(r->collection, r->key), given, e);
}

static int replace(struct state *s, const struct state_txn *t, const struct record *r,
                   struct bytes key, struct digest given, struct err *e)
{
    MDB_val k = val_of(key), v;
    int rc = mdb_get(t->txn, t->dbi[DB_RECORDS], &k, &v);
    if (rc == MDB_NOTFOUND)
        return err_set(e, ERR_NOT_FOUND, "it is gone");
    if (rc != 0)
        return state_lmdb_error(e, s->env, rc, "find a record");
    if (!is_damaged(r, key, bytes_of_val(v)))
        return err_set(e, ERR_NOT_FOUND, "it is not damaged any more");
    if ((rc = prove(s, t, r, bytes_of_val(v), given, e)) != 0)
        return rc;
    v = (MDB_val){RECORD_ROW_BYTES + r->value.n, NULL};
    if ((rc = mdb_put(t->txn, t->dbi[DB_RECORDS], &k, &v, MDB_RESERVE)) != 0)
        return state_lmdb_error(e, s->env, rc, "repair a record");
    row_write_record(key, r, given, v.mv_data);
    return 0;
}

static int write_rows(struct state *s, const struct state_txn *t, const struct record *r,
                      struct index_gather *g, struct err *e)
{
    int rc = index_refresh(s, t, e);
    if (rc == 0)
        rc = index_gather_value(g, &s->catalog, NULL, r->collection, r->key, r->value, true, e);
    if (rc == 0)
        rc = index_write(g, &s->catalog, t, e);
    return rc != 0 ? rc : index_save(s, t, e);
}

int state_repair_record(struct state *s, const struct record *r, struct err *e)
{
    struct state_txn t;
    struct collection_row collection;
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    struct bytes key = {buffer, 0};
    struct index_gather index = {.n = 0};
    if (r->collection.n == 0 || r->collection.n > COLLECTION_MAX_BYTES || r->key.n == 0 ||
        r->key.n > KEY_MAX_BYTES || r->value.n > VALUE_MAX_BYTES)
        return err_set(e, ERR_FORMAT, "this is no record");
    int rc = state_write_begin(s, &t, e);
    if (rc != 0)
        return rc;
    const struct digest given = digest_record(r->collection, r->key, r->lsn, r->value);
    rc = row_get_collection(&t, r->collection, &collection, e);
    if (rc == ERR_NOT_FOUND)
        rc = err_set(e, rc, "it is gone, with its collection");
    if (rc == 0) {
        key = row_record_key(collection.id, r->key, buffer);
        rc = replace(s, &t, r, key, given, e);
    }
    if (rc == 0)
        rc = write_rows(s, &t, r, &index, e);
    if (rc != 0) {
        mdb_txn_abort(t.txn);
        index_dropped(s, &index);
        index_gather_free(&index);
        return rc;
    }
    struct state_row row = s->row;
    rc = state_write_commit(s, &t, &row, e);
    if (rc == 0)
        index_committed(s, &index);
    else
        index_dropped(s, &index);
    index_gather_free(&index);
    if (rc == 0)
        state_recount_repaired(s, key, digest_bucket(r->collection, r->key), given);
    return rc;
}
