/* The past of records without a restore: their versions, as the packs have them, found through indexes of keys.
 *
 * An index says which entries wrote a record; what is answered is read from the entries themselves. So a lost or damaged index
 * costs time and never an answer: packs that no index covers are read through, as in an archive that an older program wrote.
 *
 * Threads: one thread uses a repository. */
#ifndef REPOSITORY_HISTORY_H
#define REPOSITORY_HISTORY_H

#include "repository/core/evidence.h"
#include "repository/repository.h"

/* ---- writing, at gsr; the archive thread ---- */

/* One portion of work on the indexes: cover packs that none covers yet (*more: some are left), merge small indexes into larger
 * ones, remove those that were merged ten minutes ago. ERR_INTEGRITY when a pack that is not covered is damaged; ERR_IO
 * after a failed sync: open the archive anew. */
int repository_index_extend(struct repository *r, bool *more, struct err *e);

/* Read every index whole and put aside those that are damaged, so that repository_index_extend makes them again. */
int repository_index_check(struct repository *r, struct err *e);

/* ---- reading ---- */

/* Take up what was archived since the archive was opened, or since the last call. Only for archives that are open for reading.
 * After an error the archive can only be closed. */
int repository_refresh(struct repository *r, struct err *e);

/* The one lsn that a target means: as restore does. *open_end: a time that the archive does not reach, so that later transactions
 * up to it may exist. ERR_NOT_FOUND, ERR_INTEGRITY as repository_plan. */
int repository_resolve(struct repository *r, const struct restore_target *target, struct lsn *out,
                       bool *open_end, struct err *e);

typedef void (*repository_progress_fn)(void *arg, uint64_t done_bytes, uint64_t total_bytes);

struct repository_query {
    struct bytes collection;
    struct bytes key; /* repository_history: the record; repository_changed: prefix of the keys */
    struct lsn from, to; /* entries with from <= lsn <= to */
    /* Told while packs are read that no index covers. NULL is taken. */
    repository_progress_fn progress;
    void *progress_arg;
    struct repository_gap *gap; /* NULL: what was disposed of is an error, ERR_NOT_FOUND */
};
/* Entries of the range that were disposed of (custody.h) and passed over: they may have written the record. Set by the call. */
struct repository_gap {
    struct lsn first, last; /* of the packs, the first and the last of them; 0: none was */
    struct err why;         /* of the last: by whose order */
};

/* Every entry that wrote or deleted the record, newest first, each with its last operation on it. What `each` gets is valid
 * during the call; its non-zero result ends it and is returned. ERR_NOT_FOUND when the archive does not reach `to`;
 * ERR_INTEGRITY when a damaged or missing pack holds a version, or could hold one. No version: 0. */
int repository_history(struct repository *r, const struct repository_query *q,
                       int (*each)(void *arg, const struct evidence *), void *arg, struct err *e);

/* The newest of them, copied to *entry (header and body; allocated). ERR_NOT_FOUND when there is none, or when entries behind
 * the one that would be it were disposed of; otherwise as above. */
int repository_find(struct repository *r, const struct repository_query *q, uint8_t **entry,
                    size_t *n, struct err *e);

/* The records that entries in the range wrote, in the order of their keys, each once, with the last of those lsns. As above. */
int repository_changed(struct repository *r, const struct repository_query *q,
                       int (*each)(void *arg, struct bytes key, struct lsn last), void *arg,
                       struct err *e);

#endif
