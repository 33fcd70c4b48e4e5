/* Connections between two well-behaved ends: ready, frames, back-pressure, closing. What strangers do is in conn_attack_test.c,
 * certificates are in conn_cert_test.c. */
#include "tests/unit/count_mallocs.h"
#include "tests/unit/replication/io/fixture.h"

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 16;
}

/* ---- ready ---- */

static void both_ends_learn_who_the_other_is(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    pair_ready(&p);
    assert_string_equal(p.ends[0].peer.name, "alice");
    assert_int_equal(p.ends[0].peer.kind, WIRE_CLIENT);
    assert_string_equal(p.ends[1].peer.name, "dc");
    assert_int_equal(p.ends[1].peer.kind, WIRE_SITE);
    assert_string_equal(conn_remote(p.ends[1].conn), p.endpoint);
    pair_deinit(&p);
    assert_int_equal(p.ends[0].closed, 1);
    assert_int_equal(p.ends[1].closed, 1);
}

static void a_client_learns_the_cluster_id(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    p.options[1].cluster_id = (struct uuid){{0}};
    pair_ready(&p);
    struct bytes body = bytes_str("x");
    assert_int_equal(conn_send(p.ends[1].conn, FRAME_GET, (struct term){0}, 1, &body, 1, NULL), 0);
    while (p.ends[0].frames == 0 && p.ends[0].closed == 0)
        (void)uv_run(&p.loop, UV_RUN_ONCE);
    assert_int_equal(p.ends[0].frames, 1);
    pair_deinit(&p);
}

/* ---- frames ---- */

enum { FRAMES = 10000, BODY_MAX = 20000 };

/* The n-th body of a direction: some compress, some do not, some are empty, one in a thousand is large. */
static size_t body_of(uint64_t number, uint64_t seed, uint8_t *out)
{
    uint64_t s = seed ^ (number * 0x9e3779b97f4a7c15u);
    uint64_t kind = next(&s) % 1000;
    size_t n = kind == 0 ? BODY_MAX * 20 : kind < 50 ? next(&s) % BODY_MAX : next(&s) % 300;
    bool text = next(&s) % 2 == 0;
    for (size_t i = 0; i < n; i++)
        out[i] = text ? (uint8_t)("passport"[i % 8] + (i % 97 == 0 ? (int)(next(&s) % 9) : 0))
                      : (uint8_t)next(&s);
    return n;
}

static int check_body(struct end *end, const struct frame *f, struct bytes body, struct err *why)
{
    static uint8_t expected[BODY_MAX * 20];
    size_t n = body_of(end->frames - 1, end->seed, expected);
    if (f->request != end->frames || f->type != FRAME_TXN || f->term.v != end->seed ||
        body.n != n || (n != 0 && memcmp(body.p, expected, n) != 0))
        return err_set(why, ERR_INTEGRITY, "frame %llu is not the one that was sent",
                       (unsigned long long)end->frames);
    return 0;
}

static void exchange(int zstd_level)
{
    static uint8_t body[BODY_MAX * 20];
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    p.options[0].zstd_level = p.options[1].zstd_level = zstd_level;
    p.options[0].queue_limit_bytes = p.options[1].queue_limit_bytes = 1 << 20;
    pair_ready(&p);
    uint64_t sent[2] = {0, 0}, plain[2] = {0, 0};
    p.ends[0].seed = 11;
    p.ends[1].seed = 22;
    p.ends[0].check_frame = p.ends[1].check_frame = check_body;
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while ((p.ends[0].frames < FRAMES || p.ends[1].frames < FRAMES) &&
           p.ends[0].closed + p.ends[1].closed == 0) {
        assert_true(uv_hrtime() < end);
        for (int i = 0; i < 2; i++)
            for (unsigned burst = 0; burst < 50 && sent[i] < FRAMES; burst++) {
                uint64_t seed = p.ends[1 - i].seed;
                size_t n = body_of(sent[i], seed, body), cut = n / 3;
                struct bytes pieces[2] = {{body, cut}, {body + cut, n - cut}};
                struct err e = ERR_NONE;
                int rc = conn_send(p.ends[i].conn, FRAME_TXN, (struct term){seed}, sent[i] + 1,
                                   pieces, 2, &e);
                if (rc == ERR_BUSY)
                    break;
                assert_int_equal(rc, 0);
                sent[i]++;
                plain[i] += n + FRAME_HEADER_BYTES;
            }
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    }
    assert_string_equal(p.ends[0].why.text, "");
    assert_string_equal(p.ends[1].why.text, "");
    if (zstd_level > 0)
        assert_true(conn_bytes_in(p.ends[1].conn) < plain[0] * 3 / 4);
    else
        assert_in_range(conn_bytes_in(p.ends[1].conn), plain[0], plain[0] + 128); /* and a hello */
    pair_deinit(&p);
}

