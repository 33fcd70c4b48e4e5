/* status: what every endpoint says, merged into one table. A site's own word counts most for what only it can know; of what is
 * said about others the primary's word counts. What nobody knows is shown as unknown, never as 0. */
#include "tools/commands.h"

#include "tools/admin.h"
#include "tools/progress.h"
#include "tools/table.h"
#include "tools/text.h"

#include <string.h>
#include <unistd.h>

struct status_options {
    struct common common;
    const char *wait;
};
static const struct option wait_table[] = {
    {"wait", 0, OPTION_TEXT, offsetof(struct status_options, wait), "FOR", NULL,
     "wait, for half a minute at most: primary: until one serves; equal: until all sites answer "
     "and "
     "are equal too"},
    {0},
};

enum { WAIT_MS = 30000, WAIT_POLL_MS = 100 };
enum { CERT_WARN_DAYS = 30, CERT_BAD_DAYS = 7 };

/* ---- merging ---- */

static bool is_primary(const json_t *status)
{
    return strcmp(json_text(status, "role", ""), "primary") == 0;
}

/* The view to believe about the cluster: of the highest term, in it the primary's. */
static const json_t *best_view(const struct views *views)
{
    const json_t *best = NULL;
    int64_t best_term = -1;
    for (size_t i = 0; i < views->count; i++) {
        const json_t *s = views->v[i].status;
        int64_t term = 0;
        if (s == NULL)
            continue;
        (void)json_number(s, "term", &term);
        if (best == NULL || term > best_term ||
            (term == best_term && is_primary(s) && !is_primary(best))) {
            best = s;
            best_term = term;
        }
    }
    return best;
}

static json_t *row_of(json_t *sites, const char *name)
{
    size_t i;
    json_t *row;
    json_array_foreach(sites, i, row) if (strcmp(json_text(row, "name", ""), name) == 0) return row;
    return NULL;
}

/* What a site says about itself goes over what is said about it, where it is known. */
static void merge_own(json_t *sites, const json_t *status)
{
    const char *name = json_text(status, "site", "");
    const json_t *own = row_of(json_object_get(status, "sites"), name);
    json_t *row = row_of(sites, name);
    const char *key;
    json_t *value;
    if (own == NULL)
        return;
    if (row == NULL) {
        (void)json_array_append_new(sites, json_deep_copy(own));
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)own, key, value)
    {
        /* Who is behind can tell how far behind the primary's last word it is, the primary how far behind itself. */
        bool told = strcmp(key, "ages") == 0 && json_is_object(json_object_get(row, key));
        if (!json_is_null(value) && strcmp(key, "heard_ms_ago") != 0 && !told)
            (void)json_object_set(row, key, value);
    }
    (void)json_object_set_new(row, "up", json_true());
}

/* Every site that says of itself that it is primary, with its term. */
static json_t *primaries(const struct views *views)
{
    json_t *all = json_array();
    for (size_t i = 0; i < views->count; i++) {
        const json_t *s = views->v[i].status;
        int64_t term = 0;
        if (s == NULL || !is_primary(s))
            continue;
        (void)json_number(s, "term", &term);
        (void)json_array_append_new(all,
                                    json_pack("{s:s,s:I}", "site", json_text(s, "site", "unknown"),
                                              "term", (json_int_t)term));
    }
    return all;
}

static json_t *merge(const struct views *views)
{
    const json_t *best = best_view(views);
    json_t *sites = json_deep_copy(json_object_get(best, "sites"));
    if (!json_is_array(sites)) {
        json_decref(sites);
        sites = json_array();
    }
    json_t *endpoints = json_array();
    for (size_t i = 0; i < views->count; i++) {
        const struct view *v = &views->v[i];
        if (v->status != NULL)
            merge_own(sites, v->status);
        (void)json_array_append_new(
            endpoints, json_pack("{s:s,s:s?,s:s?}", "endpoint", v->endpoint, "site",
                                 v->status != NULL ? json_text(v->status, "site", NULL) : NULL,
                                 "error", v->status != NULL ? NULL : v->why.text));
    }
    json_t *all = json_object();
    static const char *const heads[] = {"cluster", "id",   "term",   "primary",
                                        "policy",  "mode", "version"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        json_t *v = json_object_get(best, heads[i]);
        (void)json_object_set_new(all, heads[i], v != NULL ? json_incref(v) : json_null());
    }
    (void)json_object_set_new(all, "primaries", primaries(views));
    (void)json_object_set_new(all, "seen_by", json_string(json_text(best, "site", "unknown")));
    (void)json_object_set_new(all, "sites", sites);
    (void)json_object_set_new(all, "endpoints", endpoints);
    return all;
}

