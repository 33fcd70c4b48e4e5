/* The store as an embedded engine: log and state composed as a site composes them, without protocol and network, so that
 * what these two cost can be measured, and beside other engines in a process.
 *
 * A put is one transaction: sealed, appended, and durable when engine_put returns. A thread applies behind it, another
 * makes checkpoints, with the sizes of replication/applier.c. */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include "bench/bench.h"
#include "store/io/salts.h"
#include "store/log.h"
#include "store/state.h"

#include <semaphore.h>

struct engine; /* opaque */

/* Opens what is in the directory `target` or creates it, and replays; exits on failure. `applies`: with the threads behind;
 * without, only the log grows. */
struct engine *engine_open(const struct bench_options *o, bool applies);
/* Waits for everything; an engine that applies ends with a checkpoint, so that the next open replays nothing. */
void engine_close(struct engine *g);

/* One thread's memory for its puts. */
struct engine_client {
    struct engine *engine;
    struct writer body; /* of one transaction */
    struct salts salts;
    sem_t done;
};
void engine_client_init(struct engine_client *c, struct engine *g, size_t body_bytes);
void engine_client_deinit(struct engine_client *c);

/* `n` transactions of one put each, or, when `together`, one transaction; returns when all are durable. Any thread, with a
 * client of its own. */
void engine_put(struct engine_client *c, const struct op *ops, unsigned n, bool together);

struct state *engine_state(struct engine *g);
/* Wait until the state has everything; seconds. */
double engine_drain(struct engine *g);

struct engine_sizes {
    uint64_t log_bytes, log_written, state_bytes, unapplied_entries, checkpoints;
    uint64_t entries,
        batches; /* appended and written since the engine was opened; a batch is one sync */
};
void engine_sizes(struct engine *g, struct engine_sizes *out);

/* Bytes of log replayed by the last engine_open, and the seconds of its three parts. */
struct engine_recovery {
    uint64_t bytes, entries;
    double state_s, log_s, replay_s;
};
struct engine_recovery engine_recovery(const struct engine *g);

#endif
