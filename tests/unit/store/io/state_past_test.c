/* The past: against the naive model at every lsn and every time, however entries were cut into batches, and within its window. */
#include "store/core/hash.h"
#include "store/io/state_check.h"
#include "store/io/state_internal.h"
#include "tests/unit/rounds.h"
#include "tests/unit/store/io/state_kit.h"

static struct as_of at_lsn(uint64_t lsn)
{
    return (struct as_of){AS_OF_LSN, lsn};
}

static struct as_of at_time(uint64_t us)
{
    return (struct as_of){AS_OF_TIME, us};
}

/* Lsn n has time 1000000 + 10 * (n - 1): state_kit.h. */
static uint64_t time_of(uint64_t lsn)
{
    return lsn == 0 ? 0 : 1000000 + (lsn - 1) * 10;
}

static void model_at(struct model *m, const struct history *h, uint64_t lsn)
{
    model_init(m);
    for (uint64_t i = 0; i < lsn; i++)
        model_apply(m, &h->v[i]);
    qsort(m->records, m->record_count, sizeof *m->records, model_order);
}

static void compare_scan(const struct model *m, struct state_snapshot *snap, struct as_of as_of,
                         const char *collection, bool reverse, struct bytes after)
{
    const struct scan_options o = {
        .collection = bytes_str(collection), .reverse = reverse, .after = after, .as_of = as_of};
    struct state_scan *scan;
    struct record r;
    must(state_scan_open(snap, &o, &scan, &e));
    for (size_t i = 0; i < m->record_count; i++) {
        const struct record *want = &m->records[reverse ? m->record_count - 1 - i : i].r;
        const int place = after.n == 0 ? 0 : bytes_compare(want->key, after);
        if ((*collection != '\0' && !bytes_equal(want->collection, o.collection)) ||
            (after.n != 0 && (reverse ? place >= 0 : place <= 0)))
            continue;
        must(state_scan_next(scan, &r, &e));
        assert_record(&r, want);
    }
    must_fail(state_scan_next(scan, &r, &e), ERR_NOT_FOUND, "end");
    state_scan_close(scan);
}

/* Every record that any entry names. */
static void compare_gets(const struct model *m, const struct history *h,
                         struct state_snapshot *snap, struct as_of as_of)
{
    for (size_t i = 0; i < h->n; i++) {
        struct body_txn txn;
        struct record r;
        if (h->v[i].header.kind != ENTRY_TXN)
            continue;
        must(body_read_txn(bytes_of(h->v[i].body, h->v[i].header.body_bytes), &txn, &e));
        for (uint32_t k = 0; k < txn.op_count; k++) {
            struct op op;
            const struct record *want = NULL;
            must(body_next_op(&txn.ops, &op, &e));
            for (size_t n = 0; n < m->record_count; n++)
                if (bytes_equal(m->records[n].r.key, op.key) &&
                    bytes_equal(m->records[n].r.collection, op.collection))
                    want = &m->records[n].r;
            if (want != NULL) {
                must(state_get_as_of(snap, as_of, op.collection, op.key, &r, &e));
                assert_record(&r, want);
            } else {
                must_fail(state_get_as_of(snap, as_of, op.collection, op.key, &r, &e),
                          ERR_NOT_FOUND, "there");
            }
        }
    }
}

static void compare_as_of(const struct model *m, const struct history *h,
                          struct state_snapshot *snap, struct as_of as_of)
{
    static const uint8_t after[] = {'k', '2'};
    for (unsigned reverse = 0; reverse < 2; reverse++) {
        compare_scan(m, snap, as_of, "", reverse, (struct bytes){NULL, 0});
        compare_scan(m, snap, as_of, "titles", reverse, (struct bytes){NULL, 0});
        compare_scan(m, snap, as_of, "zz-9", reverse, bytes_of(after, sizeof after));
        compare_scan(m, snap, as_of, "nowhere", reverse, (struct bytes){NULL, 0});
    }
    compare_gets(m, h, snap, as_of);
}

/* The state knows entries up to `now`: every lsn and time of the past is asked, also times in between; outside the window it
 * is refused. Returns how many lsns were answered. */
