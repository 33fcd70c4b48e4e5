/* archive export: records of the archive as a bag (BagIt, RFC 8493) that a court or another archive can keep and check without
 * this program.
 *
 * Records are written as they are found, one at a time, each with its proof, so memory is that of one entry however many there
 * are. A record's line, its proof and what PREMIS says of both come from the same entry. What is exported must be in the signed
 * tree: a record that cannot be proven is not left out silently, its lsn is refused. */
#include "tools/commands.h"

#include "client/triveni.h"
#include "repository/core/bag.h"
#include "repository/history.h"
#include "repository/proof.h"
#include "store/core/check.h"
#include "store/core/hex.h"
#include "tools/bag.h"
#include "tools/json.h"
#include "tools/progress.h"
#include "tools/record.h"
#include "tools/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

struct export_options {
    struct common common;
    const char *dir, *kek, *point, *time, *prefix, *into, *organization;
    struct option_number lsn;
    bool history, base64;
};
#define AT(member) offsetof(struct export_options, member)
static const struct option export_table[] = {
    {"repository", 'r', OPTION_TEXT, AT(dir), "DIR", "TRIVENI_REPOSITORY",
     "the archive: its directory, or s3:https://HOST/BUCKET... (required)"},
    {"kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK", KEK_HELP},
    {"into", 0, OPTION_TEXT, AT(into), "DIR", NULL, "new directory for the bag (required)"},
    {"prefix", 'p', OPTION_TEXT, AT(prefix), "TEXT", NULL, "only keys that begin with TEXT"},
    {"to-lsn", 0, OPTION_NUMBER, AT(lsn), "LSN", NULL, "as it was after this transaction"},
    {"to-point", 0, OPTION_TEXT, AT(point), "NAME", NULL, "as it was at this restore point"},
    {"to-time", 0, OPTION_TEXT, AT(time), "TIME", NULL,
     "as it was at this time: ISO 8601 with Z or an offset, such as 2026-11-24T08:48:21+05:30"},
    {"history", 0, OPTION_FLAG, AT(history), NULL, NULL,
     "every version of each record up to then, deletions too, newest first"},
    {"organization", 0, OPTION_TEXT, AT(organization), "TEXT", NULL,
     "who hands it over: Source-Organization of bag-info.txt"},
    {"base64", 0, OPTION_FLAG, AT(base64), NULL, NULL, "KEYs are given in base64"},
    {0},
};
#undef AT

/* Texts of one element of premis.xml: a name or detail of at most 1000 bytes, escaped, and what stands around it. */
enum { PREMIS_BYTES = 8192 };
enum { NEWEST_SEEN = 1 }; /* ends a walk through versions */

struct export
{
    const struct export_options *o;
    struct bytes collection, key; /* of the record that is being written */
    struct repository *r;
    struct repository_tree *tree;
    struct lsn to;
    struct bag *bag;
    struct bag_file records, premis;
    FILE *events; /* of premis.xml, where they stand behind the objects */
    uint64_t count, event_count;
    char now[UTC_TEXT_BYTES];
    struct progress bar;
    struct err *e;
};

static const char *origin_of(const struct export *x)
{
    return repository_tree_checkpoint(x->tree)->origin;
}

/* ---- premis.xml ---- */

static void premis_object(struct export *x, const char *name, const char *format,
                          const struct bag_sums *sums)
{
    char text[PREMIS_BYTES];
    struct writer w = writer_of(text, sizeof text);
    const struct bag_object o = {name, sums->sha256, sums->sha512, format, sums->bytes};
    bag_premis_object(&w, &o);
    check(!w.bad);
    (void)fwrite(text, 1, w.at, x->premis.f);
}

static void premis_event(struct export *x, const char *type, const char *time, const char *agent,
                         const char *object, struct bytes detail)
{
    char text[PREMIS_BYTES];
    struct writer w = writer_of(text, sizeof text);
    const struct bag_event event = {++x->event_count, type, time, agent, object, detail};
    bag_premis_event(&w, &event);
    check(!w.bad);
    (void)fwrite(text, 1, w.at, x->events);
}

