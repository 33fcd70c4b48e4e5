#include "tools/data_dir.h"

#include "store/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has(int dir_fd, const char *name)
{
    struct stat st;
    return dir_fd >= 0 && fstatat(dir_fd, name, &st, 0) == 0;
}

static bool has_segments(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool found = false;
    if (dir == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    const struct dirent *d;
    while (!found && (d = readdir(dir)) != NULL) {
        size_t n = strlen(d->d_name);
        found = n > 4 && strcmp(d->d_name + n - 4, ".seg") == 0;
    }
    (void)closedir(dir);
    return found;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void data_dir_close(struct data_dir *d)
{
    if (d->log_fd == d->fd)
        d->log_fd = -1;
    if (d->state_fd == d->fd)
        d->state_fd = -1;
    close_fd(&d->log_fd);
    close_fd(&d->state_fd);
    close_fd(&d->fd);
    for (int i = 0; i < 3; i++)
        close_fd(&d->locks[i]);
}

static int take_locks(struct data_dir *d, const char *path, struct err *e)
{
    const int dirs[] = {d->fd, d->log_fd, d->state_fd};
    int rc = 0;
    for (int i = 0; rc == 0 && i < 3; i++)
        if (dirs[i] >= 0)
            rc = file_lock_shared(dirs[i], path, "LOCK", &d->locks[i], e);
    return rc;
}

int data_dir_open(struct data_dir *d, const char *path, bool lock, struct err *e)
{
    const int parts = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    *d = (struct data_dir){.log_fd = -1, .state_fd = -1, .locks = {-1, -1, -1}};
    d->fd = open(path, parts);
    if (d->fd < 0)
        return file_error(e, path, "open the directory", errno);
    d->is_site = has(d->fd, "site.json") || has(d->fd, "vote");
    if (has(d->fd, "data.mdb") || has(d->fd, "checkpoint")) {
        d->state_fd = d->fd;
    } else if (has_segments(d->fd)) {
        d->log_fd = d->fd;
    } else {
        d->log_fd = openat(d->fd, "log", parts);
        d->state_fd = openat(d->fd, "state", parts);
    }
    int rc = 0;
    if (!d->is_site && d->log_fd < 0 && d->state_fd < 0)
        rc = err_set(e, ERR_NOT_FOUND,
                     "%s is no data directory of a site, nor the log or the state in one", path);
    else if (lock)
        rc = take_locks(d, path, e);
    if (rc == ERR_BUSY) {
        char why[ERR_TEXT_BYTES / 2];
        (void)snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, e->text);
        rc = err_set(e, ERR_BUSY,
                     "%s: stop the site first, or copy the directory and name the copy", why);
    }
    if (rc != 0)
        data_dir_close(d);
    return rc;
}
