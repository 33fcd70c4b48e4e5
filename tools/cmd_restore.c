/* restore: a state as it was, or some records of it, from the archive alone. */
#include "tools/commands.h"

#include "replication/core/warrant.h"
#include "tools/restore.h"
#include "tools/text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(member) offsetof(struct restore_options, member)
static const struct option restore_table[] = {
    {"repository", 'r', OPTION_TEXT, AT(dir), "DIR", "TRIVENI_REPOSITORY",
     "the archive: its directory, or s3:https://HOST/BUCKET... (required)"},
    {"kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK", KEK_HELP},
    {"to-lsn", 0, OPTION_NUMBER, AT(lsn), "LSN", NULL, "as it was after this transaction"},
    {"to-point", 0, OPTION_TEXT, AT(point), "NAME", NULL, "as it was at this restore point"},
    {"to-time", 0, OPTION_TEXT, AT(time), "TIME", NULL,
     "as it was at this time: ISO 8601 with Z or an offset, such as 2026-11-24T08:48:21+05:30"},
    {"or-end", 0, OPTION_FLAG, AT(or_end), NULL, NULL,
     "with --to-time: when the archive ends before that time, restore its end"},
    {"collection", 0, OPTION_TEXT, AT(collection), "NAME", NULL,
     "only the records of this collection, as lines of JSON"},
    {"key", 0, OPTION_TEXT, AT(key), "KEY", NULL, "with --collection: only this record"},
    {"prefix", 0, OPTION_TEXT, AT(prefix), "TEXT", NULL, "only keys that begin with TEXT"},
    {"from", 0, OPTION_TEXT, AT(from), "KEY", NULL, "from KEY on, inclusive"},
    {"to", 0, OPTION_TEXT, AT(to), "KEY", NULL, "up to KEY, exclusive"},
    {"into", 0, OPTION_TEXT, AT(into), "DIR|FILE", NULL,
     "new or empty directory to restore into (required); with --collection a new file (default: "
     "standard output)"},
    {"scratch", 0, OPTION_TEXT, AT(scratch), "DIR", NULL,
     "with --collection: where what is read is kept until the end, so that an interrupted command "
     "goes on; default FILE.partial, or a new directory in TMPDIR"},
    {"apply", 0, OPTION_FLAG, AT(apply), NULL, NULL,
     "with --collection: put the records back into the running cluster; with one of --preview, "
     "--ask and --warrant"},
    {"ask", 0, OPTION_TEXT, AT(ask), "FILE", NULL,
     "with --apply: show what would change, and make the warrant for it, with FILE.changes"},
    {"valid", 0, OPTION_DURATION, AT(valid), "TIME", NULL,
     "with --ask: how long the warrant may be carried out, up to 24h; default 1h"},
    {"warrant", 0, OPTION_TEXT, AT(warrant), "FILE", NULL,
     "with --apply: carry out this warrant, which two operators have signed; needs no archive"},
    {"delete-newer", 0, OPTION_FLAG, AT(delete_newer), NULL, NULL,
     "with --apply: delete the selected records that did not exist then"},
    {"verbose", 'v', OPTION_FLAG, AT(verbose), NULL, NULL,
     "with --apply: list up to 10000 changes instead of 20"},
    {"preview", 0, OPTION_FLAG, AT(preview), NULL, NULL, "say what would be restored, and stop"},
    {"yes", 'y', OPTION_FLAG, AT(yes), NULL, NULL,
     "do not ask before it begins; with --warrant needed where there is no terminal"},
    {"profile", 0, OPTION_TEXT, offsetof(struct restore_options, common.profile), "FILE",
     "TRIVENI_PROFILE", "with --apply: of an operator; YAML with endpoints, ca, cert, key, id"},
    {"timeout", 0, OPTION_DURATION, offsetof(struct restore_options, common.timeout), "TIME",
     "TRIVENI_TIMEOUT", "with --apply: of each call; default 10s, of a transaction 60s"},
    {0},
};
#undef AT

