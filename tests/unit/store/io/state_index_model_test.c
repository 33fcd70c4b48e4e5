/* Indexes against a naive model: random writes and declarations, built in steps in between, with checkpoints, resets, restarts
 * and damaged records on the way. After each round every index that is ready has exactly the model's rows, in every kind of
 * scan, and those that are not get there without a write. */
#include "state_kit.h"

#include "store/io/state_index.h"
#include "tests/unit/rounds.h"

static const char *const indexed[] = {"a", "titles"};

/* ---- chance ---- */

static struct bytes some_value(struct chance *c, char *out, size_t room)
{
    static char filler[300];
    memset(filler, 'x', sizeof filler);
    int n = 0;
    switch (chance_below(c, 12)) {
    case 0:
        n = snprintf(out, room, "no JSON %u", chance_below(c, 9));
        break;
    case 1:
        n = snprintf(out, room, "{\"n\":null,\"s\":[1]}");
        break;
    case 2:
        n = snprintf(out, room, "{\"s\":\"only %u\"}", chance_below(c, 5));
        break;
    case 3: /* longer than a key of an index */
        n = snprintf(out, room, "{\"n\":%u,\"s\":\"%.*s%u\"}", chance_below(c, 3),
                     (int)(200 + chance_below(c, 90)), filler, chance_below(c, 4));
        break;
    case 4:
        n = snprintf(out, room, "{\"n\":%s,\"s\":\"\\u0000%u\"}",
                     chance_below(c, 2) ? "true" : "false", chance_below(c, 4));
        break;
    default:
        n = snprintf(out, room, "{\"n\":%d,\"s\":\"s%u\",\"more\":%u}",
                     (int)chance_below(c, 21) - 10, chance_below(c, 30), chance_below(c, 1000));
        break;
    }
    return bytes_of(out, (size_t)n);
}

static struct bytes some_key(struct chance *c, uint8_t out[KEY_MAX_BYTES])
{
    const uint32_t number = chance_below(c, 150);
    int n = snprintf((char *)out, KEY_MAX_BYTES, "k%u", number);
    if (number % 10 != 0)
        return bytes_of(out, (size_t)n);
    memset(out + n, 'k', KEY_MAX_BYTES - (size_t)n); /* longer than a row of an index can hold */
    out[KEY_MAX_BYTES - 1] = (uint8_t)number;
    return bytes_of(out, KEY_MAX_BYTES - number % 3);
}

static void some_declaration(struct history *h, struct chance *c)
{
    static const char *const names[] = {"a/i0",      "a/i1",   "a/i2",   "titles/i0",
                                        "titles/i1", "none/i", "bad key"};
    static const char *const texts[] = {
        "{\"on\":[\"/n\"]}",        "{\"on\":[\"/s\"],\"unique\":true}",
        "{\"on\":[\"/n\",\"/s\"]}", "{\"on\":[\"/s\",\"/n\"],\"unique\":true}",
        "{\"on\":\"/n\"}",          "{\"on\":[\"/s\"],\"unique\":true,\"enforced\":true}"};
    const char *name = names[chance_below(c, 7)];
    if (chance_below(c, 4) == 0)
        history_delete(h, INDEXES_COLLECTION, name);
    else
        history_put(h, INDEXES_COLLECTION, name, texts[chance_below(c, 6)]);
}

static void some_entries(struct history *h, struct chance *c)
{
    static char value[8][512];
    static uint8_t key[8][KEY_MAX_BYTES];
    for (uint32_t n = 1 + chance_below(c, 12); n != 0; n--) {
        struct op ops[8];
        const uint32_t count = 1 + chance_below(c, 7);
        if (chance_below(c, 40) == 0) {
            some_declaration(h, c);
            continue;
        }
        for (uint32_t i = 0; i < count; i++) {
            const bool put = chance_below(c, 4) != 0;
            ops[i] = (struct op){put ? OP_PUT : OP_DELETE,
                                 bytes_str(indexed[chance_below(c, 2)]),
                                 some_key(c, key[i]),
                                 {NULL, 0}};
            if (put)
                ops[i].value = some_value(c, value[i], sizeof value[i]);
        }
        history_txn(h, NULL, 0, ops, count);
    }
}

