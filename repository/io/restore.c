/* Restore: from a snapshot and packs to a data directory, or to some records.
 *
 * The directory is built beside its place, as "<into>.partial", and gets its name only when every check held, so a
 * directory with the wanted name is always a whole and verified one. Inside it are PLAN, which says what is being
 * restored, "runs", the sorted effects of the packs (fold.h), and "state", into which the records are appended in order. What waits
 * for the disk, making an empty state and finishing its checkpoint, is done beside what needs the processors.
 * At the end the digest is counted again from the records themselves, and compared with the newest one that the archive
 * holds up to the target; what came after that is bound by the hashes of the entries.
 *
 * STATES: .partial -> runs -> built -> checked and checkpointed -> renamed to <into>; a digest that differs: renamed to
 * <into>.rejected, kept for inspection; a full or failing disk, or a killed process: .partial stays, and the same restore
 * goes on with its runs; any other failure: .partial is removed.
 *
 * INVARIANTS
 *   I1  Nothing that existed before is written to or removed, but a .partial whose PLAN is the same.
 *   I2  The last entry is the target's, whatever else the pack holds.
 *   I3  Runs are used only if they were made for the same target, boundary, snapshot, packs and selection: PLAN is
 *   written before them. */
#include "repository/io/beside.h"
#include "repository/io/fold.h"

#include "store/core/hash.h"
#include "store/core/hex.h"
#include "store/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LSN(x) ((unsigned long long)(x).v)

/* ---- directories ---- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

void repo_remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Missing, or an empty directory. */
static int check_free(const char *into, struct err *e)
{
    DIR *d = opendir(into);
    if (d == NULL && errno == ENOENT)
        return 0;
    if (d == NULL)
        return err_set(e, errno == ENOTDIR ? ERR_EXISTS : ERR_IO, "%s: %s", into, strerror(errno));
    int others = 0;
    for (const struct dirent *x = readdir(d); x != NULL && others == 0; x = readdir(d))
        others = strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0;
    (void)closedir(d);
    return others == 0
               ? 0
               : err_set(e, ERR_EXISTS,
                         "%s is not empty: a restore never goes over data; name a new directory",
                         into);
}

/* ---- the place where it is built ---- */

enum { PLAN_TEXT_BYTES = 1024, PATH_BYTES = PATH_MAX + 32 };

struct site {
    char partial[PATH_BYTES], state[PATH_BYTES], runs[PATH_BYTES];
    int plan, dir; /* descriptors: PLAN, locked, and "runs" */
    bool resumed;
};

/* All that decides what is in the runs. */
static void plan_text(const struct repository *r, const struct repo_plan *p,
                      const struct repository_selection *only, char out[PLAN_TEXT_BYTES])
{
    static const struct repository_selection all;
    const struct repository_selection *x = only == NULL ? &all : only;
    const struct bytes pieces[] = {x->collection, bytes_of("\0", 1), x->from,   bytes_of("\0", 1),
                                   x->to,         bytes_of("\0", 1), x->prefix, bytes_of("\0", 1),
                                   x->key};
    char cluster[UUID_TEXT_BYTES], selection[DIGEST_HEX_BYTES];
    uuid_text(&r->about.cluster_id, cluster);
    digest_hex(hash_xxh128(pieces, sizeof pieces / sizeof pieces[0]), selection);
    (void)snprintf(out, PLAN_TEXT_BYTES,
                   "lsn %llu of cluster %s\nformat 1\nboundary %llu\nsnapshot %s\npacks %zu %s %s\n"
                   "selection %s\n",
                   LSN(p->lsn), cluster, LSN(p->compared),
                   p->snapshot == NULL ? "none" : p->snapshot->o.name, p->pack_end - p->pack_begin,
                   p->pack_begin == p->pack_end ? "none" : r->inv.packs[p->pack_begin].o.name,
                   p->pack_begin == p->pack_end ? "none" : r->inv.packs[p->pack_end - 1].o.name,
                   only == NULL ? "all" : selection);
}

/* PLAN as it must be: it is there and the same, or it is new. */
static int check_plan(struct site *s, const char *wanted, struct err *e)
{
    char found[PLAN_TEXT_BYTES] = "", path[PATH_BYTES + 8];
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/PLAN", s->partial);
    s->plan = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->plan < 0)
        return file_error(e, path, "be opened", errno);
    const struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(s->plan, F_OFD_SETLK, &lock) != 0)
        return err_set(e, ERR_BUSY, "%s: another restore works in it", s->partial);
    int rc = file_read_at(s->plan, path, found, sizeof found - 1, 0, &n, e);
    if (rc != 0)
        return rc;
    found[n] = '\0';
    s->resumed = strcmp(found, wanted) == 0;
    if (s->resumed)
        return 0;
    if (found[0] != '\0')
        return err_set(
            e, ERR_EXISTS,
            "%s is left from an interrupted restore to %.*s: give that command again, or "
            "remove the directory",
            s->partial, (int)strcspn(found, "\n"), found);
    rc = file_write_at(s->plan, path, wanted, strlen(wanted), 0, e);
    return rc == 0 && fsync(s->plan) != 0 ? file_error(e, path, "be synced", errno) : rc;
}

