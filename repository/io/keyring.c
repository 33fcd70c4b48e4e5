/* The generations, as their files say, and what a writer does when they change.
 *
 * STATES of a generation: begun (keys/N.key is there) -> whole (a key of every object) -> retired (keys/N.retired; then its
 * keys are removed). Only `begun` and `retired` are written down; whether it is whole is counted, because objects come all
 * the time.
 *
 * Why a writer may go on under an older generation: it has that KEK and no other. What it writes is added to the newer one by the
 * next `archive keys rotate`, or by itself when its KEK's source gives the new key. Nothing is ever under a key that this
 * process does not have.
 *
 * INVARIANTS
 *   I1  A key in generation N authenticates only as keys/N/...: its name is in the seal.
 *   I2  A key is written to a generation only while it is not retired, under a lock that retiring takes alone.
 *   I3  A generation becomes ours only when every object whose key we can unwrap has one there. */
#include "repository/io/keyring.h"

#include "repository/io/archive.h"
#include "store/core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

int repo_keys_lock(const struct repository *r, bool alone, bool wait, int *fd, struct err *e)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/keys", r->where);
    *fd = n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (*fd < 0) /* not a local directory */
        return 0;
    if (flock(*fd, (alone ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB)) == 0)
        return 0;
    int code = errno;
    (void)close(*fd);
    *fd = -1;
    return code == EWOULDBLOCK
               ? err_set(e, ERR_BUSY, "keys are being written to the archive; try again")
               : err_set(e, ERR_IO, "keys: cannot be locked: %s", strerror(code));
}

void repo_keys_unlock(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

/* ---- which generations there are ---- */

void repo_keyring_release(struct repo_keyring *k)
{
    free(k->at);
    *k = (struct repo_keyring){0};
}

static int add_generation(struct repo_keyring *k, unsigned number, bool headed, bool retired)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->at[i].number == number) {
            k->at[i].headed |= headed;
            k->at[i].retired |= retired;
            return 0;
        }
    struct repo_generation *more = realloc(k->at, (k->count + 1) * sizeof *more);
    if (more == NULL)
        return ERR_NO_MEMORY;
    k->at = more;
    more[k->count++] =
        (struct repo_generation){.number = number, .headed = headed, .retired = retired};
    return 0;
}

static int list_one(void *arg, const char *name)
{
    unsigned number;
    bool retired;
    if (repo_name_of_generation(name, &number, &retired) != 0)
        return 0;
    return add_generation(arg, number, !retired, retired);
}

static int newest_first(const void *a, const void *b)
{
    const struct repo_generation *x = a, *y = b;
    return x->number < y->number ? 1 : -1;
}

static int read_text(struct repository *r, const char *name, uint8_t **text, size_t *n,
                     struct err *e)
{
    int rc = repo_backend_read(r->backend, name, REPO_SMALL_TEXT_MAX_BYTES, text, n, e);
    return rc == ERR_NOT_FOUND ? rc : rc == 0 ? 0 : repo_damage(e);
}

static void note_damage(struct repo_generation *g, const struct err *why)
{
    (void)snprintf(g->damage, sizeof g->damage, "%.*s", (int)sizeof g->damage - 1, why->text);
}

/* Damage of the file is noted; other failures end the reading. */
static int read_retired(struct repository *r, struct repo_generation *g, struct err *e)
{
    char name[REPO_NAME_BYTES];
    struct repo_retired about;
    struct err why = ERR_NONE;
    uint8_t *text = NULL;
    size_t n = 0;
    repo_name_generation(g->number, true, name);
    int rc = read_text(r, name, &text, &n, &why);
    if (rc == 0)
        rc = repo_retired_read(bytes_of(text, n), &about, &why);
    free(text);
    if (rc == 0 && about.generation != g->number)
        rc = err_set(&why, ERR_INTEGRITY, "it is of generation %u", about.generation);
    if (rc == ERR_NO_MEMORY || rc == ERR_IO) {
        *e = why;
        return rc;
    }
    if (rc != 0) {
        note_damage(g, &why);
        return 0;
    }
    memcpy(g->kek_id, about.kek_id, sizeof g->kek_id);
    g->id_known = true;
    g->given_up = about.when;
    return 0;
}

