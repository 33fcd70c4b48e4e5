/* What the tests of a state's indexes share: a state with one kind of records, declarations on them, and ways to spoil rows. */
#ifndef TESTS_STATE_INDEX_KIT_H
#define TESTS_STATE_INDEX_KIT_H

#include "state_kit.h"

#include "store/core/hash.h"
#include "store/finding.h"
#include "store/io/state_check.h"
#include "store/io/state_index.h"

struct place {
    char dir[64];
    struct history h;
    struct state_options o;
    struct state *s;
};

static inline int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    kit_dir_new(p->dir);
    p->o = kit_options(p->dir);
    must(state_open(&p->s, &p->o, &e));
    *state = p;
    return 0;
}

static inline int tear_down(void **state)
{
    struct place *p = *state;
    state_close(p->s);
    kit_dir_remove(p->dir);
    history_free(&p->h);
    free(p);
    return 0;
}

static inline void apply_new(struct place *p)
{
    const size_t from = state_applied(p->s).lsn.v;
    must(state_apply(p->s, p->h.v + from, p->h.n - from, &e));
}

static inline void put(struct place *p, const char *collection, const char *key, const char *value)
{
    history_put(&p->h, collection, key, value);
    apply_new(p);
}

static inline void declare(struct place *p, const char *name, const char *json)
{
    put(p, INDEXES_COLLECTION, name, json);
}

static inline void checkpoint(struct place *p)
{
    struct entry_position at;
    must(state_checkpoint_begin(p->s, &at, &e));
    must(state_checkpoint_finish(p->s, &e));
}

static inline void build(struct place *p)
{
    int rc = 0;
    for (unsigned i = 0; i < 10000 && rc == 0; i++) {
        struct err e = ERR_NONE;
        rc = state_index_step(p->s, 100, NULL, &e);
        if (rc != 0 && rc != ERR_NOT_FOUND)
            fail_msg("%s", e.text);
    }
    assert_int_equal(rc, ERR_NOT_FOUND);
}

/* Records k000... with {"n":0}, ... */
static inline void fill(struct place *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char key[16], value[64];
        (void)snprintf(key, sizeof key, "k%03u", i);
        (void)snprintf(value, sizeof value, "{\"n\":%u,\"tag\":\"TAG-%03u\"}", i, i);
        history_put(&p->h, "deeds", key, value);
    }
    apply_new(p);
}

static inline void verify(struct place *p)
{
    struct state_snapshot *snap;
    must(state_snapshot_open(p->s, &snap, &e));
    must(state_verify(snap, &e));
    state_snapshot_close(snap);
}

static inline void verify_fails(struct place *p, const char *why)
{
    struct state_snapshot *snap;
    must(state_snapshot_open(p->s, &snap, &e));
    must_fail(state_verify(snap, &e), ERR_INTEGRITY, why);
    state_snapshot_close(snap);
}

struct listed {
    struct index_info info;
    char name[100], why[ERR_TEXT_BYTES];
};
struct list {
    struct listed v[40];
    size_t n;
};

static inline int keep(void *arg, const struct index_info *info)
{
    struct list *l = arg;
    struct listed *x = &l->v[l->n++];
    assert_true(l->n <= 40);
    x->info = *info;
    (void)snprintf(x->name, sizeof x->name, "%.*s/%.*s", (int)info->collection.n,
                   (const char *)info->collection.p, (int)info->name.n, (const char *)info->name.p);
    (void)snprintf(x->why, sizeof x->why, "%s", info->why);
    return 0;
}

static inline struct list list(struct place *p, const char *collection)
{
    struct state_snapshot *snap;
    struct list l = {.n = 0};
    must(state_snapshot_open(p->s, &snap, &e));
    must(state_indexes(snap, bytes_str(collection), keep, &l, &e));
    state_snapshot_close(snap);
    return l;
}

/* The only one. */
static inline struct index_info only(struct place *p)
{
    const struct list l = list(p, "");
    assert_int_equal(l.n, 1);
    return l.v[0].info;
}

static inline struct index_options deeds_by_n(void)
{
    return (struct index_options){.collection = bytes_str("deeds"), .name = bytes_str("by-n")};
}

