/* Two sites are lost, the third goes on alone by an order of two operators, the lost ones come back, and there are three
 * again.
 *
 * A story of its own, behind the time of faults. Where the last site could hear, it is ordered before the second one is
 * gone, too: what may not be is for the core to refuse. Who signed it, and that it is given once, is not simulated (unit
 * tests, integration/solo.sh).
 *
 * DECLARED LOSS. What was committed and the last site does not have is not part of the history any more, by that order:
 * the checkers are told so at the moment when it becomes primary, and not before. All that they know is cut back to where
 * the histories part; what clients were told of it is counted as lost, tokens and floors are lowered, and histories of
 * that run are not searched. In half of the stories the last site has everything, and nothing is relaxed.
 *
 * Each lost site comes back with its disk, or with a new one. With their disks they find the last one within the time that
 * an election takes: two that find each other and not the last one are two histories, which nobody can prevent
 * (docs/PROTOCOL.md), so that is not played. A site that finds itself broken by what it had committed beyond is rebuilt. */
#include "tests/sim/sim.h"

enum { ABOVE = 64, PATIENCE_MS = 60000 };

static uint64_t between(struct sim *s, uint64_t lo_ms, uint64_t hi_ms)
{
    return s->now_us + sim_rng_between(&s->solos, lo_ms, hi_ms) * SIM_MS;
}

static bool in_common(const struct sim *s, const struct sim_site *site, uint64_t n)
{
    return n == 0 || (site->n >= n && site->ids[n - 1] == s->truth.committed[n - 1]);
}

void sim_solo_granted(struct sim *s, uint8_t i)
{
    struct sim_truth *t = &s->truth;
    const struct sim_site *site = &s->sites[i];
    uint64_t n = t->committed_n;
    s->solo.granted = s->solo.alone = true;
    for (uint32_t c = 0; c < SIM_CLIENTS;
         c++) /* other levels are refused, so nobody asks for them */
        s->ops[s->clients[c].op].level = LEVEL_MODE;
    while (!in_common(s, site, n))
        n--;
    if (n == t->committed_n)
        return;
    sim_say(s, i, "declared lost: entries %llu to %llu", U(n + 1), U(t->committed_n));
    s->solo.loss = true;
    memset(t->acked_us + n + 1, 0, (t->committed_n - n) * sizeof t->acked_us[0]);
    t->committed_n = n;
    t->acked_majority = t->acked_majority < n ? t->acked_majority : n;
    s->archive.n =
        s->archive.n < n ? s->archive.n : n; /* what the archive has beyond is put aside */
    for (uint32_t k = 1; k <= s->ops_n; k++) {
        struct sim_op *op = &s->ops[k];
        op->committed_lsn = op->committed_lsn <= n ? op->committed_lsn : 0;
        op->floor = op->floor < n ? op->floor : n;
    }
    for (uint32_t c = 0; c < SIM_CLIENTS; c++)
        s->clients[c].token = s->clients[c].token < n ? s->clients[c].token : n;
    sim_sessions_cut(s);
    sim_keys_cut(s);
}

static void order(struct sim *s, uint8_t last)
{
    struct sim_site *site = &s->sites[last];
    struct repl *r = site->r;
    const uint8_t self = (uint8_t)(1u << last);
    if (!site->alive || site->paused || s->solo.granted)
        return;
    const struct repl_members *now = &r->list.members;
    const uint8_t lost = (uint8_t)((now->voters | now->lost) & ~self);
    s->solo.term.v = r->term.v + ABOVE;
    struct sim_inbox e = {.type = REPL_EV_SOLO,
                          .term = s->solo.term,
                          .members = {.all = (uint8_t)(now->all & ~lost),
                                      .voters = self,
                                      .electable = (uint8_t)(now->electable & ~lost),
                                      .lost = lost}};
    if (site->n > 0) {
        const struct sim_entry *at = &s->entries[site->ids[site->n - 1]];
        e.position =
            (struct entry_position){at->header.lsn, at->header.term, at->header.time, at->hash};
    }
    sim_say(s, last, "two operators: go on alone in term %llu", U(e.term.v));
    sim_site_post(s, last, &e);
    sim_site_run(s, last);
}

/* Both others die; the last one may have been cut off before, so that it lacks what they have. */
static void lose(struct sim *s, uint8_t last, uint8_t first, uint8_t second)
{
    const bool behind = !s->swarm.sessions && sim_rng_chance(&s->solos, 500000);
    for (uint8_t k = 0; behind && k < s->sites_n; k++)
        if (k != last) {
            sim_cut(s, last, k, true);
            sim_cut(s, k, last, true);
        }
    sim_run_until(s, between(s, 0, 2500));
    s->solo.off = (uint8_t)(1u << first);
    sim_site_crash(s, first);
    for (uint64_t n = behind ? 0 : sim_rng_below(&s->solos, 3); n > 0 && !s->failed; n--) {
        order(s, last); /* too early */
        sim_run_until(s, between(s, 1, 500));
    }
    s->solo.off |= (uint8_t)(1u << second);
    sim_site_crash(s, second);
    sim_run_until(s, between(s, 0, 100));
    for (uint8_t k = 0; k < s->sites_n; k++) {
        sim_cut(s, last, k, false);
        sim_cut(s, k, last, false);
    }
}

