/* How far each site is behind, for `status` (replication/core/ages.h says what that means).
 *
 * The primary tells it of all sites, against its own log, as long as a majority confirms that it is the primary: the positions
 * come with acknowledgements, and were true when the round that these answer was sent, or later. Of itself it knows at once. Any
 * other site tells its own alone, against what the primary's last word says is committed; that covers what was acknowledged
 * under earlier primaries from the first entry of the primary's term on, and a rebuilt site cannot tell a primary from one that
 * was replaced (replication/core/freshness.h). */
#include "replication/site_parts.h"

struct stages {
    struct lsn received, durable, applied, archived;
};

static json_t *age_json(const struct site *s, const struct age_asked *asked, struct lsn at,
                        bool known)
{
    struct age_asked of_stage = *asked;
    of_stage.at = at;
    of_stage.at_known = known;
    struct age age = age_of(&s->timeline, &of_stage);
    if (!age.known)
        return json_null();
    return json_pack("{s:o, s:I, s:o}", "ms",
                     age.time_known ? json_integer((json_int_t)(age.us + 999) / 1000) : json_null(),
                     "entries", (json_int_t)age.entries, "bytes",
                     age.bytes_known ? json_integer((json_int_t)age.bytes) : json_null());
}

/* Against what is this site itself to be measured when it is not primary? False: it does not know. */
static bool last_word(struct site *s, struct age_asked *asked)
{
    const struct freshness *f = &s->freshness;
    struct log_run newest;
    if (f->newest.ms == 0 || !s->view.may_vote || log_runs(s->log, &newest, 1) != 1 ||
        newest.term.v != f->newest.term.v)
        return false;
    asked->newest = f->newest.commit.v > newest.from.v ? f->newest.commit : newest.from;
    asked->word_ms = f->newest.ms;
    return true;
}

json_t *ages_json(struct site *s, uint8_t i)
{
    bool self = i == s->config->self, leads = s->view.role == REPL_PRIMARY;
    const struct repl_peer_view *p = &s->view.peers[i];
    struct stages at = {p->received, p->durable, p->applied, p->archived};
    struct age_asked asked = {
        .newest = s->tail.lsn, .now_ms = site_now_ms(), .now = site_commit_time(s)};
    asked.word_ms = self ? asked.now_ms : p->word_ms;
    if (leads && !repl_lease_valid(s->repl, asked.now_ms))
        return json_null(); /* another one may have written more */
    if (!leads && (!self || !last_word(s, &asked)))
        return json_null();
    if (self)
        at = (struct stages){s->tail.lsn, s->marks.durable, s->marks.applied, s->marks.archived};
    bool archives = s->config->members[i].kind == SITE_REPOSITORY;
    return json_pack("{s:o, s:o, s:o, s:o}", "received",
                     age_json(s, &asked, at.received, self || at.received.v != 0), "durable",
                     age_json(s, &asked, at.durable, self || at.durable.v != 0), "applied",
                     age_json(s, &asked, at.applied, true), "archived",
                     age_json(s, &asked, at.archived, archives));
}
