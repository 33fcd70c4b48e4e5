/* Scans by an index: what the site is asked, where a scan goes on, and what its refusals become. */
#include "tests/unit/client/cluster.h"

/* ---- a site with an index of ROWS rows ---- */

enum { ROWS = 10, TOKEN_BYTES = 3 };

static struct {
    struct wire_scan asked; /* the last one; its texts are below */
    char from[32], to[32], prefix[32], equal[32], index[80];
    int scans;
    uint32_t most; /* records that an answer has at most, as if they were large */
    int refuse;    /* answer with this code */
    int tokenless; /* leave the tokens out */
} site;

static void keep_text(char *out, size_t cap, struct bytes b)
{
    check(b.n < cap);
    (void)snprintf(out, cap, "%.*s", (int)b.n, (const char *)b.p);
}

/* Row i is record "z" - i, so that the order is not that of keys; its token has a zero byte and i. */
static int answer_scan(struct site *s, struct conn *conn, const struct frame *f,
                       const struct wire_scan *m)
{
    site.asked = *m;
    site.scans++;
    keep_text(site.from, sizeof site.from, m->from);
    keep_text(site.to, sizeof site.to, m->to);
    keep_text(site.prefix, sizeof site.prefix, m->prefix);
    keep_text(site.equal, sizeof site.equal, m->equal);
    keep_text(site.index, sizeof site.index, m->index);
    if (site.refuse != 0) {
        refuse(s, conn, f->request, site.refuse, -1);
        return 0;
    }
    check(m->after.n == 0 || (m->after.n == TOKEN_BYTES && m->after.p[1] == 0));
    const int step = m->reverse ? -1 : 1;
    int i = m->after.n != 0 ? m->after.p[2] + step : m->reverse ? ROWS - 1 : 0;
    const uint32_t left = i < 0 || i >= ROWS ? 0 : (uint32_t)(m->reverse ? i + 1 : ROWS - i);
    uint32_t n = left < m->limit ? left : m->limit;
    n = n < site.most ? n : site.most;
    struct writer w = writer_for(s);
    wire_write_read_header(&w, &(struct wire_read_header){{7}, 0, n});
    write_u8(&w, n < left);
    for (uint32_t k = 0; k < n; k++, i += step) {
        const uint8_t key = (uint8_t)('z' - i), token[TOKEN_BYTES] = {0xfe, 0, (uint8_t)i};
        wire_write_scan_record(&w, &(struct wire_record){.found = true,
                                                         .collection = m->collection,
                                                         .key = bytes_of(&key, 1),
                                                         .value = bytes_str("{\"v\":1}"),
                                                         .lsn = {3}});
        if (!site.tokenless)
            wire_write_scan_token(&w, bytes_of(token, sizeof token));
    }
    send_body(conn, FRAME_SCAN | FRAME_REPLY, f->request, &w);
    return 0;
}

static struct cluster *c; /* of one site, with such an index */
static struct tvn *db;

static int set_up(void **state)
{
    (void)state;
    c = cluster_start(1);
    LOCKED(c, c->on_index_scan = answer_scan);
    LOCKED(c, memset(&site, 0, sizeof site));
    LOCKED(c, site.most = ROWS);
    db = open_client(c);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const int rc = tvn_close(db);
    cluster_stop(c);
    return rc;
}

static struct tvn_scan_options by_index(void)
{
    struct tvn_scan_options o = TVN_SCAN_INIT;
    o.collection = "people";
    o.index = "by-name";
    return o;
}

/* The keys of what comes, as one text. */
static void scan_keys(const struct tvn_scan_options *o, char out[ROWS + 2])
{
    struct tvn_scan *scan;
    struct tvn_record r;
    struct tvn_error error;
    int n = 0, rc;
    assert_ok(tvn_scan_open(db, o, NULL, &scan, &error), error);
    while ((rc = tvn_scan_next(scan, &r, &error)) == 1) {
        assert_true(n <= ROWS);
        assert_int_equal(r.key.size, 1);
        assert_memory_equal(r.value.data, "{\"v\":1}", r.value.size);
        out[n++] = *(const char *)r.key.data;
    }
    assert_ok(rc, error);
    out[n] = '\0';
    tvn_scan_close(scan);
}

/* ---- cases ---- */

