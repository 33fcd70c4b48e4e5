/* divergence list, show, export, discard: bundles of what a site had to undo when it rejoined, one file each in DATA/divergence.
 * 'apply' is in cmd_divergence_apply.c. */
#include "tools/commands.h"

#include "store/io/file.h"
#include "tools/connect.h"
#include "tools/divergence.h"
#include "tools/lines.h"
#include "tools/table.h"
#include "tools/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct divergence_options {
    struct common common;
    struct divergence_place place;
    const char *to, *reason;
    bool yes;
};
#define AT(member) offsetof(struct divergence_options, member)
static const struct option place_table[] = {
    {"config", 'c', OPTION_TEXT, AT(place.config), "FILE", "TRIVENI_CONFIG",
     "configuration of the site"},
    {"data-dir", 0, OPTION_TEXT, AT(place.data_dir), "DIR", NULL,
     "its data directory, instead of --config"},
    {0},
};
static const struct option export_table[] = {
    {"to", 0, OPTION_TEXT, AT(to), "FILE", NULL,
     "write it there; the file must not exist. Default: standard output"},
    {0},
};
static const struct option discard_table[] = {
    {"reason", 0, OPTION_TEXT, AT(reason), "TEXT", NULL,
     "why: it goes into the audit trail (required)"},
    {"yes", 'y', OPTION_FLAG, AT(yes), NULL, NULL, "do not ask for confirmation"},
    {0},
};
#undef AT

/* ---- list ---- */

struct listed {
    struct bundle b;
    struct bundle_decision decision;
    const char *state;
    struct err why; /* of "damaged" */
};

/* A state for each bundle: the first that fits. */
static void judge(const char *path, struct listed *l)
{
    struct err *e = &l->why;
    if (bundle_check(path, &l->b, e) != 0) {
        l->state = e->code == ERR_NEWER ? "newer" : "damaged";
        return;
    }
    if (bundle_decision_read(path, &l->decision, e) != 0)
        l->state = "damaged";
    else if (l->decision.what[0] != '\0' && strcmp(l->decision.sha256, l->b.sha256) != 0)
        l->state = "changed since";
    else if (l->decision.what[0] != '\0')
        l->state = l->decision.what;
    else
        l->state = bundle_matters(&l->b) ? "open" : "no loss";
}

static int count_lines(const char *path, uint64_t *out, struct err *e)
{
    struct lines lines;
    struct line line;
    int rc = lines_open(&lines, path, BUNDLE_LINE_MAX_BYTES, e);
    if (rc != 0)
        return rc;
    while ((rc = lines_next(&lines, &line, e)) == 1)
        *out = line.number;
    lines_close(&lines);
    return rc;
}

static json_t *listed_json(const struct listed *l, const char *name, uint64_t count)
{
    char time[UTC_TEXT_BYTES], at[UTC_TEXT_BYTES];
    const struct bundle *b = &l->b;
    bool counted = b->format > 1, decided = l->decision.what[0] != '\0';
    json_t *o =
        json_pack("{s:s, s:s, s:s?, s:I, s:I, s:I, s:I, s:I}", "name", name, "state", l->state,
                  "written", counted ? utc_text((struct utc){b->written_us}, time) : NULL, "lines",
                  (json_int_t)count, "bytes", (json_int_t)b->bytes, "term", (json_int_t)b->term,
                  "first", (json_int_t)b->first, "last", (json_int_t)b->last);
    (void)json_object_set_new(o, "entries",
                              counted ? json_integer((json_int_t)b->entries) : json_null());
    (void)json_object_set_new(o, "operations",
                              counted ? json_integer((json_int_t)b->operations) : json_null());
    (void)json_object_set_new(o, "acknowledged",
                              counted ? json_pack("{s:I, s:I, s:I}", "yes", (json_int_t)b->yes,
                                                  "possible", (json_int_t)b->possible, "no",
                                                  (json_int_t)b->no)
                                      : json_null());
    (void)json_object_set_new(
        o, "decision",
        decided ? json_pack("{s:s, s:s, s:s, s:I, s:s}", "what", l->decision.what, "by",
                            l->decision.by, "at", utc_text((struct utc){l->decision.time_us}, at),
                            "lsn", (json_int_t)l->decision.lsn, "reason", l->decision.reason)
                : json_null());
    (void)json_object_set_new(o, "sha256", json_string(b->sha256));
    if (l->why.code != 0)
        (void)json_object_set_new(o, "error", json_string(l->why.text));
    return o;
}

