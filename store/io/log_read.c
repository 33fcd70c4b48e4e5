/* Readers: from memory when the entries are recent, otherwise from the segment files.
 *
 * A disk read finds its segment and a mark in it under the mutex, and reads without it. Meanwhile
 * the segment may be recycled and written over. That cannot give wrong data: each batch names the
 * use of the file it belongs to, and each entry is decoded and checked. When a check fails, the
 * list of segments tells whether the file was recycled (ERR_GAP) or is damaged (ERR_INTEGRITY). */
#include "store/io/file.h"
#include "store/io/log_private.h"

#include "store/core/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    SLICE_BYTES = 128 << 10, /* copied under the mutex at a time */
    WINDOW_BYTES = 1 << 20,  /* read from disk at a time */
    LOOK_BYTES = 64 << 10,   /* the same for a single position */
};

/* Where the entries go: a buffer; only the position of the first; or nowhere, when they are only checked. */
struct sink {
    uint8_t *p;
    size_t cap, used, count;
    size_t needed; /* set when the next entry does not fit */
    struct entry_position *position;
    bool check_only; /* until `cap` bytes were looked at */
};

static bool sink_full(const struct sink *s)
{
    return s->needed > 0 || (s->position != NULL && s->count > 0) ||
           (s->check_only && s->used >= s->cap);
}

static void sink_put(struct sink *s, const struct entry_view *v)
{
    const size_t bytes = ENTRY_HEADER_BYTES + v->header.body_bytes;
    if (s->position != NULL) {
        *s->position = entry_position_of(v);
    } else if (s->check_only) {
        s->used += bytes;
    } else if (bytes > s->cap - s->used) {
        s->needed = bytes;
        return;
    } else {
        memcpy(s->p + s->used, v->raw, bytes); /* the body stands behind the header */
        s->used += bytes;
    }
    s->count++;
}

/* ---- memory ---- */

/* Under the mutex. The header's checksum is checked again: it guards the memory, too. */
static int view_memory(const uint8_t *raw, struct entry_view *v, struct err *e)
{
    struct err why = ERR_NONE;
    if (entry_header_decode(raw, &v->header, &why) != 0)
        return err_set(e, ERR_INTEGRITY,
                       "an entry of the log was damaged in memory (%s): check this machine",
                       why.text);
    v->raw = raw;
    v->body = raw + ENTRY_HEADER_BYTES;
    return 0;
}

/* Under the mutex: copy a slice from memory. *from moves on; it stays when its entry is not in
 * memory. */
static int read_memory(struct log *log, struct lsn *from, struct lsn to, struct sink *sink,
                       struct err *e)
{
    const size_t begin = sink->used;
    while (from->v <= to.v && !sink_full(sink) && sink->used - begin < SLICE_BYTES) {
        const uint8_t *raw = memory_find(&log->memory, *from);
        struct entry_view v;
        if (raw == NULL)
            return 0;
        int rc = view_memory(raw, &v, e);
        if (rc != 0)
            return rc;
        if (sink->position != NULL)
            v.hash = hash_sha256(bytes_of(raw, ENTRY_HEADER_BYTES));
        sink_put(sink, &v);
        from->v += sink->needed == 0;
    }
    return 0;
}

/* ---- disk ---- */

/* A reader's own copy of what it needs to know about a segment. */
struct place_on_disk {
    struct segment_header head;
    uint64_t bytes, offset;
    struct lsn end;
};

/* Part of the segment file in memory, moved over it. */
struct window {
    int fd;
    const char *name;
    size_t step; /* read at a time */
    uint8_t *p;
    size_t cap, n;
    uint64_t offset;
};

/* Make [offset, offset + n) of the file stand in the window; offset is on a block. */
static int window_load(struct window *w, uint64_t offset, size_t n, struct bytes *out,
                       struct err *e)
{
    if (offset < w->offset || offset + n > w->offset + w->n) {
        size_t want = n > w->step ? (size_t)batch_blocks_bytes(n) : w->step;
        if (want > w->cap) {
            free(w->p);
            w->cap = w->n = 0;
            w->p = file_buffer(want);
            if (w->p == NULL)
                return err_set(e, ERR_NO_MEMORY, "no memory to read %zu bytes of log", want);
            w->cap = want;
        }
        w->n = 0;
        w->offset = offset;
        int rc = file_read_at(w->fd, w->name, w->p, want, offset, &w->n, e);
        if (rc != 0)
            return rc;
        if (w->n < n)
            return err_set(e, ERR_INTEGRITY, "%s: ends at byte %" PRIu64, w->name, offset + w->n);
    }
    *out = bytes_of(w->p + (offset - w->offset), n);
    return 0;
}

