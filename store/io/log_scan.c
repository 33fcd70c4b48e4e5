/* Which segments count, and what each place in them holds, is decided as at recovery (log_recover.c, store/core/recovery.h),
 * with two differences, because this is for finding all damage and changes nothing:
 *
 * - After damage the walk goes on at the next batch that can be found.
 * - A segment whose header is damaged is read by what its first batch tells of it (number and nonce), if that one is whole.
 *   The segment before it then may end anywhere: where it should have ended is what the damaged header knew. */
#include "store/io/log_scan.h"

#include "store/io/file.h"
#include "store/io/log_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    char name[LOG_NAME_BYTES];
    uint64_t seq;
    struct log_scan_segment s;
    struct err damage; /* of the header; code 0 when it is valid */
};

struct scan {
    const struct log_scan_options *o;
    struct log_scan_totals *out;
    struct file *files;
    size_t count, cap;
};

static void found(const struct scan *x, const struct finding *f)
{
    x->o->sink.found(x->o->sink.arg, f);
}

/* ---- the directory ---- */

static int add_file(struct scan *x, const char *name, const struct stat *st, struct err *e)
{
    if (x->count == x->cap) {
        size_t cap = x->cap == 0 ? 64 : 2 * x->cap;
        struct file *more = realloc(x->files, cap * sizeof *more);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the list of segments");
        x->files = more;
        x->cap = cap;
    }
    struct file *f = &x->files[x->count++];
    *f = (struct file){.s = {.bytes = (uint64_t)st->st_size}};
    (void)snprintf(f->name, sizeof f->name, "%.*s", (int)sizeof f->name - 1, name);
    (void)log_parse_segment(name, &f->seq);
    return 0;
}

