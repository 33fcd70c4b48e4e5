/* The applier: a thread that reads committed entries from the log and applies them to the state in batches, behind the
 * acknowledgements; and a second thread that makes checkpoints durable while the first goes on.
 *
 * Batches are adaptive. LMDB writes whole pages, so ten thousand sorted puts in one transaction cost a small part of the same
 * puts one by one; and nobody waits for the state, because point reads and conditions see the overlay. So what became visible
 * lingers for LINGER_MS, or until STATE_BATCH_OPS have gathered, before it is applied (store/replay.h). Whoever does
 * wait (a scan, a standby's reader with a token, a new primary) makes it urgent.
 *
 * What else must be done where no batch is under way is done here as well: jobs of other threads (a repair, a step of the scrub's
 * count), the sums at an lsn that sites compare at, counting again when the sums are in doubt, and building and dropping indexes
 * (store/state.h). The last goes on for as long as there is something to build, and takes turns with batches: of a busy site's
 * applier half, of an idle one's all.
 *
 * ORDER of a checkpoint: begun by the applier between batches (pins the state), finished by the other thread only when the
 * site says that log and majority cover it (marks_publish_to); see store/state.h.
 *
 * FAILURE MODES. A full disk lets the applier wait and try again: the entries are in the log, reads go on. Before it comes to
 * that there is the reserve: with less than it beside the state writes are refused, so that it is left to what is logged.
 * Anything else stops the site, which then starts again from its checkpoint. */
#include "replication/site_parts.h"

#include "store/core/check.h"
#include "store/finding.h"
#include "store/io/cond.h"
#include "store/replay.h"

enum {
    INDEX_WORK = 4096,       /* records looked at and rows written in a step: some 10 ms */
    INDEX_AGAIN_MS = 5000,   /* after a step that failed, or met a damaged record */
    INDEX_REBUILDS_MAX = 16, /* asked for and not begun */
    LINGER_MS = 50,          /* a standby's readers see the state at most this much older */
    RETRY_MS = 500,
    GROWTH = 4, /* times checkpoint_bytes of the state's file: new records take about two */
    IDLE_MS = 200,
    RECOUNT_BYTES = 8 << 20, /* of records, at a time, while the sums are in doubt */
    RECOUNT_MS = 50,
    RECOUNT_AGAIN_MS =
        60 * 1000, /* after a pass that could not end the doubt: damage is in the way */
};

/* Something that another thread wants done between two batches. */
struct job {
    int (*run)(void *arg, struct err *e);
    void *arg;
    struct err e;
    int rc;
    bool begun, done;
};

enum wait { WAIT_NONE, WAIT_IDLE, WAIT_LINGER };

struct applier {
    struct site *site;
    pthread_t apply_thread, checkpoint_thread;
    pthread_mutex_t lock;
    pthread_cond_t news;    /* of the applier, and of those who wait for it */
    pthread_cond_t publish; /* of the checkpointer */
    enum wait wait;         /* what the applier waits for, and nobody has woken it yet; lock */
    bool stop, failed;
    struct err why;
    /* under the lock */
    struct lsn apply_to, may_publish_to, urgent_to;
    uint64_t waiting_since_ms; /* when the oldest entry to apply came; 0: none waits */
    struct lsn applied;
    bool checkpoint_pending; /* begun, waits for or is in finish */
    struct err disk_full;    /* code 0: it is not */
    struct err disk_low;     /* the same for the reserve */
    struct entry_position checkpoint_at;
    struct job *job;        /* NULL: none */
    struct lsn mark;        /* a batch ends there, and the sums are kept; 0: not asked */
    struct state_sums sums; /* as of the last mark that was met; lsn 0: none */
    uint64_t recount_ms;    /* when to go on counting, while the sums are in doubt */
    uint64_t replaced;      /* damaged records overwritten, as told */
    uint64_t index_ms;      /* when to go on building indexes */
    uint64_t rebuilt;       /* indexes built anew, as told */
    bool index_waits;       /* told: a build waits for a damaged record, or cannot go on */
    struct err index_why;   /* why; code 0: it goes on */
    uint64_t rebuild[INDEX_REBUILDS_MAX]; /* ids of indexes with damaged rows */
    size_t rebuild_count;
    struct replay *replay;   /* applier thread only, as what follows */
    struct state_sums taken; /* on their way to `sums` */
    uint64_t bytes_since_checkpoint;
    uint64_t file_at_checkpoint; /* size of the state's file when the last one began */
    uint64_t last_checkpoint_ms;
};

