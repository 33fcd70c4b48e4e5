/* A generation of keys as a part of the archive: its own file, and the keys in it that nothing else reads.
 *
 * An object is read by one of its keys, and its check tells how that one is. The others rot unseen until the day that they are
 * needed: so they are looked at here, in each generation that was not given up, under any KEK: the seal of a key holds under the
 * data key itself, which another generation gives. Where no other one does, the object's own check has said it all; so what
 * is told here never means that a record is lost.
 *
 * A key that is missing is damage in a generation older than ours, when its object was there before the next one was begun.
 * In ours and in a newer one it is not: that may be in the making, or wait for its KEK. Of the key of marks it is not known.
 * Keys of indexes are not looked at: an index that nothing opens is made again. Of keys/N.key under another KEK only its form
 * can be seen.
 *
 * What puts them right:
 *   keys/N.key       a copy's; otherwise a new one, where the keys in the generation show that our KEK is that of it
 *   keys/N.retired   a copy's. Where neither file is there the operations log says which one it was: a generation that was
 *                    given up does not come back
 *   a key            a copy's whose seal holds; in a generation of ours otherwise wrapped once more. Never that of an object that
 *                    was disposed of: no generation opens it, and it is in no list of those that have a key
 *
 * Bytes other than those that were there are put only where nothing is, or in a directory: in a bucket they would never count
 * (core/s3_text.h), and each try would stay. */
#include "repository/io/parts.h"

#include "repository/io/operations.h"

#include <stdio.h>

enum { FILE_BYTES = 256 }; /* of a generation, about: each is read */

struct look {
    struct repository *r;
    struct repo_sources *from; /* NULL: nothing is put */
    struct repo_advance *a;
    unsigned number;
    struct repo_keyring keys;
    const struct repo_generation *g; /* NULL: nothing says that there is one */
    struct utc next; /* when the next one was begun; 0: what is missing is not damage */
    unsigned by;     /* the generation that opened the object */
    uint64_t bad;
    struct err first;
};

static bool is_damage(int rc)
{
    return rc == ERR_INTEGRITY || rc == ERR_FORMAT || rc == ERR_NOT_FOUND || rc == ERR_LIMIT ||
           rc == ERR_IO;
}

/* Damage is noted, and the next file looked at; what hinders everything ends it. */
static int noted(struct look *x, int rc, const struct err *why, struct err *e)
{
    if (is_damage(rc)) {
        if (x->bad++ == 0)
            x->first = *why;
        return 0;
    }
    if (rc != 0 && e != NULL)
        *e = *why;
    return rc;
}

static int read_keyring(struct look *x, struct err *e)
{
    const struct repo_keyring *keys = &x->keys;
    repo_keyring_release(&x->keys);
    x->g = NULL;
    x->next = (struct utc){0};
    int rc = repo_keyring_read(x->r, x->r->keyless ? NULL : &x->r->kek, &x->keys, e);
    const struct repo_generation *ours = rc == 0 ? repo_keyring_ours(keys) : NULL;
    for (size_t i = 0; rc == 0 && i < keys->count; i++) {
        if (keys->at[i].number == x->number)
            x->g = &keys->at[i];
        else if (keys->at[i].number > x->number && ours != NULL && x->number < ours->number)
            x->next = keys->at[i].made; /* newest first: the last one of them stays */
    }
    return rc;
}

/* ---- the file of the generation ---- */

bool repo_generation_whole(const struct repo_generation *g)
{
    return g->damage[0] == '\0' && (g->headed || g->retired);
}

static int see_retired(void *arg, uint64_t index, const struct operation *o)
{
    struct look *x = arg;
    (void)index;
    return o->kind == OPERATION_RETIRE && o->generation == x->number ? 1 : 0;
}

static void pass_damage(void *arg, const char *object, const char *reason)
{
    (void)arg;
    (void)object;
    (void)reason;
}

/* Which file it is that is missing or damaged. */
static int was_retired(struct look *x, bool *retired, struct err *e)
{
    struct operations_summary sum;
    *retired = x->g != NULL && x->g->retired;
    if (*retired || (x->g != NULL && x->g->damage[0] != '\0'))
        return 0;
    int rc = repo_operations_all(x->r, see_retired, x, pass_damage, NULL, &sum, e);
    *retired = rc == 1;
    if (rc == 0 || rc == 1)
        return 0;
    return err_wrap(e, "whether generation %u was retired is in the operations log", x->number);
}

