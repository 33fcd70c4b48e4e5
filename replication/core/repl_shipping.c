/* The primary: shipping the log, reading acknowledgements, accepting proposals.
 *
 * FLOW of one peer
 *   probe:  where the logs agree is not known. One frame at a time; a rejection steps `next` back by at least a whole term, an
 *           answer that fits turns to stream.
 *   stream: frames follow each other without waiting, up to REPL_WINDOW frames or REPL_WINDOW_BYTES in flight. What is
 *           proposed while the window is full goes out in one frame when an answer opens it: the batch grows by itself under
 *           load.
 *   refill: the log no longer reaches back to what the peer needs. Heartbeats keep it loyal, and tell it to ask others
 *           (repl_relay.c); shipping resumes when an answer shows that its log has grown far enough.
 *
 * Entries go out while the own disk still writes them. Every message names the entry before its first, so a heartbeat, which
 * carries none, finds lost frames: it does not fit and is rejected. A frame that no answer accounts for within the resend
 * time, while the peer's log did not grow over it, is sent again; a slow disk shows as "received, not durable" and is waited
 * for.
 *
 * ACKNOWLEDGEMENTS (R2, R5) count when they are of this term, from the newest incarnation seen, from a site that calls itself a
 * full voter, and carry the hash that this site has at that position. A peer with another hash there, or that
 * has lost what it acknowledged in this term, is suspect and not counted until it acknowledges at least that much
 * with the right hash.
 *
 * READMISSION (R5). A rebuilt site gets `readmit` when the no-op of this term is committed and a round that began after its
 * first answer in this incarnation was confirmed by a majority without it. Then no other primary existed when the
 * round was confirmed, and the commit index covers all that its former self has acknowledged to anybody. */
#include "replication/core/repl_state.h"

#include "store/core/check.h"

static void window_clear(struct repl_peer *p)
{
    p->window_first = p->window_n = p->window_bytes = 0;
}

static void window_push(struct repl_peer *p, struct repl_frame f)
{
    check(p->window_n < REPL_WINDOW);
    p->window[(p->window_first + p->window_n++) % REPL_WINDOW] = f;
    p->window_bytes += f.bytes;
}

static void window_ack(struct repl_peer *p, struct lsn durable)
{
    while (p->window_n > 0 && p->window[p->window_first].last.v <= durable.v) {
        p->window_bytes -= p->window[p->window_first].bytes;
        p->window_first = (p->window_first + 1) % REPL_WINDOW;
        p->window_n--;
    }
}

/* Begin anew after `agreed`; answers to what was sent before do not count for the flow any more. */
static void restart_flow(struct repl *r, struct repl_peer *p, struct lsn agreed)
{
    window_clear(p);
    p->next.v = agreed.v + 1;
    p->flow = REPL_FLOW_PROBE;
    p->reset_round = r->round;
    p->filling = false;
}

static struct repl_message *entries_message(struct repl *r, struct repl_actions *out, uint8_t site,
                                            enum repl_action_type action)
{
    struct repl_peer *p = &r->peers[site];
    struct repl_message *m = repl_send(r, out, action, REPL_MSG_ENTRIES, site);
    m->last = r->log.last;
    m->last_term = r->log.last_term;
    m->commit = r->commit;
    m->round = repl_round_begin(r);
    m->granted = repl_lease_valid(r, r->now_ms);
    bool serving = r->commit.v >= r->term_start.v;
    m->lost = repl_in(r->list.members.lost, site);
    if (!m->lost && !p->counts && serving && p->met_round != 0 && r->lease_from_ms != 0 &&
        repl_round_sent_ms(r, p->met_round) < r->lease_from_ms)
        m->readmit = p->incarnation;
    return m;
}

void repl_heartbeat(struct repl *r, struct repl_actions *out, uint8_t site)
{
    struct repl_peer *p = &r->peers[site];
    p->sent_ms = r->now_ms;
    struct repl_message *m = entries_message(r, out, site, REPL_ACT_SEND);
    struct lsn before = {p->next.v - 1};
    /* A position whose term is known, else the end: that does not fit either, and the answer tells where to go on. */
    bool known = before.v == 0 || repl_log_term(&r->log, before).v != 0;
    m->rejected = p->flow == REPL_FLOW_REFILL;
    repl_message_at(r, m, m->rejected || !known ? r->log.last : before);
}

static bool window_open(const struct repl_peer *p)
{
    if (p->flow == REPL_FLOW_STREAM)
        return p->window_n < REPL_WINDOW && p->window_bytes < REPL_WINDOW_BYTES;
    return p->flow == REPL_FLOW_PROBE && p->window_n == 0;
}

