/* Every file that an archive rests on and that is no object: whatever happens to it is found, by the part that it belongs
 * to, and it
 * comes back byte for byte, from the archive itself where that can be, otherwise from a copy, and never from one that says
 * something else than what was signed. */
#include "tests/unit/repository/io/parts_kit.h"

#include "repository/io/sign.h"
#include "repository/witness.h"

enum { FILES_MAX = 64, SMALL = 200, PACKS = 3 };

static char files[FILES_MAX][REPO_NAME_BYTES];
static size_t file_count;
static size_t root_bytes;

static int list_file(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    const char *name = path + root_bytes;
    (void)st;
    (void)at;
    if (flag != FTW_F || (strncmp(name, "tree/", 5) != 0 && strncmp(name, "operations/", 11) != 0 &&
                          strcmp(name, REPO_ABOUT_FILE) != 0))
        return 0;
    if (strcmp(name, "operations/next") == 0)
        return 0; /* it is written anew with the next leaves */
    assert_true(file_count < FILES_MAX);
    (void)snprintf(files[file_count++], REPO_NAME_BYTES, "%s", name);
    return 0;
}

/* A partial tile of an earlier checkpoint: a wider one is there. */
static bool is_replaced(const char *name)
{
    const char *width = strstr(name, ".p/");
    for (size_t i = 0; width != NULL && i < file_count; i++)
        if (strncmp(files[i], name, (size_t)(width + 3 - name)) == 0 &&
            strtoul(files[i] + (width + 3 - name), NULL, 10) > strtoul(width + 3, NULL, 10))
            return true;
    return false;
}

static void list_files(const struct box *b)
{
    size_t kept = 0;
    file_count = 0;
    root_bytes = strlen(b->place.dir) + 1;
    assert_int_equal(nftw(b->place.dir, list_file, 16, FTW_PHYS), 0);
    for (size_t i = 0; i < file_count; i++)
        if (!is_replaced(files[i]) && kept++ != i)
            memmove(files[kept - 1], files[i], sizeof files[i]);
    file_count = kept;
}

/* Looks at all parts but objects; puts those right that are damaged, unless `copies` is NULL. Returns how many were damaged. */
static unsigned scrub(struct box *b, struct repo_ledger *l, const char *const copies[], size_t n,
                      unsigned *healed, struct err *e)
{
    unsigned bad = 0;
    *healed = 0;
    for (size_t i = 0; i < l->n; i++) {
        const char *name = l->at[i].name;
        struct err why = ERR_NONE;
        size_t used;
        if (repository_is_object(name) || repository_check(b->r, name, NULL, NULL, &why) == 0)
            continue;
        assert_int_equal(why.code, ERR_INTEGRITY);
        bad++;
        *e = why;
        if (copies != NULL && repository_heal_part(b->r, name, copies, n, &used, e) == 0)
            *healed += repository_check(b->r, name, NULL, NULL, &why) == 0;
    }
    return bad;
}

static void fill(struct box *b)
{
    for (int i = 0; i < PACKS; i++) {
        seal(b, SMALL);
        publish(b);
    }
}

/* ---- the ledger ---- */

static void the_parts_of_an_archive_are_in_its_ledger(void **state)
{
    struct box *b = *state;
    struct repo_ledger l = {0};
    fill(b);
    follow(b->r, &l);
    assert_int_equal(l.n, PACKS + 5);
    static const char *const names[] = {REPO_ABOUT_FILE, REPO_TREE_CHECKPOINT,
                                        "tree/00000000000000000001-00000000000000065536",
                                        REPO_OPERATIONS_CHECKPOINT, "keys/1"};
    for (size_t i = 0; i < 5; i++) {
        struct repo_ledger_line *x = repo_ledger_find(&l, names[i]);
        assert_non_null(x);
        assert_int_equal(x->verified.us == 0, i != 0 && i != 4); /* it is looked at first */
        x->verified.us = 7;
    }
    follow(b->r, &l);
    assert_int_equal(repo_ledger_find(&l, names[1])->verified.us, 7);
    damage(b->place.dir, REPO_TREE_CHECKPOINT, GONE);
    damage(b->place.dir, REPO_OPERATIONS_CHECKPOINT, GONE);
    follow(b->r, &l);
    assert_int_equal(l.n, PACKS + 5); /* missed, because the ledger knows them */
    assert_int_equal(repo_ledger_find(&l, names[1])->verified.us, 0);
    assert_int_equal(repo_ledger_find(&l, names[2])->verified.us, 7);
    assert_int_equal(repo_ledger_find(&l, names[3])->verified.us, 0);
    repository_ledger_release(&l);
}

