/* Files of the tree.
 *
 * Writing in groups: first all files under temporary names, then a sync of each (the first one makes the file system commit
 * for all, the others find little left to do), then the names, then one sync for each folder. So 64 tiles cost little more
 * than one. As with packs, what was written is read back from the disk before it gets its name. */
#include "repository/io/tiles.h"

#include "store/core/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char checkpoint_name[] = "tree/checkpoint";

static void tile_name(const struct tlog_tile *t, bool entries, char out[REPO_NAME_BYTES])
{
    char path[TLOG_PATH_BYTES];
    tlog_tile_path(t, entries, path);
    (void)snprintf(out, REPO_NAME_BYTES, "tree/%s", path);
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

static int read_exactly(int dir, const char *name, size_t want, uint8_t *out, size_t keep,
                        struct err *e)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    int rc = repo_file_read(dir, name, TREE_BUNDLE_BYTES, &bytes, &n, e);
    if (rc == 0 && n != want)
        rc = err_set(e, ERR_INTEGRITY, "%s: %zu bytes where %zu are expected", name, n, want);
    if (rc == 0)
        memcpy(out, bytes, keep);
    free(bytes);
    return rc;
}

int repo_tile_read(int dir, const struct tlog_tile *t, bool entries, uint8_t *out, struct err *e)
{
    char name[REPO_NAME_BYTES];
    size_t each = entries ? TREE_LEAF_BYTES : TLOG_HASH_BYTES, want = each * t->width;
    tile_name(t, entries, name);
    int rc = read_exactly(dir, name, want, out, want, e);
    if (rc == ERR_NOT_FOUND && t->width < TLOG_TILE_WIDTH) {
        struct tlog_tile full = {t->level, t->index, TLOG_TILE_WIDTH};
        struct err again = ERR_NONE;
        tile_name(&full, entries, name);
        rc = read_exactly(dir, name, each * TLOG_TILE_WIDTH, out, want, &again);
        if (rc != 0 && rc != ERR_NOT_FOUND && e != NULL)
            *e = again; /* otherwise the first message names what is missing */
    }
    return damage(rc, e);
}

int repo_tiles_node(void *arg, unsigned level, uint64_t index, struct sha256 *out, struct err *e)
{
    struct repo_tiles *tiles = arg;
    struct tlog_tile t = tlog_tile_of(level, index, tiles->size);
    if (tiles->at.width != t.width || tiles->at.level != t.level || tiles->at.index != t.index) {
        tiles->at.width = 0;
        int rc = repo_tile_read(tiles->dir, &t, false, tiles->hashes, e);
        if (rc != 0)
            return rc;
        tiles->at = t;
    }
    *out = tlog_tile_node(&t, tiles->hashes, level, index);
    return 0;
}

