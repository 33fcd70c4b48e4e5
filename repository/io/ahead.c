/* Reading ahead.
 *
 * The caller opens a few files more than there are threads and leaves the reading to them: opening asks the backend and the
 * keyring, which are for one thread at a time, and reading does not (backend.h). An object that no thread has begun when its turn
 * comes is read by the caller, so that without a single thread everything goes on, slower.
 *
 * INVARIANTS
 *   A1  open files are jobs[taken..opened): at most WINDOW, and of packs one more than there are threads, of LEAVES_MAX entries
 *       together unless a single one has more; a job is `done` once its thread is through with the object. */
#include "repository/io/ahead.h"

#include "repository/core/tlog.h"
#include "repository/io/fold.h"
#include "repository/io/index.h"
#include "store/core/check.h"

#include <pthread.h>
#include <unistd.h>

enum {
    WINDOW = 2 * REPO_READERS_MAX,
    LEAVES_MAX = 400000, /* 64 MB */
};

struct job {
    const struct repo_object *o;
    const struct repo_pack *pack; /* NULL: only its hash is asked for */
    struct repo_blob file;
    struct repo_pack_reader reader;
    bool done;
    int rc;
    struct sha256 found;
    struct repo_ahead_leaf *leaves;
    uint64_t entries;
    size_t point;
    struct digest sum;
    struct err why;
};

struct repo_ahead {
    struct repository *r;
    struct job *jobs;
    size_t n, most, taken;
    uint64_t leaves; /* of packs that are open */
    pthread_t threads[REPO_READERS_MAX];
    size_t started;
    pthread_mutex_t lock; /* guards what is below, and `done` */
    pthread_cond_t news;
    size_t opened, begun;
    bool end;
};

static uint64_t entries_of(const struct repo_pack *p)
{
    return p->o.end.lsn.v - p->first.v + 1;
}

int repo_ahead_new(struct repository *r, size_t most, struct repo_ahead **out, struct err *e)
{
    struct repo_ahead *a = calloc(1, sizeof *a);
    struct job *jobs = calloc(most + 1, sizeof *jobs);
    *out = NULL;
    if (a == NULL || jobs == NULL) {
        free(a);
        free(jobs);
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of objects");
    }
    *a = (struct repo_ahead){.r = r, .jobs = jobs, .most = most};
    check(pthread_mutex_init(&a->lock, NULL) == 0 && pthread_cond_init(&a->news, NULL) == 0);
    *out = a;
    return 0;
}

static void add(struct repo_ahead *a, const struct repo_object *o, const struct repo_pack *p)
{
    check(a->n < a->most && a->opened == 0);
    a->jobs[a->n++] =
        (struct job){.o = o, .pack = p, .file = REPO_BLOB_NONE, .reader = REPO_PACK_READER_NONE};
}

void repo_ahead_add(struct repo_ahead *a, const struct repo_object *o)
{
    add(a, o, NULL);
}

void repo_ahead_add_pack(struct repo_ahead *a, const struct repo_pack *p)
{
    add(a, &p->o, p);
}

/* ---- the entries of a pack ---- */

static int sum_ref(void *arg, const struct repo_keyref *ref)
{
    struct digest *sum = arg;
    *sum = digest_add(*sum, repo_keyref_digest(ref));
    return 0;
}

/* Restore points must be in the meta, and in no other place. */
static int check_entry(void *arg, const struct entry_view *x)
{
    struct job *j = arg;
    struct body_restore_point body;
    if (j->entries == entries_of(j->pack) || repo_keyrefs_of(x, sum_ref, &j->sum, NULL) != 0)
        return ERR_INTEGRITY;
    struct repo_ahead_leaf *leaf = &j->leaves[j->entries++];
    memcpy(leaf->header, x->raw, sizeof leaf->header);
    leaf->hash = tlog_leaf_hash(bytes_of(x->raw, ENTRY_HEADER_BYTES));
    if (x->header.kind != ENTRY_RESTORE_POINT)
        return 0;
    const struct repo_point *p =
        j->point < j->pack->point_count ? &j->pack->points[j->point] : NULL;
    if (body_read_restore_point(bytes_of(x->body, x->header.body_bytes), &body, NULL) != 0 ||
        p == NULL || p->lsn.v != x->header.lsn.v || p->time.us != x->header.time.us ||
        !bytes_equal(p->name, body.name))
        return ERR_INTEGRITY;
    j->point++;
    return 0;
}

