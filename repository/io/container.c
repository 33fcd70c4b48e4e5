/* Container writer and reader.
 *
 * Why zstd frames below the encryption: compress, then encrypt is the only order that saves space, and frames that stand
 * alone keep damage and random access to one of them. Why the seek table is in the plaintext: decrypted, the object is an
 * ordinary .zst file that `zstd -d` reads and that tools for the seekable format can search.
 *
 * Compressing in vain: level 1 makes frames of 64 KiB as small as level 3 does, in four fifths of the time. A frame that does not
 * become an eighth smaller tells that the next ones will not either: they are compressed at FAST_LEVEL, which finds what
 * headers of entries have in common in a third of the time, until one of them does become smaller; and each PROBE_EACH-th is
 * tried as the first was.
 *
 * FORMAT: see docs/REPOSITORY-FORMAT.md.
 *
 * INVARIANTS
 *   I1  The writer seals a segment as the last one only in repo_writer_end, and the last one is never empty: a segment is
 *       sealed when more bytes come, not when it is full.
 *   I2  The reader hands out bytes only from segments whose tag held, decoded by a frame whose size is the one in the
 *       seek table and whose zstd checksum held.
 *
 * FAILURE MODES: foreign bytes never lead to an allocation above REPO_FRAME_MAX_BYTES or the seek table of the file's own
 * size, and the window of a frame is bounded by ZSTD_d_windowLogMax. */
#include "repository/io/container.h"

#include "store/core/check.h"
#include "store/core/hash.h"

#include <zstd.h>

enum {
    LEVEL = 1,
    FAST_LEVEL = -3,
    PROBE_EACH = 16,
    ZSTD_WINDOW_LOG_MAX =
        23, /* what is written uses at most 19; level 3, which older objects have, 21 */
    COMPRESSED_BYTES = 128 << 10,
};

static int no_memory(struct err *e)
{
    err_set(e, ERR_NO_MEMORY, "no memory for the buffers of an archive object");
    return ERR_NO_MEMORY;
}

/* The digest of all frames up to this one. */
static struct digest content_with(struct digest before, const struct bytes *pieces, size_t n)
{
    const struct digest both[2] = {before, hash_xxh128(pieces, n)};
    return hash_xxh128(&(struct bytes){(const uint8_t *)both, sizeof both}, 1);
}

/* ---- writing ---- */

struct repo_writer {
    struct repo_temp *temp;
    struct repo_cipher *cipher;
    ZSTD_CCtx *zstd;
    struct repo_frame *frames;
    uint32_t frame_count, frame_cap;
    uint64_t bytes, plain_bytes, stream_bytes;
    struct digest content;
    uint32_t segment;
    bool dull; /* the last frame did not become smaller */
    size_t used;
    uint8_t plain[REPO_SEGMENT_PLAIN_BYTES];
    uint8_t sealed[REPO_SEGMENT_BYTES];
    uint8_t compressed[COMPRESSED_BYTES];
};

void repo_writer_free(struct repo_writer *w)
{
    if (w == NULL)
        return;
    repo_cipher_free(w->cipher);
    (void)ZSTD_freeCCtx(w->zstd);
    free(w->frames);
    free(w);
}

static int write_out(struct repo_writer *w, const uint8_t *p, size_t n, struct err *e)
{
    w->bytes += n;
    return repo_temp_write(w->temp, p, n, e);
}

int repo_writer_new(struct repo_writer **out, struct repo_temp *t, const struct repo_key *key,
                    const char *identity, struct err *e)
{
    uint8_t header[REPO_CIPHER_HEADER_BYTES];
    struct repo_writer *w = calloc(1, sizeof *w);
    *out = NULL;
    if (w == NULL)
        return no_memory(e);
    w->temp = t;
    w->zstd = ZSTD_createCCtx();
    int rc = w->zstd == NULL ? no_memory(e) : 0;
    if (rc == 0 && ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1)))
        rc = err_set(e, ERR_FAILED, "zstd refuses its parameters");
    if (rc == 0)
        rc = repo_cipher_new(&w->cipher, true, key, identity, header, e);
    if (rc == 0)
        rc = write_out(w, header, sizeof header, e);
    if (rc == 0)
        *out = w;
    else
        repo_writer_free(w);
    return rc;
}