static void ten_thousand_frames_each_way_arrive_as_they_were(void **state)
{
    (void)state;
    exchange(0);
}

/* A flush after each frame, thousands of times. */
static void chunks_of_the_send_queue_are_used_again(void **state)
{
    (void)state;
    enum { SENT = 2000 };
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    pair_ready(&p);
    static uint8_t content[1000];
    struct bytes body = bytes_of(content, sizeof content);
    unsigned long before = 0;
    for (unsigned i = 0; i < SENT; i++) {
        if (i == 10)
            before = large_mallocs;
        assert_int_equal(conn_send(p.ends[1].conn, FRAME_TXN, (struct term){0}, 1, &body, 1, NULL),
                         0);
        while (p.ends[0].frames == i && p.ends[0].closed == 0)
            (void)uv_run(&p.loop, UV_RUN_ONCE);
    }
    assert_int_equal(p.ends[0].frames, SENT);
    assert_int_equal(large_mallocs, before);
    pair_deinit(&p);
}

static void compression_changes_nothing_but_the_size(void **state)
{
    (void)state;
    exchange(1);
}

static void the_largest_frame_passes_and_the_next_larger_does_not(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    p.options[0].max_body = p.options[1].max_body = 3 << 20;
    p.options[1].queue_limit_bytes = 1 << 20; /* a frame above the limit passes an empty queue */
    pair_ready(&p);
    uint8_t *large = calloc(1, (3 << 20) + 1);
    assert_non_null(large);
    struct bytes body = {large, (3 << 20) + 1};
    struct err e = ERR_NONE;
    assert_int_equal(conn_send(p.ends[1].conn, FRAME_TXN, (struct term){0}, 1, &body, 1, &e),
                     ERR_LIMIT);
    assert_non_null(strstr(e.text, "txn frame of 3145729 bytes for 127.0.0.1:"));
    body.n--;
    assert_int_equal(conn_send(p.ends[1].conn, FRAME_TXN, (struct term){0}, 1, &body, 1, &e), 0);
    while (p.ends[0].frames == 0 && p.ends[0].closed == 0)
        (void)uv_run(&p.loop, UV_RUN_ONCE);
    assert_int_equal(p.ends[0].bytes, 3 << 20);
    free(large);
    pair_deinit(&p);
}

