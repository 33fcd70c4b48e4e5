/* Disposals carried out by the archive thread, a portion between two packs (repository/custody.h).
 *
 * When it was told what is in force it goes through the archive until a turn has nothing left to do, and then rests: until
 * something else is in force, or, when an object stays only for a time (its age, the signed tree, a bucket's lock), until it
 * may have passed, a day at most. A disposal that was interrupted is gone through at the next start, like every other. */
#include "replication/site_parts.h"

#include "repository/custody.h"

enum {
    PORTION_BYTES = 64 << 20, /* read to see what is held; then packs are sealed */
    RETRY_MS = 10000,
    LOCKED_MS = 3600000, /* a bucket's dates are far away: not more often */
    REST_MS = 86400000,  /* somebody may have retired a generation of keys that its bucket locked */
};

struct disposer {
    struct site *site;
    pthread_mutex_t lock;
    struct custody in_force;
    uint64_t generation;                                 /* of what is in force; 0: not known yet */
    char doubt[ERR_TEXT_BYTES], trouble[ERR_TEXT_BYTES]; /* empty: none */
    struct repository_custody_report report;             /* of the last turn that saw all */
    uint64_t reported;                                   /* and of which generation */
    bool paused;
    struct repository_orders came; /* that the archive thread did not take yet; at is NULL: none */
    /* archive thread only */
    struct repository_orders orders;
    uint64_t done; /* generation that needs no further turn, before at_ms */
    uint64_t at_ms;
    struct custody own; /* copy, while it works */
};

int disposer_new(struct site *s, struct disposer **out, struct err *e)
{
    struct disposer *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    d->site = s;
    (void)pthread_mutex_init(&d->lock, NULL);
    *out = d;
    return 0;
}

void disposer_free(struct disposer *d)
{
    if (d == NULL)
        return;
    (void)pthread_mutex_destroy(&d->lock);
    free(d->came.at);
    free(d->orders.at);
    free(d);
}

void disposer_orders(struct disposer *d, const struct custody *in_force,
                     struct repository_orders *orders, const char *trouble)
{
    (void)pthread_mutex_lock(&d->lock);
    const bool news = trouble[0] == '\0' || strcmp(d->doubt, trouble) != 0;
    d->paused = false;
    if (trouble[0] == '\0') {
        free(d->came.at);
        d->came = *orders;
        *orders = (struct repository_orders){.at = NULL};
    }
    if (news) {
        d->in_force = *in_force;
        d->generation++;
        (void)snprintf(d->doubt, sizeof d->doubt, "%s", trouble);
    }
    (void)pthread_mutex_unlock(&d->lock);
    if (news && trouble[0] != '\0')
        events_add(d->site->events, "archive: %s", trouble);
}

struct repository_orders disposer_recorded(struct disposer *d)
{
    (void)pthread_mutex_lock(&d->lock);
    if (d->came.at != NULL) {
        free(d->orders.at);
        d->orders = d->came;
        d->came = (struct repository_orders){.at = NULL};
    }
    (void)pthread_mutex_unlock(&d->lock);
    return d->orders;
}

void disposer_pause(struct disposer *d)
{
    (void)pthread_mutex_lock(&d->lock);
    d->paused = true;
    (void)pthread_mutex_unlock(&d->lock);
}

void disposer_resume(struct disposer *d)
{
    (void)pthread_mutex_lock(&d->lock);
    d->paused = false;
    (void)pthread_mutex_unlock(&d->lock);
}

bool disposer_due(struct disposer *d)
{
    (void)pthread_mutex_lock(&d->lock);
    const bool orders = d->generation != 0 && d->doubt[0] == '\0' && !d->paused;
    const bool news = d->generation != d->done;
    (void)pthread_mutex_unlock(&d->lock);
    return orders && (news || site_now_ms() >= d->at_ms);
}

/* Each object once, as it goes: that is what is told for ever. */
static void told(void *arg, const char *object, const char *what)
{
    struct disposer *d = arg;
    if (strcmp(what, "disposed") == 0)
        events_add(d->site->events, "archive: %s is disposed of", object);
}

