/* Checking indexes: rows against records in a snapshot, and numbers of rows in a file that is not opened.
 *
 * Both ways without a second walk: every record that an index covers has its row (found by the row's own key), rows of different
 * records have different keys, and there are as many rows as such records. So there are no others. */
#include "store/io/state_index.h"

#include <stdlib.h>

static const char advice[] =
    "; drop the index and create it again: it is then built anew from the records";

struct verify {
    struct state_snapshot *snap;
    struct catalog catalog;
    struct index_tally tally;
    struct err *e;
    int rc;
};

static int wrong(const struct verify *w, const struct index *x, struct bytes key, const char *what)
{
    char name[ROW_QUOTE_BYTES], collection[ROW_QUOTE_BYTES], quoted[ROW_QUOTE_BYTES];
    return err_set(w->e, ERR_INTEGRITY, "index '%s' of collection '%s': %s%s%s",
                   row_quote(index_name(x), name), row_quote(index_collection(x), collection), what,
                   key.n == 0 ? "" : row_quote(key, quoted), advice);
}

/* The record's row in the index, if it belongs there. */
static int verify_record(struct verify *w, const struct index *x, const struct record *r,
                         const struct index_document *doc, uint64_t *rows)
{
    struct index_key value;
    uint8_t buffer[INDEX_ROW_KEY_MAX_BYTES];
    struct index_row row;
    struct bytes found;
    if (!index_document_key(doc, &x->declaration, &value))
        return 0;
    const struct bytes key = index_row_key(x->id, index_key_bytes(&value), r->key, buffer);
    int rc = row_find(&w->snap->t, DB_INDEX, key, &found, w->e);
    if (rc == ERR_NOT_FOUND)
        return wrong(w, x, r->key, "it lacks a row for record ");
    if (rc == 0 && (rc = row_read_index(key, found, &row, w->e)) == 0 &&
        !bytes_equal(row.record_key, r->key))
        rc = wrong(w, x, r->key, "another record has the row of record ");
    ++*rows;
    return rc;
}

static int verify_records(struct verify *w, const struct index *x, MDB_cursor *cursor, uint64_t id,
                          uint64_t *rows)
{
    uint8_t start[COLLECTION_ID_BYTES];
    put_be64(start, id);
    MDB_val k = {sizeof start, start}, v;
    int rc = 0, found = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    for (; rc == 0 && found == 0 && k.mv_size > COLLECTION_ID_BYTES && get_be64(k.mv_data) == id;
         found = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct record r;
        struct digest digest;
        struct err why = ERR_NONE;
        if (row_read_record(bytes_of_val(k), bytes_of_val(v), true, &r, &digest, &why) != 0)
            return state_record_damaged(w->e, index_collection(x),
                                        bytes_of((const uint8_t *)k.mv_data + COLLECTION_ID_BYTES,
                                                 k.mv_size - COLLECTION_ID_BYTES),
                                        &why);
        if (!index_covers(x, r.key))
            continue;
        struct index_document *doc;
        rc = index_document_open(r.value, &doc, w->e);
        if (rc == 0)
            rc = verify_record(w, x, &r, doc, rows);
        index_document_close(doc);
    }
    return rc != 0 || found == 0 || found == MDB_NOTFOUND
               ? rc
               : state_lmdb_error(w->e, w->snap->state->env, found, "verify");
}

static int verify_index(struct verify *w, size_t i)
{
    const struct index *x = &w->catalog.v[i];
    const struct bytes none = {NULL, 0};
    struct collection_row row;
    MDB_cursor *cursor;
    uint64_t rows = 0;
    int rc = row_get_collection(&w->snap->t, index_collection(x), &row, w->e);
    if (rc == 0) {
        if ((rc = mdb_cursor_open(w->snap->t.txn, w->snap->t.dbi[DB_RECORDS], &cursor)) != 0)
            return state_lmdb_error(w->e, w->snap->state->env, rc, "verify");
        rc = verify_records(w, x, cursor, row.id, &rows);
        mdb_cursor_close(cursor);
    }
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    if (rows != w->tally.rows[i])
        return wrong(w, x, none, "it has rows that no record gives");
    if (x->declaration.unique && x->duplicates != w->tally.duplicates[i])
        return wrong(w, x, none, "its number of duplicates is not the one that is kept");
    return 0;
}

