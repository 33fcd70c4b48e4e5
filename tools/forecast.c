/* THE WORDS. Each site that answers says where its log ends, and how far the last primary was when it heard it. The primary
 * tells the end of its log with every heartbeat, so what it had and nobody else has is known up to its last word. After that it
 * may have gone on, in mode local, for as long as its lease ran; nobody can know how far, and it is never called nothing.
 *
 * THE NEW LOG. A candidate needs a majority, and fetches from its voters what they hold beyond its own log. So the new term
 * begins behind the longest log among those that it reaches: by (term of the last entry, lsn), as votes are given. What a
 * majority had is in that log.
 *
 * THE MODE. Nothing is acknowledged at `local` in mode majority. A change of the mode is an entry, and is obeyed when it is
 * committed: so the longest log has it. It is known when the site of that log has applied every change that its log may hold. */
#include "tools/forecast.h"

#include <string.h>

enum { ALIVE_MS_MIN = 500 };

static const char *loss_name(enum forecast_loss loss)
{
    static const char *const names[] = {"unknown", "nothing", "unacknowledged", "local", "unknown"};
    return names[loss <= FORECAST_UNKNOWN ? loss : 0];
}

static json_t *row_of(const json_t *status, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(status, "sites"), i, row)
    {
        if (strcmp(json_text(row, "name", ""), name) == 0)
            return row;
    }
    return NULL;
}

static const json_t *own_row(const json_t *status)
{
    return row_of(status, json_text(status, "site", ""));
}

static const json_t *status_of(const struct views *views, const char *site)
{
    for (size_t i = 0; i < views->count; i++)
        if (views->v[i].status != NULL &&
            strcmp(json_text(views->v[i].status, "site", ""), site) == 0)
            return views->v[i].status;
    return NULL;
}

static uint64_t number_of(const json_t *o, const char *name)
{
    int64_t n = 0;
    return json_number(o, name, &n) && n > 0 ? (uint64_t)n : 0;
}

static void copy(char out[64], const char *text)
{
    (void)snprintf(out, 64, "%.63s", text);
}

/* ---- may it be ordered? ---- */

static int find_site(const struct views *views, const char *site, const json_t **out, struct err *e)
{
    bool member = false;
    *out = status_of(views, site);
    for (size_t i = 0; i < views->count && *out == NULL; i++)
        member = member || row_of(views->v[i].status, site) != NULL;
    if (*out != NULL)
        return 0;
    if (!member)
        return err_set(e, ERR_NOT_FOUND, "no site is called '%.40s': 'triveni status' shows them",
                       site);
    return err_set(
        e, ERR_UNREACHABLE,
        "site %.40s does not answer here: see 'triveni status', and choose one that does", site);
}

static int check_site(const json_t *status, const char *site, struct err *e)
{
    const json_t *failover = json_object_get(own_row(status), "failover");
    if (strcmp(json_text(status, "role", ""), "primary") == 0)
        return err_set(e, ERR_USAGE, "%s is the primary already", site);
    if (strcmp(json_text(own_row(status), "kind", ""), "repository") == 0)
        return err_set(e, ERR_USAGE,
                       "%s is a repository site and never becomes primary: choose a data site",
                       site);
    if (!json_is_object(failover))
        return err_set(e, ERR_FORMAT,
                       "%s does not tell whether it may stand: is it of an earlier "
                       "version?",
                       site);
    if (!json_is_true(json_object_get(failover, "may_stand")))
        return err_set(e, ERR_FAILED,
                       "%s cannot become primary: %.250s; choose another site, or see 'triveni "
                       "status' for what it needs",
                       site, json_text(failover, "why", "it does not say why"));
    return 0;
}

/* Somebody who says that it serves, or whom the candidate hears. NULL: nobody. */
static const char *living_primary(const struct views *views, const json_t *status)
{
    for (size_t i = 0; i < views->count; i++) {
        const json_t *s = views->v[i].status;
        if (s != NULL && strcmp(json_text(s, "role", ""), "primary") == 0 &&
            json_is_true(json_object_get(s, "serving")))
            return json_text(s, "site", "unknown");
    }
    const json_t *failover = json_object_get(own_row(status), "failover");
    const json_t *heard = json_object_get(failover, "heard");
    const char *primary = json_text(heard, "primary", NULL);
    uint64_t limit = number_of(failover, "election_ms");
    if (primary == NULL ||
        number_of(heard, "ms_ago") > (limit > ALIVE_MS_MIN ? limit : ALIVE_MS_MIN) ||
        !json_is_true(json_object_get(row_of(status, primary), "up")))
        return NULL;
    return primary;
}

