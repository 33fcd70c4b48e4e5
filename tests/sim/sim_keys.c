/* Idempotency keys at the primary, as replication/service_idempotency.c has them, in an eighth of the seeds: a transaction
 * that comes with a key, the question what became of one, the giving up, and the forgetting. The decisions, the bytes of the
 * marks, and what is in flight are production's own (store/core/idempotency.h, the overlay); the state's records of
 * `_idempotency` are a small table.
 *
 * Who asks is in sim_workers.c: processes of one application, of which each may ask for what another began. A request is no
 * more handled when half of the time that keys are kept has passed since the key was first used: to send one later is what
 * the contract forbids (client/triveni.h).
 *
 * S27: in the common history a key has one mark at a time, a transaction's or that it was given up; a mark is kept for its
 * time; and what anybody was told of a key for good, the same entry or never, is so for ever. */
#include "tests/sim/sim.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum { EVERY_MS = 100 };

static const char client[] = "sim";

void sim_keys_init(struct sim *s, struct rng g)
{
    s->keys = g;
    s->key_limit_us = sim_rng_between(&g, 1000, 8000) * SIM_MS;
}

uint32_t sim_key_logged(const struct sim *s, uint32_t op)
{
    return s->ops[op].kind == SIM_OP_TRY ? s->ops[op].job : op;
}

/* ---- marks ---- */

static struct bytes collection(void)
{
    return bytes_str(IDEMPOTENCY_COLLECTION);
}

static struct bytes record_key(uint32_t name, uint8_t out[IDEMPOTENCY_RECORD_KEY_MAX_BYTES])
{
    uint8_t key[4];
    put_le32(key, name);
    return idempotency_record_key(bytes_str(client), bytes_of(key, sizeof key), out);
}

static uint32_t name_of(struct bytes record_key)
{
    check(record_key.n == sizeof client + 4);
    return get_le32(record_key.p + sizeof client);
}

/* Conditions and operations as they are asked for. */
static struct sha256 content_of(const struct sim_op *job)
{
    uint8_t b[32];
    put_le64(b, (uint64_t)job->kind);
    put_le64(b + 8, job->key);
    put_le64(b + 16, job->value);
    put_le64(b + 24, job->expected.version);
    return hash_sha256(bytes_of(b, sizeof b));
}

static struct body_txn txn_of(const struct sim *s, uint32_t id)
{
    struct body_txn t;
    const uint32_t bytes = s->entries[id].header.body_bytes;
    struct err e = ERR_NONE;
    check(body_read_txn(bytes_of(s->contents[id].raw + ENTRY_HEADER_BYTES, bytes), &t, &e) == 0);
    return t;
}

/* The next operation on a mark. */
static bool next_mark(struct body_txn *t, struct op *op)
{
    struct err e = ERR_NONE;
    while (t->op_count > 0) {
        t->op_count--;
        check(body_next_op(&t->ops, op, &e) == 0);
        if (bytes_equal(op->collection, collection()))
            return true;
    }
    return false;
}

struct known {
    struct idempotency_mark mark;
    struct record record;
};

/* What stands for the key in what is logged, applied or not. NULL: nothing. */
static const struct idempotency_mark *find(const struct sim *s, const struct sim_site *site,
                                           uint32_t name, struct known *out)
{
    uint8_t buffer[IDEMPOTENCY_RECORD_KEY_MAX_BYTES];
    const struct bytes key = record_key(name, buffer);
    const struct sim_mark *at = &site->state.marks[name % SIM_MARKS];
    switch (s->mutant == MUTANT_KEY_IN_FLIGHT_MISSED
                ? OVERLAY_UNKNOWN
                : overlay_get(site->overlay, collection(), key, (struct lsn){UINT64_MAX},
                              &out->record)) {
    case OVERLAY_GONE:
        return NULL;
    case OVERLAY_THERE:
        check(idempotency_read(out->record.value, &out->mark, NULL) == 0);
        return &out->mark;
    case OVERLAY_UNKNOWN:
        break;
    }
    if (at->name != name)
        return NULL;
    struct body_txn t = txn_of(s, at->id);
    struct op op;
    while (next_mark(&t, &op))
        if (bytes_equal(op.key, key))
            check(idempotency_read(op.value, &out->mark, NULL) == 0);
    out->record.lsn = s->entries[at->id].header.lsn;
    return &out->mark;
}

uint32_t sim_key_ops(const struct sim *s, const struct sim_site *site, uint32_t op)
{
    const enum sim_op_kind kind = s->ops[op].kind;
    if (kind == SIM_OP_FORGET)
        return site->old_n;
    if (kind == SIM_OP_TRY)
        return s->mutant != MUTANT_KEY_OUTSIDE_TXN;
    return kind == SIM_OP_GIVE_UP || kind == SIM_OP_MARK;
}

