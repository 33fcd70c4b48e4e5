/* Packs for other sites: a thread of a repository site that reads the archive for a site which is behind all logs (GIVE, see
 * replication/core/repl_give.c), so that the loop never waits for a disk, a key or a cipher.
 *
 * The loop asks for what follows a position. When that is what comes next, it is lent the frame at the head of a bounded row,
 * which the thread fills ahead of it; otherwise the thread begins anew at that position, and the loop is told "not yet". It has
 * an archive of its own, opened for reading: what was sealed since comes from the log, or from the next opening.
 *
 * One site is served at a time, for its reading ahead would throw away that of another; who is not served within PACKS_IDLE_MS
 * gives way. With nobody to serve the archive is closed and the memory given back.
 *
 * LIMITS. The row holds PACKS_AHEAD_BYTES, and one frame more. An archive that cannot be read (a key, a damaged pack) is told for
 * PACKS_TROUBLE_MS, then tried again when somebody asks. */
#include "replication/site_parts.h"
#include "replication/worker.h"

#include "store/core/check.h"

enum {
    PACKS_AHEAD_BYTES = 8 << 20,
    PACKS_FRAMES = 64, /* of small entries: a frame has at most REPL_BATCH_ENTRIES_MAX */
    PACKS_IDLE_MS = 3000,
    PACKS_TROUBLE_MS = 2000,
    PACKS_WAIT_MS = 500,
};

struct piece {
    struct entry_position before, last;
    uint8_t *bytes;
    size_t used, capacity;
    uint32_t count;
};

struct packs {
    struct site *site;
    struct worker worker;
    /* orders */
    uint8_t to;          /* who is served, or REPL_NOBODY */
    struct lsn at;       /* what follows this is wanted, or is at the head of the row */
    uint64_t generation; /* of the order: what is read for an older one is not wanted any more */
    uint64_t asked_ms;
    /* what was read */
    struct piece frames[PACKS_FRAMES];
    uint32_t head, count;
    size_t bytes;
    bool lent;  /* the head is: its memory stays */
    bool ended; /* nothing more comes for this order */
    struct err why;
    uint64_t failed_ms;
    char trouble[ERR_TEXT_BYTES];
    /* the thread's own */
    struct piece next;
    uint64_t reads; /* generation that is being read */
    bool begun;     /* the position before is known */
};

/* ---- the thread ---- */

static int piece_room(struct piece *f, size_t need, struct err *e)
{
    if (need <= f->capacity)
        return 0;
    size_t capacity = need > REPL_BATCH_BYTES ? need : REPL_BATCH_BYTES;
    uint8_t *bytes = realloc(f->bytes, capacity);
    if (bytes == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for %zu bytes of entries", capacity);
    f->bytes = bytes;
    f->capacity = capacity;
    return 0;
}

/* Into the row, when there is room in it. False: this order is over. */
static bool hand_over(struct packs *p)
{
    worker_lock(&p->worker);
    while (!p->worker.stop && p->generation == p->reads &&
           (p->count == PACKS_FRAMES || (p->count > 0 && p->bytes >= PACKS_AHEAD_BYTES)))
        worker_wait(&p->worker, PACKS_WAIT_MS);
    bool wanted = !p->worker.stop && p->generation == p->reads;
    if (wanted) {
        struct piece *slot = &p->frames[(p->head + p->count++) % PACKS_FRAMES];
        struct piece spare = *slot; /* its memory is used again */
        *slot = p->next;
        p->bytes += slot->used;
        p->next =
            (struct piece){.before = slot->last, .bytes = spare.bytes, .capacity = spare.capacity};
    }
    worker_unlock(&p->worker);
    return wanted;
}

struct reading {
    struct packs *packs;
    struct err *e;
    bool over;
};

static int take_entry(void *arg, const struct entry_view *v)
{
    struct reading *x = arg;
    struct packs *p = x->packs;
    struct piece *f = &p->next;
    size_t bytes = ENTRY_HEADER_BYTES + v->header.body_bytes;
    if (!p->begun) { /* the entry before the first one that is wanted */
        p->begun = true;
        f->before = entry_position_of(v);
        return 0;
    }
    bool full =
        f->count > 0 && (f->used + bytes > REPL_BATCH_BYTES || f->count == REPL_BATCH_ENTRIES_MAX);
    if (full && !hand_over(p)) {
        x->over = true;
        return 1;
    }
    int rc = piece_room(f, f->used + bytes, x->e);
    if (rc != 0)
        return rc;
    memcpy(f->bytes + f->used, v->raw, ENTRY_HEADER_BYTES);
    memcpy(f->bytes + f->used + ENTRY_HEADER_BYTES, v->body, v->header.body_bytes);
    f->used += bytes;
    f->count++;
    f->last = entry_position_of(v);
    return 0;
}

static int read_from(struct packs *p, struct lsn at, struct err *e)
{
    const struct site_config *c = p->site->config;
    struct repository *r = NULL;
    struct reading x = {p, e, false};
    p->begun = at.v == 0;
    p->next.before = (struct entry_position){.lsn = {0}};
    p->next.used = p->next.count = 0;
    int rc = repository_open(&r,
                             &(struct repository_options){.dir = c->archive_dir,
                                                          .kek_file = c->kek_file,
                                                          .cluster_id = c->cluster_id,
                                                          .read_only = true},
                             e);
    if (rc == 0) {
        struct lsn from = {at.v > 0 ? at.v : 1}, to = {UINT64_MAX};
        rc = repository_entries(r, from, to, take_entry, &x, e);
    }
    bool any = p->next.before.lsn.v > at.v || p->next.count > 0;
    if (rc == 0 && p->next.count > 0)
        (void)hand_over(p);
    else if (rc == 0 && !any)
        rc = err_set(e, ERR_NOT_FOUND, "the archive ends at lsn %llu", (unsigned long long)at.v);
    repository_close(r);
    return x.over ? 0 : rc;
}

static void release_memory(struct packs *p)
{
    for (uint32_t i = 0; i < PACKS_FRAMES; i++) {
        free(p->frames[i].bytes);
        p->frames[i] = (struct piece){.used = 0};
    }
    free(p->next.bytes);
    p->next = (struct piece){.used = 0};
    p->head = p->count = 0;
    p->bytes = 0;
}

/* With the lock held, which is given up while it reads. */
static void serve(struct packs *p)
{
    struct lsn at = p->at;
    struct err e = ERR_NONE;
    p->reads = p->generation;
    worker_unlock(&p->worker);
    int rc = read_from(p, at, &e);
    worker_lock(&p->worker);
    if (p->generation != p->reads)
        return;
    p->ended = true;
    p->why = e;
    if (rc == 0)
        p->trouble[0] = '\0';
    if (rc == 0 || rc == ERR_NOT_FOUND)
        return;
    p->failed_ms = site_now_ms();
    if (strcmp(p->trouble, e.text) != 0)
        events_add(p->site->events, "archive: what %s needs cannot be read: %s",
                   site_member(p->site, p->to)->name, e.text);
    (void)snprintf(p->trouble, sizeof p->trouble, "%s", e.text);
}

static void *packs_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "packs");
    struct packs *p = arg;
    worker_lock(&p->worker);
    while (!p->worker.stop) {
        bool idle = !p->lent && site_now_ms() > p->asked_ms + PACKS_IDLE_MS;
        if (p->to != REPL_NOBODY && idle) {
            p->to = REPL_NOBODY;
            p->generation++;
            release_memory(p);
        }
        if (p->to != REPL_NOBODY && p->reads != p->generation)
            serve(p);
        else
            worker_wait(&p->worker, PACKS_WAIT_MS);
    }
    worker_unlock(&p->worker);
    return NULL;
}

