/* Something that a check of stored bytes found: what, where, and why it is taken for damage. */
#ifndef STORE_FINDING_H
#define STORE_FINDING_H

#include "store/core/bytes.h"

enum finding_kind {
    FINDING_NOTE,       /* no damage, but worth knowing: a torn tail, a file set aside */
    FINDING_SEGMENT,    /* header of a log segment, or the whole file */
    FINDING_BATCH,      /* a place in a log segment: entries `from` to `to` are lost there */
    FINDING_RECORD,     /* a record: `collection` and `key` */
    FINDING_ROW,        /* another row of the state: `collection` is the database, `key` the key */
    FINDING_PAGE,       /* a page of data.mdb */
    FINDING_SUM,        /* records and what was counted of them differ */
    FINDING_CHECKPOINT, /* a slot of the checkpoint file, or the file */
    FINDING_VOTE,       /* a slot of the vote file, or the file */
    FINDING_IDENTITY,   /* site.json */
    FINDING_KINDS,
};
/* Stable names, for programs: "note", "segment", ... */
const char *finding_kind_name(enum finding_kind kind);

struct finding {
    enum finding_kind kind;
    const char *file;             /* name in the directory that was checked */
    uint64_t offset;              /* byte in it */
    struct lsn from, to;          /* entries concerned; 0: unknown, or none */
    struct bytes collection, key; /* as found; empty: none */
    const char *text;
};

/* Who hears of findings; everything in them is valid during the call only. */
struct finding_sink {
    void (*found)(void *arg, const struct finding *f);
    void (*progress)(void *arg, uint64_t bytes); /* bytes read since the last call; may be NULL */
    void *arg;
};

#endif
