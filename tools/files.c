/* Whole small files: read with a bound, created once and durably (file, then its folder). */
#include "tools/files.h"

#include "store/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fault(const char *path, const char *what, struct err *e)
{
    int error = errno;
    return err_set(e, file_code(error), "%s: %s: %s", path, what, strerror(error));
}

int file_read(const char *path, size_t max, uint8_t **out, size_t *n, struct err *e)
{
    *out = NULL;
    *n = 0;
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fault(name, "cannot be opened", e);
    int rc = 0;
    size_t capacity = 4096;
    uint8_t *p = malloc(capacity);
    size_t at = 0;
    while (p != NULL) {
        ssize_t got = read(fd, p + at, capacity - 1 - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = fault(name, "cannot be read", e);
        if (got <= 0)
            break;
        at += (size_t)got;
        if (at > max) {
            rc = err_set(e, ERR_LIMIT, "%s: more than %zu bytes, the most that is allowed", name,
                         max);
            break;
        }
        if (at + 1 == capacity) {
            uint8_t *larger = realloc(p, capacity * 2);
            if (larger == NULL)
                free(p);
            p = larger;
            capacity *= 2;
        }
    }
    if (!standard)
        (void)close(fd);
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "%s: no memory for it", name);
    if (rc != 0) {
        free(p);
        return rc;
    }
    p[at] = 0;
    *out = p;
    *n = at;
    return 0;
}

int file_create(const char *path, unsigned mode, struct bytes text, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
    if (fd < 0)
        return fault(path, "cannot be created", e);
    int rc = 0;
    for (size_t at = 0; at < text.n && rc == 0;) {
        ssize_t put = write(fd, text.p + at, text.n - at);
        if (put >= 0)
            at += (size_t)put;
        else if (errno != EINTR)
            rc = fault(path, "cannot be written", e);
    }
    if (rc == 0 && fsync(fd) != 0)
        rc = fault(path, "cannot be synced", e);
    if (close(fd) != 0 && rc == 0)
        rc = fault(path, "cannot be closed", e);
    return rc != 0 ? rc : file_sync_parent(path, e);
}

int directory_create(const char *path, unsigned mode, struct err *e)
{
    if (mkdir(path, (mode_t)mode) == 0)
        return file_sync_parent(path, e);
    if (errno != EEXIST)
        return fault(path, "cannot be created", e);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return fault(path, "cannot be opened", e);
    bool empty = true;
    const struct dirent *entry;
    while (empty && (entry = readdir(dir)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    (void)closedir(dir);
    return empty ? 0 : err_set(e, ERR_EXISTS, "%s is not empty: give a new directory", path);
}
