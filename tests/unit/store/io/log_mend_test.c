/* A damaged segment of a log in use is written anew from what is left of it and from what another site has, and from nothing that
 * does not fit in by its hashes. */
#include "log_util.h"

static struct fixture fx;

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    fx.options.memory_bytes = 1 << 20; /* so that old entries are read from the disk */
    util_open(&fx, 0);
    util_append(&fx, 400, 9000);
    util_append(&fx, 30, 100000);
    util_append(&fx, 200, 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    util_close(&fx);
    util_free(&fx);
    return 0;
}

/* ---- the other site ---- */

struct other {
    unsigned asked;
    bool lies; /* gives entries of another history */
    bool has_nothing;
    struct chain *history;
};

static int fetch(void *arg, struct lsn from, struct lsn to, uint8_t *buf, size_t cap, size_t *used,
                 size_t *count, struct err *e)
{
    struct other *o = arg;
    *used = *count = 0;
    o->asked++;
    if (o->has_nothing)
        return err_set(e, ERR_GAP, "the other site has it no more");
    for (uint64_t lsn = from.v; lsn <= to.v; lsn++) {
        const size_t n = o->history->bytes[lsn];
        if (n > cap - *used)
            break;
        memcpy(buf + *used, o->history->raw[lsn], n);
        *used += n;
        (*count)++;
    }
    if (*count != 0)
        return 0;
    *used = o->history->bytes[from.v];
    return err_set(e, ERR_LIMIT, "the entry does not fit");
}

/* ---- damage ---- */

static uint64_t seq_of(struct lsn lsn)
{
    pthread_mutex_lock(&fx.log->mutex);
    const struct segment *s = log_find_segment(fx.log, lsn);
    assert_non_null(s);
    uint64_t seq = s->head.seq;
    pthread_mutex_unlock(&fx.log->mutex);
    return seq;
}

/* Flip a bit in the body of the entry on disk. */
static void rot(uint64_t lsn)
{
    char name[LOG_NAME_BYTES], path[200];
    log_segment_name(seq_of((struct lsn){lsn}), name);
    (void)snprintf(path, sizeof path, "%s/%s", fx.dir, name);
    int fd = open(path, O_RDWR);
    struct stat st;
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *p = malloc((size_t)st.st_size);
    assert_int_equal(pread(fd, p, (size_t)st.st_size, 0), st.st_size);
    uint8_t *at = memmem(p, (size_t)st.st_size, fx.chain.raw[lsn], fx.chain.bytes[lsn]);
    assert_non_null(at);
    at[fx.chain.bytes[lsn] / 2] ^= 4;
    assert_int_equal(pwrite(fd, at, fx.chain.bytes[lsn], at - p), (ssize_t)fx.chain.bytes[lsn]);
    assert_int_equal(fsync(fd), 0);
    (void)close(fd);
    free(p);
}

/* The first damaged entry that a whole pass of the scrub finds; 0: none. */
static uint64_t find_damage(void)
{
    struct lsn next = {0}, damaged = {0};
    size_t bytes;
    for (unsigned i = 0; i < 10000; i++) {
        int rc = log_check(fx.log, next, 100000, &next, &damaged, &bytes, NULL);
        if (rc == ERR_NOT_FOUND)
            return 0;
        if (rc == ERR_INTEGRITY)
            return damaged.v;
        assert_int_equal(rc, 0);
    }
    fail_msg("the pass does not end");
    return 0;
}

static const struct lsn all = {UTIL_ENTRIES_MAX};

/* ---- cases ---- */

static void a_damaged_segment_is_mended_and_reads_as_before(void **state)
{
    (void)state;
    static const uint64_t places[] = {7, 150, 405};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct other o = {.history = &fx.chain};
        struct log_mended done;
        struct err e = ERR_NONE;
        struct log_status before, after;
        char aside[200];
        log_status(fx.log, &before);
        rot(places[i]);
        const uint64_t found = find_damage();
        assert_true(found > 0 && found <= places[i]);
        if (log_mend(fx.log, (struct lsn){found}, all, fetch, &o, &done, &e) != 0)
            fail_msg("%s", e.text);
        assert_int_equal(find_damage(), 0);
        assert_true(done.from.v < places[i] && done.to.v >= places[i]);
        assert_true(done.fetched >= 1);
        if (places[i] == 7)
            assert_true(done.fetched <
                        done.to.v - done.from.v); /* what is whole here is not asked for */
        (void)snprintf(aside, sizeof aside, "%s/%016llx.damaged", fx.dir,
                       (unsigned long long)done.segment);
        assert_int_equal(access(aside, F_OK), 0);
        util_expect(&fx, 1, fx.chain.last);
        log_status(fx.log, &after);
        assert_int_equal(after.segments, before.segments);
        assert_int_equal(after.last.lsn.v, before.last.lsn.v);
    }
    util_append(&fx, 50, 5000);
    util_close(&fx);
    util_open(&fx, 0); /* recovery takes the mended files for what they are */
    util_expect(&fx, 1, fx.chain.last);
    struct log_status s;
    log_status(fx.log, &s);
    assert_string_equal(s.note, "");
}