void repl_ship(struct repl *r, struct repl_actions *out, uint8_t site)
{
    struct repl_peer *p = &r->peers[site];
    if (!p->up || !repl_ships_to(r, site) || p->filling || p->next.v > r->log.last.v ||
        !window_open(p))
        return;
    p->filling = true;
    struct repl_message *m = entries_message(r, out, site, REPL_ACT_SEND_ENTRIES);
    repl_message_at(r, m, (struct lsn){p->next.v - 1});
}

void repl_ship_all(struct repl *r, struct repl_actions *out)
{
    for (uint8_t i = 0; i < r->options.sites; i++)
        repl_ship(r, out, i);
}

static void append_own(struct repl *r, struct repl_actions *out, enum entry_kind kind)
{
    struct lsn lsn = {r->log.last.v + 1};
    repl_log_append(&r->log, lsn, r->term, NULL);
    struct repl_action *a = repl_act(r, out, REPL_ACT_APPEND_OWN);
    a->lsn = lsn;
    a->term = r->term;
    a->kind = kind;
}

/* Nothing is known of it: what a former term heard does not hold now. */
static void begin(struct repl *r, struct repl_peer *p, struct lsn agreed)
{
    p->match = p->received = p->suspect_to = (struct lsn){0};
    p->applied = p->archived = (struct lsn){0};
    p->counts = false; /* until its first answer says so */
    p->met_round = 0;
    p->heard_ms = p->word_ms = 0;
    p->gone = (struct lsn){0};
    p->rtt_ms = 0;
    restart_flow(r, p, agreed);
}

void repl_shipping_peer_added(struct repl *r, uint8_t site)
{
    begin(r, &r->peers[site], r->log.last);
    r->peers[site].answered = 0;
}

void repl_shipping_begin(struct repl *r, struct repl_actions *out, const struct repl_members *list)
{
    repl_handover_seen(r, out, r->options.self, r->term);
    r->handover = REPL_HANDOVER_NONE;
    struct lsn agreed = r->log.last;
    r->term_start.v = r->log.last.v + 1;
    for (uint8_t i = 0; i < r->options.sites; i++) {
        begin(r, &r->peers[i], agreed);
        r->peers[i].reset_round = 0;
    }
    repl_lease_begin(r);
    append_own(r, out, list != NULL ? ENTRY_MEMBERS : ENTRY_NOOP);
    if (list != NULL)
        repl_members_append(r, out, r->log.last, list);
    repl_ship_all(r, out);
    repl_update_commit(r, out);
}

static void propose_members(struct repl *r, struct repl_actions *out,
                            const struct repl_members *next)
{
    char why[REPL_TEXT_BYTES];
    repl_members_obstacle(r, next, why, sizeof why);
    if (why[0] != '\0') {
        repl_act_text(r, out, REPL_ACT_REFUSED, false, "%s", why);
        return;
    }
    append_own(r, out, ENTRY_MEMBERS);
    repl_members_append(r, out, r->log.last, next);
}

void repl_on_propose(struct repl *r, struct repl_actions *out, const struct repl_event *e)
{
    if (r->role != REPL_PRIMARY)
        repl_act_text(r, out, REPL_ACT_REFUSED, false, "this site is not primary, %s is",
                      repl_site_name(r, r->primary));
    else if (r->handover > REPL_HANDOVER_WAIT)
        repl_act_text(r, out, REPL_ACT_REFUSED, false, "handing over to %s",
                      repl_site_name(r, r->successor));
    else if (r->commit.v < r->term_start.v)
        repl_act_text(
            r, out, REPL_ACT_REFUSED, false,
            "this site has just become primary: the first entry of term %llu is not committed yet",
            U(r->term.v));
    else if (!repl_lease_running(r, r->now_ms))
        repl_act_text(r, out, REPL_ACT_REFUSED, false, "this primary has no majority at present");
    else if (e->kind == ENTRY_MEMBERS)
        propose_members(r, out, &e->members);
    else
        append_own(r, out, e->kind);
    if (!e->more && r->role == REPL_PRIMARY)
        repl_ship_all(r, out);
}

