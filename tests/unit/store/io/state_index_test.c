/* Indexes of a state, case by case: what is declared and what becomes of it, damage of every kind, limits, a full disk, a state
 * built from the archive, and one of the format before. That they answer what they should is in state_index_model_test.c. */
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

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    kit_dir_new(p->dir);
    p->o = kit_options(p->dir);
    must(state_open(&p->s, &p->o, &e));
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    state_close(p->s);
    kit_dir_remove(p->dir);
    history_free(&p->h);
    free(p);
    return 0;
}

static void apply_new(struct place *p)
{
    const size_t from = state_applied(p->s).lsn.v;
    must(state_apply(p->s, p->h.v + from, p->h.n - from, &e));
}

static void put(struct place *p, const char *collection, const char *key, const char *value)
{
    history_put(&p->h, collection, key, value);
    apply_new(p);
}

static void declare(struct place *p, const char *name, const char *json)
{
    put(p, INDEXES_COLLECTION, name, json);
}

static void checkpoint(struct place *p)
{
    struct entry_position at;
    must(state_checkpoint_begin(p->s, &at, &e));
    must(state_checkpoint_finish(p->s, &e));
}

static void build(struct place *p)
{
    int rc = 0;
    for (unsigned i = 0; i < 10000 && rc == 0; i++) {
        struct err e = ERR_NONE;
        rc = state_index_step(p->s, 100, &e);
        if (rc != 0 && rc != ERR_NOT_FOUND)
            fail_msg("%s", e.text);
    }
    assert_int_equal(rc, ERR_NOT_FOUND);
}

/* Records k000... with {"n":0}, ... */
static void fill(struct place *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char key[16], value[64];
        (void)snprintf(key, sizeof key, "k%03u", i);
        (void)snprintf(value, sizeof value, "{\"n\":%u,\"tag\":\"TAG-%03u\"}", i, i);
        history_put(&p->h, "deeds", key, value);
    }
    apply_new(p);
}

static void verify(struct place *p)
{
    struct state_snapshot *snap;
    must(state_snapshot_open(p->s, &snap, &e));
    must(state_verify(snap, &e));
    state_snapshot_close(snap);
}

static void verify_fails(struct place *p, const char *why)
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

static int keep(void *arg, const struct index_info *info)
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

static struct list list(struct place *p, const char *collection)
{
    struct state_snapshot *snap;
    struct list l = {.n = 0};
    must(state_snapshot_open(p->s, &snap, &e));
    must(state_indexes(snap, bytes_str(collection), keep, &l, &e));
    state_snapshot_close(snap);
    return l;
}

/* The only one. */
static struct index_info only(struct place *p)
{
    const struct list l = list(p, "");
    assert_int_equal(l.n, 1);
    return l.v[0].info;
}

static struct index_options deeds_by_n(void)
{
    return (struct index_options){.collection = bytes_str("deeds"), .name = bytes_str("by-n")};
}

/* How many records a scan gives; damage counts as -1000 each, and its last message is kept. */
static int count(struct place *p, char damage[ERR_TEXT_BYTES])
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
        if (rc != 0)
            (void)snprintf(damage, ERR_TEXT_BYTES, "%s", e.text);
    }
    state_index_close(scan);
    state_snapshot_close(snap);
    return n;
}

/* ---- changing rows behind the state's back ---- */

static void commit(struct place *p, struct state_txn *t)
{
    const struct state_row same = p->s->row;
    must(state_write_commit(p->s, t, &same, &e));
}

static void spoil(struct place *p, enum state_db db, struct bytes key, size_t from_end)
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

static struct bytes record_row(struct place *p, const char *collection, const char *key,
                               uint8_t out[RECORD_KEY_MAX_BYTES])
{
    struct collection_row row;
    struct state_txn t;
    must(state_write_begin(p->s, &t, &e));
    must(row_get_collection(&t, bytes_str(collection), &row, &e));
    mdb_txn_abort(t.txn);
    return row_record_key(row.id, bytes_str(key), out);
}

static struct bytes number_row(uint64_t id, double n, const char *key,
                               uint8_t out[INDEX_ROW_KEY_MAX_BYTES])
{
    struct index_key k;
    const struct index_part part = {.kind = INDEX_NUMBER, .number = n};
    index_key_encode(&k, &part, 1);
    return index_row_key(id, index_key_bytes(&k), bytes_str(key), out);
}