static void ingestion_event(struct export *x, const struct evidence *v, const char *proof)
{
    char time[UTC_TEXT_BYTES];
    char number[32];
    uint8_t detail[1000];
    struct writer w = writer_of(detail, sizeof detail);
    (void)snprintf(number, sizeof number, "%" PRIu64, v->entry.header.lsn.v);
    write_bytes(&w, bytes_str("transaction "));
    write_bytes(&w, bytes_str(number));
    write_bytes(&w, bytes_str(" of client '"));
    write_bytes(&w, v->txn.client);
    write_bytes(&w, bytes_str(v->op.kind == OP_PUT ? "' wrote record " : "' deleted record "));
    write_bytes(&w, x->collection);
    write_bytes(&w, bytes_str("/"));
    write_bytes(&w, x->key);
    check(!w.bad);
    premis_event(x, "ingestion", utc_text(v->entry.header.time, time), origin_of(x), proof,
                 bytes_of(detail, w.at));
}

static int put_key(struct export *x, const char *name, const struct tlog_key *key)
{
    char vkey[TLOG_VKEY_BYTES];
    char line[TLOG_VKEY_BYTES + 1];
    struct bag_sums sums;
    tlog_key_format(key, vkey);
    (void)snprintf(line, sizeof line, "%s\n", vkey);
    int rc = bag_put(x->bag, name, 0644, bytes_str(line), &sums, x->e);
    if (rc == 0)
        premis_object(x, name, "C2SP verifier key", &sums);
    return rc;
}

static int put_cosigner(void *arg, const struct tlog_key *key, uint64_t time_s)
{
    char name[64];
    char time[UTC_TEXT_BYTES];
    char detail[TLOG_NAME_BYTES + 64];
    struct export *x = arg;
    (void)snprintf(name, sizeof name, "data/keys/cosigner-%08" PRIx32, key->id);
    int rc = put_key(x, name, key);
    if (rc != 0)
        return rc;
    (void)snprintf(detail, sizeof detail, "cosignature by %s", key->name);
    premis_event(x, "digital signature generation", utc_text((struct utc){time_s * 1000000}, time),
                 origin_of(x), "data/checkpoint", bytes_str(detail));
    return 0;
}

/* The checkpoint and the keys that it is to be checked with, and what PREMIS says of them. */
static int put_checkpoint(struct export *x)
{
    struct bag_sums sums;
    int rc = bag_put(x->bag, "data/checkpoint", 0644, repository_tree_note(x->tree), &sums, x->e);
    if (rc == 0) {
        premis_object(x, "data/checkpoint", "C2SP tlog-checkpoint", &sums);
        rc = put_key(x, "data/keys/log", repository_tree_key(x->tree));
    }
    return rc == 0 ? repository_tree_cosigners(x->tree, put_cosigner, x, x->e) : rc;
}

/* ---- records ---- */

/* The line of `triveni dump`; a deletion has "deleted" where a value would be. */
static void put_line(struct export *x, const struct evidence *v)
{
    char time[UTC_TEXT_BYTES];
    const struct entry_header *h = &v->entry.header;
    FILE *f = x->records.f;
    const struct shown_record shown = {x->collection, x->key,     v->op.value,
                                       h->lsn.v,      h->time.us, {NULL, 0}};
    if (v->op.kind == OP_PUT) {
        record_json(f, &shown);
    } else {
        (void)fprintf(f, "{\"collection\":");
        json_put_text(f, x->collection);
        (void)fprintf(f, ",\"key\":");
        json_put_text(f, x->key);
        (void)fprintf(f, ",\"lsn\":%" PRIu64 ",\"time\":\"%s\",\"deleted\":true}\n", h->lsn.v,
                      utc_text(h->time, time));
    }
}

static int put_proof(struct export *x, const struct evidence *v)
{
    char name[BAG_NAME_BYTES];
    struct bag_sums sums;
    uint8_t *proof = NULL;
    size_t n = 0;
    bag_proof_name(x->count, v->entry.header.lsn, name);
    int rc = repository_tree_prove(x->tree, &v->entry, x->collection, x->key, &proof, &n, x->e);
    if (rc == 0)
        rc = bag_put(x->bag, name, 0644, bytes_of(proof, n), &sums, x->e);
    if (rc == 0) {
        premis_object(x, name, "C2SP tlog-proof", &sums);
        ingestion_event(x, v, name);
    }
    free(proof);
    return rc;
}

