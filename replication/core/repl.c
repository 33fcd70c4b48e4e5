/* Dispatch, timers and questions of the replication machine. repl.h is the contract; each concern has a file:
 * repl_election.c who becomes primary, repl_lease.c how long it may believe so, repl_shipping.c what it sends,
 * repl_follow.c what the others do with it, repl_cut.c what becomes of entries that only one site has, repl_commit.c what
 * counts, repl_fetch.c and repl_switchover.c the two ways to a new primary that lose nothing, repl_members.c who counts,
 * repl_log.c what is remembered of the log.
 *
 * What comes from other sites is well-formed, but may be late, repeated, reordered or nonsense. It is
 * screened here once, and nothing in a message is ever check()ed. */
#include "replication/core/repl_state.h"

#include "store/core/check.h"

size_t repl_size(void)
{
    return sizeof(struct repl);
}

enum repl_times repl_times_check(uint32_t heartbeat_ms, uint32_t election_ms, uint32_t lease_ms)
{
    if (election_ms < 3 * (uint64_t)heartbeat_ms)
        return REPL_TIMES_ELECTION_SHORT;
    if (lease_ms < 2 * (uint64_t)heartbeat_ms)
        return REPL_TIMES_LEASE_SHORT;
    if ((uint64_t)lease_ms * 10 >= (uint64_t)election_ms * 9)
        return REPL_TIMES_LEASE_LONG;
    return REPL_TIMES_OK;
}

bool repl_times_fit(uint32_t answer_ms, uint32_t heartbeat_ms, uint32_t *election_ms,
                    uint32_t *lease_ms)
{
    enum { STEP_MS = 50, MOST_MS = 60000 };
    uint64_t lease = 2 * ((uint64_t)answer_ms + heartbeat_ms);
    if (lease <= *lease_ms)
        return true;
    lease = (lease < MOST_MS ? lease + STEP_MS - 1 : MOST_MS) / STEP_MS * STEP_MS;
    uint64_t election = (lease * 10 / 9 / STEP_MS + 1) * STEP_MS;
    *lease_ms = (uint32_t)lease;
    if (election > *election_ms)
        *election_ms = (uint32_t)election;
    return false;
}

void repl_init(struct repl *r, const struct repl_options *options, const struct repl_start *start)
{
    check(options->sites >= 1 && options->sites <= REPL_SITES_MAX &&
          options->self < options->sites);
    check(options->heartbeat_ms > 0 && repl_times_check(options->heartbeat_ms, options->election_ms,
                                                        options->lease_ms) == REPL_TIMES_OK);
    for (uint8_t i = 0; i < options->sites; i++)
        check(options->names[i] != NULL);
    memset(r, 0, sizeof *r);
    r->options = *options;
    r->now_ms = r->start_ms = start->now_ms;
    r->random = options->seed + options->self;
    r->term = start->term;
    r->voted_for = start->voted_for;
    r->incarnation = start->incarnation;
    r->may_vote = start->may_vote;
    r->role = REPL_STANDBY;
    r->mode = start->mode;
    r->primary = r->heard_from = r->fetch_from = r->successor = r->relay.from = REPL_NOBODY;
    r->relay.last = r->options.self;
    r->relay.round = start->now_ms; /* above those of the last start, while the host is up */
    repl_log_init(&r->log, start);
    repl_members_init(r, start);
    if (r->term.v < r->log.last_term.v) { /* a refilled log may be ahead of the vote file */
        r->term = r->log.last_term;
        r->voted_for = REPL_NOBODY;
    }
    check(start->commit.v <= r->log.last.v);
    r->commit = r->visible = r->told_commit = r->told_visible = start->commit;
    r->applied = r->matched = start->commit;
    repl_rearm(r);
}

