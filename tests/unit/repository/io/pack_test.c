/* Packs through the public interface: what is sealed comes back, and nothing else ever does. */
#include "store/core/hash.h"
#include "tests/unit/repository/fixture.h"
#include "tests/unit/repository/io/trouble_kit.h"

#include "repository/io/archive.h"

#include <sys/wait.h>

static void sealed_entries_come_back(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    uint8_t *big = calloc(1, VALUE_MAX_BYTES);
    assert_non_null(big);
    for (size_t i = 0; i < VALUE_MAX_BYTES; i += 97)
        big[i] = (uint8_t)feed_random(&f);

    feed_noop(&f, 1);
    feed_mixed(&f, 2000);
    feed_point(&f, "before the move");
    assert_ok(feed_seal(&f, r, known_digest, NULL, &e), e);
    feed_put(&f, "court-files", "scan", big, VALUE_MAX_BYTES);
    feed_mixed(&f, 10);
    assert_ok(feed_seal(&f, r, known_digest, NULL, &e), e);
    feed_noop(&f, 7);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    assert_archived(r, &f, f.n);

    /* The same through a fresh reader. */
    repository_close(r);
    r = archive_open(&p, true);
    assert_archived(r, &f, f.n);
    struct repository_status s;
    repository_status(r, &s);
    assert_int_equal(s.packs, 3);
    assert_int_equal(s.points, 1);
    assert_int_equal(s.first.v, 1);
    assert_int_equal(s.archived.lsn.v, f.at.lsn.v);
    assert_int_equal(s.archived.term.v, 7);
    assert_memory_equal(&s.archived.hash, &f.at.hash, 32);
    assert_int_equal(s.plain_bytes, f.n);
    assert_int_equal(s.damaged, 0);
    assert_int_equal(s.unfinished, 0);
    assert_true(s.pack_bytes < s.plain_bytes / 2);

    struct repository_report report;
    assert_ok(repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &(struct damages){0},
                                &report, &e),
              e);
    assert_int_equal(report.objects, 3);
    assert_int_equal(report.entries, f.at.lsn.v);
    repository_close(r);
    free(big);
    feed_drop(&f);
    place_drop(&p);
}

struct lsn_range {
    uint64_t first, last, n;
    int stop_at;
};

static int note_range(void *arg, const struct entry_view *v)
{
    struct lsn_range *x = arg;
    if (x->n++ == 0)
        x->first = v->header.lsn.v;
    x->last = v->header.lsn.v;
    return x->stop_at != 0 && v->header.lsn.v == (uint64_t)x->stop_at ? 1 : 0;
}

