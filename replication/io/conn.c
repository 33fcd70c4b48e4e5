/* A connection: frames over TLS over TCP. This file is its life: how it begins and ends, and in which states; who it is
 * agreed to be is in conn_hello.c, what it sends in conn_send.c, what it receives in conn_receive.c.
 *
 * STATES (the table in link_move; a broken connection may go from anywhere to CLOSED)
 *
 *   CONNECTING -> HANDSHAKE -> HELLO -> READY -> DRAINING -> SHUT -> CLOSED
 *                     |          |                   ^
 *                     '----------'-------------------'
 *
 * Ending: a socket that is closed while unread bytes wait in it answers with a reset, which may overtake and destroy the error
 * that we just sent. So after the last byte only our direction is shut, and what arrives is read and thrown away until the peer
 * has closed too, or a second has passed.
 *
 * INVARIANTS of the four files
 *   I1  Memory: `in` holds at most one frame within the limit that holds now, and one read, and all that a listener's connections
 *       have begun obeys receive_limit_bytes (conn_receive.c); the queue obeys its limit; ciphertext
 *       is at most LINK_SEAL_BYTES and one chunk. Nothing is allocated for a length that has not been checked.
 *   I2  on_closed is called exactly once, from the last close callback of libuv, and nothing of the connection is touched after.
 *   I3  Callbacks may call anything in conn.h: no function delivers frames from within another one's stack (resume goes through
 *       the idle handle, closing through libuv).
 *   I4  A frame that was accepted by conn_send leaves whole and in order, or the connection ends. */
#include "replication/io/link.h"

#include "store/core/check.h"

#include <signal.h>

/* ---- what connections share ---- */

static int copy_text(char *to, size_t cap, struct bytes from, const char *what, struct err *e)
{
    if (from.n >= cap)
        return err_set(e, ERR_USAGE, "%s of %zu bytes, at most %zu are allowed", what, from.n,
                       cap - 1);
    if (from.n != 0)
        memcpy(to, from.p, from.n);
    to[from.n] = '\0';
    return 0;
}

int link_shared_new(struct link_shared **out, const struct conn_options *options, struct err *e)
{
    check(options->loop != NULL && options->tls != NULL && options->callbacks != NULL &&
          options->max_body > 0);
    /* A write to a connection that the peer has reset must be an error, not a signal. The signal goes to the thread that
     * writes, which is this one; what the application does with SIGPIPE elsewhere is its own business. */
    sigset_t pipe_signal;
    (void)sigemptyset(&pipe_signal);
    (void)sigaddset(&pipe_signal, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);

    struct link_shared *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a connection");
    s->refs = 1;
    s->options = *options;
    int rc =
        copy_text(s->cluster, sizeof s->cluster, bytes_str(options->cluster), "cluster name", e);
    if (rc == 0)
        rc = copy_text(s->name, sizeof s->name, options->hello.name, "own name", e);
    if (rc == 0)
        rc =
            copy_text(s->software, sizeof s->software, options->hello.software, "software name", e);
    if (rc == 0)
        rc = copy_text(s->members, sizeof s->members, options->hello.members, "members", e);
    if (rc != 0) {
        free(s);
        return rc;
    }
    (void)SSL_CTX_up_ref(options->tls);
    struct conn_options *o = &s->options;
    o->cluster = s->cluster;
    o->hello.version = WIRE_VERSION;
    o->hello.name = bytes_str(s->name);
    o->hello.software = bytes_str(s->software);
    o->hello.members = bytes_str(s->members);
    o->queue_limit_bytes = o->queue_limit_bytes == 0 ? 64u << 20 : o->queue_limit_bytes;
    o->handshake_ms = o->handshake_ms == 0 ? 5000 : o->handshake_ms;
    o->frame_ms = o->frame_ms == 0 ? 10000 : o->frame_ms;
    *out = s;
    return 0;
}

void link_shared_release(struct link_shared *s)
{
    check(s->refs > 0);
    if (--s->refs != 0)
        return;
    SSL_CTX_free(s->options.tls);
    packer_deinit(&s->packer);
    link_spares_free(s);
    free(s);
}

/* ---- states ---- */

void link_move(struct conn *c, enum link_state to)
{
    static const unsigned moves[] = {
        [LINK_CONNECTING] = 1u << LINK_HANDSHAKE,
        [LINK_HANDSHAKE] = 1u << LINK_HELLO | 1u << LINK_DRAINING,
        [LINK_HELLO] = 1u << LINK_READY | 1u << LINK_DRAINING,
        [LINK_READY] = 1u << LINK_DRAINING,
        [LINK_DRAINING] = 1u << LINK_SHUT,
        [LINK_SHUT] = 0,
        [LINK_CLOSED] = 0,
    };
    check(to == LINK_CLOSED ? c->state != LINK_CLOSED : (moves[c->state] & 1u << to) != 0);
    c->state = to;
}

