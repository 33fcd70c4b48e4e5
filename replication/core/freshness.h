/* How old what a site answers may be, when it is not the primary (P5): the time since everything that had been acknowledged was
 * applied here, or unknown.
 *
 * The primary says with each message how far it has committed. That covers what was acknowledged before once an entry of its
 * own term is committed: until then it may know of less than its predecessor has acknowledged. And a rebuilt site cannot tell a
 * primary from one that was replaced (R5). Production and the simulator use this file alike. */
#ifndef REPLICATION_CORE_FRESHNESS_H
#define REPLICATION_CORE_FRESHNESS_H

#include "store/core/ids.h"

#include <stdbool.h>

struct freshness {
    struct lsn commit; /* the newest word of a primary, */
    struct term term;  /* whose it is, */
    uint64_t told_ms;  /* and when it came, or through another site, was surely said; 0: none yet */
    uint64_t known_ms; /* when the newest word came of which everything is applied; 0: never */
};

void freshness_told(struct freshness *f, struct lsn commit, struct term term, uint64_t now_ms);
/* After each word, and when something was applied: `applied` and its term. True: everything of the newest word is there. */
bool freshness_applied(struct freshness *f, struct lsn applied, struct term term, bool may_vote);
/* Microseconds; UINT64_MAX: unknown. */
uint64_t freshness_age_us(const struct freshness *f, uint64_t now_ms);

#endif
