/* Lists of members: who counts, when a list may be replaced, and what a cut gives back. Slots: 0 dc, 1 dr, 2 gsr, 3 dr2, 4 dr3;
 * the first three are the initial list. */
#include "tests/unit/replication/core/repl_kit.h"

enum { DR2 = 3, DR3 = 4 };

static const struct repl_members initial = {.all = 7, .voters = 7, .electable = 3};
static const struct repl_members with_replica = {.all = 15, .voters = 7, .electable = 11};
static const struct repl_members promoted = {.all = 15, .voters = 15, .electable = 11};

static void start_of(uint8_t self, struct repl_members m, uint64_t n)
{
    static const struct repl_run runs[] = {{{1}, {1}}};
    struct repl_member_list list = {.members = m};
    struct repl_options o = options_of(self);
    o.names[DR2] = "dr2";
    o.names[DR3] = "dr3";
    o.sites = 5;
    struct repl_start s = {.now_ms = now,
                           .term = {1},
                           .voted_for = REPL_NOBODY,
                           .incarnation = 1,
                           .may_vote = true,
                           .last = {.lsn = {n}, .term = {n > 0 ? 1 : 0}, .hash = hash_of(n, 1)},
                           .runs = runs,
                           .run_count = n > 0,
                           .commit = {n},
                           .mode = COMMIT_MAJORITY,
                           .lists = &list,
                           .list_count = 1};
    repl_init(&r, &o, &s);
    for (uint8_t i = 0; i < 5; i++)
        if (i != self)
            feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = i});
}

static int five(void **state)
{
    (void)state;
    now = 100000;
    start_of(DC, initial, 10);
    return 0;
}
#define FIVE(f) cmocka_unit_test_setup(f, five)

/* True: it is in the log. */
static bool list(struct repl_members m)
{
    feed((struct repl_event){.type = REPL_EV_PROPOSE, .kind = ENTRY_MEMBERS, .members = m});
    const struct repl_action *own = find(REPL_ACT_APPEND_OWN, 0);
    if (own == NULL)
        return false;
    assert_int_equal(own->kind, ENTRY_MEMBERS);
    struct repl_actions kept = out;
    sealed();
    out = kept;
    return true;
}

static void commit_by(uint8_t other)
{
    durable(r.log.last.v);
    acked(other, r.log.last.v);
}

/* dr2 is in the list and has all of the log. */
static void add_replica(void)
{
    serve();
    assert_true(list(with_replica));
    commit_by(DR);
    assert_int_equal(r.commit.v, 12);
    acked(DR2, 12);
    acked(GSR, 12);
}

static void entries_from(uint8_t primary, uint64_t after, uint32_t n, struct repl_entry_meta *metas)
{
    struct repl_message m = from(REPL_MSG_ENTRIES, primary);
    m.lsn.v = after;
    m.lsn_term = repl_log_term(&r.log, m.lsn);
    m.hash = hash_of(after, m.lsn_term.v);
    m.count = n;
    m.round = 1;
    feed_message(&m, metas);
}

static struct repl_entry_meta meta(uint64_t lsn, uint64_t term, uint64_t before,
                                   const struct repl_members *m)
{
    return (struct repl_entry_meta){.lsn = {lsn},
                                    .term = {term},
                                    .kind = m != NULL ? ENTRY_MEMBERS : ENTRY_TXN,
                                    .hash = hash_of(lsn, term),
                                    .prev_hash = hash_of(lsn - 1, before),
                                    .members = m != NULL ? *m : (struct repl_members){0}};
}

static void a_list_is_in_force_before_it_is_committed(void **state)
{
    (void)state;
    add_replica();
    assert_true(list(promoted));
    assert_int_equal(r.commit.v, 12);
    assert_int_equal(repl_majority(&r), 3);
    commit_by(DR);
    assert_int_equal(r.commit.v, 12); /* two of four */
    acked(DR2, 13);
    assert_int_equal(r.commit.v, 13);
}