static uint64_t compare_past(struct state *s, const struct history *h, uint64_t every)
{
    struct state_snapshot *snap;
    struct lsn lsn, same;
    struct record r;
    uint64_t answered = 0;
    must(state_snapshot_open(s, &snap, &e));
    must(state_verify(snap, &e));
    const uint64_t now = state_snapshot_position(snap).lsn.v;
    const struct state_window w = state_window(snap);
    for (uint64_t n = 0; n <= now; n += every) {
        if (n < w.from.v) {
            must_fail(state_as_of(snap, at_lsn(n), &lsn, &e), ERR_GAP, "triveni restore");
            must_fail(state_as_of(snap, at_time(time_of(n)), &lsn, &e), ERR_GAP, "--to-time");
            must_fail(state_get_as_of(snap, at_lsn(n), bytes_str("a"), bytes_str("k1"), &r, &e),
                      ERR_GAP, "from lsn");
            continue;
        }
        struct model m;
        model_at(&m, h, n);
        compare_as_of(&m, h, snap, at_lsn(n));
        compare_as_of(&m, h, snap, at_time(time_of(n)));
        compare_scan(&m, snap, at_time(time_of(n) + 9), "", false, (struct bytes){NULL, 0});
        must(state_as_of(snap, at_time(time_of(n)), &lsn, &e));
        must(state_as_of(snap, at_time(time_of(n) + (n == 0 ? 0 : 9)), &same, &e));
        assert_int_equal(lsn.v, same.v);
        assert_true(lsn.v <= n && lsn.v >= w.from.v);
        compare_scan(&m, snap, at_lsn(lsn.v), "", true, (struct bytes){NULL, 0});
        model_free(&m);
        answered++;
    }
    must_fail(state_as_of(snap, at_lsn(now + 1), &lsn, &e), ERR_USAGE, "is not here yet");
    state_snapshot_close(snap);
    return answered;
}

static void apply_in_batches(struct state *s, const struct history *h, struct chance *c,
                             uint64_t from, uint64_t to, uint32_t most)
{
    while (from < to) {
        size_t n = 1 + chance_below(c, most);
        if (n > to - from)
            n = to - from;
        must(state_apply(s, h->v + from, n, &e));
        from += n;
    }
}

static void publish(struct state *s)
{
    struct entry_position at;
    must(state_checkpoint_begin(s, &at, &e));
    must(state_checkpoint_finish(s, &e));
}

static void every_past_is_the_models_in_any_batching(void **unused)
{
    (void)unused;
    static const uint32_t most[] = {1, 3, 25, 260};
    for (uint64_t seed = 1; seed <= 3; seed++)
        for (size_t i = 0; i < sizeof most / sizeof most[0]; i++) {
            struct history h = {.n = 0};
            struct chance c = {seed};
            char dir[64];
            kit_dir_new(dir);
            struct state_options o = kit_options(dir);
            struct state *s;
            history_random(&h, &c, 260, seed == 1 ? 4 : 14, 60);
            must(state_open(&s, &o, &e));
            apply_in_batches(s, &h, &c, 0, h.n, most[i]);
            const uint64_t every = most[i] == 3 ? ROUNDS(2, 10) : 13;
            assert_int_equal(compare_past(s, &h, every), 260 / every + 1);
            state_close(s);
            kit_dir_remove(dir);
            history_free(&h);
        }
}

static void the_past_survives_restarts_and_resets(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    struct chance c = {5};
    char dir[64];
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    struct state *s;
    history_random(&h, &c, 300, 8, 60);
    must(state_open(&s, &o, &e));
    apply_in_batches(s, &h, &c, 0, 150, 9);
    publish(s);
    apply_in_batches(s, &h, &c, 150, 220, 9);
    must(state_reset_to_checkpoint(s, &e));
    assert_int_equal(state_applied(s).lsn.v, 150);
    compare_past(s, &h, 11);
    apply_in_batches(s, &h, &c, 150, 250, 30);
    state_close(s);
    must(state_open(&s, &o, &e));
    apply_in_batches(s, &h, &c, state_applied(s).lsn.v, 300, 4);
    assert_int_equal(compare_past(s, &h, 5), 61);
    state_close(s);
    kit_dir_remove(dir);
    history_free(&h);
}

