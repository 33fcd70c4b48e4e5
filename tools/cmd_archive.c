/* archive: what the repository holds, read from its directory; no site has to run. */
#include "tools/commands.h"

#include "repository/operations.h"
#include "repository/proof.h"
#include "repository/scrub.h"
#include "tools/progress.h"
#include "tools/table.h"
#include "tools/text.h"
#include "tools/verifier_keys.h"

#include <unistd.h>

struct archive_options {
    struct common common;
    const char *dir, *kek;
    const char *level, *scratch, *point, *time, *ledger, *require;
    struct option_list keys;
    struct option_number lsn;
    bool record;
};
#define AT(member) offsetof(struct archive_options, member)
#define REPOSITORY_OPTION                                                                          \
    {                                                                                              \
        "repository", 'r', OPTION_TEXT, AT(dir), "DIR", "TRIVENI_REPOSITORY",                      \
            "the archive: its directory, or s3:https://HOST/BUCKET... (required)"                  \
    }
#define REPOSITORY_OPTIONS                                                                         \
    REPOSITORY_OPTION,                                                                             \
    {                                                                                              \
        "kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK", KEK_HELP                        \
    }
static const struct option archive_table[] = {REPOSITORY_OPTIONS, {0}};
static const struct option list_table[] = {
    REPOSITORY_OPTIONS,
    {"ledger", 0, OPTION_TEXT, AT(ledger), "FILE", NULL,
     "archive.ledger of the site's data directory: show when each pack was verified last"},
    {0},
};
static const struct option verify_table[] = {
    REPOSITORY_OPTION,
    {"kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK",
     "where the archive's key comes from: a file of 64 hex digits, command:/PATH..., pkcs11:...; "
     "without it levels present and intact can be checked"},
    {"level", 0, OPTION_TEXT, AT(level), "LEVEL", NULL,
     "present, intact (checksums), readable (decrypted and decoded), restorable (restored and "
     "compared); default readable, and intact without --kek"},
    {"key", 0, OPTION_LIST, AT(keys), "VKEY|FILE", NULL,
     "verifier key of the log that must have signed, and those of cosigners: the keys themselves, "
     "or "
     "files with one a line; default: whoever signed and has his key in the archive"},
    {"require", 0, OPTION_TEXT, AT(require), "NAMES|N", NULL,
     "with --key: cosigners that must have signed: their names, as in dc,dr, or how many are "
     "enough "
     "(default: all whose keys were given)"},
    {"scratch", 0, OPTION_TEXT, AT(scratch), "DIR", NULL,
     "with restorable: directory in which it is restored, and removed again (required then)"},
    {"to-lsn", 0, OPTION_NUMBER, AT(lsn), "LSN", NULL,
     "with restorable: to this transaction; default the last one"},
    {"to-point", 0, OPTION_TEXT, AT(point), "NAME", NULL, "with restorable: to this restore point"},
    {"to-time", 0, OPTION_TEXT, AT(time), "TIME", NULL,
     "with restorable: as it was at this time: ISO 8601 with Z or an offset"},
    {"record", 0, OPTION_FLAG, AT(record), NULL, NULL,
     "hand the outcome in to the archive's operations log, which its site signs"},
    {0},
};
#undef AT

static int open_archive(const struct archive_options *o, struct repository **out, struct err *e)
{
    if (o->dir == NULL || o->kek == NULL)
        return err_set(e, ERR_USAGE, "--%s is needed", o->dir == NULL ? "repository" : "kek");
    const struct repository_options options = {
        .dir = o->dir, .kek_file = o->kek, .read_only = true};
    return repository_open(out, &options, e);
}

/* What the callbacks of a listing share. */
struct listing {
    bool json;
    struct table table;
    struct repo_ledger ledger;
};

static int open_ledger(const char *path, struct repo_ledger *out, struct err *e)
{
    bool whole = true;
    int rc = access(path, R_OK) == 0
                 ? repository_ledger_load(path, out, &whole, e)
                 : err_set(e, ERR_NOT_FOUND, "%s: there is no such ledger", path);
    if (rc == 0 && !whole)
        rc = err_set(e, ERR_INTEGRITY, "%s: the ledger is damaged; its site makes a new one", path);
    return rc;
}

