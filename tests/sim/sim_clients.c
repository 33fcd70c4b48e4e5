/* Clients: each has a session and one request at a time, and asks again, here or there, under the same sequence number, until it
 * has an answer that says what became of it. What they saw is the history that sim_history.c checks. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

enum { PATIENCE_MIN_MS = 100, PATIENCE_MAX_MS = 2500 };

bool sim_has_room(const struct sim *s, const struct sim_site *site)
{
    uint64_t log = s->calm ? SIM_LOG_MAX - 64 : SIM_LOG_MAX / 4 * 3;
    uint32_t entries = s->calm ? SIM_ENTRIES_MAX - 128 : SIM_ENTRIES_MAX / 4 * 3;
    return s->now_us >= site->log_full_until_us && site->n < log && s->entries_n < entries &&
           s->ops_n + 1 < SIM_OPS_MAX;
}

uint32_t sim_op_new(struct sim *s, uint8_t client, enum sim_op_kind kind, uint8_t key)
{
    struct sim_client *c = &s->clients[client];
    check(s->ops_n + 1 < SIM_OPS_MAX);
    uint32_t id = ++s->ops_n;
    s->ops[id] = (struct sim_op){.kind = kind,
                                 .client = client,
                                 .key = key,
                                 .value = ++s->tokens,
                                 .expected = c->known[key],
                                 .session = c->session,
                                 .sequence = kind == SIM_OP_READ ? 0 : ++c->sequence,
                                 .floor = s->truth.acked_majority,
                                 .invoked = ++s->history};
    return id;
}

/* How many sites a client asks in turn: where nobody joins, those that may become primary. */
static uint8_t asked(const struct sim *s)
{
    return s->swarm.members ? s->sites_n : 2;
}

static void think_of_something(struct sim *s, uint8_t c)
{
    static const struct {
        uint32_t chance;
        enum sim_op_kind kind;
    } habits[] = {{350000, SIM_OP_READ}, {450000, SIM_OP_CAS}, {150000, SIM_OP_DELETE}};
    enum sim_op_kind kind = SIM_OP_PUT;
    if (sim_session_wanted(s, c))
        return;
    for (unsigned k = 0; k < sizeof habits / sizeof habits[0] && kind == SIM_OP_PUT; k++)
        if (sim_rng_chance(&s->client, habits[k].chance))
            kind = habits[k].kind;
    uint32_t id = sim_op_new(s, c, kind, (uint8_t)sim_rng_below(&s->client, SIM_KEYS));
    s->ops[id].level = sim_rng_chance(&s->client, 700000)
                           ? LEVEL_MODE
                           : (enum level)sim_rng_between(&s->client, LEVEL_LOCAL, LEVEL_ALL);
    enum level level = s->ops[id].level;
    if (s->swarm.members && (level == LEVEL_DR || level == LEVEL_GSR))
        s->ops[id].level = LEVEL_MAJORITY;  /* that site may be no member */
    if (sim_rng_chance(&s->client, 100000)) /* it was told, long ago, that this is the primary */
        s->clients[c].site = (uint8_t)sim_rng_below(&s->client, asked(s));
    s->clients[c].op = id;
    s->clients[c].attempt = 0;
}

void sim_client_ask_elsewhere(const struct sim *s, struct sim_client *c)
{
    c->waiting = false;
    c->site = (uint8_t)((c->site + 1) % asked(s));
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
    if (s->outcast != REPL_NOBODY || s->solo.alone)
        s->ops[c->op].level = LEVEL_MODE; /* a named site may be gone for good */
    c->attempt++;
    c->give_up_us =
        s->now_us + sim_rng_between(&s->client, PATIENCE_MIN_MS, PATIENCE_MAX_MS) * SIM_MS;
    sim_site_post(s, c->site,
                  &(struct sim_inbox){.type = REPL_EV_PROPOSE, .op = c->op, .attempt = c->attempt});
    sim_site_run(s, c->site);
}

void sim_client_wake(struct sim *s, uint8_t c)
{
    struct sim_client *client = &s->clients[c];
    if (c >= SIM_CLIENTS) {
        sim_worker_wake(s, c);
        return;
    }
    if (client->waiting && s->now_us >= client->give_up_us) {
        sim_client_ask_elsewhere(s, client);
        if (s->ops[client->op].kind == SIM_OP_OPEN)
            client->op = 0; /* the next one opens another */
        if (s->swarm.gives_up && sim_rng_chance(&s->plot, 200000))
            client->op = 0; /* it never learns what became of it */
    }
    uint64_t again = s->now_us + 1 + sim_rng_below(&s->client, 2 * SIM_MS * s->swarm.think_ms);
    if (!client->waiting && !s->clients_stop && sim_rng_chance(&s->plot, 200000))
        sim_standby_read(s, client);
    if (!client->waiting && client->op == 0)
        again += sim_session_sleep_us(s);
    if (!client->waiting && !s->clients_stop) {
        if (client->op == 0 && sim_has_room(s, &s->sites[client->site]))
            think_of_something(s, c);
        if (client->op != 0)
            ask(s, client);
        else
            sim_client_ask_elsewhere(s, client);
    }
    sim_at(s, again, SIM_EV_CLIENT, c, 0);
}

struct sim_client *sim_client_of(struct sim *s, uint8_t site, uint32_t op, uint32_t attempt)
{
    struct sim_client *c = &s->clients[s->ops[op].client];
    return c->waiting && c->site == site && c->op == op && c->attempt == attempt ? c : NULL;
}

void sim_client_refused(struct sim *s, struct sim_client *c, bool sure)
{
    struct sim_op *op = &s->ops[c->op];
    s->truth.refusals++;
    sim_client_ask_elsewhere(s, c);
    if (op->kind == SIM_OP_OPEN) {
        op->outcome = sure ? SIM_REFUSED : SIM_UNKNOWN;
        c->op = 0;
        return;
    }
    if (sure && s->swarm.gives_up && c->attempt == 1 && op->kind < SIM_OP_TRY &&
        op->kind != SIM_OP_READ && sim_rng_chance(&s->plot, 300000)) {
        op->outcome = SIM_REFUSED; /* and goes on with something else */
        c->op = 0;
    }
}

void sim_client_answered(struct sim *s, struct sim_client *c, enum sim_outcome outcome,
                         struct sim_record seen)
{
    struct sim_op *op = &s->ops[c->op];
    if (sim_rng_chance(&s->client, s->swarm.lost_answers)) {
        op->majority = false;
        op->answered_lsn = 0;
        return; /* it waits, gives up and asks again */
    }
    op->outcome = outcome;
    if (seen.version > c->token && op->majority)
        c->token = seen.version;
    op->returned = ++s->history;
    if (op->kind == SIM_OP_READ)
        op->value = seen.value;
    if (op->kind == SIM_OP_OPEN)
        sim_session_opened(s, c);
    else if (outcome == SIM_DONE)
        c->known[op->key] = seen;
    else
        c->known[op->key] = (struct sim_record){0, 0};
    sim_mix(s, seen.value ^ (uint64_t)outcome << 60);
    c->waiting = false;
    c->op = 0;
}
