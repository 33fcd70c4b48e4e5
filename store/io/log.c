/* The log, as its owner sees it: open, close, append, truncate, recycle and status. What the files
 * look like is in store/core/batch.h, what is decided at open in store/core/recovery.c, how entries
 * reach the disk in log_writer.c.
 *
 * INVARIANTS (checked where they are relied upon)
 *   I1  last >= durable >= first, in lsn; entries first+1..last can be read.
 *   I2  Entries after `durable` are in memory.
 *   I3  Segments in the list are ascending: each begins where the one before ends; the last is the
 *       one being written, if one is open.
 *   I4  An append takes all of its entries or none. */
#include "store/io/cond.h"
#include "store/io/file.h"
#include "store/io/log_private.h"

#include "store/core/check.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { DEFAULT_SEGMENT_BYTES = 64 << 20, DEFAULT_MEMORY_BYTES = 16 << 20 };

void log_segment_name(uint64_t seq, char out[LOG_NAME_BYTES])
{
    (void)snprintf(out, LOG_NAME_BYTES, "%016" PRIx64 ".seg", seq);
}

void log_spare_name(uint64_t number, char out[LOG_NAME_BYTES])
{
    (void)snprintf(out, LOG_NAME_BYTES, "spare-%" PRIu64 ".seg", number);
}

/* ---- the list of segments ---- */

int segment_init(struct segment *s, const struct segment_header *head, uint64_t bytes,
                 struct err *e)
{
    *s = (struct segment){.head = *head, .bytes = bytes, .end = head->start.lsn};
    s->mark_cap = (size_t)(bytes / LOG_MARK_BYTES) + 1;
    s->marks = calloc(s->mark_cap, sizeof *s->marks);
    return s->marks == NULL ? err_set(e, ERR_NO_MEMORY, "no memory for a segment's index") : 0;
}

void segment_deinit(struct segment *s)
{
    free(s->marks);
    s->marks = NULL;
}

void segment_mark(struct segment *s, struct lsn first, uint64_t offset)
{
    const uint32_t block = (uint32_t)(offset / BATCH_BLOCK_BYTES);
    if (s->mark_count > 0 &&
        block - s->marks[s->mark_count - 1].block < LOG_MARK_BYTES / BATCH_BLOCK_BYTES)
        return;
    check(s->mark_count < s->mark_cap);
    s->marks[s->mark_count++] = (struct mark){first, block};
}

