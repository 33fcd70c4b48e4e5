/* Objects read ahead, on as many threads as there are processors (from a bucket: as many as read at once), and told in the
 * order in which they were named: so that a verification can go on with the tree, or with what is in an object, while the next
 * ones are read. Of an object the SHA-256; of a pack also all that its entries can tell by themselves. */
#ifndef REPOSITORY_IO_AHEAD_H
#define REPOSITORY_IO_AHEAD_H

#include "repository/io/archive.h"

struct repo_ahead; /* opaque */

/* An entry as the tree has it. */
struct repo_ahead_leaf {
    uint8_t header[ENTRY_HEADER_BYTES];
    struct sha256 hash; /* tlog_leaf_hash() of it */
};
/* What was read of a pack: every entry decoded, following the one before, restore points as its meta has them. */
struct repo_ahead_pack {
    uint64_t entries; /* up to the end, or to what is damaged */
    const struct repo_ahead_leaf *leaves;
    struct digest sum; /* of their references to records (repository/core/keyref.h) */
    struct sha256 sha256;
};

/* Objects that were added are read in that order; `o` must outlive it. All are added before the first is taken.
 * ERR_NO_MEMORY. */
int repo_ahead_new(struct repository *r, size_t most, struct repo_ahead **out, struct err *e);
void repo_ahead_add(struct repo_ahead *a, const struct repo_object *o); /* at most `most` */
void repo_ahead_add_pack(struct repo_ahead *a, const struct repo_pack *p);
/* Of each that was added, in that order. Files are opened and closed by the thread that calls. ERR_NOT_FOUND, ERR_IO,
 * ERR_FORMAT as in reading it. */
int repo_ahead_take(struct repo_ahead *a, const struct repo_object *o, struct sha256 *out,
                    struct err *e);
/* The same of a pack; what it gives is valid until the next one is taken, and is told after an error, too. Errors as of
 * repo_pack_walk(). */
int repo_ahead_take_pack(struct repo_ahead *a, const struct repo_pack *p,
                         struct repo_ahead_pack *out, struct err *e);
void repo_ahead_free(struct repo_ahead *a); /* NULL is taken; waits for what is being read */

#endif
