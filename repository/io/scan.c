/* From the files in the folders to an inventory.
 *
 * The listing only says which metas there are; what an object is, where it belongs and what it must contain is what its
 * meta says, and the meta is sealed with the object's data key. A meta is the last thing written of an object, so an
 * object or a key without one was never finished and is only counted. Who opened the archive keyless has metas whose seals nobody
 * checked: a verification holds them against what was signed. Beside the meta of an object that was disposed of lies
 * its mark, which takes its place: the key that the meta was sealed with is gone, or will be. Whether a pack is *missing* is
 * decided by the chain (core/inventory.c) and by what was signed (missing.c), not by the listing.
 *
 * Memory: about 500 bytes a pack and 200 a restore point. */
#include "repository/io/archive.h"
#include "repository/io/index.h"

#include "store/core/check.h"

#include <stdio.h>
#include <time.h>

struct utc repo_now(void)
{
    struct timespec t;
    check(clock_gettime(CLOCK_REALTIME, &t) == 0);
    return (struct utc){(uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000};
}

void repo_identity_of(const struct repository *r, const char *name, char out[REPO_IDENTITY_BYTES])
{
    repo_identity(&r->about.cluster_id, name, out);
}

int repo_damage(struct err *e)
{
    if (e == NULL)
        return ERR_INTEGRITY;
    if (e->code == ERR_FORMAT || e->code == ERR_NOT_FOUND || e->code == ERR_LIMIT)
        e->code = ERR_INTEGRITY;
    return e->code;
}

int repo_meta_text(struct repository *r, const char *object, uint8_t **out, size_t *n,
                   struct err *e)
{
    char name[REPO_NAME_BYTES];
    repo_name_meta(object, name);
    int rc = repo_backend_read(r->backend, name, REPO_TEXT_MAX_BYTES, out, n, e);
    return rc == 0 ? 0 : repo_damage(e);
}

/* ---- listing ---- */

static int names_add(struct repo_names *l, const char *name)
{
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 64 : 2 * l->cap;
        char(*more)[REPO_NAME_BYTES] = realloc(l->at, cap * sizeof *more);
        if (more == NULL)
            return ERR_NO_MEMORY;
        l->at = more;
        l->cap = cap;
    }
    (void)snprintf(l->at[l->n++], REPO_NAME_BYTES, "%s", name);
    return 0;
}

static int names_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void names_sort(struct repo_names *l)
{
    if (l->n != 0)
        qsort(l->at, l->n, sizeof *l->at, names_compare);
}

bool repo_names_have(const struct repo_names *l, const char *name)
{
    return l->n != 0 && bsearch(name, l->at, l->n, sizeof *l->at, names_compare) != NULL;
}

void repo_names_release(struct repo_names *l)
{
    free(l->at);
    *l = (struct repo_names){0};
}

struct listing {
    struct repo_names finished; /* objects that have a meta */
    struct repo_names marked;   /* and those of them that were disposed of */
    struct repo_names others;   /* objects that are there, and objects that a key is there for */
};

static int list_one(void *arg, const char *name)
{
    struct listing *l = arg;
    char object[REPO_NAME_BYTES];
    struct repo_name parsed;
    unsigned generation;
    if (repo_name_of_meta(name, object) == 0)
        return names_add(&l->finished, object);
    if (repo_name_of_mark(name, object) == 0)
        return names_add(&l->marked, object);
    if (repo_name_of_key(name, object, &generation) == 0)
        return strcmp(object, REPO_MARKS) == 0 ? 0 : names_add(&l->others, object);
    return repo_name_parse(name, &parsed) == 0 ? names_add(&l->others, name) : 0;
}

static int list_folders(const struct repository *r, struct listing *l, bool keys, struct err *e)
{
    static const char *const folders[] = {"packs", "snapshots", "indexes"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof folders / sizeof folders[0]; i++)
        rc = repo_backend_list(r->backend, folders[i], list_one, l, e);
    for (size_t i = 0; rc == 0 && keys && i < r->keys.count; i++) {
        char folder[REPO_NAME_BYTES];
        repo_name_keys_folder(r->keys.at[i].number, folder);
        if (!r->keys.at[i].retired)
            rc = repo_backend_list(r->backend, folder, list_one, l, e);
    }
    if (rc == ERR_NO_MEMORY)
        err_set(e, rc, "no memory for the list of objects");
    names_sort(&l->finished);
    names_sort(&l->marked);
    names_sort(&l->others);
    return rc;
}

