/* From packs to runs. See fold.h.
 *
 * The packs are cut into chunks of consecutive ones by the sizes that their metas name, so that an interrupted restore
 * cuts them again the same way and finds its runs. A thread takes the newest chunk that nobody has, reads its packs (each
 * entry decrypted, decoded, its hash and place in the chain checked), copies the bodies that matter into its arena,
 * sorts, and writes the run. What a thread has read of a newer chunk tells the others what is done over by it: that they check
 * as well, and then leave it out (repository/core/newest.h).
 *
 * INVARIANTS
 *   G1  A run has its name only when it is whole, and is never changed then.
 *   G2  The first entry behind a snapshot continues the header hash that the snapshot names; each pack continues the one
 *       before (the plan has checked that).
 *   G3  After an error nothing new is begun; of several errors that of the first chunk is told.
 *   G4  An effect is left out of a run only for one of a larger lsn up to the target's. Of each record the newest effect, and
 *       the newest up to the boundary, are therefore in the run of their own chunk, whichever runs an interrupted restore left
 *       behind. */
#include "repository/io/gather.h"

#include "repository/core/newest.h"

#include "store/core/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    RUNS_MAX = 4096,
    ARENAS_MAX_BYTES = 384 << 20, /* of all threads */
    SHARDS = 16,                  /* of the table: more than there are threads */
    SHARD_CELLS_MAX = 32768,      /* together as many records as have 32 MiB */
    ASKED_AHEAD = 16,
    STEPS = 256, /* of the progress that is told */
};

/* ---- chunks ---- */

struct chunk {
    size_t begin, end; /* packs */
    uint64_t bytes;    /* of entries, at most */
};

/* A part of what is known of newer effects, by the hash of the record. */
struct shard {
    pthread_mutex_t lock;
    struct repo_newest known;
};

struct gather {
    struct repo_fold_job *job;
    struct chunk *chunks;
    size_t memory_bytes;
    uint8_t *memory; /* of the shards; NULL: there is none, and every effect is kept */
    struct shard shards[SHARDS];
    size_t count;
    uint64_t largest;

    pthread_mutex_t opening; /* held while a pack is opened */
    pthread_mutex_t lock;    /* guards what is below */
    pthread_cond_t news;
    size_t next, done, working;
    uint64_t bytes; /* of packs, read */
    uint64_t shown; /* of those, when the calling thread was last woken to tell */
    uint64_t step;  /* how many are worth waking it for */
    size_t failed;  /* the first chunk with an error; count: none */
    int rc;
    struct err why;
};

