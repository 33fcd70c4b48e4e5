/* Watches: a stream of committed changes that outlives connections.
 *
 *   I/O thread    client_watch_tick opens the watch on the route's link, gives credit back; frames come in: client_watch_answer,
 *                 client_watch_push put each push, copied, at the end of the queue
 *   application   tvn_watch_next takes pushes from the queue and gives out their changes one by one
 *
 * STATES of `link`, `opened`: no link (to be opened, when the queue is empty) -> link, asked -> link, opened -> no link, when
 * the link is lost, retired, or the site says so.
 *
 * INVARIANTS
 *   I1  `next` is the first transaction that was not received whole; of it `part` changes were. A watch that is opened again
 *       begins with `next`, and drops the first `part` changes of it: committed transactions do not change.
 *   I2  Each push begins with `next` (wire_watch_data.from): whatever is missing is an error, never a hole.
 *   I3  Queued are at most `window` bytes, or half of it and one push: it is opened again only when the queue is empty, and
 *       credit is given back when the application has taken a push, of which it holds one.
 *   I4  `position` says what the application has been given: it moves past a transaction with the transaction's last change. */
#include "client/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WINDOW_DEFAULT = 4 << 20,
    WINDOW_MIN = 64 << 10,
    RETRY_MS = 100, /* after a refusal that is not for ever */
};

struct push {
    struct push *next;
    size_t bytes;
    struct wire_watch_data data; /* `changes` stands after those that are not to be given */
    uint32_t left;               /* changes */
    uint8_t body[];
};

struct tvn_watch {
    struct tvn *db;
    char collection[COLLECTION_MAX_BYTES + 1];
    struct bytes prefix;
    uint8_t prefix_bytes[KEY_MAX_BYTES];
    bool keys_only;
    uint32_t window;

    /* lock */
    struct tvn_watch *older; /* all of the handle */
    pthread_cond_t news;
    struct push *first, *newest_push;
    bool linked;             /* there is a link */
    bool begun;              /* it was opened once; before, failures are the opener's */
    bool closing;            /* the application is done with it; the I/O thread frees it */
    struct tvn_error failed; /* code 0: it goes on */
    uint32_t returned;       /* bytes of pushes taken, credit for which is to be given back */
    uint64_t newest, heard_ms;

    /* application */
    struct push *current;
    struct wire_change ahead; /* the next change of `current`, when it has one left */
    uint64_t position;

    /* I/O thread */
    struct link *link;
    bool opened;
    uint64_t number; /* of the question that opens it */
    uint64_t id;     /* at the site */
    struct lsn next;
    uint32_t part; /* changes of `next` that were received ... */
    uint32_t seen; /* ... and those that this link has brought */
    uint64_t retry_at_ms, deadline_ms;
    int refused; /* code of the last refusal that led to another attempt */
};

/* ---- I/O thread: out ---- */

static void attach(struct tvn_watch *w, struct link *l)
{
    if (w->link != NULL)
        w->link->watches--;
    if (l != NULL)
        l->watches++;
    w->link = l;
    w->opened = false;
    w->seen = 0;
    pthread_mutex_lock(&w->db->lock);
    w->linked = l != NULL;
    w->returned = 0; /* each link begins with the whole credit */
    pthread_mutex_unlock(&w->db->lock);
}

/* The application hears of it when it has taken what is queued. */
static void fail(struct tvn_watch *w, const struct err *why, uint64_t lsn)
{
    attach(w, NULL);
    w->deadline_ms = UINT64_MAX;
    pthread_mutex_lock(&w->db->lock);
    client_error_set(&w->failed, why, TVN_NOT_APPLICABLE);
    w->failed.lsn = lsn;
    pthread_cond_signal(&w->news);
    pthread_mutex_unlock(&w->db->lock);
}

