/* What the store asks of the disk, in order: system calls on files below one directory, and notes of what was promised
 * meanwhile. A program that links record.c has the C library's calls for files replaced, for itself and for LMDB. */
#ifndef TESTS_CRASH_RECORD_H
#define TESTS_CRASH_RECORD_H

#include "tests/crash/disk.h"

enum event_type {
    EVENT_CREATE,
    EVENT_REMOVE,
    EVENT_RENAME,
    EVENT_WRITE,
    EVENT_RESIZE,
    EVENT_SYNC, /* at its return; covers what was recorded before `begun` */
    EVENT_NOTE, /* what `what`, `n` and `limit` mean is the caller's */
};

struct event {
    enum event_type type;
    bool is_dir;
    int what;
    uint64_t dir, ino; /* numbers that the system gave */
    uint64_t to_dir;
    char name[DISK_NAME_BYTES], to[DISK_NAME_BYTES];
    uint64_t offset, n, begun, limit;
    uint8_t *bytes; /* NULL: zeros */
};

struct trace {
    struct event *v;
    size_t n, cap;
};

/* Bugs to be planted: what the store asks for is done, and never reaches the disk. */
enum lie {
    LIE_NOT,
    LIE_LOG,  /* syncs of the log: acknowledged before it is durable */
    LIE_DATA, /* syncs of LMDB's file: a checkpoint is published before its data is durable */
    LIE_REOPEN, /* syncs of the slots while opening: what was read back from the page cache counts as published */
    LIE_DIR,  /* syncs of directories */
    LIE_TAIL, /* each batch is written together with the block before it */
};
enum { LIES = LIE_TAIL + 1 };
const char *lie_name(enum lie lie);

/* Record into the trace from now on; NULL: no more. One at a time. */
void record_into(struct trace *t, enum lie lie);
/* The store is being opened (LIE_REOPEN). */
void record_opening(bool opening);
/* How many events there are so far. */
size_t record_count(void);
/* Any thread. */
void record_note(int what, uint64_t n, uint64_t limit);
void trace_clear(struct trace *t);

/* Play the k-th event onto a disk that is bound to the directory it was recorded in. `moments` has room for one per event. */
void trace_play(const struct trace *t, size_t k, struct disk *d, uint64_t *moments);

#endif
