/* Disposal: keys are destroyed and nothing else is lost; holds, needs and retention stop it; a crash at any step goes on; copies
 * and generations of keys follow; nothing comes back. */
#include "repository/custody.h"
#include "repository/history.h"
#include "repository/io/archive.h"
#include "repository/keys.h"
#include "repository/proof.h"
#include "repository/scrub.h"
#include "tests/unit/repository/fixture.h"

enum { PACK = 10, PACKS = 4 };

struct bench {
    struct place place, other;
    struct repository *r;
    struct state *state;
    struct feed feed;
    size_t applied;
    char told[8192];
};

static void snapshot(struct bench *b)
{
    struct err e = ERR_NONE;
    struct state_snapshot *snap;
    assert_ok(state_snapshot_open(b->state, &snap, &e), e);
    assert_ok(repository_snapshot(b->r, snap, &e), e);
    state_snapshot_close(snap);
}

static void grow_tree(struct bench *b)
{
    char key[150], vkey[TLOG_VKEY_BYTES];
    bool made;
    struct err e = ERR_NONE;
    (void)snprintf(key, sizeof key, "%s/checkpoint.key", b->place.root);
    if (b->r->tree == NULL)
        assert_ok(repository_tree_open(b->r, key, vkey, &made, &e), e);
    assert_ok(repository_tree_extend(b->r, UINT64_MAX, &e), e);
}

/* Packs of ten entries, a snapshot behind each; the first entry of each pack writes deeds/p<n>, the others deeds/common. */
static void grow(struct bench *b, unsigned packs)
{
    struct err e = ERR_NONE;
    for (unsigned i = 0; i < packs; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "p%llu", (unsigned long long)(b->feed.at.lsn.v / PACK + 1));
        feed_put(&b->feed, "deeds", key, "value", 5);
        for (int k = 2; k < PACK; k++)
            feed_put(&b->feed, "deeds", "common", "value", 5);
        feed_put(&b->feed, "courts", "case", "value", 5);
        feed_apply(&b->feed, &b->applied, b->state);
        assert_ok(feed_seal(&b->feed, b->r, NULL, NULL, &e), e);
        snapshot(b);
    }
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    char dir[150];
    struct err e = ERR_NONE;
    assert_non_null(b);
    place_make(&b->place);
    place_make(&b->other);
    (void)snprintf(dir, sizeof dir, "%s/state", b->place.root);
    assert_ok(
        state_open(&b->state, &(struct state_options){.dir = dir, .cluster_id = test_cluster}, &e),
        e);
    b->r = archive_open(&b->place, false);
    grow(b, PACKS);
    grow_tree(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    repository_close(b->r);
    state_close(b->state);
    feed_drop(&b->feed);
    place_drop(&b->place);
    place_drop(&b->other);
    free(b);
    return 0;
}

static void reopen(struct bench *b)
{
    repository_close(b->r);
    b->r = archive_open(&b->place, false);
    grow_tree(b);
}

static void note(void *arg, const char *object, const char *what)
{
    struct bench *b = arg;
    size_t used = strlen(b->told);
    (void)snprintf(b->told + used, sizeof b->told - used, "%s %s\n", object, what);
}

static const struct repository_order by = {
    .nonce = {0xab, 1}, .lsn = {35}, .time = {1700000000000000}, .warrant = {{7}}};

static struct repository_custody_report dispose_with(struct bench *b, uint64_t before,
                                                     struct repository_custody c)
{
    const struct repository_disposal d = {{before}, by};
    struct repository_custody_report out;
    struct err e = ERR_NONE;
    b->told[0] = '\0';
    c.disposals = &d;
    c.disposal_count = 1;
    c.told = note;
    c.arg = b;
    assert_ok(repository_dispose(b->r, &c, &out, &e), e);
    return out;
}

static struct repository_custody_report dispose(struct bench *b, uint64_t before)
{
    return dispose_with(b, before, (struct repository_custody){.preview = false});
}

static unsigned count(const char *dir, const char *folder, const char *end)
{
    char path[200];
    unsigned n = 0;
    (void)snprintf(path, sizeof path, "%s/%s", dir, folder);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        size_t length = strlen(f->d_name), want = strlen(end);
        n += length > want && strcmp(f->d_name + length - want, end) == 0;
    }
    closedir(d);
    return n;
}

