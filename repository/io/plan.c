/* Targets of a restore: which one lsn is meant, and what must be read to get there. */
#include "repository/history.h"
#include "repository/io/archive.h"

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
