/* The merge of the runs with the snapshot. See fold.h.
 *
 * Runs are pulled, the snapshot pushes its rows (repo_snapshot_walk): before each of them comes what the runs have of
 * smaller keys. Of one record a run's effect is always newer than the snapshot's row. Reading, merging and counting the digest
 * take about as long as building a state of what comes out, so they have a thread of their own (belt.h). */
#include "repository/io/belt.h"
#include "repository/io/gather.h"

#include "store/core/check.h"

#include <stdio.h>
#include <stdlib.h>

enum { EVENTS = 16384 };

const char *repo_run_name(size_t n, char out[REPO_RUN_NAME_BYTES])
{
    (void)snprintf(out, REPO_RUN_NAME_BYTES, "run-%06zu", n);
    return out;
}

bool repo_selected(const struct repository_selection *only, struct bytes collection,
                   struct bytes key)
{
    if (only == NULL)
        return true;
    const struct bytes start = bytes_of(key.p, key.n < only->prefix.n ? key.n : only->prefix.n);
    return bytes_equal(collection, only->collection) &&
           (only->key.n == 0 || bytes_equal(key, only->key)) && bytes_equal(start, only->prefix) &&
           bytes_compare(key, only->from) >= 0 &&
           (only->to.n == 0 || bytes_compare(key, only->to) < 0);
}

struct merge {
    struct repo_fold_job *job;
    const struct repo_fold_sink *sink;
    uint64_t total; /* rows of runs and snapshot */

    /* of the thread that merges */
    struct repo_belt *belt;
    struct repo_run **runs;
    struct repo_effect *heads;
    uint32_t *order;
    struct repo_merge *heap;
    struct repo_fold fold;
    uint64_t done; /* of `total` */
    bool drained;
    struct err *e;
};

/* ---- the thread that merges ---- */

static int put_record(void *arg, const struct repo_effect *x)
{
    struct merge *m = arg;
    const struct repo_snap_row row = {x->collection, x->key, x->value, x->lsn, x->time};
    return repo_belt_put(m->belt,
                         &(struct repo_snap_record){.type = REPO_SNAP_ROW, .u = {.row = row}},
                         m->done, m->e);
}

static int put_other(struct merge *m, const struct repo_snap_record *s)
{
    return m->sink->other == NULL ? 0 : repo_belt_put(m->belt, s, m->done, m->e);
}

/* Take the first effect of the heap. */
static int take(struct merge *m)
{
    const uint32_t i = repo_merge_first(m->heap);
    int rc = repo_fold_take(&m->fold, &m->heads[i]);
    if (rc != 0)
        return rc;
    m->done++;
    rc = repo_run_next_row(m->runs[i], &m->heads[i], m->e);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    repo_merge_next(m->heap, rc == ERR_NOT_FOUND);
    return 0;
}

/* All that the runs have of records before, and of, this one; NULL: all. */
static int drain(struct merge *m, const struct repo_effect *upto)
{
    int rc = 0;
    while (rc == 0 && m->heap->n != 0) {
        const struct repo_effect *x = &m->heads[repo_merge_first(m->heap)];
        int c = upto == NULL ? -1 : bytes_compare(x->collection, upto->collection);
        if (c == 0 && upto != NULL)
            c = bytes_compare(x->key, upto->key);
        if (c > 0)
            break;
        rc = take(m);
    }
    return rc;
}

static int snapshot_record(void *arg, const struct repo_snap_record *s)
{
    struct merge *m = arg;
    if (s->type == REPO_SNAP_HEADER || s->type == REPO_SNAP_TRAILER)
        return s->type == REPO_SNAP_HEADER ? put_other(m, s) : 0;
    if (s->type != REPO_SNAP_ROW) {
        int rc = m->drained ? 0 : drain(m, NULL);
        if (rc == 0 && !m->drained)
            rc = repo_fold_end(&m->fold);
        m->drained = true;
        return rc != 0 ? rc : put_other(m, s);
    }
    const struct repo_snap_row *r = &s->u.row;
    const struct repo_effect x = {r->collection, r->key, r->value, r->lsn, r->time, true};
    m->done++;
    if (!repo_selected(m->job->only, x.collection, x.key))
        return 0;
    int rc = drain(m, &x);
    if (rc == 0)
        rc = repo_fold_take(&m->fold, &x);
    return rc == 0 ? repo_fold_end(&m->fold) : rc; /* its value is gone when this returns */
}

