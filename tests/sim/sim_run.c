/* One seed from start to verdict: a time of faults, then a time without, in which everything must come right. */
#include "tests/sim/sim.h"

enum {
    CALM_SERVE_MS = 30000,  /* until clients are served again */
    CALM_SETTLE_MS = 30000, /* from then until all logs are equal */
};

static bool served(struct sim *s, uint64_t acks)
{
    uint64_t until = s->now_us + CALM_SERVE_MS * SIM_MS;
    while (!s->failed && s->now_us < until && s->truth.acks < acks)
        if (!sim_next(s))
            break;
    return s->truth.acks >= acks;
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
    for (uint8_t i = 0; i < SIM_SITES; i++) {
        const struct sim_site *site = &s->sites[i];
        sim_say(
            s, i, "in the end: %s%s of term %llu, log %llu, durable %llu, commit %llu, votes %s",
            site->alive ? "" : "dead ", repl_role_name(site->r->role), U(site->r->term.v),
            U(site->n), U(site->stable), U(site->r->commit.v), site->r->may_vote ? "yes" : "no");
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
        sim_calm(s);
    if (!s->failed && !served(s, s->truth.acks + 3) && !s->failed) {
        why_not_settled(s);
        sim_fail(s, "liveness: clients are not served %d s after the last fault",
                 CALM_SERVE_MS / 1000);
    }
    s->clients_stop = true;
    if (!s->failed && !settled(s) && !s->failed) {
        why_not_settled(s);
        sim_fail(s, "liveness: the sites are not equal %d s after the last write",
                 CALM_SETTLE_MS / 1000);
    }
    if (!s->failed)
        sim_check_end(s);
    struct sim_verdict v = {.failed = s->failed,
                            .steps = s->steps,
                            .virtual_us = s->now_us,
                            .hash = s->hash,
                            .truth = &s->truth};
    memcpy(v.failure, s->failure, sizeof v.failure);
    sim_deinit(s);
    return v;
}
