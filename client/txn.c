/* Transactions as the application fills them, and the calls that commit them.
 *
 * Keys and values are copied into chunks that never move, so that the ops can point into them; a transaction is encoded
 * when it is committed. Limits are those of the sites (op_check and the frame's), checked as things are added: what would be
 * refused there costs no round trip. */
#include "client/internal.h"

enum { CHUNK_BYTES = 16 << 10 };

struct chunk {
    struct chunk *next;
    size_t used, size;
    uint8_t bytes[];
};

struct tvn_txn {
    struct chunk *chunks; /* the newest first */
    struct op *ops;
    struct condition *conditions;
    uint32_t op_count, op_room, condition_count, condition_room;
    size_t bytes; /* encoded */
    enum level level;
    uint32_t timeout_ms;
    size_t key_bytes; /* 0: no idempotency key */
    uint8_t key[IDEMPOTENCY_KEY_MAX_BYTES];
    struct err bad; /* the first error */
};

struct tvn_txn *tvn_txn_new(void)
{
    struct tvn_txn *t = calloc(1, sizeof *t);
    if (t != NULL)
        t->bytes = CLIENT_TXN_HEADER_BYTES;
    return t;
}

/* All but one of the usual size, for the next contents. */
static void keep_one_chunk(struct tvn_txn *t)
{
    struct chunk *kept = NULL;
    for (struct chunk *c = t->chunks, *next; c != NULL; c = next) {
        next = c->next;
        if (kept == NULL && c->size == CHUNK_BYTES)
            kept = c;
        else
            free(c);
    }
    if (kept != NULL)
        *kept = (struct chunk){.size = CHUNK_BYTES};
    t->chunks = kept;
}

void tvn_txn_reset(struct tvn_txn *t)
{
    keep_one_chunk(t);
    t->op_count = t->condition_count = 0;
    t->bytes = CLIENT_TXN_HEADER_BYTES;
    t->level = LEVEL_MODE;
    t->timeout_ms = 0;
    t->key_bytes = 0;
    t->bad.code = 0;
}

void tvn_txn_free(struct tvn_txn *t)
{
    if (t == NULL)
        return;
    keep_one_chunk(t);
    free(t->chunks);
    free(t->ops);
    free(t->conditions);
    free(t);
}

static int out_of_memory(struct tvn_txn *t)
{
    return err_set(&t->bad, ERR_NO_MEMORY, "out of memory");
}

static int copy_in(struct tvn_txn *t, struct bytes *b)
{
    if (b->n == 0) {
        *b = (struct bytes){NULL, 0};
        return 0;
    }
    struct chunk *c = t->chunks;
    if (c == NULL || b->n > c->size - c->used) {
        size_t size = b->n > CHUNK_BYTES ? b->n : CHUNK_BYTES;
        c = malloc(sizeof *c + size);
        if (c == NULL)
            return out_of_memory(t);
        *c = (struct chunk){.next = t->chunks, .size = size};
        t->chunks = c;
    }
    uint8_t *to = c->bytes + c->used;
    memcpy(to, b->p, b->n);
    b->p = to;
    c->used += b->n;
    return 0;
}

/* Room for one more in an array of elements of `size`. */
static int grow(struct tvn_txn *t, void **array, uint32_t count, uint32_t *room, size_t size)
{
    if (count == TXN_MAX_OPS)
        return err_set(&t->bad, ERR_LIMIT, "more than %d ops or conditions in a transaction",
                       TXN_MAX_OPS);
    if (count < *room)
        return 0;
    uint32_t more = *room == 0 ? 8 : *room * 2;
    void *bigger = realloc(*array, more * size);
    if (bigger == NULL)
        return out_of_memory(t);
    *array = bigger;
    *room = more;
    return 0;
}

static struct bytes bytes_in(struct tvn_bytes b)
{
    return bytes_of(b.data, b.data == NULL ? 0 : b.size);
}

