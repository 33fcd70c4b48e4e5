#include "store/core/txn.h"

static bool holds(const struct condition *c, const struct fact *f)
{
    switch (c->kind) {
    case COND_ABSENT:
        return !f->exists;
    case COND_EXISTS:
        return f->exists;
    case COND_VERSION:
        return f->exists && f->version.v == c->version.v;
    }
    return false;
}

int txn_decide(const struct condition *conditions, const struct fact *facts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!holds(&conditions[i], &facts[i]))
            return (int)i;
    return TXN_HOLDS;
}
