#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int file_code(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOMEM:
        return ERR_NO_MEMORY;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return ERR_EXISTS;
    default:
        return ERR_IO;
    }
}

int file_error(struct err *e, const char *path, const char *act, int errnum)
{
    char text[128];
    return err_set(e, file_code(errnum), "%s: cannot %s: %s", path, act,
                   strerror_r(errnum, text, sizeof text));
}

int file_sync_path(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return file_error(e, path, "open the directory", errno);
    int rc = file_sync_dir(fd, path, e);
    (void)close(fd);
    return rc;
}

int file_sync_parent(const char *path, struct err *e)
{
    char parent[PATH_MAX];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n >= sizeof parent)
        return err_set(e, ERR_LIMIT, "%s: the path is too long", path);
    memcpy(parent, path, n);
    parent[n] = '\0';
    return file_sync_path(n == 0 ? "." : parent, e);
}

int file_open_dir(const char *path, int *fd, struct err *e)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n > sizeof part - 4)
        return err_set(e, ERR_CONFIG, "a directory name of %zu bytes: 1 to %zu are allowed", n,
                       sizeof part - 4);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        bool made = mkdir(part, 0700) == 0;
        if (!made && errno != EEXIST)
            return file_error(e, part, "create the directory", errno);
        /* The last one also when it was there: whoever made it may have been killed before this. */
        int rc = made || i == n ? file_sync_parent(part, e) : 0;
        if (rc != 0 && (made || rc != ERR_DENIED)) /* not ours to read: not made by us */
            return rc;
    }
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd < 0 ? file_error(e, path, "open the directory", errno) : 0;
}

int file_sync_dir(int dir_fd, const char *path, struct err *e)
{
    return fsync(dir_fd) != 0 ? file_error(e, path, "sync the directory", errno) : 0;
}

int file_read_at(int fd, const char *path, void *p, size_t n, uint64_t offset, size_t *got,
                 struct err *e)
{
    *got = 0;
    while (*got < n) {
        ssize_t r = pread(fd, (uint8_t *)p + *got, n - *got, (off_t)(offset + *got));
        if (r < 0 && errno == EINTR)
            continue;
        /* A direct read that ended off a block was at the end of the file; some file systems refuse
         * to go on from there. */
        if (r == 0 || (r < 0 && errno == EINVAL && *got % 512 != 0))
            break;
        if (r < 0)
            return file_error(e, path, "read", errno);
        *got += (size_t)r;
    }
    return 0;
}

int file_write_at(int fd, const char *path, const void *p, size_t n, uint64_t offset, struct err *e)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = pwrite(fd, (const uint8_t *)p + done, n - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return file_error(e, path, "write", r == 0 ? EIO : errno);
        done += (size_t)r;
    }
    return 0;
}

int file_open_direct(int dir_fd, const char *name, int flags, bool *direct)
{
    int fd = openat(dir_fd, name, flags | O_DIRECT | O_CLOEXEC, 0600);
    *direct = fd >= 0;
    if (fd < 0 && errno == EINVAL)
        fd = openat(dir_fd, name, flags | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

void *file_buffer(size_t n)
{
    return aligned_alloc(4096, (n + 4095) / 4096 * 4096);
}

/* Closes the lock's descriptor. */
static int lock_refused(int lock, const char *dir, int errnum, struct err *e)
{
    char pid[24] = "";
    ssize_t n = pread(lock, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = '\0';
    (void)close(lock);
    if (errnum != EWOULDBLOCK)
        return file_error(e, dir, "lock it", errnum);
    return err_set(e, ERR_BUSY, "%s: another triveni runs on this directory (pid %ld)", dir,
                   strtol(pid, NULL, 10));
}

int file_lock_shared(int dir_fd, const char *dir, const char *name, int *fd, struct err *e)
{
    *fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 || flock(*fd, LOCK_SH | LOCK_NB) == 0)
        return 0;
    int lock = *fd;
    *fd = -1;
    return lock_refused(lock, dir, errno, e);
}

int file_lock(int dir_fd, const char *dir, const char *name, int *fd, struct err *e)
{
    char pid[24] = "";
    int lock = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return file_error(e, dir, "open its lock", errno);
    if (flock(lock, LOCK_EX | LOCK_NB) != 0)
        return lock_refused(lock, dir, errno, e);
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(lock, 0) != 0 || pwrite(lock, pid, (size_t)n, 0) != n) {
        /* The pid only helps whoever reads the message; a full disk must not keep the site from
         * starting. */
    }
    *fd = lock;
    return 0;
}

int file_free_bytes(int fd, const char *path, uint64_t *out, struct err *e)
{
    struct statvfs s;
    if (fstatvfs(fd, &s) != 0)
        return file_error(e, path, "ask for its free space", errno);
    *out = (uint64_t)s.f_bavail * s.f_frsize;
    return 0;
}
