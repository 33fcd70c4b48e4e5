/* point: restore points, as the cluster knows them. */
#include "tools/commands.h"

#include "tools/admin.h"
#include "tools/record.h"
#include "tools/table.h"

#include <string.h>

struct point_options {
    struct common common;
    const char *site;
};
static const struct option site_table[] = {
    {"site", 0, OPTION_TEXT, offsetof(struct point_options, site), "NAME", NULL,
     "ask this site; default: the primary"},
    {0},
};

static int run_point(struct invocation *in, struct err *e)
{
    struct point_options *o = in->options;
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
    .options_bytes = sizeof(struct point_options),
    .tables = {output_options, connection_options},
    .about = "The name (1 to 128 bytes) becomes part of the log and of the archive, with the "
             "digest of the state at that lsn, which\n"
             "a restore is compared with. A name is used once.",
    .examples = {{"before a change of law takes effect", "triveni point before-land-act-2026"},
                 {"a name that is also a command", "triveni point -- list"}},
    .exits = "4689",
    .run = run_point,
};

static int run_point_list(struct invocation *in, struct err *e)
{
    static const char *const heads[] = {"NAME", ">LSN", "TIME", "DIGEST"};
    const struct point_options *o = in->options;
    json_t *reply;
    char text[64];
    int rc = admin_ask(in, o->site, "points", NULL, &reply, e);
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
    .options_bytes = sizeof(struct point_options),
    .tables = {site_table, output_options, connection_options},
    .about = "As a running site knows them; 'triveni archive points' reads them from the archive.",
    .examples = {{"all", "triveni point list"},
                 {"names only", "triveni point list -o json | jq -r '.points[].name'"}},
    .exits = "468",
    .run = run_point_list,
};
