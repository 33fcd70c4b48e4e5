/* Write a record, read it back, change two records at once.
 *
 *     hello 'triveni://dc:7400,dr:7400,gsr:7400/?id=UUID&ca=ca.crt&cert=app.crt&key=app.key' */
#include "client/triveni.h"

#include <inttypes.h>
#include <stdio.h>

static int failed(const char *what, const struct tvn_error *error)
{
    fprintf(stderr, "%s: %s (%s)\n", what, error->text, tvn_code_name(error->code));
    if (error->outcome == TVN_UNKNOWN)
        fprintf(stderr, "it may have taken effect: ask tvn_outcome() before doing it again\n");
    return tvn_exit_code(error->code);
}

static int greet(struct tvn *db)
{
    struct tvn_error error;
    struct tvn_result result;
    struct tvn_records *found;

    if (tvn_put(db, "greetings", tvn_str("en"), tvn_str("{\"text\":\"hello\"}"), &result, &error) !=
        0)
        return failed("put", &error);
    printf("written as transaction %" PRIu64 "\n", result.lsn);

    if (tvn_get(db, "greetings", tvn_str("en"), NULL, &found, &error) != 0)
        return failed("get", &error);
    const struct tvn_record *record = &found->records[0];
    printf("%.*s, version %" PRIu64 "\n", (int)record->value.size, (const char *)record->value.data,
           record->lsn);
    uint64_t version = record->lsn;
    tvn_records_free(found);

    /* Both or neither, and only if nobody has changed the greeting meanwhile; on the disks of two sites. */
    struct tvn_txn *txn = tvn_txn_new();
    if (txn == NULL)
        return 1;
    tvn_txn_if_version(txn, "greetings", tvn_str("en"), version);
    tvn_txn_put(txn, "greetings", tvn_str("mr"), tvn_str("{\"text\":\"namaskar\"}"));
    tvn_txn_del(txn, "greetings", tvn_str("en"));
    tvn_txn_set(txn, TVN_ACK_MAJORITY, 0);
    int rc = tvn_txn_commit(db, txn, &result, &error);
    tvn_txn_free(txn);
    if (rc != 0)
        return failed("commit", &error);
    printf("replaced in transaction %" PRIu64 "\n", result.lsn);
    return 0;
}

int main(int argc, char **argv)
{
    struct tvn *db;
    struct tvn_error error;
    if (argc != 2) {
        fprintf(stderr, "usage: %s URI\n", argv[0]);
        return 2;
    }
    if (tvn_open(argv[1], NULL, &db, &error) != 0)
        return failed("open", &error);
    int rc = greet(db);
    tvn_close(db);
    return rc;
}
