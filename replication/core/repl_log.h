/* What the protocol remembers of the log: where each term begins, the end, how far it is durable, and the header hashes
 * of the newest entries. Fixed size: old term changes and old hashes are forgotten, and "unknown" is an answer. */
#ifndef REPLICATION_CORE_REPL_LOG_H
#define REPLICATION_CORE_REPL_LOG_H

#include "replication/core/repl.h"

enum { REPL_HASHES = 1024 }; /* of what may be in flight at once; a power of two */

struct repl_log {
    struct lsn last;
    struct term last_term;
    struct lsn durable;
    uint32_t run_count;
    struct repl_run runs[REPL_RUNS_MAX];
    struct lsn hashed_from, hashed_to; /* hashes of these are known; from > to: of none */
    struct sha256 hashes[REPL_HASHES];
};

void repl_log_init(struct repl_log *l, const struct repl_start *start);
/* `hash` NULL: not sealed yet, repl_log_sealed tells it. Requires lsn = last + 1 and a term not below the last. */
void repl_log_append(struct repl_log *l, struct lsn lsn, struct term term,
                     const struct sha256 *hash);
void repl_log_sealed(struct repl_log *l, struct lsn lsn, const struct sha256 *hash);
void repl_log_truncate(struct repl_log *l, struct lsn last);
/* Term of the entry at lsn; zero for lsn 0, for what was forgotten and for what is beyond the end. */
struct term repl_log_term(const struct repl_log *l, struct lsn lsn);
/* NULL when it is not known. */
const struct sha256 *repl_log_hash(const struct repl_log *l, struct lsn lsn);
/* Highest position at or below lsn whose term is at or below `term`; lsn 0 when all known ones are above. The step back
 * over a whole term at once that Raft's thesis, section 3.5, proposes for conflicts. */
struct lsn repl_log_floor(const struct repl_log *l, struct lsn lsn, struct term term);

#endif
