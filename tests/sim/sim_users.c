/* Those who act on the sites: the operator, the repository that refills, and misfortune. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

/* ---- operator and repository ---- */

uint8_t sim_primary(const struct sim *s)
{
    for (uint8_t i = 0; i < s->sites_n; i++) {
        const struct sim_site *site = &s->sites[i];
        if (site->alive && !site->paused && repl_lease_valid(site->r, sim_clock_ms(s, site)))
            return i;
    }
    return REPL_NOBODY;
}

/* Does the one's log go on from nothing that the other has? */
static bool begins_beyond(const struct sim_site *behind, const struct sim_site *from)
{
    uint64_t first = from->first;
    return behind->n < first ||
           (first > behind->first && behind->ids[first - 1] != from->ids[first - 1]);
}

/* ... and nothing that any other has? */
static bool is_lost(const struct sim *s, uint8_t i)
{
    for (uint8_t k = 0; k < s->sites_n; k++)
        if (k != i && k != s->outcast && s->sites[k].alive && s->sites[k].n > s->sites[i].first &&
            !begins_beyond(&s->sites[i], &s->sites[k]))
            return false;
    return true;
}

void sim_repository_serves(struct sim *s)
{
    uint8_t primary = sim_primary(s);
    for (uint8_t i = 0; i < s->sites_n; i++) {
        for (uint8_t from = 0; from < s->sites_n; from++) {
            /* A data site is refilled by the repository itself, while that one is there (repl_relay.c). */
            bool by_itself = i != SIM_GSR && (!s->calm || s->outcast != SIM_GSR);
            if (from == i || !s->sites[i].alive || s->sites[i].blocked || by_itself)
                continue;
            /* Without one that serves, nobody may be able to lead before the one behind is refilled. */
            const struct repl *r = s->sites[from].r;
            bool asks = r->role == REPL_PRIMARY && r->peers[i].flow == REPL_FLOW_REFILL;
            bool behind =
                from == primary
                    ? asks
                    : s->calm && s->sites[from].alive &&
                          (asks || (begins_beyond(&s->sites[i], &s->sites[from]) && is_lost(s, i)));
            if (behind && repl_in(sim_members(s, &s->sites[from]).all, i))
                sim_site_refill(s, i, from);
        }
    }
    if (s->wiped != REPL_NOBODY && s->sites[s->wiped].disk_may_vote) {
        s->sites[s->wiped].former_n = 0;
        s->wiped = REPL_NOBODY;
    }
    if (s->calm && primary == REPL_NOBODY && s->swarm.policy != REPL_AUTOMATIC &&
        sim_rng_chance(&s->fault, 50000)) {
        uint8_t to = (uint8_t)sim_rng_below(&s->fault, 2);
        if (s->sites[to].alive && to != s->outcast) {
            sim_site_post(s, to, &(struct sim_inbox){.type = REPL_EV_FAILOVER});
            sim_site_run(s, to);
        }
    }
}

static void operator_acts(struct sim *s)
{
    uint8_t primary = sim_primary(s);
    uint8_t site = (uint8_t)sim_rng_below(&s->fault, s->sites_n);
    struct sim_inbox e = {.type = REPL_EV_SWITCHOVER};
    switch (sim_rng_below(&s->fault, 4)) {
    case 0:
        e.type = REPL_EV_FAILOVER;
        break;
    case 1:
        e.site = REPL_NOBODY;
        break;
    default:
        e.site = (uint8_t)sim_rng_below(&s->fault, s->sites_n);
        break;
    }
    if (e.type == REPL_EV_SWITCHOVER && primary != REPL_NOBODY)
        site = primary;
    static const uint32_t waits_ms[] = {0, 200, 1000, 5000};
    e.wait_ms =
        waits_ms[(s->now_us ^ s->now_us >> 9) % 4]; /* no draw of its own, see judge_some() */
    sim_order(s, site, &e);
    /* What an operator asks for often comes in the middle of something else. */
    for (uint8_t k = 0; s->swarm.clog && k < s->sites_n; k++)
        if (sim_rng_chance(&s->fault, 300000))
            s->clogged_until_us[k]
                               [(k + 1 + sim_rng_below(&s->fault, s->sites_n - 1u)) % s->sites_n] =
                s->now_us + sim_rng_between(&s->fault, 100, 2500) * SIM_MS;
}

/* Somebody has compared the states. The others are told as well, as the primary's site tells its own core of each. */
void sim_judge(struct sim *s, uint8_t site, bool fit)
{
    if (s->sites[site].unfit == !fit)
        return;
    s->sites[site].unfit = !fit;
    sim_say(s, site, "its state is found to be %s", fit ? "equal again" : "another one");
    for (uint8_t i = 0; i < s->sites_n; i++)
        if (s->sites[i].alive) {
            sim_site_post(s, i, &(struct sim_inbox){.type = REPL_EV_FIT, .site = site, .fit = fit});
            sim_site_run(s, i);
        }
}

