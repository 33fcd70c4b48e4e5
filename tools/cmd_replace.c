/* member replace: one site takes the place of another, step by step, each an entry of the log.
 *
 * WHY IT CAN BE INTERRUPTED. It keeps nothing: before each step it asks the primary for the list and looks what is next
 * (tools/replace.h). Whether a step was done whose answer was lost, another primary was elected meanwhile, or the command was
 * killed and given again, the list tells. Each step is an order of its own (R7), which the core refuses when it is not safe
 * (replication/core/repl_members.c); that, and what can pass by itself, is tried again until nothing has moved for a while.
 *
 * What it does not do: make the new site (triveni init --join) or stop the old one. */
#include "tools/commands.h"

#include "tools/admin.h"
#include "tools/progress.h"
#include "tools/replace.h"

#include <string.h>
#include <time.h>

enum { LOOK_MS = 500, PATIENCE_S = 60 };

struct replace_options {
    struct common common;
    const char *peer, *client;
    struct option_number wait;
};
#define AT(member) offsetof(struct replace_options, member)
static const struct option replace_table[] = {
    {"peer", 0, OPTION_TEXT, AT(peer), "HOST:PORT", NULL, "where other sites reach NEW"},
    {"client", 0, OPTION_TEXT, AT(client), "HOST:PORT", NULL, "where clients reach NEW"},
    {"wait", 0, OPTION_NUMBER, AT(wait), "SECONDS", NULL,
     "give up when nothing has moved for so long; default 60"},
    {0},
};
#undef AT

struct replacing {
    const struct replace_options *o;
    struct replace r;
    struct progress bar;
    uint64_t moved_ms, durable;
    char told[ERR_TEXT_BYTES]; /* the reason that was shown last */
    json_t *list, *status;
};

static bool may_pass(int code)
{
    switch (code) {
    case ERR_FAILED: /* the core has refused the list for now */
    case ERR_BUSY:
    case ERR_NOT_PRIMARY:
    case ERR_UNREACHABLE:
    case ERR_TIMEOUT:
    case ERR_OUTCOME_UNKNOWN:
    case ERR_EXISTS: /* the step was done, and its answer was lost */
        return true;
    default:
        return false;
    }
}

/* What the primary says now. */
static int look(struct replacing *p, enum replace_step *step, struct err *e)
{
    struct tvn *db = NULL;
    json_decref(p->list);
    json_decref(p->status);
    p->list = p->status = NULL;
    int rc = connect_open(&p->o->common, &db, e);
    if (rc == 0)
        rc = admin_call_primary(db, "member-list", NULL, &p->list, e);
    if (rc == 0)
        rc = admin_call_primary(db, "status", NULL, &p->status, e);
    (void)tvn_close(db);
    return rc != 0 ? rc : replace_look(&p->r, p->list, p->status, step, e);
}

static json_t *of_step(const struct replacing *p, enum replace_step step, const char **what)
{
    switch (step) {
    case REPLACE_ADD:
        *what = "member-add";
        return json_pack("{s:s, s:s, s:s, s:s}", "name", p->r.comes, "kind", p->r.kind, "peer",
                         p->o->peer, "client", p->o->client);
    case REPLACE_PROMOTE:
        *what = "member-promote";
        return json_pack("{s:s}", "name", p->r.comes);
    case REPLACE_HAND_OVER:
        *what = "switchover";
        return json_pack("{s:s}", "to", p->r.comes);
    case REPLACE_REMOVE:
        *what = "member-remove";
        return json_pack("{s:s}", "name", p->r.leaves);
    case REPLACE_WAIT:
    case REPLACE_DONE:
        break;
    }
    return NULL;
}

static void say_done(const struct replacing *p, enum replace_step step, const json_t *reply)
{
    static const char *const done[] = {[REPLACE_ADD] = "is a replica",
                                       [REPLACE_PROMOTE] = "votes",
                                       [REPLACE_HAND_OVER] = "is primary",
                                       [REPLACE_REMOVE] = "is no member any more"};
    char lsn[32];
    if (p->o->common.format != OUTPUT_JSON)
        (void)printf("%s %s from lsn %s on\n", step == REPLACE_REMOVE ? p->r.leaves : p->r.comes,
                     done[step], field_text(reply, "lsn", lsn, sizeof lsn));
    (void)fflush(stdout);
}

