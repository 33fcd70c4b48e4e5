/* serve and init: a site. */
#include "tools/commands.h"

#include "replication/site.h"
#include "tools/config.h"

#include <stdlib.h>

struct serve_options {
    struct common common;
    const char *config;
    bool rebuilt, check;
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
    {"rebuilt", 0, OPTION_FLAG, AT(rebuilt), NULL, NULL,
     "replaces a site whose disk was lost: it does not vote until it has caught up"},
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

static int run_init(struct invocation *in, struct err *e)
{
    const struct serve_options *o = in->options;
    struct site_config *config;
    int rc = read_config(o, &config, e);
    if (rc == 0)
        rc = site_init(config, o->rebuilt, e);
    if (rc == 0)
        say("%s is ready%s: triveni serve --config %s", config->data_dir,
            o->rebuilt ? " to catch up" : "", o->config);
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
    .about = "Never touches a directory that holds data. A site that lost its disk must be made "
             "with --rebuilt: it has forgotten\n"
             "what it promised, so it neither votes nor acknowledges until it has caught up with "
             "the others.",
    .examples = {{"a new site", "triveni init --config /etc/triveni/triveni.yaml"},
                 {"after the disk was replaced",
                  "triveni init --config /etc/triveni/triveni.yaml --rebuilt"}},
    .exits = "",
    .run = run_init,
};
