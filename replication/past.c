/* Records of the past: a thread of a repository site answers `history` from packs, through their index (repository/history.h),
 * so that the loop never waits for a disk, a key or a cipher. What is committed here and not archived yet is read from the log,
 * so that an answer reaches up to the present.
 *
 * The thread has an archive of its own, opened for reading when somebody asks, refreshed when more was archived, and closed when
 * nobody has asked for PAST_IDLE_MS. An index that it finds damaged is told to the archiver, which makes it again.
 *
 * An answer is a page: PAST_PAGE_VERSIONS versions at most, and PAST_PAGE_BYTES of values; `next` says where the next one begins.
 *
 * LIMITS. PAST_QUEUE_MAX questions wait, further ones are refused. */
#include "replication/service.h"
#include "replication/worker.h"

#include "repository/history.h"
#include "store/core/check.h"
#include "store/core/text.h"

enum {
    PAST_QUEUE_MAX = 64,
    PAST_PAGE_VERSIONS = 1000,
    PAST_PAGE_BYTES = 4 << 20,
    PAST_IDLE_MS = 60000,
    PAST_WAIT_MS = 500,
    PAST_LOG_BYTES = 1 << 20,
};

struct question {
    struct question *next;
    struct client *client;
    uint64_t request;
    json_t *arguments, *reply;
    struct lsn applied; /* here, when it was asked */
    uint8_t key[KEY_MAX_BYTES + 4], collection[COLLECTION_MAX_BYTES + 4];
    struct err why; /* code 0: reply is the answer */
};

struct past {
    struct site *site;
    struct worker worker;
    struct question *asked, **asked_last, *answered;
    uint32_t count; /* asked and not answered */
    /* the thread's own */
    struct repository *repository;
    uint64_t used_ms;
};

/* ---- the thread: what is asked ---- */

/* Text, or {"base64": …}, into `out`. */
static int take_bytes(const json_t *v, const char *name, uint8_t *out, size_t cap,
                      struct bytes *bytes, struct err *e)
{
    const json_t *coded = json_object_get(v, "base64");
    const json_t *text = coded != NULL ? coded : v;
    size_t n = json_string_length(text), most = coded != NULL ? cap / 3 * 4 : cap;
    if (!json_is_string(text) || n == 0 || n > most)
        return err_set(e, ERR_USAGE, "%s: a text is needed, of up to %zu bytes", name, cap - 4);
    long size = (long)n;
    if (coded != NULL)
        size = base64_decode(bytes_of(json_string_value(text), n), out);
    else
        memcpy(out, json_string_value(text), n);
    if (size <= 0)
        return err_set(e, ERR_USAGE, "%s: it is not base64", name);
    *bytes = bytes_of(out, (size_t)size);
    return 0;
}

static struct restore_target read_target(const json_t *o)
{
    json_int_t lsn = json_integer_value(json_object_get(o, "lsn"));
    json_int_t time = json_integer_value(json_object_get(o, "time_us"));
    return (struct restore_target){.lsn = {lsn > 0 ? (uint64_t)lsn : 0},
                                   .point = json_string_value(json_object_get(o, "point")),
                                   .time = {time > 0 ? (uint64_t)time : 0}};
}

static bool target_given(const struct restore_target *t)
{
    return t->lsn.v != 0 || t->time.us != 0 || t->point != NULL;
}

/* ---- the thread: the answer ---- */

struct page {
    struct past *past;
    struct question *q;
    struct repository_query query;
    json_t *versions;
    bool values;
    size_t most, bytes;
    uint64_t next;    /* lsn; 0: it is whole */
    struct utc until; /* asked for, and not before the archive's end; 0: not so */
    bool passed;      /* there was an entry behind it: all up to it is known */
    json_t *tail;     /* versions in the log, the oldest first */
};

