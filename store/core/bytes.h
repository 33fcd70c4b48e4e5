/* Bytes from and to the outside: little-endian accessors, and a bounded reader and writer.
 *
 * Neither reader nor writer ever goes past its end: the first access that would do so sets `bad` and every
 * later one is a no-op that gives zero, so a decoder reads all its fields and asks once, at the end. */
#ifndef STORE_CORE_BYTES_H
#define STORE_CORE_BYTES_H

#include "store/core/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A view; never owns. */
struct bytes {
    const uint8_t *p;
    size_t n;
};

static inline struct bytes bytes_of(const void *p, size_t n)
{
    return (struct bytes){(const uint8_t *)p, n};
}
static inline struct bytes bytes_str(const char *s)
{
    return bytes_of(s, strlen(s));
}
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
/* memcmp order, the shorter first when one is a prefix of the other: the order of keys everywhere. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);
    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

static inline void put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void put_le32(uint8_t *p, uint32_t v)
{
    put_le16(p, (uint16_t)v);
    put_le16(p + 2, (uint16_t)(v >> 16));
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
    put_le32(p, (uint32_t)v);
    put_le32(p + 4, (uint32_t)(v >> 32));
}
static inline uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (p[1] << 8));
}
static inline uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}
static inline uint64_t get_le64(const uint8_t *p)
{
    return (uint64_t)get_le32(p) | (uint64_t)get_le32(p + 4) << 32;
}
/* Big-endian, for LMDB keys whose byte order must be the numeric order. */
static inline void put_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}
static inline uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
static inline void put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}
static inline uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

struct reader {
    const uint8_t *p;
    size_t n;  /* size of the whole input */
    size_t at; /* next byte */
    bool bad;
};

static inline struct reader reader_of(struct bytes b)
{
    return (struct reader){b.p, b.n, 0, false};
}
static inline struct bytes read_bytes(struct reader *r, size_t n)
{
    if (r->bad || n > r->n - r->at) {
        r->bad = true;
        return (struct bytes){NULL, 0};
    }
    struct bytes b = {r->p + r->at, n};
    r->at += n;
    return b;
}
static inline uint8_t read_u8(struct reader *r)
{
    struct bytes b = read_bytes(r, 1);
    return r->bad ? 0 : b.p[0];
}
static inline uint16_t read_u16(struct reader *r)
{
    struct bytes b = read_bytes(r, 2);
    return r->bad ? 0 : get_le16(b.p);
}
static inline uint32_t read_u32(struct reader *r)
{
    struct bytes b = read_bytes(r, 4);
    return r->bad ? 0 : get_le32(b.p);
}
static inline uint64_t read_u64(struct reader *r)
{
    struct bytes b = read_bytes(r, 8);
    return r->bad ? 0 : get_le64(b.p);
}
static inline struct uuid read_uuid(struct reader *r)
{
    struct uuid u = {{0}};
    struct bytes b = read_bytes(r, sizeof u.b);
    if (!r->bad)
        memcpy(u.b, b.p, sizeof u.b);
    return u;
}
static inline struct sha256 read_sha256(struct reader *r)
{
    struct sha256 h = {{0}};
    struct bytes b = read_bytes(r, sizeof h.b);
    if (!r->bad)
        memcpy(h.b, b.p, sizeof h.b);
    return h;
}
/* u16 or u32 length, then that many bytes. */
static inline struct bytes read_bytes16(struct reader *r)
{
    size_t n = read_u16(r);
    return read_bytes(r, n);
}
static inline struct bytes read_bytes32(struct reader *r)
{
    size_t n = read_u32(r);
    return read_bytes(r, n);
}
/* Nothing went wrong and nothing is left over. */
static inline bool reader_done(const struct reader *r)
{
    return !r->bad && r->at == r->n;
}

/* Into a buffer of the caller's. When it is too small `bad` is set and `at` stays at what was written whole. */
struct writer {
    uint8_t *p;
    size_t cap;
    size_t at;
    bool bad;
};

static inline struct writer writer_of(void *p, size_t cap)
{
    return (struct writer){(uint8_t *)p, cap, 0, false};
}
static inline uint8_t *write_reserve(struct writer *w, size_t n)
{
    if (w->bad || n > w->cap - w->at) {
        w->bad = true;
        return NULL;
    }
    uint8_t *p = w->p + w->at;
    w->at += n;
    return p;
}
static inline void write_bytes(struct writer *w, struct bytes b)
{
    uint8_t *p = write_reserve(w, b.n);
    if (p != NULL && b.n != 0)
        memcpy(p, b.p, b.n);
}
static inline void write_u8(struct writer *w, uint8_t v)
{
    uint8_t *p = write_reserve(w, 1);
    if (p != NULL)
        p[0] = v;
}
static inline void write_u16(struct writer *w, uint16_t v)
{
    uint8_t *p = write_reserve(w, 2);
    if (p != NULL)
        put_le16(p, v);
}
static inline void write_u32(struct writer *w, uint32_t v)
{
    uint8_t *p = write_reserve(w, 4);
    if (p != NULL)
        put_le32(p, v);
}
static inline void write_u64(struct writer *w, uint64_t v)
{
    uint8_t *p = write_reserve(w, 8);
    if (p != NULL)
        put_le64(p, v);
}
static inline void write_uuid(struct writer *w, const struct uuid *u)
{
    write_bytes(w, bytes_of(u->b, sizeof u->b));
}
static inline void write_sha256(struct writer *w, const struct sha256 *h)
{
    write_bytes(w, bytes_of(h->b, sizeof h->b));
}
static inline void write_bytes16(struct writer *w, struct bytes b)
{
    if (b.n > UINT16_MAX) {
        w->bad = true;
        return;
    }
    write_u16(w, (uint16_t)b.n);
    write_bytes(w, b);
}
static inline void write_bytes32(struct writer *w, struct bytes b)
{
    if (b.n > UINT32_MAX) {
        w->bad = true;
        return;
    }
    write_u32(w, (uint32_t)b.n);
    write_bytes(w, b);
}

#endif
