/* Inside of the making of copies: what copy.c and copy_trees.c share. Not for others. */
#ifndef REPOSITORY_IO_COPY_H
#define REPOSITORY_IO_COPY_H

#include "repository/io/archive.h"
#include "repository/io/operations.h"

struct repository_copy {
    struct repo_backend *to;
    struct lsn packs, snapshots; /* are there up to these */
    uint64_t tree;               /* tiles of a tree of so many entries are there */
    bool log;                    /* an operations log is */
    bool listed;
    unsigned generation; /* of keys: the newest when all was looked at */
    uint64_t disposed;   /* objects whose keys are destroyed there */
    uint64_t retired;    /* generations whose keys are */
    uint64_t unneeded;   /* objects here whose entries are in another one, when all was looked at */
};

/* A run, or what is done for one part. */
struct repo_copying {
    struct repository_copy *c;
    struct repository *r;
    bool deep;
    bool was_there;      /* what is missing now */
    uint64_t most, *put; /* bytes */
    struct repository_copy_report *report;
    void (*told)(void *arg, const char *object, const char *what);
    void *arg;
    struct err *e;
};

/* ---- copy.c ---- */
void repo_copy_tell(const struct repo_copying *x, const char *object, const char *what);
/* A whole file with these bytes. */
int repo_copy_text(const struct repo_copying *x, const char *name, struct bytes text);

/* ---- copy_trees.c ---- */
/* Both trees as they were before the objects were copied: that of the entries never reaches over a pack that the operations
 * log does not name, and the log never names a tree of entries that is not there yet. When the site published between the
 * two readings, the next run copies them. */
struct repo_copy_trees {
    int tree, log; /* 0: it is there */
    struct tlog_checkpoint checkpoint;
    uint8_t *text;
    size_t n;
    struct repo_operations_read operations;
    struct operation_inventory named;
};

/* What cannot be used is told. */
void repo_copy_trees_read(const struct repo_copying *x, struct repo_copy_trees *t);
int repo_copy_trees_put(const struct repo_copying *x, const struct repo_copy_trees *t);
void repo_copy_trees_free(struct repo_copy_trees *t); /* NULL is taken */
/* A verifier key, by who walks over them (repo_tree_keys). */
int repo_copy_key(void *copying, const struct tlog_key *key);

#endif
