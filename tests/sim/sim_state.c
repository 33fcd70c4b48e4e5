/* What a site holds beside its log: state, checkpoint, at gsr the archive; and the threads that move them.
 *
 * The orders come from replication/core/marks.c alone, as in production. The threads are events: each does a piece of work from
 * time to time and leaves word (`news`), which the site's loop takes when it comes round to it.
 *
 * MODEL. The state is a small map with the results of sessions. When an entry is sealed, the state that must follow it is
 * computed once from the one before it (contents[id].model); whatever way a site came to an lsn, by replay, undo or refill, it
 * must hold the same bytes there.
 *
 * DISK MODEL. A published checkpoint survives crashes; what was applied since, and a checkpoint that is only begun, do not.
 * A full disk lets the applier try again later. Recycled entries are out of reach: reading one is a failure (log_id).
 * The archive survives its site's disk. */
#include "tests/sim/sim.h"

#include "store/core/check.h"

struct sim_state sim_state_empty(const struct sim *s)
{
    return (struct sim_state){.mode = s->swarm.local ? COMMIT_LOCAL : COMMIT_MAJORITY};
}

struct sim_state sim_model_at(const struct sim *s, const struct sim_site *site, uint64_t lsn)
{
    return lsn == 0 ? sim_state_empty(s) : s->contents[site->ids[lsn - 1]].model;
}

void sim_state_apply(struct sim *s, struct sim_state *state, uint32_t id)
{
    const struct sim_entry *e = &s->entries[id];
    check(e->header.lsn.v == state->lsn + 1);
    state->lsn = e->header.lsn.v;
    if (e->header.kind == ENTRY_CONFIG)
        state->mode = e->mode;
    if (e->header.kind == ENTRY_MEMBERS)
        state->list = id;
    if (e->header.kind != ENTRY_TXN && e->header.kind != ENTRY_SESSION)
        return;
    const struct sim_op *op = &s->ops[e->op];
    if (op->name != 0 || op->kind == SIM_OP_FORGET)
        sim_key_apply(s, state, id);
    else
        sim_session_apply(state, e, op);
    if (op->kind >= SIM_OP_OPEN)
        return;
    state->records[op->key] = op->kind == SIM_OP_DELETE
                                  ? (struct sim_record){0, 0}
                                  : (struct sim_record){op->value, state->lsn};
}

/* The entry at lsn, read from the log by one of the site's parts. 0: it is not there any more. */
static uint32_t log_id(struct sim *s, uint8_t i, uint64_t lsn, const char *who)
{
    const struct sim_site *site = &s->sites[i];
    if (lsn > site->first && lsn <= site->n)
        return site->ids[lsn - 1];
    sim_fail(s, "S12: %s of %s reads entry %llu, its log has %llu..%llu", who, sim_names[i], U(lsn),
             U(site->first + 1), U(site->n));
    return 0;
}

/* ---- start and stop ---- */

void sim_state_start(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    if (site->first > site->checkpoint.lsn)
        sim_fail(s, "S12: %s recovers at %llu, but its log begins after %llu", sim_names[i],
                 U(site->checkpoint.lsn), U(site->first));
    site->state = site->checkpoint;
    marks_start(&site->marks, (struct lsn){site->n}, (struct lsn){site->checkpoint.lsn},
                i == SIM_GSR);
    site->overlay = overlay_new(s->seed);
    check(site->overlay != NULL);
    site->term_start.v = 0;
    site->inherited.v = 0;
    site->answered = (struct answered){.term = {0}};
    site->freshness = (struct freshness){.known_ms = 0};
    site->knows_it_is_full = false;
    site->apply_to = site->publish_to = site->archive_to = 0;
    site->news = true;
}

void sim_state_stop(struct sim_site *site)
{
    overlay_free(site->overlay);
    site->overlay = NULL;
    site->checkpoint_begun = site->checkpoint_finishing = false;
    site->apply_due = site->archive_due = site->news = false;
    site->parked_n = 0;
}

/* ---- orders ---- */

static void set(bool *due, struct sim *s, uint8_t i, enum sim_event_type type, uint64_t us)
{
    if (*due)
        return;
    *due = true;
    sim_at(s, s->now_us + us, type, i, s->sites[i].boot);
}

static void finish_checkpoint_when_allowed(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    if (site->checkpoint_begun && site->begun.lsn <= site->publish_to)
        set(&site->checkpoint_finishing, s, i, SIM_EV_PUBLISH,
            sim_rng_between(&s->state, 300, 30000));
}

