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

/* What is no longer is copied together and hashed by one call: copying costs less than the state of a running hash. */
enum {
    JOINED_BYTES = 1024, /* most records with their names */
    HEADERS_BYTES = 256, /* an entry's header */
};

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

/* ISA-L 2.30 computes with AVX-512 and leaves the upper halves of the registers in use. On Intel's processors each
 * instruction of the older kind (SSE, and with it OpenSSL's SHA-256) has to keep them then: hashing 440 bytes took 770 ns
 * behind a CRC, and takes 450 behind this instruction. */
#if defined(__x86_64__)
__attribute__((target("avx"))) static void clear_upper_halves(void)
{
    __builtin_ia32_vzeroupper();
}
#endif

static void leave_vector_unit(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx"))
        clear_upper_halves();
#endif
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
    leave_vector_unit();
    return ~state;
}

uint32_t hash_crc32c_around(struct bytes b, size_t at)
{
    static const uint8_t zero[4] = {0};
    uint8_t copy[HEADERS_BYTES];
    check(at + sizeof zero <= b.n);
    if (b.n <=
        sizeof copy) { /* one call instead of three, which for a header is most of its time */
        memcpy(copy, b.p, b.n);
        memcpy(copy + at, zero, sizeof zero);
        return hash_crc32c(0, bytes_of(copy, b.n));
    }
    uint32_t crc = hash_crc32c(0, bytes_of(b.p, at));
    crc = hash_crc32c(crc, bytes_of(zero, sizeof zero));
    return hash_crc32c(crc, bytes_of(b.p + at + sizeof zero, b.n - at - sizeof zero));
}

struct digest hash_xxh128(const struct bytes *pieces, size_t n)
{
    uint8_t joined[JOINED_BYTES];
    XXH3_state_t s;
    size_t total = 0, at = 0;
    XXH128_hash_t h;
    for (size_t i = 0; i < n; i++)
        total += pieces[i].n;
    if (total <= sizeof joined) {
#ifdef __clang_analyzer__ /* does not see that `total` bytes are set */
        memset(joined, 0, sizeof joined);
#endif
        for (size_t i = 0; i < n; at += pieces[i].n, i++)
            if (pieces[i].n != 0)
                memcpy(joined + at, pieces[i].p, pieces[i].n);
        h = XXH3_128bits(joined, total);
        return (struct digest){h.low64, h.high64};
    }
    (void)XXH3_128bits_reset(&s);
    for (size_t i = 0; i < n; i++)
        if (pieces[i].n != 0)
            (void)XXH3_128bits_update(&s, pieces[i].p, pieces[i].n);
    h = XXH3_128bits_digest(&s);
    return (struct digest){h.low64, h.high64};
}