/* At every level; how much is damaged. */
static struct repository_report verify(const char *dir, const char *kek, struct damages *d)
{
    struct repository_report out = {0};
    struct repository *r = NULL;
    struct err e = ERR_NONE;
    const struct repository_options o = {.dir = dir, .kek_file = kek, .read_only = true};
    assert_ok(repository_open(&r, &o, &e), e);
    for (int level = REPOSITORY_PRESENT; level <= REPOSITORY_READABLE && out.damaged == 0; level++)
        (void)repository_verify(r, (enum repository_level)level, note_damage, NULL, d, &out, &e);
    repository_close(r);
    return out;
}

static void assert_sound(struct bench *b, const char *dir, uint64_t disposed)
{
    struct damages d = {0};
    struct repository_report report = verify(dir, b->place.kek, &d);
    if (report.damaged != 0)
        fail_msg("%s", d.all);
    assert_int_equal(report.disposed, disposed);
    assert_int_equal(report.proven, repo_archived(&b->r->inv).lsn.v);
}

static int plan(struct bench *b, uint64_t lsn, struct err *e)
{
    struct restore_plan p;
    return repository_plan(b->r, &(struct restore_target){.lsn = {lsn}}, &p, e);
}

static int count_entry(void *arg, const struct entry_view *v)
{
    (void)v;
    ++*(unsigned *)arg;
    return 0;
}

/* ---- */

static void what_lies_before_is_destroyed_and_everything_else_holds(void **state)
{
    struct bench *b = *state;
    struct err e = ERR_NONE;
    unsigned n = 0;
    assert_int_equal(count(b->place.dir, "keys/1", ".pack.key"), PACKS);
    struct repository_custody_report out = dispose(b, 2 * PACK + 1);
    /* Two packs, and the snapshot at 10: that at 20 is what later moments rest on. */
    assert_int_equal(out.now, 3);
    assert_int_equal(out.needed, 1);
    assert_int_equal(out.locked, 0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(count(b->place.dir, "keys/1", ".pack.key"), PACKS - 2);
        assert_int_equal(count(b->place.dir, "keys/1", ".snap.key"), PACKS - 1);
        assert_int_equal(count(b->place.dir, "packs", ".pack"), PACKS);
        assert_int_equal(plan(b, 2 * PACK - 1, &e), ERR_NOT_FOUND);
        assert_non_null(strstr(e.text, "was disposed of by warrant ab010000"));
        assert_non_null(strstr(e.text, "lsn 35, 2023-11-14"));
        for (uint64_t lsn = 2 * PACK; lsn <= PACKS * PACK; lsn++)
            assert_ok(plan(b, lsn, &e), e);
        assert_int_equal(
            repository_entries(b->r, (struct lsn){1}, (struct lsn){50}, count_entry, &n, &e),
            ERR_NOT_FOUND);
        n = 0;
        assert_ok(repository_entries(b->r, (struct lsn){2 * PACK + 1}, (struct lsn){50},
                                     count_entry, &n, &e),
                  e);
        assert_int_equal(n, 2 * PACK);
        struct restore_target at = {.time = {1700000000000000ull + 3000}};
        struct restore_plan p;
        assert_int_equal(repository_plan(b->r, &at, &p, &e), ERR_NOT_FOUND);
        assert_non_null(strstr(e.text, "disposed of"));
        reopen(b);
        out = dispose(b, 2 * PACK + 1);
        assert_int_equal(out.now, 0);
        assert_int_equal(out.disposed, 3);
        assert_sound(b, b->place.dir, 3);
    }
    grow(b, 2);
    grow_tree(b);
    assert_sound(b, b->place.dir, 3);
    struct restore_result result;
    struct restore_plan p;
    assert_ok(repository_plan(b->r, &(struct restore_target){.lsn = {2 * PACK + 3}}, &p, &e), e);
    assert_ok(repository_restore(b->r, &p, b->place.into, NULL, NULL, &result, &e), e);
    assert_int_equal(result.records, 5); /* p1..p3, common, case: of before as well */
}

