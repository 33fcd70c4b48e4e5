/* Once, and only once: what a site answers to the transactions of a session when they come again, late, in another order or on
 * another connection. The client is nothing but a connection that chooses the numbers itself. */
#include "tests/unit/replication/hold_kit.h"

#include "replication/io/conn.h"

enum { PATIENCE_MS = 60000 };

struct raw {
    uv_loop_t loop;
    SSL_CTX *tls;
    struct conn *conn; /* NULL: not ready, or closed */
    bool closed;
    uint64_t asked, answered; /* requests */
    int code;                 /* of the last answer; 0: no error */
    struct wire_done done;
    struct uuid session;
    struct pair *pairs; /* NULL: requests are asked one by one */
};

/* A transaction, and on its heels the question what became of it. */
struct pair {
    uint64_t txn, question; /* numbers of the requests */
    bool written, absent;
};
enum { PAIRS = 20000 };

static void raw_ready(struct conn *c, const struct wire_hello *hello)
{
    struct raw *r = conn_arg(c);
    (void)hello;
    r->conn = c;
}

static int pair_frame(struct raw *r, const struct frame *f, struct bytes body, struct err *why)
{
    struct wire_outcome outcome;
    r->answered++;
    for (size_t i = 0; i < PAIRS && r->pairs[i].txn != 0; i++) {
        struct pair *p = &r->pairs[i];
        if (p->txn == f->request)
            p->written = (unsigned)f->type == (FRAME_TXN | FRAME_REPLY);
        if (p->question != f->request || (unsigned)f->type != (FRAME_OUTCOME | FRAME_REPLY))
            continue;
        assert_int_equal(wire_read_outcome(body, &outcome, why), 0);
        p->absent = !outcome.committed;
    }
    return 0;
}

static int raw_frame(struct conn *c, const struct frame *f, struct bytes body, struct err *why)
{
    struct raw *r = conn_arg(c);
    if (r->pairs != NULL)
        return f->request == 0 ? 0 : pair_frame(r, f, body, why);
    struct wire_error error;
    struct wire_session session;
    if (f->request == 0 || f->request != r->asked)
        return 0; /* a push */
    r->answered = f->request;
    r->code = 0;
    switch ((unsigned)f->type) {
    case FRAME_ERROR:
        r->code = wire_read_error(body, &error, why) == 0 ? error.code : ERR_FORMAT;
        return 0;
    case FRAME_SESSION_OPEN | FRAME_REPLY:
        assert_int_equal(wire_read_session(body, &session, why), 0);
        r->session = session.session;
        return 0;
    case FRAME_SCAN | FRAME_REPLY:
        return 0;
    default:
        return wire_read_done(body, &r->done, why);
    }
}

static void raw_closed(struct conn *c, const struct err *why)
{
    struct raw *r = conn_arg(c);
    (void)why;
    r->conn = NULL;
    r->closed = true;
}

static void raw_open(struct raw *r)
{
    static const struct conn_callbacks callbacks = {raw_ready, raw_frame, raw_closed, NULL};
    char cert[128], key[128];
    struct err e = ERR_NONE;
    (void)snprintf(cert, sizeof cert, "%s/pki/ops.crt", root);
    (void)snprintf(key, sizeof key, "%s/pki/ops.key", root);
    *r = (struct raw){.closed = true};
    assert_int_equal(uv_loop_init(&r->loop), 0);
    if (tls_context(&(struct tls_files){config.ca, cert, key, NULL}, &r->tls, &e) != 0)
        fail_msg("%s", e.text);
    struct conn_options options = {
        .loop = &r->loop,
        .tls = r->tls,
        .cluster = "gov",
        .cluster_id = config.cluster_id,
        .hello = {.version = WIRE_VERSION,
                  .kind = WIRE_OPERATOR,
                  .name = bytes_str("ops"),
                  .software = bytes_str("test")},
        .accept_kinds = 1u << WIRE_SITE,
        .max_body = FRAME_CLIENT_MAX_BYTES,
        .callbacks = &callbacks,
    };
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (r->conn == NULL) { /* the site may not listen yet */
        struct conn *c;
        assert_true(uv_hrtime() < end);
        if (r->closed && conn_connect(&c, &options, config.members[0].client, "dc", r, &e) == 0)
            r->closed = false;
        (void)uv_run(&r->loop, UV_RUN_NOWAIT);
        (void)usleep(1000);
    }
}

static void raw_close(struct raw *r)
{
    if (r->conn != NULL)
        conn_close(r->conn, NULL);
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (uv_run(&r->loop, UV_RUN_NOWAIT) != 0)
        assert_true(uv_hrtime() < end);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    SSL_CTX_free(r->tls);
}

/* Asks, and waits for the answer. */
static void ask(struct raw *r, enum frame_type type, const struct writer *w)
{
    struct bytes body = bytes_of(w->p, w->at);
    struct err e = ERR_NONE;
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    assert_false(w->bad);
    assert_non_null(r->conn);
    if (conn_send(r->conn, type, (struct term){0}, ++r->asked, &body, 1, &e) != 0)
        fail_msg("%s", e.text);
    while (r->answered != r->asked) {
        assert_true(uv_hrtime() < end && !r->closed);
        (void)uv_run(&r->loop, UV_RUN_NOWAIT);
        (void)usleep(100);
    }
}