static int cut(struct gather *g, struct err *e)
{
    const struct repo_plan *plan = g->job->plan;
    const struct repo_pack *packs = g->job->r->inv.packs;
    uint64_t total = 0;
    for (size_t i = plan->pack_begin; i < plan->pack_end; i++)
        total += packs[i].o.plain_bytes;
    const uint64_t size = total / RUNS_MAX > REPO_CHUNK_BYTES ? total / RUNS_MAX : REPO_CHUNK_BYTES;
    g->chunks = calloc(plan->pack_end - plan->pack_begin + 1, sizeof *g->chunks);
    if (g->chunks == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for the list of packs");
    for (size_t i = plan->pack_begin; i < plan->pack_end; i++) {
        struct chunk *c = &g->chunks[g->count == 0 ? 0 : g->count - 1];
        if (g->count == 0 || c->bytes + packs[i].o.plain_bytes > size) {
            c = &g->chunks[g->count++];
            c->begin = i;
        }
        c->end = i + 1;
        c->bytes += packs[i].o.plain_bytes;
        g->largest = c->bytes > g->largest ? c->bytes : g->largest;
    }
    return 0;
}

/* ---- memory ---- */

/* Zeros; NULL: there is no memory. In pages as large as the kernel has: of small ones each costs a fault when it is first used,
 * and a search for it whenever a question goes elsewhere. */
static uint8_t *pages_new(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    (void)madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

static void pages_free(uint8_t *p, size_t bytes)
{
    if (p != NULL)
        (void)munmap(p, bytes);
}

/* ---- a chunk in memory ---- */

/* First bytes of the key decide most comparisons without touching the effect. */
struct sort_key {
    uint64_t prefix[2];
    uint32_t run; /* equal: neighbours of one collection */
    uint32_t index;
};

/* An effect in the frame that is being read: what the table knows of it is on its way to the processor. */
struct pending {
    struct repo_effect x;
    struct repo_newest_name name;
};

struct worker {
    struct gather *g;
    pthread_t thread;
    uint8_t *arena;
    size_t used, capacity;
    void *effects, *sorted; /* struct repo_effect, struct sort_key */
    size_t n, effects_capacity, sorted_capacity;
    uint32_t run;
    void *events; /* struct state_session_event */
    size_t event_count, events_capacity;
    struct pending pending[ASKED_AHEAD];
    size_t pending_begin, pending_count;
    int late; /* what went wrong between two frames */
    struct entry_position end;
    enum commit_mode mode;
    uint64_t before; /* bytes of the chunk's packs that were read whole */
    uint64_t told;
    struct err *e;
};

/* Room for `need` items; *list is replaced. */
static int grow(void **list, size_t *capacity, size_t need, size_t size, struct err *e)
{
    size_t more = *capacity == 0 ? 1024 : *capacity;
    if (need <= *capacity)
        return 0;
    while (more < need)
        more *= 2;
    void *larger = realloc(*list, more * size);
    if (larger == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory for %zu effects", more);
    *list = larger;
    *capacity = more;
    return 0;
}

/* Views of what is about to go become views into the arena. */
static int keep(struct worker *w, struct bytes *view)
{
    if (view->n == 0)
        return 0;
    if (view->n > w->capacity - w->used)
        return err_set(w->e, ERR_INTEGRITY, "there is more than its meta names");
    view->p = memcpy(w->arena + w->used, view->p, view->n);
    w->used += view->n;
    return 0;
}

static int keep_effect(struct worker *w, struct repo_effect x)
{
    uint8_t first[16] = {0};
    int rc = grow(&w->effects, &w->effects_capacity, w->n + 1, sizeof x, w->e);
    if (rc == 0)
        rc = grow(&w->sorted, &w->sorted_capacity, w->n + 1, sizeof(struct sort_key), w->e);
    if (rc == 0)
        rc = keep(w, &x.key);
    if (rc == 0)
        rc = keep(w, &x.value);
    if (rc != 0)
        return rc;
    struct repo_effect *effects = w->effects;
    struct sort_key *sorted = w->sorted;
    if (w->n != 0 && bytes_equal(effects[w->n - 1].collection, x.collection)) {
        x.collection = effects[w->n - 1].collection;
    } else {
        w->run++;
        if ((rc = keep(w, &x.collection)) != 0)
            return rc;
    }
    memcpy(first, x.key.p, x.key.n < sizeof first ? x.key.n : sizeof first);
    sorted[w->n] =
        (struct sort_key){{get_be64(first), get_be64(first + 8)}, w->run, (uint32_t)w->n};
    effects[w->n++] = x;
    return 0;
}

/* The one that waits the longest: is there something newer? */
static int decide(struct worker *w)
{
    const struct pending *p = &w->pending[w->pending_begin];
    struct shard *s = &w->g->shards[p->name.hash >> 60];
    (void)pthread_mutex_lock(&s->lock);
    const bool wanted = repo_newest_ask(&s->known, &p->name, p->x.lsn, w->g->job->boundary);
    (void)pthread_mutex_unlock(&s->lock);
    w->pending_begin = (w->pending_begin + 1) % ASKED_AHEAD;
    w->pending_count--;
    if (!wanted)
        return 0;
    int rc = keep_effect(w, p->x);
    if (rc != 0)
        err_wrap(w->e, "lsn %llu", (unsigned long long)p->x.lsn.v);
    return rc;
}

/* Before the frame goes, all of it are decided. */
static int decide_all(struct worker *w)
{
    int rc = 0;
    while (rc == 0 && w->pending_count != 0)
        rc = decide(w);
    return rc;
}

static int add_effect(struct worker *w, const struct repo_effect *x)
{
    if (!repo_selected(w->g->job->only, x->collection, x->key))
        return 0;
    if (w->g->memory == NULL)
        return keep_effect(w, *x);
    int rc = w->pending_count == ASKED_AHEAD ? decide(w) : 0;
    if (rc != 0)
        return rc;
    struct pending *p = &w->pending[(w->pending_begin + w->pending_count++) % ASKED_AHEAD];
    *p = (struct pending){*x, repo_newest_name(x)};
    repo_newest_hint(&w->g->shards[p->name.hash >> 60].known, &p->name);
    return 0;
}

static int add_event(struct worker *w, struct state_session_event event)
{
    if (w->g->job->only != NULL || uuid_is_zero(&event.session))
        return 0;
    int rc = keep(w, &event.client);
    if (rc == 0)
        rc = grow(&w->events, &w->events_capacity, w->event_count + 1, sizeof event, w->e);
    if (rc == 0)
        ((struct state_session_event *)w->events)[w->event_count++] = event;
    return rc;
}

static int add_txn(struct worker *w, const struct entry_view *v)
{
    struct body_txn txn;
    int rc = body_read_txn(bytes_of(v->body, v->header.body_bytes), &txn, w->e);
    for (uint32_t i = 0; rc == 0 && i < txn.op_count; i++) {
        struct op op;
        rc = body_next_op(&txn.ops, &op, w->e);
        if (rc == 0)
            rc = add_effect(w, &(struct repo_effect){op.collection, op.key, op.value, v->header.lsn,
                                                     v->header.time, op.kind == OP_PUT});
    }
    if (rc == 0)
        rc = add_event(w, (struct state_session_event){.session = txn.session,
                                                       .kind = SESSION_EVENT_TXN,
                                                       .sequence = txn.sequence,
                                                       .at = entry_position_of(v)});
    return rc;
}

static int add_body(struct worker *w, const struct entry_view *v)
{
    const struct bytes body = bytes_of(v->body, v->header.body_bytes);
    struct body_session session;
    struct body_config config;
    struct body_members members;
    int rc = 0;
    switch (v->header.kind) {
    case ENTRY_TXN:
        return add_txn(w, v);
    case ENTRY_SESSION:
        if ((rc = body_read_session(body, &session, w->e)) != 0)
            return rc;
        return add_event(w, (struct state_session_event){.session = session.session,
                                                         .kind = session.act == SESSION_OPEN
                                                                     ? SESSION_EVENT_OPEN
                                                                     : SESSION_EVENT_END,
                                                         .client = session.client,
                                                         .at = entry_position_of(v)});
    case ENTRY_CONFIG:
        if ((rc = body_read_config(body, &config, w->e)) == 0)
            w->mode = config.mode;
        return rc;
    case ENTRY_MEMBERS:
        if ((rc = body_read_members(body, &members, w->e)) != 0)
            return rc;
        return add_effect(w, &(struct repo_effect){bytes_str(MEMBERS_COLLECTION),
                                                   bytes_str(MEMBERS_KEY), body, v->header.lsn,
                                                   v->header.time, true});
    case ENTRY_RESTORE_POINT: /* from the metas, with their digests */
    case ENTRY_NOOP:
    case ENTRY_AUDIT:
        return 0;
    }
    return err_set(w->e, ERR_FORMAT, "entry kind %d is unknown", (int)v->header.kind);
}

enum { PLAN_ENDS = 1 };

static int add_entry(void *arg, const struct entry_view *v)
{
    struct worker *w = arg;
    const struct repo_plan *plan = w->g->job->plan;
    const struct repo_snapshot *s = plan->snapshot;
    int rc = w->late;
    if (rc != 0 || (s != NULL && v->header.lsn.v <= s->o.end.lsn.v))
        return rc;
    if (s != NULL && v->header.lsn.v == s->o.end.lsn.v + 1)
        rc = entry_follows(&s->o.end, &v->header, w->e);
    if (rc != 0)
        return err_wrap(w->e, "behind snapshot %s", s->o.name), rc;
    if ((rc = add_body(w, v)) != 0)
        return err_wrap(w->e, "lsn %llu", (unsigned long long)v->header.lsn.v), rc;
    w->end = entry_position_of(v);
    return v->header.lsn.v == plan->lsn.v ? PLAN_ENDS : 0;
}

static void tell(struct worker *w, uint64_t bytes)
{
    struct gather *g = w->g;
    (void)pthread_mutex_lock(&g->lock);
    g->bytes += w->before + bytes - w->told;
    w->told = w->before + bytes;
    if (g->bytes - g->shown >= g->step) {
        g->shown = g->bytes;
        (void)pthread_cond_signal(&g->news);
    }
    (void)pthread_mutex_unlock(&g->lock);
}

static void after_frame(void *arg, uint64_t bytes)
{
    struct worker *w = arg;
    tell(w, bytes);
    w->late = w->late != 0 ? w->late : decide_all(w);
}

static int read_pack(struct worker *w, const struct repo_pack *pack)
{
    struct repository *r = w->g->job->r;
    const struct repo_snapshot *s = w->g->job->plan->snapshot;
    struct repo_pack_reader reader = REPO_PACK_READER_NONE;
    uint32_t frame = 0;
    /* Its key and its meta: the source of keys and the list of what is there are for one thread at a time. */
    (void)pthread_mutex_lock(&w->g->opening);
    int rc = repo_pack_open(r, pack, &reader, w->e);
    (void)pthread_mutex_unlock(&w->g->opening);
    if (rc == 0 && s != NULL && s->o.end.lsn.v + 1 > pack->first.v)
        frame = repo_pack_frame_of(&reader, (struct lsn){s->o.end.lsn.v + 1});
    if (rc == 0)
        rc = repo_pack_walk(&reader, frame, add_entry, after_frame, w, w->e);
    if (rc == 0 || rc == PLAN_ENDS)
        after_frame(w, pack->o.bytes);
    rc = w->late != 0 ? w->late : rc;
    repo_pack_close(&reader);
    w->before += pack->o.bytes;
    return rc;
}

/* ---- sorting and writing ---- */

static int compare(const void *pa, const void *pb, void *arg)
{
    const struct sort_key *a = pa, *b = pb;
    const struct worker *w = arg;
    const struct repo_effect *effects = w->effects, *x = &effects[a->index],
                             *y = &effects[b->index];
    if (a->run != b->run) {
        int c = bytes_compare(x->collection, y->collection);
        if (c != 0)
            return c;
    }
    for (unsigned i = 0; i < 2; i++)
        if (a->prefix[i] != b->prefix[i])
            return a->prefix[i] < b->prefix[i] ? -1 : 1;
    int c = bytes_compare(x->key, y->key);
    return c != 0 ? c : (a->index < b->index) - (a->index > b->index); /* the newest first */
}

/* Rows come in the order of keys, their bytes lie in the order of the log: asked for a few rows ahead, they are there in time. */
static void ask_ahead(const struct worker *w, size_t i)
{
    enum { EFFECTS_AHEAD = 32, BYTES_AHEAD = 16, LINE_BYTES = 64, LINES_MAX = 8 };
    const struct repo_effect *effects = w->effects;
    const struct sort_key *sorted = w->sorted;
    if (i + EFFECTS_AHEAD < w->n)
        __builtin_prefetch(&effects[sorted[i + EFFECTS_AHEAD].index]);
    if (i + BYTES_AHEAD >= w->n)
        return;
    const struct repo_effect *x = &effects[sorted[i + BYTES_AHEAD].index];
    __builtin_prefetch(x->key.p);
    for (size_t at = 0; at < x->value.n && at < (size_t)LINES_MAX * LINE_BYTES; at += LINE_BYTES)
        __builtin_prefetch(x->value.p + at);
}

static int write_run(struct worker *w, size_t chunk)
{
    char name[REPO_RUN_NAME_BYTES];
    struct repo_run_writer *out;
    struct repo_keep keep = {false, false};
    const struct repo_effect *effects = w->effects, *last = NULL;
    const struct sort_key *sorted = w->sorted;
    const struct state_session_event *events = w->events;
    if (w->n != 0)
        qsort_r(w->sorted, w->n, sizeof(struct sort_key), compare, w);
    int rc = repo_run_create(&out, w->g->job->dir, repo_run_name(chunk, name), w->e);
    for (size_t i = 0; rc == 0 && i < w->n; i++) {
        const struct repo_effect *x = &effects[sorted[i].index];
        ask_ahead(w, i);
        if (last == NULL || !bytes_equal(last->key, x->key) ||
            !bytes_equal(last->collection, x->collection))
            keep = (struct repo_keep){false, false};
        last = x;
        if (repo_keep(&keep, x->lsn, w->g->job->boundary))
            rc = repo_run_row(out, x, w->e);
    }
    for (size_t i = 0; rc == 0 && i < w->event_count; i++)
        rc = repo_run_event(out, &events[i], w->e);
    if (rc == 0)
        rc = repo_run_finish(out, w->end, w->mode, w->e);
    repo_run_free(out);
    return rc;
}

static int make_run(struct worker *w, size_t chunk)
{
    const struct chunk *c = &w->g->chunks[chunk];
    const struct repo_pack *packs = w->g->job->r->inv.packs;
    w->used = w->n = w->event_count = w->pending_count = 0;
    w->late = 0;
    w->run = 0;
    w->mode = 0;
    w->before = w->told = 0;
    int rc = 0;
    for (size_t i = c->begin; rc == 0 && i < c->end; i++)
        rc = read_pack(w, &packs[i]);
    if (rc == PLAN_ENDS)
        rc = 0;
    else if (rc == 0 && c->end == w->g->job->plan->pack_end)
        rc = err_set(w->e, ERR_INTEGRITY, "lsn %llu was not found in %s",
                     (unsigned long long)w->g->job->plan->lsn.v, packs[c->end - 1].o.name);
    tell(w, 0);
    return rc == 0 ? write_run(w, chunk) : rc;
}

/* A run of an interrupted restore. */
static bool is_there(struct gather *g, size_t chunk)
{
    char name[REPO_RUN_NAME_BYTES];
    struct repo_run *run;
    struct err ignored = ERR_NONE;
    if (repo_run_open(&run, g->job->dir, repo_run_name(chunk, name), true, &ignored) != 0)
        return false;
    repo_run_close(run);
    return true;
}

/* ---- threads ---- */

static uint64_t chunk_file_bytes(const struct gather *g, size_t chunk)
{
    uint64_t bytes = 0;
    for (size_t i = g->chunks[chunk].begin; i < g->chunks[chunk].end; i++)
        bytes += g->job->r->inv.packs[i].o.bytes;
    return bytes;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct gather *g = w->g;
    struct err why = ERR_NONE;
    w->e = &why;
    (void)pthread_mutex_lock(&g->lock);
    while (g->rc == 0 && g->next < g->count) {
        const size_t chunk = g->count - ++g->next; /* what is newest first */
        (void)pthread_mutex_unlock(&g->lock);
        const bool kept = is_there(g, chunk);
        int rc = kept ? 0 : make_run(w, chunk);
        (void)pthread_mutex_lock(&g->lock);
        g->done += rc == 0;
        if (kept) {
            g->bytes += chunk_file_bytes(g, chunk);
            g->job->kept++;
        }
        if (rc != 0 && chunk < g->failed) {
            g->failed = chunk;
            g->rc = rc;
            g->why = why;
        }
    }
    g->working--;
    (void)pthread_cond_signal(&g->news);
    (void)pthread_mutex_unlock(&g->lock);
    return NULL;
}

static void watch(struct gather *g, uint64_t total)
{
    const struct repo_fold_job *job = g->job;
    (void)pthread_mutex_lock(&g->lock);
    while (g->working != 0) {
        (void)pthread_cond_wait(&g->news, &g->lock);
        const uint64_t bytes = g->bytes;
        (void)pthread_mutex_unlock(&g->lock);
        if (job->progress != NULL)
            job->progress(job->progress_arg, REPOSITORY_STAGE_READ, bytes, total);
        (void)pthread_mutex_lock(&g->lock);
    }
    (void)pthread_mutex_unlock(&g->lock);
}

static size_t threads_for(const struct gather *g)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = processors < 1 ? 1 : (size_t)processors;
    const uint64_t fit = g->largest == 0 ? REPO_READERS_MAX : ARENAS_MAX_BYTES / g->largest;
    n = n > REPO_READERS_MAX || g->job->r->backend->kind->remote ? REPO_READERS_MAX : n;
    n = n > fit ? (size_t)fit : n;
    n = n > g->count ? g->count : n;
    return n == 0 ? 1 : n;
}

static int run_workers(struct gather *g, struct err *e)
{
    struct worker workers[REPO_READERS_MAX] = {{0}};
    const size_t n = threads_for(g);
    uint64_t total = 0;
    size_t started = 0;
    int rc = 0;
    for (size_t i = 0; i < g->count; i++)
        total += chunk_file_bytes(g, i);
    g->step = total / STEPS;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct worker *w = &workers[i];
        w->g = g;
        w->capacity = g->largest + 1; /* of none there is memory, too */
        if ((w->arena = pages_new(w->capacity)) == NULL)
            rc = i == 0 ? err_set(e, ERR_NO_MEMORY, "out of memory for %llu bytes of entries",
                                  (unsigned long long)w->capacity)
                        : 0;
        if (w->arena == NULL)
            break; /* with fewer, then */
        (void)pthread_mutex_lock(&g->lock);
        g->working++;
        (void)pthread_mutex_unlock(&g->lock);
        const int failed = pthread_create(&w->thread, NULL, work, w);
        if (failed != 0) {
            (void)pthread_mutex_lock(&g->lock);
            g->working--;
            (void)pthread_mutex_unlock(&g->lock);
            rc = i == 0 ? err_set(e, ERR_FAILED, "no thread: %s", strerror(failed)) : 0;
            pages_free(w->arena, w->capacity);
            w->arena = NULL;
            break;
        }
        started++;
    }
    if (started != 0)
        watch(g, total);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(workers[i].thread, NULL);
    for (size_t i = 0; i < n; i++) {
        pages_free(workers[i].arena, workers[i].capacity);
        free(workers[i].effects);
        free(workers[i].sorted);
        free(workers[i].events);
    }
    if (rc == 0 && g->rc != 0 && e != NULL)
        *e = g->why;
    return rc != 0 ? rc : g->rc;
}

/* ---- what is newer ---- */

/* No more cells than there are entries; without memory for them all is kept. */
static void shards_init(struct gather *g, uint64_t entries)
{
    size_t cells = 64;
    while (cells < SHARD_CELLS_MAX && cells * SHARDS < entries)
        cells *= 2;
    const size_t bytes = cells * REPO_NEWEST_CELL_BYTES;
    g->memory = pages_new(SHARDS * bytes);
    g->memory_bytes = SHARDS * bytes;
    for (size_t i = 0; i < SHARDS; i++) {
        check(pthread_mutex_init(&g->shards[i].lock, NULL) == 0);
        if (g->memory != NULL)
            repo_newest_init(&g->shards[i].known, g->memory + i * bytes, cells);
    }
}

static void shards_deinit(struct gather *g)
{
    for (size_t i = 0; i < SHARDS; i++)
        (void)pthread_mutex_destroy(&g->shards[i].lock);
    pages_free(g->memory, g->memory_bytes);
}

/* ---- what the runs say together ---- */

static int add_up(struct repo_fold_job *job, struct err *e)
{
    const struct repo_snapshot *s = job->plan->snapshot;
    const uint64_t from = s == NULL ? 0 : s->o.end.lsn.v;
    job->rows = 0;
    job->mode = 0;
    if (s != NULL)
        job->end = s->o.end;
    for (size_t i = 0; i < job->runs; i++) {
        char name[REPO_RUN_NAME_BYTES];
        struct repo_run *run;
        int rc = repo_run_open(&run, job->dir, repo_run_name(i, name), false, e);
        if (rc != 0)
            return rc;
        const struct repo_run_facts *f = repo_run_facts(run);
        job->rows += f->rows;
        job->end = f->end;
        if (f->mode != 0)
            job->mode = f->mode;
        repo_run_close(run);
    }
    job->entries = job->plan->lsn.v - from;
    if (job->end.lsn.v == job->plan->lsn.v)
        return 0;
    return err_set(e, ERR_INTEGRITY, "the packs end at lsn %llu, not at lsn %llu",
                   (unsigned long long)job->end.lsn.v, (unsigned long long)job->plan->lsn.v);
}

int repo_fold_gather(struct repo_fold_job *job, struct err *e)
{
    const struct repo_snapshot *s = job->plan->snapshot;
    struct gather g = {.job = job,
                       .opening = PTHREAD_MUTEX_INITIALIZER,
                       .lock = PTHREAD_MUTEX_INITIALIZER,
                       .news = PTHREAD_COND_INITIALIZER};
    job->kept = 0;
    int rc = cut(&g, e);
    g.failed = g.count;
    shards_init(&g, job->plan->lsn.v - (s == NULL ? 0 : s->o.end.lsn.v));
    if (rc == 0 && g.count != 0)
        rc = run_workers(&g, e);
    job->runs = g.count;
    shards_deinit(&g);
    free(g.chunks);
    (void)pthread_cond_destroy(&g.news);
    (void)pthread_mutex_destroy(&g.lock);
    (void)pthread_mutex_destroy(&g.opening);
    return rc == 0 ? add_up(job, e) : rc;
}
