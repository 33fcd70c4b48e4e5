/* The archive is read again, object by object, the one that was longest not verified first, within a budget of bytes a
 * second; so each is decrypted, decoded and compared with what its meta says while a copy still has what was lost.
 *
 * What was verified when is in the ledger, <data_dir>/archive.ledger (repository/core/ledger.h), which is written once a
 * minute and with each change of what is damaged: after a restart the scrub goes on with the oldest. An object that the ledger
 * knows and that is not there any more is missed, also when it was the last.
 *
 * When it has gone once round the whole archive, that is one operation in the archive's log (repository/operations.h).
 *
 * Damage is told with the entries and the records that are concerned (the index of keys names them when the pack cannot), and
 * healed from a copy that has the object whole, or a pack from the log; an index is made again. What cannot be healed stays
 * trouble, and is looked at again every SCRUB_AGAIN_US, so that it ends when somebody has put it right. */
#include "replication/site_parts.h"

#include "repository/history.h"
#include "repository/scrub.h"
#include "store/io/cond.h"

enum {
    SCRUB_WAIT_MS = 500,
    SCRUB_REST_MS = 20,
    SCRUB_FOLLOW_MS = 30000, /* how often what came in is listed */
    SCRUB_SAVE_MS = 60000,
    SCRUB_RETRY_MS = 10000, /* when the archive could not be read */
    SCRUB_NAMED = 3,        /* records that an event names; objects that trouble names */
};
#define SCRUB_AGAIN_US (UINT64_C(600) * 1000000)
#define SCRUB_SOON_US                                                                              \
    (UINT64_C(20) * 1000000) /* when no other site could be asked, as at the start */

struct archive_scrub {
    struct site *site;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;
    char path[SITE_PATH_BYTES + 32];
    /* under the lock */
    bool stop;
    uint64_t objects, bytes, damaged, healed; /* in the ledger; read, healed since the start */
    struct utc oldest;                        /* verified then; 0: never */
    char named[SCRUB_NAMED][ERR_TEXT_BYTES];  /* what is damaged */
    char why[ERR_TEXT_BYTES];                 /* it cannot be read at all; empty: it can */
    /* the thread's own */
    struct repository *r;
    struct repo_ledger ledger;
    bool followed, changed, soon;
    uint64_t followed_ms, saved_ms, round_ms, object_bytes, unpaid_bytes;
};

/* ---- the budget ---- */

static void wait_ms(struct archive_scrub *c, uint64_t ms)
{
    const uint64_t until = site_now_ms() + ms;
    (void)pthread_mutex_lock(&c->lock);
    for (uint64_t now = site_now_ms(); !c->stop && now < until; now = site_now_ms())
        (void)cond_wait_ms(&c->news, &c->lock, until - now);
    (void)pthread_mutex_unlock(&c->lock);
}

static bool is_stopped(struct archive_scrub *c)
{
    (void)pthread_mutex_lock(&c->lock);
    bool stop = c->stop;
    (void)pthread_mutex_unlock(&c->lock);
    return stop;
}

/* So much of the object was read: rest as long as that may take. Small objects are paid for together. */
static void on_read(void *arg, uint64_t bytes)
{
    struct archive_scrub *c = arg;
    const uint64_t more = bytes > c->object_bytes ? bytes - c->object_bytes : 0;
    c->object_bytes += more;
    c->unpaid_bytes += more;
    (void)pthread_mutex_lock(&c->lock);
    c->bytes += more;
    (void)pthread_mutex_unlock(&c->lock);
    const uint64_t ms = c->unpaid_bytes * 1000 / c->site->config->archive_scrub_bytes;
    if (ms < SCRUB_REST_MS)
        return;
    c->unpaid_bytes = 0;
    wait_ms(c, ms);
}

/* ---- the archive and the ledger ---- */

static int follow(struct archive_scrub *c, struct err *e)
{
    const struct site_config *config = c->site->config;
    const struct repository_options options = {.dir = config->archive_dir,
                                               .kek_file = config->kek_file,
                                               .cluster_id = config->cluster_id,
                                               .read_only = true};
    int rc = c->r == NULL ? repository_open(&c->r, &options, e) : repository_refresh(c->r, e);
    if (rc == 0)
        rc = repository_ledger_follow(c->r, &c->ledger, NULL, e);
    if (rc != 0) {
        repository_close(c->r);
        c->r = NULL;
    }
    c->followed = rc == 0;
    c->followed_ms = site_now_ms();
    return rc;
}

