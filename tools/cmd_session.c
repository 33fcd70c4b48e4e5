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

struct outcome_options {
    struct common common;
    const char *key;
    bool give_up;
};
static const struct option outcome_table[] = {
    {"idempotency-key", 0, OPTION_TEXT, offsetof(struct outcome_options, key), "TEXT", NULL,
     "of the transaction with this key"},
    {"give-up", 0, OPTION_FLAG, offsetof(struct outcome_options, give_up), NULL, NULL,
     "if nothing is committed with the key, make sure that nothing ever will be"},
    {0},
};

static int by_number(struct invocation *in, struct tvn *db, struct tvn_result *result,
                     struct tvn_error *error, struct err *e)
{
    struct uuid uuid;
    struct tvn_session_id session;
    uint64_t sequence = 0;
    int rc = uuid_parse(in->operands[0], &uuid, e);
    if (rc == 0)
        rc = parse_number("SEQUENCE", in->operands[1], UINT64_MAX, &sequence, e);
    if (rc != 0)
        return rc;
    memcpy(session.bytes, uuid.b, sizeof session.bytes);
    return tvn_outcome(db, &session, sequence, 0, result, error) != 0 ? from_client(error, e) : 0;
}

static int by_key(const struct outcome_options *o, struct tvn *db, struct tvn_result *result,
                  struct tvn_error *error, struct err *e)
{
    if (tvn_outcome_by_key(db, tvn_str(o->key), o->give_up, 0, result, error) == 0)
        return 0;
    (void)from_client(error, e);
    if (error->code == TVN_OUTCOME_UNKNOWN)
        (void)err_advise(e, "--give-up does the latter");
    return error->code;
}

static void print_outcome(const struct outcome_options *o, const struct tvn_result *r)
{
    if (o->common.format == OUTPUT_JSON) {
        json_t *out = json_pack("{s:b,s:I,s:I}", "committed", 1, "lsn", (json_int_t)r->lsn,
                                "time_us", (json_int_t)r->time_us);
        if (o->key != NULL)
            (void)json_object_set_new(out, "ack", json_string(ack_name(r->ack)));
        output_json(out);
        return;
    }
    (void)printf("committed at lsn %llu%s%s\n", (unsigned long long)r->lsn,
                 o->key != NULL ? ", durability: " : "", o->key != NULL ? ack_name(r->ack) : "");
}

static int run_outcome(struct invocation *in, struct err *e)
{
    const struct outcome_options *o = in->options;
    struct tvn *db = NULL;
    struct tvn_error error;
    struct tvn_result result;
    memset(&result, 0, sizeof result);
    if (in->count != (o->key != NULL ? 0 : 2) || (o->give_up && o->key == NULL))
        return err_set(e, ERR_USAGE,
                       "give either SESSION and SEQUENCE, or --idempotency-key, which alone can be "
                       "given up");
    int rc = connect_open(&o->common, &db, e);
    if (rc == 0)
        rc = o->key != NULL ? by_key(o, db, &result, &error, e)
                            : by_number(in, db, &result, &error, e);
    (void)tvn_close(db);
    if (rc == 0)
        print_outcome(o, &result);
    return rc;
}

const struct command command_outcome = {
    .name = "outcome",
    .group = "Records",
    .purpose = "ask what became of a transaction whose outcome was unknown",
    .operands = "[SESSION SEQUENCE]",
    .least = 0,
    .most = 2,
    .options_bytes = sizeof(struct outcome_options),
    .tables = {outcome_table, output_options, connection_options},
    .about =
        "Both operands are in the message that ended with exit code 9, and in the JSON that each "
        "write prints. Exit code 3 says that\n"
        "it has not taken effect. A copy may still be on its way in a connection that was lost a "
        "moment ago: ask once more after a\n"
        "second before doing it again, or use idempotency keys, which make it certain.\n"
        "\n"
        "By idempotency key: exit code 0 says that it is committed, where, and how durable it is "
        "by "
        "now; 3 that it never will be,\n"
        "because its key was given up; 9 that nothing is committed with the key so far, but a copy "
        "may still be under way. Then\n"
        "either run the same write with the same key again, which is always safe, or give the key "
        "up. A key is of the client that\n"
        "its certificate names: ask with the certificate that wrote.",
    .examples = {{"after a lost answer", "triveni outcome 6f1c2a34-8f0e-4a57-9a51-7d2f6c1b0e42 1"},
                 {"by the name that the application gave it",
                  "triveni outcome --idempotency-key case-4711-deed"},
                 {"so that it never happens",
                  "triveni outcome --idempotency-key case-4711-deed --give-up"}},
    .exits = "34689",
    .run = run_outcome,
};