/* ---- the model: what an index must answer ---- */

struct want {
    uint8_t row[INDEX_ROW_KEY_MAX_BYTES]; /* with id 0: its order is that of the scan */
    size_t row_bytes;
    struct index_key value;
    const struct record *record;
};

static int by_row(const void *pa, const void *pb)
{
    const struct want *a = pa, *b = pb;
    return bytes_compare(bytes_of(a->row, a->row_bytes), bytes_of(b->row, b->row_bytes));
}

static size_t model_index(const struct model *m, const struct index_info *info, struct want *out)
{
    size_t n = 0;
    for (size_t i = 0; i < m->record_count; i++) {
        const struct record *r = &m->records[i].r;
        if (!bytes_equal(r->collection, info->collection))
            continue;
        struct index_document *doc;
        must(index_document_open(r->value, &doc, &e));
        if (index_document_key(doc, &info->declaration, &out[n].value)) {
            out[n].row_bytes =
                index_row_key(0, index_key_bytes(&out[n].value), r->key, out[n].row).n;
            out[n++].record = r;
        }
        index_document_close(doc);
    }
    qsort(out, n, sizeof *out, by_row);
    return n;
}

static bool wanted(const struct want *w, const struct index_range *r)
{
    const struct bytes v = index_key_bytes(&w->value);
    return bytes_compare(v, index_key_bytes(&r->low)) >= 0 &&
           (r->high.n == 0 || bytes_compare(v, index_key_bytes(&r->high)) < 0);
}

/* In pieces: each scan goes on at the token of the one before. */
static void compare_scan(struct state_snapshot *snap, const struct index_options *options,
                         const struct want *want, size_t n, struct chance *c)
{
    struct index_options o = *options;
    struct state_index_scan *scan;
    struct record r;
    uint8_t token[INDEX_TOKEN_MAX_BYTES];
    must(state_index_open(snap, &o, &scan, &e));
    for (size_t i = 0; i < n; i++) {
        const struct want *w = &want[o.reverse ? n - 1 - i : i];
        if (!wanted(w, &o.range))
            continue;
        must(state_index_next(scan, &r, &e));
        assert_record(&r, w->record);
        if (chance_below(c, 5) != 0)
            continue;
        const struct bytes at = state_index_token(scan);
        memcpy(token, at.p, at.n);
        o.after = bytes_of(token, at.n);
        state_index_close(scan);
        must(state_index_open(snap, &o, &scan, &e));
    }
    must_fail(state_index_next(scan, &r, &e), ERR_NOT_FOUND, "end");
    must_fail(state_index_next(scan, &r, &e), ERR_NOT_FOUND, "end");
    state_index_close(scan);
}

struct look {
    struct model *m;
    struct state_snapshot *snap;
    struct chance *c;
    struct want *want;
    size_t declared, ready, building, dropping, invalid;
};

static void compare_holders(const struct look *l, const struct index_info *info, size_t n)
{
    size_t duplicates = 0;
    for (size_t i = 0; i < n; i++) {
        const struct bytes v = index_key_bytes(&l->want[i].value);
        const bool before = i > 0 && bytes_equal(v, index_key_bytes(&l->want[i - 1].value));
        const bool behind = i + 1 < n && bytes_equal(v, index_key_bytes(&l->want[i + 1].value));
        struct bytes key;
        duplicates += before;
        int rc = state_index_holder(l->snap, info->id, &l->want[i].value, l->want[i].record->key,
                                    &key, NULL);
        assert_int_equal(rc, before || behind ? 0 : ERR_NOT_FOUND);
        if (rc == 0)
            assert_false(bytes_equal(key, l->want[i].record->key));
        assert_int_equal(
            state_index_holder(l->snap, info->id, &l->want[i].value, bytes_str("?"), &key, NULL),
            0);
    }
    struct bytes a, b;
    if (info->declaration.unique)
        assert_int_equal(info->duplicates, duplicates);
    assert_int_equal(state_index_duplicate(l->snap, info->id, &a, &b, NULL),
                     duplicates != 0 ? 0 : ERR_NOT_FOUND);
    if (duplicates != 0)
        assert_false(bytes_equal(a, b));
}