/* ---- damage ---- */

/* With a copy, from the process that signed, and from one that has just begun. */
static void whatever_happens_to_a_file_is_found_and_put_right(void **state)
{
    struct box *b = *state;
    struct place other;
    struct repo_ledger l = {0};
    place_make(&other);
    const char *const copies[] = {"/nowhere/at/all", other.dir};
    fill(b);
    copy_to(b, &other);
    follow(b->r, &l);
    list_files(b);
    assert_int_equal(file_count, 14);
    for (int again = 0; again < 2; again++)
        for (size_t i = 0; i < file_count; i++)
            for (int how = FLIP; how < HOWS; how++) {
                struct err e = ERR_NONE;
                unsigned healed;
                size_t n;
                uint8_t *before = read_at(b->place.dir, files[i], &n);
                assert_int_equal(scrub(b, &l, NULL, 0, &healed, &e), 0);
                damage(b->place.dir, files[i], (enum how)how);
                unsigned bad = scrub(b, &l, copies, 2, &healed, &e);
                if (bad == 0 || healed == 0 || !is_as_before(b->place.dir, files[i], before, n))
                    fail_msg("%s %s: %u damaged, %u healed: %s", files[i], hows[how], bad, healed,
                             e.text);
                assert_int_equal(scrub(b, &l, NULL, 0, &healed, &e), 0);
                free(before);
                if (again == 1)
                    reopen(b);
            }
    repository_ledger_release(&l);
    place_drop(&other);
}

/* All but the leaves of the operations log. */
static void without_a_copy_the_archive_itself_has_what_its_tree_takes(void **state)
{
    struct box *b = *state;
    const char *const none[] = {NULL};
    struct repo_ledger l = {0};
    fill(b);
    follow(b->r, &l);
    list_files(b);
    for (size_t i = 0; i < file_count; i++) {
        struct err e = ERR_NONE;
        unsigned healed;
        size_t n;
        uint8_t *before = read_at(b->place.dir, files[i], &n);
        const bool leaves = strncmp(files[i], "operations/tile", 15) == 0;
        damage(b->place.dir, files[i], FLIP);
        unsigned bad = scrub(b, &l, none, 0, &healed, &e);
        if (bad == 0 || (healed == 0) != leaves ||
            is_as_before(b->place.dir, files[i], before, n) == leaves)
            fail_msg("%s: %u damaged, %u healed: %s", files[i], bad, healed, e.text);
        if (leaves) {
            assert_non_null(strstr(
                e.text, "leaves cannot be made again, and no copy can be read: operations/tile/"));
            damage(b->place.dir, files[i], FLIP); /* as it was */
        }
        free(before);
    }
    repository_ledger_release(&l);
}

/* Headers of what was disposed of lie in bundles alone. */
static void headers_that_no_pack_has_any_more_come_from_a_copy(void **state)
{
    struct box *b = *state;
    struct place other;
    struct repo_ledger l = {0};
    struct err e = ERR_NONE;
    unsigned healed;
    size_t n;
    place_make(&other);
    const char *const copies[] = {other.dir};
    fill(b);
    copy_to(b, &other);
    follow(b->r, &l);
    uint8_t *before = read_at(b->place.dir, "tree/tile/entries/000", &n);
    damage(b->place.dir, "tree/tile/entries/000", FLIP);
    damage(b->place.dir, "tree/tile/0/000", CUT);
    remove_pack(b, 0);
    assert_int_equal(scrub(b, &l, copies, 0, &healed, &e), 1);
    assert_int_equal(healed, 0);
    damage(other.dir, "tree/tile/entries/000", CUT);
    e = (struct err)ERR_NONE;
    assert_int_equal(scrub(b, &l, copies, 1, &healed, &e), 1);
    assert_int_equal(healed, 0);
    assert_non_null(strstr(e.text, "tree/tile/entries/000: "));
    assert_non_null(strstr(e.text, "the headers come neither from the packs nor from a copy"));
    char path[300];
    (void)snprintf(path, sizeof path, "%.120s/tree/tile/entries/000", other.dir);
    assert_int_equal(unlink(path), 0);
    write_file(path, before, n, 0440);
    assert_int_equal(scrub(b, &l, copies, 1, &healed, &e), 1);
    assert_int_equal(healed, 1);
    assert_true(is_as_before(b->place.dir, "tree/tile/entries/000", before, n));
    free(before);
    repository_ledger_release(&l);
    place_drop(&other);
}