static void keys_are_changed_under_way(void **state)
{
    (void)state;
    SSL_CTX *tls[2] = {context_of("dc"), context_of("dr")};
    struct channel ch[2] = {0};
    bool done[2] = {false, false}, closed;
    for (int i = 0; i < 2; i++)
        assert_int_equal(channel_open(&ch[i], tls[i], i == 0, NULL), 0);
    ch[1].rekey_bytes = 10000;
    static uint8_t plain[4000], got[CHANNEL_READ_MIN_BYTES];
    size_t total = 0, n = 0;
    for (int round = 0; round < 100; round++)
        for (int i = 1; i >= 0; i--) { /* what one has to say goes to the other */
            if (!done[i]) {
                assert_int_equal(channel_handshake(&ch[i], &done[i], NULL), 0);
            } else {
                do {
                    assert_int_equal(channel_read(&ch[i], got, sizeof got, &n, &closed, NULL), 0);
                    total += n;
                } while (n != 0);
                if (round > 3 && i == 1)
                    assert_int_equal(channel_write(&ch[i], bytes_of(plain, sizeof plain), NULL), 0);
            }
            struct bytes out = buffer_content(&ch[i].out);
            channel_feed(&ch[1 - i], out);
            if (!done[1 - i])
                assert_int_equal(channel_handshake(&ch[1 - i], &done[1 - i], NULL), 0);
            while (done[1 - i] && ch[1 - i].in.n != 0) {
                assert_int_equal(channel_read(&ch[1 - i], got, sizeof got, &n, &closed, NULL), 0);
                total += n;
            }
            buffer_consume(&ch[i].out, out.n);
        }
    assert_int_equal(total, 96 * sizeof plain);
    assert_true(ch[1].sealed_bytes <= 12000); /* else it never began anew */
    for (int i = 0; i < 2; i++) {
        channel_deinit(&ch[i]);
        SSL_CTX_free(tls[i]);
    }
}

/* ---- back-pressure ---- */

static void a_slow_reader_is_felt_and_loses_nothing(void **state)
{
    (void)state;
    static uint8_t block[100000];
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    p.options[1].queue_limit_bytes = 1 << 20;
    p.options[0].frame_ms = 50; /* must not count while paused */
    pair_ready(&p);
    p.ends[0].mute = true;
    struct bytes body = bytes_of(block, sizeof block);
    struct err e = ERR_NONE;
    uint64_t sent = 0, end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000, full_since = 0;
    while (full_since == 0 ||
           uv_hrtime() - full_since < 200000000) { /* until the kernel's buffers are full too */
        assert_true(uv_hrtime() < end);
        int rc = conn_send(p.ends[1].conn, FRAME_TXN, (struct term){0}, sent + 1, &body, 1, &e);
        assert_true(rc == 0 || rc == ERR_BUSY);
        sent += rc == 0;
        full_since = rc == 0 ? 0 : full_since != 0 ? full_since : uv_hrtime();
        assert_true(conn_queued_bytes(p.ends[1].conn) <= (1 << 20) + 4096);
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    }
    assert_non_null(strstr(e.text, "the limit is 1048576"));
    assert_int_equal(p.ends[0].frames, 1);
    assert_int_equal(p.ends[0].closed, 0);
    unsigned drained = p.ends[1].drained;
    p.ends[0].mute = false;
    conn_resume(p.ends[0].conn);
    while (p.ends[0].frames < sent && p.ends[0].closed == 0)
        (void)uv_run(&p.loop, UV_RUN_ONCE);
    assert_int_equal(p.ends[0].frames, sent);
    assert_int_equal(p.ends[0].bytes, sent * sizeof block);
    assert_true(p.ends[1].drained > drained);
    pair_deinit(&p);
}

static int pause_each(struct end *end, const struct frame *f, struct bytes body, struct err *why)
{
    (void)f, (void)body, (void)why;
    conn_pause(end->conn);
    conn_resume(end->conn);
    conn_pause(end->conn);
    return 0;
}

static void a_pause_holds_frames_that_have_already_arrived(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    pair_ready(&p);
    p.ends[0].check_frame = pause_each;
    struct bytes body = bytes_str("one of twenty in a single read");
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(
            conn_send(p.ends[1].conn, FRAME_GET, (struct term){0}, i + 1, &body, 1, NULL), 0);
    conn_close(p.ends[1].conn, NULL); /* the goodbye is in that read, too, and must not overtake */
    for (unsigned i = 1; i <= 20; i++) {
        for (unsigned turn = 0; turn < 50 || (p.ends[0].frames < i && turn < 100000); turn++)
            (void)uv_run(&p.loop, UV_RUN_NOWAIT);
        assert_int_equal(p.ends[0].frames, i);
        if (i < 20)
            assert_int_equal(p.ends[0].closed, 0);
        conn_resume(p.ends[0].conn);
    }
    assert_true(run_until(&p.loop, both_closed, p.ends));
    assert_non_null(strstr(p.ends[0].why.text, "closed by the peer"));
    pair_deinit(&p);
}

