/* Backends: what all kinds share: reading small files whole, and the local file that something is before it has a name. */
#include "repository/io/backend.h"

#include "repository/io/files.h"
#include "repository/core/s3_text.h"
#include "repository/io/s3.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int repo_backend_open(const char *where, bool create, bool write, struct repo_backend **out,
                      struct err *e)
{
    return s3_text_is(where) ? repo_s3_open(where, write, out, e)
                             : repo_files_open(where, create, write, out, e);
}

void repo_backend_close(struct repo_backend *b)
{
    if (b != NULL)
        b->kind->close(b);
}

/* ---- reading ---- */

int repo_backend_list(struct repo_backend *b, const char *folder,
                      int (*each)(void *arg, const char *name), void *arg, struct err *e)
{
    return b->kind->list(b, folder, each, arg, e);
}

int repo_backend_read_older(struct repo_backend *b, const char *name, unsigned older, size_t max,
                            uint8_t **out, size_t *n, struct err *e)
{
    struct repo_blob f = REPO_BLOB_NONE;
    *out = NULL;
    int rc = b->kind->open(b, name, older, &f, e);
    if (rc != 0)
        return rc;
    if (f.bytes > max)
        rc = err_set(e, ERR_LIMIT, "%s: %llu bytes, at most %zu are expected", name,
                     (unsigned long long)f.bytes, max);
    /* One byte more, so that an empty file is no special case. */
    if (rc == 0 && (*out = malloc((size_t)f.bytes + 1)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "%s: no memory for %llu bytes", name,
                     (unsigned long long)f.bytes);
    if (rc == 0 && (rc = repo_blob_read(&f, 0, *out, (size_t)f.bytes, e)) != 0)
        err_wrap(e, "%s", name);
    if (rc != 0) {
        free(*out);
        *out = NULL;
    }
    *n = (size_t)f.bytes;
    repo_blob_close(&f);
    return rc;
}

int repo_backend_read(struct repo_backend *b, const char *name, size_t max, uint8_t **out,
                      size_t *n, struct err *e)
{
    return repo_backend_read_older(b, name, 0, max, out, n, e);
}

int repo_blob_open(struct repo_blob *f, struct repo_backend *b, const char *name, struct err *e)
{
    return b->kind->open(b, name, 0, f, e);
}

static int read_fd(int fd, uint64_t offset, void *p, size_t n, struct err *e)
{
    uint8_t *at = p;
    while (n != 0) {
        ssize_t got = pread(fd, at, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(e, ERR_IO, "cannot read %zu bytes at byte %llu: %s", n,
                           (unsigned long long)offset, strerror(errno));
        if (got == 0)
            return err_set(e, ERR_FORMAT, "the file ends at byte %llu, %zu bytes too early",
                           (unsigned long long)offset, n);
        at += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

int repo_blob_read(struct repo_blob *f, uint64_t offset, void *p, size_t n, struct err *e)
{
    return f->fd >= 0 ? read_fd(f->fd, offset, p, n, e)
                      : f->backend->kind->read(f, offset, p, n, e);
}

void repo_blob_close(struct repo_blob *f)
{
    if (f->backend != NULL)
        f->backend->kind->close_blob(f);
    *f = (struct repo_blob)REPO_BLOB_NONE;
}

/* ---- writing ---- */

int repo_temp_create(struct repo_temp *t, struct repo_backend *b, const char *name, struct err *e)
{
    *t = (struct repo_temp)REPO_TEMP_NONE;
    t->backend = b;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    return b->kind->create(b, name, t, e);
}

int repo_temp_write(struct repo_temp *t, const void *p, size_t n, struct err *e)
{
    const uint8_t *at = p;
    while (n != 0) {
        ssize_t put = write(t->fd, at, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return repo_files_failed(errno, t->name, "cannot write", e);
        at += put;
        n -= (size_t)put;
    }
    return 0;
}

void repo_temp_begin_sync(const struct repo_temp *t)
{
    (void)sync_file_range(t->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* an error comes with the sync */
}

int repo_temp_sync(struct repo_temp *t, struct err *e)
{
    if (fdatasync(t->fd) != 0) {
        t->sync_failed = true;
        return repo_sync_fatal(t->name, errno, e);
    }
    (void)posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

struct repo_blob repo_temp_blob(const struct repo_temp *t)
{
    off_t end = lseek(t->fd, 0, SEEK_END);
    return (struct repo_blob){.fd = t->fd, .bytes = end < 0 ? 0 : (uint64_t)end};
}

int repo_temp_name(struct repo_temp *t, struct err *e)
{
    return t->backend->kind->name(t, e);
}

int repo_backend_settle(struct repo_backend *b, const char *const *names, size_t n, struct err *e)
{
    return b->kind->settle(b, names, n, e);
}

int repo_temp_publish(struct repo_temp *t, struct err *e)
{
    const char *name = t->name;
    int rc = repo_temp_name(t, e);
    if (rc == 0 && (rc = repo_backend_settle(t->backend, &name, 1, e)) != 0)
        t->sync_failed = true;
    return rc;
}

int repo_temp_replace(struct repo_temp *t, struct err *e)
{
    return t->backend->kind->replace(t, e);
}

void repo_temp_drop(struct repo_temp *t)
{
    if (t->fd < 0)
        return;
    (void)close(t->fd);
    if (t->temp[0] != '\0')
        t->backend->kind->drop(t);
    *t = (struct repo_temp)REPO_TEMP_NONE;
}

void repo_backend_forget(struct repo_backend *b, const char *folder)
{
    b->kind->forget(b, folder);
}

bool repo_backend_remove(struct repo_backend *b, const char *name)
{
    return b->kind->remove != NULL && b->kind->remove(b, name);
}

bool repo_backend_destroy(struct repo_backend *b, const char *name, struct utc *until)
{
    until->us = 0;
    return b->kind->destroy(b, name, until);
}
