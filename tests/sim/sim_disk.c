/* Disks that crawl: a thousand times slower for seconds, at one site or at all, as a failing drive or a shared storage does. What
 * a primary makes of it is replication/core/slow_disk.c; the check S24 of sim_check.c is here. */
#include "tests/sim/sim.h"

#define CRAWL 1000

static void crawl_for(struct sim *s, uint8_t site, uint64_t ms)
{
    s->sites[site].crawls_until_us = s->now_us + ms * SIM_MS;
    sim_say(s, site, "the disk crawls for %llu ms", U(ms));
}

void sim_crawl_some(struct sim *s)
{
    uint8_t primary = sim_primary(s), site = (uint8_t)sim_rng_below(&s->crawl, s->sites_n);
    uint64_t ms = sim_rng_between(&s->crawl, 200, 8000);
    if (!s->swarm.crawl || !sim_rng_chance(&s->crawl, 300000))
        return;
    if (primary != REPL_NOBODY && sim_rng_chance(&s->crawl, 700000))
        site = primary;
    bool all = sim_rng_chance(&s->crawl, 150000);
    for (uint8_t i = 0; i < s->sites_n; i++)
        if (all || i == site)
            crawl_for(s, i, ms);
}

uint64_t sim_disk_us(struct sim *s, const struct sim_site *site, uint64_t us)
{
    return s->now_us < site->crawls_until_us ? us * CRAWL : us;
}

/* S24, when the machine has said that it steps aside, and before anything follows from it. */
void sim_check_stepped_aside(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    const uint64_t least_us =
        SLOW_DISK_EVERY_MS * SIM_MS * 9 / 10; /* by a clock that may run fast */
    uint32_t have = 0;
    s->truth.stepped_aside++;
    for (uint8_t k = 0; k < s->sites_n; k++)
        have += k != i && s->sites[k].stable >= site->r->disk.probe.v;
    if (s->swarm.policy != REPL_AUTOMATIC)
        sim_fail(s, "S24: %s steps aside, and the policy is not automatic", sim_names[i]);
    if (have < 2 && s->wiped == REPL_NOBODY)
        sim_fail(s, "S24: %s steps aside, but only %u others have what its disk has not",
                 sim_names[i], have);
    if (site->stepped.boot == site->boot && s->now_us - site->stepped.at_us < least_us)
        sim_fail(s, "S24: %s steps aside again after %llu ms", sim_names[i],
                 U((s->now_us - site->stepped.at_us) / SIM_MS));
    if (site->handed.boot == site->boot && s->now_us - site->handed.at_us < least_us)
        sim_fail(s, "S24: %s hands on after %llu ms what it was handed", sim_names[i],
                 U((s->now_us - site->handed.at_us) / SIM_MS));
    site->stepped.boot = site->boot;
    site->stepped.at_us = s->now_us;
}

void sim_note_handed(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    site->handed.boot = site->r->transfer ? site->boot : 0;
    site->handed.at_us = s->now_us;
}
