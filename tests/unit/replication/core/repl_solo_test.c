/* The last site goes on alone: when it is refused, what it does, and what becomes of those that were declared lost. */
#include "tests/unit/replication/core/repl_kit.h"

enum { TERM = 1000000001 };
static const struct repl_members alone = {.all = 2, .voters = 2, .electable = 2, .lost = 5};
static struct repl_event order;

/* dr, with ten entries of which seven are known to be committed; nobody is there. */
static int last_site(void **state)
{
    (void)state;
    now = 100000;
    start_at(DR, REPL_MANUAL, 10, 7);
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DC});
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = GSR});
    now += 1000; /* its own promise after a start is over */
    order = (struct repl_event){.type = REPL_EV_SOLO,
                                .position = {.lsn = {10}, .term = {1}, .hash = hash_of(10, 1)},
                                .term = {TERM},
                                .members = alone};
    return 0;
}
#define SOLO(f) cmocka_unit_test_setup(f, last_site)

static void refused(const char *why)
{
    struct term before = r.term;
    feed(order);
    const struct repl_action *a = find(REPL_ACT_SWITCHOVER, 0);
    assert_non_null(a);
    assert_false(a->granted);
    if (strstr(repl_text(&out, a), why) == NULL)
        fail_msg("'%s' does not say '%s'", repl_text(&out, a), why);
    assert_null(find(REPL_ACT_SAVE_VOTE, 0));
    assert_null(find(REPL_ACT_APPEND_OWN, 0));
    assert_true(r.role != REPL_PRIMARY);
    assert_int_equal(r.term.v, before.v);
}

static void go(void)
{
    feed(order);
    const struct repl_action *a = find(REPL_ACT_SWITCHOVER, 0);
    assert_non_null(a);
    if (!a->granted)
        fail_msg("%s", repl_text(&out, a));
}

static uint32_t index_of(enum repl_action_type type)
{
    for (uint32_t i = 0; i < out.n; i++)
        if (out.a[i].type == type)
            return i;
    fail();
    return 0;
}

static void one_entry_makes_it_the_only_voter_in_a_term_far_above(void **state)
{
    (void)state;
    go();
    const struct repl_action *own = find(REPL_ACT_APPEND_OWN, 0);
    assert_non_null(own);
    assert_int_equal(own->kind, ENTRY_MEMBERS);
    assert_int_equal(own->lsn.v, 11);
    assert_int_equal(own->term.v, TERM);
    assert_null(find(REPL_ACT_APPEND_OWN, 1));
    assert_true(index_of(REPL_ACT_SAVE_VOTE) < index_of(REPL_ACT_APPEND_OWN)); /* R1 */
    assert_int_equal(r.role, REPL_PRIMARY);
    assert_int_equal(r.voted_for, DR);
    assert_int_equal(r.list.members.lost, 5);
}

static void nothing_is_committed_before_the_list_is_durable(void **state)
{
    (void)state;
    struct repl_view v;
    go();
    sealed();
    repl_view(&r, &v);
    assert_int_equal(r.commit.v, 7);
    assert_false(v.serving);
    assert_false(repl_lease_valid(&r, now));
    durable(10);
    assert_int_equal(r.commit.v, 7);
    durable(11);
    repl_view(&r, &v);
    assert_int_equal(r.commit.v, 11); /* what its log had, too */
    assert_true(v.serving);
    assert_true(repl_lease_valid(&r, now));
    now += 3600000; /* and it stays so, with nobody to answer */
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_PRIMARY);
}

static void refused_while_a_lost_site_has_a_link(void **state)
{
    (void)state;
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = GSR});
    refused("gsr has a link to this site: it is not lost");
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = GSR});
    go();
}

