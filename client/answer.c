/* Frames that sites send: answers, refusals and news of the primary.
 *
 * What an error means for the request that it answers:
 *   NOT_PRIMARY                        not done here; to the endpoint that it names, or the next one; a primary
 *                                      without a majority names none
 *   BUSY, UNREACHABLE, STALE           not done now; again after a pause
 *   TIMEOUT, OUTCOME_UNKNOWN,          perhaps done; a transaction is asked again under its number, a command's outcome is
 *   CANCELLED                          unknown
 *   SESSION_EXPIRED                    not done; see session.c
 *   NOT_FOUND, of a snapshot's read    the site has ended the snapshot: STALE; of a scan by an index: it is not declared
 *   anything else                      the answer
 * Until the deadline, which turns "again" into an error. */
#include "client/internal.h"

static void fail_with(struct link *l, struct request *r, int code, struct bytes text)
{
    struct err e = ERR_NONE;
    err_set(&e, code, "%s: %.*s", l->site, (int)(text.n < ERR_TEXT_BYTES ? text.n : ERR_TEXT_BYTES),
            (const char *)text.p);
    client_fail(l->route->db, r, &e);
}

static void again(struct link *l, struct request *r, int code, bool hold)
{
    r->refused = code;
    client_route_requeue(l->route, r);
    if (hold)
        client_route_hold(l->route);
}

void client_not_primary(struct link *l, const struct wire_error *m)
{
    struct route *rt = l->route;
    /* Who points to another knows less than who does not: a primary without a majority says what is wrong. */
    if (rt->said[0] == '\0' || m->primary.n == 0)
        (void)snprintf(rt->said, sizeof rt->said, "%s says: %.*s", l->site,
                       (int)(m->text.n < ERR_TEXT_BYTES / 2 ? m->text.n : ERR_TEXT_BYTES / 2),
                       (const char *)m->text.p);
    if (l == rt->active)
        client_route_redirect(rt, m->primary, false);
}

static void not_primary(struct link *l, struct request *r, const struct wire_error *m)
{
    if (l->route->target != TVN_TARGET_PRIMARY) {
        fail_with(l, r, ERR_NOT_PRIMARY, m->text);
        return;
    }
    again(l, r, ERR_NOT_PRIMARY, false);
    client_not_primary(l, m);
}

static void answer_error(struct link *l, struct request *r, const struct wire_error *m)
{
    struct tvn *db = l->route->db;
    bool command = r->type == FRAME_ADMIN || r->type == FRAME_POINT;
    switch (m->code) {
    case ERR_NOT_PRIMARY:
        not_primary(l, r, m);
        return;
    case ERR_STALE:
        if (r->link != 0)
            break;
        /* fall through */
    case ERR_BUSY:
    case ERR_UNREACHABLE:
        if (r->type == FRAME_ADMIN)
            break;
        again(l, r, m->code, true);
        return;
    case ERR_TIMEOUT:
    case ERR_OUTCOME_UNKNOWN:
    case ERR_CANCELLED:
        r->doubtful = true;
        if (command || r->link != 0)
            break;
        again(l, r, m->code, true);
        return;
    case ERR_SESSION_EXPIRED:
        if (r->type != FRAME_TXN)
            break;
        again(l, r, m->code, false);
        client_session_expired(db);
        return;
    default:
        break;
    }
    if (m->code == ERR_NOT_FOUND && r->link != 0 && !r->by_index) {
        fail_with(l, r, ERR_STALE, m->text); /* the snapshot, not a record: those are answered */
        return;
    }
    client_link_proved(l);
    r->error.condition = m->failed_condition;
    r->error.lsn = m->lsn.v;
    client_saw(db, m->lsn.v);
    fail_with(l, r, m->code, m->text);
}

static int read_done(struct request *r, struct bytes body, struct err *e)
{
    struct wire_done m;
    int rc = wire_read_done(body, &m, e);
    if (rc != 0)
        return rc;
    r->result.lsn = m.lsn.v;
    r->result.term = m.term.v;
    r->result.time_us = m.time.us;
    r->result.ack = (int)m.level;
    r->result.repeated = m.repeated;
    return 0;
}

static int read_outcome(struct request *r, struct bytes body, struct err *e)
{
    struct wire_outcome m;
    int rc = wire_read_outcome(body, &m, e);
    if (rc != 0)
        return rc;
    r->result.lsn = m.lsn.v;
    r->result.time_us = m.time.us;
    r->result.repeated = m.committed;
    return 0;
}

static int read_key_outcome(struct request *r, struct bytes body, struct err *e)
{
    struct wire_key_outcome m;
    int rc = wire_read_key_outcome(body, &m, e);
    if (rc != 0)
        return rc;
    r->key_state = m.state;
    r->result.lsn = m.lsn.v;
    r->result.term = m.term.v;
    r->result.time_us = m.time.us;
    r->result.ack = (int)m.level;
    r->result.repeated = m.state == WIRE_KEY_COMMITTED;
    return 0;
}

static int read_snapshot(struct link *l, struct request *r, struct bytes body, struct err *e)
{
    struct wire_snapshot m;
    int rc = wire_read_snapshot(body, &m, e);
    if (rc != 0)
        return rc;
    r->snapshot = m.id;
    r->snapshot_link = l->number;
    r->result.lsn = m.lsn.v;
    r->result.time_us = m.time.us;
    return 0;
}

