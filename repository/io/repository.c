/* Opening, closing and listing the archive.
 *
 * A broken archive is opened, too. A reader uses what is whole, because a damaged archive is where a restore is needed most;
 * what it cannot use is told by repository_status, by repository_verify and by the plan that would need it. A writer makes
 * damaged packs again, and seals behind them only where it is proven at which entry it goes on (missing.c). */
#include "repository/history.h"
#include "repository/io/archive.h"
#include "repository/io/operations.h"
#include "repository/io/tree.h"
#include "repository/io/recent.h"

#include "store/core/check.h"
#include "store/core/hex.h"

#include <stdio.h>

static const char about_name[] = "repository.json";

int repo_about_load(struct repository *r, struct err *e)
{
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_backend_read(r->backend, about_name, REPO_SMALL_TEXT_MAX_BYTES, &text, &n, e);
    if (rc != 0)
        return rc;
    rc = repo_about_read(bytes_of(text, n), &r->about, e);
    free(text);
    if (rc == 0)
        return 0;
    err_wrap(e, "%s", about_name);
    return repo_damage(e);
}

static int any_file(void *arg, const char *name)
{
    char object[REPO_NAME_BYTES];
    bool *found = arg;
    *found |= repo_name_of_meta(name, object) == 0;
    return 0;
}

/* A new archive; never in a directory that holds objects. */
static int create_about(struct repository *r, const struct repository_options *o, struct err *e)
{
    bool found = false;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_backend_list(r->backend, "packs", any_file, &found, e);
    if (rc == 0)
        rc = repo_backend_list(r->backend, "snapshots", any_file, &found, e);
    if (rc != 0)
        return rc;
    if (found)
        return err_set(e, ERR_INTEGRITY,
                       "%s is missing from an archive that holds objects; put it back", about_name);
    if (o->cluster == NULL || o->cluster[0] == '\0' ||
        strlen(o->cluster) >= sizeof r->about.cluster || uuid_is_zero(&o->cluster_id))
        return err_set(e, ERR_USAGE,
                       "a new archive needs the id and the name (up to %zu bytes) of its cluster",
                       sizeof r->about.cluster - 1);
    r->about = (struct repo_about){.cluster_id = o->cluster_id, .created = repo_now()};
    (void)snprintf(r->about.cluster, sizeof r->about.cluster, "%s", o->cluster);
    rc = repo_about_write(&r->about, &text, &n, e);
    if (rc == 0)
        rc = repo_text_publish(r, about_name, bytes_of(text, n), e);
    free(text);
    return rc;
}

static int check_cluster(const struct repository *r, const struct repository_options *o,
                         struct err *e)
{
    char ours[UUID_TEXT_BYTES], asked[UUID_TEXT_BYTES];
    if (uuid_is_zero(&o->cluster_id) || uuid_equal(&o->cluster_id, &r->about.cluster_id))
        return 0;
    (void)uuid_text(&r->about.cluster_id, ours);
    (void)uuid_text(&o->cluster_id, asked);
    return err_set(e, ERR_CONFIG, "the archive belongs to cluster '%s' (%s), not to %s",
                   r->about.cluster, ours, asked);
}

int repository_ready(const struct repository *r, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->inv.pack_count; i++)
        rc = repo_chain_link(&r->inv, i, e);
    return rc == 0 ? 0 : err_wrap(e, "nothing is sealed");
}

static int remove_temp(void *arg, const char *name)
{
    const struct repository *r = arg;
    if (strstr(name, "/.tmp-") != NULL)
        (void)repo_backend_remove(r->backend, name); /* what cannot be removed is in nobody's way */
    return 0;
}

