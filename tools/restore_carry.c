/* restore --apply --warrant: the list of changes that two operators have signed, carried out.
 *
 *  C1  The primary has checked and logged the warrant before the first change is sent (replication/putback.c).
 *  C2  Each change is made under the condition that its record is as it was shown. A record that has changed since is
 *      refused, and both versions are told; the others are done all the same.
 *  C3  What is done is written by the transactions themselves into a record of collection restore-applied, key: the warrant's
 *      nonce (tools/settled.h). So the same command again goes on after an interruption, does nothing twice, and tries again
 *      what was refused. */
#include "tools/restore.h"

#include "store/core/hex.h"
#include "tools/admin.h"
#include "tools/changes.h"
#include "tools/record.h"
#include "tools/settled.h"
#include "tools/text.h"
#include "tools/warrant_file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define APPLIED_COLLECTION "restore-applied"

enum {
    BATCH_CHANGES = 256,
    BATCH_BYTES = 1 << 20,
    CARRY_TIMEOUT_MS = 60000, /* a failover in between should not end it */
};

enum outcome { OUTCOME_DO = 1, OUTCOME_SAME, OUTCOME_ALREADY, OUTCOME_REFUSED };

struct item {
    struct change change;
    enum outcome outcome;
    bool found;
    struct change_version now;
    char why[256]; /* refused by the cluster; "": the record has changed */
};

struct carry {
    const struct restore_options *o;
    struct warrant_file file;
    char path[PATH_MAX], nonce[WARRANT_NONCE_TEXT], sha256[65];
    struct tvn *db;
    struct progress bar;
    struct settled settled;
    struct item batch[BATCH_CHANGES];
    size_t count, bytes;
    uint64_t total, seen, done, same, already, refused;
};

/* ---- a batch ---- */

static bool is_so_already(const struct change *c, const struct tvn_record *now)
{
    return c->kind == CHANGE_DELETE ? !now->found
                                    : now->found && bytes_equal(from_tvn(now->value), c->value);
}

static void judge(const struct carry *c, struct item *x, const struct tvn_record *now)
{
    x->found = now->found != 0;
    x->now = (struct change_version){now->lsn, now->time_us};
    x->why[0] = '\0';
    if (ordinals_has(&c->settled.done, x->change.number))
        x->outcome = OUTCOME_ALREADY;
    else if (is_so_already(&x->change, now))
        x->outcome = OUTCOME_SAME;
    else if (x->change.now.lsn == 0 ? !x->found : x->found && x->now.lsn == x->change.now.lsn)
        x->outcome = OUTCOME_DO;
    else
        x->outcome = OUTCOME_REFUSED;
}

static int look(struct carry *c, struct item *items, size_t n, struct err *e)
{
    struct tvn_key keys[BATCH_CHANGES] = {{NULL, {NULL, 0}}};
    char names[BATCH_CHANGES][COLLECTION_MAX_BYTES + 1];
    struct tvn_records *got = NULL;
    struct tvn_error error;
    for (size_t i = 0; i < n; i++) {
        const struct change *x = &items[i].change;
        (void)snprintf(names[i], sizeof names[i], "%.*s", (int)x->collection.n,
                       (const char *)x->collection.p);
        keys[i] = (struct tvn_key){names[i], tvn_view(x->key.p, x->key.n)};
    }
    if (tvn_get_many(c->db, keys, n, NULL, &got, &error) != 0)
        return from_client(&error, e);
    for (size_t i = 0; i < n; i++)
        judge(c, &items[i], &got->records[i]);
    tvn_records_free(got);
    return 0;
}

static int add_change(struct tvn_txn *txn, const struct change *x)
{
    char name[COLLECTION_MAX_BYTES + 1];
    const struct tvn_bytes key = tvn_view(x->key.p, x->key.n);
    (void)snprintf(name, sizeof name, "%.*s", (int)x->collection.n, (const char *)x->collection.p);
    int code = x->kind == CHANGE_CREATE ? tvn_txn_if_absent(txn, name, key)
                                        : tvn_txn_if_version(txn, name, key, x->now.lsn);
    if (code != 0)
        return code;
    return x->kind == CHANGE_DELETE ? tvn_txn_del(txn, name, key)
                                    : tvn_txn_put(txn, name, key, tvn_view(x->value.p, x->value.n));
}

/* What is done or so already is settled with it. *any: there is something to commit. */
static int build(struct carry *c, struct item *items, size_t n, struct tvn_txn *txn, bool *any,
                 struct err *e)
{
    int rc = 0;
    *any = false;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (items[i].outcome != OUTCOME_DO && items[i].outcome != OUTCOME_SAME)
            continue;
        *any = true;
        if (items[i].outcome == OUTCOME_DO && add_change(txn, &items[i].change) == TVN_NO_MEMORY)
            rc = err_set(e, ERR_NO_MEMORY, "no memory");
        if (rc == 0)
            rc = ordinals_add(&c->settled.done, items[i].change.number, e);
    }
    return rc != 0 || !*any
               ? rc
               : settled_put(&c->settled, txn, json_pack("{s:s}", "sha256", c->sha256), e);
}

