/* The operations log: growing it, at the archive's site.
 *
 * What it lacks is found and not remembered: packs and snapshots of the inventory that no leaf names, those that were disposed
 * of and no leaf says so, packs that it names and in whose place another one stands now, holds and releases that came into
 * force, and what was handed in. So one way serves what was just sealed, what a crash left without a leaf, and an archive that
 * is older than its log.
 *
 * Unlike the leaves of the tree, those of an operation cannot be made again as they were (they have a random id). So
 * before tiles are written, the new leaves are written down, signed, as `operations/next`:
 *
 *   next   signed note with the text: "<origin>/next", size of the log that it continues, then the leaves, a line each
 *
 * A writer that finds one for the log as it stands adds exactly that first, and makes the same tiles.
 *
 * A checkpoint that is missing where there was one is damage, as one that cannot be read, and nothing is signed: leaves that lie
 * there would be covered by others. Where the whole folder is gone a new log is begun, and that is told.
 *
 * INVARIANTS
 *   I1  A checkpoint is signed only when all tiles and bundles of its tree are durable, and its tree begins with the one of the
 *       checkpoint before: the edge that it grew from has that root.
 *   I2  For one size of the log there is one `next`.
 *   I3  A leaf names the newest tree of entries that was published, or a newer one that a leaf before it named: a tree
 *       that was put back to an earlier state is behind its log for ever. */
#include "repository/io/operations.h"

#include "repository/io/tree.h"
#include "repository/operations.h"
#include "store/core/check.h"
#include "store/core/hex.h"

#include <stdio.h>

enum {
    BATCH_LEAVES = 32, /* in one `next`, which is at most as large as a checkpoint may be */
    NEXT_OLDER_MAX = 64,
};
static const char checkpoint_name[] = "operations/checkpoint", next_name[] = "operations/next";

struct ordered_leaf {
    enum operation_kind kind;
    struct sha256 warrant;
};

struct repo_operations {
    struct repo_signer *signer;
    bool ready, key_published;
    struct tlog_edge edge;
    uint8_t bundle[TREE_FILE_MAX_BYTES]; /* the last, partial one */
    size_t bundle_bytes;
    struct operation_inventory inv; /* its array is allocated */
    uint64_t *taken;                /* ids of the leaves that were handed in */
    size_t taken_count, taken_cap;
    struct ordered_leaf *ordered; /* holds and releases that have a leaf */
    size_t ordered_count, ordered_cap;
    struct repo_tree_files files;
    struct repo_tree_note note; /* as it is on disk, while `ready` */
    char lost[ERR_TEXT_BYTES];  /* see repository_operations_lost */
    uint8_t next[TLOG_CHECKPOINT_MAX_BYTES];
};

