/* What sites say to each other about what they have stored: to compare their states (P9), and to repair what has rotted at one of
 * them. It is beside the protocol: nothing here elects, ships or commits, and a lost message costs a second.
 *
 * One site asks, with an id; the other answers with the same kind and id. One question of a site to another is open at a
 * time, and beside it one for ENTRIES, by the archive's site, whose pack is made again.
 *
 *   kind     question                               answer
 *   SUMS     lsn: what are your sums at it?         found: records, digest (known: they can be trusted); else it was missed
 *   BUCKETS  lsn: of the last SUMS                  found: 4,096 digests
 *   KEYS     bucket, after collection and key       count rows, lsn of the state; more: go on after collection and key
 *   RECORD   collection, key                        found: lsn, time, value
 *   ENTRIES  lsn..to of the log                     count entries, header and body back to back, at least one
 *   VERDICT  found: your state differs at lsn, text nothing
 * Any question may be refused instead: a text says why.
 *
 * FORMAT, the body of FRAME_CARE (little-endian). A field that has no business in the message must be zero.
 *   offset size field
 *        0    1 kind
 *        1    1 flags      bit 0 answer, 1 refused, 2 found, 3 known, 4 more; the others must be zero
 *        2    2 bucket
 *        4    4 count
 *        8    8 id
 *       16    8 lsn
 *       24    8 to
 *       32    8 time
 *       40    8 records
 *       48   16 digest
 *       64      collection str16, key str16, payload u32 length and bytes */
#ifndef REPLICATION_CORE_CARE_H
#define REPLICATION_CORE_CARE_H

#include "store/core/body.h"
#include "store/core/bytes.h"
#include "store/core/digest.h"
#include "store/core/err.h"

enum {
    CARE_FIXED_BYTES = 64,
    CARE_QUESTION_MAX_BYTES = 2048,
    CARE_BUCKETS_BYTES = DIGEST_BUCKETS * 16,
    CARE_KEYS_MAX_BYTES = 256 << 10, /* rows in an answer */
    CARE_ENTRIES_BYTES = 1 << 20,    /* entries in an answer; more only when it is one */
    CARE_TEXT_BYTES = 400,
};

enum care_kind {
    CARE_SUMS = 1,
    CARE_BUCKETS = 2,
    CARE_KEYS = 3,
    CARE_RECORD = 4,
    CARE_ENTRIES = 5,
    CARE_VERDICT = 6,
};

struct care_message {
    enum care_kind kind;
    bool answer, refused, found, known, more;
    uint32_t bucket, count;
    uint64_t id;
    struct lsn lsn, to;
    struct utc time;
    uint64_t records;
    struct digest digest;
    struct bytes collection, key;
    struct bytes payload; /* digests, rows, value, entries or text */
};

/* A row of KEYS: a record, without its value. */
struct care_row {
    struct bytes collection, key;
    struct lsn lsn;
    struct digest digest; /* as counted from the record; zero: it is damaged there */
};

static inline size_t care_bytes(const struct care_message *m)
{
    return CARE_FIXED_BYTES + 2 + m->collection.n + 2 + m->key.n + 4 + m->payload.n;
}
void care_write(struct writer *w, const struct care_message *m);
/* Strict; the bytes of `m` are views into `body`. 0 or ERR_FORMAT. */
int care_read(struct bytes body, struct care_message *m, struct err *e);

void care_write_row(struct writer *w, const struct care_row *row);
/* 0 or ERR_FORMAT. Rows must rise by collection and key; `before` is the last one, zero at the start. */
int care_next_row(struct reader *rows, const struct care_row *before, struct care_row *out,
                  struct err *e);
int care_compare_rows(const struct care_row *a, const struct care_row *b);

/* The lsn at which states are compared next: as far ahead of `applied` as entries come in `ahead_ms`, judged by those that came
 * since `before` was applied, elapsed_ms ago; `applied` itself when none came. A site that was held up for long does not look
 * farther ahead for it: it would wait in vain for what comes later than the wait lasts, be held up by that, and so on for
 * ever. */
struct lsn care_compare_at(struct lsn before, struct lsn applied, uint64_t elapsed_ms,
                           uint32_t ahead_ms);

#endif
