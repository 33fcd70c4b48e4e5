/* The files of the operations log. Contract of the calls: repository/operations.h.
 *
 *   operations/checkpoint, operations/tile/…        as those of the tree (tiles.h); the leaves are core/operations.h
 *   operations/next                                 what is being added, signed: see operations_log.c
 *   operations/pending/<id>.json                    handed in: the leaf, and its seal under the data key of a pack */
#ifndef REPOSITORY_IO_OPERATIONS_H
#define REPOSITORY_IO_OPERATIONS_H

#include "repository/io/archive.h"
#include "repository/io/tiles.h"
#include "repository/io/tree.h"
#include "repository/operations.h"

#define OPERATIONS_PENDING "operations/pending"

/* Origin of its checkpoints, and name of the key that signs them: "triveni/<cluster id>/operations". */
void repo_operations_origin(const struct uuid *cluster, char out[TLOG_NAME_BYTES]);

/* ---- operations.c: reading ---- */

/* The signed log, whole in memory: about 400 bytes a leaf. Begins as zeros; released by the caller, also after an error. */
struct repo_operations_read {
    struct tlog_checkpoint checkpoint;
    struct tlog_key by;
    struct tlog_edge edge;
    uint8_t *leaves; /* each after its size */
    size_t bytes, cap;
    size_t partial; /* where those of the last, partial bundle begin */
    uint8_t *note;  /* the signed checkpoint */
    size_t note_bytes;
};
/* After signature, leaves, tiles and root held. ERR_NOT_FOUND: there is none; ERR_INTEGRITY with the file. */
int repo_operations_read(struct repo_backend *b, const struct uuid *cluster,
                         struct repo_operations_read *out, struct err *e);
void repo_operations_release(struct repo_operations_read *x);
/* Its leaves, decoded, in order. */
int repo_operations_each(const struct repo_operations_read *x,
                         int (*each)(void *arg, uint64_t index, const struct operation *),
                         void *arg, struct err *e);
/* What was handed in: first only its names, in no order; then, of what was not taken yet, the leaves in order of time. That
 * whose seal does not hold is told to `bad` (may be NULL) and passed over: it must not stop the site. */
struct repo_handed_in {
    char name[REPO_NAME_BYTES];
    struct operation o; /* before it is read: its id */
};
struct repo_pending {
    struct repo_handed_in *at;
    size_t n, cap;
};
int repo_pending_list(struct repo_backend *b, struct repo_pending *out, struct err *e);
void repo_pending_taken(struct repo_pending *l, uint64_t id); /* leave it out */
int repo_pending_read(struct repository *r, struct repo_pending *l, repo_tree_damage_fn bad,
                      void *arg, struct err *e);
void repo_pending_release(struct repo_pending *l);
/* Does the verifier key of the log lie in tree/keys? Then it was signed once. */
bool repo_operations_key_lies(struct repository *r);
/* The newest signed tree of entries that its leaves name; *size 0: none, or it cannot be read. ERR_NO_MEMORY. */
int repo_operations_tree(struct repository *r, uint64_t *size, struct sha256 *root, struct err *e);
/* repository_operations_of, and what cannot be taken is told. */
int repo_operations_all(struct repository *r,
                        int (*each)(void *arg, uint64_t index, const struct operation *), void *arg,
                        repo_tree_damage_fn bad, void *bad_arg, struct operations_summary *out,
                        struct err *e);
/* All of it. */
int repo_operations_inventory(const struct repo_operations_read *x, struct operation_inventory *inv,
                              struct err *e);
/* One leaf. The array is allocated, and as large as it takes. */
int repo_operations_replay(struct operation_inventory *inv, const struct operation *o,
                           struct err *e);

/* ---- operations_check.c: verification ---- */
struct repo_operations_check; /* opaque */
/* Read the log, after the checkpoint of the tree and before the objects are listed: a running site only adds. What is wrong is
 * told. ERR_NO_MEMORY. */
int repo_operations_check_begin(struct repository *r, repo_tree_damage_fn damage, void *arg,
                                struct repo_operations_check **out, struct err *e);
/* Hold it against what is there (NULL: only free it) and the tree's checkpoint (NULL: there is none); fills operations, pending
 * and unnamed. Frees. NULL is taken. */
void repo_operations_check_end(struct repo_operations_check *c, const struct repo_inventory *now,
                               const struct tlog_checkpoint *tree, struct repository_report *out);

/* ---- operations_log.c: writing ---- */
/* Keep the log of an archive that is open for writing, signed with the key in `key_file`, which is there. */
int repo_operations_open(struct repository *r, const char *key_file, struct err *e);
const struct tlog_key *
repo_operations_key(const struct repo_operations *o); /* that it signs with */
/* Its checkpoint once more, as this process knows it, because it is lost where it lay. ERR_NOT_READY: it knows none. */
int repo_operations_again(struct repository *r, bool *sync_failed, struct err *e);
void repo_operations_free(struct repo_operations *o); /* NULL is taken */

#endif
