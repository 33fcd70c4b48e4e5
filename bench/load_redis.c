/* Load on Redis: RESP over TCP or TLS, one epoll loop for all connections, `--depth` commands in flight on each. A client
 * as lean as redis-benchmark, with the histogram, the keys and the window of the other systems.
 *
 * `--target` is HOST:PORT (HOST an IPv4 address). Operations: put (SET), get (GET), fill (every key once, pipelined).
 *
 * `--wait N`: each SET is followed by WAIT N in the same write, without an end, and is done when WAIT is answered: what a client
 * gets who wants each of its writes at N replicas. Depth 1 only: otherwise one WAIT would speak for many.
 *
 * A connection's answers come in the order of its commands, so the times of the commands in flight are a ring. Answers are
 * parsed as far as these commands need: +OK, -ERR, $-1 and $N. */
#include "bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_BYTES = 256 << 10, COMMAND_BYTES = 128, EVENTS = 256 };

struct connection {
    int fd;
    SSL *ssl; /* NULL: plain */
    struct bench_random random;
    uint64_t *began; /* ring of `depth` */
    unsigned head, count;
    uint8_t *in;
    size_t in_at, in_n;
    uint8_t *out;
    size_t out_at, out_n, out_capacity;
    bool wants_write;
};

struct load {
    const struct bench_options *options;
    struct bench_window window;
    struct bench_result *result;
    unsigned next_key; /* fill */
    unsigned in_flight;
    int epoll;
};

static void tls_failed(const char *what)
{
    bench_fail("%s: %s", what, ERR_reason_error_string(ERR_peek_last_error()));
}

/* ---- bytes ---- */

/* Bytes moved; 0: not now. */
static size_t move(struct connection *c, bool out, void *p, size_t n)
{
    if (c->ssl == NULL) {
        ssize_t r = out ? send(c->fd, p, n, MSG_NOSIGNAL) : recv(c->fd, p, n, 0);
        if (r > 0)
            return (size_t)r;
        if (r == 0 || (errno != EAGAIN && errno != EINTR))
            bench_fail("the server closed a connection: %s",
                       r == 0 ? "end of file" : strerror(errno));
        return 0;
    }
    size_t moved = 0;
    ERR_clear_error();
    int ok = out ? SSL_write_ex(c->ssl, p, n, &moved) : SSL_read_ex(c->ssl, p, n, &moved);
    if (ok == 1)
        return moved;
    int why = SSL_get_error(c->ssl, ok);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
        tls_failed("TLS");
    return 0;
}

static void watch(struct load *l, struct connection *c, int how)
{
    struct epoll_event ev = {.events = EPOLLIN | (c->wants_write ? EPOLLOUT : 0u), .data.ptr = c};
    if (epoll_ctl(l->epoll, how, c->fd, &ev) != 0)
        bench_fail("epoll: %s", strerror(errno));
}

static void flush(struct load *l, struct connection *c)
{
    while (c->out_at < c->out_n) {
        size_t n = move(c, true, c->out + c->out_at, c->out_n - c->out_at);
        if (n == 0)
            break;
        c->out_at += n;
    }
    if (c->out_at == c->out_n)
        c->out_at = c->out_n = 0;
    bool wants = c->out_n != 0;
    if (wants != c->wants_write) {
        c->wants_write = wants;
        watch(l, c, EPOLL_CTL_MOD);
    }
}

/* ---- commands and answers ---- */

static void command(struct load *l, struct connection *c)
{
    const struct bench_options *o = l->options;
    char key[BENCH_KEY_BYTES + 1];
    bench_key(key,
              o->op == BENCH_FILL ? l->next_key++ : bench_random_next(&c->random) % o->records);
    if (c->out_at > 0) {
        memmove(c->out, c->out + c->out_at, c->out_n - c->out_at);
        c->out_n -= c->out_at;
        c->out_at = 0;
    }
    uint8_t *p = c->out + c->out_n;
    size_t left = c->out_capacity - c->out_n, n;
    if (o->op == BENCH_GET) {
        n = (size_t)snprintf((char *)p, left, "*2\r\n$3\r\nGET\r\n$16\r\n%s\r\n", key);
    } else {
        n = (size_t)snprintf((char *)p, left, "*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$%u\r\n", key,
                             o->value_bytes);
        memcpy(p + n, bench_value(&c->random, o->value_bytes), o->value_bytes);
        memcpy(p + n + o->value_bytes, "\r\n", 2);
        n += o->value_bytes + 2;
        if (o->wait > 0)
            n += (size_t)snprintf((char *)p + n, left - n,
                                  "*3\r\n$4\r\nWAIT\r\n$1\r\n%u\r\n$1\r\n0\r\n", o->wait);
    }
    c->out_n += n;
    c->began[(c->head + c->count++) % o->depth] = bench_now_ns();
    l->in_flight++;
}

/* Bytes of the answer at p, or 0 when it is not whole yet. */
static size_t answer(const struct bench_options *o, const uint8_t *p, size_t n)
{
    const uint8_t *end = memchr(p, '\n', n);
    if (end == NULL)
        return 0;
    size_t line = (size_t)(end - p) + 1;
    if (p[0] == '+' && o->op != BENCH_GET && o->wait == 0)
        return line;
    if (p[0] == '+' && o->op != BENCH_GET) { /* and then :N */
        const uint8_t *second = end + 1, *last = memchr(second, '\n', n - line);
        if (last == NULL)
            return 0;
        if (second[0] != ':' || strtoul((const char *)second + 1, NULL, 10) < o->wait)
            bench_fail("WAIT answered: %.*s", (int)(last - second), (const char *)second);
        return (size_t)(last - p) + 1;
    }
    if (p[0] != '$' || o->op != BENCH_GET)
        bench_fail("the server answered: %.*s", (int)line, (const char *)p);
    if (strtol((const char *)p + 1, NULL, 10) != (long)o->value_bytes)
        bench_fail("a record is missing or has another size; was the system filled?");
    return n >= line + o->value_bytes + 2 ? line + o->value_bytes + 2 : 0;
}

