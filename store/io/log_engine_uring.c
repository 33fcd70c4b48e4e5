/* The io_uring engine: a write, its whole completion, then a datasync and its completion. Never
 * O_DSYNC (it stalls a timer tick when a core is busy) and never linked requests (a short write
 * would let the sync run before the rest).
 *
 * The ring has one request in flight, so it cannot overflow. It is restricted to the two operations
 * before it is enabled: io_uring is not seen by seccomp filters, so the ring filters itself. Each
 * error becomes -errno; nothing is retried but EINTR of the wait. Kernels in which io_uring is known to
 * hang or to lose are refused, see engine_uring_kernel_is_sound(). */
#include "store/io/log_engine.h"

#include "store/core/check.h"

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

struct uring {
    struct engine engine; /* first, so that a struct engine * is a struct uring * */
    struct io_uring ring;
};

static struct uring *uring_of(struct engine *engine)
{
    return (struct uring *)(void *)engine;
}

/* Submit the one prepared request and wait for it. Its result, or -errno. */
static int run(struct uring *u)
{
    int rc = io_uring_submit(&u->ring);
    if (rc != 1)
        return rc < 0 ? rc : -EIO;
    struct io_uring_cqe *cqe;
    do
        rc = io_uring_wait_cqe(&u->ring, &cqe);
    while (rc == -EINTR || rc == -EAGAIN);
    if (rc < 0)
        return rc;
    int result = cqe->res;
    io_uring_cqe_seen(&u->ring, cqe);
    return result;
}

static struct io_uring_sqe *request(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    check(sqe != NULL);
    return sqe;
}

static ssize_t uring_write(struct engine *self, int fd, const uint8_t *p, size_t n, uint64_t offset)
{
    struct uring *u = uring_of(self);
    unsigned step = n < (1u << 30) ? (unsigned)n : 1u << 30;
    int r;
    do {
        io_uring_prep_write(request(u), fd, p, step, offset);
        r = run(u);
    } while (r == -EINTR);
    return r;
}

static int uring_sync(struct engine *self, int fd)
{
    struct uring *u = uring_of(self);
    io_uring_prep_fsync(request(u), fd, IORING_FSYNC_DATASYNC);
    return run(u);
}

static void uring_close(struct engine *self)
{
    struct uring *u = uring_of(self);
    io_uring_queue_exit(&u->ring);
    free(u);
}

bool engine_uring_kernel_is_sound(const char *release, const char *version)
{
    /* Debian's release is that of the interface, "6.1.0-18-amd64"; what it is made of stands in the version. */
    const char *debian = strstr(version, "Debian ");
    char *end;
    long major = strtol(debian != NULL ? debian + 7 : release, &end, 10);
    long minor = *end == '.' ? strtol(end + 1, &end, 10) : 0;
    long patch = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    if (major != 6)
        return major == 0 || major > 6; /* an unknown text is taken for new */
    return minor > 1 || (minor == 1 && patch >= 67);
}

static int restrict_ring(struct io_uring *ring)
{
    struct io_uring_restriction allowed[2];
    memset(allowed, 0, sizeof allowed);
    allowed[0].opcode = IORING_RESTRICTION_SQE_OP;
    allowed[0].sqe_op = IORING_OP_WRITE;
    allowed[1].opcode = IORING_RESTRICTION_SQE_OP;
    allowed[1].sqe_op = IORING_OP_FSYNC;
    /* Not the functions of these names: liburing 2.3 declares but does not export them. */
    unsigned fd = (unsigned)ring->ring_fd;
    int rc = io_uring_register(fd, IORING_REGISTER_RESTRICTIONS, allowed, 2);
    return rc != 0 ? rc : io_uring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int engine_uring_open(struct engine **out, struct err *e)
{
    struct utsname name;
    char text[128];
    if (uname(&name) == 0 && !engine_uring_kernel_is_sound(name.release, name.version))
        return err_set(
            e, ERR_IO,
            "Linux %.40s: io_uring is used from 6.1.67 on; earlier kernels hang in it, or "
            "lose synced writes on ext4",
            name.release);
    struct uring *u = calloc(1, sizeof *u);
    if (u == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for io_uring");
    u->engine = (struct engine){LOG_ENGINE_URING, 0, uring_write, uring_sync, uring_close};
    int rc = io_uring_queue_init(4, &u->ring, IORING_SETUP_R_DISABLED);
    if (rc != 0) {
        free(u);
        return err_set(e, ERR_IO, "io_uring is forbidden or unknown: %s",
                       strerror_r(-rc, text, sizeof text));
    }
    rc = restrict_ring(&u->ring);
    if (rc != 0) {
        uring_close(&u->engine);
        return err_set(e, ERR_IO, "io_uring cannot be restricted: %s",
                       strerror_r(-rc, text, sizeof text));
    }
    *out = &u->engine;
    return 0;
}
