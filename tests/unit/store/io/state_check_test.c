/* Checking a state on disk without opening it: a whole one is clean and counts what the state itself counts; whatever bit is
 * flipped, the check ends, and it either names damage or has counted the very same records. */
#include "state_kit.h"

#include "store/io/state_check.h"
#include "tests/unit/rounds.h"

enum { ENTRIES = 1500, FLIPS = ROUNDS(1500, 200) };

struct place {
    char dir[64];
    int fd;
    struct history h;
    struct state_totals kept; /* as of the checkpoint */
    struct entry_position at;
};

struct findings {
    unsigned n, kind[FINDING_KINDS];
    char text[ERR_TEXT_BYTES], key[64], collection[64];
};

static void on_found(void *arg, const struct finding *f)
{
    struct findings *all = arg;
    all->n++;
    all->kind[f->kind]++;
    (void)snprintf(all->text, sizeof all->text, "%s", f->text);
    (void)snprintf(all->key, sizeof all->key, "%.*s", (int)f->key.n, (const char *)f->key.p);
    (void)snprintf(all->collection, sizeof all->collection, "%.*s", (int)f->collection.n,
                   (const char *)f->collection.p);
}

static struct findings look(const struct place *p, struct state_check_totals *totals)
{
    struct findings all = {0};
    struct err e = ERR_NONE;
    const struct finding_sink sink = {on_found, NULL, &all};
    int rc = state_check(p->fd, &sink, totals, &e);
    if (rc != 0)
        fail_msg("%s", e.text);
    return all;
}

static int set_up(void **state)
{
    static struct place p;
    struct chance c = {11};
    struct state *s;
    struct state_snapshot *snap;
    p = (struct place){.fd = -1};
    kit_dir_new(p.dir);
    history_random(&p.h, &c, ENTRIES, 900, 9000);
    history_put(&p.h, "deeds", "marked", "MARK-OF-THE-PAST");
    history_put(&p.h, "deeds", "marked", "MARK-OF-THE-RECORD");
    struct state_options options = kit_options(p.dir);
    must(state_open(&s, &options, &e));
    must(state_apply(s, p.h.v, p.h.n, &e));
    must(state_checkpoint_begin(s, &p.at, &e));
    must(state_checkpoint_finish(s, &e));
    must(state_snapshot_open(s, &snap, &e));
    must(state_totals(snap, &p.kept, &e));
    state_snapshot_close(snap);
    /* Beyond the checkpoint: none of it may be seen. */
    size_t before = p.h.n;
    history_random(&p.h, &c, 50, 900, 9000);
    must(state_apply(s, p.h.v + before, p.h.n - before, &e));
    state_close(s);
    p.fd = open(p.dir, O_RDONLY | O_DIRECTORY);
    assert_true(p.fd >= 0);
    *state = &p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    (void)close(p->fd);
    kit_dir_remove(p->dir);
    history_free(&p->h);
    return 0;
}

static void a_whole_state_is_clean_and_counted_as_of_its_checkpoint(void **state)
{
    const struct place *p = *state;
    struct state_check_totals t;
    struct findings all = look(p, &t);
    if (all.n != 0)
        fail_msg("found: %s", all.text);
    assert_true(t.known);
    assert_int_equal(t.slot.at.lsn.v, p->at.lsn.v);
    assert_true(t.records > 500);
    assert_int_equal(t.records, p->kept.records);
    assert_int_equal(t.collections, p->kept.collections);
    assert_true(digest_equal(t.digest, p->kept.digest));
}

static void no_flipped_bit_goes_unseen_or_breaks_the_check(void **state)
{
    const struct place *p = *state;
    struct chance c = {5};
    size_t n;
    uint8_t *data = kit_read(p->dir, "data.mdb", &n);
    char path[128];
    kit_path(path, p->dir, "data.mdb");
    int fd = open(path, O_RDWR);
    unsigned named = 0, kinds[FINDING_KINDS] = {0};
    for (unsigned i = 0; i < FLIPS; i++) {
        /* Half of them where a page says how it is to be read. */
        size_t at = chance_below(&c, (uint32_t)n);
        if (i % 2 == 0)
            at = at / 4096 * 4096 + chance_below(&c, 40);
        uint8_t was = data[at], bad = (uint8_t)(was ^ (1u << chance_below(&c, 8)));
        struct state_check_totals t;
        assert_int_equal(pwrite(fd, &bad, 1, (off_t)at), 1);
        struct findings all = look(p, &t);
        if (all.n == 0 && (t.records != p->kept.records || !digest_equal(t.digest, p->kept.digest)))
            fail_msg("byte %zu: nothing was named, and other records were counted", at);
        named += all.n != 0;
        for (unsigned k = 0; k < FINDING_KINDS; k++)
            kinds[k] += all.kind[k];
        assert_int_equal(pwrite(fd, &was, 1, (off_t)at), 1);
    }
    assert_true(named > FLIPS / 10);
    assert_true(kinds[FINDING_RECORD] > 0 && kinds[FINDING_PAGE] > 0 && kinds[FINDING_ROW] > 0);
    (void)close(fd);
    free(data);
}

