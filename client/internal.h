/* Private to libtriveni: the handle, its requests, its routes. See README.md for the way of a request through the files.
 *
 * Threads. Two kinds of data: what `tvn.lock` guards (said below), and what belongs to the I/O thread alone. A request
 * belongs to its caller until client_submit, to the I/O thread until client_finish, then to who completes it. No callback of
 * the application runs under the lock. */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include "client/triveni.h"
#include "replication/core/wire.h"
#include "replication/io/conn.h"
#include "store/core/check.h"
#include "store/core/err.h"

#include <pthread.h>
#include <sys/types.h>
#include <uv.h>

enum {
    CLIENT_WINDOW = 1024, /* requests in flight; as many results as the sites keep for a session */
    CLIENT_WINDOW_BYTES = 64 << 20,
    CLIENT_TIMEOUT_MS = 10000,
    CLIENT_TIMEOUT_MAX_MS = 7 * 24 * 3600 * 1000,
    CLIENT_ENDPOINT_BYTES = 304,    /* as long as an endpoint may be on the wire, and a NUL */
    CLIENT_SPARE_BODY_BYTES = 2048, /* most requests are smaller */
    CLIENT_SPARES = CLIENT_WINDOW,  /* kept by a handle: as many as can be in flight, 3 MiB */
    CLIENT_TXN_HEADER_BYTES = 16 + 8 + 1 + 4 + 4,
};

/* ---- configuration: uri.c ---- */

struct config {
    char endpoints[TVN_ENDPOINTS_MAX][CLIENT_ENDPOINT_BYTES];
    uint32_t endpoint_count;
    char *ca, *cert, *key, *crl; /* owned */
    char cluster[64];
    struct uuid id;
    enum tvn_target target;
    enum level level;
    uint32_t timeout_ms;
    uint32_t window;
    uint64_t window_bytes;
    struct uuid session;
    uint64_t next_sequence;
    bool warm; /* keep a second connection, idle, to a site that may be the next primary */
    bool poll;
    void (*on_event)(void *arg, const char *text);
    void *on_event_arg;
};
/* Merge URI and options (which win), check them, apply defaults. 0 or ERR_USAGE with the part that is wrong. Release
 * with client_config_deinit in any case. */
int client_config_init(struct config *c, const char *uri, const struct tvn_options *options,
                       struct err *e);
void client_config_deinit(struct config *c);

/* ---- requests: request.c ---- */

struct list {
    struct request *head, *tail;
};

struct request {
    struct request *prev, *next; /* in `in`: inbox, a route's waiting, a link's sent, or done */
    struct list *in;
    struct request *older, *newer; /* all that have not completed, by order; lock */
    enum frame_type type;
    bool primary;    /* needs the primary, whatever the handle's target */
    uint64_t number; /* on the wire: order and slot */
    uint64_t order;  /* of submission */
    uint64_t deadline_ms;
    uint64_t link;        /* snapshots: number of the only link that will do; otherwise 0 */
    struct uuid session;  /* TXN: under which it was sent */
    uint64_t sequence;    /* TXN: lock, because a new session renumbers */
    bool keyed;           /* TXN: it has an idempotency key, and may be run under any session */
    unsigned attempts;    /* how often it was sent */
    struct link *sent_on; /* it is there, unanswered */
    bool doubtful;        /* an attempt ended without an answer */
    enum wire_key_state key_state; /* OUTCOME_BY_KEY: the answer */
    int refused;                   /* code of the last answer that led to another attempt */

    struct tvn_error error;
    struct tvn_result result;
    struct tvn_records *records;
    size_t records_bytes;
    bool by_index; /* scans */
    bool more;     /* ... there is a next page */
    struct bytes
        after; /* ... that goes on after this key, in `records`; empty: after the last record */
    const struct tvn_bytes *tokens; /* ... by an index: of each record, in `records` */
    uint64_t snapshot; /* SNAPSHOT_OPEN: its id at the site, and the link that it lives on */
    uint64_t snapshot_link;
    char *json;

