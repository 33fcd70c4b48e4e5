/* Commit time against wall clocks that jump. */
#include "store/core/commit_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)
#define HOUR (3600 * SECOND)
#define YEAR (8766 * HOUR)
static const struct utc noon = {UINT64_C(1790000000000000)};

/* Ask once a second for so long; the wall clock is `offset` off. The last answer. */
static struct utc run(struct commit_clock *c, struct utc prev, int64_t offset, uint64_t *boot,
                      uint64_t seconds)
{
    for (uint64_t i = 0; i < seconds; i++) {
        *boot += SECOND;
        struct utc wall = {(uint64_t)((int64_t)(noon.us + *boot) + offset)};
        struct utc now = entry_next_time(c, prev, wall, *boot);
        assert_true(now.us >= prev.us);
        prev = now;
    }
    return prev;
}

static void a_disciplined_clock_is_followed_exactly(void **state)
{
    (void)state;
    struct commit_clock c = {0};
    struct utc prev = {0};
    uint64_t boot = 0;
    for (unsigned i = 0; i < 100000; i++) {
        boot += 1 + i % 40; /* entries come close together */
        struct utc wall = {noon.us + boot + boot * 500 / 1000000};
        struct utc now = entry_next_time(&c, prev, wall, boot);
        assert_true(now.us >= prev.us);
        assert_true(now.us + 3 >= wall.us && now.us <= wall.us);
        assert_int_equal(commit_time_jump_us(&c, wall, boot), 0);
        prev = now;
    }
}

static void a_jump_of_years_is_not_followed_and_told(void **state)
{
    (void)state;
    const int64_t jumps[] = {10 * (int64_t)YEAR, -(int64_t)(noon.us), -10 * (int64_t)YEAR,
                             (int64_t)HOUR, -(int64_t)HOUR};
    for (size_t i = 0; i < sizeof jumps / sizeof jumps[0]; i++) {
        struct commit_clock c = {0};
        uint64_t boot = 0;
        struct utc before = run(&c, (struct utc){0}, 0, &boot, 10);
        struct utc after = run(&c, before, jumps[i], &boot, 3600);
        assert_int_equal(after.us, before.us + HOUR);
        struct utc wall = {(uint64_t)((int64_t)(noon.us + boot) + jumps[i])};
        assert_int_equal(commit_time_jump_us(&c, wall, boot), jumps[i]);
        /* It is set back: as if nothing had been. */
        after = run(&c, after, 0, &boot, 10);
        assert_int_equal(after.us, noon.us + boot);
        assert_int_equal(commit_time_jump_us(&c, after, boot), 0);
    }
}

static void a_small_jump_is_slewed(void **state)
{
    (void)state;
    for (int64_t jump = -60; jump <= 60; jump += 120) {
        struct commit_clock c = {0};
        uint64_t boot = 0;
        int64_t offset = jump * (int64_t)SECOND;
        struct utc before = run(&c, (struct utc){0}, 0, &boot, 10);
        struct utc after = run(&c, before, offset, &boot, 16);
        assert_int_equal(after.us,
                         before.us + 16 * SECOND + (uint64_t)(jump > 0 ? 1 : -1) * SECOND);
        after = run(&c, after, offset, &boot, 16 * 60);
        assert_int_equal((int64_t)after.us, (int64_t)(noon.us + boot) + offset);
    }
}

static void time_never_decreases_and_gains_no_more_than_a_sixteenth(void **state)
{
    (void)state;
    struct commit_clock c = {0};
    uint64_t boot = 0, x = 88172645463325252u;
    struct utc prev = {0}, wall = noon;
    for (unsigned i = 0; i < 200000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint64_t passed = x % (i % 3 == 0 ? 20 : 2000000);
        boot += passed;
        if (x % 50 == 0)
            wall.us = noon.us + (x >> 8) % (20 * YEAR) - 10 * YEAR;
        else if (x % 10 == 0)
            wall.us += (x >> 8) % (10 * 60 * SECOND) - 5 * 60 * SECOND;
        wall.us += passed;
        struct utc now = entry_next_time(&c, prev, wall, boot);
        assert_true(now.us >= prev.us);
        if (i > 0)
            assert_true(now.us - prev.us <= passed + passed / 16 + 2);
        prev = now;
    }
}

/* Entries that another primary stamped, whose clock is ahead. */
static void the_log_is_never_overtaken_backwards(void **state)
{
    (void)state;
    struct commit_clock c = {0};
    uint64_t boot = 0;
    struct utc before = run(&c, (struct utc){0}, 0, &boot, 10);
    struct utc ahead = {before.us + 2 * HOUR};
    boot += SECOND;
    assert_int_equal(entry_next_time(&c, ahead, (struct utc){noon.us + boot}, boot).us, ahead.us);
    /* It goes on from there instead of standing still for two hours. */
    struct utc after = run(&c, ahead, 0, &boot, 100);
    assert_int_equal(after.us, ahead.us + 100 * SECOND);
}

static void a_process_begins_with_its_wall_clock_or_the_log(void **state)
{
    (void)state;
    struct commit_clock c = {0};
    assert_int_equal(entry_next_time(&c, (struct utc){5}, noon, 77).us, noon.us);
    c = (struct commit_clock){0};
    assert_int_equal(entry_next_time(&c, noon, (struct utc){5}, 77).us, noon.us);
    assert_int_equal(entry_next_time(&c, noon, (struct utc){5}, 77 + SECOND).us, noon.us + SECOND);
    assert_int_equal(entry_next_time(&c, noon, (struct utc){5}, 76).us, noon.us + SECOND);
}

static void a_session_ends_only_when_this_primary_saw_it_idle(void **state)
{
    (void)state;
    const uint64_t limit = 24 * HOUR;
    struct utc last = noon;
    assert_false(session_was_idle(last, (struct utc){noon.us + limit - 1}, limit, limit));
    assert_true(session_was_idle(last, (struct utc){noon.us + limit}, limit, limit));
    /* The clock jumped ahead between two terms. */
    assert_false(session_was_idle(last, (struct utc){noon.us + 10 * YEAR}, limit - 1, limit));
    assert_true(session_was_idle(last, (struct utc){noon.us + 10 * YEAR}, limit, limit));
    /* A clock near 1970, or behind the session. */
    assert_false(session_was_idle((struct utc){0}, (struct utc){HOUR}, limit, limit));
    assert_false(session_was_idle(last, (struct utc){HOUR}, limit, limit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disciplined_clock_is_followed_exactly),
        cmocka_unit_test(a_jump_of_years_is_not_followed_and_told),
        cmocka_unit_test(a_small_jump_is_slewed),
        cmocka_unit_test(time_never_decreases_and_gains_no_more_than_a_sixteenth),
        cmocka_unit_test(the_log_is_never_overtaken_backwards),
        cmocka_unit_test(a_process_begins_with_its_wall_clock_or_the_log),
        cmocka_unit_test(a_session_ends_only_when_this_primary_saw_it_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