static int read_head(struct repository *r, const struct repo_kek *kek, struct repo_generation *g,
                     struct err *e)
{
    char name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    struct repo_wrapped w;
    struct repo_key key;
    struct err why = ERR_NONE;
    uint8_t *text = NULL;
    size_t n = 0;
    repo_name_generation(g->number, false, name);
    repo_identity_of(r, name, identity);
    int rc = read_text(r, name, &text, &n, &why);
    if (rc == 0)
        rc = repo_wrapped_read(bytes_of(text, n), &w, &why);
    if (rc == 0) {
        memcpy(g->kek_id, w.kek_id, sizeof g->kek_id);
        g->id_known = true;
        g->made = w.created;
    }
    if (rc == 0 && kek != NULL) {
        rc = repo_key_unwrap(kek, w.wrapped, &key, &why);
        if (rc == 0)
            rc = repo_seal_check(bytes_of(text, n), &key, identity, &why);
        if (rc == 0)
            g->ours = true;
        else if (rc == ERR_DENIED && !repo_kek_is(kek, w.kek_id))
            rc = 0; /* of another KEK */
        repo_wipe(&key, sizeof key);
    }
    free(text);
    if (rc == ERR_NO_MEMORY || rc == ERR_IO) {
        *e = why;
        return rc;
    }
    if (rc != 0) { /* only its keys can tell */
        note_damage(g, &why);
        g->headed = false;
    }
    return 0;
}

int repo_keyring_read(struct repository *r, const struct repo_kek *kek, struct repo_keyring *out,
                      struct err *e)
{
    *out = (struct repo_keyring){0};
    int rc = repo_backend_list(r->backend, "keys", list_one, out, e);
    if (rc == 0)
        rc = add_generation(out, 1, false, false);
    if (rc == ERR_NO_MEMORY)
        return err_set(e, rc, "no memory for the generations of keys");
    if (rc != 0)
        return rc;
    qsort(out->at, out->count, sizeof *out->at, newest_first);
    for (size_t i = 0; rc == 0 && i < out->count; i++) {
        struct repo_generation *g = &out->at[i];
        if (g->retired)
            rc = read_retired(r, g, e);
        else if (g->headed)
            rc = read_head(r, kek, g, e);
        g->ours |= !g->retired && !g->headed && kek != NULL;
    }
    return rc;
}

const struct repo_generation *repo_keyring_ours(const struct repo_keyring *k)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->at[i].ours)
            return &k->at[i];
    return NULL;
}

const struct repo_generation *repo_keyring_written(const struct repo_keyring *k)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->at[i].ours && k->at[i].headed)
            return &k->at[i];
    return repo_keyring_ours(k);
}

const struct repo_generation *repo_keyring_newest(const struct repo_keyring *k)
{
    for (size_t i = 0; i < k->count; i++)
        if (!k->at[i].retired)
            return &k->at[i];
    return NULL;
}

/* "generation 2 is under KEK id 0123456789abcdef, generation 1 (id ...) was retired". */
static void describe(const struct repo_keyring *k, char *out, size_t room)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < k->count && used + 80 < room; i++) {
        const struct repo_generation *g = &k->at[i];
        char id[REPO_KEK_HEX_BYTES] = "not known";
        if (g->id_known)
            repo_kek_hex(g->kek_id, id);
        used += (size_t)snprintf(out + used, room - used, "%sgeneration %u %s KEK id %s",
                                 i == 0 ? "" : ", ", g->number,
                                 g->retired ? "was retired, it was under" : "is under", id);
    }
}

