/* Watches: the committed changes of records, told to clients in the order of the log.
 *
 * A watch is a filter and the lsn that it comes to next; nothing is queued for it. When the commit index moves, credit comes or
 * a connection drains, the loop makes one round over the watches before it sleeps or polls again (an idle handle that is active
 * only while there is work): read entries, keep what matches, send one push a watch.
 *
 * COMMITTED, not visible: in local mode a primary shows what a forced failover may undo, and a watcher cannot be told to forget.
 * So a watch follows the commit index alone, also there: what it was told stays, at whichever site it goes on.
 *
 * INVARIANTS
 *   W1  The pushes of a watch cover the log without a hole: each begins where the one before ended (wire_watch_data.from).
 *   W2  A transaction's matching changes are in one push, unless they take more than WIRE_WATCH_TXN_MAX_BYTES; then `done`
 *       remembers how many operations of `next` were told.
 *   W3  Of one watch no more is on its way than its credit (wire.h, FLOW); of one connection no more is queued than
 *       CONNECTION_QUEUE_BYTES and one push. What a slow client has not taken is in the log, not in memory.
 *   W4  A round walks over at most TURN_BYTES of entries, or one entry, and the next begins with another watch.
 *
 * FAILURE MODES. The log was recycled past a slow watch: FRAME_WATCH_END with ERR_GAP and the first lsn that is left. The log
 * cannot be read: the same with what is wrong. This site stops being primary: its connections are closed (service.c), watches
 * end with them, and their clients go on elsewhere. */
#include "replication/service.h"

#include "store/core/check.h"

enum {
    PUSH_BYTES = 256 << 10, /* several transactions share a push up to this size */
    READ_BYTES = 256 << 10, /* of the log at a time */
    TURN_BYTES = 512 << 10,
    CONNECTION_QUEUE_BYTES = 1 << 20,
    CROWDED_MS = 5,  /* until a connection that takes no more is looked at again */
    SILENCE_MS = 500 /* until a watch is told how far it has seen; clients rely on a second */
};

struct watch {
    struct watch *next_watch;
    struct client *client; /* of which conn is not NULL */
    uint64_t id;
    bool keys_only;
    struct bytes collection, prefix; /* into `names` */
    uint8_t names[COLLECTION_MAX_BYTES + KEY_MAX_BYTES];
    struct lsn next;        /* everything before it is told, or did not match */
    struct lsn told;        /* ... as far as the client knows */
    uint32_t done;          /* operations of `next` that are told */
    int64_t credit, window; /* bytes left, and at first */
    bool stalled;           /* what comes next costs more than the credit */
    uint64_t told_ms;
};

struct watches {
    struct service *service;
    uv_idle_t round;
    uv_timer_t silence, crowded;
    struct watch *first, **last;
    uint32_t count;
    uint64_t next_id;
    /* Entries that were read last; committed, so they stay true. Watches that are equally far share them, and a transaction
     * that takes several pushes is read once. */
    struct lsn seen; /* commit index of the last round */
    uint8_t *entries;
    size_t capacity, used, held;
    struct lsn held_from;
};

static struct lsn committed(const struct watches *ws)
{
    return ws->service->site->marks.commit;
}

/* ---- ending ---- */

static void unlink_watch(struct watches *ws, struct watch **at)
{
    struct watch *w = *at;
    *at = w->next_watch;
    if (ws->last == &w->next_watch)
        ws->last = at;
    ws->count--;
    free(w);
    if (ws->count > 0)
        return;
    (void)uv_idle_stop(&ws->round);
    (void)uv_timer_stop(&ws->silence);
    (void)uv_timer_stop(&ws->crowded);
    free(ws->entries);
    ws->entries = NULL;
    ws->capacity = ws->used = ws->held = 0;
}

static struct watch **find(struct watches *ws, const struct client *c, uint64_t id)
{
    if (ws == NULL)
        return NULL;
    for (struct watch **at = &ws->first; *at != NULL; at = &(*at)->next_watch)
        if ((*at)->client == c && (*at)->id == id)
            return at;
    return NULL;
}

/* A failure to send means that the connection is ending; its end takes the watch along. */
static void push(struct watch *w, enum frame_type type, struct bytes body)
{
    (void)conn_send(w->client->conn, type, w->client->service->site->view.term, 0, &body, 1, NULL);
}

