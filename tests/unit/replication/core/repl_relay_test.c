/* Who is not served by a primary asks another site for what is committed (repl_relay.c), and what that one gives
 * (repl_give.c). */
#include "tests/unit/replication/core/repl_kit.h"

static struct repl_entry_meta metas[8];

static void tick(uint64_t ms)
{
    now += ms;
    feed((struct repl_event){.type = REPL_EV_TICK});
}

/* dr follows dc at 1/10, all of it committed. */
static void follow_dc(void)
{
    start_at(DR, REPL_AUTOMATIC, 10, 10);
    now += 10;
    struct repl_message m = from(REPL_MSG_ENTRIES, DC);
    m.lsn.v = m.commit.v = 10;
    m.lsn_term.v = 1;
    m.round = 1;
    feed_message(&m, NULL);
    assert_int_equal(r.primary, DC);
}

static void lose_dc(void)
{
    follow_dc();
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DC});
    tick(1);
    assert_int_equal(r.relay.from, GSR);
}

/* Entries after `after` of term `term` that follow one of term `before`, all committed, as gsr would give them. */
static struct repl_message given(uint64_t after, uint64_t before, uint64_t term, uint32_t count)
{
    for (uint64_t i = 0; i < count; i++)
        metas[i] = (struct repl_entry_meta){{after + 1 + i},
                                            {term},
                                            ENTRY_TXN,
                                            hash_of(after + 1 + i, term),
                                            hash_of(after + i, i == 0 ? before : term),
                                            {0}};
    struct repl_message m = from(REPL_MSG_GIVE, GSR);
    m.lsn.v = after;
    m.lsn_term.v = before;
    m.hash = hash_of(after, before);
    m.count = count;
    m.last.v = m.commit.v = after + count;
    m.round = r.relay.round;
    m.granted = true;
    return m;
}

static void who_loses_its_primary_asks_the_other_at_once(void **state)
{
    (void)state;
    follow_dc();
    tick(100);
    assert_null(sent(REPL_MSG_PULL, GSR)); /* a late heartbeat is no silence */
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DC});
    tick(1);
    const struct repl_message *m = sent(REPL_MSG_PULL, GSR);
    assert_non_null(m);
    assert_true(m->rejected); /* it begins */
    assert_int_equal(m->lsn.v, 10);
    follow_dc();
    tick(199);
    assert_null(sent(REPL_MSG_PULL, GSR));
    tick(2); /* its link stands, but it is silent */
    assert_non_null(sent(REPL_MSG_PULL, GSR));
}

static void what_is_given_is_taken_committed_and_followed_by_the_next_question(void **state)
{
    (void)state;
    lose_dc();
    struct repl_message m = given(10, 1, 1, 2);
    feed_message(&m, metas);
    assert_int_equal(find(REPL_ACT_APPEND, 0)->count, 2);
    assert_int_equal(r.log.last.v, 12);
    assert_int_equal(r.commit.v, 10); /* not before it is on the disk */
    assert_int_equal(sent(REPL_MSG_PULL, GSR)->lsn.v, 12);
    assert_false(sent(REPL_MSG_PULL, GSR)->rejected);
    durable(12);
    assert_int_equal(r.commit.v, 12);
    assert_null(sent(REPL_MSG_ACK, GSR)); /* gsr is told nothing that could be counted */
}

static void a_primary_that_another_hears_is_not_replaced(void **state)
{
    (void)state;
    lose_dc();
    for (int i = 0; i < 200; i++) {
        tick(20);
        struct repl_message m = given(10, 1, 1, 0);
        feed_message(&m, metas);
        assert_int_equal(r.role, REPL_STANDBY);
        assert_int_equal(r.primary, DC);
    }
    struct repl_view v;
    repl_view(&r, &v);
    assert_int_equal(v.relay.from, GSR);
    assert_true(v.relay.hears);
    /* Nobody hears it any more: the promise to it is long over. */
    struct repl_message m = given(10, 1, 1, 0);
    m.granted = false;
    feed_message(&m, metas);
    tick(70);
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
}

static void who_asks_for_votes_stops_when_the_primary_is_heard_elsewhere(void **state)
{
    (void)state;
    lose_dc();
    tick(1000);
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
    tick(60);
    struct repl_message m = given(10, 1, 1, 1);
    feed_message(&m, metas);
    assert_int_equal(r.role, REPL_STANDBY);
    assert_int_equal(r.log.last.v, 11);
    assert_true(told("term 1: dc is not reachable from here -> following through gsr"));
    tick(20);
    m = given(11, 1, 1, 1);
    feed_message(&m, metas);
    assert_int_equal(out.a[0].type, REPL_ACT_HEARD); /* told once */
}

