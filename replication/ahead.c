/* Reading ahead: a thread that reads old log for sites that are behind, so that the loop never waits for the disk of its own log
 * while one of them catches up.
 *
 * Recent entries are in the log's memory, and the loop copies them from there. For older ones there is a place for each site. The
 * loop asks for what follows a position; the thread reads one message's worth and wakes the loop, which is lent it, sends it, and
 * so has what comes next read while the message is encrypted and on its way. What was read is used only where it goes on exactly
 * where it is asked for.
 *
 * LIMITS. A place holds one message: REPL_BATCH_BYTES, or one larger entry. It is given back when its site is sent from memory
 * again.
 *
 * FAILURE MODES. What cannot be read is told to who asks, and is read anew when it is asked for again. When the log is cut, what
 * was read before is forgotten, also what is being read just then. */
#include "replication/site_parts.h"
#include "replication/worker.h"

#include "store/core/check.h"

enum { WAIT_MS = 1000 };

enum place_state {
    PLACE_EMPTY,
    PLACE_WANTED,  /* the thread has yet to begin */
    PLACE_READING, /* its memory is the thread's */
    PLACE_READY,   /* read, or `rc` says why not */
};

struct place {
    enum place_state state;
    bool stale; /* while it is being read: not wanted any more */
    struct lsn after;
    struct ahead_piece piece;
    bool begun; /* piece.before is known */
    size_t capacity;
    int rc;
    struct err why;
};

struct ahead {
    struct site *site;
    struct worker worker;
    bool news;
    struct place places[REPL_SITES_MAX];
};

/* ---- the thread ---- */

static int room(struct place *p, size_t need, struct err *e)
{
    if (need <= p->capacity)
        return 0;
    uint8_t *bytes = realloc(p->piece.bytes, need);
    if (bytes == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of entries", need);
    p->piece.bytes = bytes;
    p->capacity = need;
    return 0;
}

/* Without the lock: a place that is being read is the thread's. */
static int read_place(struct log *log, struct place *p, struct err *e)
{
    const struct lsn from = {p->after.v + 1}, to = {p->after.v + REPL_BATCH_ENTRIES_MAX};
    struct ahead_piece *piece = &p->piece;
    size_t count = 0;
    int rc = p->begun ? 0 : log_position(log, p->after, &piece->before, e);
    if (rc == 0)
        rc = room(p, REPL_BATCH_BYTES, e);
    if (rc == 0)
        rc = log_read(log, from, to, piece->bytes, REPL_BATCH_BYTES, &piece->used, &count, e);
    if (rc == ERR_LIMIT && room(p, piece->used, e) == 0)
        rc = log_read(log, from, from, piece->bytes, p->capacity, &piece->used, &count, e);
    piece->count = rc == 0 ? (uint32_t)count : 0;
    if (rc == 0)
        piece->last = driver_last_position(piece->bytes, piece->count);
    return rc;
}

/* With the lock held, which is given up while it reads. */
static void serve(struct ahead *a, struct place *p)
{
    struct err e = ERR_NONE;
    p->state = PLACE_READING;
    worker_unlock(&a->worker);
    int rc = read_place(a->site->log, p, &e);
    worker_lock(&a->worker);
    p->rc = rc;
    p->why = e;
    p->state = p->stale ? PLACE_EMPTY : PLACE_READY;
    p->stale = false;
    a->news = true;
    (void)uv_async_send(&a->site->wake);
}

static struct place *next_wanted(struct ahead *a)
{
    for (uint32_t i = 0; i < REPL_SITES_MAX; i++)
        if (a->places[i].state == PLACE_WANTED)
            return &a->places[i];
    return NULL;
}

static void *ahead_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "log ahead");
    struct ahead *a = arg;
    worker_lock(&a->worker);
    while (!a->worker.stop) {
        struct place *p = next_wanted(a);
        if (p != NULL)
            serve(a, p);
        else
            worker_wait(&a->worker, WAIT_MS);
    }
    worker_unlock(&a->worker);
    return NULL;
}

int ahead_start(struct site *s, struct ahead **out, struct err *e)
{
    struct ahead *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->site = s;
    int rc = worker_start(&a->worker, ahead_main, a, "reads old log", e);
    if (rc != 0) {
        free(a);
        return rc;
    }
    *out = a;
    return 0;
}

void ahead_stop(struct ahead *a)
{
    if (a == NULL)
        return;
    worker_end(&a->worker);
    for (uint32_t i = 0; i < REPL_SITES_MAX; i++)
        free(a->places[i].piece.bytes);
    worker_deinit(&a->worker);
    free(a);
}

/* ---- the loop ---- */

/* With the lock held. `before` is the entry at `after`, when it is known. */
static void want(struct ahead *a, struct place *p, struct lsn after,
                 const struct entry_position *before)
{
    p->after = after;
    p->begun = before != NULL;
    if (before != NULL)
        p->piece.before = *before;
    p->state = PLACE_WANTED;
    worker_wake(&a->worker);
}

int ahead_borrow(struct ahead *a, uint8_t site, struct lsn after, const struct ahead_piece **out,
                 struct err *e)
{
    check(site < REPL_SITES_MAX);
    struct place *p = &a->places[site];
    int rc = ERR_BUSY;
    worker_lock(&a->worker);
    if (p->state == PLACE_READY && p->after.v == after.v) {
        rc = p->rc;
        *e = p->why;
        if (rc != 0)
            p->state = PLACE_EMPTY; /* the next question has it read anew */
        *out = &p->piece;
    } else if (p->state != PLACE_READING) {
        if (p->state != PLACE_WANTED || p->after.v != after.v)
            want(a, p, after, NULL);
    } else if (p->after.v != after.v) {
        p->stale = true;
    }
    worker_unlock(&a->worker);
    return rc;
}

void ahead_sent(struct ahead *a, uint8_t site)
{
    struct place *p = &a->places[site];
    worker_lock(&a->worker);
    check(p->state == PLACE_READY && p->rc == 0);
    const struct entry_position last = p->piece.last;
    want(a, p, last.lsn, &last);
    worker_unlock(&a->worker);
}

static void drop(struct place *p)
{
    if (p->state == PLACE_READING)
        p->stale = true;
    else
        p->state = PLACE_EMPTY;
}

void ahead_done(struct ahead *a, uint8_t site)
{
    struct place *p = &a->places[site];
    worker_lock(&a->worker);
    drop(p);
    if (p->state == PLACE_EMPTY) {
        free(p->piece.bytes);
        p->piece.bytes = NULL;
        p->capacity = 0;
    }
    worker_unlock(&a->worker);
}

void ahead_forget(struct ahead *a)
{
    if (a == NULL)
        return;
    worker_lock(&a->worker);
    for (uint32_t i = 0; i < REPL_SITES_MAX; i++)
        drop(&a->places[i]);
    worker_unlock(&a->worker);
}

bool ahead_news(struct ahead *a)
{
    if (a == NULL)
        return false;
    worker_lock(&a->worker);
    bool news = a->news;
    a->news = false;
    worker_unlock(&a->worker);
    return news;
}
