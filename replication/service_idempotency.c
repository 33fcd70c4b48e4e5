/* Idempotency keys at the primary: what a key stands for, what became of it, and when it is forgotten. What is kept, and why as a
 * record, is in store/core/idempotency.h.
 *
 * ASKED FOR THE OUTCOME of a key that is not there, the primary can say no more than that nothing was logged with it so far: a
 * copy of the transaction may lie in somebody's buffers. Who has to know for certain gives the key up: that is an entry of its
 * own, and whatever comes with the key after it is refused. So the three answers are "committed", "never", and "none yet".
 *
 * FORGETTING. The keys are walked once a minute, or all the time when there are very many, WALK_ROWS at a time, and those that
 * are older than idempotency_hours, by the clock that nobody can set (session_was_idle), are deleted by an entry. A key counts
 * as long as its record is there, so the hours are the least. The same walk counts the keys of each client: with what was logged
 * since it began they are the number that idempotency_keys limits. Until its first walk is done a new primary knows too few and
 * refuses none: the excess is what one client can write in that time. */
#include "replication/service.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum {
    WALK_ROWS = 256, /* of one step, a few hundred microseconds ... */
    STEP_MS = 50,    /* ... between steps: a million keys in 200 seconds */
    RETRY_MS = 1000,
    WALK_EVERY_MS = 60000, /* or a quarter of the time that keys are kept, if that is less */
    CLIENTS_MAX = 65536,   /* as many as may be connected */
};

#define HOUR_US UINT64_C(3600000000)

struct key_client {
    char name[CLIENT_NAME_MAX_BYTES + 1];
    uint64_t counted; /* by the last whole walk, and what was logged since it began */
    uint64_t logged;  /* since this walk began */
    uint64_t passed;  /* by this walk */
};

struct keys {
    struct term term; /* of which the counts are */
    uint64_t next_ms, began_ms;
    bool walking;
    struct lsn from;    /* the last entry when the walk began: it waits until the state has it */
    size_t after_bytes; /* the walk goes on after this key */
    uint8_t after[IDEMPOTENCY_RECORD_KEY_MAX_BYTES];
    struct key_client *clients;
    size_t n, capacity;
    uint64_t forgotten; /* by this walk */
    uint32_t old_n;     /* of this step */
    uint16_t old_bytes[WALK_ROWS];
    uint8_t old[WALK_ROWS][IDEMPOTENCY_RECORD_KEY_MAX_BYTES];
    uint8_t
        body[ENTRY_SALT_BYTES + 64 + CLIENT_NAME_MAX_BYTES + WALK_ROWS * IDEMPOTENCY_OP_MAX_BYTES];
};

static const struct bytes collection = {(const uint8_t *)IDEMPOTENCY_COLLECTION,
                                        sizeof IDEMPOTENCY_COLLECTION - 1};

/* ---- counting ---- */

static struct keys *keys_of(struct service *v)
{
    if (v->keys == NULL)
        v->keys = calloc(1, sizeof *v->keys);
    struct keys *k = v->keys;
    if (k != NULL && k->term.v != v->site->view.term.v) {
        k->term = v->site->view.term;
        k->walking = false;
        k->next_ms = 0;
        k->n = 0;
    }
    return k;
}

static struct key_client *client_of(struct keys *k, struct bytes name, bool add)
{
    for (size_t i = 0; i < k->n; i++)
        if (bytes_equal(bytes_str(k->clients[i].name), name))
            return &k->clients[i];
    if (!add || k->n == CLIENTS_MAX || name.n > CLIENT_NAME_MAX_BYTES)
        return NULL;
    if (k->n == k->capacity) {
        const size_t larger = k->capacity == 0 ? 16 : k->capacity * 2;
        struct key_client *clients = realloc(k->clients, larger * sizeof *clients);
        if (clients == NULL)
            return NULL; /* it is counted by a later walk */
        k->clients = clients;
        k->capacity = larger;
    }
    struct key_client *c = &k->clients[k->n++];
    *c = (struct key_client){.counted = 0};
    memcpy(c->name, name.p, name.n);
    return c;
}

