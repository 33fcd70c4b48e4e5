/* Restore: from a snapshot and packs to a data directory.
 *
 * The directory is built beside its place, as "<into>.partial", and gets its name only when every check held, so a
 * directory with the wanted name is always a whole and verified one. Entries go through the very state_apply() that sites
 * use, in batches that end wherever the archive knows a digest; the state's digest is compared there. At the end the
 * digest is counted again from the records themselves.
 *
 * STATES: .partial -> checked -> checkpointed -> renamed to <into>; a digest that differs: renamed to <into>.rejected, kept
 * for inspection; any other failure: .partial is removed.
 *
 * INVARIANTS
 *   I1  Nothing that existed before is written to or removed.
 *   I2  The last entry applied is the target's, whatever else the pack holds.
 *   I3  The first entry after a snapshot continues the header hash that the snapshot names. */
#include "repository/history.h"
#include "repository/io/archive.h"

#include "store/core/check.h"
#include "store/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LSN(x) ((unsigned long long)(x).v)

/* ---- targets and plan ---- */

static int note_entry(void *arg, const struct entry_view *v)
{
    *(struct entry_position *)arg = entry_position_of(v);
    return 0;
}

/* Time of the entry at lsn. */
static int time_of(struct repository *r, struct lsn lsn, struct utc *out, struct err *e)
{
    struct entry_position at = {0};
    const struct repo_pack *p = repo_pack_of(&r->inv, lsn);
    const struct repo_snapshot *s = repo_snapshot_below(&r->inv, lsn);
    int rc = 0;
    if (s != NULL && s->o.end.lsn.v == lsn.v)
        at = s->o.end;
    else if (p != NULL && p->o.end.lsn.v == lsn.v)
        at = p->o.end;
    else
        rc = repository_entries(r, lsn, lsn, note_entry, &at, e);
    *out = at.time;
    return rc;
}

struct time_search {
    struct utc time;
    struct lsn found;
};

static int search_entry(void *arg, const struct entry_view *v)
{
    struct time_search *x = arg;
    if (v->header.time.us > x->time.us)
        return 1;
    x->found = v->header.lsn;
    return 0;
}

static int target_time(struct repository *r, struct utc time, struct lsn *out, struct err *e)
{
    const struct repo_pack *p;
    struct repo_pack_reader reader = REPO_PACK_READER_NONE;
    int rc = repo_target_time(&r->inv, time, &p, e);
    if (rc != 0)
        return rc;
    *out = p->o.end.lsn;
    if (p->o.end.time.us <= time.us)
        return 0;
    struct time_search x = {.time = time};
    rc = repo_pack_open(r, p, &reader, e);
    if (rc == 0)
        rc = repo_pack_walk(&reader, repo_pack_frame_at(&reader, time), search_entry, NULL, &x, e);
    repo_pack_close(&reader);
    *out = x.found;
    return rc < 0 ? rc : 0;
}

static int target_lsn(struct repository *r, const struct restore_target *t, struct lsn *out,
                      struct err *e)
{
    int given = (t->lsn.v != 0) + (t->point != NULL) + (t->time.us != 0);
    if (given > 1)
        return err_set(e, ERR_USAGE, "one target only: an lsn, a restore point or a time");
    if (t->point != NULL)
        return repo_target_point(&r->inv, t->point, out, e);
    if (t->time.us != 0)
        return target_time(r, t->time, out, e);
    *out = t->lsn;
    return t->lsn.v != 0 ? 0 : repo_target_end(&r->inv, out, e);
}

int repository_resolve(struct repository *r, const struct restore_target *target, struct lsn *out,
                       bool *open_end, struct err *e)
{
    *open_end = target->time.us != 0 && target->time.us >= repo_archived(&r->inv).time.us;
    return target_lsn(r, target, out, e);
}

