#include "replication/core/frame.h"
#include "store/core/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct uuid ours = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static const struct bytes body = {(const uint8_t *)"a body of some bytes", 20};

static void encode_one(uint8_t out[FRAME_HEADER_BYTES])
{
    struct frame f = {
        .type = FRAME_TXN, .flags = FRAME_ZSTD, .cluster_id = ours, .term = {7}, .request = 99};
    frame_encode(&f, body, out);
}

/* A changed byte under a checksum that is right again: what a peer with other ideas would send. */
static void decode_gives(size_t at, uint8_t value, int code, const char *text)
{
    uint8_t raw[FRAME_HEADER_BYTES];
    encode_one(raw);
    raw[at] = value;
    put_le32(raw + 52, 0);
    put_le32(raw + 52, hash_crc32c(0, bytes_of(raw, sizeof raw)));
    struct frame out;
    struct err e = ERR_NONE;
    assert_int_equal(frame_decode(raw, &ours, 1000, &out, &e), code);
    assert_non_null(strstr(e.text, text));
}

static void round_trip_gives_everything_back(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 128; type++) {
        if (strcmp(frame_type_name((enum frame_type)type), "unknown") == 0)
            continue;
        struct frame f = {
            .type = (enum frame_type)type, .cluster_id = ours, .term = {~0ull}, .request = type};
        uint8_t raw[FRAME_HEADER_BYTES];
        const struct bytes has = type == FRAME_ALIVE ? bytes_of(NULL, 0) : body;
        frame_encode(&f, has, raw);
        struct frame out;
        struct err e = ERR_NONE;
        assert_int_equal(frame_decode(raw, &ours, 1000, &out, &e), 0);
        assert_int_equal(out.type, type);
        assert_int_equal(out.request, type);
        assert_true(out.term.v == ~0ull);
        assert_int_equal(out.body_bytes, has.n);
        assert_int_equal(frame_check_body(&out, has, &e), 0);
        assert_int_equal(frame_check_body(&out, bytes_of(body.p, 19), &e), ERR_FORMAT);
    }
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    uint8_t raw[FRAME_HEADER_BYTES], text[20];
    encode_one(raw);
    struct frame out;
    for (size_t bit = 0; bit < sizeof raw * 8; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(frame_decode(raw, &ours, 1000, &out, NULL), ERR_FORMAT);
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_int_equal(frame_decode(raw, &ours, 1000, &out, NULL), 0);
    memcpy(text, body.p, sizeof text);
    for (size_t bit = 0; bit < sizeof text * 8; bit++) {
        text[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(frame_check_body(&out, bytes_of(text, sizeof text), NULL), ERR_FORMAT);
        text[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void limits_hold_per_type_and_state(void **state)
{
    (void)state;
    struct frame f = {.type = FRAME_TXN, .cluster_id = ours}, out;
    uint8_t raw[FRAME_HEADER_BYTES];
    struct err e = ERR_NONE;
    frame_encode(&f, body, raw);
    assert_int_equal(frame_decode(raw, &ours, (uint32_t)body.n, &out, &e), 0);
    assert_int_equal(frame_decode(raw, &ours, (uint32_t)body.n - 1, &out, &e), ERR_LIMIT);
    assert_string_equal(e.text, "txn frame of 20 bytes, at most 19 are allowed here");
    assert_int_equal(frame_body_limit(FRAME_HELLO, FRAME_PEER_MAX_BYTES), FRAME_HELLO_MAX_BYTES);
    assert_int_equal(frame_body_limit(FRAME_ERROR, 100), 100);
    assert_int_equal(frame_body_limit(FRAME_PEER, FRAME_PEER_MAX_BYTES), FRAME_PEER_MAX_BYTES);
}

static void another_cluster_is_refused_unless_nobody_asked(void **state)
{
    (void)state;
    struct frame f = {.type = FRAME_HELLO, .cluster_id = {{9}}}, out;
    uint8_t raw[FRAME_HEADER_BYTES];
    frame_encode(&f, body, raw);
    assert_int_equal(frame_decode(raw, &ours, 1000, &out, NULL), ERR_DENIED);
    assert_int_equal(frame_decode(raw, NULL, 1000, &out, NULL), 0);
    assert_int_equal(out.cluster_id.b[0], 9);
}

static void what_we_do_not_know_is_named(void **state)
{
    (void)state;
    decode_gives(0, 'X', ERR_FORMAT, "no frame here: magic is");
    decode_gives(4, 2, ERR_FORMAT, "frame version 2 is unknown");
    decode_gives(6, 200, ERR_FORMAT, "frame type 200 is unknown");
    decode_gives(8, 2, ERR_FORMAT, "flags 00000002");
    decode_gives(63, 1, ERR_FORMAT, "reserved bytes");
    decode_gives(15, 0xff, ERR_LIMIT, "at most 1000 are allowed here");
    decode_gives(16, 0xff, ERR_DENIED, "txn frame of another cluster");
}

static void every_type_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(frame_type_name(FRAME_HELLO), "hello");
    assert_string_equal(frame_type_name((enum frame_type)(FRAME_GET | FRAME_REPLY)), "get reply");
    assert_string_equal(frame_type_name((enum frame_type)(FRAME_ADMIN | FRAME_REPLY)),
                        "admin reply");
    assert_string_equal(frame_type_name(FRAME_ALIVE), "alive");
    assert_string_equal(frame_type_name((enum frame_type)(FRAME_ALIVE + 1)), "unknown");
    assert_string_equal(frame_type_name(FRAME_REPLY), "unknown");
    assert_string_equal(frame_type_name((enum frame_type)0xffff), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_gives_everything_back),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(limits_hold_per_type_and_state),
        cmocka_unit_test(another_cluster_is_refused_unless_nobody_asked),
        cmocka_unit_test(what_we_do_not_know_is_named),
        cmocka_unit_test(every_type_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
