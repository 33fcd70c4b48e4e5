/* Containers of every awkward size, cut and exchanged, and containers that were sealed with the right key by a wrong program: the
 * reader believes neither the seek table nor the frames because they are authentic. */
#include "repository/io/container.h"
#include "tests/unit/repository/fixture.h"

#include <zstd.h>

static const struct repo_key key = {{4, 5, 6}};

struct box {
    struct place place;
    struct repo_backend *backend;
    struct repo_temp temp;
    struct repo_blob blob;
    uint8_t *noise;
};
enum { NOISE_BYTES = 400 << 10 };

/* What was written, as one that has so many bytes. */
static struct repo_blob *blob_of(struct box *b, uint64_t bytes)
{
    b->blob = (struct repo_blob){.fd = b->temp.fd, .bytes = bytes};
    return &b->blob;
}

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    assert_non_null(b);
    place_make(&b->place);
    assert_int_equal(repo_backend_open(b->place.dir, true, true, &b->backend, NULL), 0);
    b->temp = (struct repo_temp)REPO_TEMP_NONE;
    b->noise = malloc(NOISE_BYTES);
    assert_non_null(b->noise);
    struct feed f = {0};
    for (size_t i = 0; i < NOISE_BYTES; i++)
        b->noise[i] = (uint8_t)(feed_random(&f) >> 56);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    repo_temp_drop(&b->temp);
    repo_backend_close(b->backend);
    place_drop(&b->place);
    free(b->noise);
    free(b);
    return 0;
}

/* An object of the given frames, each cut out of the noise from its beginning. */
static struct repo_container_facts write_frames(struct box *b, const size_t *sizes, size_t n)
{
    struct repo_container_facts facts;
    struct repo_writer *w;
    struct err e = ERR_NONE;
    repo_temp_drop(&b->temp);
    assert_ok(repo_temp_create(&b->temp, b->backend, "packs/a", &e), e);
    assert_ok(repo_writer_new(&w, &b->temp, &key, "a", &e), e);
    for (size_t i = 0; i < n; i++) {
        size_t head = sizes[i] / 3;
        struct bytes pieces[] = {bytes_of(b->noise, head), bytes_of(NULL, 0),
                                 bytes_of(b->noise + head, sizes[i] - head)};
        assert_ok(repo_writer_frame(w, pieces, 3, &e), e);
    }
    assert_ok(repo_writer_end(w, &facts, &e), e);
    repo_writer_free(w);
    assert_int_equal(lseek(b->temp.fd, 0, SEEK_END), facts.bytes);
    return facts;
}

static struct sha256 hash_of_frames(struct box *b, const size_t *sizes, size_t n)
{
    struct repo_sha *sha;
    assert_int_equal(repo_sha_new(&sha, NULL), 0);
    for (size_t i = 0; i < n; i++)
        repo_sha_add(sha, bytes_of(b->noise, sizes[i]));
    struct sha256 all = repo_sha_end(sha);
    repo_sha_free(sha);
    return all;
}

static void reads_back(struct box *b, const struct repo_container_facts *facts, const size_t *sizes,
                       size_t n)
{
    struct repo_container_facts again;
    struct repo_reader *r;
    struct err e = ERR_NONE;
    assert_ok(repo_reader_facts(blob_of(b, facts->bytes), &key, "a", NULL, NULL, &again, &e), e);
    assert_int_equal(again.bytes, facts->bytes);
    assert_int_equal(again.plain_bytes, facts->plain_bytes);
    assert_int_equal(again.frames, n);
    assert_int_equal(again.content.lo, facts->content.lo);
    assert_int_equal(again.content.hi, facts->content.hi);
    struct sha256 hash, plain = hash_of_frames(b, sizes, n);
    assert_ok(repo_blob_hash(blob_of(b, facts->bytes), &hash, &e), e);
    assert_true(sha256_equal(&again.sha256, &hash));
    assert_true(sha256_equal(&again.plain_sha256, &plain));
    assert_ok(repo_reader_new(&r, blob_of(b, facts->bytes), &key, "a", &e), e);
    assert_int_equal(repo_reader_frames(r), n);
    for (size_t i = n; i-- > 0;) { /* in any order */
        struct bytes frame;
        assert_ok(repo_reader_frame(r, (uint32_t)i, &frame, &e), e);
        assert_true(bytes_equal(frame, bytes_of(b->noise, sizes[i])));
        uint64_t at = repo_reader_position(r, (uint32_t)i);
        assert_true(i + 1 == n ? at == facts->bytes
                               : at <= repo_reader_position(r, (uint32_t)i + 1));
    }
    repo_reader_free(r);
}