static int list(struct invocation *in, const char *const *heads, size_t columns,
                int (*walk)(struct repository *, struct listing *, struct err *), struct err *e)
{
    const struct archive_options *o = in->options;
    struct listing l = {.json = o->common.format == OUTPUT_JSON};
    struct repository *r = NULL;
    table_init(&l.table, heads, columns);
    int rc = open_archive(o, &r, e);
    if (rc == 0 && o->ledger != NULL)
        rc = open_ledger(o->ledger, &l.ledger, e);
    if (rc == 0)
        rc = walk(r, &l, e);
    if (rc == 0 && !l.json)
        table_print(&l.table, stdout);
    table_free(&l.table);
    repository_ledger_release(&l.ledger);
    repository_close(r);
    return rc;
}

static void lsn_cell(struct table *t, struct lsn lsn)
{
    table_cell(t, STYLE_NONE, "%llu", (unsigned long long)lsn.v);
}

static void time_cell(struct table *t, struct utc time)
{
    char text[UTC_TEXT_BYTES];
    table_cell(t, STYLE_NONE, "%s", utc_text(time, text));
}

static void size_cell(struct table *t, uint64_t bytes)
{
    char text[24];
    table_cell(t, STYLE_NONE, "%s", bytes_text(bytes, text));
}

/* ---- packs ---- */

static json_t *verified_json(const struct repo_ledger *ledger, const char *name)
{
    char text[UTC_TEXT_BYTES];
    const struct repo_ledger_line *x = repo_ledger_find(ledger, name);
    return x != NULL && x->verified.us != 0 ? json_string(utc_text(x->verified, text))
                                            : json_null();
}

static void verified_cell(const struct listing *l, struct table *t, const char *name)
{
    char text[UTC_TEXT_BYTES];
    const struct repo_ledger_line *x = repo_ledger_find(&l->ledger, name);
    if (x == NULL || x->verified.us == 0)
        table_cell(t, STYLE_DIM, "unknown");
    else
        table_cell(t, x->damaged ? STYLE_BAD : STYLE_NONE, "%s%s", utc_text(x->verified, text),
                   x->damaged ? " DAMAGED" : "");
}

static int on_pack(void *arg, const struct repository_pack *p)
{
    struct listing *l = arg;
    char first[UTC_TEXT_BYTES];
    char last[UTC_TEXT_BYTES];
    if (l->json) {
        output_json(json_pack(
            "{s:s,s:I,s:I,s:I,s:s,s:s,s:I,s:I,s:o,s:b}", "name", p->name, "first",
            (json_int_t)p->first.v, "last", (json_int_t)p->last.v, "term", (json_int_t)p->term.v,
            "first_time", utc_text(p->first_time, first), "last_time", utc_text(p->last_time, last),
            "bytes", (json_int_t)p->bytes, "plain_bytes", (json_int_t)p->plain_bytes, "verified",
            verified_json(&l->ledger, p->name), "disposed", p->disposed));
        return 0;
    }
    lsn_cell(&l->table, p->first);
    lsn_cell(&l->table, p->last);
    table_cell(&l->table, STYLE_NONE, "%llu", (unsigned long long)p->term.v);
    time_cell(&l->table, p->last_time);
    size_cell(&l->table, p->bytes);
    size_cell(&l->table, p->plain_bytes);
    verified_cell(l, &l->table, p->name);
    table_cell(&l->table, STYLE_NONE, "%s%s", p->name, p->disposed ? " (disposed)" : "");
    return 0;
}

static int walk_packs(struct repository *r, struct listing *l, struct err *e)
{
    return repository_packs(r, on_pack, l, e);
}

static int run_archive_list(struct invocation *in, struct err *e)
{
    static const char *const heads[] = {">FIRST", ">LAST",  ">TERM",    "UNTIL",
                                        ">SIZE",  ">PLAIN", "VERIFIED", "PACK"};
    return list(in, heads, 8, walk_packs, e);
}

/* ---- snapshots ---- */

