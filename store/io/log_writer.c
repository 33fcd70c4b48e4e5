/* The writer: the threads that write the log, called lanes.
 *
 * A lane that is idle takes the batch that gathers, writes it, makes it durable, waits until the one before is published,
 * publishes its own, and looks again: what was appended meanwhile is the next batch (group commit). A second batch goes out
 * beside the first only while it is small (LOG_BESIDE_BYTES): then the disk takes it for nothing; a large one is better left to
 * gather, because each write has its price in processor time.
 *
 * A thread that is lent (log_lend) does for one batch what a lane does, if nothing is in flight; lanes take what gathers
 * meanwhile. Waking a lane, and being woken by it, costs a single writer a fifth of what the disk takes.
 *
 * Each batch says up to which one the segment was known durable when it was taken (`durable` of its header); recovery.c rests
 * on that. So when the power goes, a batch may be whole on disk although the one before it is not: neither was acknowledged,
 * and both are cut.
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
 *   I5  Batches are published in their order, and on_durable is called in that order.
 *   I6  A new segment, a cut and a proof are made by one lane while no batch is in flight.
 *
 * FAILURE MODES. Any failed write, sync or rename ends all lanes: on_failed is called once, every
 * later append gives the same error, nothing is retried and nothing published. No space for a new segment is not such a
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
static int dress_spare(struct lane *lane, uint64_t number, const struct segment_header *head,
                       int *fd, struct err *e)
{
    struct log *log = lane->log;
    char from[LOG_NAME_BYTES], to[LOG_NAME_BYTES];
    bool direct;
    log_spare_name(number, from);
    log_segment_name(head->seq, to);
    *fd = file_open_direct(log->dir_fd, from, O_RDWR | lane->engine->open_flags, &direct);
    if (*fd < 0)
        return file_error(e, from, "open", -*fd);
    memset(log->block, 0, BATCH_BLOCK_BYTES);
    segment_header_encode(head, log->block);
    int rc = engine_commit(lane->engine, *fd, from, log->block, BATCH_BLOCK_BYTES, 0, e);
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
        log->durable = log->pushed = head->start.lsn;
        memory_truncate(&log->memory, head->start.lsn);
        log_run_truncate(log, head->start.lsn);
    }
    return 0;
}

int writer_roll(struct lane *lane, const struct entry_position *start, bool cut, bool patient,
                bool *fatal, struct err *e)
{
    struct log *log = lane->log;
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
    rc = dress_spare(lane, number, &head, &fd, e);
    if (rc == 0) {
        pthread_mutex_lock(&log->mutex);
        rc = publish_segment(log, &head, cut, e);
        if (rc == 0) {
            const int old = log->current.fd;
            log->current = (struct current){.fd = fd,
                                            .head = head,
                                            .bytes = log->segment_bytes,
                                            .offset = BATCH_BLOCK_BYTES,
                                            .number = 1,
                                            .position = *start};
            log->next_seq++;
            fd = old;
        }
        pthread_mutex_unlock(&log->mutex);
    }
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

/* ---- batches ---- */

/* For entries: the last block is for a proof (I4). */
static uint64_t room_left(const struct current *c)
{
    return c->fd < 0 || c->bytes - c->offset < BATCH_BLOCK_BYTES
               ? 0
               : c->bytes - c->offset - BATCH_BLOCK_BYTES;
}

/* A batch in flight: what it is, and where it goes. */
struct flight {
    struct pending batch;
    uint64_t ticket, offset;
    uint32_t number, durable;
};

/* Under the mutex: give the batch its place behind all that were taken. */
static void take_place(struct log *log, struct flight *f)
{
    struct current *c = &log->current;
    const uint64_t whole = batch_blocks_bytes(f->batch.bytes);
    check(c->offset + whole <= c->bytes && f->batch.first.v == c->position.lsn.v + 1);
    f->offset = c->offset;
    f->number = c->number;
    f->durable = c->durable;
    f->ticket = log->taken++;
    c->offset += whole;
    c->number++;
    c->position = f->batch.last;
}

/* Write a batch whose entries stand behind the room for its header, and make it durable. */
static int commit(struct lane *lane, const struct flight *f, struct err *e)
{
    struct log *log = lane->log;
    const struct current *c = &log->current;
    const struct pending *b = &f->batch;
    const struct bytes entries = bytes_of(b->p + BATCH_HEADER_BYTES, b->bytes - BATCH_HEADER_BYTES);
    const size_t whole = (size_t)batch_blocks_bytes(b->bytes);
    const struct batch_header h = {.seq = c->head.seq,
                                   .nonce = c->head.nonce,
                                   .first_lsn = b->first,
                                   .block = (uint32_t)(f->offset / BATCH_BLOCK_BYTES),
                                   .number = f->number,
                                   .durable = f->durable,
                                   .entry_count = b->count,
                                   .payload_bytes = entries.n,
                                   .payload_crc32c = hash_crc32c(0, entries)};
    char name[LOG_NAME_BYTES];
    log_segment_name(c->head.seq, name);
    batch_header_encode(&h, b->p);
    memset(b->p + b->bytes, 0, whole - b->bytes);
    return engine_commit(lane->engine, c->fd, name, b->p, whole, f->offset, e);
}

