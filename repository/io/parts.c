/* repository.json, the tree's checkpoint with its keys, the operations log: how they are, and what puts them right.
 *
 *   repository.json   what this process read of it when it opened the archive, written once more
 *   tree/keys         the log's own key from the site's; another's from a copy where it has the name of it
 *   checkpoints       the site signed them and may still know them; otherwise a copy's, signed by the site's key, whose tree
 *                     is the beginning of what lies here
 *   operations        leaves cannot be made again: from a copy whose log begins with the one that was signed here
 *
 * A checkpoint that lies here with a good signature is never exchanged. Of the operations log an older one is not taken
 * either, even when the one here is lost: the sites that cosigned the later one would refuse what is added to it. The tree of
 * entries grows again from an older one, to the same tree. `operations/next` is not looked at: it is written anew with the
 * next leaves. */
#include "repository/io/parts.h"

#include "repository/io/operations.h"
#include "repository/io/tree.h"
#include "repository/scrub.h"

#include "store/core/hash.h"

#include <stdio.h>

void repo_advance(struct repo_advance *a, uint64_t bytes)
{
    if (a == NULL)
        return;
    a->bytes += bytes;
    if (a->told != NULL)
        a->told(a->arg, a->bytes);
}

int repo_part_put(struct repo_backend *b, const char *name, struct bytes text,
                  struct repo_sources *from, struct err *e)
{
    uint8_t *there = NULL;
    size_t n = 0;
    int rc = repo_backend_read(b, name, TREE_FILE_MAX_BYTES, &there, &n, NULL);
    const bool same = rc == 0 && bytes_equal(bytes_of(there, n), text);
    free(there);
    if (same)
        return 0;
    from->files++;
    return repo_tree_replace(b, name, text, &from->sync_failed, e);
}

/* ---- signatures ---- */

struct signatures {
    const struct tlog_note *note;
    size_t held;
    struct err *e;
};

static int hold_one(void *arg, const struct tlog_key *key)
{
    struct signatures *s = arg;
    struct tlog_signature there;
    unsigned n = 0;
    while (tlog_note_signature(s->note, key, n, &there, NULL) != ERR_NOT_FOUND)
        n++;
    s->held += n;
    return n == 0 ? 0 : repo_note_verify(s->note, key, NULL, s->e);
}

int repo_signatures_hold(struct repo_backend *b, const struct tlog_note *note, struct err *e)
{
    struct signatures s = {.note = note, .e = e};
    size_t lines = 0;
    for (size_t i = 0; i < note->signatures.n; i++)
        lines += note->signatures.p[i] == '\n';
    int rc = repo_tree_keys(b, hold_one, &s, e);
    if (rc == 0 && s.held != lines)
        rc = err_set(e, ERR_INTEGRITY, "%zu of its %zu signatures are by no key in tree/keys",
                     lines - s.held, lines);
    return rc == 0 ? 0 : repo_damage(e);
}

/* ---- which there are ---- */

static int each_generation(struct repository *r,
                           int (*add)(void *arg, const char *name, struct utc written,
                                      bool damaged),
                           void *arg)
{
    char name[REPO_NAME_BYTES];
    struct repo_keyring keys = {0};
    int rc = repo_keyring_read(r, r->keyless ? NULL : &r->kek, &keys, NULL);
    for (size_t i = 0; rc == 0 && i < keys.count; i++) {
        const struct repo_generation *g = &keys.at[i];
        repo_name_keys_folder(g->number, name);
        rc = add(arg, name, g->retired ? g->given_up : g->made, !repo_generation_whole(g));
    }
    repo_keyring_release(&keys);
    return rc == ERR_NO_MEMORY ? rc : 0; /* otherwise those that the ledger knows are looked at */
}

int repo_parts_each(struct repository *r,
                    int (*add)(void *arg, const char *name, struct utc written, bool damaged),
                    void *arg, bool *tree_known)
{
    char name[REPO_NAME_BYTES];
    const struct utc never = {0};
    struct tlog_checkpoint tree = {.size = 0};
    struct tlog_note note;
    struct tlog_key by;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = add(arg, REPO_ABOUT_FILE, r->about.created, false);
    int known = repo_checkpoint_read(r->backend, REPO_TREE, &text, &n, &tree, &note, &by, NULL);
    free(text);
    *tree_known = known == 0;
    if (rc == 0 && known != ERR_NOT_FOUND)
        rc = add(arg, REPO_TREE_CHECKPOINT, never, known == ERR_INTEGRITY);
    for (uint64_t i = 0; rc == 0 && known == 0 && i * REPO_STRETCH_ENTRIES < tree.size; i++) {
        repo_part_stretch(i, name);
        rc = add(arg, name, never, false);
    }
    if (rc == 0 && repo_is_there(r, REPO_OPERATIONS_CHECKPOINT))
        rc = add(arg, REPO_OPERATIONS_CHECKPOINT, never, false);
    return rc == 0 ? each_generation(r, add, arg) : rc;
}