static void remove_row(struct place *p, struct bytes key)
{
    struct state_txn t;
    must(state_write_begin(p->s, &t, &e));
    must(row_delete(&t, DB_INDEX, key, &e));
    commit(p, &t);
}

static void add_row(struct place *p, struct bytes key, const char *record)
{
    struct state_txn t;
    bool added;
    must(state_write_begin(p->s, &t, &e));
    must(row_add_index(&t, key, 9, bytes_str(record), &added, &e));
    assert_true(added);
    commit(p, &t);
}

/* ---- declarations ---- */

static void an_index_is_built_and_tells_how_far_it_is(void **state)
{
    struct place *p = *state;
    struct state_snapshot *snap;
    struct state_index_scan *scan;
    struct index_options o = deeds_by_n();
    char damage[ERR_TEXT_BYTES];
    fill(p, 200);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    assert_int_equal(only(p).status, INDEX_BUILDING);
    must(state_index_step(p->s, 100, &e));
    assert_int_equal(only(p).passed, 50); /* each is looked at, and each gives a row */
    assert_int_equal(only(p).records, 200);
    must(state_snapshot_open(p->s, &snap, &e));
    must_fail(state_index_open(snap, &o, &scan, &e), ERR_BUSY,
              "index 'by-n' of collection 'deeds': it is being built here, 50 of about 200 records "
              "are done (25 %)");
    o.name = bytes_str("by-m");
    must_fail(state_index_open(snap, &o, &scan, &e), ERR_NOT_FOUND,
              "'by-m' of collection 'deeds': it is not declared");
    o = deeds_by_n();
    build(p);
    must_fail(state_index_open(snap, &o, &scan, &e), ERR_BUSY, "50 of about 200"); /* as of then */
    state_snapshot_close(snap);
    assert_int_equal(only(p).status, INDEX_READY);
    assert_int_equal(only(p).rows, 200);
    assert_int_equal(count(p, damage), 200);
    history_delete(&p->h, INDEXES_COLLECTION, "deeds/by-n");
    apply_new(p);
    assert_int_equal(only(p).status, INDEX_DROPPING);
    must(state_index_step(p->s, 150, &e));
    assert_int_equal(only(p).rows, 50);
    build(p);
    assert_int_equal(list(p, "").n, 0);
    verify(p);
}

static void a_declaration_that_says_the_same_keeps_the_rows(void **state)
{
    struct place *p = *state;
    fill(p, 20);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"],\"unique\":true}");
    build(p);
    const uint64_t id = only(p).id;
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"],\"unique\":true,\"enforced\":true}");
    assert_int_equal(only(p).id, id);
    assert_int_equal(only(p).status, INDEX_READY);
    assert_int_equal(only(p).declared.v, 22);
    assert_true(only(p).declaration.enforced);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}"); /* its duplicates were not counted the same */
    const struct list l = list(p, "deeds");
    assert_int_equal(l.n, 2);
    assert_int_equal(l.v[0].info.status, INDEX_BUILDING);
    assert_int_not_equal(l.v[0].info.id, id);
    assert_int_equal(l.v[1].info.status, INDEX_DROPPING);
    build(p);
    assert_int_equal(only(p).rows, 20);
    verify(p);
}

static void what_cannot_be_followed_is_listed_with_the_reason(void **state)
{
    struct place *p = *state;
    fill(p, 5);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    declare(p, "deeds/bad", "{\"on\":[\"n\"]}");
    declare(p, "nonsense", "{\"on\":[\"/n\"]}");
    build(p);
    struct list l = list(p, "");
    assert_int_equal(l.n, 3);
    assert_string_equal(l.v[0].name, "deeds/bad");
    assert_int_equal(l.v[0].info.status, INDEX_INVALID);
    assert_non_null(strstr(l.v[0].why, "begins with '/'"));
    assert_int_equal(l.v[1].info.status, INDEX_READY);
    assert_string_equal(l.v[2].name, "/nonsense");
    assert_non_null(strstr(l.v[2].why, "<collection>/<name>"));
    assert_int_equal(list(p, "other").n, 0);
    declare(p, "deeds/bad", "{\"on\":[\"/n\"]}");
    build(p);
    assert_int_equal(list(p, "deeds").v[0].info.status, INDEX_READY);
}

