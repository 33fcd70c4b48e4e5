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

/* ---- shipping ---- */

static void the_window_is_bounded_and_opens_with_answers(void **state)
{
    (void)state;
    serve();
    uint32_t frames = 0;
    for (int i = 0; i < 100; i++) {
        propose();
        bool to_gsr = sent(REPL_MSG_ENTRIES, GSR) != NULL;
        sealed();
        if (to_gsr) {
            frames++;
            filled(GSR);
        }
    }
    assert_int_equal(frames, REPL_WINDOW);
    acked(GSR, 20);
    const struct repl_message *m = sent(REPL_MSG_ENTRIES, GSR);
    assert_non_null(m);
    assert_int_equal(m->lsn.v, 11 + REPL_WINDOW); /* all that has gathered goes into one frame */
}

static void proposals_in_a_burst_are_sent_together(void **state)
{
    (void)state;
    serve();
    feed((struct repl_event){.type = REPL_EV_PROPOSE, .kind = ENTRY_TXN, .more = true});
    assert_null(sent(REPL_MSG_ENTRIES, DR));
    sealed();
    propose();
    assert_int_equal(sent(REPL_MSG_ENTRIES, DR)->lsn.v, 11);
}

static void what_a_burst_left_waiting_is_sent_when_the_turn_ends(void **state)
{
    (void)state;
    feed((struct repl_event){.type = REPL_EV_SHIP}); /* nobody's, before there is a primary */
    assert_null(sent(REPL_MSG_ENTRIES, DR));
    serve();
    for (int i = 0; i < 3; i++) {
        feed((struct repl_event){.type = REPL_EV_PROPOSE, .kind = ENTRY_TXN, .more = true});
        assert_null(sent(REPL_MSG_ENTRIES, DR));
        sealed();
    }
    feed((struct repl_event){.type = REPL_EV_SHIP});
    assert_int_equal(sent(REPL_MSG_ENTRIES, DR)->lsn.v, 11);
    assert_int_equal(sent(REPL_MSG_ENTRIES, GSR)->lsn.v, 11);
}

static void a_rejection_steps_back_over_a_whole_term(void **state)
{
    (void)state;
    static const struct repl_run runs[] = {{{1}, {1}}, {{3}, {100}}, {{5}, {200}}};
    struct repl_options o = options_of(DC);
    struct repl_start s = {.now_ms = now,
                           .term = {5},
                           .voted_for = REPL_NOBODY,
                           .incarnation = 1,
                           .may_vote = true,
                           .last = {.lsn = {250}, .term = {5}},
                           .runs = runs,
                           .run_count = 3,
                           .mode = COMMIT_MAJORITY};
    repl_init(&r, &o, &s);
    for (uint8_t i = DR; i <= GSR; i++)
        feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = i});
    become_primary();
    struct repl_message m = from(REPL_MSG_ACK, DR); /* its log is 1 x 1..150, then 4 */
    m.rejected = m.counts = true;
    m.round = r.round;
    m.lsn.v = 230;
    m.lsn_term.v = 4;
    feed_message(&m, NULL);
    assert_int_equal(sent(REPL_MSG_ENTRIES, DR)->lsn.v, 199);
    filled(DR);
    m.round = r.round;
    m.lsn.v = 150;
    m.lsn_term.v = 1;
    feed_message(&m, NULL);
    assert_int_equal(sent(REPL_MSG_ENTRIES, DR)->lsn.v, 99);
}

static void a_lost_frame_is_sent_again_but_a_slow_disk_is_waited_for(void **state)
{
    (void)state;
    serve();
    propose();
    sealed();
    filled(DR);
    filled(GSR);
    /* gsr has it, but not on disk; of dr nothing is known */
    now += 60;
    feed((struct repl_event){.type = REPL_EV_TICK});
    struct repl_message slow = ack_of(GSR, 11);
    slow.last.v = 12;
    slow.last_term.v = 2;
    feed_message(&slow, NULL);
    acked(DR, 11);
    now += 500;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.peers[GSR].next.v, 13);
    assert_int_equal(sent(REPL_MSG_ENTRIES, DR)->lsn.v, 11);
    assert_true(told("term 2: dr has not accounted for 12 in 560 ms -> sending again from 12"));
}