int repo_operations_open(struct repository *r, const char *key_file, struct err *e)
{
    char origin[TLOG_NAME_BYTES];
    struct repo_operations *o = calloc(1, sizeof *o);
    if (o == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
    o->files.backend = r->backend;
    repo_operations_origin(&r->about.cluster_id, origin);
    int rc = repo_signer_load(key_file, origin, TLOG_KEY_LOG, &o->signer, e);
    if (rc == 0)
        r->operations = o;
    else
        repo_operations_free(o);
    return rc;
}

void repo_operations_free(struct repo_operations *o)
{
    if (o == NULL)
        return;
    repo_signer_free(o->signer);
    repo_tree_files_drop(&o->files);
    free(o->inv.at);
    free(o->taken);
    free(o->ordered);
    free(o);
}

const struct tlog_key *repo_operations_key(const struct repo_operations *o)
{
    return repo_signer_key(o->signer);
}

int repo_operations_again(struct repository *r, bool *sync_failed, struct err *e)
{
    const struct repo_operations *x = r->operations;
    if (!x->ready || x->note.n == 0)
        return err_set(e, ERR_NOT_READY, "the checkpoint of the operations log is not known here");
    return repo_tree_replace(r->backend, checkpoint_name, bytes_of(x->note.text, x->note.n),
                             sync_failed, e);
}

/* ---- what is in it ---- */

static int note_ordered(struct repo_operations *x, const struct operation *o, struct err *e)
{
    if (x->ordered_count == x->ordered_cap) {
        size_t cap = x->ordered_cap == 0 ? 64 : 2 * x->ordered_cap;
        struct ordered_leaf *more = realloc(x->ordered, cap * sizeof *more);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
        x->ordered = more;
        x->ordered_cap = cap;
    }
    x->ordered[x->ordered_count++] = (struct ordered_leaf){o->kind, o->reference};
    return 0;
}

static int note_leaf(struct repo_operations *x, const struct operation *o, struct err *e)
{
    if (o->kind == OPERATION_PACK || o->kind == OPERATION_SNAPSHOT)
        return repo_operations_replay(&x->inv, o, e);
    int rc = o->kind == OPERATION_HOLD || o->kind == OPERATION_RELEASE ? note_ordered(x, o, e) : 0;
    if (rc != 0)
        return rc;
    if (x->taken_count == x->taken_cap) {
        size_t cap = x->taken_cap == 0 ? 64 : 2 * x->taken_cap;
        uint64_t *more = realloc(x->taken, cap * sizeof *more);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
        x->taken = more;
        x->taken_cap = cap;
    }
    x->taken[x->taken_count++] = o->id;
    return repo_operations_replay(&x->inv, o, e);
}

struct noting {
    struct repo_operations *x;
    struct err *e;
};

static int note_one(void *arg, uint64_t index, const struct operation *o)
{
    const struct noting *n = arg;
    (void)index;
    return note_leaf(n->x, o, n->e);
}

static int load_log(struct repository *r, struct repo_operations *x, struct err *e)
{
    struct repo_operations_read *log = calloc(1, sizeof *log);
    if (log == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
    int rc = repo_operations_read(r->backend, &r->about.cluster_id, log, e);
    if (rc == 0)
        rc = repo_operations_each(log, note_one, &(struct noting){x, e}, e);
    else if (rc == ERR_NOT_FOUND)
        rc = 0;
    if (rc == 0) {
        x->edge = log->edge;
        x->note.n = log->note_bytes <= sizeof x->note.text ? log->note_bytes : 0;
        if (x->note.n != 0)
            memcpy(x->note.text, log->note, x->note.n);
        x->bundle_bytes = log->bytes - log->partial;
        if (x->bundle_bytes != 0)
            memcpy(x->bundle, log->leaves + log->partial, x->bundle_bytes);
    }
    repo_operations_release(log);
    free(log);
    return rc;
}

/* No checkpoint is there, and no `next` that the log begins with. Was there one? */
static int begin_anew(struct repository *r, struct repo_operations *x, struct err *e)
{
    if (repo_tiles_any(r->backend, REPO_OPERATIONS))
        return err_set(e, ERR_INTEGRITY,
                       "%s is missing, and what it signed lies there: bring it back from a copy "
                       "(triveni archive heal). Where no copy has it, stop this site and remove "
                       "operations/: it begins a new log, which the other sites do not cosign",
                       checkpoint_name);
    if (repo_operations_key_lies(r))
        (void)snprintf(
            x->lost, sizeof x->lost,
            "LOST operations/: its key lies in tree/keys, so it was signed before. A new "
            "log is begun, without what the other one said of the past, and other sites "
            "do not cosign it: stop this site, bring operations/ back from a copy, and "
            "see triveni archive verify");
    return 0;
}

/* ---- adding to it ---- */

struct growth {
    struct repo_operations *x;
    struct err *e;
};

static int write_tile(struct repo_operations *x, const struct tlog_tile *t,
                      const struct sha256 *hashes, struct err *e)
{
    char name[REPO_TILE_NAME_BYTES];
    repo_tile_name(REPO_OPERATIONS, t, false, name);
    int rc = repo_tree_files_add(&x->files, name,
                                 bytes_of(hashes, (size_t)TLOG_HASH_BYTES * t->width), e);
    if (rc != 0 || t->level != 0)
        return rc;
    repo_tile_name(REPO_OPERATIONS, t, true, name);
    return repo_tree_files_add(&x->files, name, bytes_of(x->bundle, x->bundle_bytes), e);
}

static int tile_full(void *arg, const struct tlog_tile *t, const struct sha256 *hashes)
{
    const struct growth *g = arg;
    int rc = write_tile(g->x, t, hashes, g->e);
    if (t->level == 0)
        g->x->bundle_bytes = 0;
    return rc;
}

static int add_leaf(struct repo_operations *x, struct bytes leaf, struct err *e)
{
    struct operation o;
    struct growth g = {x, e};
    int rc = operation_read(leaf, &o, e);
    if (rc == 0)
        rc = note_leaf(x, &o, e);
    if (rc != 0)
        return rc;
    uint8_t *slot = x->bundle + x->bundle_bytes;
    slot[0] = (uint8_t)(leaf.n >> 8); /* big-endian, as the specification wants it */
    slot[1] = (uint8_t)leaf.n;
    memcpy(slot + 2, leaf.p, leaf.n);
    x->bundle_bytes += 2 + leaf.n;
    struct sha256 hash = tlog_leaf_hash(leaf);
    return tlog_edge_add(&x->edge, &hash, tile_full, &g);
}

static int publish(struct repository *r, struct repo_operations *x, uint64_t old, struct err *e)
{
    struct tlog_checkpoint c = {.size = x->edge.size, .root = tlog_edge_root(&x->edge)};
    char text[TLOG_CHECKPOINT_BYTES], note[TLOG_CHECKPOINT_BYTES];
    struct writer w = writer_of(text, sizeof text), n = writer_of(note, sizeof note);
    struct tlog_tile t;
    int rc = x->key_published ? 0 : repo_tree_key_add(&x->files, repo_signer_key(x->signer), e);
    for (unsigned level = 0; rc == 0 && level < TLOG_LEVELS; level++)
        if (tlog_tile_partial(level, c.size, &t))
            rc = write_tile(x, &t, x->edge.row[level], e);
    if (rc == 0)
        rc = repo_tree_files_flush(&x->files, e);
    repo_operations_origin(&r->about.cluster_id, c.origin);
    tlog_checkpoint_write(&w, &c);
    if (rc == 0)
        rc = repo_note_sign(x->signer, bytes_of(text, w.at), &n, e);
    check(!w.bad && !n.bad);
    if (rc == 0)
        rc = repo_tree_replace(r->backend, checkpoint_name, bytes_of(note, n.at),
                               &x->files.sync_failed, e);
    if (rc != 0)
        return rc;
    x->key_published = true;
    memcpy(x->note.text, note, n.at);
    x->note.n = n.at;
    repo_tree_tidy(r->backend, REPO_OPERATIONS, old, c.size);
    return 0;
}

/* Take the lines of a `next` behind its first two into the log. */
static int add_lines(struct repository *r, struct repo_operations *x, struct bytes lines,
                     struct err *e)
{
    const uint64_t old = x->edge.size;
    int rc = 0;
    while (rc == 0 && lines.n != 0) {
        const uint8_t *end = memchr(lines.p, '\n', lines.n);
        check(end != NULL); /* a note ends in one */
        struct bytes leaf = bytes_of(lines.p, (size_t)(end - lines.p));
        lines = bytes_of(end + 1, lines.n - leaf.n - 1);
        rc = add_leaf(x, leaf, e);
    }
    return rc == 0 ? publish(r, x, old, e) : rc;
}

static size_t next_head(const struct repository *r, const struct repo_operations *x, char out[200])
{
    char origin[TLOG_NAME_BYTES];
    repo_operations_origin(&r->about.cluster_id, origin);
    return (size_t)snprintf(out, 200, "%s/next\n%llu\n", origin, (unsigned long long)x->edge.size);
}

/* Is there one for the log as it stands? A writer was interrupted: add it. */
static int add_next(struct repository *r, struct repo_operations *x, struct err *e)
{
    char head[200];
    size_t head_bytes = next_head(r, x, head);
    for (unsigned older = 0; older < NEXT_OLDER_MAX; older++) {
        struct tlog_note note;
        uint8_t *text = NULL;
        size_t n = 0;
        int rc =
            repo_backend_read_older(r->backend, next_name, older, sizeof x->next, &text, &n, e);
        if (rc != 0)
            return rc == ERR_NOT_FOUND ? 0 : rc;
        bool ours = tlog_note_parse(bytes_of(text, n), &note, NULL) == 0 &&
                    repo_note_verify(&note, repo_signer_key(x->signer), NULL, NULL) == 0;
        bool fits = ours && note.text.n > head_bytes && memcmp(note.text.p, head, head_bytes) == 0;
        if (fits)
            rc = add_lines(r, x, bytes_of(note.text.p + head_bytes, note.text.n - head_bytes), e);
        free(text);
        if (ours)
            return rc;
    }
    return 0;
}

/* Some leaves: written down, then added. */
static int add_batch(struct repository *r, struct repo_operations *x, const struct operation *ops,
                     size_t n, struct err *e)
{
    static const size_t cap = 200 + BATCH_LEAVES * (OPERATION_MAX_BYTES + 1);
    uint8_t *text = malloc(cap);
    struct writer w = writer_of(text, cap), note = writer_of(x->next, sizeof x->next);
    if (text == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
    w.at = next_head(r, x, (char *)text);
    size_t head = w.at;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = operation_write(&w, &ops[i], e);
        write_u8(&w, '\n');
    }
    if (rc == 0)
        rc = repo_note_sign(x->signer, bytes_of(text, w.at), &note, e);
    if (rc == 0)
        rc = repo_tree_replace(r->backend, next_name, bytes_of(x->next, note.at),
                               &x->files.sync_failed, e);
    if (rc == 0)
        rc = add_lines(r, x, bytes_of(text + head, w.at - head), e);
    free(text);
    return rc;
}

/* ---- what it lacks ---- */

struct lacking {
    struct operation *at;
    size_t n, cap;
};

static int lack(struct lacking *l, const struct operation *o, struct err *e)
{
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 64 : 2 * l->cap;
        struct operation *more = realloc(l->at, cap * sizeof *more);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
        l->at = more;
        l->cap = cap;
    }
    l->at[l->n++] = *o;
    return 0;
}

/* That its key was destroyed, and by which warrant. The leaf that names the object comes before it. */
static int lack_disposal(struct lacking *l, const struct repo_object *object, struct lsn first,
                         struct err *e)
{
    const struct repository_order *by = &object->by;
    char nonce[2 * REPOSITORY_NONCE_BYTES + 1];
    struct operation o = {.kind = OPERATION_DISPOSE,
                          .time.us = by->time.us > object->created.us ? by->time.us
                                                                      : object->created.us + 1,
                          .first = first,
                          .last = object->end.lsn,
                          .has_reference = true,
                          .reference = by->warrant};
    hex_format(by->nonce, sizeof by->nonce, nonce);
    (void)snprintf(o.object, sizeof o.object, "%s", object->name);
    (void)snprintf(o.detail, sizeof o.detail, "warrant %s", nonce);
    int rc = repo_random(&o.id, sizeof o.id, e);
    return rc == 0 ? lack(l, &o, e) : rc;
}

static int lack_object(struct repository *r, struct lacking *l, enum operation_kind kind,
                       const struct repo_object *object, struct lsn first, struct err *e)
{
    const struct operation_object *named = operation_find(&r->operations->inv, object->name);
    struct operation o = {.kind = kind,
                          .time = object->created,
                          .bytes = object->bytes,
                          .sha256 = object->sha256,
                          .first = first,
                          .last = object->end.lsn,
                          .mended = object->created.us < r->opened.us};
    int gone = object->disposed && (named == NULL || !named->disposed)
                   ? lack_disposal(l, object, first, e)
                   : 0;
    if (gone != 0 || object->damaged || named != NULL)
        return gone;
    (void)snprintf(o.object, sizeof o.object, "%s", object->name);
    int rc = repo_random(&o.id, sizeof o.id, e);
    return rc == 0 ? lack(l, &o, e) : rc;
}

/* In most cases it is the i-th leaf of its kinds. */
static bool is_named(const struct repo_operations *x, enum operation_kind kind,
                     const struct sha256 *warrant, size_t i)
{
    for (size_t k = 0; k < x->ordered_count; k++) {
        const struct ordered_leaf *l = &x->ordered[(i + k) % x->ordered_count];
        if (l->kind == kind && sha256_equal(&l->warrant, warrant))
            return true;
    }
    return false;
}

/* A leaf is for strangers: which records are held, and what the hold is called, stands in the warrant. */
static int lack_order(struct repository *r, struct lacking *l, const struct repository_ordered *x,
                      size_t i, struct err *e)
{
    char nonce[2 * REPOSITORY_NONCE_BYTES + 1], ends[2 * REPOSITORY_NONCE_BYTES + 1];
    struct operation o = {.kind = x->release ? OPERATION_RELEASE : OPERATION_HOLD,
                          .time = x->by.time,
                          .last = x->by.lsn,
                          .has_reference = true,
                          .reference = x->by.warrant};
    if (is_named(r->operations, o.kind, &o.reference, i))
        return 0;
    hex_format(x->by.nonce, sizeof x->by.nonce, nonce);
    hex_format(x->ends, sizeof x->ends, ends);
    (void)snprintf(o.detail, sizeof o.detail,
                   x->release ? "warrant %s ends warrant %s" : "warrant %s", nonce, ends);
    int rc = repo_random(&o.id, sizeof o.id, e);
    return rc == 0 ? lack(l, &o, e) : rc;
}

/* Packs whose entries are in another one: that one's own leaf comes before. */
static int lack_healed(struct repository *r, struct lacking *l, struct err *e)
{
    const struct operation_inventory *named = &r->operations->inv;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < named->n; i++) {
        const char *name = named->at[i].name;
        const struct repo_pack *p = repo_pack_instead(&r->inv, name);
        const struct operation_object *by = p == NULL ? NULL : operation_find(named, p->o.name);
        if (named->at[i].healed || named->at[i].disposed || p == NULL ||
            (by != NULL && by->healed)) /* that one was given up before */
            continue;
        struct operation o = {.kind = OPERATION_HEAL,
                              .time.us = p->o.created.us + 1,
                              .first = p->first,
                              .last = p->o.end.lsn,
                              .checked = 1,
                              .damaged = 1};
        (void)snprintf(o.object, sizeof o.object, "%s", name);
        (void)snprintf(o.detail, sizeof o.detail, "%s", p->o.name);
        rc = repo_random(&o.id, sizeof o.id, e);
        if (rc == 0)
            rc = lack(l, &o, e);
    }
    return rc;
}

