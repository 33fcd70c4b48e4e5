/* How long a primary may believe that it is one. */
#include "tests/unit/replication/core/repl_kit.h"

static void tick_at(uint64_t ms)
{
    now = ms;
    feed((struct repl_event){.type = REPL_EV_TICK});
}

static void a_new_primary_has_no_lease_before_a_majority_answers(void **state)
{
    (void)state;
    become_primary();
    assert_false(repl_lease_running(&r, now));
    durable(11);
    assert_false(repl_lease_running(&r, now)); /* its own disk is no majority */
    acked(GSR, 11);
    assert_true(repl_lease_running(&r, now));
    assert_true(repl_lease_valid(&r, now));
}

/* The majority's newest round counts, not the newest of one site. */
static void the_lease_rests_on_what_a_majority_answered(void **state)
{
    (void)state;
    serve();
    uint64_t first = now;
    tick_at(first + 60);
    uint64_t sent_ms = now;
    tick_at(first + 120);
    struct repl_message m = ack_of(DR, 11);
    feed_message(&m, NULL); /* with itself dr is a majority */
    assert_true(repl_lease_valid(&r, sent_ms + 399));
    assert_true(repl_lease_valid(&r, first + 120 + 390));
    assert_false(repl_lease_valid(&r, first + 120 + 400));
}

/* A round that is older than what is remembered says nothing. */
static void sendings_are_remembered_for_two_leases_and_no_longer(void **state)
{
    (void)state;
    serve();
    uint64_t old = r.round;
    assert_int_not_equal(repl_round_sent_ms(&r, old), 0);
    for (int i = 0; i < 400; i++) {
        tick_at(now + 50);
        acked(DR, 11);
        acked(GSR, 11);
    }
    assert_int_equal(r.role, REPL_PRIMARY);
    assert_int_equal(repl_round_sent_ms(&r, old), 0);
    assert_in_range(repl_round_sent_ms(&r, r.round), now - 2 * 50, now);
}

/* It goes on as primary for an election time after the lease, answering nothing, and then steps down by itself. */
static void without_answers_the_lease_ends_before_the_role(void **state)
{
    (void)state;
    serve();
    uint64_t begin_ms = now;
    bool valid_and_standby = false;
    uint64_t invalid_at = 0, standby_at = 0;
    for (uint64_t ms = begin_ms; ms < begin_ms + 2000 && standby_at == 0; ms += 10) {
        tick_at(ms);
        bool valid = repl_lease_valid(&r, ms);
        invalid_at = !valid && invalid_at == 0 ? ms : invalid_at;
        standby_at = r.role != REPL_PRIMARY ? ms : 0;
        valid_and_standby |= valid && standby_at != 0;
    }
    assert_false(valid_and_standby);
    assert_in_range(invalid_at - begin_ms, 390, 410);
    assert_in_range(standby_at - begin_ms, 890, 910);
}

/* Who hears a primary but is not asked by it for a majority could not know otherwise that it was replaced (P5). */
static void a_primary_says_with_each_message_whether_it_has_its_lease(void **state)
{
    (void)state;
    become_primary();
    tick_at(now + 50);
    assert_non_null(sent(REPL_MSG_ENTRIES, DR));
    assert_false(sent(REPL_MSG_ENTRIES, DR)->granted);
    durable(11);
    acked(GSR, 11);
    tick_at(now + 50);
    assert_true(sent(REPL_MSG_ENTRIES, DR)->granted);
    tick_at(now + 400); /* dr hears it all the time, but answers are lost */
    assert_int_equal(r.role, REPL_PRIMARY);
    assert_false(sent(REPL_MSG_ENTRIES, DR)->granted);
}

/* A voter that answered a primary promises an election time; a closed link shortens it to 1.1 leases, which outlast the lease. */
static void a_promise_outlasts_the_lease_that_rests_on_it(void **state)
{
    (void)state;
    start_at(GSR, REPL_AUTOMATIC, 10, 10);
    now += 1000; /* its own start is waited out as well */
    struct repl_message m = from(REPL_MSG_ENTRIES, DC);
    m.lsn.v = m.last.v = 10;
    m.lsn_term.v = m.last_term.v = 1;
    m.hash = hash_of(10, 1);
    m.round = 1;
    feed_message(&m, NULL);
    assert_int_equal(r.heard_from, DC);
    assert_int_equal(repl_promise_end(&r, false), now + 500);
    assert_in_range(repl_promise_end(&r, true), now + 401, now + 499);
}

/* Whatever is advised is itself allowed, and long enough. */
static void times_that_are_too_short_for_the_answers_are_told_with_those_that_are_not(void **state)
{
    (void)state;
    uint32_t election = 500, lease = 400;
    assert_true(repl_times_fit(1, 50, &election, &lease));
    assert_true(repl_times_fit(150, 50, &election, &lease));
    assert_int_equal(election, 500);
    assert_int_equal(lease, 400);
    assert_false(repl_times_fit(180, 50, &election, &lease));
    assert_int_equal(lease, 500);
    assert_int_equal(election, 600);
    for (uint32_t answer = 1; answer < 20000; answer += 7) {
        for (uint32_t beat = 10; beat <= 160; beat += 50) {
            election = 500;
            lease = 400;
            if (repl_times_fit(answer, beat, &election, &lease))
                continue;
            assert_int_equal(repl_times_check(beat, election, lease), REPL_TIMES_OK);
            assert_true(repl_times_fit(answer, beat, &election, &lease));
        }
    }
    election = 500;
    lease = 400;
    assert_false(repl_times_fit(UINT32_MAX, UINT32_MAX, &election, &lease));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_primary_has_no_lease_before_a_majority_answers),
        TEST(the_lease_rests_on_what_a_majority_answered),
        TEST(sendings_are_remembered_for_two_leases_and_no_longer),
        TEST(without_answers_the_lease_ends_before_the_role),
        TEST(a_primary_says_with_each_message_whether_it_has_its_lease),
        TEST(a_promise_outlasts_the_lease_that_rests_on_it),
        TEST(times_that_are_too_short_for_the_answers_are_told_with_those_that_are_not),
    };
    return cmocka_run_group_tests_name("repl_lease", tests, NULL, NULL);
}