static void its_word_is_as_old_as_the_question_and_what_the_giver_says(void **state)
{
    (void)state;
    lose_dc();
    uint64_t asked = now;
    now += 30;
    struct repl_message m = given(10, 1, 1, 0);
    m.age_ms = 45;
    m.commit.v = 17;
    feed_message(&m, metas);
    const struct repl_action *heard = find(REPL_ACT_HEARD, 0);
    assert_non_null(heard);
    assert_int_equal(heard->lsn.v, 17);
    assert_int_equal(heard->term.v, 1);
    assert_int_equal(heard->as_of_ms, asked - 45);
    now += 5; /* the same question cannot be answered twice with news */
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_HEARD, 0));
    tick(100);
    m = given(10, 1, 1, 0);
    m.granted = false; /* nobody is heard there */
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_HEARD, 0));
}

static void a_later_term_is_followed_before_its_entries_are_taken(void **state)
{
    (void)state;
    lose_dc();
    struct repl_message m = given(10, 1, 4, 1);
    m.term.v = 4;
    feed_message(&m, metas);
    assert_int_equal(r.term.v, 4);
    assert_int_equal(r.voted_for, REPL_NOBODY);
    const struct repl_action *saved = find(REPL_ACT_SAVE_VOTE, 0),
                             *appended = find(REPL_ACT_APPEND, 0);
    assert_non_null(saved);
    assert_non_null(appended);
    assert_true(saved < appended);
}

static void an_earlier_term_gives_entries_but_no_age_and_no_calm(void **state)
{
    (void)state;
    lose_dc();
    r.term.v = 3; /* it stood in vain */
    struct repl_message m = given(10, 1, 1, 1);
    m.term.v = 1;
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 11);
    assert_int_equal(r.term.v, 3);
    assert_null(find(REPL_ACT_HEARD, 0));
    assert_false(r.relay.hears);
}

static void a_tail_that_differs_is_cut_and_what_is_committed_is_not(void **state)
{
    (void)state;
    start_at(DR, REPL_AUTOMATIC, 10, 7);
    tick(600);
    r.relay.from = GSR; /* whoever was asked first */
    struct repl_message m = given(8, 1, 2, 1);
    m.term.v = 2;
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    assert_int_equal(find(REPL_ACT_EXPORT, 0)->lsn.v, 8);
    assert_true(find(REPL_ACT_EXPORT, 0)->granted);
    tick(300); /* while that is awaited the asking goes on, and says that no more can be taken */
    assert_int_equal(sent(REPL_MSG_PULL, GSR)->lsn.v, 8);
    assert_false(sent(REPL_MSG_PULL, GSR)->rejected);
    exported();
    assert_int_equal(sent(REPL_MSG_PULL, GSR)->lsn.v, 8);
    assert_true(sent(REPL_MSG_PULL, GSR)->rejected); /* it begins anew */
    m.round = r.relay.round;
    feed_message(&m, metas);
    assert_int_equal(find(REPL_ACT_TRUNCATE, 0)->lsn.v, 8);
    assert_int_equal(r.log.last.v, 9);
    assert_false(r.broken);
    start_at(DR, REPL_AUTOMATIC, 10, 10);
    tick(600);
    r.relay.from = GSR;
    m = given(8, 1, 2, 1);
    m.term.v = 2;
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    assert_true(r.broken);
}

static void more_than_is_committed_is_not_taken(void **state)
{
    (void)state;
    lose_dc();
    struct repl_message m = given(10, 1, 1, 2);
    m.last.v = 11;
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 10);
    assert_true(told("term 1: a message from gsr is ignored: it gives more than its sender knows "
                     "to be committed"));
}

static void a_gap_begins_the_stream_anew_and_older_answers_are_not_heard(void **state)
{
    (void)state;
    lose_dc();
    tick(60);
    struct repl_message m = given(14, 1, 1, 1);
    feed_message(&m, metas);
    const struct repl_message *again = sent(REPL_MSG_PULL, GSR);
    assert_non_null(again);
    assert_true(again->rejected);
    assert_int_equal(again->lsn.v, 10);
    m = given(10, 1, 1, 1);
    m.round = r.relay.round - 1;
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 10);
    m = given(15, 1, 1, 1); /* and not more often than once in a heartbeat */
    feed_message(&m, metas);
    assert_null(sent(REPL_MSG_PULL, GSR));
    tick(50);
    assert_non_null(sent(REPL_MSG_PULL, GSR));
}