int repository_plan(struct repository *r, const struct restore_target *target,
                    struct restore_plan *out, struct err *e)
{
    struct repo_plan plan;
    struct lsn lsn = {0};
    *out = (struct restore_plan){.archive_ends = repo_archived(&r->inv).time};
    int rc = target_lsn(r, target, &lsn, e);
    if (rc == 0)
        rc = repo_plan_lsn(&r->inv, lsn, &plan, e);
    if (rc == 0 && plan.point != NULL)
        out->time = plan.point->time;
    else if (rc == 0)
        rc = time_of(r, lsn, &out->time, e);
    if (rc != 0)
        return rc;
    out->lsn = lsn;
    out->open_end = target->time.us != 0 && target->time.us >= out->archive_ends.us;
    if (plan.snapshot != NULL)
        out->snapshot = plan.snapshot->o.end.lsn;
    out->packs = plan.pack_end - plan.pack_begin;
    out->bytes = plan.bytes;
    out->digest_known = plan.digest_known;
    out->digest = plan.digest;
    if (plan.point != NULL)
        memcpy(out->point, plan.point->name.p, plan.point->name.n);
    return 0;
}

/* ---- directories ---- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

static void remove_tree(const char *path)
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

/* ---- applying ---- */

/* As many as state_apply() puts into one LMDB transaction: keys come in any order, so each batch rewrites much of the tree,
 * and half as many batches cost nearly half. */
enum { BATCH_BYTES = 32 << 20, BATCH_ENTRIES = 32768 };

struct restore_run {
    struct repository *r;
    const struct repo_plan *plan;
    struct state *state;
    struct restore_result *result;
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *progress_arg;
    uint64_t done_before; /* bytes of the objects that were read whole */
    struct err *e;
    bool differs; /* a digest: the directory is kept for inspection */

    /* entries waiting to be applied together */
    uint8_t *bytes;
    size_t used;
    struct entry_view *views;
    size_t count;

    const struct repo_pack *pack; /* being read */
    size_t point;                 /* next of its points */
    struct entry_position from;   /* where the snapshot ends */
    enum commit_mode mode;        /* as the snapshot has it */
    struct state_build *build;
};

static void report(void *arg, uint64_t bytes)
{
    const struct restore_run *x = arg;
    if (x->progress != NULL)
        x->progress(x->progress_arg, x->done_before + bytes, x->plan->bytes);
}

static int apply_batch(struct restore_run *x)
{
    int rc = x->count == 0 ? 0 : state_apply(x->state, x->views, x->count, x->e);
    x->result->entries += x->count;
    x->used = x->count = 0;
    return rc;
}

static int compare_digest(struct restore_run *x, const char *where, struct lsn lsn,
                          struct digest archived)
{
    struct state_snapshot *snap;
    struct state_totals totals;
    char ours[DIGEST_HEX_BYTES], theirs[DIGEST_HEX_BYTES];
    int rc = state_snapshot_open(x->state, &snap, x->e);
    if (rc != 0)
        return rc;
    rc = state_totals(snap, &totals, x->e);
    state_snapshot_close(snap);
    if (rc != 0)
        return rc;
    x->result->digests_compared++;
    x->result->last_compared = lsn;
    if (digest_equal(totals.digest, archived))
        return 0;
    x->differs = true;
    digest_hex(totals.digest, ours);
    digest_hex(archived, theirs);
    return err_set(x->e, ERR_INTEGRITY,
                   "the restored state at lsn %llu has digest %s, the sites had %s there (%s)",
                   LSN(lsn), ours, theirs, where);
}

/* Does the archive know a digest for this entry? */
static bool digest_at(struct restore_run *x, struct lsn lsn, struct digest *out)
{
    const struct repo_pack *p = x->pack;
    bool known = p->o.end.lsn.v == lsn.v && p->o.digest_known;
    if (known)
        *out = p->o.digest;
    while (x->point < p->point_count && p->points[x->point].lsn.v < lsn.v)
        x->point++;
    if (x->point < p->point_count && p->points[x->point].lsn.v == lsn.v &&
        p->points[x->point].digest_known) {
        *out = p->points[x->point].digest;
        return true;
    }
    return known;
}

enum { TARGET_REACHED = 1 };

