/* One hash table over everything in flight.
 *
 * MEMORY. Entries stand one behind the other in chunks. They leave in the order in which they came, or from the end, so a chunk
 * is empty when its last entry has left, and goes to the spares: no holes, no search. A large entry has a block of its own.
 *
 * An entry is one block of memory: its position, its nodes, and a copy of its body that the nodes point into. A node is one
 * effect: a put or delete of a record, a result, an act on a session, a restore point. Its identity is a space
 * (which of these) and a name of one or two parts.
 *
 *   table[h] -> node <-> node <-> node        newest node of each identity, chained by hash
 *                |older         |older
 *               node           node           earlier effects on the same identity, newest first
 *
 *   oldest -> entry -> entry -> ... <- newest  entries in order of lsn
 *
 * INVARIANTS
 *   O1  Along `older` lsns never rise; within one entry a later op comes first.
 *   O2  Only the newest node of an identity is in a chain of the table.
 *   O3  Leaving at the front takes the end of an `older` list, leaving at the back takes its head, so both are O(1).
 *   O4  Along the list of entries those in chunks are in order of the chunks, and in a chunk in order of place. */
#include "store/overlay.h"

#include "store/core/check.h"
#include "store/core/hash.h"

#include <stddef.h>
#include <stdlib.h>

enum space { SPACE_RECORD = 1, SPACE_RESULT = 2, SPACE_SESSION = 3, SPACE_POINT = 4 };

struct node {
    struct node *chain_next, *chain_prev; /* when newest: the table's chain */
    struct node *newer, *older;
    const struct overlay_entry *entry;
    uint64_t hash;
    enum space space;
    bool gone;         /* delete, or end of a session */
    struct bytes a, b; /* the name */
    struct bytes data; /* value of a put, client of a session */
};

struct chunk {
    struct chunk *next, *prev; /* in order of the entries; a spare: next alone */
    size_t at;                 /* free from here on */
    uint32_t live;             /* entries */
    _Alignas(max_align_t) uint8_t bytes[];
};

struct overlay_entry {
    struct overlay_entry *next, *prev;
    struct chunk *chunk; /* NULL: a block of its own */
    struct entry_position at;
    uint64_t bytes;
    uint32_t node_count;
    struct node nodes[]; /* then the body */
};

struct overlay {
    struct node **table;
    size_t mask; /* buckets - 1 */
    size_t nodes;
    struct overlay_entry *oldest, *newest;
    struct chunk *first, *last, *spares;
    uint32_t spare_count;
    uint64_t bytes; /* of the entries */
    uint8_t seed[8];
};

enum { FIRST_BUCKETS = 1024 };

struct overlay *overlay_new(uint64_t seed)
{
    struct overlay *o = calloc(1, sizeof *o);
    if (o != NULL)
        o->table = calloc(FIRST_BUCKETS, sizeof(struct node *));
    if (o == NULL || o->table == NULL) {
        free(o);
        return NULL;
    }
    o->mask = FIRST_BUCKETS - 1;
    put_le64(o->seed, seed);
    return o;
}

void overlay_free(struct overlay *o)
{
    if (o == NULL)
        return;
    overlay_truncate(o, (struct lsn){0});
    while (o->spares != NULL) {
        struct chunk *c = o->spares;
        o->spares = c->next;
        free(c);
    }
    free(o->table);
    free(o);
}

uint64_t overlay_bytes(const struct overlay *o)
{
    return sizeof *o + (o->mask + 1) * sizeof(struct node *) + o->bytes;
}

struct lsn overlay_last(const struct overlay *o)
{
    return o->newest == NULL ? (struct lsn){0} : o->newest->at.lsn;
}

/* ---- the table ---- */

static uint64_t hash_of(const struct overlay *o, enum space space, struct bytes a, struct bytes b)
{
    /* The size of the first part keeps ("ab", "c") and ("a", "bc") apart. */
    uint8_t head[3] = {(uint8_t)space, (uint8_t)a.n, (uint8_t)(a.n >> 8)};
    struct bytes pieces[] = {bytes_of(o->seed, sizeof o->seed), bytes_of(head, sizeof head), a, b};
    return hash_xxh128(pieces, sizeof pieces / sizeof pieces[0]).lo;
}

