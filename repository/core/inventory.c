/* Chain check and restore planning over the inventory; pure, so that each case is a table in a test.
 *
 * INVARIANTS
 *   I1  A plan names a snapshot S (or nothing) and packs that cover every lsn in (S, target] without a gap, each usable
 *       and chained to the one before by lsn, term, time and header hash. There is no other plan.
 *   I2  The newest usable snapshot is always the right one: an older one needs all the packs that the newer one needs
 *       and some more. So a snapshot also bridges damage that lies before it.
 *   I3  Time decides only between entries: the last entry at or before it. The times of files play no part. */
#include "repository/core/inventory.h"

#include "store/core/check.h"
#include "store/core/hex.h"

#include <stdio.h>

#define LSN(x) ((unsigned long long)(x).v)

bool repo_position_equal(const struct entry_position *a, const struct entry_position *b)
{
    return a->lsn.v == b->lsn.v && a->term.v == b->term.v && a->time.us == b->time.us &&
           sha256_equal(&a->hash, &b->hash);
}

int repo_disposed(const struct repo_object *o, struct err *e)
{
    char nonce[2 * REPOSITORY_NONCE_BYTES + 1], when[REPO_UTC_TEXT_BYTES];
    hex_format(o->by.nonce, sizeof o->by.nonce, nonce);
    repo_utc_format(o->by.time, when);
    return err_set(e, ERR_NOT_FOUND,
                   "%s was disposed of by warrant %s (lsn %llu, %s): its key is destroyed, and "
                   "what was in it cannot be read by anybody",
                   o->name, nonce, LSN(o->by.lsn), when);
}

bool repo_holds(const struct repo_inventory *inv, struct lsn lsn)
{
    const struct repo_pack *p = repo_pack_of(inv, lsn);
    return p != NULL && !p->o.disposed;
}

size_t repo_count_disposed(const struct repo_inventory *inv)
{
    size_t n = 0;
    for (size_t i = 0; i < inv->pack_count; i++)
        n += inv->packs[i].o.disposed;
    for (size_t i = 0; i < inv->snapshot_count; i++)
        n += inv->snapshots[i].o.disposed;
    return n;
}

bool repo_covers_disposed(const struct repo_inventory *inv, struct lsn first, struct lsn last)
{
    for (size_t i = 0; i < inv->pack_count && inv->packs[i].first.v <= last.v; i++)
        if (inv->packs[i].o.disposed && inv->packs[i].o.end.lsn.v >= first.v)
            return true;
    return false;
}

static bool starts_at_snapshot(const struct repo_inventory *inv, const struct repo_pack *p)
{
    for (size_t i = 0; i < inv->snapshot_count; i++)
        if (!inv->snapshots[i].o.damaged && repo_position_equal(&inv->snapshots[i].o.end, &p->prev))
            return true;
    return false;
}

static int first_check(const struct repo_inventory *inv, const struct repo_pack *p, struct err *e)
{
    static const struct entry_position zero;
    if (p->o.unplaced || repo_position_equal(&p->prev, &zero) || starts_at_snapshot(inv, p))
        return 0;
    return err_set(
        e, ERR_INTEGRITY,
        "%s: begins at lsn %llu, and neither a pack nor a snapshot ends right before it; "
        "put the missing objects back",
        p->o.name, LSN(p->first));
}

