/* The overlay: effects of entries that were appended to the log and are not yet applied to the state.
 *
 * A commit is acknowledged before LMDB has it, so point reads, conditions and the look-up of a retried transaction
 * ask here first, then the state. Scans and snapshots wait for the state instead. A new primary reads what it inherits into it
 * (replication/inherit.c).
 *
 * Single-threaded: owned by the site's loop. Entries come in order of lsn, leave from the front when they were applied and
 * from the back when the log is truncated. Memory goes round in chunks, so that in a steady state nothing is allocated but for
 * entries above OVERLAY_LARGE_BYTES; every call is O(1) per op, but for the number of versions of that same key newer than
 * `upto`. Bounded by its owner, who looks at overlay_bytes. */
#ifndef STORE_OVERLAY_H
#define STORE_OVERLAY_H

#include "store/core/body.h"
#include "store/state.h"

struct overlay; /* opaque */

enum {
    OVERLAY_CHUNK_BYTES = 256 << 10,
    OVERLAY_LARGE_BYTES = OVERLAY_CHUNK_BYTES / 4, /* above it an entry has memory of its own */
    OVERLAY_SPARES_MAX =
        64, /* chunks kept for what comes: 16 MiB, of the size of what an applier takes at once */
};

/* `seed` is random, so that clients cannot choose keys that collide. NULL when out of memory. */
struct overlay *overlay_new(uint64_t seed);
void overlay_free(struct overlay *o);

/* Add the effects of an entry; copies its body. ERR_INTEGRITY unless its lsn is above all that are inside, ERR_FORMAT
 * when the body cannot be read, ERR_NO_MEMORY; then nothing was added. */
int overlay_add(struct overlay *o, const struct entry_view *entry, struct err *e);
/* Forget all up to `applied` (the state has it) or all after `last` (the log does not have it any more). */
void overlay_drop(struct overlay *o, struct lsn applied);
void overlay_truncate(struct overlay *o, struct lsn last);

/* Memory of what is inside, without chunks that are kept for what comes; and the newest lsn inside (0: empty). */
uint64_t overlay_bytes(const struct overlay *o);
struct lsn overlay_last(const struct overlay *o);

enum overlay_answer {
    OVERLAY_UNKNOWN = 0, /* ask the state */
    OVERLAY_THERE = 1,
    OVERLAY_GONE = 2, /* deleted, or ended */
};

/* Each answers with the newest effect at or below `upto`. Views stay valid until the entry leaves. `out` is
 * filled for OVERLAY_THERE. */
enum overlay_answer overlay_get(const struct overlay *o, struct bytes collection, struct bytes key,
                                struct lsn upto, struct record *out);
/* The state of a session: client and lsn of its opening (`last` is the time of that entry). OVERLAY_GONE: it was
 * closed or expired. */
enum overlay_answer overlay_session(const struct overlay *o, const struct uuid *session,
                                    struct lsn upto, struct session_info *out);
/* What (session, sequence) became; of several entries the newest. Never OVERLAY_GONE: ask overlay_session whether the
 * session lives. */
enum overlay_answer overlay_result(const struct overlay *o, const struct uuid *session,
                                   uint64_t sequence, struct lsn upto, struct entry_position *out);
/* Sets busy[i] where one of these `n` sessions has a transaction inside; it looks at each entry. */
void overlay_busy_sessions(const struct overlay *o, const struct uuid *sessions, size_t n,
                           bool *busy);
/* Where a restore point with this name is (its position). */
enum overlay_answer overlay_point(const struct overlay *o, struct bytes name, struct lsn upto,
                                  struct entry_position *out);

#endif