static void a_lost_batch_header_is_mended_too(void **state)
{
    (void)state;
    struct other o = {.history = &fx.chain};
    struct log_mended done;
    struct err e = ERR_NONE;
    char name[LOG_NAME_BYTES], path[200];
    static const uint8_t zeros[64 << 10];
    log_segment_name(seq_of((struct lsn){120}), name);
    (void)snprintf(path, sizeof path, "%s/%s", fx.dir, name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, zeros, sizeof zeros, 256 << 10), sizeof zeros);
    (void)close(fd);
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t found = find_damage();
        assert_int_equal(found > 0, i == 0);
        if (i == 0 && log_mend(fx.log, (struct lsn){found}, all, fetch, &o, &done, &e) != 0)
            fail_msg("%s", e.text);
    }
    util_expect(&fx, 1, fx.chain.last);
}

static void entries_of_another_history_are_not_taken(void **state)
{
    (void)state;
    static struct chain other;
    memset(&other, 0, sizeof other);
    other.term = 1;
    other.seed = 1234;
    for (unsigned i = 0; i < 400; i++)
        chain_add(&other, 9000);
    struct other o = {.history = &other};
    struct log_mended done;
    struct err e = ERR_NONE;
    struct log_status before, after;
    rot(150);
    const uint64_t found = find_damage();
    log_status(fx.log, &before);
    assert_int_not_equal(log_mend(fx.log, (struct lsn){found}, all, fetch, &o, &done, &e), 0);
    assert_int_equal(find_damage(), found);
    o.has_nothing = true;
    assert_int_equal(log_mend(fx.log, (struct lsn){found}, all, fetch, &o, &done, &e), ERR_GAP);
    log_status(fx.log, &after);
    assert_true(after.disk_bytes <= before.disk_bytes + UTIL_MIB); /* a spare was made ahead */
    o = (struct other){.history = &fx.chain};
    assert_int_equal(log_mend(fx.log, (struct lsn){found}, all, fetch, &o, &done, &e), 0);
    util_expect(&fx, 1, fx.chain.last);
    for (size_t i = 1; i <= other.last; i++)
        free(other.raw[i]);
}

static void only_a_full_and_committed_segment_is_mended(void **state)
{
    (void)state;
    struct other o = {.history = &fx.chain};
    struct log_mended done;
    struct err e = ERR_NONE;
    assert_int_equal(log_mend(fx.log, (struct lsn){fx.chain.last}, all, fetch, &o, &done, &e),
                     ERR_BUSY);
    assert_int_equal(log_mend(fx.log, (struct lsn){7}, (struct lsn){8}, fetch, &o, &done, &e),
                     ERR_BUSY);
    assert_int_equal(log_recycle(fx.log, (struct lsn){300}, &e), 0);
    assert_int_equal(log_mend(fx.log, (struct lsn){7}, all, fetch, &o, &done, &e), ERR_GAP);
    assert_int_equal(o.asked, 0);
}

/* A second thread reads all the time. */
struct reading {
    pthread_t thread;
    _Atomic bool stop;
    unsigned bad, rounds;
};

static void *read_all(void *arg)
{
    struct reading *r = arg;
    static uint8_t buf[1 << 20];
    while (!r->stop) {
        for (uint64_t lsn = 200; lsn <= 390;) {
            size_t used, count;
            struct err e = ERR_NONE;
            if (log_read(fx.log, (struct lsn){lsn}, (struct lsn){390}, buf, 64 << 10, &used, &count,
                         &e) != 0) {
                r->bad++;
                break;
            }
            lsn += count;
        }
        r->rounds++;
    }
    return NULL;
}

static void who_reads_while_it_is_mended_notices_nothing(void **state)
{
    (void)state;
    struct reading r = {.stop = false};
    assert_int_equal(pthread_create(&r.thread, NULL, read_all, &r), 0);
    for (unsigned i = 0; i < 60; i++) {
        struct other o = {.history = &fx.chain};
        struct log_mended done;
        struct err e = ERR_NONE;
        if (log_mend(fx.log, (struct lsn){200 + 3 * i}, all, fetch, &o, &done, &e) != 0 &&
            e.code != ERR_NO_SPACE)
            fail_msg("%s", e.text);
    }
    r.stop = true;
    (void)pthread_join(r.thread, NULL);
    assert_true(r.rounds > 0);
    assert_int_equal(r.bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_damaged_segment_is_mended_and_reads_as_before, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_lost_batch_header_is_mended_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_of_another_history_are_not_taken, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(only_a_full_and_committed_segment_is_mended, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_reads_while_it_is_mended_notices_nothing, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
