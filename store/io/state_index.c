/* Secondary indexes: which there are, and how applying keeps their rows.
 *
 * A declaration is a record like others; what each site makes of it is its own. The catalog (rows of `indexes`) says which
 * indexes this site has, how far each is built, and under which id its rows stand in `index`. It changes in the LMDB transaction
 * of the records, so a snapshot, a restart and a return to the checkpoint see both as they belong together.
 *
 * STATES
 *   (declared) -> BUILDING -> READY      state_index_build.c
 *   BUILDING, READY -> DROPPING -> gone  no longer declared; or declared on something else; or distrusted: then it is declared
 *                                        still, and begins as BUILDING under a new id at once
 *
 * INVARIANTS
 *   X1  An index has exactly the rows of the records it covers: READY all, BUILDING those up to its place (index_covers).
 *   X2  The catalog that holds for a batch is the one before it, also where the batch declares: what it declares counts from
 *       behind it. An index that begins covers nothing, and one whose declaration went and came has been kept up; so X1 holds
 *       however the entries are cut into batches.
 *   X3  `rows` is the number of rows; `duplicates`, of a unique index, rows less different values.
 *   X4  Ids are never given twice while rows of the first are left.
 *
 * FAILURE MODES: what cannot be trusted is built anew, never repaired: a record that was damaged before it was overwritten (its
 * old rows are not known), a row that should have been there, a damaged row; also when a transaction would change more rows
 * than one of LMDB's may hold, which the primary does not let in, but a log may have from before the index. Nothing about an
 * index ever stops a site. */
#include "store/io/state_index.h"

#include "store/core/check.h"

#include <stdlib.h>

/* ---- what changes ---- */

struct index_change {
    size_t key, record_key; /* places in the arena */
    uint16_t key_bytes, value_bytes, record_key_bytes;
    bool is_added;
    uint64_t id;
};

void index_gather_free(struct index_gather *g)
{
    free(g->v);
    free(g->arena);
    *g = (struct index_gather){.n = 0};
}