static int site_open(struct site *s, const char *partial, const char *plan, struct err *e)
{
    struct stat st;
    if (strlen(partial) + sizeof "/runs" > sizeof s->partial - 16)
        return err_set(e, ERR_USAGE, "%.200s...: the path is too long", partial);
    (void)snprintf(s->partial, sizeof s->partial, "%s", partial);
    (void)snprintf(s->state, sizeof s->state, "%.*s/state", PATH_MAX, partial);
    (void)snprintf(s->runs, sizeof s->runs, "%.*s/runs", PATH_MAX, partial);
    const bool made = mkdir(partial, 0700) == 0;
    if (!made && errno != EEXIST)
        return file_error(e, partial, "be made", errno);
    char path[PATH_BYTES + 8];
    (void)snprintf(path, sizeof path, "%s/PLAN", partial);
    if (!made && stat(path, &st) != 0 && check_free(partial, NULL) != 0)
        return err_set(e, ERR_EXISTS,
                       "%s is no interrupted restore of this kind: move it away, or name another "
                       "directory",
                       partial);
    int rc = check_plan(s, plan, e);
    if (rc == 0)
        repo_remove_tree(s->state);
    return rc == 0 ? file_open_dir(s->runs, &s->dir, e) : rc;
}

static void site_close(struct site *s)
{
    if (s->dir >= 0)
        (void)close(s->dir);
    if (s->plan >= 0)
        (void)close(s->plan);
}

/* Is it worth going on from here? */
static bool may_resume(int rc)
{
    return rc == ERR_NO_SPACE || rc == ERR_IO || rc == ERR_NO_MEMORY;
}

/* ---- building ---- */

struct restore_run {
    struct repository *r;
    struct repo_fold_job *job;
    const char *dir; /* of the state */
    struct state *state;
    struct state_build *build;
    struct restore_result *result;
    struct err *e;
    enum commit_mode mode;
    struct digest merged;  /* of all records, counted before they were handed over to the state */
    struct digest bounded; /* the same as of job->boundary */
    bool differs;          /* a digest: the directory is kept for inspection */
};

static int build_record(void *arg, const struct repo_effect *x)
{
    struct restore_run *run = arg;
    return state_build_record(
        run->build, &(struct record){x->collection, x->key, x->value, x->lsn, x->time}, run->e);
}

static int build_other(void *arg, const struct repo_snap_record *s)
{
    struct restore_run *x = arg;
    switch (s->type) {
    case REPO_SNAP_HEADER:
        x->mode = s->u.header.mode;
        return 0;
    case REPO_SNAP_SESSION: {
        const struct repo_snap_session *r = &s->u.session;
        return state_build_session(x->build, &r->id,
                                   &(struct session_info){r->client, r->opened, r->last}, x->e);
    }
    case REPO_SNAP_RESULT: {
        const struct repo_snap_result *r = &s->u.result;
        return state_build_result(x->build, &r->id, r->sequence, &r->at, x->e);
    }
    case REPO_SNAP_POINT: {
        const struct repo_snap_point *r = &s->u.point;
        return state_build_point(
            x->build, &(struct restore_point){r->name, r->lsn, r->time, r->digest}, x->e);
    }
    case REPO_SNAP_ROW:
    case REPO_SNAP_TRAILER:
        return 0;
    }
    return err_set(x->e, ERR_FORMAT, "a snapshot record's type is unknown");
}

static int build_events(void *arg, struct state_session_event *events, size_t n)
{
    struct restore_run *x = arg;
    return state_build_events(x->build, events, n, x->e);
}

/* Restore points behind the snapshot, with the digests that the sites had. */
static int build_points(struct restore_run *x)
{
    const struct repo_plan *plan = x->job->plan;
    const uint64_t from = plan->snapshot == NULL ? 0 : plan->snapshot->o.end.lsn.v;
    int rc = 0;
    for (size_t i = plan->pack_begin; i < plan->pack_end; i++) {
        const struct repo_pack *pack = &x->r->inv.packs[i];
        for (size_t k = 0; rc == 0 && k < pack->point_count; k++) {
            const struct repo_point *p = &pack->points[k];
            if (p->lsn.v > from && p->lsn.v <= plan->lsn.v)
                rc = state_build_point(
                    x->build, &(struct restore_point){p->name, p->lsn, p->time, p->digest}, x->e);
        }
    }
    return rc;
}