static void listed_row(const struct listed *l, const char *name, struct table *t)
{
    char time[UTC_TEXT_BYTES];
    const struct bundle *b = &l->b;
    bool settled = l->decision.what[0] != '\0' || strcmp(l->state, "no loss") == 0;
    table_bytes(t, bytes_str(name));
    table_cell(t, l->why.code != 0 ? STYLE_BAD : settled ? STYLE_GOOD : STYLE_WARN, "%s", l->state);
    if (b->format < 2) {
        for (int i = 0; i < 4; i++)
            table_cell(t, STYLE_DIM, "unknown");
    } else {
        table_cell(t, STYLE_NONE, "%s", utc_text((struct utc){b->written_us}, time));
        table_cell(t, STYLE_NONE, "%llu", (unsigned long long)b->entries);
        table_cell(t, STYLE_NONE, "%llu", (unsigned long long)b->operations);
        table_cell(t, STYLE_NONE, "%llu yes, %llu possible", (unsigned long long)b->yes,
                   (unsigned long long)b->possible);
    }
    if (l->decision.what[0] != '\0')
        table_cell(t, STYLE_NONE, "%s, %s%s%s", l->decision.by,
                   utc_text((struct utc){l->decision.time_us}, time),
                   l->decision.reason[0] != '\0' ? ": " : "", l->decision.reason);
    else
        table_cell(t, STYLE_NONE, "%s", l->why.code != 0 ? l->why.text : "");
}

static int list_one(const struct divergence_options *o, struct table *t, const char *dir,
                    const char *name, bool *damaged, struct err *e)
{
    char path[BUNDLE_PATH_BYTES + BUNDLE_NAME_BYTES];
    uint64_t count = 0;
    struct listed l = {.why = ERR_NONE};
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    judge(path, &l);
    *damaged = *damaged || l.why.code != 0;
    if (o->common.format != OUTPUT_JSON) {
        listed_row(&l, name, t);
        return 0;
    }
    int rc = count_lines(path, &count, e);
    if (rc == 0)
        output_json(listed_json(&l, name, count));
    return rc;
}

static int is_bundle(const struct dirent *entry)
{
    return bundle_is_name(entry->d_name);
}

static int run_divergence_list(struct invocation *in, struct err *e)
{
    const struct divergence_options *o = in->options;
    static const char *const heads[] = {"BUNDLE",      "STATE",        "WRITTEN", ">ENTRIES",
                                        ">OPERATIONS", "ACKNOWLEDGED", "DECIDED"};
    char dir[BUNDLE_PATH_BYTES];
    bool damaged = false;
    int rc = divergence_dir(&o->place, dir, e);
    if (rc != 0)
        return rc;
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, is_bundle, alphasort);
    if (n < 0 && errno != ENOENT)
        return err_set(e, file_code(errno), "%s: %s", dir, strerror(errno));
    struct table t;
    table_init(&t, heads, 7);
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            rc = list_one(o, &t, dir, entries[i]->d_name, &damaged, e);
        free(entries[i]);
    }
    free(entries);
    if (rc == 0 && o->common.format == OUTPUT_TABLE && n > 0)
        table_print(&t, stdout);
    else if (rc == 0 && o->common.format == OUTPUT_TABLE)
        say("this site never had to undo anything");
    table_free(&t);
    if (rc == 0 && damaged)
        rc = err_set(e, ERR_INTEGRITY, "a bundle is not as the site wrote it: look for a copy");
    return rc;
}

/* ---- show ---- */

