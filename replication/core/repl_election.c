/* Roles, votes and pre-votes: who becomes primary.
 *
 * STATES (docs/PROTOCOL.md has the table)
 *   standby --silence, policy automatic--> pre-candidate --majority would vote--> candidate --majority votes--> primary
 *   standby --failover or TAKE_OVER--> candidate; every state --higher term or the term's primary--> standby
 *
 * A pre-candidate changes nothing, neither here nor at the sites that it asks (thesis, section 9.6), so a site that is cut off or
 * flapping disturbs nobody. Questions that found no yes are repeated every two heartbeats until the attempt's
 * deadline: a voter that must still wait out its promise answers no at first, and the repeat costs less than a new attempt.
 *
 * A promise is kept in three places: a voter does not grant (sticky()), a standby does not stand before its deadline, and
 * an operator's failover waits for the end of the own promise. Only the primary itself can release from it
 * (TAKE_OVER, see repl_lease.c for why a late one does no harm). An operator cannot: the lease that rests on the promise
 * may have acknowledged something a millisecond ago. What he can do is depose the primary: his candidate stops
 * answering it and stands in a higher term, which the primary sees and steps down from.
 *
 * INVARIANTS
 *   E1  term never falls; voted_for changes only from nobody, within a term. Both are saved before any message that
 *       follows from them (repl_act).
 *   E2  A site grants, and stands, only when may_vote and not broken, and only electable sites stand, whose state is not known to
 *       differ from the others' (P9).
 *   E4  Only votes of the voters of the own list count, and only a voter stands (repl_members.c).
 *   E3  A vote is granted only to a log that is not behind the own one. */
#include "replication/core/repl_state.h"

#include "store/core/check.h"

static uint64_t random_below(struct repl *r, uint64_t n)
{
    /* SplitMix64 (Steele, Lea, Flood 2014). */
    uint64_t z = r->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return n == 0 ? 0 : (z ^ (z >> 31)) % n;
}

void repl_set_role(struct repl *r, struct repl_actions *out, enum repl_role role, uint8_t primary)
{
    static const unsigned from[] = {
        [REPL_STANDBY] = 1u << REPL_STANDBY | 1u << REPL_PRE_CANDIDATE | 1u << REPL_CANDIDATE |
                         1u << REPL_PRIMARY,
        [REPL_PRE_CANDIDATE] = 1u << REPL_STANDBY | 1u << REPL_PRE_CANDIDATE | 1u << REPL_CANDIDATE,
        [REPL_CANDIDATE] = 1u << REPL_STANDBY | 1u << REPL_PRE_CANDIDATE | 1u << REPL_CANDIDATE,
        [REPL_PRIMARY] = 1u << REPL_CANDIDATE,
    };
    check((from[role] & 1u << r->role) != 0);
    if (primary != REPL_NOBODY) {
        r->vain = 0;
        memset(r->refusals, 0, sizeof r->refusals);
    }
    if (r->role == role && r->primary == primary && r->role_term.v == r->term.v)
        return; /* asking again is no news */
    r->role = role;
    r->primary = primary;
    r->role_term = r->term;
    struct repl_action *a = repl_act(r, out, REPL_ACT_ROLE);
    a->role = role;
    a->term = r->term;
    a->site = primary;
}

void repl_rearm(struct repl *r)
{
    r->deadline_ms = r->now_ms + r->options.election_ms + random_below(r, r->options.election_ms);
    r->link_lost = false;
}

void repl_hurry(struct repl *r)
{
    uint64_t end = repl_promise_end(r, r->heard_from != REPL_NOBODY && !r->peers[r->heard_from].up);
    uint64_t at = (end > r->now_ms ? end : r->now_ms) + random_below(r, r->options.election_ms / 8);
    if (at < r->deadline_ms)
        r->deadline_ms = at;
}

void repl_become_standby(struct repl *r, struct repl_actions *out, uint8_t primary)
{
    if (r->role == REPL_PRIMARY) {
        repl_handover_left(r, out);
        r->led_until_ms = r->now_ms;
    }
    r->fetch_from = REPL_NOBODY;
    r->transfer = false;
    r->waiting_told = false;
    repl_rearm(r);
    if (r->role != REPL_STANDBY || r->primary != primary)
        repl_set_role(r, out, REPL_STANDBY, primary);
}

