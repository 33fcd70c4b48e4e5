/* index: secondary indexes, declared by operators and built by each site for itself. */
#include "tools/commands.h"

#include "tools/admin.h"
#include "tools/index_wait.h"
#include "tools/progress.h"
#include "tools/table.h"

#include <string.h>
#include <unistd.h>

enum { POLL_US = 100 * 1000 };

struct index_options_cli {
    struct common common;
    const char *site;
    bool unique, wait;
};
#define AT(member) offsetof(struct index_options_cli, member)
static const struct option create_table[] = {
    {"unique", 'u', OPTION_FLAG, AT(unique), NULL, NULL, "no two records may have the same values"},
    {"wait", 'w', OPTION_FLAG, AT(wait), NULL, NULL,
     "until the primary has built it and, if unique, refuses duplicates"},
    {0},
};
static const struct option list_table[] = {
    {"site", 0, OPTION_TEXT, AT(site), "NAME", NULL, "ask this site; default: the primary"},
    {0},
};
#undef AT

/* ---- waiting ---- */

static int wait_for(struct tvn *db, const char *collection, struct index_wait *w, struct err *e)
{
    struct progress p;
    int rc = 0;
    progress_begin_count(&p, "index", "records");
    while (rc == 0) {
        json_t *reply;
        rc = admin_call_primary(db, "index-list", json_pack("{s:s}", "collection", collection),
                                &reply, e);
        if (rc != 0)
            break;
        rc = index_wait_look(w, reply, e);
        progress_show(&p, w->passed, w->records, 0);
        json_decref(reply);
        if (rc == 0)
            (void)usleep(POLL_US);
    }
    progress_end(&p);
    return rc == 1 ? 0 : rc;
}

/* ---- index create ---- */

/* The arguments of index-create. */
static int declaration(const struct invocation *in, json_t **out, struct err *e)
{
    const struct index_options_cli *o = in->options;
    json_t *on = json_array();
    bool text = on != NULL;
    for (int i = 2; i < in->count && text; i++)
        text = json_array_append_new(on, json_string(in->operands[i])) == 0;
    *out = !text ? NULL
                 : json_pack("{s:s, s:s, s:O, s:b}", "collection", in->operands[0], "name",
                             in->operands[1], "on", on, "unique", o->unique);
    json_decref(on);
    return *out != NULL ? 0 : err_set(e, ERR_USAGE, "the names and pointers must be UTF-8");
}

static int run_index_create(struct invocation *in, struct err *e)
{
    const struct index_options_cli *o = in->options;
    const char *collection = in->operands[0], *name = in->operands[1];
    json_t *arguments, *reply = NULL;
    struct tvn *db = NULL;
    int rc = declaration(in, &arguments, e);
    if (rc != 0)
        return rc;
    rc = connect_open(&o->common, &db, e);
    if (rc == 0)
        rc = admin_call(db, "index-create", arguments, &reply, e);
    else
        json_decref(arguments);
    struct index_wait w = {.name = name, .unique = o->unique, .lsn = index_count(reply, "lsn")};
    if (rc == 0 && o->wait)
        rc = wait_for(db, collection, &w, e);
    (void)tvn_close(db);
    if (rc == 0 && o->common.format == OUTPUT_JSON)
        output_json(json_incref(reply));
    else if (rc == 0)
        (void)printf("%s at lsn %llu%s\n",
                     json_is_true(json_object_get(reply, "created")) ? "declared"
                                                                     : "was declared already",
                     (unsigned long long)index_count(reply, "lsn"),
                     o->wait ? ", and built" : "; triveni index list shows how far it is built");
    json_decref(reply);
    return rc;
}

const struct command command_index_create = {
    .name = "index create",
    .group = "Indexes",
    .purpose = "declare a secondary index over fields of JSON values",
    .operands = "COLLECTION NAME POINTER...",
    .least = 3,
    .most = 6,
    .options_bytes = sizeof(struct index_options_cli),
    .tables = {create_table, output_options, connection_options},
    .about = "POINTER is a JSON pointer (RFC 6901): /owner, /address/zip, /ids/0; up to four, the "
             "first counts most. A record is in the\n"
             "index when each of them leads to a string, a number or a boolean. Each site builds "
             "it in the background, while records\n"
             "are written; 'triveni scan --index' reads it. It costs each write of the collection "
             "up to two rows. Needs an operator.\n"
             "\n"
             "--unique is promised once it is enforced: when the primary has built the index and "
             "no two records have the same values.\n"
             "From then on a write that would change that fails, with exit code 5.",
    .examples = {{"titles by owner", "triveni index create titles by-owner /owner --wait"},
                 {"one passport for a number", "triveni index create passports by-number /number "
                                               "--unique --wait"},
                 {"by two fields", "triveni index create people by-name /name/family /born"}},
    .exits = "23456789",
    .run = run_index_create,
};

/* ---- index drop ---- */

