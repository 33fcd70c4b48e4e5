/* What an operator decides about a divergence bundle goes into the audit trail, which is replicated and archived (P4, P12):
 * that it is being applied, that it was, or that it was discarded and why. The bundle itself is known to the site that wrote it
 * alone; name, checksum and counts say which it was. */
#include "replication/bundle.h"
#include "replication/service.h"

enum { REASON_MAX_BYTES = 512, DETAILS_MAX_BYTES = 1024 };

static bool is_one_of(const char *text, const char *const *all)
{
    for (; text != NULL && *all != NULL; all++)
        if (strcmp(text, *all) == 0)
            return true;
    return false;
}

static int check_arguments(json_t *a, struct err *e)
{
    static const char *const decisions[] = {"apply", "applied", "discard", NULL};
    const char *decision = json_string_value(json_object_get(a, "decision"));
    const char *bundle = json_string_value(json_object_get(a, "bundle"));
    const char *site = json_string_value(json_object_get(a, "site"));
    const char *sum = json_string_value(json_object_get(a, "sha256"));
    const char *reason = json_string_value(json_object_get(a, "reason"));
    if (!is_one_of(decision, decisions))
        return err_set(e, ERR_USAGE, "decision must be apply, applied or discard");
    if (bundle == NULL || !bundle_is_name(bundle) || site == NULL || site[0] == '\0' ||
        strlen(site) > SITE_NAME_MAX_BYTES || sum == NULL || strlen(sum) != 64)
        return err_set(e, ERR_USAGE, "bundle, site and sha256 must say which bundle it is");
    if (strcmp(decision, "discard") == 0 && (reason == NULL || reason[0] == '\0'))
        return err_set(e, ERR_USAGE, "who discards a bundle gives a reason");
    if (reason != NULL && strlen(reason) > REASON_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "a reason of %zu bytes: at most %d are allowed",
                       strlen(reason), REASON_MAX_BYTES);
    return 0;
}

/* Only what is known goes into the history. */
static char *details_of(json_t *a)
{
    static const char *const names[] = {"bundle",  "site",    "sha256",     "reason",
                                        "first",   "last",    "operations", "acknowledged",
                                        "applied", "refused", "left"};
    json_t *details = json_object();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *v = json_object_get(a, names[i]);
        if (json_is_string(v) || json_is_integer(v))
            (void)json_object_set(details, names[i], v);
    }
    char *text = json_dumps(details, JSON_COMPACT);
    json_decref(details);
    return text;
}

int admin_divergence(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                     struct err *e)
{
    struct waiter w = {.client = c, .request = request, .type = FRAME_ADMIN};
    char act[32];
    int rc = admin_require_serving(s, e);
    if (rc == 0)
        rc = check_arguments(arguments, e);
    if (rc == 0)
        rc = service_room_to_wait(c, LEVEL_MAJORITY, e);
    if (rc != 0)
        return rc;
    char *details = details_of(arguments);
    if (details == NULL || strlen(details) >= DETAILS_MAX_BYTES) {
        free(details);
        return err_set(e, ERR_LIMIT, "the decision takes more than %d bytes: shorten the reason",
                       DETAILS_MAX_BYTES);
    }
    (void)snprintf(act, sizeof act, "divergence-%s",
                   json_string_value(json_object_get(arguments, "decision")));
    rc = service_propose_audit(s, c, act, details, &w, e);
    if (rc == 0) {
        events_add(s->events, "operator %s: %s %s", c->name, act, details);
        service_wait(c, LEVEL_MAJORITY, &w);
    }
    free(details);
    return rc != 0 ? rc : SERVICE_LATER;
}
