/* Reading lines: one buffer that grows up to twice the longest line allowed. What is unread is moved to its start before more is
 * read; a line that is too long is dropped as it comes, but for its beginning, so that it costs no memory.
 * The checksum covers every byte that was given out or dropped, so that a later run can tell whether the input is the same. */
#include "tools/lines.h"

#include "store/core/check.h"
#include "store/core/hash.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_CAPACITY = 1 << 20 };

int lines_open(struct lines *l, const char *path, size_t longest, struct err *e)
{
    bool standard = strcmp(path, "-") == 0;
    check(longest >= LINES_HEAD_BYTES);
    *l = (struct lines){.fd = -1, .name = standard ? "standard input" : path, .longest = longest};
    l->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (l->fd < 0)
        return err_set(e, file_code(errno), "%s: cannot be opened: %s", path, strerror(errno));
    l->capacity = FIRST_CAPACITY;
    l->buffer = malloc(l->capacity);
    if (l->buffer != NULL)
        return 0;
    lines_close(l);
    return err_set(e, ERR_NO_MEMORY, "no memory");
}

void lines_close(struct lines *l)
{
    if (l->fd > STDIN_FILENO)
        (void)close(l->fd);
    free(l->buffer);
    *l = (struct lines){.fd = -1};
}

/* Read more behind the unread bytes; makes room first. */
static int fill(struct lines *l, struct err *e)
{
    if (l->from > 0) {
        memmove(l->buffer, l->buffer + l->from, l->to - l->from);
        l->to -= l->from;
        l->from = 0;
    }
    check(l->capacity > 0);
    if (l->to == l->capacity) {
        uint8_t *larger = realloc(l->buffer, l->capacity * 2);
        if (larger == NULL)
            return err_set(e, ERR_NO_MEMORY, "%s: no memory for a line of more than %zu bytes",
                           l->name, l->capacity);
        l->buffer = larger;
        l->capacity *= 2;
    }
    ssize_t n;
    do
        n = read(l->fd, l->buffer + l->to, l->capacity - l->to);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set(e, ERR_IO, "%s: byte %llu: cannot be read: %s", l->name,
                       (unsigned long long)(l->offset + l->to - l->from), strerror(errno));
    l->to += (size_t)n;
    l->ended = n == 0;
    return 0;
}

static void consume(struct lines *l, size_t n)
{
    l->crc = hash_crc32c(l->crc, bytes_of(l->buffer + l->from, n));
    l->from += n;
    l->offset += n;
}

int lines_next(struct lines *l, struct line *out, struct err *e)
{
    size_t seen = 0; /* bytes of the line already looked at */
    const uint8_t *end = NULL;
    bool too_long = false;
    for (;;) {
        if (seen < l->to - l->from)
            end = memchr(l->buffer + l->from + seen, '\n', l->to - l->from - seen);
        seen = l->to - l->from;
        if (end != NULL || l->ended)
            break;
        if (seen > l->longest + 1) { /* not by a "\r" alone: keep its beginning, drop the rest */
            if (!too_long)
                memcpy(l->head, l->buffer + l->from, LINES_HEAD_BYTES);
            too_long = true;
            consume(l, seen);
            seen = 0;
        }
        int rc = fill(l, e);
        if (rc != 0)
            return rc;
    }
    size_t whole = end != NULL ? (size_t)(end - (l->buffer + l->from)) + 1 : seen;
    if (whole == 0 && !too_long)
        return 0;
    struct bytes text = bytes_of(l->buffer + l->from, whole);
    consume(l, whole);
    bool open = end == NULL;
    if (text.n > 0 && text.p[text.n - 1] == '\n') {
        text.n--;
        if (text.n > 0 && text.p[text.n - 1] == '\r')
            text.n--;
    }
    if (too_long)
        text = bytes_of(l->head, LINES_HEAD_BYTES);
    else if (text.n > l->longest) {
        too_long = true;
        text.n = LINES_HEAD_BYTES;
    }
    *out = (struct line){
        .text = text, .number = ++l->number, .end = l->offset, .open = open, .too_long = too_long};
    return 1;
}
