/* Decode a body of each kind and encode again what was read. Shared by the fuzzer and the unit test of the wire codecs: a
 * reader that accepts bytes which its writer would not produce is wrong. */
#ifndef TESTS_FUZZ_WIRE_AGAIN_H
#define TESTS_FUZZ_WIRE_AGAIN_H

#include "replication/core/wire.h"

#define WIRE_SIMPLE(X)                                                                             \
    X(hello)                                                                                       \
    X(error)                                                                                       \
    X(primary)                                                                                     \
    X(session_open)                                                                                \
    X(session)                                                                                     \
    X(session_close)                                                                               \
    X(done)                                                                                        \
    X(scan)                                                                                        \
    X(snapshot_open)                                                                               \
    X(snapshot)                                                                                    \
    X(snapshot_close)                                                                              \
    X(outcome_ask)                                                                                 \
    X(outcome)                                                                                     \
    X(key_ask)                                                                                     \
    X(key_outcome)                                                                                 \
    X(point)                                                                                       \
    X(admin)                                                                                       \
    X(admin_reply)                                                                                 \
    X(watch_open)                                                                                  \
    X(watch)                                                                                       \
    X(watch_credit)                                                                                \
    X(watch_close)                                                                                 \
    X(watch_end)

enum wire_body {
#define X(name) WIRE_BODY_##name,
    WIRE_SIMPLE(X)
#undef X
        WIRE_BODY_txn,
    WIRE_BODY_get,
    WIRE_BODY_get_answer,
    WIRE_BODY_scan_answer,
    WIRE_BODY_watch_data,
    WIRE_BODIES,
};

enum { WIRE_AGAIN_ITEMS = 64 };

static inline int wire_again_txn(struct bytes in, struct writer *w, struct err *e)
{
    struct wire_txn m;
    int rc = wire_read_txn(in, &m, e);
    if (rc != 0 || m.condition_count > WIRE_AGAIN_ITEMS || m.op_count > WIRE_AGAIN_ITEMS)
        return rc != 0 ? rc : ERR_LIMIT;
    struct condition conditions[WIRE_AGAIN_ITEMS];
    struct op ops[WIRE_AGAIN_ITEMS];
    for (uint32_t i = 0; rc == 0 && i < m.condition_count; i++)
        rc = wire_next_condition(&m.conditions, &conditions[i], e);
    for (uint32_t i = 0; rc == 0 && i < m.op_count; i++)
        rc = body_next_op(&m.ops, &ops[i], e);
    if (rc == 0)
        wire_write_txn(w, &m, conditions, ops);
    return rc;
}

static inline int wire_again_get(struct bytes in, struct writer *w, struct err *e)
{
    struct wire_get m;
    int rc = wire_read_get(in, &m, e);
    if (rc != 0 || m.count > WIRE_AGAIN_ITEMS)
        return rc != 0 ? rc : ERR_LIMIT;
    struct op keys[WIRE_AGAIN_ITEMS];
    for (uint32_t i = 0; rc == 0 && i < m.count; i++)
        rc = wire_next_key(&m.keys, &keys[i].collection, &keys[i].key, e);
    if (rc == 0)
        wire_write_get(w, &m, keys);
    return rc;
}

static inline int wire_again_answer(struct bytes in, bool scan, struct writer *w, struct err *e)
{
    struct reader r = reader_of(in);
    struct wire_read_header h;
    int rc = wire_read_read_header(&r, &h, e);
    if (rc != 0)
        return rc;
    wire_write_read_header(w, &h);
    enum wire_more more = WIRE_MORE_NONE;
    if (scan) {
        rc = wire_read_scan_more(&r, &more, e);
        write_u8(w, (uint8_t)more);
    }
    for (uint32_t i = 0; rc == 0 && i < h.count; i++) {
        struct wire_record record;
        rc = scan ? wire_read_scan_record(&r, &record, e) : wire_read_get_record(&r, &record, e);
        if (rc == 0 && scan)
            wire_write_scan_record(w, &record);
        else if (rc == 0)
            wire_write_get_record(w, &record);
    }
    struct bytes after;
    if (rc == 0 && more == WIRE_MORE_AFTER_KEY) {
        rc = wire_read_scan_after(&r, &after, e);
        write_bytes16(w, after);
    }
    return rc != 0 || reader_done(&r) ? rc : ERR_FORMAT;
}

static inline int wire_again_watch_data(struct bytes in, struct writer *w, struct err *e)
{
    struct wire_watch_data m;
    int rc = wire_read_watch_data(in, &m, e);
    if (rc != 0)
        return rc;
    wire_write_watch_data(w, &m);
    size_t bytes = WIRE_WATCH_DATA_BYTES;
    for (uint32_t i = 0; rc == 0 && i < m.count; i++) {
        struct wire_change change;
        if (wire_next_change(&m.changes, &change, e) != 0)
            return ERR_INTEGRITY; /* it was checked */
        wire_write_change(w, &change);
        bytes += wire_change_bytes(&change);
    }
    return bytes == in.n ? 0 : ERR_INTEGRITY;
}

/* 0 when the reader took `in` and `w` holds what the writer made of it; ERR_LIMIT when it has more items than this
 * helper keeps. */
static inline int wire_again(enum wire_body kind, struct bytes in, struct writer *w, struct err *e)
{
    int rc = ERR_FORMAT;
    switch (kind) {
#define X(name)                                                                                    \
    case WIRE_BODY_##name: {                                                                       \
        struct wire_##name m;                                                                      \
        rc = wire_read_##name(in, &m, e);                                                          \
        if (rc == 0)                                                                               \
            wire_write_##name(w, &m);                                                              \
        break;                                                                                     \
    }
        WIRE_SIMPLE(X)
#undef X
    case WIRE_BODY_txn:
        return wire_again_txn(in, w, e);
    case WIRE_BODY_get:
        return wire_again_get(in, w, e);
    case WIRE_BODY_get_answer:
        return wire_again_answer(in, false, w, e);
    case WIRE_BODY_scan_answer:
        return wire_again_answer(in, true, w, e);
    case WIRE_BODY_watch_data:
        return wire_again_watch_data(in, w, e);
    case WIRE_BODIES:
        break;
    }
    return rc;
}

#endif