/* ---- table ---- */

enum digest_word { DIGEST_UNKNOWN, DIGEST_ALONE, DIGEST_EQUAL, DIGEST_DIFFERS };

/* Against every other site whose digest is of the same lsn. */
static enum digest_word compare_digest(const json_t *sites, const json_t *row)
{
    const char *mine = json_text(row, "digest", NULL);
    int64_t at = 0;
    if (mine == NULL || !json_number(row, "digest_lsn", &at))
        return DIGEST_UNKNOWN;
    enum digest_word word = DIGEST_ALONE;
    size_t i;
    const json_t *other;
    json_array_foreach(sites, i, other)
    {
        const char *theirs = json_text(other, "digest", NULL);
        int64_t their_lsn = -1;
        if (other == row || theirs == NULL || !json_number(other, "digest_lsn", &their_lsn) ||
            their_lsn != at)
            continue;
        if (strcmp(mine, theirs) != 0)
            return DIGEST_DIFFERS;
        word = DIGEST_EQUAL;
    }
    return word;
}

static void digest_cell(struct table *t, const json_t *sites, const json_t *row)
{
    char lsn[24];
    switch (compare_digest(sites, row)) {
    case DIGEST_UNKNOWN:
        table_cell(t, STYLE_DIM, "unknown");
        return;
    case DIGEST_ALONE:
        table_cell(t, STYLE_NONE, "%.8s@%s", json_text(row, "digest", ""),
                   field_text(row, "digest_lsn", lsn, sizeof lsn));
        return;
    case DIGEST_EQUAL:
        table_cell(t, STYLE_GOOD, "%.8s@%s equal", json_text(row, "digest", ""),
                   field_text(row, "digest_lsn", lsn, sizeof lsn));
        return;
    case DIGEST_DIFFERS:
        table_cell(t, STYLE_BAD, "%.8s@%s DIFFERS", json_text(row, "digest", ""),
                   field_text(row, "digest_lsn", lsn, sizeof lsn));
        return;
    }
}

static void heard_cell(struct table *t, const json_t *row)
{
    int64_t ms = 0;
    if (!json_number(row, "heard_ms_ago", &ms))
        table_cell(t, STYLE_DIM, "unknown");
    else if (ms < 10000)
        table_cell(t, ms < 2000 ? STYLE_NONE : STYLE_WARN, "%lld ms", (long long)ms);
    else
        table_cell(t, STYLE_BAD, "%lld s", (long long)(ms / 1000));
}

static void cert_cell(struct table *t, const json_t *row)
{
    int64_t days = 0;
    if (!json_number(row, "cert_days", &days))
        table_cell(t, STYLE_DIM, "unknown");
    else
        table_cell(t,
                   days < CERT_BAD_DAYS    ? STYLE_BAD
                   : days < CERT_WARN_DAYS ? STYLE_WARN
                                           : STYLE_NONE,
                   "%lld d", (long long)days);
}

static bool is_down(const json_t *row)
{
    return json_is_false(json_object_get(row, "up"));
}

static const char *const heads[] = {"SITE",     "KIND",    "ROLE",     ">LAST",
                                    ">DURABLE", ">COMMIT", ">APPLIED", ">ARCHIVED",
                                    ">HEARD",   ">CERT",   "DIGEST"};

