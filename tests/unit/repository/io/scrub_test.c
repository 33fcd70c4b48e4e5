/* One object at a time: what the ledger follows, what a check finds, what is lost, and what comes back from a copy. */
#include "repository/scrub.h"
#include "repository/history.h"
#include "repository/operations.h"
#include "repository/proof.h"
#include "tests/unit/repository/fixture.h"

enum {
    PACKS = 3,
    PARTS = 2 * PACKS + 2
}; /* a pack and its index each, repository.json, and keys */

struct box {
    struct place place, other;
    struct repository *r; /* open for reading */
    struct feed feed;
    struct repo_ledger ledger;
};

static void seal_more(struct box *b, const char *key)
{
    struct repository *w = archive_open(&b->place, false);
    struct err e = ERR_NONE;
    bool more;
    for (int i = 0; i < 20; i++)
        feed_put(&b->feed, "deeds", key, "value", 5);
    feed_put(&b->feed, "titles", key, "value", 5);
    assert_ok(feed_seal(&b->feed, w, NULL, NULL, &e), e);
    assert_ok(repository_index_extend(w, &more, &e), e);
    repository_close(w);
}

static void reopen(struct box *b)
{
    repository_close(b->r);
    b->r = archive_open(&b->place, true);
}

static int setup(void **state)
{
    static const char *const keys[PACKS] = {"a", "b", "c"};
    struct box *b = calloc(1, sizeof *b);
    struct err e = ERR_NONE;
    assert_non_null(b);
    place_make(&b->place);
    place_make(&b->other);
    for (int i = 0; i < PACKS; i++)
        seal_more(b, keys[i]);
    reopen(b);
    assert_ok(repository_ledger_follow(b->r, &b->ledger, NULL, &e), e);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    repository_ledger_release(&b->ledger);
    repository_close(b->r);
    feed_drop(&b->feed);
    place_drop(&b->place);
    place_drop(&b->other);
    free(b);
    return 0;
}

/* Name of the n-th object in a folder, with it. */
static const char *object(const struct box *b, const char *folder, const char *end, unsigned nth)
{
    static char path[300];
    find_object(&b->place, folder, end, nth, path);
    return path + strlen(b->place.dir) + 1;
}

static void flip(const struct box *b, const char *name)
{
    char path[300];
    size_t n;
    (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, name);
    uint8_t *p = slurp(path, &n);
    p[n / 2] ^= 4;
    assert_int_equal(chmod(path, 0600), 0);
    write_file(path, p, n, 0400);
    free(p);
}

static int checks(struct box *b, const char *name, struct err *e)
{
    *e = (struct err)ERR_NONE;
    return repository_check(b->r, name, NULL, NULL, e);
}

/* ---- the ledger ---- */

static void every_object_is_in_the_ledger_as_verified_when_it_was_sealed(void **state)
{
    struct box *b = *state;
    assert_int_equal(b->ledger.n, PARTS);
    for (size_t i = 0; i < b->ledger.n; i++) {
        assert_true(b->ledger.at[i].verified.us > 1700000000000000ull);
        assert_false(b->ledger.at[i].damaged);
    }
}

static void the_ledger_is_kept_and_a_torn_one_begins_anew(void **state)
{
    struct box *b = *state;
    struct repo_ledger again;
    struct err e = ERR_NONE;
    char path[200];
    bool whole;
    size_t n;
    (void)snprintf(path, sizeof path, "%s/archive.ledger", b->place.root);
    assert_ok(repository_ledger_load(path, &again, &whole, &e), e); /* there is none */
    assert_true(whole && again.n == 0);
    b->ledger.at[1].damaged = true;
    b->ledger.at[1].verified.us = 7;
    assert_ok(repository_ledger_save(path, &b->ledger, &e), e);
    assert_ok(repository_ledger_load(path, &again, &whole, &e), e);
    assert_true(whole);
    assert_int_equal(again.n, b->ledger.n);
    assert_true(again.at[1].damaged && again.at[1].verified.us == 7);
    assert_string_equal(again.at[2].name, b->ledger.at[2].name);
    repository_ledger_release(&again);
    uint8_t *p = slurp(path, &n);
    write_file(path, p, n - 5, 0600);
    free(p);
    assert_ok(repository_ledger_load(path, &again, &whole, &e), e);
    assert_true(!whole && again.n == 0);
}

