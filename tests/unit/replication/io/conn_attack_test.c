/* What strangers, broken peers and peers with bad intentions do to a connection: each is ended with a reason, in time and without
 * a large allocation, and the listener serves others meanwhile. */
#include "tests/unit/replication/io/fixture.h"
#include "store/core/hash.h"

#include <zstd.h>

static void server(struct pair *p)
{
    pair_init(p, "dc", WIRE_CLIENT, "alice");
    p->options[0].handshake_ms = 300;
    p->options[0].frame_ms = 300;
    pair_listen(p, 10);
}

/* The listener's end has closed with this code and text; and an honest client is still served. */
static void ended(struct pair *p, struct raw *r, int code, const char *text)
{
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (p->ends[0].closed == 0 && uv_hrtime() < end) {
        (void)uv_run(&p->loop, UV_RUN_NOWAIT);
        raw_turn(r);
        if (r->eof) { /* answer its end with ours, as a socket does when its process closes it */
            (void)close(r->fd);
            r->fd = -1;
        }
    }
    assert_int_equal(p->ends[0].closed, 1);
    if (strstr(p->ends[0].why.text, text) == NULL)
        fail_msg("'%s' does not say '%s'", p->ends[0].why.text, text);
    assert_int_equal(p->ends[0].why.code, code);
    raw_deinit(r);
    p->ends[0] = p->ends[1] = (struct end){0};
    pair_connect(p, "dc");
    assert_true(run_until(&p->loop, both_ready, p->ends));
    pair_deinit(p);
}

/* A peer with a good certificate whose handshake is over. */
static void insider(struct pair *p, struct raw *r)
{
    server(p);
    raw_connect(r, listener_port(p->listener), p->tls[1]);
    assert_true(raw_run(r, &p->loop, raw_is_secured));
}

static bool raw_was_answered(struct raw *r)
{
    return buffer_size(&r->plain) >= FRAME_HEADER_BYTES || r->eof;
}

/* The same, and HELLO has been exchanged. */
static void greeted_insider(struct pair *p, struct raw *r)
{
    insider(p, r);
    raw_hello(r, WIRE_CLIENT, "alice");
    assert_true(raw_run(r, &p->loop, raw_was_answered));
    assert_int_equal(p->ends[0].ready, 1);
}

/* ---- before TLS ---- */

static void garbage_is_not_tls(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    server(&p);
    raw_connect(&r, listener_port(p.listener), NULL);
    raw_write(&r, bytes_str("\x7f\x45\x4c\x46 not a TLS record at all, and rather long for one"));
    ended(&p, &r, ERR_FORMAT, "does not speak TLS");
}

static void plain_http_is_recognised(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    server(&p);
    raw_connect(&r, listener_port(p.listener), NULL);
    raw_write(&r, bytes_str("GET / HTTP/1.1\r\nHost: dc\r\n\r\n"));
    ended(&p, &r, ERR_FORMAT, "plain HTTP request");
}

static void silence_ends_with_the_deadline(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    server(&p);
    raw_connect(&r, listener_port(p.listener), NULL);
    ended(&p, &r, ERR_TIMEOUT, "the TLS handshake did not finish within 300 ms");
}

static void half_a_handshake_ends_with_the_deadline(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    server(&p);
    raw_connect(&r, listener_port(p.listener), NULL);
    raw_write(&r, bytes_str("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"));
    ended(&p, &r, ERR_TIMEOUT, "the TLS handshake did not finish within 300 ms");
}

static void leaving_during_the_handshake_is_told(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    server(&p);
    raw_connect(&r, listener_port(p.listener), NULL);
    (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    (void)shutdown(r.fd, SHUT_WR);
    ended(&p, &r, ERR_UNREACHABLE, "closed during the TLS handshake");
}

static void tls_before_1_3_is_refused(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    server(&p);
    SSL_CTX *old = SSL_CTX_new(TLS_method());
    assert_int_equal(SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION), 1);
    raw_connect(&r, listener_port(p.listener), old);
    SSL_CTX_free(old);
    ended(&p, &r, ERR_FORMAT, "offers only versions before TLS 1.3");
}

/* ---- before HELLO ---- */

static void no_hello_ends_with_the_deadline(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    insider(&p, &r);
    ended(&p, &r, ERR_TIMEOUT, "no hello came within 300 ms");
}

