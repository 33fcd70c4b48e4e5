/* Load on the store in this process (engine.h). `--target` is the directory.
 *
 *   put      each client a thread; a depth above 1 are so many transactions appended together and waited for together
 *   get      a snapshot and one record
 *   scan     a snapshot and all records
 *   fill     every key once
 *   floor    for `--seconds`, in turn one put and one raw synchronous write of a block: what the store adds to the disk. Only
 *            so: a shared disk or a busy core changes both by a factor of ten from one second to the next
 *   recover  append `--limit` MiB of log that no checkpoint covers, close, and time how long it takes to be back
 *   mixed    one thread reads, for half of `--seconds` alone and for half beside `--clients` that write: reads for a second of
 * the
 *            reader's processor time, so that what the writers take of two cores does not count
 *   grow     puts for `--seconds`, with sizes of memory and files every tenth of it */
#include "bench/disk.h"
#include "bench/engine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILL_RECORDS = 256, OVERHEAD = 256, SAMPLES = 10 };

static struct engine *engine;
static const struct bench_options *options;
static const char collection[] = "bench";

struct client {
    struct engine_client puts;
    struct op *ops;
    char (*keys)[BENCH_KEY_BYTES + 1];
    struct err e;
};

static void *client_new(unsigned ops)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL || (c->ops = calloc(ops, sizeof *c->ops)) == NULL ||
        (c->keys = calloc(ops, sizeof *c->keys)) == NULL)
        bench_fail("out of memory");
    engine_client_init(&c->puts, engine, (size_t)ops * (options->value_bytes + OVERHEAD));
    return c;
}

static void *client_open(const struct bench_options *o, unsigned index)
{
    (void)index;
    return client_new(o->depth);
}

static void client_close(void *client)
{
    struct client *c = client;
    engine_client_deinit(&c->puts);
    free(c->ops);
    free(c->keys);
    free(c);
}

static void set_op(struct client *c, unsigned i, uint64_t key, struct bench_random *r)
{
    bench_key(c->keys[i], key);
    c->ops[i] =
        (struct op){.kind = OP_PUT,
                    .collection = bytes_str(collection),
                    .key = bytes_of(c->keys[i], BENCH_KEY_BYTES),
                    .value = bytes_of(bench_value(r, options->value_bytes), options->value_bytes)};
}

static unsigned put(struct client *c, struct bench_random *r)
{
    for (unsigned i = 0; i < options->depth; i++)
        set_op(c, i, bench_random_next(r) % options->records, r);
    engine_put(&c->puts, c->ops, options->depth, false);
    return options->depth;
}

static struct state_snapshot *snapshot(struct client *c)
{
    struct state_snapshot *snap;
    if (state_snapshot_open(engine_state(engine), &snap, &c->e) != 0)
        bench_fail("%s", c->e.text);
    return snap;
}

static unsigned get(struct client *c, struct bench_random *r)
{
    struct record found;
    bench_key(c->keys[0], bench_random_next(r) % options->records);
    struct state_snapshot *snap = snapshot(c);
    if (state_get(snap, bytes_str(collection), bytes_of(c->keys[0], BENCH_KEY_BYTES), &found,
                  &c->e) != 0)
        bench_fail("%s; was the store filled?", c->e.text);
    if (found.value.n != options->value_bytes)
        bench_fail("a record has another size; was the store filled?");
    bench_consume(found.value.p, found.value.n);
    state_snapshot_close(snap);
    return 1;
}

static unsigned scan(struct client *c)
{
    struct state_scan *scan;
    struct record record;
    unsigned n = 0;
    int rc;
    struct state_snapshot *snap = snapshot(c);
    if (state_scan_open(snap, &(struct scan_options){.collection = bytes_str(collection)}, &scan,
                        &c->e) != 0)
        bench_fail("%s", c->e.text);
    while ((rc = state_scan_next(scan, &record, &c->e)) == 0) {
        if (record.value.n != options->value_bytes)
            bench_fail("a record has another size; was the store filled?");
        bench_consume(record.value.p, record.value.n);
        n++;
    }
    if (rc != ERR_NOT_FOUND)
        bench_fail("%s", c->e.text);
    state_scan_close(scan);
    state_snapshot_close(snap);
    return n;
}

static unsigned client_run(void *client, struct bench_random *r)
{
    if (options->op == BENCH_GET)
        return get(client, r);
    return options->op == BENCH_SCAN ? scan(client) : put(client, r);
}

