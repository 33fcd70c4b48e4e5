/* A primary whose disk has become slow hands over by itself, and does not come back while it is slow unless nobody else does
 * (replication/core/slow_disk.h decides; policy automatic only).
 *
 * With three sites whose other two are in time a majority commits without the slow disk, so writes go on for a while. But
 * nothing is on a third disk, whoever waits for this one (levels local, dr, gsr and all, and everybody in local mode) waits with
 * it, and what it has not written yet fills the memory until writes are refused. The hand-over itself needs the slow disk for
 * nothing: the successor has everything, and the other site's vote elects it. */
#include "replication/core/repl_state.h"

void repl_watch_disk(struct repl *r)
{
    struct slow_disk *d = &r->disk;
    slow_disk_look(d, r->log.durable, r->log.last, r->now_ms, r->options.heartbeat_ms,
                   r->options.election_ms);
    for (uint8_t i = 0; r->role == REPL_PRIMARY && d->probe.v != 0 && i < r->options.sites; i++)
        if (i != r->options.self)
            slow_disk_acknowledged(d, i, r->peers[i].match);
}

/* It had what this disk waits for, but something newer is on its way to it for as long as that would be too long: its disk has
 * become slow a moment later. */
static bool is_late(const struct repl *r, const struct repl_peer *p)
{
    const struct repl_frame *oldest = &p->window[p->window_first];
    return p->flow != REPL_FLOW_STREAM ||
           (p->window_n > 0 && r->now_ms - oldest->sent_ms > r->disk.waited_ms / SLOW_DISK_PART);
}

static bool too_soon(const struct repl *r)
{
    bool again = r->stepped_ms != 0 && r->now_ms - r->stepped_ms < SLOW_DISK_EVERY_MS;
    return again || (r->transfer && r->now_ms - r->led_from_ms < SLOW_DISK_EVERY_MS);
}

void repl_step_aside_tick(struct repl *r, struct repl_actions *out)
{
    bool counts[REPL_SITES_MAX] = {false}, may_lead[REPL_SITES_MAX] = {false};
    const struct slow_disk *d = &r->disk;
    if (r->role != REPL_PRIMARY || r->options.policy != REPL_AUTOMATIC ||
        r->handover != REPL_HANDOVER_NONE || !slow_disk_is_slow(d, r->options.election_ms) ||
        too_soon(r))
        return;
    for (uint8_t i = 0; i < r->options.sites; i++) {
        const struct repl_peer *p = &r->peers[i];
        counts[i] = i != r->options.self && repl_votes(r, i) && p->up && p->counts &&
                    p->suspect_to.v == 0 && !is_late(r, p);
        may_lead[i] = counts[i] && repl_in(r->list.members.electable, i) && !p->unfit;
    }
    uint8_t to = slow_disk_successor(d, counts, may_lead, r->options.sites, repl_majority(r),
                                     r->options.election_ms);
    char usual[48] = "";
    if (to == REPL_NOBODY || !repl_may_hand_over(r, to))
        return;
    if (d->known)
        (void)snprintf(usual, sizeof usual, " (usually %u ms)", slow_disk_usual_ms(d));
    repl_trace(r, out,
               "term %llu: stepping aside: the disk has not finished a batch in %u ms%s, %s "
               "acknowledged it within %u ms -> handing over",
               U(r->term.v), d->waited_ms, usual, repl_site_name(r, to), d->there_ms[to]);
    r->stepped_ms = r->now_ms;
    repl_hand_over(r, out, to, 0); /* it is in time, see is_late() */
}

bool repl_lets_others_stand(struct repl *r)
{
    bool first = slow_disk_is_slow(&r->disk, r->options.election_ms) && !r->let_others_stand;
    r->let_others_stand = true;
    return first;
}
