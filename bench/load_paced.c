/* Load on a cluster through libtriveni at a rate (`--rate` a second) instead of in a closed loop: `--clients` handles in turn,
 * each write submitted when it is due, whether those before it were answered or not, and its latency counted from then. So a
 * pause shows with all that would have been asked meanwhile. `--target` is a file that holds the URI.
 *
 * outage: goes on through whatever happens; see bench/outage.h.
 * lag:    for `--seconds`, in commit mode local, how far the other sites are behind what was answered. Every PROBE_MS
 *         - a write asks for `all`: it is answered when every site has it, and so all before it, on its disk;
 *         - at each other site a read asks for what was answered just now: it is answered when that site has applied it.
 *         Both include the way to the site and back. */
#include "bench/bench.h"
#include "bench/outage.h"

#include "client/triveni.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { URI_BYTES = 4096, PROBE_MS = 10, IN_FLIGHT = 1024, STANDBYS = 2, PATIENCE_MS = 30000 };
static const char collection[] = "bench";

struct handle {
    struct load *load;
    struct tvn *db;
    struct tvn_txn *txn;
    struct request *requests; /* IN_FLIGHT of them */
    unsigned *idle, idle_n;   /* of requests; under the lock */
    pthread_mutex_t lock;
    struct histogram latency; /* I/O thread */
};

struct request {
    struct handle *handle;
    unsigned index;
    uint64_t due_ns;
};

struct probe {
    struct load *load;
    pthread_t thread;
    struct tvn *db;
    struct histogram latency;
};

struct load {
    const struct bench_options *options;
    struct handle *handles;
    struct outage outage;
    struct bench_window window;
    struct bench_random random;
    _Atomic uint64_t newest; /* lsn that was answered */
    atomic_uint left_out;    /* due, and everything in flight */
    atomic_bool stop, told;  /* told: the first failure */
};

static void sleep_until(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

/* ---- writers ---- */

static void answered(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct request *q = arg;
    struct handle *h = q->handle;
    struct load *l = h->load;
    if (error->code == 0) {
        uint64_t now = bench_now_ns();
        outage_answered(&l->outage);
        if (bench_counts(&l->window, now))
            histogram_add(&h->latency, now - q->due_ns);
        if (result->lsn > atomic_load(&l->newest)) /* another may be newer still: near enough */
            atomic_store(&l->newest, result->lsn);
    } else if (error->code != TVN_CANCELLED) {
        outage_failed(&l->outage);
        if (!atomic_exchange(&l->told, true))
            (void)fprintf(stderr, "load_paced: a write failed: %s: %s\n",
                          tvn_code_name(error->code), error->text);
    }
    (void)pthread_mutex_lock(&h->lock);
    h->idle[h->idle_n++] = q->index;
    (void)pthread_mutex_unlock(&h->lock);
}

static void put(struct load *l, struct tvn_txn *txn)
{
    const struct bench_options *o = l->options;
    char key[BENCH_KEY_BYTES + 1];
    bench_key(key, bench_random_next(&l->random) % o->records);
    tvn_txn_reset(txn);
    (void)tvn_txn_put(txn, collection, tvn_view(key, BENCH_KEY_BYTES),
                      tvn_view(bench_value(&l->random, o->value_bytes), o->value_bytes));
}

static void submit(struct handle *h, uint64_t due_ns)
{
    struct tvn_error error;
    struct request *q = NULL;
    (void)pthread_mutex_lock(&h->lock);
    if (h->idle_n > 0)
        q = &h->requests[h->idle[--h->idle_n]];
    (void)pthread_mutex_unlock(&h->lock);
    if (q == NULL) {
        atomic_fetch_add(&h->load->left_out, 1);
        return;
    }
    q->due_ns = due_ns;
    put(h->load, h->txn);
    if (tvn_submit(h->db, h->txn, answered, q, &error) == 0)
        return;
    if (error.code != TVN_BUSY)
        bench_fail("%s: %s", tvn_code_name(error.code), error.text);
    atomic_fetch_add(&h->load->left_out, 1);
    (void)pthread_mutex_lock(&h->lock);
    h->idle[h->idle_n++] = q->index;
    (void)pthread_mutex_unlock(&h->lock);
}

static void *pace(void *arg)
{
    struct load *l = arg;
    const struct bench_options *o = l->options;
    const uint64_t began = bench_now_ns();
    for (uint64_t n = 0; !atomic_load(&l->stop);) {
        uint64_t now = bench_now_ns();
        for (; began + n * 1000000000 / o->rate <= now; n++)
            submit(&l->handles[n % o->clients], began + n * 1000000000 / o->rate);
        sleep_until(now + 500000);
    }
    return NULL;
}

static void open_handle(struct load *l, struct handle *h, const char *uri)
{
    struct tvn_options how = TVN_OPTIONS_INIT;
    struct tvn_error error;
    how.timeout_ms = PATIENCE_MS;
    *h = (struct handle){.load = l,
                         .txn = tvn_txn_new(),
                         .requests = calloc(IN_FLIGHT, sizeof *h->requests),
                         .idle = calloc(IN_FLIGHT, sizeof *h->idle)};
    if (h->txn == NULL || h->requests == NULL || h->idle == NULL ||
        pthread_mutex_init(&h->lock, NULL) != 0)
        bench_fail("out of memory");
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        h->requests[i] = (struct request){.handle = h, .index = i};
        h->idle[h->idle_n++] = i;
    }
    if (tvn_open(uri, &how, &h->db, &error) != 0 ||
        tvn_put(h->db, collection, tvn_str("warm"), tvn_str("w"), NULL, &error) != 0)
        bench_fail("%s", error.text);
}

