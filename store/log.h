/* The log: the truth of a site. Segmented, recycled, written in padded batches, by threads of its own.
 *
 * Threads: append, truncate, recycle and close are called by one owner thread (the site's loop). read, position, runs,
 * lend, push and status may be called by any thread. The callbacks run on the log's own threads, or in log_lend(), one call at a
 * time, and must only post to the owner. */
#ifndef STORE_LOG_H
#define STORE_LOG_H

#include "store/core/entry.h"
#include "store/core/err.h"

struct log; /* opaque */

enum log_engine { LOG_ENGINE_AUTO = 0, LOG_ENGINE_URING = 1, LOG_ENGINE_PLAIN = 2 };

enum {
    LOG_SEGMENT_MIN_BYTES = 1 << 20,
    LOG_SEGMENT_MAX_BYTES = 1 << 30, /* recovery holds two in memory */
};

struct log_options {
    const char *dir; /* "<data>/log"; created when missing */
    struct uuid cluster_id;
    uint64_t segment_bytes; /* a multiple of 4096, at least 1 MiB; default 64 MiB when 0 */
    uint64_t limit_bytes;   /* appends are refused with ERR_NO_SPACE beyond; 0: no limit */
    uint64_t reserve_bytes; /* ... or when the file system has less free than this */
    uint64_t memory_bytes;  /* recent entries kept for readers, default 16 MiB when 0 */
    enum log_engine engine;
    bool lent; /* log_append() wakes nobody: whoever appended calls log_lend() behind it */
    bool
        held; /* log_append() wakes nobody: the owner calls log_push() behind the last one of a row */
    /* All appended entries up to `last` are on stable storage. */
    void (*on_durable)(void *arg, struct entry_position last);
    /* A write or sync failed. Nothing more is written, nothing is retried; the site must stop. A batch that was being written
     * may still be told durable: it is. */
    void (*on_failed)(void *arg, const struct err *why);
    void *arg;
};

/* What an engine does, for people and status: "io_uring", "pwrite+O_DSYNC". */
const char *log_engine_name(enum log_engine engine);

struct log_status {
    struct entry_position first; /* position before the first entry that can still be read */
    struct entry_position last;  /* last appended */
    struct lsn durable;          /* last on stable storage */
    enum log_engine engine;      /* the one in use */
    const char *engine_reason; /* why, e.g. "io_uring is forbidden here: Operation not permitted" */
    uint64_t disk_bytes;       /* all segment files */
    uint64_t segments;
    uint64_t cut_bytes; /* torn tail cut at the last open */
    const char
        *note; /* what the last open passed over or cut, "" when nothing; valid until close */
    uint64_t batches, bytes; /* written since open */
};

/* Open or create and recover. A torn, never acknowledged tail is cut and told in the status; damage before
 * it is ERR_INTEGRITY with segment, offset and what to do, and nothing is changed on disk. Takes the lsn below
 * which the state does not need the log (a damaged or missing part below it is reported, not fatal).
 * `start` is where an empty log begins: position zero, or where a restored state ends. */
int log_open(struct log **out, const struct log_options *options,
             const struct entry_position *start, struct err *e);
/* Waits for what was appended, then closes. After a failure it returns that failure. */
int log_close(struct log *log, struct err *e);

/* Queue sealed entries, which must follow the last appended (checked: ERR_INTEGRITY). Copies; never blocks on the
 * disk. ERR_BUSY when more than 64 MiB wait to be written, ERR_NO_SPACE at a limit: then nothing was taken. */
int log_append(struct log *log, const struct entry_view *entries, size_t n, struct err *e);

/* Have written what was appended to a log that was opened with `held`: what an owner appends in a row, in one turn of its
 * loop, so is one batch, however quickly a thread of the log would take the first of it. */
void log_push(struct log *log);

/* Lend this thread to the log, which was opened with `lent`: when nothing is being written, what waits is written here, and is
 * durable and told when this returns; otherwise the log's own threads take it, and this returns at once. A single writer so
 * waits for its disk and for no other thread. */
void log_lend(struct log *log);

/* Would entries of `bytes` together (headers included) be taken by log_append now? 0, or the error that it would give for
 * them: asked before an entry is given its place, so that what has a place is never refused: after 0 the next append of at most
 * so many bytes finds the space, whatever others did to the file system in between. Owner thread. */
int log_room(struct log *log, uint64_t bytes, struct err *e);

/* Cut everything after `last`; durable when it returns (waits for the writer). ERR_GAP when that entry cannot be
 * read any more; ERR_NO_SPACE when there is no space for the segment that it takes: then nothing was cut. */
int log_truncate(struct log *log, struct lsn last, struct err *e);

/* Entries below `keep` are not needed any more: their whole segments become spares to be written over. */
int log_recycle(struct log *log, struct lsn keep, struct err *e);

/* Copy whole entries (header and body, back to back) with lsn from `from` up to `to` into buf, as many as fit.
 * Sees appended entries whether or not they are durable. *used and *count are set. 0; ERR_GAP when `from` was recycled;
 * ERR_NOT_FOUND when `from` is beyond the last; ERR_LIMIT when the first does not fit (*used = bytes needed);
 * ERR_INTEGRITY when the disk's copy is damaged. */
int log_read(struct log *log, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
             size_t *used, size_t *count, struct err *e);

/* Is the entry in the log's memory, so that log_read gives it without waiting for the disk? Any thread. */
bool log_in_memory(struct log *log, struct lsn lsn);

/* For a scrub: read about max_bytes of entries from `from` on from the segment files, past memory and the page cache, and check
 * them. *next is where to go on, behind damage too; *bytes what was read. 0; ERR_NOT_FOUND when nothing durable is left from
 * there on; ERR_INTEGRITY, naming segment, byte and lsn, when the disk's copy is damaged or cannot be read; *damaged is then
 * the first entry that is lost there. Any thread. */
int log_check(struct log *log, struct lsn from, size_t max_bytes, struct lsn *next,
              struct lsn *damaged, size_t *bytes, struct err *e);

/* Write the segment that holds the damaged entry `lsn` anew: what can be read is read, the rest is fetched, with the contract
 * of log_read (from another site), and must fit in between by its hashes. The damaged file is kept beside as <number>.damaged.
 * 0; ERR_BUSY: the segment is still being written, or ends beyond `committed`, try later; ERR_GAP: it is not in the log any
 * more; other errors, the fetch's among them: the log is as it was. Blocks for as long as it takes to write a segment; any one
 * thread but the owner's, and not beside log_close. */
typedef int (*log_fetch_fn)(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
                            size_t *used, size_t *count, struct err *e);
struct log_mended {
    uint64_t segment; /* its number */
    struct lsn from, to;
    uint64_t fetched; /* entries that came from elsewhere */
};
int log_mend(struct log *log, struct lsn lsn, struct lsn committed, log_fetch_fn fetch, void *arg,
             struct log_mended *out, struct err *e);

/* Position of the entry at lsn (0 gives the zero position). ERR_GAP or ERR_NOT_FOUND as above. */
int log_position(struct log *log, struct lsn lsn, struct entry_position *out, struct err *e);

/* The terms of the readable log: where each begins. Ascending, the newest `max` of them (at most LOG_RUNS_MAX are
 * remembered); the first begins at the first entry that can be read. Returns how many. Any thread. */
struct log_run {
    struct term term;
    struct lsn from;
};
enum { LOG_RUNS_MAX = 1024 };
size_t log_runs(struct log *log, struct log_run *out, size_t max);

void log_status(struct log *log, struct log_status *out);

#endif
