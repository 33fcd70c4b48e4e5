/* The list of members: what the logs say of it, the operator who changes it at bad moments, and bugs planted in how it is
 * counted.
 *
 * The operator adds, promotes, demotes and removes without a look at what is under way; what may not be is for the core to
 * refuse. He keeps only what no software can: two sites that vote, and three where a disk may be lost, for of two the one that
 * lost its disk waits for a majority without it (R5). */
#include "tests/sim/sim.h"

#include "store/core/check.h"

struct repl_members sim_members_of(const struct sim *s, const struct sim_site *site, uint64_t id)
{
    return id == 0 ? site->initial : s->entries[id].members;
}

struct repl_members sim_members(const struct sim *s, const struct sim_site *site)
{
    return sim_members_of(s, site, sim_model_at(s, site, site->n).list);
}

static struct repl_member_list list_of(const struct sim *s, const struct sim_site *site,
                                       uint64_t id)
{
    struct lsn at = {id == 0 ? 0 : s->entries[id].header.lsn.v};
    return (struct repl_member_list){at, sim_members_of(s, site, id)};
}

/* As production reads it: the checkpoint's list, and those of the log after it. */
void sim_members_start(const struct sim *s, const struct sim_site *site, struct repl_start *start,
                       struct repl_member_list lists[SIM_LOG_MAX])
{
    uint32_t n = 0;
    lists[n++] = list_of(s, site, site->checkpoint.list);
    for (uint64_t lsn = site->checkpoint.lsn + 1; lsn <= site->n; lsn++)
        if (s->entries[site->ids[lsn - 1]].header.kind == ENTRY_MEMBERS)
            lists[n++] = list_of(s, site, site->ids[lsn - 1]);
    if (s->mutant == MUTANT_LIST_LOST_AT_START) {
        n = 1;
        lists[0] = list_of(s, site, 0);
    }
    if (s->mutant == MUTANT_JOINER_COUNTS_ITSELF && site->joins && n == 1) {
        uint8_t self = (uint8_t)(1u << (site - s->sites));
        lists[0].members = (struct repl_members){.all = self, .voters = self, .electable = self};
        start->may_vote = true;
    }
    start->lists = lists;
    start->list_count = n;
}

/* ---- the operator ---- */

static struct repl_members changed(struct sim *s, struct repl_members m)
{
    uint8_t site = (uint8_t)sim_rng_below(&s->list, s->sites_n), bit = (uint8_t)(1u << site);
    switch (sim_rng_below(&s->list, 5)) {
    case 0:
    case 1:
        m.all |= bit;
        m.electable |= SIM_DATA & bit;
        break;
    case 2:
    case 3:
        m.voters |= bit;
        break;
    default:
        m.voters &= (uint8_t)~bit;
        if (site != SIM_GSR && sim_rng_chance(&s->list, 600000)) {
            m.all &= (uint8_t)~bit;
            m.electable &= (uint8_t)~bit;
        }
        break;
    }
    /* Who has caught up is promoted sooner or later: there shall be many votes as well as few. */
    if (sim_rng_chance(&s->list, 200000))
        m.voters = m.all;
    return m;
}

/* The bad moment: the sites fall into two halves, neither of which hears of the other. */
static void part(struct sim *s)
{
    uint64_t half = sim_rng_next(&s->list);
    uint64_t until = s->now_us + sim_rng_between(&s->list, 300, 4000) * SIM_MS;
    for (uint8_t a = 0; a < s->sites_n; a++)
        for (uint8_t b = 0; b < s->sites_n; b++)
            if ((half >> a & 1) != (half >> b & 1)) {
                sim_cut(s, a, b, true);
                sim_at(s, until, SIM_EV_HEAL, a, b);
            }
}

void sim_change_members(struct sim *s)
{
    for (uint8_t i = 0; i < s->sites_n; i++) {
        const struct sim_site *site = &s->sites[i];
        if (!site->alive || site->r->role != REPL_PRIMARY || sim_rng_chance(&s->list, 400000) ||
            !sim_has_room(s, site))
            continue;
        if ((s->swarm.cut || s->swarm.isolate) && sim_rng_chance(&s->list, 400000))
            part(s); /* before anybody else hears of the change */
        struct repl_members m = changed(s, sim_members(s, site));
        if (sim_rng_chance(&s->list, 400000))
            m = changed(s, m);
        for (uint64_t n = sim_rng_between(&s->list, 1, 2); n > 0; n--) {
            uint32_t can_lead = repl_count(m.voters & m.electable);
            if (repl_count(m.voters) < (s->swarm.wipe ? 3 : 2) || can_lead < 1 ||
                (m.voters & ~m.all) != 0)
                break;
            sim_say(s, i, "operator: members %02x, of whom %02x vote", m.all, m.voters);
            sim_site_post(s, i, &(struct sim_inbox){.type = REPL_EV_PROPOSE, .members = m});
            m = changed(s, m);
        }
        sim_site_run(s, i);
    }
}

