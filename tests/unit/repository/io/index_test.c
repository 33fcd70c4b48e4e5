/* Indexes of keys: what is found through them is what a walk through every entry finds, whatever is missing or damaged. */
#include "tests/unit/repository/fixture.h"

#include "repository/core/keyref.h"
#include "repository/history.h"

/* ---- the truth: every entry of the feed, decoded ---- */

struct version {
    uint64_t lsn;
    enum op_kind kind;
    size_t value_bytes;
};

static size_t true_versions(const struct feed *f, const char *collection, const char *key,
                            uint64_t from, uint64_t to, struct version *out, size_t cap)
{
    size_t n = 0;
    for (size_t at = 0; at < f->mark;) {
        struct entry_view v;
        struct body_txn txn;
        struct op op;
        size_t used;
        assert_int_equal(entry_decode(bytes_of(f->p + at, f->n - at), &v, &used, NULL), 0);
        at += used;
        if (v.header.lsn.v < from || v.header.lsn.v > to ||
            evidence_op(&v, bytes_str(collection), bytes_str(key), &txn, &op, NULL) != 0)
            continue;
        assert_true(n < cap);
        out[n++] = (struct version){v.header.lsn.v, op.kind, op.value.n};
    }
    return n;
}

/* ---- what the archive says ---- */

struct told {
    struct version at[4096];
    size_t n, limit;
};

static int take(void *arg, const struct evidence *v)
{
    struct told *t = arg;
    assert_true(t->n < 4096);
    t->at[t->n++] = (struct version){v->entry.header.lsn.v, v->op.kind, v->op.value.n};
    return t->n == t->limit ? 77 : 0;
}

static int ask(struct repository *r, const char *collection, const char *key, uint64_t from,
               uint64_t to, struct told *t, struct err *e)
{
    const struct repository_query q = {
        .collection = bytes_str(collection), .key = bytes_str(key), .from = {from}, .to = {to}};
    t->n = 0;
    t->limit = 0;
    return repository_history(r, &q, take, t, e);
}

static void assert_history(struct repository *r, const struct feed *f, const char *collection,
                           const char *key, uint64_t from, uint64_t to)
{
    static struct version expected[4096];
    static struct told t;
    struct err e = ERR_NONE;
    size_t n = true_versions(f, collection, key, from, to, expected, 4096);
    assert_ok(ask(r, collection, key, from, to, &t, &e), e);
    assert_int_equal(t.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(t.at[i].lsn, expected[n - 1 - i].lsn);
        assert_int_equal(t.at[i].kind, expected[n - 1 - i].kind);
        assert_int_equal(t.at[i].value_bytes, expected[n - 1 - i].value_bytes);
    }
}

static const char *const collections[] = {"passports", "land-titles", "court-files", "none"};

/* Many records of the feed, and some that were never there, over many ranges. */
static void assert_histories(struct repository *r, struct feed *f, unsigned count)
{
    struct repository_status s;
    repository_status(r, &s);
    for (unsigned i = 0; i < count; i++) {
        char key[40];
        uint64_t x = feed_random(f), end = s.archived.lsn.v;
        uint64_t to = i % 3 == 0 ? end : 1 + (x >> 20) % end;
        uint64_t from = i % 4 == 0 ? 1 + (x >> 40) % to : 0;
        (void)snprintf(key, sizeof key, "key-%05llu%s", (unsigned long long)(x % 2000),
                       i % 10 == 0 ? "x" : "");
        assert_history(r, f, collections[(x >> 8) % 4], key, from, to);
    }
    assert_history(r, f, "court-files", "hot", 0, s.archived.lsn.v);
    assert_history(r, f, "court-files", "twice", 0, s.archived.lsn.v);
}

/* Changed records against the truth: each key of the small key space has a last lsn in the range, or none. */
struct changed {
    char keys[8192][24];
    uint64_t last[8192];
    size_t n;
};

