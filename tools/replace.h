/* Replacing a member by another: what is to be done next, from what the primary says of the list and of the sites. Pure.
 *
 * The list itself remembers how far it has come, so whoever looks at it, at any moment and however often, goes on from there. The
 * new site votes before the old one goes, and one of them alone changes at a time; at no moment fewer sites vote than before. */
#ifndef TOOLS_REPLACE_H
#define TOOLS_REPLACE_H

#include "store/core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum replace_step {
    REPLACE_ADD = 1,   /* the new site, as a replica */
    REPLACE_WAIT,      /* `why` */
    REPLACE_PROMOTE,   /* the new site */
    REPLACE_HAND_OVER, /* the old site is primary: to the new one */
    REPLACE_REMOVE,    /* the old site */
    REPLACE_DONE,
};

struct replace {
    const char *leaves, *comes; /* names, borrowed */
    bool promoted;              /* in this run: then the old one may go */
    const char *kind;           /* of the old site; borrowed from the last list */
    uint64_t durable, last;     /* of the new site, and of the primary's log; 0: not known */
    char why[160];
};

/* `list`: the answer to "member-list", `status`: to "status", both of the primary. 0; ERR_NOT_FOUND: no member is called so;
 * ERR_CONDITION: it would be unsafe, or is no replacement, with what to do instead. */
int replace_look(struct replace *r, const json_t *list, const json_t *status,
                 enum replace_step *out, struct err *e);

#endif
