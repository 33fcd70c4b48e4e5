/* Rounds, the lease and check-quorum: when may a primary believe that nobody else is primary?
 *
 * Every ENTRIES message carries a round number, and the primary remembers when it sent each (in grains of lease_ms /
 * 64; a sending inside a grain counts as of the grain's beginning, which errs on the safe side). A voter that
 * answers round n promises, by its answer, to grant nobody a vote and not to stand for a while after it received the
 * message. The primary therefore knows that nobody can be elected before
 *
 *     (sending time of the newest round that a majority answered) + lease_ms
 *
 * The promise runs from the receipt and the lease from the sending (R4), so the network's delay never matters. A voter's
 * promise lasts election_ms, or, once the primary's link has closed, lease_ms + lease_ms / 10; both are longer than
 * lease_ms by at least a tenth, so clocks may differ in rate by that much. A voter that has just started does not know
 * what it promised before, so it keeps quiet for a whole election_ms.
 *
 * Giving the lease up (switchover): rounds are frozen at R0 = round, and only later ones can give a lease again. The
 * successor and its voters honour the hand-over only as long as they have seen no round above R0. A resumed lease needs a
 * majority that answered a round above R0, the successor's election a majority that did not: the two exclude each
 * other, however late the hand-over's messages arrive.
 *
 * Source: Ongaro, thesis, sections 6.2 (check quorum) and 6.4.1 (leases). */
#include "replication/core/repl_state.h"

static uint64_t margin_ms(const struct repl *r)
{
    return r->options.lease_ms / 10 + 1;
}

void repl_lease_begin(struct repl *r)
{
    r->round = 0;
    r->lease_floor = 0;
    r->lease_from_ms = 0;
    r->mark_first = r->mark_n = 0;
    r->since_ms = r->now_ms;
    for (uint8_t i = 0; i < r->options.sites; i++)
        r->peers[i].answered = 0;
    repl_lease_update(r);
}

static struct repl_mark *mark_at(struct repl *r, uint32_t i)
{
    return &r->marks[(r->mark_first + i) % REPL_ROUND_MARKS];
}

uint64_t repl_round_begin(struct repl *r)
{
    if (r->handover == REPL_HANDOVER_ASKED)
        return r->round; /* frozen: no lease grows while it is given up */
    r->round++;
    uint64_t grain = r->options.lease_ms / REPL_MARKS_PER_LEASE;
    if (r->mark_n > 0 && r->now_ms - mark_at(r, r->mark_n - 1)->sent_ms <= grain)
        return r->round;
    if (r->mark_n == REPL_ROUND_MARKS) {
        r->mark_first = (r->mark_first + 1) % REPL_ROUND_MARKS;
        r->mark_n--;
    }
    *mark_at(r, r->mark_n++) = (struct repl_mark){r->round, r->now_ms};
    return r->round;
}

uint64_t repl_round_sent_ms(const struct repl *r, uint64_t round)
{
    for (uint32_t i = r->mark_n; i-- > 0;) {
        const struct repl_mark *m = &r->marks[(r->mark_first + i) % REPL_ROUND_MARKS];
        if (m->round <= round)
            return m->sent_ms;
    }
    return 0;
}

void repl_lease_update(struct repl *r)
{
    uint64_t times[REPL_SITES_MAX] = {0};
    uint32_t n = 0;
    for (uint8_t i = 0; i < r->options.sites; i++) {
        const struct repl_peer *p = &r->peers[i];
        uint64_t sent = 0;
        if (!repl_votes(r, i))
            continue;
        if (i == r->options.self)
            sent = UINT64_MAX;
        else if (p->counts && p->suspect_to.v == 0 && p->answered > r->lease_floor)
            sent = repl_round_sent_ms(r, p->answered);
        uint32_t at = n++;
        for (; at > 0 && times[at - 1] < sent; at--)
            times[at] = times[at - 1];
        times[at] = sent;
    }
    r->lease_from_ms = times[repl_majority(r) - 1];
}

bool repl_lease_running(const struct repl *r, uint64_t now_ms)
{
    if (r->role != REPL_PRIMARY || r->handover == REPL_HANDOVER_ASKED || r->lease_from_ms == 0)
        return false;
    return r->lease_from_ms == UINT64_MAX || now_ms < r->lease_from_ms + r->options.lease_ms;
}

bool repl_lease_valid(const struct repl *r, uint64_t now_ms)
{
    return repl_lease_running(r, now_ms) && r->commit.v >= r->term_start.v;
}

uint64_t repl_quorum_lost_ms(const struct repl *r)
{
    if (r->lease_from_ms == UINT64_MAX)
        return UINT64_MAX; /* a cluster of one */
    uint64_t from = r->since_ms;
    if (r->lease_from_ms + r->options.lease_ms > from && r->lease_from_ms != 0)
        from = r->lease_from_ms + r->options.lease_ms;
    return from + r->options.election_ms;
}

bool repl_quorum_lost(const struct repl *r)
{
    return r->role == REPL_PRIMARY && r->handover != REPL_HANDOVER_ASKED &&
           r->now_ms >= repl_quorum_lost_ms(r);
}

uint64_t repl_promise_end(const struct repl *r, bool link_closed)
{
    uint64_t end = r->start_ms + r->options.election_ms;
    if (r->heard_from == REPL_NOBODY)
        return end;
    uint64_t promised =
        r->heard_ms + (link_closed ? r->options.lease_ms + margin_ms(r) : r->options.election_ms);
    return promised > end ? promised : end;
}