static void a_change_waits_for_the_one_before(void **state)
{
    (void)state;
    add_replica();
    assert_true(list(promoted));
    assert_false(list(with_replica));
    assert_true(told("a change of the members is under way: it is at 13, 12 is committed"));
    commit_by(DR);
    acked(DR2, 13);
    assert_true(list(with_replica));
}

static void a_change_waits_for_the_first_entry_of_the_term(void **state)
{
    (void)state;
    become_primary();
    assert_false(list(with_replica));
    assert_true(
        told("this site has just become primary: the first entry of term 2 is not committed yet"));
}

static void one_vote_changes_at_a_time(void **state)
{
    (void)state;
    add_replica();
    assert_false(list((struct repl_members){.all = 13, .voters = 13, .electable = 9}));
    assert_true(told("2 sites would gain or lose their vote: one at a time"));
    assert_false(list((struct repl_members){.all = 31, .voters = 7, .electable = 0}));
    assert_true(told("the list contradicts itself, or the one in force"));
    assert_true(list((struct repl_members){.all = 31, .voters = 7, .electable = 27}));
}

static void the_primary_keeps_its_vote(void **state)
{
    (void)state;
    serve();
    assert_false(list((struct repl_members){.all = 6, .voters = 6, .electable = 2}));
    assert_true(told("dc is primary: hand over to another site first"));
}

static void who_has_not_caught_up_gets_no_vote(void **state)
{
    (void)state;
    serve();
    assert_false(list((struct repl_members){.all = 15, .voters = 15, .electable = 11}));
    assert_true(told("dr2 is no member yet: add it first"));
    assert_true(list(with_replica));
    commit_by(DR);
    assert_false(list(promoted));
    assert_true(told("dr2 has not caught up")); /* it has never answered */
    struct repl_message m = ack_of(DR2, 12);
    m.counts = false;
    feed_message(&m, NULL);
    assert_false(list(promoted));
    assert_true(told("dr2 has not caught up")); /* it was rebuilt */
    feed((struct repl_event){.type = REPL_EV_FIT, .site = DR2, .fit = false});
    acked(DR2, 12);
    assert_false(list(promoted));
    assert_true(told("the state of dr2 differs from this site's"));
    feed((struct repl_event){.type = REPL_EV_FIT, .site = DR2, .fit = true});
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DR2});
    assert_false(list(promoted));
    assert_true(told("dr2 cannot be reached"));
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = DR2});
    acked(DR2, 12);
    acked(GSR, 12);
    assert_true(list(promoted));
}

static void a_majority_of_the_new_list_must_answer(void **state)
{
    (void)state;
    add_replica();
    assert_true(list(promoted));
    commit_by(DR);
    acked(DR2, 13);
    acked(GSR, 13);
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DR2});
    /* dc, dr and gsr answer: without dr two of three would. */
    assert_true(list((struct repl_members){.all = 13, .voters = 13, .electable = 9}));
    start_of(DC, (struct repl_members){.all = 7, .voters = 7, .electable = 3}, 10);
    serve();
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DR});
    assert_false(list((struct repl_members){.all = 7, .voters = 3, .electable = 3}));
    assert_true(told("1 of the 2 sites that would vote answer at present: that is no majority"));
}

static void a_replica_counts_for_nothing(void **state)
{
    (void)state;
    add_replica();
    propose();
    sealed();
    durable(13);
    acked(DR2, 13);
    assert_int_equal(r.commit.v, 12);
    assert_int_equal(repl_level_lsn(&r, LEVEL_DR, DR2, GSR).v, 12);
    now += 399;
    struct repl_message m = ack_of(DR2, 13);
    feed_message(&m, NULL);
    assert_true(repl_lease_valid(&r, now));
    now += 2;
    assert_false(repl_lease_valid(&r, now)); /* nobody who votes has answered since */
}