/* ---- what is not believed ---- */

/* The same cluster, entries and key of another history: each file of it is whole. */
static void nothing_is_taken_of_a_place_that_says_something_else(void **state)
{
    struct box *b = *state, forged = {.r = NULL};
    struct repo_ledger l = {0};
    place_make(&forged.place);
    (void)snprintf(forged.key, sizeof forged.key, "%s/checkpoint.key", forged.place.root);
    open_tree(&forged);
    forged.feed.random = 77;
    fill(&forged);
    const char *const copies[] = {forged.place.dir};
    fill(b);
    reopen(b); /* what it published it does not know any more */
    follow(b->r, &l);
    list_files(b);
    for (size_t i = 0; i < file_count; i++) {
        struct err e = ERR_NONE;
        unsigned healed;
        size_t n;
        uint8_t *before = read_at(b->place.dir, files[i], &n);
        const bool itself = strncmp(files[i], "operations/", 11) != 0 &&
                            strcmp(files[i], REPO_TREE_CHECKPOINT) != 0;
        damage(b->place.dir, files[i], FLIP);
        assert_true(scrub(b, &l, copies, 1, &healed, &e) > 0);
        assert_int_equal(is_as_before(b->place.dir, files[i], before, n), itself);
        if (!itself) {
            assert_int_equal(healed, 0);
            damage(b->place.dir, files[i], FLIP);
        }
        assert_true(is_as_before(b->place.dir, files[i], before, n));
        free(before);
    }
    repository_ledger_release(&l);
    repository_close(forged.r);
    feed_drop(&forged.feed);
    place_drop(&forged.place);
}

static void
an_older_operations_log_is_not_taken_and_an_older_checkpoint_of_entries_grows(void **state)
{
    struct box *b = *state;
    struct place other;
    struct repo_ledger l = {0};
    struct err e = ERR_NONE;
    unsigned healed;
    size_t n;
    place_make(&other);
    const char *const copies[] = {other.dir};
    fill(b);
    copy_to(b, &other);
    seal(b, SMALL);
    publish(b);
    reopen(b);
    follow(b->r, &l);
    uint8_t *before = read_at(b->place.dir, REPO_OPERATIONS_CHECKPOINT, &n);
    damage(b->place.dir, REPO_OPERATIONS_CHECKPOINT, FLIP);
    assert_int_equal(scrub(b, &l, copies, 1, &healed, &e), 1);
    assert_int_equal(healed, 0);
    assert_non_null(strstr(e.text, "it ends with leaf 3, and more lie here"));
    damage(b->place.dir, REPO_OPERATIONS_CHECKPOINT, FLIP);
    assert_true(is_as_before(b->place.dir, REPO_OPERATIONS_CHECKPOINT, before, n));
    free(before);
    before = read_at(b->place.dir, REPO_TREE_CHECKPOINT, &n);
    damage(b->place.dir, REPO_TREE_CHECKPOINT, FLIP);
    assert_int_equal(scrub(b, &l, copies, 1, &healed, &e), 1); /* the stretch: then it is there */
    assert_false(is_as_before(b->place.dir, REPO_TREE_CHECKPOINT, before, n));
    publish(b);
    assert_true(is_as_before(b->place.dir, REPO_TREE_CHECKPOINT, before, n));
    free(before);
    assert_whole(b, PACKS + 1);
    repository_ledger_release(&l);
    place_drop(&other);
}

