/* The archiver's thread beside a real log and state, into a real archive: when it seals, what an archive that cannot be
 * written comes to, and when a snapshot is due. */
#include "tests/unit/replication/parts_kit.h"

#include <sys/stat.h>

enum { PATIENCE_MS = 20000 };

static const char kek[] = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

static int set_up(void **state)
{
    if (parts_setup(state) != 0)
        return -1;
    struct parts *p = *state;
    struct site_config *c = &p->config;
    (void)snprintf(c->archive_dir, sizeof c->archive_dir, "%s/archive", p->dir);
    (void)snprintf(c->kek_file, sizeof c->kek_file, "%s/kek", p->dir);
    kit_write(p->dir, "kek", (const uint8_t *)kek, sizeof kek - 1);
    c->pack_bytes = 1 << 20;
    c->pack_seconds = 3600;
    assert_int_equal(uv_loop_init(&p->site.loop), 0);
    assert_int_equal(uv_async_init(&p->site.loop, &p->site.wake, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    struct parts *p = *state;
    archiver_stop(p->site.archiver);
    uv_close((uv_handle_t *)&p->site.wake, NULL);
    (void)uv_run(&p->site.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->site.loop), 0);
    return parts_teardown(state);
}

static void put_many(struct parts *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i);
        history_put(&p->h, "deeds", key, "value");
    }
    parts_log(p);
}

static struct repository_status status(struct parts *p, char trouble[ERR_TEXT_BYTES])
{
    struct repository_status s;
    archiver_status(p->site.archiver, &s, trouble);
    return s;
}

/* Until that lsn is archived, or not any more. */
static void archived(struct parts *p, uint64_t lsn)
{
    char trouble[ERR_TEXT_BYTES];
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    while (status(p, trouble).archived.lsn.v < lsn && site_now_ms() < end)
        (void)usleep(1000);
    assert_int_equal(status(p, trouble).archived.lsn.v, lsn);
    assert_string_equal(trouble, "");
}

static void it_seals_what_was_ordered_when_it_is_asked_to(void **state)
{
    struct parts *p = *state;
    put_many(p, 30);
    parts_apply(p, 30);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archiver_orders(p->site.archiver, (struct lsn){20}, 1000);
    (void)usleep(300000); /* not due: neither large nor old enough */
    char trouble[ERR_TEXT_BYTES];
    assert_int_equal(status(p, trouble).packs, 0);
    archiver_seal_now(p->site.archiver);
    archived(p, 20);
    assert_int_equal(status(p, trouble).packs, 1);
    archiver_orders(p->site.archiver, (struct lsn){30}, 1000);
    archiver_orders(p->site.archiver, (struct lsn){25}, 1000); /* orders never go back */
    archiver_seal_now(p->site.archiver);
    archived(p, 30);
    assert_int_equal(parts_told(p, "archive: sealed up to lsn "), 2);
    assert_int_equal(status(p, trouble).snapshots, 0); /* none was asked for */
    assert_int_equal(archiver_reading_since_ms(p->site.archiver), 0);
}

static void enough_bytes_are_sealed_without_being_asked(void **state)
{
    struct parts *p = *state;
    put_many(p, 10);
    parts_apply(p, 10);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archiver_orders(p->site.archiver, (struct lsn){10}, p->config.pack_bytes);
    archived(p, 10);
}

static void it_goes_on_where_the_archive_ends(void **state)
{
    struct parts *p = *state;
    put_many(p, 10);
    parts_apply(p, 10);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archiver_orders(p->site.archiver, (struct lsn){10}, p->config.pack_bytes);
    archived(p, 10);
    archiver_stop(p->site.archiver);
    p->site.archiver = NULL;
    put_many(p, 5);
    parts_apply(p, 15);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archived(p, 10);
    archiver_orders(p->site.archiver, (struct lsn){15}, p->config.pack_bytes);
    archived(p, 15);
}

