/* Copies of an archive in other places, and healing one from another: the same work, which is to look what a place lacks and
 * to put it there.
 *
 * What is copied was verified on the way: a key and a meta by their seals, an object by the SHA-256 that its sealed meta names, a
 * verifier key by its form; the tree's checkpoint by its signature, after everything that it speaks of. What does not hold is not
 * copied but told. Tiles are compared with nothing but their place: `archive verify` of the copy follows them from its packs.
 *
 * ORDER, so that the copy is whole after an interruption: keys, objects, metas, each durable before the next, packs by lsn;
 * then tiles and checkpoint of the operations log, then those of the tree, as both were read before all of it.
 *
 * An object that was disposed of (custody.h) goes as it is, with its mark; then its key is destroyed in the copy, too. One that
 * was disposed of in the copy stays so: the other way round, by healing from an old copy, nothing comes back.
 *
 * What is there already is believed by name and size; `deep` reads and compares it, and puts what is damaged once more: in a
 * directory over the damaged file, in a bucket as a newer version with the same bytes (core/s3_text.h). */
#include "repository/scrub.h"

#include "repository/io/copy.h"
#include "repository/io/parts.h"
#include "repository/io/tiles.h"

#include "store/core/check.h"
#include "store/core/hash.h"

#include <stdio.h>

