/* What the files of the state share. Order of reading: state.c (open, checkpoint), state_apply.c, state_sessions.c,
 * state_read.c, state_scan.c, state_verify.c, state_build.c. */
#ifndef STORE_IO_STATE_INTERNAL_H
#define STORE_IO_STATE_INTERNAL_H

#include "store/core/slot.h"
#include "store/io/state_rows.h"

#include <pthread.h>

enum {
    /* A transaction of LMDB must stay far below 131,071 dirty pages (0.9.24 leaks pages when it spills). One client's
     * transaction may have 65,536 ops of its own; several together stop here. */
    BATCH_MAX_OPS = 32768,
    BATCH_MAX_BYTES = 64 << 20,
};

struct batch; /* state_apply.c */

struct state_snapshot {
    struct state *state;
    struct state_txn t;
    struct state_row row;
    uint32_t scans;              /* open ones */
    struct state_snapshot *next; /* in the pool */
    /* The collection looked up last: gets come in runs. */
    uint8_t name[COLLECTION_MAX_BYTES];
    size_t name_bytes;
    uint64_t id;
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
    struct state_snapshot *pool;
    uint32_t snapshots_made, snapshots_open;
};

/* Begin a write transaction; ERR_IO after a failure, ERR_BUSY while a build goes on (unless it is the build's). */
int state_write_begin(struct state *s, struct state_txn *t, struct err *e);
/* Write the state row, commit, and make the new position known. Ends the transaction in any case. */
int state_write_commit(struct state *s, struct state_txn *t, const struct state_row *row,
                       struct err *e);

/* Free all idle snapshots, and let no more be opened. ERR_BUSY, and nothing is changed, when one is open. */
int state_pool_clear(struct state *s, struct err *e);

void state_batch_free(struct batch *b);

/* ---- state_sessions.c ---- */
enum session_event_kind { SESSION_EVENT_OPEN, SESSION_EVENT_TXN, SESSION_EVENT_END };
struct session_event {
    struct uuid session;
    enum session_event_kind kind;
    uint32_t order;    /* in the batch */
    uint64_t sequence; /* of a txn; 0: no result is kept */
    struct bytes client;
    struct entry_position at;
};
/* Apply a batch's events; reorders the array. */
int state_apply_sessions(const struct state_txn *t, struct session_event *events, size_t n,
                         struct err *e);

/* ---- state_scan.c ---- */
int state_record_damaged(struct err *e, struct bytes collection, struct bytes key,
                         const struct err *why);

#endif
