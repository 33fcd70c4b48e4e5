/* Verification: does everything that should be there exist, and is it what was sealed?
 *
 * What should be there comes from the signed operations log (operations_check.c), which names each object with its SHA-256. In an
 * older archive that has none it comes from the chain of metas and from what this repository knew when it was opened: a pack
 * that is gone leaves a gap, and a last pack that vanished since is missed by name. A last pack that was removed with all
 * its files before the archive was opened is missed by the signed tree, whose checkpoint says how far the archive went; what
 * was never signed, only by the sites.
 *
 * LEVELS
 *   present    metas and keys are whole, objects are there with their sizes, the chain has no gap
 *   intact     and the SHA-256 of each object is the one in its meta
 *   readable   and each decrypts, decompresses and decodes: every entry with its hashes and its chain, restore points as
 *              the meta has them; every snapshot record, with counts and digest;
 *              every index of keys names what the packs hold, and nothing else;
 *              the signed tree is built again from the entries and compared, tile by tile, to the root
 * Of what was disposed of (custody.h) there is a mark instead of a meta: it says where the object begins and ends and which
 * SHA-256 it has, so chain and fixity are checked as ever, and the tree is followed through the headers that it has.
 * At every level the checkpoint's signature must hold and its tree must not reach beyond the packs; below `readable` only the
 * tree's right edge is compared with its root.
 *
 * WITHOUT A KEY (keyless), for somebody who audits and must not read: `present` and `intact`. The metas are read, and their
 * seals cannot be checked. So nothing that a meta says is believed alone: size and SHA-256 must be those that the operations
 * log names, begin and end those that the tree has, and the tree is followed from its first header to its signed root. What
 * remains unchecked: what metas say beyond that (frames, restore points, digests), the keys, what was handed in and is not
 * signed yet, and all that is inside objects.
 *
 * Who opened the archive to verify it has not read it yet (repository_options.to_verify): each meta is read and parsed here,
 * once. That is after the two logs were read, so that what they name was sealed before it is looked for.
 *
 * Damage is told per object and the check goes on; an object that cannot be read counts as damaged. Lack of memory ends it. */
#include "repository/io/ahead.h"
#include "repository/io/index.h"
#include "repository/io/operations.h"
#include "repository/io/tree.h"

#include "store/core/check.h"

#include <stdio.h>

/* What the references in a pack add up to, when it could be read. */
struct pack_sum {
    bool known;
    struct digest sum;
};

struct verify {
    struct repository *r;
    enum repository_level level;
    void (*damage)(void *arg, const char *object, const char *reason);
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    struct repository_report *report;
    uint64_t total, done_before;
    struct repo_tree_check *tree;
    struct repo_ahead *ahead; /* what is whole so far: packs read, of the rest their hashes */
    struct pack_sum *sums;    /* of each pack */
    struct digest sum;        /* of the one being read */
};

static void tell(struct verify *v, const char *object, const char *reason)
{
    v->report->damaged++;
    if (v->damage != NULL)
        v->damage(v->arg, object, reason);
}

static void tell_tree(void *arg, const char *object, const char *reason)
{
    struct verify *v = arg;
    v->report->objects++; /* it is none of those that were counted */
    tell(v, object, reason);
}

static void advance(void *arg, uint64_t bytes)
{
    const struct verify *v = arg;
    if (v->progress != NULL)
        v->progress(v->arg, v->done_before + bytes, v->total);
}

/* ---- one object ---- */

static int compare_hash(const struct sha256 *found, const struct repo_object *o, struct err *e)
{
    return sha256_equal(found, &o->sha256)
               ? 0
               : err_set(e, ERR_INTEGRITY, "its SHA-256 is not the one in its meta");
}

static int check_hash(const struct verify *v, const struct repo_object *o, struct err *e)
{
    struct sha256 found;
    int rc = repo_ahead_take(v->ahead, o, &found, e);
    if (rc == 0)
        rc = compare_hash(&found, o, e);
    return rc == 0 ? 0 : repo_damage(e);
}

/* Its entries, which were read ahead, are the next ones of the tree; what came before damage counts as well. */
static int read_pack(struct verify *v, const struct repo_pack *p, struct err *e)
{
    struct repo_ahead_pack x;
    int rc = repo_ahead_take_pack(v->ahead, p, &x, e);
    for (uint64_t i = 0; i < x.entries; i++)
        repo_tree_check_leaf(v->tree, (struct lsn){p->first.v + i}, x.leaves[i].header,
                             &x.leaves[i].hash);
    v->report->entries += x.entries;
    v->sum = x.sum;
    return rc == 0 ? compare_hash(&x.sha256, &p->o, e) : rc;
}

static int count_record(void *arg, const struct repo_snap_record *x)
{
    (void)arg;
    (void)x;
    return 0;
}

