#include "tools/load_rejects.h"

#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fault(const struct rejects *r, struct err *e)
{
    return err_set(e, file_code(errno), "%s: %s", r->name, strerror(errno));
}

int rejects_open(struct rejects *r, const char *name, const char *input, bool begun, uint64_t bytes,
                 struct err *e)
{
    *r = (struct rejects){.fd = -1, .bytes = bytes};
    if (name == NULL && strcmp(input, "-") == 0)
        return err_set(e, ERR_USAGE, "--skip-bad with standard input needs --rejects FILE");
    int n = name != NULL ? snprintf(r->name, sizeof r->name, "%s", name)
                         : snprintf(r->name, sizeof r->name, "%s.rejects", input);
    if (n < 0 || (size_t)n >= sizeof r->name)
        return err_set(e, ERR_LIMIT, "the name of the reject file is too long");
    r->fd = open(r->name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    if (r->fd < 0)
        return fault(r, e);
    struct stat st;
    if (fstat(r->fd, &st) != 0)
        return fault(r, e);
    if (!begun && st.st_size > 0)
        return err_set(e, ERR_EXISTS, "%s: rejects of another load are there: move them away",
                       r->name);
    if (begun && (uint64_t)st.st_size < bytes)
        return err_set(
            e, ERR_CONDITION,
            "%s: %llu bytes of rejects belong to this load, only %lld are there: put the file back",
            r->name, (unsigned long long)bytes, (long long)st.st_size);
    if (ftruncate(r->fd, (off_t)bytes) != 0 || lseek(r->fd, (off_t)bytes, SEEK_SET) < 0)
        return fault(r, e);
    return 0;
}

static int write_all(int fd, struct bytes b)
{
    for (size_t at = 0; at < b.n;) {
        ssize_t n = write(fd, b.p + at, b.n - at);
        if (n < 0 && errno != EINTR)
            return -1;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int rejects_add(struct rejects *r, struct bytes line, struct err *e)
{
    if (r->fd < 0)
        return 0;
    if (write_all(r->fd, line) != 0 || write_all(r->fd, bytes_str("\n")) != 0)
        return fault(r, e);
    r->bytes += line.n + 1;
    r->changed = true;
    return 0;
}

int rejects_sync(struct rejects *r, struct err *e)
{
    if (r->changed && fdatasync(r->fd) != 0)
        return fault(r, e);
    r->changed = false;
    return 0;
}

void rejects_close(struct rejects *r)
{
    if (r->fd >= 0)
        (void)close(r->fd);
    r->fd = -1;
}
