#include "replication/core/freshness.h"

void freshness_told(struct freshness *f, struct lsn commit, struct term term, uint64_t now_ms)
{
    if (now_ms < f->newest.ms)
        return; /* what came through another site may be older than what is known */
    bool waits = f->waits.ms > f->known_ms && f->waits.term.v == term.v;
    f->newest = (struct freshness_word){commit, term, now_ms};
    if (!waits || commit.v <= f->waits.commit.v)
        f->waits = f->newest; /* nothing is waited for, or this one says no more, and later */
}

static bool is_there(const struct freshness_word *w, struct lsn applied, struct term term)
{
    return w->ms != 0 && applied.v >= w->commit.v && term.v == w->term.v;
}

bool freshness_applied(struct freshness *f, struct lsn applied, struct term term, bool may_vote)
{
    bool all = is_there(&f->newest, applied, term);
    if (!may_vote || !(all || is_there(&f->waits, applied, term)))
        return false;
    f->known_ms = all ? f->newest.ms : f->waits.ms;
    f->waits = f->newest;
    return true;
}

void freshness_undone(struct freshness *f)
{
    f->known_ms = 0;
}

uint64_t freshness_age_us(const struct freshness *f, uint64_t now_ms)
{
    return f->known_ms == 0 ? UINT64_MAX : (now_ms - f->known_ms) * 1000;
}
