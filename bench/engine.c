/* See engine.h.
 *
 * WAITING. Whoever finds the log idle writes what has gathered (log_lend). Who wrote tells how far the log is durable; few
 * waiting threads it wakes itself; many are left to a thread of their own, because each wake costs a system call and the next
 * batch should be on its way meanwhile. (RocksDB's writers have the same cost, borne by the leader of a group.)
 *
 * APPLYING lags behind as it does at a site (replication/applier.c): what is durable gathers for LINGER_MS, or until there are
 * STATE_BATCH_OPS of it.
 *
 * LIMIT. At most UNAPPLIED_BYTES of log are not yet applied: then puts wait, as clients of a site do. */
#include "bench/engine.h"

#include "store/core/body.h"
#include "store/core/commit_time.h"
#include "store/io/cond.h"
#include "store/replay.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    CHECKPOINT_BYTES = 256 << 20,
    UNAPPLIED_BYTES = 256 << 20,
    WAKE_BY_LOG = 2,
    DEPTH_MAX = 1024,
    LINGER_MS = 50,
};

struct waiter {
    uint64_t lsn;
    sem_t *done;
};

struct engine {
    struct log *log;
    struct state *state;
    struct uuid id;
    struct engine_recovery recovery;

    pthread_mutex_t appending; /* the log's one owner */
    struct entry_position tail;
    struct commit_clock clock;
    struct entry_view views[DEPTH_MAX];
    uint8_t headers[DEPTH_MAX][ENTRY_HEADER_BYTES];

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t wake_news, durable_news, applied_news,
        checkpoint_news; /* of waker, applier, all, checkpointer */
    struct waiter ring[BENCH_CLIENTS_MAX];
    unsigned head, count;
    uint64_t durable, applied, appended_bytes, applied_bytes;
    uint64_t checkpoints, entries;
    bool stop, checkpoint_begun;
    bool idle, hurry; /* the applier has nothing to do; is not to linger */

    bool applies;
    pthread_t applier, waker, checkpointer;
    struct replay *replayer;
};

static void fail(const struct err *e)
{
    bench_fail("store: %s", e->text);
}

/* ---- durable ---- */

/* With the lock held, which is given up while they are woken: it is what each of them wants next. */
static void wake(struct engine *g)
{
    sem_t *done[BENCH_CLIENTS_MAX];
    unsigned n = 0;
    while (g->count > 0 && g->ring[g->head].lsn <= g->durable) {
        done[n++] = g->ring[g->head].done;
        g->head = (g->head + 1) % BENCH_CLIENTS_MAX;
        g->count--;
    }
    if (n == 0)
        return;
    (void)pthread_mutex_unlock(&g->lock);
    for (unsigned i = 0; i < n; i++)
        (void)sem_post(done[i]);
    (void)pthread_mutex_lock(&g->lock);
}

static void on_durable(void *arg, struct entry_position last)
{
    struct engine *g = arg;
    (void)pthread_mutex_lock(&g->lock);
    g->durable = last.lsn.v;
    if (g->count <= WAKE_BY_LOG)
        wake(g);
    else
        (void)pthread_cond_signal(&g->wake_news);
    if (g->idle || g->durable - g->applied >= STATE_BATCH_OPS)
        (void)pthread_cond_signal(&g->durable_news);
    g->idle = false;
    (void)pthread_mutex_unlock(&g->lock);
}

static void on_failed(void *arg, const struct err *why)
{
    (void)arg;
    fail(why);
}

