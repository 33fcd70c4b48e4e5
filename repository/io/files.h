/* The backend that is a local directory. */
#ifndef REPOSITORY_IO_FILES_H
#define REPOSITORY_IO_FILES_H

#include "repository/io/backend.h"

/* repo_backend_open of a directory: `create` makes its folders too, `write` takes a lock, which ends with the process. */
int repo_files_open(const char *path, bool create, bool write, struct repo_backend **out,
                    struct err *e);

/* An error of the operating system about a file: ERR_NO_SPACE, ERR_NOT_FOUND or ERR_IO. */
int repo_files_failed(int code, const char *name, const char *what, struct err *e);
/* A sync failed with `code`: ERR_IO, and what that means. */
int repo_sync_fatal(const char *name, int code, struct err *e);

#endif