static int take_changed(void *arg, struct bytes key, struct lsn last)
{
    struct changed *c = arg;
    assert_true(c->n < 8192 && key.n < 24);
    memcpy(c->keys[c->n], key.p, key.n);
    c->keys[c->n][key.n] = '\0';
    c->last[c->n++] = last.v;
    return 0;
}

/* The last lsn in the range of each key of the small key space, by number; 0: none. */
static void true_changes(const struct feed *f, const char *collection, uint64_t from, uint64_t to,
                         uint64_t last[2000])
{
    memset(last, 0, 2000 * sizeof *last);
    for (size_t at = 0; at < f->mark;) {
        struct entry_view v;
        struct body_txn txn;
        struct op op;
        size_t used;
        assert_int_equal(entry_decode(bytes_of(f->p + at, f->n - at), &v, &used, NULL), 0);
        at += used;
        if (v.header.kind != ENTRY_TXN || v.header.lsn.v < from || v.header.lsn.v > to)
            continue;
        assert_int_equal(body_read_txn(bytes_of(v.body, v.header.body_bytes), &txn, NULL), 0);
        for (uint32_t i = 0; i < txn.op_count; i++) {
            assert_int_equal(body_next_op(&txn.ops, &op, NULL), 0);
            if (!bytes_equal(op.collection, bytes_str(collection)) || op.key.n != 9)
                continue;
            unsigned number = 0;
            for (unsigned k = 4; k < 9; k++)
                number = 10 * number + (unsigned)(op.key.p[k] - '0');
            last[number] = v.header.lsn.v;
        }
    }
}

static void assert_changed(struct repository *r, const struct feed *f, const char *collection,
                           const char *prefix, uint64_t from, uint64_t to)
{
    static struct changed c;
    static uint64_t last[2000];
    struct err e = ERR_NONE;
    const struct repository_query q = {
        .collection = bytes_str(collection), .key = bytes_str(prefix), .from = {from}, .to = {to}};
    true_changes(f, collection, from, to, last);
    memset(&c, 0, sizeof c);
    assert_ok(repository_changed(r, &q, take_changed, &c, &e), e);
    size_t at = 0;
    for (unsigned i = 0; i < 2000; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "key-%05u", i);
        if (last[i] == 0 || strncmp(key, prefix, strlen(prefix)) != 0)
            continue;
        assert_true(at < c.n);
        assert_string_equal(c.keys[at], key);
        assert_int_equal(c.last[at], last[i]);
        at++;
    }
    assert_int_equal(at, c.n);
}

/* ---- an archive ---- */

static void feed_special(struct feed *f)
{
    char value[40];
    struct op twice[2] = {
        {OP_PUT, bytes_str("court-files"), bytes_str("twice"), bytes_str("first")},
        {OP_DELETE, bytes_str("court-files"), bytes_str("twice"), {NULL, 0}},
    };
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(value, sizeof value, "%llu", (unsigned long long)feed_random(f));
        feed_put(f, "court-files", "hot", value, strlen(value));
    }
    feed_ops(f, twice, 2, NULL, 0);
}

/* So many packs of about `txns` transactions. */
static void seal_packs(struct feed *f, struct repository *r, unsigned packs, unsigned txns)
{
    struct err e = ERR_NONE;
    for (unsigned i = 0; i < packs; i++) {
        feed_mixed(f, 1 + txns / 2 + (unsigned)(feed_random(f) % txns));
        feed_special(f);
        if (i % 3 == 0)
            feed_noop(f, f->at.term.v);
        assert_ok(feed_seal(f, r, NULL, NULL, &e), e);
    }
}

static void extend(struct repository *r)
{
    struct err e = ERR_NONE;
    bool more = true;
    while (more)
        assert_ok(repository_index_extend(r, &more, &e), e);
}