static bool send_frame(struct link *l, enum frame_type type, uint64_t number,
                       const struct writer *w)
{
    struct bytes body = bytes_of(w->p, w->at);
    check(l != NULL && !w->bad);
    return conn_send(l->conn, type, (struct term){0}, number, &body, 1, NULL) == 0;
}

static void open_on(struct tvn_watch *w, struct link *l)
{
    struct tvn *db = w->db;
    bool standby = db->config.target != TVN_TARGET_PRIMARY;
    uint8_t buffer[64 + COLLECTION_MAX_BYTES + KEY_MAX_BYTES];
    struct writer out = writer_of(buffer, sizeof buffer);
    wire_write_watch_open(&out, &(struct wire_watch_open){
                                    .flags = (standby ? (uint32_t)WIRE_READ_STANDBY : 0) |
                                             (w->keys_only ? (uint32_t)WIRE_WATCH_KEYS_ONLY : 0),
                                    .from = w->next,
                                    .collection = bytes_str(w->collection),
                                    .prefix = w->prefix,
                                    .credit = w->window});
    uint64_t number = NUMBER_WATCH | ++db->watch_numbers;
    if (!send_frame(l, FRAME_WATCH_OPEN, number, &out))
        return; /* when there is room, or on the next link */
    w->number = number;
    attach(w, l);
}

static void close_on(struct link *l, uint64_t id)
{
    uint8_t buffer[16];
    struct writer out = writer_of(buffer, sizeof buffer);
    wire_write_watch_close(&out, &(struct wire_watch_close){id});
    (void)send_frame(l, FRAME_WATCH_CLOSE, NUMBER_IGNORED, &out);
}

static void leave(struct tvn_watch *w)
{
    if (w->link != NULL && w->opened && !w->link->dropped)
        close_on(w->link, w->id);
    attach(w, NULL);
}

static void give_credit(struct tvn_watch *w, uint32_t bytes)
{
    uint8_t buffer[16];
    struct writer out = writer_of(buffer, sizeof buffer);
    wire_write_watch_credit(&out, &(struct wire_watch_credit){w->id, bytes});
    if (!send_frame(w->link, FRAME_WATCH_CREDIT, NUMBER_IGNORED, &out))
        return;
    pthread_mutex_lock(&w->db->lock);
    w->returned -= bytes;
    pthread_mutex_unlock(&w->db->lock);
}

static void free_watch(struct tvn_watch *w)
{
    while (w->first != NULL) {
        struct push *p = w->first;
        w->first = p->next;
        free(p);
    }
    free(w->current);
    pthread_cond_destroy(&w->news);
    free(w);
}

static void late(struct tvn_watch *w)
{
    struct err e = ERR_NONE;
    if (w->refused != 0)
        err_set(&e, w->refused, "refused until the deadline: %s", tvn_strerror(w->refused));
    else
        client_late(w->db->reader, w->link, &e);
    leave(w);
    fail(w, &e, 0);
}

static void tick(struct tvn_watch *w, uint64_t now_ms)
{
    struct route *rt = w->db->reader;
    pthread_mutex_lock(&w->db->lock);
    bool failed = w->failed.code != 0, begun = w->begun, empty = w->first == NULL;
    uint32_t returned = w->returned;
    pthread_mutex_unlock(&w->db->lock);
    if (failed)
        return;
    if (!begun && now_ms >= w->deadline_ms) {
        late(w);
        return;
    }
    if (w->link != NULL && w->link->retiring)
        leave(w);
    if (w->link == NULL && rt->active != NULL && empty && now_ms >= w->retry_at_ms)
        open_on(w, rt->active);
    else if (w->opened && returned >= w->window / 4)
        give_credit(w, returned);
}

void client_watch_tick(struct tvn *db, uint64_t now_ms)
{
    struct tvn_watch **at = &db->watches;
    for (;;) {
        pthread_mutex_lock(&db->lock); /* others add at the head */
        struct tvn_watch *w = *at;
        bool closing = w != NULL && w->closing;
        if (closing)
            *at = w->older;
        pthread_mutex_unlock(&db->lock);
        if (w == NULL)
            return;
        if (closing) {
            leave(w);
            free_watch(w);
            continue;
        }
        tick(w, now_ms);
        at = &w->older;
    }
}

