/* Inside of the log: what its files share, and the seam through which tests bring an engine that
 * fails.
 *
 * log.c          open, close, append, truncate, recycle, status
 * log_recover.c  reads the directory at open and decides with store/core/recovery.h
 * log_scan.c     reads a directory without opening it, for tools; log_scan.h
 * log_files.c    names of files, and reading them whole
 * log_writer.c   the threads that write batches and open segments
 * log_keeper.c   the thread that makes spare segments ahead of need and takes back recycled ones
 * log_read.c     readers
 * log_mend.c     writes a damaged segment anew
 * log_memory.c   entries in memory
 *
 * LOCKS: one mutex guards everything marked (m). It is never held over I/O. */
#ifndef STORE_IO_LOG_PRIVATE_H
#define STORE_IO_LOG_PRIVATE_H

#include "store/core/batch.h"
#include "store/io/log_engine.h"
#include "store/io/log_memory.h"
#include "store/log.h"

#include <pthread.h>

enum {
    LOG_NAME_BYTES = 40, /* of a file in the directory */
    LOG_MARK_BYTES =
        64 << 10,         /* of segment between two marks: a reader's search reads up to that */
    LOG_SPARES_READY = 2, /* made ahead: one for the next need, one while the next is made */
    LOG_SPARES_MAX = 4,   /* kept of what is recycled */
    LOG_ASK_FREE_BYTES = 1 << 20, /* appended between two questions for the free space */
    LOG_LANES = 2, /* batches in flight: docs/PERFORMANCE.md has what more and fewer give */
    LOG_BESIDE_BYTES = 64 << 10, /* largest batch that goes out beside another */
    LOG_IDLE_MS = 200, /* pause after which the last batch gets its proof of having been durable */
};

/* From where in a segment to look for an lsn: the batch at `block` begins with `first`. */
struct mark {
    struct lsn first;
    uint32_t block;
};

struct segment {
    struct segment_header head;
    uint64_t bytes;
    struct lsn end; /* its last entry that counts; head.start.lsn when none */
    struct mark *marks;
    size_t mark_count, mark_cap;
};

/* A segment file that is not part of the log any more. */
struct retired {
    struct retired *next;
    uint64_t seq, bytes;
    bool damaged; /* kept aside for inspection, not written over */
};

struct keeper {
    pthread_t thread;
    bool running;
    pthread_cond_t wake;
    bool stopping;                  /* (m) */
    uint64_t ready[LOG_SPARES_MAX]; /* (m) numbers of spare files */
    unsigned ready_count;           /* (m) */
    uint64_t next_number;
    struct retired *first, **last; /* (m) queue */
    struct err trouble;            /* (m) why no spare could be made; code 0 when none */
};

/* The segment being written. fd, head and bytes change only while nothing is in flight. */
struct current {
    int fd; /* -1: none yet */
    struct segment_header head;
    uint64_t bytes;
    uint64_t offset;                /* (m) of the next batch */
    uint32_t number;                /* (m) of the next batch */
    uint32_t durable;               /* (m) number of the last batch published; 0: none */
    struct entry_position position; /* (m) last entry that was given its place */
    bool
        unproven; /* (m) the last batch holds entries, and nothing after it says that it is durable */
};

struct log;

/* A thread that writes, with an engine of its own. */
struct lane {
    struct log *log;
    struct engine *engine;
    pthread_t thread;
    bool running;
};

struct log {
    char *dir;
    int dir_fd, lock_fd;
    struct uuid cluster_id;
    uint64_t segment_bytes, limit_bytes, reserve_bytes;
    /* The owner's: granted by log_room() to the next append, that is not refused any more; and to be appended since the file
     * system was last asked for its free space. */
    uint64_t granted_bytes, unasked_bytes;
    void (*on_durable)(void *arg, struct entry_position last);
    void (*on_failed)(void *arg, const struct err *why);
    void *arg;
    bool engines_owned;
    char engine_reason[ENGINE_REASON_BYTES];
    uint32_t idle_ms;
    uint64_t cut_bytes;
    char note[ERR_TEXT_BYTES];

    pthread_mutex_t mutex;
    pthread_cond_t wake;               /* the lanes: there is work, or a spare */
    pthread_cond_t done;               /* the owner and the lanes: something was finished */
    struct entry_position first, last; /* (m) */
    struct lsn durable;                /* (m) */
    struct lsn pushed;                 /* (m) what begins behind it is not written yet */
    struct memory memory;              /* (m) */
    struct segment *segments;          /* (m) ascending; the last is the one being written */
    size_t segment_count, segment_cap; /* (m) */
    uint64_t next_seq;                 /* the lane that opens a segment */
    uint64_t disk_bytes;               /* (m) segments, spares and retired */
    uint64_t room_bytes;               /* (m) left in the segment being written; 0 when none is */
    struct log_run runs[LOG_RUNS_MAX]; /* (m) */
    size_t run_count;                  /* (m) */
    struct err failure;                /* (m) code 0: none */
    bool stopping;                     /* (m) */
    uint64_t mending;                  /* (m) number of the segment that is being mended; 0: none */
    bool
        swapping; /* (m) its new file has the name, the list has the old one: readers wait on `done` */
    bool starved;            /* (m) the writer waits for space for a segment */
    uint64_t batches, bytes; /* (m) */
    struct {
        bool wanted; /* (m) owner to writer: cut after `last` */
        struct entry_position last;
        int rc;
        struct err e;
    } cut;

