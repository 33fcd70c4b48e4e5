/* One seed from start to verdict: a time of faults, then a time without, in which everything must come right. */
#include "tests/sim/sim.h"

enum {
    CALM_SERVE_MS = 30000,  /* until clients are served again */
    CALM_SETTLE_MS = 30000, /* from then until all logs are equal */
    CALM_USED_TO_MS = 6000, /* until an outcast that flaps has brought all the news that it has */
    CALM_STABLE_MS = 6000,  /* and can do no more harm from then */
};

static bool served(struct sim *s, uint64_t acks)
{
    uint64_t until = s->now_us + CALM_SERVE_MS * SIM_MS;
    while (!s->failed && s->now_us < until && s->truth.acks < acks)
        if (!sim_next(s))
            break;
    return s->truth.acks >= acks;
}

/* Two sites are enough, whatever the third does: whom to leave out, or REPL_NOBODY when the others could not go on. That is so
 * while a rebuilt site has not been readmitted: it waits for the others, and rightly so (R5). */
static uint8_t whom_to_leave_out(struct sim *s)
{
    uint8_t out = (uint8_t)sim_rng_below(&s->plot, s->sites_n + 1);
    s->outcast_is = (enum sim_outcast)sim_rng_below(&s->plot, 3);
    for (uint8_t i = 0; i < s->sites_n; i++)
        if ((!s->sites[i].disk_may_vote && !s->sites[i].joins) || s->wiped != REPL_NOBODY)
            return REPL_NOBODY;
    return out < s->sites_n && sim_members_suffice(s, out) ? out : REPL_NOBODY;
}

static bool stable(struct sim *s)
{
    s->clients_stop = true; /* logs of a run have a limit */
    sim_run_until(s, s->now_us + CALM_USED_TO_MS * SIM_MS);
    uint64_t elections = s->truth.elections;
    uint8_t primary = sim_primary(s);
    if (primary == s->outcast || primary == REPL_NOBODY) /* it is heard often enough to be it */
        return true;
    if (s->sites[s->outcast].r->term.v >
        s->sites[primary].r->term.v) /* it has stood once, before */
        return true;
    sim_run_until(s, s->now_us + CALM_STABLE_MS * SIM_MS);
    return s->truth.elections == elections;
}

static bool settled(struct sim *s)
{
    uint64_t until = s->now_us + CALM_SETTLE_MS * SIM_MS;
    while (!s->failed && s->now_us < until && !sim_check_settled(s))
        if (!sim_next(s))
            break;
    return sim_check_settled(s);
}

static void why_not_settled(struct sim *s)
{
    for (uint8_t i = 0; i < s->sites_n; i++) {
        const struct sim_site *site = &s->sites[i];
        sim_say(
            s, i,
            "in the end: %s%s of term %llu, log %llu..%llu, durable %llu, commit %llu, votes %s",
            site->alive ? "" : "dead ", repl_role_name(site->r->role), U(site->r->term.v),
            U(site->first + 1), U(site->n), U(site->stable), U(site->r->commit.v),
            site->r->may_vote ? "yes" : "no");
    }
}

static void a_majority_is_enough(struct sim *s)
{
    sim_calm(s, whom_to_leave_out(s));
    if (s->outcast == REPL_NOBODY)
        return;
    s->truth.majorities++;
    if (!served(s, s->truth.acks + 3) && !s->failed) {
        why_not_settled(s);
        sim_fail(s, "liveness: without %s clients are not served %d s after the last fault",
                 sim_names[s->outcast], CALM_SERVE_MS / 1000);
    }
    if (!s->failed && s->outcast_is == SIM_FLAPPING && !stable(s) && !s->failed)
        sim_fail(s, "S19: %s, which comes and goes, deposes the primary of the others",
                 sim_names[s->outcast]);
    s->clients_stop = false;
    if (!s->failed)
        sim_calm_outcast(s);
}

/* What the sites hold in the end goes into the hash of what happened. */
static void mix_states(struct sim *s)
{
    for (uint8_t i = 0; i < s->sites_n; i++) {
        const struct sim_site *site = &s->sites[i];
        for (uint64_t lsn = site->first + 1; lsn <= site->n; lsn++)
            sim_mix(s, get_le64(s->entries[site->ids[lsn - 1]].hash.b));
        for (size_t k = 0; k < sizeof site->state / sizeof(uint64_t); k++)
            sim_mix(s, get_le64((const uint8_t *)&site->state + k * sizeof(uint64_t)));
    }
}

struct sim_verdict sim_seed(struct sim *s, uint64_t seed, uint64_t steps, enum sim_mutant mutant,
                            bool keep_trace)
{
    struct swarm swarm = sim_swarm_of_seed(seed);
    sim_init(s, seed, &swarm, mutant);
    s->keep_trace = keep_trace;
    while (!s->failed && s->steps < steps && s->now_us < 300000 * SIM_MS)
        if (!sim_next(s))
            break;
    if (!s->failed)
        a_majority_is_enough(s);
    if (!s->failed && !served(s, s->truth.acks + 3) && !s->failed) {
        why_not_settled(s);
        sim_fail(s, "liveness: clients are not served %d s after the last fault",
                 CALM_SERVE_MS / 1000);
    }
    if (!s->failed && s->swarm.solo)
        sim_solo(s);
    if (!s->failed && s->swarm.split && !s->solo.granted)
        sim_relay_is_enough(s);
    s->clients_stop = true;
    if (!s->failed && !settled(s) && !s->failed) {
        why_not_settled(s);
        sim_fail(s, "liveness: the sites are not equal %d s after the last write",
                 CALM_SETTLE_MS / 1000);
    }
    if (!s->failed)
        sim_check_end(s);
    mix_states(s);
    struct sim_verdict v = {.failed = s->failed,
                            .steps = s->steps,
                            .virtual_us = s->now_us,
                            .hash = s->hash,
                            .truth = &s->truth};
    memcpy(v.failure, s->failure, sizeof v.failure);
    sim_deinit(s);
    return v;
}
