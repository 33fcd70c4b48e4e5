/* Copies of an archive: what is put is whole, what was damaged is healed, what is damaged at the source stays where it is. */
#include "repository/io/archive.h"
#include "repository/operations.h"
#include "repository/proof.h"
#include "tests/unit/repository/fixture.h"

#include <errno.h>
#include <sys/syscall.h>

struct box {
    struct place place, other;
    struct repository *r;
    struct repository_copy *copy;
    struct feed feed;
};

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof *b);
    char key[150], vkey[TLOG_VKEY_BYTES];
    bool made;
    struct err e = ERR_NONE;
    assert_non_null(b);
    place_make(&b->place);
    place_make(&b->other);
    b->r = archive_open(&b->place, false);
    (void)snprintf(key, sizeof key, "%s/checkpoint.key", b->place.root);
    assert_ok(repository_tree_open(b->r, key, vkey, &made, &e), e);
    assert_ok(repository_copy_open(&b->copy, b->other.dir, &e), e);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    repository_copy_close(b->copy);
    repository_close(b->r);
    feed_drop(&b->feed);
    place_drop(&b->place);
    place_drop(&b->other);
    free(b);
    return 0;
}

static void grow(struct box *b, unsigned entries)
{
    struct err e = ERR_NONE;
    for (unsigned i = 0; i < entries; i++)
        feed_put(&b->feed, "deeds", "key", "value", 5);
    assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
    assert_ok(repository_tree_extend(b->r, UINT64_MAX, &e), e);
}

static struct repository_copy_report run(struct box *b, bool deep, uint64_t most)
{
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    assert_ok(repository_copy_run(b->copy, b->r, deep, most, NULL, NULL, &report, &e), e);
    return report;
}

static int ignore(void *arg, uint64_t index, const struct operation *o)
{
    (void)arg;
    (void)index;
    (void)o;
    return 0;
}

/* Leaves in the operations log. */
static uint64_t recorded(const struct place *p)
{
    struct operations_summary sum;
    struct err e = ERR_NONE;
    assert_ok(repository_operations(p->dir, ignore, NULL, &sum, &e), e);
    return sum.leaves;
}

/* The copy, verified like any archive, with its tree; how many are damaged. */
static uint64_t damaged(struct box *b, uint64_t *proven)
{
    struct damages d = {0};
    struct repository_report report;
    struct repository *r = NULL;
    struct err e = ERR_NONE;
    const struct repository_options o = {
        .dir = b->other.dir, .kek_file = b->place.kek, .read_only = true};
    assert_ok(repository_open(&r, &o, &e), e);
    (void)repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e);
    repository_close(r);
    *proven = report.proven;
    return report.damaged;
}

static void assert_whole(struct box *b)
{
    uint64_t proven;
    assert_int_equal(damaged(b, &proven), 0);
    assert_int_equal(proven, b->feed.at.lsn.v);
    assert_int_equal(recorded(&b->other), recorded(&b->place));
}

static void a_longer_operations_log_is_never_replaced_by_a_shorter_one(void **state)
{
    struct box *b = *state;
    static const char *const names[] = {"checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"};
    uint8_t *kept[3];
    size_t n[3];
    char path[200];
    grow(b, 5);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/operations/%s", b->place.dir, names[i]);
        kept[i] = slurp(path, &n[i]);
    }
    grow(b, 5);
    (void)run(b, true, 0);
    assert_whole(b);
    for (size_t i = 0; i < 3; i++) { /* the log of the archive is put back */
        (void)snprintf(path, sizeof path, "%s/operations/%s", b->place.dir, names[i]);
        (void)unlink(path);
        write_file(path, kept[i], n[i], 0440);
        free(kept[i]);
    }
    assert_int_equal(recorded(&b->place), 1);
    (void)run(b, true, 0);
    assert_int_equal(recorded(&b->other), 2);
}

static void a_copy_is_whole_and_follows(void **state)
{
    struct box *b = *state;
    grow(b, 300); /* a full tile, and the rest of another */
    struct repository_copy_report report = run(b, false, 0);
    assert_int_equal(report.reached.v, b->feed.at.lsn.v);
    assert_true(report.copied >= 3 && report.healed == 0);
    assert_whole(b);
    assert_int_equal(run(b, false, 0).copied, 0);
    grow(b, 300);
    grow(b, 5);
    assert_int_equal(run(b, false, 0).reached.v, b->feed.at.lsn.v);
    assert_whole(b);
}