/* What was handed in before and cannot be removed, or was not, is left out, and removed. */
static int lack_pending(struct repository *r, struct lacking *l, struct repo_pending *pending,
                        struct err *e)
{
    const struct repo_operations *x = r->operations;
    int rc = repo_pending_list(r->backend, pending, e);
    for (size_t i = 0; rc == 0 && i < x->taken_count; i++)
        repo_pending_taken(pending, x->taken[i]);
    if (rc == 0)
        rc = repo_pending_read(r, pending, NULL, NULL, e);
    for (size_t i = 0; rc == 0 && i < pending->n; i++)
        rc = lack(l, &pending->at[i].o, e);
    return rc;
}

static int by_time(const void *a, const void *b)
{
    const struct operation *x = a, *y = b;
    if (x->time.us != y->time.us)
        return x->time.us < y->time.us ? -1 : 1;
    return (x->last.v > y->last.v) - (x->last.v < y->last.v);
}

static int gather(struct repository *r, const struct repository_orders *orders, struct lacking *l,
                  struct repo_pending *pending, struct err *e)
{
    const struct repo_inventory *inv = &r->inv;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < inv->pack_count; i++)
        rc = lack_object(r, l, OPERATION_PACK, &inv->packs[i].o, inv->packs[i].first, e);
    for (size_t i = 0; rc == 0 && i < inv->snapshot_count; i++)
        rc = lack_object(r, l, OPERATION_SNAPSHOT, &inv->snapshots[i].o, (struct lsn){0}, e);
    for (size_t i = 0; rc == 0 && orders != NULL && i < orders->n; i++)
        rc = lack_order(r, l, &orders->at[i], i, e);
    if (rc == 0)
        rc = lack_healed(r, l, e);
    if (rc == 0)
        rc = lack_pending(r, l, pending, e);
    if (rc == 0 && l->n != 0)
        qsort(l->at, l->n, sizeof *l->at, by_time);
    return rc;
}

