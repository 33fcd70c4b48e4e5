/* Generations of keys are parts of the archive: what happens to a file of a generation that nothing reads is found, comes back
 * from a copy or from another generation, and what was given up or never was there is not missed. */
#include "tests/unit/repository/io/parts_kit.h"

#include "repository/keys.h"

enum { SMALL = 5, PACKS = 3 };

static const char second_kek[] = "1111111111111111111111111111111111111111111111111111111111111111";

static const char *key_file(const char *path, const struct box *b)
{
    return path + strlen(b->place.dir) + 1;
}

static void rotate(struct box *b, const char *from, const char *to)
{
    struct repository *r = archive_open_at(b->place.dir, from, true);
    const struct repository_keys_work work = {.arg = NULL};
    struct repository_keys_report report;
    struct err e = ERR_NONE;
    assert_ok(repository_keys_rotate(r, to, &work, &report, &e), e);
    repository_close(r);
}

static void retire(struct box *b, unsigned generation)
{
    struct repository *r = archive_open_at(b->place.dir, b->place.kek, true);
    const struct repository_keys_work work = {.arg = NULL};
    struct repository_keys_report report;
    struct err e = ERR_NONE;
    assert_ok(repository_keys_retire(r, generation, &work, &report, &e), e);
    repository_close(r);
}

/* Packs in generation 1, then all in generation 2 as well, and the site has the KEK of that one alone. */
static void rotated(struct box *b, char first[120])
{
    (void)snprintf(first, 120, "%s.first", b->place.kek);
    for (int i = 0; i < PACKS; i++)
        seal(b, SMALL);
    publish(b);
    write_file(first, test_kek, sizeof test_kek - 1, 0600);
    write_file(b->place.kek, second_kek, sizeof second_kek - 1, 0600);
    rotate(b, first, b->place.kek);
    reopen(b);
    assert_int_equal(b->r->writes, 2);
    publish(b);
}

static int look(struct repository *r, const char *part, struct err *e)
{
    *e = (struct err)ERR_NONE;
    return repository_check(r, part, NULL, NULL, e);
}

static int heal(struct box *b, const char *part, const char *copy, struct err *e)
{
    const char *const copies[] = {"/nowhere/at/all", copy};
    size_t used;
    *e = (struct err)ERR_NONE;
    return repository_heal_part(b->r, part, copies, copy == NULL ? 0 : 2, &used, e);
}

static void flip_at(const char *dir, const char *name, size_t at)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%.120s/%.120s", dir, name);
    changed(path, at, 0);
}

/* Of a key that is not under our KEK its form can be seen, so not where its bytes would do. */
static void spoil(const char *dir, const char *name, enum how how)
{
    if (strchr(name + 5, '/') == NULL && how <= FLIP_BEHIND)
        flip_at(dir, name, how == FLIP ? 0 : 3);
    else
        damage(dir, name, how);
}

static void files_of(const struct box *b, char names[PACKS + 2][REPO_NAME_BYTES])
{
    char path[300];
    (void)snprintf(names[0], REPO_NAME_BYTES, "keys/1.key");
    (void)snprintf(names[1], REPO_NAME_BYTES, "keys/2.key");
    for (unsigned i = 0; i < PACKS; i++) {
        find_object(&b->place, "keys/1", ".pack.key", i, path);
        (void)snprintf(names[2 + i], REPO_NAME_BYTES, "%s", key_file(path, b));
    }
}

static void what_happens_in_a_generation_that_nothing_reads_is_found_and_put_back(void **state)
{
    struct box *b = *state;
    struct place other;
    struct err e;
    char first[120], names[PACKS + 2][REPO_NAME_BYTES];
    place_make(&other);
    rotated(b, first);
    copy_to(b, &other);
    seal(b, SMALL); /* has no key in generation 1, and is not missed there */
    files_of(b, names);
    struct repository *r = archive_open(&b->place, true);
    for (size_t i = 0; i < PACKS + 2; i++)
        for (int how = FLIP; how < HOWS; how++) {
            size_t n;
            const char *part = i == 1 ? "keys/2" : "keys/1";
            uint8_t *before = read_at(b->place.dir, names[i], &n);
            assert_ok(look(r, "keys/1", &e), e);
            assert_ok(look(r, "keys/2", &e), e);
            spoil(b->place.dir, names[i], (enum how)how);
            if (look(r, part, &e) != ERR_INTEGRITY || strstr(e.text, names[i]) == NULL)
                fail_msg("%s %s: told %d %s", names[i], hows[how], e.code, e.text);
            if (i >= 2 &&
                (heal(b, part, NULL, &e) != ERR_INTEGRITY ||
                 strstr(e.text, "generation 2 opens the object, no record is lost") == NULL))
                fail_msg("%s %s: without a copy: %s", names[i], hows[how], e.text);
            assert_ok(heal(b, part, other.dir, &e), e);
            assert_true(is_as_before(b->place.dir, names[i], before, n));
            free(before);
        }
    assert_ok(look(r, "keys/1", &e), e);
    repository_close(r);
    place_drop(&other);
}