static int read_all(struct box *b, uint64_t bytes, struct err *e)
{
    struct repo_container_facts facts;
    *e = (struct err)ERR_NONE;
    return repo_reader_facts(blob_of(b, bytes), &key, "a", NULL, NULL, &facts, e);
}

/* ---- sizes ---- */

static void frames_come_back_whatever_segments_they_cross(void **state)
{
    struct box *b = *state;
    static const size_t sizes[] = {0, 1, 65000, 0, 200000, 3, NOISE_BYTES, 65480};
    for (size_t n = 0; n <= sizeof sizes / sizeof sizes[0]; n++) {
        struct repo_container_facts facts = write_frames(b, sizes, n);
        reads_back(b, &facts, sizes, n);
    }
    static const size_t other[] = {1, 0, 65000};
    const struct digest here = write_frames(b, sizes, 3).content;
    const struct digest there = write_frames(b, other, 3).content;
    assert_true(here.lo != there.lo || here.hi != there.hi); /* the order counts */
}

/* Bytes of an object of `dull` frames of noise and then `more` of a text. */
static uint64_t bytes_of_frames(struct box *b, size_t dull, size_t more)
{
    enum { FRAME = 64 << 10 };
    struct repo_container_facts facts;
    struct repo_writer *w;
    struct err e = ERR_NONE;
    char *text = malloc(FRAME + 64);
    size_t n = 0;
    struct feed f = {0};
    assert_non_null(text);
    while (n < FRAME)
        n += (size_t)snprintf(text + n, 64, "{\"passport\":%u,\"office\":\"Graz\"}\n",
                              (unsigned)(feed_random(&f) >> 40));
    repo_temp_drop(&b->temp);
    assert_ok(repo_temp_create(&b->temp, b->backend, "packs/a", &e), e);
    assert_ok(repo_writer_new(&w, &b->temp, &key, "a", &e), e);
    for (size_t i = 0; i < dull + more; i++) {
        struct bytes frame = bytes_of(i < dull ? (const void *)b->noise : text, FRAME);
        assert_ok(repo_writer_frame(w, &frame, 1, &e), e);
    }
    assert_ok(repo_writer_end(w, &facts, &e), e);
    repo_writer_free(w);
    free(text);
    return facts.bytes;
}

/* What does not compress is hardly tried; what comes behind it is, but for the first frame. */
static void text_behind_noise_is_compressed_as_text_alone(void **state)
{
    struct box *b = *state;
    const uint64_t noise = bytes_of_frames(b, 5, 0), text = bytes_of_frames(b, 0, 9);
    const uint64_t one = text / 9, both = bytes_of_frames(b, 5, 9);
    assert_in_range(both, noise + text - one, noise + text + one);
}

/* Its hash, however much of it was read, and in which order. */
static void an_object_is_hashed_while_it_is_read(void **state)
{
    struct box *b = *state;
    static const size_t sizes[] = {1, 65000, 0, 200000, 3, 30000, 40000};
    enum { FRAMES = sizeof sizes / sizeof sizes[0] };
    for (size_t n = 0; n <= FRAMES; n++) {
        struct repo_container_facts facts = write_frames(b, sizes, n);
        for (size_t read = 0; read <= n; read++) {
            struct repo_reader *r;
            struct sha256 hash, whole;
            struct bytes frame;
            struct err e = ERR_NONE;
            assert_ok(repo_reader_new(&r, blob_of(b, facts.bytes), &key, "a", &e), e);
            assert_ok(repo_reader_hash_begin(r, &e), e);
            if (n > 0) /* one out of turn */
                assert_ok(repo_reader_frame(r, (uint32_t)n / 2, &frame, &e), e);
            for (size_t i = 0; i < read; i++)
                assert_ok(repo_reader_frame(r, (uint32_t)i, &frame, &e), e);
            assert_ok(repo_reader_hash_end(r, &hash, &e), e);
            assert_ok(repo_blob_hash(blob_of(b, facts.bytes), &whole, &e), e);
            assert_true(sha256_equal(&hash, &whole));
            repo_reader_free(r);
        }
    }
}