static void fail(struct applier *a, const struct err *why)
{
    (void)pthread_mutex_lock(&a->lock);
    if (!a->failed) {
        a->failed = true;
        a->why = *why;
    }
    (void)pthread_cond_broadcast(&a->news);
    (void)pthread_cond_broadcast(&a->publish);
    (void)pthread_mutex_unlock(&a->lock);
    (void)uv_async_send(&a->site->wake);
}

/* Pages of the last checkpoint are not used again before the next. Small changes all over the state replace many pages with
 * little log, so the file may grow by far more than the log does. */
static bool has_grown(const struct applier *a)
{
    return a->bytes_since_checkpoint > 0 &&
           state_file_bytes(a->site->state) >=
               a->file_at_checkpoint + GROWTH * a->site->config->checkpoint_bytes;
}

static bool checkpoint_due(const struct applier *a, uint64_t now)
{
    const struct site_config *c = a->site->config;
    return a->bytes_since_checkpoint >= c->checkpoint_bytes || has_grown(a) ||
           (a->bytes_since_checkpoint > 0 && now - a->last_checkpoint_ms >= c->checkpoint_ms);
}

/* With the lock held; given up while it begins, which reads a page of the file: the site's loop waits for the lock with its
 * orders. What asks for a checkpoint meanwhile (applier_checkpoint_now) asks for the next one. False: it was not begun. */
static bool begin_checkpoint(struct applier *a, uint64_t now)
{
    struct err e = ERR_NONE;
    struct entry_position at;
    const uint64_t bytes = a->bytes_since_checkpoint;
    a->bytes_since_checkpoint = 0;
    a->last_checkpoint_ms = now;
    (void)pthread_mutex_unlock(&a->lock);
    const uint64_t file_bytes = state_file_bytes(a->site->state);
    int rc = state_checkpoint_begin(a->site->state, &at, &e);
    (void)pthread_mutex_lock(&a->lock);
    a->file_at_checkpoint = file_bytes;
    if (rc != 0) {
        events_add(a->site->events, "checkpoint: not begun: %s", e.text);
        a->bytes_since_checkpoint += bytes;
        return false;
    }
    a->checkpoint_at = at;
    a->checkpoint_pending = true;
    (void)pthread_cond_broadcast(&a->publish);
    return true;
}

/* With the lock held. `full`: why the last batch found no space; NULL: it did. */
static void note_space(struct applier *a, const struct err *full)
{
    if (full == NULL && a->disk_full.code != 0) {
        events_add(a->site->events, "state: applying again");
        a->disk_full.code = 0;
    }
    if (full == NULL)
        return;
    if (a->disk_full.code == 0)
        events_add(a->site->events, "state: %s; reads go on, applying is tried again", full->text);
    a->disk_full = *full;
    /* A checkpoint frees pages of the file (store/README.md). */
    a->bytes_since_checkpoint = a->site->config->checkpoint_bytes;
}

/* With the lock held; given up while it asks. The reserve is for what is in the log already. */
static void look_at_reserve(struct applier *a)
{
    struct err why = ERR_NONE;
    (void)pthread_mutex_unlock(&a->lock);
    int rc = state_room(a->site->state, a->site->config->reserve_bytes, &why);
    (void)pthread_mutex_lock(&a->lock);
    bool low = rc == ERR_NO_SPACE, was = a->disk_low.code != 0;
    if (low && !was)
        events_add(a->site->events, "state: %s; writes are refused, reads go on", why.text);
    else if (!low && was)
        events_add(a->site->events, "state: there is more free than the reserve again");
    a->disk_low = low ? why : (struct err)ERR_NONE;
}

/* ---- between two batches ---- */

/* With the lock held; given up while the job runs. */
static void run_job(struct applier *a)
{
    struct job *job = a->job;
    job->begun = true;
    (void)pthread_mutex_unlock(&a->lock);
    job->rc = job->run(job->arg, &job->e);
    (void)pthread_mutex_lock(&a->lock);
    job->done = true;
    a->job = NULL;
    a->bytes_since_checkpoint += job->rc == 0; /* it may have written */
    (void)pthread_cond_broadcast(&a->news);
}