bool link_is_open(const struct conn *c)
{
    return c->state < LINK_DRAINING;
}

static void on_deadline(uv_timer_t *timer);
static void on_idle(uv_idle_t *idle);

void link_deadline(struct conn *c, uint64_t ms)
{
    check(uv_timer_start(&c->timer, on_deadline, ms, 0) == 0);
}

void link_wake(struct conn *c)
{
    if (c->state != LINK_CLOSED)
        check(uv_idle_start(&c->idle, on_idle) == 0);
}

struct conn *link_new(struct link_shared *shared, bool server, void *arg)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    uv_loop_t *loop = shared->options.loop;
    /* These only fill in memory; the socket itself is made later. */
    check(uv_tcp_init(loop, &c->tcp) == 0 && uv_timer_init(loop, &c->timer) == 0 &&
          uv_idle_init(loop, &c->idle) == 0);
    c->tcp.data = c->timer.data = c->idle.data = c->write.data = c->shut.data = c;
    c->pins = 3;
    c->shared = shared;
    shared->refs++;
    c->state = LINK_CONNECTING;
    c->server = server;
    c->arg = arg;
    c->cluster_id = shared->options.cluster_id;
    link_deadline(c, shared->options.handshake_ms);
    return c;
}

void link_unpin(struct conn *c)
{
    check(c->pins > 0);
    if (--c->pins != 0)
        return;
    check(c->state == LINK_CLOSED);
    c->shared->options.callbacks->on_closed(c, c->has_why ? &c->why : NULL);
    link_queue_clear(c);
    channel_deinit(&c->channel);
    buffer_deinit(&c->in);
    link_give_room_back(c);
    buffer_deinit(&c->flight);
    listener_on_freed(c);
    link_dial_free(c);
    link_shared_release(c->shared);
    free(c);
}

static void on_handle_closed(uv_handle_t *handle)
{
    link_unpin(handle->data);
}

static void keep_why(struct conn *c, const struct err *why)
{
    if (why == NULL || c->has_why)
        return;
    c->has_why = true;
    c->why = *why;
    if (c->why.code == 0)
        c->why.code = ERR_FAILED;
    (void)err_wrap(&c->why, "%s", c->remote);
}

void link_destroy(struct conn *c, const struct err *why)
{
    if (c->state == LINK_CLOSED)
        return;
    if (link_is_open(c))
        keep_why(c, why);
    listener_on_end(c);
    link_wait_no_more(c);
    bool tcp_is_closing = c->state == LINK_CONNECTING && uv_is_closing((uv_handle_t *)&c->tcp) != 0;
    if (c->state == LINK_CONNECTING)
        link_dial_end(c);
    link_move(c, LINK_CLOSED);
    if (!tcp_is_closing)
        uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->idle, on_handle_closed);
}

void link_lost(struct conn *c, int status)
{
    struct err why = ERR_NONE;
    (void)err_set(&why, ERR_UNREACHABLE, "connection lost: %s", uv_strerror(status));
    link_destroy(c, &why);
}

/* ---- ending ---- */

static void drain(struct conn *c)
{
    listener_on_end(c);
    link_move(c, LINK_DRAINING);
    link_deadline(c, LINK_CLOSE_MS);
    bool deaf = c->paused || c->resuming || c->waits_for_room;
    link_wait_no_more(c);
    c->paused = c->resuming = false;
    if (deaf && link_read_start(c) != 0)
        link_destroy(c, NULL);
    link_wake(c);
}

void link_fail(struct conn *c, const struct err *why)
{
    if (!link_is_open(c))
        return;
    if (c->state == LINK_CONNECTING) {
        link_destroy(c, why);
        return;
    }
    if (c->state == LINK_HELLO || c->state == LINK_READY)
        link_send_error(c, why);
    if (!link_is_open(c)) /* no memory even for that */
        return;
    keep_why(c, why);
    drain(c);
}

void conn_close(struct conn *c, const struct err *why)
{
    if (!link_is_open(c))
        return;
    if (why != NULL)
        link_fail(c, why);
    else if (c->state == LINK_CONNECTING || c->state == LINK_HANDSHAKE)
        link_destroy(c, NULL);
    else
        drain(c);
}

void conn_cut(struct conn *c, const struct err *why)
{
    link_destroy(c, why);
}

/* The peer ended first, with or without goodbye. */
void link_peer_gone(struct conn *c, bool goodbye)
{
    struct err why = ERR_NONE;
    if (c->state == LINK_HANDSHAKE)
        (void)err_set(&why, ERR_UNREACHABLE,
                      "closed during the TLS handshake: it may be stopping, out of connections, or "
                      "no Triveni port");
    else if (c->state == LINK_HELLO)
        (void)err_set(&why, ERR_UNREACHABLE, "closed before it said who it is");
    else if (buffer_size(&c->in) != 0)
        (void)err_set(&why, ERR_UNREACHABLE,
                      "connection lost in the middle of a frame (%zu bytes of it had arrived)",
                      buffer_size(&c->in));
    else
        (void)err_set(&why, ERR_UNREACHABLE,
                      goodbye ? "closed by the peer"
                              : "connection lost: the peer went without goodbye");
    link_destroy(c, &why);
}