int repo_keyring_open(struct repository *r, struct err *e)
{
    char all[300], ours[REPO_KEK_HEX_BYTES];
    int rc = repo_keyring_read(r, &r->kek, &r->keys, e);
    if (rc != 0 || repo_keyring_ours(&r->keys) != NULL)
        return rc;
    describe(&r->keys, all, sizeof all);
    repo_kek_hex(r->kek.id, ours);
    return err_set(
        e, ERR_DENIED,
        "the key-encryption key is not the one of this archive: it has id %s, from %.80s; "
        "%s",
        ours, r->kek_source, all);
}

int repo_generation_text(struct repository *r, unsigned number, const struct repo_kek *kek,
                         uint8_t **text, size_t *n, struct err *e)
{
    char name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    struct repo_wrapped w = {.created = repo_now()};
    struct repo_key key = {{0}};
    *text = NULL;
    repo_name_generation(number, false, name);
    repo_identity_of(r, name, identity);
    memcpy(w.kek_id, kek->id, sizeof w.kek_id);
    int rc = repo_random(key.b, sizeof key.b, e);
    if (rc == 0)
        rc = repo_key_wrap(kek, &key, w.wrapped, e);
    if (rc == 0)
        rc = repo_wrapped_write(&w, &key, identity, text, n, e);
    repo_wipe(&key, sizeof key);
    return rc;
}

int repo_generation_begin(struct repository *r, unsigned number, const struct repo_kek *kek,
                          struct err *e)
{
    char name[REPO_NAME_BYTES];
    uint8_t *text = NULL;
    size_t n = 0;
    repo_name_generation(number, false, name);
    int rc = repo_generation_text(r, number, kek, &text, &n, e);
    if (rc == 0)
        rc = repo_text_publish(r, name, bytes_of(text, n), e);
    free(text);
    return rc;
}

/* ---- keys of objects ---- */

int repo_key_in(struct repository *r, unsigned generation, const struct repo_kek *kek,
                const char *object, struct repo_key *out, struct err *e)
{
    char name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    char given[REPO_KEK_HEX_BYTES], ours[REPO_KEK_HEX_BYTES];
    struct repo_wrapped w;
    uint8_t *text = NULL;
    size_t n = 0;
    repo_name_key(object, generation, name);
    int rc = read_text(r, name, &text, &n, e);
    if (rc != 0)
        return rc;
    rc = repo_wrapped_read(bytes_of(text, n), &w, e);
    if (rc == 0) {
        repo_kek_hex(w.kek_id, given);
        repo_kek_hex(kek->id, ours);
        /* Tried whatever the id says: an id that rotted must not pass for a wrong KEK. */
        rc = repo_key_unwrap(kek, w.wrapped, out, e);
        bool other = !repo_kek_is(kek, w.kek_id);
        if (rc == ERR_DENIED && other)
            err_set(e, ERR_DENIED, "wrapped under the KEK with id %s, the KEK given has id %s",
                    given, ours);
        else if (rc == ERR_DENIED)
            rc = err_set(e, ERR_INTEGRITY, "the wrapped key is damaged");
        else if (rc == 0 && other)
            rc = err_set(e, ERR_INTEGRITY, "its KEK id is damaged");
    }
    repo_identity_of(r, name, identity);
    if (rc == 0)
        rc = repo_seal_check(bytes_of(text, n), out, identity, e);
    free(text);
    if (rc == 0)
        return 0;
    repo_wipe(out, sizeof *out);
    err_wrap(e, "%s", name);
    return repo_damage(e);
}

bool repo_is_at(struct repo_backend *b, const char *name)
{
    struct repo_blob f = REPO_BLOB_NONE;
    bool there = repo_blob_open(&f, b, name, NULL) == 0;
    repo_blob_close(&f);
    return there;
}

bool repo_is_there(struct repository *r, const char *name)
{
    return repo_is_at(r->backend, name);
}

