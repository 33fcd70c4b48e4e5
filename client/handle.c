/* The handle and its I/O thread.
 *
 * One libuv loop per handle. Callbacks of the loop only change state; `turn`, which runs once in each iteration before the
 * loop sleeps, takes what was submitted, expires what is late, lets sessions and routes act on the new state, and sets
 * the timer to the next moment at which time alone changes something. So there is one place where things are sent.
 *
 * SIGNALS: libuv writes to sockets without MSG_NOSIGNAL, and a signal is what a library must not bring to its host.
 * SIGPIPE goes to the thread that writes; this thread is started with all signals blocked, so there it stays pending
 * and is never delivered, and the application's handlers never run on it.
 *
 * FORK: a child has no I/O thread, and the connections are the parent's. Calls compare the pid and refuse. */
#include "client/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

uint64_t client_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t client_jitter(struct tvn *db, uint64_t ms)
{
    /* xorshift64 (Marsaglia 2003): spreads clients, nothing depends on its quality. */
    db->random ^= db->random << 13;
    db->random ^= db->random >> 7;
    db->random ^= db->random << 17;
    return ms / 2 + db->random % (ms + 1);
}

void client_event(struct tvn *db, const char *fmt, ...)
{
    if (db->config.on_event == NULL)
        return;
    char text[ERR_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    db->config.on_event(db->config.on_event_arg, text);
}

void client_wake(struct tvn *db)
{
    check(uv_async_send(&db->async) == 0);
}

void client_saw(struct tvn *db, uint64_t lsn)
{
    pthread_mutex_lock(&db->lock);
    if (lsn > db->token)
        db->token = lsn;
    pthread_mutex_unlock(&db->lock);
}

int client_check(const struct tvn *db, bool waits, struct err *e)
{
    if (getpid() != db->pid)
        return err_set(e, ERR_USAGE,
                       "the handle was opened by process %ld: after a fork open another",
                       (long)db->pid);
    if (waits && pthread_equal(pthread_self(), db->thread))
        return err_set(
            e, ERR_USAGE,
            "a call that waits, from a callback on the I/O thread: submit instead, or use poll");
    return 0;
}

void client_reload_tls(struct tvn *db)
{
    const struct config *c = &db->config;
    const struct tls_files files = {c->ca, c->cert, c->key, c->crl};
    SSL_CTX *tls = NULL;
    struct err e = ERR_NONE;
    if (tls_context(&files, &tls, &e) != 0) {
        client_event(db, "going on with the certificates read before: %s", e.text);
        return;
    }
    SSL_CTX_free(db->tls);
    db->tls = tls;
}

/* ---- the I/O thread ---- */

static void take_submitted(struct tvn *db)
{
    pthread_mutex_lock(&db->lock);
    struct request *r = db->inbox.head;
    db->inbox = (struct list){NULL, NULL};
    pthread_mutex_unlock(&db->lock);
    for (struct request *next; r != NULL; r = next) {
        next = r->next;
        check(db->free_count > 0); /* there are as many slots as requests in flight */
        uint16_t slot = db->free_slots[--db->free_count];
        check(db->slots[slot] == NULL);
        db->slots[slot] = r;
        r->number = r->order * CLIENT_WINDOW + slot;
        if (r->deadline_ms < db->next_deadline_ms)
            db->next_deadline_ms = r->deadline_ms;
        struct route *rt = r->primary ? &db->primary : db->reader;
        client_list_push(&rt->waiting, r);
        client_route_want(rt);
    }
}

void client_late(const struct route *rt, const struct link *sent_on, struct err *e)
{
    if (sent_on != NULL)
        err_set(e, ERR_TIMEOUT, "%s did not answer before the deadline", sent_on->site);
    else if (rt->active == NULL && rt->reached)
        err_set(e, ERR_NOT_PRIMARY, "no site that answers is the %s%s%.240s; last: %s",
                rt->target == TVN_TARGET_PRIMARY ? "primary" : "one wanted",
                rt->said[0] != '\0' ? "; " : "", rt->said,
                rt->why.code == 0 ? "no site knows a primary" : rt->why.text);
    else if (rt->active == NULL)
        err_set(e, ERR_UNREACHABLE, "no site could be reached; last: %s",
                rt->why.code == 0 ? "still connecting" : rt->why.text);
    else if (rt->said[0] != '\0') /* nobody has answered as the primary since */
        err_set(e, ERR_NOT_PRIMARY, "not sent before the deadline; %.240s", rt->said);
    else
        err_set(e, ERR_TIMEOUT, "not sent before the deadline");
}

static void fail_late(struct tvn *db, struct request *r)
{
    struct route *rt = r->primary ? &db->primary : db->reader;
    struct err e = ERR_NONE;
    bool refused =
        r->refused == ERR_BUSY || r->refused == ERR_STALE || r->refused == ERR_UNREACHABLE;
    /* Reads only: what became of a write that is under way is not known, whatever was said of earlier attempts. */
    bool telling = r->sent_on == NULL || r->type == FRAME_GET || r->type == FRAME_SCAN;
    r->doubtful |= r->sent_on != NULL;
    if (telling && rt->active != NULL && refused)
        err_set(&e, r->refused, "%s refused until the deadline: %s", rt->active->site,
                tvn_strerror(r->refused));
    else
        client_late(rt, r->sent_on, &e);
    client_fail(db, r, &e);
}

static void expire(struct tvn *db, uint64_t now_ms)
{
    if (now_ms < db->next_deadline_ms)
        return;
    db->next_deadline_ms = UINT64_MAX;
    for (uint32_t i = 0; i < CLIENT_WINDOW; i++) {
        struct request *r = db->slots[i];
        if (r == NULL)
            continue;
        if (r->deadline_ms <= now_ms)
            fail_late(db, r);
        else if (r->deadline_ms < db->next_deadline_ms)
            db->next_deadline_ms = r->deadline_ms;
    }
}

static void each_link(struct tvn *db, void (*act)(struct conn *))
{
    struct route *const routes[] = {&db->primary, &db->other};
    for (unsigned i = 0; i < 2; i++)
        for (struct link *l = routes[i]->links; l != NULL; l = l->next)
            if (l->ready && !l->dropped)
                act(l->conn);
}

/* Answers that nobody polls for hold memory: stop reading until they are taken. */
static void press_back(struct tvn *db)
{
    pthread_mutex_lock(&db->lock);
    size_t held = db->done_bytes;
    pthread_mutex_unlock(&db->lock);
    if (!db->paused && held > db->config.window_bytes) {
        db->paused = true;
        each_link(db, conn_pause);
    } else if (db->paused && held < db->config.window_bytes / 2 + 1) {
        db->paused = false;
        each_link(db, conn_resume);
    }
}

static void end(struct tvn *db)
{
    struct err e = ERR_NONE;
    err_set(&e, ERR_CANCELLED, "the handle was closed before the answer");
    for (uint32_t i = 0; i < CLIENT_WINDOW; i++) {
        struct request *r = db->slots[i];
        if (r == NULL)
            continue;
        r->doubtful |= r->sent_on != NULL;
        client_fail(db, r, &e);
    }
    client_session_end(db);
    client_watch_end(db);
    struct route *const routes[] = {&db->primary, &db->other};
    for (unsigned i = 0; i < 2; i++) {
        routes[i]->wanted = false;
        for (struct link *l = routes[i]->links, *next; l != NULL; l = next) {
            next = l->next;
            client_link_drop(l, NULL);
        }
    }
    uv_close((uv_handle_t *)&db->async, NULL);
    uv_close((uv_handle_t *)&db->timer, NULL);
    uv_close((uv_handle_t *)&db->prepare, NULL);
    db->ended = true;
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* the loop has turned */
}

static void on_async(uv_async_t *async)
{
    (void)async; /* the loop has turned */
}

static void turn(uv_prepare_t *prepare)
{
    struct tvn *db = prepare->data;
    pthread_mutex_lock(&db->lock);
    bool closing = db->closing;
    pthread_mutex_unlock(&db->lock);
    take_submitted(db);
    if (closing && !db->ended) {
        end(db);
        return;
    }
    uint64_t now = client_now_ms();
    expire(db, now);
    client_session_tick(db);
    client_route_tick(&db->primary, now);
    client_route_tick(&db->other, now);
    client_watch_tick(db, now);
    press_back(db);
    uint64_t due = db->next_deadline_ms, primary = client_route_due_ms(&db->primary),
             other = client_route_due_ms(&db->other), watch = client_watch_due_ms(db);
    due = primary < due ? primary : due;
    due = other < due ? other : due;
    due = watch < due ? watch : due;
    if (due == UINT64_MAX)
        uv_timer_stop(&db->timer);
    else
        uv_timer_start(&db->timer, on_timer, due > now ? due - now : 1, 0);
}

static void *run(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "libtriveni");
    struct tvn *db = arg;
    (void)uv_run(&db->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- open and close ---- */

static int start_thread(struct tvn *db, struct err *e)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&db->thread, NULL, run, db);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return err_set(e, ERR_NO_MEMORY, "cannot start a thread: errno %d", rc);
    return 0;
}

