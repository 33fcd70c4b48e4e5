/* Packs: sealing entries and reading them again.
 *
 * Entries are cut into frames of about 64 KiB, each of whole entries, so that damage stays within one frame and a lookup
 * decodes one. An entry larger than that is a frame of its own. The meta names the first lsn and time of each frame.
 *
 * INVARIANTS
 *   I1  A pack begins right after the archive's last entry, in lsn and header hash, and never in a lower term (R8). One that is
 *       made again begins and ends at the positions of the one before: so its entries are the same, whoever gave them. Where
 *       nothing proves these, only entries that could be sealed there anyway are taken.
 *   I2  Nothing damaged is archived as good: header, chain and the body's checksum of what is given are checked, and whatever is
 *       read back from the disk is decoded entry by entry (header, body hash, chain) before the pack counts.
 *   I3  A walk hands out only entries that continue one another; a walk to the end of the pack ends at the position that
 *       the meta names. */
#include "repository/scrub.h"

#include "repository/io/archive.h"
#include "repository/io/recent.h"

#include "store/core/check.h"

#include <stdio.h>

#define LSN(x) ((unsigned long long)(x).v)

enum {
    FRAME_BYTES = 64 << 10,
    STARTS_MAX_BYTES = 16 << 20, /* that are kept: a thousand packs of 64 MiB */
};

/* ---- sealing ---- */

/* What the entries to be sealed hold; arrays are owned. */
struct survey {
    struct repo_pack pack;
    struct repo_frame_start *starts;
    size_t *offsets; /* where each frame begins in the input */
    size_t start_cap, point_cap;
    const struct repo_pack *again; /* made again; NULL: it continues the archive */
    struct entry_position begin;   /* of that one */
};

static void survey_release(struct survey *s)
{
    repo_pack_release(&s->pack);
    free(s->starts);
    free(s->offsets);
}