static void tell_refused(const struct item *x)
{
    char time[UTC_TEXT_BYTES];
    const struct change *c = &x->change;
    (void)printf("refused: %.*s ", (int)c->collection.n, (const char *)c->collection.p);
    output_text(stdout, c->key, 0);
    (void)printf(": %s\n  shown:   ", x->why[0] != '\0' ? x->why : "it has changed since");
    if (c->now.lsn == 0)
        (void)printf("absent");
    else
        (void)printf("lsn %llu, %s", (unsigned long long)c->now.lsn,
                     utc_text((struct utc){c->now.time_us}, time));
    (void)printf("\n  cluster: ");
    if (!x->found)
        (void)printf("absent\n");
    else
        (void)printf("lsn %llu, %s\n", (unsigned long long)x->now.lsn,
                     utc_text((struct utc){x->now.time_us}, time));
}

static json_t *version_json(bool there, struct change_version v)
{
    return there ? json_pack("{s:I, s:I}", "lsn", (json_int_t)v.lsn, "time", (json_int_t)v.time_us)
                 : json_null();
}

static void note(struct carry *c, const struct item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct item *x = &items[i];
        c->done += x->outcome == OUTCOME_DO;
        c->same += x->outcome == OUTCOME_SAME;
        c->already += x->outcome == OUTCOME_ALREADY;
        c->refused += x->outcome == OUTCOME_REFUSED;
        if (x->outcome != OUTCOME_REFUSED)
            continue;
        progress_end(&c->bar);
        if (c->o->common.format == OUTPUT_JSON)
            output_json(json_pack("{s:s, s:O, s:O, s:o, s:o}", "refused",
                                  x->why[0] != '\0' ? x->why : "it has changed since", "collection",
                                  json_object_get(x->change.line, "collection"), "key",
                                  json_object_get(x->change.line, "key"), "shown",
                                  version_json(x->change.now.lsn != 0, x->change.now), "cluster",
                                  version_json(x->found, x->now)));
        else
            tell_refused(x);
    }
}

/* As settled_in_pieces() wants it. */
static int try_piece(void *arg, size_t from, size_t n, struct err *e)
{
    struct carry *c = arg;
    struct item *items = c->batch + from;
    struct tvn_result result;
    struct tvn_error error = {.code = 0};
    bool any = false;
    struct tvn_txn *txn = tvn_txn_new();
    int rc = txn == NULL ? err_set(e, ERR_NO_MEMORY, "no memory") : look(c, items, n, e);
    if (rc == ERR_LIMIT && n > 1) {
        *e = (struct err)ERR_NONE;
        rc = SETTLED_HALVE;
    }
    if (rc == 0)
        rc = build(c, items, n, txn, &any, e);
    if (rc == 0 && any && tvn_txn_commit(c->db, txn, &result, &error) == 0)
        c->settled.version = result.lsn;
    tvn_txn_free(txn);
    if (rc != 0)
        return rc;
    if (error.code == 0) {
        note(c, items, n);
        return 0;
    }
    if (error.code != TVN_CONDITION && !settled_is_of_one(error.code))
        return err_set(e, error.code,
                       "%.300s; run the same command again: what is done is not done twice",
                       error.text);
    rc = settled_load(&c->settled, c->db, e); /* what was added for this attempt is no more */
    if (rc != 0)
        return rc;
    if (error.code == TVN_CONDITION)
        return SETTLED_AGAIN;
    if (n > 1)
        return SETTLED_HALVE;
    items[0].outcome = OUTCOME_REFUSED;
    (void)snprintf(items[0].why, sizeof items[0].why, "%.200s", error.text);
    note(c, items, n);
    return 0;
}

static int flush(struct carry *c, struct err *e)
{
    int rc = settled_in_pieces(c->count, try_piece, c, e);
    for (size_t i = 0; i < c->count; i++)
        change_free(&c->batch[i].change);
    c->seen += c->count;
    c->count = c->bytes = 0;
    progress_show(&c->bar, c->seen, c->total, c->seen);
    return rc;
}

static int carry_list(struct carry *c, struct err *e)
{
    struct changes_reader reader;
    int rc = changes_open(&reader, c->path, e);
    if (rc != 0)
        return rc;
    progress_begin_count(&c->bar, "apply", "records");
    while (rc == 0 && (rc = changes_next(&reader, &c->batch[c->count].change, e)) == 1) {
        c->bytes += c->batch[c->count].change.value.n + c->batch[c->count].change.key.n;
        c->count++;
        rc = c->count == BATCH_CHANGES || c->bytes >= BATCH_BYTES ? flush(c, e) : 0;
    }
    if (rc == 0)
        rc = flush(c, e);
    progress_end(&c->bar);
    for (size_t i = 0; i < c->count; i++)
        change_free(&c->batch[i].change);
    changes_close(&reader);
    return rc;
}

