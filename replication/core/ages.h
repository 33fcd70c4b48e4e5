/* How far a copy of the log is behind, at one of its stages (received, durable, applied, archived), in time, entries and bytes.
 *
 * The age of a stage answers: up to how long ago is everything that was written known to be there? It is never less than the age
 * of the word that it rests on, and never less than that of the oldest entry that is missing. So it stays small while nothing is
 * written and the sites hear each other (heartbeats are answered); it grows from the moment when a site is not heard any more,
 * whether anything was written since or not; and it is unknown where no word is. No entries are written to measure it: one a
 * second would be 350 MB of log a day at each site, and a transaction number, for what the heartbeats tell anyhow.
 *
 * When an entry was written is its commit time. The timeline remembers it for some of the entries, more densely the newer they
 * are: an entry in between is taken for as old as the last remembered one before it, so ages are rounded up, by a thirtieth and a
 * millisecond at most. All of it is for people; nothing is decided by it. */
#ifndef REPLICATION_CORE_AGES_H
#define REPLICATION_CORE_AGES_H

#include "store/core/ids.h"

#include <stdbool.h>

enum { TIMELINE_MARKS = 1024, TIMELINE_GRAIN_US = 1000, TIMELINE_PART = 32 };

struct timeline { /* begins as zero */
    struct {
        struct lsn lsn;
        struct utc time;
        uint64_t bytes; /* of entries that were noted before it */
    } marks[TIMELINE_MARKS];
    uint32_t count;
    uint64_t bytes; /* of all that were noted */
};

/* An entry, or several beginning with it, was appended. In the order of the log. */
void timeline_note(struct timeline *t, struct lsn lsn, struct utc time, uint64_t bytes);
/* Entries after `keep` are no more. */
void timeline_cut(struct timeline *t, struct lsn keep);

struct age_asked {
    bool at_known;
    struct lsn at;     /* the stage's position */
    struct lsn newest; /* what there is */
    uint64_t word_ms;  /* boot clock, when the word of `at` was true; 0: there is none */
    uint64_t now_ms;   /* boot clock */
    struct utc now;    /* commit time */
};
struct age {
    bool known, time_known, bytes_known; /* the latter only if known */
    uint64_t us, entries, bytes;
};
struct age age_of(const struct timeline *t, const struct age_asked *asked);

#endif
