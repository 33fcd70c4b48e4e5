/* Files of the tree.
 *
 * Writing in groups: first all files under temporary names, then a sync of each (all were given to the disk before, so the
 * first sync makes the file system commit for all, and the others find little left to do), then the names, then one sync for
 * each folder. So 64 tiles cost little more than one. As with packs, what was written is read back from the disk before it gets
 * its name. */
#include "repository/io/tiles.h"

#include "store/core/check.h"

#include <stdio.h>
#include <stdlib.h>

/* As many versions of it are tried, where older ones are kept: whoever can write there may put any on top. */
enum { CHECKPOINTS_MAX = 64 };

void repo_tile_name(const char *root, const struct tlog_tile *t, bool entries,
                    char out[REPO_TILE_NAME_BYTES])
{
    char path[TLOG_PATH_BYTES];
    tlog_tile_path(t, entries, path);
    (void)snprintf(out, REPO_TILE_NAME_BYTES, "%s/%s", root, path);
}

/* What is wrong with a file of the tree is wrong with the tree. */
static int damage(int rc, struct err *e)
{
    if (rc != ERR_NOT_FOUND && rc != ERR_FORMAT && rc != ERR_LIMIT)
        return rc;
    if (e != NULL)
        e->code = ERR_INTEGRITY;
    return ERR_INTEGRITY;
}

/* ---- reading ---- */

/* The tile, or the full one that replaced it. */
static int read_file(struct repo_backend *b, const char *root, const struct tlog_tile *t,
                     bool entries, uint8_t **out, size_t *n, struct err *e)
{
    char name[REPO_TILE_NAME_BYTES];
    repo_tile_name(root, t, entries, name);
    int rc = repo_backend_read(b, name, TREE_FILE_MAX_BYTES, out, n, e);
    if (rc != ERR_NOT_FOUND || t->width == TLOG_TILE_WIDTH)
        return rc;
    struct tlog_tile full = {t->level, t->index, TLOG_TILE_WIDTH};
    struct err again = ERR_NONE;
    repo_tile_name(root, &full, entries, name);
    rc = repo_backend_read(b, name, TREE_FILE_MAX_BYTES, out, n, &again);
    if (rc != 0 && rc != ERR_NOT_FOUND && e != NULL)
        *e = again; /* otherwise the first message names what is missing */
    return rc;
}

int repo_tile_read(struct repo_backend *b, const char *root, const struct tlog_tile *t,
                   bool entries, uint8_t *out, struct err *e)
{
    char name[REPO_TILE_NAME_BYTES];
    size_t each = entries ? TREE_LEAF_BYTES : TLOG_HASH_BYTES, n = 0;
    uint8_t *bytes = NULL;
    repo_tile_name(root, t, entries, name);
    int rc = read_file(b, root, t, entries, &bytes, &n, e);
    if (rc == 0 && n != each * t->width && n != each * TLOG_TILE_WIDTH)
        rc = err_set(e, ERR_INTEGRITY, "%s: %zu bytes where %zu are expected", name, n,
                     each * t->width);
    if (rc == 0)
        memcpy(out, bytes, each * t->width);
    free(bytes);
    return damage(rc, e);
}

int repo_bundle_read(struct repo_backend *b, const char *root, const struct tlog_tile *t,
                     uint8_t **out, size_t *n, struct err *e)
{
    char name[REPO_TILE_NAME_BYTES];
    size_t size = 0, at = 0;
    unsigned leaves = 0;
    uint8_t *bytes = NULL;
    repo_tile_name(root, t, true, name);
    int rc = read_file(b, root, t, true, &bytes, &size, e);
    for (; rc == 0 && at < size; leaves++) {
        size_t leaf = size - at < 2 ? 0 : (size_t)(bytes[at] << 8 | bytes[at + 1]);
        if (leaf == 0 || leaf > size - at - 2)
            rc = err_set(e, ERR_INTEGRITY, "%s: leaf %u runs over its end, at byte %zu", name,
                         leaves, at);
        at += 2 + leaf;
        if (rc == 0 && leaves < t->width)
            *n = at;
    }
    if (rc == 0 && leaves != t->width && leaves != TLOG_TILE_WIDTH)
        rc = err_set(e, ERR_INTEGRITY, "%s: %u leaves where %u are expected", name, leaves,
                     t->width);
    if (rc == 0) {
        *out = bytes;
        return 0;
    }
    free(bytes);
    return damage(rc, e);
}

