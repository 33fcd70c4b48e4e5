/* What a client asks: ops with conditions; and the pure decision whether they hold. */
#ifndef STORE_CORE_TXN_H
#define STORE_CORE_TXN_H

#include "store/core/body.h"

enum condition_kind {
    COND_ABSENT = 1,  /* the record is not there */
    COND_EXISTS = 2,  /* it is there */
    COND_VERSION = 3, /* its last change is exactly this lsn */
};

struct condition {
    enum condition_kind kind;
    struct bytes collection;
    struct bytes key;
    struct lsn version; /* COND_VERSION */
};

/* What the caller found for one condition's record, in the order of the conditions. */
struct fact {
    bool exists;
    struct lsn version; /* lsn of its last change when it exists */
};

enum { TXN_HOLDS = -1 };

/* TXN_HOLDS, or the index of the first condition that fails. Pure; facts has one element per condition. */
int txn_decide(const struct condition *conditions, const struct fact *facts, uint32_t n);

#endif
