/* The invariants, checked after every step against what the checker alone knows of all sites.
 *
 *   S1  One primary per term, and no term is led by two starts of a site (P3).
 *   S2  At no moment do two sites both believe to hold the lease; who holds it sees everything that was ever acknowledged at
 *       majority, so a read there is linearizable (P3, P5, R3, R4).
 *   S3  Log matching: one entry is ever sealed for (lsn, term), every log is a chain of sealed entries (sim_site.c).
 *   S4  What is committed is on stable storage at a majority of the voters at that moment, is the same entry at every site that
 *       commits that position, is never cut anywhere where it is committed, and is in the log of every later primary (P1, P2).
 *   S5  commit and visible never fall, save that a cut takes visible along; visible passes commit only at a serving primary in
 *       local mode, which the log has had since the entry before its no-op, and never its own disk (R6).
 *   S6  An acknowledgement names only sites that have the entry on stable storage (P1).
 *   S7  Nothing is cut before it is exported (R9); in the end everything acknowledged is in the common log, or was acknowledged
 *       at local only and is in an export (P4), or still in the log of a site that was removed.
 *   S8  No site ever finds itself broken.
 *   S9  The marks are sound after every step (replication/core/marks.c), no site applies what is not visible, and none makes
 *       durable in a checkpoint what is not committed and durable.
 *   S10 Whatever way a site came to an lsn, its state holds what the model holds there; so does a published checkpoint, and so
 *       does the state to which an undo goes back (P9).
 *   S11 The archive is the committed history, in whole packs, and only grows; terms never fall along it (P7, R8).
 *   S12 Nothing recycled is read: recovery, applier and archiver find what they need (sim_state.c).
 *   S13 What is in flight at a primary is remembered in order (sim_site.c).
 *   S14 A request is in the history at most once, where its answer said (P6; sim_history.c).
 *   S15 What clients saw of each record is linearizable (P5; sim_history.c).
 *   S16 Commit time never falls along the log, and between two entries that one start of a site seals one after the
 *       other it passes no faster than the boot clock and a sixteenth, wherever the wall clock is set to.
 *   S17 A primary that no other site answers ceases to be one after lease and election time.
 *   S18 An operator's order is carried out once, in the term that it names, before it expires (R7).
 *   S19 Two sites that are whole elect and serve, and keep their primary however the third comes and goes (sim_run.c).
 *   S20 A read that any site may answer is of a state not older than what the caller has seen, holds what the history holds
 *       there, and lacks nothing that was acknowledged before the moment up to which it claims to know everything (P5).
 *   S21 No site becomes primary that has noticed that its log takes no more.
 *   S22 Who follows through another site never takes the primary's word for younger than it is there (P5; sim_relay.c).
 *   S23 Data sites that lose each other while the repository hears both: the standby goes on applying what is acknowledged, and
 *       knows how old its state is (sim_relay.c).
 *   S24 A primary steps aside for its slow disk only for others that have what it waits for, by itself only where the policy is
 *       automatic, and neither twice in two minutes nor within two minutes of having been handed the role (sim_disk.c).
 *   S25 A session is opened once, none of its entries comes after its end, and it ends only when it was idle (P6;
 *       sim_sessions.c).
 *   S26 Each site counts by the newest list of members in its log, and only who votes by it becomes primary.
 *   S27 A key that the application gave has one mark at a time, is kept for its time, and what somebody was told of it stays true
 *       (P6; sim_keys.c).
 *   S28 A primary that waits for its successor serves as before, has a link to it, and ends that in the time that the order
 *       gives it. Before that time writes stop only when nothing that the successor lacks is older than a round trip and a
 *       heartbeat. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

/* A lost disk counts until its site is readmitted: one lost site is what the promise allows for. */
static bool has_stable(const struct sim_site *site, uint64_t lsn, uint32_t id)
{
    return (site->stable >= lsn && site->ids[lsn - 1] == id) ||
           (site->former_n >= lsn && site->former[lsn - 1] == id);
}

static uint32_t stable_copies(const struct sim *s, uint64_t lsn, uint32_t id, uint8_t voters)
{
    uint32_t n = 0;
    for (uint8_t i = 0; i < s->sites_n; i++)
        n += repl_in(voters, i) && has_stable(&s->sites[i], lsn, id);
    return n;
}

