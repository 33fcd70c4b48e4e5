/* The three hashes: SHA-256 (chain and proofs, OpenSSL), CRC32C (torn and rotten bytes, ISA-L) and XXH3-128
 * (state digest, xxhash). All are pure: no allocation, no global state. */
#ifndef STORE_CORE_HASH_H
#define STORE_CORE_HASH_H

#include "store/core/bytes.h"
#include "store/core/ids.h"

struct sha256 hash_sha256(struct bytes b);
/* SHA-256 of a followed by b, without joining them. */
struct sha256 hash_sha256_2(struct bytes a, struct bytes b);

/* CRC32C (Castagnoli, RFC 3720 B.4, with the usual inversion before and after). `crc` is 0 to begin, or the
 * result so far to go on. */
uint32_t hash_crc32c(uint32_t crc, struct bytes b);
/* The CRC of b with the four bytes at `at` counted as zero: that is where it is kept. */
uint32_t hash_crc32c_around(struct bytes b, size_t at);

/* XXH3, 128 bits, of the concatenation of n pieces. */
struct digest hash_xxh128(const struct bytes *pieces, size_t n);

#endif
