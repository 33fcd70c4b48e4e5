/* Who stands, who may have a vote, and how much of it is told. */
#include "tests/unit/replication/core/repl_kit.h"

static unsigned lines_with(const char *part)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < out.n; i++)
        n += strstr(repl_text(&out, &out.a[i]), part) != NULL;
    return n;
}

static unsigned roles(void)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < out.n; i++)
        n += out.a[i].type == REPL_ACT_ROLE;
    return n;
}

/* Cut off for a day: about 80,000 attempts, and what else was told must still be in a ring of 2,048 events. */
static void a_site_that_finds_no_majority_tells_it_ever_more_rarely(void **state)
{
    (void)state;
    unsigned lines = 0, told_roles = 0, texts = 0;
    for (uint64_t end = now + 86400000; now < end; now += 100) {
        feed((struct repl_event){.type = REPL_EV_TICK});
        lines += lines_with("are not enough");
        told_roles += roles();
        for (uint32_t i = 0; i < out.n; i++)
            texts += out.a[i].text != 0;
    }
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
    assert_true(r.vain > 50000);
    assert_in_range(lines, 11 + r.vain / 1024 - 1, 11 + r.vain / 1024);
    assert_int_equal(texts, lines + 1); /* and why it began */
    assert_int_equal(told_roles, 1);
}

static void the_count_of_attempts_is_told_and_begins_anew_with_a_primary(void **state)
{
    (void)state;
    bool second = false;
    for (int i = 0; i < 60; i++) {
        now += 100;
        feed((struct repl_event){.type = REPL_EV_TICK});
        second |= lines_with("1 of 3 votes (dc; silent: dr, gsr) are not enough -> "
                             "asking again, attempt 5") == 1;
    }
    assert_true(second);
    become_primary();
    assert_int_equal(r.vain, 0);
}

/* `triveni events` at the candidate answers who voted how, without a look at the others'. */
static void an_election_names_its_voters(void **state)
{
    (void)state;
    become_candidate(GSR);
    struct repl_message vote = from(REPL_MSG_VOTE_REPLY, DR);
    feed_message(&vote, NULL);
    vote = from(REPL_MSG_VOTE_REPLY, GSR);
    vote.granted = true;
    feed_message(&vote, NULL);
    assert_true(told("term 2: 2 of 3 votes (dc, gsr; refused by dr) -> primary at 1/10"));
}

/* A voter that hears the primary refuses a site that does not, once per attempt and for ever. */
static void a_voter_tells_of_the_same_refusal_ever_more_rarely(void **state)
{
    (void)state;
    now += 1000;
    start_at(GSR, REPL_AUTOMATIC, 10, 10);
    now += 600; /* past its own start */
    unsigned lines = 0;
    for (uint64_t attempt = 1; attempt <= 4096; attempt++) {
        struct repl_message m = from(REPL_MSG_PREVOTE, DC);
        m.term.v = 2;
        m.round = attempt;
        m.lsn.v = 4; /* behind */
        m.lsn_term.v = 1;
        feed_message(&m, NULL);
        lines += lines_with("refused: its log is behind");
        assert_non_null(sent(REPL_MSG_PREVOTE_REPLY, DC));
        feed_message(&m, NULL); /* a repeat of the question within the attempt */
        lines += lines_with("refused");
        if (attempt == 4)
            assert_int_equal(lines, 3);
    }
    assert_int_equal(lines, 14); /* 1, 2, 4 ... 512, 1024, 2048, 3072, 4096 */
}

static void a_granted_vote_ends_the_count_of_refusals(void **state)
{
    (void)state;
    now += 1000;
    start_at(GSR, REPL_AUTOMATIC, 10, 10);
    now += 600;
    struct repl_message m = from(REPL_MSG_PREVOTE, DC);
    m.term.v = 2;
    m.lsn_term.v = 1;
    for (m.round = 1; m.round <= 3; m.round++)
        feed_message(&m, NULL);
    assert_int_equal(r.refusals[DC], 3);
    m.lsn.v = 10;
    feed_message(&m, NULL);
    assert_int_equal(lines_with("-> granted"), 1);
    m.round++;
    m.lsn.v = 4;
    feed_message(&m, NULL);
    assert_int_equal(lines_with("refused: its log is behind"), 1);
}

static void in_one_term_a_site_votes_once_and_repeats_its_word(void **state)
{
    (void)state;
    now += 1000;
    start_at(GSR, REPL_AUTOMATIC, 10, 10);
    now += 600;
    struct repl_message m = from(REPL_MSG_VOTE, DC);
    m.term.v = 2;
    m.lsn.v = 10;
    m.lsn_term.v = 1;
    feed_message(&m, NULL);
    assert_true(sent(REPL_MSG_VOTE_REPLY, DC)->granted);
    assert_ptr_equal(find(REPL_ACT_SAVE_VOTE, 0) + 1, find(REPL_ACT_SEND, 0)); /* R1 */
    feed_message(&m, NULL);
    assert_true(sent(REPL_MSG_VOTE_REPLY, DC)->granted);
    assert_null(find(REPL_ACT_SAVE_VOTE, 0));
    assert_int_equal(lines_with("vote asked"), 0);
    m.from = DR;
    feed_message(&m, NULL);
    assert_false(sent(REPL_MSG_VOTE_REPLY, DR)->granted);
    assert_int_equal(lines_with("refused: this term's vote is given away"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_site_that_finds_no_majority_tells_it_ever_more_rarely),
        TEST(the_count_of_attempts_is_told_and_begins_anew_with_a_primary),
        TEST(an_election_names_its_voters),
        TEST(a_voter_tells_of_the_same_refusal_ever_more_rarely),
        TEST(a_granted_vote_ends_the_count_of_refusals),
        TEST(in_one_term_a_site_votes_once_and_repeats_its_word),
    };
    return cmocka_run_group_tests_name("repl_election", tests, NULL, NULL);
}
