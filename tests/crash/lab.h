/* A site's log and state under test: what is done to them, what was promised meanwhile, and whether a disk that
 * lost power still keeps it. Above this, cuts.c decides what to do and when the power fails. */
#ifndef TESTS_CRASH_LAB_H
#define TESTS_CRASH_LAB_H

#include "store/core/digest.h"
#include "store/core/entry.h"
#include "store/core/err.h"
#include "store/log.h"
#include "store/state.h"
#include "tests/crash/record.h"

#include <pthread.h>

/* ---- chance ---- */
struct chance {
    uint64_t s;
};
uint32_t chance_below(struct chance *c, uint32_t n);

/* ---- the tree of all entries ever appended; branches come from cutting the log ---- */
enum { KEYS = 24, NODES_MAX = 60000 };

struct cell {
    uint64_t lsn; /* 0: no record */
    uint32_t bytes;
};
struct node {
    struct entry_position at;
    size_t parent;
    bool dead;            /* must never come back */
    struct digest digest; /* of the state after it */
    struct cell cells[KEYS];
};

/* Notes in a trace; the number is a node, the limit how many there were. */
enum note {
    NOTE_DURABLE, /* acknowledged */
    NOTE_CUTTING, /* log_truncate was called: what comes after the node may go */
    NOTE_CUT,     /* ... has returned: it must not come back */
    NOTE_OPENED, /* recovery has ended here: as if acknowledged, and all other branches must not come back */
};

struct lab {
    char dir[64]; /* where the store runs */
    struct node *nodes;
    size_t node_count; /* node 0 is the empty store */
    size_t required;   /* what is promised at this moment of the trace */
    struct chance chance;
    /* while it runs */
    struct log *log;
    struct state *state;
    size_t tip;
    pthread_mutex_t lock; /* nodes, for the log's thread */
    pthread_t finisher;
    bool finishing;
};

void lab_init(struct lab *l, uint64_t seed);
void lab_free(struct lab *l);

/* Follow a note in what is promised. */
void lab_note(struct lab *l, const struct event *e);

/* Open the store in l->dir, replay. 0, or the error. */
int lab_open(struct lab *l, struct err *e);
/* Finishes what runs; always closes. */
int lab_close(struct lab *l, struct err *e);

/* One thing that a site does; each ends with the lab as it was found: all is durable, nothing runs. */
enum act {
    ACT_APPEND,     /* one entry */
    ACT_BURST,      /* several batches, not waited for one by one */
    ACT_LARGE,      /* fills a good part of a segment */
    ACT_PAUSE,      /* long enough for the proof of the last batch */
    ACT_CHECKPOINT, /* apply what is durable, publish, recycle */
    ACT_CUT,        /* undo the newest entry or more, if it is not applied */
    ACT_REOPEN,     /* a clean stop and start */
    ACT_APPLY,      /* without a checkpoint */
    ACT_WHILE,      /* a checkpoint is finished on a thread of its own while the rest goes on */
    ACT_RESET,      /* back to the checkpoint and replay, as a rejoining site does */
    ACTS,
};
int lab_act(struct lab *l, enum act act, struct err *e);

/* Does the store in `dir` keep what is promised now? In a child process, since a damaged one may crash it. 0, or 1 with
 * the reason; *tip is where it ended. */
int lab_verify(struct lab *l, const char *dir, size_t *tip, char why[ERR_TEXT_BYTES]);

/* Temporary directories in memory. */
void dir_new(char out[64]);
void dir_clear(const char *path);

#endif
