/* Crashes and failing disks: calls that change the disk are counted, and from one on they end the process or fail. For one source
 * of a program. */
#ifndef TESTS_UNIT_REPOSITORY_IO_TROUBLE_KIT_H
#define TESTS_UNIT_REPOSITORY_IO_TROUBLE_KIT_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

enum trouble { TROUBLE_NONE, TROUBLE_EXIT, TROUBLE_EIO, TROUBLE_ENOSPC };
static enum trouble trouble;
static int trouble_after;

static bool strikes(void)
{
    if (trouble == TROUBLE_NONE || trouble_after-- > 0)
        return false;
    if (trouble == TROUBLE_EXIT)
        _exit(7);
    errno = trouble == TROUBLE_ENOSPC ? ENOSPC : EIO;
    return true;
}

/* These stand in for the C library's in this program only. */
ssize_t write(int fd, const void *p, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (fd > 2 && strikes())
        return -1;
    if (real == NULL)
        real = (ssize_t(*)(int, const void *, size_t))(uintptr_t)dlsym(RTLD_NEXT, "write");
    return real(fd, p, n);
}
int fdatasync(int fd)
{
    static int (*real)(int);
    if (strikes())
        return -1;
    if (real == NULL)
        real = (int (*)(int))(uintptr_t)dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}
int fsync(int fd)
{
    static int (*real)(int);
    if (strikes())
        return -1;
    if (real == NULL)
        real = (int (*)(int))(uintptr_t)dlsym(RTLD_NEXT, "fsync");
    return real(fd);
}
int linkat(int a, const char *from, int b, const char *to, int flags)
{
    static int (*real)(int, const char *, int, const char *, int);
    if (strikes())
        return -1;
    if (real == NULL)
        real = (int (*)(int, const char *, int, const char *, int))(uintptr_t)dlsym(RTLD_NEXT,
                                                                                    "linkat");
    return real(a, from, b, to, flags);
}
int unlinkat(int fd, const char *path, int flags)
{
    static int (*real)(int, const char *, int);
    if (trouble == TROUBLE_EXIT && strikes())
        return -1;
    if (real == NULL)
        real = (int (*)(int, const char *, int))(uintptr_t)dlsym(RTLD_NEXT, "unlinkat");
    return real(fd, path, flags);
}

#endif
