/* The side file of a checkpoint and LMDB's meta pages: what opens, what is put back, and each thing that can be missing or in the
 * way. Power cuts are in state_crash_test.c. */
#include "store/io/checkpoint.h"
#include "store/core/hex.h"
#include "tests/unit/store/io/state_kit.h"

struct place {
    char dir[64];
    int fd;
    struct slot first; /* of a real state */
};

/* A state with one checkpoint, closed. */
static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct history h = {.n = 0};
    struct entry_position at;
    struct state *s;
    int file;
    assert_non_null(p);
    kit_dir_new(p->dir);
    struct state_options options = kit_options(p->dir);
    history_put(&h, "deeds", "1", "x");
    must(state_open(&s, &options, &e));
    must(state_apply(s, h.v, h.n, &e));
    must(state_checkpoint_begin(s, &at, &e));
    must(state_checkpoint_finish(s, &e));
    state_close(s);
    history_free(&h);
    p->fd = open(p->dir, O_RDONLY | O_DIRECTORY);
    assert_true(p->fd >= 0);
    must(checkpoint_open(p->fd, &file, &p->first, &e));
    (void)close(file);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    (void)close(p->fd);
    kit_dir_remove(p->dir);
    free(p);
    return 0;
}

static void file_away(const struct place *p, const char *name)
{
    assert_int_equal(unlinkat(p->fd, name, 0), 0);
}

/* ---- the side file ---- */

static void the_newest_slot_counts_and_each_write_is_one(void **state)
{
    struct place *p = *state;
    struct slot slot = p->first, got;
    int file;
    file_away(p, CHECKPOINT_FILE);
    must(checkpoint_create(p->fd, &slot, &file, &e));
    for (unsigned i = 0; i < 5; i++) {
        slot.sequence++;
        slot.at.lsn.v = 100 + i;
        must(checkpoint_write(file, &slot, &e));
        int again;
        must(checkpoint_open(p->fd, &again, &got, &e));
        (void)close(again);
        assert_int_equal(got.sequence, slot.sequence);
        assert_int_equal(got.at.lsn.v, 100 + i);
        assert_memory_equal(got.meta, slot.meta, sizeof got.meta);
        /* either copy will do */
        assert_int_equal(pwrite(file, "rot", 3, (off_t)slot_offset(slot.sequence, i % 2)), 3);
        must(checkpoint_open(p->fd, &again, &got, &e));
        (void)close(again);
        assert_int_equal(got.sequence, slot.sequence);
    }
    (void)close(file);
    size_t n;
    free(kit_read(p->dir, CHECKPOINT_FILE, &n));
    assert_int_equal(n, SLOT_FILE_BYTES);
    assert_int_equal(faccessat(p->fd, CHECKPOINT_FILE ".new", F_OK, 0), -1);
}

static void what_an_interrupted_creation_left_is_written_over(void **state)
{
    struct place *p = *state;
    struct slot got;
    uint8_t rubbish[3 * SLOT_FILE_BYTES];
    int file;
    memset(rubbish, 0x5a, sizeof rubbish);
    file_away(p, CHECKPOINT_FILE);
    kit_write(p->dir, CHECKPOINT_FILE ".new", rubbish, sizeof rubbish);
    must_fail(checkpoint_open(p->fd, &file, &got, &e), ERR_NOT_FOUND, "there is none");
    must(checkpoint_create(p->fd, &p->first, &file, &e));
    (void)close(file);
    must(checkpoint_open(p->fd, &file, &got, &e));
    (void)close(file);
    assert_int_equal(got.sequence, p->first.sequence);
    size_t n;
    free(kit_read(p->dir, CHECKPOINT_FILE, &n));
    assert_int_equal(n, SLOT_FILE_BYTES);
}

static void a_short_file_serves_as_long_as_a_whole_slot_is_in_it(void **state)
{
    struct place *p = *state;
    struct slot slot = p->first, got;
    char path[128];
    int file;
    kit_path(path, p->dir, CHECKPOINT_FILE);
    file_away(p, CHECKPOINT_FILE);
    slot.sequence = 2; /* slot 0: the first two blocks */
    must(checkpoint_create(p->fd, &slot, &file, &e));
    (void)close(file);
    static const off_t sizes[] = {SLOT_FILE_BYTES - 1, 2 * SLOT_BYTES, SLOT_BYTES};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(truncate(path, sizes[i]), 0);
        must(checkpoint_open(p->fd, &file, &got, &e));
        (void)close(file);
        assert_int_equal(got.sequence, 2);
    }
    static const off_t too_short[] = {SLOT_BYTES - 1, 0};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(truncate(path, too_short[i]), 0);
        must_fail(checkpoint_open(p->fd, &file, &got, &e), ERR_INTEGRITY, "checkpoint: ");
    }
}

static void a_folder_in_the_way_is_an_error_of_its_own(void **state)
{
    struct place *p = *state;
    struct slot got;
    int file;
    file_away(p, CHECKPOINT_FILE);
    assert_int_equal(mkdirat(p->fd, CHECKPOINT_FILE, 0700), 0);
    must_fail(checkpoint_open(p->fd, &file, &got, &e), ERR_IO, "checkpoint: open: ");
    must_fail(checkpoint_create(p->fd, &p->first, &file, &e), ERR_IO, "rename to checkpoint");
    assert_int_equal(unlinkat(p->fd, CHECKPOINT_FILE, AT_REMOVEDIR), 0);
    file_away(p, CHECKPOINT_FILE ".new");
    assert_int_equal(mkdirat(p->fd, CHECKPOINT_FILE ".new", 0700), 0);
    must_fail(checkpoint_create(p->fd, &p->first, &file, &e), ERR_IO, "checkpoint.new: create: ");
    assert_int_equal(unlinkat(p->fd, CHECKPOINT_FILE ".new", AT_REMOVEDIR), 0);
}

