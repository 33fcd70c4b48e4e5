/* The overlay against a model that searches the history from its end. */
#include "store/overlay.h"

#include "tests/unit/count_mallocs.h"
#include "tests/unit/store/io/state_kit.h"

struct window {
    const struct history *h;
    size_t first, end; /* entries inside: [first, end) */
};

static enum overlay_answer want_record(const struct window *w, struct bytes collection,
                                       struct bytes key, struct lsn upto, struct record *out)
{
    for (size_t i = w->end; i-- > w->first;) {
        const struct entry_view *v = &w->h->v[i];
        if (v->header.lsn.v > upto.v || v->header.kind != ENTRY_TXN)
            continue;
        struct body_txn txn;
        struct op op;
        enum overlay_answer answer = OVERLAY_UNKNOWN;
        must(body_read_txn(bytes_of(v->body, v->header.body_bytes), &txn, &e));
        for (uint32_t k = 0; k < txn.op_count; k++) {
            must(body_next_op(&txn.ops, &op, &e));
            if (!bytes_equal(op.collection, collection) || !bytes_equal(op.key, key))
                continue;
            answer = op.kind == OP_PUT ? OVERLAY_THERE : OVERLAY_GONE;
            *out = (struct record){collection, key, op.value, v->header.lsn, v->header.time};
        }
        if (answer != OVERLAY_UNKNOWN)
            return answer;
    }
    return OVERLAY_UNKNOWN;
}

static const struct entry_view *want_entry(const struct window *w, struct lsn upto,
                                           enum entry_kind kind, const struct uuid *session,
                                           uint64_t sequence, struct bytes point)
{
    for (size_t i = w->end; i-- > w->first;) {
        const struct entry_view *v = &w->h->v[i];
        struct bytes body = bytes_of(v->body, v->header.body_bytes);
        struct body_txn txn;
        struct body_session s;
        struct body_restore_point p;
        if (v->header.lsn.v > upto.v || v->header.kind != kind)
            continue;
        if (kind == ENTRY_TXN && body_read_txn(body, &txn, NULL) == 0 &&
            uuid_equal(&txn.session, session) && txn.sequence == sequence && sequence != 0)
            return v;
        if (kind == ENTRY_SESSION && body_read_session(body, &s, NULL) == 0 &&
            uuid_equal(&s.session, session))
            return v;
        if (kind == ENTRY_RESTORE_POINT && body_read_restore_point(body, &p, NULL) == 0 &&
            bytes_equal(p.name, point))
            return v;
    }
    return NULL;
}

