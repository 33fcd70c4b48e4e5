/* Orders of an operator on their way to a site (R7): answered late, sent again, obeyed once. What decides is production's own
 * replication/core/orders.c.
 *
 * An order names the term that the operator saw, a nonce and an expiry in the site's own time. Its answer may be lost, so it is
 * sent again: at once, after a while, after the situation is over, or after the process that obeyed it was replaced. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

#include <stdio.h>

/* The site's time, as its status tells it. */
static uint64_t time_of(const struct sim *s, struct sim_site *site)
{
    return s->mutant == MUTANT_ORDER_BY_WALL_CLOCK ? sim_wall_us(s, site) : sim_commit_us(s, site);
}

static void send_again_later(struct sim *s, uint32_t id)
{
    struct sim_order *o = &s->orders[id];
    if (o->sent >= 4 || s->calm || !sim_rng_chance(&s->plot, 600000))
        return;
    uint64_t wait = sim_rng_chance(&s->plot, 500000) ? 2000 : 20;
    sim_at(s, s->now_us + sim_rng_between(&s->plot, 1, wait) * SIM_MS, SIM_EV_ORDER, o->site, id);
}

void sim_order(struct sim *s, uint8_t site, const struct sim_inbox *e)
{
    struct sim_site *to = &s->sites[site];
    if (s->orders_n + 1 >= SIM_ORDERS_MAX)
        return;
    uint32_t id = ++s->orders_n;
    struct sim_order *o = &s->orders[id];
    *o = (struct sim_order){.event = *e, .site = site, .term = to->view.term};
    uint64_t life_ms = sim_rng_chance(&s->plot, 300000) ? 200 : 60000;
    o->expires.us = time_of(s, to) + sim_rng_between(&s->plot, 1, life_ms) * SIM_MS;
    (void)snprintf(o->nonce, sizeof o->nonce, "operator-nonce-%06u", (unsigned)id);
    sim_order_arrives(s, site, id);
}

/* S18, as the order is about to be carried out. */
static void check_obeyed(struct sim *s, uint8_t i, struct sim_order *o)
{
    struct sim_site *site = &s->sites[i];
    if (o->obeyed_boot == site->boot)
        sim_fail(s, "S18: %s carries out the same order a second time", sim_names[i]);
    if (o->term.v != site->r->term.v)
        sim_fail(s, "S18: %s carries out an order for term %llu in term %llu", sim_names[i],
                 U(o->term.v), U(site->r->term.v));
    if (o->expires.us <= time_of(s, site))
        sim_fail(s, "S18: %s carries out an order that has expired", sim_names[i]);
    o->obeyed_boot = site->boot;
}

void sim_order_arrives(struct sim *s, uint8_t i, uint32_t id)
{
    struct sim_site *site = &s->sites[i];
    struct sim_order *o = &s->orders[id];
    o->sent++;
    send_again_later(s, id);
    if (!site->alive || site->paused || site->blocked)
        return; /* nobody listens, or nobody answers in time */
    struct order_terms terms = {true, o->term, bytes_str(o->nonce), o->expires};
    struct utc now = {time_of(s, site)};
    struct order *order;
    struct err e = ERR_NONE;
    if (s->mutant == MUTANT_ORDER_OBEYED_TWICE)
        memset(&site->orders, 0, sizeof site->orders);
    if (s->mutant == MUTANT_ORDER_OF_PAST_TERM)
        terms.term = site->view.term;
    if (s->mutant == MUTANT_ORDER_EXPIRED)
        terms.expires.us += 600 * UINT64_C(1000000);
    while (orders_forget(&site->orders, now).state != ORDER_FREE)
        continue;
    if (orders_admit(&site->orders, "the order", &terms, site->view.term, now, &order, &e) != 0)
        return;
    order->asker = o;
    order->request = id;
    if (site->ordered != 0) {
        (void)orders_answered(&site->orders, o, id, ERR_FAILED, "another one is under way");
        return;
    }
    site->ordered = id;
    check_obeyed(s, i, o);
    sim_say(s, i, "operator: %s", o->event.type == REPL_EV_FAILOVER ? "failover" : "switchover");
    sim_site_post(s, i, &o->event);
    sim_site_run(s, i);
}

void sim_order_answered(struct sim *s, uint8_t i, bool done)
{
    struct sim_site *site = &s->sites[i];
    uint32_t id = site->ordered;
    site->ordered = 0;
    if (id != 0)
        (void)orders_answered(&site->orders, &s->orders[id], id, done ? 0 : ERR_FAILED, "");
}