static void something_else_than_hello_is_refused_and_told(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    insider(&p, &r);
    raw_frame(&r, (struct frame){.type = FRAME_GET}, bytes_str("?"));
    assert_true(raw_run(&r, &p.loop, raw_is_done));
    char text[ERR_TEXT_BYTES];
    raw_error_text(&r, text);
    assert_string_equal(text, "expected a hello frame, got get");
    ended(&p, &r, ERR_FORMAT, "expected a hello frame, got get");
}

static void a_large_frame_before_hello_is_not_waited_for(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    insider(&p, &r);
    uint8_t header[FRAME_HEADER_BYTES];
    struct frame f = {.type = FRAME_GET, .cluster_id = test_cluster, .body_bytes = 1 << 20};
    frame_encode_header(&f, header);
    raw_write(&r, bytes_of(header, sizeof header));
    ended(&p, &r, ERR_LIMIT, "get frame of 1048576 bytes, at most 4096 are allowed here");
}

static void hello_of_another_cluster_is_refused_and_told(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    insider(&p, &r);
    uint8_t body[128];
    struct writer w = writer_of(body, sizeof body);
    wire_write_hello(
        &w,
        &(struct wire_hello){
            WIRE_VERSION, WIRE_CLIENT, bytes_str("alice"), 1, bytes_str("raw"), {NULL, 0}, 0, 0});
    raw_frame(&r, (struct frame){.type = FRAME_HELLO, .cluster_id = {{0xee}}},
              bytes_of(body, w.at));
    assert_true(raw_run(&r, &p.loop, raw_is_done));
    char text[ERR_TEXT_BYTES];
    raw_error_text(&r, text);
    assert_non_null(strstr(text, "client alice has cluster id ee000000-0000-0000-0000-000000000000,"
                                 " site dc has 7a010203-"));
    assert_non_null(strstr(text, "what triveni status shows"));
    ended(&p, &r, ERR_DENIED, "client alice has cluster id ee");
}

static void hello_must_be_who_the_certificate_says(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    insider(&p, &r);
    raw_hello(&r, WIRE_CLIENT, "bob\n");
    ended(&p, &r, ERR_DENIED, "says that it is client bob?, its certificate says client alice");
    insider(&p, &r);
    raw_hello(&r, WIRE_OPERATOR, "alice");
    ended(&p, &r, ERR_DENIED, "says that it is operator alice, its certificate says client alice");
}

static void hello_of_another_version_says_which(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    insider(&p, &r);
    uint8_t body[2];
    put_le16(body, WIRE_VERSION + 1);
    raw_frame(&r, (struct frame){.type = FRAME_HELLO}, bytes_of(body, sizeof body));
    char says[64];
    (void)snprintf(says, sizeof says, "protocol version %d, this program speaks %d",
                   WIRE_VERSION + 1, WIRE_VERSION);
    ended(&p, &r, ERR_FORMAT, says);
}

/* ---- after HELLO ---- */

static void a_second_hello_is_refused(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    greeted_insider(&p, &r);
    raw_hello(&r, WIRE_CLIENT, "alice");
    ended(&p, &r, ERR_FORMAT, "a second hello frame");
}

static void a_frame_above_the_limit_is_not_waited_for(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    greeted_insider(&p, &r);
    uint8_t header[FRAME_HEADER_BYTES];
    struct frame f = {.type = FRAME_TXN, .cluster_id = test_cluster, .body_bytes = UINT32_MAX};
    frame_encode_header(&f, header);
    raw_write(&r, bytes_of(header, sizeof header));
    ended(&p, &r, ERR_LIMIT, "txn frame of 4294967295 bytes, at most 8388608 are allowed here");
}

static void damaged_frames_end_the_connection(void **state)
{
    (void)state;
    static const size_t flips[] = {0, 10, 30, 53, FRAME_HEADER_BYTES + 2};
    for (size_t i = 0; i < sizeof flips / sizeof flips[0]; i++) {
        struct pair p;
        struct raw r;
        greeted_insider(&p, &r);
        uint8_t raw[FRAME_HEADER_BYTES + 5];
        memcpy(raw + FRAME_HEADER_BYTES, "hello", 5);
        struct frame f = {.type = FRAME_TXN, .cluster_id = test_cluster};
        frame_encode(&f, bytes_of(raw + FRAME_HEADER_BYTES, 5), raw);
        raw[flips[i]] ^= 0x40;
        raw_write(&r, bytes_of(raw, sizeof raw));
        ended(&p, &r, ERR_FORMAT, i == 0 ? "no frame here" : "checksum mismatch");
    }
}

