/* Secondary indexes, as clients and operators see them: declaring, listing, reading in their order.
 *
 * A declaration is a record of the system collection `_indexes` (store/core/index_key.h), which no transaction of a client can
 * write: an operator's command does, at the primary, and each site makes its index of what it then applies. */
#include "replication/service.h"

#include "store/core/check.h"
#include "store/io/index_json.h"

enum { DECLARED_AHEAD_MAX = 64 };

/* Declarations that are logged, and perhaps not applied yet: the limits count them. */
struct declared_ahead {
    struct lsn lsn;
    uint8_t collection[COLLECTION_MAX_BYTES];
    size_t collection_bytes;
};

/* ---- what is declared ---- */

/* Log a change of one declaration. */
static int propose(struct site *s, const struct client *c, const struct op *op, struct waiter *w,
                   struct err *e)
{
    uint8_t salt[ENTRY_SALT_BYTES];
    const struct bytes by =
        bytes_str(c != NULL ? c->name : s->config->members[s->config->self].name);
    const size_t need = ENTRY_SALT_BYTES + body_txn_bytes(op, 1, by.n);
    int rc = salts_next(&s->salts, salt, e);
    if (rc != 0)
        return rc;
    uint8_t *body = malloc(need);
    if (body == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    struct writer out = writer_of(body, need);
    body_write_txn(&out, salt,
                   &(struct body_txn){.level = LEVEL_MAJORITY, .client = by, .op_count = 1}, op);
    rc = service_propose(s, ENTRY_TXN, &out, w, e);
    free(body);
    return rc;
}

/* By a client, or by the site itself (NULL). */
static int declare(struct site *s, const struct client *c, struct bytes collection,
                   struct bytes name, const struct index_declaration *d, struct waiter *w,
                   struct err *e)
{
    uint8_t key[INDEX_DECLARED_KEY_MAX_BYTES];
    char *json;
    size_t n;
    int rc = index_declaration_write(d, &json, &n, e);
    if (rc != 0)
        return rc;
    const struct op op = {OP_PUT, bytes_str(INDEXES_COLLECTION),
                          index_declared_key(collection, name, key), bytes_of(json, n)};
    rc = propose(s, c, &op, w, e);
    free(json);
    return rc;
}

int service_index_declare(struct site *s, struct bytes collection, struct bytes name,
                          const struct index_declaration *d, struct err *e)
{
    uint8_t key[INDEX_DECLARED_KEY_MAX_BYTES];
    struct record r;
    struct waiter w;
    if (overlay_get(s->overlay, bytes_str(INDEXES_COLLECTION),
                    index_declared_key(collection, name, key), SERVICE_NEWEST,
                    &r) != OVERLAY_UNKNOWN)
        return err_set(e, ERR_BUSY, "the declaration is changing");
    return declare(s, NULL, collection, name, d, &w, e);
}

/* ---- limits ---- */

struct tally {
    struct bytes collection;
    uint32_t all, here;
};

static int count_one(void *arg, const struct index_info *info)
{
    struct tally *t = arg;
    if (info->status != INDEX_DROPPING) {
        t->all++;
        t->here += bytes_equal(info->collection, t->collection);
    }
    return 0;
}

/* May one more be declared? Those that were dropped and are in flight still count. */
static int check_limits(struct service *v, struct bytes collection, struct err *e)
{
    struct state_snapshot *snap;
    struct tally t = {.collection = collection};
    int rc = site_snapshot(v->site, &snap, e);
    if (rc == 0)
        rc = state_indexes(snap, (struct bytes){NULL, 0}, count_one, &t, e);
    if (rc != 0)
        return rc;
    const struct lsn applied = state_snapshot_position(snap).lsn;
    size_t ahead = 0;
    for (size_t i = 0; i < v->declared_ahead_count; i++) {
        const struct declared_ahead *d = &v->declared_ahead[i];
        if (d->lsn.v <= applied.v)
            continue;
        t.all++;
        t.here += bytes_equal(bytes_of(d->collection, d->collection_bytes), collection);
        v->declared_ahead[ahead++] = *d;
    }
    v->declared_ahead_count = ahead;
    if (t.here >= INDEXES_PER_COLLECTION)
        return err_set(
            e, ERR_LIMIT, "collection '%.*s' has %u indexes, %d are allowed: drop one first",
            (int)collection.n, (const char *)collection.p, t.here, INDEXES_PER_COLLECTION);
    if (t.all >= INDEXES_MAX)
        return err_set(e, ERR_LIMIT, "%u indexes are declared, %d are allowed: drop one first",
                       t.all, INDEXES_MAX);
    if (ahead < DECLARED_AHEAD_MAX && v->declared_ahead == NULL)
        v->declared_ahead = calloc(DECLARED_AHEAD_MAX, sizeof *v->declared_ahead);
    return ahead < DECLARED_AHEAD_MAX && v->declared_ahead != NULL
               ? 0
               : err_set(e, ERR_BUSY, "%zu declarations are being applied: try again", ahead);
}

static void note_ahead(struct service *v, struct bytes collection, struct lsn lsn)
{
    struct declared_ahead *d = &v->declared_ahead[v->declared_ahead_count++];
    *d = (struct declared_ahead){.lsn = lsn, .collection_bytes = collection.n};
    memcpy(d->collection, collection.p, collection.n);
}

/* ---- commands ---- */

static struct bytes string_of(json_t *arguments, const char *name)
{
    json_t *o = json_object_get(arguments, name);
    return json_is_string(o) ? bytes_of(json_string_value(o), json_string_length(o))
                             : (struct bytes){NULL, 0};
}

/* What is asked for, in the form of a declaration, so that one place says what a declaration may be. */
static int read_declaration(json_t *arguments, struct index_declaration *d, struct err *e)
{
    json_t *on = json_object_get(arguments, "on"), *unique = json_object_get(arguments, "unique");
    json_t *asked = json_pack("{s:O?, s:O?}", "on", on, "unique", unique);
    if (on == NULL)
        (void)json_object_del(asked, "on");
    if (unique == NULL)
        (void)json_object_del(asked, "unique");
    char *text = asked != NULL ? json_dumps(asked, JSON_COMPACT) : NULL;
    json_decref(asked);
    int rc = text == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory")
                          : index_declaration_parse(bytes_str(text), d, e);
    free(text);
    if (rc == ERR_FORMAT) /* of a record it would be damage */
        e->code = rc = ERR_USAGE;
    return rc;
}

/* It is declared already: just so, or otherwise? */
static int declared_already(struct client *c, const struct index_declaration *d,
                            const struct record *r, struct waiter *w, struct err *e)
{
    struct index_declaration there;
    int rc = index_declaration_parse(r->value, &there, e);
    if (rc == ERR_NO_MEMORY)
        return rc;
    if (rc != 0 || !index_declaration_same_rows(d, &there))
        return err_set(
            e, ERR_EXISTS,
            "the index is declared already, as %.*s: drop it first (triveni index drop), "
            "or take another name",
            (int)(r->value.n < 200 ? r->value.n : 200), (const char *)r->value.p);
    w->lsn = r->lsn;
    service_wait(c, LEVEL_MAJORITY, w);
    return SERVICE_LATER;
}

static int command_create(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                          struct err *e)
{
    const struct bytes collection = string_of(arguments, "collection"),
                       name = string_of(arguments, "name");
    struct waiter w = {.client = c,
                       .request = request,
                       .type = FRAME_ADMIN,
                       .failed_condition = -1,
                       .declares = true};
    struct index_declaration d;
    struct record r;
    uint8_t key[INDEX_DECLARED_KEY_MAX_BYTES];
    int rc = index_names_check(collection, name, e);
    if (rc == 0)
        rc = read_declaration(arguments, &d, e);
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MAJORITY, e);
    if (rc != 0)
        return rc;
    rc = service_newest(s, bytes_str(INDEXES_COLLECTION), index_declared_key(collection, name, key),
                        &r, e);
    if (rc == 0)
        return declared_already(c, &d, &r, &w, e);
    if (rc == ERR_NOT_FOUND)
        rc = check_limits(c->service, collection, e);
    if (rc != 0)
        return rc;
    json_t *on = json_object_get(arguments, "on");
    service_audit(s, c, "index-create",
                  json_pack("{s:o, s:o, s:O, s:b}", "collection", json_bytes(collection), "name",
                            json_bytes(name), "on", on, "unique", d.unique));
    rc = declare(s, c, collection, name, &d, &w, e);
    if (rc != 0)
        return rc;
    note_ahead(c->service, collection, w.lsn);
    w.created = true;
    service_wait(c, LEVEL_MAJORITY, &w);
    return SERVICE_LATER;
}

