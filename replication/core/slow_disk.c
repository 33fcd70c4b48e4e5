#include "replication/core/slow_disk.h"

#include <string.h>

uint32_t slow_disk_limit_ms(const struct slow_disk *d, uint32_t election_ms)
{
    uint64_t limit = (uint64_t)SLOW_DISK_TIMES * d->usual_256 / 256;
    return limit > UINT32_MAX ? UINT32_MAX : limit > election_ms ? (uint32_t)limit : election_ms;
}

uint32_t slow_disk_usual_ms(const struct slow_disk *d)
{
    return !d->known ? 0 : d->usual_256 <= 256 ? 1 : (d->usual_256 + 255) / 256;
}

bool slow_disk_is_slow(const struct slow_disk *d, uint32_t election_ms)
{
    uint32_t limit = slow_disk_limit_ms(d, election_ms);
    return d->took_ms >= limit || (d->probe.v != 0 && d->waited_ms >= limit);
}

/* One that was too slow says nothing of what is usual: else each would excuse the next. */
static void took(struct slow_disk *d, uint32_t ms, uint64_t now_ms, uint32_t limit_ms)
{
    d->took_ms = ms;
    if (ms >= limit_ms)
        return;
    if (d->window_n == 0)
        d->window_from_ms = now_ms;
    d->window_ms += ms;
    d->window_n++;
    if (now_ms - d->window_from_ms < SLOW_DISK_WINDOW_MS)
        return;
    uint32_t mean = (uint32_t)(d->window_ms * 256 / d->window_n);
    if (!d->known)
        d->usual_256 = mean;
    else if (mean > d->usual_256)
        d->usual_256 += (mean - d->usual_256) / SLOW_DISK_WINDOWS;
    else
        d->usual_256 -= (d->usual_256 - mean) / SLOW_DISK_WINDOWS;
    d->known = true;
    d->window_ms = d->window_n = 0;
}

void slow_disk_look(struct slow_disk *d, struct lsn durable, struct lsn last, uint64_t now_ms,
                    uint32_t grain_ms, uint32_t election_ms)
{
    if (d->probe.v != 0 && now_ms > d->seen_ms) {
        uint64_t step = now_ms - d->seen_ms < grain_ms ? now_ms - d->seen_ms : grain_ms;
        d->waited_ms =
            step > UINT32_MAX - d->waited_ms ? UINT32_MAX : d->waited_ms + (uint32_t)step;
    }
    d->seen_ms = now_ms;
    if (d->probe.v == 0)
        d->waited_ms = 0;
    if (last.v != d->last.v)
        d->last_at_ms = d->waited_ms;
    d->last = last;
    if (d->probe.v > last.v) { /* it was cut */
        d->probe.v = 0;
        d->last_at_ms = d->waited_ms;
    } else if (d->probe.v != 0 && d->probe.v <= durable.v) {
        took(d, d->waited_ms, now_ms, slow_disk_limit_ms(d, election_ms));
        d->probe.v = 0;
    }
    if (d->probe.v == 0 && last.v > durable.v) {
        d->probe = last;
        d->waited_ms -= d->last_at_ms;
        d->last_at_ms = 0;
        memset(d->there_ms, 0, sizeof d->there_ms);
    }
}

void slow_disk_acknowledged(struct slow_disk *d, uint8_t site, struct lsn durable)
{
    if (d->probe.v != 0 && d->there_ms[site] == 0 && durable.v >= d->probe.v &&
        d->waited_ms < UINT32_MAX)
        d->there_ms[site] = d->waited_ms + 1;
}

uint8_t slow_disk_successor(const struct slow_disk *d, const bool *counts, const bool *may_lead,
                            uint8_t sites, uint32_t majority, uint32_t election_ms)
{
    uint32_t in_time = 0;
    uint8_t best = REPL_NOBODY;
    if (d->probe.v == 0 || d->waited_ms < slow_disk_limit_ms(d, election_ms))
        return REPL_NOBODY;
    for (uint8_t i = 0; i < sites; i++) {
        if (!counts[i] || d->there_ms[i] == 0 || d->there_ms[i] > d->waited_ms / SLOW_DISK_PART)
            continue;
        in_time++;
        if (may_lead[i] && (best == REPL_NOBODY || d->there_ms[i] < d->there_ms[best]))
            best = i;
    }
    return in_time >= majority ? best : REPL_NOBODY;
}