static int reserve(struct index_gather *g, struct err *e)
{
    enum { MOST = INDEX_ROW_KEY_MAX_BYTES + KEY_MAX_BYTES };
    if (g->n == g->cap) {
        const size_t cap = g->cap == 0 ? 256 : 2 * g->cap;
        struct index_change *v = realloc(g->v, cap * sizeof *v);
        if (v == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for %zu rows of indexes", cap);
        g->v = v;
        g->cap = cap;
    }
    if (g->arena_cap - g->used < MOST) {
        const size_t cap = g->arena_cap == 0 ? 64 << 10 : 2 * g->arena_cap;
        uint8_t *arena = realloc(g->arena, cap);
        if (arena == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for %zu bytes of index rows", cap);
        g->arena = arena;
        g->arena_cap = cap;
    }
    return 0;
}

static int add_change(struct index_gather *g, const struct index *x, const struct index_key *value,
                      struct bytes record_key, bool is_added, struct err *e)
{
    int rc = reserve(g, e);
    if (rc != 0)
        return rc;
    const struct bytes key =
        index_row_key(x->id, index_key_bytes(value), record_key, g->arena + g->used);
    g->v[g->n++] = (struct index_change){.key = g->used,
                                         .record_key = g->used + key.n,
                                         .key_bytes = (uint16_t)key.n,
                                         .value_bytes = (uint16_t)value->n,
                                         .record_key_bytes = (uint16_t)record_key.n,
                                         .is_added = is_added,
                                         .id = x->id};
    memcpy(g->arena + g->used + key.n, record_key.p, record_key.n);
    g->used += key.n + record_key.n;
    return 0;
}

int index_gather_value(struct index_gather *g, const struct catalog *c, const struct index *only,
                       struct bytes collection, struct bytes key, struct bytes value, bool is_added,
                       struct err *e)
{
    struct index_document *doc = NULL;
    struct index_key row;
    bool open = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < c->n; i++) {
        const struct index *x = &c->v[i];
        if (only != NULL ? x != only
                         : !index_is_live(x) || x->distrusted || !index_covers(x, key) ||
                               !bytes_equal(index_collection(x), collection))
            continue;
        if (!open)
            rc = index_document_open(value, &doc, e);
        open = true;
        if (rc == 0 && index_document_key(doc, &x->declaration, &row))
            rc = add_change(g, x, &row, key, is_added, e);
    }
    index_document_close(doc);
    return rc;
}

void index_distrust(struct index_gather *g, struct index *x, const char *why)
{
    char name[ROW_QUOTE_BYTES], collection[ROW_QUOTE_BYTES];
    x->distrusted = x->changed = true;
    g->distrusted++;
    err_set(&g->trouble, ERR_INTEGRITY, "index '%s' of collection '%s' is built anew: %s",
            row_quote(index_name(x), name), row_quote(index_collection(x), collection), why);
}

void index_distrust_record(struct index_gather *g, const struct catalog *c, struct bytes collection,
                           struct bytes key)
{
    char quoted[ROW_QUOTE_BYTES], why[ROW_QUOTE_BYTES + 100];
    (void)snprintf(why, sizeof why, "record '%s' was damaged when it was replaced",
                   row_quote(key, quoted));
    for (size_t i = 0; i < c->n; i++)
        if (index_is_live(&c->v[i]) && !c->v[i].distrusted && index_covers(&c->v[i], key) &&
            bytes_equal(index_collection(&c->v[i]), collection))
            index_distrust(g, &c->v[i], why);
}

void index_distrust_all(struct index_gather *g, const struct catalog *c, struct bytes collection,
                        const char *why)
{
    for (size_t i = 0; i < c->n; i++)
        if (index_is_live(&c->v[i]) && !c->v[i].distrusted &&
            bytes_equal(index_collection(&c->v[i]), collection))
            index_distrust(g, &c->v[i], why);
}

/* ---- writing it ---- */

static struct bytes key_of(const struct index_gather *g, const struct index_change *w)
{
    return bytes_of(g->arena + w->key, w->key_bytes);
}

/* By row; of one row what goes comes first. */
static int compare_changes(const void *pa, const void *pb, void *arg)
{
    const struct index_change *a = pa, *b = pb;
    int c = bytes_compare(key_of(arg, a), key_of(arg, b));
    return c != 0 ? c : (int)a->is_added - (int)b->is_added;
}

/* Is there a row with the value of this one? */
static int value_is_there(const struct state_txn *t, struct bytes value, bool *there, struct err *e)
{
    MDB_cursor *cursor;
    MDB_val k = val_of(value), v;
    int rc = mdb_cursor_open(t->txn, t->dbi[DB_INDEX], &cursor);
    *there = false;
    if (rc == 0) {
        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
        *there = rc == 0 && k.mv_size > value.n && memcmp(k.mv_data, value.p, value.n) == 0;
        mdb_cursor_close(cursor);
    }
    return rc == 0 || rc == MDB_NOTFOUND
               ? 0
               : state_lmdb_error(e, mdb_txn_env(t->txn), rc, state_db_name(DB_INDEX));
}

static int write_change(struct index_gather *g, struct index *x, const struct state_txn *t,
                        const struct index_change *w, struct err *e)
{
    const struct bytes key = key_of(g, w);
    const struct bytes value = bytes_of(key.p, 8u + w->value_bytes);
    bool added = true, there = false;
    struct err why = ERR_NONE;
    int rc = 0;
    if (w->is_added && x->declaration.unique)
        rc = value_is_there(t, value, &there, e);
    if (rc != 0)
        return rc;
    if (w->is_added)
        rc = row_add_index(t, key, w->value_bytes,
                           bytes_of(g->arena + w->record_key, w->record_key_bytes), &added, &why);
    else
        rc = row_delete(t, DB_INDEX, key, &why);
    if (rc == ERR_INTEGRITY || rc == ERR_NOT_FOUND) {
        index_distrust(g, x, rc == ERR_NOT_FOUND ? "a row was missing" : why.text);
        return 0;
    }
    if (rc != 0)
        return err_set(e, rc, "%s", why.text);
    if (!added)
        return 0;
    if (!w->is_added && x->declaration.unique)
        rc = value_is_there(t, value, &there, e);
    x->changed = true;
    x->rows += w->is_added ? 1 : UINT64_MAX;
    x->duplicates += !there ? 0 : w->is_added ? 1 : UINT64_MAX;
    return rc;
}

int index_write(struct index_gather *g, struct catalog *c, const struct state_txn *t, struct err *e)
{
    int rc = 0;
    if (g->n != 0)
        qsort_r(g->v, g->n, sizeof *g->v, compare_changes, g);
    for (size_t i = 0; rc == 0 && i < g->n; i++) {
        const struct index_change *w = &g->v[i];
        if (i + 1 < g->n && compare_changes(w, &g->v[i + 1], g) == -1 &&
            bytes_equal(key_of(g, w), key_of(g, &g->v[i + 1]))) {
            i++; /* it goes and comes: the record keeps its value */
            continue;
        }
        struct index *x = catalog_of_id(c, w->id);
        check(x != NULL);
        if (!x->distrusted)
            rc = write_change(g, x, t, w, e);
    }
    g->n = g->used = 0;
    return rc;
}

/* ---- what is declared ---- */

int index_each_declared(const struct state_txn *t, int (*each)(void *arg, const struct declared *d),
                        void *arg, struct err *e)
{
    struct collection_row row;
    uint8_t start[COLLECTION_ID_BYTES];
    MDB_cursor *cursor;
    int rc = row_get_collection(t, bytes_str(INDEXES_COLLECTION), &row, e);
    if (rc != 0)
        return rc == ERR_NOT_FOUND ? 0 : rc;
    put_be64(start, row.id);
    MDB_val k = {sizeof start, start}, v;
    if ((rc = mdb_cursor_open(t->txn, t->dbi[DB_RECORDS], &cursor)) != 0)
        return state_lmdb_error(e, mdb_txn_env(t->txn), rc, "declared indexes");
    int said = 0;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
         rc == 0 && k.mv_size > COLLECTION_ID_BYTES && get_be64(k.mv_data) == row.id;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct record r = {.lsn = {0}};
        struct digest digest;
        struct err why = ERR_NONE;
        const bool bad = row_read_record(bytes_of_val(k), bytes_of_val(v), true, &r, &digest, &why);
        r.key = bytes_of((const uint8_t *)k.mv_data + COLLECTION_ID_BYTES,
                         k.mv_size - COLLECTION_ID_BYTES);
        if ((said = each(arg, &(struct declared){r.key, r.value, r.lsn, bad ? why.text : NULL})) !=
            0)
            break;
    }
    mdb_cursor_close(cursor);
    if (said != 0 || rc == 0 || rc == MDB_NOTFOUND)
        return said;
    return state_lmdb_error(e, mdb_txn_env(t->txn), rc, "declared indexes");
}

