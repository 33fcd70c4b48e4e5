/* What strangers can cause as often as they like is told with a limit, so that it cannot drown what else happens: the same at
 * most once in QUIET_MS, and of different things at most QUIET_LINES in that time. What was not told is counted, and the count
 * told with the next line. */
#ifndef REPLICATION_CORE_QUIET_H
#define REPLICATION_CORE_QUIET_H

#include <stdbool.h>
#include <stdint.h>

/* Ten lines a minute leave the ring of 2,048 events three hours of memory under any attack. */
enum { QUIET_MS = 60000, QUIET_LINES = 10, QUIET_KNOWN = 2 * QUIET_LINES };

struct quiet { /* begins as zero */
    struct {
        uint64_t what, told_ms;
    } known[QUIET_KNOWN];
    uint32_t next; /* of known: the oldest is forgotten */
    uint64_t window_ms;
    uint32_t lines;  /* told since window_ms */
    uint32_t silent; /* not told since the last line */
};

/* Is this sentence told now? *silent: how many were not since the last that was; for the line. Numbers in a sentence do not
 * count: "expired 3 s ago" is the same as "expired 4 s ago". */
bool quiet_tell(struct quiet *q, const char *text, uint64_t now_ms, uint32_t *silent);
/* The same but for their numbers? */
bool quiet_same(const char *a, const char *b);

#endif