static void a_range_is_given_exactly(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    for (int i = 0; i < 4; i++) {
        feed_mixed(&f, 1000); /* several frames each */
        assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    }
    static const uint64_t ranges[][2] = {{1, 1},       {1, 4000},    {999, 1001}, {1000, 1000},
                                         {1001, 1001}, {2500, 3700}, {4000, 4000}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        struct lsn_range x = {0};
        assert_ok(repository_entries(r, (struct lsn){ranges[i][0]}, (struct lsn){ranges[i][1]},
                                     note_range, &x, &e),
                  e);
        assert_int_equal(x.first, ranges[i][0]);
        assert_int_equal(x.last, ranges[i][1]);
        assert_int_equal(x.n, ranges[i][1] - ranges[i][0] + 1);
    }
    /* The callback's own result comes back, whatever it is. */
    struct lsn_range x = {.stop_at = 1500};
    assert_int_equal(
        repository_entries(r, (struct lsn){1400}, (struct lsn){3000}, note_range, &x, &e), 1);
    assert_int_equal(x.last, 1500);
    assert_int_equal(
        repository_entries(r, (struct lsn){4001}, (struct lsn){5000}, note_range, &x, &e),
        ERR_NOT_FOUND);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

/* Another body than the hash in the header names, and all checksums as they should be. */
static void forge_body(uint8_t *entry)
{
    enum { BODY_BYTES_AT = 8, HEADER_CRC_AT = 12, BODY_CRC_AT = 16 };
    const size_t n = get_le32(entry + BODY_BYTES_AT);
    entry[ENTRY_HEADER_BYTES + 20] ^= 1;
    put_le32(entry + BODY_CRC_AT, hash_crc32c(0, bytes_of(entry + ENTRY_HEADER_BYTES, n)));
    put_le32(entry + HEADER_CRC_AT,
             hash_crc32c_around(bytes_of(entry, ENTRY_HEADER_BYTES), HEADER_CRC_AT));
}

/* A body that nothing but its hash tells to be another one: read back, it is found. */
static void a_body_is_proven_by_what_was_read_back(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    struct repository_status s;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    feed_mixed(&f, 1);
    forge_body(f.p);
    assert_int_equal(repository_seal(r, f.p, f.n, NULL, NULL, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "hash mismatch"));
    repository_status(r, &s);
    assert_int_equal(s.packs, 0);
    repository_close(r);
    r = archive_open(&p, true);
    repository_status(r, &s);
    assert_int_equal(s.packs + s.unfinished, 0); /* nothing was left */
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

static void only_what_continues_is_sealed(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0}, other = {.random = 5};
    struct err e = ERR_NONE;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    feed_noop(&f, 3);
    feed_mixed(&f, 5);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    size_t first = f.n;

    /* Again; with a gap; of another history; of a lower term; of another cluster; damaged; cut; nothing. */
    assert_int_equal(repository_seal(r, f.p, first, NULL, NULL, &e), ERR_INTEGRITY);
    feed_mixed(&f, 1);
    size_t second = f.n;
    feed_mixed(&f, 1);
    assert_int_equal(repository_seal(r, f.p + second, f.n - second, NULL, NULL, &e), ERR_INTEGRITY);
    feed_noop(&other, 3);
    feed_mixed(&other, 5);
    size_t here = other.n;
    feed_mixed(&other, 1);
    assert_int_equal(repository_seal(r, other.p + here, other.n - here, NULL, NULL, &e),
                     ERR_INTEGRITY);
    other.at = f.at;
    other.at.lsn.v = 6;
    other.at.term.v = 2;
    here = other.n;
    feed_mixed(&other, 1);
    assert_int_equal(repository_seal(r, other.p + here, other.n - here, NULL, NULL, &e), ERR_STALE);
    assert_non_null(strstr(e.text, "term 2"));
    f.p[first + ENTRY_HEADER_BYTES + 20] ^= 1;
    assert_int_equal(repository_seal(r, f.p + first, f.n - first, NULL, NULL, &e), ERR_FORMAT);
    f.p[first + ENTRY_HEADER_BYTES + 20] ^= 1;
    assert_int_not_equal(repository_seal(r, f.p + first, f.n - first - 1, NULL, NULL, &e), 0);
    assert_int_equal(repository_seal(r, f.p, 0, NULL, NULL, &e), ERR_USAGE);
    /* None of them left anything. */
    struct repository_status s;
    repository_status(r, &s);
    assert_int_equal(s.packs, 1);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    repository_close(r);
    r = archive_open(&p, true);
    repository_status(r, &s);
    assert_int_equal(s.packs, 2);
    assert_int_equal(s.unfinished, 0);
    assert_archived(r, &f, f.n);
    assert_int_equal(feed_seal(&f, r, NULL, NULL, &e), ERR_DENIED);
    repository_close(r);
    feed_drop(&f);
    feed_drop(&other);
    place_drop(&p);
}

/* ---- damage ---- */

/* Open for reading and verify; every way of saying so counts, as long as the object is named. */
static void assert_damage_named(const struct place *p, const char *stem, const char *what,
                                size_t at)
{
    struct repository *r = NULL;
    struct err e = ERR_NONE;
    struct repository_report report;
    struct damages d = {0};
    struct repository_options o = {.dir = p->dir, .kek_file = p->kek, .read_only = true};
    int rc = repository_open(&r, &o, &e);
    if (rc != 0) {
        if (rc != ERR_INTEGRITY || strstr(e.text, stem) == NULL)
            fail_msg("%s, byte %zu: open says %d: %s", what, at, rc, e.text);
        return;
    }
    rc = repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e);
    if (rc != ERR_INTEGRITY || d.n == 0 || strstr(d.all, stem) == NULL)
        fail_msg("%s, byte %zu: verify says %d, %u damaged: %s", what, at, rc, d.n, d.all);
    /* The second level finds it too, without decoding. */
    d = (struct damages){0};
    rc = repository_verify(r, REPOSITORY_INTACT, note_damage, NULL, &d, &report, &e);
    if (rc != ERR_INTEGRITY || strstr(d.all, stem) == NULL)
        fail_msg("%s, byte %zu: level intact says %d: %s", what, at, rc, d.all);
    repository_close(r);
}

