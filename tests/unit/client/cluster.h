/* A cluster of up to three puppets in this process, for tests of the client: real listeners with certificates on loopback, and
 * behind them what puppets answer (cluster_answer.h) from one shared state (cluster_state.h). Faults are set by the tests and
 * happen at the next transactions. Each site has a thread and a loop; all that the struct cluster holds is under its lock. */
#ifndef TESTS_UNIT_CLIENT_CLUSTER_H
#define TESTS_UNIT_CLIENT_CLUSTER_H

#include "client/triveni.h"
#include "tests/unit/client/cluster_answer.h"
#include "tools/pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

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