static void a_preview_tells_the_same_and_does_nothing(void **state)
{
    struct bench *b = *state;
    const struct repository_custody look = {.preview = true};
    struct repository_custody_report out = dispose_with(b, 2 * PACK + 1, look);
    assert_int_equal(out.now, 3);
    assert_int_equal(count(b->place.dir, "keys/1", ".pack.key"), PACKS);
    assert_int_equal(count(b->place.dir, "packs", ".disposed"), 0);
    assert_sound(b, b->place.dir, 0);
}

static void what_is_held_stays_until_it_is_released(void **state)
{
    struct bench *b = *state;
    const struct repository_hold holds[] = {
        {"case-7", {.collection = bytes_str("deeds"), .key = bytes_str("p1")}},
        {"case-8", {.collection = bytes_str("other"), .prefix = bytes_str("p")}}};
    struct repository_custody held = {.holds = holds, .hold_count = 2};
    struct repository_custody_report out = dispose_with(b, 2 * PACK + 1, held);
    assert_int_equal(out.held, 1);
    assert_int_equal(out.now,
                     2); /* the snapshot at 10 has p1 too, and the pack holds that version */
    assert_non_null(strstr(b->told, ".pack held by case-7\n"));
    assert_sound(b, b->place.dir, 2);
    const struct repository_hold prefix = {
        "case-9", {.collection = bytes_str("deeds"), .prefix = bytes_str("p")}};
    held = (struct repository_custody){.holds = &prefix, .hold_count = 1};
    assert_int_equal(dispose_with(b, 2 * PACK + 1, held).held, 1);
    out = dispose(b, 2 * PACK + 1);
    assert_int_equal(out.held, 0);
    assert_int_equal(out.now, 1);
    assert_sound(b, b->place.dir, 3);
}

static void a_held_version_that_no_pack_has_any_more_keeps_its_snapshot(void **state)
{
    struct bench *b = *state;
    const struct repository_hold hold = {
        "case-7", {.collection = bytes_str("deeds"), .key = bytes_str("p1")}};
    const struct repository_custody held = {.holds = &hold, .hold_count = 1};
    (void)dispose(b, 2 * PACK + 1); /* before anybody held it */
    struct repository_custody_report out = dispose_with(b, 3 * PACK + 1, held);
    assert_int_equal(out.now, 1);  /* the third pack */
    assert_int_equal(out.held, 1); /* the snapshot at 20: p1 is in no pack */
    assert_non_null(strstr(b->told, ".snap held by case-7\n"));
    assert_int_equal(dispose(b, 3 * PACK + 1).now, 1);
}

static void nothing_goes_that_later_moments_need(void **state)
{
    struct bench *b = *state;
    /* Before lsn 16 there is the snapshot at 10: the second pack is whole only behind it. */
    struct repository_custody_report out = dispose(b, PACK + 6);
    assert_int_equal(out.now, 1);
    out = dispose(b, PACK); /* no snapshot before */
    assert_int_equal(out.now, 0);
    struct err e = ERR_NONE;
    struct lsn snapshot_at;
    struct utc time;
    assert_int_equal(repository_disposable(b->r, (struct lsn){PACK}, &snapshot_at, &time, &e),
                     ERR_NOT_FOUND);
    assert_ok(repository_disposable(b->r, (struct lsn){PACK + 6}, &snapshot_at, &time, &e), e);
    assert_int_equal(snapshot_at.v, PACK);
    assert_true(time.us != 0);
}

static void nothing_goes_on_the_word_of_a_damaged_snapshot(void **state)
{
    struct bench *b = *state;
    char path[300];
    struct err e = ERR_NONE;
    struct repository_custody_report out;
    find_object(&b->place, "snapshots", ".snap", 1, path);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 200), 1);
    close(fd);
    const struct repository_disposal d = {{2 * PACK + 1}, by};
    const struct repository_custody c = {.disposals = &d, .disposal_count = 1};
    assert_int_equal(repository_dispose(b->r, &c, &out, &e), ERR_INTEGRITY);
    assert_int_equal(count(b->place.dir, "keys/1", ".pack.key"), PACKS);
}

