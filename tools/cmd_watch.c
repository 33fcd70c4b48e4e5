/* watch: committed changes as they happen, from a transaction on.
 *
 * However it ends, it says where the next one has to begin: everything before that was printed. So a script that keeps this
 * number misses nothing and sees nothing twice. */
#include "tools/commands.h"

#include "tools/connect.h"
#include "tools/json.h"
#include "tools/record.h"
#include "tools/text.h"

#include <signal.h>
#include <string.h>

enum {
    PATIENCE_MS = 200,     /* how soon a signal is noticed */
    SILENCE_MS = 5 * 1000, /* of the cluster, before it is said */
};

struct watch_options {
    struct common common;
    const char *prefix;
    struct option_number from, count;
    bool keys, caught_up;
};
#define AT(member) offsetof(struct watch_options, member)
static const struct option watch_table[] = {
    {"from", 'f', OPTION_NUMBER, AT(from), "LSN", NULL,
     "begin with the transaction LSN; without it with the next that commits"},
    {"prefix", 'p', OPTION_TEXT, AT(prefix), "TEXT", NULL, "only keys that begin with TEXT"},
    {"keys-only", 'k', OPTION_FLAG, AT(keys), NULL, NULL, "without values"},
    {"count", 'n', OPTION_NUMBER, AT(count), "N", NULL,
     "end after N changes, and the rest of the last transaction"},
    {"until-caught-up", 0, OPTION_FLAG, AT(caught_up), NULL, NULL,
     "end when everything is printed that was committed at the start"},
    {0},
};
#undef AT

static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
}

static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = on_signal};
    (void)sigemptyset(&a.sa_mask);
    (void)sigaction(SIGINT, &a, NULL);
    (void)sigaction(SIGTERM, &a, NULL);
}

static void print_json(const struct tvn_change *c, bool keys_only)
{
    char time[UTC_TEXT_BYTES];
    (void)printf(
        "{\"lsn\":%llu,\"time\":\"%s\",\"op\":\"%s\",\"collection\":", (unsigned long long)c->lsn,
        utc_text((struct utc){c->time_us}, time), c->op == TVN_CHANGE_PUT ? "put" : "del");
    json_put_text(stdout, from_tvn(c->collection));
    (void)fputs(",\"key\":", stdout);
    json_put_text(stdout, from_tvn(c->key));
    if (c->op == TVN_CHANGE_PUT && !keys_only) {
        (void)fputs(",\"value\":", stdout);
        json_put_value(stdout, from_tvn(c->value));
    }
    (void)fputs(c->more ? ",\"more\":true}\n" : "}\n", stdout);
}

/* A table of unknown length: one line each, with the columns that are of one width in front. */
static void print_line(const struct tvn_change *c, bool keys_only)
{
    char time[UTC_TEXT_BYTES];
    (void)printf("%10llu  %s  %s  ", (unsigned long long)c->lsn,
                 utc_text((struct utc){c->time_us}, time), c->op == TVN_CHANGE_PUT ? "put" : "del");
    output_text(stdout, from_tvn(c->collection), 0);
    (void)putchar(' ');
    output_text(stdout, from_tvn(c->key), 0);
    if (c->op == TVN_CHANGE_PUT && !keys_only) {
        (void)fputs("  ", stdout);
        output_text(stdout, from_tvn(c->value), 60);
    }
    (void)putchar('\n');
}

static void say_silence(struct tvn_watch *watch, bool *silent)
{
    bool now = tvn_watch_silent_ms(watch) >= SILENCE_MS;
    if (now != *silent && now)
        say("no word from the cluster for %d s; still trying", SILENCE_MS / 1000);
    else if (now != *silent)
        say("the cluster is heard again");
    *silent = now;
}

/* Print until the end that the options ask for, a signal, or a failure. */
static int follow(const struct watch_options *o, struct tvn_watch *watch, struct err *e)
{
    struct tvn_change c;
    struct tvn_error error;
    const uint64_t end = tvn_watch_newest(watch);
    uint64_t printed = 0;
    bool more = false, silent = false;
    while (stop_signal == 0 && !(o->caught_up && tvn_watch_position(watch) > end)) {
        int rc = tvn_watch_next(watch, 1, &c, &error);
        if (rc == 0) {
            if (fflush(stdout) != 0)
                return output_finish(e);
            say_silence(watch, &silent);
            rc = tvn_watch_next(watch, PATIENCE_MS, &c, &error);
        }
        if (rc < 0)
            return from_client(&error, e);
        if (rc == 0)
            continue;
        if (o->common.format == OUTPUT_JSON)
            print_json(&c, o->keys);
        else
            print_line(&c, o->keys);
        more = c.more != 0;
        if (ferror(stdout) || (o->count.given && ++printed >= o->count.v && !more))
            break;
    }
    return output_finish(e);
}

static int run_watch(struct invocation *in, struct err *e)
{
    struct watch_options *o = in->options;
    struct tvn_watch_options options = TVN_WATCH_INIT;
    struct tvn *db = NULL;
    struct tvn_watch *watch = NULL;
    struct tvn_error error;
    if ((o->count.given && o->count.v == 0) || (o->from.given && o->from.v == 0))
        return err_set(e, ERR_USAGE, "--%s must be at least 1", o->from.given ? "from" : "count");
    options.from = o->from.v;
    options.collection = in->count > 0 ? in->operands[0] : NULL;
    options.prefix = tvn_str(o->prefix);
    options.keys_only = o->keys;
    catch_signals();
    int rc = connect_open(&o->common, &db, e);
    if (rc == 0 && tvn_watch_open(db, &options, &watch, &error) != 0)
        rc = from_client(&error, e);
    if (rc == 0) {
        rc = follow(o, watch, e);
        if (rc != ERR_IO) /* otherwise what was printed is not known */
            say("to go on: triveni watch --from %llu",
                (unsigned long long)tvn_watch_position(watch));
    }
    tvn_watch_close(watch);
    (void)tvn_close(db);
    return rc;
}

const struct command command_watch = {
    .name = "watch",
    .group = "Records",
    .purpose = "print committed changes as they happen",
    .operands = "[COLLECTION]",
    .least = 0,
    .most = 1,
    .options_bytes = sizeof(struct watch_options),
    .tables = {watch_table, standby_options, output_options, connection_options},
    .about =
        "Transaction by transaction, in the order of the log, across failovers: nothing is left "
        "out and nothing printed twice.\n"
        "Only what cannot be undone any more is printed. Ends with SIGINT or SIGTERM and exit code "
        "0, and says where to go on.\n"
        "With -o json each line is {lsn, time, op, collection, key, value}; \"more\": true says "
        "that another change of the same\n"
        "transaction follows. When LSN is not in the sites' log any more nothing is printed: "
        "'triveni dump' prints the records\n"
        "as of an lsn, and --from the lsn after that one goes on from there.",
    .examples = {{"what happens to titles", "triveni watch titles"},
                 {"one district, for a program", "triveni watch titles --prefix AB- -o json"},
                 {"go on where the last one ended", "triveni watch --from 1042 -o json"},
                 {"what has happened since, and no more",
                  "triveni watch --from 1042 --until-caught-up -o json"},
                 {"without load on the primary", "triveni watch --standby --keys-only"}},
    .exits = "34678",
    .run = run_watch,
};