/* Has it a vote by the candidate's list? Replicas and removed sites are not asked. */
static bool has_vote(const json_t *row)
{
    return !json_is_false(json_object_get(row, "member")) &&
           !json_is_true(json_object_get(row, "replica"));
}

/* One of them: does the candidate reach it, and may it vote as far as it says? */
static bool is_voter(const struct views *views, const json_t *status, const char *site)
{
    const json_t *theirs = status_of(views, site);
    const json_t *own = theirs != NULL ? own_row(theirs) : NULL;
    if (!has_vote(row_of(status, site)))
        return false;
    if (theirs != status && !json_is_true(json_object_get(row_of(status, site), "up")))
        return false;
    return own == NULL || !json_is_false(json_object_get(own, "votes"));
}

static int check_majority(const struct views *views, const json_t *status, struct forecast *f,
                          struct err *e)
{
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(status, "sites"), i, row)
    {
        f->members += has_vote(row);
        f->reached += is_voter(views, status, json_text(row, "name", ""));
    }
    if (f->reached >= f->members / 2 + 1)
        return 0;
    return err_set(
        e, ERR_UNREACHABLE,
        "%s has %u of %u votes within reach, and a majority is needed: bring another site "
        "back, and order again. When none comes back 'triveni failover --solo' is the way",
        f->site, f->reached, f->members);
}

/* ---- what would be lost? ---- */

static void note_heard(struct forecast *f, const json_t *status)
{
    const json_t *failover = json_object_get(own_row(status), "failover");
    const json_t *heard = json_object_get(failover, "heard");
    uint64_t term = number_of(heard, "term"), last = number_of(heard, "last");
    uint64_t ms = number_of(heard, "ms_ago"), commit = number_of(heard, "commit");
    if (json_text(heard, "primary", NULL) == NULL || term < f->term)
        return;
    bool newer = term > f->term;
    if (newer || last > f->heard_last) {
        f->heard_last = last;
        copy(f->heard_by, json_text(status, "site", "unknown"));
    }
    f->heard_ms = newer || ms < f->heard_ms ? ms : f->heard_ms;
    f->heard_commit = newer || commit > f->heard_commit ? commit : f->heard_commit;
    f->lease_ms = number_of(failover, "lease_ms");
    f->term = term;
    copy(f->primary, json_text(heard, "primary", ""));
}

struct longest {
    const json_t *status;
    uint64_t term, last;
    const char *silent; /* a voter that does not answer here: how far it is is not known */
};

static struct longest find_longest(const struct views *views, const json_t *status)
{
    struct longest l = {.status = status};
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(status, "sites"), i, row)
    {
        const char *name = json_text(row, "name", "");
        const json_t *theirs = status_of(views, name);
        if (!is_voter(views, status, name))
            continue;
        if (theirs == NULL) {
            l.silent = name;
            continue;
        }
        const json_t *own = own_row(theirs);
        uint64_t term = number_of(json_object_get(own, "failover"), "last_term");
        uint64_t last = number_of(own, "last");
        if (term > l.term || (term == l.term && last > l.last) ||
            (term == l.term && last == l.last && theirs == status))
            l = (struct longest){theirs, term, last, l.silent};
    }
    return l;
}

static void __attribute__((format(printf, 2, 3))) unknown(struct forecast *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(f->why, sizeof f->why, fmt, ap);
    va_end(ap);
    f->loss = FORECAST_UNKNOWN;
}

static void judge(struct forecast *f, const struct longest *l)
{
    bool beyond = f->heard_last > f->end && f->term >= l->term;
    if (beyond) {
        f->from = f->end + 1;
        f->to = f->heard_last;
    }
    if (f->primary[0] == '\0' || f->heard_last == 0 || f->term < l->term)
        unknown(f,
                "no site that answers has heard the primary of term %llu, or a later one, since "
                "its own start",
                (unsigned long long)l->term);
    else if (f->mode == NULL && !beyond)
        unknown(f,
                "a change of the protection mode may not be applied yet where the log is longest");
    else if (f->mode != NULL && strcmp(f->mode, "majority") == 0)
        f->loss = beyond ? FORECAST_UNACKNOWLEDGED : FORECAST_NOTHING;
    else if (beyond)
        f->loss = FORECAST_LOCAL;
    else
        unknown(f,
                "in mode local %s could acknowledge for up to %llu ms after its last word, and "
                "nobody else knows what",
                f->primary, (unsigned long long)f->lease_ms);
}

