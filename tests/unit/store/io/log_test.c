/* The log as its owner uses it: append, read, reopen, many segments, truncate, recycle, limits,
 * refusals. */
#include "log_util.h"

#include "store/core/check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct fixture fx;

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    util_free(&fx);
    return 0;
}

static void what_was_appended_is_read_and_is_there_after_reopen(void **state)
{
    (void)state;
    util_open(&fx, 0);
    util_expect(&fx, 1, 0);
    util_append(&fx, 1, 16);
    util_append(&fx, 5, 1000);
    util_append(&fx, 3, 70000);
    util_expect(&fx, 1, 9);
    util_close(&fx);
    util_open(&fx, 0);
    util_expect(&fx, 1, 9);
    util_append(&fx, 2, 300);
    util_close(&fx);
    util_open(&fx, 4);
    util_expect(&fx, 1, 11);
    struct log_status s;
    log_status(fx.log, &s);
    assert_int_equal(s.cut_bytes, 0);
    assert_string_equal(s.note, "");
    util_close(&fx);
}

static void both_engines_write_the_same_log(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        fx.options.engine = round % 2 == 0 ? LOG_ENGINE_AUTO : LOG_ENGINE_PLAIN;
        util_open(&fx, 0);
        struct log_status s;
        log_status(fx.log, &s);
        assert_true(strlen(s.engine_reason) > 0);
        if (round % 2 == 1)
            assert_int_equal(s.engine, LOG_ENGINE_PLAIN);
        util_append(&fx, 10, 5000);
        util_expect(&fx, 1, 10 * (uint64_t)(round + 1));
        util_close(&fx);
    }
}

/* In a child, because a filter cannot be taken off again. */
static void forbid_io_uring(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof rules / sizeof rules[0], rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
        _exit(2);
}

static void where_io_uring_is_forbidden_the_plain_engine_says_why(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err e = ERR_NONE;
        struct log_status s;
        forbid_io_uring();
        fx.options.engine = LOG_ENGINE_URING;
        if (util_try_open(&fx, 0, &e) != ERR_IO || strstr(e.text, "auto") == NULL)
            _exit(3);
        fx.options.engine = LOG_ENGINE_AUTO;
        if (util_try_open(&fx, 0, &e) != 0)
            _exit(4);
        log_status(fx.log, &s);
        if (s.engine != LOG_ENGINE_PLAIN ||
            strstr(s.engine_reason, "Operation not permitted") == NULL)
            _exit(5);
        chain_add(&fx.chain, 100);
        _exit(util_give(&fx, 1, 1, &e) == 0 && log_close(fx.log, &e) == 0 ? 0 : 6);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    chain_add(&fx.chain, 100);
    util_open(&fx, 0);
    util_expect(&fx, 1, 1);
    util_close(&fx);
}

static void many_appends_share_batches(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    for (unsigned i = 1; i <= 2000; i++) {
        chain_add(&fx.chain, 100);
        assert_int_equal(util_give(&fx, i, i, &e), 0);
    }
    util_wait(&fx, 2000);
    struct log_status s;
    log_status(fx.log, &s);
    assert_true(s.batches < 1000);
    util_expect(&fx, 1, 2000);
    util_close(&fx);
}

/* 40 entries of 100 kB make about five segments of 1 MiB; with little memory most are read from
 * disk. */
static void fill_segments(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        util_append(&fx, 1, 100000);
}

static void many_segments_are_read_from_disk(void **state)
{
    (void)state;
    fx.options.memory_bytes = 64 << 10;
    util_open(&fx, 0);
    fill_segments(40);
    util_append(&fx, 300, 64);
    struct log_status s;
    log_status(fx.log, &s);
    assert_true(s.segments >= 4);
    util_expect(&fx, 1, 340);
    for (uint64_t lsn = 1; lsn <= 340; lsn++) {
        struct entry_position p;
        assert_int_equal(log_position(fx.log, (struct lsn){lsn}, &p, NULL), 0);
        assert_memory_equal(&p, &fx.chain.at[lsn], sizeof p);
    }
    util_close(&fx);
    util_open(&fx, 20);
    util_expect(&fx, 1, 340);
    util_close(&fx);
}