static void a_ninth_index_waits_until_one_is_dropped(void **state)
{
    struct place *p = *state;
    char name[40];
    fill(p, 5);
    assert_int_equal(state_index_count(p->s, bytes_str("deeds")), 0);
    for (unsigned i = 0; i < 9; i++) {
        (void)snprintf(name, sizeof name, "deeds/i%u", i);
        declare(p, name, "{\"on\":[\"/n\"]}");
    }
    assert_int_equal(state_index_count(p->s, bytes_str("deeds")), INDEXES_PER_COLLECTION);
    assert_int_equal(state_index_count(p->s, bytes_str("deed")), 0);
    struct list l = list(p, "deeds");
    assert_int_equal(l.n, 9);
    assert_int_equal(l.v[8].info.status, INDEX_INVALID);
    assert_non_null(strstr(l.v[8].why, "has 8 indexes"));
    history_delete(&p->h, INDEXES_COLLECTION, "deeds/i3");
    apply_new(p);
    build(p);
    l = list(p, "deeds");
    assert_int_equal(l.n, 8);
    for (size_t i = 0; i < l.n; i++)
        assert_int_equal(l.v[i].info.status, INDEX_READY);
    verify(p);
    state_close(p->s); /* counted again at open */
    must(state_open(&p->s, &p->o, &e));
    assert_int_equal(state_index_count(p->s, bytes_str("deeds")), 0);
    apply_new(p);
    assert_int_equal(state_index_count(p->s, bytes_str("deeds")), 8);
}

/* ---- batches ---- */

static size_t last_txn(struct place *p)
{
    MDB_envinfo info;
    assert_int_equal(mdb_env_info(p->s->env, &info), 0);
    return info.me_last_txnid;
}

static void large_txn(struct place *p, uint32_t ops)
{
    struct op *v = calloc(ops, sizeof *v);
    char(*key)[16] = calloc(ops, sizeof *key);
    assert_true(v != NULL && key != NULL);
    for (uint32_t i = 0; i < ops; i++) {
        int n = snprintf(key[i], sizeof key[i], "m%07u", i);
        v[i] = (struct op){OP_PUT, bytes_str("deeds"), bytes_of(key[i], (size_t)n),
                           bytes_str("{\"n\":1}")};
    }
    history_txn(&p->h, NULL, 0, v, ops);
    free(v);
    free(key);
}

static void rows_of_indexes_count_in_the_size_of_a_batch(void **state)
{
    struct place *p = *state;
    char name[40];
    for (unsigned i = 0; i < 8; i++) {
        (void)snprintf(name, sizeof name, "deeds/i%u", i);
        declare(p, name, "{\"on\":[\"/n\"]}");
    }
    build(p);
    for (unsigned i = 0; i < 4; i++)
        large_txn(p, 1500); /* weighs 1,500 * 17 */
    size_t before = last_txn(p);
    apply_new(p);
    assert_int_equal(last_txn(p) - before, 4);
    struct state_index_trouble trouble;
    state_index_trouble(p->s, &trouble);
    assert_int_equal(trouble.rebuilt, 0);
    /* One that is too large for one transaction of LMDB is applied all the same; the indexes are built anew. */
    large_txn(p, 4000);
    apply_new(p);
    state_index_trouble(p->s, &trouble);
    assert_int_equal(trouble.rebuilt, 8);
    assert_non_null(strstr(trouble.last, "more of its rows than can be done at once"));
    build(p);
    assert_int_equal(list(p, "").v[7].info.rows, 4000);
    verify(p);
}

