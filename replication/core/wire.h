/* Bodies of the frames between clients and sites. Each struct below has a writer and a reader in wire.c; the layout is
 * the order of the fields: u8 for enums and bools, u16/u32/u64 little-endian, str16/str32 length-prefixed bytes, arrays as a
 * u32 count and the elements. Readers are strict (nothing left over, enums known, counts bounded) and return views into
 * the body. */
#ifndef REPLICATION_CORE_WIRE_H
#define REPLICATION_CORE_WIRE_H

#include "store/core/as_of.h"
#include "store/core/body.h"
#include "store/core/bytes.h"
#include "store/core/err.h"
#include "store/core/index_key.h"
#include "store/core/idempotency.h"
#include "store/core/txn.h"

enum {
    WIRE_VERSION = 5,
    WIRE_MEMBERS_MAX_BYTES = 400,
    WIRE_SCAN_MAX_RECORDS = 4096,
    WIRE_SCAN_MAX_BYTES = 4 << 20,
    WIRE_SCAN_MAX_SKIPS =
        4096, /* records that were not there as of then, passed over for one page */
    WIRE_BOUND_MAX_BYTES =
        4096, /* JSON text of a scan's bound: a key of 222 bytes, escaped at worst */
    WIRE_TOKEN_MAX_BYTES = INDEX_TOKEN_MAX_BYTES, /* where a scan by an index goes on */
    WIRE_WATCHES_MAX = 16,                        /* of one connection */
    WIRE_WATCH_CREDIT_MAX = 64 << 20,             /* bytes */
    WIRE_WATCH_TXN_MAX_BYTES = 4 << 20,           /* a larger transaction comes in several pushes */
    WIRE_WATCH_DATA_BYTES = 8 * 4 + 1 + 4,        /* of a push without changes */
};

enum wire_kind { WIRE_SITE = 1, WIRE_CLIENT = 2, WIRE_OPERATOR = 3 };

/* FRAME_HELLO. The identity must be the one in the certificate. */
struct wire_hello {
    uint16_t version;
    enum wire_kind kind;
    struct bytes name;     /* site or client name */
    uint64_t incarnation;  /* sites */
    struct bytes software; /* "triveni 0.1.0" */
    struct bytes members;  /* sites: "dc data, dr data, gsr repository", by name; else empty */
    uint32_t election_ms, lease_ms; /* sites: as configured; else 0 */
};

/* FRAME_ERROR */
struct wire_error {
    int32_t code; /* enum err_code */
    struct bytes text;
    struct bytes
        primary; /* NOT_PRIMARY: client endpoint "host:port" of the primary, empty when unknown */
    int32_t failed_condition; /* ERR_CONDITION: index of the first that failed, else -1 */
    struct lsn
        lsn; /* ERR_CONDITION: lsn at which it was decided; ERR_GAP of WATCH_OPEN: first there is */
};

/* FRAME_PRIMARY */
struct wire_primary {
    struct term term;
    struct bytes site;
    struct bytes endpoint; /* of its client port; both empty: none known */
};

/* FRAME_SESSION_OPEN: session zero asks for a new one; otherwise resume. Answer: wire_session. */
struct wire_session_open {
    struct uuid session;
};
struct wire_session {
    struct uuid session;
    struct lsn lsn;
};
struct wire_session_close {
    struct uuid session;
}; /* answer: wire_done */

/* FRAME_TXN. Sequence numbers of a session rise by 1; a repeated one is answered with its first outcome. A key that the
 * application chose does the same without a session (store/core/idempotency.h). */
struct wire_txn {
    struct uuid session;
    uint64_t sequence;
    enum level level;
    uint32_t condition_count;
    uint32_t op_count;
    struct reader
        conditions;    /* wire_next_condition: kind u8, collection str16, key str16, version u64 */
    struct reader ops; /* body_next_op; its n is the end of the ops */
    struct bytes key;  /* idempotency key; empty: none */
    struct bytes
        content; /* read: conditions and ops with their counts, what a key stands for; ignored by the writer */
};
/* Answer of TXN, POINT, SESSION_CLOSE */
struct wire_done {
    struct lsn lsn;
    struct term term;
    struct utc time;
    enum level level; /* achieved */
    bool repeated;    /* exactly-once: this is the outcome of an earlier attempt */
};

