/* Who counts: the list of members, and how it changes while the cluster works.
 *
 * A list is an entry of the log (ENTRY_MEMBERS), and it is in force at a site as soon as it is in that site's log, committed or
 * not; when it is cut, the one before is in force again. Every majority, lease and vote counts the voters of the list in force
 * where it is counted. Replicas, members without a vote, get the log and acknowledge it, which counts for nothing but the levels
 * that name a site.
 *
 * WHY IT IS SAFE. (1) From one list to the next at most one site gains or loses its vote, so a majority of the one and a
 * majority of the other have a site in common, and what one of them has promised or made durable the other meets. (2) The next
 * list is proposed only when the one before is committed, and the first entry of the proposer's own term too. So whoever still
 * counts by an earlier list lacks an entry that a majority has, and is refused as behind by every majority that it could count.
 * Without the entry of the own term this fails: a primary could follow a list that somebody else replaces in the same moment.
 * (3) A vote is given without a look at the own list, for a site that was just given a vote may be needed to elect while its
 * log does not say so yet; who is counted is the business of the candidate.
 *
 * A site that is given a vote was a replica before, and it has caught up: it acknowledges, is not rebuilt (R5), and is not far
 * behind. So a new vote never makes a majority of sites that have nothing. A majority of the new list must be within reach, or
 * nothing more would be committed, this change included. The primary does not take its own vote: it is handed over first, and
 * nobody need lead a cluster that it is no part of.
 *
 * TWO LISTS ARE ENOUGH to remember: a list that another one follows in a log is committed, by (2), and is never cut.
 *
 * A REMOVED SITE gets the log until it has applied the list without it, so it knows; from then on it neither stands nor is it
 * asked. One that was not reached goes on as a standby of the old list: it is behind, so nobody elects it, and pre-votes and
 * promises keep it from disturbing (R4).
 *
 * INVARIANTS
 *   G1  list_before.lsn <= list.lsn <= end of the log.
 *   G2  voters and electable are part of all.
 *
 * Source: Ongaro, thesis, chapter 4 (single-server changes), and his correction of 2015 that a change waits for an entry of
 * the own term. */
#include "replication/core/repl_state.h"

#include "store/core/check.h"

bool repl_members_sound(const struct repl *r, const struct repl_members *m)
{
    uint32_t slots = (1u << r->options.sites) - 1;
    return (m->all & ~slots) == 0 && (m->voters & ~m->all) == 0 && (m->electable & ~m->all) == 0 &&
           (m->lost & (m->all | ~slots)) == 0;
}

void repl_members_init(struct repl *r, const struct repl_start *start)
{
    struct repl_member_list first = {.lsn = {0}};
    for (uint8_t i = 0; i < r->options.sites; i++) {
        first.members.all |= (uint8_t)(1u << i);
        first.members.electable |= (uint8_t)((unsigned)r->options.electable[i] << i);
    }
    first.members.voters = first.members.all;
    for (uint32_t i = 0; i < start->list_count; i++) {
        const struct repl_member_list *l = &start->lists[i];
        check(repl_members_sound(r, &l->members) && l->lsn.v <= r->log.last.v);
        check(i == 0 || l->lsn.v > start->lists[i - 1].lsn.v);
    }
    uint32_t n = start->list_count;
    r->list = n > 0 ? start->lists[n - 1] : first;
    r->list_before = n > 1 ? start->lists[n - 2] : r->list;
}

bool repl_ships_to(const struct repl *r, uint8_t site)
{
    if (site == r->options.self)
        return false;
    return repl_in(r->list.members.all | r->list.members.lost, site) ||
           (repl_in(r->list_before.members.all, site) && r->peers[site].applied.v < r->list.lsn.v);
}

/* Does it answer, and would its answers count if it had a vote? */
static bool is_there(const struct repl *r, uint8_t site)
{
    const struct repl_peer *p = &r->peers[site];
    if (site == r->options.self)
        return true;
    return p->up && p->counts && p->suspect_to.v == 0 && p->heard_ms != 0 &&
           r->now_ms < p->heard_ms + r->options.lease_ms + r->options.election_ms;
}

