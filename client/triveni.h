/* libtriveni: the embedded client of Triveni, a replicated store for records that must not be lost.
 *
 *     struct tvn *db;
 *     struct tvn_error error;
 *     if (tvn_open("triveni://dc:7400,dr:7400,gsr:7400/?id=...&ca=ca.pem&cert=app.pem&key=app.key",
 *                  NULL, &db, &error) != 0) ...
 *     tvn_put(db, "titles", tvn_str("AB-12"), tvn_str("{\"owner\":\"Asha\"}"), NULL, &error);
 *     tvn_close(db);
 *
 * WHAT TO KNOW FIRST
 *
 * Errors. Functions that return int give 0 or a negative code of enum tvn_code and fill the caller's
 * `struct tvn_error` (which may be NULL). After a failed write look at its `outcome`: TVN_NOT_DONE means that the
 * transaction has not taken effect and never will; TVN_UNKNOWN means that nobody told us in time: ask
 * tvn_outcome() before you do anything twice.
 *
 * Once. Every transaction travels as (session, sequence). The library opens the session at the first write, numbers the
 * transactions, and after a lost connection or a failover sends every unanswered one again under its old number, so that
 * it takes effect at most once. To keep that promise across a restart of your process, keep the session (tvn_session())
 * and the number of what was unanswered, and give both back in tvn_options; or give transactions keys of your own
 * (tvn_txn_set_idempotency_key()), for which nothing has to be kept but the key.
 *
 * Deadlines. Every call and every submitted request has one: its own or the handle's (10 s unless set). Until then
 * the library looks for a primary, reconnects and retries by itself; a handle opens also while no site can be reached.
 *
 * Threads. A handle, a snapshot: any thread, any number at once. A transaction, a scan, a watch: one thread at a time.
 * Each handle has one I/O thread, which runs with all signals blocked; the library installs no signal handler, changes no
 * signal disposition of the process (SIGPIPE included), keeps no global state of its own, and never calls exit().
 *
 * Fork. After fork() the child must not use nor close a handle of the parent: its calls fail with TVN_USAGE.
 * Open the handles that the child needs after the fork. Descriptors are close-on-exec.
 *
 * Exit. Close your handles before exit(): OpenSSL is taken down there, and the I/O threads use it.
 *
 * Memory. What you pass in stays yours and may be freed when the call returns. What the library gives out is freed with
 * the function that its comment names. At most max_in_flight requests and max_in_flight_bytes of their bodies are held. */
#ifndef TRIVENI_H
#define TRIVENI_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TVN_VERSION_MAJOR 0
#define TVN_VERSION_MINOR 1
#define TVN_VERSION_PATCH 0

/* "0.1.0": of the library that is loaded, which may be newer than this header. */
const char *tvn_version(void);

/* ---- limits; the sites enforce the same ---- */
#define TVN_KEY_MAX_BYTES 480
#define TVN_COLLECTION_MAX_BYTES 64
#define TVN_VALUE_MAX_BYTES (16u << 20)
#define TVN_TXN_MAX_OPS 65536u
#define TVN_POINT_NAME_MAX_BYTES 128
#define TVN_IDEMPOTENCY_KEY_MAX_BYTES 64
#define TVN_ENDPOINTS_MAX 8

/* ---- bytes ---- */

/* A view of somebody's memory; {NULL, 0} is empty. */
struct tvn_bytes {
    const void *data;
    size_t size;
};

static inline struct tvn_bytes tvn_view(const void *data, size_t size)
{
    struct tvn_bytes b;
    b.data = data;
    b.size = size;
    return b;
}

/* Of a C string, without its NUL; NULL is empty. */
static inline struct tvn_bytes tvn_str(const char *text)
{
    return tvn_view(text, text == NULL ? 0 : strlen(text));
}

/* ---- errors ---- */

/* Stable: values are never reused. The number beside each is the exit code of the command line
 * (tvn_exit_code). */
