/* The directory backend.
 *
 * An object is written once: temporary name in the folder of its final name, write, fdatasync, read back by the caller,
 * link(2) to the final name (which fails when the name is taken, on every POSIX file system), unlink of the temporary
 * name, fsync of the folder. A crash leaves either nothing but a temporary file, or the whole object; nobody ever opens
 * an object for writing.
 *
 * FAILURE MODES
 *   write: disk full is ERR_NO_SPACE, all else ERR_IO; the temporary file is removed.
 *   fdatasync, fsync: fatal, never retried (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020):
 *     the message says so, and sync_failed makes the repository refuse everything that follows.
 *   Crash between link and unlink: the temporary name is a second name of a whole object; the next writer removes it. */
#include "repository/io/files.h"

#include "repository/io/crypto.h"
#include "store/core/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const folders[] = {"packs", "snapshots", "keys", "keys/1", "tree", "tree/keys"};
enum { FOLDERS = sizeof folders / sizeof folders[0] };
static const char temp_prefix[] = ".tmp-";

static int failed(int code, const char *name, const char *what, struct err *e)
{
    return err_set(e,
                   code == ENOSPC || code == EDQUOT ? ERR_NO_SPACE
                   : code == ENOENT                 ? ERR_NOT_FOUND
                                                    : ERR_IO,
                   "%s: %s: %s", name, what, strerror(code));
}

static int sync_fatal(const char *name, int code, struct err *e)
{
    return err_set(
        e, ERR_IO,
        "%s: sync failed: %s. What is on the disk is unknown; this is fatal and is not tried "
        "again: stop, check the disk, and open the archive anew",
        name, strerror(code));
}

/* ---- the directory ---- */

static int sync_folder(int dir, const char *folder, struct err *e)
{
    int fd = openat(dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(errno, folder, "cannot open", e);
    int rc = fsync(fd) == 0 ? 0 : sync_fatal(folder, errno, e);
    (void)close(fd);
    return rc;
}

/* The folders, and every name on the way to them, durably: the archive itself hangs on its entry in the folder above. */
static int make_folders(int dir, const char *path, struct err *e)
{
    for (size_t i = 0; i < FOLDERS; i++)
        if (mkdirat(dir, folders[i], 0750) != 0 && errno != EEXIST)
            return failed(errno, path, folders[i], e);
    int rc = sync_folder(dir, "keys", e);
    if (rc == 0)
        rc = sync_folder(dir, "tree", e);
    if (rc == 0)
        rc = sync_folder(dir, ".", e);
    return rc == 0 ? sync_folder(dir, "..", e) : rc;
}

int repo_dir_open(const char *path, bool create, bool lock, int *out_fd, struct err *e)
{
    *out_fd = -1;
    if (create && mkdir(path, 0750) != 0 && errno != EEXIST)
        return failed(errno, path, "cannot create the archive's directory", e);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed(errno, path, "cannot open the archive's directory", e);
    int rc = 0;
    if (lock && flock(fd, LOCK_EX | LOCK_NB) != 0)
        rc = errno == EWOULDBLOCK
                 ? err_set(e, ERR_BUSY, "%s: another process writes to this archive", path)
                 : failed(errno, path, "cannot lock", e);
    if (rc == 0 && create)
        rc = make_folders(fd, path, e);
    if (rc != 0)
        (void)close(fd);
    else
        *out_fd = fd;
    return rc;
}

int repo_dir_list(int dir, const char *folder, int (*each)(void *arg, const char *name), void *arg,
                  struct err *e)
{
    int fd = openat(dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return failed(errno, folder, "cannot list", e);
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        int rc = failed(errno, folder, "cannot list", e);
        (void)close(fd);
        return rc;
    }
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (entry == NULL) {
            if (errno != 0)
                rc = failed(errno, folder, "cannot list", e);
            break;
        }
        char name[REPO_NAME_BYTES];
        int n = snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        /* Longer names are none of ours. */
        if (n > 0 && (size_t)n < sizeof name && entry->d_type != DT_DIR)
            rc = each(arg, name);
    }
    (void)closedir(d);
    return rc;
}

/* ---- reading ---- */

int repo_file_open(int dir, const char *name, int *out_fd, uint64_t *bytes, struct err *e)
{
    struct stat st;
    *out_fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*out_fd < 0)
        return failed(errno, name, "cannot open", e);
    int rc = 0;
    if (fstat(*out_fd, &st) != 0)
        rc = failed(errno, name, "cannot stat", e);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, ERR_FORMAT, "%s: not a regular file", name);
    if (rc != 0) {
        (void)close(*out_fd);
        *out_fd = -1;
        return rc;
    }
    *bytes = (uint64_t)st.st_size;
    return 0;
}

int repo_file_pread(int fd, uint64_t offset, void *p, size_t n, struct err *e)
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

