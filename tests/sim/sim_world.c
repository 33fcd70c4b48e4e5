/* Time, clocks, the network and the swarm of fault classes.
 *
 * NETWORK MODEL. A link between two sites is a connection with an epoch, as TCP with TLS gives: when it is closed, what is in
 * flight is gone, and both ends are told, at different times. Inside a connection messages may be lost, repeated and overtaken,
 * which TCP would not do, but which a full send queue or a dropped frame does. A cut drops one direction silently; the
 * connection then stays up for a while, as TCP's would. A hole drops most of what carries entries and lets the rest pass, as a
 * path does whose largest packet is smaller than it says.
 *
 * CLOCKS. Each site's clock has an offset and a rate; rates differ by up to 8 % between sites, which is inside the lease's
 * margin of 10 %. Its wall clock, of which commit time comes, is set now and then: by seconds or by years, ahead or back. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

#include <stdarg.h>

const char *const sim_names[SIM_SITES] = {"dc", "dr", "gsr", "dr2", "dr3"};

/* ---- random streams: SplitMix64 (Steele, Lea, Flood 2014) ---- */

uint64_t sim_rng_next(struct rng *g)
{
    uint64_t z = g->s += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_rng_below(struct rng *g, uint64_t n)
{
    return n == 0 ? 0 : sim_rng_next(g) % n;
}

uint64_t sim_rng_between(struct rng *g, uint64_t lo, uint64_t hi)
{
    return lo + sim_rng_below(g, hi - lo + 1);
}

bool sim_rng_chance(struct rng *g, uint32_t per_million)
{
    return per_million != 0 && sim_rng_below(g, 1000000) < per_million;
}

static struct rng split(uint64_t seed, uint64_t stream)
{
    struct rng g = {seed ^ (stream * UINT64_C(0xd1342543de82ef95))};
    g.s = sim_rng_next(&g);
    return g;
}

/* ---- trace, failure, hash ---- */

void sim_say(struct sim *s, uint8_t site, const char *fmt, ...)
{
    if (!s->keep_trace)
        return;
    char *line = s->trace[s->trace_n++ % SIM_TRACE_LINES];
    int n = snprintf(line, SIM_TRACE_BYTES, "%9.3f %-4s ", (double)s->now_us / 1e6,
                     site < s->sites_n ? sim_names[site] : "-");
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line + n, (size_t)(SIM_TRACE_BYTES - n), fmt, ap);
    va_end(ap);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    if (s->failed)
        return;
    s->failed = true;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(s->failure, sizeof s->failure, fmt, ap);
    va_end(ap);
    sim_say(s, REPL_NOBODY, "FAILED: %s", s->failure);
}

void sim_mix(struct sim *s, uint64_t v)
{
    s->hash = (s->hash ^ v) * UINT64_C(0x9fb21c651e98df25);
    s->hash ^= s->hash >> 32;
}

/* ---- the heap of events, ordered by time, then by age ---- */

