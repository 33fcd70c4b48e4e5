#include "tests/lib/faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SITES_MAX = 1024, RANGES_MAX = 4 };

struct site {
    uintptr_t at;
    enum fault_kind kind;
    const char *call;
    _Atomic uint32_t calls;
};

static struct table {
    atomic_flag lock;
    _Atomic size_t count;
    _Atomic uint32_t fired;
    size_t site;
    enum fault_mode mode;
    uint32_t n;
    struct site sites[SITES_MAX];
} * table;

static struct range {
    uintptr_t from, to, base;
    char name[64];
} ranges[RANGES_MAX];
static size_t range_count;
static atomic_bool counting;

const char *fault_kind_name(enum fault_kind kind)
{
    static const char *const names[FAULT_KINDS] = {"memory", "map",  "open",  "read", "write",
                                                   "sync",   "name", "size",  "ask",  "lock",
                                                   "thread", "ring", "submit"};
    return names[kind];
}

const char *fault_mode_name(enum fault_mode mode)
{
    static const char *const names[FAULT_MODES] = {"once", "for ever", "short", "no space"};
    return names[mode];
}

bool fault_applies(enum fault_kind kind, enum fault_mode mode)
{
    switch (mode) {
    case FAULT_SHORT:
        return kind == FAULT_READ || kind == FAULT_WRITE || kind == FAULT_SUBMIT;
    case FAULT_NO_SPACE:
        return kind == FAULT_OPEN || kind == FAULT_WRITE || kind == FAULT_SYNC ||
               kind == FAULT_NAME || kind == FAULT_SIZE;
    case FAULT_ONCE:
    case FAULT_FOR_EVER:
    case FAULT_MODES:
        break;
    }
    return true;
}

/* ---- the table ---- */

static int add_range(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    bool *first = arg;
    bool wanted = *first || strstr(info->dlpi_name, "liblmdb") != NULL;
    for (size_t i = 0; wanted && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || (p->p_flags & PF_X) == 0 || range_count == RANGES_MAX)
            continue;
        struct range *r = &ranges[range_count++];
        r->base = info->dlpi_addr;
        r->from = info->dlpi_addr + p->p_vaddr;
        r->to = r->from + p->p_memsz;
        (void)snprintf(r->name, sizeof r->name, "%s", *first ? "program" : "liblmdb");
    }
    *first = false;
    return 0;
}

void faults_init(void)
{
    bool first = true;
    range_count = 0;
    table = (void *)syscall(SYS_mmap, NULL, sizeof *table, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED)
        abort();
    (void)dl_iterate_phdr(add_range, &first);
}

void faults_count(bool on)
{
    atomic_store(&counting, on);
}

void faults_arm(size_t site, enum fault_mode mode, uint32_t n)
{
    for (size_t i = 0; i < table->count; i++)
        table->sites[i].calls = 0;
    table->site = site;
    table->mode = mode;
    table->n = n;
    table->fired = 0;
    atomic_flag_clear(&table->lock); /* a scenario may have died with it */
}

uint32_t faults_fired(void)
{
    return table->fired;
}

size_t faults_sites(void)
{
    return table->count;
}

enum fault_kind faults_kind(size_t site)
{
    return table->sites[site].kind;
}

uint32_t faults_calls(size_t site)
{
    return table->sites[site].calls;
}

uintptr_t faults_address(size_t site)
{
    return table->sites[site].at;
}

void faults_describe(size_t site, char out[160])
{
    const struct site *s = &table->sites[site];
    (void)snprintf(out, 160, "%s", s->call);
    for (size_t i = 0; i < range_count; i++)
        if (s->at >= ranges[i].from && s->at < ranges[i].to)
            (void)snprintf(out, 160, "%s at %s+0x%zx", s->call, ranges[i].name,
                           (size_t)(s->at - ranges[i].base - 1));
}

static bool is_ours(uintptr_t at)
{
    for (size_t i = 0; i < range_count; i++)
        if (at >= ranges[i].from && at < ranges[i].to)
            return true;
    return false;
}

static size_t find(uintptr_t at, enum fault_kind kind, const char *call)
{
    size_t i;
    for (i = 0; i < table->count; i++)
        if (table->sites[i].at == at)
            return i;
    while (atomic_flag_test_and_set(&table->lock))
        (void)sched_yield();
    for (i = 0; i < table->count && table->sites[i].at != at; i++)
        ;
    if (i == SITES_MAX)
        abort();
    if (i == table->count) {
        table->sites[i] = (struct site){.at = at, .kind = kind, .call = call};
        table->count++;
    }
    atomic_flag_clear(&table->lock);
    return i;
}