static int look_at(struct scan *x, const char *name, struct err *e)
{
    uint64_t number;
    struct stat st;
    const size_t n = strlen(name);
    const char *why = NULL;
    if (n > 8 && strcmp(name + n - 8, ".damaged") == 0) {
        found(x, &(struct finding){
                     .file = name,
                     .text = "a damaged segment that was not needed any more, set aside by an "
                             "earlier start; it is yours to remove"});
        return 0;
    }
    if (n < 5 || strcmp(name + n - 4, ".seg") != 0 || log_parse_spare(name, &number))
        return 0;
    if (fstatat(x->o->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return file_error(e, name, "look at", errno);
    if (!S_ISREG(st.st_mode) || st.st_size > LOG_SEGMENT_MAX_BYTES)
        why = "it is no regular file, or too large for a segment";
    else if (!log_parse_segment(name, &number))
        why = "it has not the name of a segment";
    if (why == NULL)
        return add_file(x, name, &st, e);
    found(x, &(struct finding){.kind = FINDING_SEGMENT, .file = name, .text = why});
    return 0;
}

static int by_seq(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static int list(struct scan *x, struct err *e)
{
    int fd = openat(x->o->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int errnum = errno;
        if (fd >= 0)
            (void)close(fd);
        return file_error(e, "the log's directory", "read", errnum);
    }
    int rc = 0;
    const struct dirent *d;
    for (errno = 0; rc == 0 && (d = readdir(dir)) != NULL; errno = 0)
        rc = look_at(x, d->d_name, e);
    if (rc == 0 && errno != 0)
        rc = file_error(e, "the log's directory", "read", errno);
    (void)closedir(dir);
    if (x->count > 0)
        qsort(x->files, x->count, sizeof *x->files, by_seq);
    for (size_t i = 0; i < x->count; i++)
        x->files[i].s.file = x->files[i].name;
    return rc;
}

int log_scan_bytes(int dir_fd, uint64_t *out, struct err *e)
{
    DIR *dir = NULL;
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *out = 0;
    if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
        int errnum = errno;
        if (fd >= 0)
            (void)close(fd);
        return file_error(e, "the log's directory", "read", errnum);
    }
    const struct dirent *d;
    struct stat st;
    uint64_t seq;
    while ((d = readdir(dir)) != NULL)
        if (log_parse_segment(d->d_name, &seq) &&
            fstatat(dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            *out += (uint64_t)st.st_size;
    (void)closedir(dir);
    return 0;
}

/* ---- headers ---- */

/* What the first batch says of the segment that it is in. It was written for this use of the file if it names the number
 * that the file has. */
static bool infer(struct file *f, const uint8_t *batch)
{
    struct batch_header h;
    struct segment_header head = {.seq = f->seq, .nonce = get_le64(batch + 24)};
    if (!batch_header_decode(batch, &head, 1, &h))
        return false;
    head.start.lsn.v = h.first_lsn.v - 1;
    f->s.head = head;
    f->s.inferred = true;
    return true;
}

static int read_header(struct scan *x, struct file *f, uint8_t *blocks, struct err *e)
{
    struct log_unreadable lost;
    int rc = log_read_image(x->o->dir_fd, f->name, blocks, (size_t)2 * BATCH_BLOCK_BYTES, &lost, e);
    if (rc != 0)
        return rc;
    rc = segment_header_decode(blocks, &f->s.head, &f->damage);
    if (rc == ERR_NEWER)
        return err_set(e, rc, "%s: %s", f->name, f->damage.text);
    if (rc != 0 && lost.to > 0)
        (void)err_set(&f->damage, ERR_INTEGRITY, "the disk refuses to read the segment header");
    if (rc == 0 && f->s.head.seq != f->seq)
        rc = err_set(&f->damage, ERR_INTEGRITY,
                     "it says that it is segment %016" PRIx64 ": it was renamed or copied",
                     f->s.head.seq);
    if (rc != 0)
        (void)infer(f, blocks + BATCH_BLOCK_BYTES);
    return 0;
}

/* A later segment voids what earlier ones hold from its start on. */
static void choose(struct scan *x)
{
    const struct file *after = NULL;
    for (size_t i = x->count; i-- > 0;) {
        struct file *f = &x->files[i];
        f->s.counts = (f->damage.code == 0 || f->s.inferred) &&
                      (after == NULL || f->s.head.start.lsn.v < after->s.head.start.lsn.v);
        if (f->s.counts)
            after = f;
    }
}

/* The next file that counts; *broken tells whether one between, or that one, has a damaged header. */
static const struct file *next_of(const struct scan *x, size_t i, bool *broken)
{
    *broken = false;
    for (i++; i < x->count; i++) {
        *broken |= x->files[i].damage.code != 0;
        if (x->files[i].s.counts)
            return &x->files[i];
    }
    return NULL;
}

/* Entries of a file whose header is damaged: what its neighbours leave open. */
static void tell_header(const struct scan *x, size_t i)
{
    const struct file *f = &x->files[i];
    bool broken;
    const struct file *next = next_of(x, i, &broken);
    char text[ERR_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%.300s; %s", f->damage.text,
                   f->s.inferred ? "its batches could be read by what they say themselves"
                                 : "what it holds cannot be told");
    found(x, &(struct finding){.kind = FINDING_SEGMENT,
                               .file = f->name,
                               .from = {f->s.inferred ? f->s.head.start.lsn.v + 1 : 0},
                               .to = {next != NULL ? next->s.head.start.lsn.v : 0},
                               .text = text});
}

/* Do the oldest segment and the state meet? */
static void check_start(const struct scan *x, const struct file *oldest)
{
    const struct entry_position *start = &oldest->s.head.start, *at = &x->o->checkpoint;
    char text[200];
    if (at->lsn.v == 0 || oldest->s.inferred)
        return;
    if (start->lsn.v > at->lsn.v)
        (void)snprintf(text, sizeof text,
                       "the log begins after lsn %" PRIu64 ", but the state ends at lsn %" PRIu64
                       ": what is between is missing",
                       start->lsn.v, at->lsn.v);
    else if (start->lsn.v == at->lsn.v && !sha256_equal(&start->hash, &at->hash))
        (void)snprintf(text, sizeof text,
                       "the log and the state have different histories at lsn %" PRIu64, at->lsn.v);
    else
        return;
    found(x, &(struct finding){.kind = FINDING_SEGMENT,
                               .file = oldest->name,
                               .from = {at->lsn.v + 1},
                               .to = start->lsn,
                               .text = text});
}

/* ---- one segment ---- */

static int tell_batch(struct scan *x, const struct file *f, const struct recovery_scan *s,
                      const struct recovery_batch *b)
{
    struct batch_header h;
    int rc = 0;
    (void)batch_header_decode(s->image.p + b->offset, &s->segment, b->offset / BATCH_BLOCK_BYTES,
                              &h);
    if (x->o->batch != NULL)
        rc = x->o->batch(x->o->arg, &f->s, b->offset, &h);
    struct bytes rest = b->entries;
    for (uint32_t i = 0; rc == 0 && i < b->count; i++) {
        struct entry_view v;
        size_t used;
        if (entry_decode(rest, &v, &used, NULL) != 0)
            break; /* the walk has decoded it already */
        if (x->o->entry != NULL)
            rc = x->o->entry(x->o->arg, &f->s, (uint64_t)(rest.p - s->image.p), &v);
        rest = bytes_of(rest.p + used, rest.n - used);
    }
    x->out->batches++;
    x->out->entries += b->count;
    if (b->last.lsn.v > x->out->last.lsn.v)
        x->out->last = b->last;
    return rc;
}

/* Damage at `offset`, after `before`: `s` stands where the reading goes on, or the segment's rest is lost. */
static void tell_damage(const struct scan *x, const struct file *f, const struct recovery_scan *s,
                        size_t offset, struct lsn before, bool resumed, const char *text)
{
    uint64_t to = resumed ? s->at.lsn.v : s->has_next ? s->next.lsn.v : 0;
    found(x, &(struct finding){.kind = FINDING_BATCH,
                               .file = f->name,
                               .offset = offset,
                               .from = {to > before.v || to == 0 ? before.v + 1 : 0},
                               .to = {to > before.v ? to : 0},
                               .text = text});
}

static void tell_torn(const struct scan *x, const struct file *f, const struct recovery_batch *b,
                      struct lsn last)
{
    char text[200];
    (void)snprintf(text, sizeof text,
                   "a torn tail of %zu bytes begins here, after lsn %" PRIu64
                   ": it was being written and was never acknowledged; the next start cuts it",
                   b->bytes, last.v);
    found(x, &(struct finding){.file = f->name, .offset = b->offset, .text = text});
}

/* `broken`: where this segment ends was told by a header that is damaged. */
static int walk(struct scan *x, const struct file *f, struct recovery_scan *s, bool broken,
                struct err *e)
{
    recovery_begin(s);
    s->anchored = !f->s.inferred;
    for (;;) {
        struct place place;
        struct recovery_batch b;
        struct err why = ERR_NONE;
        const size_t offset = s->offset;
        const struct lsn before = s->at.lsn;
        int rc = 0;
        switch (recovery_next(s, &place, &b, &why)) {
        case RECOVERY_ACCEPT:
            if ((rc = tell_batch(x, f, s, &b)) != 0)
                return rc;
            continue;
        case RECOVERY_JOIN:
        case RECOVERY_END:
            return 0;
        case RECOVERY_CUT:
            tell_torn(x, f, &b, before);
            return 0;
        case RECOVERY_NEWER:
            return err_set(e, ERR_NEWER, "%s: %s", f->name, why.text);
        case RECOVERY_SKIP:
        case RECOVERY_DAMAGED:
            break;
        }
        if (broken && place.block == PLACE_NOTHING && !place.proven)
            return 0;
        bool resumed = s->offset != offset || recovery_resume(s);
        tell_damage(x, f, s, offset, before, resumed, why.text);
        if (!resumed)
            return 0;
    }
}

static int read_and_walk(struct scan *x, size_t i, struct err *e)
{
    const struct file *f = &x->files[i];
    bool broken;
    const struct file *next = next_of(x, i, &broken);
    const size_t n = (size_t)batch_blocks_bytes(f->s.bytes);
    uint8_t *image = file_buffer(n);
    if (image == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to read a segment of %zu bytes", n);
    struct log_unreadable lost;
    struct recovery_scan s = {.segment = f->s.head,
                              .checkpoint = x->o->checkpoint,
                              .has_next = next != NULL && !next->s.inferred};
    if (s.has_next)
        s.next = next->s.head.start;
    int rc = log_read_image(x->o->dir_fd, f->name, image, n, &lost, e);
    if (rc == 0) {
        s.image = bytes_of(image, n);
        s.bad_from = lost.from;
        s.bad_to = lost.to;
        if (f->s.inferred) /* the header knew it; entries carry it, and each has its checksum */
            memcpy(s.segment.cluster_id.b, image + BATCH_BLOCK_BYTES + BATCH_HEADER_BYTES + 24,
                   sizeof s.segment.cluster_id.b);
        rc = walk(x, f, &s, broken, e);
    }
    free(image);
    if (x->o->sink.progress != NULL)
        x->o->sink.progress(x->o->sink.arg, f->s.bytes);
    return rc;
}

static bool wanted(const struct scan *x, size_t i)
{
    bool broken;
    const struct file *f = &x->files[i], *next = next_of(x, i, &broken);
    return f->s.counts && (x->o->to.v == 0 || f->s.head.start.lsn.v < x->o->to.v) &&
           (x->o->from.v == 0 || next == NULL || next->s.head.start.lsn.v >= x->o->from.v);
}

/* The oldest segment that counts: where the log begins. */
static void begin(struct scan *x)
{
    for (size_t i = 0; i < x->count; i++) {
        const struct file *f = &x->files[i];
        if (!f->s.counts)
            continue;
        x->out->first = x->out->last = f->s.head.start;
        check_start(x, f);
        return;
    }
}

int log_scan(const struct log_scan_options *options, struct log_scan_totals *out, struct err *e)
{
    struct scan x = {.o = options, .out = out};
    uint8_t *blocks = file_buffer((size_t)2 * BATCH_BLOCK_BYTES);
    *out = (struct log_scan_totals){0};
    int rc = blocks == NULL ? err_set(e, ERR_NO_MEMORY, "no memory for two blocks") : list(&x, e);
    for (size_t i = 0; rc == 0 && i < x.count; i++)
        rc = read_header(&x, &x.files[i], blocks, e);
    if (rc == 0) {
        choose(&x);
        begin(&x);
    }
    for (size_t i = 0; rc == 0 && i < x.count; i++) {
        const struct file *f = &x.files[i];
        if (f->damage.code != 0)
            tell_header(&x, i);
        if (f->s.counts) {
            out->segments++;
            out->bytes += f->s.bytes;
        }
        if (options->segment != NULL)
            rc = options->segment(options->arg, &f->s);
        if (rc == 0 && wanted(&x, i))
            rc = read_and_walk(&x, i, e);
    }
    free(blocks);
    free(x.files);
    return rc;
}
