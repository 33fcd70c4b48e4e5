/* Legal holds and disposals of the archive: what is in force, as the warrants in the log say (P12). Each is an order of two
 * operators (replication/core/warrant.h), and is logged whole when it is carried out; so what is in force at an lsn follows
 * from the log alone, and is the same at every site.
 *
 * ACTS and their facts; none may be missing but those in brackets, and none come twice:
 *   archive-hold      name, collection, [prefix | key], reason
 *   archive-release   name, reason
 *   archive-dispose   before-lsn, before-time, reason, [takes ...]   (before-time and takes are for people to read) */
#ifndef REPLICATION_CORE_CUSTODY_H
#define REPLICATION_CORE_CUSTODY_H

#include "replication/core/warrant.h"
#include "store/core/body.h"

enum {
    CUSTODY_NAME_MAX_BYTES = 64,
    CUSTODY_REASON_MAX_BYTES = 256,
    CUSTODY_HOLDS_MAX = 64,
    CUSTODY_DISPOSALS_MAX =
        32, /* older ones are forgotten: what they left, a later one takes too */
};

enum custody_act { CUSTODY_HOLD = 1, CUSTODY_RELEASE = 2, CUSTODY_DISPOSE = 3 };
const char *custody_act_name(enum custody_act act);

/* What a warrant orders; views into its text. */
struct custody_order {
    enum custody_act act;
    struct bytes name, collection, prefix, key, reason;
    struct lsn before; /* CUSTODY_DISPOSE: entries below it */
};
/* Which warrant, and the entry that logged it. */
struct custody_logged {
    uint8_t nonce[WARRANT_NONCE_BYTES];
    struct lsn lsn;
    struct utc time;
    struct sha256 file;
};

struct custody_hold {
    char name[CUSTODY_NAME_MAX_BYTES + 1], reason[CUSTODY_REASON_MAX_BYTES + 1];
    char collection[COLLECTION_MAX_BYTES + 1];
    char key[KEY_MAX_BYTES +
             1]; /* of one record, or what keys begin with; empty: all of the collection */
    bool is_prefix;
    struct custody_logged by;
};
struct custody_disposal {
    struct lsn before;
    char reason[CUSTODY_REASON_MAX_BYTES + 1];
    struct custody_logged by;
};
struct custody {
    uint32_t hold_count, disposal_count;
    struct custody_hold holds[CUSTODY_HOLDS_MAX]; /* by name */
    struct custody_disposal
        disposals[CUSTODY_DISPOSALS_MAX]; /* each reaches further than the one before */
};

/* 0; ERR_NOT_FOUND: an act of something else. ERR_FORMAT: it does not say what it must, or more. */
int custody_read(const struct warrant *w, struct custody_order *out, struct err *e);
/* Would it change anything? ERR_EXISTS: a hold of that name is in force, or a disposal that reaches as far. ERR_NOT_FOUND: no
 * such hold. ERR_LIMIT: CUSTODY_HOLDS_MAX are in force. */
int custody_admit(const struct custody *c, const struct custody_order *o, struct err *e);
/* The next one in the order of the log; true: it came into force, and when it is a release, *ended is by what the hold was
 * ordered that it ends. What custody_admit would refuse changes nothing: two were logged at the same time. */
bool custody_apply(struct custody *c, const struct custody_order *o,
                   const struct custody_logged *by, struct custody_logged *ended);

#endif
