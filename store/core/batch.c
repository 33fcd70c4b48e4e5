#include "store/core/batch.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum { OFF_CRC = 8 }; /* the same in both headers */

static uint32_t crc_of(const uint8_t *raw, size_t n)
{
    return hash_crc32c_around(bytes_of(raw, n), OFF_CRC);
}

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES])
{
    struct writer w = writer_of(out, SEGMENT_HEADER_BYTES);
    memset(out, 0, SEGMENT_HEADER_BYTES);
    write_u32(&w, SEGMENT_MAGIC);
    write_u16(&w, SEGMENT_FORMAT);
    write_u16(&w, 0);
    write_u64(&w, 0); /* CRC, written last, and zero */
    write_uuid(&w, &h->cluster_id);
    write_u64(&w, h->seq);
    write_u64(&w, h->nonce);
    write_u64(&w, h->start.lsn.v);
    write_u64(&w, h->start.term.v);
    write_u64(&w, h->start.time.us);
    write_sha256(&w, &h->start.hash);
    check(!w.bad);
    put_le32(out + OFF_CRC, crc_of(out, SEGMENT_HEADER_BYTES));
}

int segment_header_decode(const uint8_t raw[SEGMENT_HEADER_BYTES], struct segment_header *out,
                          struct err *e)
{
    struct reader r = reader_of(bytes_of(raw, SEGMENT_HEADER_BYTES));
    uint32_t magic = read_u32(&r);
    uint16_t format = read_u16(&r), zero = read_u16(&r);
    uint32_t crc = read_u32(&r);
    if (magic != SEGMENT_MAGIC)
        return err_set(e, ERR_INTEGRITY, "this is not a log segment: magic is %08x", magic);
    if (crc != crc_of(raw, SEGMENT_HEADER_BYTES))
        return err_set(e, ERR_INTEGRITY, "segment header checksum mismatch");
    if (format > SEGMENT_FORMAT)
        return err_newer(e, "the segment", format, SEGMENT_FORMAT);
    if (format != SEGMENT_FORMAT || zero != 0)
        return err_set(e, ERR_INTEGRITY, "segment format %u with field %u is unknown", format,
                       zero);
    (void)read_u32(&r);
    out->cluster_id = read_uuid(&r);
    out->seq = read_u64(&r);
    out->nonce = read_u64(&r);
    out->start.lsn.v = read_u64(&r);
    out->start.term.v = read_u64(&r);
    out->start.time.us = read_u64(&r);
    out->start.hash = read_sha256(&r);
    check(!r.bad);
    return 0;
}

void batch_header_encode(const struct batch_header *h, uint8_t out[BATCH_HEADER_BYTES])
{
    struct writer w = writer_of(out, BATCH_HEADER_BYTES);
    write_u32(&w, BATCH_MAGIC);
    write_u16(&w, BATCH_FORMAT);
    write_u16(&w, 0);
    write_u32(&w, 0);
    write_u32(&w, h->payload_crc32c);
    write_u64(&w, h->seq);
    write_u64(&w, h->nonce);
    write_u64(&w, h->first_lsn.v);
    write_u32(&w, h->block);
    write_u32(&w, h->number);
    write_u32(&w, h->durable);
    write_u32(&w, h->entry_count);
    write_u64(&w, h->payload_bytes);
    check(!w.bad && w.at == BATCH_HEADER_BYTES);
    put_le32(out + OFF_CRC, crc_of(out, BATCH_HEADER_BYTES));
}

uint16_t batch_newer_format(const uint8_t raw[BATCH_HEADER_BYTES],
                            const struct segment_header *segment, uint64_t block)
{
    uint16_t format = get_le16(raw + 4);
    bool here = get_le32(raw) == BATCH_MAGIC &&
                get_le32(raw + OFF_CRC) == crc_of(raw, BATCH_HEADER_BYTES) &&
                get_le64(raw + 16) == segment->seq && get_le64(raw + 24) == segment->nonce &&
                get_le32(raw + 40) == block;
    return here && format > BATCH_FORMAT ? format : 0;
}

bool batch_header_decode(const uint8_t raw[BATCH_HEADER_BYTES],
                         const struct segment_header *segment, uint64_t block,
                         struct batch_header *out)
{
    struct reader r = reader_of(bytes_of(raw, BATCH_HEADER_BYTES));
    if (read_u32(&r) != BATCH_MAGIC || read_u16(&r) != BATCH_FORMAT || read_u16(&r) != 0 ||
        read_u32(&r) != crc_of(raw, BATCH_HEADER_BYTES))
        return false;
    out->payload_crc32c = read_u32(&r);
    out->seq = read_u64(&r);
    out->nonce = read_u64(&r);
    out->first_lsn.v = read_u64(&r);
    out->block = read_u32(&r);
    out->number = read_u32(&r);
    out->durable = read_u32(&r);
    out->entry_count = read_u32(&r);
    out->payload_bytes = read_u64(&r);
    check(reader_done(&r));
    return out->seq == segment->seq && out->nonce == segment->nonce && out->block == block &&
           out->first_lsn.v > 0 && out->number > out->durable;
}
