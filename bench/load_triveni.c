/* Load on a cluster through libtriveni, over TLS: `--clients` handles, each one connection with an I/O thread of its own,
 * and `--depth` requests in flight on each. A completion submits the next request from within its callback, so no
 * thread is woken for it. `--target` is a file that holds the URI.
 *
 * Operations: put (one record a transaction, keys at random), get, fill (every key once, FILL_OPS a transaction), floor (one
 * client, in turn a put, a ping and a raw synchronous write beside the target: what the site adds to the disk and the line).
 *
 * DRAIN. Commits are answered from the log and applied behind that. After a put cell a scan, which waits until the state
 * has everything, tells how long that takes: what the answers had run ahead. */
#include "bench/bench.h"
#include "bench/disk.h"

#include "client/triveni.h"

#include <errno.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FILL_OPS = 256, URI_BYTES = 4096, DRAIN_MS = 60000 };
static const char collection[] = "bench";

struct connection {
    const struct bench_options *options;
    struct tvn *db;
    struct tvn_txn *txn; /* I/O thread, and the starter before the first submit */
    struct bench_random random;
    struct bench_window window;
    struct histogram latency; /* I/O thread */
    struct request *requests;
    bool filled; /* I/O thread: all requests are under way */
};

struct request {
    struct connection *connection;
    uint64_t began_ns;
};

static void submit(struct request *q);

static void completed(struct request *q, const struct tvn_error *error)
{
    struct connection *c = q->connection;
    if (error->code != 0)
        bench_fail("%s: %s", tvn_code_name(error->code), error->text);
    uint64_t now = bench_now_ns();
    if (bench_counts(&c->window, now))
        histogram_add(&c->latency, now - q->began_ns);
    if (now >= c->window.end_ns)
        return;
    for (unsigned i = 1; i < c->options->depth && !c->filled; i++)
        submit(&c->requests[i]);
    c->filled = true;
    submit(q);
}

static void put_done(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    (void)result;
    completed(arg, error);
}

static void get_done(void *arg, struct tvn_records *records, const struct tvn_error *error)
{
    struct request *q = arg;
    if (error->code == 0 && (records->count != 1 || records->records[0].found != 1 ||
                             records->records[0].value.size != q->connection->options->value_bytes))
        bench_fail("a record is missing or has another size; was the system filled?");
    tvn_records_free(records);
    completed(q, error);
}

static void submit(struct request *q)
{
    struct connection *c = q->connection;
    const struct bench_options *o = c->options;
    char key[BENCH_KEY_BYTES + 1];
    struct tvn_error error;
    int rc;
    bench_key(key, bench_random_next(&c->random) % o->records);
    q->began_ns = bench_now_ns();
    if (o->op == BENCH_GET) {
        struct tvn_key wanted = {collection, tvn_view(key, BENCH_KEY_BYTES)};
        rc = tvn_submit_get(c->db, &wanted, 1, NULL, get_done, q, &error);
    } else {
        tvn_txn_reset(c->txn);
        (void)tvn_txn_put(c->txn, collection, tvn_view(key, BENCH_KEY_BYTES),
                          tvn_view(bench_value(&c->random, o->value_bytes), o->value_bytes));
        rc = tvn_submit(c->db, c->txn, put_done, q, &error);
    }
    if (rc != 0)
        bench_fail("%s: %s", tvn_code_name(rc), error.text);
}

static void read_uri(const char *path, char uri[URI_BYTES])
{
    FILE *f = path == NULL ? NULL : fopen(path, "r");
    size_t n = f == NULL ? 0 : fread(uri, 1, URI_BYTES - 1, f);
    if (n == 0)
        bench_fail("--target must be a file that holds a URI");
    (void)fclose(f);
    uri[n] = '\0';
    uri[strcspn(uri, "\n")] = '\0';
}

static void connect_one(struct connection *c, const struct bench_options *o, unsigned i,
                        const char *uri)
{
    struct tvn_options how = TVN_OPTIONS_INIT;
    struct tvn_error error;
    how.timeout_ms = DRAIN_MS;
    *c = (struct connection){.options = o,
                             .random = bench_random_of(i),
                             .txn = tvn_txn_new(),
                             .requests = calloc(o->depth, sizeof *c->requests)};
    if (c->txn == NULL || c->requests == NULL)
        bench_fail("out of memory");
    if (tvn_open(uri, &how, &c->db, &error) != 0)
        bench_fail("%s", error.text);
    /* Outside the window: handshake, and the session that the first write opens. */
    int rc = o->op == BENCH_PUT
                 ? tvn_put(c->db, collection, tvn_str("warm"), tvn_str("w"), NULL, &error)
                 : tvn_ping(c->db, 0, NULL, &error);
    if (rc != 0)
        bench_fail("%s: %s", tvn_code_name(rc), error.text);
}