static void a_copy_is_made_in_portions(void **state)
{
    struct box *b = *state;
    for (int i = 0; i < 3; i++)
        grow(b, 10);
    struct repository_copy_report report = run(b, false, 1);
    assert_true(report.more && report.reached.v == 10);
    report = run(b, false, 1);
    assert_true(report.more && report.reached.v == 20);
    while (report.more)
        report = run(b, false, 1);
    assert_whole(b);
}

static void damage_in_a_copy_is_healed(void **state)
{
    struct box *b = *state;
    char path[300];
    uint64_t proven;
    static const char *const files[] = {".pack", ".meta"};
    grow(b, 10);
    grow(b, 20);
    (void)run(b, false, 0);
    for (unsigned i = 0; i < 2; i++) {
        find_object(&b->other, "packs", files[i], i, path);
        size_t n;
        uint8_t *p = slurp(path, &n);
        p[n / 2] ^= 1;
        assert_int_equal(unlink(path), 0);
        write_file(path, p, n, 0440);
        free(p);
    }
    (void)snprintf(path, sizeof path, "%s/tree/checkpoint", b->other.dir);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/tree/tile/0/000.p/30", b->other.dir);
    assert_int_equal(unlink(path), 0);
    assert_true(damaged(b, &proven) != 0);
    assert_int_equal(run(b, false, 0).healed, 0); /* by name and size all of it is there */
    const struct repository_copy_report report = run(b, true, 0);
    assert_int_equal(report.healed, 2);
    assert_whole(b);
}

static void what_is_damaged_here_is_not_copied(void **state)
{
    struct box *b = *state;
    char path[300];
    grow(b, 10);
    grow(b, 10);
    find_object(&b->place, "packs", ".pack", 1, path);
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "damage", 6, 100), 6);
    (void)close(fd);
    const struct repository_copy_report report = run(b, true, 0);
    assert_int_equal(report.damaged, 1);
    assert_int_equal(report.reached.v, 10);
    (void)snprintf(path, sizeof path, "%s/tree/checkpoint", b->other.dir);
    assert_int_not_equal(access(path, F_OK), 0); /* it would reach beyond the packs */
}

static ino_t unreadable; /* the inode of a file that lies on a bad spot of the disk; 0: none */

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
    struct stat st;
    if (unreadable != 0 && fstat(fd, &st) == 0 && st.st_ino == unreadable) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, p, n, at);
}
ssize_t pread64(int fd, void *p, size_t n, off_t at) __attribute__((alias("pread")));

/* A bad spot of the disk costs what lies on it, and not what comes behind. */
static void what_cannot_be_read_here_is_told_and_the_rest_copied(void **state)
{
    struct box *b = *state;
    static const char *const files[] = {".pack", ".meta"};
    char path[300];
    struct stat st;
    grow(b, 10);
    grow(b, 10);
    grow(b, 10);
    for (unsigned i = 0; i < 2; i++) {
        find_object(&b->place, "packs", files[i], 1, path);
        assert_int_equal(stat(path, &st), 0);
        unreadable = st.st_ino;
        const struct repository_copy_report report = run(b, true, 0);
        unreadable = 0;
        assert_int_equal(report.damaged, 1);
        assert_int_equal(report.reached.v, 10);
        find_object(&b->other, "packs", ".pack", 1,
                    path); /* there are two: the first and the third */
    }
    assert_int_equal(run(b, true, 0).damaged, 0);
    assert_whole(b);
}

static void the_archive_of_another_cluster_is_not_touched(void **state)
{
    struct box *b = *state;
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    grow(b, 3);
    repository_copy_close(b->copy);
    const struct uuid another = {{9}};
    const struct repository_options o = {.dir = b->other.dir,
                                         .kek_file = b->other.kek,
                                         .cluster_id = another,
                                         .cluster = "another",
                                         .create = true};
    struct repository *r;
    assert_ok(repository_open(&r, &o, &e), e);
    repository_close(r);
    assert_ok(repository_copy_open(&b->copy, b->other.dir, &e), e);
    assert_int_equal(repository_copy_run(b->copy, b->r, true, 0, NULL, NULL, &report, &e),
                     ERR_CONFIG);
    assert_non_null(strstr(e.text, "archive of another cluster, 'another'"));
}

int main(void)
{
#define in_a_box(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        in_a_box(a_copy_is_whole_and_follows),
        in_a_box(a_longer_operations_log_is_never_replaced_by_a_shorter_one),
        in_a_box(a_copy_is_made_in_portions),
        in_a_box(damage_in_a_copy_is_healed),
        in_a_box(what_is_damaged_here_is_not_copied),
        in_a_box(what_cannot_be_read_here_is_told_and_the_rest_copied),
        in_a_box(the_archive_of_another_cluster_is_not_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
