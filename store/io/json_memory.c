#include "store/io/json_memory.h"

#include "store/core/err.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>

enum { CHUNK_BYTES = 4000 }; /* most documents are read into one */

struct chunk {
    struct chunk *before;
    _Alignas(max_align_t) uint8_t bytes[];
};

/* It lies in its first chunk. */
struct json_arena {
    struct chunk *last;
    size_t used, size; /* of the last */
    bool starved;
    jmp_buf leave;
};

static _Thread_local struct json_arena
    *reading; /* into this one, in this thread; NULL: nothing is read */
static _Thread_local bool lacked;

void *json_arena_take(struct json_arena *a, size_t n)
{
    n = (n + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
    if (n > a->size - a->used) {
        const size_t size = n > CHUNK_BYTES ? n : CHUNK_BYTES;
        struct chunk *c = malloc(sizeof *c + size);
        if (c == NULL)
            return NULL;
        c->before = a->last;
        a->last = c;
        a->used = 0;
        a->size = size;
    }
    a->used += n;
    return a->last->bytes + (a->used - n);
}

void json_arena_free(struct json_arena *a)
{
    struct chunk *c = a == NULL ? NULL : a->last;
    while (c != NULL) {
        struct chunk *before = c->before;
        free(c);
        c = before;
    }
}

static struct json_arena *arena_new(void)
{
    struct json_arena first = {.last = NULL};
    struct json_arena *a = json_arena_take(&first, sizeof *a);
    if (a != NULL)
        *a = first;
    return a;
}

/* jansson's allocations, in all of the process. Those of others stay the C library's, also what was allocated before. */
static void *take(size_t n)
{
    struct json_arena *a = reading;
    void *p = a == NULL ? malloc(n) : json_arena_take(a, n);
    if (p != NULL)
        return p;
    lacked = true;
    if (a != NULL) {
        a->starved = true;
        longjmp(a->leave, 1);
    }
    return NULL;
}

static void give_back(void *p)
{
    if (reading == NULL)
        free(p);
}

static void set_functions(void)
{
    json_set_alloc_funcs(take, give_back);
}

static void install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, set_functions);
}

static json_t *load(struct json_arena *a, struct bytes text, size_t flags, json_error_t *error)
{
    if (setjmp(a->leave) != 0)
        return NULL;
    return json_loadb((const char *)text.p, text.n, flags, error);
}

int json_arena_read(struct bytes text, size_t flags, struct json_arena **arena, json_t **root,
                    json_error_t *error)
{
    install();
    *arena = NULL;
    *root = NULL;
    struct json_arena *a = arena_new();
    if (a == NULL)
        return ERR_NO_MEMORY;
    reading = a;
    json_t *read = load(a, text, flags, error);
    reading = NULL;
    if (read == NULL) {
        const bool starved = a->starved;
        json_arena_free(a);
        return starved ? ERR_NO_MEMORY : ERR_FORMAT;
    }
    *arena = a;
    *root = read;
    return 0;
}

void json_memory_watch(void)
{
    install();
    lacked = false;
}

bool json_memory_lacked(void)
{
    return lacked;
}
