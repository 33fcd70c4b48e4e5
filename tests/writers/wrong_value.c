/* Changes the value of one record of a stopped site's state so that nothing at that site can notice: checksum, digest and all
 * sums are right, and a checkpoint holds it. What a bug, or a hand, could do; only comparing sites shows it (P9).
 *
 * Usage: wrong_value STATE-DIRECTORY COLLECTION KEY VALUE */
#include "store/io/state_internal.h"

#include <stdio.h>

static int put_collection(struct state *s, const struct state_txn *t, struct bytes name,
                          struct digest change, struct err *e)
{
    struct collection_row row;
    (void)s;
    int rc = row_get_collection(t, name, &row, e);
    row.digest = digest_add(row.digest, change);
    return rc != 0 ? rc : row_put_collection(t, name, &row, e);
}

static int put_bucket(const struct state_txn *t, uint32_t bucket, struct digest change,
                      struct err *e)
{
    struct digest d;
    int rc = row_get_bucket(t, bucket, &d, e);
    return rc != 0 ? rc : row_put_bucket(t, bucket, digest_add(d, change), 0, e);
}

static int change(struct state *s, struct record *r, struct bytes value, struct err *e)
{
    struct state_txn t;
    struct collection_row collection;
    uint8_t buffer[RECORD_KEY_MAX_BYTES], *row = malloc(RECORD_ROW_BYTES + value.n);
    int rc = row == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory") : state_write_begin(s, &t, e);
    if (rc == 0)
        rc = row_get_collection(&t, r->collection, &collection, e);
    if (rc != 0)
        return rc;
    const struct bytes key = row_record_key(collection.id, r->key, buffer);
    const struct digest old = digest_record(r->collection, r->key, r->lsn, r->value),
                        new = digest_record(r->collection, r->key, r->lsn, value),
                        diff = digest_sub(new, old);
    r->value = value;
    row_write_record(key, r, new, row);
    MDB_val k = val_of(key), v = {RECORD_ROW_BYTES + value.n, row};
    if (mdb_put(t.txn, t.dbi[DB_RECORDS], &k, &v, 0) != 0)
        rc = err_set(e, ERR_FAILED, "mdb_put");
    if (rc == 0)
        rc = put_collection(s, &t, r->collection, diff, e);
    if (rc == 0)
        rc = put_bucket(&t, digest_bucket(r->collection, r->key), diff, e);
    struct state_row total = s->row;
    total.digest = digest_add(total.digest, diff);
    if (rc == 0)
        rc = state_write_commit(s, &t, &total, e);
    free(row);
    return rc;
}

int main(int argc, char **argv)
{
    struct state *s;
    struct state_snapshot *snap;
    struct record r;
    struct entry_position at;
    struct err e = ERR_NONE;
    static uint8_t kept[2][1024];
    if (argc != 5) {
        (void)fprintf(stderr, "usage: wrong_value STATE-DIRECTORY COLLECTION KEY VALUE\n");
        return 2;
    }
    int rc = state_open(&s, &(struct state_options){.dir = argv[1]}, &e);
    if (rc == 0)
        rc = state_snapshot_open(s, &snap, &e);
    if (rc == 0) {
        rc = state_get(snap, bytes_str(argv[2]), bytes_str(argv[3]), &r, &e);
        if (rc == 0 && r.value.n > sizeof kept[0])
            rc = err_set(&e, ERR_LIMIT, "the old value is too long");
        if (rc == 0) { /* it lives in the snapshot */
            memcpy(kept[0], r.value.p, r.value.n);
            r.value.p = kept[0];
            memcpy(kept[1], r.key.p, r.key.n);
            r.key.p = kept[1];
        }
        state_snapshot_close(snap);
    }
    if (rc == 0)
        rc = change(s, &r, bytes_str(argv[4]), &e);
    if (rc == 0)
        rc = state_checkpoint_begin(s, &at, &e);
    if (rc == 0)
        rc = state_checkpoint_finish(s, &e);
    if (rc != 0) {
        (void)fprintf(stderr, "wrong_value: %s\n", e.text);
        return 1;
    }
    state_close(s);
    return 0;
}
