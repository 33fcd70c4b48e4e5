/* The reject file of a load: the bad lines, each once, in order, whatever was interrupted.
 *
 * Its size is part of the load's progress record. Lines written after the last commit are cut when the load goes on, and
 * written again when their batch is read again. */
#ifndef TOOLS_LOAD_REJECTS_H
#define TOOLS_LOAD_REJECTS_H

#include "store/core/bytes.h"
#include "store/core/err.h"

enum { REJECTS_NAME_BYTES = 1100 };

struct rejects {
    int fd; /* -1: none is kept */
    uint64_t bytes;
    bool changed; /* since the last sync */
    char name[REJECTS_NAME_BYTES];
};

/* `name` NULL: "<input>.rejects". `begun`: the load's progress record is there, so an existing file is its own and continued at
 * `bytes`; otherwise a file that holds something is ERR_EXISTS. */
int rejects_open(struct rejects *r, const char *name, const char *input, bool begun, uint64_t bytes,
                 struct err *e);
int rejects_add(struct rejects *r, struct bytes line, struct err *e);
int rejects_sync(struct rejects *r, struct err *e); /* before the batch that counts them commits */
void rejects_close(struct rejects *r);

#endif