static bool sooner(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void sim_at(struct sim *s, uint64_t at_us, enum sim_event_type type, uint32_t site, uint32_t arg)
{
    check(s->heap_n < SIM_EVENTS_MAX);
    struct sim_event e = {at_us, s->order++, type, site, arg};
    uint32_t i = s->heap_n++;
    for (; i > 0 && sooner(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static struct sim_event heap_pop(struct sim *s)
{
    struct sim_event top = s->heap[0], last = s->heap[--s->heap_n];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= s->heap_n)
            break;
        if (child + 1 < s->heap_n && sooner(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!sooner(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* ---- clocks ---- */

uint64_t sim_clock_ms(const struct sim *s, const struct sim_site *site)
{
    int64_t t = (int64_t)s->now_us;
    if (site->paused && s->mutant == MUTANT_CLOCK_STOPS_IN_PAUSE)
        t = (int64_t)site->paused_at_us;
    t -= (int64_t)site->clock_stopped_us;
    return (uint64_t)(site->clock_offset_us + t + t * site->clock_ppm / 1000000) / 1000;
}

uint64_t sim_wall_us(const struct sim *s, const struct sim_site *site)
{
    return (uint64_t)((int64_t)(SIM_EPOCH_US + s->now_us) + site->wall_offset_us);
}

static void set_a_clock(struct sim *s)
{
    if (s->calm || !s->swarm.jump)
        return;
    uint8_t site = (uint8_t)sim_rng_below(&s->wall, s->sites_n);
    int64_t to = 0; /* corrected */
    if (sim_rng_chance(&s->wall, 700000)) {
        to = (int64_t)(sim_rng_chance(&s->wall, 500000) ? sim_rng_below(&s->wall, 600000000)
                                                        : sim_rng_below(&s->wall, SIM_EPOCH_US));
        if (sim_rng_chance(&s->wall, 500000))
            to = -to;
    }
    sim_say(s, site, "wall clock is set to %+lld s", (long long)(to / 1000000));
    s->sites[site].wall_offset_us = to;
    sim_at(s, s->now_us + sim_rng_between(&s->wall, 10, 4000) * SIM_MS, SIM_EV_CLOCK, 0, 0);
}

/* First moment at which the site's clock shows at least clock_ms. */
uint64_t sim_when_us(const struct sim *s, const struct sim_site *site, uint64_t clock_ms)
{
    uint64_t now = sim_clock_ms(s, site);
    if (clock_ms <= now)
        return s->now_us;
    uint64_t ahead = (clock_ms - now) * 1000;
    return s->now_us + (uint64_t)((int64_t)ahead * 1000000 / (1000000 + site->clock_ppm)) + 1;
}

/* ---- network ---- */

static struct sim_link *link_of(struct sim *s, uint32_t a, uint32_t b)
{
    return a < b ? &s->links[a][b] : &s->links[b][a];
}

static void launch(struct sim *s, const struct sim_message *m)
{
    if (s->free_messages == 0 || s->heap_n > SIM_EVENTS_MAX - 256)
        return; /* the link's queue is full */
    uint32_t index = s->free_message[--s->free_messages];
    s->messages[index] = *m;
    uint64_t delay = s->swarm.delay_us + sim_rng_below(&s->net, s->swarm.jitter_us + 1);
    uint64_t clogged = s->clogged_until_us[m->from][m->to];
    if (clogged > s->now_us)
        delay += clogged - s->now_us;
    if (sim_rng_chance(&s->net, s->swarm.reorder))
        delay += sim_rng_below(&s->net, 20 * (uint64_t)s->swarm.delay_us + 20000);
    sim_at(s, s->now_us + delay, SIM_EV_MESSAGE, m->to, index);
}

void sim_send(struct sim *s, const struct repl_message *message, const uint32_t *ids, uint32_t n)
{
    struct sim_link *l = link_of(s, message->from, message->to);
    if (!l->connected)
        return;
    struct sim_message m = {
        .from = message->from, .to = message->to, .epoch = l->epoch, .n = n, .sent_us = s->now_us};
    if (message->type == REPL_MSG_GIVE) {
        const struct sim_site *from = &s->sites[message->from];
        bool leads = from->r->role == REPL_PRIMARY;
        m.word_us = leads ? s->now_us : from->word_us;
        m.word_sent_us = leads ? s->now_us : from->word_sent_us;
    }
    struct writer w = writer_of(m.fixed, sizeof m.fixed);
    message_write(&w, message);
    check(!w.bad && w.at == sizeof m.fixed && n <= SIM_BATCH_MAX);
    if (n != 0)
        memcpy(m.ids, ids, n * sizeof ids[0]);
    if (message->type == REPL_MSG_TAKE_OVER)
        s->late_take_over = m;
    bool hole =
        n > 0 && s->now_us < s->hole_until_us[m.from][m.to] && !sim_rng_chance(&s->plot, 100000);
    if (hole || s->cut[m.from][m.to] || sim_rng_chance(&s->net, s->swarm.loss))
        return;
    launch(s, &m);
    if (sim_rng_chance(&s->net, s->swarm.duplicate))
        launch(s, &m);
}

static void arrive(struct sim *s, uint32_t index)
{
    struct sim_message *m = &s->messages[index];
    struct sim_link *l = link_of(s, m->from, m->to);
    bool through = l->connected && l->epoch == m->epoch && l->side_up[m->from < m->to] &&
                   s->sites[m->to].alive;
    if (through) {
        sim_site_deliver(s, index);
    } else {
        s->free_message[s->free_messages++] = index;
    }
}

/* Tell one end. side_up[0] is what the lower-numbered site knows. */
static void tell(struct sim *s, uint8_t site, uint8_t peer, bool up)
{
    struct sim_link *l = link_of(s, site, peer);
    bool *known = &l->side_up[site > peer];
    if (*known == up)
        return;
    *known = up;
    if (s->sites[site].alive)
        sim_site_post(
            s, site,
            &(struct sim_inbox){.type = up ? REPL_EV_PEER_UP : REPL_EV_PEER_DOWN, .site = peer});
}

void sim_link_close(struct sim *s, uint8_t a, uint8_t b, uint64_t notice_us)
{
    struct sim_link *l = link_of(s, a, b);
    if (!l->connected)
        return;
    l->connected = false;
    l->epoch++;
    sim_at(s, s->now_us + sim_rng_below(&s->net, notice_us + 1), SIM_EV_LINK_DOWN, a, b);
    sim_at(s, s->now_us + sim_rng_below(&s->net, notice_us + 1), SIM_EV_LINK_DOWN, b, a);
}

static void connect_all(struct sim *s)
{
    sim_repository_serves(s);
    for (uint8_t a = 0; a < s->sites_n; a++) {
        for (uint8_t b = (uint8_t)(a + 1); b < s->sites_n; b++) {
            struct sim_link *l = &s->links[a][b];
            bool possible =
                s->sites[a].alive && s->sites[b].alive && !s->cut[a][b] && !s->cut[b][a];
            bool strangers = s->now_us < s->sites[a].stranger_until_us ||
                             s->now_us < s->sites[b].stranger_until_us;
            if (l->connected || !possible || strangers || sim_rng_chance(&s->net, 400000))
                continue;
            l->connected = true;
            tell(s, a, b, false);
            tell(s, b, a, false);
            tell(s, a, b, true);
            tell(s, b, a, true);
            sim_site_run(s, a);
            sim_site_run(s, b);
        }
    }
    sim_at(s, s->now_us + sim_rng_between(&s->net, 10 * SIM_MS, 100 * SIM_MS), SIM_EV_CONNECT, 0,
           0);
}

void sim_cut(struct sim *s, uint8_t from, uint8_t to, bool on)
{
    if (s->cut[from][to] != on)
        sim_say(s, REPL_NOBODY, "network: %s -> %s is %s", sim_names[from], sim_names[to],
                on ? "cut" : "whole again");
    s->cut[from][to] = on;
}

/* Cuts of the outcast, in any direction; its links are closed as often as not. */
static void flap(struct sim *s)
{
    if (s->outcast == REPL_NOBODY || s->outcast_is != SIM_FLAPPING)
        return;
    for (uint8_t k = 0; k < s->sites_n; k++) {
        if (k == s->outcast)
            continue;
        sim_cut(s, s->outcast, k, sim_rng_chance(&s->plot, 500000));
        sim_cut(s, k, s->outcast, sim_rng_chance(&s->plot, 500000));
        if (sim_rng_chance(&s->plot, 500000))
            sim_link_close(s, s->outcast, k, 500 * SIM_MS);
    }
    sim_at(s, s->now_us + sim_rng_between(&s->plot, 100, 1500) * SIM_MS, SIM_EV_FLAP, 0, 0);
}

/* A supervisor's restart is quick, a host's boot is not. */
/* Of the jitter of elections. While there are faults two sites may draw the same for a while, which is a misfortune like others;
 * in the calm they must not, lest they stand in step for ever. A process draws its seed, so there it is not so. */
uint64_t sim_election_seed(const struct sim *s, uint8_t i)
{
    return s->seed * 1000 + s->sites[i].boot + (s->calm ? (i + 1) * UINT64_C(1000003) : 0);
}

uint64_t sim_restart_delay_us(struct rng *g)
{
    return sim_rng_chance(g, 400000) ? sim_rng_between(g, 1, 80) * SIM_MS
                                     : sim_rng_between(g, 80, 3000) * SIM_MS;
}

/* ---- events ---- */

static void handle(struct sim *s, const struct sim_event *e)
{
    uint8_t site = (uint8_t)e->site;
    switch (e->type) {
    case SIM_EV_MESSAGE:
        arrive(s, e->arg);
        break;
    case SIM_EV_TICK:
        sim_site_tick(s, site);
        break;
    case SIM_EV_DISK:
        sim_site_disk_done(s, site, e->arg);
        break;
    case SIM_EV_RESUME:
        sim_site_resume(s, site, e->arg);
        break;
    case SIM_EV_EXPORTED:
        sim_export_done(s, site, e->arg);
        break;
    case SIM_EV_UNPAUSE:
        if (s->sites[site].paused) {
            sim_say(s, site, "process goes on");
            if (s->mutant == MUTANT_CLOCK_STOPS_IN_PAUSE)
                s->sites[site].clock_stopped_us += s->now_us - s->sites[site].paused_at_us;
            s->sites[site].paused = false;
            sim_site_run(s, site);
        }
        break;
    case SIM_EV_RESTART:
        if (!s->sites[site].alive && !(site == s->outcast && s->outcast_is == SIM_DEAD) &&
            !repl_in(s->solo.off, (uint8_t)site))
            sim_site_start(s, site);
        break;
    case SIM_EV_LINK_DOWN:
        if (!link_of(s, site, e->arg)->connected) {
            tell(s, site, (uint8_t)e->arg, false);
            sim_site_run(s, site);
        }
        break;
    case SIM_EV_CONNECT:
        connect_all(s);
        break;
    case SIM_EV_HEAL:
        if (site != s->outcast && e->arg != s->outcast)
            sim_cut(s, site, (uint8_t)e->arg, false);
        break;
    case SIM_EV_DISK_FAST:
        s->sites[site].disk_slow = false;
        break;
    case SIM_EV_CLIENT:
        sim_client_wake(s, site);
        break;
    case SIM_EV_FAULT:
        sim_fault(s);
        break;
    case SIM_EV_CRASH:
        if (!s->calm)
            sim_crash_some(s, site, (enum sim_crash)e->arg);
        break;
    case SIM_EV_APPLY:
        sim_apply(s, site, e->arg);
        break;
    case SIM_EV_PUBLISH:
        sim_publish(s, site, e->arg);
        break;
    case SIM_EV_ARCHIVE:
        sim_archive(s, site, e->arg);
        break;
    case SIM_EV_ORDER:
        sim_order_arrives(s, site, e->arg);
        break;
    case SIM_EV_FLAP:
        flap(s);
        break;
    case SIM_EV_HOLE:
        for (uint8_t k = 0; !s->calm && k < s->sites_n; k++)
            s->hole_until_us[site][k] = s->now_us + e->arg * SIM_MS;
        break;
    case SIM_EV_CLOCK:
        set_a_clock(s);
        break;
    case SIM_EV_COPY:
        sim_key_copy(s, site, e->arg);
        break;
    }
}

bool sim_next(struct sim *s)
{
    if (s->heap_n == 0)
        return false;
    struct sim_event e = heap_pop(s);
    s->now_us = e.at_us;
    sim_mix(s, e.at_us ^ (uint64_t)e.type << 56 ^ (uint64_t)e.site << 48);
    handle(s, &e);
    return true;
}

void sim_run_until(struct sim *s, uint64_t at_us)
{
    while (!s->failed && s->heap_n > 0 && s->heap[0].at_us <= at_us)
        (void)sim_next(s);
    if (s->now_us < at_us)
        s->now_us = at_us;
}

/* ---- beginnings ---- */

struct swarm sim_swarm_quiet(void)
{
    return (struct swarm){.delay_us = 1000,
                          .policy = REPL_AUTOMATIC,
                          .think_ms = 20,
                          .retain = SIM_LOG_MAX,
                          .checkpoints = 100000,
                          .apply_us = 3000};
}

struct swarm sim_swarm_of_seed(uint64_t seed)
{
    struct rng g = split(seed, 1);
    struct swarm w = sim_swarm_quiet();
    w.delay_us = (uint32_t)sim_rng_between(&g, 100, sim_rng_chance(&g, 300000) ? 20000 : 2000);
    w.jitter_us = (uint32_t)sim_rng_between(&g, 0, w.delay_us);
    w.loss = sim_rng_chance(&g, 400000) ? (uint32_t)sim_rng_between(&g, 1000, 100000) : 0;
    w.duplicate = sim_rng_chance(&g, 400000) ? (uint32_t)sim_rng_between(&g, 1000, 100000) : 0;
    w.reorder = sim_rng_chance(&g, 400000) ? (uint32_t)sim_rng_between(&g, 1000, 100000) : 0;
    w.crash_at_action = sim_rng_chance(&g, 400000) ? (uint32_t)sim_rng_between(&g, 200, 3000) : 0;
    w.fault_every_ms = sim_rng_chance(&g, 900000) ? (uint32_t)sim_rng_between(&g, 100, 1500) : 0;
    w.crash = sim_rng_chance(&g, 500000);
    w.pause = sim_rng_chance(&g, 500000);
    w.cut = sim_rng_chance(&g, 500000);
    w.isolate = sim_rng_chance(&g, 500000);
    w.reset = sim_rng_chance(&g, 500000);
    w.clog = sim_rng_chance(&g, 500000);
    w.short_batches =
        sim_rng_chance(&g, 500000) ? (uint32_t)sim_rng_between(&g, 100000, 900000) : 0;
    w.at_election = sim_rng_chance(&g, 400000);
    w.slow_disk = sim_rng_chance(&g, 500000);
    w.wipe = sim_rng_chance(&g, 300000);
    w.retain = sim_rng_chance(&g, 400000) ? (uint32_t)sim_rng_between(&g, 4, 200) : SIM_LOG_MAX;
    w.drift = sim_rng_chance(&g, 500000);
    w.operator_acts = sim_rng_chance(&g, 500000);
    w.mode_changes = sim_rng_chance(&g, 300000);
    w.local = sim_rng_chance(&g, 350000);
    w.policy = sim_rng_chance(&g, 100000)
                   ? (sim_rng_chance(&g, 500000) ? REPL_MANUAL : REPL_OBSERVE)
                   : REPL_AUTOMATIC;
    w.think_ms = (uint32_t)sim_rng_between(&g, 10, 300);
    w.checkpoints = (uint32_t)sim_rng_between(&g, 10000, 500000);
    if (sim_rng_chance(&g, 300000))
        w.apply_us = (uint32_t)sim_rng_between(&g, 3000, 400000);
    w.lost_answers = sim_rng_chance(&g, 500000) ? (uint32_t)sim_rng_between(&g, 1000, 100000) : 0;
    w.jump = sim_rng_chance(&g, 500000);
    w.plots = sim_rng_chance(&g, 500000);
    w.gives_up = sim_rng_chance(&g, 300000);
    w.log_full = sim_rng_chance(&g, 200000);
    w.strangers = sim_rng_chance(&g, 200000);
    w.unreadable = sim_rng_chance(&g, 200000);
    w.bursts = sim_rng_chance(&g, 700000) ? (uint32_t)sim_rng_between(&g, 300000, 1000000) : 0;
    w.split = sim_rng_chance(&g, 300000);
    w.crawl = sim_rng_chance(&g, 300000);
    w.sessions = true;
    w.solo = seed % 10 == 7;
    w.members = seed % 9 == 0; /* no draw: the seeds of before stay the stories that they were */
    w.keys = seed % 8 == 7 && !w.solo; /* none of those that are named in seeds.txt and mutants.c */
    return w;
}

void sim_init(struct sim *s, uint64_t seed, const struct swarm *swarm, enum sim_mutant mutant)
{
    memset(s, 0, offsetof(struct sim, contents));
    s->seed = seed;
    s->mutant = mutant;
    s->swarm = *swarm;
    s->net = split(seed, 2);
    s->disk = split(seed, 3);
    s->crash = split(seed, 4);
    s->client = split(seed, 5);
    s->fault = split(seed, 6);
    s->clock = split(seed, 7);
    s->state = split(seed, 8);
    s->wall = split(seed, 9);
    s->plot = split(seed, 10);
    s->relay = split(seed, 11);
    s->crawl = split(seed, 12);
    sim_sessions_init(s, split(seed, 13));
    s->list = split(seed, 14);
    sim_keys_init(s, split(seed, 15));
    s->solos = split(seed, 16);
    s->exports = split(seed, 17);
    s->hash = seed;
    s->sites_n = swarm->members ? SIM_SITES : SIM_FOUNDERS;
    s->wiped = s->outcast = REPL_NOBODY;
    for (uint32_t i = 0; i < SIM_MESSAGES_MAX; i++)
        s->free_message[s->free_messages++] = SIM_MESSAGES_MAX - 1 - i;
    s->options = (struct repl_options){
        .names = {sim_names[0], sim_names[1], sim_names[2], sim_names[3], sim_names[4]},
        .sites = s->sites_n,
        .policy = swarm->policy,
        .heartbeat_ms = 50,
        .election_ms = 500,
        .lease_ms = 400,
        .seed = seed,
    };
    for (uint8_t i = 0; i < s->sites_n; i++) {
        struct sim_site *site = &s->sites[i];
        site->r = malloc(repl_size());
        check(site->r != NULL);
        site->disk_voted = REPL_NOBODY;
        site->joins = i >= SIM_FOUNDERS;
        site->disk_may_vote = !site->joins;
        if (!site->joins)
            site->initial = (struct repl_members){.all = 7, .voters = 7, .electable = 3};
        site->incarnation = 1;
        site->checkpoint = sim_state_empty(s);
        site->clock_offset_us = (int64_t)sim_rng_below(&s->clock, 1000000) * 1000 + 1000000;
        if (swarm->drift)
            site->clock_ppm = (int64_t)sim_rng_below(&s->clock, 80000) - 40000;
        if (mutant == MUTANT_CLOCK_DRIFTS_AWAY)
            site->clock_ppm = (int64_t)sim_rng_below(&s->clock, 800000) - 400000;
        sim_site_start(s, i);
    }
    for (uint8_t c = 0; c < SIM_CLIENTS; c++)
        sim_at(s, sim_rng_below(&s->client, 1000 * SIM_MS), SIM_EV_CLIENT, c, 0);
    for (uint8_t c = SIM_CLIENTS; swarm->keys && c < SIM_ASKERS; c++)
        sim_at(s, sim_rng_below(&s->keys, 1000 * SIM_MS), SIM_EV_CLIENT, c, 0);
    sim_at(s, SIM_MS, SIM_EV_CONNECT, 0, 0);
    sim_at(s, sim_rng_below(&s->fault, 2000 * SIM_MS), SIM_EV_FAULT, 0, 0);
    if (swarm->jump)
        sim_at(s, sim_rng_below(&s->wall, 2000 * SIM_MS), SIM_EV_CLOCK, 0, 0);
}

void sim_deinit(struct sim *s)
{
    for (uint8_t i = 0; i < s->sites_n; i++) {
        sim_state_stop(&s->sites[i]);
        free(s->sites[i].r);
        s->sites[i].r = NULL;
    }
}

static void heal(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    site->disk_slow = false;
    site->crawls_until_us = 0;
    site->log_full_until_us = site->unreadable_until_us = site->stranger_until_us = 0;
    for (uint8_t k = 0; k < s->sites_n; k++) {
        if (k == s->outcast)
            continue;
        sim_cut(s, i, k, false);
        sim_cut(s, k, i, false);
    }
    sim_judge(s, i, true);
    sim_at(s, s->now_us, SIM_EV_UNPAUSE, i, 0);
    sim_at(s, s->now_us, SIM_EV_RESTART, i, 0);
}

void sim_calm(struct sim *s, uint8_t outcast)
{
    static const char *const how[] = {"dead", "cut off", "flapping"};
    sim_say(s, REPL_NOBODY, "all faults end%s%s%s%s", outcast < s->sites_n ? ", but " : "",
            outcast < s->sites_n ? sim_names[outcast] : "", outcast < s->sites_n ? " is " : "",
            outcast < s->sites_n ? how[s->outcast_is] : "");
    s->calm = true;
    s->outcast = outcast;
    s->swarm.loss = s->swarm.duplicate = s->swarm.reorder = s->swarm.crash_at_action = 0;
    s->swarm.lost_answers = s->swarm.jitter_us = 0; /* nothing is overtaken any more */
    memset(s->clogged_until_us, 0, sizeof s->clogged_until_us);
    memset(s->hole_until_us, 0, sizeof s->hole_until_us);
    for (uint8_t i = 0; i < s->sites_n; i++)
        s->sites[i].r->random = sim_election_seed(s, i);
    for (uint8_t i = 0; i < s->sites_n; i++)
        if (i != outcast)
            heal(s, i);
    if (outcast == REPL_NOBODY)
        return;
    for (uint8_t k = 0; k < s->sites_n && s->outcast_is != SIM_DEAD; k++) {
        if (k == outcast)
            continue;
        sim_cut(s, outcast, k, true);
        sim_cut(s, k, outcast, true);
        sim_link_close(s, outcast, k, 1000 * SIM_MS);
    }
    if (s->outcast_is == SIM_DEAD)
        sim_site_crash(s, outcast);
    else
        sim_at(s, s->now_us, SIM_EV_UNPAUSE, outcast, 0);
    if (s->outcast_is == SIM_FLAPPING)
        sim_at(s, s->now_us + 300 * SIM_MS, SIM_EV_FLAP, 0, 0);
}

void sim_calm_outcast(struct sim *s)
{
    uint8_t outcast = s->outcast;
    sim_say(s, outcast, "is healed, too");
    s->outcast = REPL_NOBODY;
    heal(s, outcast);
}
