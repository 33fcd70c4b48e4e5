/* archive checkpoint, prove and consistency, and verify-proof: what the archive can prove to a stranger, and the stranger's side.
 *
 * The stranger has a file, a verifier key that he got by another way, and this program or another one: the formats are
 * public (C2SP). Nothing here needs a site; verify-proof needs no archive either. */
#include "tools/commands.h"

#include "repository/history.h"
#include "repository/proof.h"
#include "store/core/hex.h"
#include "tools/files.h"
#include "tools/json.h"
#include "tools/progress.h"
#include "tools/record.h"
#include "tools/text.h"
#include "tools/verifier_keys.h"

#include <stdlib.h>

/* The largest entry in base64, and what stands around it. */
enum { PROOF_MAX_BYTES = 72 << 20 };

struct prove_options {
    struct common common;
    const char *dir, *kek, *to, *as_of, *require, *earlier;
    struct option_list keys;
    bool base64;
};
#define AT(member) offsetof(struct prove_options, member)
#define REPOSITORY_OPTION                                                                          \
    {                                                                                              \
        "repository", 'r', OPTION_TEXT, AT(dir), "DIR", "TRIVENI_REPOSITORY",                      \
            "the archive: its directory, or s3:https://HOST/BUCKET... (required)"                  \
    }
#define KEY_OPTION                                                                                 \
    {                                                                                              \
        "key", 0, OPTION_LIST, AT(keys), "VKEY|FILE", NULL,                                        \
            "verifier key of the log (required), and those of cosigners: the keys themselves, or " \
            "files "                                                                               \
            "with one a line"                                                                      \
    }
static const struct option checkpoint_table[] = {REPOSITORY_OPTION, {0}};
static const struct option prove_table[] = {
    REPOSITORY_OPTION,
    {"kek", 'k', OPTION_TEXT, AT(kek), "SOURCE", "TRIVENI_KEK", KEK_HELP},
    {"to", 0, OPTION_TEXT, AT(to), "FILE", NULL, "new file for the proof (required)"},
    AS_OF_OPTION(struct prove_options),
    {"base64", 0, OPTION_FLAG, AT(base64), NULL, NULL, "KEY is base64"},
    {0},
};
static const struct option consistency_table[] = {
    REPOSITORY_OPTION,
    KEY_OPTION,
    {"to", 0, OPTION_TEXT, AT(to), "FILE", NULL, "new file for the proof"},
    {0},
};
static const struct option verify_table[] = {
    KEY_OPTION,
    {"require", 0, OPTION_TEXT, AT(require), "NAMES|N", NULL,
     "cosigners that must have signed: their names, as in dc,dr, or how many are enough (default: "
     "all "
     "whose keys were given)"},
    {"earlier", 0, OPTION_TEXT, AT(earlier), "CHECKPOINT", NULL,
     "file with the earlier checkpoint, for a proof of consistency"},
    {0},
};
#undef AT

/* ---- what the commands share ---- */

static int needed(const char *value, const char *option, struct err *e)
{
    return value != NULL ? 0 : err_set(e, ERR_USAGE, "--%s is needed", option);
}

static void root_text(const struct sha256 *root, char out[BASE64_BYTES(TLOG_HASH_BYTES)])
{
    (void)base64_encode(bytes_of(root->b, sizeof root->b), out);
}

/* ---- archive checkpoint ---- */

static int add_cosigner(void *arg, const struct tlog_key *key, uint64_t time_s)
{
    char vkey[TLOG_VKEY_BYTES];
    char time[UTC_TEXT_BYTES];
    tlog_key_format(key, vkey);
    json_array_append_new(arg, json_pack("{s:s,s:s,s:s}", "name", key->name, "key", vkey, "time",
                                         utc_text((struct utc){time_s * 1000000}, time)));
    return 0;
}