static void sleep_until(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

/* How long until a scan can see everything that was acknowledged. */
static double drain(struct tvn *db)
{
    struct tvn_scan_options range = TVN_SCAN_INIT;
    struct tvn_scan *scan;
    struct tvn_record record;
    struct tvn_error error;
    uint64_t began = bench_now_ns();
    range.collection = collection;
    range.limit = 1;
    if (tvn_scan_open(db, &range, NULL, &scan, &error) != 0)
        bench_fail("%s", error.text);
    int rc;
    while ((rc = tvn_scan_next(scan, &record, &error)) < 0 &&
           bench_now_ns() - began < (uint64_t)DRAIN_MS * 1000000)
        ;
    tvn_scan_close(scan);
    if (rc < 0)
        bench_fail("a scan after the load: %s", error.text);
    return (double)(bench_now_ns() - began) / 1e9;
}

static void run(const struct bench_options *o, const char *uri, struct bench_result *out)
{
    struct connection *all = calloc(o->clients, sizeof *all);
    if (all == NULL)
        bench_fail("out of memory");
    for (unsigned i = 0; i < o->clients; i++)
        connect_one(&all[i], o, i, uri);
    struct bench_window window = bench_window_start(o);
    /* The first submit hands a connection to its I/O thread, which fills the pipeline at the first completion: the
     * transaction and the random numbers are shared by the requests of a connection. */
    for (unsigned i = 0; i < o->clients; i++) {
        all[i].window = window;
        for (unsigned j = 0; j < o->depth; j++)
            all[i].requests[j].connection = &all[i];
        submit(&all[i].requests[0]);
    }
    sleep_until(window.warm_ns);
    struct bench_cpu before = bench_cpu_now(o);
    sleep_until(window.end_ns);
    struct bench_cpu after = bench_cpu_now(o);
    *out = (struct bench_result){.cpu = {after.self - before.self, after.servers - before.servers},
                                 .drain_s = -1};
    struct tvn_error error;
    for (unsigned i = 0; i < o->clients; i++)
        if (tvn_flush(all[i].db, DRAIN_MS, &error) != 0)
            bench_fail("flush: %s", error.text);
    if (o->op == BENCH_PUT)
        out->drain_s = drain(all[0].db);
    for (unsigned i = 0; i < o->clients; i++) {
        (void)tvn_close(all[i].db);
        histogram_merge(&out->latency, &all[i].latency);
        tvn_txn_free(all[i].txn);
        free(all[i].requests);
    }
    free(all);
}

/* Every key once. */
static void fill(const struct bench_options *o, const char *uri, struct bench_result *out)
{
    struct connection c;
    connect_one(&c, o, 0, uri);
    uint64_t began = bench_now_ns();
    *out = (struct bench_result){.operations = o->records, .drain_s = -1};
    for (unsigned at = 0; at < o->records;) {
        struct tvn_error error;
        uint64_t start = bench_now_ns();
        tvn_txn_reset(c.txn);
        for (unsigned i = 0; i < FILL_OPS && at < o->records; i++, at++) {
            char key[BENCH_KEY_BYTES + 1];
            bench_key(key, at);
            (void)tvn_txn_put(c.txn, collection, tvn_view(key, BENCH_KEY_BYTES),
                              tvn_view(bench_value(&c.random, o->value_bytes), o->value_bytes));
        }
        if (tvn_txn_commit(c.db, c.txn, NULL, &error) != 0)
            bench_fail("fill: %s", error.text);
        histogram_add(&out->latency, bench_now_ns() - start);
    }
    out->drain_s = drain(c.db);
    out->seconds = (double)(bench_now_ns() - began) / 1e9;
    (void)tvn_close(c.db);
    tvn_txn_free(c.txn);
    free(c.requests);
}

static void measure_floor(const struct bench_options *o, const char *uri, struct bench_result *out)
{
    static struct histogram raw, line;
    struct bench_options where = *o;
    struct connection c;
    struct tvn_error error;
    char folder[URI_BYTES], key[BENCH_KEY_BYTES + 1];
    (void)snprintf(folder, sizeof folder, "%s", o->target);
    where.target = dirname(folder);
    void *disk = disk_open(&where, 0);
    connect_one(&c, o, 0, uri);
    *out = (struct bench_result){.drain_s = -1};
    struct bench_window window = bench_window_start(o);
    for (uint64_t began = bench_now_ns(); began < window.end_ns; began = bench_now_ns()) {
        uint64_t ping_us;
        bench_key(key, bench_random_next(&c.random) % o->records);
        if (tvn_put(c.db, collection, tvn_view(key, BENCH_KEY_BYTES),
                    tvn_view(bench_value(&c.random, o->value_bytes), o->value_bytes), NULL,
                    &error) != 0)
            bench_fail("%s", error.text);
        uint64_t put = bench_now_ns();
        if (tvn_ping(c.db, 0, &ping_us, &error) != 0)
            bench_fail("%s", error.text);
        uint64_t ping = bench_now_ns();
        (void)disk_run(disk, &c.random);
        uint64_t done = bench_now_ns();
        if (!bench_counts(&window, done))
            continue;
        histogram_add(&out->latency, put - began);
        histogram_add(&line, ping - put);
        histogram_add(&raw, done - ping);
    }
    disk_close(disk);
    (void)tvn_close(c.db);
    tvn_txn_free(c.txn);
    free(c.requests);
    if (raw.total == 0)
        bench_fail("nothing was completed in %u s", o->seconds);
    (void)snprintf(out->extra, sizeof out->extra, ",\"raw_p50_us\":%.1f,\"line_p50_us\":%.1f",
                   (double)histogram_at(&raw, 500) / 1e3, (double)histogram_at(&line, 500) / 1e3);
}

int main(int argc, char **argv)
{
    struct bench_options o;
    struct bench_result result;
    char uri[URI_BYTES];
    bench_parse(argc, argv, &o);
    read_uri(o.target, uri);
    if (o.op == BENCH_FILL)
        fill(&o, uri, &result);
    else if (o.op == BENCH_PUT || o.op == BENCH_GET)
        run(&o, uri, &result);
    else if (strcmp(o.op_name, "floor") == 0)
        measure_floor(&o, uri, &result);
    else
        bench_fail("--op %s is not one of put, get, fill, floor", o.op_name);
    bench_print(&o, &result);
    return 0;
}
