/* An order of two operators that this site goes on alone (triveni failover --solo): is it about this site as it is now?
 *
 * The signatures are looked at by warrants.c, what may be by the core (replication/core/repl_solo.c); here the facts of the
 * warrant are compared with what this site is and has. Facts of the warrant, all that it may say:
 *   site       that goes on
 *   term       in which: the new one
 *   last-lsn, last-term, last-hash    where its log ends
 *   lost       each other site that votes, or was declared lost before
 *   forecast, means    what the operators have read: what may be lost, and what they have to see to
 *
 * The first entry of the new term is the list of members and names both operators; the warrant itself is logged next, as used. A
 * crash between the two leaves the warrant unlogged and useless: the log does not end any more where it says. */
#include "replication/service.h"

#include "store/core/hex.h"

static bool named(const struct warrant *w, const char *name)
{
    struct bytes lost;
    for (uint32_t i = 0; (lost = warrant_fact(w, "lost", i)).p != NULL; i++)
        if (bytes_equal(lost, bytes_str(name)))
            return true;
    return false;
}

/* Are they just the sites that have to be lost? */
static int check_lost(const struct site *s, const struct warrant *w, struct err *e)
{
    const struct repl_members *m = &s->view.list.members;
    uint32_t expected = 0, n = 0;
    for (uint8_t i = 0; i < s->config->member_count; i++) {
        const char *name = s->config->members[i].name;
        if (i == s->config->self || ((m->voters | m->lost) >> i & 1) == 0)
            continue;
        expected++;
        if (!named(w, name))
            return err_set(e, ERR_CONDITION,
                           "the warrant does not declare %s lost, which votes here: see 'triveni "
                           "member list', and make a new one",
                           name);
    }
    while (warrant_fact(w, "lost", n).p != NULL)
        n++;
    return n == expected && expected > 0
               ? 0
               : err_set(e, ERR_CONDITION,
                         "the warrant declares %u sites lost, %u others vote here", n, expected);
}

/* The facts as an event for the core, which compares the position. */
static int read_facts(const struct site *s, const struct warrant *w, struct repl_event *order,
                      struct err *e)
{
    static const char *const names[] = {"site", "term",     "last-lsn", "last-term", "last-hash",
                                        "lost", "forecast", "means",    NULL};
    const char *self = s->config->members[s->config->self].name;
    struct bytes site = warrant_fact(w, "site", 0), hash = warrant_fact(w, "last-hash", 0);
    char hex[2 * sizeof order->position.hash.b + 1] = "";
    int rc = warrant_only(w, names, e);
    if (rc == 0 && (!bytes_equal(site, bytes_str(self)) || warrant_fact(w, "site", 1).p != NULL))
        rc = err_set(e, ERR_CONDITION, "the warrant is for site '%.*s', this is %s", (int)site.n,
                     (const char *)site.p, self);
    if (rc == 0)
        rc = warrant_number(w, "term", &order->term.v, e);
    if (rc == 0)
        rc = warrant_number(w, "last-lsn", &order->position.lsn.v, e);
    if (rc == 0)
        rc = warrant_number(w, "last-term", &order->position.term.v, e);
    if (rc != 0)
        return rc;
    if (hash.n != sizeof hex - 1)
        return err_set(e, ERR_FORMAT, "warrant: 'last-hash' is no hash");
    memcpy(hex, hash.p, hash.n);
    if (hex_parse(hex, order->position.hash.b, sizeof order->position.hash.b) != 0)
        return err_set(e, ERR_FORMAT, "warrant: 'last-hash' is no hash");
    return check_lost(s, w, e);
}

