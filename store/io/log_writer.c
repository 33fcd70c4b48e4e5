/* The writer: the one thread that writes the log.
 *
 * Whenever it is idle it takes the batch that gathers, writes it, makes it durable, publishes that,
 * and looks again: what was appended meanwhile is the next batch (group commit). One write is in
 * flight at a time, so a batch is written only when all before it are durable; recovery.c rests on
 * that.
 *
 * STATES of a segment file
 *   spare: header written and synced -> renamed, directory synced: current -> full, or cut: older
 *   -> retired (log_keeper.c)
 *
 * INVARIANTS
 *   I1  No block that holds entries is ever written again: each batch begins on a new block, and
 *       after an open a new segment is begun.
 *   I2  A segment's header is durable under its final name before its first batch is written, and
 *       is written when everything before its start is durable.
 *   I3  `durable` is published only after the engine's commit has returned without error.
 *   I4  The last block of a segment is left for an empty batch, so that the proof that the last
 *       batch was durable always has room.
 *
 * FAILURE MODES. Any failed write, sync or rename ends the thread: on_failed is called once, every
 * later append gives the same error, nothing is retried. No space for a new segment is not such a
 * failure: the writer waits for it, and appends are refused in the meantime. */
#include "store/io/cond.h"
#include "store/io/file.h"
#include "store/io/log_private.h"

#include "store/core/check.h"
#include "store/core/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* ---- opening the next segment ---- */

/* Give the spare its header under its old name, then its new name. */
static int dress_spare(struct log *log, uint64_t number, const struct segment_header *head, int *fd,
                       struct err *e)
{
    char from[LOG_NAME_BYTES], to[LOG_NAME_BYTES];
    bool direct;
    log_spare_name(number, from);
    log_segment_name(head->seq, to);
    *fd = file_open_direct(log->dir_fd, from, O_RDWR | log->engine->open_flags, &direct);
    if (*fd < 0)
        return file_error(e, from, "open", -*fd);
    memset(log->block, 0, BATCH_BLOCK_BYTES);
    segment_header_encode(head, log->block);
    int rc = engine_commit(log->engine, *fd, from, log->block, BATCH_BLOCK_BYTES, 0, e);
    if (rc == 0 && renameat(log->dir_fd, from, log->dir_fd, to) != 0)
        rc = file_error(e, from, "rename", errno);
    return rc != 0 ? rc : file_sync_dir(log->dir_fd, log->dir, e);
}

/* Under the mutex: the segment is part of the log. Older segments that begin at or after its start
 * are void now. */
static int publish_segment(struct log *log, const struct segment_header *head, bool cut,
                           struct err *e)
{
    size_t keep = log->segment_count;
    while (keep > 0 && log->segments[keep - 1].head.start.lsn.v >= head->start.lsn.v)
        keep--;
    int rc = log_drop_segments(log, keep, log->segment_count - keep, e);
    if (rc == 0)
        rc = log_reserve_segment(log, e);
    if (rc == 0)
        rc = segment_init(&log->segments[log->segment_count], head, log->segment_bytes, e);
    if (rc != 0)
        return rc;
    if (keep > 0 && log->segments[keep - 1].end.v > head->start.lsn.v)
        log->segments[keep - 1].end = head->start.lsn;
    log->segment_count++;
    log->room_bytes = log_batch_max(log->segment_bytes);
    if (cut) {
        log->last = head->start;
        log->durable = head->start.lsn;
        memory_truncate(&log->memory, head->start.lsn);
        log_run_truncate(log, head->start.lsn);
    }
    return 0;
}

