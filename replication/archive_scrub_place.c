/* One place of the archive's scrub, the archive itself or a copy of it: which object comes next, how it is, and what heals it.
 *
 * What was verified when is in the ledger of the place, in the data directory (repository/core/ledger.h), which is written once a
 * minute and with each change of what is damaged: after a restart the scrub goes on with the oldest. An object that the ledger
 * knows and that is not there any more is missed, also when it was the last. The ledger of a copy is named after its place, so
 * that a list of copies can change.
 *
 * Damage is told with the entries that are concerned, and in the archive itself with the records (the index of keys names them
 * when the pack cannot). The archive is healed from a copy that has the object whole, or a pack from the log; an index is made
 * again; what is no object comes from what else lies there, or from a copy that says the same as what was signed. In a copy
 * all of these are objects that the archive has, and put back from there: by the archive's thread, the only one
 * that writes to either. What cannot be healed stays trouble, and is looked at again every SCRUB_AGAIN_US, so that it ends when
 * somebody has put it right.
 *
 * A copy is looked at when its copying has been there once (copies_turns), for what comes late is not damaged; and a place that
 * cannot be read is trouble of that place, whatever was in it: nothing is put back object by object into an empty directory. */
#include "replication/archive_scrub_parts.h"

#include "repository/history.h"

enum {
    SCRUB_FOLLOW_MS = 30000,       /* how often what came in is listed */
    SCRUB_FOLLOW_COPY_MS = 600000, /* of a copy that nothing was copied to */
    SCRUB_SAVE_MS = 60000,
    SCRUB_RETRY_MS = 10000, /* when a place could not be read; doubled up to five times */
};
#define SCRUB_AGAIN_US (UINT64_C(600) * 1000000)
/* When who is to heal it could not be asked, as at the start. */
#define SCRUB_SOON_US (UINT64_C(20) * 1000000)

/* ---- the place and its ledger ---- */

static bool is_archive(const struct scrub_place *p)
{
    return p->copy == SCRUB_ARCHIVE;
}

static uint64_t turns_of(const struct scrub_place *p)
{
    return is_archive(p)
               ? 1
               : copies_turns(archiver_copies(p->scrub->site->archiver), (uint32_t)p->copy);
}

static int follow(struct scrub_place *p, struct err *e)
{
    const struct site_config *config = p->scrub->site->config;
    const struct scrub_place *archive = &p->scrub->at[0];
    const struct repository_options options = {.dir = p->where,
                                               .kek_file = config->kek_file,
                                               .cluster_id = config->cluster_id,
                                               .read_only = true};
    const size_t before = p->ledger.n;
    p->turns = turns_of(p);
    int rc = p->r == NULL ? repository_open(&p->r, &options, e) : repository_refresh(p->r, e);
    if (rc == 0)
        rc = repository_ledger_follow(
            p->r, &p->ledger, !is_archive(p) && archive->followed ? &archive->ledger : NULL, e);
    if (rc != 0) {
        repository_close(p->r);
        p->r = NULL;
    }
    p->changed |= p->ledger.n != before;
    p->followed = rc == 0;
    p->followed_ms = site_now_ms();
    return rc;
}

static bool is_follow_due(const struct scrub_place *p, uint64_t now)
{
    if (!p->followed || now < p->followed_ms + SCRUB_FOLLOW_MS)
        return !p->followed;
    return is_archive(p) || turns_of(p) != p->turns || now >= p->followed_ms + SCRUB_FOLLOW_COPY_MS;
}

static void save(struct scrub_place *p)
{
    struct err e = ERR_NONE;
    p->saved_ms = site_now_ms();
    if (repository_ledger_save(p->path, &p->ledger, &e) != 0)
        events_add(p->scrub->site->events, "archive scrub: %sthe ledger is not kept: %s", p->title,
                   e.text);
    else
        p->changed = false;
}

void scrub_place_save(struct scrub_place *p)
{
    if (p->changed)
        save(p);
}

/* For status. */
static void publish(struct scrub_place *p)
{
    const struct repo_ledger_line *oldest = repo_ledger_oldest(&p->ledger);
    uint64_t damaged = 0;
    for (size_t i = 0; i < p->ledger.n; i++)
        damaged += p->ledger.at[i].damaged;
    worker_lock(&p->scrub->worker);
    p->shown.known = true;
    p->shown.objects = p->ledger.n;
    p->shown.oldest = oldest != NULL ? oldest->verified : (struct utc){0};
    p->shown.damaged = damaged;
    for (size_t i = damaged; i < SCRUB_NAMED; i++)
        p->shown.named[i][0] = '\0';
    worker_unlock(&p->scrub->worker);
}

