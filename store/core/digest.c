#include "store/core/digest.h"

#include "store/core/err.h"
#include "store/core/hash.h"
#include "store/core/hex.h"

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
    uint8_t raw[16];
    put_be64(raw, d.hi);
    put_be64(raw + 8, d.lo);
    hex_format(raw, sizeof raw, out);
}

int digest_parse(const char *hex, struct digest *out)
{
    uint8_t raw[16];
    if (hex_parse(hex, raw, sizeof raw) != 0)
        return ERR_FORMAT;
    *out = (struct digest){get_be64(raw + 8), get_be64(raw)};
    return 0;
}
