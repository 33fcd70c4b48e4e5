/* divergence apply: what a site had to undo, done again in the common history, where nobody has changed the records since.
 *
 *  A1  Of several operations on one record only the last is applied: the record is to become what it was at the end of the tail.
 *  A2  Each carries the condition that the record still has the version that it had below the cut (or is absent, as it was
 *      there). A record that has changed since is refused and shown, never overwritten.
 *  A3  What is settled is a record of its own (collection divergence-applied, key: the bundle's id), written in the transaction
 *      of the operations themselves, under the condition that nobody else has moved it (tools/settled.h). So nothing is applied
 *      twice, whoever is killed, and whoever else applies the same tail at the same time, from this bundle or from a copy of it.
 *  A4  A transaction whose client sent it again after the failover is in the history already, under its session and sequence or
 *      its idempotency key (P6): it is not applied. Nor is one whose key was given up: its client was told that it never happens.
 *      That is known as long as the session and the key are. A key that nobody has used since stays its client's: it is not
 *      written here, so who repeats it later is answered by the conditions of its transaction alone.
 *  A5  Operations of one transaction are tried together. When some are refused the others are applied all the same, and how many
 *      transactions were applied in part is said.
 *
 * Not seen: a record that was absent below the cut, was written since and deleted again. Then the put of the bundle
 * is applied. */
#include "tools/commands.h"

#include "replication/record_map.h"
#include "store/core/idempotency.h"
#include "tools/admin.h"
#include "tools/divergence.h"
#include "tools/progress.h"
#include "tools/record.h"
#include "tools/settled.h"
#include "tools/text.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH_OPS = 256,
    BATCH_OPS_MAX = TVN_GET_MAX_KEYS, /* of one transaction that has more */
    BATCH_BYTES = 1 << 20,
    SHOWN_COLUMNS = 160,
    APPLY_TIMEOUT_MS = 60000, /* a failover in between should not end it */
};

struct apply_options {
    struct common common;
    struct divergence_place place;
    struct option_list only;
    bool dry_run, yes;
};
#define AT(member) offsetof(struct apply_options, member)
static const struct option apply_table[] = {
    {"only", 0, OPTION_LIST, AT(only), "COLLECTION[/KEY]", NULL,
     "only these records; may be given several times"},
    {"dry-run", 0, OPTION_FLAG, AT(dry_run), NULL, NULL,
     "say what would be applied and what refused; change nothing"},
    {"yes", 'y', OPTION_FLAG, AT(yes), NULL, NULL, "do not ask for confirmation"},
    {"config", 'c', OPTION_TEXT, AT(place.config), "FILE", "TRIVENI_CONFIG",
     "configuration of the site that has the bundle"},
    {"data-dir", 0, OPTION_TEXT, AT(place.data_dir), "DIR", NULL,
     "its data directory, instead of --config"},
    {0},
};
#undef AT

enum verdict {
    VERDICT_ABSENT = 1, /* apply, if it is still absent */
    VERDICT_VERSION,    /* apply, if it still has that version */
    VERDICT_SAME,       /* the record is what the operation would make of it */
    VERDICT_RESENT,     /* its client sent the transaction again, or gave it up */
    VERDICT_KEY,        /* the mark of an idempotency key, which nobody has used since */
    VERDICT_REFUSED,
    VERDICT_ALREADY, /* settled before */
};

struct attempt {
    struct bundle_op op;
    enum verdict verdict;
    uint64_t version;
    uint64_t resent_lsn;
    const struct tvn_record *now; /* of the cluster; NULL: not looked at */
    char why[256];
};

/* The mark of a transaction's idempotency key (store/core/idempotency.h). */
struct mark {
    uint64_t lsn;
    size_t n;
    uint8_t key[IDEMPOTENCY_RECORD_KEY_MAX_BYTES];
};

struct apply {
    const struct apply_options *o;
    const char *name;
    char path[BUNDLE_PATH_BYTES];
    struct bundle b;
    struct tvn *db;
    struct progress bar;
    struct record_map last; /* record -> number of its last operation */
    struct mark *marks;     /* by lsn */
    size_t mark_count, mark_capacity;
    struct settled settled;
    bool signed_on;                /* the audit trail says that it is being applied */
    struct attempt *whole, *batch; /* room for one batch; the piece of it that is tried */
    size_t count, bytes;
    uint64_t applied, already, same, resent, keys, refused, left, superseded, partial, others, seen;
};

