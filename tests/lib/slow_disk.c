/* A disk that a test can slow down, for LD_PRELOAD: each synchronous write, and each sync of data, takes as many milliseconds
 * longer as the file $SLOW_DISK_FILE says now. So does each fsync of a file whose name contains $SLOW_DISK_OF, and then nothing
 * else does. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void delay(void)
{
    const char *name = getenv("SLOW_DISK_FILE");
    char text[32] = "";
    int fd = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    long ms = fd >= 0 && read(fd, text, sizeof text - 1) > 0 ? strtol(text, NULL, 10) : 0;
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    if (fd >= 0)
        (void)close(fd);
    if (ms > 0)
        (void)nanosleep(&t, NULL);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_DSYNC) != 0 && getenv("SLOW_DISK_OF") == NULL)
        delay();
    return syscall(SYS_pwrite64, fd, p, n, at);
}

int fdatasync(int fd)
{
    if (getenv("SLOW_DISK_OF") == NULL)
        delay();
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    const char *of = getenv("SLOW_DISK_OF");
    char link[32], name[4096];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = of != NULL ? readlink(link, name, sizeof name - 1) : -1;
    name[n > 0 ? n : 0] = '\0';
    if (of != NULL && strstr(name, of) != NULL)
        delay();
    return (int)syscall(SYS_fsync, fd);
}
