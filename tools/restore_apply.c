/* restore --apply: records of the past put back into the running cluster.
 *
 * THE TWO STEPS. --ask compares the selected records as the archive has them with one state of the cluster, shows what would
 * change, writes the list of changes (tools/changes.h) to FILE.changes and a warrant to FILE that says how many there are and
 * names the list by its SHA-256. Another operator looks at both and signs. --warrant then needs no archive: what is written
 * is what is in the list that both have signed (tools/restore_carry.c).
 *
 * What a record of the list was in the cluster is its condition: a record that changed after it was shown is refused, never
 * written over. A record that came later than the past is left alone, unless --delete-newer is given. */
#include "tools/restore.h"

#include "store/io/file.h"
#include "tools/admin.h"
#include "tools/changes.h"
#include "tools/record.h"
#include "tools/table.h"
#include "tools/text.h"
#include "tools/warrant_file.h"

#include "store/core/hex.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN = 20, SHOWN_VERBOSE = 10000, VALID_S = 3600, SCAN_PAGE = 4096 };

struct compare {
    const struct restore_options *o;
    const struct repository_selection *selection;
    struct tvn *db;
    struct tvn_snapshot *snapshot;
    struct tvn_scan *scan;
    struct tvn_record now; /* where the scan is */
    bool ended;
    struct changes_writer list;
    char sha256[65];
    uint64_t same, kept, hidden;
    struct table table;
    struct err *e;
};

static uint64_t changes_of(const struct compare *c)
{
    return c->list.count[CHANGE_CREATE] + c->list.count[CHANGE_REPLACE] +
           c->list.count[CHANGE_DELETE];
}

/* ---- comparing: both sides come in the order of their keys ---- */

static int next_now(struct compare *c)
{
    struct tvn_error error;
    const int more = tvn_scan_next(c->scan, &c->now, &error);
    c->ended = more != 1 ||
               (c->selection->key.n != 0 && !bytes_equal(from_tvn(c->now.key), c->selection->key));
    return more < 0 ? from_client(&error, c->e) : 0;
}

static int open_now(struct compare *c)
{
    const struct repository_selection *s = c->selection;
    struct tvn_scan_options options = TVN_SCAN_INIT;
    struct tvn_read how = TVN_READ_INIT;
    struct tvn_error error;
    options.collection = c->o->collection;
    options.from = tvn_view(s->from.p, s->from.n);
    options.to = tvn_view(s->to.p, s->to.n);
    options.prefix = tvn_view(s->prefix.p, s->prefix.n);
    options.page = SCAN_PAGE;
    if (s->key.n > TVN_KEY_MAX_BYTES)
        return err_set(c->e, ERR_LIMIT, "--key: a key has at most %d bytes", TVN_KEY_MAX_BYTES);
    if (s->key.n != 0) {
        options.from = tvn_view(s->key.p, s->key.n);
        options.limit = 1;
    }
    if (tvn_snapshot_open(c->db, NULL, &c->snapshot, &error) != 0)
        return from_client(&error, c->e);
    how.snapshot = c->snapshot;
    if (tvn_scan_open(c->db, &options, &how, &c->scan, &error) != 0)
        return from_client(&error, c->e);
    return next_now(c);
}

static void cell_version(struct table *t, struct change_version v)
{
    char time[UTC_TEXT_BYTES];
    if (v.lsn == 0) {
        table_cell(t, STYLE_DIM, "absent");
        table_cell(t, STYLE_NONE, "%s", "");
        return;
    }
    table_cell(t, STYLE_NONE, "%" PRIu64, v.lsn);
    table_cell(t, STYLE_NONE, "%s", utc_text((struct utc){v.time_us}, time));
}

static void show(struct compare *c, const char *what, enum style style, const struct change *x)
{
    const uint64_t most = c->o->verbose ? SHOWN_VERBOSE : SHOWN;
    if (changes_of(c) + c->kept > most) {
        c->hidden++;
        return;
    }
    table_cell(&c->table, style, "%s", what);
    table_bytes(&c->table, x->key);
    cell_version(&c->table, x->then);
    cell_version(&c->table, x->now);
}

static int add(struct compare *c, enum change_kind kind, struct change x)
{
    x.kind = kind;
    int rc = changes_add(&c->list, &x, c->e);
    if (rc == 0)
        show(c, change_name(kind), kind == CHANGE_DELETE ? STYLE_BAD : STYLE_WARN, &x);
    return rc;
}

static struct change change_of_now(const struct compare *c)
{
    return (struct change){.collection = c->selection->collection,
                           .key = from_tvn(c->now.key),
                           .now = {c->now.lsn, c->now.time_us}};
}