static void reading_says_what_is_missing(void **state)
{
    (void)state;
    uint8_t buf[64];
    size_t used, count;
    struct err e = ERR_NONE;
    struct entry_position p;
    util_open(&fx, 0);
    util_append(&fx, 3, 500);
    assert_int_equal(
        log_read(fx.log, (struct lsn){4}, (struct lsn){9}, buf, sizeof buf, &used, &count, &e),
        ERR_NOT_FOUND);
    assert_int_equal(
        log_read(fx.log, (struct lsn){1}, (struct lsn){3}, buf, sizeof buf, &used, &count, &e),
        ERR_LIMIT);
    assert_int_equal(used, ENTRY_HEADER_BYTES + 500);
    assert_int_equal(log_position(fx.log, (struct lsn){0}, &p, &e), 0);
    assert_int_equal(p.lsn.v, 0);
    assert_int_equal(log_position(fx.log, (struct lsn){4}, &p, &e), ERR_NOT_FOUND);
    assert_int_equal(
        log_read(fx.log, (struct lsn){0}, (struct lsn){3}, buf, sizeof buf, &used, &count, &e),
        ERR_GAP);
    util_close(&fx);
}

static void wait_for_spares(unsigned n)
{
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&fx.log->mutex);
        bool ready = fx.log->keeper.ready_count >= n && fx.log->keeper.first == NULL;
        pthread_mutex_unlock(&fx.log->mutex);
        if (ready)
            return;
        (void)usleep(10000);
    }
    fail_msg("no %u spares", n);
}

static void recycled_segments_are_written_over(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct log_status s;
    uint64_t most = 0;
    util_open(&fx, 0);
    for (int round = 0; round < 10; round++) {
        fill_segments(20);
        assert_int_equal(log_recycle(fx.log, (struct lsn){fx.chain.last - 5}, &e), 0);
        log_status(fx.log, &s);
        if (s.disk_bytes > most)
            most = s.disk_bytes;
        assert_true(s.first.lsn.v < fx.chain.last - 5);
    }
    wait_for_spares(2);
    /* 200 entries are 20 MiB; 2 or 3 segments in use, 4 spares and a round's worth. */
    assert_true(most <= 12u * UTIL_MIB);
    log_status(fx.log, &s);
    assert_true(s.first.lsn.v > 150);
    uint8_t buf[64];
    size_t used, count;
    assert_int_equal(
        log_read(fx.log, s.first.lsn, (struct lsn){UINT64_MAX}, buf, sizeof buf, &used, &count, &e),
        ERR_GAP);
    const uint64_t first = s.first.lsn.v;
    util_expect(&fx, first + 1, 200);
    struct log_run runs[4];
    assert_int_equal(log_runs(fx.log, runs, 4), 1);
    assert_int_equal(runs[0].from.v, first + 1);
    util_close(&fx);
    util_open(&fx, first);
    util_expect(&fx, first + 1, 200);
    util_close(&fx);
    assert_int_equal(util_try_open(&fx, first - 1, &e), ERR_GAP);
    assert_non_null(strstr(e.text, "is missing"));
}

static void never_the_segment_in_use(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    util_append(&fx, 5, 100);
    assert_int_equal(log_recycle(fx.log, (struct lsn){1000}, &e), 0);
    util_expect(&fx, 1, 5);
    util_close(&fx);
}

/* Cut after `last` and go on with other entries of a higher term. */
static void cut_and_append(uint64_t last, unsigned n, size_t body)
{
    struct err e = ERR_NONE;
    assert_int_equal(log_truncate(fx.log, (struct lsn){last}, &e), 0);
    fx.chain.last = last;
    fx.durable = last;
    util_expect(&fx, 1, last);
    fx.chain.term++;
    util_append(&fx, n, body);
}