static uint64_t next_id(const struct catalog *c, const struct state_txn *t)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    uint64_t id = 0;
    for (size_t i = 0; i < c->n; i++)
        id = c->v[i].id > id ? c->v[i].id : id;
    if (mdb_cursor_open(t->txn, t->dbi[DB_INDEX], &cursor) == 0) {
        if (mdb_cursor_get(cursor, &k, &v, MDB_LAST) == 0 && k.mv_size >= 8 &&
            get_be64(k.mv_data) > id)
            id = get_be64(k.mv_data);
        mdb_cursor_close(cursor);
    }
    return id + 1;
}

static int begin_index(struct catalog *c, const struct state_txn *t, struct bytes collection,
                       struct bytes name, const struct index_declaration *d, struct lsn declared,
                       struct err *e)
{
    struct index x = {.id = next_id(c, t),
                      .collection_bytes = collection.n,
                      .name_bytes = name.n,
                      .status = INDEX_BUILDING,
                      .declaration = *d,
                      .declared = declared,
                      .changed = true,
                      .moved = true,
                      .seen = true};
    memcpy(x.collection_name, collection.p, collection.n);
    memcpy(x.own_name, name.p, name.n);
    return catalog_add(c, &x, e);
}

static void drop(struct index *x)
{
    x->status = INDEX_DROPPING;
    x->changed = x->moved = true;
}

int index_can_begin(const struct catalog *c, struct bytes collection, struct err *e)
{
    size_t live = 0;
    for (size_t i = 0; i < c->n; i++)
        live += index_is_live(&c->v[i]);
    if (live >= INDEXES_MAX)
        return err_set(e, ERR_LIMIT, "this site has %d indexes, and may not have more",
                       INDEXES_MAX);
    return catalog_count(c, collection) < INDEXES_PER_COLLECTION
               ? 0
               : err_set(e, ERR_LIMIT, "its collection has %d indexes, and may not have more",
                         INDEXES_PER_COLLECTION);
}

