/* The transaction path of a primary, as replication/service_write.c and service_read.c have it: is this site the one to ask, was
 * this asked before, do the conditions hold, and who may be answered now. The overlay, the decision on conditions, readiness and
 * levels are production's own code. What a new primary inherits it takes into the overlay as replication/inherit.c does, with a
 * bound of the seed's own, in every fourth seed nothing. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

static void park(struct sim *s, uint8_t i, uint32_t op, uint32_t attempt)
{
    struct sim_site *site = &s->sites[i];
    if (site->parked_n == SIM_PARKED_MAX) {
        struct sim_client *c = sim_client_of(s, i, op, attempt);
        if (c != NULL)
            sim_client_refused(s, c, true);
        return;
    }
    site->parked[site->parked_n].op = op;
    site->parked[site->parked_n++].attempt = attempt;
}

static bool lease(const struct sim *s, const struct sim_site *site)
{
    uint64_t now = sim_clock_ms(s, site);
    if (s->mutant == MUTANT_LEASE_KEPT_IN_HANDOVER && site->r->role == REPL_PRIMARY)
        return now < site->r->lease_from_ms + site->r->options.lease_ms;
    return repl_lease_valid(site->r, now);
}

static bool ready(const struct sim *s, const struct sim_site *site)
{
    if (s->mutant == MUTANT_READY_TOO_EARLY)
        return site->view.role == REPL_PRIMARY && site->view.serving;
    if (s->mutant == MUTANT_LEASE_KEPT_IN_HANDOVER)
        return site->view.role == REPL_PRIMARY && site->marks.applied.v >= site->term_start.v &&
               site->view.commit.v >= site->term_start.v;
    return marks_ready(&site->marks, &site->view, site->term_start,
                       site->inherited.v == site->view.term.v);
}

static void inherit(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    const uint64_t most = s->seed % 4 == 2 ? 0 : UINT64_C(1) << s->seed % 8;
    uint64_t to = site->n;
    if (site->view.role != REPL_PRIMARY || site->inherited.v == site->view.term.v ||
        site->marks.applied.v >= site->term_start.v || site->n - site->marks.applied.v > most ||
        s->mutant == MUTANT_READY_TOO_EARLY)
        return;
    if (s->mutant == MUTANT_INHERITS_COMMITTED)
        to = site->view.commit.v;
    overlay_free(site->overlay);
    site->overlay = overlay_new(s->seed);
    check(site->overlay != NULL);
    for (uint64_t lsn = site->marks.applied.v + 1; lsn <= to && !s->failed; lsn++) {
        const uint32_t id = site->ids[lsn - 1];
        const size_t bytes = ENTRY_HEADER_BYTES + s->entries[id].header.body_bytes;
        struct entry_view v;
        struct err e = ERR_NONE;
        size_t used;
        if (entry_decode(bytes_of(s->contents[id].raw, bytes), &v, &used, &e) != 0 ||
            overlay_add(site->overlay, &v, &e) != 0)
            sim_fail(s, "S13: %s cannot inherit %llu: %s", sim_names[i], U(lsn), e.text);
    }
    site->inherited = site->view.term;
    s->truth.inherited++;
}

/* The record as of `upto`: the overlay first, then the state. */
struct sim_record sim_service_find(const struct sim *s, const struct sim_site *site, uint8_t key,
                                   struct lsn upto)
{
    struct record r;
    uint8_t name = (uint8_t)('a' + key);
    switch (s->mutant == MUTANT_OVERLAY_IGNORED
                ? OVERLAY_UNKNOWN
                : overlay_get(site->overlay, bytes_str("c"), bytes_of(&name, 1), upto, &r)) {
    case OVERLAY_THERE:
        check(r.value.n == 8);
        return (struct sim_record){get_le64(r.value.p), r.lsn.v};
    case OVERLAY_GONE:
        return (struct sim_record){0, 0};
    case OVERLAY_UNKNOWN:
        break;
    }
    return site->state.records[key];
}

/* Where (session, sequence) is in the log; 0: it was not seen before. */
static uint64_t earlier_outcome(const struct sim *s, const struct sim_site *site,
                                const struct sim_op *op)
{
    struct uuid session = sim_session_id(op->client, op->session);
    struct entry_position at;
    if (s->mutant == MUTANT_RETRY_NOT_LOOKED_UP)
        return 0;
    if (overlay_result(site->overlay, &session, op->sequence, (struct lsn){UINT64_MAX}, &at) ==
        OVERLAY_THERE)
        return at.lsn.v;
    if (op->session != 0 && site->state.sessions[op->session % SIM_SESSIONS].session != op->session)
        return 0; /* the place is still another session's, whose end is not applied yet */
    const uint32_t of = sim_session_slot(op);
    const uint64_t slot = op->sequence % SIM_RESULTS;
    return site->state.results[of][slot].sequence == op->sequence
               ? site->state.results[of][slot].lsn
               : 0;
}

