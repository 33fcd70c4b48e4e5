/* Snapshots that a wrong program sealed with the right key: every rule of what may stand where is found broken, and named. And
 * snapshots that are not taken. */
#include "repository/io/archive.h"
#include "tests/unit/repository/fixture.h"

/* ---- forging ---- */

enum { RECORDS_MAX = 9 };

struct forged {
    struct repo_snap_record x[RECORDS_MAX];
    size_t n;
    struct repo_snapshot meta; /* what it will say */
};

static struct repo_snap_record row(const char *key, uint64_t lsn)
{
    struct repo_snap_row r = {
        bytes_str("deeds"), bytes_str(key), bytes_str("value"), {lsn}, {1000 + lsn}};
    return (struct repo_snap_record){.type = REPO_SNAP_ROW, .u.row = r};
}

/* Header, two records, one of each else, trailer: all as it should be. */
static struct forged right(void)
{
    struct entry_position at = {{7}, {2}, {1007}, {{9}}};
    struct forged f = {.n = 7};
    f.x[1] = row("a", 3);
    f.x[2] = row("b", 7);
    struct digest digest = {0, 0};
    for (int i = 1; i <= 2; i++) {
        const struct repo_snap_row *r = &f.x[i].u.row;
        digest = digest_add(digest, digest_record(r->collection, r->key, r->lsn, r->value));
    }
    struct uuid session = {{5}};
    f.x[0] = (struct repo_snap_record){
        REPO_SNAP_HEADER, {.header = {COMMIT_MAJORITY, test_cluster, at, 2, 1, digest}}};
    f.x[3] = (struct repo_snap_record){REPO_SNAP_SESSION,
                                       {.session = {session, bytes_str("clerk"), {2}, {1002}}}};
    f.x[4] = (struct repo_snap_record){REPO_SNAP_RESULT, {.result = {session, 1, at}}};
    f.x[5] = (struct repo_snap_record){REPO_SNAP_POINT,
                                       {.point = {bytes_str("point"), {4}, {1004}, digest}}};
    f.x[6] = (struct repo_snap_record){REPO_SNAP_TRAILER, {.trailer = {2, 1, 1, 1, digest}}};
    f.meta = (struct repo_snapshot){.records = 2, .sessions = 1, .results = 1, .points = 1};
    f.meta.o.end = at;
    f.meta.o.digest_known = true;
    f.meta.o.digest = digest;
    return f;
}

static void write_record(struct writer *w, const struct repo_snap_record *x)
{
    switch (x->type) {
    case REPO_SNAP_HEADER:
        repo_snap_write_header(w, &x->u.header);
        return;
    case REPO_SNAP_ROW:
        repo_snap_write_row(w, &x->u.row);
        write_bytes(w, x->u.row.value);
        return;
    case REPO_SNAP_SESSION:
        repo_snap_write_session(w, &x->u.session);
        return;
    case REPO_SNAP_RESULT:
        repo_snap_write_result(w, &x->u.result);
        return;
    case REPO_SNAP_POINT:
        repo_snap_write_point(w, &x->u.point);
        return;
    case REPO_SNAP_TRAILER:
        repo_snap_write_trailer(w, &x->u.trailer);
        return;
    }
}

/* Each record in a frame of its own, so that the place of the damage can be told. */
static void publish(struct repository *r, struct forged *f)
{
    struct repo_draft d = REPO_DRAFT_NONE;
    struct repo_name name = {.kind = REPO_SNAPSHOT, .last = f->meta.o.end.lsn};
    char meta_name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    uint8_t buf[2048], *meta;
    size_t n;
    struct err e = ERR_NONE;
    assert_ok(repo_draft_begin(r, &d, &name, &e), e);
    for (size_t i = 0; i < f->n; i++) {
        struct writer w = writer_of(buf, sizeof buf);
        write_record(&w, &f->x[i]);
        assert_false(w.bad);
        struct bytes piece = bytes_of(buf, w.at);
        assert_ok(repo_writer_frame(d.writer, &piece, 1, &e), e);
    }
    assert_ok(repo_draft_seal(r, &d, NULL, NULL, &e), e);
    repo_draft_object(&d, &f->meta.o);
    repo_name_meta(d.name, meta_name);
    repo_identity_of(r, meta_name, identity);
    assert_ok(repo_snapshot_write(&f->meta, &test_cluster, &d.key, identity, &meta, &n, &e), e);
    assert_ok(repo_draft_publish(r, &d, bytes_of(meta, n), &e), e);
    free(meta);
    repo_draft_drop(&d);
}

