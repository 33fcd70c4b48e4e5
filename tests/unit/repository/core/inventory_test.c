#include "repository/core/inventory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

/* An archive in lines: four packs of ten entries, a second apart, and snapshots after 20 and 35. */
enum { PACKS = 4, SNAPSHOTS = 2 };
static struct repo_pack packs[PACKS];
static struct repo_snapshot snapshots[SNAPSHOTS];
static struct repo_point points[3];
static struct repo_inventory inv;

static struct entry_position at(uint64_t lsn)
{
    struct entry_position p = {{lsn}, {lsn == 0 ? 0 : 1}, {lsn == 0 ? 0 : lsn * 1000000}, {{0}}};
    put_le64(p.hash.b, lsn);
    return p;
}

static void make(void)
{
    static const uint64_t snapshot_lsns[SNAPSHOTS] = {20, 35};
    memset(packs, 0, sizeof packs);
    memset(snapshots, 0, sizeof snapshots);
    inv = (struct repo_inventory){packs, PACKS, snapshots, SNAPSHOTS, NULL, 0};
    for (uint64_t i = 0; i < PACKS; i++) {
        packs[i] = (struct repo_pack){
            .first = {10 * i + 1}, .prev = at(10 * i), .first_time = at(10 * i + 1).time};
        (void)snprintf(packs[i].o.name, REPO_NAME_BYTES, "packs/%llu", (unsigned long long)i);
        packs[i].o.end = at(10 * i + 10);
        packs[i].o.bytes = 100;
    }
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        (void)snprintf(snapshots[i].o.name, REPO_NAME_BYTES, "snapshots/%zu", i);
        snapshots[i].o.end = at(snapshot_lsns[i]);
        snapshots[i].o.bytes = 7;
        snapshots[i].o.digest_known = true;
        snapshots[i].o.digest.lo = snapshot_lsns[i];
    }
    points[0] = (struct repo_point){bytes_str("spring"), {5}, {5000000}, true, {55, 0}};
    points[1] = (struct repo_point){bytes_str("summer"), {10}, {10000000}, false, {0, 0}};
    points[2] = (struct repo_point){bytes_str("spring"), {25}, {25000000}, false, {0, 0}};
    packs[0].points = points;
    packs[0].point_count = 2;
    packs[2].points = points + 2;
    packs[2].point_count = 1;
    packs[3].o.digest_known = true;
    packs[3].o.digest.lo = 40;
}

static void a_whole_chain_is_whole(void **state)
{
    (void)state;
    make();
    for (size_t i = 0; i < PACKS; i++)
        assert_int_equal(repo_chain_check(&inv, i, NULL), 0);
    assert_int_equal(repo_archived(&inv).lsn.v, 40);
    for (uint64_t lsn = 0; lsn <= 41; lsn++) {
        const struct repo_pack *p = repo_pack_of(&inv, (struct lsn){lsn});
        assert_ptr_equal(p, lsn == 0 || lsn == 41 ? NULL : &packs[(lsn - 1) / 10]);
    }
}

static void assert_break(size_t i, const char *says)
{
    struct err e = ERR_NONE;
    assert_int_equal(repo_chain_check(&inv, i, &e), ERR_INTEGRITY);
    if (strstr(e.text, says) == NULL)
        fail_msg("pack %zu: %s", i, e.text);
}

static void each_break_is_named(void **state)
{
    (void)state;
    make();
    packs[1].o.end.hash.b[0] ^= 1;
    assert_break(2, "packs/2 does not continue packs/1");
    make();
    packs[2].prev.term.v++;
    assert_break(2, "packs/2 does not continue packs/1");
    make();
    packs[2].first.v = 20;
    assert_break(2, "both hold lsn 20");
    make();
    packs[2] = packs[3];
    inv.pack_count = 3;
    assert_break(2, "lsns 21..30 are missing between packs/1 and packs/3");
    make();
    packs[2].o.damaged = true;
    (void)snprintf(packs[2].o.reason, sizeof packs[2].o.reason, "it is gone");
    assert_break(2, "packs/2 (lsns 21..30): it is gone");
    assert_int_equal(repo_chain_check(&inv, 3, NULL), 0);
    /* The first one begins at lsn 1 or behind a snapshot. */
    make();
    inv.packs = packs + 1;
    inv.pack_count = 3;
    assert_break(0, "begins at lsn 11");
    inv.packs = packs + 2;
    inv.pack_count = 2;
    assert_int_equal(repo_chain_check(&inv, 0, NULL), 0);
    snapshots[0].o.end.hash.b[3] ^= 1;
    assert_break(0, "begins at lsn 21");
}

