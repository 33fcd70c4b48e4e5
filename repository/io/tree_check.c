/* Verification of the tree: does it follow from the packs?
 *
 * The tree is built once more from the headers as they come from the packs, without looking at its files; every tile and
 * bundle that this gives is compared with the file, and the root with the one in the signed checkpoint. Where packs could
 * not be read, the tree beyond them cannot be checked: the packs are the damage then, and it is said that the tree was not
 * compared. Of packs that were disposed of the headers are taken from the tree itself: they must be a chain from where the pack
 * begins to where it ends, as its mark says, and what follows in the next pack continues that.
 *
 * Without a key no entry can be read, and all headers are taken from the tree itself: from the first one on they must be one
 * chain (hash of the one before, lsn, term, time), its tiles must follow from them, its root be the signed one, and each pack
 * begin and end at the headers that its meta names. */
#include "repository/io/tree.h"

#include "store/core/check.h"
#include "store/core/hash.h"

#include <stdio.h>

static const char checkpoint_object[] = "tree/checkpoint";

struct repo_tree_check {
    struct repository *r;
    repo_tree_damage_fn damage;
    void *arg;
    bool absent, wrong;       /* no checkpoint that could be read; something was told */
    bool lost;                /* the tree cannot be followed any further */
    struct entry_position at; /* so far it was, without a key */
    struct tlog_checkpoint checkpoint;
    struct tlog_edge edge; /* built from the packs */
    uint8_t bundle[TREE_BUNDLE_BYTES], file[TREE_BUNDLE_BYTES];
};

static void tell(struct repo_tree_check *c, const char *object, const char *reason)
{
    c->wrong = true;
    c->damage(c->arg, object, reason);
}

static int count_key(void *arg, const struct tlog_key *key)
{
    unsigned *n = arg;
    *n += key->type == TLOG_KEY_LOG;
    return 0;
}

/* The checkpoint, signed by a key that lies beside it. 0, or what is wrong. ERR_NOT_FOUND: there is none. */
static int read_checkpoint(struct repo_tree_check *c, struct err *e)
{
    struct tlog_note note;
    struct tlog_key by;
    uint8_t *text = NULL;
    size_t n = 0;
    char origin[TLOG_NAME_BYTES];
    int rc =
        repo_checkpoint_read(c->r->backend, REPO_TREE, &text, &n, &c->checkpoint, &note, &by, e);
    repo_tree_origin(&c->r->about.cluster_id, origin);
    if (rc == 0 && strcmp(origin, c->checkpoint.origin) != 0)
        rc = err_set(e, ERR_INTEGRITY, "it is of another log: %.120s", c->checkpoint.origin);
    if (rc == 0 && c->r->vouched != NULL)
        rc = c->r->vouched(c->r->vouched_arg, checkpoint_object, bytes_of(text, n), e);
    free(text);
    return rc;
}

int repo_tree_check_begin(struct repository *r, repo_tree_damage_fn damage, void *arg,
                          struct repo_tree_check **out, struct err *e)
{
    struct err why = ERR_NONE;
    struct repo_tree_check *c = calloc(1, sizeof *c);
    *out = c;
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory to verify the tree");
    c->r = r;
    c->damage = damage;
    c->arg = arg;
    int rc = read_checkpoint(c, &why);
    c->absent = rc != 0;
    if (rc != 0 && rc != ERR_NOT_FOUND)
        tell(c, checkpoint_object, why.text);
    return 0;
}

const struct tlog_checkpoint *repo_tree_check_checkpoint(const struct repo_tree_check *c)
{
    return c->absent ? NULL : &c->checkpoint;
}

