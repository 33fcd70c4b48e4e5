/* What may be said of an entry that is undone: was its client told that it was done? */
#include "replication/core/answered.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static struct answered a;

static int begin(void **state)
{
    (void)state;
    answered_begin(&a, (struct term){5});
    return 0;
}

static enum acknowledged what(uint64_t term, uint64_t lsn, enum level level)
{
    return answered_what(&a, (struct term){term}, (struct lsn){lsn}, level, (struct lsn){10});
}

static void of_another_process_nothing_is_known(void **state)
{
    (void)state;
    answered_local(&a, (struct lsn){20}, true);
    assert_int_equal(what(4, 15, LEVEL_LOCAL), ACKNOWLEDGED_POSSIBLE);
    assert_int_equal(what(6, 15, LEVEL_MAJORITY), ACKNOWLEDGED_POSSIBLE);
    a = (struct answered){0};
    assert_int_equal(what(0, 15, LEVEL_LOCAL), ACKNOWLEDGED_POSSIBLE);
}

static void what_left_the_queue_was_answered_and_what_is_in_it_was_not(void **state)
{
    (void)state;
    assert_int_equal(what(5, 15, LEVEL_LOCAL), ACKNOWLEDGED_NO);
    answered_local(&a, (struct lsn){15}, true);
    assert_int_equal(what(5, 15, LEVEL_LOCAL), ACKNOWLEDGED_YES);
    assert_int_equal(what(5, 16, LEVEL_LOCAL), ACKNOWLEDGED_NO);
    answered_begin(&a, (struct term){6});
    assert_int_equal(what(5, 15, LEVEL_LOCAL), ACKNOWLEDGED_POSSIBLE);
}

static void a_stronger_level_is_answered_by_a_majority_alone(void **state)
{
    (void)state;
    answered_local(&a, (struct lsn){20}, true);
    assert_int_equal(what(5, 15, LEVEL_MAJORITY), ACKNOWLEDGED_NO);
    assert_int_equal(what(5, 15, LEVEL_ALL), ACKNOWLEDGED_NO);
    assert_int_equal(what(5, 10, LEVEL_MAJORITY), ACKNOWLEDGED_POSSIBLE); /* a majority had it */
}

/* In mode local an outcome is told of what only this disk has, whatever its level. */
static void an_outcome_that_was_told_takes_the_no_away(void **state)
{
    (void)state;
    answered_outcome(&a, (struct lsn){15});
    assert_int_equal(what(5, 15, LEVEL_MAJORITY), ACKNOWLEDGED_POSSIBLE);
    assert_int_equal(what(5, 15, LEVEL_LOCAL), ACKNOWLEDGED_POSSIBLE);
    assert_int_equal(what(5, 16, LEVEL_MAJORITY), ACKNOWLEDGED_NO);
}

static void an_answer_that_nobody_was_there_to_hear_is_no_yes(void **state)
{
    (void)state;
    answered_local(&a, (struct lsn){15}, true);
    answered_local(&a, (struct lsn){16}, false);
    answered_local(&a, (struct lsn){17}, true);
    assert_int_equal(what(5, 15, LEVEL_LOCAL), ACKNOWLEDGED_YES);
    assert_int_equal(what(5, 16, LEVEL_LOCAL), ACKNOWLEDGED_POSSIBLE);
    for (uint64_t i = 0; i < ANSWERED_GONE_MAX; i++)
        answered_local(&a, (struct lsn){100 + i}, false);
    assert_int_equal(what(5, 15, LEVEL_LOCAL), ACKNOWLEDGED_POSSIBLE); /* more than is remembered */
}

static void an_entry_that_tells_no_level_is_no_only_beyond_every_answer(void **state)
{
    (void)state;
    answered_local(&a, (struct lsn){15}, true);
    assert_int_equal(what(5, 15, LEVEL_MODE), ACKNOWLEDGED_POSSIBLE);
    assert_int_equal(what(5, 16, LEVEL_MODE), ACKNOWLEDGED_NO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(of_another_process_nothing_is_known, begin),
        cmocka_unit_test_setup(what_left_the_queue_was_answered_and_what_is_in_it_was_not, begin),
        cmocka_unit_test_setup(a_stronger_level_is_answered_by_a_majority_alone, begin),
        cmocka_unit_test_setup(an_outcome_that_was_told_takes_the_no_away, begin),
        cmocka_unit_test_setup(an_answer_that_nobody_was_there_to_hear_is_no_yes, begin),
        cmocka_unit_test_setup(an_entry_that_tells_no_level_is_no_only_beyond_every_answer, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