/* ---- what is settled ---- */

static int put_settled(struct apply *a, struct tvn_txn *txn, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < a->count && rc == 0; i++)
        if (a->batch[i].verdict != VERDICT_REFUSED && a->batch[i].verdict != VERDICT_ALREADY)
            rc = ordinals_add(&a->settled.done, a->batch[i].op.number, e);
    return rc != 0 ? rc
                   : settled_put(&a->settled, txn,
                                 json_pack("{s:s, s:s, s:s}", "bundle", a->name, "site", a->b.site,
                                           "sha256", a->b.sha256),
                                 e);
}

/* ---- verdicts ---- */

static void __attribute__((format(printf, 2, 3))) refuse(struct attempt *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(t->why, sizeof t->why, fmt, ap);
    va_end(ap);
    t->verdict = VERDICT_REFUSED;
}

static struct tvn_bytes to_tvn(struct bytes b)
{
    return tvn_view(b.p, b.n);
}

/* Did its client send it again, and was it done then? */
static int ask_outcome(struct apply *a, const struct bundle_op *op, uint64_t *lsn, struct err *e)
{
    struct tvn_result result;
    struct tvn_error error;
    *lsn = 0;
    if (!op->has_session)
        return 0;
    int code = tvn_outcome(a->db, &op->session, op->sequence, 0, &result, &error);
    if (code == 0)
        *lsn = result.lsn;
    return code == 0 || code == TVN_NOT_FOUND || code == TVN_SESSION_EXPIRED
               ? 0
               : from_client(&error, e);
}

/* The bundle does not know what the record was below the cut; the cluster has the same history up to there. */
static int ask_base(struct apply *a, struct attempt *t, struct err *e)
{
    struct tvn_read how = TVN_READ_INIT;
    struct tvn_records *got = NULL;
    struct tvn_error error;
    if (t->now->found && t->now->lsn <= a->b.common) {
        t->op.base = OP_BASE_VERSION;
        t->op.base_lsn = t->now->lsn;
        return 0;
    }
    how.as_of_lsn = a->b.common;
    int code = a->b.common == 0
                   ? TVN_NOT_FOUND
                   : tvn_get(a->db, t->op.collection, to_tvn(t->op.key), &how, &got, &error);
    if (code == 0) {
        t->op.base = OP_BASE_VERSION;
        t->op.base_lsn = got->records[0].lsn;
        tvn_records_free(got);
    } else if (code == TVN_NOT_FOUND) {
        t->op.base = OP_BASE_ABSENT;
    } else if (code == TVN_GAP) {
        refuse(t, "whether it has changed since lsn %llu cannot be told any more",
               (unsigned long long)a->b.common);
    } else {
        return from_client(&error, e);
    }
    return 0;
}

static bool is_already_so(const struct attempt *t)
{
    const struct tvn_record *now = t->now;
    return t->op.kind == OP_PUT ? now->found && bytes_equal(from_tvn(now->value), t->op.value)
                                : !now->found;
}

static int judge(struct apply *a, struct attempt *t, struct err *e)
{
    if (t->op.base == OP_BASE_UNKNOWN) {
        int rc = ask_base(a, t, e);
        if (rc != 0 || t->verdict == VERDICT_REFUSED)
            return rc;
    }
    bool unchanged = t->op.base == OP_BASE_ABSENT ? !t->now->found
                                                  : t->now->found && t->now->lsn == t->op.base_lsn;
    if (unchanged && !(t->op.kind == OP_DELETE && !t->now->found)) {
        t->verdict = t->op.base == OP_BASE_ABSENT ? VERDICT_ABSENT : VERDICT_VERSION;
        t->version = t->op.base_lsn;
    } else if (is_already_so(t)) {
        t->verdict = VERDICT_SAME;
    } else {
        refuse(t, "it has changed since");
    }
    return 0;
}

static bool is_key(const struct bundle_op *op)
{
    return strcmp(op->collection, IDEMPOTENCY_COLLECTION) == 0;
}

/* ---- idempotency keys ---- */

