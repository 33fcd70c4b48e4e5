/* The state: LMDB, the materialisation of the log up to `applied`, with a steady checkpoint that survives a power
 * cut without a sync per commit.
 *
 * Threads: one applier thread calls apply and the checkpoint functions; snapshots may be opened and used by any
 * thread, each by one at a time. Memory given by a snapshot is valid until that snapshot is closed. */
#ifndef STORE_STATE_H
#define STORE_STATE_H

#include "store/core/as_of.h"
#include "store/core/body.h"
#include "store/core/digest.h"
#include "store/core/entry.h"
#include "store/core/err.h"
#include "store/core/index_key.h"

struct state; /* opaque */

struct state_options {
    const char *dir; /* "<data>/state"; created when missing */
    struct uuid
        cluster_id; /* zero: whichever the state there is of; a missing one is then ERR_NOT_FOUND */
    uint64_t map_bytes; /* 1 TiB when 0 */
    uint32_t readers;   /* most concurrent snapshots, 512 when 0 */
    /* The past that can be read: what changed within so much of the log's time, in so many bytes. Either 0: none. */
    uint64_t history_us;
    uint64_t history_bytes;
};

/* Open or create. After any stop the state is put back to its last steady checkpoint; replay the log from
 * state_applied()+1. ERR_INTEGRITY when no checkpoint slot is valid, with what to do. */
int state_open(struct state **out, const struct state_options *options, struct err *e);
void state_close(struct state *s);

/* Position of the last applied entry. Any thread. */
struct entry_position state_applied(struct state *s);

/* Ops of several entries that are applied in one transaction of LMDB, and entries that gather for one, at most; an entry alone
 * may have more. LMDB keeps the memory of the most it ever had: of small values all over many records a page of 4 KiB for each
 * op, and a third of one for its past. More at once saves little time (docs/PERFORMANCE.md), and a transaction must stay far
 * below 131,071 dirty pages (LMDB 0.9.24 leaks pages when it spills). */
enum { STATE_BATCH_OPS = 5120 };

/* Apply consecutive entries, beginning right after state_applied(), as one LMDB transaction (large inputs are
 * split inside). Records, collections, sessions, results, restore points, digests and the applied position change
 * together. A restore point ends a batch, so that the digest at its lsn is kept with it. On error nothing of the failing
 * batch is applied (state_applied() tells how far it came). ERR_INTEGRITY: an entry does not follow; ERR_FORMAT: its body
 * cannot be read; ERR_NO_SPACE: nothing is wrong, apply again when there is space (finishing a checkpoint frees some).
 * Applier thread. */
int state_apply(struct state *s, const struct entry_view *entries, size_t n, struct err *e);

/* Checkpoint, in two steps. begin (applier thread, between applies, microseconds) pins what is applied and tells its
 * position; finish (any one thread, slow) makes it durable and publishes it. Call finish only when the log is durable up
 * to that position and the position is committed: a published checkpoint is never undone.
 * state_checkpoint_abandon drops a begun one. A failed finish is fatal to the site. */
int state_checkpoint_begin(struct state *s, struct entry_position *at, struct err *e);
int state_checkpoint_finish(struct state *s, struct err *e);
void state_checkpoint_abandon(struct state *s);
/* Position of the published checkpoint: log up to it is not needed for recovery. */
struct entry_position state_checkpoint(struct state *s);
/* Undo: go back to the published checkpoint, for a former primary that applied entries which are not in the common
 * history. Applier thread. ERR_BUSY, and nothing is changed, when a snapshot is open or a checkpoint is begun. After any
 * other error the state refuses writes. */
int state_reset_to_checkpoint(struct state *s, struct err *e);

/* ---- reading ---- */
struct state_snapshot; /* opaque: an LMDB read transaction */

/* Microseconds. ERR_BUSY when all `readers` are in use. */
int state_snapshot_open(struct state *s, struct state_snapshot **out, struct err *e);
void state_snapshot_close(struct state_snapshot *snap);
struct entry_position state_snapshot_position(const struct state_snapshot *snap);
/* Two snapshots of one open state have the same number if and only if nothing was written between them. */
uint64_t state_snapshot_number(const struct state_snapshot *snap);

