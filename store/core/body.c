/* Codecs of the payloads described in body.h, and the limits of names, keys and values.
 *
 * Decoders are strict: every length is checked, every enumeration must be known, nothing may be left over.
 * What the primary encodes, each site, the archive and a restore years later decode with this file. */
#include "store/core/body.h"

#include "store/core/check.h"

static void write_salt(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES])
{
    write_bytes(w, bytes_of(salt, ENTRY_SALT_BYTES));
}

static struct reader payload_of(struct bytes body)
{
    struct reader r = reader_of(body);
    (void)read_bytes(&r, ENTRY_SALT_BYTES);
    return r;
}

static int finish(const struct reader *r, const char *what, struct err *e)
{
    if (reader_done(r))
        return 0;
    return err_set(e, ERR_FORMAT, "%s body of %zu bytes: %s at byte %zu", what, r->n,
                   r->bad ? "a length goes past the end" : "bytes are left over", r->at);
}

/* ---- transactions ---- */

size_t body_txn_bytes(const struct op *ops, uint32_t n, size_t client_bytes)
{
    size_t bytes = ENTRY_SALT_BYTES + 16 + 8 + 1 + 2 + client_bytes + 4;
    for (uint32_t i = 0; i < n; i++)
        bytes += 1 + 2 + ops[i].collection.n + 2 + ops[i].key.n + 4 + ops[i].value.n;
    return bytes;
}

void body_write_txn(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                    const struct body_txn *t, const struct op *ops)
{
    write_salt(w, salt);
    write_uuid(w, &t->session);
    write_u64(w, t->sequence);
    write_u8(w, (uint8_t)t->level);
    write_bytes16(w, t->client);
    write_u32(w, t->op_count);
    for (uint32_t i = 0; i < t->op_count; i++) {
        write_u8(w, (uint8_t)ops[i].kind);
        write_bytes16(w, ops[i].collection);
        write_bytes16(w, ops[i].key);
        if (ops[i].kind == OP_PUT)
            write_bytes32(w, ops[i].value);
    }
}

int body_next_op(struct reader *ops, struct op *out, struct err *e)
{
    size_t start = ops->at;
    uint8_t kind = read_u8(ops);
    out->collection = read_bytes16(ops);
    out->key = read_bytes16(ops);
    out->value = kind == OP_PUT ? read_bytes32(ops) : (struct bytes){NULL, 0};
    if (ops->bad || (kind != OP_PUT && kind != OP_DELETE))
        return err_set(e, ERR_FORMAT, "op at byte %zu: %s", start,
                       ops->bad ? "a length goes past the end" : "its kind is unknown");
    out->kind = (enum op_kind)kind;
    struct err why = ERR_NONE;
    if (op_check(out, true, &why) != 0)
        return err_set(e, ERR_FORMAT, "op at byte %zu: %s", start, why.text);
    return 0;
}

int body_read_txn(struct bytes body, struct body_txn *out, struct err *e)
{
    struct reader r = payload_of(body);
    out->session = read_uuid(&r);
    out->sequence = read_u64(&r);
    uint8_t level = read_u8(&r);
    out->client = read_bytes16(&r);
    out->op_count = read_u32(&r);
    if (r.bad)
        return finish(&r, "txn", e);
    if (level > LEVEL_ALL)
        return err_set(e, ERR_FORMAT, "txn body: level %u is unknown", level);
    if (out->op_count > TXN_MAX_OPS)
        return err_set(e, ERR_FORMAT, "txn body: %u ops, at most %d", out->op_count, TXN_MAX_OPS);
    out->level = (enum level)level;
    out->ops = r;
    for (uint32_t i = 0; i < out->op_count; i++) {
        struct op op;
        int rc = body_next_op(&r, &op, e);
        if (rc != 0)
            return rc;
    }
    return finish(&r, "txn", e);
}

/* ---- the others ---- */