static int seal_segment(struct repo_writer *w, bool last, struct err *e)
{
    if (w->segment == UINT32_MAX)
        return err_set(e, ERR_LIMIT, "the object is too large: 2^32 segments are full");
    int rc =
        repo_cipher_seal(w->cipher, w->segment, last, bytes_of(w->plain, w->used), w->sealed, e);
    if (rc == 0)
        rc = write_out(w, w->sealed, w->used + REPO_TAG_BYTES, e);
    w->segment++;
    w->used = 0;
    return rc;
}

/* Bytes of the compressed stream. */
static int put(struct repo_writer *w, const uint8_t *p, size_t n, struct err *e)
{
    w->stream_bytes += n;
    while (n != 0) {
        size_t room = repo_segment_capacity(w->segment) - w->used;
        if (room == 0) {
            int rc = seal_segment(w, false, e); /* I1 */
            if (rc != 0)
                return rc;
            continue;
        }
        size_t step = n < room ? n : room;
        memcpy(w->plain + w->used, p, step);
        w->used += step;
        p += step;
        n -= step;
    }
    return 0;
}

static int compress_piece(struct repo_writer *w, struct bytes piece, ZSTD_EndDirective end,
                          struct err *e)
{
    ZSTD_inBuffer in = {piece.p, piece.n, 0};
    for (;;) {
        ZSTD_outBuffer out = {w->compressed, sizeof w->compressed, 0};
        size_t left = ZSTD_compressStream2(w->zstd, &out, &in, end);
        if (ZSTD_isError(left))
            return err_set(e, ERR_FAILED, "zstd: %s", ZSTD_getErrorName(left));
        int rc = put(w, w->compressed, out.pos, e);
        if (rc != 0)
            return rc;
        if (end == ZSTD_e_end ? left == 0 : in.pos == in.size)
            return 0;
    }
}

static int note_frame(struct repo_writer *w, uint64_t bytes, uint64_t plain, struct err *e)
{
    if (w->frame_count == w->frame_cap) {
        uint32_t cap = w->frame_cap == 0 ? 256 : w->frame_cap * 2;
        if (w->frame_cap >= REPO_SEEK_FRAMES_MAX)
            return err_set(e, ERR_LIMIT, "the object is too large: %u frames", w->frame_cap);
        struct repo_frame *more = realloc(w->frames, cap * sizeof *more);
        if (more == NULL)
            return no_memory(e);
        w->frames = more;
        w->frame_cap = cap;
    }
    w->frames[w->frame_count++] =
        (struct repo_frame){w->stream_bytes - bytes, (uint32_t)bytes, (uint32_t)plain};
    return 0;
}

int repo_writer_frame(struct repo_writer *w, const struct bytes *pieces, size_t n, struct err *e)
{
    uint64_t plain = 0, before = w->stream_bytes;
    for (size_t i = 0; i < n; i++)
        plain += pieces[i].n;
    check(plain <= REPO_FRAME_MAX_BYTES);
    const int level = w->dull && w->frame_count % PROBE_EACH != 0 ? FAST_LEVEL : LEVEL;
    size_t z = ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, level);
    if (!ZSTD_isError(z)) /* puts the content size into the frame */
        z = ZSTD_CCtx_setPledgedSrcSize(w->zstd, plain);
    if (ZSTD_isError(z))
        return err_set(e, ERR_FAILED, "zstd: %s", ZSTD_getErrorName(z));
    for (size_t i = 0; i < n; i++) {
        int rc = compress_piece(w, pieces[i], i + 1 == n ? ZSTD_e_end : ZSTD_e_continue, e);
        if (rc != 0)
            return rc;
    }
    w->plain_bytes += plain;
    w->content = content_with(w->content, pieces, n);
    w->dull = w->stream_bytes - before > plain - plain / 8;
    return note_frame(w, w->stream_bytes - before, plain, e);
}

