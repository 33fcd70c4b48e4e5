/* What clients saw, checked from outside.
 *
 * ONCE (P6). Each (session, sequence) is in the common history at most once, and where its answer said.
 *
 * LINEARIZABLE (P5). Records are independent, so each has a history of its own (Herlihy and Wing 1990: linearizability is
 * local). For each the search of Wing and Gong (1993) looks for an order of all answered requests, and of some unanswered ones,
 * that a single register could have given and in which nothing comes before what had been answered when it was asked. As Lowe
 * (2017) has it, a configuration, which is the set of what is placed and the value, is looked at once: the same requests in
 * another order lead nowhere else. Configurations are known by a hash of 64 bits. A search that takes more than SEARCH_STEPS is
 * given up and counted.
 *
 * In local mode a failover may lose what was answered, so there only P4 is checked: all of it is listed (sim_check.c). */
#include "tests/sim/sim.h"

#include "store/core/check.h"

enum { SEARCH_STEPS = 200000, SEEN_SLOTS = 1 << 16, SEEN_MAX = SEEN_SLOTS / 2 };

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

struct search {
    const struct sim *s;
    uint32_t n, left; /* requests on this key; answered ones not placed yet */
    const struct sim_op *ops[SIM_OPS_MAX];
    bool placed[SIM_OPS_MAX];
    struct {
        uint32_t at;
        uint64_t before;
    } path[SIM_OPS_MAX];
    uint32_t depth;
    uint64_t value;
    uint64_t set;    /* a hash of what is placed */
    uint64_t number; /* of this search: configurations of others stay until there are many */
    uint32_t seen_n;
    uint64_t seen[SEEN_SLOTS]; /* configurations; 0: free */
};

/* Everything is a hash already, so no further one is needed to find a slot. */
static uint64_t hash_of(uint64_t v)
{
    struct rng g = {v};
    return sim_rng_next(&g);
}

/* Was this configuration looked at? From now on it was. */
static bool seen_before(struct search *f, uint64_t set, uint64_t value)
{
    uint64_t c = (set ^ hash_of(~value) ^ hash_of(f->number << 32)) | 1;
    uint32_t at = (uint32_t)(c >> 32) % SEEN_SLOTS;
    for (; f->seen[at] != 0; at = (at + 1) % SEEN_SLOTS)
        if (f->seen[at] == c)
            return true;
    if (f->seen_n < SEEN_MAX) { /* what is forgotten is only looked at again */
        f->seen[at] = c;
        f->seen_n++;
    }
    return false;
}

/* Could this request come next, and what would the register hold then? */
static bool allowed(const struct sim_op *op, uint64_t *value)
{
    switch (op->kind) {
    case SIM_OP_READ:
        return op->value == *value;
    case SIM_OP_CAS:
        if (op->outcome == SIM_CONDITION_FAILED)
            return op->expected.value != *value;
        if (op->expected.value != *value)
            return false;
        *value = op->value;
        return true;
    case SIM_OP_PUT:
        *value = op->value;
        return true;
    case SIM_OP_DELETE:
        *value = 0;
        return true;
    }
    return false;
}

/* Place the first possible request at or after `from`. */
static bool place(struct search *f, uint32_t from)
{
    uint64_t first_return = UINT64_MAX;
    for (uint32_t k = 0; k < f->n && f->ops[k]->invoked < first_return; k++)
        if (!f->placed[k] && f->ops[k]->returned != 0 && f->ops[k]->returned < first_return)
            first_return = f->ops[k]->returned;
    for (uint32_t k = from; k < f->n && f->ops[k]->invoked < first_return; k++) {
        uint64_t value = f->value;
        if (f->placed[k] || !allowed(f->ops[k], &value) ||
            seen_before(f, f->set ^ hash_of(k + 1), value))
            continue;
        f->set ^= hash_of(k + 1);
        f->placed[k] = true;
        f->left -= f->ops[k]->returned != 0;
        f->path[f->depth].at = k;
        f->path[f->depth++].before = f->value;
        f->value = value;
        return true;
    }
    return false;
}

/* 1: there is an order, 0: there is none, -1: not known. */
static int search(struct search *f)
{
    uint32_t from = 0;
    for (uint32_t steps = 0; f->left > 0; steps++) {
        if (steps == SEARCH_STEPS)
            return -1;
        if (place(f, from)) {
            from = 0;
            continue;
        }
        if (f->depth == 0)
            return 0;
        uint32_t k = f->path[--f->depth].at;
        f->value = f->path[f->depth].before;
        f->placed[k] = false;
        f->set ^= hash_of(k + 1);
        f->left += f->ops[k]->returned != 0;
        from = k + 1;
    }
    return 1;
}

static void check_key(struct sim *s, uint8_t key)
{
    static struct search f;
    f.n = f.left = f.depth = 0;
    f.value = f.set = 0;
    f.number++;
    if (f.seen_n > SEEN_MAX / 2) {
        memset(f.seen, 0, sizeof f.seen);
        f.seen_n = 0;
    }
    for (uint32_t id = 1; id <= s->ops_n; id++) {
        const struct sim_op *op = &s->ops[id];
        if (op->key != key || op->outcome == SIM_REFUSED ||
            (op->returned == 0 && op->kind == SIM_OP_READ))
            continue;
        f.placed[f.n] = false;
        f.left += op->returned != 0;
        f.ops[f.n++] = op;
    }
    int verdict = search(&f);
    if (verdict == 0)
        sim_fail(s, "S15: what clients saw of record %c is not linearizable", 'a' + key);
    if (verdict < 0)
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
    if (s->swarm.local || s->swarm.mode_changes)
        return;
    for (uint8_t key = 0; key < SIM_KEYS && !s->failed; key++)
        check_key(s, key);
}