static void site_row(struct table *t, const json_t *sites, const json_t *row)
{
    static const char *const lsns[] = {"last", "durable", "commit", "applied", "archived"};
    char text[64];
    const char *role = json_text(row, "role", "unknown");
    table_cell(t, STYLE_NONE, "%s", json_text(row, "name", "unknown"));
    table_cell(t, STYLE_NONE, "%s", json_text(row, "kind", "unknown"));
    table_cell(t,
               is_down(row)                   ? STYLE_BAD
               : strcmp(role, "primary") == 0 ? STYLE_GOOD
                                              : STYLE_NONE,
               "%s", is_down(row) ? "down" : role);
    for (size_t i = 0; i < sizeof lsns / sizeof lsns[0]; i++) {
        bool never = i == 4 && strcmp(json_text(row, "kind", ""), "data") ==
                                   0; /* only a repository archives */
        table_cell(t, STYLE_NONE, "%s", never ? "-" : field_text(row, lsns[i], text, sizeof text));
    }
    heard_cell(t, row);
    cert_cell(t, row);
    digest_cell(t, sites, row);
}

/* "12 ms", "40 s, 1204 behind" */
static void age_cell(struct table *t, const json_t *age, bool never)
{
    int64_t ms = 0, entries = 0;
    char time[32], behind[48] = "";
    if (never || !json_number(age, "entries", &entries)) {
        table_cell(t, STYLE_DIM, never ? "-" : "unknown");
        return;
    }
    bool known = json_number(age, "ms", &ms);
    if (!known)
        (void)snprintf(time, sizeof time, "unknown");
    else if (ms < 10000)
        (void)snprintf(time, sizeof time, "%lld ms", (long long)ms);
    else
        (void)snprintf(time, sizeof time, "%lld s", (long long)(ms / 1000));
    if (entries > 0)
        (void)snprintf(behind, sizeof behind, ", %lld behind", (long long)entries);
    table_cell(t, !known || ms >= 10000 ? STYLE_WARN : STYLE_NONE, "%s%s", time, behind);
}

static void ages_table(const json_t *sites)
{
    static const char *const age_heads[] = {"AGE AT", ">RECEIVED", ">DURABLE", ">APPLIED",
                                            ">ARCHIVED"};
    static const char *const stages[] = {"received", "durable", "applied", "archived"};
    struct table t;
    size_t i;
    const json_t *row;
    table_init(&t, age_heads, sizeof age_heads / sizeof age_heads[0]);
    json_array_foreach(sites, i, row)
    {
        table_cell(&t, STYLE_NONE, "%s", json_text(row, "name", "unknown"));
        for (size_t k = 0; k < sizeof stages / sizeof stages[0]; k++)
            age_cell(&t, json_object_get(json_object_get(row, "ages"), stages[k]),
                     k == 3 && strcmp(json_text(row, "kind", ""), "data") == 0);
    }
    table_print(&t, stdout);
    table_free(&t);
    (void)putchar('\n');
}

/* Since when each site can tell the past. */
static void pasts(const json_t *sites)
{
    size_t i;
    const json_t *row;
    json_array_foreach(sites, i, row)
    {
        const json_t *h = json_object_get(row, "history");
        const char *name = json_text(row, "name", "unknown");
        int64_t from, time_us, bytes;
        char text[UTC_TEXT_BYTES];
        if (!json_number(h, "from", &from) || !json_number(h, "from_time_us", &time_us) ||
            !json_number(h, "bytes", &bytes))
            (void)printf("past at %s: unknown\n", name);
        else if (from == 0)
            (void)printf("past at %s: all of it, %.1f MiB\n", name, (double)bytes / (1 << 20));
        else
            (void)printf("past at %s: from lsn %lld (%s) on, %.1f MiB\n", name, (long long)from,
                         utc_text((struct utc){(uint64_t)time_us}, text),
                         (double)bytes / (1 << 20));
    }
}

