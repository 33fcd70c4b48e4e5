/* drill restore: can the archive be restored? Asked of the archive's site, or done here, from the archive alone. */
#include "tools/commands.h"

#include "repository/operations.h"
#include "tools/admin.h"
#include "tools/background.h"
#include "tools/progress.h"
#include "tools/text.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

struct drill_options {
    struct common common;
    const char *dir, *kek, *scratch;
    bool now, background, follow, record;
};
#define AT(member) offsetof(struct drill_options, member)
static const struct option drill_table[] = {
    {"now", 0, OPTION_FLAG, AT(now), NULL, NULL, "have the archive's site do one now, and wait"},
    {"repository", 'r', OPTION_TEXT, AT(dir), "DIR", "TRIVENI_REPOSITORY",
     "do it here, from this archive: its directory, or s3:https://HOST/BUCKET..."},
    {"kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK", KEK_HELP},
    {"scratch", 0, OPTION_TEXT, AT(scratch), "DIR", NULL,
     "with -r: directory in which it is restored, and removed again"},
    {"background", 0, OPTION_FLAG, AT(background), NULL, NULL,
     "with -r: leave processor, disk and memory to others, and end with the process that began it"},
    {"follow", 0, OPTION_FLAG, AT(follow), NULL, NULL,
     "with -r and -o json: a line a second of how far it is, before the outcome"},
    {"record", 0, OPTION_FLAG, AT(record), NULL, NULL,
     "with -r: hand the outcome in to the archive's operations log, which its site signs"},
    {0},
};
#undef AT

enum { DRILL_POLL_MS = 300, FOLLOW_MS = 1000 };

/* ---- here ---- */

struct run {
    const struct drill_options *options;
    struct progress bar;
    enum repository_stage stage;
    uint64_t told_ms;
};

static void on_progress(void *arg, enum repository_stage stage, uint64_t done, uint64_t total)
{
    struct run *x = arg;
    if (stage != x->stage) {
        progress_end(&x->bar);
        progress_begin_count(&x->bar, "build", "records");
        x->stage = stage;
    }
    uint64_t now = monotonic_ms();
    if (!x->options->follow) {
        progress_show(&x->bar, done, total, done);
    } else if (now >= x->told_ms + FOLLOW_MS) {
        x->told_ms = now;
        output_json(json_pack("{s:s,s:I,s:I}", "stage",
                              stage == REPOSITORY_STAGE_READ ? "read" : "build", "done",
                              (json_int_t)done, "total", (json_int_t)total));
        (void)fflush(stdout);
    }
}

/* The outcome, also of a failure, so that whoever began it has it as evidence. */
static json_t *outcome_json(const struct repository_drill *d, double seconds, int rc,
                            const struct err *why)
{
    char digest[DIGEST_HEX_BYTES];
    const bool restored = d->result.at.lsn.v != 0;
    digest_hex(d->result.digest, digest);
    return json_pack("{s:b,s:I,s:o,s:o,s:I,s:I,s:I,s:f,s:o,s:o}", "ok", rc == 0, "lsn",
                     (json_int_t)d->plan.lsn.v, "compared_lsn",
                     restored ? json_integer((json_int_t)d->result.compared.v) : json_null(),
                     "digest", restored ? json_string(digest) : json_null(), "records",
                     (json_int_t)d->result.records, "entries", (json_int_t)d->result.entries,
                     "bytes", (json_int_t)d->bytes, "seconds", seconds, "why",
                     rc != 0 ? json_string(why->text) : json_null(), "code",
                     rc != 0 ? json_string(err_name(rc)) : json_null());
}

static void print_outcome(const json_t *o)
{
    char lsn[24], compared[24], records[24], size[24];
    int64_t bytes = 0;
    double seconds = json_number_value(json_object_get(o, "seconds"));
    (void)json_number(o, "bytes", &bytes);
    (void)printf(
        "restored to lsn %s: %s records in %.1f s (%s, %.1f MB/s), equal to the digest that "
        "the sites had at lsn %s\n",
        field_text(o, "lsn", lsn, sizeof lsn), field_text(o, "records", records, sizeof records),
        seconds, bytes_text((uint64_t)bytes, size),
        seconds > 0 ? (double)bytes / 1e6 / seconds : 0.0,
        field_text(o, "compared_lsn", compared, sizeof compared));
}