int repo_writer_end(struct repo_writer *w, struct repo_container_facts *out, struct err *e)
{
    uint8_t raw[REPO_SEEK_FOOTER_BYTES];
    repo_seek_header(w->frame_count, raw);
    int rc = put(w, raw, REPO_SEEK_HEADER_BYTES, e);
    for (uint32_t i = 0; rc == 0 && i < w->frame_count; i++) {
        repo_seek_entry(&w->frames[i], raw);
        rc = put(w, raw, REPO_SEEK_ENTRY_BYTES, e);
    }
    repo_seek_footer(w->frame_count, raw);
    if (rc == 0)
        rc = put(w, raw, REPO_SEEK_FOOTER_BYTES, e);
    if (rc == 0)
        rc = seal_segment(w, true, e);
    if (rc != 0)
        return rc;
    *out = (struct repo_container_facts){
        .bytes = w->bytes,
        .plain_bytes = w->plain_bytes,
        .frames = w->frame_count,
        .content = w->content,
    };
    return 0;
}

/* ---- reading ---- */

struct repo_reader {
    struct repo_blob *f;
    uint64_t bytes, stream_bytes;
    struct repo_cipher *cipher;
    ZSTD_DCtx *zstd;
    struct repo_frame *frames;
    uint32_t frame_count;
    struct repo_segment segment; /* the one in `plain`, when have_segment */
    bool have_segment;
    uint8_t *frame;
    size_t frame_cap;
    struct repo_sha *hash; /* NULL, or of the object's first `hashed` bytes */
    uint64_t hashed;
    uint8_t header[REPO_CIPHER_HEADER_BYTES];
    uint8_t plain[REPO_SEGMENT_PLAIN_BYTES];
    uint8_t sealed[REPO_SEGMENT_BYTES];
    uint8_t joined[REPO_SEGMENT_PLAIN_BYTES]; /* a frame that two segments hold */
};

void repo_reader_free(struct repo_reader *r)
{
    if (r == NULL)
        return;
    repo_sha_free(r->hash);
    repo_cipher_free(r->cipher);
    (void)ZSTD_freeDCtx(r->zstd);
    free(r->frames);
    free(r->frame);
    free(r);
}

static int load_segment(struct repo_reader *r, uint64_t at, struct err *e)
{
    struct repo_segment s = repo_segment_at(r->bytes, at);
    if (r->have_segment && r->segment.index == s.index)
        return 0;
    r->have_segment = false;
    int rc = repo_blob_read(r->f, s.offset, r->sealed, s.bytes, e);
    if (rc == 0 && r->hash != NULL && s.offset == r->hashed) {
        repo_sha_add(r->hash, bytes_of(r->sealed, s.bytes));
        r->hashed += s.bytes;
    }
    if (rc == 0)
        rc =
            repo_cipher_open(r->cipher, s.index, s.last, bytes_of(r->sealed, s.bytes), r->plain, e);
    if (rc != 0) {
        err_wrap(e, "segment %u at bytes %llu..%llu", s.index, (unsigned long long)s.offset,
                 (unsigned long long)(s.offset + s.bytes - 1));
        return rc;
    }
    r->segment = s;
    r->have_segment = true;
    return 0;
}

/* As much of the stream from `at` as one segment holds; valid until the next call. */
static int stream_view(struct repo_reader *r, uint64_t at, struct bytes *out, struct err *e)
{
    int rc = load_segment(r, at, e);
    if (rc != 0)
        return rc;
    size_t skip = (size_t)(at - r->segment.plain_offset);
    *out = bytes_of(r->plain + skip, r->segment.plain_bytes - skip);
    return 0;
}

static int stream_copy(struct repo_reader *r, uint64_t at, uint8_t *p, size_t n, struct err *e)
{
    while (n != 0) {
        struct bytes view;
        int rc = stream_view(r, at, &view, e);
        if (rc != 0)
            return rc;
        size_t step = view.n < n ? view.n : n;
        memcpy(p, view.p, step);
        p += step;
        at += step;
        n -= step;
    }
    return 0;
}