    bool sync; /* somebody waits for `completed` on `wake`; lock */
    bool completed;
    pthread_cond_t wake;
    tvn_on_done on_done;
    tvn_on_records on_records;
    void *arg;

    size_t size; /* of the body */
    bool large;  /* made for this body alone: not kept */
    uint8_t body[];
};

void client_list_push(struct list *l, struct request *r);
void client_list_insert(struct list *l, struct request *r); /* by order, beginning at the head */
void client_list_remove(struct request *r);                 /* from the list that it is in */

/* A request with room for a body of `size`: one of the handle's spare ones when that is at most CLIENT_SPARE_BODY_BYTES. NULL: no
 * memory. Any thread, without the lock. */
struct request *client_request_new(struct tvn *db, enum frame_type type, size_t size);
/* NULL is allowed. Any thread, without the lock. */
void client_request_free(struct tvn *db, struct request *r);
void client_spares_free(struct tvn *db);

/* Give the request to the I/O thread. It is taken if and only if 0 is returned. `wait`: for room in the window, until the
 * deadline; otherwise ERR_BUSY at once. timeout_ms 0: the handle's. */
int client_submit(struct tvn *db, struct request *r, uint32_t timeout_ms, bool wait, struct err *e);
/* Submit and wait for completion: 0 or the code of r->error. ERR_USAGE on the I/O thread. The request stays the
 * caller's: read the answer, then client_release. */
int client_call(struct tvn *db, struct request *r, uint32_t timeout_ms, struct tvn_error *error);
/* I/O thread: the answer is in the request (error.code 0: success); complete it. */
void client_finish(struct tvn *db, struct request *r);
/* I/O thread: complete with a failure. The outcome follows from the code and from `doubtful`. */
void client_fail(struct tvn *db, struct request *r, const struct err *why);
/* Give room in the window back (if it was taken) and free. NULL is allowed. */
void client_release(struct tvn *db, struct request *r);
/* Run the callbacks of up to `max` (0: all) completions that wait. */
size_t client_drain(struct tvn *db, size_t max);
/* I/O thread: it is on no link any more. */
void client_request_unsend(struct tvn *db, struct request *r);

/* ---- sessions: session.c; I/O thread ---- */

enum session_state {
    SESSION_NONE = 0, /* none is open; the next transaction opens one */
    SESSION_OPENING,  /* asked for on the link `opening` */
    SESSION_KNOWN,    /* resumed on each new link before anything that names it */
    SESSION_DRAINING, /* expired; a new one follows when the transactions under way have been answered */
    SESSION_DEAD, /* expired, and the application's: every write fails */
};

struct session {
    enum session_state state;
    struct uuid id;         /* lock */
    uint64_t next_sequence; /* lock */
    bool pinned;            /* the application knows it: lock */
    bool
        in_doubt; /* an unknown outcome was reported: it may be asked for, so the session is not closed */
    uint64_t opening; /* number of a link */
    uint32_t sent;    /* transactions on links, unanswered */
};

struct route;
struct link;
/* May transactions go out on the link now? Opens or resumes the session as needed. */
bool client_session_ready(struct tvn *db, struct link *l);
/* The answer to what client_session_ready sent. */
void client_session_opened(struct tvn *db, struct link *l, const struct wire_session *answer);
void client_session_refused(struct tvn *db, struct link *l, const struct wire_error *answer);
void client_session_expired(struct tvn *db);
void client_session_link_lost(struct tvn *db, const struct link *l);
void client_session_tick(struct tvn *db);
void client_session_end(struct tvn *db); /* tell the primary, when the session is ours alone */

/* ---- routes: seek.c (which site), route.c (traffic), answer.c (frames that come in); I/O thread ---- */

