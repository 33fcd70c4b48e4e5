/* history and diff: how a record came to be what it is, and what changed between two moments. */
#include "tools/commands.h"

#include "repository/proof.h"
#include "tools/files.h"
#include "tools/json.h"
#include "tools/past.h"
#include "tools/progress.h"
#include "tools/record.h"
#include "tools/table.h"
#include "tools/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- history ---- */

struct history_options {
    struct common common;
    const char *dir, *kek, *from, *to, *proof;
    struct option_number limit;
    bool values, base64;
};
#define AT(member) offsetof(struct history_options, member)
static const struct option history_table[] = {
    PAST_OPTIONS(struct history_options),
    {"from", 0, OPTION_TEXT, AT(from), "WHEN", NULL, "not before this: " PAST_WHEN},
    {"to", 0, OPTION_TEXT, AT(to), "WHEN", NULL, "not after this; without it, up to the end"},
    {"limit", 'n', OPTION_NUMBER, AT(limit), "N", NULL, "the newest N"},
    {"values", 0, OPTION_FLAG, AT(values), NULL, NULL, "the values, too (with -o json)"},
    {"proof", 0, OPTION_TEXT, AT(proof), "DIR", NULL,
     "new directory: write a proof for each version shown, DIR/LSN.tlog-proof (with "
     "--repository)"},
    {"base64", 0, OPTION_FLAG, AT(base64), NULL, NULL, "KEY is given in base64"},
    {0},
};
#undef AT

struct shown {
    const struct history_options *o;
    struct bytes collection, key;
    struct repository_tree *tree;
    struct table table;
    uint64_t count, unproven;
    struct err *e;
};

static void print_json(const struct shown *s, const struct past_version *v)
{
    char utc[UTC_TEXT_BYTES];
    char local[LOCAL_TEXT_BYTES];
    const struct utc time = {v->time_us};
    (void)printf("{\"collection\":");
    json_put_text(stdout, s->collection);
    (void)printf(",\"key\":");
    json_put_text(stdout, s->key);
    (void)printf(",\"lsn\":%llu,\"time\":\"%s\",\"time_local\":\"%s\",\"client\":",
                 (unsigned long long)v->lsn, utc_text(time, utc), local_text(time, local));
    json_put_text(stdout, v->client);
    (void)printf(",\"act\":\"%s\",\"bytes\":%llu", v->put ? "put" : "delete",
                 (unsigned long long)v->bytes);
    if (s->o->values && v->put) {
        (void)printf(",\"value\":");
        json_put_value(stdout, v->value);
    }
    (void)printf("}\n");
}

static void add_row(struct shown *s, const struct past_version *v)
{
    char text[LOCAL_TEXT_BYTES];
    const struct utc time = {v->time_us};
    table_cell(&s->table, STYLE_NONE, "%llu", (unsigned long long)v->lsn);
    table_cell(&s->table, STYLE_NONE, "%s", utc_text(time, text));
    table_cell(&s->table, STYLE_DIM, "%s", local_text(time, text));
    table_bytes(&s->table, v->client);
    table_cell(&s->table, STYLE_NONE, "%s", v->put ? "put" : "delete");
    if (v->put)
        table_cell(&s->table, STYLE_NONE, "%llu", (unsigned long long)v->bytes);
    else
        table_cell(&s->table, STYLE_NONE, "%s", "");
}

/* What is archived and not signed yet has none. */
static int write_proof(struct shown *s, const struct past_version *v)
{
    char path[4096];
    uint8_t *proof = NULL;
    size_t n = 0;
    if (v->lsn > repository_tree_checkpoint(s->tree)->size) {
        s->unproven++;
        return 0;
    }
    int rc = repository_tree_prove(s->tree, v->entry, s->collection, s->key, &proof, &n, s->e);
    int used =
        snprintf(path, sizeof path, "%s/%llu.tlog-proof", s->o->proof, (unsigned long long)v->lsn);
    if (rc == 0 && (size_t)used >= sizeof path)
        rc = err_set(s->e, ERR_USAGE, "--proof: a name of %d bytes is too long", used);
    if (rc == 0)
        rc = file_create(path, 0644, bytes_of(proof, n), s->e);
    free(proof);
    return rc;
}

