/* What a log that was damaged on disk says and does when it is opened: torn tails are cut, damage
 * to what was durable is reported and nothing is changed, damage below the checkpoint is passed
 * over. */
#include "log_util.h"

#include "store/core/hash.h"

static struct fixture fx;
static struct dir_image image;

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    image.n = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    image_free(&image);
    util_free(&fx);
    return 0;
}

enum harm { HARM_ZERO, HARM_GARBLE, HARM_ONE_BIT, HARM_KINDS };

static void harm(uint8_t *p, size_t n, enum harm how)
{
    if (how == HARM_ONE_BIT)
        p[n < 100 ? 0 : 99] ^= 4;
    for (size_t i = 0; i < n && how != HARM_ONE_BIT; i++)
        p[i] = how == HARM_ZERO ? 0 : (uint8_t)(p[i] ^ (uint8_t)(i * 7 + 1));
}

/* Four batches in one segment, as a crash would leave them: blocks 1, 2..4, 5, 6..9. Lsn 1..4,
 * 5, 6..8, 9..11. */
enum { LAST_BATCH = 6, LAST_BLOCK = 9, LAST_LSN = 11, BEFORE_LAST = 8 };

static void four_batches(void)
{
    util_open(&fx, 0);
    util_append(&fx, 4, 400);
    util_append(&fx, 1, 12000);
    util_append(&fx, 3, 100);
    util_append(&fx, 3, 5200);
    image_take(&image, fx.dir);
    assert_int_equal(image.n, 1);
    util_close(&fx);
}

/* Open the harmed image; the log must be [1..last] and take new entries. The image is left as it
 * was. */
static void expect_cut(uint64_t last, bool told)
{
    struct log_status s;
    image_put(&image, fx.dir);
    util_open(&fx, 0);
    util_expect(&fx, 1, last);
    log_status(fx.log, &s);
    assert_int_equal(s.cut_bytes > 0, told);
    assert_int_equal(strstr(s.note, "never acknowledged") != NULL, told);
    /* Another entry takes the place of the one that was cut. */
    struct chain *c = &fx.chain;
    const uint64_t end = c->last, next = last + 1;
    uint8_t *raw = c->raw[next];
    const size_t bytes = c->bytes[next];
    const struct entry_position at = c->at[next];
    c->raw[next] = NULL;
    c->last = last;
    c->term++;
    util_append(&fx, 1, 77);
    util_close(&fx);
    util_open(&fx, 0);
    util_expect(&fx, 1, next);
    util_close(&fx);
    free(c->raw[next]);
    c->raw[next] = raw;
    c->bytes[next] = bytes;
    c->at[next] = at;
    c->last = end;
    c->term--;
}

static void expect_refused(uint64_t start, int code, const char *text)
{
    struct err e = ERR_NONE;
    struct dir_image after = {.n = 0};
    image_put(&image, fx.dir);
    int rc = util_try_open(&fx, start, &e);
    if (rc == 0)
        (void)log_close(fx.log, NULL);
    assert_int_equal(rc, code);
    if (strstr(e.text, text) == NULL)
        fail_msg("\"%s\" has no \"%s\"", e.text, text);
    assert_non_null(strstr(e.text, "Nothing was changed"));
    image_take(&after, fx.dir);
    assert_true(image_equal(&image, &after));
    image_free(&after);
}

static void a_torn_last_batch_is_cut(void **state)
{
    (void)state;
    four_batches();
    expect_cut(LAST_LSN, false); /* unharmed */
    uint8_t *p = image.v[0].p, saved[(LAST_BLOCK - LAST_BATCH + 1) * 4096];
    const size_t begin = LAST_BATCH * 4096;
    memcpy(saved, p + begin, sizeof saved);
    for (size_t from = LAST_BATCH; from <= LAST_BLOCK; from++)
        for (int how = 0; how < HARM_KINDS; how++) {
            harm(p + from * 4096, (LAST_BLOCK + 1 - from) * 4096, (enum harm)how);
            expect_cut(BEFORE_LAST, from > LAST_BATCH || (how == HARM_ONE_BIT));
            memcpy(p + begin, saved, sizeof saved);
        }
    /* The file itself is cut short, on a block and off one. */
    const size_t whole = image.v[0].n;
    for (size_t n = begin - 96; n < begin + 15000; n += 1500) {
        image.v[0].n = n;
        expect_cut(BEFORE_LAST, n > begin + 64);
    }
    image.v[0].n = whole;
}

static void each_harmed_block_before_the_last_batch_is_reported(void **state)
{
    (void)state;
    four_batches();
    uint8_t *p = image.v[0].p, saved[4096];
    for (size_t block = 0; block < LAST_BATCH; block++)
        for (int how = 0; how < HARM_KINDS; how++) {
            char place[128];
            const unsigned batch = block >= 5 ? 5 : block >= 2 ? 2 : block == 1 ? 1 : 0;
            memcpy(saved, p + block * 4096, 4096);
            harm(p + block * 4096, 4096, (enum harm)how);
            (void)snprintf(place, sizeof place, "%s: byte %u, ", image.v[0].name, batch * 4096);
            expect_refused(0, ERR_INTEGRITY, place);
            memcpy(p + block * 4096, saved, 4096);
        }
    expect_cut(LAST_LSN, false);
}