/* A transaction's mark is one of its operations, and need not be tried together with the others: so it is looked up by itself. */
static int keep_key(struct apply *a, const struct bundle_op *op, struct err *e)
{
    if (a->mark_count == a->mark_capacity) {
        const size_t capacity = a->mark_capacity == 0 ? 64 : 2 * a->mark_capacity;
        struct mark *more = realloc(a->marks, capacity * sizeof *more);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory");
        a->marks = more;
        a->mark_capacity = capacity;
    }
    struct mark *m = &a->marks[a->mark_count];
    if (op->kind != OP_PUT || op->key.n > sizeof m->key) /* old marks that were removed */
        return 0;
    m->lsn = op->lsn;
    m->n = op->key.n;
    memcpy(m->key, op->key.p, op->key.n);
    a->mark_count++;
    return 0;
}

static int compare_lsn(const void *lsn, const void *mark)
{
    const uint64_t x = *(const uint64_t *)lsn, y = ((const struct mark *)mark)->lsn;
    return (x > y) - (x < y);
}

/* Was the transaction's idempotency key, if it has one, used or given up in the common history since? */
static int ask_key(const struct apply *a, const struct bundle_op *op, uint64_t *lsn, struct err *e)
{
    const struct mark *m = a->mark_count == 0 ? NULL
                                              : bsearch(&op->lsn, a->marks, a->mark_count,
                                                        sizeof *a->marks, compare_lsn);
    struct tvn_records *got = NULL;
    struct tvn_error error;
    if (m == NULL)
        return 0;
    const int code =
        tvn_get(a->db, IDEMPOTENCY_COLLECTION, tvn_view(m->key, m->n), NULL, &got, &error);
    if (code != 0)
        return code == TVN_NOT_FOUND ? 0 : from_client(&error, e);
    if (got->records[0].lsn > a->b.common)
        *lsn = got->records[0].lsn;
    tvn_records_free(got);
    return 0;
}

/* Look at every record of the batch. ERR_LIMIT: together they are too large. */
static int judge_batch(struct apply *a, struct tvn_records **got, struct err *e)
{
    struct tvn_key *keys = calloc(a->count, sizeof *keys);
    struct tvn_error error;
    int rc = keys == NULL ? err_set(e, ERR_NO_MEMORY, "no memory") : 0;
    for (size_t i = 0; i < a->count && rc == 0; i++)
        keys[i] = (struct tvn_key){a->batch[i].op.collection, to_tvn(a->batch[i].op.key)};
    if (rc == 0 && tvn_get_many(a->db, keys, a->count, NULL, got, &error) != 0)
        rc = from_client(&error, e);
    free(keys);
    uint64_t asked = 0, resent = 0;
    for (size_t i = 0; i < a->count && rc == 0; i++) {
        struct attempt *t = &a->batch[i];
        t->now = &(*got)->records[i];
        t->verdict = 0;
        if (ordinals_has(&a->settled.done, t->op.number)) {
            t->verdict = VERDICT_ALREADY;
            continue;
        }
        if (asked != t->op.lsn)
            rc = ask_outcome(a, &t->op, &resent, e);
        if (rc == 0 && asked != t->op.lsn && resent == 0)
            rc = ask_key(a, &t->op, &resent, e);
        asked = t->op.lsn;
        t->resent_lsn = resent;
        if (rc == 0 && resent != 0)
            t->verdict = VERDICT_RESENT;
        else if (rc == 0 && is_key(&t->op))
            t->verdict = VERDICT_KEY;
        else if (rc == 0)
            rc = judge(a, t, e);
    }
    return rc;
}

/* ---- what people see ---- */

static const char *client_of(const struct bundle_op *op)
{
    return op->client.n != 0 ? (const char *)op->client.p
                             : "unknown"; /* of JSON: ends with a NUL */
}

static void show_refused(const struct attempt *t)
{
    char time[UTC_TEXT_BYTES];
    const struct bundle_op *op = &t->op;
    (void)printf("refused: %s ", op->collection);
    output_text(stdout, op->key, 0);
    (void)printf(": %s\n  bundle:  lsn %llu, %s, %s, acknowledged: %s, %s ", t->why,
                 (unsigned long long)op->lsn, utc_text((struct utc){op->time_us}, time),
                 client_of(op), op->acknowledged, op->kind == OP_PUT ? "put" : "del");
    output_text(stdout, op->value, SHOWN_COLUMNS);
    if (!t->now->found) {
        (void)printf("\n  cluster: the record does not exist\n");
        return;
    }
    (void)printf("\n  cluster: lsn %llu, %s, ", (unsigned long long)t->now->lsn,
                 utc_text((struct utc){t->now->time_us}, time));
    output_text(stdout, from_tvn(t->now->value), SHOWN_COLUMNS);
    (void)putchar('\n');
}

