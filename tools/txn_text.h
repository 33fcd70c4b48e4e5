/* The text of `triveni txn` -> a transaction. */
#ifndef TOOLS_TXN_TEXT_H
#define TOOLS_TXN_TEXT_H

#include "client/triveni.h"
#include "store/core/bytes.h"
#include "store/core/err.h"

enum { TXN_TEXT_MAX_BYTES = 64 << 20 };

/* Add the steps of the text (lines, or a JSON array) to `txn`, *steps tells how many; the form is explained by `triveni help
 * txn`. ERR_USAGE with "file:line: what" or "file: step N: what". */
int txn_text_parse(const char *file, struct bytes text, struct tvn_txn *txn, size_t *steps,
                   struct err *e);

#endif