static void what_is_young_or_not_signed_yet_stays(void **state)
{
    struct bench *b = *state;
    struct repository_custody c = {.now = b->feed.at.time, .retain_us = 30000};
    struct repository_custody_report out = dispose_with(b, 3 * PACK + 1, c);
    assert_int_equal(out.now, 2); /* pack and snapshot at 10: 30 ms before the end */
    assert_int_equal(out.retained, 3);
    assert_non_null(strstr(b->told, "retained until 2023-11-14T22:13:20.049000Z"));
    grow(b, 2); /* nothing grows the tree */
    out = dispose(b, 5 * PACK + 1);
    assert_int_equal(out.unsigned_yet, 1);
    grow_tree(b);
    assert_int_equal(dispose(b, 5 * PACK + 1).unsigned_yet, 0);
    assert_sound(b, b->place.dir, 5 + 4);
}

static void a_crash_between_the_steps_goes_on(void **state)
{
    struct bench *b = *state;
    char key[300], mark[300];
    size_t n;
    find_object(&b->place, "keys/1", ".pack.key", 0, key);
    uint8_t *bytes = slurp(key, &n);
    (void)dispose(b, 2 * PACK + 1);
    /* Marked, and the key is still there. */
    write_file(key, bytes, n, 0600);
    reopen(b);
    assert_sound(b, b->place.dir, 3);
    struct err e = ERR_NONE;
    assert_int_equal(plan(b, 5, &e), ERR_NOT_FOUND);
    (void)dispose(b, 2 * PACK + 1);
    assert_int_equal(access(key, F_OK), -1);
    /* Not marked yet: the key of marks alone was written. */
    write_file(key, bytes, n, 0600);
    find_object(&b->place, "packs", ".disposed", 0, mark);
    assert_int_equal(unlink(mark), 0);
    reopen(b);
    assert_int_equal(dispose(b, 2 * PACK + 1).now, 1);
    assert_int_equal(access(key, F_OK), -1);
    assert_sound(b, b->place.dir, 3);
    free(bytes);
}

static void who_has_no_key_cannot_make_destruction_look_like_an_order(void **state)
{
    struct bench *b = *state;
    char key[300], mark[300];
    struct damages d = {0};
    find_object(&b->place, "keys/1", ".pack.key", 2, key);
    (void)dispose(b, PACK + 1);
    assert_int_equal(unlink(key), 0);
    assert_int_equal(verify(b->place.dir, b->place.kek, &d).damaged, 1);
    /* The mark of another object, under this one's name. */
    find_object(&b->place, "packs", ".disposed", 0, mark);
    size_t n;
    uint8_t *bytes = slurp(mark, &n);
    char forged[400];
    find_object(&b->place, "packs", ".pack", 2, forged);
    (void)snprintf(strrchr(forged, '.'), 10, ".disposed");
    write_file(forged, bytes, n, 0600);
    assert_int_equal(verify(b->place.dir, b->place.kek, &d).damaged, 1);
    /* And a byte of a true one. */
    assert_int_equal(unlink(forged), 0);
    bytes[n / 2] ^= 1;
    write_file(mark, bytes, n, 0600);
    assert_true(verify(b->place.dir, b->place.kek, &d).damaged >= 2);
    free(bytes);
}

static void keys_that_an_interrupted_writer_left_of_the_same_entries_go_too(void **state)
{
    struct bench *b = *state;
    char inside[300], across[300];
    (void)snprintf(inside, sizeof inside, "%s/keys/1/%020d-%020d-1-0badcafe.pack.key", b->place.dir,
                   5, 20);
    (void)snprintf(across, sizeof across, "%s/keys/1/%020d-%020d-1-0badcafe.pack.key", b->place.dir,
                   11, 30);
    write_file(inside, "x", 1, 0600);
    write_file(across, "x", 1, 0600);
    (void)dispose(b, 2 * PACK + 1);
    assert_int_equal(access(inside, F_OK), -1);
    assert_int_equal(access(across, F_OK), 0); /* what it has besides is not disposed of */
}

static void flip(const char *path)
{
    size_t n;
    uint8_t *p = slurp(path, &n);
    p[n / 2] ^= 4;
    assert_int_equal(chmod(path, 0600), 0);
    write_file(path, p, n, 0400);
    free(p);
}