static int run_archive_checkpoint(struct invocation *in, struct err *e)
{
    const struct prove_options *o = in->options;
    struct repository_tree *t = NULL;
    char vkey[TLOG_VKEY_BYTES];
    char root[BASE64_BYTES(TLOG_HASH_BYTES)];
    int rc = needed(o->dir, "repository", e);
    if (rc == 0)
        rc = repository_tree_read(&t, o->dir, e);
    if (rc != 0)
        return rc;
    const struct tlog_checkpoint *c = repository_tree_checkpoint(t);
    struct bytes note = repository_tree_note(t);
    tlog_key_format(repository_tree_key(t), vkey);
    root_text(&c->root, root);
    json_t *cosigners = json_array();
    rc = repository_tree_cosigners(t, add_cosigner, cosigners, e);
    if (rc == 0 && o->common.format == OUTPUT_JSON)
        output_json(json_pack("{s:s,s:I,s:s,s:s,s:O,s:s%}", "origin", c->origin, "size",
                              (json_int_t)c->size, "root", root, "key", vkey, "cosigners",
                              cosigners, "checkpoint", (const char *)note.p, note.n));
    else if (rc == 0)
        (void)fwrite(note.p, 1, note.n, stdout);
    if (rc == 0)
        say("signed by verifier key %s", vkey);
    for (size_t i = 0; rc == 0 && i < json_array_size(cosigners); i++)
        say("cosigned by verifier key %s at %s",
            json_string_value(json_object_get(json_array_get(cosigners, i), "key")),
            json_string_value(json_object_get(json_array_get(cosigners, i), "time")));
    json_decref(cosigners);
    repository_tree_close(t);
    return rc;
}

/* ---- archive prove ---- */

/* The lsn that --as-of means, or the end of the tree. */
static int choose_lsn(const struct prove_options *o, struct repository *r, uint64_t size,
                      struct lsn *out, struct err *e)
{
    struct tvn_read how = TVN_READ_INIT;
    struct restore_plan plan;
    out->v = size;
    if (o->as_of == NULL)
        return 0;
    int rc = as_of_parse(o->as_of, &how, e);
    if (rc != 0)
        return rc;
    out->v = how.as_of_lsn;
    if (how.as_of_time_us != 0) {
        struct restore_target target = {.time = {how.as_of_time_us}};
        rc = repository_plan(r, &target, &plan, e);
        if (rc == 0 && plan.open_end)
            rc = err_set(e, ERR_NOT_FOUND,
                         "the archive does not reach that time: transactions up to it may exist "
                         "that are not archived yet. 'triveni archive seal' archives them");
        out->v = plan.lsn.v;
    }
    if (rc == 0 && out->v > size)
        rc = err_set(e, ERR_NOT_FOUND,
                     "lsn %llu is not in the signed tree yet, which ends at lsn %llu",
                     (unsigned long long)out->v, (unsigned long long)size);
    return rc;
}

static void on_searched(void *arg, uint64_t done, uint64_t total)
{
    progress_show(arg, done, total, 0);
}

static int find_entry(struct repository *r, struct lsn lsn, const char *collection,
                      struct bytes key, uint8_t **entry, struct entry_view *v, struct err *e)
{
    struct progress bar;
    size_t n = 0;
    const struct repository_query q = {.collection = bytes_str(collection),
                                       .key = key,
                                       .to = lsn,
                                       .progress = on_searched,
                                       .progress_arg = &bar};
    progress_begin(&bar, "search", NULL, 0);
    int rc = repository_find(r, &q, entry, &n, e);
    progress_end(&bar);
    return rc == 0 ? entry_decode(bytes_of(*entry, n), v, &n, e) : rc;
}

static void print_proven(const struct prove_options *o, const struct entry_view *v, struct lsn lsn,
                         const struct repository_tree *t, size_t bytes)
{
    const struct tlog_checkpoint *c = repository_tree_checkpoint(t);
    char vkey[TLOG_VKEY_BYTES];
    char time[UTC_TEXT_BYTES];
    tlog_key_format(repository_tree_key(t), vkey);
    (void)utc_text(v->header.time, time);
    if (o->common.format == OUTPUT_JSON) {
        output_json(json_pack("{s:s,s:I,s:s,s:I,s:I,s:s,s:I}", "file", o->to, "lsn",
                              (json_int_t)v->header.lsn.v, "time", time, "as_of", (json_int_t)lsn.v,
                              "size", (json_int_t)c->size, "key", vkey, "bytes",
                              (json_int_t)bytes));
        return;
    }
    (void)printf("%s: proof that transaction %llu of %s wrote the record, the last one up to lsn "
                 "%llu, in a history of %llu entries\n",
                 o->to, (unsigned long long)v->header.lsn.v, time, (unsigned long long)lsn.v,
                 (unsigned long long)c->size);
    say("it holds the whole transaction, with all records that it wrote. To be checked with:\n"
        "  triveni verify-proof %s --key '%s'",
        o->to, vkey);
}