/* With the lock held; given up while they are read from the state, which is exactly where they were asked for and stays there:
 * only this thread applies. */
static void take_sums(struct applier *a)
{
    struct err e = ERR_NONE;
    struct state_snapshot *snap;
    struct state_sums *sums = &a->taken;
    const struct lsn mark = a->mark;
    (void)pthread_mutex_unlock(&a->lock);
    sums->lsn = (struct lsn){0};
    if (state_snapshot_open(a->site->state, &snap, &e) == 0) {
        if (state_sums(snap, sums, &e) != 0)
            sums->lsn = (struct lsn){0};
        state_snapshot_close(snap);
    }
    (void)pthread_mutex_lock(&a->lock);
    if (sums->lsn.v == 0)
        events_add(a->site->events, "state: its sums cannot be read: %s", e.text);
    a->sums = *sums;
    if (a->mark.v == mark.v) /* else another was asked meanwhile */
        a->mark = (struct lsn){0};
    (void)pthread_cond_broadcast(&a->news);
    (void)uv_async_send(&a->site->wake);
}

static void on_found(void *arg, const struct finding *f)
{
    care_found(arg, f);
}

/* With the lock held; given up while it counts. */
static void count_again(struct applier *a, uint64_t now)
{
    const struct finding_sink sink = {on_found, NULL, a->site};
    struct state_doubt doubt;
    struct err e = ERR_NONE;
    size_t bytes;
    (void)pthread_mutex_unlock(&a->lock);
    int rc = state_recount_step(a->site->state, RECOUNT_BYTES, &sink, &bytes, &e);
    state_doubt(a->site->state, &doubt);
    if (!doubt.doubted)
        events_add(a->site->events, "state: the sums were counted again and are right");
    else if (rc != 0)
        events_add(a->site->events, "state: the sums stay in doubt: %s",
                   rc == ERR_NOT_FOUND ? "damaged records are in the way" : e.text);
    (void)pthread_mutex_lock(&a->lock);
    a->recount_ms = now + (rc == 0 ? RECOUNT_MS : RECOUNT_AGAIN_MS);
    a->bytes_since_checkpoint++;
}

/* ---- indexes ---- */

/* With the lock held; given up while it works. */
static void rebuild_index(struct applier *a)
{
    struct err e = ERR_NONE;
    const uint64_t id = a->rebuild[--a->rebuild_count];
    (void)pthread_mutex_unlock(&a->lock);
    int rc = state_index_rebuild(a->site->state, id, &e);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        events_add(a->site->events, "state: an index with a damaged row cannot be given up: %s",
                   e.text);
    (void)pthread_mutex_lock(&a->lock);
    a->index_ms = 0;
}

static void tell_rebuilt(struct applier *a)
{
    struct state_index_trouble trouble;
    state_index_trouble(a->site->state, &trouble);
    if (trouble.rebuilt > a->rebuilt)
        events_add(a->site->events, "state: %s", trouble.last);
    a->rebuilt = trouble.rebuilt;
}

/* With the lock held; given up while it works. True: something was done. */
static bool build_indexes(struct applier *a)
{
    const struct finding_sink sink = {on_found, NULL, a->site};
    struct err e = ERR_NONE;
    if (a->disk_full.code != 0 || a->disk_low.code != 0) {
        a->index_ms = site_now_ms() + RETRY_MS;
        return false;
    }
    (void)pthread_mutex_unlock(&a->lock);
    int rc = state_index_step(a->site->state, INDEX_WORK, &sink, &e);
    tell_rebuilt(a);
    (void)pthread_mutex_lock(&a->lock);
    const bool waits = rc != 0 && rc != ERR_NOT_FOUND;
    if (waits && !a->index_waits)
        events_add(a->site->events, "state: building an index: %s; it is tried again", e.text);
    if (rc == 0 || rc == ERR_NOT_FOUND)
        e.code = 0;
    a->index_why = e;
    a->index_waits = waits;
    a->bytes_since_checkpoint += rc == 0;
    a->index_ms = site_now_ms() + (rc == 0               ? 0
                                   : rc == ERR_NOT_FOUND ? (uint64_t)IDLE_MS
                                                         : (uint64_t)INDEX_AGAIN_MS);
    return rc == 0;
}