/* It is there, and was not then. */
static int newer(struct compare *c)
{
    const struct change x = change_of_now(c);
    int rc = 0;
    if (c->o->delete_newer) {
        rc = add(c, CHANGE_DELETE, x);
    } else {
        c->kept++;
        show(c, "keep", STYLE_DIM, &x);
    }
    return rc == 0 ? next_now(c) : rc;
}

static int compare_record(void *arg, const struct record *r)
{
    struct compare *c = arg;
    struct change x = {.collection = r->collection,
                       .key = r->key,
                       .value = r->value,
                       .then = {r->lsn.v, r->time.us}};
    int rc = 0;
    while (rc == 0 && !c->ended && bytes_compare(from_tvn(c->now.key), r->key) < 0)
        rc = newer(c);
    if (rc != 0)
        return rc;
    if (c->ended || !bytes_equal(from_tvn(c->now.key), r->key))
        return add(c, CHANGE_CREATE, x);
    x.now = (struct change_version){c->now.lsn, c->now.time_us};
    if (bytes_equal(from_tvn(c->now.value), r->value))
        c->same++;
    else
        rc = add(c, CHANGE_REPLACE, x);
    return rc == 0 ? next_now(c) : rc;
}

static int compare_all(struct compare *c, struct repository *r, const struct restore_plan *plan,
                       struct restore_result *result, struct err *e)
{
    struct restore_stages stages;
    int rc = open_now(c);
    if (rc != 0)
        return rc;
    restore_stages_begin(&stages, false);
    rc = restore_read(r, c->o, plan, c->selection, NULL, compare_record, c, &stages, result, e);
    (void)restore_stages_end(&stages);
    while (rc == 0 && !c->ended)
        rc = newer(c);
    return rc != 0 ? rc : changes_end(&c->list, c->sha256, e);
}

/* ---- showing ---- */

static json_t *counts_json(const struct compare *c, const struct restore_plan *plan)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "archive_lsn",
                     (json_int_t)plan->lsn.v, "cluster_lsn",
                     (json_int_t)tvn_snapshot_lsn(c->snapshot), "creates",
                     (json_int_t)c->list.count[CHANGE_CREATE], "replaces",
                     (json_int_t)c->list.count[CHANGE_REPLACE], "deletes",
                     (json_int_t)c->list.count[CHANGE_DELETE], "same", (json_int_t)c->same, "kept",
                     (json_int_t)c->kept, "changes_sha256", c->sha256);
}

static void print_counts(struct compare *c, const struct restore_plan *plan)
{
    const uint64_t *n = c->list.count;
    if (c->o->common.format == OUTPUT_JSON) {
        output_json(counts_json(c, plan));
        return;
    }
    (void)printf("lsn %" PRIu64 " of the archive, compared with the cluster at lsn %" PRIu64 ":\n"
                 "create     %" PRIu64 " records, which are absent now\n"
                 "replace    %" PRIu64 " records, which differ now\n"
                 "delete     %" PRIu64 " records, which did not exist then\n"
                 "same       %" PRIu64 " records: nothing is done\n",
                 plan->lsn.v, tvn_snapshot_lsn(c->snapshot), n[CHANGE_CREATE], n[CHANGE_REPLACE],
                 n[CHANGE_DELETE], c->same);
    if (!c->o->delete_newer)
        (void)printf("keep       %" PRIu64 " records, which did not exist then (--delete-newer "
                     "would delete them)\n",
                     c->kept);
    (void)printf("sha256     %s of the list of changes\n", c->sha256);
    if (changes_of(c) + c->kept != 0)
        (void)printf("\n");
    table_print(&c->table, stdout);
    if (c->hidden != 0)
        (void)printf("... and %" PRIu64 " more: %s\n", c->hidden,
                     c->o->verbose ? "-o json lists them all" : "-v lists more, -o json all");
}

/* ---- asking ---- */

static void say_number(struct warrant *w, const char *name, uint64_t n, char out[24])
{
    (void)snprintf(out, 24, "%" PRIu64, n);
    warrant_say(w, name, bytes_str(out));
}