/* ---- closing ---- */

static void what_is_queued_arrives_before_the_end(void **state)
{
    (void)state;
    static uint8_t block[50000];
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    pair_ready(&p);
    struct bytes body = bytes_of(block, sizeof block);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(conn_send(p.ends[0].conn, FRAME_PEER, (struct term){0}, 0, &body, 1, NULL),
                         0);
    conn_close(p.ends[0].conn, NULL);
    struct err e = ERR_NONE;
    assert_int_equal(conn_send(p.ends[0].conn, FRAME_PEER, (struct term){0}, 0, &body, 1, &e),
                     ERR_UNREACHABLE);
    assert_non_null(strstr(e.text, "connection is closing"));
    conn_close(p.ends[0].conn, NULL);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    assert_int_equal(p.ends[1].frames, 100);
    assert_false(p.ends[0].has_why);
    assert_true(p.ends[1].has_why);
    assert_int_equal(p.ends[1].why.code, ERR_UNREACHABLE);
    assert_non_null(strstr(p.ends[1].why.text, "closed by the peer"));
    pair_deinit(&p);
}

static int refuse(struct end *end, const struct frame *f, struct bytes body, struct err *why)
{
    (void)end, (void)f, (void)body;
    return err_set(why, ERR_STALE, "term 3 is over\x1b[31m");
}

static void the_reason_of_a_refusal_reaches_the_peer(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_ready(&p);
    p.ends[0].check_frame = refuse;
    struct bytes body = bytes_str("x");
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(conn_send(p.ends[1].conn, FRAME_PEER, (struct term){3}, 0, &body, 1, NULL),
                         0);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    assert_int_equal(p.ends[0].frames, 1); /* nothing after a refusal */
    assert_int_equal(p.ends[0].why.code, ERR_STALE);
    assert_int_equal(p.ends[1].why.code, ERR_STALE);
    char text[256];
    (void)snprintf(text, sizeof text, "%s: closed: term 3 is over?[31m", p.endpoint);
    assert_string_equal(p.ends[1].why.text, text);
    pair_deinit(&p);
}

static void a_closing_end_does_not_wait_for_a_deaf_peer(void **state)
{
    (void)state;
    static uint8_t block[1 << 20];
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_ready(&p);
    p.ends[0].mute = true;
    struct bytes body = bytes_of(block, sizeof block);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(conn_send(p.ends[1].conn, FRAME_PEER, (struct term){0}, 0, &body, 1, NULL),
                         0);
    for (unsigned i = 0; i < 200; i++)
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    uint64_t start = uv_hrtime();
    conn_close(p.ends[1].conn, NULL);
    assert_true(run_until(&p.loop, is_closed, &p.ends[1]));
    uint64_t ms = (uv_hrtime() - start) / 1000000;
    assert_true(ms >= 900 && ms < 5000);
    pair_deinit(&p);
}

static void closing_while_connecting_is_reported_once(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_listen(&p, 10);
    for (unsigned turns = 0; turns < 12; turns++) {
        struct end end = {0};
        struct conn *c;
        assert_int_equal(conn_connect(&c, &p.options[1], p.endpoint, NULL, &end, NULL), 0);
        for (unsigned i = 0; i < turns; i++)
            (void)uv_run(&p.loop, UV_RUN_NOWAIT);
        if (end.closed == 0)
            conn_close(c, NULL);
        assert_true(run_until(&p.loop, is_closed, &end));
        assert_int_equal(end.closed, 1);
        assert_false(end.has_why);
        p.ends[0] = (struct end){.conn = p.ends[0].conn};
    }
    struct end named = {0};
    struct conn *c;
    assert_int_equal(conn_connect(&c, &p.options[1], "localhost:1", NULL, &named, NULL), 0);
    conn_close(c, NULL); /* during the look-up, which may come back later */
    assert_true(run_until(&p.loop, is_closed, &named));
    pair_deinit(&p);
}

/* ---- endpoints ---- */

