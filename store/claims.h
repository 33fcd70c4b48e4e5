/* Values that transactions in flight give to records in unique indexes. The state's rows tell of what is applied; the primary has
 * to know of what is logged behind that.
 *
 * A claim says that a transaction gave a record the value, no more: a later one may have taken it away again. So whoever finds
 * one looks at the record (overlay.h). Claims leave from the front when the state has them.
 *
 * Single-threaded: owned by the site's loop. Each call is O(1) but for claims of one value. Bounded by what is in flight: a claim
 * takes the record's key and CLAIM_BYTES. */
#ifndef STORE_CLAIMS_H
#define STORE_CLAIMS_H

#include "store/core/bytes.h"
#include "store/core/err.h"
#include "store/core/ids.h"

enum { CLAIM_BYTES = 64 };

struct claims; /* opaque */

/* `seed` is random, so that clients cannot choose values that collide. NULL when out of memory. */
struct claims *claims_new(uint64_t seed);
void claims_free(struct claims *c); /* NULL is allowed */

/* The record gets the value in the index of that number: pending, until the transaction was logged as `lsn` or was not. */
int claims_add(struct claims *c, uint64_t index, struct bytes value, struct bytes key,
               struct err *e); /* 0 or ERR_NO_MEMORY */
void claims_settle(struct claims *c, struct lsn lsn);
void claims_abandon(struct claims *c);

/* Forget what is applied; or all. */
void claims_drop(struct claims *c, struct lsn applied);
void claims_clear(struct claims *c);

/* One after the other: the records that claim the value, newest first, and perhaps others. *at begins as NULL. The key is valid
 * until the next claim comes or leaves. */
bool claims_next(const struct claims *c, uint64_t index, struct bytes value, const void **at,
                 struct bytes *key);

#endif
