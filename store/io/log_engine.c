#include "store/io/log_engine.h"

#include "store/core/batch.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int engine_commit(struct engine *engine, int fd, const char *path, const uint8_t *p, size_t n,
                  uint64_t offset, struct err *e)
{
    size_t done = 0;
    /* Writes that make no progress: a few are borne, e.g. when a signal keeps cutting them short.
     */
    int idle = 0;
    while (done < n) {
        ssize_t r = engine->write(engine, fd, p + done, n - done, offset + done);
        if (r < 0)
            return file_error(e, path, "write", (int)-r);
        /* Direct writes begin on a block, so a block that was written in part is written again. */
        size_t step =
            (size_t)r < n - done ? (size_t)r / BATCH_BLOCK_BYTES * BATCH_BLOCK_BYTES : (size_t)r;
        done += step;
        idle = step == 0 ? idle + 1 : 0;
        if (idle > 8)
            return file_error(e, path, "write (it makes no progress)", EIO);
    }
    int rc = engine->sync(engine, fd);
    return rc < 0 ? file_error(e, path, "sync", -rc) : 0;
}

const char *log_engine_name(enum log_engine engine)
{
    return engine == LOG_ENGINE_URING ? "io_uring" : "pwrite+O_DSYNC";
}

/* ---- choosing ---- */

enum {
    TRIAL_BLOCKS = 16, /* of the trial file: written before they are timed, as segments are */
    TRIAL_ROUNDS = 15,
    TRIAL_MAX_US = 150000,   /* no more rounds behind that: a start must not wait for a slow disk */
    URING_GAIN_PERCENT = 10, /* less than that is chance */
};
static const char trial_name[] = "probe.tmp";

/* An engine on trial. */
struct trial {
    struct engine *engine; /* NULL: not wanted, or it did not open */
    int fd;
    bool direct;
    unsigned rounds;
    uint32_t us[TRIAL_ROUNDS];
    struct err why; /* code 0: it works */
};

static uint64_t now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Open the engine, and let it write and sync the whole trial file: it may be forbidden to do so although it opens. */
static void trial_begin(struct trial *t, int (*open)(struct engine **, struct err *), int dir_fd,
                        const char *dir, const uint8_t *blocks)
{
    if (open(&t->engine, &t->why) != 0)
        return;
    t->fd =
        file_open_direct(dir_fd, trial_name, O_RDWR | O_CREAT | t->engine->open_flags, &t->direct);
    if (t->fd < 0)
        (void)file_error(&t->why, dir, "create a file for a trial write", -t->fd);
    else
        (void)engine_commit(t->engine, t->fd, dir, blocks, TRIAL_BLOCKS * BATCH_BLOCK_BYTES, 0,
                            &t->why);
}

static bool works(const struct trial *t)
{
    return t->engine != NULL && t->why.code == 0;
}

static void trial_round(struct trial *t, const char *dir, const uint8_t *block)
{
    const uint64_t began = now_us(),
                   offset = t->rounds % TRIAL_BLOCKS * (uint64_t)BATCH_BLOCK_BYTES;
    if (engine_commit(t->engine, t->fd, dir, block, BATCH_BLOCK_BYTES, offset, &t->why) == 0)
        t->us[t->rounds++] = (uint32_t)(now_us() - began);
}

static void trial_end(struct trial *t, bool taken)
{
    if (t->fd >= 0)
        (void)close(t->fd);
    if (t->engine != NULL && !taken)
        t->engine->close(t->engine);
}

static int by_time(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t median_us(struct trial *t)
{
    qsort(t->us, t->rounds, sizeof t->us[0], by_time);
    return t->us[t->rounds / 2];
}

/* Both work: time them in turn, so that what else the disk does meets both alike. */
static bool uring_is_faster(struct trial *uring, struct trial *plain, const char *dir,
                            const uint8_t *block, char *text, size_t cap)
{
    const uint64_t until = now_us() + TRIAL_MAX_US;
    do {
        trial_round(uring, dir, block);
        trial_round(plain, dir, block);
    } while (works(uring) && works(plain) && plain->rounds < TRIAL_ROUNDS && now_us() < until);
    if (!works(uring) || !works(plain))
        return works(uring);
    const uint32_t u = median_us(uring), p = median_us(plain);
    (void)snprintf(text, cap, "a block takes io_uring %u us here and pwrite+O_DSYNC %u us", u, p);
    return engine_uring_is_worth_it(u, p);
}

bool engine_uring_is_worth_it(uint32_t uring_us, uint32_t plain_us)
{
    return (uint64_t)uring_us * 100 < (uint64_t)plain_us * (100 - URING_GAIN_PERCENT);
}

static int refuse(enum log_engine wanted, const struct err *why, struct err *e)
{
    (void)err_set(e, why->code, "%s", why->text);
    return err_wrap(e, wanted == LOG_ENGINE_URING
                           ? "log engine uring (choose 'auto' or 'plain' to do without)"
                           : "log engine plain");
}

int engine_choose(enum log_engine wanted, int dir_fd, const char *dir, struct engine **out,
                  char reason[ENGINE_REASON_BYTES], struct err *e)
{
    struct trial uring = {.fd = -1}, plain = {.fd = -1}, *taken = &plain;
    char text[ENGINE_REASON_BYTES - 80] = "as configured";
    uint8_t *blocks = file_buffer(TRIAL_BLOCKS * BATCH_BLOCK_BYTES);
    if (blocks == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a trial of the log's engine");
    memset(blocks, 0, TRIAL_BLOCKS * BATCH_BLOCK_BYTES);
    if (wanted != LOG_ENGINE_PLAIN)
        trial_begin(&uring, engine_uring_open, dir_fd, dir, blocks);
    if (wanted != LOG_ENGINE_URING)
        trial_begin(&plain, engine_plain_open, dir_fd, dir, blocks);
    if (wanted == LOG_ENGINE_URING ||
        (works(&uring) && works(&plain) &&
         uring_is_faster(&uring, &plain, dir, blocks, text, sizeof text)))
        taken = &uring;
    if (wanted == LOG_ENGINE_AUTO && uring.why.code != 0)
        (void)snprintf(text, sizeof text, "no io_uring here: %.140s", uring.why.text);
    int rc = works(taken) ? 0 : refuse(wanted, &taken->why, e);
    if (rc == 0) {
        *out = taken->engine;
        (void)snprintf(
            reason, ENGINE_REASON_BYTES, "%s%s", text,
            taken->direct ? "" : "; no direct I/O on this file system, the page cache is used");
    }
    trial_end(&uring, rc == 0 && taken == &uring);
    trial_end(&plain, rc == 0 && taken == &plain);
    (void)unlinkat(dir_fd, trial_name, 0);
    free(blocks);
    return rc;
}
