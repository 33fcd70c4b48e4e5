/* Depth first, with the pages from the root to the leaf at hand in memory; no recursion, since the depth comes from the file.
 *
 * INVARIANTS
 *   W1  Each page is read at most once over all walks of a file, so a damaged pointer cannot make a circle.
 *   W2  Keys are told in strictly rising order, and within the bounds that the branch pages give.
 *   W3  What is told lies within a page, or within a buffer of the size that its node says, at most DATA_MAX_BYTES. */
#include "store/io/lmdb_walk.h"

#include "store/core/body.h"
#include "store/io/file.h"

#include <stdlib.h>

enum { DATA_MAX_BYTES = VALUE_MAX_BYTES + 4096, KEY_ROOM = 512 };

struct lmdb_level {
    struct lmdb_page page;
    uint64_t number;
    uint32_t next;          /* node to look at */
    struct bytes low, high; /* bounds, in pages of the levels above */
};

struct lmdb_file {
    int fd;
    size_t page_bytes;
    uint64_t last_page;
    uint8_t *seen;  /* a bit a page */
    uint8_t *pages; /* one a level */
    uint8_t *data;  /* of overflow pages */
    size_t data_room;
    struct lmdb_level levels[LMDB_DEPTH_MAX];
    uint8_t before[KEY_ROOM]; /* the key told last */
    size_t before_bytes;
};

