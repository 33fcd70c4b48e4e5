/* Snapshots that are opened and closed all the time (store/io/state_pool.c): each sees what was applied before it, none that
 * nobody uses costs space or a place, and going back to a checkpoint takes all of them along. */
#include "tests/unit/store/io/state_kit.h"

#include <pthread.h>
#include <stdatomic.h>

static void put(struct kit_state *f, const char *key, const char *value)
{
    history_put(&f->h, "a", key, value);
    must(state_apply(f->s, &f->h.v[f->h.n - 1], 1, &e));
}

/* Opens one and closes it; returns what its number was, and with `lsn` checks its position. */
static uint64_t look(struct state *s, uint64_t lsn)
{
    struct state_snapshot *snap;
    must(state_snapshot_open(s, &snap, &e));
    const uint64_t number = state_snapshot_number(snap);
    assert_int_equal(state_snapshot_position(snap).lsn.v, lsn);
    state_snapshot_close(snap);
    return number;
}

static void each_sees_what_was_applied_before(void **state)
{
    struct kit_state *f = *state;
    struct state_snapshot *old, *new;
    uint64_t number = look(f->s, 0);
    assert_int_equal(look(f->s, 0), number);
    put(f, "k", "1");
    assert_int_not_equal(look(f->s, 1), number);
    must(state_snapshot_open(f->s, &old, &e));
    put(f, "k", "2");
    must(state_snapshot_open(f->s, &new, &e));
    assert_int_equal(state_snapshot_position(old).lsn.v, 1);
    assert_int_equal(state_snapshot_position(new).lsn.v, 2);
    state_snapshot_close(
        new); /* it lies where the old one comes, and the old one is none that can be used again */
    state_snapshot_close(old);
    (void)look(f->s, 2);
    (void)look(f->s, 2);
}

static void none_outlives_a_reset(void **state)
{
    struct kit_state *f = *state;
    struct record r;
    struct state_snapshot *snap;
    put(f, "k", "1");
    kit_publish(f);
    put(f, "k", "2");
    (void)look(f->s, 2);
    must(state_reset_to_checkpoint(f->s, &e));
    (void)look(f->s, 1);
    struct history again = {.v = NULL}; /* LMDB gives the number of what was undone to this */
    history_put(&again, "a", "k", "1");
    history_put(&again, "a", "k", "3");
    must(state_apply(f->s, &again.v[1], 1, &e));
    must(state_snapshot_open(f->s, &snap, &e));
    must(state_get(snap, bytes_str("a"), bytes_str("k"), &r, &e));
    assert_bytes(r.value, bytes_str("3"));
    state_snapshot_close(snap);
    history_free(&again);
}

static void *look_once(void *arg)
{
    struct kit_state *f = arg;
    (void)look(f->s, state_applied(f->s).lsn.v);
    return NULL;
}

static void on_threads(struct kit_state *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, look_once, f), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

/* What other threads left behind is there for who needs it. */
static void all_places_can_be_used_by_one(void **state)
{
    struct kit_state *f = *state;
    struct state_snapshot *snap[16], *more;
    on_threads(f, 40);
    for (unsigned i = 0; i < 16; i++)
        must(state_snapshot_open(f->s, &snap[i], &e));
    must_fail(state_snapshot_open(f->s, &more, &e), ERR_BUSY, "all 16 are in use");
    must_fail(state_reset_to_checkpoint(f->s, &e), ERR_BUSY, "16 snapshots are open");
    for (unsigned i = 0; i < 16; i++)
        state_snapshot_close(snap[i]);
    must(state_reset_to_checkpoint(f->s, &e));
}

/* Bytes of the file after many changes of few records, with what was read in between. */
static uint64_t churn(struct kit_state *f, unsigned threads)
{
    char key[16], value[2048];
    (void)memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (unsigned i = 0; i < 400; i++) {
        (void)snprintf(key, sizeof key, "%u", i % 10);
        put(f, key, value);
        if (i == 10)
            on_threads(f, threads);
        if (i % 4 == 0)
            kit_publish(f);
    }
    return state_file_bytes(f->s);
}

/* A thread that read once and never again does not keep the pages of that time. */
static void those_that_nobody_uses_hold_no_pages(void **state)
{
    struct kit_state *f = *state, *quiet;
    void *other;
    f->o.history_us = 0; /* it grows, too */
    must((state_close(f->s), state_open(&f->s, &f->o, &e)));
    assert_int_equal(kit_state_set_up(&other), 0);
    quiet = other;
    quiet->o.history_us = 0;
    must((state_close(quiet->s), state_open(&quiet->s, &quiet->o, &e)));
    assert_int_equal(churn(f, 3), churn(quiet, 0));
    assert_int_equal(kit_state_tear_down(&other), 0);
}

struct reading {
    struct state *s;
    atomic_bool stop;
    atomic_uint read, wrong;
    atomic_ullong highest; /* position that anybody saw */
};

static void *read_on(void *arg)
{
    struct reading *r = arg;
    while (!atomic_load(&r->stop)) {
        struct state_snapshot *snap;
        const uint64_t applied = state_applied(r->s).lsn.v;
        unsigned long long highest = atomic_load(&r->highest);
        if (state_snapshot_open(r->s, &snap, NULL) != 0) {
            atomic_fetch_add(&r->wrong, 1);
            break;
        }
        const uint64_t at = state_snapshot_position(snap).lsn.v;
        if (at < applied || at < highest)
            atomic_fetch_add(&r->wrong, 1);
        while (highest < at && !atomic_compare_exchange_weak(&r->highest, &highest, at))
            ;
        state_snapshot_close(snap);
        atomic_fetch_add(&r->read, 1);
    }
    return NULL;
}

/* Nobody ever sees less than was known, or than somebody saw, before he asked. */
static void none_goes_back(void **state)
{
    struct kit_state *f = *state;
    struct reading r = {.s = f->s};
    pthread_t thread[3];
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, read_on, &r), 0);
    for (unsigned i = 0; i < 2000 || (atomic_load(&r.read) < 2000 && i < 100000); i++)
        put(f, "k", "v");
    atomic_store(&r.stop, true);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(atomic_load(&r.wrong), 0);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, kit_state_set_up, kit_state_tear_down)
    const struct CMUnitTest tests[] = {
        t(each_sees_what_was_applied_before),
        t(none_outlives_a_reset),
        t(all_places_can_be_used_by_one),
        t(those_that_nobody_uses_hold_no_pages),
        t(none_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