static void refused_while_the_promise_to_a_primary_lasts(void **state)
{
    (void)state;
    struct repl_message m = from(REPL_MSG_ENTRIES, DC);
    m.lsn.v = 10;
    m.lsn_term.v = 1;
    m.round = 1;
    m.last.v = 10;
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = DC});
    feed_message(&m, NULL);
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DC});
    now += 499;
    refused("a primary may live that this site has answered");
    now += 1;
    go();
}

static void refused_just_after_a_start(void **state)
{
    (void)state;
    start_at(DR, REPL_MANUAL, 10, 7);
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DC});
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = GSR});
    refused("a primary may live"); /* R4: it does not know what it promised before */
}

static void refused_when_the_log_ends_elsewhere(void **state)
{
    (void)state;
    order.position.lsn.v = 9;
    refused("ends at 1/10, the order says 1/9");
    order.position.lsn.v = 10;
    order.position.term.v = 2;
    refused("the order says 2/10");
    order.position.term.v = 1;
    order.position.hash = hash_of(10, 3);
    refused("or another entry there");
}

static void refused_in_a_term_that_is_not_above(void **state)
{
    (void)state;
    order.term = r.term;
    refused("term 1 is ordered, and this site is in term 1");
    order.term.v = REPL_NUMBER_MAX;
    refused("is ordered");
}

static void refused_by_a_list_that_leaves_anybody_else_a_vote(void **state)
{
    (void)state;
    static const struct repl_members lists[] = {
        {.all = 3, .voters = 3, .electable = 3, .lost = 4},
        {.all = 3, .voters = 2, .electable = 3, .lost = 4},
        {.all = 2, .voters = 2, .electable = 2, .lost = 4},
        {.all = 1, .voters = 1, .electable = 1, .lost = 6},
        {.all = 2, .voters = 2, .electable = 0, .lost = 5},
        {.all = 7, .voters = 2, .electable = 3, .lost = 5},
        {.all = 2, .voters = 0, .electable = 2, .lost = 5},
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        order.members = lists[i];
        refused("the list of members is not the one in force");
    }
}

static void refused_by_a_site_that_may_not_lead(void **state)
{
    (void)state;
    feed((struct repl_event){.type = REPL_EV_FIT, .site = DR, .fit = false});
    refused("the state of this site differs");
    feed((struct repl_event){.type = REPL_EV_FIT, .site = DR, .fit = true});
    feed((struct repl_event){.type = REPL_EV_TICK, .full = true});
    refused("the log of this site takes no more");
    feed((struct repl_event){.type = REPL_EV_TICK});
    r.may_vote = false;
    refused("this site was rebuilt");
    r.may_vote = true;
    r.broken = true;
    refused("this site is broken");
    r.broken = false;
    r.lost = true;
    refused("was itself declared lost");
    now = 100000;
    start_at(GSR, REPL_MANUAL, 10, 7);
    now += 1000;
    order.members = (struct repl_members){.all = 4, .voters = 4, .lost = 3};
    refused("this site never becomes primary");
}

static void an_order_that_was_carried_out_does_nothing_again(void **state)
{
    (void)state;
    go();
    feed(order);
    assert_false(find(REPL_ACT_SWITCHOVER, 0)->granted);
    start_at(DR, REPL_MANUAL, 10, 10); /* the crash before the list was durable: the term was */
    r.term.v = TERM;
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DC});
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = GSR});
    now += 1000;
    refused("term 1000000001 is ordered, and this site is in term 1000000001");
}

/* ---- who was declared lost comes back ---- */

static void serve_alone(void)
{
    go();
    sealed();
    durable(11);
}

