/* Mending a segment of the log that has rotted on the disk, while the log is in use.
 *
 * The entries that can still be read are read here, the others come from another site. Neither is believed: each must follow
 * the one before by its hash, from the position that the segment begins at to the one that the next segment begins at, both of
 * which are known here. So what is written is what was there, whoever gave it.
 *
 * INVARIANTS (beside those of log_writer.c and log_keeper.c, which hold as they are)
 *   M1  Nothing is written in place. The segment is written whole into a spare, under the spare's name, synced, and only then
 *       renamed over the damaged one; the directory is synced before anybody hears of it. The damaged file keeps a name of
 *       its own,
 *       <seq>.damaged, for inspection.
 *   M2  It has a new nonce: whoever reads the old file, or the new one by what is known of the old, sees no batches, waits
 *   until names
 *       and list agree, asks again where the entries are, and finds them (log_read.c).
 *   M3  Only a segment that is full and committed is mended, and none is recycled while it is. So its place in the log stays.
 *
 * FAILURE MODES. Any error leaves the log as it was; the spare is given back. A crash before the rename leaves a spare, one
 * after it the mended segment; recovery knows both. */
#include "store/io/file.h"
#include "store/io/log_private.h"

#include "store/core/check.h"
#include "store/core/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum { CHUNK_BYTES = 1 << 20 }; /* of entries in a batch, and asked for at a time */

struct mend {
    struct log *log;
    struct segment_header head; /* of the new file: the same, but for the nonce */
    struct segment fresh;
    struct entry_position at, end; /* written so far; where it must lead */
    int fd;
    char name[LOG_NAME_BYTES]; /* the spare's */
    uint64_t offset, spare;
    uint32_t number;
    uint8_t *batch; /* room for a header, then entries */
    size_t batch_bytes, batch_cap;
    struct lsn batch_first;
    uint32_t batch_count;
    uint8_t *in; /* entries as they came */
    size_t in_cap;
    log_fetch_fn fetch;
    void *arg;
    uint64_t fetched;
};

/* ---- writing ---- */

static int flush(struct mend *m, struct err *e)
{
    const size_t whole = (size_t)batch_blocks_bytes(m->batch_bytes);
    const struct bytes entries =
        bytes_of(m->batch + BATCH_HEADER_BYTES, m->batch_bytes - BATCH_HEADER_BYTES);
    const struct batch_header h = {.seq = m->head.seq,
                                   .nonce = m->head.nonce,
                                   .first_lsn = m->batch_first,
                                   .block = (uint32_t)(m->offset / BATCH_BLOCK_BYTES),
                                   .number = m->number,
                                   .durable = m->number - 1,
                                   .entry_count = m->batch_count,
                                   .payload_bytes = entries.n,
                                   .payload_crc32c = hash_crc32c(0, entries)};
    if (m->offset + whole > m->log->segment_bytes)
        return err_set(e, ERR_LIMIT, "its entries do not fit a segment of %" PRIu64 " bytes",
                       m->log->segment_bytes);
    batch_header_encode(&h, m->batch);
    memset(m->batch + m->batch_bytes, 0, whole - m->batch_bytes);
    int rc = file_write_at(m->fd, m->name, m->batch, whole, m->offset, e);
    if (rc != 0)
        return rc;
    if (m->batch_count > 0)
        segment_mark(&m->fresh, m->batch_first, m->offset);
    m->offset += whole;
    m->number++;
    m->batch_bytes = BATCH_HEADER_BYTES;
    m->batch_count = 0;
    m->batch_first = (struct lsn){m->at.lsn.v + 1};
    return 0;
}

static int room_for(struct mend *m, size_t bytes, struct err *e)
{
    const size_t need = (size_t)batch_blocks_bytes(BATCH_HEADER_BYTES + bytes);
    if (need <= m->batch_cap)
        return 0;
    free(m->batch); /* only ever grown while it is empty */
    m->batch = file_buffer(need);
    m->batch_cap = m->batch == NULL ? 0 : need;
    return m->batch != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "no memory for a batch");
}

