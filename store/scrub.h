/* The scrub: a slow walk over everything that a running site stores, so that damage is found before it is needed: the records of
 * the state and the sums over them, its other rows, its checkpoint file, then the entries of the log's segments, then again
 * from the start.
 *
 * Records are counted by the thread that applies (state_recount_step), so that the sums are exact at the end; for the rest each
 * step opens a snapshot and closes it again, so that no pages are kept from being reused for long. What is changed while a pass
 * goes on is seen or not; what stays where it is is seen once a pass. One thread at a time. */
#ifndef STORE_SCRUB_H
#define STORE_SCRUB_H

#include "store/finding.h"
#include "store/log.h"
#include "store/state.h"

enum scrub_stage { SCRUB_RECORDS, SCRUB_ROWS, SCRUB_PAST, SCRUB_FILES, SCRUB_LOG };

/* Where the walk stands; zero to begin a pass. Fixed size, owns nothing. */
struct scrub {
    enum scrub_stage stage;
    struct state_rows_walk rows;
    struct past_place past;
    struct lsn next; /* SCRUB_LOG: entry to look at */
    uint64_t bytes;  /* read in this pass */
    uint64_t damaged;
};

/* What is walked over. */
struct scrub_parts {
    struct state *state;
    struct log *log;
    const char *state_dir;
    /* state_recount_step() on the thread that applies. */
    int (*recount)(void *arg, size_t max_bytes, const struct finding_sink *sink, size_t *bytes,
                   struct err *e);
    void *arg;
};

/* Look at about max_bytes more. The sink hears of each damaged record, row, file and place in the log (`from` is its first lost
 * entry), perhaps on another thread, but not after the return. 0; ERR_NOT_FOUND: the pass is complete; ERR_BUSY: try again
 * later; another error: the step could not be done. */
int scrub_step(struct scrub *s, const struct scrub_parts *parts, size_t max_bytes,
               const struct finding_sink *sink, struct err *e);

#endif