static bool suffices(const struct repl_members *m, uint8_t without)
{
    if (without == REPL_NOBODY)
        return repl_count(m->voters) > 2;
    uint8_t rest = m->voters & (uint8_t) ~(1u << without);
    return repl_count(rest) > repl_count(m->voters) / 2 && (rest & m->electable) != 0;
}

bool sim_members_suffice(const struct sim *s, uint8_t without)
{
    for (uint8_t i = 0; i < s->sites_n; i++) {
        const struct repl *r = s->sites[i].r;
        if (!suffices(&r->list.members, without) && r->list.members.all != 0)
            return false;
        if (!suffices(&r->list_before.members, without) && r->list_before.members.all != 0)
            return false;
    }
    return true;
}

/* ---- planted bugs ---- */

/* Another list stands in the core's memory during a step, unless that step itself changes it. */
static void hide(struct sim_site *site, struct repl_members m)
{
    site->real_list = site->r->list;
    site->list_hidden = true;
    site->r->list.members = m;
}

void sim_plant_list_before(const struct sim *s, struct sim_site *site, const struct repl_event *e)
{
    struct repl *r = site->r;
    uint8_t self = (uint8_t)(1u << r->options.self);
    struct repl_members m = r->list.members;
    bool proposes = e->type == REPL_EV_PROPOSE && e->kind == ENTRY_MEMBERS;
    site->list_hidden = false;
    if (s->mutant == MUTANT_LIST_AT_COMMIT && r->commit.v < r->list.lsn.v)
        hide(site, r->list_before.members);
    if (s->mutant == MUTANT_LIST_INITIAL && !proposes && !site->joins)
        hide(site, site->initial);
    if (s->mutant == MUTANT_LIST_TWO_AT_ONCE && proposes) {
        hide(site, m);
        r->list.lsn = lsn_min(r->list.lsn, r->commit);
    }
    /* One of two changes is hidden from the core; the other one, and all else, it judges as always. */
    uint8_t two = proposes ? (uint8_t)((m.voters ^ e->members.voters) & m.all) : 0;
    if (s->mutant == MUTANT_LIST_TWO_VOTES && repl_count(two) == 2) {
        m.voters ^= two & (uint8_t)-two;
        hide(site, m);
    }
    if (s->mutant == MUTANT_LIST_BEFORE_NOOP && proposes && r->role == REPL_PRIMARY) {
        site->real_term_start = r->term_start;
        r->term_start.v = 1;
        hide(site, m);
        r->list.lsn = lsn_min(r->list.lsn, r->commit);
    }
    if (s->mutant == MUTANT_REPLICA_COUNTED && r->role == REPL_PRIMARY && !proposes &&
        e->type == REPL_EV_MESSAGE) {
        m.voters = (uint8_t)(m.voters | (m.all & ~m.voters));
        /* as many as before are enough */
        hide(site, m);
        while (repl_count(r->list.members.voters) > repl_count(site->real_list.members.voters) + 1)
            r->list.members.voters &= (uint8_t)(r->list.members.voters - 1);
    }
    if (s->mutant == MUTANT_REPLICA_STANDS && repl_in(m.all, r->options.self) && !proposes) {
        m.voters |= self;
        hide(site, m);
    }
    if (s->mutant == MUTANT_REMOVED_STANDS && !repl_in(m.all, r->options.self) && m.all != 0 &&
        e->type != REPL_EV_PROPOSE) {
        m.voters |= self;
        m.all |= self;
        m.electable |= self & SIM_DATA;
        hide(site, m);
    }
    if (s->mutant == MUTANT_PROMOTED_BEHIND && proposes)
        for (uint8_t i = 0; i < s->sites_n; i++)
            if (repl_in(m.all, i) && r->peers[i].up) {
                r->peers[i].counts = true;
                r->peers[i].heard_ms = e->now_ms;
                r->peers[i].match = r->log.last;
            }
}

void sim_plant_list_after(const struct sim *s, struct sim_site *site, const struct repl_event *e)
{
    struct repl *r = site->r;
    if (s->mutant == MUTANT_LIST_BEFORE_NOOP && site->real_term_start.v != 0) {
        if (r->role == REPL_PRIMARY)
            r->term_start = site->real_term_start;
        site->real_term_start.v = 0;
    }
    if (site->list_hidden && r->list.lsn.v > site->real_list.lsn.v)
        r->list_before = site->real_list;
    else if (site->list_hidden &&
             (e->type == REPL_EV_PROPOSE || r->list.lsn.v == site->real_list.lsn.v))
        r->list = site->real_list;
    for (uint32_t i = 0; s->mutant == MUTANT_LIST_KEPT_IN_CUT && i < site->actions.n; i++)
        if (site->actions.a[i].type == REPL_ACT_TRUNCATE && r->list.lsn.v < site->real_list.lsn.v)
            r->list.members = site->real_list.members;
    if (s->mutant == MUTANT_LIST_KEPT_IN_CUT)
        site->real_list = r->list;
}