enum tvn_code {
    TVN_OK = 0,                /* 0 */
    TVN_FAILED = -1,           /* 1: see the text */
    TVN_USAGE = -2,            /* 2: a wrong argument; nothing was sent */
    TVN_NOT_FOUND = -3,        /* 3: no such record, point, session ... */
    TVN_UNREACHABLE = -4,      /* 4: no site could be reached before the deadline */
    TVN_TIMEOUT = -5,          /* 4: no answer before the deadline */
    TVN_CONDITION = -6,        /* 5: a condition did not hold, nothing was changed */
    TVN_NOT_PRIMARY = -7,      /* 6: sites answered, none was primary in time */
    TVN_INTEGRITY = -8,        /* 7: stored data is damaged */
    TVN_DENIED = -9,           /* 8: certificate or role does not permit it */
    TVN_OUTCOME_UNKNOWN = -10, /* 9: a write was sent and not answered in time */
    TVN_IO = -11,              /* 1: input or output failed */
    TVN_NO_SPACE = -12,        /* 1: a site's disk limit is reached; reads go on */
    TVN_NO_MEMORY = -13,       /* 1 */
    TVN_LIMIT = -14,           /* 2: too large; the text has the size and the limit */
    TVN_FORMAT = -15,          /* 7: bytes that are not what they should be */
    TVN_BUSY = -16,            /* 1: the window of requests in flight is full */
    TVN_EXISTS = -17,          /* 1: it is there already */
    TVN_SESSION_EXPIRED = -18, /* 1: it has ended; nothing was run a second time */
    TVN_GAP = -19,             /* 1: that part of the log is gone */
    TVN_CONFIG = -20,          /* 2: the configuration is wrong */
    TVN_CANCELLED = -21,       /* 1: the handle was closed first */
    TVN_STALE = -22,           /* 1: the snapshot or the site's state is too old */
    TVN_NEWER = -23,           /* 1: a site's disk holds what a newer version wrote */
    TVN_UNIQUE = -24, /* 5: another record has that value in a unique index, nothing was changed */
    TVN_NOT_READY = -25, /* 1: the index is still being built; the text says how far it is */
    TVN_KEY_USED = -26   /* 5: the idempotency key stands for another transaction, or was given up;
                          * nothing was changed */
};

enum tvn_outcome_kind {
    TVN_NOT_APPLICABLE = 0, /* a read, or no error */
    TVN_NOT_DONE = 1,       /* the write has not taken effect and never will */
    TVN_UNKNOWN = 2         /* it may have taken effect, or still do */
};

enum { TVN_ERROR_TEXT_BYTES = 512 };

/* Owned by the caller; need not be initialised. */
struct tvn_error {
    int code;      /* enum tvn_code */
    int outcome;   /* enum tvn_outcome_kind */
    int retryable; /* 1: the same call may succeed later (TVN_UNKNOWN: ask tvn_outcome() first) */
    int condition; /* TVN_CONDITION: index of the first that failed, as added; otherwise -1 */
    uint64_t lsn;  /* TVN_CONDITION: the state at which it was decided; otherwise 0 */
    uint64_t reserved[3];
    char text[TVN_ERROR_TEXT_BYTES]; /* what failed, where, what to do next; one line */
};

/* A sentence about the code, its stable name ("not-primary"), and the exit code that the command line uses. Static
 * strings; unknown codes are described as such. */
const char *tvn_strerror(int code);
const char *tvn_code_name(int code);
int tvn_exit_code(int code);

/* ---- handles ---- */

struct tvn; /* a connection to a cluster; opaque */

/* Where reads (and tvn_admin) go. Writes always go to the primary. */
enum tvn_target {
    TVN_TARGET_DEFAULT = 0, /* what the URI says, otherwise primary */
    TVN_TARGET_PRIMARY = 1, /* linearizable */
    TVN_TARGET_NEAREST = 2, /* the site that answers first */
    TVN_TARGET_STANDBY = 3  /* a site that is not primary; the primary when there is no other */
};

/* Durability that a transaction asks for, and that its result states. */
enum tvn_ack {
    TVN_ACK_DEFAULT = 0,  /* what the handle says; if that says nothing, the cluster's mode */
    TVN_ACK_LOCAL = 1,    /* on the primary's disk */
    TVN_ACK_MAJORITY = 2, /* on the disks of a majority of the sites */
    TVN_ACK_DR = 3,       /* ... of the primary and the disaster-recovery site */
    TVN_ACK_GSR = 4,      /* ... of the primary and the government secure repository */
    TVN_ACK_ALL = 5       /* ... of every site */
};

struct tvn_session_id {
    uint8_t bytes[16]; /* all zero: none */
};

