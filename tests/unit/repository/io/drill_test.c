/* A restore as a drill: what it proves, and that it leaves nothing behind and touches nothing else. */
#include "tests/unit/repository/fixture.h"

#include "store/io/file.h"

struct box {
    struct place place;
    struct repository *r;
    struct feed feed;
    struct state *state; /* that a site would have */
    char scratch[128];
};

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    char dir[200];
    struct err e = ERR_NONE;
    assert_non_null(b);
    place_make(&b->place);
    b->r = archive_open(&b->place, false);
    (void)snprintf(b->scratch, sizeof b->scratch, "%s/scratch", b->place.root);
    (void)snprintf(dir, sizeof dir, "%s/state", b->place.root);
    struct state_options o = {.dir = dir, .cluster_id = test_cluster};
    assert_ok(state_open(&b->state, &o, &e), e);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    state_close(b->state);
    repository_close(b->r);
    feed_drop(&b->feed);
    place_drop(&b->place);
    free(b);
    return 0;
}

/* The state's digest at its end, and with `lie` another one. */
struct answer {
    struct box *box;
    bool lie;
};

static int digest_of(void *arg, struct lsn lsn, struct digest *out)
{
    const struct answer *a = arg;
    struct err e = ERR_NONE;
    struct state_snapshot *snap;
    struct state_totals totals;
    assert_ok(state_snapshot_open(a->box->state, &snap, &e), e);
    assert_ok(state_totals(snap, &totals, &e), e);
    assert_int_equal(state_snapshot_position(snap).lsn.v, lsn.v);
    state_snapshot_close(snap);
    *out = totals.digest;
    out->lo ^= a->lie;
    return 0;
}

/* n transactions more, applied by the site and sealed with its digest. */
static void seal(struct box *b, unsigned n, bool lie)
{
    struct err e = ERR_NONE;
    feed_mixed(&b->feed, n);
    for (size_t at = b->feed.mark; at < b->feed.n;) {
        struct entry_view v;
        size_t used;
        assert_ok(entry_decode(bytes_of(b->feed.p + at, b->feed.n - at), &v, &used, &e), e);
        assert_ok(state_apply(b->state, &v, 1, &e), e);
        at += used;
    }
    struct answer a = {b, lie};
    assert_ok(feed_seal(&b->feed, b->r, digest_of, &a, &e), e);
}

static int drill(struct box *b, uint64_t lsn, struct repository_drill *out, struct err *e)
{
    *e = (struct err)ERR_NONE;
    return repository_drill(b->r, &(struct restore_target){.lsn = {lsn}}, b->scratch, NULL, NULL,
                            out, e);
}

/* Files of drills in the scratch directory, but for the lock. */
static unsigned left(const struct box *b)
{
    unsigned n = 0;
    DIR *d = opendir(b->scratch);
    assert_non_null(d);
    for (const struct dirent *x = readdir(d); x != NULL; x = readdir(d))
        n += strncmp(x->d_name, "triveni-drill", 13) == 0 &&
             strcmp(x->d_name, "triveni-drill.lock") != 0;
    (void)closedir(d);
    return n;
}

static bool is_there(const struct box *b, const char *name)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", b->scratch, name);
    return access(path, F_OK) == 0;
}

static void what_is_archived_is_restored_compared_and_removed(void **state)
{
    struct box *b = *state;
    struct repository_drill d;
    struct err e;
    seal(b, 100, false);
    seal(b, 50, false);
    assert_ok(drill(b, 0, &d, &e), e);
    assert_int_equal(d.result.at.lsn.v, 150);
    assert_int_equal(d.result.compared.v, 150);
    assert_int_equal(d.result.entries, 150);
    assert_true(d.result.records > 0 && d.bytes > 0);
    assert_int_equal(left(b), 0);
    assert_ok(drill(b, 120, &d, &e), e); /* and another target in the same place */
    assert_int_equal(d.result.at.lsn.v, 120);
    assert_int_equal(d.result.compared.v, 100);
}

static void a_state_that_differs_fails_and_is_kept_until_the_next_drill(void **state)
{
    struct box *b = *state;
    struct repository_drill d;
    struct err e;
    seal(b, 20, false);
    seal(b, 20, true);
    assert_int_equal(drill(b, 0, &d, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "the restored state at lsn 40 has digest"));
    assert_true(is_there(b, "triveni-drill.rejected"));
    assert_int_equal(left(b), 1);
    assert_ok(drill(b, 20, &d, &e), e);
    assert_int_equal(left(b), 0);
}

static void without_a_digest_nothing_is_proven(void **state)
{
    struct box *b = *state;
    struct repository_drill d;
    struct err e = ERR_NONE;
    feed_mixed(&b->feed, 10);
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
    assert_int_equal(drill(b, 0, &d, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "no digest up to there"));
    assert_int_equal(left(b), 0);
}

static void a_damaged_pack_fails_the_drill(void **state)
{
    struct box *b = *state;
    struct repository_drill d;
    struct err e;
    char path[300];
    size_t n;
    seal(b, 50, false);
    find_object(&b->place, "packs", ".pack", 0, path);
    uint8_t *p = slurp(path, &n);
    assert_int_equal(chmod(path, 0600), 0);
    p[n / 2] ^= 1;
    write_file(path, p, n, 0400);
    free(p);
    assert_int_equal(drill(b, 0, &d, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "packs/"));
    assert_int_equal(left(b), 0);
}

static void what_an_interrupted_drill_left_is_removed_and_nothing_else(void **state)
{
    struct box *b = *state;
    struct repository_drill d;
    struct err e;
    char path[200];
    seal(b, 20, false);
    assert_int_equal(mkdir(b->scratch, 0700), 0);
    static const char *const there[] = {"triveni-drill.partial", "triveni-drill", "state"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", b->scratch, there[i]);
        assert_int_equal(mkdir(path, 0700), 0);
        (void)snprintf(path, sizeof path, "%s/%s/data.mdb", b->scratch, there[i]);
        write_file(path, "x", 1, 0600);
    }
    assert_ok(drill(b, 0, &d, &e), e);
    assert_int_equal(left(b), 0);
    assert_true(is_there(b, "state/data.mdb"));
}

static void two_drills_do_not_share_a_place(void **state)
{
    struct box *b = *state;
    struct repository_drill d;
    struct err e = ERR_NONE;
    int dir, lock;
    seal(b, 20, false);
    assert_ok(file_open_dir(b->scratch, &dir, &e), e);
    assert_ok(file_lock(dir, b->scratch, "triveni-drill.lock", &lock, &e), e);
    assert_int_equal(drill(b, 0, &d, &e), ERR_BUSY);
    (void)close(lock);
    (void)close(dir);
    assert_ok(drill(b, 0, &d, &e), e);
}

int main(void)
{
#define in_a_box(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        in_a_box(what_is_archived_is_restored_compared_and_removed),
        in_a_box(a_state_that_differs_fails_and_is_kept_until_the_next_drill),
        in_a_box(without_a_digest_nothing_is_proven),
        in_a_box(a_damaged_pack_fails_the_drill),
        in_a_box(what_an_interrupted_drill_left_is_removed_and_nothing_else),
        in_a_box(two_drills_do_not_share_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
