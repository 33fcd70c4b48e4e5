/* Opening a log: read the directory, decide with store/core/recovery.h what counts, and say so.
 * Reads only; what follows from the decisions (voiding a torn tail, setting damaged files aside) is
 * done when the log opens its next segment.
 *
 * Which segments count: later ones overrule earlier ones. A segment that begins at lsn 50 voids
 * everything after 50 in all before it (that is how the log is truncated), so the ones that count
 * are found from the newest back: each must begin below all after it. Each is read whole and past
 * the page cache (after a failed sync the cache may hold what the disk does not), and must lead
 * exactly to the next.
 *
 * A file whose own header is damaged says nothing about where it begins, so it and all before it
 * can only be done without when a later segment begins at or below the checkpoint. */
#include "store/io/file.h"
#include "store/io/log_private.h"

#include "store/core/check.h"
#include "store/core/recovery.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHAT_TO_DO "Nothing was changed"

/* A segment file found in the directory. */
struct found {
    uint64_t seq, bytes;
    struct segment_header head;
    struct err damage; /* of its header; code 0 when it is valid */
    bool counts;
};

struct recovery {
    struct log *log;
    struct entry_position checkpoint;
    struct found *found;
    size_t count, cap;
    uint64_t spare_max;
};

static void note(struct log *log, const char *text)
{
    size_t n = strlen(log->note);
    (void)snprintf(log->note + n, sizeof log->note - n, "%s%s", n == 0 ? "" : "; ", text);
}

/* ---- the directory ---- */

static int add_segment(struct recovery *r, uint64_t seq, uint64_t bytes, struct err *e)
{
    if (r->count == r->cap) {
        size_t cap = r->cap == 0 ? 64 : 2 * r->cap;
        struct found *more = realloc(r->found, cap * sizeof *more);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the list of segments");
        r->found = more;
        r->cap = cap;
    }
    r->found[r->count++] = (struct found){.seq = seq, .bytes = bytes};
    r->log->disk_bytes += bytes;
    return 0;
}

/* A spare is of use when it has the size of a segment; others are of another configuration, or half
 * made. */
static void add_spare(struct recovery *r, uint64_t number, uint64_t bytes)
{
    struct keeper *k = &r->log->keeper;
    if (number > r->spare_max)
        r->spare_max = number;
    if (bytes == r->log->segment_bytes && k->ready_count < LOG_SPARES_MAX) {
        k->ready[k->ready_count++] = number;
        r->log->disk_bytes += bytes;
    }
}

/* Remove a spare that is of no use. */
static int drop_file(struct recovery *r, const char *name, struct err *e)
{
    const struct keeper *k = &r->log->keeper;
    uint64_t number;
    if (!log_parse_spare(name, &number))
        return 0;
    for (unsigned i = 0; i < k->ready_count; i++)
        if (k->ready[i] == number)
            return 0;
    return unlinkat(r->log->dir_fd, name, 0) != 0 ? file_error(e, name, "remove", errno) : 0;
}