/* Initialise with TVN_OPTIONS_INIT. NULL or zero means: what the URI says, otherwise the default. A field that is set
 * wins over the URI. Strings are copied. */
struct tvn_options {
    size_t size;           /* sizeof(struct tvn_options): lets the struct grow */
    const char *endpoints; /* "dc:7400,dr:7400,gsr:7400": the sites' client ports; IPv6 in [] */
    const char *ca;        /* PEM files: trusted authorities, ... */
    const char *cert;      /* ... the certificate of this client or operator with its chain, ... */
    const char *key;       /* ... and its key, which others must not be able to read */
    const char *crl;       /* ... and revocations; NULL: none are checked */
    const char *cluster;   /* its name; default: the one in the certificate */
    const char *id;        /* the cluster's UUID; required here or in the URI */
    enum tvn_target target;
    enum tvn_ack ack;             /* of writes that do not say */
    uint32_t timeout_ms;          /* deadline of calls that do not say; default 10000 */
    uint32_t max_in_flight;       /* requests submitted and not completed; default and most: 1024 */
    uint64_t max_in_flight_bytes; /* of their bodies; default 64 MiB; one alone is always sent */
    struct tvn_session_id session; /* resume this one; zero: open one at the first write */
    uint64_t next_sequence; /* with `session`: number of the next transaction. Submit what was not
                             * answered again, in its order, beginning with this number */
    int poll;               /* 1: callbacks run inside tvn_poll(), not on the I/O thread */
    /* One sentence on each connection made, lost or redirected; on the I/O thread; must not call the
     * library. */
    void (*on_event)(void *arg, const char *text);
    void *on_event_arg;
};
#define TVN_OPTIONS_INIT                                                                           \
    {                                                                                              \
        sizeof(struct tvn_options), NULL, NULL, NULL, NULL, NULL, NULL, NULL, TVN_TARGET_DEFAULT,  \
            TVN_ACK_DEFAULT, 0, 0, 0, {{0}}, 0, 0, NULL, NULL                                      \
    }

/* Open a handle: checks the arguments, reads the certificates and starts the I/O thread, which connects in the
 * background; sites that cannot be reached show in the first call (tvn_ping() asks on purpose).
 *   triveni://HOST:PORT[,HOST:PORT...]/?id=UUID&ca=FILE&cert=FILE&key=FILE[&crl=FILE][&cluster=NAME]
 *           [&target=primary|nearest|standby][&ack=mode|local|majority|dr|gsr|all][&timeout_ms=N][&warm=yes|no]
 * Write the sites that can be primary first. With target primary a handle keeps a second connection, idle, to the first of the
 * list that is not the primary, so that a switchover or failover costs it no handshake; warm=no: none.
 * Values are percent-encoded where needed. `uri` may be NULL when options name the endpoints, `options` may be NULL.
 * TVN_USAGE (says which part of the URI), TVN_IO, TVN_DENIED (certificate: file and reason), TVN_NO_MEMORY. On failure *out
 * is NULL. */
int tvn_open(const char *uri, const struct tvn_options *options, struct tvn **out,
             struct tvn_error *error);

/* Complete everything that is still in flight with TVN_CANCELLED (each callback runs exactly once, before this returns; on the
 * calling thread when the handle polls), end the session if the library opened it for itself, stop the I/O thread and free the
 * handle. Scans, snapshots and watches must be closed before, and no other thread may be in a call. Not from a callback:
 * TVN_USAGE, and nothing is closed. NULL is allowed. */
int tvn_close(struct tvn *db);

/* Wait until everything submitted before has completed. TVN_TIMEOUT when the deadline passes first; nothing is
 * cancelled then. timeout_ms 0: the handle's, as in all calls below. */
int tvn_flush(struct tvn *db, uint32_t timeout_ms, struct tvn_error *error);

/* One round trip to the handle's target, which has to be serving. *round_trip_us may be NULL. */
int tvn_ping(struct tvn *db, uint32_t timeout_ms, uint64_t *round_trip_us, struct tvn_error *error);

