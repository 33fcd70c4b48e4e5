/* What is missing from an archive, and where the missing and the damaged belong.
 *
 * A listing shows neither. When it is broken (a pack that cannot be used, a gap, an end before that of the signed tree), two
 * things that are signed tell more: the operations log names each pack that must be there, so that what is gone with all its
 * files has its name again; and the tree has the header of each entry, so that it is known, by a proof that leads to the
 * signed root, at which positions a pack begins and ends that nobody can read. What the tree does not reach is told by the
 * packs beside it.
 *
 * So a writer can go on behind damage: what it adds continues the entry that was signed, or that a sealed meta names. Where
 * nothing proves a place, the pack stays `unplaced`, and nothing is sealed behind it. */
#include "repository/io/archive.h"
#include "repository/io/operations.h"
#include "repository/io/tiles.h"

#include "store/core/hash.h"

#include <stdio.h>
#include <stdlib.h>

uint64_t repo_tree_claims(struct repository *r)
{
    struct tlog_checkpoint c = {.size = 0};
    struct tlog_note note;
    uint8_t *text = NULL;
    size_t n = 0;
    if (repo_backend_read(r->backend, REPO_TREE "/checkpoint", TLOG_CHECKPOINT_MAX_BYTES, &text, &n,
                          NULL) != 0 ||
        tlog_checkpoint_parse(bytes_of(text, n), &c, &note, NULL) != 0)
        c.size = 0;
    free(text);
    return c.size;
}

/* ---- positions that the signed tree proves ---- */

struct signed_tree {
    struct repository *r;
    struct tlog_checkpoint checkpoint; /* size 0: there is none that could be read */
    struct repo_tiles tiles;
};

static void read_tree(struct repository *r, struct signed_tree *t)
{
    struct tlog_note note;
    struct tlog_key by;
    uint8_t *text = NULL;
    size_t n = 0;
    t->r = r;
    if (repo_checkpoint_read(r->backend, REPO_TREE, &text, &n, &t->checkpoint, &note, &by, NULL) !=
        0)
        t->checkpoint.size = 0;
    free(text);
    t->tiles =
        (struct repo_tiles){.backend = r->backend, .root = REPO_TREE, .size = t->checkpoint.size};
}

static int proven(struct signed_tree *t, struct lsn lsn, struct entry_position *out, struct err *e)
{
    const uint64_t size = t->checkpoint.size;
    uint8_t raw[ENTRY_HEADER_BYTES];
    struct entry_header header;
    struct tlog_proof proof;
    if (lsn.v == 0 || lsn.v > size)
        return err_set(e, ERR_NOT_FOUND, "the signed tree ends at lsn %llu",
                       (unsigned long long)size);
    int rc = repo_tree_header(t->r->backend, lsn.v - 1, size, raw, e);
    if (rc == 0)
        rc = tlog_prove_inclusion(lsn.v - 1, size, repo_tiles_node, &t->tiles, &proof, e);
    const struct sha256 leaf = tlog_leaf_hash(bytes_of(raw, sizeof raw));
    if (rc == 0)
        rc = tlog_check_inclusion(&leaf, lsn.v - 1, size, &proof, &t->checkpoint.root, e);
    if (rc == 0)
        rc = entry_header_decode(raw, &header, e);
    if (rc == 0 &&
        (header.lsn.v != lsn.v || !uuid_equal(&header.cluster_id, &t->r->about.cluster_id)))
        rc = err_set(e, ERR_INTEGRITY, "leaf %llu of the tree is another entry",
                     (unsigned long long)lsn.v - 1);
    if (rc == 0)
        *out = (struct entry_position){header.lsn, header.term, header.time,
                                       hash_sha256(bytes_of(raw, sizeof raw))};
    return rc;
}

static int position(void *arg, struct lsn lsn, struct entry_position *out)
{
    return proven(arg, lsn, out, NULL);
}

int repo_tree_agrees(struct repository *r, const struct entry_position *p, struct err *e)
{
    struct signed_tree *t = calloc(1, sizeof *t);
    struct entry_position there;
    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a proof");
    read_tree(r, t);
    int rc = p->lsn.v > t->checkpoint.size ? ERR_NOT_FOUND : proven(t, p->lsn, &there, e);
    free(t);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc == 0 && !repo_position_equal(p, &there))
        rc = err_set(e, ERR_INTEGRITY, "lsn %llu is not the entry that was signed",
                     (unsigned long long)p->lsn.v);
    return rc;
}