/* Entries of one batch: pass over those below *from, put the others. */
static int put_batch(struct bytes rest, uint32_t count, struct lsn at, struct lsn *from,
                     struct lsn to, struct sink *sink, struct err *e)
{
    for (uint32_t i = 0; i < count && from->v <= to.v && !sink_full(sink); i++, at.v++) {
        struct entry_view v;
        size_t used;
        int rc = entry_view_stored(rest, &v, &used, e);
        if (rc == 0)
            rc = entry_body_intact(&v, e);
        if (rc != 0)
            return rc;
        if (v.header.lsn.v != at.v)
            return err_set(e, ERR_INTEGRITY, "lsn %" PRIu64 " stands where %" PRIu64 " should",
                           v.header.lsn.v, at.v);
        rest = bytes_of(rest.p + used, rest.n - used);
        if (at.v < from->v)
            continue;
        sink_put(sink, &v);
        from->v += sink->needed == 0;
    }
    return 0;
}

static int walk(struct window *w, const struct place_on_disk *at, struct lsn *from, struct lsn to,
                struct sink *sink, struct err *e)
{
    uint64_t offset = at->offset;
    while (from->v <= to.v && !sink_full(sink)) {
        struct bytes b;
        struct batch_header h;
        int rc = window_load(w, offset, BATCH_HEADER_BYTES, &b, e);
        if (rc != 0)
            return rc;
        if (!batch_header_decode(b.p, &at->head, offset / BATCH_BLOCK_BYTES, &h) ||
            h.payload_bytes > at->bytes - offset - BATCH_HEADER_BYTES)
            return err_set(e, ERR_INTEGRITY, "%s: byte %" PRIu64 ": no batch of entries here",
                           w->name, offset);
        const size_t bytes = BATCH_HEADER_BYTES + (size_t)h.payload_bytes;
        if (h.first_lsn.v + h.entry_count > from->v) {
            rc = window_load(w, offset, bytes, &b, e);
            if (rc == 0)
                rc = put_batch(bytes_of(b.p + BATCH_HEADER_BYTES, (size_t)h.payload_bytes),
                               h.entry_count, h.first_lsn, from, to, sink, e);
            if (rc != 0)
                return err_wrap(e, "%s: byte %" PRIu64, w->name, offset);
        }
        offset += batch_blocks_bytes(bytes);
    }
    return 0;
}