/* A failure is recorded, too; one that is not recorded is a failure. */
static int record(struct repository *r, const struct repository_drill *d, int outcome,
                  struct err *e)
{
    struct operation done = {.kind = OPERATION_DRILL, .last = d->result.at.lsn, .checked = 1};
    struct err why = ERR_NONE;
    done.damaged = outcome != 0;
    (void)snprintf(done.detail, sizeof done.detail, "%s",
                   outcome == 0 ? "restored, equal" : err_name(outcome));
    int rc = repository_operations_add(r, &done, &why);
    if (rc != 0 && outcome == 0)
        return err_set(e, rc, "%s", why.text);
    if (rc != 0)
        (void)fprintf(stderr, "triveni: drill restore: %s\n", why.text);
    return outcome;
}

static int drill_here(const struct drill_options *o, struct err *e)
{
    const struct restore_target end = {.lsn = {0}};
    struct run x = {.options = o, .stage = REPOSITORY_STAGE_READ};
    struct repository_drill d = {.bytes = 0};
    struct repository *r = NULL;
    if (o->kek == NULL || o->scratch == NULL)
        return err_set(e, ERR_USAGE, "--%s is needed", o->kek == NULL ? "kek" : "scratch");
    if (o->follow && o->common.format != OUTPUT_JSON)
        return err_set(e, ERR_USAGE, "--follow goes with -o json");
    if (o->background)
        background_begin();
    const struct repository_options options = {
        .dir = o->dir, .kek_file = o->kek, .read_only = true};
    const uint64_t began = monotonic_ms();
    progress_begin(&x.bar, "read", NULL, 0);
    int rc = repository_open(&r, &options, e);
    if (rc == 0)
        rc = repository_drill(r, &end, o->scratch, on_progress, &x, &d, e);
    progress_end(&x.bar);
    if (r != NULL && o->record)
        rc = record(r, &d, rc, e);
    repository_close(r);
    json_t *outcome = outcome_json(&d, (double)(monotonic_ms() - began) / 1e3, rc, e);
    if (o->common.format == OUTPUT_JSON)
        output_json(json_incref(outcome));
    else if (rc == 0)
        print_outcome(outcome);
    json_decref(outcome);
    return rc;
}

/* ---- at the archive's site ---- */

/* What the site says of its drills; NULL when it says nothing. The caller releases *status. */
static int ask(struct tvn *db, const char *site, json_t **status, const json_t **drill,
               struct err *e)
{
    size_t i;
    const json_t *row;
    int rc = admin_call(db, "status", NULL, status, e);
    *drill = NULL;
    json_array_foreach(json_object_get(*status, "sites"), i, row)
    {
        if (strcmp(json_text(row, "name", ""), site) == 0)
            *drill = json_object_get(json_object_get(row, "archive"), "drill");
    }
    if (rc == 0 && !json_is_object(*drill))
        rc = err_set(e, ERR_FAILED, "site %s says nothing of restore drills", site);
    return rc;
}

/* Have one done, and wait until it is. */
static int wait_for_one(struct tvn *db, const char *site, struct err *e)
{
    json_t *reply = NULL;
    int64_t wanted = 0, count = 0, done = 0, total = 0;
    struct progress bar;
    int rc = admin_call(db, "drill", NULL, &reply, e);
    (void)json_number(reply, "count", &wanted);
    json_decref(reply);
    progress_begin(&bar, "drill", NULL, 0);
    while (rc == 0 && count < wanted) {
        json_t *status = NULL;
        const json_t *drill;
        (void)usleep(DRILL_POLL_MS * 1000);
        rc = ask(db, site, &status, &drill, e);
        (void)json_number(drill, "count", &count);
        const json_t *running = json_object_get(drill, "running");
        if (json_number(running, "done", &done) && json_number(running, "total", &total))
            progress_show(&bar, (uint64_t)done, (uint64_t)total, 0);
        json_decref(status);
    }
    progress_end(&bar);
    return rc;
}