int repository_copy_open(struct repository_copy **out, const char *where, struct err *e)
{
    *out = NULL;
    struct repository_copy *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a copy");
    int rc = repo_backend_open(where, true, true, &c->to, e);
    if (rc != 0) {
        err_wrap(e, "copy %s", where);
        free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void repository_copy_close(struct repository_copy *c)
{
    if (c == NULL)
        return;
    repo_backend_close(c->to);
    free(c);
}

static int any_file(void *arg, const char *name)
{
    bool *found = arg;
    (void)name;
    *found = true;
    return 0;
}

int repository_copy_is_there(const char *where, bool *there, struct err *e)
{
    struct repo_backend *b = NULL;
    int rc = repo_backend_open(where, false, false, &b, e);
    *there = rc == 0 && repo_is_at(b, "repository.json");
    if (rc == 0 && !*there)
        rc = repo_backend_list(b, "packs", any_file, there, e);
    repo_backend_close(b);
    if (rc == ERR_NOT_FOUND && e != NULL)
        *e = (struct err)ERR_NONE;
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

void repo_copy_tell(const struct repo_copying *x, const char *object, const char *what)
{
    if (x->told != NULL)
        x->told(x->arg, object, what);
}

/* ---- one file ---- */

/* What is to be there: its bytes (a text), or where to read them. */
struct item {
    const char *name;
    struct bytes text;
    bool is_object;
    uint64_t bytes;
    struct sha256 sha256;
};

enum place { IS_THERE, IS_MISSING, IS_DAMAGED };

static int look(const struct repo_copying *x, const struct item *it, enum place *out)
{
    struct repo_blob f = REPO_BLOB_NONE;
    struct sha256 found;
    *out = IS_THERE;
    int rc = repo_blob_open(&f, x->c->to, it->name, x->e);
    if (rc == ERR_NOT_FOUND) {
        *out = IS_MISSING;
        return 0;
    }
    if (rc != 0)
        return rc;
    if (f.bytes != it->bytes)
        *out = IS_DAMAGED;
    else if (x->deep && ((rc = repo_blob_hash(&f, &found, x->e)) == ERR_FORMAT || rc == ERR_IO))
        *out = IS_DAMAGED, rc = 0;
    else if (x->deep && rc == 0 && !sha256_equal(&found, &it->sha256))
        *out = IS_DAMAGED;
    repo_blob_close(&f);
    return rc;
}

/* The source: what cannot be read there is damaged, and the others are copied all the same. A bucket that does not answer
 * is not. */
static int from_source(const struct repo_copying *x, int rc)
{
    if (rc == ERR_IO && x->e != NULL)
        x->e->code = ERR_INTEGRITY;
    return rc == ERR_IO ? ERR_INTEGRITY : rc;
}

static int stream(const struct repo_copying *x, const struct item *it, struct repo_temp *t)
{
    enum { STEP = 256 << 10 };
    struct repo_blob f = REPO_BLOB_NONE;
    uint8_t *buf = malloc(STEP);
    int rc = buf == NULL ? err_set(x->e, ERR_NO_MEMORY, "no memory to copy an object")
                         : from_source(x, repo_blob_open(&f, x->r->backend, it->name, x->e));
    for (uint64_t at = 0; rc == 0 && at < f.bytes; at += STEP) {
        size_t n = f.bytes - at < STEP ? (size_t)(f.bytes - at) : STEP;
        rc = from_source(x, repo_blob_read(&f, at, buf, n, x->e));
        if (rc == 0)
            rc = repo_temp_write(t, buf, n, x->e);
    }
    repo_blob_close(&f);
    free(buf);
    return rc;
}

/* Written, read back and compared before it gets its name. */
static int put(const struct repo_copying *x, const struct item *it, bool replace)
{
    struct repo_temp t = REPO_TEMP_NONE;
    struct sha256 found;
    int rc = repo_temp_create(&t, x->c->to, it->name, x->e);
    if (rc == 0)
        rc = it->is_object ? stream(x, it, &t) : repo_temp_write(&t, it->text.p, it->text.n, x->e);
    if (rc == 0)
        rc = repo_temp_sync(&t, x->e);
    if (rc == 0) {
        struct repo_blob f = repo_temp_blob(&t);
        rc = repo_blob_hash(&f, &found, x->e);
    }
    if (rc == 0 && !sha256_equal(&found, &it->sha256))
        rc = err_set(x->e, ERR_INTEGRITY, "its SHA-256 is not the one in its meta: not copied");
    if (rc == 0)
        rc = replace ? repo_temp_replace(&t, x->e) : repo_temp_publish(&t, x->e);
    repo_temp_drop(&t);
    if (rc != 0)
        err_wrap(x->e, "%s", it->name);
    return rc;
}

static int copy_item(const struct repo_copying *x, const struct item *it)
{
    enum place where;
    int rc = look(x, it, &where);
    x->report->bytes += it->bytes;
    if (rc != 0 || where == IS_THERE)
        return rc;
    rc = put(x, it, where == IS_DAMAGED);
    if (rc == 0) {
        *x->put += it->bytes;
        x->report->copied += where == IS_MISSING;
        x->report->healed += where == IS_DAMAGED;
        repo_copy_tell(x, it->name,
                       where == IS_DAMAGED ? "healed"
                       : x->was_there      ? "put back"
                                           : "copied");
    }
    return rc;
}

int repo_copy_text(const struct repo_copying *x, const char *name, struct bytes text)
{
    const struct item it = {
        .name = name, .text = text, .bytes = text.n, .sha256 = hash_sha256(text)};
    return copy_item(x, &it);
}

/* ---- an object with its key and meta ---- */

/* A text of the archive whose seal holds. */
static int sealed_text(const struct repo_copying *x, const char *name, const struct repo_key *key,
                       uint8_t **text, size_t *n)
{
    char identity[REPO_IDENTITY_BYTES];
    repo_identity_of(x->r, name, identity);
    int rc =
        from_source(x, repo_backend_read(x->r->backend, name, REPO_TEXT_MAX_BYTES, text, n, x->e));
    if (rc == 0 && (rc = repo_seal_check(bytes_of(*text, *n), key, identity, x->e)) != 0)
        err_wrap(x->e, "%s", name);
    return rc;
}

/* Its key in a generation, when it has one there: the seal holds under the key itself, whichever KEK it is wrapped under. */
static int copy_key(const struct repo_copying *x, const char *object, unsigned generation,
                    const struct repo_key *key)
{
    char name[REPO_NAME_BYTES];
    uint8_t *text = NULL;
    size_t n = 0;
    repo_name_key(object, generation, name);
    if (!repo_is_there(x->r, name))
        return 0;
    int rc = sealed_text(x, name, key, &text, &n);
    if (rc == 0)
        rc = repo_copy_text(x, name, bytes_of(text, n));
    free(text);
    return rc;
}

static int copy_keys(const struct repo_copying *x, const struct repo_object *o,
                     const struct repo_key *key)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < x->r->keys.count; i++)
        if (!x->r->keys.at[i].retired)
            rc = copy_key(x, o->name, x->r->keys.at[i].number, key);
    return rc;
}

static int copy_file(const struct repo_copying *x, const struct repo_object *o)
{
    const struct item it = {
        .name = o->name, .is_object = true, .bytes = o->bytes, .sha256 = o->sha256};
    return copy_item(x, &it);
}

/* The mark, whose seal holds, and the key of marks; the object itself, by the SHA-256 that the mark names; its meta, which is
 * only needed so that it is listed. Keys are destroyed at the end of the run (repo_keys_destroy). */
static int copy_disposed(const struct repo_copying *x, const struct repo_object *o)
{
    char mark[REPO_NAME_BYTES], meta[REPO_NAME_BYTES];
    const struct repo_object marks = {.name = REPO_MARKS};
    uint8_t *text = NULL, *meta_text = NULL;
    size_t n = 0, meta_bytes = 0;
    struct repo_key key;
    repo_name_mark(o->name, mark);
    repo_name_meta(o->name, meta);
    int rc = repo_key_of(x->r, REPO_MARKS, &key, x->e);
    if (rc == 0)
        rc = sealed_text(x, mark, &key, &text, &n);
    if (rc == 0)
        rc = copy_keys(x, &marks, &key);
    if (rc == 0)
        rc = repo_copy_text(x, mark, bytes_of(text, n));
    if (rc == 0)
        rc = copy_file(x, o);
    if (rc == 0 && !repo_is_at(x->c->to, meta) &&
        (rc = repo_meta_text(x->r, o->name, &meta_text, &meta_bytes, x->e)) == 0)
        rc = repo_copy_text(x, meta, bytes_of(meta_text, meta_bytes));
    repo_wipe(&key, sizeof key);
    free(meta_text);
    free(text);
    x->report->objects++;
    return rc;
}

static bool is_disposed_there(const struct repo_copying *x, const char *object)
{
    char mark[REPO_NAME_BYTES];
    if (strcmp(object, REPO_MARKS) == 0)
        return false;
    repo_name_mark(object, mark);
    return repo_is_at(x->c->to, mark);
}

static int copy_object(const struct repo_copying *x, const struct repo_object *o)
{
    char meta_name[REPO_NAME_BYTES];
    uint8_t *meta_text = NULL;
    size_t meta_bytes = 0;
    struct repo_key key;
    repo_name_meta(o->name, meta_name);
    int rc = repo_key_of(x->r, o->name, &key, x->e);
    if (rc == 0)
        rc = sealed_text(x, meta_name, &key, &meta_text, &meta_bytes);
    if (rc == 0)
        rc = copy_keys(x, o, &key);
    if (rc == 0)
        rc = copy_file(x, o);
    if (rc == 0)
        rc = repo_copy_text(x, meta_name, bytes_of(meta_text, meta_bytes));
    repo_wipe(&key, sizeof key);
    free(meta_text);
    x->report->objects++;
    return rc;
}

static int copy_one(const struct repo_copying *x, const struct repo_object *o)
{
    if (o->disposed)
        return copy_disposed(x, o);
    return is_disposed_there(x, o->name) ? 0 : copy_object(x, o);
}

/* An object that is damaged here is told and left out. */
static int copy_or_tell(const struct repo_copying *x, const struct repo_object *o,
                        struct lsn *reached)
{
    struct err why = ERR_NONE;
    struct repo_copying inner = *x;
    inner.e = &why;
    int rc = ERR_INTEGRITY;
    if (o->damaged)
        err_set(&why, rc, "%s", o->reason);
    else
        rc = copy_one(&inner, o);
    if (rc == 0 && x->report->damaged == 0)
        *reached = o->end.lsn;
    if (rc == ERR_INTEGRITY) {
        x->report->damaged++;
        repo_copy_tell(x, o->name, why.text);
        return 0;
    }
    if (rc != 0 && x->e != NULL)
        *x->e = why;
    return rc;
}

/* Not one that holds keys of records which were disposed of, here or there. */
static bool index_wanted(const struct repo_copying *x, const struct repo_index *index)
{
    const struct repo_inventory *inv = &x->r->inv;
    char meta[REPO_NAME_BYTES];
    if (repo_covers_disposed(inv, index->first, index->o.end.lsn))
        return false;
    repo_name_meta(index->o.name, meta);
    if (repo_is_at(x->c->to, meta))
        return true;
    for (size_t i = 0; i < inv->pack_count; i++)
        if (inv->packs[i].first.v <= index->o.end.lsn.v &&
            inv->packs[i].o.end.lsn.v >= index->first.v &&
            is_disposed_there(x, inv->packs[i].o.name))
            return false;
    return true;
}

static bool enough(const struct repo_copying *x)
{
    x->report->more |= x->most != 0 && *x->put >= x->most;
    return x->report->more;
}

static int copy_objects(const struct repo_copying *x)
{
    const struct repo_inventory *inv = &x->r->inv;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < inv->pack_count && !enough(x); i++)
        if (x->deep || inv->packs[i].o.end.lsn.v > x->c->packs.v)
            rc = copy_or_tell(x, &inv->packs[i].o, &x->c->packs);
    for (size_t i = 0; rc == 0 && i < inv->snapshot_count && !enough(x); i++)
        if (x->deep || inv->snapshots[i].o.end.lsn.v > x->c->snapshots.v)
            rc = copy_or_tell(x, &inv->snapshots[i].o, &x->c->snapshots);
    struct lsn ignored; /* indexes are merged, and few: each is looked at */
    for (size_t i = 0; rc == 0 && i < inv->index_count && !enough(x); i++)
        if (index_wanted(x, &inv->indexes[i]))
            rc = copy_or_tell(x, &inv->indexes[i].o, &ignored);
    return rc;
}

