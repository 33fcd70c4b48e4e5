/* Waiting on conditions with a limit, on the monotonic clock: a wall clock that somebody sets must neither end a wait nor make
 * it last for hours. */
#ifndef STORE_IO_COND_H
#define STORE_IO_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Instead of pthread_cond_init(), for what the two below wait on. */
void cond_init(pthread_cond_t *cond);

/* The moment `ms` from now. */
struct timespec cond_deadline(uint64_t ms);

static inline bool cond_is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Wait with `lock` held until somebody signals or the moment has come; false: it has. May wake for no reason. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until);
bool cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ms);

#endif