static void a_port_in_use_is_named(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_listen(&p, 10);
    struct listener *second = NULL;
    struct err e = ERR_NONE;
    assert_int_equal(conn_listen(&second, &p.options[0], p.endpoint, 10, NULL, &e), ERR_EXISTS);
    assert_null(second);
    assert_non_null(strstr(e.text, p.endpoint));
    assert_non_null(strstr(e.text, "in use by another process"));
    assert_int_equal(conn_listen(&second, &p.options[0], "192.0.2.77:7400", 10, NULL, &e),
                     ERR_CONFIG);
    assert_non_null(strstr(e.text, "no interface"));
    pair_deinit(&p);
}

static void endpoints_are_understood_or_explained(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",         "dc",    ":7400",   "dc:",   "dc:70000", "dc:74x0",
        "::1:7400", "[::1]", "[]:7400", "dc:-1", "dc: 1",    "7400"};
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct conn *c;
        struct err e = ERR_NONE;
        assert_int_equal(conn_connect(&c, &p.options[1], bad[i], NULL, NULL, &e), ERR_USAGE);
        assert_non_null(strstr(e.text, "write host:port"));
    }
    /* a name with an address that answers, and IPv6 where this machine has it */
    struct err e = ERR_NONE;
    pair_listen(&p, 10);
    (void)snprintf(p.endpoint, sizeof p.endpoint, "localhost:%d", listener_port(p.listener));
    pair_connect(&p, "dc");
    assert_true(run_until(&p.loop, both_ready, p.ends));
    struct listener *six = NULL;
    if (conn_listen(&six, &p.options[0], "[::1]:0", 10, NULL, &e) == 0) {
        struct end ends[2] = {{0}, {0}};
        listener_close(six);
        assert_int_equal(conn_listen(&six, &p.options[0], "[::1]:0", 10, &ends[0], &e), 0);
        char endpoint[64];
        (void)snprintf(endpoint, sizeof endpoint, "[::1]:%d", listener_port(six));
        struct conn *c;
        assert_int_equal(conn_connect(&c, &p.options[1], endpoint, "dc", &ends[1], &e), 0);
        assert_true(run_until(&p.loop, both_ready, ends));
        assert_string_equal(conn_remote(ends[1].conn), endpoint);
        conn_close(ends[1].conn, NULL);
        assert_true(run_until(&p.loop, both_closed, ends));
        listener_close(six);
    }
    pair_deinit(&p);
}

static void nobody_there_is_said_with_the_address(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_listen(&p, 10);
    listener_close(p.listener);
    p.listener = NULL;
    for (unsigned i = 0; i < 10; i++)
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    pair_connect(&p, NULL);
    assert_true(run_until(&p.loop, is_closed, &p.ends[1]));
    assert_int_equal(p.ends[1].why.code, ERR_UNREACHABLE);
    assert_non_null(strstr(p.ends[1].why.text, p.endpoint));
    assert_non_null(strstr(p.ends[1].why.text, "connection refused"));
    struct end named = {0};
    struct conn *c;
    assert_int_equal(
        conn_connect(&c, &p.options[1], "no-such-host.invalid:7400", NULL, &named, NULL), 0);
    assert_true(run_until(&p.loop, is_closed, &named));
    assert_int_equal(named.why.code, ERR_UNREACHABLE);
    assert_non_null(strstr(named.why.text, "no-such-host.invalid:7400: "));
    pair_deinit(&p);
}

static void one_connection_too_many_is_told_the_limit(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    pair_listen(&p, 1);
    pair_connect(&p, NULL);
    assert_true(run_until(&p.loop, both_ready, p.ends));
    struct end more = {0};
    struct conn *c, *first = p.ends[0].conn;
    assert_int_equal(conn_connect(&c, &p.options[1], p.endpoint, NULL, &more, NULL), 0);
    assert_true(run_until(&p.loop, is_closed, &more));
    assert_int_equal(more.why.code, ERR_BUSY);
    assert_non_null(strstr(more.why.text, "refused us: 1 connections are served already"));
    assert_true(run_until(&p.loop, is_closed, &p.ends[0])); /* the refused one's other end */
    assert_int_equal(p.ends[0].why.code, ERR_BUSY);
    p.ends[0] = (struct end){.conn = first};
    conn_close(first, NULL);
    assert_true(run_until(&p.loop, both_closed, p.ends));
    p.ends[0] = p.ends[1] = (struct end){0};
    pair_connect(&p, NULL);
    assert_true(run_until(&p.loop, both_ready, p.ends));
    pair_deinit(&p);
}

