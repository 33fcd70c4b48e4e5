#include "bench/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 4096, FILE_BYTES = 64 << 20 };

struct disk {
    int fd;
    uint8_t *block;
    size_t bytes;
    off_t at;
};

void *disk_open(const struct bench_options *o, unsigned client)
{
    char path[512];
    struct disk *d = calloc(1, sizeof *d);
    (void)snprintf(path, sizeof path, "%s/disk-%u", o->target, client);
    if (d == NULL)
        bench_fail("out of memory");
    d->bytes = ((size_t)o->value_bytes + BLOCK - 1) / BLOCK * BLOCK;
    d->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    if (d->fd < 0 || posix_memalign((void **)&d->block, BLOCK, 1 << 20) != 0)
        bench_fail("%s: %s", path, strerror(errno));
    (void)unlink(path);
    memset(d->block, 0x5a, 1 << 20);
    for (off_t at = 0; at < FILE_BYTES; at += 1 << 20)
        if (pwrite(d->fd, d->block, 1 << 20, at) != 1 << 20)
            bench_fail("%s: %s", path, strerror(errno));
    if (fsync(d->fd) != 0)
        bench_fail("%s: %s", path, strerror(errno));
    /* O_DSYNC cannot be set on an open file: open it again through /proc. */
    char again[64];
    (void)snprintf(again, sizeof again, "/proc/self/fd/%d", d->fd);
    int fd = open(again, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
    if (fd < 0)
        bench_fail("%s: %s", path, strerror(errno));
    (void)close(d->fd);
    d->fd = fd;
    return d;
}

unsigned disk_run(void *client, struct bench_random *r)
{
    struct disk *d = client;
    memcpy(d->block, bench_value(r, 64), 64);
    if (pwrite(d->fd, d->block, d->bytes, d->at) != (ssize_t)d->bytes)
        bench_fail("write: %s", strerror(errno));
    d->at = (d->at + (off_t)d->bytes) % (FILE_BYTES / (off_t)d->bytes * (off_t)d->bytes);
    return 1;
}

void disk_close(void *client)
{
    struct disk *d = client;
    (void)close(d->fd);
    free(d->block);
    free(d);
}