/* --apply and what goes with it. */
static int check_apply(const struct restore_options *o, struct err *e)
{
    const int steps = (o->ask != NULL) + (o->warrant != NULL) + o->preview;
    if (!o->apply && (o->ask != NULL || o->warrant != NULL || o->delete_newer || o->verbose))
        return err_set(e, ERR_USAGE, "--%s goes with --apply",
                       o->ask != NULL       ? "ask"
                       : o->warrant != NULL ? "warrant"
                       : o->delete_newer    ? "delete-newer"
                                            : "verbose");
    if (o->valid.given &&
        (o->ask == NULL || o->valid.v < 1000 || o->valid.v > 1000 * (uint64_t)WARRANT_LIFE_MAX_S))
        return err_set(e, ERR_USAGE, "--valid goes with --ask, and is from 1s to 24h");
    if (!o->apply)
        return 0;
    if (steps != 1)
        return err_set(e, ERR_USAGE,
                       "--apply goes with one of --preview, --ask FILE (to make the warrant) and "
                       "--warrant FILE (to carry it out)");
    if (o->into != NULL)
        return err_set(e, ERR_USAGE, "--apply writes to the cluster: not with --into");
    if (o->warrant != NULL && (o->collection != NULL || o->lsn.given || o->point != NULL ||
                               o->time != NULL || o->delete_newer))
        return err_set(e, ERR_USAGE,
                       "--warrant: which records, and as of when, was signed with it");
    if (o->warrant == NULL && o->collection == NULL)
        return err_set(e, ERR_USAGE, "--apply needs --collection: which records");
    if (o->collection != NULL && o->collection[0] == '_')
        return err_set(e, ERR_USAGE, "%s is the cluster's own: only it may write there",
                       o->collection);
    return 0;
}

static int choose_target(const struct restore_options *o, struct restore_target *t, struct err *e)
{
    int given = o->lsn.given + (o->point != NULL) + (o->time != NULL);
    *t = (struct restore_target){.point = o->point};
    if (o->dir == NULL || o->kek == NULL)
        return err_set(e, ERR_USAGE, "--%s is needed", o->dir == NULL ? "repository" : "kek");
    if (o->into == NULL && o->collection == NULL && !o->preview)
        return err_set(e, ERR_USAGE, "--into DIR is needed (or --preview)");
    if (given > 1)
        return err_set(e, ERR_USAGE, "give one of --to-lsn, --to-point and --to-time");
    if (o->or_end && o->time == NULL)
        return err_set(e, ERR_USAGE, "--or-end goes with --to-time");
    if (o->lsn.given && o->lsn.v == 0)
        return err_set(e, ERR_USAGE, "--to-lsn: the first transaction has lsn 1");
    t->lsn.v = o->lsn.v;
    return o->time != NULL ? utc_parse(o->time, &t->time, e) : 0;
}

json_t *restore_plan_json(const struct restore_plan *p, const struct repository_estimate *x)
{
    char time[UTC_TEXT_BYTES];
    char local[LOCAL_TEXT_BYTES];
    char digest[DIGEST_HEX_BYTES];
    char ends[UTC_TEXT_BYTES];
    digest_hex(p->digest, digest);
    return json_pack("{s:I,s:s,s:s,s:s?,s:I,s:I,s:I,s:s?,s:s,s:b,s:I,s:f}", "lsn",
                     (json_int_t)p->lsn.v, "time", utc_text(p->time, time), "time_local",
                     local_text(p->time, local), "point", p->point[0] != '\0' ? p->point : NULL,
                     "snapshot", (json_int_t)p->snapshot.v, "packs", (json_int_t)p->packs, "bytes",
                     (json_int_t)p->bytes, "digest", p->digest_known ? digest : NULL,
                     "archive_ends", utc_text(p->archive_ends, ends), "open_end", p->open_end,
                     "plain_bytes", (json_int_t)x->plain_bytes, "estimated_seconds", x->seconds);
}

/* A table goes to stdout when it is all there is (--preview), otherwise to stderr, before anything is done. */
static void print_plan(FILE *f, const struct restore_options *o,
                       const struct restore_target *target, const struct restore_plan *p,
                       const struct repository_estimate *x)
{
    char utc[UTC_TEXT_BYTES];
    char local[LOCAL_TEXT_BYTES];
    char size[24];
    if (o->time != NULL) {
        (void)fprintf(f, "asked for  %s\n", utc_text(target->time, utc));
        (void)fprintf(f, "           %s\n", local_text(target->time, local));
    }
    (void)fprintf(f, "restores   lsn %llu%s%s%s%s\n", (unsigned long long)p->lsn.v,
                  o->time == NULL ? ""
                  : p->open_end   ? ", the end of the archive"
                                  : ", the last transaction at or before that time",
                  p->point[0] != '\0' ? ", restore point '" : "", p->point,
                  p->point[0] != '\0' ? "'" : "");
    if (p->open_end)
        (void)fprintf(f,
                      "!          the archive ends at %s: later transactions up to the time asked "
                      "for may exist that are not archived\n",
                      utc_text(p->archive_ends, utc));
    (void)fprintf(f, "committed  %s\n", utc_text(p->time, utc));
    (void)fprintf(f, "           %s\n", local_text(p->time, local));
    if (p->snapshot.v != 0)
        (void)fprintf(f, "begins at  the snapshot of lsn %llu\n",
                      (unsigned long long)p->snapshot.v);
    else
        (void)fprintf(f, "begins at  the first transaction, there is no snapshot before\n");
    (void)fprintf(f, "reads      %llu packs, %s", (unsigned long long)p->packs,
                  bytes_text(p->bytes, size));
    (void)fprintf(f, ", which hold %s\n", bytes_text(x->plain_bytes, size));
    (void)fprintf(f, "takes      about %.1f s: estimated from a sample of %s; the disk writes ",
                  x->seconds, bytes_text(x->sampled_bytes, size));
    if (x->write_rate > 0)
        (void)fprintf(f, "%s/s\n", bytes_text((uint64_t)x->write_rate, size));
    else
        (void)fprintf(f, "at a rate that is not known\n");
    (void)fprintf(f, "compares   %s\n",
                  p->digest_known
                      ? "its digest with the one that the archive holds for this lsn"
                      : "digests on the way; the archive holds none for exactly this lsn");
}