static int open_identity(struct tvn *db, struct err *e)
{
    struct config *c = &db->config;
    const struct tls_files files = {c->ca, c->cert, c->key, c->crl};
    int rc = tls_context(&files, &db->tls, e);
    if (rc == 0)
        rc = tls_own_identity(c->cert, &db->identity, e);
    if (rc != 0)
        return rc;
    if (db->identity.kind == WIRE_SITE)
        return err_set(e, ERR_DENIED,
                       "%s is the certificate of a site: a client's or operator's is needed",
                       c->cert);
    if (c->cluster[0] == '\0')
        memcpy(c->cluster, db->identity.cluster, sizeof c->cluster);
    if (strcmp(c->cluster, db->identity.cluster) != 0)
        return err_set(e, ERR_DENIED, "%s is a certificate of cluster '%s', not '%s'", c->cert,
                       db->identity.cluster, c->cluster);
    return 0;
}

static void init_route(struct tvn *db, struct route *rt, enum tvn_target target)
{
    rt->db = db;
    rt->target = target;
    rt->backoff_ms = BACKOFF_MIN_MS;
}

static void init_state(struct tvn *db)
{
    const struct config *c = &db->config;
    db->pid = getpid();
    init_route(db, &db->primary, TVN_TARGET_PRIMARY);
    init_route(db, &db->other, c->target);
    db->reader = c->target == TVN_TARGET_PRIMARY ? &db->primary : &db->other;
    for (uint32_t i = 0; i < CLIENT_WINDOW; i++)
        db->free_slots[i] = (uint16_t)(CLIENT_WINDOW - 1 - i);
    db->free_count = CLIENT_WINDOW;
    db->next_deadline_ms = UINT64_MAX;
    db->random = uv_hrtime() ^ (uint64_t)db->pid << 32 ^ 1;
    db->session.next_sequence = 1;
    if (!uuid_is_zero(&c->session)) {
        db->session.state = SESSION_KNOWN;
        db->session.id = c->session;
        db->session.next_sequence = c->next_sequence;
        db->session.pinned = true;
    }
    db->reader->wanted = true;
    db->reader->step_at_ms = client_now_ms();
}

