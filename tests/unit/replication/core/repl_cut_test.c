/* What is not in the common history is exported before it is cut, and that takes time (replication/core/repl_cut.c). */
#include "tests/unit/replication/core/repl_kit.h"

static struct repl_entry_meta metas[8];

/* Entries of `term` after `after`, which has term `before`, from dr as primary of that term. */
static struct repl_message entries_of(uint64_t term, uint64_t after, uint64_t before,
                                      uint32_t count)
{
    for (uint64_t i = 0; i < count; i++)
        metas[i] = (struct repl_entry_meta){{after + 1 + i},
                                            {term},
                                            ENTRY_TXN,
                                            hash_of(after + 1 + i, term),
                                            hash_of(after + i, i == 0 ? before : term),
                                            {0}};
    static uint64_t round;
    return (struct repl_message){.type = REPL_MSG_ENTRIES,
                                 .from = DR,
                                 .to = DC,
                                 .term = {term},
                                 .incarnation = 1,
                                 .round = ++round,
                                 .lsn = {after},
                                 .lsn_term = {before},
                                 .hash = hash_of(after, before),
                                 .count = count,
                                 .commit = {6},
                                 .last = {after + count},
                                 .last_term = {term}};
}

/* dc has ten entries of term 1 of which six are committed, all of which it has applied, and dr has others after the seventh. */
static void asks_for_a_cut(void)
{
    start_at(DC, REPL_AUTOMATIC, 10, 6);
    r.applied.v = r.visible.v = 10;
    struct repl_message m = entries_of(2, 7, 1, 2);
    feed_message(&m, metas);
    assert_int_equal(find(REPL_ACT_EXPORT, 0)->lsn.v, 7);
    assert_true(find(REPL_ACT_EXPORT, 0)->granted);
}

static void until_it_is_exported_nothing_is_cut_taken_or_acknowledged_beyond(void **state)
{
    (void)state;
    asks_for_a_cut();
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    assert_null(find(REPL_ACT_APPEND, 0));
    assert_int_equal(r.log.last.v, 10);
    const struct repl_message *ack = sent(REPL_MSG_ACK, DR);
    assert_false(ack->rejected);
    assert_int_equal(ack->lsn.v, 7);
    assert_int_equal(ack->last.v, 7);    /* what is beyond is not what was sent */
    assert_int_equal(ack->applied.v, 7); /* likewise */
    assert_int_equal(ack->round, r.seen_round);
    assert_int_equal(r.heard_ms, now); /* it hears its primary */
    struct repl_message again = entries_of(2, 7, 1, 2);
    feed_message(&again, metas);
    assert_null(find(REPL_ACT_EXPORT, 0)); /* once */
    assert_null(find(REPL_ACT_TRUNCATE, 0));
}

/* Not rejected, for then it would all be sent again and again. */
static void what_goes_on_behind_it_is_answered_where_the_logs_part(void **state)
{
    (void)state;
    asks_for_a_cut();
    struct repl_message m = entries_of(2, 9, 2, 1);
    m.commit.v = 9;
    feed_message(&m, metas);
    assert_false(sent(REPL_MSG_ACK, DR)->rejected);
    assert_int_equal(sent(REPL_MSG_ACK, DR)->lsn.v, 7);
    assert_int_equal(r.commit.v, 7);
    m = entries_of(2, 10, 2, 0);
    feed_message(&m, metas);
    assert_false(sent(REPL_MSG_ACK, DR)->rejected);
    durable(10);
    assert_null(sent(REPL_MSG_ACK, DR)); /* nothing more agrees */
}

static void then_the_primary_sends_again_and_it_is_cut(void **state)
{
    (void)state;
    asks_for_a_cut();
    exported();
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    assert_true(sent(REPL_MSG_ACK, DR)->rejected); /* which makes it send at once */
    assert_int_equal(sent(REPL_MSG_ACK, DR)->lsn.v, 7);
    struct repl_message m = entries_of(2, 7, 1, 2);
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_EXPORT, 0));
    assert_int_equal(find(REPL_ACT_TRUNCATE, 0)->lsn.v, 7);
    assert_int_equal(find(REPL_ACT_APPEND, 0)->count, 2);
    assert_int_equal(r.log.last.v, 9);
    struct repl_view v;
    repl_view(&r, &v);
    assert_false(v.cut.asked);
}