/* One connection, ready or on its way. */
struct link {
    struct link *next;
    struct route *route;
    struct conn *conn;
    uint64_t number;       /* never used twice in a handle */
    uint32_t endpoint_bit; /* in route.tried */
    char endpoint[CLIENT_ENDPOINT_BYTES];
    char site[64]; /* after on_ready */
    bool ready;
    bool proved; /* its site is what the route looks for; until then it gets one request */
    bool
        spare; /* ready, but the primary, where a standby is wanted: taken when there is nothing else */
    bool retiring; /* gets nothing new; closed when its requests are answered */
    bool dropped;  /* conn_close was called; only on_closed is to come */
    uint64_t retire_at_ms;
    struct list sent;
    bool session_sent, session_confirmed;
    uint32_t watches;  /* on it */
    uint64_t bytes_in; /* when last looked at */
    uint64_t bytes_queued;
    uint64_t heard_ms; /* when either last moved */
    uint64_t probe_ms; /* when the open probe was sent, 0: none */
};

/* The way to one kind of site. */
struct route {
    struct tvn *db;
    enum tvn_target target;
    bool wanted; /* there was a reason to connect */
    struct list waiting;
    struct link *links;
    struct link *active;
    struct link *warm;        /* idle, or on its way to be; to another site than `active` */
    uint64_t warm_at_ms;      /* when the next may be made; 0: once `active` has proved itself */
    uint32_t warm_backoff_ms; /* after one that failed */
    uint32_t warm_same;       /* endpoints that led to the primary's own site */
    uint32_t tried;           /* endpoints tried in this round: bit i, and HINT_BIT */
    uint32_t first;           /* endpoint that the next round begins with */
    char hint[CLIENT_ENDPOINT_BYTES]; /* where the primary is said to be; empty: unknown */
    uint64_t step_at_ms;              /* when to try the next endpoint; 0: not planned */
    bool resting;                     /* between two rounds */
    uint64_t hold_until_ms;           /* nothing is sent before: the site was busy */
    uint32_t backoff_ms;              /* between rounds, and after BUSY */
    uint32_t ready, denied, others;   /* how this round's attempts ended */
    bool reached;                     /* a site was ready in this or the last round */
    struct err why;                   /* the last failure to connect */
    char
        said[ERR_TEXT_BYTES]; /* why a site that answered is not the primary; empty: none said so */
};

enum { BACKOFF_MIN_MS = 10, BACKOFF_MAX_MS = 1000 };
#define HINT_BIT (1u << 31)

/* seek.c */
void client_route_want(struct route *rt); /* there is something to send */
void client_link_proved(struct link *l);  /* its site does what the route is for */
/* The primary is at `endpoint` (may be empty: unknown): leave the active link for it. */
void client_route_redirect(struct route *rt, struct bytes endpoint, bool fresh);
/* The link's site refused as not the primary, or as one that cannot act as it now: remember what it said, and go on. */
void client_not_primary(struct link *l, const struct wire_error *m);
void client_route_seek(struct route *rt, uint64_t now_ms);
void client_warm_tick(struct route *rt, uint64_t now_ms);
uint64_t client_warm_due_ms(const struct route *rt);
void client_link_retire(struct link *l);
void client_link_drop(struct link *l, const struct err *why);
/* route.c */
void client_route_hold(struct route *rt); /* the site was busy: send nothing for a while */
void client_route_tick(struct route *rt, uint64_t now_ms);
uint64_t client_route_due_ms(const struct route *rt);
void client_route_requeue(struct route *rt, struct request *r); /* send it again, in its turn */
/* Requeue what was on it, or fail it with the reason (NULL: none was given). */
void client_link_lost(struct link *l, const struct err *why);
void client_route_fail_waiting(struct route *rt, enum frame_type type, const struct err *why);
/* answer.c */
int client_answer_frame(struct link *l, const struct frame *f, struct bytes body, struct err *why);

/* ---- the handle: handle.c ---- */

