/* The ends of chains: what is remembered of them is what the rows of the history say. */
#include "store/io/state_internal.h"
#include "tests/unit/store/io/state_kit.h"

static void assert_same_rows(const struct state *a, const struct state *b)
{
    const struct state *s[2] = {a, b};
    MDB_txn *txn[2];
    MDB_cursor *cursor[2];
    MDB_val key[2], row[2];
    size_t rows = 0;
    int rc[2] = {0, 0};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(mdb_txn_begin(s[i]->env, NULL, MDB_RDONLY, &txn[i]), 0);
        assert_int_equal(mdb_cursor_open(txn[i], s[i]->dbi[DB_HISTORY], &cursor[i]), 0);
    }
    for (;; rows++) {
        for (unsigned i = 0; i < 2; i++)
            rc[i] = mdb_cursor_get(cursor[i], &key[i], &row[i], MDB_NEXT);
        assert_int_equal(rc[0], rc[1]);
        if (rc[0] != 0)
            break;
        assert_bytes(bytes_of_val(key[0]), bytes_of_val(key[1]));
        struct history_row x, y;
        must(row_read_history(bytes_of_val(key[0]), bytes_of_val(row[0]), &x, &e));
        must(row_read_history(bytes_of_val(key[1]), bytes_of_val(row[1]), &y, &e));
        assert_int_equal(x.depth, y.depth);
        assert_int_equal(x.jump.v, y.jump.v);
        assert_bytes(bytes_of_val(row[0]), bytes_of_val(row[1]));
    }
    assert_true(rows > 0);
    for (unsigned i = 0; i < 2; i++) {
        mdb_cursor_close(cursor[i]);
        mdb_txn_abort(txn[i]);
    }
}

static void checkpoint(struct state *s)
{
    struct entry_position at;
    must(state_checkpoint_begin(s, &at, &e));
    must(state_checkpoint_finish(s, &e));
}

/* One that stays open, and one that is opened anew before each batch and so looks everything up. */
static void write_the_same_rows(uint64_t window_us)
{
    struct chance c = {11};
    struct history h = {.n = 0};
    char dir[2][64];
    struct state *s[2];
    struct state_options options[2];
    history_random(&h, &c, 900, 7, 200);
    for (unsigned i = 0; i < 2; i++) {
        kit_dir_new(dir[i]);
        options[i] = kit_options(dir[i]);
        options[i].history_us = window_us;
        must(state_open(&s[i], &options[i], &e));
    }
    for (size_t at = 0, n; at < h.n; at += n) {
        n = 1 + chance_below(&c, 40);
        n = n < h.n - at ? n : h.n - at;
        must(state_apply(s[0], h.v + at, n, &e));
        must(state_apply(s[1], h.v + at, n, &e));
        assert_same_rows(s[0], s[1]);
        checkpoint(s[1]);
        state_close(s[1]);
        must(state_open(&s[1], &options[1], &e));
    }
    for (unsigned i = 0; i < 2; i++) {
        state_close(s[i]);
        kit_dir_remove(dir[i]);
    }
    history_free(&h);
}

static void an_open_and_a_new_state_write_the_same_rows(void **arg)
{
    (void)arg;
    write_the_same_rows(200); /* 20 entries: chains begin anew */
    write_the_same_rows(2000);
}

/* Two histories that part after `common` entries: in one, the record has more versions. */
static void two_histories(struct history *lost, struct history *kept)
{
    struct history *both[] = {lost, kept};
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned k = 0; k < 4; k++)
            history_put(both[i], "titles", "AB-12", "common");
        history_put(both[i], "titles", i == 0 ? "AB-12" : "CD-34", "here they part");
        history_put(both[i], "titles", "AB-12", "of one lsn, at another depth");
    }
    for (unsigned k = 0; k < 8; k++)
        history_put(kept, "titles", "AB-12", "more");
}
enum { COMMON = 4, PARTED = 6 };

