/* Verification against the operations log: is what was recorded still there?
 *
 * The expected inventory is what the leaves add up to, and no listing: an object that a leaf names must be there, with the bytes
 * that the leaf says. What is there and named by no leaf was not recorded yet, or is not the site's; it is counted. But the
 * log is written before a checkpoint of the entries is published: when the signed tree of entries reaches over a pack that no
 * leaf names, the log was cut or put back to an earlier state. */
#include "repository/io/operations.h"

#include "store/core/check.h"

#include <stdio.h>

struct repo_operations_check {
    struct repository *r;
    repo_tree_damage_fn damage;
    void *arg;
    bool usable; /* the log is there and whole */
    struct operation_inventory inv;
    struct operations_summary summary;
    struct err *e;
};

static int add_leaf(void *arg, uint64_t index, const struct operation *o)
{
    struct repo_operations_check *c = arg;
    int rc = repo_operations_replay(&c->inv, o, c->e);
    if (rc != 0 && index != UINT64_MAX)
        err_wrap(c->e, "leaf %llu", (unsigned long long)index);
    return rc;
}

int repo_operations_check_begin(struct repository *r, repo_tree_damage_fn damage, void *arg,
                                struct repo_operations_check **out, struct err *e)
{
    struct err why = ERR_NONE;
    struct repo_operations_check *c = calloc(1, sizeof *c);
    *out = c;
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to verify the operations log");
    *c = (struct repo_operations_check){.r = r, .damage = damage, .arg = arg, .e = &why};
    int rc = repo_operations_all(r, add_leaf, c, damage, arg, &c->summary, &why);
    c->usable = rc == 0;
    c->e = NULL;
    if (rc == ERR_NO_MEMORY)
        return err_set(e, rc, "%s", why.text);
    const bool none = rc == ERR_NOT_FOUND;
    if (none && repo_operations_key_lies(r))
        damage(arg, "operations/checkpoint",
               "it is missing, though its key lies in tree/keys: it was removed");
    else if (none && r->keyless)
        return err_set(e, rc,
                       "%s; without a log only the metas say what must be there, and they are "
                       "sealed: give the key-encryption key",
                       why.text);
    else if (rc != 0 && !none)
        damage(arg, REPO_OPERATIONS, why.text);
    return 0;
}

static void check_named(struct repo_operations_check *c, const struct operation_object *named,
                        const struct repo_inventory *now)
{
    const struct repo_object *o = repo_inventory_find(now, named->name);
    if (o == NULL && (named->disposed || named->healed))
        return;
    if (o != NULL) {
        if (c->r->keyless && o->disposed && !named->disposed)
            c->damage(
                c->arg, named->name,
                "it has the mark of what was disposed of, and the signed log does not say so: "
                "verify again when the archive's site has signed, or with the key");
        if (!o->damaged && (o->bytes != named->bytes || !sha256_equal(&o->sha256, &named->sha256)))
            c->damage(c->arg, named->name,
                      "it is not the object that the operations log names: its meta has other "
                      "bytes or another SHA-256");
        return; /* what is damaged in itself is told with it */
    }
    bool object = repo_is_there(c->r, named->name), meta = repo_is_finished(c->r, named->name);
    if (object && meta)
        return; /* doubled: the same entries are in another pack */
    if (repo_inventory_find(&c->r->inv, named->name) ==
        NULL) /* otherwise it vanished now, and was told */
        c->damage(c->arg, named->name,
                  !object ? "the operations log names it, and it is missing"
                          : "the operations log names it, and its meta file is missing");
}

static void check_unnamed(struct repo_operations_check *c, const struct repo_object *o,
                          bool is_pack, const struct tlog_checkpoint *tree, uint64_t *unnamed)
{
    if (operation_find(&c->inv, o->name) != NULL)
        return;
    if (is_pack && tree != NULL && o->end.lsn.v <= tree->size)
        c->damage(
            c->arg, o->name,
            "its entries are in the signed tree, and the operations log does not name it: the "
            "log was cut or put back to an earlier state, or the pack was exchanged");
    else
        ++*unnamed;
}

/* The site may have published between the two readings. */
static bool grew_meanwhile(const struct repo_operations_check *c)
{
    struct tlog_checkpoint now;
    struct tlog_note note;
    struct tlog_key by;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_checkpoint_read(c->r->backend, REPO_TREE, &text, &n, &now, &note, &by, NULL);
    free(text);
    return rc == 0 && now.size >= c->inv.tree_size;
}

/* The trees of entries that leaves name are beginnings of the one that is there. */
static void check_tree(struct repo_operations_check *c, const struct tlog_checkpoint *tree)
{
    struct repo_tiles tiles = {.backend = c->r->backend, .root = REPO_TREE, .size = tree->size};
    struct sha256 root;
    char reason[200];
    if (c->inv.tree_size > tree->size && !grew_meanwhile(c)) {
        (void)snprintf(
            reason, sizeof reason,
            "the operations log names a signed tree of %llu entries, this one has %llu: it "
            "was put back to an earlier state",
            (unsigned long long)c->inv.tree_size, (unsigned long long)tree->size);
        c->damage(c->arg, "tree/checkpoint", reason);
    } else if (c->inv.tree_size != 0 && c->inv.tree_size <= tree->size &&
               tlog_root(c->inv.tree_size, repo_tiles_node, &tiles, &root, NULL) == 0 &&
               !sha256_equal(&root, &c->inv.tree_root)) { /* tiles that cannot be read are told */
        c->damage(c->arg, "tree/checkpoint",
                  "its tree does not begin with the one that the operations log names: the history "
                  "was changed");
    }
}

void repo_operations_check_end(struct repo_operations_check *c, const struct repo_inventory *now,
                               const struct tlog_checkpoint *tree, struct repository_report *out)
{
    if (c == NULL)
        return;
    for (size_t i = 0; c->usable && now != NULL && i < c->inv.n; i++)
        check_named(c, &c->inv.at[i], now);
    for (size_t i = 0; c->usable && now != NULL && i < now->pack_count; i++)
        check_unnamed(c, &now->packs[i].o, true, tree, &out->unnamed);
    for (size_t i = 0; c->usable && now != NULL && i < now->snapshot_count; i++)
        check_unnamed(c, &now->snapshots[i].o, false, tree, &out->unnamed);
    if (c->usable && now != NULL && tree != NULL)
        check_tree(c, tree);
    if (c->usable) {
        out->operations = c->summary.leaves;
        out->pending = c->summary.pending;
    }
    free(c->inv.at);
    free(c);
}