static void a_batch_that_finds_no_space_leaves_the_indexes_as_they_were(void **state)
{
    struct place *p = *state;
    char key[16], name[40];
    static char value[9000];
    unsigned failed = 0;
    state_close(p->s);
    p->o.map_bytes = 3u << 20;
    p->o.history_us = 0;
    must(state_open(&p->s, &p->o, &e));
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"],\"unique\":true}");
    build(p);
    memset(value, 'x', sizeof value - 1);
    for (unsigned i = 0; i < 400; i++) {
        for (unsigned k = 0; k < 4; k++) {
            (void)snprintf(key, sizeof key, "k%02u", (i + k) % 30);
            int n = snprintf(value, 40, "{\"n\":%u,\"x\":\"", i % 50);
            value[n] = 'x';
            memcpy(value + sizeof value - 3, "\"}", 3);
            history_put(&p->h, "deeds", key, value);
        }
        (void)snprintf(name, sizeof name, "deeds/i%u", i % 5);
        if (i % 3 == 0)
            history_put(&p->h, INDEXES_COLLECTION, name,
                        i % 2 ? "{\"on\":[\"/n\"]}" : "{\"on\":[\"/n\",\"/x\"]}");
        for (;;) {
            const size_t from = state_applied(p->s).lsn.v;
            struct err e = ERR_NONE;
            int rc = state_apply(p->s, p->h.v + from, p->h.n - from, &e);
            if (rc == 0)
                rc = state_index_step(p->s, 40, &e);
            if (rc == 0 || rc == ERR_NOT_FOUND)
                break;
            assert_int_equal(rc, ERR_NO_SPACE);
            assert_true(++failed < 2000);
            verify(p); /* by what is committed */
            checkpoint(p);
        }
    }
    assert_true(failed > 3);
    verify(p);
    const struct list l = list(p, "deeds");
    assert_int_equal(state_index_count(p->s, bytes_str("deeds")), 6);
    assert_true(l.n >= 6);
}

/* ---- damage ---- */

static void a_build_waits_for_a_damaged_record_and_goes_on_when_it_is_repaired(void **state)
{
    struct place *p = *state;
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    char damage[ERR_TEXT_BYTES];
    fill(p, 50);
    put(p, "other", "k", "{\"n\":1}");
    spoil(p, DB_RECORDS, record_row(p, "deeds", "k030", buffer), 5);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    declare(p, "other/by-n", "{\"on\":[\"/n\"]}");
    int rc = 0;
    struct err why = ERR_NONE;
    for (unsigned i = 0; i < 100 && rc == 0; i++)
        rc = state_index_step(p->s, 10, &why);
    assert_int_equal(rc, ERR_INTEGRITY);
    assert_non_null(strstr(why.text, "'k030' of collection 'deeds'"));
    assert_int_equal(list(p, "deeds").v[0].info.passed, 30);
    assert_int_equal(list(p, "other").v[0].info.status, INDEX_READY);
    const struct record whole = {.collection = bytes_str("deeds"),
                                 .key = bytes_str("k030"),
                                 .value = bytes_str("{\"n\":30,\"tag\":\"TAG-030\"}"),
                                 .lsn = {31},
                                 .time = p->h.v[30].header.time};
    must(state_repair_record(p->s, &whole, &e));
    build(p);
    assert_int_equal(count(p, damage), 50);
    verify(p);
}

static void a_repaired_record_has_its_rows(void **state)
{
    struct place *p = *state;
    uint8_t buffer[RECORD_KEY_MAX_BYTES], row[INDEX_ROW_KEY_MAX_BYTES];
    char damage[ERR_TEXT_BYTES];
    fill(p, 50);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    build(p);
    spoil(p, DB_RECORDS, record_row(p, "deeds", "k030", buffer), 5);
    assert_int_equal(count(p, damage), 49 - 1000);
    assert_non_null(strstr(damage, "record 'k030' of collection 'deeds' is damaged"));
    remove_row(p, number_row(only(p).id, 30, "k030", row));
    p->s->catalog.v[0].rows--;
    const struct record whole = {.collection = bytes_str("deeds"),
                                 .key = bytes_str("k030"),
                                 .value = bytes_str("{\"n\":30,\"tag\":\"TAG-030\"}"),
                                 .lsn = {31},
                                 .time = p->h.v[30].header.time};
    must(state_repair_record(p->s, &whole, &e));
    assert_int_equal(count(p, damage), 50);
    verify(p);
}

static void a_row_that_was_missing_has_the_index_built_anew(void **state)
{
    struct place *p = *state;
    uint8_t row[INDEX_ROW_KEY_MAX_BYTES];
    char damage[ERR_TEXT_BYTES];
    struct state_index_trouble trouble;
    fill(p, 50);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    build(p);
    const uint64_t id = only(p).id;
    remove_row(p, number_row(id, 30, "k030", row));
    verify_fails(p, "has 49 rows, kept are 50");
    put(p, "deeds", "k030", "{\"n\":1000}");
    state_index_trouble(p->s, &trouble);
    assert_int_equal(trouble.rebuilt, 1);
    assert_non_null(strstr(trouble.last,
                           "index 'by-n' of collection 'deeds' is built anew: a row was missing"));
    assert_int_equal(list(p, "").v[0].info.status, INDEX_BUILDING);
    build(p);
    assert_int_not_equal(only(p).id, id);
    assert_int_equal(count(p, damage), 50);
    verify(p);
}

