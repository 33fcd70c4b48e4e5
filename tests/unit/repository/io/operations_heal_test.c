/* Packs that are gone or made again, in the operations log: what it names is missed until it is made again, at the place that the
 * signed tree gives it; where nothing proves the place nothing is sealed. */
#include "tests/unit/repository/io/operations_kit.h"

/* Byte where each pack's entries begin, and the end. */
static void seal_three(struct box *b, size_t at[4])
{
    for (size_t i = 0; i < 3; i++) {
        at[i] = b->feed.n;
        seal(b, 10);
    }
    at[3] = b->feed.n;
    publish(b);
}

static void a_pack_that_was_made_again_is_named_and_the_one_before_is_not_missed(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char old[REPO_NAME_BYTES], named[REPO_NAME_BYTES];
    size_t at[4];
    seal_three(b, at);
    for (unsigned i = 1; i <= 2; i++) { /* the middle one, and then the last */
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[i].o.name);
        remove_pack(b, i);
        assert_ok(repository_heal_pack(b->r, old, bytes_of(b->feed.p + at[i], at[i + 1] - at[i]),
                                       false, named, &e),
                  e);
        if (i == 2)
            reopen(b); /* a crash before it is recorded */
        assert_told(b, old, "the operations log names it, and it is missing");
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_whole(b, 3 + 2ull * i);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e); /* once */
        struct seen *s = read_log(b);
        assert_int_equal(s->n, 3 + 2 * i);
        const struct operation *pack = &s->at[s->n - 2], *heal = &s->at[s->n - 1];
        assert_pack(b, pack, i);
        assert_string_equal(pack->object, named);
        assert_int_equal(heal->kind, OPERATION_HEAL);
        assert_string_equal(heal->object, old);
        assert_string_equal(heal->detail, named);
        free(s);
    }
    reopen(b);
    seal(b, 3);
    publish(b);
    assert_whole(b, 8);
}

static int heal(struct box *b, const char *old, size_t from, size_t to, bool own, struct err *e)
{
    char named[REPO_NAME_BYTES];
    *e = (struct err)ERR_NONE;
    return repository_heal_pack(b->r, old, bytes_of(b->feed.p + from, to - from), own, named, e);
}

/* At the start: nothing of it is there, and the site seals behind it, at the entry that was signed. */
static void a_pack_that_is_gone_has_its_name_and_its_place_again(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char old[REPO_NAME_BYTES];
    size_t at[4];
    for (unsigned i = 0, packs = 0; i < 3; i++) { /* the first, the middle and the last of three */
        seal_three(b, at);
        packs += 3;
        const unsigned gone = packs - 3 + i;
        const struct entry_position end = b->r->inv.packs[gone].o.end;
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[gone].o.name);
        remove_pack(b, gone);
        reopen(b);
        assert_int_equal(b->r->inv.pack_count, packs);
        const struct repo_object *o = &b->r->inv.packs[gone].o;
        assert_string_equal(o->name, old);
        assert_true(o->damaged && !o->unplaced && repo_position_equal(&o->end, &end));
        struct repository_status s;
        repository_status(b->r, &s);
        assert_int_equal(s.archived.lsn.v, b->feed.at.lsn.v);
        assert_int_equal(s.damaged, 1);
        seal(b, 2);
        publish(b);
        packs++;
        assert_told(b, old, "the operations log names it, and it is missing");
        assert_int_not_equal(heal(b, old, at[(i + 1) % 3], at[(i + 1) % 3 + 1], true, &e), 0);
        assert_ok(heal(b, old, at[i], at[i + 1], false, &e), e);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_whole(
            b, 6u * (i + 1)); /* four packs, the new one, and that the old one need not be there */
    }
}

