/* check: everything that a stopped site keeps on disk, read and compared; names all damage and changes nothing. */
#include "tools/commands.h"

#include "replication/io/vote.h"
#include "replication/site.h"
#include "store/io/log_scan.h"
#include "store/io/state_check.h"
#include "tools/data_dir.h"
#include "tools/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct check_options {
    struct common common;
};

enum { IDENTITY_MAX_BYTES = 4096 };

struct checking {
    bool json;
    const char *part; /* "log/" or "state/" in a data directory, else "" */
    struct progress bar;
    uint64_t done, total, damaged;
    json_t *findings;
    struct state_check_totals state;
    struct log_scan_totals log;
    struct vote vote;
    bool vote_known, checked_log, no_state;
    struct uuid cluster; /* the first that was met */
    const char *cluster_of;
};

/* ---- findings ---- */

#define BRING_BACK "bring it back (triveni init --help: 'Bringing back a damaged site')"

/* What to do, for one who has to decide now. */
static const char *advice(const struct checking *c, const struct finding *f)
{
    switch (f->kind) {
    case FINDING_SEGMENT:
    case FINDING_BATCH:
        if (f->to.v != 0 && c->state.known && f->to.v <= c->state.slot.at.lsn.v)
            return "the state has these entries: the site starts and passes over them; peers and "
                   "the archive that still lack them get them from another site";
        return "this site cannot give these entries: " BRING_BACK;
    case FINDING_RECORD:
        return "read this record from another site or restore it from the archive, and " BRING_BACK;
    case FINDING_ROW:
    case FINDING_PAGE:
    case FINDING_SUM:
        return "do not promote this site; " BRING_BACK;
    case FINDING_CHECKPOINT:
        return c->state.known
                   ? "a whole checkpoint is left: the site starts, and its next checkpoints write "
                     "over it; look at the disk"
                   : "the state cannot be used: " BRING_BACK;
    case FINDING_VOTE:
        return "this site may have forgotten a promise: do not start it, " BRING_BACK;
    case FINDING_IDENTITY:
        return "nothing here may be mixed with another site's: put the right files in their place, "
               "or " BRING_BACK;
    case FINDING_NOTE:
    case FINDING_KINDS:
        break;
    }
    return NULL;
}

static void print_finding(const struct checking *c, const struct finding *f)
{
    const char *what = advice(c, f);
    (void)printf("%s %s%s, byte %" PRIu64, f->kind == FINDING_NOTE ? "note:" : "DAMAGED", c->part,
                 f->file, f->offset);
    if (f->kind == FINDING_RECORD || f->kind == FINDING_ROW) {
        (void)printf(", %s ", f->kind == FINDING_RECORD ? "collection" : "database");
        output_text(stdout, f->collection, 0);
        (void)printf(", key ");
        output_text(stdout, f->key, 0);
    }
    if (f->to.v != 0)
        (void)printf(", lsn %" PRIu64 " to %" PRIu64, f->from.v, f->to.v);
    else if (f->from.v != 0)
        (void)printf(", lsn %" PRIu64 " and later", f->from.v);
    (void)printf(": %s\n", f->text);
    if (what != NULL)
        (void)printf("        %s\n", what);
}

