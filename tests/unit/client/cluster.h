/* A cluster of up to three sites in this process, for tests of the client: real listeners with certificates on loopback,
 * and behind them one shared state that applies what reaches the primary. Faults are set by the tests and happen at
 * the next transactions. Each site has a thread and a loop; all that the struct cluster holds is under its lock. */
#ifndef TESTS_UNIT_CLIENT_CLUSTER_H
#define TESTS_UNIT_CLIENT_CLUSTER_H

#include "client/triveni.h"
#include "replication/io/conn.h"
#include "store/core/check.h"
#include "tools/pki.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Not every test uses all of it. */
#pragma GCC diagnostic ignored "-Wunused-function"

enum { SITES_MAX = 3, CONNS_MAX = 64, RECORDS_MAX = 4096, SEEN_MAX = 16384 };

struct cluster;

struct faults {      /* how many of the next transactions at a site ... */
    int lose_before; /* ... close the connection, unapplied */
    int lose_after;  /* ... are applied, and then close the connection */
    int mute;        /* ... are applied and never answered */
    int swallow;     /* ... are neither applied nor answered */
    int busy;        /* ... are answered BUSY */
    int unsure;      /* ... are applied and answered OUTCOME_UNKNOWN */
};

struct site {
    struct cluster *cluster;
    int index;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t async;
    struct listener *listener;
    SSL_CTX *tls;
    int port;
    char endpoint[32];
    struct conn *conns[CONNS_MAX];
    int conn_count;
    int accepted; /* ever */
    /* orders, carried out on the site's thread */
    bool stop, kill, announce;
    bool demote; /* closes its connections, as a primary does that has lost its role */
    bool frozen; /* takes frames and does nothing: a paused process */
    struct faults faults;
    uint64_t lag;                            /* how many transactions this site's state is behind */
    uint64_t next_snapshot, ended_snapshots; /* ids up to the latter are not known any more */
    int snapshots;
    bool hold_admin; /* admin commands are answered only after `announce` */
    struct conn *admin_conn;
    uint64_t admin_request;
};

struct stored {
    char key[64];
    uint8_t *value;
    size_t size;
    uint64_t lsn;
    bool exists;
};

struct seen { /* a transaction that arrived */
    int site;
    struct uuid session;
    uint64_t sequence;
};

struct cluster {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct site sites[SITES_MAX];
    int count;
    int primary; /* index, or -1 */
    uint64_t term, lsn;
    struct stored records[RECORDS_MAX];
    int record_count;
    struct as_of as_of; /* of the last read */
    struct uuid sessions[64];
    int session_count, closed_sessions;
    struct seen seen[SEEN_MAX];
    int seen_count;
    struct applied {
        struct uuid session;
        uint64_t sequence, lsn;
    } applied[SEEN_MAX];
    int applied_count;
    int duplicates; /* transactions applied although their number had been used: must stay 0 */
    enum level last_level;
    /* Before all else, under the lock; true: that is all that comes of the frame. NULL: none. */
    bool (*before)(struct site *s, struct conn *conn, const struct frame *f);
    /* Scans by an index; NULL: as by key, without tokens. */
    int (*on_index_scan)(struct site *s, struct conn *conn, const struct frame *f,
                         const struct wire_scan *m);
    /* Frames of watches; NULL: not expected. */
    int (*on_watch)(struct site *s, struct conn *conn, const struct frame *f, struct bytes body,
                    struct err *why);
};

