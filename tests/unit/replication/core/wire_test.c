#include "tests/fuzz/wire_again.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { SAMPLE_BYTES = 1024 };

static const struct uuid session = {{1, 2, 3, 4}};

/* One body of each kind with every field set. */
static size_t sample(enum wire_body kind, uint8_t out[SAMPLE_BYTES])
{
    struct writer w = writer_of(out, SAMPLE_BYTES);
    const struct bytes c = bytes_str("passports"), k = bytes_str("P-0001"),
                       v = bytes_str("{\"name\":\"Asha\"}");
    const struct op ops[] = {{OP_PUT, c, k, v}, {OP_DELETE, c, bytes_str("P-0002"), {NULL, 0}}};
    const struct condition conditions[] = {
        {COND_ABSENT, c, k, {0}}, {COND_EXISTS, c, k, {0}}, {COND_VERSION, c, k, {77}}};
    switch (kind) {
    case WIRE_BODY_hello:
        wire_write_hello(&w, &(struct wire_hello){WIRE_VERSION, WIRE_SITE, bytes_str("dc"), 12,
                                                  bytes_str("triveni 1"),
                                                  bytes_str("dc data, gsr repository"), 500, 400});
        break;
    case WIRE_BODY_error:
        wire_write_error(
            &w, &(struct wire_error){ERR_CONDITION, bytes_str("no"), bytes_str("dr:7400"), 3, {9}});
        break;
    case WIRE_BODY_primary:
        wire_write_primary(&w, &(struct wire_primary){{4}, bytes_str("dr"), bytes_str("dr:7400")});
        break;
    case WIRE_BODY_session_open:
        wire_write_session_open(&w, &(struct wire_session_open){session});
        break;
    case WIRE_BODY_session:
        wire_write_session(&w, &(struct wire_session){session, {8}});
        break;
    case WIRE_BODY_session_close:
        wire_write_session_close(&w, &(struct wire_session_close){session});
        break;
    case WIRE_BODY_done:
        wire_write_done(&w, &(struct wire_done){{1}, {2}, {3}, LEVEL_DR, true});
        break;
    case WIRE_BODY_scan:
        wire_write_scan(&w, &(struct wire_scan){.flags = WIRE_READ_STANDBY,
                                                .snapshot = 1,
                                                .min_lsn = {2},
                                                .collection = c,
                                                .from = k,
                                                .to = k,
                                                .prefix = k,
                                                .after = k,
                                                .reverse = true,
                                                .limit = WIRE_SCAN_MAX_RECORDS,
                                                .as_of = {AS_OF_TIME, 1700000000000000}});
        break;
    case WIRE_BODY_snapshot_open:
        wire_write_snapshot_open(&w, &(struct wire_snapshot_open){WIRE_READ_STANDBY, {5}});
        break;
    case WIRE_BODY_snapshot:
        wire_write_snapshot(&w, &(struct wire_snapshot){1, {2}, {3}});
        break;
    case WIRE_BODY_snapshot_close:
        wire_write_snapshot_close(&w, &(struct wire_snapshot_close){6});
        break;
    case WIRE_BODY_outcome_ask:
        wire_write_outcome_ask(&w, &(struct wire_outcome_ask){session, 5});
        break;
    case WIRE_BODY_outcome:
        wire_write_outcome(&w, &(struct wire_outcome){true, {2}, {3}});
        break;
    case WIRE_BODY_key_ask:
        wire_write_key_ask(&w, &(struct wire_key_ask){bytes_str("case-4711"), true});
        break;
    case WIRE_BODY_key_outcome:
        wire_write_key_outcome(
            &w, &(struct wire_key_outcome){WIRE_KEY_COMMITTED, LEVEL_ALL, {4}, {2}, {3}});
        break;
    case WIRE_BODY_point:
        wire_write_point(&w, &(struct wire_point){bytes_str("before-migration")});
        break;
    case WIRE_BODY_admin:
        wire_write_admin(&w, &(struct wire_admin){bytes_str("status"), bytes_str("{}")});
        break;
    case WIRE_BODY_admin_reply:
        wire_write_admin_reply(&w, &(struct wire_admin_reply){bytes_str("{\"ok\":true}")});
        break;
    case WIRE_BODY_txn:
        wire_write_txn(&w,
                       &(struct wire_txn){.session = session,
                                          .sequence = 9,
                                          .level = LEVEL_GSR,
                                          .condition_count = 3,
                                          .op_count = 2,
                                          .key = bytes_str("case-4711")},
                       conditions, ops);
        break;
    case WIRE_BODY_get:
        wire_write_get(&w, &(struct wire_get){0, 3, {4}, 2, {0}, {AS_OF_LSN, 42}}, ops);
        break;
    case WIRE_BODY_get_answer:
        wire_write_read_header(&w, &(struct wire_read_header){{1}, 2, 2});
        wire_write_get_record(&w, &(struct wire_record){true, c, k, v, {1}, {2}});
        wire_write_get_record(&w, &(struct wire_record){.found = false});
        break;
    case WIRE_BODY_scan_answer:
        wire_write_read_header(&w, &(struct wire_read_header){{1}, UINT64_MAX, 2});
        write_u8(&w, WIRE_MORE_AFTER_KEY);
        wire_write_scan_record(&w, &(struct wire_record){true, c, k, v, {1}, {2}});
        wire_write_scan_record(&w, &(struct wire_record){true, c, k, v, {3}, {4}});
        write_bytes16(&w, k);
        break;
    case WIRE_BODY_watch_open:
        wire_write_watch_open(
            &w, &(struct wire_watch_open){
                    WIRE_READ_STANDBY | WIRE_WATCH_KEYS_ONLY, {5}, c, k, WIRE_WATCH_CREDIT_MAX});
        break;
    case WIRE_BODY_watch:
        wire_write_watch(&w, &(struct wire_watch){7, {5}, {9}});
        break;
    case WIRE_BODY_watch_credit:
        wire_write_watch_credit(&w, &(struct wire_watch_credit){7, 4096});
        break;
    case WIRE_BODY_watch_close:
        wire_write_watch_close(&w, &(struct wire_watch_close){7});
        break;
    case WIRE_BODY_watch_end:
        wire_write_watch_end(&w, &(struct wire_watch_end){7, ERR_GAP, bytes_str("gone"), {8}});
        break;
    case WIRE_BODY_watch_data:
        wire_write_watch_data(&w, &(struct wire_watch_data){7, {5}, {8}, {11}, true, 3, {0}});
        wire_write_change(&w, &(struct wire_change){{6}, {2}, OP_PUT, c, k, v});
        wire_write_change(&w, &(struct wire_change){{9}, {3}, OP_PUT, c, k, {NULL, 0}});
        wire_write_change(&w, &(struct wire_change){{9}, {3}, OP_DELETE, c, k, {NULL, 0}});
        break;
    case WIRE_BODIES:
        break;
    }
    assert_false(w.bad);
    return w.at;
}