static void an_entry_larger_than_a_pack_becomes_one(void **state)
{
    struct parts *p = *state;
    static char value[300000];
    memset(value, 'v', sizeof value - 1);
    p->config.pack_bytes = 1 << 16;
    history_put(&p->h, "deeds", "large", value);
    put_many(p, 3);
    parts_apply(p, 4);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archiver_orders(p->site.archiver, (struct lsn){4}, 1 << 20);
    archived(p, 4);
    char trouble[ERR_TEXT_BYTES];
    assert_true(status(p, trouble).packs >= 2);
}

static void an_archive_that_cannot_be_opened_is_trouble_and_tried_again(void **state)
{
    struct parts *p = *state;
    char trouble[ERR_TEXT_BYTES];
    kit_write(p->dir, "archive", (const uint8_t *)"x", 1); /* a file where the folder belongs */
    put_many(p, 10);
    parts_apply(p, 10);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    (void)status(p, trouble);
    assert_non_null(strstr(trouble, "archive: "));
    assert_non_null(strstr(trouble, "Not a directory"));
    assert_int_equal(unlink(p->config.archive_dir), 0);
    archiver_orders(p->site.archiver, (struct lsn){10}, p->config.pack_bytes);
    archived(p, 10);
    assert_int_equal(parts_told(p, "; trying again"), 1); /* once, not with every attempt */
    assert_int_equal(parts_told(p, "archive: trouble is over"), 1);
}

static void an_archive_that_is_not_ours_stops_the_start(void **state)
{
    struct parts *p = *state;
    put_many(p, 10);
    parts_apply(p, 10);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archiver_orders(p->site.archiver, (struct lsn){10}, p->config.pack_bytes);
    archived(p, 10);
    struct archiver *second;
    must_fail(archiver_start(&p->site, &second, &e), ERR_BUSY, "archive: ");
    archiver_stop(p->site.archiver);
    p->site.archiver = NULL;
    uint8_t other[sizeof kek - 1];
    memcpy(other, kek, sizeof other);
    other[0] = 'f';
    kit_write(p->dir, "kek", other, sizeof other);
    must_fail(archiver_start(&p->site, &p->site.archiver, &e), ERR_DENIED, "archive: ");
    assert_null(p->site.archiver);
    kit_write(p->dir, "kek", (const uint8_t *)kek, sizeof kek - 1);
    p->config.cluster_id.b[0] ^= 1;
    must_fail(archiver_start(&p->site, &p->site.archiver, &e), ERR_CONFIG, "archive: ");
}

static void a_snapshot_is_taken_after_so_many_entries(void **state)
{
    struct parts *p = *state;
    char trouble[ERR_TEXT_BYTES];
    p->config.snapshot_entries = 20;
    put_many(p, 30);
    parts_apply(p, 15);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archiver_orders(p->site.archiver, (struct lsn){15}, p->config.pack_bytes);
    archived(p, 15);
    assert_int_equal(status(p, trouble).snapshots, 0);
    parts_apply(p, 30);
    archiver_orders(p->site.archiver, (struct lsn){30}, 2 * p->config.pack_bytes);
    archived(p, 30);
    assert_int_equal(status(p, trouble).snapshots, 1);
    assert_int_equal(status(p, trouble).newest_snapshot.v, 30);
}

/* One of 20 entries and more: a small pack after it is not worth another one, as much log as it has is. */
static void of_a_large_state_snapshots_are_taken_more_rarely(void **state)
{
    struct parts *p = *state;
    char trouble[ERR_TEXT_BYTES];
    p->config.snapshot_entries = 2;
    put_many(p, 40);
    parts_apply(p, 40);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archiver_orders(p->site.archiver, (struct lsn){40}, p->config.pack_bytes);
    archived(p, 40);
    assert_int_equal(status(p, trouble).newest_snapshot.v, 40);
    assert_true(status(p, trouble).snapshot_plain_bytes > 0);
    assert_int_equal(status(p, trouble).behind_plain_bytes, 0);
    put_many(p, 2);
    parts_apply(p, 42);
    archiver_orders(p->site.archiver, (struct lsn){42}, 2 * p->config.pack_bytes);
    archived(p, 42);
    assert_int_equal(status(p, trouble).newest_snapshot.v, 40);
    assert_true(status(p, trouble).behind_plain_bytes > 0);
    put_many(p, 80);
    parts_apply(p, 122);
    archiver_orders(p->site.archiver, (struct lsn){122}, 3 * p->config.pack_bytes);
    archived(p, 122);
    assert_int_equal(status(p, trouble).newest_snapshot.v, 122);
}