int packs_start(struct site *s, struct packs **out, struct err *e)
{
    struct packs *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    p->site = s;
    p->to = REPL_NOBODY;
    int rc = worker_start(&p->worker, packs_main, p, "reads packs", e);
    if (rc != 0) {
        free(p);
        return rc;
    }
    *out = p;
    return 0;
}

void packs_stop(struct packs *p)
{
    if (p == NULL)
        return;
    worker_end(&p->worker);
    release_memory(p);
    worker_deinit(&p->worker);
    free(p);
}

/* ---- the loop ---- */

/* With the lock held. */
static void begin_at(struct packs *p, uint8_t to, struct lsn at)
{
    p->to = to;
    p->at = at;
    p->generation++;
    p->ended = false;
    p->head = p->count = 0;
    p->bytes = 0;
    worker_wake(&p->worker);
}

int packs_borrow(struct packs *p, struct repl_message *m, struct bytes *entries,
                 struct entry_position *last, struct err *e)
{
    uint64_t now = site_now_ms();
    int rc = ERR_BUSY;
    worker_lock(&p->worker);
    bool others = p->to != REPL_NOBODY && p->to != m->to && now <= p->asked_ms + PACKS_IDLE_MS;
    bool mine = p->to == m->to && p->at.v == m->lsn.v;
    const struct piece *f = &p->frames[p->head];
    if (!others)
        p->asked_ms = now;
    if (others) {
        /* later */
    } else if (mine && p->count > 0) {
        m->lsn_term = f->before.term;
        m->hash = f->before.hash;
        m->count = f->count;
        *entries = bytes_of(f->bytes, f->used);
        *last = f->last;
        p->lent = true;
        rc = 0;
    } else if (mine && p->ended && p->why.code != 0) {
        *e = p->why;
        rc = p->why.code;
        if (rc == ERR_NOT_FOUND || now >= p->failed_ms + PACKS_TROUBLE_MS)
            p->to = REPL_NOBODY; /* the next question has it tried again */
    } else if (!mine || p->ended) {
        begin_at(p, m->to, m->lsn);
    }
    worker_unlock(&p->worker);
    return rc;
}

void packs_return(struct packs *p, bool sent)
{
    worker_lock(&p->worker);
    check(p->lent && p->count > 0);
    p->lent = false;
    if (sent) {
        struct piece *f = &p->frames[p->head];
        p->at = f->last.lsn;
        p->bytes -= f->used;
        f->used = f->count = 0;
        p->head = (p->head + 1) % PACKS_FRAMES;
        p->count--;
        worker_wake(&p->worker);
    }
    worker_unlock(&p->worker);
}

bool packs_trouble(struct packs *p, char text[ERR_TEXT_BYTES])
{
    if (p == NULL)
        return false;
    worker_lock(&p->worker);
    memcpy(text, p->trouble, ERR_TEXT_BYTES);
    worker_unlock(&p->worker);
    return text[0] != '\0';
}