static int gap(struct site *s, struct lsn wanted, struct lsn *first, struct err *e)
{
    struct log_status log;
    log_status(s->log, &log);
    first->v = log.first.lsn.v + 1;
    return err_set(e, ERR_GAP,
                   "lsn %llu is not in the log of %s any more, which begins at lsn %llu: read the "
                   "records as they are (a snapshot, or triveni dump) and watch from the lsn after "
                   "theirs; what happened in between is in the archive",
                   (unsigned long long)wanted.v, s->config->members[s->config->self].name,
                   (unsigned long long)first->v);
}

static void end_watch(struct watch *w, int rc, const struct err *why)
{
    struct watches *ws = w->client->service->watches;
    struct site *s = ws->service->site;
    struct wire_watch_end end = {.id = w->id, .code = rc};
    struct err e = *why;
    if (rc == ERR_GAP)
        (void)gap(s, w->next, &end.first, &e);
    else
        events_add(s->events, "a watch of %s cannot go on at lsn %llu: %s", w->client->name,
                   (unsigned long long)w->next.v, e.text);
    end.text = bytes_str(e.text);
    uint8_t body[ERR_TEXT_BYTES + 64];
    struct writer out = writer_of(body, sizeof body);
    wire_write_watch_end(&out, &end);
    check(!out.bad);
    push(w, FRAME_WATCH_END, bytes_of(body, out.at));
    unlink_watch(ws, find(ws, w->client, w->id));
}

/* ---- the log ---- */