static json_t *version_json(const struct page *p, const struct evidence *v)
{
    bool put = v->op.kind == OP_PUT;
    json_t *o =
        json_pack("{s:I, s:I, s:o, s:s, s:I}", "lsn", (json_int_t)v->entry.header.lsn.v, "time_us",
                  (json_int_t)v->entry.header.time.us, "client", json_bytes(v->txn.client), "act",
                  put ? "put" : "delete", "bytes", (json_int_t)v->op.value.n);
    if (p->values && put)
        json_object_set_new(o, "value", json_bytes(v->op.value));
    return o;
}

/* Is there room for one more? What has none is where the next page begins. */
static bool room(struct page *p, uint64_t lsn, size_t bytes)
{
    bool first = json_array_size(p->versions) == 0;
    if (json_array_size(p->versions) < p->most && (first || p->bytes + bytes <= PAST_PAGE_BYTES)) {
        p->bytes += bytes;
        return true;
    }
    p->next = lsn;
    return false;
}

static int take_version(void *arg, const struct evidence *v)
{
    struct page *p = arg;
    if (!room(p, v->entry.header.lsn.v, p->values ? v->op.value.n : 0))
        return 1;
    json_array_append_new(p->versions, version_json(p, v));
    return 0;
}

static int take_logged(struct page *p, const struct entry_view *v, struct err *e)
{
    p->passed |= p->until.us != 0 && v->header.time.us > p->until.us;
    if (p->passed)
        return 0;
    struct evidence x = {.collection = p->query.collection, .key = p->query.key, .entry = *v};
    int rc = evidence_op(v, x.collection, x.key, &x.txn, &x.op, e);
    if (rc == 0)
        json_array_append_new(p->tail, version_json(p, &x));
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* Versions in the log from `from` up to the query's end, into p->tail, the oldest first. */
static int read_log(struct page *p, struct lsn from, struct err *e)
{
    size_t cap = PAST_LOG_BYTES, used = 0, count = 0;
    uint8_t *buf = malloc(cap);
    int rc = buf == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory to read the log") : 0;
    while (rc == 0 && from.v <= p->query.to.v) {
        rc = log_read(p->past->site->log, from, p->query.to, buf, cap, &used, &count, e);
        if (rc == ERR_LIMIT) { /* one large entry */
            uint8_t *larger = realloc(buf, used);
            if (larger == NULL) {
                rc = err_set(e, ERR_NO_MEMORY, "out of memory for an entry of %zu bytes", used);
                break;
            }
            buf = larger;
            cap = used;
            rc = 0;
            continue;
        }
        for (size_t at = 0; rc == 0 && at < used;) {
            struct entry_view v;
            size_t n = 0;
            rc = entry_decode(bytes_of(buf + at, used - at), &v, &n, e);
            if (rc == 0 && v.header.lsn.v >= p->query.from.v)
                rc = take_logged(p, &v, e);
            at += n;
            from.v = v.header.lsn.v + 1;
        }
    }
    free(buf);
    return rc;
}

/* What the log gave goes first, the newest first. False: the page is full. */
static bool place_tail(struct page *p)
{
    for (size_t i = json_array_size(p->tail); i-- > 0;) {
        json_t *row = json_array_get(p->tail, i);
        json_int_t lsn = json_integer_value(json_object_get(row, "lsn"));
        json_int_t bytes = json_integer_value(json_object_get(row, "bytes"));
        if (!room(p, (uint64_t)lsn, p->values ? (size_t)bytes : 0))
            return false;
        json_array_append(p->versions, row);
    }
    return true;
}

/* Up to which lsn, and from which. The end is the last that is applied here. */
static int choose_range(struct page *p, const struct repository_status *s, bool *open_end,
                        struct err *e)
{
    struct restore_target from = read_target(json_object_get(p->q->arguments, "from"));
    struct restore_target to = read_target(json_object_get(p->q->arguments, "to"));
    struct lsn newest = p->q->applied.v > s->archived.lsn.v ? p->q->applied : s->archived.lsn;
    bool ignored;
    int rc = 0;
    *open_end = false;
    p->query.to = newest;
    if (to.lsn.v > newest.v)
        return err_set(e, ERR_NOT_FOUND, "lsn %llu is not known here yet: the newest is %llu",
                       (unsigned long long)to.lsn.v, (unsigned long long)newest.v);
    if (to.lsn.v != 0)
        p->query.to = to.lsn;
    else if (target_given(&to))
        rc = repository_resolve(p->past->repository, &to, &p->query.to, open_end, e);
    if (rc == 0 && *open_end) { /* the log goes on behind the archive */
        p->query.to = newest;
        p->until = to.time;
    }
    if (rc == 0 && from.lsn.v != 0)
        p->query.from = from.lsn;
    else if (rc == 0 && target_given(&from))
        rc = repository_resolve(p->past->repository, &from, &p->query.from, &ignored, e);
    return rc;
}

/* The open archive, up to date. */
static int open_archive(struct past *past, struct repository_status *s, struct err *e)
{
    const struct site_config *c = past->site->config;
    struct repository_status there;
    char trouble[ERR_TEXT_BYTES];
    archiver_status(past->site->archiver, &there, trouble);
    past->used_ms = site_now_ms();
    int rc = 0;
    if (past->repository == NULL) {
        rc = repository_open(&past->repository,
                             &(struct repository_options){.dir = c->archive_dir,
                                                          .kek_file = c->kek_file,
                                                          .cluster_id = c->cluster_id,
                                                          .read_only = true},
                             e);
    } else {
        repository_status(past->repository, s);
        if (s->archived.lsn.v < there.archived.lsn.v || s->indexed.v < there.indexed.v ||
            s->disposed != there.disposed)
            rc = repository_refresh(past->repository, e);
        if (rc != 0) {
            repository_close(past->repository);
            past->repository = NULL;
        }
    }
    if (rc == 0)
        repository_status(past->repository, s);
    return rc;
}

static int answer_page(struct page *p, struct err *e)
{
    struct repository_status before, after;
    struct repository_gap gap = {.why = ERR_NONE};
    bool open_end = false;
    int rc = open_archive(p->past, &before, e);
    if (rc == 0)
        rc = choose_range(p, &before, &open_end, e);
    if (rc != 0)
        return rc;
    struct lsn to = p->query.to, archived = before.archived.lsn;
    if (to.v > archived.v)
        rc = read_log(p, (struct lsn){archived.v + 1}, e);
    if (rc == 0 && place_tail(p) && archived.v != 0) {
        p->query.to = to.v < archived.v ? to : archived;
        p->query.gap = &gap;
        rc = repository_history(p->past->repository, &p->query, take_version, p, e);
    }
    repository_status(p->past->repository, &after);
    if (after.indexes_damaged > before.indexes_damaged)
        archiver_check_index(p->past->site->archiver);
    if (rc != 0 && p->next == 0)
        return rc;
    p->q->reply =
        json_pack("{s:O, s:I, s:I, s:b}", "versions", p->versions, "to", (json_int_t)to.v, "begin",
                  (json_int_t)(before.first.v != 0 ? before.first.v : archived.v + 1), "open_end",
                  open_end && !p->passed);
    if (gap.last.v != 0)
        json_object_set_new(p->q->reply, "disposed",
                            json_pack("{s:I, s:I, s:s}", "first", (json_int_t)gap.first.v, "last",
                                      (json_int_t)gap.last.v, "why", gap.why.text));
    if (p->next != 0)
        json_object_set_new(p->q->reply, "next", json_integer((json_int_t)p->next));
    return p->q->reply != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory for the answer");
}

static void answer(struct past *past, struct question *q)
{
    const json_t *a = q->arguments;
    json_int_t limit = json_integer_value(json_object_get(a, "limit"));
    struct page p = {.past = past,
                     .q = q,
                     .values = json_is_true(json_object_get(a, "values")),
                     .most = PAST_PAGE_VERSIONS,
                     .versions = json_array(),
                     .tail = json_array()};
    if (limit > 0 && limit < PAST_PAGE_VERSIONS)
        p.most = (size_t)limit;
    int rc = take_bytes(json_object_get(a, "collection"), "collection", q->collection,
                        sizeof q->collection, &p.query.collection, &q->why);
    if (rc == 0)
        rc = take_bytes(json_object_get(a, "key"), "key", q->key, sizeof q->key, &p.query.key,
                        &q->why);
    if (rc == 0)
        rc = answer_page(&p, &q->why);
    if (rc == ERR_GAP) { /* archived and given back by the log meanwhile */
        (void)json_array_clear(p.tail);
        rc = answer_page(&p, &q->why);
    }
    if (rc == 0)
        q->why = (struct err)ERR_NONE;
    json_decref(p.versions);
    json_decref(p.tail);
}

static void close_idle(struct past *p, bool now)
{
    if (p->repository == NULL || (!now && site_now_ms() < p->used_ms + PAST_IDLE_MS))
        return;
    repository_close(p->repository);
    p->repository = NULL;
}

static void *past_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "past");
    struct past *p = arg;
    worker_lock(&p->worker);
    while (!p->worker.stop) {
        struct question *q = p->asked;
        if (q == NULL) {
            close_idle(p, false);
            worker_wait(&p->worker, PAST_WAIT_MS);
            continue;
        }
        p->asked = q->next;
        if (p->asked == NULL)
            p->asked_last = &p->asked;
        worker_unlock(&p->worker);
        answer(p, q);
        worker_lock(&p->worker);
        q->next = p->answered;
        p->answered = q;
        (void)uv_async_send(&p->site->wake);
    }
    close_idle(p, true);
    worker_unlock(&p->worker);
    return NULL;
}