/* Is it durable at a majority of those who vote by the list in the site's own log, or by the newest one of the term? A follower
 * may be the first to tell, by a list that its primary has replaced. */
static bool is_durable(const struct sim *s, const struct sim_site *site, uint64_t lsn, uint32_t id)
{
    uint8_t voters = sim_members(s, site).voters;
    if (stable_copies(s, lsn, id, voters) > repl_count(voters) / 2)
        return true;
    uint32_t newest = s->truth.list_of[site->r->term.v % SIM_TERMS_MAX];
    voters = sim_members_of(s, site, newest).voters;
    return site->r->role != REPL_PRIMARY && newest != 0 &&
           stable_copies(s, lsn, id, voters) > repl_count(voters) / 2;
}

void sim_check_list(struct sim *s, uint8_t i)
{
    const struct sim_site *site = &s->sites[i];
    const struct repl *r = site->r;
    if (!s->swarm.members || site->action < site->actions.n || r->log.last.v != site->n)
        return;
    struct repl_members want = sim_members(s, site);
    if (memcmp(&want, &r->list.members, sizeof want) != 0)
        sim_fail(s, "S26: %s counts %02x of %02x, the newest list in its log says %02x of %02x",
                 sim_names[i], r->list.members.voters, r->list.members.all, want.voters, want.all);
}

/* What the successor lacks when writes stop. */
static void check_near(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    const struct repl *r = site->r;
    const struct sim_site *to = &s->sites[r->successor];
    const uint64_t near_ms = r->peers[r->successor].rtt_ms + (uint64_t)r->options.heartbeat_ms;
    if (r->now_ms >= site->waits.until_ms || to->stable >= site->n)
        return;
    /* A tenth for the rate of its clock, and a millisecond of rounding. */
    const struct sim_entry *oldest = &s->entries[site->ids[to->stable]];
    if (s->now_us - oldest->sealed_us > (near_ms * 11 / 10 + 2) * SIM_MS)
        sim_fail(s, "S28: %s stops writes for %s, which lacks an entry for %llu ms", sim_names[i],
                 sim_names[r->successor], U((s->now_us - oldest->sealed_us) / SIM_MS));
}

void sim_check_handover(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    const struct repl *r = site->r;
    const enum repl_handover before = site->waits.phase;
    site->waits.phase = r->handover;
    if (site->current.type == REPL_EV_SWITCHOVER && before == REPL_HANDOVER_NONE)
        site->waits.until_ms = r->now_ms + site->current.wait_ms;
    if (site->current.type == REPL_EV_SWITCHOVER && before == REPL_HANDOVER_WAIT &&
        site->current.site == REPL_NOBODY &&
        r->now_ms + site->current.wait_ms < site->waits.until_ms)
        site->waits.until_ms = r->now_ms + site->current.wait_ms;
    if (r->handover == REPL_HANDOVER_DRAIN || r->handover == REPL_HANDOVER_ASKED) {
        if (before <= REPL_HANDOVER_WAIT && site->stepped.at_us != s->now_us)
            check_near(s, i);
        return;
    }
    if (r->handover != REPL_HANDOVER_WAIT)
        return;
    if (r->role != REPL_PRIMARY || !site->view.serving || !r->peers[r->successor].up)
        sim_fail(s, "S28: %s waits for %s and %s", sim_names[i], sim_names[r->successor],
                 site->view.serving ? "has no link to it" : "does not serve");
    if (site->current.type == REPL_EV_TICK && r->now_ms >= site->waits.until_ms)
        sim_fail(s, "S28: %s waits for %s longer than it may", sim_names[i],
                 sim_names[r->successor]);
}

void sim_check_sealed(struct sim *s, uint8_t site, uint32_t id)
{
    struct sim_entry *e = &s->entries[id];
    for (uint32_t k = s->truth.by_lsn[e->header.lsn.v]; k != 0; k = s->entries[k].next_same_lsn)
        if (s->entries[k].header.term.v == e->header.term.v)
            sim_fail(s, "S3: %s seals a second entry for lsn %llu of term %llu", sim_names[site],
                     U(e->header.lsn.v), U(e->header.term.v));
    e->next_same_lsn = s->truth.by_lsn[e->header.lsn.v];
    s->truth.by_lsn[e->header.lsn.v] = id;
}

