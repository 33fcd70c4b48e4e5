/* The archive in further places (repository.copies), kept up by the archive thread between packs.
 *
 * The first place is the archive: it is sealed there, and all reading is from there. A copy is what was verified on its way
 * (repository_copy_run), in portions, so that a new copy of a large archive does not keep packs from being sealed. A copy that
 * cannot be reached, or is refused, is told in `status` and in the events, and tried again later; its lag is shown. With
 * `archived_at: all` only what every copy holds counts as archived, and the log keeps the rest.
 *
 * An empty place becomes a copy, but not one where objects were by the ledger of the scrub: that may be a directory which is not
 * mounted. And what the ledger knows and the first run after the start does not find is put back, but not in silence. */
#include "replication/site_parts.h"

#include "repository/scrub.h"
#include "store/core/check.h"

enum {
    COPY_PORTION_BYTES = 64 << 20,
    COPY_RETRY_MS = 10000,
    COPY_LOCKED_MS = 3600000,
    COPY_NAMED =
        3, /* files that were there and are not, or are damaged: more of them are counted */
};

struct copies {
    struct site *site;
    pthread_mutex_t lock; /* reached, trouble, turns */
    uint32_t n;
    struct {
        const char *where;
        struct lsn reached;
        char trouble[ERR_TEXT_BYTES]; /* empty: none */
        uint64_t turns;               /* that were over; 0: the first one is not */
        /* archive thread only */
        struct repository_copy *copy; /* NULL: not open */
        struct lsn proven;            /* its tree, as far as it was seen here */
        uint64_t at_ms;               /* not tried before */
        bool more;
        uint64_t disposed; /* objects whose keys are destroyed there */
        struct repo_ledger
            known;     /* what was there when it was opened, until the first run is over */
        uint64_t lost; /* files of that which were put back */
    } at[SITE_COPIES_MAX];
};

int copies_new(struct site *s, struct copies **out, struct err *e)
{
    struct copies *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->site = s;
    c->n = s->config->copy_count;
    (void)pthread_mutex_init(&c->lock, NULL);
    for (uint32_t i = 0; i < c->n; i++)
        c->at[i].where = s->config->copies[i];
    *out = c;
    return 0;
}

void copies_free(struct copies *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->n; i++) {
        repository_copy_close(c->at[i].copy);
        repository_ledger_release(&c->at[i].known);
    }
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Without its options, which name files. */
static int place_length(const char *where)
{
    return (int)strcspn(where, "?");
}

static bool is_due(const struct copies *c, uint32_t i, const struct repository_status *now)
{
    return site_now_ms() >= c->at[i].at_ms &&
           (c->at[i].copy == NULL || c->at[i].more || c->at[i].reached.v < now->archived.lsn.v ||
            c->at[i].proven.v < now->proven.v || c->at[i].disposed != now->disposed);
}

bool copies_due(struct copies *c, const struct repository_status *now)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (is_due(c, i, now))
            return true;
    return false;
}

void copies_again(struct copies *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->at[i].more = true;
}

static void note(struct copies *c, uint32_t i, struct lsn reached, const char *trouble)
{
    const char *where = c->at[i].where;
    if (strcmp(trouble, c->at[i].trouble) != 0) /* told once, not with every attempt */
        events_add(c->site->events, "archive: copy %.*s: %s", place_length(where), where,
                   trouble[0] != '\0' ? trouble : "trouble is over");
    (void)pthread_mutex_lock(&c->lock);
    c->at[i].reached = reached;
    (void)snprintf(c->at[i].trouble, ERR_TEXT_BYTES, "%s", trouble);
    c->at[i].turns += c->at[i].copy != NULL && !c->at[i].more;
    (void)pthread_mutex_unlock(&c->lock);
}

/* What it knows of the place may be wrong. */
static void close_copy(struct copies *c, uint32_t i)
{
    repository_copy_close(c->at[i].copy);
    c->at[i].copy = NULL;
}

static int open_copy(struct copies *c, uint32_t i, struct err *e)
{
    const struct site_config *config = c->site->config;
    const char *where = c->at[i].where;
    struct repo_ledger *known = &c->at[i].known;
    char file[REPO_LEDGER_FILE_BYTES], path[SITE_PATH_BYTES + REPO_LEDGER_FILE_BYTES];
    bool whole, there = true;
    repo_ledger_file(where, file);
    (void)snprintf(path, sizeof path, "%s/%s", config->data_dir, file);
    repository_ledger_release(known);
    int rc = repository_ledger_load(path, known, &whole, e);
    if (rc == 0 && known->n != 0)
        rc = repository_copy_is_there(where, &there, e);
    if (rc == 0 && !there)
        rc = err_set(e, ERR_NOT_FOUND,
                     "it is empty, and %zu objects were there: is it mounted? To fill it anew: "
                     "triveni archive heal -r %.*s --from %.*s",
                     known->n, place_length(where), where, place_length(config->archive_dir),
                     config->archive_dir);
    return rc == 0 ? repository_copy_open(&c->at[i].copy, where, e) : rc;
}

