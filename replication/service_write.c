/* Writes: transactions, and who waits for which lsn. The entries that are not transactions are in service_entries.c.
 *
 * THE DECISION. Conditions are decided here, at the primary, against everything that is in the log, applied or not: the overlay
 * first, then the state. What goes into the log are effects. A failed condition is an answer about the history so far, so it
 * waits, like a write, until that history is committed: nobody hears of a write that may yet vanish.
 *
 * ONCE (P6). A transaction of a session is looked up by (session, sequence), in flight and applied, before anything else; found,
 * its first outcome is the answer. The result enters the state in the same LMDB transaction as the effects. So is one with a key
 * that the application chose (service_idempotency.c). */
#include "replication/service.h"

#include "store/core/check.h"

/* ---- waiting ---- */

static int waiters_reserve(struct waiters *q, struct err *e)
{
    if (q->count < q->capacity)
        return 0;
    check(q->count == q->capacity);
    uint32_t larger = q->capacity == 0 ? 1024 : q->capacity * 2;
    struct waiter *ring = larger <= WAITERS_MAX ? malloc(larger * sizeof *ring) : NULL;
    if (ring == NULL)
        return err_set(e, ERR_BUSY, "%u writes wait already; try again", q->count);
    check(q->count == q->capacity);
    for (uint32_t i = 0; i < q->count; i++)
        ring[i] = q->ring[(q->head + i) % q->capacity];
    free(q->ring);
    *q = (struct waiters){ring, larger, 0, q->count};
    return 0;
}

/* The level at which a client that asks for `asked` now is answered; decided once, when the request comes. */
static enum level answered_at(const struct service *v, enum level asked)
{
    return marks_answer_level(asked, v->site->view.mode);
}

/* Is there room for one more? Asked before anything is written, so that no write is refused after it was logged. */
int service_room_to_wait(struct client *c, enum level asked, struct err *e)
{
    return waiters_reserve(&c->service->waiters[answered_at(c->service, asked)], e);
}

void service_wait(struct client *c, enum level asked, const struct waiter *w)
{
    struct waiters *q = &c->service->waiters[answered_at(c->service, asked)];
    check(q->count < q->capacity);
    q->ring[(q->head + q->count++) % q->capacity] = *w;
    client_ref(c);
    service_answer_waiters(c->service); /* it may be covered already */
}

static uint8_t site_index(const struct site *s, bool repository)
{
    for (uint8_t i = 0; i < s->config->member_count; i++)
        if ((s->view.list.members.voters >> i & 1) != 0 &&
            (s->config->members[i].kind == SITE_REPOSITORY) == repository &&
            (repository || i != s->config->self))
            return i;
    return (uint8_t)s->config->self;
}

/* Highest lsn that may be answered at the level now. R3: what only this site's disk has is acknowledged under a valid lease
 * alone; what a majority has is proof of its own. */
static struct lsn covered(const struct site *s, enum level level)
{
    if (level == LEVEL_LOCAL)
        return marks_local_to(&s->marks, repl_lease_valid(s->repl, site_now_ms()));
    return repl_level_lsn(s->repl, level, site_index(s, false), site_index(s, true));
}

/* The strongest level that covers the lsn now, for one that has waited at `level`: what the answer states. What a site that was
 * left alone has is on one disk, whatever a majority of one is called. */
static enum level achieved(const struct site *s, struct lsn lsn, enum level level)
{
    if (members_alone(s))
        return LEVEL_LOCAL;
    if (covered(s, LEVEL_ALL).v >= lsn.v)
        return LEVEL_ALL;
    if (level > LEVEL_MAJORITY)
        return level; /* dr or gsr: both a majority and that site */
    if (s->marks.commit.v >= lsn.v)
        return LEVEL_MAJORITY;
    return LEVEL_LOCAL;
}

static void answer_failed(const struct waiter *w)
{
    char text[96];
    if (w->exists)
        (void)snprintf(text, sizeof text,
                       "condition %d failed: the record exists with version %llu",
                       w->failed_condition, (unsigned long long)w->version.v);
    else
        (void)snprintf(text, sizeof text, "condition %d failed: the record does not exist",
                       w->failed_condition);
    service_error_details(w->client, w->request,
                          &(struct wire_error){.code = ERR_CONDITION,
                                               .text = bytes_str(text),
                                               .failed_condition = w->failed_condition,
                                               .lsn = w->lsn});
}