static void lost_sites_are_told_and_not_listened_to(void **state)
{
    (void)state;
    serve_alone();
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = DC});
    const struct repl_message *m = sent(REPL_MSG_ENTRIES, DC);
    assert_non_null(m);
    assert_true(m->lost);
    assert_int_equal(m->readmit, 0);
    static const enum repl_message_type types[] = {
        REPL_MSG_PREVOTE, REPL_MSG_VOTE, REPL_MSG_VOTE_REPLY, REPL_MSG_ENTRIES,
        REPL_MSG_ACK,     REPL_MSG_PULL, REPL_MSG_FETCH};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct repl_message claim = from(types[i], DC);
        claim.term.v = TERM - 1; /* above all that it could come to by itself */
        claim.lsn.v = 50;
        claim.lsn_term.v = 7;
        claim.last.v = 50;
        feed_message(&claim, NULL);
        assert_int_equal(r.term.v, TERM);
        assert_int_equal(r.role, REPL_PRIMARY);
        assert_null(find(REPL_ACT_SEND, 0));
    }
}

static void what_a_lost_site_has_counts_for_nothing(void **state)
{
    (void)state;
    serve_alone();
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = DC});
    propose();
    sealed();
    struct repl_message m = ack_of(DC, 12);
    feed_message(&m, NULL);
    assert_int_equal(r.commit.v, 11);
    assert_int_equal(repl_level_lsn(&r, LEVEL_DR, DC, GSR).v, 0);
    durable(12);
    assert_int_equal(r.commit.v, 12);
}

static bool list(struct repl_members m)
{
    feed((struct repl_event){.type = REPL_EV_PROPOSE, .kind = ENTRY_MEMBERS, .members = m});
    return find(REPL_ACT_APPEND_OWN, 0) != NULL;
}

static void it_is_a_member_again_when_it_has_given_up_its_vote_and_follows(void **state)
{
    (void)state;
    static const struct repl_members with_dc = {.all = 3, .voters = 2, .electable = 3, .lost = 4};
    serve_alone();
    assert_false(list(with_dc)); /* never heard */
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = DC});
    assert_false(list(with_dc));
    struct repl_message m = ack_of(DC, 11);
    feed_message(&m, NULL); /* it still calls itself a voter */
    assert_false(list(with_dc));
    m = ack_of(DC, 10);
    m.counts = false;
    m.round = r.round;
    feed_message(&m, NULL); /* it has not the list yet: its log may be another */
    r.peers[DC].match.v = 10;
    assert_false(list(with_dc));
    r.peers[DC].flow = REPL_FLOW_REFILL; /* it needs what only a member is given */
    struct repl kept = r;
    assert_true(list(with_dc));
    r = kept;
    r.peers[DC].flow = REPL_FLOW_STREAM;
    m = ack_of(DC, 11);
    m.counts = false;
    feed_message(&m, NULL);
    assert_false(list((struct repl_members){.all = 2, .voters = 2, .electable = 2, .lost = 4}));
    assert_true(list(with_dc));
    assert_int_equal(r.list.members.lost, 4);
    feed((struct repl_event){.type = REPL_EV_PEER_DOWN, .site = DC});
    feed((struct repl_event){.type = REPL_EV_PEER_UP, .site = DC});
    assert_false(sent(REPL_MSG_ENTRIES, DC)->lost);
}

/* dc, with a log of ten entries of term 1, hears dr, whose first entry alone is `at`. */
static struct repl_message word_of_dr(uint64_t before, uint64_t before_term, uint32_t n,
                                      struct repl_entry_meta *metas)
{
    struct repl_message m = {.type = REPL_MSG_ENTRIES,
                             .from = DR,
                             .to = DC,
                             .term = {TERM},
                             .incarnation = 1,
                             .lsn = {before},
                             .lsn_term = {before_term},
                             .hash = hash_of(before, before_term),
                             .last = {before + n},
                             .last_term = {TERM},
                             .round = r.seen_round + 1,
                             .count = n,
                             .lost = true};
    for (uint32_t i = 0; i < n; i++)
        metas[i] = (struct repl_entry_meta){{before + 1 + i},
                                            {TERM},
                                            ENTRY_TXN,
                                            hash_of(before + 1 + i, TERM),
                                            hash_of(before + i, i == 0 ? before_term : TERM),
                                            {0}};
    if (n > 0) {
        metas[0].kind = ENTRY_MEMBERS;
        metas[0].members = alone;
    }
    return m;
}

