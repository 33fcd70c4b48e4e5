/* A pack is made again from the entries that it held: it is what it was, whatever of the old one is damaged or gone, or it is
 * not made. */
#include "tests/unit/repository/fixture.h"
#include "tests/unit/repository/io/trouble_kit.h"

#include "repository/io/archive.h"
#include "repository/keys.h"
#include "repository/scrub.h"

#include <sys/wait.h>

/* Three packs, the middle one from byte `from` to `to` of the feed, with a restore point. */
struct again {
    struct place place;
    struct feed feed;
    struct repository *r; /* open for writing */
    size_t from, to;
    char object[REPO_NAME_BYTES];
};

static void again_make(struct again *x)
{
    struct err e = ERR_NONE;
    *x = (struct again){.from = 0};
    place_make(&x->place);
    x->r = archive_open(&x->place, false);
    for (int i = 0; i < 3; i++) {
        x->from = i == 1 ? x->feed.n : x->from;
        feed_mixed(&x->feed, 40);
        feed_point(&x->feed, i == 0 ? "a" : i == 1 ? "b" : "c");
        feed_noop(&x->feed, 1 + (uint64_t)i);
        x->to = i == 1 ? x->feed.n : x->to;
        assert_ok(feed_seal(&x->feed, x->r, known_digest, NULL, &e), e);
    }
    (void)snprintf(x->object, sizeof x->object, "%s", x->r->inv.packs[1].o.name);
}

static void again_drop(struct again *x)
{
    repository_close(x->r);
    feed_drop(&x->feed);
    place_drop(&x->place);
}

static int heal(struct again *x, size_t from, size_t to, struct err *e)
{
    char named[REPO_NAME_BYTES];
    *e = (struct err)ERR_NONE;
    return repository_heal_pack(x->r, x->object, bytes_of(x->feed.p + from, to - from), false,
                                named, e);
}

/* Flip a byte of the middle one's file, or remove it. */
static void harm(const struct again *x, const char *folder, const char *end, bool gone)
{
    char path[300];
    size_t n;
    find_object(&x->place, folder, end, 1, path);
    uint8_t *p = slurp(path, &n);
    p[n / 2] ^= 4;
    assert_int_equal(unlink(path), 0);
    if (!gone)
        write_file(path, p, n, 0400);
    free(p);
}

/* Read by who opens it now: every entry, point and digest is as it was, and nothing is missed. */
static void assert_as_before(struct again *x)
{
    struct repository_report report;
    struct damages d = {0};
    struct err e = ERR_NONE;
    for (int write = 0; write <= 1; write++) {
        repository_close(x->r);
        x->r = archive_open(&x->place, write == 0);
        assert_archived(x->r, &x->feed, x->feed.n);
        assert_int_equal(x->r->inv.pack_count, 3);
        const struct repo_pack *p = &x->r->inv.packs[1];
        assert_string_not_equal(p->o.name, x->object);
        assert_int_equal(p->point_count, 1);
        assert_true(p->points[0].digest_known == (p->points[0].lsn.v % 2 == 0));
        assert_true(p->o.digest_known == (p->o.end.lsn.v % 2 == 0));
        assert_true(p->o.digest_known != p->points[0].digest_known); /* so one of them is known */
        assert_int_equal(p->o.digest_known ? p->o.digest.hi : p->points[0].digest.hi,
                         p->o.digest_known ? p->o.end.lsn.v : p->points[0].lsn.v);
        if (repository_verify(x->r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e) != 0)
            fail_msg("%s", d.all);
    }
}

static void a_pack_is_made_again_whatever_of_it_is_damaged_or_gone(void **state)
{
    (void)state;
    static const char *const folders[] = {"packs", "packs", "keys/1"};
    static const char *const ends[] = {".pack", ".meta", ".pack.key"};
    for (int gone = 0; gone <= 1; gone++)
        for (size_t bad = 1; bad < 8; bad++) { /* each, and all together */
            struct again x;
            struct err e;
            again_make(&x);
            for (size_t i = 0; i < 3; i++)
                if (bad >> i & 1)
                    harm(&x, folders[i], ends[i], gone != 0);
            assert_ok(heal(&x, x.from, x.to, &e), e);
            assert_archived(x.r, &x.feed, x.feed.n);
            feed_mixed(&x.feed, 2); /* it goes on */
            assert_ok(feed_seal(&x.feed, x.r, NULL, NULL, &e), e);
            again_drop(&x);
        }
}

static void a_pack_that_was_made_again_is_the_one_that_is_read(void **state)
{
    (void)state;
    static const char *const folders[] = {"packs", "packs", "keys/1"};
    static const char *const ends[] = {".pack", ".meta", ".pack.key"};
    for (size_t i = 0; i < 7; i++) { /* the last: whole, and made again all the same */
        struct again x;
        struct err e;
        again_make(&x);
        if (i < 6)
            harm(&x, folders[i / 2], ends[i / 2], i % 2 != 0);
        assert_ok(heal(&x, x.from, x.to, &e), e);
        assert_as_before(&x);
        again_drop(&x);
    }
}

