#include "repository/core/names.h"

#include "store/core/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static void names_come_back(void **state)
{
    (void)state;
    static const struct repo_name names[] = {
        {REPO_PACK, {1}, {1}, {1}, 0},
        {REPO_PACK, {1}, {UINT64_MAX}, {UINT64_MAX}, UINT32_MAX},
        {REPO_PACK, {900}, {1000}, {17}, 0xabcdef},
        {REPO_SNAPSHOT, {0}, {77}, {0}, 5},
        {REPO_INDEX, {900}, {UINT64_MAX}, {0}, 0xabcdef},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[REPO_NAME_BYTES], meta[REPO_NAME_BYTES], key[REPO_NAME_BYTES],
            again[REPO_NAME_BYTES];
        struct repo_name back;
        unsigned generation = 0;
        repo_name_format(&names[i], text);
        assert_int_equal(repo_name_parse(text, &back), 0);
        assert_int_equal(back.kind, names[i].kind);
        assert_int_equal(back.first.v, names[i].first.v);
        assert_int_equal(back.last.v, names[i].last.v);
        assert_int_equal(back.term.v, names[i].term.v);
        assert_int_equal(back.unique, names[i].unique);
        repo_name_meta(text, meta);
        assert_int_equal(repo_name_of_meta(meta, again), 0);
        assert_string_equal(again, text);
        repo_name_mark(text, meta);
        const bool marked = names[i].kind != REPO_INDEX; /* indexes are removed instead */
        assert_int_equal(repo_name_of_mark(meta, again), marked ? 0 : ERR_FORMAT);
        assert_int_equal(repo_name_of_meta(meta, key), ERR_FORMAT);
        if (marked)
            assert_string_equal(again, text);
        repo_name_key(text, REPO_GENERATION_MAX, key);
        assert_int_equal(repo_name_of_key(key, again, &generation), 0);
        assert_string_equal(again, text);
        assert_int_equal(generation, REPO_GENERATION_MAX);
        /* The temporary name is never longer than these. */
        assert_true(strlen(key) < REPO_NAME_BYTES);
    }
    char text[REPO_NAME_BYTES], key[REPO_NAME_BYTES];
    repo_name_format(&names[2], text);
    assert_string_equal(text, "packs/00000000000000000900-00000000000000001000-17-00abcdef.pack");
    repo_name_key(text, 1, key);
    assert_string_equal(key,
                        "keys/1/00000000000000000900-00000000000000001000-17-00abcdef.pack.key");
}

static void strange_names_are_nobodys(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",
        "packs/",
        "packs/.tmp-12345678",
        "packs/00000000000000000001-00000000000000000001-1-00000000.meta",
        "packs/00000000000000000001-00000000000000000001-01-00000000.pack", /* term with a leading zero */
        "packs/1-1-1-00000000.pack",
        "packs/00000000000000000002-00000000000000000001-1-00000000.pack", /* backwards */
        "packs/00000000000000000000-00000000000000000001-1-00000000.pack",
        "packs/00000000000000000001-00000000000000000001-0-00000000.pack",
        "packs/00000000000000000001-00000000000000000001-1-0000000.pack",
        "packs/00000000000000000001-00000000000000000001-1-000000AB.pack",
        "packs/00000000000000000001-00000000000000000001-1-00000000.pack~",
        "packs/18446744073709551617-18446744073709551617-1-00000000.pack", /* 2^64 + 1 */
        "packs/0000000000000000000a-00000000000000000011-1-00000000.pack",
        "snapshots/00000000000000000000-00000000.snap",
        "indexes/00000000000000000002-00000000000000000001-00000000.index", /* backwards */
        "indexes/00000000000000000000-00000000000000000001-00000000.index",
        "indexes/00000000000000000001-00000000000000000001-1-00000000.index",
        "snapshots/00000000000000000001-00000000.pack",
        "keys/1/00000000000000000001-00000000.snap",
        "../packs/00000000000000000001-00000000000000000001-1-00000000.pack",
    };
    struct repo_name back;
    char out[REPO_NAME_BYTES];
    unsigned generation;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(repo_name_parse(names[i], &back), ERR_FORMAT);
        assert_int_equal(repo_name_of_key(names[i], out, &generation), ERR_FORMAT);
    }
    assert_int_equal(repo_name_of_meta("packs/x.meta", out), ERR_FORMAT);
    assert_int_equal(repo_name_of_meta(".meta", out), ERR_FORMAT);
    assert_int_equal(repo_name_of_key("keys/1/.key", out, &generation), ERR_FORMAT);
    assert_int_equal(repo_name_of_key("keys/1/.pack.key", out, &generation), ERR_FORMAT);
}