static const struct uuid cluster_uuid = {
    {0x10, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
#define CLUSTER_UUID "10020304-0506-0708-090a-0b0c0d0e0f10"
static char pki_dir[64];

/* ---- certificates: made once per test program ---- */

static void pki_path(char out[128], const char *name, const char *ext)
{
    (void)snprintf(out, 128, "%s/%s.%s", pki_dir, name, ext);
}

static int pki_setup(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    (void)snprintf(pki_dir, sizeof pki_dir, "/tmp/tvn-client-test-XXXXXX");
    if (mkdtemp(pki_dir) == NULL || pki_init(pki_dir, "gov", &e) != 0)
        return -1;
    static const struct pki_request wanted[] = {
        {.kind = WIRE_SITE, .name = "dc"},      {.kind = WIRE_SITE, .name = "dr"},
        {.kind = WIRE_SITE, .name = "gsr"},     {.kind = WIRE_CLIENT, .name = "app"},
        {.kind = WIRE_OPERATOR, .name = "ops"},
    };
    for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (pki_issue(pki_dir, &wanted[i], &e) != 0) {
            print_error("%s\n", e.text);
            return -1;
        }
    return 0;
}

static int pki_teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", pki_dir);
    return system(command);
}

static const char *const site_names[] = {"dc", "dr", "gsr"};

static SSL_CTX *site_tls(const char *name)
{
    char ca[128], cert[128], key[128];
    pki_path(ca, "ca", "crt");
    pki_path(cert, name, "crt");
    pki_path(key, name, "key");
    SSL_CTX *tls = NULL;
    struct err e = ERR_NONE;
    if (tls_context(&(struct tls_files){ca, cert, key, NULL}, &tls, &e) != 0)
        fail_msg("%s", e.text);
    return tls;
}

/* ---- the shared state; under the lock ---- */

static struct stored *find_record(struct cluster *c, struct bytes collection, struct bytes key)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%.*s/%.*s", (int)collection.n, (const char *)collection.p,
                   (int)key.n, (const char *)key.p);
    for (int i = 0; i < c->record_count; i++)
        if (strcmp(c->records[i].key, name) == 0)
            return &c->records[i];
    check(c->record_count < RECORDS_MAX);
    struct stored *r = &c->records[c->record_count++];
    memcpy(r->key, name, sizeof name);
    return r;
}

static bool session_known(const struct cluster *c, const struct uuid *session)
{
    for (int i = 0; i < c->session_count; i++)
        if (uuid_equal(&c->sessions[i], session))
            return true;
    return false;
}

static const struct applied *find_applied(const struct cluster *c, const struct uuid *session,
                                          uint64_t sequence)
{
    for (int i = 0; i < c->applied_count; i++)
        if (c->applied[i].sequence == sequence && uuid_equal(&c->applied[i].session, session))
            return &c->applied[i];
    return NULL;
}

static int failed_condition(struct cluster *c, const struct wire_txn *m)
{
    struct reader r = m->conditions;
    for (uint32_t i = 0; i < m->condition_count; i++) {
        struct condition condition;
        check(wire_next_condition(&r, &condition, NULL) == 0);
        const struct stored *s = find_record(c, condition.collection, condition.key);
        struct fact fact = {s->exists, {s->lsn}};
        if (txn_decide(&condition, &fact, 1) != TXN_HOLDS)
            return (int)i;
    }
    return -1;
}

static void apply(struct cluster *c, const struct wire_txn *m)
{
    if (find_applied(c, &m->session, m->sequence) != NULL)
        c->duplicates++;
    uint64_t lsn = ++c->lsn;
    struct reader r = m->ops;
    for (uint32_t i = 0; i < m->op_count; i++) {
        struct op op;
        check(body_next_op(&r, &op, NULL) == 0);
        struct stored *s = find_record(c, op.collection, op.key);
        s->exists = op.kind == OP_PUT;
        s->lsn = lsn;
        free(s->value);
        s->value = malloc(op.value.n + 1);
        check(s->value != NULL);
        if (op.value.n != 0)
            memcpy(s->value, op.value.p, op.value.n);
        s->size = op.value.n;
    }
    check(c->applied_count < SEEN_MAX);
    c->applied[c->applied_count++] = (struct applied){m->session, m->sequence, lsn};
}

/* ---- answers ---- */

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

/* ---- connections and threads ---- */

static int site_on_frame(struct conn *conn, const struct frame *f, struct bytes body,
                         struct err *why)
{
    struct site *s = conn_arg(conn);
    pthread_mutex_lock(&s->cluster->lock);
    int rc = on_frame_locked(s, conn, f, body, why);
    pthread_mutex_unlock(&s->cluster->lock);
    return rc;
}

