/* Generations of keys: rotation adds one and changes no object, is taken up where it was stopped, and a site that seals follows;
 * retiring leaves nothing behind; and whoever has the wrong key is told which he needs. */
#include "tests/unit/repository/fixture.h"

#include "repository/io/archive.h"
#include "repository/keys.h"
#include "store/core/hash.h"

static const char second_kek[] = "1111111111111111111111111111111111111111111111111111111111111111";
static const char third_kek[] = "3333333333333333333333333333333333333333333333333333333333333333";

struct bench {
    struct place place;
    struct feed feed;
    struct damages damages;
    char second[96], third[96];
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    place_make(&b->place);
    (void)snprintf(b->second, sizeof b->second, "%.80s/second", b->place.root);
    (void)snprintf(b->third, sizeof b->third, "%.80s/third", b->place.root);
    write_file(b->second, second_kek, sizeof second_kek - 1, 0600);
    write_file(b->third, third_kek, sizeof third_kek - 1, 0600);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    feed_drop(&b->feed);
    place_drop(&b->place);
    free(b);
    return 0;
}

static void seal_packs(struct bench *b, struct repository *r, unsigned packs)
{
    struct err e = ERR_NONE;
    for (unsigned i = 0; i < packs; i++) {
        feed_mixed(&b->feed, 5);
        assert_ok(feed_seal(&b->feed, r, NULL, NULL, &e), e);
    }
}

static int open_with(const struct bench *b, const char *kek, bool write, struct repository **r,
                     struct err *e)
{
    *e = (struct err)ERR_NONE;
    return repository_open(
        r, &(struct repository_options){.dir = b->place.dir, .kek_file = kek, .read_only = !write},
        e);
}

static struct repository *opened(const struct bench *b, const char *kek, bool write)
{
    struct repository *r;
    struct err e;
    assert_ok(open_with(b, kek, write, &r, &e), e);
    return r;
}

static int rotate(struct bench *b, const char *from, const char *to,
                  struct repository_keys_report *out, struct err *e)
{
    struct repository *r = opened(b, from, false);
    b->damages = (struct damages){0};
    const struct repository_keys_work work = {.damage = note_damage, .arg = &b->damages};
    int rc = repository_keys_rotate(r, to, &work, out, e);
    repository_close(r);
    return rc;
}

static int check_keys(struct bench *b, const char *kek, unsigned generation,
                      struct repository_keys_report *out, struct err *e)
{
    struct repository *r = opened(b, kek, false);
    b->damages = (struct damages){0};
    const struct repository_keys_work work = {.damage = note_damage, .arg = &b->damages};
    int rc = repository_keys_check(r, generation, &work, out, e);
    repository_close(r);
    return rc;
}

static int retire(struct bench *b, const char *kek, unsigned generation,
                  struct repository_keys_report *out, struct err *e)
{
    struct repository *r = opened(b, kek, false);
    b->damages = (struct damages){0};
    const struct repository_keys_work work = {.damage = note_damage, .arg = &b->damages};
    int rc = repository_keys_retire(r, generation, &work, out, e);
    repository_close(r);
    return rc;
}

/* Everything can be read with that key. */
static void assert_whole(struct bench *b, const char *kek)
{
    struct repository *r = opened(b, kek, false);
    struct repository_report report;
    struct err e = ERR_NONE;
    assert_ok(repository_verify(r, REPOSITORY_READABLE, NULL, NULL, NULL, &report, &e), e);
    assert_archived(r, &b->feed, b->feed.n);
    repository_close(r);
}

static struct sha256 hash_of_packs(const struct bench *b)
{
    char path[300];
    struct sha256 all = {{0}};
    for (unsigned i = 0; i < 3; i++) {
        size_t n;
        find_object(&b->place, "packs", ".pack", i, path);
        uint8_t *p = slurp(path, &n);
        all = hash_sha256_2(bytes_of(all.b, sizeof all.b), bytes_of(p, n));
        free(p);
    }
    return all;
}

static void rotation_adds_keys_and_changes_no_pack(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 3);
    repository_close(r);
    struct sha256 before = hash_of_packs(b);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    assert_int_equal(done.generation, 2);
    assert_true(done.begun);
    assert_int_equal(done.added, 3);
    assert_int_equal(done.compared, 0);
    struct sha256 after = hash_of_packs(b);
    assert_true(sha256_equal(&before, &after));
    assert_whole(b, b->place.kek);
    assert_whole(b, b->second);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e); /* again: nothing to do */
    assert_int_equal(done.generation, 2);
    assert_false(done.begun);
    assert_int_equal(done.added, 0);
    assert_int_equal(done.compared, 3);
    assert_ok(check_keys(b, b->second, 0, &done, &e), e);
    assert_int_equal(done.generation, 2);
    assert_int_equal(done.compared, 3);
    assert_ok(check_keys(b, b->place.kek, 1, &done, &e), e);
    assert_int_equal(check_keys(b, b->second, 7, &done, &e), ERR_NOT_FOUND);
}

