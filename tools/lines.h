/* Lines of a file or a pipe, with their place, a checksum over all that was read, and a bound on their length. */
#ifndef TOOLS_LINES_H
#define TOOLS_LINES_H

#include "store/core/bytes.h"
#include "store/core/err.h"

enum { LINES_HEAD_BYTES = 256 };

struct line {
    struct bytes text; /* without line end; valid until the next call */
    uint64_t number;   /* from 1 */
    uint64_t end;      /* offset after its line end */
    bool open;         /* the input ended without a line end */
    bool too_long;     /* the text is only its first LINES_HEAD_BYTES */
};

struct lines {
    int fd;
    const char *name; /* in messages */
    uint8_t *buffer;
    size_t capacity, from, to; /* unread bytes are [from, to) */
    bool ended;
    uint64_t number, offset; /* of what was given out */
    uint32_t crc;            /* CRC32C of the bytes before offset */
    size_t longest;
    uint8_t head[LINES_HEAD_BYTES]; /* of a line that is too long */
};

/* "-" is standard input. `longest` is the most bytes in a line. */
int lines_open(struct lines *l, const char *path, size_t longest, struct err *e);
/* 1 with a line, 0 at the end, negative: ERR_IO. "\n" and "\r\n" end a line, the last may have neither. */
int lines_next(struct lines *l, struct line *out, struct err *e);
void lines_close(struct lines *l);

#endif
