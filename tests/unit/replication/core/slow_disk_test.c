#include "replication/core/slow_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { DC, DR, GSR, SITES, MAJORITY = 2, ELECTION_MS = 500, GRAIN_MS = 50 };

static struct slow_disk d;
static uint64_t now;

static int fresh(void **state)
{
    (void)state;
    memset(&d, 0, sizeof d);
    now = 1000;
    return 0;
}

static void look(uint64_t durable, uint64_t last)
{
    slow_disk_look(&d, (struct lsn){durable}, (struct lsn){last}, now, GRAIN_MS, ELECTION_MS);
}

/* Time goes by in ticks, and nothing moves. */
static void wait_ms(uint32_t ms, uint64_t durable, uint64_t last)
{
    for (; ms > 0; ms -= ms < 10 ? ms : 10) {
        now += ms < 10 ? ms : 10;
        look(durable, last);
    }
}

/* Seconds of writes that take so long each. */
static uint64_t used_to(uint64_t lsn, uint32_t each_ms, unsigned seconds)
{
    for (uint64_t end = now + 1000 * seconds; now < end; lsn++) {
        look(lsn, lsn + 1);
        wait_ms(each_ms, lsn, lsn + 1);
        look(lsn + 1, lsn + 1);
    }
    return lsn;
}

static uint8_t successor(bool dr, bool gsr)
{
    const bool counts[SITES] = {[DR] = dr, [GSR] = gsr}, may_lead[SITES] = {[DR] = dr};
    return slow_disk_successor(&d, counts, may_lead, SITES, MAJORITY, ELECTION_MS);
}

static void acknowledge(uint8_t site, uint64_t lsn)
{
    slow_disk_acknowledged(&d, site, (struct lsn){lsn});
}

static void who_waits_while_the_others_have_it_hands_over_to_the_one_that_may_lead(void **state)
{
    (void)state;
    uint64_t lsn = used_to(1, 2, 5);
    look(lsn, lsn + 1);
    wait_ms(3, lsn, lsn + 1);
    acknowledge(DR, lsn + 1);
    acknowledge(GSR, lsn + 1);
    wait_ms(ELECTION_MS - 4, lsn, lsn + 1);
    assert_false(slow_disk_is_slow(&d, ELECTION_MS));
    assert_int_equal(successor(true, true), REPL_NOBODY);
    wait_ms(1, lsn, lsn + 1);
    assert_true(slow_disk_is_slow(&d, ELECTION_MS));
    assert_int_equal(d.waited_ms, ELECTION_MS);
    assert_int_equal(d.there_ms[DR], 3 + 1);
    assert_int_equal(successor(true, true), DR);
    assert_int_equal(successor(true, false), REPL_NOBODY); /* gsr's vote is needed */
    assert_int_equal(successor(false, true), REPL_NOBODY); /* dr is the one that may lead */
}

static void if_all_disks_are_slow_nothing_moves(void **state)
{
    (void)state;
    uint64_t lsn = used_to(1, 2, 5);
    look(lsn, lsn + 1);
    wait_ms(4000, lsn, lsn + 1);
    assert_int_equal(successor(true, true), REPL_NOBODY);
    acknowledge(DR, lsn + 1);
    acknowledge(GSR, lsn); /* one before: not what is waited for */
    assert_int_equal(successor(true, true), REPL_NOBODY);
    acknowledge(GSR, lsn + 1);
    assert_int_equal(successor(true, true), REPL_NOBODY); /* as slow as this one */
    wait_ms(12100, lsn, lsn + 1);
    assert_int_equal(successor(true, true), DR); /* a quarter of the time, after all */
}

static void a_disk_that_was_always_slow_is_not_slow(void **state)
{
    (void)state;
    uint64_t lsn = used_to(1, 40, 300);
    assert_in_range(d.usual_256 / 256, 38, 40);
    assert_in_range(slow_disk_limit_ms(&d, ELECTION_MS), 1900, 2000);
    look(lsn, lsn + 1);
    acknowledge(DR, lsn + 1);
    acknowledge(GSR, lsn + 1);
    wait_ms(1500, lsn, lsn + 1);
    assert_int_equal(successor(true, true), REPL_NOBODY);
    wait_ms(500, lsn, lsn + 1);
    assert_int_equal(successor(true, true), DR);
}