/* I1: whole segments are sealed when more comes, so an object may end exactly at the end of one. */
static void no_object_ends_in_an_empty_segment(void **state)
{
    struct box *b = *state;
    bool exact[2] = {false, false};
    for (size_t n = 65400; n < 65500; n++) {
        struct repo_container_facts facts = write_frames(b, &n, 1);
        uint64_t over = facts.bytes % REPO_SEGMENT_BYTES;
        assert_true(over == 0 || over > REPO_TAG_BYTES);
        if (over != 0 && over != REPO_TAG_BYTES + 1)
            continue;
        exact[over != 0] = true;
        reads_back(b, &facts, &n, 1);
    }
    assert_true(exact[0] && exact[1]);
}

/* ---- damage ---- */

static void a_cut_object_is_found_wherever_it_is_cut(void **state)
{
    struct box *b = *state;
    static const size_t sizes[] = {100000, 100000};
    struct repo_container_facts facts = write_frames(b, sizes, 2);
    const uint64_t cuts[] = {0,
                             1,
                             REPO_CIPHER_HEADER_BYTES,
                             REPO_CIPHER_HEADER_BYTES + REPO_TAG_BYTES - 1,
                             REPO_CIPHER_HEADER_BYTES + REPO_TAG_BYTES,
                             REPO_SEGMENT_BYTES - 1,
                             REPO_SEGMENT_BYTES,
                             REPO_SEGMENT_BYTES + REPO_TAG_BYTES,
                             2 * REPO_SEGMENT_BYTES,
                             facts.bytes - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        struct err e;
        int rc = read_all(b, cuts[i], &e);
        assert_true(rc == ERR_INTEGRITY || rc == ERR_FORMAT);
        assert_true(e.text[0] != '\0');
    }
    struct err e;
    assert_int_equal(read_all(b, facts.bytes, &e), 0);
    assert_int_equal(ftruncate(b->temp.fd, (off_t)facts.bytes - 1), 0); /* while it is read */
    assert_int_equal(read_all(b, facts.bytes, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "1 bytes too early"));
}

static void segments_that_change_places_are_found_and_named(void **state)
{
    struct box *b = *state;
    static uint8_t a[REPO_SEGMENT_BYTES], c[REPO_SEGMENT_BYTES];
    const size_t size = 4 * REPO_SEGMENT_BYTES;
    struct repo_container_facts facts = write_frames(b, &size, 1);
    assert_int_equal(pread(b->temp.fd, a, sizeof a, REPO_SEGMENT_BYTES), sizeof a);
    assert_int_equal(pread(b->temp.fd, c, sizeof c, 2 * REPO_SEGMENT_BYTES), sizeof c);
    assert_int_equal(pwrite(b->temp.fd, a, sizeof a, 2 * REPO_SEGMENT_BYTES), sizeof a);
    assert_int_equal(pwrite(b->temp.fd, c, sizeof c, REPO_SEGMENT_BYTES), sizeof c);
    struct err e;
    assert_int_equal(read_all(b, facts.bytes, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "frame 0 from byte 40: segment 1 at bytes 65536..131071: "));
}

static void after_damage_the_frames_beside_it_are_still_read(void **state)
{
    struct box *b = *state;
    static const size_t sizes[] = {1000, 3 * REPO_SEGMENT_BYTES, 2000};
    struct repo_container_facts facts = write_frames(b, sizes, 3);
    struct repo_reader *r;
    struct bytes frame;
    struct err e = ERR_NONE;
    assert_int_equal(pwrite(b->temp.fd, "damage", 6, 2 * REPO_SEGMENT_BYTES), 6);
    assert_ok(repo_reader_new(&r, blob_of(b, facts.bytes), &key, "a", &e), e);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(repo_reader_frame(r, 1, &frame, &e), ERR_INTEGRITY);
        assert_ok(repo_reader_frame(r, 0, &frame, &e), e);
        assert_true(bytes_equal(frame, bytes_of(b->noise, sizes[0])));
        assert_int_equal(repo_reader_frame(r, 1, &frame, &e), ERR_INTEGRITY);
        assert_ok(repo_reader_frame(r, 2, &frame, &e), e);
        assert_true(bytes_equal(frame, bytes_of(b->noise, sizes[2])));
    }
    repo_reader_free(r);
}

