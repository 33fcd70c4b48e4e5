/* Disposal carried out.
 *
 * STATES of an object: kept -> marked (its mark is durable: nobody reads it any more, by this program) -> destroyed (no
 * generation has its key, here; then in each copy). The mark comes first, so that a crash between the two leaves a disposal that
 * goes on, and never an object without a key that looks damaged.
 *
 * A mark is sealed with a key of its own kind, REPO_MARKS, which every generation of keys has like those of objects. So who can
 * write to the archive and has no KEK can destroy, as ever, but cannot make it look like an order.
 *
 * Destroying is by name and not by list: every key of an archive is looked at, and those go that belong to a marked object, to
 * what an interrupted writer left of the same entries, and to indexes of keys over them. Generations that are retired, or were
 * begun meanwhile, are looked at as well, with the keys locked against rotation.
 *
 * INVARIANTS
 *   C1  A key is destroyed only of what is marked, or lies wholly within marked packs; or in a generation that was retired, when
 *       a later one has the object's key in the same place.
 *   C2  While anything is held, an object is marked only when it was read now, and no hold selects a record that it has a
 *       version of.
 *   C3  Every moment at or behind a disposal's lsn can be restored to after it as before it. The snapshot on which that rests was
 *       read whole before. */
#include "repository/custody.h"

#include "repository/io/index.h"
#include "repository/io/tiles.h"
#include "store/core/check.h"

#include <stdio.h>

/* ---- destroying keys ---- */

struct destruction {
    struct repository *r;
    struct repo_backend *where;
    struct repo_destroyed *done;
    char last[REPO_NAME_BYTES]; /* that was removed: its folder is to be synced; empty: none */
    unsigned
        later; /* the generation that is looked at was retired; this one has its keys. 0: it was not */
};

static int by_name(const void *name, const void *object)
{
    return strcmp(name, ((const struct repo_object *)object)->name);
}

static const struct repo_object *find(const struct repo_inventory *inv, enum repo_kind kind,
                                      const char *name)
{
    return kind == REPO_PACK
               ? bsearch(name, inv->packs, inv->pack_count, sizeof *inv->packs, by_name)
               : bsearch(name, inv->snapshots, inv->snapshot_count, sizeof *inv->snapshots,
                         by_name);
}

static bool in_disposed(const struct repo_inventory *inv, struct lsn lsn)
{
    return repo_pack_of(inv, lsn) != NULL && !repo_holds(inv, lsn);
}

/* C1. */
static bool is_lost(const struct repo_inventory *inv, const char *object)
{
    struct repo_name n;
    if (repo_name_parse(object, &n) != 0)
        return false;
    if (n.kind == REPO_INDEX)
        return repo_covers_disposed(inv, n.first, n.last);
    const struct repo_object *o = find(inv, n.kind, object);
    if (o != NULL)
        return o->disposed;
    for (struct lsn at = n.kind == REPO_PACK ? n.first : n.last; at.v <= n.last.v;) {
        if (!in_disposed(inv, at))
            return false;
        at.v = repo_pack_of(inv, at)->o.end.lsn.v + 1;
    }
    return true;
}

static void note_gone(struct destruction *d, const char *name, bool gone)
{
    if (gone)
        (void)snprintf(d->last, sizeof d->last, "%s", name);
}

/* C1. */
static bool has_later_key(const struct destruction *d, const char *object)
{
    char key[REPO_NAME_BYTES];
    if (d->later == 0)
        return false;
    repo_name_key(object, d->later, key);
    return repo_is_at(d->where, key);
}

static int destroy_key(void *arg, const char *name)
{
    struct destruction *d = arg;
    char object[REPO_NAME_BYTES];
    unsigned generation;
    struct utc until;
    if (repo_name_of_key(name, object, &generation) != 0 ||
        !(is_lost(&d->r->inv, object) || has_later_key(d, object)))
        return 0;
    bool gone = repo_backend_destroy(d->where, name, &until);
    *(gone ? &d->done->gone : &d->done->stay) += 1;
    if (!gone && until.us != 0 && (d->done->until.us == 0 || until.us < d->done->until.us))
        d->done->until = until;
    note_gone(d, name, gone);
    return 0;
}