void sim_check_time(struct sim *s, uint8_t i, const struct entry_header *h)
{
    struct sim_site *site = &s->sites[i];
    uint64_t before =
        site->n == 0 ? 0 : s->entries[site->ids[site->n - 1]].header.time.us; /* it comes next */
    if (h->time.us < before)
        sim_fail(s, "S16: %s stamps lsn %llu with an earlier time than the one before",
                 sim_names[i], U(h->lsn.v));
    if (site->n != 0 && site->ids[site->n - 1] == site->sealed.id) {
        uint64_t passed = s->now_us - site->sealed.at_us,
                 stamped = h->time.us - site->sealed.time_us;
        /* Clocks that drift gain 4 %; they are read in milliseconds. */
        if (h->time.us < site->sealed.time_us || stamped > passed + passed / 8 + 2 * SIM_MS)
            sim_fail(s, "S16: %s stamps lsn %llu %llu us after the one before, %llu us later",
                     sim_names[i], U(h->lsn.v), U(stamped), U(passed));
    }
    site->sealed.id = s->entries_n;
    site->sealed.time_us = h->time.us;
    site->sealed.at_us = s->now_us;
}

void sim_check_role(struct sim *s, uint8_t i, struct term term)
{
    struct sim_truth *t = &s->truth;
    const struct sim_site *site = &s->sites[i];
    if (term.v >= SIM_TERMS_MAX)
        return;
    t->elections++;
    if (site->knows_it_is_full)
        sim_fail(s, "S21: %s becomes primary, but its log has no room", sim_names[i]);
    if (!repl_in(sim_members(s, site).voters, i))
        sim_fail(s, "S26: %s becomes primary, but its log gives it no vote", sim_names[i]);
    if (site->barred)
        sim_fail(s, "P9: %s becomes primary, but its state differs", sim_names[i]);
    if (t->primary_boot[term.v] != 0)
        sim_fail(s, "S1: %s is primary of term %llu, and so was %s", sim_names[i], U(term.v),
                 sim_names[t->primary_of[term.v]]);
    t->newcomers += i >= SIM_FOUNDERS;
    t->primary_of[term.v] = i;
    t->primary_boot[term.v] = site->boot;
    uint64_t n = t->committed_n;
    while (n > 0 && t->committed_in[n - 1].v >= term.v)
        n--; /* a vote may be counted long after it was given */
    if (n > 0 && (site->n < n || site->ids[n - 1] != t->committed[n - 1]))
        sim_fail(s, "S4: %s is primary of term %llu without the committed entry %llu", sim_names[i],
                 U(term.v), U(n));
}

/* Was the mode local when this primary's term began, or has it become so since? (What ended it within the term may wait for being
 * applied.) */
static bool local_since_term_began(const struct sim *s, const struct sim_site *site,
                                   uint64_t visible)
{
    for (uint64_t lsn = site->term_start.v; lsn >= 1 && lsn <= visible; lsn++)
        if (s->contents[site->ids[lsn - 1]].model.mode == COMMIT_LOCAL)
            return true;
    return false;
}

/* After a tick, so that it had the occasion to step down. */
void sim_check_quorum(struct sim *s, uint8_t i)
{
    const struct sim_site *site = &s->sites[i];
    const struct repl_options *o = &s->options;
    uint64_t most_us = (uint64_t)(o->lease_ms + o->election_ms) * SIM_MS * 21 / 20 + 10 * SIM_MS;
    if (site->r->now_ms != sim_clock_ms(s, site))
        return; /* it was paused since */
    const uint64_t list = s->solo.granted ? sim_model_at(s, site, site->n).list : 0;
    if (repl_count(site->r->list.members.voters) == 1 ||
        s->now_us <= s->entries[list].sealed_us + most_us)
        return; /* nobody else is, or was, to answer */
    /* Who was given a vote just now has answered before, too. */
    uint64_t answered_us = site->quorum_us;
    for (uint8_t k = 0; k < s->sites_n; k++)
        if (repl_in(site->r->list.members.voters, k) && site->answered_us[k] > answered_us)
            answered_us = site->answered_us[k];
    if (site->r->role == REPL_PRIMARY && s->now_us > answered_us + most_us)
        sim_fail(s, "S17: %s is still primary, %llu ms after another site last answered it",
                 sim_names[i], U((s->now_us - answered_us) / SIM_MS));
}

