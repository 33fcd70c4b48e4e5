/* What a witness of the archive's two logs keeps, and how it judges a checkpoint (C2SP tlog-cosignature, tlog-witness).
 *
 * A witness is a site that has the log itself. It builds the same tree (core/tlog.h) from the headers in its own log, and keeps
 * of it no more than a *compact range*: the roots of the perfect subtrees that the leaves fall apart into, at most 63 hashes.
 * From that follow the root now and, with further leaves, every later root. So it needs no proof of consistency: it computes
 * what the checkpoint has to say.
 *
 * That is so for the tree of entries. The leaves of the operations log are the archive's alone: of it a witness keeps the newest
 * checkpoint that it cosigned, and a proof of consistency has to lead from there to the next one.
 *
 * FORMAT of the record on disk (little-endian), the newest checkpoint that was cosigned; of the operations log size and last are
 * zero, and no hashes follow: what was cosigned stands in the checkpoint
 *   offset size field
 *        0    4 magic       "TVNW" (0x574e5654)
 *        4    2 format      1
 *        6    2 note_bytes
 *        8    8 sequence    of the writes; the higher of two valid ones counts
 *       16   16 cluster_id
 *       32    8 size        leaves
 *       40   32 last        SHA-256 of the last leaf's header; zero for size 0
 *       72   32 * ones      a hash for each one among the bits of `size`, from the highest
 *            note_bytes     the checkpoint as the log signed it, without cosignatures
 *            4 crc32c       of all before
 *
 * Pure. */
#ifndef REPOSITORY_CORE_WITNESS_H
#define REPOSITORY_CORE_WITNESS_H

#include "repository/core/tlog_text.h"

enum {
    WITNESS_MAGIC = 0x574e5654,
    WITNESS_FORMAT = 1,
    WITNESS_LEVELS = 63,
    WITNESS_NOTE_MAX_BYTES = 1536,
    WITNESS_RECORD_BYTES = 4096, /* room for it */
};

struct witness_range {
    uint64_t size;                      /* up to TLOG_SIZE_MAX */
    struct sha256 last;                 /* of the header of the last leaf */
    struct sha256 node[WITNESS_LEVELS]; /* node[l] when bit l of the size is one */
};
/* Add the leaf of an entry's header (its 128 bytes). Requires size < TLOG_SIZE_MAX. */
void witness_add(struct witness_range *r, struct bytes header, const struct sha256 *header_hash);
struct sha256 witness_root(const struct witness_range *r);

struct witness_record {
    struct uuid cluster_id;
    struct witness_range range;
    uint8_t note[WITNESS_NOTE_MAX_BYTES];
    uint16_t note_bytes;
};
/* Fills the rest with zeros. */
void witness_record_write(const struct witness_record *r, uint64_t sequence,
                          uint8_t out[WITNESS_RECORD_BYTES]);
/* 0, ERR_NEWER, or ERR_FORMAT. */
int witness_record_read(const uint8_t in[WITNESS_RECORD_BYTES], struct witness_record *out,
                        uint64_t *sequence, struct err *e);

enum witness_verdict {
    WITNESS_SIGN = 1,
    WITNESS_ROLLBACK,  /* smaller than what was cosigned: the log took back what it had shown */
    WITNESS_SPLIT,     /* of its size, another tree than the one that follows from our own log; or
                         no continuation of what was cosigned */
    WITNESS_ELSEWHERE, /* the proof does not begin at what was cosigned: another one is needed */
};
/* `own` is the range at the checkpoint's size, which is looked at unless that is a rollback. */
enum witness_verdict witness_judge(uint64_t cosigned, const struct witness_range *own,
                                   const struct tlog_checkpoint *c);
/* Of a log whose leaves the witness does not have, by a proof from the tree of `from` leaves. `before`: what it cosigned last;
 * NULL: nothing, so that it begins on trust, with a proof from 0. */
enum witness_verdict witness_judge_proof(const struct tlog_checkpoint *before,
                                         const struct tlog_checkpoint *c, uint64_t from,
                                         const struct tlog_proof *proof);

#endif
