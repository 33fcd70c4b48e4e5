/* Commit time: which time the next entry gets, and how long a session was idle, from clocks that people and programs set.
 *
 * Two clocks are asked. The wall clock says what time it is, and can be set: to 1970 by an empty battery, years ahead by a typing
 * error. The boot clock (CLOCK_BOOTTIME) cannot be set, counts suspend, and knows nothing of the date. A time that is once in the
 * log stays, and no later one may be below it: a primary that followed its wall clock into the year 2038 would stamp every
 * entry of the cluster with that moment until it has come.
 *
 * So a running process follows its wall clock only as far as the boot clock confirms it:
 *
 *   base       the wall clock when the process started
 *   from then  the boot clock; what the wall clock gains or loses beside it is followed by at most a sixteenth of the time
 *              that passes (COMMIT_TIME_SLEW: more than ntpd and chronyd ever slew, so a clock that they discipline is followed
 *              exactly)
 *   a jump     of more than COMMIT_TIME_FOLLOW_US is not followed at all, until the process starts again or the clock
 *              is set back; the site tells it (status, events)
 *   the log    of which the last time is ahead sets the base forward: what another site has stamped stays true (this much
 *              is a hybrid logical clock: Kulkarni et al., OPODIS 2014)
 *
 * What it does not do: a process that starts while its wall clock is wrong believes it. The log tells no better, since a
 * cluster may have been down for a month. */
#ifndef STORE_CORE_COMMIT_TIME_H
#define STORE_CORE_COMMIT_TIME_H

#include "store/core/ids.h"

enum { COMMIT_TIME_SLEW = 16 };
/* Chosen somewhat arbitrarily: clocks of sites that are looked after differ by far less, mistakes are far larger. */
#define COMMIT_TIME_FOLLOW_US UINT64_C(300000000)

/* What one process knows; all zeros is a good beginning. */
struct commit_clock {
    bool set;
    struct utc time;  /* commit time was this ... */
    uint64_t boot_us; /* ... at this moment of the boot clock */
};

/* Commit time now, for the entry after one with time `prev`: never below `prev`, nor below what this clock told before. Call it
 * for each entry that is sealed, and now and then: what is followed grows with the time between calls. */
struct utc entry_next_time(struct commit_clock *c, struct utc prev, struct utc wall,
                           uint64_t boot_us);

/* How far the wall clock is ahead of (or behind: negative) commit time, as of the last call. 0 when it is followed. */
int64_t commit_time_jump_us(const struct commit_clock *c, struct utc wall, uint64_t boot_us);

/* May a session whose last entry has the time `last` be ended, `limit_us` being how long it may be idle? `now` is commit time,
 * `primary_us` how long, by the boot clock, this site has been primary in this term. Commit time cannot jump within a term, but
 * between two: another process with another clock went on. So only what this primary has seen itself counts: a failover makes
 * sessions live longer, never shorter. */
bool session_was_idle(struct utc last, struct utc now, uint64_t primary_us, uint64_t limit_us);

#endif
