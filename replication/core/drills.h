/* When is a restore drill due, and when is the last one too old? Pure: times are the caller's, microseconds since 1970. */
#ifndef REPLICATION_CORE_DRILLS_H
#define REPLICATION_CORE_DRILLS_H

#include "store/core/ids.h"

#include <stdbool.h>

/* What is known of the drills of an archive. */
struct drills {
    uint64_t period_us;   /* 0: none on a schedule */
    struct utc archive;   /* time of the archive's first entry; 0: it is empty */
    struct utc last;      /* when the last one ended; 0: never */
    struct utc last_good; /* ... that could restore; 0: never */
    bool failed;          /* the last one did */
};

#define DRILLS_HOUR_US (UINT64_C(3600) * 1000000)
/* A drill that failed is tried again after this, or after the period where that is shorter. */
#define DRILLS_AGAIN_US DRILLS_HOUR_US

/* When the next one is to begin; 0: none on a schedule, or there is nothing to restore yet. The first is due a period after
 * the archive began. */
struct utc drills_next(const struct drills *d);
/* Has the archive not been restored for twice the period? A clock that was set back makes nothing due. */
bool drills_overdue(const struct drills *d, struct utc now);

#endif
