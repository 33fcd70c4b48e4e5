/* Unique indexes at the primary: which value may be written.
 *
 * The rows of an index are the state's business (store/io/state_index.c), and tell of what is applied. Here it is decided, before
 * a transaction is logged, whether it would give two records one value: against the rows, what is in flight (store/claims.h), and
 * the transaction itself. What an index is declared to be is one thing, what can be promised of it another:
 *
 * STATES of a unique index at a primary
 *   tracked   the values of what is logged are claimed, since `tracked_from`; nothing is refused
 *   closed    it is built here, everything up to `tracked_from` is applied, and no two records had one value: what would change
 *             that is refused from `closed_at` on
 *   enforced  everything up to `closed_at` is applied as well, and still no two records had one value: so none ever will. The
 *             declaration is logged again with `enforced`, and from then on it is promised: also by the next primary, which
 *             refuses such writes altogether until its own rows are built
 *
 * A refusal is an answer about the history so far, so it waits until that is committed, as a failed condition does. */
#include "replication/service.h"

#include "store/claims.h"
#include "store/core/check.h"
#include "store/io/index_json.h"
#include "store/io/state_rows.h"

/* Between two looks at whether an index can be enforced: when one is to be, and when none was when it was last looked. */
enum { STEP_MS = 20, IDLE_MS = 200 };

struct unique {
    uint64_t number; /* in claims */
    uint8_t collection_name[COLLECTION_MAX_BYTES], own_name[INDEX_NAME_MAX_BYTES];
    size_t collection_bytes, name_bytes;
    struct index_declaration declaration;
    uint64_t id; /* of its rows */
    bool ready;
    uint64_t duplicates, passed, records;
    struct lsn tracked_from, closed_at; /* closed_at 0: it is not */
};

/* The last op of a transaction on one record. */
struct last_op {
    struct bytes collection, key, value;
    bool is_put;
    uint32_t op;
};
/* A record that is to have this value. */
struct want {
    const struct unique *unique;
    const struct last_op *by;
    struct index_key value;
};

struct uniques {
    uint64_t snapshot; /* what is below was read from that one; 0: from none */
    bool any_index;    /* also one that is not unique */
    bool any_open;     /* a unique one that is not enforced */
    struct unique *v;
    size_t n, cap;
    uint64_t next_number, looked_ms;
    struct claims *claims;
    struct last_op *ops; /* of the transaction at hand, as what follows */
    size_t op_count, op_cap;
    struct want *wants;
    size_t want_count, want_cap;
};

static struct bytes collection_of(const struct unique *u)
{
    return bytes_of(u->collection_name, u->collection_bytes);
}

static struct bytes name_of(const struct unique *u)
{
    return bytes_of(u->own_name, u->name_bytes);
}

/* Room for one more; `size` bytes each. */
static int reserve(void **array, size_t n, size_t *cap, size_t size, struct err *e)
{
    if (n < *cap)
        return 0;
    const size_t larger = *cap == 0 ? 16 : 2 * *cap;
    void *p = realloc(*array, larger * size);
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory to check unique indexes");
    *array = p;
    *cap = larger;
    return 0;
}

/* ---- which there are ---- */

static const struct unique *known_before(const struct uniques *q, const struct unique *u)
{
    for (size_t i = 0; i < q->n; i++)
        if (bytes_equal(collection_of(&q->v[i]), collection_of(u)) &&
            bytes_equal(name_of(&q->v[i]), name_of(u)) &&
            index_declaration_same_rows(&q->v[i].declaration, &u->declaration))
            return &q->v[i];
    return NULL;
}

struct load {
    struct site *site;
    struct uniques *old;
    struct unique *v;
    size_t n, cap;
    struct err *e;
};

