/* Load on a site from one thread: one event loop for all connections, `--depth` requests in flight on each, as in
 * bench/load_redis.c. It speaks the protocol of clients (replication/core/wire.h) itself, over the connections that the library
 * and the sites use (replication/io/conn.h): a client as lean as can be, so that the cell is about the site and not about
 * waking the I/O threads of many handles on the site's own cores. What the library costs is told by bench/load_triveni.c.
 *
 * Each connection has a session, as each handle of the library has, and numbers its transactions in it: what the site
 * remembers for exactly-once is part of what is measured. `--target` is a file that holds the URI; its first endpoint must be the
 * primary. `--level` asks for more than the mode. Operations: put, get, fill (every key once, pipelined).
 *
 * STATES of a run: connecting until every connection has a session; loading; then, after puts, a scan, which waits until the
 * state has everything that was acknowledged and so tells how far the answers had run ahead. */
#include "bench/bench.h"

#include "client/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URI_BYTES = 4096, BODY_BYTES = 256, PATIENCE_MS = 10000 };
static const char collection[] = "bench";

struct load;

struct connection {
    struct load *load;
    struct conn *conn;
    struct uuid session;
    uint64_t sequence; /* of the last request: also its number on the wire */
    struct bench_random random;
    uint64_t *began; /* of the requests in flight, by number modulo depth */
};

struct load {
    const struct bench_options *options;
    uv_loop_t loop;
    uv_timer_t timer;
    struct conn_options how;
    struct identity self;
    const char *endpoint;
    struct connection *all;
    unsigned ready, open;
    unsigned next_key; /* fill */
    uint64_t in_flight;
    enum level level;
    struct bench_window window;
    struct bench_cpu before;
    uint64_t began_ns, drain_ns;
    bool warm, draining;
    bool refused; /* a session, for now */
    uint8_t *body;
    size_t body_bytes;
    struct bench_result *result;
};

static void send_frame(struct connection *c, enum frame_type type, uint64_t request,
                       const struct writer *w)
{
    struct err e = ERR_NONE;
    struct bytes body = bytes_of(w->p, w->at);
    if (w->bad)
        bench_fail("a request does not fit its memory");
    if (conn_send(c->conn, type, (struct term){0}, request, &body, 1, &e) != 0)
        bench_fail("%s", e.text);
}

/* ---- requests ---- */

static bool more(const struct load *l, uint64_t now)
{
    return l->options->op == BENCH_FILL ? l->next_key < l->options->records
                                        : now < l->window.end_ns;
}

static void request(struct connection *c, uint64_t now)
{
    struct load *l = c->load;
    const struct bench_options *o = l->options;
    char key[BENCH_KEY_BYTES + 1];
    bench_key(key,
              o->op == BENCH_FILL ? l->next_key++ : bench_random_next(&c->random) % o->records);
    struct op op = {
        .kind = OP_PUT, .collection = bytes_str(collection), .key = bytes_of(key, BENCH_KEY_BYTES)};
    struct writer w = writer_of(l->body, l->body_bytes);
    c->sequence++;
    if (o->op == BENCH_GET) {
        wire_write_get(&w, &(struct wire_get){.count = 1}, &op);
    } else {
        op.value = bytes_of(bench_value(&c->random, o->value_bytes), o->value_bytes);
        wire_write_txn(
            &w,
            &(struct wire_txn){
                .session = c->session, .sequence = c->sequence, .level = l->level, .op_count = 1},
            NULL, &op);
    }
    send_frame(c, o->op == BENCH_GET ? FRAME_GET : FRAME_TXN, c->sequence, &w);
    c->began[c->sequence % o->depth] = now;
    l->in_flight++;
}

static void start(struct load *l)
{
    uint64_t now = bench_now_ns();
    l->window = bench_window_start(l->options);
    l->began_ns = now;
    for (unsigned i = 0; i < l->options->clients; i++)
        for (unsigned j = 0; j < l->options->depth && more(l, now); j++)
            request(&l->all[i], now);
}

static void end(struct load *l)
{
    for (unsigned i = 0; i < l->options->clients; i++)
        conn_close(l->all[i].conn, NULL);
}

/* All that was asked is answered. */
static void drain(struct load *l)
{
    uint64_t now = bench_now_ns();
    if (l->options->op == BENCH_FILL)
        l->result->seconds = (double)(now - l->began_ns) / 1e9;
    l->draining = true;
    l->drain_ns = now;
    if (l->options->op == BENCH_GET) {
        end(l);
        return;
    }
    struct writer w = writer_of(l->body, l->body_bytes);
    wire_write_scan(&w, &(struct wire_scan){.collection = bytes_str(collection), .limit = 1});
    send_frame(&l->all[0], FRAME_SCAN, 1, &w);
}