static int work(struct disposer *d, struct repository *r, struct repository_custody_report *out,
                struct err *e)
{
    struct repository_hold holds[CUSTODY_HOLDS_MAX];
    struct repository_disposal disposals[CUSTODY_DISPOSALS_MAX];
    struct repository_status archive;
    repository_status(r, &archive);
    const struct repository_custody c = {
        .holds = holds,
        .hold_count = d->own.hold_count,
        .disposals = disposals,
        .disposal_count = d->own.disposal_count,
        .now = archive.archived.time, /* commit time: no clock ends a retention */
        .retain_us = d->site->config->retain_us,
        .most = PORTION_BYTES,
        .told = told,
        .arg = d};
    for (uint32_t i = 0; i < d->own.hold_count; i++) {
        const struct custody_hold *h = &d->own.holds[i];
        holds[i] = (struct repository_hold){h->name, {.collection = bytes_str(h->collection)}};
        *(h->is_prefix ? &holds[i].only.prefix : &holds[i].only.key) = bytes_str(h->key);
    }
    for (uint32_t i = 0; i < d->own.disposal_count; i++) {
        const struct custody_disposal *x = &d->own.disposals[i];
        disposals[i] = (struct repository_disposal){
            x->before, {.lsn = x->by.lsn, .time = x->by.time, .warrant = x->by.file}};
        memcpy(disposals[i].by.nonce, x->by.nonce, sizeof disposals[i].by.nonce);
    }
    return repository_dispose(r, &c, out, e);
}

/* When to look again. */
static uint64_t rest_ms(const struct repository_custody_report *x)
{
    const uint64_t now = site_now_us(), until = x->locked_until.us;
    if (x->more)
        return 0;
    if (x->locked == 0)
        return x->retained + x->unsigned_yet + x->needed != 0 ? RETRY_MS : REST_MS;
    const uint64_t locked_ms = until > now ? (until - now) / 1000 : 0;
    return locked_ms < LOCKED_MS ? LOCKED_MS : locked_ms < REST_MS ? locked_ms : REST_MS;
}

int disposer_turn(struct disposer *d, struct repository *r)
{
    struct repository_custody_report report;
    struct err e = ERR_NONE;
    (void)pthread_mutex_lock(&d->lock);
    d->own = d->in_force;
    const uint64_t generation = d->generation;
    (void)pthread_mutex_unlock(&d->lock);
    int rc = work(d, r, &report, &e);
    d->at_ms = site_now_ms() + (rc != 0 ? RETRY_MS : rest_ms(&report));
    d->done = generation;
    const char *now = rc != 0 ? e.text : "";
    (void)pthread_mutex_lock(&d->lock);
    if (rc == 0 && !report.more) {
        d->report = report;
        d->reported = generation;
    }
    const bool news = strcmp(d->trouble, now) != 0;
    (void)snprintf(d->trouble, sizeof d->trouble, "%s", now);
    (void)pthread_mutex_unlock(&d->lock);
    if (news)
        events_add(d->site->events, "archive: %s", rc != 0 ? now : "trouble with disposal is over");
    return rc;
}

json_t *disposer_json(struct disposer *d)
{
    const struct repository_custody_report *x = &d->report;
    (void)pthread_mutex_lock(&d->lock);
    const bool current = d->reported == d->generation && d->generation != 0;
    json_t *o = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "holds",
        d->generation != 0 ? json_integer(d->in_force.hold_count) : json_null(), "disposals",
        d->generation != 0 ? json_integer(d->in_force.disposal_count) : json_null(), "disposed",
        current ? json_integer((json_int_t)x->disposed) : json_null(), "held",
        current ? json_integer((json_int_t)x->held) : json_null(), "needed",
        current ? json_integer((json_int_t)x->needed) : json_null(), "retained",
        current ? json_integer((json_int_t)x->retained) : json_null(), "unsigned",
        current ? json_integer((json_int_t)x->unsigned_yet) : json_null(), "damaged",
        current ? json_integer((json_int_t)x->damaged) : json_null(), "locked",
        current ? json_integer((json_int_t)x->locked) : json_null(), "locked_until_us",
        current && x->locked_until.us != 0 ? json_integer((json_int_t)x->locked_until.us)
                                           : json_null(),
        "retain_days", (json_int_t)(d->site->config->retain_us / UINT64_C(86400000000)), "trouble",
        d->doubt[0] != '\0'     ? json_string(d->doubt)
        : d->trouble[0] != '\0' ? json_string(d->trouble)
                                : json_null());
    (void)pthread_mutex_unlock(&d->lock);
    return o;
}

void disposer_trouble(struct disposer *d, char trouble[ERR_TEXT_BYTES])
{
    (void)pthread_mutex_lock(&d->lock);
    (void)snprintf(trouble, ERR_TEXT_BYTES, "%s", d->doubt[0] != '\0' ? d->doubt : d->trouble);
    (void)pthread_mutex_unlock(&d->lock);
}
