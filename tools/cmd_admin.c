/* events, switchover, failover, mode, digest, point, session, outcome: what operators ask of the cluster. */
#include "tools/commands.h"

#include "tools/admin.h"
#include "tools/config.h"
#include "tools/progress.h"
#include "tools/record.h"
#include "tools/table.h"

#include <string.h>
#include <unistd.h>

struct admin_options {
    struct common common;
    const char *site, *to;
    struct option_number limit;
    bool yes;
};
#define AT(member) offsetof(struct admin_options, member)
static const struct option site_table[] = {
    {"site", 0, OPTION_TEXT, AT(site), "NAME", NULL, "ask this site; default: the primary"},
    {0},
};
static const struct option seal_table[] = {
    {"site", 0, OPTION_TEXT, AT(site), "NAME", NULL, "the site; default: the one of kind repository"},
    {0},
};

/* Ask a site (NULL: the primary); an answer for a program is printed as it is, then *reply is NULL. */
static int ask(struct invocation *in, const char *site, const char *command, json_t *arguments, json_t **reply,
               struct err *e)
{
    struct admin_options *o = in->options;
    struct tvn *db = NULL;
    *reply = NULL;
    int rc = open_site(&o->common, site, &db, e);
    if (rc == 0)
        rc = admin_call(db, command, arguments, reply, e);
    else
        json_decref(arguments);
    (void)tvn_close(db);
    if (rc == 0 && o->common.format == OUTPUT_JSON) {
        output_json(*reply);
        *reply = NULL;
    }
    return rc;
}

/* ---- events ---- */

static const struct option events_table[] = {
    {"site", 0, OPTION_TEXT, AT(site), "NAME", NULL, "what this site saw; default: the primary"},
    {"limit", 'n', OPTION_NUMBER, AT(limit), "N", NULL, "the newest N; default 50"},
    {0},
};

static int run_events(struct invocation *in, struct err *e)
{
    const struct admin_options *o = in->options;
    json_t *reply;
    uint64_t limit = o->limit.given ? o->limit.v : 50;
    if (limit == 0 || limit > 1000000)
        return err_set(e, ERR_USAGE, "--limit must be from 1 to 1000000");
    int rc = ask(in, o->site, "events", json_pack("{s:I}", "limit", (json_int_t)limit), &reply, e);
    size_t i;
    const json_t *event;
    json_array_foreach(json_object_get(reply, "events"), i, event)
    {
        char time[64];
        (void)printf("%s  ", time_text(event, "time", time, sizeof time));
        output_text(stdout, bytes_str(json_text(event, "text", "")), 0);
        (void)putchar('\n');
    }
    json_decref(reply);
    return rc;
}

const struct command command_events = {
    .name = "events",
    .group = "Cluster",
    .purpose = "show what happened and why: elections, links, disks",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct admin_options),
    .tables = {events_table, output_options, connection_options},
    .about = "Each site keeps its own events; after an election compare what the sites saw.",
    .examples = {{"the newest", "triveni events -n 20"}, {"as dr saw it", "triveni events --site dr"}},
    .exits = "468",
    .run = run_events,
};

/* ---- switchover, failover, mode ---- */

static const struct option switchover_table[] = {
    {"to", 0, OPTION_TEXT, AT(to), "SITE", NULL, "the new primary; default: the site that is furthest ahead"},
    {0},
};

static void print_change(const json_t *reply, const char *verb)
{
    char term[32];
    char lsn[32];
    char pause[32];
    if (reply == NULL)
        return;
    const char *to = json_text(reply, "to", "");
    (void)printf("%s from %s to %s: term %s, lsn %s", verb, json_text(reply, "from", "unknown"), to[0] != '\0' ? to : "unknown", field_text(reply, "term", term, sizeof term),
                 field_text(reply, "lsn", lsn, sizeof lsn));
    if (json_object_get(reply, "pause_ms") != NULL)
        (void)printf(", writes paused for %s ms", field_text(reply, "pause_ms", pause, sizeof pause));
    (void)putchar('\n');
}