/* What the sites have heard, and where the log ends that the new term goes on from. */
static void foresee(const struct views *views, const json_t *status, const struct longest *l,
                    struct forecast *out)
{
    for (size_t i = 0; i < views->count; i++)
        if (views->v[i].status != NULL)
            note_heard(out, views->v[i].status);
    const json_t *own = own_row(l->status);
    out->site_last = number_of(own_row(status), "last");
    out->end = l->last;
    copy(out->ahead, json_text(l->status, "site", ""));
    if (json_is_true(json_object_get(json_object_get(own, "failover"), "mode_known")))
        out->mode = strcmp(json_text(l->status, "mode", ""), "local") == 0 ? "local" : "majority";
    judge(out, l);
}

int forecast_make(const struct views *views, const char *site, bool depose, struct forecast *out,
                  struct err *e)
{
    const json_t *status;
    *out = (struct forecast){.loss = FORECAST_UNKNOWN};
    copy(out->site, site);
    int rc = find_site(views, site, &status, e);
    if (rc == 0)
        rc = check_site(status, site, e);
    if (rc != 0)
        return rc;
    const struct longest l = find_longest(views, status);
    foresee(views, status, &l, out);
    const char *alive = living_primary(views, status);
    if (alive != NULL && !depose)
        return err_set(e, ERR_CONDITION,
                       "%s is primary and alive: 'triveni switchover --to %s' loses nothing. (With "
                       "--depose the role is taken from it all the same)",
                       alive, site);
    rc = check_majority(views, status, out, e);
    if (rc == 0 && l.silent == NULL && out->heard_commit > out->end)
        rc = err_set(
            e, ERR_INTEGRITY,
            "lsn %llu was committed, and the logs that can be reached end at lsn %llu: find "
            "the site that has it before you order anything",
            (unsigned long long)out->heard_commit, (unsigned long long)out->end);
    return rc;
}

/* ---- alone ---- */

bool forecast_row_is_lost(const json_t *status, const json_t *row)
{
    const bool votes = json_is_true(json_object_get(row, "member")) &&
                       !json_is_true(json_object_get(row, "replica"));
    return (votes || json_is_true(json_object_get(row, "lost"))) &&
           strcmp(json_text(row, "name", ""), json_text(status, "site", "")) != 0;
}

/* Nobody is lost who answers here, or there; and nobody who has no vote may know more. */
static int check_lost(const struct views *views, const json_t *status, struct forecast *f,
                      struct err *e)
{
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(status, "sites"), i, row)
    {
        const char *name = json_text(row, "name", "");
        const json_t *theirs = status_of(views, name);
        const bool is_lost = forecast_row_is_lost(status, row);
        if (is_lost && (theirs != NULL || json_is_true(json_object_get(row, "up"))))
            return err_set(e, ERR_CONDITION,
                           "%s lives: %s. 'triveni failover --site %s' needs it; if it must not "
                           "count, switch it off first",
                           name, theirs != NULL ? "it answers here" : "it has a link to the site",
                           f->site);
        f->members += is_lost;
        if (!is_lost && theirs != NULL && number_of(own_row(theirs), "last") > f->site_last)
            return err_set(
                e, ERR_CONDITION,
                "replica %s has lsn %llu, %s has %llu: wait until it has taken that over", name,
                (unsigned long long)number_of(own_row(theirs), "last"), f->site,
                (unsigned long long)f->site_last);
    }
    f->members++;
    f->reached = 1;
    return f->members > 1
               ? 0
               : err_set(e, ERR_USAGE, "%s is the only site that votes: there is nobody to be lost",
                         f->site);
}