static void save(struct archive_scrub *c)
{
    struct err e = ERR_NONE;
    c->saved_ms = site_now_ms();
    if (repository_ledger_save(c->path, &c->ledger, &e) != 0)
        events_add(c->site->events, "archive scrub: the ledger is not kept: %s", e.text);
    else
        c->changed = false;
}

/* For status. */
static void publish(struct archive_scrub *c)
{
    const struct repo_ledger_line *oldest = repo_ledger_oldest(&c->ledger);
    uint64_t damaged = 0;
    for (size_t i = 0; i < c->ledger.n; i++)
        damaged += c->ledger.at[i].damaged;
    (void)pthread_mutex_lock(&c->lock);
    c->objects = c->ledger.n;
    c->oldest = oldest != NULL ? oldest->verified : (struct utc){0};
    c->damaged = damaged;
    for (size_t i = damaged; i < SCRUB_NAMED; i++)
        c->named[i][0] = '\0';
    (void)pthread_mutex_unlock(&c->lock);
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

/* Which entries and records are in an object, in words. */
static void describe(struct archive_scrub *c, const char *object, char out[ERR_TEXT_BYTES])
{
    struct repository_extent x;
    struct affected a = {.records = 0};
    struct err e = ERR_NONE;
    char from[SITE_TIME_BYTES], to[SITE_TIME_BYTES];
    repository_extent(c->r, object, &x);
    site_time_text(x.from.us, from);
    site_time_text(x.to.us, to);
    size_t n = (size_t)snprintf(out, ERR_TEXT_BYTES, "lsn %llu to %llu",
                                (unsigned long long)x.first.v, (unsigned long long)x.last.v);
    if (x.from.us != 0)
        n += (size_t)snprintf(out + n, ERR_TEXT_BYTES - n, ", committed from %s on", from);
    if (x.to.us != 0)
        n += (size_t)snprintf(out + n, ERR_TEXT_BYTES - n, " until %s", to);
    if (strncmp(object, "packs/", 6) != 0)
        return;
    if (repository_affected(c->r, x.first, x.last, note_record, &a, &e) == 0)
        (void)snprintf(out + n, ERR_TEXT_BYTES - n, "; %llu records were written there: %s%s",
                       (unsigned long long)a.records, a.text, a.records > a.named ? ", ..." : "");
    else
        (void)snprintf(out + n, ERR_TEXT_BYTES - n, "; which records: triveni archive damage");
}

/* It is named as the i-th damaged object. `heal`: why it is not healed; NULL: it is not damaged, and `why` says what to do. */
static void name_it(struct archive_scrub *c, const char *object, const char *why, const char *heal)
{
    size_t i = 0;
    for (size_t k = 0; k < c->ledger.n && strcmp(c->ledger.at[k].name, object) < 0; k++)
        i += c->ledger.at[k].damaged;
    struct repository_extent x;
    const size_t said = strlen(object); /* by what the layers below put before their reason */
    repository_extent(c->r, object, &x);
    if (strncmp(why, object, said) == 0 && why[said] == ':')
        why += said + 1 + strspn(why + said + 1, " ");
    (void)pthread_mutex_lock(&c->lock);
    if (i < SCRUB_NAMED && heal == NULL)
        (void)snprintf(c->named[i], ERR_TEXT_BYTES, "%.100s (lsn %llu to %llu): %.300s", object,
                       (unsigned long long)x.first.v, (unsigned long long)x.last.v, why);
    else if (i < SCRUB_NAMED)
        (void)snprintf(c->named[i], ERR_TEXT_BYTES,
                       "%.100s (lsn %llu to %llu): %.90s; not healed: %.230s; put it back from "
                       "another place: triveni archive heal",
                       object, (unsigned long long)x.first.v, (unsigned long long)x.last.v, why,
                       heal);
    (void)pthread_mutex_unlock(&c->lock);
}

/* Whole again, or why not. */
static bool heal(struct archive_scrub *c, const char *object, struct err *e)
{
    char where[SITE_PATH_BYTES];
    if (strncmp(object, "indexes/", 8) == 0) {
        archiver_check_index(c->site->archiver);
        (void)err_set(e, ERR_NOT_READY, "it is being made again, no record is lost");
        return false;
    }
    int rc = archiver_heal(c->site->archiver, object, where, e);
    c->soon = rc == ERR_UNREACHABLE || rc == ERR_CANCELLED || rc == ERR_TIMEOUT;
    if (rc == 0)
        rc = follow(c, e);
    if (rc == 0 && repo_ledger_find(&c->ledger, object) != NULL) /* otherwise it was replaced */
        rc = repository_check(c->r, object, NULL, NULL, e);
    if (rc != 0)
        return false;
    events_add(c->site->events, "archive scrub: %s was healed from %s", object, where);
    (void)pthread_mutex_lock(&c->lock);
    c->healed++;
    (void)pthread_mutex_unlock(&c->lock);
    return true;
}

/* ---- one object ---- */

static void note(struct archive_scrub *c, const char *object, bool damaged, bool still)
{
    struct repo_ledger_line *x = repo_ledger_find(&c->ledger, object);
    if (x == NULL)
        return;
    c->changed = true;
    repo_ledger_note(&c->ledger, x, (struct utc){site_now_us()}, damaged, still);
}

static void on_damage(struct archive_scrub *c, const char *object, bool known, const char *why)
{
    char what[ERR_TEXT_BYTES];
    struct err e = ERR_NONE;
    if (!known) {
        describe(c, object, what);
        events_add(c->site->events, "archive scrub: DAMAGED %s: %.200s (%s)", object, why, what);
    }
    bool whole = heal(c, object, &e);
    note(c, object, true, !whole);
    if (!whole)
        name_it(c, object, why, e.text);
    if (!whole && !known)
        events_add(c->site->events, "archive scrub: %s is not healed: %.400s", object, e.text);
    save(c);
}

/* Nothing is wrong with it, and making it again would help nobody: somebody has to put its key under our KEK. */
static void on_closed(struct archive_scrub *c, const char *object, bool known, const char *why)
{
    if (!known)
        events_add(c->site->events, "archive scrub: %s cannot be read: %.300s", object, why);
    note(c, object, true, true);
    name_it(c, object, why, NULL);
    c->soon = true;
    save(c);
}

/* A file that cannot be read is lost as one that is damaged is, and healed like it. What hinders everything is not its damage:
 * a bucket that does not answer, no memory. */
static bool is_damage(int rc)
{
    return rc == ERR_INTEGRITY || rc == ERR_DENIED || rc == ERR_IO;
}

/* 0: it is known how the object is. */
static int look_at(struct archive_scrub *c, const char *object, bool known, struct err *e)
{
    c->object_bytes = 0;
    int rc = repository_check(c->r, object, on_read, c, e);
    if (rc != 0 && !is_stopped(c)) { /* it may have been replaced, or healed by hand */
        repository_close(c->r);
        c->r = NULL;
        rc = follow(c, e);
        if (rc == 0 && repo_ledger_find(&c->ledger, object) == NULL)
            return 0;
        if (rc == 0)
            rc = repository_check(c->r, object, NULL, NULL, e);
    }
    if (rc == ERR_NOT_READY)
        return on_closed(c, object, known, e->text), 0;
    if (is_damage(rc))
        return on_damage(c, object, known, e->text), 0;
    if (rc != 0)
        return rc;
    note(c, object, false, false);
    if (known) {
        events_add(c->site->events, "archive scrub: %s is whole again", object);
        archiver_look_again(c->site->archiver);
    }
    return 0;
}

/* ---- rounds ---- */

/* The whole archive was read once: one operation in its log. */
static void end_round(struct archive_scrub *c)
{
    struct err e = ERR_NONE;
    const struct repo_ledger_round before = c->ledger.round;
    bool ended = false;
    if (site_now_ms() < c->round_ms)
        return;
    int rc = repository_ledger_round(c->r, &c->ledger, (struct utc){site_now_us()}, &ended, &e);
    if (rc != 0) {
        events_add(c->site->events, "archive scrub: its round is not recorded yet: %.400s", e.text);
        c->round_ms = site_now_ms() + SCRUB_FOLLOW_MS;
    }
    if (ended)
        events_add(c->site->events,
                   "archive scrub: once round the archive: %llu objects read, %llu damaged",
                   (unsigned long long)before.checked, (unsigned long long)before.damaged);
    if (before.id != c->ledger.round.id)
        save(c);
}

/* ---- the thread ---- */

static const struct repo_ledger_line *due(struct archive_scrub *c)
{
    const uint64_t rest = c->site->config->archive_scrub_us;
    const uint64_t again = c->soon ? SCRUB_SOON_US : SCRUB_AGAIN_US;
    return repo_ledger_next(&c->ledger, (struct utc){site_now_us()}, rest,
                            rest < again ? rest : again);
}

/* True: there was something to read. */
static bool step(struct archive_scrub *c)
{
    struct err e = ERR_NONE;
    const uint64_t now = site_now_ms();
    char object[REPO_NAME_BYTES];
    int rc = c->followed && now < c->followed_ms + SCRUB_FOLLOW_MS ? 0 : follow(c, &e);
    const struct repo_ledger_line *next = rc == 0 ? due(c) : NULL;
    if (next != NULL) {
        (void)snprintf(object, sizeof object, "%s", next->name);
        rc = look_at(c, object, next->damaged, &e);
    }
    (void)pthread_mutex_lock(&c->lock);
    (void)snprintf(c->why, sizeof c->why, "%s", rc != 0 ? e.text : "");
    (void)pthread_mutex_unlock(&c->lock);
    if (rc != 0) {
        wait_ms(c, SCRUB_RETRY_MS);
        return false;
    }
    if (c->r != NULL)
        end_round(c);
    if (c->changed && site_now_ms() >= c->saved_ms + SCRUB_SAVE_MS)
        save(c);
    publish(c);
    return next != NULL;
}

static void *scrub_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "archive-scrub");
    site_background();
    struct archive_scrub *c = arg;
    while (!is_stopped(c))
        if (!step(c))
            wait_ms(c, SCRUB_WAIT_MS);
    if (c->changed)
        save(c);
    return NULL;
}

