/* What a standby may say of how old its state is: it has everything that was acknowledged before the primary's newest word, or
 * it does not know. */
#include "replication/core/freshness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { COMMIT = 5, TERM = 3, TOLD_MS = 1000, NOW_MS = 1250 };

static struct freshness told(void)
{
    struct freshness f = {.known_ms = 0};
    freshness_told(&f, (struct lsn){COMMIT}, (struct term){TERM}, TOLD_MS);
    return f;
}

/* The age of who has applied up to there. */
static uint64_t age(struct freshness f, uint64_t lsn, uint64_t term, bool may_vote)
{
    const bool all = freshness_applied(&f, (struct lsn){lsn}, (struct term){term}, may_vote);
    const uint64_t us = freshness_age_us(&f, NOW_MS);
    assert_int_equal(all, us != UINT64_MAX);
    return us;
}

static void who_has_applied_what_the_primary_committed_is_as_old_as_its_word(void **state)
{
    (void)state;
    assert_int_equal(age(told(), COMMIT, TERM, true), (NOW_MS - TOLD_MS) * 1000);
    assert_int_equal(age(told(), COMMIT + 1, TERM, true), (NOW_MS - TOLD_MS) * 1000);
}

static void who_has_applied_less_does_not_know(void **state)
{
    (void)state;
    assert_int_equal(age(told(), COMMIT - 1, TERM, true), UINT64_MAX);
}

static void who_has_heard_nothing_does_not_know(void **state)
{
    (void)state;
    assert_int_equal(age((struct freshness){.known_ms = 0}, 0, 0, true), UINT64_MAX);
}

/* Its commit index may be below what its predecessor has acknowledged. */
static void a_new_primary_is_not_believed_before_an_entry_of_its_term_is_committed(void **state)
{
    (void)state;
    assert_int_equal(age(told(), COMMIT, TERM - 1, true), UINT64_MAX);
}

static void a_rebuilt_site_does_not_know_whether_the_primary_was_replaced(void **state)
{
    (void)state;
    assert_int_equal(age(told(), COMMIT, TERM, false), UINT64_MAX);
}

static void a_word_that_is_not_yet_applied_leaves_the_age_of_the_one_before(void **state)
{
    (void)state;
    struct freshness f = told();
    assert_true(freshness_applied(&f, (struct lsn){COMMIT}, (struct term){TERM}, true));
    freshness_told(&f, (struct lsn){COMMIT + 1}, (struct term){TERM}, TOLD_MS + 100);
    assert_false(freshness_applied(&f, (struct lsn){COMMIT}, (struct term){TERM}, true));
    assert_int_equal(freshness_age_us(&f, NOW_MS), (NOW_MS - TOLD_MS) * 1000);
}

/* Each heartbeat tells of more than is applied: one entry a millisecond, and what is committed is applied LAG_MS later. */
static void under_load_the_age_is_at_most_twice_what_applying_takes(void **state)
{
    (void)state;
    enum { HEARTBEAT_MS = 50, LAG_MS = 120, END_MS = 10000 };
    struct freshness f = {.known_ms = 0};
    uint64_t least = UINT64_MAX, most = 0;
    for (uint64_t now = 1; now < END_MS; now++) {
        if (now % HEARTBEAT_MS == 0)
            freshness_told(&f, (struct lsn){now}, (struct term){TERM}, now);
        if (now > LAG_MS)
            (void)freshness_applied(&f, (struct lsn){now - LAG_MS}, (struct term){TERM}, true);
        const uint64_t age = freshness_age_us(&f, now) / 1000;
        if (now <= 2 * LAG_MS + 2 * HEARTBEAT_MS)
            continue;
        assert_in_range(age, LAG_MS, 2 * LAG_MS + HEARTBEAT_MS);
        least = age < least ? age : least;
        most = age > most ? age : most;
    }
    assert_true(least < most);
}

static void what_is_waited_for_is_forgotten_with_its_term(void **state)
{
    (void)state;
    struct freshness f = told();
    freshness_told(&f, (struct lsn){COMMIT + 1}, (struct term){TERM + 1}, TOLD_MS + 100);
    assert_false(freshness_applied(&f, (struct lsn){COMMIT}, (struct term){TERM}, true));
    assert_true(freshness_applied(&f, (struct lsn){COMMIT + 1}, (struct term){TERM + 1}, true));
    assert_int_equal(f.known_ms, TOLD_MS + 100);
}

static void a_later_word_that_says_no_more_is_the_one_that_is_waited_for(void **state)
{
    (void)state;
    struct freshness f = told();
    freshness_told(&f, (struct lsn){COMMIT}, (struct term){TERM}, TOLD_MS + 100);
    freshness_told(&f, (struct lsn){COMMIT + 1}, (struct term){TERM}, TOLD_MS + 200);
    assert_true(freshness_applied(&f, (struct lsn){COMMIT}, (struct term){TERM}, true));
    assert_int_equal(f.known_ms, TOLD_MS + 100);
    freshness_undone(&f);
    assert_int_equal(freshness_age_us(&f, NOW_MS), UINT64_MAX);
    assert_true(freshness_applied(&f, (struct lsn){COMMIT + 1}, (struct term){TERM}, true));
    assert_int_equal(f.known_ms, TOLD_MS + 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_applied_what_the_primary_committed_is_as_old_as_its_word),
        cmocka_unit_test(who_has_applied_less_does_not_know),
        cmocka_unit_test(who_has_heard_nothing_does_not_know),
        cmocka_unit_test(a_new_primary_is_not_believed_before_an_entry_of_its_term_is_committed),
        cmocka_unit_test(a_rebuilt_site_does_not_know_whether_the_primary_was_replaced),
        cmocka_unit_test(under_load_the_age_is_at_most_twice_what_applying_takes),
        cmocka_unit_test(what_is_waited_for_is_forgotten_with_its_term),
        cmocka_unit_test(a_later_word_that_says_no_more_is_the_one_that_is_waited_for),
        cmocka_unit_test(a_word_that_is_not_yet_applied_leaves_the_age_of_the_one_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