/* ---- damage ---- */

struct affected {
    uint64_t records, named;
    char text[300];
    size_t used;
    struct bytes collection, key; /* of the one before, in `last` */
    uint8_t last[KEY_MAX_BYTES + 512];
};

static int note_record(void *arg, struct bytes collection, struct bytes key, struct lsn lsn)
{
    struct affected *a = arg;
    (void)lsn;
    if (a->records != 0 && bytes_equal(a->collection, collection) && bytes_equal(a->key, key))
        return 0;
    if (collection.n + key.n <= sizeof a->last) {
        memcpy(a->last, collection.p, collection.n);
        memcpy(a->last + collection.n, key.p, key.n);
        a->collection = bytes_of(a->last, collection.n);
        a->key = bytes_of(a->last + collection.n, key.n);
    }
    a->records++;
    if (a->named < SCRUB_NAMED && a->used < sizeof a->text) {
        const size_t before = a->used;
        int n = snprintf(a->text + a->used, sizeof a->text - a->used, "%s%.*s/%.*s",
                         a->named == 0 ? "" : ", ", (int)(collection.n < 40 ? collection.n : 40),
                         (const char *)collection.p, (int)(key.n < 40 ? key.n : 40),
                         (const char *)key.p);
        a->used += n > 0 ? (size_t)n : 0;
        a->used = a->used < sizeof a->text ? a->used : sizeof a->text - 1;
        a->named++;
        for (size_t i = before; i < a->used; i++) /* keys are anybody's bytes */
            if (a->text[i] < ' ' || a->text[i] > '~')
                a->text[i] = '?';
    }
    return 0;
}

enum { EXTENT_BYTES = 64 };

/* " (lsn 1 to 9)"; empty when it is about none. */
static const char *extent_text(const struct repository_extent *x, char out[EXTENT_BYTES])
{
    out[0] = '\0';
    if (x->last.v != 0)
        (void)snprintf(out, EXTENT_BYTES, " (lsn %llu to %llu)", (unsigned long long)x->first.v,
                       (unsigned long long)x->last.v);
    return out;
}

/* Which entries are in an object, and in the archive itself which records, in words. */
static void describe(struct scrub_place *p, const char *object, char out[ERR_TEXT_BYTES])
{
    struct repository_extent x;
    struct affected a = {.records = 0};
    struct err e = ERR_NONE;
    char from[SITE_TIME_BYTES], to[SITE_TIME_BYTES];
    repository_extent(p->r, object, &x);
    if (!repository_is_object(object)) { /* what proves the records, and not they themselves */
        (void)snprintf(out, ERR_TEXT_BYTES, "no record is lost");
        return;
    }
    site_time_text(x.from.us, from);
    site_time_text(x.to.us, to);
    size_t n = (size_t)snprintf(out, ERR_TEXT_BYTES, "lsn %llu to %llu",
                                (unsigned long long)x.first.v, (unsigned long long)x.last.v);
    if (x.from.us != 0)
        n += (size_t)snprintf(out + n, ERR_TEXT_BYTES - n, ", committed from %s on", from);
    if (x.to.us != 0)
        n += (size_t)snprintf(out + n, ERR_TEXT_BYTES - n, " until %s", to);
    if (!is_archive(p) || strncmp(object, "packs/", 6) != 0)
        return;
    if (repository_affected(p->r, x.first, x.last, note_record, &a, &e) == 0)
        (void)snprintf(out + n, ERR_TEXT_BYTES - n, "; %llu records were written there: %s%s",
                       (unsigned long long)a.records, a.text, a.records > a.named ? ", ..." : "");
    else
        (void)snprintf(out + n, ERR_TEXT_BYTES - n, "; which records: triveni archive damage");
}

/* It is named as the i-th damaged object. `heal`: why it is not healed; NULL: it is not damaged, and `why` says what to do. */
static void name_it(struct scrub_place *p, const char *object, const char *why, const char *heal)
{
    size_t i = 0;
    for (size_t k = 0; k < p->ledger.n && strcmp(p->ledger.at[k].name, object) < 0; k++)
        i += p->ledger.at[k].damaged;
    struct repository_extent x;
    char of[EXTENT_BYTES];
    const size_t said = strlen(object); /* by what the layers below put before their reason */
    repository_extent(p->r, object, &x);
    if (strncmp(why, object, said) == 0 && why[said] == ':')
        why += said + 1 + strspn(why + said + 1, " ");
    worker_lock(&p->scrub->worker);
    if (i < SCRUB_NAMED && heal == NULL)
        (void)snprintf(p->shown.named[i], ERR_TEXT_BYTES, "%.100s%s: %.300s", object,
                       extent_text(&x, of), why);
    else if (i < SCRUB_NAMED)
        (void)snprintf(p->shown.named[i], ERR_TEXT_BYTES,
                       "%.80s%s: %.60s; not healed: %.230s; put it back from another place: "
                       "triveni archive heal",
                       object, extent_text(&x, of), why, heal);
    worker_unlock(&p->scrub->worker);
}