static uint64_t retired(const struct repository *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r->keys.count; i++)
        n += r->keys.at[i].retired;
    return n;
}

/* Objects of which a mark came are looked at once more, and their keys destroyed. */
static int destroy_keys(const struct repo_copying *x)
{
    struct repo_destroyed done;
    int rc = repo_keys_destroy(x->r, x->c->to, &done, x->e);
    x->report->destroyed += done.gone;
    x->report->locked = done.stay;
    x->report->locked_until = done.until;
    if (rc == 0 && done.gone != 0)
        repo_copy_tell(x, "keys", "destroyed, of what was disposed of");
    if (rc == 0 && done.stay == 0) {
        x->c->disposed = repo_count_disposed(&x->r->inv);
        x->c->retired = retired(x->r);
    }
    return rc;
}

/* ---- all ---- */

static int nothing(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return 0;
}

static bool has_form_there(const struct repo_copying *x, const char *name)
{
    struct repo_wrapped w;
    uint8_t *text = NULL;
    size_t n = 0;
    bool good =
        repo_backend_read(x->c->to, name, REPO_SMALL_TEXT_MAX_BYTES, &text, &n, NULL) == 0 &&
        repo_wrapped_read(bytes_of(text, n), &w, NULL) == 0;
    free(text);
    return good;
}