struct reconcile {
    struct catalog *c;
    const struct state_txn *t;
    bool may_begin; /* the second pass: what is not declared any more is dropped by then */
    struct err *e;
};

static int reconcile_one(void *arg, const struct declared *declared)
{
    struct reconcile *r = arg;
    struct bytes collection, name;
    struct index_declaration d;
    if (index_read_declared_key(declared->key, &collection, &name, NULL) != 0)
        return 0;
    struct index *x = catalog_find(r->c, collection, name);
    if (declared->why != NULL) { /* damaged here: it is believed to be what it was */
        if (x != NULL)
            x->seen = true;
        return 0;
    }
    struct err why = ERR_NONE;
    int rc = index_declaration_parse(declared->value, &d, &why);
    if (rc != 0)
        return rc == ERR_NO_MEMORY ? err_set(r->e, rc, "%s", why.text) : 0;
    if (x != NULL && index_declaration_same_rows(&x->declaration, &d)) {
        x->changed |= x->declared.v != declared->lsn.v;
        x->declared = declared->lsn;
        x->declaration = d;
        x->seen = true;
        return 0;
    }
    if (!r->may_begin || index_can_begin(r->c, collection, NULL) != 0)
        return 0;
    return begin_index(r->c, r->t, collection, name, &d, declared->lsn, r->e);
}

int index_reconcile(struct state *s, const struct state_txn *t, struct err *e)
{
    struct reconcile r = {.c = &s->catalog, .t = t, .e = e};
    for (size_t i = 0; i < s->catalog.n; i++)
        s->catalog.v[i].seen = false;
    int rc = index_each_declared(t, reconcile_one, &r, e);
    if (rc == ERR_INTEGRITY) /* what is declared cannot be read: it is believed to be what it was */
        return 0;
    for (size_t i = 0; rc == 0 && i < s->catalog.n; i++)
        if (index_is_live(&s->catalog.v[i]) && !s->catalog.v[i].seen)
            drop(&s->catalog.v[i]);
    r.may_begin = true;
    return rc != 0 ? rc : index_each_declared(t, reconcile_one, &r, e);
}

/* ---- the catalog, from transaction to transaction ---- */

static int save_one(const struct state_txn *t, const struct index *x, struct err *e)
{
    uint8_t k[INDEX_CATALOG_KEY_MAX_BYTES];
    if (!x->gone)
        return row_put_catalog(t, x, e);
    int rc =
        row_delete(t, DB_INDEXES, row_catalog_key(index_collection(x), index_name(x), x->id, k), e);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

int index_save(struct state *s, const struct state_txn *t, struct err *e)
{
    struct catalog *c = &s->catalog;
    int rc = 0;
    for (size_t i = 0, n = c->n; rc == 0 && i < n; i++) {
        if (!c->v[i].distrusted)
            continue;
        c->v[i].distrusted = false;
        if (!index_is_live(&c->v[i])) /* dropped by the same transaction */
            continue;
        drop(&c->v[i]);
        const struct index old = c->v[i]; /* the catalog moves when it grows */
        rc = begin_index(c, t, index_collection(&old), index_name(&old), &old.declaration,
                         old.declared, e);
    }
    for (size_t i = 0; rc == 0 && i < c->n; i++)
        if (c->v[i].changed)
            rc = save_one(t, &c->v[i], e);
    return rc;
}

/* For state_index_count(): names of collections, and how many indexes each has. */
static void publish(struct state *s)
{
    const struct catalog *c = &s->catalog;
    struct index_count *counts = NULL;
    size_t n = 0;
    if (c->n != 0)
        counts = calloc(c->n, sizeof *counts);
    s->counts_are_stale = c->n != 0 && counts == NULL;
    if (s->counts_are_stale) /* tried again after the next transaction */
        return;
    for (size_t i = 0; i < c->n; i++) {
        const struct index *x = &c->v[i];
        size_t at = 0;
        while (at < n &&
               !bytes_equal(bytes_of(counts[at].name, counts[at].name_bytes), index_collection(x)))
            at++;
        if (at == n) {
            memcpy(counts[n].name, x->collection_name, x->collection_bytes);
            counts[n++].name_bytes = x->collection_bytes;
        }
        counts[at].indexes += index_is_live(x);
    }
    (void)pthread_mutex_lock(&s->lock);
    struct index_count *old = s->index_counts;
    s->index_counts = counts;
    s->index_counts_n = n;
    (void)pthread_mutex_unlock(&s->lock);
    free(old);
}

uint32_t state_index_count(struct state *s, struct bytes collection)
{
    uint32_t indexes = 0;
    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->index_counts_n; i++)
        if (bytes_equal(bytes_of(s->index_counts[i].name, s->index_counts[i].name_bytes),
                        collection))
            indexes = s->index_counts[i].indexes;
    (void)pthread_mutex_unlock(&s->lock);
    return indexes;
}

