/* The keys that a stranger verifies with: one of the log, and those of its cosigners, as many as he has. */
#ifndef TOOLS_VERIFIER_KEYS_H
#define TOOLS_VERIFIER_KEYS_H

#include "repository/core/tlog_text.h"
#include "store/core/err.h"
#include "tools/options.h"

#include <jansson.h>

enum { COSIGNERS_MAX = 16 };

struct verifier_keys {
    struct tlog_key log;
    size_t n;
    struct {
        struct tlog_key key;
        bool required;
        bool signed_it;  /* after verifier_keys_check() */
        uint64_t time_s; /* when, as it says itself */
    } cosigner[COSIGNERS_MAX];
};

/* Each of the list is a verifier key, or a file with one a line. Exactly one must be a log's. `require`: names of cosigners
 * separated by commas (whole, or what stands behind the last '/'), or how many are enough; NULL: all whose keys were
 * given. ERR_USAGE. */
struct cosigner_rule {
    uint64_t enough; /* of any; 0: those that are required */
};
int verifier_keys_load(const struct option_list *given, const char *require,
                       struct verifier_keys *out, struct cosigner_rule *rule, struct err *e);
/* Who of them cosigned the note? ERR_INTEGRITY when a signature does not hold, or the rule is not met. */
int verifier_keys_check(struct verifier_keys *k, const struct cosigner_rule *rule,
                        struct bytes note, struct err *e);
/* For people, a line each, which begins with `what` ("", or "operations log "); and as JSON, an array of name and time. */
void verifier_keys_print(const struct verifier_keys *k, const char *what);
json_t *verifier_keys_json(const struct verifier_keys *k);

#endif