/* Check what ops and conditions have in common, and count it. `fixed`: encoded size beside names and value. */
static int weigh(struct tvn_txn *t, const struct op *op, size_t fixed)
{
    if (t->bad.code != 0 || op_check(op, false, &t->bad) != 0)
        return t->bad.code;
    size_t bytes = t->bytes + fixed + op->collection.n + op->key.n + op->value.n;
    if (bytes > FRAME_CLIENT_MAX_BYTES)
        return err_set(&t->bad, ERR_LIMIT,
                       "transaction of %zu bytes: at most %d (40 MiB) are allowed", bytes,
                       FRAME_CLIENT_MAX_BYTES);
    t->bytes = bytes;
    return 0;
}

/* ... and copy it. When there is no memory the transaction is bad, and its size does not matter. */
static int take(struct tvn_txn *t, struct op *op, size_t fixed)
{
    int rc = weigh(t, op, fixed);
    if (rc == 0)
        rc = copy_in(t, &op->collection);
    if (rc == 0)
        rc = copy_in(t, &op->key);
    if (rc == 0)
        rc = copy_in(t, &op->value);
    return rc;
}

static size_t op_fixed(enum op_kind kind)
{
    return 1 + 2 + 2 + (kind == OP_PUT ? 4 : 0);
}

static int add_op(struct tvn_txn *t, enum op_kind kind, const char *collection,
                  struct tvn_bytes key, struct tvn_bytes value)
{
    struct op op = {kind, bytes_str(collection == NULL ? "" : collection), bytes_in(key),
                    bytes_in(value)};
    int rc = take(t, &op, op_fixed(kind));
    void *array = t->ops;
    if (rc == 0)
        rc = grow(t, &array, t->op_count, &t->op_room, sizeof op);
    t->ops = array;
    if (rc == 0)
        t->ops[t->op_count++] = op;
    return rc;
}

static int add_condition(struct tvn_txn *t, enum condition_kind kind, const char *collection,
                         struct tvn_bytes key, uint64_t version)
{
    struct op op = {
        OP_DELETE, bytes_str(collection == NULL ? "" : collection), bytes_in(key), {NULL, 0}};
    int rc = take(t, &op, 1 + 2 + 2 + 8);
    void *array = t->conditions;
    if (rc == 0)
        rc = grow(t, &array, t->condition_count, &t->condition_room, sizeof *t->conditions);
    t->conditions = array;
    if (rc == 0)
        t->conditions[t->condition_count++] =
            (struct condition){kind, op.collection, op.key, {version}};
    return rc;
}

int tvn_txn_put(struct tvn_txn *t, const char *collection, struct tvn_bytes key,
                struct tvn_bytes value)
{
    return add_op(t, OP_PUT, collection, key, value);
}

int tvn_txn_del(struct tvn_txn *t, const char *collection, struct tvn_bytes key)
{
    return add_op(t, OP_DELETE, collection, key, tvn_view(NULL, 0));
}

int tvn_txn_if_absent(struct tvn_txn *t, const char *collection, struct tvn_bytes key)
{
    return add_condition(t, COND_ABSENT, collection, key, 0);
}

int tvn_txn_if_exists(struct tvn_txn *t, const char *collection, struct tvn_bytes key)
{
    return add_condition(t, COND_EXISTS, collection, key, 0);
}

int tvn_txn_if_version(struct tvn_txn *t, const char *collection, struct tvn_bytes key,
                       uint64_t lsn)
{
    return add_condition(t, COND_VERSION, collection, key, lsn);
}

int tvn_txn_set(struct tvn_txn *t, enum tvn_ack ack, uint32_t timeout_ms)
{
    if (t->bad.code != 0)
        return t->bad.code;
    if ((unsigned)ack > TVN_ACK_ALL || timeout_ms > CLIENT_TIMEOUT_MAX_MS)
        return err_set(&t->bad, ERR_USAGE, "ack %d or timeout of %u ms is not allowed", (int)ack,
                       timeout_ms);
    t->level = (enum level)ack;
    t->timeout_ms = timeout_ms;
    return 0;
}

