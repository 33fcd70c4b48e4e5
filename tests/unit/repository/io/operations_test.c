/* The operations log of an archive: it names what was sealed, takes what is handed in, and survives crashes. */
#include "tests/unit/repository/io/operations_kit.h"

#include <errno.h>

static void each_pack_is_named_and_bound_to_the_tree_before(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repository_tree *t = NULL;
    seal(b, 20);
    publish(b);
    assert_ok(repository_tree_read(&t, b->place.dir, &e), e);
    struct tlog_checkpoint first = *repository_tree_checkpoint(t);
    repository_tree_close(t);
    seal(b, 5);
    seal(b, 5);
    publish(b);
    publish(b); /* nothing new */
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_pack(b, &s->at[i], i);
        assert_false(s->at[i].mended);
    }
    assert_int_equal(s->at[0].tree_size, 0); /* nothing was published then */
    assert_int_equal(s->at[2].tree_size, first.size);
    assert_true(sha256_equal(&s->at[2].tree_root, &first.root));
    free(s);
    assert_whole(b, 3);
    reopen(b);
    seal(b, 1);
    publish(b);
    assert_whole(b, 4);
}

static void an_archive_that_is_older_than_its_log_gets_it(void **state)
{
    struct box *b = *state;
    struct damages d;
    struct repository_report report;
    char path[200];
    (void)snprintf(path, sizeof path, "%s/tree", b->place.dir);
    repository_close(b->r);
    tree_remove(path);
    assert_int_equal(unlink(b->key), 0);
    b->r = archive_open(&b->place, false); /* it signs nothing */
    for (unsigned i = 0; i < 70; i++)      /* more than one batch */
        seal(b, 1);
    if (verify(b, REPOSITORY_READABLE, &d, &report) != 0)
        fail_msg("%s", d.all);
    assert_int_equal(report.operations, 0); /* none yet, and that is no damage */
    reopen(b);
    publish(b);
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 70);
    for (size_t i = 0; i < 70; i++) {
        assert_pack(b, &s->at[i], i);
        assert_true(s->at[i].mended);
    }
    free(s);
    assert_whole(b, 70);
}

static void what_is_not_recorded_yet_is_counted_and_no_damage(void **state)
{
    struct box *b = *state;
    struct damages d;
    struct repository_report report;
    seal(b, 3);
    publish(b);
    seal(b, 3);
    if (verify(b, REPOSITORY_READABLE, &d, &report) != 0)
        fail_msg("%s", d.all);
    assert_int_equal(report.unnamed, 1);
    publish(b);
    assert_whole(b, 2);
}

/* ---- handed in ---- */

static void hand_in(struct box *b, enum operation_kind kind, uint64_t checked)
{
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, true); /* beside the site */
    struct operation o = {.kind = kind, .checked = checked, .detail = "readable"};
    assert_ok(repository_operations_add(r, &o, &e), e);
    assert_true(o.id != 0 && o.time.us != 0);
    repository_close(r);
}

static void what_is_handed_in_counts_at_once_and_is_signed_later(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct operations_summary sum;
    static struct seen all;
    seal(b, 3);
    publish(b);
    hand_in(b, OPERATION_VERIFY, 7);
    hand_in(b, OPERATION_DRILL, 8);
    all = (struct seen){0};
    assert_ok(repository_operations_of(b->r, see, &all, &sum, &e), e);
    assert_true(all.n == 3 && all.pending == 2 && sum.pending == 2 && sum.leaves == 1);
    assert_true(all.at[1].checked == 7 && all.at[2].checked == 8);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 3);
    assert_true(s->at[1].kind == OPERATION_VERIFY && s->at[1].id == all.at[1].id);
    assert_int_equal(s->at[2].tree_size, b->feed.at.lsn.v);
    free(s);
    assert_ok(repository_operations_of(b->r, see, &(struct seen){0}, &sum, &e), e);
    assert_int_equal(sum.pending, 0);
    assert_whole(b, 3);
    struct operation pack = {.kind = OPERATION_PACK};
    assert_int_equal(repository_operations_add(b->r, &pack, &e), ERR_USAGE);
}

static void pending_path(struct box *b, char out[300])
{
    find_object(&b->place, "operations/pending", ".json", 0, out);
}

static void what_cannot_be_removed_is_taken_once(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[300], saved[200];
    seal(b, 3);
    hand_in(b, OPERATION_VERIFY, 7);
    pending_path(b, path);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    assert_int_equal(link(path, saved), 0);
    publish(b);
    for (int i = 0; i < 2; i++) {
        assert_true(link(saved, path) == 0 || errno == EEXIST); /* as if it were still there */
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_whole(b, 2);
        reopen(b);
    }
}

