/* What a new primary inherits: entries that were logged before its term and that its state does not have yet.
 *
 * They are committed with the first entry of its term, and only then applied, by a thread that others hold up: tens of
 * milliseconds, hundreds under load, in which nobody would be answered. But what the primary knows of its own entries in flight
 * it can know of these as well: they are read from the log into the overlay while the others take the term's first entry. From
 * there on they are as if this site had logged them itself, and it answers as soon as it serves.
 *
 * WHY THAT IS RIGHT. Whoever decides at a primary asks the overlay and then the state, so together they have to hold the whole
 * log: the overlay what is after the lsn that was applied when it was filled, the state everything up to it and perhaps more.
 * That is
 *   - conditions and point reads (service_write.c, service_read.c); a read sees what is visible, which is at least the term's
 *     first entry once it serves, so everything that anybody was told
 *   - sessions, opened and ended, and what became of (session, sequence) (service_session.c: what a connection may take for new
 *     it learns from the state only when that has all that was logged before); idempotency keys, which are records; restore
 *     points
 *   - commit time, which follows the last entry of the log and never the state
 *   - watches, which follow the commit index and read the log alone.
 * Whoever asks the state alone waits for it as before:
 *   - scans, snapshots, the past and the question for an outcome wait until what was visible when they came is applied, the
 *     term's first entry at least (read_readiness)
 *   - a unique index that is enforced waits for its own past (service_unique.c: tracked_from). One that is declared in what is
 *     inherited is not known yet, so until `declares` is applied no transaction is decided
 *   - walks that end sessions or enforce indexes, the comparison of states, operators' orders (site_is_settled); and the walk
 *     over idempotency keys, until what was logged before it began is applied.
 * And the mode: an end of mode local that is not applied is not known. But until then nothing is visible that is not committed
 * (replication/core/repl_commit.c), so who waits at `local` is answered at a majority (R6).
 *
 * BOUNDS. What the loop reads in some 20 ms, and half of what may be in flight. More than that is applied first, until so much is
 * left. Entries stand in the log's memory; after a restart they do not, but recovery has just read them.
 *
 * FAILURE MODES. What cannot be read or remembered is told, and waited for as if there were too much of it. */
#include "replication/site_parts.h"

#include "store/core/index_key.h"

enum { ENTRIES_MAX = 8192, BYTES_MAX = 8 << 20 };

struct inheritance {
    struct overlay *overlay;
    struct lsn last, declares;
    uint64_t bytes;
};

static bool declares_index(const struct entry_view *v)
{
    struct body_txn txn;
    struct op op;
    if (v->header.kind != ENTRY_TXN ||
        body_read_txn(bytes_of(v->body, v->header.body_bytes), &txn, NULL) != 0)
        return false;
    for (uint32_t i = 0; i < txn.op_count; i++)
        if (body_next_op(&txn.ops, &op, NULL) == 0 &&
            bytes_equal(op.collection, bytes_str(INDEXES_COLLECTION)))
            return true;
    return false;
}

/* Whole entries that were read from the log. */
static int take(struct inheritance *in, struct bytes entries, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        struct entry_view v;
        size_t used;
        int rc = entry_decode(entries, &v, &used, e);
        if (rc == 0)
            rc = overlay_add(in->overlay, &v, e);
        if (rc != 0)
            return rc;
        in->last = v.header.lsn;
        if (declares_index(&v))
            in->declares = v.header.lsn;
        entries = bytes_of(entries.p + used, entries.n - used);
    }
    return 0;
}

/* All after in->last. ERR_LIMIT: it is too much, or one entry is larger than a message. */
static int take_all(struct site *s, struct inheritance *in, struct err *e)
{
    const uint64_t half = s->config->memory_bytes / 2, most = half < BYTES_MAX ? half : BYTES_MAX;
    while (in->last.v < s->tail.lsn.v) {
        size_t used, count;
        int rc = log_read(s->log, (struct lsn){in->last.v + 1}, s->tail.lsn, s->read_buffer,
                          s->read_capacity, &used, &count, e);
        if (rc != 0)
            return rc;
        in->bytes += used;
        if (in->bytes > most)
            return ERR_LIMIT;
        rc = take(in, bytes_of(s->read_buffer, used), count, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static struct overlay *overlay_anew(struct site *s, struct err *e)
{
    uint8_t seed[ENTRY_SALT_BYTES];
    struct overlay *o = NULL;
    if (salts_next(&s->salts, seed, e) == 0 && (o = overlay_new(get_le64(seed))) == NULL)
        (void)err_set(e, ERR_NO_MEMORY, "out of memory");
    return o;
}

struct lsn inherited_declares(const struct site *s)
{
    return s->inherited.term.v == s->view.term.v ? s->inherited.declares : (struct lsn){0};
}

void inherit(struct site *s)
{
    struct err e = ERR_NONE;
    if (s->view.role != REPL_PRIMARY || s->fatal.code != 0 ||
        s->inherited.term.v == s->view.term.v || s->marks.applied.v >= s->term_start.v ||
        s->tail.lsn.v - s->marks.applied.v > ENTRIES_MAX ||
        s->marks.applied.v < s->inherited.not_before.v)
        return;
    struct inheritance in = {.overlay = overlay_anew(s, &e), .last = s->marks.applied};
    int rc = in.overlay != NULL ? take_all(s, &in, &e) : e.code;
    s->inherited.not_before.v = in.last.v + 1;
    if (rc != 0) {
        if (rc != ERR_LIMIT)
            events_add(s->events, "term %llu: lsn %llu is to be applied before it is answered: %s",
                       (unsigned long long)s->view.term.v, (unsigned long long)in.last.v + 1,
                       e.text);
        overlay_free(in.overlay);
        return;
    }
    overlay_free(s->overlay);
    s->overlay = in.overlay;
    s->inherited.term = s->view.term;
    s->inherited.declares = in.declares;
    s->inherited.not_before.v = 0;
}
