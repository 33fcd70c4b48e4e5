/* Restore against the real state: what comes out of the archive is what a site had. */
#include "tests/unit/repository/io/restore_kit.h"

struct progress {
    enum repository_stage stage;
    uint64_t calls, done, total;
};

static void note_progress(void *arg, enum repository_stage stage, uint64_t done, uint64_t total)
{
    struct progress *x = arg;
    assert_true(stage >= x->stage && done <= total);
    assert_true(stage > x->stage || done >= x->done);
    x->stage = stage;
    x->calls++;
    x->done = done;
    x->total = total;
}

static void restore_and_compare(struct world *w, const struct restore_target *t, uint64_t lsn,
                                const char *point, bool known)
{
    struct restore_plan plan;
    struct restore_result result;
    struct progress progress = {0};
    struct err e = ERR_NONE;
    struct sha256 expected = dump_at(&w->p, &w->f, lsn), found;
    assert_ok(repository_plan(w->r, t, &plan, &e), e);
    assert_int_equal(plan.lsn.v, lsn);
    assert_true(plan.snapshot.v <= lsn);
    assert_string_equal(plan.point, point);
    assert_int_equal(plan.digest_known, known);
    assert_int_equal(plan.archive_ends.us, w->f.at.time.us);
    assert_int_equal(plan.open_end, t->time.us != 0 && t->time.us >= w->f.at.time.us);
    assert_ok(repository_restore(w->r, &plan, w->p.into, note_progress, &progress, &result, &e), e);
    assert_int_equal(result.at.lsn.v, lsn);
    assert_int_equal(result.at.time.us, plan.time.us);
    assert_int_equal(progress.stage, REPOSITORY_STAGE_BUILD);
    assert_int_equal(progress.done, progress.total);
    assert_true(progress.calls > 0);
    assert_false(result.resumed);
    if (known) {
        assert_int_equal(result.compared.v, lsn);
        assert_true(digest_equal(plan.digest, result.digest));
    }
    assert_int_equal(result.entries, lsn - plan.snapshot.v);
    found = dump_directory(w->p.into);
    assert_memory_equal(&found, &expected, sizeof found);
    tree_remove(w->p.into);
}

static void each_target_gives_the_state_of_that_time(void **state)
{
    (void)state;
    struct world w;
    world_make(&w);
    uint64_t end = w.f.at.lsn.v;
    restore_and_compare(&w, &(struct restore_target){{0}, NULL, {0}}, end, "", true);
    restore_and_compare(&w, &(struct restore_target){{0}, "before-the-move", {0}}, w.point_lsn,
                        "before-the-move", true);
    restore_and_compare(&w, &(struct restore_target){{0}, NULL, w.point_time}, w.point_lsn,
                        "before-the-move", true);
    restore_and_compare(&w, &(struct restore_target){{0}, NULL, {w.point_time.us + 999}},
                        w.point_lsn, "before-the-move", true);
    restore_and_compare(&w, &(struct restore_target){{0}, NULL, {w.point_time.us - 1}},
                        w.point_lsn - 1, "", false);
    restore_and_compare(&w, &(struct restore_target){{0}, NULL, {UINT64_MAX / 2}}, end, "", true);
    const uint64_t lsns[] = {
        1,        2,       777, 1508, 1509, w.point_lsn, w.big_lsn - 1, w.big_lsn, w.big_lsn + 1,
        end - 10, end - 9, end};
    for (size_t i = 0; i < sizeof lsns / sizeof lsns[0]; i++) {
        const uint64_t l = lsns[i];
        bool known =
            l == 1508 || l == w.point_lsn || l == w.big_lsn - 1 || l == end - 10 || l == end;
        restore_and_compare(&w, &(struct restore_target){{l}, NULL, {0}}, l,
                            l == w.point_lsn ? "before-the-move" : "", known);
    }
    world_drop(&w);
}

