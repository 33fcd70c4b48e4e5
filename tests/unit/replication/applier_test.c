/* The applier's threads beside a real log and state: how far they apply, what is done between two batches, when a checkpoint is
 * published, and what stops them. */
#include "tests/unit/replication/parts_kit.h"
#include "store/io/checkpoint.h"
#include "store/io/cond.h"

#include <dlfcn.h>
#include <lmdb.h>

enum { PATIENCE_MS = 20000, ENTRIES = 40 };

static int set_up(void **state)
{
    if (parts_setup(state) != 0)
        return -1;
    struct parts *p = *state;
    p->config.checkpoint_bytes = 1ull << 40;
    p->config.checkpoint_ms = 3600000;
    assert_int_equal(uv_loop_init(&p->site.loop), 0);
    assert_int_equal(uv_async_init(&p->site.loop, &p->site.wake, NULL), 0);
    for (unsigned i = 0; i < ENTRIES; i++)
        history_put(&p->h, "deeds", i % 2 == 0 ? "even" : "odd", "value");
    parts_log(p);
    parts_apply(p, 0);
    must(applier_start(&p->site, &p->site.applier, &e));
    return 0;
}

static int tear_down(void **state)
{
    struct parts *p = *state;
    applier_stop(p->site.applier);
    uv_close((uv_handle_t *)&p->site.wake, NULL);
    (void)uv_run(&p->site.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->site.loop), 0);
    return parts_teardown(state);
}

static void order(struct parts *p, uint64_t apply, uint64_t publish, uint64_t urgent)
{
    applier_orders(p->site.applier, (struct lsn){apply}, (struct lsn){publish},
                   (struct lsn){urgent});
}

#define wait_until(condition)                                                                      \
    do {                                                                                           \
        const uint64_t end = site_now_ms() + PATIENCE_MS;                                          \
        while (!(condition) && site_now_ms() < end)                                                \
            (void)usleep(1000);                                                                    \
        assert_true(condition);                                                                    \
    } while (0)

static uint64_t applied(struct parts *p)
{
    return applier_applied(p->site.applier).v;
}

/* Of the checkpoint that a start would begin from. */
static uint64_t published(const struct parts *p)
{
    char dir[80];
    struct slot slot;
    int file;
    (void)snprintf(dir, sizeof dir, "%s/state", p->dir);
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    must(checkpoint_open(fd, &file, &slot, &e));
    (void)close(file);
    (void)close(fd);
    return slot.at.lsn.v;
}

static void it_applies_as_far_as_it_is_ordered(void **state)
{
    struct parts *p = *state;
    order(p, 10, 0, 10);
    wait_until(applied(p) == 10);
    order(p, 20, 0, 0); /* nobody waits: a little later */
    order(p, 5, 0, 0);  /* never back */
    wait_until(applied(p) == 20);
    order(p, ENTRIES, 0, ENTRIES);
    wait_until(applied(p) == ENTRIES);
    assert_int_equal(state_applied(p->site.state).lsn.v, ENTRIES);
    struct err why;
    assert_false(applier_failed(p->site.applier, &why));
    assert_false(applier_disk_full(p->site.applier, &why));
    assert_false(applier_disk_full(NULL, &why));
}

static void sums_are_kept_exactly_at_the_mark(void **state)
{
    struct parts *p = *state;
    struct state_sums sums;
    struct applier *a = p->site.applier;
    assert_int_equal(applier_marked(a, (struct lsn){7}, &sums), MARK_MISSED); /* not asked */
    applier_mark(a, (struct lsn){7});
    assert_int_equal(applier_marked(a, (struct lsn){7}, &sums), MARK_AHEAD);
    order(p, 20, 0, 20);
    wait_until(applied(p) == 20);
    wait_until(applier_marked(a, (struct lsn){7}, &sums) == MARK_MET);
    assert_true(sums.known && sums.lsn.v == 7 && sums.records == 2);
    applier_mark(a, (struct lsn){15}); /* it was beyond that already */
    assert_int_equal(applier_marked(a, (struct lsn){15}, &sums), MARK_MISSED);
    applier_mark(a, (struct lsn){30});
    applier_mark(a, (struct lsn){31}); /* another was asked since */
    assert_int_equal(applier_marked(a, (struct lsn){30}, &sums), MARK_MISSED);
    order(p, 31, 0, 31);
    wait_until(applier_marked(a, (struct lsn){31}, &sums) == MARK_MET);
    assert_int_equal(sums.lsn.v, 31);
}