struct record {
    struct bytes collection; /* filled by scans */
    struct bytes key;
    struct bytes value;
    struct lsn lsn;  /* version: its last change */
    struct utc time; /* time of that change */
};

/* 0, ERR_NOT_FOUND, or ERR_INTEGRITY when the record's checksum is wrong (named in `e`). */
int state_get(struct state_snapshot *snap, struct bytes collection, struct bytes key,
              struct record *out, struct err *e);

/* ---- the past ---- */
/* What of the past a snapshot can tell: the state as of an lsn if and only if it is at least `from`, as of a time if and only
 * if it is at least `from_time`. Rows and bytes (of keys and rows) are what that takes. */
struct state_window {
    struct lsn from;
    struct utc from_time;
    uint64_t rows, bytes;
};
struct state_window state_window(const struct state_snapshot *snap);

/* The lsn that answers: an lsn is itself; for a time it is the last transaction at or before it that changed a record (or
 * where the window begins, if none did since), and reading as of that lsn gives the same records. A time after the
 * snapshot's last entry is answered with the snapshot's position: the caller knows whether entries may still come
 * that are not after it. AS_OF_NONE is the snapshot's position. ERR_GAP: before the window, with what to do; ERR_USAGE: an
 * lsn after the snapshot's. */
int state_as_of(struct state_snapshot *snap, struct as_of as_of, struct lsn *out, struct err *e);
/* state_get, of the record as it was then. */
int state_get_as_of(struct state_snapshot *snap, struct as_of as_of, struct bytes collection,
                    struct bytes key, struct record *out, struct err *e);

struct scan_options {
    struct bytes collection; /* empty: all collections, in order of name */
    struct bytes from;       /* first key, inclusive; empty: from the start of the range */
    struct bytes to;         /* end, exclusive; empty: no end */
    struct bytes prefix;     /* only keys with it; empty: all */
    struct bytes after; /* continuation: strictly after (reverse: before) this key; empty: none */
    struct bytes
        after_collection; /* with all collections: the one that `after` belongs to; empty: none */
    bool reverse;
    struct as_of as_of; /* errors as of state_as_of */
    uint32_t skip_max;  /* of the past: records that were not there then, passed over in one call;
                         * 0: no limit */
};
struct state_scan; /* opaque; belongs to its snapshot, close it first */
int state_scan_open(struct state_snapshot *snap, const struct scan_options *options,
                    struct state_scan **out, struct err *e);
/* 0 with the next record, ERR_NOT_FOUND at the end, ERR_INTEGRITY: `out` has collection and key of the damaged record, and the
 * next call goes on behind it; or no key, when more than a record is damaged: then the scan is over. ERR_LIMIT: skip_max are
 * passed over, `out` has collection and key of the last, and the next call goes on. */
int state_scan_next(struct state_scan *scan, struct record *out, struct err *e);
void state_scan_close(struct state_scan *scan);

struct collection_info {
    struct bytes name;
    uint64_t records;
    struct digest digest;
};
/* Those with records. One call per collection in order of name, stops and returns the callback's first non-zero result. */
int state_collections(struct state_snapshot *snap,
                      int (*each)(void *arg, const struct collection_info *), void *arg,
                      struct err *e);

struct restore_point {
    struct bytes name;
    struct lsn lsn;
    struct utc time;
    struct digest digest; /* of the state at lsn */
};
int state_restore_points(struct state_snapshot *snap,
                         int (*each)(void *arg, const struct restore_point *), void *arg,
                         struct err *e);
int state_restore_point(struct state_snapshot *snap, struct bytes name, struct restore_point *out,
                        struct err *e); /* 0 or ERR_NOT_FOUND */

struct session_info {
    struct bytes client;
    struct lsn opened;
    struct utc last; /* time of its last entry */
};
int state_session(struct state_snapshot *snap, const struct uuid *session, struct session_info *out,
                  struct err *e); /* 0 or ERR_NOT_FOUND */
int state_sessions(struct state_snapshot *snap,
                   int (*each)(void *arg, const struct uuid *, const struct session_info *),
                   void *arg, struct err *e);
/* lsn and time of the entry that (session, sequence) committed as: 0 or ERR_NOT_FOUND. The newest 1,024 results of
 * each session are kept. */
