/* What a failover to a site would lose, and whether it may be ordered: from what the sites that answer say. Pure but for
 * memory. */
#ifndef TOOLS_FORECAST_H
#define TOOLS_FORECAST_H

#include "tools/admin.h"

enum forecast_loss {
    FORECAST_NOTHING = 1,    /* of what was ever acknowledged */
    FORECAST_UNACKNOWLEDGED, /* `from` to `to` are undone, and nobody was told of them */
    FORECAST_LOCAL, /* `from` to `to` may have been acknowledged at local, and what came after them */
    FORECAST_UNKNOWN, /* `why` */
};

struct forecast {
    char site[64];      /* that is to become primary */
    uint64_t site_last; /* end of its log */
    char primary[64];   /* the last one that was heard; "": none is known */
    uint64_t term, heard_ms, heard_last, heard_commit; /* of it, as it was heard by `heard_by` */
    char heard_by[64];
    uint64_t lease_ms;
    char ahead[64]; /* the site whose log goes furthest; its entries are fetched first */
    uint64_t end;   /* and where that is: the new term begins behind it */
    uint32_t reached, members;
    const char *mode; /* "majority", "local", or NULL: not known */
    enum forecast_loss loss;
    uint64_t from, to;
    char why[200];
};

/* 0; or why it must not be ordered, with what to do instead: ERR_NOT_FOUND, ERR_UNREACHABLE (the site, or a majority),
 * ERR_USAGE (it is primary, or never becomes it), ERR_FAILED (it may not stand now), ERR_CONDITION (the primary is alive, and
 * `depose` is not given), ERR_INTEGRITY (what was committed is at no site that answers). *out is filled as far as it goes. */
int forecast_make(const struct views *views, const char *site, bool depose, struct forecast *out,
                  struct err *e);
/* The same for a site that goes on alone, because all others that vote are lost (replication/core/repl_solo.c); *status is what
 * it says of itself, a part of `views`. ERR_CONDITION: one that would be lost lives, or was heard just now. */
int forecast_make_alone(const struct views *views, const char *site, struct forecast *out,
                        const json_t **status, struct err *e);
/* Is this one of those that would be lost? */
bool forecast_row_is_lost(const json_t *status, const json_t *row);
json_t *forecast_as_json(const struct forecast *f);
/* Some lines for people. */
void forecast_print(FILE *out, const struct forecast *f);

/* What was really lost, when the new term begins at `lsn`: how many entries the former primary is known to have had beyond. */
uint64_t forecast_lost(const struct forecast *f, uint64_t lsn);

#endif
