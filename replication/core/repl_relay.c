/* PULL and GIVE, the side that asks: a site that no primary serves takes what is committed from another site.
 *
 * WHO ASKS. (1) A site that hears no primary: the link to it is closed, or it has been silent for four heartbeats. Mostly the
 * primary is well and only the line between the two is cut; then this site follows it through the third, which hears it.
 * (2) A site that hears its primary, but needs entries that the primary's log does not have any more (ENTRIES with `rejected`): a
 * refill, from a site that has them in its log or its archive. Or nothing of what is missing has come for an election time: the
 * line is cut in the other direction, and the primary does not know what to send. All are the same asking: what follows this
 * position, and is committed? One site is asked at a time; one that does not answer, or cannot give it, gives way to the next.
 *
 * THE STREAM. It begins at the end of the own log, or, where that does not agree with what is committed, at the own commit index,
 * which always does. PULL is repeated each heartbeat, and at once when entries come: it tells how far they have come, so that
 * repl_give.c can keep a few frames on their way, and it keeps the asking alive. An answer that does not fit (a frame was lost,
 * or the own log has no room) begins the stream anew, at most once in a heartbeat. So do answers that bring nothing for a while
 * though there is more: the frame that is missing was the last one, and nothing follows that would not fit.
 *
 * WHY IT IS SAFE. Entries are given only up to what their giver knows to be committed (unfit() in repl.c looks again).
 * (1) What is committed is in the log of every primary of this and of any later term, so taking it is what any such primary would
 * have this site do; and a conflicting suffix that is cut for it (bundle first, R9) was not committed and never can be, for two
 * entries cannot both be committed at one lsn. This needs no equal terms: an answer of a past term holds what was committed
 * in it or before, which is as true in this site's term. (2) An answer of a later term is first followed into that term, as any
 * message of Raft would be, so that no entry of a term is in a log whose site could still be elected, or vote, in an earlier one.
 * The vote of that term is not given: this site had not been in it. (3) `matched` may grow by what was taken: a primary of
 * this term has it. It is acknowledged to a primary only, as always (R2): durable, by this site itself, with its hash; and counts
 * for nothing there, since it is committed already. PULL is no acknowledgement, it may name what is not durable. Who gives
 * passes nothing on, so a lease never rests on a site that its primary cannot reach. (4) What two operators declared lost
 * (repl_solo.c) was committed once and is not any more. Who may hold it and was not told yet is one of the sites that were lost,
 * and these hear no primary, or each other, in terms long past. So a site without its vote, because it was rebuilt or declared
 * lost itself, takes only what is given by one who hears the primary, in its own term or a later one. A site with its vote was
 * not told either: it is as with two lost sites that find each other and not the last one. And who was declared lost may hold
 * such entries as committed: it is told which entry another one has at its commit index, asks from below, and finds where they
 * part.
 *
 * What has to be cut first is exported first: until that is done a give says only up to where the logs agree (repl_cut.c).
 *
 * ELECTIONS. While the answers say that their giver hears the primary of its term (in its own ears, four heartbeats ago at most:
 * nobody passes on what he was told), this site does not stand; it would be refused in any case. As soon as they do not, it
 * stands when its own promise is over. The deadline only ever moves, no promise does, so this is a matter of calm, not of safety.
 * A site that was rebuilt does not say that it hears a primary (R5), and neither does anybody to the primary that he hears.
 *
 * AGE (P5). The giver says how long ago it heard the primary's newest word. The answer was written after the PULL that it
 * answers was sent, so that word is at most that much older than the sending: that moment, by this site's own clock, is what it
 * claims (REPL_ACT_HEARD), and no delay between the two makes it claim more. (The way from the primary to its hearer is not
 * counted, as where it is followed directly.) Only a word that has a newer round counts, and only of the term that this site is
 * in.
 *
 * INVARIANTS
 *   A1  Nothing at or below the own commit index is cut (repl_merge).
 *   A2  Candidates, primaries and broken sites ask nobody, and take nothing that is still on its way. */
#include "replication/core/repl_state.h"

#include "store/core/check.h"

static uint64_t heartbeats(const struct repl *r, uint32_t n)
{
    return n * (uint64_t)r->options.heartbeat_ms;
}

/* From when on the primary is silent here. */
static uint64_t silent_ms(const struct repl *r)
{
    if (r->heard_from == REPL_NOBODY && r->led_until_ms == 0)
        return r->start_ms + r->options.election_ms; /* a start has its own bustle */
    uint64_t last = r->heard_ms > r->led_until_ms ? r->heard_ms : r->led_until_ms;
    if (r->heard_from != REPL_NOBODY && !r->peers[r->heard_from].up)
        return last;
    return last + heartbeats(r, REPL_SILENT_HEARTBEATS);
}