/* Its entries, and in passing the hash of the object. */
static int read_pack(struct job *j, struct err *e)
{
    j->leaves = malloc(entries_of(j->pack) * sizeof *j->leaves);
    if (j->leaves == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the headers of a pack");
    int rc = repo_reader_hash_begin(j->reader.reader, e);
    if (rc == 0) {
        err_set(e, ERR_INTEGRITY, "its restore points are not those that its meta names");
        rc = repo_pack_walk(&j->reader, 0, check_entry, NULL, j, e);
    }
    if (rc == 0 && j->point != j->pack->point_count)
        rc = err_set(e, ERR_INTEGRITY, "its meta names restore points that it does not hold");
    return rc == 0 ? repo_reader_hash_end(j->reader.reader, &j->found, e) : rc;
}

/* ---- threads ---- */

/* A job that this thread has taken up; the lock is held, but not while it reads. */
static void do_job(struct repo_ahead *a, struct job *j)
{
    (void)pthread_mutex_unlock(&a->lock);
    if (j->rc == 0)
        j->rc =
            j->pack != NULL ? read_pack(j, &j->why) : repo_blob_hash(&j->file, &j->found, &j->why);
    (void)pthread_mutex_lock(&a->lock);
    j->done = true;
    (void)pthread_cond_broadcast(&a->news);
}

static void *work(void *arg)
{
    struct repo_ahead *a = arg;
    (void)pthread_mutex_lock(&a->lock);
    while (!a->end) {
        if (a->begun < a->opened)
            do_job(a, &a->jobs[a->begun++]);
        else
            (void)pthread_cond_wait(&a->news, &a->lock);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void start(struct repo_ahead *a)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = processors < 1 ? 1 : (size_t)processors;
    n = n > REPO_READERS_MAX || a->r->backend->kind->remote ? REPO_READERS_MAX : n;
    for (; a->started < n && a->started < a->n; a->started++)
        if (pthread_create(&a->threads[a->started], NULL, work, a) != 0)
            break;
}

/* A1 */
static bool has_room(const struct repo_ahead *a, size_t i)
{
    const struct repo_pack *p = a->jobs[i].pack;
    if (p == NULL)
        return i - a->taken < WINDOW;
    return i == a->taken || (i - a->taken <= a->started && a->leaves + entries_of(p) <= LEAVES_MAX);
}

static void open_more(struct repo_ahead *a)
{
    for (size_t i = a->opened; i < a->n && has_room(a, i); i++) {
        struct job *j = &a->jobs[i];
        if (j->pack != NULL) {
            j->rc = repo_pack_open(a->r, j->pack, &j->reader, &j->why);
            a->leaves += entries_of(j->pack);
        } else {
            j->rc = repo_blob_open(&j->file, a->r->backend, j->o->name, &j->why);
        }
        (void)pthread_mutex_lock(&a->lock);
        a->opened++;
        (void)pthread_cond_broadcast(&a->news);
        (void)pthread_mutex_unlock(&a->lock);
    }
}

static void close_job(struct job *j)
{
    repo_pack_close(&j->reader);
    repo_blob_close(&j->file);
    free(j->leaves);
    j->leaves = NULL;
}

/* The next one, when it is done. What the one before gave is gone then. */
static struct job *next(struct repo_ahead *a, const struct repo_object *o)
{
    if (a->started == 0)
        start(a);
    check(a->taken < a->n && a->jobs[a->taken].o == o);
    if (a->taken != 0)
        close_job(&a->jobs[a->taken - 1]);
    struct job *j = &a->jobs[a->taken];
    open_more(a);
    (void)pthread_mutex_lock(&a->lock);
    if (a->begun == a->taken) {
        a->begun++;
        do_job(a, j);
    }
    while (!j->done)
        (void)pthread_cond_wait(&a->news, &a->lock);
    (void)pthread_mutex_unlock(&a->lock);
    a->taken++;
    a->leaves -= j->pack != NULL ? entries_of(j->pack) : 0;
    return j;
}

int repo_ahead_take(struct repo_ahead *a, const struct repo_object *o, struct sha256 *out,
                    struct err *e)
{
    const struct job *j = next(a, o);
    *out = j->found;
    if (j->rc != 0 && e != NULL)
        *e = j->why;
    return j->rc;
}

int repo_ahead_take_pack(struct repo_ahead *a, const struct repo_pack *p,
                         struct repo_ahead_pack *out, struct err *e)
{
    const struct job *j = next(a, &p->o);
    check(j->pack == p);
    *out = (struct repo_ahead_pack){j->entries, j->leaves, j->sum, j->found};
    if (j->rc != 0 && e != NULL)
        *e = j->why;
    return j->rc;
}

void repo_ahead_free(struct repo_ahead *a)
{
    if (a == NULL)
        return;
    (void)pthread_mutex_lock(&a->lock);
    a->end = true;
    (void)pthread_cond_broadcast(&a->news);
    (void)pthread_mutex_unlock(&a->lock);
    for (size_t i = 0; i < a->started; i++)
        (void)pthread_join(a->threads[i], NULL);
    for (size_t i = a->taken == 0 ? 0 : a->taken - 1; i < a->opened; i++)
        close_job(&a->jobs[i]);
    (void)pthread_cond_destroy(&a->news);
    (void)pthread_mutex_destroy(&a->lock);
    free(a->jobs);
    free(a);
}
