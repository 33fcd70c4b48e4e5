/* Two ends of a connection in one loop, with real TLS and certificates that are issued into a directory of the test's own.
 * An `end` records what its connection reported; `run_until` turns the loop until something holds or too long has passed. A
 * `raw` is a peer that holds a good certificate and a plain socket, to send what a connection never would. */
#ifndef TESTS_UNIT_REPLICATION_IO_FIXTURE_H
#define TESTS_UNIT_REPLICATION_IO_FIXTURE_H

#include "replication/io/channel.h"
#include "replication/io/conn.h"
#include "tools/pki.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { PATIENCE_MS = 20000, FIXTURE_PATH_BYTES = 512, FIXTURE_MAX_BODY = 8 << 20 };

/* ---- certificates ---- */

static char pki_dir[FIXTURE_PATH_BYTES];

static inline const char *pki_file(const char *name, const char *suffix)
{
    static char paths[8][FIXTURE_PATH_BYTES + 64];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s%s", pki_dir, name, suffix);
    return path;
}

static inline void issue(enum wire_kind kind, const char *name)
{
    struct err e = ERR_NONE;
    if (pki_issue(pki_dir, &(struct pki_request){.kind = kind, .name = name}, &e) != 0)
        fail_msg("%s", e.text);
}

static inline int pki_setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    (void)snprintf(pki_dir, sizeof pki_dir, "%s/triveni-net-XXXXXX", base == NULL ? "/tmp" : base);
    struct err e = ERR_NONE;
    if (mkdtemp(pki_dir) == NULL || pki_init(pki_dir, "gov", &e) != 0)
        return -1;
    issue(WIRE_SITE, "dc");
    issue(WIRE_SITE, "dr");
    issue(WIRE_CLIENT, "alice");
    issue(WIRE_OPERATOR, "olga");
    return 0;
}

static inline int pki_teardown(void **state)
{
    (void)state;
    DIR *dir = opendir(pki_dir);
    if (dir == NULL)
        return -1;
    for (struct dirent *d; (d = readdir(dir)) != NULL;)
        (void)unlinkat(dirfd(dir), d->d_name, 0);
    (void)closedir(dir);
    return rmdir(pki_dir);
}

static inline SSL_CTX *context_of(const char *name)
{
    struct tls_files files = {.ca = pki_file("ca", ".crt"),
                              .cert = pki_file(name, ".crt"),
                              .key = pki_file(name, ".key")};
    SSL_CTX *ctx = NULL;
    struct err e = ERR_NONE;
    if (tls_context(&files, &ctx, &e) != 0)
        fail_msg("%s", e.text);
    return ctx;
}

/* ---- ends ---- */

struct end {
    struct conn *conn; /* NULL before the first report and after the last */
    unsigned ready, closed, drained;
    uint64_t frames, bytes;
    struct identity peer;
    bool has_why;
    struct err why;
    int (*check_frame)(struct end *end, const struct frame *f, struct bytes body, struct err *why);
    uint64_t seed; /* for the check */
    bool mute;     /* pause at the first frame */
};

static inline void end_ready(struct conn *c, const struct wire_hello *hello)
{
    struct end *end = conn_arg(c);
    end->conn = c;
    end->ready++;
    end->peer = *conn_identity(c);
    assert_true(bytes_equal(hello->name, bytes_str(end->peer.name)));
    assert_int_equal(end->closed, 0);
}

static inline int end_frame(struct conn *c, const struct frame *f, struct bytes body,
                            struct err *why)
{
    struct end *end = conn_arg(c);
    assert_int_equal(end->ready, 1);
    assert_int_equal(end->closed, 0);
    end->frames++;
    end->bytes += body.n;
    if (end->mute)
        conn_pause(c);
    return end->check_frame == NULL ? 0 : end->check_frame(end, f, body, why);
}

static inline void end_closed(struct conn *c, const struct err *why)
{
    struct end *end = conn_arg(c);
    end->closed++;
    end->has_why = why != NULL;
    if (why != NULL)
        end->why = *why;
    end->conn = NULL;
}

static inline void end_drained(struct conn *c)
{
    struct end *end = conn_arg(c);
    end->drained++;
}

static const struct conn_callbacks end_callbacks = {end_ready, end_frame, end_closed, end_drained};
static const struct uuid test_cluster = {{0x7a, 1, 2, 3}};