static void votes_go_by_the_log_as_it_is(void **state)
{
    (void)state;
    asks_for_a_cut();
    now += 2000;
    struct repl_message m = from(REPL_MSG_VOTE, GSR);
    r.list.members.electable |= 1u << GSR;
    m.term.v = 3;
    m.lsn.v = 9;
    m.lsn_term.v = 1;
    feed_message(&m, NULL);
    assert_false(sent(REPL_MSG_VOTE_REPLY, GSR)->granted);
    assert_int_equal(sent(REPL_MSG_VOTE_REPLY, GSR)->lsn.v, 10);
}

/* Its log is this one's: the next primary has the entries that the one before had not. */
static void a_primary_who_has_the_entries_has_nothing_cut(void **state)
{
    (void)state;
    asks_for_a_cut();
    exported();
    struct repl_message m = entries_of(3, 10, 1, 1);
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    assert_int_equal(r.log.last.v, 11);
    struct repl_view v;
    repl_view(&r, &v);
    assert_false(v.cut.asked); /* what is exported is not what the log ends with */
    m = entries_of(4, 7, 1, 1);
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    assert_int_equal(find(REPL_ACT_EXPORT, 0)->lsn.v, 7); /* anew: it is longer now */
}

static void another_cut_is_exported_anew_and_the_first_is_not_believed(void **state)
{
    (void)state;
    asks_for_a_cut();
    struct repl_message m = entries_of(3, 8, 1, 1);
    feed_message(&m, metas);
    assert_int_equal(find(REPL_ACT_EXPORT, 0)->lsn.v, 8);
    struct entry_position end = {.lsn = {10}, .term = {1}};
    feed((struct repl_event){.type = REPL_EV_EXPORTED, .keep = {7}, .position = end});
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    end.lsn.v = 9;
    feed((struct repl_event){.type = REPL_EV_EXPORTED, .keep = {8}, .position = end});
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    exported();
    feed_message(&m, metas);
    assert_int_equal(find(REPL_ACT_TRUNCATE, 0)->lsn.v, 8);
}

/* A new primary has to find anew where the logs part. */
static void a_later_term_is_not_answered_for_the_one_before(void **state)
{
    (void)state;
    asks_for_a_cut();
    struct repl_message m = entries_of(3, 12, 3, 0);
    feed_message(&m, metas);
    assert_true(sent(REPL_MSG_ACK, DR)->rejected);
    assert_int_equal(sent(REPL_MSG_ACK, DR)->last.v, 10);
    exported();
    assert_null(sent(REPL_MSG_ACK, DR));
}

static void a_candidate_waits_for_it_and_asks_for_the_tail_again(void **state)
{
    (void)state;
    start_at(DC, REPL_AUTOMATIC, 10, 6);
    become_candidate(GSR);
    struct repl_message no = from(REPL_MSG_VOTE_REPLY, GSR);
    no.lsn.v = 9;
    no.lsn_term.v = 2;
    r.term.v = no.term.v = 3;
    feed_message(&no, NULL);
    assert_int_equal(r.fetch_from, GSR);
    (void)entries_of(2, 7, 1, 2);
    struct repl_message m = from(REPL_MSG_TAIL, GSR);
    m.round = r.attempt;
    m.lsn.v = 7;
    m.lsn_term.v = 1;
    m.hash = hash_of(7, 1);
    m.count = 2;
    m.last.v = 9;
    m.last_term.v = 2;
    for (int i = 0; i < 20; i++) {
        feed_message(&m, metas);
        assert_null(find(REPL_ACT_TRUNCATE, 0));
        now += 200;
        feed((struct repl_event){.type = REPL_EV_TICK});
        assert_int_equal(r.fetch_from, GSR); /* for longer than an attempt lasts */
        assert_int_equal(r.term.v, 3);
    }
    exported();
    assert_non_null(sent(REPL_MSG_FETCH, GSR));
    feed_message(&m, metas);
    assert_int_equal(find(REPL_ACT_TRUNCATE, 0)->lsn.v, 7);
    assert_int_equal(r.log.last.v, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(until_it_is_exported_nothing_is_cut_taken_or_acknowledged_beyond),
        TEST(what_goes_on_behind_it_is_answered_where_the_logs_part),
        TEST(then_the_primary_sends_again_and_it_is_cut),
        TEST(votes_go_by_the_log_as_it_is),
        TEST(a_primary_who_has_the_entries_has_nothing_cut),
        TEST(another_cut_is_exported_anew_and_the_first_is_not_believed),
        TEST(a_later_term_is_not_answered_for_the_one_before),
        TEST(a_candidate_waits_for_it_and_asks_for_the_tail_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