static void verified(struct repository *r, uint64_t damaged)
{
    struct err e = ERR_NONE;
    struct damages d = {0};
    struct repository_report report;
    int rc = repository_verify(r, REPOSITORY_READABLE, note_damage, NULL, &d, &report, &e);
    assert_int_equal(d.n, damaged);
    assert_int_equal(rc, damaged == 0 ? 0 : ERR_INTEGRITY);
}

static void every_lookup_equals_a_walk(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct repository_status s;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    seal_packs(&f, r, 3, 60); /* as an older program left them: without an index */
    assert_histories(r, &f, 40);
    extend(r);
    repository_status(r, &s);
    assert_int_equal(s.indexed.v, s.archived.lsn.v);
    assert_int_equal(s.indexes, 1);
    for (unsigned i = 0; i < 30; i++) { /* one by one, so that levels grow */
        seal_packs(&f, r, 1, 60);
        if (i % 5 == 4)
            assert_histories(r, &f, 8); /* the last pack has no index yet */
        extend(r);
    }
    repository_status(r, &s);
    assert_int_equal(s.indexed.v, s.archived.lsn.v);
    assert_true(s.indexes >= 2 && s.indexes <= 3 + 7); /* of 31, merged by eights */
    assert_histories(r, &f, 100);
    uint64_t end = s.archived.lsn.v;
    assert_changed(r, &f, "passports", "", 1, end);
    assert_changed(r, &f, "passports", "key-01", end / 3, end / 2);
    assert_changed(r, &f, "land-titles", "key-00", end - 20, end);
    assert_changed(r, &f, "none", "", 1, end);
    seal_packs(&f, r, 1, 60); /* and one without an index */
    assert_changed(r, &f, "court-files", "key-1", end - 300, f.at.lsn.v);
    assert_changed(r, &f, "court-files", "key-", end + 1, f.at.lsn.v);
    verified(r, 0);
    repository_close(r);
    r = archive_open(&p, true); /* and as the files say */
    assert_histories(r, &f, 60);
    verified(r, 0);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

static void a_block_may_hold_one_record_alone(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    char key[KEY_MAX_BYTES + 1];
    memset(key, 'k', KEY_MAX_BYTES);
    key[KEY_MAX_BYTES] = '\0';
    for (unsigned i = 0; i < 400; i++) { /* 200 KB of references: four blocks */
        feed_put(&f, "passports", key, "v", 1);
        if (i == 200)
            feed_put(&f, "passports", "between", "v", 1);
    }
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    extend(r);
    for (uint64_t to = 1; to <= f.at.lsn.v; to += 37)
        assert_history(r, &f, "passports", key, to / 2, to);
    assert_history(r, &f, "passports", key, 0, f.at.lsn.v);
    assert_history(r, &f, "passports", "between", 0, f.at.lsn.v);
    assert_history(r, &f, "passports", "kk", 0, f.at.lsn.v);
    verified(r, 0);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

static void the_callers_result_ends_it(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    static struct told t;
    uint8_t *entry;
    size_t n;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    seal_packs(&f, r, 2, 30);
    extend(r);
    struct repository_query q = {
        .collection = bytes_str("court-files"), .key = bytes_str("hot"), .to = f.at.lsn};
    t.n = 0;
    t.limit = 5;
    assert_int_equal(repository_history(r, &q, take, &t, &e), 77);
    assert_int_equal(t.n, 5);
    assert_ok(repository_find(r, &q, &entry, &n, &e), e);
    struct entry_view v;
    assert_ok(entry_decode(bytes_of(entry, n), &v, &n, &e), e);
    assert_int_equal(v.header.lsn.v, t.at[0].lsn);
    free(entry);
    q.key = bytes_str("never");
    assert_int_equal(repository_find(r, &q, &entry, &n, &e), ERR_NOT_FOUND);
    q.to.v++;
    assert_int_equal(repository_find(r, &q, &entry, &n, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "which ends at lsn"));
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

/* Turn one bit of a file over. */
static void flip(const char *path, uint64_t bit)
{
    size_t n;
    uint8_t *p = slurp(path, &n);
    p[bit / 8 % n] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(chmod(path, 0600), 0);
    write_file(path, p, n, 0440);
    free(p);
}

static void damage_costs_time_and_no_answer(void **state)
{
    (void)state;
    static const char *const what[][2] = {
        {"indexes", ".index"}, {"indexes", ".meta"}, {"keys/1", ".index.key"}};
    struct place p;
    struct feed f = {0};
    char path[300];
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    for (unsigned i = 0; i < 10; i++) {
        seal_packs(&f, r, 1, 40);
        extend(r);
    }
    repository_close(r);
    for (unsigned i = 0; i < 24; i++) {
        const char *const *file = what[i % 3];
        find_object(&p, file[0], file[1], i % 4 == 0 ? 1 : 0, path);
        size_t n;
        uint8_t *kept = slurp(path, &n);
        if (i % 7 == 6)
            assert_int_equal(unlink(path), 0);
        else
            flip(path, feed_random(&f));
        r = archive_open(&p, true);
        assert_histories(r, &f, 12);
        assert_changed(r, &f, "passports", "key-00", 30, f.at.lsn.v - 30);
        repository_close(r);
        (void)unlink(path);
        write_file(path, kept, n, 0440);
        free(kept);
    }
    /* Told, and healed by the site from the packs. */
    find_object(&p, "indexes", ".index", 1, path); /* the wide one */
    flip(path, 4000);
    r = archive_open(&p, false);
    verified(r, 1);
    struct repository_status s;
    struct err e = ERR_NONE;
    assert_ok(repository_index_check(r, &e), e);
    repository_status(r, &s);
    assert_int_equal(s.indexes_damaged, 1);
    assert_histories(r, &f, 20); /* narrower ones are there still */
    assert_int_equal(s.indexed.v, s.archived.lsn.v);
    find_object(&p, "indexes", ".index", 0, path);
    flip(path, 4000);
    assert_ok(repository_index_check(r, &e), e);
    repository_status(r, &s);
    assert_int_not_equal(s.indexed.v, s.archived.lsn.v);
    extend(r);
    repository_status(r, &s);
    assert_int_equal(s.indexed.v, s.archived.lsn.v);
    verified(r, 0);
    assert_histories(r, &f, 20);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

static void an_index_of_another_history_is_not_asked(void **state)
{
    (void)state;
    struct place p, q;
    struct feed f = {0}, other = {0};
    char from[300], to[300];
    struct repository_status s;
    place_make(&p);
    place_make(&q);
    struct repository *r = archive_open(&p, false);
    feed_put(&f, "passports", "a", "1", 1);
    struct err e = ERR_NONE;
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    repository_close(r);
    r = archive_open(&q, false); /* same cluster, same KEK, same lsns */
    feed_put(&other, "passports", "b", "1", 1);
    assert_ok(feed_seal(&other, r, NULL, NULL, &e), e);
    extend(r);
    repository_close(r);
    static const char *const files[][2] = {
        {"indexes", ".index"}, {"indexes", ".meta"}, {"keys/1", ".index.key"}};
    for (unsigned i = 0; i < 3; i++) {
        find_object(&q, files[i][0], files[i][1], 0, from);
        (void)snprintf(to, sizeof to, "%s/%s%s", p.dir, files[i][0], strrchr(from, '/'));
        assert_int_equal(rename(from, to), 0);
    }
    r = archive_open(&p, false);
    repository_status(r, &s);
    assert_int_equal(s.indexes, 0);
    assert_history(r, &f, "passports", "a", 0, 1);
    assert_history(r, &f, "passports", "b", 0, 1);
    repository_close(r);
    feed_drop(&f);
    feed_drop(&other);
    place_drop(&p);
    place_drop(&q);
}

static void a_lost_pack_matters_where_it_holds_a_version(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    static struct told t;
    char path[300];
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    feed_put(&f, "passports", "early", "1", 1);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    feed_put(&f, "passports", "middle", "1", 1);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    feed_put(&f, "passports", "late", "1", 1);
    assert_ok(feed_seal(&f, r, NULL, NULL, &e), e);
    extend(r);
    repository_close(r);
    find_object(&p, "packs", ".pack", 1, path);
    flip(path, 4000);
    r = archive_open(&p, true);
    assert_history(r, &f, "passports", "early", 0, 3);
    assert_history(r, &f, "passports", "late", 0, 3);
    assert_int_equal(ask(r, "passports", "middle", 0, 3, &t, &e), ERR_INTEGRITY);
    assert_non_null(strstr(e.text, strrchr(path, '/') + 1));
    repository_close(r);
    /* Without the index it could hold any record. */
    find_object(&p, "indexes", ".meta", 0, path);
    assert_int_equal(unlink(path), 0);
    r = archive_open(&p, true);
    assert_int_equal(ask(r, "passports", "early", 0, 3, &t, &e), ERR_INTEGRITY);
    assert_int_equal(ask(r, "passports", "late", 3, 3, &t, &e), 0);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

static void a_reader_takes_up_what_is_new(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    struct repository_status s;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    seal_packs(&f, r, 1, 30);
    struct repository *reader = archive_open(&p, true);
    for (unsigned i = 0; i < 12; i++) {
        assert_histories(reader, &f, 6);
        seal_packs(&f, r, 1, 30);
        extend(r);
        assert_ok(repository_refresh(reader, &e), e);
        repository_status(reader, &s);
        assert_int_equal(s.archived.lsn.v, f.at.lsn.v);
        assert_int_equal(s.indexed.v, f.at.lsn.v);
    }
    assert_histories(reader, &f, 30);
    repository_close(reader);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

/* What was asked of a pack is answered by its frames alone the next time, also after the archive was looked at anew. */
static void the_meta_of_a_pack_is_read_once(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    static struct told t;
    char path[300], away[304];
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    seal_packs(&f, r, 3, 30);
    extend(r);
    repository_close(r);
    find_object(&p, "packs", ".meta", 1, path);
    (void)snprintf(away, sizeof away, "%s.a", path);
    for (int asked = 0; asked < 2; asked++) {
        r = archive_open(&p, true);
        if (asked != 0)
            assert_histories(r, &f, 30);
        assert_int_equal(rename(path, away), 0);
        assert_int_equal(ask(r, "court-files", "hot", 0, f.at.lsn.v, &t, &e),
                         asked != 0 ? 0 : ERR_INTEGRITY);
        assert_int_equal(rename(away, path), 0);
        assert_ok(repository_refresh(r, &e), e);
        assert_histories(r, &f, 30);
        repository_close(r);
    }
    feed_drop(&f);
    place_drop(&p);
}

static void nothing_is_indexed_for_reading(void **state)
{
    (void)state;
    struct place p;
    struct feed f = {0};
    struct err e = ERR_NONE;
    bool more;
    place_make(&p);
    struct repository *r = archive_open(&p, false);
    seal_packs(&f, r, 1, 10);
    repository_close(r);
    r = archive_open(&p, true);
    assert_int_equal(repository_index_extend(r, &more, &e), ERR_DENIED);
    repository_close(r);
    feed_drop(&f);
    place_drop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_lookup_equals_a_walk),
        cmocka_unit_test(a_block_may_hold_one_record_alone),
        cmocka_unit_test(the_callers_result_ends_it),
        cmocka_unit_test(damage_costs_time_and_no_answer),
        cmocka_unit_test(an_index_of_another_history_is_not_asked),
        cmocka_unit_test(a_lost_pack_matters_where_it_holds_a_version),
        cmocka_unit_test(a_reader_takes_up_what_is_new),
        cmocka_unit_test(the_meta_of_a_pack_is_read_once),
        cmocka_unit_test(nothing_is_indexed_for_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