/* How many records a scan gives; damage counts as -1000 each, and its last message is kept. */
static uint64_t count_blamed; /* by the last damage */
static inline int count(struct place *p, char damage[ERR_TEXT_BYTES])
{
    struct state_snapshot *snap;
    struct state_index_scan *scan;
    struct record r;
    const struct index_options o = deeds_by_n();
    int n = 0;
    must(state_snapshot_open(p->s, &snap, &e));
    must(state_index_open(snap, &o, &scan, &e));
    for (;;) {
        struct err e = ERR_NONE;
        int rc = state_index_next(scan, &r, &e);
        if (rc == ERR_NOT_FOUND)
            break;
        assert_true(rc == 0 || rc == ERR_INTEGRITY);
        n += rc == 0 ? 1 : -1000;
        if (rc == 0)
            continue;
        (void)snprintf(damage, ERR_TEXT_BYTES, "%s", e.text);
        count_blamed = state_index_blamed(scan);
    }
    state_index_close(scan);
    state_snapshot_close(snap);
    return n;
}

/* ---- changing rows behind the state's back ---- */

static inline void commit(struct place *p, struct state_txn *t)
{
    const struct state_row same = p->s->row;
    must(state_write_commit(p->s, t, &same, &e));
}

static inline void spoil(struct place *p, enum state_db db, struct bytes key, size_t from_end)
{
    static uint8_t copy[4096];
    struct state_txn t;
    MDB_val k = val_of(key), v;
    must(state_write_begin(p->s, &t, &e));
    assert_int_equal(mdb_get(t.txn, t.dbi[db], &k, &v), 0);
    memcpy(copy, v.mv_data, v.mv_size);
    copy[v.mv_size - from_end] ^= 1;
    v.mv_data = copy;
    assert_int_equal(mdb_put(t.txn, t.dbi[db], &k, &v, 0), 0);
    commit(p, &t);
}

static inline struct bytes record_row(struct place *p, const char *collection, const char *key,
                                      uint8_t out[RECORD_KEY_MAX_BYTES])
{
    struct collection_row row;
    struct state_txn t;
    must(state_write_begin(p->s, &t, &e));
    must(row_get_collection(&t, bytes_str(collection), &row, &e));
    mdb_txn_abort(t.txn);
    return row_record_key(row.id, bytes_str(key), out);
}

static inline struct bytes number_row(uint64_t id, double n, const char *key,
                                      uint8_t out[INDEX_ROW_KEY_MAX_BYTES])
{
    struct index_key k;
    const struct index_part part = {.kind = INDEX_NUMBER, .number = n};
    index_key_encode(&k, &part, 1);
    return index_row_key(id, index_key_bytes(&k), bytes_str(key), out);
}

static inline void remove_row(struct place *p, struct bytes key)
{
    struct state_txn t;
    must(state_write_begin(p->s, &t, &e));
    must(row_delete(&t, DB_INDEX, key, &e));
    commit(p, &t);
}

static inline void add_row(struct place *p, struct bytes key, const char *record)
{
    struct state_txn t;
    bool added;
    must(state_write_begin(p->s, &t, &e));
    must(row_add_index(&t, key, 9, bytes_str(record), &added, &e));
    assert_true(added);
    commit(p, &t);
}

/* ---- checking the file ---- */

static inline void on_found(void *arg, const struct finding *f)
{
    (void)snprintf(arg, ERR_TEXT_BYTES, "%s: %s", finding_kind_name(f->kind), f->text);
}

static inline void check_offline(struct place *p, const char *says)
{
    char text[ERR_TEXT_BYTES] = "";
    struct state_check_totals totals;
    const struct finding_sink sink = {on_found, NULL, text};
    int fd = open(p->dir, O_RDONLY | O_DIRECTORY);
    checkpoint(p);
    must(state_check(fd, &sink, &totals, &e));
    (void)close(fd);
    if (says[0] == '\0' ? text[0] != '\0' : strstr(text, says) == NULL)
        fail_msg("'%s' where '%s' was expected", text, says);
}

#define with_place(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