/* What the signed tree proves: positions up to `reach`. */
static int proven_up_to(void *arg, struct lsn lsn, struct entry_position *out)
{
    const uint64_t *reach = arg;
    if (lsn.v > *reach)
        return ERR_NOT_FOUND;
    *out = at(lsn.v);
    return 0;
}

/* Nothing but its name is known of it. */
static void lose(size_t i)
{
    packs[i].o.damaged = packs[i].o.unplaced = true;
    packs[i].prev = (struct entry_position){.lsn = {0}};
    packs[i].o.end = (struct entry_position){.lsn = {10 * i + 10}, .term = {1}};
}

static void what_is_damaged_is_sealed_behind_only_where_its_place_is_proven(void **state)
{
    (void)state;
    static const struct {
        bool lost[PACKS];
        uint64_t reach, end; /* of the tree; of what is linked */
    } cases[] = {
        {{true, false, false, false}, 0, 40}, /* its neighbour tells */
        {{false, true, false, false}, 0, 40},
        {{false, true, true, false}, 0, 10}, /* nobody tells where they meet */
        {{false, true, true, false}, 19, 10},
        {{false, true, true, false}, 20, 40},
        {{false, false, false, true}, 0, 30}, /* nobody is behind it */
        {{false, false, false, true}, 39, 30},
        {{false, false, false, true}, 40, 40},
        {{true, true, true, true}, 40, 40},
        {{true, true, true, true}, 25, 20},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        uint64_t reach = cases[c].reach;
        make();
        for (size_t i = 0; i < PACKS; i++)
            if (cases[c].lost[i])
                lose(i);
        repo_inventory_place(&inv, proven_up_to, &reach);
        const struct entry_position want = at(cases[c].end), is = repo_chain_end(&inv);
        if (!repo_position_equal(&is, &want))
            fail_msg("case %zu: linked up to %llu", c, (unsigned long long)is.lsn.v);
        for (size_t i = 0; i < PACKS; i++) /* damaged all the same */
            assert_int_equal(repo_chain_check(&inv, i, NULL), cases[c].lost[i] ? ERR_INTEGRITY : 0);
    }
    /* The tree and the neighbours contradict each other: it is another history. */
    uint64_t all = 40;
    make();
    lose(1);
    packs[2].prev.hash.b[5] ^= 1;
    repo_inventory_place(&inv, proven_up_to, &all);
    assert_int_equal(repo_chain_link(&inv, 1, NULL), 0);
    assert_int_equal(repo_chain_link(&inv, 2, NULL), ERR_INTEGRITY);
    assert_int_equal(repo_chain_end(&inv).lsn.v, 20);
    /* Another term than the one in its name. */
    make();
    lose(3);
    packs[3].o.end.term.v = 2;
    repo_inventory_place(&inv, proven_up_to, &all);
    assert_true(packs[3].o.unplaced);
}

static void of_damaged_packs_with_the_same_lsns_one_stands_for_all(void **state)
{
    (void)state;
    uint8_t m[5];
    for (int placed = -1; placed < 3; placed++) {
        struct repo_pack p[3];
        make();
        for (size_t i = 0; i < 3; i++) {
            p[i] = packs[0];
            p[i].o.damaged = true;
            p[i].o.unplaced = (int)i != placed;
        }
        inv.packs = p;
        inv.pack_count = 3;
        assert_int_equal(repo_doubled(&inv, m), 2);
        assert_int_not_equal(m[placed < 0 ? 2 : placed], REPO_MARK_DOUBLED);
    }
}

