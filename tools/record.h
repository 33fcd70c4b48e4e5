/* Records and results of transactions as people and programs read them. */
#ifndef TOOLS_RECORD_H
#define TOOLS_RECORD_H

#include "client/triveni.h"
#include "store/core/bytes.h"
#include "tools/cli.h"

#include <stdio.h>

struct shown_record {
    struct bytes collection, key, value;
    uint64_t lsn, time_us;
    struct bytes token; /* of a scan by an index; empty: none */
};

static inline struct bytes from_tvn(struct tvn_bytes b)
{
    return bytes_of(b.data, b.size);
}

/* One line: {"collection":..,"key":..,"lsn":..,"time":..,"value":..}, with a token also "token":"<hex>". Equal records give equal
 * bytes. */
void record_json(FILE *f, const struct shown_record *r);

/* Commit, with the idempotency key if there is one, and print the result in the command's format. An unknown outcome says how to
 * ask for it. */
int commit_and_print(struct invocation *in, struct tvn *db, struct tvn_txn *txn,
                     const char *idempotency_key, const char *receipt, struct err *e);
#define IDEMPOTENCY_KEY_OPTION(type)                                                               \
    {                                                                                              \
        "idempotency-key", 0, OPTION_TEXT, offsetof(type, key), "TEXT", NULL,                      \
            "name of the transaction, up to 64 bytes: with one TEXT it takes effect at most once"  \
    }
void print_result(const struct common *c, const struct tvn_result *r);

/* Operand -> key or value: as it is, or (base64) decoded in place. */
int operand_bytes(char *text, bool base64, struct tvn_bytes *out, struct err *e);

/* --as-of: digits are an lsn, anything else is a time (utc_parse), which needs its offset. NULL: the present. */
int as_of_parse(const char *text, struct tvn_read *how, struct err *e);
/* What a command that takes --as-of says of it, and of --standby, on stderr. */
void say_as_of(const struct common *c, const char *as_of, uint64_t lsn, uint64_t age_us);
#define AS_OF_OPTION(type)                                                                         \
    {                                                                                              \
        "as-of", 0, OPTION_TEXT, offsetof(type, as_of), "LSN|TIME", NULL,                          \
            "as it was after transaction LSN, or at TIME (with its offset: "                       \
            "2026-11-24T08:48:21+05:30)"                                                           \
    }

#endif
