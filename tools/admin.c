/* Asking sites. Every endpoint is asked on a thread and a handle of its own, because a handle with several endpoints would
 * move from a dead site to a living one, and here it is the dead one that is of interest. */
#include "tools/admin.h"

#include "tools/text.h"

#include "store/core/hex.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int admin_call(struct tvn *db, const char *command, json_t *arguments, json_t **reply,
               struct err *e)
{
    *reply = NULL;
    if (arguments == NULL)
        arguments = json_object();
    char *text = json_dumps(arguments, JSON_COMPACT);
    char *answer = NULL;
    struct tvn_error error;
    int rc = 0;
    if (text == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory");
    else if (tvn_admin(db, command, text, 0, &answer, &error) != 0)
        rc = from_client(&error, e);
    json_decref(arguments);
    free(text);
    if (rc != 0)
        return rc;
    json_error_t why;
    *reply = json_loads(answer, 0, &why);
    tvn_free(answer);
    if (json_is_object(*reply))
        return 0;
    json_decref(*reply);
    *reply = NULL;
    return err_set(e, ERR_FORMAT, "the answer to '%s' is not a JSON object: %s", command, why.text);
}

int admin_call_primary(struct tvn *db, const char *command, json_t *arguments, json_t **reply,
                       struct err *e)
{
    if (arguments == NULL)
        arguments = json_object();
    (void)json_object_set_new(arguments, "primary", json_true());
    return admin_call(db, command, arguments, reply, e);
}

/* ---- every endpoint ---- */

enum { VIEW_TIMEOUT_MS = 3000 };

struct asking {
    struct view *view;
    struct tvn_options options;
};

static void *ask(void *arg)
{
    struct asking *a = arg;
    struct tvn *db = NULL;
    struct tvn_error error;
    a->options.endpoints = a->view->endpoint;
    a->options.target = TVN_TARGET_NEAREST;
    if (tvn_open(NULL, &a->options, &db, &error) != 0)
        (void)from_client(&error, &a->view->why);
    else
        (void)admin_call(db, "status", NULL, &a->view->status, &a->view->why);
    (void)tvn_close(db);
    return NULL;
}

static int split_endpoints(const char *text, struct views *out, struct err *e)
{
    while (*text != '\0') {
        size_t n = strcspn(text, ",");
        if (out->count == VIEWS_MAX)
            return err_set(e, ERR_USAGE, "more than %d endpoints", VIEWS_MAX);
        if (n == 0 || n >= sizeof out->v[0].endpoint)
            return err_set(e, ERR_USAGE, "--endpoints: '%.60s' is not host:port,...", text);
        memcpy(out->v[out->count].endpoint, text, n);
        out->count++;
        text += n + (text[n] == ',');
    }
    return 0;
}

int views_collect(const struct common *c, struct views *out, struct err *e)
{
    *out = (struct views){.count = 0};
    struct asking asking[VIEWS_MAX];
    pthread_t threads[VIEWS_MAX];
    size_t started = 0;
    struct profile *profile = NULL;
    struct tvn_options options;
    int rc = connect_options(c, &options, &profile, e);
    if (rc == 0)
        rc = split_endpoints(options.endpoints, out, e);
    if (options.timeout_ms > VIEW_TIMEOUT_MS && !c->timeout.given)
        options.timeout_ms =
            VIEW_TIMEOUT_MS; /* a dead site should not hold up the view of the living */
    while (rc == 0 && started < out->count) {
        asking[started] = (struct asking){&out->v[started], options};
        if (pthread_create(&threads[started], NULL, ask, &asking[started]) != 0)
            rc = err_set(e, ERR_NO_MEMORY, "no thread could be started");
        else
            started++;
    }
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    profile_free(profile);
    for (size_t i = 0; i < out->count && rc == 0; i++)
        if (out->v[i].status != NULL)
            return 0;
    return rc != 0 ? rc
                   : err_set(e, out->v[0].why.code, "no endpoint answered; %s: %.350s",
                             out->v[0].endpoint, out->v[0].why.text);
}

void views_free(struct views *v)
{
    for (size_t i = 0; i < v->count; i++)
        json_decref(v->v[i].status);
    v->count = 0;
}

int open_site(const struct common *c, const char *site, struct tvn **out, struct err *e)
{
    *out = NULL;
    if (site == NULL || site[0] == '\0')
        return connect_open(c, out, e);
    struct views views;
    int rc = views_collect(c, &views, e);
    const struct view *found = NULL;
    for (size_t i = 0; i < views.count && rc == 0; i++)
        if (views.v[i].status != NULL &&
            strcmp(json_text(views.v[i].status, "site", ""), site) == 0)
            found = &views.v[i];
    if (rc == 0 && found == NULL)
        rc = err_set(
            e, ERR_UNREACHABLE,
            "none of the endpoints that answer is site '%.40s': 'triveni status' shows them", site);
    struct profile *profile = NULL;
    struct tvn_options options;
    if (rc == 0)
        rc = connect_options(c, &options, &profile, e);
    struct tvn_error error;
    if (rc == 0) {
        options.endpoints = found->endpoint;
        options.target = TVN_TARGET_NEAREST;
        if (tvn_open(NULL, &options, out, &error) != 0)
            rc = from_client(&error, e);
    }
    profile_free(profile);
    views_free(&views);
    return rc;
}

/* What an order carries (R7): the term and the time that the site shows now, and a nonce. */
static int seal_order(struct tvn *db, json_t *arguments, char site[64], struct err *e)
{
    enum { ORDER_SECONDS = 60 };
    uint8_t random[16];
    char nonce[2 * sizeof random + 1];
    int64_t term, time;
    json_t *status;
    int rc = admin_call(db, "status", NULL, &status, e);
    if (rc != 0)
        return rc;
    (void)snprintf(site, 64, "%.63s", json_text(status, "site", ""));
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        rc = err_set(e, ERR_FAILED, "the random number generator failed");
    else if (!json_number(status, "term", &term) || !json_number(status, "time_us", &time))
        rc = err_set(e, ERR_FORMAT,
                     "the status of site %s tells no term or no time_us: is it of "
                     "another version than this program?",
                     site);
    json_decref(status);
    if (rc != 0)
        return rc;
    hex_format(random, sizeof random, nonce);
    (void)json_object_set_new(arguments, "term", json_integer(term));
    (void)json_object_set_new(arguments, "nonce", json_string(nonce));
    (void)json_object_set_new(arguments, "expires_us",
                              json_integer(time + ORDER_SECONDS * INT64_C(1000000)));
    return 0;
}

int admin_give(const struct common *c, const char *site, const char *command, json_t *arguments,
               json_t **reply, struct err *e)
{
    struct tvn *db = NULL;
    char asked[64];
    *reply = NULL;
    int rc = open_site(c, site, &db, e);
    if (rc == 0)
        rc = seal_order(db, arguments, asked, e);
    if (rc == 0)
        rc = admin_call(db, command, json_incref(arguments), reply, e);
    (void)tvn_close(db);
    db = NULL;
    if (rc == ERR_OUTCOME_UNKNOWN) { /* its answer was lost: the same order to the same site */
        struct err again = ERR_NONE;
        if (open_site(c, asked, &db, &again) == 0 &&
            admin_call(db, command, json_incref(arguments), reply, &again) == 0)
            rc = 0;
        (void)tvn_close(db);
    }
    json_decref(arguments);
    return rc;
}

int admin_order(struct invocation *in, const char *site, const char *command, json_t *arguments,
                json_t **reply, struct err *e)
{
    const struct common *c = in->options;
    int rc = admin_give(c, site, command, arguments, reply, e);
    if (rc == 0 && c->format == OUTPUT_JSON) {
        output_json(*reply);
        *reply = NULL;
    }
    return rc;
}

/* Who names a single endpoint means that site, whatever it is. */
static bool names_one_site(const struct common *c)
{
    struct profile *profile = NULL;
    struct tvn_options options;
    const bool one =
        connect_options(c, &options, &profile, NULL) == 0 && strchr(options.endpoints, ',') == NULL;
    profile_free(profile);
    return one;
}

int admin_ask(struct invocation *in, const char *site, const char *command, json_t *arguments,
              json_t **reply, struct err *e)
{
    const struct common *c = in->options;
    struct tvn *db = NULL;
    *reply = NULL;
    int rc = open_site(c, site, &db, e);
    if (rc != 0)
        json_decref(arguments);
    else if ((site == NULL || site[0] == '\0') && !names_one_site(c))
        rc = admin_call_primary(db, command, arguments, reply, e);
    else
        rc = admin_call(db, command, arguments, reply, e);
    (void)tvn_close(db);
    if (rc == 0 && c->format == OUTPUT_JSON) {
        output_json(*reply);
        *reply = NULL;
    }
    return rc;
}

/* ---- fields ---- */

const char *json_text(const json_t *object, const char *name, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : otherwise;
}

bool json_number(const json_t *object, const char *name, int64_t *out)
{
    const json_t *v = json_object_get(object, name);
    if (json_is_real(v))
        *out = (int64_t)json_real_value(v);
    else if (json_is_integer(v))
        *out = json_integer_value(v);
    else
        return false;
    return true;
}

const char *field_text(const json_t *object, const char *name, char *out, size_t room)
{
    const json_t *v = json_object_get(object, name);
    if (json_is_string(v))
        (void)snprintf(out, room, "%s", json_string_value(v));
    else if (json_is_integer(v))
        (void)snprintf(out, room, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v))
        (void)snprintf(out, room, "%.3f", json_real_value(v));
    else if (json_is_boolean(v))
        (void)snprintf(out, room, "%s", json_is_true(v) ? "yes" : "no");
    else
        (void)snprintf(out, room, "unknown");
    return out;
}

const char *time_text(const json_t *object, const char *name, char *out, size_t room)
{
    char in_us[32];
    char time[UTC_TEXT_BYTES];
    (void)snprintf(in_us, sizeof in_us, "%s_us", name);
    const json_t *v = json_object_get(object, in_us);
    if (v == NULL)
        v = json_object_get(object, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return field_text(object, name, out, room);
    (void)snprintf(out, room, "%s", utc_text((struct utc){(uint64_t)json_integer_value(v)}, time));
    return out;
}