static void after_a_segment_that_does_not_open_the_one_before_is_read_anew(void **state)
{
    struct box *b = *state;
    static const size_t sizes[] = {60000, 30000, 60000};
    struct repo_container_facts facts = write_frames(b, sizes, 3);
    struct repo_reader *r;
    struct bytes frame;
    struct err e = ERR_NONE;
    assert_int_equal(pwrite(b->temp.fd, "damage", 6, REPO_SEGMENT_BYTES), 6);
    assert_ok(repo_reader_new(&r, blob_of(b, facts.bytes), &key, "a", &e), e);
    assert_ok(repo_reader_frame(r, 0, &frame, &e), e);
    assert_int_equal(repo_reader_frame(r, 1, &frame, &e), ERR_INTEGRITY);
    assert_ok(repo_reader_frame(r, 0, &frame, &e), e);
    assert_true(bytes_equal(frame, bytes_of(b->noise, sizes[0])));
    repo_reader_free(r);
}

static void an_object_does_not_open_under_another_name_or_key(void **state)
{
    struct box *b = *state;
    const size_t size = 100;
    struct repo_container_facts facts = write_frames(b, &size, 1);
    struct repo_key other = key;
    struct repo_reader *r;
    other.b[9] ^= 1;
    assert_int_equal(repo_reader_new(&r, blob_of(b, facts.bytes), &other, "a", NULL),
                     ERR_INTEGRITY);
    assert_null(r);
    assert_int_equal(repo_reader_new(&r, blob_of(b, facts.bytes), &key, "b", NULL), ERR_INTEGRITY);
    assert_null(r);
}

static void a_full_disk_ends_the_object(void **state)
{
    struct box *b = *state;
    struct repo_writer *w;
    struct err e = ERR_NONE;
    struct repo_temp full = REPO_TEMP_NONE;
    full.fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(full.fd >= 0);
    assert_int_equal(repo_writer_new(&w, &full, &key, "a", &e), ERR_NO_SPACE);
    assert_null(w);
    assert_ok(repo_temp_create(&b->temp, b->backend, "packs/a", &e), e);
    assert_ok(repo_writer_new(&w, &b->temp, &key, "a", &e), e);
    assert_int_equal(dup2(full.fd, b->temp.fd), b->temp.fd);
    struct bytes piece = bytes_of(b->noise, NOISE_BYTES);
    assert_int_equal(repo_writer_frame(w, &piece, 1, &e), ERR_NO_SPACE);
    struct repo_container_facts facts;
    assert_int_equal(repo_writer_end(w, &facts, &e), ERR_NO_SPACE);
    repo_writer_free(w);
    (void)close(full.fd);
}

/* ---- sealed by a wrong program ---- */

struct forged {
    uint8_t stream[4096];
    struct writer w;
    struct repo_frame frame; /* what the seek table says */
};

/* Seals the stream and what is said of its only frame; gives what the reader finds wrong. */
static int found(struct box *b, struct forged *f, bool with_table, struct err *e)
{
    uint8_t header[REPO_CIPHER_HEADER_BYTES], sealed[4096 + REPO_TAG_BYTES], raw[16];
    struct repo_cipher *c;
    if (with_table) {
        repo_seek_header(1, raw);
        write_bytes(&f->w, bytes_of(raw, REPO_SEEK_HEADER_BYTES));
        repo_seek_entry(&f->frame, raw);
        write_bytes(&f->w, bytes_of(raw, REPO_SEEK_ENTRY_BYTES));
        repo_seek_footer(1, raw);
        write_bytes(&f->w, bytes_of(raw, REPO_SEEK_FOOTER_BYTES));
    }
    assert_false(f->w.bad);
    *e = (struct err)ERR_NONE;
    assert_ok(repo_cipher_new(&c, true, &key, "a", header, e), *e);
    assert_ok(repo_cipher_seal(c, 0, true, bytes_of(f->stream, f->w.at), sealed, e), *e);
    repo_cipher_free(c);
    repo_temp_drop(&b->temp);
    assert_ok(repo_temp_create(&b->temp, b->backend, "packs/a", e), *e);
    assert_ok(repo_temp_write(&b->temp, header, sizeof header, e), *e);
    assert_ok(repo_temp_write(&b->temp, sealed, f->w.at + REPO_TAG_BYTES, e), *e);
    return read_all(b, sizeof header + f->w.at + REPO_TAG_BYTES, e);
}