/* The meta too: without it there is no index. */
static int remove_index(void *arg, const char *name)
{
    struct destruction *d = arg;
    char object[REPO_NAME_BYTES];
    if (repo_name_of_meta(name, object) != 0)
        (void)snprintf(object, sizeof object, "%s", name);
    if (is_lost(&d->r->inv, object))
        note_gone(d, name, repo_backend_remove(d->where, name));
    return 0;
}

static int destroy_in(struct destruction *d, const char *folder,
                      int (*each)(void *arg, const char *name), struct err *e)
{
    const char *last = d->last;
    d->last[0] = '\0';
    int rc = repo_backend_list(d->where, folder, each, d, e);
    return rc == 0 && last[0] != '\0' ? repo_backend_settle(d->where, &last, 1, e) : rc;
}

static int destroy_all(struct destruction *d, struct err *e)
{
    struct repo_keyring now = {0};
    int rc = repo_keyring_read(d->r, NULL, &now, e);
    const struct repo_generation *newest = rc == 0 ? repo_keyring_newest(&now) : NULL;
    for (size_t i = 0; rc == 0 && i < now.count; i++) {
        const struct repo_generation *g = &now.at[i];
        char folder[REPO_NAME_BYTES];
        d->later = g->retired && newest != NULL && newest->number > g->number ? newest->number : 0;
        repo_name_keys_folder(g->number, folder);
        rc = destroy_in(d, folder, destroy_key, e);
    }
    repo_keyring_release(&now);
    return rc == 0 ? destroy_in(d, "indexes", remove_index, e) : rc;
}

static int is_anything_to_destroy(struct repository *r, bool *any, struct err *e)
{
    struct repo_keyring now = {0};
    int rc = repo_keyring_read(r, NULL, &now, e);
    *any = repo_count_disposed(&r->inv) != 0;
    for (size_t i = 0; i < now.count; i++)
        *any |= now.at[i].retired;
    repo_keyring_release(&now);
    return rc;
}

int repo_keys_destroy(struct repository *r, struct repo_backend *where, struct repo_destroyed *out,
                      struct err *e)
{
    struct destruction d = {.r = r, .where = where, .done = out};
    bool any;
    int lock = -1;
    *out = (struct repo_destroyed){.gone = 0};
    int rc = is_anything_to_destroy(r, &any, e);
    if (rc == 0 && any)
        rc = repo_keys_lock(r, true, false, &lock, e);
    if (rc == 0 && any)
        rc = destroy_all(&d, e);
    repo_keys_unlock(lock);
    return rc == 0 ? 0 : err_wrap(e, "destroying keys");
}

/* ---- is it held? ---- */

struct look {
    struct repository *r;
    const struct repository_custody *c;
    const struct repository_hold *by; /* the hold that keeps it; NULL: none so far */
    struct err *e;
};

enum { IS_HELD = 1 };

static bool begins_with(struct bytes b, struct bytes prefix)
{
    return prefix.n == 0 || (b.n >= prefix.n && memcmp(b.p, prefix.p, prefix.n) == 0);
}

static bool selects(const struct repository_selection *s, struct bytes collection, struct bytes key)
{
    return bytes_equal(collection, s->collection) && (s->key.n == 0 || bytes_equal(key, s->key)) &&
           begins_with(key, s->prefix) && bytes_compare(key, s->from) >= 0 &&
           (s->to.n == 0 || bytes_compare(key, s->to) < 0);
}

static int look_record(struct look *x, struct bytes collection, struct bytes key)
{
    for (size_t i = 0; i < x->c->hold_count; i++)
        if (selects(&x->c->holds[i].only, collection, key)) {
            x->by = &x->c->holds[i];
            return IS_HELD;
        }
    return 0;
}

