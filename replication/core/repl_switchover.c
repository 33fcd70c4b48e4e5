/* Switchover: the planned hand-over of the primary's role, with nothing lost.
 *
 *   none --SWITCHOVER--> wait: the successor is asked how it is; proposals are accepted as before; wait until it is near
 *   wait --it is near--> drain: proposals are refused; wait until the successor has everything on its disk
 *   drain --it has--> asked: the lease is given up first (repl_lease.c), then TAKE_OVER goes out, repeated until an answer
 *   asked --a higher term--> left: this site is a standby; the outcome is known when a primary of that term is heard
 *   wait --time is up--> drain, when what the successor lacks will take it no longer than half of what drain has; else none
 *   wait --SWITCHOVER to anybody, with less time--> wait: the site is to stop, whoever ordered the one under way
 *   wait --its link is lost, it may not lead any more--> none
 *   drain, asked --time is up, still primary--> none: writes go on here, with a new lease
 *
 * NEAR is measured in time, for a pause is one: as many entries are a millisecond of one line and disk, and a second of another.
 * The wait goes in rounds. Each has the log's end at its beginning as its goal, and as long as a round took, about so long will
 * take what is on its way when writes stop. Near is who had a round done within a round trip and a heartbeat, or has everything.
 * Only when no round is as short in the whole wait, half of what drain has is enough: a slow disk can take over, and one that
 * falls ever further behind stops nobody's writes. What it had acknowledged before says nothing: it may have died since, and a
 * connection that is still open does not tell. So no round is done before an answer to what was sent after the order.
 *
 * The hand-over is committed by the election of the successor and by nothing else: when no answer comes, the outcome is told as
 * what it is, and never rolled back. Each phase has two election times, the wait what the order gives it.
 *
 * Source: Ongaro, thesis, sections 3.10, and 4.2.1 for the rounds. */
#include "replication/core/repl_state.h"

static void outcome(struct repl *r, struct repl_actions *out, bool granted, const char *text)
{
    r->handover = REPL_HANDOVER_NONE;
    repl_trace(r, out, "term %llu: switchover to %s: %s", U(r->term.v),
               repl_site_name(r, r->successor), text);
    repl_act_text(r, out, REPL_ACT_SWITCHOVER, granted, "%s", text);
}

static uint8_t best_successor(const struct repl *r)
{
    uint8_t best = REPL_NOBODY;
    for (uint8_t i = 0; i < r->options.sites; i++) {
        const struct repl_peer *p = &r->peers[i];
        if (i == r->options.self || !repl_votes(r, i) || !repl_in(r->list.members.electable, i) ||
            !p->up || !p->counts || p->suspect_to.v != 0 || p->unfit)
            continue;
        if (best == REPL_NOBODY || p->match.v > r->peers[best].match.v)
            best = i;
    }
    return best;
}

static uint64_t lag(const struct repl *r, uint8_t site)
{
    return r->log.last.v - r->peers[site].match.v;
}

/* Why `site` cannot become primary, however long it is waited for; "" when it can. */
static void obstacle_of_site(const struct repl *r, uint8_t site, char *why, size_t n)
{
    why[0] = '\0';
    if (site == REPL_NOBODY)
        (void)snprintf(why, n, "no other site can become primary at present");
    else if (site >= r->options.sites)
        (void)snprintf(why, n, "there is no site %u", site);
    else if (site == r->options.self)
        (void)snprintf(why, n, "%s is primary already", repl_site_name(r, site));
    else if (!repl_in(r->list.members.all, site))
        (void)snprintf(why, n, "%s is no member", repl_site_name(r, site));
    else if (!repl_in(r->list.members.electable, site))
        (void)snprintf(why, n, "%s never becomes primary", repl_site_name(r, site));
    else if (!repl_votes(r, site))
        (void)snprintf(why, n, "%s has no vote: promote it first", repl_site_name(r, site));
    else if (!r->peers[site].up)
        (void)snprintf(why, n, "%s cannot be reached", repl_site_name(r, site));
    else if (r->peers[site].flow == REPL_FLOW_REFILL)
        (void)snprintf(why, n, "%s needs a refill first", repl_site_name(r, site));
    else if (!r->peers[site].counts || r->peers[site].suspect_to.v != 0)
        (void)snprintf(why, n, "%s does not vote at present", repl_site_name(r, site));
    else if (r->peers[site].unfit)
        (void)snprintf(why, n, "the state of %s differs from this site's", repl_site_name(r, site));
}

