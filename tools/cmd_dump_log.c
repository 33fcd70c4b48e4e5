/* dump-log: what a log on disk holds, segment by segment: the entries, and where it is damaged or torn. */
#include "tools/commands.h"

#include "store/core/body.h"
#include "store/io/log_scan.h"
#include "tools/data_dir.h"
#include "tools/json.h"
#include "tools/progress.h"
#include "tools/text.h"

#include <inttypes.h>
#include <stdlib.h>

struct dump_log_options {
    struct common common;
    struct option_number from, to;
    bool ops, batches, running;
};
#define AT(member) offsetof(struct dump_log_options, member)
static const struct option dump_log_table[] = {
    {"from", 'f', OPTION_NUMBER, AT(from), "LSN", NULL, "first entry to show"},
    {"to", 't', OPTION_NUMBER, AT(to), "LSN", NULL, "last entry to show"},
    {"ops", 0, OPTION_FLAG, AT(ops), NULL, NULL, "also what each transaction puts and deletes"},
    {"batches", 0, OPTION_FLAG, AT(batches), NULL, NULL, "also the batches that were written"},
    {"running", 0, OPTION_FLAG, AT(running), NULL, NULL,
     "although a site runs on it: what it writes meanwhile may look torn or damaged"},
    {0},
};
#undef AT

struct dump_log {
    const struct dump_log_options *o;
    bool json;
    uint64_t entries, damaged;
};

static void hex(FILE *f, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)fprintf(f, "%02x", p[i]);
}

/* ---- bodies ---- */

/* What every kind of entry has in common, as far as it has it. */
struct shown_body {
    struct uuid session; /* zero: none */
    uint64_t sequence;
    const char *level; /* NULL: none */
    struct bytes client, what;
    struct body_txn txn;
    struct body_members members; /* count 0: none */
};

static int read_body(const struct entry_view *v, struct shown_body *b, struct err *e)
{
    static const char *const acts[] = {"", "open", "close", "expire"};
    const struct bytes body = bytes_of(v->body, v->header.body_bytes);
    struct body_noop noop;
    struct body_config config;
    struct body_restore_point point;
    struct body_session s;
    struct body_audit audit;
    struct body_members members;
    int rc = 0;
    *b = (struct shown_body){.level = NULL};
    switch (v->header.kind) {
    case ENTRY_TXN:
        if ((rc = body_read_txn(body, &b->txn, e)) == 0) {
            b->session = b->txn.session;
            b->client = b->txn.client;
            b->sequence = b->txn.sequence;
            b->level = level_name(b->txn.level);
        }
        break;
    case ENTRY_NOOP:
        if ((rc = body_read_noop(body, &noop, e)) == 0)
            b->what = noop.site;
        break;
    case ENTRY_CONFIG:
        if ((rc = body_read_config(body, &config, e)) == 0) {
            b->client = config.client;
            b->what = bytes_str(commit_mode_name(config.mode));
        }
        break;
    case ENTRY_RESTORE_POINT:
        if ((rc = body_read_restore_point(body, &point, e)) == 0) {
            b->client = point.client;
            b->what = point.name;
        }
        break;
    case ENTRY_SESSION:
        if ((rc = body_read_session(body, &s, e)) == 0) {
            b->session = s.session;
            b->client = s.client;
            b->what = bytes_str(acts[s.act]);
        }
        break;
    case ENTRY_AUDIT:
        if ((rc = body_read_audit(body, &audit, e)) == 0) {
            b->client = audit.client;
            b->what = audit.act;
        }
        break;
    case ENTRY_MEMBERS:
        if ((rc = body_read_members(body, &members, e)) == 0) {
            b->client = members.by;
            b->members = members;
        }
        break;
    }
    return rc;
}

/* ---- JSON ---- */