enum wire_read_flags {
    WIRE_READ_STANDBY = 1u << 0, /* may be answered by a standby, with its age */
};
/* FRAME_GET: one or many keys. snapshot 0: now (linearizable at the primary); min_lsn: not older than this. */
struct wire_get {
    uint32_t flags;
    uint64_t snapshot;
    struct lsn min_lsn;
    uint32_t count;     /* of keys: collection str16, key str16 */
    struct reader keys; /* wire_next_key */
    /* After all else, and only when it is not the present: kind u8, value u64. So who does not ask for the past says
     * the same as ever. */
    struct as_of as_of;
};
/* Answer: read header, then count records: found u8, and if found lsn u64, time u64, value str32. */
struct wire_read_header {
    struct lsn lsn;  /* the state that was read; of the past the lsn that answers (state_as_of) */
    uint64_t age_us; /* how old it may be; 0 at the primary, UINT64_MAX when unknown */
    uint32_t count;
};
/* FRAME_SCAN. Answer: read header, wire_more u8, then records: collection str16, key str16, lsn, time, value str32; by an index
 * each is followed by its token str16. */
enum wire_more {
    WIRE_MORE_NONE = 0,
    WIRE_MORE_AFTER_LAST = 1, /* go on after the last record */
    WIRE_MORE_AFTER_KEY =
        2, /* go on after the key str16 that follows the records, of which there may be
                               * none: only as of the past */
};
struct wire_scan {
    uint32_t flags;
    uint64_t snapshot;
    struct lsn min_lsn;
    struct bytes collection, from, to, prefix, after;
    bool reverse;
    uint32_t limit;     /* records, 1..WIRE_SCAN_MAX_RECORDS */
    struct as_of as_of; /* as in wire_get; kind 0, value 0 where an index follows */
    /* By a secondary index, when it has a name: in order of its values. from, to and `equal` are then bounds as JSON, `prefix` is
     * plain text (struct index_bounds), and `after` is a token from an earlier answer. Both are written last, and only then. */
    struct bytes index, equal;
};
/* FRAME_SNAPSHOT_OPEN: flags, min_lsn. Answer: wire_snapshot. FRAME_SNAPSHOT_CLOSE: id. Answer: wire_done, zero. */
struct wire_snapshot_open {
    uint32_t flags;
    struct lsn min_lsn;
};
struct wire_snapshot {
    uint64_t id;
    struct lsn lsn;
    struct utc time;
};
struct wire_snapshot_close {
    uint64_t id;
};
/* FRAME_OUTCOME: what became of (session, sequence)? Answer: wire_outcome. */
struct wire_outcome_ask {
    struct uuid session;
    uint64_t sequence;
};
struct wire_outcome {
    bool committed;
    struct lsn lsn;
    struct utc time;
};
/* FRAME_OUTCOME_BY_KEY: what became of the client's transaction with this idempotency key? Answer: wire_key_outcome. */
struct wire_key_ask {
    struct bytes key;
    bool give_up; /* when there is none, make sure that there never will be */
};
enum wire_key_state {
    WIRE_KEY_NONE = 0, /* none up to lsn; one may be under way */
    WIRE_KEY_COMMITTED = 1,
    WIRE_KEY_GIVEN_UP = 2, /* there is none, and never will be */
};
struct wire_key_outcome {
    enum wire_key_state state;
    enum level level; /* achieved; NONE: LEVEL_MODE */
    struct lsn lsn;   /* of the transaction; of the giving up; NONE: up to where was looked */
    struct term term;
    struct utc time;
};
/* FRAME_WATCH_OPEN: tell me the committed changes of records, transaction by transaction, in the order of the log. Answer:
 * wire_watch, then pushes FRAME_WATCH_DATA and at most one FRAME_WATCH_END.
 *
 * FLOW: a push costs its body's bytes of the credit, CREDIT gives bytes back. A push goes when it costs no more than the credit
 * that is left, or when at least half of the first credit is left; so at most half of the first credit and one push, or the
 * first credit, is ever on its way. A client gives credit back before half of the first is used up and not given back. */