void sim_key_write(const struct sim *s, const struct sim_site *site, uint32_t op, enum level level,
                   struct writer *w)
{
    uint8_t key[IDEMPOTENCY_RECORD_KEY_MAX_BYTES], name[4];
    const struct sim_op *o = &s->ops[op];
    struct idempotency_mark m = {
        .state = IDEMPOTENCY_GIVEN_UP, .level = LEVEL_MAJORITY, .term = site->view.term};
    if (sim_key_ops(s, site, op) == 0)
        return;
    for (uint32_t k = 0; o->kind == SIM_OP_FORGET && k < site->old_n; k++)
        idempotency_write_forget(w, record_key(site->old[k], key));
    if (o->kind == SIM_OP_FORGET)
        return;
    if (o->kind != SIM_OP_GIVE_UP) {
        m.state = IDEMPOTENCY_COMMITTED;
        m.level = level;
        m.content = content_of(&s->ops[o->job]);
    }
    put_le32(name, o->name);
    idempotency_write_op(w, bytes_str(client), bytes_of(name, sizeof name), &m);
}

void sim_key_apply(const struct sim *s, struct sim_state *state, uint32_t id)
{
    struct body_txn txn = txn_of(s, id);
    struct op op;
    while (next_mark(&txn, &op)) {
        const uint32_t name = name_of(op.key);
        struct sim_mark *at = &state->marks[name % SIM_MARKS];
        *at = op.kind == OP_PUT ? (struct sim_mark){name, id} : (struct sim_mark){0, 0};
    }
}

/* ---- requests ---- */

static void tell(struct sim_client *c, enum sim_key_answer what)
{
    if (c != NULL)
        c->told = what;
}

static void told_of_mark(struct sim *s, uint8_t i, struct sim_client *c, enum sim_key_answer what,
                         const struct known *known, enum level asked)
{
    tell(c, what);
    sim_service_wait(c, known->record.lsn.v, marks_repeat_level(asked, s->sites[i].view.mode));
    s->truth.key_repeats += what == SIM_KEY_DONE;
    if (c != NULL && what == SIM_KEY_DONE && s->mutant == MUTANT_KEY_REPEAT_NOT_AWAITED)
        sim_worker_answered(s, i, c);
}

static void told_without_writing(struct sim *s, uint8_t i, struct sim_client *c,
                                 enum sim_key_answer what)
{
    tell(c, what);
    sim_service_wait_for_all(s, i, c);
}

/* Is there a place for the key in the small table, and in the log? */
static bool has_room(struct sim *s, const struct sim_site *site, uint32_t name)
{
    const struct sim_state last = sim_model_at(s, site, site->n);
    const uint32_t there = last.marks[name % SIM_MARKS].name;
    return sim_has_room(s, site) && (there == 0 || there == name);
}

static bool log_it(struct sim *s, uint8_t i, struct sim_client *c, uint32_t name, enum level level,
                   enum sim_key_answer what)
{
    struct sim_site *site = &s->sites[i];
    if (!has_room(s, site, name)) {
        if (c != NULL)
            sim_client_refused(s, c, true);
        return false;
    }
    tell(c, what);
    sim_service_wait(c, site->n + 1, marks_answer_level(level, site->view.mode));
    return true;
}

static bool try_it(struct sim *s, uint8_t i, struct sim_client *c, const struct sim_op *o)
{
    struct sim_site *site = &s->sites[i];
    const struct sim_op *job = &s->ops[o->job];
    const struct sha256 content = content_of(job);
    struct known known = {.record = {.lsn = {0}}};
    const struct idempotency_mark *mark = find(s, site, o->name, &known);
    if (mark != NULL && s->mutant == MUTANT_KEY_WITHOUT_CONTENT)
        known.mark.content = content;
    switch (idempotency_decide(mark, &content)) {
    case IDEMPOTENCY_NEW:
        break;
    case IDEMPOTENCY_REPEATED:
        told_of_mark(s, i, c, SIM_KEY_DONE, &known, o->level);
        return false;
    case IDEMPOTENCY_OTHER:
    case IDEMPOTENCY_TOO_LATE:
        told_without_writing(s, i, c, SIM_KEY_REFUSED);
        return false;
    }
    if (s->mutant == MUTANT_KEY_GIVEN_UP_IN_MEMORY &&
        site->given_up[o->name % SIM_MARKS] == o->name) {
        told_without_writing(s, i, c, SIM_KEY_REFUSED);
        return false;
    }
    if (job->kind == SIM_OP_CAS && !sim_service_holds(s, site, job)) {
        told_without_writing(s, i, c, SIM_KEY_FAILED);
        return false;
    }
    if (!log_it(s, i, c, o->name, o->level, SIM_KEY_DONE))
        return false;
    if (s->mutant == MUTANT_KEY_OUTSIDE_TXN) {
        const uint32_t id = ++s->ops_n;
        s->ops[id] = (struct sim_op){.kind = SIM_OP_MARK, .name = o->name, .job = o->job};
        sim_site_post(s, i, &(struct sim_inbox){.type = REPL_EV_PROPOSE, .op = id});
    }
    return true;
}