static int run_switchover(struct invocation *in, struct err *e)
{
    const struct admin_options *o = in->options;
    json_t *reply;
    int rc = ask(in, NULL, "switchover", json_pack("{s:s?}", "to", o->to), &reply, e);
    print_change(reply, "switched over");
    json_decref(reply);
    return rc;
}

const struct command command_switchover = {
    .name = "switchover",
    .group = "Cluster",
    .purpose = "hand the primary role over, losing nothing",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct admin_options),
    .tables = {switchover_table, output_options, connection_options},
    .about = "The primary stops taking writes, brings the successor to the same lsn, and the successor stands for election.\n"
             "Clients are redirected. Nothing acknowledged is lost and nothing is in doubt. The pause is measured. When the\n"
             "answer does not come in time the outcome is unknown: look at 'triveni status', do not roll back.",
    .examples = {{"for maintenance of dc", "triveni switchover --to dr"}, {"and back", "triveni switchover --to dc"}},
    .exits = "4689",
    .run = run_switchover,
};

static const struct option failover_table[] = {
    {"site", 0, OPTION_TEXT, AT(site), "NAME", NULL, "the site that shall stand for election (required)"},
    {"yes", 'y', OPTION_FLAG, AT(yes), NULL, NULL, "do not ask for confirmation"},
    {0},
};

static int must_confirm(const struct admin_options *o, const char *question, struct err *e)
{
    if (o->yes || confirm(question))
        return 0;
    return err_set(e, ERR_USAGE, "not confirmed: nothing was done (--yes confirms without a question)");
}

static int run_failover(struct invocation *in, struct err *e)
{
    const struct admin_options *o = in->options;
    json_t *reply;
    if (o->site == NULL)
        return err_set(e, ERR_USAGE, "--site is needed: the site that shall become primary");
    int rc = must_confirm(o,
                          "Failover takes the primary role from a site that may still live. Nothing that a majority has is\n"
                          "lost; what was acknowledged at 'local' only may be, and will be listed.",
                          e);
    if (rc != 0)
        return rc;
    rc = ask(in, o->site, "failover", json_object(), &reply, e);
    print_change(reply, "failed over");
    json_decref(reply);
    return rc;
}

const struct command command_failover = {
    .name = "failover",
    .group = "Cluster",
    .purpose = "make a site stand for election when the primary is lost",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct admin_options),
    .tables = {failover_table, output_options, connection_options},
    .about = "For failover policy observe or manual, or when waiting for the automatic one is too long. Needs a majority of the\n"
             "sites. Prefer 'triveni switchover' while the primary answers.",
    .examples = {{"dc is gone", "triveni failover --site dr"}, {"from a script", "triveni failover --site dr --yes -o json"}},
    .exits = "4689",
    .run = run_failover,
};

static int run_mode(struct invocation *in, struct err *e)
{
    const char *mode = in->operands[0];
    json_t *reply;
    char lsn[32];
    if (strcmp(mode, "majority") != 0 && strcmp(mode, "local") != 0)
        return err_set(e, ERR_USAGE, "'%.40s' is not a protection mode: use majority or local", mode);
    int rc = ask(in, NULL, "mode", json_pack("{s:s}", "mode", mode), &reply, e);
    if (reply != NULL)
        (void)printf("protection is %s from lsn %s on\n", json_text(reply, "mode", mode),
                     field_text(reply, "lsn", lsn, sizeof lsn));
    json_decref(reply);
    return rc;
}

const struct command command_mode = {
    .name = "mode",
    .group = "Cluster",
    .purpose = "set the protection: majority (no loss) or local (speed)",
    .operands = "majority|local",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct admin_options),
    .tables = {output_options, connection_options},
    .about = "majority (maximum protection): a transaction is acknowledged and visible when two sites have it on disk. local\n"
             "(maximum performance): when the primary has it; the others follow. The change is itself a transaction. A single\n"
             "transaction may ask for more with --ack. In mode local the loss of the primary loses what it alone had, and 'triveni\n"
             "status' says so as long as it lasts.",
    .examples = {{"no loss", "triveni mode majority"}, {"while a bulk load runs", "triveni mode local"}},
    .exits = "4689",
    .run = run_mode,
};