static struct tvn_watch *watches_of(struct tvn *db)
{
    pthread_mutex_lock(&db->lock);
    struct tvn_watch *w = db->watches;
    pthread_mutex_unlock(&db->lock);
    return w;
}

uint64_t client_watch_due_ms(struct tvn *db)
{
    uint64_t due = UINT64_MAX;
    uint64_t now = client_now_ms();
    for (struct tvn_watch *w = watches_of(db); w != NULL; w = w->older) {
        if (w->link == NULL && w->retry_at_ms > now && w->retry_at_ms < due)
            due = w->retry_at_ms;
        if (w->deadline_ms < due)
            due = w->deadline_ms;
    }
    return due;
}

void client_watch_link_lost(struct link *l)
{
    for (struct tvn_watch *w = watches_of(l->route->db); w != NULL && l->watches > 0; w = w->older)
        if (w->link == l)
            attach(w, NULL);
}

void client_watch_fail_all(struct tvn *db, const struct err *why)
{
    for (struct tvn_watch *w = watches_of(db); w != NULL; w = w->older)
        if (w->link == NULL)
            fail(w, why, 0);
}

void client_watch_end(struct tvn *db)
{
    client_watch_tick(db, client_now_ms());
}

/* ---- I/O thread: in ---- */

/* Passing troubles; whatever else a site says is the answer. */
static bool passes(int code)
{
    return code == ERR_NOT_PRIMARY || code == ERR_BUSY || code == ERR_STALE ||
           code == ERR_UNREACHABLE || code == ERR_TIMEOUT || code == ERR_CANCELLED;
}

static void refused(struct tvn_watch *w, struct link *l, const struct wire_error *m)
{
    struct err e = ERR_NONE;
    attach(w, NULL);
    w->retry_at_ms = client_now_ms() + client_jitter(w->db, RETRY_MS);
    if (m->code == ERR_NOT_PRIMARY && l == l->route->active)
        client_route_redirect(l->route, m->primary, false);
    w->refused = m->code;
    if (passes(m->code))
        return;
    err_set(&e, m->code, "%s: %.*s", l->site, (int)m->text.n, (const char *)m->text.p);
    fail(w, &e, m->lsn.v);
}

static int opened(struct tvn_watch *w, struct link *l, struct bytes body, struct err *why)
{
    struct wire_watch m;
    int rc = wire_read_watch(body, &m, why);
    if (rc != 0)
        return rc;
    if (w->next.v != 0 && m.from.v != w->next.v)
        return err_set(why, ERR_FORMAT, "a watch from lsn %llu was answered with lsn %llu",
                       (unsigned long long)w->next.v, (unsigned long long)m.from.v);
    w->id = m.id;
    w->opened = true;
    w->deadline_ms = UINT64_MAX;
    client_link_proved(l);
    pthread_mutex_lock(&w->db->lock);
    bool again = w->begun;
    w->next = m.from;
    if (!again)
        w->position = m.from.v;
    w->begun = true;
    w->newest = m.newest.v > w->newest ? m.newest.v : w->newest;
    w->heard_ms = client_now_ms();
    pthread_cond_signal(&w->news);
    pthread_mutex_unlock(&w->db->lock);
    if (again)
        client_event(w->db, "watching again, from lsn %llu at %s", (unsigned long long)m.from.v,
                     l->site);
    return 0;
}