/* ---- how they are ---- */

static int check_about(struct repository *r, struct repo_advance *a, struct err *e)
{
    struct repo_about about;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc =
        repo_backend_read(r->backend, REPO_ABOUT_FILE, REPO_SMALL_TEXT_MAX_BYTES, &text, &n, e);
    if (rc == 0)
        rc = repo_about_read(bytes_of(text, n), &about, e);
    if (rc == 0 && !uuid_equal(&about.cluster_id, &r->about.cluster_id))
        rc = err_set(e, ERR_INTEGRITY, "it is that of another cluster's archive");
    free(text);
    repo_advance(a, n);
    return rc == 0 ? 0 : err_wrap(e, REPO_ABOUT_FILE);
}

static int pass_leaf(void *arg, uint64_t index, const struct operation *o)
{
    (void)arg;
    (void)index;
    (void)o;
    return 0;
}

struct pending_damage {
    bool found;
    char text[ERR_TEXT_BYTES];
};

static void note_pending(void *arg, const char *object, const char *reason)
{
    struct pending_damage *d = arg;
    if (!d->found)
        (void)snprintf(d->text, sizeof d->text, "%s: %.300s", object, reason);
    d->found = true;
}

static int check_cosigned(struct repository *r, struct err *e)
{
    struct tlog_checkpoint c;
    struct tlog_note note;
    struct tlog_key by;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_checkpoint_read(r->backend, REPO_OPERATIONS, &text, &n, &c, &note, &by, e);
    if (rc == 0 && (rc = repo_signatures_hold(r->backend, &note, e)) != 0)
        err_wrap(e, REPO_OPERATIONS_CHECKPOINT);
    free(text);
    return rc;
}

static int check_operations(struct repository *r, struct repo_advance *a, struct err *e)
{
    struct operations_summary sum;
    struct pending_damage bad = {.found = false};
    int rc = repo_operations_all(r, pass_leaf, NULL, note_pending, &bad, &sum, e);
    repo_advance(a, sum.leaves * (OPERATION_MAX_BYTES / 2));
    if (rc == 0)
        rc = check_cosigned(r, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, ERR_INTEGRITY, REPO_OPERATIONS_CHECKPOINT ": it is missing");
    return rc == 0 && bad.found ? err_set(e, ERR_INTEGRITY, "%s", bad.text) : rc;
}

int repo_part_check(struct repository *r, const struct repo_part *part, struct repo_advance *a,
                    struct err *e)
{
    int rc;
    if (part->kind == REPO_PART_ABOUT)
        rc = check_about(r, a, e);
    else if (part->kind == REPO_PART_OPERATIONS)
        rc = check_operations(r, a, e);
    else if (part->kind == REPO_PART_KEYS)
        rc = repo_keys_part(r, part->generation, NULL, a, e);
    else
        rc = repo_tree_part(r->backend, &r->about.cluster_id, part, NULL, a, e);
    return rc == 0 ? 0 : repo_damage(e);
}

/* ---- keys ---- */

struct key_mend {
    struct repository *r;
    struct repo_sources *from;
    struct err *e;
};

static bool read_key(struct repo_backend *b, const char *name, struct bytes *text,
                     uint8_t buf[TLOG_VKEY_BYTES + 1])
{
    char expected[REPO_NAME_BYTES];
    struct tlog_key key;
    uint8_t *there = NULL;
    size_t n = 0;
    bool good = repo_backend_read(b, name, TLOG_VKEY_BYTES, &there, &n, NULL) == 0 &&
                tlog_key_parse(bytes_of(there, n), &key, NULL) == 0;
    (void)snprintf(expected, sizeof expected, "tree/keys/%08x", good ? key.id : 0);
    good = good && strcmp(expected, name) == 0;
    if (good)
        memcpy(buf, there, n);
    *text = bytes_of(buf, good ? n : 0);
    free(there);
    return good;
}

