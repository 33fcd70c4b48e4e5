/* The files of the archive's two trees, that of the entries (REPO_TREE) and that of the operations (REPO_OPERATIONS): reading
 * tiles, bundles, the checkpoint and the verifier keys, and writing many of them. Needs no key-encryption key: all of it is
 * for strangers.
 *
 *   <root>/checkpoint                    the newest signed checkpoint; it is replaced
 *   <root>/tile/<L>/<N>[.p/<W>]          hashes; written once, partial ones removed when the full tile is there
 *   <root>/tile/entries/<N>[.p/<W>]      the leaves, each after its size; those of REPO_TREE are headers (0x0080)
 *   tree/keys/<key id>                   verifier keys of those who signed checkpoints here, for both */
#ifndef REPOSITORY_IO_TILES_H
#define REPOSITORY_IO_TILES_H

#include "repository/core/operations.h"
#include "repository/core/tlog_text.h"
#include "repository/io/backend.h"
#include "repository/io/sign.h"
#include "store/core/entry.h"

#define REPO_TREE "tree"
#define REPO_OPERATIONS "operations"

enum {
    TREE_LEAF_BYTES = 2 + ENTRY_HEADER_BYTES, /* in a bundle */
    TREE_BUNDLE_BYTES = TLOG_TILE_WIDTH * TREE_LEAF_BYTES,
    TREE_FILE_MAX_BYTES = TLOG_TILE_WIDTH * (2 + OPERATION_MAX_BYTES), /* of either tree */
    TREE_FILES_MAX = 64, /* that wait to be written: 2 MiB, and as many open files */
};

enum { REPO_TILE_NAME_BYTES = TLOG_PATH_BYTES + 16 };
void repo_tile_name(const char *root, const struct tlog_tile *t, bool entries,
                    char out[REPO_TILE_NAME_BYTES]);
/* A tile or, with `entries`, a bundle of REPO_TREE, which must have exactly its size; `out` has room for a full one. Where a
 * partial one is gone, the full one that replaced it is read. ERR_INTEGRITY when it is missing or has another size, ERR_IO. */
int repo_tile_read(struct repo_backend *b, const char *root, const struct tlog_tile *t,
                   bool entries, uint8_t *out, struct err *e);
/* The leaves of a bundle of either tree, each after its size, as many as the tile is wide: *out is allocated. */
int repo_bundle_read(struct repo_backend *b, const char *root, const struct tlog_tile *t,
                     uint8_t **out, size_t *n, struct err *e);

/* Nodes of the tree of `size` leaves, from its tiles; the last tile is kept. A tlog_node_fn with a struct repo_tiles. */
struct repo_tiles {
    struct repo_backend *backend;
    const char *root;
    uint64_t size;
    struct tlog_tile at; /* width 0: none yet */
    uint8_t hashes[TLOG_TILE_BYTES];
};
int repo_tiles_node(void *arg, unsigned level, uint64_t index, struct sha256 *out, struct err *e);

/* Header of leaf `index`, as the bundle has it. */
int repo_tree_header(struct repo_backend *b, uint64_t index, uint64_t size,
                     uint8_t out[ENTRY_HEADER_BYTES], struct err *e);

/* The newest checkpoint that one of the keys in tree/keys signed, and which (*by), with its text (*text is allocated, note
 * and *text belong together). ERR_NOT_FOUND when there is none, ERR_INTEGRITY when none is signed. */
int repo_checkpoint_read(struct repo_backend *b, const char *root, uint8_t **text, size_t *n,
                         struct tlog_checkpoint *out, struct tlog_note *note, struct tlog_key *by,
                         struct err *e);
/* Does any tile lie there? */
bool repo_tiles_any(struct repo_backend *b, const char *root);
/* Keys in tree/keys. Stops with the callback's non-zero result; a file that is no key is ERR_INTEGRITY. */
int repo_tree_keys(struct repo_backend *b, int (*each)(void *arg, const struct tlog_key *),
                   void *arg, struct err *e);

/* ---- writing ---- */

struct repo_tree_files {
    struct repo_backend *backend;
    size_t n;
    bool sync_failed;
    struct {
        struct repo_temp temp;
        uint8_t *bytes; /* allocated */
        size_t size;
    } file[TREE_FILES_MAX];
};
/* Queue a verifier key, or a file; when the queue is full it is flushed first. The bytes are copied. */
int repo_tree_key_add(struct repo_tree_files *f, const struct tlog_key *key, struct err *e);
int repo_tree_files_add(struct repo_tree_files *f, const char *name, struct bytes b, struct err *e);
/* All of them on stable storage, read back, under their names, durably. A name that is taken by the same bytes is fine
 * (an interrupted writer left it); by others ERR_INTEGRITY. */
int repo_tree_files_flush(struct repo_tree_files *f, struct err *e);
void repo_tree_files_drop(struct repo_tree_files *f);
/* Replace a file that is meant to be: a checkpoint. */
int repo_tree_replace(struct repo_backend *b, const char *name, struct bytes text,
                      bool *sync_failed, struct err *e);
/* Partial tiles and bundles of the tree of `old` leaves that are full in the one of `size` are removed. What cannot be removed is
 * in nobody's way. */
void repo_tree_tidy(struct repo_backend *b, const char *root, uint64_t old, uint64_t size);

#endif
