/* Whatever somebody does to one file of an archive is found by who opens it and verifies it: each file deleted, cut, with a
 * flipped bit at many places, and exchanged for each other of its kind. What a single archive cannot tell by itself, that all
 * of it was put back to an earlier day, the sites tell: witness_test.c, tests/integration/cosign.sh. */
#include "repository/history.h"
#include "repository/proof.h"
#include "repository/repository.h"
#include "tests/unit/repository/fixture.h"

#include <stdbool.h>

enum { FILES_MAX = 96, FLIPS = 12, PACKS = 3, ENTRIES = 90 };

struct file {
    char name[160];   /* in the archive */
    const char *kind; /* of `kinds`; files of one kind are exchanged */
    uint8_t *bytes;
    size_t n;
};

static struct place place;
static struct file files[FILES_MAX];
static size_t count;
static uint64_t unfinished; /* of the archive as it was made */

/* ---- the archive: three packs with index, two snapshots, the signed tree, the operations log ---- */

static void apply(struct state *s, const struct feed *f, size_t from)
{
    struct err e = ERR_NONE;
    for (size_t at = from, used; at < f->n; at += used) {
        struct entry_view v;
        assert_ok(entry_decode(bytes_of(f->p + at, f->n - at), &v, &used, &e), e);
        assert_ok(state_apply(s, &v, 1, &e), e);
    }
}

static void snapshot(struct repository *r, struct state *s)
{
    struct err e = ERR_NONE;
    struct state_snapshot *snap;
    assert_ok(state_snapshot_open(s, &snap, &e), e);
    assert_ok(repository_snapshot(r, snap, &e), e);
    state_snapshot_close(snap);
}

static void make(void)
{
    char dir[200], key[200], vkey[TLOG_VKEY_BYTES];
    struct feed f = {0};
    struct state *s;
    struct err e = ERR_NONE;
    bool more;
    place_make(&place);
    (void)snprintf(dir, sizeof dir, "%s/state", place.root);
    (void)snprintf(key, sizeof key, "%s/checkpoint.key", place.root);
    struct state_options o = {.dir = dir, .cluster_id = test_cluster};
    assert_ok(state_open(&s, &o, &e), e);
    struct repository *r = archive_open(&place, false);
    for (int i = 0; i < PACKS; i++) {
        size_t from = f.n;
        feed_mixed(&f, ENTRIES);
        feed_point(&f, i == 0 ? "one" : i == 1 ? "two" : "three");
        apply(s, &f, from);
        assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
        assert_ok(repository_index_extend(r, &more, &e), e);
        if (i != 0)
            snapshot(r, s);
    }
    assert_ok(repository_tree_open(r, key, vkey, &more, &e), e);
    assert_ok(repository_tree_extend(r, UINT64_MAX, &e), e);
    repository_close(r);
    state_close(s);
    feed_drop(&f);
}

/* ---- its files ---- */

static const char *const kinds[] = {
    ".pack.key",
    ".snap.key",
    ".index.key",
    ".pack",
    ".snap",
    ".index",
    "tree/checkpoint",
    "tree/keys",
    "tree/tile/entr",
    "tree/tile",
    "operations/checkpoint",
    "operations/next",
    "operations/tile/entr",
    "operations/tile",
    "keys/",
    "repository.json",
    "packs/",
    "indexes/",
    "snapshots/",
};

static const char *kind_of(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(name), k = strlen(kinds[i]);
        if (kinds[i][0] == '.' ? n > k && strcmp(name + n - k, kinds[i]) == 0
                               : strncmp(name, kinds[i], k) == 0)
            return kinds[i];
    }
    return NULL;
}

static void path_of(const struct file *f, char out[300])
{
    (void)snprintf(out, 300, "%.130s/%.159s", place.dir, f->name);
}

static int add_file(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    const char *base = path + at->base;
    if (flag != FTW_F || base[0] == '.' || strcmp(base, "lock") == 0)
        return 0;
    assert_true(count < FILES_MAX);
    struct file *f = &files[count++];
    (void)snprintf(f->name, sizeof f->name, "%s", path + strlen(place.dir) + 1);
    f->kind = kind_of(f->name);
    if (f->kind == NULL)
        fail_msg("%s is of no kind that this test knows", f->name);
    f->bytes = slurp(path, &f->n);
    return 0;
}