static void open_session(struct raw *r, struct uuid resumed)
{
    uint8_t body[64];
    do { /* it may not be primary yet */
        struct writer w = writer_of(body, sizeof body);
        wire_write_session_open(&w, &(struct wire_session_open){resumed});
        ask(r, FRAME_SESSION_OPEN, &w);
    } while (r->code == ERR_NOT_PRIMARY);
    assert_int_equal(r->code, 0);
}

static void put_number(struct raw *r, uint64_t sequence)
{
    uint8_t body[256];
    struct writer w = writer_of(body, sizeof body);
    struct op op = {OP_PUT, bytes_str("land"), bytes_str("k"), bytes_str("v")};
    wire_write_txn(&w,
                   &(struct wire_txn){.session = r->session, .sequence = sequence, .op_count = 1},
                   NULL, &op);
    ask(r, FRAME_TXN, &w);
}

/* The lsn of one that was not there before. */
static uint64_t is_new(struct raw *r, uint64_t sequence)
{
    put_number(r, sequence);
    assert_int_equal(r->code, 0);
    assert_false(r->done.repeated);
    return r->done.lsn.v;
}

static void is_repeated(struct raw *r, uint64_t sequence, uint64_t lsn)
{
    put_number(r, sequence);
    assert_int_equal(r->code, 0);
    assert_true(r->done.repeated);
    assert_int_equal(r->done.lsn.v, lsn);
}

/* A scan waits until the state has everything. */
static void wait_until_applied(struct raw *r)
{
    uint8_t body[256];
    struct writer w = writer_of(body, sizeof body);
    wire_write_scan(&w, &(struct wire_scan){.collection = bytes_str("land"), .limit = 1});
    ask(r, FRAME_SCAN, &w);
    assert_int_equal(r->code, 0);
}

static void what_comes_again_has_its_first_outcome_in_flight_and_applied(void **state)
{
    (void)state;
    struct running site;
    struct raw r;
    uint64_t at[20] = {0};
    make_and_start("again", &site);
    raw_open(&r);
    open_session(&r, (struct uuid){{0}});
    for (uint64_t n = 1; n <= 5; n++)
        at[n] = is_new(&r, n);
    is_repeated(&r, 5, at[5]);
    is_repeated(&r, 1, at[1]);
    wait_until_applied(&r);
    for (uint64_t n = 6; n <= 8; n++)
        at[n] = is_new(&r, n);
    for (uint64_t n = 1; n <= 8; n++)
        is_repeated(&r, n, at[n]);
    at[12] = is_new(&r, 12); /* the order of numbers is the client's */
    at[11] = is_new(&r, 11);
    is_repeated(&r, 11, at[11]);
    is_repeated(&r, 12, at[12]);
    wait_until_applied(&r);
    is_repeated(&r, 11, at[11]);
    is_repeated(&r, 12, at[12]);
    at[10] = is_new(&r, 10);
    is_repeated(&r, 10, at[10]);
    raw_close(&r);
    stop(&site);
}

static void what_was_logged_on_another_connection_is_known(void **state)
{
    (void)state;
    struct running site;
    struct raw first, second;
    uint64_t at[20] = {0};
    make_and_start("other", &site);
    raw_open(&first);
    open_session(&first, (struct uuid){{0}});
    at[1] = is_new(&first, 1);
    wait_until_applied(&first);
    at[2] = is_new(&first, 2);
    at[9] = is_new(&first, 9); /* in flight when the second one comes */
    raw_open(&second);
    open_session(&second, first.session);
    at[3] = is_new(&second, 3);
    is_repeated(&second, 9, at[9]);
    is_repeated(&second, 1, at[1]);
    wait_until_applied(&second);
    at[4] = is_new(&second, 4);
    is_repeated(&second, 9, at[9]);
    is_repeated(&second, 4, at[4]);
    at[10] = is_new(&second, 10);
    is_repeated(&second, 10, at[10]);
    raw_close(&second);
    raw_close(&first); /* the site has closed it */
    stop(&site);
}

static void a_session_that_was_closed_takes_nothing_more(void **state)
{
    (void)state;
    struct running site;
    struct raw r;
    uint8_t body[64];
    make_and_start("closed", &site);
    raw_open(&r);
    open_session(&r, (struct uuid){{0}});
    (void)is_new(&r, 1);
    wait_until_applied(&r);
    (void)is_new(&r, 2);
    (void)is_new(&r, 3);
    struct writer w = writer_of(body, sizeof body);
    wire_write_session_close(&w, &(struct wire_session_close){r.session});
    ask(&r, FRAME_SESSION_CLOSE, &w);
    assert_int_equal(r.code, 0);
    put_number(&r, 4);
    assert_int_equal(r.code, ERR_SESSION_EXPIRED);
    raw_close(&r);
    stop(&site);
}