static void *wake_main(void *arg)
{
    struct engine *g = arg;
    (void)pthread_mutex_lock(&g->lock);
    while (!g->stop) {
        wake(g);
        if (g->count == 0 || g->ring[g->head].lsn > g->durable)
            (void)pthread_cond_wait(&g->wake_news, &g->lock);
    }
    (void)pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* ---- applied ---- */

/* With the lock held: until there is something to apply, and enough of it, or it is the end; false: nothing is left. */
static bool wait_for_entries(struct engine *g)
{
    while (g->durable <= g->applied && !g->stop) {
        g->idle = true;
        (void)pthread_cond_wait(&g->durable_news, &g->lock);
    }
    g->idle = false;
    const struct timespec until = cond_deadline(LINGER_MS);
    while (g->durable - g->applied < STATE_BATCH_OPS && !g->stop && !g->hurry &&
           cond_wait_until(&g->durable_news, &g->lock, &until))
        ;
    return g->durable > g->applied;
}

/* Apply the next batch, at most to `to`; returns its bytes. */
static uint64_t apply_some(struct engine *g, uint64_t to)
{
    struct err e = ERR_NONE;
    int64_t n = replay_step(g->replayer, (struct lsn){to}, &e);
    if (n < 0)
        fail(&e);
    return (uint64_t)n;
}

static void *apply_main(void *arg)
{
    struct engine *g = arg;
    struct err e = ERR_NONE;
    uint64_t since = 0;
    (void)pthread_mutex_lock(&g->lock);
    for (;;) {
        if (since >= CHECKPOINT_BYTES && !g->checkpoint_begun) {
            struct entry_position at;
            if (state_checkpoint_begin(g->state, &at, &e) != 0)
                fail(&e);
            g->checkpoint_begun = true;
            since = 0;
            (void)pthread_cond_signal(&g->checkpoint_news);
        }
        if (!wait_for_entries(g))
            break;
        uint64_t to = g->durable;
        (void)pthread_mutex_unlock(&g->lock);
        uint64_t n = apply_some(g, to);
        (void)pthread_mutex_lock(&g->lock);
        since += n;
        g->applied_bytes += n;
        g->applied = state_applied(g->state).lsn.v;
        (void)pthread_cond_broadcast(&g->applied_news);
    }
    (void)pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* A checkpoint made durable, and the log before it given back. */
static void publish(struct engine *g)
{
    struct err e = ERR_NONE;
    if (state_checkpoint_finish(g->state, &e) != 0)
        fail(&e);
    struct lsn keep = {state_checkpoint(g->state).lsn.v + 1};
    (void)pthread_mutex_lock(&g->appending);
    if (log_recycle(g->log, keep, &e) != 0)
        fail(&e);
    (void)pthread_mutex_unlock(&g->appending);
}

static void *checkpoint_main(void *arg)
{
    struct engine *g = arg;
    (void)pthread_mutex_lock(&g->lock);
    while (!g->stop || g->checkpoint_begun) {
        if (!g->checkpoint_begun) {
            (void)pthread_cond_wait(&g->checkpoint_news, &g->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&g->lock);
        publish(g);
        (void)pthread_mutex_lock(&g->lock);
        g->checkpoint_begun = false;
        g->checkpoints++;
    }
    (void)pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* ---- open and close ---- */

static double since(uint64_t ns)
{
    return (double)(bench_now_ns() - ns) / 1e9;
}

static enum log_engine engine_of(const char *name)
{
    if (name == NULL || strcmp(name, "auto") == 0)
        return LOG_ENGINE_AUTO;
    if (strcmp(name, "uring") == 0)
        return LOG_ENGINE_URING;
    if (strcmp(name, "plain") != 0)
        bench_fail("--engine %s is not one of auto, uring, plain", name);
    return LOG_ENGINE_PLAIN;
}

static void open_parts(struct engine *g, const struct bench_options *o)
{
    const char *dir = o->target;
    char path[512];
    struct err e = ERR_NONE;
    uint64_t began = bench_now_ns();
    (void)snprintf(path, sizeof path, "%s/state", dir);
    if (state_open(&g->state,
                   &(struct state_options){.dir = path,
                                           .cluster_id = g->id,
                                           .history_us = 24ull * 3600 * 1000000,
                                           .history_bytes = (uint64_t)o->history_mib << 20},
                   &e) != 0)
        fail(&e);
    g->recovery.state_s = since(began);
    struct entry_position start = state_applied(g->state);
    began = bench_now_ns();
    (void)snprintf(path, sizeof path, "%s/log", dir);
    if (log_open(&g->log,
                 &(struct log_options){.dir = path,
                                       .cluster_id = g->id,
                                       .engine = engine_of(o->engine),
                                       .lent = true,
                                       .on_durable = on_durable,
                                       .on_failed = on_failed,
                                       .arg = g},
                 &start, &e) != 0)
        fail(&e);
    g->recovery.log_s = since(began);
    struct log_status log;
    log_status(g->log, &log);
    g->tail = log.last;
    g->durable = log.last.lsn.v;
    g->applied = start.lsn.v;
}

static void replay(struct engine *g)
{
    uint64_t began = bench_now_ns();
    g->recovery.entries = g->durable - g->applied;
    while (g->applied < g->durable) {
        g->recovery.bytes += apply_some(g, g->durable);
        g->applied = state_applied(g->state).lsn.v;
    }
    g->recovery.replay_s = since(began);
}

struct engine *engine_open(const struct bench_options *o, bool applies)
{
    struct engine *g = calloc(1, sizeof *g);
    if (g == NULL)
        bench_fail("out of memory");
    memset(g->id.b, 0xb5, sizeof g->id.b);
    (void)mkdir(o->target, 0700);
    (void)pthread_mutex_init(&g->appending, NULL);
    (void)pthread_mutex_init(&g->lock, NULL);
    (void)pthread_cond_init(&g->wake_news, NULL);
    cond_init(&g->durable_news);
    (void)pthread_cond_init(&g->applied_news, NULL);
    (void)pthread_cond_init(&g->checkpoint_news, NULL);
    open_parts(g, o);
    struct err e = ERR_NONE;
    if (replay_open(&g->replayer, g->log, g->state, &e) != 0)
        fail(&e);
    g->applies = applies;
    if (applies)
        replay(g);
    if (pthread_create(&g->waker, NULL, wake_main, g) != 0 ||
        (applies && (pthread_create(&g->applier, NULL, apply_main, g) != 0 ||
                     pthread_create(&g->checkpointer, NULL, checkpoint_main, g) != 0)))
        bench_fail("cannot start threads");
    return g;
}

void engine_close(struct engine *g)
{
    struct err e = ERR_NONE;
    (void)pthread_mutex_lock(&g->lock);
    g->stop = true;
    (void)pthread_cond_signal(&g->wake_news);
    (void)pthread_cond_signal(&g->durable_news);
    (void)pthread_cond_signal(&g->checkpoint_news);
    (void)pthread_mutex_unlock(&g->lock);
    (void)pthread_join(g->waker, NULL);
    if (g->applies) {
        (void)pthread_join(g->applier, NULL); /* it may begin a last checkpoint */
        (void)pthread_mutex_lock(&g->lock);
        (void)pthread_cond_broadcast(&g->checkpoint_news);
        (void)pthread_mutex_unlock(&g->lock);
        (void)pthread_join(g->checkpointer, NULL);
    }
    if (g->applies) {
        struct entry_position at;
        if (state_checkpoint_begin(g->state, &at, &e) != 0)
            fail(&e);
        publish(g);
    }
    replay_close(g->replayer);
    if (log_close(g->log, &e) != 0)
        fail(&e);
    state_close(g->state);
    free(g);
}

/* ---- put ---- */

void engine_client_init(struct engine_client *c, struct engine *g, size_t body_bytes)
{
    *c = (struct engine_client){.engine = g};
    c->body = writer_of(malloc(body_bytes), body_bytes);
    if (c->body.p == NULL || sem_init(&c->done, 0, 0) != 0)
        bench_fail("out of memory");
}

void engine_client_deinit(struct engine_client *c)
{
    (void)sem_destroy(&c->done);
    free(c->body.p);
    salts_wipe(&c->salts);
}

static uint64_t now_us(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Seal one transaction behind the tail as view i. With `appending` held. */
static void seal(struct engine *g, unsigned i, struct bytes body)
{
    struct entry_view *v = &g->views[i];
    *v =
        (struct entry_view){.header = {.kind = ENTRY_TXN,
                                       .cluster_id = g->id,
                                       .term = {1},
                                       .lsn = {g->tail.lsn.v + 1},
                                       .time = entry_next_time(&g->clock, g->tail.time,
                                                               (struct utc){now_us(CLOCK_REALTIME)},
                                                               now_us(CLOCK_BOOTTIME)),
                                       .prev_hash = g->tail.hash},
                            .raw = g->headers[i],
                            .body = body.p};
    v->hash = entry_seal(&v->header, body, g->headers[i]);
    g->tail = entry_position_of(v);
}

/* Bodies of the transactions, back to back in c->body; their ends in `ends`. */
static unsigned write_bodies(struct engine_client *c, const struct op *ops, unsigned n,
                             bool together, size_t *ends)
{
    unsigned count = together ? 1 : n, each = together ? n : 1;
    c->body.at = 0;
    for (unsigned i = 0; i < count; i++) {
        uint8_t salt[ENTRY_SALT_BYTES];
        struct err e = ERR_NONE;
        if (salts_next(&c->salts, salt, &e) != 0)
            fail(&e);
        body_write_txn(&c->body, salt,
                       &(struct body_txn){
                           .level = LEVEL_LOCAL, .client = bytes_str("bench"), .op_count = each},
                       ops + (size_t)i * each);
        ends[i] = c->body.at;
    }
    if (c->body.bad)
        bench_fail("a transaction is larger than its client's memory");
    return count;
}

static void wait_for_room(struct engine *g)
{
    (void)pthread_mutex_lock(&g->lock);
    while (g->applies && g->appended_bytes - g->applied_bytes > UNAPPLIED_BYTES)
        (void)pthread_cond_wait(&g->applied_news, &g->lock);
    (void)pthread_mutex_unlock(&g->lock);
}

void engine_put(struct engine_client *c, const struct op *ops, unsigned n, bool together)
{
    struct engine *g = c->engine;
    struct err e = ERR_NONE;
    size_t ends[DEPTH_MAX];
    if (n == 0 || n > DEPTH_MAX)
        bench_fail("a put of %u records", n);
    unsigned count = write_bodies(c, ops, n, together, ends);
    wait_for_room(g);
    (void)pthread_mutex_lock(&g->appending);
    for (unsigned i = 0; i < count; i++) {
        size_t from = i == 0 ? 0 : ends[i - 1];
        seal(g, i, bytes_of(c->body.p + from, ends[i] - from));
    }
    uint64_t last = g->tail.lsn.v;
    /* Before the append, so that the log cannot be durable before it is known who waits. */
    (void)pthread_mutex_lock(&g->lock);
    g->ring[(g->head + g->count++) % BENCH_CLIENTS_MAX] = (struct waiter){last, &c->done};
    g->entries += count;
    g->appended_bytes += c->body.at + (size_t)count * ENTRY_HEADER_BYTES;
    (void)pthread_mutex_unlock(&g->lock);
    if (log_append(g->log, g->views, count, &e) != 0)
        fail(&e);
    (void)pthread_mutex_unlock(&g->appending);
    log_lend(g->log);
    while (sem_wait(&c->done) != 0)
        ;
}

/* ---- looking ---- */

struct state *engine_state(struct engine *g)
{
    return g->state;
}

double engine_drain(struct engine *g)
{
    uint64_t began = bench_now_ns();
    (void)pthread_mutex_lock(&g->lock);
    g->hurry = true;
    (void)pthread_cond_signal(&g->durable_news);
    while (g->applies && g->applied < g->durable)
        (void)pthread_cond_wait(&g->applied_news, &g->lock);
    g->hurry = false;
    (void)pthread_mutex_unlock(&g->lock);
    return since(began);
}

void engine_sizes(struct engine *g, struct engine_sizes *out)
{
    struct log_status log;
    log_status(g->log, &log);
    (void)pthread_mutex_lock(&g->lock);
    *out = (struct engine_sizes){.log_bytes = log.disk_bytes,
                                 .log_written = log.bytes,
                                 .state_bytes = state_file_bytes(g->state),
                                 .unapplied_entries = g->durable - g->applied,
                                 .checkpoints = g->checkpoints,
                                 .entries = g->entries,
                                 .batches = log.batches};
    (void)pthread_mutex_unlock(&g->lock);
}

struct engine_recovery engine_recovery(const struct engine *g)
{
    return g->recovery;
}
