/* Telling with a limit what strangers cause. */
#include "replication/core/quiet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static struct quiet q;
static uint32_t silent;

static int begin(void **state)
{
    (void)state;
    q = (struct quiet){0};
    silent = 99;
    return 0;
}

static void the_same_is_told_once_a_minute_with_a_count(void **state)
{
    (void)state;
    uint64_t now = 500000;
    assert_true(quiet_tell(&q, "expired 3 s ago", now, &silent));
    assert_int_equal(silent, 0);
    for (uint64_t ms = 100; ms < QUIET_MS; ms += 100)
        assert_false(quiet_tell(&q, "expired 4 s ago", now + ms, &silent));
    assert_true(quiet_tell(&q, "expired 63 s ago", now + QUIET_MS, &silent));
    assert_int_equal(silent, QUIET_MS / 100 - 1);
}

static void another_reason_is_told_at_once(void **state)
{
    (void)state;
    assert_true(quiet_tell(&q, "expired", 500000, &silent));
    assert_false(quiet_tell(&q, "expired", 500001, &silent));
    assert_true(quiet_tell(&q, "of another CA", 500002, &silent));
    assert_int_equal(silent, 1);
    assert_false(quiet_tell(&q, "expired", 500003, &silent));
}

/* A stranger who finds a new name for each certificate. */
static void ever_new_reasons_are_bounded(void **state)
{
    (void)state;
    unsigned lines = 0;
    for (uint64_t now = 500000, n = 0; now < 500000 + 10 * QUIET_MS; now += 10, n++) {
        char text[] = "name aaaaa";
        for (uint64_t i = 0, left = n; i < 5; i++, left /= 26)
            text[5 + i] = (char)('a' + left % 26);
        lines += quiet_tell(&q, text, now, &silent);
    }
    assert_int_equal(lines, 10 * QUIET_LINES);
}

static void numbers_do_not_make_a_difference_and_anything_else_does(void **state)
{
    (void)state;
    assert_true(quiet_same("expired 3 days ago (dc)", "expired 44 days ago (dc)"));
    assert_true(quiet_same("", "17"));
    assert_false(quiet_same("expired 3 days ago", "expired 3 days ago (dc)"));
    assert_false(quiet_same("refused", "Refused"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_same_is_told_once_a_minute_with_a_count, begin),
        cmocka_unit_test_setup(another_reason_is_told_at_once, begin),
        cmocka_unit_test_setup(ever_new_reasons_are_bounded, begin),
        cmocka_unit_test_setup(numbers_do_not_make_a_difference_and_anything_else_does, begin),
    };
    return cmocka_run_group_tests_name("quiet", tests, NULL, NULL);
}