static int run_divergence_show(struct invocation *in, struct err *e)
{
    const struct divergence_options *o = in->options;
    char path[BUNDLE_PATH_BYTES];
    struct bundle b;
    struct lines lines;
    struct line line;
    int rc = divergence_path(&o->place, in->operands[0], path, e);
    if (rc != 0)
        return rc;
    int checked = bundle_check(path, &b, e); /* what is there is shown in any case */
    if (checked != 0 && checked != ERR_INTEGRITY)
        return checked;
    rc = lines_open(&lines, path, BUNDLE_LINE_MAX_BYTES, checked != 0 ? NULL : e);
    if (rc != 0)
        return rc;
    while ((rc = lines_next(&lines, &line, checked != 0 ? NULL : e)) == 1) {
        (void)fwrite(line.text.p, 1, line.text.n, stdout);
        (void)putchar('\n');
        if (line.too_long)
            say("%s:%llu: the line is longer than any of a bundle; the rest of it is not shown",
                path, (unsigned long long)line.number);
    }
    lines_close(&lines);
    return checked != 0 ? checked : rc;
}

/* ---- export ---- */

static void op_row(struct table *t, const struct bundle_op *op)
{
    char time[UTC_TEXT_BYTES];
    table_cell(t, STYLE_NONE, "%llu", (unsigned long long)op->lsn);
    table_cell(t, STYLE_NONE, "%s", utc_text((struct utc){op->time_us}, time));
    table_bytes(t, op->client);
    table_cell(t, strcmp(op->acknowledged, "no") == 0 ? STYLE_DIM : STYLE_WARN, "%s",
               op->acknowledged);
    table_cell(t, STYLE_NONE, "%s", op->kind == OP_PUT ? "put" : "del");
    table_cell(t, STYLE_NONE, "%s", op->collection);
    table_bytes(t, op->key);
    if (op->base == OP_BASE_VERSION)
        table_cell(t, STYLE_NONE, "%llu", (unsigned long long)op->base_lsn);
    else
        table_cell(t, STYLE_NONE, "%s", op->base == OP_BASE_ABSENT ? "absent" : "unknown");
    table_bytes(t, op->value);
}

/* Restore points and what else is no record. */
static void entry_row(struct table *t, const json_t *line)
{
    char time[UTC_TEXT_BYTES];
    static const char *const names[] = {"name", "mode", "act", "site"};
    const char *what = "";
    for (size_t i = 0; i < 4 && what[0] == '\0'; i++)
        if (json_is_string(json_object_get(line, names[i])))
            what = json_string_value(json_object_get(line, names[i]));
    const char *client = json_string_value(json_object_get(line, "client"));
    const char *acknowledged = json_string_value(json_object_get(line, "acknowledged"));
    const char *kind = json_string_value(json_object_get(line, "entry"));
    uint64_t us = (uint64_t)json_integer_value(json_object_get(line, "time_us"));
    table_cell(t, STYLE_NONE, "%lld", (long long)json_integer_value(json_object_get(line, "lsn")));
    table_cell(t, STYLE_NONE, "%s", utc_text((struct utc){us}, time));
    table_cell(t, STYLE_NONE, "%s", client != NULL ? client : "");
    table_cell(t, STYLE_DIM, "%s", acknowledged != NULL ? acknowledged : "");
    table_cell(t, STYLE_NONE, "%s", kind != NULL ? kind : "unknown");
    table_cell(t, STYLE_NONE, "%s", "");
    table_cell(t, STYLE_NONE, "%s", what);
    table_cell(t, STYLE_NONE, "%s", "");
    table_cell(t, STYLE_NONE, "%s", "");
}

static int export_table_of(const char *path, FILE *out, struct err *e)
{
    static const char *const heads[] = {">LSN",       "TIME", "CLIENT", "ACKNOWLEDGED", "OP",
                                        "COLLECTION", "KEY",  ">BASE",  "VALUE"};
    enum { ROWS_AT_ONCE = 1000 };
    struct bundle_lines lines;
    struct table t;
    json_t *line = NULL;
    int rc = bundle_open(&lines, path, e);
    if (rc != 0)
        return rc;
    table_init(&t, heads, 9);
    for (uint64_t n = 1; (rc = bundle_next(&lines, &line, e)) == 1; n++) {
        struct bundle_op op;
        rc = bundle_op_read(&line, &op, e);
        if (rc < 0)
            break;
        if (rc == 1) {
            op_row(&t, &op);
            bundle_op_free(&op);
        } else {
            entry_row(&t, line);
            json_decref(line);
        }
        if (n % ROWS_AT_ONCE == 0)
            table_print(&t, out);
    }
    if (rc == 0)
        table_print(&t, out);
    table_free(&t);
    bundle_close(&lines);
    return rc;
}