/* The same of all packs that the index covers; false when one of them could not be read. */
static bool sum_below(const struct verify *v, const struct repo_index *x,
                      const struct repo_inventory *now, struct digest *sum)
{
    *sum = (struct digest){0, 0};
    for (size_t i = 0; i < now->pack_count; i++) {
        const struct repo_pack *p = &now->packs[i];
        if (p->first.v < x->first.v || p->o.end.lsn.v > x->o.end.lsn.v)
            continue;
        if (!v->sums[i].known)
            return false;
        *sum = digest_add(*sum, v->sums[i].sum);
    }
    return true;
}

/* All that its meta says, and the same references as in the packs below. */
static int read_index(struct verify *v, struct repo_index *x, const struct repo_inventory *now,
                      struct err *e)
{
    struct digest packs;
    int rc = repo_index_check(v->r, x, e);
    repo_index_close(x);
    if (rc == 0 && x->used && sum_below(v, x, now, &packs) &&
        (packs.lo != x->sum.lo || packs.hi != x->sum.hi))
        rc = err_set(e, ERR_INTEGRITY, "it does not name what the packs hold");
    return rc;
}

static int check_index(struct verify *v, struct repo_index *x, const struct repo_inventory *now)
{
    struct err why = ERR_NONE;
    int rc = x->o.damaged ? err_set(&why, ERR_INTEGRITY, "%s", x->o.reason) : 0;
    v->report->objects++;
    v->report->bytes += x->o.bytes;
    if (rc == 0 && v->level >= REPOSITORY_INTACT)
        rc = check_hash(v, &x->o, &why);
    if (rc == 0 && v->level >= REPOSITORY_READABLE)
        rc = read_index(v, x, now, &why);
    if (rc == ERR_NO_MEMORY)
        return rc;
    if (rc != 0) {
        err_wrap(&why, "no record is lost, the archive's site makes it again");
        tell(v, x->o.name, why.text);
    }
    v->done_before += x->o.bytes;
    advance(v, 0);
    return 0;
}

/* Decrypted and decoded, and hashed in passing, so that it is read once. */
static bool is_read_ahead(const struct verify *v, const struct repo_object *o, bool is_pack)
{
    return v->level >= REPOSITORY_READABLE && is_pack && !o->disposed;
}

static int check_object(struct verify *v, const struct repo_object *o, const struct repo_pack *p,
                        const struct repo_snapshot *s)
{
    struct err why = ERR_NONE;
    int rc = 0;
    v->report->objects++;
    if (o->damaged) {
        tell(v, o->name, o->reason);
        return 0;
    }
    struct err deeper = ERR_NONE;
    int read = 0;
    v->report->bytes += o->bytes;
    v->report->disposed += o->disposed;
    if (v->level >= REPOSITORY_INTACT && !is_read_ahead(v, o, p != NULL))
        rc = check_hash(v, o, &why);
    if (v->r->keyless)
        read = p != NULL ? repo_tree_check_pack(v->tree, p, &deeper) : 0;
    else if (v->level >= REPOSITORY_READABLE && o->disposed)
        read = p != NULL ? repo_tree_check_disposed(v->tree, p, &deeper) : 0;
    else if (v->level >= REPOSITORY_READABLE)
        read = p != NULL ? read_pack(v, p, &deeper)
                         : repo_snapshot_walk(v->r, s, count_record, advance, v, &deeper);
    /* Reading says where and which lsns, the hash only that. */
    if (read != 0)
        tell(v, o->name, deeper.text);
    else if (rc != 0)
        tell(v, o->name, why.text);
    v->done_before += o->bytes;
    advance(v, 0);
    return read == ERR_NO_MEMORY || rc == ERR_NO_MEMORY ? ERR_NO_MEMORY : 0;
}

/* ---- all ---- */

static bool still_listed(const struct repo_inventory *now, const struct repo_object *o,
                         enum repo_kind kind)
{
    if (kind == REPO_PACK) {
        for (size_t i = 0; i < now->pack_count; i++)
            if (strcmp(now->packs[i].o.name, o->name) == 0)
                return true;
        return false;
    }
    for (size_t i = 0; i < now->snapshot_count; i++)
        if (strcmp(now->snapshots[i].o.name, o->name) == 0)
            return true;
    return false;
}

/* The archive as it is now, which is read once when it was opened for this. */
static int read_archive(struct repository *r, struct repo_inventory *now, uint64_t *unfinished,
                        struct err *e)
{
    int rc = repo_scan(r, NULL, now, unfinished, e);
    if (rc != 0)
        return r->unread ? err_wrap(e, "archive %s", r->where) : rc;
    if (r->unread)
        r->unfinished = *unfinished;
    r->unread = false;
    return 0;
}

/* What was there when the archive was opened, or was added since, and is not listed any more. */
static void check_vanished(struct verify *v, const struct repo_inventory *now)
{
    const struct repo_inventory *known = &v->r->inv;
    if (known == now)
        return;
    for (size_t i = 0; i < known->pack_count; i++)
        if (!still_listed(now, &known->packs[i].o, REPO_PACK) &&
            repo_pack_instead(now, known->packs[i].o.name) == NULL)
            tell(v, known->packs[i].o.name, "its meta file is missing");
    for (size_t i = 0; i < known->snapshot_count; i++)
        if (!still_listed(now, &known->snapshots[i].o, REPO_SNAPSHOT))
            tell(v, known->snapshots[i].o.name, "its meta file is missing");
}