static void every_body_comes_back_whole(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < WIRE_BODIES; kind++) {
        uint8_t in[SAMPLE_BYTES], out[SAMPLE_BYTES];
        size_t n = sample((enum wire_body)kind, in);
        assert_true(n > 0);
        struct writer w = writer_of(out, sizeof out);
        struct err e = ERR_NONE;
        int rc = wire_again((enum wire_body)kind, bytes_of(in, n), &w, &e);
        assert_string_equal(e.text, "");
        assert_int_equal(rc, 0);
        assert_int_equal(w.at, n);
        assert_memory_equal(in, out, n);
    }
}

static void fields_arrive_in_their_places(void **state)
{
    (void)state;
    uint8_t in[SAMPLE_BYTES];
    struct wire_hello hello;
    assert_int_equal(wire_read_hello(bytes_of(in, sample(WIRE_BODY_hello, in)), &hello, NULL), 0);
    assert_int_equal(hello.kind, WIRE_SITE);
    assert_int_equal(hello.incarnation, 12);
    assert_true(bytes_equal(hello.name, bytes_str("dc")));
    assert_true(bytes_equal(hello.members, bytes_str("dc data, gsr repository")));
    assert_int_equal(hello.election_ms, 500);
    assert_int_equal(hello.lease_ms, 400);
    struct wire_error error;
    assert_int_equal(wire_read_error(bytes_of(in, sample(WIRE_BODY_error, in)), &error, NULL), 0);
    assert_int_equal(error.code, ERR_CONDITION);
    assert_int_equal(error.failed_condition, 3);
    struct wire_scan scan;
    assert_int_equal(wire_read_scan(bytes_of(in, sample(WIRE_BODY_scan, in)), &scan, NULL), 0);
    assert_true(scan.reverse && bytes_equal(scan.collection, bytes_str("passports")));
    struct wire_txn txn;
    assert_int_equal(wire_read_txn(bytes_of(in, sample(WIRE_BODY_txn, in)), &txn, NULL), 0);
    assert_int_equal(txn.level, LEVEL_GSR);
    assert_true(bytes_equal(txn.key, bytes_str("case-4711")));
    struct condition c;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(wire_next_condition(&txn.conditions, &c, NULL), 0);
    assert_int_equal(c.kind, COND_VERSION);
    assert_int_equal(c.version.v, 77);
    struct op op;
    assert_int_equal(body_next_op(&txn.ops, &op, NULL), 0);
    assert_true(op.kind == OP_PUT && bytes_equal(op.value, bytes_str("{\"name\":\"Asha\"}")));
}