void repo_keys_clean(struct repository *r)
{
    int lock;
    if (repo_keys_lock(r, true, false, &lock, NULL) != 0)
        return;
    (void)repo_backend_list(r->backend, "keys", remove_temp, r, NULL);
    (void)repo_backend_list(r->backend, OPERATIONS_PENDING, remove_temp, r, NULL);
    for (size_t i = 0; i < r->keys.count; i++) {
        char folder[REPO_NAME_BYTES];
        repo_name_keys_folder(r->keys.at[i].number, folder);
        (void)repo_backend_list(r->backend, folder, remove_temp, r, NULL);
    }
    repo_keys_unlock(lock);
}

/* A writer knows which generation it writes to, and that one has a key of its own. */
static int settle_keys(struct repository *r, struct err *e)
{
    const struct repo_generation *g = repo_keyring_written(&r->keys);
    r->writes = g->number;
    repo_keys_clean(r);
    if (g->headed || g->damage[0] != '\0')
        return 0;
    int rc = repo_generation_begin(r, g->number, &r->kek, e);
    if (rc != 0)
        return rc;
    repo_keyring_release(&r->keys);
    return repo_keyring_read(r, &r->kek, &r->keys, e);
}

int repository_open(struct repository **out, const struct repository_options *options,
                    struct err *e)
{
    bool write = !options->read_only;
    *out = NULL;
    struct repository *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for an archive");
    r->read_only = options->read_only;
    r->keyless = options->kek_file == NULL;
    r->unread = options->to_verify;
    check((!r->keyless && !r->unread) || r->read_only);
    r->opened = repo_now();
    r->where = strdup(options->dir);
    r->kek_source = strdup(r->keyless ? "" : options->kek_file);
    int rc = r->where == NULL || r->kek_source == NULL
                 ? err_set(e, ERR_NO_MEMORY, "no memory for an archive")
                 : 0;
    if (rc == 0)
        rc = repo_backend_open(options->dir, options->create && write, write, &r->backend, e);
    if (rc == 0 && !r->keyless)
        rc = repo_kek_open(options->kek_file, &r->kek, e);
    if (rc == 0 && (rc = repo_about_load(r, e)) == ERR_NOT_FOUND && options->create && write)
        rc = create_about(r, options, e);
    if (rc == 0)
        rc = check_cluster(r, options, e);
    if (rc == 0)
        rc = r->keyless ? repo_keyring_read(r, NULL, &r->keys, e) : repo_keyring_open(r, e);
    if (rc == 0 && !r->unread)
        rc = repo_scan(r, NULL, &r->inv, &r->unfinished, e);
    if (rc == 0 && write)
        rc = settle_keys(r, e);
    if (rc == 0) {
        *out = r;
        return 0;
    }
    err_wrap(e, "archive %s", options->dir);
    repository_close(r);
    return rc;
}

int repository_refresh(struct repository *r, struct err *e)
{
    struct repo_inventory now = {0};
    check(r->read_only && !r->unread);
    int rc = repo_scan(r, &r->inv, &now, &r->unfinished, e);
    if (rc != 0)
        return rc;
    repo_inventory_release(&r->inv);
    r->inv = now;
    return 0;
}

void repository_close(struct repository *r)
{
    if (r == NULL)
        return;
    repo_tree_free(r->tree);
    repo_operations_free(r->operations);
    repo_recent_free(r->recent);
    repo_inventory_release(&r->inv);
    repo_backend_close(r->backend);
    repo_keyring_release(&r->keys);
    repo_kek_close(&r->kek);
    free(r->kek_source);
    free(r->where);
    free(r);
}

void repository_vouch(struct repository *r, repository_vouched_fn vouched, void *arg)
{
    r->vouched = vouched;
    r->vouched_arg = arg;
}

