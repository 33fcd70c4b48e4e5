/* A part of the signed tree, looked at from its root down, and put right.
 *
 * The partial tiles, one of each level, lead to the root that was signed, so each of their hashes is known to be right. A
 * hash in a tile is the root of a full tile of the level below, which is so known, too; and so on down to the leaves, whose
 * headers lie in the bundles. So every file has something that it must lead to, whichever others are damaged beside it, and
 * whatever leads there is right wherever it comes from: from the files below it, from the entries in the packs, from a copy.
 * Nothing of a copy is believed but that.
 *
 *   tree/checkpoint   the signature, the partial tiles, the full ones of level 2 and more
 *   a stretch         one tile of level 1 (and those above it, on the way), its tiles of level 0 and its bundles; of the last
 *                     stretch as many as there are
 *
 * A running site only adds: a partial tile that is gone is in the full one that replaced it (repo_tile_read). */
#include "repository/io/parts.h"

#include "repository/io/tiles.h"
#include "repository/io/tree.h"

#include "store/core/check.h"

#include <stdio.h>

struct look {
    struct repo_backend *b;
    struct repo_sources *from;
    struct repo_advance *a;
    struct err *e;
    struct tlog_checkpoint checkpoint;
    struct tlog_edge edge;
    uint8_t above[TLOG_TILE_BYTES]; /* the tile of level 1 of a stretch */
    uint8_t hashes[TLOG_TILE_BYTES], lower[TLOG_TILE_BYTES], deeper[TLOG_TILE_BYTES];
    uint8_t bundle[TREE_BUNDLE_BYTES];
};

static bool is_damage(int rc)
{
    return rc == ERR_INTEGRITY || rc == ERR_IO;
}

static struct sha256 root_of(unsigned level, uint64_t index, const uint8_t *hashes)
{
    const struct tlog_tile t = {level, index, TLOG_TILE_WIDTH};
    const unsigned half = TLOG_TILE_HEIGHT * (level + 1) - 1;
    const struct sha256 left = tlog_tile_node(&t, hashes, half, 2 * index),
                        right = tlog_tile_node(&t, hashes, half, 2 * index + 1);
    return tlog_node_hash(&left, &right);
}

static bool is_root(unsigned level, uint64_t index, const uint8_t *hashes,
                    const struct sha256 *root)
{
    const struct sha256 found = root_of(level, index, hashes);
    return sha256_equal(&found, root);
}

static int read_own(struct look *x, const struct tlog_tile *t, bool entries, uint8_t *out,
                    struct err *e)
{
    repo_advance(x->a, (uint64_t)t->width * (entries ? TREE_LEAF_BYTES : TLOG_HASH_BYTES));
    return repo_tile_read(x->b, REPO_TREE, t, entries, out, e);
}

static int put_tile(struct look *x, const struct tlog_tile *t, bool entries, const void *bytes)
{
    char name[REPO_TILE_NAME_BYTES];
    const size_t each = entries ? TREE_LEAF_BYTES : TLOG_HASH_BYTES;
    repo_tile_name(REPO_TREE, t, entries, name);
    return repo_part_put(x->b, name, bytes_of(bytes, each * t->width), x->from, x->e);
}

/* ---- bundles ---- */

/* False: a size before a leaf, which no hash is over, is none of a header. */
static bool hash_leaves(const struct tlog_tile *t, const uint8_t *bundle, uint8_t *hashes)
{
    bool good = true;
    for (size_t i = 0; i < t->width; i++) {
        const uint8_t *slot = bundle + i * TREE_LEAF_BYTES;
        const struct sha256 leaf = tlog_leaf_hash(bytes_of(slot + 2, ENTRY_HEADER_BYTES));
        good = good && (slot[0] << 8 | slot[1]) == ENTRY_HEADER_BYTES;
        memcpy(hashes + i * TLOG_HASH_BYTES, leaf.b, TLOG_HASH_BYTES);
    }
    return good;
}

static int take_header(void *arg, const struct entry_view *v)
{
    repo_tree_leaf(arg, v->header.lsn.v - 1, v->raw);
    return 0;
}

static int bundle_from_packs(struct look *x, const struct tlog_tile *t, struct err *e)
{
    const struct lsn first = {t->index * TLOG_TILE_WIDTH + 1},
                     last = {t->index * TLOG_TILE_WIDTH + t->width};
    if (x->from->packs == NULL)
        return err_set(e, ERR_NOT_FOUND, "there are no packs");
    return repository_entries(x->from->packs, first, last, take_header, x->bundle, e);
}