void sim_check_commit(struct sim *s, uint8_t i, uint64_t commit, uint64_t visible)
{
    struct sim_site *site = &s->sites[i];
    struct sim_truth *t = &s->truth;
    if (commit < site->marks.commit.v || visible < site->marks.visible.v || commit > visible ||
        visible > site->n) {
        sim_fail(s,
                 "S5: %s goes from commit %llu, visible %llu to %llu, %llu with a log up to %llu",
                 sim_names[i], U(site->marks.commit.v), U(site->marks.visible.v), U(commit),
                 U(visible), U(site->n));
        return;
    }
    if (visible > commit && visible > site->marks.visible.v) {
        const struct repl *r = site->r;
        if (!local_since_term_began(s, site, visible))
            sim_fail(s, "S5: visible %llu beyond commit %llu at %s, whose log says mode majority",
                     U(visible), U(commit), sim_names[i]);
        if (r->role != REPL_PRIMARY || r->mode != COMMIT_LOCAL || visible > site->stable ||
            !repl_lease_valid(r, r->now_ms))
            sim_fail(s, "S5: visible %llu beyond commit %llu at %s, %s in mode %s, durable %llu",
                     U(visible), U(commit), sim_names[i], repl_role_name(r->role),
                     commit_mode_name(r->mode), U(site->stable));
    }
    for (uint64_t lsn = site->marks.commit.v + 1; lsn <= commit; lsn++) {
        uint32_t id = site->ids[lsn - 1];
        if (lsn > t->committed_n) {
            if (!is_durable(s, site, lsn, id))
                sim_fail(s, "S4: %s commits %llu, which is durable at %u sites", sim_names[i],
                         U(lsn), stable_copies(s, lsn, id, 0xff));
            t->committed[lsn - 1] = id;
            t->committed_in[lsn - 1] = site->r->term;
            t->committed_n = lsn;
            t->lists += s->entries[id].header.kind == ENTRY_MEMBERS;
            sim_check_committed_once(s, id);
            sim_check_session(s, id);
            sim_check_keys(s, id);
        } else if (t->committed[lsn - 1] != id) {
            sim_fail(s, "S4: %s commits another entry at %llu than was committed before",
                     sim_names[i], U(lsn));
        }
    }
}

void sim_check_cut(struct sim *s, uint8_t i, uint64_t last)
{
    const struct sim_site *site = &s->sites[i];
    for (uint64_t lsn = last + 1; lsn <= site->n; lsn++) {
        uint32_t id = site->ids[lsn - 1];
        if (lsn <= s->truth.committed_n && s->truth.committed[lsn - 1] == id)
            sim_fail(s, "S4: %s cuts the committed entry %llu", sim_names[i], U(lsn));
        s->truth.lists_cut += s->entries[id].header.kind == ENTRY_MEMBERS;
        if (!s->entries[id].exported)
            sim_fail(s, "S7: %s cuts entry %llu before it is exported", sim_names[i], U(lsn));
    }
}

static bool is_named(enum level level, uint8_t site, uint8_t voters)
{
    return (level == LEVEL_ALL && repl_in(voters, site)) || (level == LEVEL_DR && site == SIM_DR) ||
           (level == LEVEL_GSR && site == SIM_GSR);
}

void sim_check_ack(struct sim *s, uint8_t i, const struct sim_client *c, enum level stated)
{
    struct sim_truth *t = &s->truth;
    const struct sim_site *site = &s->sites[i];
    const uint32_t logged = sim_key_logged(s, c->op);
    struct sim_op *op = &s->ops[logged];
    uint32_t id = site->n < c->lsn ? 0 : site->ids[c->lsn - 1];
    t->acks++;
    if (id == 0 || s->entries[id].op != logged) {
        sim_fail(s, "S6: %s acknowledges %llu, which is not in its log any more", sim_names[i],
                 U(c->lsn));
        return;
    }
    op->answered_lsn = c->lsn;
    op->answered_id = id;
    op->majority = site->marks.commit.v >= c->lsn;
    const uint8_t voters = sim_members(s, site).voters;
    for (uint8_t k = 0; k < s->sites_n; k++)
        if ((is_named(c->level, k, voters) || is_named(stated, k, voters)) &&
            !has_stable(&s->sites[k], c->lsn, id))
            sim_fail(
                s, "S6: %s acknowledges %llu at level %s, states %s, but %s has it not on disk",
                sim_names[i], U(c->lsn), level_name(c->level), level_name(stated), sim_names[k]);
    if (stated < c->level || (stated >= LEVEL_MAJORITY && !op->majority))
        sim_fail(s, "S6: %s acknowledges %llu at level %s and states %s", sim_names[i], U(c->lsn),
                 level_name(c->level), level_name(stated));
    if (op->majority) {
        /* By what voted when it was committed: who votes since may not have it yet. */
        bool was = c->lsn <= t->committed_n && t->committed[c->lsn - 1] == id;
        if (!was || (!s->swarm.members && !is_durable(s, site, c->lsn, id)))
            sim_fail(s, "S6: %s acknowledges %llu at majority, it is durable at %u sites",
                     sim_names[i], U(c->lsn), stable_copies(s, c->lsn, id, 0xff));
        if (t->acked_us[c->lsn] == 0)
            t->acked_us[c->lsn] = s->now_us;
        if (c->lsn > t->acked_majority)
            t->acked_majority = c->lsn;
        return;
    }
    if (!has_stable(site, c->lsn, id))
        sim_fail(s, "S6: %s acknowledges %llu at local, but has it not on disk", sim_names[i],
                 U(c->lsn));
}

