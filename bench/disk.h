/* The floor under every durable commit: 4 KiB written with O_DIRECT | O_DSYNC into space that was written before, one at a
 * time. `value_bytes` is rounded up to blocks of 4 KiB; `target` is the directory.
 *
 * Into written space, because that is what a log that recycles its segments does; a file that grows would add the
 * journal of the file system to it. */
#ifndef BENCH_DISK_H
#define BENCH_DISK_H

#include "bench/bench.h"

/* The functions of struct bench_ops. */
void *disk_open(const struct bench_options *o, unsigned client);
unsigned disk_run(void *client, struct bench_random *r);
void disk_close(void *client);

#endif
