#include "store/io/cond.h"

#include "store/core/check.h"

#include <errno.h>

void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    rc |= pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc |= pthread_cond_init(cond, &attr);
    rc |= pthread_condattr_destroy(&attr);
    check(rc == 0); /* they fail for wrong arguments only */
}

struct timespec cond_deadline(uint64_t ms)
{
    struct timespec t;
    check(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    t.tv_sec += (time_t)(ms / 1000) + t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
    return pthread_cond_timedwait(cond, lock, until) != ETIMEDOUT;
}

bool cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ms)
{
    struct timespec until = cond_deadline(ms);
    return cond_wait_until(cond, lock, &until);
}