/* The primary is heard, and has not what is needed. */
static bool refilling(const struct repl *r)
{
    return r->relay.refill && r->role == REPL_STANDBY && r->now_ms < silent_ms(r);
}

/* From when on no primary serves this site; UINT64_MAX: it asks nobody in any case. */
static uint64_t unserved_ms(const struct repl *r)
{
    bool waits = r->role == REPL_STANDBY || r->role == REPL_PRE_CANDIDATE;
    if (!waits || r->broken || r->forced_until_ms != 0 || r->options.sites < 2)
        return UINT64_MAX;
    return refilling(r) ? 0 : silent_ms(r);
}

/* ---- what the primary says to this site itself ---- */

void repl_relay_heard(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                      bool newer)
{
    if (r->relay.told)
        repl_trace(r, out, "term %llu: %s is heard again -> following it directly", U(m->term.v),
                   repl_site_name(r, m->from));
    r->relay.told = r->relay.hears = false;
    r->relay.vain &= r->relay.refill ? UINT32_MAX : 0;
    if (!newer)
        return; /* late, or repeated: no news of when */
    r->relay.word = lsn_max(r->relay.word, m->commit);
    if (m->granted) /* else another one may be primary already, and have acknowledged more */
        r->relay.word_ms = r->now_ms;
}

void repl_relay_served(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                       bool grew)
{
    struct repl_relay *a = &r->relay;
    if (grew || r->log.last.v >= m->commit.v || r->full) {
        a->refill = a->lacks = false;
        a->stalled_ms = 0;
        return;
    }
    if (a->stalled_ms == 0)
        a->stalled_ms = r->now_ms;
    bool stalled = r->now_ms >= a->stalled_ms + r->options.election_ms;
    if (a->refill || !(m->rejected || stalled))
        return;
    a->refill = true;
    a->vain = 0;
    a->from = REPL_NOBODY;
    a->ask_ms = r->now_ms;
    repl_trace(r, out, "term %llu: what follows %llu %s of %s %s -> asking others", U(r->term.v),
               U(r->log.last.v), m->rejected ? "is not in the log" : "is in the log",
               repl_site_name(r, r->primary), m->rejected ? "any more" : "and does not come");
}

/* ---- asking ---- */

static void ask(struct repl *r, struct repl_actions *out)
{
    struct repl_relay *a = &r->relay;
    struct repl_message *m = repl_send(r, out, REPL_ACT_SEND, REPL_MSG_PULL, a->from);
    repl_message_at(r, m, a->at);
    m->round = ++a->round;
    m->rejected = a->begins;
    if (a->timed == 0) {
        a->timed = a->round;
        a->timed_ms = r->now_ms;
    }
    if (a->begins)
        a->began_ms = r->now_ms;
    a->ask_ms = r->now_ms + heartbeats(r, a->begins ? REPL_RESEND_HEARTBEATS : 1);
}

/* Answers to what was asked before do not count any more. */
static void begin_at(struct repl *r, struct repl_actions *out, struct lsn at)
{
    struct repl_relay *a = &r->relay;
    uint64_t soonest = a->began_ms + heartbeats(r, 1);
    a->at = at;
    a->begins = true;
    a->timed = 0;
    a->began = a->round + 1;
    if (a->began_ms != 0 && r->now_ms < soonest)
        a->ask_ms = soonest;
    else
        ask(r, out);
}

static void ask_nobody(struct repl *r)
{
    r->relay.from = REPL_NOBODY;
    r->relay.hears = r->relay.begins = false;
}

/* The next one that may have it, or nobody for a while. */
static void ask_another(struct repl *r, struct repl_actions *out)
{
    struct repl_relay *a = &r->relay;
    ask_nobody(r);
    if (r->now_ms >= a->vain_ms + 2 * (uint64_t)r->options.election_ms)
        a->vain = 0; /* what could not be given then may be there now */
    for (uint8_t k = 1; k <= r->options.sites; k++) {
        uint8_t i = (uint8_t)((a->last + k) % r->options.sites);
        bool serves = refilling(r) && i == r->primary;
        if (i == r->options.self || !r->peers[i].up || serves || (a->vain & 1u << i) != 0)
            continue;
        a->from = a->last = i;
        a->answered_ms = r->now_ms;
        a->began_ms = 0;
        begin_at(r, out, r->log.last);
        return;
    }
    a->ask_ms = r->now_ms + heartbeats(r, REPL_RESEND_HEARTBEATS);
}