/* Why it is not handed over to `site` now; "" when it can be. */
static void obstacle(const struct repl *r, uint8_t site, uint32_t wait_ms, char *why, size_t n)
{
    if (r->role != REPL_PRIMARY)
        (void)snprintf(why, n, "this site is not primary, %s is", repl_site_name(r, r->primary));
    else if (r->handover != REPL_HANDOVER_NONE)
        (void)snprintf(why, n, "a switchover to %s is under way", repl_site_name(r, r->successor));
    else if (!repl_lease_valid(r, r->now_ms))
        (void)snprintf(why, n, "this site is not serving: no majority confirms it at present");
    else
        obstacle_of_site(r, site, why, n);
    if (why[0] == '\0' && wait_ms == 0 && lag(r, site) > REPL_HANDOVER_LAG_MAX)
        (void)snprintf(why, n, "%s is %llu entries behind, at most %d are allowed",
                       repl_site_name(r, site), U(lag(r, site)), REPL_HANDOVER_LAG_MAX);
}

bool repl_may_hand_over(const struct repl *r, uint8_t site)
{
    char why[REPL_TEXT_BYTES] = "";
    obstacle(r, site, 0, why, sizeof why);
    return why[0] == '\0';
}

static void begin_round(struct repl *r)
{
    r->catch_up.goal = r->log.last;
    r->catch_up.began_ms = r->now_ms;
}

void repl_hand_over(struct repl *r, struct repl_actions *out, uint8_t site, uint32_t wait_ms)
{
    r->handover = REPL_HANDOVER_WAIT;
    r->successor = site;
    r->handover_until_ms = r->now_ms + wait_ms;
    r->catch_up = (struct repl_catch_up){.wait_ms = wait_ms, .asked = r->round};
    begin_round(r);
    if (wait_ms != 0)
        repl_heartbeat(r, out, site);
    repl_handover_progress(r, out);
    if (r->handover == REPL_HANDOVER_WAIT)
        repl_trace(
            r, out,
            "term %llu: %s is %llu entries behind -> waiting for it at most %u ms, writes go "
            "on here",
            U(r->term.v), repl_site_name(r, site), U(lag(r, site)), wait_ms);
}

/* The one under way will do, but sooner. */
static void hurry(struct repl *r, struct repl_actions *out, uint32_t wait_ms)
{
    if (r->handover_until_ms <= r->now_ms + wait_ms)
        return;
    const uint64_t waited_ms = r->now_ms + r->catch_up.wait_ms - r->handover_until_ms;
    r->handover_until_ms = r->now_ms + wait_ms;
    r->catch_up.wait_ms = (uint32_t)waited_ms + wait_ms;
    repl_trace(r, out,
               "term %llu: switchover to any other site ordered -> waiting for %s %u ms more",
               U(r->term.v), repl_site_name(r, r->successor), wait_ms);
}

void repl_on_switchover(struct repl *r, struct repl_actions *out, const struct repl_event *e)
{
    char why[REPL_TEXT_BYTES] = "";
    uint8_t site = e->site;
    if (site == REPL_NOBODY && r->handover == REPL_HANDOVER_WAIT) {
        hurry(r, out, e->wait_ms);
        return;
    }
    if (site == REPL_NOBODY && r->role == REPL_PRIMARY)
        site = best_successor(r);
    obstacle(r, site, e->wait_ms, why, sizeof why);
    repl_trace(r, out, "term %llu: switchover to %s ordered -> %s%s", U(r->term.v),
               site == REPL_NOBODY ? "any other site" : repl_site_name(r, site),
               why[0] == '\0' ? "accepted" : "refused: ", why);
    if (why[0] != '\0') {
        repl_act_text(r, out, REPL_ACT_SWITCHOVER, false, "%s", why);
        return;
    }
    repl_hand_over(r, out, site, e->wait_ms);
}