/* Packs from..to as `text` has them, "0-7 0-10 10-20": each begins behind the first number. */
static size_t packs_of(const char *text, struct repo_pack *out, uint8_t *marks)
{
    struct repo_inventory found = {.packs = out};
    unsigned long long from, to;
    int used;
    for (; sscanf(text, "%llu-%llu%n", &from, &to, &used) == 2; text += used) {
        out[found.pack_count] = (struct repo_pack){.first = {from + 1}, .prev = at(from)};
        out[found.pack_count++].o.end = at(to);
    }
    return repo_doubled(&found, marks);
}

static void a_pack_that_came_late_and_is_not_needed_is_told(void **state)
{
    (void)state;
    struct repo_pack p[4];
    uint8_t m[4];
    assert_int_equal(packs_of("0-10 10-20", p, m), 0);
    assert_int_equal(packs_of("0-10 0-10", p, m), 1);
    assert_int_equal(packs_of("0-7 0-10 10-20", p, m), 1);
    assert_int_equal(m[0], REPO_MARK_DOUBLED);
    assert_int_equal(packs_of("0-7 0-10 7-20", p, m), 1); /* the longer one was not gone on from */
    assert_int_equal(m[1], REPO_MARK_DOUBLED);
    assert_int_equal(packs_of("0-10 10-12 10-15", p, m), 1);
    assert_int_equal(m[1], REPO_MARK_DOUBLED);
}

static void a_pack_of_another_history_is_not_passed_over(void **state)
{
    (void)state;
    struct repo_pack p[4];
    uint8_t m[4];
    assert_int_equal(packs_of("0-10 5-8 10-20", p, m), 0); /* begins in the middle */
    assert_int_equal(packs_of("", p, m), 0);
    struct repo_inventory found = {.packs = p, .pack_count = 2};
    p[0] = (struct repo_pack){.first = {1}, .prev = at(0)};
    p[0].o.end = at(10);
    p[1] = p[0];
    p[1].o.end.hash.b[9] ^= 1; /* other entries */
    assert_int_equal(repo_doubled(&found, m), 0);
}

/* Its own name tells its lsns; `unique` which of two it is. */
static void name_it(struct repo_pack *p, uint32_t unique)
{
    const struct repo_name name = {REPO_PACK, p->first, p->o.end.lsn, p->o.end.term, unique};
    repo_name_format(&name, p->o.name);
}

static void of_two_packs_with_the_same_entries_the_later_one_counts(void **state)
{
    (void)state;
    struct repo_pack p[5];
    uint8_t m[5];
    struct repo_inventory found = {.packs = p, .pack_count = 5};
    static const char *const texts[] = {"0-10 10-20 10-20 20-30", "0-10 10-20 20-30 20-30",
                                        "0-10 0-10 10-20 20-30"};
    for (size_t i = 0; i < 3; i++)
        for (size_t later = 0; later < 2; later++) {
            size_t at = i == 0 ? 1 : i == 1 ? 2 : 0;
            (void)packs_of(texts[i], p, m);
            found.pack_count = 4;
            p[at + later].o.created.us = 7;
            assert_int_equal(repo_doubled(&found, m), 1);
            assert_int_equal(m[at + 1 - later], REPO_MARK_DOUBLED);
            assert_int_equal(m[at + later], REPO_MARK_CHAIN);
        }
}

