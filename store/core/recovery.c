/* Torn tail or damage? The two look alike at the place itself and are told apart by what is known
 * elsewhere.
 *
 * A batch is acknowledged only when it and all before it are durable, and each says, in its `durable` field, how far that was
 * known when it was written. So a batch that cannot be read was durable, and possibly acknowledged, when
 *   - a later batch of the same use of the segment says so,
 *   - a later segment begins after it (its header is written when all before it is durable), or
 *   - the state's checkpoint is beyond it (published only when the log is durable up to it).
 * Otherwise it was in flight and no acknowledgement can have been sent: it is cut, and with it whatever was in flight behind
 * it, even if that is whole. The writer adds an empty batch after the last one when it pauses and when it closes, so that the
 * last acknowledged batch of a quiet log has its proof too.
 *
 * INVARIANTS (each a test over all inputs)
 *   I1  The table is total: every combination of facts has exactly one action.
 *   I2  Nothing proven durable is ever cut or ended before.
 *   I3  Only a whole batch is accepted.
 *   I4  Damage is passed over only when what is lost is at or below the checkpoint.
 *   I5  Where a newer program has written, nothing is decided: what looks like the end to this one may be the middle. */
#include "store/core/recovery.h"

#include "store/core/check.h"
#include "store/core/hash.h"

/* ---- the table ---- */

enum {
    B_NOTHING = 1 << PLACE_NOTHING,
    B_UNREADABLE = 1 << PLACE_UNREADABLE,
    B_MISNUMBERED = 1 << PLACE_MISNUMBERED,
    B_TORN = 1 << PLACE_TORN,
    B_UNCHAINED = 1 << PLACE_UNCHAINED,
    B_WHOLE = 1 << PLACE_WHOLE,
    B_NEWER = 1 << PLACE_NEWER,
    B_ANY = (1 << PLACE_BLOCKS) - 1,
    N_AFTER = 1 << NEXT_AFTER,
    N_HERE = 1 << NEXT_HERE,
    N_CONFLICT = 1 << NEXT_CONFLICT,
    N_ANY = (1 << NEXT_KINDS) - 1,
    NO = 1 << 0,
    YES = 1 << 1,
    ANY = NO | YES,
};

/* The first row whose sets all hold the facts decides. Rows that end in DAMAGED decide SKIP where
 * there is a way on. */
static const struct row {
    uint8_t block, proven, next, below;
    enum recovery_action action;
    const char *why;
} table[] = {
    {B_ANY, ANY, N_HERE, ANY, RECOVERY_JOIN, "the next segment begins here"},
    {B_NEWER, ANY, N_ANY, ANY, RECOVERY_NEWER, "a newer triveni wrote here"},
    {B_ANY, ANY, N_CONFLICT, ANY, RECOVERY_DAMAGED,
     "the next segment begins here with another history"},
    {B_WHOLE, ANY, N_ANY, ANY, RECOVERY_ACCEPT, "a whole batch"},
    {B_UNREADABLE, ANY, N_ANY, ANY, RECOVERY_DAMAGED, "the disk refuses to read this place"},
    {B_MISNUMBERED, ANY, N_ANY, ANY, RECOVERY_DAMAGED, "a batch with another number is here"},
    {B_UNCHAINED, ANY, N_ANY, ANY, RECOVERY_DAMAGED, "the batch does not follow what is before it"},
    {B_NOTHING | B_TORN, YES, N_ANY, ANY, RECOVERY_DAMAGED,
     "the batch is damaged, and a later one says that it was durable"},
    {B_NOTHING | B_TORN, NO, N_AFTER, ANY, RECOVERY_DAMAGED,
     "the batch is missing or damaged, and a later segment says that it was durable"},
    {B_NOTHING | B_TORN, NO, N_ANY, YES, RECOVERY_DAMAGED,
     "the batch is missing or damaged, and the state's checkpoint says that it was durable"},
    {B_TORN, NO, N_ANY, NO, RECOVERY_CUT, "a batch that was never acknowledged"},
    {B_NOTHING, NO, N_ANY, NO, RECOVERY_END, "the end of the log"},
};

