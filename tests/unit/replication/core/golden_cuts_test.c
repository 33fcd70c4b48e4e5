/* Golden traces of cuts and of who comes back, and of what is ordered without a failure: see golden_test.c. */
#include "tests/unit/replication/core/golden.h"
#include "tests/unit/replication/core/golden_cuts_traces.h"

static void cut_off(struct sim *s, uint8_t site, bool on)
{
    for (uint8_t k = 0; k < SIM_FOUNDERS; k++) {
        if (k == site)
            continue;
        sim_cut(s, site, k, on);
        sim_cut(s, k, site, on);
    }
}

/* dc is cut off both ways with entries that nobody else has: it steps down, dr leads; dc returns and cuts what is its alone. */
static void a_partition_and_the_old_primary_returns(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    cut_off(s, SIM_DC, true);
    propose(s, SIM_DC, 2);
    run_for(s, 3000);
    assert_int_equal(s->sites[SIM_DC].r->role == REPL_PRIMARY, false);
    assert_int_equal(sim_primary(s), SIM_DR);
    propose(s, SIM_DR, 2);
    run_for(s, 100);
    cut_off(s, SIM_DC, false);
    run_for(s, 1000);
    assert_int_equal(s->truth.cut_entries, 2);
    assert_int_equal(sim_primary(s), SIM_DR);
    assert_true(sim_check_settled(s));
    expect(s, trace_partition);
    end(s);
}

/* dc crashes with an entry on its disk that was sent to nobody. Nobody was told that it is done, and it is not. */
static void a_primary_crashes_before_the_commit(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    uint64_t before = s->sites[SIM_DC].n;
    sim_cut(s, SIM_DC, SIM_DR, true);
    sim_cut(s, SIM_DC, SIM_GSR, true);
    propose(s, SIM_DC, 1);
    run_for(s, 20);
    assert_int_equal(s->sites[SIM_DC].stable, before + 1);
    assert_int_equal(s->sites[SIM_DC].marks.visible.v, before);
    sim_site_crash(s, SIM_DC);
    cut_off(s, SIM_DC, false);
    run_for(s, 2000);
    assert_int_equal(sim_primary(s), SIM_DR);
    sim_site_start(s, SIM_DC);
    run_for(s, 1000);
    assert_int_equal(s->truth.cut_entries, 1);
    assert_true(sim_check_settled(s));
    expect(s, trace_crash_before_commit);
    end(s);
}

/* dc crashes when gsr has its entry on disk as well, and nobody was told: it is committed, whoever leads next. */
static void a_primary_crashes_after_the_commit(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    uint64_t before = s->sites[SIM_DC].n;
    sim_cut(s, SIM_DC, SIM_DR, true);
    sim_cut(s, SIM_GSR, SIM_DC, true); /* its acknowledgement never arrives */
    propose(s, SIM_DC, 1);
    run_for(s, 20);
    assert_int_equal(s->sites[SIM_DC].marks.commit.v, before);
    assert_int_equal(s->sites[SIM_GSR].stable, before + 1);
    sim_site_crash(s, SIM_DC);
    cut_off(s, SIM_DC, false);
    run_for(s, 2000);
    assert_int_equal(sim_primary(s), SIM_DR);
    sim_site_start(s, SIM_DC);
    run_for(s, 1000);
    assert_int_equal(s->truth.cut_entries, 0);
    assert_true(sim_check_settled(s));
    expect(s, trace_crash_after_commit);
    end(s);
}

/* dr is cut off for long and comes back: it asks who would vote, is told that the primary is alive, and no term is lost. */
static void a_site_that_returns_disturbs_nobody(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    const uint64_t term = s->sites[SIM_DC].r->term.v;
    cut_off(s, SIM_DR, true);
    run_for(s, 2500);
    propose(s, SIM_DC, 2);
    cut_off(s, SIM_DR, false);
    run_for(s, 1500);
    assert_int_equal(sim_primary(s), SIM_DC);
    assert_int_equal(s->sites[SIM_DC].r->term.v, term);
    assert_int_equal(s->sites[SIM_DR].r->term.v, term);
    assert_true(sim_check_settled(s));
    expect(s, trace_returning_site);
    end(s);
}

