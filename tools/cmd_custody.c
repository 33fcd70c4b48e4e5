/* archive hold, archive release, archive dispose, archive holds: what must stay in the archive, and what must go, ordered by two
 * operators. The first makes the warrant (--ask), another one signs it (triveni warrant sign), either hands it to the primary
 * (--warrant), which logs it; the archive's site carries it out (repository/custody.h). */
#include "tools/commands.h"

#include "replication/core/custody.h"
#include "repository/custody.h"
#include "store/core/hex.h"
#include "tools/admin.h"
#include "tools/past.h"
#include "tools/table.h"
#include "tools/text.h"
#include "tools/warrant_file.h"

#include <stdlib.h>
#include <string.h>

enum { VALID_S = 3600 };

struct custody_options {
    struct common common;
    const char *collection, *prefix, *key, *before, *reason, *ask, *warrant, *dir, *kek;
    struct option_number valid;
    bool preview, yes;
};
#define AT(member) offsetof(struct custody_options, member)
#define WARRANT_OPTIONS                                                                            \
    {"reason", 0, OPTION_TEXT, AT(reason), "TEXT", NULL, "with --ask: why, for whoever reads it"}, \
        {"ask",                                                                                    \
         0,                                                                                        \
         OPTION_TEXT,                                                                              \
         AT(ask),                                                                                  \
         "FILE",                                                                                   \
         NULL,                                                                                     \
         "write the warrant, for another operator to sign (triveni warrant sign)"},                \
        {"warrant",                                                                                \
         0,                                                                                        \
         OPTION_TEXT,                                                                              \
         AT(warrant),                                                                              \
         "FILE",                                                                                   \
         NULL,                                                                                     \
         "carry out the warrant that both have signed"},                                           \
        {"valid",                                                                                  \
         0,                                                                                        \
         OPTION_DURATION,                                                                          \
         AT(valid),                                                                                \
         "TIME",                                                                                   \
         NULL,                                                                                     \
         "with --ask: how long the warrant is valid; default 1h, at most 24h"},                    \
    {                                                                                              \
        "yes", 'y', OPTION_FLAG, AT(yes), NULL, NULL, "with --warrant: do not ask"                 \
    }
static const struct option hold_table[] = {
    {"collection", 0, OPTION_TEXT, AT(collection), "NAME", NULL, "with --ask: what is held"},
    {"prefix", 0, OPTION_TEXT, AT(prefix), "TEXT", NULL, "of it, keys that begin so"},
    {"record", 0, OPTION_TEXT, AT(key), "KEY", NULL, "of it, this record"},
    WARRANT_OPTIONS,
    {0},
};
static const struct option release_table[] = {WARRANT_OPTIONS, {0}};
static const struct option dispose_table[] = {
    {"before", 0, OPTION_TEXT, AT(before), "WHEN", NULL, "what lies before it: " PAST_WHEN},
    {"preview", 0, OPTION_FLAG, AT(preview), NULL, NULL, "tell what would go, object by object"},
    {"repository", 'r', OPTION_TEXT, AT(dir), "DIR", "TRIVENI_REPOSITORY",
     "with --ask and --preview: the archive, which tells what lies before"},
    {"kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK", KEK_HELP},
    WARRANT_OPTIONS,
    {0},
};
static const struct option no_table[] = {{0}};
#undef AT

/* ---- what the cluster says ---- */

static int primary_status(const struct common *c, const char *what, json_t **out, struct err *e)
{
    struct tvn *db = NULL;
    int rc = connect_open(c, &db, e);
    if (rc == 0)
        rc = admin_call_primary(db, what, NULL, out, e);
    (void)tvn_close(db);
    return rc;
}

/* The answer of the site that keeps the archive. */
static int keeper_status(const struct common *c, json_t **out, struct err *e)
{
    struct views views;
    struct tvn *db = NULL;
    char name[64] = "";
    size_t k;
    const json_t *row;
    int rc = views_collect(c, &views, e);
    for (size_t i = 0; rc == 0 && i < views.count; i++)
        json_array_foreach(json_object_get(views.v[i].status, "sites"), k,
                           row) if (strcmp(json_text(row, "kind", ""), "repository") == 0)(void)
            snprintf(name, sizeof name, "%s", json_text(row, "name", ""));
    views_free(&views);
    if (rc == 0 && name[0] == '\0')
        rc = err_set(e, ERR_NOT_FOUND, "no site of this cluster keeps an archive");
    if (rc == 0)
        rc = open_site(c, name, &db, e);
    if (rc == 0)
        rc = admin_call(db, "custody", NULL, out, e);
    (void)tvn_close(db);
    return rc;
}