static void close_handle(struct handle *h)
{
    (void)tvn_close(h->db);
    tvn_txn_free(h->txn);
    free(h->requests);
    free(h->idle);
    (void)pthread_mutex_destroy(&h->lock);
}

/* ---- probes ---- */

static void *probe_durable(void *arg)
{
    struct probe *p = arg;
    struct tvn_txn *txn = tvn_txn_new();
    struct tvn_error error;
    if (txn == NULL || tvn_txn_put(txn, collection, tvn_str("probe"), tvn_str("p")) != 0 ||
        tvn_txn_set(txn, TVN_ACK_ALL, 0) != 0)
        bench_fail("out of memory");
    for (uint64_t now; (now = bench_now_ns()) < p->load->window.end_ns;) {
        if (tvn_txn_commit(p->db, txn, NULL, &error) != 0)
            bench_fail("a write at all sites: %s", error.text);
        uint64_t done = bench_now_ns();
        if (bench_counts(&p->load->window, done))
            histogram_add(&p->latency, done - now);
        sleep_until(now + PROBE_MS * 1000000ull);
    }
    tvn_txn_free(txn);
    return NULL;
}

static void *probe_applied(void *arg)
{
    struct probe *p = arg;
    struct tvn_error error;
    for (uint64_t now; (now = bench_now_ns()) < p->load->window.end_ns;) {
        struct tvn_read how = TVN_READ_INIT;
        struct tvn_records *found = NULL;
        how.min_lsn = atomic_load(&p->load->newest);
        if (tvn_get(p->db, collection, tvn_str("warm"), &how, &found, &error) != 0)
            bench_fail("a read at a standby: %s", error.text);
        uint64_t done = bench_now_ns();
        if (found->lsn < how.min_lsn)
            bench_fail("a standby answered from before the token");
        tvn_records_free(found);
        if (bench_counts(&p->load->window, done))
            histogram_add(&p->latency, done - now);
        sleep_until(now + PROBE_MS * 1000000ull);
    }
    return NULL;
}

