/* A bag on its way to disk: files that are hashed while they are written, and the manifests that follow from that.
 *
 * Everything is in "<into>.partial", which becomes `into` by one rename when all of it is durable. One thread. */
#ifndef TOOLS_BAG_H
#define TOOLS_BAG_H

#include "store/core/bytes.h"
#include "store/core/err.h"

#include <stdio.h>

struct bag; /* opaque */
/* ERR_EXISTS when `into` or "<into>.partial" is there; the latter was left by a process that was killed, or one works in it. */
int bag_create(struct bag **out, const char *into, struct err *e);
/* All files are closed. Writes the manifests and bagit.txt, makes the whole durable, and gives it its name. */
int bag_finish(struct bag *b, struct err *e);
/* Releases it; what was not finished is removed from the disk. NULL is taken. */
void bag_close(struct bag *b);

struct bag_sums {
    char sha256[2 * 32 + 1], sha512[2 * 64 + 1];
    uint64_t bytes;
};
/* A file of the bag: `name` as in the manifest; under "data/", it is payload. What is written to `f` need not be checked: bag_end
 * tells. Several may be open. */
struct bag_file {
    FILE *f;
    struct bag *bag;
    char name[72];
    int fd;
    int error; /* errno of the first write that failed */
    uint64_t bytes;
    struct bag_hashes *hashes;
};
int bag_begin(struct bag *b, const char *name, unsigned mode, struct bag_file *out, struct err *e);
/* Closes it in any case; ERR_NO_SPACE, ERR_IO with the name. `sums` may be NULL. */
int bag_end(struct bag_file *f, struct bag_sums *sums, struct err *e);
/* Begin, write, end. */
int bag_put(struct bag *b, const char *name, unsigned mode, struct bytes text,
            struct bag_sums *sums, struct err *e);
/* Of all payload files that were ended so far. */
void bag_payload(const struct bag *b, uint64_t *bytes, uint64_t *files);
/* A file without a name, beside the bag, to read and write. NULL with `e`. */
FILE *bag_scratch(struct bag *b, struct err *e);

/* The text of verify.sh: tools/bag_verify.sh. */
struct bytes bag_script(void);

#endif