/* How much lies in a place, and since when its oldest object was not verified. */
static void verified_line(const char *site, const char *place, const json_t *scrub)
{
    int64_t oldest = 0, objects = 0, damaged = 0;
    char text[UTC_TEXT_BYTES];
    if (!json_number(scrub, "objects", &objects) || !json_number(scrub, "oldest_us", &oldest))
        return;
    (void)printf("archive at %s: %s%s%s%lld objects, each verified since %s", site,
                 place != NULL ? "copy " : "", place != NULL ? place : "",
                 place != NULL ? ": " : "", (long long)objects,
                 utc_text((struct utc){(uint64_t)oldest}, text));
    if (json_number(scrub, "damaged", &damaged) && damaged > 0)
        (void)printf("; %lld DAMAGED", (long long)damaged);
    (void)printf("\n");
}

/* The archive's care: when it was restored last as a drill, and how well what lies there is known. */
static void archive_care(const json_t *sites)
{
    size_t i;
    const json_t *row;
    json_array_foreach(sites, i, row)
    {
        const json_t *archive = json_object_get(row, "archive");
        const json_t *drill = json_object_get(archive, "drill");
        const json_t *last = json_object_get(drill, "last");
        const json_t *copy;
        const char *name = json_text(row, "name", "unknown");
        size_t k;
        if (json_is_object(drill))
            (void)printf("archive at %s: last restore drill %s%s%s\n", name,
                         json_is_object(last) ? json_text(last, "ended", "unknown") : "never",
                         !json_is_object(last)                       ? ""
                         : json_is_true(json_object_get(last, "ok")) ? ", ok"
                                                                     : ", FAILED",
                         json_is_object(json_object_get(drill, "running")) ? ", one is under way"
                                                                           : "");
        verified_line(name, NULL, json_object_get(archive, "scrub"));
        json_array_foreach(json_object_get(archive, "copies"), k, copy) verified_line(
            name, json_text(copy, "place", "unknown"), json_object_get(copy, "scrub"));
    }
}

/* What is held there and disposed of, when anything is. */
static void archive_custody(const json_t *sites)
{
    static const char *const members[] = {"holds", "disposals", "disposed", "held", "locked"};
    size_t i;
    const json_t *row;
    json_array_foreach(sites, i, row)
    {
        const json_t *custody = json_object_get(json_object_get(row, "archive"), "custody");
        char n[5][32], time[UTC_TEXT_BYTES];
        int64_t holds = 0, disposals = 0, days = 0, until = 0;
        if (!json_number(custody, "holds", &holds) ||
            !json_number(custody, "disposals", &disposals) || holds + disposals == 0)
            continue;
        for (size_t k = 0; k < 5; k++)
            (void)field_text(custody, members[k], n[k], sizeof n[k]);
        (void)json_number(custody, "retain_days", &days);
        (void)printf(
            "archive at %s: %s holds and %s disposals in force; %s objects disposed of, %s "
            "held, the keys of %s locked",
            json_text(row, "name", "unknown"), n[0], n[1], n[2], n[3], n[4]);
        if (json_number(custody, "locked_until_us", &until))
            (void)printf(", the first until %s", utc_text((struct utc){(uint64_t)until}, time));
        if (days != 0)
            (void)printf("; %lld days retained", (long long)days);
        (void)printf("\n");
    }
}

/* Who holds an old state for how long. */
static void readers(const json_t *all)
{
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(all, "sites"), i, row)
    {
        int64_t n = 0, ms = 0;
        const char *name = json_text(row, "name", "unknown");
        if (json_number(row, "open_snapshots", &n) && json_number(row, "oldest_snapshot_ms", &ms))
            (void)printf("site %s holds %lld snapshots for clients, the oldest for %lld s\n", name,
                         (long long)n, (long long)(ms / 1000));
        if (json_number(row, "archive_reads_ms", &ms) && ms >= 10000)
            (void)printf("the archive at %s has been reading one state for %lld s\n", name,
                         (long long)(ms / 1000));
    }
}