struct tvn_info {
    size_t size;        /* in: sizeof(struct tvn_info) */
    char site[64];      /* name of the site that reads go to; empty: not connected */
    char endpoint[128]; /* its address */
    char primary[64];   /* name of the primary as last heard; empty: unknown */
    char primary_endpoint[128];
    uint64_t term;      /* of that news */
    uint64_t token;     /* see tvn_token() */
    uint64_t in_flight; /* requests submitted and not completed */
    uint64_t in_flight_bytes;
    uint64_t connects; /* connections that were put to use since open: 1 means never lost */
    uint64_t resent;   /* transactions sent more than once */
};
/* What the handle knows now, without asking anybody. */
void tvn_describe(struct tvn *db, struct tvn_info *out);

/* Read your writes: the highest lsn that this handle has seen in an answer. Reads at standbys are never older than it. Pass
 * it to another process or handle and raise theirs, and that one sees what this one has seen. */
uint64_t tvn_token(struct tvn *db);
void tvn_raise_token(struct tvn *db, uint64_t lsn);

/* ---- transactions ---- */

struct tvn_result {
    uint64_t lsn; /* position in the log: the version of the records that it wrote */
    uint64_t term;
    uint64_t time_us;              /* UTC, microseconds since 1970 */
    int ack;                       /* enum tvn_ack: durability achieved, at least what was asked */
    int repeated;                  /* 1: an earlier attempt had taken effect; this is its outcome */
    struct tvn_session_id session; /* for tvn_outcome(); also when the outcome is unknown */
    uint64_t sequence;
    uint64_t reserved[4];
};

struct tvn_txn; /* an atomic list of conditions, puts and deletes; opaque */

/* NULL: no memory. Free it with tvn_txn_free (NULL is allowed), also after a commit. */
struct tvn_txn *tvn_txn_new(void);
void tvn_txn_free(struct tvn_txn *txn);
/* Empty it, to be filled again. */
void tvn_txn_reset(struct tvn_txn *txn);

/* Add to the transaction; key and value are copied. A later op on the same key wins. Limits are checked here; the first
 * error stays with the transaction, and committing it gives that error with its text. Values: TVN_USAGE, TVN_LIMIT,
 * TVN_NO_MEMORY. */
int tvn_txn_put(struct tvn_txn *txn, const char *collection, struct tvn_bytes key,
                struct tvn_bytes value);
int tvn_txn_del(struct tvn_txn *txn, const char *collection, struct tvn_bytes key);
/* Conditions: all are checked against the state before the transaction; when one does not hold nothing happens and the
 * answer is TVN_CONDITION. A transaction of conditions only is allowed. */
int tvn_txn_if_absent(struct tvn_txn *txn, const char *collection, struct tvn_bytes key);
int tvn_txn_if_exists(struct tvn_txn *txn, const char *collection, struct tvn_bytes key);
/* The record's last change is the transaction at exactly this lsn (tvn_record.lsn). */
int tvn_txn_if_version(struct tvn_txn *txn, const char *collection, struct tvn_bytes key,
                       uint64_t lsn);
/* Durability and deadline of this transaction; 0 and 0: the handle's. */
int tvn_txn_set(struct tvn_txn *txn, enum tvn_ack ack, uint32_t timeout_ms);

/* Give the transaction a name of the application's own: 1 to TVN_IDEMPOTENCY_KEY_MAX_BYTES bytes of any value, such as the
 * number of the case that it belongs to or a random UUID; copied. Of all transactions with one key at most one takes
 * effect, whichever process sends them, after a restart of this one, after a failover, and after a restart of every site:
 *   - a later one with the same conditions and operations, in the same order, is answered as the first: 0, its lsn,
 *     repeated = 1
 *   - a later one with others fails with TVN_KEY_USED, and changes nothing
 *   - when nothing took effect (a condition failed, a unique value was taken, there was nothing to write) nothing is
 *     remembered, and the key may be used again
 * Keys belong to the client that its certificate names: processes with the same name share them, others have their own.
 * They are remembered for at least store.idempotency_hours (24 unless configured) after the transaction, at most
 * store.idempotency_keys of a client (1,000,000; more: TVN_LIMIT, never a key that is dropped too early). After that time
 * the same key begins anew: do not send a transaction again that is older. What is remembered are records of the
 * collection `_idempotency`: replicated, archived and restored like any other; watches of all collections tell of them. It
 * costs a write one operation (so TVN_TXN_MAX_OPS - 1 are left) of about 100 bytes. Values: TVN_USAGE (empty), TVN_LIMIT. */
