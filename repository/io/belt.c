/* See belt.h. Records travel in trays, so that the lock is taken once for some hundred of them.
 *
 * INVARIANTS
 *   B1  trays[taken..filled) are full and the taker's, trays[filled] is the maker's: filled - taken < TRAYS while it writes.
 *   B2  Only the maker changes `filled`, only the taker `taken`; each may look at its own without the lock.
 *   B3  What was put before an error of the maker need not be taken: nobody may keep what is not whole. */
#include "repository/io/belt.h"

#include "store/core/check.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    ITEMS = 512,
    TRAY_BYTES = 256 << 10,
};

struct tray {
    struct repo_snap_record items[ITEMS];
    size_t n;
    uint8_t *bytes; /* what the items show */
    size_t used, capacity;
    uint64_t done;
};

struct repo_belt {
    const struct repo_belt_ends *ends;
    struct tray trays[REPO_BELT_TRAYS];
    int rc; /* of making, once it is over */
    struct err why;

    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t news;
    uint64_t filled, taken;
    bool over;    /* nothing more is made */
    bool stopped; /* nothing more is taken */
};

static struct tray *tray_of(struct repo_belt *b, uint64_t at)
{
    return &b->trays[at % REPO_BELT_TRAYS];
}

/* ---- making ---- */

/* The tray is full; the next one is empty. */
static int pass_on(struct repo_belt *b)
{
    (void)pthread_mutex_lock(&b->lock);
    b->filled++;
    (void)pthread_cond_signal(&b->news);
    while (b->filled - b->taken == REPO_BELT_TRAYS && !b->stopped)
        (void)pthread_cond_wait(&b->news, &b->lock);
    const bool stopped = b->stopped;
    (void)pthread_mutex_unlock(&b->lock);
    if (stopped)
        return REPO_BELT_ENDS;
    struct tray *t = tray_of(b, b->filled);
    t->n = t->used = 0;
    return 0;
}

/* The views of a record; returns how many. */
static size_t views_of(struct repo_snap_record *x, struct bytes *out[3])
{
    switch (x->type) {
    case REPO_SNAP_ROW:
        out[0] = &x->u.row.collection;
        out[1] = &x->u.row.key;
        out[2] = &x->u.row.value;
        return 3;
    case REPO_SNAP_SESSION:
        out[0] = &x->u.session.client;
        return 1;
    case REPO_SNAP_POINT:
        out[0] = &x->u.point.name;
        return 1;
    case REPO_SNAP_HEADER:
    case REPO_SNAP_RESULT:
    case REPO_SNAP_TRAILER:
        break;
    }
    return 0;
}

static int make_room(struct tray *t, size_t need, struct err *e)
{
    if (need <= t->capacity)
        return 0;
    const size_t bytes = need < TRAY_BYTES ? TRAY_BYTES : need;
    free(t->bytes);
    t->bytes = malloc(bytes);
    t->capacity = t->bytes == NULL ? 0 : bytes;
    return t->bytes != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes", bytes);
}

int repo_belt_put(struct repo_belt *b, const struct repo_snap_record *x, uint64_t done,
                  struct err *e)
{
    struct repo_snap_record copy = *x;
    struct bytes *views[3];
    const size_t n = views_of(&copy, views);
    size_t need = 0;
    for (size_t i = 0; i < n; i++)
        need += views[i]->n;
    struct tray *t = tray_of(b, b->filled);
    if (t->n == ITEMS || (t->n != 0 && need > t->capacity - t->used)) {
        int rc = pass_on(b);
        if (rc != 0)
            return rc;
        t = tray_of(b, b->filled);
    }
    int rc = t->n == 0 ? make_room(t, need, e) : 0;
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        if (views[i]->n != 0)
            views[i]->p = memcpy(t->bytes + t->used, views[i]->p, views[i]->n);
        t->used += views[i]->n;
    }
    t->items[t->n++] = copy;
    t->done = done;
    return 0;
}

static void *make(void *arg)
{
    struct repo_belt *b = arg;
    b->rc = b->ends->make(b->ends->arg, b, &b->why);
    (void)pthread_mutex_lock(&b->lock);
    b->filled += b->rc == 0 && tray_of(b, b->filled)->n != 0;
    b->over = true;
    (void)pthread_cond_signal(&b->news);
    (void)pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* ---- taking ---- */

static int take(struct repo_belt *b, const struct tray *t)
{
    int rc = 0;
    for (size_t i = 0; i < t->n && rc == 0; i++)
        rc = b->ends->take(b->ends->arg, &t->items[i]);
    if (rc == 0)
        b->ends->told(b->ends->arg, t->done);
    return rc;
}

static int take_all(struct repo_belt *b)
{
    int rc = 0;
    (void)pthread_mutex_lock(&b->lock);
    while (rc == 0) {
        while (b->taken == b->filled && !b->over)
            (void)pthread_cond_wait(&b->news, &b->lock);
        if (b->taken == b->filled)
            break;
        const struct tray *t = tray_of(b, b->taken);
        (void)pthread_mutex_unlock(&b->lock);
        rc = take(b, t);
        (void)pthread_mutex_lock(&b->lock);
        b->taken++;
        b->stopped = rc != 0;
        (void)pthread_cond_signal(&b->news);
    }
    (void)pthread_mutex_unlock(&b->lock);
    return rc;
}

int repo_belt_run(const struct repo_belt_ends *ends, struct err *e)
{
    struct repo_belt *b = calloc(1, sizeof *b);
    pthread_t maker;
    if (b == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for a belt");
    b->ends = ends;
    check(pthread_mutex_init(&b->lock, NULL) == 0 && pthread_cond_init(&b->news, NULL) == 0);
    const int failed = pthread_create(&maker, NULL, make, b);
    int rc = failed == 0 ? take_all(b) : err_set(e, ERR_FAILED, "no thread: %s", strerror(failed));
    if (failed == 0) {
        (void)pthread_join(maker, NULL);
        if (rc == 0 && b->rc != 0 && e != NULL)
            *e = b->why;
        rc = rc != 0 ? rc : b->rc;
    }
    for (size_t i = 0; i < REPO_BELT_TRAYS; i++)
        free(b->trays[i].bytes);
    (void)pthread_cond_destroy(&b->news);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
    return rc;
}
