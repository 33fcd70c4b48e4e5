/* Codecs of the bodies described in wire.h.
 *
 * INVARIANTS
 *   I1  A reader accepts exactly what its writer can produce: re-encoding what was read gives the same bytes. So booleans are
 *       0 or 1, fields that a kind does not use are zero, and nothing is left over.
 *   I2  A count is compared with the bytes that are left before anybody loops over it: the work is bounded by the size of
 *       the frame, whatever the count claims. */
#include "replication/core/wire.h"

#include "store/core/check.h"

enum {
    SOFTWARE_MAX_BYTES = 128,
    ENDPOINT_MAX_BYTES = 300, /* a DNS name of 253 and a port */
    COMMAND_MAX_BYTES = 64,
    CONDITION_MIN_BYTES = 1 + 2 + 1 + 2 + 1 + 8,
    OP_MIN_BYTES = 1 + 2 + 1 + 2 + 1,
    KEY_MIN_BYTES = 2 + 1 + 2 + 1,
};

static int finish(const struct reader *r, const char *what, struct err *e)
{
    if (reader_done(r))
        return 0;
    return err_set(e, ERR_FORMAT, "%s of %zu bytes: %s at byte %zu", what, r->n,
                   r->bad ? "a field goes past the end" : "bytes are left over", r->at);
}

/* For readers that stop before the end of the frame. */
static int finish_part(const struct reader *r, const char *what, struct err *e)
{
    return r->bad ? finish(r, what, e) : 0;
}

static int bad_field(const char *what, const char *field, unsigned long long value, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: %s %llu is not allowed", what, field, value);
}

static bool read_bool(struct reader *r)
{
    uint8_t v = read_u8(r);
    if (v > 1)
        r->bad = true;
    return v == 1;
}

static bool count_fits(const struct reader *r, uint64_t count, size_t min_bytes)
{
    return !r->bad && count <= (r->n - r->at) / min_bytes;
}

/* ---- connection ---- */

void wire_write_hello(struct writer *w, const struct wire_hello *m)
{
    write_u16(w, m->version);
    write_u8(w, (uint8_t)m->kind);
    write_bytes16(w, m->name);
    write_u64(w, m->incarnation);
    write_bytes16(w, m->software);
    write_bytes16(w, m->members);
    write_u32(w, m->election_ms);
    write_u32(w, m->lease_ms);
}

int wire_read_hello(struct bytes body, struct wire_hello *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->version = read_u16(&r);
    /* Another version may have another layout: say that instead of where the layout differs. */
    if (!r.bad && m->version != WIRE_VERSION)
        return err_set(e, ERR_FORMAT,
                       "hello: protocol version %u, this program speaks %d: upgrade the older side",
                       m->version, WIRE_VERSION);
    uint8_t kind = read_u8(&r);
    m->name = read_bytes16(&r);
    m->incarnation = read_u64(&r);
    m->software = read_bytes16(&r);
    m->members = read_bytes16(&r);
    m->election_ms = read_u32(&r);
    m->lease_ms = read_u32(&r);
    int rc = finish(&r, "hello", e);
    if (rc != 0)
        return rc;
    if (kind < WIRE_SITE || kind > WIRE_OPERATOR)
        return bad_field("hello", "kind", kind, e);
    if (m->name.n == 0 || m->name.n > CLIENT_NAME_MAX_BYTES)
        return bad_field("hello", "name length", m->name.n, e);
    if (m->software.n > SOFTWARE_MAX_BYTES)
        return bad_field("hello", "software length", m->software.n, e);
    if (m->members.n > WIRE_MEMBERS_MAX_BYTES)
        return bad_field("hello", "length of the members", m->members.n, e);
    m->kind = (enum wire_kind)kind;
    return 0;
}

void wire_write_error(struct writer *w, const struct wire_error *m)
{
    write_u32(w, (uint32_t)m->code);
    write_bytes16(w, m->text);
    write_bytes16(w, m->primary);
    write_u32(w, (uint32_t)m->failed_condition);
    write_u64(w, m->lsn.v);
}

