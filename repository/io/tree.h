/* The growing tree of an archive that is open for writing. Contract: repository/proof.h. */
#ifndef REPOSITORY_IO_TREE_H
#define REPOSITORY_IO_TREE_H

#include "repository/core/tlog_text.h"
#include "repository/io/archive.h"
#include "repository/io/tiles.h"

/* A checkpoint with the signatures of all sites that there may be. */
struct repo_tree_note {
    size_t n; /* 0: none yet */
    uint8_t text[8192];
};
/* Add the cosignature of a site (a line, by the key `vkey`), and publish its key through `files`. *added: it was not there
 * yet. ERR_FORMAT, ERR_INTEGRITY: it is not the site's, or does not hold; ERR_STALE: there is no note, or no room in it. */
int repo_tree_note_cosigned(struct repo_tree_note *note, struct repo_tree_files *files,
                            const struct uuid *cluster, const char *site, struct bytes vkey,
                            struct bytes line, bool *added, uint64_t *time_s, struct err *e);

struct repo_tree; /* opaque */

void repo_tree_free(struct repo_tree *t); /* NULL is taken */
/* Entries in the last checkpoint that this process wrote or read. */
struct lsn repo_tree_signed(const struct repo_tree *t);
struct sha256 repo_tree_signed_root(const struct repo_tree *t); /* of it */

const struct tlog_key *repo_tree_key(const struct repo_tree *t); /* that it signs with */
/* Publish the checkpoint once more as this process knows it, because it is lost where it lay. ERR_NOT_READY: it knows none. */
int repo_tree_again(struct repository *r, struct err *e);

/* The right edge of the tree of `size` leaves, from its partial tiles; `bundle` gets the last partial bundle, whose headers are
 * compared with their hashes. `edge` must be zero. ERR_INTEGRITY, ERR_IO. */
int repo_tree_load_edge(struct repo_backend *b, uint64_t size, struct tlog_edge *edge,
                        uint8_t *bundle, struct err *e);
/* Put leaf `index` to its place in the bundle that it belongs to. */
void repo_tree_leaf(uint8_t *bundle, uint64_t index, const uint8_t header[ENTRY_HEADER_BYTES]);

/* ---- verification (tree_check.c): does the tree follow from the packs? ---- */

struct repo_tree_check; /* opaque */
typedef void (*repo_tree_damage_fn)(void *arg, const char *object, const char *reason);
/* Read the checkpoint, before the packs are listed: a running site only adds. What is wrong is told. ERR_NO_MEMORY. */
int repo_tree_check_begin(struct repository *r, repo_tree_damage_fn damage, void *arg,
                          struct repo_tree_check **out, struct err *e);
/* The packs go so far. */
void repo_tree_check_reach(struct repo_tree_check *c, struct lsn archived);
/* What was read; NULL when there is none that could be. */
const struct tlog_checkpoint *repo_tree_check_checkpoint(const struct repo_tree_check *c);
/* The next entry in the order of the packs: its header, and the hash of that as a leaf. */
void repo_tree_check_leaf(struct repo_tree_check *c, struct lsn lsn,
                          const uint8_t header[ENTRY_HEADER_BYTES], const struct sha256 *hash);
/* Instead of its entries: of a pack that was disposed of, from the headers in the tree. ERR_INTEGRITY when they are not those
 * between its begin and its end. */
int repo_tree_check_disposed(struct repo_tree_check *c, const struct repo_pack *p, struct err *e);
/* Instead of its entries, when nobody can read any: the tree is followed from header to header, and this pack must begin and end
 * where the tree has these headers. ERR_INTEGRITY when it does not; what is wrong with the tree is told. */
int repo_tree_check_pack(struct repo_tree_check *c, const struct repo_pack *p, struct err *e);
int repo_tree_check_rest(struct repo_tree_check *c, struct err *e); /* and behind the last pack */
/* `read`: every pack's entries or headers were given. Otherwise only the right edge is compared with the checkpoint. Returns how
 * many entries the signed tree has, 0 when anything was wrong. Frees. NULL is taken. */
uint64_t repo_tree_check_end(struct repo_tree_check *c, bool read);

/* Origin of the checkpoints of a cluster's log, and name of the key that signs them at the archive: "triveni/<cluster id>". */
void repo_tree_origin(const struct uuid *cluster, char out[TLOG_NAME_BYTES]);

#endif
