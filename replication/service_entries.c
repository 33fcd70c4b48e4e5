/* The entries that clients cause and that are not transactions: sessions, restore points, the commit mode, the audit trail. */
#include "replication/service.h"

#include "store/core/check.h"
#include "store/io/json_memory.h"

/* ---- sessions ---- */

/* Is the session open, and the caller's? Looks in flight first. */
int service_check_session(struct client *c, const struct uuid *session, struct err *e)
{
    struct site *s = c->service->site;
    struct session_info info;
    int rc = 0;
    switch (overlay_session(s->overlay, session, SERVICE_NEWEST, &info)) {
    case OVERLAY_THERE:
        break;
    case OVERLAY_GONE:
        return err_set(e, ERR_SESSION_EXPIRED, "the session was closed");
    case OVERLAY_UNKNOWN: {
        struct state_snapshot *snap;
        rc = site_snapshot(s, &snap, e);
        if (rc == 0)
            rc = state_session(snap, session, &info, e);
        break;
    }
    }
    if (rc == ERR_NOT_FOUND)
        return err_set(
            e, ERR_SESSION_EXPIRED,
            "the session is unknown: it was closed, or idle for more than %u h; what it left "
            "unanswered is not run again. Open a new one",
            s->config->session_hours);
    if (rc == 0 && !bytes_equal(info.client, bytes_str(c->name)))
        return err_set(e, ERR_DENIED, "the session belongs to another client");
    return rc;
}

/* A session lives on one connection: whoever resumes it elsewhere fences the connections that used it before, so that a copy of a
 * transaction which is still under way there cannot run after its outcome was told here. */
void service_claim_session(struct client *c, const struct uuid *session)
{
    if (uuid_equal(&c->session, session))
        return;
    c->session = *session;
    c->known.term.v = 0;
    for (struct client *other = c->service->clients, *next; other != NULL; other = next) {
        next = other->next;
        if (other == c || other->conn == NULL || !uuid_equal(&other->session, session))
            continue;
        other->fenced = true; /* it may have requests that are parked */
        struct err why = ERR_NONE;
        err_set(&why, ERR_CANCELLED, "the session was resumed on another connection");
        conn_close(other->conn, &why);
    }
}

int service_session_open(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct site *s = c->service->site;
    struct wire_session_open m;
    struct waiter w = {.client = c, .request = f->request, .type = FRAME_SESSION_OPEN};
    int rc = service_require_primary(c, f, body, e);
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    rc = wire_read_session_open(body, &m, e);
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MODE, e);
    if (rc != 0)
        return rc;
    if (!uuid_is_zero(&m.session)) { /* resume */
        rc = service_check_session(c, &m.session, e);
        if (rc != 0)
            return rc;
        service_claim_session(c, &m.session);
        w.session = m.session;
        w.lsn = s->tail.lsn;
        w.failed_condition = -1;
        service_wait(c, LEVEL_MODE, &w);
        return 0;
    }
    uint8_t salt[ENTRY_SALT_BYTES], scratch[256];
    rc = salts_next(&s->salts, w.session.b, e);
    if (rc == 0)
        rc = salts_next(&s->salts, salt, e);
    if (rc != 0)
        return rc;
    struct writer out = writer_of(scratch, sizeof scratch);
    body_write_session(&out, salt,
                       &(struct body_session){SESSION_OPEN, w.session, bytes_str(c->name)});
    rc = service_propose(c->service->site, ENTRY_SESSION, &out, &w, e);
    if (rc != 0)
        return rc;
    c->session = w.session;
    c->known.term.v = 0;
    service_wait(c, LEVEL_MODE, &w);
    return 0;
}

static int end_session(struct site *s, enum session_act act, const struct uuid *session,
                       struct bytes client, struct waiter *w, struct err *e)
{
    uint8_t salt[ENTRY_SALT_BYTES], scratch[256];
    int rc = salts_next(&s->salts, salt, e);
    if (rc != 0)
        return rc;
    struct writer out = writer_of(scratch, sizeof scratch);
    body_write_session(&out, salt, &(struct body_session){act, *session, client});
    session_forget(s->service, session);
    return service_propose(s, ENTRY_SESSION, &out, w, e);
}

