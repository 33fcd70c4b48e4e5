/* txn: an atomic list of conditions, puts and deletes from a small text or JSON. */
#include "tools/commands.h"

#include "tools/connect.h"
#include "tools/files.h"
#include "tools/receipt.h"
#include "tools/record.h"
#include "tools/txn_text.h"

#include <stdlib.h>

struct txn_options {
    struct common common;
    const char *key;
    const char *receipt;
    bool check;
};
static const struct option txn_table[] = {
    {"dry-run", 0, OPTION_FLAG, offsetof(struct txn_options, check), NULL, NULL,
     "read and check the text, commit nothing"},
    IDEMPOTENCY_KEY_OPTION(struct txn_options),
    RECEIPT_OPTION(struct txn_options),
    {0},
};

static int run_txn(struct invocation *in, struct err *e)
{
    struct txn_options *o = in->options;
    const char *file = in->count == 1 ? in->operands[0] : "-";
    uint8_t *text = NULL;
    size_t n = 0;
    struct tvn *db = NULL;
    struct tvn_txn *txn = tvn_txn_new();
    size_t steps = 0;
    int rc = txn == NULL ? err_set(e, ERR_NO_MEMORY, "no memory")
                         : file_read(file, TXN_TEXT_MAX_BYTES, &text, &n, e);
    if (rc == 0)
        rc = txn_text_parse(file, bytes_of(text, n), txn, &steps, e);
    if (rc == 0 && o->check)
        say("%zu steps are well formed; nothing was committed", steps);
    else if (rc == 0 && (rc = connect_open(&o->common, &db, e)) == 0)
        rc = commit_and_print(in, db, txn, o->key, o->receipt, e);
    (void)tvn_close(db);
    tvn_txn_free(txn);
    free(text);
    return rc;
}

const struct command command_txn = {
    .name = "txn",
    .group = "Records",
    .purpose = "commit several changes and conditions together",
    .operands = "[FILE|-]",
    .least = 0,
    .most = 1,
    .options_bytes = sizeof(struct txn_options),
    .tables = {txn_table, ack_options, output_options, connection_options},
    .about =
        "All conditions hold and all changes happen, or nothing does. One step in a line; KEY may "
        "be quoted as a JSON string;\n"
        "VALUE is the rest of the line; empty lines and lines that begin with # are skipped:\n"
        "\n"
        "  put COLLECTION KEY VALUE\n"
        "  del COLLECTION KEY\n"
        "  if-absent COLLECTION KEY\n"
        "  if-exists COLLECTION KEY\n"
        "  if-version COLLECTION KEY LSN\n"
        "\n"
        "Text that begins with [ is JSON. A value that is a string stands for its text, "
        "{\"base64\": \"...\"} for bytes, any\n"
        "other JSON for itself, byte for byte:\n"
        "\n"
        "  [{\"op\": \"if-absent\", \"collection\": \"titles\", \"key\": \"AB-12\"},\n"
        "   {\"op\": \"put\", \"collection\": \"titles\", \"key\": \"AB-12\", \"value\": "
        "{\"owner\": \"Asha\"}},\n"
        "   {\"op\": \"if-version\", \"collection\": \"titles\", \"key\": \"AB-13\", \"lsn\": 42}]",
    .examples = {{"move a title, if nobody changed it since lsn 42",
                  "printf 'if-version titles AB-12 42\\nput titles AB-12 {\"owner\":\"Ravi\"}\\n' "
                  "| triveni txn"},
                 {"from a file", "triveni txn transfer.json -o json"}},
    .exits = "456789",
    .run = run_txn,
};