/* Under the mutex, which is given up while waiting and for on_durable: publish when it is this batch's turn. Not after a
 * failure: then nothing behind it is known to be durable. */
static void publish(struct log *log, const struct flight *f)
{
    while (log->published != f->ticket && log->failure.code == 0)
        pthread_cond_wait(&log->done, &log->mutex);
    if (log->failure.code != 0)
        return;
    struct segment *s = &log->segments[log->segment_count - 1];
    segment_mark(s, f->batch.first, f->offset);
    s->end = log->durable = f->batch.last.lsn;
    log->current.durable = f->number;
    log->current.unproven = true;
    log->room_bytes = room_left(&log->current);
    memory_written(&log->memory);
    memory_trim(&log->memory, log->durable);
    log->batches++;
    log->bytes += batch_blocks_bytes(f->batch.bytes);
    log->prove_at = cond_deadline(log->idle_ms);
    pthread_mutex_unlock(&log->mutex);
    log->on_durable(log->arg, f->batch.last);
    pthread_mutex_lock(&log->mutex);
    log->published++;
    pthread_cond_broadcast(&log->done);
}

/* ---- what a lane does next ---- */

enum job { JOB_WRITE, JOB_ROLL, JOB_CUT, JOB_PROVE, JOB_STOP, JOB_NONE };

static unsigned in_flight(const struct log *log)
{
    return (unsigned)(log->taken - log->published);
}

bool writer_may_write(const struct log *log)
{
    const struct pending *next = memory_next(&log->memory);
    if (next == NULL || next->first.v > log->pushed.v || log->alone ||
        in_flight(log) >= log->lane_count)
        return false;
    return in_flight(log) == 0 || (next->bytes <= LOG_BESIDE_BYTES &&
                                   batch_blocks_bytes(next->bytes) <= room_left(&log->current));
}

/* Under the mutex. All but writing beside others needs that nothing is in flight (I6). */
static enum job next_job(const struct log *log)
{
    if (log->failure.code != 0)
        return JOB_STOP;
    const struct pending *next = memory_next(&log->memory);
    if (next != NULL) {
        if (!writer_may_write(log))
            return JOB_NONE;
        return batch_blocks_bytes(next->bytes) <= room_left(&log->current) ? JOB_WRITE : JOB_ROLL;
    }
    if (log->alone || in_flight(log) > 0)
        return JOB_NONE;
    if (log->cut.wanted)
        return JOB_CUT;
    return log->stopping ? JOB_STOP : JOB_NONE;
}

static bool wants_proof(const struct log *log)
{
    return !log->alone && in_flight(log) == 0 && log->current.unproven;
}

/* Under the mutex, which is given up while waiting. */
static enum job wait_for_job(struct log *log)
{
    for (;;) {
        enum job job = next_job(log);
        if (job != JOB_NONE)
            return job;
        if (!wants_proof(log)) {
            pthread_cond_wait(&log->wake, &log->mutex);
            continue;
        }
        const struct timespec until = log->prove_at;
        log->watched = true;
        const bool due = !cond_wait_until(&log->wake, &log->mutex, &until);
        log->watched = false;
        if (due && next_job(log) == JOB_NONE && wants_proof(log) &&
            !cond_is_before(&until, &log->prove_at))
            return JOB_PROVE;
    }
}

/* ---- jobs ---- */

static int do_write(struct lane *lane, struct err *e)
{
    struct log *log = lane->log;
    struct flight f;
    memory_take(&log->memory, &f.batch);
    take_place(log, &f);
    if (writer_may_write(log)) /* more waits, and small enough to go out beside this */
        pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->mutex);
    int rc = commit(lane, &f, e);
    pthread_mutex_lock(&log->mutex);
    if (rc == 0)
        publish(log, &f);
    return rc;
}

/* An empty batch behind the last one: it says that the last one was durable. */
static int write_proof(struct lane *lane, struct err *e)
{
    struct log *log = lane->log;
    struct current *c = &log->current;
    struct flight f = {.batch = {.p = log->block,
                                 .bytes = BATCH_HEADER_BYTES,
                                 .first = {c->position.lsn.v + 1},
                                 .last = c->position}};
    take_place(log, &f);
    pthread_mutex_unlock(&log->mutex);
    int rc = commit(lane, &f, e);
    pthread_mutex_lock(&log->mutex);
    c->durable = f.number;
    c->unproven = false;
    log->published++;
    log->room_bytes = room_left(c);
    return rc;
}

