/* Rows of the databases `indexes` (the catalog) and `index` (the rows of all indexes), and the catalog in memory.
 *
 * FORMAT: state_rows.h. A row of `index` repeats the record's key, because that of the database may hold a part of it only;
 * reading one makes the key again from what it says, so that a row is proven whole. */
#include "store/io/state_index.h"

#include "store/core/check.h"

#include <stdlib.h>

enum { FLAG_UNIQUE = 1u << 0, FLAG_ENFORCED = 1u << 1 };

_Static_assert(4 + 2 + 32 + 2 + KEY_MAX_BYTES + 1 +
                       INDEX_POINTERS_MAX * (2 + INDEX_POINTER_MAX_BYTES) <=
                   INDEX_CATALOG_ROW_MAX_BYTES,
               "any row of the catalog fits");

/* ---- `indexes` ---- */

struct bytes row_catalog_key(struct bytes collection, struct bytes name, uint64_t id,
                             uint8_t out[INDEX_CATALOG_KEY_MAX_BYTES])
{
    struct bytes declared = index_declared_key(collection, name, out);
    out[declared.n] = 0;
    put_be64(out + declared.n + 1, id);
    return bytes_of(out, declared.n + 1 + 8);
}

static int read_key(struct bytes key, struct index *out, struct err *e)
{
    struct bytes collection, name;
    if (key.n < 9 || key.n > INDEX_CATALOG_KEY_MAX_BYTES || key.p[key.n - 9] != 0 ||
        index_read_declared_key(bytes_of(key.p, key.n - 9), &collection, &name, NULL) != 0)
        return row_damaged(DB_INDEXES, key, "its key is not that of an index", e);
    memcpy(out->collection_name, collection.p, collection.n);
    memcpy(out->own_name, name.p, name.n);
    out->collection_bytes = collection.n;
    out->name_bytes = name.n;
    out->id = get_be64(key.p + key.n - 8);
    return 0;
}

static void read_declaration(struct reader *r, uint8_t flags, struct index_declaration *d)
{
    const uint8_t pointers = read_u8(r);
    r->bad |= pointers > INDEX_POINTERS_MAX;
    d->unique = (flags & FLAG_UNIQUE) != 0;
    d->enforced = (flags & FLAG_ENFORCED) != 0;
    for (d->pointers = 0; d->pointers < pointers && !r->bad; d->pointers++) {
        const struct bytes p = read_bytes16(r);
        r->bad |= index_pointer_check(p, NULL) != 0;
        if (r->bad)
            return;
        memcpy(d->pointer[d->pointers], p.p, p.n);
        d->pointer_bytes[d->pointers] = (uint16_t)p.n;
    }
}

int row_read_catalog(struct bytes key, struct bytes row, struct index *out, struct err *e)
{
    struct reader r;
    *out = (struct index){.id = 0};
    int rc = row_open(DB_INDEXES, key, row, &r, e);
    if (rc == 0)
        rc = read_key(key, out, e);
    if (rc != 0)
        return rc;
    const uint8_t status = read_u8(&r), flags = read_u8(&r);
    out->declared.v = read_u64(&r);
    out->rows = read_u64(&r);
    out->duplicates = read_u64(&r);
    out->passed = read_u64(&r);
    const struct bytes place = read_bytes16(&r);
    if (status < INDEX_BUILDING || status > INDEX_DROPPING ||
        (flags & ~(FLAG_UNIQUE | FLAG_ENFORCED)) != 0 || place.n > KEY_MAX_BYTES)
        return row_damaged(DB_INDEXES, key, "status, flags or place are unknown to this program",
                           e);
    out->status = (enum index_status)status;
    if (place.n != 0)
        memcpy(out->place, place.p, place.n);
    out->place_bytes = place.n;
    read_declaration(&r, flags, &out->declaration);
    return row_close(DB_INDEXES, key, &r, e);
}

int row_put_catalog(const struct state_txn *t, const struct index *x, struct err *e)
{
    uint8_t k[INDEX_CATALOG_KEY_MAX_BYTES], b[INDEX_CATALOG_ROW_MAX_BYTES];
    const struct index_declaration *d = &x->declaration;
    struct writer w = writer_of(b, sizeof b);
    write_u32(&w, 0);
    write_u8(&w, (uint8_t)x->status);
    write_u8(&w, (uint8_t)((d->unique ? FLAG_UNIQUE : 0) | (d->enforced ? FLAG_ENFORCED : 0)));
    write_u64(&w, x->declared.v);
    write_u64(&w, x->rows);
    write_u64(&w, x->duplicates);
    write_u64(&w, x->passed);
    write_bytes16(&w, bytes_of(x->place, x->place_bytes));
    write_u8(&w, (uint8_t)d->pointers);
    for (uint32_t i = 0; i < d->pointers; i++)
        write_bytes16(&w, index_pointer(d, i));
    return row_put(t, DB_INDEXES, row_catalog_key(index_collection(x), index_name(x), x->id, k), &w,
                   e);
}

