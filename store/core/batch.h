/* On-disk headers of the log: the one of a segment file and the one of a batch of entries.
 *
 * A segment is a file of blocks of 4 KiB. Block 0 begins with the segment header; batches follow,
 * each beginning on a block: batch header, entries back to back (entry.h), zeros to the end of the
 * last block. Files are used again, so behind the last batch there may be anything.
 *
 * FORMAT of the segment header (little-endian)
 *   offset size field
 *        0    4 magic            "TVNS" (0x534e5654)
 *        4    2 format           1
 *        6    2 zero
 *        8    4 crc32c           of the 128 bytes with this field zero
 *       12    4 zero
 *       16   16 cluster_id
 *       32    8 seq              number of the segment in the log, as in its file name
 *       40    8 nonce            random for each use of the file
 *       48   56 start            position before the first entry: lsn, term, time_us, hash
 *      104   24 zero
 *
 * FORMAT of the batch header
 *        0    4 magic            "TVNB" (0x424e5654)
 *        4    2 format           1
 *        6    2 zero
 *        8    4 crc32c           of the 64 bytes with this field zero
 *       12    4 payload_crc32c   of the entries
 *       16    8 seq              of the segment
 *       24    8 nonce            of this use of the segment
 *       32    8 first_lsn        of the first entry (of the next one, when there is none)
 *       40    4 block            place in the segment in blocks; finds writes that went astray
 *       44    4 number           of the batch in the segment, from 1
 *       48    4 durable          highest batch number known durable when this was written; 0: none
 *       52    4 entry_count      0: the batch only says what is durable
 *       56    8 payload_bytes
 *
 * A batch header is valid at its place if and only if magic, format and CRC hold, the zero field is
 * zero, and seq, nonce and block are those of the place. The nonce is why bytes of a former use of
 * the file, or a value made to look like a batch, are never taken for one. */
#ifndef STORE_CORE_BATCH_H
#define STORE_CORE_BATCH_H

#include "store/core/entry.h"

enum {
    BATCH_BLOCK_BYTES = 4096,
    BATCH_HEADER_BYTES = 64,
    BATCH_MAGIC = 0x424e5654,
    BATCH_FORMAT = 1,
    SEGMENT_HEADER_BYTES = 128,
    SEGMENT_MAGIC = 0x534e5654,
    SEGMENT_FORMAT = 1,
};

struct segment_header {
    struct uuid cluster_id;
    uint64_t seq;
    uint64_t nonce;
    struct entry_position start;
};

struct batch_header {
    uint64_t seq;
    uint64_t nonce;
    struct lsn first_lsn;
    uint32_t block;
    uint32_t number;
    uint32_t durable;
    uint32_t entry_count;
    uint64_t payload_bytes;
    uint32_t payload_crc32c;
};

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES]);
/* 0; ERR_INTEGRITY when these are not the bytes of a segment header; ERR_NEWER when they are, but
 * of a later format. Foreign bytes are expected. */
int segment_header_decode(const uint8_t raw[SEGMENT_HEADER_BYTES], struct segment_header *out,
                          struct err *e);

void batch_header_encode(const struct batch_header *h, uint8_t out[BATCH_HEADER_BYTES]);
/* Is this a header that belongs to this use of the segment, at this block? Fills *out when true. */
bool batch_header_decode(const uint8_t raw[BATCH_HEADER_BYTES],
                         const struct segment_header *segment, uint64_t block,
                         struct batch_header *out);

/* The format of a batch that belongs here and that a newer program wrote; 0: it is none. Checksum, segment, nonce and block are
 * at the same place in every format. */
uint16_t batch_newer_format(const uint8_t raw[BATCH_HEADER_BYTES],
                            const struct segment_header *segment, uint64_t block);

/* n rounded up to whole blocks. */
static inline uint64_t batch_blocks_bytes(uint64_t n)
{
    return (n + BATCH_BLOCK_BYTES - 1) / BATCH_BLOCK_BYTES * BATCH_BLOCK_BYTES;
}

#endif
