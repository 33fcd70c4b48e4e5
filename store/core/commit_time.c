/* See commit_time.h.
 *
 * INVARIANTS
 *   T1  What is returned is not below `prev`, nor below any earlier result.
 *   T2  Without a `prev` that is ahead, two results differ by at most 17/16 of what passed on the boot clock between them.
 *   T3  A wall clock that is at most COMMIT_TIME_FOLLOW_US off is reached in the end. */
#include "store/core/commit_time.h"

/* Where commit time would be if the wall clock said nothing. */
static uint64_t steady_us(const struct commit_clock *c, uint64_t boot_us)
{
    return c->time.us + (boot_us > c->boot_us ? boot_us - c->boot_us : 0);
}

static bool is_followed(uint64_t steady, uint64_t wall)
{
    uint64_t apart = wall > steady ? wall - steady : steady - wall;
    return apart <= COMMIT_TIME_FOLLOW_US;
}

struct utc entry_next_time(struct commit_clock *c, struct utc prev, struct utc wall,
                           uint64_t boot_us)
{
    if (!c->set)
        *c = (struct commit_clock){true, wall, boot_us};
    uint64_t steady = steady_us(c, boot_us), passed = steady - c->time.us;
    if (passed < COMMIT_TIME_SLEW && prev.us <= steady)
        return (struct utc){steady}; /* too little to slew by; it is not lost, the base stays */
    uint64_t slew = passed / COMMIT_TIME_SLEW, now = steady;
    if (is_followed(steady, wall.us) && wall.us > steady)
        now = wall.us - steady < slew ? wall.us : steady + slew;
    else if (is_followed(steady, wall.us))
        now = steady - wall.us < slew ? wall.us : steady - slew;
    if (now < prev.us)
        now = prev.us;
    *c = (struct commit_clock){true, {now}, boot_us > c->boot_us ? boot_us : c->boot_us};
    return c->time;
}

int64_t commit_time_jump_us(const struct commit_clock *c, struct utc wall, uint64_t boot_us)
{
    uint64_t steady = steady_us(c, boot_us);
    if (!c->set || is_followed(steady, wall.us))
        return 0;
    uint64_t apart = wall.us > steady ? wall.us - steady : steady - wall.us;
    if (apart > INT64_MAX)
        apart = INT64_MAX;
    return wall.us > steady ? (int64_t)apart : -(int64_t)apart;
}

bool session_was_idle(struct utc last, struct utc now, uint64_t primary_us, uint64_t limit_us)
{
    return primary_us >= limit_us && now.us > last.us && now.us - last.us >= limit_us;
}
