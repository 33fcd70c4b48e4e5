/* Rows of the state's databases decoded from bytes: each rule that a row can break under a right checksum, by name; names for
 * people; and what LMDB's codes mean to who runs a site. */
#include "store/io/state_rows.h"

#include "store/core/hash.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>
#include <cmocka.h>

static uint8_t buffer[4096];

/* A writer behind the place of the checksum; `sealed` puts it in. */
static struct writer row_begin(void)
{
    struct writer w = writer_of(buffer, sizeof buffer);
    write_u32(&w, 0);
    return w;
}

static struct bytes sealed(struct bytes key, const struct writer *w)
{
    assert_false(w->bad);
    put_le32(buffer, hash_crc32c(hash_crc32c(0, key), bytes_of(buffer + 4, w->at - 4)));
    return bytes_of(buffer, w->at);
}

static void zeros(struct writer *w, size_t n)
{
    while (n-- > 0)
        write_u8(w, 0);
}

#define refused(call, rc, part)                                                                    \
    do {                                                                                           \
        struct err e = ERR_NONE;                                                                   \
        assert_int_equal(call, rc);                                                                \
        if (strstr(e.text, part) == NULL)                                                          \
            fail_msg("'%s' does not say '%s'", e.text, part);                                      \
    } while (0)

/* ---- the state ---- */

static struct bytes state_row(struct bytes key, uint16_t format, uint8_t mode, size_t rest)
{
    struct writer w = row_begin();
    write_u16(&w, format);
    write_u8(&w, mode);
    zeros(&w, rest);
    return sealed(key, &w);
}

static void the_row_of_the_state_is_of_this_format_and_whole(void **state)
{
    (void)state;
    const struct bytes key = bytes_str("state"), other = bytes_str("stats");
    struct state_row row;
    struct bytes good = state_row(key, 0, COMMIT_MAJORITY, 128);
    uint16_t oldest = 1; /* that is taken up */
    while (row_read_state(key, state_row(key, oldest, COMMIT_MAJORITY, 128), &row, NULL) != 0)
        assert_true(oldest++ < 100);
    uint16_t format = oldest; /* of this program */
    while (row_read_state(key, state_row(key, (uint16_t)(format + 1), 1, 128), &row, NULL) == 0)
        assert_true(format++ < 100);
    refused(row_read_state(key, state_row(key, (uint16_t)(format + 1), 1, 128), &row, &e),
            ERR_NEWER, "the state");
    refused(row_read_state(key, state_row(key, (uint16_t)(oldest - 1), 1, 128), &row, &e),
            ERR_FORMAT, "which is older than this program's");
    refused(row_read_state(key, state_row(key, format, 9, 128), &row, &e), ERR_INTEGRITY,
            "row 'state' of meta: its commit mode is unknown");
    refused(row_read_state(key, state_row(key, format, 1, 127), &row, &e), ERR_INTEGRITY,
            "its size is wrong");
    refused(row_read_state(key, state_row(key, format, 1, 129), &row, &e), ERR_INTEGRITY,
            "its size is wrong");
    refused(row_read_state(other, state_row(other, format, 1, 128), &row, &e), ERR_INTEGRITY,
            "row 'stats' of meta: it is unknown to this program");
    refused(row_read_state(other, state_row(key, format, 1, 128), &row, &e), ERR_INTEGRITY,
            "checksum mismatch");
    refused(row_read_state(key, bytes_of(good.p, 3), &row, &e), ERR_INTEGRITY, "checksum mismatch");
}

/* ---- keys that are none ---- */

static void a_bucket_is_one_that_there_is(void **state)
{
    (void)state;
    const uint8_t last[] = {(DIGEST_BUCKETS - 1) >> 8, (DIGEST_BUCKETS - 1) & 0xff};
    const uint8_t beyond[] = {DIGEST_BUCKETS >> 8, DIGEST_BUCKETS & 0xff};
    const struct bytes keys[] = {bytes_of(last, 2), bytes_of(beyond, 2), bytes_of(last, 1),
                                 bytes_of("\0\0\0", 3)};
    for (size_t i = 0; i < 4; i++) {
        struct writer w = row_begin();
        struct digest d;
        uint32_t bucket = 0;
        zeros(&w, 16);
        const struct bytes row = sealed(keys[i], &w);
        if (i != 0)
            refused(row_read_bucket(keys[i], row, &bucket, &d, &e), ERR_INTEGRITY,
                    "there is no such bucket");
        else
            assert_int_equal(row_read_bucket(keys[i], row, &bucket, &d, NULL), 0);
        assert_true(i != 0 || bucket == DIGEST_BUCKETS - 1);
    }
}