static void judge_some(struct sim *s)
{
    /* No draw of its own: the seeds of before stay the stories that they were, up to the first judgement. */
    const uint64_t h = (s->now_us ^ s->now_us >> 17) * 0x9e3779b97f4a7c15u;
    if (h >> 61 == 0)
        sim_judge(s, (uint8_t)((h >> 40) % s->sites_n), (h >> 50 & 1) != 0);
}

static void change_mode(struct sim *s)
{
    uint8_t primary = sim_primary(s);
    if (primary == REPL_NOBODY || !sim_has_room(s, &s->sites[primary]))
        return;
    enum commit_mode mode = sim_rng_chance(&s->fault, 500000) ? COMMIT_LOCAL : COMMIT_MAJORITY;
    sim_say(s, primary, "operator: commit mode %s", commit_mode_name(mode));
    sim_site_post(s, primary, &(struct sim_inbox){.type = REPL_EV_PROPOSE, .mode = mode});
    sim_site_run(s, primary);
}

/* ---- misfortune ---- */

static void pause_some(struct sim *s, uint8_t site)
{
    struct sim_site *victim = &s->sites[site];
    if (!victim->alive || victim->paused)
        return;
    victim->paused = true;
    victim->paused_at_us = s->now_us;
    sim_say(s, site, "process is paused");
    sim_at(s, s->now_us + sim_rng_between(&s->fault, 20, 3000) * SIM_MS, SIM_EV_UNPAUSE, site, 0);
}

static void cut_for(struct sim *s, uint8_t from, uint8_t to, uint64_t us)
{
    sim_cut(s, from, to, true);
    sim_at(s, s->now_us + us, SIM_EV_HEAL, from, to);
    if (sim_rng_chance(&s->fault, 500000))
        sim_link_close(s, from, to, 1000 * SIM_MS);
}

static void isolate_some(struct sim *s, uint8_t site)
{
    uint64_t us = sim_rng_between(&s->fault, 50, 4000) * SIM_MS;
    for (uint8_t k = 0; k < s->sites_n; k++) {
        if (k == site)
            continue;
        cut_for(s, site, k, us);
        cut_for(s, k, site, us);
    }
}

/* A second disk is lost only after the first site has been rebuilt: two lost disks are beyond the promise. A disk of a
 * local-mode primary takes acknowledged entries along that nothing can list, so these seeds keep theirs. */
static bool disk_may_be_lost(const struct sim *s)
{
    if (!s->swarm.wipe || s->wiped != REPL_NOBODY || s->swarm.local || s->swarm.mode_changes)
        return false;
    for (uint8_t k = 0; k < s->sites_n; k++)
        if (!s->sites[k].disk_may_vote && !s->sites[k].joins)
            return false;
    return sim_members_suffice(s, REPL_NOBODY);
}

void sim_crash_some(struct sim *s, uint8_t site, enum sim_crash how)
{
    bool wipe =
        (how == SIM_CRASH_WITH_DISK || how == SIM_CRASH_QUICK_WITH_DISK) && disk_may_be_lost(s);
    sim_site_crash(s, site);
    if (wipe) {
        sim_site_wipe(s, site);
        s->wiped = site;
    }
    bool quick = how == SIM_CRASH_QUICK || how == SIM_CRASH_QUICK_WITH_DISK;
    uint64_t down =
        quick ? sim_rng_between(&s->fault, 1, 20) * SIM_MS : sim_restart_delay_us(&s->fault);
    sim_at(s, s->now_us + down, SIM_EV_RESTART, site, 0);
}

void sim_election_fault(struct sim *s, uint8_t site)
{
    if (s->calm || !s->swarm.at_election || sim_rng_chance(&s->fault, 300000))
        return;
    for (uint64_t n = sim_rng_between(&s->fault, 1, 2); n > 0; n--) {
        uint8_t victim = sim_rng_chance(&s->fault, 500000)
                             ? site
                             : (uint8_t)sim_rng_below(&s->fault, s->sites_n);
        uint64_t at = s->now_us +
                      sim_rng_below(&s->fault, sim_rng_chance(&s->fault, 500000) ? 20000 : 400000);
        if (sim_rng_chance(&s->fault, 300000))
            s->sites[(site + 1) % s->sites_n].disk_slow = true;
        sim_at(s, at, SIM_EV_CRASH, victim,
               sim_rng_chance(&s->fault, 300000) ? SIM_CRASH_WITH_DISK : SIM_CRASH_PLAIN);
    }
}

