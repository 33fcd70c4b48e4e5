/* events, switchover, mode, digest: what operators ask of the cluster. */
#include "tools/commands.h"

#include "tools/admin.h"
#include "tools/divergence.h"
#include "tools/load_progress.h"
#include "tools/table.h"

#include <string.h>

struct admin_options {
    struct common common;
    const char *site, *to;
    struct option_number limit;
};
#define AT(member) offsetof(struct admin_options, member)
static const struct option site_table[] = {
    {"site", 0, OPTION_TEXT, AT(site), "NAME", NULL, "ask this site; default: the primary"},
    {0},
};
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
    int rc =
        admin_ask(in, o->site, "events", json_pack("{s:I}", "limit", (json_int_t)limit), &reply, e);
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
    .examples = {{"the newest", "triveni events -n 20"},
                 {"as dr saw it", "triveni events --site dr"}},
    .exits = "468",
    .run = run_events,
};

/* ---- switchover, mode ---- */

static const struct option switchover_table[] = {
    {"to", 0, OPTION_TEXT, AT(to), "SITE", NULL,
     "the new primary; default: the site that is furthest ahead"},
    {0},
};

static void print_change(const json_t *reply)
{
    char term[32];
    char lsn[32];
    char pause[32];
    int64_t waited_ms = 0;
    if (reply == NULL)
        return;
    const char *to = json_text(reply, "to", "");
    if (to[0] != '\0' && strcmp(to, json_text(reply, "from", "")) == 0) {
        (void)printf("%s is primary already: nothing to do\n", to);
        return;
    }
    (void)printf("switched over from %s to %s: term %s, lsn %s",
                 json_text(reply, "from", "unknown"), to[0] != '\0' ? to : "unknown",
                 field_text(reply, "term", term, sizeof term),
                 field_text(reply, "lsn", lsn, sizeof lsn));
    if (json_object_get(reply, "pause_ms") != NULL)
        (void)printf(", writes paused for %s ms",
                     field_text(reply, "pause_ms", pause, sizeof pause));
    if (json_number(reply, "waited_ms", &waited_ms) && waited_ms > 0)
        (void)printf(", after %lld ms in which it caught up while writes went on",
                     (long long)waited_ms);
    (void)putchar('\n');
}

static int run_switchover(struct invocation *in, struct err *e)
{
    const struct admin_options *o = in->options;
    json_t *reply;
    int rc = admin_order(in, NULL, "switchover", json_pack("{s:s?}", "to", o->to), &reply, e);
    print_change(reply);
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
    .about =
        "The primary goes on taking writes until the successor is near, for five seconds at "
        "most. Then it stops, brings the\n"
        "successor to the same lsn, and the successor stands for election. A successor that "
        "does not come near enough is\n"
        "refused, and writes have gone on; 'triveni status' shows the phase. Clients are "
        "redirected. Nothing acknowledged is\n"
        "lost and nothing is in doubt. The pause is measured. When the answer does not come in "
        "time the outcome is unknown:\n"
        "look at 'triveni status', do not roll back.",
    .examples = {{"for maintenance of dc", "triveni switchover --to dr"},
                 {"and back", "triveni switchover --to dc"}},
    .exits = "4689",
    .run = run_switchover,
};

static int run_mode(struct invocation *in, struct err *e)
{
    const char *mode = in->operands[0];
    json_t *reply;
    char lsn[32];
    if (strcmp(mode, "majority") != 0 && strcmp(mode, "local") != 0)
        return err_set(e, ERR_USAGE, "'%.40s' is not a protection mode: use majority or local",
                       mode);
    int rc = admin_order(in, NULL, "mode", json_pack("{s:s}", "mode", mode), &reply, e);
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
    .about = "majority (maximum protection): a transaction is acknowledged and visible when two "
             "sites have it on disk. local\n"
             "(maximum performance): when the primary has it; the others follow. The change is "
             "itself a transaction. A single\n"
             "transaction may ask for more with --ack. In mode local the loss of the primary loses "
             "what it alone had, and 'triveni\n"
             "status' says so as long as it lasts.",
    .examples = {{"no loss", "triveni mode majority"},
                 {"while a bulk load runs", "triveni mode local"}},
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
    int rc = admin_ask(in, o->site, "digest", NULL, &reply, e);
    if (reply != NULL) {
        struct table t;
        table_init(&t, heads, 3);
        size_t i;
        const json_t *c;
        json_array_foreach(json_object_get(reply, "collections"), i, c)
        {
            const char *name = json_text(c, "name", "unknown");
            const char *keeper = /* not the user's records */
                strcmp(name, LOAD_PROGRESS_COLLECTION) == 0        ? " (kept by triveni load)"
                : strcmp(name, DIVERGENCE_APPLIED_COLLECTION) == 0 ? " (kept by divergence apply)"
                                                                   : "";
            table_cell(&t, STYLE_NONE, "%s%s", name, keeper);
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
    .about = "Two sites at the same lsn have the same digest, or their states differ; the "
             "collections tell where.",
    .examples = {{"of the primary", "triveni digest"},
                 {"of the archive site", "triveni digest --site gsr"}},
    .exits = "468",
    .run = run_digest,
};