/* ---- the loop ---- */

int past_start(struct site *s, struct past **out, struct err *e)
{
    struct past *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    p->site = s;
    p->asked_last = &p->asked;
    int rc = worker_start(&p->worker, past_main, p, "answers for the past", e);
    if (rc != 0) {
        free(p);
        return rc;
    }
    *out = p;
    return 0;
}

static void question_free(struct question *q)
{
    json_decref(q->arguments);
    json_decref(q->reply);
    client_unref(q->client);
    free(q);
}

static void drop_all(struct question *q)
{
    while (q != NULL) {
        struct question *next = q->next;
        question_free(q);
        q = next;
    }
}

void past_stop(struct past *p)
{
    if (p == NULL)
        return;
    worker_end(&p->worker);
    drop_all(p->asked);
    drop_all(p->answered);
    worker_deinit(&p->worker);
    free(p);
}

int past_ask(struct site *s, struct client *c, uint64_t request, json_t *arguments, struct err *e)
{
    struct past *p = s->past;
    if (p == NULL)
        return err_set(e, ERR_USAGE, "%s keeps no archive: ask a repository site",
                       s->config->members[s->config->self].name);
    struct question *q = calloc(1, sizeof *q);
    if (q == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for a question");
    worker_lock(&p->worker);
    bool full = p->count == PAST_QUEUE_MAX;
    if (!full) {
        q->client = client_ref(c);
        q->request = request;
        q->arguments = json_incref(arguments);
        q->applied = s->marks.applied;
        p->count++;
        *p->asked_last = q;
        p->asked_last = &q->next;
        worker_wake(&p->worker);
    }
    worker_unlock(&p->worker);
    if (!full)
        /* cppcheck-suppress memleak ; it is in the queue */
        return SERVICE_LATER;
    free(q);
    return err_set(e, ERR_BUSY, "%d questions for the past wait already: ask again later",
                   PAST_QUEUE_MAX);
}

void past_answer(struct past *p)
{
    if (p == NULL)
        return;
    worker_lock(&p->worker);
    struct question *q = p->answered;
    p->answered = NULL;
    for (const struct question *k = q; k != NULL; k = k->next)
        p->count--;
    worker_unlock(&p->worker);
    for (const struct question *k = q; k != NULL; k = k->next) {
        if (k->client->conn == NULL)
            continue;
        if (k->why.code == 0)
            service_reply_json(k->client, k->request, json_incref(k->reply));
        else
            service_error(k->client, k->request, &k->why);
    }
    drop_all(q);
}
