/* Load on etcd: its v3 API as its own clients speak it, gRPC over plain HTTP/2, one epoll loop for all connections, `--depth`
 * puts in flight on each. nghttp2 does the frames and the headers; a Put is so small a message of protobuf that it is written
 * by hand. The JSON gateway would be simpler, but it is a gRPC client within the server: each put would be decoded twice there.
 *
 * `--target` is HOST:PORT[,HOST:PORT...] (IPv4); connections are spread over them. Operations: put; outage (`--clients` of them
 * go on through whatever happens, see bench/outage.h: one that is refused, or loses its connection, tries again at the next
 * endpoint).
 *
 * FORMAT of a request's body: u8 0 (not compressed), be32 length, then PutRequest: 0x0a, length, key; 0x12, length, value;
 * lengths are varints. A put is done when its stream is closed with the trailer grpc-status 0. */
#include "bench/bench.h"
#include "bench/outage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { IN_BYTES = 64 << 10, EVENTS = 256, ENDPOINTS_MAX = 8, HEAD_BYTES = 32 };
enum { RETRY_MS = 5, TURN_MS = 5 };

struct load;

struct put {
    struct connection *connection;
    uint64_t began_ns;
    uint8_t *body;
    size_t n, sent;
    bool done; /* grpc-status 0 has come */
};

struct connection {
    struct load *load;
    int fd; /* -1: to be opened again at retry_ns */
    nghttp2_session *h2;
    struct bench_random random;
    struct put *puts;   /* `depth` of them */
    const uint8_t *out; /* what h2 gave and the socket has not taken */
    size_t out_n;
    unsigned endpoint;
    uint64_t retry_ns;
    bool wants_write, lost;
};

struct load {
    const struct bench_options *options;
    struct bench_window window;
    struct bench_result *result;
    struct outage *outage; /* NULL: a closed loop for the window */
    atomic_bool stop;
    struct sockaddr_in endpoints[ENDPOINTS_MAX];
    char names[ENDPOINTS_MAX][64];
    unsigned endpoint_count;
    nghttp2_session_callbacks *callbacks;
    unsigned in_flight;
    int epoll;
};

/* ---- a put ---- */

