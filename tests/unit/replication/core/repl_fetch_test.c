/* A candidate takes over what only a witness has (P2). */
#include "tests/unit/replication/core/repl_kit.h"

static struct repl_entry_meta metas[4];

/* dc stands at 1/10; gsr refuses, and shows that its log goes on to 12 in term 1. */
static void refused_by_the_witness(void)
{
    now += 1000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
    struct repl_message no = from(REPL_MSG_PREVOTE_REPLY, GSR);
    no.round = r.attempt;
    no.lsn.v = no.last.v = 12;
    no.lsn_term.v = no.last_term.v = 1;
    feed_message(&no, NULL);
    assert_int_equal(r.fetch_from, GSR);
    assert_int_equal(sent(REPL_MSG_FETCH, GSR)->lsn.v, 10);
}

/* The tail after 10, as gsr would send it. */
static struct repl_message tail(uint32_t count)
{
    for (uint64_t i = 0; i < count; i++)
        metas[i] = (struct repl_entry_meta){{11 + i},           {1}, ENTRY_TXN, hash_of(11 + i, 1),
                                            hash_of(10 + i, 1), {0}};
    struct repl_message m = from(REPL_MSG_TAIL, GSR);
    m.round = r.attempt;
    m.lsn.v = 10;
    m.lsn_term.v = 1;
    m.hash = hash_of(10, 1);
    m.count = count;
    m.last.v = 12;
    m.last_term.v = 1;
    return m;
}

static void what_the_witness_has_is_taken_and_then_asked_again(void **state)
{
    (void)state;
    refused_by_the_witness();
    struct repl_message m = tail(2);
    uint64_t attempt = r.attempt;
    feed_message(&m, metas);
    assert_non_null(find(REPL_ACT_APPEND, 0));
    assert_int_equal(find(REPL_ACT_APPEND, 0)->count, 2);
    assert_int_equal(r.log.last.v, 12);
    assert_int_equal(r.fetch_from, REPL_NOBODY);
    assert_int_equal(r.attempt, attempt + 1);
    assert_int_equal(sent(REPL_MSG_PREVOTE, GSR)->lsn.v, 12);
}

static void a_part_of_the_tail_is_followed_by_the_next_question(void **state)
{
    (void)state;
    refused_by_the_witness();
    struct repl_message m = tail(1);
    uint64_t attempt = r.attempt;
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 11);
    assert_int_equal(r.fetch_from, GSR);
    assert_int_equal(r.attempt, attempt); /* not before all of it is here */
    assert_int_equal(sent(REPL_MSG_FETCH, GSR)->lsn.v, 11);
}

static void a_tail_of_somebody_else_or_of_another_attempt_is_not_taken(void **state)
{
    (void)state;
    refused_by_the_witness();
    struct repl_message m = tail(2);
    m.from = DR;
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 10);
    m = tail(2);
    m.round = r.attempt + 7;
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 10);
    assert_int_equal(r.fetch_from, GSR);
}

static void a_witness_that_is_silent_is_asked_again_and_then_given_up(void **state)
{
    (void)state;
    refused_by_the_witness();
    unsigned asked = 0, told_of = 0;
    for (int i = 0; i < 400 && r.fetch_from != REPL_NOBODY; i++) {
        now += 10;
        feed((struct repl_event){.type = REPL_EV_TICK});
        asked += sent(REPL_MSG_FETCH, GSR) != NULL;
        for (uint32_t k = 0; k < out.n; k++)
            told_of +=
                strstr(repl_text(&out, &out.a[k]), "gsr does not answer -> fetch given up") != NULL;
    }
    assert_int_equal(r.fetch_from, REPL_NOBODY);
    assert_true(asked >= 2);
    assert_int_equal(told_of, 1);
    assert_int_equal(r.log.last.v, 10);
}