/* The hashes of a tile of level 1 or more, as the tiles below it have them. */
static bool add_up(struct look *x, const struct tlog_tile *t, uint8_t *out)
{
    for (unsigned i = 0; i < t->width; i++) {
        const struct tlog_tile below = {t->level - 1, t->index * TLOG_TILE_WIDTH + i,
                                        TLOG_TILE_WIDTH};
        if (read_own(x, &below, false, x->lower, NULL) != 0)
            return false;
        const struct sha256 root = root_of(below.level, below.index, x->lower);
        memcpy(out + (size_t)i * TLOG_HASH_BYTES, root.b, TLOG_HASH_BYTES);
    }
    return true;
}

/* The same without those tiles: as follows from what is below them, which of level 0 are the headers. */
static bool add_up_deeper(struct look *x, const struct tlog_tile *t, uint8_t *out)
{
    for (unsigned i = 0; i < t->width; i++) {
        const struct tlog_tile below = {t->level - 1, t->index * TLOG_TILE_WIDTH + i,
                                        TLOG_TILE_WIDTH};
        if (below.level != 0 ? !add_up(x, &below, x->deeper)
                             : bundle_from_packs(x, &below, NULL) != 0 &&
                                   read_own(x, &below, true, x->bundle, NULL) != 0)
            return false;
        if (below.level == 0)
            (void)hash_leaves(&below, x->bundle, x->deeper);
        const struct sha256 root = root_of(below.level, below.index, x->deeper);
        memcpy(out + (size_t)i * TLOG_HASH_BYTES, root.b, TLOG_HASH_BYTES);
    }
    return true;
}

/* ---- the partial tiles ---- */

static bool leads(struct look *x)
{
    const struct sha256 root = tlog_edge_root(&x->edge);
    return sha256_equal(&root, &x->checkpoint.root);
}

/* All that can be read; what the first that could not says. */
static int read_rows(struct look *x, struct repo_backend *b, struct err *e)
{
    struct tlog_tile t;
    int first = 0;
    x->edge.size = x->checkpoint.size;
    for (unsigned level = 0; level < TLOG_LEVELS; level++) {
        struct err why = ERR_NONE;
        if (!tlog_tile_partial(level, x->edge.size, &t))
            continue;
        int rc = repo_tile_read(b, REPO_TREE, &t, false, x->edge.row[level][0].b, &why);
        if (first == 0 && rc != 0)
            first = err_set(e, rc, "%s", why.text);
        repo_advance(x->a, (uint64_t)t.width * TLOG_HASH_BYTES);
    }
    return first;
}

/* What follows from below: of level 0 from the headers, of the others from the full tiles. A row that does not come so stays
 * as it was read. */
static void derive_rows(struct look *x,
                        bool (*below)(struct look *, const struct tlog_tile *, uint8_t *))
{
    struct tlog_tile t;
    if (tlog_tile_partial(0, x->edge.size, &t) &&
        (bundle_from_packs(x, &t, NULL) == 0 || read_own(x, &t, true, x->bundle, NULL) == 0))
        (void)hash_leaves(&t, x->bundle, x->edge.row[0][0].b);
    for (unsigned level = 1; level < TLOG_LEVELS; level++)
        if (tlog_tile_partial(level, x->edge.size, &t) && below(x, &t, x->hashes))
            memcpy(x->edge.row[level], x->hashes, (size_t)TLOG_HASH_BYTES * t.width);
}

static int put_rows(struct look *x)
{
    struct tlog_tile t;
    int rc = 0;
    for (unsigned level = 0; rc == 0 && level < TLOG_LEVELS; level++)
        if (tlog_tile_partial(level, x->edge.size, &t))
            rc = put_tile(x, &t, false, x->edge.row[level]);
    return rc;
}

static int load_edge(struct look *x)
{
    struct err why = ERR_NONE;
    int rc = read_rows(x, x->b, &why);
    if (rc == 0 && !leads(x))
        rc = err_set(&why, ERR_INTEGRITY,
                     "tree/tile: the partial tiles do not lead to the root that was signed");
    if (rc == 0)
        return 0;
    if (x->from == NULL || !is_damage(rc))
        return err_set(x->e, rc, "%s", why.text);
    derive_rows(x, add_up);
    bool found = leads(x);
    if (!found) {
        derive_rows(x, add_up_deeper);
        found = leads(x);
    }
    for (size_t i = 0; !found && i < x->from->n; i++) {
        found = read_rows(x, x->from->others[i], NULL) == 0 && leads(x);
        x->from->used = found ? i + 1 : x->from->used;
    }
    if (found)
        return put_rows(x);
    return err_set(x->e, ERR_INTEGRITY,
                   "%s; neither do those that follow from what is below them, "
                   "nor those of a copy",
                   why.text);
}

