#include "store/core/digest.h"

#include "store/core/err.h"
#include "store/core/hash.h"

struct digest digest_record(struct bytes collection, struct bytes key, struct lsn lsn,
                            struct bytes value)
{
    /* Lengths are hashed too, so that moving a byte from the key to the value changes the sum. */
    uint8_t sizes[2], key_size[2], version[8];
    put_le16(sizes, (uint16_t)collection.n);
    put_le16(key_size, (uint16_t)key.n);
    put_le64(version, lsn.v);
    struct bytes pieces[] = {bytes_of(sizes, 2),   collection, bytes_of(key_size, 2), key,
                             bytes_of(version, 8), value};
    return hash_xxh128(pieces, sizeof pieces / sizeof pieces[0]);
}

uint32_t digest_bucket(struct bytes collection, struct bytes key)
{
    struct bytes pieces[] = {collection, key};
    return (uint32_t)(hash_xxh128(pieces, 2).lo % DIGEST_BUCKETS);
}

struct digest digest_add(struct digest a, struct digest b)
{
    struct digest r = {a.lo + b.lo, a.hi + b.hi};
    r.hi += r.lo < a.lo; /* carry */
    return r;
}

struct digest digest_sub(struct digest a, struct digest b)
{
    struct digest r = {a.lo - b.lo, a.hi - b.hi};
    r.hi -= a.lo < b.lo; /* borrow */
    return r;
}

void digest_hex(struct digest d, char out[DIGEST_HEX_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    for (unsigned i = 0; i < 16; i++) {
        out[i] = hex[(d.hi >> (60 - 4 * i)) & 15];
        out[16 + i] = hex[(d.lo >> (60 - 4 * i)) & 15];
    }
    out[32] = '\0';
}

int digest_parse(const char *hex, struct digest *out)
{
    uint64_t half[2] = {0, 0};
    for (unsigned i = 0; i < 32; i++) {
        char c = hex[i];
        unsigned v;
        if (c >= '0' && c <= '9')
            v = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = (unsigned)(c - 'a') + 10;
        else
            return ERR_FORMAT;
        half[i / 16] = half[i / 16] << 4 | v;
    }
    if (hex[32] != '\0')
        return ERR_FORMAT;
    *out = (struct digest){half[1], half[0]};
    return 0;
}
