/* The collector: at the archive's site, asks the data sites to cosign each signed checkpoint before it is published, gives them
 * the headers that their own logs do not have any more, and has them cosign the operations log (replication/core/cosign.h;
 * cosigner.c is the other side).
 *
 * The loop asks every data site whose link is up, once for each checkpoint, and tells the archiver when all have answered or
 * COLLECT_MS are over; so a site that is gone delays nothing, and one that hangs only so long. Who did not answer, or could not,
 * is asked again: what comes late is added to the published checkpoint. What a site answers is checked by the archiver's thread.
 *
 * The operations log is published when they are asked. Each is sent a proof from where it stands, which it says when we do not
 * know: then it is asked again at once. Until it has cosigned, it is asked every COLLECT_AGAIN_MS.
 *
 * Headers and proofs are read from the archive's files by a thread of its own, a row at a time for each site. */
#include "replication/site_parts.h"
#include "replication/worker.h"

#include "repository/operations.h"
#include "repository/proof.h"
#include "store/core/check.h"

#include <stdlib.h>

enum {
    COLLECT_MS = 5000,
    COLLECT_BUSY_MS = 200,   /* who is a little behind is asked again so soon */
    COLLECT_AGAIN_MS = 5000, /* who did not answer, or refused */
    COLLECT_WAIT_MS = 500,
};

struct asked {
    uint64_t generation; /* of the checkpoint that the site was asked about last */
    uint64_t again_ms;   /* when to ask again */
    bool answered;       /* with a cosignature */
    bool waited;         /* its answer is waited for */
    int32_t code;        /* why it did not; 0: it did, or was not asked yet */
    char why[COSIGN_TEXT_BYTES];
};

struct row {
    enum { ROW_FREE, ROW_ASKED, ROW_READY } state;
    uint64_t id;
    struct lsn lsn;
    size_t n;
    uint8_t *headers; /* allocated when it is first needed */
    struct err why;
};

/* The operations log, for one site: the loop's. */
struct asked_operations {
    uint64_t size;     /* of the log when the site was asked last */
    uint64_t from;     /* what the site has cosigned, as far as we know */
    uint64_t again_ms; /* when to ask again */
    int32_t code;      /* why it did not; 0: it did, or was not asked yet */
    char why[COSIGN_TEXT_BYTES];
};

/* The same, shared with the thread. */
struct proof {
    enum { PROOF_FREE, PROOF_ASKED, PROOF_READY } state;
    uint64_t from, size;
    char vkey[TLOG_VKEY_BYTES];
    uint8_t *text; /* allocated; NULL: `why` says why not */
    size_t n;
    struct err why;
};

struct collector {
    struct site *site;
    /* the loop's */
    struct archiver_draft draft;
    uint64_t since_ms;
    bool over;
    struct asked asked[REPL_SITES_MAX];
    struct asked_operations operations[REPL_SITES_MAX];
    /* shared with the thread */
    struct worker worker;
    struct row rows[REPL_SITES_MAX];
    struct proof proofs[REPL_SITES_MAX];
};

/* ---- headers: the thread ---- */

static struct row *row_asked(struct collector *c)
{
    for (size_t i = 0; i < REPL_SITES_MAX; i++)
        if (c->rows[i].state == ROW_ASKED)
            return &c->rows[i];
    return NULL;
}

/* With the lock held, which is given up while it reads. */
static void read_row(struct collector *c, struct row *r)
{
    struct err e = ERR_NONE;
    const struct lsn lsn = r->lsn;
    size_t n = 0;
    if (r->headers == NULL && (r->headers = malloc(COSIGN_ROW_MAX_BYTES)) == NULL) {
        (void)err_set(&e, ERR_NO_MEMORY, "out of memory for headers");
    } else {
        uint8_t *headers = r->headers;
        worker_unlock(&c->worker);
        (void)repository_tree_headers(c->site->config->archive_dir, lsn, COSIGN_ROW_MAX_HEADERS,
                                      headers, &n, &e);
        worker_lock(&c->worker);
    }
    if (r->lsn.v != lsn.v)
        return; /* asked anew meanwhile */
    r->n = n;
    r->why = e;
    r->state = ROW_READY;
    (void)uv_async_send(&c->site->wake);
}

static struct proof *proof_asked(struct collector *c)
{
    for (size_t i = 0; i < REPL_SITES_MAX; i++)
        if (c->proofs[i].state == PROOF_ASKED)
            return &c->proofs[i];
    return NULL;
}

