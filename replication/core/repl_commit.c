/* Commit index and visible index.
 *
 * COMMIT (primary): the highest lsn that a majority of the voters has on stable storage, counting only once it reaches an
 * entry of the own term (thesis, section 3.6.2: entries of earlier terms are committed by those that follow them). The own
 * disk is one vote among equals: two other sites commit an entry that is still on its way to the own disk.
 * COMMIT (follower): what the primary said, as far as the own log is known to agree and is durable here. The last part
 * is not needed for safety, it keeps every promise of this site about what is on its own disk.
 *
 * VISIBLE: what may be applied, read and answered. It is the commit index; in local mode a serving primary with a running
 * lease goes on to its own durable end (R3). Local mode is believed only once everything up to the own no-op is
 * applied: until then a configuration entry that ended it may still wait to be applied (R6).
 *
 * INVARIANTS
 *   C1  commit never falls. visible falls only when a local-mode primary's tail is cut (TRUNCATE).
 *   C2  commit <= visible <= last. */
#include "replication/core/repl_state.h"

#include "store/core/check.h"

static struct lsn majority_durable(const struct repl *r)
{
    struct lsn sorted[REPL_SITES_MAX] = {{0}};
    uint32_t n = 0;
    for (uint8_t i = 0; i < r->options.sites; i++) {
        const struct repl_peer *p = &r->peers[i];
        struct lsn at = {0};
        if (!repl_votes(r, i))
            continue;
        if (i == r->options.self)
            at = r->log.durable;
        else if (p->counts && p->suspect_to.v == 0)
            at = p->match;
        uint32_t k = n++;
        for (; k > 0 && sorted[k - 1].v < at.v; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = at;
    }
    return sorted[repl_majority(r) - 1];
}

static bool local_counts(const struct repl *r)
{
    return r->mode == COMMIT_LOCAL && r->applied.v >= r->term_start.v &&
           repl_lease_valid(r, r->now_ms);
}

void repl_update_commit(struct repl *r, struct repl_actions *out)
{
    bool was_serving = r->role == REPL_PRIMARY && r->commit.v >= r->term_start.v;
    if (r->role == REPL_PRIMARY) {
        struct lsn n = majority_durable(r);
        if (n.v >= r->term_start.v)
            r->commit = lsn_max(r->commit, n);
        if (!was_serving && r->commit.v >= r->term_start.v)
            repl_trace(r, out, "term %llu: first entry %llu is committed -> serving", U(r->term.v),
                       U(r->term_start.v));
    } else {
        struct lsn n = lsn_min(lsn_min(r->primary_commit, r->matched), r->log.durable);
        r->commit = lsn_max(r->commit, n);
    }
    r->visible = lsn_max(r->visible, r->commit);
    if (r->role == REPL_PRIMARY && local_counts(r))
        r->visible = lsn_max(r->visible, r->log.durable);
    check(r->commit.v <= r->visible.v && r->visible.v <= r->log.last.v);
}

void repl_tell_commit(struct repl *r, struct repl_actions *out)
{
    if (r->commit.v <= r->told_commit.v && r->visible.v <= r->told_visible.v)
        return;
    r->told_commit = r->commit;
    r->told_visible = r->visible;
    struct repl_action *a = repl_act(r, out, REPL_ACT_COMMIT);
    a->lsn = r->commit;
    a->visible = r->visible;
}