static void come_back(struct sim *s, uint8_t i)
{
    /* There is one archive here: what the old gsr has beyond the common history, it would go on to archive. */
    if (sim_rng_chance(&s->solos, 500000) || (s->solo.loss && i == SIM_GSR)) {
        sim_site_wipe(s, i);
        /* What it alone had acknowledged for its own disk went with it, before it could be exported. */
        s->solo.loss |= s->swarm.local || s->swarm.mode_changes;
    }
    s->sites[i].former_n = 0; /* its disk counts for nothing any more */
    sim_at(s, between(s, 0, 3000), SIM_EV_RESTART, i, 0);
}

/* The next step back to three that vote: a member that was lost, or a vote. */
static void propose(struct sim *s, uint8_t primary)
{
    struct repl_members m = s->sites[primary].r->list.members;
    for (uint8_t i = 0; i < s->sites_n; i++) {
        const uint8_t bit = (uint8_t)(1u << i);
        if (repl_in(m.all & ~m.voters, i)) {
            m.voters |= bit;
        } else if (repl_in(m.lost, i) && s->sites[i].alive) {
            m.lost &= (uint8_t)~bit;
            m.all |= bit;
            m.electable |= SIM_DATA & bit;
        } else {
            continue;
        }
        sim_site_post(s, primary, &(struct sim_inbox){.type = REPL_EV_PROPOSE, .members = m});
        m = s->sites[primary].r->list.members;
    }
    sim_site_run(s, primary);
}

/* One that contradicts the new history, or does not get into it: its operators make it anew. */
static bool hopeless(const struct sim *s, uint8_t i, bool late)
{
    const uint8_t primary = sim_primary(s);
    return s->sites[i].r->broken ||
           (late && primary != REPL_NOBODY && repl_in(s->sites[primary].r->list.members.lost, i));
}

/* Sites compare their states every few seconds: what was said of a disk that is lost is not said of the one in its place. */
static void compared_again(struct sim *s, uint8_t primary)
{
    for (uint8_t i = 0; i < s->sites_n; i++)
        if (s->sites[primary].r->peers[i].unfit && s->sites[i].alive && !s->sites[i].unfit)
            sim_site_post(s, primary,
                          &(struct sim_inbox){.type = REPL_EV_FIT, .site = i, .fit = true});
    sim_site_run(s, primary);
}

static void three_again(struct sim *s)
{
    const uint64_t began = s->now_us, until = began + PATIENCE_MS * SIM_MS;
    bool anew = false;
    while (!s->failed && s->now_us < until) {
        sim_run_until(s, between(s, 100, 400));
        const bool late = !anew && s->now_us > began + PATIENCE_MS * SIM_MS / 3;
        anew |= late;
        for (uint8_t i = 0; i < s->sites_n; i++)
            if (s->sites[i].alive && hopeless(s, i, late) && !s->failed) {
                sim_site_crash(s, i);
                sim_site_wipe(s, i);
                s->sites[i].former_n = 0;
                sim_at(s, between(s, 0, 500), SIM_EV_RESTART, i, 0);
            }
        const uint8_t primary = sim_primary(s);
        if (primary == REPL_NOBODY || s->failed)
            continue;
        compared_again(s, primary);
        if (repl_count(s->sites[primary].r->list.members.voters) == SIM_FOUNDERS) {
            s->solo.alone = false;
            return;
        }
        if (sim_has_room(s, &s->sites[primary]))
            propose(s, primary);
    }
    if (!s->failed)
        sim_fail(s, "liveness: there are not three sites again %d s after the lost ones came back",
                 PATIENCE_MS / 1000);
}

void sim_solo(struct sim *s)
{
    const uint8_t last = (uint8_t)sim_rng_below(&s->solos, 2), other = (uint8_t)(1 - last);
    const bool gsr_first = sim_rng_chance(&s->solos, 500000);
    for (uint8_t i = 0; i < SIM_FOUNDERS; i++)
        if (!s->sites[i].alive || !s->sites[i].r->may_vote || s->wiped != REPL_NOBODY)
            return; /* of three that are whole */
    if (s->swarm.members || (s->swarm.sessions && s->sites[last].r->cut.asked))
        return; /* the latter is behind, see lose() */
    lose(s, last, gsr_first ? SIM_GSR : other, gsr_first ? other : SIM_GSR);
    const uint64_t until = s->now_us + PATIENCE_MS * SIM_MS;
    while (!s->failed && !s->solo.granted && s->now_us < until) {
        order(s, last);
        sim_run_until(s, between(s, 100, 700));
    }
    if (!s->failed && !s->solo.granted)
        sim_fail(s, "liveness: %s cannot go on alone", sim_names[last]);
    const uint64_t acks = s->truth.acks, served = s->now_us + PATIENCE_MS * SIM_MS;
    while (!s->failed && s->truth.acks < acks + 2 && s->now_us < served)
        sim_run_until(s, between(s, 50, 200));
    if (!s->failed && s->truth.acks < acks + 2)
        sim_fail(s, "liveness: %s serves nobody alone", sim_names[last]);
    if (s->failed)
        return;
    s->solo.off = 0;
    come_back(s, other);
    come_back(s, SIM_GSR);
    three_again(s);
}