static int show(void *arg, const struct past_version *v)
{
    enum { PAGE_ROWS = 1000 };
    struct shown *s = arg;
    s->count++;
    if (s->o->common.format == OUTPUT_JSON)
        print_json(s, v);
    else
        add_row(s, v);
    if (s->table.count >= (size_t)PAGE_ROWS * s->table.columns)
        table_print(&s->table, stdout);
    return s->tree != NULL ? write_proof(s, v) : 0;
}

static int check_options(const struct history_options *o, struct err *e)
{
    if (o->limit.given && o->limit.v == 0)
        return err_set(e, ERR_USAGE, "--limit must be at least 1");
    if (o->proof != NULL && o->dir == NULL)
        return err_set(e, ERR_USAGE,
                       "--proof needs --repository: proofs are made from the archive's directory");
    if (o->values && o->common.format != OUTPUT_JSON)
        return err_set(e, ERR_USAGE, "--values goes with -o json");
    return 0;
}

static void say_end(const struct shown *s, const struct past_reach *reach)
{
    say_reach(reach);
    if (reach->more)
        say("only the newest %llu are shown", (unsigned long long)s->count);
    if (s->unproven != 0)
        say("%llu have no proof: they are not in the signed tree yet, which ends at lsn %llu",
            (unsigned long long)s->unproven,
            (unsigned long long)repository_tree_checkpoint(s->tree)->size);
}

static int run_history(struct invocation *in, struct err *e)
{
    static const char *const heads[] = {">LSN", "TIME", "LOCAL", "CLIENT", "ACT", ">BYTES"};
    const struct history_options *o = in->options;
    struct past *p = NULL;
    struct tvn_bytes key;
    struct past_reach reach = {.more = false};
    struct shown s = {.o = o, .collection = bytes_str(in->operands[0]), .e = e};
    struct past_query q = {.collection = s.collection, .limit = o->limit.v, .values = o->values};
    table_init(&s.table, heads, sizeof heads / sizeof heads[0]);
    int rc = check_options(o, e);
    if (rc == 0)
        rc = operand_bytes(in->operands[1], o->base64, &key, e);
    if (rc == 0 && (rc = when_parse(o->from, &q.from, e)) != 0)
        err_wrap(e, "--from");
    if (rc == 0 && (rc = when_parse(o->to, &q.to, e)) != 0)
        err_wrap(e, "--to");
    if (rc == 0 && o->proof != NULL)
        rc = repository_tree_read(&s.tree, o->dir, e); /* first: a running site only adds packs */
    if (rc == 0 && o->proof != NULL)
        rc = directory_create(o->proof, 0755, e);
    if (rc == 0)
        rc = past_open(&p, &o->common, o->dir, o->kek, e);
    if (rc == 0) {
        q.key = s.key = from_tvn(key);
        rc = past_history(p, &q, show, &s, &reach, e);
    }
    if (s.table.count > 0)
        table_print(&s.table, stdout);
    table_free(&s.table);
    if (rc == 0)
        say_end(&s, &reach);
    if (rc == 0 && s.count == 0 && reach.disposed != 0)
        rc = err_set(e, ERR_NOT_FOUND, "no version is left: %s", reach.why);
    else if (rc == 0 && s.count == 0)
        rc = err_set(e, ERR_NOT_FOUND, "no transaction up to lsn %llu wrote that record",
                     (unsigned long long)reach.to);
    repository_tree_close(s.tree);
    past_close(p);
    return rc;
}

const struct command command_history = {
    .name = "history",
    .group = "Records",
    .purpose = "list the versions of a record, from the archive",
    .operands = "COLLECTION KEY",
    .least = 2,
    .most = 2,
    .options_bytes = sizeof(struct history_options),
    .tables = {history_table, output_options, connection_options},
    .about =
        "Every transaction that wrote or deleted the record, newest first: when (UTC, and on this "
        "machine's clock), by which client, and how large the value is. The site that keeps the "
        "archive answers, for all that is committed there; with --repository the archive's "
        "directory is read, up to its end, and no site is needed.\n"
        "WHEN is a transaction's LSN, a time with its offset (2026-11-24T08:48:21+05:30), or the "
        "name of a restore point.",
    .examples = {{"how the title changed hands", "triveni history titles AB-12"},
                 {"with the values, for a program",
                  "triveni history titles AB-12 --values -o json --from 2026-01-01T00:00:00Z"},
                 {"for a court, each version proven",
                  "triveni history titles AB-12 -r /srv/archive -k kek --proof ab-12-proofs"}},
    .exits = "3478",
    .run = run_history,
};

