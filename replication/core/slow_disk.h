/* Is this site's disk much slower than it was, and would the others do better?
 *
 * One lsn at a time is timed, from when it was appended until it is durable; then the newest one again, from when that was
 * appended. So a batch is timed at any rate of writes, and the others' disks by the same clock. What a batch takes usually is the
 * mean of a second, smoothed over about a minute. The disk is slow when the lsn at hand has waited, or the last one took, longer
 * than an election time and 50 times the usual. Time is counted in steps of at most `grain_ms`: while the process is stopped
 * nothing is counted, for the disk may have answered.
 *
 * A primary steps aside when its disk is slow while the others have that very lsn on theirs, in a quarter of the time, enough of
 * them to be a majority without this site: then a hand-over makes everything quicker, and if all disks are slow nothing moves.
 * That is at most once in SLOW_DISK_EVERY_MS, and no site does so that was itself handed the role within that time, so the role
 * does not wander. Pure; production and the simulator use it alike. */
#ifndef REPLICATION_CORE_SLOW_DISK_H
#define REPLICATION_CORE_SLOW_DISK_H

#include "replication/core/repl.h"

enum {
    SLOW_DISK_TIMES = 50,
    SLOW_DISK_PART = 4,
    SLOW_DISK_EVERY_MS = 120000,
    SLOW_DISK_WINDOW_MS = 1000,
    SLOW_DISK_WINDOWS = 64,
};

struct slow_disk {      /* begins as zero */
    struct lsn probe;   /* being timed; 0: none */
    uint32_t waited_ms; /* ... so far */
    struct lsn last;    /* of the log, and how long the probe had waited when it came */
    uint32_t last_at_ms;
    uint32_t took_ms;        /* the one before */
    uint64_t seen_ms;        /* counted up to then */
    uint64_t window_from_ms; /* the second at hand */
    uint64_t window_ms;
    uint32_t window_n;
    bool known;
    uint32_t usual_256;                /* in 1/256 ms */
    uint32_t there_ms[REPL_SITES_MAX]; /* waited when that site had it, plus 1; 0: it has not */
};

/* Often: whenever the log moved, and with each tick. `durable` and `last` of the own log. */
void slow_disk_look(struct slow_disk *d, struct lsn durable, struct lsn last, uint64_t now_ms,
                    uint32_t grain_ms, uint32_t election_ms);
/* That site has everything up to `durable` on its disk. */
void slow_disk_acknowledged(struct slow_disk *d, uint8_t site, struct lsn durable);

uint32_t slow_disk_limit_ms(const struct slow_disk *d, uint32_t election_ms);
uint32_t slow_disk_usual_ms(const struct slow_disk *d); /* rounded up; 0: not known yet */
bool slow_disk_is_slow(const struct slow_disk *d, uint32_t election_ms);
/* Of those that count for a majority, who may take over? Both by site. The one that had it first, or REPL_NOBODY: stay. */
uint8_t slow_disk_successor(const struct slow_disk *d, const bool *counts, const bool *may_lead,
                            uint8_t sites, uint32_t majority, uint32_t election_ms);

#endif
