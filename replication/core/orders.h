/* R7: an operator's order carries what it expects to find. It names the term that the operator has seen, so that an order for a
 * situation that is over does nothing; a nonce, so that the same order, sent again because its answer was lost, is not carried
 * out twice but answered as the first time; and an expiry, so that one that lay in a queue for long does nothing either, and a
 * nonce need not be remembered for ever.
 *
 * The expiry is in the site's own time: the tool reads it from the status, with the term, so no two clocks are compared. That
 * time is commit time (store/core/commit_time.h), not the wall clock: set back, that would bring a forgotten nonce to life
 * again. What is remembered is lost with the process; a restarted primary is not primary in the same term again. */
#ifndef REPLICATION_CORE_ORDERS_H
#define REPLICATION_CORE_ORDERS_H

#include "store/core/bytes.h"
#include "store/core/err.h"
#include "store/core/ids.h"

#include <stdbool.h>

enum {
    ORDERS_KEPT =
        64, /* within ORDER_LIFE_MAX_S; people give a few an hour, scripts a few a minute */
    ORDER_NONCE_MIN_BYTES = 16,
    ORDER_NONCE_MAX_BYTES = 64,
    ORDER_LIFE_MAX_S = 600,
    ORDER_ANSWER_BYTES = 1024,
};

enum order_state { ORDER_FREE, ORDER_PENDING, ORDER_ANSWERED };

struct order {
    enum order_state state;
    char nonce[ORDER_NONCE_MAX_BYTES + 1];
    struct utc expires;
    void *asker; /* whose request it is, and which: to know its answer by; the owner's */
    uint64_t request;
    int code; /* ANSWERED: 0 or an error */
    char answer[ORDER_ANSWER_BYTES];
};

struct orders { /* begins as zero */
    struct order all[ORDERS_KEPT];
    uint32_t pending;
};

struct order_terms { /* what came with the order; 0 and "": not given */
    bool has_term;   /* there is a term 0, before the first election */
    struct term term;
    struct bytes nonce;
    struct utc expires;
};

/* May it be carried out now? 0: it may, and *out is PENDING, for the caller to fill in asker and request. 1: it was already,
 * *out is ANSWERED. Refused, and nothing is done: ERR_USAGE (something is missing or no nonce), ERR_CONDITION (another term),
 * ERR_TIMEOUT (expired), ERR_BUSY (the same one is being carried out, or too many are remembered). `what` names the order in
 * messages. */
int orders_admit(struct orders *o, const char *what, const struct order_terms *asked,
                 struct term term, struct utc now, struct order **out, struct err *e);
/* The answer to a request of `asker`, when it is an order. One that says "not now" (ERR_NOT_PRIMARY, ERR_BUSY) is not kept: the
 * client asks again by itself. True: it was pending, and the asker is not needed any more. */
bool orders_answered(struct orders *o, const void *asker, uint64_t request, int code,
                     const char *answer);
/* Forget one order that has expired by `now` and return it, so that the owner can let go of its asker when it was PENDING;
 * FREE: there is no more. */
struct order orders_forget(struct orders *o, struct utc now);

#endif
