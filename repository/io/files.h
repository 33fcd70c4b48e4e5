/* The local directory that holds the archive: reading whole files, writing an object once, locking. Names are relative to
 * the archive's directory; nothing outside it is touched. */
#ifndef REPOSITORY_IO_FILES_H
#define REPOSITORY_IO_FILES_H

#include "repository/core/names.h"
#include "store/core/bytes.h"
#include "store/core/err.h"

#include <stdbool.h>

/* Open the archive's directory. With `create` it is made when missing, and so are its folders. With `lock` this process
 * becomes its only writer: ERR_BUSY when there is another. */
int repo_dir_open(const char *path, bool create, bool lock, int *out_fd, struct err *e);

/* One call per plain file of `folder` ("packs", "snapshots", "keys/1"), in no order, with "<folder>/<name>". A missing
 * folder holds nothing. Stops and returns the callback's first non-zero result. */
int repo_dir_list(int dir, const char *folder, int (*each)(void *arg, const char *name), void *arg,
                  struct err *e);

/* The folder that `name` lies in, and those above it, durably. */
int repo_folder_make_of(int dir, const char *name, struct err *e);

/* A whole file into *out (the caller frees it). ERR_NOT_FOUND, ERR_LIMIT when larger than max, ERR_IO. */
int repo_file_read(int dir, const char *name, size_t max, uint8_t **out, size_t *n, struct err *e);
/* Open for reading and tell the size. ERR_NOT_FOUND, ERR_IO. */
int repo_file_open(int dir, const char *name, int *out_fd, uint64_t *bytes, struct err *e);
/* Exactly n bytes at offset. ERR_IO, or ERR_FORMAT when the file ends before. */
int repo_file_pread(int fd, uint64_t offset, void *p, size_t n, struct err *e);

/* An object that is being written under a temporary name beside its place. Inert when zero with fd -1. */
struct repo_temp {
    int dir;
    int fd; /* write here; read and write */
    char temp[REPO_NAME_BYTES];
    char name[REPO_NAME_BYTES];
    /* A sync failed: what is on disk is not known any more, and a second sync would tell nothing. */
    bool sync_failed;
};
#define REPO_TEMP_NONE                                                                             \
    {                                                                                              \
        .dir = -1, .fd = -1                                                                        \
    }

/* Beside its place; what goes below "tree/" has its temporary file in "tree" itself. */
int repo_temp_create(struct repo_temp *t, int dir, const char *name, struct err *e);
int repo_temp_write(struct repo_temp *t, const void *p, size_t n, struct err *e);
/* On stable storage, and dropped from the page cache as far as the kernel lets us, so that reading back reads the disk. */
int repo_temp_sync(struct repo_temp *t, struct err *e);
/* Give it its name, which must be free (ERR_EXISTS), durably. */
int repo_temp_publish(struct repo_temp *t, struct err *e);
/* The two halves of it, for many files in few folders: the name, and then once per folder its sync. */
int repo_temp_name(struct repo_temp *t, struct err *e);
int repo_folder_sync_of(int dir, const char *name, struct err *e);
/* Give it its name in place of the file that has it, in one step and durably. Only for what is meant to be replaced. */
int repo_temp_replace(struct repo_temp *t, struct err *e);
/* Close; removes the temporary file when it was not published. */
void repo_temp_drop(struct repo_temp *t);
/* Remove temporary files that an interrupted writer left. Only for the writer that holds the lock. */
int repo_temp_clean(int dir, struct err *e);

#endif
