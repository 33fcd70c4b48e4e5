/* The keeper: spare segments ahead of need.
 *
 * A commit into freshly allocated space costs about twice one into written space, so a spare is a
 * file that was written once from end to end and synced. In the steady state none is made: recycled
 * segments become spares. The writer takes a spare, writes its new header and only then renames it
 * to be a segment, so each <seq>.seg that is seen in the directory has a durable header of its own.
 *
 * INVARIANTS
 *   I1  A retired file's rename is durable before the file is offered as a spare: a header with a
 *       new number never stands under an old name.
 *   I2  Retired files are taken back in order, oldest first, each made durable before the next:
 *       what is left after a crash is without holes.
 *
 * FAILURE MODES. A spare that cannot be made (disk full, limit) is no failure of the log: it is
 * remembered as `trouble`, tried again each second, and refuses those appends that would need it.
 * A sync that fails for another reason than space is one: the disk that refused it is the one that
 * the next batch trusts. It ends the log as a failed sync of the writer's does.
 */
#include "store/io/cond.h"
#include "store/io/file.h"
#include "store/io/log_private.h"

#include "store/core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILL_BYTES = 1 << 20, RETRY_MS = 1000 };

static bool stopping(struct log *log)
{
    pthread_mutex_lock(&log->mutex);
    bool stop = log->keeper.stopping;
    pthread_mutex_unlock(&log->mutex);
    return stop;
}

/* Zeros from end to end, in steps, so that a stop does not wait for a whole segment on a slow disk.
 */
static int fill(struct log *log, int fd, const char *name, bool *sync_failed, struct err *e)
{
    uint8_t *zeros = file_buffer(FILL_BYTES);
    if (zeros == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to fill a segment");
    memset(zeros, 0, FILL_BYTES);
    int rc = 0;
    for (uint64_t at = 0; rc == 0 && at < log->segment_bytes; at += FILL_BYTES) {
        uint64_t left = log->segment_bytes - at;
        rc = stopping(log) ? err_set(e, ERR_CANCELLED, "%s: the log is closing", name)
                           : file_write_at(fd, name, zeros,
                                           left < FILL_BYTES ? (size_t)left : FILL_BYTES, at, e);
    }
    if (rc == 0 && fsync(fd) != 0) {
        rc = file_error(e, name, "sync", errno);
        *sync_failed = rc != ERR_NO_SPACE;
    }
    free(zeros);
    return rc;
}

static int sync_names(struct log *log, bool *sync_failed, struct err *e)
{
    int rc = file_sync_dir(log->dir_fd, log->dir, e);
    *sync_failed = rc != 0 && rc != ERR_NO_SPACE;
    return rc;
}

static int make_spare(struct log *log, uint64_t number, bool *sync_failed, struct err *e)
{
    char name[LOG_NAME_BYTES];
    bool direct;
    uint64_t free_bytes;
    int rc = file_free_bytes(log->dir_fd, log->dir, &free_bytes, e);
    if (rc != 0)
        return rc;
    if (free_bytes < log->segment_bytes + log->reserve_bytes)
        return err_set(
            e, ERR_NO_SPACE,
            "%s: %" PRIu64 " MiB are free, a new log segment needs %" PRIu64 " MiB and %" PRIu64
            " MiB are held in reserve: free space or make the file system larger",
            log->dir, free_bytes >> 20, log->segment_bytes >> 20, log->reserve_bytes >> 20);
    log_spare_name(number, name);
    int fd = file_open_direct(log->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC, &direct);
    if (fd < 0)
        return file_error(e, name, "create", -fd);
    rc = fill(log, fd, name, sync_failed, e);
    (void)close(fd);
    if (rc == 0)
        rc = sync_names(log, sync_failed, e);
    if (rc != 0)
        (void)unlinkat(log->dir_fd, name, 0);
    return rc;
}

/* Rename or remove a retired file. *spare tells its number when it became one. */
static int take_back(struct log *log, const struct retired *r, bool keep, uint64_t *spare,
                     bool *sync_failed, struct err *e)
{
    char name[LOG_NAME_BYTES], to[LOG_NAME_BYTES];
    log_segment_name(r->seq, name);
    *spare = 0;
    int rc;
    if (r->damaged) {
        (void)snprintf(to, sizeof to, "%016" PRIx64 ".damaged", r->seq);
        rc = renameat(log->dir_fd, name, log->dir_fd, to);
    } else if (keep) {
        *spare = log->keeper.next_number++;
        log_spare_name(*spare, to);
        rc = renameat(log->dir_fd, name, log->dir_fd, to);
    } else {
        rc = unlinkat(log->dir_fd, name, 0);
    }
    if (rc != 0)
        return file_error(e, name, "recycle", errno);
    return sync_names(log, sync_failed, e);
}

static void retire_first(struct log *log)
{
    struct keeper *k = &log->keeper;
    struct retired *r = k->first;
    k->first = r->next;
    if (k->first == NULL)
        k->last = &k->first;
    bool keep = r->bytes == log->segment_bytes && k->ready_count < LOG_SPARES_MAX;
    uint64_t spare;
    bool sync_failed = false;
    struct err e = ERR_NONE;
    pthread_mutex_unlock(&log->mutex);
    int rc = take_back(log, r, keep, &spare, &sync_failed, &e);
    pthread_mutex_lock(&log->mutex);
    if (sync_failed)
        log_fail(log, &e);
    else if (rc != 0)
        k->trouble = e;
    else if (spare != 0)
        k->ready[k->ready_count++] = spare, k->trouble = (struct err)ERR_NONE;
    if (rc == 0 && spare == 0)
        log->disk_bytes -= r->bytes;
    free(r);
    pthread_cond_broadcast(&log->wake);
}

static void make_one(struct log *log)
{
    struct keeper *k = &log->keeper;
    struct err e = ERR_NONE;
    bool sync_failed = false;
    uint64_t number = k->next_number++;
    log->disk_bytes += log->segment_bytes;
    pthread_mutex_unlock(&log->mutex);
    int rc = make_spare(log, number, &sync_failed, &e);
    pthread_mutex_lock(&log->mutex);
    if (sync_failed)
        log_fail(log, &e);
    if (rc == 0)
        k->ready[k->ready_count++] = number;
    else
        log->disk_bytes -= log->segment_bytes;
    k->trouble = e;
    pthread_cond_broadcast(&log->wake);
}

static bool within_limit(const struct log *log)
{
    return log->limit_bytes == 0 || log->disk_bytes + log->segment_bytes <= log->limit_bytes;
}

static void *keeper_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "log keeper");
    struct log *log = arg;
    struct keeper *k = &log->keeper;
    pthread_mutex_lock(&log->mutex);
    bool rest = false; /* after a failure, until the next try */
    while (!k->stopping || (k->first != NULL && log->failure.code == 0)) {
        if (log->failure.code != 0) {
            pthread_cond_wait(&k->wake, &log->mutex);
        } else if (k->first != NULL) {
            retire_first(log);
        } else if (k->ready_count < LOG_SPARES_READY && within_limit(log) && !rest) {
            make_one(log);
            rest = k->trouble.code != 0;
        } else if (rest) {
            rest = cond_wait_ms(&k->wake, &log->mutex, RETRY_MS);
        } else {
            pthread_cond_wait(&k->wake, &log->mutex);
        }
    }
    pthread_mutex_unlock(&log->mutex);
    return NULL;
}

