/* What a connection sends.
 *
 * Frames gather in chunks, a small one first and then of 64 KiB, and leave once per loop iteration (the idle handle is active
 * only while there is something to do), or at once when much has gathered: a thousand small answers become a few TLS records
 * and one write. A chunk is encrypted only when the socket can soon take it, so that the queue, which has the limit, is where
 * bytes wait. */
#include "replication/io/link.h"

#include "store/core/check.h"
#include "store/core/hash.h"

struct link_chunk {
    struct link_chunk *next;
    size_t n, size;
    uint8_t bytes[];
};

static struct link_spares *spares_of(struct link_shared *s, size_t size)
{
    return size == LINK_SMALL_BYTES ? &s->small : &s->large;
}

/* Each flush empties its chunks: without spares every one of them would be allocated, and its memory touched, anew. */
static struct link_chunk *chunk_take(struct link_shared *s, size_t size)
{
    struct link_spares *spares = spares_of(s, size);
    struct link_chunk *chunk = spares->first;
    if (chunk != NULL) {
        spares->first = chunk->next;
        spares->count--;
    } else if ((chunk = malloc(sizeof *chunk + size)) == NULL) {
        return NULL;
    }
    chunk->next = NULL;
    chunk->n = 0;
    chunk->size = size;
    return chunk;
}

static void chunk_give(struct link_shared *s, struct link_chunk *chunk)
{
    struct link_spares *spares = spares_of(s, chunk->size);
    if (spares->count >= LINK_SPARES_BYTES / chunk->size) {
        free(chunk);
        return;
    }
    chunk->next = spares->first;
    spares->first = chunk;
    spares->count++;
}

static void spares_free(struct link_spares *spares)
{
    while (spares->first != NULL) {
        struct link_chunk *next = spares->first->next;
        free(spares->first);
        spares->first = next;
    }
    spares->count = 0;
}

void link_spares_free(struct link_shared *s)
{
    spares_free(&s->small);
    spares_free(&s->large);
}

/* `ahead` bytes will have been appended when the frame is whole. */
static bool queue_append(struct conn *c, struct bytes b, size_t ahead)
{
    while (b.n != 0) {
        if (c->last == NULL || c->last->n == c->last->size) {
            bool small = c->last == NULL && ahead <= LINK_SMALL_BYTES;
            struct link_chunk *chunk =
                chunk_take(c->shared, small ? LINK_SMALL_BYTES : LINK_CHUNK_BYTES);
            if (chunk == NULL)
                return false;
            *(c->last == NULL ? &c->first : &c->last->next) = chunk;
            c->last = chunk;
        }
        size_t room = c->last->size - c->last->n, n = b.n < room ? b.n : room;
        memcpy(c->last->bytes + c->last->n, b.p, n);
        c->last->n += n;
        c->queued += n;
        b = bytes_of(b.p + n, b.n - n);
    }
    return true;
}

/* Encrypt from the queue while the socket can soon use it. */
static int seal(struct conn *c, struct err *e)
{
    int rc = 0;
    while (rc == 0 && c->first != NULL && buffer_size(&c->channel.out) < LINK_SEAL_BYTES) {
        struct link_chunk *chunk = c->first;
        rc = channel_write(&c->channel, bytes_of(chunk->bytes, chunk->n), e);
        c->queued -= chunk->n;
        c->first = chunk->next;
        if (c->first == NULL)
            c->last = NULL;
        chunk_give(c->shared, chunk);
    }
    return rc;
}

void link_notify_drained(struct conn *c)
{
    if (c->state != LINK_READY || !c->crowded ||
        conn_queued_bytes(c) >= c->shared->options.queue_limit_bytes / 2)
        return;
    c->crowded = false;
    if (c->shared->options.callbacks->on_drained != NULL)
        c->shared->options.callbacks->on_drained(c);
}

static void on_written(uv_write_t *write, int status)
{
    struct conn *c = write->data;
    c->writing = false;
    buffer_consume(&c->flight, buffer_size(&c->flight));
    buffer_trim(&c->flight, LINK_SEAL_BYTES * 2);
    if (c->state == LINK_CLOSED)
        return;
    if (status != 0) {
        link_lost(c, status);
        return;
    }
    link_transmit(c);
    link_notify_drained(c);
}

/* What the socket does not take at once is written by libuv while `out` fills again. */
static int write_out(struct conn *c)
{
    struct bytes out = buffer_content(&c->channel.out);
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)out.p, (unsigned)out.n);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &buf, 1);
    if (n < 0 && n != UV_EAGAIN)
        return n;
    buffer_consume(&c->channel.out, n < 0 ? 0 : (size_t)n);
    if (buffer_size(&c->channel.out) == 0)
        return 0;
    struct buffer empty = c->flight;
    c->flight = c->channel.out;
    c->channel.out = empty;
    out = buffer_content(&c->flight);
    buf = uv_buf_init((char *)(uintptr_t)out.p, (unsigned)out.n);
    c->writing = true;
    return uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_written);
}

static void on_shut(uv_shutdown_t *shut, int status)
{
    struct conn *c = shut->data;
    if (status != 0 && c->state != LINK_CLOSED)
        link_destroy(c, NULL);
}

/* Everything is sent: say goodbye once, then shut our direction. */
static void finish_drain(struct conn *c)
{
    if (c->channel.ssl != NULL && (SSL_get_shutdown(c->channel.ssl) & SSL_SENT_SHUTDOWN) == 0)
        channel_shutdown(&c->channel);
    if (buffer_size(&c->channel.out) != 0 && write_out(c) != 0) {
        link_destroy(c, NULL);
        return;
    }
    if (c->writing)
        return;
    link_move(c, LINK_SHUT);
    if (uv_shutdown(&c->shut, (uv_stream_t *)&c->tcp, on_shut) != 0)
        link_destroy(c, NULL);
}

