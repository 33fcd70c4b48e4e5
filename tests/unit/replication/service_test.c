/* The client service of a whole site, seen by a client that is nothing but a connection: what the site answers to each request is
 * counted, frame by frame. */
#include "tests/unit/replication/site_kit.h"

#include "replication/io/conn.h"

#include <stdatomic.h>

enum { REQUESTS_MAX = 4096, PATIENCE_MS = 60000 };

struct raw {
    uv_loop_t loop;
    SSL_CTX *tls;
    struct conn *conn; /* NULL: not ready, or closed */
    bool closed;
    struct err why;
    unsigned sent;
    unsigned answers[REQUESTS_MAX + 1]; /* to each request, numbered from 1 */
    int codes[REQUESTS_MAX + 1];        /* of its error; 0: another answer */
    unsigned waited[REQUESTS_MAX + 1];  /* requests that were sent before it was answered */
    unsigned codeless;                  /* errors with code 0 */
};

static void raw_ready(struct conn *c, const struct wire_hello *hello)
{
    struct raw *r = conn_arg(c);
    (void)hello;
    r->conn = c;
}

static int raw_frame(struct conn *c, const struct frame *f, struct bytes body, struct err *why)
{
    struct raw *r = conn_arg(c);
    struct wire_error error;
    if (f->request == 0 || f->request > r->sent)
        return 0; /* a push */
    if (r->answers[f->request]++ == 0)
        r->waited[f->request] = r->sent - (unsigned)f->request;
    if (f->type != FRAME_ERROR)
        return 0;
    /* The library's own reader refuses an error with code 0: looked at first. */
    r->codeless += body.n >= 4 && get_le32(body.p) == 0;
    r->codes[f->request] = wire_read_error(body, &error, why) == 0 ? error.code : ERR_FORMAT;
    *why = (struct err)ERR_NONE;
    return 0;
}