static void a_damaged_value_names_its_record(void **state)
{
    const struct place *p = *state;
    size_t n;
    uint8_t *data = kit_read(p->dir, "data.mdb", &n);
    static const char mark[] = "MARK-OF-THE-RECORD";
    unsigned named = 0;
    for (size_t i = 0; i + sizeof mark < n; i++) {
        if (memcmp(data + i, mark, sizeof mark - 1) != 0)
            continue;
        struct state_check_totals t;
        data[i] ^= 1;
        kit_write(p->dir, "data.mdb", data, n);
        struct findings all = look(p, &t);
        data[i] ^= 1;
        kit_write(p->dir, "data.mdb", data, n);
        if (all.n == 0) /* a page of the past */
            continue;
        named++;
        assert_int_equal(all.n, 1);
        assert_int_equal(all.kind[FINDING_RECORD], 1);
        assert_string_equal(all.collection, "deeds");
        assert_string_equal(all.key, "marked");
        assert_int_equal(t.records, p->kept.records - 1);
    }
    assert_int_equal(named, 1);
    free(data);
}

static void a_damaged_row_of_the_history_is_named_and_nothing_else(void **state)
{
    const struct place *p = *state;
    size_t n;
    uint8_t *data = kit_read(p->dir, "data.mdb", &n);
    static const char mark[] = "MARK-OF-THE-PAST";
    unsigned named = 0;
    for (size_t i = 0; i + sizeof mark < n; i++) {
        if (memcmp(data + i, mark, sizeof mark - 1) != 0)
            continue;
        struct state_check_totals t;
        data[i] ^= 1;
        kit_write(p->dir, "data.mdb", data, n);
        struct findings all = look(p, &t);
        data[i] ^= 1;
        kit_write(p->dir, "data.mdb", data, n);
        if (all.n == 0) /* a page that is not used any more */
            continue;
        named++;
        assert_int_equal(all.n, 1);
        assert_int_equal(all.kind[FINDING_ROW], 1);
        assert_string_equal(all.collection, "history");
        assert_int_equal(t.records, p->kept.records);
    }
    assert_int_equal(named, 1);
    free(data);
}

static void a_short_or_missing_data_file_is_named(void **state)
{
    const struct place *p = *state;
    size_t n;
    uint8_t *data = kit_read(p->dir, "data.mdb", &n);
    char path[128];
    struct state_check_totals t;
    kit_path(path, p->dir, "data.mdb");
    assert_int_equal(truncate(path, (off_t)n / 2), 0);
    assert_true(look(p, &t).kind[FINDING_PAGE] > 1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(look(p, &t).kind[FINDING_PAGE], 1);
    kit_write(p->dir, "data.mdb", data, n);
    assert_int_equal(look(p, &t).n, 0);
    free(data);
}

/* A name that leads to itself stands for any reason for which the system does not answer. */
static void a_data_file_that_cannot_be_looked_at_is_not_taken_for_none(void **state)
{
    const struct place *p = *state;
    char data[128], slots[128], target[16];
    struct state *s;
    struct err why = ERR_NONE;
    struct state_options options = kit_options(p->dir);
    kit_path(data, p->dir, "data.mdb");
    kit_path(slots, p->dir, "checkpoint");
    assert_int_equal(unlink(data), 0);
    assert_int_equal(unlink(slots), 0);
    assert_int_equal(symlink("data.mdb", data), 0);
    assert_int_equal(state_check(p->fd, &(struct finding_sink){on_found, NULL, NULL},
                                 &(struct state_check_totals){0}, &why),
                     ERR_IO);
    assert_non_null(strstr(why.text, "data.mdb"));
    why = (struct err)ERR_NONE;
    assert_int_equal(state_open(&s, &options, &why), ERR_IO);
    assert_non_null(strstr(why.text, "data.mdb"));
    assert_true(readlink(data, target, sizeof target) > 0); /* nothing was removed */
}

/* One is what a power cut leaves, and no damage; both copies of a slot are. */
static void each_copy_of_a_slot_is_looked_at(void **state)
{
    const struct place *p = *state;
    size_t n;
    uint8_t *slots = kit_read(p->dir, "checkpoint", &n);
    struct state_check_totals t;
    assert_int_equal(n, SLOT_FILE_BYTES);
    for (size_t at = 50; at < n; at += SLOT_BYTES) {
        slots[at] ^= 8;
        kit_write(p->dir, "checkpoint", slots, n);
        struct findings all = look(p, &t);
        assert_int_equal(all.n, 1);
        assert_int_equal(all.kind[FINDING_NOTE], 1);
        assert_true(t.known);
        slots[at] ^= 8;
    }
    slots[50] ^= 8;
    slots[50 + SLOT_BYTES] ^= 8;
    kit_write(p->dir, "checkpoint", slots, n);
    assert_int_equal(look(p, &t).kind[FINDING_CHECKPOINT], 3);
    assert_false(t.known);
    slots[50] ^= 8;
    slots[50 + SLOT_BYTES] ^= 8;
    kit_write(p->dir, "checkpoint", slots, n);
    free(slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_state_is_clean_and_counted_as_of_its_checkpoint),
        cmocka_unit_test(no_flipped_bit_goes_unseen_or_breaks_the_check),
        cmocka_unit_test(a_damaged_value_names_its_record),
        cmocka_unit_test(a_damaged_row_of_the_history_is_named_and_nothing_else),
        cmocka_unit_test(a_short_or_missing_data_file_is_named),
        cmocka_unit_test(each_copy_of_a_slot_is_looked_at),
        cmocka_unit_test(a_data_file_that_cannot_be_looked_at_is_not_taken_for_none), /* the last */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