enum { SLOT_BITS = 10 };
_Static_assert(1 << SLOT_BITS == CLIENT_WINDOW, "a slot per request in flight");
/* Request numbers of the library itself. */
#define NUMBER_SESSION ((uint64_t)1 << 63)
#define NUMBER_PROBE (NUMBER_SESSION + 1)
#define NUMBER_IGNORED (NUMBER_SESSION + 2)
#define NUMBER_WATCH                                                                               \
    ((uint64_t)1 << 62) /* and a number of its own, for each time that one is opened */

struct tvn {
    struct config config;
    struct identity identity;
    pid_t pid;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t async;
    uv_timer_t timer;
    uv_prepare_t prepare;
    int fd; /* eventfd, or -1 */

    pthread_mutex_t lock;
    pthread_cond_t room; /* in_flight fell, or something is done */
    struct list inbox, done;
    struct request *spares; /* by `next`, to be used again */
    uint32_t spare_count;
    struct request *oldest, *newest; /* of all that have not completed */
    struct request *oldest_txn;      /* of these; NULL: none */
    uint32_t in_flight;
    uint64_t in_flight_bytes;
    uint64_t orders;
    size_t done_bytes; /* of answers in `done` */
    unsigned polling;  /* threads inside tvn_poll */
    bool closing;
    uint64_t token;
    uint64_t connects, resent;
    struct wire_primary_news {
        struct term term;
        char site[64];
        char endpoint[CLIENT_ENDPOINT_BYTES];
    } primary_news;
    struct tvn_watch *watches; /* the newest first; only the I/O thread takes one out */
    char reader_site[64], reader_endpoint[CLIENT_ENDPOINT_BYTES];
    struct session session;

    /* I/O thread */
    SSL_CTX *tls;
    struct route primary, other;
    struct route *reader; /* one of the two */
    struct request *slots[CLIENT_WINDOW];
    uint16_t free_slots[CLIENT_WINDOW];
    uint32_t free_count;
    uint64_t next_deadline_ms; /* not after the earliest deadline of all in `slots` */
    uint64_t links, watch_numbers;
    uint64_t random;
    bool paused; /* too many answers wait for tvn_poll */
    bool ended;
};

uint64_t client_now_ms(void);
/* Why the deadline passed for what was sent on `sent_on`, or was not sent. */
void client_late(const struct route *rt, const struct link *sent_on, struct err *e);
uint64_t client_jitter(struct tvn *db, uint64_t ms); /* half of it to one and a half */
void client_reload_tls(
    struct tvn *db); /* certificates may have been renewed; keeps the old ones on failure */
void client_event(struct tvn *db, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void client_wake(struct tvn *db);
void client_saw(struct tvn *db, uint64_t lsn); /* raise the token */
/* May this thread use the handle? ERR_USAGE after a fork, and on the I/O thread when the call waits. */
int client_check(const struct tvn *db, bool waits, struct err *e);

/* ---- watches: watch.c; I/O thread ---- */

void client_watch_tick(struct tvn *db, uint64_t now_ms);
uint64_t client_watch_due_ms(struct tvn *db);
void client_watch_link_lost(struct link *l);
void client_watch_fail_all(struct tvn *db, const struct err *why); /* those without a link */
void client_watch_end(struct tvn *db);                             /* the handle is being closed */
/* The answer to what opened one; what a site tells of one. */
int client_watch_answer(struct link *l, const struct frame *f, struct bytes body, struct err *why);
int client_watch_push(struct link *l, const struct frame *f, struct bytes body, struct err *why);

/* ---- errors: error.c ---- */

/* Fill `out` (may be NULL) from `e`; returns e's code. */
int client_error_set(struct tvn_error *out, const struct err *e, enum tvn_outcome_kind outcome);
void client_error_none(struct tvn_error *out);

/* ---- reads: read.c, calls.c ---- */

void client_snapshot_place(const struct tvn_snapshot *s, uint64_t *id, uint64_t *link);

/* Decode the answer of a GET or SCAN into r->records. */
int client_read_answer(struct request *r, struct bytes body, struct err *e);

#endif
