#include "bench/bench.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { POOL_BYTES = 4 << 20, VALUE_MAX = 1 << 20 };

void bench_fail(const char *fmt, ...)
{
    va_list args;
    (void)fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, fmt);
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
    _exit(1); /* other threads may be in the middle of anything */
}

/* ---- options ---- */

static void usage(void)
{
    (void)fprintf(
        stderr,
        "usage: %s --system NAME --op put|get|scan|fill|... [--target WHERE] [--clients N] "
        "[--depth N] [--value BYTES]\n"
        "       [--seconds N] [--records N] [--rep N] [--tls --ca FILE] [--pid N]... "
        "[--limit N] [--engine auto|uring|plain] [--history MIB]\n"
        "       [--level local|majority|all] [--wait REPLICAS] [--rate N] [--text]\n",
        program_invocation_short_name);
    exit(2);
}

static unsigned number(const char *text, unsigned long most)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || v > most)
        usage();
    return (unsigned)v;
}

static enum bench_op op_of(const char *name)
{
    static const char *const names[] = {"put", "get", "scan", "fill"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum bench_op)i;
    return BENCH_SPECIAL;
}

/* Each option: where its value goes, and the most of a number; most 0: a text. */
#define TEXT(name, member)                                                                         \
    {                                                                                              \
        name, offsetof(struct bench_options, member), 0                                            \
    }
#define NUMBER(name, member, most)                                                                 \
    {                                                                                              \
        name, offsetof(struct bench_options, member), most                                         \
    }
static const struct {
    const char *name;
    size_t at;
    unsigned long most;
} valued[] = {
    TEXT("system", system),
    TEXT("op", op_name),
    TEXT("target", target),
    TEXT("ca", ca),
    TEXT("engine", engine),
    TEXT("level", level),
    NUMBER("clients", clients, BENCH_CLIENTS_MAX),
    NUMBER("depth", depth, 1024),
    NUMBER("value", value_bytes, VALUE_MAX),
    NUMBER("seconds", seconds, 86400),
    NUMBER("records", records, 1000000000),
    NUMBER("rep", rep, 1000),
    NUMBER("history", history_mib, 1 << 24),
    NUMBER("wait", wait, 16),
    NUMBER("rate", rate, 10000000),
    NUMBER("limit", limit, 4294967295),
};
enum { VALUED = sizeof valued / sizeof valued[0] };

static bool pool_text; /* set before any thread */

static void take(struct bench_options *o, unsigned i)
{
    uint8_t *to = (uint8_t *)o + valued[i].at;
    unsigned n;
    if (valued[i].most == 0) {
        memcpy(to, &optarg, sizeof optarg);
        return;
    }
    n = number(optarg, valued[i].most);
    memcpy(to, &n, sizeof n);
}

void bench_parse(int argc, char **argv, struct bench_options *o)
{
    struct option names[VALUED + 4] = {{0}};
    int c;
    *o = (struct bench_options){.clients = 1,
                                .depth = 1,
                                .value_bytes = 1024,
                                .seconds = 2,
                                .records = 100000,
                                .history_mib = 4096};
    for (int i = 0; i < VALUED; i++)
        names[i] = (struct option){valued[i].name, required_argument, NULL, i};
    names[VALUED] = (struct option){"pid", required_argument, NULL, VALUED};
    names[VALUED + 1] = (struct option){"tls", no_argument, NULL, VALUED + 1};
    names[VALUED + 2] = (struct option){"text", no_argument, NULL, VALUED + 2};
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c < 0 || c > VALUED + 2)
            usage();
        else if (c < VALUED)
            take(o, (unsigned)c);
        else if (c == VALUED + 1)
            o->tls = true;
        else if (c == VALUED + 2)
            o->text = pool_text = true;
        else if (o->pid_count < BENCH_PIDS_MAX)
            o->pids[o->pid_count++] = number(optarg, 4194304);
    }
    if (optind != argc || o->system == NULL || o->op_name == NULL || o->clients == 0 ||
        o->depth == 0 || o->seconds == 0 || o->records == 0)
        usage();
    o->op = op_of(o->op_name);
}

/* ---- clock, keys, values ---- */

uint64_t bench_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct bench_random bench_random_of(unsigned client)
{
    return (struct bench_random){0x9e3779b97f4a7c15u * (client + 1)};
}

