/* The follower: ENTRIES in, log matching, acknowledgements out.
 *
 * LOG MATCHING (thesis, section 3.5). A message carries entries and names the one before the first. If that one is here with
 * the same term, everything before it agrees, for an entry is created once, by the primary of its term, behind what that
 * primary had. So: skip what is here already, cut at the first entry whose term differs, append the rest. Beside terms
 * the hashes of the headers are compared wherever both are at hand, and what is appended must carry the hash of
 * what it is appended to; as each header includes the previous one's hash, one equal hash proves the whole prefix.
 *
 * A CUT has to wait until what it undoes is exported. Until then what cannot be appended is answered as a heartbeat would be that
 * ends where the logs part (repl_cut.c).
 *
 * NOT ABLE TO GO ON. A cut at or below the commit index, or an equal (lsn, term) with another hash, contradicts what this site
 * has promised and cannot come from a correct history. The site then marks itself broken: standby, no votes, no acknowledgements
 * (P9, P10), until an operator looks. It does not crash on what others send.
 *
 * ACKNOWLEDGING (R2). An ACK names the last entry that is durable here and agrees with the primary's log. It is sent when
 * that position moves (DURABLE); when a message carries nothing new; and at the latest every second heartbeat interval however
 * slow the disk is, because the lease of the primary and its check of the quorum live on answers. It tells the end of the log,
 * too, so that the primary can tell a slow disk from a lost frame.
 *
 * INVARIANTS
 *   F1  matched grows within a term, save for what is cut, and never passes the end of the log.
 *   F2  nothing at or below commit is ever cut.
 *   F3  an ACK names min(durable, matched). */
#include "replication/core/repl_state.h"

#include "store/core/check.h"

void repl_break(struct repl *r, struct repl_actions *out, const char *why)
{
    if (!r->broken)
        repl_trace(r, out,
                   "term %llu: %s -> this site is broken and takes no part until it is repaired",
                   U(r->term.v), why);
    r->broken = true;
    r->forced_until_ms = 0;
    if (r->role != REPL_STANDBY)
        repl_become_standby(r, out, REPL_NOBODY);
}

static void ack(struct repl *r, struct repl_actions *out, bool rejected, struct lsn at)
{
    if (r->broken)
        return;
    struct repl_message *m = repl_send(r, out, REPL_ACT_SEND, REPL_MSG_ACK, r->primary);
    repl_message_at(r, m, at);
    /* What is beyond is not what the primary has sent. */
    m->last = repl_cut_awaited(r, r->matched) ? r->matched : r->log.last;
    m->last_term = repl_log_term(&r->log, m->last);
    m->rejected = rejected;
    m->counts = r->may_vote;
    m->round = r->seen_round;
    m->applied = repl_cut_parts(r, r->matched) ? lsn_min(r->applied, r->matched) : r->applied;
    m->archived = r->archived;
    r->acked_ms = r->now_ms;
    if (!rejected)
        r->acked = at;
}

static struct lsn ack_position(const struct repl *r)
{
    return lsn_min(r->log.durable, r->matched);
}

/* A primary of a past term: tell it ours. */
static void answer_past_term(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    struct repl_message *reply = repl_send(r, out, REPL_ACT_SEND, REPL_MSG_ACK, m->from);
    repl_message_at(r, reply, r->log.last);
    reply->rejected = true;
    reply->round = m->round;
}

/* Recognise the sender as the primary. False: it cannot be. */
static bool follow(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    if (r->role == REPL_PRIMARY || (r->seen_term.v == m->term.v && r->heard_from != m->from)) {
        repl_trace(r, out, "term %llu: %s claims to be primary, and so does %s -> ignored",
                   U(m->term.v), repl_site_name(r, m->from),
                   repl_site_name(r, r->role == REPL_PRIMARY ? r->options.self : r->heard_from));
        return false;
    }
    if (r->role != REPL_STANDBY || r->primary != m->from) {
        repl_trace(r, out, "term %llu: following %s at %llu/%llu", U(m->term.v),
                   repl_site_name(r, m->from), U(r->log.last_term.v), U(r->log.last.v));
        repl_become_standby(r, out, m->from);
    }
    if (r->seen_term.v != m->term.v) {
        r->seen_term = m->term;
        r->seen_round = 0;
        r->primary_last = (struct lsn){0};
        r->matched = r->commit;
        r->agrees = false;
        r->acked = (struct lsn){0};
        r->readmit_known = false;
    }
    bool newer = m->round > r->seen_round;
    if (newer)
        r->seen_round = m->round;
    r->heard_from = m->from;
    r->heard_ms = r->now_ms;
    r->primary_last = lsn_max(r->primary_last, m->last); /* within a term it only grows */
    repl_relay_heard(r, out, m, newer);
    r->waiting_told = r->let_others_stand = false;
    repl_rearm(r);
    return true;
}