static void every_flipped_byte_is_found_in(const struct place *p, const char *folder,
                                           const char *end, const char *stem)
{
    char path[300];
    size_t n;
    find_object(p, folder, end, 0, path);
    uint8_t *text = slurp(path, &n);
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_WRONLY);
    for (size_t i = 0; i < n; i++) {
        uint8_t wrong = text[i] ^ (uint8_t)(1u << (i % 8));
        assert_int_equal(pwrite(fd, &wrong, 1, (off_t)i), 1);
        assert_damage_named(p, stem, end, i);
        assert_int_equal(pwrite(fd, &text[i], 1, (off_t)i), 1);
    }
    /* Cut and made longer. */
    assert_int_equal(ftruncate(fd, (off_t)n - 1), 0);
    assert_damage_named(p, stem, "cut", n - 1);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_damage_named(p, stem, "emptied", 0);
    assert_int_equal(pwrite(fd, text, n, 0), (ssize_t)n);
    assert_int_equal(ftruncate(fd, (off_t)n + 1), 0);
    assert_damage_named(p, stem, "longer", n);
    assert_int_equal(ftruncate(fd, (off_t)n), 0);
    close(fd);
    free(text);
}

static void every_flipped_byte_is_found(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    feed_point(&f, "a");
    feed_put(&f, "c", "k", "v", 1);
    assert_ok(feed_seal(&f, r, known_digest, NULL, &e), e);
    repository_close(r);
    every_flipped_byte_is_found_in(&p, "packs", ".pack", "00000000000000000001-");
    every_flipped_byte_is_found_in(&p, "packs", ".meta", "00000000000000000001-");
    every_flipped_byte_is_found_in(&p, "keys/1", ".key", "00000000000000000001-");
    every_flipped_byte_is_found_in(&p, ".", "pository.json", "repository.json");
    /* And back in order nothing is found. */
    struct repository_report report;
    r = archive_open(&p, true);
    assert_ok(repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &(struct damages){0},
                                &report, &e),
              e);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

static void make_three(struct place *p, struct feed *f)
{
    struct err e = ERR_NONE;
    place_make(p);
    struct repository *r = archive_open(p, false);
    for (int i = 0; i < 3; i++) {
        feed_mixed(f, 20);
        assert_ok(feed_seal(f, r, NULL, NULL, &e), e);
    }
    repository_close(r);
}

/* A reader must go on and tell; a writer must seal behind it, or refuse to, naming the object. */
static void assert_broken(const struct place *p, struct feed *f, const char *named, bool seals)
{
    struct err e = ERR_NONE;
    struct repository *r = archive_open(p, false);
    struct repository_status s;
    repository_status(r, &s);
    assert_true(s.damaged >= 1);
    assert_int_equal(s.archived.lsn.v, seals ? 60 : 20);
    feed_mixed(f, 1);
    int rc = feed_seal(f, r, NULL, NULL, &e);
    if (rc != (seals ? 0 : ERR_INTEGRITY) || (!seals && strstr(e.text, named) == NULL))
        fail_msg("sealing behind it says %d: %s", rc, e.text);
    repository_close(r);
    struct repository_report report;
    struct damages d = {0};
    r = archive_open(p, true);
    repository_status(r, &s);
    assert_true(s.damaged >= 1);
    assert_int_equal(repository_verify(r, REPOSITORY_PRESENT, note_damage, NULL, &d, &report, &e),
                     ERR_INTEGRITY);
    if (strstr(d.all, named) == NULL)
        fail_msg("verify tells: %s", d.all);
    struct lsn_range x = {0};
    assert_int_equal(repository_entries(r, (struct lsn){1}, (struct lsn){60}, note_range, &x, &e),
                     ERR_INTEGRITY);
    if (strstr(e.text, named) == NULL)
        fail_msg("entries says: %s", e.text);
    repository_close(r);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *end, *named;
        bool seals; /* its meta, or its neighbours, say where it begins and ends */
    } cases[] = {
        {"packs", ".pack", "00000000000000000021-00000000000000000040-1-", true},
        {"keys/1", ".key", "00000000000000000021-00000000000000000040-1-", true},
        {"packs", ".meta", "lsns 21..40 are missing", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct place p;
        struct feed f = {0};
        char path[300];
        make_three(&p, &f);
        find_object(&p, cases[i].folder, cases[i].end, 1, path);
        assert_int_equal(unlink(path), 0);
        assert_broken(&p, &f, cases[i].named, cases[i].seals);
        feed_drop(&f);
        place_drop(&p);
    }
}