static void what_is_damaged_is_not_needed_when_a_whole_pack_has_its_lsns(void **state)
{
    (void)state;
    struct repo_pack p[6];
    uint8_t m[6];
    struct repo_inventory found = {.packs = p, .pack_count = 4};
    for (size_t bad = 1; bad <= 2; bad++) {
        (void)packs_of("0-10 10-20 10-20 20-30", p, m);
        p[bad].o.damaged = true;
        p[bad].prev = p[bad].o.end = (struct entry_position){0};
        p[bad].o.end = (struct entry_position){.lsn = {20}, .term = p[3 - bad].o.end.term};
        assert_int_equal(repo_doubled(&found, m), 1);
        assert_int_equal(m[bad], REPO_MARK_DOUBLED);
        p[bad].o.end.term.v++; /* of another history */
        assert_int_equal(repo_doubled(&found, m), 0);
    }
    /* Behind it one is damaged that nobody replaced, and one is missing: it is passed over all the same. */
    (void)packs_of("0-10 0-10 10-20 30-40", p, m);
    p[2].o.damaged = true;
    p[1].o.created.us = 7;
    assert_int_equal(repo_doubled(&found, m), 1);
    assert_int_equal(m[0], REPO_MARK_DOUBLED);
    assert_int_not_equal(m[2], REPO_MARK_DOUBLED);
}

static void the_pack_in_the_place_of_another_is_found_by_its_lsns(void **state)
{
    (void)state;
    struct repo_pack p[3];
    uint8_t m[3];
    struct repo_inventory found = {.packs = p, .pack_count = 3};
    (void)packs_of("0-10 10-20 20-30", p, m);
    for (uint32_t i = 0; i < 3; i++)
        name_it(&p[i], 7);
    struct repo_pack other = p[1];
    assert_null(repo_pack_instead(&found, other.o.name)); /* itself */
    name_it(&other, 8);
    assert_ptr_equal(repo_pack_instead(&found, other.o.name), &p[1]);
    p[1].o.damaged = true;
    assert_null(repo_pack_instead(&found, other.o.name));
    p[1].o.damaged = false;
    other.o.end.lsn.v = 19;
    name_it(&other, 8);
    assert_null(repo_pack_instead(&found, other.o.name));
    other.o.end.lsn.v = 20;
    other.o.end.term.v++;
    name_it(&other, 8);
    assert_null(repo_pack_instead(&found, other.o.name));
}

static void plans_take_the_nearest_snapshot(void **state)
{
    (void)state;
    /* lsn, snapshot, packs [begin, end), bytes, digest */
    static const uint64_t cases[][6] = {
        {1, 0, 0, 1, 100, 0},   {5, 0, 0, 1, 100, 55},  {10, 0, 0, 1, 100, 0},
        {11, 0, 0, 2, 200, 0},  {19, 0, 0, 2, 200, 0},  {20, 20, 0, 0, 7, 20},
        {21, 20, 2, 3, 107, 0}, {30, 20, 2, 3, 107, 0}, {34, 20, 2, 4, 207, 0},
        {35, 35, 0, 0, 7, 35},  {36, 35, 3, 4, 107, 0}, {40, 35, 3, 4, 107, 40},
    };
    make();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct repo_plan plan;
        struct err e = ERR_NONE;
        if (repo_plan_lsn(&inv, (struct lsn){cases[i][0]}, &plan, &e) != 0)
            fail_msg("lsn %llu: %s", (unsigned long long)cases[i][0], e.text);
        assert_int_equal(plan.snapshot == NULL ? 0 : plan.snapshot->o.end.lsn.v, cases[i][1]);
        assert_int_equal(plan.pack_begin, cases[i][2]);
        assert_int_equal(plan.pack_end, cases[i][3]);
        assert_int_equal(plan.bytes, cases[i][4]);
        assert_int_equal(plan.digest_known, cases[i][5] != 0);
        assert_int_equal(plan.digest.lo, cases[i][5]);
    }
    struct repo_plan plan;
    assert_int_equal(repo_plan_lsn(&inv, (struct lsn){0}, &plan, NULL), ERR_NOT_FOUND);
    assert_int_equal(repo_plan_lsn(&inv, (struct lsn){41}, &plan, NULL), ERR_NOT_FOUND);
}

/* For each pack and snapshot damaged or gone: a target is planned if and only if there is a way, as counted here entry
 * by entry. */