/* What stands in the state, against what was merged for it. */
static int compare_merged(struct restore_run *x, struct digest built)
{
    char found[DIGEST_HEX_BYTES], merged[DIGEST_HEX_BYTES];
    if (digest_equal(built, x->merged))
        return 0;
    x->differs = true;
    digest_hex(built, found);
    digest_hex(x->merged, merged);
    return err_set(x->e, ERR_INTEGRITY,
                   "the state that was built has digest %s, the records for it had %s: this "
                   "machine's memory, or triveni itself, is at fault",
                   found, merged);
}

static int compare_digest(struct restore_run *x)
{
    const struct repo_plan *plan = x->job->plan;
    char found[DIGEST_HEX_BYTES], theirs[DIGEST_HEX_BYTES];
    if (plan->compared.v == 0)
        return 0;
    x->result->compared = plan->compared;
    if (digest_equal(x->bounded, plan->compared_digest))
        return 0;
    x->differs = true;
    digest_hex(x->bounded, found);
    digest_hex(plan->compared_digest, theirs);
    return err_set(x->e, ERR_INTEGRITY,
                   "the restored state at lsn %llu has digest %s, the sites had %s there (%s)",
                   LSN(plan->compared), found, theirs, plan->compared_in);
}

static int build(struct restore_run *x)
{
    const struct repo_fold_sink sink = {build_record, build_other, x};
    x->mode = COMMIT_MAJORITY;
    int rc = state_build_begin(x->state, &x->build, x->e);
    if (rc != 0)
        return rc;
    rc = repo_fold_merge(x->job, &sink, &x->merged, &x->bounded, x->e);
    if (rc == 0)
        rc = repo_fold_events(x->job, build_events, x, x->e);
    if (rc == 0)
        rc = build_points(x);
    if (rc != 0) {
        state_build_abandon(x->build);
        return rc;
    }
    return state_build_end(x->build, &x->job->end, x->job->mode != 0 ? x->job->mode : x->mode,
                           x->e);
}

/* Count from the records, tell what was restored. */
static int verify(struct restore_run *x)
{
    struct state_snapshot *snap;
    struct state_totals totals;
    int rc = state_snapshot_open(x->state, &snap, x->e);
    if (rc != 0)
        return rc;
    x->result->at = state_snapshot_position(snap);
    rc = state_totals(snap, &totals, x->e);
    if (rc == 0) {
        x->result->records = totals.records;
        x->result->digest = totals.digest;
        rc = compare_merged(x, totals.digest);
    }
    if (rc == 0) {
        rc = state_verify(snap, x->e);
        x->differs |= rc == ERR_INTEGRITY;
    }
    state_snapshot_close(snap);
    return rc;
}

static int finish_checkpoint(void *arg, struct err *e)
{
    return state_checkpoint_finish(arg, e);
}

/* What was built is what it must be, and durable. */
static int check_state(struct restore_run *x)
{
    struct repo_beside syncing;
    repo_beside_begin(&syncing, finish_checkpoint, x->state);
    int rc = compare_digest(x);
    if (rc == 0)
        rc = verify(x);
    const int synced = repo_beside_end(&syncing, rc == 0 ? x->e : NULL);
    return rc != 0 ? rc : synced;
}

static int open_state(void *arg, struct err *e)
{
    struct restore_run *x = arg;
    const struct state_options options = {.dir = x->dir, .cluster_id = x->r->about.cluster_id};
    return state_open(&x->state, &options, e);
}

/* From packs to a state. A new one waits for the disk some times, so it is made while packs are read. */
static int run(struct restore_run *x)
{
    struct repo_beside opening;
    repo_beside_begin(&opening, open_state, x);
    int rc = repo_fold_gather(x->job, x->e);
    const int opened = repo_beside_end(&opening, rc == 0 ? x->e : NULL);
    rc = rc != 0 ? rc : opened;
    if (rc == 0)
        rc = build(x);
    if (rc == 0)
        rc = check_state(x);
    if (x->state != NULL)
        state_close(x->state);
    return rc;
}

