/* The C library's calls for files, as far as the store and LMDB use them, each of which notes what it does. The program's own
 * definitions stand before the library's, for shared libraries too, so nothing needs to be preloaded.
 *
 * One lock is held over call and note, so the order of notes is the order of effects; a sync alone lets others go on, and
 * covers only what came before it was called. Files are known by the numbers that the system gives them, which tmpfs never
 * uses twice. The log must run with its plain engine: io_uring does not come by here.
 *
 * Writing through a mapping is not seen; the store does it only to LMDB's reader table, which no recovery reads. */
#include "tests/crash/record.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct trace *trace;
    enum lie lie;
    bool opening;
} recorder;

const char *lie_name(enum lie lie)
{
    static const char *const names[LIES] = {"none",
                                            "log-not-synced",
                                            "data-not-synced",
                                            "slot-not-synced-at-open",
                                            "directory-not-synced",
                                            "tail-block-rewritten"};
    return names[lie];
}

void record_into(struct trace *t, enum lie lie)
{
    (void)pthread_mutex_lock(&lock);
    recorder.trace = t;
    recorder.lie = lie;
    (void)pthread_mutex_unlock(&lock);
}

void record_opening(bool opening)
{
    (void)pthread_mutex_lock(&lock);
    recorder.opening = opening;
    (void)pthread_mutex_unlock(&lock);
}

/* ---- the trace; under the lock ---- */

static struct event *add(enum event_type type)
{
    struct trace *t = recorder.trace;
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 1024 : 2 * t->cap;
        t->v = realloc(t->v, t->cap * sizeof *t->v);
        if (t->v == NULL)
            abort();
    }
    struct event *e = &t->v[t->n++];
    *e = (struct event){.type = type};
    return e;
}

void trace_clear(struct trace *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->v[i].bytes);
    t->n = 0;
}