/* ---- answers ---- */

static void check_record(const struct load *l, struct bytes body)
{
    struct reader r = reader_of(body);
    struct wire_read_header head;
    struct wire_record record = {.found = false};
    struct err e = ERR_NONE;
    if (wire_read_read_header(&r, &head, &e) != 0 || wire_read_get_record(&r, &record, &e) != 0)
        bench_fail("%s", e.text);
    if (!record.found || record.value.n != l->options->value_bytes)
        bench_fail("a record is missing or has another size; was the system filled?");
    bench_consume(record.value.p, record.value.n);
}

static void answered(struct connection *c, const struct frame *f, struct bytes body)
{
    struct load *l = c->load;
    struct wire_done done;
    struct err e = ERR_NONE;
    if (l->options->op == BENCH_GET)
        check_record(l, body);
    else if (wire_read_done(body, &done, &e) != 0)
        bench_fail("%s", e.text);
    uint64_t now = bench_now_ns();
    if (l->options->op == BENCH_FILL || bench_counts(&l->window, now))
        histogram_add(&l->result->latency, now - c->began[f->request % l->options->depth]);
    l->in_flight--;
    l->result->answered++;
    if (more(l, now))
        request(c, now);
    else if (l->in_flight == 0)
        drain(l);
}

static void connect_next(struct load *l);

static void opened(struct connection *c, struct bytes body)
{
    struct wire_session answer;
    struct err e = ERR_NONE;
    if (wire_read_session(body, &answer, &e) != 0)
        bench_fail("%s", e.text);
    c->session = answer.session;
    if (++c->load->ready == c->load->options->clients)
        start(c->load);
    else
        connect_next(c->load);
}

static int on_frame(struct conn *conn, const struct frame *f, struct bytes body, struct err *why)
{
    struct connection *c = conn_arg(conn);
    struct load *l = c->load;
    struct wire_error error;
    switch ((unsigned)f->type) {
    case FRAME_TXN | FRAME_REPLY:
    case FRAME_GET | FRAME_REPLY:
        answered(c, f, body);
        return 0;
    case FRAME_SESSION_OPEN | FRAME_REPLY:
        opened(c, body);
        return 0;
    case FRAME_SCAN | FRAME_REPLY:
        l->result->drain_s = (double)(bench_now_ns() - l->drain_ns) / 1e9;
        end(l);
        return 0;
    case FRAME_PRIMARY:
        return 0;
    default:
        if (f->type != FRAME_ERROR || wire_read_error(body, &error, why) != 0)
            bench_fail("the site answered with a frame of type %u", (unsigned)f->type);
        /* It was started just now, and nobody is elected yet. */
        l->refused = error.code == ERR_NOT_PRIMARY && l->ready < l->options->clients &&
                     bench_now_ns() - l->began_ns < PATIENCE_MS * 1000000ull;
        if (!l->refused)
            bench_fail("the site answered: %.*s", (int)error.text.n, (const char *)error.text.p);
        return 0;
    }
}

/* ---- connections ---- */

/* One after the other: a site has few handshakes in progress at a time. */
static void connect_next(struct load *l)
{
    struct connection *c = &l->all[l->ready];
    struct err e = ERR_NONE;
    if (conn_connect(&c->conn, &l->how, l->endpoint, NULL, c, &e) != 0)
        bench_fail("%s", e.text);
    l->open++;
}

static void open_session(struct connection *c)
{
    uint8_t buffer[BODY_BYTES];
    struct writer w = writer_of(buffer, sizeof buffer);
    wire_write_session_open(&w, &(struct wire_session_open){{{0}}}); /* zero: a new one */
    send_frame(c, FRAME_SESSION_OPEN, 1, &w);
}

static void on_ready(struct conn *conn, const struct wire_hello *hello)
{
    (void)hello;
    open_session(conn_arg(conn));
}

static void on_closed(struct conn *conn, const struct err *why)
{
    struct load *l = ((struct connection *)conn_arg(conn))->load;
    if (why != NULL && !l->draining)
        bench_fail("%s", why->text);
    if (--l->open == 0)
        uv_close((uv_handle_t *)&l->timer, NULL);
}

static const struct conn_callbacks callbacks = {on_ready, on_frame, on_closed, NULL};