/* What is committed agrees with every later primary; beyond it nothing is known yet. */
static void enter_term(struct repl *r, struct term term, uint8_t vote)
{
    check(term.v > r->term.v);
    r->term = term;
    r->voted_for = vote;
    r->vote_dirty = true;
    r->matched = r->commit;
    r->agrees = false;
}

void repl_adopt_term(struct repl *r, struct repl_actions *out, struct term term, uint8_t vote)
{
    enter_term(r, term, vote);
    if (r->role == REPL_PRIMARY)
        repl_trace(r, out, "term %llu: a higher term was seen -> no longer primary", U(term.v));
    repl_become_standby(r, out, REPL_NOBODY);
}

/* The log of such a site is right, and so are its votes; only what it has made of the log is not. */
static bool unfit(const struct repl *r)
{
    return r->peers[r->options.self].unfit;
}

bool repl_electable(const struct repl *r)
{
    return repl_in(r->list.members.electable, r->options.self);
}

static bool may_stand(const struct repl *r)
{
    return repl_votes(r, r->options.self) && repl_electable(r) && r->may_vote && !r->broken &&
           !r->full && !unfit(r);
}

static uint32_t votes(const struct repl *r)
{
    uint32_t n = 0;
    for (uint8_t i = 0; i < r->options.sites; i++)
        n += repl_votes(r, i) && (i == r->options.self || r->peers[i].vote_granted);
    return n;
}

/* Who voted how, of those who have a vote: "dr, gsr; refused by dc", and with `all` "silent: dr2". */
static const char *vote_names(const struct repl *r, bool all, char *out, size_t n)
{
    static const char *const words[] = {"", "refused by ", "silent: "};
    size_t at = 0;
    out[0] = '\0';
    for (int how = 0; how < 2 + all; how++) {
        bool first = true;
        for (uint8_t i = 0; i < r->options.sites && at < n; i++) {
            const struct repl_peer *p = &r->peers[i];
            bool yes = i == r->options.self || p->vote_granted;
            if (!repl_votes(r, i) || how != (yes ? 0 : p->vote_refused ? 1 : 2))
                continue;
            at += (size_t)snprintf(out + at, n - at, "%s%s%s",
                                   at == 0 ? ""
                                   : first ? "; "
                                           : ", ",
                                   first ? words[how] : "", repl_site_name(r, i));
            first = false;
        }
    }
    return out;
}

static void ask(struct repl *r, struct repl_actions *out, uint8_t site)
{
    bool pre = r->role == REPL_PRE_CANDIDATE;
    struct repl_message *m =
        repl_send(r, out, REPL_ACT_SEND, pre ? REPL_MSG_PREVOTE : REPL_MSG_VOTE, site);
    repl_message_at(r, m, r->log.last);
    m->term.v = r->term.v + pre;
    m->transfer = !pre && r->transfer;
    m->round = m->transfer ? r->transfer_round : pre ? r->attempt : 0;
}

/* Ask everybody who has not said yes. */
static void ask_all(struct repl *r, struct repl_actions *out)
{
    r->ask_ms = r->now_ms + REPL_ASK_HEARTBEATS * r->options.heartbeat_ms;
    for (uint8_t i = 0; i < r->options.sites; i++)
        if (i != r->options.self && repl_votes(r, i) && r->peers[i].up && !r->peers[i].vote_granted)
            ask(r, out, i);
}

static void lead(struct repl *r, struct repl_actions *out, const struct repl_members *list)
{
    r->forced_until_ms = 0;
    r->fetch_from = REPL_NOBODY;
    r->led_from_ms = r->now_ms;
    repl_set_role(r, out, REPL_PRIMARY, r->options.self);
    repl_shipping_begin(r, out, list);
}

static void become_primary(struct repl *r, struct repl_actions *out)
{
    char names[REPL_TEXT_BYTES / 2];
    repl_trace(r, out, "term %llu: %u of %u votes (%s) -> primary at %llu/%llu", U(r->term.v),
               votes(r), repl_count(r->list.members.voters),
               vote_names(r, false, names, sizeof names), U(r->log.last_term.v), U(r->log.last.v));
    if (r->forced_until_ms != 0)
        repl_act_text(r, out, REPL_ACT_SWITCHOVER, true, "elected in term %llu", U(r->term.v));
    lead(r, out, NULL);
}

void repl_lead_alone(struct repl *r, struct repl_actions *out, struct term term,
                     const struct repl_members *list)
{
    enter_term(r, term, r->options.self);
    r->transfer = false;
    repl_set_role(r, out, REPL_CANDIDATE, REPL_NOBODY);
    lead(r, out, list);
}