/* As a killed rotation leaves it: begun, some keys, a temporary file. */
static void an_interrupted_rotation_is_taken_up(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct err e = ERR_NONE;
    char path[300];
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 3);
    repository_close(r);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    find_object(&b->place, "keys/2", ".key", 1, path);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/keys/2/.tmp-00000001", b->place.dir);
    write_file(path, "half", 4, 0440);
    assert_whole(b, b->place.kek); /* nobody is hurt meanwhile */
    assert_int_equal(check_keys(b, b->second, 2, &done, &e), ERR_INTEGRITY);
    assert_int_equal(b->damages.n, 1);
    assert_non_null(strstr(b->damages.reason, "no key in this generation"));
    assert_int_equal(retire(b, b->second, 1, &done, &e), ERR_INTEGRITY);
    /* Who has the new key only is told where the missing one is. */
    r = opened(b, b->second, false);
    b->damages = (struct damages){0};
    struct repository_report report;
    assert_int_equal(
        repository_verify(r, REPOSITORY_PRESENT, note_damage, NULL, &b->damages, &report, &e),
        ERR_INTEGRITY);
    assert_non_null(strstr(b->damages.all, "its key is in generation 1 only"));
    assert_non_null(strstr(b->damages.all, "finish 'triveni archive keys rotate'"));
    repository_close(r);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    assert_int_equal(done.added, 1);
    assert_int_equal(done.compared, 2);
    assert_int_not_equal(access(path, F_OK), 0); /* the temporary file is gone */
    assert_whole(b, b->second);
}

static void a_retired_generation_is_gone_and_its_key_is_named(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct err e = ERR_NONE;
    char path[300];
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 3);
    repository_close(r);
    assert_int_equal(retire(b, b->place.kek, 1, &done, &e), ERR_CONDITION); /* the only one */
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    assert_int_equal(retire(b, b->place.kek, 1, &done, &e), ERR_CONDITION); /* its own key */
    assert_ok(retire(b, b->second, 1, &done, &e), e);
    assert_int_equal(done.gone, 3);
    assert_int_equal(done.compared, 3);
    assert_whole(b, b->second);
    assert_int_equal(open_with(b, b->place.kek, false, &r, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "generation 1 was retired"));
    assert_non_null(strstr(e.text, "generation 2 is under KEK id"));
    assert_non_null(strstr(e.text, b->place.kek)); /* and where ours came from */
    /* Killed between the word and the removal: called again, it goes on. */
    (void)snprintf(path, sizeof path,
                   "%s/keys/1/00000000000000000001-00000000000000000005-1-00000000.pack.key",
                   b->place.dir);
    write_file(path, "left", 4, 0440);
    assert_ok(retire(b, b->second, 1, &done, &e), e);
    assert_int_equal(done.gone, 1);
    /* The number is not used again, and the old key may come back as a new generation. */
    assert_ok(rotate(b, b->second, b->place.kek, &done, &e), e);
    assert_int_equal(done.generation, 3);
    assert_whole(b, b->place.kek);
}

static void a_writer_goes_on_and_follows_when_its_source_gives_the_new_key(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct repository_status status;
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 2);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    seal_packs(b, r, 1); /* it has the old key and no other */
    repository_status(r, &status);
    assert_int_equal(status.generation, 1);
    assert_int_equal(status.awaited_generation, 2);
    assert_int_equal(check_keys(b, b->second, 2, &done, &e), ERR_INTEGRITY);
    assert_int_equal(b->damages.n, 1);
    assert_int_equal(retire(b, b->second, 1, &done, &e), ERR_INTEGRITY);
    char old[120];
    (void)snprintf(old, sizeof old, "%s.old", b->place.kek);
    assert_int_equal(rename(b->place.kek, old), 0); /* no key for a moment: it goes on */
    seal_packs(b, r, 1);
    write_file(b->place.kek, second_kek, sizeof second_kek - 1, 0600);
    seal_packs(b, r, 1);
    repository_status(r, &status);
    assert_int_equal(status.generation, 2);
    assert_int_equal(status.awaited_generation, 0);
    assert_ok(check_keys(b, b->second, 2, &done, &e), e);
    assert_int_equal(done.compared, 5);
    assert_ok(retire(b, b->second, 1, &done, &e), e);
    seal_packs(b, r, 1);
    repository_close(r);
    assert_whole(b, b->second);
    r = archive_open(&b->place, false); /* and when it is started anew */
    seal_packs(b, r, 1);
    repository_close(r);
    assert_whole(b, b->second);
}