/* ---- digest ---- */

static int run_digest(struct invocation *in, struct err *e)
{
    const struct admin_options *o = in->options;
    static const char *const heads[] = {"COLLECTION", ">RECORDS", "DIGEST"};
    json_t *reply;
    char text[64];
    int rc = ask(in, o->site, "digest", NULL, &reply, e);
    if (reply != NULL) {
        struct table t;
        table_init(&t, heads, 3);
        size_t i;
        const json_t *c;
        json_array_foreach(json_object_get(reply, "collections"), i, c)
        {
            table_cell(&t, STYLE_NONE, "%s", json_text(c, "name", "unknown"));
            table_cell(&t, STYLE_NONE, "%s", field_text(c, "records", text, sizeof text));
            table_cell(&t, STYLE_NONE, "%s", json_text(c, "digest", "unknown"));
        }
        table_cell(&t, STYLE_HEAD, "all, at lsn %s", field_text(reply, "lsn", text, sizeof text));
        table_cell(&t, STYLE_HEAD, "%s", field_text(reply, "records", text, sizeof text));
        table_cell(&t, STYLE_HEAD, "%s", json_text(reply, "digest", "unknown"));
        table_print(&t, stdout);
        table_free(&t);
    }
    json_decref(reply);
    return rc;
}

const struct command command_digest = {
    .name = "digest",
    .group = "Cluster",
    .purpose = "show the digest of a site's state, by collection",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct admin_options),
    .tables = {site_table, output_options, connection_options},
    .about = "Two sites at the same lsn have the same digest, or their states differ; the collections tell where.",
    .examples = {{"of the primary", "triveni digest"}, {"of the archive site", "triveni digest --site gsr"}},
    .exits = "468",
    .run = run_digest,
};

/* ---- restore points ---- */

static int run_point(struct invocation *in, struct err *e)
{
    struct admin_options *o = in->options;
    struct tvn *db = NULL;
    struct tvn_error error;
    struct tvn_result result;
    memset(&result, 0, sizeof result);
    int rc = connect_open(&o->common, &db, e);
    if (rc == 0 && tvn_point(db, in->operands[0], 0, &result, &error) != 0)
        rc = from_client(&error, e);
    (void)tvn_close(db);
    if (rc == 0)
        print_result(&o->common, &result);
    return rc;
}

const struct command command_point = {
    .name = "point",
    .group = "Archive",
    .purpose = "name the present state, to restore to it later",
    .operands = "NAME",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct admin_options),
    .tables = {output_options, connection_options},
    .about = "The name (1 to 128 bytes) becomes part of the log and of the archive, with the digest of the state at that lsn, which\n"
             "a restore is compared with. A name is used once.",
    .examples = {{"before a change of law takes effect", "triveni point before-land-act-2026"},
                 {"a name that is also a command", "triveni point -- list"}},
    .exits = "4689",
    .run = run_point,
};

static int run_point_list(struct invocation *in, struct err *e)
{
    static const char *const heads[] = {"NAME", ">LSN", "TIME", "DIGEST"};
    const struct admin_options *o = in->options;
    json_t *reply;
    char text[64];
    int rc = ask(in, o->site, "points", NULL, &reply, e);
    if (reply != NULL) {
        struct table t;
        table_init(&t, heads, 4);
        size_t i;
        const json_t *p;
        json_array_foreach(json_object_get(reply, "points"), i, p)
        {
            table_bytes(&t, bytes_str(json_text(p, "name", "unknown")));
            table_cell(&t, STYLE_NONE, "%s", field_text(p, "lsn", text, sizeof text));
            table_cell(&t, STYLE_NONE, "%s", time_text(p, "time", text, sizeof text));
            table_cell(&t, STYLE_NONE, "%s", json_text(p, "digest", "unknown"));
        }
        table_print(&t, stdout);
        table_free(&t);
    }
    json_decref(reply);
    return rc;
}

