#include "tools/replace.h"

#include "replication/core/repl.h"
#include "tools/admin.h"

#include <string.h>

static const json_t *row_of(const json_t *rows, const char *name)
{
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (strcmp(json_text(row, "name", ""), name) == 0)
            return row;
    }
    return NULL;
}

static bool votes(const json_t *member)
{
    return json_is_true(json_object_get(member, "votes"));
}

static unsigned voters_of(const json_t *members)
{
    size_t i;
    const json_t *m;
    unsigned n = 0;
    json_array_foreach(members, i, m)
    {
        n += votes(m);
    }
    return n;
}

static enum replace_step __attribute__((format(printf, 2, 3)))
wait_because(struct replace *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(r->why, sizeof r->why, fmt, ap);
    va_end(ap);
    return REPLACE_WAIT;
}

static uint64_t number_of(const json_t *o, const char *name)
{
    int64_t n = 0;
    return json_number(o, name, &n) && n > 0 ? (uint64_t)n : 0;
}

/* Is the new site there, and has it caught up? Then `next`. */
static enum replace_step when_it_has_caught_up(struct replace *r, const json_t *status,
                                               enum replace_step next)
{
    const json_t *sites = json_object_get(status, "sites");
    const char *primary = json_text(status, "site", "the primary");
    const json_t *row = row_of(sites, r->comes);
    r->last = number_of(row_of(sites, primary), "last");
    r->durable = number_of(row, "durable");
    if (strcmp(primary, r->comes) == 0)
        return next;
    if (!json_is_true(json_object_get(row, "up")))
        return wait_because(r, "%.40s has no link to %.40s: is it started?", primary, r->comes);
    if (json_is_true(json_object_get(row, "needs_refill")))
        return wait_because(r, "%.40s refills from the archive", r->comes);
    if (r->durable == 0 || r->last == 0)
        return wait_because(r, "%.40s has not acknowledged anything yet", r->comes);
    if (r->last > r->durable + REPL_HANDOVER_LAG_MAX)
        return wait_because(r, "%.40s is %llu transactions behind", r->comes,
                            (unsigned long long)(r->last - r->durable));
    return next;
}

/* Both vote. Was one of them given its vote for the other, or have both voted all the time? After a replacement as many vote as
 * before it, and that is hardly ever an even number; if it is, the operator says himself that one is to go. */
static int may_remove(const struct replace *r, unsigned voters, struct err *e)
{
    if (r->promoted || (voters >= 4 && voters % 2 == 0))
        return 0;
    return err_set(e, ERR_CONDITION,
                   "%.40s and %.40s both vote, as %u sites do, and %u would be left: if %.40s is "
                   "to go and not to be "
                   "replaced, 'triveni member remove %.40s' takes it from the list",
                   r->leaves, r->comes, voters, voters - 1, r->leaves, r->leaves);
}

static int without_the_old_one(const struct replace *r, const json_t *comes, enum replace_step *out,
                               struct err *e)
{
    *out = REPLACE_DONE;
    if (comes == NULL)
        return err_set(e, ERR_NOT_FOUND,
                       "no member is called '%.40s': 'triveni member list' shows them", r->leaves);
    if (!votes(comes))
        return err_set(e, ERR_NOT_FOUND,
                       "no member is called '%.40s', and %.40s is one without a vote: 'triveni "
                       "member promote %.40s' gives it one",
                       r->leaves, r->comes, r->comes);
    return 0;
}

int replace_look(struct replace *r, const json_t *list, const json_t *status,
                 enum replace_step *out, struct err *e)
{
    const json_t *members = json_object_get(list, "members");
    const json_t *leaves = row_of(members, r->leaves), *comes = row_of(members, r->comes);
    r->why[0] = '\0';
    if (strcmp(r->leaves, r->comes) == 0)
        return err_set(e, ERR_CONDITION,
                       "a site is not replaced by itself: one that keeps its name is brought back "
                       "with 'triveni init --rebuilt'");
    if (!json_is_true(json_object_get(list, "committed"))) {
        *out = wait_because(r, "the change before is not committed yet");
        return 0;
    }
    if (leaves == NULL)
        return without_the_old_one(r, comes, out, e);
    r->kind = json_text(leaves, "kind", "data");
    if (comes == NULL) {
        *out = REPLACE_ADD;
        return 0;
    }
    if (strcmp(json_text(comes, "kind", ""), r->kind) != 0)
        return err_set(e, ERR_CONDITION,
                       "%.40s is a %s site and %.40s a %s one: neither takes the other's place",
                       r->leaves, r->kind, r->comes, json_text(comes, "kind", "unknown"));
    if (votes(leaves) && !votes(comes)) {
        *out = when_it_has_caught_up(r, status, REPLACE_PROMOTE);
        return 0;
    }
    int rc = votes(leaves) ? may_remove(r, voters_of(members), e) : 0;
    if (rc == 0)
        *out = when_it_has_caught_up(r, status,
                                     strcmp(json_text(status, "site", ""), r->leaves) == 0
                                         ? REPLACE_HAND_OVER
                                         : REPLACE_REMOVE);
    return rc;
}
