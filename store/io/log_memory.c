#include "store/io/log_memory.h"

#include "store/core/check.h"
#include "store/io/file.h"

#include <stdlib.h>

struct chunk {
    struct chunk *next;
    uint8_t *p;
    size_t cap, used;
    struct lsn first; /* its first entry */
};

static struct chunk *chunk_new(struct memory *m, size_t cap, struct lsn first)
{
    struct chunk *c = NULL;
    if (cap == m->chunk_bytes && m->unused != NULL) {
        c = m->unused;
        m->unused = NULL;
    } else {
        c = malloc(sizeof *c);
        if (c == NULL)
            return NULL;
        c->p = file_buffer(cap);
        if (c->p == NULL) {
            free(c);
            return NULL;
        }
    }
    c->next = NULL;
    c->cap = cap;
    c->used = 0;
    c->first = first;
    m->total_bytes += cap;
    return c;
}

static void chunk_free(struct memory *m, struct chunk *c)
{
    m->total_bytes -= c->cap;
    if (c->cap == m->chunk_bytes && m->unused == NULL) {
        m->unused = c;
        return;
    }
    free(c->p);
    free(c);
}

void memory_init(struct memory *m, uint64_t limit_bytes, size_t batch_max, struct lsn last)
{
    /* Eight chunks or more within the limit, so that giving back one keeps most of the rest. */
    uint64_t chunk = batch_blocks_bytes(limit_bytes / 8);
    if (chunk > MEMORY_CHUNK_MAX)
        chunk = MEMORY_CHUNK_MAX;
    if (chunk < 4 * BATCH_BLOCK_BYTES)
        chunk = 4 * BATCH_BLOCK_BYTES;
    *m = (struct memory){.limit_bytes = limit_bytes, .chunk_bytes = (size_t)chunk, .last = last};
    m->batch_bytes = batch_max < m->chunk_bytes ? batch_max : m->chunk_bytes;
    m->first.v = last.v + 1;
}

void memory_deinit(struct memory *m)
{
    while (m->head != NULL) {
        struct chunk *c = m->head;
        m->head = c->next;
        chunk_free(m, c);
    }
    if (m->unused != NULL) {
        free(m->unused->p);
        free(m->unused);
    }
    free(m->slots);
    *m = (struct memory){0};
}

static int reserve_slots(struct memory *m, size_t n)
{
    size_t need = (size_t)(m->last.v + 1 - m->first.v) + n;
    size_t count = m->slot_count == 0 ? 1024 : m->slot_count;
    while (count < need)
        count *= 2;
    if (count == m->slot_count)
        return 0;
    const uint8_t **slots = calloc(count, sizeof *slots);
    if (slots == NULL)
        return ERR_NO_MEMORY;
    for (uint64_t lsn = m->first.v; lsn <= m->last.v; lsn++)
        slots[lsn & (count - 1)] = m->slots[lsn & (m->slot_count - 1)];
    free(m->slots);
    m->slots = slots;
    m->slot_count = count;
    return 0;
}

static struct pending *newest(struct memory *m)
{
    return &m->queue[(m->queue_head + m->queue_count - 1) % MEMORY_BATCHES_MAX];
}

/* Begin a batch that has room for an entry of `bytes`. */
static int open_batch(struct memory *m, size_t bytes, struct lsn first)
{
    if (m->queue_count == MEMORY_BATCHES_MAX)
        return ERR_BUSY;
    size_t need = (size_t)batch_blocks_bytes(BATCH_HEADER_BYTES + bytes);
    size_t at = m->tail == NULL ? 0 : (size_t)batch_blocks_bytes(m->tail->used);
    if (m->tail == NULL || m->tail->cap - at < need) {
        struct chunk *c = chunk_new(m, need > m->chunk_bytes ? need : m->chunk_bytes, first);
        if (c == NULL)
            return ERR_NO_MEMORY;
        if (m->tail != NULL)
            m->tail->next = c;
        else
            m->head = c;
        m->tail = c;
        at = 0;
    }
    m->queue_count++;
    m->gathering = true;
    *newest(m) =
        (struct pending){.p = m->tail->p + at, .bytes = BATCH_HEADER_BYTES, .first = first};
    m->tail->used = at + BATCH_HEADER_BYTES;
    return 0;
}

static int append_one(struct memory *m, const struct entry_view *v)
{
    const size_t bytes = ENTRY_HEADER_BYTES + v->header.body_bytes;
    if (!m->gathering || newest(m)->bytes + bytes > m->batch_bytes ||
        m->tail->used + bytes > m->tail->cap) {
        int rc = open_batch(m, bytes, v->header.lsn);
        if (rc != 0)
            return rc;
    }
    uint8_t *p = m->tail->p + m->tail->used;
    memcpy(p, v->raw, ENTRY_HEADER_BYTES);
    memcpy(p + ENTRY_HEADER_BYTES, v->body, v->header.body_bytes);
    m->tail->used += bytes;
    struct pending *batch = newest(m);
    batch->bytes += bytes;
    batch->count++;
    batch->last = entry_position_of(v);
    m->last = v->header.lsn;
    m->slots[m->last.v & (m->slot_count - 1)] = p;
    m->waiting_bytes += bytes;
    return 0;
}