static inline struct conn_options options_of(uv_loop_t *loop, SSL_CTX *tls, enum wire_kind kind,
                                             const char *name, unsigned accept_kinds)
{
    return (struct conn_options){
        .loop = loop,
        .tls = tls,
        .cluster = "gov",
        .cluster_id = test_cluster,
        .hello = {.kind = kind,
                  .name = bytes_str(name),
                  .incarnation = 7,
                  .software = bytes_str("triveni test")},
        .accept_kinds = accept_kinds,
        .max_body = FIXTURE_MAX_BODY,
        .callbacks = &end_callbacks,
    };
}

enum {
    SITES = 1u << WIRE_SITE,
    CLIENTS = 1u << WIRE_CLIENT | 1u << WIRE_OPERATOR,
};

/* ---- the loop ---- */

static inline bool run_until(uv_loop_t *loop, bool (*holds)(void *arg), void *arg)
{
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (!holds(arg)) {
        if (uv_hrtime() > end)
            return false;
        if (uv_run(loop, UV_RUN_NOWAIT) == 0 && !holds(arg))
            return false;
    }
    return true;
}

static inline bool both_ready(void *arg)
{
    struct end *ends = arg;
    return ends[0].ready != 0 && ends[1].ready != 0;
}

static inline bool both_closed(void *arg)
{
    struct end *ends = arg;
    return ends[0].closed != 0 && ends[1].closed != 0;
}

static inline bool is_closed(void *arg)
{
    return ((struct end *)arg)->closed != 0;
}

/* A loop that has nothing left must close: whatever leaked a handle shows here. */
static inline void finish(uv_loop_t *loop)
{
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (uv_run(loop, UV_RUN_NOWAIT) != 0)
        assert_true(uv_hrtime() < end);
    assert_int_equal(uv_loop_close(loop), 0);
}

/* ---- a pair: ends[0] accepted, ends[1] connected ---- */

struct pair {
    uv_loop_t loop;
    SSL_CTX *tls[2];
    struct conn_options options[2];
    struct listener *listener;
    struct end ends[2];
    char endpoint[64];
};

static inline void pair_init(struct pair *p, const char *server, enum wire_kind client_kind,
                             const char *client)
{
    *p = (struct pair){0};
    assert_int_equal(uv_loop_init(&p->loop), 0);
    p->tls[0] = context_of(server);
    p->tls[1] = context_of(client);
    p->options[0] = options_of(&p->loop, p->tls[0], WIRE_SITE, server, SITES | CLIENTS);
    p->options[1] = options_of(&p->loop, p->tls[1], client_kind, client, SITES);
}

static inline void pair_listen(struct pair *p, unsigned max)
{
    struct err e = ERR_NONE;
    if (conn_listen(&p->listener, &p->options[0], "127.0.0.1:0", max, &p->ends[0], &e) != 0)
        fail_msg("%s", e.text);
    (void)snprintf(p->endpoint, sizeof p->endpoint, "127.0.0.1:%d", listener_port(p->listener));
}

static inline void pair_connect(struct pair *p, const char *expect)
{
    struct conn *c;
    struct err e = ERR_NONE;
    if (conn_connect(&c, &p->options[1], p->endpoint, expect, &p->ends[1], &e) != 0)
        fail_msg("%s", e.text);
}

static inline void pair_ready(struct pair *p)
{
    pair_listen(p, 10);
    pair_connect(p, NULL);
    if (!run_until(&p->loop, both_ready, p->ends))
        fail_msg("not ready: '%s' '%s'", p->ends[0].why.text, p->ends[1].why.text);
}

static inline void pair_deinit(struct pair *p)
{
    for (int i = 0; i < 2; i++)
        if (p->ends[i].conn != NULL)
            conn_close(p->ends[i].conn, NULL);
    if (p->listener != NULL)
        listener_close(p->listener);
    finish(&p->loop);
    assert_true(p->ends[0].closed <= 1 && p->ends[1].closed <= 1);
    SSL_CTX_free(p->tls[0]);
    SSL_CTX_free(p->tls[1]);
}

/* ---- a raw peer ---- */

struct raw {
    int fd;
    bool has_tls, secured, eof;
    struct channel channel;
    struct buffer plain; /* what it was told */
    uint8_t ciphertext[4096];
};