static int look_at(void *arg, const struct index_info *info)
{
    struct look *l = arg;
    l->ready += info->status == INDEX_READY;
    l->building += info->status == INDEX_BUILDING;
    l->dropping += info->status == INDEX_DROPPING;
    l->invalid += info->status == INDEX_INVALID;
    l->declared += info->status != INDEX_DROPPING;
    struct state_index_scan *scan;
    struct index_options o = {.collection = info->collection, .name = info->name};
    if (info->status == INDEX_BUILDING)
        must_fail(state_index_open(l->snap, &o, &scan, &e), ERR_NOT_READY, "is being built here");
    if (info->status == INDEX_INVALID && info->collection.n != 0)
        must_fail(state_index_open(l->snap, &o, &scan, &e), ERR_FORMAT, "\"on\"");
    if (info->status != INDEX_READY)
        return 0;
    const size_t n = model_index(l->m, info, l->want);
    assert_int_equal(info->rows, n);
    compare_scan(l->snap, &o, l->want, n, l->c);
    o.reverse = true;
    compare_scan(l->snap, &o, l->want, n, l->c);
    static const char *const bounds[][4] = {
        {"3", "", "", ""},
        {"", "2", "7", ""},
        {"", "\"s1\"", "", ""},
        {"", "", "true", ""},
        {"", "", "", "s2"},
        {"\"s7\"", "", "", ""},
        {"", "", "", "xxxxxxxxxxxx"},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        must(index_range_parse(
            &o.range, &info->declaration,
            &(struct index_bounds){bytes_str(bounds[i][0]), bytes_str(bounds[i][1]),
                                   bytes_str(bounds[i][2]), bytes_str(bounds[i][3])},
            &e));
        o.reverse = chance_below(l->c, 2) != 0;
        compare_scan(l->snap, &o, l->want, n, l->c);
    }
    compare_holders(l, info, n);
    return 0;
}

static struct look compare(struct model *m, struct state *s, struct chance *c, struct want *want)
{
    struct look l = {.m = m, .c = c, .want = want};
    size_t declared = 0;
    model_compare(m, s); /* with state_verify */
    must(state_snapshot_open(s, &l.snap, &e));
    must(state_indexes(l.snap, (struct bytes){NULL, 0}, look_at, &l, &e));
    state_snapshot_close(l.snap);
    for (size_t i = 0; i < m->record_count; i++)
        declared += bytes_equal(m->records[i].r.collection, bytes_str(INDEXES_COLLECTION));
    assert_int_equal(l.declared, declared);
    return l;
}

/* ---- the test ---- */

static void apply_from(struct state *s, const struct history *h, struct chance *c, size_t from)
{
    for (size_t i = from; i < h->n;) {
        size_t n = 1 + chance_below(c, 30);
        n = n > h->n - i ? h->n - i : n;
        must(state_apply(s, h->v + i, n, &e));
        i += n;
    }
}

static void build_some(struct state *s, struct chance *c, unsigned most)
{
    int rc = 0;
    for (uint32_t n = chance_below(c, most + 1); rc == 0 && n != 0; n--) {
        struct err e = ERR_NONE;
        rc = state_index_step(s, 1 + chance_below(c, 40), NULL, &e);
        if (rc != 0 && rc != ERR_NOT_FOUND)
            fail_msg("%s", e.text);
    }
}

