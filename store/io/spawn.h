/* A program as a child process, with nothing but words, an environment and two descriptors. posix_spawn and not fork: a site maps
 * gigabytes, and its threads hold locks. */
#ifndef STORE_IO_SPAWN_H
#define STORE_IO_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

struct spawn {
    const char *path;
    char *const *words; /* the first is its name; NULL ends them */
    char *const *env;   /* likewise */
    int out;            /* becomes its stdout */
    int complaints;     /* becomes its stderr; -1: /dev/null, as its stdin is */
    bool leads;         /* a process group of its own: to be killed with what it starts */
};

/* 0, or an error number of errno.h. No signal is blocked or ignored in it. Any thread. */
int spawn_start(const struct spawn *s, pid_t *pid);

#endif