    struct lane lanes[LOG_LANES];
    unsigned lane_count;
    bool lent, held;           /* the options */
    struct lane borrowed;      /* of whoever lends a thread; no engine: there is none to lend to */
    bool watched;              /* (m) a lane waits for the time of the proof */
    uint64_t taken, published; /* (m) batches; what is between is in flight */
    bool alone;                /* (m) a lane does what needs that nothing is in flight */
    struct timespec prove_at;  /* (m) when the last batch gets its proof, if nothing follows */
    struct current current;
    uint8_t *block; /* one aligned block, for headers and empty batches */
    struct keeper keeper;
};

/* ---- for tests ---- */
struct log_seam {
    struct engine *engine; /* used instead of choosing one, not closed; NULL: choose */
    struct engine *beside; /* with `engine`: that of a second lane; NULL: there is one lane */
    struct engine *lent;   /* with `engine`: that of log_lend(); NULL: nothing is lent */
    uint32_t idle_ms;      /* 0: LOG_IDLE_MS */
};
int log_open_seam(struct log **out, const struct log_options *options,
                  const struct entry_position *start, const struct log_seam *seam, struct err *e);

/* ---- names ---- */
void log_segment_name(uint64_t seq, char out[LOG_NAME_BYTES]);  /* "<16 hex digits>.seg" */
void log_spare_name(uint64_t number, char out[LOG_NAME_BYTES]); /* "spare-<n>.seg" */

/* ---- files (log_files.c) ---- */
bool log_parse_segment(const char *name, uint64_t *seq);
bool log_parse_spare(const char *name, uint64_t *number);
/* Bytes of a file that the disk refused to read, as one range; none when `to` is 0. */
struct log_unreadable {
    size_t from, to;
};
/* The first n bytes of a segment file, past the page cache (after a failed sync the cache may hold
 * what the disk does not); zeros behind its end and for what the disk refuses to read. */
int log_read_image(int dir_fd, const char *name, uint8_t *image, size_t n,
                   struct log_unreadable *lost, struct err *e);

/* ---- segments; under the mutex once threads run ---- */
int segment_init(struct segment *s, const struct segment_header *head, uint64_t bytes,
                 struct err *e);
void segment_deinit(struct segment *s);
void segment_mark(struct segment *s, struct lsn first, uint64_t offset);
/* Room for one more segment in the list. */
int log_reserve_segment(struct log *log, struct err *e);
/* The segment that holds the entry, or NULL. */
struct segment *log_find_segment(struct log *log, struct lsn lsn);
/* Take segments [from, from+n) out of the list and give their files to the keeper. */
int log_drop_segments(struct log *log, size_t from, size_t n, struct err *e);
/* Largest batch, header included, that fits a segment: all but the segment header and a last empty
 * batch. */
static inline uint64_t log_batch_max(uint64_t segment_bytes)
{
    return segment_bytes - 2 * BATCH_BLOCK_BYTES;
}

/* ---- runs; under the mutex ---- */
void log_run_add(struct log *log, struct term term, struct lsn lsn);
void log_run_truncate(struct log *log, struct lsn last);

/* ---- recovery (before threads run) ---- */
/* Read the directory and decide. Fills segments, runs, first, last, next_seq, cut_bytes, note, the
 * keeper's spares and what it shall retire. On error nothing was changed on disk. */
int log_recover(struct log *log, const struct entry_position *checkpoint, struct err *e);

/* ---- keeper ---- */
int keeper_start(struct log *log, struct err *e);
void keeper_stop(struct log *log); /* finishes retiring, then joins */
/* Under the mutex: queue a file to be taken back. */
int keeper_retire(struct log *log, uint64_t seq, uint64_t bytes, bool damaged, struct err *e);
/* Under the mutex, which is given up while waiting: take a spare. When none can be made: the
 * trouble, if `patient` is false or the log is closing; otherwise waits until one can. */
int keeper_take(struct log *log, bool patient, uint64_t *number, struct err *e);
/* Under the mutex: could this many more segments be had? 0, or ERR_NO_SPACE with numbers and what
 * to do. */
int keeper_can_grow(struct log *log, uint64_t segments, struct err *e);

/* ---- writer ---- */
/* Open the next segment, which begins after `start`; when `cut`, everything after `start` is void
 * from then on. *fatal tells whether a failure is one of the disk (nothing may be written any more)
 * or only a lack of space. Nothing is in flight, and the mutex is not held. */
int writer_roll(struct lane *lane, const struct entry_position *start, bool cut, bool patient,
                bool *fatal, struct err *e);
int writer_start(struct log *log, struct err *e);
/* Waits until what was appended is written or a failure has come, and joins the lanes that run. */
void writer_stop(struct log *log);
/* Under the mutex: is there something that an idle lane would write now? */
bool writer_may_write(const struct log *log);
/* The disk has failed: wraps the reason, tells it once, and lets nothing more be written. Under the mutex,
 * which is given up for on_failed; only the first failure counts. */
void log_fail(struct log *log, struct err *why);

#endif
