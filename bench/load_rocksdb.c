/* Load on RocksDB in this process: `--clients` threads on one database, write-ahead log synced before each put returns
 * (RocksDB gathers concurrent writers into one sync by itself). A depth above 1 is one WriteBatch of so many records.
 * `--target` is the directory. Operations: put, get, scan, fill (every key once, then flushed and compacted).
 *
 * Settings, said in README.md: no compression (the values do not compress), 2 background jobs, 64 MiB memtables, a block
 * cache that holds everything, a bloom filter; everything else as RocksDB comes. */
#include "bench/bench.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_BYTES = 1 << 30, FILL_RECORDS = 256 };

static struct {
    const struct bench_options *options;
    rocksdb_t *db;
    rocksdb_writeoptions_t *synced;
    rocksdb_readoptions_t *reading;
} rocks;

static void expect(char *error)
{
    if (error != NULL)
        bench_fail("%s", error);
}

static void open_database(const struct bench_options *o)
{
    char *error = NULL;
    rocksdb_options_t *how = rocksdb_options_create();
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, rocksdb_cache_create_lru(CACHE_BYTES));
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom(10));
    rocksdb_options_set_block_based_table_factory(how, table);
    rocksdb_options_set_create_if_missing(how, 1);
    rocksdb_options_increase_parallelism(how, 2);
    rocksdb_options_set_compression(how, rocksdb_no_compression);
    rocks.options = o;
    rocks.db = rocksdb_open(how, o->target, &error);
    expect(error);
    rocks.synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(rocks.synced, 1);
    rocks.reading = rocksdb_readoptions_create();
    rocksdb_options_destroy(how);
}

static void *client_open(const struct bench_options *o, unsigned client)
{
    (void)o;
    (void)client;
    return &rocks;
}

static void client_close(void *client)
{
    (void)client;
}

static unsigned put(struct bench_random *r)
{
    const struct bench_options *o = rocks.options;
    char *error = NULL, key[BENCH_KEY_BYTES + 1];
    if (o->depth == 1) {
        bench_key(key, bench_random_next(r) % o->records);
        rocksdb_put(rocks.db, rocks.synced, key, BENCH_KEY_BYTES,
                    (const char *)bench_value(r, o->value_bytes), o->value_bytes, &error);
        expect(error);
        return 1;
    }
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    for (unsigned i = 0; i < o->depth; i++) {
        bench_key(key, bench_random_next(r) % o->records);
        rocksdb_writebatch_put(batch, key, BENCH_KEY_BYTES,
                               (const char *)bench_value(r, o->value_bytes), o->value_bytes);
    }
    rocksdb_write(rocks.db, rocks.synced, batch, &error);
    rocksdb_writebatch_destroy(batch);
    expect(error);
    return o->depth;
}

static unsigned get(struct bench_random *r)
{
    char *error = NULL, key[BENCH_KEY_BYTES + 1];
    bench_key(key, bench_random_next(r) % rocks.options->records);
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned(rocks.db, rocks.reading, key, BENCH_KEY_BYTES, &error);
    expect(error);
    size_t n = 0;
    const char *value = found == NULL ? NULL : rocksdb_pinnableslice_value(found, &n);
    if (value == NULL || n != rocks.options->value_bytes)
        bench_fail("a record is missing or has another size; was the system filled?");
    bench_consume(value, n);
    rocksdb_pinnableslice_destroy(found);
    return 1;
}

static unsigned scan(void)
{
    unsigned n = 0;
    rocksdb_iterator_t *it = rocksdb_create_iterator(rocks.db, rocks.reading);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t size;
        const char *value = rocksdb_iter_value(it, &size);
        if (value == NULL || size != rocks.options->value_bytes)
            bench_fail("a record has another size; was the system filled?");
        bench_consume(value, size);
        n++;
    }
    rocksdb_iter_destroy(it);
    return n;
}

static unsigned client_run(void *client, struct bench_random *r)
{
    (void)client;
    if (rocks.options->op == BENCH_GET)
        return get(r);
    return rocks.options->op == BENCH_SCAN ? scan() : put(r);
}

static void fill(const struct bench_options *o, struct bench_result *out)
{
    struct bench_random r = bench_random_of(0);
    uint64_t began = bench_now_ns();
    *out = (struct bench_result){.operations = o->records, .drain_s = -1};
    for (unsigned at = 0; at < o->records;) {
        char *error = NULL, key[BENCH_KEY_BYTES + 1];
        uint64_t start = bench_now_ns();
        rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
        for (unsigned i = 0; i < FILL_RECORDS && at < o->records; i++, at++) {
            bench_key(key, at);
            rocksdb_writebatch_put(batch, key, BENCH_KEY_BYTES,
                                   (const char *)bench_value(&r, o->value_bytes), o->value_bytes);
        }
        rocksdb_write(rocks.db, rocks.synced, batch, &error);
        rocksdb_writebatch_destroy(batch);
        expect(error);
        histogram_add(&out->latency, bench_now_ns() - start);
    }
    rocksdb_compact_range(rocks.db, NULL, 0, NULL, 0);
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
    rocksdb_close(rocks.db);
    rocksdb_writeoptions_destroy(rocks.synced);
    rocksdb_readoptions_destroy(rocks.reading);
    bench_print(&o, &result);
    return 0;
}
