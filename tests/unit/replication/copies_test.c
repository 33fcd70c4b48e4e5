/* A copy of the archive is kept up: also with what changes in the signed files while no pack comes (copies_again); and what was
 * lost there is no reason to begin anew in silence. */
#include "tests/unit/replication/parts_kit.h"

#include "repository/operations.h"
#include "repository/proof.h"
#include "repository/scrub.h"

static const char kek[] = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

static int pass(void *arg, uint64_t index, const struct operation *o)
{
    (void)index;
    (void)o;
    ++*(uint64_t *)arg;
    return 0;
}

static uint64_t count(const char *dir)
{
    struct operations_summary summary;
    uint64_t n = 0;
    must(repository_operations(dir, pass, &n, &summary, &e));
    return n;
}

/* An archive of ten entries in one pack, signed; its copy is to be in "copy". */
static struct repository *archive_of(struct parts *p)
{
    struct site_config *c = &p->config;
    struct repository *r;
    static uint8_t entries[1 << 20];
    char key[SITE_PATH_BYTES], vkey[TLOG_VKEY_BYTES];
    size_t used = 0, n = 0;
    bool made;
    (void)snprintf(c->archive_dir, sizeof c->archive_dir, "%s/archive", p->dir);
    (void)snprintf(c->kek_file, sizeof c->kek_file, "%s/kek", p->dir);
    (void)snprintf(c->copies[0], sizeof c->copies[0], "%s/copy", p->dir);
    (void)snprintf(key, sizeof key, "%s/checkpoint.key", p->dir);
    c->copy_count = 1;
    kit_write(p->dir, "kek", (const uint8_t *)kek, sizeof kek - 1);
    for (unsigned i = 0; i < 10; i++)
        history_put(&p->h, "deeds", "plot", "value");
    parts_log(p);
    must(log_read(p->site.log, (struct lsn){1}, (struct lsn){10}, entries, sizeof entries, &used,
                  &n, &e));
    const struct repository_options o = {.dir = c->archive_dir,
                                         .kek_file = c->kek_file,
                                         .cluster_id = c->cluster_id,
                                         .cluster = "test",
                                         .create = true};
    must(repository_open(&r, &o, &e));
    must(repository_seal(r, entries, used, NULL, NULL, &e));
    must(repository_tree_open(r, key, vkey, &made, &e));
    must(repository_tree_extend(r, 100, &e));
    return r;
}

static void what_is_signed_between_packs_is_copied_when_it_is_said(void **state)
{
    struct parts *p = *state;
    struct site_config *c = &p->config;
    struct repository *r = archive_of(p);
    struct copies *copies;
    struct repository_status now;
    must(copies_new(&p->site, &copies, &e));
    repository_status(r, &now);
    assert_true(copies_due(copies, &now));
    copies_turn(copies, r, &now);
    assert_false(copies_due(copies, &now));
    assert_int_equal(copies_reached(copies).v, 10);
    const uint64_t before = count(c->copies[0]);
    /* Nothing of what the status has changes. */
    struct operation drill = {.kind = OPERATION_DRILL, .checked = 1};
    must(repository_operations_add(r, &drill, &e));
    must(repository_operations_settle(r, NULL, &e));
    repository_status(r, &now);
    assert_int_equal(count(c->archive_dir), before + 1);
    assert_false(copies_due(copies, &now));
    copies_again(copies);
    assert_true(copies_due(copies, &now));
    copies_turn(copies, r, &now);
    assert_int_equal(count(c->copies[0]), before + 1);
    assert_false(copies_due(copies, &now));
    copies_free(copies);
    repository_close(r);
}

/* One turn of a site that was started now; its trouble with the copy. */
static void start_and_turn(struct parts *p, struct repository *r, char trouble[ERR_TEXT_BYTES])
{
    struct copies *copies;
    struct repository_status now;
    must(copies_new(&p->site, &copies, &e));
    repository_status(r, &now);
    assert_int_equal(copies_turns(copies, 0), 0);
    copies_turn(copies, r, &now);
    assert_true(copies_trouble(copies, 0, trouble));
    assert_int_equal(copies_turns(copies, 0), trouble[0] == '\0');
    copies_free(copies);
}

/* As the scrub would leave it. */
static void save_ledger(struct parts *p)
{
    const struct repository_options o = {.dir = p->config.copies[0],
                                         .kek_file = p->config.kek_file,
                                         .cluster_id = p->config.cluster_id,
                                         .read_only = true};
    struct repository *copy;
    struct repo_ledger ledger = {.n = 0};
    char file[REPO_LEDGER_FILE_BYTES], path[SITE_PATH_BYTES];
    repo_ledger_file(p->config.copies[0], file);
    (void)snprintf(path, sizeof path, "%s/%s", p->dir, file);
    must(repository_open(&copy, &o, &e));
    must(repository_ledger_follow(copy, &ledger, NULL, &e));
    /* A pack, repository.json, both checkpoints, a stretch of the tree, a generation of keys. */
    assert_int_equal(ledger.n, 6);
    must(repository_ledger_save(path, &ledger, &e));
    repository_ledger_release(&ledger);
    repository_close(copy);
}

static void what_was_lost_meanwhile_is_put_back_and_told(void **state)
{
    struct parts *p = *state;
    struct repository *r = archive_of(p);
    char trouble[ERR_TEXT_BYTES], command[SITE_PATH_BYTES + 64];
    start_and_turn(p, r, trouble);
    assert_string_equal(trouble, "");
    assert_int_equal(parts_told(p, "is put back"), 0);
    save_ledger(p);
    (void)snprintf(command, sizeof command, "rm -f %s/packs/*.pack", p->config.copies[0]);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    start_and_turn(p, r, trouble);
    assert_string_equal(trouble, "");
    assert_int_equal(parts_told(p, ".pack was missing there, and is put back"), 1);
    repository_close(r);
}

static void a_place_that_lost_everything_is_not_filled_anew_unless_somebody_says_so(void **state)
{
    struct parts *p = *state;
    struct repository *r = archive_of(p);
    struct repository_copy *by_hand;
    struct repository_copy_report report;
    char trouble[ERR_TEXT_BYTES];
    start_and_turn(p, r, trouble);
    save_ledger(p);
    for (int made = 0; made < 2; made++) { /* without the directory, and with an empty one */
        (void)nftw(p->config.copies[0], parts_unlink, 16, FTW_DEPTH | FTW_PHYS);
        if (made == 1)
            assert_int_equal(mkdir(p->config.copies[0], 0700), 0);
        start_and_turn(p, r, trouble);
        assert_non_null(strstr(trouble, "it is empty, and 6 objects were there: is it mounted?"));
        assert_non_null(strstr(trouble, "triveni archive heal -r "));
        assert_int_equal(rmdir(p->config.copies[0]), made == 1 ? 0 : -1);
    }
    must(repository_copy_open(&by_hand, p->config.copies[0], &e));
    must(repository_copy_run(by_hand, r, true, 0, NULL, NULL, &report, &e));
    repository_copy_close(by_hand);
    start_and_turn(p, r, trouble);
    assert_string_equal(trouble, "");
    repository_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_signed_between_packs_is_copied_when_it_is_said,
                                        parts_setup, parts_teardown),
        cmocka_unit_test_setup_teardown(what_was_lost_meanwhile_is_put_back_and_told, parts_setup,
                                        parts_teardown),
        cmocka_unit_test_setup_teardown(
            a_place_that_lost_everything_is_not_filled_anew_unless_somebody_says_so, parts_setup,
            parts_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