/* A record's row is damaged, and then the record is overwritten: what it stood for in the indexes is not known any more. */
static bool rot_and_overwrite(struct state *s, struct history *h, struct model *m, struct chance *c)
{
    static char value[512];
    static uint8_t copy[1024];
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    const struct record *r = &m->records[chance_below(c, (uint32_t)m->record_count)].r;
    struct collection_row row;
    struct state_txn t;
    if (bytes_equal(r->collection, bytes_str(INDEXES_COLLECTION)))
        return false;
    must(state_write_begin(s, &t, &e));
    must(row_get_collection(&t, r->collection, &row, &e));
    MDB_val k = val_of(row_record_key(row.id, r->key, buffer)), v;
    assert_int_equal(mdb_get(t.txn, t.dbi[DB_RECORDS], &k, &v), 0);
    assert_true(v.mv_size <= sizeof copy);
    memcpy(copy, v.mv_data, v.mv_size);
    copy[v.mv_size - 1] ^= 4;
    v.mv_data = copy;
    assert_int_equal(mdb_put(t.txn, t.dbi[DB_RECORDS], &k, &v, 0), 0);
    struct state_row same = s->row;
    must(state_write_commit(s, &t, &same, &e));
    const struct op op = {OP_PUT, r->collection, r->key, some_value(c, value, sizeof value)};
    history_txn(h, NULL, 0, &op, 1);
    return true;
}

static void restart(struct state **s, const struct state_options *o, bool reset)
{
    if (reset) {
        must(state_reset_to_checkpoint(*s, &e));
        return;
    }
    state_close(*s);
    must(state_open(s, o, &e));
}

static void random_rounds(uint64_t seed, unsigned rounds)
{
    struct history h = {.n = 0};
    struct chance c = {seed};
    struct model m;
    struct state *s;
    char dir[64];
    struct want *want = calloc(MODEL_RECORDS, sizeof *want);
    struct look last = {.m = NULL};
    size_t ready = 0, building = 0, dropping = 0, invalid = 0;
    uint64_t rebuilt = 0;
    assert_non_null(want);
    kit_dir_new(dir);
    struct state_options o = kit_options(dir);
    must(state_open(&s, &o, &e));
    model_init(&m);
    for (unsigned round = 0; round < rounds; round++) {
        const size_t from = h.n;
        if (chance_below(&c, 10) == 0 && m.record_count != 0)
            (void)rot_and_overwrite(s, &h, &m, &c);
        else
            some_entries(&h, &c);
        apply_from(s, &h, &c, from);
        for (size_t i = from; i < h.n; i++)
            model_apply(&m, &h.v[i]);
        struct state_index_trouble trouble;
        state_index_trouble(s, &trouble);
        rebuilt += trouble.rebuilt != 0;
        build_some(s, &c, 6);
        const uint32_t what = chance_below(&c, 12);
        if (what < 2) {
            struct entry_position at;
            must(state_checkpoint_begin(s, &at, &e));
            build_some(s, &c, 2);
            must(state_checkpoint_finish(s, &e));
        } else if (what < 4) {
            restart(&s, &o, what == 3);
            build_some(s, &c, 2);
            apply_from(s, &h, &c, state_applied(s).lsn.v);
        }
        last = compare(&m, s, &c, want);
        ready += last.ready;
        building += last.building;
        dropping += last.dropping;
        invalid += last.invalid;
    }
    while (state_index_step(s, 50, NULL, NULL) == 0) {
    }
    last = compare(&m, s, &c, want);
    assert_int_equal(last.building + last.dropping, 0);
    assert_true(ready != 0 && building != 0 && dropping != 0 && invalid != 0 && rebuilt != 0);
    state_close(s);
    kit_dir_remove(dir);
    model_free(&m);
    history_free(&h);
    free(want);
}

static void every_index_agrees_with_the_model(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= ROUNDS(4, 1); seed++)
        random_rounds(seed, 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_index_agrees_with_the_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