static void listing_release(struct listing *l)
{
    repo_names_release(&l->finished);
    repo_names_release(&l->marked);
    repo_names_release(&l->others);
}

static bool is_index_over_disposed(const struct repo_inventory *inv, const char *object)
{
    struct repo_name n;
    return repo_name_parse(object, &n) == 0 && n.kind == REPO_INDEX &&
           repo_covers_disposed(inv, n.first, n.last);
}

int repo_list_keyed(struct repository *r, struct repo_names *out, struct err *e)
{
    struct listing l = {0};
    int rc = list_folders(r, &l, false, e);
    *out = (struct repo_names){0};
    for (size_t i = 0; rc == 0 && i < l.finished.n; i++)
        if (!repo_names_have(&l.marked, l.finished.at[i]) &&
            repo_pack_instead(&r->inv, l.finished.at[i]) == NULL &&
            !is_index_over_disposed(&r->inv, l.finished.at[i]))
            rc = names_add(out, l.finished.at[i]);
    if (rc == 0 && l.marked.n != 0)
        rc = names_add(out, REPO_MARKS);
    names_sort(out);
    listing_release(&l);
    return rc != ERR_NO_MEMORY ? rc : err_set(e, rc, "no memory for the list of objects");
}

/* Objects, by name, that have no meta. */
static uint64_t count_unfinished(const struct listing *l)
{
    uint64_t n = 0;
    for (size_t i = 0; i < l->others.n; i++)
        if ((i == 0 || strcmp(l->others.at[i - 1], l->others.at[i]) != 0) &&
            !repo_names_have(&l->finished, l->others.at[i]))
            n++;
    return n;
}

/* ---- metas ---- */

static int check_file(struct repository *r, const struct repo_object *o, struct err *e)
{
    struct repo_blob f = REPO_BLOB_NONE;
    int rc = repo_blob_open(&f, r->backend, o->name, e);
    if (rc != 0)
        return rc;
    uint64_t bytes = f.bytes;
    repo_blob_close(&f);
    return bytes == o->bytes ? 0
                             : err_set(e, ERR_INTEGRITY, "%llu bytes where its meta names %llu",
                                       (unsigned long long)bytes, (unsigned long long)o->bytes);
}

/* Room for one object of a kind, behind those that are in the inventory. */
static struct repo_object *next_object(struct repo_inventory *inv, enum repo_kind kind)
{
    return kind == REPO_PACK       ? &inv->packs[inv->pack_count].o
           : kind == REPO_SNAPSHOT ? &inv->snapshots[inv->snapshot_count].o
                                   : &inv->indexes[inv->index_count].o;
}

static int read_meta(struct repository *r, const char *object, enum repo_kind kind,
                     const struct repo_key *key, struct bytes text, const char *identity,
                     struct repo_inventory *inv, struct err *e)
{
    const struct uuid *cluster = &r->about.cluster_id;
    if (kind == REPO_PACK)
        return repo_pack_read(text, cluster, object, key, identity, &inv->packs[inv->pack_count],
                              NULL, e);
    if (kind == REPO_SNAPSHOT)
        return repo_snapshot_read(text, cluster, object, key, identity,
                                  &inv->snapshots[inv->snapshot_count], e);
    return repo_index_read(text, cluster, object, key, identity, &inv->indexes[inv->index_count],
                           e);
}

