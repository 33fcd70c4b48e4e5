/* The seek table of the zstd seekable format 0.1.0 (facebook/zstd, contrib/seekable_format): a skippable frame at the end,
 * which `zstd -d` passes over.
 *
 * FORMAT (little-endian)
 *   u32 0x184D2A5E (skippable frame), u32 size of what follows,
 *   per frame: u32 compressed size, u32 decompressed size,
 *   footer: u32 number of frames, u8 descriptor (0: no checksums here, each zstd frame has its own), u32 0x8F92EAB1 */
#ifndef REPOSITORY_CORE_SEEKTABLE_H
#define REPOSITORY_CORE_SEEKTABLE_H

#include "store/core/bytes.h"
#include "store/core/entry.h"
#include "store/core/err.h"

enum {
    REPO_SEEK_HEADER_BYTES = 8,
    REPO_SEEK_ENTRY_BYTES = 8,
    REPO_SEEK_FOOTER_BYTES = 9,
    REPO_SEEK_FRAMES_MAX = 1 << 27,
    /* One entry of the largest size is a frame of its own, and nothing is larger. */
    REPO_FRAME_MAX_BYTES = ENTRY_HEADER_BYTES + ENTRY_BODY_MAX_BYTES,
};

struct repo_frame {
    uint64_t offset; /* in the compressed stream */
    uint32_t bytes;  /* compressed */
    uint32_t plain_bytes;
};

size_t repo_seek_bytes(uint32_t frames); /* of the whole table */
/* Pieces of the table, so that no buffer of its whole size is needed. */
void repo_seek_header(uint32_t frames, uint8_t out[REPO_SEEK_HEADER_BYTES]);
void repo_seek_entry(const struct repo_frame *f, uint8_t out[REPO_SEEK_ENTRY_BYTES]);
void repo_seek_footer(uint32_t frames, uint8_t out[REPO_SEEK_FOOTER_BYTES]);

/* Number of frames from the last 9 bytes of a stream of that size. 0 or ERR_FORMAT. */
int repo_seek_count(const uint8_t footer[REPO_SEEK_FOOTER_BYTES], uint64_t stream_bytes,
                    uint32_t *frames, struct err *e);
/* Decode the whole table into out[frames]; the frames must fill the stream exactly. 0 or ERR_FORMAT. */
int repo_seek_decode(struct bytes table, uint32_t frames, uint64_t stream_bytes,
                     struct repo_frame *out, struct err *e);

#endif