/* Does it continue the one before, as far as is known where they begin and end? */
static int continues(const struct repo_inventory *inv, size_t i, struct err *e)
{
    const struct repo_pack *p = &inv->packs[i];
    if (i == 0)
        return first_check(inv, p, e);
    const struct repo_pack *before = &inv->packs[i - 1];
    if (p->first.v > before->o.end.lsn.v + 1)
        return err_set(e, ERR_INTEGRITY,
                       "lsns %llu..%llu are missing between %s and %s; put the missing packs back",
                       LSN(before->o.end.lsn) + 1, LSN(p->first) - 1, before->o.name, p->o.name);
    if (p->first.v <= before->o.end.lsn.v)
        return err_set(e, ERR_INTEGRITY, "%s and %s both hold lsn %llu", before->o.name, p->o.name,
                       LSN(p->first));
    if (!p->o.unplaced && !before->o.unplaced && !repo_position_equal(&p->prev, &before->o.end))
        return err_set(
            e, ERR_INTEGRITY,
            "%s does not continue %s: term, time or header hash of lsn %llu differs; one of them "
            "is of another history",
            p->o.name, before->o.name, LSN(before->o.end.lsn));
    return 0;
}

int repo_chain_check(const struct repo_inventory *inv, size_t i, struct err *e)
{
    const struct repo_pack *p = &inv->packs[i];
    if (p->o.damaged)
        return err_set(e, ERR_INTEGRITY, "%s (lsns %llu..%llu): %s", p->o.name, LSN(p->first),
                       LSN(p->o.end.lsn), p->o.reason);
    return continues(inv, i, e);
}

int repo_chain_link(const struct repo_inventory *inv, size_t i, struct err *e)
{
    const struct repo_pack *p = &inv->packs[i];
    if (p->o.unplaced)
        return err_set(e, ERR_INTEGRITY,
                       "%s (lsns %llu..%llu): %s; neither the signed tree nor the packs beside it "
                       "say where it begins and ends: put it back",
                       p->o.name, LSN(p->first), LSN(p->o.end.lsn), p->o.reason);
    return continues(inv, i, e);
}

struct entry_position repo_chain_end(const struct repo_inventory *inv)
{
    struct entry_position end = {.lsn = {0}};
    for (size_t i = 0; i < inv->pack_count && repo_chain_link(inv, i, NULL) == 0; i++)
        end = inv->packs[i].o.end;
    return end;
}

static bool begin_of(const struct repo_inventory *inv, size_t i, repo_proven_fn proven, void *arg,
                     struct entry_position *out)
{
    const struct repo_pack *p = &inv->packs[i];
    const struct lsn before = {p->first.v - 1};
    *out = (struct entry_position){.lsn = {0}};
    if (before.v == 0 || proven(arg, before, out) == 0)
        return true;
    if (i == 0 || inv->packs[i - 1].o.unplaced || inv->packs[i - 1].o.end.lsn.v != before.v)
        return false;
    *out = inv->packs[i - 1].o.end;
    return true;
}

static bool end_of(const struct repo_inventory *inv, size_t i, repo_proven_fn proven, void *arg,
                   struct entry_position *out)
{
    const struct repo_pack *p = &inv->packs[i];
    if (proven(arg, p->o.end.lsn, out) == 0)
        return out->term.v == p->o.end.term.v;
    if (i + 1 == inv->pack_count || inv->packs[i + 1].o.unplaced ||
        inv->packs[i + 1].prev.lsn.v != p->o.end.lsn.v)
        return false;
    *out = inv->packs[i + 1].prev;
    return out->term.v == p->o.end.term.v;
}

void repo_inventory_place(struct repo_inventory *inv, repo_proven_fn proven, void *arg)
{
    for (size_t i = 0; i < inv->pack_count; i++) {
        struct repo_pack *p = &inv->packs[i];
        struct entry_position begin, end;
        if (!p->o.unplaced || !begin_of(inv, i, proven, arg, &begin) ||
            !end_of(inv, i, proven, arg, &end))
            continue;
        p->prev = begin;
        p->o.end = end;
        p->o.unplaced = false;
    }
}

/* Does `a` lead further than `b` (NULL: nothing), or as far and was made later? */
static bool leads(const struct repo_pack *a, const struct repo_pack *b)
{
    if (b == NULL || a->o.end.lsn.v != b->o.end.lsn.v)
        return b == NULL || a->o.end.lsn.v > b->o.end.lsn.v;
    return a->o.created.us > b->o.created.us;
}

