#include "store/io/file.h"
#include "store/io/log_private.h"

#include <fcntl.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20 };

static bool parse_number(const char *s, size_t n, int base, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned v = 99;
        if (s[i] >= '0' && s[i] <= '9')
            v = (unsigned)(s[i] - '0');
        else if (s[i] >= 'a' && s[i] <= 'f')
            v = (unsigned)(s[i] - 'a') + 10;
        if (v >= (unsigned)base || *out > (UINT64_MAX - v) / (unsigned)base)
            return false;
        *out = *out * (unsigned)base + v;
    }
    return n > 0;
}

bool log_parse_segment(const char *name, uint64_t *seq)
{
    return strlen(name) == 20 && strcmp(name + 16, ".seg") == 0 && parse_number(name, 16, 16, seq);
}

bool log_parse_spare(const char *name, uint64_t *number)
{
    const size_t n = strlen(name);
    return n > 10 && memcmp(name, "spare-", 6) == 0 && strcmp(name + n - 4, ".seg") == 0 &&
           parse_number(name + 6, n - 10, 10, number);
}

/* Read a piece, and put zeros behind the end of the file. Where the disk refuses, read block by block, put zeros for the blocks
 * that are lost and note where they are. */
static int read_piece(int fd, const char *name, uint8_t *p, size_t n, size_t offset,
                      struct log_unreadable *lost, struct err *e)
{
    size_t got;
    if (file_read_at(fd, name, p, n, offset, &got, NULL) == 0) {
        memset(p + got, 0, n - got);
        return 0;
    }
    for (size_t at = 0; at < n; at += BATCH_BLOCK_BYTES) {
        int rc = file_read_at(fd, name, p + at, BATCH_BLOCK_BYTES, offset + at, &got, e);
        if (rc != 0 && rc != ERR_IO)
            return rc;
        if (rc != 0)
            got = 0;
        memset(p + at + got, 0, BATCH_BLOCK_BYTES - got);
        if (rc == 0)
            continue;
        if (lost->to == 0)
            lost->from = offset + at;
        lost->to = offset + at + BATCH_BLOCK_BYTES;
    }
    return 0;
}

int log_read_image(int dir_fd, const char *name, uint8_t *image, size_t n,
                   struct log_unreadable *lost, struct err *e)
{
    bool direct;
    *lost = (struct log_unreadable){0, 0};
    int fd = file_open_direct(dir_fd, name, O_RDONLY, &direct);
    if (fd < 0)
        return file_error(e, name, "open", -fd);
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < n; at += READ_BYTES)
        rc = read_piece(fd, name, image + at, n - at < READ_BYTES ? n - at : READ_BYTES, at, lost,
                        e);
    (void)close(fd);
    return rc;
}