/* ---- its lock is free while it looks at the disk ---- */

enum shut { OPEN, AT_STAT, AT_GET };
/* A call of LMDB's by the applier is held until the gate is opened, or for PATIENCE_MS. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t news;
    enum shut shut;
    bool inside, go_on, in_vain;
    pthread_t by; /* whose calls are let through */
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void gate_shut(enum shut where)
{
    cond_init(&gate.news);
    (void)pthread_mutex_lock(&gate.lock);
    gate.by = pthread_self();
    gate.inside = gate.go_on = gate.in_vain = false;
    gate.shut = where;
    (void)pthread_mutex_unlock(&gate.lock);
}

static void gate_pass(enum shut where)
{
    (void)pthread_mutex_lock(&gate.lock);
    if (where == gate.shut && !pthread_equal(gate.by, pthread_self())) {
        const struct timespec until = cond_deadline(PATIENCE_MS);
        gate.shut = OPEN;
        gate.inside = true;
        (void)pthread_cond_broadcast(&gate.news);
        while (!gate.go_on && !gate.in_vain)
            gate.in_vain = !cond_wait_until(&gate.news, &gate.lock, &until);
    }
    (void)pthread_mutex_unlock(&gate.lock);
}

static void gate_wait(void)
{
    (void)pthread_mutex_lock(&gate.lock);
    while (!gate.inside)
        (void)pthread_cond_wait(&gate.news, &gate.lock);
    (void)pthread_mutex_unlock(&gate.lock);
}

static void gate_open(void)
{
    (void)pthread_mutex_lock(&gate.lock);
    assert_false(gate.in_vain);
    gate.go_on = true;
    (void)pthread_cond_broadcast(&gate.news);
    (void)pthread_mutex_unlock(&gate.lock);
}

/* In place of LMDB's: the first is called where a checkpoint begins, the second where the sums are read. */
int mdb_env_stat(MDB_env *env, MDB_stat *out)
{
    gate_pass(AT_STAT);
    int (*real)(MDB_env *, MDB_stat *) = (int (*)(MDB_env *, MDB_stat *))dlsym(RTLD_NEXT, __func__);
    return real(env, out);
}

int mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
    gate_pass(AT_GET);
    int (*real)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *) =
        (int (*)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *))dlsym(RTLD_NEXT, __func__);
    return real(txn, dbi, key, data);
}

static void its_lock_is_free_while_a_checkpoint_begins(void **state)
{
    struct parts *p = *state;
    order(p, 10, 10, 10);
    wait_until(applied(p) == 10);
    gate_shut(AT_STAT);
    applier_checkpoint_now(p->site.applier);
    gate_wait();
    (void)applied(p); /* takes its lock, as the site's loop does */
    gate_open();
    wait_until(published(p) == 10);
}

static void its_lock_is_free_while_sums_are_read(void **state)
{
    struct parts *p = *state;
    static struct state_sums sums;
    order(p, 10, 0, 10);
    wait_until(applied(p) == 10);
    gate_shut(AT_GET);
    applier_mark(p->site.applier, (struct lsn){10});
    gate_wait();
    (void)applied(p); /* takes its lock, as the site's loop does */
    gate_open();
    wait_until(applier_marked(p->site.applier, (struct lsn){10}, &sums) == MARK_MET);
    assert_int_equal(sums.records, 2);
}

struct job {
    struct parts *p;
    pthread_t thread;
    uint64_t at;
    int rc;
};

static int work(void *arg, struct err *e)
{
    struct job *job = arg;
    job->thread = pthread_self();
    job->at = state_applied(job->p->site.state).lsn.v;
    return job->rc == 0 ? 0 : err_set(e, job->rc, "no luck");
}

static void what_is_run_is_run_by_its_thread_and_waited_for(void **state)
{
    struct parts *p = *state;
    struct job job = {.p = p};
    order(p, 10, 0, 10);
    wait_until(applied(p) == 10);
    must(applier_run(p->site.applier, work, &job, &e));
    assert_int_equal(job.at, 10);
    assert_false(pthread_equal(job.thread, pthread_self()));
    job.rc = ERR_CONDITION;
    must_fail(applier_run(p->site.applier, work, &job, &e), ERR_CONDITION, "no luck");
}

