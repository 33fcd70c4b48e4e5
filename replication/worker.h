/* A thread of a site beside its loop: what the two share is under its lock, and it ends when it is told. */
#ifndef REPLICATION_WORKER_H
#define REPLICATION_WORKER_H

#include "store/core/err.h"
#include "store/io/cond.h"

struct worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news; /* for the thread, and for who waits for it */
    bool stop;           /* under the lock: end soon */
};

/* Begin run(arg) in a thread. `what` it does is for the error: "cannot start the thread that ...". Then nothing is left. */
int worker_start(struct worker *w, void *(*run)(void *), void *arg, const char *what,
                 struct err *e);

/* Tell it to end, and wait until it has. Others may go on using lock and news. */
void worker_end(struct worker *w);

/* After the end, when nobody uses lock and news any more. */
void worker_deinit(struct worker *w);

static inline void worker_lock(struct worker *w)
{
    (void)pthread_mutex_lock(&w->lock);
}

static inline void worker_unlock(struct worker *w)
{
    (void)pthread_mutex_unlock(&w->lock);
}

/* With the lock held: somebody who waits has something to look at. */
static inline void worker_wake(struct worker *w)
{
    (void)pthread_cond_broadcast(&w->news);
}

/* With the lock held, which is given up meanwhile: until there are news, or so long. */
static inline void worker_wait(struct worker *w, uint64_t ms)
{
    (void)cond_wait_ms(&w->news, &w->lock, ms);
}

/* False: the moment has come. */
static inline bool worker_wait_until(struct worker *w, const struct timespec *moment)
{
    return cond_wait_until(&w->news, &w->lock, moment);
}

#endif
