/* Whatever somebody does to one file of an archive is found by who opens it and verifies it: each file deleted, cut, with a
 * flipped bit at many places, and exchanged for each other of its kind. Who has no key-encryption key finds the same, except
 * where a seal alone would tell: in the files of keys, and in what a meta says beyond what was signed. What a single archive
 * cannot tell by itself, that all of it was put back to an earlier day, the sites tell: witness_test.c,
 * tests/integration/cosign.sh. */
#include "repository/history.h"
#include "repository/proof.h"
#include "repository/repository.h"
#include "store/core/hash.h"
#include "store/core/hex.h"
#include "tests/unit/repository/fixture.h"
#include "tests/unit/rounds.h"

#include <stdbool.h>

enum { FILES_MAX = 96, FLIPS = ROUNDS(12, 4), PACKS = 3, ENTRIES = 90 };

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
    f->bytes[f->n] = '\0'; /* of texts */
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

static bool keyless; /* who looks has no key */

static enum found look(void)
{
    struct repository *r = NULL;
    struct repository_report report;
    struct err e = ERR_NONE;
    unsigned damaged = 0;
    const struct repository_options o = {
        .dir = place.dir, .kek_file = keyless ? NULL : place.kek, .read_only = true};
    int rc = repository_open(&r, &o, &e);
    if (rc != 0) {
        assert_true(e.text[0] != '\0' && rc != ERR_NO_MEMORY);
        return FOUND;
    }
    rc = repository_verify(r, keyless ? REPOSITORY_INTACT : REPOSITORY_READABLE, told, NULL,
                           &damaged, &report, &e);
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

/* Only a seal would tell: of keys; of metas, as long as they say what was signed. */
static bool only_sealed(const struct file *f, const char *what)
{
    static const char *const sealed[] = {".pack.key", ".snap.key",  ".index.key", "keys/",
                                         "packs/",    "snapshots/", "indexes/"};
    const size_t keys = 4, all = sizeof sealed / sizeof sealed[0];
    size_t kind = 0;
    while (kind < all && strcmp(f->kind, sealed[kind]) != 0)
        kind++;
    return kind < all &&
           (strstr(what, "flipped") != NULL || (kind < keys && strncmp(what, "exchanged", 9) == 0));
}

static void assert_found(const struct file *f, const char *what, enum found least)
{
    enum found x = look();
    if (x < least && !is_over(f) && !(keyless && only_sealed(f, what)))
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

/* ---- who has no key ---- */

static const struct file *nth_of(const char *kind, size_t n)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(files[i].kind, kind) == 0 && n-- == 0)
            return &files[i];
    fail_msg("no such file of kind %s", kind);
    return NULL;
}

/* The file with `from` in the place of each `to`, which is as long. */
static void put_edited(const struct file *f, const char *from, const char *to)
{
    uint8_t *text = malloc(f->n + 1);
    size_t n = strlen(from), found = 0;
    assert_int_equal(n, strlen(to));
    memcpy(text, f->bytes, f->n);
    for (size_t at = 0; at + n <= f->n; at++)
        if (memcmp(text + at, from, n) == 0) {
            memcpy(text + at, to, n);
            found++;
        }
    assert_true(found != 0);
    put(f, text, f->n);
    free(text);
}

