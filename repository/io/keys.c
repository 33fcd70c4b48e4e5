/* Listing, rotating, checking and retiring generations of keys, beside a site that goes on sealing.
 *
 * Rotation may race with the site: an object that is finished after the last pass has its key in the old generation only. Nobody
 * loses it: the next rotation, or the site when it gets the new KEK, adds it, and retiring refuses as long as there is one.
 * So passes are repeated until one finds nothing new, and no lock holds up the site.
 *
 * Retiring does hold it up, for one listing: between the last look at what is sealed and the file that says "retired", no key
 * may be written. */
#include "repository/keys.h"

#include "repository/io/archive.h"
#include "repository/io/keyring.h"
#include "repository/operations.h"
#include "store/core/check.h"

#include <stdio.h>
#include <time.h>

enum { PASSES_MAX = 100, LOCK_TRIES = 50 };

/* ---- listing ---- */

struct count {
    const struct repo_names *finished;
    uint64_t n;
};

static int count_key(void *arg, const char *name)
{
    struct count *c = arg;
    char object[REPO_NAME_BYTES];
    unsigned generation;
    c->n +=
        repo_name_of_key(name, object, &generation) == 0 && repo_names_have(c->finished, object);
    return 0;
}

static int tell_generation(struct repository *r, const struct repo_generation *g,
                           const struct repo_names *finished,
                           int (*each)(void *arg, const struct repository_generation *), void *arg,
                           struct err *e)
{
    char folder[REPO_NAME_BYTES];
    struct count c = {finished, 0};
    struct repository_generation x = {.number = g->number,
                                      .made = g->made,
                                      .retired = g->given_up,
                                      .objects = finished->n,
                                      .damaged = g->damage[0] != '\0'};
    repo_name_keys_folder(g->number, folder);
    int rc = repo_backend_list(r->backend, folder, count_key, &c, e);
    x.keys = c.n;
    if (g->id_known)
        repo_kek_hex(g->kek_id, x.kek_id);
    /* The first of an old archive that nobody has written to since: nothing is known of it, and when it holds nothing,
     * nothing is. */
    return rc == 0 ? each(arg, &x) : rc;
}

int repository_generations(const char *dir,
                           int (*each)(void *arg, const struct repository_generation *), void *arg,
                           struct err *e)
{
    struct repository r = {.read_only = true};
    struct repo_keyring keys = {0};
    struct repo_names finished = {0};
    int rc = repo_backend_open(dir, false, false, &r.backend, e);
    if (rc != 0)
        return err_wrap(e, "archive %s", dir);
    rc = repo_about_load(&r, e);
    if (rc == 0)
        rc = repo_keyring_read(&r, NULL, &keys, e);
    if (rc == 0)
        rc = repo_list_keyed(&r, &finished, e);
    for (size_t i = keys.count; rc == 0 && i > 0; i--)
        rc = tell_generation(&r, &keys.at[i - 1], &finished, each, arg, e);
    repo_names_release(&finished);
    repo_keyring_release(&keys);
    repo_backend_close(r.backend);
    return rc;
}

/* ---- rotating ---- */

/* The newest generation when it is of `kek`, otherwise a new one. */
static int choose_generation(struct repository *r, const struct repo_kek *kek,
                             struct repository_keys_report *out, struct err *e)
{
    struct repo_keyring seen = {0};
    int rc = repo_keyring_read(r, kek, &seen, e);
    const struct repo_generation *newest = rc == 0 ? repo_keyring_newest(&seen) : NULL;
    if (newest != NULL && newest->ours && newest->headed)
        out->generation = newest->number;
    else if (rc == 0 && newest != NULL && newest->damage[0] != '\0')
        rc =
            err_set(e, ERR_INTEGRITY, "generation %u: %s; bring it back from a copy of the archive",
                    newest->number, newest->damage);
    else if (rc == 0 && seen.at[0].number >= REPO_GENERATION_MAX)
        rc = err_set(e, ERR_LIMIT, "the archive has had %d generations of keys: no more fit",
                     REPO_GENERATION_MAX);
    else if (rc == 0) {
        out->generation = seen.at[0].number + 1;
        out->begun = true;
        rc = repo_generation_begin(r, out->generation, kek, e);
    }
    repo_keyring_release(&seen);
    return rc;
}

/* For the operations log; an empty archive has none yet. */
static int record(struct repository *r, enum operation_kind kind, unsigned generation,
                  const char *detail, struct err *e)
{
    struct operation o = {.kind = kind, .generation = generation};
    (void)snprintf(o.detail, sizeof o.detail, "%s", detail);
    return r->inv.pack_count == 0 ? 0 : repository_operations_add(r, &o, e);
}

