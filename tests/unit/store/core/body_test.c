#include "store/core/body.h"

#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const uint8_t salt[ENTRY_SALT_BYTES] = {1, 2,  3,  4,  5,  6,  7,  8,
                                               9, 10, 11, 12, 13, 14, 15, 16};
static uint8_t buf[4096];

static struct bytes a_txn(void)
{
    const struct op ops[] = {
        {OP_PUT, bytes_str("land"), bytes_str("42"), bytes_str("{}")},
        {OP_DELETE, bytes_str("_sys"), bytes_of("a\0b", 3), {NULL, 0}},
        {OP_PUT, bytes_str("land"), bytes_str("43"), bytes_str("")},
    };
    const struct body_txn t = {.session = {{7}},
                               .sequence = 99,
                               .level = LEVEL_MAJORITY,
                               .client = bytes_str("app-1"),
                               .op_count = 3};
    struct writer w = writer_of(buf, sizeof buf);
    body_write_txn(&w, salt, &t, ops);
    assert_false(w.bad);
    assert_true(w.at <= body_txn_bytes(ops, 3, 5));
    return bytes_of(buf, w.at);
}

static void a_transaction_comes_back(void **state)
{
    (void)state;
    struct body_txn t;
    struct op op;
    struct err e = ERR_NONE;
    assert_int_equal(body_read_txn(a_txn(), &t, &e), 0);
    assert_int_equal(t.session.b[0], 7);
    assert_int_equal(t.sequence, 99);
    assert_int_equal(t.level, LEVEL_MAJORITY);
    assert_true(bytes_equal(t.client, bytes_str("app-1")));
    assert_int_equal(t.op_count, 3);
    struct reader ops = t.ops;
    assert_int_equal(body_next_op(&ops, &op, &e), 0);
    assert_int_equal(op.kind, OP_PUT);
    assert_true(bytes_equal(op.collection, bytes_str("land")) &&
                bytes_equal(op.value, bytes_str("{}")));
    assert_int_equal(body_next_op(&ops, &op, &e), 0);
    assert_int_equal(op.kind, OP_DELETE);
    assert_true(bytes_equal(op.key, bytes_of("a\0b", 3)) && op.value.n == 0);
    assert_int_equal(body_next_op(&ops, &op, &e), 0);
    assert_int_equal(op.value.n, 0);
    assert_true(reader_done(&ops));
}

/* Every prefix, and one byte too many, is refused with the place; in memory of just that size, so
 * that the sanitizers see any read beyond it. */
static void each_cut_of_a_transaction_is_refused(void **state)
{
    (void)state;
    struct bytes whole = a_txn();
    for (size_t n = 0; n <= whole.n + 1; n++) {
        struct body_txn t;
        struct err e = ERR_NONE;
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, buf, n);
        uint8_t *exact = realloc(copy, n == 0 ? 1 : n);
        int rc = body_read_txn(bytes_of(exact, n), &t, &e);
        assert_int_equal(rc, n == whole.n ? 0 : ERR_FORMAT);
        if (rc != 0)
            assert_true(strlen(e.text) > 10);
        free(exact);
    }
}

static void garbled_transactions_are_read_or_refused(void **state)
{
    (void)state;
    struct bytes whole = a_txn();
    unsigned refused = 0;
    for (size_t i = ENTRY_SALT_BYTES; i < whole.n; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            struct body_txn t;
            buf[i] ^= (uint8_t)(1u << bit);
            refused += body_read_txn(whole, &t, NULL) != 0;
            buf[i] ^= (uint8_t)(1u << bit);
        }
    assert_true(refused > 100); /* lengths, kinds, level and count; never a crash */
}

static void odd_fields_are_named(void **state)
{
    (void)state;
    struct body_txn t;
    struct err e = ERR_NONE;
    struct bytes whole = a_txn();
    uint8_t *level = buf + 16 + 16 + 8, *count = level + 1 + 2 + 5, *kind = count + 4;
    *level = 6;
    assert_int_equal(body_read_txn(whole, &t, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "level 6"));
    *level = 2;
    put_le32(count, TXN_MAX_OPS + 1);
    assert_int_equal(body_read_txn(whole, &t, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "65537 ops"));
    put_le32(count, 2);
    assert_int_equal(body_read_txn(whole, &t, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "left over"));
    put_le32(count, 3);
    *kind = 3;
    assert_int_equal(body_read_txn(whole, &t, &e), ERR_FORMAT);
    assert_non_null(strstr(e.text, "kind"));
}

