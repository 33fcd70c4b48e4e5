/* The state against a naive model: thousands of random entries, every scan, and the same entries cut into batches of all
 * sizes. */
#include "tests/unit/store/io/state_kit.h"

static void apply_in_batches(struct state *s, const struct history *h, struct chance *c,
                             uint32_t most)
{
    for (size_t i = 0; i < h->n;) {
        size_t n = 1 + chance_below(c, most);
        if (n > h->n - i)
            n = h->n - i;
        must(state_apply(s, h->v + i, n, &e));
        i += n;
    }
}

static void any_batching_gives_the_model(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    struct chance c = {1};
    struct model m;
    model_init(&m);
    history_random(&h, &c, 6000, 120, 400);
    for (size_t i = 0; i < h.n; i++)
        model_apply(&m, &h.v[i]);
    static const uint32_t most[] = {1, 2, 30, 700, 6000};
    for (size_t i = 0; i < sizeof most / sizeof most[0]; i++) {
        char dir[64];
        kit_dir_new(dir);
        struct state_options o = kit_options(dir);
        struct state *s;
        must(state_open(&s, &o, &e));
        apply_in_batches(s, &h, &c, most[i]);
        model_compare(&m, s);
        state_close(s);
        kit_dir_remove(dir);
    }
    model_free(&m);
    history_free(&h);
}

/* Sorting looks at the first sixteen bytes of a key by themselves: keys that are equal there, that differ in the ninth, or by a
 * zero at their end, in several collections. */
static void keys_that_begin_alike_are_told_apart(void **unused)
{
    (void)unused;
    static const struct {
        const char *p;
        size_t n;
    } keys[] = {{"00000000", 8},
                {"00000000\0", 9},
                {"000000000000000", 15},
                {"0000000000000000", 16},
                {"00000000a", 9},
                {"00000000b0000000", 16},
                {"0000000000000000a", 17},
                {"0000000000000000b", 17},
                {"0000000000000000\0", 17},
                {"00000000\xff", 9},
                {"0", 1},
                {"0\0", 2}};
    enum { KEYS = sizeof keys / sizeof keys[0] };
    struct history h = {.n = 0};
    struct chance c = {5};
    struct model m;
    char dir[64];
    struct state *s;
    kit_dir_new(dir);
    const struct state_options o = kit_options(dir);
    model_init(&m);
    for (size_t i = 0; i < 400; i++) {
        const uint32_t k = chance_below(&c, KEYS);
        char value[24];
        (void)snprintf(value, sizeof value, "%zu", i);
        const struct op op = {chance_below(&c, 4) != 0 ? OP_PUT : OP_DELETE,
                              bytes_str(chance_below(&c, 2) ? "a" : "titles"),
                              bytes_of(keys[k].p, keys[k].n), bytes_str(value)};
        history_txn(&h, NULL, 0, &op, 1);
    }
    must(state_open(&s, &o, &e));
    for (size_t at = 0; at < h.n; at += 100) {
        must(state_apply(s, h.v + at, 100, &e));
        for (size_t i = at; i < at + 100; i++)
            model_apply(&m, &h.v[i]);
        model_compare(&m, s);
    }
    state_close(s);
    kit_dir_remove(dir);
    model_free(&m);
    history_free(&h);
}

/* Checkpoints, resets and restarts in between change nothing. */
static void every_step_agrees_with_the_model(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    struct chance c = {2};
    struct model m;
    char dir[64];
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    struct state *s;
    model_init(&m);
    history_random(&h, &c, 3000, 60, 3000);
    must(state_open(&s, &o, &e));
    while (m.at.lsn.v < h.n) {
        size_t n = 1 + chance_below(&c, 40);
        n = n > h.n - m.at.lsn.v ? h.n - m.at.lsn.v : n;
        must(state_apply(s, h.v + m.at.lsn.v, n, &e));
        for (size_t i = 0; i < n; i++)
            model_apply(&m, &h.v[m.at.lsn.v]);
        struct entry_position at;
        uint32_t what = chance_below(&c, 6);
        if (what == 0) {
            must(state_checkpoint_begin(s, &at, &e));
            must(state_checkpoint_finish(s, &e));
            assert_int_equal(state_checkpoint(s).lsn.v, m.at.lsn.v);
        } else if (what == 1) {
            must(state_checkpoint_begin(s, &at, &e));
            state_checkpoint_abandon(s);
        } else if (what <= 3) {
            if (what == 2) {
                must(state_reset_to_checkpoint(s, &e));
            } else {
                state_close(s);
                must(state_open(&s, &o, &e));
            }
            at = state_applied(s);
            assert_int_equal(at.lsn.v, state_checkpoint(s).lsn.v);
            must(state_apply(s, h.v + at.lsn.v, m.at.lsn.v - at.lsn.v, &e));
        }
        model_compare(&m, s);
    }
    state_close(s);
    kit_dir_remove(dir);
    model_free(&m);
    history_free(&h);
}