static int load_one(void *arg, const struct index_info *info)
{
    struct load *l = arg;
    if (!info->declaration.unique ||
        (info->status != INDEX_BUILDING && info->status != INDEX_READY))
        return 0;
    void *array = l->v;
    int rc = reserve(&array, l->n, &l->cap, sizeof *l->v, l->e);
    l->v = array;
    if (rc != 0)
        return rc;
    struct unique u = {.declaration = info->declaration,
                       .collection_bytes = info->collection.n,
                       .name_bytes = info->name.n,
                       .id = info->id,
                       .ready = info->status == INDEX_READY,
                       .duplicates = info->duplicates,
                       .passed = info->passed,
                       .records = info->records};
    memcpy(u.collection_name, info->collection.p, info->collection.n);
    memcpy(u.own_name, info->name.p, info->name.n);
    const struct unique *before = known_before(l->old, &u);
    u.number = before != NULL ? before->number : ++l->old->next_number;
    u.tracked_from = before != NULL ? before->tracked_from : l->site->tail.lsn;
    /* One that is built anew before it was enforced begins again: nothing was promised, and nothing is refused meanwhile. */
    u.closed_at = before != NULL && u.ready ? before->closed_at : (struct lsn){0};
    l->v[l->n++] = u;
    return 0;
}

