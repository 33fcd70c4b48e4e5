#include "replication/core/cosign.h"

#include "store/core/check.h"

enum { HEADER_BYTES = 128 };

static const struct {
    const char *name;
    bool has_key, may_fail;
    size_t least, most; /* of the payload */
} kinds[] = {
    [COSIGN_ASK] = {"ask", true, false, 1, COSIGN_NOTE_MAX_BYTES},
    [COSIGN_ANSWER] = {"answer", true, true, 1, COSIGN_TEXT_BYTES},
    [COSIGN_HEADERS] = {"headers", false, false, 0, 0},
    [COSIGN_ROW] = {"row", false, true, HEADER_BYTES, COSIGN_ROW_MAX_BYTES},
    [COSIGN_ADD] = {"add", true, false, 1, COSIGN_NOTE_MAX_BYTES},
    [COSIGN_ADDED] = {"added", true, true, 1, COSIGN_TEXT_BYTES},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static bool is_right(const struct cosign_message *m)
{
    const bool failed = m->code != 0;
    if (failed)
        return kinds[m->kind].may_fail && m->code < 0 && m->key.n == 0 && m->payload.n >= 1 &&
               m->payload.n <= COSIGN_TEXT_BYTES;
    return (m->key.n != 0) == kinds[m->kind].has_key && m->key.n <= COSIGN_KEY_MAX_BYTES &&
           m->payload.n >= kinds[m->kind].least && m->payload.n <= kinds[m->kind].most &&
           (m->kind != COSIGN_ROW || m->payload.n % HEADER_BYTES == 0);
}

void cosign_write_head(struct writer *w, const struct cosign_message *m)
{
    check((unsigned)m->kind - 1 < KINDS - 1 && is_right(m));
    write_u32(w, (uint32_t)m->kind); /* with three zeros */
    write_u32(w, (uint32_t)m->code);
    write_u64(w, m->id);
    write_u64(w, m->lsn.v);
    write_bytes16(w, m->key);
    write_u32(w, (uint32_t)m->payload.n);
}

void cosign_write(struct writer *w, const struct cosign_message *m)
{
    cosign_write_head(w, m);
    write_bytes(w, m->payload);
}

int cosign_read(struct bytes body, struct cosign_message *m, struct err *e)
{
    struct reader r = reader_of(body);
    uint32_t kind = read_u32(&r);
    if (r.bad || kind == 0 || kind >= KINDS)
        return err_set(e, ERR_FORMAT, "cosign message of kind %u is unknown", kind);
    *m = (struct cosign_message){.kind = (enum cosign_kind)kind, .code = (int32_t)read_u32(&r)};
    m->id = read_u64(&r);
    m->lsn.v = read_u64(&r);
    m->key = read_bytes16(&r);
    m->payload = read_bytes32(&r);
    if (!reader_done(&r))
        return err_set(e, ERR_FORMAT, "cosign message '%s': byte %zu: its size is wrong",
                       kinds[kind].name, r.at);
    if (!is_right(m))
        return err_set(e, ERR_FORMAT,
                       "cosign message '%s': code %d, a key of %zu and a payload of %zu bytes",
                       kinds[kind].name, m->code, m->key.n, m->payload.n);
    return 0;
}

const char *cosign_kind_name(enum cosign_kind kind)
{
    return (unsigned)kind - 1 < KINDS - 1 ? kinds[kind].name : "unknown";
}