static void keys_of_sessions_and_results_have_their_size(void **state)
{
    (void)state;
    uint8_t zero[RESULT_KEY_BYTES + 1] = {0};
    for (size_t n = 0; n <= RESULT_KEY_BYTES + 1; n++) {
        const struct bytes key = bytes_of(zero, n);
        struct writer w = row_begin();
        struct session_row session;
        struct entry_position at;
        zeros(&w, 24);
        int rc = row_read_result(key, sealed(key, &w), &at, NULL);
        assert_int_equal(rc, n == RESULT_KEY_BYTES ? 0 : ERR_INTEGRITY);
        w.at = 4 + 20; /* opened, last, results; and a client of three letters */
        write_bytes16(&w, bytes_str("app"));
        rc = row_read_session(key, sealed(key, &w), &session, NULL);
        assert_int_equal(rc, n == sizeof(struct uuid) ? 0 : ERR_INTEGRITY);
        assert_true(rc != 0 || bytes_equal(session.info.client, bytes_str("app")));
    }
}

static void a_deleted_record_has_a_key_and_a_collection(void **state)
{
    (void)state;
    uint8_t zero[RECORD_KEY_MAX_BYTES + 1] = {0};
    static const size_t sizes[] = {0, COLLECTION_ID_BYTES, COLLECTION_ID_BYTES + 1,
                                   RECORD_KEY_MAX_BYTES, RECORD_KEY_MAX_BYTES + 1};
    for (size_t i = 0; i < 5; i++)
        for (size_t over = 0; over < 2; over++) {
            const struct bytes key = bytes_of(zero, sizes[i]);
            struct writer w = row_begin();
            struct deleted_row row;
            struct err e = ERR_NONE;
            zeros(&w, 16);
            write_bytes16(&w, bytes_of(zero, COLLECTION_MAX_BYTES + over));
            const bool good = (i == 2 || i == 3) && !over;
            assert_int_equal(row_read_deleted(key, sealed(key, &w), &row, &e),
                             good ? 0 : ERR_INTEGRITY);
            assert_true(good || strstr(e.text, i == 2 || i == 3 ? "collection's name is too long"
                                                                : "its key has a wrong size"));
        }
}

/* ---- the past ---- */

static int read_history(uint64_t lsn, size_t key_bytes, const struct history_row *row, size_t rest,
                        struct err *e)
{
    uint8_t key_buffer[HISTORY_KEY_MAX_BYTES + 1] = {0};
    const struct bytes key = bytes_of(key_buffer, key_bytes);
    struct history_row out;
    struct writer w = row_begin();
    put_be64(key_buffer, lsn);
    write_u8(&w, (uint8_t)row->flags);
    write_u64(&w, row->time.us);
    write_u64(&w, row->previous.v);
    write_u64(&w, row->previous_time.us);
    write_u32(&w, row->depth);
    write_u64(&w, row->jump.v);
    w.at = rest < HISTORY_ROW_BYTES ? rest : w.at;
    zeros(&w, rest < HISTORY_ROW_BYTES ? 0 : rest - HISTORY_ROW_BYTES);
    int rc = row_read_history(key, sealed(key, &w), &out, e);
    assert_true(rc != 0 || (out.lsn.v == lsn && out.value.n == rest - HISTORY_ROW_BYTES));
    return rc;
}