static json_t *value_json(struct bytes value)
{
    json_t *text = json_stringn((const char *)value.p, value.n);
    if (text != NULL)
        return text;
    char *encoded = malloc(BASE64_BYTES(value.n));
    if (encoded == NULL)
        return json_null();
    (void)base64_encode(value, encoded);
    json_t *o = json_pack("{s:s}", "base64", encoded);
    free(encoded);
    return o;
}

static void tell_refused(const struct apply *a, const struct attempt *t)
{
    if (a->o->common.format != OUTPUT_JSON) {
        show_refused(t);
        return;
    }
    json_t *now = t->now->found ? json_pack("{s:I, s:I, s:o}", "lsn", (json_int_t)t->now->lsn,
                                            "time_us", (json_int_t)t->now->time_us, "value",
                                            value_json(from_tvn(t->now->value)))
                                : json_null();
    output_json(json_pack("{s:s, s:s, s:O, s:o}", "refused", t->why, "collection", t->op.collection,
                          "bundle", t->op.line, "cluster", now));
}

/* Count the verdicts of the batch and tell what was refused. */
static void note(struct apply *a)
{
    for (size_t i = 0; i < a->count;) {
        uint64_t lsn = a->batch[i].op.lsn;
        bool done = false, refused = false;
        for (; i < a->count && a->batch[i].op.lsn == lsn; i++) {
            const struct attempt *t = &a->batch[i];
            a->applied += t->verdict == VERDICT_ABSENT || t->verdict == VERDICT_VERSION;
            a->already += t->verdict == VERDICT_ALREADY;
            a->same += t->verdict == VERDICT_SAME;
            a->resent += t->verdict == VERDICT_RESENT;
            a->keys += t->verdict == VERDICT_KEY;
            a->refused += t->verdict == VERDICT_REFUSED;
            refused = refused || t->verdict == VERDICT_REFUSED;
            done = done || (t->verdict != VERDICT_REFUSED && t->verdict != VERDICT_KEY);
            if (t->verdict == VERDICT_REFUSED) {
                progress_end(&a->bar);
                tell_refused(a, t);
            }
        }
        a->partial += done && refused;
    }
}

/* ---- committing ---- */

static struct tvn_txn *build(struct apply *a, size_t *ops, size_t *settled, struct err *e)
{
    struct tvn_txn *txn = tvn_txn_new();
    *ops = *settled = 0;
    if (txn == NULL) {
        (void)err_set(e, ERR_NO_MEMORY, "no memory");
        return NULL;
    }
    for (size_t i = 0; i < a->count; i++) {
        const struct attempt *t = &a->batch[i];
        const struct tvn_bytes key = to_tvn(t->op.key);
        *settled += t->verdict != VERDICT_REFUSED && t->verdict != VERDICT_ALREADY;
        if (t->verdict == VERDICT_ABSENT)
            (void)tvn_txn_if_absent(txn, t->op.collection, key);
        else if (t->verdict == VERDICT_VERSION)
            (void)tvn_txn_if_version(txn, t->op.collection, key, t->version);
        else
            continue;
        ++*ops;
        if (t->op.kind == OP_PUT)
            (void)tvn_txn_put(txn, t->op.collection, key, to_tvn(t->op.value));
        else
            (void)tvn_txn_del(txn, t->op.collection, key);
    }
    if (*settled > 0 && put_settled(a, txn, e) != 0) {
        tvn_txn_free(txn);
        return NULL;
    }
    return txn;
}

/* It is being applied: who begins it is in the audit trail before the first change is. */
static int sign_on(struct apply *a, struct err *e)
{
    struct bundle_decision d;
    int rc = a->signed_on ? 0 : divergence_sign(a->db, "apply", a->name, &a->b, NULL, NULL, &d, e);
    a->signed_on = a->signed_on || rc == 0;
    return rc;
}