static void json_ops(const struct shown_body *b)
{
    struct reader r = b->txn.ops;
    struct op op;
    (void)fputs(",\"ops\":[", stdout);
    for (uint32_t i = 0; i < b->txn.op_count && body_next_op(&r, &op, NULL) == 0; i++) {
        (void)printf("%s{\"op\":\"%s\",\"collection\":", i == 0 ? "" : ",",
                     op.kind == OP_PUT ? "put" : "del");
        json_put_text(stdout, op.collection);
        (void)fputs(",\"key\":", stdout);
        json_put_text(stdout, op.key);
        if (op.kind == OP_PUT) {
            (void)fputs(",\"value\":", stdout);
            json_put_value(stdout, op.value);
        }
        (void)putchar('}');
    }
    (void)putchar(']');
}

static void json_members(const struct shown_body *b)
{
    for (uint32_t i = 0; i < b->members.count; i++) {
        const struct body_member *m = &b->members.members[i];
        (void)fputs(i == 0 ? ",\"members\":[{\"name\":" : ",{\"name\":", stdout);
        json_put_text(stdout, m->name);
        (void)printf(",\"kind\":\"%s\",\"votes\":%s,\"peer\":",
                     m->kind == MEMBER_REPOSITORY ? "repository" : "data",
                     m->lost    ? "false,\"lost\":true"
                     : m->votes ? "true"
                                : "false");
        json_put_text(stdout, m->peer);
        (void)fputs(",\"client\":", stdout);
        json_put_text(stdout, m->client);
        (void)fputs(i + 1 == b->members.count ? "}]" : "}", stdout);
    }
}

static void json_entry(const struct dump_log *d, const struct log_scan_segment *s, uint64_t offset,
                       const struct entry_view *v, const struct shown_body *b,
                       const struct err *why)
{
    char time[UTC_TEXT_BYTES];
    (void)printf("{\"type\":\"entry\",\"lsn\":%" PRIu64 ",\"term\":%" PRIu64
                 ",\"time\":\"%s\",\"time_us\":%" PRIu64
                 ",\"kind\":\"%s\",\"bytes\":%u,\"hash\":\"",
                 v->header.lsn.v, v->header.term.v, utc_text(v->header.time, time),
                 v->header.time.us, entry_kind_name(v->header.kind), v->header.body_bytes);
    hex(stdout, v->hash.b, sizeof v->hash.b);
    (void)printf("\",\"segment\":\"%s\",\"offset\":%" PRIu64, s->file, offset);
    if (!uuid_is_zero(&b->session)) {
        (void)fputs(",\"session\":\"", stdout);
        hex(stdout, b->session.b, sizeof b->session.b);
        (void)putchar('"');
        if (v->header.kind == ENTRY_TXN)
            (void)printf(",\"sequence\":%" PRIu64, b->sequence);
    }
    json_members(b);
    if (b->level != NULL)
        (void)printf(",\"level\":\"%s\"", b->level);
    if (b->client.p != NULL) {
        (void)fputs(",\"client\":", stdout);
        json_put_text(stdout, b->client);
    }
    if (b->what.p != NULL) {
        (void)fputs(",\"what\":", stdout);
        json_put_text(stdout, b->what);
    }
    if (why->code != 0) {
        (void)fputs(",\"unreadable\":", stdout);
        json_put_text(stdout, bytes_str(why->text));
    } else if (v->header.kind == ENTRY_TXN) {
        (void)printf(",\"op_count\":%u", b->txn.op_count);
        if (d->o->ops)
            json_ops(b);
    }
    (void)puts("}");
}

/* ---- table ---- */

static void text_ops(const struct shown_body *b)
{
    struct reader r = b->txn.ops;
    struct op op;
    for (uint32_t i = 0; i < b->txn.op_count && body_next_op(&r, &op, NULL) == 0; i++) {
        (void)printf("%12s %s ", "", op.kind == OP_PUT ? "put" : "del");
        output_text(stdout, op.collection, 0);
        (void)putchar(' ');
        output_text(stdout, op.key, 0);
        if (op.kind == OP_PUT)
            (void)printf(" (%zu bytes)", op.value.n);
        (void)putchar('\n');
    }
}