static int put_version(void *arg, const struct evidence *v)
{
    struct export *x = arg;
    if (v->op.kind != OP_PUT && !x->o->history)
        return NEWEST_SEEN;
    x->count++;
    put_line(x, v);
    int rc = put_proof(x, v);
    if (rc == 0 && ferror(x->records.f) != 0)
        rc = bag_end(&x->records, NULL, x->e);
    progress_show(&x->bar, x->count, 0, x->count);
    return rc != 0 || x->o->history ? rc : NEWEST_SEEN;
}

static int put_record(void *arg, struct bytes key, struct lsn last)
{
    struct export *x = arg;
    const struct repository_query q = {.collection = x->collection, .key = key, .to = x->to};
    (void)last;
    x->key = key;
    int rc = repository_history(x->r, &q, put_version, x, x->e);
    return rc == NEWEST_SEEN ? 0 : rc;
}

static int put_named(struct export *x, char *text)
{
    struct tvn_bytes key;
    uint64_t before = x->count;
    int rc = operand_bytes(text, x->o->base64, &key, x->e);
    if (rc == 0)
        rc = put_record(x, from_tvn(key), x->to);
    if (rc == 0 && x->count == before)
        rc = err_set(x->e, ERR_NOT_FOUND,
                     "there was no record %s at lsn %" PRIu64
                     ": 'triveni history' lists its versions, --history exports them",
                     text, x->to.v);
    return rc;
}

static int put_selected(struct export *x)
{
    const struct repository_query q = {
        .collection = x->collection,
        .key = bytes_str(x->o->prefix != NULL ? x->o->prefix : ""),
        .to = x->to,
    };
    int rc = repository_changed(x->r, &q, put_record, x, x->e);
    if (rc == 0 && x->count == 0)
        rc = err_set(x->e, ERR_NOT_FOUND, "no such record was there at lsn %" PRIu64, x->to.v);
    return rc;
}

/* ---- the bag ---- */

static int put_tags(struct export *x)
{
    char text[4096];
    uint64_t bytes;
    uint64_t files;
    const char *organization = x->o->organization;
    bag_payload(x->bag, &bytes, &files);
    (void)snprintf(text, sizeof text,
                   "%s%s%sBagging-Date: %.10s\nExternal-Identifier: %s\nExternal-Description: "
                   "records of an archive as of lsn %" PRIu64
                   ", each with a proof; checked with: sh verify.sh\n"
                   "Payload-Oxum: %" PRIu64 ".%" PRIu64 "\nBag-Software-Agent: triveni %s\n",
                   organization != NULL ? "Source-Organization: " : "",
                   organization != NULL ? organization : "", organization != NULL ? "\n" : "",
                   x->now, origin_of(x), x->to.v, bytes, files, tvn_version());
    int rc = bag_put(x->bag, "bag-info.txt", 0644, bytes_str(text), NULL, x->e);
    return rc == 0 ? bag_put(x->bag, "verify.sh", 0755, bag_script(), NULL, x->e) : rc;
}

static int copy_events(struct export *x)
{
    char part[8192];
    size_t n;
    rewind(x->events);
    while ((n = fread(part, 1, sizeof part, x->events)) > 0)
        (void)fwrite(part, 1, n, x->premis.f);
    return ferror(x->events) == 0 ? 0
                                  : err_set(x->e, ERR_IO, "what was noted for premis.xml is lost");
}