/* A lack of space is the caller's to bear; any other failure is the log's. */
static int cut_log(struct lane *lane, struct err *e)
{
    struct log *log = lane->log;
    bool fatal;
    pthread_mutex_unlock(&log->mutex);
    int rc = writer_roll(lane, &log->cut.last, true, false, &fatal, e);
    pthread_mutex_lock(&log->mutex);
    if (rc != 0 && fatal)
        return rc;
    log->cut.wanted = false;
    log->cut.rc = rc;
    if (rc != 0)
        log->cut.e = *e;
    return 0;
}

static int roll(struct lane *lane, struct err *e)
{
    struct log *log = lane->log;
    bool fatal;
    const struct entry_position start = log->current.position;
    pthread_mutex_unlock(&log->mutex);
    int rc = writer_roll(lane, &start, false, true, &fatal, e);
    pthread_mutex_lock(&log->mutex);
    return rc;
}

/* Under the mutex: one of the jobs of I6. */
static int do_alone(struct lane *lane, enum job job, struct err *e)
{
    struct log *log = lane->log;
    log->alone = true;
    int rc = job == JOB_CUT ? cut_log(lane, e) : job == JOB_ROLL ? roll(lane, e) : 0;
    if (rc == 0 && (job == JOB_PROVE || job == JOB_STOP) && log->current.unproven)
        rc = write_proof(lane, e);
    log->alone = false;
    pthread_cond_broadcast(&log->wake);
    pthread_cond_broadcast(&log->done);
    return rc;
}

/* ---- the threads ---- */

/* What is acknowledged is whole on disk, and recovery looks past the page cache, so starting again is safe. */
static void advise(struct err *e)
{
    (void)err_advise(e,
                     e->code == ERR_NO_SPACE
                         ? "free space there, then start the site again (triveni serve): it goes "
                           "on from what is whole on disk"
                         : "look at the disk (dmesg, smartctl), then start the site again "
                           "(triveni serve): it goes on from what is whole on disk");
}

void log_fail(struct log *log, struct err *why)
{
    if (log->failure.code != 0)
        return;
    (void)err_wrap(why, "log %s", log->dir);
    advise(why);
    log->failure = *why;
    pthread_cond_broadcast(&log->done);
    pthread_cond_broadcast(&log->wake);
    pthread_mutex_unlock(&log->mutex);
    log->on_failed(log->arg, why);
    pthread_mutex_lock(&log->mutex);
}

static void *lane_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "log writer");
    struct lane *lane = arg;
    struct log *log = lane->log;
    struct err e = ERR_NONE;
    int rc = 0;
    enum job job;
    pthread_mutex_lock(&log->mutex);
    do {
        job = wait_for_job(log);
        if (log->failure.code != 0)
            break;
        rc = job == JOB_WRITE ? do_write(lane, &e) : do_alone(lane, job, &e);
    } while (rc == 0 && job != JOB_STOP);
    if (rc != 0)
        log_fail(log, &e);
    pthread_cond_broadcast(&log->wake);
    pthread_mutex_unlock(&log->mutex);
    return NULL;
}

void log_lend(struct log *log)
{
    struct err e = ERR_NONE;
    pthread_mutex_lock(&log->mutex);
    log->pushed = log->last.lsn;
    if (log->borrowed.engine != NULL && in_flight(log) == 0 && next_job(log) == JOB_WRITE &&
        do_write(&log->borrowed, &e) != 0)
        log_fail(log, &e);
    /* What a lane has to do: what gathered meanwhile, a new segment, the proof of this batch. */
    if (next_job(log) != JOB_NONE || (wants_proof(log) && !log->watched))
        pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->mutex);
}

int writer_start(struct log *log, struct err *e)
{
    for (unsigned i = 0; i < log->lane_count; i++) {
        int rc = pthread_create(&log->lanes[i].thread, NULL, lane_main, &log->lanes[i]);
        if (rc != 0)
            return file_error(e, log->dir, "start a thread for the log", rc);
        log->lanes[i].running = true;
    }
    return 0;
}

void writer_stop(struct log *log)
{
    pthread_mutex_lock(&log->mutex);
    log->stopping = true;
    log->pushed = log->last.lsn;
    pthread_cond_broadcast(&log->wake);
    pthread_mutex_unlock(&log->mutex);
    for (unsigned i = 0; i < LOG_LANES; i++) {
        if (log->lanes[i].running)
            (void)pthread_join(log->lanes[i].thread, NULL);
        log->lanes[i].running = false;
    }
}
