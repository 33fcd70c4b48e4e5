/* Reading indexes in a snapshot: which there are, records in the order of one, and who holds a value.
 *
 * A row is believed when three things agree: its checksum and key (row_read_index), the record that it names, and what that
 * record's value gives for this index. Anything else is damage, told with the row, and never an answer that lacks a record: rows
 * and records are of one LMDB transaction. */
#include "store/io/state_index.h"

#include "store/core/check.h"

#include <stdlib.h>

enum { DUPLICATE_ROWS_MAX = 200000 };

struct state_index_scan {
    struct state_snapshot *snap;
    MDB_cursor *cursor;
    struct index x;
    uint64_t collection; /* id; of no use when there is none */
    bool has_records;
    bool reverse, done;
    bool row_is_wrong; /* the last one, not its record */
    /* Keys of rows: low <= key < high; and behind which one the scan goes on. */
    uint8_t low[INDEX_ROW_KEY_MAX_BYTES], high[INDEX_ROW_KEY_MAX_BYTES],
        at[INDEX_ROW_KEY_MAX_BYTES];
    size_t low_bytes, high_bytes, at_bytes;
    uint8_t token[INDEX_TOKEN_MAX_BYTES]; /* of `at` */
};

const char *index_status_name(enum index_status status)
{
    switch (status) {
    case INDEX_BUILDING:
        return "building";
    case INDEX_READY:
        return "ready";
    case INDEX_DROPPING:
        return "dropping";
    case INDEX_INVALID:
        break;
    }
    return "invalid";
}

/* ---- the list ---- */

struct list {
    struct state_snapshot *snap;
    struct catalog catalog;
    struct bytes collection; /* empty: all */
    int (*each)(void *arg, const struct index_info *info);
    void *arg;
    struct err *e;
};

static uint64_t records_of(const struct list *l, struct bytes collection)
{
    struct collection_row row;
    return row_get_collection(&l->snap->t, collection, &row, NULL) == 0 ? row.records : 0;
}

static int tell(const struct list *l, const struct index *x)
{
    const struct index_info info = {.collection = index_collection(x),
                                    .name = index_name(x),
                                    .status = x->status,
                                    .declaration = x->declaration,
                                    .declared = x->declared,
                                    .id = x->id,
                                    .rows = x->rows,
                                    .duplicates = x->duplicates,
                                    .passed = x->passed,
                                    .records = records_of(l, index_collection(x)),
                                    .why = ""};
    return l->each(l->arg, &info);
}

/* Why a declaration has no index. */
static void why_not(const struct list *l, const struct declared *d, struct index_info *info,
                    struct err *why)
{
    int rc = index_read_declared_key(d->key, &info->collection, &info->name, why);
    if (rc != 0) {
        info->collection = (struct bytes){NULL, 0};
        info->name = d->key;
    }
    if (rc == 0 && d->why != NULL)
        rc = err_set(why, ERR_INTEGRITY, "its declaration is damaged here: %.300s", d->why);
    if (rc == 0)
        rc = index_declaration_parse(d->value, &info->declaration, why);
    if (rc == 0)
        rc = index_can_begin(&l->catalog, info->collection, why);
    if (rc == 0)
        err_set(
            why, ERR_INTEGRITY,
            "this site's row of it is damaged; it is built anew when the site is started again");
}

static int list_declared(void *arg, const struct declared *d)
{
    const struct list *l = arg;
    struct err why = ERR_NONE;
    struct index_info info = {.status = INDEX_INVALID, .declared = d->lsn, .why = why.text};
    if (index_read_declared_key(d->key, &info.collection, &info.name, NULL) == 0) {
        const struct index *x = catalog_find(&l->catalog, info.collection, info.name);
        if (l->collection.n != 0 && !bytes_equal(info.collection, l->collection))
            return 0;
        if (x != NULL)
            return tell(l, x);
    } else if (l->collection.n != 0) {
        return 0;
    }
    why_not(l, d, &info, &why);
    return l->each(l->arg, &info);
}

int state_indexes(struct state_snapshot *snap, struct bytes collection,
                  int (*each)(void *arg, const struct index_info *info), void *arg, struct err *e)
{
    struct list l = {.snap = snap, .collection = collection, .each = each, .arg = arg, .e = e};
    int rc = catalog_load(&l.catalog, &snap->t, NULL, NULL, e);
    if (rc == 0)
        rc = index_each_declared(&snap->t, list_declared, &l, e);
    for (size_t i = 0; rc == 0 && i < l.catalog.n; i++)
        if (l.catalog.v[i].status == INDEX_DROPPING &&
            (collection.n == 0 || bytes_equal(index_collection(&l.catalog.v[i]), collection)))
            rc = tell(&l, &l.catalog.v[i]);
    catalog_free(&l.catalog);
    return rc;
}