static int survey_frame(struct survey *s, const struct entry_view *v, size_t offset, struct err *e)
{
    uint32_t n = s->pack.frames;
    if (n == s->start_cap) {
        size_t cap = n == 0 ? 64 : 2 * (size_t)n;
        void *starts = realloc(s->starts, cap * sizeof *s->starts);
        if (starts != NULL)
            s->starts = starts;
        void *offsets = realloc(s->offsets, cap * sizeof *s->offsets);
        if (offsets != NULL)
            s->offsets = offsets;
        if (starts == NULL || offsets == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the index of a pack");
        s->start_cap = cap;
    }
    s->starts[n] = (struct repo_frame_start){v->header.lsn, v->header.time};
    s->offsets[n] = offset;
    s->pack.frames++;
    return 0;
}

/* 0 with *known set, or the digest function's own failure. */
static int ask_digest(repository_digest_fn digest, void *arg, struct lsn lsn, struct digest *out,
                      bool *known, struct err *e)
{
    int rc = digest == NULL ? ERR_NOT_FOUND : digest(arg, lsn, out);
    *known = rc == 0;
    if (rc == 0 || rc == ERR_NOT_FOUND)
        return 0;
    return err_set(e, rc, "the digest of the state at lsn %llu cannot be had: %s", LSN(lsn),
                   err_name(rc));
}

static int survey_point(struct survey *s, const struct entry_view *v, repository_digest_fn digest,
                        void *arg, struct err *e)
{
    struct body_restore_point body;
    int rc = body_read_restore_point(bytes_of(v->body, v->header.body_bytes), &body, e);
    if (rc != 0)
        return rc;
    if (s->pack.point_count == s->point_cap) {
        size_t cap = s->point_cap == 0 ? 16 : 2 * s->point_cap;
        struct repo_point *more = realloc(s->pack.points, cap * sizeof *more);
        if (more == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory for the restore points of a pack");
        s->pack.points = more;
        s->point_cap = cap;
    }
    struct repo_point *p = &s->pack.points[s->pack.point_count++];
    *p = (struct repo_point){.name = body.name, .lsn = v->header.lsn, .time = v->header.time};
    return ask_digest(digest, arg, p->lsn, &p->digest, &p->digest_known, e);
}

/* May the archive's first pack begin here? At lsn 1, or right behind a snapshot. */
static const struct entry_position *begin_after(const struct repository *r,
                                                const struct entry_header *first)
{
    static const struct entry_position zero;
    for (size_t i = 0; i < r->inv.snapshot_count; i++) {
        const struct repo_object *o = &r->inv.snapshots[i].o;
        if (!o->damaged && first->lsn.v == o->end.lsn.v + 1)
            return &o->end;
    }
    return &zero;
}

static int survey_first(struct repository *r, struct survey *s, const struct entry_header *h,
                        struct err *e)
{
    if (s->again != NULL)
        s->pack.prev = s->begin;
    else if (r->inv.pack_count == 0)
        s->pack.prev = *begin_after(r, h);
    else
        s->pack.prev = repo_archived(&r->inv);
    if (h->term.v < s->pack.prev.term.v)
        return err_set(
            e, ERR_STALE,
            "lsn %llu is of term %llu, the archive already holds term %llu: a site that was "
            "replaced as primary must not archive",
            LSN(h->lsn), LSN(h->term), LSN(s->pack.prev.term));
    s->pack.first = h->lsn;
    s->pack.first_time = h->time;
    s->pack.o.end = s->pack.prev;
    return 0;
}

/* Decode and check everything that is to be sealed, but for the bodies' hashes (I2). */
static int survey(struct repository *r, struct survey *s, struct bytes in,
                  repository_digest_fn digest, void *arg, struct err *e)
{
    size_t frame_begin = 0;
    for (size_t at = 0; at < in.n;) {
        struct entry_view v;
        size_t used = 0;
        int rc = entry_view_stored(bytes_of(in.p + at, in.n - at), &v, &used, e);
        if (rc == 0)
            rc = entry_body_intact(&v, e);
        if (rc == 0 && !uuid_equal(&v.header.cluster_id, &r->about.cluster_id))
            rc = err_set(e, ERR_FORMAT, "lsn %llu is of another cluster", LSN(v.header.lsn));
        if (rc == 0 && at == 0)
            rc = survey_first(r, s, &v.header, e);
        if (rc == 0)
            rc = entry_follows(&s->pack.o.end, &v.header, e);
        if (rc == 0 && (at == 0 || at + used - frame_begin > FRAME_BYTES)) {
            frame_begin = at;
            rc = survey_frame(s, &v, at, e);
        }
        if (rc == 0 && v.header.kind == ENTRY_RESTORE_POINT)
            rc = survey_point(s, &v, digest, arg, e);
        if (rc != 0) {
            err_wrap(e, "entries to be sealed, byte %zu", at);
            return rc;
        }
        s->pack.o.end = entry_position_of(&v);
        at += used;
    }
    return ask_digest(digest, arg, s->pack.o.end.lsn, &s->pack.o.digest, &s->pack.o.digest_known,
                      e);
}

static int write_frames(struct repo_draft *d, const struct survey *s, struct bytes in,
                        struct err *e)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < s->pack.frames; i++) {
        size_t from = s->offsets[i], to = i + 1 < s->pack.frames ? s->offsets[i + 1] : in.n;
        struct bytes frame = bytes_of(in.p + from, to - from);
        rc = repo_writer_frame(d->writer, &frame, 1, e);
    }
    return rc;
}

/* What was read back, as far as it was shown. */
struct proof_read {
    struct entry_position at;   /* of the last entry */
    struct repo_recent *recent; /* NULL: nothing is noted */
};

static int proof_read_frame(void *arg, struct bytes in, struct err *e)
{
    struct proof_read *p = arg;
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < in.n;) {
        struct entry_view v;
        size_t used = 0;
        rc = entry_decode(bytes_of(in.p + at, in.n - at), &v, &used, e);
        if (rc == 0)
            rc = entry_follows(&p->at, &v.header, e);
        if (rc == 0 && p->recent != NULL)
            rc = repo_recent_note(p->recent, &v, e);
        if (rc != 0)
            break;
        p->at = entry_position_of(&v);
        at += used;
    }
    return rc;
}

/* I2 */
static int read_back(struct repository *r, struct repo_draft *d, const struct survey *s,
                     struct err *e)
{
    struct proof_read p = {.at = s->pack.prev};
    int rc = s->again != NULL ? 0 : repo_recent_begin(&r->recent, &s->pack.prev, e);
    p.recent = s->again != NULL ? NULL : r->recent;
    if (rc == 0)
        rc = repo_draft_seal(r, d, proof_read_frame, &p, e);
    if (rc == 0 && !repo_position_equal(&p.at, &s->pack.o.end))
        rc = err_set(e, ERR_INTEGRITY,
                     "%s: reads back up to lsn %llu and not to lsn %llu, check disk and memory of "
                     "this machine",
                     d->name, LSN(p.at.lsn), LSN(s->pack.o.end.lsn));
    return rc;
}