static int add_all(struct repository *r, struct repo_operations *x, struct lacking *l,
                   struct err *e)
{
    uint64_t size = repo_tree_signed(r->tree).v;
    struct sha256 root = repo_tree_signed_root(r->tree);
    int rc = 0;
    if (size < x->inv.tree_size) {
        size = x->inv.tree_size;
        root = x->inv.tree_root;
    }
    for (size_t i = 0; i < l->n; i++) {
        l->at[i].tree_size = size;
        l->at[i].tree_root = root;
    }
    for (size_t i = 0; rc == 0 && i < l->n; i += BATCH_LEAVES)
        rc = add_batch(r, x, l->at + i, l->n - i < BATCH_LEAVES ? l->n - i : BATCH_LEAVES, e);
    return rc;
}

static int load(struct repository *r, struct repo_operations *x, struct err *e)
{
    memset(&x->edge, 0, sizeof x->edge);
    x->bundle_bytes = x->taken_count = x->ordered_count = 0;
    x->inv.n = 0;
    x->inv.tree_size = 0;
    x->note.n = 0;
    int rc = load_log(r, x, e);
    if (rc == 0)
        rc = add_next(r, x, e);
    if (rc == 0 && x->edge.size == 0)
        rc = begin_anew(r, x, e);
    x->ready = rc == 0;
    return rc;
}

