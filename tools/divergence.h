/* What the commands 'triveni divergence ...' share: the folder of the bundles, and the operations in one. */
#ifndef TOOLS_DIVERGENCE_H
#define TOOLS_DIVERGENCE_H

#include "client/triveni.h"
#include "replication/bundle.h"
#include "store/core/body.h"
#include "tools/cli.h"

/* Collection of what 'divergence apply' has done, a record for each bundle, keyed by its id. */
#define DIVERGENCE_APPLIED_COLLECTION "divergence-applied"

struct divergence_place {
    const char *config, *data_dir;
};

/* DATA/divergence. */
int divergence_dir(const struct divergence_place *p, char out[BUNDLE_PATH_BYTES], struct err *e);
/* DATA/divergence/NAME; ERR_USAGE when that is no name of a bundle. */
int divergence_path(const struct divergence_place *p, const char *name, char out[BUNDLE_PATH_BYTES],
                    struct err *e);

struct bundle_op {
    uint64_t number, lsn, term, time_us;
    struct bytes client;
    bool has_session;
    struct tvn_session_id session;
    uint64_t sequence;
    const char *acknowledged; /* "yes", "possible", "no" */
    enum op_kind kind;
    char collection[COLLECTION_MAX_BYTES + 1];
    struct bytes key, value;
    enum { OP_BASE_UNKNOWN, OP_BASE_ABSENT, OP_BASE_VERSION } base;
    uint64_t base_lsn;
    json_t *line; /* owned, with what the others point to */
    uint8_t *decoded[2];
};
/* Take the line; it is an operation: 1; an entry of another kind: 0, and *line stays the caller's; ERR_INTEGRITY. */
int bundle_op_read(json_t **line, struct bundle_op *out, struct err *e);
void bundle_op_free(struct bundle_op *op);

/* Ask the primary, as an operator, to log the decision; *by (the operator's name), *time_us and *lsn are of its entry. `counts`
 * is an object whose members go with it; its reference is taken. */
int divergence_sign(struct tvn *db, const char *decision, const char *name, const struct bundle *b,
                    const char *reason, json_t *counts, struct bundle_decision *out, struct err *e);
/* ERR_USAGE when the bundle is of another cluster than the one behind `db`. */
int divergence_same_cluster(struct tvn *db, const struct bundle *b, struct err *e);

#endif