static int on_snapshot(void *arg, const struct repository_snapshot_info *s)
{
    struct listing *l = arg;
    char time[UTC_TEXT_BYTES];
    char digest[DIGEST_HEX_BYTES];
    digest_hex(s->digest, digest);
    if (l->json) {
        output_json(json_pack("{s:s,s:I,s:s,s:I,s:I,s:s,s:b}", "name", s->name, "lsn",
                              (json_int_t)s->lsn.v, "time", utc_text(s->time, time), "records",
                              (json_int_t)s->records, "bytes", (json_int_t)s->bytes, "digest",
                              digest, "disposed", s->disposed));
        return 0;
    }
    lsn_cell(&l->table, s->lsn);
    time_cell(&l->table, s->time);
    table_cell(&l->table, STYLE_NONE, "%llu", (unsigned long long)s->records);
    size_cell(&l->table, s->bytes);
    table_cell(&l->table, STYLE_NONE, "%s%s", digest, s->disposed ? " (disposed)" : "");
    return 0;
}

static int walk_snapshots(struct repository *r, struct listing *l, struct err *e)
{
    return repository_snapshots(r, on_snapshot, l, e);
}

static int run_archive_snapshots(struct invocation *in, struct err *e)
{
    static const char *const heads[] = {">LSN", "TIME", ">RECORDS", ">SIZE", "DIGEST"};
    return list(in, heads, 5, walk_snapshots, e);
}

/* ---- restore points ---- */

static int on_point(void *arg, const struct restore_point *p)
{
    struct listing *l = arg;
    char time[UTC_TEXT_BYTES];
    char digest[DIGEST_HEX_BYTES];
    digest_hex(p->digest, digest);
    if (l->json) {
        output_json(json_pack("{s:s%,s:I,s:s,s:s}", "name", (const char *)p->name.p, p->name.n,
                              "lsn", (json_int_t)p->lsn.v, "time", utc_text(p->time, time),
                              "digest", digest));
        return 0;
    }
    table_bytes(&l->table, p->name);
    lsn_cell(&l->table, p->lsn);
    time_cell(&l->table, p->time);
    table_cell(&l->table, STYLE_NONE, "%s", digest);
    return 0;
}

static int walk_points(struct repository *r, struct listing *l, struct err *e)
{
    return repository_points(r, on_point, l, e);
}

static int run_archive_points(struct invocation *in, struct err *e)
{
    static const char *const heads[] = {"NAME", ">LSN", "TIME", "DIGEST"};
    return list(in, heads, 4, walk_points, e);
}

/* ---- verify ---- */

struct verifying {
    bool json;
    struct progress bar;
    json_t *damaged;
    bool keyless;                          /* no --kek */
    bool tied;                             /* --key was given: */
    struct verifier_keys keys, operations; /* to those, which both logs must have */
    struct cosigner_rule rule;
    bool restored; /* and equal: */
    struct repository_drill drill;
};

/* Does the note hold against the keys that were given? The operations log is signed with the log's key, under another name. */
static int on_note(void *arg, const char *file, struct bytes note, struct err *e)
{
    struct verifying *v = arg;
    struct tlog_checkpoint c;
    struct tlog_key key = v->keys.log;
    char name[TLOG_NAME_BYTES];
    bool entries = strcmp(file, "tree/checkpoint") == 0;
    if (!entries) {
        (void)snprintf(name, sizeof name, "%.100s/operations", key.name);
        tlog_key_make(name, TLOG_KEY_LOG, v->keys.log.public_key, &key);
    }
    int rc = tree_checkpoint(note, &key, &c, e);
    return rc == 0 ? verifier_keys_check(entries ? &v->keys : &v->operations, &v->rule, note, e)
                   : rc;
}

static void on_damage(void *arg, const char *object, const char *reason)
{
    struct verifying *v = arg;
    progress_end(&v->bar);
    if (v->json)
        (void)json_array_append_new(v->damaged,
                                    json_pack("{s:s,s:s}", "object", object, "reason", reason));
    else
        (void)printf("DAMAGED %s: %s\n", object, reason);
}

static void on_verified(void *arg, uint64_t done, uint64_t total)
{
    struct verifying *v = arg;
    progress_show(&v->bar, done, total, 0);
}