/* ---- the two steps of every order ---- */

static int check_usage(const struct custody_options *o, bool facts, struct err *e)
{
    if ((o->ask != NULL) + (o->warrant != NULL) + o->preview != 1)
        return err_set(e, ERR_USAGE,
                       "give one of --ask FILE (to make the warrant) and --warrant FILE (to carry "
                       "it out)");
    if (o->warrant != NULL && (facts || o->reason != NULL))
        return err_set(e, ERR_USAGE,
                       "what is ordered stands in the warrant: with --warrant give nothing else");
    if (o->ask != NULL && (o->reason == NULL || o->reason[0] == '\0'))
        return err_set(e, ERR_USAGE, "--reason is needed: the warrant says why");
    if (o->valid.given &&
        (o->ask == NULL || o->valid.v < 1000 || o->valid.v > 1000 * (uint64_t)WARRANT_LIFE_MAX_S))
        return err_set(e, ERR_USAGE, "--valid goes with --ask, and is from 1s to 24h");
    return 0;
}

static int read_place(const json_t *status, struct warrant_place *here, int64_t *now, struct err *e)
{
    here->cluster = json_text(status, "cluster", "");
    if (uuid_of_text(json_text(status, "id", ""), &here->cluster_id) != 0 ||
        !json_number(status, "time_us", now))
        return err_set(e, ERR_FORMAT, "the primary does not say of which cluster it is");
    return 0;
}

/* Facts that the acts have are in `w` already. */
static int ask(const struct custody_options *o, enum custody_act act, struct warrant *w,
               struct err *e)
{
    json_t *status = NULL;
    struct warrant_place here = {.act = custody_act_name(act)};
    struct custody_order order;
    int64_t now = 0;
    int rc = primary_status(&o->common, "status", &status, e);
    if (rc == 0)
        rc = read_place(status, &here, &now, e);
    w->act = bytes_str(here.act);
    w->cluster = bytes_str(here.cluster != NULL ? here.cluster : "");
    w->cluster_id = here.cluster_id;
    warrant_say(w, "reason", bytes_str(o->reason));
    if (rc == 0)
        rc = custody_read(w, &order, e);
    if (rc == 0)
        rc = warrant_file_make(&o->common, w, (struct utc){(uint64_t)now},
                               o->valid.given ? o->valid.v / 1000 : VALID_S, o->ask, e);
    json_decref(status);
    if (rc == 0)
        rc = warrant_file_show(&o->common, o->ask, e);
    if (rc != 0)
        return rc;
    const char *command = here.act + strlen("archive-");
    say("another operator signs %s with 'triveni warrant sign', then: triveni archive %s "
        "--warrant %s",
        o->ask, command, o->ask);
    return 0;
}

static int carry_out(const struct custody_options *o, enum custody_act act, const char *question,
                     const char *done, struct err *e)
{
    struct warrant_file file;
    struct warrant_place here = {.act = custody_act_name(act)};
    json_t *status = NULL;
    json_t *reply = NULL;
    int64_t now = 0;
    char lsn[32];
    int rc = warrant_file_open(&o->common, o->warrant, &file, e);
    if (rc != 0)
        return rc;
    rc = primary_status(&o->common, "status", &status, e);
    if (rc == 0)
        rc = read_place(status, &here, &now, e);
    if (rc == 0)
        rc = warrant_file_admit(&file, &here, (struct utc){(uint64_t)now}, e);
    if (rc == 0 && !o->yes) {
        warrant_file_print(stderr, &file);
        if (!confirm(question))
            rc = err_set(e, ERR_USAGE,
                         "not confirmed: nothing was done (--yes confirms without a question)");
    }
    if (rc == 0)
        rc = admin_give(&o->common, NULL, "archive-order",
                        json_pack("{s:s, s:o}", "act", here.act, "warrant",
                                  json_stringn((const char *)file.file, file.bytes)),
                        &reply, e);
    if (rc == 0 && o->common.format == OUTPUT_JSON)
        output_json(json_incref(reply));
    else if (rc == 0)
        (void)printf("%s, from lsn %s on: 'triveni archive holds' shows what comes of it\n", done,
                     field_text(reply, "lsn", lsn, sizeof lsn));
    json_decref(reply);
    json_decref(status);
    warrant_file_close(&file);
    return rc;
}

/* ---- hold, release ---- */