int repo_file_read(int dir, const char *name, size_t max, uint8_t **out, size_t *n, struct err *e)
{
    int fd;
    uint64_t bytes = 0;
    *out = NULL;
    int rc = repo_file_open(dir, name, &fd, &bytes, e);
    if (rc != 0)
        return rc;
    if (bytes > max)
        rc = err_set(e, ERR_LIMIT, "%s: %llu bytes, at most %zu are expected", name,
                     (unsigned long long)bytes, max);
    /* One byte more, so that an empty file is no special case. */
    if (rc == 0 && (*out = malloc((size_t)bytes + 1)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "%s: no memory for %llu bytes", name,
                     (unsigned long long)bytes);
    if (rc == 0 && (rc = repo_file_pread(fd, 0, *out, (size_t)bytes, e)) != 0)
        err_wrap(e, "%s", name);
    if (rc != 0) {
        free(*out);
        *out = NULL;
    }
    *n = (size_t)bytes;
    (void)close(fd);
    return rc;
}

/* ---- folders ---- */

static void folder_of(const char *name, char out[REPO_NAME_BYTES])
{
    const char *slash = strrchr(name, '/');
    (void)snprintf(out, REPO_NAME_BYTES, "%.*s", slash == NULL ? 1 : (int)(slash - name),
                   slash == NULL ? "." : name);
}

int repo_folder_sync_of(int dir, const char *name, struct err *e)
{
    char folder[REPO_NAME_BYTES];
    folder_of(name, folder);
    return sync_folder(dir, folder, e);
}

int repo_folder_make_of(int dir, const char *name, struct err *e)
{
    char folder[REPO_NAME_BYTES];
    int rc = 0;
    for (const char *at = strchr(name, '/'); rc == 0 && at != NULL; at = strchr(at + 1, '/')) {
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(at - name), name);
        if (mkdirat(dir, folder, 0750) == 0)
            rc = repo_folder_sync_of(dir, folder, e);
        else if (errno != EEXIST)
            rc = failed(errno, folder, "cannot create", e);
    }
    return rc;
}

/* ---- writing once ---- */

int repo_temp_create(struct repo_temp *t, int dir, const char *name, struct err *e)
{
    *t = (struct repo_temp)REPO_TEMP_NONE;
    uint32_t unique;
    char folder[REPO_NAME_BYTES];
    int rc = repo_random(&unique, sizeof unique, e);
    if (rc != 0)
        return rc;
    folder_of(name, folder);
    if (strncmp(folder, "tree/", 5) == 0) /* its folders are many: one place to clean */
        folder[4] = '\0';
    t->dir = dir;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    int n = snprintf(t->temp, sizeof t->temp, "%s/%s%08x", folder, temp_prefix, unique);
    check(n > 0 && (size_t)n < sizeof t->temp);
    t->fd = openat(dir, t->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0440);
    return t->fd >= 0 ? 0 : failed(errno, name, "cannot create", e);
}

int repo_temp_write(struct repo_temp *t, const void *p, size_t n, struct err *e)
{
    const uint8_t *at = p;
    while (n != 0) {
        ssize_t put = write(t->fd, at, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return failed(errno, t->name, "cannot write", e);
        at += put;
        n -= (size_t)put;
    }
    return 0;
}

int repo_temp_sync(struct repo_temp *t, struct err *e)
{
    if (fdatasync(t->fd) != 0) {
        t->sync_failed = true;
        return sync_fatal(t->name, errno, e);
    }
    (void)posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

int repo_temp_name(struct repo_temp *t, struct err *e)
{
    if (linkat(t->dir, t->temp, t->dir, t->name, 0) != 0)
        return errno == EEXIST ? err_set(e, ERR_EXISTS,
                                         "%s: is there already; objects are written once", t->name)
                               : failed(errno, t->name, "cannot give the object its name", e);
    if (unlinkat(t->dir, t->temp, 0) != 0)
        return failed(errno, t->temp, "cannot remove the temporary name", e);
    t->temp[0] = '\0';
    return 0;
}

int repo_temp_publish(struct repo_temp *t, struct err *e)
{
    int rc = repo_temp_name(t, e);
    if (rc != 0)
        return rc;
    rc = repo_folder_sync_of(t->dir, t->name, e);
    t->sync_failed = rc != 0;
    return rc;
}

int repo_temp_replace(struct repo_temp *t, struct err *e)
{
    if (renameat(t->dir, t->temp, t->dir, t->name) != 0)
        return failed(errno, t->name, "cannot be replaced", e);
    t->temp[0] = '\0';
    int rc = repo_folder_sync_of(t->dir, t->name, e);
    t->sync_failed = rc != 0;
    return rc;
}

void repo_temp_drop(struct repo_temp *t)
{
    if (t->fd < 0)
        return;
    (void)close(t->fd);
    if (t->temp[0] != '\0')
        (void)unlinkat(t->dir, t->temp, 0);
    *t = (struct repo_temp)REPO_TEMP_NONE;
}

static int remove_temp(void *arg, const char *name)
{
    const int *dir = arg;
    const char *base = strrchr(name, '/');
    if (base != NULL && strncmp(base + 1, temp_prefix, sizeof temp_prefix - 1) == 0)
        (void)unlinkat(*dir, name, 0); /* what cannot be removed is in nobody's way */
    return 0;
}

int repo_temp_clean(int dir, struct err *e)
{
    int rc = repo_dir_list(dir, ".", remove_temp, &dir, e);
    for (size_t i = 0; rc == 0 && i < FOLDERS; i++)
        rc = repo_dir_list(dir, folders[i], remove_temp, &dir, e);
    return rc;
}
