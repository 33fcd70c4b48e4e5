#include "repository/core/evidence.h"

static struct bytes body_of(const struct entry_view *v)
{
    return bytes_of(v->body, v->header.body_bytes);
}

size_t evidence_bytes(struct bytes collection, struct bytes key, const struct entry_view *v)
{
    return 4 + 2 + 2 + collection.n + 2 + key.n + ENTRY_HEADER_BYTES + (size_t)v->header.body_bytes;
}

void evidence_write(struct writer *w, struct bytes collection, struct bytes key,
                    const struct entry_view *v)
{
    write_u32(w, EVIDENCE_MAGIC);
    write_u16(w, EVIDENCE_FORMAT);
    write_bytes16(w, collection);
    write_bytes16(w, key);
    write_bytes(w, bytes_of(v->raw, ENTRY_HEADER_BYTES));
    write_bytes(w, body_of(v));
}

/* Every operation can be read. */
static int evidence_txn(const struct entry_view *v, struct body_txn *txn, struct err *e)
{
    struct op op;
    if (v->header.kind != ENTRY_TXN)
        return err_set(e, ERR_NOT_FOUND, "the entry is no transaction but of kind %s",
                       entry_kind_name(v->header.kind));
    int rc = body_read_txn(body_of(v), txn, e);
    struct reader ops = txn->ops;
    for (uint32_t i = 0; rc == 0 && i < txn->op_count; i++)
        rc = body_next_op(&ops, &op, e);
    return rc;
}

int evidence_op(const struct entry_view *v, struct bytes collection, struct bytes key,
                struct body_txn *txn, struct op *out, struct err *e)
{
    bool found = false;
    if (v->header.kind != ENTRY_TXN)
        return err_set(e, ERR_NOT_FOUND, "the entry is no transaction but of kind %s",
                       entry_kind_name(v->header.kind));
    int rc = body_read_txn(body_of(v), txn, e);
    struct reader ops = txn->ops;
    for (uint32_t i = 0; rc == 0 && i < txn->op_count; i++) {
        struct op op;
        rc = body_next_op(&ops, &op, e);
        if (rc == 0 && bytes_equal(op.key, key) && bytes_equal(op.collection, collection)) {
            *out = op;
            found = true;
        }
    }
    if (rc == 0 && !found)
        rc = err_set(e, ERR_NOT_FOUND, "the transaction does not write that record");
    return rc;
}

int evidence_read(struct bytes in, struct evidence *out, struct err *e)
{
    struct reader r = reader_of(in);
    size_t used = 0;
    uint32_t magic = read_u32(&r);
    uint16_t format = read_u16(&r);
    out->collection = read_bytes16(&r);
    out->key = read_bytes16(&r);
    if (r.bad || magic != EVIDENCE_MAGIC)
        return err_set(e, ERR_FORMAT, "the proof carries no entry of Triveni");
    if (format != EVIDENCE_FORMAT)
        return err_newer(e, "the entry of the proof", format, EVIDENCE_FORMAT);
    int rc = entry_decode(bytes_of(r.p + r.at, r.n - r.at), &out->entry, &used, e);
    if (rc == ERR_LIMIT || (rc == 0 && used != r.n - r.at))
        rc = err_set(e, ERR_FORMAT, "the entry has %zu bytes and needs %zu", r.n - r.at, used);
    out->whole = out->collection.n == 0 && out->key.n == 0;
    if (rc == 0)
        rc = out->whole
                 ? evidence_txn(&out->entry, &out->txn, e)
                 : evidence_op(&out->entry, out->collection, out->key, &out->txn, &out->op, e);
    if (rc == ERR_NOT_FOUND)
        rc = err_set(e, ERR_INTEGRITY,
                     out->whole ? "the entry of the proof is no transaction"
                                : "the entry of the proof does not write the record that it is "
                                  "said to prove");
    if (rc != 0)
        err_wrap(e, "the entry in the proof");
    return rc;
}
