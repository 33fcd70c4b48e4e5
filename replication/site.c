/* A running site: starts the parts in order (site_open.c opens the disk's), runs the loop, stops them in reverse.
 *
 * START-UP. Lock and identity; the promise (vote); the state, put back to its last checkpoint; the log, recovered from
 * there; the protocol core, told what is on disk; the applier, the archiver; and last the ports, so that nobody is
 * answered before everything is known.
 *
 * THREADS. The loop owns everything in struct site. The log, the applier with its checkpoints, the archiver, the scrubber
 * and the care of what is stored have threads of their own and only post: they set what the loop then reads, and wake it.
 *
 * STOPPING. On SIGTERM a primary hands over first, bounded by LEAVE_MS; a switchover that waits for its successor is hurried.
 * Then operators who wait for the outcome of an order are told what is known of it, and no client and no peer is heard any more;
 * what was queued for them is sent; threads end; the loop runs until no callback is left that could find freed memory. */
#include "replication/site_init.h"
#include "replication/service.h"

#include "store/core/check.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

enum { DRAIN_MS = 2000, LEAVE_MS = 1000 };

uint64_t site_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t site_boot_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t site_now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void site_background(void)
{
    enum { NICE = 10 }; /* of a processor that others want as well, a tenth */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
}

int site_snapshot(struct site *s, struct state_snapshot **out, struct err *e)
{
    if (s->turn_snapshot == NULL) {
        int rc = state_snapshot_open(s->state, &s->turn_snapshot, e);
        if (rc != 0)
            return rc;
    }
    *out = s->turn_snapshot;
    return 0;
}

void site_snapshot_drop(struct site *s)
{
    if (s->turn_snapshot != NULL)
        state_snapshot_close(s->turn_snapshot);
    s->turn_snapshot = NULL;
}

/* ---- news from the threads ---- */

void site_log_durable(void *arg, struct entry_position last)
{
    struct site *s = arg;
    (void)pthread_mutex_lock(&s->news.lock);
    s->news.durable = last;
    s->news.moved = true;
    const bool awaited = s->news.awaited;
    (void)pthread_mutex_unlock(&s->news.lock);
    if (!awaited)
        (void)uv_async_send(&s->wake);
}

static void await_log_news(struct site *s, bool awaited)
{
    (void)pthread_mutex_lock(&s->news.lock);
    s->news.awaited = awaited;
    (void)pthread_mutex_unlock(&s->news.lock);
}

void site_log_lend(struct site *s)
{
    await_log_news(s, true);
    log_lend(s->log);
    await_log_news(s, false);
}

void site_log_failed(void *arg, const struct err *why)
{
    struct site *s = arg;
    (void)pthread_mutex_lock(&s->news.lock);
    s->news.failed = true;
    s->news.why = *why;
    (void)pthread_mutex_unlock(&s->news.lock);
    (void)uv_async_send(&s->wake);
}

static void take_log_news(struct site *s)
{
    (void)pthread_mutex_lock(&s->news.lock);
    struct entry_position durable = s->news.durable;
    bool moved = s->news.moved, failed = s->news.failed;
    struct err why = s->news.why;
    s->news.moved = false;
    (void)pthread_mutex_unlock(&s->news.lock);
    if (failed) {
        err_wrap(&why, "the log's disk failed, the site stops");
        site_fail(s, &why);
    } else if (moved && driver_log_begun(s, &why) != 0) {
        site_fail(s, &why);
    } else if (moved) {
        driver_step(s, &(struct repl_event){
                           .type = REPL_EV_DURABLE, .now_ms = site_now_ms(), .position = durable});
    }
}

static void tell_mode(struct site *s)
{
    struct state_snapshot *snap;
    struct state_totals totals;
    struct err e = ERR_NONE;
    if (site_snapshot(s, &snap, &e) != 0 || state_totals(snap, &totals, &e) != 0 ||
        totals.mode == s->view.mode)
        return;
    events_add(s->events, "commit mode is %s from lsn %llu on", commit_mode_name(totals.mode),
               (unsigned long long)s->marks.applied.v);
    driver_step(s, &(struct repl_event){
                       .type = REPL_EV_MODE, .now_ms = site_now_ms(), .mode = totals.mode});
}

/* Give back what nobody needs any more. */
static void recycle(struct site *s)
{
    const struct site_config *c = s->config;
    bool archives[REPL_SITES_MAX] = {false};
    for (uint32_t i = 0; i < c->member_count; i++)
        archives[i] = c->members[i].kind == SITE_REPOSITORY;
    s->marks.retain = s->retain;
    marks_peers(&s->marks, &s->view, (uint8_t)c->self, (uint8_t)c->member_count, archives);
    struct err e = ERR_NONE;
    if (log_recycle(s->log, marks_recycle_below(&s->marks), &e) != 0)
        site_fail(s, &e);
}

