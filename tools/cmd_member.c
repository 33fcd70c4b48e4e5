/* member: the list of members, changed while the cluster works. */
#include "tools/commands.h"

#include "tools/admin.h"
#include "tools/table.h"

#include <string.h>
#include <time.h>

struct member_options {
    struct common common;
    const char *kind, *peer, *client;
    struct option_number wait;
};
#define AT(member) offsetof(struct member_options, member)
static const struct option member_table[] = {
    {"kind", 0, OPTION_TEXT, AT(kind), "KIND", NULL, "add: data (default) or repository"},
    {"peer", 0, OPTION_TEXT, AT(peer), "HOST:PORT", NULL, "add: where other sites reach it"},
    {"client", 0, OPTION_TEXT, AT(client), "HOST:PORT", NULL, "add: where clients reach it"},
    {"wait", 0, OPTION_NUMBER, AT(wait), "SECONDS", NULL,
     "promote: how long to wait until it has caught up; default 60"},
    {0},
};
#undef AT

static int run_list(struct invocation *in, struct err *e)
{
    json_t *reply;
    char lsn[32];
    int rc = admin_ask(in, NULL, "member-list", NULL, &reply, e);
    if (reply == NULL)
        return rc;
    size_t i;
    const json_t *m;
    (void)printf("%-16s %-11s %-8s %-24s %s\n", "name", "kind", "votes", "sites", "clients");
    json_array_foreach(json_object_get(reply, "members"), i, m)
    {
        (void)printf("%-16s %-11s %-8s %-24s %s\n", json_text(m, "name", ""),
                     json_text(m, "kind", ""),
                     json_is_true(json_object_get(m, "votes")) ? "yes" : "no",
                     json_text(m, "peer", ""), json_text(m, "client", ""));
    }
    (void)printf("as of lsn %s%s\n", field_text(reply, "lsn", lsn, sizeof lsn),
                 json_is_true(json_object_get(reply, "committed")) ? "" : ", not committed yet");
    json_decref(reply);
    return rc;
}

static json_t *arguments_of(const struct invocation *in, const char *what)
{
    const struct member_options *o = in->options;
    if (strcmp(what, "member-add") != 0)
        return json_pack("{s:s}", "name", in->operands[1]);
    return json_pack("{s:s, s:s, s:s?, s:s?}", "name", in->operands[1], "kind",
                     o->kind != NULL ? o->kind : "data", "peer", o->peer, "client", o->client);
}

/* A site that is to vote has to catch up first; each attempt is an order of its own. */
static int order_until(struct invocation *in, const char *what, json_t **reply, struct err *e)
{
    const struct member_options *o = in->options;
    bool waits = strcmp(what, "member-promote") == 0;
    time_t until = time(NULL) + (time_t)(o->wait.given ? o->wait.v : 60);
    for (;;) {
        *e = (struct err)ERR_NONE;
        int rc = admin_order(in, NULL, what, arguments_of(in, what), reply, e);
        bool again = rc == ERR_FAILED || rc == ERR_BUSY;
        if (!waits || !again || time(NULL) >= until)
            return rc;
        (void)nanosleep(&(struct timespec){.tv_nsec = 500 * 1000000L}, NULL);
    }
}

static int run_member(struct invocation *in, struct err *e)
{
    static const struct {
        const char *verb, *what, *done;
    } orders[] = {{"add", "member-add", "is a replica"},
                  {"promote", "member-promote", "votes"},
                  {"demote", "member-demote", "has no vote any more"},
                  {"remove", "member-remove", "is no member any more"}};
    const char *verb = in->operands[0];
    char lsn[32];
    json_t *reply = NULL;
    if (strcmp(verb, "list") == 0 && in->count == 1)
        return run_list(in, e);
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        if (strcmp(verb, orders[i].verb) != 0 || in->count != 2)
            continue;
        int rc = order_until(in, orders[i].what, &reply, e);
        if (reply != NULL)
            (void)printf("%s %s from lsn %s on\n", in->operands[1], orders[i].done,
                         field_text(reply, "lsn", lsn, sizeof lsn));
        json_decref(reply);
        return rc;
    }
    return err_set(e, ERR_USAGE,
                   "'%.40s': use list, or add, promote, demote or remove with the name of a site",
                   verb);
}

const struct command command_member = {
    .name = "member",
    .group = "Cluster",
    .purpose = "show and change the list of sites",
    .operands = "list|add|promote|demote|remove [NAME]",
    .least = 1,
    .most = 2,
    .options_bytes = sizeof(struct member_options),
    .tables = {member_table, output_options, connection_options},
    .about =
        "A site that is added gets the log and has no vote: a replica. promote gives it one when "
        "it has caught up, demote takes\n"
        "it, remove ends the membership. One change at a time, each committed by a majority; the "
        "primary keeps its vote: hand\n"
        "over first. Before add, make the new site with 'triveni init --join' and start it. Keep "
        "three sites that vote: of two,\n"
        "one that loses its disk cannot come back by itself. The list in the log rules; bring the "
        "configuration files in line.",
    .examples = {{"the list", "triveni member list"},
                 {"a new site", "triveni member add dr2 --peer dr2:7500 --client dr2:7400"},
                 {"let it vote", "triveni member promote dr2"},
                 {"and another one go", "triveni member remove dr"}},
    .exits = "346789",
    .run = run_member,
};