/* ---- diff ---- */

struct diff_options {
    struct common common;
    const char *dir, *kek, *from, *to, *prefix;
    bool keys, base64;
};
#define AT(member) offsetof(struct diff_options, member)
static const struct option diff_table[] = {
    PAST_OPTIONS(struct diff_options),
    {"from", 0, OPTION_TEXT, AT(from), "WHEN", NULL, "the earlier moment (required): " PAST_WHEN},
    {"to", 0, OPTION_TEXT, AT(to), "WHEN", NULL, "the later one; without it, the archive's end"},
    {"prefix", 'p', OPTION_TEXT, AT(prefix), "TEXT", NULL, "only keys that begin with TEXT"},
    {"keys-only", 0, OPTION_FLAG, AT(keys), NULL, NULL, "print no values"},
    {"base64", 0, OPTION_FLAG, AT(base64), NULL, NULL, "KEY is given in base64"},
    {0},
};
#undef AT

/* A record at one of the two moments. */
struct side {
    bool there;
    uint64_t lsn, time_us;
    uint8_t *entry; /* owns what value points to */
    struct bytes value;
};

struct difference {
    const struct diff_options *o;
    struct repository *r;
    struct bytes collection;
    struct lsn from, to;
    uint64_t added, removed, changed;
    struct err *e;
};

static int read_side(struct difference *d, struct bytes key, struct lsn at, struct side *out)
{
    const struct repository_query q = {.collection = d->collection, .key = key, .to = at};
    struct entry_view v;
    struct body_txn txn;
    struct op op;
    size_t n = 0;
    *out = (struct side){.there = false};
    struct err why = ERR_NONE;
    int rc = repository_find(d->r, &q, &out->entry, &n, &why);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc == 0)
        rc = entry_decode(bytes_of(out->entry, n), &v, &n, &why);
    if (rc == 0)
        rc = evidence_op(&v, d->collection, key, &txn, &op, &why);
    if (rc != 0) {
        *d->e = why;
        return rc;
    }
    out->there = op.kind == OP_PUT;
    out->lsn = v.header.lsn.v;
    out->time_us = v.header.time.us;
    out->value = op.value;
    return 0;
}

static void side_json(const struct difference *d, const char *name, const struct side *s)
{
    char time[UTC_TEXT_BYTES];
    if (!s->there) {
        (void)printf(",\"%s\":null", name);
        return;
    }
    (void)printf(",\"%s\":{\"lsn\":%llu,\"time\":\"%s\"", name, (unsigned long long)s->lsn,
                 utc_text((struct utc){s->time_us}, time));
    if (!d->o->keys) {
        (void)printf(",\"value\":");
        json_put_value(stdout, s->value);
    }
    (void)printf("}");
}

static void side_line(const struct difference *d, char sign, struct bytes key, const struct side *s)
{
    char time[UTC_TEXT_BYTES];
    (void)printf("%c ", sign);
    output_text(stdout, key, 0);
    (void)printf("\t%llu\t%s", (unsigned long long)s->lsn,
                 utc_text((struct utc){s->time_us}, time));
    if (!d->o->keys) {
        (void)printf("\t");
        output_text(stdout, s->value, 0);
    }
    (void)printf("\n");
}

static void print_difference(const struct difference *d, struct bytes key, const struct side *a,
                             const struct side *b)
{
    if (d->o->common.format == OUTPUT_TABLE) {
        if (a->there)
            side_line(d, '-', key, a);
        if (b->there)
            side_line(d, '+', key, b);
        return;
    }
    (void)printf("{\"collection\":");
    json_put_text(stdout, d->collection);
    (void)printf(",\"key\":");
    json_put_text(stdout, key);
    (void)printf(",\"change\":\"%s\"", !a->there ? "added" : b->there ? "changed" : "removed");
    side_json(d, "before", a);
    side_json(d, "after", b);
    (void)printf("}\n");
}

static int compare_key(void *arg, struct bytes key, struct lsn last)
{
    struct difference *d = arg;
    struct side a;
    struct side b = {.there = false};
    int rc = read_side(d, key, d->from, &a);
    if (rc == 0)
        rc = read_side(d, key, last, &b);
    bool same = a.there == b.there && (!a.there || bytes_equal(a.value, b.value));
    if (rc == 0 && !same) {
        d->added += !a.there;
        d->removed += !b.there;
        d->changed += a.there && b.there;
        print_difference(d, key, &a, &b);
    }
    free(a.entry);
    free(b.entry);
    return rc;
}

