/* A walk through a tree of LMDB's data file, page by page, that reads the file only and survives damage. */
#ifndef STORE_IO_LMDB_WALK_H
#define STORE_IO_LMDB_WALK_H

#include "store/core/lmdb_page.h"

struct lmdb_file; /* opaque */

/* `fd` stays the caller's. `slot` gives page size and last page. */
int lmdb_file_open(struct lmdb_file **out, int fd, const struct slot *slot, struct err *e);
void lmdb_file_close(struct lmdb_file *f);

/* A key is told in its order; everything is valid during the call only. */
struct lmdb_visitor {
    int (*row)(void *arg, struct bytes key, struct bytes data, bool is_tree, uint64_t page);
    /* A page that cannot be read or understood; the keys that it leads to are from `low` on (empty: from the start) and below
     * `high` (empty: to the end), or exactly `low` when both are equal. */
    int (*damaged)(void *arg, uint64_t page, struct bytes low, struct bytes high, const char *why);
    void (*progress)(void *arg, uint64_t bytes);
    void *arg;
};
/* 0, a callback's non-zero result, or ERR_NO_MEMORY. The visitor hears of damage; then the walk goes on behind it. */
int lmdb_walk(struct lmdb_file *f, const struct lmdb_tree *tree, const struct lmdb_visitor *v,
              struct err *e);

#endif