static bool give_up(struct sim *s, uint8_t i, struct sim_client *c, const struct sim_op *o)
{
    struct sim_site *site = &s->sites[i];
    if (s->mutant == MUTANT_KEY_GIVEN_UP_IN_MEMORY) {
        site->given_up[o->name % SIM_MARKS] = o->name;
        told_without_writing(s, i, c, SIM_KEY_GIVEN_UP);
        return false;
    }
    if (!log_it(s, i, c, o->name, LEVEL_MAJORITY, SIM_KEY_GIVEN_UP))
        return false;
    if (c != NULL && s->mutant == MUTANT_KEY_GIVEN_UP_EARLY)
        sim_service_wait(c, site->n, LEVEL_LOCAL);
    return true;
}

static bool outcome(struct sim *s, uint8_t i, struct sim_client *c, const struct sim_op *o)
{
    const bool gives_up = o->kind == SIM_OP_GIVE_UP;
    struct known known = {.record = {.lsn = {0}}};
    const struct idempotency_mark *mark = find(s, &s->sites[i], o->name, &known);
    if (gives_up && s->mutant == MUTANT_KEY_GIVEN_UP_BLINDLY)
        mark = NULL;
    switch (idempotency_outcome(mark, gives_up)) {
    case IDEMPOTENCY_IS_COMMITTED:
        told_of_mark(s, i, c, SIM_KEY_COMMITTED, &known, LEVEL_MODE);
        return false;
    case IDEMPOTENCY_IS_GIVEN_UP:
        told_of_mark(s, i, c, SIM_KEY_GIVEN_UP, &known, LEVEL_MODE);
        return false;
    case IDEMPOTENCY_NONE_YET:
        told_without_writing(s, i, c, SIM_KEY_NONE);
        return false;
    case IDEMPOTENCY_GIVE_UP:
        break;
    }
    return give_up(s, i, c, o);
}

/* ---- forgetting ---- */

static bool may_forget(const struct sim *s, struct sim_site *site, const struct sim_mark *at)
{
    uint8_t buffer[IDEMPOTENCY_RECORD_KEY_MAX_BYTES];
    struct record newer;
    uint64_t primary_us = (sim_clock_ms(s, site) - site->primary_since_ms) * 1000,
             limit_us = s->key_limit_us;
    if (at->name == 0)
        return false;
    if (s->mutant == MUTANT_KEY_EXPIRY_BELIEVES_THE_LOG)
        primary_us = UINT64_MAX;
    if (s->mutant == MUTANT_KEY_FORGOTTEN_AT_ONCE)
        limit_us = SIM_MS;
    return idempotency_may_forget(
        s->entries[at->id].header.time, (struct utc){sim_commit_us(s, site)}, primary_us, limit_us,
        overlay_get(site->overlay, collection(), record_key(at->name, buffer),
                    (struct lsn){UINT64_MAX}, &newer) != OVERLAY_UNKNOWN);
}

static bool collect(struct sim *s, struct sim_site *site)
{
    site->old_n = 0;
    for (uint32_t k = 0; k < SIM_MARKS && site->old_n < SIM_FORGET_MAX; k++)
        if (may_forget(s, site, &site->state.marks[k]))
            site->old[site->old_n++] = site->state.marks[k].name;
    return site->old_n != 0 && sim_has_room(s, site);
}

void sim_keys_tick(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    const uint64_t now = sim_clock_ms(s, site);
    if (!s->swarm.keys || !marks_settled(&site->marks, &site->view, site->term_start) ||
        now < site->forgot_ms + EVERY_MS)
        return;
    site->forgot_ms = now;
    if (!collect(s, site))
        return;
    const uint32_t id = ++s->ops_n;
    s->ops[id] = (struct sim_op){.kind = SIM_OP_FORGET};
    sim_site_post(s, i, &(struct sim_inbox){.type = REPL_EV_PROPOSE, .op = id});
}