/* With the lock held, which is given up while it reads. */
static void read_proof(struct collector *c, struct proof *p)
{
    struct proof made = {.state = PROOF_READY, .from = p->from, .why = ERR_NONE};
    worker_unlock(&c->worker);
    (void)repository_operations_proof(c->site->config->archive_dir, made.from, made.vkey,
                                      &made.size, &made.text, &made.n, &made.why);
    worker_lock(&c->worker);
    *p = made;
    (void)uv_async_send(&c->site->wake);
}

static void *collector_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "collector");
    site_background();
    struct collector *c = arg;
    worker_lock(&c->worker);
    while (!c->worker.stop) {
        struct row *r = row_asked(c);
        struct proof *p = proof_asked(c);
        if (r != NULL)
            read_row(c, r);
        else if (p != NULL)
            read_proof(c, p);
        else
            worker_wait(&c->worker, COLLECT_WAIT_MS);
    }
    worker_unlock(&c->worker);
    return NULL;
}

int collector_start(struct site *s, struct collector **out, struct err *e)
{
    struct collector *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->site = s;
    int rc = worker_start(&c->worker, collector_main, c, "reads headers", e);
    if (rc != 0) {
        free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void collector_stop(struct collector *c)
{
    if (c == NULL)
        return;
    worker_end(&c->worker);
    worker_deinit(&c->worker);
    for (size_t i = 0; i < REPL_SITES_MAX; i++) {
        free(c->rows[i].headers);
        free(c->proofs[i].text);
    }
    free(c);
}

static void send_row(struct collector *c, uint8_t to, struct row *r)
{
    const bool failed = r->why.code != 0;
    char text[COSIGN_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%.*s", COSIGN_TEXT_BYTES - 1,
                   r->why.text[0] != '\0' ? r->why.text : "it failed");
    const struct cosign_message m = {
        .kind = COSIGN_ROW,
        .code = r->why.code,
        .id = r->id,
        .lsn = r->lsn,
        .payload = failed ? bytes_str(text) : bytes_of(r->headers, r->n * ENTRY_HEADER_BYTES)};
    (void)peers_send_cosign(c->site, to, &m);
    r->state = ROW_FREE;
}

/* ---- cosignatures: the loop ---- */

static bool is_witness(const struct site *s, uint8_t i)
{
    const struct repl_members *m = &s->view.list.members;
    return i != s->config->self && s->config->members[i].kind == SITE_DATA &&
           (m->all == 0 || (m->all >> i & 1) != 0);
}

static void ask(struct collector *c, uint8_t i, uint64_t now)
{
    struct asked *a = &c->asked[i];
    struct tlog_checkpoint checkpoint;
    struct tlog_note note;
    struct bytes text = bytes_of(c->draft.note, c->draft.note_bytes);
    if (tlog_checkpoint_parse(text, &checkpoint, &note, NULL) != 0)
        return;
    const struct cosign_message m = {.kind = COSIGN_ASK,
                                     .id = c->draft.generation,
                                     .lsn = {checkpoint.size},
                                     .key = bytes_str(c->draft.key),
                                     .payload = text};
    a->waited = peers_send_cosign(c->site, i, &m);
    a->generation = c->draft.generation;
    a->again_ms = now + COLLECT_AGAIN_MS;
}

/* Is an answer of the site still to come? It is asked when that is due. */
static bool waits_for(struct collector *c, uint8_t i, uint64_t now)
{
    struct asked *a = &c->asked[i];
    if (!c->site->peers[i].up)
        return false;
    if (a->generation != c->draft.generation) {
        a->answered = a->waited = false;
        ask(c, i, now);
    } else if (!a->answered && now >= a->again_ms) {
        ask(c, i, now);
    }
    return a->waited && !a->answered;
}

/* ---- the operations log: the loop ---- */

static void ask_operations(struct collector *c, uint8_t i, uint64_t size, uint64_t now)
{
    struct asked_operations *a = &c->operations[i];
    struct oplog_cosigned it;
    oplog_cosigned(archiver_oplog(c->site->archiver), i, &it);
    if (a->size != size)
        a->again_ms = now;
    a->size = size;
    if (it.size == size || now < a->again_ms || !c->site->peers[i].up)
        return;
    a->again_ms = now + COLLECT_AGAIN_MS;
    worker_lock(&c->worker);
    if (c->proofs[i].state == PROOF_FREE) {
        c->proofs[i].from = a->from;
        c->proofs[i].state = PROOF_ASKED;
        worker_wake(&c->worker);
    }
    worker_unlock(&c->worker);
}

/* It does not cosign. As note_refusal. */
static void operations_refused(struct collector *c, uint8_t i, int32_t code, struct bytes text)
{
    struct asked_operations *a = &c->operations[i];
    char why[COSIGN_TEXT_BYTES];
    (void)snprintf(why, sizeof why, "%.*s", (int)text.n, (const char *)text.p);
    if (a->code != code || strcmp(a->why, why) != 0)
        events_add(c->site->events,
                   "archive: %s does not cosign its operations log of %llu operations: %s",
                   c->site->config->members[i].name, (unsigned long long)a->size, why);
    a->code = code;
    memcpy(a->why, why, sizeof why);
}

/* With the lock held. */
static void send_proof(struct collector *c, uint8_t to, struct proof *p)
{
    const struct cosign_message m = {.kind = COSIGN_ADD,
                                     .id = p->size,
                                     .lsn = {p->size},
                                     .key = bytes_str(p->vkey),
                                     .payload = bytes_of(p->text, p->n)};
    if (p->text == NULL)
        operations_refused(c, to, p->why.code, bytes_str(p->why.text));
    else if (p->n > COSIGN_NOTE_MAX_BYTES) /* with the signatures of many others */
        operations_refused(c, to, ERR_LIMIT, bytes_str("its checkpoint is too large to be sent"));
    else
        (void)peers_send_cosign(c->site, to, &m);
    free(p->text);
    p->text = NULL;
    p->state = PROOF_FREE;
}

static void take_added(struct collector *c, uint8_t from, const struct cosign_message *m)
{
    struct asked_operations *a = &c->operations[from];
    if (m->code == ERR_CONDITION) { /* now we know where it stands */
        if (a->from != m->lsn.v)
            a->again_ms = site_now_ms();
        a->from = m->lsn.v;
        return;
    }
    if (m->code != 0) {
        operations_refused(c, from, m->code, m->payload);
        return;
    }
    if (a->code != 0)
        events_add(c->site->events, "archive: %s cosigns its operations log again",
                   c->site->config->members[from].name);
    a->code = 0;
    a->why[0] = '\0';
    a->from = m->lsn.v;
    oplog_cosign(archiver_oplog(c->site->archiver), from, m->id, m->key, m->payload);
}

void collector_progress(struct site *s)
{
    struct collector *c = s->collector;
    if (c == NULL)
        return;
    const uint64_t now = site_now_ms();
    if (archiver_draft_generation(s->archiver) != c->draft.generation) {
        archiver_draft(s->archiver, &c->draft);
        c->since_ms = now;
        c->over = false;
    }
    bool waits = false;
    for (uint8_t i = 0; c->draft.generation != 0 && i < s->config->member_count; i++)
        waits |= is_witness(s, i) && waits_for(c, i, now);
    if (c->draft.generation != 0 && !c->over && (!waits || now >= c->since_ms + COLLECT_MS)) {
        c->over = true;
        archiver_draft_over(s->archiver, c->draft.generation);
    }
    const uint64_t operations = oplog_size(archiver_oplog(s->archiver));
    for (uint8_t i = 0; operations != 0 && i < s->config->member_count; i++)
        if (is_witness(s, i))
            ask_operations(c, i, operations, now);
    worker_lock(&c->worker);
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        if (c->rows[i].state == ROW_READY)
            send_row(c, i, &c->rows[i]);
        if (c->proofs[i].state == PROOF_READY)
            send_proof(c, i, &c->proofs[i]);
    }
    worker_unlock(&c->worker);
}

/* A site does not cosign. Told when the reason is a new one, and one that does not pass by itself. */
static void note_refusal(struct collector *c, uint8_t from, const struct cosign_message *m)
{
    struct asked *a = &c->asked[from];
    char why[COSIGN_TEXT_BYTES];
    const bool busy = m->code == ERR_BUSY;
    (void)snprintf(why, sizeof why, "%.*s", (int)m->payload.n, (const char *)m->payload.p);
    const bool told = a->code == m->code && strcmp(a->why, why) == 0;
    a->waited = busy;
    a->again_ms = site_now_ms() + (busy ? COLLECT_BUSY_MS : COLLECT_AGAIN_MS);
    if (busy)
        return;
    a->code = m->code;
    memcpy(a->why, why, sizeof why);
    if (!told)
        events_add(c->site->events,
                   "archive: %s does not cosign its checkpoint of %llu entries: %s",
                   c->site->config->members[from].name, (unsigned long long)m->lsn.v, why);
}

static void take_answer(struct collector *c, uint8_t from, const struct cosign_message *m)
{
    struct asked *a = &c->asked[from];
    if (m->id != c->draft.generation || a->generation != m->id)
        return; /* of an earlier checkpoint */
    if (m->code != 0) {
        note_refusal(c, from, m);
        return;
    }
    if (a->code != 0)
        events_add(c->site->events, "archive: %s cosigns its checkpoints again",
                   c->site->config->members[from].name);
    a->code = 0;
    a->why[0] = '\0';
    a->answered = true;
    archiver_cosign(c->site->archiver, from, m->id, m->key, m->payload);
}

void collector_message(struct collector *c, uint8_t from, const struct cosign_message *m)
{
    if (m->kind == COSIGN_ANSWER || m->kind == COSIGN_ADDED) {
        if (m->kind == COSIGN_ANSWER)
            take_answer(c, from, m);
        else
            take_added(c, from, m);
        collector_progress(c->site);
        return;
    }
    worker_lock(&c->worker);
    struct row *r = &c->rows[from];
    r->id = m->id;
    if (r->state != ROW_ASKED || r->lsn.v != m->lsn.v)
        r->state = ROW_ASKED;
    r->lsn = m->lsn;
    worker_wake(&c->worker);
    worker_unlock(&c->worker);
}

/* ---- for people ---- */

static bool passes(int32_t code)
{
    return code == ERR_NOT_READY || code == ERR_TIMEOUT || code == ERR_UNREACHABLE ||
           code == ERR_CANCELLED || code == ERR_NOT_FOUND;
}

struct teller {
    const char *site;
    void (*tell)(void *arg, const char *text);
    void *arg;
};

/* Why a site does not cosign what, or that what it sent is no good. */
static void tell_one(const struct teller *t, const char *what, int32_t code, const char *refused,
                     const char *bad)
{
    char text[ERR_TEXT_BYTES + COSIGN_TEXT_BYTES];
    if (code != 0 && !passes(code))
        (void)snprintf(text, sizeof text, "archive: %s does not cosign its %s: %s", t->site, what,
                       refused);
    else if (bad[0] != '\0')
        (void)snprintf(text, sizeof text, "archive: a cosignature of %s on its %s is not good: %s",
                       t->site, what, bad);
    else
        return;
    t->tell(t->arg, text);
}

void collector_trouble(struct site *s, void (*tell)(void *arg, const char *text), void *arg)
{
    struct collector *c = s->collector;
    for (uint8_t i = 0; c != NULL && i < s->config->member_count; i++) {
        const struct teller t = {s->config->members[i].name, tell, arg};
        struct archiver_cosigned it;
        struct oplog_cosigned operations;
        if (!is_witness(s, i))
            continue;
        archiver_cosigned(s->archiver, i, &it);
        oplog_cosigned(archiver_oplog(s->archiver), i, &operations);
        tell_one(&t, "checkpoints", c->asked[i].code, c->asked[i].why, it.why);
        tell_one(&t, "operations log", c->operations[i].code, c->operations[i].why, operations.why);
    }
}

static json_t *time_or_null(uint64_t time_s)
{
    return time_s != 0 ? json_integer((json_int_t)time_s * 1000000) : json_null();
}

static json_t *operations_json(const struct collector *c, uint8_t i)
{
    const struct asked_operations *a = &c->operations[i];
    struct oplog *oplog = archiver_oplog(c->site->archiver);
    struct oplog_cosigned it;
    oplog_cosigned(oplog, i, &it);
    return json_pack(
        "{s:b, s:o, s:o, s:o}", "cosigned", it.size != 0 && it.size == oplog_size(oplog), "size",
        it.size != 0 ? json_integer((json_int_t)it.size) : json_null(), "time_us",
        time_or_null(it.time_s), "why", a->code != 0 ? json_string(a->why) : json_null());
}

json_t *collector_json(struct site *s)
{
    struct collector *c = s->collector;
    json_t *all = json_object();
    for (uint8_t i = 0; c != NULL && i < s->config->member_count; i++) {
        const struct asked *a = &c->asked[i];
        struct archiver_cosigned it;
        if (!is_witness(s, i))
            continue;
        archiver_cosigned(s->archiver, i, &it);
        json_object_set_new(all, s->config->members[i].name,
                            json_pack("{s:b, s:o, s:o, s:o}", "cosigned",
                                      it.generation != 0 && it.generation == c->draft.generation,
                                      "time_us", time_or_null(it.time_s), "why",
                                      a->code != 0 ? json_string(a->why) : json_null(),
                                      "operations", operations_json(c, i)));
    }
    return all;
}