/* With the lock held. True: something was done, look again. */
static bool do_between(struct applier *a, uint64_t now)
{
    struct state_doubt doubt;
    if (!a->checkpoint_pending && checkpoint_due(a, now) && begin_checkpoint(a, now))
        return true;
    if (a->job != NULL) {
        run_job(a);
        return true;
    }
    if (a->rebuild_count != 0) {
        rebuild_index(a);
        return true;
    }
    if (a->mark.v != 0 && a->applied.v == a->mark.v) {
        take_sums(a);
        return true;
    }
    state_doubt(a->site->state, &doubt);
    if (doubt.replaced > a->replaced)
        events_add(
            a->site->events,
            "state: %s (it was overwritten or deleted since, and is whole again or gone; the "
            "sums are counted again)",
            doubt.last);
    a->replaced = doubt.replaced;
    if (!doubt.doubted || now < a->recount_ms)
        return false;
    count_again(a, now);
    return true;
}

/* ---- the threads ---- */

/* With the lock held; given up while it applies. */
static void apply_some(struct applier *a)
{
    struct lsn to = a->apply_to;
    if (a->mark.v > a->applied.v && a->mark.v < to.v)
        to = a->mark;
    (void)pthread_mutex_unlock(&a->lock);
    struct err e = ERR_NONE;
    int64_t n = replay_step(a->replay, to, &e);
    if (n == ERR_IO)
        (void)err_advise(&e, "look at the disk (dmesg, smartctl), then start the site again "
                             "(triveni serve): it goes on from its checkpoint");
    if (n < 0 && n != ERR_NO_SPACE)
        fail(a, &e);
    (void)pthread_mutex_lock(&a->lock);
    /* Part of a large batch may be in although the rest failed. */
    a->applied = state_applied(a->site->state).lsn;
    a->waiting_since_ms = 0;
    if (n >= 0)
        a->bytes_since_checkpoint += (uint64_t)n;
    if (n >= 0 || n == ERR_NO_SPACE)
        note_space(a, n < 0 ? &e : NULL);
    look_at_reserve(a);
    (void)uv_async_send(&a->site->wake);
    if (n == ERR_NO_SPACE)
        (void)cond_wait_ms(&a->news, &a->lock, RETRY_MS);
}

/* With the lock held. For how long is a batch still to gather? 0: apply it; UINT64_MAX: there is nothing to apply. */
static uint64_t gathers_ms(struct applier *a, uint64_t now)
{
    if (a->apply_to.v <= a->applied.v) {
        a->waiting_since_ms = 0;
        return UINT64_MAX;
    }
    if (a->waiting_since_ms == 0)
        a->waiting_since_ms = now;
    const uint64_t waited = now - a->waiting_since_ms;
    return waited < LINGER_MS && a->urgent_to.v <= a->applied.v &&
                   a->apply_to.v - a->applied.v < STATE_BATCH_OPS
               ? LINGER_MS - waited
               : 0;
}

static void *apply_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "applier");
    struct applier *a = arg;
    bool built = false; /* an index, since the last batch */
    (void)pthread_mutex_lock(&a->lock);
    look_at_reserve(a);
    while (!a->stop && !a->failed) {
        const uint64_t now = site_now_ms();
        if (do_between(a, now))
            continue;
        const uint64_t wait_ms = gathers_ms(a, now);
        if (now >= a->index_ms && (wait_ms != 0 || !built)) {
            built = build_indexes(a);
            continue; /* there may be news since */
        }
        if (wait_ms == 0) {
            apply_some(a);
            built = false;
            continue;
        }
        const bool idle = wait_ms == UINT64_MAX;
        const uint64_t idle_ms = a->recount_ms > now ? RECOUNT_MS : (uint64_t)IDLE_MS;
        a->wait = idle ? WAIT_IDLE : WAIT_LINGER;
        (void)cond_wait_ms(&a->news, &a->lock, idle ? idle_ms : wait_ms);
        a->wait = WAIT_NONE;
        if (idle && a->disk_low.code != 0) /* nothing will be applied that would ask again */
            look_at_reserve(a);
    }
    (void)pthread_cond_broadcast(&a->news);
    (void)pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void *checkpoint_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "checkpoint");
    struct applier *a = arg;
    (void)pthread_mutex_lock(&a->lock);
    while (!a->stop && !a->failed) {
        if (!a->checkpoint_pending || a->checkpoint_at.lsn.v > a->may_publish_to.v) {
            (void)cond_wait_ms(&a->publish, &a->lock, IDLE_MS);
            continue;
        }
        (void)pthread_mutex_unlock(&a->lock);
        struct err e = ERR_NONE;
        int rc = state_checkpoint_finish(a->site->state, &e);
        if (rc != 0)
            fail(a, &e);
        (void)pthread_mutex_lock(&a->lock);
        a->checkpoint_pending = false;
        (void)uv_async_send(&a->site->wake);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return NULL;
}