static int run_archive_hold(struct invocation *in, struct err *e)
{
    const struct custody_options *o = in->options;
    const char *name = in->count > 0 ? in->operands[0] : NULL;
    struct warrant w = {.count = 0};
    int rc = check_usage(
        o, name != NULL || o->collection != NULL || o->prefix != NULL || o->key != NULL, e);
    if (rc != 0)
        return rc;
    if (o->warrant != NULL)
        return carry_out(
            o, CUSTODY_HOLD,
            "From now on nothing that this names is disposed of, until it is released.",
            "the hold is in force", e);
    if (name == NULL || o->collection == NULL)
        return err_set(e, ERR_USAGE, "a NAME for the hold and --collection are needed");
    warrant_say(&w, "name", bytes_str(name));
    warrant_say(&w, "collection", bytes_str(o->collection));
    if (o->prefix != NULL)
        warrant_say(&w, "prefix", bytes_str(o->prefix));
    if (o->key != NULL)
        warrant_say(&w, "key", bytes_str(o->key));
    return ask(o, CUSTODY_HOLD, &w, e);
}

static int run_archive_release(struct invocation *in, struct err *e)
{
    const struct custody_options *o = in->options;
    const char *name = in->count > 0 ? in->operands[0] : NULL;
    struct warrant w = {.count = 0};
    int rc = check_usage(o, name != NULL, e);
    if (rc != 0)
        return rc;
    if (o->warrant != NULL)
        return carry_out(
            o, CUSTODY_RELEASE,
            "What only this hold keeps is disposed of at once, where a disposal is in force.",
            "the hold is released", e);
    if (name == NULL)
        return err_set(e, ERR_USAGE, "the NAME of the hold is needed: triveni archive holds");
    warrant_say(&w, "name", bytes_str(name));
    return ask(o, CUSTODY_RELEASE, &w, e);
}

/* ---- dispose ---- */

struct taking {
    bool json;
    json_t *objects;
    uint64_t count;
};

static void on_object(void *arg, const char *object, const char *what)
{
    struct taking *t = arg;
    t->count += strcmp(what, "disposed") == 0;
    if (t->json)
        (void)json_array_append_new(t->objects,
                                    json_pack("{s:s, s:s}", "object", object, "what", what));
    else if (t->objects != NULL)
        (void)printf("%s: %s\n", object, strcmp(what, "disposed") == 0 ? "would go" : what);
}

/* The holds that are in force, as the archive's site says; `custody` owns the texts. */
static size_t holds_of(const json_t *custody, struct repository_hold *out, size_t most)
{
    size_t n = 0, i;
    const json_t *row;
    json_array_foreach(json_object_get(custody, "holds"), i, row)
    {
        if (n == most)
            break;
        out[n++] =
            (struct repository_hold){json_text(row, "name", ""),
                                     {.collection = bytes_str(json_text(row, "collection", "")),
                                      .prefix = bytes_str(json_text(row, "prefix", "")),
                                      .key = bytes_str(json_text(row, "key", ""))}};
    }
    return n;
}

static uint64_t retention_of(const json_t *custody)
{
    int64_t days = 0;
    (void)json_number(json_object_get(custody, "archive"), "retain_days", &days);
    return (uint64_t)days * UINT64_C(86400000000);
}

/* Exactly where the disposal begins to leave: behind the newest snapshot before WHEN, so that every later moment stays
 * restorable. */
static int settle(struct repository *r, const char *before, struct lsn *out, struct utc *time,
                  struct err *e)
{
    struct restore_target target;
    struct lsn lsn = {0}, snapshot;
    bool open_end;
    int rc = when_parse(before, &target, e);
    if (rc == 0)
        rc = repository_resolve(r, &target, &lsn, &open_end, e);
    if (rc == 0 && target.time.us != 0)
        lsn.v++; /* what is at or before the time */
    if (rc == 0)
        rc = repository_disposable(r, lsn, &snapshot, time, e);
    if (rc == 0)
        out->v = snapshot.v + 1;
    return rc;
}

static int look(const struct custody_options *o, struct repository *r, struct lsn before,
                struct utc at, struct taking *t, struct err *e)
{
    struct repository_hold holds[CUSTODY_HOLDS_MAX];
    const struct repository_disposal d = {.before = before};
    struct repository_custody_report report;
    struct repository_status status;
    json_t *custody = NULL;
    int rc = keeper_status(&o->common, &custody, e);
    repository_status(r, &status);
    struct repository_custody c = {.holds = holds,
                                   .disposals = &d,
                                   .disposal_count = 1,
                                   .now = status.archived.time,
                                   .retain_us = retention_of(custody),
                                   .preview = true,
                                   .told = on_object,
                                   .arg = t};
    c.hold_count = holds_of(custody, holds, CUSTODY_HOLDS_MAX);
    if (rc == 0 && c.retain_us != 0 && at.us + c.retain_us > c.now.us)
        rc = err_set(
            e, ERR_CONDITION,
            "what lies before lsn %llu is younger than the archive's repository.retain_days "
            "(%llu) allows",
            (unsigned long long)before.v,
            (unsigned long long)(c.retain_us / UINT64_C(86400000000)));
    if (rc == 0)
        rc = repository_dispose(r, &c, &report, e);
    json_decref(custody);
    return rc;
}