/* A restored directory is one that a site goes on with. */
static void a_restored_state_takes_further_entries(void **state)
{
    (void)state;
    struct world w;
    struct restore_plan plan;
    struct restore_result result;
    struct err e = ERR_NONE;
    char dir[200];
    world_make(&w);
    struct restore_target t = {{w.big_lsn + 5}, NULL, {0}};
    assert_ok(repository_plan(w.r, &t, &plan, &e), e);
    assert_ok(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), e);
    (void)snprintf(dir, sizeof dir, "%s/state", w.p.into);
    struct state_options o = {.dir = dir, .cluster_id = test_cluster};
    struct site s = {.f = &w.f};
    assert_ok(state_open(&s.state, &o, &e), e);
    assert_int_equal(state_applied(s.state).lsn.v, w.big_lsn + 5);
    assert_int_equal(state_checkpoint(s.state).lsn.v, w.big_lsn + 5);
    while (s.applied < w.f.n) { /* skip what is in it */
        struct entry_view v;
        size_t used;
        assert_ok(entry_decode(bytes_of(w.f.p + s.applied, w.f.n - s.applied), &v, &used, &e), e);
        if (v.header.lsn.v > w.big_lsn + 5)
            break;
        s.applied += used;
    }
    site_apply(&s, UINT64_MAX);
    struct sha256 ours = dump_state(s.state, NULL), theirs = dump_state(w.s.state, NULL);
    assert_memory_equal(&ours, &theirs, sizeof ours);
    state_close(s.state);
    world_drop(&w);
}

static void targets_that_are_not_there_are_explained(void **state)
{
    (void)state;
    struct world w;
    struct restore_plan plan;
    struct err e = ERR_NONE;
    world_make(&w);
    static const struct {
        struct restore_target t;
        int code;
        const char *says;
    } cases[] = {
        {{{999999}, NULL, {0}}, ERR_NOT_FOUND, "holds lsns 1.."},
        {{{0}, "before-the-mode", {0}}, ERR_NOT_FOUND, "'before-the-move' (lsn "},
        {{{0}, "x", {0}}, ERR_NOT_FOUND, "among 2"},
        {{{0}, NULL, {5}},
         ERR_NOT_FOUND,
         "1970-01-01T00:00:00.000005Z is before the first archived entry; "
         "the archive goes from 2023-11-14T22:13:20.000000Z"},
        {{{5}, "after", {0}}, ERR_USAGE, "one target only"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(repository_plan(w.r, &cases[i].t, &plan, &e), cases[i].code);
        if (strstr(e.text, cases[i].says) == NULL)
            fail_msg("case %zu says: %s", i, e.text);
    }
    world_drop(&w);
}

static void existing_data_is_never_touched(void **state)
{
    (void)state;
    struct world w;
    struct restore_plan plan;
    struct restore_result result;
    struct err e = ERR_NONE;
    char file[240], partial[200];
    world_make(&w);
    assert_ok(repository_plan(w.r, &(struct restore_target){{10}, NULL, {0}}, &plan, &e), e);
    /* An empty directory is taken. */
    assert_int_equal(mkdir(w.p.into, 0700), 0);
    (void)snprintf(file, sizeof file, "%s//", w.p.into);
    assert_ok(repository_restore(w.r, &plan, file, NULL, NULL, &result, &e), e);
    assert_int_equal(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), ERR_EXISTS);
    struct sha256 before = dump_at(&w.p, &w.f, 10), after = dump_directory(w.p.into);
    assert_memory_equal(&before, &after, sizeof before);
    tree_remove(w.p.into);
    assert_int_equal(mkdir(w.p.into, 0700), 0);
    (void)snprintf(file, sizeof file, "%s/precious", w.p.into);
    write_file(file, "x", 1, 0600);
    assert_int_equal(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "not empty"));
    assert_int_equal(access(file, F_OK), 0);
    tree_remove(w.p.into);
    write_file(w.p.into, "x", 1, 0600);
    assert_int_equal(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), ERR_EXISTS);
    assert_int_equal(unlink(w.p.into), 0);
    (void)snprintf(partial, sizeof partial, "%s.partial", w.p.into);
    assert_int_equal(mkdir(partial, 0700), 0);
    (void)snprintf(file, sizeof file, "%s/precious", partial);
    write_file(file, "x", 1, 0600);
    assert_int_equal(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "no interrupted restore"));
    assert_int_equal(access(file, F_OK), 0);
    world_drop(&w);
}

/* ---- damage ---- */