static void what_happens_to_it_in_a_copy_is_found_and_put_back_from_the_archive(void **state)
{
    struct box *b = *state;
    struct place other;
    struct repository_copy *c;
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    char first[120], names[PACKS + 2][REPO_NAME_BYTES];
    place_make(&other);
    rotated(b, first);
    copy_to(b, &other);
    files_of(b, names);
    assert_ok(repository_copy_open(&c, other.dir, &e), e);
    struct repository *r = archive_open_at(other.dir, b->place.kek, true);
    for (size_t i = 0; i < PACKS + 2; i++)
        for (int how = FLIP; how < HOWS; how++) {
            size_t n;
            const char *part = i == 1 ? "keys/2" : "keys/1";
            uint8_t *whole = read_at(b->place.dir, names[i], &n);
            assert_ok(look(r, part, &e), e);
            spoil(other.dir, names[i], (enum how)how);
            if (look(r, part, &e) != ERR_INTEGRITY || strstr(e.text, names[i]) == NULL)
                fail_msg("%s %s: told %d %s", names[i], hows[how], e.code, e.text);
            assert_ok(repository_copy_object(c, b->r, part, &report, &e), e);
            assert_ok(look(r, part, &e), e);
            assert_true(is_as_before(other.dir, names[i], whole, n));
            free(whole);
        }
    repository_close(r);
    /* Under another KEK: no one can tell which is the whole one, and it stays while others are put back. */
    size_t n;
    uint8_t *whole = read_at(other.dir, "keys/1.key", &n);
    whole[n - 1] = '\0'; /* a line feed */
    const char *digit = strstr((const char *)whole, "\"wrapped\"");
    assert_non_null(digit);
    digit += strcspn(digit, "0123456789");
    whole[n - 1] = '\n';
    flip_at(b->place.dir, "keys/1.key", (size_t)(digit - (const char *)whole));
    damage(other.dir, names[2], FLIP);
    assert_ok(repository_copy_object(c, b->r, "keys/1", &report, &e), e);
    assert_true(is_as_before(other.dir, "keys/1.key", whole, n));
    free(whole);
    repository_copy_close(c);
    place_drop(&other);
}

/* The same KEK once more: two generations are ours, and no copy is needed. */
static void a_generation_of_ours_is_put_right_from_the_other_one(void **state)
{
    struct box *b = *state;
    struct err e;
    char first[120], path[300], name[REPO_NAME_BYTES];
    rotated(b, first);
    rotate(b, b->place.kek, first);
    write_file(b->place.kek, test_kek, sizeof test_kek - 1, 0600);
    reopen(b);
    assert_int_equal(b->r->writes, 3);
    for (unsigned generation = 1; generation <= 3; generation += 2)
        for (int how = FLIP; how < HOWS; how++)
            for (int head = 0; head < 2; head++) {
                char part[REPO_NAME_BYTES];
                if (generation == 3 && how == GONE && head == 0)
                    continue; /* it may be in the making */
                repo_name_keys_folder(generation, part);
                find_object(&b->place, part, ".pack.key", 1, path);
                (void)snprintf(name, sizeof name, "%s", key_file(path, b));
                if (head == 1)
                    repo_name_generation(generation, false, name);
                assert_ok(look(b->r, part, &e), e);
                damage(b->place.dir, name, (enum how)how);
                assert_int_equal(look(b->r, part, &e), ERR_INTEGRITY);
                assert_non_null(strstr(e.text, name));
                assert_ok(heal(b, part, NULL, &e), e);
                assert_ok(look(b->r, part, &e), e);
                struct repository *r = archive_open_at(b->place.dir, first, true);
                struct repository_keys_report report;
                const struct repository_keys_work work = {.arg = NULL};
                assert_ok(repository_keys_check(r, generation, &work, &report, &e), e);
                assert_int_equal(report.compared, PACKS);
                repository_close(r);
            }
}

