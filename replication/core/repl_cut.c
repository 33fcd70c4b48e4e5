/* Cutting the log: what a site has and the common history does not is exported first (R9), and an export takes time.
 *
 * TWO STEPS. That entries have to be cut is found when others come in their place (repl_merge). Then EXPORT is ordered, of all
 * that follows `keep`, and the message is dropped. The driver writes the bundle beside the loop and feeds EXPORTED when it is
 * durable. The next message that asks for the same cut, of the same log, finds it so: TRUNCATE, and what came is appended. A
 * primary is told at once that it may send again, a voter is asked at once for its tail, and so is who gives what is committed.
 *
 * WHY IT IS SAFE. Nothing is decided by the export: the log stays as it is, in memory and on disk, until a message that would
 * have cut it without any export cuts it. What happens meanwhile is what happens when messages are lost:
 *   - A dropped message of the primary is as the heartbeat at `keep` that it includes: the logs agree up to there. This much is
 *     acknowledged and committed, and no more (F3); the answer renews the lease, as that of any follower that is behind.
 *   - Votes are asked for and given by the log as it is, to the last entry: it is on this disk.
 *   - Another primary, in a later term, may have the entries that this one has not, or part from them elsewhere. It is asked anew
 *     with each of its messages. Where it wants another cut, that is exported instead; where it has them, nothing is.
 *   - A site that stops in between finds its log whole, and begins anew.
 * The bundle says that entries were undone, so it gets its name only with TRUNCATE. Whose log has grown since has not that tail
 * any more: the export is forgotten, and what was written of it is removed.
 *
 * INVARIANTS
 *   T1  TRUNCATE only after EXPORTED of the same `keep` and the same end of the log.
 *   T2  While a bundle is awaited, no ACK names anything beyond `keep`. */
#include "replication/core/repl_state.h"

#include "store/core/check.h"

static bool is_of_this_log(const struct repl *r)
{
    return r->cut.asked && r->cut.last.v == r->log.last.v &&
           r->cut.last_term.v == r->log.last_term.v;
}

static void ask(struct repl *r, struct repl_actions *out, struct lsn keep)
{
    repl_trace(r, out,
               "term %llu: our %llu entries after %llu are not in the common history -> exporting "
               "them",
               U(r->term.v), U(r->log.last.v - keep.v), U(keep.v));
    struct repl_action *a = repl_act(r, out, REPL_ACT_EXPORT);
    a->lsn = keep;
    a->granted = true;
    r->cut = (struct repl_cut){
        .asked = true, .keep = keep, .last = r->log.last, .last_term = r->log.last_term};
}

bool repl_cut(struct repl *r, struct repl_actions *out, struct lsn keep)
{
    const bool asked = is_of_this_log(r) && r->cut.keep.v == keep.v;
    check(keep.v < r->log.last.v);
    if (!asked)
        ask(r, out, keep);
    if (!r->cut.durable)
        return false;
    repl_trace(r, out,
               "term %llu: our %llu entries after %llu are not in the common history -> cut",
               U(r->term.v), U(r->log.last.v - keep.v), U(keep.v));
    repl_act(r, out, REPL_ACT_TRUNCATE)->lsn = keep;
    r->cut.asked = false;
    repl_log_truncate(&r->log, keep);
    r->visible = lsn_min(r->visible, keep);
    r->told_visible = lsn_min(r->told_visible, keep);
    r->applied = lsn_min(r->applied, keep);
    r->matched = lsn_min(r->matched, keep);
    r->acked = lsn_min(r->acked, keep);
    repl_members_cut(r, out, keep);
    return true;
}

bool repl_cut_parts(const struct repl *r, struct lsn agreed)
{
    return r->cut.asked && r->cut.of.v == r->term.v && r->cut.keep.v == agreed.v;
}

bool repl_cut_awaited(const struct repl *r, struct lsn agreed)
{
    return repl_cut_parts(r, agreed) && !r->cut.durable;
}

void repl_cut_watch(struct repl *r)
{
    if (!is_of_this_log(r))
        r->cut.asked = false;
}

void repl_on_exported(struct repl *r, struct repl_actions *out, const struct repl_event *e)
{
    if (!is_of_this_log(r) || r->cut.durable || e->keep.v != r->cut.keep.v ||
        e->position.lsn.v != r->cut.last.v || e->position.term.v != r->cut.last_term.v)
        return; /* of another tail than is here now */
    r->cut.durable = true;
    repl_trace(r, out, "term %llu: our %llu entries after %llu are exported -> asking for others",
               U(r->term.v), U(r->log.last.v - r->cut.keep.v), U(r->cut.keep.v));
    repl_follow_exported(r, out);
    repl_fetch_exported(r, out);
    repl_relay_exported(r, out);
}
