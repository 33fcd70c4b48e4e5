/* Frames: what crosses every connection, peer and client alike, inside TLS 1.3.
 *
 * FORMAT of the 64-byte header (little-endian)
 *   offset size field
 *        0    4 magic        "TVNF" (0x464e5654)
 *        4    2 version      1
 *        6    2 type         enum frame_type
 *        8    4 flags        bit 0: the body is one zstd frame preceded by its plain size, u32
 *       12    4 body_bytes   as sent
 *       16   16 cluster_id
 *       32    8 term         sender's term (clients: 0)
 *       40    8 request      request number of the client, echoed in the answer; 0 for pushes and peers
 *       48    4 body_crc32c
 *       52    4 header_crc32c  of the 64 bytes with this field zero
 *       56    8 reserved     must be zero
 *
 * A receiver trusts body_bytes only after the header's CRC, its own cluster id and the limit of the type and of the
 * connection's state (before HELLO: FRAME_HELLO_MAX_BYTES) have been checked. A decompressed body obeys the same limit. */
#ifndef REPLICATION_CORE_FRAME_H
#define REPLICATION_CORE_FRAME_H

#include "store/core/bytes.h"
#include "store/core/err.h"

enum {
    FRAME_HEADER_BYTES = 64,
    FRAME_MAGIC = 0x464e5654,
    FRAME_VERSION = 1,
    FRAME_HELLO_MAX_BYTES = 4096,
    FRAME_CLIENT_MAX_BYTES = 40 << 20, /* a transaction of two values of the largest size */
    FRAME_PEER_MAX_BYTES = 64 << 20,   /* one entry of the largest size, or a batch */
};

enum frame_flags { FRAME_ZSTD = 1u << 0 };

enum frame_type {
    FRAME_HELLO = 1,      /* both ways, first */
    FRAME_ERROR = 2,      /* wire_error; answer or, with request 0, the reason before closing */
    FRAME_PEER = 3,       /* a repl_message, with entries */
    FRAME_PRIMARY = 4,    /* push to clients: wire_primary, where the primary is now */
    FRAME_WATCH_DATA = 5, /* push: wire_watch_data, changes that a watch is to see */
    FRAME_WATCH_END = 6,  /* push: wire_watch_end, a watch cannot go on */
    FRAME_CARE = 7,       /* between sites: a care_message (care.h) */
    FRAME_COSIGN = 8,     /* between sites: a cosign_message (cosign.h) */
    FRAME_ALIVE = 9,      /* no body: who sends it has nothing to say, and lives (conn.h) */
    /* requests of clients, and their answers */
    FRAME_SESSION_OPEN = 16,
    FRAME_SESSION_CLOSE = 17,
    FRAME_TXN = 18,
    FRAME_GET = 19,
    FRAME_SCAN = 20,
    FRAME_SNAPSHOT_OPEN = 21,
    FRAME_SNAPSHOT_CLOSE = 22,
    FRAME_OUTCOME = 23,
    FRAME_POINT = 24, /* name a restore point */
    FRAME_ADMIN = 25, /* an operator's command as JSON, answered as JSON */
    FRAME_WATCH_OPEN = 26,
    FRAME_WATCH_CREDIT = 27, /* not answered */
    FRAME_WATCH_CLOSE = 28,
    FRAME_OUTCOME_BY_KEY = 29,
    FRAME_REPLY = 64, /* flag added to the request's type: FRAME_TXN | FRAME_REPLY */
};

struct frame {
    enum frame_type type;
    uint32_t flags;
    struct uuid cluster_id;
    struct term term;
    uint64_t request;
    uint32_t body_bytes;
    uint32_t body_crc32c;
};

/* Encode the header for a body (as it will be sent); fills body_bytes and body_crc32c of `f`. */
void frame_encode(struct frame *f, struct bytes body, uint8_t out[FRAME_HEADER_BYTES]);
/* The same for a body in pieces: the caller has filled body_bytes and body_crc32c. */
void frame_encode_header(const struct frame *f, uint8_t out[FRAME_HEADER_BYTES]);
/* 0 or ERR_FORMAT / ERR_LIMIT / ERR_DENIED (other cluster) with the reason. `max_body` is the limit that holds now. `cluster`
 * NULL: not checked here; the caller looks at out->cluster_id (HELLO). */
int frame_decode(const uint8_t raw[FRAME_HEADER_BYTES], const struct uuid *cluster,
                 uint32_t max_body, struct frame *out, struct err *e);
/* Body CRC; 0 or ERR_FORMAT. */
int frame_check_body(const struct frame *f, struct bytes body, struct err *e);
/* Largest body of the type, as sent and decompressed: HELLO, ERROR and PRIMARY are small, ALIVE has none, the others obey
 * `max_body`. */
uint32_t frame_body_limit(enum frame_type type, uint32_t max_body);
const char *frame_type_name(enum frame_type type);

#endif
