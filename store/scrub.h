/* The scrub: a slow walk over everything that a running site stores, so that damage is found before it is needed: the records of
 * the state, what is kept of their past, then the entries of the log's segments, then again from the start.
 *
 * Each step opens a snapshot and closes it again, so that no pages are kept from being reused for long. What is changed while a
 * pass goes on is seen or not; what stays where it is is seen once a pass. One thread at a time. */
#ifndef STORE_SCRUB_H
#define STORE_SCRUB_H

#include "store/log.h"
#include "store/state.h"

/* Where the walk stands; zero to begin a pass. Fixed size, owns nothing. */
struct scrub {
    bool in_past, in_log;
    uint8_t collection[COLLECTION_MAX_BYTES], key[KEY_MAX_BYTES]; /* last record seen */
    size_t collection_bytes, key_bytes;
    struct past_place past; /* in_past: last row seen */
    struct lsn next;        /* in_log: entry to look at */
    uint64_t bytes;         /* read in this pass */
    uint64_t damaged;
};

/* Look at about max_bytes more. `found` hears of each damaged record, row of the past and place in the log, in words. 0; ERR_NOT_FOUND:
 * the pass is
 * complete; ERR_BUSY: try again later; another error: the step could not be done. */
int scrub_step(struct scrub *s, struct state *state, struct log *log, size_t max_bytes,
               void (*found)(void *arg, const char *what), void *arg, struct err *e);

#endif
