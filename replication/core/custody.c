/* Warrants read and folded, in the order of the log.
 *
 * INVARIANTS
 *   K1  Holds have different names; disposals reach further one after the other.
 *   K2  A hold ends by a release and by nothing else. */
#include "replication/core/custody.h"

#include "store/core/check.h"

#include <stdio.h>

static const char *const acts[] = {
    [CUSTODY_HOLD] = "archive-hold",
    [CUSTODY_RELEASE] = "archive-release",
    [CUSTODY_DISPOSE] = "archive-dispose",
};

const char *custody_act_name(enum custody_act act)
{
    return acts[act];
}

/* ---- reading ---- */

static int the_only(const struct warrant *w, const char *name, size_t max, bool needed,
                    struct bytes *out, struct err *e)
{
    *out = warrant_fact(w, name, 0);
    if (warrant_fact(w, name, 1).p != NULL || (needed && out->n == 0))
        return err_set(e, ERR_FORMAT, "warrant: it does not say '%s', or not once", name);
    if (out->n > max)
        return err_set(e, ERR_FORMAT, "warrant: '%s' has %zu bytes, at most %zu are allowed", name,
                       out->n, max);
    return 0;
}

static int read_hold(const struct warrant *w, struct custody_order *out, struct err *e)
{
    static const char *const names[] = {"name", "collection", "prefix", "key", "reason", NULL};
    int rc = warrant_only(w, names, e);
    if (rc == 0)
        rc = the_only(w, "collection", COLLECTION_MAX_BYTES, true, &out->collection, e);
    if (rc == 0)
        rc = the_only(w, "prefix", KEY_MAX_BYTES, false, &out->prefix, e);
    if (rc == 0)
        rc = the_only(w, "key", KEY_MAX_BYTES, false, &out->key, e);
    if (rc == 0 && out->prefix.n != 0 && out->key.n != 0)
        rc = err_set(e, ERR_FORMAT, "warrant: it says 'prefix' and 'key': one of them at most");
    return rc;
}

static int read_disposal(const struct warrant *w, struct custody_order *out, struct err *e)
{
    static const char *const names[] = {"before-lsn", "before-time", "takes", "reason", NULL};
    struct bytes time;
    int rc = warrant_only(w, names, e);
    if (rc == 0)
        rc = warrant_number(w, "before-lsn", &out->before.v, e);
    if (rc == 0)
        rc = the_only(w, "before-time", WARRANT_VALUE_MAX_BYTES, true, &time, e);
    if (rc == 0 && out->before.v == 0)
        rc = err_set(e, ERR_FORMAT, "warrant: nothing lies before lsn 0");
    return rc;
}

int custody_read(const struct warrant *w, struct custody_order *out, struct err *e)
{
    static const char *const of_release[] = {"name", "reason", NULL};
    int rc = 0;
    *out = (struct custody_order){.act = CUSTODY_HOLD};
    while (out->act <= CUSTODY_DISPOSE && !bytes_equal(w->act, bytes_str(acts[out->act])))
        out->act++;
    if (out->act > CUSTODY_DISPOSE)
        return err_set(e, ERR_NOT_FOUND, "the warrant orders nothing of the archive");
    if (out->act == CUSTODY_HOLD)
        rc = read_hold(w, out, e);
    else if (out->act == CUSTODY_RELEASE)
        rc = warrant_only(w, of_release, e);
    else
        rc = read_disposal(w, out, e);
    if (rc == 0 && out->act != CUSTODY_DISPOSE)
        rc = the_only(w, "name", CUSTODY_NAME_MAX_BYTES, true, &out->name, e);
    if (rc == 0)
        rc = the_only(w, "reason", CUSTODY_REASON_MAX_BYTES, true, &out->reason, e);
    return rc;
}

/* ---- folding ---- */

