/* See newest.h. Open addressing with linear probing; a name and what is known of it are one line of the cache, which is fetched
 * ahead, because such a line lies anywhere in a table that is larger than any cache.
 *
 * INVARIANTS
 *   N1  An effect is refused only beside one of a larger lsn that was not refused for it. So of each record the newest effect is
 *       never refused, nor the newest one up to the boundary, in whatever order they come.
 *   N2  A question looks at PROBES cells at most, whatever names somebody may have chosen. */
#include "repository/core/newest.h"

#include "store/core/check.h"
#include "store/core/hash.h"

enum { PROBES = 16, SIZES_BYTES = 4 };

struct repo_newest_cell {
    uint8_t name[sizeof((struct repo_newest_name *)NULL)->b]; /* of zeros: free */
    struct lsn newest;
    struct lsn bounded; /* the newest up to the boundary; 0: none */
};
_Static_assert(sizeof(struct repo_newest_cell) == REPO_NEWEST_CELL_BYTES, "a cell is one line");

void repo_newest_init(struct repo_newest *t, void *memory, size_t count)
{
    check(count != 0 && (count & (count - 1)) == 0);
    check((uintptr_t)memory % REPO_NEWEST_CELL_BYTES == 0);
    *t = (struct repo_newest){memory, count};
}

struct repo_newest_name repo_newest_name(const struct repo_effect *x)
{
    struct repo_newest_name out = {.hash = 0};
    const size_t c = x->collection.n, k = x->key.n;
    uint8_t *name = out.b + SIZES_BYTES;
    put_le16(out.b, (uint16_t)c); /* at least 1, so no name is free */
    put_le16(out.b + 2, (uint16_t)k);
    if (c + k <= sizeof out.b - SIZES_BYTES) {
        memcpy(name, x->collection.p, c);
        memcpy(name + c, x->key.p, k);
    } else {
        const struct sha256 hash = hash_sha256_2(x->collection, x->key);
        memcpy(name, hash.b, sizeof hash.b);
    }
    const struct bytes all = bytes_of(out.b, sizeof out.b);
    out.hash = hash_xxh128(&all, 1).lo;
    return out;
}

void repo_newest_hint(const struct repo_newest *t, const struct repo_newest_name *name)
{
    __builtin_prefetch(&t->cells[name->hash & (t->count - 1)], 1);
}

bool repo_newest_ask(struct repo_newest *t, const struct repo_newest_name *name, struct lsn lsn,
                     struct lsn boundary)
{
    static const uint8_t none[sizeof name->b];
    const bool bounded = lsn.v <= boundary.v;
    for (size_t i = 0; i < PROBES && i < t->count; i++) {
        struct repo_newest_cell *c = &t->cells[(name->hash + i) & (t->count - 1)];
        if (memcmp(c->name, name->b, sizeof c->name) == 0) {
            if (lsn.v < c->newest.v && (!bounded || lsn.v < c->bounded.v))
                return false; /* N1 */
        } else if (memcmp(c->name, none, sizeof none) == 0) {
            memcpy(c->name, name->b, sizeof c->name);
        } else {
            continue;
        }
        c->newest.v = lsn.v > c->newest.v ? lsn.v : c->newest.v;
        if (bounded && lsn.v > c->bounded.v)
            c->bounded = lsn;
        return true;
    }
    return true;
}
