/* The past of records: versions of one, and which ones changed.
 *
 * HOW. The range of lsns is gone through from its end backwards, in stretches: those that an index covers, and single packs that
 * none covers. An index names the lsns of a record; a pack without one is read, frame by frame. Each lsn is then read from its
 * pack: the entry itself is the answer.
 *
 * INVARIANTS
 *   I1  q->to is always the last lsn that was not looked at; every version above it was handed out. So when an index proves
 *       wrong in the middle, it is put aside and the search goes on in the packs at the same place.
 *   I2  What is handed out is an entry that decoded, of a pack that authenticated, and it writes the record.
 *
 * FAILURE MODES: a damaged or missing pack matters only where it holds a version, as the index says, or where no index covers
 * it. */
#include "repository/history.h"

#include "repository/io/index.h"
#include "store/core/check.h"

#define LSN(x) ((unsigned long long)(x).v)

/* The caller's own result, told apart from a failure. */
enum { OWN_RESULT = 1 };

struct search {
    struct repository *r;
    struct repository_query q;
    int (*each)(void *arg, const struct evidence *);
    void *arg;
    int result; /* of each; behind OWN_RESULT */
    struct err *e;
    struct repo_pack_reader pack; /* the last one that was read from; its pack NULL: none */
    uint64_t *lsns;               /* that are to be read, ascending */
    size_t count, cap;
    uint64_t done, total; /* bytes of packs that no index covers */
};

/* A pack that nothing can be read from: passed over when the caller asks for that. */
static int pass_over(struct search *s, const struct repo_pack *p)
{
    struct repository_gap *gap = s->q.gap;
    if (gap == NULL)
        return repo_disposed(&p->o, s->e);
    if (gap->last.v == 0) {
        gap->last = p->o.end.lsn;
        (void)repo_disposed(&p->o, &gap->why);
    }
    gap->first = p->first;
    s->q.to.v = p->first.v - 1;
    return 0;
}

static void search_begin(struct search *s, struct repository *r, const struct repository_query *q,
                         struct err *e)
{
    *s = (struct search){.r = r, .q = *q, .e = e, .pack = REPO_PACK_READER_NONE};
    for (size_t i = 0; i < r->inv.pack_count; i++) {
        const struct repo_pack *p = &r->inv.packs[i];
        if (p->first.v <= q->to.v && p->o.end.lsn.v >= q->from.v && !p->o.disposed &&
            repo_index_of(&r->inv, p->first) == NULL)
            s->total += p->o.bytes;
    }
}

static void search_end(struct search *s)
{
    repo_pack_close(&s->pack);
    free(s->lsns);
}

static int note_lsn(struct search *s, struct lsn lsn)
{
    if (lsn.v < s->q.from.v || lsn.v > s->q.to.v ||
        (s->count != 0 && s->lsns[s->count - 1] == lsn.v))
        return 0;
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 64 : 2 * s->cap;
        uint64_t *more = realloc(s->lsns, cap * sizeof *more);
        if (more == NULL)
            return err_set(s->e, ERR_NO_MEMORY, "no memory for the versions of a record");
        s->lsns = more;
        s->cap = cap;
    }
    s->lsns[s->count++] = lsn.v;
    return 0;
}

/* ---- entries ---- */

/* The reader of the pack that holds lsn. */
static int pack_at(struct search *s, struct lsn lsn)
{
    const struct repo_pack *p = repo_pack_of(&s->r->inv, lsn);
    if (p == NULL)
        return err_set(s->e, ERR_INTEGRITY, "the pack that holds lsn %llu is missing", LSN(lsn));
    if (s->pack.pack == p)
        return 0;
    repo_pack_close(&s->pack);
    const size_t i = (size_t)(p - s->r->inv.packs);
    int rc = repo_chain_check(&s->r->inv, i, s->e);
    return rc == 0 ? repo_pack_open_again(s->r, i, &s->pack, s->e) : rc;
}

enum { WRONG_LSN = 2 }; /* the entry does not write the record: the index is wrong */

struct wanted {
    struct search *s;
    struct lsn lsn;
    bool done;
};