int service_session_close(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct wire_session_close m;
    struct waiter w = {.client = c, .request = f->request, .type = FRAME_SESSION_CLOSE};
    int rc = service_require_primary(c, f, body, e);
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    rc = wire_read_session_close(body, &m, e);
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MODE, e);
    if (rc == 0)
        rc = service_check_session(c, &m.session, e);
    if (rc == 0)
        rc = end_session(c->service->site, SESSION_CLOSE, &m.session, bytes_str(c->name), &w, e);
    if (rc == 0)
        service_wait(c, LEVEL_MODE, &w);
    return rc;
}

enum { EXPIRED_AT_ONCE = 64 };

/* Sessions that no connection holds and that are idle for longer than session_hours, by a clock that nobody can set
 * (store/core/commit_time.h): whoever loses a session to a jump of the clock loses the outcomes of its writes (P6). Found by a
 * walk over the state once a minute, expired by an entry, so that every site and every later primary agrees which sessions are
 * gone. */
struct expiry {
    const struct service *service;
    struct utc now;
    uint64_t primary_us, limit_us;
    struct uuid found[EXPIRED_AT_ONCE];
    char clients[EXPIRED_AT_ONCE][CLIENT_NAME_MAX_BYTES + 1];
    uint32_t count;
};

/* Does a connection hold it? Then its client lives, and may have a transaction in flight. */
static bool session_is_used(const struct service *v, const struct uuid *session)
{
    for (const struct client *c = v->clients; c != NULL; c = c->next)
        if (uuid_equal(&c->session, session))
            return true;
    return false;
}

static int collect_idle(void *arg, const struct uuid *session, const struct session_info *info)
{
    struct expiry *x = arg;
    if (!session_was_idle(info->last, x->now, x->primary_us, x->limit_us) ||
        session_is_used(x->service, session))
        return 0;
    x->found[x->count] = *session;
    (void)snprintf(x->clients[x->count], sizeof x->clients[0], "%.*s", (int)info->client.n,
                   (const char *)info->client.p);
    return ++x->count == EXPIRED_AT_ONCE;
}

void service_expire_sessions(struct service *v)
{
    struct site *s = v->site;
    uint64_t hours = s->config->session_hours;
    if (!site_is_settled(s) || hours == 0 || site_now_ms() - v->expired_ms < 60000)
        return;
    v->expired_ms = site_now_ms();
    struct expiry x = {.service = v,
                       .now = site_commit_time(s),
                       .primary_us = (site_now_ms() - s->primary_since_ms) * 1000,
                       .limit_us = hours * 3600 * 1000000};
    struct state_snapshot *snap;
    struct err e = ERR_NONE;
    if (site_snapshot(s, &snap, &e) != 0 || state_sessions(snap, collect_idle, &x, &e) < 0)
        return;
    bool writes[EXPIRED_AT_ONCE] = {false};
    if (x.count != 0)
        overlay_busy_sessions(s->overlay, x.found, x.count, writes);
    for (uint32_t i = 0; i < x.count; i++) {
        struct waiter w;
        struct session_info info;
        if (writes[i] || /* the state does not show it yet: its client may come back to ask */
            overlay_session(s->overlay, &x.found[i], SERVICE_NEWEST, &info) != OVERLAY_UNKNOWN)
            continue; /* or it ended a moment ago */
        if (end_session(s, SESSION_EXPIRE, &x.found[i], bytes_str(x.clients[i]), &w, &e) != 0)
            return;
        events_add(s->events, "session of %s expired after %llu h without a write", x.clients[i],
                   (unsigned long long)hours);
    }
}

static int point_is_free(struct site *s, struct bytes name, struct err *e)
{
    struct state_snapshot *snap;
    struct restore_point p;
    struct entry_position at;
    if (overlay_point(s->overlay, name, SERVICE_NEWEST, &at) == OVERLAY_THERE)
        return err_set(e, ERR_EXISTS, "restore point '%.*s' exists already", (int)name.n,
                       (const char *)name.p);
    int rc = site_snapshot(s, &snap, e);
    if (rc == 0)
        rc = state_restore_point(snap, name, &p, e);
    if (rc == 0)
        return err_set(e, ERR_EXISTS, "restore point '%.*s' exists already, at lsn %llu",
                       (int)name.n, (const char *)name.p, (unsigned long long)p.lsn.v);
    if (rc == ERR_NOT_FOUND) {
        *e = (struct err)ERR_NONE;
        rc = 0;
    }
    return rc;
}