static void who_had_nothing_is_left_alone_until_the_next_attempt(void **state)
{
    (void)state;
    start_at(DC, REPL_AUTOMATIC, 10, 10);
    refused_by_the_witness();
    struct repl_message no = tail(0);
    no.rejected = true; /* it was rebuilt: what follows 10 is not in its log */
    feed_message(&no, NULL);
    assert_int_equal(r.fetch_from, REPL_NOBODY);
    struct repl_message again = from(REPL_MSG_PREVOTE_REPLY, GSR);
    again.round = r.attempt;
    again.lsn.v = 12;
    again.lsn_term.v = 1;
    feed_message(&again, NULL);
    assert_int_equal(r.fetch_from, REPL_NOBODY);
    again.from = DR;
    feed_message(&again, NULL);
    assert_int_equal(r.fetch_from, DR);
    now += 3000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
    assert_int_equal(r.fetch_from, REPL_NOBODY);
    again.from = GSR;
    again.round = r.attempt;
    feed_message(&again, NULL);
    assert_int_equal(r.fetch_from, GSR);
}

static void the_witness_answers_with_what_follows_or_with_where_to_look(void **state)
{
    (void)state;
    start_at(GSR, REPL_AUTOMATIC, 10, 10);
    struct repl_message m = from(REPL_MSG_FETCH, DC);
    m.round = 3;
    m.lsn.v = 8;
    m.lsn_term.v = 1;
    feed_message(&m, NULL);
    assert_non_null(find(REPL_ACT_SEND_ENTRIES, 0)); /* entries after 8 follow */
    assert_false(sent(REPL_MSG_TAIL, DC)->rejected);
    assert_int_equal(sent(REPL_MSG_TAIL, DC)->round, 3);
    m.lsn.v = 10; /* nothing follows */
    feed_message(&m, NULL);
    assert_null(find(REPL_ACT_SEND_ENTRIES, 0));
    assert_false(sent(REPL_MSG_TAIL, DC)->rejected);
    m.lsn.v = 14; /* it is ahead */
    feed_message(&m, NULL);
    assert_true(sent(REPL_MSG_TAIL, DC)->rejected);
    assert_true(sent(REPL_MSG_TAIL, DC)->lsn.v <= 10);
    feed((struct repl_event){.type = REPL_EV_GONE, .site = DC, .sent = REPL_MSG_TAIL});
    assert_true(sent(REPL_MSG_TAIL, DC)->rejected);
    assert_int_equal(sent(REPL_MSG_TAIL, DC)->lsn.v, 0);
}

/* dr's vote in term 2 is on its way for long. Meanwhile gsr elects dr in term 3 and has its no-op. */
static void a_tail_of_a_later_term_ends_the_attempt_before_anything_is_taken(void **state)
{
    (void)state;
    become_candidate(DR);
    assert_int_equal(r.term.v, 2);
    struct repl_message vote = from(REPL_MSG_VOTE_REPLY, DR), no = from(REPL_MSG_VOTE_REPLY, GSR);
    vote.granted = true;
    no.lsn.v = 11;
    no.lsn_term.v = 1;
    feed_message(&no, NULL);
    assert_int_equal(r.fetch_from, GSR);
    struct repl_message m = tail(2);
    m.term.v = m.last_term.v = 3;
    m.last.v = 13; /* and more follows */
    metas[1].term.v = 3;
    metas[1].hash = hash_of(12, 3);
    feed_message(&m, metas);
    assert_int_equal(r.log.last.v, 10);
    assert_int_equal(r.term.v, 3);
    assert_int_equal(r.role, REPL_STANDBY);
    /* A primary of term 2 whose log has an entry of term 3 would stop the site. */
    feed_message(&vote, NULL);
    assert_int_equal(r.role, REPL_STANDBY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_witness_has_is_taken_and_then_asked_again),
        TEST(a_part_of_the_tail_is_followed_by_the_next_question),
        TEST(a_tail_of_somebody_else_or_of_another_attempt_is_not_taken),
        TEST(a_witness_that_is_silent_is_asked_again_and_then_given_up),
        TEST(who_had_nothing_is_left_alone_until_the_next_attempt),
        TEST(a_tail_of_a_later_term_ends_the_attempt_before_anything_is_taken),
        TEST(the_witness_answers_with_what_follows_or_with_where_to_look),
    };
    return cmocka_run_group_tests_name("repl_fetch", tests, NULL, NULL);
}
