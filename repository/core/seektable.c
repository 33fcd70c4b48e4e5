#include "repository/core/seektable.h"

enum { SKIPPABLE_MAGIC = 0x184D2A5E };
static const uint32_t seekable_magic = 0x8F92EAB1;

size_t repo_seek_bytes(uint32_t frames)
{
    return REPO_SEEK_HEADER_BYTES + (size_t)frames * REPO_SEEK_ENTRY_BYTES + REPO_SEEK_FOOTER_BYTES;
}

void repo_seek_header(uint32_t frames, uint8_t out[REPO_SEEK_HEADER_BYTES])
{
    put_le32(out, SKIPPABLE_MAGIC);
    put_le32(out + 4, (uint32_t)(repo_seek_bytes(frames) - REPO_SEEK_HEADER_BYTES));
}

void repo_seek_entry(const struct repo_frame *f, uint8_t out[REPO_SEEK_ENTRY_BYTES])
{
    put_le32(out, f->bytes);
    put_le32(out + 4, f->plain_bytes);
}

void repo_seek_footer(uint32_t frames, uint8_t out[REPO_SEEK_FOOTER_BYTES])
{
    put_le32(out, frames);
    out[4] = 0;
    put_le32(out + 5, seekable_magic);
}

int repo_seek_count(const uint8_t footer[REPO_SEEK_FOOTER_BYTES], uint64_t stream_bytes,
                    uint32_t *frames, struct err *e)
{
    if (get_le32(footer + 5) != seekable_magic)
        return err_set(e, ERR_FORMAT, "no seek table at the end: its magic is %08x",
                       get_le32(footer + 5));
    if (footer[4] != 0)
        return err_set(e, ERR_FORMAT, "seek table descriptor %02x is unknown", footer[4]);
    *frames = get_le32(footer);
    if (*frames > REPO_SEEK_FRAMES_MAX || repo_seek_bytes(*frames) > stream_bytes)
        return err_set(e, ERR_FORMAT, "seek table claims %u frames in a stream of %llu bytes",
                       *frames, (unsigned long long)stream_bytes);
    return 0;
}

int repo_seek_decode(struct bytes table, uint32_t frames, uint64_t stream_bytes,
                     struct repo_frame *out, struct err *e)
{
    struct reader r = reader_of(table);
    uint32_t magic = read_u32(&r), size = read_u32(&r);
    if (r.bad || magic != SKIPPABLE_MAGIC || table.n != repo_seek_bytes(frames) ||
        size != table.n - REPO_SEEK_HEADER_BYTES)
        return err_set(e, ERR_FORMAT, "seek table: header %08x with size %u does not fit %u frames",
                       magic, size, frames);
    uint64_t at = 0;
    for (uint32_t i = 0; i < frames; i++) {
        out[i] = (struct repo_frame){.offset = at, .bytes = read_u32(&r), .plain_bytes = 0};
        out[i].plain_bytes = read_u32(&r);
        if (out[i].plain_bytes > REPO_FRAME_MAX_BYTES)
            return err_set(e, ERR_FORMAT, "seek table: frame %u claims %u bytes, at most %d", i,
                           out[i].plain_bytes, REPO_FRAME_MAX_BYTES);
        at += out[i].bytes;
    }
    if (r.bad || at != stream_bytes - table.n)
        return err_set(e, ERR_FORMAT, "seek table: frames add up to %llu bytes where %llu are",
                       (unsigned long long)at, (unsigned long long)(stream_bytes - table.n));
    return 0;
}
