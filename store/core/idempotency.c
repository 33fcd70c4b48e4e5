#include "store/core/idempotency.h"

#include "store/core/check.h"
#include "store/core/commit_time.h"

enum { FORMAT = 1 };

int idempotency_key_check(struct bytes key, struct err *e)
{
    if (key.n >= 1 && key.n <= IDEMPOTENCY_KEY_MAX_BYTES)
        return 0;
    return err_set(e, key.n == 0 ? ERR_USAGE : ERR_LIMIT,
                   "idempotency key of %zu bytes: 1 to %d are allowed", key.n,
                   IDEMPOTENCY_KEY_MAX_BYTES);
}

struct bytes idempotency_record_key(struct bytes client, struct bytes key,
                                    uint8_t out[IDEMPOTENCY_RECORD_KEY_MAX_BYTES])
{
    check(client.n >= 1 && client.n <= CLIENT_NAME_MAX_BYTES);
    check(idempotency_key_check(key, NULL) == 0);
    struct writer w = writer_of(out, IDEMPOTENCY_RECORD_KEY_MAX_BYTES);
    write_bytes(&w, client);
    write_u8(&w, 0);
    write_bytes(&w, key);
    check(!w.bad);
    return bytes_of(out, w.at);
}

struct bytes idempotency_client(struct bytes record_key)
{
    const uint8_t *zero = record_key.n != 0 ? memchr(record_key.p, 0, record_key.n) : NULL;
    return zero != NULL ? bytes_of(record_key.p, (size_t)(zero - record_key.p))
                        : (struct bytes){NULL, 0};
}

struct bytes idempotency_write(const struct idempotency_mark *m,
                               uint8_t out[IDEMPOTENCY_VALUE_BYTES])
{
    struct writer w = writer_of(out, IDEMPOTENCY_VALUE_BYTES);
    write_u8(&w, FORMAT);
    write_u8(&w, (uint8_t)m->state);
    write_u8(&w, (uint8_t)m->level);
    write_u8(&w, 0);
    write_u64(&w, m->term.v);
    write_bytes(&w, bytes_of(m->content.b, sizeof m->content.b));
    check(!w.bad && w.at == IDEMPOTENCY_VALUE_BYTES);
    return bytes_of(out, w.at);
}

int idempotency_read(struct bytes value, struct idempotency_mark *m, struct err *e)
{
    struct reader r = reader_of(value);
    const uint8_t format = read_u8(&r), state = read_u8(&r), level = read_u8(&r),
                  zero = read_u8(&r);
    m->term.v = read_u64(&r);
    struct bytes content = read_bytes(&r, sizeof m->content.b);
    if (!reader_done(&r) || format != FORMAT || zero != 0 || state < IDEMPOTENCY_COMMITTED ||
        state > IDEMPOTENCY_GIVEN_UP || level > LEVEL_ALL)
        return err_set(e, ERR_FORMAT,
                       "mark of an idempotency key: %zu bytes, format %u, state %u, level %u",
                       value.n, format, state, level);
    m->state = (enum idempotency_state)state;
    m->level = (enum level)level;
    memcpy(m->content.b, content.p, sizeof m->content.b);
    return 0;
}

enum idempotency_verdict idempotency_decide(const struct idempotency_mark *known,
                                            const struct sha256 *content)
{
    if (known == NULL)
        return IDEMPOTENCY_NEW;
    if (known->state == IDEMPOTENCY_GIVEN_UP)
        return IDEMPOTENCY_TOO_LATE;
    return memcmp(known->content.b, content->b, sizeof content->b) == 0 ? IDEMPOTENCY_REPEATED
                                                                        : IDEMPOTENCY_OTHER;
}

enum idempotency_answer idempotency_outcome(const struct idempotency_mark *known, bool give_up)
{
    if (known == NULL)
        return give_up ? IDEMPOTENCY_GIVE_UP : IDEMPOTENCY_NONE_YET;
    return known->state == IDEMPOTENCY_GIVEN_UP ? IDEMPOTENCY_IS_GIVEN_UP
                                                : IDEMPOTENCY_IS_COMMITTED;
}

bool idempotency_may_forget(struct utc time, struct utc now, uint64_t primary_us, uint64_t limit_us,
                            bool in_flight)
{
    return limit_us != 0 && !in_flight && session_was_idle(time, now, primary_us, limit_us);
}

static void write_place(struct writer *body, enum op_kind kind, struct bytes record_key)
{
    write_u8(body, (uint8_t)kind);
    write_bytes16(body, bytes_str(IDEMPOTENCY_COLLECTION));
    write_bytes16(body, record_key);
}

void idempotency_write_op(struct writer *body, struct bytes client, struct bytes key,
                          const struct idempotency_mark *m)
{
    uint8_t k[IDEMPOTENCY_RECORD_KEY_MAX_BYTES], value[IDEMPOTENCY_VALUE_BYTES];
    write_place(body, OP_PUT, idempotency_record_key(client, key, k));
    write_bytes32(body, idempotency_write(m, value));
}

void idempotency_write_forget(struct writer *body, struct bytes record_key)
{
    write_place(body, OP_DELETE, record_key);
}
