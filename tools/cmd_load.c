/* load: a file into a collection, each line exactly once, whatever is interrupted.
 *
 * Every batch is one transaction of up to --batch records, and writes in that same transaction how far the load is, as record
 * NAME of collection load-progress, under the condition that this record still has the version that the batch before
 * gave it. So:
 *  L1  progress and records change together: what the record says is loaded is loaded, and nothing more;
 *  L2  the batches form a chain: a batch that follows a failed one, a second load of the same name, or a copy that arrives late
 *      cannot commit;
 *  L3  a load that is started again goes on after the last committed line. It reads the input from the start up to there
 *      and compares its CRC32C, so that another or a changed file is noticed.
 *  L4  the last batch of a load that was killed may still be on its way when it is started again: its condition holds, and that
 *      of the new load's first batch then does not. So when the very first batch fails, the progress is read anew.
 * The price of the chain is one transaction in flight: the version that a batch depends on is known only after the one before
 * has committed. Batches are large and the next is read and parsed while one is under way, so the rate is that of the disks
 * and the network for one large commit after another. */
#include "tools/commands.h"

#include "store/core/body.h"
#include "tools/connect.h"
#include "tools/files.h"
#include "tools/import.h"
#include "tools/lines.h"
#include "tools/load_progress.h"
#include "tools/load_rejects.h"
#include "tools/progress.h"
#include "tools/record.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    BATCH_DEFAULT = 1000,
    BATCH_MAX = 32768,         /* half of what a transaction may hold */
    BATCH_BYTES_MAX = 4 << 20, /* of keys and values, but always one record */
    OVERTAKEN_TRIES = 3,       /* see L4 */
    LOAD_TIMEOUT_MS = 60000,   /* a failover in between should not end a load */
};

struct load_options {
    struct common common;
    const char *format, *key, *value, *name, *rejects;
    struct option_number batch;
    bool header, skip_bad, again, dry_run;
};
#define AT(member) offsetof(struct load_options, member)
static const struct option load_table[] = {
    {"format", 0, OPTION_TEXT, AT(format), "FORMAT", NULL,
     "jsonl, tsv or dump; default: by the name's end (.jsonl .ndjson .tsv)"},
    {"key", 'k', OPTION_TEXT, AT(key), "WHICH", NULL,
     "jsonl: member or JSON pointer; tsv: column, default 1"},
    {"value", 0, OPTION_TEXT, AT(value), "WHICH", NULL,
     "jsonl: default the whole line; tsv: default 2, with --header an object of all columns"},
    {"header", 0, OPTION_FLAG, AT(header), NULL, NULL, "tsv: the first line names the columns"},
    {"batch", 0, OPTION_NUMBER, AT(batch), "N", NULL,
     "records in one transaction, up to 32768; default 1000"},
    {"name", 0, OPTION_TEXT, AT(name), "NAME", NULL,
     "of the load's progress; default COLLECTION:FILE"},
    {"skip-bad", 0, OPTION_FLAG, AT(skip_bad), NULL, NULL,
     "put bad lines aside into a reject file and go on"},
    {"rejects", 0, OPTION_TEXT, AT(rejects), "FILE", NULL, "that file; default FILE.rejects"},
    {"again", 0, OPTION_FLAG, AT(again), NULL, NULL,
     "load from the first line, whatever was loaded before"},
    {"dry-run", 0, OPTION_FLAG, AT(dry_run), NULL, NULL, "read and check every line, load nothing"},
    {0},
};
#undef AT

struct batch {
    struct tvn_txn *txn;
    size_t records, bytes;
    struct load_progress end; /* as of its last line */
};

struct load {
    const struct load_options *o;
    const char *collection, *file;
    char name[TVN_KEY_MAX_BYTES + 1];
    struct import import;
    struct lines lines;
    uint64_t size; /* of the file, 0: unknown */
    struct progress bar;
    struct tvn *db;
    uint64_t batch_records;

    struct load_progress at;      /* all lines read */
    struct load_progress safe;    /* all committed */
    uint64_t version;             /* of the progress record; 0: there is none */
    struct load_progress resumed; /* where this run began */

    struct rejects rejects;

