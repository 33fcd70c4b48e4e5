/* Counting the sums again while the state is written to, and what to do when they cannot be trusted.
 *
 * Why. Digests are kept up to date by adding what comes and subtracting what goes. Nothing in that ever looks at the records
 * themselves: a record that rots, vanishes or is written astray leaves the sums as they were. And when a damaged record is
 * overwritten, what has to be subtracted is not known for certain any more. So the records are counted from one end to the other,
 * once a pass of the scrub, and at once when the sums are in doubt.
 *
 * How without standing still. The applier's own thread counts, some bytes at a time between its batches. Whatever a batch
 * changes up to the place where the count stands is added to the count as well; what lies behind it will be met there. When the
 * count has reached the end it is, to the byte, what the records are at that moment. It is then followed further, because a
 * repair needs it (state_repair.c), until the next pass begins.
 *
 * INVARIANTS
 *   R1  The count holds exactly the records whose row key is at or below `at`, or all when `complete`, as of the last commit.
 *   R2  A damaged record is in no sum of the count, and counted as damaged in its bucket and collection.
 *   R3  A transaction that fails after it changed the count drops the count; so does overwriting a record that rotted after
 *   it was
 *       counted, since what it was counted with is not known any more.
 *   R4  Sums are put right only while they are in doubt, and only those under which nothing is damaged. Doubt ends when all are.
 *
 * What it does not do: it reads through liblmdb, as applying does, because the pages that a live state names are used again at
 * any time; the walker of state_check.c needs them to stand still. A page that liblmdb cannot read ends in an error or stops
 * the site; `triveni check` then names it. */
#include "store/io/state_internal.h"

#include "store/core/check.h"
#include "store/finding.h"

struct sum {
    uint64_t records;
    struct digest digest;
    uint32_t damaged;
};

struct collection_sum {
    uint64_t id;
    uint8_t name[COLLECTION_MAX_BYTES];
    size_t name_bytes; /* 0: the collection has no row */
    struct sum sum;
};

enum { DAMAGED_KEPT = 65536 }; /* 1 MiB; with more than that nobody repairs record by record */

struct recount {
    bool complete;
    bool failed; /* a change could not be followed (R3): begin again */
    uint8_t at[RECORD_KEY_MAX_BYTES];
    size_t at_bytes; /* 0: at the start */
    struct sum all, bucket[DIGEST_BUCKETS];
    struct collection_sum *collections; /* by id */
    size_t count, capacity;
    struct digest *damaged; /* hashes of the row keys of those that were counted as damaged */
    size_t damaged_count, damaged_capacity;
};

/* ---- the sums ---- */

static struct digest hash_of(struct bytes row_key)
{
    static const struct bytes none = {NULL, 0};
    return digest_record(none, row_key, (struct lsn){0}, none);
}

static void remember_damaged(struct recount *c, struct bytes row_key)
{
    if (c->damaged_count == c->damaged_capacity) {
        size_t capacity = c->damaged_capacity == 0 ? 16 : 2 * c->damaged_capacity;
        struct digest *more =
            capacity > DAMAGED_KEPT ? NULL : realloc(c->damaged, capacity * sizeof *more);
        if (more == NULL)
            return; /* then a change of it makes the count begin again */
        c->damaged = more;
        c->damaged_capacity = capacity;
    }
    c->damaged[c->damaged_count++] = hash_of(row_key);
}

static bool forget_damaged(struct recount *c, struct bytes row_key)
{
    const struct digest h = hash_of(row_key);
    for (size_t i = 0; i < c->damaged_count; i++)
        if (digest_equal(c->damaged[i], h)) {
            c->damaged[i] = c->damaged[--c->damaged_count];
            return true;
        }
    return false;
}