/* The pack that ends where `p` begins; when that is damaged or missing, the one that leads furthest before it. Those with the
 * same lsns stand side by side, so this ends soon where there is one. */
static const struct repo_pack *before(const struct repo_inventory *inv, const struct repo_pack *p)
{
    const struct repo_pack *exact = NULL, *best = NULL;
    for (size_t i = (size_t)(p - inv->packs); i-- > 0;) {
        const struct repo_pack *x = &inv->packs[i];
        if (exact != NULL && x->first.v != exact->first.v)
            break;
        if (x->o.damaged || x->o.end.lsn.v >= p->first.v)
            continue;
        if (repo_position_equal(&x->o.end, &p->prev) && leads(x, exact))
            exact = x;
        if (leads(x, best))
            best = x;
    }
    return exact != NULL ? exact : best;
}

/* Of a damaged pack nothing is known but its name. */
static bool is_covered(const struct repo_pack *p, const struct repo_pack *by)
{
    return by->first.v <= p->first.v &&
           (by->o.end.lsn.v > p->o.end.lsn.v ||
            (by->o.end.lsn.v == p->o.end.lsn.v && by->o.end.term.v == p->o.end.term.v));
}

/* A pack that begins where one of the chain begins, and goes no further than the chain does. */
static bool is_doubled(const struct repo_inventory *inv, size_t i, const uint8_t *marks,
                       struct lsn reach)
{
    const struct repo_pack *p = &inv->packs[i];
    if (marks[i] == REPO_MARK_CHAIN || p->o.end.lsn.v > reach.v)
        return false;
    for (size_t k = 0; k < inv->pack_count; k++) {
        const struct repo_pack *x = &inv->packs[k];
        if (marks[k] != REPO_MARK_CHAIN)
            continue;
        if (p->o.damaged && is_covered(p, x))
            return true;
        if (!p->o.damaged && repo_position_equal(&x->prev, &p->prev))
            return x->o.end.lsn.v != p->o.end.lsn.v || repo_position_equal(&x->o.end, &p->o.end);
    }
    return false;
}

/* A damaged pack beside another damaged one of the same entries, which was made in its place: one of them stands for both,
 * rather one that says where it begins and ends. */
static bool is_twin(const struct repo_inventory *inv, size_t i)
{
    const struct repo_pack *p = &inv->packs[i];
    for (size_t k = 0; p->o.damaged && k < inv->pack_count; k++) {
        const struct repo_pack *x = &inv->packs[k];
        if (k != i && x->o.damaged && x->first.v == p->first.v &&
            x->o.end.lsn.v == p->o.end.lsn.v && x->o.end.term.v == p->o.end.term.v &&
            (x->o.unplaced == p->o.unplaced ? k > i : p->o.unplaced))
            return true;
    }
    return false;
}

size_t repo_doubled(const struct repo_inventory *inv, uint8_t *marks)
{
    const struct repo_pack *last = NULL;
    struct lsn so_far = {0};
    bool overlap = false;
    size_t n = 0;
    memset(marks, 0, inv->pack_count);
    for (size_t i = 0; i < inv->pack_count; i++) {
        const struct repo_pack *p = &inv->packs[i];
        overlap |= p->first.v <= so_far.v;
        so_far = p->o.end.lsn.v > so_far.v ? p->o.end.lsn : so_far;
        if (!p->o.damaged && leads(p, last))
            last = p;
    }
    if (!overlap)
        return 0;
    struct lsn reach = last == NULL ? (struct lsn){0} : last->o.end.lsn;
    for (const struct repo_pack *p = last; p != NULL; p = before(inv, p))
        marks[p - inv->packs] = REPO_MARK_CHAIN;
    for (size_t i = 0; i < inv->pack_count; i++)
        if (is_doubled(inv, i, marks, reach) || is_twin(inv, i)) {
            n++;
            marks[i] = REPO_MARK_DOUBLED;
        }
    return n;
}

