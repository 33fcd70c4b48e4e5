/* How long a restore would take: from a bounded sample of what it would read, and of the disk that it would write to.
 *
 * The time has three parts, which are measured apart, because each is bound by something else:
 *   packs      read, decrypted and decoded by several threads; how fast one is tells a sample of some packs' first frames,
 *              opened as a restore opens them, so that the distance to a bucket is in it;
 *   snapshot   read by one thread, while the result is built;
 *   writing    the runs, and for a whole restore the records, which are read once more for the digest; measured beside the
 *              reading, by another thread: it mostly waits for the disk.
 * What it cannot know: who else uses the machine later, and how much of a selection there is; of the latter the runs are
 * taken for nothing. It is meant to tell minutes from hours. */
#include "repository/io/beside.h"
#include "repository/io/fold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    SAMPLES = 3,                 /* packs: the first, one in the middle, the last */
    SAMPLE_MOST_BYTES = 4 << 20, /* each, and no more than */
    SAMPLE_LEAST_BYTES = 256 << 10,
    SAMPLE_SHARE =
        512, /* one part in so many of what is read: all of them below a hundredth of the work */
    SAMPLE_MS = 400, /* each */
    WRITE_BYTES = 8 << 20,
    WRITE_STEP_BYTES = 1 << 20,
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct sample {
    double began;
    uint64_t most;  /* of `plain` */
    uint64_t bytes; /* of the object, read */
    uint64_t plain; /* of entries or records, decoded */
};

enum { SAMPLE_ENDS = 1 };

static struct sample sample_of(const struct repository_estimate *x)
{
    uint64_t most = x->plain_bytes / SAMPLE_SHARE;
    most = most < SAMPLE_LEAST_BYTES ? SAMPLE_LEAST_BYTES : most;
    return (struct sample){.began = now_s(),
                           .most = most > SAMPLE_MOST_BYTES ? SAMPLE_MOST_BYTES : most};
}

static int is_enough(const struct sample *s)
{
    return s->plain >= s->most || now_s() - s->began > SAMPLE_MS / 1e3 ? SAMPLE_ENDS : 0;
}

static int take_entry(void *arg, const struct entry_view *v)
{
    struct sample *s = arg;
    s->plain += ENTRY_HEADER_BYTES + v->header.body_bytes;
    return is_enough(s);
}

static int take_row(void *arg, const struct repo_snap_record *x)
{
    struct sample *s = arg;
    if (x->type == REPO_SNAP_ROW)
        s->plain += x->u.row.key.n + x->u.row.value.n;
    return is_enough(s);
}

/* Plain bytes a second, of one thread; 0: there is nothing to tell it from. */
static int measure_packs(struct repository *r, const struct repo_plan *plan,
                         struct repository_estimate *out, struct err *e)
{
    const size_t n = plan->pack_end - plan->pack_begin;
    double seconds = 0;
    uint64_t plain = 0;
    int rc = 0;
    for (size_t i = 0; i < SAMPLES && i < n && rc == 0; i++) {
        const size_t at = n <= SAMPLES ? i : i * (n - 1) / (SAMPLES - 1);
        struct repo_pack_reader reader = REPO_PACK_READER_NONE;
        struct sample s = sample_of(out);
        rc = repo_pack_open(r, &r->inv.packs[plan->pack_begin + at], &reader, e);
        if (rc == 0)
            rc = repo_pack_walk(&reader, 0, take_entry, NULL, &s, e);
        repo_pack_close(&reader);
        rc = rc == SAMPLE_ENDS ? 0 : rc;
        seconds += now_s() - s.began;
        plain += s.plain;
    }
    out->sampled_bytes += plain;
    out->read_rate = seconds > 0 ? (double)plain / seconds : 0;
    return rc;
}

static int measure_snapshot(struct repository *r, const struct repo_plan *plan, double *rate,
                            struct repository_estimate *out, struct err *e)
{
    struct sample s = sample_of(out);
    *rate = 0;
    if (plan->snapshot == NULL)
        return 0;
    int rc = repo_snapshot_walk(r, plan->snapshot, take_row, NULL, &s, e);
    const double seconds = now_s() - s.began;
    out->sampled_bytes += s.plain;
    *rate = seconds > 0 ? (double)s.plain / seconds : 0;
    return rc == SAMPLE_ENDS ? 0 : rc;
}

struct disk {
    const char *dir;
    double rate; /* bytes a second; 0: it cannot be told */
};

/* A file without a name. A directory that cannot be written to tells nothing: that is said when it is tried. */
static int measure_disk(void *arg, struct err *e)
{
    struct disk *disk = arg;
    char path[4096];
    (void)e;
    uint8_t *step = calloc(1, WRITE_STEP_BYTES);
    const double began = now_s();
    uint64_t done = 0;
    if (step == NULL ||
        (size_t)snprintf(path, sizeof path, "%s/.triveni-XXXXXX", disk->dir) >= sizeof path) {
        free(step);
        return 0;
    }
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) {
        (void)unlink(path);
        while (done < WRITE_BYTES && now_s() - began < SAMPLE_MS / 1e3) {
            const ssize_t n = write(fd, step, WRITE_STEP_BYTES);
            if (n <= 0)
                break;
            done += (uint64_t)n;
        }
        const double seconds = fdatasync(fd) == 0 ? now_s() - began : 0;
        disk->rate = seconds > 0 ? (double)done / seconds : 0;
        (void)close(fd);
    }
    free(step);
    return 0;
}

static double divide(uint64_t bytes, double rate)
{
    return rate > 0 ? (double)bytes / rate : 0;
}

int repository_estimate(struct repository *r, const struct restore_plan *plan, bool whole,
                        const char *dir, struct repository_estimate *out, struct err *e)
{
    struct repo_plan steps;
    struct disk disk = {.dir = dir};
    struct repo_beside beside;
    double snapshot_rate;
    uint64_t packs = 0, snapshot = 0;
    *out = (struct repository_estimate){.read_rate = 0};
    int rc = repo_plan_lsn(&r->inv, plan->lsn, &steps, e);
    if (rc != 0)
        return rc;
    for (size_t i = steps.pack_begin; i < steps.pack_end; i++)
        packs += r->inv.packs[i].o.plain_bytes;
    if (steps.snapshot != NULL)
        snapshot = steps.snapshot->o.plain_bytes;
    out->plain_bytes = packs + snapshot;
    repo_beside_begin(&beside, measure_disk, &disk);
    rc = measure_packs(r, &steps, out, e);
    if (rc == 0)
        rc = measure_snapshot(r, &steps, &snapshot_rate, out, e);
    (void)repo_beside_end(&beside, NULL);
    if (rc != 0)
        return rc;
    out->write_rate = disk.rate;
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    double threads = r->backend->kind->remote ? REPO_READERS_MAX
                     : processors < 1         ? 1
                                              : (double)processors;
    const double most =
        (double)packs / REPO_CHUNK_BYTES; /* runs, of which each thread makes one at a time */
    threads = threads > most ? most : threads;
    out->seconds = divide(packs, out->read_rate) / (threads < 1 ? 1 : threads) +
                   divide(snapshot, snapshot_rate);
    if (whole) /* the runs, and the records, which are counted again */
        out->seconds += divide(2 * packs + snapshot, out->write_rate) +
                        divide(packs, out->read_rate) + divide(snapshot, snapshot_rate);
    return 0;
}