size_t record_count(void)
{
    (void)pthread_mutex_lock(&lock);
    size_t n = recorder.trace == NULL ? 0 : recorder.trace->n;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

void record_note(int what, uint64_t n, uint64_t limit)
{
    (void)pthread_mutex_lock(&lock);
    if (recorder.trace != NULL) {
        struct event *e = add(EVENT_NOTE);
        e->what = what;
        e->n = n;
        e->limit = limit;
    }
    (void)pthread_mutex_unlock(&lock);
}

static uint64_t number_of(int fd)
{
    struct stat st;
    return syscall(SYS_fstat, fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
               ? st.st_ino
               : 0;
}

/* Directory and name that a path means. */
static void place(int dir_fd, const char *path, uint64_t *dir, char name[DISK_NAME_BYTES])
{
    char above[4096];
    struct stat st = {.st_ino = 0};
    const char *slash = strrchr(path, '/');
    (void)snprintf(name, DISK_NAME_BYTES, "%s", slash == NULL ? path : slash + 1);
    (void)snprintf(above, sizeof above, "%.*s", slash == NULL ? 1 : (int)(slash - path),
                   slash == NULL ? "." : path);
    *dir = fstatat(dir_fd, above, &st, 0) == 0 ? st.st_ino : 0;
}

static bool is_named(int fd, const char *part)
{
    char link[64], path[4096];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    return strstr(path, part) != NULL;
}

static bool all_zeros(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static void add_write(uint64_t ino, const uint8_t *p, size_t n, uint64_t offset)
{
    struct event *e = add(EVENT_WRITE);
    e->ino = ino;
    e->offset = offset;
    e->n = n;
    if (all_zeros(p, n))
        return;
    e->bytes = malloc(n);
    if (e->bytes == NULL)
        abort();
    memcpy(e->bytes, p, n);
}

/* LIE_TAIL: the block before goes with it. */
static void add_tail(int fd, uint64_t ino, uint64_t offset)
{
    static uint8_t block[4096] __attribute__((aligned(4096)));
    if (offset >= sizeof block && is_named(fd, ".seg") &&
        syscall(SYS_pread64, fd, block, sizeof block, offset - sizeof block) == sizeof block)
        add_write(ino, block, sizeof block, offset - sizeof block);
}

static bool is_lie(int fd, bool is_dir)
{
    switch (recorder.lie) {
    case LIE_LOG:
        return !is_dir && is_named(fd, ".seg");
    case LIE_DATA:
        return is_named(fd, "data.mdb");
    case LIE_REOPEN:
        return recorder.opening && is_named(fd, "/checkpoint") && !is_named(fd, ".new");
    case LIE_DIR:
        return is_dir;
    case LIE_NOT:
    case LIE_TAIL:
        break;
    }
    return false;
}

static void add_sync(int fd, uint64_t begun)
{
    struct stat st;
    if (syscall(SYS_fstat, fd, &st) != 0 || is_lie(fd, S_ISDIR(st.st_mode)))
        return;
    struct event *e = add(EVENT_SYNC);
    e->ino = st.st_ino;
    e->begun = begun;
}

/* ---- the calls ---- */

int fsync(int fd);
int fdatasync(int fd);
int open(const char *path, int flags, ...);
int openat(int dir_fd, const char *path, int flags, ...);
int renameat(int dir_fd, const char *path, int to_dir_fd, const char *to);
int unlinkat(int dir_fd, const char *path, int flags);
int mkdir(const char *path, mode_t mode);
int ftruncate(int fd, off_t size);
ssize_t pwrite(int fd, const void *p, size_t n, off_t offset);
ssize_t write(int fd, const void *p, size_t n);
ssize_t writev(int fd, const struct iovec *v, int n);

static int sync_call(int fd)
{
    (void)pthread_mutex_lock(&lock);
    uint64_t begun = recorder.trace == NULL ? 0 : recorder.trace->n;
    (void)pthread_mutex_unlock(&lock);
    (void)sched_yield(); /* a disk takes its time, and others write meanwhile */
    (void)pthread_mutex_lock(&lock);
    if (recorder.trace != NULL)
        add_sync(fd, begun);
    (void)pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd)
{
    return sync_call(fd);
}

int fdatasync(int fd)
{
    return sync_call(fd);
}

/* With O_DSYNC a write is a write and a sync, and another thread may get in between. */
static void after_write(int fd, const uint8_t *p, ssize_t done, uint64_t offset)
{
    if (recorder.trace == NULL || done <= 0)
        return;
    uint64_t ino = number_of(fd);
    if (ino == 0)
        return;
    add_write(ino, p, (size_t)done, offset);
    if (recorder.lie == LIE_TAIL)
        add_tail(fd, ino, offset);
    if ((syscall(SYS_fcntl, fd, F_GETFL) & O_DSYNC) != 0)
        add_sync(fd, recorder.trace->n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t offset)
{
    (void)pthread_mutex_lock(&lock);
    ssize_t done = syscall(SYS_pwrite64, fd, p, n, offset);
    int errnum = errno;
    after_write(fd, p, done, (uint64_t)offset);
    (void)pthread_mutex_unlock(&lock);
    errno = errnum;
    return done;
}

ssize_t write(int fd, const void *p, size_t n)
{
    (void)pthread_mutex_lock(&lock);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_write, fd, p, n);
    int errnum = errno;
    if (offset >= 0)
        after_write(fd, p, done, (uint64_t)offset);
    (void)pthread_mutex_unlock(&lock);
    errno = errnum;
    return done;
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    ssize_t sum = 0;
    for (int i = 0; i < n; i++) {
        ssize_t done = write(fd, v[i].iov_base, v[i].iov_len);
        if (done < 0)
            return sum > 0 ? sum : done;
        sum += done;
        if ((size_t)done < v[i].iov_len)
            break;
    }
    return sum;
}

int ftruncate(int fd, off_t size)
{
    (void)pthread_mutex_lock(&lock);
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0 && recorder.trace != NULL) {
        struct event *e = add(EVENT_RESIZE);
        e->ino = number_of(fd);
        e->n = (uint64_t)size;
    }
    (void)pthread_mutex_unlock(&lock);
    return rc;
}

static int open_call(int dir_fd, const char *path, int flags, mode_t mode)
{
    if ((flags & (O_CREAT | O_TRUNC)) == 0)
        return (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    struct stat st;
    (void)pthread_mutex_lock(&lock);
    bool is_new = fstatat(dir_fd, path, &st, 0) != 0;
    int fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    int errnum = errno;
    if (fd >= 0 && recorder.trace != NULL && (is_new || (flags & O_TRUNC) != 0)) {
        struct event *e = add(is_new ? EVENT_CREATE : EVENT_RESIZE);
        e->ino = number_of(fd);
        if (is_new)
            place(dir_fd, path, &e->dir, e->name);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = errnum;
    return fd;
}

#define MODE_ARGUMENT(mode)                                                                        \
    mode_t mode = 0;                                                                               \
    if ((flags & O_CREAT) != 0) {                                                                  \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
    }

int open(const char *path, int flags, ...)
{
    MODE_ARGUMENT(mode)
    return open_call(AT_FDCWD, path, flags, mode);
}

int openat(int dir_fd, const char *path, int flags, ...)
{
    MODE_ARGUMENT(mode)
    return open_call(dir_fd, path, flags, mode);
}

int renameat(int dir_fd, const char *path, int to_dir_fd, const char *to)
{
    (void)pthread_mutex_lock(&lock);
    int rc = (int)syscall(SYS_renameat, dir_fd, path, to_dir_fd, to);
    int errnum = errno;
    if (rc == 0 && recorder.trace != NULL) {
        struct event *e = add(EVENT_RENAME);
        place(dir_fd, path, &e->dir, e->name);
        place(to_dir_fd, to, &e->to_dir, e->to);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = errnum;
    return rc;
}

int unlinkat(int dir_fd, const char *path, int flags)
{
    (void)pthread_mutex_lock(&lock);
    int rc = (int)syscall(SYS_unlinkat, dir_fd, path, flags);
    int errnum = errno;
    if (rc == 0 && recorder.trace != NULL) {
        struct event *e = add(EVENT_REMOVE);
        place(dir_fd, path, &e->dir, e->name);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = errnum;
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    struct stat st;
    (void)pthread_mutex_lock(&lock);
    int rc = (int)syscall(SYS_mkdir, path, mode);
    int errnum = errno;
    if (rc == 0 && recorder.trace != NULL && stat(path, &st) == 0) {
        struct event *e = add(EVENT_CREATE);
        e->is_dir = true;
        e->ino = st.st_ino;
        place(AT_FDCWD, path, &e->dir, e->name);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = errnum;
    return rc;
}

/* ---- playing ---- */

static void play_write(const struct event *e, struct disk *d, uint64_t ino)
{
    static const uint8_t zeros[1 << 20];
    if (e->bytes != NULL) {
        disk_write(d, ino, e->bytes, e->n, e->offset);
        return;
    }
    for (uint64_t done = 0; done < e->n;) {
        uint64_t step = e->n - done < sizeof zeros ? e->n - done : sizeof zeros;
        disk_write(d, ino, zeros, step, e->offset + done);
        done += step;
    }
}

void trace_play(const struct trace *t, size_t k, struct disk *d, uint64_t *moments)
{
    const struct event *e = &t->v[k];
    uint64_t ino = e->ino == 0 ? 0 : disk_bound(d, e->ino);
    uint64_t dir = e->dir == 0 ? 0 : disk_bound(d, e->dir);
    moments[k] = disk_moment(d);
    switch (e->type) {
    case EVENT_CREATE:
        if (dir != 0)
            disk_bind_one(d, disk_create(d, dir, e->name, e->is_dir), e->ino);
        break;
    case EVENT_REMOVE:
        if (dir != 0)
            disk_remove(d, dir, e->name);
        break;
    case EVENT_RENAME:
        if (dir != 0)
            disk_rename(d, dir, e->name, disk_bound(d, e->to_dir), e->to);
        break;
    case EVENT_WRITE:
        if (ino != 0)
            play_write(e, d, ino);
        break;
    case EVENT_RESIZE:
        if (ino != 0)
            disk_resize(d, ino, e->n);
        break;
    case EVENT_SYNC:
        if (ino != 0)
            disk_sync(d, ino, moments[e->begun < k ? e->begun : k]);
        break;
    case EVENT_NOTE:
        break;
    }
}
