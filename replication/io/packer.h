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

/* Encrypted values and images do not compress, and finding that out takes as long as encrypting them. So when PACKER_DULL
 * bodies of a connection in a row did not become smaller by an eighth, the next goes untried, then two for each that was tried
 * in vain, then four, and so on to PACKER_SKIP_MAX; one that does become smaller ends it. Inert when zero. */
struct packer_habit {
    uint32_t dull; /* bodies in a row */
    size_t rest;   /* bytes that go as they are before one is tried again */
};
enum { PACKER_DULL = 4, PACKER_SKIP_MAX = 16 };
/* Is a body of so many bytes to be tried? Then tell what became of it; packed 0: it did not become smaller. */
bool packer_tries(struct packer_habit *h, size_t bytes);
void packer_learns(struct packer_habit *h, size_t bytes, size_t packed);

/* Compress the pieces. *out is valid until the next call; it is empty when compression does not make the body smaller. 0 or
 * ERR_NO_MEMORY. */
int packer_pack(struct packer *p, int level, const struct bytes *pieces, size_t n,
                struct bytes *out, struct err *e);
/* The plain body; valid until the next call. ERR_LIMIT when it would exceed `limit`, ERR_FORMAT when it is not exactly what it
 * claims to be. Memory is bounded by `limit`: nothing is decompressed before the claim has been checked. */
int packer_unpack(struct packer *p, struct bytes packed, uint32_t limit, struct bytes *out,
                  struct err *e);

#endif
