/* Sessions that begin and end: opened and ended by entries, as replication/service_entries.c has it, in a quarter of the seeds;
 * in the others each client has one that was always there.
 *
 * A client without a session opens one, and what it writes belongs to it. An opening that is not answered is not asked for again:
 * the next one is another, and the first is left to expire. Clients fall asleep for about as long as a session may be idle. A
 * primary ends what was idle, when nobody waits under it and nothing of it is in flight; the clock, what was in flight, and
 * what a session is now are production's own (session_was_idle, the overlay). Who comes with a session that has ended is told
 * so; what it asked once is then never done, what it asked before it never learns (client/session.c).
 *
 * S25: in the common history a session is opened once and ended at most once, each of its transactions is between the two, and it
 * does not end sooner than its idle time after its last entry, by the time of the world. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

enum { EVERY_MS = 100 };

void sim_sessions_init(struct sim *s, struct rng g)
{
    s->session = g;
    s->swarm.sessions = s->swarm.sessions && sim_rng_next(&g) % 4 == 0;
    s->session_limit_us = sim_rng_between(&g, 200, 3000) * SIM_MS;
}

struct uuid sim_session_id(uint8_t client, uint32_t session)
{
    struct uuid id = {{'s', 'e', 's', (uint8_t)(client + 1)}};
    put_le32(id.b + 4, session);
    return id;
}

uint32_t sim_session_slot(const struct sim_op *op)
{
    return op->session == 0 ? op->client : SIM_CLIENTS + op->session % SIM_SESSIONS;
}

/* ---- the state ---- */

void sim_session_apply(struct sim_state *state, const struct sim_entry *e, const struct sim_op *op)
{
    const uint32_t slot = sim_session_slot(op);
    struct sim_session *at = op->session != 0 ? &state->sessions[slot - SIM_CLIENTS] : NULL;
    if (op->kind == SIM_OP_OPEN) {
        *at = (struct sim_session){op->session, op->client, e->header.time.us};
        memset(state->results[slot], 0, sizeof state->results[slot]);
        return;
    }
    if (at != NULL && at->session != op->session)
        return; /* of an unknown session nothing is remembered */
    if (op->kind == SIM_OP_EXPIRE) {
        *at = (struct sim_session){0, 0, 0};
        memset(state->results[slot], 0, sizeof state->results[slot]);
        return;
    }
    if (at != NULL)
        at->last_us = e->header.time.us;
    const uint64_t place = op->sequence % SIM_RESULTS;
    if (op->sequence >= state->results[slot][place].sequence) {
        state->results[slot][place].sequence = op->sequence;
        state->results[slot][place].lsn = state->lsn;
    }
}

/* ---- the primary ---- */

bool sim_session_is_open(const struct sim *s, const struct sim_site *site, const struct sim_op *op)
{
    const struct uuid id = sim_session_id(op->client, op->session);
    struct session_info info;
    if (op->session == 0 || s->mutant == MUTANT_EXPIRED_RUNS)
        return true;
    switch (overlay_session(site->overlay, &id, (struct lsn){UINT64_MAX}, &info)) {
    case OVERLAY_THERE:
        return true;
    case OVERLAY_GONE:
        return false;
    case OVERLAY_UNKNOWN:
        break;
    }
    return site->state.sessions[op->session % SIM_SESSIONS].session == op->session;
}

/* The table is small: an opening waits until an older session is gone. */
bool sim_session_has_room(const struct sim *s, const struct sim_site *site, const struct sim_op *op)
{
    return sim_model_at(s, site, site->n).sessions[op->session % SIM_SESSIONS].session == 0;
}

static bool is_held(const struct sim *s, uint8_t i, uint32_t session)
{
    for (uint8_t k = 0; k < SIM_CLIENTS; k++)
        if (s->clients[k].waiting && s->clients[k].site == i &&
            s->ops[s->clients[k].op].session == session)
            return true;
    return false;
}

/* As collect_idle() and service_expire_sessions(). */
bool sim_session_may_expire(struct sim *s, uint8_t i, const struct sim_session *at)
{
    struct sim_site *site = &s->sites[i];
    const struct uuid id = sim_session_id((uint8_t)at->client, (uint32_t)at->session);
    struct session_info info;
    bool busy = false;
    uint64_t primary_us = (sim_clock_ms(s, site) - site->primary_since_ms) * 1000;
    if (s->mutant == MUTANT_EXPIRY_BELIEVES_THE_LOG)
        primary_us = UINT64_MAX;
    if (at->session == 0 || is_held(s, i, (uint32_t)at->session) ||
        !session_was_idle((struct utc){at->last_us}, (struct utc){sim_commit_us(s, site)},
                          primary_us, s->session_limit_us))
        return false;
    if (s->mutant == MUTANT_EXPIRY_IN_FLIGHT)
        return true;
    overlay_busy_sessions(site->overlay, &id, 1, &busy);
    return !busy &&
           overlay_session(site->overlay, &id, (struct lsn){UINT64_MAX}, &info) == OVERLAY_UNKNOWN;
}