static void raw_closed(struct conn *c, const struct err *why)
{
    struct raw *r = conn_arg(c);
    r->conn = NULL;
    r->closed = true;
    if (why != NULL)
        r->why = *why;
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

static void raw_turn(struct raw *r, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
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

static void ask_to_watch(struct raw *r)
{
    uint8_t body[64];
    struct writer w = writer_of(body, sizeof body);
    wire_write_watch_open(&w, &(struct wire_watch_open){.credit = 1 << 20});
    struct bytes b = bytes_of(body, w.at);
    struct err e = ERR_NONE;
    assert_true(r->conn != NULL && r->sent < REQUESTS_MAX);
    if (conn_send(r->conn, FRAME_WATCH_OPEN, (struct term){0}, ++r->sent, &b, 1, &e) != 0)
        fail_msg("%s", e.text);
}

static bool all_are_answered(const struct raw *r)
{
    for (unsigned i = 1; i <= r->sent; i++)
        if (r->answers[i] == 0)
            return false;
    return true;
}

/* A site that was just elected applies what it has not applied yet before it serves: requests that come meanwhile wait. */
static void a_watch_opened_while_the_primary_is_not_ready_is_answered_once(void **state)
{
    (void)state;
    struct running site;
    struct raw r;
    make_and_start("not-ready", &site);
    struct tvn *db = connect_with(NULL);
    put_many(db, "land", 20000);
    tvn_close(db);
    stop(&site);
    start(&site); /* its state is empty again, there was no checkpoint */
    raw_open(&r);
    uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    bool opened = false;
    while (!opened) {
        assert_true(uv_hrtime() < end && !r.closed);
        ask_to_watch(&r);
        raw_turn(&r, 3);
        for (unsigned i = 1; i <= r.sent; i++)
            opened |= r.answers[i] != 0 && r.codes[i] == 0;
    }
    while (!all_are_answered(&r) && !r.closed && uv_hrtime() < end)
        raw_turn(&r, 1);
    raw_turn(&r, 50); /* for what should not come */
    unsigned parked = 0;
    for (unsigned i = 1; i <= r.sent; i++) {
        assert_int_equal(r.answers[i], 1);
        parked += r.waited[i] >= 3;
    }
    assert_int_equal(r.codeless, 0);
    assert_true(parked > 0);
    raw_close(&r);
    stop(&site);
}

static void a_snapshot_ends_when_it_is_too_old_and_says_so(void **state)
{
    (void)state;
    struct running site;
    struct tvn_snapshot *old, *again;
    struct tvn_read how = TVN_READ_INIT;
    struct tvn_records *found;
    struct tvn_error e;
    char *reply;
    struct err err = ERR_NONE;
    make_config("old-snapshots");
    config.snapshot_ms = 1000;
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &err), 0);
    start(&site);
    struct tvn *db = connect_with(NULL);
    (void)put(db, "k", "v");
    assert_int_equal(tvn_snapshot_open(db, NULL, &old, &e), 0);
    how.snapshot = old;
    assert_int_equal(tvn_get(db, "land", tvn_str("k"), &how, &found, &e), 0);
    tvn_records_free(found);
    assert_int_equal(tvn_admin(db, "status", NULL, 0, &reply, &e), 0);
    assert_non_null(strstr(reply, "\"open_snapshots\":1,\"oldest_snapshot_ms\":"));
    assert_non_null(strstr(reply, "\"receiving\":{\"bytes\":0,\"limit\":"));
    assert_null(strstr(reply, "\"oldest_snapshot_ms\":null"));
    tvn_free(reply);
    int rc = 0;
    for (unsigned i = 0; i < 600 && rc == 0; i++) { /* it is looked at once a second */
        (void)usleep(100000);
        rc = tvn_get(db, "land", tvn_str("k"), &how, &found, &e);
        if (rc == 0)
            tvn_records_free(found);
    }
    assert_int_equal(rc, TVN_STALE);
    assert_non_null(strstr(e.text, "open for 1 s"));
    assert_non_null(strstr(e.text, "store.snapshot_seconds"));
    assert_int_equal(tvn_admin(db, "status", NULL, 0, &reply, &e), 0);
    assert_non_null(strstr(reply, "\"open_snapshots\":0,\"oldest_snapshot_ms\":null"));
    tvn_free(reply);
    assert_int_equal(tvn_snapshot_open(db, NULL, &again, &e), 0);
    how.snapshot = again;
    assert_int_equal(tvn_get(db, "land", tvn_str("k"), &how, &found, &e), 0);
    tvn_records_free(found);
    tvn_snapshot_close(again);
    tvn_snapshot_close(old);
    tvn_close(db);
    stop(&site);
}

/* It holds one of few places, and uses it for nothing. */
static void who_says_nothing_is_cut_off_and_told_of(void **state)
{
    (void)state;
    struct running site;
    struct raw r;
    struct tvn_error e;
    struct err err = ERR_NONE;
    char *reply;
    make_config("silent");
    config.client_idle_ms = 500;
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &err), 0);
    start(&site);
    raw_open(&r);
    const uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (!r.closed) {
        assert_true(uv_hrtime() < end);
        raw_turn(&r, 10);
    }
    assert_int_equal(r.why.code, ERR_TIMEOUT);
    assert_non_null(strstr(r.why.text, "closed: said nothing for "));
    raw_close(&r);
    struct tvn *db = connect_with(NULL);
    assert_int_equal(tvn_admin(db, "events", "{\"limit\":50}", 0, &reply, &e), 0);
    assert_non_null(strstr(reply, "connection of operator ops is cut off: 127.0.0.1:"));
    tvn_free(reply);
    tvn_close(db);
    stop(&site);
}

/* A stop is no riddle for those who are connected. */
static void who_is_connected_is_told_that_the_site_stops(void **state)
{
    (void)state;
    struct running site;
    struct raw r;
    struct err err = ERR_NONE;
    make_config("stopped");
    assert_int_equal(site_init(&config, SITE_NEW_CLUSTER, &err), 0);
    start(&site);
    raw_open(&r);
    stop(&site);
    const uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    while (!r.closed) {
        assert_true(uv_hrtime() < end);
        raw_turn(&r, 10);
    }
    assert_non_null(strstr(r.why.text, "closed: the site is stopping"));
    raw_close(&r);
}

