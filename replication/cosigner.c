/* The cosigner: a thread of a data site that is a witness of the archive's two logs (repository/witness.h). The archive's site
 * sends each checkpoint of the entries before it publishes it; this site computes from its own log what the checkpoint has to
 * say, and signs it if it does, or says why not (replication/core/cosign.h). Checkpoints of the operations log come with a proof
 * that they continue the one that was cosigned last; when they do, they are signed.
 *
 * Only what is committed here is looked at: it is never undone, so a cosignature never has to be taken back. The tree is grown up
 * to the checkpoint when it comes, with headers that are mostly still in the log's memory. Where the own log does not reach
 * back to the record (a site that was made from a snapshot, or whose record is older than the log), the headers come from the
 * archive's site, from lsn 1 if need be; they are believed when they are a chain and the own log's next entry names its end (W3).
 * That costs 128 bytes an entry, once.
 *
 * A site that was rebuilt does not cosign until it may vote again (R5); its key is a new one, since its directory is, and it
 * begins with the operations log as it then is, on trust.
 *
 * ALARM. A rollback, a split view, an own log that is not what was cosigned: one event each time the reason changes, a line in
 * `status` until a checkpoint of that log is cosigned again, and as long as there is evidence on the disk. */
#include "replication/site_parts.h"
#include "replication/worker.h"

#include "repository/witness.h"
#include "store/core/check.h"

#include <stdlib.h>

enum {
    COSIGN_WAIT_MS = 500,
    COSIGN_COMMIT_MS =
        1000, /* a checkpoint may come before the news that its entries are committed */
    COSIGN_ROW_MS = 5000,
    COSIGN_READ_BYTES = 1 << 20,
};

enum { OF_ENTRIES, OF_OPERATIONS, LOGS };

struct question {
    enum cosign_kind kind;
    uint8_t from;
    uint64_t id;
    struct lsn lsn;
    size_t key_bytes, note_bytes;
    uint8_t key[COSIGN_KEY_MAX_BYTES], note[COSIGN_NOTE_MAX_BYTES];
};

enum row_state { ROW_NONE, ROW_TO_SEND, ROW_SENT, ROW_DONE };

struct cosigner {
    struct site *site;
    struct worker worker;
    /* from the loop */
    struct lsn commit;
    struct lsn awaits; /* the thread waits for this to be committed; 0: it does not */
    bool may_vote, asked[LOGS];
    struct question question[LOGS]; /* the newest, when `asked` */
    /* to the loop: the answer to a question */
    bool answered;
    uint8_t answer_to;
    struct cosign_message answer;
    char key[TLOG_VKEY_BYTES];
    char text[COSIGN_TEXT_BYTES];
    size_t text_bytes;
    /* headers from the archive's site */
    struct {
        enum row_state state;
        uint8_t to;
        uint64_t id;
        struct lsn lsn;
        uint8_t *headers; /* ROW_DONE: allocated, or NULL */
        size_t bytes;
        struct err why;
    } row;
    /* for status */
    struct {
        uint64_t size, time_s;
        char trouble[ERR_TEXT_BYTES];
    } of[LOGS];
    /* the thread's own */
    struct witness *witness;
    struct question now;
    uint8_t *buffer;
    size_t capacity;
};

/* ---- headers from the archive's site ---- */

/* A row of headers from `lsn` on; *out is allocated. */
static int ask_row(struct cosigner *c, uint8_t site, struct lsn lsn, uint8_t **out, size_t *n,
                   struct err *e)
{
    const struct timespec until = cond_deadline(COSIGN_ROW_MS);
    *out = NULL;
    worker_lock(&c->worker);
    c->row.to = site;
    c->row.lsn = lsn;
    c->row.id++;
    c->row.state = ROW_TO_SEND;
    (void)uv_async_send(&c->site->wake);
    while (c->row.state != ROW_DONE && !c->worker.stop && worker_wait_until(&c->worker, &until)) {
    }
    bool done = c->row.state == ROW_DONE;
    if (done && c->row.headers == NULL)
        *e = c->row.why;
    *out = done ? c->row.headers : NULL;
    *n = c->row.bytes;
    c->row.headers = NULL;
    c->row.state = ROW_NONE;
    worker_unlock(&c->worker);
    if (*out != NULL)
        return 0;
    return done ? e->code
                : err_set(e, ERR_TIMEOUT,
                          "the archive's site does not send the headers from lsn %llu",
                          (unsigned long long)lsn.v);
}

