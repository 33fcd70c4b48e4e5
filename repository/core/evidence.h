/* What a proof of inclusion carries beside the tree's hashes: which record is meant, or none (a receipt), and the whole log
 * entry that wrote it.
 *
 * The leaf of the tree is the entry's header; the header holds the hash of the body (salt and payload); the payload holds the
 * operation. So the record follows from the leaf, and the leaf from the signed root. The body is there whole, because its
 * hash is one hash: who gets a proof of one record sees every record that the same transaction wrote.
 *
 * Collection and key are both empty in a receipt, which is of the transaction as a whole.
 *
 * FORMAT (little-endian): magic u32 "TVNP" (0x504e5654), format u16 (1), collection str16, key str16, then the entry: header
 * of 128 bytes, body. It is the "extra" line of a tlog-proof file. */
#ifndef REPOSITORY_CORE_EVIDENCE_H
#define REPOSITORY_CORE_EVIDENCE_H

#include "store/core/body.h"
#include "store/core/entry.h"

enum { EVIDENCE_MAGIC = 0x504e5654, EVIDENCE_FORMAT = 1 };

struct evidence {
    struct bytes collection, key;
    bool whole; /* of the transaction, and not of a record */
    struct entry_view entry;
    struct body_txn txn;
    struct op op; /* unless whole: the last one of the transaction on that record: what counts */
};

/* Size of what evidence_write writes. */
size_t evidence_bytes(struct bytes collection, struct bytes key, const struct entry_view *v);
void evidence_write(struct writer *w, struct bytes collection, struct bytes key,
                    const struct entry_view *v);
/* Views into `in`. Header, body hash and operations are checked; whether the header is a leaf of a tree is not. ERR_FORMAT;
 * ERR_NEWER; ERR_INTEGRITY when the body is not the one of the header, or the entry does not write the record. */
int evidence_read(struct bytes in, struct evidence *out, struct err *e);

/* The last operation of a transaction's entry on a record. ERR_NOT_FOUND when there is none, and for other kinds of entries;
 * ERR_FORMAT. */
int evidence_op(const struct entry_view *v, struct bytes collection, struct bytes key,
                struct body_txn *txn, struct op *out, struct err *e);

#endif