static void ask_for(struct raw *r, const char *key, unsigned times)
{
    uint8_t body[128];
    struct writer w = writer_of(body, sizeof body);
    const struct op k = {OP_DELETE, bytes_str("land"), bytes_str(key), {NULL, 0}};
    wire_write_get(&w, &(struct wire_get){.count = 1}, &k);
    const struct bytes b = bytes_of(body, w.at);
    struct err e = ERR_NONE;
    assert_true(!w.bad && r->conn != NULL);
    for (unsigned i = 0; i < times; i++)
        if (conn_send(r->conn, FRAME_GET, (struct term){0}, ++r->sent, &b, 1, &e) != 0)
            fail_msg("%s", e.text);
    raw_turn(r, 1); /* they go out, and nothing is read from here on */
}

/* Each stays below its own limit; what they come to together is bounded too, and it is not the lesser one that pays. */
static void of_those_who_do_not_read_their_answers_the_worst_is_cut_off(void **state)
{
    (void)state;
    enum { VALUE = 1 << 20, WORST = 60, LESSER = 36 };
    struct running site;
    struct raw worst, lesser;
    struct tvn_error e;
    char *reply = NULL;
    make_and_start("unread", &site);
    struct tvn *db = connect_with(NULL);
    char *large = malloc(VALUE + 1);
    memset(large, 'x', VALUE);
    large[VALUE] = '\0';
    (void)put(db, "large", large);
    free(large);
    raw_open(&worst);
    raw_open(&lesser);
    ask_for(&worst, "large", WORST);
    ask_for(&lesser, "large", LESSER);
    const uint64_t end = uv_hrtime() + (uint64_t)PATIENCE_MS * 1000000;
    for (bool told = false; !told; (void)usleep(10000)) {
        assert_true(uv_hrtime() < end);
        assert_int_equal(tvn_admin(db, "events", "{\"limit\":50}", 0, &reply, &e), 0);
        told = strstr(reply, "connection of operator ops is cut off: 127.0.0.1:") != NULL;
        assert_true(!told || strstr(reply, "it has not read ") != NULL);
        assert_true(!told || strstr(reply, "of which 67108864 are allowed") != NULL);
        tvn_free(reply);
    }
    while (!all_are_answered(&lesser)) {
        assert_true(uv_hrtime() < end && !lesser.closed);
        raw_turn(&lesser, 1);
    }
    while (!worst.closed) {
        assert_true(uv_hrtime() < end);
        raw_turn(&worst, 1);
    }
    assert_false(all_are_answered(&worst));
    for (unsigned i = 1; i <= LESSER; i++)
        assert_int_equal(lesser.codes[i], 0);
    raw_close(&worst);
    raw_close(&lesser);
    tvn_close(db);
    stop(&site);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static atomic_bool no_chunk;
void *__libc_malloc(size_t n);
void *malloc(size_t n)
{
    return n == 16 << 20 && atomic_load(&no_chunk) ? NULL : __libc_malloc(n);
}

/* Of the replay's two chunks, which nothing else asks for in this size. */
static void an_applier_that_cannot_start_says_why(void **state)
{
    (void)state;
    struct running site;
    atomic_store(&no_chunk, true);
    make_and_start("no-memory", &site);
    int rc = wait_for(&site);
    atomic_store(&no_chunk, false);
    assert_int_equal(rc, ERR_NO_MEMORY);
    assert_non_null(strstr(site.why.text, "cannot start the applier: replay: out of memory"));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_opened_while_the_primary_is_not_ready_is_answered_once),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(an_applier_that_cannot_start_says_why),
#endif
        cmocka_unit_test(a_snapshot_ends_when_it_is_too_old_and_says_so),
        cmocka_unit_test(who_says_nothing_is_cut_off_and_told_of),
        cmocka_unit_test(who_is_connected_is_told_that_the_site_stops),
        cmocka_unit_test(of_those_who_do_not_read_their_answers_the_worst_is_cut_off),
    };
    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