static void print_operations(const struct repository_report *r)
{
    if (r->operations == 0)
        (void)printf("no operations log that could be relied on: what must be there follows from "
                     "the metas alone\n");
    else
        (void)printf("signed log of %llu operations: says what must be there\n",
                     (unsigned long long)r->operations);
    if (r->pending != 0)
        (void)printf("%llu operations were handed in and are not signed yet\n",
                     (unsigned long long)r->pending);
    if (r->unnamed != 0)
        (void)printf("%llu objects are unknown: the operations log does not name them (yet)\n",
                     (unsigned long long)r->unnamed);
}

static const char *const levels[] = {"present", "intact", "readable", "restorable"};
enum { LEVELS = 4, RESTORABLE = 4 };

/* The level, and the target of what is restored. */
static int choose_level(const struct archive_options *o, int *level, struct restore_target *target,
                        struct err *e)
{
    const enum repository_level usual = o->kek == NULL ? REPOSITORY_INTACT : REPOSITORY_READABLE;
    int given = o->lsn.given + (o->point != NULL) + (o->time != NULL);
    *target = (struct restore_target){.lsn = {o->lsn.v}, .point = o->point};
    *level = o->level == NULL ? (int)usual : 0;
    for (int i = 0; i < LEVELS && o->level != NULL; i++)
        if (strcmp(levels[i], o->level) == 0)
            *level = i + 1;
    if (*level == 0)
        return err_set(e, ERR_USAGE,
                       "level '%.40s' is unknown: use present, intact, readable or restorable",
                       o->level);
    if (*level != RESTORABLE && (given != 0 || o->scratch != NULL))
        return err_set(e, ERR_USAGE, "--%s goes with --level restorable",
                       o->scratch != NULL ? "scratch" : "to-...");
    if (*level > REPOSITORY_INTACT && o->kek == NULL)
        return err_set(
            e, ERR_USAGE,
            "--kek is needed: level %s reads what is in the archive, which is encrypted. "
            "Without the key, give --level present or intact",
            levels[*level - 1]);
    if (*level == RESTORABLE && o->scratch == NULL)
        return err_set(e, ERR_USAGE,
                       "--scratch DIR is needed: a directory with room for the restored state");
    if (given > 1)
        return err_set(e, ERR_USAGE, "give one of --to-lsn, --to-point and --to-time");
    return o->time != NULL ? utc_parse(o->time, &target->time, e) : 0;
}

static void on_restored(void *arg, enum repository_stage stage, uint64_t done, uint64_t total)
{
    struct verifying *v = arg;
    if (stage == REPOSITORY_STAGE_BUILD && !v->bar.counts) {
        progress_end(&v->bar);
        progress_begin_count(&v->bar, "build", "records");
    }
    progress_show(&v->bar, done, total, done);
}

static void print_report(const struct verifying *v, int level,
                         const struct repository_report *report)
{
    char size[24];
    if (report->proven != 0)
        (void)printf("signed tree of %llu entries: %s\n", (unsigned long long)report->proven,
                     v->keyless ? "its headers are one chain and lead to the signed root"
                     : level >= REPOSITORY_READABLE ? "follows from the packs"
                                                    : "its right edge has the signed root");
    else
        (void)printf("no signed tree that could be relied on\n");
    print_operations(report);
    (void)printf("%llu objects, %s, %llu entries checked (%s): %llu damaged\n",
                 (unsigned long long)report->objects, bytes_text(report->bytes, size),
                 (unsigned long long)report->entries,
                 levels[(level < RESTORABLE ? level : REPOSITORY_READABLE) - 1],
                 (unsigned long long)report->damaged);
    if (report->disposed != 0)
        (void)printf("%llu of them were disposed of: fixity and tree hold, nobody can read them\n",
                     (unsigned long long)report->disposed);
    if (v->tied)
        verifier_keys_print(&v->keys, "");
    if (v->tied && v->keys.n != 0 && report->operations != 0)
        verifier_keys_print(&v->operations, "operations log ");
    if (v->keyless)
        (void)printf(
            "NOT checked, for it takes the key (--kek): the seals of metas, marks and keys; "
            "restore "
            "points and digests; that what is inside decrypts and is what the tree says\n");
    if (!v->tied && v->keyless)
        say("whoever signed was believed, for his key lies in the archive: --key ties it to one "
            "that you know");
    if (v->restored)
        (void)printf("restored to lsn %llu: %llu records, equal to the digest that the sites had "
                     "at lsn %llu\n",
                     (unsigned long long)v->drill.result.at.lsn.v,
                     (unsigned long long)v->drill.result.records,
                     (unsigned long long)v->drill.result.compared.v);
}