static int read_admin(struct request *r, struct bytes body, struct err *e)
{
    struct wire_admin_reply m;
    int rc = wire_read_admin_reply(body, &m, e);
    if (rc != 0)
        return rc;
    r->json = malloc(m.json.n + 1);
    if (r->json == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for an answer of %zu bytes", m.json.n);
    memcpy(r->json, m.json.p, m.json.n);
    r->json[m.json.n] = '\0';
    return 0;
}

static int read_reply(struct link *l, struct request *r, struct bytes body, struct err *e)
{
    switch ((unsigned)r->type) {
    case FRAME_TXN:
    case FRAME_POINT:
    case FRAME_SNAPSHOT_CLOSE:
        return read_done(r, body, e);
    case FRAME_GET:
    case FRAME_SCAN:
        return client_read_answer(r, body, e);
    case FRAME_OUTCOME:
        return read_outcome(r, body, e);
    case FRAME_OUTCOME_BY_KEY:
        return read_key_outcome(r, body, e);
    case FRAME_SNAPSHOT_OPEN:
        return read_snapshot(l, r, body, e);
    case FRAME_ADMIN:
        return read_admin(r, body, e);
    default:
        return err_set(e, ERR_FORMAT, "an answer that was not asked for");
    }
}

static void news(struct link *l, const struct wire_primary *m)
{
    struct tvn *db = l->route->db;
    struct wire_primary_news *known = &db->primary_news;
    if (m->term.v < known->term.v || m->site.n >= sizeof known->site ||
        m->endpoint.n >= sizeof known->endpoint)
        return;
    bool fresh = m->term.v > known->term.v || !bytes_equal(m->site, bytes_str(known->site));
    pthread_mutex_lock(&db->lock);
    known->term = m->term;
    memcpy(known->site, m->site.p, m->site.n);
    known->site[m->site.n] = '\0';
    memcpy(known->endpoint, m->endpoint.p, m->endpoint.n);
    known->endpoint[m->endpoint.n] = '\0';
    pthread_mutex_unlock(&db->lock);
    struct link *p = db->primary.active;
    if (p != NULL && strcmp(p->site, known->site) == 0)
        client_link_proved(p);
    else if (m->endpoint.n != 0)
        client_route_redirect(&db->primary, m->endpoint, fresh);
    struct route *other = &db->other;
    if (fresh && other->target == TVN_TARGET_STANDBY && other->active != NULL &&
        strcmp(other->active->site, known->site) == 0) {
        /* It became primary, or we learn it only now: look for a standby. Snapshots on it end. */
        other->tried = other->active->endpoint_bit;
        client_link_retire(other->active);
    }
}

/* Frames that answer nothing. (The reason why a site closes is told by on_closed.) */
static int push(struct link *l, const struct frame *f, struct bytes body, struct err *why)
{
    struct wire_primary m;
    if (f->type == FRAME_WATCH_DATA || f->type == FRAME_WATCH_END)
        return client_watch_push(l, f, body, why);
    if (f->type != FRAME_PRIMARY)
        return err_set(why, ERR_FORMAT, "a %s frame that answers nothing",
                       frame_type_name(f->type));
    int rc = wire_read_primary(body, &m, why);
    if (rc == 0)
        news(l, &m);
    return rc;
}

static int session_answer(struct link *l, const struct frame *f, struct bytes body, struct err *why)
{
    struct tvn *db = l->route->db;
    struct wire_error refused;
    struct wire_session opened;
    if (f->type == FRAME_ERROR) {
        int rc = wire_read_error(body, &refused, why);
        if (rc == 0)
            client_session_refused(db, l, &refused);
        return rc;
    }
    int rc = wire_read_session(body, &opened, why);
    if (rc == 0)
        client_session_opened(db, l, &opened);
    return rc;
}

int client_answer_frame(struct link *l, const struct frame *f, struct bytes body, struct err *why)
{
    struct tvn *db = l->route->db;
    if (f->request == 0)
        return push(l, f, body, why);
    if (f->request == NUMBER_SESSION)
        return session_answer(l, f, body, why);
    if (f->request > NUMBER_WATCH && f->request < NUMBER_SESSION)
        return client_watch_answer(l, f, body, why);
    struct request *r = db->slots[f->request % CLIENT_WINDOW];
    if (r == NULL || r->number != f->request || r->sent_on != l)
        return 0; /* a probe's, or too late: the deadline has passed */
    if (f->type == FRAME_ERROR) {
        struct wire_error m;
        int rc = wire_read_error(body, &m, why);
        if (rc == 0)
            answer_error(l, r, &m);
        return rc;
    }
    int rc = (unsigned)f->type == ((unsigned)r->type | FRAME_REPLY)
                 ? read_reply(l, r, body, why)
                 : err_set(why, ERR_FORMAT, "%s answered with %s", frame_type_name(r->type),
                           frame_type_name(f->type));
    if (rc != 0) {
        r->doubtful = true;
        client_fail(db, r, why);
        return rc;
    }
    client_link_proved(l);
    client_saw(db, r->records != NULL ? r->records->lsn : r->result.lsn);
    client_finish(db, r);
    return 0;
}
