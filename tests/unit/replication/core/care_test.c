/* The codec of what sites say about what they have stored. */
#include "replication/core/care.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static uint8_t wire[CARE_BUCKETS_BYTES + 4096];

static struct bytes encode(const struct care_message *m)
{
    struct writer w = writer_of(wire, sizeof wire);
    care_write(&w, m);
    assert_false(w.bad);
    assert_int_equal(w.at, care_bytes(m));
    return bytes_of(wire, w.at);
}

static const struct care_message samples[] = {
    {.kind = CARE_SUMS, .id = 7, .lsn = {9}},
    {.kind = CARE_SUMS,
     .answer = true,
     .found = true,
     .known = true,
     .id = 7,
     .lsn = {9},
     .records = 3,
     .digest = {1, 2}},
    {.kind = CARE_BUCKETS, .id = 8, .lsn = {9}},
    {.kind = CARE_BUCKETS, .answer = true, .id = 8, .lsn = {9}},
    {.kind = CARE_KEYS,
     .id = 1,
     .bucket = 4095,
     .collection = {(const uint8_t *)"c", 1},
     .key = {(const uint8_t *)"k", 1}},
    {.kind = CARE_RECORD,
     .id = 2,
     .collection = {(const uint8_t *)"c", 1},
     .key = {(const uint8_t *)"k", 1}},
    {.kind = CARE_RECORD,
     .answer = true,
     .found = true,
     .id = 2,
     .collection = {(const uint8_t *)"c", 1},
     .key = {(const uint8_t *)"k", 1},
     .lsn = {5},
     .time = {6},
     .payload = {(const uint8_t *)"value", 5}},
    {.kind = CARE_RECORD,
     .answer = true,
     .refused = true,
     .id = 2,
     .payload = {(const uint8_t *)"damaged here too", 16}},
    {.kind = CARE_ENTRIES, .id = 3, .lsn = {10}, .to = {20}},
    {.kind = CARE_VERDICT,
     .id = 4,
     .found = true,
     .lsn = {10},
     .payload = {(const uint8_t *)"bucket 1", 8}},
    {.kind = CARE_VERDICT, .answer = true, .id = 4},
};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

static void each_message_comes_back_as_it_was(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct care_message m;
        struct err e = ERR_NONE;
        struct bytes b = encode(&samples[i]);
        assert_int_equal(care_read(b, &m, &e), 0);
        assert_int_equal(m.kind, samples[i].kind);
        assert_int_equal(m.answer, samples[i].answer);
        assert_int_equal(m.refused, samples[i].refused);
        assert_int_equal(m.found, samples[i].found);
        assert_int_equal(m.known, samples[i].known);
        assert_int_equal(m.id, samples[i].id);
        assert_int_equal(m.lsn.v, samples[i].lsn.v);
        assert_int_equal(m.to.v, samples[i].to.v);
        assert_int_equal(m.bucket, samples[i].bucket);
        assert_true(bytes_equal(m.key, samples[i].key));
        assert_true(bytes_equal(m.payload, samples[i].payload));
    }
}

static void a_message_of_another_size_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct bytes b = encode(&samples[i]);
        struct care_message m;
        for (size_t n = 0; n < b.n; n++)
            assert_int_equal(care_read(bytes_of(b.p, n), &m, NULL), ERR_FORMAT);
        assert_int_equal(care_read(bytes_of(b.p, b.n + 1), &m, NULL), ERR_FORMAT);
    }
}

