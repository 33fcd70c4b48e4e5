/* The data directory of a site:
 *   site.json     who this directory belongs to: cluster, site, incarnation, and the members that it counts
 *   vote          the promise (replication/io/vote.h)
 *   LOCK          flock of the process that runs on it
 *   log/ state/   store/log.h, store/state.h
 *   divergence/   exported bundles */
#include "replication/site_init.h"

#include "store/core/hex.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void path_of(const struct site_config *c, const char *name, char out[SITE_PATH_BYTES + 32])
{
    (void)snprintf(out, SITE_PATH_BYTES + 32, "%s/%s", c->data_dir, name);
}

static void hex(const struct uuid *id, char out[33])
{
    for (unsigned i = 0; i < 16; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", id->b[i]);
}

static int sync_dir(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 && fsync(fd) == 0 ? 0 : err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

/* The name of a directory that is made is durable when it returns. */
static int make_dir(const char *path, struct err *e)
{
    char above[SITE_PATH_BYTES + 40];
    if (mkdir(path, 0700) != 0)
        return errno == EEXIST
                   ? 0
                   : err_set(e, ERR_IO, "%s: cannot be created: %s", path, strerror(errno));
    (void)snprintf(above, sizeof above, "%s/..", path);
    return sync_dir(above, e);
}

/* The data directory and whatever of its path is missing. */
static int make_dirs(const char *path, struct err *e)
{
    char part[SITE_PATH_BYTES];
    (void)snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = make_dir(part, e);
        if (rc != 0)
            return rc;
        *slash = '/';
    }
    return make_dir(path, e);
}

void site_members_text(const struct site_config *c, char out[SITE_MEMBERS_BYTES])
{
    const struct site_member *last = NULL;
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t n = 0; n < c->member_count; n++) {
        const struct site_member *next = NULL; /* the least name after `last` */
        for (uint32_t i = 0; i < c->member_count; i++) {
            const struct site_member *m = &c->members[i];
            if ((last == NULL || strcmp(m->name, last->name) > 0) &&
                (next == NULL || strcmp(m->name, next->name) < 0))
                next = m;
        }
        if (next == NULL)
            return; /* two of one name: the configuration does not allow it */
        at += (size_t)snprintf(out + at, SITE_MEMBERS_BYTES - at, "%s%s %s", n == 0 ? "" : ", ",
                               next->name, next->kind == SITE_REPOSITORY ? "repository" : "data");
        last = next;
    }
}

