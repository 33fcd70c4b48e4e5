/* What a verification of an archive finds beyond flipped bytes: metas that lie under a good seal, objects that went away, and how
 * deep each level looks. */
#include "repository/io/archive.h"
#include "tests/unit/repository/fixture.h"

struct box {
    struct place place;
    struct repository *r;
    struct feed feed;
};

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    assert_non_null(b);
    place_make(&b->place);
    b->r = archive_open(&b->place, false);
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

/* One pack of what the feed holds, under a meta with points that are the caller's, and with a hash of something else. */
static void publish_pack_hashed(struct box *b, struct repo_point *points, size_t n, bool other_hash)
{
    struct repo_draft d = REPO_DRAFT_NONE;
    struct repo_name name = {.kind = REPO_PACK, .first = {1}, .last = b->feed.at.lsn};
    name.term = b->feed.at.term;
    char meta_name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    struct repo_frame_start start = {{1}, {1700000000000000ull}};
    struct repo_pack p = {.first = {1}, .first_time = start.time, .frames = 1};
    struct bytes piece = bytes_of(b->feed.p, b->feed.n);
    struct err e = ERR_NONE;
    uint8_t *meta;
    size_t bytes;
    assert_ok(repo_draft_begin(b->r, &d, &name, &e), e);
    assert_ok(repo_writer_frame(d.writer, &piece, 1, &e), e);
    assert_ok(repo_draft_seal(b->r, &d, NULL, NULL, &e), e);
    repo_draft_object(&d, &p.o);
    p.o.sha256.b[31] ^= other_hash;
    p.o.end = b->feed.at;
    p.points = points;
    p.point_count = n;
    repo_name_meta(d.name, meta_name);
    repo_identity_of(b->r, meta_name, identity);
    assert_ok(repo_pack_write(&p, &start, &test_cluster, &d.key, identity, &meta, &bytes, &e), e);
    assert_ok(repo_draft_publish(b->r, &d, bytes_of(meta, bytes), &e), e);
    free(meta);
    repo_draft_drop(&d);
}

static void publish_pack(struct box *b, struct repo_point *points, size_t n)
{
    publish_pack_hashed(b, points, n, false);
}

static void verifies(struct box *b, enum repository_level level, const char *why)
{
    struct damages d = {0};
    struct repository_report report;
    struct err e = ERR_NONE;
    int rc = repository_verify(b->r, level, note_damage, NULL, &d, &report, &e);
    if ((rc != 0) != (why != NULL) || d.n != (why != NULL))
        fail_msg("level %d: %d, %u damaged: %s", (int)level, rc, d.n, d.all);
    if (why != NULL && strstr(d.reason, why) == NULL)
        fail_msg("'%s' does not say '%s'", d.reason, why);
    assert_int_equal(report.damaged, d.n);
}

/* ---- restore points: in the meta and in the entries, and the same ---- */

enum { POINTS = 2 };

static void points_of(struct box *b, struct repo_point out[POINTS])
{
    static const char *const names[POINTS] = {"first", "second"};
    feed_put(&b->feed, "deeds", "1", "x", 1);
    for (int i = 0; i < POINTS; i++) {
        feed_point(&b->feed, names[i]);
        out[i] = (struct repo_point){
            bytes_str(names[i]), b->feed.at.lsn, b->feed.at.time, false, {0, 0}};
    }
    feed_put(&b->feed, "deeds", "2", "x", 1);
}

static void a_meta_that_names_all_points_is_right(void **state)
{
    struct box *b = *state;
    struct repo_point points[POINTS];
    points_of(b, points);
    publish_pack(b, points, POINTS);
    verifies(b, REPOSITORY_READABLE, NULL);
}

static void a_meta_that_names_a_point_too_few_is_found(void **state)
{
    struct box *b = *state;
    struct repo_point points[POINTS];
    points_of(b, points);
    publish_pack(b, points, 1);
    verifies(b, REPOSITORY_INTACT, NULL);
    verifies(b, REPOSITORY_READABLE, "its restore points are not those that its meta names");
}