/* Size and SHA-256 in a meta that nobody can check were made to fit: the operations log names others. */
static void an_object_that_was_changed_with_its_meta_is_found_without_a_key(void **state)
{
    static const char *const objects[][2] = {{".pack", "packs/"}, {".snap", "snapshots/"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct file *object = nth_of(objects[i][0], 1), *meta = nth_of(objects[i][1], 1);
        char was[65], is[65];
        struct sha256 h = hash_sha256(bytes_of(object->bytes, object->n));
        hex_format(h.b, sizeof h.b, was);
        object->bytes[object->n / 2] ^= 1;
        h = hash_sha256(bytes_of(object->bytes, object->n));
        hex_format(h.b, sizeof h.b, is);
        put(object, object->bytes, object->n);
        put_edited(meta, was, is);
        assert_found(object, "changed with its meta", FOUND);
        object->bytes[object->n / 2] ^= 1;
        put(object, object->bytes, object->n);
        put(meta, meta->bytes, meta->n);
    }
    assert_int_equal(look(), NOTHING);
}

/* Two metas that agree on where one pack ends and the next begins, and on nothing that was signed. */
static void packs_that_meet_elsewhere_are_found_without_a_key(void **state)
{
    const struct file *first = nth_of("packs/", 0), *second = nth_of("packs/", 1);
    static const char end[] = "\"end\":{\"lsn\":";
    (void)state;
    const char *at = strstr((const char *)first->bytes, end);
    assert_non_null(at);
    at = strstr(at, "\"hash\":\"");
    assert_non_null(at);
    char was[65] = "", is[65] = "";
    memcpy(was, at + 8, 64);
    memcpy(is, was, 64);
    is[5] = is[5] == '0' ? '1' : '0';
    put_edited(first, was, is);
    put_edited(second, was, is);
    assert_found(first, "with another end", FOUND);
    put(first, first->bytes, first->n);
    put(second, second->bytes, second->n);
    assert_int_equal(look(), NOTHING);
}

static void a_mark_that_nobody_signed_is_found_without_a_key(void **state)
{
    const struct file *meta = nth_of("packs/", 1), *key = nth_of(".pack.key", 1);
    struct file mark = *meta, sealing = *key;
    char path[300];
    (void)state;
    (void)snprintf(strstr(mark.name, ".meta"), 12, ".disposed");
    (void)snprintf(sealing.name, sizeof sealing.name, "keys/1/disposed.key");
    char *text = malloc(meta->n + 400);
    const char *line = strchr((const char *)meta->bytes, '\n');
    int n = snprintf(text, meta->n + 400,
                     "%.*s,\"disposed\":{\"nonce\":\"%032d\",\"lsn\":1,\"time_us\":1,"
                     "\"warrant_sha256\":\"%064d\"}}%s",
                     (int)(line - (const char *)meta->bytes) - 1, (const char *)meta->bytes, 0, 0,
                     line);
    put(&mark, text, (size_t)n);
    put(&sealing, key->bytes, key->n);
    path_of(key, path);
    assert_int_equal(unlink(path), 0);
    assert_found(&mark, "made up", FOUND);
    put(key, key->bytes, key->n);
    path_of(&mark, path);
    assert_int_equal(unlink(path), 0);
    path_of(&sealing, path);
    assert_int_equal(unlink(path), 0);
    free(text);
    assert_int_equal(look(), NOTHING);
}

static void what_takes_a_key_is_refused_without_one(void **state)
{
    struct repository *r = NULL;
    struct repository_report report;
    struct restore_plan plan;
    struct err e = ERR_NONE;
    uint64_t leaves;
    const struct repository_options o = {.dir = place.dir, .read_only = true};
    (void)state;
    assert_ok(repository_open(&r, &o, &e), e);
    assert_ok(repository_verify(r, REPOSITORY_PRESENT, NULL, NULL, NULL, &report, &e), e);
    leaves = report.operations;
    assert_true(leaves == 5 && report.unnamed == 0);
    assert_int_equal(report.proven, PACKS * (ENTRIES + 1));
    assert_int_equal(repository_verify(r, REPOSITORY_READABLE, NULL, NULL, NULL, &report, &e),
                     ERR_DENIED);
    e = (struct err)ERR_NONE;
    assert_int_equal(repository_entries(r, (struct lsn){1}, (struct lsn){1}, NULL, NULL, &e),
                     ERR_DENIED);
    assert_int_equal(repository_plan(r, &(struct restore_target){.lsn = {5}}, &plan, &e),
                     ERR_DENIED);
    repository_close(r);
}

static int refuse(void *arg, const char *file, struct bytes note, struct err *e)
{
    const char *which = arg;
    assert_true(note.n != 0);
    return strcmp(file, which) == 0 ? err_set(e, ERR_INTEGRITY, "signed by somebody else") : 0;
}

static void a_signature_that_is_not_vouched_for_is_damage(void **state)
{
    static const char *const notes[] = {"tree/checkpoint", "operations/checkpoint", "none"};
    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (int with_key = 0; with_key < 2; with_key++) {
            struct repository *r = NULL;
            struct repository_report report;
            struct damages d = {0};
            struct err e = ERR_NONE;
            char which[32];
            const struct repository_options o = {
                .dir = place.dir, .kek_file = with_key ? place.kek : NULL, .read_only = true};
            (void)snprintf(which, sizeof which, "%s", notes[i]);
            assert_ok(repository_open(&r, &o, &e), e);
            repository_vouch(r, refuse, which);
            int rc = repository_verify(r, REPOSITORY_INTACT, note_damage, NULL, &d, &report, &e);
            assert_int_equal(rc, i < 2 ? ERR_INTEGRITY : 0);
            assert_int_equal(d.n != 0, i < 2);
            assert_true(i == 2 || strstr(d.all, "signed by somebody else") != NULL);
            repository_close(r);
        }
}

static void without_a_log_nothing_is_verified_without_a_key(void **state)
{
    struct repository *r = NULL;
    struct repository_report report;
    struct err e = ERR_NONE;
    char command[600];
    const struct repository_options o = {.dir = place.dir, .read_only = true};
    (void)state;
    (void)snprintf(command, sizeof command, "cd %s && mv tree ../t && mv operations ../o",
                   place.dir);
    assert_int_equal(system(command),
                     0); /* NOLINT(cert-env33-c): a directory that this test made */
    assert_ok(repository_open(&r, &o, &e), e);
    assert_int_equal(repository_verify(r, REPOSITORY_INTACT, NULL, NULL, NULL, &report, &e),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "give the key-encryption key"));
    repository_close(r);
    (void)snprintf(command, sizeof command, "cd %s && mv ../t tree && mv ../o operations",
                   place.dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    assert_int_equal(look(), NOTHING);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static int group_setup(void **state)
{
    (void)state;
    count = 0;
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
    const struct CMUnitTest without_key[] = {
        cmocka_unit_test(an_object_that_was_changed_with_its_meta_is_found_without_a_key),
        cmocka_unit_test(packs_that_meet_elsewhere_are_found_without_a_key),
        cmocka_unit_test(a_mark_that_nobody_signed_is_found_without_a_key),
        cmocka_unit_test(what_takes_a_key_is_refused_without_one),
        cmocka_unit_test(a_signature_that_is_not_vouched_for_is_damage),
        cmocka_unit_test(without_a_log_nothing_is_verified_without_a_key),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_file_is_there),
        cmocka_unit_test(every_deleted_file_is_missed),
        cmocka_unit_test(flipped_bits_are_found_wherever_they_are),
        cmocka_unit_test(a_file_that_was_cut_or_grew_is_found),
        cmocka_unit_test(two_of_a_kind_that_were_exchanged_are_found),
        cmocka_unit_test(two_objects_that_were_exchanged_whole_are_found),
        cmocka_unit_test(a_pack_that_is_gone_with_all_its_files_is_missed),
    };
    int failed = cmocka_run_group_tests(tests, group_setup, group_teardown);
    keyless = true;
    failed += cmocka_run_group_tests_name("without a key", tests, group_setup, group_teardown);
    failed += cmocka_run_group_tests(without_key, group_setup, group_teardown);
    return failed;
}