/* Without a collection the name is the record's whole key: of a declaration that cannot be followed. */
static int command_drop(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                        struct err *e)
{
    const struct bytes collection = string_of(arguments, "collection"),
                       name = string_of(arguments, "name");
    struct waiter w = {
        .client = c, .request = request, .type = FRAME_ADMIN, .failed_condition = -1};
    struct record r;
    uint8_t buffer[INDEX_DECLARED_KEY_MAX_BYTES];
    struct bytes key = name;
    int rc = 0;
    if (collection.n != 0 && (rc = index_names_check(collection, name, e)) == 0)
        key = index_declared_key(collection, name, buffer);
    else if (rc == 0 && (name.n == 0 || name.n > KEY_MAX_BYTES))
        rc = err_set(e, ERR_USAGE, "which index? A collection and a name are needed");
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MAJORITY, e);
    if (rc != 0)
        return rc;
    rc = service_newest(s, bytes_str(INDEXES_COLLECTION), key, &r, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, ERR_NOT_FOUND,
                       "no index '%.*s' is declared on collection '%.*s': triveni index list shows "
                       "those that are",
                       (int)(name.n < 64 ? name.n : 64), (const char *)name.p,
                       (int)(collection.n < 64 ? collection.n : 64), (const char *)collection.p);
    if (rc != 0 && rc != ERR_INTEGRITY) /* a damaged one can be dropped */
        return rc;
    service_audit(
        s, c, "index-drop",
        json_pack("{s:o, s:o}", "collection", json_bytes(collection), "name", json_bytes(name)));
    rc = propose(s, c, &(struct op){OP_DELETE, bytes_str(INDEXES_COLLECTION), key, {NULL, 0}}, &w,
                 e);
    if (rc != 0)
        return rc;
    service_wait(c, LEVEL_MAJORITY, &w);
    return SERVICE_LATER;
}

