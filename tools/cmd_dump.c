/* dump: one state as JSON Lines, in an order that depends on nothing but the records, so that two dumps of equal
 * states are equal byte for byte: from a cluster (a snapshot held at one site) or from a data directory. */
#include "tools/commands.h"

#include "store/state.h"
#include "tools/admin.h"
#include "tools/progress.h"
#include "tools/record.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct dump_options {
    struct common common;
    const char *data_dir, *as_of;
    bool all;
};
/* A held state ends with its connection, for instance when the primary moves; as long as nothing has been printed another one
 * is as good. */
enum { STALE_TRIES = 3 };

static const struct option dump_table[] = {
    {"all", 'a', OPTION_FLAG, offsetof(struct dump_options, all), NULL, NULL, "all collections"},
    {"data-dir", 0, OPTION_TEXT, offsetof(struct dump_options, data_dir), "DIR", NULL,
     "read the data directory of a restore, or of a stopped site as of its last checkpoint, "
     "instead of a cluster"},
    AS_OF_OPTION(struct dump_options),
    {0},
};

struct dump {
    struct tvn_read how; /* the past, or the present */
    uint64_t lsn;        /* that was read */
    uint64_t records, bytes;
    struct progress bar;
};

static int put_record(struct dump *d, const struct shown_record *r, struct err *e)
{
    record_json(stdout, r);
    d->records++;
    d->bytes += r->key.n + r->value.n;
    if (isatty(STDOUT_FILENO) != 1)
        progress_show(&d->bar, d->bytes, 0, d->records);
    return ferror(stdout) ? output_finish(e) : 0;
}

/* ---- from a cluster ---- */

/* Names that collections have now, added to those in the set: a JSON object whose keys are names. */
static int add_collections(struct tvn *db, json_t *set, struct err *e)
{
    json_t *reply;
    int rc = admin_call(db, "digest", NULL, &reply, e);
    size_t i;
    const json_t *c;
    json_array_foreach(json_object_get(reply, "collections"), i, c)
    {
        const char *name = json_text(c, "name", "");
        if (name[0] != '\0')
            (void)json_object_set_new(set, name, json_null());
    }
    json_decref(reply);
    return rc;
}