static int end_premis(struct export *x)
{
    char text[3 * PREMIS_BYTES];
    char program[64];
    struct writer w = writer_of(text, sizeof text);
    const char *by = x->o->organization;
    (void)snprintf(program, sizeof program, "triveni %s", tvn_version());
    premis_event(x, "fixity check", x->now, "program", "data/records.jsonl",
                 bytes_str("every entry was decrypted and compared with the hashes in its pack and "
                           "header; every proof was checked against data/checkpoint"));
    premis_event(x, "exporting", x->now, "program", "data/records.jsonl",
                 bytes_str("records and their proofs were written into this bag"));
    if (fflush(x->events) != 0 || ferror(x->events) != 0)
        return err_set(x->e, ERR_NO_SPACE, "%s: premis.xml cannot be written", x->o->into);
    int rc = copy_events(x);
    bag_premis_agent(&w, "program", bytes_str(program), "software");
    bag_premis_agent(&w, origin_of(x), bytes_str("the sites of this cluster"), "software");
    if (by != NULL)
        bag_premis_agent(&w, "organization", bytes_str(by), "organization");
    bag_premis_end(&w);
    check(!w.bad);
    (void)fwrite(text, 1, w.at, x->premis.f);
    return rc == 0 ? bag_end(&x->premis, NULL, x->e) : rc;
}

static int fill(struct export *x, const struct invocation *in)
{
    char text[PREMIS_BYTES];
    struct writer w = writer_of(text, sizeof text);
    struct bag_sums sums;
    int rc = bag_begin(x->bag, "data/records.jsonl", 0644, &x->records, x->e);
    if (rc == 0)
        rc = bag_begin(x->bag, "data/premis.xml", 0644, &x->premis, x->e);
    if (rc == 0 && (x->events = bag_scratch(x->bag, x->e)) == NULL)
        rc = ERR_IO;
    if (rc != 0)
        return rc;
    bag_premis_begin(&w);
    (void)fwrite(text, 1, w.at, x->premis.f);
    rc = put_checkpoint(x);
    for (int i = 1; rc == 0 && i < in->count; i++)
        rc = put_named(x, in->operands[i]);
    if (rc == 0 && in->count == 1)
        rc = put_selected(x);
    if (rc == 0 && (rc = bag_end(&x->records, &sums, x->e)) == 0)
        premis_object(x, "data/records.jsonl", "JSON Lines", &sums);
    if (rc == 0)
        rc = end_premis(x);
    if (rc == 0)
        rc = put_tags(x);
    return rc == 0 ? bag_finish(x->bag, x->e) : rc;
}

/* ---- the command ---- */

static int check_options(const struct export_options *o, int operands, struct restore_target *t,
                         struct err *e)
{
    *t = (struct restore_target){.point = o->point, .lsn = {o->lsn.v}};
    if (o->dir == NULL || o->kek == NULL || o->into == NULL)
        return err_set(e, ERR_USAGE, "--%s is needed",
                       o->dir == NULL   ? "repository"
                       : o->kek == NULL ? "kek"
                                        : "into");
    if (o->lsn.given + (o->point != NULL) + (o->time != NULL) > 1)
        return err_set(e, ERR_USAGE, "give one of --to-lsn, --to-point and --to-time");
    if (o->lsn.given && o->lsn.v == 0)
        return err_set(e, ERR_USAGE, "--to-lsn: the first transaction has lsn 1");
    if (operands > 1 && o->prefix != NULL)
        return err_set(e, ERR_USAGE, "give KEYs or --prefix, not both");
    if (o->organization != NULL && !bag_info_value(bytes_str(o->organization)))
        return err_set(e, ERR_USAGE,
                       "--organization: 1 to 1000 bytes of UTF-8 without line ends are allowed");
    return o->time != NULL ? utc_parse(o->time, &t->time, e) : 0;
}

/* Up to the target, or to the end of the tree: what lies behind that cannot be proven yet. */
static int choose_end(struct export *x, const struct restore_target *target)
{
    uint64_t size = repository_tree_checkpoint(x->tree)->size;
    bool open_end = false;
    x->to.v = size;
    if (target->lsn.v == 0 && target->point == NULL && target->time.us == 0)
        return 0;
    int rc = repository_resolve(x->r, target, &x->to, &open_end, x->e);
    if (rc == 0 && open_end)
        return err_set(x->e, ERR_NOT_FOUND,
                       "the archive does not reach that time: transactions up to it may exist that "
                       "are not archived yet. 'triveni archive seal' archives them; --to-lsn "
                       "%" PRIu64 " exports the end of the archive",
                       x->to.v);
    if (rc == 0 && x->to.v > size)
        rc = err_set(x->e, ERR_NOT_FOUND,
                     "lsn %" PRIu64 " is not in the signed tree yet, which ends at lsn %" PRIu64,
                     x->to.v, size);
    return rc;
}

