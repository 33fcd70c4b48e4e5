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
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const folders[] = {"packs",  "snapshots", "indexes",   "keys",
                                      "keys/1", "tree",      "tree/keys", "operations"};
enum { FOLDERS = sizeof folders / sizeof folders[0] };
static const char temp_prefix[] = ".tmp-";

struct files {
    struct repo_backend backend; /* first */
    int dir;
};

static int dir_of(const struct repo_backend *b)
{
    return ((const struct files *)(const void *)b)->dir;
}

int repo_files_failed(int code, const char *name, const char *what, struct err *e)
{
    return err_set(e,
                   code == ENOSPC || code == EDQUOT ? ERR_NO_SPACE
                   : code == ENOENT                 ? ERR_NOT_FOUND
                                                    : ERR_IO,
                   "%s: %s: %s", name, what, strerror(code));
}

int repo_sync_fatal(const char *name, int code, struct err *e)
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
        return repo_files_failed(errno, folder, "cannot open", e);
    int rc = fsync(fd) == 0 ? 0 : repo_sync_fatal(folder, errno, e);
    (void)close(fd);
    return rc;
}

/* The folders, and every name on the way to them, durably: the archive itself hangs on its entry in the folder above. */
static int make_folders(int dir, const char *path, struct err *e)
{
    for (size_t i = 0; i < FOLDERS; i++)
        if (mkdirat(dir, folders[i], 0750) != 0 && errno != EEXIST)
            return repo_files_failed(errno, path, folders[i], e);
    int rc = sync_folder(dir, "keys", e);
    if (rc == 0)
        rc = sync_folder(dir, "tree", e);
    if (rc == 0)
        rc = sync_folder(dir, ".", e);
    return rc == 0 ? sync_folder(dir, "..", e) : rc;
}

static void files_close(struct repo_backend *b)
{
    (void)close(dir_of(b)); /* and with it the lock */
    free(b);
}

static int list_dir(int dir, const char *folder, int (*each)(void *arg, const char *name),
                    void *arg, struct err *e)
{
    int fd = openat(dir, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return repo_files_failed(errno, folder, "cannot list", e);
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        int rc = repo_files_failed(errno, folder, "cannot list", e);
        (void)close(fd);
        return rc;
    }
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (entry == NULL) {
            if (errno != 0)
                rc = repo_files_failed(errno, folder, "cannot list", e);
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

static int files_list(struct repo_backend *b, const char *folder,
                      int (*each)(void *arg, const char *name), void *arg, struct err *e)
{
    return list_dir(dir_of(b), folder, each, arg, e);
}

static int remove_temp(void *arg, const char *name)
{
    const int *dir = arg;
    const char *base = strrchr(name, '/');
    if (base != NULL && strncmp(base + 1, temp_prefix, sizeof temp_prefix - 1) == 0)
        (void)unlinkat(*dir, name, 0); /* what cannot be removed is in nobody's way */
    return 0;
}

/* Temporary files that an interrupted writer left; not those of keys, which have other writers too (repo_keys_clean). Only
 * for the writer that holds the lock. */
static int remove_temps(int dir, struct err *e)
{
    int rc = list_dir(dir, ".", remove_temp, &dir, e);
    for (size_t i = 0; rc == 0 && i < FOLDERS; i++)
        if (strncmp(folders[i], "keys", 4) != 0)
            rc = list_dir(dir, folders[i], remove_temp, &dir, e);
    return rc;
}

/* ---- reading ---- */

static int files_open(struct repo_backend *b, const char *name, unsigned older,
                      struct repo_blob *out, struct err *e)
{
    struct stat st;
    if (older != 0)
        return err_set(e, ERR_NOT_FOUND, "%s: a directory keeps no older state of it", name);
    *out = (struct repo_blob)REPO_BLOB_NONE;
    int fd = openat(dir_of(b), name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return repo_files_failed(errno, name, "cannot open", e);
    int rc = 0;
    if (fstat(fd, &st) != 0)
        rc = repo_files_failed(errno, name, "cannot stat", e);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, ERR_FORMAT, "%s: not a regular file", name);
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    *out = (struct repo_blob){.backend = b, .fd = fd, .bytes = (uint64_t)st.st_size};
    return 0;
}

static void files_close_blob(struct repo_blob *f)
{
    (void)close(f->fd);
}

/* ---- writing once ---- */

static void folder_of(const char *name, char out[REPO_NAME_BYTES])
{
    const char *slash = strrchr(name, '/');
    (void)snprintf(out, REPO_NAME_BYTES, "%.*s", slash == NULL ? 1 : (int)(slash - name),
                   slash == NULL ? "." : name);
}

static int sync_folder_of(int dir, const char *name, struct err *e)
{
    char folder[REPO_NAME_BYTES];
    folder_of(name, folder);
    return sync_folder(dir, folder, e);
}

/* The folder that `name` lies in, and those above it, durably. */
static int make_folders_of(int dir, const char *name, struct err *e)
{
    char folder[REPO_NAME_BYTES];
    int rc = 0;
    for (const char *at = strchr(name, '/'); rc == 0 && at != NULL; at = strchr(at + 1, '/')) {
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(at - name), name);
        if (mkdirat(dir, folder, 0750) == 0)
            rc = sync_folder_of(dir, folder, e);
        else if (errno != EEXIST)
            rc = repo_files_failed(errno, folder, "cannot create", e);
    }
    return rc;
}

/* Beside its place; what goes below "tree/" or "operations/tile/" has its temporary file in the first folder of the name: their
 * folders are many, and so there is one place to clean. */
static int files_create(struct repo_backend *b, const char *name, struct repo_temp *t,
                        struct err *e)
{
    int dir = dir_of(b);
    uint32_t unique;
    char folder[REPO_NAME_BYTES];
    int rc = repo_random(&unique, sizeof unique, e);
    if (rc != 0)
        return rc;
    folder_of(name, folder);
    if ((strncmp(folder, "tree/", 5) == 0 || strncmp(folder, "keys/", 5) == 0 ||
         strncmp(folder, "operations", 10) == 0) &&
        (rc = make_folders_of(dir, name, e)) != 0)
        return rc;
    if (strncmp(folder, "tree/", 5) == 0 || strncmp(folder, "operations/tile/", 16) == 0)
        *strchr(folder, '/') = '\0';
    int n = snprintf(t->temp, sizeof t->temp, "%s/%s%08x", folder, temp_prefix, unique);
    check(n > 0 && (size_t)n < sizeof t->temp);
    t->fd = openat(dir, t->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0440);
    return t->fd >= 0 ? 0 : repo_files_failed(errno, name, "cannot create", e);
}

static int files_name(struct repo_temp *t, struct err *e)
{
    int dir = dir_of(t->backend);
    if (linkat(dir, t->temp, dir, t->name, 0) != 0)
        return errno == EEXIST
                   ? err_set(e, ERR_EXISTS, "%s: is there already; objects are written once",
                             t->name)
                   : repo_files_failed(errno, t->name, "cannot give the object its name", e);
    if (unlinkat(dir, t->temp, 0) != 0)
        return repo_files_failed(errno, t->temp, "cannot remove the temporary name", e);
    t->temp[0] = '\0';
    return 0;
}

static size_t folder_length(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash == NULL ? 0 : (size_t)(slash - name);
}

/* Each folder once. */
static int files_settle(struct repo_backend *b, const char *const *names, size_t n, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        size_t length = folder_length(names[i]), k = 0;
        while (k < i &&
               (folder_length(names[k]) != length || memcmp(names[k], names[i], length) != 0))
            k++;
        if (k == i)
            rc = sync_folder_of(dir_of(b), names[i], e);
    }
    return rc;
}