static void a_frame_of_another_cluster_is_refused_later_too(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    greeted_insider(&p, &r);
    raw_frame(&r, (struct frame){.type = FRAME_TXN, .cluster_id = {{1}}}, bytes_str("x"));
    ended(&p, &r, ERR_DENIED, "txn frame of another cluster");
}

static void a_frame_that_does_not_end_has_a_deadline(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    greeted_insider(&p, &r);
    raw_write(&r, bytes_str("TV"));
    ended(&p, &r, ERR_TIMEOUT, "a frame began");
    greeted_insider(&p, &r);
    uint8_t header[FRAME_HEADER_BYTES];
    struct frame f = {.type = FRAME_TXN, .cluster_id = test_cluster, .body_bytes = 1000};
    frame_encode_header(&f, header);
    raw_write(&r, bytes_of(header, sizeof header));
    raw_write(&r, bytes_str("ten bytes."));
    ended(&p, &r, ERR_TIMEOUT, "a frame began");
}

static void who_says_nothing_is_cut_off(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    p.options[0].idle_ms = 300;
    pair_listen(&p, 10);
    raw_connect(&r, listener_port(p.listener), p.tls[1]);
    assert_true(raw_run(&r, &p.loop, raw_is_secured));
    raw_hello(&r, WIRE_CLIENT, "alice");
    assert_true(raw_run(&r, &p.loop, raw_was_answered));
    assert_true(raw_run(&r, &p.loop, raw_is_done));
    char text[ERR_TEXT_BYTES];
    raw_error_text(&r, text);
    assert_non_null(strstr(text, "said nothing for "));
    ended(&p, &r, ERR_TIMEOUT, "said nothing for ");
}

/* Bytes that are no frame are no sign of life, and one frame a while is. */
static void a_frame_now_and_then_is_enough_and_a_part_of_one_is_not(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    p.options[0].idle_ms = 600;
    p.options[0].frame_ms = 600;
    pair_listen(&p, 10);
    raw_connect(&r, listener_port(p.listener), p.tls[1]);
    assert_true(raw_run(&r, &p.loop, raw_is_secured));
    raw_hello(&r, WIRE_CLIENT, "alice");
    assert_true(raw_run(&r, &p.loop, raw_was_answered));
    for (unsigned i = 0; i < 10; i++) {
        raw_frame(&r, (struct frame){.type = FRAME_ALIVE}, bytes_of(NULL, 0));
        for (unsigned k = 0; k < 20; k++) {
            (void)uv_run(&p.loop, UV_RUN_NOWAIT);
            raw_turn(&r);
            (void)usleep(10000);
        }
    }
    assert_int_equal(p.ends[0].closed, 0); /* for 2 s */
    assert_int_equal(p.ends[0].frames, 0); /* it is nobody's business but the connection's */
    uint64_t began = uv_hrtime();
    uint8_t header[FRAME_HEADER_BYTES];
    struct frame f = {.type = FRAME_TXN, .cluster_id = test_cluster};
    frame_encode(&f, bytes_str("x"), header);
    for (size_t i = 0; i < sizeof header && p.ends[0].closed == 0;
         i++) { /* each in a record of its own */
        raw_write(&r, bytes_of(header + i, 1));
        for (unsigned k = 0; k < 10 && p.ends[0].closed == 0; k++) {
            (void)uv_run(&p.loop, UV_RUN_NOWAIT);
            raw_turn(&r);
            (void)usleep(10000);
        }
    }
    assert_true(uv_hrtime() - began < 4000000000u); /* all of it would take 6.4 s */
    ended(&p, &r, ERR_TIMEOUT, "a frame began");
}

static void alive_has_no_body(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    greeted_insider(&p, &r);
    raw_frame(&r, (struct frame){.type = FRAME_ALIVE}, bytes_str("x"));
    ended(&p, &r, ERR_LIMIT, "alive frame of 1 bytes, at most 0 are allowed here");
    greeted_insider(&p, &r);
    raw_frame(&r, (struct frame){.type = FRAME_ALIVE, .flags = FRAME_ZSTD}, bytes_of(NULL, 0));
    ended(&p, &r, ERR_FORMAT, "too short");
}