int applier_start(struct site *s, struct applier **out, struct err *e)
{
    struct applier *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->site = s;
    a->applied = state_applied(s->state).lsn;
    a->apply_to = a->applied;
    a->last_checkpoint_ms = site_now_ms();
    a->file_at_checkpoint = state_file_bytes(s->state);
    (void)pthread_mutex_init(&a->lock, NULL);
    cond_init(&a->news);
    cond_init(&a->publish);
    int rc = replay_open(&a->replay, s->log, s->state, e);
    if (rc != 0)
        goto failed;
    rc = ERR_NO_MEMORY;
    if (pthread_create(&a->apply_thread, NULL, apply_main, a) != 0)
        goto no_thread;
    if (pthread_create(&a->checkpoint_thread, NULL, checkpoint_main, a) != 0) {
        (void)pthread_mutex_lock(&a->lock);
        a->stop = true;
        (void)pthread_cond_broadcast(&a->news);
        (void)pthread_mutex_unlock(&a->lock);
        (void)pthread_join(a->apply_thread, NULL);
        goto no_thread;
    }
    *out = a;
    return 0;
no_thread:
    (void)err_set(e, rc, "no thread is to be had");
failed:
    err_wrap(e, "cannot start the applier");
    (void)pthread_cond_destroy(&a->publish);
    (void)pthread_cond_destroy(&a->news);
    (void)pthread_mutex_destroy(&a->lock);
    replay_close(a->replay);
    free(a);
    return rc;
}

void applier_stop(struct applier *a)
{
    if (a == NULL)
        return;
    (void)pthread_mutex_lock(&a->lock);
    a->stop = true;
    (void)pthread_cond_broadcast(&a->news);
    (void)pthread_cond_broadcast(&a->publish);
    (void)pthread_mutex_unlock(&a->lock);
    (void)pthread_join(a->apply_thread, NULL);
    (void)pthread_join(a->checkpoint_thread, NULL);
    if (a->checkpoint_pending) /* it may have been begun when the other thread had ended already */
        state_checkpoint_abandon(a->site->state);
    (void)pthread_cond_destroy(&a->publish);
    (void)pthread_cond_destroy(&a->news);
    (void)pthread_mutex_destroy(&a->lock);
    replay_close(a->replay);
    free(a);
}

void applier_orders(struct applier *a, struct lsn apply_to, struct lsn may_publish_to,
                    struct lsn urgent_to)
{
    (void)pthread_mutex_lock(&a->lock);
    bool publish = a->checkpoint_pending && may_publish_to.v > a->may_publish_to.v &&
                   may_publish_to.v >= a->checkpoint_at.lsn.v;
    if (apply_to.v > a->apply_to.v)
        a->apply_to = apply_to;
    if (may_publish_to.v > a->may_publish_to.v)
        a->may_publish_to = may_publish_to;
    if (urgent_to.v > a->urgent_to.v)
        a->urgent_to = urgent_to;
    /* Woken once, and only when there is something to begin; what lingers is looked at when its time is over. */
    if ((a->wait == WAIT_IDLE && a->apply_to.v > a->applied.v) ||
        (a->wait == WAIT_LINGER &&
         (a->urgent_to.v > a->applied.v || a->apply_to.v - a->applied.v >= STATE_BATCH_OPS))) {
        a->wait = WAIT_NONE;
        (void)pthread_cond_broadcast(&a->news);
    }
    if (publish)
        (void)pthread_cond_broadcast(&a->publish);
    (void)pthread_mutex_unlock(&a->lock);
}

