/* Ordered scans: forwards and backwards, by range, prefix and continuation, over one collection or all.
 *
 * All bounds become one half-open range of keys [low, high), the same for each collection:
 *   low   highest of `from` and the prefix, and, forwards, the key right after `after` (after and a zero byte)
 *   high  lowest of `to`, the end of the prefix's keys, and, backwards, `after`
 * A scan over all collections walks them by name and seeks to the range in each; its continuation starts in
 * the collection that it names, and only there is bounded by `after`.
 *
 * As of an lsn the records that are there and those that were deleted are walked side by side, in the order of their keys,
 * and each is looked up as it was then.
 *
 * Bounds longer than any key are cut to one byte more than a key can have, which keeps their order to all keys. */
#include "store/io/state_internal.h"

#include "store/core/check.h"

enum { BOUND_MAX_BYTES = KEY_MAX_BYTES + 1 };

struct bound {
    uint8_t b[BOUND_MAX_BYTES];
    size_t n;
    bool set;
};

/* Rows of `records` or `deleted` with the id of the collection that the scan is in. */
struct stream {
    MDB_cursor *cursor;
    MDB_val k, v;
    /* The cursor is one row ahead, so that the next row is on its way from memory while this one is proven: what LMDB said, and
     * k and v of that row. */
    MDB_val next_k, next_v;
    int next_rc;
    bool positioned; /* the cursor is somewhere in the collection */
    bool there;      /* at a row in the range, which is k and v */
    bool used;       /* the row was given */
};

struct state_scan {
    struct state_snapshot *snap;
    struct stream records, deleted; /* deleted: only of the past */
    MDB_cursor *collections;        /* NULL: one collection only */
    bool reverse;
    bool past;
    struct lsn as_of;
    uint32_t skip_max, skipped;
    bool done;

    struct bound low, high; /* of every collection */
    struct bound after;     /* of the first one */
    struct bytes name;      /* collection that the scan is in: in LMDB's memory or in `first` */
    uint64_t id;
    uint8_t first[COLLECTION_MAX_BYTES];
};

int state_record_damaged(struct err *e, struct bytes collection, struct bytes key,
                         const struct err *why)
{
    char name[ROW_QUOTE_BYTES], quoted[ROW_QUOTE_BYTES];
    if (why->code == ERR_NEWER)
        return err_set(e, ERR_NEWER, "record '%s' of collection '%s': %s", row_quote(key, quoted),
                       row_quote(collection, name), why->text);
    return err_set(e, ERR_INTEGRITY,
                   "record '%s' of collection '%s' is damaged: %s; read it from another site, and "
                   "rebuild this "
                   "site's state from the repository",
                   row_quote(key, quoted), row_quote(collection, name), why->text);
}

static void bound_set(struct bound *b, struct bytes key)
{
    b->n = key.n < BOUND_MAX_BYTES ? key.n : BOUND_MAX_BYTES;
    if (b->n != 0)
        memcpy(b->b, key.p, b->n);
    b->set = true;
}

static struct bytes bound_bytes(const struct bound *b)
{
    return bytes_of(b->b, b->n);
}

static void raise_low(struct bound *low, struct bytes key)
{
    if (!low->set || bytes_compare(key, bound_bytes(low)) > 0)
        bound_set(low, key);
}

static void lower_high(struct bound *high, struct bytes key)
{
    if (!high->set || bytes_compare(key, bound_bytes(high)) < 0)
        bound_set(high, key);
}

/* The first key after all that have the prefix: its last byte below 0xff counted up, the rest cut. None when all bytes are
 * 0xff. */
static void lower_to_prefix_end(struct bound *high, struct bytes prefix)
{
    struct bound end;
    bound_set(&end, prefix);
    while (end.n != 0 && end.b[end.n - 1] == 0xff)
        end.n--;
    if (end.n == 0)
        return;
    end.b[end.n - 1]++;
    lower_high(high, bound_bytes(&end));
}