uint64_t bench_random_next(struct bench_random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1du;
}

void bench_key(char out[BENCH_KEY_BYTES + 1], uint64_t n)
{
    out[0] = 'k';
    for (unsigned i = BENCH_KEY_BYTES - 1; i > 0; i--, n /= 10)
        out[i] = (char)('0' + n % 10);
    out[BENCH_KEY_BYTES] = '\0';
}

static uint8_t *pool;

/* Records of a register, one behind the other: names repeat, numbers do not. */
static void fill_text(char *p, size_t n, struct bench_random *r)
{
    static const char *const names[] = {"Asha",  "Ravi",  "Meera",   "Arjun",
                                        "Kavya", "Imran", "Lakshmi", "Joseph"};
    static const char *const places[] = {"Pune", "Mysuru", "Shimla", "Kochi"};
    for (size_t at = 0; at < n;) {
        char record[256];
        uint64_t x = bench_random_next(r);
        int len = snprintf(record, sizeof record,
                           "{\"title\":\"AB-%08u\",\"owner\":\"%s\",\"village\":\"%s\","
                           "\"area_m2\":%u,\"since\":\"%u-%02u-%02u\",\"mortgaged\":%s}",
                           (unsigned)(x % 100000000), names[x >> 32 & 7], places[x >> 36 & 3],
                           (unsigned)(x >> 20 & 0xffff), (unsigned)(1950 + (x >> 40) % 75),
                           (unsigned)(1 + (x >> 48) % 12), (unsigned)(1 + (x >> 52) % 28),
                           (x >> 60 & 1) != 0 ? "true" : "false");
        size_t take = (size_t)len < n - at ? (size_t)len : n - at;
        memcpy(p + at, record, take);
        at += take;
    }
}

static void fill_pool(void)
{
    struct bench_random r = bench_random_of(BENCH_CLIENTS_MAX);
    uint64_t *words = malloc(POOL_BYTES);
    if (words == NULL)
        bench_fail("out of memory");
    pool = (uint8_t *)words;
    if (pool_text) {
        fill_text((char *)pool, POOL_BYTES, &r);
        return;
    }
    for (size_t i = 0; i < POOL_BYTES / sizeof *words; i++)
        words[i] = bench_random_next(&r);
}

const uint8_t *bench_value(struct bench_random *r, size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, fill_pool);
    return pool + bench_random_next(r) % (POOL_BYTES - n);
}

void bench_consume(const void *value, size_t n)
{
    volatile uint64_t seen; /* so that the compiler may not leave the reading out */
    const uint8_t *p = value;
    uint64_t sum = 0, word;
    for (; n >= sizeof word; n -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        sum ^= word;
    }
    for (; n > 0; n--)
        sum ^= *p++;
    seen = sum;
    (void)seen;
}

/* ---- window and CPU ---- */

struct bench_window bench_window_start(const struct bench_options *o)
{
    uint64_t warm = bench_now_ns() + (uint64_t)BENCH_WARM_MS * 1000000;
    return (struct bench_window){warm, warm + (uint64_t)o->seconds * 1000000000};
}

/* utime and stime are the 14th and 15th fields; the name, the second, may hold blanks and parentheses. */
static double process_cpu(unsigned pid)
{
    char path[64], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%u/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    char *at = strrchr(text, ')');
    unsigned long user = 0, kernel = 0;
    if (at != NULL)
        (void)sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

struct bench_cpu bench_cpu_now(const struct bench_options *o)
{
    struct bench_cpu cpu = {0, 0};
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    cpu.self = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    for (unsigned i = 0; i < o->pid_count; i++)
        cpu.servers += process_cpu(o->pids[i]);
    return cpu;
}

double bench_private_mb(unsigned pid)
{
    char path[64] = "/proc/self/status", line[256];
    unsigned long kb = 0;
    if (pid != 0)
        (void)snprintf(path, sizeof path, "/proc/%u/status", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "RssAnon: %lu", &kb) == 1)
            break;
    (void)fclose(f);
    return (double)kb * 1024 / 1e6;
}