static int mend_key(void *arg, const char *name)
{
    const struct key_mend *m = arg;
    uint8_t buf[TLOG_VKEY_BYTES + 1];
    struct bytes text;
    if (read_key(m->r->backend, name, &text, buf))
        return 0;
    for (size_t i = 0; i < m->from->n; i++)
        if (read_key(m->from->others[i], name, &text, buf)) {
            m->from->used = i + 1;
            return repo_part_put(m->r->backend, name, text, m->from, m->e);
        }
    return 0; /* what needs it says so */
}

static int mend_keys(struct repository *r, struct repo_sources *from, struct err *e)
{
    const struct tlog_key *own[] = {repo_tree_key(r->tree), repo_operations_key(r->operations)};
    struct key_mend m = {r, from, e};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof own / sizeof own[0]; i++) {
        char name[REPO_NAME_BYTES], line[TLOG_VKEY_BYTES + 1];
        (void)snprintf(name, sizeof name, "tree/keys/%08x", own[i]->id);
        tlog_key_format(own[i], line);
        const size_t n = strlen(line);
        line[n] = '\n';
        if (i == 0 || repo_is_there(r, REPO_OPERATIONS_CHECKPOINT))
            rc = repo_part_put(r->backend, name, bytes_of(line, n + 1), from, e);
    }
    return rc == 0 ? repo_backend_list(r->backend, "tree/keys", mend_key, &m, e) : rc;
}

/* ---- the tree's checkpoint ---- */

/* What a place has for a checkpoint, when the site's key signed it and the other signatures hold, too. */
static int read_signed(struct repo_backend *b, const char *root, const struct tlog_key *key,
                       struct tlog_checkpoint *out, uint8_t **text, size_t *n, struct err *e)
{
    struct tlog_note note;
    struct tlog_key by;
    *text = NULL;
    int rc = repo_checkpoint_read(b, root, text, n, out, &note, &by, e);
    if (rc == 0)
        rc = repo_note_verify(&note, key, NULL, e);
    if (rc == 0)
        rc = repo_signatures_hold(b, &note, e);
    if (rc == 0 && strcmp(out->origin, key->name) != 0)
        rc = err_set(e, ERR_INTEGRITY, "it is of another log: %.120s", out->origin);
    if (rc == 0)
        return 0;
    free(*text);
    *text = NULL;
    return rc;
}

/* The packs reach so far, and the tiles that lie here lead to its root. */
static bool is_ours(struct repository *r, const struct tlog_checkpoint *c)
{
    struct repo_tiles tiles = {.backend = r->backend, .root = REPO_TREE, .size = c->size};
    struct sha256 root;
    return c->size <= repo_archived(&r->inv).lsn.v &&
           tlog_root(c->size, repo_tiles_node, &tiles, &root, NULL) == 0 &&
           sha256_equal(&root, &c->root);
}

/* Of the checkpoint that lies here, when only its cosignatures are damaged. */
static uint64_t size_here(struct repository *r)
{
    struct tlog_checkpoint c;
    struct tlog_note note;
    struct tlog_key by;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_checkpoint_read(r->backend, REPO_TREE, &text, &n, &c, &note, &by, NULL);
    free(text);
    return rc == 0 ? c.size : 0;
}

/* The largest that the copies have. */
static int checkpoint_from_others(struct repository *r, struct repo_sources *from, struct err *e)
{
    uint8_t *best = NULL, *text = NULL;
    size_t best_bytes = 0, n = 0;
    const uint64_t here = size_here(r);
    uint64_t size = here == 0 ? 0 : here - 1; /* that it must be larger than */
    int rc = 0;
    for (size_t i = 0; i < from->n; i++) {
        struct tlog_checkpoint c;
        if (read_signed(from->others[i], REPO_TREE, repo_tree_key(r->tree), &c, &text, &n, NULL) !=
            0)
            continue;
        if (c.size <= size || !is_ours(r, &c)) {
            free(text);
            continue;
        }
        free(best);
        best = text;
        best_bytes = n;
        size = c.size;
        from->used = i + 1;
    }
    if (best == NULL)
        rc = err_set(e, ERR_NOT_FOUND,
                     REPO_TREE_CHECKPOINT ": no copy has one that the site's key signed, and "
                                          "whose tree is the one that lies here");
    else
        rc = repo_tree_replace(r->backend, REPO_TREE_CHECKPOINT, bytes_of(best, best_bytes),
                               &from->sync_failed, e);
    free(best);
    return rc;
}

static int mend_checkpoint(struct repository *r, struct repo_sources *from, struct err *e)
{
    struct tlog_checkpoint c;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = mend_keys(r, from, e);
    if (rc == 0 &&
        read_signed(r->backend, REPO_TREE, repo_tree_key(r->tree), &c, &text, &n, NULL) == 0) {
        free(text);
        return 0;
    }
    if (rc == 0)
        rc = repo_tree_again(r, e);
    return rc == ERR_NOT_READY ? checkpoint_from_others(r, from, e) : rc;
}

