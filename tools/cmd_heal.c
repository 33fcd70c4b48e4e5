/* archive heal: put into one place of the archive what it lacks, or has damaged, from another place of it. */
#include "tools/commands.h"

#include "repository/operations.h"
#include "repository/scrub.h"
#include "tools/output.h"

struct heal_options {
    struct common common;
    const char *to, *from, *kek;
};
#define AT(member) offsetof(struct heal_options, member)
static const struct option heal_table[] = {
    {"repository", 'r', OPTION_TEXT, AT(to), "DIR", "TRIVENI_REPOSITORY",
     "what is to be healed, or made: a directory, or s3:https://HOST/BUCKET... (required)"},
    {"from", 0, OPTION_TEXT, AT(from), "DIR", NULL,
     "another place that holds the same archive (required)"},
    {"kek", 'k', OPTION_TEXT, AT(kek), "FILE", "TRIVENI_KEK",
     "key that the archive is encrypted under (required)"},
    {0},
};
#undef AT

static void on_file(void *arg, const char *object, const char *what)
{
    const bool *json = arg;
    if (!*json)
        (void)printf("%s: %s\n", object, what);
}

/* Is there an archive that is healed, and not made? */
static bool is_there(const struct heal_options *o)
{
    struct repository *r = NULL;
    const struct repository_options options = {.dir = o->to, .kek_file = o->kek, .read_only = true};
    bool there = repository_open(&r, &options, NULL) == 0;
    repository_close(r);
    return there;
}

/* For its operations log, which its site signs. */
static int record(const struct heal_options *o, const struct repository_copy_report *report,
                  struct err *e)
{
    struct repository *r = NULL;
    struct operation done = {.kind = OPERATION_HEAL,
                             .checked = report->objects,
                             .damaged = report->copied + report->healed};
    const struct repository_options options = {.dir = o->to, .kek_file = o->kek, .read_only = true};
    int rc = repository_open(&r, &options, e);
    if (rc == 0)
        rc = repository_operations_add(r, &done, e);
    repository_close(r);
    return rc;
}

/* What no copy has whole: packs that are damaged still, each from its own file. */
static int salvage(const struct heal_options *o, bool *json, uint64_t *made, struct err *e)
{
    struct repository *r = NULL;
    struct repository_options options = {.dir = o->to, .kek_file = o->kek, .read_only = true};
    int rc = repository_open(&r, &options, e);
    const bool any = rc == 0 && repository_salvageable(r) != 0;
    repository_close(r);
    if (!any)
        return rc;
    options.read_only = false;
    rc = repository_open(&r, &options, e);
    if (rc == 0) {
        rc = repository_salvage(r, on_file, json, made, e);
        repository_close(r);
    }
    return rc;
}

static int run_heal(struct invocation *in, struct err *e)
{
    const struct heal_options *o = in->options;
    struct repository *from = NULL;
    struct repository_copy *to = NULL;
    struct repository_copy_report report = {0};
    uint64_t made = 0;
    bool json = o->common.format == OUTPUT_JSON;
    if (o->to == NULL || o->from == NULL || o->kek == NULL)
        return err_set(e, ERR_USAGE, "--%s is needed",
                       o->to == NULL     ? "repository"
                       : o->from == NULL ? "from"
                                         : "kek");
    const struct repository_options options = {
        .dir = o->from, .kek_file = o->kek, .read_only = true};
    bool heals = is_there(o);
    int rc = repository_open(&from, &options, e);
    if (rc == 0)
        rc = repository_copy_open(&to, o->to, e);
    if (rc == 0)
        rc = repository_copy_run(to, from, true, 0, on_file, &json, &report, e);
    repository_copy_close(to);
    repository_close(from);
    if (rc == 0)
        rc = salvage(o, &json, &made, e);
    report.healed += made;
    if (rc == 0 && heals && report.copied + report.healed != 0)
        rc = record(o, &report, e);
    if (rc == 0 && report.damaged != 0)
        rc = err_set(
            e, ERR_INTEGRITY,
            "%llu objects are damaged in %s, and were left as they are there: triveni archive "
            "verify names them",
            (unsigned long long)report.damaged, o->from);
    if (json)
        output_json(json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "objects", (json_int_t)report.objects,
                              "copied", (json_int_t)report.copied, "healed",
                              (json_int_t)report.healed, "damaged", (json_int_t)report.damaged,
                              "made_again", (json_int_t)made, "reached",
                              (json_int_t)report.reached.v));
    else
        (void)printf("%llu objects looked at: %llu files copied, %llu healed\n",
                     (unsigned long long)report.objects, (unsigned long long)report.copied,
                     (unsigned long long)report.healed);
    return rc;
}

const struct command command_archive_heal = {
    .name = "archive heal",
    .group = "Archive",
    .purpose = "put into an archive what it lacks or has damaged, from a copy of it",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct heal_options),
    .tables = {heal_table, output_options},
    .about =
        "Reads both places whole. What is put was verified: keys and metas by their seals, objects "
        "by the checksum in the\n"
        "sealed meta. A damaged file in a directory is replaced; in a bucket the same bytes become "
        "a "
        "newer version. A place that\n"
        "is empty becomes a copy. A pack that is damaged still, because the other place does not "
        "have it "
        "whole, is made again from its\n"
        "own file where only its meta is lost; the archive's site names it in its log when it "
        "runs. "
        "A directory that a running site archives into is refused: stop "
        "the "
        "site. Check with archive verify.",
    .examples =
        {{"bring back what was lost in the directory",
          "triveni archive heal -r /srv/archive --from 's3:https://rgw.example/land' -k kek"}},
    .exits = "3478",
    .run = run_heal,
};