const struct command command_point_list = {
    .name = "point list",
    .group = "Archive",
    .purpose = "list the restore points",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct admin_options),
    .tables = {site_table, output_options, connection_options},
    .about = "As a running site knows them; 'triveni archive points' reads them from the archive.",
    .examples = {{"all", "triveni point list"}, {"names only", "triveni point list -o json | jq -r '.points[].name'"}},
    .exits = "468",
    .run = run_point_list,
};

/* ---- sessions and outcomes ---- */

/* A table of what objects have, whatever that is: columns are the members of the first. */
static void print_objects(const json_t *list)
{
    const char *heads[TABLE_COLUMNS_MAX];
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach(json_array_get(list, 0), key, value) if (n < TABLE_COLUMNS_MAX) heads[n++] = key;
    if (n == 0)
        return;
    struct table t;
    table_init(&t, heads, n);
    size_t i;
    const json_t *object;
    char text[TABLE_CELL_BYTES];
    json_array_foreach(list, i, object)
    {
        for (size_t k = 0; k < n; k++)
            table_bytes(&t, bytes_str(field_text(object, heads[k], text, sizeof text)));
    }
    table_print(&t, stdout);
    table_free(&t);
}

static int run_session(struct invocation *in, struct err *e)
{
    const struct admin_options *o = in->options;
    json_t *reply;
    int rc = ask(in, o->site, "sessions", NULL, &reply, e);
    const json_t *sessions = json_object_get(reply, "sessions");
    if (reply != NULL && json_array_size(sessions) == 0)
        say("there are no sessions");
    print_objects(sessions);
    json_decref(reply);
    return rc;
}

const struct command command_session = {
    .name = "session",
    .group = "Cluster",
    .purpose = "list the clients' sessions",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct admin_options),
    .tables = {site_table, output_options, connection_options},
    .about = "A session remembers the outcomes of its newest 1,024 transactions, so that a repeated one takes effect once. Sessions\n"
             "are replicated; idle ones end after the configured hours.",
    .examples = {{"all", "triveni session"}, {"how many", "triveni session -o json | jq '.sessions | length'"}},
    .exits = "468",
    .run = run_session,
};

static int run_outcome(struct invocation *in, struct err *e)
{
    struct admin_options *o = in->options;
    struct uuid uuid;
    struct tvn_session_id session;
    uint64_t sequence = 0;
    struct tvn *db = NULL;
    struct tvn_error error;
    struct tvn_result result;
    memset(&result, 0, sizeof result);
    int rc = uuid_parse(in->operands[0], &uuid, e);
    if (rc == 0)
        rc = parse_number("SEQUENCE", in->operands[1], UINT64_MAX, &sequence, e);
    if (rc == 0)
        rc = connect_open(&o->common, &db, e);
    if (rc == 0) {
        memcpy(session.bytes, uuid.b, sizeof session.bytes);
        if (tvn_outcome(db, &session, sequence, 0, &result, &error) != 0)
            rc = from_client(&error, e);
    }
    (void)tvn_close(db);
    if (rc == 0 && o->common.format == OUTPUT_JSON)
        output_json(json_pack("{s:b,s:I,s:I}", "committed", 1, "lsn", (json_int_t)result.lsn, "time_us",
                              (json_int_t)result.time_us));
    else if (rc == 0)
        (void)printf("committed at lsn %llu\n", (unsigned long long)result.lsn);
    return rc;
}