static int may_be_ordered(struct site *s, struct err *e)
{
    const struct site_member *self = &s->config->members[s->config->self];
    if (admin_may_fail_over(s, e) != 0)
        return e->code;
    if (isolation_cuts(s, ISOLATE_SITES))
        return err_set(
            e, ERR_CONDITION,
            "%s is isolated by an order, so it hears nobody, lost or not: end that first "
            "(triveni isolate %s --end)",
            self->name, self->name);
    return driver_may_stand(s, e) ? 0 : err_wrap(e, "%s cannot become primary", self->name);
}

static int carry_out(struct site *s, const struct client *c, const struct site_warrant *w,
                     struct repl_event *order, struct err *e)
{
    char by[WARRANT_BY_BYTES];
    uint8_t scratch[4096];
    struct writer body = writer_of(scratch, sizeof scratch);
    warrants_names(w, by, sizeof by);
    int rc = members_solo(s, bytes_str(by), &body, &order->members, e);
    if (rc == 0 && body.bad)
        rc = err_set(e, ERR_LIMIT, "the list of members takes more than %zu bytes", sizeof scratch);
    if (rc != 0)
        return rc;
    events_add(s->events, "operator %s: %s goes on alone, by a warrant of %s", c->name,
               s->config->members[s->config->self].name, by);
    order->type = REPL_EV_SOLO;
    order->now_ms = site_now_ms();
    driver_solo(s, order, bytes_of(scratch, body.at));
    return 0;
}

int solo_command(struct site *s, struct client *c, uint64_t request, json_t *arguments,
                 struct err *e)
{
    struct service *v = s->service;
    json_t *file = json_object_get(arguments, "warrant");
    struct repl_event order = {.type = REPL_EV_SOLO};
    struct site_warrant w;
    int rc = may_be_ordered(s, e);
    if (rc == 0 && !json_is_string(file))
        rc = err_set(e, ERR_USAGE, "a warrant that two operators have signed is needed");
    if (rc != 0)
        return rc;
    rc = warrants_open(s, bytes_of(json_string_value(file), json_string_length(file)),
                       "failover-solo", &w, e);
    if (rc != 0)
        return rc;
    rc = read_facts(s, &w.says, &order, e);
    if (rc == 0) {
        v->failover.active = true;
        v->failover.from = s->view.heard.site;
        v->failover.client = client_ref(c);
        v->failover.request = request;
        v->failover.until_ms = site_now_ms() + 10 * (uint64_t)s->config->election_ms;
        v->failover.warrant = json_incref(file);
        rc = carry_out(s, c, &w, &order, e);
        if (rc != 0) { /* nothing was ordered */
            v->failover.active = false;
            client_unref(c);
            solo_forget(v);
        }
    }
    warrants_close(&w);
    return rc != 0 ? rc : SERVICE_LATER;
}

void solo_forget(struct service *v)
{
    json_decref(v->failover.warrant);
    v->failover.warrant = NULL;
}

/* This site serves alone: the audit trail gets the warrant, and whose it was. */
void solo_done(struct site *s, const struct client *c)
{
    struct service *v = s->service;
    struct site_warrant w;
    struct waiter logged = {.failed_condition = -1};
    struct err e = ERR_NONE;
    char by[WARRANT_BY_BYTES], nonce[WARRANT_NONCE_TEXT];
    const struct bytes file =
        bytes_of(json_string_value(v->failover.warrant), json_string_length(v->failover.warrant));
    int rc = warrants_open(s, file, "failover-solo", &w, &e);
    if (rc == 0) {
        warrants_names(&w, by, sizeof by);
        hex_format(w.says.nonce, sizeof w.says.nonce, nonce);
        rc = warrants_spend(s, &w, &logged, &e);
        service_audit(s, c, "failover-solo",
                      json_pack("{s:s, s:s, s:s}", "to", s->config->members[s->config->self].name,
                                "signed_by", by, "nonce", nonce));
        warrants_close(&w);
    }
    if (rc !=
        0) /* it expired meanwhile, or the disk is full: the list of members names both all the same */
        events_add(s->events, "the warrant is not in the log: %s", e.text);
    solo_forget(v);
}
