/* The history: what records were before they were changed, within a window of time and bytes.
 *
 * A batch writes one row for each (entry, record) that changed something, with the value from before (state_rows.h). Rows are
 * gathered while the records are written, in the order of records, and appended afterwards in the order of the log: an
 * append costs a fraction of a put. The old value of a record's first change in the batch must be copied, because
 * LMDB's memory ends with the next write; the values in between are those of the entries.
 *
 * INVARIANTS
 *   H1  Each version of a record, there or deleted, with an lsn after history_from has its row of the history. So whatever is
 *       asked at or after history_from is answered, and whatever is before it is refused.
 *   H2  A row of `deleted` has its row of the history, with HISTORY_IS_DELETE; the two go together.
 *   H3  What a row leads to is older than itself: every walk ends.
 *   H4  No record has both a row of `records` and one of `deleted`.
 *   H5  Two sites, or two batchings, answer the same wherever both can: history_from depends on how batches were cut (pruning
 *       follows them), the answers after it do not (A1).
 *
 * FAILURE MODES
 *   too many old bytes in one batch    it keeps no more of them, and history_from moves to its end
 *   a damaged record is replaced       its row says so (HISTORY_DAMAGED): the past of it is an error, not a guess
 *   a row of the history is damaged    reading through it is an error that names the record; applying goes on, with a chain that
 *                                      begins anew, and pruning removes it with the next readable one */
#include "store/io/state_internal.h"

#include "store/core/check.h"
#include "store/core/jump.h"

enum { FRONT_MAX = 256, LMDB_KEY_MAX_BYTES = 511 };

struct past_row {
    struct history_row row;
    size_t copied; /* as in old_version */
    uint64_t collection;
    struct bytes key;
};

struct past_front { /* a row that may leave */
    uint8_t key[LMDB_KEY_MAX_BYTES];
    size_t key_bytes, bytes;
    bool may_be_delete;
};

void past_free(struct past_gather *g)
{
    free(g->rows);
    free(g->order);
    free(g->copies);
    free(g->front);
    links_close(g->links);
    *g = (struct past_gather){.keep = false};
}

/* ---- gathering ---- */

int past_begin(struct past_gather *g, bool keep, struct lsn from, size_t effects, struct err *e)
{
    g->keep = keep;
    g->from = from;
    g->n = g->chain = g->used = 0;
    g->effects = keep ? effects : 0;
    if (keep && g->links == NULL && links_open(&g->links, e) != 0)
        return ERR_NO_MEMORY;
    if (g->effects > g->order_capacity) {
        uint32_t *order = realloc(g->order, effects * sizeof *order);
        if (order == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory for the history of %zu ops", effects);
        g->order = order;
        g->order_capacity = effects;
    }
    if (g->effects != 0)
        memset(g->order, 0, g->effects * sizeof *g->order);
    return 0;
}

int past_copy(struct past_gather *g, struct old_version *old, struct bytes value, struct err *e)
{
    if (value.n > HISTORY_COPY_MAX_BYTES - g->used) {
        g->keep = false;
        return 0;
    }
    if (g->used + value.n > g->copies_capacity) {
        size_t capacity = g->copies_capacity == 0 ? 64 << 10 : g->copies_capacity;
        while (capacity < g->used + value.n)
            capacity *= 2;
        uint8_t *copies = realloc(g->copies, capacity);
        if (copies == NULL)
            return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of old values", capacity);
        g->copies = copies;
        g->copies_capacity = capacity;
    }
    old->value = bytes_of(NULL, value.n);
    old->copied = 1 + g->used;
    if (value.n != 0)
        memcpy(g->copies + g->used, value.p, value.n);
    g->used += value.n;
    return 0;
}

/* Depth and jump of a version of the record that is being added: from what was gathered, or from its row. A version at or
 * before the window, and one whose row is damaged, begins a chain: depth 0. */
static void find_link(const struct past_gather *g, const struct state_txn *t,
                      struct bytes record_key, struct lsn lsn, uint32_t *depth, struct lsn *jump)
{
    size_t low = g->chain, high = g->n;
    *depth = 0;
    *jump = (struct lsn){0};
    if (lsn.v <= g->from.v)
        return;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct history_row *row = &g->rows[middle].row;
        if (row->lsn.v == lsn.v) {
            *depth = row->depth;
            *jump = row->jump;
            return;
        }
        if (row->lsn.v < lsn.v)
            low = middle + 1;
        else
            high = middle;
    }
    struct history_row row;
    if (row_get_history(t, lsn, record_key, &row, NULL) == 0) {
        *depth = row.depth;
        *jump = row.jump;
    }
}

/* What is known of the version `previous` of the record that is being added. */
static struct link link_of(const struct past_gather *g, const struct state_txn *t,
                           struct bytes record_key, struct lsn previous)
{
    if (previous.v > g->from.v && previous.v == g->link.lsn.v)
        return g->link;
    struct link l = {.lsn = previous, .jumps = 1};
    find_link(g, t, record_key, previous, &l.depth, &l.jump[0]);
    if (l.depth == UINT32_MAX)
        l.depth = 0;
    return l;
}