enum wire_watch_flags { WIRE_WATCH_KEYS_ONLY = 1u << 1 }; /* beside wire_read_flags */
struct wire_watch_open {
    uint32_t flags;
    struct lsn from;         /* first transaction wanted; 0: those that commit from now on */
    struct bytes collection; /* empty: all */
    struct bytes prefix;     /* of keys; empty: all */
    uint32_t credit;         /* bytes, 1..WIRE_WATCH_CREDIT_MAX */
};
struct wire_watch {
    uint64_t id;
    struct lsn from;   /* first transaction that it will tell */
    struct lsn newest; /* committed at the site now */
};
/* FRAME_WATCH_DATA. Covers the transactions from..up_to, all of them: what is not in it did not match. A transaction whose
 * changes take more than WIRE_WATCH_TXN_MAX_BYTES is `continued`: its changes so far come last, up_to is the one before it,
 * and the next push covers it again with the changes that are left. With count 0 at least every second, as the credit
 * allows, so that a client knows how far it has seen. */
struct wire_watch_data {
    uint64_t id;
    struct lsn from, up_to;
    struct lsn newest; /* committed at the site now */
    bool continued;
    uint32_t count;
    struct reader changes; /* wire_next_change */
};
struct wire_change {
    struct lsn lsn;
    struct utc time;
    enum op_kind kind;
    struct bytes collection, key;
    struct bytes value; /* empty for a delete, and when keys only were asked for */
};
struct wire_watch_credit {
    uint64_t id; /* one that has ended is ignored */
    uint32_t bytes;
};
struct wire_watch_close {
    uint64_t id;
}; /* answer: wire_done, zero */
struct wire_watch_end {
    uint64_t id;
    int32_t code; /* enum err_code */
    struct bytes text;
    struct lsn first; /* ERR_GAP: the first transaction that there is */
};
/* FRAME_POINT */
struct wire_point {
    struct bytes name;
};
/* FRAME_ADMIN: command name and its arguments as JSON; the answer is JSON. */
struct wire_admin {
    struct bytes command;
    struct bytes arguments;
};
struct wire_admin_reply {
    struct bytes json;
};

void wire_write_hello(struct writer *w, const struct wire_hello *m);
int wire_read_hello(struct bytes body, struct wire_hello *m, struct err *e);
void wire_write_error(struct writer *w, const struct wire_error *m);
int wire_read_error(struct bytes body, struct wire_error *m, struct err *e);
void wire_write_primary(struct writer *w, const struct wire_primary *m);
int wire_read_primary(struct bytes body, struct wire_primary *m, struct err *e);
void wire_write_session_open(struct writer *w, const struct wire_session_open *m);
int wire_read_session_open(struct bytes body, struct wire_session_open *m, struct err *e);
void wire_write_session(struct writer *w, const struct wire_session *m);
int wire_read_session(struct bytes body, struct wire_session *m, struct err *e);
void wire_write_session_close(struct writer *w, const struct wire_session_close *m);
int wire_read_session_close(struct bytes body, struct wire_session_close *m, struct err *e);
/* Writes header, conditions and ops. */
void wire_write_txn(struct writer *w, const struct wire_txn *m, const struct condition *conditions,
                    const struct op *ops);
int wire_read_txn(struct bytes body, struct wire_txn *m,
                  struct err *e); /* checks every condition and op */
int wire_next_condition(struct reader *r, struct condition *out, struct err *e);
void wire_write_done(struct writer *w, const struct wire_done *m);
int wire_read_done(struct bytes body, struct wire_done *m, struct err *e);
void wire_write_get(struct writer *w, const struct wire_get *m,
                    const struct op *keys); /* collection and key of each */
