/* The side slot of a steady checkpoint: what must be known, outside of LMDB, to put an LMDB file back to the
 * transaction S that was made durable. The reasons are in store/io/checkpoint.h.
 *
 * FORMAT of one block (4096 bytes, little-endian)
 *   offset size field
 *        0    4 magic        "TVNC" (0x434e5654)
 *        4    2 format       1
 *        6    2 meta bytes   152
 *        8    8 sequence     of publications, from 1
 *       16    8 txn id       S, LMDB's transaction id
 *       24    8 file bytes   of the data file when it was synced; it never shrinks
 *       32   16 cluster id
 *       48   16 boot id      of the machine that published, for people who look into it
 *       64    8 term         \
 *       72    8 lsn           | the entry applied last in S
 *       80    8 time us       |
 *       88   32 hash         /
 *      120  152 meta         first bytes of LMDB's meta page of S: page header (16) and MDB_meta (136)
 *      272 3820 zero
 *     4092    4 crc32c       of all before
 *
 * FORMAT of the file: four blocks: slot 0 copy 0, slot 0 copy 1, slot 1 copy 0, slot 1 copy 1. Sequence q goes into slot
 * q & 1: copy 0, sync, copy 1, sync. A block of zeros was never written. */
#ifndef STORE_CORE_SLOT_H
#define STORE_CORE_SLOT_H

#include "store/core/entry.h"
#include "store/core/err.h"

enum {
    SLOT_BYTES = 4096,
    SLOT_COPIES = 2,
    SLOT_FILE_BYTES = 2 * SLOT_COPIES * SLOT_BYTES,
    SLOT_META_BYTES = 152,
    SLOT_PAGE_MAX_BYTES = 32768, /* LMDB's largest page */
};

struct slot {
    uint64_t sequence;
    uint64_t txn_id;
    uint64_t file_bytes;
    struct uuid cluster_id;
    struct uuid boot_id;
    struct entry_position at;
    uint8_t meta[SLOT_META_BYTES];
};

void slot_encode(const struct slot *slot, uint8_t out[SLOT_BYTES]);
/* 0, ERR_FORMAT with the reason, or ERR_NEWER: the block is whole, and of a later format. Foreign bytes are expected. */
int slot_decode(const uint8_t block[SLOT_BYTES], struct slot *out, struct err *e);

/* Byte of the file where copy 0 or 1 of this sequence lives. */
uint64_t slot_offset(uint64_t sequence, unsigned copy);

/* Which checkpoint does the file tell of? 0 and the newest valid one; ERR_NEWER when any block is of a later format; or
 * ERR_INTEGRITY: no block is valid, or both copies of one slot are damaged. The latter is never the work of a power cut (copy 1
 * is written after copy 0 is durable), so the lost slot may have been the newest, and then the pages of the other one may be
 * gone. */
int slot_choose(const uint8_t file[SLOT_FILE_BYTES], struct slot *out, struct err *e);

/* Take the picture of LMDB's meta page, which must be the one of transaction slot->txn_id. `page` are the first
 * SLOT_META_BYTES of the page. 0 or ERR_INTEGRITY. */
int slot_take_meta(struct slot *slot, const uint8_t page[SLOT_META_BYTES], struct err *e);
/* LMDB's page size, as the picture tells it. */
uint32_t slot_page_bytes(const struct slot *slot);
/* The whole page to write as page `page_no` (0 or 1); `out` has slot_page_bytes() bytes. */
void slot_meta_page(const struct slot *slot, unsigned page_no, uint8_t *out);

#endif