static void a_row_of_the_history_leads_to_older_ones(void **state)
{
    (void)state;
    const struct history_row good = {
        .flags = 3, .time = {100}, .previous = {6}, .previous_time = {100}, .jump = {6}};
    struct history_row row = good;
    enum { KEY = 8 + COLLECTION_ID_BYTES + 1, ROW = HISTORY_ROW_BYTES };
    assert_int_equal(read_history(7, KEY, &row, ROW, NULL), 0);
    assert_int_equal(read_history(7, HISTORY_KEY_MAX_BYTES, &row, ROW + 9, NULL), 0);
    refused(read_history(7, KEY - 1, &row, ROW, &e), ERR_INTEGRITY, "its key has a wrong size");
    refused(read_history(7, HISTORY_KEY_MAX_BYTES + 1, &row, ROW, &e), ERR_INTEGRITY,
            "its key has a wrong size");
    refused(read_history(7, KEY, &row, ROW - 1, &e), ERR_INTEGRITY, "its size is wrong");
    row.flags = 8;
    refused(read_history(7, KEY, &row, ROW, &e), ERR_INTEGRITY, "flags are unknown");
    static const char older[] = "what it leads to is not older than itself";
    row = good;
    row.previous.v = 7;
    refused(read_history(7, KEY, &row, ROW, &e), ERR_INTEGRITY, older);
    row = good;
    row.previous_time.us = 101;
    refused(read_history(7, KEY, &row, ROW, &e), ERR_INTEGRITY, older);
    row = good;
    row.jump.v = 7;
    refused(read_history(7, KEY, &row, ROW, &e), ERR_INTEGRITY, older);
}

/* ---- records ---- */

static void a_record_is_read_only_as_it_was_written(void **state)
{
    (void)state;
    uint8_t k[RECORD_KEY_MAX_BYTES], row[RECORD_ROW_BYTES + 5];
    const struct bytes key = row_record_key(3, bytes_str("deed"), k),
                       raw = bytes_of(row, sizeof row);
    const struct record r = {.value = bytes_str("value"), .lsn = {7}, .time = {8}};
    const struct digest d = {1, 2};
    struct record got;
    struct digest got_digest;
    struct bytes value;
    struct lsn lsn;
    row_write_record(key, &r, d, row);
    assert_int_equal(row_read_record(key, raw, true, &got, &got_digest, NULL), 0);
    assert_true(bytes_equal(got.key, bytes_str("deed")) && bytes_equal(got.value, r.value));
    assert_true(got.lsn.v == 7 && got.time.us == 8 && digest_equal(got_digest, d));
    refused(row_read_record(key, bytes_of(row, RECORD_ROW_BYTES - 1), true, &got, &got_digest, &e),
            ERR_FORMAT, "it has 39 bytes, at least 40 are needed");
    assert_false(row_read_rotten(bytes_of(row, RECORD_ROW_BYTES - 1), &lsn, &value, &got_digest));
    assert_true(digest_equal(got_digest, (struct digest){0, 0}));
    row[sizeof row - 1] ^= 1;
    refused(row_read_record(key, raw, true, &got, &got_digest, &e), ERR_FORMAT,
            "checksum mismatch");
    assert_int_equal(row_read_record(key, raw, false, &got, &got_digest, NULL), 0);
    assert_true(row_read_rotten(raw, &lsn, &value, &got_digest));
    assert_true(lsn.v == 7 && value.n == 5 && digest_equal(got_digest, d));
    row[6] = 1; /* the bytes that must be zero */
    refused(row_read_record(key, raw, false, &got, &got_digest, &e), ERR_FORMAT, "is unknown");
    row[6] = 0;
    row[4]++; /* rotten or newer: the checksum tells */
    refused(row_read_record(key, raw, false, &got, &got_digest, &e), ERR_FORMAT, "is unknown");
    put_le32(row, hash_crc32c(hash_crc32c(0, key), bytes_of(row + 4, sizeof row - 4)));
    refused(row_read_record(key, raw, false, &got, &got_digest, &e), ERR_NEWER, "the record");
}

/* ---- words ---- */

