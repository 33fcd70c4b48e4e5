/* The codec of care.h: one layout for all kinds, and a table of what each may use, as in messages.c. */
#include "replication/core/care.h"

#include "store/core/check.h"

enum {
    HAS_BUCKET = 1u << 0,
    HAS_COUNT = 1u << 1,
    HAS_LSN = 1u << 2,
    HAS_TO = 1u << 3,
    HAS_TIME = 1u << 4,
    HAS_SUMS = 1u << 5, /* records, digest */
    HAS_NAME = 1u << 6, /* collection, key */
    HAS_PAYLOAD = 1u << 7,
    HAS_FOUND = 1u << 8,
    HAS_KNOWN = 1u << 9,
    HAS_MORE = 1u << 10,
};
enum {
    FLAG_ANSWER = 1u << 0,
    FLAG_REFUSED = 1u << 1,
    FLAG_FOUND = 1u << 2,
    FLAG_KNOWN = 1u << 3,
    FLAG_MORE = 1u << 4,
    FLAGS = FLAG_ANSWER | FLAG_REFUSED | FLAG_FOUND | FLAG_KNOWN | FLAG_MORE,
};

static const struct {
    const char *name;
    unsigned question, answer;
} kinds[] = {
    [CARE_SUMS] = {"sums", HAS_LSN, HAS_LSN | HAS_FOUND | HAS_KNOWN | HAS_SUMS},
    [CARE_BUCKETS] = {"buckets", HAS_LSN, HAS_LSN | HAS_FOUND | HAS_PAYLOAD},
    [CARE_KEYS] = {"keys", HAS_BUCKET | HAS_NAME,
                   HAS_BUCKET | HAS_NAME | HAS_LSN | HAS_COUNT | HAS_MORE | HAS_PAYLOAD},
    [CARE_RECORD] = {"record", HAS_NAME, HAS_NAME | HAS_FOUND | HAS_LSN | HAS_TIME | HAS_PAYLOAD},
    [CARE_ENTRIES] = {"entries", HAS_LSN | HAS_TO, HAS_LSN | HAS_COUNT | HAS_PAYLOAD},
    [CARE_VERDICT] = {"verdict", HAS_LSN | HAS_FOUND | HAS_PAYLOAD, 0},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static unsigned used(const struct care_message *m)
{
    unsigned u = 0;
    u |= m->bucket != 0 ? HAS_BUCKET : 0u;
    u |= m->count != 0 ? HAS_COUNT : 0u;
    u |= m->lsn.v != 0 ? HAS_LSN : 0u;
    u |= m->to.v != 0 ? HAS_TO : 0u;
    u |= m->time.us != 0 ? HAS_TIME : 0u;
    u |= m->records != 0 || m->digest.lo != 0 || m->digest.hi != 0 ? HAS_SUMS : 0u;
    u |= m->collection.n != 0 || m->key.n != 0 ? HAS_NAME : 0u;
    u |= m->payload.n != 0 ? HAS_PAYLOAD : 0u;
    u |= m->found ? HAS_FOUND : 0u;
    u |= m->known ? HAS_KNOWN : 0u;
    u |= m->more ? HAS_MORE : 0u;
    return u;
}

static bool is_right(const struct care_message *m)
{
    unsigned has = !m->answer   ? kinds[m->kind].question
                   : m->refused ? HAS_PAYLOAD
                                : kinds[m->kind].answer;
    return (used(m) & ~has) == 0 && (m->answer || !m->refused) && m->bucket < DIGEST_BUCKETS &&
           m->collection.n <= COLLECTION_MAX_BYTES && m->key.n <= KEY_MAX_BYTES;
}

void care_write(struct writer *w, const struct care_message *m)
{
    check((unsigned)m->kind - 1 < KINDS - 1 && is_right(m));
    write_u8(w, (uint8_t)m->kind);
    write_u8(w, (uint8_t)((m->answer ? FLAG_ANSWER : 0u) | (m->refused ? FLAG_REFUSED : 0u) |
                          (m->found ? FLAG_FOUND : 0u) | (m->known ? FLAG_KNOWN : 0u) |
                          (m->more ? FLAG_MORE : 0u)));
    write_u16(w, (uint16_t)m->bucket);
    write_u32(w, m->count);
    write_u64(w, m->id);
    write_u64(w, m->lsn.v);
    write_u64(w, m->to.v);
    write_u64(w, m->time.us);
    write_u64(w, m->records);
    write_digest(w, m->digest);
    write_bytes16(w, m->collection);
    write_bytes16(w, m->key);
    write_bytes32(w, m->payload);
}

int care_read(struct bytes body, struct care_message *m, struct err *e)
{
    struct reader r = reader_of(body);
    uint8_t kind = read_u8(&r), flags = read_u8(&r);
    if (r.bad || kind == 0 || kind >= KINDS || (flags & ~(unsigned)FLAGS) != 0)
        return err_set(e, ERR_FORMAT, "care message of kind %u with flags %02x is unknown", kind,
                       flags);
    *m = (struct care_message){.kind = (enum care_kind)kind,
                               .answer = (flags & FLAG_ANSWER) != 0,
                               .refused = (flags & FLAG_REFUSED) != 0,
                               .found = (flags & FLAG_FOUND) != 0,
                               .known = (flags & FLAG_KNOWN) != 0,
                               .more = (flags & FLAG_MORE) != 0};
    m->bucket = read_u16(&r);
    m->count = read_u32(&r);
    m->id = read_u64(&r);
    m->lsn.v = read_u64(&r);
    m->to.v = read_u64(&r);
    m->time.us = read_u64(&r);
    m->records = read_u64(&r);
    m->digest = read_digest(&r);
    m->collection = read_bytes16(&r);
    m->key = read_bytes16(&r);
    m->payload = read_bytes32(&r);
    if (!reader_done(&r))
        return err_set(e, ERR_FORMAT, "care message '%s': byte %zu: its size is wrong",
                       kinds[kind].name, r.at);
    if (!is_right(m))
        return err_set(e, ERR_FORMAT, "care message '%s': a field that it does not have is set",
                       kinds[kind].name);
    if (m->kind == CARE_BUCKETS && m->answer && m->found && m->payload.n != CARE_BUCKETS_BYTES)
        return err_set(e, ERR_FORMAT, "care message 'buckets': %zu bytes of digests, not %d",
                       m->payload.n, CARE_BUCKETS_BYTES);
    return 0;
}

void care_write_row(struct writer *w, const struct care_row *row)
{
    write_bytes16(w, row->collection);
    write_bytes16(w, row->key);
    write_u64(w, row->lsn.v);
    write_digest(w, row->digest);
}

int care_compare_rows(const struct care_row *a, const struct care_row *b)
{
    int c = bytes_compare(a->collection, b->collection);
    return c != 0 ? c : bytes_compare(a->key, b->key);
}

int care_next_row(struct reader *rows, const struct care_row *before, struct care_row *out,
                  struct err *e)
{
    out->collection = read_bytes16(rows);
    out->key = read_bytes16(rows);
    out->lsn.v = read_u64(rows);
    out->digest = read_digest(rows);
    if (rows->bad || out->collection.n == 0 || out->collection.n > COLLECTION_MAX_BYTES ||
        out->key.n == 0 || out->key.n > KEY_MAX_BYTES)
        return err_set(e, ERR_FORMAT, "row of keys before byte %zu: its size is wrong", rows->at);
    if (before->key.n != 0 && care_compare_rows(before, out) >= 0)
        return err_set(e, ERR_FORMAT, "row of keys before byte %zu: it is out of order", rows->at);
    return 0;
}

struct lsn care_compare_at(struct lsn before, struct lsn applied, uint64_t elapsed_ms,
                           uint32_t ahead_ms)
{
    if (before.v == 0 || applied.v <= before.v) /* or went back: a cut */
        return applied;
    const uint64_t came = applied.v - before.v,
                   ahead = elapsed_ms <= ahead_ms
                               ? came
                               : (uint64_t)((double)came * ahead_ms / (double)elapsed_ms);
    return (struct lsn){applied.v + ahead + 1};
}