static void damage_in_the_way_is_named_and_leaves_nothing(void **state)
{
    (void)state;
    struct world w;
    struct restore_plan plan;
    struct restore_result result;
    struct err e = ERR_NONE;
    char path[300], partial[200];
    world_make(&w);
    find_object(&w.p, "packs", ".pack", 1, path);
    flip(path, 70000); /* the second segment */
    assert_ok(repository_plan(w.r, &(struct restore_target){{w.point_lsn}, NULL, {0}}, &plan, &e),
              e);
    assert_int_equal(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e),
                     ERR_INTEGRITY);
    static const char *const says[] = {"restore to lsn", "packs/00000000000000001509-", "frame ",
                                       "byte",           "segment 1 at bytes 65536..",  "lsns "};
    for (size_t i = 0; i < sizeof says / sizeof says[0]; i++)
        if (strstr(e.text, says[i]) == NULL)
            fail_msg("'%s' is not in: %s", says[i], e.text);
    (void)snprintf(partial, sizeof partial, "%s.partial", w.p.into);
    assert_int_equal(access(partial, F_OK), -1);
    assert_int_equal(access(w.p.into, F_OK), -1);

    /* What lies before the damage, and what lies behind a snapshot after it, is restored all the same. */
    restore_and_compare(&w, &(struct restore_target){{1500}, NULL, {0}}, 1500, "", false);
    restore_and_compare(&w, &(struct restore_target){{w.big_lsn}, NULL, {0}}, w.big_lsn, "", false);
    assert_int_equal(unlink(path), 0);
    repository_close(w.r);
    w.r = archive_open(&w.p, true);
    restore_and_compare(&w, &(struct restore_target){{1500}, NULL, {0}}, 1500, "", false);
    restore_and_compare(&w, &(struct restore_target){{w.big_lsn}, NULL, {0}}, w.big_lsn, "", false);
    assert_int_equal(
        repository_plan(w.r, &(struct restore_target){{w.point_lsn}, NULL, {0}}, &plan, &e),
        ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "packs/00000000000000001509-"));
    /* A time that the missing pack would decide is not guessed. */
    struct restore_target t = {{0}, NULL, w.point_time};
    assert_int_equal(repository_plan(w.r, &t, &plan, &e), ERR_INTEGRITY);

    find_object(&w.p, "snapshots", ".snap", 0, path);
    flip(path, 300);
    assert_ok(repository_plan(w.r, &(struct restore_target){{w.big_lsn}, NULL, {0}}, &plan, &e), e);
    assert_int_equal(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e),
                     ERR_INTEGRITY);
    if (strstr(e.text, "snapshots/") == NULL)
        fail_msg("%s", e.text);
    world_drop(&w);
}

static int wrong_digest(void *arg, struct lsn lsn, struct digest *out)
{
    (void)arg;
    *out = (struct digest){lsn.v, 1};
    return 0;
}

static void a_state_that_differs_from_the_sites_is_rejected(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    struct restore_plan plan;
    struct restore_result result;
    char rejected[200];
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    feed_mixed(&f, 50);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    feed_mixed(&f, 50);
    assert_ok(feed_seal(&f, r, wrong_digest, NULL, &e), e);
    feed_mixed(&f, 50);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    (void)snprintf(rejected, sizeof rejected, "%s.rejected", p.into);
    for (int again = 0; again < 2; again++) {
        assert_ok(repository_plan(r, &(struct restore_target){{120}, NULL, {0}}, &plan, &e), e);
        assert_int_equal(repository_restore(r, &plan, p.into, NULL, NULL, &result, &e),
                         ERR_INTEGRITY);
        assert_non_null(strstr(e.text, "at lsn 100 has digest"));
        assert_int_equal(access(p.into, F_OK), -1);
        assert_int_equal(access(rejected, F_OK), 0);
        char partial[200];
        (void)snprintf(partial, sizeof partial, "%s.partial", p.into);
        assert_int_equal(access(partial, F_OK), again == 0 ? -1 : 0);
    }
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

/* ---- snapshots ---- */

static void every_flipped_byte_of_a_snapshot_is_found(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct site s;
    struct err e = ERR_NONE;
    static const char *const files[][2] = {
        {"snapshots", ".snap"}, {"snapshots", ".meta"}, {"keys/1", ".snap.key"}};
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    feed_put(&f, "c", "k", "v", 1);
    feed_point(&f, "here");
    site_open(&s, &p, "site", &f);
    site_apply(&s, UINT64_MAX);
    assert_ok(feed_seal(&f, r, site_digest, &s, &e), e);
    site_snapshot(&s, r);
    repository_close(r);
    state_close(s.state);
    for (size_t i = 0; i < 3; i++) {
        char path[300];
        size_t n;
        find_object(&p, files[i][0], files[i][1], 0, path);
        free(slurp(path, &n));
        for (size_t at = 0; at < n; at++) {
            struct damages d = {0};
            struct repository_report report;
            flip(path, (off_t)at);
            r = archive_open(&p, true);
            int rc = repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e);
            if (rc != ERR_INTEGRITY || strstr(d.all, "snapshots/00000000000000000002-") == NULL)
                fail_msg("%s byte %zu: %d %s", files[i][1], at, rc, d.all);
            repository_close(r);
            flip(path, (off_t)at);
        }
    }
    feed_drop(&f);
    place_drop(&p);
}