/* What is in memory may be ahead of the disk, which counts: the next call reads it. */
static int begin_again(struct repository *r, struct repo_operations *x, int rc, struct err *e)
{
    x->ready = false;
    repo_tree_files_drop(&x->files);
    err_wrap(e, "operations log");
    if (x->files.sync_failed) {
        r->failed = (struct err)ERR_NONE;
        err_set(&r->failed, ERR_IO, "%s", e == NULL ? "a sync failed" : e->text);
    }
    return rc;
}

int repository_operations_settle(struct repository *r, const struct repository_orders *orders,
                                 struct err *e)
{
    struct repo_operations *x = r->operations;
    struct lacking l = {0};
    struct repo_pending pending = {0};
    check(x != NULL && r->tree != NULL);
    if (r->failed.code != 0)
        return err_set(e, r->failed.code, "nothing is written any more after: %.400s",
                       r->failed.text);
    int rc = x->ready ? 0 : load(r, x, e);
    if (rc == 0)
        rc = gather(r, orders, &l, &pending, e);
    if (rc == 0)
        rc = add_all(r, x, &l, e);
    for (size_t i = 0; rc == 0 && i < pending.n; i++)
        (void)repo_backend_remove(r->backend, pending.at[i].name);
    repo_pending_release(&pending);
    free(l.at);
    return rc == 0 ? 0 : begin_again(r, x, rc, e);
}

const char *repository_operations_lost(const struct repository *r)
{
    return r->operations == NULL ? "" : r->operations->lost;
}

/* ---- cosignatures ---- */

uint64_t repository_operations_size(const struct repository *r)
{
    const struct repo_operations *x = r->operations;
    return x == NULL || !x->ready ? 0 : x->edge.size;
}

int repository_operations_cosigned(struct repository *r, const char *site, uint64_t size,
                                   struct bytes vkey, struct bytes line, uint64_t *time_s,
                                   struct err *e)
{
    struct repo_operations *x = r->operations;
    bool added = false;
    *time_s = 0;
    if (size == 0 || size != repository_operations_size(r))
        return err_set(e, ERR_STALE, "the operations log is not of that size any more");
    int rc = repo_tree_note_cosigned(&x->note, &x->files, &r->about.cluster_id, site, vkey, line,
                                     &added, time_s, e);
    if (rc == 0 && added)
        rc = repo_tree_replace(r->backend, checkpoint_name, bytes_of(x->note.text, x->note.n),
                               &x->files.sync_failed, e);
    return rc == 0 || (!added && !x->files.sync_failed) ? rc : begin_again(r, x, rc, e);
}