void repl_relay_tick(struct repl *r, struct repl_actions *out)
{
    struct repl_relay *a = &r->relay;
    if (r->now_ms < unserved_ms(r)) {
        ask_nobody(r);
        return;
    }
    bool silent = r->now_ms >= a->answered_ms + r->options.election_ms;
    if (a->from != REPL_NOBODY && (!r->peers[a->from].up || silent)) {
        if (a->hears)
            repl_hurry(r);
        ask_another(r, out);
    } else if (r->now_ms >= a->ask_ms) {
        if (a->from != REPL_NOBODY) {
            ask(r, out);
            return;
        }
        ask_another(r, out);
    }
}

uint64_t repl_relay_next_ms(const struct repl *r)
{
    uint64_t from = unserved_ms(r);
    return r->relay.ask_ms > from ? r->relay.ask_ms : from;
}

void repl_relay_view(const struct repl *r, struct repl_relay_view *out)
{
    const struct repl_relay *a = &r->relay;
    *out = (struct repl_relay_view){
        .from = a->from,
        .hears = a->from != REPL_NOBODY && a->hears,
        .refill = refilling(r),
        .vain = a->lacks,
        .of = lsn_max(lsn_max(a->of, a->word), r->primary_commit),
    };
}

/* ---- answers ---- */

/* Does the giver hear a primary? Then there is no reason to stand. */
static void note_calm(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    struct repl_relay *a = &r->relay;
    bool hears = m->granted && m->term.v == r->term.v && !refilling(r);
    if (!hears) {
        if (a->hears)
            repl_hurry(r);
        a->hears = false;
        return;
    }
    a->hears = true;
    if (r->role == REPL_PRE_CANDIDATE)
        repl_become_standby(r, out, REPL_NOBODY);
    if (r->deadline_ms < r->now_ms + r->options.election_ms)
        r->deadline_ms = r->now_ms + r->options.election_ms;
    r->link_lost = false;
    bool lasts = r->now_ms >= r->heard_ms + r->options.election_ms; /* no hiccup */
    if (lasts && !a->told)
        repl_trace(r, out, "term %llu: %s is not reachable from here -> following through %s",
                   U(r->term.v),
                   r->heard_from != REPL_NOBODY && r->heard_from != m->from
                       ? repl_site_name(r, r->heard_from)
                       : "the primary",
                   repl_site_name(r, m->from));
    a->told |= lasts;
}

static void note_word(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    struct repl_relay *a = &r->relay;
    if (a->timed == 0 || m->round < a->timed)
        return;
    uint64_t sent_ms = a->timed_ms;
    a->timed = 0;
    if (!a->hears || m->age_ms >= sent_ms)
        return;
    struct repl_action *heard = repl_act(r, out, REPL_ACT_HEARD);
    heard->lsn = m->commit;
    heard->term = m->term;
    heard->as_of_ms = sent_ms - m->age_ms;
}

/* Whoever it is, it is not asked for a while; why is told now and then. */
static void in_vain(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                    const char *why)
{
    struct repl_relay *a = &r->relay;
    char term[40] = "";
    if (a->vain == 0)
        a->vain_ms = r->now_ms;
    a->vain |= 1u << m->from;
    if (m->term.v != r->term.v)
        (void)snprintf(term, sizeof term, ", in term %llu,", U(m->term.v));
    if (repl_worth_telling(++a->failures))
        repl_trace(r, out, "term %llu: %s%s %s what follows %llu%s, %u times now", U(r->term.v),
                   repl_site_name(r, m->from), term, m->rejected ? "cannot give" : "gives",
                   U(a->at.v), why, a->failures);
    ask_another(r, out);
}

/* (4) in WHY IT IS SAFE. */
static bool believed(const struct repl *r, const struct repl_message *m)
{
    return r->may_vote || (m->granted && m->term.v >= r->term.v);
}

/* Does the refusal name another entry than is here? */
static bool parted(const struct repl *r, const struct repl_message *m)
{
    static const struct sha256 unknown = {{0}};
    const struct term ours = repl_log_term(&r->log, m->lsn);
    const struct sha256 *hash = repl_log_hash(&r->log, m->lsn);
    return m->lsn.v != 0 && m->lsn.v == r->relay.at.v && ours.v != 0 && m->lsn_term.v != 0 &&
           (ours.v != m->lsn_term.v ||
            (hash != NULL && !sha256_equal(&m->hash, &unknown) && !sha256_equal(&m->hash, hash)));
}