static void a_row_that_lies_is_named_by_the_scan_and_by_verify(void **state)
{
    struct place *p = *state;
    uint8_t row[INDEX_ROW_KEY_MAX_BYTES];
    char damage[ERR_TEXT_BYTES];
    fill(p, 10);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"],\"unique\":true}");
    build(p);
    const uint64_t id = only(p).id;
    add_row(p, number_row(id, 77, "k003", row), "k003");
    assert_int_equal(count(p, damage), 10 - 1000);
    assert_non_null(strstr(
        damage,
        "index 'by-n' of collection 'deeds' has a row for record 'k003', which has another value"));
    verify_fails(p, "has 11 rows, kept are 10");
    remove_row(p, number_row(id, 3, "k003", row)); /* now the number is right */
    verify_fails(p, "lacks a row for record k003");
    add_row(p, number_row(id, 3, "k003", row), "k003");
    remove_row(p, number_row(id, 77, "k003", row));
    verify(p);
    add_row(p, number_row(id, 5, "gone", row), "gone");
    assert_int_equal(count(p, damage), 10 - 1000);
    assert_non_null(strstr(damage, "'gone', which is not there"));
    remove_row(p, number_row(id, 5, "gone", row));
    add_row(p, number_row(id + 1, 5, "k005", row), "k005");
    verify_fails(p, "1 rows belong to no index");
}

static void on_found(void *arg, const struct finding *f)
{
    (void)snprintf(arg, ERR_TEXT_BYTES, "%s: %s", finding_kind_name(f->kind), f->text);
}

struct found_row {
    char database[20];
    uint8_t key[600];
    size_t key_bytes;
    unsigned n;
};

static void on_found_row(void *arg, const struct finding *f)
{
    struct found_row *r = arg;
    assert_int_equal(f->kind, FINDING_ROW);
    (void)snprintf(r->database, sizeof r->database, "%.*s", (int)f->collection.n,
                   (const char *)f->collection.p);
    memcpy(r->key, f->key.p, f->key.n);
    r->key_bytes = f->key.n;
    r->n++;
}

static struct found_row walk_rows(struct place *p)
{
    struct found_row found = {.n = 0};
    const struct finding_sink sink = {on_found_row, NULL, &found};
    struct state_rows_walk w = {.db = 0};
    struct state_snapshot *snap;
    size_t bytes;
    int rc = 0;
    must(state_snapshot_open(p->s, &snap, &e));
    for (unsigned i = 0; i < 10000 && rc == 0; i++)
        rc = state_rows_step(snap, &w, 300, &sink, &bytes, NULL);
    assert_int_equal(rc, ERR_NOT_FOUND);
    state_snapshot_close(snap);
    return found;
}

static void check_offline(struct place *p, const char *says)
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

static void a_damaged_row_is_found_and_its_index_built_anew(void **state)
{
    struct place *p = *state;
    uint8_t row[INDEX_ROW_KEY_MAX_BYTES], key[INDEX_CATALOG_KEY_MAX_BYTES];
    char damage[ERR_TEXT_BYTES];
    fill(p, 50);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    build(p);
    assert_int_equal(walk_rows(p).n, 0);
    check_offline(p, "");
    const uint64_t id = only(p).id;
    spoil(p, DB_INDEX, number_row(id, 30, "k030", row), 1);
    assert_int_equal(count(p, damage), 49 - 1000);
    assert_non_null(strstr(damage, "of index: checksum mismatch"));
    verify_fails(p, "checksum mismatch");
    check_offline(p, "row: state: row ");
    struct found_row found = walk_rows(p);
    assert_int_equal(found.n, 1);
    assert_string_equal(found.database, "index");
    must(state_index_rebuild(p->s, bytes_str(found.database), bytes_of(found.key, found.key_bytes),
                             &e));
    assert_int_equal(state_index_rebuild(p->s, bytes_str(found.database),
                                         bytes_of(found.key, found.key_bytes), NULL),
                     ERR_NOT_FOUND);
    build(p);
    assert_int_equal(count(p, damage), 50);
    verify(p);
    check_offline(p, "");
    /* Of the catalog: while the site runs, its memory knows. */
    spoil(p, DB_INDEXES, row_catalog_key(bytes_str("deeds"), bytes_str("by-n"), only(p).id, key),
          1);
    assert_int_equal(list(p, "").v[0].info.status, INDEX_INVALID);
    verify_fails(p, "of indexes: it cannot be read");
    check_offline(p, "row: state: row ");
    found = walk_rows(p);
    assert_string_equal(found.database, "indexes");
    must(state_index_rebuild(p->s, bytes_str(found.database), bytes_of(found.key, found.key_bytes),
                             &e));
    build(p);
    assert_int_equal(count(p, damage), 50);
    verify(p);
    assert_int_equal(state_index_rebuild(p->s, bytes_str("points"), bytes_str("x"), NULL),
                     ERR_NOT_FOUND);
}

