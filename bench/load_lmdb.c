/* Load on LMDB in this process, as it comes: each put is a transaction of its own, synced at its commit (a depth above 1: so
 * many records in one). `--target` is the directory. Operations: put, get, scan, fill.
 *
 * LMDB has one writer at a time, so more than one client queues for it. A get is a transaction of its own, begun and ended with
 * mdb_txn_renew and mdb_txn_reset: what a server does that answers requests. */
#include "bench/bench.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILL_RECORDS = 1024 };
static const size_t map_bytes = (size_t)64 << 30;

static struct {
    const struct bench_options *options;
    MDB_env *env;
    MDB_dbi db;
} lmdb;

static void expect(int rc)
{
    if (rc != 0)
        bench_fail("%s", mdb_strerror(rc));
}

static void open_database(const struct bench_options *o)
{
    MDB_txn *txn;
    lmdb.options = o;
    expect(mdb_env_create(&lmdb.env));
    expect(mdb_env_set_mapsize(lmdb.env, map_bytes));
    expect(mdb_env_set_maxreaders(lmdb.env, BENCH_CLIENTS_MAX + 8));
    expect(mdb_env_open(lmdb.env, o->target, MDB_NOTLS, 0600));
    expect(mdb_txn_begin(lmdb.env, NULL, 0, &txn));
    expect(mdb_dbi_open(txn, NULL, 0, &lmdb.db));
    expect(mdb_txn_commit(txn));
}

/* A client's read transaction; unused by puts. */
static void *client_open(const struct bench_options *o, unsigned client)
{
    (void)client;
    MDB_txn *txn = NULL;
    if (o->op != BENCH_PUT) {
        expect(mdb_txn_begin(lmdb.env, NULL, MDB_RDONLY, &txn));
        mdb_txn_reset(txn);
    }
    return txn;
}

static void client_close(void *client)
{
    if (client != NULL)
        mdb_txn_abort(client);
}

static void put_one(MDB_txn *txn, struct bench_random *r, uint64_t n)
{
    char name[BENCH_KEY_BYTES + 1];
    bench_key(name, n);
    MDB_val key = {BENCH_KEY_BYTES, name}, value = {lmdb.options->value_bytes, NULL};
    expect(mdb_put(txn, lmdb.db, &key, &value, MDB_RESERVE));
    memcpy(value.mv_data, bench_value(r, value.mv_size), value.mv_size);
}

static unsigned put(struct bench_random *r)
{
    MDB_txn *txn;
    expect(mdb_txn_begin(lmdb.env, NULL, 0, &txn));
    for (unsigned i = 0; i < lmdb.options->depth; i++)
        put_one(txn, r, bench_random_next(r) % lmdb.options->records);
    expect(mdb_txn_commit(txn));
    return lmdb.options->depth;
}

static void check_value(const MDB_val *value)
{
    if (value->mv_size != lmdb.options->value_bytes)
        bench_fail("a record has another size; was the system filled?");
    bench_consume(value->mv_data, value->mv_size);
}

static unsigned get(MDB_txn *txn, struct bench_random *r)
{
    char name[BENCH_KEY_BYTES + 1];
    bench_key(name, bench_random_next(r) % lmdb.options->records);
    MDB_val key = {BENCH_KEY_BYTES, name}, value;
    expect(mdb_txn_renew(txn));
    expect(mdb_get(txn, lmdb.db, &key, &value));
    check_value(&value);
    mdb_txn_reset(txn);
    return 1;
}

static unsigned scan(MDB_txn *txn)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    unsigned n = 0;
    int rc;
    expect(mdb_txn_renew(txn));
    expect(mdb_cursor_open(txn, lmdb.db, &cursor));
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        check_value(&value);
        n++;
    }
    if (rc != MDB_NOTFOUND)
        expect(rc);
    mdb_cursor_close(cursor);
    mdb_txn_reset(txn);
    return n;
}

static unsigned client_run(void *client, struct bench_random *r)
{
    if (lmdb.options->op == BENCH_GET)
        return get(client, r);
    return lmdb.options->op == BENCH_SCAN ? scan(client) : put(r);
}

static void fill(const struct bench_options *o, struct bench_result *out)
{
    struct bench_random r = bench_random_of(0);
    uint64_t began = bench_now_ns();
    *out = (struct bench_result){.operations = o->records, .drain_s = -1};
    for (unsigned at = 0; at < o->records;) {
        MDB_txn *txn;
        uint64_t start = bench_now_ns();
        expect(mdb_txn_begin(lmdb.env, NULL, 0, &txn));
        for (unsigned i = 0; i < FILL_RECORDS && at < o->records; i++, at++)
            put_one(txn, &r, at);
        expect(mdb_txn_commit(txn));
        histogram_add(&out->latency, bench_now_ns() - start);
    }
    out->seconds = (double)(bench_now_ns() - began) / 1e9;
}

int main(int argc, char **argv)
{
    struct bench_options o;
    struct bench_result result;
    bench_parse(argc, argv, &o);
    if (o.target == NULL || o.op == BENCH_SPECIAL)
        bench_fail("needs --target DIRECTORY and --op put, get, scan or fill");
    open_database(&o);
    if (o.op == BENCH_FILL)
        fill(&o, &result);
    else
        bench_run_threads(&o, &(struct bench_ops){client_open, client_run, client_close}, &result);
    mdb_env_close(lmdb.env);
    bench_print(&o, &result);
    return 0;
}