int repo_tiles_node(void *arg, unsigned level, uint64_t index, struct sha256 *out, struct err *e)
{
    struct repo_tiles *tiles = arg;
    struct tlog_tile t = tlog_tile_of(level, index, tiles->size);
    if (tiles->at.width != t.width || tiles->at.level != t.level || tiles->at.index != t.index) {
        tiles->at.width = 0;
        int rc = repo_tile_read(tiles->backend, tiles->root, &t, false, tiles->hashes, e);
        if (rc != 0)
            return rc;
        tiles->at = t;
    }
    *out = tlog_tile_node(&t, tiles->hashes, level, index);
    return 0;
}

int repo_tree_header(struct repo_backend *b, uint64_t index, uint64_t size,
                     uint8_t out[ENTRY_HEADER_BYTES], struct err *e)
{
    struct tlog_tile t = tlog_tile_of(0, index, size);
    uint8_t *bundle = malloc(TREE_BUNDLE_BYTES);
    if (bundle == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a bundle of headers");
    int rc = repo_tile_read(b, REPO_TREE, &t, true, bundle, e);
    if (rc == 0)
        memcpy(out, bundle + index % TLOG_TILE_WIDTH * TREE_LEAF_BYTES + 2, ENTRY_HEADER_BYTES);
    free(bundle);
    return rc;
}

struct key_walk {
    struct repo_backend *backend;
    int (*each)(void *arg, const struct tlog_key *);
    void *arg;
    struct err *e;
};

static int walk_key(void *arg, const char *name)
{
    const struct key_walk *w = arg;
    char expected[REPO_NAME_BYTES];
    struct tlog_key key;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_backend_read(w->backend, name, TLOG_VKEY_BYTES, &text, &n, w->e);
    if (rc == 0 && (rc = tlog_key_parse(bytes_of(text, n), &key, w->e)) != 0)
        err_wrap(w->e, "%s", name);
    free(text);
    (void)snprintf(expected, sizeof expected, "tree/keys/%08x", rc == 0 ? key.id : 0);
    if (rc == 0 && strcmp(expected, name) != 0)
        rc = err_set(w->e, ERR_INTEGRITY, "%s: the key in it is that of %s", name, expected);
    return rc == 0 ? w->each(w->arg, &key) : damage(rc, w->e);
}

static int any(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return 1;
}

bool repo_tiles_any(struct repo_backend *b, const char *root)
{
    static const char *const folders[] = {"tile/0", "tile/0/000.p"}; /* a full one, or the first */
    char folder[REPO_NAME_BYTES];
    int found = 0;
    for (size_t i = 0; found == 0 && i < sizeof folders / sizeof folders[0]; i++) {
        (void)snprintf(folder, sizeof folder, "%s/%s", root, folders[i]);
        found = repo_backend_list(b, folder, any, NULL, NULL);
    }
    return found == 1;
}

int repo_tree_keys(struct repo_backend *b, int (*each)(void *arg, const struct tlog_key *),
                   void *arg, struct err *e)
{
    struct key_walk w = {b, each, arg, e};
    return repo_backend_list(b, "tree/keys", walk_key, &w, e);
}

struct key_search {
    const struct tlog_note *note;
    struct tlog_key *by;
    struct err why; /* of the key that signed, and wrongly */
};

static int try_key(void *arg, const struct tlog_key *key)
{
    struct key_search *s = arg;
    struct err why = ERR_NONE;
    struct tlog_signature signature;
    if (key->type != TLOG_KEY_LOG ||
        tlog_note_signature(s->note, key, 0, &signature, NULL) == ERR_NOT_FOUND)
        return 0;
    if (repo_note_verify(s->note, key, NULL, &why) != 0) {
        s->why = why;
        return 0;
    }
    *s->by = *key;
    return 1;
}

/* Did one of the keys beside it sign it? *by is told which. */
static int signed_by(struct repo_backend *b, const char *name, const struct tlog_note *note,
                     struct tlog_key *by, struct err *e)
{
    struct key_search s = {.note = note, .by = by, .why = ERR_NONE};
    int rc = repo_tree_keys(b, try_key, &s, e);
    if (rc == 1)
        return 0;
    if (rc != 0)
        return rc;
    return err_set(e, ERR_INTEGRITY, "%s: %.400s", name,
                   s.why.code != 0 ? s.why.text : "none of the keys in tree/keys signed it");
}

static int read_checkpoint(struct repo_backend *b, const char *root, unsigned older, uint8_t **text,
                           size_t *n, struct tlog_checkpoint *out, struct tlog_note *note,
                           struct tlog_key *by, struct err *e)
{
    char name[REPO_NAME_BYTES];
    (void)snprintf(name, sizeof name, "%s/checkpoint", root);
    int rc = repo_backend_read_older(b, name, older, TLOG_CHECKPOINT_MAX_BYTES, text, n, e);
    if (rc == ERR_NOT_FOUND)
        return rc;
    if (rc == 0 && (rc = tlog_checkpoint_parse(bytes_of(*text, *n), out, note, e)) != 0)
        err_wrap(e, "%s", name);
    if (rc == 0)
        rc = signed_by(b, name, note, by, e);
    if (rc != 0) {
        free(*text);
        *text = NULL;
    }
    return damage(rc, e);
}

int repo_checkpoint_read(struct repo_backend *b, const char *root, uint8_t **text, size_t *n,
                         struct tlog_checkpoint *out, struct tlog_note *note, struct tlog_key *by,
                         struct err *e)
{
    int rc = read_checkpoint(b, root, 0, text, n, out, note, by, e), first = rc;
    struct err why = ERR_NONE;
    for (unsigned older = 1; rc == ERR_INTEGRITY && older < CHECKPOINTS_MAX; older++)
        rc = read_checkpoint(b, root, older, text, n, out, note, by, &why);
    if (rc == 0 || rc == ERR_NOT_FOUND)
        return rc == 0 ? 0 : first;
    if (rc != first && e != NULL)
        *e = why;
    return rc;
}

/* ---- writing ---- */

static int read_back(struct repo_temp *t, struct bytes b, struct err *e)
{
    uint8_t *again = malloc(b.n);
    if (again == NULL)
        return err_set(e, ERR_NO_MEMORY, "%s: no memory to read it back", t->name);
    struct repo_blob f = repo_temp_blob(t);
    int rc = repo_blob_read(&f, 0, again, b.n, e);
    if (rc != 0)
        err_wrap(e, "%s", t->name);
    else if (memcmp(again, b.p, b.n) != 0)
        rc = err_set(e, ERR_INTEGRITY,
                     "%s: reads back otherwise than it was written; check the disk", t->name);
    free(again);
    return rc;
}

int repo_tree_files_add(struct repo_tree_files *f, const char *name, struct bytes b, struct err *e)
{
    int rc = f->n == TREE_FILES_MAX ? repo_tree_files_flush(f, e) : 0;
    if (rc != 0)
        return rc;
    struct repo_temp *t = &f->file[f->n].temp;
    f->file[f->n].bytes = malloc(b.n);
    if (f->file[f->n].bytes == NULL)
        return err_set(e, ERR_NO_MEMORY, "%s: no memory to write it", name);
    memcpy(f->file[f->n].bytes, b.p, b.n);
    f->file[f->n].size = b.n;
    rc = repo_temp_create(t, f->backend, name, e);
    f->n++; /* from here on it is dropped with the others */
    return rc == 0 ? repo_temp_write(t, b.p, b.n, e) : rc;
}

int repo_tree_key_add(struct repo_tree_files *f, const struct tlog_key *key, struct err *e)
{
    char name[REPO_NAME_BYTES], line[TLOG_VKEY_BYTES + 1];
    (void)snprintf(name, sizeof name, "tree/keys/%08x", key->id);
    tlog_key_format(key, line);
    size_t n = strlen(line);
    line[n] = '\n';
    return repo_tree_files_add(f, name, bytes_of(line, n + 1), e);
}

static int same_bytes(struct repo_tree_files *f, size_t i, struct err *e)
{
    const char *name = f->file[i].temp.name;
    uint8_t *there = NULL;
    size_t n = 0;
    int rc = repo_backend_read(f->backend, name, TREE_FILE_MAX_BYTES, &there, &n, e);
    if (rc == 0 && !bytes_equal(bytes_of(there, n), bytes_of(f->file[i].bytes, f->file[i].size)))
        rc = err_set(e, ERR_INTEGRITY,
                     "%s: is there with other hashes than follow from the packs: it is damaged, or "
                     "the history was changed; keep a copy of it, and bring it back from one",
                     name);
    free(there);
    return damage(rc, e);
}

static int name_all(struct repo_tree_files *f, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < f->n; i++) {
        rc = repo_temp_name(&f->file[i].temp, e);
        if (rc == ERR_EXISTS)
            rc = same_bytes(f, i, e);
    }
    return rc;
}

