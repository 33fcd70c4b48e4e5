/* Replay: the log's entries into the state, read ahead in chunks of 16 MiB, or of so many entries. */
#include "tests/unit/store/io/state_kit.h"

#include "store/io/state_internal.h"
#include "store/replay.h"

#include <pthread.h>

enum { MIB = 1 << 20, PUTS = 60 };

struct fixture {
    char state_dir[64], log_dir[64];
    struct state *state;
    struct log *log;
    struct history h;
    pthread_mutex_t lock;
    pthread_cond_t news;
    uint64_t durable;
};

static void on_durable(void *arg, struct entry_position last)
{
    struct fixture *f = arg;
    (void)pthread_mutex_lock(&f->lock);
    f->durable = last.lsn.v;
    (void)pthread_cond_broadcast(&f->news);
    (void)pthread_mutex_unlock(&f->lock);
}

static void on_failed(void *arg, const struct err *why)
{
    (void)arg;
    fail_msg("the log failed: %s", why->text);
}

static void open_log(struct fixture *f)
{
    must(log_open(&f->log,
                  &(struct log_options){.dir = f->log_dir,
                                        .cluster_id = {{7}},
                                        .on_durable = on_durable,
                                        .on_failed = on_failed,
                                        .arg = f},
                  &(struct entry_position){0}, &e));
}

/* All of the history that is not in the log yet; returns when it is durable. */
static void append_all(struct fixture *f)
{
    for (size_t i = f->durable; i < f->h.n; i++)
        while (true) {
            struct err e = ERR_NONE;
            int rc = log_append(f->log, &f->h.v[i], 1, &e);
            if (rc == 0)
                break;
            assert_int_equal(rc, ERR_BUSY); /* 64 MiB wait: the disk is slower than we are */
            (void)usleep(1000);
        }
    (void)pthread_mutex_lock(&f->lock);
    while (f->durable < f->h.n)
        (void)pthread_cond_wait(&f->news, &f->lock);
    (void)pthread_mutex_unlock(&f->lock);
}

/* `puts` values of a MiB, one of 16 MiB, and small ones, in the log; nothing is applied. */
static void begin(struct fixture *f, unsigned puts)
{
    memset(f, 0, sizeof *f);
    (void)pthread_mutex_init(&f->lock, NULL);
    (void)pthread_cond_init(&f->news, NULL);
    kit_dir_new(f->state_dir);
    kit_dir_new(f->log_dir);
    static uint8_t value[16 * MIB];
    for (unsigned i = 0; i < puts; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i % 7);
        memset(value, (int)i, MIB);
        struct op op = {OP_PUT, bytes_str("c"), bytes_str(key),
                        bytes_of(value, i == 5 ? sizeof value : MIB)};
        history_txn(&f->h, NULL, 0, &op, 1);
        history_put(&f->h, "small", key, "v");
    }
    open_log(f);
    append_all(f);
    struct state_options options = kit_options(f->state_dir);
    must(state_open(&f->state, &options, &e));
}

static void end(struct fixture *f)
{
    must(log_close(f->log, &e));
    state_close(f->state);
    history_free(&f->h);
    kit_dir_remove(f->state_dir);
    kit_dir_remove(f->log_dir);
}

/* The state after lsn n is what applying the entries directly gives. */
static void assert_state_at(struct fixture *f, size_t n)
{
    struct model m;
    model_init(&m);
    for (size_t i = 0; i < n; i++)
        model_apply(&m, &f->h.v[i]);
    assert_int_equal(state_applied(f->state).lsn.v, n);
    model_compare(&m, f->state);
    model_free(&m);
}

static unsigned replay_to(struct replay *r, struct fixture *f, uint64_t to)
{
    unsigned steps = 0;
    for (; state_applied(f->state).lsn.v < to; steps++) {
        struct err e = ERR_NONE;
        int64_t n = replay_step(r, (struct lsn){to}, &e);
        if (n <= 0)
            fail_msg("%s", e.text);
    }
    return steps;
}