/* Know what the snapshot of this turn of the loop shows. */
static int load(struct service *v, struct state_snapshot **snap, struct err *e)
{
    struct site *s = v->site;
    int rc = site_snapshot(s, snap, e);
    if (rc != 0)
        return rc;
    if (v->uniques == NULL && (v->uniques = calloc(1, sizeof *v->uniques)) == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory to check unique indexes");
    struct uniques *q = v->uniques;
    if (q->snapshot == state_snapshot_number(*snap))
        return 0;
    struct load l = {.site = s, .old = q, .e = e};
    q->any_index = state_has_indexes(*snap);
    if (q->any_index)
        rc = state_indexes(*snap, (struct bytes){NULL, 0}, load_one, &l, e);
    if (rc == 0 && l.n != 0 && q->claims == NULL) {
        uint8_t seed[ENTRY_SALT_BYTES];
        rc = salts_next(&s->salts, seed, e);
        if (rc == 0 && (q->claims = claims_new(get_le64(seed))) == NULL)
            rc = err_set(e, ERR_NO_MEMORY, "out of memory to check unique indexes");
    }
    if (rc != 0) {
        free(l.v);
        return rc;
    }
    free(q->v);
    q->v = l.v;
    q->n = l.n;
    q->cap = l.cap;
    q->snapshot = state_snapshot_number(*snap);
    q->any_open = false;
    for (size_t i = 0; i < q->n; i++)
        q->any_open |= !q->v[i].declaration.enforced;
    if (q->claims != NULL)
        claims_drop(q->claims, state_snapshot_position(*snap).lsn);
    return 0;
}

void service_unique_forget(struct service *v)
{
    struct uniques *q = v->uniques;
    if (q == NULL)
        return;
    claims_free(q->claims);
    free(q->v);
    free(q->ops);
    free(q->wants);
    free(q);
    v->uniques = NULL;
}

/* ---- what a transaction wants ---- */

/* Each op changes rows of the collection's indexes, in one transaction of the state. */
static int weigh(struct site *s, const struct wire_txn *txn, struct err *e)
{
    struct reader r = txn->ops;
    struct bytes last = {NULL, 0};
    uint64_t weight = 0;
    uint32_t indexes = 0;
    for (uint32_t i = 0; i < txn->op_count; i++) {
        struct op op;
        check(body_next_op(&r, &op, NULL) == 0);
        if (i == 0 || !bytes_equal(op.collection, last))
            indexes = state_index_count(s->state, op.collection);
        last = op.collection;
        weight += 1 + 2 * (uint64_t)indexes;
    }
    return weight <= TXN_MAX_OPS
               ? 0
               : err_set(e, ERR_LIMIT,
                         "%u operations weigh %llu: each 1, and 2 more for each index of its "
                         "collection; a transaction may weigh %d at most, make it smaller",
                         txn->op_count, (unsigned long long)weight, TXN_MAX_OPS);
}

static bool has_unique(const struct uniques *q, struct bytes collection)
{
    for (size_t i = 0; i < q->n; i++)
        if (bytes_equal(collection_of(&q->v[i]), collection))
            return true;
    return false;
}

/* By record, and of one record in order. */
static int compare_ops(const void *pa, const void *pb)
{
    const struct last_op *a = pa, *b = pb;
    int c = bytes_compare(a->collection, b->collection);
    if (c == 0)
        c = bytes_compare(a->key, b->key);
    return c != 0 ? c : a->op < b->op ? -1 : a->op > b->op;
}

static int gather_ops(struct uniques *q, const struct wire_txn *txn, struct err *e)
{
    struct reader r = txn->ops;
    struct bytes last = {NULL, 0};
    bool counts = false;
    q->op_count = 0;
    for (uint32_t i = 0; i < txn->op_count; i++) {
        struct op op;
        check(body_next_op(&r, &op, NULL) == 0);
        if (i == 0 || !bytes_equal(op.collection, last))
            counts = has_unique(q, op.collection);
        last = op.collection;
        if (!counts)
            continue;
        void *array = q->ops;
        int rc = reserve(&array, q->op_count, &q->op_cap, sizeof *q->ops, e);
        q->ops = array;
        if (rc != 0)
            return rc;
        q->ops[q->op_count++] =
            (struct last_op){op.collection, op.key, op.value, op.kind == OP_PUT, i};
    }
    if (q->op_count == 0)
        return 0;
    qsort(q->ops, q->op_count, sizeof *q->ops, compare_ops);
    size_t kept = 0;
    for (size_t i = 0; i < q->op_count; i++)
        if (i + 1 == q->op_count || !bytes_equal(q->ops[i].key, q->ops[i + 1].key) ||
            !bytes_equal(q->ops[i].collection, q->ops[i + 1].collection))
            q->ops[kept++] = q->ops[i];
    q->op_count = kept;
    return 0;
}

static int gather_wants(struct uniques *q, struct err *e)
{
    int rc = 0;
    q->want_count = 0;
    for (size_t i = 0; rc == 0 && i < q->op_count; i++) {
        const struct last_op *op = &q->ops[i];
        if (!op->is_put)
            continue;
        struct index_document *doc;
        rc = index_document_open(op->value, &doc, e);
        for (size_t k = 0; rc == 0 && k < q->n; k++) {
            const struct unique *u = &q->v[k];
            struct index_key value;
            if (!bytes_equal(collection_of(u), op->collection) ||
                !index_document_key(doc, &u->declaration, &value))
                continue;
            void *array = q->wants;
            rc = reserve(&array, q->want_count, &q->want_cap, sizeof *q->wants, e);
            q->wants = array;
            if (rc == 0)
                q->wants[q->want_count++] = (struct want){u, op, value};
        }
        index_document_close(doc);
    }
    return rc;
}

/* ---- may it? ---- */

static bool is_closed(const struct unique *u)
{
    return u->declaration.enforced || u->closed_at.v != 0;
}

/* Told by key alone: values may be long, or nobody's business. */
static int taken(const struct unique *u, struct bytes key, uint32_t op, struct bytes other,
                 struct err *e)
{
    char a[ROW_QUOTE_BYTES], b[ROW_QUOTE_BYTES];
    return err_set(e, ERR_UNIQUE,
                   "operation %u: index '%.*s' of collection '%.*s' is unique, and record '%s' has "
                   "the value already that '%s' would get",
                   op, (int)u->name_bytes, (const char *)u->own_name, (int)u->collection_bytes,
                   (const char *)u->collection_name, row_quote(other, b), row_quote(key, a));
}

/* By index and value. */
static int compare_wants(const void *pa, const void *pb)
{
    const struct want *a = pa, *b = pb;
    if (a->unique != b->unique)
        return a->unique < b->unique ? -1 : 1;
    int c = bytes_compare(index_key_bytes(&a->value), index_key_bytes(&b->value));
    return c != 0 ? c : a->by->op < b->by->op ? -1 : a->by->op > b->by->op;
}

static int check_each_other(struct uniques *q, struct err *e)
{
    if (q->want_count > 1)
        qsort(q->wants, q->want_count, sizeof *q->wants, compare_wants);
    for (size_t i = 1; i < q->want_count; i++) {
        const struct want *a = &q->wants[i - 1], *b = &q->wants[i];
        if (a->unique == b->unique && is_closed(a->unique) &&
            bytes_equal(index_key_bytes(&a->value), index_key_bytes(&b->value)))
            return taken(b->unique, b->by->key, b->by->op, a->by->key, e);
    }
    return 0;
}

/* What becomes of the record in the transaction itself; NULL: nothing. */
static const struct last_op *changed_here(const struct uniques *q, struct bytes collection,
                                          struct bytes key)
{
    size_t low = 0, high = q->op_count;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const struct last_op *op = &q->ops[mid];
        int c = bytes_compare(op->collection, collection);
        if (c == 0)
            c = bytes_compare(op->key, key);
        if (c == 0)
            return op;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* Has the other record the value, once all that is logged is applied? 0 no, ERR_UNIQUE yes. */
static int check_holder(struct service *v, struct state_snapshot *snap, const struct want *w,
                        struct bytes other, struct err *e)
{
    struct site *s = v->site;
    struct record r;
    if (bytes_equal(other, w->by->key) ||
        changed_here(v->uniques, w->by->collection, other) != NULL)
        return 0; /* itself; or what it gets here is compared here */
    enum overlay_answer in_flight =
        overlay_get(s->overlay, w->by->collection, other, SERVICE_NEWEST, &r);
    if (in_flight == OVERLAY_GONE)
        return 0;
    int rc = in_flight == OVERLAY_THERE ? 0 : state_get(snap, w->by->collection, other, &r, e);
    if (rc != 0)
        return rc == ERR_NOT_FOUND ? 0 : rc;
    struct index_key value;
    struct index_document *doc;
    if ((rc = index_document_open(r.value, &doc, e)) != 0)
        return rc;
    const bool same = index_document_key(doc, &w->unique->declaration, &value) &&
                      bytes_equal(index_key_bytes(&value), index_key_bytes(&w->value));
    index_document_close(doc);
    return same ? taken(w->unique, w->by->key, w->by->op, other, e) : 0;
}

static int check_want(struct service *v, struct state_snapshot *snap, const struct want *w,
                      struct err *e)
{
    const struct unique *u = w->unique;
    struct bytes other;
    const void *at = NULL;
    int rc = state_index_holder(snap, u->id, &w->value, w->by->key, &other, e);
    if (rc == ERR_INTEGRITY)
        applier_rebuild_index(v->site->applier, u->id);
    if (rc == 0)
        rc = check_holder(v, snap, w, other, e);
    else if (rc == ERR_NOT_FOUND)
        rc = 0;
    while (rc == 0 &&
           claims_next(v->uniques->claims, u->number, index_key_bytes(&w->value), &at, &other))
        rc = check_holder(v, snap, w, other, e);
    return rc;
}

static int not_built(const struct unique *u, struct err *e)
{
    const uint64_t of = u->records > u->passed ? u->records : u->passed;
    return err_set(e, ERR_NOT_READY,
                   "index '%.*s' of collection '%.*s' is unique and is still being built at this "
                   "primary, %llu of about %llu records are done: until then it cannot tell "
                   "whether the value is taken; try again",
                   (int)u->name_bytes, (const char *)u->own_name, (int)u->collection_bytes,
                   (const char *)u->collection_name, (unsigned long long)u->passed,
                   (unsigned long long)of);
}

/* Until what is applied does the transaction have to wait? 0: it need not. */
static struct lsn must_wait_for(const struct uniques *q, struct lsn applied)
{
    struct lsn need = {0};
    for (size_t i = 0; i < q->want_count; i++) {
        const struct unique *u = q->wants[i].unique;
        if (u->declaration.enforced && applied.v < u->tracked_from.v && u->tracked_from.v > need.v)
            need = u->tracked_from;
    }
    return need;
}

static int check_wants(struct client *c, const struct frame *f, struct bytes body,
                       struct state_snapshot *snap, struct err *e)
{
    struct service *v = c->service;
    struct uniques *q = v->uniques;
    const struct lsn need = must_wait_for(q, state_snapshot_position(snap).lsn);
    if (need.v != 0) {
        int rc = service_park(c, f, body, need, e);
        return rc != 0 ? rc : SERVICE_LATER;
    }
    int rc = check_each_other(q, e);
    for (size_t i = 0; rc == 0 && i < q->want_count; i++)
        if (is_closed(q->wants[i].unique))
            rc = q->wants[i].unique->ready ? check_want(v, snap, &q->wants[i], e)
                                           : not_built(q->wants[i].unique, e);
    return rc;
}

int service_unique_check(struct client *c, const struct frame *f, struct bytes body,
                         const struct wire_txn *txn, struct err *e)
{
    struct service *v = c->service;
    struct state_snapshot *snap;
    int rc = load(v, &snap, e);
    if (rc != 0)
        return rc;
    const struct lsn declares = inherited_declares(v->site);
    if (state_snapshot_position(snap).lsn.v < declares.v) { /* an index that is not known yet */
        rc = service_park(c, f, body, declares, e);
        return rc != 0 ? rc : SERVICE_LATER;
    }
    if (!v->uniques->any_index)
        return 0;
    struct uniques *q = v->uniques;
    rc = weigh(v->site, txn, e);
    if (rc != 0 || q->n == 0)
        return rc;
    rc = gather_ops(q, txn, e);
    if (rc == 0)
        rc = gather_wants(q, e);
    if (rc == 0)
        rc = check_wants(c, f, body, snap, e);
    for (size_t i = 0; rc == 0 && i < q->want_count; i++)
        rc = claims_add(q->claims, q->wants[i].unique->number, index_key_bytes(&q->wants[i].value),
                        q->wants[i].by->key, e);
    if (rc != 0)
        service_unique_written(v, (struct lsn){0});
    return rc;
}

void service_unique_written(struct service *v, struct lsn lsn)
{
    if (v->uniques == NULL || v->uniques->claims == NULL)
        return;
    if (lsn.v != 0)
        claims_settle(v->uniques->claims, lsn);
    else
        claims_abandon(v->uniques->claims);
}

/* ---- from tracked to enforced ---- */

static void enforce(struct service *v, struct unique *u)
{
    struct err e = ERR_NONE;
    struct index_declaration d = u->declaration;
    d.enforced = true;
    int rc = service_index_declare(v->site, collection_of(u), name_of(u), &d, &e);
    if (rc == 0)
        events_add(v->site->events, "index '%.*s' of collection '%.*s' is unique from now on",
                   (int)u->name_bytes, (const char *)u->own_name, (int)u->collection_bytes,
                   (const char *)u->collection_name);
    else if (rc != ERR_BUSY)
        events_add(v->site->events, "index '%.*s' of collection '%.*s' cannot be enforced yet: %s",
                   (int)u->name_bytes, (const char *)u->own_name, (int)u->collection_bytes,
                   (const char *)u->collection_name, e.text);
}

static void step(struct service *v, struct unique *u, struct lsn applied)
{
    if (u->declaration.enforced || !u->ready)
        return;
    if (u->duplicates != 0) {
        if (u->closed_at.v != 0)
            events_add(v->site->events,
                       "index '%.*s' of collection '%.*s' cannot be enforced: records have the "
                       "same value; triveni index list names two",
                       (int)u->name_bytes, (const char *)u->own_name, (int)u->collection_bytes,
                       (const char *)u->collection_name);
        u->closed_at.v = 0;
    } else if (u->closed_at.v == 0) {
        if (applied.v >= u->tracked_from.v)
            u->closed_at = v->site->tail.lsn;
    } else if (applied.v >= u->closed_at.v) {
        enforce(v, u);
    }
}

void service_unique_progress(struct service *v)
{
    struct site *s = v->site;
    struct state_snapshot *snap;
    struct err e = ERR_NONE;
    const uint64_t now = site_now_ms();
    const struct uniques *q = v->uniques;
    if (!site_is_settled(s) ||
        (q != NULL && now < q->looked_ms + (q->any_open ? (uint64_t)STEP_MS : (uint64_t)IDLE_MS)))
        return;
    if (load(v, &snap, &e) != 0)
        return; /* whoever writes is told */
    v->uniques->looked_ms = now;
    const struct lsn applied = state_snapshot_position(snap).lsn;
    for (size_t i = 0; i < v->uniques->n; i++)
        step(v, &v->uniques->v[i], applied);
}
