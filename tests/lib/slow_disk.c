/* A disk that a test can slow down, for LD_PRELOAD: each synchronous write, and each sync, takes as many milliseconds longer as
 * the file $SLOW_DISK_FILE says now. */
#include <fcntl.h>
#include <stdlib.h>
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
    if (flags >= 0 && (flags & O_DSYNC) != 0)
        delay();
    return syscall(SYS_pwrite64, fd, p, n, at);
}

int fdatasync(int fd)
{
    delay();
    return (int)syscall(SYS_fdatasync, fd);
}