static void all_that_is_asked_reaches_the_site_with_every_page(void **state)
{
    (void)state;
    struct tvn_error error;
    struct tvn_record r;
    struct tvn_scan *scan;
    struct tvn_scan_options o = by_index();
    char texts[4][8] = {"\"a\"", "\"b\"", "x y", "[1,2]"};
    o.from = tvn_str(texts[0]);
    o.to = tvn_str(texts[1]);
    o.prefix = tvn_str(texts[2]);
    o.equal = tvn_str(texts[3]);
    o.page = 2;
    assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
    memset(texts, '?', sizeof texts); /* all are copied */
    for (int page = 0; page < ROWS / 2; page++) {
        for (int i = 0; i < 2; i++)
            assert_int_equal(tvn_scan_next(scan, &r, &error), 1);
        cluster_lock(c);
        assert_int_equal(site.scans, page + 1);
        assert_int_equal(site.asked.limit, 2);
        assert_int_equal(site.asked.as_of.kind, AS_OF_NONE);
        assert_string_equal(site.index, "by-name");
        assert_string_equal(site.from, "\"a\"");
        assert_string_equal(site.to, "\"b\"");
        assert_string_equal(site.prefix, "x y");
        assert_string_equal(site.equal, "[1,2]");
        cluster_unlock(c);
    }
    tvn_scan_close(scan);
}

static void pages_of_any_size_join(void **state)
{
    (void)state;
    struct tvn_scan_options o = by_index();
    char keys[ROWS + 2];
    for (uint32_t most = 1; most <= ROWS; most++) {
        LOCKED(c, site.most = most); /* the site gives less than is asked for */
        for (o.page = 0; o.page <= ROWS; o.page++) {
            o.limit = 0;
            o.reverse = 0;
            scan_keys(&o, keys);
            assert_string_equal(keys, "zyxwvutsrq");
            o.reverse = 1;
            scan_keys(&o, keys);
            assert_string_equal(keys, "qrstuvwxyz");
            o.limit = 7;
            scan_keys(&o, keys);
            assert_string_equal(keys, "qrstuvw");
        }
    }
}

/* Within pages and at their ends, another scan goes on behind the last record and nowhere else. */
static void the_token_is_that_of_the_last_record(void **state)
{
    (void)state;
    struct tvn_error error;
    struct tvn_record r;
    struct tvn_scan *scan;
    struct tvn_scan_options o = by_index();
    char keys[ROWS + 2];
    o.page = 4;
    assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
    assert_int_equal(tvn_scan_token(scan).size, 0);
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(tvn_scan_next(scan, &r, &error), 1);
        struct tvn_scan_options rest = by_index();
        rest.after = tvn_scan_token(scan);
        assert_int_equal(rest.after.size, TOKEN_BYTES);
        scan_keys(&rest, keys);
        assert_string_equal(keys, &"zyxwvutsrq"[i + 1]);
        rest.reverse = 1;
        scan_keys(&rest, keys);
        assert_string_equal(keys, &"qrstuvwxyz"[ROWS - i]);
    }
    assert_int_equal(tvn_scan_next(scan, &r, &error), 0);
    assert_memory_equal(tvn_scan_token(scan).data, "\xfe\0\x09", TOKEN_BYTES); /* it stays */
    tvn_scan_close(scan);
    /* One that has given nothing yet is where it was told to begin. */
    o.after = tvn_view("\xfe\0\x04", TOKEN_BYTES);
    assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
    assert_int_equal(tvn_scan_token(scan).size, TOKEN_BYTES);
    assert_memory_equal(tvn_scan_token(scan).data, "\xfe\0\x04", TOKEN_BYTES);
    tvn_scan_close(scan);
}