/* None of these fails on Linux; free_handle undoes them. */
static void init_sync(struct tvn *db)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&db->room, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&db->lock, NULL);
}

static int open_loop(struct tvn *db, struct err *e)
{
    int rc = uv_loop_init(&db->loop);
    if (rc != 0)
        return err_set(e, ERR_FAILED, "cannot create an event loop: %s", uv_strerror(rc));
    rc = uv_async_init(&db->loop, &db->async, on_async);
    if (rc != 0) {
        (void)uv_loop_close(&db->loop);
        return err_set(e, ERR_FAILED, "cannot create a wake-up: %s", uv_strerror(rc));
    }
    uv_timer_init(&db->loop, &db->timer);
    uv_prepare_init(&db->loop, &db->prepare);
    db->prepare.data = db;
    uv_prepare_start(&db->prepare, turn);
    return 0;
}

static void close_loop(struct tvn *db)
{
    uv_close((uv_handle_t *)&db->async, NULL);
    uv_close((uv_handle_t *)&db->timer, NULL);
    uv_close((uv_handle_t *)&db->prepare, NULL);
    (void)uv_run(&db->loop, UV_RUN_DEFAULT);
    check(uv_loop_close(&db->loop) == 0);
}

static void free_handle(struct tvn *db)
{
    SSL_CTX_free(db->tls);
    if (db->fd >= 0)
        (void)close(db->fd);
    pthread_cond_destroy(&db->room);
    pthread_mutex_destroy(&db->lock);
    client_config_deinit(&db->config);
    client_spares_free(db);
    free(db);
}

