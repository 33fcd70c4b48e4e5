/* What the files of the state share. Order of reading: state.c (open, checkpoint), state_apply.c, state_sessions.c,
 * state_history.c, state_pool.c, state_read.c, state_scan.c, state_past.c, state_verify.c, state_recount.c, state_repair.c,
 * state_build.c. */
#ifndef STORE_IO_STATE_INTERNAL_H
#define STORE_IO_STATE_INTERNAL_H

#include "store/core/slot.h"
#include "store/io/state_links.h"
#include "store/io/state_rows.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    BATCH_MAX_BYTES = 64 << 20,
    BUILD_MAX_OPS = 32768, /* of a build: its records share pages */
};

struct batch;   /* state_apply.c */
struct recount; /* state_recount.c */
struct index;   /* state_index.h */
struct index_gather;

struct catalog { /* of indexes */
    struct index *v;
    size_t n, cap;
};
struct index_count {
    uint8_t name[COLLECTION_MAX_BYTES];
    size_t name_bytes;
    uint32_t indexes;
};

struct state_snapshot {
    struct state *state;
    struct state_txn t;
    struct state_row row;
    size_t txn_id; /* LMDB's, of the state that `row` and `name` are of */
    bool known;
    bool warm;                   /* it is in the transaction `txn_id`; else it is reset */
    uint32_t scans;              /* open ones */
    struct state_snapshot *next; /* in the pool */
    /* The collection looked up last: gets come in runs. */
    uint8_t name[COLLECTION_MAX_BYTES];
    size_t name_bytes;
    uint64_t id;
    bool empty;             /* it has no records now */
    uint64_t history_reads; /* rows of the history that were looked up; tests bound them */
};

/* Where a thread's last snapshot lies; alone in its cache line. */
enum { SPARES = 16, CACHE_LINE_BYTES = 64 };
struct spare {
    struct state_snapshot *_Atomic snap;
    uint8_t alone[CACHE_LINE_BYTES - sizeof(void *)];
};

struct state {
    struct state_options options; /* dir is ours */
    int dir_fd, lock_fd, slot_fd;
    MDB_env *env;
    MDB_dbi dbi[DB_COUNT];

    /* The applier's. */
    struct state_row row; /* as committed last */
    struct batch *batch;
    bool building;
    struct recount *recount;           /* NULL: none has begun */
    struct catalog catalog;            /* with what the transaction at hand changed */
    bool catalog_is_stale;             /* that transaction was aborted */
    bool counts_are_stale;             /* index_counts is of an older catalog */
    struct index_gather *index_gather; /* of state_index_step; NULL: never needed */

    /* Checkpoints: two read transactions, one pinned at the published slot, one for the next. */
    MDB_txn *pin[2];
    unsigned pinned;
    struct slot published;
    struct slot begun;
    struct uuid boot_id;

    pthread_mutex_t lock; /* guards what is below, and `published` */
    bool closed;          /* no environment: while it is reset, and after that failed */
    bool is_begun;
    bool failed; /* a checkpoint or a reset failed: nothing more is written */
    struct entry_position applied;
    struct state_doubt doubt;
    struct index_count *index_counts; /* by collection */
    size_t index_counts_n;
    struct state_index_trouble index_trouble;
    struct state_snapshot *pool;
    uint32_t snapshots_made, pooled;

    /* state_pool.c; no lock. */
    _Atomic size_t newest; /* transaction that warm snapshots are of; 0: one is being committed */
    uint8_t apart[CACHE_LINE_BYTES]; /* each get reads the one and writes to one of the others */
    struct spare spares[SPARES];
};

/* Begin a write transaction; ERR_IO after a failure, ERR_BUSY while a build goes on (unless it is the build's). */
int state_write_begin(struct state *s, struct state_txn *t, struct err *e);
/* Write the state row, commit, and make the new position known. Ends the transaction in any case. */
int state_write_commit(struct state *s, struct state_txn *t, const struct state_row *row,
                       struct err *e);

/* ---- state_pool.c ---- */
/* One that is warm, or reset, or was never begun. ERR_BUSY: all are in use, or the state is closed. */
int state_pool_take(struct state *s, struct state_snapshot **out, struct err *e);
void state_pool_give(struct state_snapshot *snap);
/* Before a commit: snapshots that nobody uses are reset, and none is kept warm until state_pool_committed(). */
void state_pool_cool(struct state *s);
void state_pool_committed(struct state *s);
/* Free all idle snapshots, and let no more be opened. ERR_BUSY, and nothing is changed, when one is open. */
int state_pool_clear(struct state *s, struct err *e);

void state_batch_free(struct batch *b);