static uint8_t *varint(uint8_t *p, size_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

static void put_body(struct put *q, const struct bench_options *o)
{
    char key[BENCH_KEY_BYTES + 1];
    struct bench_random *r = &q->connection->random;
    bench_key(key, bench_random_next(r) % o->records);
    uint8_t *p = q->body + 5;
    *p++ = 0x0a;
    p = varint(p, BENCH_KEY_BYTES);
    memcpy(p, key, BENCH_KEY_BYTES);
    p += BENCH_KEY_BYTES;
    *p++ = 0x12;
    p = varint(p, o->value_bytes);
    memcpy(p, bench_value(r, o->value_bytes), o->value_bytes);
    p += o->value_bytes;
    uint32_t n = htonl((uint32_t)(p - q->body - 5));
    q->body[0] = 0;
    memcpy(q->body + 1, &n, sizeof n);
    q->n = (size_t)(p - q->body);
    q->sent = 0;
}

static ssize_t give_body(nghttp2_session *h2, int32_t stream, uint8_t *to, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct put *q = source->ptr;
    (void)h2, (void)stream, (void)arg;
    size_t n = q->n - q->sent < room ? q->n - q->sent : room;
    memcpy(to, q->body + q->sent, n);
    q->sent += n;
    if (q->sent == q->n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void submit(struct put *q)
{
#define HEADER(name, value)                                                                        \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value),  \
            NGHTTP2_NV_FLAG_NO_COPY_NAME                                                           \
    }
    struct connection *c = q->connection;
    const nghttp2_nv headers[] = {HEADER(":method", "POST"),
                                  HEADER(":scheme", "http"),
                                  HEADER(":path", "/etcdserverpb.KV/Put"),
                                  HEADER(":authority", c->load->names[c->endpoint]),
                                  HEADER("content-type", "application/grpc"),
                                  HEADER("te", "trailers")};
    put_body(q, c->load->options);
    q->done = false;
    q->began_ns = bench_now_ns();
    nghttp2_data_provider body = {.source.ptr = q, .read_callback = give_body};
    if (nghttp2_submit_request(c->h2, NULL, headers, sizeof headers / sizeof headers[0], &body, q) <
        0)
        bench_fail("nghttp2: a request is not taken");
    c->load->in_flight++;
}

static bool more(const struct load *l, uint64_t now)
{
    return l->outage != NULL ? !atomic_load(&l->stop) : now < l->window.end_ns;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    struct put *q = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);
    const struct load *l = ((struct connection *)arg)->load;
    (void)flags;
    if (q == NULL || name_n != 11 || memcmp(name, "grpc-status", 11) != 0)
        return 0;
    q->done = value_n == 1 && value[0] == '0';
    if (!q->done && l->outage == NULL)
        bench_fail("etcd answered with the gRPC status %.*s", (int)value_n, (const char *)value);
    return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t stream, uint32_t code, void *arg)
{
    struct connection *c = arg;
    struct load *l = c->load;
    struct put *q = nghttp2_session_get_stream_user_data(h2, stream);
    if (q == NULL)
        return 0;
    uint64_t now = bench_now_ns();
    l->in_flight--;
    if (l->outage != NULL && !q->done) {
        outage_failed(l->outage);
        c->lost = true; /* to the next endpoint */
        return 0;
    }
    if (!q->done)
        bench_fail("etcd closed a stream with the code %u", code);
    if (l->outage != NULL)
        outage_answered(l->outage);
    l->result->answered++;
    if (bench_counts(&l->window, now))
        histogram_add(&l->result->latency, now - q->began_ns);
    if (more(l, now))
        submit(q);
    return 0;
}

/* ---- connections ---- */

static void watch(struct connection *c, int how)
{
    struct epoll_event ev = {.events = EPOLLIN | (c->wants_write ? EPOLLOUT : 0u), .data.ptr = c};
    if (epoll_ctl(c->load->epoll, how, c->fd, &ev) != 0)
        bench_fail("epoll: %s", strerror(errno));
}

/* Send what h2 has; false: the connection is gone. */
static bool flush(struct connection *c)
{
    bool full = false;
    while (!full) {
        if (c->out_n == 0) {
            ssize_t n = nghttp2_session_mem_send(c->h2, &c->out);
            if (n < 0)
                bench_fail("nghttp2: %s", nghttp2_strerror((int)n));
            if (n == 0)
                break;
            c->out_n = (size_t)n;
        }
        ssize_t n = send(c->fd, c->out, c->out_n, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        full = n < 0;
        c->out += n < 0 ? 0 : n;
        c->out_n -= n < 0 ? 0 : (size_t)n;
    }
    if (full != c->wants_write) {
        c->wants_write = full;
        watch(c, EPOLL_CTL_MOD);
    }
    return true;
}

static bool receive(struct connection *c)
{
    static uint8_t in[IN_BYTES];
    ssize_t n;
    while ((n = recv(c->fd, in, sizeof in, 0)) > 0) {
        ssize_t used = nghttp2_session_mem_recv(c->h2, in, (size_t)n);
        if (used < 0)
            bench_fail("nghttp2: %s", nghttp2_strerror((int)used));
        if (c->lost)
            return false;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) && flush(c);
}

static void close_one(struct connection *c)
{
    struct load *l = c->load;
    if (c->fd < 0)
        return;
    if (l->outage == NULL && more(l, bench_now_ns()))
        bench_fail("etcd closed a connection");
    (void)close(c->fd);
    c->fd = -1;
    nghttp2_session_del(c->h2);
    c->h2 = NULL;
    c->endpoint = (c->endpoint + 1) % l->endpoint_count;
    c->retry_ns = bench_now_ns() + RETRY_MS * 1000000ull;
}

/* False: nobody is there. */
static bool open_one(struct connection *c)
{
    struct load *l = c->load;
    const struct sockaddr_in *to = &l->endpoints[c->endpoint];
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)to, sizeof *to) != 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) {
        if (l->outage == NULL)
            bench_fail("%s: %s", l->names[c->endpoint], strerror(errno));
        if (c->fd >= 0)
            (void)close(c->fd);
        c->fd = -1;
        c->endpoint = (c->endpoint + 1) % l->endpoint_count;
        c->retry_ns = bench_now_ns() + RETRY_MS * 1000000ull;
        return false;
    }
    c->wants_write = c->lost = false;
    c->out_n = 0;
    if (nghttp2_session_client_new(&c->h2, l->callbacks, c) != 0 ||
        nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, NULL, 0) != 0)
        bench_fail("out of memory");
    watch(c, EPOLL_CTL_ADD);
    for (unsigned i = 0; i < l->options->depth; i++)
        submit(&c->puts[i]);
    if (!flush(c))
        close_one(c);
    return true;
}

/* ---- the run ---- */