static void a_copy_loses_the_keys_and_gives_none_back(void **state)
{
    struct bench *b = *state;
    struct repository_copy *copy = NULL;
    struct repository_copy_report out;
    struct err e = ERR_NONE;
    char old[200], path[300];
    (void)snprintf(old, sizeof old, "%s/old", b->other.root);
    assert_ok(repository_copy_open(&copy, old, &e), e);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &out, &e), e);
    repository_copy_close(copy);
    assert_ok(repository_copy_open(&copy, b->other.dir, &e), e);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &out, &e), e);
    assert_int_equal(count(b->other.dir, "keys/1", ".pack.key"), PACKS);
    (void)dispose(b, 2 * PACK + 1);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &out, &e), e);
    assert_int_equal(out.destroyed, 3);
    assert_int_equal(out.locked, 0);
    assert_int_equal(count(b->other.dir, "keys/1", ".pack.key"), PACKS - 2);
    assert_int_equal(count(b->other.dir, "keys/1", ".snap.key"), PACKS - 1);
    assert_sound(b, b->other.dir, 3);
    /* Seen through once more, and into a new place. */
    assert_ok(repository_copy_run(copy, b->r, true, 0, NULL, NULL, &out, &e), e);
    assert_int_equal(out.copied + out.healed + out.destroyed, 0);
    /* From a copy that was made before: what is disposed of stays so, also when it is healed. */
    struct repository *before = NULL;
    const struct repository_options o = {.dir = old, .kek_file = b->place.kek, .read_only = true};
    assert_ok(repository_open(&before, &o, &e), e);
    const char *pack = b->r->inv.packs[0].o.name;
    assert_ok(repository_copy_object(copy, before, pack, &out, &e), e);
    assert_int_equal(count(b->other.dir, "keys/1", ".pack.key"), PACKS - 2);
    find_object(&b->other, "packs", ".pack", 0, path);
    flip(path);
    find_object(&b->other, "packs", ".disposed", 0, path);
    assert_int_equal(unlink(path), 0);
    assert_ok(repository_copy_object(copy, b->r, pack, &out, &e), e);
    assert_int_equal(out.copied + out.healed, 2);
    assert_int_equal(count(b->other.dir, "keys/1", ".pack.key"), PACKS - 2);
    assert_sound(b, b->other.dir, 3);
    assert_ok(repository_copy_run(copy, before, true, 0, NULL, NULL, &out, &e), e);
    repository_close(before);
    repository_copy_close(copy);
    assert_int_equal(count(b->other.dir, "keys/1", ".pack.key"), PACKS - 2);
    assert_sound(b, b->other.dir, 3);
}

static void note_bytes(void *arg, uint64_t bytes)
{
    uint64_t *read = arg;
    assert_true(bytes >= *read);
    *read = bytes;
}

/* The scrub's question: fixity and the mark are all that is left to be looked at. */
static void what_was_disposed_of_is_whole_until_its_bytes_or_its_mark_change(void **state)
{
    static const char *const folders[] = {"packs", "snapshots", "packs", "snapshots"};
    static const char *const ends[] = {".pack", ".snap", ".disposed", ".disposed"};
    struct bench *b = *state;
    struct err e = ERR_NONE;
    (void)dispose(b, 2 * PACK + 1);
    repository_close(b->r);
    b->r = archive_open(&b->place, true);
    for (size_t i = 0; i < 4; i++) {
        char object[300], file[300];
        uint64_t read = 0;
        struct stat st;
        find_object(&b->place, folders[i], i % 2 == 0 ? ".pack" : ".snap", 0, object);
        find_object(&b->place, folders[i], ends[i], 0, file);
        assert_int_equal(stat(object, &st), 0);
        const char *name = object + strlen(b->place.dir) + 1;
        assert_ok(repository_check(b->r, name, note_bytes, &read, &e), e);
        assert_int_equal(read, st.st_size);
        flip(file);
        assert_int_equal(repository_check(b->r, name, NULL, NULL, &e), ERR_INTEGRITY);
        flip(file);
        assert_ok(repository_check(b->r, name, NULL, NULL, &e), e);
    }
}