int memory_room(const struct memory *m, uint64_t bytes, struct err *e)
{
    if (m->waiting_bytes > 0 && m->waiting_bytes + bytes > MEMORY_WAITING_MAX)
        return err_set(e, ERR_BUSY,
                       "%llu bytes wait to be written to the log, at most %d may: try again later",
                       (unsigned long long)m->waiting_bytes, MEMORY_WAITING_MAX);
    /* Every batch but the last is nearly full or holds one large entry, so these bytes begin at most so many. */
    if (m->queue_count + 2 + bytes / (m->batch_bytes / 2) > MEMORY_BATCHES_MAX)
        return err_set(e, ERR_BUSY, "%u batches wait to be written to the log: try again later",
                       m->queue_count);
    return 0;
}

int memory_append(struct memory *m, const struct entry_view *entries, size_t n, struct err *e)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += ENTRY_HEADER_BYTES + entries[i].header.body_bytes;
    if (m->waiting_bytes > 0 && m->waiting_bytes + bytes > MEMORY_WAITING_MAX)
        return err_set(e, ERR_BUSY,
                       "%llu bytes wait to be written to the log, at most %d may: try again later",
                       (unsigned long long)m->waiting_bytes, MEMORY_WAITING_MAX);

    /* What to return to when the queue or the memory ends half-way. */
    struct chunk *tail = m->tail;
    const size_t used = tail == NULL ? 0 : tail->used;
    const unsigned queued = m->queue_count;
    const bool gathering = m->gathering;
    const struct pending batch = queued == 0 ? (struct pending){0} : *newest(m);
    const struct lsn last = m->last;
    const uint64_t waiting = m->waiting_bytes;

    int rc = reserve_slots(m, n);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = append_one(m, &entries[i]);
    if (rc == 0)
        return 0;

    struct chunk *added = tail == NULL ? m->head : tail->next;
    while (added != NULL) {
        struct chunk *next = added->next;
        chunk_free(m, added);
        added = next;
    }
    m->tail = tail;
    if (tail == NULL)
        m->head = NULL;
    else
        tail->next = NULL, tail->used = used;
    m->queue_count = queued;
    m->gathering = gathering;
    if (queued > 0)
        *newest(m) = batch;
    m->last = last;
    m->waiting_bytes = waiting;
    return rc == ERR_BUSY
               ? err_set(e, rc, "%u batches wait to be written to the log: try again later", queued)
               : err_set(e, rc, "no memory for %llu bytes of log", (unsigned long long)bytes);
}

const struct pending *memory_next(const struct memory *m)
{
    return m->taken == m->queue_count ? NULL
                                      : &m->queue[(m->queue_head + m->taken) % MEMORY_BATCHES_MAX];
}

void memory_take(struct memory *m, struct pending *out)
{
    *out = *memory_next(m);
    m->taken++;
    if (m->taken == m->queue_count)
        m->gathering = false;
}

void memory_written(struct memory *m)
{
    check(m->taken > 0);
    m->waiting_bytes -= m->queue[m->queue_head].bytes - BATCH_HEADER_BYTES;
    m->queue_head = (m->queue_head + 1) % MEMORY_BATCHES_MAX;
    m->queue_count--;
    m->taken--;
}

void memory_trim(struct memory *m, struct lsn durable)
{
    while (m->total_bytes > m->limit_bytes && m->head != m->tail &&
           m->head->next->first.v <= durable.v + 1) {
        struct chunk *c = m->head;
        m->head = c->next;
        m->first = m->head->first;
        chunk_free(m, c);
    }
}

const uint8_t *memory_find(const struct memory *m, struct lsn lsn)
{
    if (lsn.v < m->first.v || lsn.v > m->last.v)
        return NULL;
    return m->slots[lsn.v & (m->slot_count - 1)];
}

void memory_truncate(struct memory *m, struct lsn last)
{
    check(m->queue_count == 0 && !m->gathering);
    struct chunk **link = &m->head;
    m->tail = NULL;
    while (*link != NULL && (*link)->first.v <= last.v) {
        m->tail = *link;
        link = &(*link)->next;
    }
    struct chunk *c = *link;
    *link = NULL;
    while (c != NULL) {
        struct chunk *next = c->next;
        chunk_free(m, c);
        c = next;
    }
    m->last = last;
    if (m->head == NULL)
        m->first.v = last.v + 1;
}
