/* What all load generators share: the options of a cell, its clock, keys and values, the closed loop of threads, and the
 * one line of JSON that a cell ends with.
 *
 * A CELL is one operation at one number of clients, pipelining depth and size of value, for some seconds. The loop is
 * closed: a client asks again when it was answered, so latency and rate describe the same load. What completes in the
 * first BENCH_WARM_MS is not counted. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "bench/histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BENCH_WARM_MS = 300, BENCH_KEY_BYTES = 16, BENCH_CLIENTS_MAX = 1024, BENCH_PIDS_MAX = 8 };

enum bench_op { BENCH_PUT, BENCH_GET, BENCH_SCAN, BENCH_FILL, BENCH_SPECIAL };

struct bench_options {
    const char *system;  /* --system: name of the variant, for the table */
    const char *op_name; /* --op */
    enum bench_op op;
    const char *target; /* --target: URI, socket, directory: what the program takes */
    unsigned clients, depth, value_bytes, seconds, records;
    unsigned rep;
    bool tls;
    const char *ca;
    unsigned pids[BENCH_PIDS_MAX]; /* --pid: processes of the server, whose CPU time is counted */
    unsigned pid_count;
    unsigned limit;       /* --limit: of what the op makes of it */
    unsigned history_mib; /* --history: of old values, as store.history_mib of a site; 0: none */
    const char *level;    /* --level: of writes, as --ack of the program; NULL: the mode */
    unsigned wait;        /* --wait: replicas that must have each write (Redis: WAIT) */
    unsigned rate;        /* --rate: operations a second, for those that do not run closed */
    bool text;            /* --text: values of JSON, which compress */
    const char
        *engine; /* --engine: how the log is written, as store.engine of a site; NULL: auto */
};

/* Exits with 2 and the usage when they are wrong. */
void bench_parse(int argc, char **argv, struct bench_options *o);

/* Print "program: text: reason" and exit with 1: a benchmark has nobody to hand an error to. */
void bench_fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

uint64_t bench_now_ns(void); /* CLOCK_MONOTONIC */

/* xorshift64*: seeds differ by client, the same in every run. */
struct bench_random {
    uint64_t state;
};
struct bench_random bench_random_of(unsigned client);
uint64_t bench_random_next(struct bench_random *r);

/* "k%015u": all systems get the same keys, of the same length, in random order. */
void bench_key(char out[BENCH_KEY_BYTES + 1], uint64_t n);
/* Bytes that do not compress, so that no system gains by compressing; with --text pieces of JSON, which do. From a pool, so that
 * making them costs nothing. */
const uint8_t *bench_value(struct bench_random *r, size_t n);

/* Read all of a value, as who asked for it would. Engines that hand out a pointer into their memory have not read the value yet:
 * without this, one that checks what it reads would be compared with one that reads nothing. */
void bench_consume(const void *value, size_t n);

/* The window of a cell. */
struct bench_window {
    uint64_t warm_ns, end_ns;
};
struct bench_window bench_window_start(const struct bench_options *o);
static inline bool bench_counts(const struct bench_window *w, uint64_t done_ns)
{
    return done_ns >= w->warm_ns && done_ns < w->end_ns;
}

/* CPU time of this process and of the servers, taken at the start of the window and at the end. */
struct bench_cpu {
    double self, servers;
};
struct bench_cpu bench_cpu_now(const struct bench_options *o);

/* Memory of a process that is its own: not the page cache that it maps. MB; 0 when the process is gone. pid 0: this one. */
double bench_private_mb(unsigned pid);

struct bench_result {
    struct histogram latency; /* one sample an answer */
    uint64_t operations;      /* records written or read; 0: as many as there are samples */
    uint64_t answered;        /* all there were, also before and after the window; 0: not counted */
    double seconds;           /* 0: the window */
    struct bench_cpu cpu;     /* spent */
    double
        drain_s; /* after the end until what was acknowledged could be read; negative: not asked */
    char extra[512]; /* more JSON members, beginning with a comma */
};
void bench_print(const struct bench_options *o, const struct bench_result *r);

/* ---- blocking clients: one thread each ---- */
struct bench_ops {
    void *(*open)(const struct bench_options *o, unsigned client); /* exits on failure */
    /* Do one operation, of `depth` records where that is possible; returns how many. */
    unsigned (*run)(void *client, struct bench_random *r);
    void (*close)(void *client);
};
void bench_run_threads(const struct bench_options *o, const struct bench_ops *ops,
                       struct bench_result *out);

#endif