static void a_key_that_is_lost_and_not_needed_any_more_hinders_no_rotation(void **state)
{
    (void)state;
    struct again x;
    struct err e;
    struct repository_keys_report report;
    const struct repository_keys_work work = {.damage = NULL};
    char second[120];
    again_make(&x);
    harm(&x, "keys/1", ".pack.key", false);
    assert_ok(heal(&x, x.from, x.to, &e), e);
    (void)snprintf(second, sizeof second, "%s/second", x.place.root);
    uint8_t kek[64];
    memset(kek, 'c', sizeof kek);
    write_file(second, kek, sizeof kek, 0600);
    assert_ok(repository_keys_rotate(x.r, second, &work, &report, &e), e);
    assert_int_equal(report.failed, 0);
    repository_close(x.r);
    (void)snprintf(x.place.kek, sizeof x.place.kek, "%s/second", x.place.root);
    x.r = archive_open(&x.place, false);
    assert_ok(repository_keys_check(x.r, 2, &work, &report, &e), e);
    assert_ok(repository_keys_retire(x.r, 1, &work, &report, &e), e);
    assert_as_before(&x);
    again_drop(&x);
}

static void a_pack_is_not_made_from_other_entries(void **state)
{
    (void)state;
    struct again x;
    struct feed forged = {0};
    struct err e;
    again_make(&x);
    harm(&x, "packs", ".pack", false);
    assert_int_not_equal(heal(&x, 0, x.from, &e), 0);                /* those before */
    assert_int_not_equal(heal(&x, x.to, x.feed.n, &e), 0);           /* those behind */
    assert_int_equal(heal(&x, x.from, x.feed.n, &e), ERR_INTEGRITY); /* too many */
    assert_int_not_equal(heal(&x, x.from, x.to - 1, &e), 0);         /* a byte is missing */
    assert_int_equal(heal(&x, x.from, x.from, &e), ERR_USAGE);       /* none */
    x.feed.p[x.from + 200] ^= 1;                                     /* one was changed */
    assert_int_not_equal(heal(&x, x.from, x.to, &e), 0);
    x.feed.p[x.from + 200] ^= 1;
    /* A whole chain of others, from the same beginning to the same lsn. */
    forged.at = x.r->inv.packs[0].o.end;
    while (forged.at.lsn.v + 1 < x.r->inv.packs[1].o.end.lsn.v)
        feed_put(&forged, "passports", "key-00001", "mine", 4);
    feed_noop(&forged, 2);
    char named[REPO_NAME_BYTES];
    assert_int_equal(
        repository_heal_pack(x.r, x.object, bytes_of(forged.p, forged.n), false, named, &e),
        ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "they are others"));
    (void)snprintf(x.object, sizeof x.object,
                   "packs/00000000000000000001-00000000000000000009-1-5f3a77c0.pack");
    assert_int_equal(heal(&x, x.from, x.to, &e), ERR_NOT_FOUND);
    assert_int_equal(x.r->inv.pack_count, 3);
    feed_drop(&forged);
    again_drop(&x);
}

static void
a_crash_at_any_step_of_making_a_pack_again_leaves_the_archive_as_it_was_or_whole(void **state)
{
    (void)state;
    for (int step = 0, rc = 7; rc == 7; step++) {
        struct again x;
        struct err e;
        again_make(&x);
        harm(&x, "packs", ".pack", false);
        repository_close(x.r);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            x.r = archive_open(&x.place, false);
            trouble = TROUBLE_EXIT;
            trouble_after = step;
            _exit(heal(&x, x.from, x.to, &e) == 0 ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        rc = WEXITSTATUS(status);
        assert_true(rc == 0 || rc == 7);
        assert_true(rc == 7 || step > 10);
        x.r = archive_open(&x.place, false);
        assert_int_equal(x.r->inv.pack_count, 3);
        if (strcmp(x.r->inv.packs[1].o.name, x.object) == 0) {
            assert_int_equal(rc, 7);
            assert_ok(heal(&x, x.from, x.to, &e), e);
        }
        assert_as_before(&x);
        again_drop(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pack_is_made_again_whatever_of_it_is_damaged_or_gone),
        cmocka_unit_test(a_pack_that_was_made_again_is_the_one_that_is_read),
        cmocka_unit_test(a_key_that_is_lost_and_not_needed_any_more_hinders_no_rotation),
        cmocka_unit_test(a_pack_is_not_made_from_other_entries),
        cmocka_unit_test(
            a_crash_at_any_step_of_making_a_pack_again_leaves_the_archive_as_it_was_or_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