/* Of a key under another KEK nobody here can say which of two is the whole one: what has its form stays. */
static int copy_generation(const struct repo_copying *x, const struct repo_generation *g)
{
    char name[REPO_NAME_BYTES];
    uint8_t *text = NULL;
    size_t n = 0;
    repo_name_generation(g->number, g->retired, name);
    if (!g->retired && !g->ours && has_form_there(x, name))
        return 0;
    int rc = repo_backend_read(x->r->backend, name, REPO_SMALL_TEXT_MAX_BYTES, &text, &n, x->e);
    if (rc == 0)
        rc = repo_copy_text(x, name, bytes_of(text, n));
    free(text);
    return rc;
}

/* What is said of generations of keys as a whole. After a rotation every object is looked at again, and so that the keys of a
 * generation that was retired are destroyed in the copy, too, at the end of the run. */
static int copy_generations(const struct repo_copying *x)
{
    const struct repo_keyring *keys = &x->r->keys;
    int rc = 0;
    if (x->c->generation != keys->at[0].number) {
        x->c->packs.v = x->c->snapshots.v = 0;
        x->c->generation = keys->at[0].number;
    }
    for (size_t i = 0; rc == 0 && i < keys->count; i++)
        if (repo_generation_whole(&keys->at[i]))
            rc = copy_generation(x, &keys->at[i]);
    return rc;
}

