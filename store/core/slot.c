/* Codec of the checkpoint's side slots, and the decision which of them to believe. FORMAT in slot.h.
 *
 * The picture of the meta page is that of liblmdb 0.9, data version 1, on a little-endian machine with 64 bits:
 *   offset size field
 *        0    8 page number    0 or 1
 *        8    2 pad
 *       10    2 flags          0x08: meta page
 *       12    4 pages
 *       16    4 magic          0xbeefc0de
 *       20    4 version        1
 *       24    8 address        of a fixed map, unused
 *       32    8 map size
 *       40   48 free-list tree; its first 4 bytes are the page size
 *       88   48 main tree
 *      136    8 last page used
 *      144    8 txn id
 * The rest of the page is zero. LMDB itself looks at flags, magic and version only, so we do as well, and at
 * the transaction id, which says whose picture it is.
 *
 * DECISION over the four blocks, each valid, zero (never written) or bad (also: in the place of the other slot); the first line
 * that holds decides, and the test asks about every combination
 *   one of a later format           whatever the others are: nothing is chosen, and it is no damage
 *   both copies of a slot bad       damage, never a power cut: nothing is chosen
 *   no valid block                  nothing to choose
 *   else                            the valid block with the highest sequence */
#include "store/core/slot.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum {
    SLOT_MAGIC = 0x434e5654,
    SLOT_FORMAT = 1,
    OFF_META = 120,
    OFF_ZERO = OFF_META + SLOT_META_BYTES,
    OFF_CRC = SLOT_BYTES - 4,

    META_FLAGS = 10,
    META_MAGIC = 16,
    META_VERSION = 20,
    META_PAGE_BYTES = 40,
    META_TXN_ID = 144,
    LMDB_P_META = 0x08,
    LMDB_VERSION = 1,
};
static const uint32_t lmdb_magic = 0xbeefc0de;
_Static_assert(META_TXN_ID + 8 == SLOT_META_BYTES, "the transaction id ends LMDB's meta");

void slot_encode(const struct slot *slot, uint8_t out[SLOT_BYTES])
{
    memset(out, 0, SLOT_BYTES);
    struct writer w = writer_of(out, SLOT_BYTES);
    write_u32(&w, SLOT_MAGIC);
    write_u16(&w, SLOT_FORMAT);
    write_u16(&w, SLOT_META_BYTES);
    write_u64(&w, slot->sequence);
    write_u64(&w, slot->txn_id);
    write_u64(&w, slot->file_bytes);
    write_uuid(&w, &slot->cluster_id);
    write_uuid(&w, &slot->boot_id);
    write_u64(&w, slot->at.term.v);
    write_u64(&w, slot->at.lsn.v);
    write_u64(&w, slot->at.time.us);
    write_sha256(&w, &slot->at.hash);
    check(w.at == OFF_META);
    write_bytes(&w, bytes_of(slot->meta, SLOT_META_BYTES));
    check(!w.bad && w.at == OFF_ZERO);
    put_le32(out + OFF_CRC, hash_crc32c(0, bytes_of(out, OFF_CRC)));
}

static int check_meta(const uint8_t *meta, uint64_t txn_id, struct err *e)
{
    uint32_t page_bytes = get_le32(meta + META_PAGE_BYTES);
    if ((get_le16(meta + META_FLAGS) & LMDB_P_META) == 0 ||
        get_le32(meta + META_MAGIC) != lmdb_magic)
        return err_set(e, ERR_FORMAT, "this is no meta page of LMDB");
    if (get_le32(meta + META_VERSION) != LMDB_VERSION)
        return err_set(e, ERR_FORMAT, "LMDB data version %u, this program knows %d",
                       get_le32(meta + META_VERSION), LMDB_VERSION);
    if (page_bytes < 512 || page_bytes > SLOT_PAGE_MAX_BYTES ||
        (page_bytes & (page_bytes - 1)) != 0)
        return err_set(e, ERR_FORMAT, "LMDB page size %u is impossible", page_bytes);
    if (get_le64(meta + META_TXN_ID) != txn_id)
        return err_set(e, ERR_FORMAT, "the meta page is of LMDB transaction %llu, not %llu",
                       (unsigned long long)get_le64(meta + META_TXN_ID),
                       (unsigned long long)txn_id);
    return 0;
}