static int add_file(struct recovery *r, const char *name, struct err *e)
{
    const size_t n = strlen(name);
    uint64_t number;
    struct stat st;
    if (n < 5 || strcmp(name + n - 4, ".seg") != 0)
        return 0;
    if (fstatat(r->log->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return file_error(e, name, "look at", errno);
    if (!S_ISREG(st.st_mode) || st.st_size > LOG_SEGMENT_MAX_BYTES)
        return err_set(e, ERR_INTEGRITY, "%s is not a log segment: it is %s. Move it away", name,
                       S_ISREG(st.st_mode) ? "too large" : "no regular file");
    if (log_parse_segment(name, &number))
        return add_segment(r, number, (uint64_t)st.st_size, e);
    if (log_parse_spare(name, &number)) {
        add_spare(r, number, (uint64_t)st.st_size);
        return 0;
    }
    return err_set(e, ERR_INTEGRITY, "%s has not the name of a log segment. Move it away", name);
}

static int by_seq(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static int each_file(struct recovery *r, int (*act)(struct recovery *, const char *, struct err *),
                     struct err *e)
{
    int fd = openat(r->log->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int errnum = errno;
        if (fd >= 0)
            (void)close(fd);
        return file_error(e, "its directory", "read", errnum);
    }
    int rc = 0;
    const struct dirent *d;
    for (errno = 0; rc == 0 && (d = readdir(dir)) != NULL; errno = 0)
        rc = act(r, d->d_name, e);
    if (rc == 0 && errno != 0)
        rc = file_error(e, "its directory", "read", errno);
    (void)closedir(dir);
    return rc;
}

/* ---- reading ---- */

static int read_header(struct recovery *r, struct found *f, uint8_t *block, struct err *e)
{
    char name[LOG_NAME_BYTES];
    struct log_unreadable lost;
    log_segment_name(f->seq, name);
    int rc = log_read_image(r->log->dir_fd, name, block, BATCH_BLOCK_BYTES, &lost, e);
    if (rc != 0)
        return rc;
    rc = segment_header_decode(block, &f->head, &f->damage);
    if (rc != 0 && lost.to > 0)
        rc = err_set(&f->damage, ERR_INTEGRITY, "the disk refuses to read the segment header");
    if (rc == ERR_NEWER)
        return err_set(e, rc, "%s: %s", name, f->damage.text);
    if (rc != 0)
        return 0;
    if (!uuid_equal(&f->head.cluster_id, &r->log->cluster_id))
        return err_set(e, ERR_INTEGRITY,
                       "%s belongs to another cluster: check the data directory in the "
                       "configuration. Nothing was changed",
                       name);
    if (f->head.seq != f->seq)
        return err_set(e, ERR_INTEGRITY,
                       "%s says that it is segment %016" PRIx64 ": it was renamed or copied. %s",
                       name, f->head.seq, WHAT_TO_DO);
    return 0;
}

/* The bytes of a segment, read by a thread of their own: the disk is busy while the processor verifies the one before. */
struct image {
    int dir_fd;
    uint8_t *p; /* kept for the next segment */
    size_t capacity, bytes;
    char name[LOG_NAME_BYTES];
    struct log_unreadable lost;
    pthread_t thread;
    bool running;
    int rc;
    struct err why;
};

static void *image_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "log recovery");
    struct image *m = arg;
    m->rc = log_read_image(m->dir_fd, m->name, m->p, m->bytes, &m->lost, &m->why);
    return NULL;
}

static void image_begin(struct image *m, const struct found *f)
{
    m->bytes = (size_t)batch_blocks_bytes(f->bytes);
    log_segment_name(f->seq, m->name);
    m->why = (struct err)ERR_NONE;
    if (m->bytes > m->capacity) {
        free(m->p);
        m->p = file_buffer(m->bytes);
        m->capacity = m->p == NULL ? 0 : m->bytes;
    }
    if (m->p == NULL) {
        m->rc =
            err_set(&m->why, ERR_NO_MEMORY, "no memory to read a segment of %zu bytes", m->bytes);
        return;
    }
    m->running = pthread_create(&m->thread, NULL, image_main, m) == 0;
    if (!m->running) /* no thread to be had: then without */
        (void)image_main(m);
}

static int image_finish(struct image *m, struct err *e)
{
    if (m->running)
        (void)pthread_join(m->thread, NULL);
    m->running = false;
    return m->rc == 0 ? 0 : err_set(e, m->rc, "%s", m->why.text);
}

/* ---- which segments count ---- */

static int choose_segments(struct recovery *r, struct err *e)
{
    size_t begin = r->count; /* first one after the last damaged header */
    while (begin > 0 && r->found[begin - 1].damage.code == 0)
        begin--;
    const struct found *oldest = NULL;
    for (size_t i = r->count; i-- > begin;) {
        struct found *f = &r->found[i];
        f->counts = oldest == NULL || f->head.start.lsn.v < oldest->head.start.lsn.v;
        if (f->counts)
            oldest = f;
    }
    if (begin > 0) {
        const struct found *bad = &r->found[begin - 1];
        if (oldest == NULL || oldest->head.start.lsn.v > r->checkpoint.lsn.v)
            return err_set(e, ERR_INTEGRITY, "%016" PRIx64 ".seg: byte 0, lsn unknown: %s. %s",
                           bad->seq, bad->damage.text, WHAT_TO_DO);
        char text[160];
        (void)snprintf(text, sizeof text,
                       "%016" PRIx64 ".seg was damaged below the checkpoint and set aside: %.80s",
                       bad->seq, bad->damage.text);
        note(r->log, text);
    }
    if (oldest != NULL && oldest->head.start.lsn.v > r->checkpoint.lsn.v)
        return err_set(e, ERR_GAP,
                       "the log begins at lsn %" PRIu64 ", but the state ends at lsn %" PRIu64
                       ": what is between is missing. %s",
                       oldest->head.start.lsn.v + 1, r->checkpoint.lsn.v, WHAT_TO_DO);
    if (oldest != NULL && oldest->head.start.lsn.v == r->checkpoint.lsn.v &&
        !sha256_equal(&oldest->head.start.hash, &r->checkpoint.hash))
        return err_set(e, ERR_INTEGRITY,
                       "%016" PRIx64 ".seg: byte 0, after lsn %" PRIu64
                       ": the log and the state have different histories. %s",
                       oldest->seq, r->checkpoint.lsn.v, WHAT_TO_DO);
    return 0;
}

static const struct found *next_that_counts(const struct recovery *r, size_t i)
{
    for (i++; i < r->count; i++)
        if (r->found[i].counts)
            return &r->found[i];
    return NULL;
}

/* ---- one segment ---- */

/* The log begins anew after `first`: what came before can be reached no more. */
static void begin_at(struct log *log, const struct entry_position *first)
{
    log->first = log->last = *first;
    log->run_count = 0;
    for (size_t i = 0; i < log->segment_count; i++)
        log->segments[i].mark_count = 0;
}

static int take_batch(struct log *log, struct segment *s, const struct recovery_scan *scan,
                      const struct recovery_batch *b, struct err *e)
{
    /* The walk passed over damage in this segment. */
    if (scan->first.lsn.v > scan->segment.start.lsn.v && scan->first.lsn.v > log->first.lsn.v)
        begin_at(log, &scan->first);
    if (b->count > 0)
        segment_mark(s, b->first, b->offset);
    struct bytes rest = b->entries;
    for (uint32_t i = 0; i < b->count; i++) {
        struct entry_header h;
        int rc = entry_header_decode(rest.p, &h, e);
        if (rc != 0)
            return rc;
        if (h.lsn.v > log->first.lsn.v)
            log_run_add(log, h.term, h.lsn);
        size_t used = ENTRY_HEADER_BYTES + (size_t)h.body_bytes;
        rest = bytes_of(rest.p + used, rest.n - used);
    }
    if (b->last.lsn.v > log->last.lsn.v)
        log->last = b->last;
    s->end = log->last.lsn;
    return 0;
}

static void note_skip(struct recovery *r, const struct found *f, const struct err *why)
{
    char text[300];
    (void)snprintf(text, sizeof text,
                   "damage below the checkpoint at lsn %" PRIu64 " was passed over: %016" PRIx64
                   ".seg: %.180s",
                   r->checkpoint.lsn.v, f->seq, why->text);
    note(r->log, text);
}

/* Walk one segment to its end. */
static int walk_segment(struct recovery *r, const struct found *f, struct recovery_scan *scan,
                        struct err *e)
{
    struct log *log = r->log;
    struct segment *s = &log->segments[log->segment_count - 1];
    recovery_begin(scan);
    for (;;) {
        struct place place;
        struct recovery_batch b;
        struct err why = ERR_NONE;
        int rc;
        switch (recovery_next(scan, &place, &b, &why)) {
        case RECOVERY_ACCEPT:
            rc = take_batch(log, s, scan, &b, e);
            if (rc != 0)
                return rc;
            break;
        case RECOVERY_JOIN:
            if (!scan->anchored)
                begin_at(log, &scan->next);
            return 0;
        case RECOVERY_END:
            return 0;
        case RECOVERY_CUT:
            log->cut_bytes = b.bytes;
            (void)snprintf(
                why.text, sizeof why.text,
                "%016" PRIx64 ".seg: byte %zu: a batch of %zu bytes after lsn %" PRIu64
                " was being written when the site stopped and was never acknowledged; it was cut",
                f->seq, b.offset, b.bytes, log->last.lsn.v);
            note(log, why.text);
            return 0;
        case RECOVERY_SKIP:
            note_skip(r, f, &why);
            if (place.resume == RESUME_BATCH)
                break;
            begin_at(log, place.resume == RESUME_SEGMENT ? &scan->next : &r->checkpoint);
            return 0;
        case RECOVERY_DAMAGED:
            return err_set(e, ERR_INTEGRITY, "%016" PRIx64 ".seg: %s. %s", f->seq, why.text,
                           WHAT_TO_DO);
        case RECOVERY_NEWER:
            return err_set(e, ERR_NEWER, "%016" PRIx64 ".seg: %s", f->seq, why.text);
        }
    }
}

static int take_segment(struct recovery *r, size_t i, const struct image *image, struct err *e)
{
    struct log *log = r->log;
    const struct found *f = &r->found[i], *next = next_that_counts(r, i);
    int rc = log_reserve_segment(log, e);
    if (rc == 0)
        rc = segment_init(&log->segments[log->segment_count], &f->head, f->bytes, e);
    if (rc != 0)
        return rc;
    log->segment_count++;
    struct recovery_scan scan = {.image = bytes_of(image->p, image->bytes),
                                 .segment = f->head,
                                 .checkpoint = r->checkpoint,
                                 .bad_from = image->lost.from,
                                 .bad_to = image->lost.to,
                                 .has_next = next != NULL};
    if (next != NULL)
        scan.next = next->head.start;
    return walk_segment(r, f, &scan, e);
}

/* Walk all segments that count; the next one is read while one is walked. */
static int walk_all(struct recovery *r, struct err *e)
{
    struct image images[2] = {{.dir_fd = r->log->dir_fd}, {.dir_fd = r->log->dir_fd}};
    const struct found *f = r->count == 0        ? NULL
                            : r->found[0].counts ? &r->found[0]
                                                 : next_that_counts(r, 0);
    int rc = 0;
    if (f != NULL) {
        begin_at(r->log, &f->head.start);
        image_begin(&images[0], f);
    }
    for (unsigned now = 0; rc == 0 && f != NULL; now = 1 - now) {
        const size_t i = (size_t)(f - r->found);
        const struct found *next = next_that_counts(r, i);
        rc = image_finish(&images[now], e);
        if (rc == 0 && next != NULL)
            image_begin(&images[1 - now], next);
        if (rc == 0)
            rc = take_segment(r, i, &images[now], e);
        f = next;
    }
    for (unsigned i = 0; i < 2; i++) {
        (void)image_finish(&images[i], NULL);
        free(images[i].p);
    }
    return rc;
}

/* What does not count is taken back; what cannot be understood is set aside. */
static int retire_rest(struct recovery *r, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->count; i++)
        if (!r->found[i].counts)
            rc = keeper_retire(r->log, r->found[i].seq, r->found[i].bytes,
                               r->found[i].damage.code != 0, e);
    return rc;
}

