/* One layout for all types, and a table of which fields each type may use: what is not listed must be zero, so that a
 * sender's mistake is found by the first receiver and reserved room stays usable. */
#include "replication/core/messages.h"

#include "store/core/check.h"

enum {
    HAS_COUNT = 1u << 0,
    HAS_LSN = 1u << 1, /* lsn, lsn_term, hash */
    HAS_LAST = 1u << 2,
    HAS_COMMIT = 1u << 3,
    HAS_ROUND = 1u << 4,
    HAS_READMIT = 1u << 5,
    HAS_PROGRESS = 1u << 6,
    HAS_GRANTED = 1u << 7,
    HAS_TRANSFER = 1u << 8,
    HAS_REJECTED = 1u << 9,
    HAS_COUNTS = 1u << 10,
    HAS_AGE = 1u << 11,
    HAS_LOST = 1u << 12,
};

enum {
    FLAG_GRANTED = 1u << 0,
    FLAG_TRANSFER = 1u << 1,
    FLAG_REJECTED = 1u << 2,
    FLAG_COUNTS = 1u << 3,
    FLAG_LOST = 1u << 4,
    FLAGS = (1u << 5) - 1,
};

static const struct {
    const char *name;
    unsigned has;
} types[] = {
    [REPL_MSG_PREVOTE] = {"prevote", HAS_LSN | HAS_ROUND},
    [REPL_MSG_PREVOTE_REPLY] = {"prevote-reply", HAS_LSN | HAS_ROUND | HAS_GRANTED | HAS_REJECTED},
    [REPL_MSG_VOTE] = {"vote", HAS_LSN | HAS_ROUND | HAS_TRANSFER},
    [REPL_MSG_VOTE_REPLY] = {"vote-reply", HAS_LSN | HAS_GRANTED | HAS_REJECTED},
    [REPL_MSG_ENTRIES] = {"entries", HAS_COUNT | HAS_LSN | HAS_LAST | HAS_COMMIT | HAS_ROUND |
                                         HAS_READMIT | HAS_GRANTED | HAS_REJECTED | HAS_LOST},
    [REPL_MSG_ACK] = {"ack",
                      HAS_LSN | HAS_LAST | HAS_ROUND | HAS_PROGRESS | HAS_REJECTED | HAS_COUNTS},
    [REPL_MSG_FETCH] = {"fetch", HAS_LSN | HAS_ROUND},
    [REPL_MSG_TAIL] = {"tail", HAS_COUNT | HAS_LSN | HAS_LAST | HAS_ROUND | HAS_REJECTED},
    [REPL_MSG_TAKE_OVER] = {"take-over", HAS_LSN | HAS_ROUND},
    [REPL_MSG_PULL] = {"pull", HAS_LSN | HAS_ROUND | HAS_REJECTED},
    [REPL_MSG_GIVE] = {"give", HAS_COUNT | HAS_LSN | HAS_LAST | HAS_COMMIT | HAS_ROUND |
                                   HAS_GRANTED | HAS_REJECTED | HAS_AGE},
};
enum { TYPES = sizeof types / sizeof types[0] };

static unsigned flags_of(const struct repl_message *m)
{
    return (m->granted ? FLAG_GRANTED : 0u) | (m->transfer ? FLAG_TRANSFER : 0u) |
           (m->rejected ? FLAG_REJECTED : 0u) | (m->counts ? FLAG_COUNTS : 0u) |
           (m->lost ? FLAG_LOST : 0u);
}

/* The field groups that are not zero. */
static unsigned used(const struct repl_message *m)
{
    static const struct sha256 zero = {{0}};
    unsigned u = 0;
    u |= m->count != 0 ? HAS_COUNT : 0u;
    u |= m->lsn.v != 0 || m->lsn_term.v != 0 || !sha256_equal(&m->hash, &zero) ? HAS_LSN : 0u;
    u |= m->last.v != 0 || m->last_term.v != 0 ? HAS_LAST : 0u;
    u |= m->commit.v != 0 ? HAS_COMMIT : 0u;
    u |= m->round != 0 ? HAS_ROUND : 0u;
    u |= m->readmit != 0 ? HAS_READMIT : 0u;
    u |= m->age_ms != 0 ? HAS_AGE : 0u;
    u |= m->applied.v != 0 || m->archived.v != 0 ? HAS_PROGRESS : 0u;
    u |= m->granted ? HAS_GRANTED : 0u;
    u |= m->transfer ? HAS_TRANSFER : 0u;
    u |= m->rejected ? HAS_REJECTED : 0u;
    u |= m->counts ? HAS_COUNTS : 0u;
    u |= m->lost ? HAS_LOST : 0u;
    return u;
}