int slot_decode(const uint8_t block[SLOT_BYTES], struct slot *out, struct err *e)
{
    struct reader r = reader_of(bytes_of(block, OFF_ZERO));
    if (read_u32(&r) != SLOT_MAGIC)
        return err_set(e, ERR_FORMAT, "no checkpoint here: magic is %08x", get_le32(block));
    if (get_le32(block + OFF_CRC) != hash_crc32c(0, bytes_of(block, OFF_CRC)))
        return err_set(e, ERR_FORMAT, "checksum mismatch");
    uint16_t format = read_u16(&r), meta_bytes = read_u16(&r);
    if (format > SLOT_FORMAT)
        return err_newer(e, "the checkpoint", format, SLOT_FORMAT);
    if (format != SLOT_FORMAT || meta_bytes != SLOT_META_BYTES)
        return err_set(e, ERR_FORMAT,
                       "format %u with %u bytes of meta is unknown, this program reads %d", format,
                       meta_bytes, SLOT_FORMAT);
    out->sequence = read_u64(&r);
    out->txn_id = read_u64(&r);
    out->file_bytes = read_u64(&r);
    out->cluster_id = read_uuid(&r);
    out->boot_id = read_uuid(&r);
    out->at.term.v = read_u64(&r);
    out->at.lsn.v = read_u64(&r);
    out->at.time.us = read_u64(&r);
    out->at.hash = read_sha256(&r);
    memcpy(out->meta, read_bytes(&r, SLOT_META_BYTES).p, SLOT_META_BYTES);
    check(reader_done(&r));
    for (size_t i = OFF_ZERO; i < OFF_CRC; i++)
        if (block[i] != 0)
            return err_set(e, ERR_FORMAT, "byte %zu is not zero", i);
    if (out->sequence == 0)
        return err_set(e, ERR_FORMAT, "sequence 0");
    return check_meta(out->meta, out->txn_id, e);
}

uint64_t slot_offset(uint64_t sequence, unsigned copy)
{
    check(copy < SLOT_COPIES);
    return ((sequence & 1) * SLOT_COPIES + copy) * SLOT_BYTES;
}

static bool is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

int slot_choose(const uint8_t file[SLOT_FILE_BYTES], struct slot *out, struct err *e)
{
    bool found = false;
    struct err why = ERR_NONE;
    for (unsigned block = 0; block < 2 * SLOT_COPIES; block++)
        if (slot_decode(file + (size_t)block * SLOT_BYTES, out, &why) == ERR_NEWER)
            return err_set(e, ERR_NEWER, "%s", why.text);
    for (unsigned slot = 0; slot < 2; slot++) {
        unsigned bad = 0;
        for (unsigned copy = 0; copy < SLOT_COPIES; copy++) {
            const uint8_t *block = file + slot_offset(slot, copy);
            struct slot s;
            int rc = slot_decode(block, &s, &why);
            if (rc == 0 && (s.sequence & 1) != slot)
                rc = err_set(&why, ERR_FORMAT, "sequence %llu is in the wrong place",
                             (unsigned long long)s.sequence);
            if (rc != 0) {
                bad += !is_zero(block, SLOT_BYTES);
                continue;
            }
            if (!found || s.sequence > out->sequence)
                *out = s;
            found = true;
        }
        if (bad == SLOT_COPIES)
            return err_set(e, ERR_INTEGRITY, "both copies of slot %u are damaged (%s)", slot,
                           why.text);
    }
    if (!found)
        return err_set(e, ERR_INTEGRITY, "no slot holds a checkpoint (%s)", why.text);
    return 0;
}

int slot_take_meta(struct slot *slot, const uint8_t page[SLOT_META_BYTES], struct err *e)
{
    struct err why = ERR_NONE;
    if (check_meta(page, slot->txn_id, &why) != 0)
        return err_set(e, ERR_INTEGRITY, "%s", why.text);
    memcpy(slot->meta, page, SLOT_META_BYTES);
    return 0;
}

uint32_t slot_page_bytes(const struct slot *slot)
{
    return get_le32(slot->meta + META_PAGE_BYTES);
}

void slot_meta_page(const struct slot *slot, unsigned page_no, uint8_t *out)
{
    memset(out, 0, slot_page_bytes(slot));
    memcpy(out, slot->meta, SLOT_META_BYTES);
    put_le64(out, page_no);
}
