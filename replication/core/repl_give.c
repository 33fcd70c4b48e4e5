/* PULL and GIVE, the side that gives: what is committed, to a site that no primary serves (repl_relay.c has the whole).
 *
 * Any site gives, whatever its role, up to its own commit index and never beyond. Frames follow each other without being asked
 * for one by one, REPL_GIVE_WINDOW of them at most that the other has not told to have; and as soon as more is committed here.
 * Each PULL has an answer, one without entries if there is nothing to give, for it tells whether a primary is heard here and how
 * old its word is.
 *
 * What the log does not have any more comes from the archive, where this site keeps one; the driver reads it beside the loop, and
 * answers "not now" (SENT, 0 bytes) until it is there: then it is tried again at the next tick or question.
 *
 * Who is without its vote gives nothing before it has seen that what it has committed is in the log of the primary, too: if it
 * was declared lost, it may not be the history any more.
 *
 * INVARIANTS
 *   V1  last <= commit in every GIVE, and no entry in it is beyond last.
 *   V2  Nothing that a PULL says is counted for anything: not for commit, not for the lease, not for what may be recycled. */
#include "replication/core/repl_state.h"

/* Does this site hear the primary of its term, with its own ears, now? */
static bool hears_primary(const struct repl *r, uint8_t for_whom)
{
    if (r->broken || !r->may_vote || r->forced_until_ms != 0)
        return false;
    if (r->role == REPL_PRIMARY)
        return repl_lease_valid(r, r->now_ms);
    uint64_t patience = REPL_SILENT_HEARTBEATS * (uint64_t)r->options.heartbeat_ms;
    return r->role == REPL_STANDBY && r->primary != REPL_NOBODY && r->primary != for_whom &&
           r->heard_from == r->primary && r->seen_term.v == r->term.v && r->peers[r->primary].up &&
           r->relay.word_ms != 0 && r->now_ms <= r->relay.word_ms + patience;
}

static struct repl_message *give(struct repl *r, struct repl_actions *out, uint8_t site,
                                 enum repl_action_type action, struct lsn after)
{
    struct repl_message *m = repl_send(r, out, action, REPL_MSG_GIVE, site);
    /* Of old entries the term is not at hand: the driver finds it with the entries, and without any the beginning of all logs is
     * as good. */
    bool known = action == REPL_ACT_SEND_ENTRIES || repl_log_term(&r->log, after).v != 0;
    repl_message_at(r, m, known ? after : (struct lsn){0});
    m->last = r->commit;
    m->commit = r->role == REPL_PRIMARY ? r->commit : lsn_max(r->commit, r->relay.word);
    m->round = r->gives[site].round;
    m->granted = hears_primary(r, site);
    if (m->granted && r->role != REPL_PRIMARY)
        m->age_ms = r->now_ms - r->relay.word_ms;
    return m;
}

static bool may_give(const struct repl *r)
{
    return !r->broken && (r->may_vote || r->agrees);
}

static bool active(const struct repl *r, const struct repl_give *g)
{
    return g->until_ms != 0 && r->now_ms < g->until_ms && may_give(r);
}

/* False: there is nothing to give now. */
static bool pump(struct repl *r, struct repl_actions *out, uint8_t site)
{
    struct repl_give *g = &r->gives[site];
    if (!active(r, g) || g->filling || g->n == REPL_GIVE_WINDOW || g->next.v > r->commit.v)
        return false;
    g->filling = true;
    g->again_ms = 0;
    (void)give(r, out, site, REPL_ACT_SEND_ENTRIES, (struct lsn){g->next.v - 1});
    return true;
}

/* It cannot be given: not here, or this history is another one, in which `differs` (0: unknown) has this entry. */
static void refuse(struct repl *r, struct repl_actions *out, uint8_t site, struct lsn differs)
{
    struct repl_message *m = repl_send(r, out, REPL_ACT_SEND, REPL_MSG_GIVE, site);
    m->rejected = true;
    m->granted = hears_primary(r, site);
    repl_message_at(r, m, differs);
    m->round = r->gives[site].round;
    r->gives[site].until_ms = 0;
}