/* Read key and meta, or mark, of the object to its place behind the others. */
static int load(struct repository *r, const char *object, enum repo_kind kind, bool marked,
                struct repo_inventory *inv, bool *sealed, struct err *e)
{
    char name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    uint8_t *text = NULL;
    size_t n = 0;
    struct repo_key key = {{0}};
    const char *keyed = marked ? REPO_MARKS : object;
    int rc = r->keyless ? repo_key_seen(r, keyed, e) : repo_key_of(r, keyed, &key, e);
    if (marked)
        repo_name_mark(object, name);
    else
        repo_name_meta(object, name);
    if (rc == 0 &&
        (rc = repo_backend_read(r->backend, name, REPO_TEXT_MAX_BYTES, &text, &n, e)) != 0)
        rc = repo_damage(e);
    if (rc == 0) {
        repo_identity_of(r, name, identity);
        rc = read_meta(r, object, kind, r->keyless ? NULL : &key, bytes_of(text, n), identity, inv,
                       e);
        if (rc == 0 && next_object(inv, kind)->disposed != marked)
            rc = err_set(e, ERR_INTEGRITY, "it does not say by whose order, or is no mark");
        if (rc != 0)
            err_wrap(e, "%s", name);
    }
    free(text);
    repo_wipe(&key, sizeof key);
    *sealed = rc == 0;
    return rc == 0 ? check_file(r, next_object(inv, kind), e) : rc;
}

/* What is left of an object whose facts cannot be had: its name. When its meta could be read, also where it begins and ends. */
static void mark_damaged(struct repo_object *o, const char *object, bool sealed, const char *why)
{
    struct repo_name name;
    check(repo_name_parse(object, &name) == 0);
    o->damaged = true;
    o->unplaced = !sealed;
    (void)snprintf(o->name, sizeof o->name, "%s", object);
    (void)snprintf(o->reason, sizeof o->reason, "%.*s", (int)sizeof o->reason - 1, why);
    if (sealed)
        return;
    o->end = (struct entry_position){.lsn = name.last, .term = name.term};
}

/* How many keys this KEK opened and how many are of another one. */
struct kek_tally {
    uint64_t ours, others;
    struct err why;
};

/* ---- what is known already ---- */

static int object_compare(const void *name, const void *object)
{
    return strcmp(name, ((const struct repo_object *)object)->name);
}

/* Of `count` things of `size` bytes, each of which begins with its object and which are in the order of their names. */
static void *known_object(void *all, size_t count, size_t size, const char *name)
{
    return count == 0 ? NULL : bsearch(name, all, count, size, object_compare);
}

/* Move the object from `known` behind those in `inv`. */
static bool take_known(struct repo_inventory *known, const char *name, enum repo_kind kind,
                       bool marked, struct repo_inventory *inv)
{
    if (kind == REPO_PACK) {
        struct repo_pack *p =
            known_object(known->packs, known->pack_count, sizeof *known->packs, name);
        if (p == NULL || p->o.damaged || p->o.disposed != marked)
            return false;
        inv->packs[inv->pack_count++] = *p;
        p->points = NULL;
        p->starts = NULL;
        p->point_count = 0;
    } else if (kind == REPO_SNAPSHOT) {
        struct repo_snapshot *s =
            known_object(known->snapshots, known->snapshot_count, sizeof *known->snapshots, name);
        if (s == NULL || s->o.damaged || s->o.disposed != marked)
            return false;
        inv->snapshots[inv->snapshot_count++] = *s;
    } else {
        struct repo_index *x =
            known_object(known->indexes, known->index_count, sizeof *known->indexes, name);
        if (x == NULL || x->o.damaged)
            return false;
        inv->indexes[inv->index_count++] = *x;
        x->reader = NULL;
    }
    return true;
}

