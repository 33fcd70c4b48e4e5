/* Where an archive's files lie. Everything in this folder reads and writes through these calls, so that a backend is the whole
 * difference between one place and another: a local directory (files.h) or a bucket (s3.h).
 *
 * An archive's file has a name relative to the archive ("packs/…", core/names.h), is written once, whole, and read at any offset.
 * tree/checkpoint alone is replaced. On its way in it is a local file (struct repo_temp) that is written, synced and read back
 * before it gets its name, so that what a backend is given is whole and of known size.
 *
 * Threads: files that are open are read by several, each by one at a time; everything else by one at a time for a backend. */
#ifndef REPOSITORY_IO_BACKEND_H
#define REPOSITORY_IO_BACKEND_H

#include "repository/core/names.h"
#include "store/core/bytes.h"
#include "store/core/err.h"

#include <stdbool.h>

struct repo_backend; /* begins the struct of each kind */

/* A file that is open for reading. Inert as REPO_BLOB_NONE. */
struct repo_blob {
    struct repo_backend *backend;
    void *own; /* the backend's */
    int fd;    /* where there is one */
    uint64_t bytes;
};
#define REPO_BLOB_NONE                                                                             \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/* A file that is being written. Inert as REPO_TEMP_NONE. */
struct repo_temp {
    struct repo_backend *backend;
    int fd;                     /* write here; read and write */
    char temp[REPO_NAME_BYTES]; /* its name meanwhile; empty: it has none, or not any more */
    char name[REPO_NAME_BYTES];
    /* A sync failed: what is stored is not known any more, and a second sync would tell nothing. */
    bool sync_failed;
};
#define REPO_TEMP_NONE                                                                             \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/* What a kind of backend does. The calls below say what each must keep. */
struct repo_backend_kind {
    bool remote; /* who reads mostly waits: more threads than processors are of use */
    void (*close)(struct repo_backend *b);
    int (*list)(struct repo_backend *b, const char *folder,
                int (*each)(void *arg, const char *name), void *arg, struct err *e);
    int (*open)(struct repo_backend *b, const char *name, unsigned older, struct repo_blob *out,
                struct err *e);
    int (*read)(struct repo_blob *f, uint64_t offset, void *p, size_t n, struct err *e);
    void (*close_blob)(struct repo_blob *f);
    int (*create)(struct repo_backend *b, const char *name, struct repo_temp *t, struct err *e);
    int (*name)(struct repo_temp *t, struct err *e);
    int (*settle)(struct repo_backend *b, const char *const *names, size_t n, struct err *e);
    int (*replace)(struct repo_temp *t, struct err *e);
    void (*drop)(struct repo_temp *t);
    void (*forget)(struct repo_backend *b, const char *folder);
    bool (*remove)(struct repo_backend *b, const char *name); /* NULL: what is there stays */
    bool (*destroy)(struct repo_backend *b, const char *name, struct utc *until);
};

struct repo_backend {
    const struct repo_backend_kind *kind;
};

/* Open the archive at `where`. With `create` it is made when missing. With `write` this process is its only writer (ERR_BUSY when
 * there is another), and what an interrupted writer left unfinished is removed. ERR_NOT_FOUND, ERR_IO. */
int repo_backend_open(const char *where, bool create, bool write, struct repo_backend **out,
                      struct err *e);
void repo_backend_close(struct repo_backend *b); /* NULL is taken */

/* ---- reading ---- */

/* One call per file of `folder` ("packs", "snapshots", "keys/1"), in no order, with "<folder>/<name>". A missing
 * folder holds nothing. Stops and returns the callback's first non-zero result. */
int repo_backend_list(struct repo_backend *b, const char *folder,
                      int (*each)(void *arg, const char *name), void *arg, struct err *e);
/* A whole file into *out (the caller frees it). ERR_NOT_FOUND, ERR_LIMIT when larger than max, ERR_IO. */
int repo_backend_read(struct repo_backend *b, const char *name, size_t max, uint8_t **out,
                      size_t *n, struct err *e);
/* The same of a file that is replaced: 0 is what it is now, 1 what it was before, and so on, as far as the backend keeps it;
 * ERR_NOT_FOUND beyond. */
int repo_backend_read_older(struct repo_backend *b, const char *name, unsigned older, size_t max,
                            uint8_t **out, size_t *n, struct err *e);

/* Open for reading and tell the size. ERR_NOT_FOUND, ERR_IO. */
int repo_blob_open(struct repo_blob *f, struct repo_backend *b, const char *name, struct err *e);
/* Exactly n bytes at offset. ERR_IO, or ERR_FORMAT when the file ends before. */
int repo_blob_read(struct repo_blob *f, uint64_t offset, void *p, size_t n, struct err *e);
void repo_blob_close(struct repo_blob *f); /* leaves it inert */

/* ---- writing ---- */

int repo_temp_create(struct repo_temp *t, struct repo_backend *b, const char *name, struct err *e);
int repo_temp_write(struct repo_temp *t, const void *p, size_t n, struct err *e);
/* The disk begins with it, and nothing is promised: so that of many files each has its place before the first is synced, and
 * the file system commits for all of them at once. */
void repo_temp_begin_sync(const struct repo_temp *t);
/* On stable storage, and dropped from the page cache as far as the kernel lets us, so that reading back reads the disk. */
int repo_temp_sync(struct repo_temp *t, struct err *e);
/* To read back what was written; a view, valid while t is. */
struct repo_blob repo_temp_blob(const struct repo_temp *t);
/* Give it its name, which must be free (ERR_EXISTS), durably. */
int repo_temp_publish(struct repo_temp *t, struct err *e);
/* The two halves of it, for many files: the name, and then for all of them that it lasts. */
int repo_temp_name(struct repo_temp *t, struct err *e);
int repo_backend_settle(struct repo_backend *b, const char *const *names, size_t n, struct err *e);
/* Give it its name in place of the file that has it, in one step and durably. Only for what is meant to be replaced. */
int repo_temp_replace(struct repo_temp *t, struct err *e);
/* Close; what was not published is gone. */
void repo_temp_drop(struct repo_temp *t);
/* The files of a folder are not needed any more: they may be removed, and the folder. */
void repo_backend_forget(struct repo_backend *b, const char *folder);
/* A file is not needed any more. True: it is gone; false: it stays, as may be. */
bool repo_backend_remove(struct repo_backend *b, const char *name);
/* A file must not be there any more, in any version that the place keeps. True: it is gone; false: not yet, or not all of it, and
 * *until is when the place will let it go (0: not known). Asked again it goes on; it costs a bucket some requests. */
bool repo_backend_destroy(struct repo_backend *b, const char *name, struct utc *until);

#endif
