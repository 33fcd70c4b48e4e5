#include "replication/core/marks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void only_what_will_stay_is_published(void **state)
{
    (void)state;
    struct marks m = {
        .durable = {10}, .commit = {7}, .visible = {9}, .applied = {9}, .checkpoint = {5}};
    assert_true(marks_are_sound(&m));
    assert_true(marks_may_publish(&m, (struct lsn){7}));
    assert_false(
        marks_may_publish(&m, (struct lsn){8})); /* applied in local mode, may yet be undone */
    m.durable.v = 6;
    assert_false(marks_may_publish(&m, (struct lsn){7})); /* the log does not reach it here */
}

static void the_archive_gets_what_is_committed_and_applied(void **state)
{
    (void)state;
    struct marks m = {
        .commit = {7}, .visible = {9}, .applied = {9}, .archived = {2}, .archives = true};
    assert_int_equal(marks_archive_to(&m).v, 7);
    m.applied.v = 4;
    assert_int_equal(marks_archive_to(&m).v, 4);
    m.archives = false;
    assert_int_equal(marks_archive_to(&m).v, 2);
}

static void nothing_needed_is_recycled(void **state)
{
    (void)state;
    struct marks m = {
        .checkpoint = {100}, .archived = {60}, .archives = true, .needed = {40}, .retain = {1}};
    assert_int_equal(marks_recycle_below(&m).v, 41); /* the slowest site */
    m.needed.v = 90;
    assert_int_equal(marks_recycle_below(&m).v, 61); /* the archive */
    m.archives = false;
    assert_int_equal(marks_recycle_below(&m).v, 91);
    m.needed.v = 500;
    assert_int_equal(marks_recycle_below(&m).v, 101); /* recovery */
}

static void a_dead_site_is_waited_for_only_within_the_limit(void **state)
{
    (void)state;
    struct marks m = {.checkpoint = {1000}, .needed = {0}, .retain = {1}};
    assert_int_equal(marks_recycle_below(&m).v, 1);
    m.retain.v = 700; /* the retention limit has moved on */
    assert_int_equal(marks_recycle_below(&m).v, 700);
}

static void unsound_marks_are_recognised(void **state)
{
    (void)state;
    struct marks sound = {.commit = {5},
                          .visible = {5},
                          .applied = {5},
                          .checkpoint = {5},
                          .archived = {5},
                          .archives = true};
    assert_true(marks_are_sound(&sound));
    struct marks m = sound;
    m.applied.v = 6;
    assert_false(marks_are_sound(&m));
    m = sound;
    m.checkpoint.v = 6;
    assert_false(marks_are_sound(&m));
    m = sound;
    m.archived.v = 6;
    assert_false(marks_are_sound(&m));
    m = sound;
    m.commit.v = 6;
    assert_false(marks_are_sound(&m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_will_stay_is_published),
        cmocka_unit_test(the_archive_gets_what_is_committed_and_applied),
        cmocka_unit_test(nothing_needed_is_recycled),
        cmocka_unit_test(a_dead_site_is_waited_for_only_within_the_limit),
        cmocka_unit_test(unsound_marks_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