static int look_ref(void *arg, const struct repo_keyref *ref)
{
    return look_record(arg, ref->collection, ref->key);
}

static int look_entry(void *arg, const struct entry_view *v)
{
    struct look *x = arg;
    return repo_keyrefs_of(v, look_ref, x, x->e);
}

static int look_row(void *arg, const struct repo_snap_record *s)
{
    struct look *x = arg;
    if (s->type != REPO_SNAP_ROW || repo_holds(&x->r->inv, s->u.row.lsn))
        return 0;
    return look_record(x, s->u.row.collection, s->u.row.key);
}

/* C2. 0, or IS_HELD, or an error: then it is not disposed of. */
static int look_into(struct look *x, const struct repo_pack *p, const struct repo_snapshot *s,
                     struct err *e)
{
    struct repo_pack_reader reader = REPO_PACK_READER_NONE;
    x->by = NULL;
    if (x->c->hold_count == 0)
        return 0;
    x->e = e;
    int rc = p == NULL ? repo_snapshot_walk(x->r, s, look_row, NULL, x, e)
                       : repo_pack_open(x->r, p, &reader, e);
    if (rc == 0 && p != NULL)
        rc = repo_pack_walk(&reader, 0, look_entry, NULL, x, e);
    repo_pack_close(&reader);
    x->e = NULL;
    return rc;
}

/* ---- marks ---- */

/* The key that marks are sealed with; drawn before the first one, and then in the generation that is written to. */
static int marks_key(struct repository *r, struct repo_key *out, struct err *e)
{
    int lock = -1;
    if (repo_count_disposed(&r->inv) != 0)
        return repo_key_of(r, REPO_MARKS, out, e);
    int rc = repo_keys_lock(r, false, true, &lock, e);
    if (rc == 0)
        rc = repo_keyring_follow(r, e);
    if (rc == 0 && repo_key_of(r, REPO_MARKS, out, NULL) != 0) { /* not left by a crash */
        rc = repo_random(out->b, sizeof out->b, e);
        if (rc == 0)
            rc = repo_key_write(r, r->writes, &r->kek, REPO_MARKS, out, true, e);
    }
    repo_keys_unlock(lock);
    return rc;
}

static int write_mark(struct repository *r, const struct repo_pack *p,
                      const struct repo_snapshot *s, const struct repository_order *by,
                      struct err *e)
{
    char name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    struct repo_key key;
    uint8_t *text = NULL;
    size_t n = 0;
    struct repo_pack pack = {.frames = 0};
    struct repo_snapshot snapshot = {.records = 0};
    struct repo_object *o = p != NULL ? &pack.o : &snapshot.o;
    if (p != NULL) {
        pack = *p;
        pack.frames = 0;
        pack.point_count = 0; /* names of restore points go as well */
    } else {
        snapshot = *s;
    }
    o->disposed = true;
    o->by = *by;
    repo_name_mark(o->name, name);
    repo_identity_of(r, name, identity);
    int rc = marks_key(r, &key, e);
    if (rc == 0 && p != NULL)
        rc = repo_pack_write(&pack, NULL, &r->about.cluster_id, &key, identity, &text, &n, e);
    else if (rc == 0)
        rc = repo_snapshot_write(&snapshot, &r->about.cluster_id, &key, identity, &text, &n, e);
    if (rc == 0)
        rc = repo_text_publish(r, name, bytes_of(text, n), e);
    repo_wipe(&key, sizeof key);
    free(text);
    return rc;
}

static int mark_pack(struct repository *r, struct repo_pack *p, const struct repository_order *by,
                     struct err *e)
{
    int rc = write_mark(r, p, NULL, by, e);
    if (rc != 0)
        return rc;
    repo_pack_release(p);
    p->frames = 0;
    p->o.disposed = true;
    p->o.by = *by;
    repo_indexes_choose(&r->inv);
    return 0;
}