static void an_object_that_went_away_stays_and_is_missed_but_an_index_is_forgotten(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char pack[REPO_NAME_BYTES], path[300];
    (void)snprintf(pack, sizeof pack, "%s", object(b, "packs", ".pack", PACKS - 1));
    assert_int_equal(checks(b, pack, &e), 0);
    static const char *const folders[] = {"packs", "packs", "keys/1", "indexes", "indexes"};
    static const char *const ends[] = {".pack", ".meta", ".pack.key", ".index", ".meta"};
    for (size_t i = 0; i < 5; i++) { /* the last pack with all its files, and its index */
        find_object(&b->place, folders[i], ends[i], PACKS - 1, path);
        assert_int_equal(unlink(path), 0);
    }
    assert_ok(repository_refresh(b->r, &e), e);
    assert_ok(repository_ledger_follow(b->r, &b->ledger, NULL, &e), e);
    assert_int_equal(b->ledger.n, PARTS - 1);
    const struct repo_ledger_line *next =
        repo_ledger_next(&b->ledger, (struct utc){1800000000000000ull}, 1, 1);
    assert_string_equal(next->name, pack); /* it comes first */
    assert_int_equal(checks(b, pack, &e), ERR_INTEGRITY);
}

static void a_pack_that_was_made_again_takes_the_line_of_the_one_before(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    char old[REPO_NAME_BYTES], named[REPO_NAME_BYTES];
    const size_t each = b->feed.n / PACKS; /* of the same size */
    (void)snprintf(old, sizeof old, "%s", object(b, "packs", ".pack", 1));
    repo_ledger_find(&b->ledger, old)->damaged = true;
    struct repository *w = archive_open(&b->place, false);
    assert_ok(repository_heal_pack(w, old, bytes_of(b->feed.p + each, each), false, named, &e), e);
    repository_close(w);
    assert_ok(repository_refresh(b->r, &e), e);
    assert_ok(repository_ledger_follow(b->r, &b->ledger, NULL, &e), e);
    assert_int_equal(b->ledger.n, PARTS);
    assert_null(repo_ledger_find(&b->ledger, old));
    assert_false(repo_ledger_find(&b->ledger, named)->damaged);
    assert_int_equal(checks(b, named, &e), 0);
}

/* ---- a check ---- */

static void note_bytes(void *arg, uint64_t bytes)
{
    uint64_t *read = arg;
    assert_true(bytes >= *read);
    *read = bytes;
}

static void a_whole_object_passes_and_tells_what_it_read(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    for (size_t i = 0; i < b->ledger.n; i++) {
        uint64_t read = 0;
        assert_ok(repository_check(b->r, b->ledger.at[i].name, note_bytes, &read, &e), e);
        assert_true(read > 0);
    }
}

/* The archive was opened before: what was read then says nothing of the disk. */
static void damage_behind_an_open_archive_is_found_in_object_meta_and_key(void **state)
{
    static const char *const folders[] = {"packs", "packs", "keys/1", "indexes", "indexes"};
    static const char *const ends[] = {".pack", ".meta", ".pack.key", ".index", ".meta"};
    struct box *b = *state;
    struct err e = ERR_NONE;
    for (size_t i = 0; i < 5; i++) {
        char name[REPO_NAME_BYTES], file[REPO_NAME_BYTES];
        (void)snprintf(name, sizeof name, "%s",
                       i < 3 ? object(b, "packs", ".pack", 1) : object(b, "indexes", ".index", 1));
        (void)snprintf(file, sizeof file, "%s", object(b, folders[i], ends[i], 1));
        assert_int_equal(checks(b, name, &e), 0);
        flip(b, file);
        int rc = checks(b, name, &e);
        if (rc != ERR_INTEGRITY && rc != ERR_DENIED)
            fail_msg("%s: %d %s", file, rc, e.text);
        flip(b, file);
        assert_int_equal(checks(b, name, &e), 0);
    }
}

/* ---- what is lost ---- */

struct records {
    unsigned deeds, titles;
    char key;
};

static int count_record(void *arg, struct bytes collection, struct bytes key, struct lsn lsn)
{
    struct records *x = arg;
    assert_true(lsn.v >= 22 && lsn.v <= 42 && key.n == 1);
    x->deeds += bytes_equal(collection, bytes_str("deeds"));
    x->titles += bytes_equal(collection, bytes_str("titles"));
    x->key = (char)key.p[0];
    return 0;
}