void sim_follow_marks(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    sim_check_marks(s, i);
    if (s->failed)
        return;
    site->apply_to = marks_apply_to(&site->marks).v;
    site->publish_to = marks_publish_to(&site->marks).v;
    site->archive_to = marks_archive_to(&site->marks).v;
    if (s->mutant == MUTANT_APPLY_UNCOMMITTED)
        site->apply_to = site->n;
    if (s->mutant == MUTANT_PUBLISH_UNCOMMITTED)
        site->publish_to = site->n;
    if (site->apply_to > site->state.lsn)
        set(&site->apply_due, s, i, SIM_EV_APPLY,
            sim_rng_between(&s->disk, 100, s->swarm.apply_us));
    finish_checkpoint_when_allowed(s, i);
    if (site->marks.archives && site->archive_to > s->archive.n)
        set(&site->archive_due, s, i, SIM_EV_ARCHIVE,
            sim_rng_between(&s->state, 1 * SIM_MS, 800 * SIM_MS));
}

static void recycle(struct sim *s, struct sim_site *site)
{
    bool archives[SIM_SITES] = {[SIM_GSR] = true};
    site->marks.retain.v = site->n > s->swarm.retain ? site->n - s->swarm.retain : 0;
    marks_peers(&site->marks, &site->view, (uint8_t)(site - s->sites), s->sites_n, archives);
    struct marks m = site->marks;
    if (s->mutant == MUTANT_RECYCLE_BEFORE_ARCHIVE)
        m.archives = false;
    uint64_t below = marks_recycle_below(&m).v;
    if (s->mutant == MUTANT_RECYCLE_TOO_MUCH)
        below = site->marks.applied.v + 1;
    if (below > site->first + 1) {
        s->truth.recycled += below - 1 - site->first;
        site->first = below - 1;
    }
}

void sim_take_progress(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    site->news = false;
    struct marks_news moved = marks_progress(
        &site->marks, (struct lsn){site->checkpoint.lsn}, (struct lsn){site->state.lsn},
        i == SIM_GSR ? (struct lsn){s->archive.n} : site->marks.archived);
    if (s->mutant == MUTANT_ARCHIVE_BELIEVED && i == SIM_GSR)
        site->marks.archived.v = s->archive.n;
    if (moved.applied) {
        overlay_drop(site->overlay, site->marks.applied);
        sim_standby_applied(s, site);
        if (site->state.mode != (uint64_t)site->view.mode)
            site->outcomes[site->out_n++] = (struct sim_inbox){
                .type = REPL_EV_MODE, .mode = (enum commit_mode)site->state.mode};
    }
    if (moved.applied || moved.archived)
        site->outcomes[site->out_n++] = (struct sim_inbox){.type = REPL_EV_PROGRESS};
    if (moved.recyclable)
        recycle(s, site);
}

/* ---- threads ---- */

/* Is this event for a thread of the process that runs now? A paused one goes on later. */
static bool runs(struct sim *s, uint8_t i, enum sim_event_type type, uint32_t boot, bool *due)
{
    struct sim_site *site = &s->sites[i];
    if (!site->alive || site->boot != boot || !*due)
        return false;
    if (site->paused) {
        sim_at(s, s->now_us + 20 * SIM_MS, type, i, boot);
        return false;
    }
    *due = false;
    return true;
}

void sim_apply(struct sim *s, uint8_t i, uint32_t boot)
{
    struct sim_site *site = &s->sites[i];
    if (!runs(s, i, SIM_EV_APPLY, boot, &site->apply_due) || site->apply_to <= site->state.lsn)
        return;
    if (s->now_us < site->full_until_us && !s->calm) {
        set(&site->apply_due, s, i, SIM_EV_APPLY, 500 * SIM_MS);
        return;
    }
    uint64_t n = site->apply_to - site->state.lsn;
    if (n > 1 && sim_rng_chance(&s->state, 300000)) /* a batch is full */
        n = sim_rng_between(&s->state, 1, n);
    for (; n > 0 && !s->failed; n--) {
        uint32_t id = log_id(s, i, site->state.lsn + 1, "the applier");
        if (id != 0)
            sim_state_apply(s, &site->state, id);
    }
    if (s->failed)
        return;
    sim_check_state(s, i);
    if (!site->checkpoint_begun && sim_rng_chance(&s->state, s->swarm.checkpoints)) {
        site->begun = site->state;
        site->checkpoint_begun = true;
    }
    finish_checkpoint_when_allowed(s, i);
    if (site->apply_to > site->state.lsn)
        set(&site->apply_due, s, i, SIM_EV_APPLY,
            sim_rng_between(&s->state, 100, 20000 + s->swarm.apply_us));
    site->news = true;
    sim_site_run(s, i);
}

