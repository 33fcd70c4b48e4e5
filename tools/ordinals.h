/* A set of numbers from 1 on as text: "1-200,203,205-900". Pure but for memory. */
#ifndef TOOLS_ORDINALS_H
#define TOOLS_ORDINALS_H

#include "store/core/bytes.h"
#include "store/core/err.h"

struct ordinals_range {
    uint64_t first, last;
};

/* All zero: empty. Ranges ascend, and neither touch nor overlap. */
struct ordinals {
    struct ordinals_range *ranges;
    size_t count, capacity;
};

bool ordinals_has(const struct ordinals *o, uint64_t n);
int ordinals_add(struct ordinals *o, uint64_t n, struct err *e); /* 0 or ERR_NO_MEMORY */
/* malloc'ed text, "" for none; NULL: no memory. */
char *ordinals_text(const struct ordinals *o);
/* Replaces what is in it. 0, ERR_FORMAT, ERR_NO_MEMORY. */
int ordinals_read(struct ordinals *o, const char *text, struct err *e);
void ordinals_free(struct ordinals *o);

#endif
