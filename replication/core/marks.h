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

/* Apply up to here. */
struct lsn marks_apply_to(const struct marks *m);
/* A checkpoint at `at` may be published: it will never have to be undone, and the log can be replayed from it. */
bool marks_may_publish(const struct marks *m, struct lsn at);
/* Hand entries up to here to the archive. */
struct lsn marks_archive_to(const struct marks *m);
/* Entries below this lsn may be recycled. */
struct lsn marks_recycle_below(const struct marks *m);
/* The orders of the marks themselves; checked by whoever moves one. */
bool marks_are_sound(const struct marks *m);

#endif