/* After a pause or a close the last batch has its proof, too. */
static void the_last_batch_of_a_quiet_log_is_not_cut(void **state)
{
    (void)state;
    for (int pause = 0; pause < 2; pause++) {
        fx.seam.idle_ms = pause == 1 ? 5 : UTIL_NEVER_MS;
        util_open(&fx, fx.chain.last);
        util_append(&fx, 3, 1000);
        if (pause == 1)
            (void)usleep(200000);
        else
            util_close(&fx);
        image_take(&image, fx.dir);
        if (pause == 1)
            util_close(&fx);
        struct file_image *f = &image.v[image.n - 1];
        f->p[4096 + 50] ^= 1;
        expect_refused(0, ERR_INTEGRITY, "says that it was durable");
        f->p[4096 + 50] ^= 1;
        image_put(&image, fx.dir);
        image_free(&image);
    }
    util_open(&fx, 0);
    util_expect(&fx, 1, 6);
    util_close(&fx);
}

/* The end of an older segment is proven by the header of the next. */
static void the_end_of_an_older_segment_is_not_cut(void **state)
{
    (void)state;
    four_batches();
    util_open(&fx, 0);
    image_free(&image);
    image_take(&image, fx.dir);
    util_close(&fx);
    assert_int_equal(image.n, 2);
    harm(image.v[0].p + LAST_BATCH * 4096, image.v[0].n - LAST_BATCH * 4096, HARM_ZERO);
    expect_refused(0, ERR_INTEGRITY, "a later segment says that it was durable");
    /* A whole segment is missing. */
    free(image.v[0].p);
    image.v[0] = image.v[1];
    image.n = 1;
    expect_refused(0, ERR_GAP, "the log begins at lsn 12");
}

static void a_checkpoint_proves_what_is_before_it(void **state)
{
    (void)state;
    four_batches();
    image.v[0].p[LAST_BATCH * 4096 + 200] ^= 1;
    expect_refused(10, ERR_INTEGRITY, "the state's checkpoint says that it was durable");
    expect_cut(BEFORE_LAST, true);
    /* All that is lost is below the checkpoint: the log goes on from there. */
    struct log_status s;
    image_put(&image, fx.dir);
    util_open(&fx, LAST_LSN);
    log_status(fx.log, &s);
    assert_non_null(strstr(s.note, "passed over"));
    util_expect(&fx, LAST_LSN + 1, LAST_LSN);
    util_append(&fx, 2, 500);
    util_close(&fx);
    util_open(&fx, LAST_LSN);
    util_expect(&fx, LAST_LSN + 1, LAST_LSN + 2);
    util_close(&fx);
}

/* Damage in block 2 (lsn 5) with the checkpoint at 5, at 6 and at 8. */
static void damage_below_the_checkpoint_is_passed_over(void **state)
{
    (void)state;
    four_batches();
    struct log_status s;
    harm(image.v[0].p + 2 * 4096, 3 * 4096, HARM_GARBLE);
    expect_refused(4, ERR_INTEGRITY, "after lsn 4");
    for (uint64_t start = 5; start <= 8; start++) {
        const uint64_t first = start == 5 ? 5 : 6; /* the first entry after the damage only gives
                                                      the position, unless that is known */
        image_put(&image, fx.dir);
        util_open(&fx, start);
        log_status(fx.log, &s);
        assert_non_null(strstr(s.note, "passed over"));
        util_expect(&fx, first + 1, LAST_LSN);
        struct log_run run;
        assert_int_equal(log_runs(fx.log, &run, 1), 1);
        assert_int_equal(run.from.v, first + 1);
        util_append(&fx, 1, 100);
        util_close(&fx);
        util_open(&fx, start);
        util_expect(&fx, first + 1, LAST_LSN + 1);
        util_close(&fx);
        fx.chain.last = LAST_LSN;
    }
}

/* Three segments: 1..11, 12..14, 15..17. The header of the first and of the second is damaged. */
static void a_damaged_segment_below_the_checkpoint_is_set_aside(void **state)
{
    (void)state;
    four_batches();
    for (int i = 0; i < 2; i++) {
        util_open(&fx, 0);
        util_append(&fx, 3, 100);
        if (i == 1) {
            image_free(&image);
            image_take(&image, fx.dir);
        }
        util_close(&fx);
    }
    assert_int_equal(image.n, 3);
    for (size_t bad = 0; bad < 2; bad++) {
        const uint64_t end = bad == 0 ? 11 : 14;
        struct log_status s;
        image.v[bad].p[60] ^= 1;
        expect_refused(end - 1, ERR_INTEGRITY, "byte 0");
        util_open(&fx, end);
        log_status(fx.log, &s);
        assert_non_null(strstr(s.note, "set aside"));
        util_expect(&fx, end + 1, 17);
        util_close(&fx);
        char path[200];
        (void)snprintf(path, sizeof path, "%s/%.16s.damaged", fx.dir, image.v[bad].name);
        assert_int_equal(access(path, F_OK), 0);
        image.v[bad].p[60] ^= 1;
    }
    /* A damaged batch in the middle one: everything up to the next segment goes. */
    image.v[1].p[4096 + 70] ^= 1;
    expect_refused(13, ERR_INTEGRITY, "after lsn 11");
    util_open(&fx, 14);
    util_expect(&fx, 15, 17);
    util_close(&fx);
}