/* Of another KEK its form is all that can be seen. */
static bool is_generation(struct look *x, struct bytes text, bool retired, const char *name)
{
    char identity[REPO_IDENTITY_BYTES];
    struct repo_retired about;
    struct repo_wrapped w;
    struct repo_key key;
    if (retired)
        return repo_retired_read(text, &about, NULL) == 0 && about.generation == x->number;
    if (repo_wrapped_read(text, &w, NULL) != 0)
        return false;
    if (!repo_kek_is(&x->r->kek, w.kek_id))
        return true;
    repo_identity_of(x->r, name, identity);
    const bool good = repo_key_unwrap(&x->r->kek, w.wrapped, &key, NULL) == 0 &&
                      repo_seal_check(text, &key, identity, NULL) == 0;
    repo_wipe(&key, sizeof key);
    return good;
}

/* Some of the keys in it are under our KEK, and none under another. */
static bool is_ours(struct look *x, const struct repo_names *objects)
{
    struct repo_key key;
    bool ours = false, other = false;
    for (size_t i = 0; !other && i < objects->n; i++) {
        int rc = repo_key_in(x->r, x->number, &x->r->kek, objects->at[i], &key, NULL);
        ours |= rc == 0;
        other = rc == ERR_DENIED;
    }
    repo_wipe(&key, sizeof key);
    return ours && !other;
}

static int put_generation(struct look *x, const char *name, bool retired,
                          const struct repo_names *objects, struct err *e)
{
    uint8_t *text = NULL;
    size_t n = 0;
    bool good = false;
    for (size_t i = 0; i < x->from->n && !good; i++) {
        free(text);
        text = NULL;
        good = repo_backend_read(x->from->others[i], name, REPO_SMALL_TEXT_MAX_BYTES, &text, &n,
                                 NULL) == 0 &&
               is_generation(x, bytes_of(text, n), retired, name);
        x->from->used = good ? i + 1 : x->from->used;
    }
    const bool may = !x->r->backend->kind->remote || !repo_is_there(x->r, name);
    int rc = 0;
    if (!good && !retired && may && is_ours(x, objects)) {
        free(text);
        rc = repo_generation_text(x->r, x->number, &x->r->kek, &text, &n, e);
        good = rc == 0;
    } else if (!good)
        rc = err_set(e, ERR_NOT_FOUND,
                     "%s: no copy has it whole; no record is lost: bring it back from a backup of "
                     "keys/%s",
                     name, retired ? "" : ", or give the generation up: archive keys retire");
    if (good)
        rc = repo_part_put(x->r->backend, name, bytes_of(text, n), x->from, e);
    free(text);
    return rc;
}

static int mend_generation(struct look *x, const struct repo_names *objects, struct err *e)
{
    char name[REPO_NAME_BYTES];
    bool retired = false;
    int rc = was_retired(x, &retired, e);
    repo_name_generation(x->number, retired, name);
    if (rc == 0)
        rc = put_generation(x, name, retired, objects, e);
    return rc == 0 ? read_keyring(x, e) : rc;
}

static int look_at_generation(struct look *x, const struct repo_names *objects, struct err *e)
{
    char name[REPO_NAME_BYTES];
    struct err why = ERR_NONE;
    int rc = 0;
    if (x->g != NULL && repo_generation_whole(x->g))
        return 0;
    repo_name_generation(x->number, x->g != NULL && x->g->retired, name);
    if (x->from != NULL)
        rc = mend_generation(x, objects, &why);
    if (x->from == NULL || (rc == 0 && (x->g == NULL || !repo_generation_whole(x->g))))
        rc = err_set(&why, ERR_INTEGRITY, "%s: %s", name,
                     x->g != NULL && x->g->damage[0] != '\0' ? x->g->damage : "it is missing");
    return noted(x, rc, &why, e);
}

/* ---- the keys in it ---- */

/* By another generation of ours. */
static bool is_opened(struct look *x, const char *object, struct repo_key *out)
{
    for (size_t i = 0; i < x->keys.count; i++) {
        const struct repo_generation *g = &x->keys.at[i];
        if (!g->ours || g->number == x->number ||
            repo_key_in(x->r, g->number, &x->r->kek, object, out, NULL) != 0)
            continue;
        x->by = g->number;
        return true;
    }
    return false;
}

static bool may_be_missing(const struct look *x, const char *object)
{
    const struct repo_object *o = repo_inventory_find(&x->r->inv, object);
    return o == NULL || o->created.us == 0 || o->created.us >= x->next.us;
}