static bool more(const struct load *l, uint64_t now)
{
    return l->options->op == BENCH_FILL ? l->next_key < l->options->records
                                        : now < l->window.end_ns;
}

static void receive(struct load *l, struct connection *c)
{
    const struct bench_options *o = l->options;
    size_t got;
    while ((got = move(c, false, c->in + c->in_n, IN_BYTES - c->in_n)) > 0) {
        c->in_n += got;
        uint64_t now = bench_now_ns();
        size_t n;
        while (c->in_at < c->in_n && (n = answer(o, c->in + c->in_at, c->in_n - c->in_at)) > 0) {
            c->in_at += n;
            if (o->op == BENCH_FILL || bench_counts(&l->window, now))
                histogram_add(&l->result->latency, now - c->began[c->head]);
            c->head = (c->head + 1) % o->depth;
            c->count--;
            l->in_flight--;
            l->result->answered++;
            if (more(l, now))
                command(l, c);
        }
        memmove(c->in, c->in + c->in_at, c->in_n - c->in_at);
        c->in_n -= c->in_at;
        c->in_at = 0;
    }
    flush(l, c);
}

/* ---- connections ---- */

static void connect_one(struct load *l, struct connection *c, unsigned i, SSL_CTX *tls)
{
    const struct bench_options *o = l->options;
    char host[64];
    const char *colon = o->target == NULL ? NULL : strrchr(o->target, ':');
    struct sockaddr_in to = {.sin_family = AF_INET};
    if (colon == NULL || (size_t)(colon - o->target) >= sizeof host)
        bench_fail("--target must be HOST:PORT");
    memcpy(host, o->target, (size_t)(colon - o->target));
    host[colon - o->target] = '\0';
    to.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    *c = (struct connection){.random = bench_random_of(i),
                             .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    c->out_capacity = (size_t)o->depth * (o->value_bytes + COMMAND_BYTES);
    c->began = calloc(o->depth, sizeof *c->began);
    c->in = malloc(IN_BYTES + 1);
    c->out = malloc(c->out_capacity);
    int one = 1;
    if (c->began == NULL || c->in == NULL || c->out == NULL)
        bench_fail("out of memory");
    if (c->fd < 0 || inet_pton(AF_INET, host, &to.sin_addr) != 1 ||
        connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        bench_fail("%s: %s", o->target, strerror(errno));
    if (tls != NULL) {
        c->ssl = SSL_new(tls);
        if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1 || SSL_connect(c->ssl) != 1)
            tls_failed("TLS handshake");
        (void)SSL_set_mode(c->ssl,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        bench_fail("%s: %s", o->target, strerror(errno));
    watch(l, c, EPOLL_CTL_ADD);
}

static SSL_CTX *tls_context(const struct bench_options *o)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) != 1 || o->ca == NULL ||
        SSL_CTX_load_verify_locations(tls, o->ca, NULL) != 1)
        bench_fail("--tls needs --ca with the file of an authority");
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    return tls;
}

static void run(struct load *l)
{
    const struct bench_options *o = l->options;
    struct connection *all = calloc(o->clients, sizeof *all);
    SSL_CTX *tls = o->tls ? tls_context(o) : NULL;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (all == NULL || l->epoll < 0)
        bench_fail("out of memory");
    for (unsigned i = 0; i < o->clients; i++)
        connect_one(l, &all[i], i, tls);
    struct bench_cpu before = {0, 0}, after = {0, 0};
    bool warm = false, over = false;
    uint64_t began = bench_now_ns();
    l->window = bench_window_start(o);
    for (unsigned i = 0; i < o->clients; i++) {
        for (unsigned j = 0; j < o->depth && more(l, began); j++)
            command(l, &all[i]);
        flush(l, &all[i]);
    }
    while (l->in_flight > 0) {
        struct epoll_event ev[EVENTS];
        int n = epoll_wait(l->epoll, ev, EVENTS, 1000);
        for (int i = 0; i < n; i++)
            receive(l, ev[i].data.ptr);
        uint64_t now = bench_now_ns();
        if (!warm && now >= l->window.warm_ns) {
            before = bench_cpu_now(o);
            warm = true;
        }
        if (!over && now >= l->window.end_ns) {
            after = bench_cpu_now(o);
            over = true;
        }
    }
    if (over)
        l->result->cpu =
            (struct bench_cpu){after.self - before.self, after.servers - before.servers};
    if (o->op == BENCH_FILL)
        l->result->seconds = (double)(bench_now_ns() - began) / 1e9;
    for (unsigned i = 0; i < o->clients; i++) {
        SSL_free(all[i].ssl);
        (void)close(all[i].fd);
        free(all[i].began);
        free(all[i].in);
        free(all[i].out);
    }
    (void)close(l->epoll);
    SSL_CTX_free(tls);
    free(all);
}

int main(int argc, char **argv)
{
    struct bench_options o;
    struct bench_result result = {.drain_s = -1};
    bench_parse(argc, argv, &o);
    if (o.op != BENCH_PUT && o.op != BENCH_GET && o.op != BENCH_FILL)
        bench_fail("--op %s is not one of put, get, fill", o.op_name);
    if (o.wait > 9 || (o.wait > 0 && o.depth > 1))
        bench_fail("--wait is for at most 9 replicas and a depth of 1");
    struct load l = {.options = &o, .result = &result};
    run(&l);
    bench_print(&o, &result);
    return 0;
}
