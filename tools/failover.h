/* What the two kinds of failover share. */
#ifndef TOOLS_FAILOVER_H
#define TOOLS_FAILOVER_H

#include "tools/forecast.h"

struct failover_options {
    struct common common;
    const char *site, *ask, *warrant;
    struct option_number valid;
    bool yes, dry_run, depose, solo;
};

/* Before: to the operator, or as the answer of --dry-run. */
void failover_foretell(const struct failover_options *o, const struct forecast *f);
/* Afterwards. */
int failover_tell(const struct failover_options *o, const struct forecast *f, json_t *reply,
                  struct err *e);
/* --solo (cmd_failover_solo.c) */
int failover_solo(const struct failover_options *o, struct err *e);

#endif
