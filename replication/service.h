/* Private to replication/service*.c and admin.c: clients of this site and who waits for what. */
#ifndef REPLICATION_SERVICE_H
#define REPLICATION_SERVICE_H

#include "replication/core/orders.h"
#include "replication/core/warrant.h"
#include "replication/io/cosign.h"
#include "replication/site_parts.h"

enum {
    CLIENT_SNAPSHOTS_MAX = 16,
    /* of all clients: the state allows 512 readers, and requests, the archive and checkpoints need some, too */
    SNAPSHOTS_MAX = 384,
    ANSWERS_MIN_BYTES = 64 << 20, /* what one connection may have queued (conn.h) */
    OPERATORS_MORE = 8,           /* connections beyond max_clients, to ask why it is full */
    WAITERS_MAX = 1 << 20,
    PARKED_MAX = 65536,
    PARKED_MS = 10000, /* a parked read is answered with an error after this long */
    SERVICE_LATER = 1, /* neither 0 nor an error: somebody else answers, when it is time */
};

struct client {
    struct service *service;
    struct conn *conn; /* NULL: closed, kept for those who still refer to it */
    uint32_t references;
    char name[CLIENT_NAME_MAX_BYTES + 1];
    enum wire_kind kind;
    struct uuid session;  /* opened or resumed on this connection; zero: none */
    bool cut;             /* it does not read; on_closed follows */
    bool fenced;          /* it was resumed on another one */
    struct {              /* service_session.c */
        struct term term; /* in which it is true; 0: nothing is known */
        struct lsn from;  /* what was logged up to here is looked up in the state */
        uint64_t newest;  /* sequence that was logged; of all if `whole`, else since `from` */
        bool whole;
    } known;                    /* of `session` */
    struct client *next, *prev; /* all clients */
    struct {
        uint64_t id; /* 0: free */
        struct state_snapshot
            *snap; /* NULL: it was closed here, and its client does not know yet */
        uint64_t opened_ms;
    } snapshots[CLIENT_SNAPSHOTS_MAX];
};

/* Somebody waits until `lsn` reaches a level. */
struct waiter {
    struct client *client;
    uint64_t request;
    enum frame_type type; /* of the request */
    struct lsn lsn;
    struct term term;
    struct utc time;
    struct uuid session;      /* SESSION_OPEN */
    int32_t failed_condition; /* >= 0: the answer is that this condition failed */
    bool repeated;
    bool declares, created;  /* ADMIN: say whether an index was not there before */
    bool exists;             /* failed condition: the record was there ... */
    struct lsn version;      /* ... with this version */
    enum wire_key_state key; /* OUTCOME_BY_KEY */
    struct err *refused;     /* owned; the answer is this, once lsn is committed. NULL: it is not */
};

struct
    waiters { /* a ring, in order of arrival: nobody overtakes, so a repeated transaction may wait a little longer */
    struct waiter *ring;
    uint32_t capacity, head, count;
};

/* A request that cannot be answered yet: kept whole and tried again. */
struct parked {
    struct client *client;
    struct frame frame;
    uint8_t *body;
    size_t bytes;
    uint64_t until_ms;
    struct lsn
        need; /* the state must be here: decided when it came, so that later writes do not move it on */
    struct parked *next;
};

/* Answer to a scan, as far as it is made. */
struct scan_page {
    struct writer w; /* on the service's buffer */
    uint32_t count;
    enum wire_more more;
};

struct watches;        /* service_watch.c */
struct uniques;        /* service_unique.c */
struct keys;           /* service_idempotency.c */
struct declared_ahead; /* admin.c */
int admin_require_serving(struct site *s, struct err *e);
/* May it be ordered to become primary? Not asked here: may it stand (driver_may_stand)? */
int admin_may_fail_over(const struct site *s, struct err *e);

/* admin_divergence.c: log what was decided about a bundle. As admin_command. */
int admin_divergence(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                     struct err *e);