int client_watch_answer(struct link *l, const struct frame *f, struct bytes body, struct err *why)
{
    struct tvn_watch *w = watches_of(l->route->db);
    while (w != NULL && (w->link != l || w->number != f->request))
        w = w->older;
    struct wire_error m;
    int rc = f->type == FRAME_ERROR ? wire_read_error(body, &m, why) : 0;
    if (rc != 0)
        return rc;
    if (w != NULL && f->type == FRAME_ERROR)
        refused(w, l, &m);
    else if (w != NULL)
        return opened(w, l, body, why);
    else if (f->type != FRAME_ERROR) { /* it was left before it was opened */
        struct wire_watch open;
        rc = wire_read_watch(body, &open, why);
        if (rc == 0)
            close_on(l, open.id);
    }
    return rc;
}

static struct tvn_watch *find(struct link *l, uint64_t id)
{
    struct tvn_watch *w = watches_of(l->route->db);
    while (w != NULL && (w->link != l || !w->opened || w->id != id))
        w = w->older;
    return w;
}

/* Count what the push has of the transaction that is incomplete, and pass over what was given of it before (I1). */
static void pass_over(struct tvn_watch *w, struct push *p)
{
    struct wire_watch_data *d = &p->data;
    struct reader r = d->changes;
    uint32_t of_last = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        struct wire_change c;
        check(wire_next_change(&r, &c, NULL) == 0); /* it was checked */
        of_last += c.lsn.v == d->up_to.v + 1;
        if (c.lsn.v != w->next.v)
            continue;
        if (++w->seen <= w->part) {
            d->changes = r;
            p->left--;
        }
    }
    if (w->part < w->seen)
        w->part = w->seen;
    if (d->up_to.v + 1 != w->next.v)
        w->part = w->seen = of_last;
    w->next.v = d->up_to.v + 1;
}

/* Under the lock. A push without changes moves the one before it on, so that silence takes no memory. */
static void enqueue(struct tvn_watch *w, struct push *p)
{
    struct push *last = w->newest_push;
    if (p->left == 0 && last != NULL) {
        last->data.up_to = p->data.up_to;
        w->returned += (uint32_t)p->bytes;
        free(p);
        return;
    }
    *(last == NULL ? &w->first : &last->next) = p;
    w->newest_push = p;
}

static int take_data(struct link *l, struct bytes body, struct err *why)
{
    struct wire_watch_data m;
    struct tvn *db = l->route->db;
    int rc = wire_read_watch_data(body, &m, why);
    struct tvn_watch *w = rc == 0 ? find(l, m.id) : NULL;
    if (w == NULL)
        return rc; /* what was on its way when the watch was left */
    if (m.from.v != w->next.v)
        return err_set(why, ERR_FORMAT, "a watch goes on at lsn %llu where %llu is next",
                       (unsigned long long)m.from.v, (unsigned long long)w->next.v);
    struct push *p = malloc(sizeof *p + body.n);
    if (p == NULL)
        return err_set(why, ERR_NO_MEMORY, "out of memory for changes of %zu bytes", body.n);
    *p = (struct push){.bytes = body.n, .data = m, .left = m.count};
    memcpy(p->body, body.p, body.n);
    p->data.changes.p = p->body;
    pass_over(w, p);
    client_saw(db, m.up_to.v);
    pthread_mutex_lock(&db->lock);
    enqueue(w, p);
    w->newest = m.newest.v > w->newest ? m.newest.v : w->newest;
    w->heard_ms = client_now_ms();
    pthread_cond_signal(&w->news);
    pthread_mutex_unlock(&db->lock);
    return 0;
}

int client_watch_push(struct link *l, const struct frame *f, struct bytes body, struct err *why)
{
    if (f->type == FRAME_WATCH_DATA)
        return take_data(l, body, why);
    struct wire_watch_end m;
    int rc = wire_read_watch_end(body, &m, why);
    struct tvn_watch *w = rc == 0 ? find(l, m.id) : NULL;
    if (w != NULL)
        refused(w, l, &(struct wire_error){.code = m.code, .text = m.text, .lsn = m.first});
    return rc;
}

/* ---- application ---- */