/* A replica is in parentheses, one that was declared lost is said to be. */
static void text_members(const struct shown_body *b)
{
    for (uint32_t i = 0; i < b->members.count; i++) {
        const struct body_member *m = &b->members.members[i];
        (void)fputs(i == 0 ? "  " : ", ", stdout);
        (void)fputs(m->votes ? "" : "(", stdout);
        output_text(stdout, m->name, MEMBER_NAME_MAX_BYTES);
        (void)fputs(m->votes ? "" : m->lost ? " lost)" : ")", stdout);
    }
}

static void text_entry(const struct dump_log *d, const struct entry_view *v,
                       const struct shown_body *b, const struct err *why)
{
    char time[UTC_TEXT_BYTES];
    (void)printf("%12" PRIu64 " %5" PRIu64 "  %s  %-13s %9u  ", v->header.lsn.v, v->header.term.v,
                 utc_text(v->header.time, time), entry_kind_name(v->header.kind),
                 v->header.body_bytes);
    hex(stdout, v->hash.b, 6);
    if (!uuid_is_zero(&b->session)) {
        (void)fputs("  ", stdout);
        hex(stdout, b->session.b, 4);
        if (v->header.kind == ENTRY_TXN)
            (void)printf("/%" PRIu64, b->sequence);
    }
    if (b->client.n != 0) {
        (void)fputs("  ", stdout);
        output_text(stdout, b->client, 40);
    }
    if (b->what.n != 0) {
        (void)fputs("  ", stdout);
        output_text(stdout, b->what, 60);
    }
    text_members(b);
    if (why->code != 0)
        (void)printf("  ! %s", why->text);
    else if (v->header.kind == ENTRY_TXN)
        (void)printf("  %u op%s, %s", b->txn.op_count, b->txn.op_count == 1 ? "" : "s", b->level);
    (void)putchar('\n');
    if (why->code == 0 && d->o->ops)
        text_ops(b);
}

/* ---- what the scan tells ---- */

static int lost_output(void)
{
    struct err e;
    return ferror(stdout) ? output_finish(&e) : 0;
}

static int on_segment(void *arg, const struct log_scan_segment *s)
{
    const struct dump_log *d = arg;
    const struct entry_position *start = &s->head.start;
    char size[24];
    if (d->json)
        (void)printf("{\"type\":\"segment\",\"segment\":\"%s\",\"bytes\":%" PRIu64
                     ",\"after_lsn\":%" PRIu64 ",\"after_term\":%" PRIu64
                     ",\"counts\":%s,\"header\":%s}\n",
                     s->file, s->bytes, start->lsn.v, start->term.v, s->counts ? "true" : "false",
                     s->inferred ? "\"damaged\"" : "\"whole\"");
    else
        (void)printf("# %s: %s, after lsn %" PRIu64 "%s\n", s->file, bytes_text(s->bytes, size),
                     start->lsn.v, s->counts ? "" : ", void: a later segment begins before it");
    return lost_output();
}

static bool wanted(const struct dump_log *d, uint64_t first, uint64_t last)
{
    return last >= d->o->from.v && (!d->o->to.given || first <= d->o->to.v);
}

static int on_batch(void *arg, const struct log_scan_segment *s, uint64_t offset,
                    const struct batch_header *h)
{
    const struct dump_log *d = arg;
    if (!d->o->batches || !wanted(d, h->first_lsn.v, h->first_lsn.v + h->entry_count))
        return 0;
    if (d->json)
        (void)printf("{\"type\":\"batch\",\"segment\":\"%s\",\"offset\":%" PRIu64
                     ",\"number\":%u,\"durable\":%u,\"first_lsn\":%" PRIu64
                     ",\"entries\":%u,\"bytes\":%" PRIu64 "}\n",
                     s->file, offset, h->number, h->durable, h->first_lsn.v, h->entry_count,
                     h->payload_bytes);
    else
        (void)printf("# batch %u at byte %" PRIu64 ": %u entries, %" PRIu64
                     " bytes; durable up to batch %u\n",
                     h->number, offset, h->entry_count, h->payload_bytes, h->durable);
    return lost_output();
}