int wire_read_error(struct bytes body, struct wire_error *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->code = (int32_t)read_u32(&r);
    m->text = read_bytes16(&r);
    m->primary = read_bytes16(&r);
    m->failed_condition = (int32_t)read_u32(&r);
    m->lsn.v = read_u64(&r);
    int rc = finish(&r, "error", e);
    if (rc != 0)
        return rc;
    if (m->code >= 0)
        return bad_field("error", "code", (unsigned long long)m->code, e);
    if (m->failed_condition < -1 || m->failed_condition >= TXN_MAX_OPS)
        return err_set(e, ERR_FORMAT, "error: failed condition %d is not allowed",
                       m->failed_condition);
    if (m->primary.n > ENDPOINT_MAX_BYTES)
        return bad_field("error", "endpoint length", m->primary.n, e);
    return 0;
}

void wire_write_primary(struct writer *w, const struct wire_primary *m)
{
    write_u64(w, m->term.v);
    write_bytes16(w, m->site);
    write_bytes16(w, m->endpoint);
}

int wire_read_primary(struct bytes body, struct wire_primary *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->term.v = read_u64(&r);
    m->site = read_bytes16(&r);
    m->endpoint = read_bytes16(&r);
    int rc = finish(&r, "primary", e);
    if (rc != 0)
        return rc;
    if (m->site.n > CLIENT_NAME_MAX_BYTES)
        return bad_field("primary", "site name length", m->site.n, e);
    if (m->endpoint.n > ENDPOINT_MAX_BYTES)
        return bad_field("primary", "endpoint length", m->endpoint.n, e);
    return 0;
}

/* ---- sessions ---- */

void wire_write_session_open(struct writer *w, const struct wire_session_open *m)
{
    write_uuid(w, &m->session);
}

int wire_read_session_open(struct bytes body, struct wire_session_open *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->session = read_uuid(&r);
    return finish(&r, "session-open", e);
}

void wire_write_session(struct writer *w, const struct wire_session *m)
{
    write_uuid(w, &m->session);
    write_u64(w, m->lsn.v);
}

int wire_read_session(struct bytes body, struct wire_session *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->session = read_uuid(&r);
    m->lsn.v = read_u64(&r);
    return finish(&r, "session", e);
}

void wire_write_session_close(struct writer *w, const struct wire_session_close *m)
{
    write_uuid(w, &m->session);
}

int wire_read_session_close(struct bytes body, struct wire_session_close *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->session = read_uuid(&r);
    return finish(&r, "session-close", e);
}

/* ---- transactions ---- */

void wire_write_txn(struct writer *w, const struct wire_txn *m, const struct condition *conditions,
                    const struct op *ops)
{
    write_uuid(w, &m->session);
    write_u64(w, m->sequence);
    write_u8(w, (uint8_t)m->level);
    write_u32(w, m->condition_count);
    write_u32(w, m->op_count);
    for (uint32_t i = 0; i < m->condition_count; i++) {
        write_u8(w, (uint8_t)conditions[i].kind);
        write_bytes16(w, conditions[i].collection);
        write_bytes16(w, conditions[i].key);
        write_u64(w, conditions[i].kind == COND_VERSION ? conditions[i].version.v : 0);
    }
    for (uint32_t i = 0; i < m->op_count; i++) {
        write_u8(w, (uint8_t)ops[i].kind);
        write_bytes16(w, ops[i].collection);
        write_bytes16(w, ops[i].key);
        if (ops[i].kind == OP_PUT)
            write_bytes32(w, ops[i].value);
    }
    if (m->key.n != 0)
        write_bytes16(w, m->key);
}

/* Names and keys obey the same limits wherever they occur. */
static int check_name(struct bytes collection, struct bytes key, const char *what, size_t at,
                      struct err *e)
{
    struct op op = {OP_DELETE, collection, key, {NULL, 0}};
    struct err why = ERR_NONE;
    if (op_check(&op, true, &why) == 0)
        return 0;
    return err_set(e, ERR_FORMAT, "%s at byte %zu: %s", what, at, why.text);
}