/* A batch of an earlier use of the file, or of another place, is not one. */
static void stale_and_misplaced_batches_do_not_count(void **state)
{
    (void)state;
    four_batches();
    uint8_t *p = image.v[0].p;
    /* The last batch once more, behind itself: as if a write went astray. */
    memcpy(p + (LAST_BLOCK + 1) * 4096, p + LAST_BATCH * 4096, 4 * 4096);
    expect_cut(LAST_LSN, false);
    /* The same with the right block in it, but a number that was not to come. */
    struct segment_header head;
    struct batch_header h;
    assert_int_equal(segment_header_decode(p, &head, NULL), 0);
    assert_true(batch_header_decode(p + LAST_BATCH * 4096, &head, LAST_BATCH, &h));
    h.block = LAST_BLOCK + 1;
    batch_header_encode(&h, p + (LAST_BLOCK + 1) * 4096);
    expect_refused(0, ERR_INTEGRITY, "another number");
    /* The right number, but the entries do not follow. */
    h.number++;
    batch_header_encode(&h, p + (LAST_BLOCK + 1) * 4096);
    expect_refused(0, ERR_INTEGRITY, "does not follow");
    /* Another use of the file. */
    h.nonce++;
    batch_header_encode(&h, p + (LAST_BLOCK + 1) * 4096);
    expect_cut(LAST_LSN, false);
}

/* With the format 2, and a checksum (at `crc`, of `n` bytes) that holds. */
static void make_newer(uint8_t *raw, size_t crc, size_t n)
{
    put_le16(raw + 4, 2);
    put_le32(raw + crc, 0);
    put_le32(raw + crc, hash_crc32c(0, bytes_of(raw, n)));
}

/* A batch that a newer program wrote is neither the end of the log nor torn nor damaged, wherever it is and whatever is known
 * of it. */
static void a_future_batch_or_entry_ends_nothing(void **state)
{
    (void)state;
    static const uint64_t checkpoints[] = {0, LAST_LSN};
    static uint8_t saved[(LAST_BLOCK + 1) * 4096];
    four_batches();
    uint8_t *p = image.v[0].p, *last = p + LAST_BATCH * 4096;
    memcpy(saved, p, sizeof saved);
    for (size_t i = 0; i < 2; i++) {
        make_newer(last, 8, BATCH_HEADER_BYTES);
        expect_refused(checkpoints[i], ERR_NEWER, "newer triveni (format 2, this one reads 1)");
        /* The one before it torn: it is not cut, and with it what the newer program wrote behind. */
        last[-4096] ^= 1;
        expect_refused(checkpoints[i], ERR_NEWER, "newer triveni");
        memcpy(p, saved, sizeof saved);

        struct segment_header head;
        struct batch_header h;
        assert_int_equal(segment_header_decode(p, &head, NULL), 0);
        assert_true(batch_header_decode(last, &head, LAST_BATCH, &h));
        make_newer(last + BATCH_HEADER_BYTES, 12, ENTRY_HEADER_BYTES);
        h.payload_crc32c =
            hash_crc32c(0, bytes_of(last + BATCH_HEADER_BYTES, (size_t)h.payload_bytes));
        batch_header_encode(&h, last);
        expect_refused(checkpoints[i], ERR_NEWER, "the entry was written by a newer triveni");
        memcpy(p, saved, sizeof saved);
    }
}

static void a_future_format_is_named(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    four_batches();
    uint8_t raw[SEGMENT_HEADER_BYTES];
    memcpy(raw, image.v[0].p, sizeof raw);
    make_newer(raw, 8, sizeof raw);
    memcpy(image.v[0].p, raw, sizeof raw);
    image_put(&image, fx.dir);
    assert_int_equal(util_try_open(&fx, 0, &e), ERR_NEWER);
    assert_non_null(strstr(e.text, "format 2"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_torn_last_batch_is_cut),
        T(each_harmed_block_before_the_last_batch_is_reported),
        T(the_last_batch_of_a_quiet_log_is_not_cut),
        T(the_end_of_an_older_segment_is_not_cut),
        T(a_checkpoint_proves_what_is_before_it),
        T(damage_below_the_checkpoint_is_passed_over),
        T(a_damaged_segment_below_the_checkpoint_is_set_aside),
        T(stale_and_misplaced_batches_do_not_count),
        T(a_future_format_is_named),
        T(a_future_batch_or_entry_ends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
