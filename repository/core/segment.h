/* Arithmetic of the AES256-GCM-HKDF streaming format of Tink (developers.google.com/tink/streaming-aead/
 * aes_gcm_hkdf_streaming; Hoang, Reyhanitabar, Rogaway, Vizar, "Online Authenticated-Encryption and its Nonce-Reuse
 * Misuse-Resistance", 2015): where a segment lies and what its nonce is. No cryptography here.
 *
 * FORMAT of an object
 *   header    1 byte header length (40), 32 bytes salt, 7 bytes nonce prefix
 *   segments  ciphertext and 16-byte tag each; all of 65,536 bytes, but the first is shorter by the header, and the last
 *             may be shorter and is not empty unless it is the only one
 *   nonce     prefix, segment number (big-endian, from 0), one byte: 1 in the last segment, otherwise 0
 *   key       HKDF-SHA256(ikm = data key, salt, info = identity of the object), 32 bytes; no further associated data
 *
 * A cut object ends in a segment that was not sealed as the last, and a segment put elsewhere has another nonce, so both
 * fail to authenticate. */
#ifndef REPOSITORY_CORE_SEGMENT_H
#define REPOSITORY_CORE_SEGMENT_H

#include "store/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REPO_SEGMENT_BYTES = 65536,
    REPO_TAG_BYTES = 16,
    REPO_SALT_BYTES = 32,
    REPO_NONCE_PREFIX_BYTES = 7,
    REPO_NONCE_BYTES = 12,
    REPO_CIPHER_HEADER_BYTES = 1 + REPO_SALT_BYTES + REPO_NONCE_PREFIX_BYTES,
    REPO_SEGMENT_PLAIN_BYTES = REPO_SEGMENT_BYTES - REPO_TAG_BYTES,
    REPO_FIRST_PLAIN_BYTES = REPO_SEGMENT_PLAIN_BYTES - REPO_CIPHER_HEADER_BYTES,
};

struct repo_segment {
    uint32_t index;
    bool last;
    uint64_t offset;       /* of its ciphertext in the object */
    size_t bytes;          /* ciphertext and tag */
    uint64_t plain_offset; /* of its plaintext in the message */
    size_t plain_bytes;
};

/* Most plaintext that a segment takes. */
size_t repo_segment_capacity(uint32_t index);
/* Plaintext bytes of an object of that size. 0, or ERR_FORMAT when no message has that size. */
int repo_segment_plain(uint64_t object_bytes, uint64_t *plain_bytes, struct err *e);
/* The segment that holds the byte at plain_offset. Requires a size that repo_segment_plain accepted and an offset below the
 * plaintext size. */
struct repo_segment repo_segment_at(uint64_t object_bytes, uint64_t plain_offset);
void repo_segment_nonce(const uint8_t prefix[REPO_NONCE_PREFIX_BYTES], uint32_t index, bool last,
                        uint8_t out[REPO_NONCE_BYTES]);

#endif
