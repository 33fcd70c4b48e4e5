/* Every kind comes back as it was, and what is not exactly one of them is refused. */
#include "replication/core/cosign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static uint8_t row[2 * 128];

static const struct cosign_message good[] = {
    {COSIGN_ASK, 0, 7, {42}, {(const uint8_t *)"key", 3}, {(const uint8_t *)"note\n", 5}},
    {COSIGN_ANSWER, 0, 7, {42}, {(const uint8_t *)"key", 3}, {(const uint8_t *)"line\n", 5}},
    {COSIGN_ANSWER, ERR_INTEGRITY, 7, {42}, {NULL, 0}, {(const uint8_t *)"no", 2}},
    {COSIGN_HEADERS, 0, UINT64_MAX, {1}, {NULL, 0}, {NULL, 0}},
    {COSIGN_ROW, 0, 1, {1}, {NULL, 0}, {row, sizeof row}},
    {COSIGN_ROW, ERR_NOT_FOUND, 1, {9}, {NULL, 0}, {(const uint8_t *)"none", 4}},
    {COSIGN_ADD, 0, 42, {42}, {(const uint8_t *)"key", 3}, {(const uint8_t *)"old 7\n", 6}},
    {COSIGN_ADDED, 0, 42, {42}, {(const uint8_t *)"key", 3}, {(const uint8_t *)"line\n", 5}},
    {COSIGN_ADDED, ERR_CONDITION, 42, {0}, {NULL, 0}, {(const uint8_t *)"from 0", 6}},
};
enum { GOOD = sizeof good / sizeof good[0] };

static size_t encode(const struct cosign_message *m, uint8_t *out, size_t cap)
{
    struct writer w = writer_of(out, cap);
    cosign_write(&w, m);
    assert_false(w.bad);
    assert_int_equal(w.at, cosign_bytes(m));
    return w.at;
}

static void every_kind_comes_back(void **state)
{
    (void)state;
    uint8_t raw[512];
    for (size_t i = 0; i < GOOD; i++) {
        struct cosign_message m;
        size_t n = encode(&good[i], raw, sizeof raw);
        assert_int_equal(cosign_read(bytes_of(raw, n), &m, NULL), 0);
        assert_int_equal(m.kind, good[i].kind);
        assert_int_equal(m.code, good[i].code);
        assert_int_equal(m.id, good[i].id);
        assert_int_equal(m.lsn.v, good[i].lsn.v);
        assert_true(bytes_equal(m.key, good[i].key) && bytes_equal(m.payload, good[i].payload));
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(cosign_read(bytes_of(raw, cut), &m, NULL), ERR_FORMAT);
        raw[n] = 0;
        assert_int_equal(cosign_read(bytes_of(raw, n + 1), &m, NULL), ERR_FORMAT);
    }
    assert_string_equal(cosign_kind_name(COSIGN_ROW), "row");
    assert_string_equal(cosign_kind_name((enum cosign_kind)9), "unknown");
}

/* One field of a good message changed, so that it is none of its kind. */
static void refused(size_t which, size_t offset, uint32_t value, const char *why)
{
    uint8_t raw[512];
    struct cosign_message m;
    struct err e = ERR_NONE;
    size_t n = encode(&good[which], raw, sizeof raw);
    put_le32(raw + offset, value);
    assert_int_equal(cosign_read(bytes_of(raw, n), &m, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, why));
}

static void what_is_none_of_them_is_refused(void **state)
{
    (void)state;
    refused(0, 0, 0, "unknown");
    refused(0, 0, 7, "unknown");
    refused(0, 0, 0x101, "unknown");                    /* the zeros */
    refused(0, 4, (uint32_t)ERR_INTEGRITY, "ask");      /* a question does not fail */
    refused(1, 4, 3, "code 3");                         /* no error's code */
    refused(1, 4, (uint32_t)ERR_INTEGRITY, "key of 3"); /* fails and signs */
    refused(2, 4, 0, "key of 0");                       /* signs without a key */
    refused(0, 0, COSIGN_HEADERS, "headers");
    refused(6, 4, (uint32_t)ERR_STALE, "add"); /* a question does not fail */
    refused(8, 4, 0, "key of 0");
    refused(4, 0, COSIGN_HEADERS, "payload of 256");
    uint8_t raw[512];
    struct cosign_message m, odd = good[4];
    size_t n = encode(&odd, raw, sizeof raw);
    put_le32(raw + 26, 255); /* no whole number of headers */
    assert_int_equal(cosign_read(bytes_of(raw, n - 1), &m, NULL), ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(what_is_none_of_them_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
