/* Files: the few whole operations that the adapters share. Each names path, act and reason in `e`.
 *
 * Names are relative to an open directory. EINTR is handled inside; reads and writes are whole. */
#ifndef STORE_IO_FILE_H
#define STORE_IO_FILE_H

#include "store/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Code for errno of a file operation: ERR_NO_SPACE, ERR_NO_MEMORY, ERR_DENIED, ERR_NOT_FOUND, ERR_EXISTS, else ERR_IO. */
int file_code(int errnum);
/* "<path>: cannot <act>: <text of errnum>"; returns file_code(errnum). */
int file_error(struct err *e, const char *path, const char *act, int errnum);

/* Create `path` and what is missing above it (mode 0700), make that durable, and open it. */
int file_open_dir(const char *path, int *fd, struct err *e);
/* Make the directory's names durable. `path` is for the message. */
int file_sync_dir(int dir_fd, const char *path, struct err *e);
/* The same for a directory that is not open, and for the one above `path`. */
int file_sync_path(const char *path, struct err *e);
int file_sync_parent(const char *path, struct err *e);

/* Read or write n bytes at `offset`. file_read_at sets *got, which is below n only where the file
 * ends. */
int file_read_at(int fd, const char *path, void *p, size_t n, uint64_t offset, size_t *got,
                 struct err *e);
int file_write_at(int fd, const char *path, const void *p, size_t n, uint64_t offset,
                  struct err *e);

/* openat() with O_CLOEXEC that bypasses the page cache (O_DIRECT) where the file system can;
 * *direct tells. The descriptor, or -errno. */
int file_open_direct(int dir_fd, const char *name, int flags, bool *direct);
/* Memory for direct I/O: aligned to 4096. NULL when there is none; release with free(). */
void *file_buffer(size_t n);

/* Take the lock of a directory: the file `name` in it, with the holder's pid inside. ERR_BUSY
 * "another triveni runs on this directory (pid N)". The lock is held until *fd is closed, and freed
 * by the kernel when the process dies. */
int file_lock(int dir_fd, const char *dir, const char *name, int *fd, struct err *e);

/* For whoever only reads the directory: share its lock, so that nobody starts to run on it meanwhile. ERR_BUSY as above. *fd
 * is -1, and nothing is held, where there is no lock file (a copy) or it may not be read. Changes nothing. */
int file_lock_shared(int dir_fd, const char *dir, const char *name, int *fd, struct err *e);

/* Bytes that the file system of `fd` has free for us. */
int file_free_bytes(int fd, const char *path, uint64_t *out, struct err *e);

#endif