void service_key_logged(struct client *c)
{
    struct keys *k = keys_of(c->service);
    struct key_client *kc = k != NULL ? client_of(k, bytes_str(c->name), true) : NULL;
    if (kc == NULL)
        return;
    kc->counted++;
    kc->logged++;
}

static int has_room(struct client *c, struct err *e)
{
    const struct site_config *config = c->service->site->config;
    struct keys *k = keys_of(c->service);
    const struct key_client *kc = k != NULL ? client_of(k, bytes_str(c->name), false) : NULL;
    if (kc == NULL || config->idempotency_keys == 0 || kc->counted < config->idempotency_keys)
        return 0;
    return err_set(e, ERR_LIMIT,
                   "%s has %llu idempotency keys of the last %llu h, and %u are allowed: write "
                   "without a key, or later, or raise store.idempotency_keys at every site",
                   c->name, (unsigned long long)kc->counted,
                   (unsigned long long)(config->idempotency_us / HOUR_US),
                   config->idempotency_keys);
}

/* ---- what a key stands for ---- */

/* The mark in what is logged, applied or not. 0, ERR_NOT_FOUND, or an error. */
static int find(struct client *c, struct bytes key, struct idempotency_mark *m, struct record *r,
                struct err *e)
{
    uint8_t buffer[IDEMPOTENCY_RECORD_KEY_MAX_BYTES];
    const struct bytes k = idempotency_record_key(bytes_str(c->name), key, buffer);
    int rc = service_newest(c->service->site, collection, k, r, e);
    return rc != 0 ? rc : idempotency_read(r->value, m, e);
}

int service_key_look(struct client *c, const struct wire_txn *txn, struct waiter *w, bool *found,
                     struct err *e)
{
    struct idempotency_mark mark;
    struct record r;
    if (txn->op_count == TXN_MAX_OPS)
        return err_set(e, ERR_LIMIT,
                       "%u operations with an idempotency key: at most %d, the key is one of them",
                       txn->op_count, TXN_MAX_OPS - 1);
    int rc = find(c, txn->key, &mark, &r, e);
    if (rc == ERR_NOT_FOUND) {
        *e = (struct err)ERR_NONE;
        return has_room(c, e);
    }
    if (rc != 0)
        return rc;
    const struct sha256 content = hash_sha256(txn->content);
    switch (idempotency_decide(&mark, &content)) {
    case IDEMPOTENCY_NEW: /* not with a mark */
    case IDEMPOTENCY_REPEATED:
        *found = true;
        w->lsn = r.lsn;
        w->term = mark.term;
        w->time = r.time;
        w->repeated = true;
        return 0;
    case IDEMPOTENCY_OTHER:
        return err_set(e, ERR_KEY_USED,
                       "the idempotency key was used at lsn %llu for a transaction with other "
                       "conditions or operations; nothing was changed: give each transaction a key "
                       "of its own",
                       (unsigned long long)r.lsn.v);
    case IDEMPOTENCY_TOO_LATE:
        break;
    }
    return err_set(e, ERR_KEY_USED,
                   "the idempotency key was given up at lsn %llu by who asked for its outcome; "
                   "nothing was changed, and never will be with it: use a new key",
                   (unsigned long long)r.lsn.v);
}

void service_key_write(struct writer *body, const struct client *c, const struct wire_txn *txn,
                       enum level level)
{
    idempotency_write_op(body, bytes_str(c->name), txn->key,
                         &(struct idempotency_mark){.state = IDEMPOTENCY_COMMITTED,
                                                    .level = level,
                                                    .term = c->service->site->view.term,
                                                    .content = hash_sha256(txn->content)});
}

/* ---- outcomes ---- */