struct turn {
    struct copies *c;
    uint32_t i;
};

/* A file was put there. New ones are no news; a key may be new for an old object. */
static void on_put(void *arg, const char *file, const char *what)
{
    const struct turn *t = arg;
    const bool damaged = strcmp(what, "healed") == 0, known = strcmp(what, "put back") == 0;
    const char *where = t->c->at[t->i].where;
    char object[REPO_NAME_BYTES];
    if (!damaged && !known && strcmp(what, "copied") != 0)
        return;
    if (repo_name_of_meta(file, object) != 0)
        (void)snprintf(object, sizeof object, "%s", file);
    if (!damaged && !known && repo_ledger_find(&t->c->at[t->i].known, object) == NULL)
        return;
    if (++t->c->at[t->i].lost <= COPY_NAMED)
        events_add(t->c->site->events, "archive: copy %.*s: %s was %s there, and is put back",
                   place_length(where), where, file, damaged ? "damaged" : "missing");
}

/* With the first run that is over it is known what was lost. */
static void end_first(struct copies *c, uint32_t i)
{
    const char *where = c->at[i].where;
    if (c->at[i].lost > COPY_NAMED)
        events_add(c->site->events,
                   "archive: copy %.*s: %llu files that were there were missing or damaged, and "
                   "are put back",
                   place_length(where), where, (unsigned long long)c->at[i].lost);
    c->at[i].lost = 0;
    repository_ledger_release(&c->at[i].known);
}

static void copy_turn(struct copies *c, uint32_t i, struct repository *r,
                      const struct repository_status *now)
{
    struct repository_copy_report report = {.reached = c->at[i].reached};
    struct err e = ERR_NONE;
    struct turn turn = {c, i};
    int rc = c->at[i].copy != NULL ? 0 : open_copy(c, i, &e);
    if (rc == 0)
        rc = repository_copy_run(c->at[i].copy, r, false, COPY_PORTION_BYTES, on_put, &turn,
                                 &report, &e);
    if (rc == 0 && !report.more)
        end_first(c, i);
    if (rc == 0 && report.damaged != 0)
        rc = err_set(
            &e, ERR_INTEGRITY,
            "%llu objects are damaged in the archive and not copied: triveni archive verify "
            "names them",
            (unsigned long long)report.damaged);
    if (rc == 0 && !report.more) {
        c->at[i].proven = now->proven;
        c->at[i].disposed = now->disposed;
    }
    if (rc == 0 && report.locked != 0) {
        char until[SITE_TIME_BYTES] = "a date that it does not tell";
        if (report.locked_until.us != 0)
            site_time_text(report.locked_until.us, until);
        /* whether it is done is asked again, not at once */
        c->at[i].disposed = UINT64_MAX;
        c->at[i].at_ms = site_now_ms() + COPY_LOCKED_MS;
        rc = err_set(
            &e, ERR_DENIED,
            "%llu keys of what was disposed of or retired cannot be destroyed there before %s, as "
            "where objects are locked; tried again each hour",
            (unsigned long long)report.locked, until);
    }
    c->at[i].more = rc == 0 && report.more;
    if (rc != 0 && report.locked == 0)
        c->at[i].at_ms = site_now_ms() + COPY_RETRY_MS;
    if (rc == ERR_IO)
        close_copy(c, i);
    note(c, i, report.reached.v > c->at[i].reached.v ? report.reached : c->at[i].reached,
         rc != 0 ? e.text : "");
}

void copies_turn(struct copies *c, struct repository *r, const struct repository_status *now)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (is_due(c, i, now))
            copy_turn(c, i, r, now);
}

/* ---- healing ---- */

int copies_put_back(struct copies *c, uint32_t i, struct repository *r, const char *object,
                    struct err *e)
{
    struct repository_copy_report report;
    if (r == NULL || c->at[i].copy == NULL)
        return err_set(e, ERR_NOT_READY, "the %s is not open for writing, see its trouble",
                       r == NULL ? "archive" : "copy");
    int rc = repository_copy_object(c->at[i].copy, r, object, &report, e);
    if (rc == ERR_IO)
        close_copy(c, i);
    return rc;
}

