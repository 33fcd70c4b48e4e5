/* Secondary indexes inside the state: the catalog, what a batch changes of the rows, and the rows themselves.
 *
 * Reading order: state_index_rows.c (formats, the catalog's rows), state_index.c (declarations, and what applying does),
 * state_index_build.c (in the background), state_index_scan.c (reading), state_index_verify.c (checking). */
#ifndef STORE_IO_STATE_INDEX_H
#define STORE_IO_STATE_INDEX_H

#include "store/io/index_json.h"
#include "store/io/state_internal.h"

/* A row of `indexes`, as the catalog holds it. A BUILDING index has the rows of the records up to `place`, a READY one of all; a
 * DROPPING one has some rows left. */
struct index {
    uint64_t id;
    uint8_t collection_name[COLLECTION_MAX_BYTES], own_name[INDEX_NAME_MAX_BYTES];
    size_t collection_bytes, name_bytes;
    enum index_status status;
    struct index_declaration declaration;
    struct lsn declared;
    uint64_t rows, duplicates, passed;
    uint8_t place[KEY_MAX_BYTES]; /* key of the last record that was passed; no bytes: none */
    size_t place_bytes;

    bool changed;    /* in the transaction at hand: the row is to be written */
    bool moved;      /* and it is new, or live no more */
    bool distrusted; /* and its rows are to be built anew */
    bool gone;       /* and the row is to be removed */
    bool seen;       /* index_reconcile */
};
static inline struct bytes index_collection(const struct index *x)
{
    return bytes_of(x->collection_name, x->collection_bytes);
}
static inline struct bytes index_name(const struct index *x)
{
    return bytes_of(x->own_name, x->name_bytes);
}
static inline bool index_is_live(const struct index *x)
{
    return x->status != INDEX_DROPPING && !x->gone;
}
/* Has it a row for the record, if the record belongs into it? */
static inline bool index_covers(const struct index *x, struct bytes key)
{
    return x->status == INDEX_READY ||
           (x->status == INDEX_BUILDING && x->place_bytes != 0 &&
            bytes_compare(key, bytes_of(x->place, x->place_bytes)) <= 0);
}

void catalog_free(struct catalog *c);
/* Pointers into the catalog end with it. */
int catalog_add(struct catalog *c, const struct index *x, struct err *e);
/* All rows of `indexes`. A damaged one is left out and told to `damaged` (may be NULL). */
int catalog_load(struct catalog *c, const struct state_txn *t,
                 void (*damaged)(void *arg, struct bytes key), void *arg, struct err *e);
/* The one that is not DROPPING; NULL. */
struct index *catalog_find(const struct catalog *c, struct bytes collection, struct bytes name);
struct index *catalog_of_id(const struct catalog *c, uint64_t id);
uint32_t catalog_count(const struct catalog *c, struct bytes collection);

/* ---- rows: state_index_rows.c ---- */
enum {
    INDEX_CATALOG_KEY_MAX_BYTES = INDEX_DECLARED_KEY_MAX_BYTES + 1 + 8,
    INDEX_CATALOG_ROW_MAX_BYTES = 2048,
    INDEX_ROW_BYTES = 6, /* before the record key */
};
/* Collection, '/', name, zero, id be64: the newest rows of one name are the last. */
struct bytes row_catalog_key(struct bytes collection, struct bytes name, uint64_t id,
                             uint8_t out[INDEX_CATALOG_KEY_MAX_BYTES]);
int row_read_catalog(struct bytes key, struct bytes row, struct index *out, struct err *e);
int row_put_catalog(const struct state_txn *t, const struct index *x, struct err *e);

struct index_row {
    uint64_t id;
    struct bytes value, record_key; /* views of key and row */
};
int row_read_index(struct bytes key, struct bytes row, struct index_row *out, struct err *e);
/* *added is false, and nothing is changed, when the very row is there. */
int row_add_index(const struct state_txn *t, struct bytes key, size_t value_bytes,
                  struct bytes record_key, bool *added, struct err *e);