/* What the archive has whole now its copies may lack. */
static void hurry_copies(struct archive_scrub *c)
{
    for (size_t i = 1; i < c->n; i++)
        c->at[i].soon = true;
}

/* Whole again, or why not. */
static bool heal(struct scrub_place *p, const char *object, struct err *e)
{
    struct site *s = p->scrub->site;
    char where[SITE_PATH_BYTES];
    if (is_archive(p) && strncmp(object, "indexes/", 8) == 0) {
        archiver_check_index(s->archiver);
        (void)err_set(e, ERR_NOT_READY, "it is being made again, no record is lost");
        return false;
    }
    int rc = archiver_heal(s->archiver, p->copy, object, where, e);
    const bool itself = is_archive(p) && strcmp(where, "the archive") == 0;
    p->soon =
        rc == ERR_UNREACHABLE || rc == ERR_CANCELLED || rc == ERR_TIMEOUT || rc == ERR_NOT_READY;
    if (rc == 0)
        rc = follow(p, e);
    if (rc == 0 && repo_ledger_find(&p->ledger, object) != NULL) /* otherwise it was replaced */
        rc = repository_check(p->r, object, NULL, NULL, e);
    if (rc != 0)
        return false;
    events_add(s->events, "archive scrub: %s%s was healed from %s", p->title, object,
               itself ? "what else lies there" : where);
    worker_lock(&p->scrub->worker);
    p->shown.healed++;
    worker_unlock(&p->scrub->worker);
    if (is_archive(p))
        hurry_copies(p->scrub);
    return true;
}

/* ---- one object ---- */

static void note(struct scrub_place *p, const char *object, bool damaged, bool still)
{
    struct repo_ledger_line *x = repo_ledger_find(&p->ledger, object);
    if (x == NULL)
        return;
    p->changed = true;
    repo_ledger_note(&p->ledger, x, (struct utc){site_now_us()}, damaged, still);
}

static void on_damage(struct scrub_place *p, const char *object, bool known, const char *why)
{
    char what[ERR_TEXT_BYTES];
    struct err e = ERR_NONE;
    if (!known) {
        describe(p, object, what);
        events_add(p->scrub->site->events, "archive scrub: %sDAMAGED %s: %.200s (%s)", p->title,
                   object, why, what);
    }
    bool whole = heal(p, object, &e);
    note(p, object, true, !whole);
    if (!whole)
        name_it(p, object, why, e.text);
    if (!whole && !known)
        events_add(p->scrub->site->events, "archive scrub: %s%s is not healed: %.400s", p->title,
                   object, e.text);
    save(p);
}

/* Nothing is wrong with it, and making it again would help nobody: somebody has to put its key under our KEK. */
static void on_closed(struct scrub_place *p, const char *object, bool known, const char *why)
{
    if (!known)
        events_add(p->scrub->site->events, "archive scrub: %s%s cannot be read: %.300s", p->title,
                   object, why);
    note(p, object, true, true);
    name_it(p, object, why, NULL);
    p->soon = true;
    save(p);
}

/* A file that cannot be read is lost as one that is damaged is, and healed like it. What hinders everything is not its damage:
 * a bucket that does not answer, no memory. */
static bool is_damage(int rc)
{
    return rc == ERR_INTEGRITY || rc == ERR_DENIED || rc == ERR_IO;
}

static void on_read(void *arg, uint64_t bytes)
{
    archive_scrub_read(arg, bytes);
}

/* It may have been replaced, or healed by hand; of a copy, by what the archive has now. */
static int look_again(struct scrub_place *p, struct err *e)
{
    struct scrub_place *archive = &p->scrub->at[0];
    if (!is_archive(p) && follow(archive, NULL) == 0)
        publish(archive);
    repository_close(p->r);
    p->r = NULL;
    return follow(p, e);
}