/* ---- the operations log ---- */

struct laying {
    struct repo_backend *b;
    struct repo_sources *from; /* NULL: nothing is put, only added up */
    struct tlog_edge edge;
    const uint8_t *bundle; /* where the leaves of the last tile begin */
    size_t bundle_bytes;
    struct err *e;
};

static int lay_tile(void *arg, const struct tlog_tile *t, const struct sha256 *hashes)
{
    struct laying *x = arg;
    char name[REPO_TILE_NAME_BYTES];
    int rc = 0;
    repo_tile_name(REPO_OPERATIONS, t, false, name);
    if (x->from != NULL)
        rc = repo_part_put(x->b, name, bytes_of(hashes, (size_t)TLOG_HASH_BYTES * t->width),
                           x->from, x->e);
    if (rc != 0 || t->level != 0)
        return rc;
    repo_tile_name(REPO_OPERATIONS, t, true, name);
    if (x->from != NULL)
        rc = repo_part_put(x->b, name, bytes_of(x->bundle, x->bundle_bytes), x->from, x->e);
    x->bundle += x->bundle_bytes;
    x->bundle_bytes = 0;
    return rc;
}

/* The first `size` leaves: what they add up to, and with `from` their tiles and bundles put where they belong. */
static int lay(struct repository *r, const struct repo_operations_read *log, uint64_t size,
               struct repo_sources *from, struct sha256 *root, struct err *e)
{
    struct laying *x = calloc(1, sizeof *x);
    struct tlog_tile t;
    size_t at = 0;
    int rc = 0;
    if (x == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
    x->b = r->backend;
    x->from = from;
    x->bundle = log->leaves;
    x->e = e;
    while (rc == 0 && x->edge.size < size && at < log->bytes) {
        const size_t n = (size_t)(log->leaves[at] << 8 | log->leaves[at + 1]);
        const struct sha256 leaf = tlog_leaf_hash(bytes_of(log->leaves + at + 2, n));
        x->bundle_bytes += 2 + n;
        at += 2 + n;
        rc = tlog_edge_add(&x->edge, &leaf, lay_tile, x);
    }
    for (unsigned level = TLOG_LEVELS; rc == 0 && level > 0; level--)
        if (tlog_tile_partial(level - 1, size, &t))
            rc = lay_tile(x, &t, x->edge.row[level - 1]);
    *root = tlog_edge_root(&x->edge);
    free(x);
    return rc;
}

static int wider(void *arg, const char *name)
{
    const struct tlog_tile *t = arg;
    return strtoul(strrchr(name, '/') + 1, NULL, 10) > t->width ? 1 : 0;
}

/* Are there leaves here behind so many? They were signed once. */
static bool goes_further(struct repository *r, uint64_t size)
{
    struct tlog_tile t = {0, size / TLOG_TILE_WIDTH, TLOG_TILE_WIDTH};
    char name[REPO_TILE_NAME_BYTES];
    repo_tile_name(REPO_OPERATIONS, &t, true, name);
    if (repo_is_there(r, name))
        return true;
    t.width = 1;
    repo_tile_name(REPO_OPERATIONS, &t, true, name);
    *strrchr(name, '/') = '\0';
    t.width = (unsigned)(size % TLOG_TILE_WIDTH);
    return repo_backend_list(r->backend, name, wider, &t, NULL) != 0;
}

/* From one other place. `here` is NULL when no checkpoint of the site lies here. */
static int operations_from(struct repository *r, struct repo_backend *other,
                           const struct tlog_checkpoint *here, struct repo_sources *from,
                           struct err *e)
{
    const struct tlog_key *key = repo_operations_key(r->operations);
    struct repo_operations_read *log = calloc(1, sizeof *log);
    struct sha256 root;
    if (log == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
    int rc = repo_operations_read(other, &r->about.cluster_id, log, e);
    const uint64_t size = here != NULL ? here->size : log->checkpoint.size;
    if (rc == 0 && log->by.id != key->id)
        rc = err_set(e, ERR_INTEGRITY, "it is not signed by the site's key");
    if (rc == 0 && log->checkpoint.size < size)
        rc = err_set(e, ERR_STALE, "it has %llu leaves of %llu",
                     (unsigned long long)log->checkpoint.size, (unsigned long long)size);
    if (rc == 0 && here == NULL && goes_further(r, size))
        rc = err_set(e, ERR_STALE, "it ends with leaf %llu, and more lie here",
                     (unsigned long long)size);
    if (rc == 0)
        rc = lay(r, log, size, NULL, &root, e);
    if (rc == 0 && here != NULL && !sha256_equal(&root, &here->root))
        rc = err_set(e, ERR_INTEGRITY, "it does not begin with the log that was signed here");
    if (rc == 0)
        rc = lay(r, log, size, from, &root, e);
    if (rc == 0 && here == NULL)
        rc = repo_tree_replace(r->backend, REPO_OPERATIONS_CHECKPOINT,
                               bytes_of(log->note, log->note_bytes), &from->sync_failed, e);
    repo_operations_release(log);
    free(log);
    return rc;
}

static int mend_operations(struct repository *r, struct repo_sources *from, struct err *e)
{
    const struct tlog_key *key = repo_operations_key(r->operations);
    struct tlog_checkpoint c;
    struct repo_part part = {.kind = REPO_PART_OPERATIONS};
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = mend_keys(r, from, e);
    if (rc != 0)
        return rc;
    bool here = read_signed(r->backend, REPO_OPERATIONS, key, &c, &text, &n, NULL) == 0;
    free(text);
    if (!here && repo_operations_again(r, &from->sync_failed, NULL) == 0) {
        here = read_signed(r->backend, REPO_OPERATIONS, key, &c, &text, &n, NULL) == 0;
        free(text);
    }
    rc = repo_part_check(r, &part, NULL, e);
    for (size_t i = 0; rc != 0 && i < from->n; i++) {
        struct err why = ERR_NONE;
        rc = operations_from(r, from->others[i], here ? &c : NULL, from, &why);
        if (rc != 0 && e != NULL)
            *e = why;
        from->used = rc == 0 ? i + 1 : from->used;
    }
    if (rc != 0 && from->n == 0)
        err_wrap(e, "leaves cannot be made again, and no copy can be read");
    return rc;
}

/* ---- all ---- */

static int mend_about(struct repository *r, struct repo_sources *from, struct err *e)
{
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_about_write(&r->about, &text, &n, e);
    if (rc == 0)
        rc = repo_part_put(r->backend, REPO_ABOUT_FILE, bytes_of(text, n), from, e);
    free(text);
    return rc;
}

static int mend(struct repository *r, const struct repo_part *part, struct repo_sources *from,
                struct err *e)
{
    if (part->kind == REPO_PART_ABOUT)
        return mend_about(r, from, e);
    if (part->kind == REPO_PART_KEYS)
        return repo_keys_part(r, part->generation, from, NULL, e);
    if (r->tree == NULL || r->operations == NULL)
        return err_set(e, ERR_NOT_READY, "the tree is not open for writing, see its trouble");
    if (part->kind == REPO_PART_OPERATIONS)
        return mend_operations(r, from, e);
    int rc = mend_checkpoint(r, from, e);
    return rc == 0 ? repo_tree_part(r->backend, &r->about.cluster_id, part, from, NULL, e) : rc;
}

/* Those that answer. */
static size_t open_others(const char *const copies[], size_t n, struct repo_backend **others,
                          size_t *which)
{
    size_t open = 0;
    for (size_t i = 0; i < n; i++)
        if (repo_backend_open(copies[i], false, false, &others[open], NULL) == 0)
            which[open++] = i;
    return open;
}

int repository_heal_part(struct repository *r, const char *name, const char *const copies[],
                         size_t n, size_t *used, struct err *e)
{
    enum { COPIES_MAX = 16 };
    struct repo_backend *others[COPIES_MAX] = {NULL};
    size_t which[COPIES_MAX] = {0};
    struct repo_part part;
    struct repo_sources from = {.packs = r, .others = others};
    *used = n;
    if (repo_part_parse(name, &part) != 0 || part.kind == REPO_PART_OBJECT)
        return err_set(e, ERR_USAGE, "%s is no part of an archive but an object", name);
    if (r->failed.code != 0)
        return err_set(e, r->failed.code, "nothing is written any more after: %.400s",
                       r->failed.text);
    from.n = open_others(copies, n < COPIES_MAX ? n : COPIES_MAX, others, which);
    int rc = mend(r, &part, &from, e);
    for (size_t i = 0; i < from.n; i++)
        repo_backend_close(others[i]);
    if (from.used != 0)
        *used = which[from.used - 1];
    if (from.sync_failed)
        err_set(&r->failed, ERR_IO, "%s", e == NULL || rc == 0 ? "a sync failed" : e->text);
    return rc;
}