    struct batch batches[2];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool in_flight, answered, overtaken;
    const struct batch *flying;
    struct tvn_result result;
    struct tvn_error error;
};

/* ---- reading ---- */

static int bad_line(struct load *l, const struct line *line, size_t column, struct err *e)
{
    (void)err_wrap(e, "%s:%" PRIu64 ":%zu", l->lines.name, line->number, column);
    if (l->o->skip_bad) {
        progress_end(&l->bar);
        say("%s", e->text);
        l->at.rejected++;
        int rc = rejects_add(&l->rejects, line->text, e);
        l->at.rejects_bytes = l->rejects.bytes;
        return rc;
    }
    char text[ERR_TEXT_BYTES];
    memcpy(text, e->text, sizeof text);
    return err_set(e, ERR_FAILED,
                   "%.400s; correct it and run the same command again, or use --skip-bad", text);
}

static int add_record(struct load *l, struct batch *b, const struct imported *r, struct err *e)
{
    char collection[TVN_COLLECTION_MAX_BYTES + 1];
    const char *to = l->collection;
    if (l->import.format == IMPORT_DUMP) {
        memcpy(collection, r->collection.p, r->collection.n);
        collection[r->collection.n] = '\0';
        to = collection;
    }
    if (tvn_txn_put(b->txn, to, tvn_view(r->key.p, r->key.n), tvn_view(r->value.p, r->value.n)) ==
        TVN_NO_MEMORY)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    b->records++;
    b->bytes += r->key.n + r->value.n;
    l->at.records++;
    return 0;
}

/* Lines into the batch until it is full. *ended at the end of the input. On an error the batch holds what came before. */
static int fill_batch(struct load *l, struct batch *b, bool *ended, struct err *e)
{
    tvn_txn_reset(b->txn);
    b->records = b->bytes = 0;
    int rc = 0;
    while (b->records < l->batch_records && b->bytes < BATCH_BYTES_MAX) {
        struct line line;
        struct imported record;
        size_t column = 1;
        int got = lines_next(&l->lines, &line, e);
        if (got <= 0) {
            *ended = got == 0;
            rc = got;
            break;
        }
        if (line.too_long)
            rc = err_set(e, ERR_FORMAT, "the line is longer than %d bytes", IMPORT_LINE_MAX_BYTES);
        else
            rc = import_line(&l->import, line.text, &record, &column, e);
        if (rc == ERR_FORMAT)
            rc = bad_line(l, &line, column, e);
        else if (rc == 1)
            rc = add_record(l, b, &record, e);
        if (rc != 0)
            break;
        l->at.lines = line.number;
        l->at.offset = line.end;
        l->at.crc = l->lines.crc;
        l->at.open_end = line.open;
        b->end = l->at;
    }
    b->end = l->at;
    b->end.done = *ended;
    return rc;
}

/* ---- committing ---- */

static void on_done(void *arg, const struct tvn_result *result, const struct tvn_error *error)
{
    struct load *l = arg;
    (void)pthread_mutex_lock(&l->lock);
    l->result = *result;
    l->error = *error;
    l->answered = true;
    (void)pthread_cond_signal(&l->wake);
    (void)pthread_mutex_unlock(&l->lock);
}

static int submit(struct load *l, struct batch *b, struct err *e)
{
    char text[LOAD_PROGRESS_BYTES];
    struct tvn_bytes key = tvn_str(l->name);
    int rc = rejects_sync(&l->rejects, e);
    if (rc != 0)
        return rc;
    size_t n = load_progress_write(&b->end, text);
    if (l->version == 0)
        (void)tvn_txn_if_absent(b->txn, LOAD_PROGRESS_COLLECTION, key);
    else
        (void)tvn_txn_if_version(b->txn, LOAD_PROGRESS_COLLECTION, key, l->version);
    (void)tvn_txn_put(b->txn, LOAD_PROGRESS_COLLECTION, key, tvn_view(text, n));
    struct tvn_error error;
    l->answered = false;
    if (tvn_submit(l->db, b->txn, on_done, l, &error) != 0)
        return from_client(&error, e);
    l->in_flight = true;
    l->flying = b;
    return 0;
}