enum recovery_action recovery_decide(const struct place *p, const char **why)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct row *r = &table[i];
        if ((r->block >> p->block & 1) == 0 || (r->proven >> p->proven & 1) == 0 ||
            (r->next >> p->next & 1) == 0 || (r->below >> p->below & 1) == 0)
            continue;
        *why = r->why;
        return r->action == RECOVERY_DAMAGED && p->resume != RESUME_NOWHERE ? RECOVERY_SKIP
                                                                            : r->action;
    }
    check_failed(__FILE__, __LINE__, "the recovery table is total");
}

/* ---- the walk ---- */

void recovery_begin(struct recovery_scan *s)
{
    s->first = s->at = s->segment.start;
    s->anchored = true;
    s->offset = BATCH_BLOCK_BYTES;
    s->number = 1;
}

static bool header_at(const struct recovery_scan *s, size_t offset, struct batch_header *out)
{
    return offset + BATCH_BLOCK_BYTES <= s->image.n &&
           batch_header_decode(s->image.p + offset, &s->segment, offset / BATCH_BLOCK_BYTES, out);
}

/* Did a newer program write a batch into this use of the segment, here or later? */
static bool newer_after(const struct recovery_scan *s, struct err *e)
{
    for (size_t o = s->offset; o + BATCH_BLOCK_BYTES <= s->image.n; o += BATCH_BLOCK_BYTES) {
        uint16_t format = batch_newer_format(s->image.p + o, &s->segment, o / BATCH_BLOCK_BYTES);
        if (format != 0) {
            (void)err_newer(e, "the batch", format, BATCH_FORMAT);
            return true;
        }
    }
    return false;
}

static bool unreadable(const struct recovery_scan *s, size_t from, size_t to)
{
    return from < s->bad_to && to > s->bad_from;
}

/* Decode the entries of a batch and check that they follow s->at; stops where the next segment
 * begins. */
static bool entries_follow(const struct recovery_scan *s, const struct batch_header *h,
                           struct recovery_batch *b, struct entry_position *first, struct err *e)
{
    struct bytes rest = b->entries;
    struct entry_position at = s->at;
    bool anchored = s->anchored;
    *first = s->first;
    for (b->count = 0; b->count < h->entry_count; b->count++) {
        if (s->has_next && at.lsn.v == s->next.lsn.v)
            break;
        struct entry_view v;
        size_t used;
        if (entry_decode(rest, &v, &used, e) != 0)
            return false;
        if (!uuid_equal(&v.header.cluster_id, &s->segment.cluster_id)) {
            (void)err_set(e, ERR_INTEGRITY, "lsn %llu belongs to another cluster",
                          (unsigned long long)v.header.lsn.v);
            return false;
        }
        if (anchored ? entry_follows(&at, &v.header, e) != 0 : v.header.lsn.v != at.lsn.v + 1)
            return false;
        at = entry_position_of(&v);
        if (!anchored)
            *first = at;
        anchored = true;
        if (at.lsn.v == s->checkpoint.lsn.v && !sha256_equal(&at.hash, &s->checkpoint.hash)) {
            (void)err_set(e, ERR_INTEGRITY, "lsn %llu is not the entry that the state has applied",
                          (unsigned long long)at.lsn.v);
            return false;
        }
        rest = bytes_of(rest.p + used, rest.n - used);
    }
    b->last = at;
    return b->count < h->entry_count || rest.n == 0;
}

static enum place_block block_at(const struct recovery_scan *s, struct batch_header *h,
                                 struct recovery_batch *b, struct entry_position *first,
                                 struct err *e)
{
    *b = (struct recovery_batch){.offset = s->offset, .last = s->at};
    if (!header_at(s, s->offset, h))
        return unreadable(s, s->offset, s->offset + BATCH_BLOCK_BYTES) ? PLACE_UNREADABLE
                                                                       : PLACE_NOTHING;
    if (h->number != s->number)
        return PLACE_MISNUMBERED;
    b->first = h->first_lsn;
    size_t room = s->image.n - s->offset - BATCH_HEADER_BYTES;
    if (h->payload_bytes > room) {
        b->bytes = s->image.n - s->offset;
        return PLACE_TORN;
    }
    b->entries = bytes_of(s->image.p + s->offset + BATCH_HEADER_BYTES, (size_t)h->payload_bytes);
    b->bytes = (size_t)batch_blocks_bytes(BATCH_HEADER_BYTES + h->payload_bytes);
    if (hash_crc32c(0, b->entries) != h->payload_crc32c)
        return unreadable(s, s->offset, s->offset + b->bytes) ? PLACE_UNREADABLE : PLACE_TORN;
    if (h->first_lsn.v != s->at.lsn.v + 1 || !entries_follow(s, h, b, first, e))
        return PLACE_UNCHAINED;
    return PLACE_WHOLE;
}

