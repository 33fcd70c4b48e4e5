/* What a durable write over TLS costs before there is a store: a server that understands the SET of bench/load_redis.c, writes
 * it to the disk, answers, and forgets it. No index, no history, no session, no check, no second copy. What it reaches, with the
 * load generator on the same cores, is the most there is for a server of one loop; the table tells how near to it Redis and
 * Triveni come.
 *
 * One loop for all connections, and one thread for the disk: while a batch is written (O_DIRECT | O_DSYNC into space that was
 * written before, one write for all of it), the loop reads what belongs to the next.
 *
 * Usage: bare_server PORT CERTIFICATE KEY FILE        listens on 127.0.0.1; FILE is written over */
#include "bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IN_BYTES = 64 << 10,
    BATCH_BYTES = 32 << 20, /* BENCH_CLIENTS_MAX clients with 16 in flight */
    FILE_BYTES = 256 << 20, /* then from the beginning */
    BLOCK_BYTES = 4096,
    EVENTS = 256,
    HEAD_BYTES = 37, /* "*3\r\n$3\r\nSET\r\n$16\r\n", a key, "\r\n$" */
    OK_BYTES = 5,
};

struct connection {
    int fd; /* -1: closed; what it sent may still be on its way to the disk */
    SSL *ssl;
    unsigned waiting[2]; /* commands in each batch */
    uint8_t *in;         /* IN_BYTES, of which n hold something */
    size_t n;
};

struct batch {
    uint8_t *p;
    size_t n;
    struct connection *who[BENCH_CLIENTS_MAX]; /* each once */
    unsigned count;
};

struct server {
    SSL_CTX *tls;
    int epoll, listener, file, written; /* an eventfd: a batch was */
    off_t at;
    struct batch batches[2];
    unsigned filling;
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct batch *writing; /* with the lock held: given to the disk's thread, and back */
};

/* ---- the disk ---- */

static void write_batch(struct server *s, const struct batch *b)
{
    const size_t whole = (b->n + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    if (s->at + (off_t)whole > FILE_BYTES)
        s->at = 0;
    if (pwrite(s->file, b->p, whole, s->at) != (ssize_t)whole)
        bench_fail("write: %s", strerror(errno));
    s->at += (off_t)whole;
}

static void *disk_main(void *arg)
{
    struct server *s = arg;
    const uint64_t one = 1;
    for (;;) {
        (void)pthread_mutex_lock(&s->lock);
        while (s->writing == NULL)
            (void)pthread_cond_wait(&s->news, &s->lock);
        const struct batch *b = s->writing;
        (void)pthread_mutex_unlock(&s->lock);
        write_batch(s, b);
        (void)pthread_mutex_lock(&s->lock);
        s->writing = NULL;
        (void)pthread_mutex_unlock(&s->lock);
        if (write(s->written, &one, sizeof one) != sizeof one)
            bench_fail("eventfd: %s", strerror(errno));
    }
    return NULL;
}

static void open_file(struct server *s, const char *path)
{
    s->file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_DIRECT | O_DSYNC, 0600);
    if (s->file < 0)
        bench_fail("%s: %s", path, strerror(errno));
    for (int i = 0; i < 2; i++) {
        s->batches[i].p = aligned_alloc(BLOCK_BYTES, BATCH_BYTES);
        if (s->batches[i].p == NULL)
            bench_fail("out of memory");
        memset(s->batches[i].p, 0xb5, BATCH_BYTES);
    }
    for (off_t at = 0; at < FILE_BYTES; at += BATCH_BYTES)
        if (pwrite(s->file, s->batches[0].p, BATCH_BYTES, at) != BATCH_BYTES)
            bench_fail("%s: %s", path, strerror(errno));
}

/* Nothing is being written: what has gathered goes to the disk, and the other batch is filled. */
static void write_next(struct server *s)
{
    if (s->batches[s->filling].n == 0)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->writing = &s->batches[s->filling];
    (void)pthread_cond_signal(&s->news);
    (void)pthread_mutex_unlock(&s->lock);
    s->filling = 1 - s->filling;
}

/* ---- commands ---- */

/* Bytes of the command at p, 0 when it is not whole yet. */
static size_t command(const uint8_t *p, size_t n)
{
    const uint8_t *end = n <= HEAD_BYTES ? NULL : memchr(p + HEAD_BYTES, '\n', n - HEAD_BYTES);
    if (end == NULL)
        return 0;
    if (memcmp(p, "*3\r\n$3\r\nSET\r\n$16\r\n", 18) != 0)
        bench_fail("not a SET with a key of %d bytes", BENCH_KEY_BYTES);
    const size_t whole =
        (size_t)(end - p) + 1 + strtoul((const char *)p + HEAD_BYTES, NULL, 10) + 2;
    if (whole > IN_BYTES)
        bench_fail("a value is too large");
    return n >= whole ? whole : 0;
}

