/* Something that a thread of its own does beside the calling one. Where no thread is to be had it is done when it is waited for,
 * so it must not wait for what the caller does meanwhile. */
#ifndef REPOSITORY_IO_BESIDE_H
#define REPOSITORY_IO_BESIDE_H

#include "store/core/err.h"

#include <pthread.h>
#include <stdbool.h>

struct repo_beside {
    int (*run)(void *arg, struct err *e);
    void *arg;
    pthread_t thread;
    bool running;
    int rc;
    struct err why;
};
/* `b` and `arg` stay where they are until repo_beside_end(), which must follow. */
void repo_beside_begin(struct repo_beside *b, int (*run)(void *arg, struct err *e), void *arg);
/* Wait for it. What it returned, with its error. */
int repo_beside_end(struct repo_beside *b, struct err *e);

#endif