static void what_was_cut_never_comes_back(void **state)
{
    (void)state;
    fx.options.memory_bytes = 128 << 10;
    util_open(&fx, 0);
    util_append(&fx, 10, 200);
    cut_and_append(7, 2, 333);
    util_expect(&fx, 1, 9);
    fill_segments(30);
    cut_and_append(25, 1, 444); /* whole segments become void */
    util_expect(&fx, 1, 26);
    cut_and_append(26, 1, 50); /* nothing to cut */
    cut_and_append(3, 20, 500);
    util_expect(&fx, 1, 23);
    struct log_run runs[8];
    assert_int_equal(log_runs(fx.log, runs, 8), 2);
    assert_int_equal(runs[0].term.v, 1);
    assert_int_equal(runs[1].term.v, 5);
    assert_int_equal(runs[1].from.v, 4);
    util_close(&fx);
    for (int i = 0; i < 2; i++) {
        util_open(&fx, 0);
        util_expect(&fx, 1, 23);
        assert_int_equal(log_runs(fx.log, runs, 8), 2);
        assert_int_equal(runs[1].from.v, 4);
        assert_int_equal(log_runs(fx.log, runs, 1), 1);
        assert_int_equal(runs[0].term.v, 5);
        util_close(&fx);
    }
    util_open(&fx, 0);
    cut_and_append(0, 3, 100);
    util_close(&fx);
    util_open(&fx, 0);
    util_expect(&fx, 1, 3);
    util_close(&fx);
}

static void a_crash_right_after_a_cut_keeps_the_cut(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct dir_image image = {.n = 0};
    util_open(&fx, 0);
    util_append(&fx, 10, 200);
    assert_int_equal(log_truncate(fx.log, (struct lsn){6}, &e), 0);
    image_take(&image, fx.dir);
    util_close(&fx);
    image_put(&image, fx.dir);
    image_free(&image);
    fx.chain.last = 6;
    util_open(&fx, 0);
    util_expect(&fx, 1, 6);
    util_close(&fx);
}

static void cutting_where_the_log_was_recycled_is_refused(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct log_status s;
    util_open(&fx, 0);
    fill_segments(30);
    assert_int_equal(log_recycle(fx.log, (struct lsn){30}, &e), 0);
    log_status(fx.log, &s);
    assert_true(s.first.lsn.v > 2);
    assert_int_equal(log_truncate(fx.log, (struct lsn){s.first.lsn.v - 1}, &e), ERR_GAP);
    assert_int_equal(log_truncate(fx.log, (struct lsn){31}, &e), ERR_NOT_FOUND);
    assert_int_equal(log_truncate(fx.log, s.first.lsn, &e), 0);
    log_status(fx.log, &s);
    assert_int_equal(s.last.lsn.v, s.first.lsn.v);
    util_close(&fx);
}

static void a_log_can_begin_where_a_restored_state_ends(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    for (int i = 0; i < 100; i++)
        chain_add(&fx.chain, 32);
    util_open(&fx, 100);
    util_append(&fx, 4, 32);
    util_expect(&fx, 101, 104);
    util_close(&fx);
    util_open(&fx, 100);
    util_expect(&fx, 101, 104);
    util_close(&fx);
    assert_int_equal(util_try_open(&fx, 99, &e), ERR_GAP);
    /* A state that is ahead of the log: entries that were durable are missing. */
    for (int i = 0; i < 10; i++)
        chain_add(&fx.chain, 32);
    assert_int_equal(util_try_open(&fx, 110, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "checkpoint"));
    /* A state of another history. */
    fx.chain.at[102].hash.b[0] ^= 1;
    assert_int_equal(util_try_open(&fx, 102, &e), ERR_INTEGRITY);
    fx.chain.at[100].hash.b[0] ^= 1;
    assert_int_equal(util_try_open(&fx, 100, &e), ERR_INTEGRITY);
}

static void entries_that_do_not_follow_are_refused(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    util_append(&fx, 3, 100);
    chain_add(&fx.chain, 100);
    chain_add(&fx.chain, 100);
    struct entry_view v[3] = {chain_view(&fx.chain, 4), chain_view(&fx.chain, 5),
                              chain_view(&fx.chain, 5)};
    assert_int_equal(log_append(fx.log, v + 1, 1, &e), ERR_INTEGRITY);
    assert_int_equal(log_append(fx.log, v, 3, &e), ERR_INTEGRITY); /* nothing of it was taken: */
    util_expect(&fx, 1, 3);
    v[0].header.cluster_id.b[3] ^= 1;
    assert_int_equal(log_append(fx.log, v, 1, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "another cluster"));
    chain_add(&fx.chain, UTIL_MIB);
    v[0] = chain_view(&fx.chain, 6);
    assert_int_equal(util_give(&fx, 4, 6, &e), ERR_LIMIT);
    assert_int_equal(util_give(&fx, 4, 5, &e), 0);
    util_wait(&fx, 5);
    util_expect(&fx, 1, 5);
    util_close(&fx);
}

