/* What a connection receives: one read of up to 64 KiB is decrypted into `in`, then every whole frame in it is delivered.
 *
 * ROOM. Frames may be 40 MiB, and each of hundreds of clients may have begun one. So the connections of a listener together have
 * receive_limit_bytes for frames above LINK_FREE_BYTES. When the header of such a frame has come it takes room for all of it,
 * or the connection is not read from until there is some: TCP makes its peer wait. Room is given in the order in which it was
 * asked for, so a large frame is not overtaken for ever, and to one alone always, so each comes to its end. Nobody who has room
 * waits for anything but its peer, whose time for the frame is limited; so there is no deadlock. Smaller frames need none:
 * requests for little pass while large ones wait, and so do commands of operators up to LINK_OPERATOR_FREE_BYTES, who may have
 * come to find out why nothing gets on. What is decompressed is one frame at a time, for all. */
#include "replication/io/link.h"

#include "store/core/check.h"

/* Text from outside goes to logs and terminals: only printable ASCII. */
void link_copy_printable(char *to, size_t cap, struct bytes from)
{
    size_t n = from.n < cap - 1 ? from.n : cap - 1;
    for (size_t i = 0; i < n; i++)
        to[i] = from.p[i] >= 0x20 && from.p[i] <= 0x7e ? (char)from.p[i] : '?';
    to[n] = '\0';
}

static int peer_error(struct conn *c, struct bytes body, struct err *why)
{
    struct wire_error m;
    int rc = wire_read_error(body, &m, why);
    if (rc != 0)
        return rc;
    char text[ERR_TEXT_BYTES - LINK_REMOTE_BYTES];
    link_copy_printable(text, sizeof text, m.text);
    (void)err_set(why, m.code, "%s: %s", c->state == LINK_HELLO ? "refused us" : "closed", text);
    link_destroy(c, why);
    return 0;
}

static int deliver(struct conn *c, struct bytes raw, struct err *why)
{
    struct frame f = c->frame;
    struct bytes body = raw;
    int rc = frame_check_body(&f, raw, why);
    if (rc != 0)
        return rc;
    if ((f.flags & FRAME_ZSTD) != 0) {
        uint32_t now = c->state == LINK_READY ? c->shared->options.max_body : FRAME_HELLO_MAX_BYTES;
        rc = packer_unpack(&c->shared->packer, raw, frame_body_limit(f.type, now), &body, why);
        if (rc != 0)
            return err_wrap(why, "%s frame", frame_type_name(f.type));
    }
    if (f.type == FRAME_ERROR && f.request == 0)
        return peer_error(c, body, why);
    if (c->state == LINK_HELLO)
        return link_on_hello(c, &f, body, why);
    if (f.type == FRAME_HELLO)
        return err_set(why, ERR_FORMAT, "a second hello frame");
    if (f.type == FRAME_ALIVE)
        return 0;
    return c->shared->options.callbacks->on_frame(c, &f, body, why);
}

/* Deliver one frame if there is a whole one; false when more bytes are needed or nothing may be delivered. */
static bool next_frame(struct conn *c, struct err *why, int *rc)
{
    if (c->paused || (c->state != LINK_HELLO && c->state != LINK_READY) ||
        buffer_size(&c->in) < FRAME_HEADER_BYTES)
        return false;
    const uint8_t *at = c->in.p + c->in.at;
    if (!c->have_header) {
        bool hello = c->state == LINK_HELLO; /* whose cluster id is looked at with its kind */
        *rc = frame_decode(at, hello ? NULL : &c->cluster_id,
                           hello ? FRAME_HELLO_MAX_BYTES : c->shared->options.max_body, &c->frame,
                           why);
        if (*rc != 0)
            return false;
        c->have_header = true;
    }
    size_t whole = FRAME_HEADER_BYTES + (size_t)c->frame.body_bytes;
    if (buffer_size(&c->in) < whole)
        return false;
    c->have_header = false;
    *rc = deliver(c, bytes_of(at + FRAME_HEADER_BYTES, c->frame.body_bytes), why);
    c->bytes_in += whole;
    buffer_consume(&c->in, whole);
    buffer_trim(&c->in, LINK_READ_BYTES * 4);
    link_give_room_back(c);
    return *rc == 0;
}

/* A large frame may take longer than frame_ms on a slow line, as long as it keeps coming. */
uint64_t link_frame_allowance_ms(const struct conn *c)
{
    return c->shared->options.frame_ms + (c->have_header ? c->frame.body_bytes / LINK_MIN_RATE : 0);
}

/* A frame that has begun must end in time. The timer is left running between frames: it looks when it fires, and is never set
 * for longer than frame_ms. */
static void watch_part(struct conn *c, bool progress)
{
    if (progress) {
        c->heard_ms = uv_now(c->shared->options.loop);
        c->doubted = false;
    }
    bool part = !c->paused && !c->waits_for_room &&
                (buffer_size(&c->in) != 0 || channel_has_part_of_record(&c->channel));
    if (!part)
        c->part_since_ms = 0;
    else if (c->part_since_ms == 0 || progress)
        c->part_since_ms = uv_now(c->shared->options.loop);
    if (part && uv_is_active((uv_handle_t *)&c->timer) == 0)
        link_deadline(c, c->shared->options.frame_ms);
}

/* ---- room ---- */