bool sim_service_holds(const struct sim *s, const struct sim_site *site, const struct sim_op *op)
{
    uint8_t name = (uint8_t)('a' + op->key);
    struct condition cond = {op->expected.version == 0 ? COND_ABSENT : COND_VERSION,
                             bytes_str("c"),
                             bytes_of(&name, 1),
                             {op->expected.version}};
    struct sim_record r = sim_service_find(s, site, op->key, (struct lsn){UINT64_MAX});
    struct fact fact = {r.version != 0, {r.version}};
    return txn_decide(&cond, &fact, 1) == TXN_HOLDS;
}

static void wait_for(struct sim_client *c, uint64_t lsn, enum level level, bool failed)
{
    if (c == NULL)
        return;
    c->lsn = lsn;
    c->level = level;
    c->failed = failed;
}

void sim_service_wait(struct sim_client *c, uint64_t lsn, enum level level)
{
    wait_for(c, lsn, level, false);
}

void sim_service_wait_for_all(struct sim *s, uint8_t i, struct sim_client *c)
{
    struct sim_site *site = &s->sites[i];
    if (lease(s, site))
        wait_for(c, site->n, marks_answer_level(LEVEL_MODE, site->view.mode), false);
    else
        park(s, i, site->current.op, site->current.attempt);
}

static void read_now(struct sim *s, uint8_t i, const struct sim_op *op, struct sim_client *c)
{
    struct sim_site *site = &s->sites[i];
    if (!lease(s, site) && s->mutant != MUTANT_READ_WITHOUT_LEASE) {
        park(s, i, site->current.op, site->current.attempt);
        return;
    }
    s->truth.reads++;
    if (c != NULL && site->marks.visible.v < op->floor)
        sim_fail(s, "S15: %s reads at %llu, but %llu was acknowledged before", sim_names[i],
                 U(site->marks.visible.v), U(op->floor));
    if (c != NULL)
        sim_client_answered(s, c, SIM_DONE,
                            sim_service_find(s, site, op->key, site->marks.visible));
}

static bool logs_session(struct sim *s, uint8_t i, const struct sim_op *op, struct sim_client *c)
{
    struct sim_site *site = &s->sites[i];
    if (op->kind == SIM_OP_EXPIRE)
        return sim_has_room(s, site) &&
               sim_session_may_expire(s, i, &site->state.sessions[op->session % SIM_SESSIONS]) &&
               site->state.sessions[op->session % SIM_SESSIONS].session == op->session;
    if (!sim_has_room(s, site) || !sim_session_has_room(s, site, op)) {
        if (c != NULL)
            sim_client_refused(s, c, true);
        return false;
    }
    wait_for(c, site->n + 1, marks_answer_level(LEVEL_MODE, site->view.mode), false);
    return true;
}

bool sim_service_request(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    uint32_t id = site->current.op, attempt = site->current.attempt;
    const struct sim_op *op = &s->ops[id];
    struct sim_client *c = sim_client_of(s, i, id, attempt);
    if ((op->kind == SIM_OP_EXPIRE || op->kind >= SIM_OP_MARK) && !ready(s, site))
        return false;
    if (!ready(s, site)) {
        if (site->view.role == REPL_PRIMARY)
            park(s, i, id, attempt);
        else if (c != NULL)
            sim_client_refused(s, c, true);
        return false;
    }
    if (op->kind == SIM_OP_READ) {
        read_now(s, i, op, c);
        return false;
    }
    if (op->kind == SIM_OP_OPEN || op->kind == SIM_OP_EXPIRE)
        return logs_session(s, i, op, c);
    if (op->kind >= SIM_OP_TRY)
        return sim_key_request(s, i, c);
    if (!sim_session_is_open(s, site, op)) {
        if (c != NULL)
            sim_session_expired(s, c);
        return false;
    }
    enum commit_mode mode = site->view.mode;
    uint64_t earlier = earlier_outcome(s, site, op);
    if (earlier != 0) {
        s->truth.retries++;
        wait_for(c, earlier, marks_repeat_level(op->level, mode), false);
        return false;
    }
    if (op->kind == SIM_OP_CAS && !sim_service_holds(s, site, op)) {
        /* Nothing is written: the answer is about the history so far, and waits until that is committed. */
        if (c != NULL && s->mutant == MUTANT_REFUSAL_NOT_AWAITED)
            sim_client_answered(s, c, SIM_CONDITION_FAILED, (struct sim_record){0, 0});
        else if (lease(s, site))
            wait_for(c, site->n, marks_answer_level(LEVEL_MODE, mode), true);
        else
            park(s, i, id, attempt);
        return false;
    }
    if (!sim_has_room(s, site)) {
        if (c != NULL)
            sim_client_refused(s, c, true);
        return false;
    }
    wait_for(c, site->n + 1, marks_answer_level(op->level, mode), false);
    return true;
}

