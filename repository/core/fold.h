/* Folding a log: of all that entries did to a record only the newest effect is left.
 *
 * Effects come sorted by (collection, key), of one record the newest first; so they come from a merge of sorted runs. The
 * fold takes them one by one and gives one record for each key that is there at the end. Besides, it knows what the
 * state's digest was at one earlier lsn, the boundary: for the entries behind it the newest effect up to it must come,
 * too. That way a state can be held against the last digest that somebody signed, though none was signed for exactly the
 * lsn that is wanted. */
#ifndef REPOSITORY_CORE_FOLD_H
#define REPOSITORY_CORE_FOLD_H

#include "store/core/body.h"
#include "store/core/digest.h"

struct repo_effect {
    struct bytes collection, key;
    struct bytes value; /* empty for a delete */
    struct lsn lsn;
    struct utc time;
    bool put; /* else a delete */
};

/* Order of a run: by collection and key in memcmp order, of one record the newest first. */
int repo_effect_compare(const struct repo_effect *a, const struct repo_effect *b);

/* Which effects of one record a run must keep: the newest, and the newest up to the boundary. Zero at each new record. */
struct repo_keep {
    bool newest, bounded;
};
static inline bool repo_keep(struct repo_keep *k, struct lsn lsn, struct lsn boundary)
{
    const bool wanted = !k->newest || (!k->bounded && lsn.v <= boundary.v);
    k->newest = true;
    k->bounded |= lsn.v <= boundary.v;
    return wanted;
}

/* ---- rows of a run ---- */
/* FORMAT: put u8 (1, 0: delete), lsn u64, time u64, collection str16, key str16, value str32 (empty for a delete) */
enum { REPO_EFFECT_HEAD_MAX_BYTES = 1 + 8 + 8 + 2 + COLLECTION_MAX_BYTES + 2 + KEY_MAX_BYTES + 4 };
/* All but the value's bytes, which follow as they are. */
void repo_effect_write(struct writer *w, const struct repo_effect *x);
/* Views into the input. ERR_FORMAT when it is none. */
int repo_effect_read(struct reader *in, struct repo_effect *out, struct err *e);

/* ---- merging ---- */
/* A heap of runs by their next effect; `heads` (n of them) and `order` are the caller's, and live as long as the merge. */
struct repo_merge {
    const struct repo_effect *heads;
    uint32_t *order;
    uint32_t n;
};
void repo_merge_begin(struct repo_merge *m, const struct repo_effect *heads, uint32_t *order,
                      uint32_t n);
/* The run whose next effect comes first; call only while m->n != 0. */
static inline uint32_t repo_merge_first(const struct repo_merge *m)
{
    return m->order[0];
}
/* heads[repo_merge_first()] was replaced by that run's next effect, or the run is at its end. */
void repo_merge_next(struct repo_merge *m, bool ended);

/* ---- the fold ---- */
struct repo_fold {
    struct lsn boundary;                                /* 0: none */
    int (*each)(void *arg, const struct repo_effect *); /* a record that is there at the end */
    void *arg;

    uint64_t records;
    struct digest digest;  /* of them */
    struct digest bounded; /* of the records as they were at the boundary */

    /* the record at hand: views, which the caller keeps valid until the next repo_fold_take() or repo_fold_end() has returned */
    bool any;
    struct repo_effect newest;
    struct repo_keep keep;
};
/* The next effect. 0, or what `each` returned for the record before. */
int repo_fold_take(struct repo_fold *f, const struct repo_effect *x);
/* There are no more effects of the record at hand. */
int repo_fold_end(struct repo_fold *f);

#endif