int tvn_txn_set_idempotency_key(struct tvn_txn *t, struct tvn_bytes key)
{
    const struct bytes k = key.data != NULL ? bytes_in(key) : (struct bytes){NULL, 0};
    if (t->bad.code != 0 || idempotency_key_check(k, &t->bad) != 0 || k.p == NULL)
        return t->bad.code;
    memcpy(t->key, k.p, k.n);
    t->key_bytes = k.n;
    return 0;
}

/* ---- committing ---- */

static int txn_request(struct tvn *db, const struct tvn_txn *t, struct request **out, struct err *e)
{
    *out = NULL;
    if (t->bad.code != 0)
        return err_set(e, t->bad.code, "%s", t->bad.text);
    if (t->op_count == 0 && t->condition_count == 0)
        return err_set(e, ERR_USAGE, "the transaction is empty");
    const size_t bytes = t->bytes + (t->key_bytes != 0 ? 2 + t->key_bytes : 0);
    struct request *r = client_request_new(db, FRAME_TXN, bytes);
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for a transaction of %zu bytes", bytes);
    struct wire_txn head = {
        .level = t->level == LEVEL_MODE ? db->config.level : t->level,
        .condition_count = t->condition_count,
        .op_count = t->op_count,
        .key = bytes_of(t->key, t->key_bytes),
    };
    struct writer w = writer_of(r->body, r->size);
    wire_write_txn(&w, &head, t->conditions, t->ops);
    check(!w.bad && w.at == r->size);
    r->primary = true;
    r->keyed = t->key_bytes != 0;
    *out = r;
    return 0;
}

int tvn_submit(struct tvn *db, const struct tvn_txn *txn, tvn_on_done callback, void *arg,
               struct tvn_error *error)
{
    struct err e = ERR_NONE;
    struct request *r = NULL;
    int rc = callback == NULL ? err_set(&e, ERR_USAGE, "a callback is required")
                              : txn_request(db, txn, &r, &e);
    if (rc == 0) {
        r->on_done = callback;
        r->arg = arg;
        rc = client_submit(db, r, txn->timeout_ms, false, &e);
    }
    if (rc != 0) {
        client_request_free(db, r);
        return client_error_set(error, &e, TVN_NOT_DONE);
    }
    client_error_none(error);
    return 0;
}

int tvn_txn_commit(struct tvn *db, const struct tvn_txn *txn, struct tvn_result *result,
                   struct tvn_error *error)
{
    struct err e = ERR_NONE;
    struct request *r = NULL;
    if (result != NULL)
        memset(result, 0, sizeof *result);
    if (txn_request(db, txn, &r, &e) != 0)
        return client_error_set(error, &e, TVN_NOT_DONE);
    int rc = client_call(db, r, txn->timeout_ms, error);
    if (result != NULL)
        *result = r->result;
    client_release(db, r);
    return rc;
}

/* A transaction of one op, of which nothing is copied but into the request. */
static int commit_one(struct tvn *db, const struct op *op, struct tvn_result *result,
                      struct tvn_error *error)
{
    struct op ops[] = {*op};
    struct tvn_txn t = {
        .ops = ops, .op_count = 1, .bytes = CLIENT_TXN_HEADER_BYTES, .level = LEVEL_MODE};
    (void)weigh(&t, op, op_fixed(op->kind)); /* what is wrong is told by the commit */
    return tvn_txn_commit(db, &t, result, error);
}

int tvn_put(struct tvn *db, const char *collection, struct tvn_bytes key, struct tvn_bytes value,
            struct tvn_result *result, struct tvn_error *error)
{
    const struct op op = {OP_PUT, bytes_str(collection == NULL ? "" : collection), bytes_in(key),
                          bytes_in(value)};
    return commit_one(db, &op, result, error);
}

int tvn_del(struct tvn *db, const char *collection, struct tvn_bytes key, struct tvn_result *result,
            struct tvn_error *error)
{
    const struct op op = {
        OP_DELETE, bytes_str(collection == NULL ? "" : collection), bytes_in(key), {NULL, 0}};
    return commit_one(db, &op, result, error);
}
