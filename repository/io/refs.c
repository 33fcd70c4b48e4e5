#include "repository/io/index.h"

enum { ARENA_BYTES = 1 << 20 };

struct repo_refs_arena {
    struct repo_refs_arena *before;
    size_t used;
    uint8_t bytes[ARENA_BYTES];
};

static struct bytes arena_copy(struct repo_refs_arena *a, struct bytes b)
{
    uint8_t *p = a->bytes + a->used;
    memcpy(p, b.p, b.n);
    a->used += b.n;
    return bytes_of(p, b.n);
}

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "no memory for the keys of a pack");
}

int repo_refs_add(void *arg, const struct repo_keyref *ref)
{
    struct repo_refs *l = arg;
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 4096 : 2 * l->cap;
        struct repo_keyref *more = realloc(l->at, cap * sizeof *more);
        if (more == NULL)
            return no_memory(l->e);
        l->at = more;
        l->cap = cap;
    }
    if (l->arena == NULL || ARENA_BYTES - l->arena->used < ref->collection.n + ref->key.n) {
        struct repo_refs_arena *fresh = malloc(sizeof *fresh);
        if (fresh == NULL)
            return no_memory(l->e);
        fresh->before = l->arena;
        fresh->used = 0;
        l->arena = fresh;
    }
    struct bytes collection = {NULL, 0};
    if (l->count != 0)
        collection = l->at[l->count - 1].collection; /* the same as before is the rule */
    if (!bytes_equal(collection, ref->collection))
        collection = arena_copy(l->arena, ref->collection);
    l->at[l->count++] = (struct repo_keyref){collection, arena_copy(l->arena, ref->key), ref->lsn};
    return 0;
}

static int compare(const void *a, const void *b)
{
    return repo_keyref_compare(a, b);
}

void repo_refs_sort(struct repo_refs *l)
{
    if (l->count != 0)
        qsort(l->at, l->count, sizeof *l->at, compare);
}

void repo_refs_free(struct repo_refs *l)
{
    while (l->arena != NULL) {
        struct repo_refs_arena *before = l->arena->before;
        free(l->arena);
        l->arena = before;
    }
    free(l->at);
    *l = (struct repo_refs){.e = NULL};
}
