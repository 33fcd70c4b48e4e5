#include "tools/ordinals.h"

#include <stdio.h>
#include <stdlib.h>

enum { NUMBER_TEXT_BYTES = 20, RANGE_TEXT_BYTES = 2 * NUMBER_TEXT_BYTES + 2 };

/* The first range whose end is not before n. */
static size_t place_of(const struct ordinals *o, uint64_t n)
{
    size_t from = 0, to = o->count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (o->ranges[middle].last < n)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

bool ordinals_has(const struct ordinals *o, uint64_t n)
{
    size_t at = place_of(o, n);
    return at < o->count && o->ranges[at].first <= n;
}

static int insert(struct ordinals *o, size_t at, struct ordinals_range range, struct err *e)
{
    if (o->count == o->capacity) {
        size_t capacity = o->capacity == 0 ? 16 : 2 * o->capacity;
        struct ordinals_range *larger = realloc(o->ranges, capacity * sizeof *larger);
        if (larger == NULL)
            return err_set(e, ERR_NO_MEMORY, "no memory");
        o->ranges = larger;
        o->capacity = capacity;
    }
    memmove(&o->ranges[at + 1], &o->ranges[at], (o->count - at) * sizeof o->ranges[0]);
    o->ranges[at] = range;
    o->count++;
    return 0;
}

int ordinals_add(struct ordinals *o, uint64_t n, struct err *e)
{
    if (ordinals_has(o, n))
        return 0;
    size_t at = place_of(o, n); /* what is before it ends before n */
    bool before = at > 0 && o->ranges[at - 1].last + 1 == n;
    bool behind = at < o->count && o->ranges[at].first == n + 1;
    if (before && behind) {
        o->ranges[at - 1].last = o->ranges[at].last;
        memmove(&o->ranges[at], &o->ranges[at + 1], (o->count - at - 1) * sizeof o->ranges[0]);
        o->count--;
    } else if (before) {
        o->ranges[at - 1].last = n;
    } else if (behind) {
        o->ranges[at].first = n;
    } else {
        return insert(o, at, (struct ordinals_range){n, n}, e);
    }
    return 0;
}

char *ordinals_text(const struct ordinals *o)
{
    size_t room = o->count * RANGE_TEXT_BYTES + 1;
    size_t at = 0;
    char *text = malloc(room);
    if (text == NULL)
        return NULL;
    text[0] = '\0';
    for (size_t i = 0; i < o->count; i++) {
        const struct ordinals_range *r = &o->ranges[i];
        const char *comma = i > 0 ? "," : "";
        int n = r->first == r->last
                    ? snprintf(text + at, room - at, "%s%llu", comma, (unsigned long long)r->first)
                    : snprintf(text + at, room - at, "%s%llu-%llu", comma,
                               (unsigned long long)r->first, (unsigned long long)r->last);
        at += n > 0 ? (size_t)n : 0;
    }
    return text;
}

/* Digits, not 0; NULL: none. */
static const char *take(const char *text, uint64_t *out)
{
    const char *from = text;
    *out = 0;
    for (; *text >= '0' && *text <= '9' && text - from < NUMBER_TEXT_BYTES - 1; text++)
        *out = *out * 10 + (uint64_t)(*text - '0');
    return text > from && *out > 0 ? text : NULL;
}

int ordinals_read(struct ordinals *o, const char *text, struct err *e)
{
    uint64_t least = 1;
    o->count = 0;
    while (*text != '\0') {
        struct ordinals_range r;
        const char *at = take(text, &r.first);
        r.last = r.first;
        if (at != NULL && *at == '-')
            at = take(at + 1, &r.last);
        if (at == NULL || r.first < least || r.last < r.first ||
            (*at != '\0' && (*at != ',' || at[1] == '\0')))
            return err_set(e, ERR_FORMAT, "'%.40s' is no ascending list of numbers", text);
        int rc = insert(o, o->count, r, e);
        if (rc != 0)
            return rc;
        least = r.last + 2;
        text = *at == ',' ? at + 1 : at;
    }
    return 0;
}

void ordinals_free(struct ordinals *o)
{
    free(o->ranges);
    *o = (struct ordinals){0};
}