struct entry_position repo_archived(const struct repo_inventory *inv)
{
    static const struct entry_position zero;
    return inv->pack_count == 0 ? zero : inv->packs[inv->pack_count - 1].o.end;
}

const struct repo_object *repo_inventory_find(const struct repo_inventory *inv, const char *name)
{
    for (size_t low = 0, high = inv->pack_count; low < high;) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(inv->packs[mid].o.name, name);
        if (order == 0)
            return &inv->packs[mid].o;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (size_t i = 0; i < inv->snapshot_count; i++)
        if (strcmp(inv->snapshots[i].o.name, name) == 0)
            return &inv->snapshots[i].o;
    return NULL;
}

const struct repo_pack *repo_pack_instead(const struct repo_inventory *inv, const char *name)
{
    struct repo_name x;
    if (repo_name_parse(name, &x) != 0 || x.kind != REPO_PACK)
        return NULL;
    const struct repo_pack *p = repo_pack_of(inv, x.first);
    return p != NULL && !p->o.damaged && p->first.v == x.first.v && p->o.end.lsn.v == x.last.v &&
                   p->o.end.term.v == x.term.v && strcmp(p->o.name, name) != 0
               ? p
               : NULL;
}

const struct repo_pack *repo_pack_named(const struct repo_inventory *inv, const char *name)
{
    for (size_t i = 0; i < inv->pack_count; i++)
        if (strcmp(inv->packs[i].o.name, name) == 0)
            return &inv->packs[i];
    return repo_pack_instead(inv, name);
}

const struct repo_pack *repo_pack_of(const struct repo_inventory *inv, struct lsn lsn)
{
    size_t low = 0, high = inv->pack_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (inv->packs[mid].o.end.lsn.v < lsn.v)
            low = mid + 1;
        else
            high = mid;
    }
    return low < inv->pack_count && inv->packs[low].first.v <= lsn.v ? &inv->packs[low] : NULL;
}

const struct repo_snapshot *repo_snapshot_below(const struct repo_inventory *inv, struct lsn lsn)
{
    for (size_t i = inv->snapshot_count; i > 0; i--)
        if (!inv->snapshots[i - 1].o.damaged && !inv->snapshots[i - 1].o.disposed &&
            inv->snapshots[i - 1].o.end.lsn.v <= lsn.v)
            return &inv->snapshots[i - 1];
    return NULL;
}

/* ---- indexes of keys ---- */

/* Does it cover whole packs of this chain, none of which was disposed of? What is damaged is known by its name alone. */
static bool index_fits(const struct repo_inventory *inv, const struct repo_index *x)
{
    const struct repo_pack *a = repo_pack_of(inv, x->first);
    const struct repo_pack *b = repo_pack_of(inv, x->o.end.lsn);
    return !x->o.damaged && a != NULL && b != NULL && a->first.v == x->first.v &&
           b->o.end.lsn.v == x->o.end.lsn.v &&
           (a->o.damaged || repo_position_equal(&a->prev, &x->prev)) &&
           (b->o.damaged || repo_position_equal(&b->o.end, &x->o.end)) &&
           !repo_covers_disposed(inv, x->first, x->o.end.lsn);
}

void repo_indexes_choose(struct repo_inventory *inv)
{
    struct repo_index *last = NULL;
    for (size_t i = 0; i < inv->index_count; i++) {
        struct repo_index *x = &inv->indexes[i];
        x->used = false;
        if (!index_fits(inv, x))
            continue;
        if (last != NULL && x->first.v == last->first.v)
            last->used = false; /* by last lsn: this one is as wide or wider */
        else if (last != NULL && x->first.v <= last->o.end.lsn.v)
            continue;
        x->used = true;
        last = x;
    }
}