/* Pruned by time and by bytes: what is left of the window answers, the rest is refused, nothing stays behind. */
static void what_leaves_the_window_is_refused_and_gone(void **unused)
{
    (void)unused;
    for (unsigned by_bytes = 0; by_bytes < 2; by_bytes++) {
        struct history h = {.n = 0};
        struct chance c = {7};
        char dir[64];
        kit_dir_new(dir);
        struct state_options o = kit_options(dir);
        struct state *s;
        struct state_snapshot *snap;
        if (by_bytes)
            o.history_bytes = 20000;
        else
            o.history_us = 500; /* 50 entries */
        history_random(&h, &c, 600, 12, 60);
        must(state_open(&s, &o, &e));
        for (uint64_t to = 60; to <= 600; to += 90) {
            apply_in_batches(s, &h, &c, to == 60 ? 0 : to - 90, to, 10);
            const uint64_t every = ROUNDS(3, 9), answered = every * compare_past(s, &h, every);
            assert_true(answered > 18 && (to < 300 || answered < 300));
            must(state_snapshot_open(s, &snap, &e));
            const struct state_window w = state_window(snap);
            assert_true(w.bytes <= 20000 || !by_bytes);
            if (!by_bytes && to > 60)
                assert_true(w.from.v + 50 < to && w.from.v + 60 >= to);
            assert_true(w.from.v == 0 || w.from_time.us == time_of(w.from.v));
            state_snapshot_close(snap);
        }
        state_close(s);
        /* With no window everything goes, in steps, deleted records and empty collections as well. */
        o.history_us = 0;
        must(state_open(&s, &o, &e));
        uint64_t from = state_applied(s).lsn.v;
        apply_in_batches(s, &h, &c, from, 600, 10);
        for (unsigned i = 0; i < 40; i++) {
            history_noop(&h);
            must(state_apply(s, h.v + h.n - 1, 1, &e));
        }
        must(state_snapshot_open(s, &snap, &e));
        struct state_window w = state_window(snap);
        assert_int_equal(w.rows, 0);
        assert_int_equal(w.bytes, 0);
        assert_int_equal(w.from.v, h.n);
        MDB_stat st;
        assert_int_equal(mdb_stat(snap->t.txn, snap->t.dbi[DB_DELETED], &st), 0);
        assert_int_equal(st.ms_entries, 0);
        must(state_verify(snap, &e));
        state_snapshot_close(snap);
        /* And begins again from here. */
        state_close(s);
        o.history_us = 1ull << 40;
        must(state_open(&s, &o, &e));
        from = state_applied(s).lsn.v;
        apply_in_batches(s, &h, &c, from, h.n, 100);
        history_random(&h, &c, 40, 12, 60);
        apply_in_batches(s, &h, &c, h.n - 40, h.n, 7);
        assert_true(compare_past(s, &h, 9) > 4);
        state_close(s);
        kit_dir_remove(dir);
        history_free(&h);
    }
}

static void a_deleted_collection_is_gone_now_but_not_then(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    char dir[64];
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    struct state *s;
    struct state_snapshot *snap;
    struct state_totals totals;
    struct record r;
    history_put(&h, "a", "k", "1");
    history_delete(&h, "a", "k");
    history_delete(&h, "a", "k"); /* changes nothing */
    history_put(&h, "b", "x", "2");
    must(state_open(&s, &o, &e));
    for (size_t i = 0; i < h.n; i++)
        must(state_apply(s, h.v + i, 1, &e));
    must(state_snapshot_open(s, &snap, &e));
    must(state_totals(snap, &totals, &e));
    assert_int_equal(totals.collections, 1);
    must_fail(state_get(snap, bytes_str("a"), bytes_str("k"), &r, &e), ERR_NOT_FOUND,
              "no such collection");
    must(state_get_as_of(snap, at_lsn(1), bytes_str("a"), bytes_str("k"), &r, &e));
    assert_bytes(r.value, bytes_str("1"));
    assert_int_equal(r.lsn.v, 1);
    assert_int_equal(r.time.us, time_of(1));
    must_fail(state_get_as_of(snap, at_lsn(2), bytes_str("a"), bytes_str("k"), &r, &e),
              ERR_NOT_FOUND, "no such record");
    assert_int_equal(state_window(snap).rows, 3);
    must(state_verify(snap, &e));
    state_snapshot_close(snap);
    state_close(s);
    kit_dir_remove(dir);
    history_free(&h);
}

