/* The entry header's codec and the two questions of recovery and replication: is this an entry, and does it
 * belong here? The format is described in entry.h.
 *
 * INVARIANTS
 *   I1  entry_decode(entry_seal(h, body)) gives h and body back, and no single changed bit passes.
 *   I2  Nothing is read beyond the given bytes, whatever they claim about their size. */
#include "store/core/entry.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum {
    OFF_MAGIC = 0,
    OFF_FORMAT = 4,
    OFF_KIND = 6,
    OFF_BODY_BYTES = 8,
    OFF_HEADER_CRC = 12,
    OFF_BODY_CRC = 16,
    OFF_FLAGS = 20,
    OFF_CLUSTER = 24,
    OFF_TERM = 40,
    OFF_LSN = 48,
    OFF_TIME = 56,
    OFF_PREV_HASH = 64,
    OFF_BODY_HASH = 96,
};
_Static_assert(OFF_BODY_HASH + 32 == ENTRY_HEADER_BYTES, "the header is 128 bytes without gaps");

static uint32_t header_crc(const uint8_t raw[ENTRY_HEADER_BYTES])
{
    return hash_crc32c_around(bytes_of(raw, ENTRY_HEADER_BYTES), OFF_HEADER_CRC);
}

static bool kind_is_known(uint16_t kind)
{
    return kind >= ENTRY_TXN && kind <= ENTRY_MEMBERS;
}

struct sha256 entry_seal(struct entry_header *h, struct bytes body, uint8_t out[ENTRY_HEADER_BYTES])
{
    check(body.n >= ENTRY_SALT_BYTES && body.n <= ENTRY_BODY_MAX_BYTES);
    check(kind_is_known((uint16_t)h->kind) && h->lsn.v > 0 && h->term.v > 0);
    h->body_bytes = (uint32_t)body.n;
    h->body_crc32c = hash_crc32c(0, body);
    h->body_hash = hash_sha256(body);

    put_le32(out + OFF_MAGIC, ENTRY_MAGIC);
    put_le16(out + OFF_FORMAT, ENTRY_FORMAT);
    put_le16(out + OFF_KIND, (uint16_t)h->kind);
    put_le32(out + OFF_BODY_BYTES, h->body_bytes);
    put_le32(out + OFF_BODY_CRC, h->body_crc32c);
    put_le32(out + OFF_FLAGS, 0);
    memcpy(out + OFF_CLUSTER, h->cluster_id.b, sizeof h->cluster_id.b);
    put_le64(out + OFF_TERM, h->term.v);
    put_le64(out + OFF_LSN, h->lsn.v);
    put_le64(out + OFF_TIME, h->time.us);
    memcpy(out + OFF_PREV_HASH, h->prev_hash.b, sizeof h->prev_hash.b);
    memcpy(out + OFF_BODY_HASH, h->body_hash.b, sizeof h->body_hash.b);
    put_le32(out + OFF_HEADER_CRC, header_crc(out));
    return hash_sha256(bytes_of(out, ENTRY_HEADER_BYTES));
}

int entry_header_decode(const uint8_t raw[ENTRY_HEADER_BYTES], struct entry_header *out,
                        struct err *e)
{
    if (get_le32(raw + OFF_MAGIC) != ENTRY_MAGIC)
        return err_set(e, ERR_FORMAT, "no entry here: magic is %08x", get_le32(raw + OFF_MAGIC));
    if (get_le32(raw + OFF_HEADER_CRC) != header_crc(raw))
        return err_set(e, ERR_FORMAT, "entry header checksum mismatch");
    uint16_t format = get_le16(raw + OFF_FORMAT);
    if (format > ENTRY_FORMAT)
        return err_newer(e, "the entry", format, ENTRY_FORMAT);
    if (format != ENTRY_FORMAT)
        return err_set(e, ERR_FORMAT, "entry format %u is unknown, this program reads %d", format,
                       ENTRY_FORMAT);
    uint16_t kind = get_le16(raw + OFF_KIND);
    if (!kind_is_known(kind))
        return err_set(e, ERR_FORMAT, "entry kind %u is unknown", kind);
    if (get_le32(raw + OFF_FLAGS) != 0)
        return err_set(e, ERR_FORMAT, "entry flags %08x are unknown", get_le32(raw + OFF_FLAGS));

