/* The container that packs and snapshots share: independent zstd frames with a seek table (core/seektable.h), encrypted
 * by segments (core/segment.h). Written from front to end; read frame by frame, in any order. */
#ifndef REPOSITORY_IO_CONTAINER_H
#define REPOSITORY_IO_CONTAINER_H

#include "repository/core/seektable.h"
#include "repository/io/crypto.h"
#include "repository/io/backend.h"
#include "store/core/digest.h"

struct repo_container_facts {
    uint64_t bytes, plain_bytes;
    uint32_t frames;
    struct digest content;              /* XXH3-128 over the frames, as given or as decoded */
    struct sha256 sha256, plain_sha256; /* of what was read; who writes leaves them zero */
};

/* ---- writing: a few hundred KiB of memory, and 16 bytes a frame ---- */
struct repo_writer; /* opaque */
/* Writes into `t`, which stays the caller's. */
int repo_writer_new(struct repo_writer **out, struct repo_temp *t, const struct repo_key *key,
                    const char *identity, struct err *e);
/* One frame, of the concatenation of n pieces; together at most REPO_FRAME_MAX_BYTES. */
int repo_writer_frame(struct repo_writer *w, const struct bytes *pieces, size_t n, struct err *e);
/* Seek table and last segment. Nothing is synced. */
int repo_writer_end(struct repo_writer *w, struct repo_container_facts *out, struct err *e);
void repo_writer_free(struct repo_writer *w);

/* ---- reading: the largest frame read, a few hundred KiB, and 16 bytes a frame ---- */
struct repo_reader; /* opaque */
/* `f` stays the caller's and open while the reader is used. ERR_INTEGRITY with segment and byte when the seek table is
 * not authentic. */
int repo_reader_new(struct repo_reader **out, struct repo_blob *f, const struct repo_key *key,
                    const char *identity, struct err *e);
uint32_t repo_reader_frames(const struct repo_reader *r);
/* Bytes of the object up to the end of that frame: for progress. */
uint64_t repo_reader_position(const struct repo_reader *r, uint32_t frame);
/* Decrypt, decompress and check one frame; *out is valid until the next call. ERR_INTEGRITY with segment and byte, or
 * ERR_FORMAT. */
int repo_reader_frame(struct repo_reader *r, uint32_t frame, struct bytes *out, struct err *e);
/* Hash the object as it lies there while its frames are read, so that it is read once when they are read in order. What was not
 * is read at the end; *out is what repo_blob_hash() gives. ERR_IO, ERR_NO_MEMORY. */
int repo_reader_hash_begin(struct repo_reader *r, struct err *e);
int repo_reader_hash_end(struct repo_reader *r, struct sha256 *out, struct err *e);
void repo_reader_free(struct repo_reader *r);

/* SHA-256 of a whole file as it lies there. */
int repo_blob_hash(struct repo_blob *f, struct sha256 *out, struct err *e);
/* Who is shown the content of each frame as it was decoded, in order; its result ends the reading when it is not 0. */
typedef int (*repo_frame_fn)(void *arg, struct bytes frame, struct err *e);
/* Read a whole object back and tell what it holds, each byte decrypted and decoded. `each` may be NULL. */
int repo_reader_facts(struct repo_blob *f, const struct repo_key *key, const char *identity,
                      repo_frame_fn each, void *arg, struct repo_container_facts *out,
                      struct err *e);

#endif