static void who_hears_that_it_was_declared_lost_has_no_vote_from_then_on(void **state)
{
    (void)state;
    struct repl_entry_meta metas[2];
    struct repl_message m = word_of_dr(10, 1, 1, metas);
    feed_message(&m, metas);
    /* the term without a vote: a crash between the two would leave a voter in it */
    const struct repl_action *saved = find(REPL_ACT_SAVE_VOTE, 0);
    assert_non_null(saved);
    assert_int_equal(saved->term.v, TERM);
    assert_false(saved->granted);
    durable(11);
    const struct repl_message *answer = sent(REPL_MSG_ACK, DR);
    assert_non_null(answer);
    assert_false(answer->counts);
    m = from(REPL_MSG_VOTE, GSR);
    m.term.v = TERM + 1;
    m.lsn.v = 50;
    m.lsn_term.v = TERM;
    now += 10000;
    feed_message(&m, NULL);
    assert_false(sent(REPL_MSG_VOTE_REPLY, GSR)->granted);
    m.term.v = TERM - 1; /* gsr was declared lost, too, and does not know */
    feed_message(&m, NULL);
    assert_null(sent(REPL_MSG_VOTE_REPLY, GSR));
    feed((struct repl_event){.type = REPL_EV_TICK});
    now += 10000;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(r.role, REPL_STANDBY);
}

static void a_late_word_of_before_it_was_added_again_takes_no_vote(void **state)
{
    (void)state;
    struct repl_entry_meta metas[2];
    struct repl_message m = word_of_dr(10, 1, 1, metas), late = m;
    feed_message(&m, metas);
    assert_false(r.may_vote);
    m = word_of_dr(11, TERM, 0, metas);
    m.lost = false;
    m.readmit = 1;
    m.round = 9;
    feed_message(&m, NULL);
    assert_true(r.may_vote);
    feed_message(&late, metas);
    assert_true(r.may_vote);
}

static void what_it_has_beyond_is_cut_where_nobody_committed_it(void **state)
{
    (void)state;
    struct repl_entry_meta metas[2];
    start_at(DC, REPL_AUTOMATIC, 10, 7);
    struct repl_message m = word_of_dr(8, 1, 1, metas);
    feed_message_that_cuts(&m, metas);
    assert_int_equal(find(REPL_ACT_TRUNCATE, 0)->lsn.v, 8);
    assert_int_equal(r.log.last.v, 9);
    assert_int_equal(r.list.members.lost, 5);
    assert_false(r.broken);
}

static void what_it_has_committed_beyond_is_exported_and_stays(void **state)
{
    (void)state;
    struct repl_entry_meta metas[2];
    struct repl_message m = word_of_dr(8, 1, 1, metas);
    feed_message(&m, metas);
    assert_null(find(REPL_ACT_TRUNCATE, 0));
    assert_int_equal(find(REPL_ACT_EXPORT, 0)->lsn.v, 8);
    assert_false(find(REPL_ACT_EXPORT, 0)->granted); /* nothing will be cut */
    assert_true(r.broken);
    assert_false(r.may_vote);
    assert_int_equal(r.log.last.v, 10);
}

/* The primary begins anywhere; the place where the histories part is below what is committed here. */
static void where_the_histories_part_is_found_below_the_commit_index(void **state)
{
    (void)state;
    struct repl_entry_meta metas[2];
    struct repl_message m = word_of_dr(9, TERM, 0, metas);
    feed_message(&m, metas);
    assert_false(r.broken);
    const struct repl_message *answer = sent(REPL_MSG_ACK, DR);
    assert_true(answer->rejected);
    assert_int_equal(answer->lsn.v, 8);
    m.lost = false; /* where it was not, and has its vote, it is a contradiction at once */
    r.may_vote = true;
    m.round++;
    feed_message(&m, metas);
    assert_true(r.broken);
}