static void going_away_in_the_middle_of_a_frame_is_seen(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    greeted_insider(&p, &r);
    raw_write(&r, bytes_str("TVNF and then"));
    raw_turn(&r);
    (void)shutdown(r.fd, SHUT_WR);
    ended(&p, &r, ERR_UNREACHABLE, "in the middle of a frame (13 bytes of it had arrived)");
}

static void going_away_without_goodbye_is_seen(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    greeted_insider(&p, &r);
    (void)shutdown(r.fd, SHUT_WR);
    ended(&p, &r, ERR_UNREACHABLE, "without goodbye");
}

static void flipped_ciphertext_ends_the_connection(void **state)
{
    (void)state;
    struct pair p;
    struct raw r;
    greeted_insider(&p, &r);
    raw_write(&r, bytes_str("TVNF"));
    r.channel.out.p[r.channel.out.n - 1] ^= 1;
    ended(&p, &r, ERR_FORMAT, "TLS failed");
}

/* ---- compression ---- */

/* A zstd frame that decompresses to `plain` zeros, with `claimed` in front. */
static void bomb(struct raw *r, uint32_t plain, uint32_t claimed, bool content_size, size_t cut,
                 const char *tail)
{
    size_t cap = ZSTD_compressBound(plain) + 64;
    uint8_t *zeros = calloc(1, plain), *packed = malloc(cap);
    assert_true(zeros != NULL && packed != NULL);
    ZSTD_CCtx *cctx = ZSTD_createCCtx();
    (void)ZSTD_CCtx_setParameter(cctx, ZSTD_c_contentSizeFlag, content_size);
    size_t n = ZSTD_compress2(cctx, packed + 4, cap - 4, zeros, plain);
    assert_false(ZSTD_isError(n));
    put_le32(packed, claimed);
    memcpy(packed + 4 + n - cut, tail, strlen(tail));
    raw_frame(r, (struct frame){.type = FRAME_TXN, .flags = FRAME_ZSTD},
              bytes_of(packed, 4 + n - cut + strlen(tail)));
    (void)ZSTD_freeCCtx(cctx);
    free(zeros);
    free(packed);
}

static void zstd_bombs_do_not_go_off(void **state)
{
    (void)state;
    static const struct {
        uint32_t plain, claimed;
        bool content_size;
        size_t cut;
        const char *tail;
        int code;
        const char *text;
    } bombs[] = {
        {64 << 20, 64 << 20, true, 0, "", ERR_LIMIT,
         "body of 67108864 bytes when decompressed, at most 8388608"},
        {64 << 20, 1000, true, 0, "", ERR_FORMAT, "does not hold the 1000 bytes that it claims"},
        {64 << 20, 1000, false, 0, "", ERR_FORMAT, "does not hold the 1000 bytes that it claims"},
        {100000, 200000, true, 0, "", ERR_FORMAT, "does not hold the 200000 bytes that it claims"},
        {100000, 100000, true, 3, "", ERR_FORMAT, "is not exactly one zstd frame"},
        {100000, 100000, true, 0, "more", ERR_FORMAT, "is not exactly one zstd frame"},
        {1000, 1000, true, 4, "\xff\xff\xff\xff", ERR_FORMAT, "compressed body"},
    };
    for (size_t i = 0; i < sizeof bombs / sizeof bombs[0]; i++) {
        struct pair p;
        struct raw r;
        greeted_insider(&p, &r);
        bomb(&r, bombs[i].plain, bombs[i].claimed, bombs[i].content_size, bombs[i].cut,
             bombs[i].tail);
        ended(&p, &r, bombs[i].code, bombs[i].text);
    }
    struct pair p;
    struct raw r;
    greeted_insider(&p, &r);
    raw_frame(&r, (struct frame){.type = FRAME_TXN, .flags = FRAME_ZSTD}, bytes_str("abc"));
    ended(&p, &r, ERR_FORMAT, "compressed body of 3 bytes is too short");
    greeted_insider(&p, &r);
    raw_frame(&r, (struct frame){.type = FRAME_TXN, .flags = FRAME_ZSTD},
              bytes_str("\x05\0\0\0hello"));
    ended(&p, &r, ERR_FORMAT,
          "compressed body"); /* cut at the NUL: shorter still, and no zstd frame in any case */
}

/* ---- many ---- */

enum { CROWD = 100 };

static void crowd_ready(struct conn *c, const struct wire_hello *hello)
{
    (void)hello;
    ((struct end *)conn_arg(c))->ready++;
}

