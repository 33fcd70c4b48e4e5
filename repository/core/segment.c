#include "repository/core/segment.h"

#include "store/core/bytes.h"
#include "store/core/check.h"

size_t repo_segment_capacity(uint32_t index)
{
    return index == 0 ? REPO_FIRST_PLAIN_BYTES : REPO_SEGMENT_PLAIN_BYTES;
}

int repo_segment_plain(uint64_t object_bytes, uint64_t *plain_bytes, struct err *e)
{
    uint64_t segments =
        object_bytes / REPO_SEGMENT_BYTES + (object_bytes % REPO_SEGMENT_BYTES != 0);
    uint64_t overhead = REPO_CIPHER_HEADER_BYTES + segments * REPO_TAG_BYTES;
    uint64_t last = object_bytes - (segments == 0 ? 0 : (segments - 1) * REPO_SEGMENT_BYTES);
    /* The last segment of several holds at least one byte besides its tag. */
    uint64_t least = segments <= 1 ? REPO_CIPHER_HEADER_BYTES + REPO_TAG_BYTES : REPO_TAG_BYTES + 1;
    if (last < least || segments > UINT32_MAX)
        return err_set(e, ERR_FORMAT, "no encrypted object has %llu bytes",
                       (unsigned long long)object_bytes);
    *plain_bytes = object_bytes - overhead;
    return 0;
}

struct repo_segment repo_segment_at(uint64_t object_bytes, uint64_t plain_offset)
{
    struct repo_segment s = {0};
    /* As if the header were plaintext of the first segment, every segment is equally long. */
    uint64_t index = (plain_offset + REPO_CIPHER_HEADER_BYTES) / REPO_SEGMENT_PLAIN_BYTES;
    uint64_t begin = index * REPO_SEGMENT_BYTES;
    uint64_t end = begin + REPO_SEGMENT_BYTES;
    check(index < UINT32_MAX && begin < object_bytes);
    s.index = (uint32_t)index;
    s.last = end >= object_bytes;
    if (s.last)
        end = object_bytes;
    s.offset = index == 0 ? REPO_CIPHER_HEADER_BYTES : begin;
    check(end >= s.offset + REPO_TAG_BYTES);
    s.bytes = (size_t)(end - s.offset);
    s.plain_bytes = s.bytes - REPO_TAG_BYTES;
    s.plain_offset = index == 0 ? 0 : index * REPO_SEGMENT_PLAIN_BYTES - REPO_CIPHER_HEADER_BYTES;
    return s;
}

void repo_segment_nonce(const uint8_t prefix[REPO_NONCE_PREFIX_BYTES], uint32_t index, bool last,
                        uint8_t out[REPO_NONCE_BYTES])
{
    memcpy(out, prefix, REPO_NONCE_PREFIX_BYTES);
    put_be32(out + REPO_NONCE_PREFIX_BYTES, index);
    out[REPO_NONCE_BYTES - 1] = last;
}