void index_committed(struct state *s, struct index_gather *g)
{
    struct catalog *c = &s->catalog;
    size_t kept = 0;
    bool any = s->counts_are_stale;
    for (size_t i = 0; i < c->n; i++) {
        any |= c->v[i].moved;
        c->v[i].changed = c->v[i].moved = false;
        if (!c->v[i].gone && kept++ != i)
            c->v[kept - 1] = c->v[i];
    }
    c->n = kept;
    if (any)
        publish(s);
    if (g == NULL || g->distrusted == 0)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->index_trouble.rebuilt += g->distrusted;
    memcpy(s->index_trouble.last, g->trouble.text, sizeof s->index_trouble.last);
    (void)pthread_mutex_unlock(&s->lock);
    g->distrusted = 0;
}

void index_dropped(struct state *s, struct index_gather *g)
{
    s->catalog_is_stale = true;
    if (g != NULL)
        g->n = g->used = g->distrusted = 0;
}

void state_index_trouble(struct state *s, struct state_index_trouble *out)
{
    (void)pthread_mutex_lock(&s->lock);
    *out = s->index_trouble;
    (void)pthread_mutex_unlock(&s->lock);
}

int index_refresh(struct state *s, const struct state_txn *t, struct err *e)
{
    if (!s->catalog_is_stale)
        return 0;
    int rc = catalog_load(&s->catalog, t, NULL, NULL, e);
    s->catalog_is_stale = rc != 0;
    return rc;
}

/* ---- open ---- */

struct lost {
    struct state *s;
    struct err *e;
    int rc;
};

/* A row of the catalog that cannot be read: what it says is not known, but its id is, from its key. Its rows go; and as its name
 * has no index any more, what is declared begins anew. */
static void lost_row(void *arg, struct bytes key)
{
    struct lost *l = arg;
    struct index x = {.status = INDEX_DROPPING, .changed = true};
    struct bytes collection, name;
    if (key.n < 9 ||
        index_read_declared_key(bytes_of(key.p, key.n - 9), &collection, &name, NULL) != 0)
        return;
    memcpy(x.collection_name, collection.p, collection.n);
    memcpy(x.own_name, name.p, name.n);
    x.collection_bytes = collection.n;
    x.name_bytes = name.n;
    x.id = get_be64(key.p + key.n - 8);
    if (l->rc == 0)
        l->rc = catalog_add(&l->s->catalog, &x, l->e);
}

int index_begin(struct state *s, const struct state_txn *t, struct err *e)
{
    struct lost lost = {.s = s, .e = e};
    s->catalog_is_stale = true;
    int rc = catalog_load(&s->catalog, t, lost_row, &lost, e);
    if (rc == 0)
        rc = lost.rc;
    if (rc == 0)
        rc = index_reconcile(s, t, e);
    if (rc == 0)
        rc = index_save(s, t, e);
    s->catalog_is_stale = rc != 0;
    return rc;
}

void index_begun(struct state *s)
{
    index_committed(s, NULL);
    publish(s);
}

void index_end(struct state *s)
{
    catalog_free(&s->catalog);
    free(s->index_counts);
    s->index_counts = NULL;
    s->index_counts_n = 0;
    if (s->index_gather != NULL)
        index_gather_free(s->index_gather);
    free(s->index_gather);
    s->index_gather = NULL;
}
