/* When a restore drill is due, and when the last one is too old. */
#include "replication/core/drills.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define HOUR (UINT64_C(3600) * 1000000)
#define BEGAN (UINT64_C(1700000000) * 1000000)

static struct drills weekly(void)
{
    return (struct drills){.period_us = 168 * HOUR, .archive = {BEGAN}};
}

static void nothing_is_due_without_a_schedule_or_without_entries(void **state)
{
    struct drills d = weekly();
    (void)state;
    d.period_us = 0;
    assert_int_equal(drills_next(&d).us, 0);
    assert_false(drills_overdue(&d, (struct utc){UINT64_MAX}));
    d = weekly();
    d.archive.us = 0;
    assert_int_equal(drills_next(&d).us, 0);
    assert_false(drills_overdue(&d, (struct utc){UINT64_MAX}));
}

static void the_first_one_is_due_a_period_after_the_archive_began(void **state)
{
    struct drills d = weekly();
    (void)state;
    assert_int_equal(drills_next(&d).us, BEGAN + 168 * HOUR);
}

static void the_next_one_is_due_a_period_after_the_last(void **state)
{
    struct drills d = weekly();
    (void)state;
    d.last = d.last_good = (struct utc){BEGAN + 500 * HOUR};
    assert_int_equal(drills_next(&d).us, BEGAN + 668 * HOUR);
}

static void one_that_failed_is_tried_again_soon(void **state)
{
    struct drills d = weekly();
    (void)state;
    d.last.us = BEGAN + 500 * HOUR;
    d.failed = true;
    assert_int_equal(drills_next(&d).us, BEGAN + 501 * HOUR);
    d.period_us = HOUR / 2; /* no later than without failure */
    assert_int_equal(drills_next(&d).us, BEGAN + 500 * HOUR + HOUR / 2);
}

static void twice_the_period_without_a_good_one_is_too_long(void **state)
{
    struct drills d = weekly();
    (void)state;
    assert_false(drills_overdue(&d, (struct utc){BEGAN + 336 * HOUR}));
    assert_true(drills_overdue(&d, (struct utc){BEGAN + 336 * HOUR + 1}));
    d.last_good.us = BEGAN + 100 * HOUR;
    d.last.us = BEGAN + 400 * HOUR; /* that failed does not count */
    d.failed = true;
    assert_false(drills_overdue(&d, (struct utc){BEGAN + 436 * HOUR}));
    assert_true(drills_overdue(&d, (struct utc){BEGAN + 436 * HOUR + 1}));
}

static void a_clock_that_was_set_back_or_far_ahead_overflows_nothing(void **state)
{
    struct drills d = weekly();
    (void)state;
    d.last = d.last_good = (struct utc){UINT64_MAX - 1};
    assert_int_equal(drills_next(&d).us, UINT64_MAX);
    assert_false(drills_overdue(&d, (struct utc){BEGAN}));
    assert_false(drills_overdue(&d, (struct utc){UINT64_MAX}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_due_without_a_schedule_or_without_entries),
        cmocka_unit_test(the_first_one_is_due_a_period_after_the_archive_began),
        cmocka_unit_test(the_next_one_is_due_a_period_after_the_last),
        cmocka_unit_test(one_that_failed_is_tried_again_soon),
        cmocka_unit_test(twice_the_period_without_a_good_one_is_too_long),
        cmocka_unit_test(a_clock_that_was_set_back_or_far_ahead_overflows_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
