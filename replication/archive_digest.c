#include "replication/site_parts.h"

struct point_search {
    struct lsn lsn;
    struct digest digest;
};

static int match_point(void *arg, const struct restore_point *p)
{
    struct point_search *search = arg;
    if (p->lsn.v != search->lsn.v)
        return 0;
    search->digest = p->digest;
    return 1;
}

/* What the state knows of its digest at an lsn: at restore points, and where it stands now. Restore points are few, so they are
 * walked through. */
int archive_digest_at(void *arg, struct lsn lsn, struct digest *out)
{
    struct state_snapshot *snap = arg;
    struct state_totals totals;
    struct point_search search = {.lsn = lsn};
    if (state_snapshot_position(snap).lsn.v == lsn.v && state_totals(snap, &totals, NULL) == 0) {
        *out = totals.digest;
        return 0;
    }
    if (state_restore_points(snap, match_point, &search, NULL) != 1)
        return ERR_NOT_FOUND;
    *out = search.digest;
    return 0;
}