static void a_field_that_has_no_business_there_is_refused(void **state)
{
    (void)state;
    struct care_message m;
    for (size_t at = 2; at < CARE_FIXED_BYTES; at++) {
        struct bytes b =
            encode(&samples[SAMPLES - 1]); /* the answer to a verdict has nothing but its id */
        wire[at] ^= 1;
        assert_int_equal(care_read(b, &m, NULL), at >= 8 && at < 16 ? 0 : ERR_FORMAT);
    }
    static const uint8_t kinds[] = {0, 7, 255};
    for (size_t i = 0; i < sizeof kinds; i++) {
        struct bytes b = encode(&samples[0]);
        wire[0] = kinds[i];
        assert_int_equal(care_read(b, &m, NULL), ERR_FORMAT);
    }
    struct bytes b = encode(&samples[0]);
    wire[1] |= 2; /* a question cannot be a refusal */
    assert_int_equal(care_read(b, &m, NULL), ERR_FORMAT);
    wire[1] = 32;
    assert_int_equal(care_read(b, &m, NULL), ERR_FORMAT);
    b = encode(&samples[4]);
    put_le16(wire + 2, DIGEST_BUCKETS);
    assert_int_equal(care_read(b, &m, NULL), ERR_FORMAT);
    b = encode(&samples[3]);
    wire[1] |= 4; /* found, without the digests */
    assert_int_equal(care_read(b, &m, NULL), ERR_FORMAT);
}

static void rows_must_rise(void **state)
{
    (void)state;
    const struct care_row rows[] = {{bytes_str("a"), bytes_str("k"), {1}, {1, 1}},
                                    {bytes_str("a"), bytes_str("l"), {2}, {1, 1}},
                                    {bytes_str("b"), bytes_str("a"), {3}, {1, 1}}};
    for (unsigned swap = 0; swap < 3; swap++) {
        struct writer w = writer_of(wire, sizeof wire);
        care_write_row(&w, &rows[swap == 1 ? 1 : 0]);
        care_write_row(&w, &rows[swap == 0 ? 1 : 0]);
        care_write_row(&w, &rows[2]);
        struct reader r = reader_of(bytes_of(wire, w.at));
        struct care_row row, before = {.lsn = {0}};
        unsigned n = 0;
        while (r.at < r.n && care_next_row(&r, &before, &row, NULL) == 0) {
            before = row;
            n++;
        }
        assert_int_equal(n, swap == 0 ? 3 : 1);
    }
}

/* Entries come at a steady pace; each comparison waits until its lsn is applied, but not for longer than WAIT_MS. */
static void a_comparison_that_was_held_up_is_followed_by_one_that_is_not(void **state)
{
    (void)state;
    enum { AHEAD_MS = 1000, WAIT_MS = 3000, ROUND_MS = 200 };
    const uint64_t per_second = 120;
    uint64_t now_ms = 60000, before_ms = 50000, met = 0;
    struct lsn before = {before_ms * per_second / 1000};
    for (unsigned i = 0; i < 10; i++) {
        const struct lsn applied = {now_ms * per_second / 1000};
        const struct lsn at = care_compare_at(before, applied, now_ms - before_ms, AHEAD_MS);
        assert_true(at.v > applied.v);
        const uint64_t there_ms = at.v * 1000 / per_second + 1;
        before = applied;
        before_ms = now_ms;
        met += there_ms <= now_ms + WAIT_MS;
        now_ms = (there_ms <= now_ms + WAIT_MS ? there_ms : now_ms + WAIT_MS) + ROUND_MS;
    }
    assert_int_equal(met, 10);
}

static void states_that_rest_are_compared_where_they_are(void **state)
{
    (void)state;
    const struct lsn none = {0}, at = {70};
    assert_int_equal(care_compare_at(at, at, 1000, 1000).v, 70);
    assert_int_equal(care_compare_at(none, at, 99999, 1000).v, 70); /* the first one */
    const struct lsn farther = {90};
    assert_int_equal(care_compare_at(farther, at, 1000, 1000).v, 70); /* it was cut */
    assert_int_equal(care_compare_at(at, farther, 1000, 1000).v, 111);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_message_comes_back_as_it_was),
        cmocka_unit_test(a_message_of_another_size_is_refused),
        cmocka_unit_test(a_field_that_has_no_business_there_is_refused),
        cmocka_unit_test(rows_must_rise),
        cmocka_unit_test(a_comparison_that_was_held_up_is_followed_by_one_that_is_not),
        cmocka_unit_test(states_that_rest_are_compared_where_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
