/* Directories of a site that does not run, for tools that only read them. */
#ifndef TOOLS_DATA_DIR_H
#define TOOLS_DATA_DIR_H

#include "store/core/err.h"

#include <stdbool.h>

/* What a directory is: a whole data directory, or one of the two in it. Absent parts are -1. */
struct data_dir {
    int fd;       /* of the directory that was named */
    int log_fd;   /* with log segments */
    int state_fd; /* with checkpoint and data.mdb */
    bool is_site; /* it holds site.json or vote */
    int locks[3];
};

/* Open for reading. With `lock`, shared locks keep a site from starting on it meanwhile; ERR_BUSY when one runs. ERR_NOT_FOUND
 * when it is nothing of a site's. On error nothing is held. */
int data_dir_open(struct data_dir *d, const char *path, bool lock, struct err *e);
void data_dir_close(struct data_dir *d);

#endif
