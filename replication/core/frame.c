/* The frame header's codec; the format is described in frame.h.
 *
 * INVARIANTS
 *   I1  frame_decode(frame_encode(f)) gives f back, and no single changed bit of header or body passes.
 *   I2  A length is believed only after the header's checksum, the cluster and the limits have been checked, so that nobody
 *       makes us wait for, or allocate, more than the limit that holds at that moment. */
#include "replication/core/frame.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum {
    OFF_MAGIC = 0,
    OFF_VERSION = 4,
    OFF_TYPE = 6,
    OFF_FLAGS = 8,
    OFF_BODY_BYTES = 12,
    OFF_CLUSTER = 16,
    OFF_TERM = 32,
    OFF_REQUEST = 40,
    OFF_BODY_CRC = 48,
    OFF_HEADER_CRC = 52,
    OFF_RESERVED = 56,
};
_Static_assert(OFF_RESERVED + 8 == FRAME_HEADER_BYTES, "the header is 64 bytes without gaps");

static uint32_t header_crc(const uint8_t raw[FRAME_HEADER_BYTES])
{
    return hash_crc32c_around(bytes_of(raw, FRAME_HEADER_BYTES), OFF_HEADER_CRC);
}

static bool type_is_known(unsigned type)
{
    if (type >= FRAME_HELLO && type <= FRAME_ALIVE)
        return true;
    unsigned request = type & ~(unsigned)FRAME_REPLY;
    return request >= FRAME_SESSION_OPEN && request <= FRAME_OUTCOME_BY_KEY;
}

uint32_t frame_body_limit(enum frame_type type, uint32_t max_body)
{
    if (type == FRAME_ALIVE)
        return 0;
    bool small = type == FRAME_HELLO || type == FRAME_ERROR || type == FRAME_PRIMARY;
    return small && max_body > FRAME_HELLO_MAX_BYTES ? FRAME_HELLO_MAX_BYTES : max_body;
}

void frame_encode(struct frame *f, struct bytes body, uint8_t out[FRAME_HEADER_BYTES])
{
    check(body.n <= UINT32_MAX);
    f->body_bytes = (uint32_t)body.n;
    f->body_crc32c = hash_crc32c(0, body);
    frame_encode_header(f, out);
}

void frame_encode_header(const struct frame *f, uint8_t out[FRAME_HEADER_BYTES])
{
    check(type_is_known((unsigned)f->type) && (f->flags & ~(uint32_t)FRAME_ZSTD) == 0);
    put_le32(out + OFF_MAGIC, FRAME_MAGIC);
    put_le16(out + OFF_VERSION, FRAME_VERSION);
    put_le16(out + OFF_TYPE, (uint16_t)f->type);
    put_le32(out + OFF_FLAGS, f->flags);
    put_le32(out + OFF_BODY_BYTES, f->body_bytes);
    memcpy(out + OFF_CLUSTER, f->cluster_id.b, sizeof f->cluster_id.b);
    put_le64(out + OFF_TERM, f->term.v);
    put_le64(out + OFF_REQUEST, f->request);
    put_le32(out + OFF_BODY_CRC, f->body_crc32c);
    put_le64(out + OFF_RESERVED, 0);
    put_le32(out + OFF_HEADER_CRC, header_crc(out));
}

int frame_decode(const uint8_t raw[FRAME_HEADER_BYTES], const struct uuid *cluster,
                 uint32_t max_body, struct frame *out, struct err *e)
{
    if (get_le32(raw + OFF_MAGIC) != FRAME_MAGIC)
        return err_set(e, ERR_FORMAT, "no frame here: magic is %08x", get_le32(raw + OFF_MAGIC));
    if (get_le32(raw + OFF_HEADER_CRC) != header_crc(raw))
        return err_set(e, ERR_FORMAT, "frame header checksum mismatch");
    unsigned version = get_le16(raw + OFF_VERSION);
    if (version != FRAME_VERSION)
        return err_set(
            e, ERR_FORMAT,
            "frame version %u is unknown, this program speaks %d: upgrade the older side", version,
            FRAME_VERSION);
    unsigned type = get_le16(raw + OFF_TYPE);
    if (!type_is_known(type))
        return err_set(e, ERR_FORMAT, "frame type %u is unknown", type);
    out->type = (enum frame_type)type;
    out->flags = get_le32(raw + OFF_FLAGS);
    if ((out->flags & ~(uint32_t)FRAME_ZSTD) != 0 || get_le64(raw + OFF_RESERVED) != 0)
        return err_set(e, ERR_FORMAT, "%s frame: flags %08x or reserved bytes are unknown",
                       frame_type_name(out->type), out->flags);
    memcpy(out->cluster_id.b, raw + OFF_CLUSTER, sizeof out->cluster_id.b);
    if (cluster != NULL && !uuid_equal(&out->cluster_id, cluster))
        return err_set(e, ERR_DENIED, "%s frame of another cluster", frame_type_name(out->type));
    out->body_bytes = get_le32(raw + OFF_BODY_BYTES);
    uint32_t limit = frame_body_limit(out->type, max_body);
    if (out->body_bytes > limit)
        return err_set(e, ERR_LIMIT, "%s frame of %u bytes, at most %u are allowed here",
                       frame_type_name(out->type), out->body_bytes, limit);
    out->term.v = get_le64(raw + OFF_TERM);
    out->request = get_le64(raw + OFF_REQUEST);
    out->body_crc32c = get_le32(raw + OFF_BODY_CRC);
    return 0;
}

int frame_check_body(const struct frame *f, struct bytes body, struct err *e)
{
    if (body.n != f->body_bytes)
        return err_set(e, ERR_FORMAT, "%s frame: body of %zu bytes, its header says %u",
                       frame_type_name(f->type), body.n, f->body_bytes);
    if (hash_crc32c(0, body) != f->body_crc32c)
        return err_set(e, ERR_FORMAT, "%s frame: body checksum mismatch", frame_type_name(f->type));
    return 0;
}

const char *frame_type_name(enum frame_type type)
{
    static const char *const first[] = {"hello",     "error", "peer",   "primary", "watch-data",
                                        "watch-end", "care",  "cosign", "alive"};
    static const char *const requests[][2] = {
        {"session-open", "session-open reply"},
        {"session-close", "session-close reply"},
        {"txn", "txn reply"},
        {"get", "get reply"},
        {"scan", "scan reply"},
        {"snapshot-open", "snapshot-open reply"},
        {"snapshot-close", "snapshot-close reply"},
        {"outcome", "outcome reply"},
        {"point", "point reply"},
        {"admin", "admin reply"},
        {"watch-open", "watch-open reply"},
        {"watch-credit", "watch-credit reply"},
        {"watch-close", "watch-close reply"},
        {"outcome-by-key", "outcome-by-key reply"},
    };
    _Static_assert(sizeof first / sizeof first[0] == FRAME_ALIVE, "one name for each type");
    _Static_assert(sizeof requests / sizeof requests[0] ==
                       FRAME_OUTCOME_BY_KEY - FRAME_SESSION_OPEN + 1,
                   "one name for each request");
    unsigned t = (unsigned)type;
    if (!type_is_known(t))
        return "unknown";
    if (t <= FRAME_ALIVE)
        return first[t - FRAME_HELLO];
    return requests[(t & ~(unsigned)FRAME_REPLY) - FRAME_SESSION_OPEN][(t & FRAME_REPLY) != 0];
}
