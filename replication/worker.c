#include "replication/worker.h"

int worker_start(struct worker *w, void *(*run)(void *), void *arg, const char *what, struct err *e)
{
    w->stop = false;
    (void)pthread_mutex_init(&w->lock, NULL);
    cond_init(&w->news);
    if (pthread_create(&w->thread, NULL, run, arg) == 0)
        return 0;
    worker_deinit(w);
    return err_set(e, ERR_NO_MEMORY, "cannot start the thread that %s", what);
}

void worker_end(struct worker *w)
{
    worker_lock(w);
    w->stop = true;
    worker_wake(w);
    worker_unlock(w);
    (void)pthread_join(w->thread, NULL);
}

void worker_deinit(struct worker *w)
{
    (void)pthread_cond_destroy(&w->news);
    (void)pthread_mutex_destroy(&w->lock);
}
