/* A pack whose meta is lost is made again from its own file, and from nothing that is not exactly that file. */
#include "repository/scrub.h"
#include "tests/unit/repository/fixture.h"

enum { PACKS = 3, ENTRIES = 600 /* several frames */ };

struct box {
    struct place place;
    struct feed feed;
    struct repository *r;
    char name[PACKS][REPO_NAME_BYTES], file[PACKS][300];
};

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    struct err e = ERR_NONE;
    assert_non_null(b);
    place_make(&b->place);
    b->r = archive_open(&b->place, false);
    for (unsigned i = 0; i < PACKS; i++) {
        feed_mixed(&b->feed, ENTRIES);
        feed_point(&b->feed, i == 0 ? "first" : i == 1 ? "middle" : "last");
        assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
        find_object(&b->place, "packs", ".pack", i, b->file[i]);
        (void)snprintf(b->name[i], sizeof b->name[i], "packs/%s", strrchr(b->file[i], '/') + 1);
    }
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    repository_close(b->r);
    feed_drop(&b->feed);
    place_drop(&b->place);
    free(b);
    return 0;
}

static void flip(const char *path, size_t at)
{
    size_t n;
    uint8_t *p = slurp(path, &n);
    p[at < n ? at : n / 2] ^= 1;
    assert_int_equal(chmod(path, 0600), 0);
    write_file(path, p, n, 0400);
    free(p);
}

static void damage_meta(const struct box *b, unsigned i)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s", b->file[i]);
    memcpy(strrchr(path, '.'), ".meta", 6);
    flip(path, 60);
}

static void open_again(struct box *b)
{
    repository_close(b->r);
    b->r = archive_open(&b->place, false);
}

static unsigned damaged(struct box *b)
{
    struct repository_report report;
    struct damages d = {0};
    struct err e = ERR_NONE;
    (void)repository_verify(b->r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e);
    return d.n;
}

static void its_own_file_is_enough_wherever_it_stands(void **state)
{
    struct box *b = *state;
    for (unsigned i = 0; i < PACKS; i++) {
        struct err e = ERR_NONE;
        char named[REPO_NAME_BYTES] = "";
        damage_meta(b, i);
        open_again(b);
        assert_int_not_equal(damaged(b), 0);
        assert_ok(repository_salvage_pack(b->r, b->name[i], named, &e), e);
        assert_string_not_equal(named, b->name[i]);
        open_again(b);
        assert_int_equal(damaged(b), 0);
        assert_archived(b->r, &b->feed, b->feed.n);
    }
    struct err e = ERR_NONE; /* and the archive goes on behind it */
    feed_mixed(&b->feed, 5);
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
    assert_archived(b->r, &b->feed, b->feed.n);
}

static void its_restore_points_are_found_again(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char named[REPO_NAME_BYTES];
    const struct restore_target target = {.point = "middle"};
    struct restore_plan plan;
    damage_meta(b, 1);
    open_again(b);
    assert_int_not_equal(repository_plan(b->r, &target, &plan, &e), 0);
    assert_ok(repository_salvage_pack(b->r, b->name[1], named, &e), e);
    assert_ok(repository_plan(b->r, &target, &plan, &e), e);
    assert_int_equal(plan.lsn.v, 2 * (ENTRIES + 1));
}

static void a_file_that_is_damaged_is_not_taken(void **state)
{
    struct box *b = *state;
    size_t n;
    free(slurp(b->file[1], &n));
    damage_meta(b, 1);
    open_again(b);
    for (size_t at = 0; at < n; at += n / 7) {
        struct err e = ERR_NONE;
        char named[REPO_NAME_BYTES];
        flip(b->file[1], at);
        assert_int_equal(repository_salvage_pack(b->r, b->name[1], named, &e), ERR_INTEGRITY);
        flip(b->file[1], at);
    }
    assert_int_equal(truncate(b->file[1], (off_t)n / 2), 0);
    struct err e = ERR_NONE;
    char named[REPO_NAME_BYTES];
    assert_int_not_equal(repository_salvage_pack(b->r, b->name[1], named, &e), 0);
    assert_int_equal(unlink(b->file[1]), 0);
    assert_int_equal(repository_salvage_pack(b->r, b->name[1], named, &e), ERR_NOT_FOUND);
    assert_int_equal(repository_salvage_pack(b->r, "packs/none", named, &e), ERR_NOT_FOUND);
}

static void the_file_of_another_pack_is_not_taken(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char named[REPO_NAME_BYTES];
    size_t n;
    uint8_t *p = slurp(b->file[2], &n);
    damage_meta(b, 1);
    assert_int_equal(unlink(b->file[1]), 0);
    write_file(b->file[1], p, n, 0400);
    free(p);
    open_again(b);
    assert_int_equal(repository_salvage_pack(b->r, b->name[1], named, &e), ERR_INTEGRITY);
}

struct told {
    unsigned made, refused;
    char last[ERR_TEXT_BYTES];
};

static void note_told(void *arg, const char *object, const char *what)
{
    struct told *t = arg;
    t->made += strncmp(what, "made again from its own file, as packs/", 39) == 0;
    t->refused += strncmp(what, "not made again from its own file: ", 34) == 0;
    (void)snprintf(t->last, sizeof t->last, "%s: %s", object, what);
}

static void all_that_can_be_are_made_again_and_of_the_others_it_is_told_why(void **state)
{
    struct box *b = *state;
    struct told told = {0};
    struct err e = ERR_NONE;
    uint64_t made;
    damage_meta(b, 0);
    damage_meta(b, 2); /* that between them says where both belong */
    flip(b->file[2], 5000);
    open_again(b);
    assert_int_equal(repository_salvageable(b->r), 2);
    assert_ok(repository_salvage(b->r, note_told, &told, &made, &e), e);
    assert_int_equal(made, 1);
    assert_true(told.made == made && told.refused == 1);
    open_again(b);
    assert_int_equal(repository_salvageable(b->r), 1);
    told = (struct told){0};
    assert_ok(repository_salvage(b->r, note_told, &told, &made, &e), e);
    assert_true(made == 0 && told.made == 0 && told.refused == 1);
    assert_non_null(strstr(told.last, b->name[2]));
    flip(b->file[2], 5000);
    assert_ok(repository_salvage(b->r, note_told, &told, &made, &e), e);
    open_again(b);
    assert_int_equal(repository_salvageable(b->r), 0);
    assert_archived(b->r, &b->feed, b->feed.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(its_own_file_is_enough_wherever_it_stands, setup, teardown),
        cmocka_unit_test_setup_teardown(its_restore_points_are_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_damaged_is_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(the_file_of_another_pack_is_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(
            all_that_can_be_are_made_again_and_of_the_others_it_is_told_why, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