struct list {
    struct state_snapshot *snap;
    json_t *indexes;
};

static json_t *example_json(struct state_snapshot *snap, const struct index_info *info)
{
    struct bytes a, b;
    if (info->status != INDEX_READY || !info->declaration.unique || info->duplicates == 0 ||
        state_index_duplicate(snap, info->id, &a, &b, NULL) != 0)
        return json_null();
    return json_pack("[o, o]", json_bytes(a), json_bytes(b));
}

static int list_one(void *arg, const struct index_info *info)
{
    struct list *l = arg;
    const struct index_declaration *d = &info->declaration;
    json_t *on = json_array();
    for (uint32_t i = 0; i < d->pointers; i++)
        json_array_append_new(on, json_bytes(index_pointer(d, i)));
    json_array_append_new(
        l->indexes,
        json_pack("{s:o, s:o, s:o, s:b, s:b, s:s, s:I, s:o, s:I, s:I, s:I, s:s?, s:o}",
                  "collection", json_bytes(info->collection), "name", json_bytes(info->name), "on",
                  on, "unique", d->unique, "enforced", d->enforced, "status",
                  index_status_name(info->status), "rows", (json_int_t)info->rows, "duplicates",
                  d->unique ? json_integer((json_int_t)info->duplicates) : json_null(), "passed",
                  (json_int_t)info->passed, "records", (json_int_t)info->records, "declared",
                  (json_int_t)info->declared.v, "why", info->why[0] != '\0' ? info->why : NULL,
                  "example", example_json(l->snap, info)));
    return 0;
}

static int command_list(struct site *s, json_t *arguments, json_t **reply, struct err *e)
{
    struct list l = {.indexes = json_array()};
    int rc = site_snapshot(s, &l.snap, e);
    if (rc == 0)
        rc = state_indexes(l.snap, string_of(arguments, "collection"), list_one, &l, e);
    if (rc != 0) {
        json_decref(l.indexes);
        return rc;
    }
    *reply = json_pack("{s:s, s:I, s:o}", "site", s->config->members[s->config->self].name, "lsn",
                       (json_int_t)state_snapshot_position(l.snap).lsn.v, "indexes", l.indexes);
    return 0;
}

int service_index_command(struct site *s, struct client *c, uint64_t request, struct bytes command,
                          json_t *arguments, json_t **reply, struct err *e)
{
    if (bytes_equal(command, bytes_str("index-list")))
        return command_list(s, arguments, reply, e);
    int rc = admin_require_serving(s, e);
    if (rc != 0)
        return rc;
    return bytes_equal(command, bytes_str("index-create"))
               ? command_create(s, c, request, arguments, e)
               : command_drop(s, c, request, arguments, e);
}

/* ---- scans ---- */

static int open_scan(struct state_snapshot *snap, const struct wire_scan *m,
                     struct state_index_scan **scan, struct err *e)
{
    struct index_options options = {
        .collection = m->collection, .name = m->index, .after = m->after, .reverse = m->reverse};
    struct index_declaration d;
    if (m->as_of.kind != AS_OF_NONE)
        return err_set(
            e, ERR_USAGE,
            "an index tells of the present only: for the past scan the collection by its "
            "keys, as of then");
    int rc = state_index_find(snap, m->collection, m->index, &d, e);
    if (rc == 0)
        rc = index_range_parse(&options.range, &d,
                               &(struct index_bounds){m->equal, m->from, m->to, m->prefix}, e);
    return rc != 0 ? rc : state_index_open(snap, &options, scan, e);
}

int service_index_scan(struct service *v, struct state_snapshot *snap, const struct wire_scan *m,
                       struct scan_page *page, struct err *e)
{
    struct state_index_scan *scan;
    int rc = open_scan(snap, m, &scan, e);
    if (rc != 0)
        return rc;
    while (rc == 0) {
        struct record r = {.lsn = {0}};
        rc = state_index_next(scan, &r, e);
        if (rc == ERR_INTEGRITY && state_index_blamed(scan) != 0)
            applier_rebuild_index(v->site->applier, state_index_blamed(scan));
        else if (rc == ERR_INTEGRITY)
            care_suspect(v->site, r.collection, r.key);
        if (rc == 0)
            rc = service_scan_add(v, m, &r, state_index_token(scan), page, e);
    }
    state_index_close(scan);
    return rc == ERR_NOT_FOUND || rc == 1 ? 0 : rc;
}
