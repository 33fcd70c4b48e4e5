/* Frame headers: what is accepted encodes to the same bytes, and is accepted again with its body. The fuzzer cannot guess
 * checksums, so the first byte chooses whether they are put right before decoding. */
#include "replication/core/frame.h"

#include "store/core/check.h"
#include "store/core/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER_CRC_AT = 52, BODY_CRC_AT = 48, BODY_BYTES_AT = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 + FRAME_HEADER_BYTES)
        return 0;
    uint8_t raw[FRAME_HEADER_BYTES], again[FRAME_HEADER_BYTES];
    memcpy(raw, data + 1, sizeof raw);
    struct bytes body = bytes_of(data + 1 + sizeof raw, size - 1 - sizeof raw);
    if ((data[0] & 1) != 0) {
        put_le32(raw + BODY_BYTES_AT, (uint32_t)body.n);
        put_le32(raw + BODY_CRC_AT, hash_crc32c(0, body));
    }
    if ((data[0] & 2) != 0) {
        put_le32(raw + HEADER_CRC_AT, 0);
        put_le32(raw + HEADER_CRC_AT, hash_crc32c(0, bytes_of(raw, sizeof raw)));
    }
    uint32_t limit = (data[0] & 4) != 0 ? FRAME_HELLO_MAX_BYTES : FRAME_PEER_MAX_BYTES;
    struct frame f;
    if (frame_decode(raw, NULL, limit, &f, NULL) != 0)
        return 0;
    check(f.body_bytes <= limit);
    check(strcmp(frame_type_name(f.type), "unknown") != 0);
    struct uuid other = f.cluster_id;
    other.b[0] ^= 1;
    check(frame_decode(raw, &other, limit, &f, NULL) == ERR_DENIED);
    check(frame_decode(raw, &f.cluster_id, limit, &f, NULL) == 0);
    if (frame_check_body(&f, body, NULL) != 0)
        return 0;
    frame_encode(&f, body, again);
    check(memcmp(raw, again, sizeof raw) == 0);
    return 0;
}