static void begin_asking(struct repl *r, struct repl_actions *out, enum repl_role role)
{
    for (uint8_t i = 0; i < r->options.sites; i++)
        r->peers[i].vote_granted = r->peers[i].vote_refused = r->peers[i].fetch_vain = false;
    repl_rearm(r);
    repl_set_role(r, out, role, REPL_NOBODY);
    ask_all(r, out);
}

/* Really stand: a new term, the own vote, durable before anybody is asked. */
static void stand(struct repl *r, struct repl_actions *out, bool transfer)
{
    check(may_stand(r));
    enter_term(r, (struct term){r->term.v + 1}, r->options.self);
    r->transfer = transfer;
    repl_trace(r, out, "term %llu: standing at %llu/%llu%s", U(r->term.v), U(r->log.last_term.v),
               U(r->log.last.v), transfer ? ", asked by the primary" : "");
    begin_asking(r, out, REPL_CANDIDATE);
    if (votes(r) >= repl_majority(r))
        become_primary(r, out);
}

static void pre_stand(struct repl *r, struct repl_actions *out)
{
    r->attempt++;
    r->transfer = false;
    begin_asking(r, out, REPL_PRE_CANDIDATE);
    if (votes(r) >= repl_majority(r))
        stand(r, out, false);
}

void repl_stand_again(struct repl *r, struct repl_actions *out)
{
    if (r->role == REPL_CANDIDATE)
        stand(r, out, false);
    else if (r->role == REPL_PRE_CANDIDATE)
        pre_stand(r, out);
}

/* Why the silence is believed, for the trace: the cause of each election must be explainable. */
static void trace_cause(struct repl *r, struct repl_actions *out, const char *decision)
{
    if (r->led_until_ms > r->heard_ms)
        repl_trace(
            r, out,
            "term %llu: no primary was heard since this site ceased to be it %llu ms ago -> %s",
            U(r->term.v), U(r->now_ms - r->led_until_ms), decision);
    else if (r->heard_from == REPL_NOBODY)
        repl_trace(r, out, "term %llu: no primary was heard since the start %llu ms ago -> %s",
                   U(r->term.v), U(r->now_ms - r->start_ms), decision);
    else
        repl_trace(r, out, "term %llu: %s%s, last word %llu ms ago -> %s", U(r->term.v),
                   r->link_lost ? "link closed by " : "silence of ",
                   repl_site_name(r, r->heard_from), U(r->now_ms - r->heard_ms), decision);
}

/* The primary is silent and this site may not act on it: say so once per silence. */
static void only_watch(struct repl *r, struct repl_actions *out)
{
    bool observe = r->options.policy == REPL_OBSERVE && may_stand(r);
    if (!r->waiting_told) {
        trace_cause(r, out,
                    observe                           ? "would stand, but the policy is observe"
                    : !repl_electable(r)              ? "waiting, this site never stands"
                    : !repl_votes(r, r->options.self) ? "waiting, this site has no vote"
                    : r->broken                       ? "not standing, this site is broken"
                    : unfit(r)     ? "not standing, the state of this site differs from the others'"
                    : r->full      ? "not standing, the log of this site takes no more"
                    : !r->may_vote ? "not standing, this site was rebuilt and has not caught up"
                                   : "waiting for an operator, the policy is manual");
        r->waiting_told = true;
    }
    if (r->primary != REPL_NOBODY)
        repl_set_role(r, out, REPL_STANDBY, REPL_NOBODY);
    repl_rearm(r);
}

static void standby_deadline(struct repl *r, struct repl_actions *out)
{
    if (r->forced_until_ms != 0) {
        trace_cause(r, out, "standing by an operator's order");
        stand(r, out, false);
    } else if (!may_stand(r) || r->options.policy != REPL_AUTOMATIC) {
        only_watch(r, out);
    } else if (repl_lets_others_stand(r)) {
        trace_cause(r, out, "letting others stand first, the disk of this site is slow");
        r->deadline_ms = r->now_ms + 2 * (uint64_t)r->options.election_ms;
    } else {
        trace_cause(r, out, "asking who would vote for this site");
        pre_stand(r, out);
    }
}

