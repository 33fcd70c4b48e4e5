/* Processes of one application that has a list of what is to be done, and gives a key to each job on it: a process takes a
 * job, new or begun by another, and asks for it under its key, whether it is done already or not; or asks only for the
 * outcome; or gives the key up. A process may end at any time, and then knows nothing; what it had sent may arrive late, and
 * more than once. At times two jobs are given one key, by mistake. They all have one certificate, so a key is the same for
 * all (client/triveni.h).
 *
 * What they are told is held against what others were told, and against the history: S27 (sim_keys.c). */
#include "tests/sim/sim.h"

#include "store/core/check.h"

enum { PATIENCE_MIN_MS = 100, PATIENCE_MAX_MS = 1500, JOBS = 16 };

static bool is_recent(const struct sim *s, uint32_t job)
{
    return job != 0 && s->now_us < s->ops[job].asked_us + s->key_limit_us / 2;
}

static uint32_t new_job(struct sim *s, uint8_t k, uint32_t name)
{
    static const enum sim_op_kind kinds[] = {SIM_OP_PUT, SIM_OP_PUT, SIM_OP_DELETE, SIM_OP_CAS};
    const uint8_t record = (uint8_t)sim_rng_below(&s->keys, SIM_KEYS);
    const uint32_t id = ++s->ops_n;
    s->ops[id] =
        (struct sim_op){.kind = kinds[sim_rng_below(&s->keys, 4)],
                        .client = k,
                        .key = record,
                        .value = ++s->tokens,
                        .expected = s->clients[sim_rng_below(&s->keys, SIM_CLIENTS)].known[record],
                        .level = sim_rng_chance(&s->keys, 200000) ? LEVEL_ALL : LEVEL_MODE,
                        .name = name,
                        .asked_us = s->now_us,
                        .invoked = ++s->history};
    s->ops[id].job = id;
    s->jobs[s->jobs_n++ % JOBS] = id;
    return id;
}

static void think(struct sim *s, uint8_t k)
{
    struct sim_client *c = &s->clients[k];
    enum sim_op_kind kind = SIM_OP_TRY;
    uint32_t job = s->jobs[sim_rng_below(&s->keys, JOBS)];
    if (s->ops_n + 4 >= SIM_OPS_MAX)
        return;
    if (!is_recent(s, job) || sim_rng_chance(&s->keys, 250000)) {
        job = new_job(s, k, ++s->names_n);
    } else if (sim_rng_chance(&s->keys, 100000)) {
        const uint64_t asked_us = s->ops[job].asked_us;
        job = new_job(s, k, s->ops[job].name); /* by mistake */
        s->ops[job].asked_us = asked_us;
    } else if (sim_rng_chance(&s->keys, 300000)) {
        kind = sim_rng_chance(&s->keys, 600000) ? SIM_OP_OUTCOME : SIM_OP_GIVE_UP;
    }
    const uint32_t id = ++s->ops_n;
    s->ops[id] = (struct sim_op){.kind = kind,
                                 .client = k,
                                 .name = s->ops[job].name,
                                 .job = job,
                                 .key = s->ops[job].key,
                                 .level = s->ops[job].level,
                                 .value = s->ops[job].value,
                                 .expected = s->ops[job].expected,
                                 .floor = s->truth.acked_majority,
                                 .invoked = ++s->history};
    c->op = id;
    c->attempt = 0;
}

/* A copy that is under way when the one who sent it has long gone, or has asked again. */
void sim_key_copy(struct sim *s, uint8_t site, uint32_t op)
{
    if (!s->sites[site].alive || s->sites[site].in_n >= SIM_INBOX_MAX / 2)
        return;
    sim_site_post(s, site, &(struct sim_inbox){.type = REPL_EV_PROPOSE, .op = op});
    sim_site_run(s, site);
}

static void ask(struct sim *s, struct sim_client *c)
{
    struct sim_site *site = &s->sites[c->site];
    if (!site->alive || site->in_n >= SIM_INBOX_MAX / 2) {
        sim_client_ask_elsewhere(s, c);
        return;
    }
    c->waiting = true;
    c->lsn = 0;
    if (s->outcast != REPL_NOBODY)
        s->ops[c->op].level = LEVEL_MODE; /* a site may be gone for good */
    c->attempt++;
    c->give_up_us =
        s->now_us + sim_rng_between(&s->keys, PATIENCE_MIN_MS, PATIENCE_MAX_MS) * SIM_MS;
    if (sim_rng_chance(&s->keys, 200000))
        sim_at(s, s->now_us + sim_rng_below(&s->keys, s->key_limit_us / 2), SIM_EV_COPY, c->site,
               c->op);
    sim_site_post(s, c->site,
                  &(struct sim_inbox){.type = REPL_EV_PROPOSE, .op = c->op, .attempt = c->attempt});
    sim_site_run(s, c->site);
}