static int list_keys(const struct repo_copying *x)
{
    int rc = repo_backend_list(x->c->to, "keys", nothing, NULL, x->e);
    for (size_t i = 0; rc == 0 && i < x->r->keys.count; i++) {
        char folder[REPO_NAME_BYTES];
        repo_name_keys_folder(x->r->keys.at[i].number, folder);
        rc = repo_backend_list(x->c->to, folder, nothing, NULL, x->e);
    }
    return rc;
}

/* The archive's own description, as it is when it is whole. */
static int copy_about(const struct repo_copying *x)
{
    struct repo_about about;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_backend_read(x->r->backend, REPO_ABOUT_FILE, REPO_SMALL_TEXT_MAX_BYTES, &text, &n,
                               x->e);
    if (rc == 0)
        rc = repo_about_read(bytes_of(text, n), &about, x->e);
    if (rc == 0)
        rc = repo_copy_text(x, REPO_ABOUT_FILE, bytes_of(text, n));
    free(text);
    return rc;
}

/* The description first; what is listed once is not asked for one by one. */
static int begin(const struct repo_copying *x)
{
    static const char *const folders[] = {"packs", "snapshots", "indexes", "tree/keys"};
    uint8_t *text = NULL;
    size_t n = 0;
    struct repo_about about;
    int rc = 0;
    for (size_t i = 0; rc == 0 && !x->c->listed && i < sizeof folders / sizeof folders[0]; i++)
        rc = repo_backend_list(x->c->to, folders[i], nothing, NULL, x->e);
    if (rc == 0 && !x->c->listed)
        rc = list_keys(x);
    if (rc == 0)
        rc = repo_backend_read(x->c->to, "repository.json", REPO_SMALL_TEXT_MAX_BYTES, &text, &n,
                               x->e);
    if (rc == 0 && repo_about_read(bytes_of(text, n), &about, NULL) == 0 &&
        !uuid_equal(&about.cluster_id, &x->r->about.cluster_id))
        rc = err_set(x->e, ERR_CONFIG, "it is the archive of another cluster, '%s'", about.cluster);
    free(text);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        return rc;
    struct repo_copying compared = *x;
    compared.was_there = x->c->listed;
    compared.deep =
        true; /* without it the place cannot be opened, and nothing there be looked at */
    rc = copy_about(&compared);
    if (rc == ERR_INTEGRITY || rc == ERR_FORMAT) {
        x->report->damaged++;
        repo_copy_tell(x, REPO_ABOUT_FILE, "it is damaged: not copied");
        rc = 0;
    }
    if (rc == 0)
        rc = copy_generations(x);
    x->c->listed = rc == 0;
    return rc;
}

int repository_copy_run(struct repository_copy *c, struct repository *r, bool deep, uint64_t most,
                        void (*told)(void *arg, const char *object, const char *what), void *arg,
                        struct repository_copy_report *out, struct err *e)
{
    *out = (struct repository_copy_report){.objects = 0};
    uint64_t put_bytes = 0;
    const struct repo_copying x = {c, r, deep, false, most, &put_bytes, out, told, arg, e};
    struct repo_copy_trees *trees = calloc(1, sizeof *trees);
    int rc = trees == NULL ? err_set(e, ERR_NO_MEMORY, "no memory for a copy") : begin(&x);
    if (rc == 0 && c->disposed != repo_count_disposed(&r->inv))
        c->packs.v = c->snapshots.v = 0; /* marks came: every object is looked at again */
    if (rc == 0 && c->unneeded != r->unfinished) {
        c->packs.v = c->snapshots.v = 0; /* a pack of old entries may be new: it was healed */
        c->unneeded = r->unfinished;
    }
    put_bytes = 0; /* each run puts an object at least */
    if (rc == 0)
        repo_copy_trees_read(&x, trees);
    if (rc == 0)
        rc = copy_objects(&x);
    if (rc == 0 && !out->more &&
        (c->disposed != repo_count_disposed(&r->inv) || c->retired != retired(r)))
        rc = destroy_keys(&x);
    if (rc == 0 && !out->more)
        rc = repo_copy_trees_put(&x, trees);
    repo_copy_trees_free(trees);
    out->reached = c->packs;
    if (rc != 0)
        err_wrap(e, "copy");
    return rc;
}

