/* The Merkle tree of RFC 6962 from perfect subtrees.
 *
 * Why from perfect subtrees: their roots never change once they are complete, so they are what tiles hold and what can be
 * written once. Every hash that a root or a proof needs is the tree over a range of leaves, and such a range falls apart
 * into at most 64 perfect subtrees, which are joined from the right: a small subtree is always the right neighbour of all
 * that is larger.
 *
 * The recursive definitions of the RFC are walked here from the root down with the current range in two variables; what they
 * would append on the way back is appended on the way down and turned round at the end. */
#include "repository/core/tlog.h"

#include "store/core/check.h"
#include "store/core/hash.h"

#include <stdio.h>

struct sha256 tlog_leaf_hash(struct bytes leaf)
{
    static const uint8_t prefix = 0;
    return hash_sha256_2(bytes_of(&prefix, 1), leaf);
}

struct sha256 tlog_node_hash(const struct sha256 *left, const struct sha256 *right)
{
    uint8_t both[1 + 2 * TLOG_HASH_BYTES];
    both[0] = 1;
    memcpy(both + 1, left->b, TLOG_HASH_BYTES);
    memcpy(both + 1 + TLOG_HASH_BYTES, right->b, TLOG_HASH_BYTES);
    return hash_sha256(bytes_of(both, sizeof both));
}

/* ---- tiles ---- */

void tlog_tile_path(const struct tlog_tile *t, bool entries, char out[TLOG_PATH_BYTES])
{
    uint64_t above = 1; /* 1000^k: the digits that are still to be written begin above it */
    size_t at = 0;
    check(t->width >= 1 && t->width <= TLOG_TILE_WIDTH && (!entries || t->level == 0));
    if (entries)
        at += (size_t)snprintf(out, TLOG_PATH_BYTES, "tile/entries");
    else
        at += (size_t)snprintf(out, TLOG_PATH_BYTES, "tile/%u", t->level);
    while (t->index / above >= 1000)
        above *= 1000;
    for (; above != 0; above /= 1000)
        at += (size_t)snprintf(out + at, TLOG_PATH_BYTES - at, "/%s%03u", above == 1 ? "" : "x",
                               (unsigned)(t->index / above % 1000));
    if (t->width < TLOG_TILE_WIDTH)
        at += (size_t)snprintf(out + at, TLOG_PATH_BYTES - at, ".p/%u", t->width);
    check(at < TLOG_PATH_BYTES);
}

/* Hashes in all tiles of a level. */
static uint64_t hashes_at(unsigned level, uint64_t size)
{
    return size >> (TLOG_TILE_HEIGHT * level);
}

bool tlog_tile_partial(unsigned level, uint64_t size, struct tlog_tile *out)
{
    uint64_t n = hashes_at(level, size);
    *out = (struct tlog_tile){level, n / TLOG_TILE_WIDTH, (unsigned)(n % TLOG_TILE_WIDTH)};
    return out->width != 0;
}

struct tlog_tile tlog_tile_of(unsigned node_level, uint64_t node_index, uint64_t size)
{
    unsigned level = node_level / TLOG_TILE_HEIGHT;
    uint64_t first = node_index << (node_level % TLOG_TILE_HEIGHT);
    struct tlog_tile t = {level, first / TLOG_TILE_WIDTH, TLOG_TILE_WIDTH};
    uint64_t here = hashes_at(level, size) - t.index * TLOG_TILE_WIDTH;
    if (here < TLOG_TILE_WIDTH)
        t.width = (unsigned)here;
    check(t.width != 0);
    return t;
}

/* Root over n = 2^k hashes. */
static struct sha256 perfect_root(const uint8_t *hashes, size_t n)
{
    struct sha256 level[TLOG_TILE_WIDTH];
    memcpy(level, hashes, n * TLOG_HASH_BYTES);
    for (; n > 1; n /= 2)
        for (size_t i = 0; i < n / 2; i++)
            level[i] = tlog_node_hash(&level[2 * i], &level[2 * i + 1]);
    return level[0];
}

struct sha256 tlog_tile_node(const struct tlog_tile *t, const uint8_t *hashes, unsigned node_level,
                             uint64_t node_index)
{
    unsigned height = node_level % TLOG_TILE_HEIGHT;
    size_t n = (size_t)1 << height;
    size_t at = (size_t)((node_index << height) - t->index * TLOG_TILE_WIDTH);
    check(node_level / TLOG_TILE_HEIGHT == t->level && at + n <= t->width);
    return perfect_root(hashes + at * TLOG_HASH_BYTES, n);
}

/* ---- growing ---- */