/* Is the message one that this protocol could have sent? NULL, or what is wrong with it. */
static const char *unfit(const struct repl *r, const struct repl_message *m,
                         const struct repl_entry_meta *metas)
{
    if (m->from >= r->options.sites || m->from == r->options.self)
        return "its sender is unknown";
    if (m->term.v >= REPL_NUMBER_MAX || m->lsn.v >= REPL_NUMBER_MAX ||
        m->round >= REPL_NUMBER_MAX || m->last.v >= REPL_NUMBER_MAX ||
        m->last_term.v >= REPL_NUMBER_MAX || m->commit.v >= REPL_NUMBER_MAX ||
        m->lsn_term.v >= REPL_NUMBER_MAX)
        return "a number in it is beyond any history";
    if (m->count > REPL_BATCH_ENTRIES_MAX)
        return "it carries too many entries";
    if (m->count > 0 && m->type != REPL_MSG_ENTRIES && m->type != REPL_MSG_TAIL &&
        m->type != REPL_MSG_GIVE)
        return "its type carries no entries";
    if (m->type == REPL_MSG_GIVE && !m->rejected && m->lsn.v + m->count > m->last.v)
        return "it gives more than its sender knows to be committed";
    static const struct sha256 unknown = {{0}};
    if (m->count > 0 && !sha256_equal(&m->hash, &unknown) &&
        !sha256_equal(&m->hash, &metas[0].prev_hash))
        return "its entries do not follow the position it names";
    struct term term = m->lsn_term;
    for (uint32_t i = 0; i < m->count; i++) {
        if (metas[i].lsn.v != m->lsn.v + 1 + i || metas[i].term.v < term.v ||
            metas[i].term.v == 0 || metas[i].term.v >= REPL_NUMBER_MAX)
            return "its entries are not a piece of a log";
        if (i > 0 && !sha256_equal(&metas[i].prev_hash, &metas[i - 1].hash))
            return "its entries are not chained";
        if (metas[i].kind == ENTRY_MEMBERS &&
            (metas[i].members.voters == 0 || !repl_members_sound(r, &metas[i].members)))
            return "a list of members in it contradicts itself";
        term = metas[i].term;
    }
    bool carries =
        m->type == REPL_MSG_ENTRIES || m->type == REPL_MSG_TAIL || m->type == REPL_MSG_GIVE;
    if (carries && term.v > m->term.v)
        return "its entries are of a term beyond the sender's";
    return NULL;
}

static void on_message(struct repl *r, struct repl_actions *out, const struct repl_message *m,
                       const struct repl_entry_meta *metas)
{
    const char *why = unfit(r, m, metas);
    if (why != NULL) {
        repl_trace(r, out, "term %llu: a message from %s is ignored: %s", U(r->term.v),
                   repl_site_name(r, m->from), why);
        return;
    }
    if (repl_is_of_lost(r, out, m))
        return;
    struct repl_peer *p = &r->peers[m->from];
    if (m->incarnation < p->incarnation)
        return; /* R5: what a former self of that site has sent */
    if (m->incarnation > p->incarnation) {
        if (p->incarnation != 0)
            repl_trace(r, out, "term %llu: %s is back under incarnation %llu, it was %llu",
                       U(r->term.v), repl_site_name(r, m->from), U(m->incarnation),
                       U(p->incarnation));
        p->incarnation = m->incarnation;
        repl_peer_renewed(r, m->from);
    }
    switch (m->type) {
    case REPL_MSG_PREVOTE:
        repl_on_prevote(r, out, m);
        break;
    case REPL_MSG_PREVOTE_REPLY:
        repl_on_prevote_reply(r, out, m);
        break;
    case REPL_MSG_VOTE:
        repl_on_vote(r, out, m);
        break;
    case REPL_MSG_VOTE_REPLY:
        repl_on_vote_reply(r, out, m);
        break;
    case REPL_MSG_ENTRIES:
        repl_on_entries(r, out, m, metas);
        break;
    case REPL_MSG_ACK:
        repl_on_ack(r, out, m);
        break;
    case REPL_MSG_FETCH:
        repl_on_fetch(r, out, m);
        break;
    case REPL_MSG_TAIL:
        repl_on_tail(r, out, m, metas);
        break;
    case REPL_MSG_TAKE_OVER:
        repl_on_take_over(r, out, m);
        break;
    case REPL_MSG_PULL:
        repl_on_pull(r, out, m);
        break;
    case REPL_MSG_GIVE:
        repl_on_give(r, out, m, metas);
        break;
    }
}

static void on_durable(struct repl *r, struct repl_actions *out, const struct entry_position *at)
{
    /* One that was cut in the meantime may still be reported; its place may hold another entry now. */
    if (at->lsn.v > r->log.last.v || repl_log_term(&r->log, at->lsn).v != at->term.v)
        return;
    r->log.durable = lsn_max(r->log.durable, at->lsn);
    repl_update_commit(r, out);
    repl_follow_durable(r, out);
}

static void tick(struct repl *r, struct repl_actions *out)
{
    repl_handover_tick(r, out);
    repl_shipping_tick(r, out);
    repl_step_aside_tick(r, out);
    repl_election_tick(r, out);
    repl_fetch_tick(r, out);
    repl_relay_tick(r, out);
    repl_give_tick(r, out);
}