int state_result(struct state_snapshot *snap, const struct uuid *session, uint64_t sequence,
                 struct entry_position *out, struct err *e);
/* The highest sequence of the session that has a result; 0: none has. */
int state_newest_result(struct state_snapshot *snap, const struct uuid *session, uint64_t *sequence,
                        struct err *e);

struct state_totals {
    uint64_t records;
    uint64_t collections;
    struct digest digest;
    enum commit_mode mode;
};
int state_totals(struct state_snapshot *snap, struct state_totals *out, struct err *e);

/* All sums together. lsn is that of the snapshot; `known` is false, and the digests mean nothing, while they are in doubt. */
struct state_sums {
    struct lsn lsn;
    bool known;
    uint64_t records;
    struct digest digest, bucket[DIGEST_BUCKETS];
};
int state_sums(struct state_snapshot *snap, struct state_sums *out, struct err *e);

/* Count the digest again from every record and compare with the one kept, and check the past's rows and chains, and that each
 * index has the rows of its records and no others; ERR_INTEGRITY names what differs. */
int state_verify(struct state_snapshot *snap, struct err *e);

/* Read the past's rows from a place on (zero: the start), about max_bytes of them, with their checksums; *bytes says how many.
 * The next call goes on behind them, in this snapshot or a later one. 0: there is more; ERR_NOT_FOUND: that was all;
 * ERR_INTEGRITY: a row is damaged, go on. */
enum { PAST_KEY_MAX_BYTES = 512 };
struct past_place {
    bool in_history; /* else in `deleted` */
    size_t key_bytes;
    uint8_t key[PAST_KEY_MAX_BYTES]; /* the last row that was read */
};
int state_past_check(struct state_snapshot *snap, struct past_place *place, size_t max_bytes,
                     size_t *bytes, struct err *e);

/* ---- damage in a running state ---- */
/* Sums in doubt: a damaged record was overwritten or deleted, and what it stood for in the sums is a guess. Until they are
 * counted again (state_recount_step) digests, of buckets and collections too, are not to be compared. Survives a restart. */
struct state_doubt {
    bool doubted;
    struct lsn since;
    uint64_t replaced; /* damaged records overwritten or deleted since the state was opened */
    char last[ERR_TEXT_BYTES]; /* which one was the last, "" when none */
};
void state_doubt(struct state *s, struct state_doubt *out); /* any thread */

/* Look at about max_bytes more of the records, in order of collection and key: each one's checksum and digest; *bytes is what was
 * read. What is applied between two steps is followed, so at the end of a pass the sums are exactly those of that moment, and no
 * snapshot was held for longer than a step. They are then compared with what is kept: differences are told (FINDING_SUM);
 * when the sums were in doubt, they are put right instead, as far as no damaged record stands in the way. `sink` hears of damaged
 * records too (FINDING_RECORD). 0; ERR_NOT_FOUND: the pass is complete, the next call begins another; other errors: again later.
 * Applier thread, between applies. */
struct finding_sink;
int state_recount_step(struct state *s, size_t max_bytes, const struct finding_sink *sink,
                       size_t *bytes, struct err *e);

/* Replace a damaged record by `r`, which another site gives for it. Only what is proven to be the very version that is damaged
 * here is taken: its digest is the one that the row keeps; or it is what the row itself still says; or it is what is missing in
 * the sum of its bucket, where a recount has counted all others and nothing else is damaged there. 0; ERR_NOT_FOUND: no damaged
 * record is there (any more); ERR_STALE: not proven: it is another version, or more than one is damaged; try again later.
 * Applier thread. */
int state_repair_record(struct state *s, const struct record *r, struct err *e);

/* The rows beside the records: look at about max_bytes more of them. Fixed size, owns nothing; zero to begin. 0; ERR_NOT_FOUND:
 * all were looked at. Any thread. */
struct state_rows_walk {
    unsigned db;
    uint8_t key[512]; /* last one seen */
    size_t key_bytes;
};
int state_rows_step(struct state_snapshot *snap, struct state_rows_walk *w, size_t max_bytes,
                    const struct finding_sink *sink, size_t *bytes, struct err *e);

/* ---- the list of members ---- */
/* The newest one is the record of this key: the body of its entry (body_read_members), so every snapshot, copy and restored state
 * has it. There is none before the first change; one of another cluster id came with a restored state and says nothing. */