/* `partial` gets its final name. */
static int settle(struct site *s, const char *into, int rc, bool differs, struct err *e)
{
    char rejected[PATH_BYTES + 16], plan[PATH_BYTES + 8];
    const bool whole = rc == 0;
    (void)snprintf(rejected, sizeof rejected, "%s.rejected", into);
    (void)snprintf(plan, sizeof plan, "%s/PLAN", s->partial);
    if (whole || differs) {
        repo_remove_tree(s->runs);
        (void)unlink(plan);
    }
    if (rc == 0)
        rc = file_sync_path(s->partial, e);
    if (rc == 0) {
        if (rename(s->partial, into) == 0)
            return file_sync_parent(into, e);
        rc = err_set(e, ERR_IO, "%s: cannot be renamed to %s: %s", s->partial, into,
                     strerror(errno));
    }
    if (differs && renameat2(AT_FDCWD, s->partial, AT_FDCWD, rejected, RENAME_NOREPLACE) == 0)
        err_wrap(e, "what was restored is in %s and must not be used", rejected);
    else if (differs)
        err_wrap(e, "what was restored is in %s and must not be used", s->partial);
    else if (!whole && may_resume(rc))
        err_wrap(e, "what was read is kept in %s: the same command goes on from there", s->partial);
    else
        repo_remove_tree(s->partial);
    if (whole)
        err_wrap(e,
                 "what was restored is removed again: give the same command when the disk is well");
    return rc;
}

static int prepare(struct repository *r, const struct restore_plan *plan,
                   const struct repository_selection *only, const char *partial,
                   struct repo_plan *steps, struct site *s, struct repo_fold_job *job,
                   struct err *e)
{
    char text[PLAN_TEXT_BYTES];
    *s = (struct site){.plan = -1, .dir = -1};
    int rc = repo_plan_lsn(&r->inv, plan->lsn, steps, e);
    if (rc != 0)
        return rc;
    plan_text(r, steps, only, text);
    rc = site_open(s, partial, text, e);
    job->r = r;
    job->plan = steps;
    job->only = only;
    job->boundary = only == NULL ? steps->compared : (struct lsn){0};
    job->dir = s->dir;
    return rc;
}

int repository_restore(struct repository *r, const struct restore_plan *plan, const char *into,
                       repository_stage_fn progress, void *arg, struct restore_result *out,
                       struct err *e)
{
    char place[PATH_MAX], partial[PATH_MAX];
    struct repo_fold_job job = {.progress = progress, .progress_arg = arg};
    struct repo_plan steps;
    struct site s;
    struct err ignored;
    if (e == NULL)
        e = &ignored;
    *out = (struct restore_result){0};
    struct restore_run x = {.r = r, .job = &job, .result = out, .e = e};
    size_t n = strlen(into);
    while (n > 1 && into[n - 1] == '/')
        n--;
    if (n + sizeof ".rejected" > sizeof place)
        return err_set(e, ERR_USAGE, "%.200s...: the path is too long", into);
    (void)snprintf(place, sizeof place, "%.*s", (int)n, into);
    (void)snprintf(partial, sizeof partial, "%.*s.partial", (int)n, into);
    int rc = check_free(place, e);
    if (rc != 0)
        return rc;
    rc = prepare(r, plan, NULL, partial, &steps, &s, &job, e);
    if (rc != 0) {
        site_close(&s);
        return rc;
    }
    x.dir = s.state;
    rc = run(&x);
    out->entries = job.entries;
    out->resumed = job.kept != 0;
    if (rc != 0)
        err_wrap(e, "restore to lsn %llu", LSN(plan->lsn));
    rc = settle(&s, place, rc, x.differs, e);
    site_close(&s);
    return rc;
}

/* ---- some records ---- */

struct selected {
    int (*each)(void *arg, const struct record *);
    void *arg;
    struct restore_result *result;
};

static int give_record(void *arg, const struct repo_effect *x)
{
    struct selected *s = arg;
    s->result->records++;
    return s->each(s->arg, &(struct record){x->collection, x->key, x->value, x->lsn, x->time});
}

int repository_records(struct repository *r, const struct restore_plan *plan,
                       const struct repository_selection *only, const char *scratch,
                       int (*each)(void *arg, const struct record *), void *each_arg,
                       repository_stage_fn progress, void *arg, struct restore_result *out,
                       struct err *e)
{
    struct repo_fold_job job = {.progress = progress, .progress_arg = arg};
    struct repo_plan steps;
    struct site s;
    struct digest ignored[2];
    *out = (struct restore_result){0};
    struct selected selected = {each, each_arg, out};
    const struct repo_fold_sink sink = {give_record, NULL, &selected};
    int rc = prepare(r, plan, only, scratch, &steps, &s, &job, e);
    if (rc != 0) {
        site_close(&s);
        return rc;
    }
    rc = repo_fold_gather(&job, e);
    out->resumed = job.kept != 0;
    out->entries = job.entries;
    out->at = job.end;
    if (rc == 0)
        rc = repo_fold_merge(&job, &sink, &ignored[0], &ignored[1], e);
    site_close(&s);
    if (may_resume(rc))
        err_wrap(e, "what was read is kept in %s: the same command goes on from there", scratch);
    else
        repo_remove_tree(scratch);
    return rc;
}