static int run_archive_prove(struct invocation *in, struct err *e)
{
    const struct prove_options *o = in->options;
    const struct repository_options options = {
        .dir = o->dir, .kek_file = o->kek, .read_only = true};
    struct repository_tree *t = NULL;
    struct repository *r = NULL;
    struct entry_view v;
    struct tvn_bytes key;
    struct lsn lsn;
    uint8_t *entry = NULL;
    uint8_t *proof = NULL;
    size_t n = 0;
    int rc = needed(o->dir, "repository", e);
    if (rc == 0)
        rc = needed(o->kek, "kek", e);
    if (rc == 0)
        rc = needed(o->to, "to", e);
    if (rc == 0)
        rc = operand_bytes(in->operands[1], o->base64, &key, e);
    if (rc == 0)
        rc = repository_tree_read(&t, o->dir, e); /* first: a running site only adds packs */
    if (rc == 0)
        rc = repository_open(&r, &options, e);
    if (rc == 0)
        rc = choose_lsn(o, r, repository_tree_checkpoint(t)->size, &lsn, e);
    if (rc == 0)
        rc = find_entry(r, lsn, in->operands[0], from_tvn(key), &entry, &v, e);
    if (rc == 0)
        rc = repository_tree_prove(t, &v, bytes_str(in->operands[0]), from_tvn(key), &proof, &n, e);
    if (rc == 0)
        rc = file_create(o->to, 0644, bytes_of(proof, n), e);
    if (rc == 0)
        print_proven(o, &v, lsn, t, n);
    free(entry);
    free(proof);
    repository_close(r);
    repository_tree_close(t);
    return rc;
}

/* ---- consistency ---- */

static void print_consistent(const struct common *c, const struct tlog_checkpoint *first,
                             const struct tlog_checkpoint *second, const struct verifier_keys *keys)
{
    char from[BASE64_BYTES(TLOG_HASH_BYTES)];
    char to[BASE64_BYTES(TLOG_HASH_BYTES)];
    root_text(&first->root, from);
    root_text(&second->root, to);
    if (c->format == OUTPUT_JSON) {
        output_json(json_pack("{s:b,s:s,s:I,s:s,s:I,s:s,s:o}", "consistent", 1, "origin",
                              second->origin, "earlier_size", (json_int_t)first->size,
                              "earlier_root", from, "size", (json_int_t)second->size, "root", to,
                              "cosigners", verifier_keys_json(keys)));
        return;
    }
    (void)printf("proven: the history of %llu entries (root %s) begins with the history of %llu "
                 "entries (root %s)\n"
                 "log:    %s; both are signed with the key that was given\n",
                 (unsigned long long)second->size, to, (unsigned long long)first->size, from,
                 second->origin);
    verifier_keys_print(keys, "");
    if (first->size == 0)
        (void)printf("but:    every history begins with an empty one\n");
}

