/* Bundles that have no name yet (NAME.uncut) and that no export of this process awaits: a site stopped between writing one and
 * cutting the log. Once it runs again the cut may be asked for once more, and then it is used as it is (divergence.c). But the
 * primary may as well turn out to have these entries, or want another cut; nobody would ask for that file again.
 *
 *   the log ends with its last entry          kept: the cut may come
 *   the log has its last entry, and more      removed: the entries are in the log, and a cut of them will be of more entries
 *   a bundle with that end has its name       removed: what was undone of it is in there, the rest is in the log
 *   none of these                             its name is given to it: the log was set back, lost its end to a power cut, or
 *                                             the folder comes from elsewhere. What is in no log must be decided about (P4)
 *
 * Looked at when the site starts, and when the log goes beyond the one that was kept. What cannot be read is told, and stays. */
#include "replication/bundle.h"
#include "replication/site_parts.h"

#include "store/core/hex.h"
#include "store/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#define UNCUT ".uncut"

enum { DIR_BYTES = SITE_PATH_BYTES + 16, PATH_BYTES = DIR_BYTES + BUNDLE_NAME_BYTES + 8 };

/* "<name>.uncut"; *out gets the name. */
static bool is_uncut(const char *file, char out[BUNDLE_NAME_BYTES])
{
    const size_t n = strlen(file), end = sizeof UNCUT - 1;
    if (n <= end || n - end >= BUNDLE_NAME_BYTES || strcmp(file + n - end, UNCUT) != 0)
        return false;
    (void)snprintf(out, BUNDLE_NAME_BYTES, "%.*s", (int)(n - end), file);
    return bundle_is_name(out);
}

/* Does a bundle that has its name end with the same entry? */
static bool is_named(const char *dir, const char *id)
{
    char path[PATH_BYTES];
    bool found = false;
    DIR *all = opendir(dir);
    const struct dirent *entry;
    while (!found && all != NULL && (entry = readdir(all)) != NULL) {
        struct bundle b;
        (void)snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        found = bundle_is_name(entry->d_name) && bundle_head(path, &b, NULL) == 0 &&
                strcmp(b.id, id) == 0;
    }
    if (all != NULL)
        (void)closedir(all);
    return found;
}

static int is_in_log(struct site *s, const struct bundle *b, bool *there, struct err *e)
{
    struct entry_position at;
    char id[sizeof b->id];
    *there = false;
    if (b->last > s->tail.lsn.v)
        return 0;
    int rc = log_position(s->log, (struct lsn){b->last}, &at, e);
    if (rc != 0)
        return rc == ERR_GAP || rc == ERR_NOT_FOUND ? 0 : rc;
    hex_format(at.hash.b, sizeof at.hash.b, id);
    *there = strcmp(id, b->id) == 0;
    return 0;
}

static int give_name(struct site *s, const char *dir, const char *from, const char *name,
                     struct err *e)
{
    char to[PATH_BYTES];
    struct bundle whole;
    (void)snprintf(to, sizeof to, "%s/%s", dir, name);
    int rc = bundle_check(from, &whole, e);
    if (rc != 0)
        return rc;
    if (access(to, F_OK) == 0)
        return err_set(e, ERR_EXISTS, "%s is there, with other entries", to);
    if (rename(from, to) != 0)
        return err_set(e, ERR_IO, "%s: %s", to, strerror(errno));
    rc = file_sync_path(dir, e);
    if (rc == 0)
        events_add(
            s->events,
            "divergence: %s was exported before this site stopped, and its log does not have "
            "these entries: see triveni divergence list",
            to);
    return rc;
}

/* *kept: the lsn that it ends with, if it may still be asked for. */
static int look_at(struct site *s, const char *dir, const char *name, struct lsn *kept,
                   struct err *e)
{
    char path[PATH_BYTES];
    struct bundle b;
    bool there;
    (void)snprintf(path, sizeof path, "%s/%s" UNCUT, dir, name);
    int rc = bundle_head(path, &b, e);
    if (rc == 0)
        rc = is_in_log(s, &b, &there, e);
    if (rc != 0)
        return rc;
    if (there && b.last == s->tail.lsn.v) {
        kept->v = b.last;
        return 0;
    }
    if (!there && !is_named(dir, b.id))
        return give_name(s, dir, path, name, e);
    if (unlink(path) != 0)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    events_add(s->events, "divergence: %s was exported before this site stopped, and removed: %s",
               path, there ? "its entries are in the log" : "another bundle has what was undone");
    return 0;
}

struct lsn divergence_sweep(struct site *s)
{
    char dir[DIR_BYTES], name[BUNDLE_NAME_BYTES];
    struct lsn kept = {0};
    (void)snprintf(dir, sizeof dir, "%s/divergence", s->config->data_dir);
    DIR *all = opendir(dir);
    const struct dirent *entry;
    while (all != NULL && (entry = readdir(all)) != NULL) {
        struct err e = ERR_NONE;
        if (is_uncut(entry->d_name, name) && look_at(s, dir, name, &kept, &e) != 0)
            events_add(
                s->events,
                "divergence: %s/%s was exported before this site stopped; whether its entries "
                "were undone cannot be told: %s",
                dir, entry->d_name, e.text);
    }
    if (all != NULL)
        (void)closedir(all);
    return kept;
}