static void answer(struct service *v, const struct waiter *w, enum level level)
{
    struct site *s = v->site;
    uint8_t body[128];
    struct writer out = writer_of(body, sizeof body);
    if (w->client->conn == NULL && w->type != FRAME_ADMIN)
        return;
    if (w->refused != NULL) {
        service_error_details(w->client, w->request,
                              &(struct wire_error){.code = w->refused->code,
                                                   .text = bytes_str(w->refused->text),
                                                   .failed_condition = -1,
                                                   .lsn = w->lsn});
        v->failed_conditions++;
        return;
    }
    if (w->failed_condition >= 0) {
        answer_failed(w);
        v->failed_conditions++;
        return;
    }
    if (w->type == FRAME_ADMIN) {
        v->committed++;
        json_t *reply = json_pack("{s:I, s:I, s:s}", "lsn", (json_int_t)w->lsn.v, "time_us",
                                  (json_int_t)w->time.us, "operator", w->client->name);
        if (w->declares)
            json_object_set_new(reply, "created", json_boolean(w->created));
        service_reply_json(w->client, w->request, reply);
        return;
    }
    if (w->type == FRAME_SESSION_OPEN)
        wire_write_session(&out, &(struct wire_session){w->session, w->lsn});
    else if (w->type == FRAME_OUTCOME_BY_KEY)
        wire_write_key_outcome(
            &out, &(struct wire_key_outcome){
                      w->key, w->key == WIRE_KEY_NONE ? LEVEL_MODE : achieved(s, w->lsn, level),
                      w->lsn, w->term, w->time});
    else
        wire_write_done(&out, &(struct wire_done){w->lsn, w->term, w->time,
                                                  achieved(s, w->lsn, level), w->repeated});
    check(!out.bad);
    v->committed++;
    service_reply(w->client, w->type, w->request, bytes_of(body, out.at));
}

void service_answer_waiters(struct service *v)
{
    struct site *s = v->site;
    if (s->view.role != REPL_PRIMARY || s->fatal.code != 0)
        return;
    for (unsigned level = LEVEL_LOCAL; level <= LEVEL_ALL; level++) {
        struct waiters *q = &v->waiters[level];
        struct lsn upto = q->count != 0 ? covered(s, (enum level)level) : (struct lsn){0};
        while (q->count > 0 && q->ring[q->head].lsn.v <= upto.v) {
            struct waiter *w = &q->ring[q->head];
            answer(v, w, (enum level)level);
            if (level == LEVEL_LOCAL)
                answered_local(&s->answered, w->lsn, w->client->conn != NULL);
            client_unref(w->client);
            free(w->refused);
            q->head = (q->head + 1) % q->capacity;
            q->count--;
        }
    }
}

void service_tell_operators(struct service *v)
{
    struct err e;
    for (unsigned level = 0; level <= LEVEL_ALL; level++) {
        const struct waiters *q = &v->waiters[level];
        for (uint32_t i = 0; i < q->count; i++) {
            const struct waiter *w = &q->ring[(q->head + i) % q->capacity];
            if (w->type != FRAME_ADMIN)
                continue;
            (void)err_set(&e, ERR_OUTCOME_UNKNOWN,
                          "the site stops: the order is in its log at lsn %llu, and is not known "
                          "to be at a majority; see triveni status at the next primary",
                          (unsigned long long)w->lsn.v);
            service_error(w->client, w->request, &e);
        }
    }
}

void service_drop_waiters(struct service *v)
{
    for (unsigned level = 0; level <= LEVEL_ALL; level++) {
        struct waiters *q = &v->waiters[level];
        for (uint32_t i = 0; i < q->count; i++) {
            client_unref(q->ring[(q->head + i) % q->capacity].client);
            free(q->ring[(q->head + i) % q->capacity].refused);
        }
        free(q->ring);
        *q = (struct waiters){0};
    }
}

/* ---- is this site the one to ask? ---- */

int service_require_primary(struct client *c, const struct frame *f, struct bytes body,
                            struct err *e)
{
    struct site *s = c->service->site;
    if (site_is_ready(s))
        return 0;
    if (s->view.role == REPL_PRIMARY) {
        int rc = service_park(c, f, body, (struct lsn){0}, e);
        return rc != 0 ? rc : SERVICE_LATER;
    }
    const struct site_member *primary = site_member(s, s->view.primary);
    if (primary == NULL)
        return err_set(
            e, ERR_NOT_PRIMARY,
            "%s is not the primary, and knows of none: perhaps there is no majority of sites",
            s->config->members[s->config->self].name);
    return err_set(e, ERR_NOT_PRIMARY, "%s is not the primary: %s is, at %s",
                   s->config->members[s->config->self].name, primary->name, primary->client);
}

/* ---- proposals ---- */

int service_propose(struct site *s, enum entry_kind kind, struct writer *w, struct waiter *out,
                    struct err *e)
{
    check(!w->bad);
    out->failed_condition = -1;
    out->term = s->view.term;
    return driver_propose(s, kind, bytes_of(w->p, w->at), &out->lsn, &out->time, e);
}