int log_reserve_segment(struct log *log, struct err *e)
{
    if (log->segment_count < log->segment_cap)
        return 0;
    size_t cap = log->segment_cap == 0 ? 64 : 2 * log->segment_cap;
    struct segment *more = realloc(log->segments, cap * sizeof *more);
    if (more == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of segments");
    log->segments = more;
    log->segment_cap = cap;
    return 0;
}

struct segment *log_find_segment(struct log *log, struct lsn lsn)
{
    size_t low = 0,
           high = log->segment_count; /* the last that begins before lsn is in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (log->segments[middle].head.start.lsn.v < lsn.v)
            low = middle;
        else
            high = middle;
    }
    if (low >= high || log->segments[low].head.start.lsn.v >= lsn.v ||
        log->segments[low].end.v < lsn.v)
        return NULL;
    return &log->segments[low];
}

int log_drop_segments(struct log *log, size_t from, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        struct segment *s = &log->segments[from];
        int rc = keeper_retire(log, s->head.seq, s->bytes, false, e);
        if (rc != 0)
            return rc;
        segment_deinit(s);
        log->segment_count--;
        memmove(s, s + 1, (log->segment_count - from) * sizeof *s);
    }
    return 0;
}

/* ---- terms ---- */

void log_run_add(struct log *log, struct term term, struct lsn lsn)
{
    if (log->run_count > 0 && log->runs[log->run_count - 1].term.v == term.v)
        return;
    if (log->run_count == LOG_RUNS_MAX) {
        log->run_count--;
        memmove(log->runs, log->runs + 1, log->run_count * sizeof *log->runs);
    }
    log->runs[log->run_count++] = (struct log_run){term, lsn};
}

void log_run_truncate(struct log *log, struct lsn last)
{
    while (log->run_count > 0 && log->runs[log->run_count - 1].from.v > last.v)
        log->run_count--;
}

size_t log_runs(struct log *log, struct log_run *out, size_t max)
{
    pthread_mutex_lock(&log->mutex);
    const uint64_t first = log->first.lsn.v + 1;
    size_t begin = 0; /* runs that ended before the first entry do not count */
    while (begin + 1 < log->run_count && log->runs[begin + 1].from.v <= first)
        begin++;
    if (log->last.lsn.v < first)
        begin = log->run_count;
    if (log->run_count - begin > max)
        begin = log->run_count - max;
    size_t n = log->run_count - begin;
    if (n > 0)
        memcpy(out, log->runs + begin, n * sizeof *out);
    if (n > 0 && out[0].from.v < first)
        out[0].from.v = first;
    pthread_mutex_unlock(&log->mutex);
    return n;
}

/* ---- open and close ---- */

static void ignore_durable(void *arg, struct entry_position last)
{
    (void)arg;
    (void)last;
}

static void ignore_failed(void *arg, const struct err *why)
{
    (void)arg;
    (void)why;
}

static int take_options(struct log *log, const struct log_options *o, struct err *e)
{
    log->segment_bytes = o->segment_bytes == 0 ? DEFAULT_SEGMENT_BYTES : o->segment_bytes;
    if (log->segment_bytes % BATCH_BLOCK_BYTES != 0 || log->segment_bytes < LOG_SEGMENT_MIN_BYTES ||
        log->segment_bytes > LOG_SEGMENT_MAX_BYTES)
        return err_set(
            e, ERR_CONFIG,
            "segment size of %" PRIu64 " bytes: a multiple of %d from %d to %d is needed",
            log->segment_bytes, BATCH_BLOCK_BYTES, LOG_SEGMENT_MIN_BYTES, LOG_SEGMENT_MAX_BYTES);
    if (o->limit_bytes != 0 && o->limit_bytes < 2 * log->segment_bytes)
        return err_set(e, ERR_CONFIG,
                       "log limit of %" PRIu64 " bytes: at least two segments (%" PRIu64
                       ") are needed",
                       o->limit_bytes, 2 * log->segment_bytes);
    log->cluster_id = o->cluster_id;
    log->limit_bytes = o->limit_bytes;
    log->reserve_bytes = o->reserve_bytes;
    log->on_durable = o->on_durable != NULL ? o->on_durable : ignore_durable;
    log->on_failed = o->on_failed != NULL ? o->on_failed : ignore_failed;
    log->arg = o->arg;
    log->lent = o->lent;
    log->held = o->held;
    log->dir = strdup(o->dir);
    log->block = file_buffer(BATCH_BLOCK_BYTES);
    return log->dir == NULL || log->block == NULL ? err_set(e, ERR_NO_MEMORY, "no memory") : 0;
}

static struct log *log_new(void)
{
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    log->dir_fd = log->lock_fd = log->current.fd = -1;
    log->keeper.last = &log->keeper.first;
    check(pthread_mutex_init(&log->mutex, NULL) == 0);
    cond_init(&log->wake);
    cond_init(&log->done);
    cond_init(&log->keeper.wake);
    return log;
}

static void close_engine(struct lane *lane)
{
    if (lane->engine != NULL)
        lane->engine->close(lane->engine);
}

/* Stops what runs and releases everything, in any stage of opening. */
static void log_free(struct log *log)
{
    writer_stop(log);
    keeper_stop(log);
    while (log->keeper.first != NULL) {
        struct retired *r = log->keeper.first;
        log->keeper.first = r->next;
        free(r);
    }
    if (log->current.fd >= 0)
        (void)close(log->current.fd);
    for (unsigned i = 0; i < LOG_LANES && log->engines_owned; i++)
        close_engine(&log->lanes[i]);
    if (log->engines_owned)
        close_engine(&log->borrowed);
    for (size_t i = 0; i < log->segment_count; i++)
        segment_deinit(&log->segments[i]);
    free(log->segments);
    memory_deinit(&log->memory);
    if (log->lock_fd >= 0)
        (void)close(log->lock_fd);
    if (log->dir_fd >= 0)
        (void)close(log->dir_fd);
    (void)pthread_cond_destroy(&log->wake);
    (void)pthread_cond_destroy(&log->done);
    (void)pthread_cond_destroy(&log->keeper.wake);
    (void)pthread_mutex_destroy(&log->mutex);
    free(log->block);
    free(log->dir);
    free(log);
}

/* Threads of the log take no signals: those are the owner's. */
static int start_threads(struct log *log, struct err *e)
{
    sigset_t all, before;
    bool fatal;
    (void)sigfillset(&all);
    int rc = pthread_sigmask(SIG_BLOCK, &all, &before);
    check(rc == 0);
    rc = keeper_start(log, e);
    if (rc == 0) {
        /* The first segment of this run. With no space for one the log still opens: reads go on,
         * and appends are refused until there is some. */
        rc = writer_roll(&log->lanes[0], &log->last, false, false, &fatal, e);
        if (rc == ERR_NO_SPACE && !fatal)
            rc = 0;
    }
    if (rc == 0)
        rc = writer_start(log, e);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* Each lane has its own; where a second one cannot be had, one lane does it. */
static int choose_engines(struct log *log, const struct log_options *options, struct err *e)
{
    int rc = engine_choose(options->engine, log->dir_fd, options->dir, &log->lanes[0].engine,
                           log->engine_reason, e);
    if (rc != 0)
        return rc;
    int (*open)(struct engine **, struct err *) =
        log->lanes[0].engine->kind == LOG_ENGINE_URING ? engine_uring_open : engine_plain_open;
    (void)open(&log->lanes[1].engine, NULL);
    if (log->lent)
        (void)open(&log->borrowed.engine, NULL);
    return 0;
}

int log_open_seam(struct log **out, const struct log_options *options,
                  const struct entry_position *start, const struct log_seam *seam, struct err *e)
{
    struct log *log = log_new();
    if (log == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a log");
    log->unasked_bytes = LOG_ASK_FREE_BYTES;
    log->idle_ms = seam->idle_ms != 0 ? seam->idle_ms : LOG_IDLE_MS;
    log->engines_owned = seam->engine == NULL;
    log->lanes[0] = (struct lane){.log = log, .engine = seam->engine};
    log->lanes[1] = (struct lane){.log = log, .engine = seam->beside};
    log->borrowed = (struct lane){.log = log, .engine = seam->lent};
    int rc = take_options(log, options, e);
    if (rc == 0)
        rc = file_open_dir(options->dir, &log->dir_fd, e);
    if (rc == 0)
        rc = file_lock(log->dir_fd, options->dir, "LOCK", &log->lock_fd, e);
    if (rc == 0)
        rc = log_recover(log, start, e);
    if (rc == 0 && log->engines_owned)
        rc = choose_engines(log, options, e);
    if (rc == 0) {
        log->lane_count = log->lanes[1].engine != NULL ? 2 : 1;
        memory_init(&log->memory,
                    options->memory_bytes == 0 ? DEFAULT_MEMORY_BYTES : options->memory_bytes,
                    (size_t)log_batch_max(log->segment_bytes), log->last.lsn);
        log->current.position = log->last;
        rc = start_threads(log, e);
    }
    if (rc != 0) {
        log_free(log);
        return err_wrap(e, "log %s", options->dir);
    }
    *out = log;
    return 0;
}

int log_open(struct log **out, const struct log_options *options,
             const struct entry_position *start, struct err *e)
{
    return log_open_seam(out, options, start, &(struct log_seam){.engine = NULL}, e);
}

int log_close(struct log *log, struct err *e)
{
    if (log == NULL)
        return 0;
    writer_stop(log);
    const struct err failure = log->failure;
    log_free(log);
    return failure.code == 0 ? 0 : err_set(e, failure.code, "%s", failure.text);
}

/* ---- append ---- */

static int check_entries(const struct log *log, const struct entry_view *entries, size_t n,
                         struct err *e)
{
    struct entry_position at = log->last;
    for (size_t i = 0; i < n; i++) {
        const struct entry_header *h = &entries[i].header;
        if (!uuid_equal(&h->cluster_id, &log->cluster_id))
            return err_set(e, ERR_INTEGRITY,
                           "append to log %s: lsn %" PRIu64 " belongs to another cluster", log->dir,
                           h->lsn.v);
        if (entry_follows(&at, h, e) != 0)
            return err_wrap(e, "append to log %s", log->dir);
        const uint64_t bytes = BATCH_HEADER_BYTES + ENTRY_HEADER_BYTES + (uint64_t)h->body_bytes;
        if (batch_blocks_bytes(bytes) > log_batch_max(log->segment_bytes))
            return err_set(e, ERR_LIMIT,
                           "append to log %s: lsn %" PRIu64 " has %u bytes, a segment of %" PRIu64
                           " holds no such entry: raise the segment size",
                           log->dir, h->lsn.v, h->body_bytes, log->segment_bytes);
        at = entry_position_of(&entries[i]);
    }
    return 0;
}

/* Has the file system less free than the reserve? Owner thread, without the mutex: the lanes need that to tell what is durable,
 * and the answer may take its time. Asking costs a system call, and segments are written ahead: so it is asked again only after
 * so many bytes that the answer may have changed. A refusal is asked about each time. */
static int check_reserve(struct log *log, uint64_t entry_bytes, struct err *e)
{
    uint64_t free_bytes;
    if (log->reserve_bytes == 0)
        return 0;
    log->unasked_bytes += entry_bytes;
    if (log->unasked_bytes < LOG_ASK_FREE_BYTES)
        return 0;
    int rc = file_free_bytes(log->dir_fd, log->dir, &free_bytes, e);
    if (rc == 0 && free_bytes < log->reserve_bytes)
        rc = err_set(e, ERR_NO_SPACE,
                     "%s: %" PRIu64 " MiB are free, %" PRIu64
                     " MiB are held in reserve: free space or make the file system larger",
                     log->dir, free_bytes >> 20, log->reserve_bytes >> 20);
    if (rc == 0)
        log->unasked_bytes = 0;
    return rc;
}

/* Under the mutex: is there room on disk for what waits and this? Two batches in a row that do not
 * fit one segment together fill more than one between them, hence the factor 2. */
static int check_space(struct log *log, uint64_t entry_bytes, struct err *e)
{
    uint64_t bytes = log->memory.waiting_bytes + entry_bytes;
    /* Each batch adds its header and is padded; one more batch begins here at least. */
    bytes +=
        (log->memory.queue_count + 1 + bytes / log->memory.batch_bytes) * 2 * BATCH_BLOCK_BYTES;
    uint64_t need =
        bytes <= log->room_bytes ? 0 : 1 + 2 * bytes / log_batch_max(log->segment_bytes);
    return keeper_can_grow(log, need, e);
}

int log_append(struct log *log, const struct entry_view *entries, size_t n, struct err *e)
{
    if (n == 0)
        return 0;
    int rc = check_entries(log, entries, n, e); /* `last` changes only in calls of this thread */
    if (rc != 0)
        return rc;
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += ENTRY_HEADER_BYTES + entries[i].header.body_bytes;
    const bool granted = bytes <= log->granted_bytes;
    bool wakes = false; /* signalled behind the mutex: who wakes wants it next */
    struct err low = ERR_NONE;
    if (!granted)
        (void)check_reserve(log, bytes, &low);
    pthread_mutex_lock(&log->mutex);
    if (log->failure.code != 0)
        rc = err_set(e, log->failure.code, "%s", log->failure.text);
    if (rc == 0 && !granted)
        rc = check_space(log, bytes, e);
    if (rc == 0 && low.code != 0)
        rc = err_set(e, low.code, "%s", low.text);
    log->granted_bytes = 0;
    if (rc == 0)
        rc = memory_append(&log->memory, entries, n, e);
    if (rc == 0) {
        for (size_t i = 0; i < n; i++)
            log_run_add(log, entries[i].header.term, entries[i].header.lsn);
        log->last = entry_position_of(&entries[n - 1]);
        if (!log->held)
            log->pushed = log->last.lsn;
        wakes = !log->lent && writer_may_write(log);
    }
    pthread_mutex_unlock(&log->mutex);
    if (wakes)
        pthread_cond_signal(&log->wake);
    return rc;
}

void log_push(struct log *log)
{
    pthread_mutex_lock(&log->mutex);
    log->pushed = log->last.lsn;
    const bool wakes = writer_may_write(log);
    pthread_mutex_unlock(&log->mutex);
    if (wakes)
        pthread_cond_signal(&log->wake);
}

int log_room(struct log *log, uint64_t bytes, struct err *e)
{
    struct err low = ERR_NONE;
    (void)check_reserve(log, bytes, &low);
    pthread_mutex_lock(&log->mutex);
    int rc = log->failure.code == 0 ? 0 : err_set(e, log->failure.code, "%s", log->failure.text);
    if (rc == 0)
        rc = check_space(log, bytes, e);
    if (rc == 0 && low.code != 0)
        rc = err_set(e, low.code, "%s", low.text);
    if (rc == 0)
        rc = memory_room(&log->memory, bytes, e);
    if (rc == 0 &&
        batch_blocks_bytes(BATCH_HEADER_BYTES + bytes) > log_batch_max(log->segment_bytes) &&
        bytes > log->memory.chunk_bytes)
        rc = err_set(e, ERR_LIMIT,
                     "log %s: %" PRIu64 " bytes at once, a segment of %" PRIu64
                     " does not hold them: raise the segment size",
                     log->dir, bytes, log->segment_bytes);
    log->granted_bytes = rc == 0 ? bytes : 0;
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

/* ---- truncate and recycle ---- */

int log_truncate(struct log *log, struct lsn last, struct err *e)
{
    struct entry_position at = log->first;
    if (last.v < log->first.lsn.v)
        return err_set(e, ERR_GAP,
                       "log %s: cannot cut after lsn %" PRIu64
                       ", the first that can be read is %" PRIu64,
                       log->dir, last.v, log->first.lsn.v + 1);
    int rc = last.v == log->first.lsn.v ? 0 : log_position(log, last, &at, e);
    if (rc != 0)
        return rc;

    pthread_mutex_lock(&log->mutex);
    log->pushed = log->last.lsn;
    pthread_cond_broadcast(&log->wake); /* an append may have woken nobody */
    while (log->memory.queue_count > 0 && log->failure.code == 0 && !log->starved)
        pthread_cond_wait(&log->done, &log->mutex);
    if (log->failure.code == 0 && log->memory.queue_count > 0) {
        rc = err_set(e, ERR_NO_SPACE, "log %s: cannot cut while entries wait for space on disk",
                     log->dir);
    } else if (log->failure.code == 0 && last.v < log->last.lsn.v) {
        log->cut.last = at;
        log->cut.wanted = true;
        pthread_cond_broadcast(&log->wake);
        while (log->cut.wanted && log->failure.code == 0)
            pthread_cond_wait(&log->done, &log->mutex);
        if (log->cut.rc != 0)
            rc = err_set(e, log->cut.rc, "%s", log->cut.e.text);
    }
    if (log->failure.code != 0)
        rc = err_set(e, log->failure.code, "%s", log->failure.text);
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

int log_recycle(struct log *log, struct lsn keep, struct err *e)
{
    pthread_mutex_lock(&log->mutex);
    size_t n = 0;
    while (n + 1 < log->segment_count && log->segments[n].end.v < keep.v &&
           log->segments[n].head.seq != log->mending)
        n++;
    int rc = log_drop_segments(log, 0, n, e);
    if (n > 0 && log->segments[0].head.start.lsn.v > log->first.lsn.v)
        log->first = log->segments[0].head.start;
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

void log_status(struct log *log, struct log_status *out)
{
    pthread_mutex_lock(&log->mutex);
    *out = (struct log_status){
        .first = log->first,
        .last = log->last,
        .durable = log->durable,
        .engine = log->lanes[0].engine->kind,
        .engine_reason = log->engine_reason,
        .disk_bytes = log->disk_bytes,
        .segments = log->segment_count,
        .cut_bytes = log->cut_bytes,
        .note = log->note,
        .batches = log->batches,
        .bytes = log->bytes,
    };
    pthread_mutex_unlock(&log->mutex);
}