/* The last pack is named by nobody and is not in the tree, or what the tree says of it does not lead to what was signed. */
static void where_nothing_proves_the_place_nothing_is_sealed(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct repository_status s;
    char path[300], old[REPO_NAME_BYTES];
    size_t at[4];
    seal_three(b, at);
    const size_t begin = b->feed.n;
    seal(b, 4);
    const size_t end = b->feed.n;
    (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[3].o.name);
    find_object(&b->place, "packs", ".meta", 3, path);
    changed(path, 100, 0);
    for (int forged = 0; forged <= 1; forged++) {
        reopen(b);
        assert_true(b->r->inv.packs[3].o.unplaced);
        /* Of two that are damaged and have the same lsns, one stands for both. */
        assert_int_equal(b->r->inv.pack_count, 4);
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[3].o.name);
        repository_status(b->r, &s);
        assert_int_equal(s.archived.lsn.v, 30);
        assert_int_equal(repository_ready(b->r, &e), ERR_INTEGRITY);
        assert_non_null(strstr(e.text, old));
        feed_put(&b->feed, "land", "plot", "x", 1);
        assert_int_equal(feed_seal(&b->feed, b->r, NULL, NULL, &e), ERR_INTEGRITY);
        assert_int_equal(heal(b, old, begin, end, false, &e), ERR_INTEGRITY);
        assert_non_null(strstr(e.text, "say where it begins and ends"));
        assert_int_not_equal(heal(b, old, at[2], at[3], true, &e), 0);
        if (forged != 0) {
            assert_int_equal(heal(b, old, begin, end, true, &e), ERR_INTEGRITY);
            assert_non_null(strstr(e.text, "does not lead to the root"));
            break;
        }
        assert_ok(heal(b, old, begin, end, true, &e), e); /* as it might be sealed */
        assert_ok(repository_ready(b->r, &e), e);
        /* Once more, now in the tree, whose header of its last entry is not the one that was signed. */
        publish(b);
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[3].o.name);
        (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, old);
        memcpy(strrchr(path, '.'), ".meta", 6);
        changed(path, 100, 0);
        (void)snprintf(path, sizeof path, "%s/tree/tile/entries/000.p/34", b->place.dir);
        changed(path, 33 * TREE_LEAF_BYTES + 2 + 60, 0);
    }
}

static void what_was_disposed_of_does_not_come_back_when_its_mark_is_lost(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    size_t at[4];
    struct operation o = {.kind = OPERATION_DISPOSE, .has_reference = true};
    seal_three(b, at);
    (void)snprintf(o.object, sizeof o.object, "%s", b->r->inv.packs[1].o.name);
    o.last = b->r->inv.packs[1].o.end.lsn;
    assert_ok(repository_operations_add(b->r, &o, &e), e);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    char path[300];
    find_object(&b->place, "keys/1", ".pack.key", 1, path);
    assert_int_equal(unlink(path), 0);
    reopen(b);
    assert_int_equal(heal(b, o.object, at[1], at[2], true, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "its mark is missing"));
}

/* The old one is still there, and only its content is damaged: with the new one gone it stands in the chain again. */
static void a_pack_that_was_made_again_and_is_lost_is_made_once_more(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char old[REPO_NAME_BYTES], named[REPO_NAME_BYTES], path[300];
    size_t at[4];
    for (int restart = 0; restart <= 1; restart++) {
        seal_three(b, at);
        const size_t i = b->r->inv.pack_count - 2;
        const struct bytes entries = bytes_of(b->feed.p + at[1], at[2] - at[1]);
        (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[i].o.name);
        assert_ok(repository_heal_pack(b->r, old, entries, false, named, &e), e);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, named);
        assert_int_equal(unlink(path), 0);
        memcpy(strrchr(path, '.'), ".meta", 6);
        assert_int_equal(unlink(path), 0);
        assert_told(b, named, "the operations log names it, and it is missing");
        if (restart != 0)
            reopen(b);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_told(b, named, "the operations log names it, and it is missing");
        assert_ok(repository_heal_pack(b->r, old, entries, false, named, &e), e);
        assert_ok(repository_operations_settle(b->r, NULL, &e), e);
        assert_whole(b, 7u * (unsigned)(restart + 1));
    }
    reopen(b);
    seal(b, 1);
    publish(b);
    assert_whole(b, 15);
}

/* A copy has all but the new pack when it comes, and the old one besides. */
static void a_copy_gets_the_pack_that_was_made_again(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct place other;
    struct repository_copy *copy;
    struct repository_copy_report report;
    struct repository_report found;
    char old[REPO_NAME_BYTES], named[REPO_NAME_BYTES];
    struct damages d = {0};
    size_t at[4];
    place_make(&other);
    seal_three(b, at);
    assert_ok(repository_copy_open(&copy, other.dir, &e), e);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &report, &e), e);
    (void)snprintf(old, sizeof old, "%s", b->r->inv.packs[1].o.name);
    assert_ok(repository_heal_pack(b->r, old, bytes_of(b->feed.p + at[1], at[2] - at[1]), false,
                                   named, &e),
              e);
    assert_ok(repository_operations_settle(b->r, NULL, &e), e);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &report, &e), e);
    repository_copy_close(copy);
    struct repository *r = archive_open(&other, true);
    assert_string_equal(r->inv.packs[1].o.name, named);
    if (repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &d, &found, &e) != 0)
        fail_msg("%s", d.all);
    assert_int_equal(found.operations, 5);
    repository_close(r);
    place_drop(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_pack_that_was_made_again_is_named_and_the_one_before_is_not_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pack_that_is_gone_has_its_name_and_its_place_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(where_nothing_proves_the_place_nothing_is_sealed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            what_was_disposed_of_does_not_come_back_when_its_mark_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pack_that_was_made_again_and_is_lost_is_made_once_more,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_gets_the_pack_that_was_made_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