int writer_roll(struct log *log, const struct entry_position *start, bool cut, bool patient,
                bool *fatal, struct err *e)
{
    struct segment_header head = {
        .cluster_id = log->cluster_id, .seq = log->next_seq, .start = *start};
    uint64_t number;
    int fd = -1;
    *fatal = false;
    if (getrandom(&head.nonce, sizeof head.nonce, 0) != (ssize_t)sizeof head.nonce)
        return file_error(e, log->dir, "get a random number for a segment", errno);
    pthread_mutex_lock(&log->mutex);
    int rc = keeper_take(log, patient, &number, e);
    pthread_mutex_unlock(&log->mutex);
    if (rc != 0)
        return rc;

    *fatal = true;
    rc = dress_spare(log, number, &head, &fd, e);
    if (rc == 0) {
        pthread_mutex_lock(&log->mutex);
        rc = publish_segment(log, &head, cut, e);
        pthread_mutex_unlock(&log->mutex);
    }
    if (rc != 0) {
        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    log->next_seq++;
    if (log->current.fd >= 0)
        (void)close(log->current.fd);
    log->current = (struct current){.fd = fd,
                                    .head = head,
                                    .bytes = log->segment_bytes,
                                    .offset = BATCH_BLOCK_BYTES,
                                    .number = 1,
                                    .position = *start};
    return 0;
}

/* ---- batches ---- */

/* Write a batch whose entries stand behind the room for its header, and make it durable. */
static int commit(struct log *log, const struct pending *b, struct err *e)
{
    struct current *c = &log->current;
    const struct bytes entries = bytes_of(b->p + BATCH_HEADER_BYTES, b->bytes - BATCH_HEADER_BYTES);
    const size_t whole = (size_t)batch_blocks_bytes(b->bytes);
    const struct batch_header h = {.seq = c->head.seq,
                                   .nonce = c->head.nonce,
                                   .first_lsn = b->first,
                                   .block = (uint32_t)(c->offset / BATCH_BLOCK_BYTES),
                                   .number = c->number,
                                   .durable = c->number - 1,
                                   .entry_count = b->count,
                                   .payload_bytes = entries.n,
                                   .payload_crc32c = hash_crc32c(0, entries)};
    char name[LOG_NAME_BYTES];
    log_segment_name(c->head.seq, name);
    check(c->offset + whole <= c->bytes && b->first.v == c->position.lsn.v + 1);
    batch_header_encode(&h, b->p);
    memset(b->p + b->bytes, 0, whole - b->bytes);
    int rc = engine_commit(log->engine, c->fd, name, b->p, whole, c->offset, e);
    if (rc != 0)
        return rc;
    c->offset += whole;
    c->number++;
    c->position = b->last;
    c->unproven = b->count > 0;
    return 0;
}

/* For entries: the last block is for a proof (I4). */
static uint64_t room_left(const struct current *c)
{
    return c->bytes - c->offset < BATCH_BLOCK_BYTES ? 0 : c->bytes - c->offset - BATCH_BLOCK_BYTES;
}

static int write_batch(struct log *log, const struct pending *b, struct err *e)
{
    struct current *c = &log->current;
    bool fatal;
    if (c->fd < 0 || batch_blocks_bytes(b->bytes) > room_left(c)) {
        int rc = writer_roll(log, &c->position, false, true, &fatal, e);
        if (rc != 0)
            return rc;
    }
    const uint64_t offset = c->offset;
    int rc = commit(log, b, e);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&log->mutex);
    struct segment *s = &log->segments[log->segment_count - 1];
    segment_mark(s, b->first, offset);
    s->end = log->durable = b->last.lsn;
    log->room_bytes = room_left(c);
    memory_written(&log->memory);
    memory_trim(&log->memory, log->durable);
    log->batches++;
    log->bytes += c->offset - offset;
    pthread_cond_broadcast(&log->done);
    pthread_mutex_unlock(&log->mutex);
    log->on_durable(log->arg, b->last);
    return 0;
}

/* An empty batch behind the last one: it says that the last one was durable. */
static int write_proof(struct log *log, struct err *e)
{
    struct current *c = &log->current;
    const struct pending empty = {.p = log->block,
                                  .bytes = BATCH_HEADER_BYTES,
                                  .first = {c->position.lsn.v + 1},
                                  .last = c->position};
    int rc = commit(log, &empty, e);
    pthread_mutex_lock(&log->mutex);
    log->room_bytes = room_left(c);
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

/* ---- the thread ---- */

/* A lack of space is the caller's to bear; any other failure is the log's. */
static int cut_log(struct log *log, struct err *e)
{
    bool fatal;
    int rc = writer_roll(log, &log->cut.last, true, false, &fatal, e);
    if (rc != 0 && fatal)
        return rc;
    pthread_mutex_lock(&log->mutex);
    log->cut.wanted = false;
    log->cut.rc = rc;
    if (rc != 0)
        log->cut.e = *e;
    pthread_cond_broadcast(&log->done);
    pthread_mutex_unlock(&log->mutex);
    return 0;
}

enum job { JOB_WRITE, JOB_CUT, JOB_PROVE, JOB_STOP };

static enum job wait_for_job(struct log *log, struct pending *batch)
{
    enum job job = JOB_WRITE;
    const struct timespec until = cond_deadline(log->idle_ms);
    pthread_mutex_lock(&log->mutex);
    while (!memory_front(&log->memory, batch)) {
        if (log->cut.wanted || log->stopping) {
            job = log->cut.wanted ? JOB_CUT : JOB_STOP;
            break;
        }
        if (!log->current.unproven) {
            pthread_cond_wait(&log->wake, &log->mutex);
        } else if (!cond_wait_until(&log->wake, &log->mutex, &until) &&
                   log->memory.queue_count == 0) {
            job = JOB_PROVE;
            break;
        }
    }
    pthread_mutex_unlock(&log->mutex);
    return job;
}

static void fail(struct log *log, const struct err *why)
{
    pthread_mutex_lock(&log->mutex);
    log->failure = *why;
    pthread_cond_broadcast(&log->done);
    pthread_mutex_unlock(&log->mutex);
    log->on_failed(log->arg, why);
}

static void *writer_main(void *arg)
{
    struct log *log = arg;
    struct pending batch;
    struct err e = ERR_NONE;
    int rc = 0;
    bool stop = false;
    while (rc == 0 && !stop) {
        enum job job = wait_for_job(log, &batch);
        stop = job == JOB_STOP;
        if (job == JOB_WRITE)
            rc = write_batch(log, &batch, &e);
        else if (job == JOB_CUT)
            rc = cut_log(log, &e);
        else if (log->current.unproven)
            rc = write_proof(log, &e);
    }
    if (rc != 0) {
        (void)err_wrap(&e, "log %s", log->dir);
        fail(log, &e);
    }
    return NULL;
}

int writer_start(struct log *log, struct err *e)
{
    int rc = pthread_create(&log->writer, NULL, writer_main, log);
    if (rc != 0)
        return file_error(e, log->dir, "start a thread for the log", rc);
    log->writer_running = true;
    return 0;
}
