/* One site of the machine, its peers played by hand: decisions that the scenarios and the simulator show only in passing. What
 * each file of the machine decides by itself has a test at that file's name. */
#include "tests/unit/replication/core/repl_kit.h"

/* What a configuration is refused by is what repl_init insists on: the edges of each rule. */
static void the_times_leave_room_for_each_other(void **state)
{
    (void)state;
    assert_int_equal(repl_times_check(50, 500, 400), REPL_TIMES_OK);
    assert_int_equal(repl_times_check(100, 300, 150), REPL_TIMES_LEASE_SHORT);
    assert_int_equal(repl_times_check(100, 300, 199), REPL_TIMES_LEASE_SHORT);
    assert_int_equal(repl_times_check(100, 300, 200), REPL_TIMES_OK);
    assert_int_equal(repl_times_check(100, 300, 269), REPL_TIMES_OK);
    assert_int_equal(repl_times_check(100, 300, 270), REPL_TIMES_LEASE_LONG);
    assert_int_equal(repl_times_check(100, 299, 200), REPL_TIMES_ELECTION_SHORT);
    assert_int_equal(repl_times_check(UINT32_MAX, UINT32_MAX, UINT32_MAX),
                     REPL_TIMES_ELECTION_SHORT);
}

/* ---- proposals and commit ---- */

static void proposals_wait_for_the_first_entry_of_the_term(void **state)
{
    (void)state;
    propose();
    assert_true(told("this site is not primary, nobody is"));
    become_primary();
    propose();
    assert_true(
        told("this site has just become primary: the first entry of term 2 is not committed yet"));
    durable(11);
    assert_int_equal(r.commit.v, 10);
    acked(GSR, 11);
    assert_int_equal(r.commit.v, 11);
    propose();
    assert_non_null(find(REPL_ACT_APPEND_OWN, 0));
    assert_int_equal(find(REPL_ACT_APPEND_OWN, 0)->lsn.v, 12);
}

static void entries_of_past_terms_are_committed_by_the_own_term_only(void **state)
{
    (void)state;
    start_at(DC, REPL_AUTOMATIC, 10, 4);
    become_primary();
    acked(GSR, 10);
    acked(DR, 10);
    assert_int_equal(r.commit.v, 4);
    acked(GSR, 11);
    assert_int_equal(r.commit.v, 4); /* our own disk has not confirmed it */
    acked(DR, 11);
    assert_int_equal(r.commit.v, 11); /* but two others have */
}

static void without_a_lease_proposals_are_refused_and_the_primary_steps_down(void **state)
{
    (void)state;
    serve();
    uint64_t round_sent = now;
    now = round_sent + 399;
    assert_true(repl_lease_valid(&r, now));
    now = round_sent + 401;
    assert_false(repl_lease_valid(&r, now));
    propose();
    assert_true(told("this primary has no majority at present"));
    now = round_sent + 901;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_STANDBY);
}

/* The answer comes 300 ms after the sending: 100 ms of the lease are left, not 400. */
static void the_lease_runs_from_the_sending(void **state)
{
    (void)state;
    serve();
    now += 60;
    feed((struct repl_event){.type = REPL_EV_TICK});
    const struct repl_message *beat = sent(REPL_MSG_ENTRIES, GSR);
    assert_non_null(beat);
    uint64_t sent_ms = now, round = beat->round;
    now += 300;
    struct repl_message m = ack_of(GSR, 11);
    m.round = round;
    feed_message(&m, NULL);
    assert_true(repl_lease_valid(&r, sent_ms + 399));
    assert_false(repl_lease_valid(&r, sent_ms + 400));
}