void sim_worker_wake(struct sim *s, uint8_t k)
{
    struct sim_client *c = &s->clients[k];
    const uint64_t again = s->now_us + 1 + sim_rng_below(&s->keys, 2 * SIM_MS * s->swarm.think_ms);
    if (c->waiting && s->now_us >= c->give_up_us)
        sim_client_ask_elsewhere(s, c);
    const bool ends = sim_rng_chance(&s->keys, c->waiting ? 30000 : 200000);
    if (ends || (c->op != 0 && !is_recent(s, s->ops[c->op].job))) {
        c->op = 0;
        c->waiting = false;
    }
    if (!c->waiting && !s->clients_stop) {
        if (c->op == 0 && sim_has_room(s, &s->sites[c->site]))
            think(s, k);
        if (c->op != 0)
            ask(s, c);
        else
            sim_client_ask_elsewhere(s, c);
    }
    sim_at(s, again, SIM_EV_CLIENT, k, 0);
}

/* ---- answers ---- */

/* The entry at `id` is said to be what took effect with the key. `sure`: a majority has it. */
static void told_done(struct sim *s, const struct sim_op *o, uint32_t id, uint64_t lsn, bool sure)
{
    struct sim_key_truth *t = &s->key_truth[o->name];
    struct sim_op *job = &s->ops[s->entries[id].op];
    if (id == 0 || job->name != o->name || job->kind >= SIM_OP_OPEN) {
        sim_fail(s, "S27: key %u is said to have taken effect at %llu, which is something else",
                 o->name, U(lsn));
        return;
    }
    if (sure && job->outcome == SIM_REFUSED)
        sim_fail(s, "S27: key %u is said to have taken effect at %llu, and was refused before",
                 o->name, U(lsn));
    job->outcome = SIM_DONE;
    job->answered_id = id;
    job->answered_lsn = lsn;
    job->majority = sure;
    if (job->returned == 0)
        job->returned = ++s->history;
    if (!sure)
        return;
    if (t->never || (t->told_id != 0 && t->told_id != id))
        sim_fail(s, "S27: key %u is said to have taken effect at %llu; before that %s was said",
                 o->name, U(lsn), t->never ? "\"never\"" : "another lsn");
    t->told_id = id;
}

static void told_never(struct sim *s, const struct sim_op *o, uint64_t lsn)
{
    struct sim_key_truth *t = &s->key_truth[o->name];
    if (t->told_id != 0 || t->state == SIM_NAME_DONE)
        sim_fail(s, "S27: key %u is said at %llu never to happen, and has taken effect", o->name,
                 U(lsn));
    t->never = true;
}

static void told_none(struct sim *s, const struct sim_site *site, const struct sim_op *o,
                      uint64_t lsn)
{
    const struct sim_state there = sim_model_at(s, site, lsn);
    if (s->swarm.local || s->swarm.mode_changes)
        return; /* what was acknowledged may be lost there */
    if (there.marks[o->name % SIM_MARKS].name == o->name || lsn < o->floor)
        sim_fail(s, "S27: nothing is said to be logged with key %u up to %llu; %llu was known",
                 o->name, U(lsn), U(o->floor));
}

void sim_worker_answered(struct sim *s, uint8_t i, struct sim_client *c)
{
    const struct sim_site *site = &s->sites[i];
    struct sim_op *o = &s->ops[c->op];
    const bool sure = site->marks.commit.v >= c->lsn;
    const uint32_t id = c->lsn >= 1 && c->lsn <= site->n ? site->ids[c->lsn - 1] : 0;
    if (sim_rng_chance(&s->keys, s->swarm.lost_answers))
        return;
    if (!sure && !s->swarm.local && !s->swarm.mode_changes)
        sim_fail(s, "S27: what became of key %u is told at %llu, %llu is committed", o->name,
                 U(c->lsn), U(site->marks.commit.v));
    if (c->told == SIM_KEY_DONE && s->entries[id].op != o->job)
        sim_fail(s, "S27: who came with key %u is told of %llu, which is another transaction",
                 o->name, U(c->lsn));
    switch (c->told) {
    case SIM_KEY_DONE:
    case SIM_KEY_COMMITTED:
        told_done(s, o, id, c->lsn, sure);
        break;
    case SIM_KEY_GIVEN_UP:
        if (sure)
            told_never(s, o, c->lsn);
        break;
    case SIM_KEY_NONE:
        told_none(s, site, o, c->lsn);
        break;
    case SIM_KEY_REFUSED:
        s->truth.key_refusals++;
        if (sure && s->ops[o->job].outcome == SIM_DONE && s->ops[o->job].majority)
            sim_fail(s, "S27: key %u is refused to whom it was acknowledged", o->name);
        if (sure)
            s->ops[o->job].outcome = SIM_REFUSED;
        break;
    case SIM_KEY_FAILED:
        o->outcome = SIM_CONDITION_FAILED;
        o->returned = ++s->history;
        break;
    }
    sim_mix(s, (uint64_t)c->told << 50 ^ c->lsn);
    c->waiting = false;
    c->op = 0;
}