void repl_on_sent(struct repl *r, struct repl_actions *out, const struct repl_event *e)
{
    struct repl_peer *p = &r->peers[e->site];
    if (r->role != REPL_PRIMARY || !p->filling)
        return;
    p->filling = false;
    if (e->bytes == 0 || e->position.lsn.v < p->next.v || e->position.lsn.v > r->log.last.v)
        return; /* the link is full, or the log is still being read: a heartbeat or an answer tries again */
    p->sent_ms = r->now_ms;
    p->gone = (struct lsn){0};
    window_push(
        p, (struct repl_frame){{p->next.v - 1}, e->position.lsn, e->bytes, r->round, r->now_ms});
    p->next.v = e->position.lsn.v + 1;
    repl_ship(r, out, e->site);
}

void repl_on_gone(struct repl *r, struct repl_actions *out, uint8_t site)
{
    struct repl_peer *p = &r->peers[site];
    if (r->role != REPL_PRIMARY || !p->filling)
        return;
    p->filling = false;
    if (p->gone.v ==
        0) /* once: while it is refilled, it is looked again and again whether that is enough */
        repl_trace(r, out,
                   "term %llu: %s needs entry %llu, which is not in this log any more -> it needs "
                   "a refill",
                   U(r->term.v), repl_site_name(r, site), U(p->next.v));
    window_clear(p);
    p->flow = REPL_FLOW_REFILL;
    p->gone = p->next;
    p->reset_round = r->round;
}

void repl_shipping_peer_up(struct repl *r, struct repl_actions *out, uint8_t site)
{
    struct repl_peer *p = &r->peers[site];
    if (!repl_ships_to(r, site))
        return;
    restart_flow(r, p, p->match.v > 0 ? p->match : (struct lsn){p->next.v - 1});
    if (p->next.v <= r->log.last.v)
        repl_ship(r, out, site);
    else
        repl_heartbeat(r, out, site);
}

void repl_shipping_peer_down(struct repl *r, uint8_t site)
{
    struct repl_peer *p = &r->peers[site];
    p->filling = false;
    window_clear(p);
}

void repl_peer_renewed(struct repl *r, uint8_t site)
{
    struct repl_peer *p = &r->peers[site];
    p->match = p->received = p->suspect_to = (struct lsn){0};
    p->applied = p->archived = (struct lsn){0};
    p->counts = false;
    p->answered = p->word_ms = 0;
    p->met_round = 0;
    if (r->role == REPL_PRIMARY)
        repl_lease_update(r);
}

static void measure(struct repl_peer *p, uint32_t sample_ms)
{
    if (p->rtt_ms == 0) {
        p->rtt_ms = sample_ms + 1;
        p->rtt_var_ms = sample_ms / 2;
        return;
    }
    uint32_t off = sample_ms > p->rtt_ms ? sample_ms - p->rtt_ms : p->rtt_ms - sample_ms;
    p->rtt_var_ms = (3 * p->rtt_var_ms + off) / 4;
    p->rtt_ms = (7 * p->rtt_ms + sample_ms + 7) / 8;
}

/* It answered: the lease, its state, its round trip. */
static void note_answer(struct repl *r, struct repl_peer *p, const struct repl_message *m)
{
    p->heard_ms = r->now_ms;
    p->counts = m->counts;
    if (p->met_round == 0)
        p->met_round = r->round;
    p->applied = m->applied;
    p->archived = m->archived;
    if (m->round > p->answered) {
        p->answered = m->round;
        uint64_t sent = repl_round_sent_ms(r, m->round);
        if (sent != 0)
            p->word_ms = sent;
        if (sent != 0 && r->now_ms - sent < 60000)
            measure(p, (uint32_t)(r->now_ms - sent));
    }
    p->received = m->last;
    repl_lease_update(r);
}

static void suspect(struct repl *r, struct repl_actions *out, uint8_t site, struct lsn to,
                    const char *why)
{
    struct repl_peer *p = &r->peers[site];
    if (p->suspect_to.v == 0)
        repl_trace(r, out, "term %llu: %s %s at %llu -> not counted until it agrees again",
                   U(r->term.v), repl_site_name(r, site), why, U(to.v));
    p->suspect_to = lsn_max(p->suspect_to, to);
    p->match = (struct lsn){0};
    repl_lease_update(r);
}

static void rejected(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    struct repl_peer *p = &r->peers[m->from];
    if (m->round <= p->reset_round || p->filling)
        return; /* about something sent before `next` was moved */
    if (m->last.v < p->match.v && p->match.v >= r->term_start.v)
        suspect(r, out, m->from, p->match, "has lost what it acknowledged");
    if (p->flow == REPL_FLOW_REFILL && m->lsn.v + 1 <= p->gone.v)
        return;
    struct lsn hint = lsn_min(m->lsn, r->log.last);
    struct term ours = repl_log_term(&r->log, hint);
    if (ours.v != 0 && ours.v != m->lsn_term.v)
        hint = repl_log_floor(&r->log, hint, m->lsn_term);
    restart_flow(r, p, lsn_max(hint, p->match));
    repl_ship(r, out, m->from);
}

