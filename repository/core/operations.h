/* What was done with an archive, one leaf of its operations log for each: packs sealed, snapshots taken, keys rotated, objects
 * verified, healed, held and disposed of, drills. From all of them, in order, follows what must be there.
 *
 * FORMAT of a leaf: one JSON object in ASCII without blanks and line end. Members in this order, each left out when it says
 * nothing (0, empty, not known), but the first three, which are always there:
 *
 *   op         "pack", "snapshot", "rotate", "retire", "verify", "drill", "heal", "hold", "release", "dispose"
 *   id         16 hex digits, drawn at random
 *   time_us    when it was recorded
 *   tree_size, tree_root   entries in the newest checkpoint of the archive's tree that was published then, and its root (hex)
 *   object     name of a file of the archive, with its folder
 *   bytes, sha256          of that object as it lies there
 *   first, last            lsns that it is about
 *   generation             of keys
 *   checked, damaged       how many objects were looked at; how many were damaged
 *   detail     a word or a few, printable ASCII without " and \: the level of a verification, what a drill was, ...
 *   reference  SHA-256 of what is kept elsewhere (a certificate, a report): a leaf holds nothing confidential
 *   mended     true: the object was there already when the site began to record, and its leaf was missing
 *
 * There is one way to write a leaf, and the reader takes no other. Pure; nothing is kept but what the caller holds. */
#ifndef REPOSITORY_CORE_OPERATIONS_H
#define REPOSITORY_CORE_OPERATIONS_H

#include "repository/core/names.h"
#include "store/core/bytes.h"
#include "store/core/err.h"

enum operation_kind {
    OPERATION_PACK = 1, /* sealed: object, bytes, sha256, first, last */
    OPERATION_SNAPSHOT, /* taken: object, bytes, sha256, last */
    OPERATION_ROTATE,   /* a generation of keys; detail "begun" or "finished" */
    OPERATION_RETIRE,   /* a generation of keys was given up */
    OPERATION_VERIFY,   /* checked, damaged; detail: the level */
    OPERATION_DRILL,    /* a restore was tried */
    OPERATION_HEAL, /* what was damaged or missing was put back: how many; with `object`: made again */
    OPERATION_HOLD, /* came into force: detail names the warrant, reference is its file's, last the entry that logged it */
    OPERATION_RELEASE, /* of a hold: the same; detail names the hold's warrant, too */
    OPERATION_DISPOSE, /* on purpose: with `object`, that object need not be there any more */
};
const char *operation_name(enum operation_kind kind);

enum {
    OPERATION_DETAIL_BYTES = 96, /* with the NUL */
    OPERATION_MAX_BYTES = 1024,  /* of a leaf */
};

struct operation {
    enum operation_kind kind;
    uint64_t id;
    struct utc time;
    uint64_t tree_size; /* 0: nothing was signed, or it is not known */
    struct sha256 tree_root;
    char object[REPO_NAME_BYTES]; /* empty: none */
    uint64_t bytes;               /* 0: not known, and sha256 is not either */
    struct sha256 sha256;
    struct lsn first, last;
    unsigned generation;
    uint64_t checked, damaged;
    char detail[OPERATION_DETAIL_BYTES];
    bool has_reference;
    struct sha256 reference;
    bool mended;
};

/* Append the leaf to `w` (at most OPERATION_MAX_BYTES). ERR_USAGE when it says what no leaf can say, or lacks what its kind
 * must say; then nothing is written that could be used. */
int operation_write(struct writer *w, const struct operation *o, struct err *e);
/* ERR_FORMAT, with the byte, unless operation_write gives exactly this. */
int operation_read(struct bytes leaf, struct operation *out, struct err *e);

/* ---- what must be there ---- */

struct operation_object {
    char name[REPO_NAME_BYTES];
    uint64_t bytes;
    struct sha256 sha256;
    bool disposed, healed; /* it need not be there; healed: another pack has its entries */
};
/* Sorted by name. Memory is the caller's: room for `cap`. */
struct operation_inventory {
    struct operation_object *at;
    size_t n, cap;
    uint64_t tree_size; /* of the newest leaf that names one */
    struct sha256 tree_root;
};
/* The next leaf, in the order of the log. ERR_LIMIT when there is no room: give more and call again. ERR_INTEGRITY when it
 * contradicts those before: an object is named twice with other bytes, or disposed of and never named, or healed and no other
 * pack has its entries; or the tree shrank. */
int operation_replay(struct operation_inventory *inv, const struct operation *o, struct err *e);
/* NULL: no leaf names it. */
const struct operation_object *operation_find(const struct operation_inventory *inv,
                                              const char *name);

#endif