static void set_bounds(struct state_scan *scan, const struct scan_options *o)
{
    if (o->from.n != 0)
        raise_low(&scan->low, o->from);
    if (o->to.n != 0)
        lower_high(&scan->high, o->to);
    if (o->prefix.n != 0) {
        raise_low(&scan->low, o->prefix);
        lower_to_prefix_end(&scan->high, o->prefix);
    }
    if (o->after.n != 0 && (o->collection.n != 0 || o->after_collection.n != 0))
        bound_set(&scan->after, o->after);
}

/* ---- which collection ---- */

static int enter(struct state_scan *scan, struct bytes name, struct bytes row, struct err *e)
{
    struct collection_row c;
    int rc = row_read_collection(name, row, &c, e);
    scan->name = name;
    scan->id = c.id;
    return rc;
}

/* The collection where a scan over all begins. */
static int first_collection(struct state_scan *scan, struct bytes from, struct err *e)
{
    MDB_val k = val_of(from), v;
    int rc;
    if (from.n == 0)
        rc = mdb_cursor_get(scan->collections, &k, &v, scan->reverse ? MDB_LAST : MDB_FIRST);
    else if ((rc = mdb_cursor_get(scan->collections, &k, &v, MDB_SET_RANGE)) == 0 ||
             rc == MDB_NOTFOUND) {
        bool here = rc == 0 && bytes_equal(bytes_of_val(k), from);
        if (!here) /* it has no records any more: the scan goes on at its neighbour, from the start */
            scan->after.set = false;
        if (!here && scan->reverse)
            rc = mdb_cursor_get(scan->collections, &k, &v, rc == 0 ? MDB_PREV : MDB_LAST);
    }
    if (rc == MDB_NOTFOUND) {
        scan->done = true;
        return 0;
    }
    return rc != 0 ? state_lmdb_error(e, scan->snap->state->env, rc, "scan")
                   : enter(scan, bytes_of_val(k), bytes_of_val(v), e);
}

static int next_collection(struct state_scan *scan, struct err *e)
{
    scan->records.positioned = scan->deleted.positioned = false;
    scan->after.set = false;
    if (scan->collections == NULL) {
        scan->done = true;
        return 0;
    }
    MDB_val k, v;
    int rc = mdb_cursor_get(scan->collections, &k, &v, scan->reverse ? MDB_PREV : MDB_NEXT);
    if (rc == MDB_NOTFOUND) {
        scan->done = true;
        return 0;
    }
    return rc != 0 ? state_lmdb_error(e, scan->snap->state->env, rc, "scan")
                   : enter(scan, bytes_of_val(k), bytes_of_val(v), e);
}

static int open_cursors(struct state_scan *scan, bool all, struct err *e)
{
    struct state_snapshot *snap = scan->snap;
    const MDB_dbi *dbi = snap->t.dbi;
    int rc = mdb_cursor_open(snap->t.txn, dbi[DB_RECORDS], &scan->records.cursor);
    if (rc == 0 && scan->past)
        rc = mdb_cursor_open(snap->t.txn, dbi[DB_DELETED], &scan->deleted.cursor);
    if (rc == 0 && all)
        rc = mdb_cursor_open(snap->t.txn, dbi[DB_COLLECTIONS], &scan->collections);
    return rc == 0 ? 0 : state_lmdb_error(e, snap->state->env, rc, "scan");
}