const char *restore_took(const struct repository_estimate *x, double seconds, char out[64])
{
    (void)snprintf(out, 64, "estimated %.1f s, took %.1f s", x->seconds, seconds);
    return out;
}

static void print_done(const struct restore_options *o, const struct restore_plan *p,
                       const struct repository_estimate *x, const struct restore_result *r,
                       double seconds)
{
    char took[64];
    char digest[DIGEST_HEX_BYTES];
    digest_hex(r->digest, digest);
    if (o->common.format == OUTPUT_JSON) {
        output_json(json_pack("{s:o,s:s,s:I,s:I,s:I,s:I,s:s,s:b,s:f}", "plan",
                              restore_plan_json(p, x), "into", o->into, "lsn",
                              (json_int_t)r->at.lsn.v, "records", (json_int_t)r->records, "entries",
                              (json_int_t)r->entries, "compared_lsn", (json_int_t)r->compared.v,
                              "digest", digest, "resumed", r->resumed, "seconds", seconds));
        return;
    }
    (void)printf("restored %s: lsn %llu, %llu records, %llu transactions replayed; %s; "
                 "digest %s\n",
                 o->into, (unsigned long long)r->at.lsn.v, (unsigned long long)r->records,
                 (unsigned long long)r->entries, restore_took(x, seconds, took), digest);
    if (r->compared.v == 0)
        (void)printf("NOT compared: the archive holds no digest up to lsn %llu\n",
                     (unsigned long long)r->at.lsn.v);
    else if (r->compared.v == r->at.lsn.v)
        (void)printf("equal to the digest that the sites had at lsn %llu\n",
                     (unsigned long long)r->at.lsn.v);
    else
        (void)printf("equal at lsn %llu to the digest that the sites had there; the %llu "
                     "transactions after it follow by their hashes\n",
                     (unsigned long long)r->compared.v,
                     (unsigned long long)(r->at.lsn.v - r->compared.v));
}

void restore_stages_begin(struct restore_stages *s, bool quiet_build)
{
    *s = (struct restore_stages){
        .stage = REPOSITORY_STAGE_READ, .began_ms = monotonic_ms(), .quiet_build = quiet_build};
    progress_begin(&s->bar, "read", NULL, 0);
}

void restore_stages_show(void *arg, enum repository_stage stage, uint64_t done, uint64_t total)
{
    struct restore_stages *s = arg;
    if (stage != s->stage) {
        progress_end(&s->bar);
        progress_begin_count(&s->bar, "build", "records");
        s->stage = stage;
    }
    if (stage == REPOSITORY_STAGE_READ || !s->quiet_build)
        progress_show(&s->bar, done, total, done);
}

double restore_stages_end(struct restore_stages *s)
{
    progress_end(&s->bar);
    return (double)(monotonic_ms() - s->began_ms) / 1e3;
}

/* The whole state, to a directory. */
static int restore_all(struct repository *r, const struct restore_options *o,
                       const struct restore_plan *plan, const struct repository_estimate *x,
                       struct err *e)
{
    struct restore_stages stages;
    struct restore_result result;
    restore_stages_begin(&stages, false);
    int rc = repository_restore(r, plan, o->into, restore_stages_show, &stages, &result, e);
    const double seconds = restore_stages_end(&stages);
    if (rc == 0)
        print_done(o, plan, x, &result, seconds);
    return rc;
}

/* Where it would write: beside --into, or where what is read is kept. */
static int estimate_it(struct repository *r, const struct restore_options *o,
                       const struct restore_plan *plan, struct repository_estimate *out,
                       struct err *e)
{
    char dir[PATH_MAX];
    const char *tmp = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): nothing here sets it */
    const char *slash = o->into != NULL ? strrchr(o->into, '/') : NULL;
    if (slash != NULL)
        (void)snprintf(dir, sizeof dir, "%.*s", (int)(slash - o->into) + 1, o->into);
    else
        (void)snprintf(dir, sizeof dir, "%s",
                       o->into != NULL                 ? "."
                       : tmp != NULL && tmp[0] != '\0' ? tmp
                                                       : "/var/tmp");
    return repository_estimate(r, plan, o->collection == NULL, dir, out, e);
}

