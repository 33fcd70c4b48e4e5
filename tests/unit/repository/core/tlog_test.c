/* The Merkle tree against the published vectors of RFC 6962 (those of the Certificate Transparency project), and against a
 * second implementation below: the RFC's own recursion, over all leaves, for every size and every pair of sizes. */
#include "repository/core/tlog.h"

#include "store/core/hash.h"
#include "store/core/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

/* ---- the RFC's recursion ---- */

static struct sha256 leaves[70001];

static uint64_t largest_power_below(uint64_t n)
{
    uint64_t k = 1;
    while (2 * k < n)
        k *= 2;
    return k;
}

static struct sha256 naive_root(uint64_t begin, uint64_t end)
{
    if (end == begin)
        return hash_sha256(bytes_of(NULL, 0));
    if (end - begin == 1)
        return leaves[begin];
    uint64_t k = largest_power_below(end - begin);
    struct sha256 both[2] = {naive_root(begin, begin + k), naive_root(begin + k, end)};
    uint8_t one = 1;
    return hash_sha256_2(bytes_of(&one, 1), bytes_of(both, sizeof both));
}

static void naive_path(uint64_t m, uint64_t begin, uint64_t end, struct tlog_proof *p)
{
    if (end - begin == 1)
        return;
    uint64_t k = largest_power_below(end - begin);
    if (m < k) {
        naive_path(m, begin, begin + k, p);
        p->hash[p->n++] = naive_root(begin + k, end);
    } else {
        naive_path(m - k, begin + k, end, p);
        p->hash[p->n++] = naive_root(begin, begin + k);
    }
}

static void naive_subproof(uint64_t m, uint64_t begin, uint64_t end, bool whole,
                           struct tlog_proof *p)
{
    if (m == end - begin) {
        if (!whole)
            p->hash[p->n++] = naive_root(begin, end);
        return;
    }
    uint64_t k = largest_power_below(end - begin);
    if (m <= k) {
        naive_subproof(m, begin, begin + k, whole, p);
        p->hash[p->n++] = naive_root(begin + k, end);
    } else {
        naive_subproof(m - k, begin + k, end, false, p);
        p->hash[p->n++] = naive_root(begin, begin + k);
    }
}

static int naive_node(void *arg, unsigned level, uint64_t index, struct sha256 *out, struct err *e)
{
    (void)arg;
    (void)e;
    *out = naive_root(index << level, (index + 1) << level);
    return 0;
}

static void leaves_make(void)
{
    for (uint64_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        uint8_t raw[8];
        put_le64(raw, i);
        leaves[i] = tlog_leaf_hash(bytes_of(raw, sizeof raw));
    }
}

static void assert_same_proof(const struct tlog_proof *a, const struct tlog_proof *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->hash, b->hash, a->n * sizeof a->hash[0]);
}

/* ---- published ---- */