int tvn_txn_set_idempotency_key(struct tvn_txn *txn, struct tvn_bytes key);

/* Commit and wait for the answer. The transaction stays the caller's and unchanged; committing it again is a new
 * transaction, unless it has an idempotency key. `result` may be NULL. Waits for room while the window is full. Not from a
 * callback on the I/O thread (TVN_USAGE), as all calls that wait. */
int tvn_txn_commit(struct tvn *db, const struct tvn_txn *txn, struct tvn_result *result,
                   struct tvn_error *error);

/* Commit, and be told. `callback` runs exactly once if and only if 0 is returned: on the I/O thread, where it must be
 * short and must not wait, or inside tvn_poll(). Both pointers are valid during the callback and never NULL; error->code is 0
 * on success. The transaction may be reset or freed as soon as this returns. TVN_BUSY when the window is full (wait
 * for completions), TVN_USAGE, TVN_LIMIT, TVN_NO_MEMORY.
 *
 * Transactions are sent in the order in which they are submitted and, while the primary stays, committed in that order.
 * Across a failover, or when a site was busy, those in flight together may commit in another order: if one must not come
 * before another, wait for the first. */
typedef void (*tvn_on_done)(void *arg, const struct tvn_result *result,
                            const struct tvn_error *error);
int tvn_submit(struct tvn *db, const struct tvn_txn *txn, tvn_on_done callback, void *arg,
               struct tvn_error *error);

/* Transactions of one op. */
int tvn_put(struct tvn *db, const char *collection, struct tvn_bytes key, struct tvn_bytes value,
            struct tvn_result *result, struct tvn_error *error);
int tvn_del(struct tvn *db, const char *collection, struct tvn_bytes key, struct tvn_result *result,
            struct tvn_error *error);

/* What became of a transaction? 0: it committed, and lsn and time_us of `result` say as what. TVN_NOT_FOUND: everything that the
 * primary had taken in was looked at, and it is not there. (A copy that still lies in the buffers of a connection
 * that was lost a moment ago could follow; where that matters, ask once more after a second.) TVN_SESSION_EXPIRED:
 * the sites remember the newest 1,024 transactions of a session, for as long as it lives; this one is not among them. */
int tvn_outcome(struct tvn *db, const struct tvn_session_id *session, uint64_t sequence,
                uint32_t timeout_ms, struct tvn_result *result, struct tvn_error *error);

/* What became of this client's transaction with the idempotency key? Asked of the primary, who answers for everything
 * that was committed; the asking process need not be the one that wrote.
 *   0                     it committed: lsn, term and time_us of `result`, and ack, the durability that it has by now
 *   TVN_NOT_FOUND         it has not taken effect and never will: the key was given up (now, or by an earlier call)
 *   TVN_OUTCOME_UNKNOWN   in doubt: nothing is committed with the key up to result->lsn, but a copy may still be under
 *                         way, in another process or a lost connection. Only with give_up == 0. Sending the same
 *                         transaction with the same key is always safe; or ask with give_up
 *   others                nobody could tell (TVN_UNREACHABLE, TVN_TIMEOUT, ...): ask again
 * give_up != 0: when nothing is committed with the key, write down (at majority) that nothing ever will be; whatever comes
 * with it later fails with TVN_KEY_USED. Both hold for as long as keys are remembered: of one that is older nothing is
 * known.
 * `result` may be NULL. Also TVN_USAGE, TVN_LIMIT. */
int tvn_outcome_by_key(struct tvn *db, struct tvn_bytes key, int give_up, uint32_t timeout_ms,
                       struct tvn_result *result, struct tvn_error *error);

/* The session of this handle, opened now if there is none, and the number that the next transaction submitted will carry.
 * From this call on the session is the application's: the library neither ends it at tvn_close() nor replaces it when
 * it has expired; then every write fails with TVN_SESSION_EXPIRED until the application opens a new handle. (A session
 * that nobody asked for is replaced silently, as far as no transaction of unknown outcome is concerned.) */
int tvn_session(struct tvn *db, uint32_t timeout_ms, struct tvn_session_id *session,
                uint64_t *next_sequence, struct tvn_error *error);

