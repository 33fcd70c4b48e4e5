/* The compact range against the tree as it is built elsewhere, the record on disk, and the judgement. */
#include "repository/core/witness.h"

#include "store/core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* The eight leaves of Certificate Transparency, and the root of all. */
static const struct {
    const char *leaf;
    size_t n;
} known[] = {{"", 0},
             {"\x00", 1},
             {"\x10", 1},
             {"\x20\x21", 2},
             {"\x30\x31", 2},
             {"\x40\x41\x42\x43", 4},
             {"\x50\x51\x52\x53\x54\x55\x56\x57", 8},
             {"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16}};

static void the_published_tree_has_the_published_root(void **state)
{
    (void)state;
    static const uint8_t root[32] = {0x5d, 0xc9, 0xda, 0x79, 0xa7, 0x06, 0x59, 0xa9,
                                     0xad, 0x55, 0x9c, 0xb7, 0x01, 0xde, 0xd9, 0xa2,
                                     0xab, 0x9d, 0x82, 0x3a, 0xad, 0x2f, 0x49, 0x60,
                                     0xcf, 0xe3, 0x70, 0xef, 0xf4, 0x60, 0x43, 0x28};
    struct witness_range r = {.size = 0};
    struct sha256 empty = hash_sha256(bytes_of(NULL, 0)), none = {{0}};
    struct sha256 is = witness_root(&r);
    assert_true(sha256_equal(&is, &empty));
    for (size_t i = 0; i < 8; i++)
        witness_add(&r, bytes_of(known[i].leaf, known[i].n), &none);
    is = witness_root(&r);
    assert_memory_equal(is.b, root, sizeof root);
}

static int no_tile(void *arg, const struct tlog_tile *t, const struct sha256 *hashes)
{
    (void)arg, (void)t, (void)hashes;
    return 0;
}

static void it_has_the_roots_that_the_archives_tree_has(void **state)
{
    (void)state;
    static struct tlog_edge edge;
    struct witness_range r = {.size = 0};
    for (uint32_t i = 0; i < 1200; i++) {
        struct bytes b = bytes_of(&i, sizeof i);
        struct sha256 leaf = tlog_leaf_hash(b), hash = hash_sha256(b);
        assert_int_equal(tlog_edge_add(&edge, &leaf, no_tile, NULL), 0);
        witness_add(&r, b, &hash);
        if (i % 7 != 0 && i > 300)
            continue;
        struct sha256 a = tlog_edge_root(&edge), c = witness_root(&r);
        assert_true(sha256_equal(&a, &c) && sha256_equal(&r.last, &hash));
    }
}

static struct witness_record record_of(uint64_t size)
{
    struct witness_record r = {.cluster_id = {{7}}, .note_bytes = 5, .note = "note\n"};
    r.range.size = size;
    for (unsigned l = 0; l < WITNESS_LEVELS; l++)
        if ((size >> l & 1) != 0)
            memset(r.range.node[l].b, (int)l + 1, 32);
    return r;
}

static void a_record_comes_back_and_no_changed_one(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 2, 1000003, TLOG_SIZE_MAX};
    static uint8_t raw[WITNESS_RECORD_BYTES];
    struct witness_record again;
    uint64_t sequence;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct witness_record r = record_of(sizes[i]);
        witness_record_write(&r, 42 + i, raw);
        assert_int_equal(witness_record_read(raw, &again, &sequence, NULL), 0);
        assert_memory_equal(&again, &r, sizeof r);
        assert_int_equal(sequence, 42 + i);
    }
    struct witness_record r = record_of(1000003);
    witness_record_write(&r, 1, raw);
    size_t used = 72 + 32 * (size_t)__builtin_popcount(1000003) + 5 + 4;
    for (size_t bit = 0; bit < used * 8; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(witness_record_read(raw, &again, &sequence, NULL), 0);
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    raw[4] = 9;
    assert_int_equal(witness_record_read(raw, &again, &sequence, NULL), ERR_NEWER);
}

static void only_what_grew_from_the_own_log_is_signed(void **state)
{
    (void)state;
    struct witness_range r = {.size = 0};
    struct sha256 none = {{0}};
    for (size_t i = 0; i < 5; i++)
        witness_add(&r, bytes_of(known[i].leaf, known[i].n), &none);
    struct tlog_checkpoint c = {.size = 5, .root = witness_root(&r)};
    assert_int_equal(witness_judge(0, &r, &c), WITNESS_SIGN);
    assert_int_equal(witness_judge(5, &r, &c), WITNESS_SIGN); /* again, with a new time */
    assert_int_equal(witness_judge(6, &r, &c), WITNESS_ROLLBACK);
    c.root.b[31] ^= 1;
    assert_int_equal(witness_judge(0, &r, &c), WITNESS_SPLIT);
    assert_int_equal(witness_judge(5, &r, &c), WITNESS_SPLIT);
    assert_int_equal(witness_judge(6, &r, &c), WITNESS_ROLLBACK);
}

static int node_of(void *arg, unsigned level, uint64_t index, struct sha256 *out, struct err *e)
{
    (void)arg, (void)e;
    struct witness_range r = {.size = 0};
    struct sha256 none = {{0}};
    for (uint64_t i = index << level; i < (index + 1) << level; i++)
        witness_add(&r, bytes_of(known[i].leaf, known[i].n), &none);
    *out = witness_root(&r);
    return 0;
}

static struct tlog_checkpoint known_checkpoint(uint64_t size)
{
    struct tlog_checkpoint c = {.size = size};
    assert_int_equal(tlog_root(size, node_of, NULL, &c.root, NULL), 0);
    return c;
}

static void only_what_continues_what_was_cosigned_is_signed(void **state)
{
    (void)state;
    for (uint64_t was = 0; was <= 8; was++)
        for (uint64_t is = 0; is <= 8; is++) {
            struct tlog_checkpoint before = known_checkpoint(was), c = known_checkpoint(is);
            struct tlog_proof p = {.n = 0};
            if (is < was) {
                assert_int_equal(witness_judge_proof(&before, &c, is, &p), WITNESS_ROLLBACK);
                continue;
            }
            assert_int_equal(tlog_prove_consistency(was, is, node_of, NULL, &p, NULL), 0);
            assert_int_equal(witness_judge_proof(&before, &c, was, &p), WITNESS_SIGN);
            assert_int_equal(witness_judge_proof(&before, &c, was + 1, &p),
                             is == was ? WITNESS_SIGN : WITNESS_ELSEWHERE);
            if (was == 0)
                assert_int_equal(witness_judge_proof(NULL, &c, 0, &p), WITNESS_SIGN);
            for (size_t i = 0; i < p.n; i++) { /* no other proof */
                p.hash[i].b[7] ^= 1;
                assert_int_equal(witness_judge_proof(&before, &c, was, &p), WITNESS_SPLIT);
                p.hash[i].b[7] ^= 1;
            }
            c.root.b[0] ^= 1;
            if (was != 0 || is == 0)
                assert_int_equal(witness_judge_proof(&before, &c, was, &p), WITNESS_SPLIT);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_tree_has_the_published_root),
        cmocka_unit_test(it_has_the_roots_that_the_archives_tree_has),
        cmocka_unit_test(a_record_comes_back_and_no_changed_one),
        cmocka_unit_test(only_what_grew_from_the_own_log_is_signed),
        cmocka_unit_test(only_what_continues_what_was_cosigned_is_signed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
