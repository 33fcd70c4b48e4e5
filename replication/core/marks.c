/* INVARIANTS
 *   M1  checkpoint <= applied <= visible: nothing is read that may not be.
 *   M2  checkpoint <= commit: a published checkpoint is never undone, so undoing a divergent tail is going back to it.
 *   M3  checkpoint <= durable: the log can be replayed from it.
 *   M4  archived <= commit and archived <= applied: the archive holds only what will stay, and the digest at a restore
 *       point is known when its pack is sealed.
 *   M5  Nothing is recycled that recovery (after the checkpoint), the archive (after archived) or, within the retention limit,
 *       another site still needs. A dead site never fills another's disk: `retain` bounds `needed`.
 *   M6  Who waits, waits at the level that is written into the entry, whatever the mode becomes meanwhile (P4, R6).
 *   M7  At a site that archives nothing is visible that is not committed, for such a site is never primary, also in local mode.
 * So
 *       nothing that it has applied is ever undone, and an undo need not wait for the archiver's snapshots of the state. */
#include "replication/core/marks.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void marks_start(struct marks *m, struct lsn log_end, struct lsn checkpoint, bool archives)
{
    *m = (struct marks){.durable = log_end,
                        .commit = checkpoint,
                        .visible = checkpoint,
                        .applied = checkpoint,
                        .checkpoint = checkpoint,
                        .archives = archives};
}

void marks_commit(struct marks *m, struct lsn commit, struct lsn visible)
{
    m->commit.v = max_u64(m->commit.v, commit.v);
    m->visible.v = max_u64(m->visible.v, visible.v);
}

struct marks_news marks_progress(struct marks *m, struct lsn checkpoint, struct lsn applied,
                                 struct lsn archived)
{
    /* The archive may be ahead of what this site knows to be committed: after a restart, or rebuilt beside an old archive. */
    archived.v = min_u64(archived.v, m->commit.v);
    struct marks_news news = {.applied = applied.v > m->applied.v,
                              .archived = archived.v > m->archived.v};
    news.recyclable = news.archived || checkpoint.v > m->checkpoint.v;
    m->applied.v = max_u64(m->applied.v, applied.v);
    m->archived.v = max_u64(m->archived.v, archived.v);
    m->checkpoint = checkpoint;
    return news;
}

bool marks_must_undo(const struct marks *m, struct lsn keep)
{
    return m->visible.v > keep.v;
}

void marks_cut(struct marks *m, struct lsn keep, struct lsn applied)
{
    m->durable.v = min_u64(m->durable.v, keep.v);
    /* What was kept stays visible, though it is above commit: the state may hold it. */
    m->visible.v = min_u64(m->visible.v, keep.v);
    m->applied = applied;
}

void marks_peers(struct marks *m, const struct repl_view *v, uint8_t self, uint8_t sites,
                 const bool *archives)
{
    m->needed.v = v->role == REPL_PRIMARY ? UINT64_MAX - 1 : 0; /* a standby does not know */
    for (uint8_t i = 0; i < sites; i++) {
        const struct repl_peer_view *p = &v->peers[i];
        /* One that was declared lost may come back, and has to learn what it missed (repl_solo.c). */
        const unsigned who = v->list.members.all | v->list.members.lost;
        if (i == self || (who != 0 && (who >> i & 1) == 0))
            continue;
        m->needed.v = min_u64(m->needed.v, p->durable.v);
        if (archives[i])
            m->needed.v = min_u64(m->needed.v, p->archived.v);
    }
}

struct lsn marks_apply_to(const struct marks *m)
{
    /* Commit moves before our own disk is done when the two others have the entry; it is in the log's memory then, and
     * applying it is right: it will never be undone. */
    return m->visible;
}

struct lsn marks_publish_to(const struct marks *m)
{
    return (struct lsn){min_u64(m->commit.v, m->durable.v)};
}

struct lsn marks_archive_to(const struct marks *m)
{
    if (!m->archives)
        return m->archived;
    return (struct lsn){min_u64(m->commit.v, m->applied.v)};
}

struct lsn marks_recycle_below(const struct marks *m)
{
    uint64_t keep_from = m->checkpoint.v + 1;
    if (m->archives)
        keep_from = min_u64(keep_from, m->archived.v + 1);
    /* Sites that are behind are waited for, but only as far back as the retention reaches. */
    keep_from = min_u64(keep_from, max_u64(m->needed.v + 1, m->retain.v));
    return (struct lsn){keep_from};
}

bool marks_are_sound(const struct marks *m)
{
    return m->checkpoint.v <= m->applied.v && m->applied.v <= m->visible.v &&
           m->commit.v <= m->visible.v && m->checkpoint.v <= m->commit.v &&
           (!m->archives || (m->archived.v <= m->commit.v && m->visible.v == m->commit.v));
}

bool marks_settled(const struct marks *m, const struct repl_view *v, struct lsn term_start)
{
    return v->role == REPL_PRIMARY && v->serving && m->applied.v >= term_start.v;
}

bool marks_ready(const struct marks *m, const struct repl_view *v, struct lsn term_start,
                 bool inherited)
{
    return marks_settled(m, v, term_start) || (v->role == REPL_PRIMARY && v->serving && inherited);
}

enum level marks_answer_level(enum level asked, enum commit_mode mode)
{
    enum level floor = mode == COMMIT_LOCAL ? LEVEL_LOCAL : LEVEL_MAJORITY;
    return asked > floor ? asked : floor;
}

enum level marks_repeat_level(enum level asked, enum commit_mode mode)
{
    enum level level = marks_answer_level(asked, mode);
    return level > LEVEL_MAJORITY ? level : LEVEL_MAJORITY;
}

struct lsn marks_local_to(const struct marks *m, bool lease)
{
    return lease ? m->visible : m->commit;
}

bool marks_seal_due(uint64_t waiting_bytes, uint64_t waited_ms, uint64_t pack_bytes,
                    uint64_t patience_ms)
{
    bool small = waiting_bytes < pack_bytes / MARKS_SMALL_PART;
    return waiting_bytes >= pack_bytes ||
           waited_ms >= (small ? MARKS_SMALL_PACKS * patience_ms : patience_ms);
}

bool marks_snapshot_due(uint64_t entries, uint32_t every, uint64_t packed_bytes,
                        uint64_t snapshot_bytes)
{
    return every != 0 && entries >= every && packed_bytes >= snapshot_bytes;
}

bool marks_snapshot_old(uint64_t entries, uint64_t every_us, struct utc sealed, struct utc snapshot)
{
    return every_us != 0 && entries != 0 && sealed.us > snapshot.us &&
           sealed.us - snapshot.us >= every_us;
}