/* The points' names are views into the caller's entries; the inventory keeps its own. */
static int keep_pack(struct repository *r, const struct repo_pack *p, struct repo_pack *out,
                     struct err *e)
{
    struct repo_pack *more = realloc(r->inv.packs, (r->inv.pack_count + 1) * sizeof *more);
    if (more == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the list of packs");
    r->inv.packs = more;
    *out = *p;
    out->points = NULL;
    out->starts = NULL;
    if (p->point_count == 0)
        return 0;
    out->points = calloc(p->point_count, sizeof *out->points + POINT_NAME_MAX_BYTES);
    if (out->points == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the restore points of a pack");
    uint8_t *names = (uint8_t *)(out->points + p->point_count);
    for (size_t i = 0; i < p->point_count; i++, names += POINT_NAME_MAX_BYTES) {
        out->points[i] = p->points[i];
        memcpy(names, p->points[i].name.p, p->points[i].name.n);
        out->points[i].name.p = names;
    }
    return 0;
}

/* Draft of the surveyed entries, up to the meta. */
static int seal_survey(struct repository *r, struct survey *s, struct bytes in,
                       struct repo_pack *kept, struct err *e)
{
    struct repo_draft d = REPO_DRAFT_NONE;
    struct repo_name name = {.kind = REPO_PACK,
                             .first = s->pack.first,
                             .last = s->pack.o.end.lsn,
                             .term = s->pack.o.end.term};
    char meta_name[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    uint8_t *meta = NULL;
    size_t n = 0;
    int rc = repo_draft_begin(r, &d, &name, e);
    if (rc == 0)
        rc = write_frames(&d, s, in, e);
    if (rc == 0)
        rc = read_back(r, &d, s, e);
    if (rc == 0) {
        repo_draft_object(&d, &s->pack.o);
        if (s->again != NULL && s->pack.o.created.us <= s->again->o.created.us)
            s->pack.o.created.us = s->again->o.created.us + 1; /* of two the later one counts */
        repo_name_meta(d.name, meta_name);
        repo_identity_of(r, meta_name, identity);
        rc = repo_pack_write(&s->pack, s->starts, &r->about.cluster_id, &d.key, identity, &meta, &n,
                             e);
    }
    if (rc == 0)
        rc = keep_pack(r, &s->pack, kept, e);
    if (rc == 0 && (rc = repo_draft_publish(r, &d, bytes_of(meta, n), e)) != 0)
        repo_pack_release(kept);
    if (rc != 0)
        err_wrap(e, "sealing lsns %llu..%llu", LSN(name.first), LSN(name.last));
    free(meta);
    repo_draft_drop(&d);
    return rc;
}

static int may_seal(const struct repository *r, size_t bytes, struct err *e)
{
    if (r->read_only)
        return err_set(e, ERR_DENIED, "the archive was opened for reading only");
    if (r->failed.code != 0)
        return err_set(e, r->failed.code, "nothing is written any more after: %.400s",
                       r->failed.text);
    return bytes != 0 ? 0 : err_set(e, ERR_USAGE, "no entries to be sealed were given");
}

int repository_seal(struct repository *r, const uint8_t *entries, size_t bytes,
                    repository_digest_fn digest, void *arg, struct err *e)
{
    struct survey s = {0};
    struct repo_pack kept = {0};
    struct bytes in = bytes_of(entries, bytes);
    int rc = may_seal(r, bytes, e);
    if (rc == 0)
        rc = repository_ready(r, e);
    if (rc != 0)
        return rc;
    rc = survey(r, &s, in, digest, arg, e);
    if (rc == 0)
        rc = seal_survey(r, &s, in, &kept, e);
    if (rc == 0)
        r->inv.packs[r->inv.pack_count++] = kept;
    else
        repo_recent_forget(r->recent);
    survey_release(&s);
    return rc;
}

/* ---- making one again ---- */

/* What the one before says of the states in it. */
static int digest_before(void *arg, struct lsn lsn, struct digest *out)
{
    const struct repo_pack *p = arg;
    bool known = p->o.digest_known && p->o.end.lsn.v == lsn.v;
    *out = p->o.digest;
    for (size_t i = 0; i < p->point_count && !known; i++)
        if (p->points[i].lsn.v == lsn.v && p->points[i].digest_known) {
            known = true;
            *out = p->points[i].digest;
        }
    return known ? 0 : ERR_NOT_FOUND;
}

/* One that was made again before may be lost in its turn, and who looks sees the one before. */
static struct repo_pack *pack_named(const struct repository *r, const char *object)
{
    const struct repo_pack *p = repo_pack_named(&r->inv, object);
    return p == NULL ? NULL : &r->inv.packs[p - r->inv.packs];
}

/* Where it begins. Nobody's entries are taken for one whose place is not proven, but at the end of the archive those that
 * might be sealed there anyway. */
static int heal_begin(const struct repository *r, const struct repo_pack *old, bool own,
                      struct entry_position *out, struct err *e)
{
    *out = old->o.unplaced ? repo_chain_end(&r->inv) : old->prev;
    if (!old->o.unplaced ||
        (own && old + 1 == r->inv.packs + r->inv.pack_count && out->lsn.v + 1 == old->first.v))
        return 0;
    return err_set(
        e, ERR_INTEGRITY,
        "neither the signed tree nor the packs beside it say where it begins and ends, so "
        "no entries could be proven to be its own");
}

static int heal_end(struct repository *r, const struct repo_pack *old,
                    const struct entry_position *end, struct err *e)
{
    const bool same = old->o.unplaced
                          ? end->lsn.v == old->o.end.lsn.v && end->term.v == old->o.end.term.v
                          : repo_position_equal(end, &old->o.end);
    if (!same)
        return err_set(e, ERR_INTEGRITY,
                       "the entries end at lsn %llu and not at the entry where the pack ends (lsn "
                       "%llu): they are others",
                       LSN(end->lsn), LSN(old->o.end.lsn));
    return repo_tree_agrees(r, end, e);
}

int repository_heal_pack(struct repository *r, const char *object, struct bytes entries, bool own,
                         char *named, struct err *e)
{
    struct repo_pack *old = pack_named(r, object), kept = {0};
    struct survey s = {.again = old};
    int rc = may_seal(r, entries.n, e);
    if (rc == 0 && old == NULL)
        rc = err_set(e, ERR_NOT_FOUND, "the archive has no pack of that name");
    if (rc == 0 && old->o.disposed)
        rc = repo_disposed(&old->o, e);
    if (rc == 0)
        rc = repo_recorded_disposed(r, old->o.name, e);
    if (rc == 0)
        rc = heal_begin(r, old, own, &s.begin, e);
    if (rc == 0)
        rc = survey(r, &s, entries, digest_before, old, e);
    if (rc == 0)
        rc = heal_end(r, old, &s.pack.o.end, e);
    if (rc == 0)
        rc = seal_survey(r, &s, entries, &kept, e);
    if (rc == 0) {
        old = pack_named(r, object); /* the list may have moved */
        repo_pack_release(old);
        *old = kept;
        r->unfinished++;
        (void)snprintf(named, REPO_NAME_BYTES, "%s", kept.o.name);
    } else {
        err_wrap(e, "making %s again", object);
    }
    survey_release(&s);
    return rc;
}

/* ---- reading ---- */

void repo_pack_close(struct repo_pack_reader *p)
{
    repo_reader_free(p->reader);
    free(p->starts);
    repo_blob_close(&p->file);
    *p = (struct repo_pack_reader)REPO_PACK_READER_NONE;
}

static int open_object(struct repository *r, struct repo_pack_reader *p, const struct repo_key *key,
                       struct err *e)
{
    const struct repo_object *o = &p->pack->o;
    char identity[REPO_IDENTITY_BYTES];
    repo_identity_of(r, o->name, identity);
    int rc = repo_blob_open(&p->file, r->backend, o->name, e);
    if (rc != 0)
        return rc;
    if (p->file.bytes != o->bytes)
        rc = err_set(e, ERR_INTEGRITY, "%llu bytes where its meta names %llu",
                     (unsigned long long)p->file.bytes, (unsigned long long)o->bytes);
    if (rc == 0)
        rc = repo_reader_new(&p->reader, &p->file, key, identity, e);
    if (rc == 0 && repo_reader_frames(p->reader) != p->pack->frames)
        rc = err_set(e, ERR_INTEGRITY, "%u frames where its meta names %u",
                     repo_reader_frames(p->reader), p->pack->frames);
    if (rc != 0)
        err_wrap(e, "%s (lsns %llu..%llu)", o->name, LSN(p->pack->first), LSN(o->end.lsn));
    return rc;
}

/* Where its frames begin, as its meta says. */
static int read_starts(struct repository *r, const struct repo_pack *pack,
                       const struct repo_key *key, struct repo_frame_start **out, struct err *e)
{
    char meta[REPO_NAME_BYTES], identity[REPO_IDENTITY_BYTES];
    struct repo_pack again = {0};
    uint8_t *text = NULL;
    size_t n = 0;
    int rc = repo_meta_text(r, pack->o.name, &text, &n, e);
    if (rc == 0) {
        repo_name_meta(pack->o.name, meta);
        repo_identity_of(r, meta, identity);
        rc = repo_pack_read(bytes_of(text, n), &r->about.cluster_id, pack->o.name, key, identity,
                            &again, out, e);
        if (rc == 0 && again.frames != pack->frames)
            rc = err_set(e, ERR_INTEGRITY, "it changed since the archive was opened");
        if (rc != 0)
            err_wrap(e, "%s", meta);
    }
    free(text);
    repo_pack_release(&again);
    return rc;
}

/* `known`: where its frames begin, or NULL. */
static int open_pack(struct repository *r, const struct repo_pack *pack,
                     const struct repo_frame_start *known, struct repo_pack_reader *out,
                     struct err *e)
{
    const size_t bytes = ((size_t)pack->frames + 1) * sizeof *known;
    struct repo_key key;
    *out = (struct repo_pack_reader)REPO_PACK_READER_NONE;
    out->r = r;
    out->pack = pack;
    int rc = repo_object_key(r, &pack->o, &key, e);
    if (rc == ERR_NOT_FOUND)
        return rc;
    if (rc == 0 && known == NULL)
        rc = read_starts(r, pack, &key, &out->starts, e);
    else if (rc == 0 && (out->starts = malloc(bytes)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "no memory for the index of a pack");
    else if (rc == 0)
        memcpy(out->starts, known, bytes - sizeof *known);
    if (rc == 0)
        rc = open_object(r, out, &key, e);
    repo_wipe(&key, sizeof key);
    if (rc == 0)
        return 0;
    repo_pack_close(out);
    rc = repo_damage(e);
    check(rc != 0);
    return rc;
}

int repo_pack_open(struct repository *r, const struct repo_pack *pack, struct repo_pack_reader *out,
                   struct err *e)
{
    return open_pack(r, pack, NULL, out, e);
}

/* A copy for the next time, if there is memory for it. When there are too many, all are let go. */
static void keep_starts(struct repository *r, struct repo_pack *pack,
                        const struct repo_frame_start *starts)
{
    const size_t bytes = (size_t)pack->frames * sizeof *starts;
    if (r->starts_bytes + bytes > STARTS_MAX_BYTES) {
        for (size_t i = 0; i < r->inv.pack_count; i++) {
            free(r->inv.packs[i].starts);
            r->inv.packs[i].starts = NULL;
        }
        r->starts_bytes = 0;
    }
    if (bytes > STARTS_MAX_BYTES || (pack->starts = malloc(bytes + 1)) == NULL)
        return;
    memcpy(pack->starts, starts, bytes);
    r->starts_bytes += bytes;
}

int repo_pack_open_again(struct repository *r, size_t i, struct repo_pack_reader *out,
                         struct err *e)
{
    struct repo_pack *pack = &r->inv.packs[i];
    int rc = open_pack(r, pack, pack->starts, out, e);
    if (rc == 0 && pack->starts == NULL)
        keep_starts(r, pack, out->starts);
    return rc;
}

uint32_t repo_pack_frame_of(const struct repo_pack_reader *p, struct lsn lsn)
{
    uint32_t i = 0;
    while (i + 1 < p->pack->frames && p->starts[i + 1].lsn.v <= lsn.v)
        i++;
    return i;
}

uint32_t repo_pack_frame_at(const struct repo_pack_reader *p, struct utc time)
{
    uint32_t i = 0;
    while (i + 1 < p->pack->frames && p->starts[i + 1].time.us <= time.us)
        i++;
    return i;
}

/* Decode the entries of one frame. A callback's result is told apart from damage by *stopped. */
static int walk_frame(struct repo_pack_reader *p, uint32_t frame, struct entry_position *prev,
                      int (*each)(void *arg, const struct entry_view *), void *arg, bool *stopped,
                      struct err *e)
{
    struct bytes in;
    int rc = repo_reader_frame(p->reader, frame, &in, e);
    for (size_t at = 0; rc == 0 && at < in.n;) {
        struct entry_view v;
        size_t used = 0;
        rc = entry_decode(bytes_of(in.p + at, in.n - at), &v, &used, e);
        if (rc == 0 && !uuid_equal(&v.header.cluster_id, &p->r->about.cluster_id))
            rc = err_set(e, ERR_INTEGRITY, "lsn %llu is of another cluster", LSN(v.header.lsn));
        if (rc == 0 && at == 0 && v.header.lsn.v != p->starts[frame].lsn.v)
            rc = err_set(e, ERR_INTEGRITY, "begins with lsn %llu where its meta names %llu",
                         LSN(v.header.lsn), LSN(p->starts[frame].lsn));
        /* A walk from the middle has nothing that its first entry could be compared with. */
        if (rc == 0 && prev->lsn.v == 0 && v.header.lsn.v != 1)
            *prev = (struct entry_position){
                {v.header.lsn.v - 1}, v.header.term, v.header.time, v.header.prev_hash};
        if (rc == 0)
            rc = entry_follows(prev, &v.header, e);
        if (rc != 0) {
            err_wrap(e, "frame %u, byte %zu of its content", frame, at);
            break;
        }
        *prev = entry_position_of(&v);
        at += used;
        rc = each(arg, &v);
        *stopped = rc != 0;
    }
    return rc;
}

int repo_pack_walk(struct repo_pack_reader *p, uint32_t frame,
                   int (*each)(void *arg, const struct entry_view *),
                   void (*after_frame)(void *arg, uint64_t bytes), void *arg, struct err *e)
{
    static const struct entry_position unknown;
    const struct repo_pack *pack = p->pack;
    struct entry_position prev = frame == 0 ? pack->prev : unknown;
    for (uint32_t i = frame; i < pack->frames; i++) {
        bool stopped = false;
        struct err why = ERR_NONE;
        int rc = walk_frame(p, i, &prev, each, arg, &stopped, &why);
        if (stopped)
            return rc;
        if (rc != 0) {
            uint64_t last = i + 1 < pack->frames ? p->starts[i + 1].lsn.v - 1 : pack->o.end.lsn.v;
            if (e != NULL)
                *e = why;
            err_wrap(e, "%s: lsns %llu..%llu", pack->o.name, LSN(p->starts[i].lsn),
                     (unsigned long long)last);
            return repo_damage(e);
        }
        if (after_frame != NULL)
            after_frame(arg, repo_reader_position(p->reader, i));
    }
    if (repo_position_equal(&prev, &pack->o.end))
        return 0;
    return err_set(e, ERR_INTEGRITY,
                   "%s: ends at lsn %llu, not at the entry that its meta names (lsn %llu)",
                   pack->o.name, LSN(prev.lsn), LSN(pack->o.end.lsn));
}

/* ---- a range ---- */

struct range {
    struct lsn from, to;
    int (*each)(void *arg, const struct entry_view *);
    void *arg;
    bool done; /* past the end: tells our own stop from the callback's */
};

static int range_entry(void *arg, const struct entry_view *v)
{
    struct range *x = arg;
    if (v->header.lsn.v < x->from.v)
        return 0;
    x->done = v->header.lsn.v > x->to.v;
    return x->done ? 1 : x->each(x->arg, v);
}

int repository_entries(struct repository *r, struct lsn from, struct lsn to,
                       int (*each)(void *arg, const struct entry_view *), void *arg, struct err *e)
{
    struct range x = {from, to, each, arg, false};
    const struct repo_pack *begin = repo_pack_of(&r->inv, from);
    if (begin == NULL)
        return err_set(e, ERR_NOT_FOUND, "lsn %llu is not in the archive, which ends at lsn %llu",
                       LSN(from), LSN(repo_archived(&r->inv).lsn));
    int rc = 0;
    for (size_t i = (size_t)(begin - r->inv.packs); rc == 0 && i < r->inv.pack_count; i++) {
        const struct repo_pack *p = &r->inv.packs[i];
        struct repo_pack_reader reader;
        if (p->first.v > to.v)
            break;
        if (p != begin || p->o.damaged)
            rc = repo_chain_check(&r->inv, i, e);
        if (rc == 0)
            rc = repo_pack_open(r, p, &reader, e);
        if (rc != 0)
            break;
        rc = repo_pack_walk(&reader, p == begin ? repo_pack_frame_of(&reader, from) : 0,
                            range_entry, NULL, &x, e);
        repo_pack_close(&reader);
    }
    return x.done ? 0 : rc;
}
