/* One object at a time: is it what was sealed, and what is lost with it when it is not? Contract: repository/scrub.h.
 *
 * Why no SHA-256 of the file, as at level intact: each byte of an object lies in a segment that authenticates, or is the
 * header that the segments' key comes from, and reading once is half the work. */
#include "repository/scrub.h"

#include "repository/io/archive.h"
#include "repository/io/crypto.h"
#include "repository/io/index.h"
#include "repository/io/parts.h"
#include "repository/operations.h"

#include <stdio.h>
#include <string.h>

static struct repo_object *object_of(const struct repository *r, const char *name,
                                     const struct repo_pack **pack,
                                     const struct repo_snapshot **snapshot,
                                     struct repo_index **index)
{
    *pack = NULL;
    *snapshot = NULL;
    *index = NULL;
    for (size_t i = 0; i < r->inv.pack_count; i++)
        if (strcmp(r->inv.packs[i].o.name, name) == 0)
            return *pack = &r->inv.packs[i], &r->inv.packs[i].o;
    for (size_t i = 0; i < r->inv.snapshot_count; i++)
        if (strcmp(r->inv.snapshots[i].o.name, name) == 0)
            return *snapshot = &r->inv.snapshots[i], &r->inv.snapshots[i].o;
    for (size_t i = 0; i < r->inv.index_count; i++)
        if (strcmp(r->inv.indexes[i].o.name, name) == 0)
            return *index = &r->inv.indexes[i], &r->inv.indexes[i].o;
    return NULL;
}

bool repository_is_object(const char *part)
{
    struct repo_part x;
    return repo_part_parse(part, &x) != 0 || x.kind == REPO_PART_OBJECT;
}

/* ---- the ledger follows the archive ---- */

static int follow_one(struct repo_ledger *l, const char *name, struct utc created, bool damaged)
{
    struct repo_ledger_line *x = repo_ledger_find(l, name);
    if (x == NULL && l->n == l->cap) {
        size_t cap = l->cap == 0 ? 256 : 2 * l->cap;
        void *more = realloc(l->at, cap * sizeof *l->at);
        if (more == NULL)
            return ERR_NO_MEMORY;
        l->at = more;
        l->cap = cap;
    }
    if (x == NULL) {
        x = repo_ledger_add(l, name);
        x->verified = created; /* zero when its meta cannot be read */
    }
    x->listed = true;
    if (damaged && !x->damaged)
        x->verified.us = 0; /* what a listing shows already is looked at first */
    return 0;
}

static int follow_object(struct repo_ledger *l, const struct repo_object *o)
{
    return follow_one(l, o->name, o->created, o->damaged);
}

static int follow_part(void *l, const char *name, struct utc written, bool damaged)
{
    return follow_one(l, name, written, damaged);
}

/* Of an archive an index that is gone was replaced. Of a copy, where nobody removes one, it counts as long as the archive has
 * it. */
static bool is_needed(const struct repo_ledger *of, const char *index)
{
    return of != NULL && repo_ledger_find(of, index) != NULL;
}

static bool is_stretch(const char *part)
{
    struct repo_part x;
    return repo_part_parse(part, &x) == 0 && x.kind == REPO_PART_STRETCH;
}

/* What is not listed any more is missed, but for what was replaced, or is no stretch of the tree that is there. */
static bool is_forgotten(const struct repository *r, const struct repo_ledger *of, const char *part,
                         bool tree)
{
    if (is_stretch(part))
        return tree;
    if (repo_is_index(part))
        return !is_needed(of, part);
    return repo_pack_instead(&r->inv, part) != NULL;
}

int repository_ledger_follow(struct repository *r, struct repo_ledger *l,
                             const struct repo_ledger *of, struct err *e)
{
    bool tree = false;
    int rc = 0;
    for (size_t i = 0; i < l->n; i++)
        l->at[i].listed = false;
    for (size_t i = 0; rc == 0 && i < r->inv.pack_count; i++)
        rc = follow_object(l, &r->inv.packs[i].o);
    for (size_t i = 0; rc == 0 && i < r->inv.snapshot_count; i++)
        rc = follow_object(l, &r->inv.snapshots[i].o);
    for (size_t i = 0; rc == 0 && i < r->inv.index_count; i++)
        if (of == NULL || is_needed(of, r->inv.indexes[i].o.name))
            rc = follow_object(l, &r->inv.indexes[i].o);
    if (rc == 0)
        rc = repo_parts_each(r, follow_part, l, &tree);
    size_t kept = 0;
    for (size_t i = 0; rc == 0 && i < l->n; i++) {
        struct repo_ledger_line *x = &l->at[i];
        if (!x->listed && is_forgotten(r, of, x->name, tree))
            continue;
        if (!x->listed && !x->damaged && !is_stretch(x->name))
            x->verified.us = 0;
        l->at[kept++] = *x;
    }
    if (rc != 0)
        return err_set(e, rc, "no memory for the ledger");
    l->n = kept;
    return 0;
}