static void local_mode_shows_the_own_disk_once_everything_older_is_applied(void **state)
{
    (void)state;
    serve();
    feed((struct repl_event){.type = REPL_EV_MODE, .mode = COMMIT_LOCAL});
    propose();
    sealed();
    durable(12);
    assert_int_equal(r.visible.v,
                     11); /* the no-op is not applied: an older configuration may be waiting */
    feed((struct repl_event){.type = REPL_EV_PROGRESS, .applied = {11}});
    assert_int_equal(r.visible.v, 12);
    assert_int_equal(r.commit.v, 11);
    assert_int_equal(repl_level_lsn(&r, LEVEL_MODE, DR, GSR).v, 12);
    assert_int_equal(repl_level_lsn(&r, LEVEL_MAJORITY, DR, GSR).v, 11);
    feed((struct repl_event){.type = REPL_EV_MODE, .mode = COMMIT_MAJORITY});
    propose();
    sealed();
    durable(13);
    assert_int_equal(r.visible.v, 12);
}

static void levels_name_sites(void **state)
{
    (void)state;
    serve();
    propose();
    sealed();
    durable(12);
    acked(GSR, 12);
    assert_int_equal(repl_level_lsn(&r, LEVEL_LOCAL, DR, GSR).v, 12);
    assert_int_equal(repl_level_lsn(&r, LEVEL_MAJORITY, DR, GSR).v, 12);
    assert_int_equal(repl_level_lsn(&r, LEVEL_GSR, DR, GSR).v, 12);
    assert_int_equal(repl_level_lsn(&r, LEVEL_DR, DR, GSR).v, 11);
    assert_int_equal(repl_level_lsn(&r, LEVEL_ALL, DR, GSR).v, 11);
    assert_int_equal(repl_level_lsn(&r, LEVEL_DR, DC, GSR).v,
                     12); /* the primary is the named site */
}

/* ---- acknowledgements ---- */

static void an_ack_with_another_hash_is_not_counted(void **state)
{
    (void)state;
    become_primary();
    durable(11);
    struct repl_message m = ack_of(GSR, 11);
    m.hash.b[3] ^= 1;
    feed_message(&m, NULL);
    assert_true(told("term 2: gsr acknowledged something else than was sent at 11 -> not counted "
                     "until it agrees again"));
    assert_int_equal(r.commit.v, 10);
    struct repl_view v;
    repl_view(&r, &v);
    assert_true(v.peers[GSR].suspect);
    acked(GSR, 11);
    assert_int_equal(r.commit.v, 11);
}

static void a_peer_that_lost_what_it_acknowledged_is_not_counted(void **state)
{
    (void)state;
    serve();
    propose();
    sealed();
    filled(GSR);
    acked(GSR, 12);
    now += 60;
    feed((struct repl_event){.type = REPL_EV_TICK});
    struct repl_message m = ack_of(GSR, 9);
    m.rejected = true;
    feed_message(&m, NULL);
    struct repl_view v;
    repl_view(&r, &v);
    assert_true(v.peers[GSR].suspect);
    assert_int_equal(v.peers[GSR].durable.v, 0);
}

static void acks_of_former_selves_and_of_rebuilt_sites_do_not_count(void **state)
{
    (void)state;
    become_primary();
    durable(11);
    struct repl_message m = ack_of(GSR, 11);
    m.counts = false;
    m.incarnation = 2;
    feed_message(&m, NULL);
    assert_int_equal(r.commit.v, 10);
    acked(GSR, 11); /* from incarnation 1: late */
    assert_int_equal(r.commit.v, 10);
    acked(DR, 11);
    assert_int_equal(r.commit.v, 11);
    /* Readmitted when a round that began after its first answer is confirmed without it. */
    now += 60;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(sent(REPL_MSG_ENTRIES, GSR)->readmit, 0);
    acked(DR, 11);
    now += 60;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(sent(REPL_MSG_ENTRIES, GSR)->readmit, 2);
    assert_int_equal(sent(REPL_MSG_ENTRIES, DR)->readmit, 0);
}

/* ---- standing ---- */

static void observe_decides_and_does_not_act(void **state)
{
    (void)state;
    start_at(DC, REPL_OBSERVE, 10, 10);
    now += 1000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_true(told("term 1: no primary was heard since the start 1000 ms ago -> would stand, but "
                     "the policy is observe"));
    assert_null(sent(REPL_MSG_PREVOTE, DR));
    assert_int_equal(r.role, REPL_STANDBY);
    now += 1000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_null(find(REPL_ACT_TRACE, 0)); /* said once */
}