struct repo_index *repo_index_of(const struct repo_inventory *inv, struct lsn lsn)
{
    for (size_t i = inv->index_count; i-- > 0;)
        if (inv->indexes[i].used && inv->indexes[i].first.v <= lsn.v &&
            inv->indexes[i].o.end.lsn.v >= lsn.v)
            return &inv->indexes[i];
    return NULL;
}

size_t repo_index_missing(const struct repo_inventory *inv)
{
    size_t at = 0; /* of the chosen indexes, which stand in the order of the packs */
    for (size_t i = 0; i < inv->pack_count; i++) {
        if (inv->packs[i].o.disposed)
            continue;
        while (at < inv->index_count &&
               (!inv->indexes[at].used || inv->indexes[at].o.end.lsn.v < inv->packs[i].o.end.lsn.v))
            at++;
        if (at == inv->index_count || inv->indexes[at].first.v > inv->packs[i].first.v)
            return i;
    }
    return inv->pack_count;
}

size_t repo_indexes_alike(const struct repo_inventory *inv, size_t want, uint64_t most)
{
    for (size_t i = 0; i < inv->index_count; i++) {
        const struct repo_index *first = &inv->indexes[i], *last = first;
        if (!first->used)
            continue;
        size_t n = 1;
        uint64_t refs = first->refs;
        for (size_t k = i + 1; k < inv->index_count && n < want; k++) {
            const struct repo_index *x = &inv->indexes[k];
            if (!x->used)
                continue;
            if (x->level != first->level || x->first.v != last->o.end.lsn.v + 1)
                break;
            refs += x->refs;
            last = x;
            n++;
        }
        if (n == want && refs <= most)
            return i;
    }
    return inv->index_count;
}

/* ---- targets ---- */

int repo_target_end(const struct repo_inventory *inv, struct lsn *out, struct err *e)
{
    const struct repo_snapshot *s = repo_snapshot_below(inv, (struct lsn){UINT64_MAX});
    *out = repo_archived(inv).lsn;
    if (s != NULL && s->o.end.lsn.v > out->v)
        *out = s->o.end.lsn;
    return out->v != 0 ? 0
                       : err_set(e, ERR_NOT_FOUND, "the archive is empty: nothing was sealed yet");
}

enum { SIMILAR = 3 };