void link_transmit(struct conn *c)
{
    while (c->state >= LINK_HANDSHAKE && c->state <= LINK_DRAINING && !c->writing) {
        struct err why = ERR_NONE;
        if (!c->channel.broken && seal(c, &why) != 0) {
            link_destroy(c, &why);
            return;
        }
        if (buffer_size(&c->channel.out) == 0) {
            buffer_trim(&c->channel.out, LINK_SEAL_BYTES * 2);
            break;
        }
        int status = write_out(c);
        if (status != 0) {
            link_lost(c, status);
            return;
        }
    }
    if (c->state == LINK_DRAINING && !c->writing)
        finish_drain(c);
}

static uint32_t crc_of(const struct bytes *pieces, size_t n)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < n; i++)
        crc = hash_crc32c(crc, pieces[i]);
    return crc;
}

/* Compress when it pays, encode, queue. The frame is whole in the queue or the connection is over. */
static int enqueue(struct conn *c, struct frame *f, const struct bytes *pieces, size_t n,
                   size_t total, struct err *e)
{
    struct bytes packed = bytes_of(NULL, 0);
    int level = c->shared->options.zstd_level;
    if (level > 0 && total >= PACKER_MIN_BYTES && c->state == LINK_READY &&
        packer_tries(&c->habit, total)) {
        int rc = packer_pack(&c->shared->packer, level, pieces, n, &packed, e);
        if (rc != 0)
            return rc;
        packer_learns(&c->habit, total, packed.n);
    }
    if (packed.n != 0) {
        f->flags |= FRAME_ZSTD;
        pieces = &packed;
        n = 1;
        total = packed.n;
    }
    f->cluster_id = c->cluster_id;
    f->body_bytes = (uint32_t)total;
    f->body_crc32c = crc_of(pieces, n);
    uint8_t header[FRAME_HEADER_BYTES];
    frame_encode_header(f, header);
    bool ok = queue_append(c, bytes_of(header, sizeof header), sizeof header + total);
    for (size_t i = 0; ok && i < n; i++)
        ok = queue_append(c, pieces[i], total);
    if (!ok) {
        struct err why = ERR_NONE;
        int rc = err_set(&why, ERR_NO_MEMORY, "no memory to send %zu bytes", total);
        link_destroy(c, &why);
        return err_set(e, rc, "%s", why.text);
    }
    c->said_ms = uv_now(c->shared->options.loop);
    link_wake(c);
    return 0;
}

int conn_send(struct conn *c, enum frame_type type, struct term term, uint64_t request,
              const struct bytes *pieces, size_t n, struct err *e)
{
    const struct conn_options *o = &c->shared->options;
    if (c->state != LINK_READY)
        return err_set(e, ERR_UNREACHABLE, "%s: %s", c->remote,
                       link_is_open(c) ? "not connected yet" : "connection is closing");
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += pieces[i].n;
    uint32_t limit = frame_body_limit(type, o->max_body);
    if (total > limit)
        return err_set(e, ERR_LIMIT, "%s frame of %zu bytes for %s, at most %u are allowed",
                       frame_type_name(type), total, c->remote, limit);
    size_t waiting = conn_queued_bytes(c);
    if (waiting != 0 && waiting + FRAME_HEADER_BYTES + total > o->queue_limit_bytes) {
        c->crowded = true;
        return err_set(e, ERR_BUSY,
                       "%s: %zu bytes wait to be sent, the limit is %u: it takes them too slowly",
                       c->remote, waiting, o->queue_limit_bytes);
    }
    struct frame f = {.type = type, .term = term, .request = request};
    int rc = enqueue(c, &f, pieces, n, total, e);
    if (rc != 0)
        return rc;
    if (conn_queued_bytes(c) >= o->queue_limit_bytes / 2)
        c->crowded = true;
    if (c->queued >= LINK_SEAL_BYTES && !c->writing)
        link_transmit(c);
    return 0;
}

static void send_small(struct conn *c, enum frame_type type, struct writer *w)
{
    struct frame f = {.type = type};
    struct bytes body = bytes_of(w->p, w->at);
    check(!w->bad);
    (void)enqueue(c, &f, &body, 1, body.n, NULL);
}

void link_send_hello(struct conn *c)
{
    uint8_t raw[FRAME_HELLO_MAX_BYTES];
    struct writer w = writer_of(raw, sizeof raw);
    wire_write_hello(&w, &c->shared->options.hello);
    send_small(c, FRAME_HELLO, &w);
}

void link_send_error(struct conn *c, const struct err *why)
{
    uint8_t raw[FRAME_HELLO_MAX_BYTES];
    struct writer w = writer_of(raw, sizeof raw);
    struct wire_error m = {.code = why->code < 0 ? why->code : ERR_FAILED,
                           .text = bytes_str(why->text),
                           .failed_condition = -1};
    wire_write_error(&w, &m);
    send_small(c, FRAME_ERROR, &w);
}

void link_send_alive(struct conn *c)
{
    struct writer none = writer_of(NULL, 0);
    send_small(c, FRAME_ALIVE, &none);
}

void link_queue_clear(struct conn *c)
{
    while (c->first != NULL) {
        struct link_chunk *next = c->first->next;
        chunk_give(c->shared, c->first);
        c->first = next;
    }
    c->last = NULL;
    c->queued = 0;
}

size_t conn_queued_bytes(const struct conn *c)
{
    return c->queued + buffer_size(&c->channel.out) + buffer_size(&c->flight);
}