static void a_last_frame_that_was_lost_is_asked_for_again(void **state)
{
    (void)state;
    lose_dc();
    tick(20);
    struct repl_message m = given(10, 1, 1, 2);
    m.last.v = 14;
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 12);
    /* 13 and 14 were sent, and there was no room for them: gsr waits to be told that they came, and has nothing else to send. */
    for (int i = 0; i < 3; i++) {
        tick(50);
        m = given(12, 1, 1, 0);
        m.last.v = 14;
        feed_message(&m, metas);
        assert_null(sent(REPL_MSG_PULL, GSR)); /* perhaps they are still on their way */
    }
    tick(50);
    m = given(12, 1, 1, 0);
    m.last.v = 14;
    feed_message(&m, metas);
    const struct repl_message *again = sent(REPL_MSG_PULL, GSR);
    assert_non_null(again);
    assert_true(again->rejected);
    assert_int_equal(again->lsn.v, 12);
}

static void who_does_not_answer_or_cannot_give_it_gives_way_to_the_next(void **state)
{
    (void)state;
    follow_dc();
    tick(201);
    assert_non_null(sent(REPL_MSG_PULL, GSR));
    for (int i = 0; i < 10; i++)
        tick(50);
    assert_int_equal(r.relay.from, DC); /* silent, but its link stands */
    struct repl_message no = from(REPL_MSG_GIVE, DC);
    no.rejected = true;
    no.round = r.relay.round;
    feed_message(&no, metas);
    assert_int_equal(r.relay.from, GSR);
    no.from = GSR;
    no.round = r.relay.round;
    feed_message(&no, metas);
    assert_int_equal(r.relay.from, REPL_NOBODY); /* for a while */
    struct repl_view v;
    repl_view(&r, &v);
    assert_true(v.relay.vain);
    for (int i = 0; i < 30; i++)
        tick(50);
    assert_int_not_equal(r.relay.from, REPL_NOBODY);
}

static void a_primary_that_is_heard_ends_it(void **state)
{
    (void)state;
    lose_dc();
    for (int i = 0; i < 12; i++) {
        tick(50);
        struct repl_message g = given(10, 1, 1, 0);
        feed_message(&g, metas);
    }
    struct repl_message m;
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = DC});
    m = from(REPL_MSG_ENTRIES, DC);
    m.lsn.v = m.commit.v = 10;
    m.lsn_term.v = 1;
    m.round = 2;
    feed_message(&m, NULL);
    assert_true(told("term 1: dc is heard again -> following it directly"));
    tick(10);
    assert_int_equal(r.relay.from, REPL_NOBODY);
    m = given(10, 1, 1, 1); /* was on its way */
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 10);
}

/* dc says that it has not what dr needs. */
static void behind(void)
{
    follow_dc();
    now += 20;
    struct repl_message m = from(REPL_MSG_ENTRIES, DC);
    m.lsn.v = m.commit.v = 100;
    m.lsn_term.v = 1;
    m.round = 2;
    m.rejected = true;
    feed_message(&m, NULL);
}

static void who_is_behind_the_log_of_its_primary_asks_another_site(void **state)
{
    (void)state;
    behind();
    assert_true(sent(REPL_MSG_ACK, DC)->rejected);
    tick(1);
    assert_non_null(sent(REPL_MSG_PULL, GSR));
    assert_null(sent(REPL_MSG_PULL, DC));
    struct repl_message m = given(10, 1, 1, 2);
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_HEARD, 0)); /* dc speaks for itself */
    durable(12);
    assert_int_equal(sent(REPL_MSG_ACK, DC)->lsn.v, 12); /* its own disk has it */
    struct repl_view v;
    repl_view(&r, &v);
    assert_true(v.relay.refill);
    assert_int_equal(v.relay.of.v, 100);
    m = from(REPL_MSG_ENTRIES, DC);
    m.lsn.v = 12;
    m.lsn_term.v = 1;
    m.hash = hash_of(12, 1);
    m.count = 1;
    m.commit.v = 100;
    m.round = 3;
    metas[0] = (struct repl_entry_meta){{13}, {1}, ENTRY_TXN, hash_of(13, 1), hash_of(12, 1), {0}};
    feed_message(&m, metas);
    tick(1);
    assert_int_equal(r.relay.from, REPL_NOBODY);
}

