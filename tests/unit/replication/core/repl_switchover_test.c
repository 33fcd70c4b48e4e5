/* The first part of a switchover: the primary goes on serving until its successor is near. What follows is in repl_test.c and
 * in golden traces. */
#include "tests/unit/replication/core/repl_kit.h"

enum { WAIT_MS = 5000 };

static void write_some(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        propose();
        assert_non_null(find(REPL_ACT_APPEND_OWN, 0));
        sealed();
        filled(DR);
        filled(GSR);
    }
    durable(r.log.last.v);
    acked(GSR, r.log.last.v);
}

/* Everybody answers heartbeats; dr has nothing more on its disk. */
static void pass(uint64_t ms)
{
    for (const uint64_t end = now + ms; now < end;) {
        now += 10;
        feed((struct repl_event){.type = REPL_EV_TICK});
        if (r.handover != REPL_HANDOVER_WAIT)
            return;
        acked(GSR, r.log.last.v);
        acked(DR, r.peers[DR].match.v);
    }
}

static void order(void)
{
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = DR, .wait_ms = WAIT_MS});
}

static bool serves(void)
{
    struct repl_view v;
    repl_view(&r, &v);
    return v.serving && v.lease_valid && v.handover == r.handover;
}

/* dr is 500 entries behind when it is ordered. */
static uint64_t begin_far_behind(void)
{
    serve();
    write_some(500);
    order();
    assert_true(
        told("term 2: dr is 500 entries behind -> waiting for it at most 5000 ms, writes go "
             "on here"));
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    assert_true(serves());
    return r.log.last.v;
}

static void writes_go_on_while_it_is_far_behind_and_stop_when_it_is_near(void **state)
{
    (void)state;
    const uint64_t goal = begin_far_behind();
    pass(200);
    write_some(20);
    acked(DR, goal - 1);
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    acked(DR, goal); /* there, but it took 200 ms */
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    assert_true(serves());
    assert_null(sent(REPL_MSG_TAKE_OVER, DR));
    pass(30);
    write_some(3);
    acked(DR, goal + 19);
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    acked(DR, goal + 20); /* what was new 30 ms ago */
    assert_true(
        told("term 2: dr is 3 entries behind, its last round took 30 ms -> writes stop here"));
    assert_int_equal(r.handover, REPL_HANDOVER_DRAIN);
    assert_false(serves());
    propose();
    assert_true(told("handing over to dr"));
    acked(DR, goal + 22);
    assert_null(sent(REPL_MSG_TAKE_OVER, DR));
    acked(DR, goal + 23);
    assert_int_equal(sent(REPL_MSG_TAKE_OVER, DR)->lsn.v, goal + 23);
}

static void who_has_everything_is_near_however_long_it_took(void **state)
{
    (void)state;
    const uint64_t goal = begin_far_behind();
    pass(2000);
    acked(DR, goal);
    assert_int_equal(r.handover, REPL_HANDOVER_ASKED);
    assert_int_equal(sent(REPL_MSG_TAKE_OVER, DR)->lsn.v, goal);
}

/* A round trip is no distance: on a long line that much is always on its way. */
static void a_round_may_take_a_round_trip_and_a_heartbeat(void **state)
{
    (void)state;
    const uint64_t goal = begin_far_behind();
    pass(120);
    write_some(1);
    r.peers[DR].rtt_ms = 80;
    acked(DR, goal);
    assert_in_range(r.peers[DR].rtt_ms, 70, 80);
    assert_int_equal(r.handover, REPL_HANDOVER_DRAIN);
}

/* It may have died since it acknowledged all there is, and its connection is still open. */
static void who_is_silent_stops_no_writes_whatever_it_had(void **state)
{
    (void)state;
    serve();
    write_some(3);
    acked(DR, r.log.last.v);
    order();
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    assert_non_null(sent(REPL_MSG_ENTRIES, DR)); /* asked at once */
    for (uint64_t end = now + WAIT_MS; now < end && r.handover == REPL_HANDOVER_WAIT;) {
        assert_true(serves());
        now += 10;
        feed((struct repl_event){.type = REPL_EV_TICK});
        if (r.handover == REPL_HANDOVER_WAIT)
            acked(GSR, r.log.last.v);
    }
    assert_true(told("dr did not answer in 5000 ms; writes went on here"));
    assert_false(find(REPL_ACT_SWITCHOVER, 0)->granted);
    assert_true(serves());
}

static void who_has_everything_and_answers_is_asked_at_once(void **state)
{
    (void)state;
    serve();
    write_some(3);
    acked(DR, r.log.last.v);
    order();
    now += 1;
    acked(DR, r.log.last.v);
    assert_int_equal(r.handover, REPL_HANDOVER_ASKED);
}

static void who_falls_further_behind_is_refused_and_stops_no_writes(void **state)
{
    (void)state;
    begin_far_behind();
    for (unsigned i = 0; i < 8; i++) { /* rounds of 600 ms, and what dr is behind grows */
        const uint64_t last = r.log.last.v;
        pass(600);
        write_some(100);
        acked(DR, last);
        assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
        assert_true(serves());
    }
    pass(WAIT_MS);
    assert_true(
        told("dr did not come near in 5000 ms, it is 100 entries behind: order it again when "
             "less is written; writes went on here"));
    assert_false(find(REPL_ACT_SWITCHOVER, 0)->granted);
    assert_int_equal(r.handover, REPL_HANDOVER_NONE);
    write_some(1);
}