void message_write(struct writer *w, const struct repl_message *m)
{
    check(m->type >= REPL_MSG_PREVOTE && (int)m->type < TYPES);
    check((used(m) & ~types[m->type].has) == 0);
    write_u8(w, (uint8_t)m->type);
    write_u8(w, (uint8_t)flags_of(m));
    write_u16(w, 0);
    write_u32(w, m->count);
    write_u64(w, m->term.v);
    write_u64(w, m->incarnation);
    write_u64(w, m->lsn.v);
    write_u64(w, m->lsn_term.v);
    write_sha256(w, &m->hash);
    write_u64(w, m->last.v);
    write_u64(w, m->last_term.v);
    write_u64(w, m->commit.v);
    write_u64(w, m->round);
    write_u64(w, m->type == REPL_MSG_GIVE ? m->age_ms : m->readmit);
    write_u64(w, m->applied.v);
    write_u64(w, m->archived.v);
}

int message_read(struct bytes body, struct repl_message *m, struct bytes *entries, struct err *e)
{
    if (body.n < MESSAGE_FIXED_BYTES)
        return err_set(e, ERR_FORMAT, "peer message of %zu bytes, its fixed part has %d", body.n,
                       MESSAGE_FIXED_BYTES);
    struct reader r = reader_of(bytes_of(body.p, MESSAGE_FIXED_BYTES));
    unsigned type = read_u8(&r);
    unsigned flags = read_u8(&r);
    unsigned reserved = read_u16(&r);
    if (type < REPL_MSG_PREVOTE || type >= TYPES)
        return err_set(e, ERR_FORMAT, "peer message at byte 0: type %u is unknown", type);
    if ((flags & ~(unsigned)FLAGS) != 0)
        return err_set(e, ERR_FORMAT, "%s message at byte 1: flags %02x are unknown",
                       types[type].name, flags);
    if (reserved != 0)
        return err_set(e, ERR_FORMAT, "%s message at byte 2: reserved bytes are not zero",
                       types[type].name);
    memset(m, 0, sizeof *m);
    m->type = (enum repl_message_type)type;
    m->from = m->to = REPL_NOBODY;
    m->granted = (flags & FLAG_GRANTED) != 0;
    m->transfer = (flags & FLAG_TRANSFER) != 0;
    m->rejected = (flags & FLAG_REJECTED) != 0;
    m->counts = (flags & FLAG_COUNTS) != 0;
    m->lost = (flags & FLAG_LOST) != 0;
    m->count = read_u32(&r);
    m->term.v = read_u64(&r);
    m->incarnation = read_u64(&r);
    m->lsn.v = read_u64(&r);
    m->lsn_term.v = read_u64(&r);
    m->hash = read_sha256(&r);
    m->last.v = read_u64(&r);
    m->last_term.v = read_u64(&r);
    m->commit.v = read_u64(&r);
    m->round = read_u64(&r);
    *(m->type == REPL_MSG_GIVE ? &m->age_ms : &m->readmit) = read_u64(&r);
    m->applied.v = read_u64(&r);
    m->archived.v = read_u64(&r);
    check(reader_done(&r));
    unsigned extra = used(m) & ~types[type].has;
    if (extra != 0)
        return err_set(e, ERR_FORMAT, "%s message: fields %04x are not of this type and not zero",
                       types[type].name, extra);
    if (m->count > REPL_BATCH_ENTRIES_MAX)
        return err_set(e, ERR_FORMAT, "%s message at byte 4: %u entries, at most %d are allowed",
                       types[type].name, m->count, REPL_BATCH_ENTRIES_MAX);
    *entries = bytes_of(body.p + MESSAGE_FIXED_BYTES, body.n - MESSAGE_FIXED_BYTES);
    if (m->count == 0 && entries->n != 0)
        return err_set(e, ERR_FORMAT,
                       "%s message at byte %d: %zu bytes follow, but it carries no entries",
                       types[type].name, MESSAGE_FIXED_BYTES, entries->n);
    return 0;
}
