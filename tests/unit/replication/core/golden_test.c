/* Golden traces: the classic scenarios, played on three sites of the real core in virtual time. The trace of the cluster is the
 * expected text, whole; a change of a decision, of its order or of its reason shows here. */
#include "tests/unit/replication/core/golden.h"
#include "tests/unit/replication/core/golden_traces.h"

static void the_first_election(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin(&w);
    run_for(s, 2000);
    expect(s, trace_first_election);
    end(s);
}

/* An entry is on the disks of dc and gsr, not at dr, when dc is lost: it is committed and must survive. */
static void dc_is_lost_and_dr_fetches_the_tail_from_gsr(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    uint64_t before = s->sites[SIM_DC].n;
    sim_cut(s, SIM_DC, SIM_DR, true);
    propose(s, SIM_DC, 3);
    run_for(s, 20);
    assert_int_equal(s->sites[SIM_DC].r->commit.v, before + 3);
    assert_int_equal(s->sites[SIM_DR].n, before);
    sim_site_crash(s, SIM_DC);
    run_for(s, 3000);
    assert_int_equal(sim_primary(s), SIM_DR);
    expect(s, trace_dc_lost);
    end(s);
}

static void a_switchover(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    propose(s, SIM_DC, 10);
    sim_site_post(s, SIM_DC,
                  &(struct sim_inbox){.type = REPL_EV_SWITCHOVER, .site = SIM_DR, .wait_ms = 5000});
    sim_site_run(s, SIM_DC);
    run_for(s, 500);
    assert_int_equal(sim_primary(s), SIM_DR);
    expect(s, trace_switchover);
    end(s);
}

static void a_switchover_that_nobody_answers_is_taken_back(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    sim_cut(s, SIM_DC, SIM_DR, true);
    sim_site_post(s, SIM_DC, &(struct sim_inbox){.type = REPL_EV_SWITCHOVER, .site = SIM_DR});
    sim_site_run(s, SIM_DC);
    run_for(s, 1300);
    sim_cut(s, SIM_DC, SIM_DR, false);
    run_for(s, 700);
    assert_int_equal(sim_primary(s), SIM_DC);
    expect(s, trace_switchover_taken_back);
    end(s);
}

/* dc can send to nobody, but hears everybody: it must step down by itself, and dr must take over. */
static void a_one_way_partition(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    sim_cut(s, SIM_DC, SIM_DR, true);
    sim_cut(s, SIM_DC, SIM_GSR, true);
    run_for(s, 3000);
    assert_int_equal(sim_primary(s), SIM_DR);
    sim_cut(s, SIM_DC, SIM_DR, false);
    sim_cut(s, SIM_DC, SIM_GSR, false);
    run_for(s, 1000);
    assert_true(sim_check_settled(s));
    expect(s, trace_one_way);
    end(s);
}

/* In local mode dc acknowledges entries that no other site has, and is lost. When it returns, they are exported, then cut. */
static void a_divergent_tail_rejoins(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    w.local = true;
    struct sim *s = begin_with_dc(&w);
    uint64_t before = s->sites[SIM_DC].n;
    sim_cut(s, SIM_DC, SIM_DR, true);
    sim_cut(s, SIM_DC, SIM_GSR, true);
    propose(s, SIM_DC, 4);
    run_for(s, 100);
    assert_int_equal(s->sites[SIM_DC].marks.visible.v, before + 4);
    uint32_t lost = s->sites[SIM_DC].ids[before];
    assert_false(s->entries[lost].exported);
    sim_site_crash(s, SIM_DC);
    sim_cut(s, SIM_DC, SIM_DR, false);
    sim_cut(s, SIM_DC, SIM_GSR, false);
    run_for(s, 2000);
    propose(s, SIM_DR, 2);
    run_for(s, 100);
    sim_site_start(s, SIM_DC);
    run_for(s, 1000);
    assert_true(sim_check_settled(s));
    assert_true(s->entries[lost].exported);
    assert_int_equal(s->truth.cut_entries, 4);
    expect(s, trace_rejoin);
    end(s);
}

/* dc's applier is stuck in the middle of what local mode has made visible; what dr has of it stays, the rest is cut. The state
 * then stands above what dc knows to be committed and below the cut: nothing is undone, and the marks stay sound. */