/* The last thing that a new primary's clients wait for. */
static void tell_answering(struct site *s)
{
    if (s->answering.v == s->view.term.v || !site_is_ready(s))
        return;
    s->answering = s->view.term;
    events_add(s->events,
               "term %llu: %llu entries are remembered until they are applied -> answering, after "
               "%llu ms as primary",
               (unsigned long long)s->answering.v,
               (unsigned long long)(s->tail.lsn.v - s->marks.applied.v),
               (unsigned long long)(site_now_ms() - s->primary_since_ms));
}

static void take_progress(struct site *s)
{
    struct lsn checkpoint = state_checkpoint(s->state).lsn; /* first: see marks_progress() */
    struct lsn applied = applier_applied(s->applier), archived = s->marks.archived;
    if (s->archiver != NULL) {
        struct repository_status status;
        char trouble[ERR_TEXT_BYTES];
        archiver_status(s->archiver, &status, trouble);
        archived = status.archived.lsn;
    }
    struct marks_news moved = marks_progress(&s->marks, checkpoint, applied, archived);
    if (moved.applied) {
        site_snapshot_drop(s); /* before the overlay forgets what only it had */
        overlay_drop(s->overlay, applied);
        const struct entry_position at = state_applied(s->state);
        (void)freshness_applied(&s->freshness, at.lsn, at.term, s->view.may_vote);
        tell_mode(s);
    }
    if (moved.applied || moved.archived)
        driver_step(s, &(struct repl_event){.type = REPL_EV_PROGRESS,
                                            .now_ms = site_now_ms(),
                                            .applied = s->marks.applied,
                                            .archived = s->marks.archived});
    if (moved.recyclable && s->fatal.code == 0)
        recycle(s);
}

static void on_wake(uv_async_t *wake)
{
    struct site *s = wake->data;
    struct err why;
    if (s->stopping)
        return;
    take_log_news(s);
    if (ahead_news(s->ahead))
        s->unshipped = true; /* the end of the turn looks who can be sent what was read */
    past_answer(s->past);
    exporter_progress(s->exporter);
    if (s->fatal.code == 0 && applier_failed(s->applier, &why))
        site_fail(s, &why);
    if (s->fatal.code == 0)
        take_progress(s);
    if (s->fatal.code == 0)
        care_progress(s);
    collector_progress(s);
    cosigner_progress(s);
}

static void on_tick(uv_timer_t *tick)
{
    struct site *s = tick->data;
    if (s->stopping)
        return;
    driver_tick(s);
    isolation_tick(s);
    refill_progress(s);
    if (s->fatal.code == 0)
        care_progress(s);
    collector_progress(s);
    cosigner_progress(s);
    uint64_t now = site_now_ms(), due = repl_next_tick_ms(s->repl);
    if (s->leave_by_ms != 0 && now >= s->leave_by_ms)
        site_stop(s);
    uint64_t wait = due > now ? due - now : 1;
    /* Another event may need an earlier tick; look at least this often. */
    (void)uv_timer_start(tick, on_tick, wait < 10 ? wait : 10, 0);
}

/* Have written what this turn appended. When it is written already, whoever waits for it need not wait for the next turn. */
static void push(struct site *s)
{
    if (driver_push(s) && !s->stopping)
        take_log_news(s);
}

static void on_check(uv_check_t *check)
{
    push(check->data);
    driver_ship(check->data);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct site *s = prepare->data;
    if (!s->stopping) {
        tell_answering(s);
        service_turn(s);
    }
    push(s); /* timers append, too, and now the loop may sleep */
    driver_ship(s);
    site_snapshot_drop(s);
    inherit(s); /* what begins the term is under way */
}

/* A planned stop should not cost the others an election timeout: a primary hands over first, when somebody can take it and the
 * policy lets sites decide. True when that has begun; it ends in driver_step, or at leave_by_ms. */
static bool leave(struct site *s)
{
    if (s->leave_by_ms != 0 || s->config->policy != REPL_AUTOMATIC || s->view.role != REPL_PRIMARY)
        return false;
    /* An operator was quicker, perhaps, and may have time: his successor will do, sooner. */
    if (s->view.handing_over_to == REPL_NOBODY || s->view.handover == REPL_HANDOVER_WAIT)
        driver_step(s, &(struct repl_event){.type = REPL_EV_SWITCHOVER,
                                            .now_ms = site_now_ms(),
                                            .site = REPL_NOBODY,
                                            .wait_ms = LEAVE_MS / 2});
    if (s->stopping || s->view.handing_over_to == REPL_NOBODY)
        return false;
    s->leave_by_ms = site_now_ms() + LEAVE_MS;
    return true;
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct site *s = signal->data;
    bool handing_over = !s->stopping && leave(s);
    events_add(s->events, "signal %d: %s", number,
               handing_over ? "handing over, then stopping" : "stopping");
    if (!handing_over)
        site_stop(s);
}