/* ---- one part ---- */

/* The file of a generation, and every key in it but of indexes and of what was disposed of, here or there. What is damaged
 * here is left out. */
static int copy_generation_part(const struct repo_copying *x, unsigned number)
{
    struct repo_keyring now = {0};
    struct repo_names objects = {0};
    struct repo_key key;
    bool is_kept = false;
    int rc = repo_keyring_read(x->r, &x->r->kek, &now, x->e);
    for (size_t i = 0; rc == 0 && i < now.count; i++)
        if (now.at[i].number == number && repo_generation_whole(&now.at[i])) {
            is_kept = !now.at[i].retired;
            rc = copy_generation(x, &now.at[i]);
        }
    if (rc == 0 && is_kept)
        rc = repo_list_keyed(x->r, &objects, x->e);
    for (size_t i = 0; rc == 0 && i < objects.n; i++) {
        if (repo_is_index(objects.at[i]) || repo_key_of(x->r, objects.at[i], &key, NULL) != 0 ||
            is_disposed_there(x, objects.at[i]))
            continue;
        rc = copy_key(x, objects.at[i], number, &key);
        rc = rc == ERR_INTEGRITY ? 0 : rc; /* its own check says it */
    }
    repo_wipe(&key, sizeof key);
    repo_names_release(&objects);
    repo_keyring_release(&now);
    return rc;
}

/* Of both trees what came since, and checkpoints and keys that are lost there; then what is damaged of the part, which the
 * checkpoint that is there then tells. */
static int copy_part(const struct repo_copying *x, const struct repo_part *part)
{
    struct repo_sources from = {.others = &x->r->backend, .n = 1};
    struct repo_copying trees_only = *x;
    if (part->kind == REPO_PART_ABOUT)
        return copy_about(x);
    if (part->kind == REPO_PART_KEYS)
        return copy_generation_part(x, part->generation);
    struct repo_copy_trees *trees = calloc(1, sizeof *trees);
    if (trees == NULL)
        return err_set(x->e, ERR_NO_MEMORY, "no memory for a copy");
    trees_only.deep = part->kind == REPO_PART_OPERATIONS;
    repo_copy_trees_read(x, trees);
    int rc = repo_tree_keys(x->r->backend, repo_copy_key, (void *)(uintptr_t)x, x->e);
    if (rc == 0)
        rc = repo_copy_trees_put(&trees_only, trees);
    repo_copy_trees_free(trees);
    if (rc == 0 && part->kind != REPO_PART_OPERATIONS)
        rc = repo_tree_part(x->c->to, &x->r->about.cluster_id, part, &from, NULL, x->e);
    return rc;
}

static const struct repo_object *object_of(const struct repo_copying *x, const char *name)
{
    const struct repo_inventory *inv = &x->r->inv;
    const struct repo_object *o = repo_inventory_find(inv, name);
    for (size_t i = 0; i < inv->index_count && o == NULL; i++)
        if (strcmp(inv->indexes[i].o.name, name) == 0 && index_wanted(x, &inv->indexes[i]))
            o = &inv->indexes[i].o;
    return o;
}

int repository_copy_object(struct repository_copy *c, struct repository *from, const char *object,
                           struct repository_copy_report *out, struct err *e)
{
    uint64_t put_bytes = 0;
    *out = (struct repository_copy_report){.objects = 0};
    const struct repo_copying x = {c, from, true, false, 0, &put_bytes, out, NULL, NULL, e};
    struct repo_part part;
    if (repo_part_parse(object, &part) == 0 && part.kind != REPO_PART_OBJECT)
        return copy_part(&x, &part) != 0 ? err_wrap(e, "from %s", from->where) : 0;
    const struct repo_object *o = object_of(&x, object);
    if (o == NULL)
        return err_set(e, ERR_NOT_FOUND, "%s: %s is not there", from->where, object);
    if (o->damaged)
        return err_set(e, ERR_INTEGRITY, "%s: %s: %s", from->where, object, o->reason);
    int rc = copy_one(&x, o);
    return rc != 0 ? err_wrap(e, "from %s", from->where) : 0;
}
