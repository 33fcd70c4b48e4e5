/* A hash table of chains, whose claims also stand in a list in the order in which they came.
 *
 * INVARIANTS
 *   C1  Along the list lsns do not fall; pending claims, of the greatest lsn that there is, are its end.
 *   C2  New claims are put at the head of their chain, so a chain is in order, too: who leaves from the front of the list is the
 *       last of its chain, who leaves from the end is the first. */
#include "store/claims.h"

#include "store/core/check.h"
#include "store/core/hash.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CHAINS = 256 };
#define PENDING UINT64_MAX

struct claim {
    struct claim *chain, *next, *prev;
    uint64_t hash;
    struct lsn lsn;
    uint16_t key_bytes;
    uint8_t key[];
};
_Static_assert(sizeof(struct claim) <= CLAIM_BYTES, "what the header says of memory");

struct claims {
    uint64_t seed;
    struct claim **chains;
    size_t mask, count; /* chains - 1 */
    struct claim *oldest, *newest;
};

struct claims *claims_new(uint64_t seed)
{
    struct claims *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->seed = seed;
    c->chains = calloc(FIRST_CHAINS, sizeof(struct claim *));
    c->mask = FIRST_CHAINS - 1;
    if (c->chains != NULL)
        return c;
    free(c);
    return NULL;
}

void claims_free(struct claims *c)
{
    if (c == NULL)
        return;
    claims_clear(c);
    free(c->chains);
    free(c);
}

static uint64_t hash_of(const struct claims *c, uint64_t index, struct bytes value)
{
    const uint64_t head[2] = {c->seed, index};
    const struct bytes pieces[] = {bytes_of(head, sizeof head), value};
    return hash_xxh128(pieces, 2).lo;
}

/* When it fails chains are longer than they should be, no more. */
static void grow(struct claims *c)
{
    const size_t n = 2 * (c->mask + 1);
    struct claim **chains = calloc(n, sizeof *chains);
    if (chains == NULL)
        return;
    for (struct claim *x = c->oldest; x != NULL; x = x->next) { /* keeps C2 */
        x->chain = chains[x->hash & (n - 1)];
        chains[x->hash & (n - 1)] = x;
    }
    free(c->chains);
    c->chains = chains;
    c->mask = n - 1;
}

int claims_add(struct claims *c, uint64_t index, struct bytes value, struct bytes key,
               struct err *e)
{
    check(key.n <= UINT16_MAX);
    struct claim *x = malloc(sizeof *x + key.n);
    if (x == NULL)
        return err_set(e, ERR_NO_MEMORY, "no memory for the values of one more transaction");
    if (c->count > c->mask)
        grow(c);
    const uint64_t hash = hash_of(c, index, value);
    *x = (struct claim){.chain = c->chains[hash & c->mask],
                        .prev = c->newest,
                        .hash = hash,
                        .lsn = {PENDING},
                        .key_bytes = (uint16_t)key.n};
    memcpy(x->key, key.p, key.n);
    c->chains[hash & c->mask] = x;
    if (c->newest != NULL)
        c->newest->next = x;
    else
        c->oldest = x;
    c->newest = x;
    c->count++;
    return 0;
}

static void let_go(struct claims *c, struct claim *x)
{
    struct claim **at = &c->chains[x->hash & c->mask];
    while (*at != x)
        at = &(*at)->chain;
    *at = x->chain;
    c->count--;
    free(x);
}

static void remove_oldest(struct claims *c)
{
    struct claim *x = c->oldest;
    c->oldest = x->next;
    if (x->next != NULL)
        x->next->prev = NULL;
    else
        c->newest = NULL;
    let_go(c, x);
}

static void remove_newest(struct claims *c)
{
    struct claim *x = c->newest;
    c->newest = x->prev;
    if (x->prev != NULL)
        x->prev->next = NULL;
    else
        c->oldest = NULL;
    let_go(c, x);
}

void claims_settle(struct claims *c, struct lsn lsn)
{
    struct claim *x = c->newest;
    for (; x != NULL && x->lsn.v == PENDING; x = x->prev)
        x->lsn = lsn;
    check(x == NULL || x->lsn.v <= lsn.v); /* C1 */
}

void claims_abandon(struct claims *c)
{
    while (c->newest != NULL && c->newest->lsn.v == PENDING)
        remove_newest(c);
}

void claims_drop(struct claims *c, struct lsn applied)
{
    while (c->oldest != NULL && c->oldest->lsn.v <= applied.v)
        remove_oldest(c);
}

void claims_clear(struct claims *c)
{
    while (c->newest != NULL)
        remove_newest(c);
}

bool claims_next(const struct claims *c, uint64_t index, struct bytes value, const void **at,
                 struct bytes *key)
{
    const struct claim *x = *at;
    const uint64_t hash = x != NULL ? x->hash : hash_of(c, index, value);
    x = x != NULL ? x->chain : c->chains[hash & c->mask];
    while (x != NULL && x->hash != hash)
        x = x->chain;
    *at = x;
    if (x == NULL)
        return false;
    *key = bytes_of(x->key, x->key_bytes);
    return true;
}
