/* The operations log of an archive: what was done with it, signed by its site. What must be in the archive follows from it, and
 * not from what a listing shows. Leaves: repository/core/operations.h; files: docs/REPOSITORY-FORMAT.md.
 *
 * One process signs: the archive's site, which keeps the log beside the tree of entries (repository/proof.h), with the same
 * key. It names packs and snapshots by itself. Everybody else (a command beside the site) hands in what he did: durably,
 * sealed under the data key of a pack, and the site takes it into the log when it next publishes. */
#ifndef REPOSITORY_OPERATIONS_H
#define REPOSITORY_OPERATIONS_H

#include "repository/core/operations.h"
#include "repository/core/tlog_text.h"
#include "repository/repository.h"

/* Hand in an operation; the archive may be open for reading only. `id` and `time` are filled in here when they are zero; the
 * site adds the tree. When it returns 0, it is durable and counts: repository_operations_of and repository_verify read it.
 * ERR_USAGE: it says what no leaf can say, or is what the site finds itself: a pack, a snapshot, a hold, a release;
 * ERR_CONDITION: the archive holds no pack yet; ERR_IO, ERR_NO_SPACE. */
int repository_operations_add(struct repository *r, struct operation *o, struct err *e);

/* A hold, or the release of one, that came into force. */
struct repository_ordered {
    bool release;
    struct repository_order by;
    uint8_t ends[REPOSITORY_NONCE_BYTES]; /* of a release: the warrant of the hold that it ends */
};
struct repository_orders {
    struct repository_ordered *at; /* in the order of the log of entries */
    size_t n;
};
/* At the archive's site, after repository_tree_open: take into the log what it lacks (packs and snapshots that no leaf names,
 * what was handed in, and those of `orders` (may be NULL) that no leaf has), and sign it. Called by repository_tree_publish,
 * without orders, before a checkpoint of the entries is published, so that no entry is published whose pack the log does not
 * name. Nothing to do: 0. ERR_INTEGRITY: it is damaged, nothing is signed; ERR_IO after a failed sync: open the archive anew. */
int repository_operations_settle(struct repository *r, const struct repository_orders *orders,
                                 struct err *e);

/* Empty, or: the whole log was gone when it was read, though it had been signed before, and a new one is begun; with what to do.
 * As long as the archive is open. Its checkpoint alone is not gone but damaged: repository_operations_settle says so. */
const char *repository_operations_lost(const struct repository *r);
/* Leaves of the log as that last read or signed it; 0: neither yet, or an error since. */
uint64_t repository_operations_size(const struct repository *r);
/* Add the cosignature of a site (a line of a note, by the key `vkey`) to the checkpoint of `size` leaves, which is published with
 * it, and the key to those that are. A further one of the same key changes nothing. ERR_STALE: the log is of another size by now;
 * ERR_FORMAT, ERR_INTEGRITY: it is not the site's, or does not hold; ERR_IO as above. *time_s: when it was made. */
int repository_operations_cosigned(struct repository *r, const char *site, uint64_t size,
                                   struct bytes vkey, struct bytes line, uint64_t *time_s,
                                   struct err *e);
/* What a witness is asked with: the checkpoint as it is published in the archive in `dir`, of *size leaves, and the proof that it
 * continues the log of `from` leaves (of *size, when it is smaller), as the body of tlog-witness' add-checkpoint; *out is
 * allocated. `vkey`: of the key that signed it. Any thread, and without a KEK. ERR_NOT_FOUND, ERR_INTEGRITY. */
int repository_operations_proof(const char *dir, uint64_t from, char vkey[TLOG_VKEY_BYTES],
                                uint64_t *size, uint8_t **out, size_t *n, struct err *e);

struct operations_summary {
    uint64_t leaves;           /* in the signed log */
    uint64_t pending;          /* handed in, and not in it yet */
    char key[TLOG_VKEY_BYTES]; /* verifier key whose signature held */
};
/* Every leaf of the log in the directory (or bucket) `dir`, in order, after the signature of its checkpoint and all hashes
 * held. No KEK is needed. ERR_NOT_FOUND when there is no log, ERR_INTEGRITY. A non-zero result of `each` stops and is
 * returned. */
int repository_operations(const char *dir,
                          int (*each)(void *arg, uint64_t index, const struct operation *),
                          void *arg, struct operations_summary *out, struct err *e);
/* The same of an open archive, and then, with UINT64_MAX for the index, what was handed in and is not signed yet, after its
 * seal held. */
int repository_operations_of(struct repository *r,
                             int (*each)(void *arg, uint64_t index, const struct operation *),
                             void *arg, struct operations_summary *out, struct err *e);

#endif
