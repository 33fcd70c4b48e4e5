/* Private to replication/care*.c: one thread that looks after what is stored, and what it shares with the loop. */
#ifndef REPLICATION_CARE_PARTS_H
#define REPLICATION_CARE_PARTS_H

#include "replication/core/care.h"
#include "replication/site_parts.h"
#include "replication/worker.h"
#include "store/finding.h"

enum {
    DAMAGES_MAX =
        256, /* known and not repaired yet; more are found again by the next pass of the scrub */
    ASK_MS = 5000, /* a question is given up after this long */
    COMPARE_MS = 1000,
    COMPARE_WAIT_MS = 3000, /* until all are at the lsn that is compared at */
    RETRY_MIN_MS = 2000,
    RETRY_MAX_MS = 5 * 60 * 1000,
    CARE_IDLE_MS = 200,
};

/* Something damaged that is to be repaired. */
struct damage {
    bool in_log; /* `lsn`; otherwise the record */
    struct lsn lsn;
    uint8_t collection[COLLECTION_MAX_BYTES], key[KEY_MAX_BYTES];
    size_t collection_bytes, key_bytes;
    uint64_t due_ms;
    uint32_t wait_ms;
    char why[200]; /* why it is not repaired yet; "" when it was not tried */
};

/* A question to another site. */
struct call {
    enum { CALL_NONE, CALL_TO_SEND, CALL_SENT, CALL_DONE } state;
    uint64_t id;
    uint8_t question[CARE_QUESTION_MAX_BYTES];
    size_t bytes;
    uint8_t *answer; /* kept until the next question */
    size_t answer_bytes;
    int rc; /* CALL_DONE: 0, or why there is no answer */
};

/* What the primary knows of another site's state, compared with its own. */
struct comparison {
    bool known, differs;
    struct lsn lsn; /* compared at */
    uint64_t at_ms;
    uint32_t buckets;
    uint64_t named_ms;
    bool wrong; /* it is the one that differs from the others, as far as can be told */
    char what[CARE_TEXT_BYTES];
};

struct care {
    struct site *site;
    struct worker worker;
    /* under the lock */
    bool paused, resting;
    uint64_t next_id;
    struct call calls[REPL_SITES_MAX];   /* of the care thread */
    struct call fetches[REPL_SITES_MAX]; /* of the archive thread, for entries */
    struct { /* another site's question for sums, to be answered when the state is there */
        uint64_t id, until_ms;
        struct lsn lsn;
    } marks[REPL_SITES_MAX];
    struct { /* another site's question for the keys of a bucket: the thread answers */
        uint64_t id;
        uint32_t bucket;
        uint8_t collection[COLLECTION_MAX_BYTES], key[KEY_MAX_BYTES];
        size_t collection_bytes, key_bytes;
        uint8_t *answer; /* NULL: not ready */
        size_t answer_bytes;
    } keys[REPL_SITES_MAX];
    bool primary, up[REPL_SITES_MAX];
    uint8_t members; /* of the list in force: a set of slots. Their names do not change any more */
    struct lsn commit;
    struct damage damages[DAMAGES_MAX];
    size_t damage_count;
    uint64_t repaired, mended;
    struct comparison compared[REPL_SITES_MAX];
    struct { /* of this site's own state */
        bool differs, changed;
        struct lsn lsn;
        char what[CARE_TEXT_BYTES];
    } verdict;
    bool fit_changed[REPL_SITES_MAX];
    /* the thread's own */
    struct state_sums own;
    struct lsn applied_before;
    uint64_t compared_ms;
    /* the loop's own */
    struct state_sums scratch;
};

/* How many slots there are. The thread goes through all of them: those that no site has are not up. */
static inline uint8_t care_slots(void)
{
    return REPL_SITES_MAX;
}

/* ---- care.c, for the thread ---- */
uint8_t care_members(struct care *c);
/* Ask; the question's id is filled in. One at a time to a site. */
void care_ask(struct care *c, uint8_t site, struct care_message *question);
/* Wait for the answer: 0 with *m, views that live until the next question to that site; or an error, with who did not answer. */
int care_answer(struct care *c, uint8_t site, enum care_kind kind, uint64_t ms,
                struct care_message *m, struct err *e);
int care_call(struct care *c, uint8_t site, struct care_message *question, struct care_message *m,
              struct err *e);
/* Entries of that site's log, asked with one of the calls above. ERR_LIMIT: they have *used bytes, and do not fit. */
int care_entries(struct care *c, struct call *call, uint8_t site, struct lsn from, struct lsn to,
                 uint8_t *buf, size_t cap, size_t *used, size_t *count, struct err *e);
bool care_is_ending(struct care *c); /* stop or paused: leave everything */
void care_set_verdict(struct care *c, bool differs, struct lsn lsn, struct bytes what,
                      const char *who);

/* ---- care_repair.c ---- */
void care_repair(struct care *c); /* what is due */

/* ---- care_compare.c ---- */
void care_compare(struct care *c); /* at the primary, when it is time */
void care_serve_keys(struct care *c);

#endif
