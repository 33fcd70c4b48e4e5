/* The state digest: a 128-bit sum over all records of H(collection, key, lsn, value), modulo 2^128, kept
 * incrementally for the whole state, per collection and per 4,096 buckets of the key. Finds accidents; forgery is the
 * business of the Merkle tree. */
#ifndef STORE_CORE_DIGEST_H
#define STORE_CORE_DIGEST_H

#include "store/core/bytes.h"
#include "store/core/ids.h"

enum { DIGEST_BUCKETS = 4096, DIGEST_HEX_BYTES = 33 };

/* XXH3-128 over: collection length u16, collection, key length u16, key, lsn u64, value. */
struct digest digest_record(struct bytes collection, struct bytes key, struct lsn lsn,
                            struct bytes value);
/* Bucket of a record: low 12 bits of the XXH3-128 of collection and key. */
uint32_t digest_bucket(struct bytes collection, struct bytes key);

struct digest digest_add(struct digest a, struct digest b);
struct digest digest_sub(struct digest a, struct digest b);
/* 32 hex digits, high half first, and a NUL. */
void digest_hex(struct digest d, char out[DIGEST_HEX_BYTES]);
int digest_parse(const char *hex, struct digest *out); /* 0 or ERR_FORMAT */

/* In formats: low half, high half. */
static inline void write_digest(struct writer *w, struct digest d)
{
    write_u64(w, d.lo);
    write_u64(w, d.hi);
}
static inline struct digest read_digest(struct reader *r)
{
    uint64_t lo = read_u64(r);
    return (struct digest){lo, read_u64(r)};
}

#endif
