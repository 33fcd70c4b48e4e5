/* This very program as a child process, for work that needs memory and processors of its own: what it writes to stdout is read
 * line by line. It is given nothing but words and the environment; stdin and stderr are /dev/null. One thread uses a helper. */
#ifndef REPLICATION_IO_HELPER_H
#define REPLICATION_IO_HELPER_H

#include "store/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { HELPER_LINE_BYTES = 8192, HELPER_EXTRA_MAX = 4 };

struct helper {
    pid_t pid; /* 0: none */
    int out;
    char line[HELPER_LINE_BYTES];
    size_t used, taken; /* bytes in `line`; of the line that was handed out */
    bool over;          /* stdout was closed */
};

/* `words` follow the program's name and end with NULL. `extra`, up to HELPER_EXTRA_MAX texts "NAME=VALUE" that end with NULL,
 * are put before our environment, so they win: secrets' places go this way, where other users cannot read them.
 * ERR_NO_MEMORY, ERR_IO. */
int helper_start(struct helper *h, const char *const words[], const char *const extra[],
                 struct err *e);
/* The next line, without its end and valid until the next call; NULL: none within `ms`. h->over: no more will come. A line
 * that is longer than fits is cut. */
const char *helper_line(struct helper *h, int ms);
/* Wait for its end, or kill it. *how says it in words: "exit code 7", "signal 9". */
void helper_end(struct helper *h, bool kill_it, char how[64]);

#endif