static json_t *restored_json(const struct verifying *v)
{
    char digest[DIGEST_HEX_BYTES];
    if (!v->restored)
        return json_null();
    digest_hex(v->drill.result.digest, digest);
    return json_pack("{s:I,s:I,s:I,s:s}", "lsn", (json_int_t)v->drill.result.at.lsn.v, "records",
                     (json_int_t)v->drill.result.records, "compared_lsn",
                     (json_int_t)v->drill.result.compared.v, "digest", digest);
}

/* Damage that was met is told by its own name, what could not be restored by its own; the first is the exit code. */
static int verify_all(struct repository *r, const struct archive_options *o, int level,
                      const struct restore_target *target, struct verifying *v,
                      struct repository_report *report, struct err *e)
{
    const enum repository_level deepest =
        level < RESTORABLE ? (enum repository_level)level : REPOSITORY_READABLE;
    struct err why = ERR_NONE;
    progress_begin(&v->bar, "verify", NULL, 0);
    int rc = repository_verify(r, deepest, on_damage, on_verified, v, report, e);
    progress_end(&v->bar);
    if (rc == 0 && v->tied && report->proven == 0)
        rc =
            err_set(e, ERR_INTEGRITY,
                    "the archive has no signed tree that could be held against --key: its site has "
                    "not signed yet, or the tree was removed");
    if (level < RESTORABLE || (rc != 0 && rc != ERR_INTEGRITY))
        return rc;
    progress_begin(&v->bar, "read", NULL, 0);
    int drill = repository_drill(r, target, o->scratch, on_restored, v, &v->drill, &why);
    progress_end(&v->bar);
    v->restored = drill == 0;
    if (drill != 0 && rc == 0)
        *e = why;
    else if (drill != 0)
        (void)fprintf(stderr, "triveni: archive verify: %s\n", why.text);
    return rc != 0 ? rc : drill;
}

/* A failure is recorded, too; one that is not recorded is a failure. */
static int record(struct repository *r, int level, const struct repository_report *report,
                  int outcome, struct err *e)
{
    struct operation done = {
        .kind = OPERATION_VERIFY, .checked = report->objects, .damaged = report->damaged};
    struct repository_status status;
    struct err why = ERR_NONE;
    const bool told = outcome == 0 || report->damaged != 0; /* the numbers say how it ended */
    if (!told && report->objects == 0)
        return outcome; /* it could not be read, so nothing was verified */
    repository_status(r, &status);
    done.last = status.archived.lsn;
    (void)snprintf(done.detail, sizeof done.detail, "%s%s%s", levels[level - 1], told ? "" : ", ",
                   told ? "" : err_name(outcome));
    int rc = repository_operations_add(r, &done, &why);
    if (rc != 0 && outcome == 0)
        return err_set(e, rc, "%s", why.text);
    if (rc != 0)
        (void)fprintf(stderr, "triveni: archive verify: %s\n", why.text);
    return outcome;
}

/* Open it, and say which keys must have signed. */
static int begin_verify(const struct archive_options *o, struct verifying *v,
                        struct repository **out, struct err *e)
{
    const struct repository_options options = {
        .dir = o->dir, .kek_file = o->kek, .read_only = true, .to_verify = true};
    v->keyless = o->kek == NULL;
    v->tied = o->keys.count != 0;
    if (o->dir == NULL)
        return err_set(e, ERR_USAGE, "--repository is needed");
    if (!v->tied && o->require != NULL)
        return err_set(e, ERR_USAGE, "--require goes with --key");
    if (v->keyless && o->record)
        return err_set(e, ERR_USAGE, "--record takes --kek: what is handed in is sealed");
    int rc = v->tied ? verifier_keys_load(&o->keys, o->require, &v->keys, &v->rule, e) : 0;
    v->operations = v->keys;
    if (rc == 0)
        rc = repository_open(out, &options, e);
    if (rc == 0 && v->tied)
        repository_vouch(*out, on_note, v);
    return rc;
}