static void what_is_recycled_is_not_sent_but_heartbeats_are(void **state)
{
    (void)state;
    serve();
    propose();
    sealed();
    feed((struct repl_event){.type = REPL_EV_GONE, .site = DR, .sent = REPL_MSG_ENTRIES});
    assert_true(
        told("term 2: dr needs entry 12, which is not in this log any more -> it needs a refill"));
    now += 60;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(sent(REPL_MSG_ENTRIES, DR)->count, 0);
    struct repl_view v;
    repl_view(&r, &v);
    assert_true(v.peers[DR].needs_refill);
}

/* ---- following ---- */

static struct repl_entry_meta meta(uint64_t lsn, uint64_t term, uint64_t prev_term)
{
    return (struct repl_entry_meta){
        {lsn}, {term}, ENTRY_TXN, hash_of(lsn, term), hash_of(lsn - 1, prev_term), {0}};
}

static struct repl_message entries_after(uint64_t term, uint64_t lsn, uint64_t lsn_term,
                                         uint32_t count, uint64_t commit)
{
    struct repl_message m = from(REPL_MSG_ENTRIES, DR);
    m.term.v = term;
    m.lsn.v = lsn;
    m.lsn_term.v = lsn_term;
    m.hash = hash_of(lsn, lsn_term);
    m.count = count;
    m.commit.v = commit;
    m.round = r.seen_round + 1;
    return m;
}

/* What is known of a primary when it is lost: more than what it sent, and of its term alone. */
static void a_follower_remembers_how_far_the_primary_was(void **state)
{
    (void)state;
    struct repl_view v;
    repl_view(&r, &v);
    assert_int_equal(v.heard.site, REPL_NOBODY);
    struct repl_message m = entries_after(2, 10, 1, 0, 9);
    m.last.v = 40;
    m.last_term.v = 2;
    now += 7;
    feed_message(&m, NULL);
    repl_view(&r, &v);
    assert_int_equal(v.heard.site, DR);
    assert_int_equal(v.heard.term.v, 2);
    assert_int_equal(v.heard.ms, now);
    assert_int_equal(v.heard.last.v, 40);
    assert_int_equal(v.heard.commit.v, 9);
    m = entries_after(2, 10, 1, 0, 10); /* overtaken by the one before */
    m.last.v = 30;
    m.last_term.v = 2;
    feed_message(&m, NULL);
    repl_view(&r, &v);
    assert_int_equal(v.heard.last.v, 40);
    assert_int_equal(v.heard.commit.v, 10);
    m = entries_after(3, 10, 1, 0, 10); /* the next one has another log */
    m.last.v = 12;
    m.last_term.v = 3;
    feed_message(&m, NULL);
    repl_view(&r, &v);
    assert_int_equal(v.heard.term.v, 3);
    assert_int_equal(v.heard.last.v, 12);
}

static void a_primary_tells_the_end_of_its_log_with_every_message(void **state)
{
    (void)state;
    serve();
    now += 100;
    feed((struct repl_event){.type = REPL_EV_TICK}); /* a heartbeat */
    assert_int_equal(sent(REPL_MSG_ENTRIES, GSR)->last.v, r.log.last.v);
    assert_int_equal(sent(REPL_MSG_ENTRIES, GSR)->last_term.v, r.term.v);
}

static void a_follower_acknowledges_what_is_durable(void **state)
{
    (void)state;
    struct repl_entry_meta e[] = {meta(11, 2, 1), meta(12, 2, 2)};
    struct repl_message m = entries_after(2, 10, 1, 2, 12);
    feed_message(&m, e);
    assert_int_equal(out.a[1].type, REPL_ACT_SAVE_VOTE); /* R1, after the trace */
    const struct repl_action *a = find(REPL_ACT_APPEND, 0);
    assert_non_null(a);
    assert_int_equal(a->first, 0);
    assert_int_equal(a->count, 2);
    assert_int_equal(r.commit.v, 10);
    durable(12);
    const struct repl_message *ack = sent(REPL_MSG_ACK, DR);
    assert_non_null(ack);
    assert_int_equal(ack->lsn.v, 12);
    assert_int_equal(ack->round, m.round);
    struct sha256 expected = hash_of(12, 2);
    assert_memory_equal(&ack->hash, &expected, sizeof expected);
    assert_int_equal(r.commit.v, 12);
    /* A repeat is answered at once and changes nothing. */
    m.round++;
    feed_message(&m, e);
    assert_null(find(REPL_ACT_APPEND, 0));
    assert_int_equal(sent(REPL_MSG_ACK, DR)->lsn.v, 12);
}