int repo_tree_header(int dir, uint64_t index, uint64_t size, uint8_t out[ENTRY_HEADER_BYTES],
                     struct err *e)
{
    struct tlog_tile t = tlog_tile_of(0, index, size);
    uint8_t *bundle = malloc(TREE_BUNDLE_BYTES);
    if (bundle == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a bundle of headers");
    int rc = repo_tile_read(dir, &t, true, bundle, e);
    if (rc == 0)
        memcpy(out, bundle + index % TLOG_TILE_WIDTH * TREE_LEAF_BYTES + 2, ENTRY_HEADER_BYTES);
    free(bundle);
    return rc;
}

int repo_checkpoint_read(int dir, uint8_t **text, size_t *n, struct tlog_checkpoint *out,
                         struct tlog_note *note, struct err *e)
{
    int rc = repo_file_read(dir, checkpoint_name, TLOG_CHECKPOINT_MAX_BYTES, text, n, e);
    if (rc == 0 && (rc = tlog_checkpoint_parse(bytes_of(*text, *n), out, note, e)) != 0) {
        err_wrap(e, "%s", checkpoint_name);
        free(*text);
        *text = NULL;
        return damage(rc, e);
    }
    return rc;
}

struct key_walk {
    int dir;
    int (*each)(void *arg, const struct tlog_key *);
    void *arg;
    struct err *e;
};

static int walk_key(void *arg, const char *name)
{
    const struct key_walk *w = arg;
    struct tlog_key key;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_file_read(w->dir, name, TLOG_VKEY_BYTES, &text, &n, w->e);
    if (rc == 0 && (rc = tlog_key_parse(bytes_of(text, n), &key, w->e)) != 0)
        err_wrap(w->e, "%s", name);
    free(text);
    return rc == 0 ? w->each(w->arg, &key) : damage(rc, w->e);
}

int repo_tree_keys(int dir, int (*each)(void *arg, const struct tlog_key *), void *arg,
                   struct err *e)
{
    struct key_walk w = {dir, each, arg, e};
    return repo_dir_list(dir, "tree/keys", walk_key, &w, e);
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

int repo_checkpoint_signed(int dir, const struct tlog_note *note, struct tlog_key *by,
                           struct err *e)
{
    struct key_search s = {.note = note, .by = by, .why = ERR_NONE};
    int rc = repo_tree_keys(dir, try_key, &s, e);
    if (rc == 1)
        return 0;
    if (rc != 0)
        return rc;
    return err_set(e, ERR_INTEGRITY, "%s: %.400s", checkpoint_name,
                   s.why.code != 0 ? s.why.text : "none of the keys in tree/keys signed it");
}

/* ---- writing ---- */

static int read_back(struct repo_temp *t, struct bytes b, struct err *e)
{
    uint8_t *again = malloc(b.n);
    if (again == NULL)
        return err_set(e, ERR_NO_MEMORY, "%s: no memory to read it back", t->name);
    int rc = repo_file_pread(t->fd, 0, again, b.n, e);
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
    if (rc == 0)
        rc = repo_folder_make_of(f->dir, name, e);
    if (rc != 0)
        return rc;
    struct repo_temp *t = &f->file[f->n].temp;
    f->file[f->n].bytes = malloc(b.n);
    if (f->file[f->n].bytes == NULL)
        return err_set(e, ERR_NO_MEMORY, "%s: no memory to write it", name);
    memcpy(f->file[f->n].bytes, b.p, b.n);
    f->file[f->n].size = b.n;
    rc = repo_temp_create(t, f->dir, name, e);
    f->n++; /* from here on it is dropped with the others */
    return rc == 0 ? repo_temp_write(t, b.p, b.n, e) : rc;
}

static int same_bytes(struct repo_tree_files *f, size_t i, struct err *e)
{
    const char *name = f->file[i].temp.name;
    uint8_t *there = NULL;
    size_t n = 0;
    int rc = repo_file_read(f->dir, name, TREE_BUNDLE_BYTES, &there, &n, e);
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

static size_t folder_length(const char *name)
{
    return (size_t)(strrchr(name, '/') - name);
}

/* Each folder once. */
static int sync_folders(struct repo_tree_files *f, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < f->n; i++) {
        const char *name = f->file[i].temp.name;
        size_t n = folder_length(name), k = 0;
        while (k < i && (folder_length(f->file[k].temp.name) != n ||
                         memcmp(f->file[k].temp.name, name, n) != 0))
            k++;
        if (k == i && (rc = repo_folder_sync_of(f->dir, name, e)) != 0)
            f->sync_failed = true;
    }
    return rc;
}

int repo_tree_files_flush(struct repo_tree_files *f, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < f->n; i++) {
        rc = repo_temp_sync(&f->file[i].temp, e);
        f->sync_failed |= f->file[i].temp.sync_failed;
    }
    for (size_t i = 0; rc == 0 && i < f->n; i++)
        rc = read_back(&f->file[i].temp, bytes_of(f->file[i].bytes, f->file[i].size), e);
    if (rc == 0)
        rc = name_all(f, e);
    if (rc == 0)
        rc = sync_folders(f, e);
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

int repo_checkpoint_replace(int dir, struct bytes text, bool *sync_failed, struct err *e)
{
    struct repo_temp t = REPO_TEMP_NONE;
    int rc = repo_temp_create(&t, dir, checkpoint_name, e);
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

static int remove_one(void *arg, const char *name)
{
    const int *dir = arg;
    (void)unlinkat(*dir, name, 0);
    return 0;
}

void repo_tile_drop_partial(int dir, const struct tlog_tile *full, bool entries)
{
    char name[REPO_NAME_BYTES];
    struct tlog_tile partial = {full->level, full->index, 1};
    tile_name(&partial, entries, name);
    *strrchr(name, '/') = '\0';
    (void)repo_dir_list(dir, name, remove_one, &dir, NULL);
    (void)unlinkat(dir, name, AT_REMOVEDIR);
}
