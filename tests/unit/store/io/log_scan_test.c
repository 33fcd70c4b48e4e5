/* Reading a log's directory without opening it: all entries of a whole one; behind damage it goes on, and says which are lost. */
#include "log_util.h"

#include "store/io/log_scan.h"

static struct fixture fx;
static struct dir_image image;

struct seen {
    unsigned entries, damaged, notes, kind[FINDING_KINDS];
    bool entry[64];
    struct lsn from, to; /* of the last damage */
    char text[ERR_TEXT_BYTES];
};

static void on_found(void *arg, const struct finding *f)
{
    struct seen *s = arg;
    s->kind[f->kind]++;
    s->notes += f->kind == FINDING_NOTE;
    s->damaged += f->kind != FINDING_NOTE;
    if (f->kind != FINDING_NOTE) {
        s->from = f->from;
        s->to = f->to;
    }
    (void)snprintf(s->text, sizeof s->text, "%s", f->text);
}

static int on_entry(void *arg, const struct log_scan_segment *segment, uint64_t offset,
                    const struct entry_view *v)
{
    struct seen *s = arg;
    (void)segment;
    (void)offset;
    const uint64_t lsn = v->header.lsn.v;
    assert_in_range(lsn, 1, fx.chain.last);
    assert_false(s->entry[lsn]);
    assert_memory_equal(v->raw, fx.chain.raw[lsn], fx.chain.bytes[lsn]);
    s->entry[lsn] = true;
    s->entries++;
    return 0;
}

static struct seen scan_with(const struct entry_position *checkpoint, uint64_t from, uint64_t to)
{
    struct seen s = {0};
    struct err e = ERR_NONE;
    struct log_scan_totals totals;
    int fd = open(fx.dir, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    struct log_scan_options o = {.dir_fd = fd,
                                 .from = {from},
                                 .to = {to},
                                 .sink = {.found = on_found, .arg = &s},
                                 .entry = on_entry,
                                 .arg = &s};
    if (checkpoint != NULL)
        o.checkpoint = *checkpoint;
    if (log_scan(&o, &totals, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(totals.entries, s.entries);
    (void)close(fd);
    return s;
}

static struct seen scan(void)
{
    return scan_with(NULL, 0, 0);
}

static struct seen scan_flipped(size_t file, size_t at)
{
    image.v[file].p[at] ^= 16;
    image_put(&image, fx.dir);
    struct seen s = scan();
    image.v[file].p[at] ^= 16;
    return s;
}

/* Blocks 1..2, 3, 4..6 and 7..10 as a crash would leave them: lsn 1..4, 5, 6..8, 9..11. */
enum { LAST_BLOCK = 10, LAST_LSN = 11 };

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    image.n = 0;
    util_open(&fx, 0);
    util_append(&fx, 4, 1400);
    util_append(&fx, 1, 2000);
    util_append(&fx, 3, 3500);
    util_append(&fx, 3, 5200);
    image_take(&image, fx.dir);
    util_close(&fx);
    image_put(&image, fx.dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    image_free(&image);
    util_free(&fx);
    return 0;
}

static void a_whole_log_gives_all_entries(void **state)
{
    (void)state;
    struct seen s = scan();
    assert_int_equal(s.entries, LAST_LSN);
    assert_int_equal(s.damaged + s.notes, 0);
    s = scan_with(&fx.chain.at[7], 0, 0);
    assert_int_equal(s.entries, LAST_LSN);
    assert_int_equal(s.damaged + s.notes, 0);
}

static void behind_damage_the_reading_goes_on(void **state)
{
    (void)state;
    struct seen s = scan_flipped(0, BATCH_BLOCK_BYTES + 300);
    assert_int_equal(s.damaged, 1);
    assert_int_equal(s.kind[FINDING_BATCH], 1);
    assert_int_equal(s.from.v, 1);
    assert_int_equal(s.to.v, 4);
    assert_int_equal(s.entries, LAST_LSN - 4);
}

static void a_torn_tail_is_a_note(void **state)
{
    (void)state;
    struct seen s = scan_flipped(0, (size_t)LAST_BLOCK * BATCH_BLOCK_BYTES + 5);
    assert_int_equal(s.damaged, 0);
    assert_int_equal(s.notes, 1);
    assert_non_null(strstr(s.text, "torn tail"));
    assert_int_equal(s.entries, 8);
}

static void a_damaged_segment_header_does_not_hide_the_entries(void **state)
{
    (void)state;
    struct seen s = scan_flipped(0, 60);
    assert_int_equal(s.kind[FINDING_SEGMENT], 1);
    assert_int_equal(s.damaged, 1);
    assert_int_equal(s.entries, LAST_LSN);
}

static void the_state_must_fit_the_log(void **state)
{
    (void)state;
    struct entry_position at = fx.chain.at[6];
    at.hash.b[3] ^= 1;
    assert_int_equal(scan_with(&at, 0, 0).damaged, 1); /* another history */
    at = fx.chain.at[LAST_LSN];
    at.lsn.v += 4;
    struct seen s = scan_with(&at, 0, 0); /* the state is ahead of the log */
    assert_int_equal(s.damaged, 1);
    assert_non_null(strstr(s.text, "checkpoint"));
}

static void no_flipped_bit_goes_unseen(void **state)
{
    (void)state;
    const size_t used = (size_t)(LAST_BLOCK + 1) * BATCH_BLOCK_BYTES;
    unsigned named = 0;
    for (size_t at = 3; at < used; at += 61) {
        struct seen s = scan_flipped(0, at);
        named += s.damaged + s.notes > 0;
        if (s.entries < LAST_LSN && s.damaged + s.notes == 0)
            /* the header of the last batch: an unproven one may as well never have been written */
            assert_true(s.entries == 8 && at / BATCH_BLOCK_BYTES == 7);
        if (s.entries < 8)
            assert_true(s.damaged > 0);
    }
    assert_true(named > 300);
}

static void several_segments_are_joined_and_unwanted_ones_not_read(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        util_open(&fx, 0); /* each open begins a segment */
        util_append(&fx, 2, 500);
        util_close(&fx);
    }
    image_free(&image);
    image_take(&image, fx.dir);
    assert_int_equal(image.n, 4);
    assert_int_equal(scan().entries, LAST_LSN + 6);
    struct seen s = scan_with(NULL, 14, 15);
    assert_int_equal(s.entries, 2);
    assert_true(s.entry[14] && s.entry[15]);
    s = scan_flipped(1, 30);
    assert_int_equal(s.kind[FINDING_SEGMENT], 1);
    assert_int_equal(s.damaged, 1);
    assert_int_equal(s.entries, LAST_LSN + 6);
    image_put(&image, fx.dir);
    /* A segment that is gone leaves a hole with a name. */
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", fx.dir, image.v[1].name);
    assert_int_equal(unlink(path), 0);
    s = scan();
    assert_int_equal(s.damaged, 1);
    assert_int_equal(s.from.v, 12);
    assert_int_equal(s.to.v, 13);
    image_put(&image, fx.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_log_gives_all_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(behind_damage_the_reading_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_torn_tail_is_a_note, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_segment_header_does_not_hide_the_entries, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_state_must_fit_the_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_flipped_bit_goes_unseen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_segments_are_joined_and_unwanted_ones_not_read,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