static void nothing_is_taken_whose_seal_does_not_hold(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[300];
    size_t n;
    seal(b, 3);
    publish(b);
    hand_in(b, OPERATION_DISPOSE, 1);
    pending_path(b, path);
    uint8_t *p = slurp(path, &n), *at = memmem(p, n, "\"checked\":1", 11);
    assert_non_null(at);
    at[10] = '2';
    assert_int_equal(unlink(path), 0);
    write_file(path, p, n, 0440);
    free(p);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e); /* the site goes on */
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 1);
    free(s);
    assert_told(b, path + strlen(b->place.dir) + 1, "it cannot be taken");
}

/* ---- crashes ---- */

static void an_interrupted_writer_is_finished_with_the_same_leaves(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[200], next[200], saved[200];
    (void)snprintf(path, sizeof path, "%s/operations/checkpoint", b->place.dir);
    (void)snprintf(next, sizeof next, "%s/operations/next", b->place.dir);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    seal(b, 3);
    publish(b);
    assert_int_equal(link(path, saved), 0);
    hand_in(b, OPERATION_VERIFY, 7);
    seal(b, 3);
    publish(b);
    struct seen *before = read_log(b);
    assert_int_equal(before->n, 3);
    /* As if the power had gone before the checkpoint: the tiles are there. */
    assert_int_equal(rename(saved, path), 0);
    reopen(b);
    seal(b, 3);
    publish(b);
    struct seen *after = read_log(b);
    assert_int_equal(after->n, 4);
    assert_memory_equal(after->at, before->at, 3 * sizeof before->at[0]);
    assert_whole(b, 4);
    free(before);
    free(after);
    /* Without what was written down before, other leaves do not get over the tiles: nothing is signed. */
    assert_int_equal(link(path, saved), 0);
    hand_in(b, OPERATION_VERIFY, 8);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    assert_int_equal(rename(saved, path), 0);
    assert_int_equal(unlink(next), 0);
    reopen(b);
    seal(b, 3);
    assert_int_equal(repository_operations_settle(b->r, NULL, &e), ERR_INTEGRITY);
}

/* ---- what was removed ---- */

static void a_checkpoint_that_was_removed_is_damage_and_not_signed_over(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[200], saved[200];
    (void)snprintf(path, sizeof path, "%s/operations/checkpoint", b->place.dir);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    /* The leaves of the first one are written down: they come again as they were. */
    seal(b, 3);
    publish(b);
    struct seen *before = read_log(b);
    assert_int_equal(unlink(path), 0);
    reopen(b);
    publish(b);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    struct seen *after = read_log(b);
    assert_true(before->n == 1 && after->n == 1);
    assert_memory_equal(after->at, before->at, sizeof before->at[0]);
    free(before);
    free(after);
    /* Those of later ones are not. */
    seal(b, 3);
    publish(b);
    assert_int_equal(rename(path, saved), 0);
    reopen(b);
    seal(b, 3);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(repository_operations_settle(b->r, NULL, &e), ERR_INTEGRITY);
        assert_non_null(
            strstr(e.text, "operations/checkpoint is missing, and what it signed lies"));
        assert_int_equal(access(path, F_OK), -1);
    }
    assert_int_equal(rename(saved, path), 0);
    publish(b);
    assert_whole(b, 3);
    assert_string_equal(repository_operations_lost(b->r), "");
}

static void a_log_that_was_removed_is_told_when_another_is_begun(void **state)
{
    struct box *b = *state;
    char path[200];
    (void)snprintf(path, sizeof path, "%s/operations", b->place.dir);
    seal(b, 3);
    publish(b);
    assert_string_equal(repository_operations_lost(b->r), "");
    seal(b, 3);
    publish(b);
    tree_remove(path);
    reopen(b);
    seal(b, 3);
    publish(b);
    const char *lost = repository_operations_lost(b->r);
    assert_true(lost == strstr(lost, "LOST operations/: ") && strstr(lost, "archive verify"));
    assert_whole(b, 3);
}

static void the_log_grows_over_many_tiles(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[200];
    seal(b, 3);
    publish(b);
    for (unsigned i = 0; i < 530; i++)
        hand_in(b, OPERATION_DRILL, i + 1);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 531);
    free(s);
    assert_whole(b, 531);
    reopen(b);
    hand_in(b, OPERATION_DRILL, 1000);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    assert_whole(b, 532);
    (void)snprintf(path, sizeof path, "%s/operations/tile/entries/000.p", b->place.dir);
    assert_int_equal(access(path, F_OK), -1); /* partial ones go when the full one is there */
    (void)snprintf(path, sizeof path, "%s/operations/tile/entries/000", b->place.dir);
    assert_int_equal(access(path, F_OK), 0);
}