static void a_full_log_refuses_and_goes_on_after_recycling(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    fx.options.limit_bytes = 4 * UTIL_MIB;
    util_open(&fx, 0);
    int rc = 0;
    for (int i = 0; i < 100 && rc == 0; i++) {
        chain_add(&fx.chain, 100000);
        rc = util_give(&fx, fx.chain.last, fx.chain.last, &e);
        if (rc == 0)
            util_wait(&fx, fx.chain.last);
    }
    assert_int_equal(rc, ERR_NO_SPACE);
    assert_non_null(strstr(e.text, "limit"));
    const uint64_t last = fx.chain.last - 1;
    assert_true(last > 20);
    util_expect(&fx, 1, last);
    struct log_status s;
    log_status(fx.log, &s);
    assert_true(s.disk_bytes <= 4 * UTIL_MIB);
    assert_int_equal(log_recycle(fx.log, (struct lsn){last}, &e), 0);
    assert_int_equal(util_give(&fx, last + 1, last + 1, &e), 0);
    util_wait(&fx, last + 1);
    util_close(&fx);
}

static void the_reserve_of_the_file_system_is_kept(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    fx.options.reserve_bytes = UINT64_MAX / 4;
    util_open(&fx, 0); /* no room for a segment, but it opens for reading */
    chain_add(&fx.chain, 100);
    assert_int_equal(util_give(&fx, 1, 1, &e), ERR_NO_SPACE);
    assert_non_null(strstr(e.text, "reserve"));
    util_close(&fx);
    fx.options.reserve_bytes = 4096;
    util_open(&fx, 0);
    assert_int_equal(util_give(&fx, 1, 1, &e), 0);
    util_wait(&fx, 1);
    util_close(&fx);
    fx.options.reserve_bytes =
        UINT64_MAX / 4; /* now there are spares, and still nothing may be written */
    util_open(&fx, 0);
    util_expect(&fx, 1, 1);
    chain_add(&fx.chain, 100);
    assert_int_equal(util_give(&fx, 2, 2, &e), ERR_NO_SPACE);
    util_close(&fx);
}

static void what_was_granted_room_is_not_refused(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    fx.options.reserve_bytes = 4096;
    util_open(&fx, 0);
    chain_add(&fx.chain, 100);
    enum {
        BODY_BYTES = 600 << 10
    }; /* the next but one question to the file system falls on the second */
    chain_add(&fx.chain, BODY_BYTES);
    chain_add(&fx.chain, BODY_BYTES);
    const uint64_t bytes = ENTRY_HEADER_BYTES + BODY_BYTES;
    assert_int_equal(util_give(&fx, 1, 1, &e), 0);
    assert_int_equal(log_room(fx.log, bytes, &e), 0);
    pthread_mutex_lock(&fx.log->mutex);
    for (int i = 0; i < 5000 && fx.log->keeper.ready_count < LOG_SPARES_READY; i++) {
        pthread_mutex_unlock(
            &fx.log->mutex); /* until the keeper rests: it reads the limit unlocked */
        (void)usleep(1000);
        pthread_mutex_lock(&fx.log->mutex);
    }
    assert_int_equal(fx.log->keeper.ready_count, LOG_SPARES_READY);
    fx.log->reserve_bytes = UINT64_MAX / 4; /* as if others had filled the file system just now */
    pthread_mutex_unlock(&fx.log->mutex);
    assert_int_equal(util_give(&fx, 2, 2, &e), 0);
    assert_int_equal(log_room(fx.log, bytes, &e), ERR_NO_SPACE);
    assert_int_equal(util_give(&fx, 3, 3, &e), ERR_NO_SPACE);
    util_wait(&fx, 2);
    util_close(&fx);
}

static void one_process_per_directory(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    char expected[64];
    util_open(&fx, 0);
    struct log *other = NULL;
    assert_int_equal(log_open_seam(&other, &fx.options, &fx.chain.at[0], &fx.seam, &e), ERR_BUSY);
    (void)snprintf(expected, sizeof expected, "another triveni runs on this directory (pid %ld)",
                   (long)getpid());
    assert_non_null(strstr(e.text, expected));
    util_close(&fx);
}