int wire_read_get(struct bytes body, struct wire_get *m, struct err *e);
int wire_next_key(struct reader *r, struct bytes *collection, struct bytes *key, struct err *e);
void wire_write_scan(struct writer *w, const struct wire_scan *m);
int wire_read_scan(struct bytes body, struct wire_scan *m, struct err *e);
void wire_write_read_header(struct writer *w, const struct wire_read_header *m);
/* The readers of answers with records leave `r` at the first record. */
int wire_read_read_header(struct reader *r, struct wire_read_header *m, struct err *e);
struct wire_record {
    bool found;
    struct bytes collection, key, value;
    struct lsn lsn;
    struct utc time;
};
void wire_write_get_record(struct writer *w, const struct wire_record *m);
int wire_read_get_record(struct reader *r, struct wire_record *m, struct err *e);
void wire_write_scan_record(struct writer *w, const struct wire_record *m);
int wire_read_scan_record(struct reader *r, struct wire_record *m, struct err *e);
/* Behind each record of a scan by an index: where one that goes on behind it begins. */
void wire_write_scan_token(struct writer *w, struct bytes token);
int wire_read_scan_token(struct reader *r, struct bytes *token, struct err *e);
/* Between header and records, and the key after them. */
int wire_read_scan_more(struct reader *r, enum wire_more *more, struct err *e);
int wire_read_scan_after(struct reader *r, struct bytes *key, struct err *e);
void wire_write_snapshot_open(struct writer *w, const struct wire_snapshot_open *m);
int wire_read_snapshot_open(struct bytes body, struct wire_snapshot_open *m, struct err *e);
void wire_write_snapshot(struct writer *w, const struct wire_snapshot *m);
int wire_read_snapshot(struct bytes body, struct wire_snapshot *m, struct err *e);
void wire_write_snapshot_close(struct writer *w, const struct wire_snapshot_close *m);
int wire_read_snapshot_close(struct bytes body, struct wire_snapshot_close *m, struct err *e);
void wire_write_outcome_ask(struct writer *w, const struct wire_outcome_ask *m);
int wire_read_outcome_ask(struct bytes body, struct wire_outcome_ask *m, struct err *e);
void wire_write_outcome(struct writer *w, const struct wire_outcome *m);
int wire_read_outcome(struct bytes body, struct wire_outcome *m, struct err *e);
void wire_write_key_ask(struct writer *w, const struct wire_key_ask *m);
int wire_read_key_ask(struct bytes body, struct wire_key_ask *m, struct err *e);
void wire_write_key_outcome(struct writer *w, const struct wire_key_outcome *m);
int wire_read_key_outcome(struct bytes body, struct wire_key_outcome *m, struct err *e);
/* wire_watch.c */
void wire_write_watch_open(struct writer *w, const struct wire_watch_open *m);
int wire_read_watch_open(struct bytes body, struct wire_watch_open *m, struct err *e);
void wire_write_watch(struct writer *w, const struct wire_watch *m);
int wire_read_watch(struct bytes body, struct wire_watch *m, struct err *e);
/* Writes WIRE_WATCH_DATA_BYTES; `count` changes follow. */
void wire_write_watch_data(struct writer *w, const struct wire_watch_data *m);
/* Checks every change, and their order. */
int wire_read_watch_data(struct bytes body, struct wire_watch_data *m, struct err *e);
size_t wire_change_bytes(const struct wire_change *m);
void wire_write_change(struct writer *w, const struct wire_change *m);
int wire_next_change(struct reader *r, struct wire_change *m, struct err *e);
void wire_write_watch_credit(struct writer *w, const struct wire_watch_credit *m);
int wire_read_watch_credit(struct bytes body, struct wire_watch_credit *m, struct err *e);
void wire_write_watch_close(struct writer *w, const struct wire_watch_close *m);
int wire_read_watch_close(struct bytes body, struct wire_watch_close *m, struct err *e);
void wire_write_watch_end(struct writer *w, const struct wire_watch_end *m);
int wire_read_watch_end(struct bytes body, struct wire_watch_end *m, struct err *e);
void wire_write_point(struct writer *w, const struct wire_point *m);
int wire_read_point(struct bytes body, struct wire_point *m, struct err *e);
void wire_write_admin(struct writer *w, const struct wire_admin *m);
int wire_read_admin(struct bytes body, struct wire_admin *m, struct err *e);
void wire_write_admin_reply(struct writer *w, const struct wire_admin_reply *m);
int wire_read_admin_reply(struct bytes body, struct wire_admin_reply *m, struct err *e);

#endif