int archive_scrub_start(struct site *s, struct archive_scrub **out, struct err *e)
{
    bool whole;
    *out = NULL;
    if (s->config->archive_scrub_bytes == 0)
        return 0;
    struct archive_scrub *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->site = s;
    (void)snprintf(c->path, sizeof c->path, "%s/archive.ledger", s->config->data_dir);
    (void)pthread_mutex_init(&c->lock, NULL);
    cond_init(&c->news);
    int rc = repository_ledger_load(c->path, &c->ledger, &whole, e);
    if (rc == 0 && !whole)
        events_add(s->events,
                   "archive scrub: %s is damaged; every object counts as verified when it was "
                   "sealed",
                   c->path);
    if (rc == 0 && pthread_create(&c->thread, NULL, scrub_main, c) != 0)
        rc = err_set(e, ERR_NO_MEMORY, "cannot start the thread that reads the archive again");
    if (rc == 0) {
        *out = c;
        return 0;
    }
    repository_ledger_release(&c->ledger);
    free(c);
    return rc;
}

void archive_scrub_stop(struct archive_scrub *c)
{
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&c->lock);
    c->stop = true;
    (void)pthread_cond_broadcast(&c->news);
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_join(c->thread, NULL);
    repository_close(c->r);
    repository_ledger_release(&c->ledger);
    (void)pthread_cond_destroy(&c->news);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- the loop ---- */