static void announce(struct site *s, struct conn *conn)
{
    struct cluster *c = s->cluster;
    struct writer w = writer_for(s);
    wire_write_primary(
        &w, &(struct wire_primary){{c->term},
                                   bytes_str(c->primary < 0 ? "" : site_names[c->primary]),
                                   bytes_str(c->primary < 0 ? "" : c->sites[c->primary].endpoint)});
    send_body(conn, FRAME_PRIMARY, 0, &w);
}

static void site_on_ready(struct conn *conn, const struct wire_hello *hello)
{
    (void)hello;
    struct site *s = conn_arg(conn);
    pthread_mutex_lock(&s->cluster->lock);
    check(s->conn_count < CONNS_MAX);
    s->conns[s->conn_count++] = conn;
    s->accepted++;
    if (!s->frozen)
        announce(s, conn);
    pthread_cond_broadcast(&s->cluster->changed);
    pthread_mutex_unlock(&s->cluster->lock);
}

static void site_on_closed(struct conn *conn, const struct err *why)
{
    (void)why;
    struct site *s = conn_arg(conn);
    pthread_mutex_lock(&s->cluster->lock);
    for (int i = 0; i < s->conn_count; i++)
        if (s->conns[i] == conn)
            s->conns[i] = s->conns[--s->conn_count];
    pthread_mutex_unlock(&s->cluster->lock);
}

static const struct conn_callbacks site_callbacks = {site_on_ready, site_on_frame, site_on_closed,
                                                     NULL};

static void site_listen(struct site *s)
{
    struct conn_options options = {
        .loop = &s->loop,
        .tls = s->tls,
        .cluster = "gov",
        .cluster_id = cluster_uuid,
        .hello = {.version = WIRE_VERSION,
                  .kind = WIRE_SITE,
                  .name = bytes_str(site_names[s->index]),
                  .incarnation = 1,
                  .software = bytes_str("test")},
        .accept_kinds = 1u << WIRE_CLIENT | 1u << WIRE_OPERATOR,
        .max_body = FRAME_CLIENT_MAX_BYTES,
        .queue_limit_bytes = 256u << 20,
        .callbacks = &site_callbacks,
    };
    char at[32];
    struct err e = ERR_NONE;
    (void)snprintf(at, sizeof at, "127.0.0.1:%d", s->port);
    if (conn_listen(&s->listener, &options, at, CONNS_MAX, s, &e) != 0)
        fail_msg("%s", e.text);
    s->port = listener_port(s->listener);
    (void)snprintf(s->endpoint, sizeof s->endpoint, "127.0.0.1:%d", s->port);
}

static void site_orders(uv_async_t *async)
{
    struct site *s = async->data;
    struct conn *conns[CONNS_MAX];
    pthread_mutex_lock(&s->cluster->lock);
    int n = s->conn_count;
    memcpy(conns, s->conns, sizeof conns);
    bool kill = s->kill, stop = s->stop, demote = s->demote;
    if (s->announce)
        for (int i = 0; i < n; i++)
            announce(s, conns[i]);
    if (s->announce && s->admin_conn != NULL) {
        answer_admin(s, s->admin_conn, s->admin_request, bytes_str("{\"switched\":true}"));
        s->admin_conn = NULL;
    }
    s->kill = s->announce = s->demote = false;
    pthread_cond_broadcast(&s->cluster->changed);
    pthread_mutex_unlock(&s->cluster->lock);
    struct err demoted = ERR_NONE;
    (void)err_set(&demoted, ERR_NOT_PRIMARY, "this site is no longer the primary");
    for (int i = 0; i < n && (kill || stop || demote); i++)
        conn_close(conns[i], demote ? &demoted : NULL);
    if (stop && s->listener != NULL) {
        listener_close(s->listener);
        s->listener = NULL;
        uv_close((uv_handle_t *)&s->async, NULL);
    }
}