static void a_conflicting_suffix_is_cut_and_replaced(void **state)
{
    (void)state;
    start_at(DC, REPL_AUTOMATIC, 10, 6);
    struct repl_entry_meta e[] = {meta(7, 1, 1), meta(8, 2, 1)};
    struct repl_message m = entries_after(2, 6, 1, 2, 6);
    feed_message(&m, e);
    assert_int_equal(find(REPL_ACT_TRUNCATE, 0)->lsn.v, 7);
    assert_int_equal(find(REPL_ACT_APPEND, 0)->first, 1);
    assert_int_equal(r.log.last.v, 8);
    assert_int_equal(r.log.durable.v, 7);
    /* the disk reports an entry that was cut: it is not this one */
    struct entry_position stale = {.lsn = {8}, .term = {1}};
    feed((struct repl_event){.type = REPL_EV_DURABLE, .position = stale});
    assert_int_equal(r.log.durable.v, 7);
}

static void nothing_committed_is_ever_cut(void **state)
{
    (void)state;
    struct repl_entry_meta e[] = {meta(9, 2, 1)};
    struct repl_message m = entries_after(2, 8, 1, 1, 9);
    feed_message(&m, e);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    assert_null(sent(REPL_MSG_ACK, DR));
    struct repl_view v;
    repl_view(&r, &v);
    assert_true(v.broken);
    assert_int_equal(v.role, REPL_STANDBY);
    assert_true(told("term 2: a committed entry would have to be cut -> this site is broken and "
                     "takes no part until it "
                     "is repaired"));
    now += 5000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_STANDBY);
}

