/* Restore drills at the archive's site: as often as configured, and when an operator asks, the archive is restored into a
 * directory of its own, compared with the digest that the sites had, and removed.
 *
 * The work is a child process of this same program (`triveni drill restore`), with the least priority and a limit on its
 * memory: what a restore needs (hundreds of MiB, every processor) it takes from nobody, and when it is killed nothing else is.
 * It reads the archive as any reader does, and asks nothing of the primary. It is stopped when it would fill the disk.
 *
 * EVIDENCE: each outcome is a line of JSON at the end of <data_dir>/drills.jsonl, durable before it is shown:
 *   {"ok", "lsn", "compared_lsn", "digest", "records", "entries", "bytes", "seconds", "why", "code", "began", "ended", "asked",
 *    "version"}
 * A line that a power cut tore is passed over. What was the last one, after a restart, is read from there. */
#include "replication/site_parts.h"
#include "replication/worker.h"

#include "replication/core/drills.h"
#include "replication/io/helper.h"
#include "store/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    DRILLS_LOOK_MS = 1000,
    DRILLS_LINE_MS = 500,
    DRILLS_ROOM_MS = 1000,       /* how often the free space is looked at */
    DRILLS_TAIL_BYTES = 1 << 20, /* of the evidence that is read at the start: thousands of lines */
    DRILLS_ENV_BYTES = SITE_PATH_BYTES + 32,
};

struct drillmaster {
    struct site *site;
    struct worker worker;
    char dir[SITE_PATH_BYTES + 32], evidence[SITE_PATH_BYTES + 32];
    /* under the lock */
    bool asked;
    uint64_t count; /* that ended since the site started */
    struct drills known;
    json_t *last; /* NULL: never */
    bool running;
    uint64_t began_ms; /* of the one that runs */
    char stage[16];
    int64_t done, total;
    char trouble[ERR_TEXT_BYTES]; /* the evidence could not be written; empty: it was */
};

/* ---- the evidence ---- */

static struct utc time_of(const json_t *o)
{
    const json_t *us = json_object_get(o, "ended_us");
    return (struct utc){
        json_is_integer(us) && json_integer_value(us) > 0 ? (uint64_t)json_integer_value(us) : 0};
}

/* Takes the reference. With the lock held, or before the thread is there. */
static void remember(struct drillmaster *d, json_t *outcome)
{
    d->known.last = time_of(outcome);
    d->known.failed = !json_is_true(json_object_get(outcome, "ok"));
    if (!d->known.failed)
        d->known.last_good = d->known.last;
    json_decref(d->last);
    d->last = outcome;
}