static void damage_bars_only_what_it_bars(void **state)
{
    (void)state;
    for (unsigned broken = 0; broken < 1u << (PACKS + SNAPSHOTS); broken++) {
        make();
        for (size_t i = 0; i < PACKS; i++)
            packs[i].o.damaged = (broken >> i & 1) != 0;
        for (size_t i = 0; i < SNAPSHOTS; i++)
            snapshots[i].o.damaged = (broken >> (PACKS + i) & 1) != 0;
        bool reach = true; /* is there a way to this lsn? */
        for (uint64_t lsn = 1; lsn <= 40; lsn++) {
            struct repo_plan plan;
            bool snapshot =
                (lsn == 20 && !snapshots[0].o.damaged) || (lsn == 35 && !snapshots[1].o.damaged);
            reach = snapshot || (reach && !packs[(lsn - 1) / 10].o.damaged);
            int rc = repo_plan_lsn(&inv, (struct lsn){lsn}, &plan, NULL);
            assert_int_equal(rc, reach ? 0 : ERR_INTEGRITY);
        }
    }
}

static void targets_are_found_by_name_and_time(void **state)
{
    (void)state;
    struct lsn lsn;
    struct err e = ERR_NONE;
    const struct repo_pack *p;
    make();
    assert_int_equal(repo_target_point(&inv, "summer", &lsn, &e), 0);
    assert_int_equal(lsn.v, 10);
    assert_int_equal(repo_target_point(&inv, "spring", &lsn, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "lsn 5 and lsn 25"));
    assert_int_equal(repo_target_point(&inv, "sumo", &lsn, &e), ERR_NOT_FOUND);
    assert_string_equal(
        e.text, "no restore point 'sumo' among 3; nearest: 'summer' (lsn 10), 'spring' (lsn 25), "
                "'spring' (lsn 5)");
    assert_int_equal(repo_target_end(&inv, &lsn, &e), 0);
    assert_int_equal(lsn.v, 40);
    assert_int_equal(repo_target_time(&inv, (struct utc){999999}, &p, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "1970-01-01T00:00:01.000000Z to 1970-01-01T00:00:40.000000Z"));
    for (uint64_t s = 1; s <= 60; s++) {
        assert_int_equal(repo_target_time(&inv, (struct utc){s * 1000000 + 5}, &p, &e), 0);
        assert_ptr_equal(p, &packs[s > 40 ? 3 : (s - 1) / 10]);
    }
    /* What a damaged pack could decide is not decided without it. */
    packs[2].o.damaged = true;
    assert_int_equal(repo_target_time(&inv, (struct utc){19999999}, &p, &e), 0);
    assert_int_equal(repo_target_time(&inv, (struct utc){20000000}, &p, &e), ERR_INTEGRITY);
    assert_int_equal(repo_target_time(&inv, (struct utc){30999999}, &p, &e), ERR_INTEGRITY);
    assert_int_equal(repo_target_time(&inv, (struct utc){31000000}, &p, &e), 0);
    inv = (struct repo_inventory){packs, 0, snapshots, 0, NULL, 0};
    assert_int_equal(repo_target_end(&inv, &lsn, &e), ERR_NOT_FOUND);
    assert_int_equal(repo_target_point(&inv, "x", &lsn, &e), ERR_NOT_FOUND);
    assert_string_equal(e.text, "no restore point 'x' among 0");
    assert_int_equal(repo_target_time(&inv, (struct utc){5}, &p, &e), ERR_NOT_FOUND);
    /* Snapshots alone are an archive too. */
    inv.snapshot_count = 1;
    struct repo_plan plan;
    assert_int_equal(repo_target_end(&inv, &lsn, &e), 0);
    assert_int_equal(lsn.v, 20);
    assert_int_equal(repo_plan_lsn(&inv, lsn, &plan, &e), 0);
    assert_int_equal(plan.bytes, 7);
    assert_int_equal(repo_plan_lsn(&inv, (struct lsn){19}, &plan, &e), ERR_NOT_FOUND);
}

/* ---- indexes ---- */

static struct repo_index indexes[6];

/* Over the packs [begin, end). */
static void index_over(size_t i, uint64_t begin, uint64_t end, uint32_t level)
{
    indexes[i] = (struct repo_index){
        .first = {10 * begin + 1}, .prev = at(10 * begin), .level = level, .refs = 100};
    indexes[i].o.end = at(10 * end);
    inv.indexes = indexes;
    inv.index_count = i + 1;
}

