#include "store/finding.h"

#include "store/core/check.h"

const char *finding_kind_name(enum finding_kind kind)
{
    static const char *const names[FINDING_KINDS] = {"note", "segment", "batch", "record",
                                                     "row",  "page",    "sum",   "checkpoint",
                                                     "vote", "identity"};
    check((unsigned)kind < FINDING_KINDS);
    return names[kind];
}