/* ---- what one transaction changes: state_index.c ---- */
struct index_change; /* a row that goes or comes */
struct index_gather {
    struct index_change *v;
    size_t n, cap;
    uint8_t *arena; /* their keys */
    size_t used, arena_cap;
    uint32_t distrusted; /* indexes that are to be built anew */
    struct err trouble;  /* why: of the last */
};
void index_gather_free(struct index_gather *g);
/* The rows that a value gives the record, in those indexes of its collection that cover it; when `only` is given in that one,
 * whether it covers the record or not. */
int index_gather_value(struct index_gather *g, const struct catalog *c, const struct index *only,
                       struct bytes collection, struct bytes key, struct bytes value, bool is_added,
                       struct err *e);
/* The index is built anew under another id; all that cover a record; all of a collection. */
void index_distrust(struct index_gather *g, struct index *x, const char *why);
void index_distrust_record(struct index_gather *g, const struct catalog *c, struct bytes collection,
                           struct bytes key);
void index_distrust_all(struct index_gather *g, const struct catalog *c, struct bytes collection,
                        const char *why);
/* Write what was gathered, in order of the rows, and count it in the catalog. An index without a row that should be there is
 * distrusted. */
int index_write(struct index_gather *g, struct catalog *c, const struct state_txn *t,
                struct err *e);
/* Change the catalog to what is declared in the transaction. */
int index_reconcile(struct state *s, const struct state_txn *t, struct err *e);
/* 0, or ERR_LIMIT: there are too many already. */
int index_can_begin(const struct catalog *c, struct bytes collection, struct err *e);
/* Put distrusted indexes under new ids, and write the catalog's rows that changed. */
int index_save(struct state *s, const struct state_txn *t, struct err *e);
/* The transaction is committed; or it is not: then the catalog is read again before it is used. `g` may be NULL. */
void index_committed(struct state *s, struct index_gather *g);
void index_dropped(struct state *s, struct index_gather *g);
/* Have the catalog as it is in the transaction. */
int index_refresh(struct state *s, const struct state_txn *t, struct err *e);
/* At open, and at the end of a build, in a write transaction: read the catalog, give up ids whose row is damaged, and take up
 * what is declared. Once it is committed, index_begun(). */
int index_begin(struct state *s, const struct state_txn *t, struct err *e);
void index_begun(struct state *s);
void index_end(struct state *s); /* frees */

/* Records of INDEXES_COLLECTION: damaged ones have `why`, others a value. Stops at the callback's first non-zero result. */
struct declared {
    struct bytes key, value;
    struct lsn lsn;
    const char *why; /* NULL: it can be read */
};
int index_each_declared(const struct state_txn *t, int (*each)(void *arg, const struct declared *d),
                        void *arg, struct err *e);

/* ---- state_index_verify.c ---- */
/* All indexes of a snapshot against its records. */
int index_verify(struct state_snapshot *snap, struct err *e);

/* Rows of `index`, in order, counted by id, beside what the rows of `indexes` say. Zero to begin. */
struct index_tally {
    struct catalog catalog;
    uint64_t *rows, *duplicates; /* by place in the catalog */
    uint64_t stray;              /* of no index in the catalog */
    size_t at;                   /* in the catalog: of the last row */
    uint8_t value[INDEX_KEY_MAX_BYTES];
    size_t value_bytes;
};
int index_tally_catalog(struct index_tally *y, const struct index *x, struct err *e);
void index_tally_row(struct index_tally *y, uint64_t id, struct bytes value);
/* Each index whose number of rows is another than its row says: `differs` is called with a sentence. */
void index_tally_compare(const struct index_tally *y, void (*differs)(void *arg, const char *text),
                         void *arg);
void index_tally_free(struct index_tally *y);

#endif