#define MEMBERS_COLLECTION "_members"
#define MEMBERS_KEY "list"

/* ---- secondary indexes ---- */
/* Declared by records of a system collection, kept by each site for itself: rows are not part of the digest, and are built anew
 * from the records whenever they cannot be trusted. A snapshot that sees an index READY sees exactly the rows of its records. */
/* Key and value of its records: store/core/index_key.h, store/io/index_json.h. */
#define INDEXES_COLLECTION "_indexes"
enum {
    INDEXES_PER_COLLECTION = 8, /* each costs every write of the collection up to two rows */
    INDEXES_MAX = 1024, /* of a site: the catalog is in memory and read at each declaration */
};
enum index_status {
    INDEX_BUILDING = 1, /* rows of existing records are added; not to be scanned */
    INDEX_READY = 2,
    INDEX_DROPPING = 3, /* no longer declared, or replaced: its rows are being removed */
    INDEX_INVALID = 4,  /* declared by a record that this program cannot follow: `why` */
};
const char *index_status_name(enum index_status status); /* "building", "ready", ... */
struct index_info {
    struct bytes collection;
    struct bytes name; /* INVALID: it may be the record's whole key, and the collection empty */
    enum index_status status;
    struct index_declaration declaration;
    struct lsn declared; /* of the record that declares it */
    uint64_t id; /* of these rows, on this site, as long as they are trusted; 0: it has none */
    uint64_t rows;
    uint64_t duplicates; /* of a unique index: rows less different values */
    uint64_t passed;     /* records that the build has looked at, ... */
    uint64_t records;    /* ... of so many in the collection now */
    const char *why;     /* INVALID, "" else */
};
/* Is there any? Cheap. */
bool state_has_indexes(struct state_snapshot *snap);
/* Those of a collection (empty: of all), in order of collection and name; those that are being dropped come last. Views in
 * `info` are valid during the call. Stops at, and returns, the callback's first non-zero result. */
int state_indexes(struct state_snapshot *snap, struct bytes collection,
                  int (*each)(void *arg, const struct index_info *info), void *arg, struct err *e);
/* How many indexes of the collection a write keeps up: what an op on it weighs is 1 + 2 * that, and a transaction's weight may be
 * TXN_MAX_OPS at most. Any thread, cheap; as of the last applied entry. */
uint32_t state_index_count(struct state *s, struct bytes collection);
/* What one that is READY is on. Errors as of state_index_open. */
int state_index_find(struct state_snapshot *snap, struct bytes collection, struct bytes name,
                     struct index_declaration *out, struct err *e);

struct index_options {
    struct bytes collection, name;
    struct index_range range; /* index_range_parse, or index_range_*; zero: all */
    struct bytes after;       /* continuation: a token of an earlier scan; empty: none */
    bool reverse;
};
struct state_index_scan; /* opaque; belongs to its snapshot, close it first */
/* By value, then by key of the record. (Values that are equal for their first INDEX_KEY_CUT_BYTES - 9 bytes as encoded, and
 * keys that are equal for their first 247, are not in order among each other.) ERR_NOT_FOUND: not declared; ERR_NOT_READY:
 * building, with how far; ERR_FORMAT: invalid, with why; ERR_USAGE: the token is none of this index, or it was declared on
 * other pointers then. */
int state_index_open(struct state_snapshot *snap, const struct index_options *options,
                     struct state_index_scan **out, struct err *e);
/* 0 with the next record; ERR_NOT_FOUND at the end; ERR_INTEGRITY: a row or its record is damaged, or they do not agree: named
 * in `e` (also in `out`, where the row tells), the next call goes on behind it. */
int state_index_next(struct state_index_scan *scan, struct record *out, struct err *e);
/* Token of the row that state_index_next was at last, valid until the next call. It stays good after the index is built
 * anew, also when it was dropped and declared again on the same pointers, and at other sites. */
struct bytes state_index_token(const struct state_index_scan *scan);
/* After ERR_INTEGRITY: the id of the index, when its row was wrong (state_index_rebuild); 0: it was the record. */
uint64_t state_index_blamed(const struct state_index_scan *scan);
void state_index_close(struct state_index_scan *scan);

