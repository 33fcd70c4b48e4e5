#include "tools/record.h"

#include "tools/receipt.h"

#include "tools/config.h"
#include "tools/connect.h"
#include "tools/json.h"
#include "tools/text.h"

#include <errno.h>
#include <string.h>

void record_json(FILE *f, const struct shown_record *r)
{
    char time[UTC_TEXT_BYTES];
    (void)fputs("{\"collection\":", f);
    json_put_text(f, r->collection);
    (void)fputs(",\"key\":", f);
    json_put_text(f, r->key);
    (void)fprintf(f, ",\"lsn\":%llu,\"time\":\"%s\",\"value\":", (unsigned long long)r->lsn,
                  utc_text((struct utc){r->time_us}, time));
    json_put_value(f, r->value);
    if (r->token.n != 0)
        (void)fputs(",\"token\":\"", f);
    for (size_t i = 0; i < r->token.n; i++)
        (void)fprintf(f, "%02x", r->token.p[i]);
    (void)fputs(r->token.n != 0 ? "\"}\n" : "}\n", f);
}

static const char *session_text(const struct tvn_session_id *id, char out[UUID_TEXT_BYTES])
{
    struct uuid uuid;
    memcpy(uuid.b, id->bytes, sizeof uuid.b);
    return uuid_text(&uuid, out);
}

void print_result(const struct common *c, const struct tvn_result *r)
{
    char time[UTC_TEXT_BYTES];
    char session[UUID_TEXT_BYTES];
    (void)utc_text((struct utc){r->time_us}, time);
    if (c->format == OUTPUT_JSON) {
        output_json(json_pack(
            "{s:I,s:I,s:s,s:s,s:b,s:s,s:I}", "lsn", (json_int_t)r->lsn, "term", (json_int_t)r->term,
            "time", time, "ack", ack_name(r->ack), "repeated", r->repeated, "session",
            session_text(&r->session, session), "sequence", (json_int_t)r->sequence));
        return;
    }
    (void)printf("committed at lsn %llu, term %llu, %s, durability: %s%s\n",
                 (unsigned long long)r->lsn, (unsigned long long)r->term, time, ack_name(r->ack),
                 r->repeated ? " (by an earlier attempt)" : "");
}

/* Who asked for the disks of a site that is down waits for it, and not for the primary. */
static const char *what_it_waits_for(const struct common *c)
{
    if (c->ack == NULL || strcmp(c->ack, "mode") == 0 || strcmp(c->ack, "local") == 0 ||
        strcmp(c->ack, "majority") == 0)
        return "";
    return "; it is answered only when every site that --ack names has it: 'triveni status' shows "
           "which is not up";
}

/* The session has to outlive this process, or the outcome could never be asked for: tvn_session() takes it over. */
static int unknown_outcome(const struct common *c, struct tvn *db, const struct tvn_result *r,
                           const char *idempotency_key, const struct tvn_error *error,
                           struct err *e)
{
    if (idempotency_key != NULL)
        return err_set(e, error->code,
                       "%.200s%s; run the same command again, or ask: triveni outcome "
                       "--idempotency-key '%s'",
                       error->text, what_it_waits_for(c), idempotency_key);
    struct tvn_session_id kept;
    struct tvn_error ignored;
    uint64_t next = 0;
    char session[UUID_TEXT_BYTES];
    (void)tvn_session(db, 1000, &kept, &next, &ignored);
    return err_set(e, error->code, "%.200s%s; ask: triveni outcome %s %llu", error->text,
                   what_it_waits_for(c), session_text(&r->session, session),
                   (unsigned long long)r->sequence);
}

int commit_and_print(struct invocation *in, struct tvn *db, struct tvn_txn *txn,
                     const char *idempotency_key, const char *receipt, struct err *e)
{
    struct tvn_result result;
    struct tvn_error error;
    memset(&result, 0, sizeof result);
    int rc = receipt_check(receipt, e);
    if (rc != 0)
        return rc;
    if (idempotency_key != NULL) /* what is wrong with it is told by the commit */
        (void)tvn_txn_set_idempotency_key(txn, tvn_str(idempotency_key));
    if (tvn_txn_commit(db, txn, &result, &error) != 0)
        return error.outcome == TVN_UNKNOWN
                   ? unknown_outcome(in->options, db, &result, idempotency_key, &error, e)
                   : from_client(&error, e);
    print_result(in->options, &result);
    (void)fflush(stdout);
    return receipt == NULL
               ? 0
               : receipt_write(in->options, result.lsn, -1, receipt, RECEIPT_PATIENCE_MS, e);
}

int operand_bytes(char *text, bool base64, struct tvn_bytes *out, struct err *e)
{
    if (!base64) {
        *out = tvn_str(text);
        return 0;
    }
    long n = base64_decode(bytes_str(text), (uint8_t *)text);
    if (n < 0)
        return err_set(e, ERR_USAGE, "'%.60s' is not base64 (RFC 4648, with padding)", text);
    *out = tvn_view(text, (size_t)n);
    return 0;
}

/* "at most 0.200 s old" on stderr, for reads that a standby answered. */
static void say_age(const struct common *c, uint64_t lsn, uint64_t age_us)
{
    if (!c->standby)
        return;
    if (age_us == TVN_AGE_UNKNOWN)
        say("read at lsn %llu; how old that is, the site cannot tell", (unsigned long long)lsn);
    else
        say("read at lsn %llu, at most %.3f s old", (unsigned long long)lsn, (double)age_us / 1e6);
}

int as_of_parse(const char *text, struct tvn_read *how, struct err *e)
{
    struct utc time;
    if (text == NULL)
        return 0;
    if (text[0] != '\0' && text[strspn(text, "0123456789")] == '\0') {
        errno = 0;
        how->as_of_lsn = strtoull(text, NULL, 10);
        return errno == 0 && how->as_of_lsn != 0
                   ? 0
                   : err_set(e, ERR_USAGE, "--as-of %s: the first transaction has lsn 1", text);
    }
    int rc = utc_parse(text, &time, e);
    if (rc != 0)
        return err_wrap(e, "--as-of");
    how->as_of_time_us = time.us;
    return time.us != 0 ? 0 : err_set(e, ERR_USAGE, "--as-of %s: nothing is as old as that", text);
}

void say_as_of(const struct common *c, const char *as_of, uint64_t lsn, uint64_t age_us)
{
    if (as_of == NULL)
        say_age(c, lsn, age_us);
    else
        say("read as of lsn %llu", (unsigned long long)lsn);
}
