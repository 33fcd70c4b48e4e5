#include "repository/io/recent.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum { HEADERS_MAX = (16 << 20) / ENTRY_HEADER_BYTES, REFS_MAX_BYTES = 16 << 20 };

struct repo_recent {
    struct lsn end; /* of what was noted */
    uint8_t *headers;
    size_t count, cap; /* of headers: those of the last `count` entries */
    bool refs_known;   /* of the entries from refs_first on */
    struct lsn refs_first;
    size_t refs_bytes;
    struct repo_refs refs;
};

static void forget_headers(struct repo_recent *m)
{
    free(m->headers);
    m->headers = NULL;
    m->count = m->cap = 0;
}

static void forget_refs(struct repo_recent *m)
{
    repo_refs_free(&m->refs);
    m->refs_known = false;
    m->refs_bytes = 0;
}

void repo_recent_forget(struct repo_recent *m)
{
    if (m == NULL)
        return;
    forget_headers(m);
    forget_refs(m);
    m->end.v = 0;
}

void repo_recent_free(struct repo_recent *m)
{
    repo_recent_forget(m);
    free(m);
}

int repo_recent_begin(struct repo_recent **m, const struct entry_position *prev, struct err *e)
{
    if (*m == NULL && (*m = calloc(1, sizeof **m)) == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for what a pack holds");
    if ((*m)->end.v != prev->lsn.v)
        repo_recent_forget(*m);
    (*m)->end = prev->lsn;
    if (!(*m)->refs_known) {
        (*m)->refs_known = true;
        (*m)->refs_first.v = prev->lsn.v + 1;
    }
    return 0;
}

/* Too much, or no memory: whoever asks reads packs. */
static void note_header(struct repo_recent *m, const struct entry_view *v)
{
    if (m->count == m->cap) {
        const size_t cap = m->cap == 0 ? 16384 : 2 * m->cap;
        uint8_t *more = cap <= HEADERS_MAX ? realloc(m->headers, cap * ENTRY_HEADER_BYTES) : NULL;
        if (more == NULL) {
            forget_headers(m);
            return;
        }
        m->headers = more;
        m->cap = cap;
    }
    memcpy(m->headers + m->count++ * ENTRY_HEADER_BYTES, v->raw, ENTRY_HEADER_BYTES);
}

static int note_ref(void *arg, const struct repo_keyref *ref)
{
    struct repo_recent *m = arg;
    m->refs_bytes += sizeof *ref + ref->key.n;
    return repo_refs_add(&m->refs, ref);
}

int repo_recent_note(struct repo_recent *m, const struct entry_view *v, struct err *e)
{
    check(v->header.lsn.v == m->end.v + 1);
    m->end = v->header.lsn;
    note_header(m, v);
    if (!m->refs_known)
        return 0;
    m->refs.e = e;
    int rc = repo_keyrefs_of(v, note_ref, m, e);
    if (rc == 0 && m->refs_bytes > REFS_MAX_BYTES)
        forget_refs(m);
    return rc;
}

struct lsn repo_recent_first(const struct repo_recent *m)
{
    return (struct lsn){m == NULL || m->count == 0 ? 0 : m->end.v + 1 - m->count};
}

int repo_recent_entry(const struct repo_recent *m, struct lsn lsn, struct entry_view *out,
                      struct err *e)
{
    const uint64_t first = repo_recent_first(m).v;
    check(first != 0 && lsn.v >= first && lsn.v <= m->end.v);
    out->raw = m->headers + (size_t)(lsn.v - first) * ENTRY_HEADER_BYTES;
    out->body = NULL;
    out->hash = hash_sha256(bytes_of(out->raw, ENTRY_HEADER_BYTES));
    int rc = entry_header_decode(out->raw, &out->header, e);
    if (rc == 0 && out->header.lsn.v == lsn.v)
        return 0;
    return err_set(e, ERR_INTEGRITY,
                   "the header of lsn %llu has changed in this machine's memory; check it",
                   (unsigned long long)lsn.v);
}

void repo_recent_used(struct repo_recent *m, struct lsn to)
{
    const uint64_t first = repo_recent_first(m).v;
    if (first == 0 || to.v < first)
        return;
    const size_t gone = to.v < m->end.v ? (size_t)(to.v + 1 - first) : m->count;
    m->count -= gone;
    memmove(m->headers, m->headers + gone * ENTRY_HEADER_BYTES, m->count * ENTRY_HEADER_BYTES);
}

bool repo_recent_take(struct repo_recent *m, struct lsn first, struct lsn *end,
                      struct repo_refs *out)
{
    if (m == NULL || !m->refs_known)
        return false;
    const bool here = m->refs_first.v == first.v && m->end.v >= first.v;
    if (here) {
        *end = m->end;
        *out = m->refs;
        m->refs = (struct repo_refs){.e = NULL};
    }
    forget_refs(m);
    return here;
}