static void print_exported(const struct export *x)
{
    char vkey[TLOG_VKEY_BYTES];
    uint64_t bytes;
    uint64_t files;
    bag_payload(x->bag, &bytes, &files);
    tlog_key_format(repository_tree_key(x->tree), vkey);
    if (x->o->common.format == OUTPUT_JSON) {
        output_json(json_pack("{s:s,s:I,s:I,s:I,s:I,s:s}", "into", x->o->into, "records",
                              (json_int_t)x->count, "lsn", (json_int_t)x->to.v, "files",
                              (json_int_t)files, "bytes", (json_int_t)bytes, "key", vkey));
        return;
    }
    (void)printf("%s: %" PRIu64 " %s as of lsn %" PRIu64 ", each with its proof\n", x->o->into,
                 x->count, x->o->history ? "versions of records" : "records", x->to.v);
    say("it holds every transaction whole, with all records that it wrote. To be checked with:\n"
        "  sh %s/verify.sh '%s'",
        x->o->into, vkey);
}

static int run_archive_export(struct invocation *in, struct err *e)
{
    const struct export_options *o = in->options;
    const struct repository_options options = {
        .dir = o->dir, .kek_file = o->kek, .read_only = true};
    struct export x = {.o = o, .collection = bytes_str(in->operands[0]), .e = e};
    struct restore_target target;
    struct timespec now;
    int rc = check_options(o, in->count, &target, e);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    const struct utc now_us = {(uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000};
    (void)utc_text(now_us, x.now);
    if (rc == 0)
        rc = repository_tree_read(&x.tree, o->dir, e); /* first: a running site only adds packs */
    if (rc == 0)
        rc = repository_open(&x.r, &options, e);
    if (rc == 0)
        rc = choose_end(&x, &target);
    if (rc == 0)
        rc = bag_create(&x.bag, o->into, e);
    if (rc == 0) {
        progress_begin_count(&x.bar, "export", "records");
        rc = fill(&x, in);
        progress_end(&x.bar);
        /* What was begun is ended; the first error stands. */
        (void)bag_end(&x.records, NULL, NULL);
        (void)bag_end(&x.premis, NULL, NULL);
        if (x.events != NULL)
            (void)fclose(x.events);
    }
    if (rc == 0)
        print_exported(&x);
    else if (rc == ERR_NO_SPACE)
        err_wrap(e, "the disk is full, and the bag was removed again");
    bag_close(x.bag);
    repository_close(x.r);
    repository_tree_close(x.tree);
    return rc;
}

const struct command command_archive_export = {
    .name = "archive export",
    .group = "Archive",
    .purpose = "write records with their proofs as a bag that anybody can check",
    .operands = "COLLECTION [KEY...]",
    .least = 1,
    .most = -1,
    .options_bytes = sizeof(struct export_options),
    .tables = {export_table, output_options},
    .about =
        "A bag (BagIt, RFC 8493) for a court or another archive: the records as JSON Lines, as "
        "'triveni dump' writes them, a proof for each, the signed checkpoint, verifier keys, "
        "PREMIS metadata, and verify.sh, which checks all of it with nothing but a shell, awk and "
        "openssl. Without a target it is the newest state that is signed; without KEYs and "
        "--prefix, the collection.\n"
        "Each proof holds the whole transaction: who gets the bag sees every record that it "
        "wrote. A bag does not say that there are no other records.",
    .examples = {{"two titles for a court, with their past",
                  "triveni archive export titles AB-12 AB-13 --history -r /srv/archive -k kek "
                  "--into ab-12.bag --organization 'Land Registry'"},
                 {"a district as it was",
                  "triveni archive export titles --prefix AB- --to-point before-land-act-2026 -r "
                  "/srv/archive -k kek --into ab.bag"},
                 {"what the court runs", "sh ab-12.bag/verify.sh VKEY"}},
    .exits = "378",
    .run = run_archive_export,
};