/* ---- holds and releases ---- */

static struct repository_ordered ordered(bool release, uint8_t nonce, uint8_t ends, uint64_t lsn)
{
    return (struct repository_ordered){
        release, {{nonce}, {lsn}, {1700000000000000 + lsn}, {{nonce, 7}}}, {ends}};
}

static void assert_ordered(const struct operation *o, enum operation_kind kind, uint64_t lsn,
                           const char *detail)
{
    assert_int_equal(o->kind, kind);
    assert_int_equal(o->last.v, lsn);
    assert_int_equal(o->time.us, 1700000000000000 + lsn);
    assert_string_equal(o->detail, detail);
    assert_true(o->has_reference && o->reference.b[1] == 7);
}

#define ZEROS "000000000000000000000000000000"
static void each_hold_and_release_has_one_leaf_however_often_it_is_told(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repository_ordered at[3] = {ordered(false, 0xa1, 0, 5), ordered(true, 0xa2, 0xa1, 6),
                                       ordered(false, 0xa3, 0, 7)};
    const struct repository_orders two = {at, 2}, three = {at, 3};
    seal(b, 8);
    assert_ok(repository_operations_settle(b->r, &two, &e), e);
    assert_ok(repository_operations_settle(b->r, &two, &e), e);
    publish(b);
    reopen(b); /* and all of them are told again */
    assert_ok(repository_operations_settle(b->r, &three, &e), e);
    reopen(b);
    assert_ok(repository_operations_settle(b->r, &three, &e), e);
    struct seen *s = read_log(b);
    assert_int_equal(s->n, 4);
    assert_ordered(&s->at[0], OPERATION_HOLD, 5, "warrant a1" ZEROS);
    assert_ordered(&s->at[1], OPERATION_RELEASE, 6, "warrant a2" ZEROS " ends warrant a1" ZEROS);
    assert_ordered(&s->at[3], OPERATION_HOLD, 7, "warrant a3" ZEROS);
    free(s);
    assert_whole(b, 4);
}

static void a_hold_that_was_being_written_down_is_neither_lost_nor_doubled(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char path[200], next[200], saved[200];
    struct repository_ordered at[1] = {ordered(false, 0xa1, 0, 2)};
    const struct repository_orders orders = {at, 1};
    (void)snprintf(path, sizeof path, "%s/operations/checkpoint", b->place.dir);
    (void)snprintf(next, sizeof next, "%s/operations/next", b->place.dir);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    for (int written = 0; written < 2; written++) {
        seal(b, 3);
        publish(b);
        assert_int_equal(link(path, saved), 0);
        assert_ok(repository_operations_settle(b->r, &orders, &e), e);
        struct seen *before = read_log(b);
        assert_int_equal(rename(saved, path), 0); /* the power goes before the checkpoint */
        reopen(b);
        assert_ok(repository_operations_settle(b->r, &orders, &e), e);
        struct seen *after = read_log(b);
        assert_int_equal(after->n, before->n);
        assert_memory_equal(after->at, before->at, before->n * sizeof before->at[0]);
        free(before);
        free(after);
        at[0] = ordered(true, 0xa2, 0xa1, 3);
    }
    assert_whole(b, 4);
}

static void who_holds_is_said_by_the_site_alone(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct operation o = {
        .kind = OPERATION_HOLD, .last = {1}, .detail = "warrant a1" ZEROS, .has_reference = true};
    seal(b, 3);
    assert_int_equal(repository_operations_add(b->r, &o, &e), ERR_USAGE);
    o.kind = OPERATION_RELEASE;
    assert_int_equal(repository_operations_add(b->r, &o, &e), ERR_USAGE);
    o.kind = OPERATION_DRILL;
    assert_ok(repository_operations_add(b->r, &o, &e), e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_pack_is_named_and_bound_to_the_tree_before, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_archive_that_is_older_than_its_log_gets_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_not_recorded_yet_is_counted_and_no_damage, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_handed_in_counts_at_once_and_is_signed_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_removed_is_taken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_taken_whose_seal_does_not_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(a_checkpoint_that_was_removed_is_damage_and_not_signed_over,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_that_was_removed_is_told_when_another_is_begun, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_interrupted_writer_is_finished_with_the_same_leaves,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(each_hold_and_release_has_one_leaf_however_often_it_is_told,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_hold_that_was_being_written_down_is_neither_lost_nor_doubled, setup, teardown),
        cmocka_unit_test_setup_teardown(who_holds_is_said_by_the_site_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(the_log_grows_over_many_tiles, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