static int run_index_drop(struct invocation *in, struct err *e)
{
    const struct common *c = in->options;
    json_t *reply;
    json_t *arguments =
        json_pack("{s:s, s:s}", "collection", in->operands[0], "name", in->operands[1]);
    if (arguments == NULL)
        return err_set(e, ERR_USAGE, "the names must be UTF-8");
    int rc = admin_ask(in, NULL, "index-drop", arguments, &reply, e);
    if (rc == 0 && c->format == OUTPUT_TABLE)
        (void)printf("dropped at lsn %llu\n", (unsigned long long)index_count(reply, "lsn"));
    json_decref(reply);
    return rc;
}

const struct command command_index_drop = {
    .name = "index drop",
    .group = "Indexes",
    .purpose = "drop a secondary index",
    .operands = "COLLECTION NAME",
    .least = 2,
    .most = 2,
    .options_bytes = sizeof(struct index_options_cli),
    .tables = {output_options, connection_options},
    .about = "No record is lost. Each site removes the index's rows in the background. One that "
             "'index list' shows as invalid and without\n"
             "a collection is dropped with an empty COLLECTION. Needs an operator.",
    .examples = {{"one", "triveni index drop titles by-owner"}},
    .exits = "346789",
    .run = run_index_drop,
};

/* ---- index list ---- */

static void pointers(struct table *t, const json_t *on)
{
    char text[TABLE_CELL_BYTES] = "";
    size_t i, n = 0;
    const json_t *p;
    json_array_foreach(on, i, p)
    {
        int k = snprintf(text + n, sizeof text - n, "%s%s", i == 0 ? "" : " ",
                         json_string_length(p) != 0 ? json_string_value(p) : "(whole value)");
        if (k < 0 || (n += (size_t)k) >= sizeof text)
            break;
    }
    table_bytes(t, bytes_str(text));
}

static void status(struct table *t, const json_t *x)
{
    const char *text = json_text(x, "status", "unknown");
    const uint64_t passed = index_count(x, "passed"), records = index_count(x, "records");
    if (strcmp(text, "building") == 0)
        table_cell(t, STYLE_WARN, "building, %llu %%",
                   (unsigned long long)(records > passed ? passed * 100 / records : 100));
    else if (strcmp(text, "invalid") == 0)
        table_cell(t, STYLE_BAD, "invalid: %s", json_text(x, "why", "unknown"));
    else
        table_cell(t, strcmp(text, "ready") == 0 ? STYLE_GOOD : STYLE_DIM, "%s", text);
}

static void unique(struct table *t, const json_t *x)
{
    const json_t *two = json_object_get(x, "example");
    if (!json_is_true(json_object_get(x, "unique")))
        table_cell(t, STYLE_NONE, "no");
    else if (json_is_true(json_object_get(x, "enforced")))
        table_cell(t, STYLE_GOOD, "enforced");
    else if (json_array_size(two) == 2)
        table_cell(t, STYLE_BAD, "not yet: %s and %s are the same",
                   json_string_value(json_array_get(two, 0)) != NULL
                       ? json_string_value(json_array_get(two, 0))
                       : "(bytes)",
                   json_string_value(json_array_get(two, 1)) != NULL
                       ? json_string_value(json_array_get(two, 1))
                       : "(bytes)");
    else
        table_cell(t, STYLE_WARN, "not yet");
}

static int run_index_list(struct invocation *in, struct err *e)
{
    static const char *const heads[] = {"COLLECTION", "NAME",  "ON",    "STATUS",
                                        "UNIQUE",     ">ROWS", ">TWINS"};
    const struct index_options_cli *o = in->options;
    json_t *reply;
    json_t *arguments = in->count > 0 ? json_pack("{s:s}", "collection", in->operands[0]) : NULL;
    int rc = admin_ask(in, o->site, "index-list", arguments, &reply, e);
    if (reply != NULL) {
        struct table t;
        size_t i;
        const json_t *x;
        char text[64];
        table_init(&t, heads, sizeof heads / sizeof heads[0]);
        json_array_foreach(json_object_get(reply, "indexes"), i, x)
        {
            table_bytes(&t, bytes_str(json_text(x, "collection", "unknown")));
            table_bytes(&t, bytes_str(json_text(x, "name", "unknown")));
            pointers(&t, json_object_get(x, "on"));
            status(&t, x);
            unique(&t, x);
            table_cell(&t, STYLE_NONE, "%s", field_text(x, "rows", text, sizeof text));
            table_cell(&t, STYLE_NONE, "%s",
                       json_is_integer(json_object_get(x, "duplicates"))
                           ? field_text(x, "duplicates", text, sizeof text)
                           : "-");
        }
        if (json_array_size(json_object_get(reply, "indexes")) == 0)
            say("no index is declared");
        else
            table_print(&t, stdout);
        table_free(&t);
    }
    json_decref(reply);
    return rc;
}

const struct command command_index_list = {
    .name = "index list",
    .group = "Indexes",
    .purpose = "list secondary indexes and how far they are built",
    .operands = "[COLLECTION]",
    .least = 0,
    .most = 1,
    .options_bytes = sizeof(struct index_options_cli),
    .tables = {list_table, output_options, connection_options},
    .about = "Each site builds its own: --site asks another one. TWINS: records of a unique index "
             "whose value another record has.",
    .examples = {{"all, at the primary", "triveni index list"},
                 {"of a collection, at dr", "triveni index list titles --site dr"}},
    .exits = "468",
    .run = run_index_list,
};
