/* What was noted while packs were read back serves tree and index, and is the same as what the packs hold. */
#include "repository/io/recent.h"
#include "repository/history.h"
#include "repository/io/archive.h"
#include "repository/proof.h"
#include "tests/unit/repository/fixture.h"

struct box {
    struct place place;
    struct repository *r;
    struct feed feed;
};

static void open_box(struct box *b)
{
    char key[120], vkey[TLOG_VKEY_BYTES];
    struct err e = ERR_NONE;
    bool made;
    (void)snprintf(key, sizeof key, "%s/checkpoint.key", b->place.root);
    b->r = archive_open(&b->place, false);
    assert_ok(repository_tree_open(b->r, key, vkey, &made, &e), e);
}

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    assert_non_null(b);
    place_make(&b->place);
    open_box(b);
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

static void seal(struct box *b, unsigned entries)
{
    struct err e = ERR_NONE;
    feed_mixed(&b->feed, entries);
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
}

/* Tree and index over all packs. */
static int follow(struct box *b, struct err *e)
{
    bool more = true;
    int rc = repository_tree_extend(b->r, UINT32_MAX, e);
    while (rc == 0 && more)
        rc = repository_index_extend(b->r, &more, e);
    return rc;
}

static void folder_away(struct box *b, const char *folder, bool away)
{
    char here[200], there[200];
    (void)snprintf(here, sizeof here, "%s/%s", b->place.dir, folder);
    (void)snprintf(there, sizeof there, "%s/elsewhere", b->place.root);
    assert_int_equal(away ? rename(here, there) : rename(there, here), 0);
}

/* Everything is decoded, and tree and indexes are compared with it. */
static void assert_whole(struct box *b)
{
    struct repository_report report;
    struct repository_status s;
    struct damages d = {0};
    struct err e = ERR_NONE;
    repository_close(b->r);
    b->r = archive_open(&b->place, true);
    assert_ok(repository_verify(b->r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e), e);
    assert_int_equal(report.proven, b->feed.at.lsn.v);
    repository_status(b->r, &s);
    assert_int_equal(s.indexed.v, b->feed.at.lsn.v);
    repository_close(b->r);
    open_box(b);
}

static void no_pack_is_read_again_that_was_sealed_just_now(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    seal(b, 300);
    seal(b, 500);
    folder_away(b, "packs", true);
    assert_ok(follow(b, &e), e);
    folder_away(b, "packs", false);
    seal(b, 30);
    folder_away(b, "packs", true);
    assert_ok(follow(b, &e), e);
    folder_away(b, "packs", false);
    assert_whole(b);
}

static void what_an_earlier_process_sealed_is_read(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    seal(b, 300);
    repository_close(b->r);
    open_box(b);
    seal(b, 500);
    folder_away(b, "packs", true);
    assert_int_equal(repository_tree_extend(b->r, 1000, &e), ERR_INTEGRITY);
    folder_away(b, "packs", false);
    e = (struct err)ERR_NONE;
    assert_ok(repository_tree_extend(b->r, 400, &e), e); /* into the noted ones */
    seal(b, 20);
    assert_ok(follow(b, &e), e);
    assert_whole(b);
}

/* Nothing of entries whose pack did not come to be is taken for archived ones. */
static void what_was_refused_leaves_nothing(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    seal(b, 40);
    const struct feed before = b->feed;
    feed_mixed(&b->feed, 10);
    char keys[200]; /* a file where keys belong: it fails when all is written and read back */
    (void)snprintf(keys, sizeof keys, "%s/keys", b->place.dir);
    folder_away(b, "keys", true);
    write_file(keys, "", 0, 0600);
    assert_int_not_equal(
        repository_seal(b->r, b->feed.p + before.n, b->feed.n - before.n, NULL, NULL, &e), 0);
    assert_int_equal(unlink(keys), 0);
    folder_away(b, "keys", false);
    assert_int_equal(repo_recent_first(b->r->recent).v, 0);
    e = (struct err)ERR_NONE;
    assert_ok(follow(b, &e), e);
    assert_ok(repository_seal(b->r, b->feed.p + before.n, b->feed.n - before.n, NULL, NULL, &e), e);
    assert_ok(follow(b, &e), e);
    assert_whole(b);
}

static void what_is_noted_is_bounded(void **state)
{
    (void)state;
    enum { ENTRIES = 150000, KEPT_MAX = (16 << 20) / ENTRY_HEADER_BYTES };
    struct feed f = {0};
    struct repo_recent *m = NULL;
    struct repo_refs refs = {.e = NULL};
    struct err e = ERR_NONE;
    struct lsn end;
    uint64_t last = 0;
    feed_mixed(&f, 1);
    const size_t n = f.n;
    assert_ok(repo_recent_begin(&m, &(struct entry_position){.lsn = {0}}, &e), e);
    struct entry_view v;
    size_t used;
    assert_ok(entry_decode(bytes_of(f.p, n), &v, &used, &e), e);
    for (uint64_t lsn = 1; lsn <= ENTRIES; lsn++) {
        v.header.lsn.v = lsn;
        assert_ok(repo_recent_note(m, &v, &e), e);
        const uint64_t first = repo_recent_first(m).v;
        assert_true(first == 0 || lsn + 1 - first <= KEPT_MAX);
        last = first;
    }
    assert_true(last > 1); /* some were let go, and later ones noted */
    (void)repo_recent_take(m, (struct lsn){1}, &end, &refs);
    repo_refs_free(&refs);
    repo_recent_used(m, (struct lsn){ENTRIES});
    assert_int_equal(repo_recent_first(m).v, 0);
    repo_recent_free(m);
    feed_drop(&f);
}

int main(void)
{
#define in_a_box(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        in_a_box(no_pack_is_read_again_that_was_sealed_just_now),
        in_a_box(what_an_earlier_process_sealed_is_read),
        in_a_box(what_was_refused_leaves_nothing),
        cmocka_unit_test(what_is_noted_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