static void a_checkpoint_is_published_when_it_may_be(void **state)
{
    struct parts *p = *state;
    order(p, 10, 0, 10);
    wait_until(applied(p) == 10);
    const uint64_t before = published(p);
    applier_checkpoint_now(p->site.applier);
    (void)usleep(150000); /* it may not yet: nothing says that lsn 10 is committed */
    assert_int_equal(published(p), before);
    order(p, 10, 9, 10);
    (void)usleep(150000);
    assert_int_equal(published(p), before);
    order(p, 10, 10, 10);
    wait_until(published(p) == 10);
}

static void after_so_many_bytes_a_checkpoint_comes_by_itself(void **state)
{
    struct parts *p = *state;
    p->config.checkpoint_bytes = 1000;
    order(p, 20, 20, 20);
    wait_until(published(p) > 0);
}

static void *stop_applier(void *arg)
{
    applier_stop(arg);
    return NULL;
}

static void a_checkpoint_begun_while_it_is_stopped_is_given_up(void **state)
{
    struct parts *p = *state;
    struct job job = {.p = p};
    pthread_t stopper;
    order(p, 10, 10, 10);
    wait_until(applied(p) == 10);
    gate_shut(AT_STAT);
    applier_checkpoint_now(p->site.applier);
    gate_wait();
    assert_int_equal(pthread_create(&stopper, NULL, stop_applier, p->site.applier), 0);
    must_fail(applier_run(p->site.applier, work, &job, &e), ERR_CANCELLED, "the site is stopping");
    gate_open();
    assert_int_equal(pthread_join(stopper, NULL), 0);
    p->site.applier = NULL;
    must(state_reset_to_checkpoint(p->site.state, &e)); /* not while one is begun */
}

static void an_entry_that_cannot_be_had_stops_it_and_who_waits_is_told(void **state)
{
    struct parts *p = *state;
    struct err why = ERR_NONE;
    struct job job = {.p = p};
    order(p, ENTRIES + 5, 0, ENTRIES + 5);
    wait_until(applier_failed(p->site.applier, &why));
    assert_non_null(strstr(why.text, "lsn 41"));
    assert_int_equal(state_applied(p->site.state).lsn.v, ENTRIES);
    must_fail(applier_run(p->site.applier, work, &job, &e), ERR_CANCELLED, "the site is stopping");
    assert_int_equal(job.at, 0);
}

static void a_state_without_space_is_told_once_and_tried_again(void **state)
{
    struct parts *p = *state;
    struct err why = ERR_NONE;
    static char value[200000];
    memset(value, 'v', sizeof value - 1);
    applier_stop(p->site.applier);
    p->site.applier = NULL;
    state_close(p->site.state);
    char dir[80];
    (void)snprintf(dir, sizeof dir, "%s/full", p->dir);
    struct state_options options = kit_options(dir);
    options.map_bytes = 4 << 20;
    must(state_open(&p->site.state, &options, &e));
    for (unsigned i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%u", i);
        history_put(&p->h, "deeds", key, value);
    }
    parts_log(p);
    must(applier_start(&p->site, &p->site.applier, &e));
    order(p, ENTRIES + 40, 0, ENTRIES + 40);
    wait_until(applier_disk_full(p->site.applier, &why));
    assert_int_equal(why.code, ERR_NO_SPACE);
    (void)usleep(700000); /* one more attempt */
    assert_int_equal(parts_told(p, "reads go on, applying is tried again"), 1);
    assert_false(applier_failed(p->site.applier, &why));
    struct job job = {.p = p}; /* and it is there for others */
    must(applier_run(p->site.applier, work, &job, &e));
    assert_true(job.at < ENTRIES + 40);
}

int main(void)
{
#define in_parts(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        in_parts(it_applies_as_far_as_it_is_ordered),
        in_parts(sums_are_kept_exactly_at_the_mark),
        in_parts(its_lock_is_free_while_a_checkpoint_begins),
        in_parts(its_lock_is_free_while_sums_are_read),
        in_parts(what_is_run_is_run_by_its_thread_and_waited_for),
        in_parts(a_checkpoint_is_published_when_it_may_be),
        in_parts(a_checkpoint_begun_while_it_is_stopped_is_given_up),
        in_parts(after_so_many_bytes_a_checkpoint_comes_by_itself),
        in_parts(an_entry_that_cannot_be_had_stops_it_and_who_waits_is_told),
        in_parts(a_state_without_space_is_told_once_and_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