static int wait_answer(struct load *l, struct err *e)
{
    if (!l->in_flight)
        return 0;
    (void)pthread_mutex_lock(&l->lock);
    while (!l->answered)
        (void)pthread_cond_wait(&l->wake, &l->lock);
    (void)pthread_mutex_unlock(&l->lock);
    l->in_flight = false;
    l->overtaken = l->error.code == TVN_CONDITION && l->safe.lines == l->resumed.lines;
    if (l->error.code == TVN_CONDITION)
        return err_set(e, ERR_CONDITION,
                       "another load of the name '%.80s' goes on at the same time: let it finish, "
                       "or give this one its own "
                       "--name",
                       l->name);
    if (l->error.code != 0)
        return err_set(
            e, l->error.code,
            "%.300s; run the same command again: it goes on exactly after the last committed line",
            l->error.text);
    l->version = l->result.lsn;
    l->safe = l->flying->end;
    progress_show(&l->bar, l->safe.offset, l->size, l->safe.records);
    return 0;
}

/* The loop: read a batch while the one before is under way. */
static int load_all(struct load *l, struct err *e)
{
    bool ended = false;
    int read_rc = 0;
    struct err read_error = ERR_NONE;
    for (size_t i = 0; !ended && read_rc == 0; i++) {
        struct batch *b = &l->batches[i % 2];
        read_rc = fill_batch(l, b, &ended, &read_error);
        int rc = wait_answer(l, e);
        bool worth = b->records > 0 || b->end.lines > l->safe.lines || (ended && !l->resumed.done);
        if (rc == 0 && worth && !l->o->dry_run)
            rc = submit(l, b, e);
        if (rc != 0)
            return rc;
        if (l->o->dry_run)
            progress_show(&l->bar, l->at.offset, l->size, l->at.records);
    }
    int rc = wait_answer(l, e);
    if (rc != 0 || read_rc == 0)
        return rc;
    *e = read_error;
    return read_rc;
}

/* ---- beginning ---- */

static int read_position(struct load *l, struct err *e)
{
    struct tvn_records *got = NULL;
    struct tvn_error error;
    int code = tvn_get(l->db, LOAD_PROGRESS_COLLECTION, tvn_str(l->name), NULL, &got, &error);
    if (code == TVN_NOT_FOUND)
        return 0;
    if (code != 0)
        return from_client(&error, e);
    l->version = got->records[0].lsn;
    int rc = l->o->again ? 0 : load_progress_read(from_tvn(got->records[0].value), &l->at, e);
    tvn_records_free(got);
    return rc;
}

/* Read the part that is loaded, and compare. */
static int skip_loaded(struct load *l, struct err *e)
{
    struct line line = {.number = 0};
    while (line.number < l->at.lines) {
        int got = lines_next(&l->lines, &line, e);
        if (got < 0)
            return got;
        if (got == 0)
            return err_set(
                e, ERR_CONDITION,
                "%s has %" PRIu64 " lines, but %" PRIu64
                " were loaded under the name '%.80s': another file? Give it its own --name",
                l->lines.name, line.number, l->at.lines, l->name);
        struct imported none;
        size_t column;
        if (line.number == 1 && l->import.header &&
            import_line(&l->import, line.text, &none, &column, e) < 0)
            return e->code;
    }
    if (l->lines.offset != l->at.offset || l->lines.crc != l->at.crc)
        return err_set(e, ERR_CONDITION,
                       "the first %" PRIu64
                       " lines of %s are not those that were loaded under the name '%.80s'%s",
                       l->at.lines, l->lines.name, l->name,
                       l->at.open_end ? ": its last line has grown"
                                      : ": another file? Give it its own --name");
    return 0;
}

