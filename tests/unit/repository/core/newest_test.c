/* What may be left out, and what may not: random effects in any order, in a table with room and in one without. */
#include "repository/core/newest.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NAMES = 40, EFFECTS = 600, CELLS = 256, LONG_BYTES = 300 };

static uint64_t random_state = 1;

static uint64_t draw(uint64_t n)
{
    /* xorshift64*, Vigna 2014 */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 2685821657736338717ull >> 33) % n;
}

static alignas(REPO_NEWEST_CELL_BYTES) uint8_t memory[CELLS * REPO_NEWEST_CELL_BYTES];
static struct repo_newest table;

static void begin(size_t cells)
{
    memset(memory, 0, sizeof memory);
    repo_newest_init(&table, memory, cells);
}

static bool ask(struct bytes collection, struct bytes key, uint64_t lsn, uint64_t boundary)
{
    const struct repo_effect x = {collection, key, {NULL, 0}, {lsn}, {lsn}, true};
    const struct repo_newest_name name = repo_newest_name(&x);
    repo_newest_hint(&table, &name);
    return repo_newest_ask(&table, &name, x.lsn, (struct lsn){boundary});
}

/* Some fit into a cell, some do not and differ in their last byte alone. */
static struct bytes key_of(unsigned name)
{
    static uint8_t keys[NAMES][LONG_BYTES];
    const size_t n = name % 2 == 0 ? 3 : LONG_BYTES;
    memset(keys[name], 'k', n);
    keys[name][n - 1] = (uint8_t)name;
    return bytes_of(keys[name], n);
}

struct told {
    unsigned name;
    uint64_t lsn;
    bool kept;
};

static uint64_t newest(const struct told *all, unsigned name, uint64_t upto, bool kept)
{
    uint64_t found = 0;
    for (unsigned i = 0; i < EFFECTS; i++)
        if (all[i].name == name && all[i].lsn <= upto && all[i].lsn > found &&
            (all[i].kept || !kept))
            found = all[i].lsn;
    return found;
}

static void the_newest_and_the_newest_up_to_the_boundary_are_never_left_out(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        struct told all[EFFECTS];
        const uint64_t boundary = draw(EFFECTS);
        begin(round % 3 == 0 ? 8 : CELLS); /* with and without room */
        for (unsigned i = 0; i < EFFECTS; i++) {
            struct told *x = &all[i];
            *x = (struct told){(unsigned)draw(NAMES), 1 + draw(EFFECTS), false};
            x->kept = ask(bytes_str("c"), key_of(x->name), x->lsn, boundary);
        }
        for (unsigned name = 0; name < NAMES; name++) {
            assert_int_equal(newest(all, name, EFFECTS, true), newest(all, name, EFFECTS, false));
            assert_int_equal(newest(all, name, boundary, true), newest(all, name, boundary, false));
        }
    }
}

static void from_the_newest_back_nothing_else_is_kept(void **state)
{
    (void)state;
    begin(CELLS);
    const uint64_t boundary = EFFECTS / 2;
    bool seen[NAMES] = {false}, bounded[NAMES] = {false};
    for (uint64_t lsn = EFFECTS; lsn > 0; lsn--) {
        const unsigned name = (unsigned)draw(NAMES);
        const bool wanted = !seen[name] || (lsn <= boundary && !bounded[name]);
        assert_int_equal(ask(bytes_str("c"), key_of(name), lsn, boundary), wanted);
        seen[name] = true;
        bounded[name] |= lsn <= boundary;
    }
}

static void names_are_told_apart(void **state)
{
    (void)state;
    begin(CELLS);
    assert_true(ask(bytes_str("ab"), bytes_str("c"), 9, 0));
    assert_true(ask(bytes_str("a"), bytes_str("bc"), 8, 0));
    assert_true(ask(bytes_str("a"), bytes_str("b"), 7, 0));
    assert_false(ask(bytes_str("ab"), bytes_str("c"), 6, 0));
    /* Two effects of one transaction: which is the later one, only the run knows. */
    assert_true(ask(bytes_str("ab"), bytes_str("c"), 9, 0));
}

static void what_finds_no_room_is_kept(void **state)
{
    (void)state;
    begin(1);
    assert_true(ask(bytes_str("c"), bytes_str("a"), 9, 0));
    assert_true(ask(bytes_str("c"), bytes_str("b"), 8, 0));
    assert_true(ask(bytes_str("c"), bytes_str("b"), 7, 0));
    assert_false(ask(bytes_str("c"), bytes_str("a"), 8, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_and_the_newest_up_to_the_boundary_are_never_left_out),
        cmocka_unit_test(from_the_newest_back_nothing_else_is_kept),
        cmocka_unit_test(names_are_told_apart),
        cmocka_unit_test(what_finds_no_room_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