/* Buffer for the body of an entry. */
static int seal_buffer(struct site *s, size_t bytes, struct err *e)
{
    if (bytes <= s->seal_capacity)
        return 0;
    uint8_t *larger = realloc(s->seal_buffer, bytes);
    if (larger == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for a transaction of %zu bytes", bytes);
    s->seal_buffer = larger;
    s->seal_capacity = bytes;
    return 0;
}

/* The earlier outcome of (session, sequence). 0 found, ERR_NOT_FOUND. */
static int earlier_outcome(struct site *s, const struct uuid *session, uint64_t sequence,
                           struct entry_position *out, struct err *e)
{
    if (overlay_result(s->overlay, session, sequence, SERVICE_NEWEST, out) == OVERLAY_THERE)
        return 0;
    struct state_snapshot *snap;
    int rc = site_snapshot(s, &snap, e);
    return rc != 0 ? rc : state_result(snap, session, sequence, out, e);
}

/* ---- transactions ---- */

static int find_fact(struct site *s, const struct condition *cond, struct fact *out, struct err *e)
{
    struct record r;
    int rc = service_newest(s, cond->collection, cond->key, &r, e);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    *out = (struct fact){rc == 0, rc == 0 ? r.lsn : (struct lsn){0}};
    return 0;
}

/* The index of the first condition that fails or TXN_HOLDS in *verdict, and what was found for it. */
static int decide(struct site *s, const struct wire_txn *txn, int *verdict, struct fact *found,
                  struct err *e)
{
    struct reader r = txn->conditions;
    *verdict = TXN_HOLDS;
    for (uint32_t i = 0; i < txn->condition_count; i++) {
        struct condition cond;
        int rc = wire_next_condition(&r, &cond, e);
        if (rc == 0)
            rc = find_fact(s, &cond, found, e);
        if (rc != 0)
            return rc;
        if (txn_decide(&cond, found, 1) != TXN_HOLDS) {
            *verdict = (int)i;
            return 0;
        }
    }
    return 0;
}

/* Every op within limits, and none in a system collection. */
static int check_ops(const struct wire_txn *txn, struct err *e)
{
    struct reader r = txn->ops;
    for (uint32_t i = 0; i < txn->op_count; i++) {
        struct op op;
        int rc = body_next_op(&r, &op, e);
        if (rc == 0)
            rc = op_check(&op, false, e);
        if (rc != 0)
            return err_wrap(e, "operation %u", i);
    }
    return 0;
}

/* Build the body straight from the request: its ops have the entry's own layout. */
static int build_txn(struct client *c, const struct wire_txn *txn, struct writer *w, struct err *e)
{
    struct site *s = c->service->site;
    struct bytes ops = bytes_of(txn->ops.p + txn->ops.at, txn->ops.n - txn->ops.at);
    const bool keyed = txn->key.n != 0;
    size_t need = ENTRY_SALT_BYTES + 64 + CLIENT_NAME_MAX_BYTES + ops.n +
                  (keyed ? IDEMPOTENCY_OP_MAX_BYTES : 0);
    if (need > ENTRY_BODY_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "transaction of %zu bytes: at most %d are allowed", need,
                       ENTRY_BODY_MAX_BYTES);
    uint8_t salt[ENTRY_SALT_BYTES];
    int rc = seal_buffer(s, need, e);
    if (rc == 0)
        rc = salts_next(&s->salts, salt, e);
    if (rc != 0)
        return rc;
    *w = writer_of(s->seal_buffer, s->seal_capacity);
    body_write_txn(w, salt,
                   &(struct body_txn){.session = txn->session,
                                      .sequence = txn->sequence,
                                      .level = answered_at(c->service, txn->level),
                                      .client = bytes_str(c->name)},
                   NULL);
    check(!w->bad);
    put_le32(w->p + w->at - 4, txn->op_count + keyed);
    write_bytes(w, ops);
    if (keyed)
        service_key_write(w, c, txn, answered_at(c->service, txn->level));
    return 0;
}

int service_answer_without_writing(struct client *c, const struct frame *f, struct bytes body,
                                   struct waiter *w, const struct err *refused, struct err *e)
{
    struct site *s = c->service->site;
    if (!repl_lease_valid(s->repl, site_now_ms()))
        return service_park(c, f, body, (struct lsn){0}, e);
    if (refused != NULL) {
        w->refused = malloc(sizeof *w->refused);
        if (w->refused == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory for an answer");
        *w->refused = *refused;
    }
    w->lsn = s->tail.lsn;
    w->term = s->tail.term;
    w->time = s->tail.time;
    service_wait(c, LEVEL_MODE, w);
    return 0;
}

bool service_txn_parked(const struct service *v, const struct uuid *session, uint64_t sequence)
{
    struct wire_txn txn;
    for (const struct parked *p = v->parked_first; p != NULL; p = p->next)
        if (p->frame.type == FRAME_TXN && p->client->conn != NULL &&
            wire_read_txn(bytes_of(p->body, p->bytes), &txn, NULL) == 0 &&
            txn.sequence == sequence && uuid_equal(&txn.session, session))
            return true;
    return false;
}

/* 0 and *found: the session's transaction was seen before, `w` holds its outcome. */
static int look_for_earlier(struct client *c, const struct wire_txn *txn, struct waiter *w,
                            bool *found, struct err *e)
{
    struct entry_position earlier;
    *found = false;
    if (c->fenced)
        return err_set(e, ERR_CANCELLED, "the session was resumed on another connection");
    if (uuid_is_zero(&txn->session) || session_is_new(c, &txn->session, txn->sequence))
        return 0;
    int rc = service_check_session(c, &txn->session, e);
    if (rc != 0)
        return rc;
    service_claim_session(c, &txn->session);
    rc = session_learn(c, e);
    if (rc == 0)
        rc = earlier_outcome(c->service->site, &txn->session, txn->sequence, &earlier, e);
    if (rc == ERR_NOT_FOUND) {
        *e = (struct err)ERR_NONE;
        return 0;
    }
    *found = rc == 0;
    w->lsn = earlier.lsn;
    w->term = earlier.term;
    w->time = earlier.time;
    w->repeated = true;
    return rc;
}

/* R6: who asks for more than one disk by name is told that there is no second one, before anything is done. */
static int check_level(const struct site *s, enum level asked, struct err *e)
{
    if (asked <= LEVEL_LOCAL || !members_alone(s))
        return 0;
    return err_set(e, ERR_FAILED,
                   "level '%s' was asked for, and the cluster runs alone, on the disk of %s only: "
                   "nothing was written. Ask for the mode's level or for local, whose answers say "
                   "'local', or add a site first (triveni member add)",
                   level_name(asked), s->config->members[s->config->self].name);
}

/* What can be said before anything is looked up. */
static int read_txn(struct client *c, struct bytes body, struct wire_txn *txn, struct err *e)
{
    int rc = wire_read_txn(body, txn, e);
    if (rc == 0)
        rc = check_ops(txn, e);
    if (rc == 0)
        rc = check_level(c->service->site, txn->level, e);
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MODE, e);
    return rc != 0 ? rc : service_room_to_wait(c, txn->level, e);
}

int service_txn(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct site *s = c->service->site;
    struct waiter w = {
        .client = c, .request = f->request, .type = FRAME_TXN, .failed_condition = -1};
    struct wire_txn txn;
    int rc = service_require_primary(c, f, body, e);
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    rc = read_txn(c, body, &txn, e);
    bool earlier = false;
    if (rc == 0)
        rc = look_for_earlier(c, &txn, &w, &earlier, e);
    if (rc == 0 && !earlier && txn.key.n != 0)
        rc = service_key_look(c, &txn, &w, &earlier, e);
    if (rc == ERR_KEY_USED) {
        const struct err refused = *e;
        return service_answer_without_writing(c, f, body, &w, &refused, e);
    }
    if (rc != 0)
        return rc;
    if (earlier) {
        enum level level = marks_repeat_level(txn.level, s->view.mode);
        rc = service_room_to_wait(c, level, e);
        if (rc == 0)
            service_wait(c, level, &w);
        return rc;
    }
    struct fact found = {0};
    rc = decide(s, &txn, &w.failed_condition, &found, e);
    if (rc != 0)
        return rc;
    if (w.failed_condition != TXN_HOLDS || txn.op_count == 0) {
        w.exists = found.exists;
        w.version = found.version;
        return service_answer_without_writing(c, f, body, &w, NULL, e);
    }
    rc = service_unique_check(c, f, body, &txn, e);
    if (rc == ERR_UNIQUE) {
        const struct err refused = *e;
        return service_answer_without_writing(c, f, body, &w, &refused, e);
    }
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    struct writer out;
    rc = build_txn(c, &txn, &out, e);
    if (rc == 0)
        rc = service_propose(s, ENTRY_TXN, &out, &w, e);
    service_unique_written(c->service, rc == 0 ? w.lsn : (struct lsn){0});
    if (rc != 0)
        return rc;
    session_logged(c, &txn.session, txn.sequence);
    if (txn.key.n != 0)
        service_key_logged(c);
    service_wait(c, txn.level, &w);
    return 0;
}
