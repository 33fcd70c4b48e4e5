/* Connections: frames over TLS 1.3 over TCP on a libuv loop. Used by sites among each other, by sites towards clients and by
 * the client library. All calls and callbacks are on the loop's thread.
 *
 * Life of a connection: TCP, TLS handshake, identity from the certificate, HELLO both ways (its kind and name must be those of
 * the certificate), then on_ready; frames; on_closed exactly once, after which the conn is freed by conn itself (also when it
 * never became ready). The handshake and HELLO have `handshake_ms`, a frame that has begun has `frame_ms`, and who says nothing
 * at all for `idle_ms` is cut off: a peer that has vanished, or that holds a place and does not use it. One that lives and has
 * nothing to say lets its own connection say so (`alive_ms`, FRAME_ALIVE). */
#ifndef REPLICATION_IO_CONN_H
#define REPLICATION_IO_CONN_H

#include "replication/core/frame.h"
#include "replication/core/wire.h"
#include "replication/io/tls.h"

#include <uv.h>

struct conn;

struct conn_callbacks {
    void (*on_ready)(struct conn *c, const struct wire_hello *hello);
    /* The body (decompressed) is valid during the call only. Return non-zero to close with the reason in `why`. */
    int (*on_frame)(struct conn *c, const struct frame *f, struct bytes body, struct err *why);
    /* Last call; do not use c after. `why` begins with the remote address; NULL: closed here on purpose. A FRAME_ERROR of the
     * peer with request 0 is not given to on_frame: its code and text arrive here. */
    void (*on_closed)(struct conn *c, const struct err *why);
    /* The send queue fell below half of its limit; may be NULL. */
    void (*on_drained)(struct conn *c);
};

struct conn_options {
    uv_loop_t *loop;
    SSL_CTX *tls;        /* borrowed at open, ref-counted inside: may be swapped for later ones */
    const char *cluster; /* cluster name, for the SAN check */
    /* Zero for a client or operator that does not know it: it is learned from the server. */
    struct uuid cluster_id;
    struct wire_hello hello; /* ours; strings are copied */
    unsigned accept_kinds;   /* bit (1u << enum wire_kind) of the peers welcome here */
    uint32_t max_body;       /* limit of a frame after HELLO */
    /* Of frames above 64 KiB that the connections of a listener are receiving, all together. Who has begun one that does not fit
     * is not read from until it does, in the order in which they came; one alone always fits. 0: no limit. */
    uint64_t receive_limit_bytes;
    /* Of unsent bytes; conn_send gives ERR_BUSY beyond. 64 MiB when 0. */
    uint32_t queue_limit_bytes;
    uint32_t handshake_ms; /* 5000 when 0 */
    uint32_t frame_ms;     /* 10000 when 0; a large frame has a second more for each 128 kB */
    uint32_t idle_ms; /* a ready peer of which no frame came for so long is cut off; 0: none is */
    uint32_t
        alive_ms; /* when nothing was sent for so long, FRAME_ALIVE is; less than half of the peer's idle_ms; 0: never */
    /* Ready connections of one identity on a listener; 0: no limit of its own. */
    unsigned max_per_identity;
    /* How many more ready ones a listener has when they are operators': who has taken all the others cannot keep them out. */
    unsigned more_for_operators;
    /* An accepted peer has proven who it is (conn_identity), and is not ready yet: 0, or it is refused with `why`. NULL: all may
     * come. */
    int (*admit)(const struct conn *c, struct err *why);
    int zstd_level; /* compress bodies of 512 bytes and more when > 0 */
    const struct conn_callbacks *callbacks;
};

struct listener;
/* Accepts on "host:port" (host may be an IPv6 literal in brackets; port 0 picks one). `arg` is the arg of each accepted
 * connection. ERR_EXISTS with host, port and what to do when it is in use. More than max_connections ready ones (operators:
 * and more_for_operators) are refused with ERR_BUSY. Blocks SIGPIPE in the calling thread, as does conn_connect. */
int conn_listen(struct listener **out, const struct conn_options *options, const char *endpoint,
                unsigned max_connections, void *arg, struct err *e);
int listener_port(const struct listener *l);
/* How much of receive_limit_bytes is taken, and how many connections wait for some. */
uint64_t listener_receiving_bytes(const struct listener *l);
unsigned listener_waiting(const struct listener *l);
/* New handshakes use it; established connections are rechecked (conn_recheck). */
void listener_set_tls(struct listener *l, SSL_CTX *tls);
/* From now on peers of these kinds (bits 1u << enum wire_kind) are refused with `why` once they have proven who they are; 0:
 * nobody is. Who is connected stays. */
void listener_refuse(struct listener *l, unsigned kinds, const struct err *why);
void listener_close(struct listener *l); /* frees itself when libuv is done */

/* Starts connecting; a failure arrives in on_closed, later. `expect` is the site name that must answer, or NULL. */
int conn_connect(struct conn **out, const struct conn_options *options, const char *endpoint,
                 const char *expect, void *arg, struct err *e);

/* Queue one frame; the pieces of the body are copied or compressed before it returns. 0; ERR_BUSY above the limit of the queue
 * (on_drained will follow); ERR_UNREACHABLE when the connection is not ready or closing; ERR_LIMIT; ERR_NO_MEMORY (it closes). */
int conn_send(struct conn *c, enum frame_type type, struct term term, uint64_t request,
              const struct bytes *pieces, size_t n, struct err *e);
size_t conn_queued_bytes(const struct conn *c);
/* Begin to close; `why` is given to on_closed (NULL: closed here on purpose) and, when it can be, to the peer. Sends what is
 * queued, for at most a second. */
void conn_close(struct conn *c, const struct err *why);
/* End now: nothing more is sent, not even `why`, which only on_closed gets. What is queued is given back within this turn of the
 * loop. For a peer that does not read. */
void conn_cut(struct conn *c, const struct err *why);
/* The TLS files were loaded anew: close the connection, with the reason, if its peer is no longer trusted (revoked, or its CA is
 * gone). Expiry is not looked at: it is checked when a connection begins. */
void conn_recheck(struct conn *c, SSL_CTX *tls);
/* Stop and resume reading (back-pressure). */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

void *conn_arg(const struct conn *c);
void conn_set_arg(struct conn *c, void *arg);
const struct identity *conn_identity(const struct conn *c); /* after on_ready */
const char *conn_remote(const struct conn *c);              /* "127.0.0.1:40112" */
/* Of TLS payload, after compression; of a frame that is still coming, as much as has come. */
uint64_t conn_bytes_in(const struct conn *c);

#endif
