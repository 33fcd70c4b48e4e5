/* Operator's commands: to the cluster, to one site, to every site. */
#ifndef TOOLS_ADMIN_H
#define TOOLS_ADMIN_H

#include "tools/connect.h"

#include <jansson.h>

/* Send `command` with `arguments` (NULL: none; the reference is taken) over an open handle; *reply is a JSON object for the
 * caller to json_decref. */
int admin_call(struct tvn *db, const char *command, json_t *arguments, json_t **reply,
               struct err *e);
/* The same, answered by the primary and no other site. */
int admin_call_primary(struct tvn *db, const char *command, json_t *arguments, json_t **reply,
                       struct err *e);

/* What one endpoint says of itself: its answer to "status", or why there is none. */
struct view {
    char endpoint[128];
    json_t *status; /* NULL when it did not answer */
    struct err why;
};
enum { VIEWS_MAX = TVN_ENDPOINTS_MAX };
struct views {
    struct view v[VIEWS_MAX];
    size_t count;
};
/* Ask every endpoint on a connection of its own, all at the same time. 0 when at least one answered, otherwise the code of
 * the first. Release with views_free in any case. */
int views_collect(const struct common *c, struct views *out, struct err *e);
void views_free(struct views *v);

/* A connection to one site by name, found by asking every endpoint; NULL or "": the primary. */
int open_site(const struct common *c, const char *site, struct tvn **out, struct err *e);

/* Ask a site (NULL: the primary, or the only endpoint that is given) on a connection of its own. With -o json the answer is
 * printed as it is, and *reply is NULL. */
int admin_ask(struct invocation *in, const char *site, const char *command, json_t *arguments,
              json_t **reply, struct err *e);
/* The same for what changes something: with the term that the site shows now, a nonce and an expiry (R7). When the answer is
 * lost the same order is given once more, to the same site, which knows whether it has carried it out. */
int admin_order(struct invocation *in, const char *site, const char *command, json_t *arguments,
                json_t **reply, struct err *e);
/* The same, and nothing is printed. */
int admin_give(const struct common *c, const char *site, const char *command, json_t *arguments,
               json_t **reply, struct err *e);

/* The site of kind repository, by name, copied into out; and, where newest is not NULL, the newest transaction that any site
 * shows now: the archive may hear of it later than we do. ERR_NOT_FOUND: there is none. (cmd_seal.c) */
int archive_site(const struct common *c, char out[64], int64_t *newest, struct err *e);

/* Fields that may be missing or null. */
const char *json_text(const json_t *object, const char *name, const char *otherwise);
bool json_number(const json_t *object, const char *name, int64_t *out);
/* A number, a string or a boolean as text; "unknown" for null and missing. Returns out. */
const char *field_text(const json_t *object, const char *name, char *out, size_t room);
/* A time: member `name` as text or microseconds, or member "<name>_us". */
const char *time_text(const json_t *object, const char *name, char *out, size_t room);

#endif