/* A record, but `except`, whose value in the index is this one: for the primary's check of a unique index. 0 with its key;
 * ERR_NOT_FOUND: none; ERR_INTEGRITY: a row is damaged. `id` is that of an index that is READY in this snapshot. */
int state_index_holder(struct state_snapshot *snap, uint64_t id, const struct index_key *value,
                       struct bytes except, struct bytes *key, struct err *e);
/* Two records with one value in the index: an example of why it cannot be enforced. Looks at 200,000 rows at most (tens of
 * milliseconds): ERR_NOT_FOUND. */
int state_index_duplicate(struct state_snapshot *snap, uint64_t id, struct bytes *key_a,
                          struct bytes *key_b, struct err *e);

/* Build and drop, a little at a time: about max_work records looked at and rows written, in one LMDB transaction. 0: there is
 * more to do; ERR_NOT_FOUND: nothing (any more); ERR_INTEGRITY: what is left waits for damaged records to be repaired or
 * overwritten, `e` names one; try again later, as after other errors. `sink` (may be NULL) hears of damaged records
 * (FINDING_RECORD). Applier thread, between applies. */
int state_index_step(struct state *s, size_t max_work, const struct finding_sink *sink,
                     struct err *e);
/* Indexes that were built anew since the state was opened, because a row was missing or damaged, or a damaged record was
 * overwritten. Any thread. */
struct state_index_trouble {
    uint64_t rebuilt;
    char last[ERR_TEXT_BYTES]; /* which one was the last, and why; "" when none */
};
void state_index_trouble(struct state *s, struct state_index_trouble *out);
/* Which index a row of the state's databases belongs to (a FINDING_ROW): its id; 0: to none. */
uint64_t state_index_of_row(struct bytes database, struct bytes row_key);
/* A row of it is damaged or lies: build that index anew, under a new id. 0; ERR_NOT_FOUND: there is no such index (any more).
 * Applier thread. */
int state_index_rebuild(struct state *s, uint64_t id, struct err *e);

/* ---- building a state from a repository snapshot: only into an empty, new state ---- */
/* Records must come in order of (collection, key); a session before its results. state_build_end commits position, sessions and
 * points, and begins the first checkpoint: the state can be read from then on, and is there after a stop when
 * state_checkpoint_finish() has returned. It ends the build also when it fails. Declared indexes begin as building.
 * Abandoning leaves the state empty. No snapshot may be open when a build is abandoned or fails. Applier thread. */
struct state_build; /* opaque */
int state_build_begin(struct state *s, struct state_build **out, struct err *e);
int state_build_record(struct state_build *b, const struct record *r, struct err *e);
int state_build_session(struct state_build *b, const struct uuid *id,
                        const struct session_info *info, struct err *e);
int state_build_result(struct state_build *b, const struct uuid *id, uint64_t sequence,
                       const struct entry_position *at, struct err *e);
int state_build_point(struct state_build *b, const struct restore_point *p, struct err *e);
/* What entries did to sessions, in the order of the log, instead of applying those entries; behind the sessions and results that
 * were there before. Client names must be valid until it returns; the array is reordered. */
enum session_event_kind { SESSION_EVENT_OPEN, SESSION_EVENT_TXN, SESSION_EVENT_END };
struct state_session_event {
    struct uuid session;
    enum session_event_kind kind;
    uint32_t order;    /* in the array */
    uint64_t sequence; /* of a txn; 0: no result is kept */
    struct bytes client;
    struct entry_position at;
};
int state_build_events(struct state_build *b, struct state_session_event *events, size_t n,
                       struct err *e);
int state_build_end(struct state_build *b, const struct entry_position *at, enum commit_mode mode,
                    struct err *e);
void state_build_abandon(struct state_build *b);
/* To take a snapshot: every result, in order. */
int state_results(struct state_snapshot *snap,
                  int (*each)(void *arg, const struct uuid *, uint64_t,
                              const struct entry_position *),
                  void *arg, struct err *e);

uint64_t state_file_bytes(struct state *s); /* size of the LMDB file */
/* 0, or ERR_NO_SPACE with the figures: the file system has less than `reserve_bytes` free. Any thread. */
int state_room(const struct state *s, uint64_t reserve_bytes, struct err *e);

#endif
