/* INVARIANTS
 *   M1  checkpoint <= applied <= visible: nothing is read that may not be.
 *   M2  checkpoint <= commit: a published checkpoint is never undone, so undoing a divergent tail is going back to it.
 *   M3  checkpoint <= durable: the log can be replayed from it.
 *   M4  archived <= commit and archived <= applied: the archive holds only what will stay, and the digest at a restore
 *       point is known when its pack is sealed.
 *   M5  Nothing is recycled that recovery (after the checkpoint), the archive (after archived) or, within the retention limit,
 *       another site still needs. A dead site never fills another's disk: `retain` bounds `needed`. */
#include "replication/core/marks.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct lsn marks_apply_to(const struct marks *m)
{
    /* Commit moves before our own disk is done when the two others have the entry; it is in the log's memory then, and
     * applying it is right: it will never be undone. */
    return m->visible;
}

bool marks_may_publish(const struct marks *m, struct lsn at)
{
    return at.v <= m->commit.v && at.v <= m->durable.v;
}

struct lsn marks_archive_to(const struct marks *m)
{
    if (!m->archives)
        return m->archived;
    return (struct lsn){min_u64(m->commit.v, m->applied.v)};
}

struct lsn marks_recycle_below(const struct marks *m)
{
    uint64_t keep_from = m->checkpoint.v + 1;
    if (m->archives)
        keep_from = min_u64(keep_from, m->archived.v + 1);
    /* Sites that are behind are waited for, but only as far back as the retention reaches. */
    keep_from = min_u64(keep_from, max_u64(m->needed.v + 1, m->retain.v));
    return (struct lsn){keep_from};
}

bool marks_are_sound(const struct marks *m)
{
    return m->checkpoint.v <= m->applied.v && m->applied.v <= m->visible.v &&
           m->commit.v <= m->visible.v && m->checkpoint.v <= m->commit.v &&
           (!m->archives || m->archived.v <= m->commit.v);
}
