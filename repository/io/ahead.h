/* The SHA-256 of many objects, each read once from begin to end, on as many threads as there are processors (from a bucket:
 * as many as read at once), and told in the order in which they were named: so that a verification can go on with the tree,
 * or with what is in an object, while the next ones are hashed. */
#ifndef REPOSITORY_IO_AHEAD_H
#define REPOSITORY_IO_AHEAD_H

#include "repository/io/archive.h"

struct repo_ahead; /* opaque */

/* Objects that were added are hashed in that order; `o` must outlive it. All are added before the first is taken.
 * ERR_NO_MEMORY. */
int repo_ahead_new(struct repo_backend *b, size_t most, struct repo_ahead **out, struct err *e);
void repo_ahead_add(struct repo_ahead *a, const struct repo_object *o); /* at most `most` */
/* Of each that was added, in that order. Files are opened and closed by the thread that calls. ERR_NOT_FOUND, ERR_IO,
 * ERR_FORMAT as in reading it. */
int repo_ahead_take(struct repo_ahead *a, const struct repo_object *o, struct sha256 *out,
                    struct err *e);
void repo_ahead_free(struct repo_ahead *a); /* NULL is taken; waits for what is being read */

#endif