/* Passed over in steps, in both directions: each says where it is, and the next goes on. */
static void what_was_not_there_is_passed_over_in_steps(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    char dir[64], key[16];
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    struct state *s;
    struct state_snapshot *snap;
    struct state_scan *scan;
    struct record r;
    history_put(&h, "a", "a", "1");
    history_put(&h, "b", "z", "1");
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(key, sizeof key, "m%02u", i);
        history_put(&h, "a", key, "later");
    }
    must(state_open(&s, &o, &e));
    must(state_apply(s, h.v, h.n, &e));
    must(state_snapshot_open(s, &snap, &e));
    for (unsigned reverse = 0; reverse < 2; reverse++) {
        const struct scan_options q = {.as_of = at_lsn(2), .skip_max = 8, .reverse = reverse};
        must(state_scan_open(snap, &q, &scan, &e));
        must(state_scan_next(scan, &r, &e));
        assert_bytes(r.key, bytes_str(reverse ? "z" : "a"));
        for (unsigned i = 0; i < 2; i++) {
            must_fail(state_scan_next(scan, &r, &e), ERR_LIMIT, "8 records were not there");
            assert_bytes(r.collection, bytes_str("a"));
            assert_bytes(r.key,
                         bytes_str(reverse ? (i == 0 ? "m12" : "m04") : (i == 0 ? "m07" : "m15")));
        }
        must(state_scan_next(scan, &r, &e));
        assert_bytes(r.key, bytes_str(reverse ? "a" : "z"));
        must_fail(state_scan_next(scan, &r, &e), ERR_NOT_FOUND, "end");
        state_scan_close(scan);
    }
    state_snapshot_close(snap);
    state_close(s);
    kit_dir_remove(dir);
    history_free(&h);
}

/* One record, changed again and again, in batches of all sizes: any version is found in few steps (Myers: 3 lg n - 2). */
static void a_hot_record_is_found_in_few_steps(void **unused)
{
    (void)unused;
    enum { VERSIONS = 200000, ROUND = 10000, STEPS = 3 * 17 - 2 + 1 };
    struct history h = {.n = 0};
    struct chance c = {9};
    char dir[64];
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    struct state *s;
    struct state_snapshot *snap;
    struct record r;
    must(state_open(&s, &o, &e));
    for (unsigned i = 0; i < VERSIONS; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "%u", i + 1);
        history_put(&h, "a", "hot", value);
        if (h.n % ROUND == 0)
            apply_in_batches(s, &h, &c, h.n - ROUND, h.n, h.n % (3 * ROUND) == 0 ? 30 : ROUND);
    }
    must(state_snapshot_open(s, &snap, &e));
    for (uint64_t n = 1; n <= VERSIONS; n += 1 + chance_below(&c, 60)) {
        char value[24];
        (void)snprintf(value, sizeof value, "%llu", (unsigned long long)n);
        snap->history_reads = 0;
        must(state_get_as_of(snap, at_lsn(n), bytes_str("a"), bytes_str("hot"), &r, &e));
        assert_bytes(r.value, bytes_str(value));
        assert_int_equal(r.lsn.v, n);
        assert_true(snap->history_reads <= STEPS);
        snap->history_reads = 0;
        must(state_get_as_of(snap, at_time(time_of(n)), bytes_str("a"), bytes_str("hot"), &r, &e));
        assert_int_equal(r.lsn.v, n);
        assert_true(snap->history_reads <= STEPS + 20);
    }
    state_snapshot_close(snap);
    state_close(s);
    kit_dir_remove(dir);
    history_free(&h);
}

