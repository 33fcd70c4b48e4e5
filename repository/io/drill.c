/* A restore as a drill: the very restore, into a directory of its own, and away with it.
 *
 * While a drill works the directory `scratch` holds "triveni-drill.lock", and what the restore makes, under names that nothing
 * else has: "triveni-drill.partial", then "triveni-drill". What an interrupted drill left there is removed by the next one, for a
 * drill that went on with old runs would prove less. A state whose digest differs stays as "triveni-drill.rejected", for whoever
 * has to find out why, until the next drill. Nothing else in the directory is touched. */
#include "repository/io/archive.h"

#include "store/io/file.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int in_scratch(const char *scratch, const char *end, char out[PATH_MAX], struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/triveni-drill%s", scratch, end);
    return n > 0 && n < PATH_MAX
               ? 0
               : err_set(e, ERR_USAGE, "%.200s...: the path is too long", scratch);
}

static int clear(const char *scratch, struct err *e)
{
    static const char *const ends[] = {"", ".partial", ".rejected"};
    char path[PATH_MAX];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof ends / sizeof ends[0]; i++)
        if ((rc = in_scratch(scratch, ends[i], path, e)) == 0)
            repo_remove_tree(path);
    return rc;
}

static int restore_there(struct repository *r, const char *scratch, repository_stage_fn progress,
                         void *arg, struct repository_drill *out, struct err *e)
{
    char into[PATH_MAX], partial[PATH_MAX];
    int rc = clear(scratch, e);
    if (rc == 0)
        rc = in_scratch(scratch, "", into, e);
    if (rc == 0)
        rc = in_scratch(scratch, ".partial", partial, e);
    if (rc != 0)
        return rc;
    rc = repository_restore(r, &out->plan, into, progress, arg, &out->result, e);
    repo_remove_tree(into);
    repo_remove_tree(partial);
    if (rc == 0 && out->result.compared.v == 0)
        rc = err_set(e, ERR_NOT_FOUND,
                     "restored to lsn %llu, but the archive holds no digest up to there that the "
                     "result could be compared with",
                     (unsigned long long)out->plan.lsn.v);
    return rc;
}

int repository_drill(struct repository *r, const struct restore_target *target, const char *scratch,
                     repository_stage_fn progress, void *arg, struct repository_drill *out,
                     struct err *e)
{
    int dir = -1, lock = -1;
    *out = (struct repository_drill){.bytes = 0};
    int rc = repository_plan(r, target, &out->plan, e);
    if (rc == 0)
        rc = file_open_dir(scratch, &dir, e);
    if (rc == 0)
        rc = file_lock(dir, scratch, "triveni-drill.lock", &lock, e);
    if (rc == 0)
        rc = restore_there(r, scratch, progress, arg, out, e);
    out->bytes = out->plan.bytes;
    if (lock >= 0)
        (void)close(lock);
    if (dir >= 0)
        (void)close(dir);
    return rc != 0 ? err_wrap(e, "drill") : 0;
}
