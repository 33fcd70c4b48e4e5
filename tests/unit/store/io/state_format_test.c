/* A state that a newer program wrote, opened and checked after a downgrade: it is not damage, nothing is changed, and nobody is
 * told to throw it away. */
#include "store/core/hash.h"
#include "store/io/state_check.h"

#include "tests/unit/store/io/state_kit.h"

#include <fcntl.h>
#include <unistd.h>

static char dir[64];
static unsigned damage_found;

static void on_found(void *arg, const struct finding *f)
{
    (void)arg;
    print_message("found: %s\n", f->text);
    damage_found += f->kind != FINDING_NOTE;
}

/* Of one record, with a published checkpoint. */
static void make_state(void)
{
    struct history h = {.n = 0};
    struct state *s;
    struct entry_position at;
    history_put(&h, "titles", "plot-17", "belongs to Ada");
    struct state_options o = kit_options(dir);
    must(state_open(&s, &o, &e));
    must(state_apply(s, h.v, h.n, &e));
    must(state_checkpoint_begin(s, &at, &e));
    must(state_checkpoint_finish(s, &e));
    state_close(s);
    history_free(&h);
}

/* Give the row that begins `row_at` bytes from `text`, wherever it is, the format after `format`, and the checksum of key and
 * contents. */
static void make_newer(struct bytes key, uint16_t format, const char *text, long row_at,
                       size_t row_bytes)
{
    size_t n, length = strlen(text), changed = 0;
    uint8_t *p = kit_read(dir, "data.mdb", &n);
    for (size_t i = 40; i + 200 <= n; i++) {
        uint8_t *row = p + (long)i + row_at;
        if (memcmp(p + i, text, length) != 0)
            continue;
        uint32_t crc = hash_crc32c(hash_crc32c(0, key), bytes_of(row + 4, row_bytes - 4));
        if (crc != get_le32(row) || get_le16(row + 4) != format)
            continue;
        put_le16(row + 4, (uint16_t)(format + 1));
        put_le32(row, hash_crc32c(hash_crc32c(0, key), bytes_of(row + 4, row_bytes - 4)));
        changed++;
    }
    assert_true(changed > 0);
    kit_write(dir, "data.mdb", p, n);
    free(p);
}

static void expect_check_says_newer(const char *text)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    const struct finding_sink sink = {on_found, NULL, NULL};
    struct state_check_totals t;
    damage_found = 0;
    must_fail(state_check(fd, &sink, &t, &e), ERR_NEWER, text);
    assert_int_equal(damage_found, 0);
    (void)close(fd);
}

static void a_checkpoint_of_a_newer_program_is_left_alone(void **state)
{
    (void)state;
    size_t n, again;
    struct slot slot;
    struct state *s;
    struct state_options o = kit_options(dir);
    make_state();
    uint8_t *p = kit_read(dir, "checkpoint", &n), *block;
    must(slot_choose(p, &slot, &e));
    for (unsigned copy = 0; copy < SLOT_COPIES; copy++) {
        block = p + slot_offset(slot.sequence, copy);
        put_le16(block + 4, 2);
        memset(block + 300, 7, 50); /* whatever it has there */
        put_le32(block + SLOT_BYTES - 4, hash_crc32c(0, bytes_of(block, SLOT_BYTES - 4)));
    }
    kit_write(dir, "checkpoint", p, n);
    uint8_t *data = kit_read(dir, "data.mdb", &n);
    must_fail(state_open(&s, &o, &e), ERR_NEWER,
              "the checkpoint was written by a newer triveni (format 2, this one reads 1): use "
              "that version");
    struct err advice = ERR_NONE;
    assert_int_equal(state_open(&s, &o, &advice), ERR_NEWER);
    assert_null(strstr(advice.text, "move the directory away"));
    expect_check_says_newer("newer triveni (format 2, this one reads 1)");
    uint8_t *slots_after = kit_read(dir, "checkpoint", &again);
    assert_memory_equal(slots_after, p, SLOT_FILE_BYTES);
    uint8_t *data_after = kit_read(dir, "data.mdb", &again);
    assert_int_equal(again, n);
    assert_memory_equal(data_after, data, n);
    free(slots_after);
    free(data_after);
    free(data);
    free(p);
}

static void a_state_row_of_a_newer_program_is_no_damage(void **state)
{
    (void)state;
    struct state *s;
    struct state_options o = kit_options(dir);
    make_state();
    /* It stands right behind its key. */
    make_newer(bytes_str("state"), 3, "state", 5, 4 + 2 + 1 + 3 * 8 + 32 + 3 * 8 + 16 + 4 * 8);
    must_fail(state_open(&s, &o, &e), ERR_NEWER,
              "the state was written by a newer triveni (format 4, this one reads 3)");
    struct err advice = ERR_NONE;
    assert_int_equal(state_open(&s, &o, &advice), ERR_NEWER);
    assert_null(strstr(advice.text, "rebuild"));
    expect_check_says_newer("the state was written by a newer triveni");
}

static void a_record_of_a_newer_program_is_no_damage(void **state)
{
    (void)state;
    struct state *s;
    struct state_snapshot *snap;
    struct record r;
    struct state_options o = kit_options(dir);
    make_state();
    static const uint8_t key[] = {0, 0, 0, 0, 0, 0, 0, 1, 'p', 'l', 'o', 't', '-', '1', '7'};
    make_newer(bytes_of(key, sizeof key), 1, "belongs to Ada", -40, 40 + 14);
    must(state_open(&s, &o, &e));
    must(state_snapshot_open(s, &snap, &e));
    must_fail(state_get(snap, bytes_str("titles"), bytes_str("plot-17"), &r, &e), ERR_NEWER,
              "record 'plot-17' of collection 'titles': the record was written by a newer triveni");
    must_fail(state_verify(snap, &e), ERR_NEWER, "newer triveni");
    state_snapshot_close(snap);
    state_close(s);
    expect_check_says_newer(
        "record 'plot-17' of collection 'titles': the record was written by a newer");
}

static int set_up(void **state)
{
    (void)state;
    kit_dir_new(dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kit_dir_remove(dir);
    return 0;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_checkpoint_of_a_newer_program_is_left_alone),
        T(a_state_row_of_a_newer_program_is_no_damage),
        T(a_record_of_a_newer_program_is_no_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
