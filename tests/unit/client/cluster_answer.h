/* What a puppet answers to each frame, from the state that all have in common, and with the faults that are ordered. Under the
 * cluster's lock. */
#ifndef TESTS_UNIT_CLIENT_CLUSTER_ANSWER_H
#define TESTS_UNIT_CLIENT_CLUSTER_ANSWER_H

#include "tests/unit/client/cluster_state.h"

static uint8_t answer_buffer[SITES_MAX][40 << 20];

static void send_body(struct conn *conn, enum frame_type type, uint64_t request,
                      const struct writer *w)
{
    struct bytes body = bytes_of(w->p, w->at);
    check(!w->bad);
    (void)conn_send(conn, type, (struct term){1}, request, &body, 1, NULL);
}

static struct writer writer_for(const struct site *s)
{
    return writer_of(answer_buffer[s->index], sizeof answer_buffer[s->index]);
}

static void refuse(struct site *s, struct conn *conn, uint64_t request, int code, int condition)
{
    struct cluster *c = s->cluster;
    struct writer w = writer_for(s);
    bool hint = code == ERR_NOT_PRIMARY && c->primary >= 0;
    wire_write_error(&w, &(struct wire_error){
                             .code = code,
                             .text = bytes_str(err_name(code)),
                             .primary = bytes_str(hint ? c->sites[c->primary].endpoint : ""),
                             .failed_condition = condition,
                             .lsn = {code == ERR_CONDITION ? c->lsn : 0},
                         });
    send_body(conn, FRAME_ERROR, request, &w);
}

static void done(struct site *s, struct conn *conn, const struct frame *f, uint64_t lsn,
                 bool repeated)
{
    struct writer w = writer_for(s);
    wire_write_done(
        &w, &(struct wire_done){{lsn}, {s->cluster->term}, {lsn * 1000}, LEVEL_MAJORITY, repeated});
    send_body(conn, (enum frame_type)((unsigned)f->type | FRAME_REPLY), f->request, &w);
}

static bool take(int *fault)
{
    if (*fault == 0)
        return false;
    --*fault;
    return true;
}

static int on_txn(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                  struct err *why)
{
    struct cluster *c = s->cluster;
    struct wire_txn m;
    int rc = wire_read_txn(body, &m, why);
    if (rc != 0)
        return rc;
    check(c->seen_count < SEEN_MAX);
    c->seen[c->seen_count++] = (struct seen){s->index, m.session, m.sequence};
    c->last_level = m.level;
    if (take(&s->faults.swallow))
        return 0;
    if (take(&s->faults.lose_before))
        return err_set(why, ERR_UNREACHABLE, "a fault");
    if (take(&s->faults.busy)) {
        refuse(s, conn, f->request, ERR_BUSY, -1);
        return 0;
    }
    if (!session_known(c, &m.session)) {
        refuse(s, conn, f->request, ERR_SESSION_EXPIRED, -1);
        return 0;
    }
    const struct applied *before = find_applied(c, &m.session, m.sequence);
    if (before != NULL) {
        done(s, conn, f, before->lsn, true);
        return 0;
    }
    int failed = failed_condition(c, &m);
    if (failed >= 0) {
        refuse(s, conn, f->request, ERR_CONDITION, failed);
        return 0;
    }
    apply(c, &m);
    if (take(&s->faults.lose_after))
        return err_set(why, ERR_UNREACHABLE, "a fault");
    if (take(&s->faults.mute))
        return 0;
    if (take(&s->faults.unsure)) {
        refuse(s, conn, f->request, ERR_OUTCOME_UNKNOWN, -1);
        return 0;
    }
    done(s, conn, f, c->lsn, false);
    return 0;
}

static uint64_t state_lsn(const struct site *s)
{
    const struct cluster *c = s->cluster;
    return c->primary == s->index ? c->lsn : c->lsn - (s->lag < c->lsn ? s->lag : c->lsn);
}