static int run_restore(struct invocation *in, struct err *e)
{
    struct restore_options *o = in->options;
    struct restore_target target;
    struct restore_plan plan;
    struct repository_estimate estimate;
    struct repository_selection selection;
    struct repository *r = NULL;
    int rc = check_apply(o, e);
    if (rc == 0 && o->warrant != NULL)
        return restore_carry_out(o, e);
    if (rc == 0)
        rc = choose_target(o, &target, e);
    if (rc == 0)
        rc = restore_selection(o, &selection, e);
    if (rc != 0)
        return rc;
    const struct repository_options options = {
        .dir = o->dir, .kek_file = o->kek, .read_only = true};
    rc = repository_open(&r, &options, e);
    if (rc == 0)
        rc = repository_plan(r, &target, &plan, e);
    if (rc == 0)
        rc = estimate_it(r, o, &plan, &estimate, e);
    if (rc == 0 && o->preview && !o->apply && o->common.format == OUTPUT_JSON)
        output_json(restore_plan_json(&plan, &estimate));
    else if (rc == 0)
        print_plan(o->preview && !o->apply ? stdout : stderr, o, &target, &plan, &estimate);
    if (rc == 0 && !o->preview && plan.open_end && !o->or_end)
        rc =
            err_set(e, ERR_NOT_FOUND,
                    "the archive does not reach that time: transactions up to it may exist that "
                    "are not archived yet. 'triveni archive seal' archives them; --to-lsn %llu, or "
                    "--or-end, restores the end of the archive",
                    (unsigned long long)plan.lsn.v);
    if (rc == 0 && !o->preview && !o->apply && !o->yes && isatty(STDIN_FILENO) == 1 &&
        !confirm("Restore this?"))
        rc = err_set(e, ERR_CANCELLED, "not confirmed: nothing was restored");
    if (rc == 0 && o->apply)
        rc = restore_apply(r, o, &plan, &selection, e);
    else if (rc == 0 && !o->preview)
        rc = o->collection != NULL ? restore_records(r, o, &plan, &estimate, &selection, e)
                                   : restore_all(r, o, &plan, &estimate, e);
    repository_close(r);
    return rc;
}

const struct command command_restore = {
    .name = "restore",
    .group = "Archive",
    .purpose = "restore the state as it was at a transaction, a time or a restore point",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct restore_options),
    .tables = {restore_table, output_options},
    .about =
        "Needs the archive and its key, and no site. The plan is shown first: which one "
        "transaction the target means, in UTC\n"
        "and in local time, and what is read; on a terminal it is to be confirmed. A time "
        "without Z or an offset is refused, because it means another instant\n"
        "elsewhere; so is one that the archive does not reach, unless --or-end is given. Without a "
        "target the end of the archive is\n"
        "restored. The result is counted again record by record and "
        "compared with every digest that the archive holds; when one differs the directory is "
        "renamed to DIR.rejected\n"
        "and the exit code is 7. Look at it with 'triveni dump --data-dir DIR --all'.\n"
        "\n"
        "With --collection only some records are restored, as lines of JSON like those of 'triveni "
        "dump', which 'triveni load --format dump'\n"
        "loads. A file gets its name when it is whole. When there was no such record the exit code "
        "is 3, and of a single one it is said when it was there.\n"
        "\n"
        "With --apply they are put back into the running cluster. --preview shows what would "
        "change, --ask makes a warrant for it, which another\n"
        "operator signs ('triveni warrant sign'), and --warrant carries it out: by ordinary "
        "transactions, each record only if it is as it was shown; one\n"
        "that has changed since is refused (exit code 5). The same command again does nothing "
        "twice.",
    .examples =
        {{"what would it be?",
          "triveni restore -r /srv/archive -k kek --to-time 2026-11-24T08:48:21+05:30 --preview"},
         {"a restore point", "triveni restore -r /srv/archive -k kek --to-point "
                             "before-land-act-2026 --into /srv/past"},
         {"everything", "triveni restore -r /srv/archive -k kek --into /srv/rebuilt"},
         {"one record", "triveni restore -r /srv/archive -k kek --to-lsn 41 --collection titles "
                        "--key AB-12"},
         {"put a district back", "triveni restore -r /srv/archive -k kek --to-lsn 41 --collection "
                                 "titles --prefix AB- --apply --ask back.warrant"}},
    .exits = "3456789",
    .run = run_restore,
};
