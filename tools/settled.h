/* What was done of a long list in many transactions is kept in a record, which each of them writes, too, under the condition
 * that nobody else has moved it. So nothing of the list is done twice, whoever is killed, and whoever else works at it at the
 * same time. */
#ifndef TOOLS_SETTLED_H
#define TOOLS_SETTLED_H

#include "client/triveni.h"
#include "tools/ordinals.h"

#include <jansson.h>

struct settled {
    const char *collection; /* where the record is, */
    const char *key;        /* and which one: of the list */
    struct ordinals done;   /* numbers of the list's items */
    uint64_t version;       /* of the record; 0: there is none */
};

/* As the cluster has it. */
int settled_load(struct settled *s, struct tvn *db, struct err *e);
/* Add the record and its condition to the transaction; members of `facts` (the reference is taken) stand in it, too. */
int settled_put(const struct settled *s, struct tvn_txn *txn, json_t *facts, struct err *e);

enum { SETTLED_AGAIN = 1, SETTLED_HALVE = 2 };
/* Call `try` for pieces of `total` items until all are settled: 0, those are; SETTLED_AGAIN: something moved, the same once
 * more; SETTLED_HALVE: it is too much for one transaction, or one of them stands in the way; or an error, which is returned.
 * ERR_CONDITION when things go on moving. */
int settled_in_pieces(size_t total, int (*try)(void *arg, size_t from, size_t n, struct err *e),
                      void *arg, struct err *e);
/* Does a refusal with this code come from one of the operations, so that the others can be tried without it? */
bool settled_is_of_one(int tvn_code);

#endif