static void accepted(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    struct repl_peer *p = &r->peers[m->from];
    static const struct sha256 unknown = {{0}};
    const struct sha256 *hash = repl_log_hash(&r->log, m->lsn);
    bool known = hash != NULL && !sha256_equal(&m->hash, &unknown);
    struct term ours = repl_log_term(&r->log, m->lsn);
    if (m->lsn.v > r->log.last.v || (ours.v != 0 && ours.v != m->lsn_term.v) ||
        (known && !sha256_equal(&m->hash, hash))) {
        suspect(r, out, m->from, lsn_min(m->lsn, r->log.last),
                "acknowledged something else than was sent");
        return;
    }
    if (p->suspect_to.v != 0) {
        if (!known || m->lsn.v < p->suspect_to.v)
            return;
        repl_trace(r, out, "term %llu: %s agrees again at %llu -> counted", U(r->term.v),
                   repl_site_name(r, m->from), U(m->lsn.v));
        p->suspect_to = (struct lsn){0};
        repl_lease_update(r);
    }
    p->match = lsn_max(p->match, m->lsn);
    window_ack(p, p->match);
    if (p->next.v <= p->match.v)
        p->next.v = p->match.v + 1;
    if (m->round > p->reset_round && p->flow != REPL_FLOW_STREAM && m->last.v + 1 >= p->next.v)
        p->flow = REPL_FLOW_STREAM;
    repl_handover_progress(r, out);
    repl_ship(r, out, m->from);
}

void repl_on_ack(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    if (m->term.v > r->term.v) {
        if (r->role == REPL_PRIMARY)
            repl_adopt_term(r, out, m->term, REPL_NOBODY);
        return;
    }
    if (r->role != REPL_PRIMARY || m->term.v < r->term.v || m->round > r->round)
        return;
    struct repl_peer *p = &r->peers[m->from];
    bool late = m->round <
                p->answered; /* overtaken by a newer answer: its position holds, its news do not */
    if (!late)
        note_answer(r, p, m);
    if (!m->rejected)
        accepted(r, out, m);
    else if (!late)
        rejected(r, out, m);
    repl_update_commit(r, out);
}

/* Frames that nothing accounts for: sent again from the durable position. */
static void resend(struct repl *r, struct repl_actions *out, uint8_t site)
{
    struct repl_peer *p = &r->peers[site];
    if (p->window_n == 0)
        return;
    const struct repl_frame *oldest = &p->window[p->window_first];
    uint64_t patience = REPL_RESEND_HEARTBEATS * (uint64_t)r->options.heartbeat_ms;
    if (p->rtt_ms + 4 * p->rtt_var_ms > patience)
        patience = p->rtt_ms + 4 * p->rtt_var_ms;
    if (r->now_ms < oldest->sent_ms + patience)
        return;
    if (p->answered > oldest->round && p->received.v >= oldest->last.v)
        return;                      /* it is there, its disk is slow */
    if (p->flow == REPL_FLOW_STREAM) /* told once, not with every attempt */
        repl_trace(r, out,
                   "term %llu: %s has not accounted for %llu in %llu ms -> sending again from %llu",
                   U(r->term.v), repl_site_name(r, site), U(oldest->last.v),
                   U(r->now_ms - oldest->sent_ms), U(lsn_max(p->match, oldest->before).v + 1));
    restart_flow(r, p, lsn_max(p->match, oldest->before));
}

void repl_shipping_tick(struct repl *r, struct repl_actions *out)
{
    if (r->role != REPL_PRIMARY)
        return;
    if (repl_quorum_lost(r)) {
        repl_trace(r, out, "term %llu: no majority answered for %u ms -> no longer primary",
                   U(r->term.v), r->options.lease_ms + r->options.election_ms);
        repl_become_standby(r, out, REPL_NOBODY);
        return;
    }
    for (uint8_t i = 0; i < r->options.sites; i++) {
        struct repl_peer *p = &r->peers[i];
        if (!p->up || !repl_ships_to(r, i))
            continue;
        resend(r, out, i);
        repl_ship(r, out, i);
        if (r->now_ms >= p->sent_ms + r->options.heartbeat_ms)
            repl_heartbeat(r, out, i);
    }
}