/* ---- rounds ---- */

static int hand_in(struct repository *r, const struct repo_ledger *l, struct err *e)
{
    struct operation o = {.kind = OPERATION_VERIFY,
                          .id = l->round.id,
                          .last = repo_archived(&r->inv).lsn,
                          .checked = l->round.checked,
                          .damaged = l->round.damaged,
                          .detail = "readable, scrub"};
    int rc = repository_operations_add(r, &o, e);
    return rc == ERR_EXISTS ? 0 : rc; /* before a crash */
}

int repository_ledger_round(struct repository *r, struct repo_ledger *l, struct utc now,
                            bool *ended, struct err *e)
{
    struct repo_ledger_round next = {.began = now};
    const bool over = repo_ledger_round_over(l, now);
    *ended = over && l->round.checked != 0; /* otherwise all was sealed since it began */
    if (!over && l->round.began.us != 0 && l->round.began.us <= now.us)
        return 0;
    int rc = repo_random(&next.id, sizeof next.id, e);
    if (rc == 0 && *ended)
        rc = hand_in(r, l, e);
    if (rc == 0)
        l->round = next;
    else
        *ended = false;
    return rc == ERR_CONDITION ? 0 : rc; /* nothing could seal it */
}

/* ---- one part ---- */

struct check {
    void (*progress)(void *arg, uint64_t bytes);
    void *arg;
};

static void advance(void *arg, uint64_t bytes)
{
    const struct check *c = arg;
    if (c->progress != NULL)
        c->progress(c->arg, bytes);
}

static int pass_entry(void *arg, const struct entry_view *v)
{
    (void)arg;
    (void)v;
    return 0;
}

static int pass_record(void *arg, const struct repo_snap_record *x)
{
    (void)arg;
    (void)x;
    return 0;
}

/* A text is there, sealed under the key that is there: the meta of an object, or its mark. */
static int check_text(struct repository *r, const char *name, const char *keyed, struct err *e)
{
    char identity[REPO_IDENTITY_BYTES];
    struct repo_key key;
    uint8_t *text = NULL;
    size_t n = 0;
    repo_identity_of(r, name, identity);
    int rc = repo_key_of(r, keyed, &key, e);
    if (rc == 0)
        rc = repo_backend_read(r->backend, name, REPO_TEXT_MAX_BYTES, &text, &n, e);
    if (rc == ERR_NOT_FOUND)
        rc = err_set(e, rc, "%s is missing, or its key", name);
    if (rc == 0 && (rc = repo_seal_check(bytes_of(text, n), &key, identity, e)) != 0)
        err_wrap(e, "%s", name);
    free(text);
    repo_wipe(&key, sizeof key);
    return rc == 0 ? 0 : repo_damage(e);
}

/* Nobody can read what is in it any more: its bytes are those that its mark names. */
static int check_disposed(struct repository *r, const struct repo_object *o, struct check *c,
                          struct err *e)
{
    char mark[REPO_NAME_BYTES];
    struct repo_blob f = REPO_BLOB_NONE;
    struct sha256 found;
    repo_name_mark(o->name, mark);
    int rc = check_text(r, mark, REPO_MARKS, e);
    if (rc == 0)
        rc = repo_blob_open(&f, r->backend, o->name, e);
    if (rc == 0)
        rc = repo_blob_hash(&f, &found, e);
    if (rc == 0 && (f.bytes != o->bytes || !sha256_equal(&found, &o->sha256)))
        rc = err_set(e, ERR_INTEGRITY, "its SHA-256 is not the one that %s names", mark);
    repo_blob_close(&f);
    advance(c, o->bytes);
    return rc == 0 ? 0 : repo_damage(e);
}