void applier_checkpoint_now(struct applier *a)
{
    (void)pthread_mutex_lock(&a->lock);
    a->bytes_since_checkpoint = a->site->config->checkpoint_bytes;
    (void)pthread_cond_broadcast(&a->news);
    (void)pthread_mutex_unlock(&a->lock);
}

struct lsn applier_applied(struct applier *a)
{
    (void)pthread_mutex_lock(&a->lock);
    struct lsn applied = a->applied;
    (void)pthread_mutex_unlock(&a->lock);
    return applied;
}

bool applier_failed(struct applier *a, struct err *why)
{
    (void)pthread_mutex_lock(&a->lock);
    bool failed = a->failed;
    if (failed)
        *why = a->why;
    (void)pthread_mutex_unlock(&a->lock);
    return failed;
}

static bool read_trouble(struct applier *a, const struct err *from, struct err *why)
{
    (void)pthread_mutex_lock(&a->lock);
    bool is = from->code != 0;
    if (is)
        *why = *from;
    (void)pthread_mutex_unlock(&a->lock);
    return is;
}

bool applier_disk_full(struct applier *a, struct err *why)
{
    return a != NULL && read_trouble(a, &a->disk_full, why);
}

bool applier_disk_low(struct applier *a, struct err *why)
{
    return a != NULL && read_trouble(a, &a->disk_low, why);
}

bool applier_index_trouble(struct applier *a, struct err *why)
{
    return a != NULL && read_trouble(a, &a->index_why, why);
}

void applier_rebuild_index(struct applier *a, uint64_t id)
{
    if (a == NULL || id == 0)
        return;
    (void)pthread_mutex_lock(&a->lock);
    bool known = a->rebuild_count == INDEX_REBUILDS_MAX; /* it is met again */
    for (size_t i = 0; i < a->rebuild_count; i++)
        known |= a->rebuild[i] == id;
    if (!known)
        a->rebuild[a->rebuild_count++] = id;
    (void)pthread_cond_broadcast(&a->news);
    (void)pthread_mutex_unlock(&a->lock);
}

int applier_run(struct applier *a, int (*run)(void *arg, struct err *e), void *arg, struct err *e)
{
    struct job job = {.run = run, .arg = arg};
    (void)pthread_mutex_lock(&a->lock);
    while (a->job != NULL && !a->stop && !a->failed)
        (void)cond_wait_ms(&a->news, &a->lock, IDLE_MS);
    if (!a->stop && !a->failed) {
        /* cppcheck-suppress autoVariables ; it is taken back before the return */
        a->job = &job;
        (void)pthread_cond_broadcast(&a->news);
    }
    while (a->job == &job && !a->stop && !a->failed)
        (void)cond_wait_ms(&a->news, &a->lock, IDLE_MS);
    /* One that has begun is waited for: it uses what is the caller's. */
    while (job.begun && !job.done)
        (void)cond_wait_ms(&a->news, &a->lock, IDLE_MS);
    if (a->job == &job)
        a->job = NULL;
    (void)pthread_mutex_unlock(&a->lock);
    if (!job.done)
        return err_set(e, ERR_CANCELLED, "the site is stopping");
    return job.rc == 0 ? 0 : err_set(e, job.rc, "%s", job.e.text);
}

void applier_mark(struct applier *a, struct lsn lsn)
{
    (void)pthread_mutex_lock(&a->lock);
    a->mark = lsn;
    (void)pthread_cond_broadcast(&a->news);
    (void)pthread_mutex_unlock(&a->lock);
}

enum applier_mark applier_marked(struct applier *a, struct lsn lsn, struct state_sums *out)
{
    enum applier_mark answer = MARK_AHEAD;
    (void)pthread_mutex_lock(&a->lock);
    if (a->sums.lsn.v == lsn.v) {
        *out = a->sums;
        answer = MARK_MET;
    } else if (a->applied.v > lsn.v || a->mark.v != lsn.v) {
        answer = MARK_MISSED;
    }
    (void)pthread_mutex_unlock(&a->lock);
    return answer;
}