static int mark_snapshot(struct repository *r, struct repo_snapshot *s,
                         const struct repository_order *by, struct err *e)
{
    int rc = write_mark(r, NULL, s, by, e);
    if (rc != 0)
        return rc;
    s->o.disposed = true;
    s->o.by = *by;
    return 0;
}

/* ---- what a disposal takes ---- */

struct run {
    struct repository *r;
    const struct repository_custody *c;
    struct repository_custody_report *out;
    struct look look;
    bool has_tree;
    struct lsn proven;
    struct lsn whole; /* this snapshot was read whole */
    uint64_t read;
};

static void tell(const struct run *x, const struct repo_object *o, const char *what)
{
    if (x->c->told != NULL)
        x->c->told(x->c->arg, o->name, what);
}

/* The first that takes it; NULL: none. */
static const struct repository_disposal *taken_by(const struct run *x, const struct repo_object *o)
{
    for (size_t i = 0; i < x->c->disposal_count; i++)
        if (o->end.lsn.v < x->c->disposals[i].before.v)
            return &x->c->disposals[i];
    return NULL;
}

/* C3: of a pack `end` is its last lsn; a snapshot is needed when it is the newest one before the disposal's lsn. */
static bool is_needed(const struct run *x, const struct repository_disposal *d,
                      const struct repo_object *o, bool is_pack)
{
    const struct repo_snapshot *s = repo_snapshot_below(&x->r->inv, (struct lsn){d->before.v - 1});
    return s == NULL || (is_pack ? o->end.lsn.v > s->o.end.lsn.v : o->end.lsn.v >= s->o.end.lsn.v);
}

/* What stands in the way besides holds; true: something does, and it was told. */
static bool must_stay(struct run *x, const struct repository_disposal *d,
                      const struct repo_object *o, bool is_pack)
{
    char what[200], until[REPO_UTC_TEXT_BYTES];
    const struct utc free_at = {o->end.time.us + x->c->retain_us};
    if (o->damaged) {
        x->out->damaged++;
        (void)snprintf(what, sizeof what, "damaged: %s", o->reason);
    } else if (is_needed(x, d, o, is_pack)) {
        x->out->needed++;
        (void)snprintf(what, sizeof what, "needed to restore later moments");
    } else if (x->c->retain_us != 0 && free_at.us > x->c->now.us) {
        x->out->retained++;
        repo_utc_format(free_at, until);
        (void)snprintf(what, sizeof what, "retained until %.40s", until);
    } else if (x->has_tree && o->end.lsn.v > x->proven.v) {
        x->out->unsigned_yet++;
        (void)snprintf(what, sizeof what, "not in the signed tree yet");
    } else {
        return false;
    }
    tell(x, o, what);
    return true;
}

static int any_record(void *arg, const struct repo_snap_record *s)
{
    (void)arg;
    (void)s;
    return 0;
}

/* C3. */
static int check_base(struct run *x, const struct repository_disposal *d, struct err *e)
{
    const struct repo_snapshot *s = repo_snapshot_below(&x->r->inv, (struct lsn){d->before.v - 1});
    check(s != NULL);
    if (s->o.end.lsn.v == x->whole.v)
        return 0;
    int rc = repo_snapshot_walk(x->r, s, any_record, NULL, NULL, e);
    if (rc != 0)
        return err_wrap(
            e, "nothing is disposed of, for what stays would rest on a snapshot that cannot "
               "be read");
    x->whole = s->o.end.lsn;
    return 0;
}