static int refuse(struct tvn_error *error, const struct err *e)
{
    return client_error_set(error, e, TVN_NOT_APPLICABLE);
}

static int check_options(const struct tvn_watch_options *o, struct err *e)
{
    const struct op all = {OP_DELETE, bytes_str("c"), bytes_str("k"), {NULL, 0}};
    struct op key = all;
    if (o->collection != NULL && o->collection[0] != '\0')
        key.collection = bytes_str(o->collection);
    int rc = op_check(&key, true, e);
    if (rc == 0 && o->prefix.size > KEY_MAX_BYTES)
        rc = err_set(e, ERR_LIMIT, "prefix of %zu bytes: up to %d are allowed", o->prefix.size,
                     KEY_MAX_BYTES);
    if (rc == 0 && o->buffer_bytes != 0 &&
        (o->buffer_bytes < WINDOW_MIN || o->buffer_bytes > WIRE_WATCH_CREDIT_MAX))
        rc = err_set(e, ERR_USAGE, "a buffer of %u bytes: %d to %d are allowed", o->buffer_bytes,
                     WINDOW_MIN, WIRE_WATCH_CREDIT_MAX);
    if (rc == 0 && o->timeout_ms > CLIENT_TIMEOUT_MAX_MS)
        rc = err_set(e, ERR_USAGE, "timeout of %u ms: at most %d", o->timeout_ms,
                     CLIENT_TIMEOUT_MAX_MS);
    return rc;
}

static struct tvn_watch *new_watch(struct tvn *db, const struct tvn_watch_options *o)
{
    struct tvn_watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    uint32_t timeout_ms = o->timeout_ms == 0 ? db->config.timeout_ms : o->timeout_ms;
    w->db = db;
    (void)snprintf(w->collection, sizeof w->collection, "%s",
                   o->collection == NULL ? "" : o->collection);
    if (o->prefix.size != 0)
        memcpy(w->prefix_bytes, o->prefix.data, o->prefix.size);
    w->prefix = bytes_of(w->prefix_bytes, o->prefix.size);
    w->keys_only = o->keys_only != 0;
    w->window = o->buffer_bytes == 0 ? WINDOW_DEFAULT : o->buffer_bytes;
    w->next.v = w->position = o->from;
    w->deadline_ms = client_now_ms() + timeout_ms;
    client_error_none(&w->failed);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->news, &attr);
    pthread_condattr_destroy(&attr);
    return w;
}

int tvn_watch_open(struct tvn *db, const struct tvn_watch_options *options, struct tvn_watch **out,
                   struct tvn_error *error)
{
    struct err e = ERR_NONE;
    struct tvn_watch_options o = TVN_WATCH_INIT;
    *out = NULL;
    client_error_none(error);
    if (options != NULL)
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    if (client_check(db, true, &e) != 0 || check_options(&o, &e) != 0)
        return refuse(error, &e);
    struct tvn_watch *w = new_watch(db, &o);
    if (w == NULL) {
        err_set(&e, ERR_NO_MEMORY, "out of memory");
        return refuse(error, &e);
    }
    pthread_mutex_lock(&db->lock);
    w->older = db->watches;
    db->watches = w;
    pthread_mutex_unlock(&db->lock);
    client_wake(db);
    pthread_mutex_lock(&db->lock);
    while (!w->begun && w->failed.code == 0)
        pthread_cond_wait(&w->news, &db->lock);
    struct tvn_error failed = w->failed;
    bool begun = w->begun;
    pthread_mutex_unlock(&db->lock);
    if (begun) {
        *out = w;
        return 0;
    }
    tvn_watch_close(w);
    if (error != NULL)
        *error = failed;
    return failed.code;
}

/* Under the lock; false: the time is over. */
static bool wait_news(struct tvn_watch *w, uint64_t deadline_ms)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ms / 1000),
                             .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
    return pthread_cond_timedwait(&w->news, &w->db->lock, &until) != ETIMEDOUT;
}