static int load_table(struct repo_reader *r, struct err *e)
{
    uint8_t footer[REPO_SEEK_FOOTER_BYTES];
    uint8_t *table = NULL;
    if (r->stream_bytes < repo_seek_bytes(0))
        return err_set(e, ERR_FORMAT, "%llu bytes of content: no room for a seek table",
                       (unsigned long long)r->stream_bytes);
    int rc = stream_copy(r, r->stream_bytes - sizeof footer, footer, sizeof footer, e);
    if (rc == 0)
        rc = repo_seek_count(footer, r->stream_bytes, &r->frame_count, e);
    if (rc != 0)
        return rc;
    size_t n = repo_seek_bytes(r->frame_count);
    table = malloc(n);
    r->frames = calloc((size_t)r->frame_count + 1, sizeof *r->frames);
    if (table == NULL || r->frames == NULL)
        rc = no_memory(e);
    if (rc == 0)
        rc = stream_copy(r, r->stream_bytes - n, table, n, e);
    if (rc == 0)
        rc = repo_seek_decode(bytes_of(table, n), r->frame_count, r->stream_bytes, r->frames, e);
    free(table);
    return rc;
}

int repo_reader_new(struct repo_reader **out, struct repo_blob *f, const struct repo_key *key,
                    const char *identity, struct err *e)
{
    struct repo_reader *r = calloc(1, sizeof *r);
    *out = NULL;
    if (r == NULL)
        return no_memory(e);
    r->f = f;
    r->bytes = f->bytes;
    r->zstd = ZSTD_createDCtx();
    int rc = r->zstd == NULL ? no_memory(e) : 0;
    if (rc == 0 &&
        ZSTD_isError(ZSTD_DCtx_setParameter(r->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)))
        rc = err_set(e, ERR_FAILED, "zstd refuses its parameters");
    if (rc == 0)
        rc = repo_segment_plain(f->bytes, &r->stream_bytes, e);
    if (rc == 0)
        rc = repo_blob_read(f, 0, r->header, sizeof r->header, e);
    if (rc == 0)
        rc = repo_cipher_new(&r->cipher, false, key, identity, r->header, e);
    if (rc == 0)
        rc = load_table(r, e);
    if (rc == 0)
        *out = r;
    else
        repo_reader_free(r);
    return rc;
}

uint32_t repo_reader_frames(const struct repo_reader *r)
{
    return r->frame_count;
}

uint64_t repo_reader_position(const struct repo_reader *r, uint32_t frame)
{
    check(frame < r->frame_count);
    const struct repo_frame *f = &r->frames[frame];
    if (frame + 1 == r->frame_count || f->bytes == 0)
        return r->bytes;
    struct repo_segment s = repo_segment_at(r->bytes, f->offset + f->bytes - 1);
    return s.offset + (f->offset + f->bytes - s.plain_offset);
}

/* As much of a frame's bytes from `at` as there is in one piece. zstd decodes a frame without copies when it has all of it, so
 * one that lies in two segments is joined, unless it is as long as a segment. */
static int frame_view(struct repo_reader *r, const struct repo_frame *f, uint64_t at,
                      struct bytes *out, struct err *e)
{
    const size_t left = (size_t)(f->offset + f->bytes - at);
    int rc = stream_view(r, at, out, e);
    if (rc == 0 && out->n < left && at == f->offset && left <= sizeof r->joined) {
        rc = stream_copy(r, at, r->joined, left, e);
        *out = bytes_of(r->joined, left);
    }
    if (rc == 0)
        out->n = out->n < left ? out->n : left;
    return rc;
}

/* The bytes of a frame, wherever its segments lie, through zstd into r->frame. */
static int decode_frame(struct repo_reader *r, const struct repo_frame *f, struct err *e)
{
    ZSTD_outBuffer out = {r->frame, f->plain_bytes, 0};
    uint64_t at = f->offset, end = f->offset + f->bytes;
    size_t left = 1;
    (void)ZSTD_DCtx_reset(r->zstd, ZSTD_reset_session_only);
    while (at < end) {
        struct bytes view;
        int rc = frame_view(r, f, at, &view, e);
        if (rc != 0)
            return rc;
        ZSTD_inBuffer in = {view.p, view.n, 0};
        while (in.pos < in.size) {
            size_t in_before = in.pos, out_before = out.pos;
            left = ZSTD_decompressStream(r->zstd, &out, &in);
            if (ZSTD_isError(left))
                return err_set(e, ERR_FORMAT, "zstd: %s", ZSTD_getErrorName(left));
            if (in.pos == in_before && out.pos == out_before)
                return err_set(e, ERR_FORMAT, "zstd: the frame holds more than its %u bytes",
                               f->plain_bytes);
        }
        at += in.size;
    }
    if (left != 0 || out.pos != f->plain_bytes)
        return err_set(e, ERR_FORMAT, "zstd: the frame gives %zu bytes where %u are expected",
                       out.pos, f->plain_bytes);
    return 0;
}