/* ---- state_sessions.c ---- */
/* Apply a batch's events; reorders the array. */
int state_apply_sessions(const struct state_txn *t, struct state_session_event *events, size_t n,
                         struct err *e);

/* ---- state_history.c: what a batch adds to the history, and what leaves it ---- */
enum { HISTORY_COPY_MAX_BYTES = 64 << 20 }; /* of old values, in one batch */

/* A record as it was before a change. */
struct old_version {
    bool there, damaged;
    struct lsn lsn; /* 0: none in the window */
    struct utc time;
    struct bytes value;
    size_t copied; /* 1 + place of the value in the gatherer's memory; 0: `value` is a view */
};
struct past_row; /* a row that will be written */
struct past_gather {
    bool keep; /* false: no history, or the batch's old values were too many */
    struct lsn from;
    struct past_row *rows;
    size_t n, capacity, chain; /* chain: first row of the record that is being added */
    uint32_t *order;           /* by number of effect: 1 + row; 0: none */
    size_t effects, order_capacity;
    uint8_t *copies;
    size_t used, copies_capacity;
    struct past_front *front; /* state_history.c, of past_prune */
    struct links *links;
    struct link link; /* of the newest version of the record that is being added */
};
void past_free(struct past_gather *g);
/* For a batch of so many effects. */
int past_begin(struct past_gather *g, bool keep, struct lsn from, size_t effects, struct err *e);
/* Keep a copy of the value that LMDB shows: it is valid until the next write only. Ends keeping when it is one too many. */
int past_copy(struct past_gather *g, struct old_version *old, struct bytes value, struct err *e);
/* The next change of the record. Nothing unless g->keep. `key` outlives the batch. */
struct past_change {
    uint32_t effect; /* its number in the log's order */
    uint64_t collection;
    struct bytes key;
    struct lsn lsn;
    struct utc time;
    bool is_put;
};
int past_add(struct past_gather *g, const struct state_txn *t, const struct past_change *change,
             const struct old_version *before, struct err *e);
/* Between the changes of two records. */
void past_end_record(struct past_gather *g);
/* Write what was gathered, in order, and count it in `row`. */
int past_write(struct past_gather *g, const struct state_txn *t, struct state_row *row,
               struct err *e);
/* Remove at most `max` rows from the front that are outside the window at row->at; *pruned says how many went. */
int past_prune(struct past_gather *g, const struct state_txn *t, struct state_row *row,
               const struct state_options *limits, size_t max, size_t *pruned, struct err *e);

/* ---- state_past.c ---- */
/* The record as of `as_of`, which the window holds: its versions begin with `newest`. 0, ERR_NOT_FOUND, or ERR_INTEGRITY with
 * a reason; the caller names the record. Fills lsn, time and value. */
int past_find(struct state_snapshot *snap, struct bytes record_key, struct lsn newest,
              struct lsn as_of, struct record *out, struct err *e);

/* Are all chains whole? Each version after history_from is the newest of its record or the one before a row of the history, and
 * has a row (H1): two sums over the same versions. */
struct past_sum {
    struct lsn from;
    struct digest rows, versions;
    uint64_t count, bytes; /* of rows */
    bool unknown;          /* a row says that its predecessor could not be read */
};
void past_sum_newest(struct past_sum *s, struct lsn lsn, struct bytes record_key);
void past_sum_row(struct past_sum *s, const struct history_row *row, struct bytes record_key);
bool past_sum_is_whole(const struct past_sum *s);

/* ---- state_recount.c ---- */
/* A record changes in the transaction at hand. `old` and `new` are NULL where there is none; `rotten`: the old one is damaged,
 * and its digest a guess. Without effect where no recount has come as far. */
void state_recount_change(struct state *s, struct bytes row_key, uint32_t bucket,
                          const struct digest *old, bool rotten, const struct digest *new);
/* The transaction is not committed: what was counted with it is wrong. Also when the state is closed or goes back. */
void state_recount_drop(struct state *s);
/* Healthy records of the bucket and how many damaged ones, where all are counted. False: not known. */
bool state_recount_bucket(const struct state *s, uint32_t bucket, struct digest *healthy,
                          uint32_t *damaged);
/* A damaged record was made whole. */
void state_recount_repaired(struct state *s, struct bytes row_key, uint32_t bucket,
                            struct digest digest);
/* In the transaction: the sums cannot be trusted any more, `why` tells of what. Once it is committed, state_doubt_begun(). */
int state_doubt_write(struct state *s, const struct state_txn *t, struct lsn since, struct err *e);
void state_doubt_begun(struct state *s, struct lsn since, uint64_t replaced, const struct err *why);

/* ---- state_scan.c ---- */
int state_record_damaged(struct err *e, struct bytes collection, struct bytes key,
                         const struct err *why);

#endif
