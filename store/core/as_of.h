/* Which past to read: the records as they were after the entry of an lsn, or after all entries up to a time. */
#ifndef STORE_CORE_AS_OF_H
#define STORE_CORE_AS_OF_H

#include <stdint.h>

enum as_of_kind { AS_OF_NONE = 0, AS_OF_LSN = 1, AS_OF_TIME = 2 };
struct as_of {
    enum as_of_kind kind;
    uint64_t value; /* lsn, or microseconds since 1970; 0 for the present */
};

#endif