static int ask_dispose(const struct custody_options *o, struct lsn before, struct utc time,
                       uint64_t count, struct err *e)
{
    char lsn[24], at[WARRANT_TIME_BYTES], takes[64];
    struct warrant w = {.count = 0};
    (void)snprintf(lsn, sizeof lsn, "%llu", (unsigned long long)before.v);
    warrant_time_text(time, at);
    (void)snprintf(takes, sizeof takes, "%llu packs and snapshots, as of now",
                   (unsigned long long)count);
    warrant_say(&w, "before-lsn", bytes_str(lsn));
    warrant_say(&w, "before-time", bytes_str(at));
    warrant_say(&w, "takes", bytes_str(takes));
    return ask(o, CUSTODY_DISPOSE, &w, e);
}

static int run_archive_dispose(struct invocation *in, struct err *e)
{
    const struct custody_options *o = in->options;
    struct repository *r = NULL;
    struct lsn before = {0};
    struct utc time = {0};
    struct taking t = {.json = o->common.format == OUTPUT_JSON && o->preview};
    int rc = check_usage(o, o->before != NULL, e);
    if (rc != 0)
        return rc;
    if (o->warrant != NULL)
        return carry_out(o, CUSTODY_DISPOSE,
                         "Keys are destroyed: what is disposed of cannot be read again by anybody.",
                         "the disposal is in force", e);
    if (o->before == NULL || o->dir == NULL || o->kek == NULL)
        return err_set(e, ERR_USAGE, "--%s is needed",
                       o->before == NULL ? "before"
                       : o->dir == NULL  ? "repository"
                                         : "kek");
    const struct repository_options options = {
        .dir = o->dir, .kek_file = o->kek, .read_only = true};
    t.objects = o->preview ? json_array() : NULL;
    rc = repository_open(&r, &options, e);
    if (rc == 0)
        rc = settle(r, o->before, &before, &time, e);
    if (rc == 0)
        rc = look(o, r, before, time, &t, e);
    repository_close(r);
    if (rc == 0 && t.json)
        output_json(json_pack("{s:I, s:I, s:O}", "before", (json_int_t)before.v, "takes",
                              (json_int_t)t.count, "objects", t.objects));
    else if (rc == 0 && o->preview)
        (void)printf("before lsn %llu: %llu packs and snapshots would go\n",
                     (unsigned long long)before.v, (unsigned long long)t.count);
    json_decref(t.objects);
    return rc == 0 && o->ask != NULL ? ask_dispose(o, before, time, t.count, e) : rc;
}

/* ---- holds ---- */

static void print_warrant(struct table *t, const json_t *row)
{
    char time[64];
    const json_t *by = json_object_get(row, "warrant");
    table_cell(t, STYLE_NONE, "%s", time_text(by, "time", time, sizeof time));
    table_cell(t, STYLE_NONE, "%s", json_text(by, "nonce", ""));
    table_cell(t, STYLE_NONE, "%s", json_text(row, "reason", ""));
}

static void print_progress(const json_t *archive)
{
    static const char *const members[] = {"disposed", "held",   "needed", "retained",
                                          "unsigned", "locked", "damaged"};
    static const char *const words[] = {"disposed of",
                                        "held",
                                        "needed to restore later moments",
                                        "retained",
                                        "not in the signed tree yet",
                                        "keys pending, until a bucket lets them go",
                                        "damaged"};
    char time[UTC_TEXT_BYTES];
    int64_t until = 0;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        int64_t n = 0;
        if (json_number(archive, members[i], &n) && n != 0)
            (void)printf("%lld %s\n", (long long)n, words[i]);
    }
    if (json_number(archive, "locked_until_us", &until))
        (void)printf("the first of these keys stays until %s\n",
                     utc_text((struct utc){(uint64_t)until}, time));
    if (json_text(archive, "trouble", NULL) != NULL)
        (void)printf("trouble: %s\n", json_text(archive, "trouble", ""));
}

