/* get, put, del, scan: records one by one. */
#include "tools/commands.h"

#include "store/core/hex.h"
#include "tools/connect.h"
#include "tools/files.h"
#include "tools/json.h"
#include "tools/past.h"
#include "tools/receipt.h"
#include "tools/record.h"
#include "tools/table.h"
#include "tools/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- get ---- */

struct get_options {
    struct common common;
    const char *as_of, *dir, *kek;
    bool raw, base64;
};
static const struct option get_table[] = {
    {"raw", 0, OPTION_FLAG, offsetof(struct get_options, raw), NULL, NULL,
     "write the value's bytes and nothing else"},
    {"base64", 0, OPTION_FLAG, offsetof(struct get_options, base64), NULL, NULL,
     "KEYs are given in base64"},
    {"as-of", 0, OPTION_TEXT, offsetof(struct get_options, as_of), "WHEN", NULL,
     "as it was at this " PAST_WHEN " (2026-11-24T08:48:21+05:30)"},
    PAST_OPTIONS(struct get_options),
    {0},
};

static struct shown_record shown_of(const struct tvn_record *r)
{
    return (struct shown_record){.collection = from_tvn(r->collection),
                                 .key = from_tvn(r->key),
                                 .value = from_tvn(r->value),
                                 .lsn = r->lsn,
                                 .time_us = r->time_us};
}

static void print_value(const struct get_options *o, struct bytes value)
{
    if (o->raw || isatty(STDOUT_FILENO) != 1)
        (void)fwrite(value.p, 1, value.n, stdout);
    else
        output_text(stdout, value, 0);
    if (!o->raw)
        (void)putchar('\n');
}

static void record_row(struct table *t, const struct tvn_record *r)
{
    char time[UTC_TEXT_BYTES];
    table_bytes(t, from_tvn(r->key));
    table_cell(t, STYLE_NONE, "%llu", (unsigned long long)r->lsn);
    table_cell(t, STYLE_DIM, "%s", utc_text((struct utc){r->time_us}, time));
    table_bytes(t, from_tvn(r->value));
}

static const char *const record_heads[] = {"KEY", ">LSN", "TIME", "VALUE"};

static int print_records(const struct get_options *o, const struct tvn_records *got, struct err *e)
{
    struct table t;
    table_init(&t, record_heads, 4);
    size_t missing = 0;
    for (size_t i = 0; i < got->count; i++) {
        const struct tvn_record *r = &got->records[i];
        struct shown_record shown = shown_of(r);
        if (!r->found)
            missing++;
        else if (o->common.format == OUTPUT_JSON)
            record_json(stdout, &shown);
        else if (got->count == 1 || o->raw)
            print_value(o, shown.value);
        else
            record_row(&t, r);
    }
    if (t.count > 0)
        table_print(&t, stdout);
    table_free(&t);
    say_as_of(&o->common, o->as_of, got->lsn, got->age_us);
    if (missing == 0)
        return 0;
    return got->count == 1
               ? err_set(e, ERR_NOT_FOUND, "there is no such record")
               : err_set(e, ERR_NOT_FOUND, "%zu of %zu records are not there", missing, got->count);
}

/* From the archive, whose directory is given, or from the site that keeps it. */
static int get_archived(const struct get_options *o, const char *collection,
                        const struct tvn_key *keys, size_t n, const struct restore_target *at,
                        struct err *e)
{
    struct past *p = NULL;
    struct past_reach reach = {.more = false};
    struct tvn_record *records = calloc(n, sizeof *records);
    int rc = records == NULL ? err_set(e, ERR_NO_MEMORY, "no memory")
                             : past_open(&p, &o->common, o->dir, o->kek, e);
    if (rc == 0)
        rc = past_records(p, bytes_str(collection), keys, n, at, records, &reach, e);
    if (rc == 0) {
        const struct tvn_records got = {.lsn = reach.to, .count = n, .records = records};
        rc = print_records(o, &got, e);
    }
    past_records_free(records, n);
    past_close(p);
    return rc;
}

