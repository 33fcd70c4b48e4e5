/* What the archive's site and its witnesses say to each other: a checkpoint of the archive's tree, to be cosigned by the sites
 * that have the log themselves, headers of entries for a site whose own log does not reach back so far, and checkpoints of the
 * operations log with proofs that each continues what the site cosigned before (C2SP tlog-witness). Like care.h it is beside the
 * protocol: nothing here elects, ships or commits, and a lost message costs a second.
 *
 *   kind      from -> to             fields
 *   ASK       archive -> data site   id, lsn (size of the tree), key (verifier key of the log), payload (the signed checkpoint)
 *   ANSWER    back                   id, lsn; key (of the cosigner) and payload (the line of its signature), or
 *                                    code, payload: why not
 *   HEADERS   data site -> archive   id, lsn: of the first that is wanted
 *   ROW       back                   id, lsn, payload: headers of 128 bytes, at least one; or code, payload: why not
 *   ADD       archive -> data site   id, lsn (leaves of the operations log), key (verifier key of the log), payload (the body of
 *                                    add-checkpoint: old size, proof, the signed checkpoint)
 *   ADDED     back                   id, lsn (leaves that it has cosigned: the next proof is wanted from there), key and payload
 *                                    or code, payload as in ANSWER; ERR_CONDITION: the proof began elsewhere
 *
 * FORMAT, the body of FRAME_COSIGN (little-endian). A field that has no business in the message must be zero.
 *   offset size field
 *        0    1 kind
 *        1    3 zero
 *        4    4 code      an error's, or 0
 *        8    8 id        of the question, echoed in the answer
 *       16    8 lsn
 *       24      key str16, payload u32 length and bytes */
#ifndef REPLICATION_CORE_COSIGN_H
#define REPLICATION_CORE_COSIGN_H

#include "store/core/bytes.h"
#include "store/core/err.h"

enum {
    COSIGN_FIXED_BYTES = 24,
    COSIGN_KEY_MAX_BYTES = 200,
    COSIGN_NOTE_MAX_BYTES = 16 << 10,
    COSIGN_ROW_MAX_HEADERS = 8192, /* a MiB */
    COSIGN_ROW_MAX_BYTES = COSIGN_ROW_MAX_HEADERS * 128,
    COSIGN_TEXT_BYTES = 400,
};

enum cosign_kind {
    COSIGN_ASK = 1,
    COSIGN_ANSWER = 2,
    COSIGN_HEADERS = 3,
    COSIGN_ROW = 4,
    COSIGN_ADD = 5,
    COSIGN_ADDED = 6,
};

struct cosign_message {
    enum cosign_kind kind;
    int32_t code;
    uint64_t id;
    struct lsn lsn;
    struct bytes key, payload;
};

static inline size_t cosign_bytes(const struct cosign_message *m)
{
    return COSIGN_FIXED_BYTES + 2 + m->key.n + 4 + m->payload.n;
}
void cosign_write(struct writer *w, const struct cosign_message *m);
/* All but the payload's bytes. */
void cosign_write_head(struct writer *w, const struct cosign_message *m);
/* Strict; key and payload are views into `body`. 0 or ERR_FORMAT. */
int cosign_read(struct bytes body, struct cosign_message *m, struct err *e);
const char *cosign_kind_name(enum cosign_kind kind);

#endif