/* The other kinds: written, read back, and each prefix refused. */
#define ROUND_TRIP(kind, b, back)                                                                  \
    struct writer w = writer_of(buf, sizeof buf);                                                  \
    body_write_##kind(&w, salt, &b);                                                               \
    assert_false(w.bad);                                                                           \
    for (size_t n = 0; n <= w.at + 1; n++)                                                         \
        assert_int_equal(body_read_##kind(bytes_of(buf, n), &back, NULL),                          \
                         n == w.at ? 0 : ERR_FORMAT);                                              \
    assert_int_equal(body_read_##kind(bytes_of(buf, w.at), &back, NULL), 0)

static void noop(void **state)
{
    (void)state;
    struct body_noop b = {bytes_str("dc")}, back;
    ROUND_TRIP(noop, b, back);
    assert_true(bytes_equal(back.site, b.site));
}

static void config(void **state)
{
    (void)state;
    struct body_config b = {COMMIT_LOCAL, bytes_str("op")}, back;
    ROUND_TRIP(config, b, back);
    assert_int_equal(back.mode, COMMIT_LOCAL);
    buf[ENTRY_SALT_BYTES] = 3;
    assert_int_equal(body_read_config(bytes_of(buf, w.at), &back, NULL), ERR_FORMAT);
}

static void restore_point(void **state)
{
    (void)state;
    struct body_restore_point b = {bytes_str("before-migration"), bytes_str("op")}, back;
    ROUND_TRIP(restore_point, b, back);
    assert_true(bytes_equal(back.name, b.name) && bytes_equal(back.client, b.client));
    w = writer_of(buf, sizeof buf);
    b.name.n = 0;
    body_write_restore_point(&w, salt, &b);
    assert_int_equal(body_read_restore_point(bytes_of(buf, w.at), &back, NULL), ERR_FORMAT);
}

static void session(void **state)
{
    (void)state;
    struct body_session b = {SESSION_EXPIRE, {{9, 9}}, bytes_str("app")}, back;
    ROUND_TRIP(session, b, back);
    assert_int_equal(back.act, SESSION_EXPIRE);
    assert_true(uuid_equal(&back.session, &b.session));
    buf[ENTRY_SALT_BYTES] = 0;
    assert_int_equal(body_read_session(bytes_of(buf, w.at), &back, NULL), ERR_FORMAT);
}

static void audit(void **state)
{
    (void)state;
    struct body_audit b = {bytes_str("op"), bytes_str("switchover"), bytes_str("{\"to\":\"dr\"}")},
                      back;
    ROUND_TRIP(audit, b, back);
    assert_true(bytes_equal(back.act, b.act) && bytes_equal(back.details, b.details));
}

static void members(void **state)
{
    (void)state;
    struct body_members b = {.cluster_id = {{7}},
                             .by = bytes_str("op"),
                             .founded = bytes_str("dc data, gsr repository"),
                             .count = 3,
                             .members = {{bytes_str("dc"), MEMBER_DATA, true, false,
                                          bytes_str("h:1"), bytes_str("h:2")},
                                         {bytes_str("gsr"), MEMBER_REPOSITORY, false, false,
                                          bytes_str("g:1"), bytes_str("g:2")},
                                         {bytes_str("hq"), MEMBER_DATA, false, true,
                                          bytes_str("q:1"), bytes_str("q:2")}}},
                        back;
    ROUND_TRIP(members, b, back);
    assert_true(uuid_equal(&back.cluster_id, &b.cluster_id));
    assert_true(bytes_equal(back.founded, b.founded) && back.count == 3);
    assert_true(back.members[2].lost && !back.members[2].votes && !back.members[1].lost);
    assert_true(back.members[0].votes && !back.members[1].votes);
    assert_int_equal(back.members[1].kind, MEMBER_REPOSITORY);
    assert_true(bytes_equal(back.members[1].client, b.members[1].client));

    struct body_members bad[6];
    for (size_t i = 0; i < 6; i++)
        bad[i] = b;
    bad[0].count = 0;
    bad[1].members[0].name = bytes_str("gsr"); /* twice */
    bad[2].members[0].name = bytes_str("hq");  /* not in order */
    bad[3].members[1].kind = (enum member_kind)3;
    bad[4].members[0].name.n = 0;
    bad[5].members[0].peer = bytes_of(buf, MEMBER_ENDPOINT_MAX_BYTES + 1);
    uint8_t unknown[sizeof buf]; /* neither, nor, nor lost */
    memcpy(unknown, buf, w.at);
    const size_t votes = w.at - 2 * (2 + 3) - 1;
    assert_int_equal(unknown[votes], 2);
    unknown[votes] = 3;
    assert_int_equal(body_read_members(bytes_of(unknown, w.at), &back, NULL), ERR_FORMAT);
    for (size_t i = 0; i < 6; i++) {
        static uint8_t other[sizeof buf];
        struct err e = ERR_NONE;
        w = writer_of(other, sizeof other);
        body_write_members(&w, salt, &bad[i]);
        assert_false(w.bad);
        assert_int_equal(body_read_members(bytes_of(other, w.at), &back, &e), ERR_FORMAT);
        assert_non_null(strstr(e.text, i == 0 ? "0 members" : "members body: member "));
    }
}

static void limits_of_names_keys_and_values(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    static uint8_t many[VALUE_MAX_BYTES + 1];
    memset(many, 'a', sizeof many);
    struct op op = {OP_PUT, bytes_of(many, COLLECTION_MAX_BYTES), bytes_of(many, KEY_MAX_BYTES),
                    bytes_of(many, VALUE_MAX_BYTES)};
    assert_int_equal(op_check(&op, false, &e), 0);
    op.value.n++;
    assert_int_equal(op_check(&op, false, &e), ERR_LIMIT);
    assert_non_null(strstr(e.text, "16777217"));
    op.value.n--;
    op.key.n++;
    assert_int_equal(op_check(&op, false, &e), ERR_LIMIT);
    op.key.n = 0;
    assert_int_equal(op_check(&op, false, &e), ERR_USAGE);
    op.key.n = 1;
    op.collection.n++;
    assert_int_equal(op_check(&op, false, &e), ERR_LIMIT);
    op.collection.n = 0;
    assert_int_equal(op_check(&op, false, &e), ERR_USAGE);
    op.collection = bytes_str("a b");
    assert_int_equal(op_check(&op, false, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "0x20 at 1"));
    op.collection = bytes_str("_audit");
    assert_int_equal(op_check(&op, false, &e), ERR_USAGE);
    assert_int_equal(op_check(&op, true, &e), 0);
}

static void levels_and_modes_have_names(void **state)
{
    (void)state;
    struct err e = ERR_NONE;
    for (int i = LEVEL_MODE; i <= LEVEL_ALL; i++) {
        enum level level;
        assert_int_equal(level_parse(level_name((enum level)i), &level, &e), 0);
        assert_int_equal(level, i);
    }
    enum level level;
    assert_int_equal(level_parse("quorum", &level, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "'quorum'"));
    assert_string_equal(commit_mode_name(COMMIT_MAJORITY), "majority");
    assert_string_equal(commit_mode_name(COMMIT_LOCAL), "local");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transaction_comes_back),
        cmocka_unit_test(each_cut_of_a_transaction_is_refused),
        cmocka_unit_test(garbled_transactions_are_read_or_refused),
        cmocka_unit_test(odd_fields_are_named),
        cmocka_unit_test(noop),
        cmocka_unit_test(config),
        cmocka_unit_test(restore_point),
        cmocka_unit_test(session),
        cmocka_unit_test(audit),
        cmocka_unit_test(members),
        cmocka_unit_test(limits_of_names_keys_and_values),
        cmocka_unit_test(levels_and_modes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