static inline void raw_connect(struct raw *r, int port, SSL_CTX *tls)
{
    *r = (struct raw){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(r->fd, (struct sockaddr *)&to, sizeof to), 0);
    if (tls != NULL) {
        assert_int_equal(channel_open(&r->channel, tls, false, NULL), 0);
        r->has_tls = true;
    }
}

static inline void raw_write(struct raw *r, struct bytes b)
{
    if (r->has_tls)
        assert_int_equal(channel_write(&r->channel, b, NULL), 0);
    else
        assert_int_equal(send(r->fd, b.p, b.n, MSG_NOSIGNAL), b.n);
}

/* One turn: receive, decrypt, send. */
static inline void raw_turn(struct raw *r)
{
    ssize_t n = recv(r->fd, r->ciphertext, sizeof r->ciphertext, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK))
        r->eof = true;
    if (!r->has_tls) {
        if (n > 0)
            assert_true(buffer_append(&r->plain, bytes_of(r->ciphertext, (size_t)n)));
        return;
    }
    if (n > 0 && !r->channel.broken)
        channel_feed(&r->channel, bytes_of(r->ciphertext, (size_t)n));
    struct err e = ERR_NONE;
    if (!r->secured && !r->channel.broken)
        (void)channel_handshake(&r->channel, &r->secured, &e);
    size_t got = 1;
    bool closed = false;
    while (r->secured && !r->channel.broken && got != 0 && !closed) {
        assert_true(buffer_reserve(&r->plain, CHANNEL_READ_MIN_BYTES));
        if (channel_read(&r->channel, r->plain.p + r->plain.n, CHANNEL_READ_MIN_BYTES, &got,
                         &closed, &e) != 0)
            break;
        r->plain.n += got;
    }
    r->channel.in = bytes_of(NULL, 0);
    struct bytes out = buffer_content(&r->channel.out);
    if (out.n != 0) {
        n = send(r->fd, out.p, out.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        buffer_consume(&r->channel.out, n < 0 ? 0 : (size_t)n);
    }
}

static inline bool raw_run(struct raw *r, uv_loop_t *loop, bool (*holds)(struct raw *r))
{
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (!holds(r) && uv_hrtime() < end) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
        raw_turn(r);
    }
    return holds(r);
}

static inline bool raw_is_secured(struct raw *r)
{
    return r->secured;
}

static inline bool raw_is_done(struct raw *r)
{
    return r->eof;
}

static inline void raw_frame(struct raw *r, struct frame f, struct bytes body)
{
    uint8_t header[FRAME_HEADER_BYTES];
    f.cluster_id = uuid_is_zero(&f.cluster_id) ? test_cluster : f.cluster_id;
    frame_encode(&f, body, header);
    raw_write(r, bytes_of(header, sizeof header));
    if (body.n != 0)
        raw_write(r, body);
}

static inline void raw_hello(struct raw *r, enum wire_kind kind, const char *name)
{
    uint8_t body[256];
    struct writer w = writer_of(body, sizeof body);
    wire_write_hello(
        &w, &(struct wire_hello){
                WIRE_VERSION, kind, bytes_str(name), 1, bytes_str("raw"), {NULL, 0}, 0, 0});
    raw_frame(r, (struct frame){.type = FRAME_HELLO}, bytes_of(body, w.at));
}

/* The text of the last FRAME_ERROR that it was sent, or "". */
static inline void raw_error_text(struct raw *r, char out[ERR_TEXT_BYTES])
{
    out[0] = '\0';
    struct reader in = reader_of(buffer_content(&r->plain));
    struct frame f;
    for (struct bytes raw = read_bytes(&in, FRAME_HEADER_BYTES); !in.bad;
         raw = read_bytes(&in, FRAME_HEADER_BYTES)) {
        assert_int_equal(frame_decode(raw.p, NULL, FIXTURE_MAX_BODY, &f, NULL), 0);
        struct bytes body = read_bytes(&in, f.body_bytes);
        struct wire_error m;
        if (f.type == FRAME_ERROR && wire_read_error(body, &m, NULL) == 0)
            (void)snprintf(out, ERR_TEXT_BYTES, "%.*s", (int)m.text.n, (const char *)m.text.p);
    }
}

static inline void raw_deinit(struct raw *r)
{
    if (r->fd >= 0)
        (void)close(r->fd);
    channel_deinit(&r->channel);
    buffer_deinit(&r->plain);
}

#endif