static void what_is_too_slow_does_not_become_the_usual_at_once(void **state)
{
    (void)state;
    uint64_t lsn = used_to(1, 2, 60);
    lsn = used_to(lsn, 4200, 42); /* ten of them */
    assert_true(slow_disk_is_slow(&d, ELECTION_MS));
    assert_int_equal(slow_disk_limit_ms(&d, ELECTION_MS), ELECTION_MS);
    (void)used_to(lsn, 2, 1);
    assert_false(slow_disk_is_slow(&d, ELECTION_MS));
}

static void a_process_that_was_stopped_has_not_waited(void **state)
{
    (void)state;
    uint64_t lsn = used_to(1, 2, 5);
    look(lsn, lsn + 1);
    acknowledge(DR, lsn + 1);
    acknowledge(GSR, lsn + 1);
    now += 60000; /* SIGSTOP, a laptop's lid, a debugger */
    look(lsn, lsn + 1);
    assert_int_equal(d.waited_ms, GRAIN_MS);
    assert_int_equal(successor(true, true), REPL_NOBODY);
}

/* Under a stream of writes the lsn at hand is followed to its end, not the newest one for ever. */
static void writes_that_go_on_do_not_hide_the_one_that_waits(void **state)
{
    (void)state;
    look(10, 11);
    acknowledge(DR, 11);
    acknowledge(GSR, 11);
    for (uint64_t last = 12; last < 12 + ELECTION_MS; last++) {
        now++;
        look(10, last);
    }
    assert_int_equal(d.probe.v, 11);
    assert_int_equal(successor(true, true), DR);
    now += 7;
    look(11, 511);
    assert_int_equal(d.probe.v, 511); /* the next is timed from when it came */
    assert_int_equal(d.waited_ms, 7);
    assert_int_equal(d.there_ms[DR], 0);
    assert_true(slow_disk_is_slow(&d, ELECTION_MS)); /* the last one was */
    look(11, 11);
    assert_int_equal(d.probe.v, 0); /* cut: it will never be durable */
}

/* A site whose disk finished its batch a moment earlier only began it earlier. */
static void what_came_while_another_batch_was_written_has_waited_since_then(void **state)
{
    (void)state;
    uint64_t lsn = used_to(1, 2, 5);
    look(lsn, lsn + 1);
    wait_ms(300, lsn, lsn + 1);
    look(lsn, lsn + 2);
    wait_ms(400, lsn, lsn + 2);
    look(lsn + 1, lsn + 2);
    assert_int_equal(d.probe.v, lsn + 2);
    assert_int_equal(d.waited_ms, 400);
    acknowledge(DR, lsn + 2);
    acknowledge(GSR, lsn + 2);
    wait_ms(1200, lsn + 1, lsn + 2);
    assert_int_equal(successor(true, true), REPL_NOBODY);
    wait_ms(4, lsn + 1, lsn + 2);
    assert_int_equal(successor(true, true), DR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(
            who_waits_while_the_others_have_it_hands_over_to_the_one_that_may_lead, fresh),
        cmocka_unit_test_setup(if_all_disks_are_slow_nothing_moves, fresh),
        cmocka_unit_test_setup(a_disk_that_was_always_slow_is_not_slow, fresh),
        cmocka_unit_test_setup(what_is_too_slow_does_not_become_the_usual_at_once, fresh),
        cmocka_unit_test_setup(a_process_that_was_stopped_has_not_waited, fresh),
        cmocka_unit_test_setup(what_came_while_another_batch_was_written_has_waited_since_then,
                               fresh),
        cmocka_unit_test_setup(writes_that_go_on_do_not_hide_the_one_that_waits, fresh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