bool state_has_indexes(struct state_snapshot *snap)
{
    MDB_stat stat;
    return mdb_stat(snap->t.txn, snap->t.dbi[DB_INDEXES], &stat) != 0 || stat.ms_entries != 0;
}

/* ---- one index ---- */

/* Its rows in the catalog come one after the other; one at most is not DROPPING. */
static int find_index(struct state_snapshot *snap, struct bytes collection, struct bytes name,
                      struct index *out, struct err *e)
{
    uint8_t buffer[INDEX_CATALOG_KEY_MAX_BYTES];
    const struct bytes first = row_catalog_key(collection, name, 0, buffer);
    MDB_val k = val_of(first), v;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(snap->t.txn, snap->t.dbi[DB_INDEXES], &cursor), found = ERR_NOT_FOUND;
    if (rc != 0)
        return state_lmdb_error(e, snap->state->env, rc, "find an index");
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
         rc == 0 && k.mv_size == first.n && memcmp(k.mv_data, first.p, first.n - 8) == 0;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        found = row_read_catalog(bytes_of_val(k), bytes_of_val(v), out, e);
        if (found != 0 || out->status != INDEX_DROPPING)
            break;
        found = ERR_NOT_FOUND;
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND
               ? found
               : state_lmdb_error(e, snap->state->env, rc, "find an index");
}

struct absent {
    struct bytes name;
    struct err *e;
};

static int say_absent(void *arg, const struct index_info *info)
{
    const struct absent *a = arg;
    if (info->status != INDEX_INVALID || !bytes_equal(info->name, a->name))
        return 0;
    return err_set(a->e, ERR_FORMAT, "it is declared, but cannot be kept: %.400s", info->why);
}

static int find_ready(struct state_snapshot *snap, struct bytes collection, struct bytes name,
                      struct index *out, struct collection_row *records, struct err *e)
{
    struct absent absent = {name, e};
    int rc = index_names_check(collection, name, e);
    if (rc == 0)
        rc = find_index(snap, collection, name, out, e);
    if (rc == ERR_NOT_FOUND && (rc = state_indexes(snap, collection, say_absent, &absent, e)) == 0)
        return err_set(e, ERR_NOT_FOUND,
                       "it is not declared; triveni index list shows those that are");
    if (rc != 0)
        return rc;
    rc = row_get_collection(&snap->t, collection, records, e);
    if (rc == ERR_NOT_FOUND)
        records->records = 0;
    else if (rc != 0)
        return rc;
    if (out->status == INDEX_READY)
        return 0;
    const uint64_t of = records->records > out->passed ? records->records : out->passed;
    return err_set(e, ERR_NOT_READY,
                   "it is being built here, %llu of about %llu records are done (%llu %%); try "
                   "again later, or at another site",
                   (unsigned long long)out->passed, (unsigned long long)of,
                   (unsigned long long)(of == 0 ? 0 : out->passed * 100 / of));
}

/* ---- scans ---- */

/* The scan is at the row with this key. */
static void set_place(struct state_index_scan *s, struct bytes key)
{
    check(key.n >= 8 && key.n <= sizeof s->at);
    memcpy(s->at, key.p, key.n);
    s->at_bytes = key.n;
    memcpy(s->token + INDEX_TOKEN_TAG_BYTES, key.p + 8, key.n - 8);
}

static int set_bounds(struct state_index_scan *s, const struct index_options *o, struct err *e)
{
    const struct bytes low = index_key_bytes(&o->range.low), high = index_key_bytes(&o->range.high);
    put_be64(s->low, s->x.id);
    memcpy(s->low + 8, low.p, low.n);
    s->low_bytes = 8 + low.n;
    put_be64(s->high, high.n == 0 ? s->x.id + 1 : s->x.id);
    memcpy(s->high + 8, high.p, high.n);
    s->high_bytes = 8 + high.n;
    index_token_tag(o->collection, o->name, &s->x.declaration, s->token);
    if (o->after.n == 0)
        return 0;
    const size_t tag = INDEX_TOKEN_TAG_BYTES;
    if (o->after.n <= tag || o->after.n > INDEX_TOKEN_MAX_BYTES)
        return err_set(e, ERR_USAGE, "the place to go on at is of no index scan: %zu bytes",
                       o->after.n);
    if (memcmp(o->after.p, s->token, tag) != 0)
        return err_set(e, ERR_USAGE,
                       "the place to go on at is of another index, or of this one when it was "
                       "declared on other fields: begin the scan anew");
    uint8_t key[INDEX_ROW_KEY_MAX_BYTES];
    put_be64(key, s->x.id);
    memcpy(key + 8, o->after.p + tag, o->after.n - tag);
    set_place(s, bytes_of(key, 8 + o->after.n - tag));
    return 0;
}