static struct node *newest_of(const struct overlay *o, uint64_t hash, enum space space,
                              struct bytes a, struct bytes b)
{
    struct node *n = o->table[hash & o->mask];
    while (n != NULL &&
           !(n->hash == hash && n->space == space && bytes_equal(n->a, a) && bytes_equal(n->b, b)))
        n = n->chain_next;
    return n;
}

static void chain_in(struct overlay *o, struct node *n)
{
    struct node **head = &o->table[n->hash & o->mask];
    n->chain_prev = NULL;
    n->chain_next = *head;
    if (*head != NULL)
        (*head)->chain_prev = n;
    *head = n;
}

static void chain_out(struct overlay *o, struct node *n)
{
    if (n->chain_prev != NULL)
        n->chain_prev->chain_next = n->chain_next;
    else
        o->table[n->hash & o->mask] = n->chain_next;
    if (n->chain_next != NULL)
        n->chain_next->chain_prev = n->chain_prev;
}

/* Double the table when it is full. Without memory for that it stays, only slower. */
static void grow(struct overlay *o)
{
    size_t buckets = o->mask + 1;
    struct node **table = o->nodes < buckets ? NULL : calloc(buckets * 2, sizeof(struct node *));
    if (table == NULL)
        return;
    struct node **old = o->table;
    o->table = table;
    o->mask = buckets * 2 - 1;
    for (size_t i = 0; i < buckets; i++)
        for (struct node *n = old[i], *next; n != NULL; n = next) {
            next = n->chain_next;
            chain_in(o, n);
        }
    free(old);
}

static void node_in(struct overlay *o, struct node *n)
{
    grow(o);
    struct node *before = newest_of(o, n->hash, n->space, n->a, n->b);
    n->newer = NULL;
    n->older = before;
    if (before != NULL) {
        chain_out(o, before);
        before->newer = n;
    }
    chain_in(o, n);
    o->nodes++;
}

static void node_out(struct overlay *o, struct node *n)
{
    if (n->older != NULL)
        n->older->newer = n->newer;
    if (n->newer != NULL) {
        n->newer->older = n->older;
    } else {
        chain_out(o, n);
        if (n->older != NULL)
            chain_in(o, n->older);
    }
    o->nodes--;
}

static const struct node *find(const struct overlay *o, enum space space, struct bytes a,
                               struct bytes b, struct lsn upto)
{
    const struct node *n = newest_of(o, hash_of(o, space, a, b), space, a, b);
    while (n != NULL && n->entry->at.lsn.v > upto.v)
        n = n->older;
    return n;
}

/* ---- memory ---- */

static struct chunk *chunk_in(struct overlay *o)
{
    struct chunk *c = o->spares;
    if (c != NULL) {
        o->spares = c->next;
        o->spare_count--;
    } else if ((c = malloc(sizeof *c + OVERLAY_CHUNK_BYTES)) == NULL) {
        return NULL;
    }
    c->next = NULL;
    c->prev = o->last;
    c->at = c->live = 0;
    *(o->last != NULL ? &o->last->next : &o->first) = c;
    o->last = c;
    return c;
}

static void chunk_out(struct overlay *o, struct chunk *c)
{
    *(c->prev != NULL ? &c->prev->next : &o->first) = c->next;
    *(c->next != NULL ? &c->next->prev : &o->last) = c->prev;
    if (o->spare_count == OVERLAY_SPARES_MAX) {
        free(c);
        return;
    }
    c->next = o->spares;
    o->spares = c;
    o->spare_count++;
}