static void a_generation_has_one_name(void **state)
{
    (void)state;
    static const unsigned numbers[] = {1, 2, 10, REPO_GENERATION_MAX};
    static const char *const strange[] = {
        "keys/0.key",          "keys/01.key",    "keys/1",      "keys/1.keys",
        "keys/.key",           "keys/10000.key", "keys/-1.key", "keys/1.retired.key",
        "keys/4294967297.key", "key/1.key",      "packs/1.key",
    };
    char name[REPO_NAME_BYTES];
    unsigned number;
    bool retired;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        for (int given = 0; given < 2; given++) {
            repo_name_generation(numbers[i], given, name);
            assert_int_equal(repo_name_of_generation(name, &number, &retired), 0);
            assert_int_equal(number, numbers[i]);
            assert_int_equal(retired, given);
            assert_int_equal(repo_name_of_key(name, name, &number), ERR_FORMAT);
        }
    repo_name_generation(2, false, name);
    assert_string_equal(name, "keys/2.key");
    repo_name_generation(2, true, name);
    assert_string_equal(name, "keys/2.retired");
    repo_name_keys_folder(2, name);
    assert_string_equal(name, "keys/2");
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++)
        assert_int_equal(repo_name_of_generation(strange[i], &number, &retired), ERR_FORMAT);
    static const char *const keys[] = {
        "keys/0/00000000000000000001-00000000.snap.key",
        "keys/01/00000000000000000001-00000000.snap.key",
        "keys/10000/00000000000000000001-00000000.snap.key",
        "keys/2/x/00000000000000000001-00000000.snap.key",
        "keys/2.key/00000000000000000001-00000000.snap.key",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_int_equal(repo_name_of_key(keys[i], name, &number), ERR_FORMAT);
}

static void times_are_told_in_utc(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {951782399999999, "2000-02-28T23:59:59.999999Z"},
        {951782400000000, "2000-02-29T00:00:00.000000Z"},
        {1700000000000001, "2023-11-14T22:13:20.000001Z"},
        {4107542400000000, "2100-03-01T00:00:00.000000Z"},
    };
    char text[REPO_UTC_TEXT_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        repo_utc_format((struct utc){cases[i].us}, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void an_identity_names_cluster_and_object(void **state)
{
    (void)state;
    struct uuid u = {{0xc1, 2}};
    char text[REPO_IDENTITY_BYTES];
    repo_identity(&u, "packs/x.pack", text);
    assert_string_equal(text, "triveni/1|c1020000-0000-0000-0000-000000000000|packs/x.pack");
}

static void a_part_is_an_object_or_one_of_few_names(void **state)
{
    static const char *const none[] = {"",
                                       "tree",
                                       "tree/",
                                       "repository.jso",
                                       "tree/checkpoint2",
                                       "operations/next",
                                       "tree/00000000000000000001-00000000000000065535",
                                       "tree/1-65536",
                                       "tree/00000000000000000002-00000000000000065537",
                                       "tree/tile/1/000",
                                       "packs/x.pack",
                                       "keys/0",
                                       "keys/01",
                                       "keys/10000",
                                       "keys/1/",
                                       "keys/1.key"};
    char name[REPO_NAME_BYTES];
    struct repo_part part;
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(repo_part_parse(none[i], &part), ERR_FORMAT);
    for (uint64_t i = 0; i < UINT64_C(1) << 47; i = 3 * i + 1) {
        repo_part_stretch(i, name);
        assert_int_equal(repo_part_parse(name, &part), 0);
        assert_true(part.kind == REPO_PART_STRETCH && part.stretch == i);
        assert_true(part.first.v == i * 65536 + 1 && part.last.v == (i + 1) * 65536);
    }
    assert_int_equal(repo_part_parse(REPO_ABOUT_FILE, &part), 0);
    assert_int_equal(part.kind, REPO_PART_ABOUT);
    assert_int_equal(repo_part_parse(REPO_TREE_CHECKPOINT, &part), 0);
    assert_int_equal(part.kind, REPO_PART_TREE);
    assert_int_equal(repo_part_parse(REPO_OPERATIONS_CHECKPOINT, &part), 0);
    assert_int_equal(part.kind, REPO_PART_OPERATIONS);
    assert_int_equal(repo_part_parse("keys/42", &part), 0);
    assert_true(part.kind == REPO_PART_KEYS && part.generation == 42);
    const struct repo_name pack = {
        .kind = REPO_PACK, .first = {3}, .last = {9}, .term = {1}, .unique = 7};
    repo_name_format(&pack, name);
    assert_int_equal(repo_part_parse(name, &part), 0);
    assert_true(part.kind == REPO_PART_OBJECT && part.first.v == 3 && part.last.v == 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_come_back),
        cmocka_unit_test(strange_names_are_nobodys),
        cmocka_unit_test(a_generation_has_one_name),
        cmocka_unit_test(times_are_told_in_utc),
        cmocka_unit_test(an_identity_names_cluster_and_object),
        cmocka_unit_test(a_part_is_an_object_or_one_of_few_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
