#include "repository/core/seektable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

enum {
    FRAMES = 3,
    TABLE = REPO_SEEK_HEADER_BYTES + FRAMES * REPO_SEEK_ENTRY_BYTES + REPO_SEEK_FOOTER_BYTES
};

static const struct repo_frame frames[FRAMES] = {
    {0, 100, 131072}, {100, 7, 20}, {107, 5000, REPO_FRAME_MAX_BYTES}};
static const uint64_t stream_bytes = 5107 + TABLE;

static void encode(uint8_t out[TABLE])
{
    repo_seek_header(FRAMES, out);
    for (size_t i = 0; i < FRAMES; i++)
        repo_seek_entry(&frames[i], out + REPO_SEEK_HEADER_BYTES + i * REPO_SEEK_ENTRY_BYTES);
    repo_seek_footer(FRAMES, out + TABLE - REPO_SEEK_FOOTER_BYTES);
}

static int decode(const uint8_t raw[TABLE], uint64_t stream, struct repo_frame *out, struct err *e)
{
    uint32_t n = 0;
    int rc = repo_seek_count(raw + TABLE - REPO_SEEK_FOOTER_BYTES, stream, &n, e);
    if (rc == 0 && n != FRAMES)
        rc = ERR_FORMAT;
    return rc == 0 ? repo_seek_decode(bytes_of(raw, TABLE), n, stream, out, e) : rc;
}

static void a_table_comes_back(void **state)
{
    (void)state;
    /* zstd_seekable_compression_format.md: magic, size, entries, footer of count, descriptor and magic. */
    static const uint8_t begin[] = {0x5e, 0x2a, 0x4d, 0x18, 33, 0, 0, 0, 100, 0, 0, 0, 0, 0, 2, 0};
    static const uint8_t end[] = {3, 0, 0, 0, 0, 0xb1, 0xea, 0x92, 0x8f};
    uint8_t raw[TABLE];
    struct repo_frame out[FRAMES];
    struct err e = ERR_NONE;
    encode(raw);
    assert_int_equal(repo_seek_bytes(FRAMES), TABLE);
    assert_memory_equal(raw, begin, sizeof begin);
    assert_memory_equal(raw + TABLE - sizeof end, end, sizeof end);
    assert_int_equal(decode(raw, stream_bytes, out, &e), 0);
    assert_memory_equal(out, frames, sizeof frames);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    uint8_t raw[TABLE];
    struct repo_frame out[FRAMES];
    encode(raw);
    assert_int_equal(decode(raw, stream_bytes + 1, out, NULL), ERR_FORMAT);
    assert_int_equal(decode(raw, stream_bytes - 1, out, NULL), ERR_FORMAT);
    assert_int_equal(decode(raw, TABLE - 1, out, NULL), ERR_FORMAT);
    /* Every flipped bit but those of decompressed sizes within the limit, which the frames themselves refute. */
    for (size_t bit = 0; bit < (size_t)TABLE * 8; bit++) {
        size_t at = bit / 8;
        bool plain_size = at >= REPO_SEEK_HEADER_BYTES && at < TABLE - REPO_SEEK_FOOTER_BYTES &&
                          (at - REPO_SEEK_HEADER_BYTES) % REPO_SEEK_ENTRY_BYTES >= 4;
        raw[at] ^= (uint8_t)(1u << (bit % 8));
        int rc = decode(raw, stream_bytes, out, NULL);
        assert_true(rc == ERR_FORMAT || (rc == 0 && plain_size));
        for (size_t i = 0; rc == 0 && i < FRAMES; i++)
            assert_true(out[i].plain_bytes <= REPO_FRAME_MAX_BYTES);
        raw[at] ^= (uint8_t)(1u << (bit % 8));
    }
    /* A count that would ask for gigabytes. */
    uint8_t footer[REPO_SEEK_FOOTER_BYTES];
    uint32_t n;
    repo_seek_footer(UINT32_MAX, footer);
    assert_int_equal(repo_seek_count(footer, UINT64_MAX, &n, NULL), ERR_FORMAT);
    repo_seek_footer(1000, footer);
    assert_int_equal(repo_seek_count(footer, 8000, &n, NULL), ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_comes_back),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