/* One try at the batch, as settled_in_pieces() wants it. */
static int try_batch(struct apply *a, struct err *e)
{
    struct tvn_records *got = NULL;
    struct tvn_result result;
    struct tvn_error error = {.code = 0};
    struct tvn_txn *txn = NULL;
    size_t ops = 0, settled = 0;
    int rc = judge_batch(a, &got, e);
    if (rc == ERR_LIMIT && a->count > 1) {
        *e = (struct err)ERR_NONE;
        return SETTLED_HALVE;
    }
    if (rc == 0 && !a->o->dry_run && (txn = build(a, &ops, &settled, e)) == NULL)
        rc = e->code;
    if (rc == 0 && settled > 0 && txn != NULL)
        rc = sign_on(a, e);
    if (rc == 0 && settled > 0 && txn != NULL && tvn_txn_commit(a->db, txn, &result, &error) == 0)
        a->settled.version = result.lsn;
    if (rc == 0 && error.code == 0) {
        note(a);
    } else if (rc == 0 && error.code == TVN_CONDITION) {
        rc = settled_load(&a->settled, a->db, e);
        rc = rc == 0 ? SETTLED_AGAIN : rc;
    } else if (rc == 0 && settled_is_of_one(error.code)) {
        rc = settled_load(&a->settled, a->db, e); /* what was added for this attempt is no more */
        if (rc == 0 && a->count > 1) {
            rc = SETTLED_HALVE;
        } else if (rc == 0) {
            refuse(&a->batch[0], "%.200s", error.text);
            note(a);
        }
    } else if (rc == 0) {
        rc = err_set(e, error.code,
                     "%.300s; run the same command again: what is applied is not applied twice",
                     error.text);
    }
    tvn_txn_free(txn);
    tvn_records_free(got);
    return rc;
}

static int try_piece(void *arg, size_t from, size_t n, struct err *e)
{
    struct apply *a = arg;
    const size_t total = a->count;
    a->batch = a->whole + from;
    a->count = n;
    int rc = try_batch(a, e);
    a->batch = a->whole;
    a->count = total;
    return rc;
}

static void empty(struct apply *a)
{
    for (size_t i = 0; i < a->count; i++)
        bundle_op_free(&a->batch[i].op);
    a->count = a->bytes = 0;
}

/* ---- reading ---- */

static bool is_wanted(const struct apply_options *o, const struct bundle_op *op)
{
    bool wanted = o->only.count == 0;
    size_t n = strlen(op->collection);
    for (size_t i = 0; i < o->only.count; i++) {
        const char *only = o->only.v[i];
        if (strncmp(only, op->collection, n) != 0)
            continue;
        wanted = wanted || only[n] == '\0' ||
                 (only[n] == '/' && bytes_equal(op->key, bytes_str(only + n + 1)));
    }
    return wanted;
}

/* An operation of the bundle: into the batch, if it is to be tried. */
static int take_op(struct apply *a, struct bundle_op *op, struct err *e)
{
    const uint64_t *last = record_map_find(&a->last, bytes_str(op->collection), op->key);
    bool superseded = last != NULL && *last != op->number;
    bool left = !is_key(op) && (op->collection[0] == '_' || !is_wanted(a->o, op));
    a->superseded += superseded;
    a->left += !superseded && left;
    if (superseded || left) {
        bundle_op_free(op);
        return 0;
    }
    bool whole = a->count > 0 && a->batch[a->count - 1].op.lsn != op->lsn;
    int rc = 0;
    if (a->count == BATCH_OPS_MAX ||
        (whole && (a->count >= BATCH_OPS || a->bytes >= BATCH_BYTES))) {
        rc = settled_in_pieces(a->count, try_piece, a, e);
        empty(a);
        progress_show(&a->bar, a->seen, a->b.operations, a->seen);
    }
    a->batch[a->count++] = (struct attempt){.op = *op};
    a->bytes += op->value.n + op->key.n;
    return rc;
}

/* What is no record is not made again; who reads this knows what to do about it. */
static void tell_other(struct apply *a, const json_t *line)
{
    const char *kind = json_text(line, "entry", "");
    bool point = strcmp(kind, "restore-point") == 0;
    if (!point && strcmp(kind, "config") != 0)
        return;
    a->others++;
    progress_end(&a->bar);
    say("not applied: %s '%s' of lsn %lld%s", point ? "restore point" : "protection mode",
        json_text(line, point ? "name" : "mode", "unknown"),
        (long long)json_integer_value(json_object_get(line, "lsn")),
        point ? "; 'triveni point' makes one" : "; 'triveni mode' sets it");
}

