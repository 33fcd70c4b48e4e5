#include "bench/outage.h"

#include "bench/bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void outage_init(struct outage *o)
{
    *o = (struct outage){.mark_ns = bench_now_ns()};
    (void)pthread_mutex_init(&o->lock, NULL);
}

static void note(struct outage *o, uint64_t now)
{
    uint64_t since = o->last_ns > o->mark_ns ? o->last_ns : o->mark_ns;
    if (now - since > o->longest_ns)
        o->longest_ns = now - since;
}

void outage_answered(struct outage *o)
{
    (void)pthread_mutex_lock(&o->lock);
    uint64_t now = bench_now_ns(); /* under the lock, so that it never goes back */
    note(o, now);
    if (o->recovered_ns == 0 && o->longest_ns >= OUTAGE_LEAST_MS * 1000000ull)
        o->recovered_ns = now;
    o->last_ns = now;
    o->answered++;
    (void)pthread_mutex_unlock(&o->lock);
}

void outage_failed(struct outage *o)
{
    (void)pthread_mutex_lock(&o->lock);
    o->failed++;
    (void)pthread_mutex_unlock(&o->lock);
}

static void mark(struct outage *o, int pid)
{
    (void)pthread_mutex_lock(&o->lock);
    o->mark_ns = bench_now_ns();
    o->longest_ns = o->recovered_ns = o->answered = o->failed = 0;
    if (pid > 0 && kill(pid, SIGKILL) != 0)
        bench_fail("kill %d: %s", pid, strerror(errno));
    (void)pthread_mutex_unlock(&o->lock);
    (void)printf("{\"marked\":true}\n");
}

static void report(struct outage *o)
{
    (void)pthread_mutex_lock(&o->lock);
    note(o, bench_now_ns()); /* one that has not ended counts as far as it goes */
    (void)printf("{\"longest_ms\":%.1f,\"recovered_ms\":%.1f,\"answered\":%llu,\"failed\":%llu}\n",
                 (double)o->longest_ns / 1e6,
                 o->recovered_ns == 0 ? 0 : (double)(o->recovered_ns - o->mark_ns) / 1e6,
                 (unsigned long long)o->answered, (unsigned long long)o->failed);
    (void)pthread_mutex_unlock(&o->lock);
}

void outage_serve(struct outage *o)
{
    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strncmp(line, "mark", 4) == 0)
            mark(o, 0);
        else if (strncmp(line, "kill ", 5) == 0)
            mark(o, (int)strtol(line + 5, NULL, 10));
        else if (strncmp(line, "report", 6) == 0)
            report(o);
        else
            bench_fail("unknown command: %s", line);
        if (fflush(stdout) != 0)
            bench_fail("cannot write the result: %s", strerror(errno));
    }
}
