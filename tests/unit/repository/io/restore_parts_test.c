/* Restores that are interrupted, and those of some records. */
#include "tests/unit/repository/io/restore_kit.h"
#include "tests/unit/repository/io/trouble_kit.h"

#include <sys/wait.h>

/* ---- interrupted ---- */

static void die_at_stage(void *arg, enum repository_stage stage, uint64_t done, uint64_t total)
{
    (void)total;
    if (stage == *(enum repository_stage *)arg && done != 0)
        _exit(42);
}

/* A process restores and dies in the stage. */
static void restore_and_die(struct world *w, const struct restore_plan *plan,
                            enum repository_stage stage)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct restore_result result;
        (void)repository_restore(w->r, plan, w->p.into, die_at_stage, &stage, &result, NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void an_interrupted_restore_goes_on(void **state)
{
    (void)state;
    struct world w;
    struct restore_plan plan, other;
    struct restore_result result;
    struct err e = ERR_NONE;
    char run[220], partial[200];
    world_make(&w);
    const uint64_t lsn = w.big_lsn + 5;
    const struct sha256 expected = dump_at(&w.p, &w.f, lsn);
    (void)snprintf(partial, sizeof partial, "%s.partial", w.p.into);
    (void)snprintf(run, sizeof run, "%s/runs/run-000000", partial);
    assert_ok(repository_plan(w.r, &(struct restore_target){{lsn}, NULL, {0}}, &plan, &e), e);
    assert_ok(repository_plan(w.r, &(struct restore_target){{lsn + 1}, NULL, {0}}, &other, &e), e);
    for (int i = 0; i < 4; i++) {
        restore_and_die(&w, &plan, i == 0 ? REPOSITORY_STAGE_READ : REPOSITORY_STAGE_BUILD);
        /* Not of another target. */
        assert_int_equal(repository_restore(w.r, &other, w.p.into, NULL, NULL, &result, &e),
                         ERR_EXISTS);
        assert_non_null(strstr(e.text, "interrupted restore to lsn"));
        if (i == 2)
            flip(run, 100);
        if (i == 3)
            assert_int_equal(truncate(run, 10), 0);
        assert_ok(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), e);
        assert_int_equal(result.resumed, i == 1);
        const struct sha256 found = dump_directory(w.p.into);
        assert_memory_equal(&found, &expected, sizeof found);
        assert_int_equal(access(partial, F_OK), -1);
        tree_remove(w.p.into);
    }
    world_drop(&w);
}

static void break_the_disk(void *arg, enum repository_stage stage, uint64_t done, uint64_t total)
{
    if (stage != REPOSITORY_STAGE_BUILD || done != total)
        return;
    trouble_after = *(const int *)arg;
    trouble = TROUBLE_EIO;
}

/* Everything is there and is checked; the disk does not have it. */
static void a_state_that_the_disk_does_not_take_is_not_restored(void **state)
{
    (void)state;
    enum { SYNCS = 3 }; /* of the data, and of both copies of its checkpoint */
    struct world w;
    struct restore_plan plan;
    struct restore_result result;
    struct err e = ERR_NONE;
    world_make(&w);
    const struct sha256 expected = dump_at(&w.p, &w.f, w.big_lsn);
    assert_ok(repository_plan(w.r, &(struct restore_target){{w.big_lsn}, NULL, {0}}, &plan, &e), e);
    for (int i = 0; i < SYNCS; i++) {
        assert_int_equal(repository_restore(w.r, &plan, w.p.into, break_the_disk, &i, &result, &e),
                         ERR_IO);
        trouble = TROUBLE_NONE;
        assert_non_null(strstr(e.text, "checkpoint at lsn"));
        assert_non_null(strstr(e.text, "the same command goes on from there"));
        assert_int_equal(access(w.p.into, F_OK), -1);
    }
    assert_ok(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), e);
    assert_true(result.resumed);
    const struct sha256 found = dump_directory(w.p.into);
    assert_memory_equal(&found, &expected, sizeof found);
    world_drop(&w);
}

/* Its runs are gone by then, so there is nothing to go on from. */
static void a_directory_that_the_disk_does_not_take_is_removed(void **state)
{
    (void)state;
    int last = 3; /* behind those of the state, above */
    struct world w;
    struct restore_plan plan;
    struct restore_result result;
    struct err e = ERR_NONE;
    char partial[PATH_MAX];
    world_make(&w);
    (void)snprintf(partial, sizeof partial, "%s.partial", w.p.into);
    assert_ok(repository_plan(w.r, &(struct restore_target){{w.big_lsn}, NULL, {0}}, &plan, &e), e);
    assert_int_equal(repository_restore(w.r, &plan, w.p.into, break_the_disk, &last, &result, &e),
                     ERR_IO);
    trouble = TROUBLE_NONE;
    assert_non_null(strstr(e.text, "is removed again: give the same command"));
    assert_int_equal(access(w.p.into, F_OK), -1);
    assert_int_equal(access(partial, F_OK), -1);
    assert_ok(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), e);
    assert_false(result.resumed);
    world_drop(&w);
}