static void name_it(struct err *e, struct bytes collection, struct bytes name)
{
    char a[ROW_QUOTE_BYTES], b[ROW_QUOTE_BYTES];
    err_wrap(e, "index '%s' of collection '%s'", row_quote(name, a), row_quote(collection, b));
}

int state_index_find(struct state_snapshot *snap, struct bytes collection, struct bytes name,
                     struct index_declaration *out, struct err *e)
{
    struct collection_row records = {.id = 0};
    struct err own = ERR_NONE;
    struct index x;
    e = e == NULL ? &own : e;
    int rc = find_ready(snap, collection, name, &x, &records, e);
    if (rc == 0)
        *out = x.declaration;
    else
        name_it(e, collection, name);
    return rc;
}

int state_index_open(struct state_snapshot *snap, const struct index_options *options,
                     struct state_index_scan **out, struct err *e)
{
    struct collection_row records = {.id = 0};
    struct err own = ERR_NONE;
    *out = NULL;
    e = e == NULL ? &own : e;
    struct state_index_scan *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "index scan: out of memory");
    s->snap = snap;
    s->reverse = options->reverse;
    int rc = find_ready(snap, options->collection, options->name, &s->x, &records, e);
    if (rc == 0)
        rc = set_bounds(s, options, e);
    if (rc == 0 && (rc = mdb_cursor_open(snap->t.txn, snap->t.dbi[DB_INDEX], &s->cursor)) != 0)
        rc = state_lmdb_error(e, snap->state->env, rc, "index scan");
    if (rc != 0) {
        free(s);
        name_it(e, options->collection, options->name);
        return rc;
    }
    s->collection = records.id;
    s->has_records = records.records != 0;
    snap->scans++;
    *out = s;
    return 0;
}

void state_index_close(struct state_index_scan *s)
{
    if (s == NULL)
        return;
    mdb_cursor_close(s->cursor);
    s->snap->scans--;
    free(s);
}

struct bytes state_index_token(const struct state_index_scan *s)
{
    return s->at_bytes == 0 ? (struct bytes){NULL, 0}
                            : bytes_of(s->token, INDEX_TOKEN_TAG_BYTES + s->at_bytes - 8);
}

/* To the row behind (reverse: before) `at`, or the first (last) one. The cursor is placed anew each time: it costs a descent,
 * and the record's look-up costs one as well. */
