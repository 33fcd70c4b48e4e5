/* Traffic of a route: what waits goes out on the active link, in order of submission; what a lost link left unanswered
 * waits again. And the watch over links: a peer that has vanished without closing is noticed because it neither sends
 * nor takes anything, and does not answer a probe. */
#include "client/internal.h"

enum {
    PROBE_AFTER_MS = 1000, /* silence while requests are unanswered, or something is watched */
    PROBE_IDLE_MS = 15000, /* silence otherwise */
    PROBE_LOST_MS = 2000,  /* from probe to giving up */
};

/* ---- out ---- */

static void name_txn(struct tvn *db, struct request *r)
{
    r->session = db->session.id;
    struct writer w = writer_of(r->body, r->size);
    write_uuid(&w, &r->session);
    write_u64(&w, r->sequence);
    check(!w.bad);
}

/* False: nothing more can be sent now. */
static bool send_request(struct link *l, struct request *r)
{
    struct tvn *db = l->route->db;
    if (r->type == FRAME_TXN)
        name_txn(db, r);
    struct bytes body = bytes_of(r->body, r->size);
    struct err e = ERR_NONE;
    int rc = conn_send(l->conn, r->type, (struct term){0}, r->number, &body, 1, &e);
    if (rc == ERR_BUSY)
        return false;
    if (rc != 0) {
        client_link_drop(l, &e);
        return false;
    }
    client_list_remove(r);
    client_list_push(&l->sent, r);
    r->sent_on = l;
    if (r->type == FRAME_TXN) {
        db->session.sent++;
        if (r->attempts > 0) {
            pthread_mutex_lock(&db->lock);
            db->resent++;
            pthread_mutex_unlock(&db->lock);
        }
    }
    r->attempts++;
    return true;
}

static void give_session(struct tvn *db, struct request *r)
{
    pthread_mutex_lock(&db->lock);
    db->session.pinned = true;
    memcpy(r->result.session.bytes, db->session.id.b, sizeof db->session.id.b);
    r->result.sequence = db->session.next_sequence;
    pthread_mutex_unlock(&db->lock);
    client_finish(db, r);
}

static bool needs_session(const struct request *r)
{
    return r->type == FRAME_TXN || r->type == FRAME_SESSION_OPEN;
}

static void fail_expired(struct tvn *db, struct request *r)
{
    struct err e = ERR_NONE;
    err_set(&e, ERR_SESSION_EXPIRED,
            "the session has expired; open a handle without it to write under a new one");
    client_fail(db, r, &e);
}

/* Requests that depend on the session: true when this one may be sent now. May complete it. */
static bool session_permits(struct link *l, struct request *r)
{
    struct tvn *db = l->route->db;
    bool ready = client_session_ready(db, l);
    if (r->type == FRAME_TXN)
        return ready;
    if (ready && l->session_confirmed)
        give_session(db, r);
    return false;
}

static struct link *find_link(struct route *rt, uint64_t number)
{
    for (struct link *l = rt->links; l != NULL; l = l->next)
        if (l->number == number && l->ready && !l->dropped)
            return l;
    return NULL;
}

/* A read of a snapshot goes to where the snapshot is. */
static void send_bound(struct route *rt, struct request *r)
{
    struct link *l = find_link(rt, r->link);
    if (l != NULL) {
        (void)send_request(l, r); /* or later, when there is room */
        return;
    }
    struct err e = ERR_NONE;
    err_set(&e, ERR_STALE,
            "the snapshot ended with the connection that it was opened on; open another");
    client_fail(rt->db, r, &e);
}

/* May it go to the active link now? A site that has not proved to be the primary is asked with one request, not with all that
 * waits, which may be 64 MiB. */
static bool may_send(const struct route *rt, struct request *r, uint64_t now_ms)
{
    struct link *l = rt->active;
    if (l == NULL || now_ms < rt->hold_until_ms || (!l->proved && l->sent.head != NULL))
        return false;
    return !needs_session(r) || session_permits(l, r);
}

static void flush(struct route *rt, uint64_t now_ms)
{
    for (struct request *r = rt->waiting.head, *next; r != NULL; r = next) {
        next = r->next;
        if (r->link != 0)
            send_bound(rt, r);
        else if (needs_session(r) && rt->db->session.state == SESSION_DEAD)
            fail_expired(rt->db, r);
        else if (may_send(rt, r, now_ms) && !send_request(rt->active, r))
            return;
    }
}