static void peer_up(struct repl *r, struct repl_actions *out, uint8_t site)
{
    r->peers[site].up = true;
    if (r->role == REPL_PRIMARY)
        repl_shipping_peer_up(r, out, site);
    else
        repl_election_peer_up(r, out, site);
}

static void peer_down(struct repl *r, struct repl_actions *out, uint8_t site)
{
    r->peers[site].up = false;
    r->gives[site].until_ms = 0;
    repl_shipping_peer_down(r, site);
    repl_handover_progress(r, out);
    repl_election_peer_down(r, out, site);
}

void repl_step(struct repl *r, const struct repl_event *event, struct repl_actions *out)
{
    out->n = 0;
    out->texts_bytes = 0;
    if (event->now_ms > r->now_ms)
        r->now_ms = event->now_ms;
    repl_watch_disk(r);
    switch (event->type) {
    case REPL_EV_TICK:
        r->full = event->full;
        tick(r, out);
        break;
    case REPL_EV_MESSAGE:
        on_message(r, out, event->message, event->metas);
        break;
    case REPL_EV_PEER_UP:
        check(event->site < r->options.sites);
        peer_up(r, out, event->site);
        break;
    case REPL_EV_PEER_DOWN:
        check(event->site < r->options.sites);
        peer_down(r, out, event->site);
        break;
    case REPL_EV_DURABLE:
        on_durable(r, out, &event->position);
        break;
    case REPL_EV_PROPOSE:
        repl_on_propose(r, out, event);
        break;
    case REPL_EV_SHIP:
        if (r->role == REPL_PRIMARY)
            repl_ship_all(r, out);
        break;
    case REPL_EV_SENT:
        check(event->site < r->options.sites);
        if (event->sent == REPL_MSG_ENTRIES)
            repl_on_sent(r, out, event);
        else if (event->sent == REPL_MSG_GIVE)
            repl_give_sent(r, out, event);
        break;
    case REPL_EV_GONE:
        check(event->site < r->options.sites);
        if (event->sent == REPL_MSG_TAIL)
            repl_fetch_gone(r, out, event->site);
        else if (event->sent == REPL_MSG_GIVE)
            repl_give_gone(r, out, event->site);
        else
            repl_on_gone(r, out, event->site);
        break;
    case REPL_EV_MODE:
        r->mode = event->mode;
        repl_update_commit(r, out);
        break;
    case REPL_EV_PROGRESS:
        r->applied = event->applied;
        r->archived = event->archived;
        repl_update_commit(r, out);
        break;
    case REPL_EV_SWITCHOVER:
        repl_on_switchover(r, out, event);
        break;
    case REPL_EV_FAILOVER:
        repl_on_failover(r, out);
        break;
    case REPL_EV_SOLO:
        repl_on_solo(r, out, event);
        break;
    case REPL_EV_FIT:
        repl_on_fit(r, out, event->site, event->fit);
        break;
    case REPL_EV_APPENDED:
        check(event->position.lsn.v <= r->log.last.v);
        repl_log_sealed(&r->log, event->position.lsn, &event->position.hash);
        break;
    case REPL_EV_EXPORTED:
        repl_on_exported(r, out, event);
        break;
    }
    repl_cut_watch(r);
    if (r->commit.v > r->told_commit.v)
        repl_give_all(r, out);
    repl_watch_disk(r);
    repl_tell_commit(r, out);
    repl_save_vote(r, out);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t repl_next_tick_ms(const struct repl *r)
{
    uint64_t at = earlier(repl_relay_next_ms(r), repl_give_next_ms(r));
    if (r->handover != REPL_HANDOVER_NONE)
        at = earlier(at, r->handover_until_ms);
    if (r->role != REPL_PRIMARY) {
        at = earlier(at, r->deadline_ms);
        if (r->role != REPL_STANDBY)
            at = earlier(at, r->ask_ms);
        if (r->forced_until_ms != 0)
            at = earlier(at, r->forced_until_ms);
        if (r->fetch_from != REPL_NOBODY)
            at = earlier(at, earlier(r->fetch_ms, r->fetch_until_ms));
        return at;
    }
    if (r->handover == REPL_HANDOVER_ASKED)
        at = earlier(at, r->handover_ask_ms);
    else
        at = earlier(at, repl_quorum_lost_ms(r));
    for (uint8_t i = 0; i < r->options.sites; i++)
        if (r->peers[i].up && repl_ships_to(r, i))
            at = earlier(at, r->peers[i].sent_ms + r->options.heartbeat_ms);
    return at;
}

static void peer_view(const struct repl *r, uint8_t i, struct repl_peer_view *out)
{
    const struct repl_peer *p = &r->peers[i];
    *out = (struct repl_peer_view){
        .up = p->up, .unfit = p->unfit, .heard_ms = i == r->heard_from ? r->heard_ms : 0};
    if (r->role != REPL_PRIMARY)
        return; /* only the primary hears of the others */
    out->needs_refill = p->gone.v != 0;
    out->suspect = p->suspect_to.v != 0;
    out->counts = p->counts;
    out->durable = p->match;
    out->applied = p->applied;
    out->archived = p->archived;
    /* What it has beyond where the logs are known to agree may be cut. */
    out->received = p->flow == REPL_FLOW_STREAM
                        ? lsn_max(p->match, lsn_min(p->received, r->log.last))
                        : p->match;
    out->word_ms = p->word_ms;
    out->answer_ms = p->rtt_ms;
    out->heard_ms = p->heard_ms;
}

void repl_view(const struct repl *r, struct repl_view *out)
{
    memset(out, 0, sizeof *out);
    out->role = r->role;
    out->term = r->term;
    out->primary = r->primary;
    out->voted_for = r->voted_for;
    out->last.lsn = r->log.last;
    out->last.term = r->log.last_term;
    const struct sha256 *hash = repl_log_hash(&r->log, r->log.last);
    if (hash != NULL)
        out->last.hash = *hash;
    out->durable = r->log.durable;
    out->commit = r->commit;
    out->visible = r->visible;
    out->serving = r->role == REPL_PRIMARY && r->commit.v >= r->term_start.v &&
                   r->handover <= REPL_HANDOVER_WAIT;
    out->lease_valid = repl_lease_valid(r, r->now_ms);
    out->may_vote = r->may_vote;
    out->broken = r->broken;
    out->lost = r->lost;
    out->unfit = r->peers[r->options.self].unfit;
    out->handover = r->handover;
    out->handing_over_to = r->handover == REPL_HANDOVER_NONE ? REPL_NOBODY : r->successor;
    repl_relay_view(r, &out->relay);
    out->mode = r->mode;
    out->disk_slow = slow_disk_is_slow(&r->disk, r->options.election_ms);
    out->disk_ms = r->disk.probe.v != 0 && r->disk.waited_ms > r->disk.took_ms ? r->disk.waited_ms
                                                                               : r->disk.took_ms;
    out->disk_usual_ms = slow_disk_usual_ms(&r->disk);
    out->heard = (struct repl_heard){r->heard_from, r->seen_term, r->heard_ms, r->primary_last,
                                     r->primary_commit};
    out->cut = (struct repl_cut_view){r->cut.asked, r->cut.durable, r->cut.keep};
    out->list = r->list;
    for (uint8_t i = 0; i < r->options.sites; i++)
        if (i != r->options.self)
            peer_view(r, i, &out->peers[i]);
}

static struct lsn durable_at(const struct repl *r, uint8_t site)
{
    if (site == r->options.self)
        return r->log.durable;
    if (!repl_in(r->list.members.all, site) || r->role != REPL_PRIMARY || !r->peers[site].counts ||
        r->peers[site].suspect_to.v != 0)
        return (struct lsn){0};
    return r->peers[site].match;
}

struct lsn repl_level_lsn(const struct repl *r, enum level level, uint8_t dr, uint8_t gsr)
{
    struct lsn at = r->log.durable;
    switch (level) {
    case LEVEL_MODE:
        return r->visible;
    case LEVEL_LOCAL:
        return at;
    case LEVEL_MAJORITY:
        return r->commit;
    case LEVEL_DR:
        at = lsn_min(at, durable_at(r, dr));
        break;
    case LEVEL_GSR:
        at = lsn_min(at, durable_at(r, gsr));
        break;
    case LEVEL_ALL:
        for (uint8_t i = 0; i < r->options.sites; i++)
            if (repl_votes(r, i))
                at = lsn_min(at, durable_at(r, i));
        break;
    }
    return lsn_min(at,
                   r->commit); /* named sites are asked for beyond a majority, not instead of it */
}

const char *repl_role_name(enum repl_role role)
{
    switch (role) {
    case REPL_STANDBY:
        return "standby";
    case REPL_PRE_CANDIDATE:
        return "pre-candidate";
    case REPL_CANDIDATE:
        return "candidate";
    case REPL_PRIMARY:
        return "primary";
    }
    return "unknown";
}