static void print_state(const json_t *drill)
{
    char when[UTC_TEXT_BYTES];
    const json_t *last = json_object_get(drill, "last");
    int64_t next = 0;
    if (json_is_object(last))
        (void)printf("last drill: %s, %s\n", json_text(last, "ended", "unknown"),
                     json_is_true(json_object_get(last, "ok")) ? "ok" : "FAILED");
    else
        (void)printf("last drill: never\n");
    if (json_is_object(last) && json_is_true(json_object_get(last, "ok")))
        print_outcome(last);
    if (json_is_object(json_object_get(drill, "running")))
        (void)printf("one is under way\n");
    if (json_number(drill, "next_us", &next))
        (void)printf("next drill: %s\n", utc_text((struct utc){(uint64_t)next}, when));
    else
        (void)printf("next drill: none on a schedule (repository.drill_hours)\n");
}

/* The last one was good and is not too old: 0. */
static int judge(const char *site, const json_t *drill, struct err *e)
{
    const json_t *last = json_object_get(drill, "last");
    if (!json_is_object(last))
        return err_set(e, ERR_CONDITION,
                       "the archive was never restored as a drill: triveni drill restore --now");
    if (!json_is_true(json_object_get(last, "ok")))
        return err_set(e, ERR_INTEGRITY, "the last restore drill at %s failed: %.400s", site,
                       json_text(last, "why", "unknown"));
    if (json_is_true(json_object_get(drill, "overdue")))
        return err_set(e, ERR_CONDITION,
                       "the last restore drill at %s is older than twice repository.drill_hours: "
                       "triveni drill restore --now",
                       site);
    return 0;
}

static int drill_there(const struct drill_options *o, struct err *e)
{
    char site[64];
    struct tvn *db = NULL;
    json_t *status = NULL;
    const json_t *drill = NULL;
    int64_t newest = 0;
    int rc = archive_site(&o->common, site, &newest, e);
    if (rc == 0)
        rc = open_site(&o->common, site, &db, e);
    if (rc == 0 && o->now)
        rc = wait_for_one(db, site, e);
    if (rc == 0)
        rc = ask(db, site, &status, &drill, e);
    if (rc == 0 && o->common.format == OUTPUT_JSON)
        output_json(json_deep_copy(drill));
    else if (rc == 0)
        print_state(drill);
    if (rc == 0)
        rc = judge(site, drill, e);
    json_decref(status);
    (void)tvn_close(db);
    return rc;
}

static int run_drill_restore(struct invocation *in, struct err *e)
{
    const struct drill_options *o = in->options;
    return o->dir != NULL && !o->now ? drill_here(o, e) : drill_there(o, e);
}

const struct command command_drill_restore = {
    .name = "drill restore",
    .group = "Archive",
    .purpose = "restore the archive as a drill, compare, and remove it; or tell of the last drill",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct drill_options),
    .tables = {drill_table, output_options, connection_options},
    .about =
        "The archive's site restores its archive as often as repository.drill_hours says, in "
        "repository.drill_dir, beside its work, and keeps\n"
        "the outcomes in drills.jsonl of its data directory. Without options the last outcome is "
        "told: exit code 7 when it failed, 5 when\n"
        "there was none or it is too old. With --now an operator has one done. With -r no site is "
        "asked: it is done here, from an archive.\n"
        "A drill is the same work as 'triveni restore' to the end of the archive: every object is "
        "decrypted, every entry checked, the result\n"
        "counted again and compared with the digest that the sites had.",
    .examples = {{"how was the last one?", "triveni drill restore"},
                 {"one now", "triveni drill restore --now"},
                 {"from a copy, without any site",
                  "triveni drill restore -r /mnt/copy -k kek --scratch /var/tmp/drill"}},
    .exits = "345678",
    .run = run_drill_restore,
};
