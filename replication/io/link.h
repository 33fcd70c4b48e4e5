/* What conn.c, connect.c and listener.c share: the connection object and its states. Not for others. */
#ifndef REPLICATION_IO_LINK_H
#define REPLICATION_IO_LINK_H

#include "replication/io/channel.h"
#include "replication/io/conn.h"
#include "replication/io/packer.h"

enum {
    LINK_READ_BYTES = 64 << 10,  /* one read from the socket */
    LINK_CHUNK_BYTES = 64 << 10, /* one SSL_write: four records */
    LINK_SEAL_BYTES = 256 << 10, /* of ciphertext prepared ahead of the socket */
    LINK_REMOTE_BYTES = 160,
    LINK_HALF_OPEN_MAX = 64, /* handshakes in progress on a listener, see listener.c */
    LINK_DOUBT_MS = 100,     /* between two looks at a peer that is late */
    LINK_CLOSE_MS = 1000,    /* for the last bytes and the peer's goodbye */
    LINK_SMALL_BYTES =
        4
        << 10, /* the first chunk of a queue: many connections have an answer or two to send, and no more */
    /* of chunks kept for what is sent next, by all connections of a listener, of either size */
    LINK_SPARES_BYTES = 1 << 20,
    LINK_FREE_BYTES = 64 << 10,         /* of a body that needs no room of receive_limit_bytes */
    LINK_OPERATOR_FREE_BYTES = 1 << 20, /* the same of an operator's command */
    LINK_MIN_RATE = 128, /* bytes per ms that a large frame must arrive with beyond frame_ms */
};

struct link_spares {
    struct link_chunk *first;
    size_t count;
};

/* What the connections of one listener, or one outgoing connection, have in common. Counted references. */
struct link_shared {
    unsigned refs;
    struct conn_options options; /* strings point below */
    char cluster[64];
    char name[CLIENT_NAME_MAX_BYTES + 1], software[129];
    char members[WIRE_MEMBERS_MAX_BYTES + 1];
    struct packer packer;
    struct link_spares small, large;       /* chunks for the send queues; conn_send.c */
    uint64_t room_taken;                   /* of receive_limit_bytes; conn_receive.c */
    struct conn *waits_first, *waits_last; /* for room, by `waits_next` */
    uint8_t read_buffer[LINK_READ_BYTES];
};
/* Copies the options; 0, ERR_USAGE for options that cannot work, ERR_NO_MEMORY. Starts with one reference. */
int link_shared_new(struct link_shared **out, const struct conn_options *options, struct err *e);
void link_shared_release(struct link_shared *s);

enum link_state {
    LINK_CONNECTING = 1, /* outgoing: names and TCP (connect.c) */
    LINK_HANDSHAKE,      /* TLS */
    LINK_HELLO,          /* certificate accepted here; who are we to each other? */
    LINK_READY,
    LINK_DRAINING, /* no more frames; what is queued is sent, what arrives is thrown away */
    LINK_SHUT,     /* our end is shut, waiting for the peer's */
    LINK_CLOSED,   /* handles are closing; on_closed follows */
};

struct link_chunk; /* of the send queue */

struct link_list { /* in order of arrival */
    struct conn *oldest, *newest;
    unsigned count;
};

struct conn {
    uv_tcp_t tcp;
    uv_timer_t timer; /* handshake, frame and close deadlines, one at a time */
    uv_idle_t idle;   /* active while something is to be done once per loop iteration */
    uv_write_t write;
    uv_shutdown_t shut;
    unsigned pins; /* open handles and name look-ups that still point here */

    struct link_shared *shared;
    enum link_state state;
    bool server;
    void *arg;
    char remote[LINK_REMOTE_BYTES];
    struct uuid cluster_id; /* ours, or learned from the server */
    struct identity peer;
    char expect[CLIENT_NAME_MAX_BYTES + 1]; /* name that must answer; empty: any */

    /* in */
    struct channel channel;
    struct buffer in; /* plaintext not yet delivered */
    struct frame frame;
    bool have_header;    /* `frame` is the header at the start of `in` */
    uint32_t room;       /* of receive_limit_bytes that this frame has */
    bool waits_for_room; /* and nothing is read until it has it */
    struct conn *waits_next;
    bool paused, resuming;
    bool goodbye;           /* the peer has closed; undelivered frames wait for resume */
    uint64_t part_since_ms; /* loop time since which a frame is incomplete; 0: none is */
    bool doubted;           /* it was late when the timer fired last */
    uint64_t heard_ms;      /* loop time of the last frame, or since which this end listens again */
    uint64_t bytes_in;