static int on_get(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                  struct err *why)
{
    struct cluster *c = s->cluster;
    struct wire_get m;
    int rc = wire_read_get(body, &m, why);
    if (rc != 0)
        return rc;
    c->as_of = m.as_of;
    if (m.snapshot != 0 && m.snapshot <= s->ended_snapshots) {
        refuse(s, conn, f->request, ERR_NOT_FOUND, -1);
        return 0;
    }
    if ((m.flags & WIRE_READ_STANDBY) == 0 && c->primary != s->index) {
        refuse(s, conn, f->request, ERR_NOT_PRIMARY, -1);
        return 0;
    }
    if (m.min_lsn.v > state_lsn(s)) {
        refuse(s, conn, f->request, ERR_STALE, -1);
        return 0;
    }
    struct writer w = writer_for(s);
    wire_write_read_header(
        &w, &(struct wire_read_header){{state_lsn(s)}, c->primary == s->index ? 0 : 5000, m.count});
    for (uint32_t i = 0; i < m.count; i++) {
        struct bytes collection, key;
        check(wire_next_key(&m.keys, &collection, &key, why) == 0);
        const struct stored *r = find_record(c, collection, key);
        wire_write_get_record(
            &w, &(struct wire_record){.found = r->exists,
                                      .value = bytes_of(r->value, r->exists ? r->size : 0),
                                      .lsn = {r->exists ? r->lsn : 0},
                                      .time = {r->exists ? r->lsn * 1000 : 0}});
    }
    send_body(conn, FRAME_GET | FRAME_REPLY, f->request, &w);
    return 0;
}

/* Records are kept in order of insertion, which the tests make the order of keys. */
static int on_scan(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                   struct err *why)
{
    struct cluster *c = s->cluster;
    struct wire_scan m;
    int rc = wire_read_scan(body, &m, why);
    if (rc != 0)
        return rc;
    if (m.index.n != 0 && c->on_index_scan != NULL)
        return c->on_index_scan(s, conn, f, &m);
    c->as_of = m.as_of;
    struct wire_read_header head = {{state_lsn(s)}, 0, 0};
    int picked[RECORDS_MAX];
    bool more = false;
    for (int i = 0; i < c->record_count; i++) {
        const struct stored *r = &c->records[m.reverse ? c->record_count - 1 - i : i];
        struct bytes name = bytes_str(r->key);
        if (!r->exists || name.n <= m.collection.n || name.p[m.collection.n] != '/' ||
            memcmp(name.p, m.collection.p, m.collection.n) != 0)
            continue;
        struct bytes key = bytes_of(name.p + m.collection.n + 1, name.n - m.collection.n - 1);
        int side = m.after.n == 0 ? 1 : bytes_compare(key, m.after);
        if (m.reverse ? (m.after.n != 0 && side >= 0) : side <= 0)
            continue;
        if (key.n < m.prefix.n || (m.prefix.n != 0 && memcmp(key.p, m.prefix.p, m.prefix.n) != 0))
            continue;
        if (head.count == m.limit) {
            more = true;
            break;
        }
        picked[head.count++] = (int)(r - c->records);
    }
    struct writer w = writer_for(s);
    wire_write_read_header(&w, &head);
    write_u8(&w, more);
    for (uint32_t i = 0; i < head.count; i++) {
        const struct stored *r = &c->records[picked[i]];
        wire_write_scan_record(&w,
                               &(struct wire_record){.collection = m.collection,
                                                     .key = bytes_str(r->key + m.collection.n + 1),
                                                     .value = bytes_of(r->value, r->size),
                                                     .lsn = {r->lsn},
                                                     .time = {r->lsn * 1000}});
    }
    send_body(conn, FRAME_SCAN | FRAME_REPLY, f->request, &w);
    return 0;
}

static int on_session_open(struct site *s, struct conn *conn, const struct frame *f,
                           struct bytes body, struct err *why)
{
    struct cluster *c = s->cluster;
    struct wire_session_open m;
    int rc = wire_read_session_open(body, &m, why);
    if (rc != 0)
        return rc;
    if (uuid_is_zero(&m.session)) {
        m.session.b[0] = 0x55;
        m.session.b[15] = (uint8_t)++c->lsn;
        m.session.b[14] = (uint8_t)(c->lsn >> 8);
        c->sessions[c->session_count++] = m.session;
    } else if (!session_known(c, &m.session)) {
        refuse(s, conn, f->request, ERR_SESSION_EXPIRED, -1);
        return 0;
    }
    struct writer w = writer_for(s);
    wire_write_session(&w, &(struct wire_session){m.session, {c->lsn}});
    send_body(conn, FRAME_SESSION_OPEN | FRAME_REPLY, f->request, &w);
    return 0;
}

