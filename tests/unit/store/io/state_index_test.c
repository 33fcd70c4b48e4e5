/* Indexes of a state, case by case: what is declared and what becomes of it, limits, a full disk, a state built from the archive,
 * and one of the format before. That they answer what they should is in state_index_model_test.c. */
#include "state_index_kit.h"

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
    must(state_index_step(p->s, 100, NULL, &e));
    assert_int_equal(only(p).passed, 50); /* each is looked at, and each gives a row */
    assert_int_equal(only(p).records, 200);
    must(state_snapshot_open(p->s, &snap, &e));
    must_fail(state_index_open(snap, &o, &scan, &e), ERR_NOT_READY,
              "index 'by-n' of collection 'deeds': it is being built here, 50 of about 200 records "
              "are done (25 %)");
    o.name = bytes_str("by-m");
    must_fail(state_index_open(snap, &o, &scan, &e), ERR_NOT_FOUND,
              "'by-m' of collection 'deeds': it is not declared");
    o = deeds_by_n();
    build(p);
    must_fail(state_index_open(snap, &o, &scan, &e), ERR_NOT_READY,
              "50 of about 200"); /* as of then */
    state_snapshot_close(snap);
    assert_int_equal(only(p).status, INDEX_READY);
    assert_int_equal(only(p).rows, 200);
    assert_int_equal(count(p, damage), 200);
    history_delete(&p->h, INDEXES_COLLECTION, "deeds/by-n");
    apply_new(p);
    assert_int_equal(only(p).status, INDEX_DROPPING);
    must(state_index_step(p->s, 150, NULL, &e));
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
                rc = state_index_step(p->s, 40, NULL, &e);
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
    must(state_checkpoint_finish(p->s, &e));
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

/* The token of the first record of a scan; returns its size. */
static size_t token_of_first(struct state_snapshot *snap, const struct index_options *options,
                             uint8_t token[INDEX_TOKEN_MAX_BYTES])
{
    struct index_options o = *options;
    struct state_index_scan *scan;
    struct record r;
    o.after = (struct bytes){NULL, 0};
    must(state_index_open(snap, &o, &scan, &e));
    assert_int_equal(state_index_token(scan).n, 0);
    must(state_index_next(scan, &r, &e));
    const struct bytes at = state_index_token(scan);
    memcpy(token, at.p, at.n);
    state_index_close(scan);
    return at.n;
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
    token_of_first(snap, &o, token);
    o.after = bytes_of(token, INDEX_TOKEN_TAG_BYTES);
    must_fail(state_index_open(snap, &o, &scan, &e), ERR_USAGE, "of no index scan");
    for (unsigned reverse = 0; reverse < 2; reverse++)
        for (unsigned fill_with = 0; fill_with < 256; fill_with += 51) {
            memset(token + INDEX_TOKEN_TAG_BYTES, (int)fill_with,
                   sizeof token - INDEX_TOKEN_TAG_BYTES);
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

/* 0 with how many records come behind the token; or the error. */
static int go_on(struct place *p, const struct index_options *o, int *records)
{
    struct state_snapshot *snap;
    struct state_index_scan *scan;
    struct record r;
    struct err why = ERR_NONE;
    *records = 0;
    must(state_snapshot_open(p->s, &snap, &e));
    int rc = state_index_open(snap, o, &scan, &why);
    if (rc == 0) {
        while (state_index_next(scan, &r, &why) == 0)
            (*records)++;
        state_index_close(scan);
    } else if (rc == ERR_USAGE) {
        assert_non_null(strstr(why.text, "is of another index, or of this one when"));
    }
    state_snapshot_close(snap);
    return rc;
}

/* A token is good where its place means the same: the same name on the same fields, however often the index is built. */
static void a_token_is_of_one_index(void **state)
{
    struct place *p = *state;
    uint8_t token[INDEX_TOKEN_MAX_BYTES];
    struct state_snapshot *snap;
    struct index_options o = deeds_by_n();
    int n;
    fill(p, 10);
    put(p, "other", "k", "{\"n\":1}");
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    declare(p, "deeds/by-m", "{\"on\":[\"/n\"]}");
    declare(p, "other/by-n", "{\"on\":[\"/n\"]}");
    build(p);
    must(state_snapshot_open(p->s, &snap, &e));
    o.after = bytes_of(token, token_of_first(snap, &o, token));
    state_snapshot_close(snap);
    assert_int_equal(go_on(p, &o, &n), 0);
    assert_int_equal(n, 9);
    o.name = bytes_str("by-m");
    assert_int_equal(go_on(p, &o, &n), ERR_USAGE);
    o = (struct index_options){bytes_str("other"), bytes_str("by-n"), .after = o.after};
    assert_int_equal(go_on(p, &o, &n), ERR_USAGE);
    o.collection = bytes_str("deeds");
    /* Built anew; dropped and declared again; unique as well. */
    must(state_index_rebuild(p->s, 1, &e));
    build(p);
    assert_int_equal(go_on(p, &o, &n), 0);
    history_delete(&p->h, INDEXES_COLLECTION, "deeds/by-n");
    apply_new(p);
    assert_int_equal(go_on(p, &o, &n), ERR_NOT_FOUND);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"],\"unique\":true}");
    build(p);
    assert_int_equal(go_on(p, &o, &n), 0);
    assert_int_equal(n, 9);
    /* On other fields its place means something else: also on those that only look alike when written in a row. */
    static const char *const others[] = {"{\"on\":[\"/tag\"]}", "{\"on\":[\"/n\",\"/tag\"]}",
                                         "{\"on\":[\"\",\"/n\"]}"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        declare(p, "deeds/by-n", others[i]);
        build(p);
        assert_int_equal(go_on(p, &o, &n), ERR_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_place(an_index_is_built_and_tells_how_far_it_is),
        with_place(a_declaration_that_says_the_same_keeps_the_rows),
        with_place(what_cannot_be_followed_is_listed_with_the_reason),
        with_place(a_ninth_index_waits_until_one_is_dropped),
        with_place(rows_of_indexes_count_in_the_size_of_a_batch),
        with_place(a_batch_that_finds_no_space_leaves_the_indexes_as_they_were),
        with_place(a_state_built_from_records_builds_what_they_declare),
        with_place(a_state_of_the_format_before_is_taken_up),
        with_place(a_token_that_is_none_is_refused_and_a_strange_one_only_moves_the_scan),
        with_place(a_token_is_of_one_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
