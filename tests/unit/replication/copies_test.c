/* A copy of the archive is kept up: also with what changes in the signed files while no pack comes (copies_again). */
#include "tests/unit/replication/parts_kit.h"

#include "repository/operations.h"
#include "repository/proof.h"

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

static void what_is_signed_between_packs_is_copied_when_it_is_said(void **state)
{
    struct parts *p = *state;
    struct site_config *c = &p->config;
    struct repository *r;
    struct copies *copies;
    struct repository_status now;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_signed_between_packs_is_copied_when_it_is_said,
                                        parts_setup, parts_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