/* What the sites' window of history does not reach, or does not know by that name, is asked of the archive. */
static int get_records(const struct get_options *o, const char *collection,
                       const struct tvn_key *keys, size_t n, struct err *e)
{
    struct restore_target at;
    struct tvn_error error;
    struct tvn_read how = TVN_READ_INIT;
    struct tvn_records *got = NULL;
    struct tvn *db = NULL;
    int rc = when_parse(o->as_of, &at, e);
    if (rc != 0)
        return err_wrap(e, "--as-of");
    if (o->as_of != NULL && (o->dir != NULL || at.point != NULL))
        return get_archived(o, collection, keys, n, &at, e);
    how.as_of_lsn = at.lsn.v;
    how.as_of_time_us = at.time.us;
    rc = connect_open(&o->common, &db, e);
    if (rc == 0 && tvn_get_many(db, keys, n, &how, &got, &error) != 0)
        rc = from_client(&error, e);
    if (rc == 0)
        rc = print_records(o, got, e);
    tvn_records_free(got);
    (void)tvn_close(db);
    return rc == ERR_GAP && o->as_of != NULL ? get_archived(o, collection, keys, n, &at, e) : rc;
}

static int run_get(struct invocation *in, struct err *e)
{
    struct get_options *o = in->options;
    size_t n = (size_t)in->count - 1;
    struct tvn_key *keys = calloc(n, sizeof *keys);
    int rc = keys == NULL ? err_set(e, ERR_NO_MEMORY, "no memory") : 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        keys[i].collection = in->operands[0];
        rc = operand_bytes(in->operands[i + 1], o->base64, &keys[i].key, e);
    }
    if (rc == 0)
        rc = get_records(o, in->operands[0], keys, n, e);
    free(keys);
    return rc;
}

const struct command command_get = {
    .name = "get",
    .group = "Records",
    .purpose = "read records",
    .operands = "COLLECTION KEY...",
    .least = 2,
    .most = 1 + (int)TVN_GET_MAX_KEYS,
    .options_bytes = sizeof(struct get_options),
    .tables = {get_table, standby_options, output_options, connection_options},
    .about =
        "One key prints its value; several keys are read from one state and printed as a "
        "table. A read at the primary\n"
        "is linearizable. The past (--as-of) is read from the sites as far back as 'triveni "
        "status' shows, and before that\n"
        "from the archive: the site that keeps it is asked, or, with --repository, its directory "
        "is read.",
    .examples = {{"the value", "triveni get titles AB-12"},
                 {"the value of yesterday evening",
                  "triveni get titles AB-12 --as-of 2026-11-24T18:00:00+05:30"},
                 {"with version and time, for a program", "triveni get titles AB-12 -o json"},
                 {"from the nearest standby", "triveni get titles AB-12 --standby"}},
    .exits = "34678",
    .run = run_get,
};

/* ---- put ---- */

struct put_options {
    struct common common;
    const char *key;
    const char *file;
    const char *receipt;
    struct option_number version;
    bool absent, exists, base64;
};
static const struct option put_table[] = {
    {"file", 'f', OPTION_TEXT, offsetof(struct put_options, file), "FILE", NULL,
     "take the value from FILE"},
    {"if-absent", 0, OPTION_FLAG, offsetof(struct put_options, absent), NULL, NULL,
     "only when there is no such record"},
    {"if-exists", 0, OPTION_FLAG, offsetof(struct put_options, exists), NULL, NULL,
     "only when there is one"},
    {"if-version", 0, OPTION_NUMBER, offsetof(struct put_options, version), "LSN", NULL,
     "only when its last change is the transaction LSN"},
    IDEMPOTENCY_KEY_OPTION(struct put_options),
    RECEIPT_OPTION(struct put_options),
    {"base64", 0, OPTION_FLAG, offsetof(struct put_options, base64), NULL, NULL,
     "KEY is given in base64"},
    {0},
};

/* Conditions of put and del: the same options at the same members. */
static void add_conditions(struct tvn_txn *txn, const struct put_options *o, const char *collection,
                           struct tvn_bytes key)
{
    if (o->absent)
        (void)tvn_txn_if_absent(txn, collection, key);
    if (o->exists)
        (void)tvn_txn_if_exists(txn, collection, key);
    if (o->version.given)
        (void)tvn_txn_if_version(txn, collection, key, o->version.v);
}