/* Does this call fail, and how? */
static bool fails(void *caller, enum fault_kind kind, const char *call, enum fault_mode *mode)
{
    const uintptr_t at = (uintptr_t)caller;
    if (!atomic_load(&counting) || !is_ours(at))
        return false;
    size_t i = find(at, kind, call);
    uint32_t n = ++table->sites[i].calls;
    *mode = table->mode;
    if (table->n == 0 || i != table->site || n < table->n || (n > table->n && *mode == FAULT_ONCE))
        return false;
    table->fired++;
    return true;
}

static int error_of(enum fault_kind kind, enum fault_mode mode)
{
    if (mode == FAULT_NO_SPACE)
        return ENOSPC;
    switch (kind) {
    case FAULT_MEMORY:
    case FAULT_MAP:
        return ENOMEM;
    case FAULT_THREAD:
        return EAGAIN;
    case FAULT_RING:
        return EPERM;
    case FAULT_OPEN:
        return EMFILE;
    case FAULT_READ:
    case FAULT_WRITE:
    case FAULT_SYNC:
    case FAULT_NAME:
    case FAULT_SIZE:
    case FAULT_ASK:
    case FAULT_LOCK:
    case FAULT_SUBMIT:
    case FAULT_KINDS:
        break;
    }
    return EIO;
}

#define CALLER __builtin_return_address(0)

/* In a replaced call: return `value` with errno when it is to fail. */
#define FAIL(kind, call, value)                                                                    \
    enum fault_mode mode;                                                                          \
    if (fails(CALLER, kind, call, &mode)) {                                                        \
        errno = error_of(kind, mode);                                                              \
        return value;                                                                              \
    }

/* ... or to do half. */
#define FAIL_OR_SHORT(kind, call, n)                                                               \
    enum fault_mode mode;                                                                          \
    if (fails(CALLER, kind, call, &mode)) {                                                        \
        if (mode != FAULT_SHORT) {                                                                 \
            errno = error_of(kind, mode);                                                          \
            return -1;                                                                             \
        }                                                                                          \
        (n) = (n) > 1 ? (n) / 2 : (n);                                                             \
    }

/* ---- memory ---- */

void *__libc_malloc(size_t n);             // NOLINT(bugprone-reserved-identifier)
void *__libc_calloc(size_t n, size_t m);   // NOLINT(bugprone-reserved-identifier)
void *__libc_realloc(void *p, size_t n);   // NOLINT(bugprone-reserved-identifier)
void *__libc_memalign(size_t a, size_t n); // NOLINT(bugprone-reserved-identifier)

void *malloc(size_t n)
{
    FAIL(FAULT_MEMORY, "malloc", NULL)
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t m)
{
    FAIL(FAULT_MEMORY, "calloc", NULL)
    return __libc_calloc(n, m);
}

void *realloc(void *p, size_t n)
{
    FAIL(FAULT_MEMORY, "realloc", NULL)
    return __libc_realloc(p, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    FAIL(FAULT_MEMORY, "aligned_alloc", NULL)
    return __libc_memalign(alignment, n);
}

int posix_memalign(void **p, size_t alignment, size_t n)
{
    FAIL(FAULT_MEMORY, "posix_memalign", ENOMEM)
    *p = __libc_memalign(alignment, n);
    return *p == NULL ? ENOMEM : 0;
}

char *strdup(const char *text)
{
    FAIL(FAULT_MEMORY, "strdup", NULL)
    char *copy = __libc_malloc(strlen(text) + 1);
    return copy == NULL ? NULL : memcpy(copy, text, strlen(text) + 1);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    FAIL(FAULT_MAP, "mmap", MAP_FAILED)
    return (void *)syscall(SYS_mmap, at, n, protection, flags, fd, offset);
}

/* ---- files ---- */

#define MODE_ARGUMENT(bits)                                                                        \
    mode_t bits = 0;                                                                               \
    if ((flags & O_CREAT) != 0) {                                                                  \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        bits = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
    }

int open(const char *path, int flags, ...)
{
    MODE_ARGUMENT(bits)
    FAIL(FAULT_OPEN, "open", -1)
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, bits);
}

int openat(int dir_fd, const char *path, int flags, ...)
{
    MODE_ARGUMENT(bits)
    FAIL(FAULT_OPEN, "openat", -1)
    return (int)syscall(SYS_openat, dir_fd, path, flags, bits);
}

int mkdir(const char *path, mode_t bits)
{
    FAIL(FAULT_OPEN, "mkdir", -1)
    return (int)syscall(SYS_mkdir, path, bits);
}

DIR *fdopendir(int fd)
{
    FAIL(FAULT_OPEN, "fdopendir", NULL)
    DIR *(*real)(int) = (DIR * (*)(int)) dlsym(RTLD_NEXT, "fdopendir");
    return real(fd);
}

ssize_t pread(int fd, void *p, size_t n, off_t offset)
{
    FAIL_OR_SHORT(FAULT_READ, "pread", n)
    return syscall(SYS_pread64, fd, p, n, offset);
}