static int on_entry(void *arg, const struct log_scan_segment *s, uint64_t offset,
                    const struct entry_view *v)
{
    struct dump_log *d = arg;
    struct shown_body b;
    struct err why = ERR_NONE;
    if (!wanted(d, v->header.lsn.v, v->header.lsn.v))
        return 0;
    if (read_body(v, &b, &why) != 0)
        d->damaged++;
    d->entries++;
    if (d->json)
        json_entry(d, s, offset, v, &b, &why);
    else
        text_entry(d, v, &b, &why);
    return lost_output();
}

static void on_found(void *arg, const struct finding *f)
{
    struct dump_log *d = arg;
    const bool note = f->kind == FINDING_NOTE;
    d->damaged += !note;
    if (d->json)
        output_json(json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:s}", "type", note ? "note" : "damage",
                              "what", finding_kind_name(f->kind), "segment", f->file, "offset",
                              (json_int_t)f->offset, "from_lsn", (json_int_t)f->from.v, "to_lsn",
                              (json_int_t)f->to.v, "text", f->text));
    else
        (void)printf("%s %s: byte %" PRIu64 ": %s\n", note ? "#" : "! DAMAGED", f->file, f->offset,
                     f->text);
}

static int run_dump_log(struct invocation *in, struct err *e)
{
    const struct dump_log_options *o = in->options;
    struct dump_log d = {.o = o, .json = o->common.format == OUTPUT_JSON};
    struct data_dir dir;
    struct log_scan_totals totals;
    if (o->from.given && o->to.given && o->from.v > o->to.v)
        return err_set(e, ERR_USAGE, "--from is beyond --to");
    int rc = data_dir_open(&dir, in->operands[0], !o->running, e);
    if (rc != 0)
        return rc;
    if (dir.log_fd < 0) {
        rc = err_set(e, ERR_NOT_FOUND, "%s holds no log", in->operands[0]);
    } else {
        const struct log_scan_options options = {.dir_fd = dir.log_fd,
                                                 .from = {o->from.v},
                                                 .to = {o->to.v},
                                                 .sink = {.found = on_found, .arg = &d},
                                                 .segment = on_segment,
                                                 .batch = on_batch,
                                                 .entry = on_entry,
                                                 .arg = &d};
        rc = log_scan(&options, &totals, e);
        if (rc != 0 && ferror(stdout))
            rc = output_finish(e);
    }
    data_dir_close(&dir);
    if (rc == 0 && d.damaged != 0)
        rc = err_set(e, ERR_INTEGRITY,
                     "%" PRIu64 " damaged places; 'triveni check' says what to do", d.damaged);
    return rc;
}

const struct command command_dump_log = {
    .name = "dump-log",
    .group = "Data on disk",
    .purpose = "show the entries of a log on disk",
    .operands = "DIR",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct dump_log_options),
    .tables = {dump_log_table, output_options},
    .about =
        "DIR is the data directory of a stopped site, its log/, or a copy of one of them; nothing "
        "in it is changed. For each\n"
        "entry: lsn, term, time, kind, size of the body, the begin of the header's hash, session "
        "and sequence number, client,\n"
        "and what it is about. Lines that begin with # are about segments, batches and a torn "
        "tail, lines with ! about damage;\n"
        "the listing goes on behind damage, and the exit code is then 7. Segments that hold "
        "nothing between --from and --to are\n"
        "not read. With -o json each line is one object; its \"type\" is segment, batch, entry, "
        "note or damage. The format\n"
        "itself is described in docs/FORMATS.md.",
    .examples = {{"the last entries", "triveni dump-log /var/lib/triveni | tail"},
                 {"who changed a record, and when",
                  "triveni dump-log data --ops -o json | jq -c 'select(.ops[]?.key == \"AB-12\") | "
                  "[.lsn, .time, .client]'"},
                 {"a running site", "triveni dump-log data --running --from 42 --to 50"}},
    .exits = "378",
    .run = run_dump_log,
};