static int run_archive_consistency(struct invocation *in, struct err *e)
{
    const struct prove_options *o = in->options;
    struct repository_tree *t = NULL;
    struct tlog_checkpoint first;
    struct tlog_checkpoint second;
    struct verifier_keys keys;
    struct cosigner_rule rule;
    struct tlog_proof_text p;
    uint8_t *text[2] = {NULL, NULL};
    struct bytes note[2] = {{NULL, 0}, {NULL, 0}};
    uint8_t *proof = NULL;
    size_t n = 0;
    int rc = needed(o->dir, "repository", e);
    if (rc == 0)
        rc = verifier_keys_load(&o->keys, NULL, &keys, &rule, e);
    for (int i = 0; rc == 0 && i < in->count; i++) {
        rc = file_read(in->operands[i], TLOG_CHECKPOINT_MAX_BYTES, &text[i], &n, e);
        note[i] = bytes_of(text[i], n);
        /* What was signed is looked at first: a text that nobody signed convicts nobody. */
        if (rc == 0 && (rc = tree_checkpoint(note[i], &keys.log, &first, e)) != 0)
            err_wrap(e, "%s", in->operands[i]);
    }
    if (rc == 0)
        rc = repository_tree_read(&t, o->dir, e);
    if (rc == 0)
        rc = repository_tree_consistency(t, note[0], note[1], &proof, &n, e);
    if (rc == 0)
        rc = tree_consistency(bytes_of(proof, n), note[0], &keys.log, &first, &second, e);
    if (rc == 0 && (rc = tlog_proof_parse(bytes_of(proof, n), &p, e)) == 0)
        rc = verifier_keys_check(&keys, &rule, p.checkpoint, e);
    if (rc == 0 && o->to != NULL)
        rc = file_create(o->to, 0644, bytes_of(proof, n), e);
    if (rc == 0)
        print_consistent(&o->common, &first, &second, &keys);
    free(text[0]);
    free(text[1]);
    free(proof);
    repository_tree_close(t);
    return rc;
}

/* ---- verify-proof ---- */

static void print_op_json(const struct op *op)
{
    (void)printf("\"act\":\"%s\",\"collection\":", op->kind == OP_PUT ? "put" : "delete");
    json_put_text(stdout, op->collection);
    (void)printf(",\"key\":");
    json_put_text(stdout, op->key);
    (void)printf(",\"value\":");
    if (op->kind == OP_PUT)
        json_put_value(stdout, op->value);
    else
        (void)printf("null");
}

static void print_ops_json(const struct evidence *v)
{
    struct reader ops = v->txn.ops;
    struct op op;
    (void)printf("\"changes\":[");
    for (uint32_t i = 0; i < v->txn.op_count && body_next_op(&ops, &op, NULL) == 0; i++) {
        (void)printf(i == 0 ? "{" : ",{");
        print_op_json(&op);
        (void)printf("}");
    }
    (void)printf("]");
}

static void print_included_json(const struct evidence *v, const struct tlog_checkpoint *c,
                                const struct verifier_keys *keys)
{
    const struct entry_header *h = &v->entry.header;
    char time[UTC_TEXT_BYTES];
    char id[UUID_TEXT_BYTES];
    char root[BASE64_BYTES(TLOG_HASH_BYTES)];
    root_text(&c->root, root);
    (void)printf("{\"proven\":true,\"lsn\":%llu,\"time\":\"%s\",\"term\":%llu,\"client\":",
                 (unsigned long long)h->lsn.v, utc_text(h->time, time),
                 (unsigned long long)h->term.v);
    json_put_text(stdout, v->txn.client);
    (void)printf(",\"cluster_id\":\"%s\",\"origin\":", uuid_text(&h->cluster_id, id));
    json_put_text(stdout, bytes_str(c->origin));
    (void)printf(",\"size\":%llu,\"root\":\"%s\",\"cosigners\":", (unsigned long long)c->size,
                 root);
    json_t *cosigners = verifier_keys_json(keys);
    (void)json_dumpf(cosigners, stdout, JSON_COMPACT);
    json_decref(cosigners);
    (void)printf(",");
    if (v->whole)
        print_ops_json(v);
    else
        print_op_json(&v->op);
    (void)printf("}\n");
}

static void print_op(const struct op *op)
{
    (void)printf("%s record ", op->kind == OP_PUT ? "wrote" : "deleted");
    output_text(stdout, op->collection, 0);
    (void)printf("/");
    output_text(stdout, op->key, 0);
    if (op->kind == OP_PUT) {
        (void)printf("\nvalue:    ");
        output_text(stdout, op->value, 0);
    }
    (void)printf("\n");
}

