/* A disk with a bad spot, for LD_PRELOAD: reading the file whose inode the file $BAD_DISK_FILE names gives EIO. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_bad(int fd)
{
    const char *name = getenv("BAD_DISK_FILE");
    char text[32] = "";
    struct stat st;
    int list = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    long ino = list >= 0 && read(list, text, sizeof text - 1) > 0 ? strtol(text, NULL, 10) : 0;
    if (list >= 0)
        (void)close(list);
    return ino != 0 && fstat(fd, &st) == 0 && (long)st.st_ino == ino;
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
    if (is_bad(fd)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, p, n, at);
}

ssize_t pread64(int fd, void *p, size_t n, off_t at) __attribute__((alias("pread")));