static void fill(struct bench_result *out)
{
    struct bench_random r = bench_random_of(0);
    struct client *c = client_new(FILL_RECORDS);
    uint64_t began = bench_now_ns();
    *out = (struct bench_result){.operations = options->records};
    for (unsigned at = 0; at < options->records;) {
        uint64_t start = bench_now_ns();
        unsigned n = 0;
        while (n < FILL_RECORDS && at < options->records)
            set_op(c, n++, at++, &r);
        engine_put(&c->puts, c->ops, n, true);
        histogram_add(&out->latency, bench_now_ns() - start);
    }
    out->drain_s = engine_drain(engine);
    out->seconds = (double)(bench_now_ns() - began) / 1e9;
    client_close(c);
}

/* ---- recovery ---- */

static void recover(struct bench_result *out)
{
    struct bench_random r = bench_random_of(0);
    uint64_t wanted = (uint64_t)options->limit << 20, appended = 0;
    engine = engine_open(options, false);
    struct client *c = client_new(FILL_RECORDS);
    while (appended < wanted) {
        for (unsigned i = 0; i < FILL_RECORDS; i++)
            set_op(c, i, bench_random_next(&r) % options->records, &r);
        engine_put(&c->puts, c->ops, FILL_RECORDS, false);
        appended += (uint64_t)FILL_RECORDS * (options->value_bytes + ENTRY_HEADER_BYTES);
    }
    client_close(c);
    engine_close(engine);
    uint64_t began = bench_now_ns();
    engine = engine_open(options, true);
    out->seconds = (double)(bench_now_ns() - began) / 1e9;
    struct engine_recovery done = engine_recovery(engine);
    out->operations = done.entries;
    out->drain_s = -1;
    histogram_add(&out->latency, bench_now_ns() - began);
    (void)snprintf(
        out->extra, sizeof out->extra,
        ",\"log_mb\":%.1f,\"mb_per_second\":%.1f,\"open_state_s\":%.3f,\"open_log_s\":%.3f,"
        "\"replay_s\":%.3f,\"replay_mb_per_second\":%.1f",
        (double)done.bytes / 1e6, (double)done.bytes / 1e6 / out->seconds, done.state_s, done.log_s,
        done.replay_s, (double)done.bytes / 1e6 / done.replay_s);
}

/* ---- the floor ---- */

static void measure_floor(struct bench_result *out)
{
    static struct histogram raw;
    struct bench_random r = bench_random_of(0);
    struct client *c = client_new(options->depth);
    void *disk = disk_open(options, 0);
    struct bench_window window = bench_window_start(options);
    for (uint64_t began = bench_now_ns(); began < window.end_ns; began = bench_now_ns()) {
        (void)put(c, &r);
        uint64_t between = bench_now_ns();
        (void)disk_run(disk, &r);
        uint64_t done = bench_now_ns();
        if (!bench_counts(&window, done))
            continue;
        histogram_add(&out->latency, between - began);
        histogram_add(&raw, done - between);
    }
    disk_close(disk);
    client_close(c);
    if (raw.total == 0)
        bench_fail("nothing was completed in %u s", options->seconds);
    (void)snprintf(out->extra, sizeof out->extra,
                   ",\"raw_p50_us\":%.1f,\"raw_p99_us\":%.1f,\"raw_mean_us\":%.1f",
                   (double)histogram_at(&raw, 500) / 1e3, (double)histogram_at(&raw, 990) / 1e3,
                   (double)raw.sum / (double)raw.total / 1e3);
}

/* ---- reads beside writes ---- */

struct reading {
    pthread_t thread;
    uint64_t end_ns, reads;
    double cpu_s;
    struct histogram latency;
};

static void *read_on(void *arg)
{
    struct reading *x = arg;
    struct bench_random r = bench_random_of(BENCH_CLIENTS_MAX);
    struct client *c = client_new(1);
    struct timespec t;
    for (uint64_t began = bench_now_ns(); began < x->end_ns; x->reads++) {
        (void)get(c, &r);
        uint64_t done = bench_now_ns();
        histogram_add(&x->latency, done - began);
        began = done;
    }
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    x->cpu_s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    client_close(c);
    return NULL;
}

static void reader_start(struct reading *x, uint64_t ns)
{
    x->end_ns = bench_now_ns() + ns;
    if (pthread_create(&x->thread, NULL, read_on, x) != 0)
        bench_fail("cannot start a thread");
}