/* No farther than to where the own log begins: its first entry then confirms them. */
static int follow_row(struct cosigner *c, uint64_t size, struct err *e)
{
    uint8_t *headers = NULL;
    size_t n = 0;
    struct log_status log;
    log_status(c->site->log, &log);
    if (size > log.first.lsn.v)
        size = log.first.lsn.v;
    int rc = ask_row(c, c->now.from, (struct lsn){witness_size(c->witness) + 1}, &headers, &n, e);
    for (size_t at = 0; rc == 0 && at < n && witness_size(c->witness) < size;
         at += ENTRY_HEADER_BYTES)
        rc = witness_follow(c->witness, bytes_of(headers + at, ENTRY_HEADER_BYTES), false, e);
    free(headers);
    return rc;
}

/* ---- the own log ---- */

static int read_log(struct cosigner *c, struct lsn from, struct lsn to, size_t *used, struct err *e)
{
    size_t count;
    int rc = log_read(c->site->log, from, to, c->buffer, c->capacity, used, &count, e);
    if (rc != ERR_LIMIT)
        return rc;
    uint8_t *larger = realloc(c->buffer, *used);
    if (larger == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for an entry of %zu bytes", *used);
    c->buffer = larger;
    c->capacity = *used;
    return log_read(c->site->log, from, to, c->buffer, c->capacity, used, &count, e);
}

static int follow_log(struct cosigner *c, size_t bytes, struct err *e)
{
    int rc = 0;
    for (size_t at = 0, used; rc == 0 && at < bytes; at += used) {
        struct entry_view v;
        rc = entry_view_stored(bytes_of(c->buffer + at, bytes - at), &v, &used, e);
        if (rc == 0)
            rc = witness_follow(c->witness, bytes_of(v.raw, ENTRY_HEADER_BYTES), true, e);
    }
    return rc;
}

/* What came from elsewhere is the own log's past if the own log's next entry says so. When there is none yet, the next write
 * brings it. */
static int confirm(struct cosigner *c, struct err *e)
{
    size_t bytes;
    const struct lsn next = {witness_size(c->witness) + 1};
    int rc = read_log(c, next, next, &bytes, e);
    if (rc != 0)
        return err_set(e, ERR_NOT_READY, "its own log begins behind lsn %llu",
                       (unsigned long long)next.v - 1);
    return witness_confirm(c->witness, bytes_of(c->buffer, ENTRY_HEADER_BYTES), e);
}

static bool is_stopping(struct cosigner *c)
{
    worker_lock(&c->worker);
    bool stop = c->worker.stop;
    worker_unlock(&c->worker);
    return stop;
}

/* Grow the tree to that size. */
static int grow(struct cosigner *c, uint64_t size, struct err *e)
{
    int rc = 0;
    if (witness_size(c->witness) > size) /* grown for a question that was not answered */
        witness_reset(c->witness);
    while (rc == 0 && witness_size(c->witness) < size) {
        size_t bytes = 0;
        struct err gap = ERR_NONE;
        rc = read_log(c, (struct lsn){witness_size(c->witness) + 1}, (struct lsn){size}, &bytes,
                      &gap);
        if (rc == 0)
            rc = follow_log(c, bytes, e);
        else if (rc == ERR_GAP)
            rc = follow_row(c, size, e);
        else
            *e = gap;
        if (rc == 0 && is_stopping(c))
            rc = err_set(e, ERR_CANCELLED, "the site is stopping");
    }
    if (rc == 0 && witness_is_foreign(c->witness))
        rc = confirm(c, e);
    if (rc == ERR_INTEGRITY)
        witness_reset(c->witness);
    return rc;
}

/* ---- a question ---- */

static int open_witness(struct cosigner *c, struct err *e)
{
    const struct site_config *config = c->site->config;
    bool made;
    int rc = witness_open(&c->witness, config->data_dir, &config->cluster_id,
                          config->members[config->self].name, &made, e);
    if (rc != 0)
        return rc;
    tlog_key_format(witness_key(c->witness), c->key);
    events_add(c->site->events, "cosigner: cosigns with %s key of this site; verifier key %s",
               made ? "the new" : "the", c->key);
    return 0;
}

/* Is it committed here? */
static int wait_commit(struct cosigner *c, uint64_t size, struct err *e)
{
    const struct timespec until = cond_deadline(COSIGN_COMMIT_MS);
    worker_lock(&c->worker);
    c->awaits.v = size;
    while (c->commit.v < size && !c->worker.stop && worker_wait_until(&c->worker, &until)) {
    }
    c->awaits.v = 0;
    const struct lsn commit = c->commit;
    const bool may_vote = c->may_vote;
    worker_unlock(&c->worker);
    if (!may_vote)
        return err_set(e, ERR_NOT_READY,
                       "was rebuilt, and does not cosign before it has caught up");
    return commit.v >= size ? 0
                            : err_set(e, ERR_BUSY, "has committed no more than lsn %llu yet",
                                      (unsigned long long)commit.v);
}

static int answer_entries(struct cosigner *c, struct writer *line, struct err *e)
{
    const struct question *q = &c->now;
    struct bytes note = bytes_of(q->note, q->note_bytes);
    struct tlog_checkpoint checkpoint;
    int rc = witness_look(c->witness, note, bytes_of(q->key, q->key_bytes), &checkpoint, e);
    if (rc == 0)
        rc = wait_commit(c, checkpoint.size, e);
    if (rc == 0)
        rc = grow(c, checkpoint.size, e);
    if (rc == 0)
        rc = witness_cosign(c->witness, note, &checkpoint, site_now_us() / 1000000, line, e);
    return rc;
}

static int answer_operations(struct cosigner *c, struct writer *line, struct err *e)
{
    const struct question *q = &c->now;
    const uint64_t before = witness_operations(c->witness);
    int rc = wait_commit(c, 0, e);
    if (rc == 0)
        rc = witness_cosign_operations(c->witness, bytes_of(q->note, q->note_bytes),
                                       bytes_of(q->key, q->key_bytes), site_now_us() / 1000000,
                                       line, e);
    if (rc == 0 && before == 0)
        events_add(c->site->events,
                   "cosigner: begins with the archive's operations log as it is shown, with %llu "
                   "operations: what was in it before is taken on trust",
                   (unsigned long long)witness_operations(c->witness));
    return rc;
}

static int answer(struct cosigner *c, struct writer *line, struct err *e)
{
    int rc = c->witness != NULL ? 0 : open_witness(c, e);
    if (rc == 0)
        rc = c->now.kind == COSIGN_ADD ? answer_operations(c, line, e) : answer_entries(c, line, e);
    if (rc == ERR_IO) { /* what is on the disk is looked at anew */
        witness_close(c->witness);
        c->witness = NULL;
    }
    return rc;
}

static const char *const log_names[LOGS] = {"", " the archive's operations log"};

/* With the lock held. What passes by itself is no trouble. */
static void note_outcome(struct cosigner *c, unsigned log, int rc, const struct err *e)
{
    const bool passes = rc == ERR_BUSY || rc == ERR_NOT_READY || rc == ERR_TIMEOUT ||
                        rc == ERR_NOT_FOUND || rc == ERR_CANCELLED || rc == ERR_UNREACHABLE ||
                        rc == ERR_CONDITION;
    if (passes)
        return;
    const char *now = rc != 0 ? e->text : "";
    if (strcmp(now, c->of[log].trouble) != 0)
        events_add(c->site->events, "cosigner: %s%s%s%s", rc != 0 ? "does not cosign" : "cosigns",
                   log_names[log], rc != 0 ? ": " : " again", now);
    (void)snprintf(c->of[log].trouble, sizeof c->of[log].trouble, "%s", now);
}

/* With the lock held, which is given up while it works. */
static void take_question(struct cosigner *c, unsigned log)
{
    struct err e = ERR_NONE;
    char line[TLOG_SIGNATURE_LINE_BYTES];
    c->now = c->question[log];
    c->asked[log] = false;
    worker_unlock(&c->worker);
    struct writer w = writer_of(line, sizeof line);
    int rc = answer(c, &w, &e);
    worker_lock(&c->worker);
    note_outcome(c, log, rc, &e);
    const uint64_t operations = c->witness == NULL ? 0 : witness_operations(c->witness);
    if (rc == 0) {
        c->of[log].size = log == OF_OPERATIONS ? operations : witness_cosigned(c->witness);
        c->of[log].time_s = site_now_us() / 1000000;
        memcpy(c->text, line, w.at);
        c->text_bytes = w.at;
    } else {
        (void)snprintf(c->text, sizeof c->text, "%.*s", COSIGN_TEXT_BYTES - 1,
                       e.text[0] != '\0' ? e.text : "it failed");
        c->text_bytes = strlen(c->text);
    }
    c->answer_to = c->now.from;
    c->answer =
        (struct cosign_message){.kind = log == OF_OPERATIONS ? COSIGN_ADDED : COSIGN_ANSWER,
                                .code = rc,
                                .id = c->now.id,
                                .lsn = log == OF_OPERATIONS ? (struct lsn){operations} : c->now.lsn,
                                .key = rc == 0 ? bytes_str(c->key) : bytes_of(NULL, 0),
                                .payload = bytes_of(c->text, c->text_bytes)};
    c->answered = true;
    (void)uv_async_send(&c->site->wake);
}

static void *cosigner_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "cosigner");
    site_background();
    struct cosigner *c = arg;
    worker_lock(&c->worker);
    while (!c->worker.stop)
        if (c->asked[OF_ENTRIES] && !c->answered)
            take_question(c, OF_ENTRIES);
        else if (c->asked[OF_OPERATIONS] && !c->answered)
            take_question(c, OF_OPERATIONS);
        else
            worker_wait(&c->worker, COSIGN_WAIT_MS);
    worker_unlock(&c->worker);
    return NULL;
}

