/* What a follower takes into its log, cuts out of it and acknowledges. */
#include "tests/unit/replication/core/repl_kit.h"

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
    struct repl_entry_meta e[] = {meta_of(11, 2, 1), meta_of(12, 2, 2)};
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
    struct repl_entry_meta e[] = {meta_of(7, 1, 1), meta_of(8, 2, 1)};
    struct repl_message m = entries_after(2, 6, 1, 2, 6);
    feed_message_that_cuts(&m, e);
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
    struct repl_entry_meta e[] = {meta_of(9, 2, 1)};
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
    struct repl_entry_meta e[] = {meta_of(11, 2, 1)};
    e[0].prev_hash.b[9] ^= 1;
    struct repl_message m = entries_after(2, 10, 1, 1, 11);
    memset(&m.hash, 0, sizeof m.hash);
    feed_message(&m, e);
    assert_null(find(REPL_ACT_APPEND, 0));
    assert_true(r.broken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_follower_remembers_how_far_the_primary_was),
        TEST(a_primary_tells_the_end_of_its_log_with_every_message),
        TEST(a_follower_acknowledges_what_is_durable),
        TEST(a_conflicting_suffix_is_cut_and_replaced),
        TEST(nothing_committed_is_ever_cut),
        TEST(an_unchained_entry_breaks_the_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
