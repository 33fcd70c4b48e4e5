/* SHA-256 goes through OpenSSL's low-level calls on purpose: the EVP interface fetches the algorithm and
 * allocates a context for each message, which costs more than hashing a 128-byte header and would put the
 * heap into a pure folder. The Makefile pins OPENSSL_API_COMPAT so that they are not reported as
 * deprecated. */
#include "store/core/hash.h"

#include "store/core/check.h"

#include <isa-l/crc.h>
#include <openssl/sha.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct sha256 hash_sha256(struct bytes b)
{
    return hash_sha256_2(b, (struct bytes){NULL, 0});
}

struct sha256 hash_sha256_2(struct bytes a, struct bytes b)
{
    struct sha256 out;
    SHA256_CTX ctx;
    SHA256_Init(&ctx);
    if (a.n != 0)
        SHA256_Update(&ctx, a.p, a.n);
    if (b.n != 0)
        SHA256_Update(&ctx, b.p, b.n);
    SHA256_Final(out.b, &ctx);
    return out;
}

uint32_t hash_crc32c(uint32_t crc, struct bytes b)
{
    /* crc32_iscsi takes an int length and neither pre- nor post-inverts. The cast drops a const that the
     * library's prototype lacks; it only reads. */
    uint32_t state = ~crc;
    while (b.n != 0) {
        size_t step = b.n < (1u << 30) ? b.n : (1u << 30);
        state = crc32_iscsi((unsigned char *)(uintptr_t)b.p, (int)step, state);
        b.p += step;
        b.n -= step;
    }
    return ~state;
}

uint32_t hash_crc32c_around(struct bytes b, size_t at)
{
    static const uint8_t zero[4] = {0};
    check(at + sizeof zero <= b.n);
    uint32_t crc = hash_crc32c(0, bytes_of(b.p, at));
    crc = hash_crc32c(crc, bytes_of(zero, sizeof zero));
    return hash_crc32c(crc, bytes_of(b.p + at + sizeof zero, b.n - at - sizeof zero));
}

struct digest hash_xxh128(const struct bytes *pieces, size_t n)
{
    XXH3_state_t s;
    (void)XXH3_128bits_reset(&s);
    for (size_t i = 0; i < n; i++)
        if (pieces[i].n != 0)
            (void)XXH3_128bits_update(&s, pieces[i].p, pieces[i].n);
    XXH128_hash_t h = XXH3_128bits_digest(&s);
    return (struct digest){h.low64, h.high64};
}
