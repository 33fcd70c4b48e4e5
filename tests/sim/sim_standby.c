/* Reads that allow any site to answer, as replication/service_read.c has them: not older than what the caller has seen, and with
 * an age that is true. What a standby knows of its age is production's own replication/core/freshness.c. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

static bool is_ready(const struct sim_site *site)
{
    return marks_ready(&site->marks, &site->view, site->term_start,
                       site->inherited.v == site->view.term.v);
}

void sim_standby_applied(struct sim *s, struct sim_site *site)
{
    uint64_t lsn = site->state.lsn;
    struct term term = lsn == 0 ? (struct term){0} : s->entries[site->ids[lsn - 1]].header.term;
    if (s->mutant == MUTANT_AGE_OF_NEW_PRIMARY)
        term = site->freshness.newest.term;
    bool may_vote = site->view.may_vote || s->mutant == MUTANT_AGE_OF_REBUILT;
    struct freshness *f = &site->freshness;
    bool newest = lsn >= f->newest.commit.v && term.v == f->newest.term.v;
    if (!freshness_applied(f, (struct lsn){lsn}, term, may_vote))
        return;
    site->known_sent_us = newest ? site->told_sent_us : site->waits_sent_us;
    site->waits_sent_us = site->told_sent_us;
}

void sim_standby_word(struct sim *s, struct sim_site *site, struct lsn commit, struct term term,
                      uint64_t as_of_ms, uint64_t sent_us)
{
    struct freshness *f = &site->freshness;
    if (as_of_ms < f->newest.ms)
        return;
    freshness_told(f, commit, term, as_of_ms);
    site->told_sent_us = sent_us;
    if (f->waits.ms == as_of_ms && f->waits.commit.v == commit.v && f->waits.term.v == term.v)
        site->waits_sent_us = sent_us;
    sim_standby_applied(s, site);
}

void sim_standby_told(struct sim *s, struct sim_site *site, const struct repl_message *m,
                      uint64_t sent_us)
{
    if (m->type == REPL_MSG_ENTRIES && m->granted && m->term.v >= site->view.term.v)
        sim_standby_word(s, site, m->commit, m->term, sim_clock_ms(s, site), sent_us);
}

/* The moment up to which the answer claims to know everything: at a primary with its lease, now. UINT64_MAX: it claims
 * nothing. */
static uint64_t claims_to_know(const struct sim *s, const struct sim_site *site)
{
    bool lease = repl_lease_valid(site->r, sim_clock_ms(s, site));
    if (is_ready(site) && (lease || s->mutant == MUTANT_AGE_WITHOUT_LEASE))
        return s->now_us;
    bool unknown = freshness_age_us(&site->freshness, sim_clock_ms(s, site)) == UINT64_MAX;
    if (s->mutant == MUTANT_AGE_UNKNOWN_IS_FRESH && unknown)
        return s->now_us;
    return unknown || is_ready(site) ? UINT64_MAX : site->known_sent_us;
}

void sim_standby_read(struct sim *s, struct sim_client *c)
{
    uint8_t i = (uint8_t)sim_rng_below(&s->plot, s->sites_n);
    uint8_t key = (uint8_t)sim_rng_below(&s->plot, SIM_KEYS);
    struct sim_site *site = &s->sites[i];
    if (!site->alive || site->paused || site->blocked)
        return;
    if (site->marks.applied.v < c->token && s->mutant != MUTANT_TOKEN_IGNORED)
        return; /* it waits, and asks elsewhere in the end */
    if (site->view.cut.asked && c->token > site->view.cut.keep.v)
        return; /* as site_common() */
    s->truth.standby_reads++;
    bool overlay = is_ready(site);
    uint64_t lsn = overlay ? site->marks.visible.v : site->state.lsn;
    if (s->mutant == MUTANT_STANDBY_SAYS_LATER && !overlay)
        lsn = site->marks.commit.v > lsn ? site->marks.commit.v : lsn;
    struct sim_record r =
        overlay ? sim_service_find(s, site, key, site->marks.visible) : site->state.records[key];
    sim_check_standby_read(s, i, c, key, lsn, r, claims_to_know(s, site));
    if (lsn > c->token)
        c->token = lsn;
}