/* past.c: the versions of a record, from the archive. As admin_command. */
int past_ask(struct site *s, struct client *c, uint64_t request, json_t *arguments, struct err *e);

struct service {
    struct site *site;
    struct client *clients;
    struct client nobody; /* stands for connections that are not ready yet */
    uint32_t client_count;
    uint64_t next_snapshot;
    uint32_t snapshot_count;               /* open, of all clients */
    struct waiters waiters[LEVEL_ALL + 1]; /* by the level to be answered at; none at LEVEL_MODE */
    struct parked *parked_first, **parked_last;
    uint32_t parked_count;
    uint64_t parked_bytes;
    const struct parked *trying; /* the parked request that is being tried again, or NULL */
    bool paused;                 /* clients are not read: too much is in flight */
    struct lsn seen_applied;     /* when parked requests were last tried */
    bool seen_ready;
    uint64_t expired_ms; /* when idle sessions were last looked for */
    uv_timer_t housekeeping;
    uint8_t *out; /* answers are built here */
    size_t out_capacity;
    struct {
        struct client *client;
        uint64_t request, began_ms, stopped_ms; /* ordered; no write is taken since */
        bool active;
        struct lsn lsn; /* the last one of this primary */
        uint8_t to;
    } switchover;
    struct {
        struct client *client;
        uint64_t request, until_ms;
        bool active;
        uint8_t from;    /* the primary that was heard last, or REPL_NOBODY */
        json_t *warrant; /* to go on alone, as a string; NULL: an ordinary failover */
    } failover;
    struct orders orders;                  /* of operators: carried out, or under way */
    struct watches *watches;               /* NULL: there was none yet */
    struct uniques *uniques;               /* NULL: not primary, or nothing was written yet */
    struct keys *keys;                     /* NULL: none was looked for yet */
    struct declared_ahead *declared_ahead; /* NULL: none was */
    size_t declared_ahead_count;
    uint64_t answered_bytes;                      /* since what is queued was looked at */
    uint64_t committed, failed_conditions, reads; /* since start */
};

/* service_client.c */
struct client *client_ref(struct client *c);
void client_unref(struct client *c);
/* service.c */
void service_reply(struct client *c, enum frame_type request_type, uint64_t request,
                   struct bytes body);
void service_error(struct client *c, uint64_t request, const struct err *why);
void service_error_details(struct client *c, uint64_t request, const struct wire_error *error);
void service_reply_json(struct client *c, uint64_t request,
                        json_t *reply);                                  /* takes the reference */
uint8_t *service_buffer(struct service *v, size_t bytes, struct err *e); /* for one answer */
/* Keep the request until the state is at `need`; ERR_BUSY when too many are kept. One that is kept again keeps its place in
 * time. */
int service_park(struct client *c, const struct frame *f, struct bytes body, struct lsn need,
                 struct err *e);

/* Everything in the log counts, whether committed or not. */
#define SERVICE_NEWEST ((struct lsn){UINT64_MAX})
/* service_read.c: so the newest record is in flight or applied. 0 or ERR_NOT_FOUND. */
int service_newest(struct site *s, struct bytes collection, struct bytes key, struct record *out,
                   struct err *e);

/* service_write.c */
/* Is there room for one more to wait at that level? Asked before anything is written, so that no write is refused after it
 * was logged. */
int service_room_to_wait(struct client *c, enum level asked, struct err *e);
void service_wait(struct client *c, enum level asked,
                  const struct waiter *w); /* needs room; may answer at once */
/* Is this site the one to ask for a write? 0: yes. SERVICE_LATER: it will be, and the request is parked until then. */
int service_require_primary(struct client *c, const struct frame *f, struct bytes body,
                            struct err *e);
/* Log an entry with this body; fills lsn, term and time of `out`. */
int service_propose(struct site *s, enum entry_kind kind, struct writer *body, struct waiter *out,
                    struct err *e);
