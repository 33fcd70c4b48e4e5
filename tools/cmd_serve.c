/* serve and init: a site. */
#include "tools/commands.h"

#include "replication/site.h"
#include "tools/config.h"

#include <stdlib.h>

struct serve_options {
    struct common common;
    const char *config;
    bool rebuilt, joins, new_cluster, all_lost, members_changed, check;
};
#define AT(member) offsetof(struct serve_options, member)
static const struct option serve_table[] = {
    {"config", 'c', OPTION_TEXT, AT(config), "FILE", "TRIVENI_CONFIG",
     "configuration of the site (required)"},
    {"check", 0, OPTION_FLAG, AT(check), NULL, NULL, "read and check the configuration, then stop"},
    {0},
};
static const struct option init_table[] = {
    {"config", 'c', OPTION_TEXT, AT(config), "FILE", "TRIVENI_CONFIG",
     "configuration of the site (required)"},
    {"new-cluster", 0, OPTION_FLAG, AT(new_cluster), NULL, NULL,
     "the whole cluster starts for the first time: the site votes at once"},
    {"rebuilt", 0, OPTION_FLAG, AT(rebuilt), NULL, NULL,
     "the cluster has a history: the site does not vote until it has caught up"},
    {"join", 0, OPTION_FLAG, AT(joins), NULL, NULL,
     "a new site of a cluster that runs, to be added with 'triveni member add'"},
    {"all-lost", 0, OPTION_FLAG, AT(all_lost), NULL, NULL,
     "no site has anything left: all begin from the same restored state, and vote at once"},
    {"members-changed", 0, OPTION_FLAG, AT(members_changed), NULL, NULL,
     "all sites are stopped, and the list of members was changed at all of them: accept it here"},
    {0},
};
#undef AT

/* The configuration is large: on the heap. *out is freed by the caller. */
static int read_config(const struct serve_options *o, struct site_config **out, struct err *e)
{
    *out = NULL;
    if (o->config == NULL)
        return err_set(e, ERR_USAGE,
                       "--config FILE is needed; 'triveni quickstart' writes examples");
    struct site_config *config = calloc(1, sizeof *config);
    if (config == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    int rc = config_load(o->config, config, e);
    if (rc != 0)
        free(config);
    else
        *out = config;
    return rc;
}

static int run_serve(struct invocation *in, struct err *e)
{
    const struct serve_options *o = in->options;
    struct site_config *config;
    int rc = read_config(o, &config, e);
    if (rc == 0 && o->check)
        say("%s is well formed: site %s of cluster %s", o->config,
            config->members[config->self].name, config->cluster);
    else if (rc == 0)
        rc = site_run(config, e);
    free(config);
    return rc;
}

const struct command command_serve = {
    .name = "serve",
    .group = "Sites",
    .purpose = "run a site",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct serve_options),
    .tables = {serve_table},
    .about = "Runs until SIGTERM or SIGINT, logs to standard error. The data directory is made by "
             "'triveni init'. triveni.yaml(5)\n"
             "explains every key; a whole file for the archive site:",
    .literal = config_example,
    .examples = {{"run", "triveni serve --config /etc/triveni/triveni.yaml"},
                 {"check a changed configuration first",
                  "triveni serve --config new.yaml --check"}},
    .exits = "78",
    .run = run_serve,
};

static int change_members(const struct site_config *config, struct err *e)
{
    char before[SITE_MEMBERS_BYTES], now[SITE_MEMBERS_BYTES];
    site_members_text(config, now);
    int rc = site_change_members(config, before, e);
    if (rc == 0)
        say("%s counted the members %s; from now on: %s. Do the same at the other sites before "
            "you start one",
            config->data_dir, before, now);
    return rc;
}

static int run_init(struct invocation *in, struct err *e)
{
    const struct serve_options *o = in->options;
    struct site_config *config;
    if (o->rebuilt + o->joins + o->new_cluster + o->all_lost + o->members_changed != 1)
        return err_set(
            e, ERR_USAGE,
            "give one of --rebuilt and --new-cluster. --rebuilt: this cluster has run before, and "
            "the site joins it again with an empty disk or a restored state. --new-cluster: the "
            "whole cluster starts for the first time. When in doubt: --rebuilt");
    int rc = read_config(o, &config, e);
    if (rc == 0 && o->members_changed)
        rc = change_members(config, e);
    else if (rc == 0)
        rc = site_init(config,
                       o->rebuilt    ? SITE_REBUILT
                       : o->joins    ? SITE_JOINS
                       : o->all_lost ? SITE_ALL_LOST
                                     : SITE_NEW_CLUSTER,
                       e);
    if (rc == 0 && !o->members_changed)
        say("%s is ready%s: triveni serve --config %s", config->data_dir,
            o->rebuilt || o->joins ? " to catch up" : "", o->config);
    free(config);
    return rc;
}

const struct command command_init = {
    .name = "init",
    .group = "Sites",
    .purpose = "make the data directory of a site",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct serve_options),
    .tables = {init_table},
    .about =
        "Never touches a directory that holds a site. A site that lost its disk, or whose "
        "state was restored, must be made with\n"
        "--rebuilt: it has forgotten what it promised and acknowledged, so it neither votes "
        "nor counts until it has caught up\n"
        "with the others. --new-cluster is for the first start of a whole cluster, at each of "
        "its sites; used on one site of a\n"
        "cluster that has a history, it could let that site vote against what it had "
        "acknowledged, and lose it.\n"
        "\n"
        "Bringing back a damaged site, while the others run:\n"
        "  1. Stop it, and move its data directory away; keep it until the end. An archive "
        "beside it stays where it is.\n"
        "  2. When there is much data, or it is the repository's own site: triveni restore\n"
        "     --into DATA, with DATA its data directory (data_dir), shortens the way.\n"
        "  3. triveni init --rebuilt, then triveni serve.\n"
        "  4. It refills by itself, from the repository what the primary does not keep. Wait until "
        "status no longer says that it does not vote.\n"
        "When all sites are lost: restore the same lsn at each of them, triveni init --all-lost "
        "at each, then start them. What was\n"
        "acknowledged after the end of the archive is gone.\n"
        "\n"
        "The list of members is changed while sites run: triveni member. With all sites stopped it "
        "can be changed only where that\n"
        "was never done: let them become equal, stop all, "
        "change the list in every\n"
        "configuration, run init --members-changed at each site that was a member before and "
        "init --rebuilt at each new one, and\n"
        "start them. More than half of the old and of the new list must be members of both.",
    .examples = {{"the first start of a cluster, at each site",
                  "triveni init --config /etc/triveni/triveni.yaml --new-cluster"},
                 {"after the disk was replaced, or after a restore",
                  "triveni init --config /etc/triveni/triveni.yaml --rebuilt"},
                 {"after the list of members was changed everywhere",
                  "triveni init --config /etc/triveni/triveni.yaml --members-changed"}},
    .exits = "378",
    .run = run_init,
};