/* The attempt found no majority in time. */
static void attempt_deadline(struct repl *r, struct repl_actions *out)
{
    if (r->forced_until_ms != 0) {
        stand(r, out, false);
        return;
    }
    char times[32] = "", names[REPL_TEXT_BYTES / 2];
    if (++r->vain > 1)
        (void)snprintf(times, sizeof times, ", attempt %u", r->vain + 1);
    if (repl_worth_telling(r->vain))
        repl_trace(r, out, "term %llu: %u of %u votes (%s) are not enough -> %s%s", U(r->term.v),
                   votes(r), repl_count(r->list.members.voters),
                   vote_names(r, true, names, sizeof names),
                   r->options.policy == REPL_AUTOMATIC ? "asking again" : "standby", times);
    if (r->options.policy == REPL_AUTOMATIC)
        pre_stand(r, out);
    else
        repl_become_standby(r, out, REPL_NOBODY);
}

/* A term begins with an entry, and there is no room for one: what was begun is ended, and who ordered it is told. */
static void give_up_standing(struct repl *r, struct repl_actions *out)
{
    if (r->forced_until_ms != 0)
        repl_act_text(r, out, REPL_ACT_SWITCHOVER, false, "the log of this site takes no more");
    r->forced_until_ms = 0;
    if (r->role != REPL_STANDBY) {
        repl_trace(r, out, "term %llu: the log of this site takes no more -> standby",
                   U(r->term.v));
        repl_become_standby(r, out, REPL_NOBODY);
    }
}

void repl_election_tick(struct repl *r, struct repl_actions *out)
{
    if (r->role == REPL_PRIMARY)
        return;
    if (r->forced_until_ms != 0 && r->now_ms >= r->forced_until_ms) {
        r->forced_until_ms = 0;
        repl_act_text(r, out, REPL_ACT_SWITCHOVER, false,
                      "no majority elected this site: see what the other sites say");
    }
    if (r->full)
        give_up_standing(r, out);
    if (r->now_ms >= r->deadline_ms) {
        if (r->role == REPL_STANDBY)
            standby_deadline(r, out);
        else
            attempt_deadline(r, out);
    } else if (r->role != REPL_STANDBY && r->now_ms >= r->ask_ms) {
        ask_all(r, out);
    }
}

void repl_election_peer_up(struct repl *r, struct repl_actions *out, uint8_t site)
{
    if ((r->role == REPL_PRE_CANDIDATE || r->role == REPL_CANDIDATE) && repl_votes(r, site) &&
        !r->peers[site].vote_granted)
        ask(r, out, site);
}

/* A closed link to the primary is news at once: wait out the promise, not the whole silence. The jitter keeps two
 * standbys from standing in the same moment. */
void repl_election_peer_down(struct repl *r, struct repl_actions *out, uint8_t site)
{
    (void)out;
    if (r->role != REPL_STANDBY || site != r->primary)
        return;
    uint64_t end = repl_promise_end(r, true);
    uint64_t at = (end > r->now_ms ? end : r->now_ms) + random_below(r, r->options.election_ms / 8);
    if (at < r->deadline_ms) {
        r->deadline_ms = at;
        r->link_lost = true;
    }
}

void repl_on_failover(struct repl *r, struct repl_actions *out)
{
    const char *why = r->role == REPL_PRIMARY           ? "this site is primary already"
                      : !repl_electable(r)              ? "this site never becomes primary"
                      : !repl_votes(r, r->options.self) ? "this site has no vote: promote it first"
                      : r->broken                       ? "this site is broken"
                      : unfit(r)     ? "the state of this site differs from the others'"
                      : !r->may_vote ? "this site was rebuilt and has not caught up"
                                     : NULL;
    if (why != NULL) {
        repl_act_text(r, out, REPL_ACT_SWITCHOVER, false, "%s", why);
        return;
    }
    /* From now on the primary is not answered, so the promise to it has an end. */
    r->forced_until_ms = r->now_ms + 8 * (uint64_t)r->options.election_ms;
    uint64_t end = repl_promise_end(r, true);
    r->deadline_ms = end > r->now_ms ? end : r->now_ms;
    repl_trace(r, out, "term %llu: failover ordered -> standing in %llu ms", U(r->term.v),
               U(r->deadline_ms - r->now_ms));
    repl_election_tick(r, out);
}