void bench_print(const struct bench_options *o, const struct bench_result *r)
{
    const struct histogram *h = &r->latency;
    uint64_t n = r->operations != 0 ? r->operations : h->total;
    double seconds = r->seconds > 0 ? r->seconds : (double)o->seconds;
    if (n == 0)
        bench_fail("nothing was completed in %u s", o->seconds);
    (void)printf(
        "{\"system\":\"%s\",\"op\":\"%s\",\"clients\":%u,\"depth\":%u,\"value_bytes\":%u,"
        "\"rep\":%u,\"seconds\":%.3f,\"operations\":%llu,\"per_second\":%.1f,"
        "\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"mean_us\":%.1f,"
        "\"client_cpu_s\":%.3f",
        o->system, o->op_name, o->clients, o->depth, o->value_bytes, o->rep, seconds,
        (unsigned long long)n, (double)n / seconds, (double)histogram_at(h, 500) / 1e3,
        (double)histogram_at(h, 990) / 1e3, (double)histogram_at(h, 999) / 1e3,
        (double)h->max / 1e3, h->total == 0 ? 0 : (double)h->sum / (double)h->total / 1e3,
        r->cpu.self);
    if (o->pid_count > 0)
        (void)printf(",\"server_cpu_s\":%.3f,\"server_private_mb\":%.1f", r->cpu.servers,
                     bench_private_mb(o->pids[0]));
    if (r->answered > 0)
        (void)printf(",\"answered\":%llu", (unsigned long long)r->answered);
    if (r->drain_s >= 0)
        (void)printf(",\"drain_s\":%.3f", r->drain_s);
    (void)printf("%s}\n", r->extra);
    if (fflush(stdout) != 0)
        bench_fail("cannot write the result: %s", strerror(errno));
}

/* ---- blocking clients ---- */

struct worker {
    pthread_t thread;
    unsigned index;
    const struct bench_options *options;
    const struct bench_ops *ops;
    void *client;
    struct crowd *crowd;
    struct histogram latency;
    uint64_t operations, answered;
};

struct crowd {
    pthread_barrier_t ready;
    struct bench_window window; /* set between the two barriers */
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct bench_random r = bench_random_of(w->index);
    (void)pthread_barrier_wait(&w->crowd->ready);
    (void)pthread_barrier_wait(&w->crowd->ready);
    const struct bench_window window = w->crowd->window;
    uint64_t began = bench_now_ns();
    while (began < window.end_ns) {
        unsigned n = w->ops->run(w->client, &r);
        uint64_t done = bench_now_ns();
        w->answered += n;
        if (bench_counts(&window, done)) {
            histogram_add(&w->latency, done - began);
            w->operations += n;
        }
        began = done;
    }
    return NULL;
}

static void sleep_until(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

void bench_run_threads(const struct bench_options *o, const struct bench_ops *ops,
                       struct bench_result *out)
{
    struct crowd crowd;
    struct worker *workers = calloc(o->clients, sizeof *workers);
    pthread_attr_t small;
    if (workers == NULL || pthread_barrier_init(&crowd.ready, NULL, o->clients + 1) != 0 ||
        pthread_attr_init(&small) != 0 || pthread_attr_setstacksize(&small, 1 << 20) != 0)
        bench_fail("out of memory for %u clients", o->clients);
    for (unsigned i = 0; i < o->clients; i++) {
        workers[i].index = i;
        workers[i].options = o;
        workers[i].ops = ops;
        workers[i].crowd = &crowd;
        workers[i].client = ops->open(o, i);
        if (pthread_create(&workers[i].thread, &small, work, &workers[i]) != 0)
            bench_fail("cannot start thread %u", i);
    }
    (void)pthread_barrier_wait(&crowd.ready);
    crowd.window = bench_window_start(o);
    (void)pthread_barrier_wait(&crowd.ready);
    sleep_until(crowd.window.warm_ns);
    struct bench_cpu before = bench_cpu_now(o);
    sleep_until(crowd.window.end_ns);
    struct bench_cpu after = bench_cpu_now(o);
    *out = (struct bench_result){.cpu = {after.self - before.self, after.servers - before.servers},
                                 .drain_s = -1};
    for (unsigned i = 0; i < o->clients; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        ops->close(workers[i].client);
        histogram_merge(&out->latency, &workers[i].latency);
        out->operations += workers[i].operations;
        out->answered += workers[i].answered;
    }
    (void)pthread_attr_destroy(&small);
    (void)pthread_barrier_destroy(&crowd.ready);
    free(workers);
}
