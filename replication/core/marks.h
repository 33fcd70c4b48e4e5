/* Watermarks of a site, and what follows from them: the pure composition of log, replication, state and archive.
 *
 * A site's parts each move one mark along the log. What may be applied, checkpointed, archived and recycled follows from all of
 * them together, by the rules in marks.c; threads and disks only carry the orders out. Production and the simulator use this
 * file alike. */
#ifndef REPLICATION_CORE_MARKS_H
#define REPLICATION_CORE_MARKS_H

#include "replication/core/repl.h"

struct marks {
    struct lsn durable; /* log on stable storage here */
    struct lsn commit;  /* durable at a majority: never undone */
    struct lsn
        visible; /* may be applied and read (above commit only in local mode, at the primary) */
    struct lsn applied;    /* in the state */
    struct lsn checkpoint; /* in the published steady checkpoint */
    struct lsn archived;   /* in a sealed pack; meaningful when `archives` */
    bool archives;         /* this site keeps the repository */
    struct lsn
        retain; /* the log from here on is kept for sites that are behind (bounded by bytes) */
    struct lsn
        needed; /* lowest lsn that a site acknowledged; what it still needs comes after. 0: unknown */
};

/* As recovery found them: the log's end, the published checkpoint. */
void marks_start(struct marks *m, struct lsn log_end, struct lsn checkpoint, bool archives);

/* ---- what moves them ---- */
/* REPL_ACT_COMMIT. */
void marks_commit(struct marks *m, struct lsn commit, struct lsn visible);
struct marks_news {
    bool applied, archived; /* has moved */
    bool recyclable;        /* the log may have become shorter */
};
/* What the threads have done since. `checkpoint` is to be read before `applied`, so that it is never ahead of it. */
struct marks_news marks_progress(struct marks *m, struct lsn checkpoint, struct lsn applied,
                                 struct lsn archived);
/* Entries after `keep` leave the log. First: may the state hold any of them? Then the applier is stopped, and the state goes
 * back to its checkpoint if it has applied beyond `keep`. */
bool marks_must_undo(const struct marks *m, struct lsn keep);
/* Then: the log was cut, and `applied` is what the state holds now. */
void marks_cut(struct marks *m, struct lsn keep, struct lsn applied);
/* What other sites still need of this log, into `needed`. `archives` tells which of them keep a repository: theirs is needed
 * until it is archived, for their own log may be lost with their disk. */
void marks_peers(struct marks *m, const struct repl_view *v, uint8_t self, uint8_t sites,
                 const bool *archives);

/* ---- what follows from them ---- */
/* Apply up to here. */
struct lsn marks_apply_to(const struct marks *m);
/* A checkpoint up to here may be published: it will never have to be undone, and the log can be replayed from it. */
struct lsn marks_publish_to(const struct marks *m);
/* Hand entries up to here to the archive. */
struct lsn marks_archive_to(const struct marks *m);
/* Entries below this lsn may be recycled. */
struct lsn marks_recycle_below(const struct marks *m);
/* The orders of the marks themselves; checked by whoever moves one. */
bool marks_are_sound(const struct marks *m);

/* ---- whom to answer ---- */
/* The primary's state has its past: it serves, and everything before its term (`term_start` is its no-op) is applied. */
bool marks_settled(const struct marks *m, const struct repl_view *v, struct lsn term_start);
/* The primary accepts requests: it is settled; or it serves, and the overlay holds what is logged and not applied (`inherited`).
 * A read needs a valid lease besides (repl_lease_valid). */
bool marks_ready(const struct marks *m, const struct repl_view *v, struct lsn term_start,
                 bool inherited);
/* The level at which who asks for `asked` is answered, never LEVEL_MODE and never weaker than the mode. It goes into the entry,
 * so that whoever finds the entry outside the common history knows whether its client may have been told that it was done. */
enum level marks_answer_level(enum level asked, enum commit_mode mode);
/* The same for an entry that is in the log already, asked about again: at which level it was to be answered then is not
 * known, so a majority is waited for. */
enum level marks_repeat_level(enum level asked, enum commit_mode mode);
/* LEVEL_LOCAL is answered up to here; what only this disk has needs a valid lease (R3). */
struct lsn marks_local_to(const struct marks *m, bool lease);

/* Is it time to seal a pack? When it is full; when its oldest entry has waited `patience_ms` and there is enough for a pack
 * that is worth its three files; and in any case after MARKS_SMALL_PACKS times as long. Packs are for ever and never merged: with
 * one transaction a second and the defaults these are 1,440 a day instead of 8,640. The lag stays bounded, by
 * MARKS_SMALL_PACKS * patience_ms, and shown. */
enum { MARKS_SMALL_PACKS = 6, MARKS_SMALL_PART = 16 /* of a full one */ };
bool marks_seal_due(uint64_t waiting_bytes, uint64_t waited_ms, uint64_t pack_bytes,
                    uint64_t patience_ms);

/* Is it time to archive a snapshot? When `every` entries (0: never) were sealed since the last one and, with them, as many
 * bytes as that one has. So snapshots take no more than the packs do, however large the state is, and what a restore reads
 * behind the snapshot that it begins from is no more than that snapshot, or `every` entries. */
bool marks_snapshot_due(uint64_t entries, uint32_t every, uint64_t packed_bytes,
                        uint64_t snapshot_bytes);
/* The same by time: something was sealed, and what was sealed last was committed this long after the last snapshot's entry (after
 * the archive's first one when there is none). Commit times decide, so a clock that jumps does not. `every_us` 0: never. */
bool marks_snapshot_old(uint64_t entries, uint64_t every_us, struct utc sealed,
                        struct utc snapshot);

#endif