static void print_ops(const struct evidence *v)
{
    struct reader ops = v->txn.ops;
    struct op op;
    (void)printf("is in the history, with %u changes, all that it made\n", v->txn.op_count);
    for (uint32_t i = 0; i < v->txn.op_count && body_next_op(&ops, &op, NULL) == 0; i++) {
        (void)printf("change:   ");
        print_op(&op);
    }
}

static void print_included(const struct evidence *v, const struct tlog_checkpoint *c,
                           const struct verifier_keys *keys)
{
    const struct entry_header *h = &v->entry.header;
    char utc[UTC_TEXT_BYTES];
    char local[LOCAL_TEXT_BYTES];
    (void)printf("proven:   transaction %llu ", (unsigned long long)h->lsn.v);
    if (v->whole)
        print_ops(v);
    else
        print_op(&v->op);
    (void)printf("time:     %s\n          %s, by the clocks of the sites\nclient:   ",
                 utc_text(h->time, utc), local_text(h->time, local));
    output_text(stdout, v->txn.client, 0);
    (void)printf("\nhistory:  of %llu entries, log %s\n"
                 "signed:   with the key that was given, id %08x\n",
                 (unsigned long long)c->size, c->origin, keys->log.id);
    verifier_keys_print(keys, "");
    (void)printf("not said: that no later transaction changed the record%s%s\n",
                 v->whole ? "s" : "",
                 keys->n != 0 ? "; compare checkpoints (triveni archive consistency)"
                              : ", and that its holder signed no other history;\n"
                                "          for that, compare checkpoints (triveni archive "
                                "consistency), or have the keys of its cosigners");
}

static int verify_consistency(const struct prove_options *o, struct bytes file,
                              const struct verifier_keys *keys, struct err *e)
{
    struct tlog_checkpoint first;
    struct tlog_checkpoint second;
    uint8_t *earlier = NULL;
    size_t n = 0;
    if (o->earlier == NULL)
        return err_set(e, ERR_USAGE,
                       "a proof of consistency: --earlier CHECKPOINT is needed, the file that it "
                       "begins with");
    int rc = file_read(o->earlier, TLOG_CHECKPOINT_MAX_BYTES, &earlier, &n, e);
    if (rc == 0)
        rc = tree_consistency(file, bytes_of(earlier, n), &keys->log, &first, &second, e);
    if (rc == 0)
        print_consistent(&o->common, &first, &second, keys);
    free(earlier);
    return rc;
}

static int verify_inclusion(const struct prove_options *o, struct bytes file,
                            const struct verifier_keys *keys, struct err *e)
{
    struct tlog_checkpoint c;
    struct evidence v;
    uint8_t *extra = NULL;
    if (o->earlier != NULL)
        return err_set(e, ERR_USAGE, "--earlier goes with a proof of consistency");
    int rc = tree_inclusion(file, &keys->log, &c, &v, &extra, e);
    if (rc == 0 && o->common.format == OUTPUT_JSON)
        print_included_json(&v, &c, keys);
    else if (rc == 0)
        print_included(&v, &c, keys);
    free(extra);
    return rc;
}

static int run_verify_proof(struct invocation *in, struct err *e)
{
    const struct prove_options *o = in->options;
    struct verifier_keys keys;
    struct cosigner_rule rule;
    struct tlog_proof_text p;
    uint8_t *file = NULL;
    size_t n = 0;
    int rc = verifier_keys_load(&o->keys, o->require, &keys, &rule, e);
    if (rc == 0)
        rc = file_read(in->operands[0], PROOF_MAX_BYTES, &file, &n, e);
    if (rc != 0)
        return rc;
    rc = tlog_proof_parse(bytes_of(file, n), &p, e);
    if (rc == 0)
        rc = verifier_keys_check(&keys, &rule, p.checkpoint, e);
    if (rc == 0)
        rc = p.consistency ? verify_consistency(o, bytes_of(file, n), &keys, e)
                           : verify_inclusion(o, bytes_of(file, n), &keys, e);
    if (rc == ERR_INTEGRITY || rc == ERR_FORMAT)
        err_wrap(e, "NOT proven: %s", in->operands[0]);
    free(file);
    return rc;
}