static void a_replica_neither_stands_nor_takes_over(void **state)
{
    (void)state;
    start_of(DR2, with_replica, 10);
    now += 5000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_STANDBY);
    feed((struct repl_event){.type = REPL_EV_FAILOVER});
    assert_true(told("this site has no vote: promote it first"));
    five(state);
    add_replica();
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = DR2});
    assert_true(told("dr2 has no vote: promote it first"));
    feed((struct repl_event){.type = REPL_EV_SWITCHOVER, .site = DR3});
    assert_true(told("dr3 is no member"));
}

static void only_voters_are_asked_and_only_their_votes_count(void **state)
{
    (void)state;
    start_of(DC, with_replica, 10);
    now += 1000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
    assert_non_null(sent(REPL_MSG_PREVOTE, DR));
    assert_null(sent(REPL_MSG_PREVOTE, DR2));
    struct repl_message yes = from(REPL_MSG_PREVOTE_REPLY, DR2);
    yes.term.v++;
    yes.granted = true;
    yes.round = r.attempt;
    feed_message(&yes, NULL);
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
}

/* It may have been given its vote by a list that has not come here. */
static void a_vote_is_given_without_a_look_at_the_own_list(void **state)
{
    (void)state;
    start_of(DR2, with_replica, 10);
    now += 1000;
    struct repl_message ask = from(REPL_MSG_VOTE, DR);
    ask.term.v = 2;
    ask.lsn.v = 10;
    ask.lsn_term.v = 1;
    feed_message(&ask, NULL);
    assert_true(sent(REPL_MSG_VOTE_REPLY, DR)->granted);
}

static void a_cut_list_gives_way_to_the_one_before(void **state)
{
    (void)state;
    start_of(DR, initial, 10);
    struct repl_entry_meta metas[] = {meta(11, 1, 1, &with_replica), meta(12, 1, 1, &promoted)};
    entries_from(DC, 10, 2, metas);
    assert_int_equal(r.list.lsn.v, 12);
    assert_int_equal(repl_majority(&r), 3);
    struct repl_entry_meta other[] = {meta(12, 2, 1, NULL)};
    r.term.v = 2;
    entries_from(GSR, 11, 1, other);
    assert_int_equal(r.list.lsn.v, 12); /* as long as it is in the log */
    exported();
    entries_from(GSR, 11, 1, other);
    assert_non_null(find(REPL_ACT_TRUNCATE, 0));
    assert_int_equal(r.list.lsn.v, 11);
    assert_int_equal(r.list.members.voters, 7);
}

static void a_list_that_was_followed_is_never_cut(void **state)
{
    (void)state;
    start_of(DR, initial, 10);
    struct repl_entry_meta metas[] = {meta(11, 1, 1, &with_replica), meta(12, 1, 1, &promoted)};
    entries_from(DC, 10, 2, metas);
    struct repl_entry_meta wrong[] = {meta(11, 2, 1, NULL)};
    r.term.v = 2;
    entries_from(GSR, 10, 1, wrong);
    assert_true(r.broken);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
}

/* gsr refuses with such an answer, since its log is longer: by a list in which dr does not vote, and dr fetches it. */
static void fetches_a_list_without_itself(enum repl_message_type refusal)
{
    struct repl_message no = from(refusal, GSR);
    no.round = refusal == REPL_MSG_PREVOTE_REPLY ? r.attempt : 0;
    no.lsn.v = 11;
    no.lsn_term.v = 1;
    feed_message(&no, NULL);
    assert_int_equal(r.fetch_from, GSR);
    struct repl_members without = {.all = 5, .voters = 5, .electable = 1};
    struct repl_entry_meta metas[] = {meta(11, 1, 1, &without)};
    struct repl_message tail = from(REPL_MSG_TAIL, GSR);
    tail.round = r.attempt;
    tail.lsn.v = 10;
    tail.lsn_term.v = 1;
    tail.last.v = 11;
    tail.last_term.v = 1;
    tail.count = 1;
    feed_message(&tail, metas);
}

static void who_loses_its_vote_in_what_it_fetches_stands_no_more(void **state)
{
    (void)state;
    start_of(DR, initial, 10);
    now += 1000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_PRE_CANDIDATE);
    fetches_a_list_without_itself(REPL_MSG_PREVOTE_REPLY);
    assert_int_equal(r.role, REPL_STANDBY);
    assert_int_equal(r.list.lsn.v, 11);
    now += 5000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_STANDBY);
}