const struct command command_outcome = {
    .name = "outcome",
    .group = "Records",
    .purpose = "ask what became of a transaction whose outcome was unknown",
    .operands = "SESSION SEQUENCE",
    .least = 2,
    .most = 2,
    .options_bytes = sizeof(struct admin_options),
    .tables = {output_options, connection_options},
    .about = "Both are in the message that ended with exit code 9, and in the JSON that each write prints. Exit code 3 says that it\n"
             "did not take effect and never will: do it again.",
    .examples = {{"after a lost answer", "triveni outcome 6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42 1"}},
    .exits = "3468",
    .run = run_outcome,
};

/* ---- sealing ---- */

enum { SEAL_WAIT_MS = 60000, SEAL_POLL_MS = 100 };

/* The site of kind repository, by name, copied into out. */
static int find_repository(const struct common *c, char out[64], struct err *e)
{
    struct views views;
    int rc = views_collect(c, &views, e);
    out[0] = '\0';
    for (size_t i = 0; i < views.count && rc == 0; i++) {
        size_t k;
        const json_t *row;
        json_array_foreach(json_object_get(views.v[i].status, "sites"), k, row)
        {
            if (strcmp(json_text(row, "kind", ""), "repository") == 0)
                (void)snprintf(out, 64, "%s", json_text(row, "name", ""));
        }
    }
    views_free(&views);
    return rc != 0 || out[0] != '\0' ? rc : err_set(e, ERR_NOT_FOUND, "no site of this cluster keeps an archive");
}

/* Until what was applied is archived; *archived as last heard. */
static int wait_archived(struct tvn *db, const char *site, int64_t applied, int64_t *archived, struct err *e)
{
    uint64_t until = monotonic_ms() + SEAL_WAIT_MS;
    for (*archived = 0;;) {
        json_t *status;
        int rc = admin_call(db, "status", NULL, &status, e);
        size_t i;
        const json_t *row;
        json_array_foreach(json_object_get(status, "sites"), i, row)
        {
            if (strcmp(json_text(row, "name", ""), site) == 0)
                (void)json_number(row, "archived", archived);
        }
        json_decref(status);
        if (rc != 0 || *archived >= applied)
            return rc;
        if (monotonic_ms() > until)
            return err_set(e, ERR_TIMEOUT, "lsn %lld is not archived after %d s, only %lld: see 'triveni status'",
                           (long long)applied, SEAL_WAIT_MS / 1000, (long long)*archived);
        (void)usleep(SEAL_POLL_MS * 1000);
    }
}

static int run_archive_seal(struct invocation *in, struct err *e)
{
    struct admin_options *o = in->options;
    char site[64];
    struct tvn *db = NULL;
    json_t *reply = NULL;
    int64_t applied = 0;
    int64_t archived = 0;
    int rc = 0;
    if (o->site != NULL)
        (void)snprintf(site, sizeof site, "%.63s", o->site);
    else
        rc = find_repository(&o->common, site, e);
    if (rc == 0)
        rc = open_site(&o->common, site, &db, e);
    if (rc == 0)
        rc = admin_call(db, "seal", NULL, &reply, e);
    if (rc == 0 && !json_number(reply, "applied", &applied))
        rc = err_set(e, ERR_FORMAT, "site %s did not say what it has applied", site);
    if (rc == 0)
        rc = wait_archived(db, site, applied, &archived, e);
    json_decref(reply);
    (void)tvn_close(db);
    if (rc == 0 && o->common.format == OUTPUT_JSON)
        output_json(json_pack("{s:s,s:I}", "site", site, "archived", (json_int_t)archived));
    else if (rc == 0)
        (void)printf("everything up to lsn %lld is archived at %s\n", (long long)archived, site);
    return rc;
}

const struct command command_archive_seal = {
    .name = "archive seal",
    .group = "Archive",
    .purpose = "archive now what waits to be archived",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct admin_options),
    .tables = {seal_table, output_options, connection_options},
    .about = "The archive is written when a pack is full or its oldest transaction has waited for pack_seconds. This writes what\n"
             "there is and waits until it is archived.",
    .examples = {{"before a restore of the present", "triveni archive seal"}},
    .exits = "3468",
    .run = run_archive_seal,
};