/* Copied to the heap at its exact size, so that ASan sees a read past the end. */
static int again_at_size(unsigned kind, const uint8_t *in, size_t n, bool *same)
{
    uint8_t out[SAMPLE_BYTES];
    uint8_t *exact = malloc(n == 0 ? 1 : n);
    assert_non_null(exact);
    memcpy(exact, in, n);
    struct writer w = writer_of(out, sizeof out);
    struct err e = ERR_NONE;
    int rc = wire_again((enum wire_body)kind, bytes_of(exact, n), &w, &e);
    *same = rc == 0 && w.at == n && memcmp(out, exact, n) == 0;
    free(exact);
    return rc;
}

static void every_truncation_and_every_tail_is_refused(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < WIRE_BODIES; kind++) {
        uint8_t in[SAMPLE_BYTES] = {0};
        size_t n = sample((enum wire_body)kind, in);
        bool same;
        /* What asks for the past is whole without it: the_past_is_told_last_or_not_at_all. */
        const bool past = kind == WIRE_BODY_get || kind == WIRE_BODY_scan;
        /* ... and a transaction without its key: a_key_is_told_last_or_not_at_all. */
        const size_t whole = past ? n - 9 : kind == WIRE_BODY_txn ? n - 2 - strlen("case-4711") : n;
        for (size_t cut = 0; cut < n; cut++)
            if (cut != whole)
                assert_int_equal(again_at_size(kind, in, cut, &same), ERR_FORMAT);
        assert_int_equal(again_at_size(kind, in, n + 1, &same), ERR_FORMAT);
    }
}

static void mutations_are_refused_or_mean_exactly_what_they_say(void **state)
{
    (void)state;
    uint64_t seed = 0x9e3779b97f4a7c15u;
    unsigned accepted = 0, refused = 0;
    for (unsigned kind = 0; kind < WIRE_BODIES; kind++)
        for (unsigned round = 0; round < 4000; round++) {
            uint8_t in[SAMPLE_BYTES];
            size_t n = sample((enum wire_body)kind, in);
            for (unsigned hits = 1 + round % 3; hits > 0; hits--) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                in[(seed >> 33) % n] = (uint8_t)(round % 5 == 0 ? 0xff : seed >> 56);
            }
            bool same;
            int rc = again_at_size(kind, in, n, &same);
            assert_true(rc == 0 ? same : rc == ERR_FORMAT || rc == ERR_LIMIT);
            accepted += rc == 0;
            refused += rc != 0;
        }
    assert_true(accepted > 1000 && refused > 1000);
}

static void counts_are_bounded_by_the_bytes_that_follow(void **state)
{
    (void)state;
    uint8_t in[SAMPLE_BYTES];
    size_t n = sample(WIRE_BODY_txn, in);
    struct wire_txn txn;
    struct err e = ERR_NONE;
    put_le32(in + 25, 65536); /* within the limit of a transaction, far beyond what is there */
    assert_int_equal(wire_read_txn(bytes_of(in, n), &txn, &e), ERR_FORMAT);
    assert_string_equal(e.text, "txn: condition count 65536 is not allowed");
    n = sample(WIRE_BODY_get_answer, in);
    put_le32(in + 16, UINT32_MAX);
    struct reader r = reader_of(bytes_of(in, n));
    struct wire_read_header h;
    assert_int_equal(wire_read_read_header(&r, &h, &e), ERR_FORMAT);
}