enum repl_fit repl_fits(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                        struct lsn *hint)
{
    if (m->lsn.v > r->log.last.v) {
        *hint = r->log.last;
        return REPL_FIT_NOT;
    }
    struct term ours = repl_log_term(&r->log, m->lsn);
    if (m->lsn.v > 0 && ours.v != m->lsn_term.v) {
        if (m->lsn.v <= r->commit.v && ours.v == 0)
            return REPL_FIT; /* its term was forgotten, but what is committed agrees */
        *hint = repl_log_floor(&r->log, (struct lsn){m->lsn.v - 1}, m->lsn_term);
        if (!r->may_vote) /* where the histories part is looked for below the commit index, too */
            return REPL_FIT_NOT;
        if (m->lsn.v <= r->commit.v) {
            repl_break(r, out, "a primary's log differs below the commit index");
            return REPL_FIT_BROKEN;
        }
        *hint = lsn_max(*hint, r->commit);
        return REPL_FIT_NOT;
    }
    static const struct sha256 unknown = {{0}};
    const struct sha256 *hash = repl_log_hash(&r->log, m->lsn);
    if (hash != NULL && !sha256_equal(&m->hash, &unknown) && !sha256_equal(&m->hash, hash)) {
        repl_break(r, out, "an entry of equal position and term has another hash at a primary");
        return REPL_FIT_BROKEN;
    }
    return REPL_FIT;
}

enum repl_fit repl_merge(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                         const struct repl_entry_meta *metas, bool may_cut)
{
    uint32_t i = 0;
    for (; i < m->count && metas[i].lsn.v <= r->log.last.v; i++) {
        struct term ours = repl_log_term(&r->log, metas[i].lsn);
        if (ours.v == 0 && metas[i].lsn.v <= r->commit.v)
            continue;
        if (ours.v != metas[i].term.v)
            break;
        const struct sha256 *hash = repl_log_hash(&r->log, metas[i].lsn);
        if (hash != NULL && !sha256_equal(hash, &metas[i].hash)) {
            repl_break(r, out, "an entry of equal position and term has another hash elsewhere");
            return REPL_FIT_BROKEN;
        }
    }
    if (i == m->count)
        return REPL_FIT;
    struct lsn before = {metas[i].lsn.v - 1};
    if (before.v < r->log.last.v && !may_cut)
        return REPL_FIT_NOT;
    if (before.v < r->log.last.v && before.v < lsn_max(r->commit, r->list_before.lsn).v) {
        if (!r->may_vote) /* the others go on without it, by two operators' order: it is for people to apply it anew */
            repl_act(r, out, REPL_ACT_EXPORT)->lsn = before; /* granted is not set */
        repl_break(r, out, "a committed entry would have to be cut");
        return REPL_FIT_BROKEN;
    }
    const struct sha256 *hash = repl_log_hash(&r->log, before);
    if (hash != NULL && !sha256_equal(hash, &metas[i].prev_hash)) {
        repl_break(r, out, "an entry does not carry the hash of the one it would follow");
        return REPL_FIT_BROKEN;
    }
    if (metas[i].term.v < repl_log_term(&r->log, before).v)
        return REPL_FIT_NOT; /* terms never fall along a log */
    if (before.v < r->log.last.v && !repl_cut(r, out, before))
        return REPL_FIT_LATER;
    struct repl_action *a = repl_act(r, out, REPL_ACT_APPEND);
    a->first = i;
    a->count = m->count - i;
    for (; i < m->count; i++) {
        repl_log_append(&r->log, metas[i].lsn, metas[i].term, &metas[i].hash);
        if (metas[i].kind == ENTRY_MEMBERS)
            repl_members_append(r, out, metas[i].lsn, &metas[i].members);
    }
    return REPL_FIT;
}