static int fill_until_whole(struct repository *r, const struct repo_kek *kek,
                            const struct repository_keys_work *work,
                            struct repository_keys_report *out, struct err *e)
{
    uint64_t added = 0;
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        struct repo_inventory now = {0};
        uint64_t unfinished;
        struct repo_fill f = {work->damage, work->progress, work->arg, 0, 0, 0};
        int rc = repo_scan(r, NULL, &now, &unfinished, e);
        if (rc == 0)
            rc = repo_keyring_fill(r, &now, out->generation, kek, &f, e);
        repo_inventory_release(&now);
        if (rc != 0)
            return rc;
        added += f.added;
        out->compared = f.added + f.present - added;
        out->added = added;
        out->failed = f.failed;
        if (f.added == 0 || f.failed != 0)
            return 0;
    }
    return 0;
}

int repository_keys_rotate(struct repository *r, const char *kek,
                           const struct repository_keys_work *work,
                           struct repository_keys_report *out, struct err *e)
{
    struct repo_kek next;
    int lock = -1;
    *out = (struct repository_keys_report){0};
    int rc = repo_kek_open(kek, &next, e);
    if (rc != 0)
        return err_wrap(e, "new key-encryption key");
    repo_kek_hex(next.id, out->kek_id);
    repo_keys_clean(r);
    rc = repo_keys_lock(r, false, true, &lock, e);
    if (rc == 0)
        rc = choose_generation(r, &next, out, e);
    if (rc == 0 && out->begun)
        rc = record(r, OPERATION_ROTATE, out->generation, "begun", e);
    if (rc == 0)
        rc = fill_until_whole(r, &next, work, out, e);
    if (rc == 0 && out->failed == 0 && (out->begun || out->added != 0))
        rc = record(r, OPERATION_ROTATE, out->generation, "finished", e);
    if (rc == 0 && out->failed != 0)
        rc = err_set(e, ERR_INTEGRITY,
                     "the keys of %llu objects are not in generation %u; the others are",
                     (unsigned long long)out->failed, out->generation);
    repo_kek_close(&next);
    repo_keys_unlock(lock);
    return rc == 0 ? 0 : err_wrap(e, "rotating keys");
}

/* ---- checking ---- */