int state_scan_open(struct state_snapshot *snap, const struct scan_options *options,
                    struct state_scan **out, struct err *e)
{
    *out = NULL;
    struct state_scan *scan = calloc(1, sizeof *scan);
    if (scan == NULL)
        return err_set(e, ERR_NO_MEMORY, "scan: out of memory");
    scan->snap = snap;
    scan->reverse = options->reverse;
    scan->skip_max = options->skip_max;
    set_bounds(scan, options);
    snap->scans++;
    int rc = state_as_of(snap, options->as_of, &scan->as_of, e);
    scan->past = rc == 0 && scan->as_of.v < snap->row.at.lsn.v;
    if (rc == 0)
        rc = open_cursors(scan, options->collection.n == 0, e);
    if (rc != 0) {
        /* said above */
    } else if (scan->collections != NULL) {
        rc = first_collection(scan, options->after_collection, e);
    } else if (options->collection.n > COLLECTION_MAX_BYTES) {
        scan->done = true;
    } else {
        struct collection_row row;
        rc = row_get_collection(&snap->t, options->collection, &row, e);
        scan->done = rc == ERR_NOT_FOUND;
        if (scan->done)
            rc = 0;
        memcpy(scan->first, options->collection.p, options->collection.n);
        scan->name = bytes_of(scan->first, options->collection.n);
        scan->id = row.id;
    }
    if (rc != 0) {
        state_scan_close(scan);
        return rc;
    }
    *out = scan;
    return 0;
}

void state_scan_close(struct state_scan *scan)
{
    if (scan == NULL)
        return;
    if (scan->records.cursor != NULL)
        mdb_cursor_close(scan->records.cursor);
    if (scan->deleted.cursor != NULL)
        mdb_cursor_close(scan->deleted.cursor);
    if (scan->collections != NULL)
        mdb_cursor_close(scan->collections);
    scan->snap->scans--;
    free(scan);
}

/* ---- records of a collection ---- */

static int seek(MDB_cursor *cursor, struct bytes key, uint64_t id, MDB_val *k, MDB_val *v)
{
    uint8_t buffer[COLLECTION_ID_BYTES + BOUND_MAX_BYTES];
    put_be64(buffer, id);
    if (key.n != 0)
        memcpy(buffer + COLLECTION_ID_BYTES, key.p, key.n);
    *k = (MDB_val){COLLECTION_ID_BYTES + key.n, buffer};
    /* Read again, so that the key is the one in the page, which outlives this buffer. */
    int rc = mdb_cursor_get(cursor, k, v, MDB_SET_RANGE);
    return rc == 0 ? mdb_cursor_get(cursor, k, v, MDB_GET_CURRENT) : rc;
}

static int position_forwards(const struct state_scan *scan, MDB_cursor *cursor, MDB_val *k,
                             MDB_val *v)
{
    struct bound low = scan->low;
    bool strictly = false;
    if (scan->after.set &&
        (!low.set || bytes_compare(bound_bytes(&scan->after), bound_bytes(&low)) >= 0)) {
        low = scan->after;
        strictly = true;
    }
    int rc = seek(cursor, bound_bytes(&low), scan->id, k, v);
    if (rc == 0 && strictly && k->mv_size == COLLECTION_ID_BYTES + low.n &&
        get_be64(k->mv_data) == scan->id &&
        memcmp((const uint8_t *)k->mv_data + COLLECTION_ID_BYTES, low.b, low.n) == 0)
        rc = mdb_cursor_get(cursor, k, v, MDB_NEXT);
    return rc;
}

static int position_backwards(const struct state_scan *scan, MDB_cursor *cursor, MDB_val *k,
                              MDB_val *v)
{
    struct bound high = scan->high;
    if (scan->after.set)
        lower_high(&high, bound_bytes(&scan->after));
    int rc = high.set ? seek(cursor, bound_bytes(&high), scan->id, k, v)
                      : seek(cursor, (struct bytes){NULL, 0}, scan->id + 1, k, v);
    if (rc == MDB_NOTFOUND)
        return mdb_cursor_get(cursor, k, v, MDB_LAST);
    return rc == 0 ? mdb_cursor_get(cursor, k, v, MDB_PREV) : rc;
}

static struct bytes key_of(MDB_val k)
{
    return bytes_of((const uint8_t *)k.mv_data + COLLECTION_ID_BYTES,
                    k.mv_size - COLLECTION_ID_BYTES);
}

static bool in_range(const struct state_scan *scan, MDB_val k)
{
    if (k.mv_size < COLLECTION_ID_BYTES || get_be64(k.mv_data) != scan->id)
        return false;
    if (scan->reverse)
        return !scan->low.set || bytes_compare(key_of(k), bound_bytes(&scan->low)) >= 0;
    return !scan->high.set || bytes_compare(key_of(k), bound_bytes(&scan->high)) < 0;
}