/* Old values beyond the bound: the window begins anew behind the batch, and what is answered is right. */
static void too_many_old_bytes_shorten_the_window(void **unused)
{
    (void)unused;
    enum { BIG = 5, BIG_BYTES = 16 << 20 };
    struct history h = {.n = 0};
    char dir[64], key[8];
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    struct state *s;
    struct state_snapshot *snap;
    struct lsn lsn;
    struct op ops[BIG + 1];
    uint8_t *big = calloc(1, BIG_BYTES);
    assert_non_null(big);
    must(state_open(&s, &o, &e));
    for (unsigned i = 0; i < BIG; i++) {
        (void)snprintf(key, sizeof key, "k%u", i);
        struct op op = {OP_PUT, bytes_str("a"), bytes_str(key), bytes_of(big, BIG_BYTES)};
        history_txn(&h, NULL, 0, &op, 1);
    }
    static const char *const keys[BIG + 1] = {"k0", "k1", "k2", "k3", "k4", "new"};
    for (unsigned i = 0; i < BIG; i++)
        ops[i] =
            (struct op){i < 2 ? OP_DELETE : OP_PUT, bytes_str("a"), bytes_str(keys[i]), {NULL, 0}};
    ops[BIG] = (struct op){OP_PUT, bytes_str("a"), bytes_str("new"), bytes_str("v")};
    history_txn(&h, NULL, 0, ops, BIG + 1);
    history_put(&h, "a", "k0", "again");
    history_put(&h, "a", "k3", "again");
    for (size_t i = 0; i < h.n; i++)
        must(state_apply(s, h.v + i, 1, &e));
    must(state_snapshot_open(s, &snap, &e));
    assert_int_equal(state_window(snap).from.v, BIG + 1);
    must_fail(state_as_of(snap, at_lsn(BIG), &lsn, &e), ERR_GAP, "from lsn 6");
    must(state_verify(snap, &e));
    state_snapshot_close(snap);
    assert_int_equal(compare_past(s, &h, 1), 3);
    state_close(s);
    kit_dir_remove(dir);
    free(big);
    history_free(&h);
}

/* ---- damage ---- */

