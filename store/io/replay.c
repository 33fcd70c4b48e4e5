/* See store/replay.h.
 *
 * Two chunks: one is applied, the other is read ahead. The thread that reads has at most one order, and gets it only when a
 * whole batch is left behind the one at hand; its chunk is used when it is exactly what comes next, and read again otherwise
 * (after the state went back, or an error).
 *
 *   idle -> ordered (by the caller) -> read (by the thread) -> idle (taken by the caller) */
#include "store/replay.h"

#include "store/core/check.h"

#include <pthread.h>
#include <stdlib.h>

/* Of log in a batch: larger ones gain little more, and LMDB keeps the memory of the largest. */
enum { CHUNK_BYTES = 16 << 20 };

struct chunk {
    uint8_t *p;
    size_t capacity, used;
    struct entry_view *views;
    size_t count;
    struct lsn from; /* the first entry asked for */
    int rc;
    struct err why;
};

enum ahead { AHEAD_IDLE, AHEAD_ORDERED, AHEAD_READ };

struct replay {
    struct log *log;
    struct state *state;
    struct chunk chunks[2];
    unsigned at; /* the caller's; the other one is the thread's while it is not idle */

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;
    enum ahead ahead; /* under the lock */
    struct lsn upto;
    bool stop;
};

/* ---- a chunk ---- */

static int grow(struct chunk *c, size_t bytes, struct err *e)
{
    uint8_t *larger = realloc(c->p, bytes);
    if (larger == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of log", bytes);
    c->p = larger;
    c->capacity = bytes;
    return 0;
}

static int decode(struct chunk *c, struct err *e)
{
    struct bytes in = bytes_of(c->p, c->used);
    for (size_t i = 0; i < c->count; i++) {
        size_t taken;
        int rc = entry_view_stored(in, &c->views[i], &taken, e);
        if (rc != 0)
            return err_wrap(e, "entry at lsn %llu", (unsigned long long)(c->from.v + i)), rc;
        in = bytes_of(in.p + taken, in.n - taken);
    }
    return 0;
}

/* Fills the chunk with what begins at `from`, an error included. */
static void chunk_read(struct chunk *c, struct log *log, struct lsn from, struct lsn to)
{
    c->from = from;
    c->why = (struct err)ERR_NONE;
    if (to.v - from.v >= STATE_BATCH_OPS)
        to.v = from.v + STATE_BATCH_OPS - 1;
    c->rc = log_read(log, from, to, c->p, c->capacity, &c->used, &c->count, &c->why);
    if (c->rc == ERR_LIMIT && (c->rc = grow(c, c->used, &c->why)) == 0)
        c->rc = log_read(log, from, to, c->p, c->capacity, &c->used, &c->count, &c->why);
    if (c->rc == 0)
        c->rc = decode(c, &c->why);
    if (c->rc != 0)
        err_wrap(&c->why, "reading lsn %llu to apply it", (unsigned long long)from.v);
}

/* ---- reading ahead ---- */

static void *ahead_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "log read ahead");
    struct replay *r = arg;
    (void)pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        if (r->ahead != AHEAD_ORDERED) {
            (void)pthread_cond_wait(&r->news, &r->lock);
            continue;
        }
        struct chunk *c = &r->chunks[1 - r->at];
        struct lsn from = c->from, upto = r->upto;
        (void)pthread_mutex_unlock(&r->lock);
        chunk_read(c, r->log, from, upto);
        (void)pthread_mutex_lock(&r->lock);
        r->ahead = AHEAD_READ;
        (void)pthread_cond_broadcast(&r->news);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Order the chunk behind the one at hand, when a whole one is left there. */
static void order_ahead(struct replay *r, const struct chunk *now, struct lsn to)
{
    struct lsn next = {now->from.v + now->count};
    if (next.v > to.v || to.v - next.v < now->count)
        return;
    (void)pthread_mutex_lock(&r->lock);
    r->chunks[1 - r->at].from = next;
    r->upto = to;
    r->ahead = AHEAD_ORDERED;
    (void)pthread_cond_broadcast(&r->news);
    (void)pthread_mutex_unlock(&r->lock);
}

/* The chunk that begins at `from`: the one that was read ahead, or read now. */
static struct chunk *next_chunk(struct replay *r, struct lsn from, struct lsn to)
{
    (void)pthread_mutex_lock(&r->lock);
    while (r->ahead == AHEAD_ORDERED)
        (void)pthread_cond_wait(&r->news, &r->lock);
    const struct chunk *read = &r->chunks[1 - r->at];
    bool fits = r->ahead == AHEAD_READ && read->rc == 0 && read->from.v == from.v &&
                from.v + read->count - 1 <= to.v;
    r->ahead = AHEAD_IDLE;
    if (fits)
        r->at = 1 - r->at;
    (void)pthread_mutex_unlock(&r->lock);
    struct chunk *c = &r->chunks[r->at];
    if (!fits)
        chunk_read(c, r->log, from, to);
    return c;
}

int64_t replay_step(struct replay *r, struct lsn to, struct err *e)
{
    struct lsn from = {state_applied(r->state).lsn.v + 1};
    check(from.v <= to.v);
    struct chunk *c = next_chunk(r, from, to);
    if (c->rc != 0)
        return err_set(e, c->rc, "%s", c->why.text);
    order_ahead(r, c, to);
    int rc = state_apply(r->state, c->views, c->count, e);
    return rc != 0 ? rc : (int64_t)c->used;
}

/* ---- open and close ---- */

int replay_open(struct replay **out, struct log *log, struct state *state, struct err *e)
{
    *out = NULL;
    struct replay *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "replay: out of memory");
    r->log = log;
    r->state = state;
    bool enough = true;
    for (unsigned i = 0; i < 2; i++) {
        struct chunk *c = &r->chunks[i];
        c->capacity = CHUNK_BYTES;
        c->p = malloc(c->capacity);
        c->views = malloc(STATE_BATCH_OPS * sizeof *c->views);
        enough = enough && c->p != NULL && c->views != NULL;
    }
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->news, NULL);
    if (enough && pthread_create(&r->thread, NULL, ahead_main, r) == 0) {
        *out = r;
        return 0;
    }
    for (unsigned i = 0; i < 2; i++) {
        free(r->chunks[i].p);
        free(r->chunks[i].views);
    }
    free(r);
    return err_set(e, ERR_NO_MEMORY, "replay: out of memory or threads");
}

void replay_close(struct replay *r)
{
    if (r == NULL)
        return;
    (void)pthread_mutex_lock(&r->lock);
    r->stop = true;
    (void)pthread_cond_broadcast(&r->news);
    (void)pthread_mutex_unlock(&r->lock);
    (void)pthread_join(r->thread, NULL);
    (void)pthread_cond_destroy(&r->news);
    (void)pthread_mutex_destroy(&r->lock);
    for (unsigned i = 0; i < 2; i++) {
        free(r->chunks[i].p);
        free(r->chunks[i].views);
    }
    free(r);
}
