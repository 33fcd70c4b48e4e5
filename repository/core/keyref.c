#include "repository/core/keyref.h"

int repo_keyref_compare(const struct repo_keyref *a, const struct repo_keyref *b)
{
    int c = bytes_compare(a->collection, b->collection);
    if (c == 0)
        c = bytes_compare(a->key, b->key);
    return c != 0 ? c : (a->lsn.v > b->lsn.v) - (a->lsn.v < b->lsn.v);
}

bool repo_keyref_same_record(const struct repo_keyref *a, const struct repo_keyref *b)
{
    return bytes_equal(a->key, b->key) && bytes_equal(a->collection, b->collection);
}

void repo_keyref_write(struct writer *w, const struct repo_keyref *r)
{
    write_bytes16(w, r->collection);
    write_bytes16(w, r->key);
    write_u64(w, r->lsn.v);
}

int repo_keyref_read(struct reader *r, struct repo_keyref *out, struct err *e)
{
    size_t at = r->at;
    out->collection = read_bytes16(r);
    out->key = read_bytes16(r);
    out->lsn.v = read_u64(r);
    if (!r->bad && out->lsn.v != 0 && out->collection.n != 0 &&
        out->collection.n <= COLLECTION_MAX_BYTES && out->key.n != 0 && out->key.n <= KEY_MAX_BYTES)
        return 0;
    return err_set(e, ERR_FORMAT, "byte %zu: no reference from a record to an entry", at);
}

struct digest repo_keyref_digest(const struct repo_keyref *r)
{
    return digest_record(r->collection, r->key, r->lsn, (struct bytes){NULL, 0});
}

int repo_keyrefs_of(const struct entry_view *v, int (*each)(void *arg, const struct repo_keyref *),
                    void *arg, struct err *e)
{
    struct body_txn txn;
    struct op op;
    if (v->header.kind != ENTRY_TXN)
        return 0;
    int rc = body_read_txn(bytes_of(v->body, v->header.body_bytes), &txn, e);
    struct reader ops = txn.ops;
    for (uint32_t i = 0; rc == 0 && i < txn.op_count; i++) {
        rc = body_next_op(&ops, &op, e);
        if (rc == 0)
            rc = each(arg, &(struct repo_keyref){op.collection, op.key, v->header.lsn});
    }
    return rc;
}