static struct collection_sum *find_collection(const struct recount *c, uint64_t id)
{
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->collections[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->count && c->collections[low].id == id ? &c->collections[low] : NULL;
}

/* Collections are met, and made, in order of their ids; one that is made anew may come between. */
static struct collection_sum *add_collection(struct recount *c, uint64_t id)
{
    if (c->count == c->capacity) {
        size_t capacity = c->capacity == 0 ? 16 : 2 * c->capacity;
        struct collection_sum *more = realloc(c->collections, capacity * sizeof *more);
        if (more == NULL)
            return NULL;
        c->collections = more;
        c->capacity = capacity;
    }
    size_t at = c->count;
    while (at > 0 && c->collections[at - 1].id > id)
        at--;
    memmove(c->collections + at + 1, c->collections + at, (c->count - at) * sizeof *c->collections);
    c->count++;
    c->collections[at] = (struct collection_sum){.id = id};
    return &c->collections[at];
}

static void put_in(struct sum *s, struct digest d)
{
    s->records++;
    s->digest = digest_add(s->digest, d);
}

static void take_out(struct sum *s, struct digest d)
{
    s->records--;
    s->digest = digest_sub(s->digest, d);
}

static bool covers(const struct recount *c, struct bytes row_key)
{
    return c != NULL && !c->failed &&
           (c->complete || bytes_compare(row_key, bytes_of(c->at, c->at_bytes)) <= 0);
}

void state_recount_change(struct state *s, struct bytes row_key, uint32_t bucket,
                          const struct digest *old, bool rotten, const struct digest *new)
{
    struct recount *c = s->recount;
    if (!covers(c, row_key))
        return;
    const uint64_t id = get_be64(row_key.p);
    struct collection_sum *in = find_collection(c, id);
    if (in == NULL)
        in = add_collection(c, id);
    if (in == NULL || (rotten && !forget_damaged(c, row_key))) {
        c->failed = true; /* R3 */
        return;
    }
    struct sum *const sums[] = {&c->all, &c->bucket[bucket], &in->sum};
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        if (rotten)
            sums[i]->damaged--;
        else if (old != NULL)
            take_out(sums[i], *old);
        if (new != NULL)
            put_in(sums[i], *new);
    }
}

void state_recount_repaired(struct state *s, struct bytes row_key, uint32_t bucket,
                            struct digest digest)
{
    struct recount *c = s->recount;
    if (!covers(c, row_key) || !forget_damaged(c, row_key))
        return; /* it will be met, or was counted as what it is again */
    struct collection_sum *in = find_collection(c, get_be64(row_key.p));
    check(in != NULL);
    struct sum *const sums[] = {&c->all, &c->bucket[bucket], &in->sum};
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        sums[i]->damaged--;
        put_in(sums[i], digest);
    }
}

void state_recount_drop(struct state *s)
{
    if (s->recount != NULL) {
        free(s->recount->collections);
        free(s->recount->damaged);
    }
    free(s->recount);
    s->recount = NULL;
}

bool state_recount_bucket(const struct state *s, uint32_t bucket, struct digest *healthy,
                          uint32_t *damaged)
{
    const struct recount *c = s->recount;
    if (c == NULL || !c->complete || c->failed)
        return false;
    *healthy = c->bucket[bucket].digest;
    *damaged = c->bucket[bucket].damaged;
    return true;
}

/* ---- doubt ---- */

int state_doubt_write(struct state *s, const struct state_txn *t, struct lsn since, struct err *e)
{
    return s->doubt.doubted ? 0 : row_put_doubt(t, since, e); /* only the applier changes it */
}

void state_doubt_begun(struct state *s, struct lsn since, uint64_t replaced, const struct err *why)
{
    (void)pthread_mutex_lock(&s->lock);
    if (!s->doubt.doubted)
        s->doubt.since = since;
    s->doubt.doubted = true;
    s->doubt.replaced += replaced;
    (void)snprintf(s->doubt.last, sizeof s->doubt.last, "%s", why->text);
    (void)pthread_mutex_unlock(&s->lock);
}

