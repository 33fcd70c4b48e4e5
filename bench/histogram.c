#include "bench/histogram.h"

/* Below 64 each value has a slot of its own; above, the highest six bits after the leading one choose it. */
static unsigned slot_of(uint64_t v)
{
    if (v < 1u << HISTOGRAM_STEP_BITS)
        return (unsigned)v;
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - HISTOGRAM_STEP_BITS;
    return ((shift + 1) << HISTOGRAM_STEP_BITS) +
           (unsigned)((v >> shift) - (1u << HISTOGRAM_STEP_BITS));
}

static uint64_t upper_end(unsigned slot)
{
    if (slot < 1u << HISTOGRAM_STEP_BITS)
        return slot;
    unsigned shift = (slot >> HISTOGRAM_STEP_BITS) - 1;
    uint64_t step = (slot & ((1u << HISTOGRAM_STEP_BITS) - 1)) + (1u << HISTOGRAM_STEP_BITS);
    return ((step + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count[slot_of(ns)]++;
    h->total++;
    h->sum += ns;
    if (ns > h->max)
        h->max = ns;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++)
        into->count[i] += from->count[i];
    into->total += from->total;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
}

uint64_t histogram_at(const struct histogram *h, unsigned permille)
{
    uint64_t wanted = (h->total * permille + 999) / 1000, seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
        seen += h->count[i];
        if (seen >= wanted && seen > 0)
            return upper_end(i) < h->max ? upper_end(i) : h->max;
    }
    return 0;
}