/* How much longer the peer may be silent, or take for the frame that it has begun; 0: it is over, and `why` says what is. */
static uint64_t patience_ms(const struct conn *c, uint64_t now, struct err *why)
{
    const uint64_t allowed = link_frame_allowance_ms(c), idle = c->shared->options.idle_ms;
    if (c->part_since_ms != 0) {
        const uint64_t since = now - c->part_since_ms;
        if (since < allowed)
            return allowed - since;
        (void)err_set(why, ERR_TIMEOUT, "a frame began %llu ms ago and has not ended",
                      (unsigned long long)since);
        return 0;
    }
    if (idle == 0 || now - c->heard_ms < idle)
        return idle == 0 ? UINT64_MAX : c->heard_ms + idle - now;
    (void)err_set(why, ERR_TIMEOUT, "said nothing for %llu ms",
                  (unsigned long long)(now - c->heard_ms));
    return 0;
}

/* Ready, and the timer has fired: is it too late, is there something to say, when is the next moment to look? The timer comes
 * before the sockets, so when this process was stopped, what came meanwhile is heard first: who is late is looked at twice. */
static void look(struct conn *c)
{
    const struct conn_options *o = &c->shared->options;
    const uint64_t now = uv_now(o->loop);
    struct err why = ERR_NONE;
    if (c->paused || c->waits_for_room)
        c->heard_ms = now; /* nobody listens */
    uint64_t next = patience_ms(c, now, &why);
    if (next == 0 && c->doubted) {
        link_fail(c, &why);
        return;
    }
    c->doubted = next == 0;
    if (c->doubted)
        next = LINK_DOUBT_MS;
    if (o->alive_ms != 0 && now - c->said_ms >= o->alive_ms)
        link_send_alive(c);
    if (c->state != LINK_READY)
        return; /* no memory even for that */
    if (o->alive_ms != 0 && c->said_ms + o->alive_ms - now < next)
        next = c->said_ms + o->alive_ms - now;
    if (next != UINT64_MAX)
        link_deadline(c, next < o->frame_ms ? next : o->frame_ms);
}

void link_watch(struct conn *c)
{
    check(uv_timer_stop(&c->timer) == 0);
    c->heard_ms = c->said_ms = uv_now(c->shared->options.loop);
    look(c);
}

static void on_deadline(uv_timer_t *timer)
{
    struct conn *c = timer->data;
    struct err why = ERR_NONE;
    const struct conn_options *o = &c->shared->options;
    if (!link_is_open(c)) {
        link_destroy(c, NULL);
    } else if (c->state == LINK_CONNECTING && link_dial_next(c)) {
        return;
    } else if (c->state != LINK_READY) {
        static const char *const doing[] = {
            [LINK_CONNECTING] = "no answer to connecting",
            [LINK_HANDSHAKE] = "the TLS handshake did not finish",
            [LINK_HELLO] = "no hello came",
        };
        (void)err_set(&why, ERR_TIMEOUT, "%s within %u ms", doing[c->state], o->handshake_ms);
        link_fail(c, &why);
    } else {
        look(c);
    }
}

static void on_idle(uv_idle_t *idle)
{
    struct conn *c = idle->data;
    check(uv_idle_stop(idle) == 0);
    if (c->resuming) {
        c->resuming = false;
        link_dispatch(c);
        if (c->goodbye && link_is_open(c) && !c->paused)
            link_peer_gone(c, true);
        int status = link_is_open(c) && !c->paused && !c->waits_for_room ? link_read_start(c) : 0;
        if (status != 0 && status != UV_EALREADY)
            link_lost(c, status);
    }
    link_transmit(c);
    link_notify_drained(c);
}

void conn_recheck(struct conn *c, SSL_CTX *tls)
{
    struct err why = ERR_NONE;
    if (c->state == LINK_READY && tls_recheck(c->channel.ssl, tls, &why) != 0)
        link_fail(c, &why);
}

/* ---- the rest of the interface ---- */

void *conn_arg(const struct conn *c)
{
    return c->arg;
}

void conn_set_arg(struct conn *c, void *arg)
{
    c->arg = arg;
}

const struct identity *conn_identity(const struct conn *c)
{
    return &c->peer;
}

const char *conn_remote(const struct conn *c)
{
    return c->remote;
}

uint64_t conn_bytes_in(const struct conn *c)
{
    return c->bytes_in + buffer_size(&c->in);
}