static int files_replace(struct repo_temp *t, struct err *e)
{
    int dir = dir_of(t->backend);
    if (renameat(dir, t->temp, dir, t->name) != 0)
        return repo_files_failed(errno, t->name, "cannot be replaced", e);
    t->temp[0] = '\0';
    int rc = sync_folder_of(dir, t->name, e);
    t->sync_failed = rc != 0;
    return rc;
}

static void files_drop(struct repo_temp *t)
{
    (void)unlinkat(dir_of(t->backend), t->temp, 0);
}

static int remove_one(void *arg, const char *name)
{
    const int *dir = arg;
    (void)unlinkat(*dir, name, 0); /* what cannot be removed is in nobody's way */
    return 0;
}

static void files_forget(struct repo_backend *b, const char *folder)
{
    int dir = dir_of(b);
    (void)list_dir(dir, folder, remove_one, &dir, NULL);
    (void)unlinkat(dir, folder, AT_REMOVEDIR);
}

static bool files_remove(struct repo_backend *b, const char *name)
{
    return unlinkat(dir_of(b), name, 0) == 0 || errno == ENOENT;
}

static bool files_destroy(struct repo_backend *b, const char *name, struct utc *until)
{
    (void)until;
    return files_remove(b, name);
}

/* ---- opening ---- */

static const struct repo_backend_kind files_kind = {
    .close = files_close,
    .remove = files_remove,
    .destroy = files_destroy,
    .list = files_list,
    .open = files_open,
    .close_blob = files_close_blob,
    .create = files_create,
    .name = files_name,
    .settle = files_settle,
    .replace = files_replace,
    .drop = files_drop,
    .forget = files_forget,
};

static int prepare(int dir, const char *path, bool create, bool write, struct err *e)
{
    if (write && flock(dir, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK
                   ? err_set(e, ERR_BUSY, "%s: another process writes to this archive", path)
                   : repo_files_failed(errno, path, "cannot lock", e);
    int rc = create ? make_folders(dir, path, e) : 0;
    return rc == 0 && write ? remove_temps(dir, e) : rc;
}

int repo_files_open(const char *path, bool create, bool write, struct repo_backend **out,
                    struct err *e)
{
    *out = NULL;
    if (create && mkdir(path, 0750) != 0 && errno != EEXIST)
        return repo_files_failed(errno, path, "cannot create the archive's directory", e);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return repo_files_failed(errno, path, "cannot open the archive's directory", e);
    int rc = prepare(dir, path, create, write, e);
    struct files *f = rc == 0 ? calloc(1, sizeof *f) : NULL;
    if (rc == 0 && f == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory for an archive");
    if (rc != 0) {
        (void)close(dir);
        return rc;
    }
    *f = (struct files){{&files_kind}, dir};
    *out = &f->backend;
    return 0;
}