static int put_entry(struct mend *m, const struct entry_view *v, struct err *e)
{
    const size_t bytes = ENTRY_HEADER_BYTES + (size_t)v->header.body_bytes;
    int rc = uuid_equal(&v->header.cluster_id, &m->log->cluster_id)
                 ? entry_follows(&m->at, &v->header, e)
                 : err_set(e, ERR_FORMAT, "the entry belongs to another cluster");
    if (rc == 0 && m->batch_count > 0 &&
        m->batch_bytes + bytes > BATCH_HEADER_BYTES + (size_t)CHUNK_BYTES)
        rc = flush(m, e);
    if (rc == 0 && m->batch_count == 0)
        rc = room_for(m, bytes > CHUNK_BYTES ? bytes : (size_t)CHUNK_BYTES, e);
    if (rc != 0)
        return rc;
    memcpy(m->batch + m->batch_bytes, v->raw, ENTRY_HEADER_BYTES);
    if (v->header.body_bytes != 0)
        memcpy(m->batch + m->batch_bytes + ENTRY_HEADER_BYTES, v->body, v->header.body_bytes);
    m->batch_bytes += bytes;
    m->batch_count++;
    m->at = entry_position_of(v);
    return 0;
}

/* ---- the entries ---- */

static int grow(struct mend *m, size_t need, struct err *e)
{
    uint8_t *more = realloc(m->in, need);
    if (more == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for %zu bytes of entries", need);
    m->in = more;
    m->in_cap = need;
    return 0;
}

static int from_here(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
                     size_t *used, size_t *count, struct err *e)
{
    return log_read(arg, from, to, buf, cap, used, count, e);
}

static int ask(struct mend *m, log_fetch_fn fetch, void *arg, size_t *used, size_t *count,
               struct err *e)
{
    const struct lsn from = {m->at.lsn.v + 1};
    int rc = fetch(arg, from, m->end.lsn, m->in, m->in_cap, used, count, e);
    if (rc == ERR_LIMIT && (rc = grow(m, *used, e)) == 0)
        rc = fetch(arg, from, m->end.lsn, m->in, m->in_cap, used, count, e);
    return rc;
}

static int take_some(struct mend *m, struct err *e)
{
    size_t used, count, taken;
    struct err why = ERR_NONE;
    int rc = ask(m, from_here, m->log, &used, &count, &why);
    if (rc == ERR_INTEGRITY || rc == ERR_IO || rc == ERR_GAP) { /* a gap: passed over at the open */
        rc = ask(m, m->fetch, m->arg, &used, &count, &why);
        m->fetched += rc == 0 ? count : 0;
    }
    if (rc == 0 && count == 0)
        rc = err_set(&why, ERR_NOT_FOUND, "no entries came");
    struct bytes in = bytes_of(m->in, rc == 0 ? used : 0);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct entry_view v;
        rc = entry_decode(in, &v, &taken, &why);
        if (rc == 0)
            rc = put_entry(m, &v, &why);
        if (rc == 0)
            in = bytes_of(in.p + taken, in.n - taken);
    }
    return rc == 0 ? 0 : err_set(e, rc, "from lsn %" PRIu64 " on: %s", m->at.lsn.v + 1, why.text);
}

static int write_all(struct mend *m, struct err *e)
{
    int rc = room_for(m, CHUNK_BYTES, e);
    if (rc == 0)
        rc = grow(m, CHUNK_BYTES, e);
    if (rc != 0)
        return rc;
    memset(m->batch, 0, BATCH_BLOCK_BYTES);
    segment_header_encode(&m->head, m->batch);
    rc = file_write_at(m->fd, m->name, m->batch, BATCH_BLOCK_BYTES, 0, e);
    m->batch_first = (struct lsn){m->at.lsn.v + 1};
    while (rc == 0 && m->at.lsn.v < m->end.lsn.v)
        rc = take_some(m, e);
    if (rc == 0 && m->batch_count > 0)
        rc = flush(m, e);
    if (rc == 0 && !sha256_equal(&m->at.hash, &m->end.hash))
        rc = err_set(e, ERR_INTEGRITY, "what came does not lead to the next segment");
    if (rc == 0 && m->offset < m->log->segment_bytes)
        rc = flush(m, e); /* empty: it says that all before it is durable */
    if (rc == 0 && fsync(m->fd) != 0)
        rc = file_error(e, m->name, "sync", errno);
    return rc;
}

/* ---- names ---- */

/* M1 */
static int put_in_place(struct mend *m, struct err *e)
{
    char name[LOG_NAME_BYTES], aside[LOG_NAME_BYTES];
    const int dir = m->log->dir_fd;
    log_segment_name(m->head.seq, name);
    (void)snprintf(aside, sizeof aside, "%016" PRIx64 ".damaged", m->head.seq);
    (void)unlinkat(dir, aside, 0);
    /* Not every file system has two names for a file; then the damaged one is not kept. */
    if (linkat(dir, name, dir, aside, 0) != 0 && errno == EIO)
        return file_error(e, name, "keep aside", errno);
    if (renameat(dir, m->name, dir, name) != 0)
        return file_error(e, m->name, "rename", errno);
    return file_sync_dir(dir, m->log->dir, e);
}

