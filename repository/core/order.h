/* The order of two operators by which something was disposed of: which warrant, and where it stands in the log. */
#ifndef REPOSITORY_CORE_ORDER_H
#define REPOSITORY_CORE_ORDER_H

#include "store/core/ids.h"

enum { REPOSITORY_NONCE_BYTES = 16 };

struct repository_order {
    uint8_t nonce[REPOSITORY_NONCE_BYTES]; /* of the warrant */
    struct lsn lsn;                        /* of the entry that logged it */
    struct utc time;                       /* of that entry */
    struct sha256 warrant;                 /* SHA-256 of the file that both signed */
};

#endif