static int on_outcome(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                      struct err *why)
{
    struct wire_outcome_ask m;
    int rc = wire_read_outcome_ask(body, &m, why);
    if (rc != 0)
        return rc;
    const struct applied *a = find_applied(s->cluster, &m.session, m.sequence);
    struct writer w = writer_for(s);
    wire_write_outcome(&w, &(struct wire_outcome){a != NULL,
                                                  {a == NULL ? 0 : a->lsn},
                                                  {a == NULL ? 0 : a->lsn * 1000}});
    send_body(conn, FRAME_OUTCOME | FRAME_REPLY, f->request, &w);
    return 0;
}

static void answer_admin(struct site *s, struct conn *conn, uint64_t request, struct bytes json)
{
    struct writer w = writer_for(s);
    wire_write_admin_reply(&w, &(struct wire_admin_reply){json});
    send_body(conn, FRAME_ADMIN | FRAME_REPLY, request, &w);
}

static int on_admin(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                    struct err *why)
{
    struct wire_admin m;
    int rc = wire_read_admin(body, &m, why);
    if (rc != 0)
        return rc;
    if (s->hold_admin) {
        s->admin_conn = conn;
        s->admin_request = f->request;
        pthread_cond_broadcast(&s->cluster->changed);
        return 0;
    }
    if (bytes_equal(m.command, bytes_str("drop")))
        return err_set(why, ERR_DENIED, "its certificate was revoked");
    answer_admin(s, conn, f->request, m.arguments);
    return 0;
}

static int on_snapshot(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                       struct err *why)
{
    struct writer w = writer_for(s);
    if (f->type == FRAME_SNAPSHOT_CLOSE) {
        struct wire_snapshot_close m;
        int rc = wire_read_snapshot_close(body, &m, why);
        if (rc != 0)
            return rc;
        s->snapshots--;
        pthread_cond_broadcast(&s->cluster->changed);
        done(s, conn, f, 0, false);
        return 0;
    }
    s->snapshots++;
    wire_write_snapshot(
        &w, &(struct wire_snapshot){++s->next_snapshot, {state_lsn(s)}, {state_lsn(s) * 1000}});
    send_body(conn, FRAME_SNAPSHOT_OPEN | FRAME_REPLY, f->request, &w);
    return 0;
}

static int on_frame_locked(struct site *s, struct conn *conn, const struct frame *f,
                           struct bytes body, struct err *why)
{
    struct cluster *c = s->cluster;
    if (s->frozen || (c->before != NULL && c->before(s, conn, f)))
        return 0;
    bool writes = f->type == FRAME_TXN || f->type == FRAME_POINT || f->type == FRAME_OUTCOME ||
                  f->type == FRAME_SESSION_OPEN;
    if (writes && c->primary != s->index) {
        refuse(s, conn, f->request, ERR_NOT_PRIMARY, -1);
        return 0;
    }
    switch ((unsigned)f->type) {
    case FRAME_TXN:
        return on_txn(s, conn, f, body, why);
    case FRAME_GET:
        return on_get(s, conn, f, body, why);
    case FRAME_SCAN:
        return on_scan(s, conn, f, body, why);
    case FRAME_SESSION_OPEN:
        return on_session_open(s, conn, f, body, why);
    case FRAME_SESSION_CLOSE:
        c->closed_sessions++;
        pthread_cond_broadcast(&c->changed);
        return 0;
    case FRAME_OUTCOME:
        return on_outcome(s, conn, f, body, why);
    case FRAME_ADMIN:
        return on_admin(s, conn, f, body, why);
    case FRAME_SNAPSHOT_OPEN:
    case FRAME_SNAPSHOT_CLOSE:
        return on_snapshot(s, conn, f, body, why);
    case FRAME_POINT:
        done(s, conn, f, ++c->lsn, false);
        return 0;
    case FRAME_WATCH_OPEN:
    case FRAME_WATCH_CREDIT:
    case FRAME_WATCH_CLOSE:
        if (c->on_watch != NULL)
            return c->on_watch(s, conn, f, body, why);
        /* fall through */
    default:
        return err_set(why, ERR_FORMAT, "not expected");
    }
}

#endif
