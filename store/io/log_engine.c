#include "store/io/log_engine.h"

#include "store/core/batch.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
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

/* One real write and sync. *direct tells whether the file system does direct I/O. */
static int probe(struct engine *engine, int dir_fd, const char *dir, bool *direct, struct err *e)
{
    static const char name[] = "probe.tmp";
    int rc = ERR_NO_MEMORY;
    uint8_t *block = file_buffer(BATCH_BLOCK_BYTES);
    int fd = file_open_direct(dir_fd, name, O_RDWR | O_CREAT | engine->open_flags, direct);
    if (fd < 0)
        rc = file_error(e, dir, "create a file for a trial write", -fd);
    else if (block == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory for a block");
    else {
        memset(block, 0, BATCH_BLOCK_BYTES);
        rc = engine_commit(engine, fd, dir, block, BATCH_BLOCK_BYTES, 0, e);
    }
    if (fd >= 0) {
        (void)unlinkat(dir_fd, name, 0);
        (void)close(fd);
    }
    free(block);
    return rc;
}

static void give_reason(char reason[ENGINE_REASON_BYTES], const char *text, bool direct)
{
    (void)snprintf(reason, ENGINE_REASON_BYTES, "%s%s", text,
                   direct ? "" : "; no direct I/O on this file system, the page cache is used");
}

int engine_choose(enum log_engine wanted, int dir_fd, const char *dir, struct engine **out,
                  char reason[ENGINE_REASON_BYTES], struct err *e)
{
    struct engine *engine = NULL;
    bool direct = false;
    char text[ENGINE_REASON_BYTES - 80] = "as configured";
    if (wanted != LOG_ENGINE_PLAIN) {
        struct err why = ERR_NONE;
        int rc = engine_uring_open(&engine, &why);
        if (rc == 0)
            rc = probe(engine, dir_fd, dir, &direct, &why);
        if (rc == 0) {
            *out = engine;
            give_reason(reason, wanted == LOG_ENGINE_AUTO ? "io_uring works here" : text, direct);
            return 0;
        }
        if (engine != NULL)
            engine->close(engine);
        engine = NULL;
        if (wanted == LOG_ENGINE_URING) {
            (void)err_set(e, why.code, "%s", why.text);
            return err_wrap(e, "log engine uring (choose 'auto' or 'plain' to do without)");
        }
        (void)snprintf(text, sizeof text, "no io_uring here: %.140s", why.text);
    }
    int rc = engine_plain_open(&engine, e);
    if (rc == 0)
        rc = probe(engine, dir_fd, dir, &direct, e);
    if (rc != 0) {
        if (engine != NULL)
            engine->close(engine);
        return err_wrap(e, "log engine plain");
    }
    *out = engine;
    give_reason(reason, text, direct);
    return 0;
}