int wire_next_condition(struct reader *r, struct condition *out, struct err *e)
{
    size_t start = r->at;
    uint8_t kind = read_u8(r);
    out->collection = read_bytes16(r);
    out->key = read_bytes16(r);
    out->version.v = read_u64(r);
    if (r->bad || kind < COND_ABSENT || kind > COND_VERSION)
        return err_set(e, ERR_FORMAT, "condition at byte %zu: %s", start,
                       r->bad ? "a field goes past the end" : "its kind is unknown");
    if (kind != COND_VERSION && out->version.v != 0)
        return err_set(e, ERR_FORMAT, "condition at byte %zu: has a version and no use for it",
                       start);
    out->kind = (enum condition_kind)kind;
    return check_name(out->collection, out->key, "condition", start, e);
}

int wire_read_txn(struct bytes body, struct wire_txn *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->session = read_uuid(&r);
    m->sequence = read_u64(&r);
    uint8_t level = read_u8(&r);
    const size_t content = r.at;
    m->condition_count = read_u32(&r);
    m->op_count = read_u32(&r);
    if (r.bad)
        return finish(&r, "txn", e);
    if (level > LEVEL_ALL)
        return bad_field("txn", "level", level, e);
    m->level = (enum level)level;
    if (m->condition_count > TXN_MAX_OPS ||
        !count_fits(&r, m->condition_count, CONDITION_MIN_BYTES))
        return bad_field("txn", "condition count", m->condition_count, e);
    if (m->op_count > TXN_MAX_OPS || !count_fits(&r, m->op_count, OP_MIN_BYTES))
        return bad_field("txn", "op count", m->op_count, e);
    m->conditions = r;
    for (uint32_t i = 0; i < m->condition_count; i++) {
        struct condition c;
        int rc = wire_next_condition(&r, &c, e);
        if (rc != 0)
            return rc;
    }
    m->ops = r;
    for (uint32_t i = 0; i < m->op_count; i++) {
        struct op op;
        int rc = body_next_op(&r, &op, e);
        if (rc != 0)
            return rc;
    }
    m->ops.n = r.at;
    m->content = bytes_of(body.p + content, r.at - content);
    m->key = (struct bytes){NULL, 0};
    if (r.at == r.n)
        return finish(&r, "txn", e);
    m->key = read_bytes16(&r);
    int rc = finish(&r, "txn", e);
    return rc != 0 || idempotency_key_check(m->key, NULL) == 0
               ? rc
               : bad_field("txn", "bytes of the idempotency key", m->key.n, e);
}

void wire_write_done(struct writer *w, const struct wire_done *m)
{
    write_u64(w, m->lsn.v);
    write_u64(w, m->term.v);
    write_u64(w, m->time.us);
    write_u8(w, (uint8_t)m->level);
    write_u8(w, m->repeated);
}

int wire_read_done(struct bytes body, struct wire_done *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->lsn.v = read_u64(&r);
    m->term.v = read_u64(&r);
    m->time.us = read_u64(&r);
    uint8_t level = read_u8(&r);
    m->repeated = read_bool(&r);
    int rc = finish(&r, "done", e);
    if (rc != 0)
        return rc;
    if (level > LEVEL_ALL)
        return bad_field("done", "level", level, e);
    m->level = (enum level)level;
    return 0;
}

void wire_write_outcome_ask(struct writer *w, const struct wire_outcome_ask *m)
{
    write_uuid(w, &m->session);
    write_u64(w, m->sequence);
}

int wire_read_outcome_ask(struct bytes body, struct wire_outcome_ask *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->session = read_uuid(&r);
    m->sequence = read_u64(&r);
    return finish(&r, "outcome question", e);
}

void wire_write_outcome(struct writer *w, const struct wire_outcome *m)
{
    write_u8(w, m->committed);
    write_u64(w, m->lsn.v);
    write_u64(w, m->time.us);
}

int wire_read_outcome(struct bytes body, struct wire_outcome *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->committed = read_bool(&r);
    m->lsn.v = read_u64(&r);
    m->time.us = read_u64(&r);
    return finish(&r, "outcome", e);
}

void wire_write_key_ask(struct writer *w, const struct wire_key_ask *m)
{
    write_bytes16(w, m->key);
    write_u8(w, m->give_up);
}

int wire_read_key_ask(struct bytes body, struct wire_key_ask *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->key = read_bytes16(&r);
    m->give_up = read_bool(&r);
    int rc = finish(&r, "question for a key", e);
    return rc != 0 || idempotency_key_check(m->key, NULL) == 0
               ? rc
               : bad_field("question for a key", "bytes of the key", m->key.n, e);
}

