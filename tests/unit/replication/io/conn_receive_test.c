/* What the connections of a listener receive, all together: large frames share a limit, small ones pass, and each comes to its
 * end. That frames arrive as they were is in conn_test.c. */
#include "tests/unit/replication/io/fixture.h"

enum {
    MANY = 4,
    LARGE = 4 << 20,
    LIMIT = 1 << 20,
    /* that a connection may have of a frame without having asked: one read, and what was in TLS's hands */
    FREE = 256 << 10,
};

struct crowd {
    struct pair pair;
    struct end here[MANY], there[MANY]; /* the accepted ends, and the others */
    uint8_t *large;
};

static void crowd_init(struct crowd *w, enum wire_kind kind, const char *name)
{
    *w = (struct crowd){.large = calloc(1, LARGE)};
    assert_non_null(w->large);
    struct pair *p = &w->pair;
    pair_init(p, "dc", kind, name);
    p->options[0].receive_limit_bytes = LIMIT;
    p->options[0].frame_ms = 2000; /* far less than some will wait */
    p->options[0].idle_ms = 400;
    p->options[1].alive_ms = 100;
    pair_listen(p, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        p->ends[0] = p->ends[1] = (struct end){0};
        pair_connect(p, NULL);
        assert_true(run_until(&p->loop, both_ready, p->ends));
        w->here[i] = p->ends[0];
        w->there[i] = p->ends[1];
        conn_set_arg(w->here[i].conn, &w->here[i]);
        conn_set_arg(w->there[i].conn, &w->there[i]);
    }
    p->ends[0] = p->ends[1] = (struct end){0};
}

static bool all_closed(void *arg)
{
    struct crowd *w = arg;
    unsigned open = 0;
    for (unsigned i = 0; i < MANY; i++)
        open += w->here[i].closed == 0 || w->there[i].closed == 0;
    return open == 0;
}

static void crowd_deinit(struct crowd *w)
{
    for (unsigned i = 0; i < MANY; i++)
        if (w->there[i].conn != NULL)
            conn_close(w->there[i].conn, NULL);
    assert_true(run_until(&w->pair.loop, all_closed, w));
    assert_int_equal(listener_receiving_bytes(w->pair.listener), 0);
    assert_int_equal(listener_waiting(w->pair.listener), 0);
    pair_deinit(&w->pair);
    free(w->large);
}

static void send_frame(struct crowd *w, unsigned i, enum frame_type type, size_t n)
{
    const struct bytes body = bytes_of(w->large, n);
    assert_int_equal(conn_send(w->there[i].conn, type, (struct term){0}, 1, &body, 1, NULL), 0);
}

static void send_to(struct crowd *w, unsigned i, size_t n)
{
    send_frame(w, i, FRAME_TXN, n);
}

/* Bytes of the frame that connection i has begun. */
static uint64_t begun(const struct crowd *w, unsigned i)
{
    return w->here[i].conn == NULL
               ? 0
               : conn_bytes_in(w->here[i].conn) % (FRAME_HEADER_BYTES + (uint64_t)LARGE);
}

static void large_frames_come_one_after_the_other(void **state)
{
    (void)state;
    struct crowd w;
    crowd_init(&w, WIRE_CLIENT, "alice");
    for (unsigned i = 0; i < MANY; i++)
        send_to(&w, i, LARGE);
    uint64_t deadline = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    unsigned done = 0, waited = 0;
    while (done < MANY) {
        assert_true(uv_hrtime() < deadline);
        (void)uv_run(&w.pair.loop, UV_RUN_NOWAIT);
        unsigned large = 0;
        done = 0;
        for (unsigned i = 0; i < MANY; i++) {
            assert_int_equal(w.here[i].closed, 0);
            large += begun(&w, i) > FREE;
            done += w.here[i].frames == 1;
        }
        assert_true(large <= 1); /* each alone is above the limit */
        assert_true(listener_receiving_bytes(w.pair.listener) <= LARGE);
        waited |= listener_waiting(w.pair.listener);
    }
    assert_int_equal(waited != 0, 1);
    crowd_deinit(&w);
}

static bool first_has_begun(void *arg)
{
    return begun(arg, 0) > FREE;
}

static bool two_wait(void *arg)
{
    return listener_waiting(((struct crowd *)arg)->pair.listener) == 2;
}

static bool three_wait(void *arg)
{
    return listener_waiting(((struct crowd *)arg)->pair.listener) == 3;
}

static bool the_last_has_two(void *arg)
{
    return ((struct crowd *)arg)->here[3].frames == 2;
}

static bool the_second_has_one(void *arg)
{
    return ((struct crowd *)arg)->here[1].frames == 1;
}

static void small_frames_pass_and_who_waits_is_let_in_when_others_go(void **state)
{
    (void)state;
    struct crowd w;
    crowd_init(&w, WIRE_CLIENT, "alice");
    send_to(&w, 0, LARGE);
    assert_true(run_until(&w.pair.loop, first_has_begun, &w));
    conn_pause(w.here[0].conn); /* it has room, and does not get on */
    send_to(&w, 1, LARGE);
    send_to(&w, 2, LARGE);
    assert_true(run_until(&w.pair.loop, two_wait, &w));
    send_to(&w, 3, 1000);
    send_to(&w, 3, 64 << 10);
    assert_true(run_until(&w.pair.loop, the_last_has_two, &w));
    for (uint64_t end = uv_hrtime() + 3000 * 1000000ull; uv_hrtime() < end; (void)usleep(1000))
        (void)uv_run(&w.pair.loop, UV_RUN_NOWAIT);
    for (unsigned i = 0; i < MANY; i++) /* neither as silent nor as late */
        assert_int_equal(w.here[i].closed, 0);
    assert_int_equal(w.here[1].frames + w.here[2].frames, 0);
    conn_cut(w.here[2].conn, NULL); /* who waits goes: nothing is left of it */
    assert_int_equal(listener_waiting(w.pair.listener), 1);
    conn_cut(w.here[0].conn, NULL); /* who has room goes: the next has it */
    assert_true(run_until(&w.pair.loop, the_second_has_one, &w));
    assert_true(w.here[1].bytes == LARGE);
    crowd_deinit(&w);
}

/* Whoever has to find out why nothing gets on is not to wait for it. */
static void an_operators_command_passes_up_to_a_mebibyte(void **state)
{
    (void)state;
    for (int operators = 0; operators < 2; operators++) {
        struct crowd w;
        if (operators)
            crowd_init(&w, WIRE_OPERATOR, "olga");
        else
            crowd_init(&w, WIRE_CLIENT, "alice");
        send_to(&w, 0, LARGE);
        assert_true(run_until(&w.pair.loop, first_has_begun, &w));
        conn_pause(w.here[0].conn);
        send_to(&w, 1, LARGE);
        send_frame(&w, 2, FRAME_ADMIN, LARGE);
        assert_true(run_until(&w.pair.loop, two_wait, &w));
        send_frame(&w, 3, FRAME_ADMIN, LIMIT);
        send_frame(&w, 3, FRAME_ADMIN, LIMIT / 2);
        if (operators)
            assert_true(run_until(&w.pair.loop, the_last_has_two, &w));
        else
            assert_true(run_until(&w.pair.loop, three_wait, &w));
        assert_int_equal(listener_receiving_bytes(w.pair.listener), LARGE);
        conn_cut(w.here[0].conn, NULL);
        crowd_deinit(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_frames_come_one_after_the_other),
        cmocka_unit_test(small_frames_pass_and_who_waits_is_let_in_when_others_go),
        cmocka_unit_test(an_operators_command_passes_up_to_a_mebibyte),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