static void a_removed_site_is_told_and_then_left_alone(void **state)
{
    (void)state;
    serve();
    struct repl_members without = {.all = 5, .voters = 5, .electable = 1};
    assert_true(list(without));
    assert_non_null(sent(REPL_MSG_ENTRIES, DR));
    filled(DR);
    filled(GSR);
    commit_by(GSR);
    now += 50;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_non_null(sent(REPL_MSG_ENTRIES, DR)); /* that it is committed */
    struct repl_message m = ack_of(DR, 12);
    m.applied.v = 12;
    feed_message(&m, NULL);
    now += 50;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_null(sent(REPL_MSG_ENTRIES, DR));
    assert_non_null(sent(REPL_MSG_ENTRIES, GSR));
    assert_true(repl_next_tick_ms(&r) > now);
}

static void who_joins_counts_nobody_until_it_has_a_list(void **state)
{
    (void)state;
    start_of(DR2, (struct repl_members){0}, 0);
    now += 5000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_STANDBY);
    struct repl_entry_meta metas[] = {meta(1, 1, 1, NULL), meta(2, 1, 1, &with_replica)};
    struct repl_message m = from(REPL_MSG_ENTRIES, DC);
    m.count = 2;
    m.round = 1;
    feed_message(&m, metas);
    assert_int_equal(r.list.lsn.v, 2);
    assert_int_equal(repl_count(r.list.members.voters), 3);
}

static void a_list_that_contradicts_itself_is_not_taken(void **state)
{
    (void)state;
    start_of(DR, initial, 10);
    struct repl_members bad[] = {{.all = 3, .voters = 7, .electable = 3},
                                 {.all = 7, .voters = 0, .electable = 3},
                                 {.all = 64, .voters = 64, .electable = 64}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct repl_entry_meta metas[] = {meta(11, 1, 1, &bad[i])};
        entries_from(DC, 10, 1, metas);
        assert_int_equal(r.log.last.v, 10);
    }
}

/* What it fetches before it is elected takes its vote: the operator is told, and it does not stand when the time comes. */
static void an_ordered_failover_ends_with_the_vote(void **state)
{
    (void)state;
    start_of(DR, initial, 10);
    now += 1000;
    feed((struct repl_event){.type = REPL_EV_FAILOVER});
    assert_int_equal(r.role, REPL_CANDIDATE);
    fetches_a_list_without_itself(REPL_MSG_VOTE_REPLY);
    const struct repl_action *told = find(REPL_ACT_SWITCHOVER, 0);
    assert_non_null(told);
    assert_false(told->granted);
    now += 5000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_STANDBY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIVE(a_list_is_in_force_before_it_is_committed),
        FIVE(a_change_waits_for_the_one_before),
        FIVE(a_change_waits_for_the_first_entry_of_the_term),
        FIVE(one_vote_changes_at_a_time),
        FIVE(the_primary_keeps_its_vote),
        FIVE(who_has_not_caught_up_gets_no_vote),
        FIVE(a_majority_of_the_new_list_must_answer),
        FIVE(a_replica_counts_for_nothing),
        FIVE(a_replica_neither_stands_nor_takes_over),
        FIVE(only_voters_are_asked_and_only_their_votes_count),
        FIVE(a_vote_is_given_without_a_look_at_the_own_list),
        FIVE(a_cut_list_gives_way_to_the_one_before),
        FIVE(a_list_that_was_followed_is_never_cut),
        FIVE(who_loses_its_vote_in_what_it_fetches_stands_no_more),
        FIVE(a_removed_site_is_told_and_then_left_alone),
        FIVE(who_joins_counts_nobody_until_it_has_a_list),
        FIVE(a_list_that_contradicts_itself_is_not_taken),
        FIVE(an_ordered_failover_ends_with_the_vote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
