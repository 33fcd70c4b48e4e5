/* The entries of a pack that is made again, gathered from a log: however large they are, and with a bound; and where its own file
 * did not serve, it is told why. */
#include "repository/scrub.h"
#include "tests/unit/replication/parts_kit.h"

enum { ENTRIES = 30, LARGE = 300000 };

static int from_log(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
                    size_t *used, size_t *count, struct err *e)
{
    return log_read(arg, from, to, buf, cap, used, count, e);
}

static void entries_that_are_larger_than_a_pack_are_read_whole(void **state)
{
    struct parts *p = *state;
    static char value[LARGE];
    static uint8_t want[4 * LARGE];
    size_t used = 0, count = 0;
    memset(value, 'v', sizeof value - 1);
    for (unsigned i = 0; i < ENTRIES; i++)
        history_put(&p->h, "deeds", "plot", i == 9 || i == 20 ? value : "small");
    parts_log(p);
    must(log_read(p->site.log, (struct lsn){1}, (struct lsn){ENTRIES}, want, sizeof want, &used,
                  &count, &e));
    assert_int_equal(count, ENTRIES);
    for (size_t cap = 200; cap <= 2 * LARGE; cap *= 7) { /* memory to begin with */
        const struct repo_name all = {.kind = REPO_PACK, .first = {1}, .last = {ENTRIES}};
        uint8_t *out = NULL;
        size_t n = 0;
        must(archive_read_entries(from_log, p->site.log, cap, &all, &out, &n, &e));
        assert_int_equal(n, used);
        assert_memory_equal(out, want, n);
        free(out);
    }
    const struct repo_name beyond = {.kind = REPO_PACK, .first = {1}, .last = {ENTRIES + 1}};
    uint8_t *out = NULL;
    size_t n = 0;
    struct err e = ERR_NONE;
    assert_int_not_equal(
        archive_read_entries(from_log, p->site.log, 1 << 20, &beyond, &out, &n, &e), 0);
    free(out);
}

/* An answer that never fits. */
static int endless(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
                   size_t *used, size_t *count, struct err *e)
{
    unsigned *asked = arg;
    (void)from;
    (void)to;
    (void)buf;
    ++*asked;
    *used = cap + 1;
    *count = 1;
    return err_set(e, ERR_LIMIT, "it does not fit");
}

static void who_gives_ever_more_is_not_listened_to_for_ever(void **state)
{
    (void)state;
    const struct repo_name pack = {.kind = REPO_PACK, .first = {1}, .last = {9}};
    uint8_t *out = NULL;
    size_t n = 0;
    unsigned asked = 0;
    struct err e = ERR_NONE;
    assert_int_equal(archive_read_entries(endless, &asked, 1 << 20, &pack, &out, &n, &e),
                     ERR_LIMIT);
    assert_non_null(strstr(e.text, "no pack has so many bytes"));
    assert_in_range(asked, 2, 300);
    free(out);
}

static const char kek[] = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

static char pack[REPO_NAME_BYTES];

static void note_pack(void *arg, const char *object, const char *what)
{
    (void)arg;
    (void)what;
    (void)snprintf(pack, sizeof pack, "%s", object);
}

/* An archive of ten entries in one pack, opened anew; its meta is damaged, and as `file` says its file, too. */
static struct repository *damaged_archive(struct parts *p, const char *file)
{
    struct site_config *c = &p->config;
    static uint8_t entries[1 << 16];
    char command[2 * SITE_PATH_BYTES];
    struct repository_report report;
    struct repository *r;
    size_t used = 0, n = 0;
    (void)snprintf(c->archive_dir, sizeof c->archive_dir, "%s/archive", p->dir);
    (void)snprintf(c->kek_file, sizeof c->kek_file, "%s/kek", p->dir);
    c->pack_bytes = 1 << 20;
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
    repository_close(r);
    (void)snprintf(command, sizeof command,
                   "cd %s/packs && chmod u+w * && printf x | dd of=$(ls *.meta) bs=1 seek=60 "
                   "conv=notrunc status=none && %s",
                   c->archive_dir, file);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    must(repository_open(&r, &o, &e));
    (void)repository_verify(r, REPOSITORY_PRESENT, note_pack, NULL, NULL, &report, NULL);
    return r;
}

static void why_its_own_file_did_not_serve_is_told(void **state)
{
    struct parts *p = *state;
    struct err e = ERR_NONE;
    char where[SITE_PATH_BYTES] = "";
    struct repository *r = damaged_archive(
        p, "printf xxxx | dd of=$(ls *.pack) bs=1 seek=200 conv=notrunc status=none");
    err_set(&e, ERR_NOT_FOUND, "there are no copies (repository.copies)");
    assert_int_equal(archive_heal_by_entries(&p->site, r, pack, (struct lsn){10}, where, &e), 0);
    assert_non_null(strstr(where, "the log, as packs/"));
    assert_int_equal(parts_told(p, " was not made again from its own file: "), 1);
    assert_int_equal(parts_told(p, "; its entries came from the log, as packs/"), 1);
    repository_close(r);
}

static void of_a_file_that_serves_nothing_is_told(void **state)
{
    struct parts *p = *state;
    struct err e = ERR_NONE;
    char where[SITE_PATH_BYTES] = "";
    struct repository *r = damaged_archive(p, "true");
    err_set(&e, ERR_NOT_FOUND, "there are no copies (repository.copies)");
    assert_int_equal(archive_heal_by_entries(&p->site, r, pack, (struct lsn){10}, where, &e), 0);
    assert_non_null(strstr(where, "its own file, as packs/"));
    assert_int_equal(parts_told(p, "own file"), 0);
    repository_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entries_that_are_larger_than_a_pack_are_read_whole,
                                        parts_setup, parts_teardown),
        cmocka_unit_test(who_gives_ever_more_is_not_listened_to_for_ever),
        cmocka_unit_test_setup_teardown(why_its_own_file_did_not_serve_is_told, parts_setup,
                                        parts_teardown),
        cmocka_unit_test_setup_teardown(of_a_file_that_serves_nothing_is_told, parts_setup,
                                        parts_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