void repo_tree_check_reach(struct repo_tree_check *c, struct lsn archived)
{
    unsigned keys = 0;
    char reason[200];
    if (c->wrong)
        return;
    if (c->absent) {
        /* The first thing in a tree is the key; a checkpoint follows the first pack. */
        if (archived.v != 0 && repo_tree_keys(c->r->backend, count_key, &keys, NULL) == 0 &&
            keys != 0)
            tell(c, checkpoint_object,
                 "it is missing: the site has not signed anything yet, or it was removed");
        return;
    }
    if (c->checkpoint.size <= archived.v)
        return;
    (void)snprintf(reason, sizeof reason,
                   "%llu entries were signed, the packs end at lsn %llu: packs are missing",
                   (unsigned long long)c->checkpoint.size, (unsigned long long)archived.v);
    tell(c, checkpoint_object, reason);
}

static void compare(struct repo_tree_check *c, const struct tlog_tile *t, bool entries,
                    const void *expected)
{
    char name[REPO_TILE_NAME_BYTES];
    size_t n = (entries ? (size_t)TREE_LEAF_BYTES : (size_t)TLOG_HASH_BYTES) * t->width;
    struct err why = ERR_NONE;
    repo_tile_name(REPO_TREE, t, entries, name);
    if (repo_tile_read(c->r->backend, REPO_TREE, t, entries, c->file, &why) != 0)
        tell(c, name, why.text);
    else if (memcmp(c->file, expected, n) != 0)
        tell(c, name,
             entries         ? "its headers are not those in the packs"
             : c->r->keyless ? "its hashes do not follow from the headers"
                             : "its hashes do not follow from the packs");
}

static int compare_full(void *arg, const struct tlog_tile *t, const struct sha256 *hashes)
{
    struct repo_tree_check *c = arg;
    compare(c, t, false, hashes);
    if (t->level == 0)
        compare(c, t, true, c->bundle);
    return 0;
}

void repo_tree_check_leaf(struct repo_tree_check *c, struct lsn lsn,
                          const uint8_t header[ENTRY_HEADER_BYTES], const struct sha256 *hash)
{
    /* Beyond the checkpoint nothing is signed; behind a pack that could not be read nothing can be said. */
    if (c->absent || c->edge.size >= c->checkpoint.size || lsn.v != c->edge.size + 1)
        return;
    repo_tree_leaf(c->bundle, c->edge.size, header);
    check(tlog_edge_add(&c->edge, hash, compare_full, c) == 0);
}

/* The headers of a bundle behind `at`, up to lsn `to`, continue it. */
static int follow_bundle(struct repo_tree_check *c, struct entry_position *at, struct lsn to,
                         struct err *e)
{
    const struct tlog_tile t = tlog_tile_of(0, at->lsn.v, c->checkpoint.size);
    int rc = repo_tile_read(c->r->backend, REPO_TREE, &t, true, c->file, e);
    for (uint64_t i = at->lsn.v % TLOG_TILE_WIDTH; rc == 0 && i < t.width && at->lsn.v < to.v;
         i++) {
        struct entry_view v = {.raw = c->file + i * TREE_LEAF_BYTES + 2};
        rc = entry_header_decode(v.raw, &v.header, e);
        if (rc == 0)
            rc = entry_follows(at, &v.header, e);
        if (rc == 0) {
            v.hash = hash_sha256(bytes_of(v.raw, ENTRY_HEADER_BYTES));
            *at = entry_position_of(&v);
            const struct sha256 leaf = tlog_leaf_hash(bytes_of(v.raw, ENTRY_HEADER_BYTES));
            repo_tree_check_leaf(c, at->lsn, v.raw,
                                 &leaf); /* reads into c->file behind a tile's last */
        }
    }
    return rc;
}

int repo_tree_check_disposed(struct repo_tree_check *c, const struct repo_pack *p, struct err *e)
{
    struct entry_position at = p->prev;
    int rc = 0;
    if (c->absent)
        return 0; /* an archive without a tree, or one whose tree is told to be damaged */
    while (rc == 0 && at.lsn.v < p->o.end.lsn.v)
        rc = at.lsn.v < c->checkpoint.size
                 ? follow_bundle(c, &at, p->o.end.lsn, e)
                 : err_set(e, ERR_INTEGRITY, "it was disposed of, and is not in the signed tree");
    if (rc == 0 && !repo_position_equal(&at, &p->o.end))
        rc = err_set(e, ERR_INTEGRITY,
                     "the tree's header of lsn %llu is not the one that its mark names",
                     (unsigned long long)at.lsn.v);
    return rc == 0 ? 0 : repo_damage(e);
}