void wire_write_key_outcome(struct writer *w, const struct wire_key_outcome *m)
{
    write_u8(w, (uint8_t)m->state);
    write_u8(w, (uint8_t)m->level);
    write_u64(w, m->lsn.v);
    write_u64(w, m->term.v);
    write_u64(w, m->time.us);
}

int wire_read_key_outcome(struct bytes body, struct wire_key_outcome *m, struct err *e)
{
    struct reader r = reader_of(body);
    const uint8_t state = read_u8(&r), level = read_u8(&r);
    m->lsn.v = read_u64(&r);
    m->term.v = read_u64(&r);
    m->time.us = read_u64(&r);
    int rc = finish(&r, "outcome of a key", e);
    if (rc != 0)
        return rc;
    if (state > WIRE_KEY_GIVEN_UP)
        return bad_field("outcome of a key", "state", state, e);
    if (level > LEVEL_ALL)
        return bad_field("outcome of a key", "level", level, e);
    m->state = (enum wire_key_state)state;
    m->level = (enum level)level;
    return 0;
}

/* ---- reads ---- */

static int check_flags(uint32_t flags, const char *what, struct err *e)
{
    return (flags & ~(uint32_t)WIRE_READ_STANDBY) == 0 ? 0 : bad_field(what, "flags", flags, e);
}

static void write_as_of(struct writer *w, struct as_of as_of)
{
    if (as_of.kind == AS_OF_NONE)
        return;
    write_u8(w, (uint8_t)as_of.kind);
    write_u64(w, as_of.value);
}

/* At the end of a body; nothing is the present. Where more may follow the present can also be said. */
static int read_as_of(struct reader *r, bool more_may_follow, struct as_of *out, const char *what,
                      struct err *e)
{
    *out = (struct as_of){AS_OF_NONE, 0};
    if (r->bad || r->at == r->n)
        return 0;
    uint8_t kind = read_u8(r);
    out->value = read_u64(r);
    const bool present = more_may_follow && kind == AS_OF_NONE && out->value == 0 && r->at < r->n;
    if (!r->bad && kind != AS_OF_LSN && kind != AS_OF_TIME && !present)
        return bad_field(what, "kind of past", kind, e);
    out->kind = (enum as_of_kind)kind;
    return 0;
}

void wire_write_get(struct writer *w, const struct wire_get *m, const struct op *keys)
{
    write_u32(w, m->flags);
    write_u64(w, m->snapshot);
    write_u64(w, m->min_lsn.v);
    write_u32(w, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        write_bytes16(w, keys[i].collection);
        write_bytes16(w, keys[i].key);
    }
    write_as_of(w, m->as_of);
}

int wire_next_key(struct reader *r, struct bytes *collection, struct bytes *key, struct err *e)
{
    size_t start = r->at;
    *collection = read_bytes16(r);
    *key = read_bytes16(r);
    if (r->bad)
        return err_set(e, ERR_FORMAT, "key at byte %zu: a length goes past the end", start);
    return check_name(*collection, *key, "key", start, e);
}

int wire_read_get(struct bytes body, struct wire_get *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->flags = read_u32(&r);
    m->snapshot = read_u64(&r);
    m->min_lsn.v = read_u64(&r);
    m->count = read_u32(&r);
    if (r.bad)
        return finish(&r, "get", e);
    int rc = check_flags(m->flags, "get", e);
    if (rc != 0)
        return rc;
    if (m->count == 0 || m->count > TXN_MAX_OPS || !count_fits(&r, m->count, KEY_MIN_BYTES))
        return bad_field("get", "key count", m->count, e);
    m->keys = r;
    for (uint32_t i = 0; i < m->count; i++) {
        struct bytes collection, key;
        rc = wire_next_key(&r, &collection, &key, e);
        if (rc != 0)
            return rc;
    }
    rc = read_as_of(&r, false, &m->as_of, "get", e);
    return rc != 0 ? rc : finish(&r, "get", e);
}

