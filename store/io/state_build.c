/* Building a state from a repository snapshot: records come in order, so they are appended to the end of the tree, which
 * is ten times cheaper than putting them.
 *
 * The checkpoint at transaction 0 stays the published one until the one that state_build_end begins is finished,
 * so a build that stops half-way leaves an empty state at the next open. */
#include "store/io/state_index.h"

#include "store/core/check.h"

struct state_build {
    struct state *s;
    struct state_txn t; /* txn NULL: between transactions */
    struct state_row row;
    struct digest bucket[DIGEST_BUCKETS];
    uint64_t batch_ops, batch_bytes;
    bool committed; /* some of it */

    uint8_t name[COLLECTION_MAX_BYTES]; /* collection that is being filled */
    size_t name_bytes;
    struct collection_row collection;
    uint8_t key[KEY_MAX_BYTES];
    size_t key_bytes;
};

int state_build_begin(struct state *s, struct state_build **out, struct err *e)
{
    *out = NULL;
    check(!s->building);
    if (s->row.at.lsn.v != 0 || s->row.records != 0)
        return err_set(e, ERR_EXISTS,
                       "build: the state is at lsn %llu and holds %llu records; it must be new",
                       (unsigned long long)s->row.at.lsn.v, (unsigned long long)s->row.records);
    struct state_build *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_set(e, ERR_NO_MEMORY, "build: out of memory");
    b->s = s;
    b->row = s->row;
    int rc = state_write_begin(s, &b->t, e);
    if (rc != 0) {
        free(b);
        return rc;
    }
    s->building = true;
    *out = b;
    return 0;
}

static int commit(struct state_build *b, struct err *e)
{
    int rc = state_write_commit(b->s, &b->t, &b->row, e);
    b->t.txn = NULL;
    b->committed |= rc == 0;
    b->batch_ops = b->batch_bytes = 0;
    return rc;
}

/* Keep transactions bounded. */
static int count_op(struct state_build *b, size_t bytes, struct err *e)
{
    if (b->t.txn == NULL)
        return err_set(e, ERR_FAILED, "build: an earlier step failed");
    if (++b->batch_ops <= BUILD_MAX_OPS && (b->batch_bytes += bytes) <= BATCH_MAX_BYTES)
        return 0;
    int rc = commit(b, e);
    return rc != 0 ? rc : state_write_begin(b->s, &b->t, e);
}

static struct bytes build_name(const struct state_build *b)
{
    return bytes_of(b->name, b->name_bytes);
}

static int end_collection(struct state_build *b, struct err *e)
{
    if (b->name_bytes == 0)
        return 0;
    b->row.collections++;
    return row_put_collection(&b->t, build_name(b), &b->collection, e);
}

static int enter_collection(struct state_build *b, const struct record *r, struct err *e)
{
    int order = bytes_compare(r->collection, build_name(b));
    if (order == 0 && bytes_compare(r->key, bytes_of(b->key, b->key_bytes)) > 0)
        return 0;
    if (order <= 0) {
        char quoted[ROW_QUOTE_BYTES];
        return err_set(e, ERR_INTEGRITY, "build: record '%s' is out of order",
                       row_quote(r->key, quoted));
    }
    int rc = end_collection(b, e);
    memcpy(b->name, r->collection.p, r->collection.n);
    b->name_bytes = r->collection.n;
    b->collection = (struct collection_row){.id = b->row.next_collection++};
    return rc;
}

int state_build_record(struct state_build *b, const struct record *r, struct err *e)
{
    struct op op = {OP_PUT, r->collection, r->key, r->value};
    int rc = op_check(&op, true, e);
    if (rc != 0 || (rc = count_op(b, r->value.n, e)) != 0 || (rc = enter_collection(b, r, e)) != 0)
        return rc;
    memcpy(b->key, r->key.p, r->key.n);
    b->key_bytes = r->key.n;

    uint8_t buffer[RECORD_KEY_MAX_BYTES];
    struct bytes key = row_record_key(b->collection.id, r->key, buffer);
    MDB_val k = val_of(key), v = {RECORD_ROW_BYTES + r->value.n, NULL};
    if ((rc = mdb_put(b->t.txn, b->t.dbi[DB_RECORDS], &k, &v, MDB_APPEND | MDB_RESERVE)) != 0)
        return state_lmdb_error(e, b->s->env, rc, "build: put a record");
    struct digest d = digest_record(r->collection, r->key, r->lsn, r->value);
    row_write_record(key, r, d, v.mv_data);
    uint32_t bucket = digest_bucket(r->collection, r->key);
    b->bucket[bucket] = digest_add(b->bucket[bucket], d);
    b->collection.digest = digest_add(b->collection.digest, d);
    b->collection.records++;
    b->row.digest = digest_add(b->row.digest, d);
    b->row.records++;
    return 0;
}

