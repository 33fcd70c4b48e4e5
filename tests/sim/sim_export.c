/* Divergence bundles: written beside the loop in a time of their own, given their name when the log is cut, forgotten by a crash.
 *
 * As in replication/exporter.c: the newest order counts; one that is under way for another cut is not told of any more. What
 * clients were told is as it was when the export began. */
#include "tests/sim/sim.h"

static uint64_t takes_us(struct sim *s)
{
    const uint64_t most[] = {20, 20, 20, 20, 200, 200, 1000, s->calm ? 1000 : 4000};
    return sim_rng_between(&s->exports, SIM_MS, most[sim_rng_below(&s->exports, 8)] * SIM_MS);
}

static void mark_exported(struct sim *s, const struct sim_site *site)
{
    const struct sim_export *x = &site->export;
    for (uint64_t lsn = x->keep; lsn < x->end.lsn.v; lsn++) {
        struct sim_entry *e = &s->entries[site->ids[lsn]];
        bool deletes = e->op != 0 && s->ops[e->op].kind == SIM_OP_DELETE;
        e->exported = !(deletes && s->mutant == MUTANT_EXPORT_WITHOUT_DELETES);
        if (answered_what(&x->answered, e->header.term, e->header.lsn, e->level, x->commit) ==
            ACKNOWLEDGED_NO)
            e->denied = true;
    }
}

static void tell(struct sim *s, uint8_t i)
{
    const struct sim_export *x = &s->sites[i].export;
    sim_site_post(
        s, i, &(struct sim_inbox){.type = REPL_EV_EXPORTED, .keep = {x->keep}, .position = x->end});
}

static void begin(const struct sim *s, struct sim_site *site, uint64_t keep)
{
    const struct sim_entry *last = &s->entries[site->ids[site->n - 1]];
    site->export = (struct sim_export){
        .number = site->export.number + 1,
        .running = true,
        .ever = site->export.ever,
        .keep = keep,
        .end = {last->header.lsn, last->header.term, last->header.time, last->hash},
        .answered = site->answered,
        .commit = site->marks.commit};
}

void sim_export_at_once(const struct sim *s, struct sim_site *site, uint64_t keep)
{
    begin(s, site, keep);
    site->export.durable = true;
}

void sim_export_begin(struct sim *s, uint8_t i, const struct repl_action *a)
{
    struct sim_site *site = &s->sites[i];
    begin(s, site, a->lsn.v);
    if (!a->granted) { /* nothing is cut: nobody waits for it */
        mark_exported(s, site);
        return;
    }
    sim_at(s, s->now_us + takes_us(s), SIM_EV_EXPORTED, i, site->export.number);
    if (s->mutant == MUTANT_CUT_BEFORE_EXPORT)
        tell(s, i);
}

void sim_export_done(struct sim *s, uint8_t i, uint32_t number)
{
    struct sim_site *site = &s->sites[i];
    struct sim_export *x = &site->export;
    if (!site->alive || !x->running || x->number != number)
        return;
    x->running = false;
    x->durable = x->ever = true;
    tell(s, i);
    sim_site_run(s, i);
}

void sim_export_named(struct sim *s, uint8_t i, uint64_t keep)
{
    struct sim_site *site = &s->sites[i];
    const struct sim_export *x = &site->export;
    if (!x->durable || x->keep != keep || x->end.lsn.v != site->n ||
        !sha256_equal(&x->end.hash, &s->entries[site->ids[site->n - 1]].hash))
        return; /* sim_check_cut() will see it */
    mark_exported(s, site);
    site->export.durable = false;
}
