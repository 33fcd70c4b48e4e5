/* Entries in memory: those that wait to be written, and after that the recent ones, for readers.
 *
 * Memory looks like the disk: a chunk is an aligned buffer that holds batches as they are written,
 * each with room for its header, on a block. So an entry is copied once when it is appended and
 * then stays where it is until its chunk is given back, oldest first, when more than the limit is
 * held and all of the chunk is durable.
 *
 * No locking here: the log calls all of it under its mutex. Only the bytes of the batch being
 * written (its header and padding) are written by the writer thread outside of it; no reader looks
 * at those. */
#ifndef STORE_IO_LOG_MEMORY_H
#define STORE_IO_LOG_MEMORY_H

#include "store/core/batch.h"

enum {
    MEMORY_BATCHES_MAX = 256,      /* batches that wait; each is full, or holds one large entry */
    MEMORY_WAITING_MAX = 64 << 20, /* bytes that wait: about what a slow disk writes in a second */
    MEMORY_CHUNK_MAX = 2 << 20,    /* beyond about this size a larger write is no faster */
};

struct chunk;

/* A batch that waits to be written. */
struct pending {
    uint8_t *p; /* room for the batch header, then the entries; aligned, room up to a whole block */
    size_t bytes; /* header and entries, without padding */
    struct lsn first;
    uint32_t count;
    struct entry_position last;
};

struct memory {
    uint64_t limit_bytes;
    size_t chunk_bytes;
    size_t batch_bytes; /* a batch of several entries is at most this large */

    struct chunk *head, *tail; /* oldest, newest */
    struct chunk *unused;      /* kept for the next need */
    uint64_t total_bytes;

    const uint8_t **slots; /* slots[lsn & (slot_count - 1)] is the raw entry, for first..last */
    size_t slot_count;
    struct lsn first, last; /* in memory; first is last + 1 when nothing is */

    struct pending queue[MEMORY_BATCHES_MAX];
    unsigned queue_head, queue_count;
    unsigned taken; /* of the queue, from its head: being written */
    bool gathering; /* the newest batch in the queue takes more entries */
    uint64_t waiting_bytes;
};

/* batch_max: the largest batch that fits a segment. */
/* Would entries of so many bytes together be taken now? 0 or ERR_BUSY. */
int memory_room(const struct memory *m, uint64_t bytes, struct err *e);
void memory_init(struct memory *m, uint64_t limit_bytes, size_t batch_max, struct lsn last);
void memory_deinit(struct memory *m);

/* Copy entries, all or none: 0, ERR_BUSY when too much waits, ERR_NO_MEMORY. */
int memory_append(struct memory *m, const struct entry_view *entries, size_t n, struct err *e);

/* The oldest batch that waits and was not taken, or NULL. It may still take entries. */
const struct pending *memory_next(const struct memory *m);
/* Take it: it gets no more entries. memory_written() when the oldest that was taken is durable. */
void memory_take(struct memory *m, struct pending *out);
void memory_written(struct memory *m);
/* Give back what is above the limit and durable. */
void memory_trim(struct memory *m, struct lsn durable);

/* The raw entry, or NULL when it is not in memory. */
const uint8_t *memory_find(const struct memory *m, struct lsn lsn);
/* Forget entries after `last`. Nothing may wait. */
void memory_truncate(struct memory *m, struct lsn last);

#endif