/* The head of a transaction that the site writes for itself, `ops` operations to follow. */
static int begin_body(struct site *s, struct bytes client, uint32_t ops, struct writer *w,
                      struct err *e)
{
    uint8_t salt[ENTRY_SALT_BYTES];
    int rc = salts_next(&s->salts, salt, e);
    if (rc != 0)
        return rc;
    body_write_txn(w, salt, &(struct body_txn){.level = LEVEL_MAJORITY, .client = client}, NULL);
    check(!w->bad);
    put_le32(w->p + w->at - 4, ops);
    return 0;
}

static int give_up(struct client *c, struct bytes key, struct waiter *w, struct err *e)
{
    uint8_t scratch[ENTRY_SALT_BYTES + 64 + CLIENT_NAME_MAX_BYTES + IDEMPOTENCY_OP_MAX_BYTES];
    struct site *s = c->service->site;
    struct writer out = writer_of(scratch, sizeof scratch);
    int rc = service_room_to_wait(c, LEVEL_MAJORITY, e);
    if (rc == 0)
        rc = has_room(c, e);
    if (rc == 0)
        rc = begin_body(s, bytes_str(c->name), 1, &out, e);
    if (rc != 0)
        return rc;
    idempotency_write_op(&out, bytes_str(c->name), key,
                         &(struct idempotency_mark){.state = IDEMPOTENCY_GIVEN_UP,
                                                    .level = LEVEL_MAJORITY,
                                                    .term = s->view.term});
    rc = service_propose(s, ENTRY_TXN, &out, w, e);
    if (rc == 0)
        service_key_logged(c);
    return rc;
}

int service_outcome_by_key(struct client *c, const struct frame *f, struct bytes body,
                           struct err *e)
{
    struct wire_key_ask m;
    struct idempotency_mark mark = {.term = {0}};
    struct record r = {.lsn = {0}};
    struct waiter w = {
        .client = c, .request = f->request, .type = FRAME_OUTCOME_BY_KEY, .failed_condition = -1};
    const enum level level = marks_repeat_level(LEVEL_MODE, c->service->site->view.mode);
    int rc = service_require_primary(c, f, body, e);
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    rc = wire_read_key_ask(body, &m, e);
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MODE, e); /* where "none" waits */
    if (rc == 0)
        rc = service_room_to_wait(c, level, e);
    if (rc != 0)
        return rc;
    rc = find(c, m.key, &mark, &r, e);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    *e = (struct err)ERR_NONE;
    w.lsn = r.lsn;
    w.term = mark.term;
    w.time = r.time;
    switch (idempotency_outcome(rc == 0 ? &mark : NULL, m.give_up)) {
    case IDEMPOTENCY_IS_COMMITTED:
        w.key = WIRE_KEY_COMMITTED;
        break;
    case IDEMPOTENCY_IS_GIVEN_UP:
        w.key = WIRE_KEY_GIVEN_UP;
        break;
    case IDEMPOTENCY_NONE_YET:
        w.key = WIRE_KEY_NONE;
        return service_answer_without_writing(c, f, body, &w, NULL, e);
    case IDEMPOTENCY_GIVE_UP:
        w.key = WIRE_KEY_GIVEN_UP;
        rc = give_up(c, m.key, &w, e);
        if (rc != 0)
            return rc;
        break;
    }
    service_wait(c, level, &w);
    return 0;
}

/* ---- forgetting ---- */

static bool is_old(struct site *s, const struct record *r)
{
    struct record newer;
    const bool in_flight =
        overlay_get(s->overlay, collection, r->key, SERVICE_NEWEST, &newer) != OVERLAY_UNKNOWN;
    return idempotency_may_forget(r->time, site_commit_time(s),
                                  (site_now_ms() - s->primary_since_ms) * 1000,
                                  s->config->idempotency_us, in_flight);
}

static void pass(struct service *v, struct keys *k, const struct record *r)
{
    if (is_old(v->site, r)) {
        memcpy(k->old[k->old_n], r->key.p, r->key.n);
        k->old_bytes[k->old_n++] = (uint16_t)r->key.n;
        return;
    }
    struct key_client *kc = client_of(k, idempotency_client(r->key), true);
    if (kc != NULL)
        kc->passed++;
}

