/* Where a listener cannot listen, and what becomes of connections when it ends or the process has no descriptors left. Limits are
 * in conn_test.c and conn_attack_test.c. */
#include "tests/unit/replication/io/fixture.h"

#include <sys/resource.h>

static void a_place_to_listen_is_refused_with_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint;
        int code;
        const char *why;
    } places[] = {
        {"dc", ERR_USAGE, "'dc' is not an endpoint: write host:port"},
        {"no-such-host.invalid:0", ERR_CONFIG,
         "no-such-host.invalid:0: the name cannot be resolved: "},
        {"192.0.2.77:0", ERR_CONFIG, "192.0.2.77:0: no interface of this machine"},
    };
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct listener *l = NULL;
        struct err e = ERR_NONE;
        assert_int_equal(conn_listen(&l, &p.options[0], places[i].endpoint, 1, NULL, &e),
                         places[i].code);
        assert_null(l);
        if (strncmp(e.text, places[i].why, strlen(places[i].why)) != 0)
            fail_msg("'%s' does not begin with '%s'", e.text, places[i].why);
    }
    pair_deinit(&p);
}

static bool raw_has_an_answer(struct raw *r)
{
    return r->secured || r->eof;
}

static void a_listener_that_closes_ends_handshakes_and_leaves_the_others(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    struct end served[2];
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_ready(&p);
    for (int i = 0; i < 2; i++) {
        served[i] = p.ends[i];
        conn_set_arg(served[i].conn, &served[i]);
    }
    p.ends[0] = (struct end){0};
    raw_connect(&r, listener_port(p.listener), p.tls[1]);
    assert_true(raw_run(&r, &p.loop, raw_has_an_answer)); /* and says no hello */
    assert_int_equal(p.ends[0].ready + p.ends[0].closed, 0);
    listener_close(p.listener);
    p.listener = NULL;
    assert_true(run_until(&p.loop, is_closed, &p.ends[0]));
    assert_int_equal(p.ends[0].why.code, ERR_CANCELLED);
    assert_non_null(strstr(p.ends[0].why.text, "the listener was closed during the handshake"));
    raw_deinit(&r);
    struct bytes body = bytes_str("still here");
    assert_int_equal(conn_send(served[1].conn, FRAME_GET, (struct term){0}, 1, &body, 1, NULL), 0);
    while (served[0].frames == 0 && served[0].closed == 0)
        (void)uv_run(&p.loop, UV_RUN_ONCE);
    assert_int_equal(served[0].frames, 1);
    conn_close(served[1].conn, NULL);
    assert_true(run_until(&p.loop, both_closed, served));
    p.ends[1] = (struct end){0};
    pair_deinit(&p);
}

static bool raw_is_closed(struct raw *r)
{
    return r->eof;
}

/* The lowest descriptor that is free, which is the number that the limit has to have for none to be. */
static rlim_t descriptors(void)
{
    int fd = dup(0);
    assert_true(fd >= 0);
    (void)close(fd);
    return (rlim_t)fd;
}

static void without_descriptors_the_client_is_turned_away_and_the_next_one_served(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    struct rlimit before, tight;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_ready(&p);
    struct end served[2] = {p.ends[0], p.ends[1]};
    for (int i = 0; i < 2; i++)
        conn_set_arg(served[i].conn, &served[i]);
    p.ends[0] = p.ends[1] = (struct end){0};
    raw_connect(&r, listener_port(p.listener), NULL);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = descriptors();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    bool closed = raw_run(&r, &p.loop, raw_is_closed);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(closed);
    assert_int_equal(p.ends[0].ready + p.ends[0].closed, 0);
    raw_deinit(&r);
    pair_connect(&p, "dc");
    assert_true(run_until(&p.loop, both_ready, p.ends));
    assert_int_equal(served[0].closed + served[1].closed, 0);
    conn_close(served[1].conn, NULL);
    assert_true(run_until(&p.loop, both_closed, served));
    pair_deinit(&p);
}

static void who_is_not_wanted_for_a_time_is_told_why_and_who_is_connected_stays(void **state)
{
    (void)state;
    struct pair p;
    struct end served[2];
    struct err why = ERR_NONE;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_ready(&p);
    for (int i = 0; i < 2; i++) {
        served[i] = p.ends[i];
        conn_set_arg(served[i].conn, &served[i]);
    }
    p.ends[0] = p.ends[1] = (struct end){0};
    (void)err_set(&why, ERR_UNREACHABLE, "dc is isolated");
    listener_refuse(p.listener, 1u << WIRE_CLIENT, &why); /* others than these */
    pair_connect(&p, "dc");
    assert_true(run_until(&p.loop, both_ready, p.ends));
    conn_close(p.ends[1].conn, NULL);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    p.ends[0] = p.ends[1] = (struct end){0};
    listener_refuse(p.listener, 1u << WIRE_SITE, &why);
    pair_connect(&p, "dc");
    assert_true(run_until(&p.loop, both_closed, p.ends));
    assert_int_equal(p.ends[0].ready + p.ends[1].ready, 0);
    assert_int_equal(p.ends[1].why.code, ERR_UNREACHABLE);
    assert_non_null(strstr(p.ends[1].why.text, "refused us: dc is isolated"));
    assert_int_equal(served[0].closed + served[1].closed, 0);
    p.ends[0] = p.ends[1] = (struct end){0};
    listener_refuse(p.listener, 0, &why);
    pair_connect(&p, "dc");
    assert_true(run_until(&p.loop, both_ready, p.ends));
    conn_close(served[1].conn, NULL);
    assert_true(run_until(&p.loop, both_closed, served));
    pair_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_to_listen_is_refused_with_what_to_do),
        cmocka_unit_test(a_listener_that_closes_ends_handshakes_and_leaves_the_others),
        cmocka_unit_test(who_is_not_wanted_for_a_time_is_told_why_and_who_is_connected_stays),
        cmocka_unit_test(without_descriptors_the_client_is_turned_away_and_the_next_one_served),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