void client_route_hold(struct route *rt)
{
    uint64_t now = client_now_ms();
    if (now < rt->hold_until_ms)
        return;
    rt->hold_until_ms = now + client_jitter(rt->db, rt->backoff_ms);
    rt->backoff_ms = rt->backoff_ms * 2 < BACKOFF_MAX_MS ? rt->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* ---- lost ---- */

void client_route_requeue(struct route *rt, struct request *r)
{
    client_request_unsend(rt->db, r);
    client_list_insert(&rt->waiting, r);
}

/* Commands and restore points are not repeatable: the site has no memory of them as it has of transactions. */
static bool repeatable(const struct request *r)
{
    return r->type != FRAME_ADMIN && r->type != FRAME_POINT && r->link == 0;
}

void client_link_lost(struct link *l, const struct err *why)
{
    struct route *rt = l->route;
    struct tvn *db = rt->db;
    client_session_link_lost(db, l);
    client_watch_link_lost(l);
    struct err e = ERR_NONE;
    const char *text = why == NULL ? "" : why->text, *colon = why == NULL ? "" : ": ";
    for (struct request *r = l->sent.tail, *prev; r != NULL; r = prev) {
        prev = r->prev;
        r->doubtful = true;
        if (repeatable(r)) {
            client_route_requeue(rt, r);
            continue;
        }
        if (r->link != 0)
            err_set(&e, ERR_STALE, "the snapshot ended with the connection to %s%s%s", l->site,
                    colon, text);
        else
            err_set(&e, ERR_OUTCOME_UNKNOWN, "the connection to %s was lost before the answer%s%s",
                    l->site, colon, text);
        client_fail(db, r, &e);
    }
}

void client_route_fail_waiting(struct route *rt, enum frame_type type, const struct err *why)
{
    for (struct request *r = rt->waiting.head, *next; r != NULL; r = next) {
        next = r->next;
        if (type == 0 || r->type == type)
            client_fail(rt->db, r, why);
    }
}

/* ---- watching ---- */

static void probe(struct link *l, uint64_t now_ms)
{
    /* Any answer will do, from a site in any role: the record need not exist. */
    const struct op key = {OP_DELETE, bytes_str("_probe"), bytes_str("0"), {NULL, 0}};
    uint8_t buffer[64];
    struct writer w = writer_of(buffer, sizeof buffer);
    wire_write_get(&w, &(struct wire_get){.flags = WIRE_READ_STANDBY, .count = 1}, &key);
    check(!w.bad);
    struct bytes body = bytes_of(buffer, w.at);
    if (conn_send(l->conn, FRAME_GET, (struct term){0}, NUMBER_PROBE, &body, 1, NULL) == 0)
        l->probe_ms = now_ms;
}

static uint64_t link_due_ms(const struct link *l)
{
    uint64_t wait = l->sent.head != NULL || l->watches > 0 ? PROBE_AFTER_MS : PROBE_IDLE_MS;
    uint64_t due = l->probe_ms != 0 ? l->probe_ms + PROBE_LOST_MS : l->heard_ms + wait;
    if (l->retiring && l->retire_at_ms < due)
        due = l->retire_at_ms;
    return due;
}

static bool holds_command(const struct link *l)
{
    for (const struct request *r = l->sent.head; r != NULL; r = r->next)
        if (!repeatable(r))
            return true;
    return false;
}

static void link_tick(struct link *l, uint64_t now_ms)
{
    uint64_t in = conn_bytes_in(l->conn), waiting = conn_queued_bytes(l->conn);
    bool deaf = l->route->db->paused; /* nobody listens: silence is no sign of anything */
    if (in != l->bytes_in || deaf || (waiting != 0 && waiting != l->bytes_queued)) {
        l->heard_ms = now_ms;
        if (in != l->bytes_in)
            l->probe_ms = 0;
        else if (l->probe_ms != 0)
            l->probe_ms = now_ms; /* or a large request is still on its way, before the probe */
    }
    l->bytes_in = in;
    l->bytes_queued = waiting;
    if (l->retiring && now_ms >= l->retire_at_ms) {
        if (!holds_command(l)) {
            client_link_drop(l, NULL);
            return;
        }
        l->retire_at_ms = now_ms + PROBE_AFTER_MS;
    }
    if (now_ms < link_due_ms(l))
        return;
    if (l->probe_ms == 0) {
        probe(l, now_ms);
        return;
    }
    struct err e = ERR_NONE;
    err_set(&e, ERR_TIMEOUT, "%s: no sign of life for %llu ms", l->endpoint,
            (unsigned long long)(now_ms - l->heard_ms));
    client_event(l->route->db, "%s", e.text);
    struct route *rt = l->route;
    bool warm = l == rt->warm;
    client_link_drop(l, &e);
    if (warm)
        return;
    rt->why = e;
    rt->tried |= l->endpoint_bit; /* the others first */
    rt->step_at_ms = now_ms;
}

void client_route_tick(struct route *rt, uint64_t now_ms)
{
    for (struct link *l = rt->links, *next; l != NULL; l = next) {
        next = l->next;
        if (l->ready && !l->dropped)
            link_tick(l, now_ms);
    }
    client_route_seek(rt, now_ms);
    client_warm_tick(rt, now_ms);
    flush(rt, now_ms);
}

uint64_t client_route_due_ms(const struct route *rt)
{
    uint64_t due = client_warm_due_ms(rt);
    if (rt->wanted && rt->active == NULL && rt->step_at_ms != 0)
        due = rt->step_at_ms;
    if (rt->active != NULL && rt->waiting.head != NULL && rt->hold_until_ms > client_now_ms() &&
        rt->hold_until_ms < due)
        due = rt->hold_until_ms;
    for (const struct link *l = rt->links; l != NULL; l = l->next)
        if (l->ready && !l->dropped && link_due_ms(l) < due)
            due = link_due_ms(l);
    return due;
}
