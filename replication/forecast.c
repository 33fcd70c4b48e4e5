/* What a site knows that a failover depends on, for whoever orders one (tools/forecast.h puts the sites' words together): may it
 * stand, where does its log end, is its word on the commit mode the last one, and how far was the primary when it was heard
 * last. What it does not know is null (P10). */
#include "replication/service.h"

#include "store/core/hex.h"

static const char *why_not(struct site *s, struct err *e)
{
    if (s->config->members[s->config->self].kind == SITE_REPOSITORY)
        return "it is a repository site and never becomes primary";
    if ((s->view.list.members.voters >> s->config->self & 1) == 0)
        return "it has no vote: triveni member promote gives it one";
    if (s->view.broken)
        return "it met a history that contradicts what is committed there";
    if (s->view.unfit)
        return "its state differs from the others'";
    if (s->view.lost)
        return "it was declared lost by two operators";
    if (!s->view.may_vote)
        return "it was rebuilt and has not caught up";
    return driver_may_stand(s, e) ? NULL : e->text;
}

/* Of another site, as it was heard last; this site itself, and nobody, are null. */
static json_t *heard_json(struct site *s)
{
    const struct repl_heard *h = &s->view.heard;
    const struct site_member *primary = site_member(s, h->site);
    if (primary == NULL || h->ms == 0 || h->last.v == 0)
        return json_null();
    return json_pack("{s:s, s:I, s:I, s:I, s:I}", "primary", primary->name, "term",
                     (json_int_t)h->term.v, "ms_ago", (json_int_t)(site_now_ms() - h->ms), "last",
                     (json_int_t)h->last.v, "commit", (json_int_t)h->commit.v);
}

json_t *forecast_json(struct site *s)
{
    struct err e;
    err_init(&e);
    const char *why = why_not(s, &e);
    char hash[2 * sizeof s->tail.hash.b + 1];
    hex_format(s->tail.hash.b, sizeof s->tail.hash.b, hash);
    return json_pack("{s:b, s:s?, s:I, s:s, s:b, s:I, s:I, s:o}", "may_stand", why == NULL, "why",
                     why, "last_term", (json_int_t)s->tail.term.v, "last_hash", hash, "mode_known",
                     s->mode_after.v <= s->marks.applied.v, "lease_ms",
                     (json_int_t)s->config->lease_ms, "election_ms",
                     (json_int_t)s->config->election_ms, "heard", heard_json(s));
}