/* Memory for an entry that comes at the end. */
static struct overlay_entry *entry_new(struct overlay *o, size_t bytes, struct chunk **in)
{
    *in = NULL;
    if (bytes > OVERLAY_LARGE_BYTES)
        return malloc(bytes);
    bytes = (bytes + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
    struct chunk *c = o->last;
    if (c == NULL || bytes > OVERLAY_CHUNK_BYTES - c->at)
        c = chunk_in(o);
    if (c == NULL)
        return NULL;
    struct overlay_entry *entry = (struct overlay_entry *)(void *)(c->bytes + c->at);
    c->at += bytes;
    c->live++;
    *in = c;
    return entry;
}

static void entry_free(struct overlay *o, struct overlay_entry *entry, bool front)
{
    struct chunk *c = entry->chunk;
    if (c == NULL) {
        free(entry);
        return;
    }
    check(c->live > 0 && c == (front ? o->first : o->last)); /* O4 */
    if (!front)
        c->at = (size_t)((uint8_t *)entry - c->bytes);
    if (--c->live == 0)
        chunk_out(o, c);
}

/* ---- entries ---- */

/* How many nodes the entry has; its body is checked on the way, so filling cannot fail. */
static int count_nodes(const struct entry_view *v, struct bytes body, uint32_t *out, struct err *e)
{
    struct body_txn txn;
    struct body_session session;
    struct body_restore_point point;
    struct body_members members;
    int rc = 0;
    *out = 0;
    if (v->header.kind == ENTRY_TXN) {
        if ((rc = body_read_txn(body, &txn, e)) == 0)
            *out = txn.op_count + 1; /* and the result */
    } else if (v->header.kind == ENTRY_SESSION) {
        rc = body_read_session(body, &session, e);
        *out = 1;
    } else if (v->header.kind == ENTRY_RESTORE_POINT) {
        rc = body_read_restore_point(body, &point, e);
        *out = 1;
    } else if (v->header.kind == ENTRY_MEMBERS) {
        rc = body_read_members(body, &members, e);
        *out = 1;
    }
    return rc;
}

static void add_node(struct overlay *o, struct overlay_entry *entry, struct node node)
{
    struct node *n = &entry->nodes[entry->node_count++];
    *n = node;
    n->entry = entry;
    n->hash = hash_of(o, n->space, n->a, n->b);
    node_in(o, n);
}

static void add_txn(struct overlay *o, struct overlay_entry *entry, struct bytes body)
{
    struct body_txn txn;
    check(body_read_txn(body, &txn, NULL) == 0);
    for (uint32_t i = 0; i < txn.op_count; i++) {
        struct op op;
        check(body_next_op(&txn.ops, &op, NULL) == 0);
        add_node(o, entry,
                 (struct node){.space = SPACE_RECORD,
                               .gone = op.kind == OP_DELETE,
                               .a = op.collection,
                               .b = op.key,
                               .data = op.value});
    }
    if (uuid_is_zero(&txn.session) || txn.sequence == 0)
        return;
    /* Session and sequence stand side by side in the body: together they are the name. */
    add_node(o, entry,
             (struct node){.space = SPACE_RESULT,
                           .a = bytes_of(body.p + ENTRY_SALT_BYTES, sizeof(struct uuid)),
                           .b = bytes_of(body.p + ENTRY_SALT_BYTES + sizeof(struct uuid), 8)});
}

static void fill(struct overlay *o, struct overlay_entry *entry, enum entry_kind kind,
                 struct bytes body)
{
    struct body_session session;
    struct body_restore_point point;
    if (kind == ENTRY_TXN) {
        add_txn(o, entry, body);
    } else if (kind == ENTRY_SESSION) {
        check(body_read_session(body, &session, NULL) == 0);
        add_node(o, entry,
                 (struct node){.space = SPACE_SESSION,
                               .gone = session.act != SESSION_OPEN,
                               .a = bytes_of(body.p + ENTRY_SALT_BYTES + 1, sizeof(struct uuid)),
                               .data = session.client});
    } else if (kind == ENTRY_RESTORE_POINT) {
        check(body_read_restore_point(body, &point, NULL) == 0);
        add_node(o, entry, (struct node){.space = SPACE_POINT, .a = point.name});
    } else if (kind == ENTRY_MEMBERS) {
        add_node(o, entry,
                 (struct node){.space = SPACE_RECORD,
                               .a = bytes_str(MEMBERS_COLLECTION),
                               .b = bytes_str(MEMBERS_KEY),
                               .data = body});
    }
}

int overlay_add(struct overlay *o, const struct entry_view *v, struct err *e)
{
    struct bytes body = bytes_of(v->body, v->header.body_bytes);
    uint32_t nodes;
    if (v->header.lsn.v <= overlay_last(o).v)
        return err_set(e, ERR_INTEGRITY, "overlay: lsn %llu comes after %llu",
                       (unsigned long long)v->header.lsn.v, (unsigned long long)overlay_last(o).v);
    int rc = count_nodes(v, body, &nodes, e);
    if (rc != 0)
        return err_wrap(e, "overlay: lsn %llu", (unsigned long long)v->header.lsn.v), rc;
    if (nodes == 0) /* changes nothing that anybody asks here for */
        body.n = 0;
    size_t bytes = sizeof(struct overlay_entry) + nodes * sizeof(struct node) + body.n;
    struct chunk *in;
    struct overlay_entry *entry = entry_new(o, bytes, &in);
    if (entry == NULL)
        return err_set(e, ERR_NO_MEMORY, "overlay: out of memory for %zu bytes", bytes);
    *entry = (struct overlay_entry){
        .prev = o->newest, .chunk = in, .at = entry_position_of(v), .bytes = bytes};
    uint8_t *copy = (uint8_t *)&entry->nodes[nodes];
    if (body.n != 0)
        memcpy(copy, body.p, body.n);
    if (o->newest != NULL)
        o->newest->next = entry;
    else
        o->oldest = entry;
    o->newest = entry;
    o->bytes += bytes;
    if (nodes != 0)
        fill(o, entry, v->header.kind, bytes_of(copy, body.n));
    check(entry->node_count <= nodes);
    return 0;
}

static void end_out(struct overlay *o, bool front)
{
    struct overlay_entry *entry = front ? o->oldest : o->newest;
    /* From the front the first effect of a key goes first, from the back the last: O3 within the entry, too. */
    for (uint32_t i = 0; i < entry->node_count; i++)
        node_out(o, &entry->nodes[front ? i : entry->node_count - 1 - i]);
    if (o->oldest == o->newest)
        o->oldest = o->newest = NULL;
    else if (front)
        (o->oldest = entry->next)->prev = NULL;
    else
        (o->newest = entry->prev)->next = NULL;
    o->bytes -= entry->bytes;
    entry_free(o, entry, front);
}

void overlay_drop(struct overlay *o, struct lsn applied)
{
    while (o->oldest != NULL && o->oldest->at.lsn.v <= applied.v)
        end_out(o, true);
}

void overlay_truncate(struct overlay *o, struct lsn last)
{
    while (o->newest != NULL && o->newest->at.lsn.v > last.v)
        end_out(o, false);
}

/* ---- questions ---- */

enum overlay_answer overlay_get(const struct overlay *o, struct bytes collection, struct bytes key,
                                struct lsn upto, struct record *out)
{
    const struct node *n = find(o, SPACE_RECORD, collection, key, upto);
    if (n == NULL)
        return OVERLAY_UNKNOWN;
    if (n->gone)
        return OVERLAY_GONE;
    *out = (struct record){n->a, n->b, n->data, n->entry->at.lsn, n->entry->at.time};
    return OVERLAY_THERE;
}

enum overlay_answer overlay_session(const struct overlay *o, const struct uuid *session,
                                    struct lsn upto, struct session_info *out)
{
    const struct node *n = find(o, SPACE_SESSION, bytes_of(session->b, sizeof session->b),
                                (struct bytes){NULL, 0}, upto);
    if (n == NULL)
        return OVERLAY_UNKNOWN;
    if (n->gone)
        return OVERLAY_GONE;
    *out = (struct session_info){n->data, n->entry->at.lsn, n->entry->at.time};
    return OVERLAY_THERE;
}

enum overlay_answer overlay_result(const struct overlay *o, const struct uuid *session,
                                   uint64_t sequence, struct lsn upto, struct entry_position *out)
{
    uint8_t number[8];
    put_le64(number, sequence);
    const struct node *n = find(o, SPACE_RESULT, bytes_of(session->b, sizeof session->b),
                                bytes_of(number, sizeof number), upto);
    if (n == NULL)
        return OVERLAY_UNKNOWN;
    *out = n->entry->at;
    return OVERLAY_THERE;
}

void overlay_busy_sessions(const struct overlay *o, const struct uuid *sessions, size_t n,
                           bool *busy)
{
    for (const struct overlay_entry *entry = o->newest; entry != NULL; entry = entry->prev) {
        if (entry->node_count == 0)
            continue;
        const struct node *last = &entry->nodes[entry->node_count - 1]; /* a result is the last */
        for (size_t i = 0; last->space == SPACE_RESULT && i < n; i++)
            busy[i] |= memcmp(last->a.p, sessions[i].b, sizeof sessions[i].b) == 0;
    }
}

enum overlay_answer overlay_point(const struct overlay *o, struct bytes name, struct lsn upto,
                                  struct entry_position *out)
{
    const struct node *n = find(o, SPACE_POINT, name, (struct bytes){NULL, 0}, upto);
    if (n == NULL)
        return OVERLAY_UNKNOWN;
    *out = n->entry->at;
    return OVERLAY_THERE;
}