/* triveni://A,B,C/?...: the same with endpoint `k` alone, for reads at that site. */
static void standby_uri(const char *uri, unsigned k, char out[URI_BYTES])
{
    const char *hosts = strstr(uri, "://"), *end = hosts == NULL ? NULL : strchr(hosts + 3, '/');
    if (end == NULL)
        bench_fail("the URI has no endpoints");
    const char *at = hosts + 3;
    for (; k > 0 && at < end; k--)
        at += strcspn(at, ",/") + 1;
    if (at >= end)
        bench_fail("the URI has too few endpoints");
    (void)snprintf(out, URI_BYTES, "triveni://%.*s%s&target=standby", (int)strcspn(at, ",/"), at,
                   end);
}

static void print_lag(const struct probe *p, const char *name, char *out, size_t room)
{
    size_t at = strlen(out);
    (void)snprintf(out + at, room - at, ",\"%s\":{\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}",
                   name, (double)histogram_at(&p->latency, 500) / 1e6,
                   (double)histogram_at(&p->latency, 990) / 1e6, (double)p->latency.max / 1e6);
}

static void lag(struct load *l, const char *uri)
{
    static struct probe probes[1 + STANDBYS]; /* a histogram is large */
    static const char *const names[] = {"durable_at_all", "applied_at_dr", "applied_at_gsr"};
    struct bench_result result = {.drain_s = -1};
    struct tvn_error error;
    for (unsigned i = 0; i <= STANDBYS; i++) {
        char one[URI_BYTES] = "";
        struct tvn_options how = TVN_OPTIONS_INIT;
        how.timeout_ms = PATIENCE_MS;
        probes[i].load = l;
        if (i > 0)
            standby_uri(uri, i, one);
        if (tvn_open(i > 0 ? one : uri, &how, &probes[i].db, &error) != 0 ||
            tvn_ping(probes[i].db, 0, NULL, &error) != 0)
            bench_fail("%s: %s", names[i], error.text);
        if (pthread_create(&probes[i].thread, NULL, i == 0 ? probe_durable : probe_applied,
                           &probes[i]) != 0)
            bench_fail("cannot start a thread");
    }
    for (unsigned i = 0; i <= STANDBYS; i++) {
        (void)pthread_join(probes[i].thread, NULL);
        (void)tvn_close(probes[i].db);
        print_lag(&probes[i], names[i], result.extra, sizeof result.extra);
    }
    for (unsigned i = 0; i < l->options->clients; i++)
        histogram_merge(&result.latency, &l->handles[i].latency);
    size_t at = strlen(result.extra);
    (void)snprintf(result.extra + at, sizeof result.extra - at, ",\"left_out\":%u",
                   atomic_load(&l->left_out));
    bench_print(l->options, &result);
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

int main(int argc, char **argv)
{
    struct bench_options o;
    char uri[URI_BYTES];
    pthread_t pacer;
    bench_parse(argc, argv, &o);
    bool outage = strcmp(o.op_name, "outage") == 0;
    if (!outage && strcmp(o.op_name, "lag") != 0)
        bench_fail("--op %s is not one of outage, lag", o.op_name);
    if (o.rate == 0)
        bench_fail("--rate is needed");
    read_uri(o.target, uri);
    struct load l = {.options = &o,
                     .random = bench_random_of(0),
                     .handles = calloc(o.clients, sizeof *l.handles)};
    if (l.handles == NULL)
        bench_fail("out of memory");
    outage_init(&l.outage);
    for (unsigned i = 0; i < o.clients; i++)
        open_handle(&l, &l.handles[i], uri);
    l.window = bench_window_start(&o);
    if (pthread_create(&pacer, NULL, pace, &l) != 0)
        bench_fail("cannot start a thread");
    if (outage)
        outage_serve(&l.outage);
    else
        lag(&l, uri);
    atomic_store(&l.stop, true);
    (void)pthread_join(pacer, NULL);
    for (unsigned i = 0; i < o.clients; i++)
        close_handle(&l.handles[i]);
    free(l.handles);
    return 0;
}