/* The version after `previous` (store/core/jump.h): row->lsn is set, depth and jump are found here. */
static void link_after(struct past_gather *g, const struct state_txn *t, struct bytes record_key,
                       struct lsn previous, struct history_row *row)
{
    const struct link before = link_of(g, t, record_key, previous);
    struct link *now = &g->link;
    uint32_t known = 0; /* of before.jump, that `now` has no use for */
    *now =
        (struct link){.lsn = row->lsn, .depth = before.depth + 1, .jump = {previous}, .jumps = 1};
    if (jump_depth(now->depth) != before.depth) {
        uint32_t unused;
        known = 2;
        if (before.jump[0].v <= g->from.v || before.jumps < known)
            find_link(g, t, record_key, before.jump[0], &unused, &now->jump[0]);
        else
            now->jump[0] = before.jump[1];
    }
    while (known < before.jumps && now->jumps < LINK_JUMPS)
        now->jump[now->jumps++] = before.jump[known++];
    row->depth = now->depth;
    row->jump = now->jump[0];
}

static int reserve_row(struct past_gather *g, struct err *e)
{
    if (g->n < g->capacity)
        return 0;
    size_t capacity = g->capacity == 0 ? 256 : 2 * g->capacity;
    struct past_row *rows = realloc(g->rows, capacity * sizeof *rows);
    if (rows == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for %zu rows of the history", capacity);
    g->rows = rows;
    g->capacity = capacity;
    return 0;
}

int past_add(struct past_gather *g, const struct state_txn *t, const struct past_change *change,
             const struct old_version *before, struct err *e)
{
    if (!g->keep)
        return 0;
    int rc = reserve_row(g, e);
    if (rc != 0)
        return rc;
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    struct bytes record_key = row_record_key(change->collection, change->key, buffer);
    struct past_row *p = &g->rows[g->n];
    *p = (struct past_row){.row = {.flags = (before->there ? (uint32_t)HISTORY_WAS_THERE : 0) |
                                            (change->is_put ? 0 : (uint32_t)HISTORY_IS_DELETE) |
                                            (before->damaged ? (uint32_t)HISTORY_DAMAGED : 0),
                                   .lsn = change->lsn,
                                   .time = change->time},
                           .collection = change->collection,
                           .key = change->key};
    if (!before->damaged) { /* else its lsn and time may be wrong too */
        p->row.previous = before->lsn;
        p->row.previous_time = before->time;
        p->row.value = before->value;
        p->copied = before->copied;
    }
    if (g->n == g->chain)
        g->link = links_find(g->links, record_key);
    link_after(g, t, record_key, p->row.previous, &p->row);
    check(change->effect < g->effects && g->order[change->effect] == 0);
    g->order[change->effect] = (uint32_t)++g->n;
    return 0;
}

void past_end_record(struct past_gather *g)
{
    if (g->chain == g->n)
        return;
    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    const struct past_row *last = &g->rows[g->n - 1];
    links_keep(g->links, row_record_key(last->collection, last->key, buffer), &g->link);
    g->chain = g->n;
}

/* ---- writing ---- */

static int by_record(const void *pa, const void *pb, void *arg)
{
    const struct past_gather *g = arg;
    const struct past_row *a = &g->rows[*(const uint32_t *)pa - 1];
    const struct past_row *b = &g->rows[*(const uint32_t *)pb - 1];
    if (a->collection != b->collection)
        return a->collection < b->collection ? -1 : 1;
    return bytes_compare(a->key, b->key);
}

/* Effects are numbered in the order of the log, so only those of one entry are left to be sorted. */
static void sort_rows(struct past_gather *g)
{
    size_t n = 0;
    for (size_t i = 0; i < g->effects; i++)
        if (g->order[i] != 0)
            g->order[n++] = g->order[i];
    check(n == g->n);
    for (size_t i = 0, end; i < n; i = end) {
        const struct lsn lsn = g->rows[g->order[i] - 1].row.lsn;
        end = i + 1;
        while (end < n && g->rows[g->order[end] - 1].row.lsn.v == lsn.v)
            end++;
        if (end - i > 1)
            qsort_r(g->order + i, end - i, sizeof *g->order, by_record, g);
    }
}

int past_write(struct past_gather *g, const struct state_txn *t, struct state_row *row,
               struct err *e)
{
    if (g->n != 0)
        sort_rows(g);
    for (size_t i = 0; i < g->n; i++) {
        struct past_row *p = &g->rows[g->order[i] - 1];
        uint8_t buffer[RECORD_KEY_MAX_BYTES];
        struct bytes record_key = row_record_key(p->collection, p->key, buffer);
        if (p->copied != 0)
            p->row.value.p = g->copies + p->copied - 1;
        int rc = row_append_history(t, record_key, &p->row, e);
        if (rc != 0)
            return rc;
        row->history_rows++;
        row->history_bytes +=
            sizeof p->row.lsn.v + record_key.n + HISTORY_ROW_BYTES + p->row.value.n;
    }
    if (!g->keep) {
        row->history_from = row->at.lsn;
        row->history_time = row->at.time;
    }
    return 0;
}

/* ---- pruning ---- */

static bool is_due(const struct state_row *row, const struct state_options *limits,
                   const struct history_row *h, uint64_t bytes)
{
    return h->lsn.v <= row->history_from.v || bytes > limits->history_bytes ||
           (h->time.us < row->at.time.us && row->at.time.us - h->time.us > limits->history_us);
}

/* The rows at the front that are due, at most `max`; history_from moves with them. A damaged row has no time: it goes with
 * the next one that has. */
static int find_due(struct past_front *front, const struct state_txn *t, struct state_row *row,
                    const struct state_options *limits, size_t max, size_t *due, struct err *e)
{
    uint64_t bytes = row->history_bytes;
    MDB_cursor *cursor;
    MDB_val k, v;
    *due = 0;
    int rc = mdb_cursor_open(t->txn, t->dbi[DB_HISTORY], &cursor);
    if (rc != 0)
        return state_lmdb_error(e, mdb_txn_env(t->txn), rc, "prune the history");
    rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
    for (size_t n = 0; rc == 0 && n < max && k.mv_size <= sizeof front->key; n++) {
        struct history_row h;
        bool readable = row_read_history(bytes_of_val(k), bytes_of_val(v), &h, NULL) == 0;
        if (readable && !is_due(row, limits, &h, bytes))
            break;
        struct past_front *f = &front[n];
        memcpy(f->key, k.mv_data, k.mv_size);
        f->key_bytes = k.mv_size;
        f->bytes = k.mv_size + v.mv_size;
        f->may_be_delete = !readable || (h.flags & HISTORY_IS_DELETE) != 0;
        bytes -= f->bytes < bytes ? f->bytes : bytes;
        if (readable)
            *due = n + 1;
        if (readable && h.lsn.v > row->history_from.v) {
            row->history_from = h.lsn;
            row->history_time = h.time;
        }
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND
               ? 0
               : state_lmdb_error(e, mdb_txn_env(t->txn), rc, "prune the history");
}

static int count_deleted_down(const struct state_txn *t, struct bytes name, struct err *e)
{
    struct collection_row c;
    int rc = row_get_collection(t, name, &c, e);
    if (rc != 0)
        return rc == ERR_NOT_FOUND ? 0 : rc;
    c.deleted -= c.deleted != 0;
    return c.records == 0 && c.deleted == 0 ? row_delete(t, DB_COLLECTIONS, name, e)
                                            : row_put_collection(t, name, &c, e);
}

/* The row of `deleted` that belongs to the deletion at `lsn`, unless the record was made again. A damaged one stays, and is
 * found by state_verify and `check`. */
static int remove_deleted(const struct state_txn *t, struct lsn lsn, struct bytes record_key,
                          struct err *e)
{
    struct deleted_row row;
    uint8_t name[COLLECTION_MAX_BYTES];
    if (row_get_deleted(t, record_key, &row, NULL) != 0 || row.lsn.v != lsn.v)
        return 0;
    const size_t n = row.collection.n;
    memcpy(name, row.collection.p, n);
    int rc = row_delete(t, DB_DELETED, record_key, e);
    return rc != 0 ? rc : count_deleted_down(t, bytes_of(name, n), e);
}

static int prune_some(struct past_gather *g, const struct state_txn *t, struct state_row *row,
                      const struct state_options *limits, size_t max, size_t *due, struct err *e)
{
    int rc = find_due(g->front, t, row, limits, max, due, e);
    for (size_t i = 0; rc == 0 && i < *due; i++) {
        const struct past_front *f = &g->front[i];
        rc = row_delete(t, DB_HISTORY, bytes_of(f->key, f->key_bytes), e);
        row->history_rows -= row->history_rows != 0;
        row->history_bytes -= f->bytes < row->history_bytes ? f->bytes : row->history_bytes;
        if (rc == 0 && f->may_be_delete && f->key_bytes > 8 + COLLECTION_ID_BYTES)
            rc = remove_deleted(t, (struct lsn){get_be64(f->key)},
                                bytes_of(f->key + 8, f->key_bytes - 8), e);
    }
    return rc;
}

int past_prune(struct past_gather *g, const struct state_txn *t, struct state_row *row,
               const struct state_options *limits, size_t max, size_t *pruned, struct err *e)
{
    *pruned = 0;
    if (g->front == NULL && (g->front = calloc(FRONT_MAX, sizeof *g->front)) == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory to prune the history");
    while (*pruned < max) {
        const size_t some = max - *pruned < FRONT_MAX ? max - *pruned : (size_t)FRONT_MAX;
        size_t due;
        int rc = prune_some(g, t, row, limits, some, &due, e);
        if (rc != 0)
            return rc;
        *pruned += due;
        if (due < some)
            break;
    }
    return 0;
}