/* Both moments, in this order. */
static int choose_range(struct difference *d, struct err *e)
{
    struct restore_target from;
    struct restore_target to;
    struct past_reach reach = {.begin = 1};
    bool ignored;
    int rc = when_parse(d->o->from, &from, e);
    if (rc != 0)
        return err_wrap(e, "--from");
    if (d->o->from == NULL)
        return err_set(e, ERR_USAGE, "--from is needed: %s", PAST_WHEN);
    rc = when_parse(d->o->to, &to, e);
    if (rc != 0)
        return err_wrap(e, "--to");
    rc = repository_resolve(d->r, &from, &d->from, &ignored, e);
    if (rc == 0)
        rc = repository_resolve(d->r, &to, &d->to, &reach.open_end, e);
    if (rc == 0 && d->from.v > d->to.v)
        rc = err_set(e, ERR_USAGE, "--from is lsn %llu, after --to, which is lsn %llu",
                     (unsigned long long)d->from.v, (unsigned long long)d->to.v);
    reach.to = d->to.v;
    if (rc == 0)
        say_reach(&reach);
    return rc;
}

static void on_read(void *arg, uint64_t done, uint64_t total)
{
    progress_show(arg, done, total, 0);
}

static int run_diff(struct invocation *in, struct err *e)
{
    const struct diff_options *o = in->options;
    struct past *p = NULL;
    struct progress bar;
    struct tvn_bytes key = {NULL, 0};
    struct difference d = {.o = o, .collection = bytes_str(in->operands[0]), .e = e};
    int rc = 0;
    if (o->dir == NULL)
        return err_set(e, ERR_USAGE, "--repository is needed: differences are read there");
    if (in->count == 2 && o->prefix != NULL)
        return err_set(e, ERR_USAGE, "give a KEY or --prefix, not both");
    if (in->count == 2)
        rc = operand_bytes(in->operands[1], o->base64, &key, e);
    if (rc == 0)
        rc = past_open(&p, &o->common, o->dir, o->kek, e);
    if (rc == 0) {
        d.r = past_repository(p);
        rc = choose_range(&d, e);
    }
    progress_begin(&bar, "search", NULL, 0);
    if (rc == 0 && in->count == 2) {
        rc = compare_key(&d, from_tvn(key), d.to);
    } else if (rc == 0 && d.from.v < d.to.v) {
        const struct repository_query q = {.collection = d.collection,
                                           .key = bytes_str(o->prefix != NULL ? o->prefix : ""),
                                           .from = {d.from.v + 1},
                                           .to = d.to,
                                           .progress = on_read,
                                           .progress_arg = &bar};
        rc = repository_changed(d.r, &q, compare_key, &d, e);
    }
    progress_end(&bar);
    past_close(p);
    if (rc == 0)
        say("lsn %llu to %llu: %llu added, %llu removed, %llu changed",
            (unsigned long long)d.from.v, (unsigned long long)d.to.v, (unsigned long long)d.added,
            (unsigned long long)d.removed, (unsigned long long)d.changed);
    return rc;
}

const struct command command_diff = {
    .name = "diff",
    .group = "Records",
    .purpose = "show what changed between two moments, from the archive",
    .operands = "COLLECTION [KEY]",
    .least = 1,
    .most = 2,
    .options_bytes = sizeof(struct diff_options),
    .tables = {diff_table, output_options, connection_options},
    .about = "Records of a collection, those under a prefix, or one, that were added, removed or "
             "have another value at --to than at --from. A line with '-' is what a record was, "
             "one with '+' what it became, each with the transaction that wrote it. What was "
             "changed and changed back is no difference; 'triveni history' shows it.\n"
             "WHEN is a transaction's LSN, a time with its offset, or a restore point.",
    .examples = {{"what the land act changed in a district",
                  "triveni diff titles --prefix AB- --from before-land-act-2026 -r /srv/archive -k "
                  "kek"},
                 {"for a program", "triveni diff titles --from 4711 --to 4800 -o json -r "
                                   "/srv/archive -k kek"}},
    .exits = "378",
    .run = run_diff,
};