/* ---- the warrant ---- */

static int admit(struct carry *c, struct err *e)
{
    json_t *status = NULL;
    int64_t now = 0;
    uint64_t n = 0;
    int rc = admin_call(c->db, "status", NULL, &status, e);
    if (rc != 0)
        return rc;
    struct warrant_place here = {.act = "restore-records",
                                 .cluster = json_text(status, "cluster", "")};
    if (uuid_of_text(json_text(status, "id", ""), &here.cluster_id) != 0 ||
        !json_number(status, "time_us", &now))
        rc = err_set(e, ERR_FORMAT, "the cluster does not tell its id and time");
    if (rc == 0)
        rc = warrant_file_admit(&c->file, &here, (struct utc){(uint64_t)now}, e);
    json_decref(status);
    static const char *const counts[] = {"creates", "replaces", "deletes"};
    for (size_t i = 0; rc == 0 && i < sizeof counts / sizeof counts[0]; i++) {
        rc = warrant_number(&c->file.says, counts[i], &n, e);
        c->total += n;
    }
    const struct bytes sum = warrant_fact(&c->file.says, "changes-sha256", 0);
    (void)snprintf(c->sha256, sizeof c->sha256, "%.*s", (int)sum.n, (const char *)sum.p);
    hex_format(c->file.says.nonce, sizeof c->file.says.nonce, c->nonce);
    return rc == 0 ? changes_check(c->path, c->sha256, e) : rc;
}

static int confirm_it(const struct carry *c, struct err *e)
{
    if (c->o->yes)
        return 0;
    warrant_file_print(stderr, &c->file);
    return confirm("Put these records back into the running cluster, where they are as they were "
                   "shown?")
               ? 0
               : err_set(e, ERR_USAGE,
                         "not confirmed: nothing was done (--yes confirms without a question)");
}

static void report(const struct carry *c, int64_t lsn)
{
    if (c->o->common.format == OUTPUT_JSON)
        output_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "warrant_lsn", (json_int_t)lsn,
                              "applied", (json_int_t)c->done, "already_applied",
                              (json_int_t)c->already, "same", (json_int_t)c->same, "refused",
                              (json_int_t)c->refused, "lsn", (json_int_t)c->settled.version));
    else
        (void)printf("%llu records put back, %llu already put back by this warrant, %llu so "
                     "already, %llu refused because changed; the warrant is logged at lsn %lld\n",
                     (unsigned long long)c->done, (unsigned long long)c->already,
                     (unsigned long long)c->same, (unsigned long long)c->refused, (long long)lsn);
}

static int carry_out(struct carry *c, struct err *e)
{
    json_t *reply = NULL;
    int64_t lsn = 0;
    int rc = admit(c, e);
    if (rc == 0)
        rc = confirm_it(c, e);
    if (rc == 0)
        rc = admin_call_primary(
            c->db, "restore-records",
            json_pack("{s:o}", "warrant", json_stringn((const char *)c->file.file, c->file.bytes)),
            &reply, e);
    if (rc == 0 && !json_number(reply, "lsn", &lsn))
        rc = err_set(e, ERR_FORMAT, "the answer tells no lsn");
    json_decref(reply);
    if (rc == 0)
        rc = settled_load(&c->settled, c->db, e);
    if (rc == 0)
        rc = carry_list(c, e);
    if (rc == 0)
        report(c, lsn);
    return rc == 0 && c->refused != 0
               ? err_set(
                     e, ERR_CONDITION,
                     "%llu records are refused: look at them, and ask for a new warrant if they "
                     "are to be put back all the same",
                     (unsigned long long)c->refused)
               : rc;
}

int restore_carry_out(struct restore_options *o, struct err *e)
{
    struct carry *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory");
    c->o = o;
    c->settled = (struct settled){.collection = APPLIED_COLLECTION, .key = c->nonce};
    if (!o->common.timeout.given)
        o->common.timeout = (struct option_number){true, CARRY_TIMEOUT_MS};
    int rc = (size_t)snprintf(c->path, sizeof c->path, "%s.changes", o->warrant) < sizeof c->path
                 ? warrant_file_open(&o->common, o->warrant, &c->file, e)
                 : err_set(e, ERR_USAGE, "the name of the file is too long");
    if (rc == 0) {
        rc = connect_open(&o->common, &c->db, e);
        if (rc == 0)
            rc = carry_out(c, e);
        (void)tvn_close(c->db);
        warrant_file_close(&c->file);
    }
    ordinals_free(&c->settled.done);
    free(c);
    return rc;
}