static int choose_name(struct load *l, struct err *e)
{
    const char *base = strrchr(l->file, '/');
    base = base != NULL ? base + 1 : l->file;
    int n;
    if (l->o->name != NULL)
        n = snprintf(l->name, sizeof l->name, "%s", l->o->name);
    else if (strcmp(l->file, "-") == 0)
        return err_set(e, ERR_USAGE,
                       "standard input needs --name, under which an interrupted load is continued");
    else
        n = snprintf(l->name, sizeof l->name, "%s:%s", l->collection, base);
    if (n <= 0 || (size_t)n >= sizeof l->name)
        return err_set(e, ERR_USAGE, "the load's name must have 1 to %d bytes: use --name",
                       TVN_KEY_MAX_BYTES);
    return 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static int choose_format(struct load *l, struct err *e)
{
    const char *f = l->o->format;
    if (f == NULL)
        f = ends_with(l->file, ".tsv")                                      ? "tsv"
            : ends_with(l->file, ".jsonl") || ends_with(l->file, ".ndjson") ? "jsonl"
                                                                            : "";
    l->import = (struct import){.key = l->o->key, .value = l->o->value, .header = l->o->header};
    if (strcmp(f, "jsonl") == 0)
        l->import.format = IMPORT_JSONL;
    else if (strcmp(f, "tsv") == 0)
        l->import.format = IMPORT_TSV;
    else if (strcmp(f, "dump") == 0)
        l->import.format = IMPORT_DUMP;
    else if (f[0] != '\0')
        return err_set(e, ERR_USAGE, "format '%.40s' is unknown: use jsonl, tsv or dump", f);
    else
        return err_set(
            e, ERR_USAGE,
            "the name '%.80s' does not tell the format: give --format jsonl, tsv or dump", l->file);
    return import_begin(&l->import, e);
}

static int check_arguments(struct load *l, struct err *e)
{
    const struct op op = {OP_PUT, bytes_str(l->collection), bytes_str("k"), {NULL, 0}};
    int rc = op_check(&op, false, e);
    if (rc == 0 && strcmp(l->collection, LOAD_PROGRESS_COLLECTION) == 0)
        rc = err_set(e, ERR_USAGE,
                     "the collection " LOAD_PROGRESS_COLLECTION
                     " is where loads keep their progress");
    l->batch_records = l->o->batch.given ? l->o->batch.v : BATCH_DEFAULT;
    if (rc == 0 && (l->batch_records == 0 || l->batch_records > BATCH_MAX))
        rc = err_set(e, ERR_USAGE, "--batch must be from 1 to %d", BATCH_MAX);
    if (rc == 0)
        rc = choose_name(l, e);
    return rc != 0 ? rc : choose_format(l, e);
}

/* The first commit of a load with rejects is its progress record alone: from then on the reject file is its own, also when
 * it is interrupted before its first batch. */
static int begin_rejects(struct load *l, struct err *e)
{
    int rc =
        rejects_open(&l->rejects, l->o->rejects, l->file, l->version != 0, l->at.rejects_bytes, e);
    if (rc != 0 || l->version != 0)
        return rc;
    struct batch *b = &l->batches[0];
    tvn_txn_reset(b->txn);
    b->end = l->at;
    rc = submit(l, b, e);
    return rc != 0 ? rc : wait_answer(l, e);
}

static int begin(struct load *l, struct common *c, struct err *e)
{
    int rc = check_arguments(l, e);
    if (rc == 0)
        rc = lines_open(&l->lines, l->file, IMPORT_LINE_MAX_BYTES, e);
    struct stat st;
    if (rc == 0 && fstat(l->lines.fd, &st) == 0 && S_ISREG(st.st_mode))
        l->size = (uint64_t)st.st_size;
    if (!c->timeout.given)
        c->timeout = (struct option_number){true, LOAD_TIMEOUT_MS};
    for (size_t i = 0; i < 2 && rc == 0; i++)
        if ((l->batches[i].txn = tvn_txn_new()) == NULL)
            rc = err_set(e, ERR_NO_MEMORY, "no memory");
    if (rc != 0 || l->o->dry_run)
        return rc;
    rc = connect_open(c, &l->db, e);
    if (rc == 0)
        rc = read_position(l, e);
    if (rc == 0)
        rc = skip_loaded(l, e);
    l->safe = l->resumed = l->at;
    l->bar.first = l->resumed.offset;
    return rc == 0 && l->o->skip_bad ? begin_rejects(l, e) : rc;
}

static void report(const struct load *l)
{
    const struct load_progress *end = l->o->dry_run ? &l->at : &l->safe;
    uint64_t records = end->records - l->resumed.records;
    double seconds = progress_seconds(&l->bar);
    double rate = seconds > 0 ? (double)records / seconds : 0;
    if (l->o->common.format == OUTPUT_JSON) {
        output_json(json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:f,s:f}", "name", l->name, "lines",
                              (json_int_t)end->lines, "records", (json_int_t)end->records,
                              "rejected", (json_int_t)end->rejected, "resumed_after_line",
                              (json_int_t)l->resumed.lines, "lsn", (json_int_t)l->version,
                              "seconds", seconds, "records_per_second", rate));
        return;
    }
    if (l->resumed.done && end->lines == l->resumed.lines) {
        (void)printf("nothing to do: all %" PRIu64
                     " lines are loaded (--again loads them once more)\n",
                     end->lines);
        return;
    }
    if (l->resumed.lines > 0)
        (void)printf("continued after line %" PRIu64 "\n", l->resumed.lines);
    (void)printf("%s %" PRIu64 " records in %.1f s, %.0f records/s",
                 l->o->dry_run ? "checked" : "loaded", records, seconds, rate);
    if (end->rejected > 0)
        (void)printf(", %" PRIu64 " bad lines%s%s", end->rejected, l->rejects.fd >= 0 ? " in " : "",
                     l->rejects.name);
    if (!l->o->dry_run)
        (void)printf("; last lsn %" PRIu64, l->version);
    (void)putchar('\n');
}