static void not_given(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    struct repl_relay *a = &r->relay;
    struct lsn at = r->commit;
    if (a->at.v <= at.v) {
        if (r->may_vote || !believed(r, m) || !parted(r, m)) {
            a->lacks = true;
            in_vain(r, out, m, "");
            return;
        }
        /* Where the histories part lies below: what comes from there tells it (repl_merge). */
        at = repl_log_floor(&r->log, (struct lsn){a->at.v - 1}, m->lsn_term);
    }
    a->began_ms = 0; /* one more question, no row of them */
    begin_at(r, out, at);
}

static void not_believed(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    if (m->count > 0)
        in_vain(r, out, m, " and hears no primary: not taken, as this site has no vote");
    else if (r->now_ms >= r->relay.began_ms + heartbeats(r, REPL_RESEND_HEARTBEATS))
        ask_another(r, out); /* but it may hear one soon */
}

static void take(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                 const struct repl_entry_meta *metas)
{
    struct repl_relay *a = &r->relay;
    struct lsn hint = {0};
    enum repl_fit fit = repl_fits(r, out, m, &hint);
    if (fit == REPL_FIT)
        fit = repl_merge(r, out, m, metas, true);
    if (fit == REPL_FIT_BROKEN)
        return;
    if (fit == REPL_FIT_LATER)
        r->cut.of = r->term; /* what is committed is in every primary's */
    else if (fit == REPL_FIT_NOT && repl_cut_awaited(r, a->at))
        fit = REPL_FIT_LATER; /* it goes on behind what has to be cut */
    if (fit == REPL_FIT_NOT) {
        begin_at(r, out, !r->may_vote ? hint : m->lsn.v > r->log.last.v ? r->log.last : r->commit);
        return;
    }
    struct lsn at = fit == REPL_FIT ? (struct lsn){m->lsn.v + m->count} : r->cut.keep;
    check(at.v <= r->log.last.v);
    a->at = fit == REPL_FIT ? lsn_max(a->at, at) : at;
    r->matched = lsn_max(r->matched, at);
    r->primary_commit = lsn_max(r->primary_commit, lsn_max(m->last, m->commit));
    repl_update_commit(r, out);
    a->lacks &= m->count == 0;
    if (repl_cut_awaited(r, a->at))
        return; /* asked each heartbeat, which tells that nothing more can be taken */
    uint64_t since_ms = a->came_ms > a->began_ms ? a->came_ms : a->began_ms;
    bool waited = r->now_ms >= since_ms + heartbeats(r, REPL_RESEND_HEARTBEATS);
    if (m->count > 0) {
        a->failures = 0;
        a->came_ms = r->now_ms;
        ask(r, out);
    } else if (a->at.v < m->last.v && waited) {
        begin_at(r, out, a->at);
    } else if (!a->hears && a->at.v >= m->last.v &&
               r->now_ms >= a->began_ms + heartbeats(r, REPL_RESEND_HEARTBEATS))
        ask_another(r, out); /* it has no more; perhaps somebody else has */
}

void repl_relay_exported(struct repl *r, struct repl_actions *out)
{
    if (r->relay.from != REPL_NOBODY && repl_cut_parts(r, r->relay.at))
        begin_at(r, out, r->cut.keep);
}

void repl_on_give(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                  const struct repl_entry_meta *metas)
{
    struct repl_relay *a = &r->relay;
    if (r->now_ms < unserved_ms(r) || a->from != m->from || m->round < a->began ||
        m->round > a->round)
        return;
    a->answered_ms = r->now_ms;
    a->begins = false;
    if (m->rejected) {
        not_given(r, out, m);
        return;
    }
    if (!believed(r, m)) {
        not_believed(r, out, m);
        return;
    }
    if (m->term.v > r->term.v) {
        if (r->role == REPL_PRE_CANDIDATE && !m->granted)
            return; /* the answer to its question brings the term */
        repl_trace(r, out, "term %llu: %s is in term %llu -> so is this site", U(r->term.v),
                   repl_site_name(r, m->from), U(m->term.v));
        repl_adopt_term(r, out, m->term, REPL_NOBODY);
    }
    a->of = lsn_max(a->of, lsn_max(m->last, m->commit));
    note_calm(r, out, m);
    note_word(r, out, m);
    take(r, out, m, metas);
}
