/* The scrubber: a thread that walks over everything that is stored (store/scrub.h) within a budget of bytes a second.
 * What it finds becomes an event and stands in `status` until it was repaired, or a later pass does not find it any more. Damaged
 * records and places in the log are handed on to be repaired from another site (care.c).
 *
 * A pass begins when the site starts, and then as often as configured (scrub_ms), or as soon as the one before is
 * done where that takes longer. Where it stands is not kept over a restart: then it begins again. Damage bars nothing: a damaged
 * record is never returned by a read in any case. */
#include "replication/site_parts.h"
#include "replication/worker.h"

#include "store/scrub.h"

#include <fcntl.h>
#include <unistd.h>

enum {
    STEPS_A_SECOND = 10,
    EVENTS_A_PASS = 50, /* so that a dead disk does not drive all else out of the event log */
    STUCK_MS = 5000,    /* a step that cannot be done is tried again */
};

struct scrubber {
    struct site *site;
    struct worker worker;
    /* under the lock */
    uint64_t passes, last_us, last_bytes, last_damaged; /* of the last whole pass */
    uint64_t bytes, damaged;                            /* of the one under way */
    uint64_t repaired;            /* of what was found, since the last pass ended */
    char trouble[ERR_TEXT_BYTES]; /* what was found first, "" when nothing */
    char stuck[ERR_TEXT_BYTES];   /* why the pass does not get on; "": it does */
    /* the thread's own */
    struct scrub walk;
};

static void on_found(void *arg, const struct finding *f)
{
    struct scrubber *c = arg;
    const char *what = f->text;
    char text[ERR_TEXT_BYTES];
    if (f->kind != FINDING_RECORD && f->kind != FINDING_BATCH) { /* those name their place */
        (void)snprintf(text, sizeof text, "%s: %.400s", f->file, f->text);
        what = text;
    }
    if (c->walk.damaged <= EVENTS_A_PASS)
        events_add(c->site->events, "scrub: %s", what);
    if (c->walk.damaged == EVENTS_A_PASS)
        events_add(c->site->events, "scrub: more of this pass is counted, but not told");
    worker_lock(&c->worker);
    if (c->walk.damaged == 1)
        (void)snprintf(c->trouble, sizeof c->trouble, "%s", what);
    worker_unlock(&c->worker);
    care_found(c->site, f);
}

/* ---- counting, on the applier's thread ---- */

struct count {
    struct state *state;
    size_t max_bytes;
    const struct finding_sink *sink;
    size_t *bytes;
};

static int count_step(void *arg, struct err *e)
{
    const struct count *n = arg;
    return state_recount_step(n->state, n->max_bytes, n->sink, n->bytes, e);
}

static int recount(void *arg, size_t max_bytes, const struct finding_sink *sink, size_t *bytes,
                   struct err *e)
{
    const struct scrubber *c = arg;
    struct count n = {c->site->state, max_bytes, sink, bytes};
    *bytes = 0;
    return applier_run(c->site->applier, count_step, &n, e);
}

/* The file of the promise. It may be written at this moment, so what is torn is looked at once more. */
static void look_at_vote(struct scrubber *c)
{
    struct vote_slot slots[VOTE_SLOTS];
    struct err e = ERR_NONE;
    char path[SITE_PATH_BYTES + 32];
    (void)snprintf(path, sizeof path, "%s/vote", c->site->config->data_dir);
    for (unsigned i = 0; i < 2; i++) {
        if (vote_inspect(AT_FDCWD, path, slots, &e) == 0 && slots[0].valid && slots[1].valid)
            return;
        (void)usleep(50000);
    }
    c->walk.damaged++;
    on_found(c,
             &(struct finding){.kind = FINDING_VOTE,
                               .file = "vote",
                               .text = e.code != 0 ? e.text
                                                   : "one of its two slots is damaged, or was torn "
                                                     "by a power cut"});
}

/* With the lock held. */
static void end_pass(struct scrubber *c)
{
    c->passes++;
    c->last_us = site_now_us();
    c->last_bytes = c->walk.bytes;
    /* What was repaired before the pass was over is not damaged any more. */
    c->last_damaged = c->walk.damaged > c->repaired ? c->walk.damaged - c->repaired : 0;
    c->bytes = c->damaged = c->repaired = 0;
    if (c->last_damaged == 0)
        c->trouble[0] = '\0';
    if (c->walk.damaged != 0 || c->passes == 1)
        events_add(c->site->events, "scrub: a pass over %llu bytes found %llu damaged",
                   (unsigned long long)c->last_bytes, (unsigned long long)c->walk.damaged);
    c->walk = (struct scrub){.bytes = 0};
}