static void without_an_index_the_token_is_the_key(void **state)
{
    (void)state;
    struct tvn_error error;
    struct tvn_record r;
    struct tvn_scan *scan;
    struct tvn_scan_options o = by_index();
    assert_ok(tvn_put(db, "people", tvn_str("ann"), tvn_str("1"), NULL, &error), error);
    assert_ok(tvn_put(db, "people", tvn_str("bob"), tvn_str("2"), NULL, &error), error);
    o.index = "";
    assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
    assert_int_equal(tvn_scan_next(scan, &r, &error), 1);
    assert_int_equal(tvn_scan_token(scan).size, 3);
    assert_memory_equal(tvn_scan_token(scan).data, "ann", 3);
    tvn_scan_close(scan);
    /* The struct of a program from before there were indexes ends before them. */
    o = by_index();
    o.equal = tvn_str("1");
    o.size = offsetof(struct tvn_scan_options, index);
    assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
    assert_int_equal(tvn_scan_next(scan, &r, &error), 1);
    assert_memory_equal(r.key.data, "ann", 3);
    assert_int_equal(locked_int(c, &site.scans), 0);
    tvn_scan_close(scan);
}

static void a_page_that_fails_is_asked_for_again(void **state)
{
    (void)state;
    struct tvn_read how = TVN_READ_INIT;
    struct tvn_error error;
    struct tvn_record r;
    struct tvn_scan *scan;
    struct tvn_scan_options o = by_index();
    char keys[ROWS + 1] = "";
    int n = 0;
    o.page = 3;
    how.timeout_ms = 400;
    assert_ok(tvn_scan_open(db, &o, &how, &scan, &error), error);
    for (; n < 3; n++) {
        assert_int_equal(tvn_scan_next(scan, &r, &error), 1);
        keys[n] = *(const char *)r.key.data;
    }
    LOCKED(c, c->sites[0].frozen = true);
    assert_int_equal(tvn_scan_next(scan, &r, &error), TVN_TIMEOUT);
    assert_memory_equal(tvn_scan_token(scan).data, "\xfe\0\x02", TOKEN_BYTES);
    LOCKED(c, c->sites[0].frozen = false);
    /* The index was dropped and declared anew, say. */
    LOCKED(c, site.refuse = ERR_NOT_READY);
    assert_int_equal(tvn_scan_next(scan, &r, &error), TVN_NOT_READY);
    LOCKED(c, site.refuse = 0);
    for (; tvn_scan_next(scan, &r, &error) == 1; n++)
        keys[n] = *(const char *)r.key.data;
    assert_string_equal(keys, "zyxwvutsrq");
    tvn_scan_close(scan);
}

/* Asked once: none of them is better a moment later. (BUSY is asked again, until the deadline.) */
static void refusals_are_told_at_once(void **state)
{
    (void)state;
    static const struct {
        int code, retryable;
    } cases[] = {{ERR_NOT_READY, 1}, {ERR_NOT_FOUND, 0}, {ERR_FORMAT, 0}, {ERR_USAGE, 0}};
    struct tvn_error error;
    struct tvn_record r;
    struct tvn_scan *scan;
    const struct tvn_scan_options o = by_index();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        LOCKED(c, site.refuse = cases[i].code);
        LOCKED(c, site.scans = 0);
        assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
        assert_int_equal(tvn_scan_next(scan, &r, &error), cases[i].code);
        assert_int_equal(error.code, cases[i].code);
        assert_int_equal(error.retryable, cases[i].retryable);
        assert_int_equal(error.outcome, TVN_NOT_APPLICABLE);
        assert_int_equal(locked_int(c, &site.scans), 1);
        tvn_scan_close(scan);
    }
}

static void an_index_that_a_snapshot_lacks_is_not_a_lost_snapshot(void **state)
{
    (void)state;
    struct tvn_read how = TVN_READ_INIT;
    struct tvn_snapshot *snap;
    struct tvn_error error;
    struct tvn_record r;
    struct tvn_scan *scan;
    const struct tvn_scan_options o = by_index();
    assert_ok(tvn_snapshot_open(db, NULL, &snap, &error), error);
    how.snapshot = snap;
    LOCKED(c, site.refuse = ERR_NOT_FOUND);
    assert_ok(tvn_scan_open(db, &o, &how, &scan, &error), error);
    assert_int_equal(tvn_scan_next(scan, &r, &error), TVN_NOT_FOUND);
    assert_int_equal(error.retryable, 0);
    LOCKED(c, site.refuse = ERR_STALE);
    assert_int_equal(tvn_scan_next(scan, &r, &error), TVN_STALE);
    tvn_scan_close(scan);
    tvn_snapshot_close(snap);
}

static bool refuse_writes(struct site *s, struct conn *conn, const struct frame *f)
{
    if (f->type != FRAME_TXN)
        return false;
    site.scans++;
    refuse(s, conn, f->request, ERR_UNIQUE, -1);
    return true;
}