/* *overtaken: nothing was committed, because somebody else moved the progress on after it was read. */
static int load_once(struct invocation *in, bool *overtaken, struct err *e)
{
    struct load_options *o = in->options;
    struct load l = {.o = o,
                     .collection = in->operands[0],
                     .file = in->operands[1],
                     .rejects.fd = -1,
                     .lines.fd = -1};
    (void)pthread_mutex_init(&l.lock, NULL);
    (void)pthread_cond_init(&l.wake, NULL);
    progress_begin(&l.bar, "load", "records", 0);
    int rc = begin(&l, &o->common, e);
    if (rc == 0)
        rc = load_all(&l, e);
    progress_end(&l.bar);
    *overtaken = l.overtaken;
    if (rc == 0)
        report(&l);
    else if (l.safe.lines > 0 && !l.overtaken)
        say("%" PRIu64 " lines (%" PRIu64 " records) are committed, at lsn %" PRIu64, l.safe.lines,
            l.safe.records, l.version);
    (void)tvn_close(l.db); /* completes what is in flight */
    rejects_close(&l.rejects);
    for (size_t i = 0; i < 2; i++)
        tvn_txn_free(l.batches[i].txn);
    import_end(&l.import);
    lines_close(&l.lines);
    (void)pthread_cond_destroy(&l.wake);
    (void)pthread_mutex_destroy(&l.lock);
    return rc;
}

static int run_load(struct invocation *in, struct err *e)
{
    int rc = 0;
    bool overtaken = true;
    bool seekable = strcmp(in->operands[1], "-") != 0;
    for (int i = 0; i < OVERTAKEN_TRIES && overtaken; i++) {
        rc = load_once(in, &overtaken, e);
        overtaken = overtaken && seekable;
    }
    return rc;
}

const struct command command_load = {
    .name = "load",
    .group = "Records",
    .purpose = "load a file, each line exactly once",
    .operands = "COLLECTION FILE|-",
    .least = 2,
    .most = 2,
    .options_bytes = sizeof(struct load_options),
    .tables = {load_table, ack_options, output_options, connection_options},
    .about = "Each batch of records is one transaction, which also writes how far the load is into "
             "the collection load-progress,\n"
             "under the condition that nobody else changed that. When a load is interrupted, by "
             "whatever, run the same command\n"
             "again: it goes on after the last committed line, and no line is loaded twice. A file "
             "that has grown since is\n"
             "loaded from where it ended then. A file whose loaded part has changed is refused.\n"
             "\n"
             "A bad line ends the load with its place (line and column); everything before it is "
             "committed.",
    .examples = {{"JSON Lines, the key is in the member id",
                  "triveni load titles titles.jsonl --key id"},
                 {"tab separated, the first line names the columns",
                  "triveni load titles titles.tsv --header --key title_no"},
                 {"what 'triveni dump --all' wrote", "triveni load all dump.jsonl --format dump"},
                 {"bad lines aside", "triveni load titles titles.jsonl --key id --skip-bad"}},
    .exits = "456789",
    .run = run_load,
};
