#include "replication/core/ages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define MS UINT64_C(1000)
#define T0 (UINT64_C(1790000000) * 1000 * MS)

static struct timeline t;

static int fresh(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    return 0;
}

static void write_at(uint64_t lsn, uint64_t ms)
{
    timeline_note(&t, (struct lsn){lsn}, (struct utc){T0 + ms * MS}, 100);
}

/* Position `at` of `newest`, by a word of `word_ms`, asked at `now_ms`; both clocks begin at the same moment. */
static struct age ask(uint64_t at, uint64_t newest, uint64_t word_ms, uint64_t now_ms)
{
    return age_of(&t, &(struct age_asked){.at_known = true,
                                          .at = {at},
                                          .newest = {newest},
                                          .word_ms = word_ms,
                                          .now_ms = now_ms,
                                          .now = {T0 + now_ms * MS}});
}

static void who_has_everything_is_as_old_as_its_last_word(void **state)
{
    (void)state;
    write_at(1, 10);
    const struct age a = ask(1, 1, 64800000, 64800040); /* 18 hours after the last write */
    assert_true(a.known && a.time_known && a.bytes_known);
    assert_int_equal(a.us, 40 * MS);
    assert_int_equal(a.entries, 0);
    assert_int_equal(a.bytes, 0);
}

static void
who_is_cut_off_grows_old_from_the_cut_on_whether_anything_is_written_or_not(void **state)
{
    (void)state;
    write_at(1, 10);
    assert_int_equal(ask(1, 1, 1000, 11000).us, 10000 * MS);
    write_at(2, 9000);
    assert_int_equal(ask(1, 2, 1000, 11000).us, 10000 * MS);
    assert_int_equal(ask(1, 2, 1000, 11000).entries, 1);
}

static void who_is_behind_is_as_old_as_the_first_entry_that_it_lacks(void **state)
{
    (void)state;
    for (uint64_t lsn = 1; lsn <= 100; lsn++)
        write_at(lsn, 10 * lsn);
    const struct age a = ask(50, 100, 1000, 1005);
    assert_int_equal(a.us, (1005 - 510) * MS);
    assert_int_equal(a.entries, 50);
    assert_int_equal(a.bytes, 5000);
    /* The first write after a long night is missing for a moment: a moment is what it is behind. */
    write_at(101, 64800000);
    assert_int_equal(ask(100, 101, 64799990, 64800002).us, 12 * MS);
}

static void what_is_not_known_is_not_zero(void **state)
{
    (void)state;
    timeline_note(&t, (struct lsn){500}, (struct utc){T0}, 100); /* as a restart finds it */
    assert_false(age_of(&t, &(struct age_asked){.newest = {500}, .word_ms = 10}).known);
    assert_false(ask(500, 500, 0, 20).known);
    const struct age a = ask(400, 500, 10, 20); /* before what is remembered */
    assert_true(a.known && !a.time_known && !a.bytes_known);
    assert_int_equal(a.entries, 100);
    assert_true(ask(499, 500, 10, 20).time_known);
}

static void what_was_cut_is_forgotten(void **state)
{
    (void)state;
    for (uint64_t lsn = 1; lsn <= 10; lsn++)
        write_at(lsn, 10 * lsn);
    timeline_cut(&t, (struct lsn){5});
    write_at(6, 1000);
    assert_int_equal(ask(5, 6, 2000, 2000).us, 1000 * MS);
    assert_int_equal(ask(5, 6, 2000, 2000).bytes, 100);
    timeline_cut(&t, (struct lsn){0});
    assert_false(ask(5, 6, 2000, 2000).time_known);
}

/* Days of writes at every rate, with pauses: whatever is asked, the answer is at least the truth, and little more. */
static void ages_are_rounded_up_by_a_thirtieth_at_most(void **state)
{
    (void)state;
    enum { WRITES = 200000 };
    static uint64_t when[WRITES + 1];
    uint64_t random = 7, ms = 0;
    for (uint64_t lsn = 1; lsn <= WRITES; lsn++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint64_t draw = random >> 33;
        ms += draw % 10000 == 0 ? draw % 40000000 : draw % 3;
        when[lsn] = ms;
        write_at(lsn, ms);
        assert_true(t.count <= TIMELINE_MARKS);
    }
    uint64_t now = ms + 5, oldest = t.marks[0].lsn.v;
    assert_int_equal(oldest, 1);
    for (uint64_t at = 1; at < WRITES; at++) {
        uint64_t truth = now - when[at + 1], us = ask(at, WRITES, now, now).us;
        assert_true(us >= truth * MS);
        assert_true(us <= truth * MS + truth * MS / 30 + 2 * TIMELINE_GRAIN_US);
        uint64_t bytes = ask(at, WRITES, now, now).bytes;
        assert_true(bytes >= (WRITES - at) * 100);
    }
}

static void a_time_that_falls_is_held(void **state)
{
    (void)state;
    write_at(1, 100);
    write_at(2, 50);
    write_at(3, 200);
    assert_int_equal(ask(1, 3, 300, 300).us, 200 * MS);
    assert_int_equal(ask(2, 3, 300, 300).us, 100 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_has_everything_is_as_old_as_its_last_word, fresh),
        cmocka_unit_test_setup(
            who_is_cut_off_grows_old_from_the_cut_on_whether_anything_is_written_or_not, fresh),
        cmocka_unit_test_setup(who_is_behind_is_as_old_as_the_first_entry_that_it_lacks, fresh),
        cmocka_unit_test_setup(what_is_not_known_is_not_zero, fresh),
        cmocka_unit_test_setup(what_was_cut_is_forgotten, fresh),
        cmocka_unit_test_setup(ages_are_rounded_up_by_a_thirtieth_at_most, fresh),
        cmocka_unit_test_setup(a_time_that_falls_is_held, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