/* Each line of the bundle: `first` is the pass that finds the last operation of each record. */
static int pass(struct apply *a, bool first, struct err *e)
{
    struct bundle_lines lines;
    json_t *line = NULL;
    int rc = bundle_open(&lines, a->path, e);
    while (rc == 0 && (rc = bundle_next(&lines, &line, e)) == 1) {
        struct bundle_op op;
        rc = bundle_op_read(&line, &op, e);
        if (rc == 0 && !first)
            tell_other(a, line);
        if (rc == 1 && first) {
            uint64_t *last = record_map_at(&a->last, bytes_str(op.collection), op.key);
            rc = last == NULL ? err_set(e, ERR_NO_MEMORY, "no memory") : 0;
            if (last != NULL)
                *last = op.number;
            if (rc == 0 && is_key(&op))
                rc = keep_key(a, &op, e);
            bundle_op_free(&op);
        } else if (rc == 1) {
            a->seen++;
            rc = take_op(a, &op, e);
        }
        json_decref(line);
        line = NULL;
    }
    if (rc == 0 && !first)
        rc = settled_in_pieces(a->count, try_piece, a, e);
    empty(a);
    bundle_close(&lines);
    return rc;
}

/* ---- the whole ---- */

static void report(const struct apply *a)
{
    const struct apply_options *o = a->o;
    const char *would = o->dry_run ? "would be " : "";
    if (o->common.format == OUTPUT_JSON) {
        output_json(
            json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "bundle",
                      a->name, "dry_run", o->dry_run, "operations", (json_int_t)a->b.operations,
                      "applied", (json_int_t)a->applied, "already_applied", (json_int_t)a->already,
                      "same", (json_int_t)a->same, "resent", (json_int_t)a->resent, "keys",
                      (json_int_t)a->keys, "refused", (json_int_t)a->refused, "left",
                      (json_int_t)a->left, "superseded", (json_int_t)a->superseded, "partial",
                      (json_int_t)a->partial, "lsn", (json_int_t)a->settled.version));
        return;
    }
    (void)printf("%s: %llu operations: %llu %sapplied, %llu already applied, %llu refused because "
                 "changed, %llu left\n",
                 a->name, (unsigned long long)a->b.operations, (unsigned long long)a->applied,
                 would, (unsigned long long)a->already, (unsigned long long)a->refused,
                 (unsigned long long)a->left);
    if (a->superseded + a->same + a->resent + a->keys > 0)
        (void)printf("  nothing to do for %llu: a later one of the bundle changes the same record "
                     "(%llu), the record is so already (%llu), the client sent it again or gave it "
                     "up (%llu), it is an idempotency key (%llu)\n",
                     (unsigned long long)(a->superseded + a->same + a->resent + a->keys),
                     (unsigned long long)a->superseded, (unsigned long long)a->same,
                     (unsigned long long)a->resent, (unsigned long long)a->keys);
    if (a->partial > 0)
        (void)printf("  of %llu transactions a part was refused and the rest %sapplied\n",
                     (unsigned long long)a->partial, would);
}

/* Nothing is refused and nothing left: the bundle is decided about. */
static int sign_off(struct apply *a, struct err *e)
{
    struct bundle_decision d;
    int rc = bundle_decision_read(a->path, &d, e);
    if (rc != 0 || d.what[0] != '\0')
        return rc;
    rc = divergence_sign(a->db, "applied", a->name, &a->b, NULL,
                         json_pack("{s:I, s:I, s:I}", "applied",
                                   (json_int_t)(a->applied + a->already), "refused",
                                   (json_int_t)a->refused, "left", (json_int_t)a->left),
                         &d, e);
    if (rc != 0)
        return rc;
    (void)snprintf(d.what, sizeof d.what, "applied");
    return bundle_decision_write(a->path, &d, e);
}