static int heal_from(const struct copies *c, uint32_t i, const char *object, struct err *e)
{
    const struct site_config *config = c->site->config;
    struct repository *from = NULL;
    struct repository_copy *to = NULL;
    struct repository_copy_report report;
    const struct repository_options options = {.dir = c->at[i].where,
                                               .kek_file = config->kek_file,
                                               .cluster_id = config->cluster_id,
                                               .read_only = true};
    int rc = repository_open(&from, &options, e);
    if (rc == 0)
        rc = repository_copy_open(&to, config->archive_dir, e);
    if (rc == 0)
        rc = repository_copy_object(to, from, object, &report, e);
    repository_copy_close(to);
    repository_close(from);
    return rc;
}

static int has(const struct copies *c, uint32_t i, const char *object, struct err *e)
{
    struct repository *r = NULL;
    const struct repository_options options = {.dir = c->at[i].where,
                                               .kek_file = c->site->config->kek_file,
                                               .cluster_id = c->site->config->cluster_id,
                                               .read_only = true};
    int rc = repository_open(&r, &options, e);
    if (rc == 0)
        rc = repository_check(r, object, NULL, NULL, e);
    repository_close(r);
    return rc == 0 ? 0 : err_wrap(e, "%.*s", place_length(c->at[i].where), c->at[i].where);
}

int copies_have(struct copies *c, const char *object, struct err *e)
{
    int rc = err_set(e, ERR_NOT_FOUND, "there are no copies (repository.copies)");
    for (uint32_t i = 0; rc != 0 && i < c->n; i++) {
        *e = (struct err)ERR_NONE;
        rc = has(c, i, object, e);
    }
    return rc;
}

int copies_heal(struct copies *c, const char *object, char where[SITE_PATH_BYTES], struct err *e)
{
    int rc = err_set(e, ERR_NOT_FOUND, "there are no copies (repository.copies)");
    for (uint32_t i = 0; rc != 0 && i < c->n; i++) {
        *e = (struct err)ERR_NONE;
        rc = heal_from(c, i, object, e);
        (void)snprintf(where, SITE_PATH_BYTES, "%.*s", place_length(c->at[i].where),
                       c->at[i].where);
    }
    return rc;
}

int copies_heal_part(struct copies *c, struct repository *r, const char *part,
                     char where[SITE_PATH_BYTES], struct err *e)
{
    const char *places[SITE_COPIES_MAX] = {NULL};
    size_t used = c->n;
    for (uint32_t i = 0; i < c->n; i++)
        places[i] = c->at[i].where;
    if (r == NULL)
        return err_set(e, ERR_NOT_READY, "the archive is not open for writing, see its trouble");
    int rc = repository_heal_part(r, part, places, c->n, &used, e);
    if (used < c->n)
        (void)snprintf(where, SITE_PATH_BYTES, "%.*s", place_length(places[used]), places[used]);
    return rc;
}

/* ---- any thread ---- */

uint64_t copies_turns(struct copies *c, uint32_t i)
{
    (void)pthread_mutex_lock(&c->lock);
    uint64_t turns = c->at[i].turns;
    (void)pthread_mutex_unlock(&c->lock);
    return turns;
}

struct lsn copies_reached(struct copies *c)
{
    struct lsn least = {UINT64_MAX};
    (void)pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < c->n; i++)
        if (c->at[i].reached.v < least.v)
            least = c->at[i].reached;
    (void)pthread_mutex_unlock(&c->lock);
    return least;
}

json_t *copies_json(struct copies *c)
{
    if (c->n == 0)
        return json_null();
    json_t *list = json_array();
    (void)pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < c->n; i++)
        (void)json_array_append_new(
            list,
            json_pack("{s:s%, s:o, s:o}", "place", c->at[i].where,
                      (size_t)place_length(c->at[i].where), "archived",
                      c->at[i].reached.v != 0 ? json_integer((json_int_t)c->at[i].reached.v)
                                              : json_null(),
                      "trouble",
                      c->at[i].trouble[0] != '\0' ? json_string(c->at[i].trouble) : json_null()));
    (void)pthread_mutex_unlock(&c->lock);
    return list;
}

bool copies_trouble(struct copies *c, size_t i, char trouble[ERR_TEXT_BYTES])
{
    if (i >= c->n)
        return false;
    (void)pthread_mutex_lock(&c->lock);
    const char *what = c->at[i].trouble, *where = c->at[i].where;
    trouble[0] = '\0';
    if (what[0] != '\0')
        (void)snprintf(trouble, ERR_TEXT_BYTES, "archive: copy %.*s: %s", place_length(where),
                       where, what);
    (void)pthread_mutex_unlock(&c->lock);
    return true;
}
