/* Two batches in flight: the disk may finish them in any order, or only one of them. The engines here hold the write of the
 * first batch back until the test lets it go. */
#include "log_util.h"

struct held {
    struct engine engine;
    struct gate *gate;
};

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool hold;         /* the next write of a batch waits ... */
    bool held;         /* ... and does so now */
    bool fail_held;    /* let go, it fails */
    unsigned finished; /* syncs */
    struct held lanes[2];
};

static struct fixture fx;
static struct gate gate;

static ssize_t gated_write(struct engine *self, int fd, const uint8_t *p, size_t n, uint64_t offset)
{
    struct gate *g = ((struct held *)(void *)self)->gate;
    bool fail = false;
    pthread_mutex_lock(&g->lock);
    if (g->hold && offset > 0) {
        g->hold = false;
        g->held = true;
        pthread_cond_broadcast(&g->news);
        while (g->held)
            pthread_cond_wait(&g->news, &g->lock);
        fail = g->fail_held;
    }
    pthread_mutex_unlock(&g->lock);
    if (fail)
        return -EIO;
    return pwrite(fd, p, n, (off_t)offset) < 0 ? -errno : (ssize_t)n;
}

static int gated_sync(struct engine *self, int fd)
{
    struct gate *g = ((struct held *)(void *)self)->gate;
    int rc = fdatasync(fd) != 0 ? -errno : 0;
    pthread_mutex_lock(&g->lock);
    g->finished++;
    pthread_cond_broadcast(&g->news);
    pthread_mutex_unlock(&g->lock);
    return rc;
}

static int set_up(void **state)
{
    (void)state;
    util_new(&fx);
    memset(&gate, 0, sizeof gate);
    pthread_mutex_init(&gate.lock, NULL);
    pthread_cond_init(&gate.news, NULL);
    for (unsigned i = 0; i < 2; i++)
        gate.lanes[i] = (struct held){{LOG_ENGINE_PLAIN, 0, gated_write, gated_sync, NULL}, &gate};
    fx.seam.engine = &gate.lanes[0].engine;
    fx.seam.beside = &gate.lanes[1].engine;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    util_free(&fx);
    return 0;
}

static uint64_t durable(void)
{
    pthread_mutex_lock(&fx.mutex);
    uint64_t lsn = fx.durable;
    pthread_mutex_unlock(&fx.mutex);
    return lsn;
}

/* Append one entry whose write is held back, then one more, and wait until that one is on the disk. */
static void one_held_one_through(void)
{
    struct err e = ERR_NONE;
    chain_add(&fx.chain, 1000);
    chain_add(&fx.chain, 1000);
    const uint64_t first = fx.chain.last - 1;
    pthread_mutex_lock(&gate.lock);
    gate.hold = true;
    const unsigned finished = gate.finished;
    pthread_mutex_unlock(&gate.lock);
    assert_int_equal(util_give(&fx, first, first, &e), 0);
    pthread_mutex_lock(&gate.lock);
    while (!gate.held)
        pthread_cond_wait(&gate.news, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    assert_int_equal(util_give(&fx, first + 1, first + 1, &e), 0);
    pthread_mutex_lock(&gate.lock);
    while (gate.finished == finished)
        pthread_cond_wait(&gate.news, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static void let_go(bool fail)
{
    pthread_mutex_lock(&gate.lock);
    gate.fail_held = fail;
    gate.held = false;
    pthread_cond_broadcast(&gate.news);
    pthread_mutex_unlock(&gate.lock);
}

static void a_batch_is_not_durable_before_the_one_in_front_of_it(void **state)
{
    (void)state;
    util_open(&fx, 0);
    util_append(&fx, 3, 500);
    one_held_one_through();
    (void)usleep(20000); /* time enough to do it wrong */
    assert_int_equal(durable(), 3);
    struct log_status s;
    log_status(fx.log, &s);
    assert_int_equal(s.durable.v, 3);
    let_go(false);
    util_wait(&fx, 5);
    util_expect(&fx, 1, 5);
    util_close(&fx);
    util_open(&fx, 0);
    util_expect(&fx, 1, 5);
    util_close(&fx);
}

static void a_hole_in_front_of_a_whole_batch_is_cut_with_it(void **state)
{
    (void)state;
    struct dir_image image;
    util_open(&fx, 0);
    util_append(&fx, 3, 500);
    one_held_one_through();
    image_take(&image, fx.dir); /* the power goes here: lsn 5 is on the disk, lsn 4 is not */
    let_go(false);
    util_wait(&fx, 5);
    util_close(&fx);
    image_put(&image, fx.dir);
    image_free(&image);
    util_open(&fx, 0);
    util_expect(&fx, 1, 3);
    fx.chain.last = 3;
    fx.chain.term = 2; /* another history from here on */
    util_append(&fx, 4, 700);
    util_expect(&fx, 1, 7);
    util_close(&fx);
    util_open(&fx, 0); /* what was cut does not come back */
    util_expect(&fx, 1, 7);
    util_close(&fx);
}

static void a_failure_in_front_leaves_nothing_behind_it_durable(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    util_append(&fx, 3, 500);
    one_held_one_through();
    let_go(true);
    pthread_mutex_lock(&fx.mutex);
    while (fx.failures == 0)
        pthread_cond_wait(&fx.changed, &fx.mutex);
    pthread_mutex_unlock(&fx.mutex);
    assert_int_equal(log_close(fx.log, &e), ERR_IO);
    assert_int_equal(fx.failures, 1);
    assert_int_equal(durable(), 3);
}

static void a_large_batch_waits_for_the_one_in_flight(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    util_open(&fx, 0);
    util_append(&fx, 1, 500);
    chain_add(&fx.chain, 1000);
    chain_add(&fx.chain, LOG_BESIDE_BYTES);
    pthread_mutex_lock(&gate.lock);
    gate.hold = true;
    const unsigned finished = gate.finished;
    pthread_mutex_unlock(&gate.lock);
    assert_int_equal(util_give(&fx, 2, 2, &e), 0);
    pthread_mutex_lock(&gate.lock);
    while (!gate.held)
        pthread_cond_wait(&gate.news, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    assert_int_equal(util_give(&fx, 3, 3, &e), 0);
    (void)usleep(20000);
    pthread_mutex_lock(&gate.lock);
    assert_int_equal(gate.finished, finished);
    pthread_mutex_unlock(&gate.lock);
    let_go(false);
    util_wait(&fx, 3);
    util_close(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_batch_is_not_durable_before_the_one_in_front_of_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hole_in_front_of_a_whole_batch_is_cut_with_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_failure_in_front_leaves_nothing_behind_it_durable, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_large_batch_waits_for_the_one_in_flight, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