/* R5: once a rebuilt site has everything that its former self may have acknowledged, it votes again. The bar is the commit index
 * of the first message that readmits it; later ones would move it on for ever under load. Its vote in this term
 * counts as given to the primary, for nobody knows whom the former self voted for. */
static void maybe_readmit(struct repl *r, struct repl_actions *out)
{
    if (r->may_vote || r->lost || !r->readmit_known || ack_position(r).v < r->readmit_at.v)
        return;
    r->may_vote = true;
    r->voted_for = r->primary;
    r->vote_dirty = true;
    repl_trace(r, out, "term %llu: caught up with %s at %llu -> this rebuilt site votes again",
               U(r->term.v), repl_site_name(r, r->primary), U(r->readmit_at.v));
}

void repl_on_entries(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                     const struct repl_entry_meta *metas)
{
    if (m->term.v < r->term.v) {
        answer_past_term(r, out, m);
        return;
    }
    if (r->forced_until_ms != 0) {
        if (m->term.v == r->term.v && r->role == REPL_STANDBY)
            return; /* failover ordered: no new promise to the primary that is to be replaced */
        r->forced_until_ms = 0;
        repl_act_text(r, out, REPL_ACT_SWITCHOVER, false, "%s became primary of term %llu",
                      repl_site_name(r, m->from), U(m->term.v));
    }
    repl_declared_lost(r, out, m); /* before its term: who steps into it has no vote already */
    if (m->term.v > r->term.v)
        repl_adopt_term(r, out, m->term, REPL_NOBODY);
    if (!follow(r, out, m))
        return;
    repl_handover_seen(r, out, m->from, m->term);
    if (r->broken)
        return;

    struct lsn hint = {0};
    enum repl_fit fit = repl_fits(r, out, m, &hint);
    struct lsn end = r->log.last;
    if (fit == REPL_FIT) {
        fit = repl_merge(r, out, m, metas, true);
        if (fit == REPL_FIT_NOT)
            hint = r->commit;
    }
    if (fit == REPL_FIT_BROKEN)
        return;
    if (fit == REPL_FIT_LATER)
        r->cut.of = r->term;
    else if (fit == REPL_FIT_NOT && repl_cut_awaited(r, r->matched))
        fit = REPL_FIT_LATER; /* it goes on behind what has to be cut */
    repl_relay_served(r, out, m,
                      fit == REPL_FIT_LATER || (fit == REPL_FIT && r->log.last.v > end.v));
    if (fit == REPL_FIT_NOT) {
        ack(r, out, true, hint);
        return;
    }
    struct lsn agreed = fit == REPL_FIT ? (struct lsn){m->lsn.v + m->count} : r->cut.keep;
    r->matched = lsn_max(r->matched, agreed);
    check(r->matched.v <= r->log.last.v);
    if (agreed.v >= r->commit.v)
        r->agrees |= r->commit.v == 0 || repl_log_term(&r->log, r->commit).v != 0;
    r->primary_commit = lsn_max(r->primary_commit, m->commit);
    repl_update_commit(r, out);
    if (m->readmit == r->incarnation && !r->readmit_known) {
        r->readmit_known = true;
        r->readmit_at = m->commit;
    }
    maybe_readmit(r, out);
    bool grew = r->log.last.v > end.v;
    if (!grew || ack_position(r).v > r->acked.v ||
        r->now_ms >= r->acked_ms + r->options.heartbeat_ms)
        ack(r, out, false, ack_position(r));
}

static bool follows(const struct repl *r)
{
    return r->role == REPL_STANDBY && r->primary != REPL_NOBODY && r->seen_term.v == r->term.v &&
           r->heard_from == r->primary && !r->broken && r->forced_until_ms == 0;
}

void repl_follow_exported(struct repl *r, struct repl_actions *out)
{
    if (follows(r) && repl_cut_parts(r, r->matched))
        ack(r, out, true, r->cut.keep);
}

void repl_follow_durable(struct repl *r, struct repl_actions *out)
{
    if (!follows(r))
        return;
    maybe_readmit(r, out);
    if (ack_position(r).v > r->acked.v)
        ack(r, out, false, ack_position(r));
}