static void foreign_files_are_told_apart(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    struct dir_image image = {.n = 0}, again = {.n = 0};
    util_open(&fx, 0);
    util_append(&fx, 3, 100);
    util_close(&fx);
    fx.options.cluster_id.b[0] ^= 1;
    assert_int_equal(util_try_open(&fx, 0, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "another cluster"));
    fx.options.cluster_id.b[0] ^= 1;

    image_take(&image, fx.dir);
    assert_int_equal(image.n, 1);
    uint8_t *header = image.v[0].p;
    struct segment_header h;
    assert_int_equal(segment_header_decode(header, &h, &e), 0);
    h.seq++;
    segment_header_encode(&h, header);
    image_put(&image, fx.dir);
    assert_int_equal(util_try_open(&fx, 0, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "renamed"));

    memset(header, 'x', 4096);
    image_put(&image, fx.dir);
    assert_int_equal(util_try_open(&fx, 0, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "not a log segment"));
    assert_non_null(strstr(e.text, "Nothing was changed"));
    image_take(&again, fx.dir);
    assert_true(image_equal(&image, &again));
    image_free(&again);
    image_free(&image);

    char path[128];
    (void)snprintf(path, sizeof path, "%s/stray.seg", fx.dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(util_try_open(&fx, 0, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "stray.seg"));
}

static void odd_options_are_refused(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    fx.options.segment_bytes = UTIL_MIB + 1;
    assert_int_equal(util_try_open(&fx, 0, &e), ERR_CONFIG);
    fx.options.segment_bytes = 4096;
    assert_int_equal(util_try_open(&fx, 0, &e), ERR_CONFIG);
    fx.options.segment_bytes = UTIL_MIB;
    fx.options.limit_bytes = UTIL_MIB;
    assert_int_equal(util_try_open(&fx, 0, &e), ERR_CONFIG);
}

static void restarts_do_not_pile_up_segments(void **state)
{
    (void)state;
    struct log_status s;
    util_open(&fx, 0);
    util_append(&fx, 3, 100);
    util_close(&fx);
    for (int i = 0; i < 10; i++) {
        util_open(&fx, 0);
        log_status(fx.log, &s);
        assert_true(s.segments <= 2);
        util_close(&fx);
    }
    util_open(&fx, 0);
    util_expect(&fx, 1, 3);
    util_close(&fx);
}

struct readers {
    pthread_t thread[2];
    bool stop;
    uint64_t reads;
};

static void *read_on(void *arg)
{
    struct readers *r = arg;
    uint8_t *buf = malloc(400 << 10);
    while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
        struct log_status s;
        size_t used, count;
        struct err e = ERR_NONE;
        log_status(fx.log, &s);
        struct lsn from = {s.first.lsn.v + 1};
        int rc =
            log_read(fx.log, from, (struct lsn){UINT64_MAX}, buf, 400 << 10, &used, &count, &e);
        if (rc == 0) {
            struct bytes rest = bytes_of(buf, used);
            for (size_t i = 0; i < count; i++) {
                struct entry_view v;
                size_t n;
                check(entry_decode(rest, &v, &n, NULL) == 0 && v.header.lsn.v == from.v + i);
                rest = bytes_of(rest.p + n, rest.n - n);
            }
            __atomic_add_fetch(&r->reads, 1, __ATOMIC_RELAXED);
        } else if (rc != ERR_GAP && rc != ERR_NOT_FOUND) {
            print_error("%s\n", e.text);
            check(rc ==
                  0); /* a reader beside the owner gets entries or learns that they are gone */
        }
    }
    free(buf);
    return NULL;
}

static void readers_run_beside_the_owner(void **state)
{
    (void)state;
    struct readers r = {.stop = false};
    struct err e = ERR_NONE;
    fx.options.memory_bytes = 256 << 10;
    util_open(&fx, 0);
    util_append(&fx, 1, 100);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&r.thread[i], NULL, read_on, &r), 0);
    for (int i = 0; i < 150; i++) {
        util_append(&fx, 3, 30000);
        if (i % 10 == 9)
            assert_int_equal(log_recycle(fx.log, (struct lsn){fx.chain.last - 20}, &e), 0);
        if (i % 50 == 30) {
            assert_int_equal(log_truncate(fx.log, (struct lsn){fx.chain.last - 4}, &e), 0);
            fx.chain.last -= 4;
            fx.durable = fx.chain.last;
        }
    }
    __atomic_store_n(&r.stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(r.thread[i], NULL), 0);
    assert_true(r.reads > 0);
    util_close(&fx);
}

