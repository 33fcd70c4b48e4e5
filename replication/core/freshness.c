#include "replication/core/freshness.h"

void freshness_told(struct freshness *f, struct lsn commit, struct term term, uint64_t now_ms)
{
    if (now_ms < f->told_ms)
        return; /* what came through another site may be older than what is known */
    f->commit = commit;
    f->term = term;
    f->told_ms = now_ms;
}

bool freshness_applied(struct freshness *f, struct lsn applied, struct term term, bool may_vote)
{
    if (f->told_ms == 0 || !may_vote || applied.v < f->commit.v || term.v != f->term.v)
        return false;
    f->known_ms = f->told_ms;
    return true;
}

uint64_t freshness_age_us(const struct freshness *f, uint64_t now_ms)
{
    return f->known_ms == 0 ? UINT64_MAX : (now_ms - f->known_ms) * 1000;
}
