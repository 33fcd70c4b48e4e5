/* Records of the past put back into the running cluster (triveni restore --apply), by a warrant of two operators.
 *
 * The transactions themselves are ordinary ones of the operator who carries it out, each under the condition that its records
 * are as they were shown (tools/restore_apply.c). What is done here comes first: the warrant is checked, and logged, whole,
 * so that log, state and archive of every site say who ordered what. Facts of the warrant, all that it may say:
 *   archive-lsn, archive-hash, archive-time   which moment of the past: its entry, with the hash of its header
 *   selection                                 which records
 *   cluster-lsn                               the state that the past was compared with
 *   creates, replaces, deletes, same, kept    how many records
 *   changes-sha256                            of the list of changes, which the operators have before them
 *   means                                     what they have read
 *
 * Who is interrupted goes on with the same warrant and no second one: a warrant that was logged is answered with where that was,
 * as long as it has not expired. Nothing is done twice by that, for what is settled is told by a record that the transactions
 * themselves write. */
#include "replication/service.h"

#include "store/core/hex.h"

static int check_facts(const struct warrant *w, struct err *e)
{
    static const char *const names[] = {
        "archive-lsn", "archive-hash", "archive-time", "selection", "cluster-lsn", "creates",
        "replaces",    "deletes",      "same",         "kept",      "means",       "changes-sha256",
        NULL};
    static const char *const numbers[] = {"archive-lsn", "cluster-lsn", "creates", "replaces",
                                          "deletes",     "same",        "kept"};
    const struct bytes sum = warrant_fact(w, "changes-sha256", 0);
    struct sha256 hash;
    char hex[2 * sizeof hash.b + 1] = "";
    uint64_t n;
    int rc = warrant_only(w, names, e);
    for (size_t i = 0; rc == 0 && i < sizeof numbers / sizeof numbers[0]; i++)
        rc = warrant_number(w, numbers[i], &n, e);
    if (rc == 0 && sum.n == sizeof hex - 1)
        memcpy(hex, sum.p, sum.n);
    if (rc == 0 && (hex_parse(hex, hash.b, sizeof hash.b) != 0 ||
                    warrant_fact(w, "changes-sha256", 1).p != NULL))
        rc = err_set(e, ERR_FORMAT, "warrant: 'changes-sha256' is no hash");
    return rc;
}

static json_t *details_of(const struct site_warrant *w, const char *by)
{
    const struct bytes selection = warrant_fact(&w->says, "selection", 0),
                       sum = warrant_fact(&w->says, "changes-sha256", 0),
                       lsn = warrant_fact(&w->says, "archive-lsn", 0);
    char nonce[WARRANT_NONCE_TEXT];
    hex_format(w->says.nonce, sizeof w->says.nonce, nonce);
    return json_pack("{s:o, s:o, s:o, s:s, s:s}", "archive_lsn",
                     json_stringn((const char *)lsn.p, lsn.n), "selection",
                     json_stringn((const char *)selection.p, selection.n), "changes_sha256",
                     json_stringn((const char *)sum.p, sum.n), "signed_by", by, "nonce", nonce);
}

int putback_command(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                    struct err *e)
{
    struct waiter w = {
        .client = c, .request = request, .type = FRAME_ADMIN, .failed_condition = -1};
    const json_t *file = json_object_get(arguments, "warrant");
    struct site_warrant warrant;
    char by[WARRANT_BY_BYTES];
    int rc = admin_require_serving(s, e);
    if (rc == 0 && !json_is_string(file))
        rc = err_set(e, ERR_USAGE, "a warrant that two operators have signed is needed");
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MAJORITY, e);
    if (rc == 0)
        rc = warrants_open_again(s, bytes_of(json_string_value(file), json_string_length(file)),
                                 "restore-records", &warrant, &w.lsn, e);
    if (rc != 0)
        return rc;
    rc = check_facts(&warrant.says, e);
    warrants_names(&warrant, by, sizeof by);
    if (rc == 0 && w.lsn.v == 0) {
        rc = warrants_spend(s, &warrant, &w, e);
        if (rc == 0)
            service_audit(s, c, "restore-records", details_of(&warrant, by));
    }
    if (rc == 0)
        service_wait(c, LEVEL_MAJORITY, &w);
    warrants_close(&warrant);
    return rc != 0 ? rc : SERVICE_LATER;
}