/* To the next row that was not given yet. */
static int advance(const struct state_scan *scan, struct stream *s, struct err *e)
{
    int rc = 0;
    if (s->cursor == NULL || (s->positioned && (!s->there || !s->used)))
        return 0;
    if (s->positioned) {
        rc = s->next_rc;
        s->k = s->next_k;
        s->v = s->next_v;
    } else if (scan->reverse)
        rc = position_backwards(scan, s->cursor, &s->k, &s->v);
    else
        rc = position_forwards(scan, s->cursor, &s->k, &s->v);
    s->positioned = true;
    s->used = false;
    s->there = rc == 0 && in_range(scan, s->k);
    if (s->there) {
        s->next_rc =
            mdb_cursor_get(s->cursor, &s->next_k, &s->next_v, scan->reverse ? MDB_PREV : MDB_NEXT);
        if (s->next_rc == 0)
            row_prefetch(bytes_of_val(s->next_v));
    }
    return rc == 0 || rc == MDB_NOTFOUND ? 0
                                         : state_lmdb_error(e, scan->snap->state->env, rc, "scan");
}

/* The stream whose row comes next; NULL at the end of the collection. */
static struct stream *choose(struct state_scan *scan)
{
    struct stream *r = &scan->records, *d = &scan->deleted;
    if (!r->there || !d->there)
        return r->there ? r : d->there ? d : NULL;
    int c = bytes_compare(key_of(r->k), key_of(d->k));
    return (scan->reverse ? c >= 0 : c <= 0) ? r : d;
}

/* The row as a record of the present or the past; ERR_NOT_FOUND: it was not there then. */
static int resolve(struct state_scan *scan, const struct stream *s, struct record *out,
                   struct err *e)
{
    const struct bytes row_key = bytes_of_val(s->k);
    struct digest digest;
    struct deleted_row gone;
    int rc = 0;
    if (s == &scan->records) {
        rc = row_read_record(row_key, bytes_of_val(s->v), true, out, &digest, e);
        if (rc != 0 || !scan->past || out->lsn.v <= scan->as_of.v)
            return rc;
        return past_find(scan->snap, row_key, out->lsn, scan->as_of, out, e);
    }
    rc = row_read_deleted(row_key, bytes_of_val(s->v), &gone, e);
    if (rc != 0)
        return rc;
    return gone.lsn.v <= scan->as_of.v
               ? ERR_NOT_FOUND
               : past_find(scan->snap, row_key, gone.lsn, scan->as_of, out, e);
}

int state_scan_next(struct state_scan *scan, struct record *out, struct err *e)
{
    out->key = (struct bytes){NULL, 0};
    while (!scan->done) {
        int rc = advance(scan, &scan->records, e);
        if (rc == 0)
            rc = advance(scan, &scan->deleted, e);
        if (rc != 0)
            return rc;
        struct stream *s = choose(scan);
        if (s == NULL) {
            if ((rc = next_collection(scan, e)) != 0)
                return rc;
            continue;
        }
        s->used = true;
        struct err why;
        err_init(&why);
        rc = resolve(scan, s, out, &why);
        if (rc == ERR_NOT_FOUND && (scan->skip_max == 0 || ++scan->skipped < scan->skip_max))
            continue;
        scan->skipped = 0;
        out->collection = scan->name;
        out->key = key_of(s->k);
        if (rc == ERR_NOT_FOUND)
            return err_set(e, ERR_LIMIT, "%u records were not there then", scan->skip_max);
        if (rc == ERR_INTEGRITY || rc == ERR_FORMAT)
            return state_record_damaged(e, scan->name, out->key, &why);
        return rc == 0 ? 0 : err_set(e, rc, "%s", why.text);
    }
    return err_set(e, ERR_NOT_FOUND, "the scan is at its end");
}