static void a_cut_above_what_was_applied_undoes_nothing(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    w.local = true;
    struct sim *s = begin_with_dc(&w);
    struct sim_site *dc = &s->sites[SIM_DC];
    uint64_t before = dc->n;
    sim_cut(s, SIM_DR, SIM_DC, true); /* dr and gsr hear dc, dc does not hear them */
    sim_cut(s, SIM_GSR, SIM_DC, true);
    propose(s, SIM_DC, 2);
    run_for(s, 50);
    assert_int_equal(dc->state.lsn, before + 2);
    assert_int_equal(dc->marks.commit.v, before);
    dc->full_until_us = s->now_us + 10000 * SIM_MS;
    sim_cut(s, SIM_DC, SIM_DR, true);
    sim_cut(s, SIM_DC, SIM_GSR, true);
    propose(s, SIM_DC, 2);
    run_for(s, 50);
    assert_int_equal(dc->marks.visible.v, before + 4);
    /* Now dc hears, but is not heard: dr's first entry comes before dr knows what is committed. */
    sim_cut(s, SIM_DR, SIM_DC, false);
    sim_cut(s, SIM_GSR, SIM_DC, false);
    run_for(s, 2000);
    assert_int_equal(sim_primary(s), SIM_DR);
    sim_cut(s, SIM_DC, SIM_DR, false);
    sim_cut(s, SIM_DC, SIM_GSR, false);
    run_for(s, 2000);
    assert_int_equal(s->truth.cut_entries, 2);
    assert_int_equal(s->truth.undone, 0);
    assert_int_equal(dc->state.lsn, before + 2);
    assert_true(sim_check_settled(s));
    end(s);
}

static void a_rebuilt_site_votes_again_when_it_has_caught_up(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    sim_site_crash(s, SIM_DR);
    sim_site_wipe(s, SIM_DR);
    sim_site_start(s, SIM_DR);
    assert_false(s->sites[SIM_DR].r->may_vote);
    run_for(s, 1000);
    assert_true(sim_check_settled(s));
    assert_true(s->sites[SIM_DR].disk_may_vote);
    expect(s, trace_rebuilt);
    end(s);
}

/* dr is elected while dc, cut off, still believes to be primary; dr's disk is lost, and it comes back to dc. If dc readmitted
 * it, the two would be a majority that has forgotten what dr and gsr have committed. */
static struct sim *play_a_stale_primary_meets_a_rebuilt_site(enum sim_mutant mutant)
{
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    s->mutant = mutant;
    for (uint8_t to = SIM_DR; to <= SIM_GSR; to++) {
        sim_cut(s, SIM_DC, to, true);
        sim_cut(s, to, SIM_DC, true);
    }
    sim_link_close(s, SIM_DC, SIM_DR, 1);
    sim_link_close(s, SIM_DC, SIM_GSR, 1);
    run_for(s, 560);
    assert_int_equal(sim_primary(s), SIM_DR);
    propose(s, SIM_DR, 3);
    run_for(s, 20);
    assert_int_equal(s->sites[SIM_DC].r->role, REPL_PRIMARY);
    sim_site_crash(s, SIM_DR);
    sim_site_wipe(s, SIM_DR);
    sim_site_start(s, SIM_DR);
    sim_cut(s, SIM_DC, SIM_DR, false);
    sim_cut(s, SIM_DR, SIM_DC, false);
    run_for(s, 2000);
    sim_cut(s, SIM_DC, SIM_GSR, false);
    sim_cut(s, SIM_GSR, SIM_DC, false);
    run_for(s, 3000);
    return s;
}

static void a_stale_primary_cannot_readmit_a_rebuilt_site(void **state)
{
    (void)state;
    struct sim *s = play_a_stale_primary_meets_a_rebuilt_site(MUTANT_NONE);
    assert_true(sim_check_settled(s));
    expect(s, trace_stale_readmission);
    end(s);
}

static void if_it_could_committed_entries_would_be_lost(void **state)
{
    (void)state;
    struct sim *s = play_a_stale_primary_meets_a_rebuilt_site(MUTANT_READMITTED_EARLY);
    assert_true(s->failed);
    assert_memory_equal(s->failure, "S4:", 3);
    sim_deinit(s);
    free(s);
}

/* dr2 follows as a replica, and hears dc alone, which dr and gsr have replaced. The age that dr2 claims then, in ms. */
static uint64_t play_a_replica_hears_a_primary_that_was_replaced(enum sim_mutant mutant)
{
    enum { DR2 = 3 };
    struct swarm w = sim_swarm_quiet();
    w.members = true;
    struct sim *s = begin_with_dc(&w);
    s->mutant = mutant;
    sim_site_post(s, SIM_DC,
                  &(struct sim_inbox){.type = REPL_EV_PROPOSE,
                                      .members = {.all = 15, .voters = 7, .electable = 11}});
    sim_site_run(s, SIM_DC);
    run_for(s, 300);
    const struct sim_site *replica = &s->sites[DR2];
    assert_in_range(freshness_age_us(&replica->freshness, sim_clock_ms(s, replica)), 0, 100000);
    for (uint8_t to = SIM_DR; to <= SIM_GSR; to++)
        for (uint8_t from = SIM_DC; from <= DR2; from += DR2) {
            sim_cut(s, from, to, true);
            sim_cut(s, to, from, true);
            sim_link_close(s, from, to, 1);
        }
    run_for(s, 650);
    assert_int_equal(sim_primary(s), SIM_DR);
    assert_int_equal(s->sites[SIM_DC].r->role, REPL_PRIMARY);
    assert_int_equal(replica->r->primary, SIM_DC);
    propose(s, SIM_DR, 3);
    run_for(s, 100);
    assert_true(s->sites[SIM_DR].view.commit.v > replica->state.lsn);
    uint64_t age_ms = freshness_age_us(&replica->freshness, sim_clock_ms(s, replica)) / 1000;
    end(s);
    return age_ms;
}