static int read_key(struct look *x, struct repo_backend *b, const char *name,
                    const struct repo_key *key, uint8_t **text, size_t *n, struct err *e)
{
    char identity[REPO_IDENTITY_BYTES];
    *text = NULL;
    repo_identity_of(x->r, name, identity);
    int rc = repo_backend_read(b, name, REPO_SMALL_TEXT_MAX_BYTES, text, n, e);
    if (rc == 0) {
        repo_advance(x->a, 2 * *n); /* as much was read to open the object */
        rc = repo_seal_check(bytes_of(*text, *n), key, identity, e);
    }
    return rc;
}

static int mend_key(struct look *x, const char *object, const char *name,
                    const struct repo_key *key, bool missing, struct err *e)
{
    const struct err why = *e;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = ERR_NOT_FOUND;
    for (size_t i = 0; rc != 0 && i < x->from->n; i++) {
        free(text);
        rc = read_key(x, x->from->others[i], name, key, &text, &n, NULL);
        x->from->used = rc == 0 ? i + 1 : x->from->used;
    }
    if (rc != 0 && x->g->ours && x->g->headed && (missing || !x->r->backend->kind->remote)) {
        free(text);
        rc = repo_key_text(x->r, x->number, &x->r->kek, object, key, &text, &n, e);
    }
    rc = rc == 0
             ? repo_part_put(x->r->backend, name, bytes_of(text, n), x->from, e)
             : err_set(e, ERR_INTEGRITY,
                       "%.160s; no copy has it whole; generation %u opens the object, no record "
                       "is lost: bring the file back, or give generation %u up",
                       why.text, x->by, x->number);
    free(text);
    return rc;
}

static int look_at_key(struct look *x, const char *object, const struct repo_key *key,
                       struct err *e)
{
    char name[REPO_NAME_BYTES];
    struct err why = ERR_NONE;
    uint8_t *text;
    size_t n;
    repo_name_key(object, x->number, name);
    int rc = read_key(x, x->r->backend, name, key, &text, &n, &why);
    const bool missing = rc == ERR_NOT_FOUND;
    free(text);
    if (rc == 0 || (missing && may_be_missing(x, object)) || !repo_is_finished(x->r, object))
        return 0; /* or it was disposed of meanwhile */
    if (missing)
        err_set(&why, rc, "%s: it is missing", name);
    else if (strstr(why.text, name) == NULL)
        err_wrap(&why, "%s", name);
    if (is_damage(rc) && x->from != NULL)
        rc = mend_key(x, object, name, key, missing, &why);
    return noted(x, rc, &why, e);
}

static int look_at_keys(struct look *x, const struct repo_names *objects, struct err *e)
{
    struct repo_key key;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < objects->n; i++)
        if (!repo_is_index(objects->at[i]) && is_opened(x, objects->at[i], &key))
            rc = look_at_key(x, objects->at[i], &key, e);
    repo_wipe(&key, sizeof key);
    return rc;
}

/* ---- all ---- */

static bool others_are_ours(const struct look *x)
{
    for (size_t i = 0; i < x->keys.count; i++)
        if (x->keys.at[i].ours && x->keys.at[i].number != x->number)
            return true;
    return false;
}

int repo_keys_part(struct repository *r, unsigned number, struct repo_sources *from,
                   struct repo_advance *a, struct err *e)
{
    struct look x = {.r = r, .from = from, .a = a, .number = number, .first = ERR_NONE};
    struct repo_names objects = {0};
    int lock = -1;
    int rc = from != NULL ? repo_keys_lock(r, false, true, &lock, e) : 0;
    if (rc == 0)
        rc = read_keyring(&x, e);
    if (rc == 0 && (from != NULL || others_are_ours(&x)))
        rc = repo_list_keyed(r, &objects, e);
    if (rc == 0)
        rc = look_at_generation(&x, &objects, e);
    if (rc == 0 && x.g != NULL && !x.g->retired && others_are_ours(&x))
        rc = look_at_keys(&x, &objects, e);
    repo_advance(a, x.keys.count * FILE_BYTES);
    repo_names_release(&objects);
    repo_keyring_release(&x.keys);
    repo_keys_unlock(lock);
    if (rc != 0 || x.bad == 0)
        return rc;
    if (x.bad == 1)
        return err_set(e, ERR_INTEGRITY, "%s", x.first.text);
    return err_set(e, ERR_INTEGRITY, "%.400s (and %llu others of the generation)", x.first.text,
                   (unsigned long long)x.bad - 1);
}