static void chosen(const char *expected)
{
    repo_indexes_choose(&inv);
    for (size_t i = 0; i < inv.index_count; i++)
        assert_int_equal(inv.indexes[i].used, expected[i] == 'x');
}

static void the_widest_index_is_asked_and_none_within_it(void **state)
{
    (void)state;
    make();
    assert_int_equal(repo_index_missing(&inv), 0);
    index_over(0, 0, 1, 0);
    index_over(1, 0, 2, 1);
    index_over(2, 1, 2, 0);
    index_over(3, 3, 4, 0);
    chosen(".x.x");
    assert_int_equal(repo_index_missing(&inv), 2);
    assert_ptr_equal(repo_index_of(&inv, (struct lsn){15}), &indexes[1]);
    assert_null(repo_index_of(&inv, (struct lsn){25}));
    assert_ptr_equal(repo_index_of(&inv, (struct lsn){40}), &indexes[3]);
    assert_null(repo_index_of(&inv, (struct lsn){41}));
    /* When the wide one is damaged the others do. */
    indexes[1].o.damaged = true;
    chosen("x.xx");
    indexes[2].o.damaged = true;
    chosen("x..x");
    assert_int_equal(repo_index_missing(&inv), 1);
    /* Of another history, or not over whole packs. */
    indexes[0].prev.hash.b[20] = 1;
    chosen("...x");
    indexes[3].o.end.time.us++;
    chosen("....");
    index_over(3, 3, 4, 0);
    indexes[3].first.v++;
    chosen("....");
    /* What a damaged pack held before is not compared. */
    index_over(3, 2, 4, 0);
    packs[2].o.damaged = true;
    memset(&packs[2].prev, 0, sizeof packs[2].prev);
    chosen("...x");
    assert_int_equal(repo_index_missing(&inv), 0);
    index_over(0, 0, 2, 0);
    inv.index_count = 4;
    chosen("x..x");
    assert_int_equal(repo_index_missing(&inv), PACKS);
}

static void neighbours_of_one_level_are_merged(void **state)
{
    (void)state;
    make();
    index_over(0, 0, 1, 1);
    index_over(1, 1, 2, 0);
    index_over(2, 2, 3, 0);
    index_over(3, 3, 4, 0);
    repo_indexes_choose(&inv);
    assert_int_equal(repo_indexes_alike(&inv, 3, 300), 1);
    assert_int_equal(repo_indexes_alike(&inv, 3, 299), 4); /* too many references */
    assert_int_equal(repo_indexes_alike(&inv, 2, 300), 1);
    assert_int_equal(repo_indexes_alike(&inv, 4, 1000), 4);
    indexes[2].used = false; /* a gap */
    assert_int_equal(repo_indexes_alike(&inv, 2, 300), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_chain_is_whole),
        cmocka_unit_test(each_break_is_named),
        cmocka_unit_test(what_is_damaged_is_sealed_behind_only_where_its_place_is_proven),
        cmocka_unit_test(of_damaged_packs_with_the_same_lsns_one_stands_for_all),
        cmocka_unit_test(a_pack_that_came_late_and_is_not_needed_is_told),
        cmocka_unit_test(a_pack_of_another_history_is_not_passed_over),
        cmocka_unit_test(of_two_packs_with_the_same_entries_the_later_one_counts),
        cmocka_unit_test(what_is_damaged_is_not_needed_when_a_whole_pack_has_its_lsns),
        cmocka_unit_test(the_pack_in_the_place_of_another_is_found_by_its_lsns),
        cmocka_unit_test(plans_take_the_nearest_snapshot),
        cmocka_unit_test(damage_bars_only_what_it_bars),
        cmocka_unit_test(targets_are_found_by_name_and_time),
        cmocka_unit_test(the_widest_index_is_asked_and_none_within_it),
        cmocka_unit_test(neighbours_of_one_level_are_merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
