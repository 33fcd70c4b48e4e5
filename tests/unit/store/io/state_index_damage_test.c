/* Damage to indexes: rows that are damaged, missing or too many, in the catalog and in the rows; damaged records and
 * declarations. Each is told, and built anew; none is answered. */
#include "state_index_kit.h"

/* ---- damage ---- */

struct damaged {
    char what[64];
    unsigned n;
};

static void on_damaged(void *arg, const struct finding *f)
{
    struct damaged *d = arg;
    assert_int_equal(f->kind, FINDING_RECORD);
    (void)snprintf(d->what, sizeof d->what, "%.*s/%.*s", (int)f->collection.n,
                   (const char *)f->collection.p, (int)f->key.n, (const char *)f->key.p);
    d->n++;
}

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
    struct damaged damaged = {.n = 0};
    const struct finding_sink sink = {on_damaged, NULL, &damaged};
    for (unsigned i = 0; i < 100 && rc == 0; i++)
        rc = state_index_step(p->s, 10, &sink, &why);
    assert_int_equal(rc, ERR_INTEGRITY);
    assert_string_equal(damaged.what, "deeds/k030");
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
    assert_int_equal(count_blamed, 0);
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
    assert_int_equal(count_blamed, id);
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
    assert_int_equal(count_blamed, id);
    verify_fails(p, "checksum mismatch");
    check_offline(p, "row: state: row ");
    struct found_row found = walk_rows(p);
    assert_int_equal(found.n, 1);
    assert_string_equal(found.database, "index");
    const uint64_t blamed =
        state_index_of_row(bytes_str(found.database), bytes_of(found.key, found.key_bytes));
    assert_int_equal(blamed, id);
    must(state_index_rebuild(p->s, blamed, &e));
    assert_int_equal(state_index_rebuild(p->s, blamed, NULL), ERR_NOT_FOUND);
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
    must(state_index_rebuild(
        p->s, state_index_of_row(bytes_str(found.database), bytes_of(found.key, found.key_bytes)),
        &e));
    build(p);
    assert_int_equal(count(p, damage), 50);
    verify(p);
    assert_int_equal(state_index_of_row(bytes_str("points"), bytes_str("more than 8")), 0);
    assert_int_equal(state_index_of_row(bytes_str("index"), bytes_str("less")), 0);
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

static void a_damaged_collection_of_declarations_is_no_reason_to_drop_indexes(void **state)
{
    struct place *p = *state;
    char damage[ERR_TEXT_BYTES];
    fill(p, 10);
    declare(p, "deeds/by-n", "{\"on\":[\"/n\"]}");
    build(p);
    spoil(p, DB_COLLECTIONS, bytes_str(INDEXES_COLLECTION), 1);
    checkpoint(p);
    state_close(p->s);
    must(state_open(&p->s, &p->o, &e));
    assert_int_equal(count(p, damage), 10);
    put(p, "deeds", "k003", "{}");
    assert_int_equal(count(p, damage), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_place(a_build_waits_for_a_damaged_record_and_goes_on_when_it_is_repaired),
        with_place(a_repaired_record_has_its_rows),
        with_place(a_row_that_was_missing_has_the_index_built_anew),
        with_place(a_row_that_lies_is_named_by_the_scan_and_by_verify),
        with_place(a_damaged_row_is_found_and_its_index_built_anew),
        with_place(a_damaged_row_of_the_catalog_is_given_up_at_the_next_open),
        with_place(a_damaged_declaration_leaves_its_index_alone),
        with_place(rows_that_are_counted_wrong_are_found_in_a_file),
        with_place(a_damaged_collection_of_declarations_is_no_reason_to_drop_indexes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