static void a_primary_whose_entries_do_not_come_does_not_serve(void **state)
{
    (void)state;
    follow_dc();
    for (uint64_t i = 0; i < 12; i++) {
        now += 50;
        struct repl_message m = from(REPL_MSG_ENTRIES, DC);
        m.lsn.v = m.commit.v = 20;
        m.lsn_term.v = 1;
        m.round = 2 + i;
        feed_message(&m, NULL);
        tick(1);
        assert_int_equal(sent(REPL_MSG_PULL, GSR) != NULL, i == 10);
    }
}

/* ---- the side that gives ---- */

static struct repl_message pull(uint8_t site, uint64_t lsn, uint64_t round, bool begins)
{
    struct repl_message m = from(REPL_MSG_PULL, site);
    m.lsn.v = lsn;
    m.lsn_term = repl_log_term(&r.log, m.lsn);
    m.round = round;
    m.rejected = begins;
    return m;
}

static void given_up_to(uint8_t site, uint64_t lsn)
{
    feed((struct repl_event){.type = REPL_EV_SENT,
                             .site = site,
                             .sent = REPL_MSG_GIVE,
                             .position = {.lsn = {lsn}, .term = {1}},
                             .bytes = 200});
}

static void given_is_what_is_committed_and_as_much_as_may_be_on_its_way(void **state)
{
    (void)state;
    start_at(GSR, REPL_AUTOMATIC, 40, 30);
    struct repl_message m = pull(DR, 10, 5, true);
    feed_message(&m, NULL);
    for (uint64_t i = 0; i < REPL_GIVE_WINDOW; i++) {
        const struct repl_message *g = sent(REPL_MSG_GIVE, DR);
        assert_non_null(g);
        assert_int_equal(g->lsn.v, 10 + i);
        assert_int_equal(g->last.v, 30);
        assert_int_equal(g->round, 5);
        given_up_to(DR, 11 + i);
    }
    assert_null(sent(REPL_MSG_GIVE, DR));
    m = pull(DR, 13, 6, false); /* three have come */
    feed_message(&m, NULL);
    assert_int_equal(sent(REPL_MSG_GIVE, DR)->lsn.v, 18);
    given_up_to(DR, 30);
    assert_null(sent(REPL_MSG_GIVE, DR)); /* what follows is not committed */
    m = pull(DR, 30, 7, false);
    feed_message(&m, NULL);
    assert_int_equal(find(REPL_ACT_SEND, 0)->message.type,
                     REPL_MSG_GIVE); /* but each question is answered */
    assert_int_equal(r.peers[DR].match.v, 0);
}

static void what_cannot_be_had_yet_is_tried_again_and_what_is_not_there_is_refused(void **state)
{
    (void)state;
    start_at(GSR, REPL_AUTOMATIC, 40, 30);
    struct repl_message m = pull(DR, 10, 5, true);
    feed_message(&m, NULL);
    feed((struct repl_event){.type = REPL_EV_SENT, .site = DR, .sent = REPL_MSG_GIVE});
    assert_int_equal(find(REPL_ACT_SEND, 0)->message.type,
                     REPL_MSG_GIVE); /* the news, without entries */
    tick(repl_next_tick_ms(&r) - now);
    assert_non_null(find(REPL_ACT_SEND_ENTRIES, 0));
    feed((struct repl_event){.type = REPL_EV_GONE, .site = DR, .sent = REPL_MSG_GIVE});
    assert_true(sent(REPL_MSG_GIVE, DR)->rejected);
    assert_true(told("term 1: dr asks for entry 11, which cannot be had here"));
}

static void only_who_hears_the_primary_itself_says_so(void **state)
{
    (void)state;
    start_at(GSR, REPL_AUTOMATIC, 10, 10);
    now += 1000;
    struct repl_message word = from(REPL_MSG_ENTRIES, DC);
    word.lsn.v = 10;
    word.commit.v = 10;
    word.lsn_term.v = 1;
    word.round = 2;
    feed_message(&word, NULL); /* without a lease: another one may be primary */
    struct repl_message early = pull(DR, 10, 4, true);
    feed_message(&early, NULL);
    assert_false(sent(REPL_MSG_GIVE, DR)->granted);
    word.round = 3;
    word.granted = true;
    feed_message(&word, NULL);
    now += 70;
    feed_message(&word, NULL); /* repeated: no newer word */
    now += 10;
    struct repl_message m = pull(DR, 10, 5, true);
    feed_message(&m, NULL);
    assert_true(sent(REPL_MSG_GIVE, DR)->granted);
    assert_int_equal(sent(REPL_MSG_GIVE, DR)->age_ms, 80);
    m = pull(DC, 10, 5, true); /* not to the primary itself */
    feed_message(&m, NULL);
    assert_false(sent(REPL_MSG_GIVE, DC)->granted);
    now += 130; /* too long ago */
    m = pull(DR, 10, 6, false);
    feed_message(&m, NULL);
    assert_false(sent(REPL_MSG_GIVE, DR)->granted);
    assert_int_equal(sent(REPL_MSG_GIVE, DR)->age_ms, 0);
}