ssize_t __pread_chk(int fd, void *p, size_t n, off_t offset, size_t size); // NOLINT
ssize_t __pread_chk(int fd, void *p, size_t n, off_t offset, size_t size)  // NOLINT
{
    FAIL_OR_SHORT(FAULT_READ, "pread", n)
    if (n > size)
        abort();
    return syscall(SYS_pread64, fd, p, n, offset);
}

ssize_t read(int fd, void *p, size_t n)
{
    FAIL_OR_SHORT(FAULT_READ, "read", n)
    return syscall(SYS_read, fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t offset)
{
    FAIL_OR_SHORT(FAULT_WRITE, "pwrite", n)
    return syscall(SYS_pwrite64, fd, p, n, offset);
}

ssize_t write(int fd, const void *p, size_t n)
{
    FAIL_OR_SHORT(FAULT_WRITE, "write", n)
    return syscall(SYS_write, fd, p, n);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    FAIL_OR_SHORT(FAULT_WRITE, "writev", n)
    return syscall(SYS_writev, fd, v, n);
}

int fsync(int fd)
{
    FAIL(FAULT_SYNC, "fsync", -1)
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    FAIL(FAULT_SYNC, "fdatasync", -1)
    return (int)syscall(SYS_fdatasync, fd);
}

int renameat(int dir_fd, const char *path, int to_dir_fd, const char *to)
{
    FAIL(FAULT_NAME, "renameat", -1)
    return (int)syscall(SYS_renameat, dir_fd, path, to_dir_fd, to);
}

int linkat(int dir_fd, const char *path, int to_dir_fd, const char *to, int flags)
{
    FAIL(FAULT_NAME, "linkat", -1)
    return (int)syscall(SYS_linkat, dir_fd, path, to_dir_fd, to, flags);
}

int unlinkat(int dir_fd, const char *path, int flags)
{
    FAIL(FAULT_NAME, "unlinkat", -1)
    return (int)syscall(SYS_unlinkat, dir_fd, path, flags);
}

int ftruncate(int fd, off_t size)
{
    FAIL(FAULT_SIZE, "ftruncate", -1)
    return (int)syscall(SYS_ftruncate, fd, size);
}

int flock(int fd, int act)
{
    FAIL(FAULT_LOCK, "flock", -1)
    return (int)syscall(SYS_flock, fd, act);
}

int fstat(int fd, struct stat *st)
{
    FAIL(FAULT_ASK, "fstat", -1)
    return (int)syscall(SYS_fstat, fd, st);
}

int fstatat(int dir_fd, const char *path, struct stat *st, int flags)
{
    FAIL(FAULT_ASK, "fstatat", -1)
    return (int)syscall(SYS_newfstatat, dir_fd, path, st, flags);
}

int fstatfs(int fd, struct statfs *fs)
{
    FAIL(FAULT_ASK, "fstatfs", -1)
    return (int)syscall(SYS_fstatfs, fd, fs);
}

int fstatvfs(int fd, struct statvfs *fs)
{
    FAIL(FAULT_ASK, "fstatvfs", -1)
    int (*real)(int, struct statvfs *) =
        (int (*)(int, struct statvfs *))dlsym(RTLD_NEXT, "fstatvfs");
    return real(fd, fs);
}

ssize_t getrandom(void *p, size_t n, unsigned flags)
{
    FAIL(FAULT_ASK, "getrandom", -1)
    return syscall(SYS_getrandom, p, n, flags);
}

/* ---- threads and io_uring ---- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    FAIL(FAULT_THREAD, "pthread_create", EAGAIN)
    create *real = (create *)dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attr, run, arg);
}

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    typedef int init(unsigned, struct io_uring *, unsigned);
    FAIL(FAULT_RING, "io_uring_queue_init", -EPERM)
    init *real = (init *)dlsym(RTLD_NEXT, "io_uring_queue_init");
    return real(entries, ring, flags);
}

int io_uring_register(unsigned fd, unsigned code, const void *arg, unsigned n)
{
    FAIL(FAULT_RING, "io_uring_register", -EPERM)
    return (int)syscall(SYS_io_uring_register, fd, code, arg, n);
}

/* The request is made one that the kernel answers so: of a descriptor that there is not, or of half the bytes. */
int io_uring_submit(struct io_uring *ring)
{
    enum fault_mode mode;
    if (fails(CALLER, FAULT_SUBMIT, "io_uring_submit", &mode)) {
        struct io_uring_sqe *last = &ring->sq.sqes[(ring->sq.sqe_tail - 1) & ring->sq.ring_mask];
        if (mode != FAULT_SHORT)
            last->fd = -1;
        else if (last->opcode == IORING_OP_WRITE)
            last->len = last->len > 1 ? last->len / 2 : last->len;
    }
    int (*real)(struct io_uring *) =
        (int (*)(struct io_uring *))dlsym(RTLD_NEXT, "io_uring_submit");
    return real(ring);
}
