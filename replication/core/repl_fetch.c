/* FETCH and TAIL: a candidate takes what its voters hold beyond its own log before it stands.
 *
 * WHY. gsr stores the log and votes, but never becomes primary. When dc is lost after an entry was made durable at dc and gsr
 * only, gsr rightly refuses dr its vote, and nobody could ever be elected. So a refused candidate asks the voter that has the
 * longer log for what follows its own end, appends it, and asks for votes again. Viewstamped Replication's view change has the
 * same step.
 *
 * WHY IT IS SAFE. (1) Appending entries of past terms, created by their primaries, to a log that matches, is what every follower
 * does; it acknowledges nothing and moves no commit index, and it only makes the candidate's log a prefix of a log that could
 * itself have been elected. (2) Cutting: the candidate C cuts a suffix only in favour of a voter V whose log ends in a
 * higher term, t(V) > t(C). Let e be an entry that C would cut, and suppose it is committed in some term t >= e's: a majority M
 * has an entry of term t durable, with e below it. C is not in M, for then t(C) >= t, so t(V) > t, and the primary of t(V) had e
 * (leader completeness), hence V's log, which ends in an entry of that primary, has it, and there is no conflict at
 * e. So every copy that makes e committed is elsewhere, and none of them is touched. A later acknowledgement that would make C a
 * member of such an M must first put e back through ordinary log matching. (3) What is at or below the own commit index
 * is never cut (repl_merge). (4) With equal last terms the shorter log is a prefix of the longer, so there is nothing to cut.
 *
 * What is to be cut is exported first (repl_cut.c): the attempt waits for that, as long as the voter answers.
 *
 * Each answer carries the end of V's log at that moment, so (2) is judged anew each time; answers are tied to the attempt by a
 * number. A fetch that gets no answer for an election time is given up, and so is one from a voter whose log does not reach back
 * far enough: one that was rebuilt from the repository has only what came later. Another voter is asked then, and this one not
 * before the next attempt. One whose answer is of a later term than the own is given up, too: with entries of that term in its
 * log, the candidate could still be elected in its old term by a vote that was long on its way, and terms would fall along it. */
#include "replication/core/repl_state.h"

/* The next refusal may come from a voter that has more of its log: one that is asked first each time must not keep this site from
 * the others. */
static void give_up(struct repl *r)
{
    r->peers[r->fetch_from].fetch_vain = true;
    r->fetch_from = REPL_NOBODY;
}

static bool is_past(const struct repl *r, struct lsn last, struct term last_term)
{
    if (last_term.v != r->log.last_term.v)
        return last_term.v < r->log.last_term.v;
    return last.v <= r->log.last.v;
}

static void request(struct repl *r, struct repl_actions *out)
{
    struct repl_message *m = repl_send(r, out, REPL_ACT_SEND, REPL_MSG_FETCH, r->fetch_from);
    repl_message_at(r, m, r->fetch_at);
    m->round = r->attempt;
    r->fetch_ms = r->now_ms + REPL_RESEND_HEARTBEATS * r->options.heartbeat_ms;
}

static void wait_on(struct repl *r)
{
    r->fetch_until_ms = r->now_ms + r->options.election_ms;
    if (r->deadline_ms < r->fetch_until_ms)
        r->deadline_ms = r->fetch_until_ms; /* the attempt waits for its log */
}

/* An answer that brings the fetch on gives it another election time. */
static void request_next(struct repl *r, struct repl_actions *out, struct lsn at)
{
    r->fetch_at = at;
    wait_on(r);
    request(r, out);
}

void repl_fetch_exported(struct repl *r, struct repl_actions *out)
{
    if (r->fetch_from != REPL_NOBODY)
        request(r, out);
}

void repl_fetch_begin(struct repl *r, struct repl_actions *out, uint8_t from)
{
    r->fetch_from = from;
    repl_trace(r, out, "term %llu: the log of %s goes beyond ours at %llu/%llu -> fetching",
               U(r->term.v), repl_site_name(r, from), U(r->log.last_term.v), U(r->log.last.v));
    request_next(r, out, r->log.last);
}

void repl_fetch_tick(struct repl *r, struct repl_actions *out)
{
    if (r->fetch_from == REPL_NOBODY)
        return;
    if (r->now_ms >= r->fetch_until_ms) {
        repl_trace(r, out, "term %llu: %s does not answer -> fetch given up at %llu/%llu",
                   U(r->term.v), repl_site_name(r, r->fetch_from), U(r->log.last_term.v),
                   U(r->log.last.v));
        give_up(r);
    } else if (r->now_ms >= r->fetch_ms) {
        request(r, out);
    }
}