static void one_identity_has_a_limit_of_its_own(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    p.options[0].max_per_identity = 1;
    pair_ready(&p);
    struct end first = p.ends[0], more = {0}, operator_end = {0};
    conn_set_arg(first.conn, &first);
    p.ends[0] = (struct end){0};
    struct conn *c;
    assert_int_equal(conn_connect(&c, &p.options[1], p.endpoint, NULL, &more, NULL), 0);
    assert_true(run_until(&p.loop, is_closed, &more));
    assert_int_equal(more.why.code, ERR_BUSY);
    assert_non_null(
        strstr(more.why.text, "client alice has 1 connections already, which is its limit"));
    assert_true(run_until(&p.loop, is_closed, &p.ends[0]));
    assert_int_equal(first.closed + p.ends[1].closed, 0);
    /* another identity is not concerned */
    p.ends[0] = (struct end){0};
    SSL_CTX *olga = context_of("olga");
    struct conn_options options = options_of(&p.loop, olga, WIRE_OPERATOR, "olga", SITES);
    assert_int_equal(conn_connect(&c, &options, p.endpoint, NULL, &operator_end, NULL), 0);
    while (operator_end.ready == 0 && operator_end.closed == 0)
        (void)uv_run(&p.loop, UV_RUN_ONCE);
    assert_int_equal(operator_end.ready, 1);
    conn_close(operator_end.conn, NULL);
    assert_true(run_until(&p.loop, is_closed, &operator_end));
    conn_close(p.ends[1].conn, NULL);
    assert_true(run_until(&p.loop, is_closed, &first));
    SSL_CTX_free(olga);
    pair_deinit(&p);
}

/* Applications have taken every place, by mistake or not: who is to find out why must come in all the same. */
static void operators_have_places_beyond_the_limit(void **state)
{
    (void)state;
    struct pair p;
    struct conn *c;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    p.options[0].more_for_operators = 1;
    pair_listen(&p, 1);
    pair_connect(&p, NULL);
    assert_true(run_until(&p.loop, both_ready, p.ends));
    struct end first = p.ends[0];
    conn_set_arg(first.conn, &first);
    SSL_CTX *olga = context_of("olga");
    const struct conn_options operator= options_of(&p.loop, olga, WIRE_OPERATOR, "olga", SITES);
    struct end olgas[2] = {{0}}, more = {0}, accepted = {0};
    /* in this order: a client too many, an operator, an operator too many, a client too many */
    const struct
    try {
        const struct conn_options *options;
        struct end *end;
        bool comes;
    }
    tries[] = {{&p.options[1], &more, false},
               {&operator, & olgas[0], true},
               {&operator, & olgas[1], false},
               {&p.options[1], &more, false}};
    for (unsigned i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        const struct try *t = &tries[i];
        p.ends[0] = *t->end = (struct end){0};
        assert_int_equal(conn_connect(&c, t->options, p.endpoint, NULL, t->end, NULL), 0);
        /* who comes although no place is left is ready and stays */
        while (t->end->ready == 0 && (t->end->closed == 0 || p.ends[0].closed == 0))
            (void)uv_run(&p.loop, UV_RUN_ONCE);
        assert_int_equal(t->end->ready, t->comes);
        if (t->comes) {
            while (p.ends[0].ready == 0)
                (void)uv_run(&p.loop, UV_RUN_ONCE);
            accepted = p.ends[0];
            conn_set_arg(accepted.conn, &accepted);
            continue;
        }
        assert_int_equal(t->end->why.code, ERR_BUSY);
        assert_non_null(strstr(t->end->why.text, "connections are served already"));
    }
    assert_int_equal(first.closed + p.ends[1].closed + olgas[0].closed, 0);
    conn_close(olgas[0].conn, NULL);
    conn_close(p.ends[1].conn, NULL);
    assert_true(run_until(&p.loop, is_closed, &accepted));
    assert_true(run_until(&p.loop, is_closed, &first));
    SSL_CTX_free(olga);
    pair_deinit(&p);
}