void state_doubt(struct state *s, struct state_doubt *out)
{
    (void)pthread_mutex_lock(&s->lock);
    *out = s->doubt;
    (void)pthread_mutex_unlock(&s->lock);
}

int state_sums(struct state_snapshot *snap, struct state_sums *out, struct err *e)
{
    struct lsn since;
    int rc = row_get_doubt(&snap->t, &since, e);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    out->lsn = snap->row.at.lsn;
    out->known = rc == ERR_NOT_FOUND;
    out->records = snap->row.records;
    out->digest = snap->row.digest;
    rc = 0;
    for (uint32_t i = 0; rc == 0 && i < DIGEST_BUCKETS; i++)
        rc = row_get_bucket(&snap->t, i, &out->bucket[i], e);
    return rc;
}

/* ---- comparing with what is kept, and putting right ---- */

struct settle {
    struct recount *c;
    const struct state_txn *t; /* of a write, when sums are put right; of a read otherwise */
    bool fix;
    bool unsettled; /* something that is damaged stands in the way */
    const struct finding_sink *sink;
    struct err *e;
};

static void tell_sum(const struct settle *x, const char *what, uint64_t records,
                     struct digest counted, uint64_t kept_records, struct digest kept)
{
    char text[ERR_TEXT_BYTES], a[DIGEST_HEX_BYTES], b[DIGEST_HEX_BYTES];
    digest_hex(counted, a);
    digest_hex(kept, b);
    (void)snprintf(text, sizeof text,
                   "%.200s: counted are %llu records with digest %s, kept are %llu with %s", what,
                   (unsigned long long)records, a, (unsigned long long)kept_records, b);
    x->sink->found(x->sink->arg,
                   &(struct finding){.kind = FINDING_SUM, .file = "data.mdb", .text = text});
}

static int settle_bucket(struct settle *x, uint32_t i)
{
    const struct sum *counted = &x->c->bucket[i];
    struct digest kept;
    char what[32];
    if (counted->damaged != 0) {
        x->unsettled = true;
        return 0;
    }
    int rc = row_get_bucket(x->t, i, &kept, x->e);
    if (rc != 0 || digest_equal(kept, counted->digest))
        return rc;
    if (x->fix)
        return row_put_bucket(x->t, i, counted->digest, 0, x->e);
    (void)snprintf(what, sizeof what, "bucket %u", i);
    tell_sum(x, what, counted->records, counted->digest, counted->records, kept);
    return 0;
}

static int settle_collection(struct settle *x, const struct collection_sum *in)
{
    struct collection_row row;
    char what[ROW_QUOTE_BYTES + 32], quoted[ROW_QUOTE_BYTES];
    const struct bytes name = bytes_of(in->name, in->name_bytes);
    if (in->sum.damaged != 0 || name.n == 0)
        return 0;
    int rc = row_get_collection(x->t, name, &row, x->e);
    if (rc == ERR_NOT_FOUND) /* its last record was deleted */
        return 0;
    if (rc != 0 || row.id != in->id ||
        (row.records == in->sum.records && digest_equal(row.digest, in->sum.digest)))
        return rc;
    if (!x->fix) {
        (void)snprintf(what, sizeof what, "collection '%s'", row_quote(name, quoted));
        tell_sum(x, what, in->sum.records, in->sum.digest, row.records, row.digest);
        return 0;
    }
    row.records = in->sum.records;
    row.digest = in->sum.digest;
    return row_put_collection(x->t, name, &row, x->e);
}

static int settle_all(struct settle *x, struct state_row *row)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < DIGEST_BUCKETS; i++)
        rc = settle_bucket(x, i);
    for (size_t i = 0; rc == 0 && i < x->c->count; i++)
        rc = settle_collection(x, &x->c->collections[i]);
    x->unsettled |= x->c->all.damaged != 0;
    if (rc != 0 || x->unsettled ||
        (row->records == x->c->all.records && digest_equal(row->digest, x->c->all.digest)))
        return rc;
    if (!x->fix)
        tell_sum(x, "all records", x->c->all.records, x->c->all.digest, row->records, row->digest);
    row->records = x->c->all.records;
    row->digest = x->c->all.digest;
    return 0;
}