static json_t *json_key(struct bytes b)
{
    json_t *text = b.n == 0 ? json_null() : json_stringn((const char *)b.p, b.n);
    if (text != NULL)
        return text;
    char hex[2 * 512 + 1] = "";
    for (size_t i = 0; i < b.n && i < 512; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", b.p[i]);
    return json_pack("{s:s}", "hex", hex);
}

static void on_found(void *arg, const struct finding *f)
{
    struct checking *c = arg;
    char file[300];
    c->damaged += f->kind != FINDING_NOTE;
    progress_end(&c->bar);
    if (!c->json) {
        print_finding(c, f);
        return;
    }
    (void)snprintf(file, sizeof file, "%s%s", c->part, f->file);
    (void)json_array_append_new(
        c->findings,
        json_pack("{s:s,s:s,s:I,s:I,s:I,s:o,s:o,s:s,s:s?}", "kind", finding_kind_name(f->kind),
                  "file", file, "offset", (json_int_t)f->offset, "from_lsn", (json_int_t)f->from.v,
                  "to_lsn", (json_int_t)f->to.v, "collection", json_key(f->collection), "key",
                  json_key(f->key), "text", f->text, "advice", advice(c, f)));
}

static void on_progress(void *arg, uint64_t bytes)
{
    struct checking *c = arg;
    c->done += bytes;
    progress_show(&c->bar, c->done, c->total, c->state.records);
}

static struct finding_sink sink_of(struct checking *c)
{
    return (struct finding_sink){on_found, on_progress, c};
}

static void tell(struct checking *c, enum finding_kind kind, const char *file, uint64_t offset,
                 const char *text)
{
    on_found(c, &(struct finding){.kind = kind, .file = file, .offset = offset, .text = text});
}

/* ---- one cluster, one site ---- */

/* All parts must be of one cluster. */
static void meet_cluster(struct checking *c, const struct uuid *id, const char *file)
{
    char text[200];
    if (c->cluster_of == NULL) {
        c->cluster = *id;
        c->cluster_of = file;
        return;
    }
    if (uuid_equal(&c->cluster, id))
        return;
    (void)snprintf(text, sizeof text, "it is of another cluster than %s", c->cluster_of);
    tell(c, FINDING_IDENTITY, file, 0, text);
}

static bool parse_hex(const char *text, struct uuid *out)
{
    static const char digits[] = "0123456789abcdef";
    *out = (struct uuid){{0}};
    for (size_t i = 0; i < 2 * sizeof out->b; i++) {
        const char *d = text[i] == '\0' ? NULL : strchr(digits, text[i]);
        if (d == NULL)
            return false;
        out->b[i / 2] = (uint8_t)(out->b[i / 2] << 4 | (d - digits));
    }
    return text[2 * sizeof out->b] == '\0';
}

static int check_identity(struct checking *c, int dir_fd, struct err *e)
{
    char text[IDENTITY_MAX_BYTES];
    json_error_t where;
    struct uuid id;
    int fd = openat(dir_fd, "site.json", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    json_t *o = n < 0 ? NULL : json_loadb(text, (size_t)n, 0, &where);
    const char *found = json_string_value(json_object_get(o, "cluster_id"));
    json_int_t format = json_integer_value(json_object_get(o, "format"));
    int rc = 0;
    if (format > SITE_FORMAT && format <= UINT16_MAX)
        rc = err_newer(e, "site.json", (unsigned)format, SITE_FORMAT);
    else if (fd < 0 && errno == ENOENT)
        tell(c, FINDING_IDENTITY, "site.json", 0, "it is missing");
    else if (n < 0)
        tell(c, FINDING_IDENTITY, "site.json", 0, "it cannot be read");
    else if (found == NULL || !parse_hex(found, &id) ||
             json_string_value(json_object_get(o, "site")) == NULL)
        tell(c, FINDING_IDENTITY, "site.json", 0, "it does not tell cluster and site");
    else
        meet_cluster(c, &id, "site.json");
    if (fd >= 0)
        (void)close(fd);
    json_decref(o);
    return rc;
}

static int check_vote(struct checking *c, int dir_fd, struct err *e)
{
    struct vote_slot slots[VOTE_SLOTS];
    struct err why = ERR_NONE;
    uint64_t newest = 0;
    int rc = vote_inspect(dir_fd, "vote", slots, &why);
    if (rc == ERR_NOT_FOUND) {
        tell(c, FINDING_VOTE, "vote", 0, "it is missing");
        return 0;
    }
    if (rc != 0)
        return err_set(e, rc, "%s", why.text);
    for (unsigned i = 0; i < VOTE_SLOTS; i++) {
        bool torn = !slots[i].valid && slots[1 - i].valid;
        char text[160];
        (void)snprintf(text, sizeof text, "slot %u is not valid%s", i,
                       torn
                           ? " (as a power cut leaves it; the other slot is). If this site did not "
                             "lose its power, it may have forgotten a promise"
                           : "");
        if (!slots[i].valid) {
            tell(c, torn ? FINDING_NOTE : FINDING_VOTE, "vote", (uint64_t)i * VOTE_SLOT_BYTES,
                 text);
        } else if (!c->vote_known || slots[i].sequence > newest) {
            newest = slots[i].sequence;
            c->vote = slots[i].vote;
            c->vote_known = true;
        }
    }
    if (c->vote_known)
        meet_cluster(c, &c->vote.cluster_id, "vote");
    return 0;
}

/* R1: the term of an entry was durable here before the entry was. */
static void check_vote_term(struct checking *c)
{
    char text[160];
    if (!c->vote_known || c->vote.term.v >= c->log.last.term.v)
        return;
    (void)snprintf(text, sizeof text,
                   "its term is %" PRIu64 ", but the log has entries of term %" PRIu64
                   ": it is older than the log",
                   c->vote.term.v, c->log.last.term.v);
    tell(c, FINDING_VOTE, "vote", 0, text);
}

/* R5: a log that once was there and is not any more. */
static void check_log_begun(struct checking *c)
{
    if (c->vote_known && c->vote.log_begun && c->log.segments == 0)
        tell(c, FINDING_SEGMENT, "log", 0,
             "there is no segment, but the vote file says that this site had a log");
}

/* What was recycled from the log was in the state. */
static void check_state_there(struct checking *c)
{
    char text[160];
    if (!c->no_state || c->log.first.lsn.v == 0)
        return;
    (void)snprintf(text, sizeof text,
                   "there is no state, and the log begins after lsn %" PRIu64
                   ": what is before is missing",
                   c->log.first.lsn.v);
    tell(c, FINDING_CHECKPOINT, "state/checkpoint", 0, text);
}

/* ---- state and log ---- */

static int on_segment(void *arg, const struct log_scan_segment *s)
{
    struct checking *c = arg;
    if (!s->inferred && s->counts)
        meet_cluster(c, &s->head.cluster_id, s->file);
    return 0;
}

static void plan(struct checking *c, const struct data_dir *d)
{
    struct stat st;
    uint64_t bytes = 0;
    if (d->log_fd >= 0 && log_scan_bytes(d->log_fd, &bytes, NULL) == 0)
        c->total += bytes;
    if (d->state_fd >= 0 && fstatat(d->state_fd, "data.mdb", &st, 0) == 0)
        c->total += (uint64_t)st.st_size;
}

static int check_state(struct checking *c, const struct data_dir *d, struct err *e)
{
    const struct finding_sink sink = sink_of(c);
    struct stat st;
    uint64_t before = c->done;
    c->part = d->state_fd != d->fd ? "state/" : "";
    int rc = state_check(d->state_fd, &sink, &c->state, e);
    if (rc == ERR_NOT_FOUND) {
        tell(c, FINDING_NOTE, "checkpoint", 0,
             "there is no state: a site that starts here makes it from its log");
        c->no_state = true;
        rc = 0;
    }
    if (rc == 0 && c->state.known)
        meet_cluster(c, &c->state.slot.cluster_id, "checkpoint");
    /* Pages that are free were not read. */
    if (fstatat(d->state_fd, "data.mdb", &st, 0) == 0)
        c->done = before + (uint64_t)st.st_size;
    return rc;
}

/* The walk itself compares the chain with the state's position. */
static int check_log(struct checking *c, const struct data_dir *d, struct err *e)
{
    struct log_scan_options options = {
        .dir_fd = d->log_fd, .sink = sink_of(c), .segment = on_segment, .arg = c};
    c->part = d->log_fd != d->fd ? "log/" : "";
    if (c->state.known)
        options.checkpoint = c->state.slot.at;
    int rc = log_scan(&options, &c->log, e);
    c->checked_log = rc == 0;
    return rc;
}

static int check_all(struct checking *c, const struct data_dir *d, struct err *e)
{
    int rc = 0;
    c->part = "";
    plan(c, d);
    if (d->is_site) {
        rc = check_identity(c, d->fd, e);
        if (rc == 0)
            rc = check_vote(c, d->fd, e);
    }
    if (rc == 0 && d->state_fd >= 0)
        rc = check_state(c, d, e);
    if (rc == 0 && d->log_fd >= 0)
        rc = check_log(c, d, e);
    c->part = "";
    if (d->is_site && d->state_fd < 0)
        c->no_state = true;
    if (rc == 0) {
        check_state_there(c);
        check_vote_term(c);
        check_log_begun(c);
    }
    return rc;
}

/* ---- the result ---- */

static void print_table(const struct checking *c)
{
    char size[24], digest[DIGEST_HEX_BYTES];
    if (c->state.known) {
        digest_hex(c->state.digest, digest);
        (void)printf("state  at lsn %" PRIu64 ": %" PRIu64 " records in %" PRIu64
                     " collections, digest %s\n",
                     c->state.slot.at.lsn.v, c->state.records, c->state.collections, digest);
    }
    if (c->checked_log && c->log.segments == 0)
        (void)printf("log    empty\n");
    else if (c->checked_log)
        (void)printf("log    lsn %" PRIu64 " to %" PRIu64 ": %" PRIu64 " entries in %" PRIu64
                     " batches, %" PRIu64 " segments, %s\n",
                     c->log.first.lsn.v + 1, c->log.last.lsn.v, c->log.entries, c->log.batches,
                     c->log.segments, bytes_text(c->log.bytes, size));
    if (c->vote_known)
        (void)printf("vote   term %" PRIu64 ", incarnation %" PRIu64 "%s\n", c->vote.term.v,
                     c->vote.incarnation, c->vote.may_vote ? "" : ", may not vote yet");
    if (c->damaged == 0)
        (void)printf("no damage\n");
}

static void print_json(const struct checking *c, const char *path)
{
    char digest[DIGEST_HEX_BYTES];
    json_t *all = json_pack("{s:s,s:b,s:I,s:O}", "directory", path, "clean", c->damaged == 0,
                            "damaged", (json_int_t)c->damaged, "findings", c->findings);
    digest_hex(c->state.digest, digest);
    (void)json_object_set_new(
        all, "state",
        !c->state.known ? json_null()
                        : json_pack("{s:I,s:I,s:I,s:s}", "lsn", (json_int_t)c->state.slot.at.lsn.v,
                                    "records", (json_int_t)c->state.records, "collections",
                                    (json_int_t)c->state.collections, "digest", digest));
    (void)json_object_set_new(
        all, "log",
        !c->checked_log
            ? json_null()
            : json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "first", (json_int_t)c->log.first.lsn.v + 1,
                        "last", (json_int_t)c->log.last.lsn.v, "entries",
                        (json_int_t)c->log.entries, "batches", (json_int_t)c->log.batches,
                        "segments", (json_int_t)c->log.segments, "bytes",
                        (json_int_t)c->log.bytes));
    (void)json_object_set_new(all, "vote",
                              !c->vote_known
                                  ? json_null()
                                  : json_pack("{s:I,s:I,s:b}", "term", (json_int_t)c->vote.term.v,
                                              "incarnation", (json_int_t)c->vote.incarnation,
                                              "may_vote", c->vote.may_vote));
    output_json(all);
}

static int run_check(struct invocation *in, struct err *e)
{
    const struct check_options *o = in->options;
    struct checking c = {.json = o->common.format == OUTPUT_JSON, .findings = json_array()};
    struct data_dir d;
    int rc = data_dir_open(&d, in->operands[0], true, e);
    if (rc == 0) {
        progress_begin(&c.bar, "check", "records", 0);
        rc = check_all(&c, &d, e);
        progress_end(&c.bar);
        data_dir_close(&d);
    }
    if (rc == 0 && c.json)
        print_json(&c, in->operands[0]);
    else if (rc == 0)
        print_table(&c);
    json_decref(c.findings);
    if (rc == 0 && c.damaged != 0)
        rc = err_set(e, ERR_INTEGRITY, "%s: %" PRIu64 " damaged; nothing was changed",
                     in->operands[0], c.damaged);
    return rc;
}

const struct command command_check = {
    .name = "check",
    .group = "Data on disk",
    .purpose = "check all that a stopped site keeps on disk",
    .operands = "DIR",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct check_options),
    .tables = {output_options},
    .about =
        "DIR is the data directory of a stopped site, its log/ or state/, or a copy of one of "
        "them. Reads every segment and batch\n"
        "of the log, every page, row and record of the state as of its last checkpoint, and the "
        "checkpoint and vote slots; counts\n"
        "the digests again; and compares the parts with each other: the log must go on from "
        "exactly where the state ends.\n"
        "\n"
        "Each damaged record, page, segment or slot is named, with what to do, and the check goes "
        "on behind it. Nothing is changed\n"
        "and no copy is made: LMDB's pages are read directly, since LMDB itself would have to "
        "write to open a state. What a\n"
        "power cut leaves is a note and no damage: a torn tail of the log, one torn copy of a "
        "checkpoint slot, one torn slot of the\n"
        "vote. Exit code 7 when anything is damaged.",
    .examples = {{"a stopped site", "triveni check /var/lib/triveni"},
                 {"which records are damaged",
                  "triveni check /srv/copy -o json | jq -r '.findings[] | select(.kind == "
                  "\"record\") | [.collection, .key] | @tsv'"}},
    .exits = "378",
    .run = run_check,
};