static void what_is_in_the_log_gets_into_the_state_in_several_chunks(void **unused)
{
    (void)unused;
    struct fixture f;
    struct replay *r;
    begin(&f, PUTS);
    must(replay_open(&r, f.log, f.state, &e));
    assert_true(replay_to(r, &f, f.h.n) >= 4);
    assert_state_at(&f, f.h.n);
    replay_close(r);
    end(&f);
}

static void it_never_goes_beyond_what_it_was_told(void **unused)
{
    (void)unused;
    struct fixture f;
    struct replay *r;
    begin(&f, PUTS);
    must(replay_open(&r, f.log, f.state, &e));
    for (uint64_t to = 1; to < f.h.n; to += 1 + to / 2) {
        (void)replay_to(r, &f, to);
        assert_int_equal(state_applied(f.state).lsn.v, to);
    }
    (void)replay_to(r, &f, f.h.n);
    assert_state_at(&f, f.h.n);
    replay_close(r);
    end(&f);
}

static void a_chunk_that_was_read_ahead_is_not_used_when_the_state_has_gone_back(void **unused)
{
    (void)unused;
    struct fixture f;
    struct replay *r;
    begin(&f, PUTS);
    must(replay_open(&r, f.log, f.state, &e));
    for (int i = 0; i < 2; i++)
        assert_true(replay_step(r, (struct lsn){f.h.n}, NULL) > 0);
    must(state_reset_to_checkpoint(f.state, &e));
    assert_int_equal(state_applied(f.state).lsn.v, 0);
    (void)replay_to(r, &f, f.h.n);
    assert_state_at(&f, f.h.n);
    replay_close(r);
    end(&f);
}

/* A bit of the first batch that lies on this side of 20 MiB in the second half of the log. */
static void damage_on_disk_stops_it_at_its_place(void **unused)
{
    (void)unused;
    struct fixture f;
    struct replay *r;
    begin(&f, PUTS);
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%016x.seg", f.log_dir, 1);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, 40 * MIB), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 40 * MIB), 1);
    assert_int_equal(fsync(fd), 0);
    (void)close(fd);
    must(replay_open(&r, f.log, f.state, &e));
    struct err e = ERR_NONE;
    int64_t n;
    do
        n = replay_step(r, (struct lsn){f.h.n}, &e);
    while (n > 0);
    assert_int_equal(n, ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "to apply it"));
    assert_non_null(strstr(e.text, "checksum mismatch"));
    uint64_t at = state_applied(f.state).lsn.v;
    assert_in_range(at, 1, f.h.n - 1);
    assert_state_at(&f, at);
    replay_close(r);
    end(&f);
}

/* LMDB never gives back the memory of its largest transaction: of small values a page for each. */
static void a_step_of_small_values_is_bounded_by_their_number(void **unused)
{
    (void)unused;
    enum { ENTRIES = 5 * STATE_BATCH_OPS / 2 };
    struct fixture f;
    struct replay *r;
    struct state_snapshot *snap;
    begin(&f, 0);
    for (unsigned i = 0; i < ENTRIES; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i % 50);
        history_put(&f.h, "small", key, "v");
    }
    append_all(&f);
    must(replay_open(&r, f.log, f.state, &e));
    must(state_snapshot_open(f.state, &snap, &e));
    const uint64_t before = state_snapshot_number(snap);
    state_snapshot_close(snap);
    assert_int_equal(replay_to(r, &f, f.h.n), 3);
    must(state_snapshot_open(f.state, &snap, &e));
    assert_int_equal(state_snapshot_number(snap), before + 3); /* none was cut again */
    state_snapshot_close(snap);
    assert_state_at(&f, f.h.n);
    replay_close(r);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_the_log_gets_into_the_state_in_several_chunks),
        cmocka_unit_test(a_step_of_small_values_is_bounded_by_their_number),
        cmocka_unit_test(it_never_goes_beyond_what_it_was_told),
        cmocka_unit_test(a_chunk_that_was_read_ahead_is_not_used_when_the_state_has_gone_back),
        cmocka_unit_test(damage_on_disk_stops_it_at_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
