/* Log entries: headers, bodies of every kind, and what a decoder accepts encodes to the same bytes. Bit 0 of the first byte
 * chooses between raw entries and payloads (whose checksums and hash no fuzzer would guess: they are sealed here). */
#include "store/core/body.h"

#include "store/core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPS = 64, BODY_BYTES = 1 << 16 };

/* Encode again what was read; false when it was not read. */
static bool again(enum entry_kind kind, struct bytes body, struct writer *w)
{
    switch (kind) {
    case ENTRY_TXN: {
        struct body_txn t;
        struct op ops[OPS];
        if (body_read_txn(body, &t, NULL) != 0 || t.op_count > OPS)
            return false;
        struct reader r = t.ops;
        for (uint32_t i = 0; i < t.op_count; i++)
            check(body_next_op(&r, &ops[i], NULL) == 0);
        check(reader_done(&r));
        check(body_txn_bytes(ops, t.op_count, t.client.n) >= body.n);
        body_write_txn(w, body.p, &t, ops);
        return true;
    }
#define X(upper, lower)                                                                            \
    case upper: {                                                                                  \
        struct body_##lower b;                                                                     \
        if (body_read_##lower(body, &b, NULL) != 0)                                                \
            return false;                                                                          \
        body_write_##lower(w, body.p, &b);                                                         \
        return true;                                                                               \
    }
        X(ENTRY_NOOP, noop)
        X(ENTRY_CONFIG, config)
        X(ENTRY_RESTORE_POINT, restore_point)
        X(ENTRY_SESSION, session)
        X(ENTRY_AUDIT, audit)
        X(ENTRY_MEMBERS, members)
#undef X
    }
    return false;
}

static void decode_raw(struct bytes in)
{
    struct entry_view v;
    size_t used = 0;
    int rc = entry_decode(in, &v, &used, NULL);
    check(rc == 0 || rc == ERR_FORMAT || rc == ERR_NEWER || rc == ERR_LIMIT);
    check(rc != 0 || used <= in.n);
    check(rc != ERR_LIMIT || used > in.n);
}

static void decode_payload(enum entry_kind kind, struct bytes body)
{
    static uint8_t raw[ENTRY_HEADER_BYTES + BODY_BYTES], out[BODY_BYTES];
    struct writer w = writer_of(out, sizeof out);
    if (again(kind, body, &w))
        check(!w.bad && bytes_equal(bytes_of(out, w.at), body));

    struct entry_header h = {.kind = kind, .term = {1}, .lsn = {1}};
    struct sha256 hash = entry_seal(&h, body, raw);
    memcpy(raw + ENTRY_HEADER_BYTES, body.p, body.n);
    struct entry_view v;
    size_t used = 0;
    check(entry_decode(bytes_of(raw, ENTRY_HEADER_BYTES + body.n), &v, &used, NULL) == 0);
    check(used == ENTRY_HEADER_BYTES + body.n && sha256_equal(&hash, &v.hash) &&
          v.header.kind == kind);
    struct entry_position start = {0};
    check(entry_follows(&start, &v.header, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes rest = bytes_of(data + 1, size - 1);
    if ((data[0] & 1) != 0)
        decode_raw(rest);
    else if (rest.n >= ENTRY_SALT_BYTES && rest.n <= BODY_BYTES)
        decode_payload((enum entry_kind)(ENTRY_TXN + (data[0] >> 1) % ENTRY_MEMBERS), rest);
    return 0;
}