int service_txn(struct client *c, const struct frame *f, struct bytes body, struct err *e);
/* Is the transaction here, but neither logged nor refused yet? */
bool service_txn_parked(const struct service *v, const struct uuid *session, uint64_t sequence);
/* The answer is about the history up to now, and waits until that is committed. `refused` (NULL: not so): it is that error. */
int service_answer_without_writing(struct client *c, const struct frame *f, struct bytes body,
                                   struct waiter *w, const struct err *refused, struct err *e);
void service_answer_waiters(struct service *v);
/* The site stops: those whose orders are logged and not answered are told so. */
void service_tell_operators(struct service *v);
void service_drop_waiters(struct service *v);

/* service_idempotency.c */
/* What is known of the transaction's key? 0 and *found: `w` has the outcome of the first with it. ERR_KEY_USED: it stands for
 * another, or was given up; the answer is to wait for what is logged. ERR_LIMIT: one more is too many. */
int service_key_look(struct client *c, const struct wire_txn *txn, struct waiter *w, bool *found,
                     struct err *e);
/* The operation that keeps the key, as it stands in an entry's body. */
void service_key_write(struct writer *body, const struct client *c, const struct wire_txn *txn,
                       enum level level);
void service_key_logged(struct client *c);
int service_outcome_by_key(struct client *c, const struct frame *f, struct bytes body,
                           struct err *e);
/* Remove keys that are too old, and count those of each client, a little at a time. Often; cheap. */
void service_keys_progress(struct service *v);
void service_keys_free(struct service *v);

/* service_session.c */
/* Is (session, sequence) certainly not logged yet, and the session open and the client's own? */
bool session_is_new(const struct client *c, const struct uuid *session, uint64_t sequence);
/* The session was checked and claimed: know more of it. */
int session_learn(struct client *c, struct err *e);
void session_logged(struct client *c, const struct uuid *session, uint64_t sequence);
void session_forget(struct service *v, const struct uuid *session); /* it ends */
/* service_entries.c */
/* Is the session open, and the caller's? Looks in flight first. */
int service_check_session(struct client *c, const struct uuid *session, struct err *e);
void service_claim_session(struct client *c, const struct uuid *session);
int service_session_open(struct client *c, const struct frame *f, struct bytes body, struct err *e);
int service_session_close(struct client *c, const struct frame *f, struct bytes body,
                          struct err *e);
int service_point(struct client *c, const struct frame *f, struct bytes body, struct err *e);
/* An operator's order that changes the list of members. */
int service_members(struct client *c, uint64_t request, const char *what, json_t *arguments,
                    struct err *e);
int service_mode(struct client *c, uint64_t request, enum commit_mode mode, struct err *e);
/* What an operator does, for the audit trail; `details` is JSON. */
int service_propose_audit(struct site *s, const struct client *c, const char *act,
                          const char *details, struct waiter *w, struct err *e);
/* The same, and an event, for who does not wait for it: the event says when it is not in the trail. Takes `details`. */
void service_audit(struct site *s, const struct client *c, const char *act, json_t *details);
void service_expire_sessions(struct service *v);

/* warrants.c */
#define WARRANTS_COLLECTION "_warrants" /* those that were carried out, by nonce: the files */
struct site_warrant {
    struct bytes file; /* the caller's */
    struct cosigned by;
    struct warrant says; /* views into by.text */
};
/* Read a warrant and see that it may be carried out here and now: two operators of this cluster have signed it, it is for this
 * act and cluster, and neither expired nor used. Codes of cosign_open, warrant_read and warrant_admit; ERR_EXISTS: it was used.
 * Its facts are for the caller to look at. Release with warrants_close, on success. */
int warrants_open(struct site *s, struct bytes file, const char *act, struct site_warrant *out,
                  struct err *e);
void warrants_close(struct site_warrant *w);
/* The same, but one that was used is opened, too, and *used is where; 0: it was not. For acts that go on after an
 * interruption. */
int warrants_open_again(struct site *s, struct bytes file, const char *act,
                        struct site_warrant *out, struct lsn *used, struct err *e);