/* Under the mutex. */
static bool find_place(struct log *log, struct lsn lsn, struct place_on_disk *out)
{
    const struct segment *s = log_find_segment(log, lsn);
    if (s == NULL)
        return false;
    size_t low = 0, high = s->mark_count; /* the last mark at or below lsn is in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->marks[middle].first.v <= lsn.v)
            low = middle;
        else
            high = middle;
    }
    if (low >= high || s->marks[low].first.v > lsn.v)
        return false;
    *out = (struct place_on_disk){s->head, s->bytes,
                                  (uint64_t)s->marks[low].block * BATCH_BLOCK_BYTES, s->end};
    return true;
}

static int gap(const struct log *log, struct lsn lsn, struct err *e)
{
    return err_set(e, ERR_GAP, "log %s: lsn %" PRIu64 " is not in the log any more", log->dir,
                   lsn.v);
}

/* The bytes are read past any lock, so the segment may be recycled or mended meanwhile (log_mend.c). *again: it was mended, and
 * the entries are there as before. */
static int read_segment(struct log *log, struct lsn *from, struct lsn to, struct sink *sink,
                        bool *again, struct err *e)
{
    struct place_on_disk at, now;
    char name[LOG_NAME_BYTES];
    bool direct;
    struct err why = ERR_NONE;
    const struct lsn wanted = *from;
    *again = false;
    pthread_mutex_lock(&log->mutex);
    bool found = find_place(log, wanted, &at);
    pthread_mutex_unlock(&log->mutex);
    if (!found)
        return gap(log, wanted, e);
    log_segment_name(at.head.seq, name);
    int rc;
    struct window w = {.fd = file_open_direct(log->dir_fd, name, O_RDONLY, &direct),
                       .name = name,
                       .step = sink->position != NULL ? LOOK_BYTES : WINDOW_BYTES};
    if (w.fd < 0)
        rc = file_error(&why, name, "open", -w.fd);
    else
        rc = walk(&w, &at, from, to.v < at.end.v ? to : at.end, sink, &why);
    if (w.fd >= 0)
        (void)close(w.fd);
    free(w.p);
    if (rc == 0)
        return 0;
    pthread_mutex_lock(&log->mutex);
    while (log->swapping && log->mending == at.head.seq)
        pthread_cond_wait(&log->done, &log->mutex);
    bool there = find_place(log, *from, &now) && now.end.v >= from->v;
    pthread_mutex_unlock(&log->mutex);
    *again = there && now.head.seq == at.head.seq && now.head.nonce != at.head.nonce;
    if (!there || (now.head.nonce != at.head.nonce && !*again))
        return gap(log, *from, e);
    if (rc == ERR_FORMAT || rc == ERR_LIMIT || rc == ERR_NOT_FOUND)
        rc = ERR_INTEGRITY;
    return err_set(e, rc, "log %s: lsn %" PRIu64 ": %s", log->dir, from->v, why.text);
}

/* Read on from one segment; *from moves on. */
static int read_disk(struct log *log, struct lsn *from, struct lsn to, struct sink *sink,
                     struct err *e)
{
    enum { TRIES = 3 };
    bool again = true;
    int rc = 0;
    for (unsigned i = 0; again && i < TRIES; i++)
        rc = read_segment(log, from, to, sink, &again, e);
    return rc;
}

/* ---- both ---- */

static int read_to(struct log *log, struct lsn from, struct lsn to, struct sink *sink,
                   struct err *e)
{
    int rc = 0;
    bool begun = false;
    while (rc == 0 && !sink_full(sink)) {
        const struct lsn before = from;
        pthread_mutex_lock(&log->mutex);
        if (to.v > log->last.lsn.v)
            to = log->last.lsn;
        if (!begun && from.v > log->last.lsn.v)
            rc = err_set(e, ERR_NOT_FOUND, "log %s: lsn %" PRIu64 " is beyond the last, %" PRIu64,
                         log->dir, from.v, log->last.lsn.v);
        else if (from.v <= log->first.lsn.v)
            rc = gap(log, from, e);
        else
            rc = read_memory(log, &from, to, sink, e);
        pthread_mutex_unlock(&log->mutex);
        begun = true;
        if (from.v > to.v || rc != 0)
            break;
        if (from.v == before.v && !sink_full(sink))
            rc = read_disk(log, &from, to, sink, e);
    }
    /* What was read is given; an error comes again with the next call. */
    if (sink->count > 0)
        return 0;
    if (rc == 0 && sink->needed > 0)
        return err_set(e, ERR_LIMIT, "the entry at lsn %" PRIu64 " has %zu bytes, the buffer %zu",
                       from.v, sink->needed, sink->cap);
    if (rc == 0) /* it was cut while we looked, or `to` is below `from` */
        return err_set(e, ERR_NOT_FOUND,
                       "log %s: there is nothing from lsn %" PRIu64 " to %" PRIu64, log->dir,
                       from.v, to.v);
    return rc;
}

int log_read(struct log *log, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
             size_t *used, size_t *count, struct err *e)
{
    struct sink sink = {.p = buf, .cap = cap};
    int rc = read_to(log, from, to, &sink, e);
    *used = rc == ERR_LIMIT ? sink.needed : sink.used;
    *count = sink.count;
    return rc;
}

bool log_in_memory(struct log *log, struct lsn lsn)
{
    pthread_mutex_lock(&log->mutex);
    const bool there = memory_find(&log->memory, lsn) != NULL;
    pthread_mutex_unlock(&log->mutex);
    return there;
}

int log_position(struct log *log, struct lsn lsn, struct entry_position *out, struct err *e)
{
    *out = (struct entry_position){0};
    if (lsn.v == 0)
        return 0;
    pthread_mutex_lock(&log->mutex);
    bool first = lsn.v == log->first.lsn.v, last = lsn.v == log->last.lsn.v;
    if (first || last)
        *out = first ? log->first : log->last;
    pthread_mutex_unlock(&log->mutex);
    if (first || last)
        return 0;
    struct sink sink = {.position = out};
    return read_to(log, lsn, lsn, &sink, e);
}

/* Under the mutex: the first place behind a damaged entry from which reading can begin. */
static struct lsn place_behind(struct log *log, struct lsn lsn)
{
    const struct segment *s = log_find_segment(log, lsn);
    for (size_t i = 0; s != NULL && i < s->mark_count; i++)
        if (s->marks[i].first.v > lsn.v)
            return s->marks[i].first;
    return (struct lsn){s != NULL ? s->end.v + 1 : lsn.v + 1};
}

int log_check(struct log *log, struct lsn from, size_t max_bytes, struct lsn *next,
              struct lsn *damaged, size_t *bytes, struct err *e)
{
    struct sink sink = {.cap = max_bytes, .check_only = true};
    struct err why = ERR_NONE;
    pthread_mutex_lock(&log->mutex);
    const struct lsn first = log->first.lsn, durable = log->durable;
    pthread_mutex_unlock(&log->mutex);
    *bytes = 0;
    *next = from.v > first.v ? from : (struct lsn){first.v + 1};
    if (next->v > durable.v)
        return err_set(e, ERR_NOT_FOUND, "log %s: nothing durable from lsn %" PRIu64 " on",
                       log->dir, from.v);
    int rc = read_disk(log, next, durable, &sink, &why);
    *bytes = sink.used;
    if (rc == ERR_GAP) { /* recycled meanwhile: what is left begins further on */
        pthread_mutex_lock(&log->mutex);
        *next = log->first.lsn.v >= next->v ? (struct lsn){log->first.lsn.v + 1}
                                            : place_behind(log, *next);
        pthread_mutex_unlock(&log->mutex);
        return 0;
    }
    if (rc == ERR_INTEGRITY || rc == ERR_IO) {
        *damaged = *next;
        pthread_mutex_lock(&log->mutex);
        *next = place_behind(log, *next);
        pthread_mutex_unlock(&log->mutex);
        return err_set(e, ERR_INTEGRITY, "%s", why.text);
    }
    return rc != 0 ? err_set(e, rc, "%s", why.text) : 0;
}