void repl_on_fit(struct repl *r, struct repl_actions *out, uint8_t site, bool fit)
{
    if (site >= r->options.sites || r->peers[site].unfit == !fit)
        return;
    r->peers[site].unfit = !fit;
    repl_trace(r, out, "term %llu: the state of %s %s", U(r->term.v), repl_site_name(r, site),
               fit ? "is equal to the others' again -> it may become primary"
                   : "differs from the others' -> it does not become primary");
    if (site != r->options.self || fit)
        return;
    if (r->forced_until_ms != 0)
        repl_act_text(r, out, REPL_ACT_SWITCHOVER, false,
                      "the state of this site differs from the others'");
    r->forced_until_ms = 0;
    if (r->role == REPL_PRE_CANDIDATE || r->role == REPL_CANDIDATE)
        repl_become_standby(r, out, REPL_NOBODY);
}

/* ---- the voter's side ---- */

static bool not_behind(const struct repl *r, const struct repl_message *m)
{
    if (m->lsn_term.v != r->log.last_term.v)
        return m->lsn_term.v > r->log.last_term.v;
    return m->lsn.v >= r->log.last.v;
}

/* Does a promise, or the primary's own lease, forbid a vote now? The text of why, or NULL. */
static const char *sticky(const struct repl *r, const struct repl_message *m)
{
    if (r->now_ms < r->start_ms + r->options.election_ms)
        return "this site has only just started";
    /* The hand-over of the term before m->term, if no later round of that primary was answered here. */
    bool released = m->transfer && (r->seen_term.v + 1 < m->term.v ||
                                    (r->seen_term.v + 1 == m->term.v && r->seen_round <= m->round));
    if (r->role == REPL_PRIMARY) {
        released = m->transfer && r->handover == REPL_HANDOVER_ASKED && m->from == r->successor &&
                   m->term.v == r->term.v + 1 && m->round == r->round;
        return !released && repl_lease_running(r, r->now_ms) ? "this site is primary with a lease"
                                                             : NULL;
    }
    bool closed = r->heard_from != REPL_NOBODY && !r->peers[r->heard_from].up;
    if (!released && r->heard_from != m->from && r->now_ms < repl_promise_end(r, closed))
        return "a primary was heard";
    return NULL;
}

static const char *cannot_vote(const struct repl *r, const struct repl_message *m)
{
    /* One that is no member here may be one of a list that has not come here yet: who counts is for the candidate's own list to
     * say, and this site's vote is one of its promises, whatever list it has (thesis, section 4.2.2). */
    if (repl_in(r->list.members.all, m->from) && !repl_in(r->list.members.electable, m->from))
        return "it never becomes primary";
    if (r->broken)
        return "this site is broken";
    if (!r->may_vote)
        return "this site was rebuilt and has not caught up";
    if (!not_behind(r, m))
        return "its log is behind";
    return NULL;
}

/* `attempt` tells one from the next. Repeats of a refused one are answered, but told once; and one refused pre-vote after the
 * other ever more rarely, since they cost nothing and may go on for ever. Votes raise the term: each is told. */
static void trace_answer(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                         uint64_t attempt, const char *refused)
{
    char times[32] = "";
    uint32_t *n = &r->refusals[m->from];
    bool tell = refused == NULL, pre = m->type == REPL_MSG_PREVOTE;
    if (tell) {
        *n = 0;
    } else if (r->refused_attempt[m->from] != attempt) {
        tell = !pre || repl_worth_telling(++*n);
        if (pre && *n > 2)
            (void)snprintf(times, sizeof times, ", %u times now", *n);
    }
    r->refused_attempt[m->from] = attempt;
    if (tell)
        repl_trace(r, out, "term %llu: %s asked by %s at %llu/%llu, ours is %llu/%llu -> %s%s%s",
                   U(m->term.v), pre ? "pre-vote" : "vote", repl_site_name(r, m->from),
                   U(m->lsn_term.v), U(m->lsn.v), U(r->log.last_term.v), U(r->log.last.v),
                   refused == NULL ? "granted" : "refused: ", refused == NULL ? "" : refused,
                   times);
}

static void answer(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                   bool granted, bool alive)
{
    bool pre = m->type == REPL_MSG_PREVOTE;
    struct repl_message *reply = repl_send(
        r, out, REPL_ACT_SEND, pre ? REPL_MSG_PREVOTE_REPLY : REPL_MSG_VOTE_REPLY, m->from);
    repl_message_at(r, reply, r->log.last);
    reply->granted = granted;
    reply->rejected = alive;
    if (pre) {
        reply->round = m->round;
        if (granted)
            reply->term = m->term; /* the term that it would be a vote for */
    }
}