static int read_evidence(struct drillmaster *d, struct err *e)
{
    struct stat st;
    int fd = open(d->evidence, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : file_error(e, d->evidence, "be opened", errno);
    if (fstat(fd, &st) != 0 || st.st_size < 0)
        st.st_size = 0;
    uint64_t size = (uint64_t)st.st_size,
             from = size > DRILLS_TAIL_BYTES ? size - DRILLS_TAIL_BYTES : 0;
    char *text = malloc((size_t)(size - from) + 1);
    size_t n = 0;
    int rc = text == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory")
                          : file_read_at(fd, d->evidence, text, (size_t)(size - from), from, &n, e);
    for (size_t at = 0; rc == 0 && at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t length = end == NULL ? n - at : (size_t)(end - (text + at));
        json_t *line = json_loadb(text + at, length, 0, NULL);
        if (json_is_boolean(json_object_get(line, "ok")) && time_of(line).us != 0)
            remember(d, line);
        else
            json_decref(line); /* torn, or cut where we began to read */
        at += length + 1;
    }
    free(text);
    (void)close(fd);
    return rc;
}

/* One line more, durable. */
static int write_evidence(const struct drillmaster *d, const json_t *outcome, struct err *e)
{
    char *text = json_dumps(outcome, JSON_COMPACT);
    struct stat st = {.st_size = 0};
    char last = '\n';
    size_t got = 0;
    if (text == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int fd = open(d->evidence, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = fd < 0 || fstat(fd, &st) != 0 ? file_error(e, d->evidence, "be opened", errno) : 0;
    uint64_t at = rc == 0 ? (uint64_t)st.st_size : 0;
    if (rc == 0 && at > 0)
        rc = file_read_at(fd, d->evidence, &last, 1, at - 1, &got, e);
    if (rc == 0 && last != '\n') /* a torn line ends here */
        rc = file_write_at(fd, d->evidence, "\n", 1, at++, e);
    if (rc == 0)
        rc = file_write_at(fd, d->evidence, text, strlen(text), at, e);
    if (rc == 0)
        rc = file_write_at(fd, d->evidence, "\n", 1, at + strlen(text), e);
    if (rc == 0 && fdatasync(fd) != 0)
        rc = file_error(e, d->evidence, "be synced", errno);
    if (rc == 0 && at == 0)
        rc = file_sync_parent(d->evidence, e);
    if (fd >= 0)
        (void)close(fd);
    free(text);
    return rc;
}

/* ---- one drill ---- */

/* A line of progress: 0. The outcome: it is handed out. */
static json_t *take_line(struct drillmaster *d, const char *text)
{
    json_t *line = json_loads(text, 0, NULL);
    if (json_is_boolean(json_object_get(line, "ok")))
        return line;
    worker_lock(&d->worker);
    const char *stage = json_string_value(json_object_get(line, "stage"));
    if (stage != NULL) {
        (void)snprintf(d->stage, sizeof d->stage, "%s", stage);
        d->done = json_integer_value(json_object_get(line, "done"));
        d->total = json_integer_value(json_object_get(line, "total"));
    }
    worker_unlock(&d->worker);
    json_decref(line);
    return NULL;
}

/* Twice what the site keeps free for itself: it must never be the drill that stops it. */
static bool has_room(const struct drillmaster *d)
{
    struct statvfs fs;
    return statvfs(d->dir, &fs) != 0 ||
           (uint64_t)fs.f_bavail * fs.f_frsize >= 2 * d->site->config->reserve_bytes;
}

static bool is_stopped(struct drillmaster *d)
{
    worker_lock(&d->worker);
    bool stop = d->worker.stop;
    worker_unlock(&d->worker);
    return stop;
}

/* NULL: there is no outcome, and `why` says why; code ERR_CANCELLED: the site stops. */
static json_t *follow(struct drillmaster *d, struct helper *h, struct err *why)
{
    json_t *outcome = NULL;
    uint64_t looked_ms = 0;
    bool stop = false, room = true;
    char how[64];
    while (!h->over && !stop && room) {
        const char *line = helper_line(h, DRILLS_LINE_MS);
        json_t *found = line != NULL ? take_line(d, line) : NULL;
        if (found != NULL) {
            json_decref(outcome);
            outcome = found;
        }
        stop = is_stopped(d);
        if (site_now_ms() >= looked_ms + DRILLS_ROOM_MS) {
            looked_ms = site_now_ms();
            room = outcome != NULL || has_room(d);
        }
    }
    helper_end(h, stop || !room, how);
    if (outcome != NULL)
        return outcome;
    if (stop)
        (void)err_set(why, ERR_CANCELLED, "the site stops");
    else if (!room)
        (void)err_set(why, ERR_NO_SPACE,
                      "stopped: less than %llu MiB would have stayed free in %s: give "
                      "repository.drill_dir another disk",
                      (unsigned long long)(2 * d->site->config->reserve_bytes >> 20), d->dir);
    else
        (void)err_set(why, ERR_FAILED, "its process ended with %s and no outcome", how);
    return NULL;
}

static json_t *run(struct drillmaster *d, struct err *why)
{
    const struct site_config *c = d->site->config;
    char place[DRILLS_ENV_BYTES], kek[DRILLS_ENV_BYTES];
    struct helper h;
    (void)snprintf(place, sizeof place, "TRIVENI_REPOSITORY=%s", c->archive_dir);
    (void)snprintf(kek, sizeof kek, "TRIVENI_KEK=%s", c->kek_file);
    const char *const words[] = {"drill",    "restore",  "--scratch", d->dir, "--background",
                                 "--follow", "--record", "--output",  "json", NULL};
    const char *const extra[] = {place, kek, NULL};
    return helper_start(&h, words, extra, why) == 0 ? follow(d, &h, why) : NULL;
}

static void tell(const struct drillmaster *d, const json_t *o)
{
    const double seconds = json_number_value(json_object_get(o, "seconds"));
    const double bytes = (double)json_integer_value(json_object_get(o, "bytes"));
    if (!json_is_true(json_object_get(o, "ok"))) {
        const char *why = json_string_value(json_object_get(o, "why"));
        events_add(d->site->events, "restore drill FAILED: %.400s", why != NULL ? why : "unknown");
        return;
    }
    events_add(d->site->events,
               "restore drill: restored to lsn %lld, %lld records in %.1f s (%.1f MB/s), equal to "
               "the digest that the sites had at lsn %lld",
               (long long)json_integer_value(json_object_get(o, "lsn")),
               (long long)json_integer_value(json_object_get(o, "records")), seconds,
               seconds > 0 ? bytes / 1e6 / seconds : 0.0,
               (long long)json_integer_value(json_object_get(o, "compared_lsn")));
}

/* What the child could not say itself. */
static json_t *no_outcome(const struct err *why, double seconds)
{
    return json_pack("{s:b,s:n,s:n,s:n,s:n,s:n,s:n,s:f,s:s,s:s}", "ok", 0, "lsn", "compared_lsn",
                     "digest", "records", "entries", "bytes", "seconds", seconds, "why", why->text,
                     "code", err_name(why->code));
}

/* With the lock held, which is given up while it works. */
static void drill(struct drillmaster *d)
{
    const bool asked = d->asked;
    char began[SITE_TIME_BYTES], ended[SITE_TIME_BYTES];
    struct err why = ERR_NONE, e = ERR_NONE;
    const uint64_t began_ms = site_now_ms();
    d->running = true;
    d->began_ms = began_ms;
    d->stage[0] = '\0';
    d->done = d->total = 0;
    worker_unlock(&d->worker);
    site_time_text(site_now_us(), began);
    events_add(d->site->events, "restore drill: begins%s, in %s", asked ? " as asked" : "", d->dir);
    json_t *o = run(d, &why);
    if (o == NULL && why.code != ERR_CANCELLED)
        o = no_outcome(&why, (double)(site_now_ms() - began_ms) / 1e3);
    const uint64_t now_us = site_now_us();
    int rc = 0;
    site_time_text(now_us, ended);
    if (o != NULL) {
        (void)json_object_set_new(o, "began", json_string(began));
        (void)json_object_set_new(o, "ended", json_string(ended));
        (void)json_object_set_new(o, "ended_us", json_integer((json_int_t)now_us));
        (void)json_object_set_new(o, "asked", json_boolean(asked));
        (void)json_object_set_new(o, "version", json_string(TRIVENI_VERSION));
        rc = write_evidence(d, o, &e);
        tell(d, o);
    }
    worker_lock(&d->worker);
    d->running = d->asked = false;
    (void)snprintf(d->trouble, sizeof d->trouble, "%s", rc != 0 ? e.text : "");
    if (o != NULL)
        remember(d, o);
    d->count++;
}

/* ---- the thread ---- */

/* With the lock held. */
static bool is_due(struct drillmaster *d)
{
    struct repository_status r;
    char ignored[ERR_TEXT_BYTES];
    archiver_status(d->site->archiver, &r, ignored);
    d->known.archive = r.first_time;
    const struct utc next = drills_next(&d->known);
    return d->asked || (next.us != 0 && site_now_us() >= next.us);
}

static void *drill_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "drills");
    site_background();
    struct drillmaster *d = arg;
    worker_lock(&d->worker);
    while (!d->worker.stop) {
        if (is_due(d))
            drill(d);
        else
            worker_wait(&d->worker, DRILLS_LOOK_MS);
    }
    worker_unlock(&d->worker);
    return NULL;
}

int drills_start(struct site *s, struct drillmaster **out, struct err *e)
{
    struct drillmaster *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    const struct site_config *c = s->config;
    d->site = s;
    d->known.period_us = c->drill_us;
    (void)snprintf(d->evidence, sizeof d->evidence, "%s/drills.jsonl", c->data_dir);
    if (c->drill_dir[0] != '\0')
        (void)snprintf(d->dir, sizeof d->dir, "%s", c->drill_dir);
    else
        (void)snprintf(d->dir, sizeof d->dir, "%s/drill", c->data_dir);
    int rc = read_evidence(d, e);
    if (rc == 0)
        rc = worker_start(&d->worker, drill_main, d, "makes restore drills", e);
    if (rc == 0) {
        *out = d;
        return 0;
    }
    json_decref(d->last);
    free(d);
    return rc;
}

void drills_stop(struct drillmaster *d)
{
    if (d == NULL)
        return;
    worker_end(&d->worker);
    json_decref(d->last);
    worker_deinit(&d->worker);
    free(d);
}

/* ---- the loop ---- */

uint64_t drills_ask(struct drillmaster *d)
{
    worker_lock(&d->worker);
    d->asked = true; /* one that runs is the one that was asked for */
    uint64_t count = d->count + 1;
    worker_wake(&d->worker);
    worker_unlock(&d->worker);
    return count;
}

json_t *drills_json(struct drillmaster *d)
{
    if (d == NULL)
        return json_null();
    worker_lock(&d->worker);
    const struct utc next = drills_next(&d->known);
    json_t *running = json_null();
    if (d->running)
        running =
            json_pack("{s:I,s:s,s:I,s:I}", "ms", (json_int_t)(site_now_ms() - d->began_ms), "stage",
                      d->stage, "done", (json_int_t)d->done, "total", (json_int_t)d->total);
    json_t *o = json_pack("{s:I,s:I,s:o,s:o,s:o,s:b}", "hours",
                          (json_int_t)(d->known.period_us / DRILLS_HOUR_US), "count",
                          (json_int_t)d->count, "running", running, "last",
                          d->last != NULL ? json_deep_copy(d->last) : json_null(), "next_us",
                          next.us != 0 ? json_integer((json_int_t)next.us) : json_null(), "overdue",
                          drills_overdue(&d->known, (struct utc){site_now_us()}));
    worker_unlock(&d->worker);
    return o;
}

void drills_trouble(struct drillmaster *d, void (*add)(void *arg, const char *text), void *arg)
{
    char text[ERR_TEXT_BYTES], when[SITE_TIME_BYTES];
    if (d == NULL)
        return;
    worker_lock(&d->worker);
    if (d->known.failed) {
        const char *why = json_string_value(json_object_get(d->last, "why"));
        site_time_text(d->known.last.us, when);
        (void)snprintf(text, sizeof text, "restore drill of %s FAILED: %.380s", when,
                       why != NULL ? why : "unknown");
        add(arg, text);
    }
    if (drills_overdue(&d->known, (struct utc){site_now_us()})) {
        site_time_text(d->known.last_good.us, when);
        (void)snprintf(text, sizeof text,
                       "the archive was restored last as a drill %s: more than twice "
                       "repository.drill_hours ago. triveni drill restore --now",
                       d->known.last_good.us != 0 ? when : "never");
        add(arg, text);
    }
    if (d->trouble[0] != '\0') {
        (void)snprintf(text, sizeof text,
                       "the outcome of the last restore drill was not kept: %.400s", d->trouble);
        add(arg, text);
    }
    worker_unlock(&d->worker);
}