/* In different terms the lower one was deposed and does not know it yet: it cannot acknowledge anything at a majority. */
static void warn_of_primaries(const json_t *primaries)
{
    size_t i, n = json_array_size(primaries);
    const json_t *p;
    int64_t first = -1, term = -1;
    bool alike = false;
    if (n < 2)
        return;
    (void)printf("! %zu sites say that they are primary:", n);
    json_array_foreach(primaries, i, p)
    {
        (void)json_number(p, "term", &term);
        alike = alike || (i > 0 && term == first);
        first = i == 0 ? term : first;
        (void)printf("%s %s in term %lld", i == 0 ? "" : ",", json_text(p, "site", "unknown"),
                     (long long)term);
    }
    (void)printf(alike
                     ? ": their histories may be forked. Stop the applications, then the sites, "
                       "and compare the members in all configurations\n"
                     : ": only the one in the highest term is; if this stays so, the sites do not "
                       "hear each other\n");
}

/* What needs somebody's attention, in one sentence each. */
static void warnings(const json_t *all)
{
    const json_t *sites = json_object_get(all, "sites");
    size_t i;
    const json_t *row;
    if (json_text(all, "primary", "")[0] == '\0')
        (void)printf("! there is no primary: nothing can be written\n");
    if (strcmp(json_text(all, "mode", ""), "local") == 0)
        (void)printf("! protection is 'local': a transaction is acknowledged when one site has it; "
                     "losing that site loses it\n");
    warn_of_primaries(json_object_get(all, "primaries"));
    json_array_foreach(sites, i, row)
    {
        const char *name = json_text(row, "name", "unknown");
        int64_t days = 0;
        if (is_down(row))
            (void)printf("! site %s is down\n", name);
        if (json_number(row, "cert_days", &days) && days < CERT_WARN_DAYS)
            (void)printf("! the certificate of site %s %s\n", name,
                         days < 0 ? "has expired" : "expires soon");
        const json_t *handover = json_object_get(row, "handover");
        if (json_is_object(handover))
            (void)printf("! site %s hands over to %s: %s\n", name,
                         json_text(handover, "to", "unknown"),
                         json_text(handover, "phase", "unknown"));
        size_t k;
        const json_t *trouble;
        json_array_foreach(json_object_get(row, "trouble"), k, trouble)(void)
            printf("! site %s: %s\n", name, json_string_value(trouble));
        const json_t *scrub = json_object_get(row, "scrub");
        int64_t damaged = 0;
        if (json_number(scrub, "damaged", &damaged) && damaged > 0)
            (void)printf("! the disk of site %s: %lld damaged: %s\n", name, (long long)damaged,
                         json_text(scrub, "trouble", "see triveni events"));
        if (compare_digest(sites, row) == DIGEST_DIFFERS)
            (void)printf("! the state of site %s differs from another site's at the same lsn: do "
                         "not promote it\n",
                         name);
    }
    json_array_foreach(json_object_get(all, "endpoints"), i,
                       row) if (json_text(row, "error", NULL) != NULL)(void)
        printf("! %s: unreachable: %s\n", json_text(row, "endpoint", ""),
               json_text(row, "error", ""));
}

static void print_table(const json_t *all)
{
    char text[64];
    (void)printf("cluster %s, term %s, primary %s, protection %s, failover %s\n\n",
                 json_text(all, "cluster", "unknown"), field_text(all, "term", text, sizeof text),
                 json_text(all, "primary", "none known"), json_text(all, "mode", "unknown"),
                 json_text(all, "policy", "unknown"));
    struct table t;
    table_init(&t, heads, sizeof heads / sizeof heads[0]);
    const json_t *sites = json_object_get(all, "sites");
    size_t i;
    const json_t *row;
    json_array_foreach(sites, i, row) site_row(&t, sites, row);
    table_print(&t, stdout);
    table_free(&t);
    (void)putchar('\n');
    ages_table(sites);
    pasts(sites);
    archive_care(sites);
    archive_custody(sites);
    readers(all);
    warnings(all);
}