/* Name the present end of the log: a restore point of 1..128 bytes of UTF-8. TVN_EXISTS when the name is taken. When the
 * outcome is unknown the point may exist: naming it again gives TVN_EXISTS if it does. */
int tvn_point(struct tvn *db, const char *name, uint32_t timeout_ms, struct tvn_result *result,
              struct tvn_error *error);

/* ---- reading ---- */

struct tvn_snapshot; /* one state for many reads; opaque */

/* How to read; NULL or zeroed: as the handle says. Initialise with TVN_READ_INIT. */
struct tvn_read {
    size_t size;
    uint32_t timeout_ms;
    const struct tvn_snapshot *snapshot; /* NULL: the present */
    uint64_t min_lsn; /* not older than this; the handle's token is observed in any case */
    /* The past: the records as they were after transaction as_of_lsn, or at a time (UTC, microseconds since 1970). Zero: the
     * present; not both. Each site can tell as much of it as it is configured to keep: TVN_GAP when that is not enough, with
     * what to do. TVN_USAGE: it is not over yet. With a snapshot: the past of what it shows. */
    uint64_t as_of_lsn;
    uint64_t as_of_time_us;
};
#define TVN_READ_INIT                                                                              \
    {                                                                                              \
        sizeof(struct tvn_read), 0, NULL, 0, 0, 0                                                  \
    }

struct tvn_record {
    int found;                   /* 0: there is none; only collection and key are filled */
    struct tvn_bytes collection; /* of what was asked for (gets), or of the record (scans) */
    struct tvn_bytes key;
    struct tvn_bytes value;
    uint64_t lsn;     /* version: the transaction of its last change */
    uint64_t time_us; /* ... and when that was, UTC */
};

#define TVN_AGE_UNKNOWN UINT64_MAX
/* Owned by the caller; tvn_records_free frees it with all that it points to. */
struct tvn_records {
    uint64_t lsn; /* the state that was read; as of a time: the last transaction at or before it
                   * that changed a record, and reading as of that lsn gives the same */
    uint64_t
        age_us; /* how old it may be: 0 at the primary, TVN_AGE_UNKNOWN when a standby cannot tell */
    size_t count;
    const struct tvn_record *records;
};
void tvn_records_free(struct tvn_records *records); /* NULL is allowed */

/* One record: (*out)->records[0]. TVN_NOT_FOUND when there is none; then, as on any error, *out is NULL. */
int tvn_get(struct tvn *db, const char *collection, struct tvn_bytes key,
            const struct tvn_read *how, struct tvn_records **out, struct tvn_error *error);

struct tvn_key {
    const char *collection;
    struct tvn_bytes key;
};
/* Up to TVN_GET_MAX_KEYS records of one state, in the order asked; absent ones have found == 0. Together the values may be
 * as large as 32 MiB: TVN_LIMIT otherwise. */
#define TVN_GET_MAX_KEYS 4096u
int tvn_get_many(struct tvn *db, const struct tvn_key *keys, size_t n, const struct tvn_read *how,
                 struct tvn_records **out, struct tvn_error *error);

/* The same, and be told; rules as for tvn_submit. The callback owns `records` (NULL on error) and frees them. */
typedef void (*tvn_on_records)(void *arg, struct tvn_records *records,
                               const struct tvn_error *error);
int tvn_submit_get(struct tvn *db, const struct tvn_key *keys, size_t n, const struct tvn_read *how,
                   tvn_on_records callback, void *arg, struct tvn_error *error);

/* A range of one collection, in order of the keys' bytes; or of one of its secondary indexes, in order of the values there and
 * then of the keys. Indexes are declared by operators (triveni index create; tvn_admin "index-create"). Initialise with
 * TVN_SCAN_INIT. All are copied.
 *
 * By an index `from`, `to` and `equal` are JSON: a string, a number, true or false, or an array of as many of these as first
 * pointers of the index are bounded ("\"Asha\"", "[\"Asha\", 1970]"), and `prefix` is plain text, with which the value behind
 * those of `equal` begins. Records that lack the fields are not in the index. TVN_NOT_FOUND: it is not declared; TVN_NOT_READY:
 * the site still builds it; TVN_USAGE: a bound is none, `after` is no token of this index, or the past was asked for. */