/* ---- scans ---- */

static bool scan_wants(const struct scan_options *o, const struct record *r)
{
    if (o->collection.n != 0 && !bytes_equal(o->collection, r->collection))
        return false;
    if (o->prefix.n != 0 &&
        (r->key.n < o->prefix.n || memcmp(r->key.p, o->prefix.p, o->prefix.n) != 0))
        return false;
    if (o->from.n != 0 && bytes_compare(r->key, o->from) < 0)
        return false;
    if (o->to.n != 0 && bytes_compare(r->key, o->to) >= 0)
        return false;
    int place = 0; /* where the record stands to the continuation */
    if (o->collection.n == 0 && o->after_collection.n != 0)
        place = bytes_compare(r->collection, o->after_collection);
    if (place == 0 && o->after.n != 0 && (o->collection.n != 0 || o->after_collection.n != 0)) {
        place = bytes_compare(r->key, o->after);
        if (place == 0)
            return false;
    }
    return o->reverse ? place <= 0 : place >= 0;
}

static void compare_scan(const struct model *m, struct state_snapshot *snap,
                         const struct scan_options *o)
{
    struct state_scan *scan;
    struct record r;
    must(state_scan_open(snap, o, &scan, &e));
    for (size_t i = 0; i < m->record_count; i++) {
        const struct record *want = &m->records[o->reverse ? m->record_count - 1 - i : i].r;
        if (!scan_wants(o, want))
            continue;
        must(state_scan_next(scan, &r, &e));
        assert_record(&r, want);
    }
    must_fail(state_scan_next(scan, &r, &e), ERR_NOT_FOUND, "end");
    must_fail(state_scan_next(scan, &r, &e), ERR_NOT_FOUND, "end");
    state_scan_close(scan);
}

/* A key that is there, a part or a neighbour of one, or something else. */
static struct bytes some_key(const struct model *m, struct chance *c, uint8_t buffer[600])
{
    struct bytes key = m->records[chance_below(c, (uint32_t)m->record_count)].r.key;
    memcpy(buffer, key.p, key.n);
    switch (chance_below(c, 7)) {
    case 0:
        return bytes_of(buffer, 1 + chance_below(c, (uint32_t)key.n));
    case 1:
        buffer[key.n] = 0;
        return bytes_of(buffer, key.n + 1);
    case 2:
        memset(buffer, 0xff, 600);
        return bytes_of(buffer, 1 + chance_below(c, 600)); /* longer than any key, perhaps */
    case 3:
        memset(buffer + key.n, 'm', 600 - key.n);
        return bytes_of(buffer, 600);
    default:
        return bytes_of(buffer, key.n);
    }
}