static int take_entry(void *arg, const struct entry_view *v)
{
    struct wanted *w = arg;
    struct search *s = w->s;
    if (v->header.lsn.v < w->lsn.v)
        return 0;
    struct evidence found = {.collection = s->q.collection, .key = s->q.key, .entry = *v};
    int rc = evidence_op(v, s->q.collection, s->q.key, &found.txn, &found.op, s->e);
    if (rc == ERR_NOT_FOUND)
        return WRONG_LSN;
    if (rc != 0)
        return rc;
    w->done = true;
    s->result = s->each(s->arg, &found);
    return OWN_RESULT;
}

/* Hand out the lsns that were noted, the last one first. */
static int hand_out(struct search *s)
{
    while (s->count > 0) {
        struct wanted w = {s, {s->lsns[--s->count]}, false};
        int rc = pack_at(s, w.lsn);
        if (rc == 0)
            rc = repo_pack_walk(&s->pack, repo_pack_frame_of(&s->pack, w.lsn), take_entry, NULL, &w,
                                s->e);
        if (!w.done)
            return rc != 0 ? rc
                           : err_set(s->e, ERR_INTEGRITY, "%s: lsn %llu is not in it",
                                     s->pack.pack->o.name, LSN(w.lsn));
        s->q.to.v = w.lsn.v - 1;
        if (s->result != 0)
            return OWN_RESULT;
    }
    return 0;
}

/* ---- a stretch that an index covers ---- */

static int note_block(struct search *s, struct bytes block)
{
    struct repo_keyref ref, record = {s->q.collection, s->q.key, {0}};
    struct reader in = reader_of(block);
    int rc = 0;
    while (rc == 0 && in.at < in.n && (rc = repo_keyref_read(&in, &ref, s->e)) == 0)
        if (repo_keyref_same_record(&ref, &record))
            rc = note_lsn(s, ref.lsn);
        else if (repo_keyref_compare(&ref, &record) > 0)
            break;
    return rc == ERR_FORMAT ? repo_damage(s->e) : rc;
}

/* Versions up to q.to, block by block backwards. */
static int search_index(struct search *s, struct repo_index *x, bool *wrong)
{
    struct repo_keyref target = {s->q.collection, s->q.key, s->q.to};
    int rc = repo_index_open(s->r, x, s->e);
    int64_t block = rc == 0 ? repo_index_block_of(x, &target) : -1;
    *wrong = rc == ERR_INTEGRITY;
    for (; rc == 0 && block >= 0; block--) {
        struct bytes in;
        s->count = 0;
        rc = repo_index_block(x, (uint32_t)block, &in, s->e);
        if (rc == 0)
            rc = note_block(s, in);
        *wrong = rc == ERR_INTEGRITY;
        if (rc == 0)
            rc = hand_out(s);
        if (rc == WRONG_LSN) {
            *wrong = true;
            rc = err_set(s->e, ERR_INTEGRITY, "%s: names lsn %llu, which does not write the record",
                         x->o.name, LSN(s->q.to));
        }
        const struct repo_keyref *first = repo_index_first(x, (uint32_t)block);
        if (!repo_keyref_same_record(first, &target) || first->lsn.v < s->q.from.v)
            break;
    }
    return rc;
}

/* ---- a pack that no index covers ---- */

struct frame_search {
    struct search *s;
    struct lsn last; /* of the frame */
};

static int search_ref(void *arg, const struct repo_keyref *ref)
{
    struct search *s = arg;
    const struct repo_keyref record = {s->q.collection, s->q.key, {0}};
    return repo_keyref_same_record(ref, &record) ? note_lsn(s, ref->lsn) : 0;
}

static int search_entry(void *arg, const struct entry_view *v)
{
    struct frame_search *f = arg;
    if (v->header.lsn.v > f->last.v)
        return OWN_RESULT;
    return repo_keyrefs_of(v, search_ref, f->s, f->s->e);
}

static int search_pack(struct search *s, size_t at)
{
    const struct repo_pack *p = &s->r->inv.packs[at];
    struct lsn begin = {p->first.v > s->q.from.v ? p->first.v : s->q.from.v};
    int rc = pack_at(s, s->q.to);
    if (rc != 0)
        return rc;
    uint32_t first = repo_pack_frame_of(&s->pack, begin);
    for (uint32_t i = repo_pack_frame_of(&s->pack, s->q.to) + 1; rc == 0 && i-- > first;) {
        struct frame_search f = {
            s, i + 1 < p->frames ? (struct lsn){s->pack.starts[i + 1].lsn.v - 1} : p->o.end.lsn};
        s->count = 0;
        rc = repo_pack_walk(&s->pack, i, search_entry, NULL, &f, s->e);
        if (rc == OWN_RESULT)
            rc = 0;
        if (rc == 0)
            rc = hand_out(s);
        check(rc != WRONG_LSN);
    }
    s->done += p->o.bytes;
    if (s->q.progress != NULL)
        s->q.progress(s->q.progress_arg, s->done, s->total);
    return rc;
}

