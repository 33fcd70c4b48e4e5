/* Applying entries: gather a batch, sort it by record, write the newest effect of each, and what each change replaced.
 *
 * Why sorted: a random put into LMDB copies the pages on its way; the puts of a sorted batch share them. Batches of
 * 10,000 cost a half to a quarter of single ones per put.
 *
 * INVARIANTS
 *   A1  What a site holds after lsn n depends on the entries up to n only, never on how they were cut into batches: records,
 *       collections (those with records), buckets, digests, sessions, results, points; and the past, wherever it can be
 *       read (H5 in state_history.c). The tests compare.
 *   A2  The state row, with position, totals and digest, changes in the LMDB transaction of the data.
 *   A3  A restore point ends its batch: the digest kept with it is the one at its lsn. A name that exists keeps its first lsn.
 *   A4  Conditions were decided at the primary; here only effects are left. A put of the bytes that are there is a
 *       change: the record gets the new lsn.
 *
 * FAILURE MODES: an entry that does not follow, or a body that cannot be read, is refused with its lsn; when LMDB
 * cannot write, the transaction is aborted and the same entries can be applied again later. */
#include "store/io/state_index.h"

#include "store/core/check.h"

#include <errno.h>

struct effect {
    struct bytes collection, key, value;
    struct lsn lsn;
    struct utc time;
    bool is_put;
};

/* What is sorted: the first bytes of the key decide most comparisons without touching the effect and the log. Sixteen of them,
 * because many keys are numbers with zeros in front. */
struct sort_key {
    uint64_t prefix[2]; /* first 16 bytes of the key, big-endian, padded with zeros */
    uint32_t
        run; /* equal: neighbours with the same collection; different: names must be compared */
    uint32_t index; /* of the effect; also the order in the log */
};

struct batch {
    struct effect *effects;
    struct sort_key *sorted;
    size_t n, capacity;
    uint64_t bytes; /* of values */
    uint32_t runs;
    size_t weight; /* ops, and for each two rows of every index of its collection */
    const struct catalog *catalog;
    bool declares; /* it has ops on INDEXES_COLLECTION */

    struct state_session_event *events;
    size_t event_count, event_capacity;

    struct bytes point;       /* name of the restore point that ends the batch; empty: none */
    enum commit_mode mode;    /* 0: unchanged */
    struct entry_position at; /* last entry */

    struct past_gather past;
    struct index_gather index;
    struct digest added[DIGEST_BUCKETS]; /* change of each bucket */
    bool touched[DIGEST_BUCKETS];
};

void state_batch_free(struct batch *b)
{
    if (b == NULL)
        return;
    free(b->effects);
    free(b->sorted);
    free(b->events);
    past_free(&b->past);
    index_gather_free(&b->index);
    free(b);
}

static void batch_reset(struct batch *b, const struct entry_position *at,
                        const struct catalog *catalog)
{
    b->catalog = catalog;
    b->weight = 0;
    b->declares = false;
    b->n = b->event_count = 0;
    b->bytes = 0;
    b->runs = 0;
    b->point = (struct bytes){NULL, 0};
    b->mode = 0;
    b->at = *at;
    memset(b->added, 0, sizeof b->added);
    memset(b->touched, 0, sizeof b->touched);
}

/* ---- gathering ---- */