static int apply_entry(void *arg, const struct entry_view *v)
{
    struct restore_run *x = arg;
    struct digest archived;
    size_t n = ENTRY_HEADER_BYTES + (size_t)v->header.body_bytes;
    int rc = 0;
    if (v->header.lsn.v <= x->from.lsn.v)
        return 0;
    if (x->used + n > BATCH_BYTES || x->count == BATCH_ENTRIES)
        rc = apply_batch(x);
    if (rc != 0)
        return rc;
    x->views[x->count] = *v;
    if (n <= BATCH_BYTES) { /* a larger one is applied from where it lies, alone */
        memcpy(x->bytes + x->used, v->raw, n);
        x->views[x->count].raw = x->bytes + x->used;
        x->views[x->count].body = x->bytes + x->used + ENTRY_HEADER_BYTES;
    }
    x->used += n;
    x->count++;
    bool last = v->header.lsn.v == x->plan->lsn.v;
    bool known = digest_at(x, v->header.lsn, &archived);
    if (last || known || n > BATCH_BYTES)
        rc = apply_batch(x);
    if (rc == 0 && known)
        rc = compare_digest(x, x->pack->o.name, v->header.lsn, archived);
    return rc == 0 && last ? TARGET_REACHED : rc;
}

static int apply_packs(struct restore_run *x)
{
    const struct repo_inventory *inv = &x->r->inv;
    int rc = 0;
    for (size_t i = x->plan->pack_begin; rc == 0 && i < x->plan->pack_end; i++) {
        struct repo_pack_reader reader = REPO_PACK_READER_NONE;
        x->pack = &inv->packs[i];
        x->point = 0;
        rc = repo_pack_open(x->r, x->pack, &reader, x->e);
        uint32_t frame = 0;
        if (rc == 0 && x->from.lsn.v + 1 > x->pack->first.v)
            frame = repo_pack_frame_of(&reader, (struct lsn){x->from.lsn.v + 1});
        if (rc == 0)
            rc = repo_pack_walk(&reader, frame, apply_entry, report, x, x->e);
        repo_pack_close(&reader);
        x->done_before += x->pack->o.bytes;
        report(x, 0);
    }
    if (rc == 0 && x->plan->pack_begin < x->plan->pack_end)
        rc = err_set(x->e, ERR_INTEGRITY, "lsn %llu was not found in %s", LSN(x->plan->lsn),
                     x->pack->o.name);
    return rc == TARGET_REACHED ? 0 : rc;
}

/* ---- snapshot ---- */

static int build_record(void *arg, const struct repo_snap_record *s)
{
    struct restore_run *x = arg;
    switch (s->type) {
    case REPO_SNAP_HEADER:
        x->from = s->u.header.at;
        x->mode = s->u.header.mode;
        return 0;
    case REPO_SNAP_ROW: {
        const struct repo_snap_row *r = &s->u.row;
        return state_build_record(
            x->build, &(struct record){r->collection, r->key, r->value, r->lsn, r->time}, x->e);
    }
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
    case REPO_SNAP_TRAILER:
        return 0;
    }
    return err_set(x->e, ERR_FORMAT, "a snapshot record's type is unknown");
}

static int build_snapshot(struct restore_run *x)
{
    const struct repo_snapshot *s = x->plan->snapshot;
    int rc = state_build_begin(x->state, &x->build, x->e);
    if (rc != 0)
        return rc;
    rc = repo_snapshot_walk(x->r, s, build_record, report, x, x->e);
    if (rc != 0) {
        state_build_abandon(x->build);
        return rc;
    }
    rc = state_build_end(x->build, &s->o.end, x->mode, x->e);
    x->done_before += s->o.bytes;
    return rc == 0 ? compare_digest(x, s->o.name, s->o.end.lsn, s->o.digest) : rc;
}

/* ---- the end ---- */

/* Count from the records, tell what was restored, make it durable. */
static int finish(struct restore_run *x)
{
    struct state_snapshot *snap;
    struct state_totals totals;
    struct entry_position at;
    int rc = state_snapshot_open(x->state, &snap, x->e);
    if (rc != 0)
        return rc;
    x->result->at = state_snapshot_position(snap);
    rc = state_totals(snap, &totals, x->e);
    if (rc == 0) {
        x->result->records = totals.records;
        x->result->digest = totals.digest;
        rc = state_verify(snap, x->e);
        x->differs |= rc == ERR_INTEGRITY;
    }
    state_snapshot_close(snap);
    if (rc == 0 && x->result->at.lsn.v != x->plan->lsn.v)
        rc = err_set(x->e, ERR_INTEGRITY, "the restored state is at lsn %llu, not at lsn %llu",
                     LSN(x->result->at.lsn), LSN(x->plan->lsn));
    if (rc == 0)
        rc = state_checkpoint_begin(x->state, &at, x->e);
    return rc == 0 ? state_checkpoint_finish(x->state, x->e) : rc;
}

