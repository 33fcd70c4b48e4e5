#include "store/io/state_links.h"

#include "store/core/hash.h"

#include <stdlib.h>

/* Longer keys are not kept: their rows are read. A UUID written out after the collection's number fits. */
enum { KEY_BYTES = 46 };

struct place {
    struct link link;
    uint8_t key_bytes; /* 0: nothing is here */
    uint8_t key[KEY_BYTES];
};
_Static_assert(sizeof(struct place) == 96, "one and a half cache lines");

enum { PLACES = LINKS_MAX_BYTES / sizeof(struct place) };

struct links {
    struct place places[PLACES];
};

int links_open(struct links **out, struct err *e)
{
    *out = calloc(1, sizeof **out); /* pages that were never used take no memory */
    return *out != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory for the ends of chains");
}

void links_close(struct links *l)
{
    free(l);
}

static size_t place_of(struct bytes key)
{
    return (size_t)(hash_xxh128(&key, 1).lo % PLACES);
}

struct link links_find(const struct links *l, struct bytes key)
{
    const struct place *p = &l->places[place_of(key)];
    if (p->key_bytes == 0 || !bytes_equal(bytes_of(p->key, p->key_bytes), key))
        return (struct link){.lsn = {0}};
    return p->link;
}

void links_keep(struct links *l, struct bytes key, const struct link *link)
{
    if (key.n > KEY_BYTES)
        return;
    struct place *p = &l->places[place_of(key)];
    p->link = *link;
    p->key_bytes = (uint8_t)key.n;
    memcpy(p->key, key.p, key.n);
}