/* Memory of the process that is not the mapping of a file: LMDB's mapping may be as large as the state. */
static long private_kib(void)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    assert_true(n > 0);
    text[n] = '\0';
    const char *at = strstr(text, "RssAnon:");
    assert_non_null(at);
    return strtol(at + 8, NULL, 10);
}

struct watch {
    long most;
};

static void watch_memory(void *arg, uint64_t done, uint64_t total)
{
    struct watch *w = arg;
    long now = private_kib();
    (void)done;
    (void)total;
    w->most = now > w->most ? now : w->most;
}

static void watch_restore(void *arg, enum repository_stage stage, uint64_t done, uint64_t total)
{
    (void)stage;
    watch_memory(arg, done, total);
}

static int watch_digest(void *arg, struct lsn lsn, struct digest *out)
{
    (void)lsn;
    (void)out;
    watch_memory(arg, 0, 0);
    return ERR_NOT_FOUND;
}

/* An archive of many times the memory that may be used: 10 packs of 10 MB that do not compress. */
static void memory_stays_bounded(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their shadow memory counts too */
#endif
    enum { PACKS = 10, PER_PACK = 2500 };
    struct place p;
    struct feed f = {0};
    struct site s;
    struct err e = ERR_NONE;
    struct restore_plan plan;
    struct restore_result result;
    struct repository_report report;
    uint8_t value[4096];
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    site_open(&s, &p, "site", &f);
    struct watch seal = {0}, restore = {0}, verify = {0};
    long begin = 0;
    for (int i = 0; i < PACKS; i++) {
        f.n = f.mark = s.applied = 0; /* the buffer is used again */
        for (int k = 0; k < PER_PACK; k++) {
            char key[32];
            (void)snprintf(key, sizeof key, "%d-%d", i, k);
            for (size_t b = 0; b + 8 <= sizeof value; b += 8)
                put_le64(value + b, feed_random(&f));
            feed_put(&f, "blobs", key, value, sizeof value);
        }
        site_apply(&s, UINT64_MAX);
        assert_ok(feed_seal(&f, r, watch_digest, &seal, &e), e);
        begin = i == 0 ? private_kib() : begin;
    }
    feed_drop(&f);
    site_snapshot(&s, r);
    long snapshot = private_kib();
    state_close(s.state);
    long before = private_kib();
    assert_ok(
        repository_verify(r, REPOSITORY_READABLE, note_damage, watch_memory, &verify, &report, &e),
        e);
    assert_ok(
        repository_plan(r, &(struct restore_target){{PACKS * PER_PACK - 1}, NULL, {0}}, &plan, &e),
        e);
    assert_int_equal(plan.packs, PACKS);
    assert_true(plan.bytes > 100u << 20);
    assert_ok(repository_restore(r, &plan, p.into, watch_restore, &restore, &result, &e), e);
    print_message("private KiB: first pack %ld, most at packs %ld, snapshot %ld; after closing the "
                  "state %ld, "
                  "verify %ld, restore %ld\n",
                  begin, seal.most, snapshot, before, verify.most, restore.most);
    assert_true(seal.most - begin < 4 << 10);
    assert_true(snapshot - begin < 8 << 10);
    assert_true(verify.most - before < 8 << 10);
    assert_true(restore.most - before <
                128 << 10); /* a batch of 32 MiB, and LMDB with its dirty pages */
    repository_close(r);
    place_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_target_gives_the_state_of_that_time),
        cmocka_unit_test(a_restored_state_takes_further_entries),
        cmocka_unit_test(targets_that_are_not_there_are_explained),
        cmocka_unit_test(existing_data_is_never_touched),
        cmocka_unit_test(damage_in_the_way_is_named_and_leaves_nothing),
        cmocka_unit_test(a_state_that_differs_from_the_sites_is_rejected),
        cmocka_unit_test(every_flipped_byte_of_a_snapshot_is_found),
        cmocka_unit_test(memory_stays_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