/* By its own word: the others may still believe in one that is gone. */
static bool primary_serves(const struct views *views)
{
    for (size_t i = 0; i < views->count; i++)
        if (views->v[i].status != NULL && is_primary(views->v[i].status) &&
            json_is_true(json_object_get(views->v[i].status, "serving")))
            return true;
    return false;
}

static bool all_equal(const struct views *views)
{
    const json_t *first = NULL;
    for (size_t i = 0; i < views->count; i++) {
        const json_t *status = views->v[i].status;
        const json_t *own = status == NULL ? NULL
                                           : row_of(json_object_get(status, "sites"),
                                                    json_text(status, "site", ""));
        if (first == NULL)
            first = own;
        if (own == NULL ||
            json_equal(json_object_get(own, "digest_lsn"), json_object_get(first, "digest_lsn")) !=
                1 ||
            json_equal(json_object_get(own, "digest"), json_object_get(first, "digest")) != 1)
            return false;
    }
    return first != NULL;
}

/* Ask once, or until it is as wished. When it does not become so, what was heard last is shown, and the error says so. */
static int look(const struct status_options *o, struct views *views, struct err *e)
{
    bool equal = o->wait != NULL && strcmp(o->wait, "equal") == 0;
    if (o->wait != NULL && !equal && strcmp(o->wait, "primary") != 0)
        return err_set(e, ERR_USAGE, "--wait: '%.40s' is neither primary nor equal", o->wait);
    for (uint64_t until = monotonic_ms() + WAIT_MS;;) {
        int rc = views_collect(&o->common, views, e);
        if (o->wait == NULL || rc == ERR_USAGE || rc == ERR_CONFIG || rc == ERR_NOT_FOUND)
            return rc;
        if (rc == 0 && primary_serves(views) && (!equal || all_equal(views)))
            return 0;
        if (monotonic_ms() > until)
            return rc != 0 ? rc
                           : err_set(e, ERR_TIMEOUT, "after %d s %s", WAIT_MS / 1000,
                                     equal ? "the sites are not equal" : "no primary serves");
        views_free(views);
        *e = (struct err)ERR_NONE;
        (void)usleep(WAIT_POLL_MS * 1000);
    }
}

static int run_status(struct invocation *in, struct err *e)
{
    struct status_options *o = in->options;
    struct views views = {.count = 0};
    int rc = look(o, &views, e);
    if (rc == 0 || rc == ERR_TIMEOUT) {
        json_t *all = merge(&views);
        if (o->common.format == OUTPUT_JSON)
            output_json(json_incref(all));
        else
            print_table(all);
        json_decref(all);
    }
    views_free(&views);
    return rc;
}

const struct command command_status = {
    .name = "status",
    .group = "Cluster",
    .purpose = "show every site: role, positions, health",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct status_options),
    .tables = {wait_table, output_options, connection_options},
    .about =
        "Asks every endpoint and merges the answers; those that do not answer are shown with "
        "the reason. LAST is the newest\n"
        "transaction in the site's log, DURABLE the newest on its disk, COMMIT the newest it "
        "knows to be committed, APPLIED\n"
        "the newest in its state, ARCHIVED the newest sealed in the archive. HEARD is how "
        "long ago the primary heard from\n"
        "the site, CERT how long its certificate is valid. DIGEST compares the states of "
        "sites that are at the same lsn.\n"
        "AGE AT: everything that was written until so long ago is known to have been received "
        "there, to be on its disk,\n"
        "in its state, in the archive; and how many transactions are missing. It is the age of "
        "the last word of the site when\n"
        "nothing is missing, so it grows when a site is not heard, also while nothing is "
        "written. Without a primary a site\n"
        "tells its own, against the last primary's word.\n"
        "Past: how far back a site can be read with --as-of. What is not known is shown as "
        "unknown. Lines that begin with ! need attention.",
    .examples = {{"the table", "triveni status"},
                 {"after a failure: wait for the new primary", "triveni status --wait primary"},
                 {"lag of dr in transactions, for a program",
                  "triveni status -o json | jq '[.sites[] | {(.name): .last}] | add | .dc - .dr'"}},
    .exits = "48",
    .run = run_status,
};
