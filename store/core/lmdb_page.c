#include "store/core/lmdb_page.h"

#include "store/core/check.h"

enum {
    NODE_HEADER_BYTES = 8,
    FLAG_DIRTY = 0x10,
    NODE_BIG = 0x01,
    NODE_TREE = 0x02,
    META_MAIN = 88,
    META_LAST_PAGE = 136,
};

static struct lmdb_tree tree_of(const uint8_t *p)
{
    return (struct lmdb_tree){.flags = get_le16(p + 4),
                              .depth = get_le16(p + 6),
                              .branch_pages = get_le64(p + 8),
                              .leaf_pages = get_le64(p + 16),
                              .overflow_pages = get_le64(p + 24),
                              .entries = get_le64(p + 32),
                              .root = get_le64(p + 40)};
}

void lmdb_meta(const struct slot *slot, struct lmdb_tree *main, uint64_t *last_page)
{
    *main = tree_of(slot->meta + META_MAIN);
    *last_page = get_le64(slot->meta + META_LAST_PAGE);
}

int lmdb_tree_decode(struct bytes raw, struct lmdb_tree *out, struct err *e)
{
    if (raw.n != LMDB_TREE_BYTES)
        return err_set(e, ERR_FORMAT, "a tree of %zu bytes", raw.n);
    *out = tree_of(raw.p);
    if (out->depth > LMDB_DEPTH_MAX || (out->root == lmdb_no_page) != (out->depth == 0))
        return err_set(e, ERR_FORMAT, "a tree of depth %u", out->depth);
    return 0;
}

int lmdb_page_decode(struct bytes raw, uint64_t number, struct lmdb_page *out, struct err *e)
{
    check(raw.n >= 512 && raw.n <= SLOT_PAGE_MAX_BYTES);
    const unsigned flags = get_le16(raw.p + 10) & ~(unsigned)FLAG_DIRTY;
    const unsigned lower = get_le16(raw.p + 12), upper = get_le16(raw.p + 14);
    *out = (struct lmdb_page){.kind = (enum lmdb_page_kind)flags, .raw = raw};
    if (get_le64(raw.p) != number)
        return err_set(e, ERR_FORMAT, "it says that it is page %llu",
                       (unsigned long long)get_le64(raw.p));
    if (flags == LMDB_OVERFLOW) {
        out->pages = get_le32(raw.p + 12);
        return out->pages != 0 ? 0 : err_set(e, ERR_FORMAT, "an overflow page of no pages");
    }
    if (flags != LMDB_BRANCH && flags != LMDB_LEAF)
        return err_set(e, ERR_FORMAT, "flags %04x are no page of a tree", flags);
    if (lower < LMDB_PAGE_HEADER_BYTES || lower % 2 != 0 || lower > upper || upper > raw.n)
        return err_set(e, ERR_FORMAT, "its bounds %u and %u are impossible", lower, upper);
    out->nodes = (lower - LMDB_PAGE_HEADER_BYTES) / 2;
    if (out->nodes < (flags == LMDB_BRANCH ? 2u : 1u))
        return err_set(e, ERR_FORMAT, "it has %u nodes", out->nodes);
    return 0;
}

int lmdb_page_node(const struct lmdb_page *page, uint32_t i, struct lmdb_node *out, struct err *e)
{
    check(i < page->nodes);
    const uint8_t *raw = page->raw.p;
    const size_t n = page->raw.n;
    const size_t at = get_le16(raw + LMDB_PAGE_HEADER_BYTES + (size_t)2 * i);
    *out = (struct lmdb_node){.page = 0};
    if (at < get_le16(raw + 14) || at + NODE_HEADER_BYTES > n)
        return err_set(e, ERR_FORMAT, "node %u begins at byte %zu", i, at);
    const uint32_t low = get_le32(raw + at);
    const unsigned flags = get_le16(raw + at + 4), key_bytes = get_le16(raw + at + 6);
    size_t room = n - at - NODE_HEADER_BYTES;
    if (key_bytes > room)
        return err_set(e, ERR_FORMAT, "node %u has a key of %u bytes", i, key_bytes);
    out->key = bytes_of(raw + at + NODE_HEADER_BYTES, key_bytes);
    room -= key_bytes;
    if (page->kind == LMDB_BRANCH) {
        out->page = (uint64_t)flags << 32 | low;
        return 0;
    }
    const uint8_t *data = out->key.p + key_bytes;
    out->data_bytes = low;
    out->is_tree = flags == NODE_TREE;
    if (flags == NODE_BIG) {
        if (room < 8)
            return err_set(e, ERR_FORMAT, "node %u is cut short", i);
        out->page = get_le64(data);
        return 0;
    }
    if (flags != 0 && flags != NODE_TREE)
        return err_set(e, ERR_FORMAT, "node %u has flags %04x", i, flags);
    if (low > room)
        return err_set(e, ERR_FORMAT, "node %u has %u bytes of data", i, low);
    out->data = bytes_of(data, low);
    return 0;
}