static struct lsn covered(const struct sim *s, uint8_t i, enum level level)
{
    const struct sim_site *site = &s->sites[i];
    if (level <= LEVEL_LOCAL || s->mutant == MUTANT_ANSWER_AT_NEW_MODE)
        return marks_local_to(&site->marks, lease(s, site));
    if (s->mutant == MUTANT_LEVEL_TOO_HIGH)
        level = LEVEL_MAJORITY;
    return repl_level_lsn(site->r, level, (uint8_t)(1 - i), SIM_GSR);
}

/* As in replication/service_write.c: the strongest level that covers the lsn, for one that has waited at `level`. */
static enum level achieved(const struct sim *s, uint8_t i, uint64_t lsn, enum level level)
{
    if (covered(s, i, LEVEL_ALL).v >= lsn)
        return LEVEL_ALL;
    if (level > LEVEL_MAJORITY)
        return level;
    if (s->mutant == MUTANT_LEVEL_OVERSTATED)
        return LEVEL_DR;
    return s->sites[i].marks.commit.v >= lsn ? LEVEL_MAJORITY : LEVEL_LOCAL;
}

static void answer_who_can_be(struct sim *s, uint8_t i)
{
    for (uint8_t k = 0; k < SIM_ASKERS && !s->failed; k++) {
        struct sim_client *c = &s->clients[k];
        if (!c->waiting || c->site != i || c->lsn == 0 || covered(s, i, c->level).v < c->lsn)
            continue;
        const struct sim_op *op = &s->ops[c->op];
        if (c->level == LEVEL_LOCAL && s->mutant != MUTANT_LOCAL_ANSWERS_FORGOTTEN)
            answered_local(&s->sites[i].answered, (struct lsn){c->lsn}, true);
        if (!c->failed && (op->kind < SIM_OP_TRY || c->told == SIM_KEY_DONE))
            sim_check_ack(s, i, c, achieved(s, i, c->lsn, c->level));
        if (op->kind >= SIM_OP_TRY) {
            sim_worker_answered(s, i, c);
            continue;
        }
        sim_client_answered(s, c, c->failed ? SIM_CONDITION_FAILED : SIM_DONE,
                            op->kind == SIM_OP_DELETE ? (struct sim_record){0, 0}
                                                      : (struct sim_record){op->value, c->lsn});
    }
}

void sim_service_progress(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    inherit(s, i);
    if (site->view.role == REPL_PRIMARY)
        answer_who_can_be(s, i);
    bool now = ready(s, site) && lease(s, site);
    if (site->marks.applied.v == site->parked_applied && now == site->parked_ready)
        return;
    site->parked_applied = site->marks.applied.v;
    site->parked_ready = now;
    uint32_t n = site->parked_n;
    site->parked_n = 0;
    for (uint32_t k = 0; k < n; k++)
        sim_site_post(s, i,
                      &(struct sim_inbox){.type = REPL_EV_PROPOSE,
                                          .op = site->parked[k].op,
                                          .attempt = site->parked[k].attempt});
}

void sim_service_closed(struct sim *s, uint8_t i)
{
    s->sites[i].parked_n = 0;
    for (uint8_t k = 0; k < SIM_ASKERS; k++)
        if (s->clients[k].waiting && s->clients[k].site == i)
            sim_client_refused(s, &s->clients[k], s->mutant == MUTANT_UNKNOWN_TOLD_REFUSED);
}

void sim_service_demoted(struct sim *s, uint8_t i)
{
    if (s->mutant != MUTANT_OVERLAY_KEPT)
        overlay_truncate(s->sites[i].overlay, s->sites[i].marks.applied);
    sim_service_closed(s, i);
}