/* Why `site` cannot be given a vote now; "" when it can. */
static void obstacle_of_vote(const struct repl *r, uint8_t site, char *why, size_t n)
{
    const struct repl_peer *p = &r->peers[site];
    const char *name = repl_site_name(r, site);
    if (!repl_in(r->list.members.all, site))
        (void)snprintf(why, n, "%s is no member yet: add it first", name);
    else if (!p->up)
        (void)snprintf(why, n, "%s cannot be reached", name);
    else if (p->flow == REPL_FLOW_REFILL)
        (void)snprintf(why, n, "%s needs a refill first", name);
    else if (p->unfit)
        (void)snprintf(why, n, "the state of %s differs from this site's", name);
    else if (!p->counts)
        (void)snprintf(why, n, "%s has not caught up", name);
    else if (!is_there(r, site))
        (void)snprintf(why, n, "%s does not acknowledge at present", name);
    else if (r->log.last.v - p->match.v > REPL_HANDOVER_LAG_MAX)
        (void)snprintf(why, n, "%s is %llu entries behind, at most %d are allowed", name,
                       U(r->log.last.v - p->match.v), REPL_HANDOVER_LAG_MAX);
}

/* The same of the sites that would vote: enough of them must answer for the change to be committed. */
static void obstacle_of_majority(const struct repl *r, uint8_t voters, char *why, size_t n)
{
    uint32_t there = 0;
    for (uint8_t i = 0; i < r->options.sites; i++)
        there += repl_in(voters, i) && is_there(r, i);
    if (there < repl_count(voters) / 2 + 1)
        (void)snprintf(why, n,
                       "%u of the %u sites that would vote answer at present: that is no majority",
                       there, repl_count(voters));
}

void repl_members_obstacle(const struct repl *r, const struct repl_members *next, char *why,
                           size_t n)
{
    const struct repl_members *now = &r->list.members;
    uint8_t changed = now->voters ^ next->voters, stays = now->all & next->all;
    why[0] = '\0';
    if (!repl_members_sound(r, next) || ((now->electable ^ next->electable) & stays) != 0)
        (void)snprintf(why, n, "the list contradicts itself, or the one in force");
    else if (r->commit.v < r->list.lsn.v)
        (void)snprintf(why, n,
                       "a change of the members is under way: it is at %llu, %llu is committed",
                       U(r->list.lsn.v), U(r->commit.v));
    else if (!repl_in(next->voters, r->options.self))
        (void)snprintf(why, n, "%s is primary: hand over to another site first",
                       repl_site_name(r, r->options.self));
    else if (repl_count(changed) > 1)
        (void)snprintf(why, n, "%u sites would gain or lose their vote: one at a time",
                       repl_count(changed));
    if (why[0] == '\0')
        repl_obstacle_of_lost(r, next, why, n);
    for (uint8_t i = 0; i < r->options.sites && why[0] == '\0'; i++)
        if (repl_in(next->voters & changed, i))
            obstacle_of_vote(r, i, why, n);
    if (why[0] == '\0' && changed != 0)
        obstacle_of_majority(r, next->voters, why, n);
}

/* Another list is in force here than before. */
static void in_force(struct repl *r, struct repl_actions *out, const struct repl_members *before)
{
    const struct repl_members *now = &r->list.members;
    repl_trace(r, out, "term %llu: %u members, %u of them vote, as of the list at %llu",
               U(r->term.v), repl_count(now->all), repl_count(now->voters), U(r->list.lsn.v));
    bool stands = r->role == REPL_PRE_CANDIDATE || r->role == REPL_CANDIDATE;
    if (!repl_votes(r, r->options.self)) {
        if (r->forced_until_ms != 0) /* an operator's failover that waits for the own promise */
            repl_act_text(r, out, REPL_ACT_SWITCHOVER, false, "this site has no vote any more");
        r->forced_until_ms = 0;
        if (stands)
            repl_become_standby(r, out, REPL_NOBODY);
    }
    if (r->role != REPL_PRIMARY)
        return;
    for (uint8_t i = 0; i < r->options.sites; i++)
        if (repl_in(now->all & (uint8_t) ~(before->all | before->lost), i))
            repl_shipping_peer_added(r, i);
    repl_lease_update(r);
    repl_update_commit(r, out);
}

void repl_members_append(struct repl *r, struct repl_actions *out, struct lsn lsn,
                         const struct repl_members *members)
{
    r->list_before = r->list;
    r->list = (struct repl_member_list){lsn, *members};
    in_force(r, out, &r->list_before.members);
}

void repl_members_cut(struct repl *r, struct repl_actions *out, struct lsn last)
{
    if (r->list.lsn.v <= last.v)
        return;
    struct repl_members cut = r->list.members;
    r->list = r->list_before;
    check(r->list.lsn.v <= last.v);
    in_force(r, out, &cut);
}
