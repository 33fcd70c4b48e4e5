/* The search finds the order that there is, and finds none where there is none: it must be able to fail. */
#include "tests/lib/linear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LENGTH(a) (uint32_t)(sizeof(a) / sizeof((a)[0]))

static enum linear_verdict verdict_of(const struct linear_op *ops, uint32_t n)
{
    struct linear *f = linear_new(64, 100000);
    enum linear_verdict v = linear_check(f, ops, n);
    linear_free(f);
    return v;
}

static void requests_one_after_another_are_linearizable(void **state)
{
    (void)state;
    const struct linear_op ops[] = {
        {LINEAR_READ, false, 0, 0, 1, 2},  {LINEAR_PUT, false, 7, 0, 3, 4},
        {LINEAR_READ, false, 7, 0, 5, 6},  {LINEAR_CAS, false, 8, 7, 7, 8},
        {LINEAR_CAS, true, 9, 7, 9, 10},   {LINEAR_DELETE, false, 0, 0, 11, 12},
        {LINEAR_READ, false, 0, 0, 13, 14}};
    assert_int_equal(verdict_of(ops, LENGTH(ops)), LINEAR_YES);
}

static void a_read_of_what_was_replaced_is_found(void **state)
{
    (void)state;
    const struct linear_op ops[] = {{LINEAR_PUT, false, 7, 0, 1, 2},
                                    {LINEAR_PUT, false, 8, 0, 3, 4},
                                    {LINEAR_READ, false, 7, 0, 5, 6}};
    assert_int_equal(verdict_of(ops, LENGTH(ops)), LINEAR_NO);
}

static void a_lost_write_is_found(void **state)
{
    (void)state;
    const struct linear_op ops[] = {{LINEAR_PUT, false, 7, 0, 1, 2},
                                    {LINEAR_READ, false, 0, 0, 3, 4}};
    assert_int_equal(verdict_of(ops, LENGTH(ops)), LINEAR_NO);
}

static void a_condition_that_held_twice_is_found(void **state)
{
    (void)state;
    const struct linear_op ops[] = {{LINEAR_PUT, false, 7, 0, 1, 2},
                                    {LINEAR_CAS, false, 8, 7, 3, 9},
                                    {LINEAR_CAS, false, 9, 7, 4, 8}};
    assert_int_equal(verdict_of(ops, LENGTH(ops)), LINEAR_NO);
}

static void a_refusal_without_a_reason_is_found(void **state)
{
    (void)state;
    const struct linear_op ops[] = {{LINEAR_PUT, false, 7, 0, 1, 2},
                                    {LINEAR_CAS, true, 8, 7, 3, 4}};
    assert_int_equal(verdict_of(ops, LENGTH(ops)), LINEAR_NO);
}

static void requests_at_the_same_time_may_have_any_order(void **state)
{
    (void)state;
    const struct linear_op ops[] = {{LINEAR_PUT, false, 7, 0, 1, 9},
                                    {LINEAR_PUT, false, 8, 0, 2, 10},
                                    {LINEAR_READ, false, 8, 0, 3, 4},
                                    {LINEAR_READ, false, 7, 0, 5, 6}};
    assert_int_equal(verdict_of(ops, LENGTH(ops)), LINEAR_YES);
}

static void reads_that_go_back_are_found(void **state)
{
    (void)state;
    const struct linear_op ops[] = {{LINEAR_PUT, false, 7, 0, 1, 2},
                                    {LINEAR_PUT, false, 8, 0, 3, 12},
                                    {LINEAR_READ, false, 8, 0, 4, 5},
                                    {LINEAR_READ, false, 7, 0, 6, 7}};
    assert_int_equal(verdict_of(ops, LENGTH(ops)), LINEAR_NO);
}

/* What nobody answered may have happened, late, or not. But once, and not before it was asked. */
static void an_unanswered_write_may_take_effect_late_once_or_never(void **state)
{
    (void)state;
    const struct linear_op late[] = {{LINEAR_PUT, false, 7, 0, 1, 0},
                                     {LINEAR_PUT, false, 8, 0, 2, 3},
                                     {LINEAR_READ, false, 8, 0, 4, 5},
                                     {LINEAR_READ, false, 7, 0, 6, 7}};
    assert_int_equal(verdict_of(late, LENGTH(late)), LINEAR_YES);
    assert_int_equal(verdict_of(late, LENGTH(late) - 1), LINEAR_YES);
    const struct linear_op twice[] = {{LINEAR_PUT, false, 7, 0, 1, 0},
                                      {LINEAR_READ, false, 7, 0, 2, 3},
                                      {LINEAR_PUT, false, 8, 0, 4, 5},
                                      {LINEAR_READ, false, 7, 0, 6, 7}};
    assert_int_equal(verdict_of(twice, LENGTH(twice)), LINEAR_NO);
    const struct linear_op early[] = {{LINEAR_READ, false, 7, 0, 1, 2},
                                      {LINEAR_PUT, false, 7, 0, 3, 0}};
    assert_int_equal(verdict_of(early, LENGTH(early)), LINEAR_NO);
}

static void a_search_that_takes_too_long_is_given_up(void **state)
{
    (void)state;
    struct linear_op ops[40];
    for (uint32_t k = 0; k < 39; k++) /* all at once, in any order, and none explains the read */
        ops[k] = (struct linear_op){LINEAR_PUT, false, k + 1, 0, k + 1, 1000 + k};
    ops[39] = (struct linear_op){LINEAR_READ, false, 4711, 0, 40, 2000};
    struct linear *f = linear_new(64, 1000);
    assert_int_equal(linear_check(f, ops, 40), LINEAR_GIVEN_UP);
    assert_int_equal(linear_check(f, ops, 39), LINEAR_YES); /* and the next is not harmed */
    linear_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_one_after_another_are_linearizable),
        cmocka_unit_test(a_read_of_what_was_replaced_is_found),
        cmocka_unit_test(a_lost_write_is_found),
        cmocka_unit_test(a_condition_that_held_twice_is_found),
        cmocka_unit_test(a_refusal_without_a_reason_is_found),
        cmocka_unit_test(requests_at_the_same_time_may_have_any_order),
        cmocka_unit_test(reads_that_go_back_are_found),
        cmocka_unit_test(an_unanswered_write_may_take_effect_late_once_or_never),
        cmocka_unit_test(a_search_that_takes_too_long_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
