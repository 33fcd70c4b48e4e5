/* Term runs and recent hashes of the log.
 *
 * A log of millions of entries has a handful of terms, so the core keeps runs (term, first lsn) instead of entries, and
 * the hashes of the newest REPL_HASHES entries in a ring indexed by lsn. Everything that log matching and acknowledgements ask is
 * answered from these two.
 *
 * INVARIANTS
 *   L1  runs are strictly ascending in term and in lsn; the last run's term is last_term while the log is not empty.
 *   L2  durable <= last.
 *   L3  hashes of hashed_from..hashed_to are exact; hashed_to <= last, and differs from it only between APPEND_OWN and its
 *       APPENDED. */
#include "replication/core/repl_log.h"

#include "store/core/check.h"

_Static_assert((REPL_HASHES & (REPL_HASHES - 1)) == 0,
               "the ring is indexed by the low bits of the lsn");

static struct sha256 *slot(struct repl_log *l, struct lsn lsn)
{
    return &l->hashes[lsn.v & (REPL_HASHES - 1)];
}

void repl_log_init(struct repl_log *l, const struct repl_start *start)
{
    l->last = start->last.lsn;
    l->last_term = start->last.term;
    l->durable = start->last.lsn;
    l->run_count = 0;
    uint32_t from = start->run_count > REPL_RUNS_MAX ? start->run_count - REPL_RUNS_MAX : 0;
    for (uint32_t i = from; i < start->run_count; i++)
        l->runs[l->run_count++] = start->runs[i];
    /* A log that begins after a restored state has no run of its own for its starting position. */
    if (l->run_count == 0 && l->last.v > 0)
        l->runs[l->run_count++] = (struct repl_run){l->last_term, l->last};
    check(l->run_count == 0 || l->runs[l->run_count - 1].term.v == l->last_term.v);
    l->hashed_from = l->hashed_to = l->last;
    *slot(l, l->last) = start->last.hash;
}

static void hash_known(struct repl_log *l, struct lsn lsn, const struct sha256 *hash)
{
    *slot(l, lsn) = *hash;
    l->hashed_to = lsn;
    if (lsn.v - l->hashed_from.v >= REPL_HASHES)
        l->hashed_from.v = lsn.v - REPL_HASHES + 1;
}

void repl_log_append(struct repl_log *l, struct lsn lsn, struct term term,
                     const struct sha256 *hash)
{
    check(lsn.v == l->last.v + 1 && term.v >= l->last_term.v);
    if (l->run_count == 0 || l->runs[l->run_count - 1].term.v < term.v) {
        if (l->run_count == REPL_RUNS_MAX) {
            memmove(l->runs, l->runs + 1, (REPL_RUNS_MAX - 1) * sizeof l->runs[0]);
            l->run_count--;
        }
        l->runs[l->run_count++] = (struct repl_run){term, lsn};
    }
    l->last = lsn;
    l->last_term = term;
    if (hash != NULL)
        repl_log_sealed(l, lsn, hash);
}

void repl_log_sealed(struct repl_log *l, struct lsn lsn, const struct sha256 *hash)
{
    if (lsn.v == 0 || lsn.v > l->last.v)
        return; /* cut in the meantime */
    if (lsn.v != l->hashed_to.v + 1)
        l->hashed_from = lsn; /* one was never told: the known range begins anew */
    hash_known(l, lsn, hash);
}

void repl_log_truncate(struct repl_log *l, struct lsn last)
{
    check(last.v <= l->last.v);
    while (l->run_count > 0 && l->runs[l->run_count - 1].from.v > last.v)
        l->run_count--;
    l->last = last;
    l->last_term = l->run_count > 0 ? l->runs[l->run_count - 1].term : (struct term){0};
    if (l->durable.v > last.v)
        l->durable = last;
    if (l->hashed_to.v > last.v)
        l->hashed_to = last;
    if (l->hashed_from.v > last.v)
        l->hashed_from.v = last.v + 1;
}

struct term repl_log_term(const struct repl_log *l, struct lsn lsn)
{
    if (lsn.v == 0 || lsn.v > l->last.v)
        return (struct term){0};
    for (uint32_t i = l->run_count; i-- > 0;)
        if (l->runs[i].from.v <= lsn.v)
            return l->runs[i].term;
    return (struct term){0};
}

const struct sha256 *repl_log_hash(const struct repl_log *l, struct lsn lsn)
{
    if (lsn.v < l->hashed_from.v || lsn.v > l->hashed_to.v)
        return NULL;
    return &l->hashes[lsn.v & (REPL_HASHES - 1)];
}

struct lsn repl_log_floor(const struct repl_log *l, struct lsn lsn, struct term term)
{
    if (lsn.v > l->last.v)
        lsn = l->last;
    for (uint32_t i = l->run_count; i-- > 0;) {
        if (l->runs[i].from.v > lsn.v)
            continue;
        if (l->runs[i].term.v <= term.v)
            return lsn;
        lsn.v = l->runs[i].from.v - 1;
    }
    return (struct lsn){0};
}