int forecast_make_alone(const struct views *views, const char *site, struct forecast *out,
                        const json_t **status, struct err *e)
{
    *out = (struct forecast){.loss = FORECAST_UNKNOWN};
    copy(out->site, site);
    int rc = find_site(views, site, status, e);
    if (rc == 0)
        rc = check_site(*status, site, e);
    if (rc != 0)
        return rc;
    const json_t *own = own_row(*status);
    const struct longest l = {.status = *status,
                              .term = number_of(json_object_get(own, "failover"), "last_term"),
                              .last = number_of(own, "last"),
                              .silent = "the lost ones"};
    foresee(views, *status, &l, out);
    rc = check_lost(views, *status, out, e);
    if (rc == 0 && living_primary(views, *status) != NULL)
        rc = err_set(e, ERR_CONDITION,
                     "%s has heard primary %s %llu ms ago: it is not lost, or wait a moment", site,
                     out->primary, (unsigned long long)out->heard_ms);
    return rc;
}

uint64_t forecast_lost(const struct forecast *f, uint64_t lsn)
{
    return f->heard_last >= lsn && lsn > 0 ? f->heard_last - lsn + 1 : 0;
}

/* ---- as people and programs read it ---- */

static json_t *number_or_null(uint64_t n)
{
    return n != 0 ? json_integer((json_int_t)n) : json_null();
}

json_t *forecast_as_json(const struct forecast *f)
{
    bool heard = f->primary[0] != '\0', range = f->from != 0;
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:I, s:I, s:o, s:s, s:o, s:o, s:o, s:n, "
        "s:o}",
        "site", f->site, "site_last", number_or_null(f->site_last), "primary",
        heard ? json_string(f->primary) : json_null(), "term", number_or_null(f->term),
        "heard_ms_ago", heard ? json_integer((json_int_t)f->heard_ms) : json_null(), "heard_last",
        number_or_null(f->heard_last), "heard_commit", number_or_null(f->heard_commit), "furthest",
        f->ahead, "furthest_last", number_or_null(f->end), "reached", (json_int_t)f->reached,
        "members", (json_int_t)f->members, "mode",
        f->mode != NULL ? json_string(f->mode) : json_null(), "loss", loss_name(f->loss),
        "transactions", range ? json_integer((json_int_t)(f->to - f->from + 1)) : json_null(),
        "first", number_or_null(f->from), "last", number_or_null(f->to), "records", "why",
        f->why[0] != '\0' ? json_string(f->why) : json_null());
}

static void print_loss(FILE *out, const struct forecast *f)
{
    unsigned long long from = f->from, to = f->to, n = f->from != 0 ? to - from + 1 : 0;
    switch (f->loss) {
    case FORECAST_NOTHING:
        (void)fprintf(out, "loss: nothing: everything that was ever acknowledged is here\n");
        return;
    case FORECAST_UNACKNOWLEDGED:
        (void)fprintf(out,
                      "loss: nothing that was acknowledged; %llu transactions that nobody was told "
                      "of, lsn %llu to %llu, are undone when %s comes back\n",
                      n, from, to, f->primary);
        return;
    case FORECAST_LOCAL:
        (void)fprintf(
            out,
            "loss: %llu transactions that %s may have acknowledged at local only, lsn %llu "
            "to %llu (how many records: unknown, only %s has them), and what it "
            "acknowledged within %llu ms after its last word%s\n",
            n, f->primary, from, to, f->primary, (unsigned long long)f->lease_ms,
            f->mode == NULL ? "; the protection mode is not known" : "");
        return;
    case FORECAST_UNKNOWN:
        (void)fprintf(out, "loss: unknown, because %s\n", f->why);
        return;
    }
}

void forecast_print(FILE *out, const struct forecast *f)
{
    if (f->primary[0] != '\0')
        (void)fprintf(
            out,
            "primary %s in term %llu: heard %.1f s ago; its log ended at lsn %llu then (as "
            "%s heard), %llu was committed\n",
            f->primary, (unsigned long long)f->term, (double)f->heard_ms / 1000,
            (unsigned long long)f->heard_last, f->heard_by, (unsigned long long)f->heard_commit);
    else
        (void)fprintf(out, "primary: unknown, no site that answers has heard one\n");
    (void)fprintf(out, "%s has lsn %llu", f->site, (unsigned long long)f->site_last);
    if (strcmp(f->ahead, f->site) != 0 && f->ahead[0] != '\0')
        (void)fprintf(out, "; %s has lsn %llu, and %s fetches that first", f->ahead,
                      (unsigned long long)f->end, f->site);
    (void)fprintf(out, "; %u of %u votes are within reach; protection: %s\n", f->reached,
                  f->members, f->mode != NULL ? f->mode : "unknown");
    print_loss(out, f);
}
