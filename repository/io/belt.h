/* A belt of records between two threads: one makes them, in order, the calling one takes them in the same order. What the
 * records show is copied, so whoever makes them may go on at once. Memory: REPO_BELT_TRAYS of 256 KiB, or of one larger value. */
#ifndef REPOSITORY_IO_BELT_H
#define REPOSITORY_IO_BELT_H

#include "repository/core/snaprec.h"
#include "store/core/err.h"

enum {
    REPO_BELT_TRAYS =
        4, /* so that neither waits for the other at each turn; chosen somewhat arbitrarily */
    REPO_BELT_ENDS = 1, /* nobody takes any more: whoever makes records stops */
};

struct repo_belt; /* opaque */
struct repo_belt_ends {
    /* On a thread of its own. Its error is that of the whole, unless taking failed before. */
    int (*make)(void *arg, struct repo_belt *b, struct err *e);
    /* On the calling thread: 0, or what ends it all. */
    int (*take)(void *arg, const struct repo_snap_record *);
    /* On the calling thread, now and then: the newest `done` behind which all was taken. */
    void (*told)(void *arg, uint64_t done);
    void *arg; /* of all three */
};
/* Until all is made and taken. What `take` returned if not 0, otherwise what `make` did; ERR_NO_MEMORY, ERR_FAILED: no thread. */
int repo_belt_run(const struct repo_belt_ends *ends, struct err *e);
/* By `make`: one more record. 0, REPO_BELT_ENDS or ERR_NO_MEMORY. */
int repo_belt_put(struct repo_belt *b, const struct repo_snap_record *x, uint64_t done,
                  struct err *e);

#endif
