#include "replication/core/drills.h"

static struct utc later(struct utc t, uint64_t us)
{
    return (struct utc){t.us > UINT64_MAX - us ? UINT64_MAX : t.us + us};
}

struct utc drills_next(const struct drills *d)
{
    if (d->period_us == 0 || d->archive.us == 0)
        return (struct utc){0};
    if (d->last.us == 0)
        return later(d->archive, d->period_us);
    return later(d->last,
                 d->failed && d->period_us > DRILLS_AGAIN_US ? DRILLS_AGAIN_US : d->period_us);
}

bool drills_overdue(const struct drills *d, struct utc now)
{
    const struct utc since = d->last_good.us != 0 ? d->last_good : d->archive;
    return d->period_us != 0 && since.us != 0 &&
           now.us > later(later(since, d->period_us), d->period_us).us;
}
