#include "replication/core/answered.h"

const char *acknowledged_name(enum acknowledged a)
{
    return a == ACKNOWLEDGED_NO ? "no" : a == ACKNOWLEDGED_YES ? "yes" : "possible";
}

void answered_begin(struct answered *a, struct term term)
{
    *a = (struct answered){.term = term};
}

void answered_local(struct answered *a, struct lsn lsn, bool heard)
{
    if (lsn.v > a->local.v)
        a->local = lsn;
    if (heard)
        return;
    if (a->gone_count == ANSWERED_GONE_MAX)
        a->gone_lost = true;
    else
        a->gone[a->gone_count++] = lsn;
}

void answered_outcome(struct answered *a, struct lsn lsn)
{
    if (lsn.v > a->outcome.v)
        a->outcome = lsn;
}

static bool was_gone(const struct answered *a, struct lsn lsn)
{
    for (uint32_t i = 0; i < a->gone_count; i++)
        if (a->gone[i].v == lsn.v)
            return true;
    return a->gone_lost;
}

enum acknowledged answered_what(const struct answered *a, struct term term, struct lsn lsn,
                                enum level level, struct lsn commit)
{
    if (a->term.v == 0 || term.v != a->term.v)
        return ACKNOWLEDGED_POSSIBLE; /* another process was the one to answer */
    if (level == LEVEL_LOCAL && lsn.v <= a->local.v && !was_gone(a, lsn))
        return ACKNOWLEDGED_YES;
    /* A stronger level, and a repeat of any, is answered when a majority has it. */
    bool by_local = level <= LEVEL_LOCAL && lsn.v <= a->local.v;
    if (by_local || lsn.v <= commit.v || lsn.v <= a->outcome.v)
        return ACKNOWLEDGED_POSSIBLE;
    return ACKNOWLEDGED_NO;
}
