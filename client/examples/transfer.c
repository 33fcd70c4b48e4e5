/* Move money between accounts, from several threads, so that it is neither lost nor made: read both accounts in one state,
 * write both under the condition that neither has changed, and begin again when one has. A failover in the middle is
 * waited out inside the library; when a deadline passes first, the outcome is asked for before anything is done again.
 *
 *     transfer URI [TRANSFERS]      the sum of all accounts is the same before and after */
#include "client/triveni.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ACCOUNTS = 8, THREADS = 4, START = 1000 };

struct worker {
    pthread_t thread;
    struct tvn *db;
    unsigned seed;
    long transfers, conflicts;
    int rc;
};

static void account_name(char name[16], unsigned i)
{
    (void)snprintf(name, 16, "account-%u", i);
}

static int failed(const char *what, const struct tvn_error *error)
{
    fprintf(stderr, "%s: %s (%s)\n", what, error->text, tvn_code_name(error->code));
    return tvn_exit_code(error->code);
}

static long amount_of(const struct tvn_record *record)
{
    char text[24] = "";
    if (record->value.size < sizeof text)
        memcpy(text, record->value.data, record->value.size);
    return strtol(text, NULL, 10);
}

static void put_amount(struct tvn_txn *txn, const char *name, long amount)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%ld", amount);
    tvn_txn_put(txn, "accounts", tvn_str(name), tvn_str(text));
}

/* 0: done; 1: somebody was faster; negative: an error. */
static int transfer(struct tvn *db, const char *from, const char *to, long amount)
{
    struct tvn_error error;
    struct tvn_result result;
    struct tvn_records *read;
    const struct tvn_key keys[] = {{"accounts", tvn_str(from)}, {"accounts", tvn_str(to)}};
    int rc = tvn_get_many(db, keys, 2, NULL, &read, &error);
    if (rc != 0)
        return failed("read", &error), rc;
    const struct tvn_record *a = &read->records[0], *b = &read->records[1];
    struct tvn_txn *txn = tvn_txn_new();
    if (txn == NULL) {
        tvn_records_free(read);
        return TVN_NO_MEMORY;
    }
    tvn_txn_if_version(txn, "accounts", a->key, a->lsn);
    tvn_txn_if_version(txn, "accounts", b->key, b->lsn);
    put_amount(txn, from, amount_of(a) - amount);
    put_amount(txn, to, amount_of(b) + amount);
    rc = tvn_txn_commit(db, txn, &result, &error);
    while (rc != 0 && error.outcome == TVN_UNKNOWN) {
        fprintf(stderr, "%s; asking\n", error.text);
        rc = tvn_outcome(db, &result.session, result.sequence, 0, &result, &error);
        if (rc == TVN_NOT_FOUND)
            rc = TVN_CONDITION; /* it was not done: begin again */
        else if (rc != 0 && error.retryable)
            error.outcome = TVN_UNKNOWN; /* nobody could say: ask again */
    }
    tvn_txn_free(txn);
    tvn_records_free(read);
    if (rc == TVN_CONDITION)
        return 1;
    return rc != 0 ? failed("commit", &error), rc : 0;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (long done = 0; done < w->transfers && w->rc == 0;) {
        char from[16], to[16];
        unsigned i = (unsigned)rand_r(&w->seed) % ACCOUNTS;
        account_name(from, i);
        account_name(to, (i + 1 + (unsigned)rand_r(&w->seed) % (ACCOUNTS - 1)) % ACCOUNTS);
        int rc = transfer(w->db, from, to, rand_r(&w->seed) % 100);
        if (rc == 0)
            done++;
        else if (rc == 1)
            w->conflicts++;
        else
            w->rc = tvn_exit_code(rc);
    }
    return NULL;
}

/* Every account, of one state. */
static int sum(struct tvn *db, long *out, uint64_t *lsn)
{
    struct tvn_error error;
    struct tvn_records *read;
    char names[ACCOUNTS][16];
    struct tvn_key keys[ACCOUNTS];
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        account_name(names[i], i);
        keys[i].collection = "accounts";
        keys[i].key = tvn_str(names[i]);
    }
    if (tvn_get_many(db, keys, ACCOUNTS, NULL, &read, &error) != 0)
        return failed("sum", &error);
    *out = 0;
    *lsn = read->lsn;
    for (size_t i = 0; i < read->count; i++)
        *out += amount_of(&read->records[i]);
    tvn_records_free(read);
    return 0;
}

/* Accounts that are there already stay as they are. */
static int open_accounts(struct tvn *db)
{
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        struct tvn_error error;
        char name[16];
        account_name(name, i);
        struct tvn_txn *txn = tvn_txn_new();
        if (txn == NULL)
            return 1;
        tvn_txn_if_absent(txn, "accounts", tvn_str(name));
        put_amount(txn, name, START);
        int rc = tvn_txn_commit(db, txn, NULL, &error);
        tvn_txn_free(txn);
        if (rc != 0 && rc != TVN_CONDITION)
            return failed("open account", &error);
    }
    return 0;
}

static int run(struct tvn *db, long transfers)
{
    struct worker workers[THREADS] = {{0}};
    long before = 0, after = 0, conflicts = 0;
    uint64_t lsn;
    int rc = open_accounts(db);
    if (rc == 0)
        rc = sum(db, &before, &lsn);
    if (rc != 0)
        return rc;
    int started = 0;
    for (; started < THREADS; started++) {
        struct worker *w = &workers[started];
        w->db = db;
        w->seed = (unsigned)started + 1;
        w->transfers = transfers / THREADS;
        if (pthread_create(&w->thread, NULL, work, w) != 0)
            break;
    }
    rc = started == THREADS ? 0 : 1;
    for (int i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        conflicts += workers[i].conflicts;
        rc = rc != 0 ? rc : workers[i].rc;
    }
    if (rc == 0)
        rc = sum(db, &after, &lsn);
    if (rc != 0)
        return rc;
    printf("sum %ld before, %ld after, at transaction %" PRIu64 "; %ld conflicts begun again\n",
           before, after, lsn, conflicts);
    return before == after ? 0 : 7;
}

int main(int argc, char **argv)
{
    struct tvn *db;
    struct tvn_error error;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s URI [TRANSFERS]\n", argv[0]);
        return 2;
    }
    if (tvn_open(argv[1], NULL, &db, &error) != 0)
        return failed("open", &error);
    int rc = run(db, argc == 3 ? strtol(argv[2], NULL, 10) : 1000);
    tvn_close(db);
    return rc;
}