/* dr, whose log does not reach back so far, says only that dc is lost; gsr hears dr and has the new history. */
static struct repl_message refused_by_gsr(uint64_t lsn, uint64_t term)
{
    struct repl_message m = from(REPL_MSG_GIVE, GSR);
    m.term.v = TERM;
    m.rejected = m.granted = true;
    m.round = r.relay.round;
    m.lsn.v = lsn;
    m.lsn_term.v = term;
    m.hash = hash_of(lsn, term);
    return m;
}

static void where_the_histories_part_is_asked_of_others_when_the_primary_cannot_tell(void **state)
{
    (void)state;
    struct repl_entry_meta metas[2];
    struct repl_message m = word_of_dr(20, TERM, 0, metas);
    m.rejected = true; /* begins with 20 */
    m.commit.v = 20;
    feed_message(&m, NULL);
    m.lost = false; /* added again meanwhile, as one without a vote */
    m.round++;
    now += 20;
    feed_message(&m, NULL);
    now++;
    feed((struct repl_event){.type = REPL_EV_TICK});
    assert_int_equal(sent(REPL_MSG_PULL, GSR)->lsn.v, 10);
    m = refused_by_gsr(10, TERM);
    m.granted = false; /* whoever hears no primary may be lost, too */
    feed_message(&m, NULL);
    assert_false(r.broken);
    while (r.relay.from != GSR && !r.broken) {
        now += 50;
        feed((struct repl_event){.type = REPL_EV_TICK});
    }
    m = refused_by_gsr(10, TERM);
    feed_message(&m, NULL);
    const struct repl_message *below = sent(REPL_MSG_PULL, GSR);
    assert_non_null(below);
    assert_int_equal(below->lsn.v, 9);
    m = refused_by_gsr(9, TERM);
    feed_message(&m, NULL);
    below = sent(REPL_MSG_PULL, GSR);
    assert_int_equal(below->lsn.v, 8);
    m = refused_by_gsr(8, 1);
    m.rejected = false; /* here they agree */
    m.count = 2;
    m.last.v = m.commit.v = 20;
    for (uint64_t i = 0; i < 2; i++)
        metas[i] = (struct repl_entry_meta){
            {9 + i}, {TERM}, ENTRY_TXN, hash_of(9 + i, TERM), hash_of(8 + i, i == 0 ? 1 : TERM),
            {0}};
    feed_message(&m, metas);
    assert_true(r.broken);
    assert_int_equal(find(REPL_ACT_EXPORT, 0)->lsn.v, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SOLO(one_entry_makes_it_the_only_voter_in_a_term_far_above),
        SOLO(nothing_is_committed_before_the_list_is_durable),
        SOLO(refused_while_a_lost_site_has_a_link),
        SOLO(refused_while_the_promise_to_a_primary_lasts),
        SOLO(refused_just_after_a_start),
        SOLO(refused_when_the_log_ends_elsewhere),
        SOLO(refused_in_a_term_that_is_not_above),
        SOLO(refused_by_a_list_that_leaves_anybody_else_a_vote),
        SOLO(refused_by_a_site_that_may_not_lead),
        SOLO(an_order_that_was_carried_out_does_nothing_again),
        SOLO(lost_sites_are_told_and_not_listened_to),
        SOLO(what_a_lost_site_has_counts_for_nothing),
        SOLO(it_is_a_member_again_when_it_has_given_up_its_vote_and_follows),
        TEST(who_hears_that_it_was_declared_lost_has_no_vote_from_then_on),
        TEST(a_late_word_of_before_it_was_added_again_takes_no_vote),
        TEST(what_it_has_beyond_is_cut_where_nobody_committed_it),
        TEST(what_it_has_committed_beyond_is_exported_and_stays),
        TEST(where_the_histories_part_is_found_below_the_commit_index),
        TEST(where_the_histories_part_is_asked_of_others_when_the_primary_cannot_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
