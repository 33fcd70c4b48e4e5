/* zstd for frame bodies, safe against bombs.
 *
 * The plain size stands in front of the zstd frame and again in the zstd frame's own header. Both must agree, obey the limit, and
 * be what comes out: so the whole body is decompressed in one shot into a buffer of exactly that size, and zstd never
 * allocates a window by the wish of the sender. */
#include "replication/io/packer.h"

#include "store/core/check.h"

enum {
    SIZE_BYTES = 4,
    KEEP_BYTES = 1 << 20, /* buffers above this are given back after use */
};

void packer_deinit(struct packer *p)
{
    (void)ZSTD_freeCCtx(p->compressor);
    (void)ZSTD_freeDCtx(p->decompressor);
    buffer_deinit(&p->packed);
    buffer_deinit(&p->plain);
    *p = (struct packer){0};
}

bool packer_tries(struct packer_habit *h, size_t bytes)
{
    if (h->rest == 0)
        return true;
    h->rest -= bytes < h->rest ? bytes : h->rest;
    return false;
}

void packer_learns(struct packer_habit *h, size_t bytes, size_t packed)
{
    bool dull = packed == 0 || packed > bytes - bytes / 8;
    h->dull = dull ? h->dull + 1 : 0;
    if (h->dull < PACKER_DULL) {
        h->rest = 0;
        return;
    }
    size_t skip = 1;
    for (uint32_t i = PACKER_DULL; i < h->dull && skip < PACKER_SKIP_MAX; i++)
        skip *= 2;
    h->rest = bytes * skip;
    if (skip == PACKER_SKIP_MAX)
        h->dull--; /* it stays so: no counter that overflows in years */
}

static bool compressor_begin(struct packer *p, int level, size_t total)
{
    if (p->compressor == NULL)
        p->compressor = ZSTD_createCCtx();
    if (p->compressor == NULL)
        return false;
    (void)ZSTD_CCtx_reset(p->compressor, ZSTD_reset_session_only);
    return !ZSTD_isError(ZSTD_CCtx_setParameter(p->compressor, ZSTD_c_compressionLevel, level)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(p->compressor, ZSTD_c_contentSizeFlag, 1)) &&
           !ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(p->compressor, total));
}

int packer_pack(struct packer *p, int level, const struct bytes *pieces, size_t n,
                struct bytes *out, struct err *e)
{
    *out = bytes_of(NULL, 0);
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += pieces[i].n;
    check(total >= SIZE_BYTES && total <= UINT32_MAX);
    buffer_trim(&p->packed, KEEP_BYTES);
    /* No more room than makes it worth while: what does not fit goes as it is. */
    if (!buffer_reserve(&p->packed, total) || !compressor_begin(p, level, total))
        return err_set(e, ERR_NO_MEMORY, "no memory to compress %zu bytes", total);
    put_le32(p->packed.p, (uint32_t)total);
    ZSTD_outBuffer to = {p->packed.p + SIZE_BYTES, total - SIZE_BYTES, 0};
    size_t left = 1;
    for (size_t i = 0; i < n; i++) {
        ZSTD_inBuffer from = {pieces[i].p, pieces[i].n, 0};
        ZSTD_EndDirective mode = i + 1 == n ? ZSTD_e_end : ZSTD_e_continue;
        do {
            left = ZSTD_compressStream2(p->compressor, &to, &from, mode);
            if (ZSTD_isError(left))
                return err_set(e, ERR_NO_MEMORY, "zstd: %s", ZSTD_getErrorName(left));
        } while (to.pos < to.size && (mode == ZSTD_e_end ? left != 0 : from.pos < from.size));
        if (to.pos == to.size)
            return 0;
    }
    if (left == 0)
        *out = bytes_of(p->packed.p, SIZE_BYTES + to.pos);
    return 0;
}

int packer_unpack(struct packer *p, struct bytes packed, uint32_t limit, struct bytes *out,
                  struct err *e)
{
    if (packed.n < SIZE_BYTES)
        return err_set(e, ERR_FORMAT, "compressed body of %zu bytes is too short", packed.n);
    uint32_t plain = get_le32(packed.p);
    const uint8_t *frame = packed.p + SIZE_BYTES;
    size_t frame_bytes = packed.n - SIZE_BYTES;
    if (plain > limit)
        return err_set(e, ERR_LIMIT,
                       "body of %u bytes when decompressed, at most %u are allowed here", plain,
                       limit);
    unsigned long long claimed = ZSTD_getFrameContentSize(frame, frame_bytes);
    if (claimed != plain) /* also when it is unknown or no zstd frame at all */
        return err_set(e, ERR_FORMAT, "compressed body does not hold the %u bytes that it claims",
                       plain);
    if (ZSTD_findFrameCompressedSize(frame, frame_bytes) != frame_bytes)
        return err_set(e, ERR_FORMAT, "compressed body is not exactly one zstd frame");
    if (p->decompressor == NULL)
        p->decompressor = ZSTD_createDCtx();
    buffer_trim(&p->plain, KEEP_BYTES);
    if (p->decompressor == NULL || !buffer_reserve(&p->plain, plain))
        return err_set(e, ERR_NO_MEMORY, "no memory to decompress %u bytes", plain);
    size_t got = ZSTD_decompressDCtx(p->decompressor, p->plain.p, plain, frame, frame_bytes);
    if (ZSTD_isError(got) || got != plain)
        return err_set(e, ERR_FORMAT, "compressed body: %s",
                       ZSTD_isError(got) ? ZSTD_getErrorName(got) : "it is shorter than it claims");
    *out = bytes_of(p->plain.p, plain);
    return 0;
}