/* One step of the walk: finds what is too old. ERR_NOT_FOUND: there are no more keys. */
static int walk(struct service *v, struct keys *k, struct err *e)
{
    const struct scan_options range = {.collection = collection,
                                       .after = bytes_of(k->after, k->after_bytes)};
    struct state_snapshot *snap;
    struct state_scan *scan;
    struct record r;
    k->old_n = 0;
    int rc = site_snapshot(v->site, &snap, e);
    if (rc == 0)
        rc = state_scan_open(snap, &range, &scan, e);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < WALK_ROWS; i++) {
        rc = state_scan_next(scan, &r, e);
        if ((rc != 0 && rc != ERR_INTEGRITY) || r.key.n == 0 || r.key.n > sizeof k->after)
            break;
        memcpy(k->after, r.key.p, r.key.n);
        k->after_bytes = r.key.n;
        if (rc == 0) /* else the scrub tells of it and mends it */
            pass(v, k, &r);
        rc = 0;
    }
    state_scan_close(scan);
    return rc;
}

static int forget(struct service *v, struct keys *k, struct err *e)
{
    struct site *s = v->site;
    struct writer out = writer_of(k->body, sizeof k->body);
    struct waiter w;
    int rc = begin_body(s, bytes_str(s->config->members[s->config->self].name), k->old_n, &out, e);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < k->old_n; i++)
        idempotency_write_forget(&out, bytes_of(k->old[i], k->old_bytes[i]));
    rc = service_propose(s, ENTRY_TXN, &out, &w, e);
    if (rc == 0)
        k->forgotten += k->old_n;
    return rc; /* what could not be logged now is found again by the next walk */
}

/* What was logged before is for the walk to find, in the state; everything later is counted as it is logged. */
static void begin_walk(struct service *v, struct keys *k)
{
    k->walking = true;
    k->from = v->site->tail.lsn;
    k->began_ms = site_now_ms();
    k->after_bytes = 0;
    k->forgotten = 0;
    for (size_t i = 0; i < k->n; i++)
        k->clients[i].logged = k->clients[i].passed = 0;
}

/* What the walk passed and what was logged while it went: some of that may be in both, until the next walk. */
static void end_walk(struct service *v, struct keys *k)
{
    k->walking = false;
    const uint64_t quarter_ms = v->site->config->idempotency_us / 4000;
    k->next_ms =
        k->began_ms + (quarter_ms != 0 && quarter_ms < WALK_EVERY_MS ? quarter_ms : WALK_EVERY_MS);
    size_t kept = 0;
    for (size_t i = 0; i < k->n; i++) {
        k->clients[i].counted = k->clients[i].passed + k->clients[i].logged;
        if (k->clients[i].counted != 0)
            k->clients[kept++] = k->clients[i];
    }
    k->n = kept;
    if (k->forgotten != 0)
        events_add(v->site->events, "%llu idempotency keys are forgotten after %llu h",
                   (unsigned long long)k->forgotten,
                   (unsigned long long)(v->site->config->idempotency_us / HOUR_US));
}

void service_keys_progress(struct service *v)
{
    struct err e = ERR_NONE;
    if (!site_is_ready(v->site))
        return;
    struct keys *k = keys_of(v);
    const uint64_t now = site_now_ms();
    if (k == NULL || now < k->next_ms)
        return;
    if (!k->walking)
        begin_walk(v, k);
    if (v->site->marks.applied.v < k->from.v)
        return;
    k->next_ms = now + STEP_MS;
    int rc = walk(v, k, &e);
    const bool end = rc == ERR_NOT_FOUND;
    if (k->old_n != 0 && (rc == 0 || end) && forget(v, k, &e) != 0)
        rc = e.code;
    if (rc != 0 && !end)
        k->next_ms = now + RETRY_MS;
    if (end)
        end_walk(v, k);
}

void service_keys_free(struct service *v)
{
    if (v->keys != NULL)
        free(v->keys->clients);
    free(v->keys);
    v->keys = NULL;
}