    /* out */
    struct link_chunk *first, *last;
    size_t queued; /* plaintext in chunks */
    struct buffer flight;
    bool writing;
    bool crowded;     /* the queue was above half of its limit: on_drained is owed */
    uint64_t said_ms; /* loop time of the last frame */
    struct packer_habit habit;

    struct err why;
    bool has_why;

    struct link_dial *dial;     /* outgoing, while connecting */
    struct listener *listener;  /* accepted */
    struct link_list *list;     /* of the listener's: where it is counted now, or NULL */
    struct conn *older, *newer; /* in that list */
};

/* A connection in LINK_CONNECTING with its handles open; `shared` gains a reference. NULL without memory. */
struct conn *link_new(struct link_shared *shared, bool server, void *arg);
/* End now, without goodbye. `why` NULL: on purpose. Nothing happens when the end has begun. */
void link_destroy(struct conn *c, const struct err *why);
/* End because of `why` and tell the peer when it can be told. The remote address is put in front. */
void link_fail(struct conn *c, const struct err *why);
/* End because the socket failed with this status of libuv; because the peer ended first, with goodbye or without. */
void link_lost(struct conn *c, int status);
void link_peer_gone(struct conn *c, bool goodbye);
bool link_is_open(const struct conn *c); /* not yet ending */
void link_move(struct conn *c, enum link_state to);
void link_wake(struct conn *c); /* call link_transmit soon, from the loop */
/* Start (or restart) the one timer. */
void link_deadline(struct conn *c, uint64_t ms);
/* Ready: begin to look for silence, of either end. */
void link_watch(struct conn *c);
/* A close callback for handles of `c` (its address in handle->data): the last one finishes the connection. */
void link_unpin(struct conn *c);

/* conn_hello.c. TCP is there: begin the TLS handshake; go on with it; the first frame has come. */
void link_secure(struct conn *c);
void link_handshake(struct conn *c);
int link_on_hello(struct conn *c, const struct frame *f, struct bytes body, struct err *why);

/* conn_send.c */
void link_transmit(
    struct conn *c); /* send what TLS and the queue hold, as far as the socket takes it */
void link_notify_drained(
    struct conn *c); /* on_drained when it is owed; not from within a call of the owner's */
void link_send_hello(struct conn *c);
void link_send_error(struct conn *c, const struct err *why);
void link_send_alive(struct conn *c);
void link_queue_clear(struct conn *c);
void link_spares_free(struct link_shared *s);

/* conn_receive.c */
int link_read_start(struct conn *c); /* 0 or a status of libuv */
void link_dispatch(struct conn *c);  /* deliver the whole frames that are in `in` */
uint64_t link_frame_allowance_ms(const struct conn *c);
void link_wait_no_more(struct conn *c); /* for room: it reads no more frames */
void link_give_room_back(struct conn *c);
/* Text from outside goes to logs and terminals: only printable ASCII. */
void link_copy_printable(char *to, size_t cap, struct bytes from);

/* connect.c. The deadline has passed: is there another address, and is it being tried now? */
bool link_dial_next(struct conn *c);
void link_dial_end(struct conn *c);  /* the connection ends while it is connecting */
void link_dial_free(struct conn *c); /* nothing of libuv's points to it any more */
/* listener.c. Admit an accepted connection whose HELLO was good, or ERR_BUSY; it ends; it is gone. Nothing to do for outgoing
 * connections. */
int listener_admit(struct conn *c, struct err *e);
void listener_on_end(struct conn *c);
void listener_on_freed(struct conn *c);

/* "host:port", "[v6]:port". Host is copied without brackets. 0 or ERR_USAGE with an example. */
enum { LINK_HOST_BYTES = 256 };
int link_endpoint(const char *endpoint, char host[LINK_HOST_BYTES], char port[6], struct err *e);
/* "127.0.0.1:40112" */
void link_address_text(const struct sockaddr *a, char out[LINK_REMOTE_BYTES]);

#endif