static int take_step(struct replacing *p, enum replace_step step, struct err *e)
{
    const char *what = "";
    json_t *reply = NULL;
    if (step == REPLACE_ADD && (p->o->peer == NULL || p->o->client == NULL))
        return err_set(e, ERR_USAGE,
                       "%.40s is no member yet: --peer and --client say where it is reached",
                       p->r.comes);
    json_t *arguments = of_step(p, step, &what);
    int rc = admin_give(&p->o->common, NULL, what, arguments, &reply, e);
    if (rc == 0) {
        p->r.promoted |= step == REPLACE_PROMOTE;
        p->moved_ms = monotonic_ms();
        progress_end(&p->bar);
        say_done(p, step, reply);
    }
    json_decref(reply);
    return rc;
}

/* It waits: for the new site, or until what stood in the way has passed. ERR: nothing moves any more. */
static int wait_a_while(struct replacing *p, const char *why, int code, struct err *e)
{
    uint64_t patience_ms = 1000 * (p->o->wait.given ? p->o->wait.v : PATIENCE_S);
    if (p->r.durable > p->durable)
        p->moved_ms = monotonic_ms();
    p->durable = p->r.durable;
    if (monotonic_ms() - p->moved_ms > patience_ms)
        return err_set(e, code,
                       "%.300s; nothing has moved for %llu s. The list is as 'triveni member list' "
                       "shows it, and the same command goes on",
                       why, (unsigned long long)(patience_ms / 1000));
    if (code == ERR_TIMEOUT && p->r.last > p->r.durable && p->r.durable > 0)
        progress_show(&p->bar, p->r.durable, p->r.last, 0);
    else if (strcmp(p->told, why) != 0)
        (void)fprintf(stderr, "triveni: waiting: %s\n", why);
    (void)snprintf(p->told, sizeof p->told, "%s", why);
    (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    return 0;
}

static int go_on(struct replacing *p, struct err *e)
{
    for (;;) {
        enum replace_step step = REPLACE_WAIT;
        *e = (struct err)ERR_NONE;
        p->r.why[0] = '\0';
        int rc = look(p, &step, e);
        if (rc == 0 && step == REPLACE_DONE)
            return 0;
        if (rc == 0 && step != REPLACE_WAIT)
            rc = take_step(p, step, e);
        if (rc != 0 && !may_pass(rc))
            return rc;
        if (rc == 0 && step != REPLACE_WAIT)
            continue;
        struct err why = *e;
        rc = wait_a_while(p, rc != 0 ? why.text : p->r.why, rc != 0 ? rc : ERR_TIMEOUT, e);
        if (rc != 0)
            return rc;
    }
}

static int run_replace(struct invocation *in, struct err *e)
{
    struct replacing p = {.o = in->options,
                          .r = {.leaves = in->operands[0], .comes = in->operands[1]},
                          .moved_ms = monotonic_ms()};
    progress_begin_count(&p.bar, p.r.comes, "transactions");
    int rc = go_on(&p, e);
    progress_end(&p.bar);
    if (rc == 0 && p.o->common.format == OUTPUT_JSON)
        output_json(json_incref(p.list));
    else if (rc == 0)
        (void)printf("%s was replaced by %s: stop %s, revoke its certificate when its machine "
                     "leaves your hands, and bring 'members' of all configurations in line with "
                     "'triveni member list'\n",
                     p.r.leaves, p.r.comes, p.r.leaves);
    json_decref(p.list);
    json_decref(p.status);
    return rc;
}

const struct command command_member_replace = {
    .name = "member replace",
    .group = "Cluster",
    .purpose = "put a new site in the place of a lost or retired one",
    .operands = "OLD NEW",
    .least = 2,
    .most = 2,
    .options_bytes = sizeof(struct replace_options),
    .tables = {replace_table, output_options, connection_options},
    .about =
        "Make NEW first ('triveni init --join') and start it. Then this adds it as a replica, "
        "waits until it has caught up, gives it a\n"
        "vote, hands over to it if OLD is primary, and takes OLD from the list: each an entry of "
        "the log, one vote at a time, and never\n"
        "fewer sites that vote than before. OLD may be dead. Interrupt it when you like: the list "
        "is valid at any moment, and the\n"
        "same command goes on from there. It refuses what is unsafe, and gives up when nothing has "
        "moved for --wait.",
    .examples = {{"dr is lost, dr2 takes its place",
                  "triveni member replace dr dr2 --peer dr2:7500 --client dr2:7400"},
                 {"go on after an interruption", "triveni member replace dr dr2"}},
    .exits = "3456789",
    .run = run_replace,
};