int cosigner_start(struct site *s, struct cosigner **out, struct err *e)
{
    struct cosigner *c = calloc(1, sizeof *c);
    uint8_t *buffer = malloc(COSIGN_READ_BYTES);
    if (c == NULL || buffer == NULL) {
        free(c);
        free(buffer);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    c->site = s;
    c->buffer = buffer;
    c->capacity = COSIGN_READ_BYTES;
    int rc = worker_start(&c->worker, cosigner_main, c, "cosigns", e);
    if (rc != 0) {
        free(c->buffer);
        free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void cosigner_stop(struct cosigner *c)
{
    if (c == NULL)
        return;
    worker_end(&c->worker);
    witness_close(c->witness);
    worker_deinit(&c->worker);
    free(c->row.headers);
    free(c->buffer);
    free(c);
}

/* ---- the loop ---- */

static void take_row(struct cosigner *c, uint8_t from, const struct cosign_message *m)
{
    if (c->row.state != ROW_SENT || c->row.to != from || c->row.id != m->id)
        return; /* too late */
    c->row.why = (struct err)ERR_NONE;
    c->row.bytes = m->payload.n;
    if (m->code == 0 && (c->row.headers = malloc(m->payload.n)) != NULL)
        memcpy(c->row.headers, m->payload.p, m->payload.n);
    else if (m->code == 0)
        (void)err_set(&c->row.why, ERR_NO_MEMORY, "out of memory for headers");
    else
        (void)err_set(&c->row.why, m->code, "headers from the archive's site: %.*s",
                      (int)m->payload.n, (const char *)m->payload.p);
    c->row.state = ROW_DONE;
}

void cosigner_message(struct cosigner *c, uint8_t from, const struct cosign_message *m)
{
    worker_lock(&c->worker);
    if (m->kind == COSIGN_ROW) {
        take_row(c, from, m);
    } else {
        const unsigned log = m->kind == COSIGN_ADD ? OF_OPERATIONS : OF_ENTRIES;
        struct question *q = &c->question[log];
        q->kind = m->kind;
        q->from = from;
        q->id = m->id;
        q->lsn = m->lsn;
        q->key_bytes = m->key.n;
        q->note_bytes = m->payload.n;
        memcpy(q->key, m->key.p, m->key.n);
        memcpy(q->note, m->payload.p, m->payload.n);
        c->asked[log] = true;
    }
    worker_wake(&c->worker);
    worker_unlock(&c->worker);
}

void cosigner_progress(struct site *s)
{
    struct cosigner *c = s->cosigner;
    if (c == NULL)
        return;
    worker_lock(&c->worker);
    c->commit = s->marks.commit;
    c->may_vote = s->view.may_vote;
    if (c->awaits.v != 0 &&
        c->commit.v >= c->awaits.v) /* of most commits the thread need not hear */
        worker_wake(&c->worker);
    if (c->answered) { /* a lost answer is asked for again */
        (void)peers_send_cosign(s, c->answer_to, &c->answer);
        c->answered = false;
        worker_wake(&c->worker);
    }
    if (c->row.state == ROW_TO_SEND) {
        const struct cosign_message m = {
            .kind = COSIGN_HEADERS, .id = c->row.id, .lsn = c->row.lsn};
        c->row.state = peers_send_cosign(s, c->row.to, &m) ? ROW_SENT : ROW_DONE;
        if (c->row.state == ROW_DONE)
            (void)err_set(&c->row.why, ERR_UNREACHABLE, "the archive's site cannot be reached");
        worker_wake(&c->worker);
    }
    worker_unlock(&c->worker);
}

void cosigner_trouble(struct site *s, void (*tell)(void *arg, const char *text), void *arg)
{
    struct cosigner *c = s->cosigner;
    char text[ERR_TEXT_BYTES + 96], file[96];
    if (c == NULL)
        return;
    unsigned n = witness_evidence(s->config->data_dir, file);
    if (n != 0) {
        (void)snprintf(
            text, sizeof text,
            "cosigner: the archive showed %u checkpoint%s that contradict%s what this site "
            "knows: %s. Find out why, then take the files away",
            n, n == 1 ? "" : "s", n == 1 ? "s" : "", file);
        tell(arg, text);
    }
    for (unsigned log = 0; log < LOGS; log++) {
        worker_lock(&c->worker);
        (void)snprintf(text, sizeof text, "cosigner: does not cosign%s: %s", log_names[log],
                       c->of[log].trouble);
        bool is = c->of[log].trouble[0] != '\0';
        worker_unlock(&c->worker);
        if (is)
            tell(arg, text);
    }
}

/* With the lock held. */
static json_t *cosigned_json(const struct cosigner *c, unsigned log)
{
    if (c->of[log].time_s == 0)
        return json_null();
    return json_pack("{s:I, s:I, s:s}", "size", (json_int_t)c->of[log].size, "time_us",
                     (json_int_t)c->of[log].time_s * 1000000, "key", c->key);
}

json_t *cosigner_json(struct cosigner *c)
{
    if (c == NULL)
        return json_null();
    worker_lock(&c->worker);
    json_t *o = cosigned_json(c, OF_ENTRIES);
    if (json_is_object(o))
        json_object_set_new(o, "operations", cosigned_json(c, OF_OPERATIONS));
    worker_unlock(&c->worker);
    return o;
}