int keeper_start(struct log *log, struct err *e)
{
    int rc = pthread_create(&log->keeper.thread, NULL, keeper_main, log);
    if (rc != 0)
        return file_error(e, log->dir, "start a thread for the log", rc);
    log->keeper.running = true;
    return 0;
}

void keeper_stop(struct log *log)
{
    if (!log->keeper.running)
        return;
    pthread_mutex_lock(&log->mutex);
    log->keeper.stopping = true;
    pthread_cond_broadcast(&log->keeper.wake);
    pthread_mutex_unlock(&log->mutex);
    (void)pthread_join(log->keeper.thread, NULL);
    log->keeper.running = false;
}

int keeper_retire(struct log *log, uint64_t seq, uint64_t bytes, bool damaged, struct err *e)
{
    struct retired *r = malloc(sizeof *r);
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to recycle a segment");
    *r = (struct retired){NULL, seq, bytes, damaged};
    *log->keeper.last = r;
    log->keeper.last = &r->next;
    pthread_cond_broadcast(&log->keeper.wake);
    return 0;
}

/* Is there no hope for a spare without help from outside? */
static int no_spare(const struct log *log, struct err *e)
{
    const struct keeper *k = &log->keeper;
    if (k->trouble.code != 0)
        return err_set(e, k->trouble.code, "%s", k->trouble.text);
    if (!within_limit(log) && k->first == NULL)
        return err_set(e, ERR_NO_SPACE, "%s: the log has reached its limit of %" PRIu64 " MiB",
                       log->dir, log->limit_bytes >> 20);
    return 0;
}

int keeper_take(struct log *log, bool patient, uint64_t *number, struct err *e)
{
    struct keeper *k = &log->keeper;
    int rc = 0;
    while (k->ready_count == 0) {
        if (log->failure.code != 0)
            return err_set(e, log->failure.code, "%s", log->failure.text);
        rc = no_spare(log, e);
        if (rc != 0 && (!patient || log->stopping))
            break;
        log->starved = rc != 0;
        pthread_cond_broadcast(&log->done);
        pthread_cond_wait(&log->wake, &log->mutex);
        rc = 0;
    }
    log->starved = false;
    if (rc != 0)
        return rc;
    *number = k->ready[--k->ready_count];
    pthread_cond_broadcast(&k->wake);
    return 0;
}

int keeper_can_grow(struct log *log, uint64_t segments, struct err *e)
{
    const struct keeper *k = &log->keeper;
    uint64_t bytes = (log->segment_count + segments) * log->segment_bytes;
    if (log->limit_bytes != 0 && bytes > log->limit_bytes)
        return err_set(e, ERR_NO_SPACE,
                       "%s: the log holds %zu segments of %" PRIu64 " MiB, needs %" PRIu64
                       " more and is limited to %" PRIu64
                       " MiB: bring back the site that is behind, or raise the limit",
                       log->dir, log->segment_count, log->segment_bytes >> 20, segments,
                       log->limit_bytes >> 20);
    if (segments > k->ready_count && k->trouble.code != 0)
        return err_set(e, k->trouble.code, "%s", k->trouble.text);
    return 0;
}
