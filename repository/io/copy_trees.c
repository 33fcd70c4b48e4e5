/* Both trees of an archive, in a copy: verifier keys, tiles, bundles, checkpoints, in the order that copy.c explains.
 *
 * A checkpoint is copied when all of its signatures hold, and the operations log when its leaves lead to it. Tiles of the
 * tree are put where they are missing, by their place; with `deep` the tree is then looked at there from its signed root
 * down, and what does not lead to that is put right from here, where it does (tree_part.c). So a tile that is damaged here never
 * takes the place of one that is whole there. */
#include "repository/io/copy.h"

#include "repository/io/parts.h"
#include "repository/io/tiles.h"

#include <stdio.h>

/* ---- tiles and checkpoints ---- */

int repo_copy_key(void *arg, const struct tlog_key *key)
{
    const struct repo_copying *x = arg;
    char name[REPO_NAME_BYTES], line[TLOG_VKEY_BYTES + 1];
    (void)snprintf(name, sizeof name, "tree/keys/%08x", key->id);
    tlog_key_format(key, line);
    size_t n = strlen(line);
    line[n] = '\n';
    return repo_copy_text(x, name, bytes_of(line, n + 1));
}

static int copy_tile(const struct repo_copying *x, const char *root, const struct tlog_tile *t,
                     bool entries)
{
    char name[REPO_TILE_NAME_BYTES];
    uint8_t hashes[TLOG_TILE_BYTES], *bundle = NULL;
    size_t n = (size_t)TLOG_HASH_BYTES * t->width;
    repo_tile_name(root, t, entries, name);
    int rc = entries ? repo_bundle_read(x->r->backend, root, t, &bundle, &n, x->e)
                     : repo_tile_read(x->r->backend, root, t, false, hashes, x->e);
    if (rc == 0)
        rc = repo_copy_text(x, name, bytes_of(entries ? bundle : hashes, n));
    free(bundle);
    return rc;
}

/* The tiles of one level, and of level 0 the bundles too; those of a tree of `old` are there. */
static int copy_level(const struct repo_copying *x, const char *root, unsigned level, uint64_t old,
                      uint64_t size)
{
    uint64_t from = x->deep ? 0 : old >> (8 * (level + 1)), to = size >> (8 * (level + 1));
    struct tlog_tile t;
    int rc = 0;
    for (uint64_t i = from; rc == 0 && i < to; i++) {
        t = (struct tlog_tile){level, i, TLOG_TILE_WIDTH};
        rc = copy_tile(x, root, &t, false);
        if (rc == 0 && level == 0)
            rc = copy_tile(x, root, &t, true);
    }
    if (rc != 0 || !tlog_tile_partial(level, size, &t))
        return rc;
    rc = copy_tile(x, root, &t, false);
    return rc == 0 && level == 0 ? copy_tile(x, root, &t, true) : rc;
}

static int copy_tiles(const struct repo_copying *x, const char *root, uint64_t old, uint64_t size)
{
    int rc = 0;
    for (unsigned level = 0; rc == 0 && level < TLOG_LEVELS && size >> (8 * level) != 0; level++)
        rc = copy_level(x, root, level, old, size);
    return rc;
}

static int put_checkpoint(const struct repo_copying *x, const char *name, bool signed_there,
                          bool was_there, struct bytes note)
{
    const bool damaged = !signed_there && repo_is_at(x->c->to, name);
    bool failed = false;
    int rc = repo_tree_replace(x->c->to, name, note, &failed, x->e);
    if (rc == 0) {
        x->report->copied += !damaged;
        x->report->healed += damaged;
        repo_copy_tell(x, name,
                       damaged        ? "healed"
                       : signed_there ? "renewed"
                       : was_there    ? "put back"
                                      : "copied");
    }
    return rc;
}

/* What is there leads to what was signed there; otherwise it is put right from here. */
static int look_deeper(const struct repo_copying *x, const struct repo_part *part, const char *name)
{
    struct repo_sources from = {.others = &x->r->backend, .n = 1};
    struct err why = ERR_NONE;
    int rc = repo_tree_part(x->c->to, &x->r->about.cluster_id, part, &from, NULL, &why);
    x->report->healed += from.files;
    if (from.files != 0)
        repo_copy_tell(x, name, "healed");
    if (rc == ERR_INTEGRITY) {
        x->report->damaged++;
        repo_copy_tell(x, name, why.text);
        return 0;
    }
    return rc == 0 ? 0 : err_set(x->e, rc, "%s", why.text);
}

static int look_at_all(const struct repo_copying *x, uint64_t size)
{
    struct repo_part part = {.kind = REPO_PART_TREE};
    char name[REPO_NAME_BYTES];
    int rc = look_deeper(x, &part, REPO_TREE_CHECKPOINT);
    part.kind = REPO_PART_STRETCH;
    for (; rc == 0 && part.stretch * REPO_STRETCH_ENTRIES < size; part.stretch++) {
        repo_part_stretch(part.stretch, name);
        rc = look_deeper(x, &part, name);
    }
    return rc;
}

/* Never over a larger one, or another one of that size, that was signed. */
static bool stands(const struct repo_copying *x, const struct tlog_checkpoint *theirs,
                   const struct tlog_checkpoint *ours)
{
    const bool other = theirs->size == ours->size && !sha256_equal(&theirs->root, &ours->root);
    if (theirs->size > ours->size)
        repo_copy_tell(x, REPO_TREE_CHECKPOINT, "it is larger there: left as it is");
    else if (other)
        repo_copy_tell(x, REPO_TREE_CHECKPOINT, "another tree was signed there: left as it is");
    return theirs->size > ours->size || other;
}

