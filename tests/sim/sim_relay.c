/* Following through another site: the archive that gives what logs do not have any more, what is known of the primary's word on
 * its way through others, and the long split of the data sites, in which the standby must keep up.
 *
 * S22 and S23 of the list in sim_check.c are here. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

void sim_relay_word(struct sim *s, uint8_t i, const struct repl_message *m, uint64_t sent_us,
                    struct term term, uint64_t round)
{
    struct sim_site *site = &s->sites[i];
    const struct repl *r = site->r;
    s->truth.relayed += m->type == REPL_MSG_GIVE && m->count > 0;
    if (m->type != REPL_MSG_ENTRIES || !m->granted ||
        (r->seen_term.v == term.v && r->seen_round == round))
        return;
    site->word_us = s->now_us;
    site->word_sent_us = sent_us;
}

void sim_relay_heard(struct sim *s, uint8_t i, const struct repl_action *a)
{
    struct sim_site *site = &s->sites[i];
    const struct sim_message *m = &s->messages[site->current.message - 1];
    uint64_t now_ms = sim_clock_ms(s, site),
             as_of_ms = s->mutant == MUTANT_AGE_BY_ARRIVAL ? now_ms : a->as_of_ms;
    uint64_t ago_us = (now_ms - as_of_ms) * 1000;
    /* Clocks drift; they are read in milliseconds. */
    if (as_of_ms > now_ms || s->now_us > m->word_us + ago_us + ago_us / 10 + 3 * SIM_MS)
        sim_fail(s, "S22: %s takes the primary's word for %llu ms old, it came to %s %llu ms ago",
                 sim_names[i], U(ago_us / SIM_MS), sim_names[m->from],
                 U((s->now_us - m->word_us) / SIM_MS));
    sim_standby_word(s, site, a->lsn, a->term, as_of_ms, m->word_sent_us);
}

enum sim_archive_says sim_archive_gives(struct sim *s, uint8_t i, const struct repl_message *m,
                                        const uint32_t **ids, uint64_t *n)
{
    if (i != SIM_GSR || m->type != REPL_MSG_GIVE || m->lsn.v >= s->archive.n ||
        s->mutant == MUTANT_ARCHIVE_NOT_READ)
        return SIM_ARCHIVE_LACKS;
    if (sim_rng_chance(&s->relay, 400000))
        return SIM_ARCHIVE_READS;
    *ids = s->archive.ids;
    *n = s->archive.n;
    s->truth.given_old++;
    return SIM_ARCHIVE_HAS;
}

static void split(struct sim *s, bool on)
{
    sim_cut(s, SIM_DC, SIM_DR, on);
    sim_cut(s, SIM_DR, SIM_DC, on);
    if (on && sim_rng_chance(&s->relay, 700000))
        sim_link_close(s, SIM_DC, SIM_DR, 1000 * SIM_MS);
}

void sim_split_some(struct sim *s)
{
    if (!sim_rng_chance(&s->relay, 100000))
        return;
    uint64_t heal = s->now_us + sim_rng_between(&s->relay, 500, 10000) * SIM_MS;
    s->truth.splits++;
    split(s, true);
    sim_at(s, heal, SIM_EV_HEAL, SIM_DC, SIM_DR);
    sim_at(s, heal, SIM_EV_HEAL, SIM_DR, SIM_DC);
}

/* An operator's failover is tried: such a site asks for votes, and for nothing else. */
static bool stands(const struct sim *s)
{
    for (uint8_t i = 0; i < s->sites_n; i++)
        if (s->sites[i].r->forced_until_ms != 0 || s->sites[i].r->role == REPL_CANDIDATE)
            return true;
    return false;
}

/* Or has a cut of before, which ended now, taken this one with it? */
static bool is_split(const struct sim *s)
{
    return s->cut[SIM_DC][SIM_DR] && s->cut[SIM_DR][SIM_DC];
}

/* S23 */
void sim_relay_is_enough(struct sim *s)
{
    uint8_t primary = sim_primary(s);
    if (primary > SIM_DR || (sim_members(s, &s->sites[primary]).voters & 7) != 7)
        return;
    uint8_t other = (uint8_t)(1 - primary);
    struct sim_site *site = &s->sites[other];
    uint64_t bound_us = 1000 * SIM_MS + 10 * (uint64_t)s->swarm.apply_us + 20 * s->swarm.delay_us;
    sim_say(s, REPL_NOBODY, "the data sites lose each other");
    s->truth.splits++;
    split(s, true);
    sim_run_until(s, s->now_us + 3000 * SIM_MS);
    for (int k = 0; k < 5 && !s->failed; k++) {
        uint64_t acked = s->truth.acked_majority, elections = s->truth.elections;
        bool stood = stands(s), voted = site->view.may_vote, gave = s->sites[SIM_GSR].r->may_vote;
        sim_run_until(s, s->now_us + bound_us);
        stood |= stands(s);
        /* One that was rebuilt gives nothing before it has heard the primary. */
        gave = gave && s->sites[SIM_GSR].r->may_vote;
        if (s->failed || elections != s->truth.elections || stood || !gave || !is_split(s))
            break;
        uint64_t age_us = freshness_age_us(&site->freshness, sim_clock_ms(s, site));
        /* One that has stood in a later term believes nobody of this one. */
        bool may_know = voted && site->view.may_vote && sim_primary(s) == primary &&
                        site->r->term.v == s->sites[primary].r->term.v;
        if (site->state.lsn < acked)
            sim_fail(s,
                     "S23: %s hears %s through gsr, but has applied %llu %llu ms after %llu was "
                     "acknowledged",
                     sim_names[other], sim_names[primary], U(site->state.lsn), U(bound_us / SIM_MS),
                     U(acked));
        else if (may_know && age_us > 2 * bound_us)
            sim_fail(s, "S23: %s hears %s through gsr, but knows nothing of the last %llu ms",
                     sim_names[other], sim_names[primary], U(2 * bound_us / SIM_MS));
    }
    split(s, false);
}