/* The last batch may have been read back although the site died before its sync: it is called
 * durable only when it is. The same for the names of files, before a spare that was a segment is
 * written over. */
static int make_durable(struct log *log, struct err *e)
{
    char name[LOG_NAME_BYTES];
    int rc = 0;
    if (log->segment_count > 0) {
        log_segment_name(log->segments[log->segment_count - 1].head.seq, name);
        int fd = openat(log->dir_fd, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) != 0)
            rc = file_error(e, name, "sync", errno);
        if (fd >= 0)
            (void)close(fd);
    }
    return rc != 0 ? rc : file_sync_dir(log->dir_fd, log->dir, e);
}

int log_recover(struct log *log, const struct entry_position *checkpoint, struct err *e)
{
    struct recovery r = {.log = log, .checkpoint = *checkpoint};
    uint8_t *block = file_buffer(BATCH_BLOCK_BYTES);
    int rc = block == NULL ? err_set(e, ERR_NO_MEMORY, "no memory for a block")
                           : each_file(&r, add_file, e);
    if (rc == 0 && r.count > 0)
        qsort(r.found, r.count, sizeof *r.found, by_seq);
    for (size_t i = 0; rc == 0 && i < r.count; i++)
        rc = read_header(&r, &r.found[i], block, e);
    if (rc == 0)
        rc = choose_segments(&r, e);
    if (rc != 0)
        goto out;
    begin_at(log, checkpoint);
    rc = walk_all(&r, e);
    if (rc == 0)
        rc = make_durable(log, e);
    if (rc == 0)
        rc = retire_rest(&r, e);
    if (rc == 0)
        rc = each_file(&r, drop_file, e);
    log->durable = log->last.lsn;
    log->next_seq = r.count == 0 ? 1 : r.found[r.count - 1].seq + 1;
    log->keeper.next_number = r.spare_max + 1;
out:
    free(block);
    free(r.found);
    return rc;
}