static int export_as_it_is(const char *path, FILE *out, struct err *e)
{
    char chunk[1 << 16];
    size_t n;
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return file_error(e, path, "open", errno);
    while ((n = fread(chunk, 1, sizeof chunk, in)) > 0)
        if (fwrite(chunk, 1, n, out) != n)
            break;
    int rc = ferror(in) || ferror(out) ? file_error(e, path, "copy", errno) : 0;
    (void)fclose(in);
    return rc;
}

static int run_divergence_export(struct invocation *in, struct err *e)
{
    const struct divergence_options *o = in->options;
    char path[BUNDLE_PATH_BYTES];
    struct bundle b;
    FILE *out = stdout;
    int rc = divergence_path(&o->place, in->operands[0], path, e);
    if (rc == 0)
        rc = bundle_check(path, &b, e);
    if (rc != 0)
        return rc;
    bool table = o->common.output != NULL && o->common.format == OUTPUT_TABLE;
    if (table && b.format < 2)
        return err_set(
            e, ERR_FORMAT,
            "%s was written by an earlier version: it is shown by 'divergence show' only",
            in->operands[0]);
    int fd = o->to != NULL ? open(o->to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (o->to != NULL && (fd < 0 || (out = fdopen(fd, "w")) == NULL))
        return file_error(e, o->to, "create", errno);
    rc = table ? export_table_of(path, out, e) : export_as_it_is(path, out, e);
    if (o->to == NULL)
        return rc;
    if (rc == 0 && (fflush(out) != 0 || fsync(fd) != 0))
        rc = file_error(e, o->to, "write", errno);
    if (fclose(out) != 0 && rc == 0)
        rc = file_error(e, o->to, "write", errno);
    if (rc != 0)
        (void)unlink(o->to); /* a piece would be taken for the whole */
    else
        rc = file_sync_parent(o->to, e);
    return rc;
}

/* ---- discard ---- */

static int sign_off(const struct divergence_options *o, const char *name, const char *path,
                    const struct bundle *b, struct err *e)
{
    struct tvn *db = NULL;
    struct bundle_decision decision;
    char time[UTC_TEXT_BYTES];
    int rc = connect_open(&o->common, &db, e);
    if (rc == 0 && b->format > 1)
        rc = divergence_same_cluster(db, b, e);
    if (rc == 0)
        rc = divergence_sign(db, "discard", name, b, o->reason, NULL, &decision, e);
    (void)tvn_close(db);
    if (rc != 0)
        return rc;
    (void)snprintf(decision.what, sizeof decision.what, "discarded");
    rc = bundle_decision_write(path, &decision, e);
    if (rc != 0)
        return err_wrap(e,
                        "the decision is in the audit trail at lsn %llu, but not beside the bundle",
                        (unsigned long long)decision.lsn);
    if (o->common.format == OUTPUT_JSON)
        output_json(json_pack("{s:s, s:s, s:s, s:I, s:s}", "bundle", name, "decision",
                              decision.what, "by", decision.by, "lsn", (json_int_t)decision.lsn,
                              "time", utc_text((struct utc){decision.time_us}, time)));
    else
        (void)printf("%s is discarded: signed by %s, lsn %llu, %s. The file stays.\n", name,
                     decision.by, (unsigned long long)decision.lsn,
                     utc_text((struct utc){decision.time_us}, time));
    return 0;
}

static int run_divergence_discard(struct invocation *in, struct err *e)
{
    const struct divergence_options *o = in->options;
    const char *name = in->operands[0];
    char path[BUNDLE_PATH_BYTES], question[512];
    struct bundle b;
    struct bundle_decision old;
    if (o->reason == NULL || o->reason[0] == '\0')
        return err_set(e, ERR_USAGE, "--reason is needed: it is what an auditor will read");
    if (strlen(o->reason) > 512 || !utf8_valid(bytes_str(o->reason), NULL))
        return err_set(e, ERR_USAGE, "--reason must be UTF-8 of at most 512 bytes");
    int rc = divergence_path(&o->place, name, path, e);
    if (rc == 0)
        rc = bundle_check(path, &b, e);
    if (rc == 0)
        rc = bundle_decision_read(path, &old, e);
    if (rc == 0 && old.what[0] != '\0')
        rc = err_set(e, ERR_EXISTS, "%s was %s already, by %s at lsn %llu", name, old.what, old.by,
                     (unsigned long long)old.lsn);
    if (rc != 0)
        return rc;
    (void)snprintf(
        question, sizeof question,
        "%s has %llu operations that are not in the common history, %llu acknowledged and "
        "%llu possibly.\nThey will not be applied.",
        name, (unsigned long long)b.operations, (unsigned long long)b.yes,
        (unsigned long long)b.possible);
    if (!o->yes && !confirm(question))
        return err_set(e, ERR_USAGE,
                       "not confirmed: nothing was done (--yes confirms without a question)");
    return sign_off(o, name, path, &b, e);
}

/* ---- the commands ---- */

const struct command command_divergence_list = {
    .name = "divergence list",
    .group = "Cluster",
    .purpose = "list what this site had to undo when it rejoined",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct divergence_options),
    .tables = {place_table, output_options},
    .about =
        "A former primary may hold transactions that are not in the common history. Before it "
        "undoes them it writes them into a\n"
        "bundle: one JSON Lines file in DATA/divergence. Run this on that site's machine. Each "
        "is open until somebody has applied\n"
        "or discarded it; one that holds nothing but beginnings of terms and sessions is no "
        "loss. ACKNOWLEDGED counts operations: yes,\n"
        "the primary sent its client the answer 'done'; possible, nobody knows any more; of "
        "the rest nobody was told. What is damaged is\n"
        "named (exit code 7).",
    .examples = {{"of this site", "triveni divergence list --config /etc/triveni/triveni.yaml"}},
    .exits = "378",
    .run = run_divergence_list,
};