static void ask(const struct window *w, const struct overlay *o, struct chance *c)
{
    const struct entry_view *v = &w->h->v[chance_below(c, (uint32_t)w->h->n)];
    struct lsn upto = {w->first + chance_below(c, (uint32_t)(w->end - w->first + 2))};
    struct bytes body = bytes_of(v->body, v->header.body_bytes);
    struct record want, got;
    struct body_txn txn;
    struct op op;
    if (v->header.kind == ENTRY_TXN && body_read_txn(body, &txn, NULL) == 0 && txn.op_count != 0) {
        must(body_next_op(&txn.ops, &op, &e));
        enum overlay_answer answer = overlay_get(o, op.collection, op.key, upto, &got);
        assert_int_equal(answer, want_record(w, op.collection, op.key, upto, &want));
        if (answer == OVERLAY_THERE)
            assert_record(&got, &want);
    }
    struct uuid session = {{(uint8_t)(1 + chance_below(c, 5))}};
    struct entry_position at;
    uint64_t sequence = v->header.kind == ENTRY_TXN ? txn.sequence : chance_below(c, 4000);
    if (v->header.kind == ENTRY_TXN)
        session = txn.session;
    const struct entry_view *found =
        want_entry(w, upto, ENTRY_TXN, &session, sequence, (struct bytes){NULL, 0});
    assert_int_equal(overlay_result(o, &session, sequence, upto, &at),
                     found ? OVERLAY_THERE : OVERLAY_UNKNOWN);
    if (found != NULL)
        assert_true(sha256_equal(&at.hash, &found->hash));

    struct session_info info;
    struct body_session act;
    found = want_entry(w, upto, ENTRY_SESSION, &session, 0, (struct bytes){NULL, 0});
    enum overlay_answer answer = overlay_session(o, &session, upto, &info);
    if (found == NULL) {
        assert_int_equal(answer, OVERLAY_UNKNOWN);
    } else {
        must(body_read_session(bytes_of(found->body, found->header.body_bytes), &act, &e));
        assert_int_equal(answer, act.act == SESSION_OPEN ? OVERLAY_THERE : OVERLAY_GONE);
        if (answer == OVERLAY_THERE) {
            assert_bytes(info.client, act.client);
            assert_int_equal(info.opened.v, found->header.lsn.v);
        }
    }
    bool busy[2] = {false, false}, want_busy = false;
    for (size_t i = w->first; i < w->end; i++) {
        const struct bytes b = bytes_of(w->h->v[i].body, w->h->v[i].header.body_bytes);
        want_busy |= w->h->v[i].header.kind == ENTRY_TXN && body_read_txn(b, &txn, NULL) == 0 &&
                     txn.sequence != 0 && uuid_equal(&txn.session, &session);
    }
    overlay_busy_sessions(o, (struct uuid[]){{{0xee}}, session}, 2, busy);
    assert_int_equal(busy[1], want_busy);
    assert_false(busy[0]);
    char name[32];
    (void)snprintf(name, sizeof name, "point-%u", chance_below(c, 30));
    found = want_entry(w, upto, ENTRY_RESTORE_POINT, NULL, 0, bytes_str(name));
    assert_int_equal(overlay_point(o, bytes_str(name), upto, &at),
                     found ? OVERLAY_THERE : OVERLAY_UNKNOWN);
    if (found != NULL)
        assert_int_equal(at.lsn.v, found->header.lsn.v);
}

static void every_answer_is_the_models(void **state)
{
    (void)state;
    struct history h = {.n = 0};
    struct chance c = {21};
    history_random(&h, &c, 3000, 40, 100);
    struct overlay *o = overlay_new(99);
    assert_non_null(o);
    uint64_t empty = overlay_bytes(o);
    struct window w = {&h, 0, 0};
    while (w.first < h.n) {
        switch (chance_below(&c, 4)) {
        case 0:
            w.first += chance_below(&c, (uint32_t)(w.end - w.first + 1));
            overlay_drop(o, (struct lsn){w.first});
            break;
        case 1: /* the log loses its tail, then the same entries come again */
            w.end -= chance_below(&c, (uint32_t)(w.end - w.first) / 4 + 1);
            overlay_truncate(o, (struct lsn){w.end});
            break;
        default:
            for (unsigned i = chance_below(&c, 60); i > 0 && w.end < h.n; i--)
                must(overlay_add(o, &h.v[w.end++], &e));
            break;
        }
        assert_int_equal(overlay_last(o).v, w.end == w.first ? 0 : w.end);
        for (unsigned i = 0; i < 20; i++)
            ask(&w, o, &c);
    }
    assert_true(overlay_bytes(o) >= empty);
    overlay_free(o);
    history_free(&h);
}

static void memory_is_counted_and_given_back(void **state)
{
    (void)state;
    struct history h = {.n = 0};
    struct chance c = {22};
    history_random(&h, &c, 3000, 5000, 2000);
    struct overlay *o = overlay_new(1);
    uint64_t bodies = 0;
    for (size_t i = 0; i < h.n; i++) {
        must(overlay_add(o, &h.v[i], &e));
        bodies += h.v[i].header.kind == ENTRY_TXN ? h.v[i].header.body_bytes : 0;
    }
    uint64_t full = overlay_bytes(o);
    assert_true(full > bodies);
    overlay_drop(o, (struct lsn){h.n / 2});
    assert_true(overlay_bytes(o) < full);
    overlay_truncate(o, (struct lsn){h.n / 2});
    uint64_t rest = overlay_bytes(o);
    assert_true(rest < 1 << 20); /* the table stays */
    must(overlay_add(o, &h.v[h.n / 2], &e));
    overlay_drop(o, (struct lsn){h.n});
    assert_int_equal(overlay_bytes(o), rest);
    overlay_free(o);
    history_free(&h);
}