static int commit_one(struct invocation *in, struct tvn_txn *txn, struct err *e)
{
    const struct put_options *o = in->options;
    struct tvn *db = NULL;
    int rc = connect_open(&o->common, &db, e);
    if (rc == 0)
        rc = commit_and_print(in, db, txn, o->key, o->receipt, e);
    (void)tvn_close(db);
    return rc;
}

static int run_put(struct invocation *in, struct err *e)
{
    struct put_options *o = in->options;
    uint8_t *read = NULL;
    size_t n = 0;
    struct tvn_bytes key;
    const char *file = o->file != NULL                                       ? o->file
                       : in->count == 3 && strcmp(in->operands[2], "-") == 0 ? "-"
                                                                             : NULL;
    if (in->count == 3 ? o->file != NULL : file == NULL)
        return err_set(e, ERR_USAGE,
                       "give the value as an operand, as '-' for standard input, or with --file");
    int rc = operand_bytes(in->operands[1], o->base64, &key, e);
    if (rc == 0 && file != NULL)
        rc = file_read(file, TVN_VALUE_MAX_BYTES, &read, &n, e);
    if (rc != 0)
        return rc;
    struct tvn_txn *txn = tvn_txn_new();
    if (txn == NULL) {
        free(read);
        return err_set(e, ERR_NO_MEMORY, "no memory");
    }
    add_conditions(txn, o, in->operands[0], key);
    (void)tvn_txn_put(txn, in->operands[0], key,
                      file != NULL ? tvn_view(read, n) : tvn_str(in->operands[2]));
    rc = commit_one(in, txn, e);
    tvn_txn_free(txn);
    free(read);
    return rc;
}

const struct command command_put = {
    .name = "put",
    .group = "Records",
    .purpose = "write one record",
    .operands = "COLLECTION KEY [VALUE|-]",
    .least = 2,
    .most = 3,
    .options_bytes = sizeof(struct put_options),
    .tables = {put_table, ack_options, output_options, connection_options},
    .about = "A value has up to 16 MiB, a key up to 480 bytes. Prints the lsn, which is the "
             "version of the record.",
    .examples = {{"create", "triveni put titles AB-12 '{\"owner\":\"Asha\"}' --if-absent"},
                 {"change what was read at lsn 42, and nothing newer",
                  "triveni put titles AB-12 - --if-version 42 <new.json"},
                 {"safe to run again after any failure, by any process",
                  "triveni put titles AB-12 --file deed.pdf --idempotency-key case-4711-deed"},
                 {"with a proof for the owner of the title",
                  "triveni put titles AB-12 --file deed.pdf --receipt ab-12.tlog-proof"},
                 {"wait until the archive site has it too",
                  "triveni put titles AB-12 --file deed.pdf --ack gsr"}},
    .exits = "456789",
    .run = run_put,
};

/* ---- del ---- */

static const struct option del_table[] = {
    {"if-exists", 0, OPTION_FLAG, offsetof(struct put_options, exists), NULL, NULL,
     "fail when there is no such record"},
    {"if-version", 0, OPTION_NUMBER, offsetof(struct put_options, version), "LSN", NULL,
     "only when its last change is the transaction LSN"},
    IDEMPOTENCY_KEY_OPTION(struct put_options),
    RECEIPT_OPTION(struct put_options),
    {"base64", 0, OPTION_FLAG, offsetof(struct put_options, base64), NULL, NULL,
     "KEYs are given in base64"},
    {0},
};