/* The data sites lose each other, one asks for votes, and the witness, on whose word the other's lease rests, restarts. */
static void witness_blinks(struct sim *s)
{
    uint64_t us = sim_rng_between(&s->fault, 800, 2500) * SIM_MS;
    cut_for(s, SIM_DC, SIM_DR, us);
    cut_for(s, SIM_DR, SIM_DC, us);
    sim_at(s, s->now_us + sim_rng_between(&s->fault, 500 * SIM_MS, us), SIM_EV_CRASH, SIM_GSR,
           SIM_CRASH_QUICK);
}

/* ---- plots: misfortunes that do harm only together ---- */

/* Entries reach one site alone; that one loses its disk, and gets none back, before the primary is lost as well. */
static void plot_rebuilt_and_behind(struct sim *s, uint8_t primary)
{
    uint8_t other = (uint8_t)(1 - primary);
    uint64_t wiped = s->now_us + sim_rng_between(&s->plot, 100, 800) * SIM_MS,
             lost = wiped + sim_rng_between(&s->plot, 300, 2500) * SIM_MS;
    s->hole_until_us[primary][SIM_GSR] = s->one_by_one_until_us = lost + 500 * SIM_MS;
    sim_at(s, wiped, SIM_EV_CRASH, other, SIM_CRASH_WITH_DISK);
    sim_at(s, wiped, SIM_EV_HOLE, primary, (uint32_t)((lost - wiped) / SIM_MS) + 500);
    sim_at(s, lost, SIM_EV_CRASH, primary, SIM_CRASH_PLAIN);
}

/* A cut-off primary is replaced, does not know it yet, and meets its successor again, which has forgotten everything. */
static void plot_stale_primary_meets_rebuilt(struct sim *s, uint8_t primary)
{
    uint8_t other = (uint8_t)(1 - primary);
    uint64_t us = sim_rng_between(&s->plot, 550, 1000) * SIM_MS;
    for (uint8_t k = 0; k < s->sites_n; k++) {
        if (k == primary)
            continue;
        sim_cut(s, primary, k, true);
        sim_cut(s, k, primary, true);
        uint64_t heal = s->now_us + (k == other ? us : us + 2000 * SIM_MS);
        sim_at(s, heal, SIM_EV_HEAL, primary, k);
        sim_at(s, heal, SIM_EV_HEAL, k, primary);
        sim_link_close(s, primary, k, 2 * SIM_MS);
    }
    sim_at(s, s->now_us + us, SIM_EV_CRASH, other, SIM_CRASH_QUICK_WITH_DISK);
}

/* An entry of one term is at one site alone, one of the next term at another; then the first site leads again, spreads the old
 * entry, and is lost before its own one follows (Ongaro, thesis, figure 3.7). */
static void plot_three_terms(struct sim *s, uint8_t primary)
{
    s->three_terms.stage = 1;
    s->three_terms.first = primary;
    for (uint8_t k = 0; k < s->sites_n; k++)
        s->hole_until_us[primary][k] = s->now_us + 300 * SIM_MS;
    sim_at(s, s->now_us + sim_rng_between(&s->plot, 50, 300) * SIM_MS, SIM_EV_CRASH, primary,
           SIM_CRASH_PLAIN);
}

void sim_plot_election(struct sim *s, uint8_t site)
{
    uint32_t stage = s->three_terms.stage;
    bool expected = (stage == 1 && site != s->three_terms.first) ||
                    (stage == 2 && site == s->three_terms.first);
    if (stage == 0 || s->calm)
        return;
    s->three_terms.stage = expected && stage == 1 ? 2 : 0;
    if (!expected)
        return;
    if (stage == 1) {
        for (uint8_t k = 0; k < s->sites_n; k++)
            s->hole_until_us[site][k] = s->now_us + 300 * SIM_MS;
    } else {
        s->one_by_one_until_us = s->now_us + 200 * SIM_MS;
    }
    sim_at(s, s->now_us + sim_rng_below(&s->plot, stage == 1 ? 200000 : 40000), SIM_EV_CRASH, site,
           SIM_CRASH_PLAIN);
}