/* Where the hold of that name is, or would be. */
static uint32_t place_of(const struct custody *c, struct bytes name, bool *found)
{
    uint32_t i = 0;
    while (i < c->hold_count && bytes_compare(bytes_str(c->holds[i].name), name) < 0)
        i++;
    *found = i < c->hold_count && bytes_equal(bytes_str(c->holds[i].name), name);
    return i;
}

int custody_admit(const struct custody *c, const struct custody_order *o, struct err *e)
{
    bool found = false;
    (void)place_of(c, o->name, &found);
    const int n = (int)o->name.n;
    const char *name = (const char *)o->name.p;
    switch (o->act) {
    case CUSTODY_HOLD:
        if (found)
            return err_set(e, ERR_EXISTS,
                           "a hold '%.*s' is in force: give this one another name, or release that "
                           "one ('triveni archive holds' shows them)",
                           n, name);
        return c->hold_count < CUSTODY_HOLDS_MAX
                   ? 0
                   : err_set(e, ERR_LIMIT,
                             "%d holds are in force, and no more are kept: release one, or hold by "
                             "a shorter prefix",
                             CUSTODY_HOLDS_MAX);
    case CUSTODY_RELEASE:
        return found ? 0
                     : err_set(e, ERR_NOT_FOUND,
                               "no hold '%.*s' is in force: 'triveni archive holds' shows them", n,
                               name);
    case CUSTODY_DISPOSE:
        break;
    }
    const struct custody_disposal *last =
        c->disposal_count == 0 ? NULL : &c->disposals[c->disposal_count - 1];
    return last == NULL || o->before.v > last->before.v
               ? 0
               : err_set(e, ERR_EXISTS,
                         "a disposal before lsn %llu is in force, which takes all of it: 'triveni "
                         "archive holds' shows what it waits for",
                         (unsigned long long)last->before.v);
}

static void keep(char *out, size_t room, struct bytes b)
{
    check(b.n < room);
    if (b.n != 0)
        memcpy(out, b.p, b.n);
    out[b.n] = '\0';
}

static void add_hold(struct custody *c, const struct custody_order *o,
                     const struct custody_logged *by)
{
    bool found;
    const uint32_t at = place_of(c, o->name, &found);
    memmove(&c->holds[at + 1], &c->holds[at], (c->hold_count - at) * sizeof c->holds[0]);
    c->hold_count++;
    struct custody_hold *h = &c->holds[at];
    *h = (struct custody_hold){.is_prefix = o->key.n == 0, .by = *by};
    keep(h->name, sizeof h->name, o->name);
    keep(h->reason, sizeof h->reason, o->reason);
    keep(h->collection, sizeof h->collection, o->collection);
    keep(h->key, sizeof h->key, o->key.n != 0 ? o->key : o->prefix);
}

static void add_disposal(struct custody *c, const struct custody_order *o,
                         const struct custody_logged *by)
{
    if (c->disposal_count == CUSTODY_DISPOSALS_MAX)
        memmove(&c->disposals[0], &c->disposals[1], --c->disposal_count * sizeof c->disposals[0]);
    struct custody_disposal *d = &c->disposals[c->disposal_count++];
    *d = (struct custody_disposal){.before = o->before, .by = *by};
    keep(d->reason, sizeof d->reason, o->reason);
}

bool custody_apply(struct custody *c, const struct custody_order *o,
                   const struct custody_logged *by, struct custody_logged *ended)
{
    bool found;
    if (custody_admit(c, o, NULL) != 0) /* K1 */
        return false;
    const uint32_t at = place_of(c, o->name, &found);
    switch (o->act) {
    case CUSTODY_HOLD:
        add_hold(c, o, by);
        break;
    case CUSTODY_RELEASE: /* K2 */
        *ended = c->holds[at].by;
        c->hold_count--;
        memmove(&c->holds[at], &c->holds[at + 1], (c->hold_count - at) * sizeof c->holds[0]);
        break;
    case CUSTODY_DISPOSE:
        add_disposal(c, o, by);
        break;
    }
    return true;
}