static void other_generations_of_keys_lose_them_too_and_go_on(void **state)
{
    struct bench *b = *state;
    char kek2[150];
    struct damages d = {0};
    struct repository_keys_report out;
    struct err e = ERR_NONE;
    const struct repository_keys_work work = {.damage = note_damage, .arg = &d};
    (void)snprintf(kek2, sizeof kek2, "%s/kek2", b->place.root);
    write_file(kek2, "ff112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef", 64, 0600);
    struct repository *beside = archive_open(&b->place, true);
    assert_ok(repository_keys_rotate(beside, kek2, &work, &out, &e), e);
    repository_close(beside);
    assert_int_equal(count(b->place.dir, "keys/2", ".pack.key"), PACKS);
    (void)dispose(b, PACK + 1);
    assert_int_equal(count(b->place.dir, "keys/1", ".pack.key"), PACKS - 1);
    assert_int_equal(count(b->place.dir, "keys/2", ".pack.key"), PACKS - 1);
    /* What is disposed of needs no key; its mark does, in each generation. */
    beside = archive_open(&b->place, true);
    assert_ok(repository_keys_rotate(beside, kek2, &work, &out, &e), e);
    repository_close(beside);
    assert_int_equal(out.failed, 0);
    char marks[200];
    (void)snprintf(marks, sizeof marks, "%s/keys/2/disposed.key", b->place.dir);
    assert_int_equal(access(marks, F_OK), 0);
    struct repository_options o = {.dir = b->place.dir, .kek_file = kek2, .read_only = true};
    assert_ok(repository_open(&beside, &o, &e), e);
    assert_ok(repository_keys_check(beside, 2, &work, &out, &e), e);
    assert_ok(repository_keys_retire(beside, 1, &work, &out, &e), e);
    repository_close(beside);
    assert_int_equal(verify(b->place.dir, kek2, &d).damaged, 0);
    /* Without the key of marks they are damaged, and the check says so. */
    assert_int_equal(unlink(marks), 0);
    assert_ok(repository_open(&beside, &o, &e), e);
    assert_int_equal(repository_keys_check(beside, 2, &work, &out, &e), ERR_INTEGRITY);
    repository_close(beside);
}

static void indexes_over_it_go_and_the_rest_is_covered_anew(void **state)
{
    struct bench *b = *state;
    struct err e = ERR_NONE;
    struct repository_status s;
    bool more = true;
    while (more)
        assert_ok(repository_index_extend(b->r, &more, &e), e);
    repository_status(b->r, &s);
    assert_int_equal(s.indexes, 1);
    (void)dispose(b, 2 * PACK + 1);
    assert_int_equal(count(b->place.dir, "indexes", ".index"), 0);
    assert_int_equal(count(b->place.dir, "indexes", ".meta"), 0);
    assert_int_equal(count(b->place.dir, "keys/1", ".index.key"), 0);
    for (more = true; more;)
        assert_ok(repository_index_extend(b->r, &more, &e), e);
    repository_status(b->r, &s);
    assert_int_equal(s.indexes, 1);
    assert_int_equal(s.indexed.v, PACKS * PACK);
    assert_sound(b, b->place.dir, 3);
}

static const char other_kek[] = "ff112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

static void rotate(struct bench *b, const char *to)
{
    struct repository *beside = archive_open(&b->place, true);
    const struct repository_keys_work work = {.arg = NULL};
    struct repository_keys_report out;
    struct err e = ERR_NONE;
    assert_ok(repository_keys_rotate(beside, to, &work, &out, &e), e);
    repository_close(beside);
}

static void copy_all(struct bench *b, const char *where)
{
    struct repository_copy *copy = NULL;
    struct repository_copy_report out;
    struct err e = ERR_NONE;
    assert_ok(repository_copy_open(&copy, where, &e), e);
    assert_ok(repository_copy_run(copy, b->r, false, 0, NULL, NULL, &out, &e), e);
    repository_copy_close(copy);
}

static void assert_keys(const char *dir, const char *folder, unsigned packs, unsigned snapshots)
{
    assert_int_equal(count(dir, folder, ".pack.key"), packs);
    assert_int_equal(count(dir, folder, ".snap.key"), snapshots);
}