static const struct {
    const char *leaf, *root; /* of the tree that ends with it */
} published[8] = {
    {"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
    {"00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
    {"10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
    {"2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
    {"3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
    {"40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
    {"5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
    {"606162636465666768696a6b6c6d6e6f",
     "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
};

static const char h0[] = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
static const char h1[] = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
static const char h01[] = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
static const char h23[] = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
static const char h4[] = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
static const char h45[] = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
static const char h67[] = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
static const char h0123[] = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
static const char h4567[] = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";

static const struct {
    bool consistency;
    uint64_t m, n;
    const char *path[4];
} published_proofs[] = {
    {false, 0, 1, {NULL}},           {false, 0, 8, {h1, h23, h4567}},
    {false, 5, 8, {h4, h67, h0123}}, {false, 2, 3, {h01}},
    {false, 1, 5, {h0, h23, h4}},    {true, 1, 1, {NULL}},
    {true, 1, 8, {h1, h23, h4567}},  {true, 6, 8, {h45, h67, h0123}},
    {true, 2, 5, {h23, h4}},
};

static void assert_hash(const struct sha256 *h, const char *expected)
{
    char text[65];
    hex_format(h->b, sizeof h->b, text);
    assert_string_equal(text, expected);
}

static int none_is_full(void *arg, const struct tlog_tile *t, const struct sha256 *hashes)
{
    (void)arg;
    (void)t;
    (void)hashes;
    return ERR_FAILED;
}

static void published_roots_and_proofs_come_out(void **state)
{
    (void)state;
    struct tlog_edge *edge = calloc(1, sizeof *edge);
    assert_non_null(edge);
    struct sha256 root = tlog_edge_root(edge), roots[9];
    assert_hash(&root, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size_t i = 0; i < 8; i++) {
        uint8_t raw[16];
        size_t n = strlen(published[i].leaf) / 2;
        assert_int_equal(hex_parse(published[i].leaf, raw, n), 0);
        leaves[i] = tlog_leaf_hash(bytes_of(raw, n));
        assert_int_equal(tlog_edge_add(edge, &leaves[i], none_is_full, NULL), 0);
        roots[i + 1] = tlog_edge_root(edge);
        assert_hash(&roots[i + 1], published[i].root);
    }
    for (size_t i = 0; i < sizeof published_proofs / sizeof published_proofs[0]; i++) {
        uint64_t m = published_proofs[i].m, n = published_proofs[i].n;
        struct tlog_proof p;
        size_t count = 0;
        assert_int_equal((published_proofs[i].consistency
                              ? tlog_prove_consistency
                              : tlog_prove_inclusion)(m, n, naive_node, NULL, &p, NULL),
                         0);
        for (; published_proofs[i].path[count] != NULL; count++)
            assert_hash(&p.hash[count], published_proofs[i].path[count]);
        assert_int_equal(p.n, count);
        assert_int_equal(published_proofs[i].consistency
                             ? tlog_check_consistency(m, &roots[m], n, &roots[n], &p, NULL)
                             : tlog_check_inclusion(&leaves[m], m, n, &p, &roots[n], NULL),
                         0);
    }
    free(edge);
}

/* ---- against the recursion ---- */

static void every_leaf_of_every_tree_is_proven(void **state)
{
    (void)state;
    leaves_make();
    for (uint64_t n = 1; n <= 70; n++) {
        struct sha256 root = naive_root(0, n), other = naive_root(0, n + 1), again;
        assert_int_equal(tlog_root(n, naive_node, NULL, &again, NULL), 0);
        assert_memory_equal(&again, &root, sizeof root);
        for (uint64_t m = 0; m < n; m++) {
            struct tlog_proof p, q = {0};
            naive_path(m, 0, n, &q);
            assert_int_equal(tlog_prove_inclusion(m, n, naive_node, NULL, &p, NULL), 0);
            assert_same_proof(&p, &q);
            assert_int_equal(tlog_check_inclusion(&leaves[m], m, n, &p, &root, NULL), 0);
            /* Not another leaf, another root, or a proof with a hash more, less or changed. */
            for (uint64_t k = 0; k <= n; k++)
                if (k != m) {
                    assert_int_equal(tlog_check_inclusion(&leaves[m], k, n, &p, &root, NULL),
                                     ERR_INTEGRITY);
                    assert_int_equal(tlog_check_inclusion(&leaves[k], m, n, &p, &root, NULL),
                                     ERR_INTEGRITY);
                }
            assert_int_equal(tlog_check_inclusion(&leaves[m], m, n, &p, &other, NULL),
                             ERR_INTEGRITY);
            for (size_t i = 0; i < p.n; i++) {
                q = p;
                q.hash[i].b[(m + i) % 32] ^= 1;
                assert_int_equal(tlog_check_inclusion(&leaves[m], m, n, &q, &root, NULL),
                                 ERR_INTEGRITY);
            }
            q = p;
            q.hash[q.n++] = other;
            assert_int_equal(tlog_check_inclusion(&leaves[m], m, n, &q, &root, NULL),
                             ERR_INTEGRITY);
            q = p;
            if (q.n-- != 0)
                assert_int_equal(tlog_check_inclusion(&leaves[m], m, n, &q, &root, NULL),
                                 ERR_INTEGRITY);
        }
    }
}

static void every_tree_is_proven_to_begin_with_every_smaller_one(void **state)
{
    (void)state;
    leaves_make();
    for (uint64_t n = 0; n <= 70; n++) {
        struct sha256 root = naive_root(0, n);
        for (uint64_t m = 0; m <= n; m++) {
            struct sha256 old = naive_root(0, m), bad = old;
            struct tlog_proof p, q = {0};
            if (m != 0 && m != n)
                naive_subproof(m, 0, n, true, &q);
            assert_int_equal(tlog_prove_consistency(m, n, naive_node, NULL, &p, NULL), 0);
            assert_same_proof(&p, &q);
            assert_int_equal(tlog_check_consistency(m, &old, n, &root, &p, NULL), 0);
            bad.b[m % 32] ^= 4;
            assert_int_equal(tlog_check_consistency(m, &bad, n, &root, &p, NULL), ERR_INTEGRITY);
            bad = root;
            bad.b[n % 32] ^= 4;
            if (m != 0) /* every tree begins with the empty one */
                assert_int_equal(tlog_check_consistency(m, &old, n, &bad, &p, NULL), ERR_INTEGRITY);
            for (size_t i = 0; i < p.n; i++) {
                q = p;
                q.hash[i].b[(m + i) % 32] ^= 1;
                assert_int_equal(tlog_check_consistency(m, &old, n, &root, &q, NULL),
                                 ERR_INTEGRITY);
            }
            q = p;
            q.hash[q.n++] = root;
            assert_int_equal(tlog_check_consistency(m, &old, n, &root, &q, NULL), ERR_INTEGRITY);
            q = p;
            if (q.n-- != 0)
                assert_int_equal(tlog_check_consistency(m, &old, n, &root, &q, NULL),
                                 ERR_INTEGRITY);
            if (m < n) /* a tree does not shrink */
                assert_int_equal(tlog_check_consistency(n, &root, m, &old, &p, NULL),
                                 ERR_INTEGRITY);
        }
    }
}

static void what_cannot_be_proven_is_refused(void **state)
{
    (void)state;
    struct tlog_proof p;
    struct err e = ERR_NONE;
    assert_int_equal(tlog_prove_inclusion(3, 3, naive_node, NULL, &p, &e), ERR_USAGE);
    assert_int_equal(tlog_prove_inclusion(0, UINT64_MAX, naive_node, NULL, &p, &e), ERR_USAGE);
    assert_int_equal(tlog_prove_consistency(4, 3, naive_node, NULL, &p, &e), ERR_USAGE);
    assert_int_equal(tlog_prove_consistency(4, UINT64_MAX, naive_node, NULL, &p, &e), ERR_USAGE);
}

static int no_node(void *arg, unsigned level, uint64_t index, struct sha256 *out, struct err *e)
{
    (void)arg;
    (void)level;
    (void)index;
    (void)out;
    return err_set(e, ERR_IO, "no tile");
}

static int any_node(void *arg, unsigned level, uint64_t index, struct sha256 *out, struct err *e)
{
    (void)arg;
    (void)e;
    assert_true(level < 63 && index <= TLOG_SIZE_MAX >> level);
    *out = leaves[level];
    return 0;
}

static void the_largest_tree_fits_and_errors_come_through(void **state)
{
    (void)state;
    static const uint64_t at[] = {0, 1, TLOG_SIZE_MAX / 2, TLOG_SIZE_MAX - 1};
    struct tlog_proof p;
    struct sha256 root;
    assert_int_equal(tlog_root(TLOG_SIZE_MAX, any_node, NULL, &root, NULL), 0);
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        assert_int_equal(tlog_prove_inclusion(at[i], TLOG_SIZE_MAX, any_node, NULL, &p, NULL), 0);
        assert_true(p.n > 0 && p.n <= 63);
        assert_int_equal(tlog_prove_consistency(at[i], TLOG_SIZE_MAX, any_node, NULL, &p, NULL), 0);
        assert_true(p.n <= TLOG_PROOF_MAX);
    }
    assert_int_equal(tlog_prove_inclusion(1, 3, no_node, NULL, &p, NULL), ERR_IO);
    assert_int_equal(tlog_prove_consistency(1, 3, no_node, NULL, &p, NULL), ERR_IO);
    assert_int_equal(tlog_root(3, no_node, NULL, &root, NULL), ERR_IO);
}

/* ---- tiles ---- */

/* A tree kept in nothing but tiles. */
struct shelf {
    struct sha256 *level[3];
    uint64_t n[3];
    uint64_t size;
};

static int shelf_full(void *arg, const struct tlog_tile *t, const struct sha256 *hashes)
{
    struct shelf *s = arg;
    assert_true(t->level < 3);
    assert_int_equal(t->width, TLOG_TILE_WIDTH);
    assert_int_equal(t->index * TLOG_TILE_WIDTH, s->n[t->level]);
    memcpy(s->level[t->level] + s->n[t->level], hashes, TLOG_TILE_BYTES);
    s->n[t->level] += TLOG_TILE_WIDTH;
    return 0;
}

static int shelf_node(void *arg, unsigned level, uint64_t index, struct sha256 *out, struct err *e)
{
    const struct shelf *s = arg;
    struct tlog_tile t = tlog_tile_of(level, index, s->size);
    (void)e;
    assert_true(t.level < 3);
    *out = tlog_tile_node(&t, s->level[t.level][t.index * TLOG_TILE_WIDTH].b, level, index);
    return 0;
}

static void a_tree_of_70000_lives_in_its_tiles(void **state)
{
    (void)state;
    struct tlog_edge *edge = calloc(1, sizeof *edge);
    struct shelf s = {.size = 70000};
    assert_non_null(edge);
    leaves_make();
    for (size_t i = 0; i < 3; i++) {
        s.level[i] = calloc(70000 + TLOG_TILE_WIDTH, sizeof *s.level[i]);
        assert_non_null(s.level[i]);
    }
    for (uint64_t i = 0; i < s.size; i++) {
        assert_int_equal(tlog_edge_add(edge, &leaves[i], shelf_full, &s), 0);
        /* The edge knows the root at each step; where it matters: around tiles. */
        uint64_t n = i + 1;
        if (n % 256 <= 1 && n < 1000) {
            struct sha256 root = tlog_edge_root(edge), naive = naive_root(0, n);
            assert_memory_equal(&root, &naive, sizeof root);
        }
    }
    /* The numbers of the tlog-tiles specification. */
    assert_int_equal(s.n[0], 273 * 256);
    assert_int_equal(s.n[1], 256);
    static const unsigned widths[] = {112, 17, 1};
    for (unsigned level = 0; level < 3; level++) {
        struct tlog_tile t;
        assert_true(tlog_tile_partial(level, s.size, &t));
        assert_int_equal(t.width, widths[level]);
        memcpy(s.level[level] + t.index * TLOG_TILE_WIDTH, edge->row[level],
               t.width * sizeof edge->row[0][0]);
    }
    struct tlog_tile none;
    assert_false(tlog_tile_partial(3, s.size, &none));
    assert_false(tlog_tile_partial(0, 256, &none));
    assert_true(tlog_tile_partial(1, 256, &none));
    assert_int_equal(none.width, 1);

    struct sha256 root = tlog_edge_root(edge), naive = naive_root(0, s.size);
    assert_memory_equal(&root, &naive, sizeof root);
    for (uint64_t m = 0; m < s.size; m += 997) {
        struct tlog_proof p;
        assert_int_equal(tlog_prove_inclusion(m, s.size, shelf_node, &s, &p, NULL), 0);
        assert_int_equal(tlog_check_inclusion(&leaves[m], m, s.size, &p, &root, NULL), 0);
        struct sha256 old = naive_root(0, m);
        assert_int_equal(tlog_prove_consistency(m, s.size, shelf_node, &s, &p, NULL), 0);
        assert_int_equal(tlog_check_consistency(m, &old, s.size, &root, &p, NULL), 0);
    }
    for (size_t i = 0; i < 3; i++)
        free(s.level[i]);
    free(edge);
}

static void paths_are_those_of_the_specification(void **state)
{
    (void)state;
    static const struct {
        struct tlog_tile t;
        bool entries;
        const char *path;
    } cases[] = {
        {{0, 0, 256}, false, "tile/0/000"},
        {{0, 1234067, 256}, false, "tile/0/x001/x234/067"},
        {{2, 999, 1}, false, "tile/2/999.p/1"},
        {{1, 1000, 255}, false, "tile/1/x001/000.p/255"},
        {{0, 273, 112}, true, "tile/entries/273.p/112"},
        {{0, TLOG_SIZE_MAX / 256, 255}, true, "tile/entries/x036/x028/x797/x018/x963/967.p/255"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[TLOG_PATH_BYTES];
        tlog_tile_path(&cases[i].t, cases[i].entries, path);
        assert_string_equal(path, cases[i].path);
    }
}

static void a_writer_that_fails_ends_the_growing(void **state)
{
    (void)state;
    struct tlog_edge *edge = calloc(1, sizeof *edge);
    assert_non_null(edge);
    leaves_make();
    for (uint64_t i = 0; i < 255; i++)
        assert_int_equal(tlog_edge_add(edge, &leaves[i], none_is_full, NULL), 0);
    assert_int_equal(tlog_edge_add(edge, &leaves[255], none_is_full, NULL), ERR_FAILED);
    free(edge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_roots_and_proofs_come_out),
        cmocka_unit_test(every_leaf_of_every_tree_is_proven),
        cmocka_unit_test(every_tree_is_proven_to_begin_with_every_smaller_one),
        cmocka_unit_test(what_cannot_be_proven_is_refused),
        cmocka_unit_test(the_largest_tree_fits_and_errors_come_through),
        cmocka_unit_test(a_tree_of_70000_lives_in_its_tiles),
        cmocka_unit_test(paths_are_those_of_the_specification),
        cmocka_unit_test(a_writer_that_fails_ends_the_growing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