static void mixed(struct bench_result *out)
{
    static struct reading alone, beside;
    const struct bench_ops ops = {client_open, client_run, client_close};
    const uint64_t half = (uint64_t)options->seconds * 500000000;
    struct bench_options writers = *options;
    writers.seconds = options->seconds / 2 + 1;
    reader_start(&alone, half);
    (void)pthread_join(alone.thread, NULL);
    reader_start(&beside, half);
    bench_run_threads(&writers, &ops, out);
    (void)pthread_join(beside.thread, NULL);
    const double puts = (double)out->operations / writers.seconds;
    out->operations = beside.reads;
    out->seconds = (double)half / 1e9;
    out->latency = beside.latency;
    (void)snprintf(out->extra, sizeof out->extra,
                   ",\"alone_per_second\":%.0f,\"alone_per_cpu_s\":%.0f,\"per_cpu_s\":%.0f,"
                   "\"alone_p99_us\":%.1f,\"puts_per_second\":%.0f",
                   (double)alone.reads / out->seconds, (double)alone.reads / alone.cpu_s,
                   (double)beside.reads / beside.cpu_s,
                   (double)histogram_at(&alone.latency, 990) / 1e3, puts);
}

/* ---- growth ---- */

struct watcher {
    pthread_t thread;
    char text[4096];
    size_t at;
};

static double resident_mb(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        if (fscanf(f, "%*u %lu", &pages) != 1)
            pages = 0;
        (void)fclose(f);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static void *watch(void *arg)
{
    struct watcher *w = arg;
    for (unsigned i = 1; i <= SAMPLES; i++) {
        struct engine_sizes s;
        (void)usleep(options->seconds * 1000000u / SAMPLES);
        engine_sizes(engine, &s);
        w->at += (size_t)snprintf(
            w->text + w->at, sizeof w->text - w->at,
            "%s{\"at_s\":%.1f,\"resident_mb\":%.0f,\"private_mb\":%.0f,\"log_mb\":%.0f,"
            "\"log_written_mb\":%.0f,\"state_mb\":%.0f,\"unapplied\":%llu,\"checkpoints\":%llu}",
            i == 1 ? "" : ",", (double)options->seconds * i / SAMPLES, resident_mb(),
            bench_private_mb(0), (double)s.log_bytes / 1e6, (double)s.log_written / 1e6,
            (double)s.state_bytes / 1e6, (unsigned long long)s.unapplied_entries,
            (unsigned long long)s.checkpoints);
    }
    return NULL;
}

static void grow(const char **samples, struct bench_result *out)
{
    static struct watcher w;
    const struct bench_ops ops = {client_open, client_run, client_close};
    if (pthread_create(&w.thread, NULL, watch, &w) != 0)
        bench_fail("cannot start a thread");
    bench_run_threads(options, &ops, out);
    (void)pthread_join(w.thread, NULL);
    *samples = w.text;
}

int main(int argc, char **argv)
{
    const struct bench_ops ops = {client_open, client_run, client_close};
    struct bench_options o;
    struct bench_result result = {.drain_s = -1};
    const char *samples = NULL;
    bench_parse(argc, argv, &o);
    options = &o;
    if (o.target == NULL)
        bench_fail("needs --target DIRECTORY");
    if (strcmp(o.op_name, "recover") == 0) {
        recover(&result);
    } else {
        engine = engine_open(&o, true);
        if (o.op == BENCH_FILL)
            fill(&result);
        else if (strcmp(o.op_name, "floor") == 0)
            measure_floor(&result);
        else if (strcmp(o.op_name, "grow") == 0)
            grow(&samples, &result);
        else if (strcmp(o.op_name, "mixed") == 0)
            mixed(&result);
        else if (o.op != BENCH_SPECIAL)
            bench_run_threads(&o, &ops, &result);
        else
            bench_fail("--op %s is not one of put, get, scan, fill, floor, mixed, recover, grow",
                       o.op_name);
    }
    if (o.op == BENCH_PUT || samples != NULL) {
        struct engine_sizes sizes;
        result.drain_s = engine_drain(engine);
        engine_sizes(engine, &sizes);
        (void)snprintf(result.extra, sizeof result.extra,
                       ",\"entries\":%llu,\"syncs\":%llu,\"checkpoints\":%llu",
                       (unsigned long long)sizes.entries, (unsigned long long)sizes.batches,
                       (unsigned long long)sizes.checkpoints);
    }
    engine_close(engine);
    if (samples != NULL)
        (void)fprintf(stderr, "{\"samples\":[%s]}\n", samples);
    bench_print(&o, &result);
    return 0;
}
