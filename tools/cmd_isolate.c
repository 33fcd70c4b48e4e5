/* isolate: a partition for drills, made in software at the site itself. */
#include "tools/commands.h"

#include "replication/core/isolation.h"
#include "tools/admin.h"
#include "tools/text.h"

struct isolate_options {
    struct common common;
    struct option_number lasts;
    const char *links;
    bool end, yes;
};
#define AT(member) offsetof(struct isolate_options, member)
static const struct option isolate_table[] = {
    {"for", 0, OPTION_DURATION, AT(lasts), "TIME", NULL,
     "how long: 30s, 5m, 2h; from a second to 24h; a new order replaces the one before"},
    {"links", 0, OPTION_TEXT, AT(links), "WHICH", NULL,
     "from whom: sites, clients or both; default both"},
    {"end", 0, OPTION_FLAG, AT(end), NULL, NULL, "end it now"},
    {"yes", 'y', OPTION_FLAG, AT(yes), NULL, NULL, "do not ask for confirmation"},
    {0},
};

static int check_options(const struct isolate_options *o, struct err *e)
{
    if (o->end && (o->lasts.given || o->links != NULL))
        return err_set(e, ERR_USAGE, "--end goes with neither --for nor --links");
    if (!o->end && !o->lasts.given)
        return err_set(e, ERR_USAGE, "--for is needed: how long, such as --for 30s; or --end");
    if (!o->end && (o->lasts.v < ISOLATION_MIN_MS || o->lasts.v > ISOLATION_MAX_MS))
        return err_set(e, ERR_USAGE, "--for must be from 1s to 24h");
    if (o->links != NULL && isolation_links(o->links) == 0)
        return err_set(e, ERR_USAGE, "--links '%.40s' is none of sites, clients, both", o->links);
    return 0;
}

static json_t *order_of(const char *site, const struct isolate_options *o)
{
    if (o->end)
        return json_pack("{s:s, s:b}", "site", site, "end", true);
    return json_pack("{s:s, s:I, s:s}", "site", site, "for_ms", (json_int_t)o->lasts.v, "links",
                     o->links != NULL ? o->links : "both");
}

/* Only the primary writes the audit trail: any other site's order is given to it as well, for the record. */
static void record(const char *site, const struct isolate_options *o, json_t *reply)
{
    struct err e = ERR_NONE;
    json_t *noted = NULL;
    if (json_is_true(json_object_get(reply, "audited")))
        return;
    bool done = admin_give(&o->common, NULL, "isolate", order_of(site, o), &noted, &e) == 0 &&
                json_is_true(json_object_get(noted, "audited"));
    if (done)
        (void)json_object_set_new(reply, "audited", json_true());
    else
        say("not in the audit trail, only in the events of %s: %s", site,
            e.code != 0 ? e.text : "no primary serves");
    json_decref(noted);
}

static void print_reply(const char *site, const json_t *reply)
{
    const json_t *isolated = json_object_get(reply, "isolated");
    int64_t until = 0, left = 0;
    char text[UTC_TEXT_BYTES];
    if (!json_number(isolated, "until_us", &until) || !json_number(isolated, "left_ms", &left)) {
        (void)printf("%s is not isolated\n", site);
        return;
    }
    (void)printf("%s is isolated (links: %s) for %lld s, until %s; triveni isolate %s --end ends "
                 "it before\n",
                 site, json_text(isolated, "links", "unknown"), (long long)((left + 999) / 1000),
                 utc_text((struct utc){(uint64_t)until}, text), site);
}

static int run_isolate(struct invocation *in, struct err *e)
{
    const struct isolate_options *o = in->options;
    const char *site = in->operands[0];
    json_t *reply = NULL;
    int rc = check_options(o, e);
    if (rc == 0 && !o->end && !o->yes &&
        !confirm("The site is cut off until the time is up. A primary that is cut off from sites "
                 "loses its role to another one."))
        rc = err_set(e, ERR_USAGE,
                     "not confirmed: nothing was done (--yes confirms without a question)");
    if (rc == 0)
        rc = admin_give(&o->common, site, "isolate", order_of(site, o), &reply, e);
    if (rc == 0)
        record(site, o, reply);
    if (rc == 0 && o->common.format == OUTPUT_JSON)
        output_json(json_incref(reply));
    else if (rc == 0)
        print_reply(site, reply);
    json_decref(reply);
    return rc;
}

const struct command command_isolate = {
    .name = "isolate",
    .group = "Cluster",
    .purpose = "cut a site off for a drill; it heals by itself",
    .operands = "SITE",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct isolate_options),
    .tables = {isolate_table, output_options, connection_options},
    .about =
        "A partition in software: the site closes its links to the other sites, to clients, or "
        "both, with the reason, opens none and\n"
        "refuses new ones until the time is up. No access to hosts or firewalls is needed. A "
        "restart of the site does not end it\n"
        "sooner or later. Operators can still connect to the site, to watch the drill and to "
        "end it: triveni status, events, isolate;\n"
        "records are refused to them as to everybody. Other than in a real partition the other "
        "sites notice at once, since links are\n"
        "closed rather than silent. The order goes into the audit trail and the events of the "
        "site.",
    .examples = {{"lose the primary for half a minute", "triveni isolate dc --for 30s"},
                 {"a primary that clients reach and other sites do not",
                  "triveni isolate dc --for 2m --links sites --yes"},
                 {"enough", "triveni isolate dc --end"}},
    .exits = "4689",
    .run = run_isolate,
};
