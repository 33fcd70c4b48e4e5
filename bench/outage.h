/* How long nobody is answered when something happens to a cluster: told by the load generators that go on through it.
 *
 * Whoever watches writes commands to the program's stdin, a line each, and reads one line of JSON for each:
 *
 *   mark       something is about to happen: count from now on
 *   kill PID   the same, and send SIGKILL to that process
 *   report     what came of it: longest_ms, the longest time without an answer since the mark; recovered_ms, from the mark to the
 *              end of the first such time of OUTAGE_LEAST_MS or more, 0: there was none, or it has not ended; answered, failed
 *
 * The end of stdin ends the program. */
#ifndef BENCH_OUTAGE_H
#define BENCH_OUTAGE_H

#include <pthread.h>
#include <stdint.h>

/* What was answered before the mark may still be on its way after it; no failover is as short, and a busy machine
 * may take a write 20 ms by itself. */
enum { OUTAGE_LEAST_MS = 50 };

struct outage {
    pthread_mutex_t lock;
    uint64_t mark_ns, last_ns; /* 0: never */
    uint64_t longest_ns, recovered_ns;
    uint64_t answered, failed; /* since the mark */
};

void outage_init(struct outage *o);
void outage_answered(struct outage *o); /* any thread */
void outage_failed(struct outage *o);
/* Serve stdin until it ends. */
void outage_serve(struct outage *o);

#endif
