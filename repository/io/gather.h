/* Names of runs: what gather.c writes and fold.c reads. */
#ifndef REPOSITORY_IO_GATHER_H
#define REPOSITORY_IO_GATHER_H

#include "repository/io/fold.h"
#include "repository/io/run.h"

enum { REPO_RUN_NAME_BYTES = 32 };
/* Of the run of chunk `n`; returns `out`. */
const char *repo_run_name(size_t n, char out[REPO_RUN_NAME_BYTES]);

#endif