static int begin(struct apply *a, struct err *e)
{
    struct bundle_decision old;
    char question[512];
    int rc = divergence_path(&a->o->place, a->name, a->path, e);
    if (rc == 0)
        rc = bundle_check(a->path, &a->b, e);
    if (rc == 0 && a->b.format < 2)
        rc = err_set(e, ERR_FORMAT,
                     "%s was written by an earlier version, without checksum and versions: look at "
                     "it with 'divergence show', put by hand what is missing, and discard it",
                     a->name);
    if (rc == 0)
        rc = bundle_decision_read(a->path, &old, e);
    if (rc == 0 && strcmp(old.what, "discarded") == 0)
        rc = err_set(e, ERR_CONDITION, "%s was discarded by %s at lsn %llu: %.200s", a->name,
                     old.by, (unsigned long long)old.lsn, old.reason);
    if (rc != 0 || a->o->dry_run)
        return rc;
    (void)snprintf(question, sizeof question,
                   "Apply the operations of %s (%llu, of which %llu were acknowledged and %llu "
                   "possibly) to the running cluster, where\nnobody has changed the record since?",
                   a->name, (unsigned long long)a->b.operations, (unsigned long long)a->b.yes,
                   (unsigned long long)a->b.possible);
    if (!a->o->yes && !confirm(question))
        return err_set(e, ERR_USAGE,
                       "not confirmed: nothing was done (--yes confirms without a question)");
    return 0;
}

static int run_divergence_apply(struct invocation *in, struct err *e)
{
    struct apply_options *o = in->options;
    struct apply a = {.o = o,
                      .name = in->operands[0],
                      .settled = {.collection = DIVERGENCE_APPLIED_COLLECTION, .key = a.b.id}};
    if (!o->common.timeout.given)
        o->common.timeout = (struct option_number){true, APPLY_TIMEOUT_MS};
    int rc = begin(&a, e);
    if (rc == 0 && (a.whole = a.batch = calloc(BATCH_OPS_MAX, sizeof *a.batch)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory");
    if (rc == 0)
        rc = connect_open(&o->common, &a.db, e);
    if (rc == 0)
        rc = divergence_same_cluster(a.db, &a.b, e);
    if (rc == 0)
        rc = settled_load(&a.settled, a.db, e);
    progress_begin_count(&a.bar, "apply", "operations");
    if (rc == 0)
        rc = pass(&a, true, e);
    if (rc == 0)
        rc = pass(&a, false, e);
    progress_end(&a.bar);
    if (rc == 0)
        report(&a);
    if (rc == 0 && a.refused + a.left == 0 && !o->dry_run)
        rc = sign_off(&a, e);
    if (rc == 0 && a.refused > 0)
        rc = err_set(
            e, ERR_CONDITION,
            "%llu operations are refused: put by hand what is right, then sign the rest off "
            "with 'triveni divergence discard'",
            (unsigned long long)a.refused);
    (void)tvn_close(a.db);
    record_map_free(&a.last);
    ordinals_free(&a.settled.done);
    free(a.whole);
    free(a.marks);
    return rc;
}

const struct command command_divergence_apply = {
    .name = "divergence apply",
    .group = "Cluster",
    .purpose = "do again what was undone, where nobody has changed it since",
    .operands = "BUNDLE",
    .least = 1,
    .most = 1,
    .options_bytes = sizeof(struct apply_options),
    .tables = {apply_table, output_options, connection_options},
    .about =
        "Each record is written only if it still has the version that it had in the common "
        "history; one that has changed since is\n"
        "refused, and both versions are shown (exit code 5): put by hand what is right. Of "
        "several operations on one record the last is\n"
        "applied. What a client has sent again itself is recognised and not done twice. The "
        "same command may be given again, after\n"
        "whatever interrupted it and by another operator: nothing is applied twice. What is "
        "applied is kept in collection\n"
        "divergence-applied; who applied it, in the audit trail. Needs an operator's profile.\n"
        "\n"
        "Restore points, protection modes and declarations of indexes are named and not "
        "applied. With -o json each refused operation is\n"
        "one line, and the summary is the last.",
    .examples = {{"what would be done", "triveni divergence apply NAME --dry-run -c dc.yaml"},
                 {"do it", "triveni divergence apply NAME --yes -c dc.yaml"},
                 {"one record only",
                  "triveni divergence apply NAME --only titles/AB-12 -c dc.yaml"}},
    .exits = "3456789",
    .run = run_divergence_apply,
};