static void init_one(struct load *l, struct connection *c, unsigned i)
{
    const struct bench_options *o = l->options;
    *c = (struct connection){.load = l,
                             .fd = -1,
                             .random = bench_random_of(i),
                             .endpoint = i % l->endpoint_count,
                             .puts = calloc(o->depth, sizeof *c->puts)};
    for (unsigned j = 0; j < o->depth && c->puts != NULL; j++) {
        c->puts[j].connection = c;
        c->puts[j].body = malloc(o->value_bytes + BENCH_KEY_BYTES + HEAD_BYTES);
        if (c->puts[j].body == NULL)
            bench_fail("out of memory");
    }
    if (c->puts == NULL)
        bench_fail("out of memory");
}

static void turn(struct load *l, struct connection *all)
{
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(l->epoll, ev, EVENTS, TURN_MS);
    for (int i = 0; i < n; i++) {
        struct connection *c = ev[i].data.ptr;
        if (c->fd >= 0 && !receive(c))
            close_one(c);
    }
    uint64_t now = bench_now_ns();
    for (unsigned i = 0; i < l->options->clients; i++)
        if (all[i].fd < 0 && now >= all[i].retry_ns && more(l, now))
            (void)open_one(&all[i]);
}

static void *run(void *arg)
{
    struct load *l = arg;
    const struct bench_options *o = l->options;
    struct connection *all = calloc(o->clients, sizeof *all);
    struct bench_cpu before = {0, 0}, after = {0, 0};
    bool warm = false, over = false;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (all == NULL || l->epoll < 0)
        bench_fail("out of memory");
    l->window = bench_window_start(o);
    for (unsigned i = 0; i < o->clients; i++)
        init_one(l, &all[i], i);
    for (unsigned i = 0; i < o->clients; i++)
        (void)open_one(&all[i]);
    while (l->outage != NULL ? !atomic_load(&l->stop) : l->in_flight > 0) {
        turn(l, all);
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
    l->result->cpu = (struct bench_cpu){after.self - before.self, after.servers - before.servers};
    for (unsigned i = 0; i < o->clients; i++) {
        close_one(&all[i]);
        for (unsigned j = 0; j < o->depth; j++)
            free(all[i].puts[j].body);
        free(all[i].puts);
    }
    (void)close(l->epoll);
    free(all);
    return NULL;
}

static void read_endpoints(struct load *l, const char *target)
{
    for (const char *at = target; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, ",");
        const char *colon = memchr(at, ':', n);
        if (l->endpoint_count == ENDPOINTS_MAX || colon == NULL || n >= sizeof l->names[0])
            bench_fail("--target must be HOST:PORT[,HOST:PORT...], at most %d", ENDPOINTS_MAX);
        struct sockaddr_in *to = &l->endpoints[l->endpoint_count];
        char *name = l->names[l->endpoint_count++], host[64];
        (void)snprintf(name, sizeof l->names[0], "%.*s", (int)n, at);
        (void)snprintf(host, sizeof host, "%.*s", (int)(colon - at), at);
        *to = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
        if (inet_pton(AF_INET, host, &to->sin_addr) != 1)
            bench_fail("%s is no IPv4 address", host);
        at += n + (at[n] == ',');
    }
    if (l->endpoint_count == 0)
        bench_fail("--target must be HOST:PORT[,HOST:PORT...]");
}

int main(int argc, char **argv)
{
    struct bench_options o;
    struct bench_result result = {.drain_s = -1};
    struct outage outage = {.mark_ns = 0};
    pthread_t thread;
    bench_parse(argc, argv, &o);
    bool through = strcmp(o.op_name, "outage") == 0;
    if (o.op != BENCH_PUT && !through)
        bench_fail("--op %s is not one of put, outage", o.op_name);
    struct load l = {.options = &o, .result = &result, .outage = through ? &outage : NULL};
    read_endpoints(&l, o.target);
    if (nghttp2_session_callbacks_new(&l.callbacks) != 0)
        bench_fail("out of memory");
    nghttp2_session_callbacks_set_on_header_callback(l.callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(l.callbacks, on_stream_close);
    if (!through) {
        (void)run(&l);
        bench_print(&o, &result);
        return 0;
    }
    outage_init(&outage);
    if (pthread_create(&thread, NULL, run, &l) != 0)
        bench_fail("cannot start a thread");
    outage_serve(&outage);
    atomic_store(&l.stop, true);
    (void)pthread_join(thread, NULL);
    return 0;
}