bool repo_is_finished(struct repository *r, const char *object)
{
    char name[REPO_NAME_BYTES];
    if (strcmp(object, REPO_MARKS) == 0)
        return true;
    repo_name_meta(object, name);
    if (!repo_is_there(r, name))
        return false;
    repo_name_mark(object, name);
    return !repo_is_there(r, name);
}

/* No generation of ours has it: does another one? */
static int only_elsewhere(struct repository *r, const char *object, struct err *e)
{
    char name[REPO_NAME_BYTES], theirs[REPO_KEK_HEX_BYTES] = "not known", ours[REPO_KEK_HEX_BYTES];
    const struct repo_generation *newest = repo_keyring_ours(&r->keys);
    for (size_t i = 0; i < r->keys.count; i++) {
        const struct repo_generation *g = &r->keys.at[i];
        repo_name_key(object, g->number, name);
        if (g->retired || g->ours || !repo_is_there(r, name))
            continue;
        if (g->id_known)
            repo_kek_hex(g->kek_id, theirs);
        repo_kek_hex(r->kek.id, ours);
        return err_set(
            e, ERR_DENIED,
            "its key is in generation %u only, KEK id %s; ours, of generation %u, is %s: "
            "finish 'triveni archive keys rotate'",
            g->number, theirs, newest->number, ours);
    }
    repo_name_key(object, newest->number, name);
    return err_set(e, ERR_INTEGRITY, "%s: there is no such file, nor another key of the object",
                   name);
}

int repo_key_seen(struct repository *r, const char *object, struct err *e)
{
    char name[REPO_NAME_BYTES];
    int rc = ERR_NOT_FOUND;
    for (size_t i = 0; rc == ERR_NOT_FOUND && i < r->keys.count; i++) {
        struct repo_wrapped w;
        struct err why = ERR_NONE;
        uint8_t *text = NULL;
        size_t n = 0;
        if (r->keys.at[i].retired)
            continue;
        repo_name_key(object, r->keys.at[i].number, name);
        rc = read_text(r, name, &text, &n, &why);
        if (rc == 0 && (rc = repo_wrapped_read(bytes_of(text, n), &w, &why)) != 0)
            err_wrap(&why, "%s", name);
        if (rc != 0 && e != NULL)
            *e = why;
        free(text);
    }
    if (rc == ERR_NOT_FOUND)
        err_set(e, rc, "no generation of the archive's keys has a key of it");
    return rc == 0 ? 0 : repo_damage(e);
}

int repo_key_of(struct repository *r, const char *object, struct repo_key *out, struct err *e)
{
    struct err denied = ERR_NONE;
    if (r->keyless)
        return err_set(e, ERR_DENIED, "it takes the key-encryption key, and none was given");
    for (size_t i = 0; i < r->keys.count; i++) {
        const struct repo_generation *g = &r->keys.at[i];
        struct err why = ERR_NONE;
        if (!g->ours)
            continue;
        int rc = repo_key_in(r, g->number, &r->kek, object, out, &why);
        if (rc == 0)
            return 0;
        if (rc == ERR_DENIED)
            denied = why; /* of one that is ours perhaps */
        else if (rc != ERR_NOT_FOUND) {
            if (e != NULL)
                *e = why;
            return rc;
        }
    }
    if (denied.code == 0)
        return only_elsewhere(r, object, e);
    if (e != NULL)
        *e = denied;
    return ERR_DENIED;
}

int repo_object_key(struct repository *r, const struct repo_object *o, struct repo_key *out,
                    struct err *e)
{
    char mark[REPO_NAME_BYTES];
    if (o->disposed)
        return repo_disposed(o, e);
    int rc = repo_key_of(r, o->name, out, e);
    repo_name_mark(o->name, mark);
    if (rc == ERR_INTEGRITY && repo_is_there(r, mark))
        rc = err_set(e, ERR_NOT_FOUND,
                     "%s was disposed of meanwhile: its key is destroyed; try again, for by whose "
                     "order",
                     o->name);
    return rc;
}