static int load_one(struct repository *r, const char *object, bool marked,
                    struct repo_inventory *known, struct repo_inventory *inv,
                    struct kek_tally *tally, struct err *e)
{
    struct repo_name name;
    struct err why = ERR_NONE;
    check(repo_name_parse(object, &name) == 0);
    if (known != NULL && take_known(known, object, name.kind, marked, inv)) {
        tally->ours++;
        return 0;
    }
    bool sealed = false;
    int rc = load(r, object, name.kind, marked, inv, &sealed, &why);
    if (rc == ERR_NO_MEMORY) {
        *e = why;
        return rc;
    }
    if (rc == ERR_DENIED) {
        tally->others++;
        tally->why = why;
    } else {
        tally->ours++;
    }
    if (rc != 0) {
        if (name.kind == REPO_PACK)
            inv->packs[inv->pack_count].first = name.first;
        if (name.kind == REPO_INDEX)
            inv->indexes[inv->index_count].first = name.first;
        mark_damaged(next_object(inv, name.kind), object, sealed, why.text);
        next_object(inv, name.kind)->closed = rc == ERR_DENIED;
    }
    inv->pack_count += name.kind == REPO_PACK;
    inv->snapshot_count += name.kind == REPO_SNAPSHOT;
    inv->index_count += name.kind == REPO_INDEX;
    return 0;
}

static int drop_doubled(struct repo_inventory *inv, uint64_t *unfinished, struct err *e)
{
    uint8_t *marks = malloc(inv->pack_count + 1);
    size_t kept = 0;
    if (marks == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of objects");
    *unfinished += repo_doubled(inv, marks);
    for (size_t i = 0; i < inv->pack_count; i++)
        if (marks[i] == REPO_MARK_DOUBLED)
            repo_pack_release(&inv->packs[i]);
        else
            inv->packs[kept++] = inv->packs[i];
    inv->pack_count = kept;
    free(marks);
    return 0;
}

int repo_scan(struct repository *r, struct repo_inventory *known, struct repo_inventory *out,
              uint64_t *unfinished, struct err *e)
{
    struct listing l = {0};
    struct repo_inventory inv = {0};
    struct kek_tally tally = {0};
    const uint64_t claimed = repo_tree_claims(r); /* before: what it has was sealed before it */
    int rc = list_folders(r, &l, true, e);
    if (rc != 0)
        goto out;
    /* Names sort by lsn, so the inventory comes out sorted. */
    inv.packs = calloc(l.finished.n + 1, sizeof *inv.packs);
    inv.snapshots = calloc(l.finished.n + 1, sizeof *inv.snapshots);
    inv.indexes = calloc(l.finished.n + 1, sizeof *inv.indexes);
    if (inv.packs == NULL || inv.snapshots == NULL || inv.indexes == NULL) {
        rc = ERR_NO_MEMORY;
        err_set(e, rc, "no memory for the list of objects");
    }
    for (size_t i = 0; rc == 0 && i < l.finished.n; i++)
        rc = load_one(r, l.finished.at[i], repo_names_have(&l.marked, l.finished.at[i]), known,
                      &inv, &tally, e);
    if (rc == 0 && tally.ours == 0 && tally.others != 0) {
        *e = tally.why;
        rc = err_wrap(e, "the key-encryption key is not the one of this archive, from %.80s",
                      r->kek_source);
    }
    *unfinished = count_unfinished(&l);
    if (rc == 0)
        rc = drop_doubled(&inv, unfinished, e);
    if (rc == 0 && !r->keyless)
        rc = repo_inventory_complete(r, claimed, &inv, e);
    repo_forget_indexes(&inv);
out:
    listing_release(&l);
    if (rc == 0)
        *out = inv;
    else
        repo_inventory_release(&inv);
    return rc;
}

void repo_forget_indexes(struct repo_inventory *inv)
{
    size_t kept = 0;
    for (size_t i = 0; i < inv->index_count; i++)
        if (repo_covers_disposed(inv, inv->indexes[i].first, inv->indexes[i].o.end.lsn))
            repo_index_close(&inv->indexes[i]);
        else
            inv->indexes[kept++] = inv->indexes[i];
    inv->index_count = kept;
    repo_indexes_choose(inv);
}

void repo_inventory_release(struct repo_inventory *inv)
{
    for (size_t i = 0; inv->packs != NULL && i < inv->pack_count; i++)
        repo_pack_release(&inv->packs[i]);
    for (size_t i = 0; inv->indexes != NULL && i < inv->index_count; i++)
        repo_index_close(&inv->indexes[i]);
    free(inv->packs);
    free(inv->snapshots);
    free(inv->indexes);
    *inv = (struct repo_inventory){0};
}
