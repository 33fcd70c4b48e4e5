/* Leaves of the operations log: one way to write each, no other is taken; and what must be there follows from them. */
#include "repository/core/operations.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#define assert_ok(call, e)                                                                         \
    do {                                                                                           \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s", #call, (e).text);                                                   \
    } while (0)

#define PACK "packs/00000000000000000001-00000000000000000009-1-5f3a77c0.pack"
#define SNAP "snapshots/00000000000000000009-5f3a77c1.snap"

static struct operation pack(void)
{
    struct operation o = {.kind = OPERATION_PACK,
                          .id = 0x0123456789abcdef,
                          .time = {1700000000000000},
                          .tree_size = 9,
                          .bytes = 4711,
                          .first = {1},
                          .last = {9}};
    memset(o.tree_root.b, 0xab, sizeof o.tree_root.b);
    memset(o.sha256.b, 0xcd, sizeof o.sha256.b);
    (void)snprintf(o.object, sizeof o.object, PACK);
    return o;
}

static struct bytes written(const struct operation *o, uint8_t text[OPERATION_MAX_BYTES])
{
    struct writer w = writer_of(text, OPERATION_MAX_BYTES);
    struct err e = ERR_NONE;
    assert_ok(operation_write(&w, o, &e), e);
    return bytes_of(text, w.at);
}

#define AB8 "abababababababab"
#define CD8 "cdcdcdcdcdcdcdcd"
#define PACK_LEAF                                                                                  \
    "{\"op\":\"pack\",\"id\":\"0123456789abcdef\",\"time_us\":1700000000000000,\"tree_size\":9,"   \
    "\"tree_root\":\"" AB8 AB8 AB8 AB8 "\",\"object\":\"" PACK "\",\"bytes\":4711,"                \
    "\"sha256\":\"" CD8 CD8 CD8 CD8 "\",\"first\":1,\"last\":9}"

static void a_leaf_is_this_line_and_comes_back_as_it_was(void **state)
{
    (void)state;
    uint8_t text[OPERATION_MAX_BYTES];
    struct operation o = pack(), again;
    struct err e = ERR_NONE;
    struct bytes leaf = written(&o, text);
    assert_int_equal(leaf.n, strlen(PACK_LEAF));
    assert_memory_equal(leaf.p, PACK_LEAF, leaf.n);
    assert_ok(operation_read(leaf, &again, &e), e);
    assert_string_equal(again.object, PACK);
    assert_true(again.id == o.id && again.time.us == o.time.us && again.bytes == 4711 &&
                again.last.v == 9 && again.tree_size == 9 && !again.mended);
    assert_true(sha256_equal(&again.sha256, &o.sha256));
    for (unsigned kind = OPERATION_ROTATE; kind <= OPERATION_DISPOSE; kind++) {
        struct operation x = {.kind = (enum operation_kind)kind,
                              .id = kind,
                              .time = {kind},
                              .last = {3},
                              .generation = 2,
                              .checked = 5,
                              .damaged = 1,
                              .detail = "readable, from a copy",
                              .has_reference = true,
                              .mended = true};
        assert_ok(operation_read(written(&x, text), &again, &e), e);
        assert_true(again.kind == x.kind && again.id == kind && again.generation == 2 &&
                    again.checked == 5 && again.damaged == 1 && again.has_reference &&
                    again.mended);
        assert_string_equal(again.detail, x.detail);
        assert_string_not_equal(operation_name(x.kind), "unknown");
    }
}

static void no_other_text_is_taken(void **state)
{
    (void)state;
    static const char *const others[] = {
        "",
        "{}",
        "{\"op\":\"pack\"}",
        "{\"op\":\"melt\",\"id\":\"0123456789abcdef\",\"time_us\":1}",
        "{\"op\":\"drill\",\"id\":\"0123456789ABCDEF\",\"time_us\":1}",
        "{\"op\":\"drill\",\"id\":\"0123456789abcde\",\"time_us\":1}",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":01}",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":1 }",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":1}\n",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":9223372036854775808}",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":1,\"checked\":0}",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":1,\"damaged\":1,\"checked\":1}",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":1,\"detail\":\"a\\\\b\"}",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":1,\"generation\":10000}",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":1,\"mended\":false}",
        "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":1,\"more\":1}",
        "{\"op\":\"hold\",\"id\":\"0123456789abcdef\",\"time_us\":1,\"last\":3,\"detail\":"
        "\"warrant\"}",
        "{\"op\":\"release\",\"id\":\"0123456789abcdef\",\"time_us\":1,\"detail\":\"w\","
        "\"reference\":\"" AB8 AB8 AB8 AB8 "\"}",
    };
    struct operation o;
    struct err e = ERR_NONE;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(operation_read(bytes_str(others[i]), &o, &e), ERR_FORMAT);
    static const char good[] = "{\"op\":\"drill\",\"id\":\"0123456789abcdef\",\"time_us\":1}";
    assert_ok(operation_read(bytes_str(good), &o, &e), e);
    for (size_t n = 0; n + 1 < sizeof good; n++)
        assert_int_equal(operation_read(bytes_of(good, n), &o, NULL), ERR_FORMAT);
    /* A changed bit gives another leaf or none, never the same one. */
    char leaf[] = PACK_LEAF;
    uint8_t text[OPERATION_MAX_BYTES];
    for (size_t bit = 0; bit < 8 * (sizeof leaf - 1); bit++) {
        leaf[bit / 8] = (char)(leaf[bit / 8] ^ 1 << bit % 8);
        if (operation_read(bytes_of(leaf, sizeof leaf - 1), &o, NULL) == 0)
            assert_memory_equal(written(&o, text).p, leaf, sizeof leaf - 1);
        leaf[bit / 8] = (char)(leaf[bit / 8] ^ 1 << bit % 8);
    }
}

static void what_no_leaf_can_say_is_not_written(void **state)
{
    (void)state;
    uint8_t text[OPERATION_MAX_BYTES];
    struct err e = ERR_NONE;
    struct operation bad[6] = {pack(), pack(), pack(), pack(), pack(), pack()};
    bad[0].bytes = 0;
    bad[1].object[0] = '\0';
    bad[2].kind = OPERATION_SNAPSHOT;
    bad[3].last.v = 10;
    bad[4].kind = (enum operation_kind)(OPERATION_DISPOSE + 1);
    (void)snprintf(bad[5].detail, sizeof bad[5].detail, "say \"%s\"", "no");
    for (size_t i = 0; i < 6; i++) {
        struct writer w = writer_of(text, sizeof text);
        assert_int_equal(operation_write(&w, &bad[i], &e), ERR_USAGE);
    }
}

static void what_must_be_there_follows_from_the_leaves(void **state)
{
    (void)state;
    struct operation_object room[2];
    struct operation_inventory inv = {.at = room, .cap = 2};
    struct operation p = pack(), s = pack(), gone = {.kind = OPERATION_DISPOSE};
    struct err e = ERR_NONE;
    s.kind = OPERATION_SNAPSHOT;
    s.first.v = 0;
    (void)snprintf(s.object, sizeof s.object, SNAP);
    (void)snprintf(gone.object, sizeof gone.object, PACK);
    assert_int_equal(operation_replay(&inv, &gone, &e), ERR_INTEGRITY); /* never named */
    assert_ok(operation_replay(&inv, &s, &e), e);
    assert_ok(operation_replay(&inv, &p, &e), e);
    assert_ok(operation_replay(&inv, &p, &e), e); /* once more is nothing new */
    assert_int_equal(inv.n, 2);
    assert_string_equal(inv.at[0].name, PACK);
    assert_string_equal(inv.at[1].name, SNAP);
    assert_null(operation_find(&inv, "packs/none"));
    assert_false(operation_find(&inv, PACK)->disposed);
    struct operation other = p;
    other.sha256.b[3] ^= 1;
    assert_int_equal(operation_replay(&inv, &other, &e), ERR_INTEGRITY); /* exchanged */
    assert_ok(operation_replay(&inv, &gone, &e), e);
    assert_true(operation_find(&inv, PACK)->disposed);
    struct operation more = p;
    (void)snprintf(more.object, sizeof more.object,
                   "packs/00000000000000000010-00000000000000000010-1-5f3a77c0.pack");
    assert_int_equal(operation_replay(&inv, &more, &e),
                     ERR_LIMIT); /* no room, and nothing changed */
    assert_int_equal(inv.n, 2);
}

static void a_pack_that_was_healed_need_not_be_there_when_another_has_its_entries(void **state)
{
    (void)state;
    struct operation_object room[4];
    struct operation_inventory inv = {.at = room, .cap = 4};
    struct operation p = pack(), q = pack(), last = pack(), heal = {.kind = OPERATION_HEAL};
    struct err e = ERR_NONE;
    (void)snprintf(q.object, sizeof q.object,
                   "packs/00000000000000000001-00000000000000000009-1-00000001.pack");
    (void)snprintf(last.object, sizeof last.object,
                   "packs/00000000000000000001-00000000000000000009-2-5f3a77c0.pack");
    (void)snprintf(heal.object, sizeof heal.object, PACK);
    assert_int_equal(operation_replay(&inv, &heal, &e), ERR_INTEGRITY); /* never named */
    assert_ok(operation_replay(&inv, &p, &e), e);
    assert_int_equal(operation_replay(&inv, &heal, &e), ERR_INTEGRITY); /* nobody else has them */
    assert_ok(operation_replay(&inv, &last, &e), e);
    assert_int_equal(operation_replay(&inv, &heal, &e), ERR_INTEGRITY); /* of another term */
    assert_ok(operation_replay(&inv, &q, &e), e);
    assert_false(operation_find(&inv, PACK)->healed);
    assert_ok(operation_replay(&inv, &heal, &e), e);
    assert_true(operation_find(&inv, PACK)->healed);
    assert_false(operation_find(&inv, q.object)->healed);
    (void)snprintf(heal.object, sizeof heal.object, "%s", q.object); /* by one that was healed */
    assert_int_equal(operation_replay(&inv, &heal, &e), ERR_INTEGRITY);
    assert_ok(operation_replay(&inv, &(struct operation){.kind = OPERATION_HEAL}, &e), e);
}

static void a_tree_that_shrank_or_changed_is_told(void **state)
{
    (void)state;
    struct operation_inventory inv = {0};
    struct operation o = {.kind = OPERATION_DRILL, .tree_size = 9};
    struct err e = ERR_NONE;
    assert_ok(operation_replay(&inv, &o, &e), e);
    assert_ok(operation_replay(&inv, &(struct operation){.kind = OPERATION_DRILL}, &e), e);
    o.tree_root.b[0] = 1;
    assert_int_equal(operation_replay(&inv, &o, &e), ERR_INTEGRITY);
    o.tree_size = 8;
    assert_int_equal(operation_replay(&inv, &o, &e), ERR_INTEGRITY);
    o.tree_size = 10;
    assert_ok(operation_replay(&inv, &o, &e), e);
    assert_int_equal(inv.tree_size, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leaf_is_this_line_and_comes_back_as_it_was),
        cmocka_unit_test(no_other_text_is_taken),
        cmocka_unit_test(what_no_leaf_can_say_is_not_written),
        cmocka_unit_test(what_must_be_there_follows_from_the_leaves),
        cmocka_unit_test(a_pack_that_was_healed_need_not_be_there_when_another_has_its_entries),
        cmocka_unit_test(a_tree_that_shrank_or_changed_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