void body_write_noop(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                     const struct body_noop *b)
{
    write_salt(w, salt);
    write_bytes16(w, b->site);
}

int body_read_noop(struct bytes body, struct body_noop *out, struct err *e)
{
    struct reader r = payload_of(body);
    out->site = read_bytes16(&r);
    return finish(&r, "noop", e);
}

void body_write_config(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                       const struct body_config *b)
{
    write_salt(w, salt);
    write_u8(w, (uint8_t)b->mode);
    write_bytes16(w, b->client);
}

int body_read_config(struct bytes body, struct body_config *out, struct err *e)
{
    struct reader r = payload_of(body);
    uint8_t mode = read_u8(&r);
    out->client = read_bytes16(&r);
    if (!r.bad && mode != COMMIT_MAJORITY && mode != COMMIT_LOCAL)
        return err_set(e, ERR_FORMAT, "config body: commit mode %u is unknown", mode);
    out->mode = (enum commit_mode)mode;
    return finish(&r, "config", e);
}

void body_write_restore_point(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                              const struct body_restore_point *b)
{
    write_salt(w, salt);
    write_bytes16(w, b->name);
    write_bytes16(w, b->client);
}

int body_read_restore_point(struct bytes body, struct body_restore_point *out, struct err *e)
{
    struct reader r = payload_of(body);
    out->name = read_bytes16(&r);
    out->client = read_bytes16(&r);
    if (!r.bad && (out->name.n == 0 || out->name.n > POINT_NAME_MAX_BYTES))
        return err_set(e, ERR_FORMAT, "restore point body: name of %zu bytes", out->name.n);
    return finish(&r, "restore point", e);
}

void body_write_session(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                        const struct body_session *b)
{
    write_salt(w, salt);
    write_u8(w, (uint8_t)b->act);
    write_uuid(w, &b->session);
    write_bytes16(w, b->client);
}

int body_read_session(struct bytes body, struct body_session *out, struct err *e)
{
    struct reader r = payload_of(body);
    uint8_t act = read_u8(&r);
    out->session = read_uuid(&r);
    out->client = read_bytes16(&r);
    if (!r.bad && (act < SESSION_OPEN || act > SESSION_EXPIRE))
        return err_set(e, ERR_FORMAT, "session body: act %u is unknown", act);
    out->act = (enum session_act)act;
    return finish(&r, "session", e);
}

enum { MEMBER_IS_LOST = 2 }; /* in place of whether it votes */

void body_write_members(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                        const struct body_members *b)
{
    write_salt(w, salt);
    write_uuid(w, &b->cluster_id);
    write_bytes16(w, b->by);
    write_bytes16(w, b->founded);
    write_u8(w, (uint8_t)b->count);
    for (uint32_t i = 0; i < b->count; i++) {
        const struct body_member *m = &b->members[i];
        write_bytes16(w, m->name);
        write_u8(w, (uint8_t)m->kind);
        write_u8(w, m->lost ? MEMBER_IS_LOST : m->votes);
        write_bytes16(w, m->peer);
        write_bytes16(w, m->client);
    }
}

static const char *read_member(struct reader *r, struct body_member *m)
{
    m->name = read_bytes16(r);
    uint8_t kind = read_u8(r), votes = read_u8(r);
    m->peer = read_bytes16(r);
    m->client = read_bytes16(r);
    m->kind = (enum member_kind)kind;
    m->votes = votes == 1;
    m->lost = votes == MEMBER_IS_LOST;
    if (r->bad)
        return NULL; /* finish() says it */
    return m->name.n == 0 || m->name.n > MEMBER_NAME_MAX_BYTES ? "its name is too short or too long"
           : kind != MEMBER_DATA && kind != MEMBER_REPOSITORY  ? "its kind is unknown"
           : votes > MEMBER_IS_LOST ? "it neither votes, nor does not, nor is lost"
           : m->peer.n > MEMBER_ENDPOINT_MAX_BYTES || m->client.n > MEMBER_ENDPOINT_MAX_BYTES
               ? "an address of it is too long"
               : NULL;
}