static void look_ahead(struct tvn_watch *w)
{
    if (w->current->left > 0)
        check(wire_next_change(&w->current->data.changes, &w->ahead, NULL) == 0);
}

static void whole_up_to(struct tvn_watch *w, uint64_t lsn)
{
    if (lsn + 1 > w->position)
        w->position = lsn + 1;
}

/* 1: there is a current push with changes; 0: not in time; negative: the watch has failed. */
static int take_push(struct tvn_watch *w, uint64_t deadline_ms, struct tvn_error *error)
{
    struct tvn *db = w->db;
    int rc = 1;
    pthread_mutex_lock(&db->lock);
    while (w->first == NULL && w->failed.code == 0 && rc == 1)
        rc = wait_news(w, deadline_ms);
    struct push *p = w->first;
    bool wake = false;
    if (p != NULL) {
        rc = 1;
        w->first = p->next;
        if (w->first == NULL)
            w->newest_push = NULL;
        w->returned += (uint32_t)p->bytes;
        wake = w->returned >= w->window / 4 || (w->first == NULL && !w->linked);
    } else if (w->failed.code != 0) {
        rc = w->failed.code; /* of the watch, for ever */
        if (error != NULL)
            *error = w->failed;
    }
    pthread_mutex_unlock(&db->lock);
    if (wake)
        client_wake(db);
    w->current = p;
    return rc;
}

static void give(struct tvn_watch *w, struct tvn_change *out)
{
    struct push *p = w->current;
    const struct wire_change c = w->ahead;
    p->left--;
    look_ahead(w);
    bool more = p->left > 0 ? w->ahead.lsn.v == c.lsn.v : p->data.continued;
    if (!more)
        whole_up_to(w, p->left > 0 ? c.lsn.v : p->data.up_to.v);
    *out = (struct tvn_change){
        .lsn = c.lsn.v,
        .time_us = c.time.us,
        .op = (int)c.kind,
        .more = more,
        .collection = tvn_view(c.collection.p, c.collection.n),
        .key = tvn_view(c.key.p, c.key.n),
        .value = tvn_view(c.value.n == 0 ? NULL : c.value.p, c.value.n),
    };
}

int tvn_watch_next(struct tvn_watch *w, uint32_t timeout_ms, struct tvn_change *change,
                   struct tvn_error *error)
{
    struct err e = ERR_NONE;
    client_error_none(error);
    if (client_check(w->db, true, &e) != 0)
        return refuse(error, &e);
    uint64_t deadline = client_now_ms() + (timeout_ms == 0 ? w->db->config.timeout_ms : timeout_ms);
    while (w->current == NULL || w->current->left == 0) {
        free(w->current);
        w->current = NULL;
        int rc = take_push(w, deadline, error);
        if (rc != 1)
            return rc;
        if (w->current->left == 0 && !w->current->data.continued)
            whole_up_to(w, w->current->data.up_to.v);
        look_ahead(w);
    }
    give(w, change);
    return 1;
}

uint64_t tvn_watch_position(const struct tvn_watch *w)
{
    return w->position;
}

uint64_t tvn_watch_newest(struct tvn_watch *w)
{
    pthread_mutex_lock(&w->db->lock);
    uint64_t newest = w->newest;
    pthread_mutex_unlock(&w->db->lock);
    return newest;
}

uint64_t tvn_watch_silent_ms(struct tvn_watch *w)
{
    pthread_mutex_lock(&w->db->lock);
    uint64_t heard = w->heard_ms;
    pthread_mutex_unlock(&w->db->lock);
    return client_now_ms() - heard;
}

void tvn_watch_close(struct tvn_watch *w)
{
    if (w == NULL || client_check(w->db, false, NULL) != 0)
        return;
    struct tvn *db = w->db;
    pthread_mutex_lock(&db->lock);
    w->closing = true;
    pthread_mutex_unlock(&db->lock);
    client_wake(db);
}