static void a_voter_that_hears_a_primary_refuses_unless_it_hands_over(void **state)
{
    (void)state;
    start_at(GSR, REPL_AUTOMATIC, 10, 10);
    now += 600;
    struct repl_message beat = entries_after(2, 10, 1, 0, 10);
    feed_message(&beat, NULL);
    struct repl_message vote = from(REPL_MSG_VOTE, DC);
    vote.term.v = 3;
    vote.lsn.v = 10;
    vote.lsn_term.v = 1;
    feed_message(&vote, NULL);
    assert_false(sent(REPL_MSG_VOTE_REPLY, DC)->granted);
    assert_true(sent(REPL_MSG_VOTE_REPLY, DC)->rejected);
    assert_int_equal(r.term.v, 2);
    vote.transfer = true; /* but a round later than the hand-over was answered here */
    vote.round = r.seen_round - 1;
    feed_message(&vote, NULL);
    assert_false(sent(REPL_MSG_VOTE_REPLY, DC)->granted);
    vote.round = r.seen_round;
    feed_message(&vote, NULL);
    assert_true(sent(REPL_MSG_VOTE_REPLY, DC)->granted);
    assert_int_equal(r.term.v, 3);
    struct repl_message other = vote;
    other.from = DR;
    feed_message(&other, NULL);
    assert_false(sent(REPL_MSG_VOTE_REPLY, DR)->granted);
}

static void a_voter_waits_after_its_own_start(void **state)
{
    (void)state;
    start_at(GSR, REPL_AUTOMATIC, 10, 10);
    struct repl_message vote = from(REPL_MSG_VOTE, DC);
    vote.term.v = 2;
    vote.lsn.v = 10;
    vote.lsn_term.v = 1;
    now += 499;
    feed_message(&vote, NULL);
    assert_false(sent(REPL_MSG_VOTE_REPLY, DC)->granted);
    now += 1;
    feed_message(&vote, NULL);
    assert_true(sent(REPL_MSG_VOTE_REPLY, DC)->granted);
    const struct repl_action *save = find(REPL_ACT_SAVE_VOTE, 0);
    assert_non_null(save);
    assert_int_equal(save->site, DC);
    assert_true(save < find(REPL_ACT_SEND, 0));
}

static void gsr_is_never_voted_for(void **state)
{
    (void)state;
    now += 600;
    struct repl_message vote = from(REPL_MSG_VOTE, GSR);
    vote.term.v = 9;
    vote.lsn.v = 1000;
    vote.lsn_term.v = 8;
    feed_message(&vote, NULL);
    assert_false(sent(REPL_MSG_VOTE_REPLY, GSR)->granted);
}

static void switchovers_that_cannot_work_are_refused_with_the_reason(void **state)
{
    (void)state;
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = DR});
    assert_true(told("this site is not primary, nobody is"));
    serve();
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = GSR});
    assert_true(told("gsr never becomes primary"));
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = DC});
    assert_true(told("dc is primary already"));
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = 5});
    assert_true(told("there is no site 5"));
    for (int i = 0; i < REPL_HANDOVER_LAG_MAX + 1; i++) {
        feed((struct repl_event){.type = REPL_EV_PROPOSE, .kind = ENTRY_TXN, .more = true});
        sealed();
    }
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = DR});
    assert_true(told("dr is 4097 entries behind, at most 4096 are allowed"));
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DR});
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = DR});
    assert_true(told("dr cannot be reached"));
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = REPL_NOBODY});
    assert_true(told("no other site can become primary at present"));
    feed((struct repl_event){.type = REPL_EV_FAILOVER});
    assert_true(told("this site is primary already"));
}