static int run(struct restore_run *x, const char *dir)
{
    char state_dir[PATH_MAX];
    int n = snprintf(state_dir, sizeof state_dir, "%s/state", dir);
    if (n < 0 || (size_t)n >= sizeof state_dir)
        return err_set(x->e, ERR_USAGE, "%.200s...: the path is too long", dir);
    x->bytes = malloc(BATCH_BYTES);
    x->views = calloc(BATCH_ENTRIES, sizeof *x->views);
    if (x->bytes == NULL || x->views == NULL)
        return err_set(x->e, ERR_NO_MEMORY, "no memory for a batch of entries");
    struct state_options options = {.dir = state_dir, .cluster_id = x->r->about.cluster_id};
    int rc = state_open(&x->state, &options, x->e);
    if (rc == 0 && x->plan->snapshot != NULL)
        rc = build_snapshot(x);
    if (rc == 0)
        rc = apply_packs(x);
    return rc == 0 ? finish(x) : rc;
}

/* `partial` gets its final name. */
static int settle(const char *partial, const char *into, int rc, bool differs, struct err *e)
{
    char rejected[PATH_MAX + sizeof ".rejected"];
    if (rc == 0)
        rc = file_sync_path(partial, e);
    if (rc == 0) {
        if (rename(partial, into) == 0)
            return file_sync_parent(into, e);
        rc = err_set(e, ERR_IO, "%s: cannot be renamed to %s: %s", partial, into, strerror(errno));
    }
    (void)snprintf(rejected, sizeof rejected, "%s.rejected", into);
    if (differs && renameat2(AT_FDCWD, partial, AT_FDCWD, rejected, RENAME_NOREPLACE) == 0)
        err_wrap(e, "what was restored is in %s and must not be used", rejected);
    else if (differs)
        err_wrap(e, "what was restored is in %s and must not be used", partial);
    else
        remove_tree(partial);
    return rc;
}

int repository_restore(struct repository *r, const struct restore_plan *plan, const char *into,
                       void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes),
                       void *arg, struct restore_result *out, struct err *e)
{
    char place[PATH_MAX], partial[PATH_MAX];
    struct repo_plan steps;
    struct err ignored;
    if (e == NULL)
        e = &ignored;
    *out = (struct restore_result){0};
    struct restore_run x = {
        .r = r, .plan = &steps, .result = out, .progress = progress, .progress_arg = arg, .e = e};
    size_t n = strlen(into);
    while (n > 1 && into[n - 1] == '/')
        n--;
    if (n + sizeof ".rejected" > sizeof place)
        return err_set(e, ERR_USAGE, "%.200s...: the path is too long", into);
    (void)snprintf(place, sizeof place, "%.*s", (int)n, into);
    (void)snprintf(partial, sizeof partial, "%.*s.partial", (int)n, into);
    int rc = repo_plan_lsn(&r->inv, plan->lsn, &steps, e);
    if (rc == 0)
        rc = check_free(place, e);
    if (rc != 0)
        return rc;
    if (mkdir(partial, 0700) != 0)
        return errno == EEXIST
                   ? err_set(e, ERR_EXISTS,
                             "%s is left over from a restore that was interrupted: remove it first",
                             partial)
                   : err_set(e, ERR_IO, "%s: %s", partial, strerror(errno));
    rc = run(&x, partial);
    if (x.state != NULL)
        state_close(x.state);
    free(x.bytes);
    free(x.views);
    if (rc != 0)
        err_wrap(e, "restore to lsn %llu", LSN(plan->lsn));
    return settle(partial, place, rc, x.differs, e);
}