struct tvn_scan_options {
    size_t size;
    const char *collection;  /* required */
    struct tvn_bytes from;   /* first key, inclusive; empty: from the start */
    struct tvn_bytes to;     /* end, exclusive; empty: to the end */
    struct tvn_bytes prefix; /* only keys that begin with it; empty: all */
    struct tvn_bytes after;  /* continue strictly after (in reverse: before) this key, or by an
                             * index the record of this token; empty: do not */
    int reverse;
    uint64_t limit;         /* records in all; 0: no limit */
    uint32_t page;          /* records fetched at a time, up to 4096; 0: 1024 */
    const char *index;      /* name of a secondary index; NULL or "": by key */
    struct tvn_bytes equal; /* by an index: only this value; empty: all */
};
#define TVN_SCAN_INIT                                                                              \
    {                                                                                              \
        sizeof(struct tvn_scan_options), NULL, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, 0, 0,   \
            0, NULL,                                                                               \
        {                                                                                          \
            NULL, 0                                                                                \
        }                                                                                          \
    }

struct tvn_scan; /* opaque */
/* Start a scan; nothing is sent yet. Without a snapshot in `how` each page shows the state of its moment, never an
 * older one than the page before; with one, and as of the past, the whole scan shows one state. The deadline counts for each
 * page. */
int tvn_scan_open(struct tvn *db, const struct tvn_scan_options *options,
                  const struct tvn_read *how, struct tvn_scan **out, struct tvn_error *error);
/* 1: *record is the next one, valid until the next call with this scan; 0: there are no more; negative: an error, after
 * which the same call may be tried again and goes on where the scan was. */
int tvn_scan_next(struct tvn_scan *scan, struct tvn_record *record, struct tvn_error *error);
/* Where the scan is: give it as `after` to go on behind the last record, in this process or another. Its key; by an index a token
 * (binary, up to 511 bytes), which stays good when the record has changed, and at other sites; not for another index, or when
 * this one was declared anew on other fields (TVN_USAGE). Valid until the next call with this scan. */
struct tvn_bytes tvn_scan_token(const struct tvn_scan *scan);
/* Of the page that the last record came from. */
uint64_t tvn_scan_lsn(const struct tvn_scan *scan);
uint64_t tvn_scan_age_us(const struct tvn_scan *scan);
void tvn_scan_close(struct tvn_scan *scan); /* NULL is allowed */

/* Hold one state for reading, at the handle's target. It lives on the connection that it was opened on: when that is
 * lost, reads give TVN_STALE, and also when it was open for as long as the site allows (store.snapshot_seconds, ten minutes
 * unless configured). Close it soon: sites keep few (16 of a connection), and a held state holds space. */
int tvn_snapshot_open(struct tvn *db, const struct tvn_read *how, struct tvn_snapshot **out,
                      struct tvn_error *error);
uint64_t tvn_snapshot_lsn(const struct tvn_snapshot *snapshot);
uint64_t tvn_snapshot_time_us(const struct tvn_snapshot *snapshot);
void tvn_snapshot_close(struct tvn_snapshot *snapshot); /* NULL is allowed; does not wait */

/* ---- watching ---- */

/* The committed changes of records, each transaction once, in the order of the log, from wherever you say on. What a watch has
 * told is never undone: it tells what a majority has on disk, also where the cluster's mode lets writes be answered earlier.
 *
 *     struct tvn_watch_options o = TVN_WATCH_INIT;
 *     o.collection = "titles";
 *     o.from = position_kept_from_last_time;
 *     tvn_watch_open(db, &o, &watch, &error);
 *     while ((rc = tvn_watch_next(watch, 1000, &change, &error)) >= 0)
 *         if (rc == 1) ... apply it; when change.more is 0, keep tvn_watch_position(watch) together with what you applied
 *
 * A copy that begins with everything: open a snapshot, scan what you want of it, and watch from tvn_snapshot_lsn() + 1: each
 * change is then either in the snapshot or told, and never both. (In commit mode `local` a snapshot at the primary may hold
 * what a forced failover undoes: take it at a standby.)
 *
 * Goes to the handle's target: the primary, or with target nearest or standby any site, which may be behind. */
struct tvn_watch; /* opaque */