/* ---- `index` ---- */

int row_read_index(struct bytes key, struct bytes row, struct index_row *out, struct err *e)
{
    struct reader r;
    uint8_t again[INDEX_ROW_KEY_MAX_BYTES];
    int rc = row_open(DB_INDEX, key, row, &r, e);
    if (rc != 0)
        return rc;
    const size_t value_bytes = read_u16(&r);
    if (r.bad || key.n < 8 || value_bytes > key.n - 8 || value_bytes > INDEX_KEY_MAX_BYTES)
        return row_damaged(DB_INDEX, key, "its key or its size is wrong", e);
    out->id = get_be64(key.p);
    out->value = bytes_of(key.p + 8, value_bytes);
    out->record_key = read_bytes(&r, row.n - r.at);
    if (out->record_key.n == 0 || out->record_key.n > KEY_MAX_BYTES ||
        !bytes_equal(index_row_key(out->id, out->value, out->record_key, again), key))
        return row_damaged(DB_INDEX, key, "it belongs to another record", e);
    return row_close(DB_INDEX, key, &r, e);
}

int row_add_index(const struct state_txn *t, struct bytes key, size_t value_bytes,
                  struct bytes record_key, bool *added, struct err *e)
{
    uint8_t b[INDEX_ROW_BYTES + KEY_MAX_BYTES];
    struct writer w = writer_of(b, sizeof b);
    write_u32(&w, 0);
    write_u16(&w, (uint16_t)value_bytes);
    write_bytes(&w, record_key);
    MDB_val k = val_of(key), v = val_of(row_seal(key, &w));
    int rc = mdb_put(t->txn, t->dbi[DB_INDEX], &k, &v, MDB_NOOVERWRITE);
    *added = rc == 0;
    if (rc == MDB_KEYEXIST) /* LMDB has put its own row into v: is it this one? */
        return bytes_equal(bytes_of_val(v), bytes_of(w.p, w.at))
                   ? 0
                   : row_damaged(DB_INDEX, key, "it stands where another belongs", e);
    return rc == 0 ? 0 : state_lmdb_error(e, mdb_txn_env(t->txn), rc, state_db_name(DB_INDEX));
}

/* ---- the catalog ---- */

void catalog_free(struct catalog *c)
{
    free(c->v);
    *c = (struct catalog){.n = 0};
}

int catalog_add(struct catalog *c, const struct index *x, struct err *e)
{
    if (c->n == c->cap) {
        const size_t cap = c->cap == 0 ? 8 : 2 * c->cap;
        struct index *v = realloc(c->v, cap * sizeof *v);
        if (v == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the list of indexes");
        c->v = v;
        c->cap = cap;
    }
    c->v[c->n++] = *x;
    return 0;
}

int catalog_load(struct catalog *c, const struct state_txn *t,
                 void (*damaged)(void *arg, struct bytes key), void *arg, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    c->n = 0;
    int rc = mdb_cursor_open(t->txn, t->dbi[DB_INDEXES], &cursor), out = 0;
    if (rc != 0)
        return state_lmdb_error(e, mdb_txn_env(t->txn), rc, state_db_name(DB_INDEXES));
    while (out == 0 && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0) {
        struct index x;
        if (row_read_catalog(bytes_of_val(k), bytes_of_val(v), &x, NULL) == 0)
            out = catalog_add(c, &x, e);
        else if (damaged != NULL)
            damaged(arg, bytes_of_val(k));
    }
    mdb_cursor_close(cursor);
    if (out != 0 || rc == MDB_NOTFOUND)
        return out;
    return state_lmdb_error(e, mdb_txn_env(t->txn), rc, state_db_name(DB_INDEXES));
}

struct index *catalog_find(const struct catalog *c, struct bytes collection, struct bytes name)
{
    for (size_t i = 0; i < c->n; i++)
        if (index_is_live(&c->v[i]) && bytes_equal(index_name(&c->v[i]), name) &&
            bytes_equal(index_collection(&c->v[i]), collection))
            return &c->v[i];
    return NULL;
}

struct index *catalog_of_id(const struct catalog *c, uint64_t id)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->v[i].id == id && !c->v[i].gone)
            return &c->v[i];
    return NULL;
}

uint32_t catalog_count(const struct catalog *c, struct bytes collection)
{
    uint32_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += index_is_live(&c->v[i]) && bytes_equal(index_collection(&c->v[i]), collection);
    return n;
}