void wire_write_scan(struct writer *w, const struct wire_scan *m)
{
    write_u32(w, m->flags);
    write_u64(w, m->snapshot);
    write_u64(w, m->min_lsn.v);
    write_bytes16(w, m->collection);
    write_bytes16(w, m->from);
    write_bytes16(w, m->to);
    write_bytes16(w, m->prefix);
    write_bytes16(w, m->after);
    write_u8(w, m->reverse);
    write_u32(w, m->limit);
    if (m->index.n == 0) {
        write_as_of(w, m->as_of);
        return;
    }
    write_u8(w, (uint8_t)m->as_of.kind);
    write_u64(w, m->as_of.value);
    write_bytes16(w, m->index);
    write_bytes16(w, m->equal);
}

/* Of keys, or, with an index, of what stands in their place. */
static int check_bounds(const struct wire_scan *m, struct err *e)
{
    const bool by_index = m->index.n != 0;
    const struct bytes bounds[] = {m->from, m->to, m->prefix, m->equal};
    const size_t most = by_index ? WIRE_BOUND_MAX_BYTES : KEY_MAX_BYTES;
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        if (bounds[i].n > most)
            return bad_field("scan", by_index ? "bound length" : "key length", bounds[i].n, e);
    if (m->after.n > (by_index ? WIRE_TOKEN_MAX_BYTES : KEY_MAX_BYTES))
        return bad_field("scan", by_index ? "token length" : "key length", m->after.n, e);
    if (m->index.n > INDEX_NAME_MAX_BYTES)
        return bad_field("scan", "index name length", m->index.n, e);
    return 0;
}

int wire_read_scan(struct bytes body, struct wire_scan *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->flags = read_u32(&r);
    m->snapshot = read_u64(&r);
    m->min_lsn.v = read_u64(&r);
    m->collection = read_bytes16(&r);
    m->from = read_bytes16(&r);
    m->to = read_bytes16(&r);
    m->prefix = read_bytes16(&r);
    m->after = read_bytes16(&r);
    m->reverse = read_bool(&r);
    m->limit = read_u32(&r);
    m->index = m->equal = (struct bytes){NULL, 0};
    int rc = read_as_of(&r, true, &m->as_of, "scan", e);
    if (rc == 0 && !r.bad && r.at < r.n) {
        m->index = read_bytes16(&r);
        m->equal = read_bytes16(&r);
        if (!r.bad && m->index.n == 0)
            return bad_field("scan", "index name length", 0, e);
    }
    if (rc == 0)
        rc = finish(&r, "scan", e);
    if (rc == 0)
        rc = check_flags(m->flags, "scan", e);
    if (rc != 0)
        return rc;
    if (m->collection.n > COLLECTION_MAX_BYTES)
        return bad_field("scan", "collection length", m->collection.n, e);
    if (m->limit == 0 || m->limit > WIRE_SCAN_MAX_RECORDS)
        return bad_field("scan", "limit", m->limit, e);
    return check_bounds(m, e);
}

void wire_write_read_header(struct writer *w, const struct wire_read_header *m)
{
    write_u64(w, m->lsn.v);
    write_u64(w, m->age_us);
    write_u32(w, m->count);
}

int wire_read_read_header(struct reader *r, struct wire_read_header *m, struct err *e)
{
    m->lsn.v = read_u64(r);
    m->age_us = read_u64(r);
    m->count = read_u32(r);
    int rc = finish_part(r, "read answer", e);
    if (rc != 0)
        return rc;
    if (!count_fits(r, m->count, 1)) /* the smallest record is one byte: "not found" */
        return bad_field("read answer", "record count", m->count, e);
    return 0;
}

void wire_write_get_record(struct writer *w, const struct wire_record *m)
{
    write_u8(w, m->found);
    if (!m->found)
        return;
    write_u64(w, m->lsn.v);
    write_u64(w, m->time.us);
    write_bytes32(w, m->value);
}

int wire_read_get_record(struct reader *r, struct wire_record *m, struct err *e)
{
    *m = (struct wire_record){.found = read_bool(r)};
    if (m->found) {
        m->lsn.v = read_u64(r);
        m->time.us = read_u64(r);
        m->value = read_bytes32(r);
    }
    return finish_part(r, "get record", e);
}