int lmdb_file_open(struct lmdb_file **out, int fd, const struct slot *slot, struct err *e)
{
    struct lmdb_tree main;
    struct lmdb_file *f = calloc(1, sizeof *f);
    *out = f;
    if (f == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to read data.mdb");
    f->fd = fd;
    f->page_bytes = slot_page_bytes(slot);
    lmdb_meta(slot, &main, &f->last_page);
    /* What lies beyond the size at the sync is not part of the checkpoint; so the memory is bounded by the file. */
    if (f->last_page > slot->file_bytes / f->page_bytes)
        f->last_page = slot->file_bytes / f->page_bytes;
    f->seen = calloc((size_t)(f->last_page / 8 + 1), 1);
    f->pages = malloc(LMDB_DEPTH_MAX * f->page_bytes);
    if (f->seen != NULL && f->pages != NULL)
        return 0;
    lmdb_file_close(f);
    *out = NULL;
    return err_set(e, ERR_NO_MEMORY, "no memory to read data.mdb");
}

void lmdb_file_close(struct lmdb_file *f)
{
    if (f == NULL)
        return;
    free(f->seen);
    free(f->pages);
    free(f->data);
    free(f);
}

/* W1 */
static int take_pages(struct lmdb_file *f, uint64_t number, uint64_t n, struct err *e)
{
    if (number < 2 || number > f->last_page || n > f->last_page - number + 1)
        return err_set(e, ERR_FORMAT, "page %llu is beyond the last one, %llu",
                       (unsigned long long)(number + n - 1), (unsigned long long)f->last_page);
    for (uint64_t i = number; i < number + n; i++) {
        if ((f->seen[i / 8] >> (i % 8) & 1) != 0)
            return err_set(e, ERR_FORMAT, "page %llu is used twice", (unsigned long long)i);
        f->seen[i / 8] = (uint8_t)(f->seen[i / 8] | 1u << (i % 8));
    }
    return 0;
}

static int read_whole(struct lmdb_file *f, uint64_t number, uint8_t *p, size_t n, struct err *e)
{
    size_t got;
    int rc = file_read_at(f->fd, "data.mdb", p, n, number * f->page_bytes, &got, e);
    if (rc == 0 && got < n)
        rc = err_set(e, ERR_FORMAT, "the file ends in it");
    return rc;
}

static int read_page(struct lmdb_file *f, uint64_t number, uint8_t *p, struct lmdb_page *out,
                     struct err *e)
{
    int rc = take_pages(f, number, 1, e);
    if (rc == 0)
        rc = read_whole(f, number, p, f->page_bytes, e);
    return rc != 0 ? rc : lmdb_page_decode(bytes_of(p, f->page_bytes), number, out, e);
}

/* The data of a node that lies on overflow pages. */
static int read_overflow(struct lmdb_file *f, const struct lmdb_node *node, struct bytes *out,
                         struct err *e)
{
    const size_t n = LMDB_PAGE_HEADER_BYTES + (size_t)node->data_bytes;
    const size_t pages = (n + f->page_bytes - 1) / f->page_bytes;
    struct lmdb_page page;
    if (node->data_bytes > DATA_MAX_BYTES)
        return err_set(e, ERR_FORMAT, "a value of %u bytes", node->data_bytes);
    int rc = take_pages(f, node->page, pages, e);
    if (rc != 0)
        return rc;
    if (pages * f->page_bytes > f->data_room) {
        free(f->data);
        f->data_room = 0;
        f->data = malloc(pages * f->page_bytes);
        if (f->data == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for a value of %u bytes", node->data_bytes);
        f->data_room = pages * f->page_bytes;
    }
    rc = read_whole(f, node->page, f->data, pages * f->page_bytes, e);
    if (rc == 0)
        rc = lmdb_page_decode(bytes_of(f->data, f->page_bytes), node->page, &page, e);
    if (rc == 0 && (page.kind != LMDB_OVERFLOW || page.pages != pages))
        rc = err_set(e, ERR_FORMAT, "it is no overflow page of %zu pages", pages);
    *out = bytes_of(f->data + LMDB_PAGE_HEADER_BYTES, node->data_bytes);
    return rc;
}

static int damaged(const struct lmdb_visitor *v, uint64_t page, struct bytes low, struct bytes high,
                   const struct err *why)
{
    return why->code == ERR_NO_MEMORY ? ERR_NO_MEMORY
                                      : v->damaged(v->arg, page, low, high, why->text);
}

/* W2 */
static int check_order(struct lmdb_file *f, const struct lmdb_level *l, struct bytes key,
                       struct err *e)
{
    const struct bytes before = bytes_of(f->before, f->before_bytes);
    if (key.n == 0 || key.n > KEY_ROOM)
        return err_set(e, ERR_FORMAT, "a key of %zu bytes", key.n);
    if ((before.n != 0 && bytes_compare(key, before) <= 0) || bytes_compare(key, l->low) < 0 ||
        (l->high.n != 0 && bytes_compare(key, l->high) >= 0))
        return err_set(e, ERR_FORMAT, "a key is out of order");
    memcpy(f->before, key.p, key.n);
    f->before_bytes = key.n;
    return 0;
}

static int tell_leaf(struct lmdb_file *f, struct lmdb_level *l, const struct lmdb_visitor *v,
                     struct err *e)
{
    for (; l->next < l->page.nodes; l->next++) {
        struct lmdb_node node;
        struct err why = ERR_NONE;
        uint64_t at = l->number;
        int rc = lmdb_page_node(&l->page, l->next, &node, &why);
        if (rc == 0)
            rc = check_order(f, l, node.key, &why);
        if (rc != 0) { /* of the other nodes nothing can be believed */
            rc = damaged(v, at, bytes_of(f->before, f->before_bytes), l->high, &why);
            l->next = l->page.nodes;
            return rc;
        }
        if (node.page != 0) {
            at = node.page;
            rc = read_overflow(f, &node, &node.data, &why);
            if (rc == 0 && v->progress != NULL)
                v->progress(v->arg, node.data_bytes);
        }
        rc = rc != 0 ? damaged(v, at, node.key, node.key, &why)
                     : v->row(v->arg, node.key, node.data, node.is_tree, at);
        if (rc == ERR_NO_MEMORY)
            return err_set(e, rc, "no memory to read data.mdb");
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Into the next child of a branch page. *down tells whether there is one more level now. */
static int descend(struct lmdb_file *f, unsigned depth, unsigned tree_depth,
                   const struct lmdb_visitor *v, bool *down)
{
    struct lmdb_level *l = &f->levels[depth], *child = l + 1;
    struct lmdb_node node, after;
    struct err why = ERR_NONE;
    *down = false;
    int rc = lmdb_page_node(&l->page, l->next, &node, &why);
    struct bytes low = rc == 0 && l->next > 0 ? node.key : l->low, high = l->high;
    if (rc == 0 && l->next + 1 < l->page.nodes) {
        rc = lmdb_page_node(&l->page, l->next + 1, &after, &why);
        high = after.key;
    }
    if (rc != 0) {
        l->next = l->page.nodes;
        return damaged(v, l->number, low, l->high, &why);
    }
    l->next++;
    *child = (struct lmdb_level){.number = node.page, .low = low, .high = high};
    rc = read_page(f, node.page, f->pages + (depth + 1) * f->page_bytes, &child->page, &why);
    const enum lmdb_page_kind expected = depth + 2 == tree_depth ? LMDB_LEAF : LMDB_BRANCH;
    if (rc == 0 && child->page.kind != expected)
        rc = err_set(&why, ERR_FORMAT, "it is of the wrong kind for its place");
    if (rc != 0)
        return damaged(v, node.page, low, high, &why);
    *down = true;
    return 0;
}

int lmdb_walk(struct lmdb_file *f, const struct lmdb_tree *tree, const struct lmdb_visitor *v,
              struct err *e)
{
    struct err why = ERR_NONE;
    struct lmdb_level *root = &f->levels[0];
    unsigned depth = 0;
    f->before_bytes = 0;
    if (tree->depth == 0)
        return 0;
    *root = (struct lmdb_level){.number = tree->root};
    int rc = read_page(f, tree->root, f->pages, &root->page, &why);
    if (rc == 0 && root->page.kind != (tree->depth == 1 ? LMDB_LEAF : LMDB_BRANCH))
        rc = err_set(&why, ERR_FORMAT, "it is of the wrong kind for its place");
    if (rc != 0)
        return damaged(v, tree->root, root->low, root->high, &why);
    for (;;) {
        struct lmdb_level *l = &f->levels[depth];
        bool down = false;
        if (l->page.kind == LMDB_LEAF)
            rc = tell_leaf(f, l, v, e);
        if (rc == 0 && l->next < l->page.nodes)
            rc = descend(f, depth, tree->depth, v, &down);
        if (rc != 0)
            return rc == ERR_NO_MEMORY ? err_set(e, rc, "no memory to read data.mdb") : rc;
        if (v->progress != NULL && (down || l->page.kind == LMDB_LEAF))
            v->progress(v->arg, down ? f->page_bytes : 0);
        if (down)
            depth++;
        else if (l->next >= l->page.nodes && depth-- == 0)
            return 0;
    }
}