static void swap_files(const char *a, const char *b)
{
    assert_int_equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
}

static void swapped_objects_are_found(void **state)
{
    (void)state;
    static const char *const ends[][2] = {
        {"packs", ".pack"}, {"packs", ".meta"}, {"keys/1", ".key"}};
    for (size_t i = 0; i < 3; i++) {
        struct place p;
        struct feed f = {0};
        struct err e = ERR_NONE;
        char one[300], two[300];
        struct damages d = {0};
        struct repository_report report;
        make_three(&p, &f);
        find_object(&p, ends[i][0], ends[i][1], 0, one);
        find_object(&p, ends[i][0], ends[i][1], 1, two);
        swap_files(one, two);
        struct repository *r = archive_open(&p, true);
        assert_int_equal(
            repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e),
            ERR_INTEGRITY);
        assert_int_equal(d.n, 2);
        repository_close(r);
        /* Swapped wholly (pack, meta and key) they are two objects under wrong names. */
        feed_drop(&f);
        place_drop(&p);
    }
}

static void a_vanished_last_pack_is_missed_by_who_knew_it(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    char path[300];
    struct damages d = {0};
    struct repository_report report;
    make_three(&p, &f);
    struct repository *r = archive_open(&p, true);
    find_object(&p, "packs", ".meta", 2, path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(repository_verify(r, REPOSITORY_PRESENT, note_damage, NULL, &d, &report, &e),
                     ERR_INTEGRITY);
    assert_non_null(strstr(d.all, "00000000000000000041-00000000000000000060-1-"));
    assert_int_equal(report.unfinished, 1);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

/* ---- keys and access ---- */

static int open_code(const struct place *p, bool create, struct err *e)
{
    struct repository *r = NULL;
    struct repository_options o = {.dir = p->dir,
                                   .kek_file = p->kek,
                                   .cluster_id = test_cluster,
                                   .cluster = "test",
                                   .create = create};
    int rc = repository_open(&r, &o, e);
    repository_close(r);
    return rc;
}

static void the_key_must_be_the_right_one_and_secret(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    char other[65];
    make_three(&p, &f);
    memcpy(other, test_kek, 65);
    other[5] = '7';
    write_file(p.kek, other, 64, 0600);
    assert_int_equal(open_code(&p, false, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "key-encryption key"));
    assert_int_equal(open_code(&p, true, &e), ERR_DENIED);
    for (mode_t mode = 0604; mode <= 0660; mode += 044 - 4) {
        write_file(p.kek, test_kek, 64, mode);
        assert_int_equal(open_code(&p, false, &e), ERR_DENIED);
        assert_non_null(strstr(e.text, "chmod 600"));
    }
    write_file(p.kek, test_kek, 63, 0600);
    assert_int_equal(open_code(&p, false, &e), ERR_FORMAT);
    write_file(p.kek, "00112233445566778899AABBCCDDEEFF0123456789abcdef0123456789abcdefxx\n", 67,
               0600);
    assert_int_equal(open_code(&p, false, &e), ERR_FORMAT);
    write_file(p.kek, test_kek, 64, 0400);
    assert_int_equal(open_code(&p, false, &e), 0);
    assert_int_equal(unlink(p.kek), 0);
    assert_int_equal(open_code(&p, false, &e), ERR_NOT_FOUND);
    feed_drop(&f);
    place_drop(&p);
}

static void there_is_one_writer_and_one_cluster(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    struct repository *reader = NULL;
    place_make(&p);
    assert_int_equal(open_code(&p, false, &e), ERR_NOT_FOUND);
    struct repository *r = archive_open(&p, false);
    assert_int_equal(open_code(&p, false, &e), ERR_BUSY);
    reader = archive_open(&p, true);
    repository_close(reader);
    repository_close(r);
    struct repository_options o = {
        .dir = p.dir, .kek_file = p.kek, .cluster_id = {{1}}, .read_only = true};
    assert_int_equal(repository_open(&r, &o, &e), ERR_CONFIG);
    assert_int_equal(open_code(&p, false, &e), 0);
    feed_drop(&f);
    place_drop(&p);
}

/* ---- crashes and failing disks ---- */

/* In a child: open, seal the second pack, leave when trouble strikes. 0 when nothing struck. */
static int seal_in_child(const struct place *p, struct feed *f, int after)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct repository *r = NULL;
        struct repository_options o = {.dir = p->dir, .kek_file = p->kek};
        trouble = TROUBLE_EXIT;
        trouble_after = after;
        if (repository_open(&r, &o, NULL) != 0 || feed_seal(f, r, NULL, NULL, NULL) != 0)
            _exit(1);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_crash_at_any_step_leaves_a_whole_archive(void **state)
{
    (void)state;
    for (int step = 0;; step++) {
        struct place p;
        struct feed f = {0};
        struct err e = ERR_NONE;
        struct repository_status s;
        place_make(&p);
        struct repository *r = archive_open(&p, false);
        feed_mixed(&f, 30);
        assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
        repository_close(r);
        size_t first = f.n;
        feed_mixed(&f, 30);
        int rc = seal_in_child(&p, &f, step);
        assert_true(rc == 0 || rc == 7);

        r = archive_open(&p, true);
        repository_status(r, &s);
        assert_int_equal(s.damaged, 0);
        assert_true(s.packs == 1 || s.packs == 2);
        assert_archived(r, &f, s.packs == 1 ? first : f.n);
        repository_close(r);
        /* The writer goes on from wherever the archive ends. */
        bool whole = s.packs == 2;
        r = archive_open(&p, false);
        f.mark = whole ? f.n : first;
        feed_mixed(&f, 3);
        assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
        assert_archived(r, &f, f.n);
        struct repository_report report;
        assert_ok(repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &(struct damages){0},
                                    &report, &e),
                  e);
        repository_close(r);
        feed_drop(&f);
        place_drop(&p);
        if (rc == 0) {
            assert_true(step > 15); /* key, pack and meta: write, sync, link, unlink, sync each */
            break;
        }
    }
}

static void a_failing_disk_is_told_and_harms_nothing(void **state)
{
    (void)state;
    bool fatal_seen = false;
    for (int kind = TROUBLE_EIO; kind <= TROUBLE_ENOSPC; kind++)
        for (int step = 0;; step++) {
            struct place p;
            struct feed f = {0};
            struct err e = ERR_NONE;
            struct repository_status s;
            place_make(&p);
            struct repository *r = archive_open(&p, false);
            feed_mixed(&f, 30);
            trouble = (enum trouble)kind;
            trouble_after = step;
            int rc = feed_seal(&f, r, NULL, NULL, &e);
            trouble = TROUBLE_NONE;
            if (rc == 0) {
                repository_close(r);
                feed_drop(&f);
                place_drop(&p);
                break;
            }
            assert_true(rc == ERR_IO || rc == ERR_NO_SPACE);
            assert_non_null(strstr(e.text, "sealing lsns 1..30"));
            if (strstr(e.text, "fatal") != NULL) {
                /* After a failed sync this repository writes nothing more. */
                fatal_seen = true;
                assert_int_equal(rc, ERR_IO);
                assert_int_equal(feed_seal(&f, r, NULL, NULL, &e), ERR_IO);
                assert_non_null(strstr(e.text, "nothing is written any more"));
            } else {
                assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
            }
            repository_close(r);
            r = archive_open(&p, true);
            repository_status(r, &s);
            assert_int_equal(s.damaged, 0);
            assert_true(s.packs <= 1);
            repository_close(r);
            feed_drop(&f);
            place_drop(&p);
        }
    assert_true(fatal_seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sealed_entries_come_back),
        cmocka_unit_test(a_range_is_given_exactly),
        cmocka_unit_test(a_body_is_proven_by_what_was_read_back),
        cmocka_unit_test(only_what_continues_is_sealed),
        cmocka_unit_test(every_flipped_byte_is_found),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(swapped_objects_are_found),
        cmocka_unit_test(a_vanished_last_pack_is_missed_by_who_knew_it),
        cmocka_unit_test(the_key_must_be_the_right_one_and_secret),
        cmocka_unit_test(there_is_one_writer_and_one_cluster),
        cmocka_unit_test(a_crash_at_any_step_leaves_a_whole_archive),
        cmocka_unit_test(a_failing_disk_is_told_and_harms_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