/* Is what it names known to be another entry than is committed here? */
static bool differs(const struct repl *r, const struct repl_message *m)
{
    static const struct sha256 unknown = {{0}};
    if (m->lsn.v == 0 || m->lsn.v > r->commit.v)
        return false; /* beyond: it will see itself whether what it gets fits */
    struct term ours = repl_log_term(&r->log, m->lsn);
    const struct sha256 *hash = repl_log_hash(&r->log, m->lsn);
    return (ours.v != 0 && m->lsn_term.v != 0 && ours.v != m->lsn_term.v) ||
           (hash != NULL && !sha256_equal(&m->hash, &unknown) && !sha256_equal(&m->hash, hash));
}

static void told_to_have(struct repl_give *g, struct lsn lsn)
{
    uint32_t done = 0;
    while (done < g->n && g->sent[done].v <= lsn.v)
        done++;
    g->n -= done;
    memmove(g->sent, g->sent + done, g->n * sizeof g->sent[0]);
}

/* An answer without entries. */
static void only_news(struct repl *r, struct repl_actions *out, uint8_t site, struct lsn at)
{
    struct repl_give *g = &r->gives[site];
    (void)give(r, out, site, REPL_ACT_SEND,
               lsn_min((struct lsn){g->next.v - 1}, lsn_min(at, r->commit)));
    g->owes = false;
}

void repl_on_pull(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    struct repl_give *g = &r->gives[m->from];
    bool asks = active(r, g);
    if (!may_give(r) || (asks && m->round < g->round))
        return;
    if (!repl_in(r->list.members.all | r->list_before.members.all, m->from))
        return; /* no member, or none any more */
    g->round = m->round;
    if (m->rejected && differs(r, m)) {
        refuse(r, out, m->from, m->lsn);
        return;
    }
    if (m->rejected || !asks) {
        g->next.v = lsn_min(m->lsn, r->commit).v + 1;
        g->n = 0;
        g->filling = false;
    }
    g->until_ms = r->now_ms + r->options.election_ms;
    told_to_have(g, m->lsn);
    g->owes = true;
    if (!pump(r, out, m->from))
        only_news(r, out, m->from, m->lsn);
}

void repl_give_sent(struct repl *r, struct repl_actions *out, const struct repl_event *e)
{
    struct repl_give *g = &r->gives[e->site];
    if (!g->filling)
        return;
    g->filling = false;
    if (e->bytes == 0 || e->position.lsn.v < g->next.v) {
        g->again_ms = r->now_ms + r->options.heartbeat_ms / 5 + 1;
        if (g->owes)
            only_news(r, out, e->site, (struct lsn){g->next.v - 1});
        return;
    }
    g->owes = false;
    g->sent[g->n++] = e->position.lsn;
    g->next.v = e->position.lsn.v + 1;
    (void)pump(r, out, e->site);
}

void repl_give_gone(struct repl *r, struct repl_actions *out, uint8_t site)
{
    struct repl_give *g = &r->gives[site];
    if (!g->filling)
        return;
    g->filling = false;
    if (g->gone_told.v != g->next.v)
        repl_trace(r, out, "term %llu: %s asks for entry %llu, which cannot be had here",
                   U(r->term.v), repl_site_name(r, site), U(g->next.v));
    g->gone_told = g->next;
    refuse(r, out, site, (struct lsn){0});
}

void repl_give_tick(struct repl *r, struct repl_actions *out)
{
    for (uint8_t i = 0; i < r->options.sites; i++)
        if (r->gives[i].again_ms != 0 && r->now_ms >= r->gives[i].again_ms && !pump(r, out, i))
            r->gives[i].again_ms = 0;
}

void repl_give_all(struct repl *r, struct repl_actions *out)
{
    for (uint8_t i = 0; i < r->options.sites; i++)
        (void)pump(r, out, i);
}

uint64_t repl_give_next_ms(const struct repl *r)
{
    uint64_t at = UINT64_MAX;
    for (uint8_t i = 0; i < r->options.sites; i++)
        if (r->gives[i].again_ms != 0 && r->gives[i].again_ms < at)
            at = r->gives[i].again_ms;
    return at;
}