bool sim_key_request(struct sim *s, uint8_t i, struct sim_client *c)
{
    struct sim_site *site = &s->sites[i];
    const struct sim_op *o = &s->ops[site->current.op];
    if (o->kind == SIM_OP_FORGET)
        return collect(s, site);
    if (o->kind == SIM_OP_MARK)
        return sim_has_room(s, site);
    if (s->now_us > s->ops[o->job].asked_us + s->key_limit_us / 2) {
        if (c != NULL)
            sim_client_refused(s, c, false);
        return false;
    }
    return o->kind == SIM_OP_TRY ? try_it(s, i, c, o) : outcome(s, i, c, o);
}

/* ---- the history ---- */

static void take_mark(struct sim_key_truth *t, const struct sim_entry *e, const struct op *op)
{
    struct idempotency_mark m;
    if (op->kind == OP_DELETE) {
        t->state = SIM_NAME_FREE;
        return;
    }
    check(idempotency_read(op->value, &m, NULL) == 0);
    t->state = m.state == IDEMPOTENCY_GIVEN_UP ? SIM_NAME_GIVEN_UP : SIM_NAME_DONE;
    t->lsn = e->header.lsn.v;
    t->sealed_us = e->sealed_us;
}

static void check_mark(struct sim *s, const struct sim_entry *e, const struct op *op)
{
    const uint32_t name = name_of(op->key);
    struct sim_key_truth *t = &s->key_truth[name];
    struct idempotency_mark m;
    const uint64_t lsn = e->header.lsn.v;
    if (op->kind == OP_DELETE) {
        if (t->state != SIM_NAME_FREE && e->sealed_us - t->sealed_us < s->key_limit_us / 4 * 3)
            sim_fail(s, "S27: key %u of %llu is forgotten at %llu after %llu ms; %llu are promised",
                     name, U(t->lsn), U(lsn), U((e->sealed_us - t->sealed_us) / SIM_MS),
                     U(s->key_limit_us / SIM_MS));
        s->truth.keys_forgotten += t->state != SIM_NAME_FREE;
        take_mark(t, e, op);
        return;
    }
    check(idempotency_read(op->value, &m, NULL) == 0);
    if (t->state != SIM_NAME_FREE)
        sim_fail(s, "S27: key %u %s at %llu, and is %s at %llu", name,
                 t->state == SIM_NAME_DONE ? "took effect" : "was given up", U(t->lsn),
                 m.state == IDEMPOTENCY_GIVEN_UP ? "given up" : "used", U(lsn));
    take_mark(t, e, op);
    s->truth.keys_given_up += t->state == SIM_NAME_GIVEN_UP;
    if (t->state == SIM_NAME_DONE && t->never)
        sim_fail(s, "S27: key %u takes effect at %llu, and somebody was told that it never will",
                 name, U(lsn));
}

static bool has_marks(const struct sim *s, const struct sim_entry *e)
{
    return e->op != 0 && e->header.kind == ENTRY_TXN &&
           (s->ops[e->op].name != 0 || s->ops[e->op].kind == SIM_OP_FORGET);
}

void sim_check_keys(struct sim *s, uint32_t id)
{
    const struct sim_entry *e = &s->entries[id];
    if (!has_marks(s, e))
        return;
    struct body_txn txn = txn_of(s, id);
    struct op op;
    while (!s->failed && next_mark(&txn, &op))
        check_mark(s, e, &op);
    const struct sim_key_truth *t = &s->key_truth[s->ops[e->op].name];
    if (t->state == SIM_NAME_DONE && t->told_id != 0 && t->told_id != id)
        sim_fail(s, "S27: key %u takes effect at %llu, and somebody was told of %llu",
                 s->ops[e->op].name, U(e->header.lsn.v), U(s->entries[t->told_id].header.lsn.v));
}

void sim_keys_cut(struct sim *s)
{
    const struct sim_truth *truth = &s->truth;
    for (uint32_t k = 1; k <= s->names_n; k++) {
        struct sim_key_truth *t = &s->key_truth[k];
        t->state = SIM_NAME_FREE;
        if (s->entries[t->told_id].header.lsn.v > truth->committed_n)
            t->told_id = 0;
    }
    for (uint64_t n = 1; n <= truth->committed_n; n++) {
        const struct sim_entry *e = &s->entries[truth->committed[n - 1]];
        if (!has_marks(s, e))
            continue;
        struct body_txn txn = txn_of(s, truth->committed[n - 1]);
        struct op op;
        while (next_mark(&txn, &op))
            take_mark(&s->key_truth[name_of(op.key)], e, &op);
    }
    for (uint32_t k = 1; k <= s->names_n; k++)
        s->key_truth[k].never &= s->key_truth[k].state == SIM_NAME_GIVEN_UP;
}