static void published(struct sim *s, uint8_t i)
{
    struct sim_site *site = &s->sites[i];
    struct sim_state before = site->checkpoint;
    site->checkpoint = site->begun;
    site->checkpoint_begun = false;
    site->news = true;
    s->truth.published++;
    sim_check_published(s, i);
    if (s->mutant == MUTANT_RESULT_OUTSIDE_TXN)
        memcpy(site->checkpoint.results, before.results, sizeof before.results);
}

void sim_publish(struct sim *s, uint8_t i, uint32_t boot)
{
    if (!runs(s, i, SIM_EV_PUBLISH, boot, &s->sites[i].checkpoint_finishing))
        return;
    published(s, i);
    sim_site_run(s, i);
}

void sim_archive(struct sim *s, uint8_t i, uint32_t boot)
{
    struct sim_site *site = &s->sites[i];
    struct sim_archive *a = &s->archive;
    if (!runs(s, i, SIM_EV_ARCHIVE, boot, &site->archive_due))
        return;
    uint64_t from = a->n,
             to = site->archive_to < site->state.lsn ? site->archive_to : site->state.lsn;
    if (s->mutant == MUTANT_ARCHIVE_UNCOMMITTED)
        to = site->n;
    while (a->n < to && !s->failed) {
        uint32_t id = log_id(s, i, a->n + 1, "the archiver");
        a->ids[a->n++] = id;
    }
    if (s->failed)
        return;
    sim_check_sealed_pack(s, from);
    s->truth.sealed += a->n > from;
    site->news = true;
    sim_site_run(s, i);
}

/* ---- undo and refill ---- */

uint64_t sim_undo(struct sim *s, uint8_t i, uint64_t keep)
{
    struct sim_site *site = &s->sites[i];
    /* The threads are stopped: one that makes a checkpoint durable is waited for, one that waits to do so gives up. */
    if (site->checkpoint_finishing)
        published(s, i);
    site->checkpoint_begun = site->checkpoint_finishing = site->apply_due = false;
    freshness_undone(&site->freshness);
    if (s->mutant == MUTANT_UNDO_FORGOTTEN)
        return site->state.lsn < keep ? site->state.lsn : keep;
    if (site->state.lsn > keep) {
        s->truth.undone++;
        site->state = site->checkpoint;
        sim_say(s, i, "state goes back to the checkpoint at %llu", U(site->state.lsn));
        sim_check_state(s, i);
    }
    return site->state.lsn;
}

/* R9: what is not in the history that replaces it is exported first. */
static void export_what_differs(struct sim *s, const struct sim_site *site, const uint32_t *ids)
{
    for (uint64_t lsn = 0; lsn < site->n; lsn++)
        if (site->ids[lsn] != ids[lsn])
            s->entries[site->ids[lsn]].exported = true;
}

/* A site that is too far behind begins anew: from the repository when the other's log goes on from there, else from a copy of the
 * other's checkpoint. */
void sim_site_refill(struct sim *s, uint8_t i, uint8_t from)
{
    struct sim_site *site = &s->sites[i], *source = &s->sites[from];
    bool archive = s->archive.n > site->n && s->archive.n >= source->first;
    const uint32_t *ids = archive ? s->archive.ids : source->ids;
    uint64_t n = archive ? s->archive.n : source->checkpoint.lsn;
    if (n == 0 || (n <= site->n && site->ids[n - 1] == ids[n - 1]))
        return;
    s->truth.refills++;
    sim_site_crash(s, i);
    export_what_differs(s, site, ids);
    memcpy(site->ids, ids, n * sizeof site->ids[0]);
    site->n = site->stable = site->first = n;
    site->checkpoint = sim_model_at(s, site, n);
    if (s->mutant == MUTANT_REFILL_SAYS_LATER) {
        site->checkpoint = sim_model_at(s, site, n - 1);
        site->checkpoint.lsn = n;
    }
    if (i == SIM_GSR && n > s->archive.n) {
        /* The limit of what is kept for an absent repository (P11): status shows the gap. */
        s->truth.gaps++;
        memcpy(s->archive.ids, ids, n * sizeof ids[0]);
        s->archive.n = n;
    }
    sim_say(s, i, "refilled up to %llu from %s", U(n),
            archive ? "the repository" : sim_names[from]);
    sim_site_start(s, i);
}