static void a_damaged_row_of_the_catalog_is_given_up_at_the_next_open(void **state)
{
    struct place *p = *state;
    uint8_t key[INDEX_CATALOG_KEY_MAX_BYTES];
    char damage[ERR_TEXT_BYTES];
    fill(p, 50);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    build(p);
    const uint64_t id = only(p).id;
    spoil(p, DB_INDEXES, row_catalog_key(bytes_str("deeds"), bytes_str("by-n"), id, key), 1);
    checkpoint(p);
    state_close(p->s);
    must(state_open(&p->s, &p->o, &e));
    assert_int_equal(list(p, "").n, 2);
    build(p);
    assert_int_not_equal(only(p).id, id);
    assert_int_equal(count(p, damage), 50);
    verify(p);
}

static void a_damaged_declaration_leaves_its_index_alone(void **state)
{
    struct place *p = *state;
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    char damage[ERR_TEXT_BYTES];
    fill(p, 10);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    build(p);
    spoil(p, DB_RECORDS, record_row(p, INDEXES_COLLECTION, "deeds/by-n", buffer), 3);
    declare(p, "deeds/by-tag", "{\"on\":[\"/tag\"]}");
    build(p);
    assert_int_equal(count(p, damage), 10);
    assert_int_equal(list(p, "").v[0].info.status, INDEX_READY);
    assert_int_equal(list(p, "").v[1].info.status, INDEX_READY);
}

static void rows_that_are_counted_wrong_are_found_in_a_file(void **state)
{
    struct place *p = *state;
    uint8_t row[INDEX_ROW_KEY_MAX_BYTES];
    fill(p, 20);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    build(p);
    remove_row(p, number_row(only(p).id, 7, "k007", row));
    check_offline(p, "sum: index 'by-n' of collection 'deeds' has 19 rows, kept are 20");
}

/* ---- other ways to come by a state ---- */

static void a_state_built_from_records_builds_what_they_declare(void **state)
{
    struct place *p = *state;
    struct state_build *b;
    char key[16], value[40], damage[ERR_TEXT_BYTES];
    must(state_build_begin(p->s, &b, &e));
    const struct record declared = {.collection = bytes_str(INDEXES_COLLECTION),
                                    .key = bytes_str("deeds/by-n"),
                                    .value = bytes_str("{\"on\":[\"/n\"]}"),
                                    .lsn = {5}};
    must(state_build_record(b, &declared, &e));
    for (unsigned i = 0; i < 30; i++) {
        (void)snprintf(key, sizeof key, "k%03u", i);
        (void)snprintf(value, sizeof value, "{\"n\":%u}", i % 7);
        const struct record r = {.collection = bytes_str("deeds"),
                                 .key = bytes_str(key),
                                 .value = bytes_str(value),
                                 .lsn = {6 + i}};
        must(state_build_record(b, &r, &e));
    }
    must(state_build_end(b, &(struct entry_position){.lsn = {100}, .term = {1}, .time = {5}},
                         COMMIT_MAJORITY, &e));
    assert_int_equal(only(p).status, INDEX_BUILDING);
    assert_int_equal(state_index_count(p->s, bytes_str("deeds")), 1);
    state_close(p->s);
    must(state_open(&p->s, &p->o, &e));
    assert_int_equal(only(p).status, INDEX_BUILDING);
    build(p);
    assert_int_equal(count(p, damage), 30);
    verify(p);
}