const struct command command_divergence_show = {
    .name = "divergence show",
    .group = "Cluster",
    .purpose = "print a bundle, one JSON object in a line",
    .operands = "BUNDLE",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct divergence_options),
    .tables = {place_table},
    .about = "What is there is printed also when the bundle is damaged; the exit code is 7 then.",
    .examples = {{"the records",
                  "triveni divergence show NAME --config /etc/triveni/triveni.yaml | jq ."}},
    .exits = "378",
    .run = run_divergence_show,
};

const struct command command_divergence_export = {
    .name = "divergence export",
    .group = "Cluster",
    .purpose = "copy a bundle that is whole, or print it as a table",
    .operands = "BUNDLE",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct divergence_options),
    .tables = {export_table, place_table, output_options},
    .about =
        "JSON Lines, as docs/FORMATS.md describes them: a header with counts, each operation "
        "with who wrote it, when, whether its\n"
        "client was told, and BASE, the version that the record had in the common history; and "
        "a checksum. With -o table the same\n"
        "for people, with values cut. A bundle that was cut short or edited is refused.",
    .examples =
        {{"for the department that wrote it",
          "triveni divergence export NAME --to lost.jsonl -c /etc/triveni/triveni.yaml"},
         {"what was acknowledged",
          "triveni divergence export NAME -c dc.yaml | jq -c 'select(.acknowledged==\"yes\")'"},
         {"to look at", "triveni divergence export NAME -o table -c dc.yaml"}},
    .exits = "378",
    .run = run_divergence_export,
};

const struct command command_divergence_discard = {
    .name = "divergence discard",
    .group = "Cluster",
    .purpose = "sign off that a bundle is not (or not further) applied",
    .operands = "BUNDLE",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct divergence_options),
    .tables = {discard_table, place_table, output_options, connection_options},
    .about = "Who, when, why, checksum and counts go into the audit trail, which is replicated and "
             "archived; then the bundle is marked,\n"
             "and 'triveni status' does not name it any more. The file stays. Needs an operator's "
             "profile.",
    .examples = {{"what the clients have sent again",
                  "triveni divergence discard NAME --reason 'clients repeated all' -c dc.yaml"}},
    .exits = "3456789",
    .run = run_divergence_discard,
};