static bool needs_room(const struct conn *c)
{
    const bool command = c->frame.type == FRAME_ADMIN && c->peer.kind == WIRE_OPERATOR;
    return c->frame.body_bytes >
           (command ? (uint32_t)LINK_OPERATOR_FREE_BYTES : (uint32_t)LINK_FREE_BYTES);
}

static bool take_room(struct conn *c)
{
    struct link_shared *s = c->shared;
    const uint32_t bytes = c->frame.body_bytes;
    if (s->room_taken != 0 && s->room_taken + bytes > s->options.receive_limit_bytes)
        return false;
    c->room = bytes;
    s->room_taken += bytes;
    return true;
}

/* The frame that has begun needs room: take it, or wait for it. */
static void ask_for_room(struct conn *c)
{
    struct link_shared *s = c->shared;
    if (s->options.receive_limit_bytes == 0 || !c->have_header || c->room != 0 ||
        c->waits_for_room || !needs_room(c))
        return;
    if (s->waits_first == NULL && take_room(c))
        return;
    *(s->waits_first == NULL ? &s->waits_first : &s->waits_last->waits_next) = c;
    s->waits_last = c;
    c->waits_next = NULL;
    c->waits_for_room = true;
    c->part_since_ms = 0;
    (void)uv_read_stop((uv_stream_t *)&c->tcp);
}

/* Room was given back, or who was the first to wait waits no more. */
static void let_in(struct link_shared *s)
{
    while (s->waits_first != NULL && take_room(s->waits_first)) {
        struct conn *c = s->waits_first;
        s->waits_first = c->waits_next;
        c->waits_for_room = false;
        watch_part(c, true);
        int status = c->paused || c->resuming ? 0 : link_read_start(c);
        if (status != 0 && status != UV_EALREADY)
            link_lost(c, status);
    }
}

void link_give_room_back(struct conn *c)
{
    const uint32_t bytes = c->room;
    c->room = 0;
    check(bytes <= c->shared->room_taken);
    c->shared->room_taken -= bytes;
    if (bytes != 0)
        let_in(c->shared);
}

void link_wait_no_more(struct conn *c)
{
    struct link_shared *s = c->shared;
    if (!c->waits_for_room)
        return;
    c->waits_for_room = false;
    struct conn *before = NULL;
    for (struct conn *o = s->waits_first; o != c; o = o->waits_next)
        before = o;
    *(before == NULL ? &s->waits_first : &before->waits_next) = c->waits_next;
    if (s->waits_last == c)
        s->waits_last = before;
    let_in(s);
}

void link_dispatch(struct conn *c)
{
    struct err why = ERR_NONE;
    int rc = 0;
    bool progress = false;
    while (next_frame(c, &why, &rc))
        progress = true;
    if (rc != 0) {
        if (why.code == 0)
            (void)err_set(&why, rc, "refused");
        link_fail(c, &why);
    } else if (c->state == LINK_READY) {
        ask_for_room(c);
        watch_part(c, progress);
    }
}

/* Decrypt all that was fed, then deliver; then, if that was it, end. */
static void pull(struct conn *c)
{
    struct err why = ERR_NONE;
    bool closed = false;
    size_t got = 0;
    int rc = 0;
    do {
        if (!buffer_reserve(&c->in, CHANNEL_READ_MIN_BYTES)) {
            rc = err_set(&why, ERR_NO_MEMORY, "no memory to receive");
            break;
        }
        rc = channel_read(&c->channel, c->in.p + c->in.n, c->in.cap - c->in.n, &got, &closed, &why);
        c->in.n += got;
    } while (rc == 0 && got != 0 && !c->channel.drained);
    link_dispatch(c);
    if (buffer_size(&c->channel.out) != 0)
        link_wake(c);
    if (!link_is_open(c))
        return;
    c->goodbye = closed;
    if (rc != 0)
        link_fail(c, &why);
    else if (closed && !c->paused && !c->resuming)
        link_peer_gone(c, true);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    if (nread == 0 || c->state == LINK_CLOSED)
        return;
    if (!link_is_open(c)) {
        if (nread < 0)
            link_destroy(c, NULL);
        return;
    }
    if (nread < 0) {
        if (nread == UV_EOF)
            link_peer_gone(c, false);
        else
            link_lost(c, (int)nread);
        return;
    }
    channel_feed(&c->channel, bytes_of(buf->base, (size_t)nread));
    if (c->state == LINK_HANDSHAKE)
        link_handshake(c);
    if (c->state == LINK_HELLO || c->state == LINK_READY)
        pull(c);
    c->channel.in = bytes_of(NULL, 0); /* a failed connection does not look at the rest */
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct conn *c = handle->data;
    *buf = uv_buf_init((char *)c->shared->read_buffer, LINK_READ_BYTES);
}

void conn_pause(struct conn *c)
{
    if (c->state != LINK_READY || c->paused)
        return;
    c->paused = true;
    c->resuming = false;
    c->part_since_ms = 0;
    (void)uv_read_stop((uv_stream_t *)&c->tcp);
}

void conn_resume(struct conn *c)
{
    if (c->state != LINK_READY || !c->paused)
        return;
    c->paused = false;
    c->resuming = true;
    c->heard_ms = uv_now(c->shared->options.loop);
    link_wake(c);
}

int link_read_start(struct conn *c)
{
    return uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}