/* A frame of n bytes of noise, told as `said` bytes. */
static void forge(struct box *b, struct forged *f, size_t n, uint32_t said)
{
    *f = (struct forged){.w = {NULL, 0, 0, false}};
    f->w = writer_of(f->stream, sizeof f->stream);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    (void)ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    size_t z = ZSTD_compress2(c, f->stream, sizeof f->stream, b->noise, n);
    assert_false(ZSTD_isError(z));
    (void)ZSTD_freeCCtx(c);
    f->w.at = z;
    f->frame = (struct repo_frame){0, (uint32_t)z, said};
}

static void refuses(struct box *b, struct forged *f, bool with_table, const char *why)
{
    struct err e;
    assert_int_equal(found(b, f, with_table, &e), ERR_FORMAT);
    if (strstr(e.text, why) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, why);
}

static void authentic_is_not_yet_right(void **state)
{
    struct box *b = *state;
    struct forged f;
    struct err e;
    forge(b, &f, 1000, 1000);
    assert_ok(found(b, &f, true, &e), e);
    forge(b, &f, 1000, 999);
    refuses(b, &f, true, "frame 0 from byte 40: zstd: the frame holds more than its 999 bytes");
    forge(b, &f, 1000, 1001);
    refuses(b, &f, true, "zstd: the frame gives 1000 bytes where 1001 are expected");
    forge(b, &f, 1000, 1000);
    f.stream[0] ^= 1;
    refuses(b, &f, true, "frame 0 from byte 40: zstd: ");
    forge(b, &f, 1000, 1000);
    f.w.at = --f.frame.bytes;
    refuses(b, &f, true, "zstd: the frame gives 1000 bytes where 1000 are"); /* no checksum */
    forge(b, &f, 1000, 1000);
    refuses(b, &f, false, "");
    f.w.at = 16;
    refuses(b, &f, false, "16 bytes of content: no room for a seek table");
    f.w.at = 0;
    refuses(b, &f, false, "0 bytes of content");
}

/* RFC 8878, 3.1.1: magic, descriptor 0 (window by descriptor, no size), then a raw block that is the last. */
static void the_window_of_a_frame_is_bounded(void **state)
{
    struct box *b = *state;
    for (unsigned log = 23; log <= 24; log++) {
        struct forged f = {.w = {NULL, 0, 0, false}};
        struct err e;
        f.w = writer_of(f.stream, sizeof f.stream);
        write_u32(&f.w, ZSTD_MAGICNUMBER);
        write_u8(&f.w, 0);
        write_u8(&f.w, (uint8_t)((log - 10) << 3));
        write_u8(&f.w, 8 << 3 | 1);
        write_u16(&f.w, 0);
        write_bytes(&f.w, bytes_of("passport", 8));
        f.frame = (struct repo_frame){0, (uint32_t)f.w.at, 8};
        int rc = found(b, &f, true, &e);
        assert_int_equal(rc, log == 23 ? 0 : ERR_FORMAT);
        assert_true(rc == 0 || strstr(e.text, "too much memory") != NULL);
    }
}

int main(void)
{
#define in_a_box(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        in_a_box(frames_come_back_whatever_segments_they_cross),
        in_a_box(text_behind_noise_is_compressed_as_text_alone),
        in_a_box(an_object_is_hashed_while_it_is_read),
        in_a_box(no_object_ends_in_an_empty_segment),
        in_a_box(a_cut_object_is_found_wherever_it_is_cut),
        in_a_box(segments_that_change_places_are_found_and_named),
        in_a_box(after_damage_the_frames_beside_it_are_still_read),
        in_a_box(after_a_segment_that_does_not_open_the_one_before_is_read_anew),
        in_a_box(an_object_does_not_open_under_another_name_or_key),
        in_a_box(a_full_disk_ends_the_object),
        in_a_box(authentic_is_not_yet_right),
        in_a_box(the_window_of_a_frame_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