static void on_hangup(uv_signal_t *signal, int number)
{
    struct site *s = signal->data;
    (void)number;
    if (!s->stopping)
        certificates_look(s, true);
}

void site_fail(struct site *s, const struct err *why)
{
    if (s->fatal.code != 0)
        return;
    s->fatal = *why;
    if (s->fatal.code == 0)
        s->fatal.code = ERR_FAILED;
    events_add(s->events, "fatal: %s", s->fatal.text);
    site_stop(s);
}

void site_stop(struct site *s)
{
    if (!s->stopping) {
        s->stopping = true;
        (void)uv_async_send(&s->wake);
        uv_stop(&s->loop);
    }
}

/* ---- start ---- */

static int start_loop(struct site *s, struct err *e)
{
    int status = uv_loop_init(&s->loop);
    s->loop_begun = status == 0;
    if (status == 0)
        status = uv_async_init(&s->loop, &s->wake, on_wake);
    if (status == 0)
        status = uv_timer_init(&s->loop, &s->tick);
    if (status == 0)
        status = uv_prepare_init(&s->loop, &s->prepare);
    if (status == 0)
        status = uv_check_init(&s->loop, &s->check);
    if (status == 0)
        status = uv_signal_init(&s->loop, &s->sigterm);
    if (status == 0)
        status = uv_signal_init(&s->loop, &s->sigint);
    if (status == 0)
        status = uv_signal_init(&s->loop, &s->sighup);
    if (status != 0)
        return err_set(e, ERR_FAILED, "the event loop cannot be set up: %s", uv_strerror(status));
    s->wake.data = s->tick.data = s->prepare.data = s->check.data = s->sigterm.data =
        s->sigint.data = s->sighup.data = s;
    (void)uv_prepare_start(&s->prepare, on_prepare);
    (void)uv_check_start(&s->check, on_check);
    (void)uv_signal_start(&s->sigterm, on_signal, SIGTERM);
    (void)uv_signal_start(&s->sigint, on_signal, SIGINT);
    (void)uv_signal_start(&s->sighup, on_hangup, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    /* A file size limit is a full disk, not a reason to die (store/state.h). */
    (void)signal(SIGXFSZ, SIG_IGN);
    return 0;
}

/* What is on the disk is damaged, or a part of it is missing: how the site comes back stands in one place. */
static int advise(int rc, struct err *e)
{
    static const char advice[] =
        ". To bring a damaged site back: triveni init --help, 'Bringing back a damaged site'";
    size_t n = strlen(e->text);
    size_t room = sizeof e->text - sizeof advice;
    if (rc == ERR_INTEGRITY || rc == ERR_GAP || rc == ERR_FORMAT)
        (void)snprintf(e->text + (n < room ? n : room), sizeof advice, "%s", advice);
    return rc;
}

static int start(struct site *s, struct err *e)
{
    const struct site_config *c = s->config;
    int rc = start_loop(s, e);
    if (rc == 0)
        rc = advise(site_read_identity(c, s->members, e), e);
    if (rc == 0)
        rc = site_lock(c, &s->lock_fd, e);
    if (rc == 0)
        rc = certificates_open(s, e);
    if (rc == 0)
        rc = advise(site_open_promise(s, e), e);
    if (rc == 0)
        rc = advise(site_open_store(s, e), e);
    if (rc == 0)
        rc = site_open_core(s, e);
    if (rc == 0 && s->marks.archives)
        rc = archiver_start(s, &s->archiver, e);
    if (rc == 0 && s->marks.archives)
        rc = packs_start(s, &s->packs, e);
    if (rc == 0 && s->marks.archives)
        rc = past_start(s, &s->past, e);
    if (rc == 0 && s->marks.archives)
        rc = drills_start(s, &s->drills, e);
    if (rc == 0)
        rc = s->marks.archives ? collector_start(s, &s->collector, e)
                               : cosigner_start(s, &s->cosigner, e);
    if (rc == 0 && s->marks.archives)
        rc = receipts_start(s, &s->receipts, e);
    if (rc == 0)
        rc = ahead_start(s, &s->ahead, e);
    if (rc == 0)
        rc = exporter_open(s, &s->exporter, e);
    if (rc == 0)
        rc = applier_start(s, &s->applier, e);
    if (rc == 0)
        rc = care_start(s, &s->care, e);
    if (rc == 0 && s->marks.archives) /* it asks other sites */
        rc = archive_scrub_start(s, &s->archive_scrub, e);
    if (rc == 0)
        rc = scrubber_start(s, &s->scrubber, e);
    isolation_open(s);
    if (rc == 0)
        rc = service_start(s, e);
    if (rc == 0)
        rc = peers_start(s, e);
    if (rc == 0)
        isolation_apply(s);
    return rc;
}

/* ---- stop ---- */

/* Run the loop until nothing is left in it but, perhaps, `wake`. A connection ends by itself within a second; only the look-up of
 * a name may take longer. */
static void run_out(struct site *s)
{
    uint64_t until = site_now_ms() + DRAIN_MS;
    while (uv_run(&s->loop, UV_RUN_NOWAIT) != 0 && site_now_ms() < until)
        (void)usleep(1000);
}

/* The connections send what is queued and close, then the threads finish what they are at, then the loop can go: threads wake it
 * to the last. False when something of libuv's is still alive; then the memory must stay. */
static bool stop_loop(struct site *s)
{
    if (!s->loop_begun)
        return true;
    uv_handle_t *const own[] = {(uv_handle_t *)&s->tick,   (uv_handle_t *)&s->prepare,
                                (uv_handle_t *)&s->check,  (uv_handle_t *)&s->sigterm,
                                (uv_handle_t *)&s->sigint, (uv_handle_t *)&s->sighup};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (own[i]->loop != NULL)
            uv_close(own[i], NULL);
    if (s->wake.loop != NULL)
        uv_unref((uv_handle_t *)&s->wake);
    run_out(s);
    scrubber_stop(s->scrubber);
    care_stop(s->care);
    cosigner_stop(s->cosigner);
    collector_stop(s->collector);
    receipts_stop(s->receipts);
    applier_stop(s->applier);
    past_stop(s->past);
    drills_stop(s->drills);
    archive_scrub_stop(s->archive_scrub);
    archiver_stop(s->archiver);
    packs_stop(s->packs);
    ahead_stop(s->ahead);
    exporter_close(s->exporter);
    struct err e = ERR_NONE;
    if (s->log != NULL && log_close(s->log, &e) != 0 && s->fatal.code == 0)
        s->fatal = e;
    if (s->wake.loop != NULL)
        uv_close((uv_handle_t *)&s->wake, NULL);
    run_out(s);
    return uv_loop_close(&s->loop) == 0;
}

/* True when everything is released. */
static bool stop(struct site *s)
{
    s->stopping = true;
    service_stop(s);
    peers_stop(s);
    site_snapshot_drop(s);
    if (!stop_loop(s))
        return false;
    care_free(s->care);
    state_close(s->state);
    overlay_free(s->overlay);
    vote_close(s->vote_file);
    SSL_CTX_free(s->tls);
    free(s->service != NULL ? s->service->out : NULL);
    free(s->service);
    free(s->repl);
    free(s->actions);
    free(s->read_buffer);
    free(s->seal_buffer);
    salts_wipe(&s->salts);
    (void)pthread_mutex_destroy(&s->news.lock);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    return true;
}

int site_run(const struct site_config *config, struct err *e)
{
    struct site *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    s->own_config = *config;
    memcpy(s->file_members, config->members, sizeof s->file_members);
    s->file_member_count = config->member_count;
    config = s->config = &s->own_config;
    s->lock_fd = -1;
    (void)pthread_mutex_init(&s->news.lock, NULL);
    s->view.primary = REPL_NOBODY;
    s->events = events_new(config->members[config->self].name);
    int rc = s->events == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory") : start(s, e);
    if (rc == 0) {
        const struct site_member *self = &config->members[config->self];
        events_add(s->events, "triveni %s serves cluster %s: clients at %s, sites at %s",
                   TRIVENI_VERSION, config->cluster, self->client, self->peer);
        on_tick(&s->tick);
        (void)uv_run(&s->loop, UV_RUN_DEFAULT);
    }
    bool started = rc == 0, released = stop(s);
    if (rc == 0 && s->fatal.code != 0) {
        *e = s->fatal;
        rc = s->fatal.code;
    }
    if (started) /* whoever ran us tells why there was no start, or that there was a fatal end */
        events_add(s->events, "stopped");
    if (released) {
        events_free(s->events);
        free(s);
    } else if (s->events != NULL) {
        events_drain(s->events); /* a look-up still writes to `s`; the process ends */
    }
    return rc;
}