static void refusals_say_why(void **state)
{
    (void)state;
    uint8_t in[SAMPLE_BYTES];
    struct err e = ERR_NONE;
    size_t n = sample(WIRE_BODY_hello, in);
    put_le16(in, WIRE_VERSION + 1);
    struct wire_hello hello;
    assert_int_equal(wire_read_hello(bytes_of(in, n), &hello, &e), ERR_FORMAT);
    char expected[100];
    (void)snprintf(expected, sizeof expected,
                   "hello: protocol version %d, this program speaks %d: upgrade the older side",
                   WIRE_VERSION + 1, WIRE_VERSION);
    assert_string_equal(e.text, expected);
    struct wire_scan scan;
    n = sample(WIRE_BODY_scan, in);
    put_le32(in + n - 9 - 4, WIRE_SCAN_MAX_RECORDS + 1);
    assert_int_equal(wire_read_scan(bytes_of(in, n), &scan, &e), ERR_FORMAT);
    assert_string_equal(e.text, "scan: limit 4097 is not allowed");
    struct wire_get get;
    n = sample(WIRE_BODY_get, in);
    in[26] = '/'; /* first byte of the first collection's name */
    assert_int_equal(wire_read_get(bytes_of(in, n), &get, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "key at byte 24: collection name has byte 0x2f at 0"));
}

