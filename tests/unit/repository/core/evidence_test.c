/* What a proof carries to go from a leaf to a record: it comes back, and nothing of it can be changed. */
#include "repository/core/evidence.h"
#include "tests/unit/repository/fixture.h"

static struct entry_view first_of(const struct feed *f)
{
    struct entry_view v;
    size_t used;
    assert_int_equal(entry_decode(bytes_of(f->p, f->n), &v, &used, NULL), 0);
    return v;
}

static void two_ops(struct feed *f)
{
    const struct op ops[] = {
        {OP_PUT, bytes_str("deeds"), bytes_str("1"), bytes_str("first")},
        {OP_PUT, bytes_str("deeds"), bytes_str("2"), bytes_str("other")},
        {OP_PUT, bytes_str("deeds"), bytes_str("1"), bytes_str("last")},
        {OP_DELETE, bytes_str("deeds"), bytes_str("3"), {NULL, 0}},
    };
    feed_ops(f, ops, 4, NULL, 0);
}

static size_t make(const struct feed *f, const char *collection, const char *key, uint8_t *out,
                   size_t cap)
{
    struct entry_view v = first_of(f);
    struct writer w = writer_of(out, cap);
    evidence_write(&w, bytes_str(collection), bytes_str(key), &v);
    assert_false(w.bad);
    assert_int_equal(w.at, evidence_bytes(bytes_str(collection), bytes_str(key), &v));
    return w.at;
}

static void the_last_operation_on_the_record_counts(void **state)
{
    (void)state;
    struct feed f = {0};
    uint8_t raw[1024];
    struct evidence v;
    struct err e = ERR_NONE;
    two_ops(&f);
    size_t n = make(&f, "deeds", "1", raw, sizeof raw);
    assert_ok(evidence_read(bytes_of(raw, n), &v, &e), e);
    assert_true(bytes_equal(v.op.value, bytes_str("last")));
    assert_int_equal(v.entry.header.lsn.v, 1);
    n = make(&f, "deeds", "3", raw, sizeof raw);
    assert_ok(evidence_read(bytes_of(raw, n), &v, &e), e);
    assert_int_equal(v.op.kind, OP_DELETE);
    feed_drop(&f);
}

static void an_entry_that_does_not_write_the_record_proves_nothing(void **state)
{
    (void)state;
    struct feed f = {0}, g = {0};
    uint8_t raw[1024];
    struct evidence v;
    struct err e = ERR_NONE;
    two_ops(&f);
    size_t n = make(&f, "deeds", "4", raw, sizeof raw);
    assert_int_equal(evidence_read(bytes_of(raw, n), &v, &e), ERR_INTEGRITY);
    n = make(&f, "deed", "1", raw, sizeof raw);
    assert_int_equal(evidence_read(bytes_of(raw, n), &v, &e), ERR_INTEGRITY);
    feed_noop(&g, 1);
    n = make(&g, "deeds", "1", raw, sizeof raw);
    assert_int_equal(evidence_read(bytes_of(raw, n), &v, &e), ERR_INTEGRITY);
    feed_drop(&f);
    feed_drop(&g);
}

static void a_receipt_is_of_the_transaction_as_a_whole(void **state)
{
    (void)state;
    struct feed f = {0}, g = {0};
    uint8_t raw[1024];
    struct evidence v;
    struct err e = ERR_NONE;
    two_ops(&f);
    size_t n = make(&f, "", "", raw, sizeof raw);
    assert_ok(evidence_read(bytes_of(raw, n), &v, &e), e);
    assert_true(v.whole);
    assert_int_equal(v.txn.op_count, 4);
    n = make(&f, "", "1", raw, sizeof raw); /* half of a record's name is none */
    assert_int_equal(evidence_read(bytes_of(raw, n), &v, &e), ERR_INTEGRITY);
    assert_false(v.whole);
    feed_noop(&g, 1);
    n = make(&g, "", "", raw, sizeof raw);
    assert_int_equal(evidence_read(bytes_of(raw, n), &v, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, "no transaction"));
    feed_drop(&f);
    feed_drop(&g);
}

static void every_flipped_bit_and_every_cut_is_found(void **state)
{
    (void)state;
    struct feed f = {0};
    uint8_t raw[1024];
    struct evidence v;
    two_ops(&f);
    size_t n = make(&f, "deeds", "1", raw, sizeof raw);
    size_t entry = n - f.n, key = entry - 1;
    for (size_t i = 0; i < 8 * n; i++) {
        raw[i / 8] ^= (uint8_t)(1 << i % 8);
        int rc = evidence_read(bytes_of(raw, n), &v, NULL);
        /* Another key of the same transaction is another true statement. */
        if (i / 8 == key && rc == 0)
            assert_false(bytes_equal(v.key, bytes_str("1")));
        else
            assert_int_not_equal(rc, 0);
        raw[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t cut = 0; cut < n; cut++)
        assert_int_not_equal(evidence_read(bytes_of(raw, cut), &v, NULL), 0);
    raw[4] = 2;
    assert_int_equal(evidence_read(bytes_of(raw, n), &v, NULL), ERR_NEWER);
    feed_drop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_operation_on_the_record_counts),
        cmocka_unit_test(an_entry_that_does_not_write_the_record_proves_nothing),
        cmocka_unit_test(a_receipt_is_of_the_transaction_as_a_whole),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
