#include "repository/core/snaprec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static const struct uuid id = {{9, 8, 7}};
static const struct entry_position position = {{70}, {3}, {5000}, {{1, 2, 3}}};

/* One record of each type. */
static size_t encode(uint8_t *p, size_t cap)
{
    struct writer w = writer_of(p, cap);
    struct repo_snap_header h = {COMMIT_LOCAL, id, position, 10, 2, {5, 6}};
    struct repo_snap_row r = {
        bytes_str("passports"), bytes_str("key"), bytes_str("value"), {66}, {4000}};
    struct repo_snap_session session = {id, bytes_str("client"), {5}, {4500}};
    struct repo_snap_result result = {id, 12, position};
    struct repo_snap_point point = {bytes_str("name"), {44}, {300}, {7, 8}};
    struct repo_snap_trailer t = {1, 2, 3, 4, {5, 6}};
    repo_snap_write_header(&w, &h);
    repo_snap_write_row(&w, &r);
    write_bytes(&w, r.value);
    repo_snap_write_session(&w, &session);
    repo_snap_write_result(&w, &result);
    repo_snap_write_point(&w, &point);
    repo_snap_write_trailer(&w, &t);
    assert_false(w.bad);
    return w.at;
}

static void records_come_back(void **state)
{
    (void)state;
    uint8_t raw[1000];
    struct reader in = reader_of(bytes_of(raw, encode(raw, sizeof raw)));
    struct repo_snap_record x;
    struct err e = ERR_NONE;
    assert_int_equal(repo_snap_read(&in, &x, &e), 0);
    assert_int_equal(x.type, REPO_SNAP_HEADER);
    assert_int_equal(x.u.header.mode, COMMIT_LOCAL);
    assert_memory_equal(&x.u.header.cluster_id, &id, 16);
    assert_memory_equal(&x.u.header.at, &position, sizeof position);
    assert_int_equal(x.u.header.records, 10);
    assert_int_equal(x.u.header.collections, 2);
    assert_int_equal(x.u.header.digest.hi, 6);
    assert_int_equal(repo_snap_read(&in, &x, &e), 0);
    assert_int_equal(x.type, REPO_SNAP_ROW);
    assert_true(bytes_equal(x.u.row.collection, bytes_str("passports")));
    assert_true(bytes_equal(x.u.row.key, bytes_str("key")));
    assert_true(bytes_equal(x.u.row.value, bytes_str("value")));
    assert_int_equal(x.u.row.lsn.v, 66);
    assert_int_equal(x.u.row.time.us, 4000);
    assert_int_equal(repo_snap_read(&in, &x, &e), 0);
    assert_int_equal(x.type, REPO_SNAP_SESSION);
    assert_int_equal(x.u.session.opened.v, 5);
    assert_int_equal(x.u.session.last.us, 4500);
    assert_true(bytes_equal(x.u.session.client, bytes_str("client")));
    assert_int_equal(repo_snap_read(&in, &x, &e), 0);
    assert_int_equal(x.type, REPO_SNAP_RESULT);
    assert_int_equal(x.u.result.sequence, 12);
    assert_memory_equal(&x.u.result.at, &position, sizeof position);
    assert_int_equal(repo_snap_read(&in, &x, &e), 0);
    assert_int_equal(x.type, REPO_SNAP_POINT);
    assert_int_equal(x.u.point.lsn.v, 44);
    assert_int_equal(x.u.point.digest.lo, 7);
    assert_int_equal(repo_snap_read(&in, &x, &e), 0);
    assert_int_equal(x.type, REPO_SNAP_TRAILER);
    assert_int_equal(x.u.trailer.points, 4);
    assert_true(reader_done(&in));
}

/* Cut at every byte and with every bit flipped the decoder stays within its input; views stay inside too. */
static void foreign_bytes_do_no_harm(void **state)
{
    (void)state;
    uint8_t raw[1000];
    size_t n = encode(raw, sizeof raw);
    struct repo_snap_record x;
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *copy = malloc(cut + 1); /* so that a sanitizer sees every byte too far */
        assert_non_null(copy);
        memcpy(copy, raw, cut);
        struct reader in = reader_of(bytes_of(copy, cut));
        int rc = 0;
        while (rc == 0 && in.at < in.n)
            rc = repo_snap_read(&in, &x, NULL);
        assert_true(rc == 0 || rc == ERR_FORMAT);
        free(copy);
    }
    for (size_t bit = 0; bit < n * 8; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        struct reader in = reader_of(bytes_of(raw, n));
        while (in.at < in.n && repo_snap_read(&in, &x, NULL) == 0)
            if (x.type == REPO_SNAP_ROW)
                assert_true(x.u.row.value.p >= raw && x.u.row.value.p + x.u.row.value.n <= raw + n);
        raw[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(foreign_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