/* Under the mutex: the place of the segment in the list, by its number. */
static struct segment *find_seq(struct log *log, uint64_t seq)
{
    for (size_t i = 0; i < log->segment_count; i++)
        if (log->segments[i].head.seq == seq)
            return &log->segments[i];
    return NULL;
}

/* Under the mutex. Fills head, at and end. */
static int begin(struct mend *m, struct lsn lsn, struct lsn committed, struct err *e)
{
    struct log *log = m->log;
    const struct segment *s = log_find_segment(log, lsn);
    if (s == NULL)
        return err_set(e, ERR_GAP, "lsn %" PRIu64 " is not in the log any more", lsn.v);
    if (s == &log->segments[log->segment_count - 1] || s->end.v > committed.v)
        return err_set(e, ERR_BUSY, "its segment is still being written");
    m->head = s->head;
    m->at = s->head.start;
    m->end = s[1].head.start;
    if (m->end.lsn.v != s->end.v)
        return err_set(e, ERR_BUSY, "its segment does not lead to the next one");
    if (log->mending != 0)
        return err_set(e, ERR_BUSY, "another segment is being mended");
    int rc = keeper_take(log, false, &m->spare, e);
    if (rc == 0)
        log->mending = m->head.seq;
    return rc;
}

/* Under the mutex. */
static void give_back(struct log *log, uint64_t spare)
{
    struct keeper *k = &log->keeper;
    if (k->ready_count < LOG_SPARES_MAX)
        k->ready[k->ready_count++] = spare;
    pthread_cond_broadcast(&log->wake);
}

/* Under the mutex. */
static void publish(struct mend *m)
{
    struct segment *s = find_seq(m->log, m->head.seq);
    check(s != NULL); /* M3 */
    m->log->disk_bytes -= s->bytes;
    segment_deinit(s);
    m->fresh.end = m->end.lsn;
    *s = m->fresh;
    m->fresh.marks = NULL;
}

static int mend_with_spare(struct mend *m, struct err *e)
{
    bool direct;
    log_spare_name(m->spare, m->name);
    if (getrandom(&m->head.nonce, sizeof m->head.nonce, 0) != (ssize_t)sizeof m->head.nonce)
        return file_error(e, m->log->dir, "get a random number for a segment", errno);
    m->fd = file_open_direct(m->log->dir_fd, m->name, O_RDWR, &direct);
    if (m->fd < 0)
        return file_error(e, m->name, "open", -m->fd);
    int rc = segment_init(&m->fresh, &m->head, m->log->segment_bytes, e);
    if (rc == 0)
        rc = write_all(m, e);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&m->log->mutex);
    m->log->swapping = true;
    pthread_mutex_unlock(&m->log->mutex);
    return put_in_place(m, e);
}

int log_mend(struct log *log, struct lsn lsn, struct lsn committed, log_fetch_fn fetch, void *arg,
             struct log_mended *out, struct err *e)
{
    struct mend m = {.log = log,
                     .fd = -1,
                     .offset = BATCH_BLOCK_BYTES,
                     .number = 1,
                     .batch_bytes = BATCH_HEADER_BYTES,
                     .fetch = fetch,
                     .arg = arg};
    pthread_mutex_lock(&log->mutex);
    int rc = begin(&m, lsn, committed, e);
    pthread_mutex_unlock(&log->mutex);
    if (rc != 0)
        return err_wrap(e, "log %s", log->dir);
    rc = mend_with_spare(&m, e);
    pthread_mutex_lock(&log->mutex);
    if (rc == 0)
        publish(&m);
    else
        give_back(log, m.spare);
    log->mending = 0;
    log->swapping = false;
    pthread_cond_broadcast(&log->done);
    pthread_mutex_unlock(&log->mutex);
    if (m.fd >= 0)
        (void)close(m.fd);
    segment_deinit(&m.fresh);
    free(m.batch);
    free(m.in);
    *out = (struct log_mended){m.head.seq, m.head.start.lsn, m.end.lsn, m.fetched};
    if (rc != 0)
        err_wrap(e, "log %s: segment %016" PRIx64, log->dir, m.head.seq);
    return rc;
}