void wire_write_scan_record(struct writer *w, const struct wire_record *m)
{
    write_bytes16(w, m->collection);
    write_bytes16(w, m->key);
    write_u64(w, m->lsn.v);
    write_u64(w, m->time.us);
    write_bytes32(w, m->value);
}

int wire_read_scan_record(struct reader *r, struct wire_record *m, struct err *e)
{
    *m = (struct wire_record){.found = true};
    m->collection = read_bytes16(r);
    m->key = read_bytes16(r);
    m->lsn.v = read_u64(r);
    m->time.us = read_u64(r);
    m->value = read_bytes32(r);
    return finish_part(r, "scan record", e);
}

void wire_write_scan_token(struct writer *w, struct bytes token)
{
    write_bytes16(w, token);
}

int wire_read_scan_token(struct reader *r, struct bytes *token, struct err *e)
{
    *token = read_bytes16(r);
    if (!r->bad && (token->n == 0 || token->n > WIRE_TOKEN_MAX_BYTES))
        return bad_field("scan", "token length", token->n, e);
    return finish_part(r, "scan answer", e);
}

int wire_read_scan_more(struct reader *r, enum wire_more *more, struct err *e)
{
    uint8_t v = read_u8(r);
    *more = (enum wire_more)v;
    if (!r->bad && v > WIRE_MORE_AFTER_KEY)
        return bad_field("scan", "more", v, e);
    return finish_part(r, "scan answer", e);
}

int wire_read_scan_after(struct reader *r, struct bytes *key, struct err *e)
{
    *key = read_bytes16(r);
    if (!r->bad && (key->n == 0 || key->n > KEY_MAX_BYTES))
        return bad_field("scan", "length of the key to go on after", key->n, e);
    return finish_part(r, "scan answer", e);
}

void wire_write_snapshot_open(struct writer *w, const struct wire_snapshot_open *m)
{
    write_u32(w, m->flags);
    write_u64(w, m->min_lsn.v);
}

int wire_read_snapshot_open(struct bytes body, struct wire_snapshot_open *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->flags = read_u32(&r);
    m->min_lsn.v = read_u64(&r);
    int rc = finish(&r, "snapshot-open", e);
    return rc != 0 ? rc : check_flags(m->flags, "snapshot-open", e);
}

void wire_write_snapshot(struct writer *w, const struct wire_snapshot *m)
{
    write_u64(w, m->id);
    write_u64(w, m->lsn.v);
    write_u64(w, m->time.us);
}

int wire_read_snapshot(struct bytes body, struct wire_snapshot *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    m->lsn.v = read_u64(&r);
    m->time.us = read_u64(&r);
    return finish(&r, "snapshot", e);
}

void wire_write_snapshot_close(struct writer *w, const struct wire_snapshot_close *m)
{
    write_u64(w, m->id);
}

int wire_read_snapshot_close(struct bytes body, struct wire_snapshot_close *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    return finish(&r, "snapshot-close", e);
}

/* ---- operators ---- */

void wire_write_point(struct writer *w, const struct wire_point *m)
{
    write_bytes16(w, m->name);
}

int wire_read_point(struct bytes body, struct wire_point *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->name = read_bytes16(&r);
    int rc = finish(&r, "restore point", e);
    if (rc != 0)
        return rc;
    if (m->name.n == 0 || m->name.n > POINT_NAME_MAX_BYTES)
        return bad_field("restore point", "name length", m->name.n, e);
    return 0;
}

void wire_write_admin(struct writer *w, const struct wire_admin *m)
{
    write_bytes16(w, m->command);
    write_bytes32(w, m->arguments);
}

int wire_read_admin(struct bytes body, struct wire_admin *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->command = read_bytes16(&r);
    m->arguments = read_bytes32(&r);
    int rc = finish(&r, "admin command", e);
    if (rc != 0)
        return rc;
    if (m->command.n == 0 || m->command.n > COMMAND_MAX_BYTES)
        return bad_field("admin command", "name length", m->command.n, e);
    return 0;
}

void wire_write_admin_reply(struct writer *w, const struct wire_admin_reply *m)
{
    write_bytes32(w, m->json);
}

int wire_read_admin_reply(struct bytes body, struct wire_admin_reply *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->json = read_bytes32(&r);
    return finish(&r, "admin reply", e);
}
