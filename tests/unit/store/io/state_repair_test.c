/* Damage in a state that is in use: overwriting a rotten record does not spoil the sums; a record that another site gives is
 * taken when it is proven to be the very version that is damaged here, and never otherwise; counting again finds what no
 * checksum shows. */
#include "state_kit.h"

#include "store/finding.h"

struct place {
    char dir[64];
    struct history h;
    struct state *s;
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

/* ---- a state with records that can be found in its file ---- */

static void apply_new(struct place *p, size_t before)
{
    must(state_apply(p->s, p->h.v + before, p->h.n - before, &e));
}

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    kit_dir_new(p->dir);
    struct state_options options = kit_options(p->dir);
    must(state_open(&p->s, &options, &e));
    char key[16], value[64];
    for (unsigned i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof key, "k%03u", i);
        (void)snprintf(value, sizeof value, "VALUE-OF-RECORD-%03u-END", i);
        history_put(&p->h, i % 3 == 0 ? "deeds" : "titles", key, value);
    }
    apply_new(p, 0);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    state_close(p->s);
    kit_dir_remove(p->dir);
    history_free(&p->h);
    free(p);
    return 0;
}

/* Change the row of the record in the running state, through the file: `from` is relative to the value's start, the row's head
 * lies before it (store/io/state_rows.h). Old copies of the page are changed alike, which nobody minds. */
static void rot(struct place *p, const char *value, int from, size_t n)
{
    size_t bytes, found = 0;
    uint8_t *data = kit_read(p->dir, "data.mdb", &bytes);
    char path[128];
    kit_path(path, p->dir, "data.mdb");
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    for (const uint8_t *at = data;
         (at = memmem(at, bytes - (size_t)(at - data), value, strlen(value))) != NULL; at++) {
        uint8_t bad[64];
        assert_true(n <= sizeof bad);
        for (size_t i = 0; i < n; i++)
            bad[i] = (uint8_t)(at[from + (int)i] ^ 0x10);
        assert_int_equal(pwrite(fd, bad, n, at - data + from), (ssize_t)n);
        found++;
    }
    assert_true(found > 0);
    (void)close(fd);
    free(data);
}

enum { ROW_CRC = -40, ROW_FORMAT = -36, ROW_LSN = -32, ROW_DIGEST = -16 };

static struct findings recount(struct place *p)
{
    struct findings all = {.n = 0};
    const struct finding_sink sink = {on_found, NULL, &all};
    for (unsigned i = 0; i < 10000; i++) {
        size_t bytes;
        struct err e = ERR_NONE;
        int rc = state_recount_step(p->s, 700, &sink, &bytes, &e);
        if (rc == ERR_NOT_FOUND)
            return all;
        if (rc != 0)
            fail_msg("%s", e.text);
        assert_true(bytes > 0);
    }
    fail_msg("the count does not end");
    return all;
}

static void verify(struct place *p)
{
    struct state_snapshot *snap;
    must(state_snapshot_open(p->s, &snap, &e));
    must(state_verify(snap, &e));
    state_snapshot_close(snap);
}

static struct state_doubt doubt(struct place *p)
{
    struct state_doubt d;
    state_doubt(p->s, &d);
    return d;
}

/* What the history says of a record: its last put. */
static struct record truth(const struct place *p, const char *collection, const char *key)
{
    struct record r = {.value = {NULL, 0}};
    for (size_t i = 0; i < p->h.n; i++) {
        struct body_txn txn;
        struct op op;
        const struct entry_view *v = &p->h.v[i];
        must(body_read_txn(bytes_of(v->body, v->header.body_bytes), &txn, &e));
        must(body_next_op(&txn.ops, &op, &e));
        if (bytes_equal(op.collection, bytes_str(collection)) &&
            bytes_equal(op.key, bytes_str(key)))
            r = (struct record){op.collection, op.key, op.value, v->header.lsn, v->header.time};
    }
    assert_non_null(r.value.p);
    return r;
}

static void reads_as(struct place *p, const char *collection, const char *key, const char *value)
{
    struct state_snapshot *snap;
    struct record r;
    must(state_snapshot_open(p->s, &snap, &e));
    must(state_get(snap, bytes_str(collection), bytes_str(key), &r, &e));
    assert_true(bytes_equal(r.value, bytes_str(value)));
    state_snapshot_close(snap);
}

/* ---- overwriting ---- */