static int tally_rows(struct verify *w)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int rc = mdb_cursor_open(w->snap->t.txn, w->snap->t.dbi[DB_INDEX], &cursor), said = 0;
    if (rc != 0)
        return state_lmdb_error(w->e, w->snap->state->env, rc, "verify");
    while (said == 0 && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct index_row row;
        said = row_read_index(bytes_of_val(k), bytes_of_val(v), &row, w->e);
        if (said == 0)
            index_tally_row(&w->tally, row.id, row.value);
    }
    mdb_cursor_close(cursor);
    return said != 0 || rc == MDB_NOTFOUND
               ? said
               : state_lmdb_error(w->e, w->snap->state->env, rc, "verify");
}

static void damaged_row(void *arg, struct bytes key)
{
    struct verify *w = arg;
    w->rc = row_damaged(DB_INDEXES, key, "it cannot be read", w->e);
}

static void say_difference(void *arg, const char *text)
{
    struct verify *w = arg;
    w->rc = err_set(w->e, ERR_INTEGRITY, "%s%s", text, advice);
}

int index_verify(struct state_snapshot *snap, struct err *e)
{
    struct verify w = {.snap = snap, .e = e};
    int rc = catalog_load(&w.catalog, &snap->t, damaged_row, &w, e);
    if (rc == 0)
        rc = w.rc;
    for (size_t i = 0; rc == 0 && i < w.catalog.n; i++)
        rc = index_tally_catalog(&w.tally, &w.catalog.v[i], e);
    if (rc == 0)
        rc = tally_rows(&w);
    if (rc == 0) {
        index_tally_compare(&w.tally, say_difference, &w);
        rc = w.rc;
    }
    for (size_t i = 0; rc == 0 && i < w.catalog.n; i++)
        if (w.catalog.v[i].status != INDEX_DROPPING)
            rc = verify_index(&w, i);
    index_tally_free(&w.tally);
    catalog_free(&w.catalog);
    return rc;
}

/* ---- numbers ---- */

int index_tally_catalog(struct index_tally *y, const struct index *x, struct err *e)
{
    const size_t n = y->catalog.n + 1;
    uint64_t *rows = realloc(y->rows, n * sizeof *rows);
    if (rows != NULL)
        y->rows = rows;
    uint64_t *duplicates = realloc(y->duplicates, n * sizeof *duplicates);
    if (duplicates != NULL)
        y->duplicates = duplicates;
    if (rows == NULL || duplicates == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to count the rows of indexes");
    rows[n - 1] = duplicates[n - 1] = 0;
    return catalog_add(&y->catalog, x, e);
}

void index_tally_row(struct index_tally *y, uint64_t id, struct bytes value)
{
    const struct index *x = y->at < y->catalog.n ? &y->catalog.v[y->at] : NULL;
    if (x == NULL || x->id != id) {
        x = catalog_of_id(&y->catalog, id);
        y->value_bytes = 0;
    }
    if (x == NULL) {
        y->stray++;
        return;
    }
    y->at = (size_t)(x - y->catalog.v);
    y->rows[y->at]++;
    y->duplicates[y->at] +=
        y->value_bytes != 0 && bytes_equal(value, bytes_of(y->value, y->value_bytes));
    memcpy(y->value, value.p, value.n);
    y->value_bytes = value.n;
}

void index_tally_compare(const struct index_tally *y, void (*differs)(void *arg, const char *text),
                         void *arg)
{
    char text[ERR_TEXT_BYTES / 2], name[ROW_QUOTE_BYTES], collection[ROW_QUOTE_BYTES];
    for (size_t i = 0; i < y->catalog.n; i++) {
        const struct index *x = &y->catalog.v[i];
        if (x->status == INDEX_DROPPING || x->rows == y->rows[i])
            continue;
        (void)snprintf(text, sizeof text,
                       "index '%.64s' of collection '%.64s' has %llu rows, kept are %llu",
                       row_quote(index_name(x), name), row_quote(index_collection(x), collection),
                       (unsigned long long)y->rows[i], (unsigned long long)x->rows);
        differs(arg, text);
    }
    if (y->stray != 0) {
        (void)snprintf(text, sizeof text, "%llu rows belong to no index",
                       (unsigned long long)y->stray);
        differs(arg, text);
    }
}

void index_tally_free(struct index_tally *y)
{
    catalog_free(&y->catalog);
    free(y->rows);
    free(y->duplicates);
    *y = (struct index_tally){.rows = NULL};
}
