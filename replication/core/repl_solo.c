/* The last site: how it goes on alone when the sites that it would need are lost for good, and what is done about those that were
 * declared lost and come back.
 *
 * THE ORDER of two operators names the site, where its log ends, the sites that are lost (all others that vote) and a term far
 * above its own. What it does is one entry, the first of that term: a list of members whose only voter is this site. Until it is
 * durable here nothing is committed, so nothing is answered; a crash before leaves the old list and a promise of a higher term,
 * which harm nobody. From then on everything is as in a cluster of one, and sites are added as always.
 *
 * WHY NOT TWO HISTORIES? No rule of this machine can say that a silent site is lost, and two of three that were declared lost and
 * live have a majority of the list that they know. So people declare it, with the sites off. What can be fenced is:
 *   - it is not done while a site that is declared lost has a link to this one, nor before the own promise to the last
 *     primary is over, so that no lease is left that rests on it (R4);
 *   - the term is so far above that those sites do not reach it by elections of their own in years, so one term still has one
 *     primary (P3);
 *   - the list names them as lost, and who has it does not listen to what they say in terms before it, nor answer: neither their
 *     votes nor their entries can depose a primary of the list, and they do not learn its term by asking;
 *   - the only way to that term is a frame from the primary, and the first one says that they were declared lost: the receiver
 *     gives up its vote, durably, with the step into the term. From then on it and the other one have no majority. It follows the
 *     new history; what it had committed beyond is exported, and it is broken: nothing of it is undone (P4, R9);
 *   - it is a member again only when it has answered so: as one without a vote, whose log agrees or is behind what is kept here
 *     (as a member it is refilled). One that was never heard could still bring the other one to elect it, above this term.
 * What is left: both live, both reach each other and applications, and neither reaches this site. docs/PROTOCOL.md says so.
 *
 * INVARIANTS
 *   O1  a list with lost sites names none of them as a member.
 *   O2  who was declared lost has no vote, and does not get one, before a primary whose list has it says otherwise. */
#include "replication/core/repl_state.h"

/* Everybody else who votes, and who was lost before, is lost; who has no vote stays what he is. */
static bool list_fits(const struct repl *r, const struct repl_members *next)
{
    const struct repl_members *now = &r->list.members;
    const uint8_t self = (uint8_t)(1u << r->options.self);
    const uint8_t lost = (uint8_t)((now->voters | now->lost) & ~self);
    return repl_members_sound(r, next) && next->voters == self && next->lost == lost &&
           next->all == (uint8_t)(now->all & ~lost) &&
           next->electable == (uint8_t)(now->electable & ~lost);
}

static const char *unable(const struct repl *r)
{
    return r->role == REPL_PRIMARY           ? "this site is primary"
           : !repl_electable(r)              ? "this site never becomes primary"
           : !repl_votes(r, r->options.self) ? "this site has no vote"
           : r->broken                       ? "this site is broken"
           : r->peers[r->options.self].unfit ? "the state of this site differs from the others'"
           : r->full                         ? "the log of this site takes no more"
           : r->lost                         ? "this site was itself declared lost"
           : !r->may_vote                    ? "this site was rebuilt and has not caught up"
                                             : NULL;
}

static void obstacle(const struct repl *r, const struct repl_event *e, char *why, size_t n)
{
    const struct sha256 *hash = repl_log_hash(&r->log, r->log.last);
    const char *cannot = unable(r);
    const uint64_t promised = repl_promise_end(r, false);
    why[0] = '\0';
    if (cannot != NULL)
        (void)snprintf(why, n, "%s", cannot);
    else if (!list_fits(r, &e->members))
        (void)snprintf(why, n,
                       "the list of members is not the one in force without all others "
                       "that vote");
    else if (e->term.v <= r->term.v || e->term.v >= REPL_NUMBER_MAX)
        (void)snprintf(why, n, "term %llu is ordered, and this site is in term %llu", U(e->term.v),
                       U(r->term.v));
    else if (e->position.lsn.v != r->log.last.v || e->position.term.v != r->log.last_term.v ||
             (hash != NULL && !sha256_equal(hash, &e->position.hash)))
        (void)snprintf(why, n, "the log of this site ends at %llu/%llu, the order says %llu/%llu%s",
                       U(r->log.last_term.v), U(r->log.last.v), U(e->position.term.v),
                       U(e->position.lsn.v),
                       e->position.lsn.v == r->log.last.v ? " or another entry there" : "");
    else if (r->log.durable.v != r->log.last.v)
        (void)snprintf(why, n, "the log of this site is durable up to %llu only",
                       U(r->log.durable.v));
    for (uint8_t i = 0; i < r->options.sites && why[0] == '\0'; i++)
        if (repl_in(e->members.lost, i) && r->peers[i].up)
            (void)snprintf(why, n, "%s has a link to this site: it is not lost",
                           repl_site_name(r, i));
    if (why[0] == '\0' && r->now_ms < promised)
        (void)snprintf(why, n, "a primary may live that this site has answered: in %llu ms no more",
                       U(promised - r->now_ms));
}

