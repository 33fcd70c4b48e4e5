/* The log entry: a 128-byte header and a body, the same bytes on disk, on the wire and in the archive.
 *
 * FORMAT of the header (little-endian)
 *   offset size field
 *        0    4 magic            "TVNE" (0x454e5654)
 *        4    2 format           1
 *        6    2 kind             enum entry_kind
 *        8    4 body_bytes       size of the body, salt included
 *       12    4 header_crc32c    of the 128 bytes with this field zero
 *       16    4 body_crc32c      of the body
 *       20    4 flags            must be zero in format 1
 *       24   16 cluster_id
 *       40    8 term
 *       48    8 lsn
 *       56    8 time_us          UTC, never decreasing along the log
 *       64   32 prev_hash        SHA-256 of the previous header; zero for lsn 1
 *       96   32 body_hash        SHA-256 of the body (salt and payload)
 *
 * The body is a 16-byte random salt followed by the payload (body.h). The salt makes the body hash, which is
 * published as part of the archive's Merkle leaf, tell nothing about a guessable record. An entry is valid if
 * and only if magic, format, kind and flags are known, both CRCs and the body hash hold, body_bytes is within
 * limits and cluster_id is ours; it belongs at its place if and only if lsn is the previous one plus 1,
 * prev_hash is the hash of the previous header, and neither term nor time is below the previous one. */
#ifndef STORE_CORE_ENTRY_H
#define STORE_CORE_ENTRY_H

#include "store/core/bytes.h"
#include "store/core/err.h"
#include "store/core/ids.h"

enum {
    ENTRY_HEADER_BYTES = 128,
    ENTRY_SALT_BYTES = 16,
    ENTRY_MAGIC = 0x454e5654,
    ENTRY_FORMAT = 1,
    /* A transaction may hold several values of the largest size (16 MiB), and one message carries it whole. */
    ENTRY_BODY_MAX_BYTES = 48 << 20,
};

enum entry_kind {
    ENTRY_TXN = 1,           /* puts and deletes */
    ENTRY_NOOP = 2,          /* start of a term */
    ENTRY_CONFIG = 3,        /* cluster configuration (commit mode) */
    ENTRY_RESTORE_POINT = 4, /* a name for this lsn */
    ENTRY_SESSION = 5,       /* a client session opened or closed */
    ENTRY_AUDIT = 6,         /* an operator's act */
    ENTRY_MEMBERS = 7,       /* the list of the cluster's members, in force from here on */
};

struct entry_header {
    enum entry_kind kind;
    uint32_t body_bytes;
    uint32_t body_crc32c;
    struct uuid cluster_id;
    struct term term;
    struct lsn lsn;
    struct utc time;
    struct sha256 prev_hash;
    struct sha256 body_hash;
};

/* A decoded entry whose bytes belong to somebody else. `raw` is the header as encoded (128 bytes), `body` has
 * header.body_bytes bytes. */
struct entry_view {
    struct entry_header header;
    struct sha256 hash; /* SHA-256 of raw: what the next header's prev_hash must be */
    const uint8_t *raw;
    const uint8_t *body;
};

/* Fill body_bytes, body_crc32c and body_hash of `h` from the body, encode the header to `out` and return its
 * hash. The other fields are the caller's. Requires ENTRY_SALT_BYTES <= body.n <= ENTRY_BODY_MAX_BYTES. */
struct sha256 entry_seal(struct entry_header *h, struct bytes body,
                         uint8_t out[ENTRY_HEADER_BYTES]);

/* Decode and check a header alone. 0, ERR_FORMAT with the reason in `e`, or ERR_NEWER: its checksum holds, its format is a
 * later one. Foreign bytes are expected. */
int entry_header_decode(const uint8_t raw[ENTRY_HEADER_BYTES], struct entry_header *out,
                        struct err *e);

/* Decode the entry at the start of `in`: header, body CRC and body hash. On success *used is the number of
 * bytes it takes (header and body). 0, ERR_FORMAT (reason in `e`), ERR_NEWER, or ERR_LIMIT when `in` ends before the
 * entry does (then nothing is wrong yet, *used is how many bytes are needed). */
int entry_decode(struct bytes in, struct entry_view *out, size_t *used, struct err *e);

/* The same for bytes whose body hash this process has checked already, when they came or when the log was opened: the header
 * alone is checked, and the body taken as it is. entry_body_intact() tells by its CRC whether it has rotted since: 0 or
 * ERR_FORMAT. */
int entry_view_stored(struct bytes in, struct entry_view *out, size_t *used, struct err *e);
int entry_body_intact(const struct entry_view *v, struct err *e);
/* Bytes of the whole entry, header and body, whose header was checked. */
size_t entry_stored_bytes(const uint8_t raw[ENTRY_HEADER_BYTES]);

/* Does `next` belong right after the entry with the given position? 0 or ERR_INTEGRITY with the reason.
 * For the first entry pass lsn 0, term 0, time 0 and a zero hash. */
struct entry_position {
    struct lsn lsn;
    struct term term;
    struct utc time;
    struct sha256 hash;
};
int entry_follows(const struct entry_position *prev, const struct entry_header *next,
                  struct err *e);
static inline struct entry_position entry_position_of(const struct entry_view *v)
{
    return (struct entry_position){v->header.lsn, v->header.term, v->header.time, v->hash};
}

const char *entry_kind_name(enum entry_kind kind); /* "txn", "noop", ...; "unknown" otherwise */

#endif
