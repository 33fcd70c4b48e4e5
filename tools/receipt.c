/* Waiting for a receipt. The archive's site is asked again and again: it seals what waits, signs, has the other sites cosign, and
 * only then can prove. What it says it waits for is told when it changes. */
#include "tools/receipt.h"

#include "tools/admin.h"
#include "tools/files.h"
#include "tools/progress.h"
#include "tools/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECEIPT_POLL_MS = 200 };

static const char being_made[] =
    "it is being made"; /* what the site says to every first question */

int receipt_check(const char *file, struct err *e)
{
    struct stat st;
    if (file == NULL || lstat(file, &st) != 0)
        return 0;
    return err_set(e, ERR_EXISTS,
                   "--receipt %.200s: it is there already, and nothing is written over", file);
}

/* Once: 0 with the proof in *reply, or `why` told. ERR_NOT_READY: not yet. */
static int ask(struct tvn *db, uint64_t lsn, int64_t cosigners, json_t **reply, struct err *e)
{
    json_t *arguments = json_pack("{s:I}", "lsn", (json_int_t)lsn);
    if (cosigners >= 0)
        (void)json_object_set_new(arguments, "cosigners", json_integer(cosigners));
    int rc = admin_call(db, "receipt", arguments, reply, e);
    if (rc != 0 || strcmp(json_text(*reply, "state", ""), "ready") == 0)
        return rc;
    rc = err_set(e, ERR_NOT_READY, "%s", json_text(*reply, "why", "it is not there yet"));
    json_decref(*reply);
    *reply = NULL;
    return rc;
}

static bool is_passing(int rc)
{
    return rc == ERR_NOT_READY || rc == ERR_UNREACHABLE || rc == ERR_TIMEOUT || rc == ERR_BUSY;
}

static int wait_for(const struct common *c, uint64_t lsn, int64_t cosigners, uint64_t patience_ms,
                    json_t **reply, struct err *e)
{
    char site[64] = "";
    char told[ERR_TEXT_BYTES] = "";
    struct tvn *db = NULL;
    const uint64_t began = monotonic_ms();
    int rc;
    do {
        *e = (struct err)ERR_NONE;
        rc = site[0] != '\0' ? 0 : archive_site(c, site, NULL, e);
        if (rc == 0 && db == NULL)
            rc = open_site(c, site, &db, e);
        if (rc == 0)
            rc = ask(db, lsn, cosigners, reply, e);
        if (!is_passing(rc) || monotonic_ms() - began >= patience_ms)
            break;
        if (strcmp(e->text, being_made) != 0 && strcmp(told, e->text) != 0) {
            (void)snprintf(told, sizeof told, "%s", e->text);
            say("receipt of transaction %llu: %s", (unsigned long long)lsn, told);
        }
        (void)usleep(RECEIPT_POLL_MS * 1000);
    } while (is_passing(rc));
    if (rc == ERR_NOT_READY && told[0] != '\0') /* rather than that it is being made once more */
        (void)err_set(e, rc, "%s", told);
    (void)tvn_close(db);
    return rc;
}

int receipt_write(const struct common *c, uint64_t lsn, int64_t cosigners, const char *file,
                  uint64_t patience_ms, struct err *e)
{
    json_t *reply = NULL;
    int rc = wait_for(c, lsn, cosigners, patience_ms, &reply, e);
    if (rc == 0) {
        const char *proof = json_text(reply, "proof", "");
        rc = file_create(file, 0644, bytes_str(proof), e);
    }
    json_decref(reply);
    if (rc == 0) {
        say("receipt of transaction %llu: %s", (unsigned long long)lsn, file);
        return 0;
    }
    if (!is_passing(rc))
        return err_wrap(e, "receipt of transaction %llu", (unsigned long long)lsn);
    char why[ERR_TEXT_BYTES];
    (void)snprintf(why, sizeof why, "%s", e->text);
    return err_set(
        e, ERR_FAILED,
        "transaction %llu has no receipt yet: %.300s. What was committed stays committed; "
        "ask later: triveni receipt %llu --to %.100s",
        (unsigned long long)lsn, why, (unsigned long long)lsn, file);
}
