/* Which keys a proof is checked with, and whether enough cosigners are among those who signed.
 *
 * A cosigner's key is used for nothing else than its cosignature. One that is given and did not sign fails the check, unless
 * --require says that it need not have: so nobody is led to believe in a witness that was silent. A signature of a key that was
 * given must hold, even where it is not required; those of other keys are passed over (C2SP signed-note). */
#include "tools/verifier_keys.h"

#include "repository/proof.h"
#include "tools/files.h"
#include "tools/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS_FILE_MAX_BYTES = 16 << 10 };

/* Of the archive's log of operations, whose leaves are no entries: it lies beside the others, and proves nothing here. */
static bool of_operations(const struct tlog_key *key)
{
    static const char ending[] = "/operations";
    size_t n = strlen(key->name);
    return key->type == TLOG_KEY_LOG && n >= sizeof ending - 1 &&
           strcmp(key->name + n - (sizeof ending - 1), ending) == 0;
}

static int add_key(const struct tlog_key *key, bool *has_log, struct verifier_keys *out,
                   struct err *e)
{
    if (of_operations(key))
        return 0;
    if (key->type == TLOG_KEY_LOG && *has_log)
        return err_set(e, ERR_USAGE, "--key: two keys of logs, %s and %s; one is needed",
                       out->log.name, key->name);
    if (key->type == TLOG_KEY_LOG) {
        out->log = *key;
        *has_log = true;
        return 0;
    }
    if (out->n == COSIGNERS_MAX)
        return err_set(e, ERR_USAGE, "--key: at most %d keys of cosigners are taken",
                       COSIGNERS_MAX);
    out->cosigner[out->n++].key = *key;
    return 0;
}

static int add_file(const char *path, bool *has_log, struct verifier_keys *out, struct err *e)
{
    struct tlog_key key;
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = file_read(path, KEYS_FILE_MAX_BYTES, &text, &n, e);
    if (rc != 0)
        return err_set(e, ERR_USAGE,
                       "--key %.200s: neither a verifier key nor a file that can be read", path);
    for (size_t at = 0; rc == 0 && at < n;) {
        const uint8_t *end = memchr(text + at, '\n', n - at);
        size_t line = end == NULL ? n - at : (size_t)(end - (text + at));
        if (line != 0 && tlog_key_parse(bytes_of(text + at, line), &key, e) != 0) {
            err_wrap(e, "--key %s", path);
            rc = e->code = ERR_USAGE;
        } else if (line != 0) {
            rc = add_key(&key, has_log, out, e);
        }
        at += line + 1;
    }
    free(text);
    return rc;
}

static bool is_called(const struct tlog_key *key, const char *name, size_t n)
{
    const char *last = strrchr(key->name, '/');
    const char *const names[] = {key->name, last == NULL ? key->name : last + 1};
    for (size_t i = 0; i < 2; i++)
        if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0)
            return true;
    return false;
}

static int read_rule(const char *require, struct verifier_keys *k, struct cosigner_rule *rule,
                     struct err *e)
{
    rule->enough = 0;
    for (size_t i = 0; i < k->n; i++)
        k->cosigner[i].required = require == NULL;
    if (require == NULL)
        return 0;
    if (require[0] >= '0' && require[0] <= '9') {
        int rc = parse_number("--require", require, k->n, &rule->enough, e);
        return rc == 0 ? 0 : err_wrap(e, "keys of %zu cosigners were given", k->n);
    }
    for (const char *at = require; *at != '\0';) {
        size_t n = strcspn(at, ",");
        bool found = false;
        for (size_t i = 0; i < k->n; i++)
            if (is_called(&k->cosigner[i].key, at, n))
                found = k->cosigner[i].required = true;
        if (!found)
            return err_set(e, ERR_USAGE, "--require %.*s: no key of that cosigner was given",
                           (int)(n < 200 ? n : 200), at);
        at += n + (at[n] == ',');
    }
    return 0;
}

int verifier_keys_load(const struct option_list *given, const char *require,
                       struct verifier_keys *out, struct cosigner_rule *rule, struct err *e)
{
    struct tlog_key key;
    bool has_log = false;
    int rc = 0;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; rc == 0 && i < given->count; i++)
        rc = tlog_key_parse(bytes_str(given->v[i]), &key, NULL) == 0
                 ? add_key(&key, &has_log, out, e)
                 : add_file(given->v[i], &has_log, out, e);
    if (rc == 0 && given->count == 0)
        rc = err_set(e, ERR_USAGE, "--key is needed");
    if (rc == 0 && !has_log)
        rc = err_set(e, ERR_USAGE, "--key: only keys of cosigners; the log's is needed");
    return rc == 0 ? read_rule(require, out, rule, e) : rc;
}

int verifier_keys_check(struct verifier_keys *k, const struct cosigner_rule *rule,
                        struct bytes note, struct err *e)
{
    size_t signers = 0;
    for (size_t i = 0; i < k->n; i++) {
        int rc = tree_cosigned(note, &k->cosigner[i].key, &k->cosigner[i].time_s, e);
        if (rc == ERR_NOT_FOUND && k->cosigner[i].required)
            return err_set(e, ERR_INTEGRITY, "not cosigned by %s (key id %08x)",
                           k->cosigner[i].key.name, k->cosigner[i].key.id);
        if (rc != 0 && rc != ERR_NOT_FOUND)
            return rc;
        k->cosigner[i].signed_it = rc == 0;
        signers += rc == 0;
    }
    if (signers < rule->enough)
        return err_set(e, ERR_INTEGRITY, "%zu cosigners signed, %llu are required", signers,
                       (unsigned long long)rule->enough);
    return 0;
}

void verifier_keys_print(const struct verifier_keys *k, const char *what)
{
    char time[UTC_TEXT_BYTES];
    if (k->n == 0)
        (void)printf("%scosigned: not looked at: no key of a cosigner was given\n", what);
    for (size_t i = 0; i < k->n; i++)
        (void)printf("%scosigned: %s %s%s%s\n", what, k->cosigner[i].signed_it ? "by" : "NOT by",
                     k->cosigner[i].key.name, k->cosigner[i].signed_it ? " at " : "",
                     k->cosigner[i].signed_it
                         ? utc_text((struct utc){k->cosigner[i].time_s * 1000000}, time)
                         : "");
}

json_t *verifier_keys_json(const struct verifier_keys *k)
{
    char time[UTC_TEXT_BYTES];
    json_t *list = json_array();
    for (size_t i = 0; i < k->n; i++)
        if (k->cosigner[i].signed_it)
            json_array_append_new(
                list, json_pack("{s:s, s:s}", "name", k->cosigner[i].key.name, "time",
                                utc_text((struct utc){k->cosigner[i].time_s * 1000000}, time)));
    return list;
}