/* A cosignature that does not hold any more, or is by nobody who is known: the log's own signature holds all the same. */
static void a_damaged_cosignature_is_damage_too(void **state)
{
    struct box *b = *state;
    struct repo_signer *dc;
    struct tlog_note note;
    struct repo_ledger l = {0};
    struct err e = ERR_NONE;
    char key_file[120], name[TLOG_NAME_BYTES], vkey[TLOG_VKEY_BYTES], line[512], path[300];
    struct writer w = writer_of(line, sizeof line);
    const char *const none[] = {NULL};
    uint64_t time_s;
    unsigned healed;
    size_t n;
    fill(b);
    (void)snprintf(key_file, sizeof key_file, "%s/dc.key", b->place.root);
    witness_name(&test_cluster, "dc", name);
    assert_ok(repo_signer_make(key_file, &e), e);
    assert_ok(repo_signer_load(key_file, name, TLOG_KEY_COSIGNER, &dc, &e), e);
    tlog_key_format(repo_signer_key(dc), vkey);
    assert_int_equal(tlog_note_parse(repository_tree_draft(b->r), &note, &e), 0);
    assert_ok(repo_note_cosign(dc, note.text, 1700000000, &w, &e), e);
    assert_ok(
        repository_tree_cosigned(b->r, "dc", bytes_str(vkey), bytes_of(line, w.at), &time_s, &e),
        e);
    assert_ok(repository_tree_publish(b->r, &e), e);
    follow(b->r, &l);
    assert_int_equal(scrub(b, &l, NULL, 0, &healed, &e), 0);
    uint8_t *before = read_at(b->place.dir, REPO_TREE_CHECKPOINT, &n);
    (void)snprintf(path, sizeof path, "%.120s/" REPO_TREE_CHECKPOINT, b->place.dir);
    for (size_t back = 10; back < w.at; back += 60) { /* in its signature, and in its name */
        before[n - back] ^= 1;
        assert_int_equal(unlink(path), 0);
        write_file(path, before, n, 0440);
        before[n - back] ^= 1;
        assert_true(scrub(b, &l, none, 0, &healed, &e) > 0);
        assert_true(is_as_before(b->place.dir, REPO_TREE_CHECKPOINT, before, n));
    }
    free(before);
    repo_signer_free(dc);
    repository_ledger_release(&l);
}

/* ---- a copy ---- */

static void
whatever_happens_to_a_file_of_a_copy_is_found_and_put_back_from_the_archive(void **state)
{
    struct box *b = *state;
    struct place other;
    struct repository_copy *c;
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    place_make(&other);
    fill(b);
    assert_ok(repository_copy_open(&c, other.dir, &e), e);
    assert_ok(repository_copy_run(c, b->r, false, 0, NULL, NULL, &report, &e), e);
    struct repository *r = archive_open_at(other.dir, b->place.kek, true);
    struct repo_ledger l = {0};
    follow(r, &l);
    assert_int_equal(l.n, PACKS + 5);
    list_files(b);
    for (size_t i = 0; i < file_count; i++)
        for (int how = FLIP; how < HOWS; how++) {
            size_t n;
            unsigned bad = 0;
            uint8_t *whole = read_at(b->place.dir, files[i], &n);
            assert_true(is_as_before(other.dir, files[i], whole, n));
            damage(other.dir, files[i], (enum how)how);
            for (size_t k = 0; k < l.n; k++) {
                if (repository_is_object(l.at[k].name) ||
                    repository_check(r, l.at[k].name, NULL, NULL, &e) == 0)
                    continue;
                bad++;
                e = (struct err)ERR_NONE;
                assert_ok(repository_copy_object(c, b->r, l.at[k].name, &report, &e), e);
                assert_ok(repository_check(r, l.at[k].name, NULL, NULL, &e), e);
            }
            if (bad == 0 || !is_as_before(other.dir, files[i], whole, n))
                fail_msg("%s %s: %u", files[i], hows[how], bad);
            free(whole);
        }
    repository_ledger_release(&l);
    repository_close(r);
    repository_copy_close(c);
    place_drop(&other);
}

static void what_is_damaged_here_never_takes_the_place_of_what_is_whole_there(void **state)
{
    struct box *b = *state;
    struct place other;
    struct repository_copy *c;
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    place_make(&other);
    fill(b);
    copy_to(b, &other);
    list_files(b);
    for (int deep = 0; deep < 2; deep++)
        for (size_t i = 0; i < file_count; i++) {
            size_t n;
            uint8_t *whole = read_at(b->place.dir, files[i], &n);
            damage(b->place.dir, files[i], FLIP);
            assert_ok(repository_copy_open(&c, other.dir, &e), e);
            int rc = repository_copy_run(c, b->r, deep != 0, 0, NULL, NULL, &report, &e);
            repository_copy_close(c);
            if (!is_as_before(other.dir, files[i], whole, n))
                fail_msg("%s: %d, %s", files[i], rc, e.text);
            damage(b->place.dir, files[i], FLIP);
            free(whole);
        }
    place_drop(&other);
}

