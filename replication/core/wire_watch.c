/* Codecs of the bodies of watches, described in wire.h; the invariants of wire.c hold here too.
 *
 *   I3  A push that was accepted says of each transaction in from..up_to whether it is in it: its changes stand in the order of
 *       the log, none is outside, and only the last transaction of a `continued` push is incomplete. */
#include "replication/core/wire.h"

enum { CHANGE_MIN_BYTES = 8 + 8 + 1 + 2 + 1 + 2 + 1 + 4 };

static int finish(const struct reader *r, const char *what, struct err *e)
{
    if (reader_done(r))
        return 0;
    return err_set(e, ERR_FORMAT, "%s of %zu bytes: %s at byte %zu", what, r->n,
                   r->bad ? "a field goes past the end" : "bytes are left over", r->at);
}

static int bad_field(const char *what, const char *field, unsigned long long value, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: %s %llu is not allowed", what, field, value);
}

void wire_write_watch_open(struct writer *w, const struct wire_watch_open *m)
{
    write_u32(w, m->flags);
    write_u64(w, m->from.v);
    write_bytes16(w, m->collection);
    write_bytes16(w, m->prefix);
    write_u32(w, m->credit);
}

int wire_read_watch_open(struct bytes body, struct wire_watch_open *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->flags = read_u32(&r);
    m->from.v = read_u64(&r);
    m->collection = read_bytes16(&r);
    m->prefix = read_bytes16(&r);
    m->credit = read_u32(&r);
    int rc = finish(&r, "watch-open", e);
    if (rc != 0)
        return rc;
    if ((m->flags & ~(uint32_t)(WIRE_READ_STANDBY | WIRE_WATCH_KEYS_ONLY)) != 0)
        return bad_field("watch-open", "flags", m->flags, e);
    if (m->collection.n > COLLECTION_MAX_BYTES)
        return bad_field("watch-open", "collection length", m->collection.n, e);
    if (m->prefix.n > KEY_MAX_BYTES)
        return bad_field("watch-open", "prefix length", m->prefix.n, e);
    if (m->credit == 0 || m->credit > WIRE_WATCH_CREDIT_MAX)
        return bad_field("watch-open", "credit", m->credit, e);
    return 0;
}

void wire_write_watch(struct writer *w, const struct wire_watch *m)
{
    write_u64(w, m->id);
    write_u64(w, m->from.v);
    write_u64(w, m->newest.v);
}

int wire_read_watch(struct bytes body, struct wire_watch *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    m->from.v = read_u64(&r);
    m->newest.v = read_u64(&r);
    int rc = finish(&r, "watch", e);
    return rc == 0 && m->from.v == 0 ? bad_field("watch", "first lsn", 0, e) : rc;
}

/* ---- changes ---- */

void wire_write_watch_data(struct writer *w, const struct wire_watch_data *m)
{
    write_u64(w, m->id);
    write_u64(w, m->from.v);
    write_u64(w, m->up_to.v);
    write_u64(w, m->newest.v);
    write_u8(w, m->continued);
    write_u32(w, m->count);
}

size_t wire_change_bytes(const struct wire_change *m)
{
    return 8 + 8 + 1 + 2 + m->collection.n + 2 + m->key.n + 4 + m->value.n;
}

void wire_write_change(struct writer *w, const struct wire_change *m)
{
    write_u64(w, m->lsn.v);
    write_u64(w, m->time.us);
    write_u8(w, (uint8_t)m->kind);
    write_bytes16(w, m->collection);
    write_bytes16(w, m->key);
    write_bytes32(w, m->value);
}

