/* The thread that reads old log for sites that are behind, over a real log: whole, in order, from anywhere, for several sites at
 * once; and what was read before the log is cut is never sent behind the cut. */
#include "tests/unit/replication/parts_kit.h"

enum { PATIENCE_MS = 20000, ENTRIES = 400, DR = 1, GSR = 2 };

static void put_some(struct parts *p, unsigned n, const char *tag)
{
    static char value[40000];
    memset(value, 'v', sizeof value - 1);
    for (unsigned i = 0; i < n; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "%s%u", tag, i);
        history_put(&p->h, "deeds", key, i % 3 == 0 ? value : "small");
    }
}

static void on_wake(uv_async_t *wake)
{
    (void)wake;
}

static int set_up(void **state)
{
    if (parts_setup(state) != 0)
        return -1;
    struct parts *p = *state;
    assert_int_equal(uv_loop_init(&p->site.loop), 0);
    assert_int_equal(uv_async_init(&p->site.loop, &p->site.wake, on_wake), 0);
    put_some(p, ENTRIES, "k");
    parts_log(p);
    must(ahead_start(&p->site, &p->site.ahead, &e));
    return 0;
}

static int tear_down(void **state)
{
    struct parts *p = *state;
    ahead_stop(p->site.ahead);
    uv_close((uv_handle_t *)&p->site.wake, NULL);
    (void)uv_run(&p->site.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->site.loop), 0);
    return parts_teardown(state);
}

/* Until it is not "later" any more. */
static int borrow(struct parts *p, uint8_t to, uint64_t after, const struct ahead_piece **out,
                  struct err *why)
{
    const uint64_t end = site_now_ms() + PATIENCE_MS;
    int rc = ERR_BUSY;
    while (rc == ERR_BUSY && site_now_ms() < end) {
        rc = ahead_borrow(p->site.ahead, to, (struct lsn){after}, out, why);
        if (rc == ERR_BUSY)
            (void)usleep(500);
    }
    return rc;
}

/* The piece that follows `at` is what the history has there. Returns its last lsn. */
static uint64_t look(struct parts *p, uint8_t to, uint64_t at)
{
    const struct ahead_piece *piece;
    struct err why = ERR_NONE;
    assert_int_equal(borrow(p, to, at, &piece, &why), 0);
    assert_true(piece->count > 0 && (piece->used <= REPL_BATCH_BYTES || piece->count == 1));
    assert_int_equal(piece->before.lsn.v, at);
    if (at > 0)
        assert_true(sha256_equal(&piece->before.hash, &p->h.v[at - 1].hash));
    struct bytes in = bytes_of(piece->bytes, piece->used);
    for (uint32_t i = 0; i < piece->count; i++) {
        struct entry_view v;
        size_t used;
        assert_int_equal(entry_decode(in, &v, &used, &why), 0);
        assert_int_equal(v.header.lsn.v, ++at);
        assert_true(sha256_equal(&v.hash, &p->h.v[at - 1].hash));
        in = bytes_of(in.p + used, in.n - used);
    }
    assert_int_equal(in.n, 0);
    assert_int_equal(piece->last.lsn.v, at);
    assert_true(sha256_equal(&piece->last.hash, &p->h.v[at - 1].hash));
    return at;
}

static void two_sites_read_all_of_the_log_in_order_from_where_each_is(void **state)
{
    struct parts *p = *state;
    uint64_t dr = 0, gsr = 150;
    unsigned pieces = 0;
    while (dr < p->h.n || gsr < p->h.n) {
        if (dr < p->h.n) {
            dr = look(p, DR, dr);
            ahead_sent(p->site.ahead, DR);
            pieces++;
        }
        if (gsr < p->h.n) {
            gsr = look(p, GSR, gsr);
            ahead_sent(p->site.ahead, GSR);
        }
    }
    assert_in_range(pieces, 4, 100); /* 5 MB in pieces of 1 MiB at most */
    assert_true(ahead_news(p->site.ahead));
}

static void what_was_not_sent_is_lent_again_and_another_place_can_be_asked_for(void **state)
{
    struct parts *p = *state;
    uint64_t first = look(p, DR, 0);
    assert_int_equal(look(p, DR, 0), first);
    ahead_sent(p->site.ahead, DR);
    (void)look(p, DR, 77); /* while it reads on behind the first piece */
    (void)look(p, DR, first);
    ahead_done(p->site.ahead, DR);
    assert_int_equal(look(p, DR, 0), first);
}

static void beyond_the_end_there_is_nothing_until_there_is(void **state)
{
    struct parts *p = *state;
    const struct ahead_piece *piece;
    struct err why = ERR_NONE;
    assert_int_equal(borrow(p, DR, ENTRIES, &piece, &why), ERR_NOT_FOUND);
    put_some(p, 1, "more");
    parts_log(p);
    assert_int_equal(look(p, DR, ENTRIES), ENTRIES + 1);
}

static void history_cut(struct history *h, size_t keep)
{
    while (h->n > keep)
        free((void *)(uintptr_t)h->v[--h->n].raw);
    h->at = entry_position_of(&h->v[keep - 1]);
}

/* The sites' histories parted at 100: what was read of the old one must not go out as the new one. */
static void what_was_read_before_a_cut_is_forgotten(void **state)
{
    struct parts *p = *state;
    for (unsigned round = 0; round < 20; round++) {
        const uint64_t keep = 100 + round;
        struct err why = ERR_NONE;
        const struct ahead_piece *piece;
        (void)look(p, DR, keep);
        (void)look(p, GSR, keep);
        ahead_sent(p->site.ahead, GSR); /* being read, or read already */
        if (round % 2 == 0)
            (void)ahead_borrow(p->site.ahead, DR, (struct lsn){keep + 1}, &piece, &why);
        ahead_forget(p->site.ahead);
        must(log_truncate(p->site.log, (struct lsn){keep}, &e));
        history_cut(&p->h, keep);
        p->logged = keep;
        put_some(p, 200, round % 2 == 0 ? "even" : "odd");
        parts_log(p);
        for (uint64_t at = keep; at < p->h.n; ahead_sent(p->site.ahead, DR))
            at = look(p, DR, at);
        for (uint64_t at = keep; at < p->h.n; ahead_sent(p->site.ahead, GSR))
            at = look(p, GSR, at);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(two_sites_read_all_of_the_log_in_order_from_where_each_is),
        TEST(what_was_not_sent_is_lent_again_and_another_place_can_be_asked_for),
        TEST(beyond_the_end_there_is_nothing_until_there_is),
        TEST(what_was_read_before_a_cut_is_forgotten),
    };
    return cmocka_run_group_tests_name("ahead", tests, NULL, NULL);
}
