/* How bytes of the log come to stable storage: an engine has two primitives, and everything else is
 * above them. The two engines are log_engine_uring.c and log_engine_plain.c; tests bring their own
 * to make faults.
 *
 * An engine is used by one thread at a time. */
#ifndef STORE_IO_LOG_ENGINE_H
#define STORE_IO_LOG_ENGINE_H

#include "store/core/err.h"
#include "store/log.h"

#include <sys/types.h>

struct engine {
    enum log_engine kind;
    int open_flags; /* added when a file is opened for writing, e.g. O_DSYNC */
    /* Write at most n bytes; returns how many (a short write is no error), or -errno. */
    ssize_t (*write)(struct engine *self, int fd, const uint8_t *p, size_t n, uint64_t offset);
    /* Make all that write() completed on this file durable. 0 or -errno. */
    int (*sync)(struct engine *self, int fd);
    void (*close)(struct engine *self);
};

/* Is io_uring sound in the kernel that uname() calls so? Below 6.1 it had hangs; before 6.1.67 of that series synced direct
 * writes to ext4 could be lost (6.1.64, 6.1.65) or hang. Pure. */
bool engine_uring_kernel_is_sound(const char *release, const char *version);
/* AUTO's rule, for medians of one block. Pure. */
bool engine_uring_is_worth_it(uint32_t uring_us, uint32_t plain_us);
int engine_uring_open(struct engine **out, struct err *e);
int engine_plain_open(struct engine **out, struct err *e);

enum { ENGINE_REASON_BYTES = 256 };
/* Open the engine asked for. Whatever it is proves itself with a real write and sync of a file in the directory, which is removed
 * again. AUTO times a few synced blocks with both, in turn, for at most some 150 ms, and takes io_uring only if it is clearly
 * faster: that differs from machine to machine (docs/PERFORMANCE.md). `reason` tells why the engine was taken, and whether the
 * page cache had to be used because the file system has no direct I/O. */
int engine_choose(enum log_engine wanted, int dir_fd, const char *dir, struct engine **out,
                  char reason[ENGINE_REASON_BYTES], struct err *e);

/* Write n bytes (whole blocks of 4096, aligned) and make them durable. Short writes are continued,
 * a failure is not retried. `path` is for the message. */
int engine_commit(struct engine *engine, int fd, const char *path, const uint8_t *p, size_t n,
                  uint64_t offset, struct err *e);

#endif