static int advance(const struct state_index_scan *s, MDB_val *k, MDB_val *v)
{
    const struct bytes at = bytes_of(s->at, s->at_bytes), low = bytes_of(s->low, s->low_bytes),
                       high = bytes_of(s->high, s->high_bytes);
    if (!s->reverse) {
        const bool behind = at.n != 0 && bytes_compare(at, low) >= 0;
        const struct bytes from = behind ? at : low;
        *k = val_of(from);
        int rc = mdb_cursor_get(s->cursor, k, v, MDB_SET_RANGE);
        if (rc == 0 && behind && bytes_equal(bytes_of_val(*k), at))
            rc = mdb_cursor_get(s->cursor, k, v, MDB_NEXT);
        return rc == 0 && bytes_compare(bytes_of_val(*k), high) >= 0 ? MDB_NOTFOUND : rc;
    }
    const struct bytes end = at.n != 0 && bytes_compare(at, high) < 0 ? at : high;
    *k = val_of(end);
    int rc = mdb_cursor_get(s->cursor, k, v, MDB_SET_RANGE);
    if (rc == 0 || rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(s->cursor, k, v, rc == 0 ? MDB_PREV : MDB_LAST);
    return rc == 0 && bytes_compare(bytes_of_val(*k), low) < 0 ? MDB_NOTFOUND : rc;
}

static int row_lies(struct state_index_scan *s, struct bytes key, const char *why, struct err *e)
{
    s->row_is_wrong = true;
    char name[ROW_QUOTE_BYTES], collection[ROW_QUOTE_BYTES], quoted[ROW_QUOTE_BYTES];
    return err_set(e, ERR_INTEGRITY,
                   "index '%s' of collection '%s' has a row for record '%s', %s; read it from "
                   "another site: here the index is to be built anew",
                   row_quote(index_name(&s->x), name),
                   row_quote(index_collection(&s->x), collection), row_quote(key, quoted), why);
}

/* The record of a row, proven. */
static int resolve(struct state_index_scan *s, const struct index_row *row, struct record *out,
                   struct err *e)
{
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    struct state_snapshot *snap = s->snap;
    struct digest digest;
    struct index_key value;
    struct err why = ERR_NONE;
    const struct bytes key = row_record_key(s->collection, row->record_key, buffer);
    MDB_val k = val_of(key), v;
    int rc = s->has_records ? mdb_get(snap->t.txn, snap->t.dbi[DB_RECORDS], &k, &v) : MDB_NOTFOUND;
    if (rc == MDB_NOTFOUND)
        return row_lies(s, row->record_key, "which is not there", e);
    if (rc != 0)
        return state_lmdb_error(e, snap->state->env, rc, "read a record");
    if (row_read_record(key, bytes_of_val(v), true, out, &digest, &why) != 0) {
        out->key = row->record_key;
        return state_record_damaged(e, out->collection, row->record_key, &why);
    }
    out->key = row->record_key; /* LMDB's memory, not this buffer */
    struct index_document *doc;
    if ((rc = index_document_open(out->value, &doc, e)) != 0)
        return rc;
    const bool in = index_document_key(doc, &s->x.declaration, &value);
    index_document_close(doc);
    return in && bytes_equal(index_key_bytes(&value), row->value)
               ? 0
               : row_lies(s, row->record_key, "which has another value", e);
}

int state_index_next(struct state_index_scan *s, struct record *out, struct err *e)
{
    MDB_val k, v;
    struct index_row row;
    *out = (struct record){.collection = index_collection(&s->x)};
    s->row_is_wrong = false;
    int rc = s->done ? MDB_NOTFOUND : advance(s, &k, &v);
    if (rc == MDB_NOTFOUND) {
        s->done = true;
        return err_set(e, ERR_NOT_FOUND, "the scan is at its end");
    }
    if (rc != 0)
        return state_lmdb_error(e, s->snap->state->env, rc, "index scan");
    if (k.mv_size > sizeof s->at) { /* none that we wrote, and no place to go on at */
        s->row_is_wrong = s->done = true;
        return row_damaged(DB_INDEX, bytes_of_val(k), "its key is too long", e);
    }
    set_place(s, bytes_of_val(k));
    if ((rc = row_read_index(bytes_of_val(k), bytes_of_val(v), &row, e)) != 0) {
        s->row_is_wrong = true;
        return rc;
    }
    out->key = row.record_key;
    return resolve(s, &row, out, e);
}

uint64_t state_index_blamed(const struct state_index_scan *s)
{
    return s->row_is_wrong ? s->x.id : 0;
}

/* ---- who holds a value ---- */

int state_index_holder(struct state_snapshot *snap, uint64_t id, const struct index_key *value,
                       struct bytes except, struct bytes *key, struct err *e)
{
    uint8_t first[8 + INDEX_KEY_MAX_BYTES];
    put_be64(first, id);
    memcpy(first + 8, value->b, value->n);
    const struct bytes start = bytes_of(first, 8 + value->n);
    MDB_val k = val_of(start), v;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(snap->t.txn, snap->t.dbi[DB_INDEX], &cursor), found = ERR_NOT_FOUND;
    if (rc != 0)
        return state_lmdb_error(e, snap->state->env, rc, "look into an index");
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
         rc == 0 && k.mv_size > start.n && memcmp(k.mv_data, start.p, start.n) == 0;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct index_row row;
        found = row_read_index(bytes_of_val(k), bytes_of_val(v), &row, e);
        if (found == 0 && bytes_equal(row.record_key, except)) {
            found = ERR_NOT_FOUND;
            continue;
        }
        if (found == 0)
            *key = row.record_key;
        break;
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND
               ? found
               : state_lmdb_error(e, snap->state->env, rc, "look into an index");
}

int state_index_duplicate(struct state_snapshot *snap, uint64_t id, struct bytes *key_a,
                          struct bytes *key_b, struct err *e)
{
    uint8_t first[8];
    put_be64(first, id);
    MDB_val k = {sizeof first, first}, v;
    MDB_cursor *cursor;
    struct index_row last = {.id = 0}, row;
    int rc = mdb_cursor_open(snap->t.txn, snap->t.dbi[DB_INDEX], &cursor);
    if (rc != 0)
        return state_lmdb_error(e, snap->state->env, rc, "look into an index");
    int found = ERR_NOT_FOUND;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    for (size_t i = 0; rc == 0 && i < DUPLICATE_ROWS_MAX; i++, last = row) {
        if (k.mv_size < 8 || get_be64(k.mv_data) != id ||
            ((found = row_read_index(bytes_of_val(k), bytes_of_val(v), &row, e)) != 0))
            break;
        if (i != 0 && bytes_equal(row.value, last.value))
            break;
        found = ERR_NOT_FOUND;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (found == 0) {
        *key_a = last.record_key;
        *key_b = row.record_key;
    }
    return rc == 0 || rc == MDB_NOTFOUND
               ? found
               : state_lmdb_error(e, snap->state->env, rc, "look into an index");
}