int tlog_edge_add(struct tlog_edge *edge, const struct sha256 *leaf,
                  int (*full)(void *arg, const struct tlog_tile *, const struct sha256 *hashes),
                  void *arg)
{
    struct sha256 hash = *leaf;
    check(edge->size < TLOG_SIZE_MAX);
    for (unsigned level = 0; level < TLOG_LEVELS; level++) {
        uint64_t n = hashes_at(level, edge->size);
        struct sha256 *row = edge->row[level];
        row[n % TLOG_TILE_WIDTH] = hash;
        if (n % TLOG_TILE_WIDTH != TLOG_TILE_WIDTH - 1)
            break;
        struct tlog_tile t = {level, n / TLOG_TILE_WIDTH, TLOG_TILE_WIDTH};
        int rc = full(arg, &t, row);
        if (rc != 0)
            return rc;
        hash = perfect_root(row[0].b, TLOG_TILE_WIDTH);
    }
    edge->size++;
    return 0;
}

static int edge_node(void *arg, unsigned level, uint64_t index, struct sha256 *out, struct err *e)
{
    const struct tlog_edge *edge = arg;
    struct tlog_tile t = tlog_tile_of(level, index, edge->size);
    (void)e;
    *out = tlog_tile_node(&t, edge->row[t.level][0].b, level, index);
    return 0;
}

struct sha256 tlog_edge_root(struct tlog_edge *edge)
{
    struct sha256 root;
    check(tlog_root(edge->size, edge_node, edge, &root, NULL) == 0);
    return root;
}

/* ---- ranges ---- */

static unsigned trailing_zeros(uint64_t v)
{
    unsigned n = 0;
    for (; v != 0 && (v & 1) == 0; v >>= 1)
        n++;
    return n;
}

/* Largest power of two below n > 1. */
static uint64_t split_of(uint64_t n)
{
    uint64_t k = 1;
    while (k < n - k)
        k *= 2;
    return k;
}

/* Tree over the leaves [begin, end), where begin is a multiple of a power of two that is not below end - begin: then the
 * range is, from the right, the subtrees of the ones among the bits of `end - begin`. */
static int range_root(uint64_t begin, uint64_t end, tlog_node_fn node, void *arg,
                      struct sha256 *out, struct err *e)
{
    bool first = true;
    while (end > begin) {
        unsigned level = trailing_zeros(end - begin);
        uint64_t width = (uint64_t)1 << level;
        struct sha256 left;
        int rc = node(arg, level, (end - width) >> level, &left, e);
        if (rc != 0)
            return rc;
        *out = first ? left : tlog_node_hash(&left, out);
        first = false;
        end -= width;
    }
    return 0;
}

int tlog_root(uint64_t size, tlog_node_fn node, void *arg, struct sha256 *out, struct err *e)
{
    if (size == 0)
        *out = hash_sha256(bytes_of(NULL, 0));
    return range_root(0, size, node, arg, out, e);
}

/* ---- making proofs ---- */

static void turn_round(struct tlog_proof *p)
{
    for (size_t i = 0; i < p->n / 2; i++) {
        struct sha256 h = p->hash[i];
        p->hash[i] = p->hash[p->n - 1 - i];
        p->hash[p->n - 1 - i] = h;
    }
}

static int proof_push(struct tlog_proof *p, uint64_t begin, uint64_t end, tlog_node_fn node,
                      void *arg, struct err *e)
{
    check(p->n < TLOG_PROOF_MAX);
    return range_root(begin, end, node, arg, &p->hash[p->n++], e);
}

int tlog_prove_inclusion(uint64_t index, uint64_t size, tlog_node_fn node, void *arg,
                         struct tlog_proof *out, struct err *e)
{
    uint64_t begin = 0, end = size;
    int rc = 0;
    out->n = 0;
    if (index >= size || size > TLOG_SIZE_MAX)
        return err_set(e, ERR_USAGE, "no leaf %llu in a tree of %llu", (unsigned long long)index,
                       (unsigned long long)size);
    while (rc == 0 && end - begin > 1) {
        uint64_t middle = begin + split_of(end - begin);
        if (index < middle) {
            rc = proof_push(out, middle, end, node, arg, e);
            end = middle;
        } else {
            rc = proof_push(out, begin, middle, node, arg, e);
            begin = middle;
        }
    }
    turn_round(out);
    return rc;
}