static void put(const struct file *f, const void *bytes, size_t n)
{
    char path[300];
    path_of(f, path);
    (void)unlink(path);
    write_file(path, bytes, n, 0600);
}

/* ---- is it found? ---- */

enum found { NOTHING, UNFINISHED, FOUND };

static void told(void *arg, const char *object, const char *reason)
{
    (void)object;
    assert_true(reason[0] != '\0');
    ++*(unsigned *)arg;
}

static enum found look(void)
{
    struct repository *r = NULL;
    struct repository_report report;
    struct err e = ERR_NONE;
    unsigned damaged = 0;
    const struct repository_options o = {
        .dir = place.dir, .kek_file = place.kek, .read_only = true};
    int rc = repository_open(&r, &o, &e);
    if (rc != 0) {
        assert_true(e.text[0] != '\0' && rc != ERR_NO_MEMORY);
        return FOUND;
    }
    rc = repository_verify(r, REPOSITORY_READABLE, told, NULL, &damaged, &report, &e);
    repository_close(r);
    assert_true(rc == 0 || rc == ERR_INTEGRITY);
    assert_int_equal(rc != 0, damaged != 0);
    return damaged != 0 ? FOUND : report.unfinished > unfinished ? UNFINISHED : NOTHING;
}

/* What was being added to the operations log: of an addition that is done it says nothing any more. */
static bool is_over(const struct file *f)
{
    return strcmp(f->name, "operations/next") == 0;
}

static void assert_found(const struct file *f, const char *what, enum found least)
{
    enum found x = look();
    if (x < least && !is_over(f))
        fail_msg("%s, %s: %s", f->name, what,
                 x == NOTHING ? "nobody notices" : "only counted as unfinished");
}

/* An object without a meta is one that was never finished: a pack that is gone so leaves a gap, or the tree goes beyond the
 * packs. A snapshot or an index is counted as unfinished, and the site takes a new one, for nothing of them is the only place
 * of anything. The own key of a generation is made again by the archive's site; what it would tell, the objects' keys tell. */
static enum found when_deleted(const struct file *f)
{
    if (strcmp(f->name, "keys/1.key") == 0)
        return NOTHING;
    return strcmp(f->kind, "indexes/") == 0 || strcmp(f->kind, "snapshots/") == 0 ? UNFINISHED
                                                                                  : FOUND;
}

/* A verifier key is what stands before the line feed, and is the same without it. */
static enum found when_ended(const struct file *f)
{
    return strcmp(f->kind, "tree/keys") == 0 ? NOTHING : FOUND;
}

/* ---- tests ---- */

static void every_kind_of_file_is_there(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = 0;
        for (size_t k = 0; k < count; k++)
            n += files[k].kind == kinds[i];
        if (n == 0)
            fail_msg("no file of kind %s", kinds[i]);
    }
    assert_int_equal(look(), NOTHING);
}

static void every_deleted_file_is_missed(void **state)
{
    (void)state;
    for (size_t i = 0; i < count; i++) {
        char path[300];
        path_of(&files[i], path);
        assert_int_equal(unlink(path), 0);
        assert_found(&files[i], "deleted", when_deleted(&files[i]));
        put(&files[i], files[i].bytes, files[i].n);
    }
    assert_int_equal(look(), NOTHING);
}

static void flipped_bits_are_found_wherever_they_are(void **state)
{
    struct feed random = {0};
    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (unsigned k = 0; k < FLIPS; k++) {
            char what[80];
            uint64_t x = feed_random(&random);
            size_t at = k == 0 ? 0 : k == 1 ? files[i].n - 1 : (size_t)(x >> 8) % files[i].n;
            uint8_t bit = (uint8_t)(1u << (x & 7));
            files[i].bytes[at] ^= bit;
            put(&files[i], files[i].bytes, files[i].n);
            files[i].bytes[at] ^= bit;
            (void)snprintf(what, sizeof what, "bit 0x%02x of byte %zu of %zu flipped", bit, at,
                           files[i].n);
            assert_found(&files[i], what, FOUND);
        }
        put(&files[i], files[i].bytes, files[i].n);
    }
    assert_int_equal(look(), NOTHING);
}