static size_t common_prefix(struct bytes a, struct bytes b)
{
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

/* The points that share the longest beginning with `name`, the newest first among equals. */
static int point_not_found(const struct repo_inventory *inv, struct bytes name, struct err *e)
{
    const struct repo_point *best[SIMILAR] = {NULL};
    size_t count = 0;
    for (size_t i = 0; i < inv->pack_count; i++)
        for (size_t k = 0; k < inv->packs[i].point_count; k++) {
            const struct repo_point *p = &inv->packs[i].points[k];
            count++;
            for (size_t at = 0; at < SIMILAR; at++)
                if (best[at] == NULL ||
                    common_prefix(p->name, name) >= common_prefix(best[at]->name, name)) {
                    memmove(best + at + 1, best + at, (SIMILAR - 1 - at) * sizeof *best);
                    best[at] = p;
                    break;
                }
        }
    char text[SIMILAR * (POINT_NAME_MAX_BYTES / 2 + 32)] = "";
    size_t used = 0;
    for (size_t i = 0; i < SIMILAR && best[i] != NULL && used < sizeof text; i++) {
        int n = snprintf(text + used, sizeof text - used, "%s'%.*s' (lsn %llu)", i == 0 ? "" : ", ",
                         (int)(best[i]->name.n < 64 ? best[i]->name.n : 64),
                         (const char *)best[i]->name.p, LSN(best[i]->lsn));
        used += n < 0 ? 0 : (size_t)n;
    }
    return err_set(e, ERR_NOT_FOUND, "no restore point '%.*s' among %zu%s%s",
                   (int)(name.n < 128 ? name.n : 128), (const char *)name.p, count,
                   count == 0 ? "" : "; nearest: ", text);
}

int repo_target_point(const struct repo_inventory *inv, const char *name, struct lsn *out,
                      struct err *e)
{
    struct bytes wanted = bytes_str(name);
    *out = (struct lsn){0};
    for (size_t i = 0; i < inv->pack_count; i++)
        for (size_t k = 0; k < inv->packs[i].point_count; k++) {
            const struct repo_point *p = &inv->packs[i].points[k];
            if (!bytes_equal(p->name, wanted))
                continue;
            if (out->v != 0)
                return err_set(
                    e, ERR_USAGE,
                    "restore point '%.128s' was set more than once, at lsn %llu and lsn %llu: "
                    "give the lsn",
                    name, LSN(*out), LSN(p->lsn));
            *out = p->lsn;
        }
    return out->v != 0 ? 0 : point_not_found(inv, wanted, e);
}

/* A time at or after the end of pack i is decided by what follows: damage there could hide later entries that are still
 * at or before it. */
static int next_known(const struct repo_inventory *inv, size_t i, struct utc time, struct err *e)
{
    char asked[REPO_UTC_TEXT_BYTES];
    if (time.us < inv->packs[i].o.end.time.us || i + 1 == inv->pack_count)
        return 0;
    int rc = repo_chain_check(inv, i + 1, e);
    repo_utc_format(time, asked);
    if (rc != 0)
        err_wrap(e,
                 "the last entry at or before %s cannot be told (lsn %llu is the last before the "
                 "damage)",
                 asked, LSN(inv->packs[i].o.end.lsn));
    return rc;
}

int repo_target_time(const struct repo_inventory *inv, struct utc time,
                     const struct repo_pack **out, struct err *e)
{
    *out = NULL;
    const struct repo_pack *oldest = NULL;
    for (size_t i = 0; i < inv->pack_count; i++) {
        const struct repo_pack *p = &inv->packs[i];
        if (p->o.damaged)
            continue;
        if (oldest == NULL)
            oldest = p;
        if (p->first_time.us <= time.us)
            *out = p;
    }
    if (*out != NULL && (*out)->o.disposed && (*out)->o.end.time.us > time.us)
        return repo_disposed(&(*out)->o, e);
    if (*out != NULL)
        return next_known(inv, (size_t)(*out - inv->packs), time, e);
    if (oldest == NULL)
        return err_set(e, ERR_NOT_FOUND,
                       "the archive holds no entries, so no time can be looked up");
    char asked[REPO_UTC_TEXT_BYTES], from[REPO_UTC_TEXT_BYTES], to[REPO_UTC_TEXT_BYTES];
    repo_utc_format(time, asked);
    repo_utc_format(oldest->first_time, from);
    repo_utc_format(repo_archived(inv).time, to);
    return err_set(e, ERR_NOT_FOUND,
                   "%s is before the first archived entry; the archive goes from %s to %s", asked,
                   from, to);
}

/* ---- plan ---- */

static int out_of_range(const struct repo_inventory *inv, struct lsn lsn, struct err *e)
{
    struct lsn end;
    int rc = repo_target_end(inv, &end, e);
    if (rc != 0)
        return rc;
    const struct repo_pack *p = inv->pack_count == 0 ? NULL : &inv->packs[0];
    unsigned long long from = p == NULL ? LSN(end) : LSN(p->first);
    return err_set(e, ERR_NOT_FOUND, "lsn %llu is not in the archive, which holds lsns %llu..%llu",
                   LSN(lsn), from, p == NULL ? LSN(end) : LSN(repo_archived(inv).lsn));
}

/* What the archive says about the state at exactly the planned lsn. */
static void known_at(const struct repo_inventory *inv, struct repo_plan *plan)
{
    const struct repo_pack *p = repo_pack_of(inv, plan->lsn);
    if (plan->snapshot != NULL && plan->snapshot->o.end.lsn.v == plan->lsn.v) {
        plan->digest_known = true;
        plan->digest = plan->snapshot->o.digest;
    }
    if (p == NULL || p->o.damaged)
        return;
    if (p->o.end.lsn.v == plan->lsn.v && p->o.digest_known) {
        plan->digest_known = true;
        plan->digest = p->o.digest;
    }
    for (size_t k = 0; k < p->point_count; k++) {
        if (p->points[k].lsn.v != plan->lsn.v)
            continue;
        plan->point = &p->points[k];
        if (p->points[k].digest_known) {
            plan->digest_known = true;
            plan->digest = p->points[k].digest;
        }
    }
}

static void compare_at(struct repo_plan *plan, struct lsn lsn, bool known, struct digest digest,
                       const char *name)
{
    if (!known || lsn.v > plan->lsn.v || lsn.v < plan->compared.v)
        return;
    plan->compared = lsn;
    plan->compared_digest = digest;
    plan->compared_in = name;
}

static void known_below(const struct repo_inventory *inv, struct repo_plan *plan)
{
    const struct repo_snapshot *s = plan->snapshot;
    if (s != NULL)
        compare_at(plan, s->o.end.lsn, s->o.digest_known, s->o.digest, s->o.name);
    for (size_t i = plan->pack_begin; i < plan->pack_end; i++) {
        const struct repo_pack *p = &inv->packs[i];
        for (size_t k = 0; k < p->point_count; k++)
            compare_at(plan, p->points[k].lsn, p->points[k].digest_known, p->points[k].digest,
                       p->o.name);
        compare_at(plan, p->o.end.lsn, p->o.digest_known, p->o.digest, p->o.name);
    }
}

int repo_plan_lsn(const struct repo_inventory *inv, struct lsn lsn, struct repo_plan *out,
                  struct err *e)
{
    *out = (struct repo_plan){.lsn = lsn, .snapshot = repo_snapshot_below(inv, lsn)};
    struct lsn at = out->snapshot != NULL ? out->snapshot->o.end.lsn : (struct lsn){0};
    out->bytes = out->snapshot != NULL ? out->snapshot->o.bytes : 0;
    if (lsn.v == 0)
        return out_of_range(inv, lsn, e);
    if (at.v < lsn.v) {
        const struct repo_pack *last = repo_pack_of(inv, lsn);
        if (last == NULL && lsn.v > repo_archived(inv).lsn.v)
            return out_of_range(inv, lsn, e);
        const struct repo_pack *first = repo_pack_of(inv, (struct lsn){at.v + 1});
        if (first == NULL || last == NULL)
            return err_set(
                e, ERR_INTEGRITY,
                "lsn %llu cannot be restored: the pack with lsn %llu is missing; put it back",
                LSN(lsn), first == NULL ? at.v + 1ull : LSN(lsn));
        out->pack_begin = (size_t)(first - inv->packs);
        out->pack_end = (size_t)(last - inv->packs) + 1;
    }
    for (size_t i = out->pack_begin; i < out->pack_end; i++) {
        const struct repo_pack *p = &inv->packs[i];
        /* The first one is entered from the snapshot, whatever lies before it. */
        int rc = i > out->pack_begin || p->o.damaged ? repo_chain_check(inv, i, e) : 0;
        if (rc == 0 && p->o.disposed)
            rc = repo_disposed(&p->o, e);
        if (rc == 0 && i == out->pack_begin && out->snapshot != NULL && p->prev.lsn.v == at.v &&
            !repo_position_equal(&p->prev, &out->snapshot->o.end))
            rc = err_set(e, ERR_INTEGRITY,
                         "%s does not continue %s: they are of different histories", p->o.name,
                         out->snapshot->o.name);
        if (rc != 0) {
            err_wrap(e, "lsn %llu cannot be restored", LSN(lsn));
            return rc;
        }
        out->bytes += p->o.bytes;
    }
    known_at(inv, out);
    known_below(inv, out);
    return 0;
}