static void the_index_tells_which_records_a_lost_pack_had(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct records found = {0, 0, 0};
    struct repository_extent x;
    char pack[REPO_NAME_BYTES];
    (void)snprintf(pack, sizeof pack, "%s", object(b, "packs", ".pack", 1));
    char meta[300];
    find_object(&b->place, "packs", ".meta", 1, meta);
    write_file(meta, "no meta\n", 8, 0600);
    reopen(b);
    repository_extent(b->r, pack, &x);
    assert_int_equal(x.first.v, 22);
    assert_int_equal(x.last.v, 42);
    assert_true(x.from.us != 0 && x.to.us > x.from.us); /* by its neighbours */
    assert_ok(repository_affected(b->r, x.first, x.last, count_record, &found, &e), e);
    assert_int_equal(found.deeds, 20);
    assert_int_equal(
        repository_affected(b->r, x.first, (struct lsn){x.last.v + 1}, count_record, &found, &e),
        ERR_NOT_FOUND); /* no one index covers that */
}

static void the_index_tells_which_records_an_unreadable_pack_had(void **state)
{
    struct box *b = *state;
    struct err e = ERR_NONE;
    struct records found = {0, 0, 0};
    struct repository_extent x;
    char pack[REPO_NAME_BYTES];
    (void)snprintf(pack, sizeof pack, "%s", object(b, "packs", ".pack", 1));
    flip(b, pack);
    assert_int_equal(checks(b, pack, &e), ERR_INTEGRITY);
    repository_extent(b->r, pack, &x);
    assert_ok(repository_affected(b->r, x.first, x.last, count_record, &found, &e), e);
    assert_int_equal(found.deeds, 20);
    assert_int_equal(found.titles, 1);
    assert_int_equal(found.key, 'b');
}

/* ---- from a copy ---- */

static void heals(struct box *b, const char *name, const char *file, bool gone)
{
    struct repository *from;
    struct repository_copy *to;
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", b->place.dir, file);
    if (gone)
        assert_int_equal(unlink(path), 0);
    else
        flip(b, file);
    reopen(b);
    assert_true(checks(b, name, &e) != 0);
    repository_close(b->r);
    b->r = NULL;
    from = archive_open(&b->other, true);
    assert_ok(repository_copy_open(&to, b->place.dir, &e), e);
    assert_ok(repository_copy_object(to, from, name, &report, &e), e);
    assert_int_equal(report.copied + report.healed, 1);
    repository_copy_close(to);
    repository_close(from);
    b->r = archive_open(&b->place, true);
    assert_ok(checks(b, name, &e), e);
}

static void what_is_damaged_or_gone_comes_back_from_a_copy(void **state)
{
    struct box *b = *state;
    struct repository_copy *to;
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    char name[REPO_NAME_BYTES];
    assert_ok(repository_copy_open(&to, b->other.dir, &e), e);
    assert_ok(repository_copy_run(to, b->r, false, 0, NULL, NULL, &report, &e), e);
    repository_copy_close(to);
    write_file(b->other.kek, test_kek, sizeof test_kek - 1, 0600);
    (void)snprintf(name, sizeof name, "%s", object(b, "packs", ".pack", 1));
    static const char *const folders[] = {"packs", "packs", "keys/1"};
    static const char *const ends[] = {".pack", ".meta", ".pack.key"};
    for (size_t i = 0; i < 3; i++) {
        char file[REPO_NAME_BYTES];
        (void)snprintf(file, sizeof file, "%s", object(b, folders[i], ends[i], 1));
        heals(b, name, file, false);
        heals(b, name, file, true);
    }
}

static void what_the_copy_does_not_have_whole_is_not_taken(void **state)
{
    struct box *b = *state;
    struct repository_copy *to;
    struct repository_copy_report report;
    struct repository *from;
    struct err e = ERR_NONE;
    char name[REPO_NAME_BYTES], path[300];
    size_t n;
    assert_ok(repository_copy_open(&to, b->other.dir, &e), e);
    assert_ok(repository_copy_run(to, b->r, false, 0, NULL, NULL, &report, &e), e);
    repository_copy_close(to);
    (void)snprintf(name, sizeof name, "%s", object(b, "packs", ".pack", 0));
    find_object(&b->other, "packs", ".pack", 0, path);
    uint8_t *p = slurp(path, &n);
    p[n / 2] ^= 1;
    assert_int_equal(chmod(path, 0600), 0);
    write_file(path, p, n, 0400);
    free(p);
    flip(b, name);
    repository_close(b->r);
    b->r = NULL;
    from = archive_open(&b->other, true);
    assert_ok(repository_copy_open(&to, b->place.dir, &e), e);
    assert_int_equal(repository_copy_object(to, from, name, &report, &e), ERR_INTEGRITY);
    e = (struct err)ERR_NONE;
    assert_int_equal(
        repository_copy_object(to, from,
                               "packs/00000000000000009000-00000000000000009001-1-00000000.pack",
                               &report, &e),
        ERR_NOT_FOUND);
    repository_copy_close(to);
    repository_close(from);
    b->r = archive_open(&b->place, true);
    assert_int_equal(checks(b, name, &e), ERR_INTEGRITY);
}