int service_point(struct client *c, const struct frame *f, struct bytes body, struct err *e)
{
    struct site *s = c->service->site;
    struct wire_point m;
    struct waiter w = {.client = c, .request = f->request, .type = FRAME_POINT};
    int rc = service_require_primary(c, f, body, e);
    if (rc != 0)
        return rc == SERVICE_LATER ? 0 : rc;
    rc = wire_read_point(body, &m, e);
    if (rc == 0 && (m.name.n == 0 || m.name.n > POINT_NAME_MAX_BYTES))
        rc = err_set(e, ERR_LIMIT, "restore point name of %zu bytes: 1 to %d are allowed", m.name.n,
                     POINT_NAME_MAX_BYTES);
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MODE, e);
    if (rc == 0)
        rc = point_is_free(s, m.name, e);
    uint8_t salt[ENTRY_SALT_BYTES], scratch[512];
    if (rc == 0)
        rc = salts_next(&s->salts, salt, e);
    if (rc != 0)
        return rc;
    struct writer out = writer_of(scratch, sizeof scratch);
    body_write_restore_point(&out, salt, &(struct body_restore_point){m.name, bytes_str(c->name)});
    rc = service_propose(c->service->site, ENTRY_RESTORE_POINT, &out, &w, e);
    if (rc != 0)
        return rc;
    service_wait(c, LEVEL_MODE, &w);
    return 0;
}

int service_mode(struct client *c, uint64_t request, enum commit_mode mode, struct err *e)
{
    struct waiter w = {.client = c, .request = request, .type = FRAME_ADMIN};
    uint8_t salt[ENTRY_SALT_BYTES], scratch[256];
    int rc = service_room_to_wait(c, LEVEL_MAJORITY, e);
    if (rc == 0)
        rc = salts_next(&c->service->site->salts, salt, e);
    if (rc != 0)
        return rc;
    struct writer out = writer_of(scratch, sizeof scratch);
    body_write_config(&out, salt, &(struct body_config){mode, bytes_str(c->name)});
    rc = service_propose(c->service->site, ENTRY_CONFIG, &out, &w, e);
    if (rc == 0)
        service_wait(c, LEVEL_MAJORITY, &w);
    return rc;
}

int service_members(struct client *c, uint64_t request, const char *what, json_t *arguments,
                    struct err *e)
{
    struct site *s = c->service->site;
    struct waiter w = {.client = c, .request = request, .type = FRAME_ADMIN};
    uint8_t scratch[4096];
    struct writer out = writer_of(scratch, sizeof scratch);
    int rc = service_room_to_wait(c, LEVEL_MAJORITY, e);
    if (rc == 0)
        rc = members_order(s, what, arguments, bytes_str(c->name), &out, e);
    if (rc == 0)
        rc = service_propose(s, ENTRY_MEMBERS, &out, &w, e);
    if (rc == ERR_NOT_PRIMARY && site_is_ready(s))
        rc = e->code = ERR_FAILED; /* it is, and its core has refused the list */
    if (rc == 0)
        service_wait(c, LEVEL_MAJORITY, &w);
    return rc;
}

int service_propose_audit(struct site *s, const struct client *c, const char *act,
                          const char *details, struct waiter *w, struct err *e)
{
    const struct body_audit b = {bytes_str(c->name), bytes_str(act), bytes_str(details)};
    const size_t bytes =
        ENTRY_SALT_BYTES + 3 * sizeof(uint32_t) + b.client.n + b.act.n + b.details.n;
    uint8_t salt[ENTRY_SALT_BYTES], *body = service_buffer(s->service, bytes, e);
    if (body == NULL)
        return ERR_NO_MEMORY;
    int rc = salts_next(&s->salts, salt, e);
    if (rc != 0)
        return rc;
    struct writer out = writer_of(body, bytes);
    body_write_audit(&out, salt, &b);
    return service_propose(s, ENTRY_AUDIT, &out, w, e);
}

void service_audit(struct site *s, const struct client *c, const char *act, json_t *details)
{
    char *text = json_memory_lacked() ? NULL : json_dumps(details, JSON_COMPACT);
    struct err e = ERR_NONE;
    struct waiter w;
    if (text == NULL)
        err_set(&e, ERR_NO_MEMORY, "out of memory");
    else
        (void)service_propose_audit(s, c, act, text, &w, &e);
    events_add(s->events, "operator %s: %s %s%s%s", c->name, act, text != NULL ? text : "",
               e.code != 0 ? "; not in the audit trail: " : "", e.code != 0 ? e.text : "");
    free(text);
    json_decref(details);
}
