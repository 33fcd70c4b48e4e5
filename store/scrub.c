#include "store/scrub.h"

#include "store/io/checkpoint.h"
#include "store/io/file.h"
#include "store/io/state_check.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { LOOK_AGAIN_US = 50000 };

/* Counts what passes on its way to the caller's sink. */
struct teller {
    struct scrub *scrub;
    const struct finding_sink *sink;
};

static void tell(void *arg, const struct finding *f)
{
    const struct teller *t = arg;
    if (f->kind != FINDING_NOTE)
        t->scrub->damaged++;
    t->sink->found(t->sink->arg, f);
}

static void count(void *arg, const struct finding *f)
{
    unsigned *n = arg;
    (void)f;
    (*n)++;
}

/* ERR_NOT_FOUND at the end, or where damage bars the way. */
static int step_past(struct scrub *s, struct state *state, size_t max_bytes,
                     const struct finding_sink *sink, struct err *e)
{
    struct state_snapshot *snap;
    size_t bytes = 0;
    int rc = state_snapshot_open(state, &snap, e);
    if (rc != 0)
        return rc == ERR_INTEGRITY ? ERR_NOT_FOUND : rc; /* told by step_rows */
    rc = state_past_check(snap, &s->past, max_bytes, &bytes, e);
    state_snapshot_close(snap);
    s->bytes += bytes;
    if (rc != ERR_INTEGRITY)
        return rc;
    sink->found(sink->arg, &(struct finding){.kind = FINDING_ROW,
                                             .file = CHECKPOINT_DATA,
                                             .collection = bytes_str("history"),
                                             .text = e->text});
    return bytes != 0 ? 0 : ERR_NOT_FOUND;
}

static int step_rows(struct scrub *s, struct state *state, size_t max_bytes,
                     const struct finding_sink *sink, struct err *e)
{
    struct state_snapshot *snap;
    size_t bytes = 0;
    int rc = state_snapshot_open(state, &snap, e);
    if (rc == ERR_INTEGRITY) { /* the row of the state itself */
        sink->found(sink->arg, &(struct finding){.kind = FINDING_ROW,
                                                 .file = CHECKPOINT_DATA,
                                                 .collection = bytes_str("meta"),
                                                 .text = e->text});
        return err_set(e, ERR_NOT_FOUND, "the rows cannot be read");
    }
    if (rc != 0)
        return rc;
    rc = state_rows_step(snap, &s->rows, max_bytes, sink, &bytes, e);
    s->bytes += bytes;
    state_snapshot_close(snap);
    return rc;
}

/* The checkpoint file may be written at this very moment: what is torn now is looked at once more. */
static int step_files(const char *dir, const struct finding_sink *sink, struct err *e)
{
    struct state_check_totals totals;
    unsigned found = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return file_error(e, dir, "open", errno);
    int rc = state_check_slots(fd, &(struct finding_sink){count, NULL, &found}, &totals, e);
    if (rc == 0 && found != 0) {
        (void)usleep(LOOK_AGAIN_US);
        rc = state_check_slots(fd, sink, &totals, e);
    }
    (void)close(fd);
    return rc;
}

static int step_log(struct scrub *s, struct log *log, size_t max_bytes,
                    const struct finding_sink *sink, struct err *e)
{
    struct lsn damaged = {0};
    size_t bytes;
    int rc = log_check(log, s->next, max_bytes, &s->next, &damaged, &bytes, e);
    s->bytes += bytes;
    if (rc != ERR_INTEGRITY)
        return rc;
    sink->found(sink->arg, &(struct finding){.kind = FINDING_BATCH,
                                             .file = "log",
                                             .from = damaged,
                                             .to = {s->next.v - 1},
                                             .text = e->text});
    return 0;
}

int scrub_step(struct scrub *s, const struct scrub_parts *parts, size_t max_bytes,
               const struct finding_sink *sink, struct err *e)
{
    struct teller t = {s, sink};
    const struct finding_sink counted = {tell, NULL, &t};
    size_t bytes = 0;
    int rc = 0;
    switch (s->stage) {
    case SCRUB_RECORDS:
        rc = parts->recount(parts->arg, max_bytes, &counted, &bytes, e);
        s->bytes += bytes;
        break;
    case SCRUB_ROWS:
        rc = step_rows(s, parts->state, max_bytes, &counted, e);
        break;
    case SCRUB_PAST:
        rc = step_past(s, parts->state, max_bytes, &counted, e);
        break;
    case SCRUB_FILES:
        rc = step_files(parts->state_dir, &counted, e);
        /* Not there: the site goes on with what it has open, but would not start again. */
        if (rc == ERR_NOT_FOUND)
            tell(&t, &(struct finding){
                         .kind = FINDING_CHECKPOINT, .file = CHECKPOINT_FILE, .text = e->text});
        rc = rc == 0 ? ERR_NOT_FOUND : rc;
        break;
    case SCRUB_LOG:
        return step_log(s, parts->log, max_bytes, &counted, e);
    }
    if (rc != ERR_NOT_FOUND)
        return rc;
    s->stage++;
    return 0;
}