/* ---- a copy ---- */

static struct repository_copy *copied(struct box *b)
{
    struct repository_copy *to;
    struct repository_copy_report report;
    struct err e = ERR_NONE;
    assert_ok(repository_copy_open(&to, b->other.dir, &e), e);
    assert_ok(repository_copy_run(to, b->r, false, 0, NULL, NULL, &report, &e), e);
    return to;
}

static void index_of(struct place *p, unsigned nth, char name[REPO_NAME_BYTES])
{
    char path[300];
    find_object(p, "indexes", ".index", nth, path);
    (void)snprintf(name, REPO_NAME_BYTES, "%s", path + strlen(p->dir) + 1);
}

static void gone(const struct place *p, const char *name)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", p->dir, name);
    assert_int_equal(unlink(path), 0);
}

static void forget(struct repo_ledger *l, const char *name)
{
    struct repo_ledger_line *x = repo_ledger_find(l, name);
    assert_non_null(x);
    memmove(x, x + 1, (size_t)(l->at + --l->n - x) * sizeof *x);
}

static void an_index_of_a_copy_counts_as_long_as_the_archive_has_it(void **state)
{
    struct box *b = *state;
    struct repository_copy *to = copied(b);
    struct repository_copy_report report;
    struct repository *r = archive_open_at(b->other.dir, b->place.kek, true);
    struct repo_ledger l = {0};
    struct err e = ERR_NONE;
    char kept[REPO_NAME_BYTES], old[REPO_NAME_BYTES], meta[REPO_NAME_BYTES];
    index_of(&b->other, 0, kept);
    index_of(&b->other, 1, old);
    forget(&b->ledger, old); /* merged into another one, in the archive */
    assert_ok(repository_ledger_follow(r, &l, &b->ledger, &e), e);
    assert_int_equal(l.n, PARTS - 1);
    assert_null(repo_ledger_find(&l, old));
    repo_name_meta(kept, meta);
    gone(&b->other, kept);
    gone(&b->other, meta);
    assert_ok(repository_refresh(r, &e), e);
    assert_ok(repository_ledger_follow(r, &l, &b->ledger, &e), e);
    assert_non_null(repo_ledger_find(&l, kept));
    assert_int_equal(repository_check(r, kept, NULL, NULL, &e), ERR_INTEGRITY);
    assert_ok(repository_copy_object(to, b->r, kept, &report, &e), e);
    assert_int_equal(report.copied, 2);
    assert_ok(repository_refresh(r, &e), e);
    assert_ok(repository_check(r, kept, NULL, NULL, &e), e);
    forget(&b->ledger, kept);
    assert_ok(repository_ledger_follow(r, &l, &b->ledger, &e), e);
    assert_int_equal(l.n, PARTS - 2);
    repository_ledger_release(&l);
    repository_close(r);
    repository_copy_close(to);
}

/* ---- rounds ---- */

struct handed_in {
    unsigned n;
    struct operation last;
};

static int note_operation(void *arg, uint64_t index, const struct operation *o)
{
    struct handed_in *h = arg;
    if (o->kind == OPERATION_VERIFY) {
        h->n++;
        h->last = *o;
    }
    (void)index;
    return 0;
}

/* What the log has, signed by the site or not yet. */
static struct handed_in operations_of(struct box *b)
{
    struct operations_summary sum;
    struct handed_in h = {0};
    struct err e = ERR_NONE;
    assert_ok(repository_operations_of(b->r, note_operation, &h, &sum, &e), e);
    return h;
}

