/* The Merkle tree over the log: RFC 6962, section 2.1, with SHA-256, cut into the tiles of C2SP tlog-tiles.
 *
 * Leaf i is the 128-byte header of the entry with lsn i + 1. A leaf's hash is SHA-256(0x00 || header), that of an inner node
 * SHA-256(0x01 || left || right); the tree of n > 1 leaves is split at the largest power of two below n.
 *
 * A *node* (level, index) is the root of the perfect subtree of 2^level leaves that begins at leaf index * 2^level. A *tile*
 * (level, index) is a row of up to 256 nodes of level 8 * level, from node 256 * index on. Everything here is computed from
 * such nodes, so whoever has the tiles can make any proof.
 *
 * Pure; nothing is kept between calls but what the caller holds. */
#ifndef REPOSITORY_CORE_TLOG_H
#define REPOSITORY_CORE_TLOG_H

#include "store/core/bytes.h"
#include "store/core/err.h"

enum {
    TLOG_TILE_HEIGHT = 8,
    TLOG_TILE_WIDTH = 256,
    TLOG_HASH_BYTES = 32,
    TLOG_TILE_BYTES = TLOG_TILE_WIDTH * TLOG_HASH_BYTES,
    TLOG_LEVELS = 8,      /* of tiles: 2^64 leaves */
    TLOG_PATH_BYTES = 64, /* of the longest path */
    /* The longest proofs, for trees of up to 2^63 leaves: 63 hashes of inclusion, 64 of consistency. */
    TLOG_PROOF_MAX = 64,
};
#define TLOG_SIZE_MAX ((uint64_t)INT64_MAX)

struct sha256 tlog_leaf_hash(struct bytes leaf);
struct sha256 tlog_node_hash(const struct sha256 *left, const struct sha256 *right);

/* ---- tiles ---- */

struct tlog_tile {
    unsigned level;
    uint64_t index;
    unsigned width; /* 1 to 256; below 256 the tile is partial */
};

/* "tile/0/x001/234", a partial one with ".p/17" behind. With `entries` the bundle of leaves: "tile/entries/x001/234";
 * then the level must be 0. */
void tlog_tile_path(const struct tlog_tile *t, bool entries, char out[TLOG_PATH_BYTES]);
/* The partial tile at a level of a tree; false when there is none (width 0). */
bool tlog_tile_partial(unsigned level, uint64_t size, struct tlog_tile *out);
/* The tile of a tree of `size` leaves in which a node is a hash or lies above hashes. Requires that the node is in the tree. */
struct tlog_tile tlog_tile_of(unsigned node_level, uint64_t node_index, uint64_t size);
/* That node, from the tile's hashes (32 * width bytes). */
struct sha256 tlog_tile_node(const struct tlog_tile *t, const uint8_t *hashes, unsigned node_level,
                             uint64_t node_index);

/* ---- growing ---- */

/* The right edge of a tree: the hashes of each level's partial tile. 64 KiB. Begins as zeros. */
struct tlog_edge {
    uint64_t size;
    struct sha256 row[TLOG_LEVELS][TLOG_TILE_WIDTH]; /* level l holds (size >> 8 l) mod 256 */
};

/* Add a leaf. Each tile that it completes is handed out, lowest first, with its 256 hashes; a non-zero result of `full` ends
 * the call, and the edge is of no use then. Requires size < TLOG_SIZE_MAX. */
int tlog_edge_add(struct tlog_edge *edge, const struct sha256 *leaf,
                  int (*full)(void *arg, const struct tlog_tile *, const struct sha256 *hashes),
                  void *arg);
struct sha256 tlog_edge_root(struct tlog_edge *edge); /* leaves it as it is */

/* ---- proofs ---- */

struct tlog_proof {
    size_t n;
    struct sha256 hash[TLOG_PROOF_MAX]; /* in the order of RFC 6962: from the leaf upwards */
};

/* Where proofs get their nodes from. 0, or an error that ends the making of the proof. */
typedef int (*tlog_node_fn)(void *arg, unsigned level, uint64_t index, struct sha256 *out,
                            struct err *e);

/* Root of the first `size` leaves; of the empty tree it is SHA-256 of nothing. */
int tlog_root(uint64_t size, tlog_node_fn node, void *arg, struct sha256 *out, struct err *e);
/* Leaf `index` is in the tree of `size` leaves (2.1.1). ERR_USAGE unless index < size <= TLOG_SIZE_MAX. */
int tlog_prove_inclusion(uint64_t index, uint64_t size, tlog_node_fn node, void *arg,
                         struct tlog_proof *out, struct err *e);
/* The tree of `size` leaves begins with the tree of `old` leaves (2.1.2). Empty when old is 0 or size. ERR_USAGE unless
 * old <= size <= TLOG_SIZE_MAX. */
int tlog_prove_consistency(uint64_t old, uint64_t size, tlog_node_fn node, void *arg,
                           struct tlog_proof *out, struct err *e);

/* RFC 9162, 2.1.3.2 and 2.1.4.2: 0, or ERR_INTEGRITY when the proof does not lead to the root (to both roots). */
int tlog_check_inclusion(const struct sha256 *leaf, uint64_t index, uint64_t size,
                         const struct tlog_proof *proof, const struct sha256 *root, struct err *e);
int tlog_check_consistency(uint64_t old, const struct sha256 *old_root, uint64_t size,
                           const struct sha256 *root, const struct tlog_proof *proof,
                           struct err *e);

#endif
