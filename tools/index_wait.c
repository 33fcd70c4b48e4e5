#include "tools/index_wait.h"

#include "tools/admin.h"

#include <string.h>

/* A site's list may be a moment behind what it has acknowledged: duplicates are believed when they stay. */
enum { LOOKS_TO_BELIEVE = 5 };

uint64_t index_count(const json_t *x, const char *name)
{
    int64_t n = 0;
    return json_number(x, name, &n) && n > 0 ? (uint64_t)n : 0;
}

/* The index, but for one that is on its way out; NULL. */
static const json_t *find(const json_t *reply, const char *name)
{
    size_t i;
    const json_t *x;
    json_array_foreach(json_object_get(reply, "indexes"), i, x)
    {
        if (strcmp(json_text(x, "name", ""), name) == 0 &&
            strcmp(json_text(x, "status", ""), "dropping") != 0)
            return x;
    }
    return NULL;
}

static int duplicates(const json_t *x, struct err *e)
{
    const json_t *two = json_object_get(x, "example");
    const char *a = json_string_value(json_array_get(two, 0)),
               *b = json_string_value(json_array_get(two, 1));
    const unsigned long long n = index_count(x, "duplicates");
    const char *have = n == 1 ? "record has" : "records have";
    if (a == NULL || b == NULL)
        return err_set(e, ERR_UNIQUE,
                       "it is built, but %llu %s a value that another has already: until "
                       "they are changed it is not enforced",
                       n, have);
    return err_set(e, ERR_UNIQUE,
                   "it is built, but %llu %s a value that another has already, as '%.100s' "
                   "and '%.100s': until they are changed it is not enforced, then it is by itself",
                   n, have, a, b);
}

int index_wait_look(struct index_wait *w, const json_t *reply, struct err *e)
{
    if (index_count(reply, "lsn") < w->lsn)
        return 0;
    const json_t *x = find(reply, w->name);
    if (x == NULL || (w->unique && !json_is_true(json_object_get(x, "unique"))))
        return err_set(e, ERR_NOT_FOUND, "index '%.64s' was dropped%s while it was waited for",
                       w->name, x == NULL ? "" : " and declared anew, not as unique,");
    const char *status = json_text(x, "status", "");
    w->passed = index_count(x, "passed");
    w->records = index_count(x, "records");
    if (strcmp(status, "invalid") == 0)
        return err_set(e, ERR_FAILED, "the site cannot keep it: %s",
                       json_text(x, "why", "unknown"));
    if (strcmp(status, "ready") != 0)
        return 0;
    if (!w->unique || json_is_true(json_object_get(x, "enforced")))
        return 1;
    w->twins = index_count(x, "duplicates") == 0 ? 0 : w->twins + 1;
    return w->twins < LOOKS_TO_BELIEVE ? 0 : duplicates(x, e);
}