static void too_much_waiting_is_refused_whole(void **state)
{
    (void)state;
    static struct memory m;
    struct err e = ERR_NONE;
    struct entry_view v[3];
    memory_init(&m, 1 << 20, 1 << 20, (struct lsn){0});
    for (unsigned i = 1; i <= 150; i++)
        chain_add(&fx.chain, 500000);
    int rc = 0;
    uint64_t lsn = 1;
    for (; rc == 0; lsn += 3) {
        for (unsigned i = 0; i < 3; i++)
            v[i] = chain_view(&fx.chain, lsn + i);
        rc = memory_append(&m, v, 3, &e);
    }
    assert_int_equal(rc, ERR_BUSY);
    assert_true(lsn > 120); /* 64 MiB are 134 of these */
    assert_int_equal(m.last.v, lsn - 4);
    assert_true(m.waiting_bytes <= MEMORY_WAITING_MAX);
    struct pending b;
    uint64_t next = 1;
    while (memory_next(&m) != NULL) {
        memory_take(&m, &b);
        assert_int_equal(b.first.v, next);
        next = b.last.lsn.v + 1;
        memory_written(&m);
        memory_trim(&m, b.last.lsn);
    }
    assert_int_equal(next, m.last.v + 1);
    assert_int_equal(m.waiting_bytes, 0);
    assert_true(m.total_bytes <= 2 << 20);
    memory_deinit(&m);
}

/* The queue of batches ends in the middle of an append: nothing of it stays. */
static void a_full_queue_takes_nothing(void **state)
{
    (void)state;
    static struct memory m;
    static struct entry_view v[MEMORY_BATCHES_MAX + 10];
    struct err e = ERR_NONE;
    memory_init(&m, 64 << 10, 1 << 20, (struct lsn){0});
    for (unsigned i = 0; i < MEMORY_BATCHES_MAX + 10; i++) {
        chain_add(&fx.chain, 20000); /* larger than a chunk of this memory: a batch each */
        v[i] = chain_view(&fx.chain, i + 1);
    }
    assert_int_equal(memory_append(&m, v, MEMORY_BATCHES_MAX + 10, &e), ERR_BUSY);
    assert_int_equal(m.queue_count, 0);
    assert_int_equal(m.last.v, 0);
    assert_null(m.head);
    assert_int_equal(memory_append(&m, v, 10, &e), 0);
    assert_int_equal(memory_append(&m, v + 10, MEMORY_BATCHES_MAX, &e), ERR_BUSY);
    assert_int_equal(m.queue_count, 10);
    assert_int_equal(m.last.v, 10);
    assert_int_equal(memory_append(&m, v + 10, MEMORY_BATCHES_MAX - 10, &e), 0);
    for (uint64_t lsn = 1; lsn <= MEMORY_BATCHES_MAX; lsn++)
        assert_memory_equal(memory_find(&m, (struct lsn){lsn}), fx.chain.raw[lsn],
                            fx.chain.bytes[lsn]);
    memory_deinit(&m);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(what_was_appended_is_read_and_is_there_after_reopen),
        T(both_engines_write_the_same_log),
        T(where_io_uring_is_forbidden_the_plain_engine_says_why),
        T(many_appends_share_batches),
        T(many_segments_are_read_from_disk),
        T(reading_says_what_is_missing),
        T(recycled_segments_are_written_over),
        T(never_the_segment_in_use),
        T(what_was_cut_never_comes_back),
        T(a_crash_right_after_a_cut_keeps_the_cut),
        T(cutting_where_the_log_was_recycled_is_refused),
        T(a_log_can_begin_where_a_restored_state_ends),
        T(entries_that_do_not_follow_are_refused),
        T(a_full_log_refuses_and_goes_on_after_recycling),
        T(the_reserve_of_the_file_system_is_kept),
        T(what_was_granted_room_is_not_refused),
        T(one_process_per_directory),
        T(foreign_files_are_told_apart),
        T(odd_options_are_refused),
        T(restarts_do_not_pile_up_segments),
        T(readers_run_beside_the_owner),
        T(too_much_waiting_is_refused_whole),
        T(a_full_queue_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
