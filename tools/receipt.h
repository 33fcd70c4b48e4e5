/* Receipts of transactions, from the archive's site. */
#ifndef TOOLS_RECEIPT_H
#define TOOLS_RECEIPT_H

#include "tools/cli.h"

enum { RECEIPT_PATIENCE_MS = 120000 };

#define RECEIPT_OPTION(type)                                                                       \
    {                                                                                              \
        "receipt", 0, OPTION_TEXT, offsetof(type, receipt), "FILE", NULL,                          \
            "wait until the archive's site has signed a history that holds the transaction and "   \
            "the "                                                                                 \
            "other sites have cosigned it, and write the proof to the new FILE"                    \
    }

/* Before the transaction: FILE can be written. NULL: no receipt is wanted. ERR_EXISTS. */
int receipt_check(const char *file, struct err *e);
/* Wait for the receipt of transaction `lsn`, for patience_ms at most, saying what is waited for, and write it. cosigners: how
 * many are enough; below 0: all data sites. ERR_FAILED: what it still lacked. */
int receipt_write(const struct common *c, uint64_t lsn, int64_t cosigners, const char *file,
                  uint64_t patience_ms, struct err *e);

#endif