static int dump_collection(struct tvn *db, const struct tvn_snapshot *snapshot, const char *name,
                           struct dump *d, struct err *e)
{
    struct tvn_scan_options options = TVN_SCAN_INIT;
    struct tvn_read how = d->how;
    struct tvn_scan *scan = NULL;
    struct tvn_error error;
    struct tvn_record r;
    options.collection = name;
    options.page = 4096;
    how.snapshot = snapshot;
    int more = 0;
    int rc = tvn_scan_open(db, &options, &how, &scan, &error) != 0 ? from_client(&error, e) : 0;
    while (rc == 0 && (more = tvn_scan_next(scan, &r, &error)) == 1) {
        const struct shown_record shown = {from_tvn(r.collection),
                                           from_tvn(r.key),
                                           from_tvn(r.value),
                                           r.lsn,
                                           r.time_us,
                                           {NULL, 0}};
        rc = put_record(d, &shown, e);
    }
    if (rc == 0 && more < 0)
        rc = from_client(&error, e);
    if (rc == 0)
        d->lsn = tvn_scan_lsn(scan);
    tvn_scan_close(scan);
    return rc;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int dump_set(struct tvn *db, const struct tvn_snapshot *snapshot, json_t *set,
                    struct dump *d, struct err *e)
{
    size_t n = json_object_size(set);
    const char **names = calloc(n + 1, sizeof *names);
    if (names == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    size_t at = 0;
    const char *name;
    json_t *unused;
    json_object_foreach(set, name, unused) names[at++] = name;
    qsort(names, n, sizeof *names, compare_names);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = dump_collection(db, snapshot, names[i], d, e);
    free(names);
    return rc;
}

/* The sites list the collections of the present, not of a snapshot; so they are asked before and after it is taken. Only a
 * collection that is made after the one and emptied before the other can be missed, and that it was empty twice then
 * is the truth of both moments. */
static int dump_cluster(struct dump_options *o, const char *collection, struct dump *d,
                        struct err *e)
{
    struct tvn *db = NULL;
    struct tvn_snapshot *snapshot = NULL;
    struct tvn_error error;
    json_t *set = json_object();
    int rc = connect_open(&o->common, &db, e);
    if (rc == 0 && collection != NULL)
        (void)json_object_set_new(set, collection, json_null());
    else if (rc == 0)
        rc = add_collections(db, set, e);
    if (rc == 0 && o->as_of == NULL && tvn_snapshot_open(db, NULL, &snapshot, &error) != 0)
        rc = from_client(&error, e);
    if (rc == 0 && collection == NULL)
        rc = add_collections(db, set, e);
    if (rc == 0)
        rc = dump_set(db, snapshot, set, d, e);
    if (rc == 0) {
        progress_end(&d->bar);
        say("%llu records as of lsn %llu", (unsigned long long)d->records,
            (unsigned long long)(snapshot != NULL ? tvn_snapshot_lsn(snapshot) : d->lsn));
    }
    tvn_snapshot_close(snapshot);
    (void)tvn_close(db);
    json_decref(set);
    return rc;
}

/* ---- from a directory ---- */

static int dump_directory(const char *dir, const char *collection, struct dump *d, struct err *e)
{
    char path[4096];
    struct state *state = NULL;
    struct state_snapshot *snap = NULL;
    struct state_scan *scan = NULL;
    struct record r;
    int n = snprintf(path, sizeof path, "%s/state", dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_LIMIT, "%s: the path is too long", dir);
    if (access(path, R_OK | X_OK) != 0)
        return err_set(
            e, ERR_NOT_FOUND,
            "%s holds no state: name a data directory, as 'triveni restore --into' makes it", dir);
    const struct state_options options = {.dir = path};
    const struct scan_options range = {.collection =
                                           bytes_str(collection != NULL ? collection : ""),
                                       .as_of = {d->how.as_of_lsn != 0       ? AS_OF_LSN
                                                 : d->how.as_of_time_us != 0 ? AS_OF_TIME
                                                                             : AS_OF_NONE,
                                                 d->how.as_of_lsn | d->how.as_of_time_us}};
    struct lsn lsn = {0};
    int rc = state_open(&state, &options, e);
    if (rc == 0)
        rc = state_snapshot_open(state, &snap, e);
    if (rc == 0)
        rc = state_as_of(snap, range.as_of, &lsn, e);
    if (rc == 0)
        rc = state_scan_open(snap, &range, &scan, e);
    while (rc == 0 && (rc = state_scan_next(scan, &r, e)) == 0) {
        const struct shown_record shown = {r.collection, r.key,     r.value,
                                           r.lsn.v,      r.time.us, {NULL, 0}};
        rc = put_record(d, &shown, e);
    }
    if (rc == ERR_NOT_FOUND)
        rc = 0;
    if (rc == 0) {
        progress_end(&d->bar);
        say("%llu records as of lsn %llu", (unsigned long long)d->records,
            (unsigned long long)lsn.v);
    }
    if (scan != NULL)
        state_scan_close(scan);
    if (snap != NULL)
        state_snapshot_close(snap);
    if (state != NULL)
        state_close(state);
    return rc;
}

static int run_dump(struct invocation *in, struct err *e)
{
    struct dump_options *o = in->options;
    const char *collection = in->count == 1 ? in->operands[0] : NULL;
    struct dump d = {.how = TVN_READ_INIT};
    if (o->all == (collection != NULL))
        return err_set(e, ERR_USAGE, "name one collection, or give --all");
    if (o->as_of != NULL && o->all && o->data_dir == NULL)
        return err_set(e, ERR_USAGE,
                       "--all asks for the collections that there are now: with --as-of name one");
    int rc = as_of_parse(o->as_of, &d.how, e);
    if (rc != 0)
        return rc;
    progress_begin(&d.bar, "dump", "records", 0);
    int tries = 0;
    do
        rc = o->data_dir != NULL ? dump_directory(o->data_dir, collection, &d, e)
                                 : dump_cluster(o, collection, &d, e);
    while (rc == ERR_STALE && d.records == 0 && ++tries < STALE_TRIES);
    progress_end(&d.bar);
    return rc;
}

const struct command command_dump = {
    .name = "dump",
    .group = "Records",
    .purpose = "write one consistent state as JSON Lines",
    .operands = "[COLLECTION]",
    .least = 0,
    .most = 1,
    .options_bytes = sizeof(struct dump_options),
    .tables = {dump_table, standby_options, connection_options},
    .about = "One line for each record, in order of collection and key:\n"
             "\n"
             "  "
             "{\"collection\":\"titles\",\"key\":\"AB-12\",\"lsn\":42,\"time\":\"2026-11-24T03:18:"
             "21.000000Z\",\"value\":{...}}\n"
             "\n"
             "Values that are JSON objects, arrays, numbers, true, false or null stand as they "
             "are; other text is a string,\n"
             "other bytes are {\"base64\":\"...\"}. Equal states give equal bytes, so that dumps "
             "can be compared, and 'triveni load\n"
             "--format dump' loads them again. --all asks for the names of the collections, which "
             "needs an operator.",
    .examples = {{"everything, from a standby", "triveni dump --all --standby >state.jsonl"},
                 {"does the restored state equal it?",
                  "triveni dump --all --data-dir /srv/past | cmp - state.jsonl"}},
    .exits = "34678",
    .run = run_dump,
};