json_t *archive_scrub_json(struct archive_scrub *c)
{
    if (c == NULL)
        return json_null();
    (void)pthread_mutex_lock(&c->lock);
    json_t *o = json_pack("{s:I,s:o,s:I,s:I,s:I}", "objects", (json_int_t)c->objects, "oldest_us",
                          c->oldest.us != 0 ? json_integer((json_int_t)c->oldest.us) : json_null(),
                          "bytes", (json_int_t)c->bytes, "damaged", (json_int_t)c->damaged,
                          "healed", (json_int_t)c->healed);
    (void)pthread_mutex_unlock(&c->lock);
    return o;
}

void archive_scrub_trouble(struct archive_scrub *c, void (*add)(void *arg, const char *text),
                           void *arg)
{
    char text[ERR_TEXT_BYTES];
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < SCRUB_NAMED && i < c->damaged; i++) {
        (void)snprintf(text, sizeof text, "archive: damaged: %.480s", c->named[i]);
        if (c->named[i][0] != '\0')
            add(arg, text);
    }
    if (c->damaged > SCRUB_NAMED) {
        (void)snprintf(text, sizeof text,
                       "archive: %llu objects are damaged: triveni archive verify names them",
                       (unsigned long long)c->damaged);
        add(arg, text);
    }
    if (c->why[0] != '\0') {
        (void)snprintf(text, sizeof text, "archive: it cannot be read again: %.440s", c->why);
        add(arg, text);
    }
    (void)pthread_mutex_unlock(&c->lock);
}