static int run_archive_verify(struct invocation *in, struct err *e)
{
    const struct archive_options *o = in->options;
    struct restore_target target;
    int level;
    struct repository *r = NULL;
    struct repository_report report = {0};
    struct verifying v = {.json = o->common.format == OUTPUT_JSON, .damaged = json_array()};
    int rc = choose_level(o, &level, &target, e);
    if (rc == 0)
        rc = begin_verify(o, &v, &r, e);
    if (rc == 0) {
        rc = verify_all(r, o, level, &target, &v, &report, e);
        if (o->record)
            rc = record(r, level, &report, rc, e);
        if (v.json)
            output_json(json_pack(
                "{s:s,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:O,s:o,s:o,s:o}", "level",
                levels[level - 1], "keyless", v.keyless, "objects", (json_int_t)report.objects,
                "bytes", (json_int_t)report.bytes, "entries", (json_int_t)report.entries, "proven",
                (json_int_t)report.proven, "operations", (json_int_t)report.operations, "pending",
                (json_int_t)report.pending, "unnamed", (json_int_t)report.unnamed, "disposed",
                (json_int_t)report.disposed, "damaged", (json_int_t)report.damaged, "damage",
                v.damaged, "restored", restored_json(&v), "cosigners",
                v.tied ? verifier_keys_json(&v.keys) : json_null(), "operations_cosigners",
                v.tied ? verifier_keys_json(&v.operations) : json_null()));
        else
            print_report(&v, level, &report);
    }
    json_decref(v.damaged);
    repository_close(r);
    return rc;
}

#define ARCHIVE(member, text, table, words, sample, line)                                          \
    const struct command command_archive_##member = {                                              \
        .name = "archive " #member,                                                                \
        .group = "Archive",                                                                        \
        .purpose = text,                                                                           \
        .operands = "",                                                                            \
        .least = 0,                                                                                \
        .most = 0,                                                                                 \
        .options_bytes = sizeof(struct archive_options),                                           \
        .tables = {table, output_options},                                                         \
        .about = words,                                                                            \
        .examples = {{sample, line},                                                               \
                     {"for a program",                                                             \
                      "triveni archive " #member " -r /srv/archive -k kek -o json"}},              \
        .exits = "378",                                                                            \
        .run = run_archive_##member,                                                               \
    }

ARCHIVE(list, "list the packs of the archive", list_table,
        "A pack holds consecutive transactions, compressed, encrypted and never changed. PLAIN is "
        "their size before, VERIFIED when the archive's site read it last (with --ledger).",
        "all", "triveni archive list --repository /srv/archive --kek kek");
ARCHIVE(snapshots, "list the snapshots of the archive", archive_table,
        "A restore begins from the newest snapshot at or below its target.", "all",
        "triveni archive snapshots --repository /srv/archive --kek kek");
ARCHIVE(points, "list the restore points of the archive", archive_table, NULL, "all",
        "triveni archive points --repository /srv/archive --kek kek");
ARCHIVE(
    verify, "check every object of the archive, or that it can be restored", verify_table,
    "Damaged objects are listed with the reason; the check goes on to the end. Exit code 7 "
    "when any is damaged.\n"
    "What must be there comes from the signed log of operations, which names each object with "
    "its SHA-256; an archive that has none yet is checked by the chain of its metas.\n"
    "The signed tree is checked too: its checkpoint's signature, that it does not reach beyond "
    "the packs, and at level readable that it follows from their entries.\n"
    "Without --kek, for an auditor: that everything is there which the signed log names, with "
    "its SHA-256, and that the signed\n"
    "tree follows from its headers, which are one chain. What takes the key is said at the end.\n"
    "Each level includes those before it. Restorable restores into DIR as 'triveni restore' "
    "does, compares the digest with the one\n"
    "that the sites had, and removes what it restored; a state that differs stays as "
    "DIR/triveni-drill.rejected.\n"
    "With --record level and numbers are handed in to the operations log, also when something "
    "is damaged.",
    "read, decrypt and decode everything",
    "triveni archive verify --repository /srv/archive --kek kek");