static int settle(struct repo_tree_files *f, struct err *e)
{
    const char *names[TREE_FILES_MAX];
    for (size_t i = 0; i < f->n; i++)
        names[i] = f->file[i].temp.name;
    int rc = repo_backend_settle(f->backend, names, f->n, e);
    if (rc != 0)
        f->sync_failed = true;
    return rc;
}

int repo_tree_files_flush(struct repo_tree_files *f, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < f->n; i++)
        repo_temp_begin_sync(&f->file[i].temp);
    for (size_t i = 0; rc == 0 && i < f->n; i++) {
        rc = repo_temp_sync(&f->file[i].temp, e);
        f->sync_failed |= f->file[i].temp.sync_failed;
    }
    for (size_t i = 0; rc == 0 && i < f->n; i++)
        rc = read_back(&f->file[i].temp, bytes_of(f->file[i].bytes, f->file[i].size), e);
    if (rc == 0)
        rc = name_all(f, e);
    if (rc == 0)
        rc = settle(f, e);
    repo_tree_files_drop(f);
    return rc;
}

void repo_tree_files_drop(struct repo_tree_files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        repo_temp_drop(&f->file[i].temp);
        free(f->file[i].bytes);
        f->file[i].bytes = NULL;
    }
    f->n = 0;
}

