/* Whatever the operations log names and is not there any more as it was is told; so is a log that was changed, cut or put
 * back. */
#include "tests/unit/repository/io/operations_kit.h"

static void an_object_that_is_gone_with_all_its_files_is_missed_by_name(void **state)
{
    struct box *b = *state;
    for (int i = 0; i < 3; i++)
        seal(b, 3);
    publish(b);
    char last[REPO_NAME_BYTES], middle[REPO_NAME_BYTES];
    memcpy(last, b->r->inv.packs[2].o.name, sizeof last);
    memcpy(middle, b->r->inv.packs[1].o.name, sizeof middle);
    remove_pack(b, 2);
    assert_told(b, last, "the operations log names it, and it is missing");
    remove_pack(b, 1);
    assert_told(b, middle, "the operations log names it, and it is missing");
}

static void objects_that_were_exchanged_are_told(void **state)
{
    struct box *b = *state;
    char a[300], z[300], x[200];
    struct damages d;
    struct repository_report report;
    for (int i = 0; i < 2; i++)
        seal(b, 3);
    publish(b);
    find_object(&b->place, "packs", ".pack", 0, a);
    find_object(&b->place, "packs", ".pack", 1, z);
    (void)snprintf(x, sizeof x, "%s/exchanged", b->place.root);
    assert_int_equal(rename(a, x), 0);
    assert_int_equal(rename(z, a), 0);
    assert_int_equal(rename(x, z), 0);
    assert_int_equal(verify(b, REPOSITORY_INTACT, &d, &report), ERR_INTEGRITY);
    assert_int_equal(report.damaged >= 2, true);
    assert_non_null(strstr(d.all, b->r->inv.packs[0].o.name));
    assert_non_null(strstr(d.all, b->r->inv.packs[1].o.name));
}

static void an_object_that_was_sealed_anew_is_not_the_recorded_one(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    seal(b, 3);
    seal(b, 3);
    publish(b);
    /* Whoever has the KEK seals other bytes of the same entries: everything fits but the log. */
    char name[REPO_NAME_BYTES], log[200], saved[200];
    memcpy(name, b->r->inv.packs[1].o.name, sizeof name);
    (void)snprintf(log, sizeof log, "%s/operations", b->place.dir);
    (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
    remove_pack(b, 1);
    assert_int_equal(rename(log, saved), 0); /* or it would be missed */
    reopen(b);
    tree_remove(log);
    assert_int_equal(rename(saved, log), 0);
    b->feed.mark = 0;
    for (size_t at = 0; b->feed.mark == 0;) {
        struct entry_view v;
        size_t used;
        assert_int_equal(entry_decode(bytes_of(b->feed.p + at, b->feed.n - at), &v, &used, NULL),
                         0);
        at += used;
        if (v.header.lsn.v == b->r->inv.packs[0].o.end.lsn.v)
            b->feed.mark = at;
    }
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
    assert_told(b, name, "the operations log names it, and it is missing");
    assert_told(b, b->r->inv.packs[1].o.name, "its entries are in the signed tree");
}

static void a_changed_log_is_told(void **state)
{
    struct box *b = *state;
    static const char *const names[] = {"operations/checkpoint", "operations/tile/0/000.p/3",
                                        "operations/tile/entries/000.p/3"};
    for (int i = 0; i < 3; i++)
        seal(b, 3);
    publish(b);
    for (size_t i = 0; i < 3; i++)
        for (size_t cut = 0; cut < 2; cut++) {
            char path[200], saved[200];
            (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, names[i]);
            (void)snprintf(saved, sizeof saved, "%s/saved", b->place.root);
            assert_int_equal(link(path, saved), 0);
            changed(path, 60, cut);
            assert_told(b, "operations", "operations/");
            struct err e = ERR_NONE;
            reopen(b);
            assert_int_equal(repository_operations_settle(b->r, NULL, &e), ERR_INTEGRITY);
            assert_int_equal(rename(saved, path), 0);
        }
    assert_whole(b, 3);
}

static void copy_file(const char *from, const char *to)
{
    size_t n;
    uint8_t *p = slurp(from, &n);
    (void)unlink(to);
    write_file(to, p, n, 0440);
    free(p);
}

static void a_log_that_was_put_back_is_told(void **state)
{
    struct box *b = *state;
    static const char *const names[] = {"checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"};
    char from[200], to[200];
    seal(b, 3);
    publish(b);
    for (int back = 0; back < 2; back++) {
        for (size_t i = 0; i < 3; i++) {
            (void)snprintf(from, sizeof from, "%s/operations/%s", b->place.dir, names[i]);
            (void)snprintf(to, sizeof to, "%s/kept-%zu", b->place.root, i);
            copy_file(back ? to : from, back ? from : to);
        }
        if (!back) {
            seal(b, 3);
            publish(b);
            assert_whole(b, 2);
        }
    }
    assert_told(b, b->r->inv.packs[1].o.name,
                "its entries are in the signed tree, and the operations");
}

static void a_log_that_is_gone_is_told(void **state)
{
    struct box *b = *state;
    char path[200];
    seal(b, 3);
    publish(b);
    (void)snprintf(path, sizeof path, "%s/operations", b->place.dir);
    tree_remove(path);
    assert_told(b, "operations/checkpoint", "it is missing, though its key lies in tree/keys");
}

static void a_tree_that_was_put_back_is_behind_its_log(void **state)
{
    struct box *b = *state;
    char from[200], to[200];
    seal(b, 3);
    publish(b);
    (void)snprintf(from, sizeof from, "%s/tree/checkpoint", b->place.dir);
    (void)snprintf(to, sizeof to, "%s/kept", b->place.root);
    copy_file(from, to);
    seal(b, 3);
    publish(b);
    seal(b, 3);
    publish(b);
    copy_file(to, from);
    assert_told(b, "tree/checkpoint", "the operations log names a signed tree of");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_object_that_is_gone_with_all_its_files_is_missed_by_name,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(objects_that_were_exchanged_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(an_object_that_was_sealed_anew_is_not_the_recorded_one,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_log_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_that_was_put_back_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_that_is_gone_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tree_that_was_put_back_is_behind_its_log, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