static int dispose_one(struct run *x, struct repo_pack *p, struct repo_snapshot *s, struct err *e)
{
    check(p != NULL || s != NULL);
    struct repo_object *o = p != NULL ? &p->o : &s->o;
    struct err why = ERR_NONE;
    char what[256];
    const struct repository_disposal *d = taken_by(x, o);
    if (o->disposed)
        x->out->disposed++;
    if (o->disposed || d == NULL || must_stay(x, d, o, p != NULL))
        return 0;
    int rc = look_into(&x->look, p, s, &why);
    x->read += x->c->hold_count != 0 ? o->bytes : 0;
    if (rc == IS_HELD) {
        check(x->look.by != NULL);
        x->out->held++;
        (void)snprintf(what, sizeof what, "held by %s", x->look.by->name);
        tell(x, o, what);
        return 0;
    }
    if (rc == ERR_INTEGRITY) { /* whether it is held cannot be told */
        x->out->damaged++;
        (void)snprintf(what, sizeof what, "damaged: %.200s", why.text);
        tell(x, o, what);
        return 0;
    }
    if (rc == 0 && !x->c->preview)
        rc = check_base(x, d, &why);
    if (rc == 0 && !x->c->preview)
        rc = p != NULL ? mark_pack(x->r, p, &d->by, &why) : mark_snapshot(x->r, s, &d->by, &why);
    if (rc != 0) {
        if (e != NULL)
            *e = why;
        return rc;
    }
    x->out->disposed++;
    x->out->now++;
    tell(x, o, "disposed");
    return 0;
}

static bool enough(const struct run *x)
{
    x->out->more |= x->c->most != 0 && x->read >= x->c->most;
    return x->out->more;
}

/* How far the signed tree goes, as it lies there. An archive that begins later than the history has none. */
static int read_tree(struct run *x, struct err *e)
{
    struct tlog_checkpoint c;
    struct tlog_note note;
    struct tlog_key by;
    uint8_t *text = NULL;
    size_t n = 0;
    const struct repo_inventory *inv = &x->r->inv;
    int rc = repo_checkpoint_read(x->r->backend, REPO_TREE, &text, &n, &c, &note, &by, e);
    free(text);
    x->has_tree = inv->pack_count != 0 && inv->packs[0].first.v == 1;
    x->proven.v = rc == 0 ? c.size : 0;
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

int repository_dispose(struct repository *r, const struct repository_custody *c,
                       struct repository_custody_report *out, struct err *e)
{
    struct run x = {.r = r, .c = c, .out = out, .look = {.r = r, .c = c}};
    struct repo_destroyed done = {.gone = 0};
    *out = (struct repository_custody_report){.more = false};
    if (!c->preview && r->read_only)
        return err_set(e, ERR_DENIED, "the archive was opened for reading only");
    if (!c->preview && r->failed.code != 0)
        return err_set(e, r->failed.code, "nothing is written any more after: %.400s",
                       r->failed.text);
    int rc = read_tree(&x, e);
    for (size_t i = 0; rc == 0 && i < r->inv.pack_count && !enough(&x); i++)
        rc = dispose_one(&x, &r->inv.packs[i], NULL, e);
    for (size_t i = 0; rc == 0 && i < r->inv.snapshot_count && !enough(&x); i++)
        rc = dispose_one(&x, NULL, &r->inv.snapshots[i], e);
    if (rc == 0 && !c->preview) {
        rc = repo_keys_destroy(r, r->backend, &done, e);
        repo_forget_indexes(&r->inv);
    }
    out->locked = done.stay;
    out->locked_until = done.until;
    return rc == 0 ? 0 : err_wrap(e, "disposal");
}

int repository_disposable(struct repository *r, struct lsn lsn, struct lsn *snapshot,
                          struct utc *time, struct err *e)
{
    const struct repo_snapshot *s =
        lsn.v == 0 ? NULL : repo_snapshot_below(&r->inv, (struct lsn){lsn.v - 1});
    if (s == NULL)
        return err_set(e, ERR_NOT_FOUND,
                       "the archive has no snapshot before lsn %llu: nothing before it can be "
                       "disposed of, or later moments could not be restored",
                       (unsigned long long)lsn.v);
    *snapshot = s->o.end.lsn;
    *time = s->o.end.time;
    return 0;
}