static void a_full_disk_and_a_failed_write_are_told_apart(void **state)
{
    struct place *p = *state;
    int file = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(file >= 0);
    must_fail(checkpoint_write(file, &p->first, &e), ERR_NO_SPACE, "checkpoint: write: ");
    (void)close(file);
    file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    must_fail(checkpoint_write(file, &p->first, &e), ERR_IO, "checkpoint: write: ");
    (void)close(file);
    file = open("/dev/null", O_RDWR | O_CLOEXEC); /* takes all and syncs nothing */
    must_fail(checkpoint_write(file, &p->first, &e), ERR_IO, "checkpoint: fdatasync: ");
    (void)close(file);
}

/* ---- the meta pages ---- */

static void both_meta_pages_are_put_back_and_the_lock_file_goes(void **state)
{
    struct place *p = *state;
    size_t n, page = slot_page_bytes(&p->first);
    uint8_t *data = kit_read(p->dir, CHECKPOINT_DATA, &n), expected[SLOT_PAGE_MAX_BYTES];
    memset(data, 0xee, 2 * page);
    kit_write(p->dir, CHECKPOINT_DATA, data, n);
    kit_write(p->dir, CHECKPOINT_LOCK, data, 10);
    must(checkpoint_put_back(p->fd, &p->first, &e));
    must(checkpoint_put_back(p->fd, &p->first, &e)); /* no lock file: as good */
    free(data);
    data = kit_read(p->dir, CHECKPOINT_DATA, &n);
    for (unsigned i = 0; i < 2; i++) {
        slot_meta_page(&p->first, i, expected);
        assert_memory_equal(data + i * page, expected, page);
    }
    free(data);
    assert_int_equal(faccessat(p->fd, CHECKPOINT_LOCK, F_OK, 0), -1);
    struct state_options options = kit_options(p->dir);
    struct state *s;
    must(state_open(&s, &options, &e));
    state_close(s);
}

static void a_data_file_that_lost_bytes_is_not_touched(void **state)
{
    struct place *p = *state;
    char path[128];
    size_t n, m;
    kit_path(path, p->dir, CHECKPOINT_DATA);
    assert_int_equal(truncate(path, (off_t)p->first.file_bytes - 1), 0);
    uint8_t *before = kit_read(p->dir, CHECKPOINT_DATA, &n);
    must_fail(checkpoint_put_back(p->fd, &p->first, &e), ERR_INTEGRITY, "at its checkpoint");
    uint8_t *after = kit_read(p->dir, CHECKPOINT_DATA, &m);
    assert_int_equal(n, m);
    assert_memory_equal(before, after, n);
    free(before);
    free(after);
    assert_int_equal(truncate(path, (off_t)p->first.file_bytes), 0);
    must(checkpoint_put_back(p->fd, &p->first, &e));
    file_away(p, CHECKPOINT_DATA);
    must_fail(checkpoint_put_back(p->fd, &p->first, &e), ERR_INTEGRITY, "it is missing");
    assert_int_equal(mkdirat(p->fd, CHECKPOINT_DATA, 0700), 0);
    must_fail(checkpoint_put_back(p->fd, &p->first, &e), ERR_IO, "data.mdb: open: ");
    assert_int_equal(unlinkat(p->fd, CHECKPOINT_DATA, AT_REMOVEDIR), 0);
}

static void a_lock_file_that_stays_is_an_error(void **state)
{
    struct place *p = *state;
    (void)unlinkat(p->fd, CHECKPOINT_LOCK, 0);
    assert_int_equal(mkdirat(p->fd, CHECKPOINT_LOCK, 0700), 0);
    must_fail(checkpoint_put_back(p->fd, &p->first, &e), ERR_IO, "lock.mdb: remove: ");
    assert_int_equal(unlinkat(p->fd, CHECKPOINT_LOCK, AT_REMOVEDIR), 0);
}

static void the_boot_id_is_the_one_of_the_kernel(void **state)
{
    (void)state;
    char text[64] = "", ours[UUID_TEXT_BYTES];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
    struct uuid id = checkpoint_boot_id();
    if (fd < 0) {
        assert_true(uuid_is_zero(&id));
        return;
    }
    assert_true(read(fd, text, sizeof text - 1) >= UUID_TEXT_BYTES - 1);
    (void)close(fd);
    text[UUID_TEXT_BYTES - 1] = '\0';
    assert_string_equal(uuid_text(&id, ours), text);
}

int main(void)
{
#define in_place(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        in_place(the_newest_slot_counts_and_each_write_is_one),
        in_place(what_an_interrupted_creation_left_is_written_over),
        in_place(a_short_file_serves_as_long_as_a_whole_slot_is_in_it),
        in_place(a_folder_in_the_way_is_an_error_of_its_own),
        in_place(a_full_disk_and_a_failed_write_are_told_apart),
        in_place(both_meta_pages_are_put_back_and_the_lock_file_goes),
        in_place(a_data_file_that_lost_bytes_is_not_touched),
        in_place(a_lock_file_that_stays_is_an_error),
        cmocka_unit_test(the_boot_id_is_the_one_of_the_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