/* Open run i as m->runs[at], with its first row. 1: it has none, and is closed. */
static int open_run(struct merge *m, size_t i, size_t at)
{
    char name[REPO_RUN_NAME_BYTES];
    int rc = repo_run_open(&m->runs[at], m->job->dir, repo_run_name(i, name), false, m->e);
    if (rc != 0)
        return rc;
    rc = repo_run_next_row(m->runs[at], &m->heads[at], m->e);
    if (rc != ERR_NOT_FOUND)
        return rc;
    repo_run_close(m->runs[at]);
    m->runs[at] = NULL;
    return 1;
}

static int open_runs(struct merge *m)
{
    const size_t n = m->job->runs;
    size_t open = 0;
    m->runs = calloc(n + 1, sizeof *m->runs);
    m->heads = calloc(n + 1, sizeof *m->heads);
    m->order = calloc(n + 1, sizeof *m->order);
    if (m->runs == NULL || m->heads == NULL || m->order == NULL)
        return err_set(m->e, ERR_NO_MEMORY, "out of memory for %zu runs", n);
    for (size_t i = 0; i < n; i++) {
        int rc = open_run(m, i, open);
        if (rc < 0)
            return rc;
        open += rc == 0;
    }
    repo_merge_begin(m->heap, m->heads, m->order, (uint32_t)open);
    return 0;
}

static int merge(void *arg, struct repo_belt *b, struct err *e)
{
    struct merge *m = arg;
    const struct repo_fold_job *job = m->job;
    struct repo_merge heap;
    m->belt = b;
    m->e = e;
    m->heap = &heap;
    int rc = open_runs(m);
    if (rc == 0 && job->plan->snapshot != NULL)
        rc = repo_snapshot_walk(job->r, job->plan->snapshot, snapshot_record, NULL, m, e);
    if (rc == 0)
        rc = drain(m, NULL);
    if (rc == 0)
        rc = repo_fold_end(&m->fold);
    for (size_t i = 0; m->runs != NULL && i < job->runs; i++)
        repo_run_close(m->runs[i]);
    free(m->runs);
    free(m->heads);
    free(m->order);
    return rc;
}

/* ---- the calling thread ---- */

static int give(void *arg, const struct repo_snap_record *s)
{
    const struct merge *m = arg;
    const struct repo_snap_row *r = &s->u.row;
    return s->type != REPO_SNAP_ROW
               ? m->sink->other(m->sink->arg, s)
               : m->sink->record(
                     m->sink->arg,
                     &(struct repo_effect){r->collection, r->key, r->value, r->lsn, r->time, true});
}

static void tell(void *arg, uint64_t done)
{
    const struct merge *m = arg;
    if (m->job->progress != NULL)
        m->job->progress(m->job->progress_arg, REPOSITORY_STAGE_BUILD, done, m->total);
}

int repo_fold_merge(struct repo_fold_job *job, const struct repo_fold_sink *sink,
                    struct digest *digest, struct digest *bounded, struct err *e)
{
    const struct repo_snapshot *s = job->plan->snapshot;
    struct merge m = {
        .job = job,
        .sink = sink,
        .total = job->rows + (s == NULL ? 0 : s->records),
    };
    m.fold = (struct repo_fold){.boundary = job->boundary, .each = put_record, .arg = &m};
    int rc = repo_belt_run(&(struct repo_belt_ends){merge, give, tell, &m}, e);
    if (rc == 0)
        tell(&m, m.total);
    *digest = m.fold.digest;
    *bounded = m.fold.bounded;
    return rc;
}

int repo_fold_events(struct repo_fold_job *job,
                     int (*each)(void *arg, struct state_session_event *, size_t n), void *arg,
                     struct err *e)
{
    struct state_session_event *events = calloc(EVENTS, sizeof *events);
    int rc = events == NULL ? err_set(e, ERR_NO_MEMORY, "out of memory for events") : 0;
    for (size_t i = 0; rc == 0 && i < job->runs; i++) {
        char name[REPO_RUN_NAME_BYTES];
        struct repo_run *run;
        rc = repo_run_open(&run, job->dir, repo_run_name(i, name), false, e);
        if (rc != 0)
            break;
        while (rc == 0) {
            size_t n = 0;
            while (n < EVENTS && (rc = repo_run_next_event(run, &events[n], e)) == 0) {
                events[n].order = (uint32_t)n;
                n++;
            }
            if (n != 0 && (rc == 0 || rc == ERR_NOT_FOUND)) {
                int stop = each(arg, events, n);
                rc = stop != 0 ? stop : rc;
            }
        }
        rc = rc == ERR_NOT_FOUND ? 0 : rc;
        repo_run_close(run);
    }
    free(events);
    return rc;
}