/* ---- full tiles ---- */

static bool find_tile(struct look *x, const struct tlog_tile *t, const struct sha256 *root,
                      uint8_t *out)
{
    if (add_up(x, t, out) && is_root(t->level, t->index, out, root))
        return true;
    if (add_up_deeper(x, t, out) && is_root(t->level, t->index, out, root))
        return true;
    for (size_t i = 0; i < x->from->n; i++)
        if (repo_tile_read(x->from->others[i], REPO_TREE, t, false, out, NULL) == 0 &&
            is_root(t->level, t->index, out, root)) {
            x->from->used = i + 1;
            return true;
        }
    return false;
}

static int full_tile(struct look *x, const struct tlog_tile *t, const struct sha256 *root,
                     uint8_t *out)
{
    char name[REPO_TILE_NAME_BYTES];
    struct err why = ERR_NONE;
    repo_tile_name(REPO_TREE, t, false, name);
    int rc = read_own(x, t, false, out, &why);
    if (rc == 0 && !is_root(t->level, t->index, out, root))
        rc = err_set(&why, ERR_INTEGRITY, "%s: it does not lead to the root that was signed", name);
    if (rc == 0)
        return 0;
    if (x->from == NULL || !is_damage(rc))
        return err_set(x->e, rc, "%s", why.text);
    if (find_tile(x, t, root, out))
        return put_tile(x, t, false, out);
    return err_set(x->e, ERR_INTEGRITY,
                   "%s; it follows neither from the tiles below it nor from the packs, and no copy "
                   "has it",
                   why.text);
}

/* The full tile, by way of those above it: of the highest one the hash is in a partial tile. */
static int descend(struct look *x, unsigned level, uint64_t index, uint8_t *out)
{
    const uint64_t size = x->checkpoint.size;
    unsigned top = level;
    while (top + 2 < TLOG_LEVELS && index >> (8 * (top + 1 - level)) < size >> (8 * (top + 2)))
        top++;
    struct sha256 root = x->edge.row[top + 1][(index >> (8 * (top - level))) % TLOG_TILE_WIDTH];
    int rc = 0;
    for (unsigned at = top + 1; rc == 0 && at > level; at--) {
        const struct tlog_tile t = {at - 1, index >> (8 * (at - 1 - level)), TLOG_TILE_WIDTH};
        rc = full_tile(x, &t, &root, out);
        if (rc == 0 && at - 1 > level)
            memcpy(root.b,
                   out + (index >> (8 * (at - 2 - level))) % TLOG_TILE_WIDTH * TLOG_HASH_BYTES,
                   TLOG_HASH_BYTES);
    }
    return rc;
}

/* ---- leaves ---- */

/* Of a full tile the root is known, of the partial one each hash. */
static bool fits(const struct look *x, const struct tlog_tile *t, const uint8_t *hashes,
                 const struct sha256 *root)
{
    return t->width == TLOG_TILE_WIDTH
               ? is_root(0, t->index, hashes, root)
               : memcmp(hashes, x->edge.row[0], (size_t)TLOG_HASH_BYTES * t->width) == 0;
}

static bool find_bundle(struct look *x, const struct tlog_tile *t, const struct sha256 *root)
{
    if (bundle_from_packs(x, t, NULL) == 0 && hash_leaves(t, x->bundle, x->hashes) &&
        fits(x, t, x->hashes, root))
        return true;
    for (size_t i = 0; i < x->from->n; i++) {
        if (repo_tile_read(x->from->others[i], REPO_TREE, t, true, x->bundle, NULL) != 0)
            continue;
        if (hash_leaves(t, x->bundle, x->hashes) && fits(x, t, x->hashes, root)) {
            x->from->used = i + 1;
            return true;
        }
    }
    return false;
}