static int check_one(struct repository *r, unsigned generation, const char *object, struct err *e)
{
    char meta[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    struct repo_key key;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_key_in(r, generation, &r->kek, object, &key, e);
    if (rc != 0 || strcmp(object, REPO_MARKS) == 0) /* its seal is under itself, and held */
        return rc;
    repo_name_meta(object, meta);
    repo_identity_of(r, meta, identity);
    rc = repo_meta_text(r, object, &text, &n, e);
    if (rc == 0 && repo_seal_check(bytes_of(text, n), &key, identity, e) != 0)
        rc = err_set(e, ERR_INTEGRITY, "the key is not the one that %s was sealed with", meta);
    free(text);
    repo_wipe(&key, sizeof key);
    return rc;
}

static int check_names(struct repository *r, unsigned generation, const struct repo_names *names,
                       const struct repository_keys_work *work, struct repository_keys_report *out,
                       struct err *e)
{
    for (size_t i = 0; i < names->n; i++) {
        struct err why = ERR_NONE;
        int rc = check_one(r, generation, names->at[i], &why);
        if (rc == ERR_NO_MEMORY || rc == ERR_IO) {
            *e = why;
            return rc;
        }
        if (rc != 0 && !repo_is_finished(r, names->at[i]))
            continue; /* an index that a larger one replaced meanwhile */
        out->compared += rc == 0;
        out->failed += rc != 0;
        if (rc != 0 && work->damage != NULL)
            work->damage(work->arg, names->at[i],
                         rc == ERR_NOT_FOUND ? "it has no key in this generation" : why.text);
        if (work->progress != NULL)
            work->progress(work->arg, i + 1, names->n);
    }
    return 0;
}

static const struct repo_generation *find_generation(const struct repository *r, unsigned number)
{
    for (size_t i = 0; i < r->keys.count; i++)
        if (r->keys.at[i].number == number)
            return &r->keys.at[i];
    return NULL;
}

int repository_keys_check(struct repository *r, unsigned generation,
                          const struct repository_keys_work *work,
                          struct repository_keys_report *out, struct err *e)
{
    struct repo_names names = {0};
    struct err ignored = ERR_NONE;
    const struct repo_generation *g =
        generation == 0 ? repo_keyring_ours(&r->keys) : find_generation(r, generation);
    if (e == NULL)
        e = &ignored;
    *out = (struct repository_keys_report){0};
    if (g == NULL)
        return err_set(e, ERR_NOT_FOUND, "the archive has no generation %u of keys", generation);
    if (g->retired)
        return err_set(e, ERR_NOT_FOUND, "generation %u was retired", g->number);
    out->generation = g->number;
    if (g->id_known)
        repo_kek_hex(g->kek_id, out->kek_id);
    int rc = repo_list_keyed(r, &names, e);
    if (rc == 0)
        rc = check_names(r, g->number, &names, work, out, e);
    repo_names_release(&names);
    if (rc == 0 && (out->failed != 0 || g->damage[0] != '\0'))
        rc = err_set(e, ERR_INTEGRITY, "generation %u: %llu of %llu keys are missing or wrong%s%s",
                     g->number, (unsigned long long)out->failed,
                     (unsigned long long)(out->failed + out->compared),
                     g->damage[0] != '\0' ? "; " : "", g->damage);
    return rc;
}

/* ---- retiring ---- */

/* With the keys locked: every object that is there now has a key in `stays`. */
static int nothing_is_left_behind(struct repository *r, unsigned stays, unsigned goes,
                                  struct err *e)
{
    struct repo_names names = {0};
    int rc = repo_list_keyed(r, &names, e);
    for (size_t i = 0; rc == 0 && i < names.n; i++) {
        char name[REPO_NAME_BYTES];
        repo_name_key(names.at[i], stays, name);
        if (!repo_is_there(r, name) && repo_is_finished(r, names.at[i]))
            rc = err_set(e, ERR_CONDITION,
                         "%s was sealed meanwhile and has its key in generation %u: give the site "
                         "the new KEK, run 'triveni archive keys rotate' again, then retire",
                         names.at[i], goes);
    }
    repo_names_release(&names);
    return rc;
}

static int lock_alone(const struct repository *r, int *lock, struct err *e)
{
    static const struct timespec pause = {.tv_nsec = 100000000};
    int rc = repo_keys_lock(r, true, false, lock, e);
    for (int i = 0; rc == ERR_BUSY && i < LOCK_TRIES; i++) {
        (void)nanosleep(&pause, NULL);
        rc = repo_keys_lock(r, true, false, lock, e);
    }
    return rc;
}

static int write_retired(struct repository *r, const struct repo_generation *g,
                         const struct repo_generation *stays, struct err *e)
{
    char name[REPO_NAME_BYTES];
    struct repo_retired about = {
        .generation = g->number, .after = stays->number, .when = repo_now()};
    uint8_t *text = NULL;
    size_t n = 0;
    int lock = -1;
    memcpy(about.kek_id, g->kek_id, sizeof about.kek_id);
    repo_name_generation(g->number, true, name);
    int rc = repo_retired_write(&about, &text, &n, e);
    if (rc == 0)
        rc = lock_alone(r, &lock, e);
    if (rc == 0)
        rc = nothing_is_left_behind(r, stays->number, g->number, e);
    if (rc == 0)
        rc = repo_text_publish(r, name, bytes_of(text, n), e);
    repo_keys_unlock(lock);
    free(text);
    return rc;
}

struct removal {
    struct repository *r;
    uint64_t gone, stay;
    struct utc until; /* when the first of those that stay may go; 0: not known */
};

static int remove_key(void *arg, const char *name)
{
    struct removal *x = arg;
    char object[REPO_NAME_BYTES];
    unsigned generation;
    struct utc until;
    if (repo_name_of_key(name, object, &generation) != 0)
        return 0;
    bool gone = repo_backend_destroy(x->r->backend, name, &until);
    *(gone ? &x->gone : &x->stay) += 1;
    if (!gone && until.us != 0 && (x->until.us == 0 || until.us < x->until.us))
        x->until = until;
    return 0;
}

/* Also what an earlier call left. What is not durably gone after a crash is removed by the next call. */
static int remove_keys(struct repository *r, unsigned number, uint64_t *n, struct err *e)
{
    char name[REPO_NAME_BYTES];
    char date[REPO_UTC_TEXT_BYTES] = "the place's date";
    struct removal x = {.r = r};
    repo_name_keys_folder(number, name);
    int rc = repo_backend_list(r->backend, name, remove_key, &x, e);
    repo_name_generation(number, false, name);
    (void)repo_backend_remove(r->backend, name);
    *n = x.gone;
    if (x.until.us != 0)
        repo_utc_format(x.until, date);
    if (rc == 0 && x.stay != 0)
        rc = err_set(e, ERR_DENIED,
                     "%llu of its keys cannot be removed before %s, as where objects are locked: "
                     "nothing uses it any more, but they are still there; the archive's site "
                     "removes them then",
                     (unsigned long long)x.stay, date);
    return rc;
}

int repository_keys_retire(struct repository *r, unsigned generation,
                           const struct repository_keys_work *work,
                           struct repository_keys_report *out, struct err *e)
{
    const struct repo_generation *g = find_generation(r, generation);
    const struct repo_generation *stays = repo_keyring_ours(&r->keys);
    *out = (struct repository_keys_report){0};
    if (g == NULL)
        return err_set(e, ERR_NOT_FOUND, "the archive has no generation %u of keys", generation);
    if (stays == NULL || stays == g)
        return err_set(
            e, ERR_CONDITION,
            "the KEK given is that of generation %u itself: give the KEK of the one that "
            "stays",
            generation);
    int rc = 0;
    if (!g->retired) {
        rc = repository_keys_check(r, stays->number, work, out, e);
        if (rc == 0)
            rc = write_retired(r, g, stays, e);
        if (rc == 0)
            rc = record(r, OPERATION_RETIRE, generation, "", e);
    }
    if (rc == 0)
        rc = remove_keys(r, generation, &out->gone, e);
    return rc == 0 ? 0 : err_wrap(e, "generation %u is not retired", generation);
}
