/* What this process, as primary, has told clients of its own transactions: so that the export of what it had to undo can say
 * which of them were answered "done" (P4). Pure; fixed size.
 *
 * Who waits for level `local` waits in one queue, in order of the log, and leaves it only by being answered. So one position
 * tells answered from not answered, for the term that it was counted in. Nothing is known of other terms and other processes. */
#ifndef REPLICATION_CORE_ANSWERED_H
#define REPLICATION_CORE_ANSWERED_H

#include "store/core/body.h"

enum { ANSWERED_GONE_MAX = 64 };

struct answered {
    struct term term; /* which this process leads, or led last; 0: none */
    struct lsn local; /* everybody in the queue of `local` up to here was answered, nobody beyond */
    struct lsn outcome; /* up to here somebody who asked for an outcome may have been told */
    struct lsn gone[ANSWERED_GONE_MAX]; /* answered when their client's connection was closed */
    uint32_t gone_count;
    bool gone_lost; /* there were more than fit */
};

enum acknowledged {
    ACKNOWLEDGED_NO = 1,   /* certain: nobody was told that it was done */
    ACKNOWLEDGED_POSSIBLE, /* not known here */
    ACKNOWLEDGED_YES, /* certain: this process sent the answer "done"; whether it arrived is not known */
};
const char *acknowledged_name(enum acknowledged a); /* "no", "possible", "yes" */

/* A term begins in which this process is primary. */
void answered_begin(struct answered *a, struct term term);
/* Who waited at `local` for lsn is answered; `heard`: its connection is open. In the order of the queue. */
void answered_local(struct answered *a, struct lsn lsn, bool heard);
/* Somebody asked what became of the transaction at lsn, and is told that it committed. */
void answered_outcome(struct answered *a, struct lsn lsn);
/* Of the entry at (term, lsn), which is not in the common history. `level`: at which its client was to be answered, LEVEL_MODE
 * when the entry does not tell. `commit`: what this process knew to be committed. */
enum acknowledged answered_what(const struct answered *a, struct term term, struct lsn lsn,
                                enum level level, struct lsn commit);

#endif