static void an_unchained_entry_breaks_the_site(void **state)
{
    (void)state;
    struct repl_entry_meta e[] = {meta(11, 2, 1)};
    e[0].prev_hash.b[9] ^= 1;
    struct repl_message m = entries_after(2, 10, 1, 1, 11);
    memset(&m.hash, 0, sizeof m.hash);
    feed_message(&m, e);
    assert_null(find(REPL_ACT_APPEND, 0));
    assert_true(r.broken);
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

/* ---- nonsense from outside ---- */

static uint64_t fuzz_state;
static uint64_t fuzz(uint64_t n)
{
    fuzz_state = fuzz_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (fuzz_state >> 33) % n;
}

static uint64_t fuzz_near(uint64_t v)
{
    switch (fuzz(8)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - fuzz(3);
    case 2:
        return REPL_NUMBER_MAX - 1 + fuzz(2);
    default:
        return v + fuzz(5) - (v < 2 ? 0 : 2);
    }
}

static void fuzz_message(struct repl_message *m, struct repl_entry_meta *metas)
{
    *m = (struct repl_message){.type = (enum repl_message_type)(1 + fuzz(11)),
                               .from = (uint8_t)fuzz(4),
                               .to = r.options.self,
                               .term = {fuzz_near(r.term.v + 1)},
                               .incarnation = 1 + fuzz(50) / 49,
                               .lsn = {fuzz_near(r.log.last.v)},
                               .lsn_term = {fuzz_near(r.log.last_term.v)},
                               .last = {fuzz_near(r.log.last.v)},
                               .last_term = {fuzz_near(r.log.last_term.v)},
                               .granted = fuzz(2),
                               .transfer = fuzz(2),
                               .rejected = fuzz(2),
                               .counts = fuzz(2),
                               .commit = {fuzz_near(r.log.last.v)},
                               .round = fuzz_near(fuzz(2) ? r.round : r.attempt),
                               .readmit = fuzz(3),
                               .applied = {fuzz(100)},
                               .archived = {fuzz(100)}};
    if (m->type == REPL_MSG_PULL || m->type == REPL_MSG_GIVE)
        m->round = fuzz_near(r.relay.round);
    m->age_ms = fuzz(300);
    if (m->type == REPL_MSG_ENTRIES || m->type == REPL_MSG_TAIL || m->type == REPL_MSG_GIVE)
        m->count = (uint32_t)fuzz(4);
    uint64_t term = m->lsn_term.v;
    for (uint32_t i = 0; i < m->count; i++) {
        metas[i] = meta(m->lsn.v + 1 + i, term + fuzz(2), term);
        term = metas[i].term.v;
    }
}

static void random_event(void)
{
    struct repl_entry_meta metas[4];
    struct repl_message m;
    uint8_t peer = (uint8_t)((r.options.self + 1 + fuzz(2)) % 3);
    now += fuzz(30);
    switch (fuzz(14)) {
    case 0:
        feed((struct repl_event){.type = REPL_EV_TICK, .full = fuzz(8) == 0});
        break;
    case 1:
        feed((struct repl_event){.type = fuzz(2) ? REPL_EV_PEER_UP : REPL_EV_PEER_DOWN,
                                 .site = peer});
        break;
    case 2:
        durable(r.log.last.v - fuzz(2) * (r.log.last.v > 0));
        break;
    case 3:
        propose();
        break;
    case 4:
        filled(peer);
        feed((struct repl_event){.type = REPL_EV_SENT,
                                 .site = peer,
                                 .sent = REPL_MSG_GIVE,
                                 .position = {.lsn = r.commit},
                                 .bytes = (uint32_t)fuzz(2)});
        break;
    case 5:
        feed((struct repl_event){.type = REPL_EV_GONE,
                                 .site = peer,
                                 .sent = fuzz(2)   ? REPL_MSG_ENTRIES
                                         : fuzz(2) ? REPL_MSG_TAIL
                                                   : REPL_MSG_GIVE});
        break;
    case 6:
        feed((struct repl_event){.type = fuzz(2) ? REPL_EV_SWITCHOVER : REPL_EV_FAILOVER,
                                 .site = peer});
        break;
    case 7:
        feed((struct repl_event){.type = REPL_EV_MODE,
                                 .mode = fuzz(2) ? COMMIT_LOCAL : COMMIT_MAJORITY});
        break;
    default:
        fuzz_message(&m, metas);
        feed_message(&m, metas);
        break;
    }
    if (find(REPL_ACT_APPEND_OWN, 0) != NULL)
        sealed();
}

/* Whatever peers send, the machine neither stops nor breaks its own rules. */
static void nonsense_from_outside_is_survived(void **state)
{
    (void)state;
    uint32_t roles[5] = {0};
    for (uint64_t run = 0; run < 300; run++) {
        fuzz_state = run;
        now = 100000;
        start_at((uint8_t)(run % 3), run % 7 == 0 ? REPL_MANUAL : REPL_AUTOMATIC, 10, run % 11);
        uint64_t term = r.term.v, commit = r.commit.v;
        for (int i = 0; i < 400; i++) {
            random_event();
            assert_true(r.term.v >= term && r.commit.v >= commit);
            assert_true(r.commit.v <= r.visible.v && r.visible.v <= r.log.last.v);
            assert_true(r.log.durable.v <= r.log.last.v && !r.vote_dirty);
            assert_true(!r.broken || r.role == REPL_STANDBY);
            assert_true(repl_next_tick_ms(&r) > 0);
            term = r.term.v;
            commit = r.commit.v;
            roles[r.role]++;
        }
    }
    assert_true(roles[REPL_STANDBY] > 100 && roles[REPL_PRE_CANDIDATE] > 100 &&
                roles[REPL_CANDIDATE] > 100 && roles[REPL_PRIMARY] > 100);
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
        TEST(the_window_is_bounded_and_opens_with_answers),
        TEST(proposals_in_a_burst_are_sent_together),
        TEST(what_a_burst_left_waiting_is_sent_when_the_turn_ends),
        TEST(a_rejection_steps_back_over_a_whole_term),
        TEST(a_lost_frame_is_sent_again_but_a_slow_disk_is_waited_for),
        TEST(what_is_recycled_is_not_sent_but_heartbeats_are),
        TEST(a_follower_remembers_how_far_the_primary_was),
        TEST(a_primary_tells_the_end_of_its_log_with_every_message),
        TEST(a_follower_acknowledges_what_is_durable),
        TEST(a_conflicting_suffix_is_cut_and_replaced),
        TEST(nothing_committed_is_ever_cut),
        TEST(an_unchained_entry_breaks_the_site),
        TEST(observe_decides_and_does_not_act),
        TEST(a_voter_that_hears_a_primary_refuses_unless_it_hands_over),
        TEST(a_voter_waits_after_its_own_start),
        TEST(gsr_is_never_voted_for),
        TEST(switchovers_that_cannot_work_are_refused_with_the_reason),
        TEST(a_hand_over_gives_the_lease_up_first),
        TEST(a_full_log_does_not_stand_but_answers_in_time),
        TEST(a_cluster_of_one_serves_alone),
        TEST(nonsense_from_outside_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