/* Only the line between dc and dr is cut: dr follows through gsr, and nobody is elected. */
static void dc_and_dr_lose_each_other_and_gsr_hears_both(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    const uint64_t term = s->sites[SIM_DC].r->term.v, before = s->sites[SIM_DC].n;
    sim_cut(s, SIM_DC, SIM_DR, true);
    sim_cut(s, SIM_DR, SIM_DC, true);
    run_for(s, 1500);
    propose(s, SIM_DC, 3);
    run_for(s, 500);
    assert_int_equal(s->sites[SIM_DC].marks.commit.v, before + 3);
    assert_true(s->sites[SIM_DR].state.lsn >= before + 2); /* an entry behind, at most */
    sim_cut(s, SIM_DC, SIM_DR, false);
    sim_cut(s, SIM_DR, SIM_DC, false);
    run_for(s, 1000);
    assert_int_equal(sim_primary(s), SIM_DC);
    assert_int_equal(s->sites[SIM_DR].r->term.v, term);
    assert_true(sim_check_settled(s));
    expect(s, trace_relay);
    end(s);
}

static void order_members(struct sim *s, uint8_t all, uint8_t voters, uint8_t electable)
{
    const struct repl_members m = {.all = all, .voters = voters, .electable = electable};
    sim_site_post(s, SIM_DC, &(struct sim_inbox){.type = REPL_EV_PROPOSE, .members = m});
    sim_site_run(s, SIM_DC);
    run_for(s, 700);
    assert_true(sim_check_settled(s));
    const struct repl_members now = sim_members(s, &s->sites[SIM_DC]);
    assert_memory_equal(&now, &m, sizeof m);
}

/* dr2 joins, gets a vote when it has caught up, loses it, and leaves; a vote for who is no member yet is refused. */
static void a_site_joins_votes_and_leaves(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    w.members = true;
    struct sim *s = begin_with_dc(&w);
    const uint64_t before = s->sites[SIM_DC].n;
    sim_site_post(s, SIM_DC,
                  &(struct sim_inbox){.type = REPL_EV_PROPOSE,
                                      .members = {.all = 15, .voters = 15, .electable = 11}});
    sim_site_run(s, SIM_DC);
    assert_int_equal(s->sites[SIM_DC].n, before);
    order_members(s, 15, 7, 11);
    order_members(s, 15, 15, 11);
    order_members(s, 15, 7, 11);
    order_members(s, 7, 7, 3);
    expect(s, trace_members);
    end(s);
}

/* dc's disk crawls while those of the others do not: dc hands over, and loses nothing by it. */
static void a_primary_whose_disk_crawls_steps_aside(void **state)
{
    (void)state;
    struct swarm w = sim_swarm_quiet();
    struct sim *s = begin_with_dc(&w);
    run_for(s, SLOW_DISK_EVERY_MS + 1000);
    propose(s, SIM_DC, 1);
    run_for(s, 100);
    forget(s);
    s->sites[SIM_DC].crawls_until_us = s->now_us + 3000 * SIM_MS;
    propose(s, SIM_DC, 2);
    run_for(s, 6000);
    assert_int_equal(sim_primary(s), SIM_DR);
    assert_int_equal(s->truth.cut_entries, 0);
    assert_true(sim_check_settled(s));
    expect(s, trace_step_aside);
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_partition_and_the_old_primary_returns),
        cmocka_unit_test(a_primary_crashes_before_the_commit),
        cmocka_unit_test(a_primary_crashes_after_the_commit),
        cmocka_unit_test(a_site_that_returns_disturbs_nobody),
        cmocka_unit_test(dc_and_dr_lose_each_other_and_gsr_hears_both),
        cmocka_unit_test(a_site_joins_votes_and_leaves),
        cmocka_unit_test(a_primary_whose_disk_crawls_steps_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