/* ---- packs that are gone ---- */

static bool has_lsns_of(const struct repo_inventory *inv, const struct repo_name *x)
{
    for (size_t i = 0; i < inv->pack_count; i++)
        if (inv->packs[i].first.v <= x->last.v && inv->packs[i].o.end.lsn.v >= x->first.v)
            return true;
    return false;
}

/* To its place among the others, which stand by their first lsn. */
static int insert(struct repo_inventory *inv, const char *object, const struct repo_name *x,
                  const char *reason, struct err *e)
{
    struct repo_pack *more = realloc(inv->packs, (inv->pack_count + 1) * sizeof *more);
    size_t at = inv->pack_count;
    if (more == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of objects");
    inv->packs = more;
    for (; at > 0 && more[at - 1].first.v > x->first.v; at--)
        more[at] = more[at - 1];
    more[at] = (struct repo_pack){
        .first = x->first,
        .o = {.damaged = true, .unplaced = true, .end = {.lsn = x->last, .term = x->term}}};
    (void)snprintf(more[at].o.name, sizeof more[at].o.name, "%s", object);
    (void)snprintf(more[at].o.reason, sizeof more[at].o.reason, "%s", reason);
    inv->pack_count++;
    return 0;
}

/* A pack that the log names, that is in no other and was not disposed of. One that came since the listing is not missing. */
static int insert_named(struct repository *r, const struct operation_object *named,
                        struct repo_inventory *inv, struct err *e)
{
    struct repo_name x;
    if (named->disposed || named->healed || repo_name_parse(named->name, &x) != 0 ||
        x.kind != REPO_PACK || has_lsns_of(inv, &x))
        return 0;
    const bool object = repo_is_there(r, named->name);
    if (object && repo_is_finished(r, named->name))
        return 0;
    return insert(inv, named->name, &x,
                  !object ? "the operations log names it, and it is missing"
                          : "the operations log names it, and its meta file is missing",
                  e);
}

/* What the operations log names: nothing when there is none that could be relied on. The caller frees out->at. */
static int read_named(struct repository *r, struct operation_inventory *out, struct err *e)
{
    struct repo_operations_read *log = calloc(1, sizeof *log);
    if (log == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the operations log");
    if (repo_operations_read(r->backend, &r->about.cluster_id, log, NULL) != 0 ||
        repo_operations_inventory(log, out, NULL) != 0)
        out->n = 0;
    repo_operations_release(log);
    free(log);
    return 0;
}

static int insert_missing(struct repository *r, struct repo_inventory *inv, struct err *e)
{
    struct operation_inventory named = {0};
    int rc = read_named(r, &named, e);
    for (size_t i = 0; rc == 0 && i < named.n; i++)
        rc = insert_named(r, &named.at[i], inv, e);
    free(named.at);
    return rc;
}

int repo_recorded_disposed(struct repository *r, const char *object, struct err *e)
{
    struct operation_inventory named = {0};
    int rc = read_named(r, &named, e);
    const struct operation_object *o = rc == 0 ? operation_find(&named, object) : NULL;
    if (o != NULL && o->disposed)
        rc =
            err_set(e, ERR_NOT_FOUND,
                    "the operations log says that %s was disposed of, and its mark is missing: put "
                    "the mark back from a copy",
                    object);
    free(named.at);
    return rc;
}

static bool is_whole(const struct repo_inventory *inv, uint64_t claimed)
{
    for (size_t i = 0; i < inv->pack_count; i++)
        if (repo_chain_check(inv, i, NULL) != 0)
            return false;
    return repo_archived(inv).lsn.v >= claimed;
}

int repo_inventory_complete(struct repository *r, uint64_t claimed, struct repo_inventory *inv,
                            struct err *e)
{
    if (is_whole(inv, claimed))
        return 0;
    struct signed_tree *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for a proof");
    read_tree(r, t);
    int rc = insert_missing(r, inv, e);
    if (rc == 0)
        repo_inventory_place(inv, position, t);
    free(t);
    return rc;
}