int repo_key_text(struct repository *r, unsigned generation, const struct repo_kek *kek,
                  const char *object, const struct repo_key *key, uint8_t **text, size_t *n,
                  struct err *e)
{
    char name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    struct repo_wrapped w = {.created = repo_now()};
    struct repo_key again = {{0}};
    *text = NULL;
    memcpy(w.kek_id, kek->id, sizeof w.kek_id);
    int rc = repo_key_wrap(kek, key, w.wrapped, e);
    if (rc == 0)
        rc = repo_key_unwrap(kek, w.wrapped, &again, e);
    if (rc == 0 && memcmp(&again, key, sizeof again) != 0)
        rc =
            err_set(e, ERR_INTEGRITY, "the wrapped key unwraps to another one; check this machine");
    repo_name_key(object, generation, name);
    repo_identity_of(r, name, identity);
    if (rc == 0)
        rc = repo_wrapped_write(&w, key, identity, text, n, e);
    repo_wipe(&again, sizeof again);
    return rc;
}

int repo_key_write(struct repository *r, unsigned generation, const struct repo_kek *kek,
                   const char *object, const struct repo_key *key, bool durable, struct err *e)
{
    char name[REPO_NAME_BYTES];
    uint8_t *text = NULL;
    size_t n = 0;
    repo_name_key(object, generation, name);
    int rc = repo_key_text(r, generation, kek, object, key, &text, &n, e);
    if (rc == 0)
        rc = durable ? repo_text_publish(r, name, bytes_of(text, n), e)
                     : repo_text_name(r, name, bytes_of(text, n), e);
    free(text);
    return rc;
}

/* ---- a generation gets what it lacks ---- */

static int fill_one(struct repository *r, const char *object, unsigned number,
                    const struct repo_kek *kek, struct repo_fill *f, struct err *e)
{
    struct repo_key key, there;
    int rc = repo_key_in(r, number, kek, object, &there, e);
    bool missing = rc == ERR_NOT_FOUND;
    if (rc != 0 && !missing)
        return rc;
    rc = repo_key_of(r, object, &key, e);
    if (rc == 0 && missing) {
        rc = repo_key_write(r, number, kek, object, &key, false, e);
        /* Another one added it meanwhile: then it is compared. */
        missing = rc != ERR_EXISTS;
        if (!missing)
            rc = repo_key_in(r, number, kek, object, &there, e);
    }
    if (rc == 0 && !missing && memcmp(&key, &there, sizeof key) != 0)
        rc = err_set(e, ERR_INTEGRITY, "its key in generation %u is another one", number);
    if (rc == 0)
        *(missing ? &f->added : &f->present) += 1;
    repo_wipe(&key, sizeof key);
    repo_wipe(&there, sizeof there);
    return rc;
}

/* NULL: it was disposed of, and has no key. Behind them all stand the marks of those that were. */
static const char *nth_object(const struct repo_inventory *inv, size_t i)
{
    const struct repo_object *o;
    if (i < inv->pack_count)
        o = &inv->packs[i].o;
    else if ((i -= inv->pack_count) < inv->snapshot_count)
        o = &inv->snapshots[i].o;
    else if ((i -= inv->snapshot_count) < inv->index_count)
        o = &inv->indexes[i].o;
    else
        return repo_count_disposed(inv) != 0 ? REPO_MARKS : NULL;
    return o->disposed ? NULL : o->name;
}