static void
overwriting_a_rotten_record_goes_on_and_the_sums_are_right_again_after_a_count(void **state)
{
    static const struct {
        int from;
        size_t n;
    } places[] = {{ROW_CRC, 4},     {ROW_FORMAT, 2}, {ROW_LSN, 8},
                  {ROW_DIGEST, 16}, {3, 1},          {ROW_CRC, 50}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        for (unsigned delete = 0; delete < 2; delete ++) {
            struct place *p = *state;
            char key[16], value[64];
            unsigned n = 10 + 20 * (unsigned)i + delete;
            const char *collection = n % 3 == 0 ? "deeds" : "titles";
            (void)snprintf(key, sizeof key, "k%03u", n);
            (void)snprintf(value, sizeof value, "VALUE-OF-RECORD-%03u-END", n);
            rot(p, value, places[i].from, places[i].n);
            size_t before = p->h.n;
            if (delete)
                history_delete(&p->h, collection, key);
            else
                history_put(&p->h, collection, key, "new");
            apply_new(p, before);
            assert_true(doubt(p).doubted);
            assert_non_null(strstr(doubt(p).last, key));
            struct findings all = recount(p);
            assert_int_equal(all.n, 0);
            assert_false(doubt(p).doubted);
            verify(p);
        }
}

static void doubt_outlives_a_restart(void **state)
{
    struct place *p = *state;
    struct entry_position at;
    rot(p, "VALUE-OF-RECORD-150-END", ROW_DIGEST, 16);
    size_t before = p->h.n;
    history_put(&p->h, "deeds", "k150", "new");
    apply_new(p, before);
    must(state_checkpoint_begin(p->s, &at, &e));
    must(state_checkpoint_finish(p->s, &e));
    state_close(p->s);
    struct state_options options = kit_options(p->dir);
    must(state_open(&p->s, &options, &e));
    assert_true(doubt(p).doubted);
    assert_int_equal(doubt(p).since.v, p->h.n);
    assert_int_equal(recount(p).n, 0);
    assert_false(doubt(p).doubted);
    verify(p);
}

static void sums_below_damage_stay_in_doubt_until_it_is_repaired(void **state)
{
    struct place *p = *state;
    rot(p, "VALUE-OF-RECORD-150-END", ROW_DIGEST, 16);
    rot(p, "VALUE-OF-RECORD-151-END", 2, 1);
    size_t before = p->h.n;
    history_put(&p->h, "deeds", "k150", "new");
    apply_new(p, before);
    struct findings all = recount(p);
    assert_int_equal(all.kind[FINDING_RECORD], 1);
    assert_string_equal(all.key, "k151");
    assert_true(doubt(p).doubted);
    struct record r = truth(p, "titles", "k151");
    must(state_repair_record(p->s, &r, &e));
    assert_int_equal(recount(p).n, 0);
    assert_false(doubt(p).doubted);
    verify(p);
}

/* ---- counting while entries are applied ---- */

static void a_count_follows_what_is_applied_between_its_steps(void **state)
{
    struct place *p = *state;
    struct chance c = {99};
    struct findings all = {.n = 0};
    const struct finding_sink sink = {on_found, NULL, &all};
    for (unsigned pass = 0, steps = 0; pass < 5; steps++) {
        size_t bytes, before = p->h.n;
        struct err e = ERR_NONE;
        assert_true(steps < 100000);
        history_random(&p->h, &c, 3, 200, 500);
        apply_new(p, before);
        int rc = state_recount_step(p->s, 1500, &sink, &bytes, &e);
        pass += rc == ERR_NOT_FOUND;
        if (rc != 0 && rc != ERR_NOT_FOUND)
            fail_msg("%s", e.text);
        if (all.n != 0)
            fail_msg("%s", all.text);
    }
    verify(p);
}

/* ---- repair ---- */

static void whatever_rots_in_a_row_is_repaired_by_the_same_version(void **state)
{
    static const struct {
        int from;
        size_t n;
    } places[] = {{ROW_CRC, 4},     {ROW_CRC, 1},     {ROW_FORMAT, 2}, {ROW_LSN, 8},
                  {ROW_LSN + 8, 8}, {ROW_DIGEST, 16}, {0, 20},         {5, 1}};
    struct place *p = *state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        rot(p, "VALUE-OF-RECORD-007-END", places[i].from, places[i].n);
        struct record r = truth(p, "titles", "k007");
        must(state_repair_record(p->s, &r, &e));
        reads_as(p, "titles", "k007", "VALUE-OF-RECORD-007-END");
        verify(p);
        must_fail(state_repair_record(p->s, &r, &e), ERR_NOT_FOUND, "not damaged any more");
    }
}