static void *site_run_thread(void *arg)
{
    struct site *s = arg;
    (void)uv_run(&s->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void site_start(struct cluster *c, int index)
{
    struct site *s = &c->sites[index];
    s->cluster = c;
    s->index = index;
    s->stop = false;
    s->tls = site_tls(site_names[index]);
    assert_int_equal(uv_loop_init(&s->loop), 0);
    assert_int_equal(uv_async_init(&s->loop, &s->async, site_orders), 0);
    s->async.data = s;
    site_listen(s);
    assert_int_equal(pthread_create(&s->thread, NULL, site_run_thread, s), 0);
}

static void site_stop(struct cluster *c, int index)
{
    struct site *s = &c->sites[index];
    pthread_mutex_lock(&c->lock);
    bool running = s->tls != NULL;
    s->stop = true;
    pthread_mutex_unlock(&c->lock);
    if (!running)
        return;
    (void)uv_async_send(&s->async);
    pthread_join(s->thread, NULL);
    check(uv_loop_close(&s->loop) == 0);
    SSL_CTX_free(s->tls);
    s->tls = NULL;
}

static struct cluster *cluster_start(int sites)
{
    struct cluster *c = calloc(1, sizeof *c);
    assert_non_null(c);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    c->count = sites;
    c->term = 1;
    for (int i = 0; i < sites; i++)
        site_start(c, i);
    return c;
}

static void cluster_stop(struct cluster *c)
{
    for (int i = 0; i < c->count; i++)
        site_stop(c, i);
    assert_int_equal(c->duplicates, 0);
    for (int i = 0; i < c->record_count; i++)
        free(c->records[i].value);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void cluster_lock(struct cluster *c)
{
    pthread_mutex_lock(&c->lock);
}

static void cluster_unlock(struct cluster *c)
{
    pthread_mutex_unlock(&c->lock);
}

/* One statement under the cluster's lock. */
#define LOCKED(c, statement)                                                                       \
    do {                                                                                           \
        cluster_lock(c);                                                                           \
        statement;                                                                                 \
        cluster_unlock(c);                                                                         \
    } while (0)

static int locked_int(struct cluster *c, const int *value)
{
    int v;
    LOCKED(c, v = *value);
    return v;
}

static void site_order(struct cluster *c, int index, bool *order)
{
    pthread_mutex_lock(&c->lock);
    *order = true;
    pthread_mutex_unlock(&c->lock);
    (void)uv_async_send(&c->sites[index].async);
}

static void elect(struct cluster *c, int index)
{
    pthread_mutex_lock(&c->lock);
    c->primary = index;
    c->term++;
    pthread_mutex_unlock(&c->lock);
}

/* ---- handles ---- */

/* With TVN_TEST_EVENTS in the environment the handles tell what they do. */
static void print_event(void *arg, const char *text)
{
    (void)arg;
    print_message("%8.3f %s\n", (double)(uv_hrtime() / 1000 % 1000000000) / 1e6, text);
}

static void test_options(const struct cluster *c, struct tvn_options *o, const char *who)
{
    static char endpoints[128], ca[128], cert[128], key[128];
    *o = (struct tvn_options)TVN_OPTIONS_INIT;
    size_t n = 0;
    for (int i = 0; i < c->count; i++)
        n += (size_t)snprintf(endpoints + n, sizeof endpoints - n, "%s%s", i == 0 ? "" : ",",
                              c->sites[i].endpoint);
    pki_path(ca, "ca", "crt");
    pki_path(cert, who, "crt");
    pki_path(key, who, "key");
    o->endpoints = endpoints;
    o->ca = ca;
    o->cert = cert;
    o->key = key;
    o->id = CLUSTER_UUID;
    o->timeout_ms = 5000;
    if (getenv("TVN_TEST_EVENTS") != NULL)
        o->on_event = print_event;
}

static struct tvn *open_with(const struct tvn_options *o)
{
    struct tvn *db;
    struct tvn_error error;
    if (tvn_open(NULL, o, &db, &error) != 0)
        fail_msg("%s", error.text);
    return db;
}

static struct tvn *open_client(const struct cluster *c)
{
    struct tvn_options o;
    test_options(c, &o, "app");
    return open_with(&o);
}

#define assert_ok(call, error)                                                                     \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        if (rc_ != 0)                                                                              \
            fail_msg("%s: %d: %s", #call, rc_, (error).text);                                      \
    } while (0)

#endif