static void doubt_ended(struct state *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->doubt.doubted = false;
    s->doubt.since = (struct lsn){0};
    (void)pthread_mutex_unlock(&s->lock);
}

/* R4 */
static int put_right(struct state *s, struct recount *c, const struct finding_sink *sink,
                     struct err *e)
{
    struct state_txn t;
    struct state_row row = s->row;
    int rc = state_write_begin(s, &t, e);
    if (rc != 0)
        return rc;
    struct settle x = {.c = c, .t = &t, .fix = true, .sink = sink, .e = e};
    rc = settle_all(&x, &row);
    if (rc == 0 && !x.unsettled)
        rc = row_delete_doubt(&t, e);
    if (rc != 0) {
        mdb_txn_abort(t.txn);
        return rc;
    }
    rc = state_write_commit(s, &t, &row, e);
    if (rc == 0 && !x.unsettled)
        doubt_ended(s);
    return rc;
}

static int end_pass(struct state *s, struct state_snapshot *snap, const struct finding_sink *sink,
                    struct err *e)
{
    struct recount *c = s->recount;
    if (s->doubt.doubted)
        return put_right(s, c, sink, e);
    struct state_row row = snap->row;
    struct settle x = {.c = c, .t = &snap->t, .sink = sink, .e = e};
    return settle_all(&x, &row);
}

/* ---- counting ---- */

struct naming {
    struct recount *c;
    struct state_snapshot *snap;
    struct err *e;
};

static int name_collection(void *arg, const struct collection_info *info)
{
    struct naming *n = arg;
    struct collection_row row;
    int rc = row_get_collection(&n->snap->t, info->name, &row, n->e);
    if (rc != 0)
        return rc;
    struct collection_sum *in = find_collection(n->c, row.id);
    if (in == NULL && (in = add_collection(n->c, row.id)) == NULL)
        return err_set(n->e, ERR_NO_MEMORY, "recount: out of memory");
    memcpy(in->name, info->name.p, info->name.n);
    in->name_bytes = info->name.n;
    return 0;
}

/* The collection of a record; NULL with 0: none has that id. */
static int collection_of(struct recount *c, struct state_snapshot *snap, uint64_t id, bool *asked,
                         struct collection_sum **out, struct err *e)
{
    *out = find_collection(c, id);
    if ((*out != NULL && (*out)->name_bytes != 0) || *asked)
        return 0;
    *asked = true; /* once a step is enough: a snapshot does not change */
    int rc = state_collections(snap, name_collection, &(struct naming){c, snap, e}, e);
    *out = find_collection(c, id);
    return rc;
}

static void tell_record(const struct finding_sink *sink, struct bytes collection, struct bytes key,
                        const struct err *why)
{
    struct err text = ERR_NONE;
    (void)state_record_damaged(&text, collection, key, why);
    sink->found(sink->arg, &(struct finding){.kind = FINDING_RECORD,
                                             .file = "data.mdb",
                                             .collection = collection,
                                             .key = key,
                                             .text = text.text});
}