int tlog_prove_consistency(uint64_t old, uint64_t size, tlog_node_fn node, void *arg,
                           struct tlog_proof *out, struct err *e)
{
    uint64_t begin = 0, end = size;
    int rc = 0;
    out->n = 0;
    if (old > size || size > TLOG_SIZE_MAX)
        return err_set(e, ERR_USAGE, "a tree of %llu leaves does not begin with one of %llu",
                       (unsigned long long)size, (unsigned long long)old);
    if (old == 0)
        return 0;
    while (rc == 0 && old != end) {
        uint64_t middle = begin + split_of(end - begin);
        if (old <= middle) {
            rc = proof_push(out, middle, end, node, arg, e);
            end = middle;
        } else {
            rc = proof_push(out, begin, middle, node, arg, e);
            begin = middle;
        }
    }
    /* The verifier has the old tree's root; he needs what is left only when that is not the old tree itself. */
    if (rc == 0 && begin != 0)
        rc = proof_push(out, begin, end, node, arg, e);
    turn_round(out);
    return rc;
}

/* ---- checking proofs ---- */

int tlog_check_inclusion(const struct sha256 *leaf, uint64_t index, uint64_t size,
                         const struct tlog_proof *proof, const struct sha256 *root, struct err *e)
{
    uint64_t fn = index, sn = size - 1; /* names of the RFC */
    struct sha256 r = *leaf;
    if (index >= size)
        return err_set(e, ERR_INTEGRITY, "leaf %llu is beyond the tree of %llu leaves",
                       (unsigned long long)index, (unsigned long long)size);
    for (size_t i = 0; i < proof->n; i++) {
        if (sn == 0)
            return err_set(e, ERR_INTEGRITY, "the proof of inclusion is too long");
        if ((fn & 1) == 0 && fn != sn) {
            r = tlog_node_hash(&r, &proof->hash[i]);
        } else {
            r = tlog_node_hash(&proof->hash[i], &r);
            for (; (fn & 1) == 0 && fn != 0; fn >>= 1)
                sn >>= 1;
        }
        fn >>= 1;
        sn >>= 1;
    }
    if (sn != 0)
        return err_set(e, ERR_INTEGRITY, "the proof of inclusion is too short");
    if (!sha256_equal(&r, root))
        return err_set(e, ERR_INTEGRITY,
                       "the proof of inclusion does not lead to the root of the tree: leaf %llu "
                       "is not this entry",
                       (unsigned long long)index);
    return 0;
}

/* Both trees need no proof: they are the same, or the old one is empty. */
static int check_trivial(uint64_t old, const struct sha256 *old_root, uint64_t size,
                         const struct sha256 *root, const struct tlog_proof *proof, struct err *e)
{
    struct sha256 empty = hash_sha256(bytes_of(NULL, 0));
    const struct sha256 *expected = old == size ? root : &empty;
    if (proof->n != 0)
        return err_set(e, ERR_INTEGRITY, "the proof of consistency is too long");
    if (!sha256_equal(old_root, expected))
        return err_set(e, ERR_INTEGRITY,
                       "two trees of %llu entries have different roots: the history was changed",
                       (unsigned long long)old);
    return 0;
}

int tlog_check_consistency(uint64_t old, const struct sha256 *old_root, uint64_t size,
                           const struct sha256 *root, const struct tlog_proof *proof, struct err *e)
{
    if (old > size)
        return err_set(e, ERR_INTEGRITY,
                       "the tree shrank from %llu to %llu entries: the history was rolled back",
                       (unsigned long long)old, (unsigned long long)size);
    if (old == 0 || old == size)
        return check_trivial(old, old_root, size, root, proof, e);
    /* When the old tree is perfect its root is the first node of the path, and left out. */
    bool perfect = (old & (old - 1)) == 0;
    size_t at = perfect ? 0 : 1;
    uint64_t fn = old - 1, sn = size - 1;
    if (proof->n == 0)
        return err_set(e, ERR_INTEGRITY, "the proof of consistency is too short");
    for (; (fn & 1) != 0; fn >>= 1)
        sn >>= 1;
    struct sha256 fr = perfect ? *old_root : proof->hash[0], sr = fr;
    for (; at < proof->n; at++) {
        const struct sha256 *c = &proof->hash[at];
        if (sn == 0)
            return err_set(e, ERR_INTEGRITY, "the proof of consistency is too long");
        if ((fn & 1) != 0 || fn == sn) {
            fr = tlog_node_hash(c, &fr);
            sr = tlog_node_hash(c, &sr);
            for (; (fn & 1) == 0 && fn != 0; fn >>= 1)
                sn >>= 1;
        } else {
            sr = tlog_node_hash(&sr, c);
        }
        fn >>= 1;
        sn >>= 1;
    }
    if (sn != 0)
        return err_set(e, ERR_INTEGRITY, "the proof of consistency is too short");
    if (!sha256_equal(&fr, old_root) || !sha256_equal(&sr, root))
        return err_set(e, ERR_INTEGRITY,
                       "the tree of %llu entries does not begin with the tree of %llu: the "
                       "history was changed",
                       (unsigned long long)size, (unsigned long long)old);
    return 0;
}