    struct reader r = reader_of(bytes_of(raw, ENTRY_HEADER_BYTES));
    r.at = OFF_CLUSTER;
    out->kind = (enum entry_kind)kind;
    out->body_bytes = get_le32(raw + OFF_BODY_BYTES);
    out->body_crc32c = get_le32(raw + OFF_BODY_CRC);
    out->cluster_id = read_uuid(&r);
    out->term.v = read_u64(&r);
    out->lsn.v = read_u64(&r);
    out->time.us = read_u64(&r);
    out->prev_hash = read_sha256(&r);
    out->body_hash = read_sha256(&r);
    check(reader_done(&r));
    if (out->body_bytes < ENTRY_SALT_BYTES || out->body_bytes > ENTRY_BODY_MAX_BYTES)
        return err_set(e, ERR_FORMAT, "entry body of %u bytes is outside %d..%d", out->body_bytes,
                       ENTRY_SALT_BYTES, ENTRY_BODY_MAX_BYTES);
    if (out->lsn.v == 0 || out->term.v == 0)
        return err_set(e, ERR_FORMAT, "entry has lsn %llu and term %llu, both begin at 1",
                       (unsigned long long)out->lsn.v, (unsigned long long)out->term.v);
    return 0;
}

int entry_view_stored(struct bytes in, struct entry_view *out, size_t *used, struct err *e)
{
    if (in.n < ENTRY_HEADER_BYTES) {
        *used = ENTRY_HEADER_BYTES;
        return err_set(e, ERR_LIMIT, "%zu bytes are left where an entry header needs %d", in.n,
                       ENTRY_HEADER_BYTES);
    }
    int rc = entry_header_decode(in.p, &out->header, e);
    if (rc != 0)
        return rc;
    size_t whole = ENTRY_HEADER_BYTES + (size_t)out->header.body_bytes;
    *used = whole;
    if (in.n < whole)
        return err_set(e, ERR_LIMIT, "%zu bytes are left where the entry needs %zu", in.n, whole);
    out->raw = in.p;
    out->body = in.p + ENTRY_HEADER_BYTES;
    out->hash = hash_sha256(bytes_of(in.p, ENTRY_HEADER_BYTES));
    return 0;
}

int entry_body_intact(const struct entry_view *v, struct err *e)
{
    if (hash_crc32c(0, bytes_of(v->body, v->header.body_bytes)) == v->header.body_crc32c)
        return 0;
    return err_set(e, ERR_FORMAT, "body of lsn %llu: checksum mismatch",
                   (unsigned long long)v->header.lsn.v);
}

size_t entry_stored_bytes(const uint8_t raw[ENTRY_HEADER_BYTES])
{
    return ENTRY_HEADER_BYTES + (size_t)get_le32(raw + OFF_BODY_BYTES);
}

int entry_decode(struct bytes in, struct entry_view *out, size_t *used, struct err *e)
{
    int rc = entry_view_stored(in, out, used, e);
    if (rc == 0)
        rc = entry_body_intact(out, e);
    if (rc != 0)
        return rc;
    struct sha256 body_hash = hash_sha256(bytes_of(out->body, out->header.body_bytes));
    if (!sha256_equal(&body_hash, &out->header.body_hash))
        return err_set(e, ERR_FORMAT, "body of lsn %llu: hash mismatch",
                       (unsigned long long)out->header.lsn.v);
    return 0;
}

int entry_follows(const struct entry_position *prev, const struct entry_header *next, struct err *e)
{
    unsigned long long at = (unsigned long long)next->lsn.v;
    if (next->lsn.v != prev->lsn.v + 1)
        return err_set(e, ERR_INTEGRITY, "lsn %llu does not follow lsn %llu", at,
                       (unsigned long long)prev->lsn.v);
    if (!sha256_equal(&next->prev_hash, &prev->hash))
        return err_set(e, ERR_INTEGRITY,
                       "lsn %llu: its previous-header hash is not that of lsn %llu", at,
                       (unsigned long long)prev->lsn.v);
    if (next->term.v < prev->term.v)
        return err_set(e, ERR_INTEGRITY, "lsn %llu: term %llu is below the previous term %llu", at,
                       (unsigned long long)next->term.v, (unsigned long long)prev->term.v);
    if (next->time.us < prev->time.us)
        return err_set(e, ERR_INTEGRITY, "lsn %llu: its time goes back", at);
    return 0;
}

const char *entry_kind_name(enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_TXN:
        return "txn";
    case ENTRY_NOOP:
        return "noop";
    case ENTRY_CONFIG:
        return "config";
    case ENTRY_RESTORE_POINT:
        return "restore-point";
    case ENTRY_SESSION:
        return "session";
    case ENTRY_AUDIT:
        return "audit";
    case ENTRY_MEMBERS:
        return "members";
    }
    return "unknown";
}
