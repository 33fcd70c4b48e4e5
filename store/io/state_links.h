/* The ends of the chains of records that were changed lately (store/core/jump.h): what the next version of a record needs to
 * know about the one before it. It is also in that one's row of the history; but to read a row there costs a walk through cold
 * pages, and its checksum covers the whole old value: a sixth of all that applying costs.
 *
 * A table of fixed size (P11) in which a record has one place, by its hash: it is overwritten by another record that has the
 * same place, and then its row is read.
 *
 * A transaction that is not committed, or a state that goes back, leaves ends of versions that never were. They do no harm and
 * need no forgetting: an end is used for the version of its lsn only, and a version of that lsn comes to be by being applied,
 * which keeps its own end here. */
#ifndef STORE_IO_STATE_LINKS_H
#define STORE_IO_STATE_LINKS_H

#include "store/core/bytes.h"
#include "store/core/err.h"
#include "store/core/ids.h"

enum {
    LINK_JUMPS = 4, /* all but one of sixteen changes need no more */
    LINKS_MAX_BYTES = 12 << 20,
};

struct link {
    struct lsn lsn;              /* of the version; 0: nothing is known */
    struct lsn jump[LINK_JUMPS]; /* where it leads to, where that leads to, ... */
    uint32_t depth;
    uint32_t jumps; /* how many are known */
};

struct links; /* opaque */

/* ERR_NO_MEMORY, or 0. */
int links_open(struct links **out, struct err *e);
void links_close(struct links *l);

/* What is known of the record's newest version. */
struct link links_find(const struct links *l, struct bytes record_key);
void links_keep(struct links *l, struct bytes record_key, const struct link *link);

#endif