static void every_scan_agrees_with_the_model(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    struct chance c = {3};
    struct model m;
    char dir[64];
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    struct state *s;
    struct state_snapshot *snap;
    model_init(&m);
    history_random(&h, &c, 700, 60, 20);
    for (size_t i = 0; i < h.n; i++)
        model_apply(&m, &h.v[i]);
    qsort(m.records, m.record_count, sizeof *m.records, model_order);
    must(state_open(&s, &o, &e));
    must(state_apply(s, h.v, h.n, &e));
    must(state_snapshot_open(s, &snap, &e));
    static const char *const names[] = {"a",    "court.files", "passports", "titles",
                                        "zz-9", "b",           "zzz",       "0"};
    static uint8_t keys[4][600];
    for (unsigned i = 0; i < 20000; i++) {
        struct scan_options q = {.reverse = chance_below(&c, 2)};
        if (chance_below(&c, 2))
            q.collection = bytes_str(names[chance_below(&c, 8)]);
        if (chance_below(&c, 3) == 0)
            q.from = some_key(&m, &c, keys[0]);
        if (chance_below(&c, 3) == 0)
            q.to = some_key(&m, &c, keys[1]);
        if (chance_below(&c, 3) == 0)
            q.prefix = some_key(&m, &c, keys[2]);
        if (chance_below(&c, 3) == 0) {
            if (chance_below(&c, 8))
                q.after = some_key(&m, &c, keys[3]);
            if (chance_below(&c, 8))
                q.after_collection = bytes_str(names[chance_below(&c, 8)]);
        }
        compare_scan(&m, snap, &q);
    }
    state_snapshot_close(snap);
    state_close(s);
    kit_dir_remove(dir);
    model_free(&m);
    history_free(&h);
}

/* ---- a restored state equals the one that was copied ---- */

struct copy {
    struct state_build *build;
};

static int copy_session(void *arg, const struct uuid *id, const struct session_info *info)
{
    must(state_build_session(((struct copy *)arg)->build, id, info, &e));
    return 0;
}

static int copy_result(void *arg, const struct uuid *id, uint64_t sequence,
                       const struct entry_position *at)
{
    must(state_build_result(((struct copy *)arg)->build, id, sequence, at, &e));
    return 0;
}

static int copy_point(void *arg, const struct restore_point *p)
{
    must(state_build_point(((struct copy *)arg)->build, p, &e));
    return 0;
}

static void copy_state(struct state_snapshot *snap, struct state *to)
{
    struct copy c;
    struct state_scan *scan;
    struct record r;
    struct state_totals totals;
    struct entry_position at = state_snapshot_position(snap);
    must(state_totals(snap, &totals, &e));
    must(state_build_begin(to, &c.build, &e));
    must(state_scan_open(snap, &(struct scan_options){.reverse = false}, &scan, &e));
    struct err end = ERR_NONE;
    while (state_scan_next(scan, &r, &end) == 0)
        must(state_build_record(c.build, &r, &e));
    assert_int_equal(end.code, ERR_NOT_FOUND);
    state_scan_close(scan);
    must(state_sessions(snap, copy_session, &c, &e));
    must(state_results(snap, copy_result, &c, &e));
    must(state_restore_points(snap, copy_point, &c, &e));
    must(state_build_end(c.build, &at, totals.mode, &e));
    must(state_checkpoint_finish(to, &e));
}

static void a_built_state_equals_its_source_and_goes_on(void **unused)
{
    (void)unused;
    struct history h = {.n = 0};
    struct chance c = {4};
    struct model m;
    char dir[64], copy_dir[64];
    kit_dir_new(dir);
    kit_dir_new(copy_dir);
    struct state_options o = kit_options(dir), copy_o = kit_options(copy_dir);
    struct state *s, *copy;
    struct state_snapshot *snap;
    model_init(&m);
    history_random(&h, &c, 4000, 100, 3000);
    must(state_open(&s, &o, &e));
    must(state_open(&copy, &copy_o, &e));
    must(state_apply(s, h.v, 3000, &e));
    must(state_snapshot_open(s, &snap, &e));
    copy_state(snap, copy);
    state_snapshot_close(snap);
    state_close(s);
    for (size_t i = 0; i < 3000; i++)
        model_apply(&m, &h.v[i]);
    model_compare(&m, copy);
    /* It was published: a restart keeps it. */
    state_close(copy);
    must(state_open(&copy, &copy_o, &e));
    model_compare(&m, copy);
    must(state_apply(copy, h.v + 3000, 1000, &e));
    for (size_t i = 3000; i < h.n; i++)
        model_apply(&m, &h.v[i]);
    model_compare(&m, copy);
    state_close(copy);
    kit_dir_remove(dir);
    kit_dir_remove(copy_dir);
    model_free(&m);
    history_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_batching_gives_the_model),
        cmocka_unit_test(keys_that_begin_alike_are_told_apart),
        cmocka_unit_test(every_step_agrees_with_the_model),
        cmocka_unit_test(every_scan_agrees_with_the_model),
        cmocka_unit_test(a_built_state_equals_its_source_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