static int run_archive_holds(struct invocation *in, struct err *e)
{
    static const char *const heads[] = {"ACT", "WHAT", "SINCE", "WARRANT", "REASON"};
    const struct custody_options *o = in->options;
    struct table table;
    json_t *custody = NULL;
    size_t i;
    const json_t *row;
    char lsn[32];
    int rc = keeper_status(&o->common, &custody, e);
    if (rc != 0)
        return rc;
    if (o->common.format == OUTPUT_JSON) {
        output_json(custody);
        return 0;
    }
    table_init(&table, heads, 5);
    json_array_foreach(json_object_get(custody, "holds"), i, row)
    {
        const char *key = json_text(row, "key", NULL), *prefix = json_text(row, "prefix", NULL);
        table_cell(&table, STYLE_NONE, "hold %s", json_text(row, "name", ""));
        table_cell(&table, STYLE_NONE, "%s%s%s%s", json_text(row, "collection", ""),
                   key != NULL || prefix != NULL ? "/" : "",
                   key != NULL      ? key
                   : prefix != NULL ? prefix
                                    : "",
                   prefix != NULL ? "..." : "");
        print_warrant(&table, row);
    }
    json_array_foreach(json_object_get(custody, "disposals"), i, row)
    {
        table_cell(&table, STYLE_NONE, "dispose");
        table_cell(&table, STYLE_NONE, "before lsn %s", field_text(row, "before", lsn, sizeof lsn));
        print_warrant(&table, row);
    }
    table_print(&table, stdout);
    table_free(&table);
    print_progress(json_object_get(custody, "archive"));
    json_decref(custody);
    return 0;
}

#define TWO                                                                                        \
    "It is an order of two operators: the first writes the warrant with --ask, a second one "      \
    "signs "                                                                                       \
    "it with\n"                                                                                    \
    "'triveni warrant sign', either carries it out with --warrant. It is logged, and by that in "  \
    "force."
const struct command command_archive_hold = {
    .name = "archive hold",
    .group = "Archive",
    .purpose = "keep records in the archive, whatever is ordered to be disposed of",
    .operands = "[NAME]",
    .least = 0,
    .most = 1,
    .options_bytes = sizeof(struct custody_options),
    .tables = {hold_table, output_options, connection_options},
    .about = "A legal hold: no pack with a version of a selected record is disposed of until the "
             "hold NAME is released.\n" TWO,
    .examples = {{"a court asks for one record",
                  "triveni archive hold case-77 --collection land --record plot-12 --reason 'court "
                  "order 77/2026' --ask hold.warrant"},
                 {"signed by both", "triveni archive hold --warrant hold.warrant --yes"}},
    .exits = "3456789",
    .run = run_archive_hold,
};
const struct command command_archive_release = {
    .name = "archive release",
    .group = "Archive",
    .purpose = "end a hold",
    .operands = "[NAME]",
    .least = 0,
    .most = 1,
    .options_bytes = sizeof(struct custody_options),
    .tables = {release_table, output_options, connection_options},
    .about = "What a disposal that is in force takes, and only this hold kept, is disposed of "
             "then.\n" TWO,
    .examples = {{"ask for it",
                  "triveni archive release case-77 --reason closed --ask release.warrant"},
                 {"signed by both", "triveni archive release --warrant release.warrant --yes"}},
    .exits = "3456789",
    .run = run_archive_release,
};
const struct command command_archive_dispose = {
    .name = "archive dispose",
    .group = "Archive",
    .purpose = "dispose of what is old, by destroying its keys",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct custody_options),
    .tables = {dispose_table, output_options, connection_options},
    .about =
        "The keys of packs and snapshots that lie before WHEN are destroyed, in every generation "
        "and every copy: nobody can read them\n"
        "again. What later moments need to be restored stays, so WHEN is moved back to the newest "
        "snapshot before it; what is held\n"
        "stays until it is released. Proofs that were made before hold as before.\n" TWO,
    .examples = {{"what would go",
                  "triveni archive dispose --before 2016-01-01T00:00:00Z --preview "
                  "-r /srv/archive -k kek"},
                 {"ask for it", "triveni archive dispose --before 2016-01-01T00:00:00Z --reason "
                                "'retention law' --ask dispose.warrant -r /srv/archive -k kek"},
                 {"signed by both", "triveni archive dispose --warrant dispose.warrant --yes"}},
    .exits = "3456789",
    .run = run_archive_dispose,
};
const struct command command_archive_holds = {
    .name = "archive holds",
    .group = "Archive",
    .purpose = "show what is held and what is disposed of",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct custody_options),
    .tables = {no_table, output_options, connection_options},
    .about = "Holds and disposals that are in force, by which warrants, and how far the archive's "
             "site has come.",
    .examples = {{"all", "triveni archive holds"},
                 {"for a program", "triveni archive holds -o json"}},
    .exits = "34",
    .run = run_archive_holds,
};
