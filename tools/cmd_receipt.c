/* receipt: a proof of one transaction, whole, from the archive's site. */
#include "tools/commands.h"

#include "tools/receipt.h"

#include <stdio.h>

struct receipt_options {
    struct common common;
    const char *to;
    struct option_number cosigners, wait;
};
#define AT(member) offsetof(struct receipt_options, member)
static const struct option receipt_table[] = {
    {"to", 0, OPTION_TEXT, AT(to), "FILE", NULL, "new file for the receipt (required)"},
    {"cosigners", 0, OPTION_NUMBER, AT(cosigners), "N", NULL,
     "so many cosignatures are enough (default: of all data sites)"},
    {"wait", 0, OPTION_DURATION, AT(wait), "TIME", NULL, "wait so long at most (default: 2m)"},
    {0},
};
#undef AT

static int run_receipt(struct invocation *in, struct err *e)
{
    const struct receipt_options *o = in->options;
    uint64_t lsn;
    int rc = parse_number("LSN", in->operands[0], INT64_MAX, &lsn, e);
    if (rc == 0 && o->to == NULL)
        rc = err_set(e, ERR_USAGE, "--to is needed");
    if (rc == 0)
        rc = receipt_check(o->to, e);
    return rc != 0
               ? rc
               : receipt_write(&o->common, lsn, o->cosigners.given ? (int64_t)o->cosigners.v : -1,
                               o->to, o->wait.given ? o->wait.v : RECEIPT_PATIENCE_MS, e);
}

const struct command command_receipt = {
    .name = "receipt",
    .group = "Records",
    .purpose = "write a proof that a transaction is in the signed history",
    .operands = "LSN",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct receipt_options),
    .tables = {receipt_table, output_options, connection_options},
    .about =
        "LSN is what put, del and txn print. The receipt is a tlog-proof file (c2sp.org) that "
        "'triveni verify-proof' checks offline: the transaction whole, the path to the root of "
        "the tree, and the checkpoint with its signatures. It takes until the transaction is "
        "archived: pack_seconds of the archive's site, and a second. With put, del and txn, "
        "--receipt FILE does the same.",
    .examples = {{"of an earlier transaction", "triveni receipt 4711 --to 4711.tlog-proof"},
                 {"with one site away", "triveni receipt 4711 --to 4711.tlog-proof --cosigners 1"}},
    .exits = "3468",
    .run = run_receipt,
};
