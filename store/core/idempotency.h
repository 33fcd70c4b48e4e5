/* Idempotency keys: names that applications give to their own transactions, so that one that is sent again, by whatever process
 * and however much later, takes effect once (P6), without a session being kept.
 *
 * A transaction with a key also writes a record, the mark, into the system collection `_idempotency`, in the same entry of the
 * log. So the mark is there if and only if the transaction is, at every site, after a failover, in the archive and in every
 * state that is restored from it; and nothing of the log's format knows of it.
 *
 * FORMAT (little-endian)
 *   key    name of the client (from its certificate), zero, the application's key: 1 to 64 bytes of any value
 *   value  offset size
 *               0    1  format   1
 *               1    1  state    enum idempotency_state
 *               2    1  level    at which the client was to be answered (body.h)
 *               3    1  zero
 *               4    8  term     in which it was logged
 *              12   32  content  SHA-256 of conditions and operations as they were asked for; of a key that was given up zeros
 * lsn and time of the transaction are those of the record. Keys of different clients have nothing to do with each other.
 *
 *   absent -> committed: by the transaction.    absent -> given up: by who asked for its outcome, so that it never happens.
 *   Either -> absent: by the primary, when it is older than the configured hours. */
#ifndef STORE_CORE_IDEMPOTENCY_H
#define STORE_CORE_IDEMPOTENCY_H

#include "store/core/body.h"

#define IDEMPOTENCY_COLLECTION "_idempotency"

enum {
    IDEMPOTENCY_KEY_MAX_BYTES = 64,
    IDEMPOTENCY_RECORD_KEY_MAX_BYTES = CLIENT_NAME_MAX_BYTES + 1 + IDEMPOTENCY_KEY_MAX_BYTES,
    IDEMPOTENCY_VALUE_BYTES = 44,
    /* what the mark adds to the body of an entry, at most */
    IDEMPOTENCY_OP_MAX_BYTES =
        1 + 2 + 12 + 2 + IDEMPOTENCY_RECORD_KEY_MAX_BYTES + 4 + IDEMPOTENCY_VALUE_BYTES,
};

enum idempotency_state { IDEMPOTENCY_COMMITTED = 1, IDEMPOTENCY_GIVEN_UP = 2 };

struct idempotency_mark {
    enum idempotency_state state;
    enum level level;
    struct term term;
    struct sha256 content;
};

/* 0, ERR_USAGE (empty) or ERR_LIMIT (too long), with what is allowed. */
int idempotency_key_check(struct bytes key, struct err *e);
/* The record's key, in `out`. The key has passed the check; the client's name has 1 to CLIENT_NAME_MAX_BYTES, none of them
 * zero. */
struct bytes idempotency_record_key(struct bytes client, struct bytes key,
                                    uint8_t out[IDEMPOTENCY_RECORD_KEY_MAX_BYTES]);
/* The client that a record's key begins with; empty: it is no key of a mark. */
struct bytes idempotency_client(struct bytes record_key);

struct bytes idempotency_write(const struct idempotency_mark *m,
                               uint8_t out[IDEMPOTENCY_VALUE_BYTES]);
int idempotency_read(struct bytes value, struct idempotency_mark *m,
                     struct err *e); /* ERR_FORMAT */

/* A transaction with this content comes with a key of which this is known (NULL: nothing). Pure. */
enum idempotency_verdict {
    IDEMPOTENCY_NEW,      /* run it, with its mark */
    IDEMPOTENCY_REPEATED, /* the answer is that of the first */
    IDEMPOTENCY_OTHER,    /* the key stands for a transaction with another content: refuse */
    IDEMPOTENCY_TOO_LATE, /* the key was given up: refuse, for ever */
};
enum idempotency_verdict idempotency_decide(const struct idempotency_mark *known,
                                            const struct sha256 *content);

/* Somebody asks what became of the key, and if nothing did, whether to give it up. Pure. */
enum idempotency_answer {
    IDEMPOTENCY_IS_COMMITTED,
    IDEMPOTENCY_IS_GIVEN_UP,
    IDEMPOTENCY_NONE_YET, /* in what is logged: a copy may be under way */
    IDEMPOTENCY_GIVE_UP,  /* log that it is given up; that is the answer when it is committed */
};
enum idempotency_answer idempotency_outcome(const struct idempotency_mark *known, bool give_up);

/* May a primary forget the mark whose record has this time? `now` is commit time, `primary_us` how long it has been primary
 * (session_was_idle() says why that counts), `limit_us` the least that keys are kept (0: for ever). Not while an entry that is
 * not applied changes the mark: what the state shows is not the newest then. Pure. */
bool idempotency_may_forget(struct utc time, struct utc now, uint64_t primary_us, uint64_t limit_us,
                            bool in_flight);

/* The operations on marks, as they stand in the body of an entry (body.h). */
void idempotency_write_op(struct writer *body, struct bytes client, struct bytes key,
                          const struct idempotency_mark *m);
void idempotency_write_forget(struct writer *body, struct bytes record_key);

#endif