int body_read_members(struct bytes body, struct body_members *out, struct err *e)
{
    struct reader r = payload_of(body);
    *out = (struct body_members){.cluster_id = read_uuid(&r)};
    out->by = read_bytes16(&r);
    out->founded = read_bytes16(&r);
    out->count = read_u8(&r);
    if (!r.bad && (out->count == 0 || out->count > MEMBERS_MAX))
        return err_set(e, ERR_FORMAT, "members body: %u members, 1 to %d are allowed", out->count,
                       MEMBERS_MAX);
    if (!r.bad && out->founded.n > MEMBERS_FOUNDED_MAX_BYTES)
        return err_set(e, ERR_FORMAT, "members body: a first list of %zu bytes, at most %d",
                       out->founded.n, MEMBERS_FOUNDED_MAX_BYTES);
    for (uint32_t i = 0; i < out->count && !r.bad; i++) {
        const char *why = read_member(&r, &out->members[i]);
        if (why == NULL && i > 0 && !r.bad &&
            bytes_compare(out->members[i - 1].name, out->members[i].name) >= 0)
            why = "it is not behind the one before in the order of the names";
        if (why != NULL)
            return err_set(e, ERR_FORMAT, "members body: member %u: %s", i + 1, why);
    }
    return finish(&r, "members", e);
}

void body_write_audit(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                      const struct body_audit *b)
{
    write_salt(w, salt);
    write_bytes16(w, b->client);
    write_bytes16(w, b->act);
    write_bytes32(w, b->details);
}

int body_read_audit(struct bytes body, struct body_audit *out, struct err *e)
{
    struct reader r = payload_of(body);
    out->client = read_bytes16(&r);
    out->act = read_bytes16(&r);
    out->details = read_bytes32(&r);
    return finish(&r, "audit", e);
}

/* ---- limits ---- */

static bool collection_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

int op_check(const struct op *op, bool system, struct err *e)
{
    if (op->collection.n == 0 || op->collection.n > COLLECTION_MAX_BYTES)
        return err_set(e, op->collection.n == 0 ? ERR_USAGE : ERR_LIMIT,
                       "collection name of %zu bytes: 1 to %d are allowed", op->collection.n,
                       COLLECTION_MAX_BYTES);
    for (size_t i = 0; i < op->collection.n; i++)
        if (!collection_char(op->collection.p[i]))
            return err_set(
                e, ERR_USAGE,
                "collection name has byte 0x%02x at %zu: letters, digits, '.', '_' and '-' "
                "are allowed",
                op->collection.p[i], i);
    if (!system && op->collection.p[0] == '_')
        return err_set(e, ERR_USAGE, "collection names that begin with '_' belong to the system");
    if (op->key.n == 0 || op->key.n > KEY_MAX_BYTES)
        return err_set(e, op->key.n == 0 ? ERR_USAGE : ERR_LIMIT,
                       "key of %zu bytes: 1 to %d are allowed", op->key.n, KEY_MAX_BYTES);
    if (op->value.n > VALUE_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "value of %zu bytes: at most %d (16 MiB) are allowed",
                       op->value.n, VALUE_MAX_BYTES);
    return 0;
}

static const char *const level_names[] = {"mode", "local", "majority", "dr", "gsr", "all"};

const char *level_name(enum level level)
{
    check((unsigned)level <= LEVEL_ALL);
    return level_names[level];
}

int level_parse(const char *text, enum level *out, struct err *e)
{
    for (unsigned i = 0; i < sizeof level_names / sizeof level_names[0]; i++)
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum level)i;
            return 0;
        }
    return err_set(e, ERR_USAGE,
                   "durability '%.40s' is unknown: use mode, local, majority, dr, gsr or all",
                   text);
}

const char *commit_mode_name(enum commit_mode mode)
{
    return mode == COMMIT_LOCAL ? "local" : "majority";
}