void repository_status(const struct repository *r, struct repository_status *out)
{
    const struct repo_inventory *inv = &r->inv;
    *out = (struct repository_status){.cluster_id = r->about.cluster_id,
                                      .archived =
                                          r->read_only ? repo_archived(inv) : repo_chain_end(inv),
                                      .unfinished = r->unfinished};
    out->generation = r->writes;
    out->awaited_generation = r->awaited;
    if (r->tree != NULL)
        out->proven = repo_tree_signed(r->tree);
    if (inv->pack_count != 0) {
        out->first = inv->packs[0].first;
        out->first_time = inv->packs[0].first_time;
    }
    for (size_t i = 0; i < inv->snapshot_count; i++) {
        out->snapshots++;
        out->damaged += inv->snapshots[i].o.damaged;
        out->disposed += inv->snapshots[i].o.disposed;
        if (inv->snapshots[i].o.damaged || inv->snapshots[i].o.disposed)
            continue;
        out->newest_snapshot = inv->snapshots[i].o.end.lsn;
        out->newest_snapshot_time = inv->snapshots[i].o.end.time;
        out->snapshot_plain_bytes = inv->snapshots[i].o.plain_bytes;
    }
    for (size_t i = 0; i < inv->pack_count; i++) {
        out->packs++;
        if (inv->packs[i].first.v > out->newest_snapshot.v)
            out->behind_plain_bytes += inv->packs[i].o.plain_bytes;
        out->disposed += inv->packs[i].o.disposed;
        out->points += inv->packs[i].point_count;
        out->pack_bytes += inv->packs[i].o.bytes;
        out->plain_bytes += inv->packs[i].o.plain_bytes;
        out->damaged += repo_chain_check(inv, i, NULL) != 0;
    }
    size_t missing = repo_index_missing(inv);
    out->indexed = out->archived.lsn;
    if (missing < inv->pack_count)
        out->indexed.v = inv->packs[missing].first.v - 1;
    for (size_t i = 0; i < inv->index_count; i++) {
        out->indexes += inv->indexes[i].used;
        out->indexes_damaged += inv->indexes[i].o.damaged;
    }
}

/* ---- lists ---- */

int repository_packs(struct repository *r, int (*each)(void *arg, const struct repository_pack *),
                     void *arg, struct err *e)
{
    int rc = 0;
    (void)e;
    for (size_t i = 0; rc == 0 && i < r->inv.pack_count; i++) {
        const struct repo_pack *p = &r->inv.packs[i];
        struct repository_pack x = {.first = p->first,
                                    .last = p->o.end.lsn,
                                    .term = p->o.end.term,
                                    .first_time = p->first_time,
                                    .last_time = p->o.end.time,
                                    .bytes = p->o.bytes,
                                    .plain_bytes = p->o.plain_bytes,
                                    .damaged = p->o.damaged,
                                    .disposed = p->o.disposed,
                                    .by = p->o.by};
        (void)snprintf(x.name, sizeof x.name, "%s", p->o.name);
        rc = each(arg, &x);
    }
    return rc;
}

int repository_points(struct repository *r, int (*each)(void *arg, const struct restore_point *),
                      void *arg, struct err *e)
{
    int rc = 0;
    (void)e;
    for (size_t i = 0; i < r->inv.pack_count; i++)
        for (size_t k = 0; rc == 0 && k < r->inv.packs[i].point_count; k++) {
            const struct repo_point *p = &r->inv.packs[i].points[k];
            struct restore_point x = {p->name, p->lsn, p->time, p->digest};
            rc = each(arg, &x);
        }
    return rc;
}

int repository_snapshots(struct repository *r,
                         int (*each)(void *arg, const struct repository_snapshot_info *), void *arg,
                         struct err *e)
{
    int rc = 0;
    (void)e;
    for (size_t i = 0; rc == 0 && i < r->inv.snapshot_count; i++) {
        const struct repo_snapshot *s = &r->inv.snapshots[i];
        struct repository_snapshot_info x = {.lsn = s->o.end.lsn,
                                             .time = s->o.end.time,
                                             .records = s->records,
                                             .bytes = s->o.bytes,
                                             .digest = s->o.digest,
                                             .damaged = s->o.damaged,
                                             .disposed = s->o.disposed,
                                             .by = s->o.by};
        (void)snprintf(x.name, sizeof x.name, "%s", s->o.name);
        rc = each(arg, &x);
    }
    return rc;
}
