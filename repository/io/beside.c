#include "repository/io/beside.h"

static void *work(void *arg)
{
    struct repo_beside *b = arg;
    b->rc = b->run(b->arg, &b->why);
    return NULL;
}

void repo_beside_begin(struct repo_beside *b, int (*run)(void *arg, struct err *e), void *arg)
{
    *b = (struct repo_beside){.run = run, .arg = arg};
    b->running = pthread_create(&b->thread, NULL, work, b) == 0;
}

int repo_beside_end(struct repo_beside *b, struct err *e)
{
    if (b->running)
        (void)pthread_join(b->thread, NULL);
    else
        (void)work(b);
    if (b->rc != 0 && e != NULL)
        *e = b->why;
    return b->rc;
}