static void a_state_of_the_format_before_is_taken_up(void **state)
{
    struct place *p = *state;
    static uint8_t copy[ROW_MAX_BYTES];
    struct state_txn t;
    MDB_val k = val_of(bytes_str("state")), v;
    struct entry_position at;
    char text[ERR_TEXT_BYTES] = "";
    struct state_check_totals totals;
    const struct finding_sink sink = {on_found, NULL, text};
    fill(p, 10);
    checkpoint(p);
    must(state_write_begin(p->s, &t, &e));
    assert_int_equal(mdb_drop(t.txn, t.dbi[DB_INDEXES], 1), 0);
    assert_int_equal(mdb_drop(t.txn, t.dbi[DB_INDEX], 1), 0);
    assert_int_equal(mdb_get(t.txn, t.dbi[DB_META], &k, &v), 0);
    memcpy(copy, v.mv_data, v.mv_size);
    put_le16(copy + 4, 2);
    put_le32(copy,
             hash_crc32c(hash_crc32c(0, bytes_str("state")), bytes_of(copy + 4, v.mv_size - 4)));
    v.mv_data = copy;
    assert_int_equal(mdb_put(t.txn, t.dbi[DB_META], &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(t.txn), 0);
    must(state_checkpoint_begin(p->s, &at, &e));
    must(state_checkpoint_finish(p->s, &e));
    int fd = open(p->dir, O_RDONLY | O_DIRECTORY);
    must(state_check(fd, &sink, &totals, &e));
    (void)close(fd);
    assert_string_equal(text, "");
    state_close(p->s);
    must(state_open(&p->s, &p->o, &e));
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    build(p);
    assert_int_equal(count(p, text), 10);
    check_offline(p, "");
    verify(p);
}

static void a_token_that_is_none_is_refused_and_a_strange_one_only_moves_the_scan(void **state)
{
    struct place *p = *state;
    static uint8_t token[INDEX_TOKEN_MAX_BYTES + 1];
    struct state_snapshot *snap;
    struct state_index_scan *scan;
    struct record r;
    struct index_options o = deeds_by_n();
    fill(p, 10);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    declare(p, "deeds/by-tag", "{\"on\":[\"/tag\"]}"); /* rows beside those of the first */
    build(p);
    must(state_snapshot_open(p->s, &snap, &e));
    o.after = bytes_of(token, sizeof token);
    must_fail(state_index_open(snap, &o, &scan, &e), ERR_USAGE, "of no index scan");
    for (unsigned reverse = 0; reverse < 2; reverse++)
        for (unsigned fill_with = 0; fill_with < 256; fill_with += 51) {
            memset(token, (int)fill_with, sizeof token);
            o.after = bytes_of(token, sizeof token - 1);
            o.reverse = reverse != 0;
            must(state_index_open(snap, &o, &scan, &e));
            assert_int_equal(state_index_token(scan).n, sizeof token - 1);
            int rc = 0, n = -1;
            for (; rc == 0; n++)
                rc = state_index_next(scan, &r, NULL);
            assert_int_equal(rc, ERR_NOT_FOUND);
            assert_int_equal(n, (fill_with == 0) == !reverse ? 10 : 0);
            state_index_close(scan);
        }
    state_snapshot_close(snap);
}

#define with_place(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_place(an_index_is_built_and_tells_how_far_it_is),
        with_place(a_declaration_that_says_the_same_keeps_the_rows),
        with_place(what_cannot_be_followed_is_listed_with_the_reason),
        with_place(a_ninth_index_waits_until_one_is_dropped),
        with_place(rows_of_indexes_count_in_the_size_of_a_batch),
        with_place(a_batch_that_finds_no_space_leaves_the_indexes_as_they_were),
        with_place(a_build_waits_for_a_damaged_record_and_goes_on_when_it_is_repaired),
        with_place(a_repaired_record_has_its_rows),
        with_place(a_row_that_was_missing_has_the_index_built_anew),
        with_place(a_row_that_lies_is_named_by_the_scan_and_by_verify),
        with_place(a_damaged_row_is_found_and_its_index_built_anew),
        with_place(a_damaged_row_of_the_catalog_is_given_up_at_the_next_open),
        with_place(a_damaged_declaration_leaves_its_index_alone),
        with_place(rows_that_are_counted_wrong_are_found_in_a_file),
        with_place(a_state_built_from_records_builds_what_they_declare),
        with_place(a_state_of_the_format_before_is_taken_up),
        with_place(a_token_that_is_none_is_refused_and_a_strange_one_only_moves_the_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
