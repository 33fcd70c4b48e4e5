/* A growing byte buffer: content is p[at..n). Owned by whoever embeds it; inert when zero. */
#ifndef REPLICATION_IO_BUFFER_H
#define REPLICATION_IO_BUFFER_H

#include "store/core/bytes.h"

#include <stdlib.h>

struct buffer {
    uint8_t *p;
    size_t cap, at, n;
};

static inline size_t buffer_size(const struct buffer *b)
{
    return b->n - b->at;
}
static inline struct bytes buffer_content(const struct buffer *b)
{
    return bytes_of(b->p == NULL ? NULL : b->p + b->at, b->n - b->at);
}
static inline void buffer_deinit(struct buffer *b)
{
    free(b->p);
    *b = (struct buffer){0};
}
/* Drop the first n bytes of the content. */
static inline void buffer_consume(struct buffer *b, size_t n)
{
    b->at += n;
    if (b->at == b->n)
        b->at = b->n = 0;
}
/* Make room for `room` more bytes at p + n. False when there is no memory; the content is kept. */
static inline bool buffer_reserve(struct buffer *b, size_t room)
{
    if (b->cap - b->n >= room)
        return true;
    if (b->at != 0) {
        memmove(b->p, b->p + b->at, b->n - b->at);
        b->n -= b->at;
        b->at = 0;
    }
    if (b->cap - b->n >= room)
        return true;
    size_t want = b->n + room, cap = b->cap < 4096 ? 4096 : b->cap;
    while (cap < want)
        cap *= 2;
    uint8_t *p = realloc(b->p, cap);
    if (p == NULL)
        return false;
    b->p = p;
    b->cap = cap;
    return true;
}
static inline bool buffer_append(struct buffer *b, struct bytes in)
{
    if (!buffer_reserve(b, in.n))
        return false;
    if (in.n != 0)
        memcpy(b->p + b->n, in.p, in.n);
    b->n += in.n;
    return true;
}
/* Give memory back after a large burst: a buffer above `keep` that has no more in it is cut to that, or freed when empty. */
static inline void buffer_trim(struct buffer *b, size_t keep)
{
    const size_t n = b->n - b->at;
    if (b->cap <= keep || n > keep)
        return;
    if (n == 0) {
        buffer_deinit(b);
        return;
    }
    memmove(b->p, b->p + b->at, n);
    b->at = 0;
    b->n = n;
    uint8_t *p = realloc(b->p, keep);
    if (p == NULL)
        return;
    b->p = p;
    b->cap = keep;
}

#endif