void sim_sessions_tick(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    const uint64_t now = sim_clock_ms(s, site);
    if (!s->swarm.sessions || !marks_settled(&site->marks, &site->view, site->term_start) ||
        now < site->expired_ms + EVERY_MS)
        return;
    site->expired_ms = now;
    for (uint32_t k = 0; k < SIM_SESSIONS; k++) {
        const struct sim_session *at = &site->state.sessions[k];
        if (!sim_session_may_expire(s, i, at) || !sim_has_room(s, site))
            continue;
        const uint32_t id = ++s->ops_n;
        s->ops[id] = (struct sim_op){
            .kind = SIM_OP_EXPIRE, .client = (uint8_t)at->client, .session = (uint32_t)at->session};
        sim_site_post(s, i, &(struct sim_inbox){.type = REPL_EV_PROPOSE, .op = id});
    }
}

/* ---- clients ---- */

bool sim_session_wanted(struct sim *s, uint8_t client)
{
    struct sim_client *c = &s->clients[client];
    if (!s->swarm.sessions || c->session != 0)
        return false;
    const uint32_t id = ++s->ops_n;
    const bool again = s->mutant == MUTANT_SESSION_OPENED_TWICE && c->last_session != 0;
    s->ops[id] = (struct sim_op){.kind = SIM_OP_OPEN,
                                 .client = client,
                                 .session = again ? c->last_session : ++s->sessions_n,
                                 .invoked = ++s->history};
    c->last_session = s->ops[id].session;
    c->op = id;
    c->attempt = 0;
    return true;
}

void sim_session_opened(struct sim *s, struct sim_client *c)
{
    c->session = s->ops[c->op].session;
    c->sequence = 0;
    s->truth.sessions_opened++;
}

void sim_session_expired(struct sim *s, struct sim_client *c)
{
    struct sim_op *op = &s->ops[c->op];
    s->truth.sessions_expired++;
    if (c->attempt == 1)
        op->outcome = SIM_REFUSED; /* and never is; else nobody knows (R10) */
    c->session = 0;
    c->op = 0;
    c->waiting = false;
}

uint64_t sim_session_sleep_us(struct sim *s)
{
    if (!s->swarm.sessions || s->calm || !sim_rng_chance(&s->session, 60000))
        return 0;
    return sim_rng_between(&s->session, s->session_limit_us / 2, s->session_limit_us * 2);
}

/* ---- the history ---- */

static void take(struct sim_session_truth *t, const struct sim_op *op, const struct sim_entry *e)
{
    t->opened |= op->kind == SIM_OP_OPEN;
    t->ended |= op->kind == SIM_OP_EXPIRE;
    t->last_us = e->sealed_us;
}

void sim_check_session(struct sim *s, uint32_t id)
{
    const struct sim_entry *e = &s->entries[id];
    const struct sim_op *op = &s->ops[e->op];
    if (e->op == 0 || op->session == 0)
        return;
    struct sim_session_truth *t = &s->session_truth[op->session];
    const bool opens = op->kind == SIM_OP_OPEN, ends = op->kind == SIM_OP_EXPIRE;
    if (opens && t->opened)
        sim_fail(s, "S25: session %u is opened a second time at %llu", op->session,
                 U(e->header.lsn.v));
    else if (!opens && !t->opened)
        sim_fail(s, "S25: %llu is of session %u, which was never opened", U(e->header.lsn.v),
                 op->session);
    else if (t->ended)
        sim_fail(s, "S25: %llu is %s session %u, which has ended", U(e->header.lsn.v),
                 ends ? "a second end of" : "of", op->session);
    else if (ends && e->sealed_us - t->last_us < s->session_limit_us / 4 * 3)
        sim_fail(s, "S25: session %u ends at %llu, %llu ms after its last entry; %llu are allowed",
                 op->session, U(e->header.lsn.v), U((e->sealed_us - t->last_us) / SIM_MS),
                 U(s->session_limit_us / SIM_MS));
    take(t, op, e);
}

void sim_sessions_cut(struct sim *s)
{
    memset(s->session_truth, 0, sizeof s->session_truth);
    for (uint64_t n = 1; n <= s->truth.committed_n; n++) {
        const struct sim_entry *e = &s->entries[s->truth.committed[n - 1]];
        const struct sim_op *op = &s->ops[e->op];
        if (e->op != 0 && op->session != 0)
            take(&s->session_truth[op->session], op, e);
    }
}