/* ---- the whole range ---- */

static int search_stretch(struct search *s)
{
    struct repo_index *x = repo_index_of(&s->r->inv, s->q.to);
    const struct repo_pack *p = repo_pack_of(&s->r->inv, s->q.to);
    bool wrong = false;
    if (x != NULL) {
        int rc = search_index(s, x, &wrong);
        if (rc == 0)
            s->q.to.v = x->first.v - 1;
        if (rc != ERR_INTEGRITY || !wrong)
            return rc;
        repo_index_distrust(s->r, x, s->e); /* and once more, without it */
        if (s->e != NULL)
            *s->e = (struct err)ERR_NONE;
        return 0;
    }
    if (p == NULL)
        return err_set(s->e, ERR_INTEGRITY,
                       "the pack that holds lsn %llu is missing, and could hold a version; put it "
                       "back",
                       LSN(s->q.to));
    if (p->o.disposed)
        return pass_over(s, p);
    int rc = search_pack(s, (size_t)(p - s->r->inv.packs));
    if (rc == 0)
        s->q.to.v = p->first.v - 1;
    return rc;
}

int repo_query_range(struct repository *r, const struct repository_query *q, struct lsn *from,
                     struct err *e)
{
    struct lsn end = repo_archived(&r->inv).lsn;
    if (q->to.v > end.v || r->inv.pack_count == 0)
        return err_set(e, ERR_NOT_FOUND, "lsn %llu is not in the archive, which ends at lsn %llu",
                       LSN(q->to), LSN(end));
    /* An archive may begin later than the history. */
    struct lsn begin = r->inv.packs[0].first;
    *from = q->from.v < begin.v ? begin : q->from;
    return 0;
}

int repository_history(struct repository *r, const struct repository_query *q,
                       int (*each)(void *arg, const struct evidence *), void *arg, struct err *e)
{
    struct search s;
    struct err why = ERR_NONE;
    struct lsn from = q->from;
    int rc = repo_query_range(r, q, &from, e);
    if (rc != 0)
        return rc;
    search_begin(&s, r, q, &why);
    s.q.from = from;
    if (s.q.gap != NULL)
        *s.q.gap = (struct repository_gap){.why = ERR_NONE};
    s.each = each;
    s.arg = arg;
    while (rc == 0 && s.q.to.v >= s.q.from.v)
        rc = search_stretch(&s);
    search_end(&s);
    if (rc == OWN_RESULT)
        return s.result;
    if (rc != 0 && e != NULL)
        *e = why;
    return rc;
}

/* ---- the newest ---- */

struct found {
    uint8_t *entry;
    size_t n;
    struct err *e;
};

static int keep_entry(void *arg, const struct evidence *v)
{
    struct found *f = arg;
    f->n = ENTRY_HEADER_BYTES + (size_t)v->entry.header.body_bytes;
    f->entry = malloc(f->n);
    if (f->entry == NULL)
        return err_set(f->e, ERR_NO_MEMORY, "no memory for an entry of %zu bytes", f->n);
    memcpy(f->entry, v->entry.raw, ENTRY_HEADER_BYTES);
    memcpy(f->entry + ENTRY_HEADER_BYTES, v->entry.body, v->entry.header.body_bytes);
    return OWN_RESULT;
}

int repository_find(struct repository *r, const struct repository_query *q, uint8_t **entry,
                    size_t *n, struct err *e)
{
    struct found f = {.e = e};
    *entry = NULL;
    *n = 0;
    int rc = repository_history(r, q, keep_entry, &f, e);
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "no archived entry up to lsn %llu writes that record",
                       LSN(q->to));
    if (rc != OWN_RESULT)
        return rc;
    *entry = f.entry;
    *n = f.n;
    return 0;
}