static void a_write_that_a_unique_index_refuses_was_not_done(void **state)
{
    (void)state;
    struct tvn_error error;
    LOCKED(c, c->before = refuse_writes);
    assert_int_equal(tvn_put(db, "people", tvn_str("k"), tvn_str("1"), NULL, &error), TVN_UNIQUE);
    assert_int_equal(error.outcome, TVN_NOT_DONE);
    assert_int_equal(error.retryable, 0);
    assert_non_null(strstr(error.text, "unique"));
    assert_int_equal(locked_int(c, &site.scans), 1);
    LOCKED(c, c->before = NULL);
    assert_ok(tvn_put(db, "people", tvn_str("k"), tvn_str("1"), NULL, &error), error);
}

static void what_no_site_would_take_is_not_asked(void **state)
{
    (void)state;
    static const char bytes[WIRE_BOUND_MAX_BYTES + 1];
    char name[INDEX_NAME_MAX_BYTES + 2];
    const struct tvn_bytes most = tvn_view(bytes, WIRE_BOUND_MAX_BYTES),
                           over = tvn_view(bytes, WIRE_BOUND_MAX_BYTES + 1);
    struct tvn_error error;
    struct tvn_scan *scan;
    struct tvn_bytes *bounds[4];
    struct tvn_scan_options o = by_index();
    bounds[0] = &o.from;
    bounds[1] = &o.to;
    bounds[2] = &o.prefix;
    bounds[3] = &o.equal;
    for (int i = 0; i < 4; i++) {
        *bounds[i] = most;
        assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
        tvn_scan_close(scan);
        *bounds[i] = over;
        assert_int_equal(tvn_scan_open(db, &o, NULL, &scan, &error), TVN_LIMIT);
        assert_null(scan);
        *bounds[i] = tvn_view(NULL, 0);
    }
    o.after = tvn_view(bytes, WIRE_TOKEN_MAX_BYTES);
    assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
    tvn_scan_close(scan);
    o.after = tvn_view(bytes, WIRE_TOKEN_MAX_BYTES + 1);
    assert_int_equal(tvn_scan_open(db, &o, NULL, &scan, &error), TVN_LIMIT);
    o = by_index();
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    o.index = name;
    assert_int_equal(tvn_scan_open(db, &o, NULL, &scan, &error), TVN_LIMIT);
    o.index = name + 1;
    assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
    tvn_scan_close(scan);
    o.index = NULL;
    o.equal = tvn_str("1");
    assert_int_equal(tvn_scan_open(db, &o, NULL, &scan, &error), TVN_USAGE);
    assert_non_null(strstr(error.text, "name one, or ask by key"));
    assert_int_equal(locked_int(c, &site.scans), 0);
}

static void a_wrong_answer_is_refused(void **state)
{
    (void)state;
    struct tvn_error error;
    struct tvn_record r;
    struct tvn_scan *scan;
    const struct tvn_scan_options o = by_index();
    LOCKED(c, site.tokenless = 1);
    assert_ok(tvn_scan_open(db, &o, NULL, &scan, &error), error);
    assert_int_equal(tvn_scan_next(scan, &r, &error), TVN_FORMAT);
    LOCKED(c, site.tokenless = 0);
    LOCKED(c, site.most = 0); /* no record, but more of them: this is not the end */
    assert_int_equal(tvn_scan_next(scan, &r, &error), TVN_FORMAT);
    LOCKED(c, site.most = ROWS);
    assert_int_equal(tvn_scan_next(scan, &r, &error), 1); /* on another connection */
    tvn_scan_close(scan);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        t(all_that_is_asked_reaches_the_site_with_every_page),
        t(pages_of_any_size_join),
        t(the_token_is_that_of_the_last_record),
        t(without_an_index_the_token_is_the_key),
        t(a_page_that_fails_is_asked_for_again),
        t(refusals_are_told_at_once),
        t(an_index_that_a_snapshot_lacks_is_not_a_lost_snapshot),
        t(a_write_that_a_unique_index_refuses_was_not_done),
        t(what_no_site_would_take_is_not_asked),
        t(a_wrong_answer_is_refused),
    };
    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