static int write_json(const char *path, const json_t *o, struct err *e)
{
    char part[SITE_PATH_BYTES + 40];
    (void)snprintf(part, sizeof part, "%s.part", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = fd >= 0 && json_dumpfd(o, fd, JSON_INDENT(2)) == 0 && fsync(fd) == 0 &&
                     rename(part, path) == 0
                 ? 0
                 : err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

/* Without a vote file it is left from an init that was interrupted, and written anew. */
static int write_identity(const struct site_config *c, uint64_t incarnation, bool joins,
                          struct err *e)
{
    char path[SITE_PATH_BYTES + 32], id[33], members[SITE_MEMBERS_BYTES] = "";
    path_of(c, "site.json", path);
    hex(&c->cluster_id, id);
    if (!joins)
        site_members_text(c, members);
    json_t *o = json_pack("{s:i, s:s, s:s, s:s, s:I, s:s}", "format", SITE_FORMAT, "cluster",
                          c->cluster, "cluster_id", id, "site", c->members[c->self].name,
                          "incarnation", (json_int_t)incarnation, "members", members);
    int rc = write_json(path, o, e);
    json_decref(o);
    return rc;
}

bool site_log_is_gone(const char *dir)
{
    DIR *d = opendir(dir);
    bool gone = true;
    for (struct dirent *f; gone && d != NULL && (f = readdir(d)) != NULL;) {
        /* A spare is no part of the log; it is there before the first segment and may outlive the last. */
        gone = strspn(f->d_name, "0123456789abcdef") != 16 || strcmp(f->d_name + 16, ".seg") != 0;
    }
    if (d != NULL)
        (void)closedir(d);
    return gone;
}

/* Anything in the directory? One that is not there is empty. */
static bool holds_files(const char *dir)
{
    DIR *d = opendir(dir);
    bool found = false;
    for (const struct dirent *f; !found && d != NULL && (f = readdir(d)) != NULL;)
        found = strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0;
    if (d != NULL)
        (void)closedir(d);
    return found;
}

/* A log without its promises must not vote (R1). Records without them were restored or copied from somewhere: they belong to a
 * cluster that has a history, so this is not its first start (R5). */
static int refuse_what_is_there(const struct site_config *c, enum site_init_how how, struct err *e)
{
    char path[SITE_PATH_BYTES + 32];
    struct stat st;
    path_of(c, "vote", path);
    if (stat(path, &st) == 0)
        return err_set(e, ERR_EXISTS,
                       "%s holds a site already; nothing was changed. Start it with triveni serve, "
                       "or move the "
                       "directory away first",
                       c->data_dir);
    path_of(c, "log", path);
    if (!site_log_is_gone(path))
        return err_set(
            e, ERR_EXISTS,
            "%s holds a log without the vote file that belongs to it; nothing was changed. Without "
            "its promises this "
            "log must not vote: move the directory away, and make the site with --rebuilt",
            c->data_dir);
    bool log = holds_files(path);
    path_of(c, "state", path);
    if (how == SITE_NEW_CLUSTER && (log || holds_files(path)))
        return err_set(
            e, ERR_EXISTS,
            "%s/%s is not empty, so this is no first start of a new cluster; nothing was changed. "
            "A "
            "site that was restored, or whose disk was lost, is made with --rebuilt: it votes when "
            "it has caught up",
            c->data_dir, log ? "log" : "state");
    return 0;
}

int site_init(const struct site_config *c, enum site_init_how how, struct err *e)
{
    char path[SITE_PATH_BYTES + 32];
    int rc = make_dirs(c->data_dir, e);
    if (rc == 0)
        rc = refuse_what_is_there(c, how, e);
    if (rc != 0)
        return rc;
    static const char *const folders[] = {"log", "state", "divergence"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        path_of(c, folders[i], path);
        rc = make_dir(path, e);
        if (rc != 0)
            return rc;
    }
    bool waits = how == SITE_REBUILT || how == SITE_JOINS;
    struct vote vote = {.cluster_id = c->cluster_id, .may_vote = !waits};
    /* The first incarnation is 1; a rebuilt site gets a higher one from the clock, so that what its former self acknowledged is
     * not taken for its own (R5). */
    vote.incarnation = how != SITE_NEW_CLUSTER ? (uint64_t)time(NULL) : 1;
    rc = write_identity(c, vote.incarnation, how == SITE_JOINS, e);
    path_of(c, "vote", path);
    if (rc == 0)
        rc = vote_create(path, &vote, e);
    if (rc == 0)
        rc = sync_dir(c->data_dir, e);
    return rc;
}

static int of_another_cluster(const struct site_config *c, const char *found, struct err *e)
{
    struct uuid theirs;
    char a[UUID_TEXT_BYTES], b[UUID_TEXT_BYTES];
    if (strlen(found) != 2 * sizeof theirs.b || hex_parse(found, theirs.b, sizeof theirs.b) != 0)
        return err_set(e, ERR_INTEGRITY,
                       "%s/site.json: '%.40s' is no cluster id: restore the file, or make the site "
                       "anew with triveni init --rebuilt",
                       c->data_dir, found);
    return err_set(e, ERR_DENIED,
                   "%s belongs to cluster %s, the configuration says %s: correct data_dir, or the "
                   "cluster's id, whichever is wrong",
                   c->data_dir, uuid_text(&theirs, a), uuid_text(&c->cluster_id, b));
}

/* The identity, when the directory is this site's. *out is the caller's to release. */
static int read_identity(const struct site_config *c, json_t **out, struct err *e)
{
    char path[SITE_PATH_BYTES + 32], id[33];
    path_of(c, "site.json", path);
    json_error_t where = {.text = ""};
    json_t *o = *out = json_load_file(path, 0, &where);
    if (o == NULL && access(path, F_OK) != 0)
        return err_set(
            e, ERR_NOT_FOUND,
            "%s holds no site yet. If this site was ever part of its cluster (its disk was "
            "replaced, or this is a restored state): triveni init --rebuilt. Only when "
            "the whole cluster starts for the first time: triveni init --new-cluster",
            c->data_dir);
    hex(&c->cluster_id, id);
    const char *found_id = json_string_value(json_object_get(o, "cluster_id"));
    const char *found_site = json_string_value(json_object_get(o, "site"));
    json_int_t format = json_integer_value(json_object_get(o, "format"));
    if (format > SITE_FORMAT && format <= UINT16_MAX)
        return err_newer(e, path, (unsigned)format, SITE_FORMAT);
    if (found_id == NULL || found_site == NULL || !json_is_string(json_object_get(o, "members")))
        return err_set(e, ERR_INTEGRITY, "%s: not the identity of a site%s%s", path,
                       where.text[0] != '\0' ? ": " : "", where.text);
    if (strcmp(found_id, id) != 0)
        return of_another_cluster(c, found_id, e);
    if (strcmp(found_site, c->members[c->self].name) != 0)
        return err_set(e, ERR_DENIED, "%s belongs to site '%.32s', the configuration says '%s'",
                       c->data_dir, found_site, c->members[c->self].name);
    return 0;
}

int site_read_identity(const struct site_config *c, char members[SITE_MEMBERS_BYTES], struct err *e)
{
    json_t *o;
    int rc = read_identity(c, &o, e);
    if (rc == 0)
        (void)snprintf(members, SITE_MEMBERS_BYTES, "%s",
                       json_string_value(json_object_get(o, "members")));
    json_decref(o);
    return rc;
}

int site_check_identity(const struct site_config *c, struct err *e)
{
    char members[SITE_MEMBERS_BYTES];
    json_t *o;
    int rc = read_identity(c, &o, e);
    const char *found = rc != 0 ? NULL : json_string_value(json_object_get(o, "members"));
    site_members_text(c, members);
    if (rc == 0 && strcmp(found, members) != 0)
        rc = err_set(e, ERR_DENIED,
                     "%s counts the members %s, the configuration has %s: one site that counts "
                     "others would be a second primary. Put the list back; to change it, stop all "
                     "sites and see triveni init --help",
                     c->data_dir, found, members);
    json_decref(o);
    return rc;
}

/* How many members `list` has, and how many of them the configuration has too. */
static unsigned count_members(const struct site_config *c, const char *list, unsigned *kept)
{
    unsigned n = 0;
    *kept = 0;
    for (const char *at = list; at != NULL && *at != '\0'; n++) {
        size_t name = strcspn(at, " ");
        for (uint32_t i = 0; i < c->member_count; i++)
            *kept +=
                strlen(c->members[i].name) == name && memcmp(c->members[i].name, at, name) == 0;
        at = strstr(at, ", ");
        at = at == NULL ? NULL : at + 2;
    }
    return n;
}

int site_change_members(const struct site_config *c, char before[SITE_MEMBERS_BYTES], struct err *e)
{
    json_t *o;
    int lock = -1;
    unsigned kept, old;
    int rc = read_identity(c, &o, e);
    if (rc != 0)
        goto out;
    (void)snprintf(before, SITE_MEMBERS_BYTES, "%s",
                   json_string_value(json_object_get(o, "members")));
    old = count_members(c, before, &kept);
    /* Any old majority and any new one then have a site in common, and a new one has sites enough that know the history. */
    if (2 * kept <= old || 2 * kept <= c->member_count) {
        rc = err_set(
            e, ERR_DENIED,
            "only %u of the members %s are in the new list of %u: it must be more than half "
            "of the old list and of the new one, or two majorities could exist. Change it "
            "in smaller steps",
            kept, before, c->member_count);
        goto out;
    }
    rc = site_lock(c, &lock, e);
    if (rc == 0)
        rc = write_identity(c, (uint64_t)json_integer_value(json_object_get(o, "incarnation")),
                            false, e);
    if (rc == 0)
        rc = sync_dir(c->data_dir, e);
out:
    if (lock >= 0)
        close(lock);
    json_decref(o);
    return rc;
}

int site_lock(const struct site_config *c, int *fd, struct err *e)
{
    char path[SITE_PATH_BYTES + 32], pid[32] = "";
    path_of(c, "LOCK", path);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = pread(*fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        close(*fd);
        *fd = -1;
        return err_set(
            e, ERR_BUSY,
            "another triveni runs on %s (pid %s): stop it, or give this site a data_dir of its own",
            c->data_dir, pid);
    }
    int n = snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (ftruncate(*fd, 0) != 0 || pwrite(*fd, pid, (size_t)n, 0) != n)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    return 0;
}