static void a_meta_that_names_a_point_too_many_is_found(void **state)
{
    struct box *b = *state;
    struct repo_point points[POINTS + 1];
    points_of(b, points);
    points[POINTS] = points[POINTS - 1];
    points[POINTS].lsn = b->feed.at.lsn;
    publish_pack(b, points, POINTS + 1);
    verifies(b, REPOSITORY_INTACT, NULL);
    verifies(b, REPOSITORY_READABLE, "its meta names restore points that it does not hold");
}

static void a_meta_that_names_other_points_is_found(void **state)
{
    struct box *b = *state;
    struct repo_point points[POINTS];
    points_of(b, points);
    points[0].name = bytes_str("fitst");
    publish_pack(b, points, POINTS);
    verifies(b, REPOSITORY_READABLE, "its restore points are not those that its meta names");
}

static void a_meta_that_names_another_place_of_a_point_is_found(void **state)
{
    struct box *b = *state;
    struct repo_point points[POINTS];
    points_of(b, points);
    points[1].lsn = b->feed.at.lsn;
    publish_pack(b, points, POINTS);
    verifies(b, REPOSITORY_READABLE, "its restore points are not those that its meta names");
}

static void a_meta_that_names_another_time_of_a_point_is_found(void **state)
{
    struct box *b = *state;
    struct repo_point points[POINTS];
    points_of(b, points);
    points[1].time.us++;
    publish_pack(b, points, POINTS);
    verifies(b, REPOSITORY_READABLE, "its restore points are not those that its meta names");
}

/* ---- levels ---- */

static void each_level_looks_deeper(void **state)
{
    struct box *b = *state;
    char path[300];
    size_t n;
    feed_mixed(&b->feed, 50);
    publish_pack(b, NULL, 0);
    repository_close(b->r);
    b->r = archive_open(&b->place, false);
    find_object(&b->place, "packs", ".pack", 0, path);
    uint8_t *p = slurp(path, &n);
    assert_int_equal(chmod(path, 0600), 0);
    p[n / 2] ^= 1;
    write_file(path, p, n, 0600);
    verifies(b, REPOSITORY_PRESENT, NULL);
    verifies(b, REPOSITORY_INTACT, "its SHA-256 is not the one in its meta");
    verifies(b, REPOSITORY_READABLE, "segment 0 at bytes"); /* reading says where */
    p[n / 2] ^= 1;
    write_file(path, p, n - 1, 0600);
    verifies(b, REPOSITORY_PRESENT, "bytes where its meta names");
    free(p);
}

/* It decrypts and decodes, and yet is not the object that was sealed: its hash is compared at every level that reads it. */
static void another_object_under_the_same_key_is_found(void **state)
{
    struct box *b = *state;
    feed_mixed(&b->feed, 50);
    publish_pack_hashed(b, NULL, 0, true);
    repository_close(b->r);
    b->r = archive_open(&b->place, false);
    verifies(b, REPOSITORY_PRESENT, NULL);
    verifies(b, REPOSITORY_INTACT, "its SHA-256 is not the one in its meta");
    verifies(b, REPOSITORY_READABLE, "its SHA-256 is not the one in its meta");
}

/* More than are open at once: each is told for itself, in the order of the archive, and those between are whole. */
static void each_damaged_pack_of_many_is_told_in_order(void **state)
{
    enum { MANY = 50, NTH = 7 };
    struct box *b = *state;
    struct damages d = {0};
    struct repository_report report;
    struct err e = ERR_NONE;
    char path[300], expected[4096] = "";
    for (int i = 0; i < MANY; i++) {
        feed_mixed(&b->feed, 3);
        assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
    }
    for (unsigned i = 3; i < MANY; i += NTH) {
        size_t n, used = strlen(expected);
        find_object(&b->place, "packs", ".pack", i, path);
        uint8_t *p = slurp(path, &n);
        assert_int_equal(chmod(path, 0600), 0);
        p[n / 2] ^= 1;
        write_file(path, p, n, 0600);
        (void)snprintf(expected + used, sizeof expected - used,
                       "%s: its SHA-256 is not the one in its meta\n", strstr(path, "packs/"));
        free(p);
    }
    assert_int_equal(repository_verify(b->r, REPOSITORY_INTACT, note_damage, NULL, &d, &report, &e),
                     ERR_INTEGRITY);
    assert_string_equal(d.all, expected);
    assert_int_equal(report.objects, MANY);
}

