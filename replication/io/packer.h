/* Compression of frame bodies: u32 plain size, then one zstd frame. One packer serves all connections of a listener: its
 * contexts and buffers are used within one call at a time on the loop's thread. Inert when zero. */
#ifndef REPLICATION_IO_PACKER_H
#define REPLICATION_IO_PACKER_H

#include "replication/io/buffer.h"
#include "store/core/err.h"

#include <zstd.h>

struct packer {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    struct buffer packed, plain;
};
void packer_deinit(struct packer *p);

enum { PACKER_MIN_BYTES = 512 }; /* smaller bodies are not worth the time */

/* Compress the pieces. *out is valid until the next call; it is empty when compression does not make the body smaller. 0 or
 * ERR_NO_MEMORY. */
int packer_pack(struct packer *p, int level, const struct bytes *pieces, size_t n,
                struct bytes *out, struct err *e);
/* The plain body; valid until the next call. ERR_LIMIT when it would exceed `limit`, ERR_FORMAT when it is not exactly what it
 * claims to be. Memory is bounded by `limit`: nothing is decompressed before the claim has been checked. */
int packer_unpack(struct packer *p, struct bytes packed, uint32_t limit, struct bytes *out,
                  struct err *e);

#endif