/* The site was started with the new key before everything was under it: nothing is written, and it is told what to do. */
static void a_writer_with_the_new_key_alone_waits_for_the_rotation(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 2);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    seal_packs(b, r, 1);
    repository_close(r);
    r = opened(b, b->second, true);
    feed_mixed(&b->feed, 5);
    assert_int_equal(feed_seal(&b->feed, r, NULL, NULL, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "its key is in generation 1 only"));
    repository_close(r);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    r = opened(b, b->second, true);
    seal_packs(b, r, 1);
    repository_close(r);
    assert_whole(b, b->second);
}

static void a_writer_whose_generation_was_retired_stops(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 2);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    assert_ok(retire(b, b->second, 1, &done, &e), e);
    feed_mixed(&b->feed, 5);
    assert_int_equal(feed_seal(&b->feed, r, NULL, NULL, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "generation 1 was retired"));
    assert_non_null(strstr(e.text, "give it the new KEK"));
    write_file(b->place.kek, second_kek, sizeof second_kek - 1, 0600);
    assert_ok(feed_seal(&b->feed, r, NULL, NULL, &e), e); /* and goes on where it stopped */
    repository_close(r);
    assert_whole(b, b->second);
}

/* Keys are locked while one is written: retiring waits, and then looks again. */
static void retiring_waits_for_whoever_writes_a_key(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, false);
    int lock;
    seal_packs(b, r, 1);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    assert_ok(repo_keys_lock(r, false, false, &lock, &e), e);
    assert_int_equal(retire(b, b->second, 1, &done, &e), ERR_BUSY);
    assert_whole(b, b->place.kek);
    (void)close(lock);
    assert_ok(retire(b, b->second, 1, &done, &e), e);
    repository_close(r);
}

static void a_rotation_that_lost_its_key_is_given_up(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct err e = ERR_NONE;
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 2);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    assert_ok(rotate(b, b->place.kek, b->third, &done, &e), e); /* second was lost */
    assert_int_equal(done.generation, 3);
    assert_ok(retire(b, b->third, 2, &done, &e), e);
    seal_packs(b, r, 1);
    repository_close(r);
    assert_whole(b, b->place.kek);
    assert_int_equal(open_with(b, b->second, false, &r, &e), ERR_DENIED);
}

/* Whose generation it is cannot be told any more: perhaps ours. Nothing is written to it on that, by a writer that is open or by
 * one that begins; who has its KEK would not open what is. */
static void a_newer_generation_whose_own_file_is_damaged_is_not_written_to(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct repository_status status;
    struct err e = ERR_NONE;
    char path[300];
    size_t n;
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 1);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    (void)snprintf(path, sizeof path, "%s/keys/2.key", b->place.dir);
    uint8_t *text = slurp(path, &n);
    assert_int_equal(unlink(path), 0);
    write_file(path, text, n / 2, 0440);
    for (int begun = 0; begun < 2; begun++) {
        seal_packs(b, r, 1);
        repository_status(r, &status);
        assert_int_equal(status.generation, 1);
        repository_close(r);
        r = archive_open(&b->place, false);
    }
    repository_close(r);
    assert_int_equal(unlink(path), 0);
    write_file(path, text, n, 0440);
    free(text);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    assert_int_equal(done.generation, 2);
    assert_int_equal(done.added, 2);
    assert_whole(b, b->second);
}

static void damaged_keys_of_a_generation_are_named(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct err e = ERR_NONE;
    char path[300];
    size_t n;
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 2);
    repository_close(r);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    find_object(&b->place, "keys/2", ".key", 0, path);
    uint8_t *text = slurp(path, &n);
    for (size_t i = 0; i < n; i += 3) { /* every third byte, to be quick */
        text[i] ^= 1;
        assert_int_equal(unlink(path), 0);
        write_file(path, text, n, 0440);
        assert_int_equal(check_keys(b, b->second, 2, &done, &e), ERR_INTEGRITY);
        assert_int_equal(done.failed, 1);
        assert_non_null(strstr(b->damages.reason, "keys/2/"));
        text[i] ^= 1;
    }
    /* Taken for what it is in the other place: the seal has its name. */
    free(text);
    find_object(&b->place, "keys/1", ".key", 0, path);
    text = slurp(path, &n);
    find_object(&b->place, "keys/2", ".key", 0, path);
    assert_int_equal(unlink(path), 0);
    write_file(path, text, n, 0440);
    free(text);
    assert_int_equal(rotate(b, b->place.kek, b->second, &done, &e), ERR_INTEGRITY);
    assert_int_equal(done.failed, 1);
    assert_int_equal(unlink(path), 0); /* healed from the other generation */
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    assert_int_equal(done.added, 1);
    /* The generation's own key. */
    (void)snprintf(path, sizeof path, "%s/keys/2.key", b->place.dir);
    text = slurp(path, &n);
    assert_int_equal(unlink(path), 0);
    text[n / 2] ^= 1;
    write_file(path, text, n, 0440);
    free(text);
    assert_int_equal(check_keys(b, b->second, 2, &done, &e), ERR_INTEGRITY);
    r = opened(b, b->second, false);
    struct repository_report report;
    b->damages = (struct damages){0};
    assert_int_equal(
        repository_verify(r, REPOSITORY_PRESENT, note_damage, NULL, &b->damages, &report, &e),
        ERR_INTEGRITY);
    assert_string_equal(b->damages.object, "keys/2.key");
    assert_archived(r, &b->feed, b->feed.n); /* its keys still open everything */
    repository_close(r);
}