void sim_check_standby_read(struct sim *s, uint8_t i, const struct sim_client *c, uint8_t key,
                            uint64_t lsn, struct sim_record r, uint64_t known_us)
{
    const struct sim_truth *t = &s->truth;
    if (s->swarm.local || s->swarm.mode_changes || s->solo.loss)
        return; /* what was read and acknowledged may be lost there */
    if (lsn < c->token)
        sim_fail(s, "S20: %s answers from %llu to who has seen %llu", sim_names[i], U(lsn),
                 U(c->token));
    if (lsn > t->committed_n) {
        sim_fail(s, "S20: %s answers from %llu, only %llu is committed", sim_names[i], U(lsn),
                 U(t->committed_n));
        return;
    }
    struct sim_record there = {0, 0};
    if (lsn > 0)
        there = s->contents[t->committed[lsn - 1]].model.records[key];
    if (r.value != there.value || r.version != there.version)
        sim_fail(s, "S20: %s answers that record %c is %llu at %llu, it is %llu", sim_names[i],
                 'a' + key, U(r.value), U(lsn), U(there.value));
    for (uint64_t at = lsn + 1; known_us != UINT64_MAX && at <= t->acked_majority; at++)
        if (t->acked_us[at] != 0 && t->acked_us[at] < known_us)
            sim_fail(s,
                     "S20: %s answers from %llu and knows all up to %.3f s, but %llu was "
                     "acknowledged at %.3f s",
                     sim_names[i], U(lsn), (double)known_us / 1e6, U(at),
                     (double)t->acked_us[at] / 1e6);
}

void sim_check_step(struct sim *s, uint8_t i)
{
    uint8_t holder = REPL_NOBODY;
    for (uint8_t k = 0; k < s->sites_n; k++) {
        const struct sim_site *site = &s->sites[k];
        if (!site->alive || !repl_lease_valid(site->r, sim_clock_ms(s, site)))
            continue;
        if (holder != REPL_NOBODY)
            sim_fail(s, "S2: %s and %s both hold a lease", sim_names[holder], sim_names[k]);
        holder = k;
        if (site->r->visible.v < s->truth.acked_majority)
            sim_fail(s, "S2: %s holds a lease and reads at %llu, but %llu was acknowledged",
                     sim_names[k], U(site->r->visible.v), U(s->truth.acked_majority));
    }
    /* What was declared lost may have been committed there; it has no vote when it finds that. */
    if (s->sites[i].r->broken && !(s->solo.granted && !s->sites[i].r->may_vote))
        sim_fail(s, "S8: %s is broken", sim_names[i]);
}

bool sim_check_settled(const struct sim *s)
{
    uint8_t primary = sim_primary(s);
    if (primary == REPL_NOBODY)
        return false;
    const struct sim_site *p = &s->sites[primary];
    for (uint8_t i = 0; i < s->sites_n; i++) {
        const struct sim_site *site = &s->sites[i];
        if (!repl_in(sim_members(s, p).all, i))
            continue;
        if (!site->alive || site->n != p->n || site->stable != site->n ||
            site->r->commit.v != site->n || site->ids[site->n - 1] != p->ids[p->n - 1] ||
            !site->r->may_vote || site->r->primary != primary)
            return false;
    }
    return true;
}