/* The files of generations as a whole; the keys in them are read with their objects. */
static void check_generations(struct verify *v)
{
    const struct repo_keyring *keys = &v->r->keys;
    for (size_t i = 0; i < keys->count; i++) {
        char name[REPO_NAME_BYTES];
        if (keys->at[i].damage[0] == '\0')
            continue;
        v->report->objects++;
        repo_name_generation(keys->at[i].number, keys->at[i].retired, name);
        tell(v, name, keys->at[i].damage);
    }
}

static void expect(struct verify *v, const struct repo_object *o, const struct repo_pack *p)
{
    v->total += o->bytes;
    if (o->damaged)
        return;
    if (is_read_ahead(v, o, p != NULL))
        repo_ahead_add_pack(v->ahead, p);
    else
        repo_ahead_add(v->ahead, o);
}

static int check_all(struct verify *v, const struct repo_inventory *now)
{
    v->sums = calloc(now->pack_count + 1, sizeof *v->sums);
    int rc = v->sums != NULL ? 0 : ERR_NO_MEMORY;
    if (rc == 0)
        rc = repo_ahead_new(v->r, now->pack_count + now->snapshot_count + now->index_count,
                            &v->ahead, NULL);
    for (size_t i = 0; rc == 0 && i < now->pack_count; i++)
        expect(v, &now->packs[i].o, &now->packs[i]);
    for (size_t i = 0; rc == 0 && i < now->snapshot_count; i++)
        expect(v, &now->snapshots[i].o, NULL);
    for (size_t i = 0; rc == 0 && i < now->index_count; i++)
        expect(v, &now->indexes[i].o, NULL);
    check_vanished(v, now);
    check_generations(v);
    for (size_t i = 0; rc == 0 && i < now->pack_count; i++) {
        const struct repo_pack *p = &now->packs[i];
        struct err why = ERR_NONE;
        if (!p->o.damaged && repo_chain_check(now, i, &why) != 0)
            tell(v, p->o.name, why.text);
        uint64_t before = v->report->damaged;
        rc = check_object(v, &p->o, p, NULL);
        v->sums[i] = (struct pack_sum){v->report->damaged == before && !p->o.disposed &&
                                           repo_chain_check(now, i, NULL) == 0,
                                       v->sum};
    }
    for (size_t i = 0; rc == 0 && i < now->snapshot_count; i++)
        rc = check_object(v, &now->snapshots[i].o, NULL, &now->snapshots[i]);
    for (size_t i = 0; rc == 0 && i < now->index_count; i++)
        rc = check_index(v, &now->indexes[i], now);
    if (rc == 0 && v->r->keyless)
        rc = repo_tree_check_rest(v->tree, NULL);
    return rc;
}

int repository_verify(struct repository *r, enum repository_level level,
                      void (*damage)(void *arg, const char *object, const char *reason),
                      void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                      struct repository_report *out, struct err *e)
{
    struct repo_inventory fresh = {0}, *now = r->unread ? &r->inv : &fresh;
    *out = (struct repository_report){0};
    struct verify v = {
        .r = r, .level = level, .damage = damage, .progress = progress, .arg = arg, .report = out};
    struct repo_operations_check *operations = NULL;
    if (r->keyless && level > REPOSITORY_INTACT)
        return err_set(e, ERR_DENIED,
                       "to read what is in the archive takes the key-encryption key, and none was "
                       "given; without it: levels present and intact");
    int rc = repo_tree_check_begin(r, tell_tree, &v, &v.tree, e);
    if (rc == 0)
        rc = repo_operations_check_begin(r, tell_tree, &v, &operations, e);
    if (rc == 0)
        rc = read_archive(r, now, &out->unfinished, e);
    if (rc == 0) {
        repo_tree_check_reach(v.tree, repo_archived(now).lsn);
        rc = check_all(&v, now);
        repo_ahead_free(v.ahead);
        free(v.sums);
    }
    repo_operations_check_end(operations, rc == 0 ? now : NULL,
                              rc == 0 ? repo_tree_check_checkpoint(v.tree) : NULL, out);
    if (rc == 0)
        out->proven = repo_tree_check_end(v.tree, r->keyless || level >= REPOSITORY_READABLE);
    else
        free(v.tree);
    repo_inventory_release(&fresh);
    if (rc == ERR_NO_MEMORY)
        return err_set(e, rc, "no memory to verify the archive");
    if (rc == 0 && out->damaged != 0)
        rc = err_set(e, ERR_INTEGRITY,
                     "%llu of %llu objects are damaged or missing; bring them back from a copy of "
                     "the archive",
                     (unsigned long long)out->damaged, (unsigned long long)out->objects);
    return rc;
}