/* From a copy that was made before. */
static void a_generation_that_is_put_right_gets_no_destroyed_key_back(void **state)
{
    struct bench *b = *state;
    char old[200], second[200], path[300];
    const char *const from_old[] = {old}, *const from_other[] = {b->other.dir};
    struct repository_copy *copy = NULL;
    struct repository_copy_report out;
    struct err e = ERR_NONE;
    size_t used;
    (void)snprintf(old, sizeof old, "%s/old", b->other.root);
    (void)snprintf(second, sizeof second, "%s.second", b->place.kek);
    copy_all(b, old);
    (void)dispose(b, 2 * PACK + 1);
    write_file(second, other_kek, sizeof other_kek - 1, 0600);
    rotate(b, second);
    write_file(b->place.kek, other_kek, sizeof other_kek - 1, 0600);
    reopen(b);
    copy_all(b, b->other.dir);
    (void)snprintf(path, sizeof path, "%s/keys/1/disposed.key", b->place.dir);
    assert_ok(repository_check(b->r, "keys/1", NULL, NULL, &e), e);
    flip(path);
    assert_int_equal(repository_check(b->r, "keys/1", NULL, NULL, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "keys/1/disposed.key"));
    assert_ok(repository_heal_part(b->r, "keys/1", from_other, 1, &used, &e), e);
    (void)snprintf(path, sizeof path, "%s/keys/1", b->place.dir);
    tree_remove(path);
    assert_int_equal(repository_check(b->r, "keys/1", NULL, NULL, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "it is missing (and"));
    assert_int_equal(mkdir(path, 0755), 0);
    assert_ok(repository_heal_part(b->r, "keys/1", from_old, 1, &used, &e), e);
    assert_ok(repository_check(b->r, "keys/1", NULL, NULL, &e), e);
    assert_keys(b->place.dir, "keys/1", PACKS - 2, PACKS - 1);
    assert_keys(b->place.dir, "keys/2", PACKS - 2, PACKS - 1);
    /* Nor does a copy, from one that knows of no disposal. */
    write_file(second, test_kek, sizeof test_kek - 1, 0600);
    struct repository *before = archive_open_at(old, second, true);
    assert_ok(repository_copy_open(&copy, b->other.dir, &e), e);
    assert_ok(repository_copy_object(copy, before, "keys/1", &out, &e), e);
    assert_ok(repository_copy_object(copy, b->r, "keys/1", &out, &e), e);
    assert_keys(b->other.dir, "keys/1", PACKS - 2, PACKS - 1);
    repository_copy_close(copy);
    repository_close(before);
    assert_sound(b, b->place.dir, 3);
    assert_sound(b, b->other.dir, 3);
}

/* A bucket lets go of keys alone, and a copy may have a file again that was removed. */
static void an_index_over_it_that_still_lies_there_is_none(void **state)
{
    struct bench *b = *state;
    struct err e = ERR_NONE;
    struct repo_names keyed;
    char copy[300], back[400];
    for (bool more = true; more;)
        assert_ok(repository_index_extend(b->r, &more, &e), e);
    (void)snprintf(copy, sizeof copy, "cp -a %s/indexes %s/kept", b->place.dir, b->place.root);
    (void)snprintf(back, sizeof back, "cp -an %s/kept/. %s/indexes", b->place.root, b->place.dir);
    assert_int_equal(system(copy), 0);
    (void)dispose(b, 2 * PACK + 1);
    for (bool more = true; more;)
        assert_ok(repository_index_extend(b->r, &more, &e), e);
    assert_int_equal(system(back), 0);
    assert_int_equal(count(b->place.dir, "indexes", ".index"), 2);
    assert_sound(b, b->place.dir, 3);
    reopen(b);
    assert_int_equal(b->r->inv.index_count, 1);
    assert_ok(repo_list_keyed(b->r, &keyed, &e), e);
    assert_true(repo_names_have(&keyed, b->r->inv.indexes[0].o.name));
    assert_int_equal(keyed.n, 2 + 3 + 1 + 1); /* packs, snapshots, index, marks */
    repo_names_release(&keyed);
}

static int count_version(void *arg, const struct evidence *v)
{
    (void)v;
    ++*(unsigned *)arg;
    return 0;
}