int repo_tree_replace(struct repo_backend *b, const char *name, struct bytes text,
                      bool *sync_failed, struct err *e)
{
    struct repo_temp t = REPO_TEMP_NONE;
    int rc = repo_temp_create(&t, b, name, e);
    if (rc == 0)
        rc = repo_temp_write(&t, text.p, text.n, e);
    if (rc == 0)
        rc = repo_temp_sync(&t, e);
    if (rc == 0)
        rc = read_back(&t, text, e);
    if (rc == 0)
        rc = repo_temp_replace(&t, e);
    *sync_failed |= t.sync_failed;
    repo_temp_drop(&t);
    return rc;
}

static void drop_partial(struct repo_backend *b, const char *root, const struct tlog_tile *was,
                         bool entries)
{
    char name[REPO_TILE_NAME_BYTES];
    repo_tile_name(root, was, entries, name);
    *strrchr(name, '/') = '\0';
    repo_backend_forget(b, name);
}

void repo_tree_tidy(struct repo_backend *b, const char *root, uint64_t old, uint64_t size)
{
    struct tlog_tile was, now;
    for (unsigned level = 0; level < TLOG_LEVELS; level++) {
        (void)tlog_tile_partial(level, size, &now);
        if (!tlog_tile_partial(level, old, &was) || was.index == now.index)
            continue;
        drop_partial(b, root, &was, false);
        if (level == 0)
            drop_partial(b, root, &was, true);
    }
}