void repl_on_fetch(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    if (r->broken)
        return;
    bool here = m->lsn.v <= r->log.last.v &&
                (m->lsn.v == 0 || repl_log_term(&r->log, m->lsn).v == m->lsn_term.v);
    bool more = here && m->lsn.v < r->log.last.v;
    struct repl_message *t =
        repl_send(r, out, more ? REPL_ACT_SEND_ENTRIES : REPL_ACT_SEND, REPL_MSG_TAIL, m->from);
    struct lsn at = m->lsn;
    if (!here) {
        struct lsn below = {m->lsn.v > 0 ? m->lsn.v - 1 : 0};
        at = repl_log_floor(&r->log, below, m->lsn_term);
    }
    repl_message_at(r, t, at);
    t->rejected = !here;
    t->last = r->log.last;
    t->last_term = r->log.last_term;
    t->round = m->round;
}

/* The entries that the candidate needs are not in this log any more: say so, with a position that fits nobody. */
void repl_fetch_gone(struct repl *r, struct repl_actions *out, uint8_t site)
{
    struct repl_message *t = repl_send(r, out, REPL_ACT_SEND, REPL_MSG_TAIL, site);
    t->rejected = true;
    t->last = r->log.last;
    t->last_term = r->log.last_term;
    repl_trace(
        r, out,
        "term %llu: %s asks for entries that are not in this log any more -> it needs a refill",
        U(r->term.v), repl_site_name(r, site));
}

static void fetched(struct repl *r, struct repl_actions *out)
{
    repl_trace(r, out, "term %llu: fetched the tail of %s -> at %llu/%llu, asking again",
               U(r->term.v), repl_site_name(r, r->fetch_from), U(r->log.last_term.v),
               U(r->log.last.v));
    r->fetch_from = REPL_NOBODY;
    repl_stand_again(r, out);
}

static void refit(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    struct lsn hint = lsn_min(m->lsn, r->log.last);
    struct lsn at = repl_log_term(&r->log, hint).v == m->lsn_term.v
                        ? hint
                        : repl_log_floor(&r->log, hint, m->lsn_term);
    at = lsn_max(at, r->commit);
    if (at.v >= r->fetch_at.v) {
        repl_trace(r, out, "term %llu: no common position with %s below %llu -> fetch given up",
                   U(r->term.v), repl_site_name(r, m->from), U(r->fetch_at.v));
        give_up(r);
        return;
    }
    request_next(r, out, at);
}

void repl_on_tail(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                  const struct repl_entry_meta *metas)
{
    bool standing = r->role == REPL_PRE_CANDIDATE || r->role == REPL_CANDIDATE;
    if (!standing || r->fetch_from != m->from || (m->round != r->attempt && m->round != 0))
        return;
    if (m->term.v > r->term.v) {
        repl_trace(r, out, "term %llu: %s is in term %llu -> fetch given up, standby", U(r->term.v),
                   repl_site_name(r, m->from), U(m->term.v));
        repl_adopt_term(r, out, m->term, REPL_NOBODY);
        if (r->forced_until_ms != 0)
            r->deadline_ms = r->now_ms;
        return;
    }
    if (m->rejected) {
        refit(r, out, m);
        return;
    }
    if (m->lsn.v > r->log.last.v ||
        (m->lsn.v > 0 && repl_log_term(&r->log, m->lsn).v != m->lsn_term.v))
        return; /* an answer to an older question */
    enum repl_fit fit = repl_merge(r, out, m, metas, m->last_term.v > r->log.last_term.v);
    if (fit == REPL_FIT_BROKEN)
        return;
    if (fit == REPL_FIT_LATER) { /* and is asked for again and again meanwhile */
        wait_on(r);
        return;
    }
    if (fit == REPL_FIT_NOT) {
        repl_trace(
            r, out,
            "term %llu: the log of %s conflicts with ours and is not newer -> fetch given up",
            U(r->term.v), repl_site_name(r, m->from));
        give_up(r);
        return;
    }
    if (r->fetch_from != m->from)
        return; /* with what came it ceased to stand: a list that takes its vote, say */
    if (is_past(r, m->last, m->last_term))
        fetched(r, out);
    else if (m->count > 0)
        request_next(r, out, r->log.last);
}
