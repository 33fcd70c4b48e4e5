/* See run.h. Rows are read through a mapping, so that a merge of many runs with large values needs no memory of its own;
 * what lies RELEASE_BYTES behind the cursor is given back to the kernel. */
#include "repository/io/run.h"

#include "store/core/check.h"
#include "store/core/hash.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAGIC = 0x524e5654,
    TRAILER_BYTES = 4 + 4 + 8 + 8 + 8 + 56 + 4,
    BUFFER_BYTES = 1 << 20,
    RELEASE_BYTES = 4 << 20,
    NAME_BYTES = 64,
};

/* ---- writing ---- */

struct repo_run_writer {
    int dir, fd;
    char name[NAME_BYTES], temp[NAME_BYTES + 4];
    struct repo_run_facts facts;
    uint64_t bytes; /* in the file */
    uint32_t crc;
    struct writer out; /* of `buffer` */
    uint8_t buffer[BUFFER_BYTES];
};

int repo_run_create(struct repo_run_writer **out, int dir, const char *name, struct err *e)
{
    struct repo_run_writer *w = malloc(sizeof *w);
    *out = NULL;
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for a run");
    w->dir = dir;
    w->facts = (struct repo_run_facts){0};
    w->bytes = 0;
    w->crc = 0;
    w->out = writer_of(w->buffer, sizeof w->buffer);
    (void)snprintf(w->name, sizeof w->name, "%s", name);
    (void)snprintf(w->temp, sizeof w->temp, "%s.tmp", w->name);
    w->fd = openat(dir, w->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (w->fd < 0) {
        int rc = file_error(e, w->temp, "be made", errno);
        free(w);
        return rc;
    }
    *out = w;
    return 0;
}

static int put(struct repo_run_writer *w, struct bytes b, struct err *e)
{
    int rc = file_write_at(w->fd, w->temp, b.p, b.n, w->bytes, e);
    w->crc = hash_crc32c(w->crc, b);
    w->bytes += b.n;
    return rc;
}

static int flush(struct repo_run_writer *w, struct err *e)
{
    const size_t n = w->out.at;
    w->out.at = 0;
    return n == 0 ? 0 : put(w, bytes_of(w->buffer, n), e);
}

/* Room for n bytes in the buffer. */
static int make_room(struct repo_run_writer *w, size_t n, struct err *e)
{
    check(n <= sizeof w->buffer);
    return w->out.cap - w->out.at < n ? flush(w, e) : 0;
}

int repo_run_row(struct repo_run_writer *w, const struct repo_effect *x, struct err *e)
{
    const bool apart = x->value.n > BUFFER_BYTES / 4;
    int rc = make_room(w, REPO_EFFECT_HEAD_MAX_BYTES + (apart ? 0 : x->value.n), e);
    if (rc != 0)
        return rc;
    repo_effect_write(&w->out, x);
    if (!apart)
        write_bytes(&w->out, x->value);
    else if ((rc = flush(w, e)) == 0)
        rc = put(w, x->value, e);
    check(!w->out.bad);
    w->facts.rows++;
    w->facts.row_bytes = w->bytes + w->out.at;
    return rc;
}

static void write_position(struct writer *w, const struct entry_position *p)
{
    write_u64(w, p->lsn.v);
    write_u64(w, p->term.v);
    write_u64(w, p->time.us);
    write_sha256(w, &p->hash);
}

int repo_run_event(struct repo_run_writer *w, const struct state_session_event *x, struct err *e)
{
    int rc = make_room(w, 128 + x->client.n, e);
    if (rc != 0)
        return rc;
    write_u8(&w->out, (uint8_t)x->kind);
    write_uuid(&w->out, &x->session);
    write_u64(&w->out, x->sequence);
    write_position(&w->out, &x->at);
    write_bytes16(&w->out, x->client);
    check(!w->out.bad);
    w->facts.events++;
    return 0;
}

int repo_run_finish(struct repo_run_writer *w, struct entry_position end, enum commit_mode mode,
                    struct err *e)
{
    static const uint8_t zero[3];
    int rc = flush(w, e);
    if (rc != 0)
        return rc;
    write_u32(&w->out, MAGIC);
    write_u32(&w->out, w->crc);
    write_u64(&w->out, w->facts.rows);
    write_u64(&w->out, w->facts.row_bytes);
    write_u64(&w->out, w->facts.events);
    write_position(&w->out, &end);
    write_u8(&w->out, (uint8_t)mode);
    write_bytes(&w->out, bytes_of(zero, sizeof zero));
    check(w->out.at == TRAILER_BYTES);
    if ((rc = flush(w, e)) != 0)
        return rc;
    if (renameat(w->dir, w->temp, w->dir, w->name) != 0)
        return file_error(e, w->temp, "be renamed", errno);
    (void)close(w->fd);
    w->fd = -1;
    return 0;
}

void repo_run_free(struct repo_run_writer *w)
{
    if (w == NULL)
        return;
    if (w->fd >= 0) {
        (void)close(w->fd);
        (void)unlinkat(w->dir, w->temp, 0);
    }
    free(w);
}

/* ---- reading ---- */

struct repo_run {
    uint8_t *map;
    size_t bytes;
    struct repo_run_facts facts;
    struct reader rows, events;
    size_t released; /* bytes of rows that were given back */
    char name[NAME_BYTES];
};

static struct entry_position read_position(struct reader *r)
{
    struct entry_position p;
    p.lsn.v = read_u64(r);
    p.term.v = read_u64(r);
    p.time.us = read_u64(r);
    p.hash = read_sha256(r);
    return p;
}

static int read_trailer(struct repo_run *r, bool verify, struct err *e)
{
    const size_t content = r->bytes - TRAILER_BYTES;
    struct reader in = reader_of(bytes_of(r->map + content, TRAILER_BYTES));
    const uint32_t magic = read_u32(&in), crc = read_u32(&in);
    r->facts.rows = read_u64(&in);
    r->facts.row_bytes = read_u64(&in);
    r->facts.events = read_u64(&in);
    r->facts.end = read_position(&in);
    const uint8_t mode = read_u8(&in);
    r->facts.mode = mode;
    if (magic != MAGIC || r->facts.row_bytes > content || mode > COMMIT_LOCAL)
        return err_set(e, ERR_INTEGRITY, "%s: it does not end as a run", r->name);
    if (verify && hash_crc32c(0, bytes_of(r->map, content)) != crc)
        return err_set(e, ERR_INTEGRITY, "%s: its checksum is wrong", r->name);
    r->rows = reader_of(bytes_of(r->map, r->facts.row_bytes));
    r->events = reader_of(bytes_of(r->map + r->facts.row_bytes, content - r->facts.row_bytes));
    return 0;
}

int repo_run_open(struct repo_run **out, int dir, const char *name, bool verify, struct err *e)
{
    struct repo_run *r = calloc(1, sizeof *r);
    struct stat st;
    int rc = 0;
    *out = NULL;
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for a run");
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        rc = file_error(e, name, "be opened", errno);
    } else if (st.st_size < TRAILER_BYTES) {
        rc = err_set(e, ERR_INTEGRITY, "%s: it does not end as a run", name);
    } else {
        r->bytes = (size_t)st.st_size;
        void *map = mmap(NULL, r->bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            rc = file_error(e, name, "be mapped", errno);
        else
            r->map = map;
    }
    if (fd >= 0)
        (void)close(fd);
    if (rc == 0)
        rc = read_trailer(r, verify, e);
    if (rc == 0)
        *out = r;
    else
        repo_run_close(r);
    return rc;
}

const struct repo_run_facts *repo_run_facts(const struct repo_run *r)
{
    return &r->facts;
}

int repo_run_next_row(struct repo_run *r, struct repo_effect *out, struct err *e)
{
    if (r->rows.at == r->rows.n)
        return ERR_NOT_FOUND;
    /* Views stay valid: what is given back is read again from the file when it is needed. */
    if (r->rows.at - r->released > (size_t)2 * RELEASE_BYTES) {
        (void)madvise(r->map + r->released, RELEASE_BYTES, MADV_DONTNEED);
        r->released += RELEASE_BYTES;
    }
    int rc = repo_effect_read(&r->rows, out, e);
    if (rc != 0)
        err_wrap(e, "%s", r->name);
    return rc;
}

int repo_run_next_event(struct repo_run *r, struct state_session_event *out, struct err *e)
{
    if (r->events.at == r->events.n)
        return ERR_NOT_FOUND;
    const uint8_t kind = read_u8(&r->events);
    out->kind = kind;
    out->order = 0;
    out->session = read_uuid(&r->events);
    out->sequence = read_u64(&r->events);
    out->at = read_position(&r->events);
    out->client = read_bytes16(&r->events);
    if (!r->events.bad && kind <= SESSION_EVENT_END && out->client.n <= CLIENT_NAME_MAX_BYTES)
        return 0;
    return err_set(e, ERR_FORMAT, "%s: byte %zu: no event of a run", r->name,
                   r->facts.row_bytes + r->events.at);
}

void repo_run_close(struct repo_run *r)
{
    if (r == NULL)
        return;
    if (r->map != NULL)
        (void)munmap(r->map, r->bytes);
    free(r);
}
