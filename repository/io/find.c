/* The last entry that wrote a record.
 *
 * Packs have no index of keys, so they are looked through from the lsn backwards, frame by frame; what was written recently is
 * found at once, what was written long ago costs as much as reading the archive. Whoever knows the version (the lsn that `get`
 * shows) asks for it and finds it in the first frame. */
#include "repository/io/archive.h"
#include "repository/proof.h"

#include "store/core/check.h"

struct search {
    struct bytes collection, key;
    struct lsn end; /* entries above are not looked at */
    bool past;      /* the walk came to the end: tells our own stop from a failure */
    uint8_t *entry; /* the last one found so far */
    size_t bytes;
    struct err *e;
};

static int search_entry(void *arg, const struct entry_view *v)
{
    struct search *s = arg;
    struct body_txn txn;
    struct op op;
    s->past = v->header.lsn.v > s->end.v;
    if (s->past)
        return 1;
    int rc = evidence_op(v, s->collection, s->key, &txn, &op, s->e);
    if (rc == ERR_NOT_FOUND)
        return 0;
    size_t n = ENTRY_HEADER_BYTES + (size_t)v->header.body_bytes;
    uint8_t *copy = rc == 0 ? realloc(s->entry, n) : NULL;
    if (rc == 0 && copy == NULL)
        rc = err_set(s->e, ERR_NO_MEMORY, "no memory for an entry of %zu bytes", n);
    if (rc != 0)
        return rc;
    memcpy(copy, v->raw, ENTRY_HEADER_BYTES);
    memcpy(copy + ENTRY_HEADER_BYTES, v->body, v->header.body_bytes);
    s->entry = copy;
    s->bytes = n;
    return 0;
}

/* Frames of one pack, from the one that holds s->end backwards. */
static int search_pack(struct repository *r, const struct repo_pack *p, struct search *s)
{
    struct repo_pack_reader reader;
    int rc = repo_pack_open(r, p, &reader, s->e);
    if (rc != 0)
        return rc;
    uint32_t frame = repo_pack_frame_of(&reader, s->end) + 1;
    while (rc == 0 && s->entry == NULL && frame-- > 0) {
        s->past = false;
        rc = repo_pack_walk(&reader, frame, search_entry, NULL, s, s->e);
        if (s->past)
            rc = 0;
        s->end.v = reader.starts[frame].lsn.v - 1;
    }
    repo_pack_close(&reader);
    return rc;
}

int repository_find(struct repository *r, struct lsn lsn, struct bytes collection, struct bytes key,
                    void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                    uint8_t **entry, size_t *n, struct err *e)
{
    struct err why = ERR_NONE;
    struct search s = {.collection = collection, .key = key, .end = lsn, .e = &why};
    const struct repo_pack *p = repo_pack_of(&r->inv, lsn);
    uint64_t total = 0, done = 0;
    int rc = 0;
    *entry = NULL;
    *n = 0;
    if (p == NULL)
        return err_set(e, ERR_NOT_FOUND, "lsn %llu is not in the archive, which ends at lsn %llu",
                       (unsigned long long)lsn.v, (unsigned long long)repo_archived(&r->inv).lsn.v);
    size_t i = (size_t)(p - r->inv.packs) + 1;
    for (size_t k = 0; k < i; k++)
        total += r->inv.packs[k].o.bytes;
    while (rc == 0 && s.entry == NULL && i-- > 0) {
        /* A gap before a pack could hide a later version. */
        if ((rc = repo_chain_check(&r->inv, i, &why)) == 0)
            rc = search_pack(r, &r->inv.packs[i], &s);
        done += r->inv.packs[i].o.bytes;
        if (progress != NULL)
            progress(arg, done, total);
    }
    if (rc == 0 && s.entry == NULL)
        rc = err_set(&why, ERR_NOT_FOUND, "no archived entry up to lsn %llu writes that record",
                     (unsigned long long)lsn.v);
    if (rc != 0) {
        free(s.entry);
        if (e != NULL)
            *e = why;
        return rc;
    }
    *entry = s.entry;
    *n = s.bytes;
    return 0;
}