int repo_keyring_fill(struct repository *r, const struct repo_inventory *inv, unsigned number,
                      const struct repo_kek *kek, struct repo_fill *f, struct err *e)
{
    char name[REPO_NAME_BYTES];
    const uint64_t before = f->added;
    const uint64_t total = inv->pack_count + inv->snapshot_count + inv->index_count + 1;
    for (size_t i = 0; i < total; i++) {
        const char *object = nth_object(inv, i);
        struct err why = ERR_NONE;
        if (object == NULL)
            continue;
        int rc = fill_one(r, object, number, kek, f, &why);
        if (rc == ERR_INTEGRITY || rc == ERR_DENIED) {
            bool gone = !repo_is_finished(r, object); /* an index that a larger one replaced */
            f->failed += !gone;
            if (f->damage != NULL && !gone)
                f->damage(f->arg, object, why.text);
        } else if (rc != 0) {
            if (e != NULL)
                *e = why;
            return rc;
        }
        if (f->progress != NULL)
            f->progress(f->arg, i + 1, total);
        repo_name_key(object, number, name);
    }
    const char *last = name;
    return f->added == before ? 0 : repo_backend_settle(r->backend, &last, 1, e);
}

/* ---- a writer meets another generation ---- */

/* Does the source of the KEK give that of `newest` by now? *ours is set when it does; then *out is to be closed. */
static int ask_source(struct repository *r, unsigned newest, struct repo_kek *out, bool *ours,
                      struct err *e)
{
    struct repo_keyring seen = {0};
    *ours = false;
    if (repo_kek_open(r->kek_source, out, NULL) != 0)
        return 0; /* we still have the one that we have */
    int rc = repo_keyring_read(r, out, &seen, e);
    const struct repo_generation *g = rc == 0 ? repo_keyring_ours(&seen) : NULL;
    *ours = g != NULL && g->headed && g->number == newest;
    repo_keyring_release(&seen);
    if (!*ours)
        repo_kek_close(out);
    return rc;
}

static int take_over(struct repository *r, unsigned number, struct repo_kek *next, struct err *e)
{
    struct repo_fill f = {0};
    struct repo_keyring keys = {0};
    int rc = repo_keyring_fill(r, &r->inv, number, next, &f, e);
    if (rc == 0)
        rc = repo_keyring_read(r, next, &keys, e);
    if (rc != 0) {
        repo_keyring_release(&keys);
        return rc;
    }
    repo_keyring_release(&r->keys);
    r->keys = keys;
    r->writes = number;
    return 0;
}

int repo_keyring_follow(struct repository *r, struct err *e)
{
    struct repo_keyring now = {0};
    struct repo_kek next;
    bool ours = false;
    int rc = repo_keyring_read(r, &r->kek, &now, e);
    const struct repo_generation *newest = rc == 0 ? repo_keyring_newest(&now) : NULL;
    unsigned number = newest == NULL ? 0 : newest->number;
    const struct repo_generation *best = rc == 0 ? repo_keyring_written(&now) : NULL;
    if (rc == 0 && best != NULL && best->number > r->writes) /* our KEK is used again */
        rc = take_over(r, best->number, &r->kek, e);
    bool nothing_left = best == NULL, newest_is_ours = best != NULL && best == newest;
    if (rc == 0 && !nothing_left && best->number < r->writes)
        r->writes = best->number; /* the newer one was given up */
    if (rc == 0 && !newest_is_ours && newest != NULL) {
        rc = ask_source(r, number, &next, &ours, e);
        if (ours) {
            rc = take_over(r, number, &next, e);
            struct repo_kek *drop = rc == 0 ? &r->kek : &next;
            repo_kek_close(drop);
            if (rc == 0)
                r->kek = next;
        }
    }
    r->awaited = rc != 0 || newest_is_ours || ours ? 0 : number;
    if (rc == 0 && nothing_left && !ours) {
        char all[300];
        describe(&now, all, sizeof all);
        rc = err_set(e, ERR_DENIED,
                     "no generation of the archive's keys is left for the KEK that this site has, "
                     "from %.80s; %s: give it the new KEK",
                     r->kek_source, all);
    }
    if (rc == 0 && !ours) {
        struct repo_keyring before = r->keys;
        r->keys = now;
        now = before;
    }
    repo_keyring_release(&now);
    return rc;
}