int repository_check(struct repository *r, const char *object,
                     void (*progress)(void *arg, uint64_t bytes), void *arg, struct err *e)
{
    const struct repo_pack *pack;
    const struct repo_snapshot *snapshot;
    struct repo_index *index;
    struct check c = {progress, arg};
    struct repo_part part;
    struct repo_advance parts = {progress, arg, 0};
    char meta[REPO_NAME_BYTES];
    struct repo_pack_reader reader = REPO_PACK_READER_NONE;
    if (repo_part_parse(object, &part) == 0 && part.kind != REPO_PART_OBJECT)
        return repo_part_check(r, &part, &parts, e);
    const struct repo_object *o = object_of(r, object, &pack, &snapshot, &index);
    if (o != NULL && o->damaged)
        return err_set(e, o->closed ? ERR_NOT_READY : ERR_INTEGRITY, "%s", o->reason);
    if (o != NULL && o->disposed)
        return check_disposed(r, o, &c, e);
    repo_name_meta(object, meta);
    int rc = check_text(r, meta, object, e);
    if (rc != 0 || o == NULL)
        return rc; /* an object that is not needed: its entries are in another one */
    if (pack != NULL) {
        rc = repo_chain_check(&r->inv, (size_t)(pack - r->inv.packs), e);
        if (rc == 0)
            rc = repo_pack_open(r, pack, &reader, e);
        if (rc == 0)
            rc = repo_pack_walk(&reader, 0, pass_entry, advance, &c, e);
        repo_pack_close(&reader);
    } else if (snapshot != NULL) {
        rc = repo_snapshot_walk(r, snapshot, pass_record, advance, &c, e);
    } else {
        rc = repo_index_check(r, index, e);
        repo_index_close(index);
        advance(&c, index->o.bytes);
    }
    return rc == 0 ? 0 : repo_damage(e);
}

/* ---- what is lost with it ---- */

/* The narrowest whole index over the range, chosen for lookups or not: when the position of a pack is lost with its meta no
 * index fits the chain there. */
static struct repo_index *covering(const struct repo_inventory *inv, struct lsn from, struct lsn to)
{
    struct repo_index *best = NULL;
    for (size_t i = 0; i < inv->index_count; i++) {
        struct repo_index *x = &inv->indexes[i];
        if (!x->o.damaged && x->first.v <= from.v && x->o.end.lsn.v >= to.v &&
            (best == NULL || x->refs < best->refs))
            best = x;
    }
    return best;
}

int repository_affected(struct repository *r, struct lsn from, struct lsn to,
                        int (*each)(void *arg, struct bytes collection, struct bytes key,
                                    struct lsn lsn),
                        void *arg, struct err *e)
{
    struct repo_index *x = covering(&r->inv, from, to);
    struct repo_index_walk w;
    int result = 0;
    if (x == NULL)
        return err_set(e, ERR_NOT_FOUND,
                       "no index of keys covers lsns %llu to %llu: which records they wrote is not "
                       "known without the pack",
                       (unsigned long long)from.v, (unsigned long long)to.v);
    int rc = repo_index_walk_begin(&w, r, x, NULL, e);
    while (rc == 0 && result == 0 && !w.end) {
        if (w.now.lsn.v >= from.v && w.now.lsn.v <= to.v)
            result = each(arg, w.now.collection, w.now.key, w.now.lsn);
        rc = repo_index_walk_next(&w, e);
    }
    repo_index_walk_end(&w);
    return result != 0 ? result : rc;
}

void repository_extent(const struct repository *r, const char *object,
                       struct repository_extent *out)
{
    struct repo_name name;
    struct repo_part part;
    *out = (struct repository_extent){.first = {0}};
    if (repo_part_parse(object, &part) != 0)
        return;
    out->first = part.first;
    out->last = part.last;
    if (repo_name_parse(object, &name) != 0)
        return;
    for (size_t i = 0; r != NULL && name.kind == REPO_PACK && i < r->inv.pack_count; i++) {
        const struct repo_pack *p = &r->inv.packs[i];
        if (!p->o.damaged && strcmp(p->o.name, object) == 0) {
            out->from = p->first_time;
            out->to = p->o.end.time;
            return;
        }
        if (p->o.damaged)
            continue;
        if (p->o.end.lsn.v < out->first.v)
            out->from = p->o.end.time;
        else if (p->first.v > out->last.v && out->to.us == 0)
            out->to = p->first_time;
    }
}
