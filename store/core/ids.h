/* The units that must not be swapped: each is a struct of one member. */
#ifndef STORE_CORE_IDS_H
#define STORE_CORE_IDS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct lsn { /* position of a transaction in the log, dense from 1; 0 is "before the first" */
    uint64_t v;
};
struct term { /* election epoch, from 1; 0 is "none yet" */
    uint64_t v;
};
struct utc { /* microseconds since 1970-01-01T00:00:00Z */
    uint64_t us;
};
struct uuid { /* cluster and session identities; all zero is "none" */
    uint8_t b[16];
};
struct sha256 {
    uint8_t b[32];
};
struct digest { /* 128-bit sum modulo 2^128, see digest.h */
    uint64_t lo, hi;
};

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}
static inline bool uuid_is_zero(const struct uuid *a)
{
    static const struct uuid zero = {{0}};
    return uuid_equal(a, &zero);
}
static inline bool sha256_equal(const struct sha256 *a, const struct sha256 *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}
static inline bool digest_equal(struct digest a, struct digest b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

#endif