/* A rotation that was interrupted, and one that the site has no KEK for. */
static void what_a_newer_generation_lacks_is_not_missed(void **state)
{
    struct box *b = *state;
    struct err e;
    char first[120], path[300];
    rotated(b, first);
    write_file(b->place.kek, test_kek, sizeof test_kek - 1, 0600);
    find_object(&b->place, "keys/2", ".pack.key", 0, path);
    assert_int_equal(unlink(path), 0);
    reopen(b);
    assert_int_equal(b->r->writes, 1);
    assert_ok(look(b->r, "keys/2", &e), e);
    find_object(&b->place, "keys/2", ".pack.key", 0, path);
    changed(path, 100, 0);
    assert_int_equal(look(b->r, "keys/2", &e), ERR_INTEGRITY); /* but what is there is looked at */
    damage(b->place.dir, "keys/2.key",
           CUT); /* and not made again under a KEK that is not its own */
    size_t n;
    uint8_t *cut = read_at(b->place.dir, "keys/2.key", &n);
    assert_int_equal(heal(b, "keys/2", NULL, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "keys/2.key: no copy has it whole"));
    assert_true(is_as_before(b->place.dir, "keys/2.key", cut, n));
    free(cut);
}

static void a_generation_that_was_given_up_stays_so(void **state)
{
    struct box *b = *state;
    struct place before, after;
    struct repo_ledger l = {0};
    struct err e;
    char first[120];
    size_t n;
    place_make(&before);
    place_make(&after);
    rotated(b, first);
    copy_to(b, &before);
    retire(b, 1);
    reopen(b);
    publish(b);
    copy_to(b, &after);
    follow(b->r, &l);
    uint8_t *word = read_at(b->place.dir, "keys/1.retired", &n);
    for (int how = FLIP; how < HOWS; how++) {
        assert_ok(look(b->r, "keys/1", &e), e);
        damage(b->place.dir, "keys/1.retired", (enum how)how);
        follow(b->r, &l);
        assert_int_equal(repo_ledger_find(&l, "keys/1")->verified.us, 0);
        assert_int_equal(look(b->r, "keys/1", &e), ERR_INTEGRITY);
        assert_int_equal(heal(b, "keys/1", before.dir, &e), ERR_INTEGRITY);
        if (strstr(e.text, "keys/1.retired: no copy has it whole") == NULL)
            fail_msg("%s: %s", hows[how], e.text);
        char path[300];
        (void)snprintf(path, sizeof path, "%.120s/keys/1.key", b->place.dir);
        assert_int_equal(access(path, F_OK), -1);
        assert_ok(heal(b, "keys/1", after.dir, &e), e);
        assert_true(is_as_before(b->place.dir, "keys/1.retired", word, n));
    }
    free(word);
    repository_ledger_release(&l);
    place_drop(&before);
    place_drop(&after);
}

/* Not what a copy has, when that does not hold: then it is made again where it can be, and otherwise told. */
static void what_is_damaged_in_a_copy_as_well_is_not_taken_from_there(void **state)
{
    struct box *b = *state;
    struct place other;
    struct err e;
    char first[120], names[PACKS + 2][REPO_NAME_BYTES];
    size_t n;
    place_make(&other);
    rotated(b, first);
    copy_to(b, &other);
    files_of(b, names);
    damage(other.dir, "keys/2.key", FLIP);
    damage(b->place.dir, "keys/2.key", CUT);
    uint8_t *theirs = read_at(other.dir, "keys/2.key", &n);
    assert_ok(heal(b, "keys/2", other.dir, &e), e);
    assert_ok(look(b->r, "keys/2", &e), e);
    assert_false(is_as_before(b->place.dir, "keys/2.key", theirs, n));
    free(theirs);
    for (size_t i = 2; i < PACKS + 2; i++) {
        damage(other.dir, names[i], FLIP_BEHIND);
        damage(b->place.dir, names[i], FLIP);
    }
    uint8_t *ours = read_at(b->place.dir, names[2], &n);
    assert_int_equal(heal(b, "keys/1", other.dir, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, names[2]));
    assert_non_null(strstr(e.text, "(and 2 others of the generation)"));
    assert_true(is_as_before(b->place.dir, names[2], ours, n));
    free(ours);
    place_drop(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            what_happens_in_a_generation_that_nothing_reads_is_found_and_put_back, setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_happens_to_it_in_a_copy_is_found_and_put_back_from_the_archive, setup, teardown),
        cmocka_unit_test_setup_teardown(a_generation_of_ours_is_put_right_from_the_other_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_a_newer_generation_lacks_is_not_missed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_generation_that_was_given_up_stays_so, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_damaged_in_a_copy_as_well_is_not_taken_from_there,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