static void send_pair(struct raw *r, uint64_t sequence)
{
    uint8_t body[256];
    struct err e = ERR_NONE;
    struct op op = {OP_PUT, bytes_str("land"), bytes_str("k"), bytes_str("v")};
    struct pair *p = &r->pairs[sequence - 1];
    struct writer w = writer_of(body, sizeof body);
    wire_write_txn(&w,
                   &(struct wire_txn){.session = r->session, .sequence = sequence, .op_count = 1},
                   NULL, &op);
    struct bytes sent = bytes_of(w.p, w.at);
    p->txn = ++r->asked;
    if (conn_send(r->conn, FRAME_TXN, (struct term){0}, p->txn, &sent, 1, &e) != 0)
        fail_msg("%s", e.text);
    w = writer_of(body, sizeof body);
    wire_write_outcome_ask(&w, &(struct wire_outcome_ask){r->session, sequence});
    sent = bytes_of(w.p, w.at);
    p->question = ++r->asked;
    if (conn_send(r->conn, FRAME_OUTCOME, (struct term){0}, p->question, &sent, 1, &e) != 0)
        fail_msg("%s", e.text);
}

/* A site that starts is primary for a moment before it serves, and what comes then is parked. Pairs come all the time. */
static unsigned resurrected(struct raw *r)
{
    unsigned wrong = 0, written = 0;
    const uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    r->pairs = calloc(PAIRS, sizeof *r->pairs);
    assert_non_null(r->pairs);
    r->asked = 1000; /* none of those that opened the session */
    r->answered = 0;
    uint64_t n = 0;
    while (n < PAIRS && written < 20) {
        assert_true(uv_hrtime() < end);
        send_pair(r, ++n);
        (void)uv_run(&r->loop, UV_RUN_NOWAIT);
        (void)usleep(100);
        written += n > 20 && r->pairs[n - 20].written;
    }
    while (r->answered < 2 * n) {
        assert_true(uv_hrtime() < end && !r->closed);
        (void)uv_run(&r->loop, UV_RUN_NOWAIT);
        (void)usleep(100);
    }
    for (uint64_t i = 0; i < n; i++)
        wrong += r->pairs[i].written && r->pairs[i].absent;
    free(r->pairs);
    r->pairs = NULL;
    return wrong;
}

static void what_was_called_absent_never_happens(void **state)
{
    (void)state;
    struct running site;
    struct raw r;
    make_and_start("absent", &site);
    raw_open(&r);
    open_session(&r, (struct uuid){{0}});
    const struct uuid session = r.session;
    raw_close(&r);
    stop(&site);
    for (int i = 0; i < 5; i++) {
        start(&site);
        raw_open(&r);
        r.session = session;
        assert_int_equal(resurrected(&r), 0);
        raw_close(&r);
        stop(&site);
    }
}

/* The state knows nothing of the session yet: not that it is open, nor what was done in it, nor that another one was closed. */
static void what_a_new_primary_inherits_has_its_first_outcome(void **state)
{
    (void)state;
    struct running site;
    struct holder h;
    struct raw r;
    uint8_t body[64];
    uint64_t at[8] = {0};
    hold_begin(&h, "inherited");
    make_and_start("inherited", &site);
    raw_open(&r);
    open_session(&r, (struct uuid){{0}});
    const struct uuid closed = r.session;
    (void)is_new(&r, 1);
    struct writer w = writer_of(body, sizeof body);
    wire_write_session_close(&w, &(struct wire_session_close){closed});
    ask(&r, FRAME_SESSION_CLOSE, &w);
    assert_int_equal(r.code, 0);
    open_session(&r, (struct uuid){{0}});
    const struct uuid session = r.session;
    for (uint64_t n = 1; n <= 3; n++)
        at[n] = is_new(&r, n);
    raw_close(&r);
    stop(&site);

    start_held(&site, &h);
    raw_open(&r);
    open_session(&r, session);
    is_repeated(&r, 2, at[2]);
    at[5] = is_new(&r, 5);
    at[4] = is_new(&r, 4);
    is_repeated(&r, 1, at[1]);
    is_repeated(&r, 5, at[5]);
    r.session = closed;
    put_number(&r, 2);
    assert_int_equal(r.code, ERR_SESSION_EXPIRED);
    r.session = session;
    hold_order(&h, 'r');
    wait_until_applied(&r);
    for (uint64_t n = 1; n <= 5; n++)
        is_repeated(&r, n, at[n]);
    (void)is_new(&r, 6);
    raw_close(&r);
    stop(&site);
    hold_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_again_has_its_first_outcome_in_flight_and_applied),
        cmocka_unit_test(what_was_logged_on_another_connection_is_known),
        cmocka_unit_test(a_session_that_was_closed_takes_nothing_more),
        cmocka_unit_test(what_was_called_absent_never_happens),
        cmocka_unit_test(what_a_new_primary_inherits_has_its_first_outcome),
    };
    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