/* ---- the table ---- */

const struct command command_archive_checkpoint = {
    .name = "archive checkpoint",
    .group = "Archive",
    .purpose = "print the newest signed checkpoint of the archive",
    .operands = "",
    .least = 0,
    .most = 0,
    .options_bytes = sizeof(struct prove_options),
    .tables = {checkpoint_table, output_options},
    .about = "A checkpoint names the size and the root of the Merkle tree over all archived "
             "entries, and is signed by the archive's site. Keep it where that site cannot "
             "change it, and 'triveni archive consistency' proves later that the history was only "
             "appended to. Needs no key.",
    .examples = {{"keep it", "triveni archive checkpoint -r /srv/archive > "
                             "/media/usb/checkpoint-2026-11-27"}},
    .exits = "37",
    .run = run_archive_checkpoint,
};

const struct command command_archive_prove = {
    .name = "archive prove",
    .group = "Archive",
    .purpose = "write a proof that a record version is in the history",
    .operands = "COLLECTION KEY",
    .least = 2,
    .most = 2,
    .options_bytes = sizeof(struct prove_options),
    .tables = {prove_table, output_options},
    .about =
        "Finds the last transaction that wrote or deleted the record (up to --as-of) and writes "
        "a tlog-proof file (c2sp.org): the transaction whole, the path to the root of the tree, "
        "and the signed checkpoint. Whoever gets the file sees every record that the "
        "transaction wrote.\n"
        "It is found through the archive's index of keys; packs that no index covers yet are "
        "read backwards.",
    .examples = {{"the newest version", "triveni archive prove titles AB-12 -r /srv/archive -k kek "
                                        "--to ab-12.tlog-proof"},
                 {"as it was", "triveni archive prove titles AB-12 -r /srv/archive -k kek --to "
                               "ab-12.tlog-proof --as-of 2026-11-24T08:48:21+05:30"}},
    .exits = "378",
    .run = run_archive_prove,
};

const struct command command_archive_consistency = {
    .name = "archive consistency",
    .group = "Archive",
    .purpose = "prove that the history only grew between two checkpoints",
    .operands = "EARLIER [LATER]",
    .least = 1,
    .most = 2,
    .options_bytes = sizeof(struct prove_options),
    .tables = {consistency_table, output_options},
    .about = "EARLIER and LATER are files with checkpoints; without LATER it is the archive's "
             "newest. Exit code 7 when one was not signed with the key, when the history was "
             "rolled back, or when it was changed. Needs no key-encryption key.",
    .examples = {{"against one that was kept",
                  "triveni archive consistency checkpoint-2026-01-01 -r /srv/archive --key "
                  "land.vkey"},
                 {"a proof for somebody else",
                  "triveni archive consistency checkpoint-2026-01-01 -r /srv/archive --key "
                  "land.vkey --to grew.proof"}},
    .exits = "37",
    .run = run_archive_consistency,
};

const struct command command_verify_proof = {
    .name = "verify-proof",
    .group = "Archive",
    .purpose = "check a proof with nothing but a verifier key",
    .operands = "FILE",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct prove_options),
    .tables = {verify_table, output_options},
    .about =
        "FILE is what 'archive prove', 'receipt' or 'archive consistency --to' wrote. Works "
        "offline. "
        "The keys must come from whom you trust, and not with the proof. The log's signature says "
        "that its holder vouches for this history; a cosignature, that another site computed the "
        "same from a log of its own, and was shown no other one. Says in words what is proven "
        "and what is not; exit code 7 when nothing is, or a cosigner that is required did not "
        "sign.",
    .examples = {{"a record", "triveni verify-proof ab-12.tlog-proof --key land.vkey"},
                 {"cosigned by the other sites", "triveni verify-proof ab-12.tlog-proof --key "
                                                 "land.vkey --key dc.vkey --key dr.vkey"},
                 {"that the history only grew", "triveni verify-proof grew.proof --earlier "
                                                "checkpoint-2026-01-01 --key land.vkey"}},
    .exits = "37",
    .run = run_verify_proof,
};