/* Change one byte of the value that LMDB has under the key; `at` counts from the end of the row. */
static void spoil(struct state *s, enum state_db db, struct bytes key, size_t at)
{
    static uint8_t copy[4096];
    struct state_txn t;
    MDB_val k = val_of(key), v;
    must(state_write_begin(s, &t, &e));
    assert_int_equal(mdb_get(t.txn, t.dbi[db], &k, &v), 0);
    memcpy(copy, v.mv_data, v.mv_size);
    copy[v.mv_size - at] ^= 1;
    v.mv_data = copy;
    assert_int_equal(mdb_put(t.txn, t.dbi[db], &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(t.txn), 0);
}

static void drop(struct state *s, enum state_db db, struct bytes key)
{
    struct state_txn t;
    MDB_val k = val_of(key);
    must(state_write_begin(s, &t, &e));
    assert_int_equal(mdb_del(t.txn, t.dbi[db], &k, NULL), 0);
    assert_int_equal(mdb_txn_commit(t.txn), 0);
}

struct damage {
    struct history h;
    char dir[64];
    struct state_options o;
    struct state *s;
    struct state_snapshot *snap;
    uint8_t key[RECORD_KEY_MAX_BYTES];
    struct bytes record;
};

static void damage_begin(struct damage *d)
{
    *d = (struct damage){.h = {.n = 0}};
    kit_dir_new(d->dir);
    d->o = kit_options(d->dir);
    must(state_open(&d->s, &d->o, &e));
    history_put(&d->h, "a", "k", "one");
    history_put(&d->h, "a", "k", "two");
    history_put(&d->h, "a", "k", "three");
    must(state_apply(d->s, d->h.v, 2, &e));
    d->record = row_record_key(1, bytes_str("k"), d->key);
}

static void damage_end(struct damage *d)
{
    state_snapshot_close(d->snap);
    state_close(d->s);
    kit_dir_remove(d->dir);
    history_free(&d->h);
}

static void must_fail_as_of(struct damage *d, uint64_t lsn, const char *why)
{
    struct record r;
    struct state_scan *scan;
    must_fail(state_get_as_of(d->snap, at_lsn(lsn), bytes_str("a"), bytes_str("k"), &r, &e),
              ERR_INTEGRITY, why);
    must(state_scan_open(d->snap, &(struct scan_options){.as_of = at_lsn(lsn)}, &scan, &e));
    must_fail(state_scan_next(scan, &r, &e), ERR_INTEGRITY, "record 'k' of collection 'a'");
    assert_bytes(r.key, bytes_str("k"));
    must_fail(state_scan_next(scan, &r, &e), ERR_NOT_FOUND, "end");
    state_scan_close(scan);
}

static void a_damaged_row_of_the_history_is_named_and_the_present_goes_on(void **unused)
{
    (void)unused;
    struct damage d;
    struct record r;
    uint8_t key[HISTORY_KEY_MAX_BYTES];
    damage_begin(&d);
    spoil(d.s, DB_HISTORY, row_history_key((struct lsn){2}, d.record, key), 1);
    must(state_apply(d.s, d.h.v + 2, 1, &e));
    must(state_snapshot_open(d.s, &d.snap, &e));
    must_fail_as_of(&d, 1, "checksum mismatch");
    must(state_get_as_of(d.snap, at_lsn(2), bytes_str("a"), bytes_str("k"), &r, &e));
    assert_bytes(r.value, bytes_str("two"));
    must(state_get(d.snap, bytes_str("a"), bytes_str("k"), &r, &e));
    must_fail(state_verify(d.snap, &e), ERR_INTEGRITY, "history");
    damage_end(&d);
}

static void keep_text(void *arg, const struct finding *f)
{
    (void)snprintf(arg, ERR_TEXT_BYTES, "%s", f->text);
}

/* In steps of one row each: both databases are read to their ends, behind the damage too. */
static void every_row_of_the_past_is_read_in_steps(void **unused)
{
    (void)unused;
    struct damage d;
    uint8_t key[HISTORY_KEY_MAX_BYTES];
    struct past_place place = {.in_history = false};
    size_t bytes, rows = 0, damaged = 0;
    damage_begin(&d);
    must(state_apply(d.s, d.h.v + 2, 1, &e));
    history_delete(&d.h, "a", "k");
    must(state_apply(d.s, d.h.v + 3, 1, &e));
    spoil(d.s, DB_HISTORY, row_history_key((struct lsn){2}, d.record, key), 1);
    spoil(d.s, DB_DELETED, d.record, 1);
    must(state_snapshot_open(d.s, &d.snap, &e));
    for (unsigned steps = 0; steps < 20; steps++) {
        struct err e = ERR_NONE;
        int rc = state_past_check(d.snap, &place, 1, &bytes, &e);
        rows += bytes != 0;
        damaged += rc == ERR_INTEGRITY;
        if (rc == ERR_NOT_FOUND)
            break;
        assert_true(rc == 0 || rc == ERR_INTEGRITY);
    }
    assert_int_equal(rows, 5);
    assert_int_equal(damaged, 2);
    damage_end(&d);
}

static void a_missing_row_of_the_history_is_found(void **unused)
{
    (void)unused;
    struct damage d;
    uint8_t key[HISTORY_KEY_MAX_BYTES];
    damage_begin(&d);
    must(state_apply(d.s, d.h.v + 2, 1, &e));
    drop(d.s, DB_HISTORY, row_history_key((struct lsn){2}, d.record, key));
    d.s->row.history_rows--; /* as if it had never been counted: only its chain tells */
    d.s->row.history_bytes -= 8 + d.record.n + HISTORY_ROW_BYTES + 3;
    history_noop(&d.h);
    must(state_apply(d.s, d.h.v + 3, 1, &e));
    must(state_snapshot_open(d.s, &d.snap, &e));
    must_fail_as_of(&d, 1, "change at lsn 2 is missing");
    must_fail(state_verify(d.snap, &e), ERR_INTEGRITY, "a version of a record is missing");
    publish(d.s); /* so does the check from outside */
    struct state_check_totals totals;
    char text[ERR_TEXT_BYTES] = "";
    int fd = open(d.dir, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    must(state_check(fd, &(struct finding_sink){.found = keep_text, .arg = text}, &totals, &e));
    assert_non_null(strstr(text, "a version of a record is missing in the history"));
    (void)close(fd);
    damage_end(&d);
}

static void a_deletion_without_its_history_is_found(void **unused)
{
    (void)unused;
    struct damage d;
    uint8_t key[HISTORY_KEY_MAX_BYTES];
    damage_begin(&d);
    must(state_apply(d.s, d.h.v + 2, 1, &e));
    history_delete(&d.h, "a", "k");
    must(state_apply(d.s, d.h.v + 3, 1, &e));
    drop(d.s, DB_HISTORY, row_history_key((struct lsn){4}, d.record, key));
    must(state_snapshot_open(d.s, &d.snap, &e));
    must_fail(state_verify(d.snap, &e), ERR_INTEGRITY, "its deletion is missing in the history");
    damage_end(&d);
}

/* A damaged value gets no good checksum by being replaced. */
static void a_damaged_record_that_is_replaced_stays_an_error_in_the_past(void **unused)
{
    (void)unused;
    struct damage d;
    struct record r;
    damage_begin(&d);
    spoil(d.s, DB_RECORDS, d.record, 1);
    must(state_apply(d.s, d.h.v + 2, 1, &e));
    must(state_snapshot_open(d.s, &d.snap, &e));
    must_fail_as_of(&d, 2, "it was damaged when it was replaced");
    must_fail_as_of(&d, 1, "it was damaged when it was replaced");
    must(state_get_as_of(d.snap, at_lsn(3), bytes_str("a"), bytes_str("k"), &r, &e));
    assert_bytes(r.value, bytes_str("three"));
    must(state_verify(d.snap, &e)); /* the present is whole again */
    damage_end(&d);
}

/* A damaged row goes with the next readable one, when that is due. */
static void a_damaged_row_leaves_the_window_too(void **unused)
{
    (void)unused;
    struct damage d;
    uint8_t key[HISTORY_KEY_MAX_BYTES];
    damage_begin(&d);
    spoil(d.s, DB_HISTORY, row_history_key((struct lsn){1}, d.record, key), 1);
    must(state_apply(d.s, d.h.v + 2, 1, &e));
    publish(d.s);
    state_close(d.s);
    d.o.history_us = 10;
    must(state_open(&d.s, &d.o, &e));
    history_noop(&d.h);
    must(state_apply(d.s, d.h.v + 3, 1, &e));
    must(state_snapshot_open(d.s, &d.snap, &e));
    assert_int_equal(state_window(d.snap).from.v, 2);
    assert_int_equal(state_window(d.snap).rows, 1);
    must(state_verify(d.snap, &e));
    damage_end(&d);
}

static void another_format_is_refused_with_what_to_do(void **unused)
{
    (void)unused;
    struct damage d;
    static uint8_t copy[ROW_MAX_BYTES];
    damage_begin(&d);
    for (unsigned format = 1; format <= 4; format++) {
        struct state_txn t;
        MDB_val k = val_of(bytes_str("state")), v;
        struct state_row row;
        must(state_write_begin(d.s, &t, &e));
        assert_int_equal(mdb_get(t.txn, t.dbi[DB_META], &k, &v), 0);
        memcpy(copy, v.mv_data, v.mv_size);
        put_le16(copy + 4, (uint16_t)format);
        put_le32(copy, hash_crc32c(hash_crc32c(0, bytes_str("state")),
                                   bytes_of(copy + 4, v.mv_size - 4)));
        if (format == 2 || format == 3) { /* 2 knows no indexes, which is all the difference */
            must(row_read_state(bytes_str("state"), bytes_of(copy, v.mv_size), &row, &e));
            assert_int_equal(row.has_indexes, format == 3);
            mdb_txn_abort(t.txn);
            continue;
        }
        must_fail(row_read_state(bytes_str("state"), bytes_of(copy, v.mv_size), &row, &e),
                  format == 1 ? ERR_FORMAT : ERR_NEWER,
                  format == 1 ? "older than this program's" : "written by a newer triveni");
        mdb_txn_abort(t.txn);
    }
    damage_end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_past_is_the_models_in_any_batching),
        cmocka_unit_test(the_past_survives_restarts_and_resets),
        cmocka_unit_test(what_leaves_the_window_is_refused_and_gone),
        cmocka_unit_test(a_deleted_collection_is_gone_now_but_not_then),
        cmocka_unit_test(what_was_not_there_is_passed_over_in_steps),
        cmocka_unit_test(a_hot_record_is_found_in_few_steps),
        cmocka_unit_test(too_many_old_bytes_shorten_the_window),
        cmocka_unit_test(a_damaged_row_of_the_history_is_named_and_the_present_goes_on),
        cmocka_unit_test(every_row_of_the_past_is_read_in_steps),
        cmocka_unit_test(a_missing_row_of_the_history_is_found),
        cmocka_unit_test(a_deletion_without_its_history_is_found),
        cmocka_unit_test(a_damaged_record_that_is_replaced_stays_an_error_in_the_past),
        cmocka_unit_test(a_damaged_row_leaves_the_window_too),
        cmocka_unit_test(another_format_is_refused_with_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