/* Faults of later invention have a stream of their own: the seeds of before stay the stories that they were, up to the first. */
static void later_fault(struct sim *s)
{
    struct sim_site *site = &s->sites[sim_rng_below(&s->plot, s->sites_n)];
    uint64_t until = s->now_us + sim_rng_between(&s->plot, 100, 4000) * SIM_MS;
    switch (sim_rng_below(&s->plot, 6)) {
    case 0:
        if (s->swarm.log_full)
            site->log_full_until_us = until;
        break;
    case 1:
        if (s->swarm.unreadable)
            site->unreadable_until_us = until;
        break;
    case 2:
        if (!s->swarm.strangers)
            break;
        site->stranger_until_us = until;
        for (uint8_t k = 0; k < s->sites_n; k++)
            if (&s->sites[k] != site)
                sim_link_close(s, (uint8_t)(site - s->sites), k, 2 * SIM_MS);
        break;
    }
}

static void plot(struct sim *s)
{
    uint8_t primary = sim_primary(s);
    if (primary == REPL_NOBODY || !sim_rng_chance(&s->plot, 300000) || primary > SIM_DR)
        return;
    uint64_t which = sim_rng_below(&s->plot, 3);
    if (which == 0)
        plot_three_terms(s, primary);
    else if (which == 1)
        plot_rebuilt_and_behind(s, primary);
    else
        plot_stale_primary_meets_rebuilt(s, primary);
}

static void one_fault(struct sim *s)
{
    const struct swarm *w = &s->swarm;
    uint8_t site = (uint8_t)sim_rng_below(&s->fault, s->sites_n);
    uint8_t other = (uint8_t)((site + sim_rng_between(&s->fault, 1, s->sites_n - 1u)) % s->sites_n);
    struct sim_site *victim = &s->sites[site];
    switch (sim_rng_below(&s->fault, 13)) {
    case 0:
        if (w->crash)
            sim_crash_some(s, site, SIM_CRASH_PLAIN);
        break;
    case 1:
        if (w->pause)
            pause_some(s, site);
        break;
    case 2:
        if (w->cut)
            cut_for(s, site, other, sim_rng_between(&s->fault, 50, 4000) * SIM_MS);
        break;
    case 3:
        if (w->isolate)
            isolate_some(s, site);
        break;
    case 4:
        if (w->reset)
            sim_link_close(s, site, other,
                           sim_rng_chance(&s->fault, 500000) ? 2 * SIM_MS : 800 * SIM_MS);
        break;
    case 5:
        if (w->slow_disk) {
            victim->disk_slow = true;
            if (sim_rng_chance(&s->fault, 500000))
                victim->full_until_us = s->now_us + sim_rng_between(&s->fault, 200, 5000) * SIM_MS;
            sim_at(s, s->now_us + sim_rng_between(&s->fault, 50, 3000) * SIM_MS, SIM_EV_DISK_FAST,
                   site, 0);
        }
        break;
    case 6:
        if (w->wipe)
            sim_crash_some(s, site, SIM_CRASH_WITH_DISK);
        break;
    case 7:
        if (w->crash)
            sim_crash_some(s, site, SIM_CRASH_QUICK);
        break;
    case 8:
    case 11:
        if (w->operator_acts)
            operator_acts(s), judge_some(s);
        break;
    case 12:
        if (w->cut && w->crash)
            witness_blinks(s);
        break;
    case 9:
        if (w->mode_changes)
            change_mode(s);
        break;
    case 10:
        if (w->clog)
            s->clogged_until_us[site][other] =
                s->now_us + sim_rng_between(&s->fault, 100, 2000) * SIM_MS;
        break;
    }
    sim_crawl_some(s);
    /* MUTANT_LATE_TAKE_OVER: an old hand-over turns up again, and claims to be the newest word. */
    if (s->mutant == MUTANT_LATE_TAKE_OVER && s->late_take_over.n == 0 &&
        sim_primary(s) <= SIM_DR) {
        uint8_t primary = sim_primary(s);
        const struct repl *r = s->sites[primary].r;
        struct repl_message m = {.type = REPL_MSG_TAKE_OVER,
                                 .from = primary,
                                 .to = (uint8_t)(1 - primary),
                                 .term = r->term,
                                 .incarnation = r->incarnation,
                                 .lsn = r->log.last,
                                 .lsn_term = r->log.last_term,
                                 .round = REPL_NUMBER_MAX - 1};
        sim_send(s, &m, NULL, 0);
    }
}

void sim_fault(struct sim *s)
{
    if (s->calm || s->swarm.fault_every_ms == 0)
        return;
    one_fault(s);
    if (s->swarm.plots)
        plot(s);
    if (s->swarm.members)
        sim_change_members(s);
    if (s->swarm.log_full || s->swarm.unreadable || s->swarm.strangers)
        later_fault(s);
    if (s->swarm.split)
        sim_split_some(s);
    sim_at(s, s->now_us + 1 + sim_rng_below(&s->fault, 2 * SIM_MS * s->swarm.fault_every_ms),
           SIM_EV_FAULT, 0, 0);
}
