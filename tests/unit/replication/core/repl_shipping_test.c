/* What a primary sends, and what it believes of the others. */
#include "tests/unit/replication/core/repl_kit.h"

static void progressed(uint8_t site, uint64_t lsn, uint64_t applied, uint64_t archived)
{
    struct repl_message m = ack_of(site, lsn);
    m.applied.v = applied;
    m.archived.v = archived;
    feed_message(&m, NULL);
}

static struct repl_peer_view seen(uint8_t site)
{
    struct repl_view v;
    repl_view(&r, &v);
    return v.peers[site];
}

/* Somebody else was primary in between: what was heard in the first term is stale in the second. */
static void a_new_term_knows_nothing_of_the_others_until_they_answer(void **state)
{
    (void)state;
    serve();
    progressed(GSR, 11, 10, 4);
    assert_int_equal(seen(GSR).applied.v, 10);
    assert_int_equal(seen(GSR).archived.v, 4);
    struct repl_message other = from(REPL_MSG_ENTRIES, DR);
    other.term.v = r.term.v + 1;
    other.lsn.v = 11;
    other.lsn_term.v = 2;
    other.hash = hash_of(11, 2);
    feed_message(&other, NULL);
    assert_int_equal(r.role, REPL_STANDBY);
    become_primary();
    assert_int_equal(seen(GSR).applied.v, 0);
    assert_int_equal(seen(GSR).archived.v, 0);
    progressed(GSR, 11, 11, 5);
    assert_int_equal(seen(GSR).applied.v, 11);
    assert_int_equal(seen(GSR).archived.v, 5);
}

static void a_site_that_is_back_renewed_is_unknown_until_it_answers(void **state)
{
    (void)state;
    serve();
    progressed(GSR, 11, 10, 4);
    struct repl_message m =
        from(REPL_MSG_PREVOTE_REPLY, GSR); /* any word under the new incarnation */
    m.incarnation = 2;
    feed_message(&m, NULL);
    assert_int_equal(seen(GSR).applied.v, 0);
    assert_int_equal(seen(GSR).archived.v, 0);
    assert_int_equal(seen(GSR).durable.v, 0);
}

/* The link took what it was given, and nothing accounts for it: told once, however often it is tried again. */
static void a_site_that_accounts_for_nothing_is_told_of_once(void **state)
{
    (void)state;
    serve();
    propose();
    sealed();
    filled(DR);
    filled(GSR);
    unsigned lines = 0;
    for (int i = 0; i < 40; i++) {
        now += 25;
        acked(DR, 12); /* the majority goes on */
        feed((struct repl_event){.type = REPL_EV_TICK});
        for (uint32_t k = 0; k < out.n; k++)
            lines += strstr(repl_text(&out, &out.a[k]), "gsr has not accounted for 12") != NULL;
        filled(GSR);
    }
    assert_int_equal(lines, 1);
}

/* Ages rest on it: what an answer says was true when its question was sent, not only when it came. */
static void a_word_is_as_old_as_the_round_that_it_answers(void **state)
{
    (void)state;
    serve();
    const uint64_t sent_ms = now += 60;
    feed((struct repl_event){.type = REPL_EV_TICK}); /* heartbeats */
    struct repl_message m = ack_of(GSR, 11);
    now += 30;
    m.last.v = 14; /* beyond our log: it will be cut */
    feed_message(&m, NULL);
    assert_int_equal(seen(GSR).word_ms, sent_ms);
    assert_int_equal(seen(GSR).heard_ms, now);
    assert_int_equal(seen(GSR).received.v, r.log.last.v);
    now += 5000; /* not heard any more: the word stays as old as it is */
    assert_int_equal(seen(GSR).word_ms, sent_ms);
    m = from(REPL_MSG_PREVOTE_REPLY, GSR);
    m.incarnation = 2;
    feed_message(&m, NULL);
    assert_int_equal(seen(GSR).word_ms, 0);
}

static void a_late_answer_moves_the_position_and_not_the_news(void **state)
{
    (void)state;
    serve();
    propose();
    sealed();
    filled(DR);
    filled(GSR);
    now += 60;
    feed((struct repl_event){.type = REPL_EV_TICK}); /* a new round */
    progressed(GSR, 11, 11, 7);
    struct repl_message late = ack_of(GSR, 12);
    late.round = r.peers[GSR].answered - 1;
    late.applied.v = 9;
    late.archived.v = 3;
    feed_message(&late, NULL);
    assert_int_equal(seen(GSR).durable.v, 12);
    assert_int_equal(seen(GSR).applied.v, 11);
    assert_int_equal(seen(GSR).archived.v, 7);
}

/* Old log takes time to read, and a link may be full. The others must not take that for a dead primary: each attempt that sent
 * nothing must not count as something sent. */
static void who_cannot_be_sent_entries_yet_gets_heartbeats(void **state)
{
    (void)state;
    serve();
    propose();
    sealed();
    uint64_t heard_ms = now, longest_ms = 0;
    for (int i = 0; i < 100; i++) {
        now += 5;
        feed((struct repl_event){.type = REPL_EV_SENT, .site = DR, .sent = REPL_MSG_ENTRIES});
        feed((struct repl_event){.type = i % 2 == 0 ? REPL_EV_SHIP : REPL_EV_TICK});
        for (uint32_t k = 0; k < out.n; k++)
            if (out.a[k].type == REPL_ACT_SEND && out.a[k].message.to == DR)
                heard_ms = now;
        longest_ms = now - heard_ms > longest_ms ? now - heard_ms : longest_ms;
    }
    assert_in_range(longest_ms, 1, r.options.heartbeat_ms + 10);
    filled(DR); /* and what goes out at last is as good as one */
    now += 5;
    feed((struct repl_event){.type = REPL_EV_TICK});
    acked(DR, 12);
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_null(sent(REPL_MSG_ENTRIES, DR));
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_term_knows_nothing_of_the_others_until_they_answer),
        TEST(a_site_that_is_back_renewed_is_unknown_until_it_answers),
        TEST(a_site_that_accounts_for_nothing_is_told_of_once),
        TEST(a_word_is_as_old_as_the_round_that_it_answers),
        TEST(a_late_answer_moves_the_position_and_not_the_news),
        TEST(who_cannot_be_sent_entries_yet_gets_heartbeats),
        TEST(the_window_is_bounded_and_opens_with_answers),
        TEST(proposals_in_a_burst_are_sent_together),
        TEST(what_a_burst_left_waiting_is_sent_when_the_turn_ends),
        TEST(a_rejection_steps_back_over_a_whole_term),
        TEST(a_lost_frame_is_sent_again_but_a_slow_disk_is_waited_for),
        TEST(what_is_recycled_is_not_sent_but_heartbeats_are),
    };
    return cmocka_run_group_tests_name("repl_shipping", tests, NULL, NULL);
}
