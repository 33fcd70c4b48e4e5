/* The search of linear.h. Depth first, with an explicit path; the request that was asked first is tried first. */
#include "tests/lib/linear.h"

#include "store/core/check.h"

#include <stdlib.h>
#include <string.h>

struct step {
    uint32_t at;
    uint64_t before; /* what the register held */
};

struct linear {
    uint32_t ops_max, steps_max;
    const struct linear_op *ops;
    uint32_t n, left; /* requests; answered ones not placed yet */
    bool *placed;
    struct step *path;
    uint32_t depth;
    uint64_t value;
    uint64_t set;    /* a hash of what is placed */
    uint64_t number; /* of this search: configurations of others stay until there are many */
    uint32_t seen_n, slots;
    uint64_t *seen; /* configurations; 0: free */
};

struct linear *linear_new(uint32_t ops_max, uint32_t steps_max)
{
    struct linear *f = calloc(1, sizeof *f);
    check(f != NULL && ops_max > 0);
    f->ops_max = ops_max;
    f->steps_max = steps_max;
    f->slots = 1024; /* what does not fit is forgotten, and only looked at again */
    while (f->slots < steps_max / 4)
        f->slots *= 2;
    f->placed = calloc(ops_max, sizeof *f->placed);
    f->path = calloc(ops_max, sizeof *f->path);
    f->seen = calloc(f->slots, sizeof *f->seen);
    check(f->placed != NULL && f->path != NULL && f->seen != NULL);
    return f;
}

void linear_free(struct linear *f)
{
    if (f == NULL)
        return;
    free(f->placed);
    free(f->path);
    free(f->seen);
    free(f);
}

/* The finalizer of splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t hash_of(uint64_t v)
{
    v += 0x9e3779b97f4a7c15u;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

/* Was this configuration looked at? From now on it was. Everything is a hash already, so no further one is needed to find a
 * slot. */
static bool seen_before(struct linear *f, uint64_t set, uint64_t value)
{
    uint64_t c = (set ^ hash_of(~value) ^ hash_of(f->number << 32)) | 1;
    uint32_t at = (uint32_t)(c >> 32) % f->slots;
    for (; f->seen[at] != 0; at = (at + 1) % f->slots)
        if (f->seen[at] == c)
            return true;
    if (f->seen_n < f->slots / 2) {
        f->seen[at] = c;
        f->seen_n++;
    }
    return false;
}

/* Could this request come next, and what would the register hold then? */
static bool allowed(const struct linear_op *op, uint64_t *value)
{
    switch (op->kind) {
    case LINEAR_READ:
        return op->value == *value;
    case LINEAR_CAS:
        if (op->refused)
            return op->expected != *value;
        if (op->expected != *value)
            return false;
        *value = op->value;
        return true;
    case LINEAR_PUT:
        *value = op->value;
        return true;
    case LINEAR_DELETE:
        *value = 0;
        return true;
    }
    return false;
}

/* Place the first possible request at or after `from`. */
static bool place(struct linear *f, uint32_t from)
{
    uint64_t first_return = UINT64_MAX;
    for (uint32_t k = 0; k < f->n && f->ops[k].invoked < first_return; k++)
        if (!f->placed[k] && f->ops[k].returned != 0 && f->ops[k].returned < first_return)
            first_return = f->ops[k].returned;
    for (uint32_t k = from; k < f->n && f->ops[k].invoked < first_return; k++) {
        uint64_t value = f->value;
        if (f->placed[k] || !allowed(&f->ops[k], &value) ||
            seen_before(f, f->set ^ hash_of(k + 1), value))
            continue;
        f->set ^= hash_of(k + 1);
        f->placed[k] = true;
        f->left -= f->ops[k].returned != 0;
        f->path[f->depth++] = (struct step){.at = k, .before = f->value};
        f->value = value;
        return true;
    }
    return false;
}

/* Undo the last step; the next request to be tried in its place. */
static uint32_t step_back(struct linear *f)
{
    const struct step *last = &f->path[--f->depth];
    f->value = last->before;
    f->placed[last->at] = false;
    f->set ^= hash_of(last->at + 1);
    f->left += f->ops[last->at].returned != 0;
    return last->at + 1;
}

static void begin(struct linear *f, const struct linear_op *ops, uint32_t n)
{
    check(n <= f->ops_max);
    f->ops = ops;
    f->n = n;
    f->left = f->depth = 0;
    f->value = f->set = 0;
    f->number++;
    if (f->seen_n > f->slots / 4) {
        memset(f->seen, 0, f->slots * sizeof *f->seen);
        f->seen_n = 0;
    }
    for (uint32_t k = 0; k < n; k++) {
        check(k == 0 || ops[k - 1].invoked <= ops[k].invoked);
        f->placed[k] = false;
        f->left += ops[k].returned != 0;
    }
}

enum linear_verdict linear_check(struct linear *f, const struct linear_op *ops, uint32_t n)
{
    uint32_t from = 0;
    begin(f, ops, n);
    for (uint32_t steps = 0; f->left > 0; steps++) {
        if (steps == f->steps_max)
            return LINEAR_GIVEN_UP;
        if (place(f, from)) {
            from = 0;
            continue;
        }
        if (f->depth == 0)
            return LINEAR_NO;
        from = step_back(f);
    }
    return LINEAR_YES;
}