static void another_version_is_not_taken(void **state)
{
    struct place *p = *state;
    struct record r = truth(p, "titles", "k007");
    rot(p, "VALUE-OF-RECORD-007-END", 5, 1);
    struct record newer = r, other = r;
    newer.lsn.v++;
    other.value = bytes_str("VALUE-OF-RECORD-008-END");
    must_fail(state_repair_record(p->s, &newer, &e), ERR_STALE, "not counted yet");
    must_fail(state_repair_record(p->s, &other, &e), ERR_STALE, "not counted yet");
    (void)recount(p);
    must_fail(state_repair_record(p->s, &newer, &e), ERR_STALE, "another version");
    must_fail(state_repair_record(p->s, &other, &e), ERR_STALE, "another version");
    struct record nobody = r;
    nobody.key = bytes_str("nobody");
    must_fail(state_repair_record(p->s, &nobody, &e), ERR_NOT_FOUND, "gone");
    nobody.collection = bytes_str("nowhere");
    must_fail(state_repair_record(p->s, &nobody, &e), ERR_NOT_FOUND, "gone");
    must(state_repair_record(p->s, &r, &e));
    verify(p);
}

static void a_row_that_says_nothing_any_more_is_proven_by_its_bucket(void **state)
{
    struct place *p = *state;
    struct record r = truth(p, "titles", "k007"), other = r;
    rot(p, "VALUE-OF-RECORD-007-END", ROW_CRC, 40 + 23);
    must_fail(state_repair_record(p->s, &r, &e), ERR_STALE, "not counted yet");
    struct findings all = recount(p);
    assert_int_equal(all.n, 1);
    assert_string_equal(all.key, "k007");
    assert_string_equal(all.collection, "titles");
    other.lsn.v--;
    must_fail(state_repair_record(p->s, &other, &e), ERR_STALE, "another version");
    must(state_repair_record(p->s, &r, &e));
    reads_as(p, "titles", "k007", "VALUE-OF-RECORD-007-END");
    verify(p);
    assert_int_equal(recount(p).n, 0);
}

static void what_was_overwritten_or_deleted_meanwhile_is_left_alone(void **state)
{
    struct place *p = *state;
    struct record r = truth(p, "titles", "k007");
    rot(p, "VALUE-OF-RECORD-007-END", 5, 1);
    size_t before = p->h.n;
    history_put(&p->h, "titles", "k007", "new");
    apply_new(p, before);
    must_fail(state_repair_record(p->s, &r, &e), ERR_NOT_FOUND, "not damaged any more");
    reads_as(p, "titles", "k007", "new");
    before = p->h.n;
    history_delete(&p->h, "titles", "k007");
    apply_new(p, before);
    must_fail(state_repair_record(p->s, &r, &e), ERR_NOT_FOUND, "gone");
    assert_int_equal(recount(p).n, 0);
    verify(p);
}

/* ---- the other rows ---- */

static void each_row_beside_the_records_is_looked_at(void **state)
{
    struct place *p = *state;
    struct uuid session = {
        {'S', 'E', 'S', 'S', 'I', 'O', 'N', '-', 'U', 'U', 'I', 'D', '-', '1', '2', '3'}};
    struct op op = {OP_PUT, bytes_str("deeds"), bytes_str("x"), bytes_str("y")};
    size_t before = p->h.n;
    history_session(&p->h, &session, SESSION_OPEN, "CLIENT-NAME");
    history_txn(&p->h, &session, 7, &op, 1);
    history_point(&p->h, "NAME-OF-A-POINT");
    apply_new(p, before);
    for (unsigned round = 0; round < 3; round++) {
        struct state_rows_walk w = {.db = 0};
        struct findings all = {.n = 0};
        const struct finding_sink sink = {on_found, NULL, &all};
        int rc = 0;
        size_t total = 0;
        if (round == 1)
            rot(p, "CLIENT-NAME", 2, 1);
        if (round == 2)
            rot(p, "NAME-OF-A-POINT", 17, 1); /* in the row behind the key */
        for (unsigned steps = 0; rc == 0; steps++) {
            struct state_snapshot *snap;
            size_t bytes;
            assert_true(steps < 10000);
            must(state_snapshot_open(p->s, &snap, &e));
            rc = state_rows_step(snap, &w, 300, &sink, &bytes, NULL);
            state_snapshot_close(snap);
            total += bytes;
        }
        assert_int_equal(rc, ERR_NOT_FOUND);
        assert_true(total > 4096 * 22);
        assert_int_equal(all.n, round);
        assert_int_equal(all.kind[FINDING_ROW], round);
        if (round == 2)
            assert_string_equal(all.collection, "points");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            overwriting_a_rotten_record_goes_on_and_the_sums_are_right_again_after_a_count, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(doubt_outlives_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sums_below_damage_stay_in_doubt_until_it_is_repaired,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_count_follows_what_is_applied_between_its_steps, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(whatever_rots_in_a_row_is_repaired_by_the_same_version,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_version_is_not_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_row_that_says_nothing_any_more_is_proven_by_its_bucket,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_overwritten_or_deleted_meanwhile_is_left_alone,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_row_beside_the_records_is_looked_at, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
