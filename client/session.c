/* The handle's session: opened at the first transaction, resumed on every new connection to a primary, replaced or reported
 * when it has expired. All on the I/O thread.
 *
 * STATES (from, when, to)
 *   NONE      a transaction waits and a primary is connected   OPENING: SESSION_OPEN(zero) was sent
 *   OPENING   answered                                          KNOWN
 *   OPENING   link lost, refused                                NONE
 *   KNOWN     a site answers that it has expired                DRAINING, or DEAD when the application holds it
 *   DRAINING  no transaction is unanswered any more             NONE, after renumbering from 1
 *
 * INVARIANT: a transaction is never sent under a second session unless each of its attempts was answered "expired". That
 * answer means that it was not run; one that ended without an answer may have been, and is reported instead. Except those with an
 * idempotency key, which take effect once under whatever session.
 *
 * The resumption goes out right before the transactions, without waiting for its answer: the site handles the frames of a
 * connection in order. */
#include "client/internal.h"

/* Zero asks for a new session. */
static bool send_open(struct link *l, const struct uuid *session)
{
    uint8_t buffer[sizeof session->b];
    struct writer w = writer_of(buffer, sizeof buffer);
    wire_write_session_open(&w, &(struct wire_session_open){*session});
    check(!w.bad);
    struct bytes body = bytes_of(buffer, w.at);
    return conn_send(l->conn, FRAME_SESSION_OPEN, (struct term){0}, NUMBER_SESSION, &body, 1,
                     NULL) == 0;
}

bool client_session_ready(struct tvn *db, struct link *l)
{
    struct session *s = &db->session;
    switch (s->state) {
    case SESSION_NONE:
        if (send_open(l, &(struct uuid){{0}})) {
            s->state = SESSION_OPENING;
            s->opening = l->number;
        }
        return false;
    case SESSION_KNOWN:
        if (!l->session_sent)
            l->session_sent = send_open(l, &s->id);
        return l->session_sent;
    case SESSION_OPENING:
    case SESSION_DRAINING:
    case SESSION_DEAD:
        break;
    }
    return false;
}

void client_session_opened(struct tvn *db, struct link *l, const struct wire_session *answer)
{
    struct session *s = &db->session;
    if (s->state == SESSION_OPENING && s->opening == l->number) {
        pthread_mutex_lock(&db->lock);
        s->id = answer->session;
        pthread_mutex_unlock(&db->lock);
        s->state = SESSION_KNOWN;
        l->session_sent = true;
    }
    if (s->state == SESSION_KNOWN && uuid_equal(&s->id, &answer->session)) {
        l->session_confirmed = true;
        client_link_proved(l);
    }
}

void client_session_expired(struct tvn *db)
{
    struct session *s = &db->session;
    if (s->state != SESSION_KNOWN)
        return;
    s->state = s->pinned ? SESSION_DEAD : SESSION_DRAINING;
    client_event(db, "the session has expired%s",
                 s->pinned ? "" : ", the next write opens another");
}

void client_session_refused(struct tvn *db, struct link *l, const struct wire_error *answer)
{
    struct session *s = &db->session;
    bool opening = s->state == SESSION_OPENING && s->opening == l->number;
    if (opening)
        s->state = SESSION_NONE;
    l->session_sent = false;
    switch (answer->code) {
    case ERR_NOT_PRIMARY:
        client_not_primary(l, answer);
        return;
    case ERR_SESSION_EXPIRED:
    case ERR_NOT_FOUND:
        client_session_expired(db);
        return;
    case ERR_BUSY:
    case ERR_TIMEOUT:
    case ERR_UNREACHABLE:
    case ERR_CANCELLED:
    case ERR_OUTCOME_UNKNOWN:
        client_route_hold(l->route);
        return;
    default:
        break;
    }
    struct err e = ERR_NONE;
    err_set(&e, answer->code, "%s a session at %s: %.*s", opening ? "open" : "resume", l->site,
            (int)answer->text.n, (const char *)answer->text.p);
    client_route_fail_waiting(l->route, FRAME_TXN, &e);
    client_route_fail_waiting(l->route, FRAME_SESSION_OPEN, &e);
}

void client_session_link_lost(struct tvn *db, const struct link *l)
{
    if (db->session.state == SESSION_OPENING && db->session.opening == l->number)
        db->session.state = SESSION_NONE;
}

/* All transactions that are left wait, and were never run or have a key: number them from 1 for the session to come. */
static void renumber(struct tvn *db)
{
    pthread_mutex_lock(&db->lock);
    db->session.next_sequence = 1;
    for (struct request *r = db->oldest; r != NULL; r = r->newer)
        if (r->type == FRAME_TXN && !r->completed)
            r->sequence = db->session.next_sequence++;
    memset(&db->session.id, 0, sizeof db->session.id);
    pthread_mutex_unlock(&db->lock);
}

void client_session_tick(struct tvn *db)
{
    struct session *s = &db->session;
    if (s->state != SESSION_DRAINING || s->sent != 0)
        return;
    struct err e = ERR_NONE;
    err_set(&e, ERR_SESSION_EXPIRED,
            "the session expired while the transaction was unanswered; it was not run again");
    for (struct request *r = db->primary.waiting.head, *next; r != NULL; r = next) {
        next = r->next;
        if (r->type == FRAME_TXN && r->doubtful && !r->keyed)
            client_fail(db, r, &e);
    }
    renumber(db);
    s->state = SESSION_NONE;
}

void client_session_end(struct tvn *db)
{
    struct session *s = &db->session;
    struct link *l = db->primary.active;
    if (s->state != SESSION_KNOWN || s->pinned || s->in_doubt || l == NULL)
        return;
    uint8_t buffer[sizeof s->id.b];
    struct writer w = writer_of(buffer, sizeof buffer);
    wire_write_session_close(&w, &(struct wire_session_close){s->id});
    struct bytes body = bytes_of(buffer, w.at);
    /* Best effort: a session that is not closed expires. */
    (void)conn_send(l->conn, FRAME_SESSION_CLOSE, (struct term){0}, NUMBER_IGNORED, &body, 1, NULL);
}