static void count_record(struct recount *c, struct collection_sum *in, struct bytes row_key,
                         struct bytes row, const struct finding_sink *sink)
{
    const struct bytes name = in != NULL ? bytes_of(in->name, in->name_bytes) : bytes_of(NULL, 0);
    const struct bytes key =
        row_key.n > COLLECTION_ID_BYTES
            ? bytes_of(row_key.p + COLLECTION_ID_BYTES, row_key.n - COLLECTION_ID_BYTES)
            : bytes_of(NULL, 0);
    struct record r;
    struct digest kept, d = {0, 0};
    struct err why = ERR_NONE;
    int rc = key.n == 0                  ? err_set(&why, ERR_FORMAT, "its key is too short")
             : in == NULL || name.n == 0 ? err_set(&why, ERR_FORMAT, "it belongs to no collection")
                                         : row_read_record(row_key, row, true, &r, &kept, &why);
    if (rc == 0) {
        d = digest_record(name, key, r.lsn, r.value);
        if (!digest_equal(d, kept))
            rc = err_set(&why, ERR_FORMAT, "its kept digest is not its own");
    }
    if (rc != 0) {
        tell_record(sink, name, key, &why);
        remember_damaged(c, row_key);
    }
    if (in == NULL || name.n == 0 || key.n == 0) {
        c->all.damaged++;
        return;
    }
    struct sum *const sums[] = {&c->all, &c->bucket[digest_bucket(name, key)], &in->sum};
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
        if (rc == 0)
            put_in(sums[i], d);
        else
            sums[i]->damaged++;
}

static void move_to(struct recount *c, struct bytes row_key)
{
    c->at_bytes = row_key.n < sizeof c->at ? row_key.n : sizeof c->at;
    memcpy(c->at, row_key.p, c->at_bytes);
}

static int count_some(struct recount *c, struct state_snapshot *snap, MDB_cursor *cursor,
                      size_t max_bytes, const struct finding_sink *sink, size_t *bytes,
                      struct err *e)
{
    uint8_t start[RECORD_KEY_MAX_BYTES];
    memcpy(start, c->at, c->at_bytes);
    MDB_val k = {c->at_bytes, start}, v;
    bool asked = false;
    int rc = mdb_cursor_get(cursor, &k, &v, c->at_bytes == 0 ? MDB_FIRST : MDB_SET_RANGE);
    if (rc == 0 && c->at_bytes != 0 && bytes_equal(bytes_of_val(k), bytes_of(c->at, c->at_bytes)))
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    for (; rc == 0 && *bytes < max_bytes; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct collection_sum *in = NULL;
        const struct bytes row_key = bytes_of_val(k);
        int named = row_key.n < COLLECTION_ID_BYTES
                        ? 0
                        : collection_of(c, snap, get_be64(row_key.p), &asked, &in, e);
        if (named != 0)
            return named;
        count_record(c, in, row_key, bytes_of_val(v), sink);
        move_to(c, row_key);
        *bytes += k.mv_size + v.mv_size;
    }
    if (rc == MDB_NOTFOUND)
        c->complete = true;
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : state_lmdb_error(e, snap->state->env, rc, "recount");
}

int state_recount_step(struct state *s, size_t max_bytes, const struct finding_sink *sink,
                       size_t *bytes, struct err *e)
{
    struct state_snapshot *snap;
    MDB_cursor *cursor;
    *bytes = 0;
    /* A doubt that came while the count was followed is settled by it, without another pass. */
    const bool again =
        s->recount == NULL || s->recount->failed ||
        (s->recount->complete && (!s->doubt.doubted || s->recount->all.damaged != 0));
    if (again) {
        state_recount_drop(s);
        s->recount = calloc(1, sizeof *s->recount);
        if (s->recount == NULL)
            return err_set(e, ERR_NO_MEMORY, "recount: out of memory");
    }
    int rc = state_snapshot_open(s, &snap, e);
    if (rc != 0)
        return rc;
    if (!s->recount->complete) {
        rc = mdb_cursor_open(snap->t.txn, s->dbi[DB_RECORDS], &cursor);
        if (rc != 0) {
            rc = state_lmdb_error(e, s->env, rc, "recount");
        } else {
            rc = count_some(s->recount, snap, cursor, max_bytes, sink, bytes, e);
            mdb_cursor_close(cursor);
        }
    }
    const bool end = rc == 0 && s->recount->complete;
    if (end)
        rc = end_pass(s, snap, sink, e);
    state_snapshot_close(snap);
    if (rc != 0)
        state_recount_drop(s);
    return rc == 0 && end ? err_set(e, ERR_NOT_FOUND, "all records are counted") : rc;
}