void repl_on_solo(struct repl *r, struct repl_actions *out, const struct repl_event *e)
{
    char why[REPL_TEXT_BYTES];
    obstacle(r, e, why, sizeof why);
    repl_trace(r, out, "term %llu: ordered to go on alone in term %llu from %llu/%llu -> %s%s",
               U(r->term.v), U(e->term.v), U(r->log.last_term.v), U(r->log.last.v),
               why[0] == '\0' ? "primary" : "refused: ", why);
    if (why[0] != '\0') {
        repl_act_text(r, out, REPL_ACT_SWITCHOVER, false, "%s", why);
        return;
    }
    if (r->forced_until_ms != 0)
        repl_act_text(r, out, REPL_ACT_SWITCHOVER, false, "this site was ordered to go on alone");
    repl_lead_alone(r, out, e->term, &e->members);
    repl_act_text(r, out, REPL_ACT_SWITCHOVER, true, "alone in term %llu", U(e->term.v));
}

/* Of the list in force; when the log does not reach back so far, of the oldest entry that is known. */
static struct term term_of_list(const struct repl *r)
{
    const struct term t = repl_log_term(&r->log, r->list.lsn);
    return t.v != 0 ? t : r->log.run_count > 0 ? r->log.runs[0].term : r->term;
}

/* In a term of the list or later it has been told, or is a member again by a list that is not here yet. */
bool repl_is_of_lost(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    if (!repl_in(r->list.members.lost, m->from) || m->term.v >= term_of_list(r).v)
        return false;
    uint32_t *n = &r->refusals[m->from];
    if (repl_worth_telling(++*n))
        repl_trace(r, out,
                   "term %llu: %s, which was declared lost, asks or claims something in term %llu "
                   "-> ignored, %u times now",
                   U(r->term.v), repl_site_name(r, m->from), U(m->term.v), *n);
    return true;
}

void repl_declared_lost(struct repl *r, struct repl_actions *out, const struct repl_message *m)
{
    const bool newest =
        m->term.v > r->term.v || m->term.v > r->seen_term.v || m->round >= r->seen_round;
    if (!newest)
        return; /* overtaken by a newer word */
    if (m->lost && !r->lost)
        repl_trace(r, out,
                   "term %llu: %s says that this site was declared lost -> it has no vote until it "
                   "is added again",
                   U(m->term.v), repl_site_name(r, m->from));
    r->lost = m->lost;
    if (m->lost && r->may_vote) { /* O2 */
        r->may_vote = false;
        r->vote_dirty = true;
        r->readmit_known = false;
    }
}

void repl_obstacle_of_lost(const struct repl *r, const struct repl_members *next, char *why,
                           size_t n)
{
    const uint8_t lost = r->list.members.lost;
    if ((lost & ~(next->lost | next->all)) != 0 || (next->lost & ~lost) != 0)
        (void)snprintf(why, n, "a site that was declared lost stays so until it is added again");
    for (uint8_t i = 0; i < r->options.sites && why[0] == '\0'; i++) {
        const struct repl_peer *p = &r->peers[i];
        if (!repl_in(lost & next->all, i))
            continue;
        if (!p->up || p->heard_ms == 0)
            (void)snprintf(
                why, n,
                "%s was declared lost and does not follow this site: start it, see what "
                "it says, and make it anew (triveni init --rebuilt) where it has another "
                "history",
                repl_site_name(r, i));
        else if (p->counts || (p->match.v < r->list.lsn.v && p->flow != REPL_FLOW_REFILL))
            (void)snprintf(
                why, n,
                "%s was declared lost and does not follow yet: see what it says, and make "
                "it anew (triveni init --join) where it has another history",
                repl_site_name(r, i));
    }
}