static int copy_tree(const struct repo_copying *x, const struct tlog_checkpoint *c,
                     struct bytes note)
{
    uint8_t *there = NULL;
    size_t n = 0;
    struct tlog_checkpoint theirs;
    struct tlog_note their_note;
    struct tlog_key by;
    struct repo_copying shallow = *x;
    int rc = 0;
    shallow.deep = false;
    const bool signed_there =
        repo_checkpoint_read(x->c->to, REPO_TREE, &there, &n, &theirs, &their_note, &by, NULL) == 0;
    const bool whole_there = signed_there && repo_signatures_hold(x->c->to, &their_note, NULL) == 0;
    const bool was_there = x->c->tree != 0;
    if (!signed_there || !stands(x, &theirs, c)) {
        if (signed_there && x->c->tree == 0)
            x->c->tree = theirs.size;
        shallow.was_there = was_there && x->c->tree == c->size;
        rc = copy_tiles(&shallow, REPO_TREE, x->c->tree, c->size);
        if (rc == 0 && !(signed_there && bytes_equal(bytes_of(there, n), note)))
            rc = put_checkpoint(x, REPO_TREE_CHECKPOINT, whole_there, was_there, note);
        if (rc == 0)
            x->c->tree = c->size;
    }
    if (rc == 0 && x->deep)
        rc = look_at_all(x, c->size);
    free(there);
    return rc;
}

/* Every object that the log names was looked at: it names none that came later. */
static bool names_what_we_have(const struct repo_copying *x,
                               const struct operation_inventory *named)
{
    for (size_t i = 0; i < named->n; i++)
        if (!named->at[i].disposed && !named->at[i].healed &&
            repo_inventory_find(&x->r->inv, named->at[i].name) == NULL &&
            repo_is_there(x->r, named->at[i].name) && repo_is_finished(x->r, named->at[i].name))
            return false;
    return true;
}

/* Never over a longer one: leaves cannot be made again. What both have is healed all the same. */
static int copy_operations(const struct repo_copying *x, const struct repo_operations_read *log)
{
    uint8_t *there = NULL;
    size_t n = 0;
    struct tlog_checkpoint theirs = {.size = 0};
    struct tlog_note note;
    struct tlog_key by;
    const struct bytes ours = bytes_of(log->note, log->note_bytes);
    bool is_there =
        repo_checkpoint_read(x->c->to, REPO_OPERATIONS, &there, &n, &theirs, &note, &by, NULL) == 0;
    uint64_t old = is_there && theirs.size <= log->checkpoint.size ? theirs.size : 0;
    struct repo_copying tiles = *x;
    tiles.was_there = x->c->log && old == log->checkpoint.size;
    int rc = copy_tiles(&tiles, REPO_OPERATIONS, old, log->checkpoint.size);
    if (rc == 0 && is_there && theirs.size > log->checkpoint.size)
        repo_copy_tell(x, "operations/checkpoint", "it is longer there: left as it is");
    else if (rc == 0 && !(is_there && bytes_equal(bytes_of(there, n), ours)))
        rc = put_checkpoint(x, "operations/checkpoint",
                            is_there && repo_signatures_hold(x->c->to, &note, NULL) == 0, x->c->log,
                            ours);
    x->c->log |= rc == 0;
    free(there);
    return rc;
}

void repo_copy_trees_read(const struct repo_copying *x, struct repo_copy_trees *t)
{
    struct tlog_note note;
    struct tlog_key by;
    struct err why = ERR_NONE;
    t->tree = repo_checkpoint_read(x->r->backend, REPO_TREE, &t->text, &t->n, &t->checkpoint, &note,
                                   &by, x->e);
    t->log = repo_operations_read(x->r->backend, &x->r->about.cluster_id, &t->operations, &why);
    if (t->log == 0 &&
        (t->log = tlog_note_parse(bytes_of(t->operations.note, t->operations.note_bytes), &note,
                                  &why)) == 0)
        t->log = repo_signatures_hold(x->r->backend, &note, &why);
    if (t->log == 0)
        t->log = repo_operations_inventory(&t->operations, &t->named, &why);
    if (t->tree == 0)
        t->tree = repo_signatures_hold(x->r->backend, &note, x->e);
    if (t->tree == ERR_INTEGRITY) {
        x->report->damaged++;
        repo_copy_tell(x, "tree/checkpoint", "a signature does not hold: the tree is not copied");
    }
    if (t->log == ERR_INTEGRITY) {
        x->report->damaged++;
        repo_copy_tell(x, REPO_OPERATIONS, why.text);
    }
}

void repo_copy_trees_free(struct repo_copy_trees *t)
{
    if (t == NULL)
        return;
    free(t->text);
    free(t->named.at);
    repo_operations_release(&t->operations);
    free(t);
}

int repo_copy_trees_put(const struct repo_copying *x, const struct repo_copy_trees *t)
{
    if (t->tree == 0 && t->checkpoint.size > x->c->packs.v)
        return 0;
    if (t->log == 0 && ((t->tree == 0 && t->named.tree_size > t->checkpoint.size) ||
                        !names_what_we_have(x, &t->named)))
        return 0;
    struct repo_copying keys = *x;
    int rc = repo_tree_keys(x->r->backend, repo_copy_key, &keys, x->e);
    if (rc == 0 && t->log == 0)
        rc = copy_operations(x, &t->operations);
    if (rc == 0 && t->tree == 0 && (t->log == 0 || t->log == ERR_NOT_FOUND))
        rc = copy_tree(x, &t->checkpoint, bytes_of(t->text, t->n));
    return rc;
}
