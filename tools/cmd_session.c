/* session and outcome: what exactly-once rests on, as operators and scripts see it. */
#include "tools/commands.h"

#include "tools/admin.h"
#include "tools/config.h"
#include "tools/table.h"

#include <string.h>

struct session_options {
    struct common common;
    const char *site;
};
static const struct option site_table[] = {
    {"site", 0, OPTION_TEXT, offsetof(struct session_options, site), "NAME", NULL,
     "ask this site; default: the primary"},
    {0},
};

/* A table of what objects have, whatever that is: columns are the members of the first. */
static void print_objects(const json_t *list)
{
    const char *heads[TABLE_COLUMNS_MAX];
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach(json_array_get(list, 0), key, value) if (n < TABLE_COLUMNS_MAX) heads[n++] =
        key;
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
    const struct session_options *o = in->options;
    json_t *reply;
    int rc = admin_ask(in, o->site, "sessions", NULL, &reply, e);
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
    .options_bytes = sizeof(struct session_options),
    .tables = {site_table, output_options, connection_options},
    .about = "A session remembers the outcomes of its newest 1,024 transactions, so that a "
             "repeated one takes effect once. Sessions\n"
             "are replicated; idle ones end after the configured hours.",
    .examples = {{"all", "triveni session"},
                 {"how many", "triveni session -o json | jq '.sessions | length'"}},
    .exits = "468",
    .run = run_session,
};

static int run_outcome(struct invocation *in, struct err *e)
{
    struct session_options *o = in->options;
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
        output_json(json_pack("{s:b,s:I,s:I}", "committed", 1, "lsn", (json_int_t)result.lsn,
                              "time_us", (json_int_t)result.time_us));
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
    .options_bytes = sizeof(struct session_options),
    .tables = {output_options, connection_options},
    .about = "Both are in the message that ended with exit code 9, and in the JSON that each write "
             "prints. Exit code 3 says that it\n"
             "did not take effect and never will: do it again.",
    .examples = {{"after a lost answer", "triveni outcome 6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42 1"}},
    .exits = "3468",
    .run = run_outcome,
};