static int run_del(struct invocation *in, struct err *e)
{
    struct put_options *o = in->options;
    struct tvn_txn *txn = tvn_txn_new();
    if (txn == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    int rc = 0;
    for (int i = 1; i < in->count && rc == 0; i++) {
        struct tvn_bytes key;
        rc = operand_bytes(in->operands[i], o->base64, &key, e);
        if (rc != 0)
            break;
        add_conditions(txn, o, in->operands[0], key);
        (void)tvn_txn_del(txn, in->operands[0], key);
    }
    if (rc == 0)
        rc = commit_one(in, txn, e);
    tvn_txn_free(txn);
    return rc;
}

const struct command command_del = {
    .name = "del",
    .group = "Records",
    .purpose = "delete records in one transaction",
    .operands = "COLLECTION KEY...",
    .least = 2,
    .most = -1,
    .options_bytes = sizeof(struct put_options),
    .tables = {del_table, ack_options, output_options, connection_options},
    .about = "Earlier versions stay in the archive. Deleting what is not there succeeds, unless "
             "--if-exists is given.",
    .examples = {{"one", "triveni del titles AB-12 --if-exists"},
                 {"several, all or none", "triveni del titles AB-12 AB-13 AB-14"}},
    .exits = "456789",
    .run = run_del,
};

/* ---- scan ---- */

enum { TOKEN_MAX_BYTES = 512 };
struct scan_options_cli {
    struct common common;
    const char *as_of;
    const char *prefix, *from, *to, *after;
    const char *index, *equal;
    struct option_number limit;
    bool reverse, keys;
    uint8_t token[TOKEN_MAX_BYTES]; /* --after, of a scan by an index */
};
#define AT(member) offsetof(struct scan_options_cli, member)
static const struct option scan_table[] = {
    {"prefix", 'p', OPTION_TEXT, AT(prefix), "TEXT", NULL, "only keys that begin with TEXT"},
    {"from", 0, OPTION_TEXT, AT(from), "KEY", NULL, "from KEY on, inclusive"},
    {"to", 0, OPTION_TEXT, AT(to), "KEY", NULL, "up to KEY, exclusive"},
    {"after", 0, OPTION_TEXT, AT(after), "KEY", NULL,
     "go on after the last KEY of an earlier scan"},
    {"index", 'i', OPTION_TEXT, AT(index), "NAME", NULL,
     "in the order of this index; then --from and --to are JSON, --prefix is of its values, and "
     "--after takes a token"},
    {"equal", 0, OPTION_TEXT, AT(equal), "JSON", NULL,
     "of an index: only this value, or [A,B] for the first two"},
    {"reverse", 'r', OPTION_FLAG, AT(reverse), NULL, NULL, "from the last key to the first"},
    {"limit", 'n', OPTION_NUMBER, AT(limit), "N", NULL, "at most N records"},
    {"keys-only", 'k', OPTION_FLAG, AT(keys), NULL, NULL, "print keys, one in a line"},
    AS_OF_OPTION(struct scan_options_cli),
    {0},
};
#undef AT

enum { TABLE_PAGE_ROWS = 1000 };

static void print_key(const struct common *c, struct bytes key)
{
    if (c->format == OUTPUT_JSON)
        json_put_text(stdout, key);
    else
        output_text(stdout, key, 0);
    (void)putchar('\n');
}

static void say_token(struct tvn_bytes token)
{
    char text[2 * TOKEN_MAX_BYTES + 1];
    if (token.size == 0 || token.size > TOKEN_MAX_BYTES)
        return;
    hex_format(token.data, token.size, text);
    say("for what comes next: --after %s", text);
}

static int print_scan(const struct scan_options_cli *o, struct tvn_scan *scan, struct err *e)
{
    struct table t;
    table_init(&t, record_heads, 4);
    struct tvn_record r;
    struct tvn_error error;
    uint64_t count = 0;
    int more;
    while ((more = tvn_scan_next(scan, &r, &error)) == 1) {
        struct shown_record shown = shown_of(&r);
        if (o->index != NULL)
            shown.token = from_tvn(tvn_scan_token(scan));
        count++;
        if (o->keys)
            print_key(&o->common, shown.key);
        else if (o->common.format == OUTPUT_JSON)
            record_json(stdout, &shown);
        else
            record_row(&t, &r);
        if (t.count >= (size_t)TABLE_PAGE_ROWS * t.columns)
            table_print(&t, stdout);
        if (ferror(stdout))
            break;
    }
    if (t.count > 0)
        table_print(&t, stdout);
    table_free(&t);
    if (more < 0)
        return from_client(&error, e);
    say_as_of(&o->common, o->as_of, tvn_scan_lsn(scan), tvn_scan_age_us(scan));
    if (o->common.format == OUTPUT_TABLE && isatty(STDOUT_FILENO) == 1)
        say("%llu records", (unsigned long long)count);
    if (o->index != NULL && o->limit.given && count == o->limit.v)
        say_token(tvn_scan_token(scan));
    return 0;
}

/* Of a scan by an index: the hex of an earlier one, decoded. */
static int read_token(struct scan_options_cli *o, struct tvn_scan_options *options, struct err *e)
{
    const size_t n = o->after != NULL ? strlen(o->after) / 2 : 0;
    if (n == 0 && o->after == NULL)
        return 0;
    if (n == 0 || n > sizeof o->token || hex_parse(o->after, o->token, n) != 0)
        return err_set(
            e, ERR_USAGE,
            "--after: '%.60s' is no token of a scan by an index: give what an earlier one "
            "has printed",
            o->after);
    options->after = tvn_view(o->token, n);
    return 0;
}

/* JSON that is none is found by the site, too; here the shell's quotes can be told of. Numbers of any size are JSON. */
static int check_json(const char *option, const char *text, struct err *e)
{
    return text == NULL || json_shape(bytes_str(text), NULL) != JSON_SHAPE_NONE
               ? 0
               : err_set(e, ERR_USAGE,
                         "--%s: '%.60s' is no JSON; a text needs quotes that the shell leaves: "
                         "--%s '\"%.60s\"'",
                         option, text, option, text);
}

static int by_index(struct scan_options_cli *o, struct tvn_scan_options *options, struct err *e)
{
    if (o->index == NULL)
        return o->equal == NULL ? 0
                                : err_set(e, ERR_USAGE, "--equal needs --index: for a key use get");
    if (o->index[0] == '\0')
        return err_set(e, ERR_USAGE, "--index needs a name: 'triveni index list' shows them");
    options->index = o->index;
    options->equal = tvn_str(o->equal);
    int rc = check_json("equal", o->equal, e);
    if (rc == 0)
        rc = check_json("from", o->from, e);
    if (rc == 0)
        rc = check_json("to", o->to, e);
    return rc != 0 ? rc : read_token(o, options, e);
}

static int run_scan(struct invocation *in, struct err *e)
{
    struct scan_options_cli *o = in->options;
    struct tvn_scan_options options = TVN_SCAN_INIT;
    options.collection = in->operands[0];
    options.prefix = tvn_str(o->prefix);
    options.from = tvn_str(o->from);
    options.to = tvn_str(o->to);
    options.after = tvn_str(o->after);
    options.reverse = o->reverse;
    options.limit = o->limit.v;
    struct tvn *db = NULL;
    struct tvn_scan *scan = NULL;
    struct tvn_error error;
    if (o->limit.given && o->limit.v == 0)
        return err_set(e, ERR_USAGE, "--limit must be at least 1");
    struct tvn_read how = TVN_READ_INIT;
    int rc = by_index(o, &options, e);
    if (rc == 0)
        rc = as_of_parse(o->as_of, &how, e);
    if (rc == 0)
        rc = connect_open(&o->common, &db, e);
    if (rc == 0 && tvn_scan_open(db, &options, &how, &scan, &error) != 0)
        rc = from_client(&error, e);
    if (rc == 0)
        rc = print_scan(o, scan, e);
    tvn_scan_close(scan);
    (void)tvn_close(db);
    return rc;
}

const struct command command_scan = {
    .name = "scan",
    .group = "Records",
    .purpose = "list records in the order of their keys, or of an index",
    .operands = "COLLECTION",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct scan_options_cli),
    .tables = {scan_table, standby_options, output_options, connection_options},
    .about = "Long values are cut in tables; -o json prints them whole. Each page shows the state "
             "of its moment; 'triveni dump'\n"
             "prints one state, and so does --as-of. An index (triveni index create) gives the "
             "records that are in it, by value and then by\n"
             "key, of the present only.",
    .examples = {{"keys of a district", "triveni scan titles --prefix AB- --keys-only"},
                 {"as it was after transaction 4711", "triveni scan titles --as-of 4711"},
                 {"the last ten", "triveni scan titles --reverse --limit 10"},
                 {"for a program", "triveni scan titles -o json | jq .value.owner"},
                 {"who owns what", "triveni scan titles --index by-owner --equal '\"Asha\"'"}},
    .exits = "34678",
    .run = run_scan,
};