static int open_handle(struct tvn *db, const char *uri, const struct tvn_options *options,
                       struct err *e)
{
    int rc = client_config_init(&db->config, uri, options, e);
    if (rc == 0)
        rc = open_identity(db, e);
    if (rc != 0)
        return rc;
    if (db->config.poll && (db->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return err_set(e, ERR_FAILED, "cannot create an eventfd: errno %d", errno);
    init_state(db);
    rc = open_loop(db, e);
    if (rc != 0)
        return rc;
    rc = start_thread(db, e);
    if (rc != 0)
        close_loop(db);
    return rc;
}

int tvn_open(const char *uri, const struct tvn_options *options, struct tvn **out,
             struct tvn_error *error)
{
    struct err e = ERR_NONE;
    *out = NULL;
    client_error_none(error);
    struct tvn *db = calloc(1, sizeof *db);
    if (db == NULL) {
        err_set(&e, ERR_NO_MEMORY, "out of memory");
        return client_error_set(error, &e, TVN_NOT_APPLICABLE);
    }
    db->fd = -1;
    init_sync(db);
    int rc = open_handle(db, uri, options, &e);
    if (rc != 0) {
        free_handle(db);
        return client_error_set(error, &e, TVN_NOT_APPLICABLE);
    }
    *out = db;
    return 0;
}

int tvn_close(struct tvn *db)
{
    if (db == NULL)
        return 0;
    if (client_check(db, true, NULL) != 0)
        return TVN_USAGE;
    pthread_mutex_lock(&db->lock);
    bool busy = db->polling != 0;
    db->closing |= !busy;
    pthread_cond_broadcast(&db->room);
    pthread_mutex_unlock(&db->lock);
    if (busy)
        return TVN_USAGE;
    client_wake(db);
    pthread_join(db->thread, NULL);
    check(uv_loop_close(&db->loop) == 0);
    (void)client_drain(db, 0);
    check(db->in_flight == 0);
    free_handle(db);
    return 0;
}

/* ---- questions ---- */

void tvn_describe(struct tvn *db, struct tvn_info *out)
{
    struct tvn_info i = {.size = out->size};
    pthread_mutex_lock(&db->lock);
    (void)snprintf(i.site, sizeof i.site, "%s", db->reader_site);
    (void)snprintf(i.endpoint, sizeof i.endpoint, "%.*s", (int)sizeof i.endpoint - 1,
                   db->reader_endpoint);
    (void)snprintf(i.primary, sizeof i.primary, "%s", db->primary_news.site);
    (void)snprintf(i.primary_endpoint, sizeof i.primary_endpoint, "%.*s",
                   (int)sizeof i.primary_endpoint - 1, db->primary_news.endpoint);
    i.term = db->primary_news.term.v;
    i.token = db->token;
    i.in_flight = db->in_flight;
    i.in_flight_bytes = db->in_flight_bytes;
    i.connects = db->connects;
    i.resent = db->resent;
    pthread_mutex_unlock(&db->lock);
    memcpy(out, &i, out->size < sizeof i ? out->size : sizeof i);
}

uint64_t tvn_token(struct tvn *db)
{
    pthread_mutex_lock(&db->lock);
    uint64_t token = db->token;
    pthread_mutex_unlock(&db->lock);
    return token;
}

void tvn_raise_token(struct tvn *db, uint64_t lsn)
{
    client_saw(db, lsn);
}
