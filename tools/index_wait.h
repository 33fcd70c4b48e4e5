/* Waiting for an index that has been declared: what each answer of the primary to "index-list" says of it. Pure. */
#ifndef TOOLS_INDEX_WAIT_H
#define TOOLS_INDEX_WAIT_H

#include "store/core/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct index_wait {
    const char *name; /* borrowed */
    bool unique;      /* wait until it is enforced, too */
    uint64_t
        lsn; /* of the declaration: a state before it tells of an older index of that name, or of none */
    unsigned twins;           /* answers in a row with duplicates */
    uint64_t passed, records; /* of the last look */
};

/* An answer for the index's collection. 1: it is as it was asked for. 0: look again. ERR_NOT_FOUND: it was dropped. ERR_FAILED:
 * the site cannot keep it. ERR_UNIQUE: duplicates stand in the way, and have in several answers in a row. */
int index_wait_look(struct index_wait *w, const json_t *reply, struct err *e);

/* Member `name` as a number from 0; 0 when it is missing or none. */
uint64_t index_count(const json_t *x, const char *name);

#endif
