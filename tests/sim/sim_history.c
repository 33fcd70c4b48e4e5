/* What clients saw, checked from outside.
 *
 * ONCE (P6). Each (session, sequence) is in the common history at most once, and where its answer said.
 *
 * LINEARIZABLE (P5). Record by record, by the search in tests/lib/linear.h. One that takes more than SEARCH_STEPS is given up and
 * counted.
 *
 * In local mode a failover may lose what was answered, so there only P4 is checked: all of it is listed (sim_check.c). */
#include "tests/sim/sim.h"

#include "tests/lib/linear.h"

enum { SEARCH_STEPS = 200000 };

void sim_check_committed_once(struct sim *s, uint32_t id)
{
    uint64_t lsn = s->entries[id].header.lsn.v;
    if (s->entries[id].op == 0)
        return;
    struct sim_op *op = &s->ops[s->entries[id].op];
    if (op->committed_lsn != 0)
        sim_fail(s, "S14: request %llu of client %u is in the history at %llu and at %llu",
                 U(op->sequence), op->client, U(op->committed_lsn), U(lsn));
    op->committed_lsn = lsn;
}

static struct linear_op seen_of(const struct sim_op *op)
{
    static const enum linear_kind kinds[] = {[SIM_OP_READ] = LINEAR_READ,
                                             [SIM_OP_PUT] = LINEAR_PUT,
                                             [SIM_OP_DELETE] = LINEAR_DELETE,
                                             [SIM_OP_CAS] = LINEAR_CAS,
                                             [SIM_OP_TRY] = LINEAR_CAS};
    return (struct linear_op){.kind = kinds[op->kind],
                              .refused = op->outcome == SIM_CONDITION_FAILED,
                              .value = op->value,
                              .expected = op->expected.value,
                              .invoked = op->invoked,
                              .returned = op->returned};
}

static void check_key(struct sim *s, struct linear *search, uint8_t key)
{
    static struct linear_op ops[SIM_OPS_MAX];
    uint32_t n = 0;
    for (uint32_t id = 1; id <= s->ops_n; id++) {
        const struct sim_op *op = &s->ops[id];
        bool tried = op->kind == SIM_OP_TRY && op->outcome == SIM_CONDITION_FAILED;
        if ((op->kind >= SIM_OP_OPEN && !tried) || op->key != key || op->outcome == SIM_REFUSED ||
            (op->returned == 0 && op->kind == SIM_OP_READ))
            continue;
        ops[n++] = seen_of(op);
    }
    enum linear_verdict verdict = linear_check(search, ops, n);
    if (verdict == LINEAR_NO)
        sim_fail(s, "S15: what clients saw of record %c is not linearizable", 'a' + key);
    if (verdict == LINEAR_GIVEN_UP)
        s->truth.unchecked++;
    else
        s->truth.checked++;
}

void sim_check_history(struct sim *s)
{
    for (uint32_t id = 1; id <= s->ops_n; id++) {
        const struct sim_op *op = &s->ops[id];
        if (op->kind == SIM_OP_READ || op->outcome == SIM_UNKNOWN)
            continue;
        if (s->solo.loss)
            break; /* the answer may have come from what was declared lost */
        if (op->outcome != SIM_DONE && op->committed_lsn != 0)
            sim_fail(s, "S14: request %llu of client %u was answered \"not done\", and is at %llu",
                     U(op->sequence), op->client, U(op->committed_lsn));
        if (op->outcome != SIM_DONE)
            continue;
        if (op->majority && op->committed_lsn != op->answered_lsn)
            sim_fail(
                s,
                "S14: request %llu of client %u was answered at %llu, the history has it at %llu",
                U(op->sequence), op->client, U(op->answered_lsn), U(op->committed_lsn));
    }
    if (s->swarm.local || s->swarm.mode_changes || s->solo.loss)
        return;
    static struct linear *search; /* kept from seed to seed */
    if (search == NULL)
        search = linear_new(SIM_OPS_MAX, SEARCH_STEPS);
    for (uint8_t key = 0; key < SIM_KEYS && !s->failed; key++)
        check_key(s, search, key);
}