/* A tile of level 0 and the bundle of its leaves. */
static int leaf_tile(struct look *x, const struct tlog_tile *t, const struct sha256 *root)
{
    char name[2][REPO_TILE_NAME_BYTES];
    struct err why = ERR_NONE, headers = ERR_NONE;
    repo_tile_name(REPO_TREE, t, false, name[0]);
    repo_tile_name(REPO_TREE, t, true, name[1]);
    int rc = read_own(x, t, false, x->hashes, &why);
    if (rc == 0 && !fits(x, t, x->hashes, root))
        rc = err_set(&why, ERR_INTEGRITY, "%s: it does not lead to the root that was signed",
                     name[0]);
    int below = read_own(x, t, true, x->bundle, &headers);
    if (below == 0) {
        if (!hash_leaves(t, x->bundle, x->hashes) || !fits(x, t, x->hashes, root))
            below = err_set(&headers, ERR_INTEGRITY,
                            "%s: its headers do not lead to the root that was signed", name[1]);
    }
    if (rc == 0 && below == 0)
        return 0;
    const struct err *first = rc != 0 ? &why : &headers;
    if (x->from == NULL || (rc != 0 && !is_damage(rc)) || (below != 0 && !is_damage(below)))
        return err_set(x->e, first->code, "%s", first->text);
    if (below != 0 && !find_bundle(x, t, root))
        return err_set(x->e, ERR_INTEGRITY,
                       "%s; the headers come neither from the packs nor from a copy", headers.text);
    rc = put_tile(x, t, true, x->bundle);
    return rc == 0 ? put_tile(x, t, false, x->hashes) : rc;
}

static int look_at_stretch(struct look *x, uint64_t stretch)
{
    const uint64_t size = x->checkpoint.size;
    const bool full = stretch < size / REPO_STRETCH_ENTRIES;
    const uint64_t first = stretch * TLOG_TILE_WIDTH;
    int rc = 0;
    if (stretch * REPO_STRETCH_ENTRIES >= size)
        return err_set(x->e, ERR_INTEGRITY, "tree/checkpoint: its tree ends with lsn %llu",
                       (unsigned long long)size);
    if (full)
        rc = descend(x, 1, stretch, x->above);
    else
        memcpy(x->above, x->edge.row[1], sizeof x->above);
    for (uint64_t i = first; rc == 0 && i < first + TLOG_TILE_WIDTH && i < size / TLOG_TILE_WIDTH;
         i++) {
        const struct tlog_tile t = {0, i, TLOG_TILE_WIDTH};
        struct sha256 root;
        memcpy(root.b, x->above + (i - first) * TLOG_HASH_BYTES, sizeof root.b);
        rc = leaf_tile(x, &t, &root);
    }
    const struct sha256 none = {{0}}; /* each hash of the last one is known instead */
    struct tlog_tile t;
    if (rc == 0 && !full && tlog_tile_partial(0, size, &t))
        rc = leaf_tile(x, &t, &none);
    return rc;
}

/* ---- a part ---- */

static int read_checkpoint(struct look *x, const struct uuid *cluster)
{
    char origin[TLOG_NAME_BYTES];
    struct tlog_note note;
    struct tlog_key by;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_checkpoint_read(x->b, REPO_TREE, &text, &n, &x->checkpoint, &note, &by, x->e);
    if (rc == 0 && (rc = repo_signatures_hold(x->b, &note, x->e)) != 0)
        err_wrap(x->e, "tree/checkpoint");
    free(text);
    repo_tree_origin(cluster, origin);
    repo_advance(x->a, n);
    if (rc == ERR_NOT_FOUND)
        return err_set(x->e, ERR_INTEGRITY, "tree/checkpoint: it is missing");
    if (rc == 0 && strcmp(origin, x->checkpoint.origin) != 0)
        rc = err_set(x->e, ERR_INTEGRITY, "tree/checkpoint: it is of another log: %.120s",
                     x->checkpoint.origin);
    return rc;
}

/* From the top, so that what is below is asked of what is right. */
static int look_at_upper(struct look *x)
{
    int rc = 0;
    for (unsigned level = TLOG_LEVELS - 2; rc == 0 && level >= 2; level--)
        for (uint64_t i = 0; rc == 0 && i < x->checkpoint.size >> (8 * (level + 1)); i++)
            rc = descend(x, level, i, x->above);
    return rc;
}

int repo_tree_part(struct repo_backend *b, const struct uuid *cluster, const struct repo_part *part,
                   struct repo_sources *from, struct repo_advance *a, struct err *e)
{
    struct look *x = calloc(1, sizeof *x);
    if (x == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to look at the tree");
    x->b = b;
    x->from = from;
    x->a = a;
    x->e = e;
    int rc = read_checkpoint(x, cluster);
    if (rc == 0)
        rc = load_edge(x);
    if (rc == 0)
        rc = part->kind == REPO_PART_TREE ? look_at_upper(x) : look_at_stretch(x, part->stretch);
    free(x);
    return rc;
}
