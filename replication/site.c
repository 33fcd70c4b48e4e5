/* A running site: opens the parts in order, runs the loop, closes them in reverse.
 *
 * START-UP. Lock and identity; the promise (vote); the state, put back to its last checkpoint; the log, recovered from
 * there; the protocol core, told what is on disk; the applier, the archiver; and last the ports, so that nobody is
 * answered before everything is known.
 *
 * THREADS. The loop owns everything in struct site. The log, the applier with its checkpoints, and the archiver have threads of
 * their own and only post: they set what the loop then reads, and wake it. */
#include "replication/site_init.h"
#include "replication/service.h"

#include "store/core/check.h"

#include <signal.h>
#include <unistd.h>

enum { RUNS_MAX = REPL_RUNS_MAX };

/* What the log's thread has told, until the loop takes it. */
static struct {
    pthread_mutex_t lock;
    struct entry_position durable;
    bool moved, failed;
    struct err why;
} news = {.lock = PTHREAD_MUTEX_INITIALIZER};

uint64_t site_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t site_now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
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

static void on_durable(void *arg, struct entry_position last)
{
    struct site *s = arg;
    (void)pthread_mutex_lock(&news.lock);
    news.durable = last;
    news.moved = true;
    (void)pthread_mutex_unlock(&news.lock);
    (void)uv_async_send(&s->wake);
}

static void on_log_failed(void *arg, const struct err *why)
{
    struct site *s = arg;
    (void)pthread_mutex_lock(&news.lock);
    news.failed = true;
    news.why = *why;
    (void)pthread_mutex_unlock(&news.lock);
    (void)uv_async_send(&s->wake);
}