/* A step that could not be done is neither damage nor a pass: it is told until one can. With the lock held. */
static bool note_step(struct scrubber *c, int rc, const struct err *e)
{
    const bool stuck = rc != 0 && rc != ERR_NOT_FOUND && rc != ERR_BUSY;
    const char *now = stuck ? e->text : "";
    if (strcmp(now, c->stuck) != 0)
        events_add(c->site->events, "scrub: %s%s", stuck ? "cannot go on: " : "goes on", now);
    (void)snprintf(c->stuck, sizeof c->stuck, "%s", now);
    return stuck;
}

static void *scrub_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "scrubber");
    site_background();
    struct scrubber *c = arg;
    char state_dir[SITE_PATH_BYTES + 32];
    (void)snprintf(state_dir, sizeof state_dir, "%s/state", c->site->config->data_dir);
    const struct scrub_parts parts = {c->site->state, c->site->log, state_dir, recount, c};
    const struct finding_sink sink = {on_found, NULL, c};
    const uint64_t rate = c->site->config->scrub_bytes, period = c->site->config->scrub_ms;
    uint64_t began = site_now_ms();
    worker_lock(&c->worker);
    while (!c->worker.stop) {
        worker_unlock(&c->worker);
        struct err e = ERR_NONE;
        const uint64_t before = c->walk.bytes;
        int rc = scrub_step(&c->walk, &parts, (size_t)(rate / STEPS_A_SECOND), &sink, &e);
        if (rc == ERR_NOT_FOUND)
            look_at_vote(c);
        const uint64_t read = c->walk.bytes - before;
        uint64_t pause = 1000 / STEPS_A_SECOND, now = site_now_ms();
        worker_lock(&c->worker);
        c->bytes = c->walk.bytes;
        c->damaged = c->walk.damaged;
        if (note_step(c, rc, &e)) {
            pause = STUCK_MS;
        } else if (rc == ERR_NOT_FOUND) {
            end_pass(c);
            pause = now - began < period ? period - (now - began) : pause;
            began = now + pause;
        } else if (read * 1000 / rate > pause) { /* a value larger than the budget */
            pause = read * 1000 / rate;
        }
        for (const uint64_t until = now + pause; !c->worker.stop && now < until;
             now = site_now_ms())
            worker_wait(&c->worker, until - now);
    }
    worker_unlock(&c->worker);
    return NULL;
}

int scrubber_start(struct site *s, struct scrubber **out, struct err *e)
{
    *out = NULL;
    if (s->config->scrub_bytes == 0)
        return 0;
    struct scrubber *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->site = s;
    int rc = worker_start(&c->worker, scrub_main, c, "reads what is stored again", e);
    if (rc != 0) {
        free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void scrubber_stop(struct scrubber *c)
{
    if (c == NULL)
        return;
    worker_end(&c->worker);
    worker_deinit(&c->worker);
    free(c);
}

void scrubber_repaired(struct scrubber *c)
{
    if (c == NULL)
        return;
    worker_lock(&c->worker);
    c->repaired++;
    worker_unlock(&c->worker);
}

bool scrubber_trouble(struct scrubber *c, char text[ERR_TEXT_BYTES])
{
    if (c == NULL)
        return false;
    worker_lock(&c->worker);
    const bool stuck = c->stuck[0] != '\0';
    (void)snprintf(text, ERR_TEXT_BYTES, "the scrub cannot go on: %.450s", c->stuck);
    worker_unlock(&c->worker);
    return stuck;
}

json_t *scrubber_json(struct scrubber *c)
{
    if (c == NULL)
        return json_null();
    worker_lock(&c->worker);
    uint64_t damaged = c->damaged > c->last_damaged ? c->damaged : c->last_damaged;
    damaged = damaged > c->repaired ? damaged - c->repaired : 0;
    json_t *trouble = damaged != 0 && c->trouble[0] != '\0' ? json_string(c->trouble) : NULL;
    json_t *o = json_pack(
        "{s:I, s:o, s:o, s:I, s:I, s:o}", "passes", (json_int_t)c->passes, "last_pass_us",
        c->passes != 0 ? json_integer((json_int_t)c->last_us) : json_null(), "last_pass_bytes",
        c->passes != 0 ? json_integer((json_int_t)c->last_bytes) : json_null(), "bytes",
        (json_int_t)c->bytes, "damaged", (json_int_t)damaged, "trouble",
        trouble != NULL ? trouble : json_null());
    worker_unlock(&c->worker);
    return o;
}