int state_build_session(struct state_build *b, const struct uuid *id,
                        const struct session_info *info, struct err *e)
{
    if (info->client.n > CLIENT_NAME_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "build: client name of %zu bytes, at most %d", info->client.n,
                       CLIENT_NAME_MAX_BYTES);
    int rc = count_op(b, 0, e);
    return rc != 0 ? rc : row_put_session(&b->t, id, &(struct session_row){.info = *info}, e);
}

int state_build_result(struct state_build *b, const struct uuid *id, uint64_t sequence,
                       const struct entry_position *at, struct err *e)
{
    struct session_row row;
    int rc = count_op(b, 0, e);
    if (rc != 0)
        return rc;
    rc = row_get_session(&b->t, id, &row, e);
    if (rc == ERR_NOT_FOUND || (rc == 0 && row.results == SESSION_RESULTS_MAX))
        return err_set(e, ERR_INTEGRITY, "build: result %llu %s", (unsigned long long)sequence,
                       rc == 0 ? "is one too many for its session" : "belongs to no session");
    if (rc != 0)
        return rc;
    /* The row's client is a view that ends with the first write. */
    uint8_t client[CLIENT_NAME_MAX_BYTES];
    check(row.info.client.n <= sizeof client);
    memcpy(client, row.info.client.p, row.info.client.n);
    row.info.client.p = client;
    bool added;
    if ((rc = row_add_result(&b->t, id, sequence, at, &added, e)) != 0)
        return rc;
    row.results += added;
    return row_put_session(&b->t, id, &row, e);
}

int state_build_point(struct state_build *b, const struct restore_point *p, struct err *e)
{
    if (p->name.n == 0 || p->name.n > POINT_NAME_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "build: restore point name of %zu bytes: 1 to %d are allowed",
                       p->name.n, POINT_NAME_MAX_BYTES);
    int rc = count_op(b, 0, e);
    return rc != 0 ? rc : row_add_point(&b->t, p, e);
}

int state_build_events(struct state_build *b, struct state_session_event *events, size_t n,
                       struct err *e)
{
    int rc = count_op(b, 0, e);
    if (rc == 0)
        rc = state_apply_sessions(&b->t, events, n, e);
    b->batch_ops += n; /* each may change a row */
    return rc;
}

static int put_buckets(struct state_build *b, struct err *e)
{
    for (uint32_t i = 0; i < DIGEST_BUCKETS; i++) {
        int rc = row_put_bucket(&b->t, i, b->bucket[i], 0, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int state_build_end(struct state_build *b, const struct entry_position *at, enum commit_mode mode,
                    struct err *e)
{
    struct state *s = b->s;
    struct entry_position position;
    b->row.at = *at;
    b->row.mode = mode;
    b->row.history_from = at->lsn; /* what was before is in the repository alone */
    b->row.history_time = at->time;
    int rc = b->t.txn == NULL ? err_set(e, ERR_FAILED, "build: an earlier step failed")
                              : end_collection(b, e);
    if (rc == 0)
        rc = put_buckets(b, e);
    if (rc == 0)
        rc = index_begin(s, &b->t, e);
    if (rc == 0 && (rc = commit(b, e)) == 0)
        index_begun(s);
    else
        index_dropped(s, NULL);
    if (rc == 0)
        rc = state_checkpoint_begin(s, &position, e);
    if (rc != 0) {
        state_build_abandon(b);
        return rc;
    }
    s->building = false;
    free(b);
    return 0;
}

void state_build_abandon(struct state_build *b)
{
    if (b == NULL)
        return;
    struct state *s = b->s;
    if (b->t.txn != NULL)
        mdb_txn_abort(b->t.txn);
    s->building = false;
    /* A reset that fails leaves the state refusing writes, which is what it must do. */
    if (b->committed)
        (void)state_reset_to_checkpoint(s, NULL);
    free(b);
}
