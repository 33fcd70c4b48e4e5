/* The entries of a pack that is made again, gathered from a log: however large they are, and with a bound. */
#include "tests/unit/replication/parts_kit.h"

enum { ENTRIES = 30, LARGE = 300000 };

static int from_log(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
                    size_t *used, size_t *count, struct err *e)
{
    return log_read(arg, from, to, buf, cap, used, count, e);
}

static void entries_that_are_larger_than_a_pack_are_read_whole(void **state)
{
    struct parts *p = *state;
    static char value[LARGE];
    static uint8_t want[4 * LARGE];
    size_t used = 0, count = 0;
    memset(value, 'v', sizeof value - 1);
    for (unsigned i = 0; i < ENTRIES; i++)
        history_put(&p->h, "deeds", "plot", i == 9 || i == 20 ? value : "small");
    parts_log(p);
    must(log_read(p->site.log, (struct lsn){1}, (struct lsn){ENTRIES}, want, sizeof want, &used,
                  &count, &e));
    assert_int_equal(count, ENTRIES);
    for (size_t cap = 200; cap <= 2 * LARGE; cap *= 7) { /* memory to begin with */
        const struct repo_name all = {.kind = REPO_PACK, .first = {1}, .last = {ENTRIES}};
        uint8_t *out = NULL;
        size_t n = 0;
        must(archive_read_entries(from_log, p->site.log, cap, &all, &out, &n, &e));
        assert_int_equal(n, used);
        assert_memory_equal(out, want, n);
        free(out);
    }
    const struct repo_name beyond = {.kind = REPO_PACK, .first = {1}, .last = {ENTRIES + 1}};
    uint8_t *out = NULL;
    size_t n = 0;
    struct err e = ERR_NONE;
    assert_int_not_equal(
        archive_read_entries(from_log, p->site.log, 1 << 20, &beyond, &out, &n, &e), 0);
    free(out);
}

/* An answer that never fits. */
static int endless(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap,
                   size_t *used, size_t *count, struct err *e)
{
    unsigned *asked = arg;
    (void)from;
    (void)to;
    (void)buf;
    ++*asked;
    *used = cap + 1;
    *count = 1;
    return err_set(e, ERR_LIMIT, "it does not fit");
}

static void who_gives_ever_more_is_not_listened_to_for_ever(void **state)
{
    (void)state;
    const struct repo_name pack = {.kind = REPO_PACK, .first = {1}, .last = {9}};
    uint8_t *out = NULL;
    size_t n = 0;
    unsigned asked = 0;
    struct err e = ERR_NONE;
    assert_int_equal(archive_read_entries(endless, &asked, 1 << 20, &pack, &out, &n, &e),
                     ERR_LIMIT);
    assert_non_null(strstr(e.text, "no pack has so many bytes"));
    assert_in_range(asked, 2, 300);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entries_that_are_larger_than_a_pack_are_read_whole,
                                        parts_setup, parts_teardown),
        cmocka_unit_test(who_gives_ever_more_is_not_listened_to_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
