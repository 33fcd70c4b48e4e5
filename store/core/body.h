/* Payloads of entries: effects, decided at the primary, so that replay is idempotent and deterministic.
 *
 * FORMAT, after the 16-byte salt (little-endian; str16/str32 are a u16/u32 length and that many bytes)
 *   txn:           session uuid, sequence u64, level u8, client str16, op count u32, then each op:
 *                  kind u8 (1 put, 2 delete), collection str16, key str16, for a put value str32
 *   noop:          site str16 (who became primary)
 *   config:        commit mode u8 (1 majority, 2 local), client str16
 *   restore point: name str16, client str16
 *   session:       act u8 (1 open, 2 close, 3 expire), session uuid, client str16
 *   audit:         client str16, act str16, details str32 (JSON)
 *   members:       cluster uuid, client str16, founded str16, count u8, then each member: name str16, kind u8, votes u8,
 *                  peer str16, client str16
 * Session zero and sequence zero: the writer asked for no exactly-once bookkeeping. Ops take effect in
 * order; a later one on the same key wins. */
#ifndef STORE_CORE_BODY_H
#define STORE_CORE_BODY_H

#include "store/core/bytes.h"
#include "store/core/entry.h"
#include "store/core/err.h"

enum {
    KEY_MAX_BYTES = 480,
    COLLECTION_MAX_BYTES = 64, /* ASCII letters, digits, '.', '_', '-'; for users not '_' first */
    VALUE_MAX_BYTES = 16 << 20,
    TXN_MAX_OPS = 65536,
    CLIENT_NAME_MAX_BYTES = 128,
    POINT_NAME_MAX_BYTES = 128,
};

enum op_kind { OP_PUT = 1, OP_DELETE = 2 };

struct op {
    enum op_kind kind;
    struct bytes collection;
    struct bytes key;
    struct bytes value; /* empty for a delete */
};

/* Durability that a transaction asks for, and that an answer states. */
enum level {
    LEVEL_MODE = 0,
    LEVEL_LOCAL = 1,
    LEVEL_MAJORITY = 2,
    LEVEL_DR = 3,
    LEVEL_GSR = 4,
    LEVEL_ALL = 5
};

struct body_txn {
    struct uuid session;
    uint64_t sequence;
    enum level
        level; /* at which the client is answered; the primary has put the mode in place of LEVEL_MODE */
    struct bytes client; /* name from the certificate of who wrote it */
    uint32_t op_count;
    struct reader
        ops; /* positioned at the first op; copy it, then call body_next_op op_count times */
};

enum commit_mode { COMMIT_MAJORITY = 1, COMMIT_LOCAL = 2 };
enum session_act { SESSION_OPEN = 1, SESSION_CLOSE = 2, SESSION_EXPIRE = 3 };

struct body_noop {
    struct bytes site;
};
struct body_config {
    enum commit_mode mode;
    struct bytes client;
};
struct body_restore_point {
    struct bytes name;
    struct bytes client;
};
struct body_session {
    enum session_act act;
    struct uuid session;
    struct bytes client;
};
enum {
    MEMBERS_MAX = 8,
    MEMBER_NAME_MAX_BYTES = 32,
    MEMBER_ENDPOINT_MAX_BYTES = 127,
    MEMBERS_FOUNDED_MAX_BYTES = 400,
};
enum member_kind { MEMBER_DATA = 1, MEMBER_REPOSITORY = 2 };

struct body_member {
    struct bytes name;
    enum member_kind kind;
    bool votes;                /* else a replica, ... */
    bool lost;                 /* ... or no member: it was, and was declared lost (repl_solo.c) */
    struct bytes peer, client; /* host:port for sites, for clients */
};
/* The whole list of members, in force from this entry on. */
struct body_members {
    struct uuid cluster_id; /* a copy of the state under another id has no members yet */
    struct bytes by;        /* the operator */
    struct bytes founded;   /* the list at lsn 0, as in site.json: what all sites agree on */
    uint32_t count;
    struct body_member members[MEMBERS_MAX]; /* in the order of the names, each once */
};
struct body_audit {
    struct bytes client;
    struct bytes act;
    struct bytes details;
};

/* Encoders write salt and payload to `w`; w->bad tells that it did not fit. */
void body_write_txn(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                    const struct body_txn *t, const struct op *ops);
void body_write_noop(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                     const struct body_noop *b);
void body_write_config(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                       const struct body_config *b);
void body_write_restore_point(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                              const struct body_restore_point *b);
void body_write_session(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                        const struct body_session *b);
void body_write_members(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                        const struct body_members *b);
void body_write_audit(struct writer *w, const uint8_t salt[ENTRY_SALT_BYTES],
                      const struct body_audit *b);
/* Upper bound of the size that body_write_txn needs. */
size_t body_txn_bytes(const struct op *ops, uint32_t n, size_t client_bytes);

/* Decoders of a whole body (salt included); views into `body`. body_read_txn checks every op. 0 or ERR_FORMAT
 * with offset and reason; foreign bytes are expected. */
int body_read_txn(struct bytes body, struct body_txn *out, struct err *e);
int body_next_op(struct reader *ops, struct op *out, struct err *e);
int body_read_noop(struct bytes body, struct body_noop *out, struct err *e);
int body_read_config(struct bytes body, struct body_config *out, struct err *e);
int body_read_restore_point(struct bytes body, struct body_restore_point *out, struct err *e);
int body_read_session(struct bytes body, struct body_session *out, struct err *e);
int body_read_members(struct bytes body, struct body_members *out, struct err *e);
int body_read_audit(struct bytes body, struct body_audit *out, struct err *e);

/* Is the name a legal collection (1..64 of [A-Za-z0-9._-], for users not starting with '_')? Is the key (1..480
 * bytes) and the value (up to 16 MiB) within limits? 0, ERR_USAGE or ERR_LIMIT with what is wrong: the size
 * given and the largest allowed. */
int op_check(const struct op *op, bool system, struct err *e);

const char *level_name(enum level level); /* "mode", "local", "majority", "dr", "gsr", "all" */
int level_parse(const char *text, enum level *out, struct err *e);
const char *commit_mode_name(enum commit_mode mode);

#endif
