/* failover: says first what would be lost, to the transaction as far as anybody knows it; refuses what is unsafe; and says at
 * the end what was lost. */
#include "tools/commands.h"

#include "tools/failover.h"

#include <string.h>
#include <unistd.h>

#define AT(member) offsetof(struct failover_options, member)
static const struct option failover_table[] = {
    {"site", 0, OPTION_TEXT, AT(site), "NAME", NULL,
     "the site that shall stand for election (required)"},
    {"dry-run", 0, OPTION_FLAG, AT(dry_run), NULL, NULL,
     "say what would be lost, and whether it may be ordered; order nothing"},
    {"depose", 0, OPTION_FLAG, AT(depose), NULL, NULL,
     "although the primary is alive: when its clients or --site cannot reach it"},
    {"solo", 0, OPTION_FLAG, AT(solo), NULL, NULL,
     "that site goes on alone, because all other sites that vote are lost for good: two operators"},
    {"ask", 0, OPTION_TEXT, AT(ask), "FILE", NULL,
     "with --solo: write the warrant, for another operator to sign (triveni warrant sign)"},
    {"warrant", 0, OPTION_TEXT, AT(warrant), "FILE", NULL,
     "with --solo: carry out the warrant that both have signed"},
    {"valid", 0, OPTION_DURATION, AT(valid), "TIME", NULL,
     "with --ask: how long the warrant is valid; default 1h, at most 24h"},
    {"yes", 'y', OPTION_FLAG, AT(yes), NULL, NULL, "do not ask for confirmation"},
    {0},
};
#undef AT

static void print_result(const struct forecast *f, const json_t *reply, uint64_t lsn)
{
    char term[32];
    unsigned long long lost = forecast_lost(f, lsn), kept = lsn - 1;
    const char *primary = f->primary[0] != '\0' ? f->primary : "unknown";
    (void)printf("failed over from %s to %s: term %s, lsn %llu\n", primary, f->site,
                 field_text(reply, "term", term, sizeof term), (unsigned long long)lsn);
    if (f->primary[0] == '\0' || f->heard_last == 0)
        (void)printf(
            "lost: unknown, no site that answered had heard the former primary; what it had "
            "beyond lsn %llu it exports when it comes back\n",
            kept);
    else if (lost > 0)
        (void)printf(
            "lost: lsn %llu to %llu, %llu transactions that %s had when it was last heard; it "
            "exports them when it comes back: 'triveni divergence list' there\n",
            kept + 1, (unsigned long long)f->heard_last, lost, f->primary);
    else
        (void)printf(
            "lost: nothing that %s had when it was last heard (lsn %llu; %s goes on from lsn "
            "%llu)%s\n",
            f->primary, (unsigned long long)f->heard_last, f->site, kept,
            f->mode != NULL && strcmp(f->mode, "majority") == 0
                ? ""
                : "; what it acknowledged after that it exports when it comes back");
}

int failover_tell(const struct failover_options *o, const struct forecast *f, json_t *reply,
                  struct err *e)
{
    int64_t lsn = 0;
    if (!json_number(reply, "lsn", &lsn) || lsn <= 0)
        return err_set(e, ERR_FORMAT, "%s is primary, but does not tell where its term begins",
                       o->site);
    if (o->common.format != OUTPUT_JSON) {
        print_result(f, reply, (uint64_t)lsn);
        return 0;
    }
    bool known = f->heard_last != 0;
    uint64_t lost = forecast_lost(f, (uint64_t)lsn);
    (void)json_object_set_new(reply, "forecast", forecast_as_json(f));
    (void)json_object_set_new(
        reply, "lost",
        json_pack("{s:o, s:I, s:o}", "transactions",
                  known ? json_integer((json_int_t)lost) : json_null(), "kept_last",
                  (json_int_t)lsn - 1, "former_last",
                  known ? json_integer((json_int_t)f->heard_last) : json_null()));
    output_json(json_incref(reply));
    return 0;
}

void failover_foretell(const struct failover_options *o, const struct forecast *f)
{
    if (!o->dry_run)
        forecast_print(stderr, f);
    else if (o->common.format == OUTPUT_JSON)
        output_json(forecast_as_json(f));
    else
        forecast_print(stdout, f);
}

static int run_failover(struct invocation *in, struct err *e)
{
    const struct failover_options *o = in->options;
    struct views views = {.count = 0};
    struct forecast f;
    json_t *reply = NULL;
    if (o->site == NULL)
        return err_set(e, ERR_USAGE, "--site is needed: the site that shall become primary");
    if (o->solo)
        return failover_solo(o, e);
    if (o->ask != NULL || o->warrant != NULL || o->valid.given)
        return err_set(e, ERR_USAGE, "--ask, --warrant and --valid go with --solo");
    int rc = views_collect(&o->common, &views, e);
    if (rc == 0) {
        rc = forecast_make(&views, o->site, o->depose, &f, e);
        if (f.end != 0 && (rc == 0 || o->dry_run))
            failover_foretell(o, &f);
    }
    views_free(&views);
    if (rc != 0 || o->dry_run)
        return rc;
    if (!o->yes && !confirm("Failover takes the primary role from a site that may still live. What "
                            "it loses is said above, and is\nlisted when that site comes back."))
        return err_set(e, ERR_USAGE,
                       "not confirmed: nothing was done (--yes confirms without a question)");
    rc = admin_give(&o->common, o->site, "failover", json_object(), &reply, e);
    if (rc == 0)
        rc = failover_tell(o, &f, reply, e);
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
    .options_bytes = sizeof(struct failover_options),
    .tables = {failover_table, output_options, connection_options},
    .about =
        "For failover policy observe or manual, or when waiting for the automatic one is too "
        "long. Needs a majority of the\n"
        "sites. First it says what would be lost: how far the primary was when the others heard it "
        "last, how far they are, and\n"
        "which transactions only the primary had; unknown is said to be unknown. Refused, with "
        "what to do instead: a site that never\n"
        "becomes primary, was rebuilt, differs from the others or whose log is full; without a "
        "majority; and while the primary is\n"
        "alive, for which there is 'triveni switchover'. At the end it says what was lost; the "
        "former primary lists it, record by\n"
        "record, when it comes back ('triveni divergence').\n"
        "--solo is the way out when all other sites that vote are lost for good, and no majority "
        "can "
        "ever be. They must be switched off,\n"
        "and stay off until this site can reach them: if they live, and reach each other and not "
        "this "
        "site, they are a second cluster, and\n"
        "no software can prevent that. One operator writes the warrant with --ask, a second one "
        "signs "
        "it with 'triveni warrant sign', either\n"
        "carries it out with --warrant. It is void when the site has taken one more transaction. "
        "The "
        "site then serves on one disk, and says\n"
        "so; levels above local are refused. Add sites at once: 'triveni member add'.",
    .examples = {{"what would be lost", "triveni failover --site dr --dry-run"},
                 {"dc is gone", "triveni failover --site dr"},
                 {"from a script", "triveni failover --site dr --yes -o json"},
                 {"all but dr are lost", "triveni failover --site dr --solo --ask solo.warrant"},
                 {"both have signed", "triveni failover --site dr --solo --warrant solo.warrant"}},
    .exits = "3456789",
    .run = run_failover,
};
