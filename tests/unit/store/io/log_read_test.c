/* Reading a log whose memory or files are not what they were: what is lost is named, is not given out, and does not hide what
 * lies behind it. Damage within a batch is in log_mend_test.c and log_scan_test.c. */
#include "log_util.h"

static struct fixture fx;
static uint8_t buf[8 << 20];

enum { ENTRIES = 400, BODY = 9000 };

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    fx.options.memory_bytes = 1 << 20; /* so that old entries are read from the disk */
    util_open(&fx, 0);
    util_append(&fx, ENTRIES, BODY);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    util_close(&fx);
    util_free(&fx);
    return 0;
}

/* The file of the segment that holds lsn, and the lsns in it. */
static void segment_of(uint64_t lsn, char path[200], uint64_t *first, uint64_t *last)
{
    char name[LOG_NAME_BYTES];
    pthread_mutex_lock(&fx.log->mutex);
    const struct segment *s = log_find_segment(fx.log, (struct lsn){lsn});
    assert_non_null(s);
    log_segment_name(s->head.seq, name);
    *last = s->end.v;
    while (lsn > 1 && log_find_segment(fx.log, (struct lsn){lsn - 1}) == s)
        lsn--;
    pthread_mutex_unlock(&fx.log->mutex);
    *first = lsn;
    (void)snprintf(path, 200, "%s/%s", fx.dir, name);
}

static int read_some(uint64_t from, uint64_t to, size_t cap, size_t *used, size_t *count,
                     struct err *e)
{
    *e = (struct err)ERR_NONE;
    return log_read(fx.log, (struct lsn){from}, (struct lsn){to}, buf, cap, used, count, e);
}

/* Everything that a pass of the scrub looks at: the number of damaged places, and the first and last of them. */
static unsigned check_all(uint64_t *first, uint64_t *last)
{
    struct lsn next = {0}, damaged;
    unsigned n = 0;
    for (unsigned i = 0; i < 10000; i++) {
        size_t bytes;
        int rc = log_check(fx.log, next, 100000, &next, &damaged, &bytes, NULL);
        if (rc == ERR_NOT_FOUND)
            return n;
        if (rc == ERR_INTEGRITY) {
            *first = n == 0 ? damaged.v : *first;
            *last = damaged.v;
            n++;
        } else {
            assert_int_equal(rc, 0);
        }
    }
    fail_msg("the pass does not end");
    return 0;
}

static void what_cannot_be_read_is_said_and_what_does_not_fit_is_measured(void **state)
{
    (void)state;
    size_t used, count;
    struct err e;
    for (uint64_t lsn = 1; lsn <= ENTRIES; lsn += ENTRIES - 1) { /* on the disk; in memory */
        const size_t n = fx.chain.bytes[lsn];
        assert_int_equal(read_some(lsn, lsn, n - 1, &used, &count, &e), ERR_LIMIT);
        assert_true(used == n && count == 0);
        assert_int_equal(read_some(lsn, lsn, n, &used, &count, &e), 0);
        assert_true(used == n && count == 1);
        assert_memory_equal(buf, fx.chain.raw[lsn], n);
    }
    assert_int_equal(read_some(2, 1, sizeof buf, &used, &count, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "there is nothing from lsn 2 to 1"));
    assert_int_equal(read_some(ENTRIES + 1, UINT64_MAX, sizeof buf, &used, &count, &e),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "lsn 401 is beyond the last, 400"));
    assert_int_equal(read_some(0, 5, sizeof buf, &used, &count, &e), ERR_GAP);
}

static void an_entry_that_rots_in_memory_is_not_given(void **state)
{
    (void)state;
    size_t used, count;
    struct err e;
    pthread_mutex_lock(&fx.log->mutex);
    const uint8_t *raw = memory_find(&fx.log->memory, (struct lsn){ENTRIES - 1});
    assert_non_null(raw);
    ((uint8_t *)(uintptr_t)raw)[9] ^= 1;
    pthread_mutex_unlock(&fx.log->mutex);
    assert_int_equal(read_some(ENTRIES - 1, ENTRIES, sizeof buf, &used, &count, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "damaged in memory"));
    assert_int_equal(count, 0);
    /* what was read before it is given */
    assert_int_equal(read_some(ENTRIES - 2, ENTRIES, sizeof buf, &used, &count, &e), 0);
    assert_int_equal(count, 1);
}

static void a_segment_that_went_away_is_lost_and_no_other(void **state)
{
    (void)state;
    char path[200], away[220];
    uint64_t first, last, lost_from = 0, lost_to = 0;
    size_t used, count;
    struct err e;
    segment_of(150, path, &first, &last);
    assert_true(first > 1 && last < ENTRIES);
    (void)snprintf(away, sizeof away, "%s/../%s-away", fx.dir, strrchr(fx.dir, '/') + 1);
    assert_int_equal(rename(path, away), 0);
    int rc = read_some(150, 150, sizeof buf, &used, &count, &e);
    assert_int_equal(rc, ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "lsn 150: "));
    assert_non_null(strstr(e.text, "cannot open"));
    assert_int_equal(read_some(first - 1, last, sizeof buf, &used, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(read_some(last + 1, last + 1, sizeof buf, &used, &count, &e), 0);
    assert_true(check_all(&lost_from, &lost_to) >= 1);
    assert_true(lost_from == first && lost_to <= last);
    assert_int_equal(rename(away, path), 0);
    assert_int_equal(check_all(&lost_from, &lost_to), 0);
}

static void a_segment_that_was_cut_short_is_lost_from_there(void **state)
{
    (void)state;
    char path[200];
    uint64_t first, last, lost_from = 0, lost_to = 0;
    size_t used, count;
    struct err e;
    segment_of(150, path, &first, &last);
    assert_int_equal(truncate(path, UTIL_MIB / 2), 0);
    assert_int_equal(read_some(last, last, sizeof buf, &used, &count, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, ": ends at byte "));
    assert_int_equal(read_some(first, first, sizeof buf, &used, &count, &e), 0);
    assert_int_equal(read_some(last + 1, last + 1, sizeof buf, &used, &count, &e), 0);
    assert_true(check_all(&lost_from, &lost_to) >= 1);
    assert_true(lost_from > first && lost_to <= last);
}

static void positions_come_from_memory_and_disk_alike(void **state)
{
    (void)state;
    struct entry_position at;
    struct err e = ERR_NONE;
    assert_int_equal(log_position(fx.log, (struct lsn){0}, &at, &e), 0);
    assert_int_equal(at.lsn.v, 0);
    for (uint64_t lsn = 1; lsn <= ENTRIES; lsn += 57) {
        assert_int_equal(log_position(fx.log, (struct lsn){lsn}, &at, &e), 0);
        assert_memory_equal(&at.hash, &fx.chain.at[lsn].hash, 32);
        assert_int_equal(at.time.us, fx.chain.at[lsn].time.us);
    }
    assert_int_equal(log_position(fx.log, (struct lsn){ENTRIES + 1}, &at, &e), ERR_NOT_FOUND);
}

int main(void)
{
#define in_log(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        in_log(what_cannot_be_read_is_said_and_what_does_not_fit_is_measured),
        in_log(an_entry_that_rots_in_memory_is_not_given),
        in_log(a_segment_that_went_away_is_lost_and_no_other),
        in_log(a_segment_that_was_cut_short_is_lost_from_there),
        in_log(positions_come_from_memory_and_disk_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
