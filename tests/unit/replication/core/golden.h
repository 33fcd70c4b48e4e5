/* What the tests of golden traces share: how a scenario begins and ends, and how its trace is compared. */
#ifndef TESTS_UNIT_REPLICATION_CORE_GOLDEN_H
#define TESTS_UNIT_REPLICATION_CORE_GOLDEN_H

#include "tests/sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static inline struct sim *begin(const struct swarm *swarm)
{
    struct sim *s = malloc(sizeof *s);
    assert_non_null(s);
    sim_init(s, 7, swarm, MUTANT_NONE);
    s->keep_trace = true;
    s->clients_stop = true;
    s->swarm.fault_every_ms = 0;
    return s;
}

static inline void end(struct sim *s)
{
    assert_false(s->failed);
    sim_deinit(s);
    free(s);
}

/* Forget the trace so far: a scenario shows only its own part. */
static inline void forget(struct sim *s)
{
    s->trace_n = 0;
}

static inline void expect(const struct sim *s, const char *const *lines)
{
    uint64_t n = 0;
    bool differs = false;
    for (; lines[n] != NULL; n++)
        differs |= n >= s->trace_n || strcmp(s->trace[n], lines[n]) != 0;
    if (n == s->trace_n && !differs)
        return;
    for (uint64_t i = 0; i < s->trace_n; i++)
        (void)fprintf(stderr, "        \"%s\",\n", s->trace[i]);
    fail_msg("the trace is not the expected one; what came is above");
}

static inline void propose(struct sim *s, uint8_t site, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sim_site_post(
            s, site,
            &(struct sim_inbox){.type = REPL_EV_PROPOSE, .op = sim_op_new(s, 0, SIM_OP_PUT, 0)});
    sim_site_run(s, site);
}

static inline void run_for(struct sim *s, uint64_t ms)
{
    sim_run_until(s, s->now_us + ms * SIM_MS);
}

/* dc is primary with some entries everywhere. */
static inline struct sim *begin_with_dc(const struct swarm *swarm)
{
    struct sim *s = begin(swarm);
    run_for(s, 2000);
    if (s->sites[SIM_DC].r->role != REPL_PRIMARY) {
        sim_site_post(s, SIM_DR, &(struct sim_inbox){.type = REPL_EV_SWITCHOVER, .site = SIM_DC});
        sim_site_run(s, SIM_DR);
        run_for(s, 500);
    }
    assert_int_equal(s->sites[SIM_DC].r->role, REPL_PRIMARY);
    propose(s, SIM_DC, 5);
    run_for(s, 300);
    assert_true(sim_check_settled(s));
    forget(s);
    return s;
}

#endif