static void names_are_quoted_and_cut(void **state)
{
    (void)state;
    char out[ROW_QUOTE_BYTES], expected[ROW_QUOTE_BYTES];
    uint8_t name[300];
    assert_string_equal(row_quote(bytes_str("a b\\\x01\x7f\xff"), out), "a b\\x5c\\x01\\x7f\\xff");
    assert_string_equal(row_quote(bytes_of(NULL, 0), out), "");
    memset(name, 'n', sizeof name);
    for (size_t n = 80; n < sizeof name; n++) {
        (void)row_quote(bytes_of(name, n), out);
        size_t length = strlen(out);
        assert_true(length < ROW_QUOTE_BYTES);
        memset(expected, 'n', sizeof expected);
        if (length == n)
            continue;
        (void)snprintf(expected + length - 3, 4, "...");
        assert_string_equal(out, expected);
    }
    memset(name, 0xff, sizeof name);
    assert_true(strlen(row_quote(bytes_of(name, sizeof name), out)) < ROW_QUOTE_BYTES);
}

static void codes_of_lmdb_become_ours_with_what_to_do(void **state)
{
    (void)state;
    static const struct {
        int lmdb, ours;
        const char *text;
    } codes[] = {
        {ENOSPC, ERR_NO_SPACE, "no space is left for data.mdb; nothing was lost"},
        {EDQUOT, ERR_NO_SPACE, "no space is left"},
        {EFBIG, ERR_NO_SPACE, "no space is left"},
        {MDB_MAP_FULL, ERR_NO_SPACE, "restart with a larger map_bytes"},
        {MDB_NOTFOUND, ERR_NOT_FOUND, "not found"},
        {MDB_READERS_FULL, ERR_BUSY, "all reader places are taken"},
        {ENOMEM, ERR_NO_MEMORY, "out of memory"},
        {MDB_PAGE_NOTFOUND, ERR_INTEGRITY, "data.mdb is damaged"},
        {MDB_CORRUPTED, ERR_INTEGRITY, "restore the state from the repository"},
        {MDB_INVALID, ERR_INTEGRITY, "data.mdb is damaged"},
        {MDB_VERSION_MISMATCH, ERR_INTEGRITY, "data.mdb is damaged"},
        {MDB_PANIC, ERR_IO, "restart the site, it goes on from its checkpoint"},
        {EIO, ERR_IO, "Input/output error"},
        {EACCES, ERR_IO, "Permission denied"},
        {MDB_BAD_TXN, ERR_FAILED, "MDB_BAD_TXN"},
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct err e = ERR_NONE;
        assert_int_equal(state_lmdb_error(&e, NULL, codes[i].lmdb, "apply"), codes[i].ours);
        if (strncmp(e.text, "apply: ", 7) != 0 || strstr(e.text, codes[i].text) == NULL)
            fail_msg("'%s' does not say '%s'", e.text, codes[i].text);
    }
}

/* What LMDB's EIO means, with an environment on a tmpfs of that size. */
static int meaning_of_eio(const char *size)
{
    char dir[] = "/tmp/state_rows_test.XXXXXX";
    MDB_env *env;
    assert_non_null(mkdtemp(dir));
    if (mount("tmpfs", dir, "tmpfs", 0, size) != 0) {
        (void)rmdir(dir);
        return 0;
    }
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
    int rc = state_lmdb_error(NULL, env, EIO, "apply");
    mdb_env_close(env);
    assert_int_equal(umount(dir), 0);
    (void)rmdir(dir);
    return rc;
}

static void a_short_write_means_a_full_disk_also_when_a_page_has_room_again(void **state)
{
    (void)state;
    if (meaning_of_eio("size=1m") == 0) {
        print_message("skipped: a tmpfs cannot be mounted here\n");
        skip();
    }
    assert_int_equal(meaning_of_eio("size=1m"), ERR_NO_SPACE);
    assert_int_equal(meaning_of_eio("size=64m"), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_row_of_the_state_is_of_this_format_and_whole),
        cmocka_unit_test(a_bucket_is_one_that_there_is),
        cmocka_unit_test(keys_of_sessions_and_results_have_their_size),
        cmocka_unit_test(a_deleted_record_has_a_key_and_a_collection),
        cmocka_unit_test(a_row_of_the_history_leads_to_older_ones),
        cmocka_unit_test(a_record_is_read_only_as_it_was_written),
        cmocka_unit_test(names_are_quoted_and_cut),
        cmocka_unit_test(codes_of_lmdb_become_ours_with_what_to_do),
        cmocka_unit_test(a_short_write_means_a_full_disk_also_when_a_page_has_room_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