/* Until the signed tree holds that lsn. */
static void proven(struct parts *p, uint64_t lsn)
{
    char trouble[ERR_TEXT_BYTES];
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    while (status(p, trouble).proven.v < lsn && site_now_ms() < end)
        (void)usleep(1000);
    assert_int_equal(status(p, trouble).proven.v, lsn);
}

static void what_is_sealed_is_signed_soon(void **state)
{
    struct parts *p = *state;
    char path[200], trouble[ERR_TEXT_BYTES];
    put_many(p, 30);
    parts_apply(p, 30);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archiver_orders(p->site.archiver, (struct lsn){30}, 1000);
    archiver_seal_now(p->site.archiver);
    archived(p, 30);
    proven(p, 30);
    (void)snprintf(path, sizeof path, "%s/checkpoint.key", p->dir);
    struct stat st;
    assert_int_equal(stat(path, &st), 0); /* beside the KEK */
    assert_int_equal(st.st_mode & 0777, 0600);
    /* Without its key the site goes on and archives, and says what is the matter. */
    archiver_stop(p->site.archiver);
    p->site.archiver = NULL;
    assert_int_equal(unlink(path), 0);
    put_many(p, 10);
    parts_apply(p, 40);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    archiver_orders(p->site.archiver, (struct lsn){40}, 2000);
    archiver_seal_now(p->site.archiver);
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    while (status(p, trouble).archived.lsn.v < 40 && site_now_ms() < end)
        (void)usleep(1000);
    assert_int_equal(status(p, trouble).archived.lsn.v, 40);
    assert_string_equal(trouble, ""); /* of sealing: whoever waits for that is not held up */
    archiver_tree_trouble(p->site.archiver, trouble);
    assert_non_null(strstr(trouble, "checkpoint key"));
    assert_non_null(strstr(trouble, "put it back"));
}

static void a_checkpoint_that_was_removed_is_told_and_stays_in_status(void **state)
{
    struct parts *p = *state;
    char path[200], trouble[ERR_TEXT_BYTES];
    put_many(p, 30);
    parts_apply(p, 30);
    for (unsigned to = 20; to <= 30; to += 10) {
        must(archiver_start(&p->site, &p->site.archiver, &e));
        archiver_orders(p->site.archiver, (struct lsn){to}, 1000);
        archiver_seal_now(p->site.archiver);
        proven(p, to);
        archiver_tree_trouble(p->site.archiver, trouble);
        assert_string_equal(trouble, "");
        archiver_stop(p->site.archiver);
        p->site.archiver = NULL;
    }
    (void)snprintf(path, sizeof path, "%s/archive/tree/checkpoint", p->dir);
    assert_int_equal(unlink(path), 0);
    must(archiver_start(&p->site, &p->site.archiver, &e));
    proven(p, 30);
    archiver_tree_trouble(p->site.archiver, trouble);
    assert_non_null(strstr(trouble, "archive: tree: LOST tree/checkpoint: "));
    assert_non_null(strstr(trouble, "a signed tree of 20 entries"));
    assert_int_equal(parts_told(p, "archive verify"), 1); /* whole, and once */
    assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
#define in_parts(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        in_parts(it_seals_what_was_ordered_when_it_is_asked_to),
        in_parts(enough_bytes_are_sealed_without_being_asked),
        in_parts(it_goes_on_where_the_archive_ends),
        in_parts(an_entry_larger_than_a_pack_becomes_one),
        in_parts(an_archive_that_cannot_be_opened_is_trouble_and_tried_again),
        in_parts(an_archive_that_is_not_ours_stops_the_start),
        in_parts(a_snapshot_is_taken_after_so_many_entries),
        in_parts(of_a_large_state_snapshots_are_taken_more_rarely),
        in_parts(what_is_sealed_is_signed_soon),
        in_parts(a_checkpoint_that_was_removed_is_told_and_stays_in_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