static int admit_operators(const struct conn *c, struct err *why)
{
    const struct identity *who = conn_identity(c); /* proven already */
    return who->kind == WIRE_OPERATOR
               ? 0
               : err_set(why, ERR_CONDITION, "%s %s may not come now: ask again later",
                         identity_kind_name(who->kind), who->name);
}

static void whom_the_owner_does_not_admit_is_told_why_and_takes_no_place(void **state)
{
    (void)state;
    struct pair p;
    struct end operator_end = {0};
    struct conn *c;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    p.options[0].admit = admit_operators;
    pair_listen(&p, 1);
    for (unsigned i = 0; i < 3; i++) {
        p.ends[0] = p.ends[1] = (struct end){0};
        pair_connect(&p, NULL);
        assert_true(run_until(&p.loop, both_closed, p.ends));
        for (int k = 0; k < 2; k++) {
            assert_int_equal(p.ends[k].ready, 0);
            assert_int_equal(p.ends[k].why.code, ERR_CONDITION);
            assert_non_null(strstr(p.ends[k].why.text, "client alice may not come now"));
        }
    }
    p.ends[0] = (struct end){0};
    SSL_CTX *olga = context_of("olga");
    struct conn_options options = options_of(&p.loop, olga, WIRE_OPERATOR, "olga", SITES);
    assert_int_equal(conn_connect(&c, &options, p.endpoint, NULL, &operator_end, NULL), 0);
    while (operator_end.ready == 0 && operator_end.closed == 0)
        (void)uv_run(&p.loop, UV_RUN_ONCE);
    assert_int_equal(operator_end.ready, 1); /* in the only place that there is */
    conn_close(operator_end.conn, NULL);
    assert_true(run_until(&p.loop, is_closed, &operator_end));
    SSL_CTX_free(olga);
    pair_deinit(&p);
}

/* ---- silence ---- */

/* What has come of a frame that is still coming: by this its reader knows that the line is slow and not dead. */
static void bytes_of_a_frame_count_as_they_come(void **state)
{
    (void)state;
    enum { WHOLE = 8 << 20 };
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_ready(&p);
    uint8_t *large = calloc(1, WHOLE);
    const struct bytes piece = bytes_of(large, WHOLE);
    const uint64_t before = conn_bytes_in(p.ends[1].conn);
    uint64_t last = before;
    unsigned steps = 0;
    assert_int_equal(conn_send(p.ends[0].conn, FRAME_TXN, (struct term){0}, 1, &piece, 1, NULL), 0);
    while (p.ends[1].frames == 0) {
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
        const uint64_t now = conn_bytes_in(p.ends[1].conn);
        assert_true(now >= last);
        steps += now > last && p.ends[1].frames == 0;
        last = now;
    }
    assert_true(steps > 0);
    assert_int_equal(last - before, FRAME_HEADER_BYTES + WHOLE);
    free(large);
    pair_deinit(&p);
}

static void turn_for(struct pair *p, unsigned ms)
{
    for (uint64_t end = uv_hrtime() + (uint64_t)ms * 1000000; uv_hrtime() < end; (void)usleep(1000))
        (void)uv_run(&p->loop, UV_RUN_NOWAIT);
}

static void two_that_have_nothing_to_say_keep_their_link(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    for (int i = 0; i < 2; i++) {
        p.options[i].idle_ms = 600;
        p.options[i].alive_ms = 100;
    }
    pair_ready(&p);
    turn_for(&p, 2000);
    assert_int_equal(p.ends[0].closed + p.ends[1].closed, 0);
    assert_int_equal(p.ends[0].frames + p.ends[1].frames, 0);
    pair_deinit(&p);
}