int repo_reader_frame(struct repo_reader *r, uint32_t frame, struct bytes *out, struct err *e)
{
    check(frame < r->frame_count);
    const struct repo_frame *f = &r->frames[frame];
    if (f->plain_bytes > r->frame_cap) {
        free(r->frame);
        r->frame_cap = 0;
        r->frame = malloc(f->plain_bytes);
        if (r->frame == NULL)
            return no_memory(e);
        r->frame_cap = f->plain_bytes;
    }
    int rc = decode_frame(r, f, e);
    if (rc != 0) {
        struct repo_segment s = repo_segment_at(r->bytes, f->offset);
        err_wrap(e, "frame %u from byte %llu", frame,
                 (unsigned long long)(s.offset + (f->offset - s.plain_offset)));
        return rc;
    }
    *out = bytes_of(r->frame, f->plain_bytes);
    return 0;
}

int repo_reader_hash_begin(struct repo_reader *r, struct err *e)
{
    check(r->hash == NULL);
    int rc = repo_sha_new(&r->hash, e);
    if (rc != 0)
        return rc;
    repo_sha_add(r->hash, bytes_of(r->header, sizeof r->header));
    r->hashed = sizeof r->header;
    return 0;
}

int repo_reader_hash_end(struct repo_reader *r, struct sha256 *out, struct err *e)
{
    while (r->hashed < r->bytes) {
        const uint64_t left = r->bytes - r->hashed;
        const size_t n = left < sizeof r->sealed ? (size_t)left : sizeof r->sealed;
        int rc = repo_blob_read(r->f, r->hashed, r->sealed, n, e);
        if (rc != 0)
            return rc;
        repo_sha_add(r->hash, bytes_of(r->sealed, n));
        r->hashed += n;
    }
    *out = repo_sha_end(r->hash);
    repo_sha_free(r->hash);
    r->hash = NULL;
    return 0;
}

int repo_blob_hash(struct repo_blob *f, struct sha256 *out, struct err *e)
{
    enum { STEP = 256 << 10 };
    struct repo_sha *sha = NULL;
    uint8_t *buf = malloc(STEP);
    int rc = buf == NULL ? no_memory(e) : repo_sha_new(&sha, e);
    for (uint64_t at = 0; rc == 0 && at < f->bytes;) {
        size_t n = f->bytes - at < STEP ? (size_t)(f->bytes - at) : STEP;
        rc = repo_blob_read(f, at, buf, n, e);
        if (rc == 0)
            repo_sha_add(sha, bytes_of(buf, n));
        at += n;
    }
    if (rc == 0)
        *out = repo_sha_end(sha);
    repo_sha_free(sha);
    free(buf);
    return rc;
}

int repo_reader_facts(struct repo_blob *f, const struct repo_key *key, const char *identity,
                      repo_frame_fn each, void *arg, struct repo_container_facts *out,
                      struct err *e)
{
    struct repo_reader *r = NULL;
    struct repo_sha *sha = NULL;
    *out = (struct repo_container_facts){.bytes = f->bytes};
    int rc = repo_sha_new(&sha, e);
    if (rc == 0)
        rc = repo_reader_new(&r, f, key, identity, e);
    if (rc == 0)
        rc = repo_reader_hash_begin(r, e);
    for (uint32_t i = 0; rc == 0 && i < r->frame_count; i++) {
        struct bytes frame;
        rc = repo_reader_frame(r, i, &frame, e);
        if (rc != 0)
            break;
        repo_sha_add(sha, frame);
        out->content = content_with(out->content, &frame, 1);
        out->plain_bytes += frame.n;
        rc = each != NULL ? each(arg, frame, e) : 0;
    }
    if (rc == 0)
        rc = repo_reader_hash_end(r, &out->sha256, e);
    if (rc == 0) {
        out->frames = r->frame_count;
        out->plain_sha256 = repo_sha_end(sha);
    }
    repo_reader_free(r);
    repo_sha_free(sha);
    return rc;
}