static void who_names_another_history_is_refused(void **state)
{
    (void)state;
    start_at(GSR, REPL_AUTOMATIC, 40, 30);
    struct repl_message m = pull(DR, 20, 5, true);
    m.lsn_term.v = 9;
    feed_message(&m, NULL);
    assert_true(sent(REPL_MSG_GIVE, DR)->rejected);
    assert_int_equal(sent(REPL_MSG_GIVE, DR)->lsn.v, 20); /* and told which entry is here */
    assert_int_equal(sent(REPL_MSG_GIVE, DR)->lsn_term.v, 1);
}

static void who_has_no_vote_takes_only_from_who_hears_the_primary_and_gives_nothing(void **state)
{
    (void)state;
    lose_dc();
    r.may_vote = r.agrees = false; /* rebuilt, or declared lost */
    struct repl_message m = given(10, 1, 1, 2);
    m.granted = false;
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 10);
    assert_true(told("term 1: gsr gives what follows 10 and hears no primary: not taken, "
                     "as this site has no vote, 1 times now"));
    assert_int_not_equal(r.relay.from, GSR);
    for (int i = 0; i < 30 && r.relay.from != GSR; i++)
        tick(50);
    m = given(10, 1, 1, 2);
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 12);
    m = pull(GSR, 10, 5, true);
    feed_message(&m, NULL);
    assert_null(sent(REPL_MSG_GIVE, GSR));
    struct repl_message word = from(REPL_MSG_ENTRIES, DC);
    word.lsn.v = word.commit.v = 12; /* what is committed here is what dc has */
    word.lsn_term.v = 1;
    word.hash = hash_of(12, 1);
    word.round = 7;
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = DC});
    feed_message(&word, NULL);
    m.round++;
    feed_message(&m, NULL);
    assert_non_null(sent(REPL_MSG_GIVE, GSR));
}

static void who_could_not_give_it_is_asked_again_though_another_is_asked_meanwhile(void **state)
{
    (void)state;
    follow_dc();
    tick(201);
    struct repl_message no = from(REPL_MSG_GIVE, GSR);
    no.rejected = true;
    no.round = r.relay.round;
    feed_message(&no, metas);
    assert_int_equal(r.relay.from, DC); /* its link stands, and it says nothing */
    int n = 0;
    for (; n < 40 && r.relay.from != GSR; n++)
        tick(50);
    assert_int_equal(r.relay.from, GSR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_loses_its_primary_asks_the_other_at_once),
        TEST(what_is_given_is_taken_committed_and_followed_by_the_next_question),
        TEST(a_primary_that_another_hears_is_not_replaced),
        TEST(who_asks_for_votes_stops_when_the_primary_is_heard_elsewhere),
        TEST(its_word_is_as_old_as_the_question_and_what_the_giver_says),
        TEST(a_later_term_is_followed_before_its_entries_are_taken),
        TEST(an_earlier_term_gives_entries_but_no_age_and_no_calm),
        TEST(a_tail_that_differs_is_cut_and_what_is_committed_is_not),
        TEST(more_than_is_committed_is_not_taken),
        TEST(a_last_frame_that_was_lost_is_asked_for_again),
        TEST(a_gap_begins_the_stream_anew_and_older_answers_are_not_heard),
        TEST(who_does_not_answer_or_cannot_give_it_gives_way_to_the_next),
        TEST(a_primary_that_is_heard_ends_it),
        TEST(who_is_behind_the_log_of_its_primary_asks_another_site),
        TEST(a_primary_whose_entries_do_not_come_does_not_serve),
        TEST(given_is_what_is_committed_and_as_much_as_may_be_on_its_way),
        TEST(what_cannot_be_had_yet_is_tried_again_and_what_is_not_there_is_refused),
        TEST(only_who_hears_the_primary_itself_says_so),
        TEST(who_names_another_history_is_refused),
        TEST(who_has_no_vote_takes_only_from_who_hears_the_primary_and_gives_nothing),
        TEST(who_could_not_give_it_is_asked_again_though_another_is_asked_meanwhile),
    };
    return cmocka_run_group_tests_name("repl_relay", tests, NULL, NULL);
}