/* ---- what went away ---- */

static void a_snapshot_whose_meta_went_away_is_missed(void **state)
{
    struct box *b = *state;
    char path[300], dir[200];
    struct err e = ERR_NONE;
    struct state *s;
    struct state_snapshot *snap;
    feed_put(&b->feed, "deeds", "1", "x", 1);
    (void)snprintf(dir, sizeof dir, "%s/state", b->place.root);
    struct state_options o = {.dir = dir, .cluster_id = test_cluster};
    assert_ok(state_open(&s, &o, &e), e);
    struct entry_view v;
    size_t used;
    assert_ok(entry_decode(bytes_of(b->feed.p, b->feed.n), &v, &used, &e), e);
    assert_ok(state_apply(s, &v, 1, &e), e);
    assert_ok(state_snapshot_open(s, &snap, &e), e);
    assert_ok(repository_snapshot(b->r, snap, &e), e);
    state_snapshot_close(snap);
    state_close(s);
    verifies(b, REPOSITORY_READABLE, NULL);
    find_object(&b->place, "snapshots", ".meta", 0, path);
    assert_int_equal(unlink(path), 0);
    verifies(b, REPOSITORY_PRESENT, "its meta file is missing");
}

/* ---- opened for a verification and nothing else ---- */

static void what_is_opened_to_be_verified_is_read_by_the_verification(void **state)
{
    struct box *b = *state;
    struct repository_status status;
    struct err e = ERR_NONE;
    char path[300];
    for (int i = 0; i < 2; i++) {
        feed_mixed(&b->feed, 3);
        assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
    }
    repository_close(b->r);
    const struct repository_options o = {
        .dir = b->place.dir, .kek_file = b->place.kek, .read_only = true, .to_verify = true};
    assert_ok(repository_open(&b->r, &o, &e), e);
    repository_status(b->r, &status);
    assert_int_equal(status.packs, 0);
    /* Damaged after it was opened. */
    find_object(&b->place, "packs", ".meta", 1, path);
    size_t n;
    uint8_t *meta = slurp(path, &n);
    assert_int_equal(chmod(path, 0600), 0);
    meta[n / 2] ^= 1;
    write_file(path, meta, n, 0600);
    verifies(b, REPOSITORY_PRESENT, "the text is not the one that was sealed");
    repository_status(b->r, &status);
    assert_int_equal(status.packs, 2);
    assert_int_equal(status.damaged, 1);
    /* From here on it is an archive like others: what it knew is missed. */
    meta[n / 2] ^= 1;
    write_file(path, meta, n, 0600);
    free(meta);
    verifies(b, REPOSITORY_READABLE, NULL);
    assert_int_equal(unlink(path), 0);
    verifies(b, REPOSITORY_PRESENT, "its meta file is missing");
}

int main(void)
{
#define in_a_box(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        in_a_box(a_meta_that_names_all_points_is_right),
        in_a_box(a_meta_that_names_a_point_too_few_is_found),
        in_a_box(a_meta_that_names_a_point_too_many_is_found),
        in_a_box(a_meta_that_names_other_points_is_found),
        in_a_box(a_meta_that_names_another_place_of_a_point_is_found),
        in_a_box(a_meta_that_names_another_time_of_a_point_is_found),
        in_a_box(each_level_looks_deeper),
        in_a_box(another_object_under_the_same_key_is_found),
        in_a_box(each_damaged_pack_of_many_is_told_in_order),
        in_a_box(a_snapshot_whose_meta_went_away_is_missed),
        in_a_box(what_is_opened_to_be_verified_is_read_by_the_verification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
