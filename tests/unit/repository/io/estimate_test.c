/* How long a restore would take: told from a sample, whatever there is to read, and nothing is left behind. */
#include "tests/unit/repository/fixture.h"

static void an_estimate_is_of_what_is_read_and_leaves_nothing(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {.random = 7};
    struct err e = ERR_NONE;
    struct restore_plan plan;
    struct repository_estimate some, all, early;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    uint64_t sealed = 0, first = 0;
    for (unsigned i = 0; i < 4; i++) {
        const size_t before = f.n;
        feed_mixed(&f, 300);
        assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
        sealed += f.n - before;
        first = i == 0 ? sealed : first;
    }
    assert_ok(repository_plan(r, &(struct restore_target){.point = NULL}, &plan, &e), e);
    assert_ok(repository_estimate(r, &plan, true, p.root, &all, &e), e);
    assert_ok(repository_estimate(r, &plan, false, p.root, &some, &e), e);
    assert_int_equal(all.plain_bytes, sealed);
    assert_true(all.sampled_bytes > 0 && all.sampled_bytes <= sealed);
    assert_true(all.read_rate > 0 && all.write_rate > 0);
    assert_true(all.seconds > 0 && some.seconds > 0);
    assert_ok(repository_plan(r, &(struct restore_target){.lsn = {2}}, &plan, &e), e);
    assert_ok(repository_estimate(r, &plan, true, p.root, &early, &e), e);
    assert_int_equal(early.plain_bytes, first);

    DIR *d = opendir(p.root);
    assert_non_null(d);
    for (const struct dirent *x = readdir(d); x != NULL; x = readdir(d))
        assert_null(strstr(x->d_name, ".triveni"));
    (void)closedir(d);
    assert_ok(repository_estimate(r, &plan, true, "/nowhere/at/all", &early, &e), e);
    assert_true(early.write_rate == 0 && early.seconds > 0); /* it is said when it is tried */
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

static void a_sample_is_a_small_part_of_what_there_is(void **state)
{
    (void)state;
    enum { RECORD_BYTES = 128 << 10, RECORDS = 24, LEAST_BYTES = 256 << 10 };
    static uint8_t value[RECORD_BYTES];
    struct place p;
    struct feed f = {.random = 9};
    struct err e = ERR_NONE;
    struct restore_plan plan;
    struct repository_estimate x;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    for (unsigned i = 0; i < RECORDS; i++)
        feed_put(&f, "c", "k", value, sizeof value);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    assert_ok(repository_plan(r, &(struct restore_target){.point = NULL}, &plan, &e), e);
    assert_ok(repository_estimate(r, &plan, true, p.root, &x, &e), e);
    assert_in_range(x.sampled_bytes, LEAST_BYTES, LEAST_BYTES + RECORD_BYTES + 1024);
    assert_true(x.plain_bytes > (uint64_t)RECORDS * RECORD_BYTES);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

static void damage_in_the_sample_is_told(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {.random = 8};
    struct err e = ERR_NONE;
    struct restore_plan plan;
    struct repository_estimate x;
    char path[300];
    size_t n;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    feed_mixed(&f, 300);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    assert_ok(repository_plan(r, &(struct restore_target){.point = NULL}, &plan, &e), e);
    find_object(&p, "packs", ".pack", 0, path);
    uint8_t *bytes = slurp(path, &n);
    bytes[n / 4] ^= 1;
    assert_int_equal(unlink(path), 0);
    write_file(path, bytes, n, 0600);
    free(bytes);
    assert_int_equal(repository_estimate(r, &plan, true, p.root, &x, &e), ERR_INTEGRITY);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_estimate_is_of_what_is_read_and_leaves_nothing),
        cmocka_unit_test(a_sample_is_a_small_part_of_what_there_is),
        cmocka_unit_test(damage_in_the_sample_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