/* A site that was removed before it could follow has what it had: nothing of it was undone. */
static bool kept_by_removed(const struct sim *s, const struct sim_site *primary, uint32_t id)
{
    const uint64_t lsn = s->entries[id].header.lsn.v;
    for (uint8_t i = 0; i < s->sites_n; i++)
        if (!repl_in(sim_members(s, primary).all, i) && s->sites[i].n >= lsn &&
            s->sites[i].ids[lsn - 1] == id)
            return true;
    return false;
}

void sim_check_end(struct sim *s)
{
    const struct sim_site *site = &s->sites[sim_primary(s)];
    uint64_t n = s->truth.committed_n;
    if (site->n < n || (n > 0 && site->ids[n - 1] != s->truth.committed[n - 1]))
        sim_fail(s, "S4: the final log has another history than was committed up to %llu", U(n));
    for (uint32_t k = 1; k <= s->ops_n && !s->failed; k++) {
        const struct sim_op *op = &s->ops[k];
        if (op->kind == SIM_OP_READ || op->outcome != SIM_DONE || op->committed_lsn != 0)
            continue;
        const struct sim_entry *e = &s->entries[op->answered_id];
        s->truth.lost++;
        if (s->solo.loss || kept_by_removed(s, site, op->answered_id))
            continue; /* two operators have declared it; or it is not lost */
        if (!e->exported || e->denied)
            sim_fail(s, "S7: entry %llu of term %llu was acknowledged, is lost and %s",
                     U(e->header.lsn.v), U(e->header.term.v),
                     e->exported ? "its export says that it was not acknowledged" : "in no export");
    }
    sim_check_history(s);
}

/* ---- state, checkpoint, archive ---- */

void sim_check_marks(struct sim *s, uint8_t i)
{
    const struct marks *m = &s->sites[i].marks;
    if (!marks_are_sound(m))
        sim_fail(s,
                 "S9: %s has checkpoint %llu, applied %llu, archived %llu, commit %llu, visible "
                 "%llu, durable %llu",
                 sim_names[i], U(m->checkpoint.v), U(m->applied.v), U(m->archived.v),
                 U(m->commit.v), U(m->visible.v), U(m->durable.v));
}

void sim_check_state(struct sim *s, uint8_t i)
{
    const struct sim_site *site = &s->sites[i];
    if (site->state.lsn > site->marks.visible.v)
        sim_fail(s, "S9: %s has applied %llu, visible is %llu", sim_names[i], U(site->state.lsn),
                 U(site->marks.visible.v));
    struct sim_state model = sim_model_at(s, site, site->state.lsn);
    if (memcmp(&site->state, &model, sizeof model) != 0)
        sim_fail(s, "S10: the state of %s at %llu is not what its log says", sim_names[i],
                 U(site->state.lsn));
}

void sim_check_published(struct sim *s, uint8_t i)
{
    const struct sim_site *site = &s->sites[i];
    const struct sim_state *c = &site->checkpoint;
    if (c->lsn > s->truth.committed_n || c->lsn > site->stable) {
        sim_fail(s, "S9: %s publishes a checkpoint at %llu; %llu is committed, %llu durable here",
                 sim_names[i], U(c->lsn), U(s->truth.committed_n), U(site->stable));
        return;
    }
    if (c->lsn > 0 && memcmp(c, &s->contents[s->truth.committed[c->lsn - 1]].model, sizeof *c) != 0)
        sim_fail(s, "S10: %s publishes a checkpoint at %llu that is not the common history",
                 sim_names[i], U(c->lsn));
}

void sim_check_sealed_pack(struct sim *s, uint64_t from)
{
    const struct sim_archive *a = &s->archive;
    for (uint64_t lsn = from + 1; lsn <= a->n; lsn++) {
        const struct sim_entry *e = &s->entries[a->ids[lsn - 1]];
        if (lsn > s->truth.committed_n || s->truth.committed[lsn - 1] != a->ids[lsn - 1])
            sim_fail(s, "S11: the archive gets entry %llu, which is not committed", U(lsn));
        if (lsn > 1 && e->header.term.v < s->entries[a->ids[lsn - 2]].header.term.v)
            sim_fail(s, "S11: the archive gets term %llu at %llu after a higher one",
                     U(e->header.term.v), U(lsn));
    }
}