static void who_does_not_move_at_all_is_refused(void **state)
{
    (void)state;
    begin_far_behind();
    pass(WAIT_MS - 10);
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    pass(10);
    assert_true(
        told("dr did not come near in 5000 ms, it is 500 entries behind: order it again when "
             "less is written; writes went on here"));
    assert_int_equal(r.handover, REPL_HANDOVER_NONE);
}

/* A slow disk, and steady: it never is as near as one likes, but it will make it. */
static void who_keeps_up_slowly_is_handed_over_to_when_the_time_is_up(void **state)
{
    (void)state;
    begin_far_behind();
    while (r.handover == REPL_HANDOVER_WAIT) {
        const uint64_t last = r.log.last.v;
        pass(300);
        if (r.handover == REPL_HANDOVER_WAIT) {
            write_some(7);
            acked(DR, last);
        }
    }
    assert_true(
        told("term 2: dr is 7 entries behind, and was waited for 5000 ms -> writes stop here"));
    assert_int_equal(r.handover, REPL_HANDOVER_DRAIN);
    acked(DR, r.log.last.v);
    assert_non_null(sent(REPL_MSG_TAKE_OVER, DR));
}

static void a_lost_link_ends_the_wait(void **state)
{
    (void)state;
    begin_far_behind();
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = GSR});
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = GSR});
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DR});
    assert_true(told("dr cannot be reached; writes went on here"));
    assert_int_equal(r.handover, REPL_HANDOVER_NONE);
    write_some(1);
    order(); /* and it can be ordered again */
    assert_true(told("dr cannot be reached"));
}

static void who_may_not_lead_any_more_ends_the_wait(void **state)
{
    (void)state;
    begin_far_behind();
    feed((struct repl_event){.type = REPL_EV_FIT, .site = DR, .fit = false});
    pass(10);
    assert_true(told("the state of dr differs from this site's; writes went on here"));
    assert_int_equal(r.handover, REPL_HANDOVER_NONE);
    assert_true(serves());
}

static void a_later_term_ends_the_wait(void **state)
{
    (void)state;
    begin_far_behind();
    struct repl_message later = ack_of(GSR, r.log.last.v);
    later.term.v++;
    feed_message(&later, NULL);
    assert_true(told("this site ceased to be primary before the successor was asked"));
    assert_int_equal(r.handover, REPL_HANDOVER_NONE);
    assert_int_equal(r.role, REPL_STANDBY);
}

static void one_at_a_time(void **state)
{
    (void)state;
    begin_far_behind();
    order();
    assert_true(told("a switchover to dr is under way"));
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    assert_true(serves());
}

static void who_stops_waits_no_longer_than_it_may(void **state)
{
    (void)state;
    const uint64_t goal = begin_far_behind();
    pass(200);
    feed((struct repl_event){
        .type = REPL_EV_SWITCHOVER, .site = REPL_NOBODY, .wait_ms = 2 * WAIT_MS});
    assert_null(find(REPL_ACT_SWITCHOVER, 0)); /* the one under way will have an outcome */
    pass(300);
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT); /* and no more time than it had */
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = REPL_NOBODY, .wait_ms = 100});
    assert_true(told("term 2: switchover to any other site ordered -> waiting for dr 100 ms more"));
    assert_null(find(REPL_ACT_SWITCHOVER, 0));
    assert_true(serves());
    pass(200);
    assert_int_equal(r.handover, REPL_HANDOVER_NONE);
    assert_true(
        told("dr did not come near in 600 ms, it is 500 entries behind: order it again when "
             "less is written; writes went on here"));
    assert_true(goal == r.log.last.v);
}

/* Who may wait may be waited for, however far behind it is; who may not is refused, see repl_test.c. */
static void it_is_waited_for_one_that_is_very_far_behind(void **state)
{
    (void)state;
    serve();
    write_some(REPL_HANDOVER_LAG_MAX + 1);
    order();
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    acked(DR, r.log.last.v);
    assert_int_equal(r.handover, REPL_HANDOVER_ASKED);
}

/* Without a lease it cannot be given up either. */
static void writes_do_not_stop_for_good_while_no_majority_confirms_this_site(void **state)
{
    (void)state;
    const uint64_t goal = begin_far_behind();
    now += 401; /* nobody answered meanwhile */
    r.lease_from_ms = now - 401;
    struct repl_message late = ack_of(DR, goal);
    late.round = 0;
    feed_message(&late, NULL);
    assert_int_equal(r.peers[DR].match.v, goal);
    assert_int_equal(r.handover, REPL_HANDOVER_WAIT);
    r.handover_until_ms = now;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_true(told("no majority confirms this site at present; writes went on here"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(writes_go_on_while_it_is_far_behind_and_stop_when_it_is_near),
        TEST(who_has_everything_is_near_however_long_it_took),
        TEST(a_round_may_take_a_round_trip_and_a_heartbeat),
        TEST(who_is_silent_stops_no_writes_whatever_it_had),
        TEST(who_has_everything_and_answers_is_asked_at_once),
        TEST(who_falls_further_behind_is_refused_and_stops_no_writes),
        TEST(who_does_not_move_at_all_is_refused),
        TEST(who_keeps_up_slowly_is_handed_over_to_when_the_time_is_up),
        TEST(a_lost_link_ends_the_wait),
        TEST(who_may_not_lead_any_more_ends_the_wait),
        TEST(a_later_term_ends_the_wait),
        TEST(one_at_a_time),
        TEST(who_stops_waits_no_longer_than_it_may),
        TEST(it_is_waited_for_one_that_is_very_far_behind),
        TEST(writes_do_not_stop_for_good_while_no_majority_confirms_this_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