/* It is made while packs are read: what was read is kept. */
static void a_state_that_cannot_be_made_is_told(void **state)
{
    (void)state;
    enum { SYNCS = 3 }; /* behind those of PLAN, if it is new, and of the place of the runs */
    struct world w;
    struct restore_plan plan;
    struct restore_result result;
    struct err e = ERR_NONE;
    world_make(&w);
    const struct sha256 expected = dump_at(&w.p, &w.f, w.big_lsn);
    assert_ok(repository_plan(w.r, &(struct restore_target){{w.big_lsn}, NULL, {0}}, &plan, &e), e);
    for (int i = 0; i < SYNCS; i++) {
        trouble_after = i == 0 ? 2 : i;
        trouble = TROUBLE_EIO;
        assert_int_equal(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), ERR_IO);
        trouble = TROUBLE_NONE;
        assert_non_null(strstr(e.text, "state in"));
        assert_non_null(strstr(e.text, "the same command goes on from there"));
        assert_int_equal(result.resumed, i != 0);
        assert_int_equal(access(w.p.into, F_OK), -1);
    }
    assert_ok(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), e);
    assert_true(result.resumed);
    const struct sha256 found = dump_directory(w.p.into);
    assert_memory_equal(&found, &expected, sizeof found);
    world_drop(&w);
}

/* ---- some records ---- */

struct picked {
    const struct repository_selection *only;
    struct state_snapshot *snap;
    struct state_scan *scan; /* of what they must be */
    uint64_t records;
};

static bool is_selected(const struct repository_selection *x, struct bytes key)
{
    return (x->key.n == 0 || bytes_equal(x->key, key)) && bytes_compare(key, x->from) >= 0 &&
           (x->to.n == 0 || bytes_compare(key, x->to) < 0) && key.n >= x->prefix.n &&
           memcmp(key.p, x->prefix.n == 0 ? key.p : x->prefix.p, x->prefix.n) == 0;
}

static int next_selected(struct picked *p, struct record *out)
{
    int rc;
    while ((rc = state_scan_next(p->scan, out, NULL)) == 0 && !is_selected(p->only, out->key))
        ;
    return rc;
}

static int compare_picked(void *arg, const struct record *r)
{
    struct picked *p = arg;
    struct record x;
    p->records++;
    assert_int_equal(next_selected(p, &x), 0);
    assert_true(bytes_equal(r->collection, p->only->collection) && bytes_equal(r->key, x.key) &&
                bytes_equal(r->value, x.value));
    assert_int_equal(r->lsn.v, x.lsn.v);
    assert_int_equal(r->time.us, x.time.us);
    return 0;
}

static void some_records_are_those_of_the_whole(void **state)
{
    (void)state;
    struct world w;
    struct restore_plan plan;
    struct restore_result result;
    struct err e = ERR_NONE;
    char dir[200], scratch[200];
    struct state *whole;
    world_make(&w);
    (void)snprintf(dir, sizeof dir, "%s/state", w.p.into);
    (void)snprintf(scratch, sizeof scratch, "%s.scratch", w.p.into);
    const uint64_t lsn = w.big_lsn + 5;
    assert_ok(repository_plan(w.r, &(struct restore_target){{lsn}, NULL, {0}}, &plan, &e), e);
    assert_ok(repository_restore(w.r, &plan, w.p.into, NULL, NULL, &result, &e), e);
    const struct state_options o = {.dir = dir, .cluster_id = test_cluster};
    assert_ok(state_open(&whole, &o, &e), e);
    const struct repository_selection only[] = {
        {.collection = bytes_str("passports")},
        {.collection = bytes_str("passports"), .prefix = bytes_str("key-001")},
        {.collection = bytes_str("land-titles"),
         .from = bytes_str("key-00200"),
         .to = bytes_str("key-004")},
        {.collection = bytes_str("court-files"), .key = bytes_str("scan")},
        {.collection = bytes_str("none")},
    };
    uint64_t all = 0;
    for (size_t i = 0; i < sizeof only / sizeof only[0]; i++) {
        struct picked p = {.only = &only[i]};
        struct record x;
        const struct scan_options scan = {.collection = only[i].collection};
        assert_ok(state_snapshot_open(whole, &p.snap, &e), e);
        assert_ok(state_scan_open(p.snap, &scan, &p.scan, &e), e);
        assert_ok(repository_records(w.r, &plan, &only[i], scratch, compare_picked, &p, NULL, NULL,
                                     &result, &e),
                  e);
        assert_int_equal(next_selected(&p, &x), ERR_NOT_FOUND);
        assert_int_equal(result.records, p.records);
        assert_int_equal(result.at.lsn.v, lsn);
        assert_int_equal(access(scratch, F_OK), -1);
        state_scan_close(p.scan);
        state_snapshot_close(p.snap);
        all += p.records;
    }
    assert_true(all > 100);
    state_close(whole);
    world_drop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interrupted_restore_goes_on),
        cmocka_unit_test(a_state_that_the_disk_does_not_take_is_not_restored),
        cmocka_unit_test(a_directory_that_the_disk_does_not_take_is_removed),
        cmocka_unit_test(a_state_that_cannot_be_made_is_told),
        cmocka_unit_test(some_records_are_those_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