static void a_history_says_what_was_disposed_of(void **state)
{
    struct bench *b = *state;
    struct err e = ERR_NONE;
    unsigned n = 0;
    struct repository_gap gap;
    struct repository_query q = {
        .collection = bytes_str("courts"), .key = bytes_str("case"), .to = {PACKS * PACK}};
    const struct repository_hold hold = {
        "first", {.collection = bytes_str("deeds"), .key = bytes_str("p1")}};
    (void)dispose_with(b, 2 * PACK + 1,
                       (struct repository_custody){.holds = &hold, .hold_count = 1});
    assert_int_equal(repository_history(b->r, &q, count_version, &n, &e), ERR_NOT_FOUND);
    assert_int_equal(n, 2); /* newest first, up to there */
    q.gap = &gap;
    n = 0;
    assert_ok(repository_history(b->r, &q, count_version, &n, &e), e);
    assert_int_equal(n, 3); /* of the first pack, which is held */
    assert_int_equal(gap.first.v, PACK + 1);
    assert_int_equal(gap.last.v, 2 * PACK);
    assert_non_null(strstr(gap.why.text, "disposed of by warrant"));
    /* The newest one behind the gap is certain, one before it is not. */
    uint8_t *entry;
    size_t bytes;
    q.gap = NULL;
    q.to.v = 2 * PACK;
    assert_int_equal(repository_find(b->r, &q, &entry, &bytes, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "disposed of"));
    q.to.v = 3 * PACK;
    assert_ok(repository_find(b->r, &q, &entry, &bytes, &e), e);
    free(entry);
}

static void a_reader_that_is_open_learns_of_it(void **state)
{
    struct bench *b = *state;
    struct err e = ERR_NONE;
    unsigned n = 0;
    struct repository *reader = archive_open(&b->place, true);
    (void)dispose(b, 2 * PACK + 1);
    assert_int_equal(
        repository_entries(reader, (struct lsn){1}, (struct lsn){5}, count_entry, &n, &e),
        ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "was disposed of meanwhile"));
    assert_ok(repository_refresh(reader, &e), e);
    assert_int_equal(
        repository_entries(reader, (struct lsn){1}, (struct lsn){5}, count_entry, &n, &e),
        ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "by warrant"));
    repository_close(reader);
}

static void a_changed_tree_is_found_below_what_was_disposed_of(void **state)
{
    struct bench *b = *state;
    char path[300];
    struct damages d = {0};
    (void)dispose(b, 2 * PACK + 1);
    find_object(&b->place, "tree/tile/entries", ".p", 0, path);
    size_t n = strlen(path);
    (void)snprintf(path + n, sizeof path - n, "/%d", PACKS * PACK);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "x", 1, 130 * 3 + 60), 1);
    close(fd);
    assert_true(verify(b->place.dir, b->place.kek, &d).damaged > 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(what_lies_before_is_destroyed_and_everything_else_holds),
        CASE(a_preview_tells_the_same_and_does_nothing),
        CASE(what_is_held_stays_until_it_is_released),
        CASE(a_held_version_that_no_pack_has_any_more_keeps_its_snapshot),
        CASE(nothing_goes_that_later_moments_need),
        CASE(nothing_goes_on_the_word_of_a_damaged_snapshot),
        CASE(what_is_young_or_not_signed_yet_stays),
        CASE(a_crash_between_the_steps_goes_on),
        CASE(who_has_no_key_cannot_make_destruction_look_like_an_order),
        CASE(keys_that_an_interrupted_writer_left_of_the_same_entries_go_too),
        CASE(a_copy_loses_the_keys_and_gives_none_back),
        CASE(what_was_disposed_of_is_whole_until_its_bytes_or_its_mark_change),
        CASE(other_generations_of_keys_lose_them_too_and_go_on),
        CASE(a_generation_that_is_put_right_gets_no_destroyed_key_back),
        CASE(indexes_over_it_go_and_the_rest_is_covered_anew),
        CASE(an_index_over_it_that_still_lies_there_is_none),
        CASE(a_history_says_what_was_disposed_of),
        CASE(a_reader_that_is_open_learns_of_it),
        CASE(a_changed_tree_is_found_below_what_was_disposed_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
