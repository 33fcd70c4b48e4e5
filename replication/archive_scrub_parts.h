/* Inside of the archive's scrub: what archive_scrub.c and archive_scrub_place.c share. Not for others. */
#ifndef REPLICATION_ARCHIVE_SCRUB_PARTS_H
#define REPLICATION_ARCHIVE_SCRUB_PARTS_H

#include "replication/site_parts.h"
#include "replication/worker.h"

#include "repository/scrub.h"

enum {
    SCRUB_ARCHIVE = -1, /* in the place of a copy's number: the archive itself */
    SCRUB_NAMED = 3,    /* records that an event names; objects that trouble names */
};

/* Where the archive lies: the archive itself, or one of its copies. */
struct scrub_place {
    struct archive_scrub *scrub;
    int copy; /* its number in the configuration, or SCRUB_ARCHIVE */
    const char *where;
    char title[SITE_PATH_BYTES +
               16]; /* before what is told of it: "copy PLACE: "; empty: the archive itself */
    char file[REPO_LEDGER_FILE_BYTES];
    char path[SITE_PATH_BYTES + REPO_LEDGER_FILE_BYTES];
    struct { /* for status; under the scrub's lock */
        bool known;
        uint64_t objects, bytes, damaged, healed; /* in the ledger; read, healed since the start */
        struct utc oldest;                        /* verified then; 0: never */
        char named[SCRUB_NAMED][ERR_TEXT_BYTES];  /* what is damaged */
        char why[ERR_TEXT_BYTES];                 /* it cannot be read at all; empty: it can */
    } shown;
    /* the thread's own */
    struct repository *r;
    struct repo_ledger ledger;
    bool followed, changed, soon;
    uint64_t followed_ms, saved_ms, round_ms, retry_ms;
    unsigned failures; /* to read it, one after the other */
    uint64_t turns;    /* of its copying, when it was listed */
};

struct archive_scrub {
    struct site *site;
    struct worker worker;
    struct scrub_place at[1 + SITE_COPIES_MAX]; /* the first one is the archive itself */
    size_t n;
    /* the thread's own */
    size_t turn; /* whose it is */
    uint64_t object_bytes, unpaid_bytes;
};

/* ---- archive_scrub.c ---- */
/* An object is about to be read; so much of it was read by now: rests as the budget wants it. */
void archive_scrub_begin(struct archive_scrub *c);
void archive_scrub_read(struct scrub_place *p, uint64_t bytes);
bool archive_scrub_stopped(struct archive_scrub *c);

/* ---- archive_scrub_place.c ---- */
/* ERR_NO_MEMORY, ERR_IO; a damaged ledger is told, and begun anew. */
int scrub_place_init(struct scrub_place *p, struct archive_scrub *c, int copy, struct err *e);
void scrub_place_deinit(struct scrub_place *p);
/* Look at the object whose turn it is. False: none is due there, or the place cannot be read now. */
bool scrub_place_step(struct scrub_place *p);
/* What was verified since it was saved last, at the end. */
void scrub_place_save(struct scrub_place *p);

#endif