static void take_log_news(struct site *s)
{
    (void)pthread_mutex_lock(&news.lock);
    struct entry_position durable = news.durable;
    bool moved = news.moved, failed = news.failed;
    struct err why = news.why;
    news.moved = false;
    (void)pthread_mutex_unlock(&news.lock);
    if (failed) {
        err_wrap(&why, "the log's disk failed, the site stops");
        site_fail(s, &why);
    } else if (moved && durable.lsn.v <= s->tail.lsn.v && durable.lsn.v > s->marks.durable.v) {
        s->marks.durable = durable.lsn;
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

static void take_progress(struct site *s)
{
    struct lsn applied = applier_applied(s->applier), archived = s->marks.archived;
    struct lsn checkpoint = state_checkpoint(s->state).lsn;
    if (s->archiver != NULL) {
        struct repository_status status;
        char trouble[ERR_TEXT_BYTES];
        archiver_status(s->archiver, &status, trouble);
        archived = status.archived.lsn;
    }
    bool moved = applied.v > s->marks.applied.v || archived.v > s->marks.archived.v;
    bool recyclable = checkpoint.v > s->marks.checkpoint.v || archived.v > s->marks.archived.v;
    if (applied.v > s->marks.applied.v) {
        site_snapshot_drop(s); /* before the overlay forgets what only it had */
        s->marks.applied = applied;
        overlay_drop(s->overlay, applied);
        if (s->primary_commit_ms != 0 && applied.v >= s->primary_commit.v)
            s->caught_up_ms = s->primary_commit_ms;
        tell_mode(s);
    }
    s->marks.archived = archived;
    s->marks.checkpoint = checkpoint;
    if (moved)
        driver_step(s, &(struct repl_event){.type = REPL_EV_PROGRESS,
                                            .now_ms = site_now_ms(),
                                            .applied = applied,
                                            .archived = archived});
    if (recyclable) {
        s->marks.retain = s->retain;
        s->marks.needed = (struct lsn){UINT64_MAX};
        for (uint8_t i = 0; i < s->config->member_count; i++)
            if (i != s->config->self && s->view.peers[i].durable.v < s->marks.needed.v)
                s->marks.needed = s->view.peers[i].durable;
        if (s->view.role != REPL_PRIMARY)
            s->marks.needed =
                (struct lsn){0}; /* a standby does not know: the retention limit decides */
        struct err e = ERR_NONE;
        if (log_recycle(s->log, marks_recycle_below(&s->marks), &e) != 0)
            site_fail(s, &e);
    }
}

static void on_wake(uv_async_t *wake)
{
    struct site *s = wake->data;
    struct err why;
    if (s->stopping)
        return;
    take_log_news(s);
    if (s->fatal.code == 0 && applier_failed(s->applier, &why))
        site_fail(s, &why);
    if (s->fatal.code == 0)
        take_progress(s);
}

static void on_tick(uv_timer_t *tick)
{
    struct site *s = tick->data;
    if (s->stopping)
        return;
    driver_tick(s);
    uint64_t now = site_now_ms(), due = repl_next_tick_ms(s->repl);
    uint64_t wait = due > now ? due - now : 1;
    /* Another event may need an earlier tick; look at least this often. */
    (void)uv_timer_start(tick, on_tick, wait < 10 ? wait : 10, 0);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct site *s = prepare->data;
    if (!s->stopping)
        service_turn(s);
    site_snapshot_drop(s);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct site *s = signal->data;
    events_add(s->events, "signal %d: stopping", number);
    site_stop(s);
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

static int open_promise(struct site *s, struct err *e)
{
    char path[SITE_PATH_BYTES + 32];
    (void)snprintf(path, sizeof path, "%s/vote", s->config->data_dir);
    int rc = vote_open(&s->vote_file, path, &s->vote, e);
    if (rc == 0 && !uuid_equal(&s->vote.cluster_id, &s->config->cluster_id))
        rc = err_set(e, ERR_DENIED, "%s belongs to another cluster", path);
    return rc;
}

static int open_store(struct site *s, struct err *e)
{
    const struct site_config *c = s->config;
    char dir[SITE_PATH_BYTES + 32];
    (void)snprintf(dir, sizeof dir, "%s/state", c->data_dir);
    int rc =
        state_open(&s->state, &(struct state_options){.dir = dir, .cluster_id = c->cluster_id}, e);
    if (rc != 0)
        return err_wrap(e, "opening the state");
    struct entry_position start = state_applied(s->state);
    (void)snprintf(dir, sizeof dir, "%s/log", c->data_dir);
    rc = log_open(&s->log,
                  &(struct log_options){.dir = dir,
                                        .cluster_id = c->cluster_id,
                                        .segment_bytes = c->segment_bytes,
                                        .limit_bytes = c->log_limit_bytes,
                                        .reserve_bytes = c->reserve_bytes,
                                        .engine = c->engine,
                                        .on_durable = on_durable,
                                        .on_failed = on_log_failed,
                                        .arg = s},
                  &start, e);
    if (rc != 0)
        return err_wrap(e, "opening the log");
    struct log_status log;
    log_status(s->log, &log);
    s->tail = log.last;
    s->marks = (struct marks){.durable = log.last.lsn,
                              .commit = start.lsn,
                              .visible = start.lsn,
                              .applied = start.lsn,
                              .checkpoint = start.lsn,
                              .archives = c->members[c->self].kind == SITE_REPOSITORY};
    events_add(s->events, "log: lsn %llu..%llu, %llu segments, engine %s (%s); state at lsn %llu",
               (unsigned long long)log.first.lsn.v + 1, (unsigned long long)log.last.lsn.v,
               (unsigned long long)log.segments,
               log.engine == LOG_ENGINE_URING ? "io_uring" : "pwrite+fdatasync", log.engine_reason,
               (unsigned long long)start.lsn.v);
    if (log.cut_bytes > 0)
        events_add(s->events, "log: cut %llu bytes of a torn, never acknowledged tail",
                   (unsigned long long)log.cut_bytes);
    return 0;
}

static int start_core(struct site *s, struct err *e)
{
    const struct site_config *c = s->config;
    struct log_status log;
    struct log_run log_runs_found[RUNS_MAX];
    struct repl_run runs[RUNS_MAX];
    log_status(s->log, &log);
    size_t n = log_runs(s->log, log_runs_found, RUNS_MAX);
    for (size_t i = 0; i < n; i++)
        runs[i] = (struct repl_run){log_runs_found[i].term, log_runs_found[i].from};

    struct state_snapshot *snap;
    struct state_totals totals;
    int rc = site_snapshot(s, &snap, e);
    if (rc == 0)
        rc = state_totals(snap, &totals, e);
    if (rc != 0)
        return rc;
    uint64_t seed;
    uint8_t salt[ENTRY_SALT_BYTES];
    rc = site_random_salt(salt, e);
    if (rc != 0)
        return rc;
    memcpy(&seed, salt, sizeof seed);
    struct repl_options options = {.self = (uint8_t)c->self,
                                   .sites = (uint8_t)c->member_count,
                                   .policy = c->policy,
                                   .heartbeat_ms = c->heartbeat_ms,
                                   .election_ms = c->election_ms,
                                   .lease_ms = c->lease_ms,
                                   .seed = seed};
    for (uint32_t i = 0; i < c->member_count; i++) {
        options.names[i] = c->members[i].name;
        options.electable[i] = c->members[i].kind == SITE_DATA;
    }
    s->repl = calloc(1, repl_size());
    s->actions = calloc(1, sizeof *s->actions);
    s->read_capacity = REPL_BATCH_BYTES;
    s->read_buffer = malloc(s->read_capacity);
    s->overlay = overlay_new(seed);
    if (s->repl == NULL || s->actions == NULL || s->read_buffer == NULL || s->overlay == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    repl_init(s->repl, &options,
              &(struct repl_start){.now_ms = site_now_ms(),
                                   .term = s->vote.term,
                                   .voted_for = s->vote.voted_for,
                                   .incarnation = s->vote.incarnation,
                                   .may_vote = s->vote.may_vote,
                                   .first = log.first.lsn,
                                   .last = log.last,
                                   .runs = runs,
                                   .run_count = (uint32_t)n,
                                   .commit = s->marks.commit,
                                   .mode = totals.mode});
    repl_view(s->repl, &s->view);
    return 0;
}

static int start_loop(struct site *s, struct err *e)
{
    if (uv_loop_init(&s->loop) != 0 || uv_async_init(&s->loop, &s->wake, on_wake) != 0 ||
        uv_timer_init(&s->loop, &s->tick) != 0 || uv_prepare_init(&s->loop, &s->prepare) != 0 ||
        uv_signal_init(&s->loop, &s->sigterm) != 0 || uv_signal_init(&s->loop, &s->sigint) != 0)
        return err_set(e, ERR_FAILED, "the event loop cannot be set up");
    s->wake.data = s->tick.data = s->prepare.data = s->sigterm.data = s->sigint.data = s;
    (void)uv_prepare_start(&s->prepare, on_prepare);
    (void)uv_signal_start(&s->sigterm, on_signal, SIGTERM);
    (void)uv_signal_start(&s->sigint, on_signal, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(
        SIGXFSZ,
        SIG_IGN); /* a file size limit is a full disk, not a reason to die (store/state.h) */
    return 0;
}

static int start(struct site *s, struct err *e)
{
    const struct site_config *c = s->config;
    int rc = start_loop(s, e);
    if (rc == 0)
        rc = site_check_identity(c, e);
    if (rc == 0)
        rc = site_lock(c, &s->lock_fd, e);
    if (rc == 0)
        rc = tls_context(
            &(struct tls_files){c->ca, c->cert, c->key, c->crl[0] != '\0' ? c->crl : NULL}, &s->tls,
            e);
    if (rc == 0)
        rc = open_promise(s, e);
    if (rc == 0)
        rc = open_store(s, e);
    if (rc == 0)
        rc = start_core(s, e);
    if (rc == 0 && s->marks.archives)
        rc = archiver_start(s, &s->archiver, e);
    if (rc == 0)
        rc = applier_start(s, &s->applier, e);
    if (rc == 0)
        rc = service_start(s, e);
    if (rc == 0)
        rc = peers_start(s, e);
    return rc;
}

/* ---- stop ---- */

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void stop(struct site *s)
{
    s->stopping = true;
    service_stop(s);
    if (s->peer_listener != NULL || s->repl != NULL)
        peers_stop(s);
    /* Let the connections send what is queued and close; bounded. */
    for (int i = 0; i < 150 && s->wake.data != NULL; i++) {
        (void)uv_run(&s->loop, UV_RUN_NOWAIT);
        (void)usleep(1000);
    }
    applier_stop(s->applier);
    archiver_stop(s->archiver);
    site_snapshot_drop(s);
    struct err e = ERR_NONE;
    if (s->log != NULL && log_close(s->log, &e) != 0 && s->fatal.code == 0)
        s->fatal = e;
    state_close(s->state);
    uv_walk(&s->loop, close_handle, NULL);
    for (int i = 0; i < 1000 && uv_run(&s->loop, UV_RUN_NOWAIT) != 0; i++)
        (void)usleep(1000);
    (void)uv_loop_close(&s->loop);
    overlay_free(s->overlay);
    vote_close(s->vote_file);
    SSL_CTX_free(s->tls);
    free(s->service != NULL ? s->service->out : NULL);
    free(s->service);
    free(s->repl);
    free(s->actions);
    free(s->read_buffer);
    free(s->seal_buffer);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
}

int site_run(const struct site_config *config, struct err *e)
{
    struct site *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    s->config = config;
    s->lock_fd = -1;
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
    stop(s);
    if (rc == 0 && s->fatal.code != 0) {
        *e = s->fatal;
        rc = s->fatal.code;
    }
    if (s->events != NULL)
        events_add(s->events, rc == 0 ? "stopped" : "stopped: %s", e->text);
    events_free(s->events);
    free(s);
    return rc;
}
