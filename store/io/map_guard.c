/* Faults in the mapped file of the state, the marker that they leave, and the verification that it asks for.
 *
 * THE HANDLER does only what is safe in any thread at any instruction: system calls, and memory of its own. It finds the file
 * and the place in it by looking the address up in /proc/self/maps. Then it returns with the default action set, so that the
 * same instruction faults again: the process dies of the signal, at that place, and a core file shows it. A fault of a second
 * thread meanwhile waits for that end.
 *
 * THE MARKER is an empty file beside data.mdb, synced with its directory. It says nothing about where the damage is: what was
 * read before the fault may have been wrong too, so all of the state is verified, and with reads instead of a mapping, where
 * a bad block is an error that can be told.
 *
 * Not told: an overflow of the stack. The handler needs one. */
#include "store/io/map_guard.h"

#include "store/io/file.h"
#include "store/io/state_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 4096 + 128 };

static struct {
    atomic_int dir_fd;
    atomic_bool faulted;
    char line[LINE_BYTES]; /* of the maps; the handler's, once it has set `faulted` */
} guard = {.dir_fd = -1};

/* ---- the handler: see above what it may call ---- */

static void put(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n; /* there is nobody else to tell */
}

static void put_number(uint64_t v)
{
    char text[24];
    size_t at = sizeof text;
    text[--at] = '\0';
    do
        text[--at] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    put(text + at);
}

static const char *read_hex(const char *p, uint64_t *out)
{
    uint64_t v = 0;
    for (;; p++) {
        unsigned digit = *p >= '0' && *p <= '9'   ? (unsigned)(*p - '0')
                         : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10
                                                  : 16;
        if (digit == 16)
            break;
        v = v * 16 + digit;
    }
    *out = v;
    return p;
}

/* "from-to perms offset dev inode   path": is the address in there, and where in the file? NULL: no, or it is no file's. */
static const char *file_at(const char *line, uint64_t address, uint64_t *offset)
{
    uint64_t from, to, base;
    const char *p = read_hex(line, &from);
    p = read_hex(p + (*p == '-'), &to);
    if (address < from || address >= to)
        return NULL;
    p += *p == ' ';
    while (*p != ' ' && *p != '\0')
        p++;
    (void)read_hex(p + (*p == ' '), &base);
    *offset = base + (address - from);
    return strchr(line, '/');
}

/* The path stays in guard.line. */
static const char *find_file(uint64_t address, uint64_t *offset)
{
    const char *path = NULL;
    char chunk[512];
    size_t used = 0;
    ssize_t n;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    while (path == NULL && (n = read(fd, chunk, sizeof chunk)) > 0)
        for (ssize_t i = 0; path == NULL && i < n; i++) {
            if (chunk[i] != '\n') {
                if (used < LINE_BYTES - 1)
                    guard.line[used++] = chunk[i];
                continue;
            }
            guard.line[used] = '\0';
            used = 0;
            path = file_at(guard.line, address, offset);
        }
    (void)close(fd);
    return path;
}

static bool leave_marker(void)
{
    int dir = atomic_load(&guard.dir_fd);
    int fd = openat(dir, MAP_GUARD_MARKER, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    bool left = fd >= 0 && fsync(fd) == 0 && fsync(dir) == 0;
    if (fd >= 0)
        (void)close(fd);
    return left;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (atomic_exchange(&guard.faulted, true))
        for (;;)
            (void)pause();
    uint64_t offset = 0, address = (uint64_t)(uintptr_t)info->si_addr;
    const char *path = info->si_code > 0 ? find_file(address, &offset) : NULL;
    bool left = leave_marker();
    put(number == SIGBUS ? "triveni: SIGBUS" : "triveni: SIGSEGV");
    if (path != NULL) {
        put(" at byte ");
        put_number(offset);
        put(" of ");
        put(path);
    }
    if (number == SIGBUS && path != NULL)
        put(": the disk could not read it, or the file was cut short. Look at the disk (dmesg, "
            "smartctl), then");
    else
        put(": the state's data.mdb is damaged, or the program has a bug. Look at the disk (dmesg, "
            "smartctl), "
            "keep the core file, then");
    put(left ? " start the site again (triveni serve): it verifies its whole state before it "
               "serves\n"
             : " run triveni check on the data directory before the site is started again\n");
    (void)signal(number, SIG_DFL);
    if (info->si_code <= 0) /* sent by somebody: it does not come again by itself */
        (void)raise(number);
}

int map_guard_arm(const char *dir, struct err *e)
{
    static const int signals[] = {SIGBUS, SIGSEGV};
    int fd, rc = file_open_dir(dir, &fd, e);
    if (rc != 0)
        return rc;
    int old = atomic_exchange(&guard.dir_fd, fd);
    if (old >= 0)
        (void)close(old);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction now, next = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
        if (sigaction(signals[i], NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 &&
            now.sa_handler == SIG_DFL)
            (void)sigaction(signals[i], &next, NULL);
    }
    return 0;
}

/* ---- the next start ---- */

struct tally {
    uint64_t damaged; /* records */
    uint64_t others;
    struct err *first; /* of the others */
};

static void on_finding(void *arg, const struct finding *f)
{
    struct tally *t = arg;
    if (f->kind == FINDING_NOTE)
        return;
    if (f->kind == FINDING_RECORD)
        t->damaged++;
    else if (t->others++ == 0)
        (void)err_set(t->first, ERR_INTEGRITY, "%s at byte %" PRIu64 ": %s", f->file, f->offset,
                      f->text);
}

bool map_guard_marked(const char *dir)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, MAP_GUARD_MARKER);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

int map_guard_verify(const char *dir, uint64_t *records, uint64_t *damaged, struct err *e)
{
    struct state_check_totals totals = {.known = false};
    struct tally t = {.first = e};
    const struct finding_sink sink = {on_finding, NULL, &t};
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? file_error(e, dir, "open", errno) : state_check(fd, &sink, &totals, e);
    *records = totals.records;
    *damaged = t.damaged;
    if (rc == 0 && t.others > 0)
        rc = ERR_INTEGRITY;
    if (rc == ERR_NOT_FOUND) /* nothing was ever applied here */
        rc = 0;
    if (rc == 0 && unlinkat(fd, MAP_GUARD_MARKER, 0) != 0)
        rc = file_error(e, MAP_GUARD_MARKER, "remove", errno);
    if (rc == 0)
        rc = file_sync_dir(fd, dir, e);
    if (fd >= 0)
        (void)close(fd);
    if (rc == ERR_INTEGRITY)
        (void)err_advise(
            e, "triveni check shows all that is damaged; move the state's directory away "
               "and start again: the site refills from a peer's log or from the repository");
    return rc;
}