static int make_warrant(const struct compare *c, const struct restore_plan *plan,
                        const struct restore_result *result, struct err *e)
{
    static const char *const means[] = {
        "each record is written only if it is as it was when this was shown",
        "what replaced records were until then stays in history and archive",
    };
    char numbers[7][24], hash[2 * sizeof result->at.hash.b + 1], time[UTC_TEXT_BYTES];
    json_t *status = NULL;
    int64_t now = 0;
    int rc = admin_call(c->db, "status", NULL, &status, e);
    if (rc != 0)
        return rc;
    char *selection = restore_selection_text(c->selection);
    struct warrant w = {.act = bytes_str("restore-records"),
                        .cluster = bytes_str(json_text(status, "cluster", ""))};
    if (selection == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory");
    else if (uuid_of_text(json_text(status, "id", ""), &w.cluster_id) != 0 ||
             !json_number(status, "time_us", &now))
        rc = err_set(e, ERR_FORMAT, "the cluster does not tell its id and time");
    if (rc == 0) {
        hex_format(result->at.hash.b, sizeof result->at.hash.b, hash);
        say_number(&w, "archive-lsn", plan->lsn.v, numbers[0]);
        warrant_say(&w, "archive-hash", bytes_str(hash));
        warrant_say(&w, "archive-time", bytes_str(utc_text(plan->time, time)));
        warrant_say(&w, "selection", bytes_str(selection));
        say_number(&w, "cluster-lsn", tvn_snapshot_lsn(c->snapshot), numbers[1]);
        say_number(&w, "creates", c->list.count[CHANGE_CREATE], numbers[2]);
        say_number(&w, "replaces", c->list.count[CHANGE_REPLACE], numbers[3]);
        say_number(&w, "deletes", c->list.count[CHANGE_DELETE], numbers[4]);
        say_number(&w, "same", c->same, numbers[5]);
        say_number(&w, "kept", c->kept, numbers[6]);
        warrant_say(&w, "changes-sha256", bytes_str(c->sha256));
        for (size_t i = 0; i < sizeof means / sizeof means[0]; i++)
            warrant_say(&w, "means", bytes_str(means[i]));
        rc = warrant_file_make(&c->o->common, &w, (struct utc){(uint64_t)now},
                               c->o->valid.given ? c->o->valid.v / 1000 : VALID_S, c->o->ask, e);
    }
    free(selection);
    json_decref(status);
    return rc;
}

static int open_list(const struct restore_options *o, char path[PATH_MAX], FILE **out,
                     struct err *e)
{
    if ((size_t)snprintf(path, PATH_MAX, "%s.changes", o->ask) >= PATH_MAX)
        return err_set(e, ERR_USAGE, "the name of the file is too long");
    if (access(o->ask, F_OK) == 0)
        return err_set(e, ERR_EXISTS, "%s is there already: name a new file", o->ask);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_error(e, path, "be made", errno);
    *out = fdopen(fd, "w");
    return *out != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "no memory");
}

static int same_cluster(struct compare *c, struct repository *r)
{
    struct repository_status archive;
    json_t *status = NULL;
    struct uuid id;
    char ours[UUID_TEXT_BYTES];
    int rc = admin_call(c->db, "status", NULL, &status, c->e);
    if (rc != 0)
        return rc;
    repository_status(r, &archive);
    if (uuid_of_text(json_text(status, "id", ""), &id) != 0 ||
        !uuid_equal(&id, &archive.cluster_id))
        rc = err_set(c->e, ERR_CONDITION,
                     "the archive is of cluster %s, and the profile leads to %s: versions of one "
                     "mean nothing in the other",
                     uuid_text(&archive.cluster_id, ours), json_text(status, "id", "another"));
    json_decref(status);
    return rc;
}

int restore_apply(struct repository *r, const struct restore_options *o,
                  const struct restore_plan *plan, const struct repository_selection *s,
                  struct err *e)
{
    static const char *const heads[] = {"CHANGE", "KEY", ">THEN", "AT", ">NOW", "AT"};
    struct compare c = {.o = o, .selection = s, .e = e};
    struct restore_result result;
    char path[PATH_MAX] = "";
    FILE *f = o->ask == NULL && o->common.format == OUTPUT_JSON ? stdout : NULL;
    table_init(&c.table, heads, sizeof heads / sizeof heads[0]);
    int rc = connect_open(&o->common, &c.db, e);
    if (rc == 0)
        rc = same_cluster(&c, r);
    if (rc == 0 && o->ask != NULL)
        rc = open_list(o, path, &f, e);
    if (rc == 0)
        rc = changes_begin(&c.list, f, e);
    if (rc == 0)
        rc = compare_all(&c, r, plan, &result, e);
    if (rc == 0 && o->ask != NULL && fsync(fileno(f)) != 0)
        rc = file_error(e, path, "be synced", errno);
    if (rc == 0)
        print_counts(&c, plan);
    if (rc == 0 && o->ask != NULL && changes_of(&c) == 0)
        rc = err_set(e, ERR_CONDITION, "there is nothing to change: no warrant was made");
    if (rc == 0 && o->ask != NULL)
        rc = make_warrant(&c, plan, &result, e);
    if (rc == 0 && o->ask != NULL)
        say("another operator looks at %s and %s, signs with 'triveni warrant sign %s', then: "
            "triveni restore --apply --warrant %s",
            o->ask, path, o->ask, o->ask);
    if (f != NULL && f != stdout)
        (void)fclose(f);
    if (rc != 0 && f != NULL && f != stdout)
        (void)unlink(path);
    changes_abandon(&c.list);
    tvn_scan_close(c.scan);
    tvn_snapshot_close(c.snapshot);
    (void)tvn_close(c.db);
    table_free(&c.table);
    return rc;
}