static void a_hand_over_gives_the_lease_up_first(void **state)
{
    (void)state;
    serve();
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = DR});
    assert_non_null(sent(REPL_MSG_TAKE_OVER, DR));
    assert_false(repl_lease_valid(&r, now));
    propose();
    assert_true(told("handing over to dr"));
    uint64_t frozen = r.round;
    for (int i = 0; i < 19; i++) {
        now += 50;
        feed((struct repl_event){.type = REPL_EV_TICK});
        acked(GSR, 11);
        acked(DR, 11);
        assert_int_equal(r.round, frozen);
    }
    now += 51;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_true(
        told("dr was asked, but did not become primary in 1000 ms; this site goes on as primary"));
    assert_false(repl_lease_valid(&r, now)); /* not by answers to frozen rounds */
    acked(GSR, 11);
    assert_true(repl_lease_valid(&r, now));
}

/* A full log keeps a site from standing, not from telling what became of a hand-over. */
static void a_full_log_does_not_stand_but_answers_in_time(void **state)
{
    (void)state;
    const struct repl_event full = {.type = REPL_EV_TICK, .full = true};
    serve();
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = DR});
    struct repl_message vote = from(REPL_MSG_VOTE, DR);
    vote.term.v++;
    vote.lsn = r.log.last;
    vote.lsn_term = r.log.last_term;
    vote.transfer = true;
    vote.round = r.round;
    feed_message(&vote, NULL);
    assert_int_equal(r.role, REPL_STANDBY);
    now += 1001;
    feed(full);
    assert_true(told("it is not known yet who became primary: ask for the status"));
    assert_int_equal(r.role, REPL_STANDBY);
    now += 1001; /* the silence is over, and over again */
    feed(full);
    assert_int_equal(r.role, REPL_STANDBY);
    assert_null(sent(REPL_MSG_PREVOTE, GSR));
    feed((struct repl_event){.type = REPL_EV_FAILOVER});
    assert_true(told("the log of this site takes no more"));
    assert_int_equal(r.forced_until_ms, 0);
    now += 1001;
    feed((struct repl_event){.type = REPL_EV_TICK}); /* there is room again */
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
    feed(full);
    assert_int_equal(r.role, REPL_STANDBY);
}

static void a_cluster_of_one_serves_alone(void **state)
{
    (void)state;
    struct repl_options o = options_of(DC);
    o.sites = 1;
    struct repl_start s = {.now_ms = now,
                           .voted_for = REPL_NOBODY,
                           .incarnation = 1,
                           .may_vote = true,
                           .mode = COMMIT_MAJORITY};
    repl_init(&r, &o, &s);
    now = repl_next_tick_ms(&r);
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_PRIMARY);
    sealed();
    durable(1);
    assert_true(repl_lease_valid(&r, now + 1000000));
    propose();
    assert_int_equal(find(REPL_ACT_APPEND_OWN, 0)->lsn.v, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_times_leave_room_for_each_other),
        TEST(proposals_wait_for_the_first_entry_of_the_term),
        TEST(entries_of_past_terms_are_committed_by_the_own_term_only),
        TEST(without_a_lease_proposals_are_refused_and_the_primary_steps_down),
        TEST(the_lease_runs_from_the_sending),
        TEST(local_mode_shows_the_own_disk_once_everything_older_is_applied),
        TEST(levels_name_sites),
        TEST(an_ack_with_another_hash_is_not_counted),
        TEST(a_peer_that_lost_what_it_acknowledged_is_not_counted),
        TEST(acks_of_former_selves_and_of_rebuilt_sites_do_not_count),
        TEST(observe_decides_and_does_not_act),
        TEST(a_voter_that_hears_a_primary_refuses_unless_it_hands_over),
        TEST(a_voter_waits_after_its_own_start),
        TEST(gsr_is_never_voted_for),
        TEST(switchovers_that_cannot_work_are_refused_with_the_reason),
        TEST(a_hand_over_gives_the_lease_up_first),
        TEST(a_full_log_does_not_stand_but_answers_in_time),
        TEST(a_cluster_of_one_serves_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