static int reserve_effects(struct batch *b, size_t more, struct err *e)
{
    size_t need = b->n + more;
    if (need <= b->capacity)
        return 0;
    size_t capacity = b->capacity < 256 ? 256 : b->capacity;
    while (capacity < need)
        capacity *= 2;
    struct effect *effects = realloc(b->effects, capacity * sizeof *effects);
    if (effects != NULL)
        b->effects = effects;
    struct sort_key *sorted = realloc(b->sorted, capacity * sizeof *sorted);
    if (sorted != NULL)
        b->sorted = sorted;
    if (effects == NULL || sorted == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for %zu ops", need);
    b->capacity = capacity;
    return 0;
}

static int add_event(struct batch *b, struct state_session_event event, struct err *e)
{
    if (b->event_count == b->event_capacity) {
        size_t capacity = b->event_capacity == 0 ? 256 : b->event_capacity * 2;
        struct state_session_event *events = realloc(b->events, capacity * sizeof *events);
        if (events == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory for %zu session events", capacity);
        b->events = events;
        b->event_capacity = capacity;
    }
    event.order = (uint32_t)b->event_count;
    b->events[b->event_count++] = event;
    return 0;
}

static struct sort_key sort_key_of(struct bytes key, uint32_t run, size_t index)
{
    uint8_t first[16] = {0};
    memcpy(first, key.p, key.n < sizeof first ? key.n : sizeof first);
    return (struct sort_key){{get_be64(first), get_be64(first + 8)}, run, (uint32_t)index};
}

/* How many indexes the collection of an op has. Most sites have none. */
static size_t indexes_of(struct batch *b, struct bytes collection)
{
    if (collection.p[0] == '_')
        b->declares |= bytes_equal(collection, bytes_str(INDEXES_COLLECTION));
    return b->catalog->n == 0 ? 0 : catalog_count(b->catalog, collection);
}

static int add_txn(struct batch *b, const struct entry_view *v, struct bytes body, struct err *e)
{
    struct body_txn txn;
    int rc = body_read_txn(body, &txn, e);
    if (rc != 0 || (rc = reserve_effects(b, txn.op_count, e)) != 0)
        return rc;
    size_t indexes = 0;
    for (uint32_t i = 0; i < txn.op_count; i++) {
        struct op op;
        if ((rc = body_next_op(&txn.ops, &op, e)) != 0)
            return rc;
        const bool other =
            b->n == 0 || !bytes_equal(b->effects[b->n - 1].collection, op.collection);
        if (other)
            b->runs++;
        if (other || i == 0)
            indexes = indexes_of(b, op.collection);
        b->weight += 1 + 2 * indexes;
        b->effects[b->n] = (struct effect){op.collection, op.key,         op.value,
                                           v->header.lsn, v->header.time, op.kind == OP_PUT};
        b->sorted[b->n] = sort_key_of(op.key, b->runs, b->n);
        b->n++;
        b->bytes += op.value.n;
    }
    if (uuid_is_zero(&txn.session))
        return 0;
    return add_event(b,
                     (struct state_session_event){.session = txn.session,
                                                  .kind = SESSION_EVENT_TXN,
                                                  .sequence = txn.sequence,
                                                  .at = entry_position_of(v)},
                     e);
}

static int add_session(struct batch *b, const struct entry_view *v, struct bytes body,
                       struct err *e)
{
    struct body_session s;
    int rc = body_read_session(body, &s, e);
    if (rc != 0)
        return rc;
    if (s.client.n > CLIENT_NAME_MAX_BYTES)
        return err_set(e, ERR_FORMAT, "session body: client name of %zu bytes", s.client.n);
    return add_event(b,
                     (struct state_session_event){.session = s.session,
                                                  .kind = s.act == SESSION_OPEN ? SESSION_EVENT_OPEN
                                                                                : SESSION_EVENT_END,
                                                  .client = s.client,
                                                  .at = entry_position_of(v)},
                     e);
}

static int add_members(struct batch *b, const struct entry_view *v, struct bytes body,
                       struct err *e)
{
    struct body_members members;
    int rc = body_read_members(body, &members, e);
    if (rc != 0 || (rc = reserve_effects(b, 1, e)) != 0)
        return rc;
    const struct bytes key = bytes_str(MEMBERS_KEY);
    b->runs++;
    b->weight++;
    b->effects[b->n] = (struct effect){
        bytes_str(MEMBERS_COLLECTION), key, body, v->header.lsn, v->header.time, true};
    b->sorted[b->n] = sort_key_of(key, b->runs, b->n);
    b->n++;
    b->bytes += body.n;
    return 0;
}

static int add_entry(struct batch *b, const struct entry_view *v, struct err *e)
{
    struct bytes body = bytes_of(v->body, v->header.body_bytes);
    struct body_config config;
    struct body_restore_point point;
    int rc = 0;
    switch (v->header.kind) {
    case ENTRY_TXN:
        return add_txn(b, v, body, e);
    case ENTRY_SESSION:
        return add_session(b, v, body, e);
    case ENTRY_CONFIG:
        if ((rc = body_read_config(body, &config, e)) == 0)
            b->mode = config.mode;
        return rc;
    case ENTRY_RESTORE_POINT:
        if ((rc = body_read_restore_point(body, &point, e)) == 0)
            b->point = point.name;
        return rc;
    case ENTRY_MEMBERS:
        return add_members(b, v, body, e);
    case ENTRY_NOOP:
    case ENTRY_AUDIT:
        return 0; /* they change the position only */
    }
    return err_set(e, ERR_FORMAT, "entry kind %d is unknown", (int)v->header.kind);
}

/* Take entries until a bound or a restore point; at least one. An entry of a body's size counts as
 * that many bytes. */
static int gather(struct batch *b, const struct entry_view *entries, size_t n, size_t *taken,
                  struct err *e)
{
    for (*taken = 0; *taken < n;) {
        const struct entry_view *v = &entries[*taken];
        if (*taken != 0 && (b->weight >= STATE_BATCH_OPS || b->event_count >= STATE_BATCH_OPS ||
                            b->bytes + v->header.body_bytes > BATCH_MAX_BYTES))
            break;
        const size_t before = b->n;
        const bool declares = b->declares;
        int rc = entry_follows(&b->at, &v->header, e);
        if (rc == 0 && (rc = add_entry(b, v, e)) != 0)
            err_wrap(e, "lsn %llu", (unsigned long long)v->header.lsn.v);
        if (rc != 0)
            return rc;
        if (*taken != 0 && b->weight > STATE_BATCH_OPS) {
            b->n = before; /* a large transaction gets a batch of its own */
            b->declares = declares;
            if (v->header.kind == ENTRY_TXN && b->event_count != 0 &&
                b->events[b->event_count - 1].at.lsn.v == v->header.lsn.v)
                b->event_count--;
            break;
        }
        b->at = entry_position_of(v);
        (*taken)++;
        if (b->point.n != 0)
            break;
    }
    return 0;
}

/* ---- sorting ---- */

static int compare_effects(const void *pa, const void *pb, void *arg)
{
    const struct sort_key *a = pa, *b = pb;
    const struct batch *batch = arg;
    const struct effect *x = &batch->effects[a->index], *y = &batch->effects[b->index];
    if (a->run != b->run) {
        int c = bytes_compare(x->collection, y->collection);
        if (c != 0)
            return c;
    }
    for (unsigned i = 0; i < 2; i++)
        if (a->prefix[i] != b->prefix[i])
            return a->prefix[i] < b->prefix[i] ? -1 : 1;
    int c = bytes_compare(x->key, y->key);
    return c != 0 ? c : (a->index > b->index) - (a->index < b->index);
}

static const struct effect *effect_at(const struct batch *b, size_t i)
{
    return &b->effects[b->sorted[i].index];
}

static bool same_record(const struct batch *b, size_t i, size_t k)
{
    if (memcmp(b->sorted[i].prefix, b->sorted[k].prefix, sizeof b->sorted[i].prefix) != 0)
        return false;
    const struct effect *x = effect_at(b, i), *y = effect_at(b, k);
    return bytes_equal(x->key, y->key) && bytes_equal(x->collection, y->collection);
}

/* The end of the effects of one record that begin at `i`; the last is the newest. */
static size_t record_end(const struct batch *b, size_t i)
{
    size_t end = i + 1;
    while (end < b->n && same_record(b, end - 1, end))
        end++;
    return end;
}

/* ---- writing ---- */

/* The pass over one LMDB transaction. The cursor stays near the last put; a delete goes by key and ends it, because
 * cursors after deletes were where LMDB 0.9 had its bugs. */
struct pass {
    struct state *state;
    struct state_txn t;
    struct batch *batch;
    struct state_row row;
    MDB_cursor *cursor;
    struct collection_row collection;
    bool stored;       /* the collection has a row */
    bool shown;        /* and had records */
    bool rotten;       /* the record at hand was damaged */
    bool indexed;      /* the collection has indexes */
    bool same;         /* the record at hand is put as it was: its rows stay */
    struct bytes key;  /* of its row */
    uint64_t replaced; /* damaged records of this batch */
    struct err damage; /* the last of them */
};

static void count_change(struct pass *p, uint32_t bucket, const struct digest *old,
                         const struct digest *new)
{
    struct digest change = {0, 0};
    if (new != NULL)
        change = digest_add(change, *new);
    if (old != NULL)
        change = digest_sub(change, *old);
    p->row.digest = digest_add(p->row.digest, change);
    p->collection.digest = digest_add(p->collection.digest, change);
    p->batch->added[bucket] = digest_add(p->batch->added[bucket], change);
    p->batch->touched[bucket] = true;
    uint64_t records = (uint64_t)(new != NULL) - (uint64_t)(old != NULL); /* modulo 2^64 */
    p->row.records += records;
    p->collection.records += records;
    state_recount_change(p->state, p->key, bucket, old, p->rotten, new);
}

/* The record that is about to be replaced. What a damaged one stood for in the sums can only be guessed at: they are in doubt
 * from then on, and are counted again (state_recount.c); that it is overwritten is right in any case. */
static int read_old(struct pass *p, const struct effect *x, struct bytes key, MDB_val row,
                    struct digest *digest, struct old_version *old, struct err *e)
{
    struct past_gather *past = &p->batch->past;
    struct record r;
    struct err why = ERR_NONE;
    old->there = true;
    int rc = row_read_record(key, bytes_of_val(row), true, &r, digest, &why);
    if (rc == ERR_NEWER)
        return state_record_damaged(e, x->collection, x->key, &why);
    p->rotten = old->damaged = rc != 0;
    if (p->rotten) {
        p->replaced++;
        (void)state_record_damaged(&p->damage, x->collection, x->key, &why);
        (void)row_read_rotten(bytes_of_val(row), &r.lsn, &r.value, digest);
        if (p->indexed)
            index_distrust_record(&p->batch->index, &p->state->catalog, x->collection, x->key);
        return 0;
    }
    p->same = p->indexed && x->is_put && bytes_equal(r.value, x->value);
    if (p->indexed && !p->same)
        rc = index_gather_value(&p->batch->index, &p->state->catalog, NULL, x->collection, x->key,
                                r.value, false, e);
    if (rc != 0 || !past->keep)
        return rc;
    old->lsn = r.lsn;
    old->time = r.time;
    return past_copy(past, old, r.value, e);
}

static int put_record(struct pass *p, const struct effect *x, struct bytes key, uint32_t bucket,
                      struct old_version *before, struct err *e)
{
    int rc = p->cursor != NULL ? 0 : mdb_cursor_open(p->t.txn, p->t.dbi[DB_RECORDS], &p->cursor);
    struct record r = {.value = x->value, .lsn = x->lsn, .time = x->time};
    struct digest old, new = digest_record(x->collection, x->key, x->lsn, x->value);
    MDB_val k = val_of(key), v = {RECORD_ROW_BYTES + x->value.n, NULL};
    if (rc == 0)
        rc = mdb_cursor_put(p->cursor, &k, &v, MDB_RESERVE | MDB_NOOVERWRITE);
    if (rc == MDB_KEYEXIST) {
        if ((rc = read_old(p, x, key, v, &old, before, e)) != 0)
            return rc;
        v = (MDB_val){RECORD_ROW_BYTES + x->value.n, NULL}; /* the cursor stands on it */
        rc = mdb_cursor_put(p->cursor, &k, &v, MDB_RESERVE);
    }
    if (rc != 0)
        return state_lmdb_error(e, mdb_txn_env(p->t.txn), rc, "put a record");
    row_write_record(key, &r, new, v.mv_data);
    count_change(p, bucket, before->there ? &old : NULL, &new);
    return !p->indexed || p->same ? 0
                                  : index_gather_value(&p->batch->index, &p->state->catalog, NULL,
                                                       x->collection, x->key, x->value, true, e);
}

static int delete_record(struct pass *p, const struct effect *x, struct bytes key, uint32_t bucket,
                         struct old_version *before, struct err *e)
{
    MDB_val k = val_of(key), v;
    int rc = mdb_get(p->t.txn, p->t.dbi[DB_RECORDS], &k, &v);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return state_lmdb_error(e, mdb_txn_env(p->t.txn), rc, "find a record");
    struct digest old;
    if ((rc = read_old(p, x, key, v, &old, before, e)) != 0)
        return rc;
    if (p->cursor != NULL)
        mdb_cursor_close(p->cursor);
    p->cursor = NULL;
    if ((rc = row_delete(&p->t, DB_RECORDS, key, e)) == 0)
        count_change(p, bucket, &old, NULL);
    return rc;
}

static int begin_collection(struct pass *p, struct bytes name, struct err *e)
{
    int rc = row_get_collection(&p->t, name, &p->collection, e);
    p->indexed = p->state->catalog.n != 0 && catalog_count(&p->state->catalog, name) != 0;
    if (p->indexed && p->batch->weight > TXN_MAX_OPS) {
        index_distrust_all(&p->batch->index, &p->state->catalog, name,
                           "a transaction changes more of its rows than can be done at once");
        p->indexed = false;
    }
    p->stored = rc == 0;
    p->shown = rc == 0 && p->collection.records != 0;
    if (rc == ERR_NOT_FOUND) {
        p->collection = (struct collection_row){.id = 0};
        rc = 0;
    }
    return rc;
}

static int end_collection(struct pass *p, struct bytes name, struct err *e)
{
    if (p->shown)
        p->row.collections--;
    if (p->collection.records != 0)
        p->row.collections++;
    if (p->collection.records != 0 || p->collection.deleted != 0)
        return row_put_collection(&p->t, name, &p->collection, e);
    return p->stored ? row_delete(&p->t, DB_COLLECTIONS, name, e) : 0;
}

/* The record is not there: when it was deleted, if that lies in the window. Its row goes, for the record is made again. */
static int take_deleted(struct pass *p, struct bytes key, struct old_version *cur, struct err *e)
{
    struct deleted_row row;
    int rc = row_get_deleted(&p->t, key, &row, e);
    if (rc != 0)
        return rc == ERR_NOT_FOUND ? 0 : rc;
    cur->lsn = row.lsn;
    cur->time = row.time;
    p->collection.deleted--;
    return row_delete(&p->t, DB_DELETED, key, e);
}

/* One row of the history for each entry that changed the record: effects first..end-1, of which the last of an entry counts. */
static int remember(struct pass *p, size_t first, size_t end, struct bytes key,
                    struct old_version cur, struct err *e)
{
    struct batch *b = p->batch;
    bool changed = false;
    int rc = 0;
    for (size_t i = first; rc == 0 && i < end; i++) {
        const struct effect *x = effect_at(b, i);
        if ((i + 1 < end && effect_at(b, i + 1)->lsn.v == x->lsn.v) || (!x->is_put && !cur.there))
            continue;
        if (!changed && !cur.there && p->collection.deleted != 0)
            rc = take_deleted(p, key, &cur, e);
        if (rc == 0)
            rc = past_add(&b->past, &p->t,
                          &(struct past_change){b->sorted[i].index, p->collection.id, x->key,
                                                x->lsn, x->time, x->is_put},
                          &cur, e);
        cur = (struct old_version){.there = x->is_put, .lsn = x->lsn, .time = x->time};
        if (x->is_put)
            cur.value = x->value;
        changed = true;
    }
    past_end_record(&b->past);
    if (rc == 0 && changed && !cur.there && b->past.keep) {
        p->collection.deleted++;
        rc = row_put_deleted(
            &p->t, key, &(struct deleted_row){cur.lsn, cur.time, effect_at(b, first)->collection},
            e);
    }
    return rc;
}

static bool any_put(const struct batch *b, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        if (effect_at(b, i)->is_put)
            return true;
    return false;
}

static int write_record(struct pass *p, size_t first, size_t end, struct err *e)
{
    struct batch *b = p->batch;
    const struct effect *x = effect_at(b, end - 1);
    if (p->collection.id == 0) {
        if (!x->is_put && !(b->past.keep && any_put(b, first, end)))
            return 0; /* the collection is not there */
        p->collection.id = p->row.next_collection++;
    }
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    struct bytes key = row_record_key(p->collection.id, x->key, buffer);
    p->key = key;
    p->rotten = p->same = false;
    uint32_t bucket = digest_bucket(x->collection, x->key);
    struct old_version old = {.there = false};
    int rc = x->is_put ? put_record(p, x, key, bucket, &old, e)
                       : delete_record(p, x, key, bucket, &old, e);
    if (rc != 0 || (!b->past.keep && p->collection.deleted == 0))
        return rc;
    return remember(p, first, end, key, old, e);
}

static int write_records(struct pass *p, struct err *e)
{
    struct batch *b = p->batch;
    if (b->n != 0)
        qsort_r(b->sorted, b->n, sizeof *b->sorted, compare_effects, b);
    for (size_t i = 0; i < b->n;) {
        struct bytes name = effect_at(b, i)->collection;
        int rc = begin_collection(p, name, e);
        while (rc == 0 && i < b->n && bytes_equal(effect_at(b, i)->collection, name)) {
            const size_t end = record_end(b, i);
            rc = write_record(p, i, end, e);
            i = end;
        }
        if (rc == 0)
            rc = end_collection(p, name, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int write_buckets(struct pass *p, struct err *e)
{
    for (uint32_t i = 0; i < DIGEST_BUCKETS; i++) {
        if (!p->batch->touched[i])
            continue;
        struct digest d;
        int rc = row_get_bucket(&p->t, i, &d, e);
        if (rc == 0)
            rc = row_put_bucket(&p->t, i, digest_add(d, p->batch->added[i]), 0, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int write_rest(struct pass *p, struct err *e)
{
    struct batch *b = p->batch;
    int rc = state_apply_sessions(&p->t, b->events, b->event_count, e);
    p->row.at = b->at;
    if (b->mode != 0)
        p->row.mode = b->mode;
    if (rc == 0 && b->point.n != 0)
        rc = row_add_point(
            &p->t, &(struct restore_point){b->point, b->at.lsn, b->at.time, p->row.digest}, e);
    return rc;
}

/* Twice what was added, and a little more: so what is due is gone some time, also after the window was made smaller, and
 * no batch pays for all of it. */
static size_t prune_budget(const struct batch *b)
{
    return 2 * b->past.n + 256;
}

static int write_history(struct pass *p, const struct state_options *limits, size_t *pruned,
                         struct err *e)
{
    const size_t budget = prune_budget(p->batch);
    int rc = past_write(&p->batch->past, &p->t, &p->row, e);
    return rc != 0
               ? rc
               : past_prune(&p->batch->past, &p->t, &p->row, limits,
                            budget < STATE_BATCH_OPS ? budget : (size_t)STATE_BATCH_OPS, pruned, e);
}

/* After the records: an index that is declared here begins with none of them (X2 in state_index.c). */
static int write_indexes(struct pass *p, struct err *e)
{
    int rc = index_write(&p->batch->index, &p->state->catalog, &p->t, e);
    if (rc == 0 && p->batch->declares)
        rc = index_reconcile(p->state, &p->t, e);
    return rc != 0 ? rc : index_save(p->state, &p->t, e);
}

static int write_batch(struct state *s, struct batch *b, size_t *pruned, struct err *e)
{
    struct pass p = {.state = s, .batch = b, .row = s->row};
    const bool keep = s->options.history_us != 0 && s->options.history_bytes != 0;
    int rc = past_begin(&b->past, keep, s->row.history_from, b->n, e);
    if (rc == 0)
        rc = state_write_begin(s, &p.t, e);
    if (rc != 0)
        return rc;
    if ((rc = index_refresh(s, &p.t, e)) == 0)
        rc = write_records(&p, e);
    if (p.cursor != NULL)
        mdb_cursor_close(p.cursor);
    if (rc == 0)
        rc = write_indexes(&p, e);
    if (rc == 0)
        rc = write_buckets(&p, e);
    if (rc == 0)
        rc = write_rest(&p, e);
    if (rc == 0 && p.replaced != 0)
        rc = state_doubt_write(s, &p.t, b->at.lsn, e);
    if (rc == 0)
        rc = write_history(&p, &s->options, pruned, e);
    if (rc == 0)
        rc = state_write_commit(s, &p.t, &p.row, e);
    else
        mdb_txn_abort(p.t.txn);
    if (rc == 0)
        index_committed(s, &b->index);
    else
        index_dropped(s, &b->index);
    if (rc != 0)
        state_recount_drop(s);
    else if (p.replaced != 0)
        state_doubt_begun(s, b->at.lsn, p.replaced, &p.damage);
    return rc;
}

/* A batch of one huge transaction prunes the rest of its budget in transactions of their own: LMDB's must stay bounded. */
static int prune_rest(struct state *s, struct batch *b, size_t pruned, struct err *e)
{
    const size_t budget = prune_budget(b);
    int rc = 0;
    for (size_t last = pruned; rc == 0 && last == STATE_BATCH_OPS && pruned < budget;
         pruned += last) {
        struct state_txn t;
        struct state_row row = s->row;
        const size_t left = budget - pruned;
        if ((rc = state_write_begin(s, &t, e)) != 0)
            return rc;
        rc = past_prune(&b->past, &t, &row, &s->options,
                        left < STATE_BATCH_OPS ? left : (size_t)STATE_BATCH_OPS, &last, e);
        if (rc == 0)
            rc = state_write_commit(s, &t, &row, e);
        else
            mdb_txn_abort(t.txn);
    }
    return rc;
}

int state_apply(struct state *s, const struct entry_view *entries, size_t n, struct err *e)
{
    check(!s->building);
    if (s->batch == NULL && (s->batch = calloc(1, sizeof *s->batch)) == NULL)
        return err_set(e, ERR_NO_MEMORY, "apply: out of memory");
    for (size_t done = 0, taken; done < n; done += taken) {
        batch_reset(s->batch, &s->row.at, &s->catalog);
        int rc = gather(s->batch, entries + done, n - done, &taken, e);
        size_t pruned = 0;
        if (rc == 0)
            rc = write_batch(s, s->batch, &pruned, e);
        if (rc == 0)
            rc = prune_rest(s, s->batch, pruned, e);
        if (rc != 0)
            return err_wrap(e, "apply after lsn %llu", (unsigned long long)s->row.at.lsn.v), rc;
    }
    return 0;
}