/* Initialise with TVN_WATCH_INIT. All are copied. */
struct tvn_watch_options {
    size_t size;
    uint64_t from;           /* lsn of the first transaction wanted; 0: what commits from now on */
    const char *collection;  /* only changes in this one; NULL or "": in all */
    struct tvn_bytes prefix; /* only of keys that begin with it; empty: of all */
    int keys_only;           /* 1: without values */
    uint32_t timeout_ms;     /* of opening; 0: the handle's */
    uint32_t
        buffer_bytes; /* of changes held for a slow caller, 64 KiB to 64 MiB; 0: 4 MiB. Not more
                              * than that comes; larger transactions come alone, in pieces of 4 MiB or
                              * one value */
};
#define TVN_WATCH_INIT                                                                             \
    {                                                                                              \
        sizeof(struct tvn_watch_options), 0, NULL, {NULL, 0}, 0, 0, 0                              \
    }

enum { TVN_CHANGE_PUT = 1, TVN_CHANGE_DELETE = 2 };

struct tvn_change {
    uint64_t lsn;     /* the transaction; for a put, the version of the record */
    uint64_t time_us; /* when it was, UTC */
    int op;           /* TVN_CHANGE_PUT or TVN_CHANGE_DELETE */
    int more;         /* 1: another change of the same transaction follows */
    struct tvn_bytes collection;
    struct tvn_bytes key;
    struct tvn_bytes value; /* empty for a delete, and with keys_only */
};

/* Start watching; waits until a site has agreed. A connection may have up to 16. TVN_GAP: the sites keep a bounded part of their
 * log, and `from` is older; error->lsn is the first that there is. Then read the records as they are now, as above; what
 * happened between is in the archive. TVN_NOT_FOUND: `from` is beyond the end of the log, so it is not of this cluster.
 * TVN_USAGE, TVN_LIMIT, TVN_DENIED, TVN_NO_MEMORY; TVN_UNREACHABLE, TVN_NOT_PRIMARY, TVN_TIMEOUT at the deadline. */
int tvn_watch_open(struct tvn *db, const struct tvn_watch_options *options, struct tvn_watch **out,
                   struct tvn_error *error);
/* 1: *change is the next one, valid until the next call with this watch; 0: none came in time; negative: the watch has come to
 * its end, with the reason, and gives the same from then on. Lost connections, failovers and switchovers are no reason: the
 * watch goes on at the next site, with nothing lost and nothing told twice. TVN_GAP: this caller, or the cluster's outage, was
 * so slow that what comes next is not in the log any more; never does a watch pass over something. timeout_ms 0: the
 * handle's. */
int tvn_watch_next(struct tvn_watch *watch, uint32_t timeout_ms, struct tvn_change *change,
                   struct tvn_error *error);
/* Where to begin again, as `from`: everything before it was given out whole. It moves on also while nothing matches. */
uint64_t tvn_watch_position(const struct tvn_watch *watch);
/* The newest lsn that was committed at the watched site, as last heard; any thread. */
uint64_t tvn_watch_newest(struct tvn_watch *watch);
/* Milliseconds since the site was last heard: it says every second how far it is. More than a few seconds: there is no
 * connection, and the watch looks for one. Any thread. */
uint64_t tvn_watch_silent_ms(struct tvn_watch *watch);
void tvn_watch_close(struct tvn_watch *watch); /* NULL is allowed; does not wait */

/* ---- operators ---- */

/* An operator's command with its arguments as JSON (NULL: none), answered as JSON in *reply, a NUL-terminated string to be
 * freed with tvn_free. Goes to the handle's target; to talk to one certain site, open a handle with that endpoint alone and
 * target=nearest. Commands that change something are sent once only: when the answer is lost the outcome is unknown. */
int tvn_admin(struct tvn *db, const char *command, const char *arguments, uint32_t timeout_ms,
              char **reply, struct tvn_error *error);
void tvn_free(void *memory);

/* ---- foreign event loops ---- */

/* With tvn_options.poll: a descriptor (eventfd) that is readable while completions wait; watch it with level
 * triggering and call tvn_poll. Belongs to the handle: do not read nor close it. Otherwise -1. */
int tvn_fd(const struct tvn *db);
/* Run the callbacks of up to `max` completions (0: all that wait) on this thread; returns how many. Never waits. Threads may
 * poll at the same time; a callback may submit and may poll again. */
size_t tvn_poll(struct tvn *db, size_t max);

#ifdef __cplusplus
}
#endif

#endif
