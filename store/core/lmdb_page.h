/* Pages of LMDB's data file, decoded from bytes: for checking a state without liblmdb, which trusts what it reads (a damaged page
 * makes it stop the process or read beyond the map) and cannot open a file without writing to the directory.
 *
 * FORMAT of a page (liblmdb 0.9, data version 1, 64 bits, little-endian; all offsets within the page)
 *   offset size field
 *        0    8 number      of the page in the file
 *        8    2 pad
 *       10    2 flags       0x01 branch, 0x02 leaf, 0x04 overflow, 0x08 meta, 0x10 dirty; nothing else here
 *       12    2 lower       end of the pointers: (lower - 16) / 2 nodes     } in an overflow page instead one
 *       14    2 upper       begin of the nodes                             } u32: how many pages it takes
 *       16      pointers    u16 each: where the node begins, in order of key
 *
 * FORMAT of a node
 *        0    4 size        of the data; branch: low 32 bits of the child's page number
 *        4    2 flags       0x01 data is on overflow pages, 0x02 data is a tree; branch: bits 32..47 of the child's number
 *        6    2 key size    the first node of a branch page has none
 *        8      key, then the data: as it is; or u64, the number of the first overflow page; or a tree
 *
 * FORMAT of a tree (48 bytes)
 *        0    4 pad, 4 flags u16, 6 depth u16, 8 branch pages u64, 16 leaf pages u64, 24 overflow pages u64,
 *       32    8 entries, 40 root page (all ones: none)
 *
 * The data of an overflow page begins at its byte 16 and goes on over all its pages. */
#ifndef STORE_CORE_LMDB_PAGE_H
#define STORE_CORE_LMDB_PAGE_H

#include "store/core/bytes.h"
#include "store/core/err.h"
#include "store/core/slot.h"

enum {
    LMDB_PAGE_HEADER_BYTES = 16,
    LMDB_TREE_BYTES = 48,
    LMDB_DEPTH_MAX = 32,
};
static const uint64_t lmdb_no_page = UINT64_MAX;

struct lmdb_tree {
    uint16_t flags, depth;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

enum lmdb_page_kind { LMDB_BRANCH = 1, LMDB_LEAF = 2, LMDB_OVERFLOW = 4 };
struct lmdb_page {
    enum lmdb_page_kind kind;
    struct bytes raw;
    uint32_t nodes; /* overflow: 0 */
    uint32_t pages; /* overflow: how many */
};

struct lmdb_node {
    struct bytes key;
    uint64_t page;     /* branch: the child; leaf: first overflow page, or 0 */
    bool is_tree;      /* leaf: the data is a tree */
    struct bytes data; /* leaf, not on overflow pages */
    uint32_t data_bytes;
};

/* The main tree, whose keys are the names of databases, and the last page in use, from a slot's picture of the meta page. */
void lmdb_meta(const struct slot *slot, struct lmdb_tree *main, uint64_t *last_page);

/* 0 or ERR_FORMAT with the reason, as the two below. Foreign bytes are expected. */
int lmdb_tree_decode(struct bytes raw, struct lmdb_tree *out, struct err *e);
/* `raw` is the whole page (of an overflow page: the first). */
int lmdb_page_decode(struct bytes raw, uint64_t number, struct lmdb_page *out, struct err *e);
int lmdb_page_node(const struct lmdb_page *page, uint32_t i, struct lmdb_node *out, struct err *e);

#endif