static void a_crowd_of_silent_strangers_keeps_nobody_out(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, "dc", WIRE_CLIENT, "alice");
    const struct conn_callbacks callbacks = {crowd_ready, end_frame, end_closed, NULL};
    p.options[0].callbacks = &callbacks;
    p.options[0].handshake_ms = 60000; /* so that only the limit can help */
    pair_listen(&p, 10);
    static struct raw strangers[CROWD];
    for (unsigned i = 0; i < CROWD; i++) {
        raw_connect(&strangers[i], listener_port(p.listener), NULL);
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    }
    pair_connect(&p, NULL);
    while (p.ends[1].ready == 0 && p.ends[1].closed == 0)
        (void)uv_run(&p.loop, UV_RUN_NOWAIT);
    assert_int_equal(p.ends[1].ready, 1);
    assert_in_range(p.ends[0].closed, CROWD - 64, CROWD - 60);
    assert_non_null(strstr(p.ends[0].why.text, "gave way to a newer connection"));
    conn_close(p.ends[1].conn, NULL);
    for (unsigned i = 0; i < CROWD; i++)
        raw_deinit(&strangers[i]);
    while (p.ends[0].closed < CROWD + 1)
        (void)uv_run(&p.loop, UV_RUN_ONCE);
    p.ends[0].closed = 1;
    pair_deinit(&p);
}

static uint64_t seed = 99;

/* Random bytes inside a good TLS connection, after a good beginning: whatever they are, no crash and an end. */
static void noise_in_frames_always_ends_with_a_reason(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        struct pair p;
        struct raw r;
        greeted_insider(&p, &r);
        uint8_t raw[2048];
        for (size_t i = 0; i < sizeof raw; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            raw[i] = (uint8_t)(seed >> 40);
        }
        struct frame f = {.type = FRAME_TXN, .cluster_id = test_cluster, .flags = round % 2};
        struct bytes body = bytes_of(raw + FRAME_HEADER_BYTES, 512);
        if (round % 4 != 3)
            frame_encode(&f, body, raw);
        raw_write(&r, bytes_of(raw, sizeof raw));
        while (p.ends[0].closed == 0) {
            (void)uv_run(&p.loop, UV_RUN_NOWAIT);
            raw_turn(&r);
            if (r.eof)
                (void)shutdown(r.fd, SHUT_RDWR);
        }
        assert_true(p.ends[0].why.code == ERR_FORMAT || p.ends[0].why.code == ERR_LIMIT);
        raw_deinit(&r);
        pair_deinit(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_is_not_tls),
        cmocka_unit_test(plain_http_is_recognised),
        cmocka_unit_test(silence_ends_with_the_deadline),
        cmocka_unit_test(half_a_handshake_ends_with_the_deadline),
        cmocka_unit_test(leaving_during_the_handshake_is_told),
        cmocka_unit_test(tls_before_1_3_is_refused),
        cmocka_unit_test(no_hello_ends_with_the_deadline),
        cmocka_unit_test(something_else_than_hello_is_refused_and_told),
        cmocka_unit_test(a_large_frame_before_hello_is_not_waited_for),
        cmocka_unit_test(hello_of_another_cluster_is_refused_and_told),
        cmocka_unit_test(hello_must_be_who_the_certificate_says),
        cmocka_unit_test(hello_of_another_version_says_which),
        cmocka_unit_test(a_second_hello_is_refused),
        cmocka_unit_test(a_frame_above_the_limit_is_not_waited_for),
        cmocka_unit_test(damaged_frames_end_the_connection),
        cmocka_unit_test(a_frame_of_another_cluster_is_refused_later_too),
        cmocka_unit_test(a_frame_that_does_not_end_has_a_deadline),
        cmocka_unit_test(who_says_nothing_is_cut_off),
        cmocka_unit_test(a_frame_now_and_then_is_enough_and_a_part_of_one_is_not),
        cmocka_unit_test(alive_has_no_body),
        cmocka_unit_test(going_away_in_the_middle_of_a_frame_is_seen),
        cmocka_unit_test(going_away_without_goodbye_is_seen),
        cmocka_unit_test(flipped_ciphertext_ends_the_connection),
        cmocka_unit_test(zstd_bombs_do_not_go_off),
        cmocka_unit_test(a_crowd_of_silent_strangers_keeps_nobody_out),
        cmocka_unit_test(noise_in_frames_always_ends_with_a_reason),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