static void healing_from_an_older_copy_leaves_the_tree_that_was_signed(void **state)
{
    struct box *b = *state;
    struct place other;
    struct repository_copy *c;
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    size_t n[2];
    place_make(&other);
    fill(b);
    copy_to(b, &other);
    seal(b, SMALL);
    publish(b);
    uint8_t *checkpoint = read_at(b->place.dir, REPO_TREE_CHECKPOINT, &n[0]),
            *tile = read_at(b->place.dir, "tree/tile/0/000", &n[1]);
    damage(b->place.dir, "tree/tile/0/000", FLIP);
    repository_close(b->r);
    struct repository *from = archive_open_at(other.dir, b->place.kek, true);
    assert_ok(repository_copy_open(&c, b->place.dir, &e), e);
    assert_ok(repository_copy_run(c, from, true, 0, NULL, NULL, &report, &e), e);
    repository_copy_close(c);
    repository_close(from);
    open_tree(b);
    assert_true(is_as_before(b->place.dir, REPO_TREE_CHECKPOINT, checkpoint, n[0]));
    assert_true(is_as_before(b->place.dir, "tree/tile/0/000", tile, n[1]));
    assert_int_equal(report.healed, 1);
    assert_whole(b, PACKS + 1);
    free(checkpoint);
    free(tile);
    place_drop(&other);
}

/* ---- a tree of more than a stretch ---- */

static void a_full_stretch_is_put_right_from_what_is_left_of_it(void **state)
{
    struct box *b = *state;
    const char *const none[] = {NULL};
    static const char *const lost[][3] = {
        {"tree/tile/1/000", NULL, NULL},
        {"tree/tile/0/200", NULL, NULL},
        {"tree/tile/entries/255", NULL, NULL},
        {"tree/tile/0/256", "tree/tile/1/001.p/1", NULL},
        {"tree/tile/1/000", "tree/tile/2/000.p/1", NULL},
        {"tree/tile/1/000", "tree/tile/0/007", "tree/tile/entries/007"}};
    struct repo_ledger l = {0};
    feed_mixed(&b->feed, 1);
    for (unsigned i = 1; i < REPO_STRETCH_ENTRIES + 300; i++)
        feed_put(&b->feed, "deeds", "key", "", 0);
    struct err e = ERR_NONE;
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
    publish(b);
    follow(b->r, &l);
    assert_int_equal(l.n, 1 + 6);
    for (size_t i = 0; i < sizeof lost / sizeof lost[0]; i++) {
        uint8_t *before[3];
        size_t n[3];
        unsigned healed;
        for (size_t k = 0; k < 3 && lost[i][k] != NULL; k++) {
            before[k] = read_at(b->place.dir, lost[i][k], &n[k]);
            damage(b->place.dir, lost[i][k], FLIP);
        }
        unsigned bad = scrub(b, &l, none, 0, &healed, &e);
        for (size_t k = 0; k < 3 && lost[i][k] != NULL; k++) {
            if (!is_as_before(b->place.dir, lost[i][k], before[k], n[k]))
                fail_msg("scene %zu, %s: %u bad, %u healed, %s", i, lost[i][k], bad, healed,
                         e.text);
            free(before[k]);
        }
        assert_int_equal(bad, healed);
    }
    repository_ledger_release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_parts_of_an_archive_are_in_its_ledger, setup, teardown),
        cmocka_unit_test_setup_teardown(whatever_happens_to_a_file_is_found_and_put_right, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_a_copy_the_archive_itself_has_what_its_tree_takes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(headers_that_no_pack_has_any_more_come_from_a_copy, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nothing_is_taken_of_a_place_that_says_something_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            an_older_operations_log_is_not_taken_and_an_older_checkpoint_of_entries_grows, setup,
            teardown),
        cmocka_unit_test_setup_teardown(a_damaged_cosignature_is_damage_too, setup, teardown),
        cmocka_unit_test_setup_teardown(
            whatever_happens_to_a_file_of_a_copy_is_found_and_put_back_from_the_archive, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            what_is_damaged_here_never_takes_the_place_of_what_is_whole_there, setup, teardown),
        cmocka_unit_test_setup_teardown(healing_from_an_older_copy_leaves_the_tree_that_was_signed,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_stretch_is_put_right_from_what_is_left_of_it, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
