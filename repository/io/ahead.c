/* Hashing ahead.
 *
 * The caller opens a few files more than there are threads and leaves the reading to them: opening asks the backend, which is for
 * one thread at a time, and reading does not (backend.h). A file that no thread has begun when its turn comes is hashed by the
 * caller, so that without a single thread everything goes on, slower.
 *
 * INVARIANTS
 *   A1  open files are jobs[taken..opened): at most WINDOW; a job is `done` once its thread is through with the file. */
#include "repository/io/ahead.h"

#include "repository/io/fold.h"
#include "store/core/check.h"

#include <pthread.h>
#include <unistd.h>

enum { WINDOW = 2 * REPO_READERS_MAX };

struct job {
    const struct repo_object *o;
    struct repo_blob file;
    bool done;
    int rc;
    struct sha256 found;
    struct err why;
};

struct repo_ahead {
    struct repo_backend *backend;
    struct job *jobs;
    size_t n, most, taken;
    pthread_t threads[REPO_READERS_MAX];
    size_t started;
    pthread_mutex_t lock; /* guards what is below, and `done` */
    pthread_cond_t news;
    size_t opened, begun;
    bool end;
};

int repo_ahead_new(struct repo_backend *b, size_t most, struct repo_ahead **out, struct err *e)
{
    struct repo_ahead *a = calloc(1, sizeof *a);
    struct job *jobs = calloc(most + 1, sizeof *jobs);
    *out = NULL;
    if (a == NULL || jobs == NULL) {
        free(a);
        free(jobs);
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of objects");
    }
    *a = (struct repo_ahead){.backend = b, .jobs = jobs, .most = most};
    check(pthread_mutex_init(&a->lock, NULL) == 0 && pthread_cond_init(&a->news, NULL) == 0);
    *out = a;
    return 0;
}

void repo_ahead_add(struct repo_ahead *a, const struct repo_object *o)
{
    check(a->n < a->most && a->opened == 0);
    a->jobs[a->n++] = (struct job){.o = o, .file = REPO_BLOB_NONE};
}

/* Of a job that this thread has taken up; the lock is held, but not while it reads. */
static void hash(struct repo_ahead *a, struct job *j)
{
    (void)pthread_mutex_unlock(&a->lock);
    if (j->rc == 0)
        j->rc = repo_blob_hash(&j->file, &j->found, &j->why);
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
            hash(a, &a->jobs[a->begun++]);
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
    n = n > REPO_READERS_MAX || a->backend->kind->remote ? REPO_READERS_MAX : n;
    for (; a->started < n && a->started < a->n; a->started++)
        if (pthread_create(&a->threads[a->started], NULL, work, a) != 0)
            break;
}

static void open_more(struct repo_ahead *a)
{
    for (size_t i = a->opened; i < a->n && i - a->taken < WINDOW; i++) {
        struct job *j = &a->jobs[i];
        j->rc = repo_blob_open(&j->file, a->backend, j->o->name, &j->why);
        (void)pthread_mutex_lock(&a->lock);
        a->opened++;
        (void)pthread_cond_broadcast(&a->news);
        (void)pthread_mutex_unlock(&a->lock);
    }
}

/* The next one, when it is done. */
static struct job *finish(struct repo_ahead *a)
{
    struct job *j = &a->jobs[a->taken];
    open_more(a);
    (void)pthread_mutex_lock(&a->lock);
    if (a->begun == a->taken) {
        a->begun++;
        hash(a, j);
    }
    while (!j->done)
        (void)pthread_cond_wait(&a->news, &a->lock);
    (void)pthread_mutex_unlock(&a->lock);
    a->taken++;
    repo_blob_close(&j->file);
    return j;
}

int repo_ahead_take(struct repo_ahead *a, const struct repo_object *o, struct sha256 *out,
                    struct err *e)
{
    if (a->started == 0)
        start(a);
    check(a->taken < a->n && a->jobs[a->taken].o == o);
    const struct job *j = finish(a);
    *out = j->found;
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
    for (size_t i = a->taken; i < a->opened; i++)
        repo_blob_close(&a->jobs[i].file);
    (void)pthread_cond_destroy(&a->news);
    (void)pthread_mutex_destroy(&a->lock);
    free(a->jobs);
    free(a);
}