static void end_wait(struct repl *r, struct repl_actions *out, const char *why)
{
    char text[REPL_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%.170s; writes went on here", why);
    outcome(r, out, false, text);
}

static void drain(struct repl *r, struct repl_actions *out, const char *why, uint64_t ms)
{
    r->handover = REPL_HANDOVER_DRAIN;
    r->handover_until_ms = r->now_ms + 2 * (uint64_t)r->options.election_ms;
    repl_trace(r, out, "term %llu: %s is %llu entries behind, %s %llu ms -> writes stop here",
               U(r->term.v), repl_site_name(r, r->successor), U(lag(r, r->successor)), why, U(ms));
}

static void wait_for_successor(struct repl *r, struct repl_actions *out)
{
    const struct repl_peer *p = &r->peers[r->successor];
    char why[REPL_TEXT_BYTES];
    obstacle_of_site(r, r->successor, why, sizeof why);
    if (why[0] != '\0') {
        end_wait(r, out, why);
        return;
    }
    uint64_t round_ms = r->now_ms - r->catch_up.began_ms;
    bool answered = p->answered > r->catch_up.asked || r->catch_up.wait_ms == 0;
    bool done = answered && p->match.v >= r->catch_up.goal.v;
    bool near = done && (p->match.v == r->log.last.v ||
                         round_ms <= p->rtt_ms + (uint64_t)r->options.heartbeat_ms);
    bool late = r->now_ms >= r->handover_until_ms;
    if (!done && round_ms < r->catch_up.took_ms)
        round_ms = r->catch_up.took_ms; /* of this one nothing is known yet */
    bool confirmed = repl_lease_valid(r, r->now_ms);
    if (confirmed && near) {
        drain(r, out, "its last round took", round_ms);
    } else if (confirmed && late && answered && round_ms <= r->options.election_ms) {
        drain(r, out, "and was waited for", r->catch_up.wait_ms);
    } else if (late && !confirmed) {
        end_wait(r, out, "no majority confirms this site at present");
    } else if (late && !answered) {
        (void)snprintf(why, sizeof why, "%s did not answer in %u ms",
                       repl_site_name(r, r->successor), r->catch_up.wait_ms);
        end_wait(r, out, why);
    } else if (late) {
        (void)snprintf(why, sizeof why,
                       "%s did not come near in %u ms, it is %llu entries behind: order it again "
                       "when less is written",
                       repl_site_name(r, r->successor), r->catch_up.wait_ms,
                       U(lag(r, r->successor)));
        end_wait(r, out, why);
    }
    if (done) {
        r->catch_up.took_ms = round_ms;
        begin_round(r);
    }
}

static void ask_successor(struct repl *r, struct repl_actions *out)
{
    r->handover_ask_ms = r->now_ms + REPL_ASK_HEARTBEATS * r->options.heartbeat_ms;
    struct repl_message *m = repl_send(r, out, REPL_ACT_SEND, REPL_MSG_TAKE_OVER, r->successor);
    repl_message_at(r, m, r->log.last);
    m->round = r->round;
}

void repl_handover_progress(struct repl *r, struct repl_actions *out)
{
    if (r->handover == REPL_HANDOVER_WAIT)
        wait_for_successor(r, out);
    if (r->handover != REPL_HANDOVER_DRAIN || r->peers[r->successor].match.v != r->log.last.v)
        return;
    (void)repl_round_begin(r); /* R0, and no other until this is decided */
    r->handover = REPL_HANDOVER_ASKED;
    r->handover_until_ms = r->now_ms + 2 * (uint64_t)r->options.election_ms;
    repl_trace(r, out,
               "term %llu: %s has everything up to %llu -> lease given up, asked to take over",
               U(r->term.v), repl_site_name(r, r->successor), U(r->log.last.v));
    ask_successor(r, out);
}

static void take_back(struct repl *r, struct repl_actions *out)
{
    bool asked = r->handover == REPL_HANDOVER_ASKED;
    char why[REPL_TEXT_BYTES];
    (void)snprintf(why, sizeof why, "%s %s in %u ms; this site goes on as primary",
                   repl_site_name(r, r->successor),
                   asked ? "was asked, but did not become primary" : "did not catch up",
                   2 * r->options.election_ms);
    if (asked) {
        r->lease_floor = r->round;
        r->since_ms = r->now_ms;
        repl_lease_update(r);
    }
    outcome(r, out, false, why);
    repl_ship_all(r, out);
}

void repl_handover_tick(struct repl *r, struct repl_actions *out)
{
    if (r->handover == REPL_HANDOVER_NONE)
        return;
    if (r->handover == REPL_HANDOVER_WAIT) {
        repl_handover_progress(r, out);
    } else if (r->now_ms >= r->handover_until_ms) {
        if (r->handover == REPL_HANDOVER_LEFT)
            outcome(r, out, false, "it is not known yet who became primary: ask for the status");
        else
            take_back(r, out);
    } else if (r->handover == REPL_HANDOVER_ASKED && r->now_ms >= r->handover_ask_ms) {
        ask_successor(r, out);
    }
}

void repl_handover_left(struct repl *r, struct repl_actions *out)
{
    if (r->handover == REPL_HANDOVER_WAIT || r->handover == REPL_HANDOVER_DRAIN) {
        outcome(r, out, false, "this site ceased to be primary before the successor was asked");
    } else if (r->handover == REPL_HANDOVER_ASKED) {
        r->handover = REPL_HANDOVER_LEFT;
        r->handover_until_ms = r->now_ms + 2 * (uint64_t)r->options.election_ms;
    }
}

void repl_handover_seen(struct repl *r, struct repl_actions *out, uint8_t primary, struct term term)
{
    if (r->handover != REPL_HANDOVER_LEFT)
        return;
    char text[REPL_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%s became primary in term %llu", repl_site_name(r, primary),
                   U(term.v));
    outcome(r, out, primary == r->successor, text);
}

const char *repl_handover_name(enum repl_handover phase)
{
    switch (phase) {
    case REPL_HANDOVER_NONE:
        return "none";
    case REPL_HANDOVER_WAIT:
        return "waiting";
    case REPL_HANDOVER_DRAIN:
        return "draining";
    case REPL_HANDOVER_ASKED:
        return "asked";
    case REPL_HANDOVER_LEFT:
        return "left";
    }
    return "unknown";
}