/* 0: it is known how the object is. */
static int look_at(struct scrub_place *p, const char *object, bool known, struct err *e)
{
    archive_scrub_begin(p->scrub);
    int rc = repository_check(p->r, object, on_read, p, e);
    if (rc != 0 && !archive_scrub_stopped(p->scrub)) {
        rc = repository_is_object(object) ? look_again(p, e) : 0;
        if (rc == 0 && repo_ledger_find(&p->ledger, object) == NULL)
            return 0;
        if (rc == 0)
            rc = repository_check(p->r, object, NULL, NULL, e);
    }
    if (rc == ERR_NOT_READY)
        return on_closed(p, object, known, e->text), 0;
    if (is_damage(rc))
        return on_damage(p, object, known, e->text), 0;
    if (rc != 0)
        return rc;
    note(p, object, false, false);
    if (known)
        events_add(p->scrub->site->events, "archive scrub: %s%s is whole again", p->title, object);
    if (known && is_archive(p)) {
        archiver_look_again(p->scrub->site->archiver);
        hurry_copies(p->scrub);
    }
    return 0;
}

/* ---- rounds ---- */

/* The whole archive was read once: one operation in its log. */
static void end_round(struct scrub_place *p)
{
    struct err e = ERR_NONE;
    const struct repo_ledger_round before = p->ledger.round;
    bool ended = false;
    if (site_now_ms() < p->round_ms)
        return;
    int rc = repository_ledger_round(p->r, &p->ledger, (struct utc){site_now_us()}, &ended, &e);
    if (rc != 0) {
        events_add(p->scrub->site->events, "archive scrub: its round is not recorded yet: %.400s",
                   e.text);
        p->round_ms = site_now_ms() + SCRUB_FOLLOW_MS;
    }
    if (ended)
        events_add(p->scrub->site->events,
                   "archive scrub: once round the archive: %llu objects read, %llu damaged",
                   (unsigned long long)before.checked, (unsigned long long)before.damaged);
    if (before.id != p->ledger.round.id)
        save(p);
}

/* ---- a step ---- */

static const struct repo_ledger_line *due(const struct scrub_place *p)
{
    const uint64_t rest = p->scrub->site->config->archive_scrub_us;
    const uint64_t again = p->soon ? SCRUB_SOON_US : SCRUB_AGAIN_US;
    return repo_ledger_next(&p->ledger, (struct utc){site_now_us()}, rest,
                            rest < again ? rest : again);
}

static void note_outcome(struct scrub_place *p, int rc, const struct err *e)
{
    worker_lock(&p->scrub->worker);
    (void)snprintf(p->shown.why, sizeof p->shown.why, "%s", rc != 0 ? e->text : "");
    worker_unlock(&p->scrub->worker);
    if (rc != 0)
        p->retry_ms = site_now_ms() + ((uint64_t)SCRUB_RETRY_MS << p->failures);
    p->failures = rc == 0 ? 0 : p->failures < 5 ? p->failures + 1 : 5;
}

bool scrub_place_step(struct scrub_place *p)
{
    struct err e = ERR_NONE;
    const uint64_t now = site_now_ms();
    char object[REPO_NAME_BYTES];
    if (now < p->retry_ms || turns_of(p) == 0)
        return false;
    int rc = is_follow_due(p, now) ? follow(p, &e) : 0;
    const struct repo_ledger_line *next = rc == 0 ? due(p) : NULL;
    if (next != NULL) {
        (void)snprintf(object, sizeof object, "%s", next->name);
        rc = look_at(p, object, next->damaged, &e);
    }
    note_outcome(p, rc, &e);
    if (rc != 0)
        return false;
    if (p->r != NULL && is_archive(p))
        end_round(p);
    if (p->changed && site_now_ms() >= p->saved_ms + SCRUB_SAVE_MS)
        save(p);
    publish(p);
    return next != NULL;
}

/* ---- beginning and end ---- */

int scrub_place_init(struct scrub_place *p, struct archive_scrub *c, int copy, struct err *e)
{
    const struct site_config *config = c->site->config;
    bool whole;
    p->scrub = c;
    p->copy = copy;
    p->where = is_archive(p) ? config->archive_dir : config->copies[copy];
    if (!is_archive(p))
        (void)snprintf(p->title, sizeof p->title, "copy %.*s: ", (int)strcspn(p->where, "?"),
                       p->where);
    repo_ledger_file(is_archive(p) ? NULL : p->where, p->file);
    (void)snprintf(p->path, sizeof p->path, "%s/%s", config->data_dir, p->file);
    int rc = repository_ledger_load(p->path, &p->ledger, &whole, e);
    if (rc == 0 && !whole)
        events_add(c->site->events,
                   "archive scrub: %s%s is damaged; every object counts as verified when it was "
                   "sealed",
                   p->title, p->path);
    return rc;
}

void scrub_place_deinit(struct scrub_place *p)
{
    repository_close(p->r);
    repository_ledger_release(&p->ledger);
}