void repl_on_prevote(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    const char *refused = m->term.v <= r->term.v ? "the term is past" : NULL;
    const char *alive = sticky(r, m);
    if (refused == NULL)
        refused = alive != NULL ? alive : cannot_vote(r, m);
    trace_answer(r, out, m, m->round, refused);
    answer(r, out, m, refused == NULL, alive != NULL);
}

void repl_on_vote(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    const char *alive = m->term.v < r->term.v ? NULL : sticky(r, m);
    const char *refused = m->term.v < r->term.v ? "the term is past" : alive;
    bool newer = m->term.v > r->term.v;
    bool mine = !newer && r->voted_for == m->from;
    if (refused == NULL)
        refused = cannot_vote(r, m);
    if (refused == NULL && !newer && !mine && r->voted_for != REPL_NOBODY)
        refused = "this term's vote is given away";

    if (newer && alive == NULL) {
        repl_adopt_term(r, out, m->term, refused == NULL ? m->from : REPL_NOBODY);
    } else if (refused == NULL && !mine) {
        r->voted_for = m->from;
        r->vote_dirty = true;
        repl_rearm(r);
    }
    /* A vote that was given is not told again; the high bit keeps terms apart from the attempts of pre-votes. */
    if (refused != NULL || !mine)
        trace_answer(r, out, m, m->term.v | REPL_NUMBER_MAX, refused);
    answer(r, out, m, refused == NULL, alive != NULL);
}

/* ---- the candidate's side ---- */

static void refused_by(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    r->peers[m->from].vote_refused = true;
    bool longer = m->lsn_term.v != r->log.last_term.v ? m->lsn_term.v > r->log.last_term.v
                                                      : m->lsn.v > r->log.last.v;
    /* Where a primary is heard, what is committed is asked for (repl_relay.c); the rest is for whoever may lead. */
    if (longer && !m->rejected && r->fetch_from == REPL_NOBODY && !r->peers[m->from].fetch_vain)
        repl_fetch_begin(r, out, m->from);
}

void repl_on_prevote_reply(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    if (r->role != REPL_PRE_CANDIDATE || m->round != r->attempt)
        return;
    if (m->granted && m->term.v == r->term.v + 1) {
        r->peers[m->from].vote_granted = true;
        if (votes(r) >= repl_majority(r))
            stand(r, out, false);
        return;
    }
    if (m->granted)
        return;
    if (m->term.v >
        r->term.v) { /* nothing was asked for in a term that is past: ask again for the next */
        repl_trace(r, out, "term %llu: %s is in term %llu -> asking again", U(r->term.v),
                   repl_site_name(r, m->from), U(m->term.v));
        enter_term(r, m->term, REPL_NOBODY);
        pre_stand(r, out);
        if (r->role != REPL_PRE_CANDIDATE)
            return;
    }
    refused_by(r, out, m);
}

void repl_on_vote_reply(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    if (r->role != REPL_CANDIDATE)
        return;
    if (m->term.v > r->term.v) {
        repl_trace(r, out, "term %llu: %s is in term %llu -> standby", U(r->term.v),
                   repl_site_name(r, m->from), U(m->term.v));
        repl_adopt_term(r, out, m->term, REPL_NOBODY);
        if (r->forced_until_ms != 0)
            r->deadline_ms = r->now_ms; /* at the next tick, in a higher term */
        return;
    }
    if (!m->granted) {
        refused_by(r, out, m);
    } else if (m->term.v == r->term.v) {
        r->peers[m->from].vote_granted = true;
        if (votes(r) >= repl_majority(r))
            become_primary(r, out);
    }
}

void repl_on_take_over(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    if (m->term.v != r->term.v || r->role != REPL_STANDBY)
        return; /* late, or already standing */
    const char *why =
        !may_stand(r)                                      ? "this site may not stand"
        : r->now_ms < r->start_ms + r->options.election_ms ? "this site has only just started"
        : r->seen_term.v == m->term.v && r->seen_round > m->round ? "the primary has taken it back"
        : r->log.last.v != m->lsn.v || r->log.last_term.v != m->lsn_term.v ? "the logs differ"
                                                                           : NULL;
    repl_trace(r, out, "term %llu: asked by %s to take over at %llu/%llu -> %s%s", U(r->term.v),
               repl_site_name(r, m->from), U(m->lsn_term.v), U(m->lsn.v),
               why == NULL ? "standing" : "refused: ", why == NULL ? "" : why);
    if (why != NULL)
        return;
    r->transfer_round = m->round;
    stand(r, out, true);
}