/* An index comes behind the past, which is then said in any case; only the present has a form of its own there. */
static void an_index_is_told_last_or_not_at_all(void **state)
{
    (void)state;
    uint8_t in[SAMPLE_BYTES], out[SAMPLE_BYTES];
    struct err e = ERR_NONE;
    const struct wire_scan asked = {.collection = bytes_str("passports"),
                                    .from = bytes_str("[\"a\"]"),
                                    .after = bytes_str("token"),
                                    .limit = 7,
                                    .index = bytes_str("by_owner"),
                                    .equal = bytes_str("1")};
    struct writer w = writer_of(in, sizeof in);
    wire_write_scan(&w, &asked);
    const size_t n = w.at, past = n - 9 - 2 - asked.index.n - 2 - asked.equal.n;
    struct wire_scan scan;
    assert_int_equal(wire_read_scan(bytes_of(in, n), &scan, &e), 0);
    assert_true(bytes_equal(scan.index, asked.index) && bytes_equal(scan.equal, asked.equal) &&
                bytes_equal(scan.after, asked.after) && scan.as_of.kind == AS_OF_NONE);
    w = writer_of(out, sizeof out);
    wire_write_scan(&w, &scan);
    assert_true(w.at == n && memcmp(in, out, n) == 0);
    for (size_t cut = past + 1; cut < n; cut++)
        assert_int_equal(wire_read_scan(bytes_of(in, cut), &scan, &e), ERR_FORMAT);
    assert_int_equal(wire_read_scan(bytes_of(in, n + 1), &scan, &e), ERR_FORMAT);
    put_le32(in + past + 9, 0); /* an index without a name, and no bound */
    assert_int_equal(wire_read_scan(bytes_of(in, past + 13), &scan, &e), ERR_FORMAT);
    assert_string_equal(e.text, "scan: index name length 0 is not allowed");

    /* Bounds are longer than keys, a token is as long as a row of an index. */
    const uint8_t byte[WIRE_BOUND_MAX_BYTES + 1] = {'1'};
    const struct {
        struct bytes from, after, index;
        const char *text;
    } cases[] = {
        {bytes_of(byte, WIRE_BOUND_MAX_BYTES), bytes_of(byte, WIRE_TOKEN_MAX_BYTES), bytes_str("x"),
         NULL},
        {bytes_of(byte, WIRE_BOUND_MAX_BYTES + 1),
         {NULL, 0},
         bytes_str("x"),
         "scan: bound length 4097 is not allowed"},
        {bytes_of(byte, KEY_MAX_BYTES + 1),
         {NULL, 0},
         {NULL, 0},
         "scan: key length 481 is not allowed"},
        {{NULL, 0},
         bytes_of(byte, WIRE_TOKEN_MAX_BYTES + 1),
         bytes_str("x"),
         "scan: token length 512 is not allowed"},
        {{NULL, 0},
         {NULL, 0},
         bytes_of(byte, INDEX_NAME_MAX_BYTES + 1),
         "scan: index name length 65 is not allowed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static uint8_t large[3 * WIRE_BOUND_MAX_BYTES];
        w = writer_of(large, sizeof large);
        wire_write_scan(&w, &(struct wire_scan){.collection = bytes_str("c"),
                                                .from = cases[i].from,
                                                .after = cases[i].after,
                                                .limit = 1,
                                                .index = cases[i].index});
        int rc = wire_read_scan(bytes_of(large, w.at), &scan, &e);
        assert_int_equal(rc, cases[i].text == NULL ? 0 : ERR_FORMAT);
        if (rc != 0)
            assert_string_equal(e.text, cases[i].text);
    }
}

static void a_token_follows_each_record_of_a_scan_by_an_index(void **state)
{
    (void)state;
    uint8_t in[WIRE_TOKEN_MAX_BYTES + 8];
    struct err e = ERR_NONE;
    struct bytes token;
    for (size_t n = 0; n <= WIRE_TOKEN_MAX_BYTES + 1; n++) {
        static const uint8_t byte[WIRE_TOKEN_MAX_BYTES + 1];
        struct writer w = writer_of(in, sizeof in);
        wire_write_scan_token(&w, bytes_of(byte, n));
        struct reader r = reader_of(bytes_of(in, w.at));
        const bool good = n != 0 && n <= WIRE_TOKEN_MAX_BYTES;
        assert_int_equal(wire_read_scan_token(&r, &token, &e), good ? 0 : ERR_FORMAT);
        assert_true(!good || (token.n == n && reader_done(&r)));
        r = reader_of(bytes_of(in, w.at - 1));
        assert_int_equal(wire_read_scan_token(&r, &token, &e), ERR_FORMAT);
    }
}

/* The past comes last, and only when it is asked for: without it the bytes are those of programs that do not know it. */
static void the_past_is_told_last_or_not_at_all(void **state)
{
    (void)state;
    uint8_t in[SAMPLE_BYTES];
    struct err e = ERR_NONE;
    struct wire_scan scan;
    struct wire_get get;
    size_t n = sample(WIRE_BODY_scan, in);
    assert_int_equal(wire_read_scan(bytes_of(in, n), &scan, &e), 0);
    assert_true(scan.as_of.kind == AS_OF_TIME && scan.as_of.value == 1700000000000000);
    assert_int_equal(wire_read_scan(bytes_of(in, n - 9), &scan, &e), 0);
    assert_int_equal(scan.as_of.kind, AS_OF_NONE);
    for (size_t cut = 1; cut < 9; cut++)
        assert_int_equal(wire_read_scan(bytes_of(in, n - cut), &scan, &e), ERR_FORMAT);
    n = sample(WIRE_BODY_get, in);
    assert_int_equal(wire_read_get(bytes_of(in, n), &get, &e), 0);
    assert_true(get.as_of.kind == AS_OF_LSN && get.as_of.value == 42 && get.count == 2);
    assert_int_equal(wire_read_get(bytes_of(in, n - 9), &get, &e), 0);
    assert_true(get.as_of.kind == AS_OF_NONE && get.as_of.value == 0);
    for (unsigned kind = 0; kind < 256; kind++) {
        in[n - 9] = (uint8_t)kind;
        int rc = wire_read_get(bytes_of(in, n), &get, &e);
        assert_int_equal(rc, kind == 1 || kind == 2 ? 0 : ERR_FORMAT);
    }
    assert_string_equal(e.text, "get: kind of past 255 is not allowed");
}

/* A push says which transactions it covers; what is outside, or out of order, is refused. */
static void a_key_is_told_last_or_not_at_all(void **state)
{
    (void)state;
    uint8_t in[SAMPLE_BYTES + IDEMPOTENCY_KEY_MAX_BYTES] = {0};
    const size_t n = sample(WIRE_BODY_txn, in), bare = n - 2 - strlen("case-4711");
    struct wire_txn with, without;
    struct err e = ERR_NONE;
    assert_int_equal(wire_read_txn(bytes_of(in, n), &with, NULL), 0);
    assert_int_equal(wire_read_txn(bytes_of(in, bare), &without, NULL), 0);
    assert_int_equal(without.key.n, 0);
    assert_int_equal(with.ops.n, bare);
    /* The content is what comes behind session, sequence and level, and nothing of the key. */
    assert_true(bytes_equal(with.content, without.content));
    assert_true(bytes_equal(with.content, bytes_of(in + 25, bare - 25)));
    put_le16(in + bare, 0); /* an empty key is none */
    assert_int_equal(wire_read_txn(bytes_of(in, bare + 2), &with, &e), ERR_FORMAT);
    assert_string_equal(e.text, "txn: bytes of the idempotency key 0 is not allowed");
    put_le16(in + bare, IDEMPOTENCY_KEY_MAX_BYTES + 1);
    assert_int_equal(
        wire_read_txn(bytes_of(in, bare + 2 + IDEMPOTENCY_KEY_MAX_BYTES + 1), &with, &e),
        ERR_FORMAT);
    struct wire_key_ask ask;
    const size_t asked = sample(WIRE_BODY_key_ask, in);
    assert_int_equal(wire_read_key_ask(bytes_of(in, asked), &ask, NULL), 0);
    assert_true(ask.give_up && bytes_equal(ask.key, bytes_str("case-4711")));
}

static void watch_data_covers_what_it_says(void **state)
{
    (void)state;
    const struct bytes c = bytes_str("titles"), k = bytes_str("AB-12");
    const struct {
        uint64_t from, up_to, first, second;
        bool continued;
        int expected;
    } cases[] = {
        {5, 8, 5, 8, false, 0},
        {5, 8, 6, 6, false, 0},
        {5, 8, 4, 6, false, ERR_FORMAT},
        {5, 8, 6, 9, false, ERR_FORMAT},
        {5, 8, 7, 6, false, ERR_FORMAT},
        {5, 8, 6, 9, true, 0},
        {5, 8, 6, 8, true, ERR_FORMAT},
        {5, 4, 5, 5, true, 0},
        {5, 3, 4, 4, true, ERR_FORMAT},
        {0, 8, 1, 1, false, ERR_FORMAT},
        {5, UINT64_MAX, 5, 0, true, ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t in[SAMPLE_BYTES];
        struct writer w = writer_of(in, sizeof in);
        wire_write_watch_data(
            &w, &(struct wire_watch_data){
                    1, {cases[i].from}, {cases[i].up_to}, {9}, cases[i].continued, 2, {0}});
        wire_write_change(&w, &(struct wire_change){{cases[i].first}, {1}, OP_PUT, c, k, c});
        wire_write_change(&w, &(struct wire_change){{cases[i].second}, {1}, OP_PUT, c, k, c});
        struct wire_watch_data m;
        struct err e = ERR_NONE;
        int rc = wire_read_watch_data(bytes_of(in, w.at), &m, &e);
        if (rc != cases[i].expected)
            fail_msg("case %zu: %d, expected %d: %s", i, rc, cases[i].expected, e.text);
        assert_true(rc == 0 || strncmp(e.text, "watch data", 10) == 0);
    }
}

static void a_writer_without_room_says_so(void **state)
{
    (void)state;
    uint8_t in[SAMPLE_BYTES], out[SAMPLE_BYTES];
    for (unsigned kind = 0; kind < WIRE_BODIES; kind++) {
        size_t n = sample((enum wire_body)kind, in);
        struct writer w = writer_of(out, n - 1);
        assert_int_equal(wire_again((enum wire_body)kind, bytes_of(in, n), &w, NULL), 0);
        assert_true(w.bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_body_comes_back_whole),
        cmocka_unit_test(fields_arrive_in_their_places),
        cmocka_unit_test(every_truncation_and_every_tail_is_refused),
        cmocka_unit_test(mutations_are_refused_or_mean_exactly_what_they_say),
        cmocka_unit_test(counts_are_bounded_by_the_bytes_that_follow),
        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(the_past_is_told_last_or_not_at_all),
        cmocka_unit_test(an_index_is_told_last_or_not_at_all),
        cmocka_unit_test(a_token_follows_each_record_of_a_scan_by_an_index),
        cmocka_unit_test(a_key_is_told_last_or_not_at_all),
        cmocka_unit_test(watch_data_covers_what_it_says),
        cmocka_unit_test(a_writer_without_room_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