static void a_file_that_was_cut_or_grew_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const struct file *f = &files[i];
        put(f, f->bytes, 0);
        assert_found(f, "emptied", FOUND);
        put(f, f->bytes, f->n / 2);
        assert_found(f, "cut in the middle", FOUND);
        put(f, f->bytes, f->n - 1);
        assert_found(f, "cut by its last byte", when_ended(f));
        uint8_t *longer = malloc(f->n + 1);
        memcpy(longer, f->bytes, f->n);
        longer[f->n] = '\n';
        put(f, longer, f->n + 1);
        assert_found(f, "with one byte more", when_ended(f));
        free(longer);
        put(f, f->bytes, f->n);
    }
    assert_int_equal(look(), NOTHING);
}

/* Each whole in itself, under the other's name. */
static void two_of_a_kind_that_were_exchanged_are_found(void **state)
{
    unsigned pairs = 0;
    (void)state;
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++) {
            char what[200];
            if (files[i].kind != files[k].kind)
                continue;
            put(&files[i], files[k].bytes, files[k].n);
            put(&files[k], files[i].bytes, files[i].n);
            (void)snprintf(what, sizeof what, "exchanged for %.160s", files[k].name);
            assert_found(&files[i], what, FOUND);
            put(&files[i], files[i].bytes, files[i].n);
            put(&files[k], files[k].bytes, files[k].n);
            pairs++;
        }
    assert_true(pairs > 20);
    assert_int_equal(look(), NOTHING);
}

/* Pack, meta and key together, which are whole and bound to each other. */
static void two_objects_that_were_exchanged_whole_are_found(void **state)
{
    static const char *const sets[][3] = {{".pack", "packs/", ".pack.key"},
                                          {".snap", "snapshots/", ".snap.key"},
                                          {".index", "indexes/", ".index.key"}};
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        const struct file *pair[3][2] = {{NULL}};
        for (size_t part = 0; part < 3; part++)
            for (size_t i = 0, n = 0; i < count && n < 2; i++)
                if (strcmp(files[i].kind, sets[s][part]) == 0)
                    pair[part][n++] = &files[i];
        for (size_t part = 0; part < 3; part++) {
            put(pair[part][0], pair[part][1]->bytes, pair[part][1]->n);
            put(pair[part][1], pair[part][0]->bytes, pair[part][0]->n);
        }
        assert_found(pair[0][0], "exchanged with meta and key", FOUND);
        for (size_t part = 0; part < 3; part++)
            for (size_t k = 0; k < 2; k++)
                put(pair[part][k], pair[part][k]->bytes, pair[part][k]->n);
    }
    assert_int_equal(look(), NOTHING);
}

static void a_pack_that_is_gone_with_all_its_files_is_missed(void **state)
{
    (void)state;
    for (int nth = 0; nth < PACKS; nth++) {
        int seen[3] = {0, 0, 0};
        static const char *const parts[] = {".pack", "packs/", ".pack.key"};
        const struct file *pack = NULL;
        char path[300];
        for (size_t i = 0; i < count; i++)
            for (size_t part = 0; part < 3; part++)
                if (strcmp(files[i].kind, parts[part]) == 0 && seen[part]++ == nth) {
                    path_of(&files[i], path);
                    assert_int_equal(unlink(path), 0);
                    pack = &files[i];
                }
        assert_non_null(pack);
        assert_found(pack, "gone with all its files", FOUND);
        for (size_t i = 0; i < count; i++)
            put(&files[i], files[i].bytes, files[i].n);
    }
    assert_int_equal(look(), NOTHING);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static int group_setup(void **state)
{
    (void)state;
    make();
    assert_int_equal(nftw(place.dir, add_file, 8, FTW_PHYS), 0);
    qsort(files, count, sizeof *files, by_name);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < count; i++)
        free(files[i].bytes);
    place_drop(&place);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_file_is_there),
        cmocka_unit_test(every_deleted_file_is_missed),
        cmocka_unit_test(flipped_bits_are_found_wherever_they_are),
        cmocka_unit_test(a_file_that_was_cut_or_grew_is_found),
        cmocka_unit_test(two_of_a_kind_that_were_exchanged_are_found),
        cmocka_unit_test(two_objects_that_were_exchanged_whole_are_found),
        cmocka_unit_test(a_pack_that_is_gone_with_all_its_files_is_missed),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