enum { WARRANT_BY_BYTES = COSIGN_SIGNERS_MAX * (CLIENT_NAME_MAX_BYTES + 5) };
/* "asha and ravi", for lists of members and the audit trail. */
void warrants_names(const struct site_warrant *w, char *out, size_t n);
/* Log that it is used, file and all, at the primary; `out` tells the lsn, before which it must not be said to be done. */
int warrants_spend(struct site *s, const struct site_warrant *w, struct waiter *out, struct err *e);

/* custody.c */
/* {"warrant": file}: a hold, a release or a disposal is logged, and by that in force. As admin_command. */
int custody_command(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                    struct err *e);
/* What is in force, and, at the archive's site, how far it is carried out. */
int custody_status(struct site *s, json_t **reply, struct err *e);

/* solo.c */
/* {"warrant": file}: this site goes on alone. As admin_command. */
int solo_command(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                 struct err *e);
void solo_done(struct site *s, const struct client *c); /* it does */
void solo_forget(struct service *v);                    /* it does not */

/* putback.c */
/* {"warrant": file}: records of the past may be put back; answered when the warrant is in the log. As admin_command. */
int putback_command(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                    struct err *e);

/* service_read.c */
int service_get(struct client *c, const struct frame *f, struct bytes body, struct err *e);
int service_scan(struct client *c, const struct frame *f, struct bytes body, struct err *e);
/* One more record, behind it the token if there is one. 0; 1: the page is full, the record is not in it; or an error. */
int service_scan_add(struct service *v, const struct wire_scan *m, const struct record *r,
                     struct bytes token, struct scan_page *page, struct err *e);
int service_snapshot_open(struct client *c, const struct frame *f, struct bytes body,
                          struct err *e);
int service_snapshot_close(struct client *c, const struct frame *f, struct bytes body,
                           struct err *e);
int service_outcome(struct client *c, const struct frame *f, struct bytes body, struct err *e);
void client_close_snapshots(struct client *c, uint64_t older_than_ms);
/* When the oldest that is open was opened; UINT64_MAX: none is. */
uint64_t service_oldest_snapshot_ms(const struct service *v);

/* service_index.c */
/* index-create, index-drop, index-list. As admin_command. */
int service_index_command(struct site *s, struct client *c, uint64_t request, struct bytes command,
                          json_t *arguments, json_t **reply, struct err *e);
/* Log the declaration of an index anew, by the site itself. ERR_BUSY: it is changing at this moment. */
int service_index_declare(struct site *s, struct bytes collection, struct bytes name,
                          const struct index_declaration *d, struct err *e);
/* Records of a scan by an index, each with its token, until the limit, the size bound or the end. */
int service_index_scan(struct service *v, struct state_snapshot *snap, const struct wire_scan *m,
                       struct scan_page *page, struct err *e);

/* service_unique.c */
/* Do the collections' indexes allow the transaction? 0: its values are claimed, until service_unique_written. ERR_UNIQUE:
 * another record has a value; the answer is to wait for what is logged. SERVICE_LATER: the request is parked. ERR_LIMIT: its
 * weight.
 * ERR_NOT_READY: it cannot be told yet; and other errors. */
int service_unique_check(struct client *c, const struct frame *f, struct bytes body,
                         const struct wire_txn *txn, struct err *e);
/* It was logged; or, with lsn 0, it was not. */
void service_unique_written(struct service *v, struct lsn lsn);
/* Take unique indexes that are built from tracked to enforced. Often; cheap. */
void service_unique_progress(struct service *v);
void service_unique_forget(struct service *v); /* not primary any more, or not yet */

/* service_watch.c */
int service_watch_open(struct client *c, const struct frame *f, struct bytes body, struct err *e);
int service_watch_credit(struct client *c, struct bytes body, struct err *e);
int service_watch_close(struct client *c, const struct frame *f, struct bytes body, struct err *e);
void service_watch_progress(struct service *v); /* the commit index may have moved */
void service_watch_drop(struct client *c);      /* its connection is gone */
void service_watch_stop(struct service *v);

#endif
