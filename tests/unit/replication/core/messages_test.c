#include "replication/core/messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void encode(const struct repl_message *m, uint8_t out[MESSAGE_FIXED_BYTES])
{
    struct writer w = writer_of(out, MESSAGE_FIXED_BYTES);
    message_write(&w, m);
    assert_false(w.bad);
    assert_int_equal(w.at, MESSAGE_FIXED_BYTES);
}

static struct repl_message bare(enum repl_message_type type)
{
    return (struct repl_message){
        .type = type, .from = REPL_NOBODY, .to = REPL_NOBODY, .term = {7}, .incarnation = 3};
}

/* One of each type with every field that it may use. */
static struct repl_message full(enum repl_message_type type)
{
    struct repl_message m = bare(type);
    m.lsn.v = 1041;
    m.lsn_term.v = 6;
    memset(&m.hash, 0xa5, sizeof m.hash);
    switch (type) {
    case REPL_MSG_PREVOTE:
    case REPL_MSG_FETCH:
    case REPL_MSG_TAKE_OVER:
        m.round = 9;
        break;
    case REPL_MSG_PREVOTE_REPLY:
        m.round = 9;
        m.granted = m.rejected = true;
        break;
    case REPL_MSG_VOTE:
        m.round = 9;
        m.transfer = true;
        break;
    case REPL_MSG_VOTE_REPLY:
        m.granted = m.rejected = true;
        break;
    case REPL_MSG_ENTRIES:
        m.count = 2;
        m.commit.v = 1000;
        m.round = 9;
        m.readmit = 4;
        m.granted = m.rejected = m.lost = true;
        m.last.v = 1050;
        m.last_term.v = 7;
        break;
    case REPL_MSG_ACK:
        m.round = 9;
        m.last.v = 1050;
        m.last_term.v = 7;
        m.rejected = m.counts = true;
        m.applied.v = 900;
        m.archived.v = 800;
        break;
    case REPL_MSG_TAIL:
        m.count = 2;
        m.round = 9;
        m.last.v = 1050;
        m.last_term.v = 7;
        m.rejected = true;
        break;
    case REPL_MSG_PULL:
        m.round = 9;
        m.rejected = true;
        break;
    case REPL_MSG_GIVE:
        m.count = 2;
        m.round = 9;
        m.last.v = 1050;
        m.last_term.v = 7;
        m.commit.v = 1060;
        m.age_ms = 40;
        m.granted = m.rejected = true;
        break;
    }
    return m;
}

static void every_type_comes_back_as_it_was(void **state)
{
    (void)state;
    for (int type = REPL_MSG_PREVOTE; type <= REPL_MSG_GIVE; type++) {
        struct repl_message m = full((enum repl_message_type)type), got;
        uint8_t raw[MESSAGE_FIXED_BYTES + 4] = {0};
        encode(&m, raw);
        struct bytes rest;
        struct err e = ERR_NONE;
        size_t n = MESSAGE_FIXED_BYTES + (m.count > 0 ? 4 : 0);
        assert_int_equal(message_read(bytes_of(raw, n), &got, &rest, &e), 0);
        assert_memory_equal(&got, &m, sizeof m);
        assert_int_equal(rest.n, n - MESSAGE_FIXED_BYTES);
    }
}

static const char *const type_names[] = {
    [REPL_MSG_PREVOTE] = "prevote",     [REPL_MSG_PREVOTE_REPLY] = "prevote-reply",
    [REPL_MSG_VOTE] = "vote",           [REPL_MSG_VOTE_REPLY] = "vote-reply",
    [REPL_MSG_ENTRIES] = "entries",     [REPL_MSG_ACK] = "ack",
    [REPL_MSG_FETCH] = "fetch",         [REPL_MSG_TAIL] = "tail",
    [REPL_MSG_TAKE_OVER] = "take-over", [REPL_MSG_PULL] = "pull",
    [REPL_MSG_GIVE] = "give",
};

/* Any byte set where the type has no field is an error, and it names the type. */
static void fields_of_other_types_must_be_zero(void **state)
{
    (void)state;
    for (int type = REPL_MSG_PREVOTE; type <= REPL_MSG_GIVE; type++) {
        struct repl_message m = bare((enum repl_message_type)type),
                            allowed = full((enum repl_message_type)type);
        uint8_t raw[MESSAGE_FIXED_BYTES], some[MESSAGE_FIXED_BYTES];
        encode(&allowed, some);
        for (size_t at = 24; at < MESSAGE_FIXED_BYTES; at++) {
            size_t field = at < 72 ? 24 : at < 88 ? 72 : at < 112 ? at / 8 * 8 : 112;
            encode(&m, raw);
            raw[at] = 1;
            struct repl_message got;
            struct bytes rest;
            struct err e = ERR_NONE;
            int rc = message_read(bytes_of(raw, sizeof raw), &got, &rest, &e);
            assert_int_equal(rc, some[field] != 0 ? 0 : ERR_FORMAT);
            if (rc != 0)
                assert_ptr_equal(strstr(e.text, type_names[type]), e.text);
        }
    }
}

static void refused(uint8_t *raw, size_t n, const char *why)
{
    struct repl_message got;
    struct bytes rest;
    struct err e = ERR_NONE;
    assert_int_equal(message_read(bytes_of(raw, n), &got, &rest, &e), ERR_FORMAT);
    assert_string_equal(e.text, why);
}

static void malformed_ones_are_refused_with_the_reason(void **state)
{
    (void)state;
    uint8_t raw[MESSAGE_FIXED_BYTES + 1] = {0};
    struct repl_message m = full(REPL_MSG_ENTRIES);
    encode(&m, raw);
    for (size_t n = 0; n < MESSAGE_FIXED_BYTES; n++) {
        struct repl_message got;
        struct bytes rest;
        assert_int_equal(message_read(bytes_of(raw, n), &got, &rest, NULL), ERR_FORMAT);
    }
    refused(raw, 5, "peer message of 5 bytes, its fixed part has 128");
    put_le32(raw + 4, REPL_BATCH_ENTRIES_MAX + 1);
    refused(raw, MESSAGE_FIXED_BYTES,
            "entries message at byte 4: 4097 entries, at most 4096 are allowed");
    put_le32(raw + 4, 0);
    refused(raw, MESSAGE_FIXED_BYTES + 1,
            "entries message at byte 128: 1 bytes follow, but it carries no entries");
    raw[2] = 1;
    refused(raw, MESSAGE_FIXED_BYTES, "entries message at byte 2: reserved bytes are not zero");
    raw[1] = 0x20;
    refused(raw, MESSAGE_FIXED_BYTES, "entries message at byte 1: flags 20 are unknown");
    raw[0] = 0;
    refused(raw, MESSAGE_FIXED_BYTES, "peer message at byte 0: type 0 is unknown");
    raw[0] = REPL_MSG_GIVE + 1;
    refused(raw, MESSAGE_FIXED_BYTES, "peer message at byte 0: type 12 is unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back_as_it_was),
        cmocka_unit_test(fields_of_other_types_must_be_zero),
        cmocka_unit_test(malformed_ones_are_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