/* Looks whether the window has begun or is over; before that, asks again for what was refused. */
static void on_timer(uv_timer_t *timer)
{
    struct load *l = timer->data;
    if (l->refused)
        open_session(&l->all[l->ready]);
    l->refused = false;
    if (l->ready < l->options->clients)
        return;
    uint64_t now = bench_now_ns();
    if (!l->warm && now >= l->window.warm_ns) {
        l->before = bench_cpu_now(l->options);
        l->warm = true;
    }
    if (now < l->window.end_ns)
        return;
    struct bench_cpu after = bench_cpu_now(l->options);
    l->result->cpu =
        (struct bench_cpu){after.self - l->before.self, after.servers - l->before.servers};
    (void)uv_timer_stop(timer);
}

static void connect_first(struct load *l, const struct config *config)
{
    const struct bench_options *o = l->options;
    struct tls_files files = {config->ca, config->cert, config->key, config->crl};
    struct err e = ERR_NONE;
    if (tls_context(&files, &l->how.tls, &e) != 0 ||
        tls_own_identity(config->cert, &l->self, &e) != 0)
        bench_fail("%s", e.text);
    l->how.loop = &l->loop;
    l->how.cluster = l->self.cluster;
    l->how.cluster_id = config->id;
    l->how.hello = (struct wire_hello){.version = WIRE_VERSION,
                                       .kind = l->self.kind,
                                       .name = bytes_str(l->self.name),
                                       .software = bytes_str("bench")};
    l->how.accept_kinds = 1u << WIRE_SITE;
    l->how.max_body = FRAME_CLIENT_MAX_BYTES;
    l->how.alive_ms = 10000;
    l->how.callbacks = &callbacks;
    l->endpoint = config->endpoints[0];
    l->began_ns = bench_now_ns();
    for (unsigned i = 0; i < o->clients; i++) {
        struct connection *c = &l->all[i];
        *c = (struct connection){
            .load = l, .random = bench_random_of(i), .began = calloc(o->depth, sizeof *c->began)};
        if (c->began == NULL)
            bench_fail("out of memory");
    }
    connect_next(l);
}

static void read_target(const char *path, struct config *config)
{
    char uri[URI_BYTES];
    struct err e = ERR_NONE;
    FILE *f = path == NULL ? NULL : fopen(path, "r");
    size_t n = f == NULL ? 0 : fread(uri, 1, URI_BYTES - 1, f);
    if (n == 0)
        bench_fail("--target must be a file that holds a URI");
    (void)fclose(f);
    uri[n] = '\0';
    uri[strcspn(uri, "\n")] = '\0';
    if (client_config_init(config, uri, NULL, &e) != 0)
        bench_fail("%s", e.text);
}

static void run(struct load *l, const struct config *config)
{
    const struct bench_options *o = l->options;
    l->all = calloc(o->clients, sizeof *l->all);
    l->body_bytes = (size_t)o->value_bytes + BODY_BYTES;
    l->body = malloc(l->body_bytes);
    if (l->all == NULL || l->body == NULL || uv_loop_init(&l->loop) != 0 ||
        uv_timer_init(&l->loop, &l->timer) != 0)
        bench_fail("out of memory");
    l->timer.data = l;
    (void)uv_timer_start(&l->timer, on_timer, 1, 1);
    connect_first(l, config);
    (void)uv_run(&l->loop, UV_RUN_DEFAULT);
    SSL_CTX_free(l->how.tls);
    (void)uv_loop_close(&l->loop);
    for (unsigned i = 0; i < o->clients; i++)
        free(l->all[i].began);
    free(l->all);
    free(l->body);
}

static enum level level_of(const char *name)
{
    if (name == NULL)
        return LEVEL_MODE;
    if (strcmp(name, "local") == 0)
        return LEVEL_LOCAL;
    if (strcmp(name, "majority") == 0)
        return LEVEL_MAJORITY;
    if (strcmp(name, "all") != 0)
        bench_fail("--level %s is not one of local, majority, all", name);
    return LEVEL_ALL;
}

int main(int argc, char **argv)
{
    struct bench_options o;
    struct bench_result result = {.drain_s = -1};
    struct config config;
    bench_parse(argc, argv, &o);
    if (o.op != BENCH_PUT && o.op != BENCH_GET && o.op != BENCH_FILL)
        bench_fail("--op %s is not one of put, get, fill", o.op_name);
    read_target(o.target, &config);
    struct load l = {.options = &o, .result = &result, .level = level_of(o.level)};
    run(&l, &config);
    client_config_deinit(&config);
    bench_print(&o, &result);
    return 0;
}
