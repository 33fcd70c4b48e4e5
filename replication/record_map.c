#include "replication/record_map.h"

#include "store/core/hash.h"

#include <stdlib.h>

enum { SLOTS_FIRST = 1024 };

static struct digest record_of(struct bytes collection, struct bytes key)
{
    uint8_t n = (uint8_t)collection.n; /* at most 64 */
    return hash_xxh128((struct bytes[]){bytes_of(&n, 1), collection, key}, 3);
}

static struct record_map_slot *slot_of(struct record_map_slot *slots, size_t capacity,
                                       struct digest record)
{
    size_t i = record.lo & (capacity - 1);
    while (slots[i].number != 0 && !digest_equal(slots[i].record, record))
        i = (i + 1) & (capacity - 1);
    return &slots[i];
}

/* At most half of the slots are taken. */
static bool grow(struct record_map *m)
{
    if (m->count < m->capacity / 2)
        return true;
    size_t capacity = m->capacity == 0 ? SLOTS_FIRST : 2 * m->capacity;
    struct record_map_slot *slots =
        m->most != 0 && m->count >= m->most ? NULL : calloc(capacity, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < m->capacity; i++)
        if (m->slots[i].number != 0)
            *slot_of(slots, capacity, m->slots[i].record) = m->slots[i];
    free(m->slots);
    m->slots = slots;
    m->capacity = capacity;
    return true;
}

uint64_t *record_map_find(const struct record_map *m, struct bytes collection, struct bytes key)
{
    if (m->capacity == 0)
        return NULL;
    struct record_map_slot *slot = slot_of(m->slots, m->capacity, record_of(collection, key));
    return slot->number != 0 ? &slot->number : NULL;
}

uint64_t *record_map_at(struct record_map *m, struct bytes collection, struct bytes key)
{
    uint64_t *known = record_map_find(m, collection, key);
    if (known != NULL || !grow(m))
        return known;
    struct digest record = record_of(collection, key);
    struct record_map_slot *slot = slot_of(m->slots, m->capacity, record);
    slot->record = record;
    m->count++;
    return &slot->number;
}

void record_map_free(struct record_map *m)
{
    free(m->slots);
    *m = (struct record_map){0};
}
