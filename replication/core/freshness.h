/* How old what a site answers may be, when it is not the primary (P5): the time since everything that had been acknowledged was
 * applied here, or unknown.
 *
 * The primary says with each message how far it has committed. That covers what was acknowledged before if the primary had its
 * lease when it said so, for then nobody else had acknowledged anything (a follower outside the majority cannot tell a primary
 * that was replaced; only such a word is passed on to here); and once an entry of the primary's own term is committed: until then
 * it may know of less than its predecessor has acknowledged. And a rebuilt site cannot tell a primary from one that was replaced
 * (R5). Production and the simulator use this file alike.
 *
 * Under load the newest word is always ahead of what is applied. So an older one is kept, too, until it is: the age is then at
 * most twice what applying takes, and a heartbeat. */
#ifndef REPLICATION_CORE_FRESHNESS_H
#define REPLICATION_CORE_FRESHNESS_H

#include "store/core/ids.h"

#include <stdbool.h>

struct freshness {
    struct freshness_word { /* of a primary */
        struct lsn commit;
        struct term term; /* whose it is, */
        uint64_t ms; /* and when it came, or through another site, was surely said; 0: none yet */
    } newest,
        waits; /* waits: the oldest one of which not everything is applied; otherwise as the newest */
    uint64_t known_ms; /* when the newest word came of which everything is applied; 0: never */
};

void freshness_told(struct freshness *f, struct lsn commit, struct term term, uint64_t now_ms);
/* After each word, and when something was applied: `applied` and its term. True: everything of the newest word is there, or of
 * the one that was waited for: known_ms says which. */
bool freshness_applied(struct freshness *f, struct lsn applied, struct term term, bool may_vote);
/* What it knew is undone: it has to be told again. */
void freshness_undone(struct freshness *f);
/* Microseconds; UINT64_MAX: unknown. */
uint64_t freshness_age_us(const struct freshness *f, uint64_t now_ms);

#endif