static void take_commands(struct server *s, struct connection *c)
{
    struct batch *b = &s->batches[s->filling];
    size_t at = 0, whole;
    while ((whole = command(c->in + at, c->n - at)) > 0) {
        if (b->n + whole > BATCH_BYTES)
            bench_fail("more in flight than a batch holds");
        memcpy(b->p + b->n, c->in + at, whole);
        b->n += whole;
        if (c->waiting[s->filling]++ == 0)
            b->who[b->count++] = c;
        at += whole;
    }
    memmove(c->in, c->in + at, c->n - at);
    c->n -= at;
}

static void answer(struct server *s, unsigned which)
{
    struct batch *b = &s->batches[which];
    for (unsigned i = 0; i < b->count; i++) {
        struct connection *c = b->who[i];
        uint8_t out[OK_BYTES * BENCH_CLIENTS_MAX];
        size_t n = 0, written;
        for (; c->waiting[which] > 0; c->waiting[which]--, n += OK_BYTES) {
            if (n == sizeof out)
                bench_fail("more in flight on a connection than it is made for");
            memcpy(out + n, "+OK\r\n", OK_BYTES);
        }
        if (c->fd >= 0 && SSL_write_ex(c->ssl, out, n, &written) != 1)
            bench_fail("a client does not read");
    }
    b->n = 0;
    b->count = 0;
}

/* ---- connections ---- */

static void watch(const struct server *s, int fd, void *what)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
        bench_fail("epoll: %s", strerror(errno));
}

/* What is left of it stays: a batch may name it. */
static void close_connection(struct connection *c)
{
    SSL_free(c->ssl);
    (void)close(c->fd);
    free(c->in);
    *c = (struct connection){.fd = -1};
}

static void take_connection(struct server *s)
{
    const int one = 1;
    const int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL || (c->in = malloc(IN_BYTES)) == NULL || (c->ssl = SSL_new(s->tls)) == NULL)
        bench_fail("out of memory");
    c->fd = fd;
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        SSL_set_fd(c->ssl, fd) != 1)
        bench_fail("accept: %s", strerror(errno));
    if (SSL_accept(c->ssl) != 1) { /* who only looks whether the port is open */
        close_connection(c);
        free(c);
        return;
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        bench_fail("accept: %s", strerror(errno));
    watch(s, fd, c);
}

static void receive(struct server *s, struct connection *c)
{
    size_t got;
    while (SSL_read_ex(c->ssl, c->in + c->n, IN_BYTES - c->n, &got) == 1) {
        c->n += got;
        take_commands(s, c);
    }
    if (SSL_get_error(c->ssl, 0) != SSL_ERROR_WANT_READ)
        close_connection(c);
}

static void listen_at(struct server *s, const char *port)
{
    const int one = 1;
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 ||
        setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(s->listener, (const struct sockaddr *)&at, sizeof at) != 0 ||
        listen(s->listener, BENCH_CLIENTS_MAX) != 0)
        bench_fail("port %s: %s", port, strerror(errno));
}

static void serve(struct server *s)
{
    bool busy = false; /* the disk's thread has a batch */
    for (;;) {
        struct epoll_event ev[EVENTS];
        const int n = epoll_wait(s->epoll, ev, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            uint64_t count;
            if (ev[i].data.ptr == &s->listener) {
                take_connection(s);
            } else if (ev[i].data.ptr != &s->written) {
                receive(s, ev[i].data.ptr);
            } else if (read(s->written, &count, sizeof count) == sizeof count) {
                const unsigned done = 1 - s->filling;
                busy = s->batches[s->filling].n > 0;
                write_next(s); /* the disk has work while answers are sent */
                answer(s, done);
            }
        }
        if (!busy && s->batches[s->filling].n > 0) {
            busy = true;
            write_next(s);
        }
    }
}

int main(int argc, char **argv)
{
    static struct server s = {.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};
    pthread_t disk;
    if (argc != 5)
        bench_fail("usage: bare_server PORT CERTIFICATE KEY FILE");
    s.tls = SSL_CTX_new(TLS_server_method());
    if (s.tls == NULL || SSL_CTX_set_min_proto_version(s.tls, TLS1_3_VERSION) != 1 ||
        SSL_CTX_use_certificate_chain_file(s.tls, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(s.tls, argv[3], SSL_FILETYPE_PEM) != 1)
        bench_fail("%s, %s: not a certificate and its key", argv[2], argv[3]);
    open_file(&s, argv[4]);
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    s.written = eventfd(0, EFD_CLOEXEC);
    if (s.epoll < 0 || s.written < 0 || pthread_create(&disk, NULL, disk_main, &s) != 0)
        bench_fail("cannot start: %s", strerror(errno));
    listen_at(&s, argv[1]);
    watch(&s, s.listener, &s.listener);
    watch(&s, s.written, &s.written);
    serve(&s);
    return 0;
}