static void sign(struct box *b)
{
    char key[200], vkey[TLOG_VKEY_BYTES];
    bool made;
    struct err e = ERR_NONE;
    struct repository *w = archive_open(&b->place, false);
    (void)snprintf(key, sizeof key, "%s/checkpoint.key", b->place.root);
    assert_ok(repository_tree_open(w, key, vkey, &made, &e), e);
    assert_ok(repository_tree_extend(w, UINT64_MAX, &e), e);
    assert_ok(repository_operations_settle(w, NULL, &e), e);
    repository_close(w);
}

static bool round_ends(struct box *b, uint64_t now)
{
    struct err e = ERR_NONE;
    bool ended;
    assert_ok(repository_ledger_round(b->r, &b->ledger, (struct utc){now}, &ended, &e), e);
    return ended;
}

static void once_round_the_archive_is_one_operation_also_after_a_crash(void **state)
{
    enum { HOURS = 3600 };
    struct box *b = *state;
    const uint64_t now = b->ledger.at[0].verified.us + HOURS * UINT64_C(1000000);
    char path[200];
    bool whole;
    struct err e = ERR_NONE;
    (void)snprintf(path, sizeof path, "%s/archive.ledger", b->place.root);
    sign(b);
    assert_false(round_ends(b, now)); /* it begins */
    for (size_t i = 0; i < b->ledger.n; i++) {
        assert_false(round_ends(b, now + 1));
        repo_ledger_note(&b->ledger, &b->ledger.at[i], (struct utc){now + 1}, i == 0, false);
    }
    const struct repo_ledger_round round = b->ledger.round;
    assert_ok(repository_ledger_save(path, &b->ledger, &e), e);
    for (int crash = 0; crash < 3; crash++) {
        assert_true(round_ends(b, now + 2));
        assert_int_equal(b->ledger.round.began.us, now + 2);
        assert_true(b->ledger.round.id != round.id && b->ledger.round.checked == 0);
        if (crash == 1)
            sign(b); /* meanwhile the site has taken it */
        struct handed_in h = operations_of(b);
        assert_int_equal(h.n, 1);
        assert_true(h.last.id == round.id && h.last.checked == PARTS && h.last.damaged == 1);
        assert_string_equal(h.last.detail, "readable, scrub");
        /* It crashes before the ledger is saved. */
        repository_ledger_release(&b->ledger);
        assert_ok(repository_ledger_load(path, &b->ledger, &whole, &e), e);
        assert_true(whole);
        assert_memory_equal(&b->ledger.round, &round, sizeof round);
    }
    sign(b);
    assert_int_equal(operations_of(b).n, 1);
}

static void a_round_in_which_all_was_sealed_is_none(void **state)
{
    struct box *b = *state;
    const struct repo_ledger_line *x = &b->ledger.at[0];
    sign(b);
    assert_false(round_ends(b, 1000)); /* before anything was sealed */
    const uint64_t id = b->ledger.round.id;
    assert_false(round_ends(b, x->verified.us + 10000000));
    assert_true(b->ledger.round.id != id && b->ledger.round.began.us > x->verified.us);
    assert_int_equal(operations_of(b).n, 0);
    for (size_t i = 0; i < b->ledger.n; i++)
        repo_ledger_note(&b->ledger, &b->ledger.at[i], b->ledger.round.began, false, false);
    assert_true(round_ends(b, b->ledger.round.began.us));
    assert_int_equal(operations_of(b).n, 1);
}

int main(void)
{
#define in_a_box(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        in_a_box(every_object_is_in_the_ledger_as_verified_when_it_was_sealed),
        in_a_box(the_ledger_is_kept_and_a_torn_one_begins_anew),
        in_a_box(an_object_that_went_away_stays_and_is_missed_but_an_index_is_forgotten),
        in_a_box(a_pack_that_was_made_again_takes_the_line_of_the_one_before),
        in_a_box(a_whole_object_passes_and_tells_what_it_read),
        in_a_box(damage_behind_an_open_archive_is_found_in_object_meta_and_key),
        in_a_box(the_index_tells_which_records_a_lost_pack_had),
        in_a_box(the_index_tells_which_records_an_unreadable_pack_had),
        in_a_box(what_is_damaged_or_gone_comes_back_from_a_copy),
        in_a_box(what_the_copy_does_not_have_whole_is_not_taken),
        in_a_box(an_index_of_a_copy_counts_as_long_as_the_archive_has_it),
        in_a_box(a_round_in_which_all_was_sealed_is_none),
        in_a_box(once_round_the_archive_is_one_operation_also_after_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