static void in_a_steady_state_nothing_is_allocated(void **state)
{
    (void)state;
    enum { ROUND = 500, ROUNDS = 20 };
    struct history h = {.n = 0};
    struct chance c = {23};
    history_random(&h, &c, (ROUNDS + 6) * ROUND, 5000, 500);
    struct overlay *o = overlay_new(1);
    size_t added = 0;
    unsigned long before = 0;
    for (unsigned round = 0; round < ROUNDS + 6; round++) {
        if (round == 6) /* chunks and table have grown to what is in flight */
            before = mallocs;
        for (unsigned i = 0; i < ROUND; i++)
            must(overlay_add(o, &h.v[added++], &e));
        overlay_truncate(o, (struct lsn){added - 20}); /* a cut now and then costs nothing either */
        added -= 20;
        if (round >= 2)
            overlay_drop(o, (struct lsn){added - 2 * ROUND});
    }
    assert_true(mallocs - before <=
                2); /* a chunk more, for bodies of random sizes; not one an entry */
    overlay_free(o);
    history_free(&h);
}

/* Large entries among small ones: the order in which they leave does not matter to the chunks. */
static void entries_larger_than_a_chunk_come_and_go(void **state)
{
    (void)state;
    struct history h = {.n = 0};
    static char large[OVERLAY_CHUNK_BYTES + 100];
    memset(large, 'x', sizeof large - 1);
    for (unsigned i = 0; i < 40; i++) {
        large[OVERLAY_LARGE_BYTES - 500 + 50 * i] = '\0'; /* around the border as well */
        history_put(&h, "a", i % 4 == 0 ? "small" : "large", i % 4 == 0 ? "v" : large);
        large[OVERLAY_LARGE_BYTES - 500 + 50 * i] = 'x';
        history_put(&h, "a", "whole", large);
    }
    for (unsigned from_front = 0; from_front <= 80; from_front += 8) {
        struct overlay *o = overlay_new(1);
        uint64_t empty = overlay_bytes(o);
        for (size_t i = 0; i < h.n; i++)
            must(overlay_add(o, &h.v[i], &e));
        overlay_drop(o, (struct lsn){from_front});
        struct record r;
        assert_int_equal(
            overlay_get(o, bytes_str("a"), bytes_str("whole"), (struct lsn){UINT64_MAX}, &r),
            from_front < 80 ? OVERLAY_THERE : OVERLAY_UNKNOWN);
        if (from_front < 80)
            assert_int_equal(r.value.n, sizeof large - 1);
        overlay_truncate(o, (struct lsn){from_front});
        assert_int_equal(overlay_bytes(o), empty);
        overlay_free(o);
    }
    history_free(&h);
}

static void entries_out_of_order_and_broken_ones_are_refused(void **state)
{
    (void)state;
    struct history h = {.n = 0};
    history_put(&h, "a", "k", "1");
    history_put(&h, "a", "k", "2");
    struct overlay *o = overlay_new(1);
    must(overlay_add(o, &h.v[1], &e));
    must_fail(overlay_add(o, &h.v[0], &e), ERR_INTEGRITY, "lsn 1 comes after 2");
    must_fail(overlay_add(o, &h.v[1], &e), ERR_INTEGRITY, "lsn 2 comes after 2");
    struct entry_view broken = h.v[1];
    broken.header.lsn.v = 3;
    broken.header.body_bytes -= 1;
    must_fail(overlay_add(o, &broken, &e), ERR_FORMAT, "overlay: lsn 3");
    struct record r;
    assert_int_equal(overlay_get(o, bytes_str("a"), bytes_str("k"), (struct lsn){9}, &r),
                     OVERLAY_THERE);
    assert_bytes(r.value, bytes_str("2"));
    /* Names are apart even where their bytes, put together, are the same. */
    assert_int_equal(overlay_get(o, bytes_str("ak"), bytes_str(""), (struct lsn){9}, &r),
                     OVERLAY_UNKNOWN);
    overlay_free(o);
    history_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_is_the_models),
        cmocka_unit_test(memory_is_counted_and_given_back),
        cmocka_unit_test(in_a_steady_state_nothing_is_allocated),
        cmocka_unit_test(entries_larger_than_a_chunk_come_and_go),
        cmocka_unit_test(entries_out_of_order_and_broken_ones_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