/* Apply the rest of `kept` to a state that had `lost`, and compare with one that never saw that. */
static void assert_no_harm(struct state *s, const struct history *kept)
{
    char dir[64];
    struct state *other;
    kit_dir_new(dir);
    const struct state_options options = kit_options(dir);
    must(state_open(&other, &options, &e));
    must(state_apply(other, kept->v, kept->n, &e));
    must(state_apply(s, kept->v + COMMON, PARTED - COMMON, &e));
    must(state_apply(s, kept->v + PARTED, kept->n - PARTED, &e));
    assert_same_rows(s, other);
    state_close(other);
    kit_dir_remove(dir);
}

static void versions_of_before_the_state_went_back_do_no_harm(void **arg)
{
    (void)arg;
    struct history lost = {.n = 0}, kept = {.n = 0};
    char dir[64];
    struct state *s;
    kit_dir_new(dir);
    const struct state_options options = kit_options(dir);
    two_histories(&lost, &kept);
    must(state_open(&s, &options, &e));
    must(state_apply(s, lost.v, COMMON, &e));
    checkpoint(s);
    must(state_apply(s, lost.v + COMMON, PARTED - COMMON, &e));
    must(state_reset_to_checkpoint(s, &e));
    assert_no_harm(s, &kept);
    state_close(s);
    kit_dir_remove(dir);
    history_free(&lost);
    history_free(&kept);
}

static void versions_that_were_not_committed_do_no_harm(void **arg)
{
    (void)arg;
    struct history lost = {.n = 0}, kept = {.n = 0};
    char dir[64];
    struct state *s;
    kit_dir_new(dir);
    struct state_options options = kit_options(dir);
    options.map_bytes = 1u << 20;
    char *large = calloc(1, 900001);
    assert_non_null(large);
    memset(large, 'x', 900000);
    two_histories(&lost, &kept);
    history_put(&lost, "titles", "ZZ-99", large); /* behind the other in the same transaction */
    must(state_open(&s, &options, &e));
    must(state_apply(s, lost.v, COMMON, &e));
    must_fail(state_apply(s, lost.v + COMMON, lost.n - COMMON, &e), ERR_NO_SPACE, "map");
    assert_int_equal(state_applied(s).lsn.v, COMMON);
    assert_no_harm(s, &kept);
    state_close(s);
    kit_dir_remove(dir);
    free(large);
    history_free(&lost);
    history_free(&kept);
}

/* ---- the table ---- */

static struct bytes key_of(uint64_t n, size_t size, uint8_t out[64])
{
    memset(out, 'k', 64);
    put_be64(out, n);
    return bytes_of(out, size);
}

static void no_record_is_taken_for_another(void **arg)
{
    (void)arg;
    enum { MANY = 300000 }; /* more than there are places */
    struct links *l;
    uint8_t buffer[64];
    size_t found = 0;
    must(links_open(&l, &e));
    for (uint64_t n = 1; n <= MANY; n++)
        links_keep(l, key_of(n, 24, buffer), &(struct link){.lsn = {n}, .jumps = 1});
    for (uint64_t n = 1; n <= MANY; n++) {
        const uint64_t lsn = links_find(l, key_of(n, 24, buffer)).lsn.v;
        assert_true(lsn == n || lsn == 0);
        found += lsn == n;
        assert_int_equal(links_find(l, key_of(n, 23, buffer)).lsn.v, 0);
    }
    assert_in_range(found, LINKS_MAX_BYTES / 256, MANY - 1);
    links_close(l);
}

static void a_key_is_kept_whole_or_not_at_all(void **arg)
{
    (void)arg;
    struct links *l;
    uint8_t buffer[64];
    must(links_open(&l, &e));
    for (size_t size = 9; size <= 64; size++) {
        struct bytes key = key_of(size, size, buffer);
        links_keep(l, key, &(struct link){.lsn = {size}, .depth = 3, .jump = {{2}}, .jumps = 1});
        const struct link found = links_find(l, key);
        assert_int_equal(found.lsn.v, size <= 46 ? size : 0);
        assert_int_equal(found.depth, size <= 46 ? 3 : 0);
    }
    links_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_and_a_new_state_write_the_same_rows),
        cmocka_unit_test(versions_of_before_the_state_went_back_do_no_harm),
        cmocka_unit_test(versions_that_were_not_committed_do_no_harm),
        cmocka_unit_test(no_record_is_taken_for_another),
        cmocka_unit_test(a_key_is_kept_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