static struct place shared;
static struct repository *archive;

static int open_shared(void **state)
{
    (void)state;
    place_make(&shared);
    archive = archive_open(&shared, false);
    return 0;
}

static int close_shared(void **state)
{
    (void)state;
    repository_close(archive);
    place_drop(&shared);
    return 0;
}

/* What a verification finds in an archive of this one snapshot: the reason must say `why`; nothing when it is NULL. */
static void found(struct forged f, const char *why)
{
    struct damages d = {0};
    struct repository_report report;
    struct err e = ERR_NONE;
    char meta[REPO_NAME_BYTES], path[sizeof shared.dir + REPO_NAME_BYTES];
    publish(archive, &f);
    int rc = repository_verify(archive, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e);
    assert_int_equal(rc, why == NULL ? 0 : ERR_INTEGRITY);
    assert_int_equal(d.n, why != NULL);
    if (why != NULL && strstr(d.reason, why) == NULL)
        fail_msg("'%s' does not say '%s'", d.reason, why);
    assert_true(why == NULL || strcmp(d.object, f.meta.o.name) == 0);
    repo_name_meta(f.meta.o.name, meta); /* without it the snapshot does not exist */
    (void)snprintf(path, sizeof path, "%s/%s", shared.dir, meta);
    assert_int_equal(unlink(path), 0);
}

static void take_out(struct forged *f, size_t i)
{
    memmove(&f->x[i], &f->x[i + 1], (--f->n - i) * sizeof f->x[0]);
}

static void put_in(struct forged *f, size_t i, struct repo_snap_record x)
{
    memmove(&f->x[i + 1], &f->x[i], (f->n++ - i) * sizeof f->x[0]);
    f->x[i] = x;
}

/* ---- reading ---- */

static void a_right_snapshot_is_right(void **state)
{
    (void)state;
    found(right(), NULL);
}

static void the_header_is_first_and_only_that(void **state)
{
    (void)state;
    struct forged f = right();
    take_out(&f, 0);
    found(f, "frame 0: record at byte 0 of its content: the header must be the first record");
    f = right();
    put_in(&f, 1, f.x[0]);
    found(f, "frame 1: record at byte 0 of its content: the header must be the first record");
    f = right();
    f.x[0].u.header.cluster_id.b[3] ^= 1;
    found(f, "it is of another cluster");
    f = right();
    f.x[0].u.header.at.hash.b[31] ^= 1;
    found(f, "its meta names another position");
}

static void the_trailer_is_last_and_only_that(void **state)
{
    (void)state;
    struct forged f = right();
    f.n--;
    found(f, "it ends without a trailer");
    f = right();
    put_in(&f, f.n, f.x[6]);
    found(f, "frame 7: record at byte 0 of its content: a record stands where its type cannot");
    f = right();
    f.n = 0;
    found(f, "it ends without a trailer");
}

static void types_never_go_down(void **state)
{
    (void)state;
    for (size_t i = 2; i <= 4; i++) {
        struct forged f = right();
        struct repo_snap_record x = f.x[i];
        f.x[i] = f.x[i + 1];
        f.x[i + 1] = x;
        found(f, "a record stands where its type cannot stand");
    }
}

static void records_are_in_order_and_each_is_there_once(void **state)
{
    (void)state;
    struct forged f = right();
    struct repo_snap_record x = f.x[1];
    f.x[1] = f.x[2];
    f.x[2] = x;
    found(f, "frame 2: record at byte 0 of its content: records are out of order");
    f = right();
    put_in(&f, 2, f.x[1]);
    found(f, "records are out of order");
    f = right();
    f.x[2] = row("a", 7);
    f.x[2].u.row.collection = bytes_str("dee"); /* before, though longer keys come after */
    found(f, "records are out of order");
}

static void no_record_is_newer_than_the_snapshot_or_of_no_time(void **state)
{
    (void)state;
    struct forged f = right();
    f.x[2].u.row.lsn.v = 8;
    found(f, "a record is newer than the snapshot");
    f = right();
    f.x[1].u.row.lsn.v = 0;
    found(f, "a record is newer than the snapshot");
}