/* Without a key: up to lsn `to`, or as far as the tree goes. */
static int follow(struct repo_tree_check *c, uint64_t to, struct err *e)
{
    const struct lsn end = {to < c->checkpoint.size ? to : c->checkpoint.size};
    char name[REPO_TILE_NAME_BYTES];
    struct err why = ERR_NONE;
    int rc = 0;
    while (rc == 0 && !c->lost && c->at.lsn.v < end.v) {
        const struct tlog_tile t = tlog_tile_of(0, c->at.lsn.v, c->checkpoint.size);
        rc = follow_bundle(c, &c->at, end, &why);
        if (rc == 0)
            continue;
        if (rc == ERR_NO_MEMORY)
            return err_set(e, rc, "%s", why.text);
        c->lost = true;
        repo_tile_name(REPO_TREE, &t, true, name);
        tell(c, name, why.text);
        rc = 0;
    }
    return rc;
}

int repo_tree_check_pack(struct repo_tree_check *c, const struct repo_pack *p, struct err *e)
{
    const struct entry_position *const ends[] = {&p->prev, &p->o.end};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < 2 && !c->absent; i++) {
        const struct entry_position *x = ends[i];
        rc = follow(c, x->lsn.v, e);
        /* Beyond the tree nothing is signed; behind it, the chain of packs is broken, and that is told. */
        if (rc == 0 && c->at.lsn.v == x->lsn.v && !repo_position_equal(&c->at, x))
            rc = err_set(e, ERR_INTEGRITY,
                         "the tree's header of lsn %llu is not the one that its meta names",
                         (unsigned long long)x->lsn.v);
    }
    return rc;
}

int repo_tree_check_rest(struct repo_tree_check *c, struct err *e)
{
    return c->absent ? 0 : follow(c, UINT64_MAX, e);
}

static void check_edge(struct repo_tree_check *c)
{
    struct err why = ERR_NONE;
    memset(&c->edge, 0, sizeof c->edge);
    if (repo_tree_load_edge(c->r->backend, c->checkpoint.size, &c->edge, c->bundle, &why) != 0)
        tell(c, "tree/tile", why.text);
}

static void check_partial(struct repo_tree_check *c)
{
    struct tlog_tile t;
    for (unsigned level = 0; level < TLOG_LEVELS; level++)
        if (tlog_tile_partial(level, c->edge.size, &t))
            compare(c, &t, false, c->edge.row[level]);
    if (tlog_tile_partial(0, c->edge.size, &t))
        compare(c, &t, true, c->bundle);
}

uint64_t repo_tree_check_end(struct repo_tree_check *c, bool read)
{
    if (c == NULL || c->absent) {
        free(c);
        return 0;
    }
    if (!read)
        check_edge(c);
    else if (c->edge.size == c->checkpoint.size)
        check_partial(c);
    if (!c->wrong && c->edge.size != c->checkpoint.size) {
        tell(c, "tree", "not compared with the packs to its end, because packs are damaged");
    } else if (!c->wrong) {
        struct sha256 root = tlog_edge_root(&c->edge);
        if (!sha256_equal(&root, &c->checkpoint.root))
            tell(c, "tree/checkpoint",
                 c->r->keyless ? "the root that was signed does not follow from the headers: the "
                                 "history was changed"
                               : "the root that was signed does not follow from the packs: "
                                 "the history was changed");
    }
    uint64_t size = c->wrong ? 0 : c->checkpoint.size;
    free(c);
    return size;
}
