/* A number for each of many records, by the 128-bit hash of collection and key: 48 bytes of memory for a record at most. Two
 * records with one hash, which does not happen by chance, would be taken for one. One thread at a time. */
#ifndef REPLICATION_RECORD_MAP_H
#define REPLICATION_RECORD_MAP_H

#include "store/core/bytes.h"

struct record_map_slot {
    struct digest record;
    uint64_t number; /* 0: free */
};

/* All zero: empty. */
struct record_map {
    struct record_map_slot *slots;
    size_t count, capacity;
    size_t most; /* records; 0: no limit */
};

/* The number of the record, 0 when it is new; NULL: there is none, and no room for it. Valid until the next call. The caller
 * puts a number above 0 there when it was 0. */
uint64_t *record_map_at(struct record_map *m, struct bytes collection, struct bytes key);
/* The same, but NULL when the record is new. */
uint64_t *record_map_find(const struct record_map *m, struct bytes collection, struct bytes key);
void record_map_free(struct record_map *m);

#endif