/* The peer's machine has lost power, or the path has forgotten the connection: nobody answers, and nobody says goodbye. */
static void a_peer_that_has_vanished_is_noticed(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    p.options[0].idle_ms = 300;
    p.options[0].alive_ms = 100;
    pair_ready(&p); /* the other end says nothing of itself */
    assert_true(run_until(&p.loop, is_closed, &p.ends[0]));
    assert_int_equal(p.ends[0].why.code, ERR_TIMEOUT);
    assert_non_null(strstr(p.ends[0].why.text, "said nothing for "));
    assert_true(run_until(&p.loop, is_closed, &p.ends[1]));
    assert_non_null(strstr(p.ends[1].why.text, "closed: said nothing for "));
    pair_deinit(&p);
}

static void who_does_not_listen_cuts_nobody_off(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    p.options[0].idle_ms = 300;
    p.options[1].alive_ms = 100;
    pair_ready(&p);
    conn_pause(p.ends[0].conn);
    turn_for(&p, 1000);
    conn_resume(p.ends[0].conn);
    turn_for(&p, 1000);
    (void)usleep(1000000); /* a process that was stopped hears first what came meanwhile */
    turn_for(&p, 1000);
    assert_int_equal(p.ends[0].closed + p.ends[1].closed, 0);
    pair_deinit(&p);
}

static void new_certificates_serve_new_connections(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_SITE, "dr");
    pair_ready(&p);
    struct end old[2] = {p.ends[0], p.ends[1]};
    conn_set_arg(old[0].conn, &old[0]);
    conn_set_arg(old[1].conn, &old[1]);
    SSL_CTX *next_tls = context_of("dc");
    listener_set_tls(p.listener, next_tls);
    SSL_CTX_free(next_tls);
    p.ends[0] = p.ends[1] = (struct end){0};
    pair_connect(&p, NULL);
    assert_true(run_until(&p.loop, both_ready, p.ends));
    assert_int_equal(old[0].closed + old[1].closed, 0);
    conn_close(old[1].conn, NULL);
    assert_true(run_until(&p.loop, both_closed, old));
    pair_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_learn_who_the_other_is),
        cmocka_unit_test(a_client_learns_the_cluster_id),
        cmocka_unit_test(ten_thousand_frames_each_way_arrive_as_they_were),
        cmocka_unit_test(chunks_of_the_send_queue_are_used_again),
        cmocka_unit_test(compression_changes_nothing_but_the_size),
        cmocka_unit_test(the_largest_frame_passes_and_the_next_larger_does_not),
        cmocka_unit_test(keys_are_changed_under_way),
        cmocka_unit_test(a_slow_reader_is_felt_and_loses_nothing),
        cmocka_unit_test(a_pause_holds_frames_that_have_already_arrived),
        cmocka_unit_test(what_is_queued_arrives_before_the_end),
        cmocka_unit_test(the_reason_of_a_refusal_reaches_the_peer),
        cmocka_unit_test(a_closing_end_does_not_wait_for_a_deaf_peer),
        cmocka_unit_test(closing_while_connecting_is_reported_once),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test(endpoints_are_understood_or_explained),
        cmocka_unit_test(nobody_there_is_said_with_the_address),
        cmocka_unit_test(one_connection_too_many_is_told_the_limit),
        cmocka_unit_test(one_identity_has_a_limit_of_its_own),
        cmocka_unit_test(operators_have_places_beyond_the_limit),
        cmocka_unit_test(whom_the_owner_does_not_admit_is_told_why_and_takes_no_place),
        cmocka_unit_test(bytes_of_a_frame_count_as_they_come),
        cmocka_unit_test(two_that_have_nothing_to_say_keep_their_link),
        cmocka_unit_test(a_peer_that_has_vanished_is_noticed),
        cmocka_unit_test(who_does_not_listen_cuts_nobody_off),
        cmocka_unit_test(new_certificates_serve_new_connections),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