int wire_next_change(struct reader *r, struct wire_change *m, struct err *e)
{
    size_t start = r->at;
    m->lsn.v = read_u64(r);
    m->time.us = read_u64(r);
    uint8_t kind = read_u8(r);
    m->collection = read_bytes16(r);
    m->key = read_bytes16(r);
    m->value = read_bytes32(r);
    if (r->bad)
        return err_set(e, ERR_FORMAT, "watch data: change at byte %zu goes past the end", start);
    if (kind != OP_PUT && kind != OP_DELETE)
        return bad_field("watch data", "kind of change", kind, e);
    m->kind = (enum op_kind)kind;
    if (kind == OP_DELETE && m->value.n != 0)
        return bad_field("watch data: a delete", "value length", m->value.n, e);
    const struct op op = {m->kind, m->collection, m->key, m->value};
    struct err why = ERR_NONE;
    if (op_check(&op, true, &why) != 0)
        return err_set(e, ERR_FORMAT, "watch data: change at byte %zu: %s", start, why.text);
    return 0;
}

static int check_changes(const struct wire_watch_data *m, struct reader *r, struct err *e)
{
    uint64_t least = m->from.v, most = m->up_to.v + m->continued;
    for (uint32_t i = 0; i < m->count; i++) {
        struct wire_change c;
        int rc = wire_next_change(r, &c, e);
        if (rc != 0)
            return rc;
        if (c.lsn.v < least || c.lsn.v > most)
            return err_set(
                e, ERR_FORMAT, "watch data: a change of lsn %llu where %llu to %llu are expected",
                (unsigned long long)c.lsn.v, (unsigned long long)least, (unsigned long long)most);
        least = c.lsn.v;
    }
    if (m->continued && (m->count == 0 || least != most))
        return bad_field("watch data", "continued after lsn", m->up_to.v, e);
    return 0;
}

int wire_read_watch_data(struct bytes body, struct wire_watch_data *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    m->from.v = read_u64(&r);
    m->up_to.v = read_u64(&r);
    m->newest.v = read_u64(&r);
    uint8_t continued = read_u8(&r);
    m->count = read_u32(&r);
    if (r.bad)
        return finish(&r, "watch data", e);
    if (continued > 1)
        return bad_field("watch data", "continued", continued, e);
    m->continued = continued == 1;
    if (m->from.v == 0 || m->up_to.v < m->from.v - 1 || m->up_to.v == UINT64_MAX)
        return err_set(e, ERR_FORMAT, "watch data: covers lsn %llu to %llu",
                       (unsigned long long)m->from.v, (unsigned long long)m->up_to.v);
    if (m->count > (r.n - r.at) / CHANGE_MIN_BYTES)
        return bad_field("watch data", "count of changes", m->count, e);
    m->changes = r;
    int rc = check_changes(m, &r, e);
    return rc != 0 ? rc : finish(&r, "watch data", e);
}

/* ---- credit and end ---- */

void wire_write_watch_credit(struct writer *w, const struct wire_watch_credit *m)
{
    write_u64(w, m->id);
    write_u32(w, m->bytes);
}

int wire_read_watch_credit(struct bytes body, struct wire_watch_credit *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    m->bytes = read_u32(&r);
    return finish(&r, "watch-credit", e);
}

void wire_write_watch_close(struct writer *w, const struct wire_watch_close *m)
{
    write_u64(w, m->id);
}

int wire_read_watch_close(struct bytes body, struct wire_watch_close *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    return finish(&r, "watch-close", e);
}

void wire_write_watch_end(struct writer *w, const struct wire_watch_end *m)
{
    write_u64(w, m->id);
    write_u32(w, (uint32_t)m->code);
    write_bytes16(w, m->text);
    write_u64(w, m->first.v);
}

int wire_read_watch_end(struct bytes body, struct wire_watch_end *m, struct err *e)
{
    struct reader r = reader_of(body);
    m->id = read_u64(&r);
    m->code = (int32_t)read_u32(&r);
    m->text = read_bytes16(&r);
    m->first.v = read_u64(&r);
    int rc = finish(&r, "watch-end", e);
    return rc == 0 && m->code >= 0 ? bad_field("watch-end", "code", (unsigned long long)m->code, e)
                                   : rc;
}