/* Look through the rest of the segment for later batches of this use: do they prove that the one
 * expected here was durable, and from which does the reading go on? */
static bool search_later(const struct recovery_scan *s, bool *proven, size_t *at,
                         struct batch_header *h)
{
    bool found = false;
    struct batch_header later;
    *proven = false;
    for (size_t o = s->offset; o + BATCH_BLOCK_BYTES <= s->image.n; o += BATCH_BLOCK_BYTES) {
        if (!header_at(s, o, &later) || later.number <= s->number)
            continue;
        if (later.durable >= s->number)
            *proven = true;
        if (!found) {
            found = true;
            *at = o;
            *h = later;
        }
    }
    return found;
}

static enum place_next next_of(const struct recovery_scan *s)
{
    if (!s->has_next)
        return NEXT_NONE;
    if (s->at.lsn.v < s->next.lsn.v)
        return NEXT_AFTER;
    return !s->anchored || sha256_equal(&s->at.hash, &s->next.hash) ? NEXT_HERE : NEXT_CONFLICT;
}

/* Go on at a later batch. The position before it is known whole only when it is the checkpoint
 * itself. */
static void resume_at(struct recovery_scan *s, size_t offset, const struct batch_header *h)
{
    s->offset = offset;
    s->number = h->number;
    s->at = (struct entry_position){.lsn = {h->first_lsn.v - 1}};
    s->anchored = s->at.lsn.v == s->checkpoint.lsn.v;
    if (s->anchored)
        s->first = s->at = s->checkpoint;
}

enum recovery_action recovery_next(struct recovery_scan *s, struct place *place,
                                   struct recovery_batch *batch, struct err *e)
{
    struct batch_header h = {0}, later = {0};
    struct entry_position first;
    struct err inner = ERR_NONE;
    const uint64_t need = s->checkpoint.lsn.v;
    size_t later_at = 0;
    bool found = false;

    *place = (struct place){.block = block_at(s, &h, batch, &first, &inner), .next = next_of(s)};
    if (place->block != PLACE_WHOLE && (inner.code == ERR_NEWER || newer_after(s, &inner)))
        place->block = PLACE_NEWER;
    if (place->block != PLACE_WHOLE)
        found = search_later(s, &place->proven, &later_at, &later);
    place->below = s->at.lsn.v < need;
    if (found && later.first_lsn.v - 1 <= need && later.first_lsn.v > s->at.lsn.v &&
        (!s->has_next || later.first_lsn.v - 1 < s->next.lsn.v))
        place->resume = RESUME_BATCH;
    else if (s->has_next && s->next.lsn.v <= need)
        place->resume = RESUME_SEGMENT;
    else if (place->block == PLACE_TORN && !found && !s->has_next &&
             h.first_lsn.v + h.entry_count - 1 <= need && place->below)
        place->resume = RESUME_CHECKPOINT;

    const char *why;
    enum recovery_action action = recovery_decide(place, &why);
    if (action == RECOVERY_DAMAGED || action == RECOVERY_SKIP)
        (void)err_set(e, ERR_INTEGRITY, "byte %zu, after lsn %llu: %s%s%s", s->offset,
                      (unsigned long long)s->at.lsn.v, why, inner.code != 0 ? ": " : "",
                      inner.text);
    if (action == RECOVERY_NEWER)
        (void)err_set(e, ERR_NEWER, "byte %zu, after lsn %llu: %s", s->offset,
                      (unsigned long long)s->at.lsn.v, inner.text);
    if (action == RECOVERY_ACCEPT) {
        s->first = first;
        s->anchored |= batch->count > 0;
        s->at = batch->last;
        s->offset += batch->bytes;
        s->number++;
    } else if (action == RECOVERY_SKIP && place->resume == RESUME_BATCH) {
        resume_at(s, later_at, &later);
    }
    return action;
}

bool recovery_resume(struct recovery_scan *s)
{
    struct batch_header later;
    size_t at;
    bool proven;
    if (!search_later(s, &proven, &at, &later) || later.first_lsn.v <= s->at.lsn.v)
        return false;
    resume_at(s, at, &later);
    return true;
}