static int read_into(struct watches *ws, size_t capacity, struct lsn from, struct lsn to,
                     struct err *e)
{
    if (capacity != ws->capacity) {
        free(ws->entries);
        ws->capacity = 0;
        ws->entries = malloc(capacity);
        if (ws->entries == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of log", capacity);
        ws->capacity = capacity;
    }
    return log_read(ws->service->site->log, from, to, ws->entries, capacity, &ws->used, &ws->held,
                    e);
}

/* Have entries in the buffer that begin with the watch's next one. */
static int hold_entries(struct watches *ws, const struct watch *w, struct err *e)
{
    if (ws->held > 0 && ws->held_from.v == w->next.v)
        return 0;
    ws->held = 0;
    int rc = read_into(ws, READ_BYTES, w->next, committed(ws), e);
    if (rc == ERR_LIMIT) /* one entry that is larger than the buffer */
        rc = read_into(ws, ws->used, w->next, w->next, e);
    if (rc != 0) {
        ws->held = 0;
        return rc;
    }
    ws->held_from = w->next;
    return 0;
}

/* ---- one push ---- */

static bool matches(const struct watch *w, const struct op *op)
{
    return (w->collection.n == 0 || bytes_equal(w->collection, op->collection)) &&
           op->key.n >= w->prefix.n && bytes_equal(w->prefix, bytes_of(op->key.p, w->prefix.n));
}

static struct wire_change change_of(const struct watch *w, const struct entry_header *h,
                                    const struct op *op)
{
    return (struct wire_change){h->lsn,   h->time,
                                op->kind, op->collection,
                                op->key,  w->keys_only ? bytes_of(NULL, 0) : op->value};
}

/* Bytes that the operations of the transaction from number `done` on add to a push. */
static size_t measure(const struct watch *w, const struct entry_header *h,
                      const struct body_txn *txn)
{
    size_t bytes = 0;
    struct reader ops = txn->ops;
    for (uint32_t i = 0; i < txn->op_count; i++) {
        struct op op;
        check(body_next_op(&ops, &op, NULL) == 0); /* body_read_txn has looked */
        if (i >= w->done && matches(w, &op)) {
            struct wire_change c = change_of(w, h, &op);
            bytes += wire_change_bytes(&c);
        }
    }
    return bytes;
}

struct building {
    struct writer out;
    struct wire_watch_data head;
    size_t walked; /* bytes of entries */
    bool full;
};

/* May a push of this size go? (wire.h, FLOW) */
static bool affordable(const struct watch *w, size_t bytes)
{
    return (int64_t)bytes <= w->credit || w->credit >= (w->window + 1) / 2;
}

/* Write operations up to `limit` bytes of push; at least one. True: the transaction is whole. */
static bool write_changes(struct watch *w, const struct entry_header *h, const struct body_txn *txn,
                          size_t limit, struct building *b)
{
    struct reader ops = txn->ops;
    bool one = false;
    for (uint32_t i = 0; i < txn->op_count; i++) {
        struct op op;
        check(body_next_op(&ops, &op, NULL) == 0);
        if (i < w->done || !matches(w, &op))
            continue;
        struct wire_change c = change_of(w, h, &op);
        if (one && b->out.at + wire_change_bytes(&c) > limit) {
            w->done = i;
            return false;
        }
        wire_write_change(&b->out, &c);
        check(!b->out.bad);
        b->head.count++;
        one = true;
    }
    w->done = 0;
    return true;
}

/* Size of the first piece of a transaction that is to be split. */
static size_t piece_bytes(size_t matched)
{
    /* One value may be larger than a piece: then the piece is that change alone. */
    size_t most = VALUE_MAX_BYTES + KEY_MAX_BYTES + COLLECTION_MAX_BYTES + 64;
    return matched < most ? matched : most;
}

/* Add a transaction to the push. *whole: the watch has passed it. */
static int add_txn(struct watch *w, const struct entry_header *h, struct bytes body,
                   struct building *b, bool *whole, struct err *e)
{
    struct body_txn txn;
    int rc = body_read_txn(body, &txn, e);
    if (rc != 0)
        return err_wrap(e, "lsn %llu", (unsigned long long)h->lsn.v);
    size_t bytes = measure(w, h, &txn), all = b->out.at + bytes;
    *whole = true;
    if (bytes == 0)
        return 0;
    bool shares = all <= PUSH_BYTES && (int64_t)all <= w->credit;
    bool split = all > WIRE_WATCH_TXN_MAX_BYTES;
    size_t room = split ? b->out.at + piece_bytes(bytes) : all;
    b->full = !shares;
    if (!shares && (b->head.count > 0 || !affordable(w, room))) {
        w->stalled = b->head.count == 0;
        *whole = false;
        return 0;
    }
    b->out.p = service_buffer(w->client->service, room, e);
    if (b->out.p == NULL)
        return e->code;
    b->out.cap = room;
    *whole = write_changes(w, h, &txn, split ? WIRE_WATCH_TXN_MAX_BYTES : room, b);
    b->head.continued = !*whole;
    return 0;
}

/* Walk over entries, from the watch's next on, until a push is full or nothing is left of what is held. */
static int build(struct watches *ws, struct watch *w, struct building *b, struct err *e)
{
    for (size_t i = 0; i < ws->held && !b->full; i++) {
        struct entry_header h;
        bool whole = true;
        const uint8_t *entry = ws->entries + b->walked;
        int rc = entry_header_decode(entry, &h, e);
        if (rc != 0)
            return rc;
        check(h.lsn.v == w->next.v);
        if (h.kind == ENTRY_TXN)
            rc = add_txn(w, &h, bytes_of(entry + ENTRY_HEADER_BYTES, h.body_bytes), b, &whole, e);
        if (rc != 0)
            return rc;
        if (!whole)
            break;
        b->walked += ENTRY_HEADER_BYTES + h.body_bytes;
        w->next.v++;
    }
    return 0;
}

static void send_data(struct watch *w, struct wire_watch_data *head, struct writer *out)
{
    struct watches *ws = w->client->service->watches;
    head->id = w->id;
    head->from.v = w->told.v + 1;
    head->up_to.v = w->next.v - 1;
    head->newest = committed(ws);
    struct writer front = writer_of(out->p, WIRE_WATCH_DATA_BYTES);
    wire_write_watch_data(&front, head);
    check(!front.bad);
    w->credit -= (int64_t)out->at;
    w->told = head->up_to;
    w->told_ms = site_now_ms();
    push(w, FRAME_WATCH_DATA, bytes_of(out->p, out->at));
}

/* ---- rounds ---- */

static bool ready(const struct watches *ws, const struct watch *w)
{
    return !w->stalled && w->credit > 0 && w->next.v <= committed(ws).v;
}

static bool crowded(const struct watch *w)
{
    return conn_queued_bytes(w->client->conn) >= CONNECTION_QUEUE_BYTES;
}

/* Returns how many bytes of entries it took. May end the watch. */
static size_t serve(struct watches *ws, struct watch *w)
{
    struct err e = ERR_NONE;
    struct building b = {.head = {.count = 0}};
    int rc = hold_entries(ws, w, &e);
    if (rc == 0 && (b.out.p = service_buffer(ws->service, PUSH_BYTES, &e)) == NULL)
        rc = e.code;
    b.out = (struct writer){b.out.p, PUSH_BYTES, WIRE_WATCH_DATA_BYTES, false};
    if (rc == 0)
        rc = build(ws, w, &b, &e);
    if (rc != 0)
        end_watch(w, rc, &e);
    else if (b.head.count > 0)
        send_data(w, &b.head, &b.out);
    return b.walked > b.out.at ? b.walked : b.out.at;
}

static void on_crowded(uv_timer_t *timer);

static void on_round(uv_idle_t *idle)
{
    struct watches *ws = idle->data;
    size_t taken = 0;
    bool more = false, wait = false;
    ws->seen = committed(ws);
    for (uint32_t n = ws->count; n > 0 && taken < TURN_BYTES; n--) {
        struct watch *w =
            ws->first; /* to the end of the line: the next round begins with another */
        ws->first = w->next_watch;
        w->next_watch = NULL;
        *(ws->first == NULL ? &ws->first : ws->last) = w;
        ws->last = &w->next_watch;
        if (ready(ws, w) && !crowded(w))
            taken += serve(ws, w);
    }
    for (struct watch *w = ws->first; w != NULL; w = w->next_watch) {
        more |= ready(ws, w) && !crowded(w);
        wait |= ready(ws, w) && crowded(w);
    }
    if (!more)
        (void)uv_idle_stop(&ws->round);
    if (wait && !more)
        (void)uv_timer_start(&ws->crowded, on_crowded, CROWDED_MS, 0);
}

static void start_round(struct watches *ws)
{
    (void)uv_idle_start(&ws->round, on_round);
}

static void on_crowded(uv_timer_t *timer)
{
    start_round(timer->data);
}

/* Tell those who have heard nothing for a while how far they have seen. */
static void on_silence(uv_timer_t *timer)
{
    struct watches *ws = timer->data;
    uint64_t now = site_now_ms();
    for (struct watch *w = ws->first; w != NULL; w = w->next_watch) {
        uint8_t body[WIRE_WATCH_DATA_BYTES];
        struct writer out = writer_of(body, sizeof body);
        out.at = sizeof body;
        if (now - w->told_ms >= SILENCE_MS && w->credit >= (int64_t)sizeof body && !crowded(w))
            send_data(w, &(struct wire_watch_data){.count = 0}, &out);
    }
}

void service_watch_progress(struct service *v)
{
    struct watches *ws = v->watches;
    if (ws != NULL && ws->count > 0 && committed(ws).v > ws->seen.v)
        start_round(ws);
}

/* ---- requests ---- */

static int start(struct service *v, struct err *e)
{
    if (v->watches != NULL)
        return 0;
    struct watches *ws = calloc(1, sizeof *ws);
    if (ws == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    ws->service = v;
    ws->last = &ws->first;
    uv_loop_t *loop = &v->site->loop;
    check(uv_idle_init(loop, &ws->round) == 0 && uv_timer_init(loop, &ws->silence) == 0 &&
          uv_timer_init(loop, &ws->crowded) == 0);
    ws->round.data = ws->silence.data = ws->crowded.data = ws;
    v->watches = ws;
    return 0;
}

/* Where a watch begins. 0; ERR_GAP with the first lsn there is; ERR_NOT_FOUND when the log does not go that far. */
static int check_from(struct site *s, const struct wire_watch_open *m, struct lsn *from,
                      struct lsn *first, struct err *e)
{
    struct log_status log;
    log_status(s->log, &log);
    from->v = m->from.v != 0 ? m->from.v : s->marks.commit.v + 1;
    if (from->v <= log.first.lsn.v && from->v <= s->marks.commit.v)
        return gap(s, *from, first, e);
    /* A standby may be behind what its caller has seen elsewhere; the primary is not. */
    if (s->view.role == REPL_PRIMARY && from->v > s->tail.lsn.v + 1)
        return err_set(e, ERR_NOT_FOUND,
                       "lsn %llu is not written yet, the last is %llu: is it of this cluster?",
                       (unsigned long long)from->v, (unsigned long long)s->tail.lsn.v);
    return 0;
}

static int check_count(const struct client *c, struct err *e)
{
    uint32_t n = 0;
    for (const struct watch *w = c->service->watches->first; w != NULL; w = w->next_watch)
        n += w->client == c;
    return n < WIRE_WATCHES_MAX ? 0
                                : err_set(e, ERR_LIMIT,
                                          "%u watches are open on this connection, more are not "
                                          "allowed: close one, or watch all with one and filter",
                                          n);
}

static int add_watch(struct client *c, const struct wire_watch_open *m, struct lsn from,
                     struct wire_watch *answer, struct err *e)
{
    struct watches *ws = c->service->watches;
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for a watch");
    *w = (struct watch){.client = c,
                        .id = ++ws->next_id,
                        .keys_only = (m->flags & WIRE_WATCH_KEYS_ONLY) != 0,
                        .next = from,
                        .told = {from.v - 1},
                        .credit = m->credit,
                        .window = m->credit,
                        .told_ms = site_now_ms()};
    w->collection = bytes_of(w->names, m->collection.n);
    w->prefix = bytes_of(w->names + m->collection.n, m->prefix.n);
    if (m->collection.n != 0)
        memcpy(w->names, m->collection.p, m->collection.n);
    if (m->prefix.n != 0)
        memcpy(w->names + m->collection.n, m->prefix.p, m->prefix.n);
    *ws->last = w;
    ws->last = &w->next_watch;
    if (ws->count++ == 0)
        (void)uv_timer_start(&ws->silence, on_silence, SILENCE_MS, SILENCE_MS);
    *answer = (struct wire_watch){w->id, from, committed(ws)};
    return 0;
}

/* ERR_GAP with the lsn that the client may begin with. */
static void refuse(struct client *c, uint64_t request, const struct err *why, struct lsn first)
{
    uint8_t body[ERR_TEXT_BYTES + 64];
    struct writer out = writer_of(body, sizeof body);
    wire_write_error(&out, &(struct wire_error){.code = why->code,
                                                .text = bytes_str(why->text),
                                                .failed_condition = -1,
                                                .lsn = first});
    check(!out.bad);
    struct bytes b = bytes_of(body, out.at);
    (void)conn_send(c->conn, FRAME_ERROR, c->service->site->view.term, request, &b, 1, NULL);
}

int service_watch_open(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct wire_watch_open m;
    struct lsn from, first = {0};
    int rc = wire_read_watch_open(body, &m, e);
    if (rc == 0 && (m.flags & WIRE_READ_STANDBY) == 0) {
        rc = service_require_primary(c, f, body, e);
        if (rc == SERVICE_LATER)
            return 0;
    }
    if (rc == 0)
        rc = start(c->service, e);
    if (rc == 0)
        rc = check_count(c, e);
    if (rc != 0)
        return rc;
    rc = check_from(c->service->site, &m, &from, &first, e);
    if (rc == ERR_GAP) {
        refuse(c, f->request, e, first);
        return 0;
    }
    struct wire_watch answer;
    if (rc == 0)
        rc = add_watch(c, &m, from, &answer, e);
    if (rc != 0)
        return rc;
    uint8_t reply[64];
    struct writer out = writer_of(reply, sizeof reply);
    wire_write_watch(&out, &answer);
    check(!out.bad);
    service_reply(c, FRAME_WATCH_OPEN, f->request, bytes_of(reply, out.at));
    start_round(c->service->watches);
    return 0;
}

int service_watch_credit(struct client *c, struct bytes body, struct err *e)
{
    struct wire_watch_credit m;
    int rc = wire_read_watch_credit(body, &m, e);
    if (rc != 0)
        return rc;
    struct watch **at = find(c->service->watches, c, m.id);
    if (at == NULL)
        return 0; /* it ended while this was on its way */
    struct watch *w = *at;
    w->credit += m.bytes;
    if (w->credit > w->window)
        w->credit = w->window;
    w->stalled = false;
    start_round(c->service->watches);
    return 0;
}

int service_watch_close(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct wire_watch_close m;
    int rc = wire_read_watch_close(body, &m, e);
    if (rc != 0)
        return rc;
    struct watch **at = find(c->service->watches, c, m.id);
    if (at != NULL)
        unlink_watch(c->service->watches, at);
    uint8_t reply[64];
    struct writer out = writer_of(reply, sizeof reply);
    wire_write_done(&out, &(struct wire_done){.level = LEVEL_LOCAL});
    check(!out.bad);
    service_reply(c, FRAME_WATCH_CLOSE, f->request, bytes_of(reply, out.at));
    return 0;
}

void service_watch_drop(struct client *c)
{
    struct watches *ws = c->service->watches;
    if (ws == NULL)
        return;
    for (struct watch **at = &ws->first; *at != NULL;)
        if ((*at)->client == c)
            unlink_watch(ws, at);
        else
            at = &(*at)->next_watch;
}

static void on_stopped(uv_handle_t *handle)
{
    free(handle->data);
}

void service_watch_stop(struct service *v)
{
    struct watches *ws = v->watches;
    if (ws == NULL)
        return;
    v->watches = NULL;
    while (ws->first != NULL)
        unlink_watch(ws, &ws->first);
    uv_close((uv_handle_t *)&ws->round, NULL);
    uv_close((uv_handle_t *)&ws->silence, NULL);
    uv_close((uv_handle_t *)&ws->crowded,
             on_stopped); /* libuv calls back in this order or not at all */
}