static void the_trailer_counts_what_is_there(void **state)
{
    (void)state;
    static const char why[] = "the trailer's counts or digest are not those of the records";
    for (size_t i = 2; i <= 5; i++) { /* a record, the session, its result, the point */
        struct forged f = right();
        take_out(&f, i);
        found(f, why);
    }
    struct forged f = right();
    f.x[6].u.trailer.digest.lo ^= 1;
    found(f, why);
    f = right();
    f.x[6].u.trailer.records = f.meta.records = f.x[0].u.header.records = 3;
    found(f, why);
    f = right();
    f.x[2].u.row.value = bytes_str("valuf");
    found(f, why);
}

static void meta_and_header_name_what_is_there(void **state)
{
    (void)state;
    static const char why[] = "its meta or header names other counts or another digest";
    struct forged f[7];
    for (size_t i = 0; i < 7; i++)
        f[i] = right();
    f[0].meta.records++;
    f[1].meta.sessions++;
    f[2].meta.results++;
    f[3].meta.points++;
    f[4].meta.o.digest.hi++;
    f[5].x[0].u.header.records++;
    f[6].x[0].u.header.digest.hi++;
    for (size_t i = 0; i < 7; i++)
        found(f[i], why);
}

/* ---- taking ---- */

static struct state *state_at(const struct place *p, const char *name, const struct feed *f)
{
    char dir[200];
    struct err e = ERR_NONE;
    struct state *s;
    (void)snprintf(dir, sizeof dir, "%s/%s", p->root, name);
    struct state_options o = {.dir = dir, .cluster_id = test_cluster};
    assert_ok(state_open(&s, &o, &e), e);
    struct entry_view v;
    for (size_t at = 0, used; at < f->n; at += used) {
        assert_ok(entry_decode(bytes_of(f->p + at, f->n - at), &v, &used, &e), e);
        assert_ok(state_apply(s, &v, 1, &e), e);
    }
    return s;
}

static int take(struct repository *r, struct state *s, struct err *e)
{
    struct state_snapshot *snap;
    assert_ok(state_snapshot_open(s, &snap, e), *e);
    int rc = repository_snapshot(r, snap, e);
    state_snapshot_close(snap);
    return rc;
}

static int note_lsn(void *arg, const struct repository_snapshot_info *info)
{
    uint64_t *lsns = arg;
    lsns[++lsns[0]] = info->lsn.v;
    return 0;
}

static void snapshots_are_listed_by_lsn_whenever_they_were_taken(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct state *s[3];
    struct err e = ERR_NONE;
    uint64_t lsns[8] = {0};
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    for (int i = 0; i < 3; i++) {
        char name[] = {'s', (char)('0' + i), '\0'};
        feed_put(&f, "deeds", name, "x", 1);
        s[i] = state_at(&p, name, &f);
    }
    assert_ok(take(r, s[2], &e), e);
    assert_ok(take(r, s[0], &e), e);
    assert_ok(take(r, s[1], &e), e);
    assert_int_equal(take(r, s[1], &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "a snapshot at lsn 2 is there already"));
    assert_ok(repository_snapshots(r, note_lsn, lsns, &e), e);
    const uint64_t sorted[] = {3, 1, 2, 3};
    assert_memory_equal(lsns, sorted, sizeof sorted);
    repository_close(r);
    r = archive_open(&p, true);
    assert_int_equal(take(r, s[0], &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "opened for reading only"));
    repository_close(r);
    for (int i = 0; i < 3; i++)
        state_close(s[i]);
    feed_drop(&f);
    place_drop(&p);
}

static void of_nothing_no_snapshot_is_taken(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    struct state *s = state_at(&p, "empty", &f);
    assert_int_equal(take(r, s, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "the state is empty"));
    state_close(s);
    repository_close(r);
    place_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_snapshot_is_right),
        cmocka_unit_test(the_header_is_first_and_only_that),
        cmocka_unit_test(the_trailer_is_last_and_only_that),
        cmocka_unit_test(types_never_go_down),
        cmocka_unit_test(records_are_in_order_and_each_is_there_once),
        cmocka_unit_test(no_record_is_newer_than_the_snapshot_or_of_no_time),
        cmocka_unit_test(the_trailer_counts_what_is_there),
        cmocka_unit_test(meta_and_header_name_what_is_there),
        cmocka_unit_test(snapshots_are_listed_by_lsn_whenever_they_were_taken),
        cmocka_unit_test(of_nothing_no_snapshot_is_taken),
    };
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