static void a_replica_does_not_believe_a_primary_that_was_replaced(void **state)
{
    (void)state;
    /* The lease ends 400 ms after the last round that dr or gsr answered: 350 ms ago, and a heartbeat or two before that. */
    assert_in_range(play_a_replica_hears_a_primary_that_was_replaced(MUTANT_NONE), 350, 500);
    assert_in_range(play_a_replica_hears_a_primary_that_was_replaced(MUTANT_AGE_OF_REPLACED), 0,
                    100);
}

/* dr2 and dr3 have caught up as replicas. In the moment in which dr and gsr are cut off, dc's operator gives both a vote at once:
 * dc, dr2 and dr3 would be three of the five in dc's list, dr and gsr are two of the three in theirs. */
static struct sim *play_two_votes_at_once(enum sim_mutant mutant)
{
    enum { DR3 = 4 };
    struct swarm w = sim_swarm_quiet();
    w.members = true;
    struct sim *s = begin_with_dc(&w);
    s->mutant = mutant;
    struct sim_inbox list = {.type = REPL_EV_PROPOSE,
                             .members = {.all = 31, .voters = 7, .electable = SIM_DATA}};
    sim_site_post(s, SIM_DC, &list);
    sim_site_run(s, SIM_DC);
    run_for(s, 500);
    assert_int_equal(s->sites[DR3].r->list.members.all, 31);
    for (uint8_t a = SIM_DR; a <= SIM_GSR; a++)
        for (uint8_t b = SIM_DC; b <= DR3; b = b == SIM_DC ? 3 : (uint8_t)(b + 1)) {
            sim_cut(s, a, b, true);
            sim_cut(s, b, a, true);
        }
    list.members.voters = 31;
    sim_site_post(s, SIM_DC, &list);
    sim_site_run(s, SIM_DC);
    run_for(s, 3000);
    return s;
}

static void two_votes_at_once_would_make_two_majorities(void **state)
{
    (void)state;
    struct sim *s = play_two_votes_at_once(MUTANT_NONE);
    assert_int_equal(s->sites[SIM_DC].r->list.members.voters, 7); /* refused */
    assert_int_equal(sim_primary(s), SIM_DR);
    end(s);
    s = play_two_votes_at_once(MUTANT_LIST_TWO_VOTES);
    assert_true(s->failed);
    assert_memory_equal(s->failure, "S4:", 3); /* committed by two majorities */
    sim_deinit(s);
    free(s);
}

static void an_operators_failover_deposes_a_live_primary(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    w.policy = REPL_MANUAL;
    struct sim *s = begin(&w);
    run_for(s, 2000);
    assert_int_equal(sim_primary(s), REPL_NOBODY);
    sim_site_post(s, SIM_DC, &(struct sim_inbox){.type = REPL_EV_FAILOVER});
    sim_site_run(s, SIM_DC);
    run_for(s, 1000);
    assert_int_equal(sim_primary(s), SIM_DC);
    sim_site_post(s, SIM_DR, &(struct sim_inbox){.type = REPL_EV_FAILOVER});
    sim_site_run(s, SIM_DR);
    run_for(s, 3000);
    assert_int_equal(sim_primary(s), SIM_DR);
    expect(s, trace_failover);
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_election),
        cmocka_unit_test(dc_is_lost_and_dr_fetches_the_tail_from_gsr),
        cmocka_unit_test(a_switchover),
        cmocka_unit_test(a_switchover_that_nobody_answers_is_taken_back),
        cmocka_unit_test(a_one_way_partition),
        cmocka_unit_test(a_divergent_tail_rejoins),
        cmocka_unit_test(a_cut_above_what_was_applied_undoes_nothing),
        cmocka_unit_test(a_rebuilt_site_votes_again_when_it_has_caught_up),
        cmocka_unit_test(a_replica_does_not_believe_a_primary_that_was_replaced),
        cmocka_unit_test(two_votes_at_once_would_make_two_majorities),
        cmocka_unit_test(a_stale_primary_cannot_readmit_a_rebuilt_site),
        cmocka_unit_test(if_it_could_committed_entries_would_be_lost),
        cmocka_unit_test(an_operators_failover_deposes_a_live_primary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