/* Archives from before generations had keys of their own. */
static void an_older_archive_gets_a_key_of_its_generation(void **state)
{
    struct bench *b = *state;
    struct err e = ERR_NONE;
    char path[300];
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 2);
    repository_close(r);
    (void)snprintf(path, sizeof path, "%s/keys/1.key", b->place.dir);
    assert_int_equal(unlink(path), 0);
    assert_whole(b, b->place.kek);
    assert_int_equal(open_with(b, b->second, false, &r, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "not the one of this archive"));
    assert_int_equal(open_with(b, b->second, true, &r, &e), ERR_DENIED);
    assert_int_not_equal(access(path, F_OK), 0);
    repository_close(archive_open(&b->place, false));
    assert_int_equal(access(path, F_OK), 0);
}

static void an_empty_archive_knows_its_key(void **state)
{
    struct bench *b = *state;
    struct err e = ERR_NONE;
    struct repository *r;
    repository_close(archive_open(&b->place, false));
    assert_int_equal(open_with(b, b->second, false, &r, &e), ERR_DENIED);
    assert_int_equal(open_with(b, b->second, true, &r, &e), ERR_DENIED);
}

static int note_generation(void *arg, const struct repository_generation *g)
{
    struct repository_generation *at = arg;
    assert_true(g->number >= 1 && g->number <= 3);
    at[g->number - 1] = *g;
    return 0;
}

static void generations_are_listed_without_a_key(void **state)
{
    struct bench *b = *state;
    struct repository_keys_report done;
    struct err e = ERR_NONE;
    char path[300];
    struct repository_generation at[3] = {0};
    struct repository *r = archive_open(&b->place, false);
    seal_packs(b, r, 2);
    repository_close(r);
    assert_ok(rotate(b, b->place.kek, b->second, &done, &e), e);
    assert_ok(rotate(b, b->second, b->third, &done, &e), e);
    assert_ok(retire(b, b->second, 1, &done, &e), e);
    find_object(&b->place, "keys/3", ".key", 0, path);
    assert_int_equal(unlink(path), 0);
    assert_ok(repository_generations(b->place.dir, note_generation, at, &e), e);
    assert_true(at[0].retired.us != 0);
    assert_int_equal(at[0].keys, 0);
    assert_int_equal(at[1].keys, 2);
    assert_int_equal(at[2].keys, 1);
    assert_int_equal(at[2].objects, 2);
    assert_string_equal(at[2].kek_id, done.kek_id[0] != '\0' ? at[2].kek_id : "");
    assert_int_equal(strlen(at[0].kek_id), 16);
    assert_string_not_equal(at[0].kek_id, at[1].kek_id);
    assert_int_equal(repository_generations(b->place.root, note_generation, at, &e), ERR_NOT_FOUND);
}

int main(void)
{
#define on_a_bench(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        on_a_bench(rotation_adds_keys_and_changes_no_pack),
        on_a_bench(an_interrupted_rotation_is_taken_up),
        on_a_bench(a_retired_generation_is_gone_and_its_key_is_named),
        on_a_bench(a_writer_goes_on_and_follows_when_its_source_gives_the_new_key),
        on_a_bench(a_writer_with_the_new_key_alone_waits_for_the_rotation),
        on_a_bench(a_writer_whose_generation_was_retired_stops),
        on_a_bench(retiring_waits_for_whoever_writes_a_key),
        on_a_bench(a_rotation_that_lost_its_key_is_given_up),
        on_a_bench(a_newer_generation_whose_own_file_is_damaged_is_not_written_to),
        on_a_bench(damaged_keys_of_a_generation_are_named),
        on_a_bench(an_older_archive_gets_a_key_of_its_generation),
        on_a_bench(an_empty_archive_knows_its_key),
        on_a_bench(generations_are_listed_without_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
